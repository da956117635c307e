"""Step 3: the backward pass of BatchNorm in one expression; docs/by_hand.md derives it.

Run me: python examples/by_hand/step3_batchnorm.py
"""

from network import batch, forward, on_tensors, source
from step1_every_gradient import every_gradient

from chainrule.check import compare


def batchnorm_gradient(dhpreact, bnraw, bngain, bnvar_inv):
    """d(loss)/d(input of BatchNorm), with the variance over n - 1: dy, less its mean, less its share along bnraw."""
    n = len(dhpreact)
    along = bnraw * (dhpreact * bnraw).sum(0, keepdims=True)
    return bngain * bnvar_inv / n * (n * dhpreact - dhpreact.sum(0, keepdims=True) - n / (n - 1) * along)


if __name__ == "__main__":
    print(f"learned from {source()}")
    p, X, Y = batch()
    t, engine = forward(p, X, Y), on_tensors(p, X, Y)
    dhpreact = every_gradient(t, X, Y)["hpreact"]
    dhprebn = batchnorm_gradient(dhpreact, t.bnraw, t.bngain, t.bnvar_inv)
    print(compare(dhprebn, engine.hprebn, name="hprebn", root=engine.loss))
    print("and wrong on purpose, as if mean and variance were constants:")
    forgotten = t.bngain * t.bnvar_inv * dhpreact
    print(compare(forgotten, engine.hprebn, name="hprebn", root=engine.loss))
