"""The commands of the command line: `show`, `train`, `predict`, `sample`, `info`, as a click group `cli`.

Each reads its options, calls the package that does the work, and words the answer. What goes wrong is raised: cli.py, which
runs this, makes it one sentence and an exit code. Sits on top of everything.
"""

import contextlib
import csv
import importlib.metadata
import io
import math
import os
import platform
import shlex
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from chainrule import __version__, data, native
from chainrule.data import files
from chainrule.data.misspelled import did_you_mean, did_you_mean_file
from chainrule.data.setting import SettingError
from chainrule.errors import DataError, InputError, RunError
from chainrule.nn.perceptron import ACTIVATIONS
from chainrule.show.command import show
from chainrule.train import progress
from chainrule.train import run as training
from chainrule.train.compiling import PAYS_FROM, why_not
from chainrule.train.config import BATCH_LR, BATCH_STEPS, NETS, OPTIMIZERS, configure
from chainrule.train.folder import as_path, write
from chainrule.train.interrupts import Interrupts
from chainrule.train.kinds import Report, Trainer
from chainrule.train.model import Model
from chainrule.train.names.lists import words_of_run
from chainrule.train.names.model import NamesModel, TooFewWordsError
from chainrule.train.objectives import OBJECTIVES, SHORT_NAMES, fitting
from chainrule.train.run import Outcome

EPILOG = """\b
Examples:
  chainrule show "tanh(x*w + b)" x=2 w=-3 b=6.88
  chainrule train moons
  chainrule train points.csv --target label
  chainrule predict runs/points-001 new.csv -o answers.csv
  chainrule train names
  chainrule sample runs/names-001 -n 20

`chainrule COMMAND --help` tells more about a command."""


class _Commands(click.Group):
    """A group that names the nearest command when there is none of that name."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            known = self.list_commands(ctx)
            hint = did_you_mean(args[0], known) or f" (commands: {', '.join(known)})"
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    epilog=EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="chainrule", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, /) -> None:
    """See the gradients of an expression; train small nets, of scalars or of tensors, and use them."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


cli.add_command(show)


# ---- train ----------------------------------------------------------------------------------------------------------


Callback = Callable[[click.Context, click.Parameter, Any], Any]


def _sizes(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """16,16 as (16, 16); none as ()."""
    if text is None or text.strip() == "none":
        return None if text is None else ()
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of sizes such as 16,16 (or none)", ctx, option) from None


def _names(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """a,b as ("a", "b")."""
    names = None if text is None else tuple(name.strip() for name in text.split(","))
    if names is not None and not all(names):
        raise click.BadParameter(f"{text!r} is not a list of columns such as x,y", ctx, option)
    return names


def _folder(ctx: click.Context, option: click.Parameter, text: str | None) -> Path | None:
    return as_path(text)


def _one_of(*known: str) -> Callback:
    """A check that a word is known; the error names the nearest."""

    def check(ctx: click.Context, option: click.Parameter, word: str | None) -> str | None:
        if word is None or word in known:
            return word
        raise click.BadParameter(f"{word!r} is none of {', '.join(known)}{did_you_mean(word, known)}", ctx, option)

    return check


def _either(names: Iterable[str]) -> str:
    """a, b or c."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _short_names() -> str:
    return ", ".join(f"{short} is short for {name}" for short, name in SHORT_NAMES.items())


TRAIN_EPILOG = """\b
Examples:
  chainrule train moons
  chainrule train circles --samples 200 --noise 0.15 --seed 7
  chainrule train digits
  chainrule train points.csv --target label --test-fraction 0.3
  chainrule train houses.csv --target price --task regression
  chainrule train names
  chainrule train names --data towns.txt --steps 20000
  chainrule train --resume runs/moons-001"""

_TABLES = "target columns task samples noise test_fraction standardize net activation loss l2 optimizer momentum weight_decay"
GROUPS = {
    "Options for names": ("file", "context", "embedding"),
    "Options for data sets and CSV files": tuple(_TABLES.split()),
}
"""The options of `train` that are not for every SOURCE, as its help groups them."""


class _Grouped(click.Command):
    """A command whose help shows the options that are for everything first, then GROUPS; its errors name them as typed."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingError as error:
            raise InputError(error.as_typed({str(p.name): _option(ctx, p) for p in self.params})) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        special = {name for names in GROUPS.values() for name in names}
        common = [p.name for p in self.get_params(ctx) if isinstance(p, click.Option) and p.name not in special]
        for title, names in {"Options": common, **GROUPS}.items():
            shown = [p.get_help_record(ctx) for p in self.get_params(ctx) if p.name in names]
            with formatter.section(title):
                formatter.write_dl([record for record in shown if record is not None])


def _option(ctx: click.Context, option: click.Parameter) -> str:
    """As it is typed, such as --batch-size, or --no-compile where that was chosen."""
    turned_off = ctx.params.get(str(option.name)) is False and option.secondary_opts
    return (option.secondary_opts if turned_off else option.opts)[0]


CAN_CHANGE_ON_RESUME = {"resume", "steps", "checkpoint_every", "report", "quiet", "source"}


@cli.command(cls=_Grouped, epilog=TRAIN_EPILOG)
@click.argument("source", required=False)
@click.option(
    "--data",
    "file",
    metavar="FILE",
    help="The list of words, one per line.  [default: the English first names of Faker]",
)
@click.option("--target", metavar="COLUMN", help="Column of a CSV file to learn: its name, or its position from 1.")
@click.option("--columns", callback=_names, metavar="A,B", help="Columns to learn from.  [default: all others]")
@click.option(
    "--task",
    callback=_one_of(*files.TASKS),
    metavar="NAME",
    help=f"{_either(files.TASKS)}.  [default: by the target, see above]",
)
@click.option("--samples", type=int, metavar="N", help="Size of a data set.  [default: 100; digits and iris: all]")
@click.option("--noise", type=float, metavar="X", help="Noise of moons, circles and blobs.  [default: 0.1; blobs: 1.0]")
@click.option("--seed", type=int, metavar="N", help="Of data, split, weights and batches.  [default: 1337; names: 42]")
@click.option(
    "--test-fraction",
    type=float,
    metavar="X",
    help="Share held out of training.  [default: 0.2 of files, digits, iris; else 0]",
)
@click.option(
    "--standardize/--no-standardize",
    default=None,
    help="Give features mean 0 and deviation 1.  [default: yes; moons, circles, lecture: no]",
)
@click.option(
    "--net",
    callback=_one_of(*NETS),
    metavar="NAME",
    help=f"What it is made of, {_either(NETS)}: tensors are faster for batches.  [default: digits: tensor; else scalar]",
)
@click.option(
    "--hidden",
    callback=_sizes,
    metavar="N,N",
    help="Sizes of hidden layers; none: a linear model. For names one size.  [default: 16,16; digits: 64; names: 200]",
)
@click.option("--context", type=int, metavar="N", help="Characters seen before the one to tell.  [default: 3]")
@click.option("--embedding", type=int, metavar="N", help="Numbers that stand for a character.  [default: 10]")
@click.option(
    "--activation",
    callback=_one_of(*ACTIVATIONS),
    metavar="NAME",
    help=f"Of hidden layers: {_either(ACTIVATIONS)}.  [default: relu]",
)
@click.option(
    "--loss",
    callback=_one_of(*OBJECTIVES, *SHORT_NAMES),
    metavar="NAME",
    help=f"{_either(fitting('binary'))} for two classes, {_either(fitting('multiclass'))} for more, "
    f"{_either(fitting('regression'))} for numbers; {_short_names()}.  [default: {fitting('binary')[0]} for two classes; "
    "lecture: mse; else the only one that fits]",
)
@click.option("--l2", type=float, metavar="X", help="Times the sum of squared weights, added to the loss.  [default: 0.0001]")
@click.option(
    "--optimizer",
    callback=_one_of(*OPTIMIZERS),
    metavar="NAME",
    help=f"{_either(OPTIMIZERS)}.  [default: moons, circles, lecture: sgd; else adam]",
)
@click.option(
    "--lr",
    type=float,
    metavar="X",
    help="Learning rate of the first step. It falls evenly to a tenth at the last step; for names it stays, and is a tenth in "
    "the second half.  [default: adam: 0.02; sgd, names: 0.1; digits: 0.01; moons, circles: 1.0, or "
    f"{BATCH_LR:g} with --batch-size]",
)
@click.option("--momentum", type=float, metavar="X", help="Of sgd.  [default: 0]")
@click.option("--weight-decay", type=float, metavar="X", help="As in PyTorch.  [default: 0; adamw: 0.01]")
@click.option(
    "--steps",
    type=int,
    metavar="N",
    help=f"How many updates.  [default: moons, circles, blobs: 100, times {BATCH_STEPS} with --batch-size; iris: 200; "
    "files: 300; digits: 1500; names: 200000, for a short list 36 passes]",
)
@click.option(
    "--batch-size",
    type=int,
    metavar="N",
    help="Samples per step.  [default: all; digits, iris, names, files of more than 64: 32]",
)
@click.option("--out", callback=_folder, metavar="DIR", help="The run folder.  [default: runs/NAME-001, ...]")
@click.option("--force", is_flag=True, help="Replace the run that is in --out, once this one is complete.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with this run, instead of SOURCE; --steps makes it longer (the learning rate then goes up again, as it falls "
    "over all steps).",
)
@click.option(
    "--compile/--no-compile",
    default=None,
    help="Make an array program of the net and its loss, and take the steps by that; or use the plain engine throughout.  "
    f"[default: compile runs of {PAYS_FROM['native']} steps and more, which is where it pays]",
)
@click.option(
    "--report/--no-report",
    default=None,
    help="Record gradients, activations and what the net decides on the way, and draw report.html of it.  [default: report; a "
    "run that is resumed: as before]",
)
@click.option("--checkpoint-every", type=int, metavar="N", help="Updates between checkpoints.  [default: one every 5 seconds]")
@click.option("--quiet", is_flag=True, help="Show nothing but errors, and the run folder where --out does not tell it.")
@click.pass_context
def train(ctx: click.Context, /, source: str | None, resume: Path | None, quiet: bool, **options: Any) -> None:
    """Train a net on SOURCE and leave a run folder.

    SOURCE is a data set (blobs, circles, digits, iris, lecture, moons), names, or a CSV file of numbers, in which --target
    names the column to learn. Text in it means classes; so do numbers when there are two different ones, or up to 20 that are
    whole and repeat; other numbers are a regression, in which a cell of text is a fault.

    With names the net learns to spell: from the English first names of Faker, or from --data, a text file with one word per
    line in any alphabet.

    The folder gets config.json, heldout.csv, metrics.csv, loss.png, decision_boundary.png (for two features), graph.dot and
    graph.svg (one neuron of scalars) and model.safetensors; of names the words of each part, and embedding.png. report.html shows
    what happened in the net; it is made of recording.safetensors. Checkpoints are taken on the way: Ctrl-C saves the step that is
    done, and a crash loses the last seconds.
    """
    showing: dict[str, Any] = {"checkpoint_every": options.pop("checkpoint_every")}
    report = options.pop("report")
    if not quiet:
        showing |= {"show": progress.for_terminal, "announce": _announce}
    if resume is not None:
        _expect_resumable(ctx, source)
        outcome = training.resume(resume, steps=options["steps"], report=report, **showing)
        if outcome.was_complete and not quiet:
            _say_wrapped(f"the run {outcome.folder} has done its {outcome.steps:,} steps; --steps N goes on to step N")
        if outcome.was_complete:
            return
    elif source is None:
        raise InputError(
            "say what to train on: chainrule train moons, chainrule train names, or chainrule train points.csv --target label"
        )
    else:
        out, force = options.pop("out"), options.pop("force")
        config, points = configure(source, **options)
        if not quiet and options["compile"] is None and not config.compile:
            showing["announce"] = _announce_plain
        outcome = training.train(config, points, out, force=force, report=report is not False, **showing)
    if outcome.interrupted is not None:
        _stop_interrupted(outcome, signal.Signals[outcome.interrupted])
    if not quiet:
        _summarize(outcome)
    elif resume is None and out is None:
        progress.say(str(outcome.folder))


def _expect_resumable(ctx: click.Context, source: str | None) -> None:
    if source is not None:
        raise InputError("--resume goes on with the data of the run, so give no SOURCE")
    given = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    fixed = sorted(set(given) - CAN_CHANGE_ON_RESUME)
    if fixed:
        option = next(p.opts[0] for p in ctx.command.params if p.name == fixed[0])
        raise InputError(f"{option} cannot change in a resumed run, which keeps its settings (but --steps)")


def _announce(trainer: Trainer, report: Report, folder: Path) -> None:
    """Before the first step: what is trained on what, where it goes, and on which engine."""
    for line in report.description():
        _say_wrapped(line)
    begun = f", from step {trainer.step}, lr {trainer.rate(trainer.step):.3g}" if trainer.step else ""
    _say_wrapped(f"run folder {folder}, seed {trainer.config.seed}, {trainer.engine} engine{begun}")


def _announce_plain(trainer: Trainer, report: Report, folder: Path) -> None:
    """The same, and why nothing is compiled."""
    _announce(trainer, report, folder)
    reason = why_not(trainer.config.steps, getattr(trainer.config, "net", "tensor"))
    _say_wrapped(f"not compiled: {reason}; --compile makes one anyway")


def _summarize(outcome: Outcome) -> None:
    for line in (*outcome.result, *outcome.notes):
        _say_wrapped(line)
    if outcome.final is not None:
        names = sorted(path.name for path in outcome.folder.iterdir() if not path.name.startswith("."))
        _say_wrapped(f"{outcome.folder} holds {', '.join(names)}")


def _say_wrapped(line: str) -> None:
    """Break a long line between words in a terminal; a pipe gets it in one piece."""
    width = shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else 10**6
    progress.say(textwrap.fill(line, max(width, 20), subsequent_indent="  ", break_on_hyphens=False, break_long_words=False))


def _stop_interrupted(outcome: Outcome, by: signal.Signals) -> NoReturn:
    with Interrupts():  # an impatient Ctrl-C shall not keep anyone from reading how to go on
        _tell_interrupted(outcome)
    raise SystemExit(128 + by)


def _tell_interrupted(outcome: Outcome) -> None:
    run = shlex.quote(str(outcome.folder))
    before = f"; until it is complete, the run before is kept in {outcome.replaced}" if outcome.replaced else ""
    go_on = f"go on with: chainrule train --resume {run}"
    _aside(f"chainrule: interrupted{before}; step {outcome.step} of {outcome.steps} is saved, {go_on}")


# ---- predict --------------------------------------------------------------------------------------------------------

PREDICT_EPILOG = """\b
Examples:
  chainrule predict runs/points-001 new.csv
  chainrule predict runs/points-001 new.csv -o answers.csv
  chainrule predict runs/points-001 - < new.csv"""


@cli.command(epilog=PREDICT_EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write.  [default: standard output]"
)
@click.option("--force", is_flag=True, help="Replace the file that is in --output.")
def predict(run: Path, file: Path | None, output: Path | None, force: bool) -> None:
    """Predict each row of a CSV file with a trained net.

    RUN is a run folder or a model.safetensors. FILE, or - for standard input, needs the columns that the net was trained on,
    in any order; others are ignored. Without a header the columns must be the same, in the same order.

    One row comes out for each row of FILE: `prediction` (the class or the number); for classes also, after a cross-entropy
    loss, one `probability_CLASS` per class, and after max_margin or mse one `score` (above 0: the second class). When
    FILE has the target too, the share of right predictions (or the error) is told on standard error.
    """
    if file is None:
        if run.exists():
            Model.load(run)  # raises, with what to use instead, for a run of names
        raise click.UsageError("missing argument 'FILE'", click.get_current_context())
    if output is not None:
        _expect_free(output, file, force)
    model = Model.load(run)
    rows, truth = _rows_for(model, file)
    scores = model.scores(rows)
    text = _predictions(model, scores)
    if output is None:
        click.echo(text.encode(), nl=False)  # UTF-8 like every file, whatever the terminal's encoding
    else:
        write(output, text.encode())
    if truth is not None:
        _aside(_judgement(model, model.decide(scores), truth) + _caveat(model, run, rows, truth))


def _expect_free(output: Path, file: Path, force: bool) -> None:
    if not output.is_file():  # nothing there, or a device such as /dev/stdout; a folder is refused when it is written
        return
    if file.exists() and output.samefile(file):
        raise RunError(f"{output} is the file to predict: write the predictions to another one")
    if not force:
        raise RunError(f"{output} exists already; choose another file, or --force to replace it")


def _caveat(model: Model, run: Path, rows: list[list[float]], truth: Sequence[str]) -> str:
    """What to say where these are the very data of the run: how well the net does on them is no proof."""
    if not model.fingerprint or _fingerprint(model, rows, truth) != model.fingerprint:
        return ""
    heldout = (run if run.is_dir() else run.parent) / "heldout.csv"
    others = f"; for the rows held out: chainrule predict {shlex.quote(str(run))} {shlex.quote(str(heldout))}"
    return f" (it was trained on these data{others if heldout.is_file() else ''})"


def _fingerprint(model: Model, rows: list[list[float]], truth: Sequence[str]) -> str:
    try:
        if model.classes is None:
            y = [float(cell) for cell in truth]
        else:
            y = [next(k for k, name in enumerate(model.classes) if _same_class(name, cell)) for cell in truth]
        return data.Dataset("rows", rows, y, model.columns, model.target, model.classes).fingerprint
    except (DataError, ValueError, StopIteration):  # they hold what the data of a run cannot hold
        return ""


def _rows_for(model: Model, file: Path) -> tuple[list[list[float]], list[str] | None]:
    """The features that the model wants, and the target's cells where the file has them."""
    rows = files.read_rows(file, names=model.columns)
    if not rows.has_header and set(model.columns) - set(rows.header):
        if len(rows.header) != len(model.columns):
            wanted = ", ".join(model.columns)
            raise DataError(f"{rows.name} has no header and {_count(len(rows.header), 'column')}; the model wants {wanted}")
        return files.numbers(rows, range(len(model.columns))), None
    features = files.numbers(rows, [files.column_index(rows, name) for name in model.columns])
    if model.target not in rows.header:
        return features, None
    goal = rows.header.index(model.target)
    return features, [row.cells[goal] for row in rows.body]


def _predictions(model: Model, scores: list[list[float]]) -> str:
    decided = model.decide(scores)
    columns: dict[str, list[Any]] = {"prediction": [_answer(model, y) for y in decided]}
    probabilities = model.probabilities(scores)
    if probabilities is not None and model.classes is not None:
        for name, column in zip(model.classes, zip(*probabilities, strict=True), strict=True):
            columns[f"probability_{name}"] = list(column)
    elif model.classes is not None:
        columns["score"] = [row[0] for row in scores]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


def _answer(model: Model, y: float) -> Any:
    return y if model.classes is None else model.classes[int(y)]


def _judgement(model: Model, decided: Sequence[float], truth: Sequence[str]) -> str:
    """How right the predictions are, for the rows whose target is known."""
    if model.classes is None:
        pairs = [(y, files.parse_number(cell)) for y, cell in zip(decided, truth, strict=True)]
        errors = [y - t for y, t in pairs if t is not None and math.isfinite(t)]
        if not errors:
            return f"no row has a number in the column {model.target!r} to compare with"
        rmse = math.hypot(*errors) / math.sqrt(len(errors))
        return f"rmse {rmse:.4g} on the {_count(len(errors), 'row')} with a number in {model.target!r}"
    known = [(model.classes[int(y)], cell) for y, cell in zip(decided, truth, strict=True) if cell]
    right = sum(_same_class(name, cell) for name, cell in known)
    return f"{right} of {len(known)} predictions agree with the column {model.target!r}"


def _same_class(name: str, cell: str) -> bool:
    number = files.parse_number(name)
    return name == cell or (number is not None and number == files.parse_number(cell))


# ---- sample ----------------------------------------------------------------------------------------------------------

SAMPLE_EPILOG = """\b
Examples:
  chainrule sample runs/names-001
  chainrule sample runs/names-001 -n 100 --seed 1 > made-up.txt
  chainrule sample runs/names-001 --new --temperature 0.8"""


@cli.command(epilog=SAMPLE_EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-n", "--count", type=int, default=20, metavar="N", help="How many words.  [default: 20]")
@click.option(
    "--temperature",
    type=float,
    default=1.0,
    metavar="T",
    help="Above 0; below 1 the words are more usual, above 1 more daring.  [default: 1.0]",
)
@click.option("--seed", type=int, metavar="N", help="The same words for the same seed.  [default: new ones each time]")
@click.option("--new", is_flag=True, help="Only words that are not in the list of the run, each once.")
def sample(run: Path, count: int, temperature: float, seed: int | None, new: bool) -> None:
    """Make up words with a net that was trained on names, one per line.

    RUN is a run folder or its model.safetensors. With a seed, a larger -n gives the same words first. No word is longer than
    100 characters. The list of the run, its held-out words too, is what --new compares with; it is in RUN (words-*.txt). Where it
    does not find enough of them, those that it found are printed, and the exit code is 2.
    """
    if not run.exists():
        siblings = [path.name for path in run.parent.iterdir()] if run.parent.is_dir() else []
        raise RunError(f"there is no run {run}{did_you_mean_file(run, siblings)}")
    model = NamesModel.load(run)
    known = words_of_run(run, model) if new else None
    try:
        _print_words(model.sample(count, temperature=temperature, seed=seed, new=known))
    except TooFewWordsError as error:
        _print_words(error.words)
        raise


def _print_words(words: list[str]) -> None:
    # UTF-8 like every file, whatever the terminal's encoding.
    click.echo("".join(word + "\n" for word in words).encode(), nl=False)


# ---- info -----------------------------------------------------------------------------------------------------------

PACKAGES = ("numpy", "click", "matplotlib", "rich", "safetensors", "scikit-learn", "faker", "torch")


@cli.command()
def info() -> None:
    """Tell which engine runs and why, versions, compiler, BLAS and CPU: what a bug report needs."""
    status = native.status()
    facts = {
        "chainrule": __version__,
        "engine": f"{status['engine']} ({status['reason']})",
        "compiler": status["compiler"] or "none used",
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        **{package: _version(package) for package in PACKAGES},
        "graphviz": shutil.which("dot") or "not installed",
        "BLAS": _blas(),
        "CPU": f"{_cpu()}, {os.cpu_count()} cores",
        "system": platform.platform(),
    }
    for name, fact in facts.items():
        click.echo(f"{name:<13} {fact}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _blas() -> str:
    """The BLAS that NumPy was built with, as it says itself."""
    import numpy

    built: Any = numpy.show_config(mode="dicts")
    blas = (built or {}).get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip() + " (of NumPy)"


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


# ---- words ----------------------------------------------------------------------------------------------------------


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _aside(line: str) -> None:
    """One line on standard error; where even that cannot be written, the exit code must do."""
    with contextlib.suppress(OSError):
        click.echo(" ".join(line.split()), err=True)
