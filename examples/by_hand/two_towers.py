"""Two towers: pictures and sentences meet in one space, by a max-margin loss that sees only which belong together.

A picture is a few regions, each a row of numbers; a sentence is a few phrases of two words, such as "red ball". One tower
makes a vector v of a region, the other a vector s of a phrase, and v.s says how well they fit. What fits scores:

    score of picture k and sentence l = sum over regions i and phrases j of max(0, v_i . s_j), over their numbers

Learning asks that the score of a pair that belongs together exceeds, by a margin, that of its picture with every other
sentence and that of its sentence with every other picture. Nobody says which region a phrase is about; that comes out.
After Karpathy, Joulin and Fei-Fei 2014, "Deep fragment embeddings for bidirectional image sentence mapping": their global
ranking objective, with dependency relations as phrases and the features of a convolutional network as regions. Here both
are made up, so that the right answer is known. Left out: their second objective, which matches fragments by sign.
docs/by_hand.md derives the gradient.

Run me: python examples/by_hand/two_towers.py [picture.png]
"""

from types import SimpleNamespace

import numpy as np
from differences import worst_difference
from picture import INK, new_figure, save, wanted

from chainrule.check import compare
from chainrule.tensor import Tensor

COLOURS = ("red", "green", "blue", "yellow", "black", "white")
SHAPES = ("ball", "box", "cone", "ring", "star", "cube")
WORDS = COLOURS + SHAPES
FEATURES, MARGIN = 24, 1.0
FEW = 5.0  # counts as so many phrases more, or a sentence of one lucky phrase would win (the paper's n)
ARRAYS = SimpleNamespace(relu=lambda x: np.maximum(x, 0.0))
TENSORS = SimpleNamespace(relu=Tensor.relu)


# ---- a world of coloured things --------------------------------------------------------------------------------------


def looks(rng):
    """What an eye sees of each word: one row of numbers for each colour, and for each shape."""
    return rng.normal(size=(len(WORDS), FEATURES))


def scenes(count, looks, rng, noise=0.3):
    """So many pictures of three to five things, each with a sentence that mentions two or three of them.

    regions: (regions, FEATURES), all pictures one after the other: what is seen, and noise. phrases: (phrases, 2) numbers
    of words. picture_of, sentence_of: which one each belongs to. shown, about: the words of each region, and the region
    of each phrase; they are for the judge, no tower sees them.
    """
    regions, phrases, picture_of, sentence_of, shown, about = [], [], [], [], [], []
    for k in range(count):
        things = rng.permutation(len(COLOURS) * len(SHAPES))[: rng.integers(3, 6)]
        words = np.stack([things // len(SHAPES), len(COLOURS) + things % len(SHAPES)], axis=1)
        said = rng.permutation(len(things))[: rng.integers(2, 4)]
        about += list(len(shown) + said)
        shown += list(words)
        phrases += list(words[said])
        picture_of += [k] * len(things)
        sentence_of += [k] * len(said)
        regions += list(looks[words].sum(1) + noise * rng.normal(size=(len(things), FEATURES)))
    found = {"regions": regions, "phrases": phrases, "picture_of": picture_of, "sentence_of": sentence_of}
    found |= {"shown": shown, "about": about}
    return SimpleNamespace(count=count, **{name: np.array(rows) for name, rows in found.items()})


def pick(data, chosen):
    """Some of the pictures with their sentences, in the order given."""
    regions = np.concatenate([np.flatnonzero(data.picture_of == k) for k in chosen])
    phrases = np.concatenate([np.flatnonzero(data.sentence_of == k) for k in chosen])
    place, now_at = {k: i for i, k in enumerate(chosen)}, {r: i for i, r in enumerate(regions)}
    return SimpleNamespace(
        count=len(chosen),
        regions=data.regions[regions],
        phrases=data.phrases[phrases],
        shown=data.shown[regions],
        picture_of=np.array([place[k] for k in data.picture_of[regions]]),
        sentence_of=np.array([place[k] for k in data.sentence_of[phrases]]),
        about=np.array([now_at[r] for r in data.about[phrases]]),
    )


def averages(data):
    """The two matrices that turn dot products of fragments into scores: A over regions, B over phrases."""
    A = (np.arange(data.count)[:, None] == data.picture_of) * 1.0
    B = (np.arange(data.count)[:, None] == data.sentence_of) * 1.0
    return A / A.sum(1, keepdims=True), (B / (B.sum(1, keepdims=True) + FEW)).T


# ---- the network -----------------------------------------------------------------------------------------------------


def parameters(rng, size=16, embedding=8):
    """The five parameters by name: one matrix and bias for regions; word vectors, a matrix and a bias for phrases."""
    return {
        "Wv": rng.normal(size=(FEATURES, size)) / FEATURES**0.5,
        "bv": rng.normal(size=size) * 0.1,
        "C": rng.normal(size=(len(WORDS), embedding)),
        "Ws": rng.normal(size=(2 * embedding, size)) / (2 * embedding) ** 0.5,
        "bs": rng.normal(size=size) * 0.1,
    }


def forward(p, data, m=ARRAYS):
    """The loss of a batch and every step on the way to it, by name."""
    t = SimpleNamespace(**p)
    n = data.count
    A, B = averages(data)
    # the towers
    t.v = data.regions @ t.Wv + t.bv  # (regions, size)
    t.words = t.C[data.phrases].reshape(len(data.phrases), -1)  # (phrases, 2 * embedding)
    t.hs = t.words @ t.Ws + t.bs
    t.s = m.relu(t.hs)  # (phrases, size)
    # every region with every phrase, then every picture with every sentence
    t.dots = t.v @ t.s.T  # (regions, phrases)
    t.fits = m.relu(t.dots)
    t.scores = A @ t.fits @ B  # (n, n)
    # by how much each wrong pair comes too near to the right one: of this picture, and of this sentence
    right = t.scores[np.arange(n), np.arange(n)]
    t.too_near = t.scores - right.reshape(n, 1) + MARGIN
    t.too_near_too = t.scores - right + MARGIN
    wrong = 1.0 - np.eye(n)
    t.loss = ((m.relu(t.too_near) + m.relu(t.too_near_too)) * wrong).sum() / n
    return t


def backward(t, data):
    """d(loss)/d(everything), outputs first; by name, without the d."""
    n = data.count
    A, B = averages(data)
    wrong = 1.0 - np.eye(n)
    # each wrong pair that is too near is pushed down, once or twice, and pulls its right pairs up as often
    dtoo_near = (t.too_near > 0) * wrong / n
    dtoo_near_too = (t.too_near_too > 0) * wrong / n
    dscores = dtoo_near + dtoo_near_too
    dscores[np.arange(n), np.arange(n)] -= dtoo_near.sum(1) + dtoo_near_too.sum(0)
    dfits = A.T @ dscores @ B.T
    ddots = dfits * (t.dots > 0)
    # the tower of phrases
    ds = ddots.T @ t.v
    dhs = ds * (t.hs > 0)
    dwords = dhs @ t.Ws.T
    dWs = t.words.T @ dhs
    dbs = dhs.sum(0)
    dC = np.zeros_like(t.C)
    np.add.at(dC, data.phrases, dwords.reshape(*data.phrases.shape, -1))
    # the tower of regions
    dv = ddots @ t.s
    dWv = data.regions.T @ dv
    dbv = dv.sum(0)
    found = locals()
    return {name: found["d" + name] for name in vars(t) if "d" + name in found}


def train(p, data, rng, steps=1000, n=40, lr=0.05):
    """The parameters after so many steps of gradient descent with batches of n pairs."""
    for _ in range(steps):
        some = pick(data, rng.permutation(data.count)[:n])
        g = backward(forward(p, some), some)
        p = {name: array - lr * g[name] for name, array in p.items()}
    return p


# ---- what has it learned? --------------------------------------------------------------------------------------------


def recall(scores):
    """Recall at 1, both ways: the share of pictures whose best sentence is their own, and of sentences likewise."""
    own = np.arange(len(scores))
    return float((scores.argmax(1) == own).mean()), float((scores.argmax(0) == own).mean())


def pointing(dots, data):
    """The share of phrases that fit the region they are about better than all others of their picture."""
    inside = np.where(data.picture_of[:, None] == data.sentence_of, dots, -np.inf)
    return float((inside.argmax(0) == data.about).mean())


def known(data):
    """The scores by one who knows what every region shows: it fits a phrase of the same two words by 1, all others by 0."""
    A, B = averages(data)
    return A @ (data.shown[:, None] == data.phrases).all(2) @ B


# ---- the lesson ------------------------------------------------------------------------------------------------------


def on_tensors(p, data):
    """The same forward pass, recorded by the engine, with its names."""
    t = forward({name: Tensor(array, requires_grad=True) for name, array in p.items()}, data, TENSORS)
    for name, tensor in vars(t).items():
        tensor.label = name
    return t


def judge(p, data, rng):
    """Print what the engine and centred differences say of the gradients."""
    mine, engine = backward(forward(p, data), data), on_tensors(p, data)
    print(compare(mine, {name: getattr(engine, name) for name in mine}, root=engine.loss))
    worst = worst_difference(lambda p: forward(p, data).loss, p, {name: mine[name] for name in p}, rng)
    print(f"centred differences are within {worst:.1e} of the largest slope")


def report(when, t, data):
    """Print how well pictures and sentences find each other, and phrases their regions."""
    there, back = recall(t.scores)
    print(f"{when}: own sentence first {there:.0%}, own picture first {back:.0%}; ", end="")
    print(f"phrases that point right {pointing(t.dots, data):.0%}")


def spoken(words):
    """Such as "red ball"."""
    return " ".join(WORDS[i] for i in words)


def picture(before, after, data, shown=40):
    """Scores of the first held-out pairs before and after training, and one pair, region by region and phrase by phrase."""
    figure = new_figure(12.0, 4.1)
    axes = figure.subplots(1, 3, width_ratios=(4, 4, 3))
    for each, t, when in zip(axes, (before, after), ("Untrained", "Trained"), strict=False):
        image = each.imshow(t.scores[:shown, :shown], cmap="Blues", vmin=0.0)
        figure.colorbar(image, ax=each, shrink=0.8, aspect=30)
        there, back = recall(t.scores)
        each.set_title(f"{when}: own sentence first {there:.0%},\nown picture first {back:.0%}", color=INK)
        each.set(xlabel=f"{shown} held-out sentences", ylabel="and their pictures", xticks=[], yticks=[])
    k = int(np.argmax(np.bincount(data.picture_of) + np.bincount(data.sentence_of)))  # the richest scene
    regions, phrases = np.flatnonzero(data.picture_of == k), np.flatnonzero(data.sentence_of == k)
    inside = after.fits[np.ix_(regions, phrases)]
    axes[2].imshow(inside, cmap="Blues", vmin=0.0, aspect="auto")
    for (i, j), fit in np.ndenumerate(inside):
        axes[2].text(j, i, f"{fit:.0f}", ha="center", va="center", color="white" if fit > 0.5 * inside.max() else INK)
    axes[2].set_xticks(range(len(phrases)), [spoken(data.phrases[j]).replace(" ", "\n") for j in phrases])
    axes[2].set_yticks(range(len(regions)), [spoken(data.shown[i]) for i in regions])
    axes[2].set_title("Inside of one pair: which region\na phrase is about, max(0, v·s)", color=INK)
    axes[2].set(xlabel="phrases", ylabel="regions, and what they show")
    return figure


def learn_scenes(rng):
    """(parameters before, and after training; pairs learned from, and 100 held-out pairs)."""
    world = looks(rng)
    data, held_out = scenes(1000, world, rng), scenes(100, world, rng)
    before = parameters(rng)
    return before, train(before, data, rng), data, held_out


if __name__ == "__main__":
    path = wanted("two_towers")
    rng = np.random.default_rng(0)
    before, p, data, held_out = learn_scenes(rng)
    judge(before, pick(data, range(20)), rng)
    untrained, trained = forward(before, held_out), forward(p, held_out)
    report("100 held-out pairs, untrained", untrained, held_out)
    report("100 held-out pairs, trained", trained, held_out)
    there, back = recall(known(held_out))
    print(f"one who knew what every region shows would find {there:.0%} and {back:.0%}: some sentences fit two pictures")
    save(picture(untrained, trained, held_out), path)
