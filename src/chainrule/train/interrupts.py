"""Signals that ask a run to stop, noted so that it can stop between two steps: `Interrupts`. Imports nothing of ours."""

import signal
import threading
from types import FrameType
from typing import Any, Self

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupts:
    """Within it, Ctrl-C (SIGINT), SIGTERM and SIGHUP only set `received`; a second one acts as it would outside.

    A SIGHUP that is ignored, as under nohup, stays so. In a thread other than the main one it does nothing, as Python
    delivers signals to the main thread alone.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) is signal.SIG_IGN:
                    continue
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._put_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        self._put_back()

    def _put_back(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # A SIGINT that was ignored (a job in the background of a script) must still be able to stop the run at once.
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else handler)
