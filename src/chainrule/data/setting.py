"""Sentences about settings: `Setting` and `SettingError`, so that the command line can name its options as they are typed.

>>> error = SettingError(Setting("batch_size"), " must be at least 2, not 1")
>>> str(error)
'batch_size must be at least 2, not 1'
>>> error.as_typed({"batch_size": "--batch-size"})
'--batch-size must be at least 2, not 1'

Imports errors.
"""

from collections.abc import Mapping
from typing import Any

from chainrule.errors import InputError


class Setting(str):
    """The name of a setting, as a part of a sentence."""


class SettingError(InputError):
    """An InputError about settings, made of the parts of its sentence: text, and each setting as a Setting."""

    def __init__(self, *parts: str) -> None:
        super().__init__("".join(parts))
        self.parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.parts

    def as_typed(self, options: Mapping[str, str]) -> str:
        """The sentence with the options instead of the settings. options: the option of a setting, by its name."""
        return "".join(options.get(part, part) if isinstance(part, Setting) else part for part in self.parts)


def listed(names: list[str]) -> list[str]:
    """a, b and c, as parts of a sentence.

    >>> "".join(listed(["a", "b", "c"]))
    'a, b and c'
    """
    parts: list[str] = []
    for i, name in enumerate(names):
        parts += ["" if i == 0 else " and " if i == len(names) - 1 else ", ", Setting(name)]
    return parts
