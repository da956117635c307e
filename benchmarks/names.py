"""A training step of the names network against PyTorch and HIPS autograd: eager in three spellings, and by hand.

    python -m benchmarks names            takes about a minute
    python -m benchmarks names --quick    a few seconds, to see that it works

networks.py holds the network, training.py the comparison. The network is small: some twenty products and sums of 32 by 200
numbers, so what is measured is the way from one operation to the next more than the operations. The last row is ours on
Tensors instead of arrays, with the same text: what it costs to write the backward pass by hand but not to leave Tensors.
"""

from contextlib import ExitStack

from benchmarks.report import Row
from benchmarks.training import compared, start

ROWS = (  # our program, the peer, its program, target, steps in a turn, what
    ("names", "torch", "names", 1.7, 100, "training step of the names network, batch 32, with nn.functional"),
    ("names", "autograd", "names", 4.0, 100, "training step of the names network, batch 32"),
    ("lecture", "torch", "lecture", 1.7, 100, "the same as the lecture writes it, BatchNorm in atoms"),
    ("modules", "torch", "modules", 1.7, 100, "the same with modules and optim.SGD"),
    ("hand", "torch", "hand", 2.0, 100, "the same with the backward pass written by hand, on arrays"),
    ("tensors", "torch", "hand", 1.0, 100, "the same by hand on Tensors under no_grad"),
)


def measure(quick: bool) -> list[Row]:
    """All rows, in the order of the table."""
    with ExitStack() as running:
        there = start(running, "chainrule", "torch", "autograd")
        return [
            compared(there, what, ours=ours, theirs=(peer, program), target=target, steps=steps, rounds=3 if quick else 61)
            for ours, peer, program, target, steps, what in ROWS
        ]
