"""The network of the lessons in this folder: three letters in, the next letter out, with BatchNorm, in atoms.

Every step of the forward pass has a name, so that every gradient can have one too. `forward` runs on NumPy arrays, and on
Tensors when it is given `TENSORS`: the same lines, and only the second remembers how it got there.

The lessons learn from a few words made up for them, so their numbers are the same everywhere. To learn from a list of your own,
with one word per line, name it in the environment: BY_HAND_WORDS=names.txt python examples/by_hand/step4_training.py
"""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from chainrule.tensor import Tensor

FILE = os.environ.get("BY_HAND_WORDS", "")  # of words; none: those made up here
MADE_UP = """abelo arima benuri calda corin delivo dorema elino ferula galvor hanelo ibera jorini kalmo lirena malvi
nerodo olira pelumo quirin roveda salino turelo uvani velora wendolo xaren yolimo zarefi"""
CONTEXT, EPS = 3, 1e-5
PARAMETERS = ("C", "W1", "b1", "W2", "b2", "bngain", "bnbias")
ATOMS = (
    "emb", "embcat", "hprebn", "bnmeani", "bndiff", "bndiff2", "bnvar", "bnvar_inv", "bnraw", "hpreact", "h", "logits",
    "logit_maxes", "norm_logits", "counts", "counts_sum", "counts_sum_inv", "probs", "logprobs", "loss",
)  # fmt: skip
TENSORS = SimpleNamespace(exp=Tensor.exp, log=Tensor.log, tanh=Tensor.tanh)


def words():
    """Those of the file that BY_HAND_WORDS names, else a few words made up for this lesson."""
    if not FILE:
        return MADE_UP.split()
    try:
        found = Path(FILE).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"BY_HAND_WORDS names the file {FILE}, which cannot be read: {getattr(error, 'strerror', None) or error}")
    return found or refuse(f"BY_HAND_WORDS names the file {FILE}, which holds no words")


def refuse(sentence):
    """Say on standard error what is wrong, and end with exit code 2."""
    print(sentence, file=sys.stderr)
    sys.exit(2)


def source():
    """Which words these are, in words: the numbers that a lesson prints depend on them."""
    return f"the {len(words()):,} words of {FILE}" if FILE else f"{len(words())} words made up for these lessons"


def examples(words):
    """Every letter of every word with the three before it: X of shape (rows, 3), Y of shape (rows,), and the alphabet."""
    letters = [".", *sorted(set("".join(words)))]
    number = {letter: i for i, letter in enumerate(letters)}
    X, Y = [], []
    for word in words:
        context = [0] * CONTEXT
        for letter in word + ".":
            X.append(context)
            Y.append(number[letter])
            context = [*context[1:], number[letter]]
    return np.array(X), np.array(Y), letters


def parameters(letters, rng, embedding=10, hidden=64, dtype=np.float64):
    """The seven parameters by name. None starts at zero: a zero would hide a mistake in a gradient."""
    fan_in = CONTEXT * embedding
    drawn = {
        "C": rng.normal(size=(letters, embedding)),
        "W1": rng.normal(size=(fan_in, hidden)) * (5 / 3) / fan_in**0.5,
        "b1": rng.normal(size=hidden) * 0.1,
        "W2": rng.normal(size=(hidden, letters)) * 0.1,
        "b2": rng.normal(size=letters) * 0.1,
        "bngain": rng.normal(size=(1, hidden)) * 0.1 + 1.0,
        "bnbias": rng.normal(size=(1, hidden)) * 0.1,
    }
    return {name: array.astype(dtype) for name, array in drawn.items()}


def forward(p, X, Y, m=np):
    """The loss of a batch and every step on the way to it, by name; `m` has exp, log and tanh for these numbers."""
    t = SimpleNamespace(**p)
    n = len(Y)
    # the letters, as vectors
    t.emb = t.C[X]  # (n, 3, embedding)
    t.embcat = t.emb.reshape(n, -1)  # (n, 3 * embedding)
    # a linear layer
    t.hprebn = t.embcat @ t.W1 + t.b1  # (n, hidden)
    # BatchNorm
    t.bnmeani = t.hprebn.sum(0, keepdims=True) / n  # (1, hidden)
    t.bndiff = t.hprebn - t.bnmeani
    t.bndiff2 = t.bndiff**2
    t.bnvar = t.bndiff2.sum(0, keepdims=True) / (n - 1)  # n - 1: Bessel's correction
    t.bnvar_inv = (t.bnvar + EPS) ** -0.5
    t.bnraw = t.bndiff * t.bnvar_inv
    t.hpreact = t.bngain * t.bnraw + t.bnbias
    # tanh, and another linear layer
    t.h = m.tanh(t.hpreact)
    t.logits = t.h @ t.W2 + t.b2  # (n, letters)
    # cross-entropy
    t.logit_maxes = t.logits.max(axis=1, keepdims=True)  # (n, 1)
    t.norm_logits = t.logits - t.logit_maxes  # so that exp cannot overflow
    t.counts = m.exp(t.norm_logits)
    t.counts_sum = t.counts.sum(1, keepdims=True)
    t.counts_sum_inv = t.counts_sum**-1.0
    t.probs = t.counts * t.counts_sum_inv
    t.logprobs = m.log(t.probs)
    t.loss = -t.logprobs[np.arange(n), Y].mean()
    return t


def on_tensors(p, X, Y):
    """The same forward pass on Tensors, labelled with their names."""
    tensors = {name: Tensor(array, requires_grad=True) for name, array in p.items()}
    t = forward(tensors, X, Y, TENSORS)
    for name, tensor in vars(t).items():
        tensor.label = name
    return t


def batch(n=32, seed=0, hidden=64, embedding=10, chosen=None):
    """A batch of n examples and fresh parameters: (parameters, X, Y); of the words chosen (default: the first of `words`)."""
    X, Y, letters = examples(words()[:2000] if chosen is None else chosen)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(X), n)
    return parameters(len(letters), rng, embedding, hidden), X[rows], Y[rows]
