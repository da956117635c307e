"""A whole run, from settings to a folder full of results: `train` and `resume`.

    config, points = configure("moons")
    outcome = train(config, points)

The folder holds config.json, metrics.csv (one row per step), checkpoint.safetensors (replaced as the run goes), and at
the end model.safetensors, loss.png, decision_boundary.png, graph.dot and graph.svg. The checkpoint alone is the truth: on
`resume` everything else is made from it again, metrics.csv included, so rows beyond it are gone.

Imports everything beside it, and errors.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chainrule import data, native
from chainrule.errors import ChainruleError, DomainError, InputError, ModelFileError, NonFiniteError
from chainrule.train import checkpoint, pictures
from chainrule.train.config import Config
from chainrule.train.folder import Rows, create, existing, locked, write
from chainrule.train.interrupts import Interrupts
from chainrule.train.loop import Record, Trainer
from chainrule.train.progress import Shower, Silent

SECONDS = 5.0  # between checkpoints, when no number of steps is asked for


@dataclass
class Outcome:
    """How a run ended.

    folder: where its files are. step: how many steps the folder holds. steps: how many were wanted.
    interrupted: the signal that stopped it, or None when it is complete.
    final: what the finished net shows on the whole training part (None when interrupted).
    train_size, test_size: samples. measure_name: "accuracy" or "rmse".
    notes: one sentence for each file that was not written, and why.
    """

    folder: Path
    step: int
    steps: int
    train_size: int
    test_size: int
    measure_name: str
    interrupted: str | None = None
    final: Record | None = None
    notes: list[str] = field(default_factory=list)


def train(
    config: Config,
    points: data.Dataset,
    out: str | Path | None = None,
    *,
    force: bool = False,
    checkpoint_every: int | None = None,
    show: Shower = Silent,
    announce: Callable[[Trainer, Path], None] | None = None,
) -> Outcome:
    """Train from the beginning and leave a run folder.

    config, points: as `configure` gives them.
    out: the folder; None for the next free one under runs/. force: replace the run that is in `out`.
    checkpoint_every: steps between checkpoints; None for one every SECONDS.
    show: what makes the progress display; see progress.py. announce: called once, before the first step.

    Raises RunError when the folder exists or cannot be written, NonFiniteError or DomainError when training runs away; the
    last good checkpoint stays.
    """
    _expect_every(checkpoint_every)
    pictures.require_matplotlib()
    trainer = Trainer(config, points)
    content = checkpoint.encode(trainer)
    folder = create(None if out is None else Path(out), config.name, force=force)
    with locked(folder):
        # The checkpoint first: from here on the folder is a run that can be resumed.
        write(folder / "checkpoint.safetensors", content)
        _write_settings(folder, config)
        return _Run(trainer, folder, checkpoint_every, show, announce).go()


def resume(
    run: str | Path,
    *,
    steps: int | None = None,
    checkpoint_every: int | None = None,
    show: Shower = Silent,
    announce: Callable[[Trainer, Path], None] | None = None,
) -> Outcome:
    """Go on with a run that was interrupted, from its checkpoint, to the same end to the last digit.

    run: its folder. steps: a new number of steps, for a run that is to go on longer; the learning rate then falls over
    those. The other arguments and the errors are those of `train`; ModelFileError when the checkpoint cannot be used.
    """
    _expect_every(checkpoint_every)
    pictures.require_matplotlib()
    folder = existing(Path(run))
    with locked(folder):
        saved = checkpoint.Checkpoint(folder / "checkpoint.safetensors")
        _expect_settings(folder, saved.config)
        config = saved.config if steps is None else replace(saved.config, steps=steps)
        trainer = saved.restore(config, config.load())
        if trainer.step > config.steps:
            raise InputError(f"{folder} has done {trainer.step} steps already, so steps cannot be {config.steps}")
        _write_settings(folder, config)
        running = _Run(trainer, folder, checkpoint_every, show, announce)
        if saved.engine != native.status()["engine"]:
            running.notes.append(f"the run began on the {saved.engine} engine; the last digits may differ from there on")
        return running.go()


class _Run:
    """One process's part of a run: steps, checkpoints, and the files of the end."""

    def __init__(
        self,
        trainer: Trainer,
        folder: Path,
        every: int | None,
        show: Shower,
        announce: Callable[[Trainer, Path], None] | None,
    ) -> None:
        self.trainer, self.folder, self.every, self.show, self.announce = trainer, folder, every, show, announce
        self.saved, self.saved_at = trainer.step, time.monotonic()
        self.notes: list[str] = []

    def go(self) -> Outcome:
        trainer = self.trainer
        if self.announce is not None:
            self.announce(trainer, self.folder)
        with Interrupts() as interrupts:
            try:
                self._steps(interrupts)
            except KeyboardInterrupt:  # the second Ctrl-C: not even the running step is waited for
                return self._outcome(self.saved, interrupted="SIGINT")
            except (NonFiniteError, DomainError) as error:
                kept = f"the last good checkpoint, of step {self.saved}, is in {self.folder}"
                raise type(error)(f"{str(error).rstrip('.')} ({kept}; a smaller learning rate may help)") from error
            if trainer.step < trainer.config.steps:
                return self._outcome(trainer.step, interrupted=interrupts.received)
            return self._finish()

    def _steps(self, interrupts: Interrupts) -> None:
        trainer, steps = self.trainer, self.trainer.config.steps
        rows = Rows(self.folder / "metrics.csv", "\n".join([_header(trainer), *map(self._row, trainer.history), ""]))
        try:
            with self.show(steps, trainer.measure_name) as display:
                while trainer.step < steps and interrupts.received is None:
                    record = trainer.advance()
                    rows.append(self._row(record))
                    display.update(record)
                    if self._is_due():
                        self._save()
            if self.saved < trainer.step:
                self._save()
        finally:
            rows.close()

    def _is_due(self) -> bool:
        if self.every is not None:
            return self.trainer.step - self.saved >= self.every
        return time.monotonic() - self.saved_at >= SECONDS

    def _save(self) -> None:
        write(self.folder / "checkpoint.safetensors", checkpoint.encode(self.trainer))
        self.saved, self.saved_at = self.trainer.step, time.monotonic()

    def _row(self, record: Record) -> str:
        numbers = record if self.trainer.test is not None else record[:-1]
        return ",".join("" if isinstance(x, float) and math.isnan(x) else repr(x) for x in numbers)

    def _finish(self) -> Outcome:
        trainer, folder = self.trainer, self.folder
        final = trainer.final_record()
        if not math.isfinite(final.loss):
            raise NonFiniteError(f"after the last step the loss is {final.loss}; a smaller learning rate may help")
        history = [*trainer.history, final]
        text = "\n".join([_header(trainer), *map(self._row, history), ""])
        write(folder / "metrics.csv", text.encode())
        write(folder / "model.safetensors", trainer.model.encode())
        batches = trainer.config.batch_size is not None and trainer.config.batch_size < len(trainer.train)
        title = f"{trainer.config.name}: {trainer.config.loss}, {len(trainer.train)} training samples"
        curve = pictures.loss_curve(history, trainer.measure_name, title, batches=batches)
        write(folder / "loss.png", curve)
        self._draw_boundary(final)
        dot = pictures.neuron_graph(trainer.model, trainer.train)
        write(folder / "graph.dot", dot.source.encode())
        svg = pictures.svg(dot)
        if isinstance(svg, bytes):
            write(folder / "graph.svg", svg)
        else:
            self.notes.append(f"no graph.svg: {svg}")
        return self._outcome(trainer.step, final=final)

    def _draw_boundary(self, final: Record) -> None:
        trainer = self.trainer
        if len(trainer.train.columns) == 2:
            picture = pictures.decision_boundary(trainer.model, trainer.train, trainer.test, final.measure)
            write(self.folder / "decision_boundary.png", picture)
        else:
            count = len(trainer.train.columns)
            self.notes.append(f"no decision_boundary.png: a plane shows two features, and these data have {count}")

    def _outcome(self, step: int, **how: Any) -> Outcome:
        trainer = self.trainer
        return Outcome(
            folder=self.folder,
            step=step,
            steps=trainer.config.steps,
            train_size=len(trainer.train),
            test_size=len(trainer.test) if trainer.test else 0,
            measure_name=trainer.measure_name,
            notes=self.notes,
            **how,
        )


def _header(trainer: Trainer) -> str:
    name = trainer.measure_name
    return f"step,loss,{name},lr" + (f",test_{name}" if trainer.test is not None else "")


def _expect_every(checkpoint_every: int | None) -> None:
    if checkpoint_every is not None and checkpoint_every < 1:
        raise InputError(f"checkpoint_every must be at least 1 step, not {checkpoint_every!r}")


def _write_settings(folder: Path, config: Config) -> None:
    write(folder / "config.json", (json.dumps(config.as_dict(), indent=2) + "\n").encode())


def _expect_settings(folder: Path, config: Config) -> None:
    """The checkpoint must be of the run that config.json describes; one that was copied in from elsewhere is not."""
    path = folder / "config.json"
    if not path.exists():  # the run was killed between its first two files
        return
    try:
        written = Config.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ChainruleError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from None
    for name, x in config.as_dict().items():
        if name != "steps" and x != written.as_dict()[name]:
            theirs = written.as_dict()[name]
            file = folder / "checkpoint.safetensors"
            raise ModelFileError(f"{file} belongs to another run: its {name} is {x}, but in {path.name} it is {theirs}")
