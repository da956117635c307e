"""The pictures of a run: the loss curve, the decision boundary, the graph of one neuron; of names the curve and the letters.

Each function returns the bytes of a file and touches no state of matplotlib's pyplot. Imports data, show, engine,
errors, and model, loop beside it; matplotlib at use.
"""

import contextlib
import copy
import functools
import importlib
import io
import math
import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from chainrule.data import Dataset
from chainrule.engine import Value, no_grad
from chainrule.errors import GraphError, MissingDependencyError
from chainrule.show import Dot, draw_dot
from chainrule.train.loop import Record
from chainrule.train.model import Model
from chainrule.train.progress import measure_in_words

P = ParamSpec("P")
T = TypeVar("T")

COLORS = ("#d1495b", "#30638e", "#edae49", "#4b8f5c", "#8e6c8a", "#6b6b6b", "#00798c", "#b5651d", "#c77dff", "#222222")
LONGEST = 24  # of a name, in signs
MOST_ENTRIES = len(COLORS)  # of a legend
PRODUCTS_PER_GRID = 1_000_000  # what the pure engine does in about three seconds


def require_matplotlib() -> None:
    """Raise MissingDependencyError, before any work is done, where matplotlib is not installed."""
    try:
        importlib.import_module("matplotlib.backends.backend_agg")
    except ImportError:
        raise MissingDependencyError("drawing needs matplotlib; install it with: pip install 'chainrule[train]'") from None


def without_warnings(draw: Callable[P, T]) -> Callable[P, T]:
    """What matplotlib warns of (a script that its font has not, numbers that leave no room) is no news to who trains."""

    @functools.wraps(draw)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> T:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return draw(*args, **kwargs)

    return quiet


@without_warnings
def loss_curve(history: Sequence[Record], measure_name: str, name: str, title: str, *, batches: bool) -> bytes:
    """loss.png: the loss by step, and below it the accuracy (or the error of a regression).

    name, title: of the data, and what is shown of them.
    batches: whether each step saw a batch only; then the curves are noisy, and their running mean is drawn over them.
    """
    figure = new_figure(7.0, 5.5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    steps = [record.step for record in history]
    factor, unit = (100.0, " (%)") if measure_name == "accuracy" else (1.0, "")
    _curve(above, steps, [record.loss for record in history], COLORS[1], "training loss", batches)
    _curve(below, steps, [factor * record.measure for record in history], COLORS[1], f"training {measure_name}", batches)
    tests = [(record.step, factor * record.test_measure) for record in history if math.isfinite(record.test_measure)]
    if tests:
        below.plot(*zip(*tests, strict=True), "o-", color=COLORS[0], markersize=4, label=f"held-out {measure_name}")
    if min(record.loss for record in history) > 0:
        above.set_yscale("log")
    above.set_title(f"{literal(name)}: {title}")
    above.set_ylabel("loss")
    below.set_ylabel(f"{measure_name}{unit}")
    below.set_xlabel("step")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.legend(loc="best", framealpha=0.9)
    return _png(figure)


def _curve(axes: Any, steps: Sequence[int], ys: Sequence[float], color: str, label: str, batches: bool) -> None:
    if not batches:
        axes.plot(steps, ys, color=color, label=label)
        return
    axes.plot(steps, ys, color=color, alpha=0.3, linewidth=0.8, label=f"{label}, batch")
    axes.plot(steps, running_means(ys), color=color, label=f"mean of {2 * (len(ys) // 40) + 1} steps")


def running_means(ys: Sequence[float]) -> list[float]:
    """The mean of as many numbers before as after each, a twentieth of all together, and near the ends of fewer: else it would
    lag behind a curve that falls."""
    half = len(ys) // 40
    sides = [min(half, i, len(ys) - 1 - i) for i in range(len(ys))]
    return [math.fsum(ys[i - side : i + side + 1]) / (2 * side + 1) for i, side in enumerate(sides)]


SMOOTHED = 1000  # steps, as in the lecture


@without_warnings
def spelling_curve(records: Sequence[Any], name: str, *, window: int, guess: float) -> bytes:
    """loss.png of a run on names: the mean loss of each window of steps and of SMOOTHED steps, and the validation loss.

    records: as the trainer of names has them, the last of the finished net. name: of the list. window: steps per record.
    guess: the loss of a fair guess.
    """
    *rows, final = records
    figure = new_figure(7.0, 5.0)
    axes = figure.subplots()
    steps, losses = [row.step + window / 2 for row in rows], [row.loss for row in rows]
    width = max(1, min(SMOOTHED // window, len(rows) // 10))
    many = "batch" if window == 1 else f"mean of {window:,} batches"
    axes.plot(steps, losses, color=COLORS[1], alpha=0.35, linewidth=0.8, label=f"training, {many}")
    if width > 1:
        pieces = range(0, len(rows) - width + 1, width)
        middles = [math.fsum(steps[i : i + width]) / width for i in pieces]
        means = [math.fsum(losses[i : i + width]) / width for i in pieces]
        axes.plot(middles, means, color=COLORS[1], label=f"training, mean of {width * window:,} batches")
    judged = [(row.step, row.validation_loss) for row in records if math.isfinite(row.validation_loss)]
    axes.plot(*zip(*judged[1:], strict=True), "o-", color=COLORS[0], markersize=4, label="validation")
    # From the net as drawn it falls in far fewer steps than the line to the next point has, so that is dotted.
    axes.plot(*zip(*judged[:2], strict=True), "o:", color=COLORS[0], markersize=4, linewidth=1.0)
    axes.plot([final.step], [final.loss], "s", color=COLORS[1], markersize=5, label="training, all of it, at the end")
    axes.axhline(guess, color="gray", linestyle="--", linewidth=1.0, label=f"a guess: {guess:.2f}")
    axes.set_title(f"{literal(name)}: loss {final.loss:.3f} training, {final.validation_loss:.3f} validation")
    axes.set_xlabel("step")
    axes.set_ylabel("cross-entropy loss")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", framealpha=0.9)
    return _png(figure)


@without_warnings
def embedding(weight: Any, characters: Sequence[str], name: str) -> bytes:
    """embedding.png: the characters where the net has put them, seen from the side from which they differ most.

    weight: one row of numbers per token: the boundary, then the characters. The two axes are the first principal components.
    A character that no font has is shown by its code; `embedding_remarks` tells of that.
    """
    numpy = importlib.import_module("numpy")
    centred = weight - weight.mean(axis=0)
    _, sizes, directions = numpy.linalg.svd(centred.astype(float), full_matrices=False)
    places = centred @ directions[:2].T
    places = places if places.shape[1] == 2 else numpy.column_stack([places, numpy.zeros(len(places))])
    share = float((sizes[:2] ** 2).sum() / max((sizes**2).sum(), 1e-300))
    families, without = _fonts("".join(characters) + name)
    figure = new_figure(6.5, 6.0)
    axes = figure.subplots()
    axes.scatter(places[1:, 0], places[1:, 1], s=9, color=COLORS[1], alpha=0.6)
    axes.scatter(*places[0], s=30, color=COLORS[0], marker="s", label="the boundary, before and after each word")
    if len(characters) <= MOST_LABELS:
        _label(axes, places, [_shown(c, without) for c in characters], list(families))
    axes.set_title(f"{literal(name)}: the embedding ({100 * share:.0f} % of its variance)", family=list(families))
    axes.set_xlabel("first principal component")
    axes.set_ylabel("second")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False)
    return _png(figure)


MOST_LABELS = 100  # more would cover the picture


def embedding_remarks(characters: Sequence[str]) -> list[str]:
    """What embedding.png does not show as one would like, in a sentence."""
    if len(characters) > MOST_LABELS:
        return [f"embedding.png shows the {len(characters):,} characters as points: so many labels would cover each other"]
    _, without = _fonts("".join(characters))
    bare = [c for c in characters if _shown(c, without).startswith("U+")]
    if not bare:
        return []
    what = f"{len(bare)} character{'s' * (len(bare) != 1)}"
    return [f"embedding.png shows {what} by code ({_shown(bare[0], without)}, say), as no font here has a sign for them"]


def _shown(character: str, without: frozenset[str]) -> str:
    """A character as a label; without: those that have no sign."""
    if character == " ":
        return "␣"
    if character in without or not character.isprintable():
        return f"U+{ord(character):04X}"
    return literal("◌" + character if unicodedata.combining(character) else character)


@functools.cache
def _fonts(text: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """The families of fonts to write a text with, as few as will do, and those of its characters that none of them has."""
    fonts = importlib.import_module("matplotlib.font_manager")
    usual = fonts.FontProperties()
    families, missing = [usual.get_name()], _lacking(fonts.get_font(fonts.findfont(usual)), set(text))
    for font in fonts.fontManager.ttflist if missing else ():
        if font.style != "normal" or font.weight not in (400, "normal", "regular") or font.name.startswith("Last"):
            continue
        with contextlib.suppress(OSError, RuntimeError):  # a file that is gone, or cannot be read
            rest = _lacking(fonts.get_font(font.fname), missing)
            if rest != missing:
                families.append(font.name)
                missing = rest
    return tuple(families), frozenset(missing)


def _lacking(font: Any, characters: set[str]) -> set[str]:
    return {c for c in characters if c.isprintable() and not font.get_char_index(ord(c))}


def _label(axes: Any, places: Any, labels: Sequence[str], families: list[str]) -> None:
    """Write a label beside every place but the first, each where it covers no other, with a line to its place."""
    numpy = importlib.import_module("numpy")
    low, high = places.min(axis=0), places.max(axis=0)
    margin = 0.08 * (high - low) + 1e-9
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    points = (places - low) / (high - low + 2 * margin) * (400.0, 350.0)  # the axes in points, about
    size = 10 if len(labels) < 60 and not any(label.startswith("U+") for label in labels) else 7
    widths = numpy.array([8.0] + [0.75 * size * max(1, len(label.replace("\\", ""))) for label in labels])
    # Above its place; the boundary, which has no label, is a box at its own.
    above = numpy.where(numpy.arange(len(points))[:, None] > 0, (0.0, 0.75 * size), 0.0)
    moved = _apart(points + above, 2.0 + widths, 1.15 * size) - points
    for label, place, offset in zip(labels, places[1:], moved[1:], strict=True):
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": "gray"} if math.hypot(*offset) > 1.5 * size else None
        look = {"ha": "center", "va": "center", "fontsize": size, "family": families, "arrowprops": line}
        axes.annotate(label, place, offset, textcoords="offset points", **look).set_in_layout(False)


def _apart(at: Any, widths: Any, height: float) -> Any:
    """The middles of boxes, moved so far that none covers another, as far as a hundred rounds of pushing bring them."""
    numpy = importlib.import_module("numpy")
    order = numpy.sign(numpy.arange(len(at))[:, None] - numpy.arange(len(at)))  # who goes which way from the same place
    for _ in range(100):
        gap = at[:, None] - at[None, :]
        over = numpy.stack([(widths[:, None] + widths) / 2 - abs(gap[..., 0]), height - abs(gap[..., 1])], axis=-1)
        covers = (over > 0).all(axis=-1) & (order != 0)
        if not covers.any():
            break
        way = numpy.where(gap == 0, order[..., None], numpy.sign(gap))
        shorter = over == over.min(axis=-1, keepdims=True)
        at = at + (0.5 * over * way * shorter * covers[..., None]).sum(axis=1)
    return at


@without_warnings
def decision_boundary(model: Model, train: Dataset, test: Dataset | None, measure: float) -> bytes:
    """decision_boundary.png of a model over two features: where each class is predicted, or what a regression predicts."""
    figure = new_figure(7.0, 5.5)
    axes = figure.subplots()
    (x1, x2), grid = _grid(model, train)
    columns = list(zip(*grid, strict=True))  # one per output
    shape = (len(x2), len(x1))
    if model.classes is None:
        _surface(figure, axes, x1, x2, [[model.outputs.inverse([[z]])[0][0] for z in columns[0]], shape], train, test)
    else:
        _regions(axes, x1, x2, _margins(columns), shape)
        for k, name in enumerate(model.classes):
            _points(axes, train, k, name if k < MOST_ENTRIES else None, COLORS[k % len(COLORS)], "o")
            if test is not None:
                _points(axes, test, k, None, COLORS[k % len(COLORS)], "^")
        if len(model.classes) > MOST_ENTRIES:
            axes.scatter([], [], s=0, label=f"... {len(model.classes) - MOST_ENTRIES} more")
        if test is not None:
            axes.scatter([], [], s=28, color="gray", marker="^", label="held out")
        axes.legend(loc="best", framealpha=0.9)
    axes.set_xlabel(literal(train.columns[0]))
    axes.set_ylabel(literal(train.columns[1]))
    name = "accuracy" if model.classes else "rmse"
    axes.set_title(f"{literal(train.name)}: training {measure_in_words(name, measure)}")
    return _png(figure)


def _grid(model: Model, train: Dataset) -> tuple[tuple[list[float], list[float]], list[list[float]]]:
    """The coordinates of a grid around the points, and the net's outputs there, row by row."""
    products = sum(layer_in * layer_out for layer_in, layer_out in zip(model.sizes, model.sizes[1:], strict=False))
    count = min(120, max(16, math.isqrt(PRODUCTS_PER_GRID // products)))
    x1, x2 = (spread(column, count) for column in zip(*train.X, strict=True))
    with no_grad():
        return (x1, x2), model.scores([[a, b] for b in x2 for a in x1])


def spread(column: Sequence[float], count: int) -> list[float]:
    """So many numbers, evenly spaced, that reach beyond those of a column on both sides."""
    margin = 0.15 * (max(column) - min(column)) or 1.0
    low, high = min(column) - margin, max(column) + margin
    return [low + (high - low) * i / (count - 1) for i in range(count)]


def _margins(columns: Sequence[Sequence[float]]) -> list[list[float]]:
    """Per class, by how much its score exceeds the best other one: positive where it is predicted."""
    if len(columns) == 1:
        return [[-z for z in columns[0]], list(columns[0])]
    rows = list(zip(*columns, strict=True))
    return [[row[k] - max(row[:k] + row[k + 1 :]) for row in rows] for k in range(len(columns))]


def _regions(axes: Any, x1: Sequence[float], x2: Sequence[float], margins: Sequence[Sequence[float]], shape: Any) -> None:
    numpy = importlib.import_module("numpy")
    for k, margin in enumerate(margins):
        z = numpy.reshape(margin, shape)
        if z.max() <= 0:
            continue
        color = COLORS[k % len(COLORS)]
        # Darker where the net is surer, in four steps up to the largest margin.
        levels = [z.max() * share for share in (0, 0.25, 0.5, 0.75, 1.0001)]
        for low, alpha in zip(levels, (0.18, 0.10, 0.10, 0.10), strict=False):
            axes.contourf(x1, x2, z, levels=[low, levels[-1]], colors=[color], alpha=alpha)
        if z.min() < 0:
            axes.contour(x1, x2, z, levels=[0.0], colors=["#333333"], linewidths=1.0)


def _points(axes: Any, part: Dataset, k: int, name: str | None, color: str, marker: str) -> None:
    chosen = [row for row, y in zip(part.X, part.y, strict=True) if y == k]
    if chosen:
        axes.scatter(
            *zip(*chosen, strict=True),
            s=28,
            color=color,
            edgecolors="white",
            linewidths=0.7,
            marker=marker,
            label=None if name is None else literal(name),
        )


def _surface(
    figure: Any, axes: Any, x1: Sequence[float], x2: Sequence[float], z: Any, train: Dataset, test: Dataset | None
) -> None:
    numpy = importlib.import_module("numpy")
    values, shape = z
    bounds = {"vmin": min(train.y), "vmax": max(train.y)}
    mesh = axes.contourf(x1, x2, numpy.reshape(values, shape), levels=20, cmap="viridis", extend="both", **bounds)
    figure.colorbar(mesh, ax=axes, label=f"predicted {literal(train.target)}")
    for part, marker, name in ((train, "o", "training"), (test, "^", "held out")):
        if part is not None:
            look = {"s": 28, "cmap": "viridis", "edgecolors": "white", "linewidths": 0.7, "marker": marker, "label": name}
            axes.scatter(*zip(*part.X, strict=True), c=part.y, **bounds, **look)
    axes.legend(loc="best", framealpha=0.9)


def neuron_graph(model: Model, part: Dataset) -> Dot:
    """graph.dot: the first neuron of the net that fires on the first sample, after a backward pass from it."""
    sample = model.inputs(part.X[:1])[0]
    neurons = model.net.layers[0].neurons
    with no_grad():  # a ReLU that does not fire has nothing but zeros to show
        chosen = next((neuron for neuron in neurons if neuron(sample) != 0), neurons[0])
    neuron = copy.deepcopy(chosen)  # so that labels and gradients of the net stay as they are
    neuron.zero_grad()
    neuron.b.label = "b"
    inputs = []
    for column, weight, x in zip(part.columns, neuron.w, sample, strict=True):
        weight.label = f"w_{column}"
        inputs.append(Value(x, label=column, requires_grad=False))
    output = neuron(inputs)
    output.label = "output"
    output.backward()
    return draw_dot(output)


def svg(dot: Dot) -> bytes | str:
    """graph.svg, or in words why there is none."""
    try:
        return dot.pipe("svg")
    except (MissingDependencyError, GraphError) as error:
        return str(error)


def new_figure(width: float, height: float) -> Any:
    """A figure of so many inches that is known to no window."""
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    return figure


def printable(text: str) -> str:
    r"""A user's text without what is no character: control codes, halves of pairs, and signs that turn the direction of others.

    >>> printable("a\0b\u202ec")
    'a�b�c'
    """
    return re.sub("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


def literal(name: str, most: int = LONGEST) -> str:
    """A user's text as matplotlib shall show it: one line that leaves room for the picture; dollar signs start no formula,
    and a leading _ hides no legend entry."""
    line = printable(" ".join(name.split()))
    # Names often begin alike, so the end stays as well.
    short = line if len(line) <= most else line[: most // 2] + "…" + line[1 - most // 2 :]
    return (" " if short.startswith("_") else "") + short.replace("$", r"\$")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
