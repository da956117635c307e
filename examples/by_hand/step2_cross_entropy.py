"""Step 2: the backward pass of cross-entropy in one expression; docs/by_hand.md derives it, and shows the picture.

Run me: python examples/by_hand/step2_cross_entropy.py [picture.png]
"""

import numpy as np
from network import batch, examples, forward, on_tensors, source, words
from picture import INK, PULL, PUSH, new_figure, save, wanted

from chainrule.check import compare


def cross_entropy_gradient(logits, Y):
    """d(mean cross-entropy)/d(logits): the probabilities, less one at the right letter, over the number of rows."""
    n = len(Y)
    dlogits = np.exp(logits - logits.max(1, keepdims=True))
    dlogits /= dlogits.sum(1, keepdims=True)
    dlogits[np.arange(n), Y] -= 1.0
    return dlogits / n


def picture(dlogits, X, Y, letters):
    """The gradient as forces: all rows of the batch, and the row with the strongest push, letter by letter.

    A step of gradient descent moves a logit against its gradient, so what is drawn is -n * dlogits: up is up.
    """
    forces = -dlogits * len(Y)
    contexts = ["".join(letters[i] for i in x) for x in X]
    figure = new_figure(12.0, 5.6)
    left, right = figure.subplots(1, 2, width_ratios=(5, 6))
    # One letter is pulled, many share the push: each side of zero gets a scale of its own.
    lowest = forces.min()
    scaled = np.where(forces < 0, forces / -lowest, forces)
    bar = figure.colorbar(left.imshow(scaled, cmap="RdBu", vmin=-1.0, vmax=1.0, aspect="auto"), ax=left, aspect=40)
    bar.set_ticks([-1.0, -0.5, 0.0, 0.5, 1.0], labels=[f"{lowest:.2f}", f"{lowest / 2:.2f}", "0", "0.5", "1"])
    bar.set_label("push (red), pull (blue)")
    left.set_xticks(range(len(letters)), letters, fontsize=8)
    left.set_yticks(range(len(Y)), contexts, fontsize=7, family="monospace")
    left.set(xlabel="logit of the letter", ylabel="three letters that went in")
    left.set_title("Every row: one pull, many pushes, sum zero", color=INK)
    row = int(forces.min(1).argmin())
    left.get_yticklabels()[row].set(color=PUSH, fontweight="bold")
    one_row(right, forces[row], int(Y[row]), letters)
    right.set_title(f"The row '{contexts[row]}', after which comes '{letters[Y[row]]}'", color=INK)
    return figure


def one_row(axes, forces, right, letters):
    """Bars for the forces of one row."""
    pull, push, lowest = forces[right], -forces[forces < 0].sum(), forces.min()
    axes.bar(range(len(letters)), forces, color=[PULL if f > 0 else PUSH for f in forces])
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_xticks(range(len(letters)), letters)
    axes.set(xlabel="logit of the letter", ylabel="force: one-hot minus probability", ylim=(2.2 * lowest, 1.0))
    middle = (len(letters) - 1) / 2
    side = {"ha": "left", "x": right + 0.7} if right < middle else {"ha": "right", "x": right - 0.7}
    axes.text(y=0.9 * pull, s=f"the right letter is pulled up\nwith 1 - p = {pull:.2f}", va="top", color=PULL, **side)
    text = f"every other is pushed down with its p, together {push:.2f}"
    axes.text(middle, 1.6 * lowest, text, ha="center", va="center", color=PUSH)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    path = wanted("dlogits")
    p, X, Y = batch()
    t, engine = forward(p, X, Y), on_tensors(p, X, Y)
    dlogits = cross_entropy_gradient(t.logits, Y)
    print(compare(dlogits, engine.logits, name="logits", root=engine.loss))
    row = dlogits[0] * len(Y)
    print(f"row 0: the right letter is pulled up with {-row[Y[0]]:.4f}, all others are pushed down with {row[row > 0].sum():.4f}")
    print(f"the largest sum of a row: {abs(dlogits.sum(1)).max():.1e}")
    print(f"learned from {source()}")
    save(picture(dlogits, X, Y, examples(words()[:2000])[2]), path)
