"""CSV files: `read_csv("points.csv", target="label")`.

What is read: comma, semicolon or tab separated UTF-8 text (with or without a byte order mark, any line ends, quoted
cells, blank lines skipped), every feature a finite number of a size up to dataset.LARGEST. `-` is standard input.

Is the first line a header? It is when it holds the target's or a feature's name, or no number at all, or text above a
number. Columns of a file without header are called x1, x2, ...; `--target 3` (a position) works for any file.

Are the targets classes or numbers? Text means classes. Numbers are classes when there are at most two different ones,
or when all are whole, at most 20 different ones, and every one comes twice on average; else it is a regression. Where
more than half of the cells are numbers, and those would be a regression, a cell of text among them is a fault.
`task="classification"` or `task="regression"` overrules.

Every fault is a DataError of one sentence that names the file, the line and the column. Imports dataset, misspelled and errors.
"""

import csv
import io
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from chainrule.data.dataset import LARGEST, TOO_LARGE, Dataset
from chainrule.data.misspelled import did_you_mean, did_you_mean_file
from chainrule.errors import DataError, InputError

TASKS = ("classification", "regression")
MOST_CLASSES_OF_NUMBERS = 20


class Row(NamedTuple):
    """The cells of a row and the line where it starts, counted from 1."""

    line: int
    cells: list[str]


class Rows(NamedTuple):
    """A CSV file as text: its name, the names of its columns, whether it has a header, and its rows."""

    name: str
    header: tuple[str, ...]
    has_header: bool
    body: list[Row]


def read_csv(
    path: str | Path, target: str | None = None, *, columns: Sequence[str] | None = None, task: str | None = None
) -> Dataset:
    """A CSV file as a Dataset.

    target: the column to learn, by name or by position from 1.
    columns: the features, by name; default every other column.
    task: "classification" or "regression"; default: decided from the targets, see the top of this file.

    Raises DataError for a file that cannot be used, InputError for an unknown task.
    """
    if task is not None and task not in TASKS:
        raise InputError(f"unknown task {task!r}{did_you_mean(task, TASKS)}")
    rows = read_rows(path, names=[*(columns or ()), *([target] if target else ())])
    if target is None:
        raise DataError(f"{rows.name}: say which column is to be learned (--target NAME), one of: {_listed(rows.header)}")
    goal = column_index(rows, target)
    features = [i for i in range(len(rows.header)) if i != goal]
    if columns is not None:
        features = [column_index(rows, name) for name in columns]
        twice = next((rows.header[i] for k, i in enumerate(features) if i in features[:k]), None)
        if twice is not None:
            raise DataError(f"{rows.name}: the column {twice!r} is given twice among the columns to learn from")
        if goal in features:
            raise DataError(f"{rows.name}: the target {rows.header[goal]!r} cannot be one of the columns to learn from")
    if not features:
        raise DataError(f"{rows.name}: there is no column besides the target {rows.header[goal]!r} to learn from")
    X = numbers(rows, features)
    y, classes = _targets(rows, goal, task)
    return Dataset(rows.name, X, y, tuple(rows.header[i] for i in features), rows.header[goal], classes)


def read_rows(path: str | Path, names: Sequence[str] = ()) -> Rows:
    """The cells of a CSV file as text, every row as long as the first.

    names: column names that are expected; where the first line holds one, it is a header.
    """
    name = "standard input" if str(path) == "-" else Path(path).name
    text = text_of(name, content_of(Path(path), "a CSV file"))
    rows = list(_split_lines(name, text))
    if not rows:
        raise DataError(f"{name}, line 1: the file is {'blank' if text else 'empty'}")
    width = len(rows[0].cells)
    for row in rows[1:]:
        if len(row.cells) != width:
            # The column named is the first that is missing or too much.
            at = min(len(row.cells), width) + 1
            raise DataError(
                f"{name}, line {row.line}, column {at}: the row has {len(row.cells)} cells, but line {rows[0].line} has {width}"
                + ("; does it write numbers with a decimal comma?" if _all_are_longer(rows) else "")
            )
    has_header = _is_header(rows, names)
    header = _header(name, rows[0]) if has_header else tuple(f"x{i + 1}" for i in range(width))
    body = rows[1:] if has_header else rows
    if not body:
        raise DataError(f"{name}, line {rows[0].line}: there is a header but no row of data below it")
    return Rows(name, header, has_header, body)


def _all_are_longer(rows: list[Row]) -> bool:
    """Whether the rows have more cells than the header has names, as where commas part cells and digits alike."""
    return len(rows) > 2 and all(len(row.cells) > len(rows[0].cells) for row in rows[1:])


def column_index(rows: Rows, name: str) -> int:
    """Where the column of that name (or of that position, from 1) is; DataError, with the nearest name, when nowhere."""
    if name in rows.header:
        return rows.header.index(name)
    if _is_position(name, len(rows.header)):
        return int(name) - 1
    hint = did_you_mean(name, rows.header)
    raise DataError(f"{rows.name} has no column {name!r}{hint} (columns: {_listed(rows.header)})")


def _is_position(name: str, width: int) -> bool:
    return name.isascii() and name.isdigit() and 1 <= int(name) <= width


def numbers(rows: Rows, indices: Sequence[int]) -> list[list[float]]:
    """These columns of every row as floats; DataError for the first cell that is no finite number."""
    return [[_number(rows, row, i) for i in indices] for row in rows.body]


def parse_number(cell: str) -> float | None:
    """The number that a cell holds, perhaps NaN or infinite; None for text."""
    try:
        return None if "_" in cell else float(cell)  # Python reads 1_000 as a number, other programs do not
    except ValueError:
        return None


def content_of(path: Path, wanted: str) -> bytes:
    """The bytes of a file, `-` for standard input; DataError when it cannot be read. wanted: what it should be, in words."""
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no file {path}{did_you_mean_file(path, _siblings(path))}") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not {wanted}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _siblings(path: Path) -> list[str]:
    """The names of the files beside one that is not there."""
    try:
        return sorted(each.name for each in path.parent.iterdir() if each.is_file())
    except OSError:
        return []


def text_of(name: str, raw: bytes) -> str:
    """UTF-8 text without its byte order mark; DataError naming the line of the first byte that is none."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{name}, line {line}: the text is not UTF-8; save the file as UTF-8") from None


def _split_lines(name: str, text: str) -> Iterator[Row]:
    first = text.lstrip("\r\n").splitlines()[:1]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=_delimiter(first[0] if first else ""), strict=True, skipinitialspace=True
    )
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield Row(line, [cell.strip() for cell in cells])
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{name}, line {line}: the row cannot be read as CSV: {error}") from None


def _delimiter(first_line: str) -> str:
    """Comma, semicolon or tab: the one that the first line has most of, outside of quotes."""
    bare = "".join(first_line.split('"')[::2])
    return max(",;\t", key=bare.count)


def _is_header(rows: list[Row], names: Sequence[str]) -> bool:
    first = [parse_number(cell) for cell in rows[0].cells]
    if all(x is not None for x in first):
        return any(name in rows[0].cells and not _is_position(name, len(first)) for name in names)
    if all(x is None for x in first) or any(name in rows[0].cells for name in names):
        return True
    below = [parse_number(cell) for cell in rows[1].cells] if len(rows) > 1 else first
    return any(x is None and y is not None for x, y in zip(first, below, strict=True))


def _header(name: str, row: Row) -> tuple[str, ...]:
    for i, cell in enumerate(row.cells):
        if not cell:
            raise DataError(f"{name}, line {row.line}, column {i + 1}: the column has no name; name it or take it out")
        if cell in row.cells[:i]:
            raise DataError(f"{name}, line {row.line}, column {i + 1}: the name {cell!r} is there twice")
    return tuple(row.cells)


def _number(rows: Rows, row: Row, i: int) -> float:
    cell = row.cells[i]
    where = f"{rows.name}, line {row.line}, column {rows.header[i]!r}"
    if not cell:
        raise DataError(f"{where}: the cell is empty")
    x = parse_number(cell)
    if x is None:
        comma = "; write a decimal point, not a comma" if re.fullmatch(r"[-+]?\d+,\d+(e[-+]?\d+)?", cell, re.I) else ""
        raise DataError(f"{where}: {_shown(cell)} is not a number{comma}")
    if not math.isfinite(x):
        raise DataError(f"{where}: {_shown(cell)} is not a finite number")
    if abs(x) > LARGEST:
        raise DataError(f"{where}: {_shown(cell)} is {TOO_LARGE}")
    return x


def _targets(rows: Rows, goal: int, task: str | None) -> tuple[list[float], tuple[str, ...] | None]:
    cells = [row.cells[goal] for row in rows.body]
    for row, cell in zip(rows.body, cells, strict=True):
        x = parse_number(cell)
        if not cell or (x is not None and not math.isfinite(x)):
            _number(rows, row, goal)  # raises: it is empty, NaN or infinite
    found = [parse_number(cell) for cell in cells]
    values = [x for x in found if x is not None]
    if task is None and len(values) < len(cells) < 2 * len(values) and not _are_classes(values):
        _expect_no_text(rows, goal)
    if task == "regression" or (task is None and len(values) == len(cells) and not _are_classes(values)):
        return [row[0] for row in numbers(rows, [goal])], None
    # 1 and 1.0 are one class; if one of the cells is text, all are.
    labels = [_number_label(x) for x in values] if len(values) == len(cells) else cells
    classes = tuple(sorted(set(labels), key=parse_number if len(values) == len(cells) else None))  # type: ignore[arg-type]
    if len(classes) < 2:
        lines = f"lines {rows.body[0].line} to {rows.body[-1].line}" if len(cells) > 1 else f"line {rows.body[0].line}"
        raise DataError(
            f"{rows.name}, {lines}, column {rows.header[goal]!r}: every row is {_shown(labels[0])}; learning needs two classes"
        )
    return [classes.index(label) for label in labels], classes


def _expect_no_text(rows: Rows, goal: int) -> None:
    try:
        numbers(rows, [goal])
    except DataError as error:
        raise DataError(f"{error} (if the column holds classes, pass --task classification)") from None


def _are_classes(values: Sequence[float]) -> bool:
    different = len(set(values))
    whole = all(x.is_integer() for x in values)
    return different <= 2 or (whole and different <= MOST_CLASSES_OF_NUMBERS and 2 * different <= len(values))


def _number_label(x: float) -> str:
    return str(int(x)) if x.is_integer() and abs(x) < 1e15 else repr(x)


def _shown(cell: str) -> str:
    return repr(cell) if len(cell) <= 30 else repr(cell[:27] + "...")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else ", ".join(names[:7]) + f", ... {len(names) - 7} more"
