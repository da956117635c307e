"""A program as text and back: `to_json`, `from_json`.

>>> from chainrule.compiler.builder import Builder
>>> builder = Builder()
>>> x = builder.input("x", (3,))
>>> text = to_json(Program({"y": builder.math.tanh(x) * 2.0}))
>>> print(from_json(text))
x: float64 (3,)
v1 = tanh(x)
y = v1 * 2

A line is its row's name, its options and the numbers of its inputs, so reading one runs no code. Only rows that every
executor knows are stored: expand a program first. Imports builder, lines, program, ops and errors.
"""

import json
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.compiler.builder import Builder
from chainrule.compiler.lines import COMPARISONS, STRUCTURAL, Array, Row
from chainrule.compiler.program import Program
from chainrule.errors import CompileError, ModelFileError

VERSION = 1
_KNOWN: list[Row] = [*ops.BUILT_IN, *COMPARISONS, *STRUCTURAL]
ROWS = {row.name: row for row in _KNOWN}


def to_json(program: Program) -> str:
    """A program as JSON; floats come back to the last digit. CompileError for a row that not every executor knows."""
    number = {line: i for i, line in enumerate(program.lines)}
    return json.dumps(
        {
            "version": VERSION,
            "lines": [_stored(line, number) for line in program.lines],
            "outputs": {name: number[line] for name, line in program.outputs.items()},
        }
    )


def _stored(line: Array, number: dict[Array, int]) -> dict[str, Any]:
    fields: dict[str, Any] = {"shape": line.shape, "dtype": line.dtype.name}
    if line.data is not None:
        return fields | {"data": line.data.tolist()}
    if line.op is None:
        return fields | {"name": line.name}
    if ROWS.get(line.op.name) is not line.op:
        raise CompileError(f"the row {line.op.name} cannot be stored; expand the program first (Program.expanded)")
    options = {name: x.name if isinstance(x, np.dtype) else x for name, x in line.options.items()}
    return fields | {"op": line.op.name, "inputs": [number[x] for x in line.inputs], "options": options}


def from_json(text: str) -> Program:
    """The program of such a text. ModelFileError in one sentence for any other text."""
    try:
        fields = json.loads(text)
        if fields["version"] != VERSION:
            raise ModelFileError(
                f"the program was written in format {fields['version']!r}; this chainrule reads format {VERSION}"
            )
        builder = Builder()
        lines: list[Array] = []
        for each in fields["lines"]:
            lines.append(_line(builder, lines, each))
        return Program({str(name): lines[i] for name, i in fields["outputs"].items()})
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"the text is no program of chainrule: {type(error).__name__} {error}") from None


def _line(builder: Builder, lines: list[Array], fields: dict[str, Any]) -> Array:
    shape, dtype = tuple(map(int, fields["shape"])), np.dtype(fields["dtype"])
    if "data" in fields:
        return builder.constant(np.array(fields["data"], dtype).reshape(shape), dtype)
    if "op" not in fields:
        return builder.input(str(fields["name"]), shape, dtype)
    if fields["op"] not in ROWS:
        raise ModelFileError(f"the program uses the row {fields['op']!r}, which this chainrule does not know")
    options = {
        name: tuple(x) if isinstance(x, list) else np.dtype(x) if name == "dtype" else x for name, x in fields["options"].items()
    }
    return builder.make(ROWS[fields["op"]], tuple(lines[i] for i in fields["inputs"]), shape, dtype, options)
