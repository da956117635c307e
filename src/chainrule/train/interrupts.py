"""Signals that ask a run to stop, noted so that it can stop between two steps: `Interrupts`. Imports nothing of ours."""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any, Self

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

ANSWER = b"\nchainrule: stopping as soon as all that is done is saved; Ctrl-\\ stops at once, without saving\n"


class Interrupts:
    """Within it, Ctrl-C (SIGINT), SIGTERM and SIGHUP only set `received`, to the first of them.

    An impatient second one, which must not cut short what the first has set going, is answered with a line on standard error.
    Ctrl-\\ (SIGQUIT) and SIGKILL end the process at once, as always; then the last checkpoint stands. A SIGHUP that is
    ignored, as under nohup, stays so. In a thread other than the main one it does nothing, as Python delivers signals to the
    main thread alone.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._answered = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) is signal.SIG_IGN:
                    continue
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        while self._before:
            number, handler = self._before.popitem()
            if handler is not None:  # None: one that Python did not install, and cannot
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number).name
        elif not self._answered:
            self._answered = True
            with contextlib.suppress(OSError):  # print may be in the middle of another line
                os.write(2, ANSWER)
