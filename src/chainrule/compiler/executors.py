"""Which executor runs a program: `make`. Imports program, reference and native."""

from collections.abc import Mapping
from typing import Any, Protocol

from chainrule.compiler import reference
from chainrule.compiler.program import Program
from chainrule.errors import InputError, did_you_mean


class Executable(Protocol):
    """A program that can be run."""

    def run(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The outputs for these inputs, by name."""


EXECUTORS = {"numpy": reference.Executable}


def make(program: Program, name: str = "") -> Executable:
    """The program, made ready to run by the executor of that name; "" for the best there is."""
    if name and name not in EXECUTORS:
        raise InputError(f"unknown executor {name!r}{did_you_mean(name, EXECUTORS)} (known: {', '.join(EXECUTORS)})")
    return EXECUTORS[name or "numpy"](program)
