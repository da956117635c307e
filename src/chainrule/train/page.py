"""report.html: the pictures of report.py in one file that needs no network, with a slider for the decision boundary: `page`.

Whatever a user has named (data, columns, classes, words) reaches the page as text alone: escaped in HTML, and in the pictures
by matplotlib. The content security policy allows the page's own script, and nothing from elsewhere. Imports report, recording,
pictures beside it; matplotlib at use.
"""

import base64
import hashlib
import html
import importlib
import io
import math
import re
import string
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from chainrule.train import report
from chainrule.train.pictures import printable, without_warnings
from chainrule.train.progress import measure_in_words
from chainrule.train.recording import FARTHEST
from chainrule.train.report import Run


class Section(NamedTuple):
    """A picture of the page: its title, what draws it, and one sentence that says how to read it and what would be bad."""

    title: str
    draw: Callable[[Run], Any]
    caption: str


LOSS = Section(
    "Loss",
    report.loss_figure,
    "It should fall steeply and then flatten; one that jumps or climbs has too large a learning rate, one that stays where it "
    "began learns nothing, and one that is far better in training than on what is held out is learned by heart.",
)
RATE = Section(
    "Learning rate",
    report.learning_rate_figure,
    "How far a step goes along the gradient; if the loss was still falling steeply when this came near its end, the run wanted "
    "more steps.",
)
GRADIENTS = Section(
    "Gradients",
    report.gradient_figure,
    "How large the gradient of each matrix (solid) and bias vector (dashed) is, as a power of ten; lines that lie together are "
    "good, one far below the others learns next to nothing, and one that keeps climbing is about to run away.",
)
UPDATES = Section(
    "Update to weight",
    report.update_figure,
    "What share of its own size a parameter changes in one step, as a power of ten: a thousandth, the line at -3, is a good "
    "pace; above -2 is usually too fast, below -4 too slow.",
)
ACTIVATIONS = Section(
    "Activations",
    report.activation_figure,
    "How often the units of a layer say what, on training samples (the height is a square root): good layers use their range; "
    "piles at the ends of a tanh pass no gradient on, and a ReLU that says 0 to every sample is dead.",
)
SATURATION = Section(
    "Saturated and dead",
    report.saturation_figure,
    "The share of activations beyond 0.97 of their largest, and of units that no sample moves; a few are usual, most of a layer "
    "means that the weights before it are too large, or that a step was.",
)
BOUNDARY = Section(
    "What the net decides",
    report.boundary_frames,
    "The colour is what the net says about each place, darker where it is surer, and the line is where it is undecided; one that "
    "stays straight has learned too little, one that winds around single points has learned those by heart.",
)
SURFACE = Section(
    "What the net predicts",
    report.boundary_frames,
    "The colour is what the net predicts at each place, and that of a point what is true there, so points that stand out are "
    "predicted badly; a plane of one colour has learned nothing, spots around single points were learned by heart.",
)
CONFUSION = Section(
    "Confusion matrix",
    report.confusion_figure,
    "Each row is a true class, each column what the net took it for, so all that lies off the diagonal is wrong; a column that "
    "is dark all the way is an answer that it gives to everything.",
)
WORDS = Section(
    "Words on the way",
    report.words_figure,
    "Spelled with the same random numbers each time, so that only learning makes them differ; noise should become words, and "
    "words that all stand in the list were learned by heart.",
)


def sections(run: Run) -> Iterator[Section]:
    """The pictures that there are of a run."""
    found = run.recording
    if run.curves["step"]:
        yield LOSS
    if found.arrays["axes"].size:
        yield SURFACE if found.facts["classes"] is None else BOUNDARY
    if found.arrays["confusion"].size:
        yield CONFUSION
    if found.words:
        yield WORDS
    if found.notes:
        yield GRADIENTS
        yield UPDATES
    yield ACTIVATIONS
    if any(activation != "linear" for _, activation in found.layers):
        yield SATURATION
    if run.curves["step"]:
        yield RATE


def page(run: Run) -> str:
    """The content of report.html."""
    figures = "\n".join(_as_html(section, run) for section in sections(run))
    script = SCRIPT.strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
    parts = {
        "policy": policy,
        "title": _text(f"Training on {run.recording.facts['data']}"),
        "style": STYLE.strip(),
        "lead": _lead(run),
        "about": "".join(f"<li>{_text(line)}</li>" for line in run.recording.facts["about"]),
        "figures": figures,
        "numbers": _numbers(run),
        "script": script,
    }
    return string.Template(PAGE).substitute(parts)


def _text(words: Any) -> str:
    """Any text, for HTML."""
    return html.escape(printable(str(words)))


def _lead(run: Run) -> str:
    """How far the run is, and what it shows now."""
    facts, curves = run.recording.facts, run.curves
    done, steps = facts["step"], facts["steps"]
    begun = f"Complete: {steps:,} steps." if done >= steps else f"Stopped after {done:,} of {steps:,} steps."
    if not curves["step"]:
        return _text(begun)
    shown = {"loss": "loss", "validation_loss": "validation loss", "test_loss": "test loss"}
    said = [f"{words} {curves[name][-1]:.4g}" for name, words in shown.items() if math.isfinite(_last(curves, name))]
    measured = {facts["measure"]: "", f"test_{facts['measure']}": "held-out "} if facts["measure"] != "loss" else {}
    for name, part in measured.items():
        if math.isfinite(_last(curves, name)):
            said.append(part + measure_in_words(facts["measure"], curves[name][-1]))
    return _text(f"{begun} {'On all training samples' if run.is_complete else 'At last'}: {', '.join(said)}.")


def _last(curves: dict[str, list[float]], name: str) -> float:
    return curves.get(name, [math.nan])[-1]


def _as_html(section: Section, run: Run) -> str:
    shown = _words(run) if section is WORDS else _svg(section, run)
    controls = _slider(run) if section.draw is report.boundary_frames else ""
    caption = " ".join([*_first_said(section, run), section.caption])
    return f"<figure><h2>{_text(section.title)}</h2>{shown}{controls}<figcaption>{_text(caption)}</figcaption></figure>"


def _first_said(section: Section, run: Run) -> Iterator[str]:
    """Of what a picture is, or what it leaves out, before how to read it."""
    facts, views = run.recording.facts, run.recording.views
    if section is CONFUSION:
        yield _judged(run)
    columns = {LOSS: ("loss", "validation_loss", facts["measure"], f"test_{facts['measure']}"), RATE: ("lr",)}.get(section, ())
    numbers = [abs(y) for name in columns for y in run.curves.get(name, [])]
    if section is ACTIVATIONS:
        numbers = [abs(float(y)) for view in (views[0], views[-1]) for y in view.bounds.ravel()]
        if any(math.isnan(y) for y in numbers):
            yield "A layer that says NaN or infinity has no histogram."
    if any(y >= FARTHEST for y in numbers):
        yield f"What is beyond {FARTHEST:.0e} is drawn there.".replace("e+", "e")


def _judged(run: Run) -> str:
    part, rows, all_rows = run.recording.facts["judged"]
    return f"Of {rows:,}{'' if rows == all_rows else f' of the {all_rows:,}'} {part} samples."


def _slider(run: Run) -> str:
    steps = [view.step for view in run.recording.views]
    last = len(steps) - 1
    return (
        '<div class="slider"><label for="frame">Step</label>'
        f'<input type="range" id="frame" min="0" max="{last}" value="{last}" step="1" data-steps="{" ".join(map(str, steps))}">'
        f'<output id="frame-step" for="frame">{steps[-1]:,}</output></div>'
    )


def _words(run: Run) -> str:
    rows = "".join(
        f"<tr><td>{step:,}</td><td>{''.join(f'<bdi>{_text(word)}</bdi> ' for word in words)}</td></tr>"
        for step, words in run.recording.words
    )
    return f'<table class="words"><thead><tr><th>step</th><th>words</th></tr></thead><tbody>{rows}</tbody></table>'


@without_warnings
def _svg(section: Section, run: Run) -> str:
    """The picture as a part of the page."""
    matplotlib = importlib.import_module("matplotlib")
    # Text stays text; names inside differ from picture to picture, and are the same for the same run.
    look = {"svg.fonttype": "none", "svg.hashsalt": section.title, "image.composite_image": False, "svg.id": None}
    file = io.StringIO()
    with matplotlib.rc_context({name: x for name, x in look.items() if name in matplotlib.rcParams}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        section.draw(run).savefig(file, format="svg", metadata=nothing)
    svg = re.sub(r'<g id="(?!line )[^"]*">', "<g>", file.getvalue())  # names that repeat from picture to picture
    svg = FRAME.sub(r'\1 data-frame="\2"', svg).replace(PIXELS, "")
    return re.sub(r"^.*?<svg[^>]*viewBox", f'<svg role="img" aria-label="{_text(section.title)}" viewBox', svg, flags=re.DOTALL)


FRAME = re.compile(r'(<g|<image xlink:href="data:image/png;base64,[^"]*") id="(?:field|line) (\d+)"')
PIXELS = "image-rendering:crisp-edges;image-rendering:pixelated"


def _numbers(run: Run) -> str:
    """The numbers behind the pictures: of the last noted step for parameters, of the net as it is for layers."""
    found, rows = run.recording, []
    if not found.notes:
        return ""
    note, view = found.notes[-1], found.views[-1]
    for (name, shape), (mean, deviation, largest), ratio in zip(
        found.facts["parameters"], note.gradient, note.ratio, strict=True
    ):
        cells = [mean, deviation, largest, ratio, math.log10(ratio) if ratio > 0 else math.nan]
        size = " × ".join(f"{n:,}" for n in shape) or "1"
        rows.append([name, size, *(f"{x:.3g}" if math.isfinite(x) else "–" for x in cells)])
    layers = [
        [f"{name}, {activation}", *(f"{100 * x:.1f} %" if math.isfinite(x) else "–" for x in shares)]
        for (name, activation), shares in zip(found.layers, view.shares, strict=True)
    ]
    heads = ["parameter", "size", "gradient: mean", "deviation", "largest", "update / weight", "log10"]
    return (
        f"<h2>Numbers of step {note.step:,}</h2>{_table(heads, rows)}"
        f"<h2>Layers after {view.step:,} steps</h2>{_table(['layer', 'saturated', 'dead'], layers)}"
    )


def _table(heads: list[str], rows: list[list[str]]) -> str:
    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in heads)
    body = "".join(
        f'<tr><th scope="row">{_text(name)}</th>' + "".join(f"<td>{_text(x)}</td>" for x in rest) + "</tr>"
        for name, *rest in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


SCRIPT = """
"use strict";
const slider = document.getElementById("frame");
if (slider) {
  const steps = slider.dataset.steps.split(" ");
  const parts = document.querySelectorAll("[data-frame]");
  const show = () => {
    for (const part of parts) part.style.display = part.dataset.frame === slider.value ? "" : "none";
    const step = Number(steps[slider.value]).toLocaleString("en");
    document.getElementById("frame-step").textContent = step;
    slider.setAttribute("aria-valuetext", "after " + step + " steps");
  };
  slider.addEventListener("input", show);
  show();
}
"""
STYLE = """
* { box-sizing: border-box; }
body { margin: 0; background: #f4f5f7; color: #1f2a36; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 100rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0 0 0.5rem; }
.lead { font-weight: 600; margin: 0.25rem 0; }
.about { margin: 0.25rem 0 1rem; padding-left: 1.2rem; overflow-wrap: anywhere; max-width: 70rem; }
.figures { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(27rem, 100%), 1fr)); }
figure, .numbers { margin: 0; padding: 0.9rem; min-width: 0; background: #fff; border: 1px solid #dfe3e8; border-radius: 8px; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: 0.9rem; color: #4a5663; margin-top: 0.5rem; }
.slider { display: flex; gap: 0.6rem; align-items: center; margin-top: 0.4rem; }
.slider input { flex: 1; min-width: 0; height: 2rem; accent-color: #30638e; }
.slider output { min-width: 4.5rem; text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin-bottom: 1rem; }
.numbers { margin-top: 1rem; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.7rem 0.2rem 0; text-align: right; font-weight: 400; white-space: nowrap; }
tr { border-bottom: 1px solid #e8ebef; }
th:first-child, .words td, .words th { text-align: left; }
thead th { color: #5a6673; }
td:first-child { white-space: nowrap; }
.words td + td { white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
bdi { margin-right: 0.5rem; }
@media (max-width: 30rem) { main { padding: 0.5rem; } figure, .numbers { padding: 0.6rem; } }
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
$style
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="lead">$lead</p>
<ul class="about">$about</ul>
<div class="figures">
$figures
</div>
<section class="numbers">$numbers</section>
</main>
<script>$script</script>
</body>
</html>
"""
