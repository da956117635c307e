"""The kinds of run, one row each, and what a run needs of a kind: a `Trainer`, which computes, a `Report`, which tells, and a
`Probe`, which looks into the net (probe.py).

run.py has the folder, the lock, checkpoints, interrupts and progress, the same for all. What differs is here: how settings
are read, where data come from, what a step is (`Trainer`), what is said and left in the folder (`Report`), and how a net is
looked into (`Probe`). A new kind is a new row and three classes. Imports what the rows name.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from chainrule.train.compiling import CompiledStep
from chainrule.train.config import Config
from chainrule.train.loop import make_trainer
from chainrule.train.names.config import NAMES, NamesConfig
from chainrule.train.names.lists import load_words
from chainrule.train.names.probe import NamesProbe
from chainrule.train.names.report import NamesReport
from chainrule.train.names.trainer import NamesTrainer
from chainrule.train.probe import Probe, TableProbe
from chainrule.train.settings import Settings
from chainrule.train.table import TableReport


class Trainer(Protocol):
    """What computes: loop.py has it for tables, names/trainer.py for names."""

    history: list[Any]
    """The records that are rows of metrics.csv so far."""
    fingerprint: str
    optimizer: Any
    compiled: CompiledStep | None
    """The program of a step, where the settings want one."""

    @property
    def config(self) -> Settings:
        """The settings."""

    @property
    def record_type(self) -> Any:
        """The NamedTuple of a record; its first field is `step`, and all are numbers."""

    @property
    def net(self) -> Any:
        """The Module that is trained."""

    @property
    def step(self) -> int:
        """How many updates are made."""

    @property
    def engine(self) -> str:
        """What the last digits depend on: "native", "pure" or "numpy"."""

    @property
    def measure_name(self) -> str:
        """What the result is measured by."""

    @property
    def train_size(self) -> int:
        """How many samples there are to learn from."""

    @property
    def test_size(self) -> int:
        """How many are held out."""

    def rate(self, step: int) -> float:
        """The learning rate of a step."""

    def advance(self) -> Any:
        """Do one step and return a record for display; NonFiniteError or DomainError, with the state before the step, when it
        cannot be done."""

    def final_record(self) -> Any:
        """What the finished net shows on all samples."""

    def unfinished(self) -> list[Any]:
        """Records that would wait for more steps."""

    def progress(self) -> dict[str, Any]:
        """What a checkpoint needs besides weights, optimiser and history, for JSON; "step" is in it."""

    def restore_progress(self, facts: dict[str, Any], history: list[Any]) -> None:
        """Take that back; ModelFileError when it does not fit."""


class Report(Protocol):
    """What tells of a run: table.py has it for tables, names/report.py for names."""

    def header(self) -> str:
        """The first line of metrics.csv."""

    def row(self, record: Any) -> str:
        """A line of metrics.csv."""

    def progress(self, record: Any, finished: bool) -> list[str]:
        """A record in words, the most important first, without the step. finished: whether it is the last."""

    def description(self) -> list[str]:
        """What is trained on what, in sentences, before the first step."""

    def result(self, final: Any) -> list[str]:
        """What came out, in sentences."""

    def settings(self) -> dict[str, Any]:
        """Every choice as it turned out, for config.json."""

    def first_files(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents of what is written besides before the first step."""

    def last_names(self) -> list[str]:
        """The names of those files that `last_files` always writes."""

    def last_files(self, records: list[Any], final: Any) -> Iterator[tuple[str, bytes] | str]:
        """Names and contents of what is written at the end, or a sentence for each file that is not."""


class Kind(NamedTuple):
    """A kind of run. load: from settings, run folder and fingerprint, the data to go on with."""

    settings: Any
    trainer: Callable[[Any, Any], Trainer]
    report: Callable[[Any], Report]
    probe: Callable[[Any], Probe]
    load: Callable[[Any, Path, object], Any]


TABLE = Kind(Config, make_trainer, TableReport, TableProbe, lambda config, folder, fingerprint: config.load())
SPELLING = Kind(NamesConfig, NamesTrainer, NamesReport, NamesProbe, load_words)


def kind_of(config: Any) -> Kind:
    """The kind of settings, or of settings as JSON has them."""
    data = config.get("data") if isinstance(config, dict) else getattr(config, "data", None)
    return SPELLING if data == NAMES else TABLE
