"""A whole run, from settings to a folder full of results: `train` and `resume`.

    config, points = configure("moons")
    outcome = train(config, points)

The folder holds config.json, metrics.csv and checkpoint.safetensors (replaced as the run goes), what tells of the data
(heldout.csv, or the words of names), and at the end model.safetensors and pictures; table.py and names/report.py say which. The
checkpoint alone is the truth: on `resume` everything else is made from it again, metrics.csv included, so rows beyond it are
gone. What is trained, one step at a time, is a matter of the kind of run: see kinds.py.

Unless it is not wanted, a run is watched (watch.py): recording.safetensors, written just before each checkpoint, keeps what was
seen, and report.html shows it, at the end and when the run is stopped. On `resume` what is beyond the checkpoint is cut. The
report comes after everything else, and one that fails is told of in a note: it takes no run its result, nor its own error.

Steps are counted by the updates made: row 0 of metrics.csv is the net as drawn, row k the net after k updates, and the
last row, on all training samples, the net that was learned. Progress, errors and checkpoints count alike.

Imports data.setting, errors, and kinds, checkpoint, folder, interrupts, page, pictures, progress, recording, report, settings,
watch beside it.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.setting import Setting, SettingError
from chainrule.errors import DomainError, ModelFileError, NonFiniteError, RunError
from chainrule.train import checkpoint, pictures, recording
from chainrule.train.folder import (
    CHECKPOINT,
    REPLACED,
    Rows,
    as_path,
    create,
    discard,
    existing,
    expect_room,
    locked,
    put_back,
    set_aside,
    write,
)
from chainrule.train.interrupts import Interrupts
from chainrule.train.kinds import Report, Trainer, kind_of
from chainrule.train.page import page
from chainrule.train.progress import Shower, Silent
from chainrule.train.recording import Recording
from chainrule.train.report import Run, columns_of
from chainrule.train.settings import Settings
from chainrule.train.watch import Watch, identity

REPORT = "report.html"
SECONDS = 5.0  # between checkpoints, when no number of steps is asked for


@dataclass
class Outcome:
    """How a run ended.

    folder: where its files are. step: how many steps the folder holds. steps: how many were wanted.
    interrupted: the signal that stopped it, or None when it is complete.
    final: what the finished net shows on the whole training part (None when interrupted). result: the same in sentences.
    train_size, test_size: samples. measure_name: "accuracy" or "rmse", for names "loss".
    replaced: where the run is that this one is to replace, until this one is complete; None when there is none.
    notes: one sentence for each file that was not written, and why.
    was_complete: whether it was resumed with nothing left to do; then no file was touched.
    """

    folder: Path
    step: int
    steps: int
    train_size: int
    test_size: int
    measure_name: str
    interrupted: str | None = None
    final: Any = None
    result: list[str] = field(default_factory=list)
    replaced: Path | None = None
    notes: list[str] = field(default_factory=list)
    was_complete: bool = False


def train(
    config: Settings,
    points: Any,
    out: str | Path | None = None,
    *,
    force: bool = False,
    checkpoint_every: int | None = None,
    report: bool = True,
    show: Shower = Silent,
    announce: Callable[[Trainer, Report, Path], None] | None = None,
) -> Outcome:
    """Train from the beginning and leave a run folder.

    config, points: as `configure` gives them.
    out: the folder; None for the next free one under runs/. force: replace the run that is in `out`, when this one is
    complete; until then it is kept in the folder `replaced-run` in `out`, and it is put back when this one fails.
    checkpoint_every: steps between checkpoints; None for one every SECONDS.
    report: whether to record what happens in the net, and draw report.html of it; the numbers are the same without.
    show: what makes the progress display; see progress.py. announce: called once, before the first step.

    Raises RunError when the folder exists or cannot be written, NonFiniteError or DomainError when training runs away; the
    last good state stays as a checkpoint, unless an older run is put back.
    """
    _expect_every(checkpoint_every)
    pictures.require_matplotlib()
    wanted = as_path(out)
    trainer = kind_of(config).trainer(config, points)
    content = checkpoint.encode(trainer)
    folder = create(wanted, config.name, force=force)
    # Interrupts around it all: an impatient Ctrl-C after the saving must not undo it.
    with Interrupts() as interrupts, locked(folder), _replacing(folder) as replaced:
        # The checkpoint first: from here on the folder is a run that can be resumed.
        write(folder / "checkpoint.safetensors", content)
        running = _Run(trainer, folder, checkpoint_every, show, announce, replaced)
        if report:
            running.watch()
        running.write_first_files()
        return running.go(interrupts)


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path | None]:
    """Within it the run that was in the folder is set aside; when something is raised, it comes back."""
    expect_room(folder)
    try:
        yield set_aside(folder)
    except BaseException:
        put_back(folder)
        raise


def resume(
    run: str | Path,
    *,
    steps: int | None = None,
    checkpoint_every: int | None = None,
    report: bool | None = None,
    show: Shower = Silent,
    announce: Callable[[Trainer, Report, Path], None] | None = None,
) -> Outcome:
    """Go on with a run that was interrupted, from its checkpoint, to the same end to the last digit.

    run: its folder. steps: a new number of steps, for a run that is to go on longer. The learning rate falls over all
    steps, so with more of them it is higher from here on than it was at last, and the end is not that of a run which had
    so many steps from the beginning. report: whether to record; None for as it was before. The other arguments and the
    errors are those of `train`; ModelFileError when the checkpoint cannot be used. Of a run that is complete nothing is
    written again, unless a file of it is missing.
    """
    _expect_every(checkpoint_every)
    pictures.require_matplotlib()
    folder = existing(Path(run))
    with Interrupts() as interrupts, locked(folder):
        saved = checkpoint.Checkpoint(folder / "checkpoint.safetensors")
        _expect_settings(folder, saved.config)
        config = saved.config if steps is None else replace(saved.config, steps=steps)
        trainer = saved.restore(config, saved.load(config, folder))
        if trainer.step > config.steps:
            done = f"{folder} has done {trainer.step} steps already, so "
            raise SettingError(done, Setting("steps"), f" cannot be {config.steps}")
        replaced = folder / REPLACED
        running = _Run(trainer, folder, checkpoint_every, show, announce, replaced if replaced.is_dir() else None)
        if report or (report is None and (trainer.step == 0 or (folder / recording.FILE).exists())):
            running.watch(running.recorded_before())
        if running.is_complete():
            return running.as_it_was()
        running.write_first_files()
        if saved.engine != trainer.engine:
            running.notes.append(f"the run began on the {saved.engine} engine; the last digits may differ from there on")
        if saved.executor is not None and trainer.compiled is not None and saved.executor != trainer.compiled.executor:
            running.notes.append(f"the run began on the {saved.executor} executor; the last digits may differ from there on")
        return running.go(interrupts)


class _Run:
    """One process's part of a run: steps, checkpoints, and the files of the end."""

    def __init__(
        self,
        trainer: Trainer,
        folder: Path,
        every: int | None,
        show: Shower,
        announce: Callable[[Trainer, Report, Path], None] | None,
        replaced: Path | None,
    ) -> None:
        self.trainer, self.folder, self.every, self.show, self.announce = trainer, folder, every, show, announce
        self.kind = kind_of(trainer.config)
        self.report = self.kind.report(trainer)
        self.watching: Watch | None = None
        self.replaced = replaced
        self.saved, self.saved_at = trainer.step, time.monotonic()
        self.final: Any = None
        self.notes: list[str] = []
        self.unseen: list[str] = []  # those of the notes that tell what could not be recorded or drawn

    def watch(self, before: Recording | None = None) -> None:
        """Record from here on. before: what was recorded so far."""
        self.watching = Watch(self.trainer, self.kind.probe(self.trainer), before)

    def recorded_before(self) -> Recording | None:
        """What the folder holds of this run, or None; why it cannot be gone on with becomes a note."""
        path, step = self.folder / recording.FILE, self.trainer.step
        if not path.exists():
            return None
        try:
            found = recording.read(path)
            if found.facts["run"] == json.loads(json.dumps(identity(self.trainer))):
                return found
            why = f"{path} is the recording of another run"
        except ModelFileError as error:
            why = str(error)
        self.notes.append(f"{why}; so report.html begins at step {step}")
        return None

    def is_complete(self) -> bool:
        """Whether all steps are done and every file is there, as far as can be told: metrics.csv and report.html are the last."""
        trainer, folder, report = self.trainer, self.folder, self.report
        if trainer.step < trainer.config.steps or self.replaced is not None:
            return False
        try:
            same = all((folder / name).read_bytes() == content for name, content in report.first_files())
            lines = (folder / "metrics.csv").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return False
        begun, end = self._lines([*trainer.history, *trainer.unfinished()]), lines.splitlines()[-1:]
        drawn = [] if self.watching is None else [REPORT, recording.FILE]
        there = all((folder / name).is_file() for name in ("config.json", *report.last_names(), *drawn))
        return same and there and lines.startswith(begun) and end[0].startswith(f"{trainer.step},")

    def as_it_was(self) -> Outcome:
        """The outcome of a run that is complete."""
        final = self.trainer.final_record()
        return self._outcome(self.trainer.step, final=final, result=self.report.result(final), was_complete=True)

    def go(self, interrupts: Interrupts) -> Outcome:
        trainer = self.trainer
        if self.announce is not None:
            self.announce(trainer, self.report, self.folder)
        try:
            # NumPy would warn of a net of tensors that runs away; it is told in a sentence.
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                self._steps(interrupts)
        except (NonFiniteError, DomainError) as error:
            raise type(error)(f"{str(error).rstrip('.')} ({self._what_is_left()})") from error
        if self.final is None:
            self._write_report([*trainer.history, *trainer.unfinished()])
            return self._outcome(trainer.step, interrupted=interrupts.received)
        return self._finish(self.final)

    def _what_is_left(self) -> str:
        """Where a run stands that ran away, and how to go on."""
        kept = f"the run that was in {self.folder} before is kept"
        if self.replaced is None:
            with contextlib.suppress(RunError):  # of a full disk, say; then the older checkpoint holds the last weights
                self._save(diverged=True)
                self._write_report([*self.trainer.history, *self.trainer.unfinished()])
            after = f"{self.saved} step{'s' * (self.saved != 1)}"
            kept = "; ".join([f"the last weights that are finite, after {after}, are in {self.folder}", *self.unseen])
        return f"{kept}; a run keeps its learning rate, so begin a new one with a smaller --lr than {self.trainer.config.lr:g}"

    def _steps(self, interrupts: Interrupts) -> None:
        trainer, steps = self.trainer, self.trainer.config.steps
        advance = trainer.advance if self.watching is None else self.watching.advance
        rows = Rows(self.folder / "metrics.csv", self._lines(trainer.history))
        written = len(trainer.history)
        try:
            with self.show(steps, self.report.progress) as display:
                while trainer.step < steps and interrupts.received is None:
                    record = advance()
                    self._tell_news(display)
                    for new in trainer.history[written:]:
                        rows.append(self.report.row(new))
                        written += 1
                    display.update(record)
                    if self._is_due():
                        self._save()
                if self.saved < trainer.step:
                    self._save()
                if trainer.step == steps:
                    self.final = trainer.final_record()
                    display.finish(self.final)
        finally:
            rows.close()

    def _tell_news(self, display: Silent) -> None:
        """What came of compiling, once."""
        compiled = self.trainer.compiled
        if compiled is not None and compiled.news:
            display.tell(compiled.news)
            if compiled.refused:
                self.notes.append(compiled.news)
            compiled.news = ""

    def _is_due(self) -> bool:
        if self.every is not None:
            return self.trainer.step - self.saved >= self.every
        return time.monotonic() - self.saved_at >= SECONDS

    def _save(self, *, diverged: bool = False) -> None:
        self._save_recording()  # before the checkpoint: what is beyond that is cut, and what is missing stays so
        write(self.folder / "checkpoint.safetensors", checkpoint.encode(self.trainer, diverged=diverged))
        self.saved, self.saved_at = self.trainer.step, time.monotonic()

    def _write_report(self, records: list[Any]) -> None:
        self._save_last_recording()
        if self.watching is not None:
            try:
                seen = Run(self.watching.recording(), columns_of(self._lines(records)))
                write(self.folder / REPORT, page(seen).encode())
            except Exception as error:  # of matplotlib, or a full disk
                self._miss(REPORT, error)

    def _miss(self, what: str, error: Exception) -> None:
        """Note that a file about the run could not be made; the run itself is none the worse."""
        why = " ".join(str(error).split()).rstrip(".")
        self.unseen.append(f"{what} was not written: {type(error).__name__}{': ' * bool(why)}{why}")
        self.notes.append(self.unseen[-1])

    def _finish(self, final: Any) -> Outcome:
        trainer, folder, report = self.trainer, self.folder, self.report
        records = [*trainer.history, *trainer.unfinished(), final]
        self._write_last_files(records, final)
        self._save_last_recording()
        write(folder / "metrics.csv", self._lines(records).encode())
        if self.replaced is not None:
            discard(folder)
            self.replaced = None
        self._write_report(records)
        return self._outcome(trainer.step, final=final, result=report.result(final))

    def _write_last_files(self, records: list[Any], final: Any) -> None:
        """The model, which must be written, and its pictures, as far as they can be drawn."""
        missing = self.report.last_names()
        try:
            for file in self.report.last_files(records, final):
                if isinstance(file, str):
                    self.notes.append(file)
                else:
                    write(self.folder / file[0], file[1])
                    missing = [name for name in missing if name != file[0]]
        except RunError:
            raise
        except Exception as error:
            if "model.safetensors" in missing:
                raise
            for name in missing:  # one that is there is of a shorter run
                (self.folder / name).unlink(missing_ok=True)
            self._miss(missing[0] if missing else "a picture", error)

    def write_first_files(self) -> None:
        """config.json and what says on which data: what is used, and what is not."""
        write(self.folder / "config.json", (json.dumps(self.report.settings(), indent=2) + "\n").encode())
        for name, content in self.report.first_files():
            write(self.folder / name, content)

    def _save_recording(self) -> None:
        if self.watching is not None:
            try:
                content = self.watching.recording().encode()
            except Exception as error:
                self.watching.stop()
                self.watching = None
                self._miss(f"{recording.FILE}, and so {REPORT},", error)
            else:
                write(self.folder / recording.FILE, content)

    def _save_last_recording(self) -> None:
        """The recording with what there is to say of the run; a report of fewer steps goes, as it would pass for the new one."""
        if self.watching is not None:
            self.watching.facts["about"] = self.report.description()
            self._save_recording()
            with contextlib.suppress(OSError):
                (self.folder / REPORT).unlink(missing_ok=True)

    def _lines(self, records: list[Any]) -> str:
        return "\n".join([self.report.header(), *map(self.report.row, records), ""])

    def _outcome(self, step: int, **how: Any) -> Outcome:
        trainer = self.trainer
        return Outcome(
            folder=self.folder,
            step=step,
            steps=trainer.config.steps,
            train_size=trainer.train_size,
            test_size=trainer.test_size,
            measure_name=trainer.measure_name,
            replaced=self.replaced,
            notes=self.notes,
            **how,
        )


def _expect_every(checkpoint_every: int | None) -> None:
    if checkpoint_every is not None and checkpoint_every < 1:
        raise SettingError(Setting("checkpoint_every"), f" must be at least 1 step, not {checkpoint_every!r}")


def _expect_settings(folder: Path, config: Settings) -> None:
    """The checkpoint must be of the run that config.json describes; one that was copied in from elsewhere is not."""
    path = folder / "config.json"
    if not path.exists():  # the run was killed between its first two files
        return
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError:
        written = None
    if not isinstance(written, dict):
        raise ModelFileError(f"{path} cannot be read: it is not the JSON that a run writes")
    for name, x in config.as_dict().items():
        # What the run left to the data is in the file as it turned out; the fingerprint vouches for the data.
        if name != "steps" and x is not None and x != written.get(name):
            theirs = written.get(name, "missing")
            file = folder / CHECKPOINT
            raise ModelFileError(f"{file} belongs to another run: its {name} is {x}, but in {path.name} it is {theirs}")
