"""The command line: `chainrule train`, `chainrule predict`, `chainrule info`.

Each command reads its options, calls the package that does the work, and words the answer. Whatever goes wrong becomes
one sentence, `chainrule: ...`, on standard error and exit code 2; an interrupted command exits with 128 plus the number of
the signal, as a shell has it: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP. CHAINRULE_DEBUG=1 shows the traceback as
well. Sits on top of everything; heavy packages are imported by the command that needs them.
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
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from chainrule import __version__, native
from chainrule import train as training
from chainrule.data import files
from chainrule.errors import ChainruleError, DataError, InputError, did_you_mean
from chainrule.nn.perceptron import ACTIVATIONS
from chainrule.train import Model, Outcome, Trainer, configure, progress
from chainrule.train.config import OPTIMIZERS
from chainrule.train.folder import write
from chainrule.train.objectives import OBJECTIVES, SHORT_NAMES, fitting

EPILOG = """\b
Examples:
  chainrule train moons
  chainrule train points.csv --target label
  chainrule predict runs/points-001 new.csv -o answers.csv

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
    """Train small nets, one scalar at a time, and use them."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


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
    return None if text is None else tuple(name.strip() for name in text.split(","))


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
  chainrule train digits --hidden 32 --steps 1000
  chainrule train points.csv --target label --test-fraction 0.3
  chainrule train houses.csv --target price --task regression
  chainrule train --resume runs/moons-001"""

CAN_CHANGE_ON_RESUME = {"resume", "steps", "checkpoint_every", "quiet", "source"}


@cli.command(epilog=TRAIN_EPILOG)
@click.argument("source", required=False)
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
@click.option("--seed", type=int, metavar="N", help="Of data, split, weights and batches.  [default: 1337]")
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
@click.option("--hidden", callback=_sizes, metavar="N,N", help="Hidden layers; none: a linear model.  [default: 16,16]")
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
    f"{_either(fitting('regression'))} for numbers; {_short_names()}.  [default: the first]",
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
    help="First learning rate; it falls in a line to a tenth.  [default: adam: 0.02; sgd: 0.1; moons, circles: 1.0]",
)
@click.option("--momentum", type=float, metavar="X", help="Of sgd.  [default: 0]")
@click.option("--weight-decay", type=float, metavar="X", help="As in PyTorch.  [default: 0; adamw: 0.01]")
@click.option("--steps", type=int, metavar="N", help="How many updates.  [default: moons, circles, blobs: 100; files: 300]")
@click.option(
    "--batch-size", type=int, metavar="N", help="Samples per step.  [default: all; digits, iris, files of more than 64: 32]"
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run folder.  [default: runs/NAME-001, ...]")
@click.option("--force", is_flag=True, help="Replace the run that is in --out.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with this run, instead of SOURCE; --steps makes it longer.",
)
@click.option("--checkpoint-every", type=int, metavar="N", help="Steps between checkpoints.  [default: one every 5 seconds]")
@click.option("--quiet", is_flag=True, help="Show nothing but errors.")
@click.pass_context
def train(ctx: click.Context, /, source: str | None, resume: Path | None, quiet: bool, **options: Any) -> None:
    """Train a net on SOURCE and leave a run folder.

    SOURCE is a data set (blobs, circles, digits, iris, lecture, moons) or a CSV file of numbers, in which --target names
    the column to learn. Text in it means classes; so do numbers when there are two different ones, or up to 20 that are
    whole and repeat; other numbers are a regression.

    The folder gets config.json, metrics.csv, loss.png, decision_boundary.png (for two features), graph.dot and graph.svg
    (one neuron) and model.safetensors. Checkpoints are taken on the way: Ctrl-C loses nothing, a crash next to nothing.
    """
    showing: dict[str, Any] = {"checkpoint_every": options.pop("checkpoint_every")}
    if not quiet:
        showing |= {"show": progress.for_terminal, "announce": _announce}
    if resume is not None:
        _expect_resumable(ctx, source)
        outcome = training.resume(resume, steps=options["steps"], **showing)
    elif source is None:
        raise InputError("say what to train on: chainrule train moons, or chainrule train points.csv --target label")
    else:
        out, force = options.pop("out"), options.pop("force")
        outcome = training.train(*configure(source, **options), out, force=force, **showing)
    if outcome.interrupted is not None:
        _stop_interrupted(outcome, signal.Signals[outcome.interrupted])
    if not quiet:
        _summarize(outcome)


def _expect_resumable(ctx: click.Context, source: str | None) -> None:
    if source is not None:
        raise InputError("--resume goes on with the data of the run, so give no SOURCE")
    given = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    fixed = sorted(set(given) - CAN_CHANGE_ON_RESUME)
    if fixed:
        option = "--" + fixed[0].replace("_", "-")
        raise InputError(f"{option} cannot change in a resumed run, which keeps its settings (but --steps)")


def _announce(trainer: Trainer, folder: Path) -> None:
    """Before the first step: what is trained on what, where it goes, and on which engine."""
    config, model = trainer.config, trainer.model
    held_out = f", {len(trainer.test)} held out" if trainer.test else ""
    what = f"classes {_listed(model.classes)}" if model.classes else f"target {model.target}"
    _say_wrapped(f"{model.data}: {len(trainer.train)} training samples{held_out}, {_listed(model.columns)}; {what}")
    sizes = ", ".join(map(str, model.sizes[1:]))
    count = len(trainer.parameters)
    progress.say(
        f"MLP({model.sizes[0]}, [{sizes}]), {count:,} parameters, {config.loss} loss, {config.optimizer}, lr {config.lr:g}"
    )
    begun = f", from step {trainer.step}" if trainer.step else ""
    _say_wrapped(f"run folder {folder}, seed {config.seed}, {native.status()['engine']} engine{begun}")


def _summarize(outcome: Outcome) -> None:
    final, name = outcome.final, outcome.measure_name
    if final is None:
        return
    count = f" ({round(final.measure * outcome.train_size)} of {outcome.train_size})" if name == "accuracy" else ""
    progress.say(f"training {progress.measure_in_words(name, final.measure)}{count}, loss {final.loss:.4g}")
    if not math.isnan(final.test_measure):
        progress.say(f"held-out {progress.measure_in_words(name, final.test_measure)} on {outcome.test_size} samples")
    for note in outcome.notes:
        _say_wrapped(note)
    names = sorted(path.name for path in outcome.folder.iterdir() if not path.name.startswith("."))
    _say_wrapped(f"{outcome.folder} holds {', '.join(names)}")


def _say_wrapped(line: str) -> None:
    """Break a long line between words in a terminal; a pipe gets it in one piece."""
    width = shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else 10**6
    progress.say(textwrap.fill(line, max(width, 20), subsequent_indent="  ", break_on_hyphens=False, break_long_words=False))


def _stop_interrupted(outcome: Outcome, by: signal.Signals) -> NoReturn:
    run = shlex.quote(str(outcome.folder))
    _complain(f"interrupted; step {outcome.step} of {outcome.steps} is saved, go on with: chainrule train --resume {run}")
    raise SystemExit(128 + by)


# ---- predict --------------------------------------------------------------------------------------------------------

PREDICT_EPILOG = """\b
Examples:
  chainrule predict runs/points-001 new.csv
  chainrule predict runs/points-001 new.csv -o answers.csv"""


@cli.command(epilog=PREDICT_EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write.  [default: standard output]"
)
def predict(run: Path, file: Path, output: Path | None) -> None:
    """Predict each row of a CSV file with a trained net.

    RUN is a run folder or a model.safetensors. FILE needs the columns that the net was trained on, in any order; others are
    ignored. Without a header the columns must be the same, in the same order.

    One row comes out for each row of FILE: `prediction` (the class or the number); for classes also, after a cross-entropy
    loss, one `probability_CLASS` per class, and after max_margin or mse one `score` (above 0: the second class). When
    FILE has the target too, the share of right predictions (or the error) is told on standard error.
    """
    model = Model.load(run)
    rows, truth = _rows_for(model, file)
    scores = model.scores(rows)
    text = _predictions(model, scores)
    if output is None:
        click.echo(text, nl=False)
    else:
        write(output, text.encode())
    if truth is not None:
        _complain(_judgement(model, model.decide(scores), truth), prefix="")


def _rows_for(model: Model, file: Path) -> tuple[list[list[float]], list[str] | None]:
    """The features that the model wants, and the target's cells where the file has them."""
    rows = files.read_rows(file, names=model.columns)
    if not rows.has_header and set(model.columns) - set(rows.header):
        if len(rows.header) != len(model.columns):
            wanted = ", ".join(model.columns)
            raise DataError(f"{rows.name} has no header and {len(rows.header)} columns; the model wants {wanted}")
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
        errors = [(y - t) ** 2 for y, t in pairs if t is not None and math.isfinite(t)]
        rmse = math.sqrt(math.fsum(errors) / len(errors)) if errors else math.nan
        return f"rmse {rmse:.4g} on the {len(errors)} rows with a number in {model.target!r}"
    known = [(model.classes[int(y)], cell) for y, cell in zip(decided, truth, strict=True) if cell]
    right = sum(_same_class(name, cell) for name, cell in known)
    return f"{right} of {len(known)} predictions agree with the column {model.target!r}"


def _same_class(name: str, cell: str) -> bool:
    number = files.parse_number(name)
    return name == cell or (number is not None and number == files.parse_number(cell))


# ---- info -----------------------------------------------------------------------------------------------------------

PACKAGES = ("numpy", "click", "matplotlib", "rich", "safetensors", "scikit-learn", "torch")


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


# ---- words and exit codes -------------------------------------------------------------------------------------------


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])}, ... {len(names) - 5} more"


def _complain(sentence: str, prefix: str = "chainrule: ") -> None:
    """One line on standard error; where even that cannot be written, the exit code must do."""
    if sentence:
        with contextlib.suppress(OSError):
            click.echo(prefix + " ".join(sentence.split()), err=True)


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn what goes wrong into a sentence and an exit code."""
    try:
        yield
    except click.ClickException as error:
        _exit(error, _usage(error), 2)
    except (click.Abort, KeyboardInterrupt) as error:
        _exit(error, "interrupted", 128 + signal.SIGINT)
    except BrokenPipeError as error:  # the reader has seen enough, as in `chainrule info | head -1`
        _exit(error, "", 1)
    except ChainruleError as error:
        _exit(error, str(error), 2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else "cannot write the output: "
        _exit(error, f"{where}{error.strerror or error}", 2)
    except UnicodeEncodeError as error:
        _exit(error, f"the output cannot hold {error.object[error.start]!r} in {error.encoding}; set PYTHONUTF8=1", 2)
    except MemoryError as error:
        _exit(error, "out of memory; smaller --samples, --batch-size or --hidden need less", 2)


def _usage(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption):  # click would make it two sentences
        message = f"no such option {error.option_name!r}{did_you_mean(error.option_name, error.possibilities or ())}"
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None and not message.endswith("?"):
        hint = f"; see {error.ctx.command_path} --help"
    return message[:1].lower() + message[1:] + hint


def _exit(error: BaseException, sentence: str, code: int) -> NoReturn:
    if os.environ.get("CHAINRULE_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)
    _complain(sentence)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        # Python would try once more while it exits, and complain about what is told already.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(code)


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    args: the words after `chainrule`; default those of the process.
    """
    with _one_sentence():
        cli.main(args, prog_name="chainrule", standalone_mode=False)
    raise SystemExit(0)
