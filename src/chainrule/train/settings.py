"""What the settings of every kind of run share: how one is checked, and how a record of them comes back from JSON.

Imports data.setting and errors.
"""

import dataclasses
import math
from typing import Any, Protocol, TypeVar

from chainrule.data.setting import Setting, SettingError
from chainrule.errors import ChainruleError, InputError, ModelFileError


class Settings(Protocol):
    """What a run must know of its settings, of whichever kind; config.py and names/config.py have one each."""

    @property
    def steps(self) -> int:
        """How many updates are wanted."""

    @property
    def lr(self) -> float:
        """The learning rate of the first step."""

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""

    @property
    def name(self) -> str:
        """What its folder is called by."""

    def load(self) -> Any:
        """The data, read or drawn anew."""

    def as_dict(self) -> dict[str, Any]:
        """All settings, for JSON."""


T = TypeVar("T")


def from_dict(kind: type[T], fields: Any) -> T:
    """The settings that `as_dict` gave; ModelFileError for anything else."""
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if not isinstance(fields, dict) or "data" not in fields:
        raise ModelFileError("the settings of the run cannot be read: they do not say what it is trained on")
    unknown = next((name for name in fields if name not in known), None)
    if unknown is not None:
        raise ModelFileError(f"the settings of the run cannot be read: there is no setting {unknown!r}")
    try:
        return kind(**fields)
    except (TypeError, ChainruleError) as error:
        raise ModelFileError(f"the settings of the run cannot be read: {error}") from None


def whole(name: str, x: Any, least: int) -> None:
    """SettingError unless it is a whole number of at least `least`, or None."""
    if x is not None and (isinstance(x, bool) or not isinstance(x, int) or x < least):
        raise SettingError(Setting(name), f" must be a whole number of at least {least}, not {x!r}")


def yes_or_no(name: str, x: Any) -> None:
    """SettingError unless it is True or False."""
    if not isinstance(x, bool):
        raise SettingError(Setting(name), f" must be True or False, not {x!r}")


def not_negative(name: str, x: Any) -> None:
    """SettingError unless it is a finite number of 0 or more."""
    if isinstance(x, bool) or not isinstance(x, (int, float)) or not math.isfinite(x) or x < 0:
        raise SettingError(Setting(name), f" must be a finite number of 0 or more, not {x!r}")


def positive(name: str, x: Any) -> None:
    """SettingError unless it is a finite number above 0."""
    if isinstance(x, bool) or not isinstance(x, (int, float)) or not math.isfinite(x) or x <= 0:
        raise SettingError(Setting(name), f" must be a finite number above 0, not {x!r}")


def seed(x: Any) -> None:
    """InputError unless it is a seed that every generator takes."""
    if isinstance(x, bool) or not isinstance(x, int) or not 0 <= x < 2**32:
        raise InputError(f"a seed is a whole number from 0 to 4294967295, not {x!r}")
