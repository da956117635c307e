"""The rows that a benchmark measures, as a table for people and as one line of JSON for programs."""

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure and its target.

    name: how programs find it. what: what was measured. figure: the result in `unit`; None when `problem` says, in one
    sentence, why it could not be measured. goal: "at least" or "at most" `target`. holds: a further condition on the
    target, as a benchmark may have one. note: how the figure came about. details: everything behind it.
    """

    name: str
    what: str
    unit: str
    goal: str
    target: float
    figure: float | None = None
    holds: bool = True
    problem: str = ""
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the figure was measured and reaches the target."""
        if self.figure is None or not self.holds:
            return False
        return self.figure >= self.target if self.goal == "at least" else self.figure <= self.target


def show(benchmark: str, rows: Sequence[Row], quick: bool) -> None:
    """Print the table and, as the very last line, the JSON."""
    cells = [_cells(row) for row in rows]
    head = ("what", "measured", "target", "met", "how")
    if not _rich_table(head, cells):
        _plain_table(head, cells)
    if quick:
        print("A quick run: it shows that everything can be measured; its figures mean little.")
    about = {"benchmark": benchmark, "quick": quick, "environment": surroundings()}
    sys.stdout.flush()
    print(json.dumps(about | {"rows": [asdict(row) | {"met": row.met} for row in rows]}))


def _cells(row: Row) -> tuple[str, ...]:
    measured = "-" if row.figure is None else f"{row.figure:.4g} {row.unit}"
    verdict = "-" if row.figure is None else "yes" if row.met else "NO"
    return row.what, measured, f"{row.goal} {row.target:g}", verdict, row.problem or row.note


def _rich_table(head: Sequence[str], cells: Sequence[Sequence[str]]) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(*head, show_lines=True)
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    return True


def _plain_table(head: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    for row in cells:
        print(row[0])
        for title, cell in zip(head[1:], row[1:], strict=True):
            print(f"    {title:10}{cell}")


def surroundings() -> dict[str, Any]:
    """Where it ran: Python, the engine and its version, the peer, the processor, how busy the machine was."""
    from chainrule import __version__, native

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "chainrule": __version__,
        "engine": native.status(),
        "micrograd": _version("micrograd"),
        "numpy": _version("numpy"),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
