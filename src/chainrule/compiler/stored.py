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
executor knows are stored: expand a program first. What is read is not believed: every line is held against its row.
Imports builder, lines, program, soundness, ops and errors.
"""

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import ops
from chainrule.compiler.builder import Builder
from chainrule.compiler.lines import COMPARISONS, STRUCTURAL, Array, Row, Shape
from chainrule.compiler.program import Program
from chainrule.compiler.soundness import DTYPES, expect_size, expect_sound
from chainrule.errors import ChainruleError, CompileError, ModelFileError

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
    """The program of such a text. ModelFileError in one sentence for any other text, and for lines that do not hold together."""
    try:
        fields = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelFileError(f"the text is no program of chainrule: {type(error).__name__} {error}") from None
    if not isinstance(fields, dict) or "version" not in fields:
        raise ModelFileError("the text is no program of chainrule: it names no version")
    if fields["version"] != VERSION:
        raise ModelFileError(f"the program was written in format {fields['version']!r}; this chainrule reads format {VERSION}")
    if not isinstance(fields.get("lines"), list) or not isinstance(fields.get("outputs"), dict):
        raise ModelFileError("the text is no program of chainrule: it has no lines, or no outputs")
    builder = Builder()
    lines: list[Array] = []
    names: set[str] = set()
    for each in fields["lines"]:
        try:
            lines.append(_line(builder, lines, names, each))
        except (ChainruleError, ValueError, TypeError, OverflowError, RecursionError) as error:
            what = f" ({each['op']})" if isinstance(each, dict) and isinstance(each.get("op"), str) else ""
            raise ModelFileError(f"line {len(lines) + 1} of the program{what} does not hold together: {error}") from None
    for name, i in fields["outputs"].items():
        if type(i) is not int or not 0 <= i < len(lines):
            raise ModelFileError(f"output {name!r} of the program is line {i!r}, and there are {len(lines)} lines, from 0")
    return Program({name: lines[i] for name, i in fields["outputs"].items()})


_KINDS = (
    {"shape", "dtype", "data"},  # a constant
    {"shape", "dtype", "name"},  # an input
    {"shape", "dtype", "op", "inputs", "options"},
)


def _line(builder: Builder, lines: list[Array], names: set[str], fields: Any) -> Array:
    if not isinstance(fields, dict) or set(fields) not in _KINDS:
        raise CompileError(f"it is no line: one has {', or '.join(', '.join(sorted(kind)) for kind in _KINDS)}")
    shape, dtype = _listed(fields["shape"], "shape"), _dtype(fields["dtype"])
    expect_size(shape)
    if "data" in fields:
        return builder.constant(_data(fields["data"], shape, dtype), dtype)
    if "name" in fields:
        name = fields["name"]
        if not isinstance(name, str) or not name or name in names:
            raise CompileError(f"an input has a name of its own, not {name!r}")
        names.add(name)
        return builder.input(name, shape, dtype)
    if not isinstance(fields["op"], str) or fields["op"] not in ROWS:
        raise CompileError(f"the row {fields['op']!r} is not known to this chainrule")
    inputs = []
    for i in _listed(fields["inputs"], "inputs"):
        if type(i) is not int or not 0 <= i < len(lines):
            raise CompileError(f"its input {i!r} is none of the {len(lines)} lines before it, which are counted from 0")
        inputs.append(lines[i])
    if not isinstance(fields["options"], dict):
        raise CompileError("its options are no object")
    options = {
        name: _dtype(x) if name == "dtype" else tuple(x) if isinstance(x, list) else x for name, x in fields["options"].items()
    }
    expect_sound(ROWS[fields["op"]], inputs, shape, dtype, options)
    return builder.make(ROWS[fields["op"]], tuple(inputs), shape, dtype, options)


def _listed(x: Any, what: str) -> tuple[Any, ...]:
    if not isinstance(x, list):
        raise CompileError(f"its {what} are no list")
    return tuple(x)


def _dtype(name: Any) -> np.dtype[Any]:
    if name not in DTYPES:
        raise CompileError(f"there are no arrays of {name!r} in programs")
    found: np.dtype[Any] = np.dtype(name)
    return found


def _data(x: Any, shape: Shape, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The elements of a constant."""
    found = np.array(x)
    kinds = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}[dtype.kind]
    if found.size != math.prod(shape) or (found.size and found.dtype.kind not in kinds):
        raise CompileError(f"its data are not {math.prod(shape)} elements of {dtype}")
    if dtype.kind in "iu" and found.size and not np.array_equal(found, found.astype(dtype)):
        raise CompileError(f"its data do not fit into {dtype}")
    return found.astype(dtype).reshape(shape)
