"""Step 4: training with hand-written gradients only, beside the engine from the same seed.

Run me: python examples/by_hand/step4_training.py
"""

import numpy as np
from network import PARAMETERS, examples, forward, on_tensors, parameters, source, words
from step2_cross_entropy import cross_entropy_gradient
from step3_batchnorm import batchnorm_gradient


def gradients_by_hand(p, X, Y):
    """The loss, and the gradients of the seven parameters, in the fewest lines: no engine."""
    t = forward(p, X, Y)
    dlogits = cross_entropy_gradient(t.logits, Y)
    dhpreact = (1.0 - t.h**2) * (dlogits @ t.W2.T)
    dhprebn = batchnorm_gradient(dhpreact, t.bnraw, t.bngain, t.bnvar_inv)
    dC = np.zeros_like(t.C)
    np.add.at(dC, X, (dhprebn @ t.W1.T).reshape(t.emb.shape))
    return t.loss, {
        "C": dC,
        "W1": t.embcat.T @ dhprebn,
        "b1": dhprebn.sum(0),
        "W2": t.h.T @ dlogits,
        "b2": dlogits.sum(0),
        "bngain": (t.bnraw * dhpreact).sum(0, keepdims=True),
        "bnbias": dhpreact.sum(0, keepdims=True),
    }


def gradients_by_engine(p, X, Y):
    """The same from `backward`."""
    t = on_tensors(p, X, Y)
    t.loss.backward()
    return t.loss.item(), {name: getattr(t, name).grad for name in PARAMETERS}


def train(gradients, words, steps=200, n=32, lr=0.1, seed=42):
    """Losses of all steps, and the parameters at the end."""
    X, Y, letters = examples(words)
    rng = np.random.default_rng(seed)
    p = parameters(len(letters), rng)
    losses = []
    for _ in range(steps):
        rows = rng.integers(0, len(X), n)
        loss, slopes = gradients(p, X[rows], Y[rows])
        p = {name: array - lr * slopes[name] for name, array in p.items()}
        losses.append(float(loss))
    return losses, p


if __name__ == "__main__":
    print(f"learned from {source()}")
    by_hand, p = train(gradients_by_hand, words())
    by_engine, q = train(gradients_by_engine, words())
    print(f"by hand:     {by_hand[0]:.4f} at first, {sum(by_hand[-50:]) / 50:.4f} over the last 50 steps")
    print(f"by engine:   {by_engine[0]:.4f} at first, {sum(by_engine[-50:]) / 50:.4f} over the last 50 steps")
    print(f"largest difference of a loss: {max(abs(a - b) for a, b in zip(by_hand, by_engine, strict=True)):.1e}")
    print(f"largest difference of a parameter: {max(abs(p[k] - q[k]).max() for k in p):.1e}")
