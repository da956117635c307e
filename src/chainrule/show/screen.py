"""The whole terminal as a page that is redrawn, and its keys one by one; whatever happens, it is given back as it was.

>>> clipped("tanh(x)", 5)
'tanh…'

Needs a terminal at both ends (`usable`). Ctrl-C, a signal, an exception and a suspension (Ctrl-Z) restore the terminal's
settings, its cursor and what was on it. Imports colors.
"""

import contextlib
import os
import re
import select
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn, Self

_ENTER = "\x1b[?1049h\x1b[?25l"  # the other screen, without a cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_KEYS = {
    "C": "right", "D": "left", "A": "up", "B": "down", "H": "home", "F": "end",
    "1~": "home", "7~": "home", "4~": "end", "8~": "end", "5~": "page up", "6~": "page down",
}  # fmt: skip
_PLAIN_KEYS = {
    " ": "space", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\x1b": "escape", "\x04": "end of input",
}  # fmt: skip
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|\x1b\Z|[^\x1b]|\x1b", re.DOTALL)


def usable() -> bool:
    """Whether standard input and output are a terminal that can redraw."""
    ends = (sys.stdin, sys.stdout)
    if not all(end is not None and end.isatty() for end in ends) or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        import termios  # noqa: F401
    except ImportError:  # no POSIX system
        return False
    return True


class Screen:
    """The terminal, from `with` to its end.

    Raises KeyboardInterrupt on Ctrl-C, SystemExit on SIGTERM and SIGHUP, as a shell counts them.
    """

    def __init__(self) -> None:
        self.fd = sys.stdin.fileno()
        self.out = sys.stdout
        self._waiting = ""
        self._restore = contextlib.ExitStack()

    def __enter__(self) -> Self:
        import termios

        with contextlib.ExitStack() as stack:  # undone at once if something goes wrong on the way
            before = termios.tcgetattr(self.fd)
            self._wake, self._alarm = os.pipe()
            stack.callback(os.close, self._wake)
            stack.callback(os.close, self._alarm)
            self._catch(stack, signal.SIGTERM, _stop)
            self._catch(stack, signal.SIGHUP, _stop)
            self._catch(stack, signal.SIGWINCH, lambda number, frame: os.write(self._alarm, b"r"))
            self._catch(stack, signal.SIGTSTP, lambda number, frame: self._suspend(before))
            stack.callback(self._close, before)
            self._open()
            self._restore = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._restore.close()

    def _catch(self, stack: contextlib.ExitStack, number: int, handler: Callable[[int, FrameType | None], Any]) -> None:
        with contextlib.suppress(ValueError):  # in another thread than the first there are no signals
            if (before := signal.getsignal(number)) is not signal.SIG_IGN:
                signal.signal(number, handler)
                stack.callback(signal.signal, number, before or signal.SIG_DFL)

    def _open(self) -> None:
        import termios
        import tty

        tty.setcbreak(self.fd, termios.TCSADRAIN)  # keys come one by one and unseen; Ctrl-C and Ctrl-Z still mean what they do
        self._write(_ENTER)

    def _close(self, before: Any) -> None:
        import termios

        with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
            self._write(_LEAVE)
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self.fd, termios.TCSAFLUSH, before)  # keys that nobody has read do not reach the shell

    def _suspend(self, before: Any) -> None:
        self._close(before)
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # sleeps here until it is continued
        signal.signal(signal.SIGTSTP, handler)
        self._open()
        os.write(self._alarm, b"r")

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()

    def size(self) -> tuple[int, int]:
        """How many columns and rows there are now."""
        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(self.fd)
            if columns and rows:
                return columns, rows
        return 80, 24

    def draw(self, lines: list[str]) -> None:
        """Show these lines in the place of what was there; what does not fit is cut."""
        columns, rows = self.size()
        shown = [f"{clipped(line, columns)}\x1b[K" for line in lines[:rows]]
        self._write("\x1b[H" + "\r\n".join(shown) + ("\x1b[J" if len(shown) < rows else ""))

    def key(self) -> str:
        """Wait for a key: a character, or a word such as "right", "space" or "enter"; "resized" when the size has changed."""
        while not self._waiting:
            ready, _, _ = select.select([self.fd, self._wake], [], [])
            if self._wake in ready:
                os.read(self._wake, 4096)
                return "resized"
            came = os.read(self.fd, 1024)
            if not came:
                return "end of input"
            self._waiting = came.decode(errors="replace")
        found = _SEQUENCE.match(self._waiting)
        sequence = found[0] if found else self._waiting
        self._waiting = self._waiting[len(sequence) :]
        return _named(sequence)


def _named(sequence: str) -> str:
    if len(sequence) > 1:
        return _KEYS.get(sequence[2:], "unknown")
    return _PLAIN_KEYS.get(sequence, sequence)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


# ---- widths ----------------------------------------------------------------------------------------------------------

_PAINT = re.compile(r"(\x1b\[\d*m)")


def width(text: str) -> int:
    """How many columns of a terminal a text takes, colours aside.

    >>> width("\\x1b[1mx\\x1b[0m"), width("漢字")
    (1, 4)
    """
    return sum(map(_columns, _PAINT.sub("", text)))


def _columns(c: str) -> int:
    if unicodedata.combining(c) or c == "\u200d" or "\ufe00" <= c <= "\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def clipped(line: str, columns: int) -> str:
    """The line, cut to so many columns, with colours that end where it does."""
    if width(line) <= columns:
        return line
    return "".join(_taken(line, columns - 1)) + "…"


def _taken(line: str, columns: int) -> Iterator[str]:
    for piece in _PAINT.split(line):
        if piece.startswith("\x1b"):
            yield piece
            continue
        for c in piece:
            columns -= _columns(c)
            if columns >= 0:
                yield c
