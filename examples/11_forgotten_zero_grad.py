"""Lesson 11: the forgotten zero_grad.

`backward()` adds to the gradients that leaves already have. That is a feature: several losses can be added up. But in a
training loop it means that without `zero_grad()` each step also repeats all steps before it. Nothing fails, no message
appears; the weights just roll like a ball that nothing slows down.

Run me: python examples/11_forgotten_zero_grad.py
"""

import random

from chainrule import Value
from chainrule.nn import MLP

# On one parameter it is plain to see. The loss is lowest at three; its slope is 2 * (w - 3).
for zeroing in (True, False):
    w = Value(0.0)
    print("one parameter, with zero_grad:" if zeroing else "one parameter, zero_grad forgotten:")
    for _ in range(5):
        if zeroing:
            w.zero_grad()
        loss = (w - 3) ** 2
        loss.backward()
        print(f"  w {w.data:.4f}, true slope {2 * (w.data - 3):.4f}, slope used {w.grad:.4f}")
        w.data -= 0.1 * w.grad


# On the net of lesson 10 the steps pile up in the same way.
def train(seed, zeroing, lr=0.1, steps=100):
    """Train the four-example net; return the loss before each step."""
    examples = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
    targets = [1.0, -1.0, -1.0, 1.0]
    random.seed(seed)
    net = MLP(3, [4, 4, 1], activation="tanh", output_activation="tanh")
    losses = []
    for _ in range(steps):
        loss = sum((net(x) - t) ** 2 for x, t in zip(examples, targets, strict=True)) / len(targets)
        if zeroing:
            net.zero_grad()
        loss.backward()
        for p in net.parameters():
            p.data -= lr * p.grad
        losses.append(loss.data)
    return losses


# Started from one set of weights, the net is soon far ahead, cannot stop, and runs off to where tanh is flat: two of the
# four answers are wrong for good, and the slopes there are too small to come back. Started from another, it gets away
# with it and even looks better. A mistake that is sometimes rewarded is the kind that stays in a program for years.
for seed in (1, 42):
    print("net, seed", seed)
    right, wrong = train(seed, zeroing=True), train(seed, zeroing=False)
    for step in (0, 1, 2, 5, 10, 20, 50, 99):
        print(f"  step {step}: loss {right[step]:.4f} with zero_grad, {wrong[step]:.4f} without")
