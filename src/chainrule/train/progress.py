"""What a run shows while it goes: a live line in a terminal, a few regular lines anywhere else, or nothing.

All are context managers with `update(record)`, called after each step. A terminal gets one line that redraws itself and
leaves out what does not fit; NO_COLOR and dumb terminals are respected. Everything else (a pipe, a file) gets about
LINES plain lines, flushed one by one. When nobody reads any more (a closed pipe), training goes on silently.

What a record says is not its matter: it is given a function for that. rich is imported at use; plain lines do without it.
"""

import contextlib
import errno
import importlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TextIO

Words = Callable[[Any, bool], list[str]]
"""The words for a record, the most important first; the second argument tells whether it is that of the finished net."""

LINES = 20


class Silent:
    """Shows nothing; the base of the others.

    steps: of the whole run. words: for a record, besides its step.
    """

    def __init__(self, steps: int, words: Words) -> None:
        self.steps = steps
        self.words = words
        self.began = time.monotonic()
        self.done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop showing."""

    def update(self, record: Any) -> None:
        """Take note of a step."""
        self.done += 1
        if self.done == 1:  # the first step has more to do than the others, so their clock begins after it
            self.began = time.monotonic()
        self.show(record)

    def finish(self, record: Any) -> None:
        """Show what the finished net does on all training samples."""

    def show(self, record: Any) -> None:
        """Show it."""

    def tell(self, line: str) -> None:
        """Say something in a line of its own."""

    @property
    def speed(self) -> float:
        """Steps per second after the first since the start, or the resumption, of the run; 0 while it cannot be told."""
        return (self.done - 1) / max(time.monotonic() - self.began, 1e-9) if self.done > 1 else 0.0

    def parts(self, record: Any) -> list[str]:
        """The record and the pace in words, the most important first."""
        speed = self.speed
        left = [f"{duration((self.steps - record.step) / speed)} left"] if speed else []
        pace = [f"{speed:,.{0 if speed >= 10 else 2}f} steps/s"] if speed else []
        return [*self.said(record), *left, *pace]

    def said(self, record: Any) -> list[str]:
        """The record in words."""
        return [f"step {record.step:>{len(str(self.steps))}}/{self.steps}", *self.words(record, record.step == self.steps)]


class Plain(Silent):
    """About LINES lines, each written out at once."""

    def __init__(self, steps: int, words: Words, stream: TextIO | None = None) -> None:
        super().__init__(steps, words)
        self.stream = stream
        self.every = max(1, math.ceil(steps / LINES))

    def show(self, record: Any) -> None:
        """Print the first and every so many steps."""
        if self.done == 1 or record.step % self.every == 0:
            self.finish(record)

    def tell(self, line: str) -> None:
        """Print the line."""
        say(line, self.stream)

    def finish(self, record: Any) -> None:
        """Print the record."""
        say("  ".join(self.parts(record)), self.stream)


class Live(Silent):
    """One line that redraws itself, with a bar where there is room."""

    def __init__(self, steps: int, words: Words, console: Any) -> None:
        super().__init__(steps, words)
        self.record: Any | None = None
        self.stopped = False
        live = importlib.import_module("rich.live").Live
        self.console = console
        self.live = live(console=console, get_renderable=self.line, refresh_per_second=10, transient=False)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def close(self) -> None:
        """Draw the line a last time and leave it; without a bar and the time left when the run is not complete."""
        self.stopped = True
        with contextlib.suppress(OSError):  # the terminal may be gone
            self.live.stop()

    def show(self, record: Any) -> None:
        """Remember it for the next redrawing."""
        self.record = record

    def tell(self, line: str) -> None:
        """Print the line above the live one."""
        with contextlib.suppress(OSError):
            self.console.print(line, markup=False, highlight=False)

    def finish(self, record: Any) -> None:
        """Remember it for the last redrawing."""
        self.record = record

    def line(self) -> Any:
        """The line as it is now, no wider than the terminal."""
        text = importlib.import_module("rich.text").Text
        if self.record is None:
            return text("" if self.stopped else "starting", no_wrap=True, overflow="ellipsis")
        if self.stopped and self.record.step < self.steps:
            return text("  ".join(self.said(self.record)), no_wrap=True, overflow="ellipsis")
        line, *others = self.parts(self.record)
        room = self.console.width - 1
        for part in others:
            if len(line) + 2 + len(part) > room:
                break
            line += "  " + part
        bar = min(30, room - len(line) - 2)
        finished = text(line, no_wrap=True, overflow="ellipsis")
        if bar >= 5:
            full = round(bar * self.record.step / self.steps)
            # Two signs, because there may be no colours to tell the parts by.
            done, to_do = ("━", "·") if self.console.encoding.lower().startswith("utf") else ("#", ".")
            finished.append("  ").append(done * full, "green").append(to_do * (bar - full), "dim")
        return finished


def for_terminal(steps: int, words: Words) -> Silent:
    """The Live line when standard output is a terminal that can redraw, and rich is installed; else Plain lines."""
    if sys.stdout is None or not sys.stdout.isatty():
        return Plain(steps, words)
    try:
        console = importlib.import_module("rich.console").Console()
    except ImportError:
        say("(a live line needs rich; install it with: pip install 'chainrule[train]')")
        return Plain(steps, words)
    if console.is_dumb_terminal:
        return Plain(steps, words)
    return Live(steps, words, console)


Shower = Callable[[int, Words], Silent]


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line and flush it; a reader that has gone away does not stop the work."""
    with _nobody_reads():
        print(line, file=stream, flush=True)


@contextlib.contextmanager
def _nobody_reads() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):  # EIO: the terminal was closed
            raise
        sys.stdout = None  # print to None does nothing


def measure_in_words(name: str, measure: float) -> str:
    """`accuracy 97.0 %` or `rmse 0.123`.

    >>> measure_in_words("accuracy", 0.97), measure_in_words("accuracy", 0.9999)
    ('accuracy 97.0 %', 'accuracy 99.9 %')
    """
    if name != "accuracy":
        return f"{name} {measure:.4g}"
    # 100.0 % means all of them, not 1999 of 2000.
    return f"accuracy {100 * measure if measure == 1 else min(100 * measure, 99.9):.1f} %"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(0.4), duration(75), duration(7300)
    ('0 s', '1 min 15 s', '2 h 1 min')
    """
    whole = math.floor(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
