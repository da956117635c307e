"""Step 1: the backward pass one line at a time, each gradient beside the engine's.

Three rules do all the work. What was multiplied is multiplied by the other factor. What was repeated (broadcast) is
summed, and what was summed is repeated. What was used twice gets the sum of two gradients: look for `+=`.

Run me: python examples/by_hand/step1_every_gradient.py
"""

import numpy as np
from network import EPS, batch, forward, on_tensors, source

from chainrule.check import compare


def every_gradient(t, X, Y):
    """d(loss)/d(everything), outputs first, from the arrays of the forward pass; by name, without the d."""
    n = len(Y)
    rows = np.arange(n)
    # cross-entropy
    dlogprobs = np.zeros_like(t.logprobs)
    dlogprobs[rows, Y] = -1.0 / n
    dprobs = dlogprobs / t.probs
    dcounts_sum_inv = (dprobs * t.counts).sum(1, keepdims=True)
    dcounts = dprobs * t.counts_sum_inv
    dcounts_sum = -(t.counts_sum**-2) * dcounts_sum_inv
    dcounts += np.ones_like(t.counts) * dcounts_sum
    dnorm_logits = dcounts * t.counts
    dlogits = dnorm_logits.copy()
    dlogit_maxes = -dnorm_logits.sum(1, keepdims=True)
    dlogits += (t.logits == t.logit_maxes) * dlogit_maxes
    # the second linear layer, and tanh
    dh = dlogits @ t.W2.T
    dW2 = t.h.T @ dlogits
    db2 = dlogits.sum(0)
    dhpreact = (1.0 - t.h**2) * dh
    # BatchNorm
    dbngain = (t.bnraw * dhpreact).sum(0, keepdims=True)
    dbnraw = t.bngain * dhpreact
    dbnbias = dhpreact.sum(0, keepdims=True)
    dbnvar_inv = (t.bndiff * dbnraw).sum(0, keepdims=True)
    dbndiff = t.bnvar_inv * dbnraw
    dbnvar = -0.5 * (t.bnvar + EPS) ** -1.5 * dbnvar_inv
    dbndiff2 = np.ones_like(t.bndiff2) * dbnvar / (n - 1)
    dbndiff += 2.0 * t.bndiff * dbndiff2
    dbnmeani = -dbndiff.sum(0, keepdims=True)
    dhprebn = dbndiff.copy()
    dhprebn += np.ones_like(t.hprebn) * dbnmeani / n
    # the first linear layer, and the letters
    dembcat = dhprebn @ t.W1.T
    dW1 = t.embcat.T @ dhprebn
    db1 = dhprebn.sum(0)
    demb = dembcat.reshape(t.emb.shape)
    dC = np.zeros_like(t.C)
    np.add.at(dC, X, demb)
    found = locals()
    return {name: found["d" + name] for name in vars(t) if "d" + name in found}


if __name__ == "__main__":
    print(f"learned from {source()}")
    p, X, Y = batch()
    mine = every_gradient(forward(p, X, Y), X, Y)
    engine = vars(on_tensors(p, X, Y))
    # Two of them are zero by nature and prove nothing where they stand: the lines are tried on drawn numbers as well.
    again = {
        "logit_maxes": lambda dnorm_logits: -dnorm_logits.sum(1, keepdims=True),
        "b1": lambda dhprebn: dhprebn.sum(0),
    }
    print(compare(mine, {name: engine[name] for name in mine}, root=engine["loss"], again=again))
