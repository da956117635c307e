"""Colours for a terminal: what kind of thing a word is, and the escape sequences that paint it.

>>> Paint(False)("grad", "grad 1.0000")
'grad 1.0000'
>>> Paint(True)("grad", "grad 1.0000")
'\\x1b[32mgrad 1.0000\\x1b[0m'

Nothing is told by colour alone. The sixteen colours of every terminal are used, so that a reader's own scheme holds.
Imports nothing of ours.
"""

import os
import re
from typing import Any

_CODES = {
    "name": "1",  # bold
    "op": "33",  # yellow
    "data": "",
    "grad": "32",  # green
    "local": "36",  # cyan
    "faint": "2",
    "now": "7",  # reversed: the node that a step is about
    "wrong": "31",  # red
}


class Paint:
    """Paints words by what they are, or leaves them as they are.

    on: whether to paint.
    """

    def __init__(self, on: bool) -> None:
        self.on = on

    def __call__(self, kind: str, words: str) -> str:
        """`words` in the colour of a kind: name, op, data, grad, local, faint, now or wrong."""
        code = _CODES[kind]
        return f"\x1b[{code}m{words}\x1b[0m" if self.on and code and words else words


UNPAINTED = Paint(False)
_PAINTED = re.compile(r"\x1b\[\d*m")


def unpainted(words: str) -> str:
    """The words without their colours.

    >>> unpainted(Paint(True)("op", "tanh"))
    'tanh'
    """
    return _PAINTED.sub("", words)


def wanted(stream: Any) -> bool:
    """Whether a stream is a terminal that shows colours, and nobody has asked for none (NO_COLOR, TERM=dumb)."""
    if stream is None or not stream.isatty() or os.environ.get("NO_COLOR"):
        return False
    return os.environ.get("TERM", "dumb") != "dumb"
