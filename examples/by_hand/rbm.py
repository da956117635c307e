"""A restricted Boltzmann machine, trained by contrastive divergence on small handwritten digits: no loss, yet a gradient.

Visible units v (the pixels) and hidden units h are 0 or 1; each pair of them has a weight, and a configuration has the
energy E(v, h) = -a.v - b.h - v.W.h. Low energy is likely: p(v, h) = exp(-E) / Z. Given one layer the units of the other
are independent, which makes sampling easy; and h can be summed out, which leaves the free energy of `free_energy` below.

Learning makes the free energy of data low, and that of everything else high, because Z adds up everything else. For that
second half one would need samples of the model. Contrastive divergence (Hinton 2002, "Training products of experts by
minimizing contrastive divergence") takes what k steps of sampling make of the data instead. docs/by_hand.md derives the
gradient; starting values are those of Hinton 2012, "A practical guide to training restricted Boltzmann machines".

Run me: python examples/by_hand/rbm.py [picture.png]
"""

from itertools import product
from types import SimpleNamespace

import numpy as np
from differences import worst_difference
from picture import INK, new_figure, save, wanted

from chainrule.check import compare
from chainrule.data import digits, split
from chainrule.tensor import Tensor

ARRAYS = SimpleNamespace(softplus=lambda x: np.logaddexp(0.0, x))
TENSORS = SimpleNamespace(softplus=Tensor.softplus)


def sigmoid(x):
    """The probability of a one."""
    e = np.exp(-np.abs(x))  # of no positive number: no overflow. 0.5 + 0.5 tanh(x / 2) would round small ones; compare sees it
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def parameters(X, hidden, rng):
    """Small weights, no hidden bias, and visible biases with which the machine knows the mean of the rows of X and no more."""
    mean = X.mean(0).clip(0.02, 0.98)
    return {
        "W": rng.normal(size=(X.shape[1], hidden)) * 0.01,
        "a": np.log(mean / (1.0 - mean)),
        "b": np.zeros(hidden),
    }


def free_energy(p, v, m=ARRAYS):
    """F(v) = -log of the sum over h of exp(-E(v, h)), one number per row of v."""
    return -(v @ p["a"]) - m.softplus(v @ p["W"] + p["b"]).sum(1)


def slopes(p, v, weight):
    """d(sum of weight * F(v))/d(parameters): F is a sum over hidden units, and the slope of softplus is sigmoid."""
    h = sigmoid(v @ p["W"] + p["b"])
    g = weight[:, None]
    return {"W": -(g * v).T @ h, "a": -(g * v).sum(0), "b": -(g * h).sum(0)}


def after(p, v, k, rng, drawn=False):
    """The rows of v after k steps of sampling: hidden units from visible ones, and visible ones back from them.

    Hidden units are drawn. Visible ones stay probabilities, which is less noisy and lets them be grey (Hinton 2012, 3.2);
    drawn=True draws them as well, as theory has it.
    """
    for _ in range(k):
        h = rng.random((len(v), len(p["b"]))) < sigmoid(v @ p["W"] + p["b"])
        v = sigmoid(h @ p["W"].T + p["a"])
        if drawn:
            v = (rng.random(v.shape) < v).astype(float)
    return v


def contrastive_divergence(p, v0, vk):
    """The gradient that CD-k descends: of the mean of F(v0) less the mean of F(vk), with vk held as it is."""
    n = np.full(len(v0), 1.0 / len(v0))
    positive, negative = slopes(p, v0, n), slopes(p, vk, n)
    return {name: positive[name] - negative[name] for name in p}


def train(p, X, rng, epochs=60, n=10, lr=0.1, k=1, drawn=False):
    """The parameters after so many passes through the rows of X in batches of n."""
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(X)), max(1, len(X) // n)):
            g = contrastive_divergence(p, X[rows], after(p, X[rows], k, rng, drawn))
            p = {name: array - lr * g[name] for name, array in p.items()}
    return p


def reconstructed(p, v):
    """What the machine makes of v when it has to remember it by its hidden units: probabilities, once there and back."""
    return sigmoid(sigmoid(v @ p["W"] + p["b"]) @ p["W"].T + p["a"])


def reconstruction_error(p, v):
    """The mean squared difference of a pixel."""
    return float(((reconstructed(p, v) - v) ** 2).mean())


# ---- is the gradient right? ------------------------------------------------------------------------------------------


def on_tensors(p, v0, vk):
    """What CD-k differentiates, recorded by the engine: (loss, parameters)."""
    q = {name: Tensor(array, requires_grad=True, label=name) for name, array in p.items()}
    loss = free_energy(q, v0, TENSORS).mean() - free_energy(q, vk, TENSORS).mean()
    return loss, q


# ---- and is it the gradient one wants? On a machine so small that everything can be added up ---------------------------


def bars_and_stripes():
    """The 14 pictures of 3 x 3 pixels in which every row, or every column, is of one colour."""
    stripes = [np.outer(line, np.ones(3)) for line in product((0.0, 1.0), repeat=3)]
    return np.unique([each.ravel() for stripe in stripes for each in (stripe, stripe.T)], axis=0)


def everything(units):
    """Every state of so many units."""
    return np.array(list(product((0.0, 1.0), repeat=units)))


def likelihood_gradient(p, X):
    """d(minus the mean log-likelihood of X)/d(parameters), exactly: data against all that the model dreams of."""
    states = everything(len(p["a"]))
    dreams = np.exp(-free_energy(p, states) - log_z(p))
    data, model = slopes(p, X, np.full(len(X), 1 / len(X))), slopes(p, states, dreams)
    return {name: data[name] - model[name] for name in p}


def log_z(p):
    """The logarithm of the sum of exp(-F) over every visible state."""
    return np.logaddexp.reduce(-free_energy(p, everything(len(p["a"]))))


def expected_divergence(p, X, k):
    """The mean of `contrastive_divergence` over all that sampling can bring, from the probabilities of every step."""
    v, h = everything(len(p["a"])), everything(len(p["b"]))

    def chance(states, given):  # of every state of a layer, given the probabilities of its units
        return np.exp(np.log(given) @ states.T + np.log(1.0 - given) @ (1.0 - states).T)

    there, back = chance(h, sigmoid(v @ p["W"] + p["b"])), chance(v, sigmoid(h @ p["W"].T + p["a"]))
    share = (X[:, None] == v).all(2).mean(0)  # how often each state is in the data
    moved = share
    for _ in range(k):
        moved = moved @ there @ back
    data, chain = slopes(p, v, share), slopes(p, v, moved)
    return {name: data[name] - chain[name] for name in p}


def angle(g, other):
    """Between two gradients, in degrees."""
    x, y = (np.concatenate([each[name].ravel() for name in sorted(each)]) for each in (g, other))
    return float(np.degrees(np.arccos(np.clip(x @ y / np.linalg.norm(x) / np.linalg.norm(y), -1.0, 1.0))))


# ---- the lesson ------------------------------------------------------------------------------------------------------


def pixels():
    """The digits with grey levels from 0 to 1: (to learn from, held out, which digit each held-out one is)."""
    learn, held_out = split(digits())
    return np.array(learn.X) / 16.0, np.array(held_out.X) / 16.0, np.array(held_out.y)


def mosaic(images, columns):
    """Images of 8 x 8 side by side, with a line of nothing around each."""
    tiles = np.pad(images.reshape(-1, columns, 8, 8), ((0, 0), (0, 0), (1, 0), (1, 0)), constant_values=np.nan)
    whole = tiles.transpose(0, 2, 1, 3).reshape(-1, columns * 9)
    return np.pad(whole, ((0, 1), (0, 1)), constant_values=np.nan)


def picture(before, p, V, labels, rng):
    """Held-out digits, one of each class, what the machine makes of them before and after training, dreams, and weights."""
    shown = V[[int(np.flatnonzero(labels == label)[0]) for label in range(10)]]
    noise = rng.random((10, V.shape[1]))
    rows = {
        "held out": shown,
        "remembered,\nuntrained": reconstructed(before, shown),
        "remembered,\ntrained": reconstructed(p, shown),
        "dreamt,\nout of noise": after(p, noise, 2000, rng),
    }
    figure = new_figure(11.0, 3.8)
    axes = figure.subplot_mosaic([[name, "weights"] for name in rows], width_ratios=(91, 37))
    for name, images in rows.items():
        axes[name].imshow(mosaic(images, 10), cmap="gray_r", vmin=0.0, vmax=1.0)
        axes[name].set_ylabel(name, rotation=0, ha="right", va="center", color=INK)
    far = abs(p["W"]).max()
    axes["weights"].imshow(mosaic(p["W"].T, 8), cmap="RdBu", vmin=-far, vmax=far)
    axes["held out"].set_title(f"What {len(p['b'])} hidden units remember of a digit", color=INK)
    axes["weights"].set_title("What each of them looks for", color=INK)
    axes["weights"].set_xlabel("blue: ink here, red: no ink here", color=INK)
    axes["weights"].set_anchor("N")
    for each in axes.values():
        each.set(xticks=[], yticks=[], facecolor="#d8d8d8")
        each.spines[:].set_visible(False)
    return figure


def judge(p, v0, rng):
    """Print what the engine and centred differences say of the gradient of CD-1."""
    vk = after(p, v0, 1, rng)
    g = contrastive_divergence(p, v0, vk)
    loss, q = on_tensors(p, v0, vk)
    print(compare(g, q, root=loss))

    def objective(p):
        return free_energy(p, v0).mean() - free_energy(p, vk).mean()

    print(f"centred differences are within {worst_difference(objective, p, g, rng):.1e} of the largest slope")


def show_the_bias(rng):
    """Print how far CD-k points away from the gradient of the likelihood, while a small machine learns bars and stripes."""
    X = bars_and_stripes()
    p, steps = parameters(X, 6, rng), 0
    print(f"bars and stripes, {len(X)} pictures: the least loss is log {len(X)} = {np.log(len(X)):.3f}")
    for more in (0, 1000, 1000, 2000):
        p, steps = train(p, X, rng, more, len(X), drawn=True), steps + more
        true = likelihood_gradient(p, X)
        off = ", ".join(f"CD-{k} {angle(expected_divergence(p, X, k), true):.1f}" for k in (1, 10, 100, 1000))
        print(f"after {steps} steps of CD-1: loss {free_energy(p, X).mean() + log_z(p):.3f}; degrees off: {off}")


def learn_digits(rng):
    """(parameters before, and after training; the held-out digits, and which digit each is; some that were learned)."""
    X, V, labels = pixels()
    before = parameters(X, 64, rng)
    p = train(train(before, X, rng), X, rng, epochs=20, lr=0.02)  # smaller steps at the end: sampling is noisy
    return before, p, V, labels, X[:32]


if __name__ == "__main__":
    path = wanted("rbm")
    rng = np.random.default_rng(0)
    before, p, V, labels, some = learn_digits(rng)
    judge(p, some, rng)
    for name, each in (("before", before), ("after", p)):
        print(f"held-out digits, error of a remembered pixel {name} training: {reconstruction_error(each, V):.4f}")
    show_the_bias(rng)
    save(picture(before, p, V, labels, rng), path)
