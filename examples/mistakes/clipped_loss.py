"""Mistake: to tame a large loss, its errors are clipped, and those who are most wrong stop learning.

What goes wrong: outside of its limits a clipped number is constant, so the gradient through it is exactly zero, not small.
An example far off its target, the very one to learn from, says nothing any more.
How one notices: the clipped loss looks small and flat; ask which predictions have a gradient of zero.
The cure: leave the loss alone and clip the gradient, all of it by one factor, so that its direction stays
(`clip_grad_norm`); or a loss that grows linearly far out, such as Huber's.

Run me: python examples/mistakes/clipped_loss.py
"""

import numpy as np

from chainrule.optim import SGD, clip_grad_norm
from chainrule.tensor import Tensor

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, 200)
Y = 30.0 * X - 10.0 + rng.normal(0, 0.5, 200)


def train(clip_the_loss, steps=400, lr=0.1):
    """Fit a line; its numbers and squared error, and of the first step the share of silent examples and the gradient's norm.

    The norm is that of the gradient of the loss, before it is clipped.
    """
    w, b = Tensor(0.0, requires_grad=True), Tensor(0.0, requires_grad=True)
    optimizer = SGD([w, b], lr=lr)
    silent, norms = [], []
    for _ in range(steps):
        prediction = w * X + b
        error = prediction - Y
        if clip_the_loss:
            error = error.minimum(1.0).maximum(-1.0)
        loss = (error * error).mean()
        optimizer.zero_grad()
        loss.backward(retain_grad=True)
        norms.append(np.hypot(w.grad, b.grad) if clip_the_loss else clip_grad_norm([w, b], max_norm=1.0))  # the norm before
        optimizer.step()
        silent.append(float((prediction.grad == 0).mean()))
    return w.item(), b.item(), float(((w.data * X + b.data - Y) ** 2).mean()), silent[0], norms[0]


if __name__ == "__main__":
    print("The line is 30 x - 10.")
    for clip_the_loss in (True, False):
        w, b, error, silent, norm = train(clip_the_loss)
        print(f"{'loss' if clip_the_loss else 'gradient'} clipped: {silent:.1%} of the examples have a gradient of exactly zero;")
        print(f"  first gradient of norm {norm:.4f}, found {w:.2f} x {b:+.2f}, squared error {error:.2f}")
