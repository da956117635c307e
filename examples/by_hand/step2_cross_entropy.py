"""Step 2: the backward pass of cross-entropy in one expression; docs/by_hand.md derives it.

Run me: python examples/by_hand/step2_cross_entropy.py
"""

import numpy as np
from network import batch, forward, on_tensors

from chainrule.check import compare


def cross_entropy_gradient(logits, Y):
    """d(mean cross-entropy)/d(logits): the probabilities, less one at the right letter, over the number of rows."""
    n = len(Y)
    dlogits = np.exp(logits - logits.max(1, keepdims=True))
    dlogits /= dlogits.sum(1, keepdims=True)
    dlogits[np.arange(n), Y] -= 1.0
    return dlogits / n


if __name__ == "__main__":
    p, X, Y = batch()
    t, engine = forward(p, X, Y), on_tensors(p, X, Y)
    dlogits = cross_entropy_gradient(t.logits, Y)
    print(compare(dlogits, engine.logits, name="logits", root=engine.loss))
    row = dlogits[0] * len(Y)
    print(f"row 0: the right letter is pulled up with {-row[Y[0]]:.4f}, all others are pushed down with {row[row > 0].sum():.4f}")
    print(f"the largest sum of a row: {abs(dlogits.sum(1)).max():.1e}")
