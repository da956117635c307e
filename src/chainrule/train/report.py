"""The pictures of a training as figures of matplotlib: what report.html shows (page.py), for notebooks and papers.

    from chainrule.train import report

    report.loss_figure("runs/moons-001")
    report.boundary_figure("runs/moons-001", step=12).savefig("early.png")

Each function takes a run, which is its folder or what `read` made of that, and returns a `matplotlib.figure.Figure` that belongs
to no window; in a notebook, say `%matplotlib inline` once to see them. They need what the run recorded (watch.py), so not one
that was trained with --no-report. docs/report.md tells how to read them. Of a run that ran away, curves and histograms show what
is beyond FARTHEST at FARTHEST.

Imports errors, and pictures, recording beside it; matplotlib at use.
"""

import functools
import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import InputError, ModelFileError
from chainrule.train import recording
from chainrule.train.pictures import COLORS, literal, new_figure, require_matplotlib, running_means, without_warnings
from chainrule.train.recording import FARTHEST, Recording, View

__all__ = [
    "Run",
    "activation_figure",
    "boundary_figure",
    "confusion_figure",
    "gradient_figure",
    "learning_rate_figure",
    "loss_figure",
    "read",
    "saturation_figure",
    "update_figure",
    "words_figure",
]

Array = npt.NDArray[Any]

WIDTH = 3.7  # inches: so narrow that letters are readable when a telephone shows all of it
MOST_PLACES = 300  # of a curve: more would not be seen, and make a large file
MOST_LINES = 10  # of parameters or layers in a picture
FAR = 6  # powers of ten: a line so far below the others would press them together
GOOD_RATIO = -3.0  # log10 of update over weight, as in makemore part 3
LOOK = {
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Run:
    """A run to draw: what it recorded, and the columns of its metrics.csv by name, NaN for an empty cell."""

    recording: Recording
    curves: dict[str, list[float]]

    @property
    def is_complete(self) -> bool:
        """Whether all steps are done, so that the last row of the curves is that of the finished net."""
        return bool(self.curves["lr"]) and math.isnan(self.curves["lr"][-1])


def read(run: str | Path | Run) -> Run:
    """What the functions here draw, of the folder of a run, or the recording in it.

    Raises ModelFileError in one sentence when the folder holds no recording, or a file of it is damaged.
    """
    if isinstance(run, Run):
        return run
    found, folder = recording.read(run), Path(run)
    path = (folder if folder.is_dir() else folder.parent) / "metrics.csv"
    try:
        return Run(found, columns_of(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, KeyError):
        raise ModelFileError(f"{path} is not the table that a run writes") from None


def columns_of(text: str) -> dict[str, list[float]]:
    """The columns of a metrics.csv.

    >>> columns_of("step,loss,lr\\n0,0.5,0.1\\n1,0.25,\\n")
    {'step': [0.0, 1.0], 'loss': [0.5, 0.25], 'lr': [0.1, nan]}
    """
    header, *lines = text.splitlines()
    rows = [[float(cell) if cell else math.nan for cell in line.split(",")] for line in lines]
    names = header.split(",")
    if not {"step", "loss", "lr"} <= {*names} or any(len(row) != len(names) for row in rows):
        raise ValueError("no metrics")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _figure(draw: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a run that draws in the look of this page, from one that is given what was read of it."""

    @functools.wraps(draw)
    def drawn(run: str | Path | Run, *args: Any, **kwargs: Any) -> Any:
        require_matplotlib()
        with importlib.import_module("matplotlib").rc_context(LOOK):
            return without_warnings(draw)(read(run), *args, **kwargs)

    return drawn


# ---- curves ----------------------------------------------------------------------------------------------------------


@_figure
def loss_figure(run: Run) -> Any:
    """The loss by step, and below it the accuracy or error, where there is one.

    Of a run in batches the running mean is drawn over the curve. A long curve is drawn as the means of MOST_PLACES pieces.
    Raises InputError for a run that was stopped before its first step.
    """
    _expect_steps(run)
    curves, measure = run.curves, run.recording.facts["measure"]
    both = measure in curves and measure != "loss"
    figure = new_figure(WIDTH, 4.4 if both else 3.2)
    axes = np.atleast_1d(figure.subplots(2 if both else 1, 1, sharex=True))
    _curve(axes[0], run, "loss")
    _marks(axes[0], run, "validation_loss", "validation")
    tokens = run.recording.facts.get("tokens")
    if tokens:
        axes[0].axhline(math.log(tokens), color="gray", linestyle="--", linewidth=1.0, label="a fair guess")
    elif min(curves["loss"]) > 0:
        axes[0].set_yscale("log")
    axes[0].set_ylabel("loss")
    if both:
        percent = 100.0 if measure == "accuracy" else 1.0
        _curve(axes[1], run, measure, percent)
        _marks(axes[1], run, f"test_{measure}", "held out", percent)
        axes[1].set_ylabel(f"{measure} (%)" if measure == "accuracy" else measure)
    axes[-1].set_xlabel("step")
    for each in axes:
        _finished(each)
    return figure


def _expect_steps(run: Run) -> None:
    if not run.curves["step"]:
        raise InputError("this run was stopped before its first step, so there is no curve")


def _curve(axes: Any, run: Run, name: str, factor: float = 1.0) -> None:
    batches = bool(run.recording.facts["batches"])
    end = -1 if batches and run.is_complete else None  # the last row is of all samples, so then a point of its own
    steps, means = _thinned(run.curves["step"][:end], [clipped(factor * y) for y in run.curves[name][:end]])
    if not batches:
        axes.plot(steps, means, color=COLORS[1], label="training")
        return
    axes.plot(steps, means, color=COLORS[1], alpha=0.3, linewidth=0.8, label="training, in batches")
    smooth = len(means) - len(means) // 80  # the last few are means of too few
    axes.plot(steps[:smooth], running_means(means)[:smooth], color=COLORS[1], label="running mean")
    if run.is_complete:
        last = run.curves["step"][-1], clipped(factor * run.curves[name][-1])
        axes.plot(*([x] for x in last), "s", color=COLORS[1], markersize=4, label="all of it, at the end")


def clipped(y: float) -> float:
    """A number as it is drawn: FARTHEST where it is beyond that; NaN stays NaN.

    >>> clipped(0.5), clipped(1e300), clipped(-math.inf)
    (0.5, 1e+30, -1e+30)
    """
    return min(max(y, -FARTHEST), FARTHEST)


def _thinned(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The steps and values, or of many the means of MOST_PLACES pieces, or fewer."""
    each = math.ceil(len(steps) / MOST_PLACES)
    if each <= 1:
        return list(steps), list(values)
    pieces = [slice(begin, begin + each) for begin in range(0, len(steps), each)]
    return [float(np.mean(steps[piece])) for piece in pieces], [float(np.mean(values[piece])) for piece in pieces]


def _marks(axes: Any, run: Run, name: str, label: str, factor: float = 1.0) -> None:
    pairs = zip(run.curves["step"], run.curves.get(name, []), strict=False)
    known = [(x, clipped(factor * y)) for x, y in pairs if math.isfinite(y)]
    if known:
        axes.plot(*zip(*known, strict=True), "o-", color=COLORS[0], markersize=3.5, label=label)


def _finished(axes: Any, *, columns: int = 0) -> None:
    """With a grid, and a legend: in the picture, or in so many columns below it."""
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(importlib.import_module("matplotlib.ticker").MaxNLocator(5, integer=True))
    if not axes.get_legend_handles_labels()[1]:
        return
    if columns:
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=columns, frameon=False)
    else:
        axes.legend(loc="best", framealpha=0.9)


@_figure
def learning_rate_figure(run: Run) -> Any:
    """The learning rate by step. Raises InputError for a run that was stopped before its first step."""
    _expect_steps(run)
    figure = new_figure(WIDTH, 2.4)
    axes = figure.subplots()
    rows = [(x, clipped(y)) for x, y in zip(run.curves["step"], run.curves["lr"], strict=True) if math.isfinite(y)]
    axes.plot(*_thinned([x for x, _ in rows], [y for _, y in rows]), color=COLORS[1])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("learning rate")
    axes.set_xlabel("step")
    _finished(axes)
    return figure


@_figure
def gradient_figure(run: Run) -> Any:
    """How large the gradient of each matrix and bias vector is: log10 of its standard deviation, by step.

    A parameter that is a single number has none, and no line. Where the gradient is 0, a line has a gap; one that is FAR below
    the others (a bias before BatchNorm, say, which can do nothing) is told of in words.
    """
    figure = new_figure(WIDTH, 3.6)
    axes = figure.subplots()
    _parameter_lines(axes, run, [note.gradient[:, 1] for note in run.recording.notes])
    axes.set_ylabel("log10 of the gradient's deviation")
    return figure


@_figure
def update_figure(run: Run) -> Any:
    """How much a step changes each matrix and bias vector: log10 of std(update) / std(weight), with a line at -3."""
    figure = new_figure(WIDTH, 3.6)
    axes = figure.subplots()
    axes.axhline(GOOD_RATIO, color="black", linewidth=1.0)
    axes.annotate(
        "-3", (1.0, GOOD_RATIO), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points", va="center"
    )
    _parameter_lines(axes, run, [note.ratio for note in run.recording.notes])
    axes.set_ylabel("log10 of update / weight")
    return figure


def _parameter_lines(axes: Any, run: Run, rows: Sequence[Array]) -> None:
    """A line for each group of parameters: solid for matrices, dashed for biases, of one colour for a layer."""
    steps, names = [note.step for note in run.recording.notes], run.recording.parameters
    values = np.array(rows, float).reshape(-1, len(names))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where((values > 0) & (values < math.inf), np.log10(values), np.nan)
    owners = list(dict.fromkeys(name.rpartition(" ")[0] for name in names))
    shown = _shown(names, logs)
    highest = {i: float(np.nanmax(logs[:, i])) for i in shown}
    for i in shown:
        owner, _, kind = names[i].rpartition(" ")
        color, style = COLORS[owners.index(owner) % len(COLORS)], "-" if kind == "weight" else "--"
        if highest[i] < max(highest.values()) - FAR:
            axes.plot([], [], style, color=color, linewidth=1.3, label=f"{names[i]}: below {math.ceil(highest[i])}")
        else:
            axes.plot(steps, logs[:, i], style, color=color, linewidth=1.3, marker=".", markersize=3, label=names[i])
    axes.set_xlabel("step")
    _finished(axes, columns=2)


def _shown(names: Sequence[str], logs: Array) -> list[int]:
    """Which of the groups get a line: all that have a number, without the biases where these are too many, MOST_LINES at most."""
    known = [i for i in range(len(names)) if np.isfinite(logs[:, i]).any()]
    if len(known) > MOST_LINES:
        known = [i for i in known if names[i].endswith("weight")]
    return evenly(known, MOST_LINES)


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, the first and the last among them.

    >>> evenly("abcdefg", 4)
    ['a', 'c', 'e', 'g']
    """
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


# ---- activations -----------------------------------------------------------------------------------------------------


@_figure
def activation_figure(run: Run) -> Any:
    """What the units of each layer say about a sample of the training data: a histogram at the beginning, and one now."""
    views, layers = run.recording.views, run.recording.layers
    chosen = evenly(range(len(layers)), MOST_LINES)
    figure = new_figure(WIDTH, 0.4 + 1.25 * len(chosen))
    all_axes = np.atleast_1d(figure.subplots(len(chosen), 1))
    for axes, i in zip(all_axes, chosen, strict=True):
        name, activation = layers[i]
        for view, label in ((views[0], f"step {views[0].step}"), (views[-1], f"step {views[-1].step}")):
            _histogram(axes, view, i, label, is_last=view is views[-1])
        axes.set_title(f"{name}, {activation}{_shares_in_words(views[-1].shares[i])}", loc="left")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(bottom=0)
    if len(views) > 1:
        figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _histogram(axes: Any, view: View, layer: int, label: str, *, is_last: bool) -> None:
    """The share of the activations by their size, per unit of it, so that bins of other widths can be compared."""
    counts, (low, high) = view.counts[layer], view.bounds[layer]
    if not counts.sum() or not max(abs(low), abs(high)) <= FARTHEST:  # NaN, too
        return
    width = (high - low) / len(counts) or 1.0
    edges = low + width * np.arange(len(counts) + 1)
    # A bin that towers above all (a ReLU's zeros, say) would press the others to the ground.
    heights = np.sqrt(counts / (counts.sum() * width))
    if is_last:
        axes.stairs(heights, edges, fill=True, color=COLORS[1], alpha=0.75, label=label)
    else:
        axes.stairs(heights, edges, color="#777777", linewidth=1.0, label=label)


def _shares_in_words(shares: Array) -> str:
    said = [f"{100 * x:.0f} % {what}" for x, what in zip(shares, ("saturated", "dead"), strict=True) if math.isfinite(x)]
    return f": {', '.join(said)}" if said else ""


@_figure
def saturation_figure(run: Run) -> Any:
    """By step, the share of each layer's activations that are saturated, and that of its units that are dead.

    Raises InputError for a net without an activation function.
    """
    views, layers = run.recording.views, run.recording.layers
    chosen = [i for i in range(len(layers)) if layers[i][1] != "linear"]
    if not chosen:
        raise InputError("no layer of this net has an activation function, so none can be saturated or dead")
    figure = new_figure(WIDTH, 3.2)
    axes = figure.subplots()
    steps = [view.step for view in views]
    for i in evenly(chosen, MOST_LINES):
        color = COLORS[i % len(COLORS)]
        for column, style, what in ((0, "-", "saturated"), (1, "--", "dead")):
            known = np.array([100 * view.shares[i, column] for view in views])
            if np.isfinite(known).any():
                axes.plot(steps, known, style, color=color, linewidth=1.3, label=f"{layers[i][0]}, {what}")
    axes.set_ylim(-2, 102)
    axes.set_ylabel("%")
    axes.set_xlabel("step")
    _finished(axes, columns=2)
    return figure


# ---- what the net decides --------------------------------------------------------------------------------------------


@_figure
def boundary_figure(run: Run, step: int | None = None) -> Any:
    """What the net says about every point of the plane, after so many steps, or the last that was recorded before that.

    step: None for the last. Raises InputError for data that have not two features.
    """
    views = [view for view in run.recording.views if step is None or view.step <= step]
    if not views:
        raise InputError(f"step is {step!r}, and the first that was recorded is {run.recording.views[0].step}")
    return _boundaries(run, views[-1:])


@_figure
def boundary_frames(run: Run) -> Any:
    """All that was recorded of the same, on top of each other, in parts whose gid tells which: "field 3", "line 3"."""
    return _boundaries(run, run.recording.views)


def _boundaries(run: Run, views: Sequence[View]) -> Any:
    found = run.recording
    if not found.arrays["axes"].size:
        raise InputError(f"a decision boundary has two features, and these data have {len(found.facts['columns'])}")
    figure = new_figure(WIDTH, 3.6)
    axes = figure.subplots()
    paint = _paint_surface if found.facts["classes"] is None else _paint_classes
    for k, view in enumerate(views):
        paint(axes, run, k, view)
    _draw_points(figure, axes, found)
    x1, x2 = found.arrays["axes"]
    axes.set_xlim(x1[0], x1[-1])
    axes.set_ylim(x2[0], x2[-1])
    axes.set_xlabel(literal(str(found.facts["columns"][0])))
    axes.set_ylabel(literal(str(found.facts["columns"][1])))
    return figure


FINER = 4  # times, the picture of a field than the grid


def _paint_classes(axes: Any, run: Run, k: int, view: View) -> None:
    margins = _margins(view.field.astype(np.float64))
    finer = {name: _finer(margin) for name, margin in margins.items()}
    all_margins = np.stack([*finer.values()])
    best, size = all_margins.argmax(axis=0), np.maximum(all_margins.max(axis=0), 0)
    # Darker where the net is surer, in four steps up to the largest margin.
    steps = np.minimum(np.floor(4 * size / (size.max() or 1.0)), 3)
    colors = _rgb([COLORS[name % len(COLORS)] for name in margins])[best]
    _paint(axes, run, k, 1 - (1 - colors) * (0.18 + 0.10 * steps)[..., None])
    for name, margin in margins.items():
        if margin.min() < 0 < margin.max() and (len(margins) > 2 or name == max(margins)):
            lines = axes.contour(*run.recording.arrays["axes"], margin, levels=[0.0], colors=["#333333"], linewidths=1.0)
            lines.set(zorder=k + 0.7, gid=f"line {k}")


def _margins(field: Array) -> dict[int, Array]:
    """By class, how much its output exceeds the best other one, for those that win somewhere."""
    if len(field) == 1:
        return {0: -field[0], 1: field[0]}
    winner, ordered = field.argmax(axis=0), np.sort(field, axis=0)
    return {int(k): field[k] - np.where(winner == k, ordered[-2], ordered[-1]) for k in np.unique(winner)}


def _paint_surface(axes: Any, run: Run, k: int, view: View) -> None:
    scale = importlib.import_module("matplotlib").colormaps["viridis"]
    low, high = _bounds(run.recording)
    _paint(axes, run, k, scale((_finer(view.field[0].astype(np.float64)) - low) / ((high - low) or 1.0))[..., :3])


def _bounds(found: Recording) -> tuple[float, float]:
    targets = found.arrays["training"][:, 2]
    return float(targets.min()), float(targets.max())


def _paint(axes: Any, run: Run, k: int, colors: Array) -> None:
    x1, x2 = run.recording.arrays["axes"]
    extent = (x1[0], x1[-1], x2[0], x2[-1])
    # Opaque, and each above the one before: where all are there, the last is seen.
    look = {"interpolation": "none", "aspect": "auto", "zorder": k + 0.5, "gid": f"field {k}"}
    axes.imshow((255 * np.nan_to_num(colors)).round().astype(np.uint8), origin="lower", extent=extent, **look)


def _finer(z: Array) -> Array:
    """The field between the points of the grid, in straight lines."""
    weights = []
    for n in z.shape:
        at = np.linspace(0, n - 1, FINER * n)
        left = np.minimum(at.astype(int), n - 2)
        matrix = np.zeros((FINER * n, n))
        matrix[np.arange(len(at)), left] = 1 - (at - left)
        matrix[np.arange(len(at)), left + 1] = at - left
        weights.append(matrix)
    return weights[0] @ z @ weights[1].T


def _rgb(colors: Iterable[str]) -> Array:
    to_rgb = importlib.import_module("matplotlib.colors").to_rgb
    return np.array([to_rgb(color) for color in colors])


POINT = {"s": 16, "edgecolors": "white", "linewidths": 0.6, "zorder": 1000.0}


def _draw_points(figure: Any, axes: Any, found: Recording) -> None:
    """The data: training samples as dots, held-out ones as triangles."""
    parts = [(found.arrays["training"], "o"), (found.arrays["held_out"], "^")]
    if found.facts["classes"] is None:
        low, high = _bounds(found)
        for points, marker in parts:
            look = {**POINT, "cmap": "viridis", "vmin": low, "vmax": high}
            drawn = axes.scatter(*points[:, :2].T, c=points[:, 2], marker=marker, **look)
        figure.colorbar(drawn, ax=axes, label=literal(str(found.facts["target"])))
    else:
        _draw_classes(axes, parts, [literal(str(name), most=16) for name in found.facts["classes"]])
    if len(found.arrays["held_out"]):
        axes.scatter([], [], s=16, color="gray", marker="^", label="held out")
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        columns = 3 if max(map(len, labels)) <= 8 else 2
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=columns, frameon=False)


def _draw_classes(axes: Any, parts: Sequence[tuple[Array, str]], names: Sequence[str]) -> None:
    for points, marker in parts:
        for k, name in enumerate(names):
            chosen = points[points[:, 2] == k]
            label = name if marker == "o" and k < MOST_LINES else None
            if len(chosen):
                axes.scatter(*chosen[:, :2].T, color=COLORS[k % len(COLORS)], marker=marker, label=label, **POINT)
    if len(names) > MOST_LINES:
        axes.scatter([], [], s=0, label=f"... {len(names) - MOST_LINES} more")


MOST_NUMBERS, MOST_NAMES = 12, 30  # classes, for counts in the cells, and for names beside them


@_figure
def confusion_figure(run: Run) -> Any:
    """How often each class (a row) was taken for each (a column), by the net as it is now; darker for a larger share of the row.

    Raises InputError for a regression, or a run on names.
    """
    counts, classes = run.recording.arrays["confusion"], run.recording.facts["classes"]
    if classes is None or not counts.size:
        raise InputError("a confusion matrix is for classes, and this run has none")
    n = len(counts)
    figure = new_figure(WIDTH, WIDTH if n > 3 else 3.4)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if n <= MOST_NUMBERS:
        for (i, k), count in np.ndenumerate(counts):
            color = "white" if shares[i, k] > 0.5 else "#1f2a36" if count else "#9aa3ad"
            axes.text(k, i, f"{count:,}", ha="center", va="center", color=color, fontsize=9 if n < 8 else 8)
    names = [literal(str(name), most=16) for name in classes]
    long = max(map(len, names)) > (8 if n <= 3 else 3)
    places = evenly(range(n), MOST_NAMES)
    small = {"fontsize": 8 if n <= 15 else 6}
    axes.set_xticks(places, [names[i] for i in places], rotation=90 if long else 0, **small)
    axes.set_yticks(places, [names[i] for i in places], **small)
    axes.set_xlabel("taken for")
    axes.set_ylabel("truth")
    axes.spines[:].set_visible(False)
    return figure


@_figure
def words_figure(run: Run) -> Any:
    """What the net spelled on the way, by the same random numbers each time.

    Raises InputError for a run that does not spell.
    """
    if not run.recording.words:
        raise InputError("this run does not spell; a run on names does")
    figure = new_figure(1.6 * WIDTH, 0.5 + 0.22 * len(run.recording.words))
    axes = figure.subplots()
    axes.axis("off")
    for i, (step, words) in enumerate(run.recording.words):
        axes.text(0.1, -i, f"{step:,}", ha="right")
        axes.text(0.13, -i, literal("  ".join(words), most=90))
    axes.text(0.1, 1, "step", ha="right", color="gray")
    axes.text(0.13, 1, "words", color="gray")
    axes.set(xlim=(0, 1), ylim=(-len(run.recording.words), 1.6))
    return figure
