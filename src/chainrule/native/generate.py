"""Print the operation code of the native engine from the table: `_ops.h`.

Run by setup.py when the package is built: `python -m chainrule.native.generate` prints it to look at. Imports ops and
symbols.
"""

import json
import sys

from chainrule import ops, symbols
from chainrule.native.sources import source_hash
from chainrule.ops import Op


def header() -> str:
    """The text of `_ops.h`: codes, arities, the forward rules and the local derivatives as two switches."""
    count = len(ops.BUILT_IN)
    codes = ", ".join(f"{_code(op)} = {i}" for i, op in enumerate(ops.BUILT_IN))
    sloped = ", ".join("{" + ", ".join(_flags(op)) + "}" for op in ops.BUILT_IN)
    return "\n".join(
        [
            "/* Generated from src/chainrule/ops.py by chainrule.native.generate; do not edit. */",
            f'#define SOURCE_HASH "{source_hash()}"',
            f"#define OP_COUNT {count}",
            f"enum {{ {codes} }};",
            f"static const uint8_t ARITY[OP_COUNT] = {{{', '.join(str(op.arity) for op in ops.BUILT_IN)}}};",
            f"static const uint8_t SLOPED[OP_COUNT][3] = {{{sloped}}};",
            "",
            "static inline double forward_rule(int code, double x0, double x1, double x2) {",
            "    switch (code) {",
            *(_forward(op) for op in ops.BUILT_IN),
            "    }",
            "    return NAN;",
            "}",
            "",
            "static inline void slope_rules(int code, double y, double x0, double x1, double x2,",
            "                               const int *needed, double *slope) {",
            "    (void)y;",
            "    switch (code) {",
            *(_slopes(op) for op in ops.BUILT_IN),
            "    }",
            "}",
            "",
            _methods("UNARY_METHODS", 1),
            _methods("BINARY_METHODS", 2),
            "",
        ]
    )


def _code(op: Op) -> str:
    return f"OP_{op.name.upper()}"


def _flags(op: Op) -> list[str]:
    return ["0" if i >= op.arity or op.derivatives[i] is None else "1" for i in range(3)]


def _inputs(op: Op) -> str:
    names = symbols.c(op).inputs
    return " ".join(f"double {name} = x{i};" for i, name in enumerate(names)) + "".join(f" (void){n};" for n in names)


def _forward(op: Op) -> str:
    return f"    case {_code(op)}: {{ {_inputs(op)} return {symbols.c(op).forward}; }}"


def _slopes(op: Op) -> str:
    slopes = [f"if (needed[{i}]) slope[{i}] = {slope};" for i, slope in enumerate(symbols.c(op).derivatives) if slope is not None]
    return f"    case {_code(op)}: {{ {_inputs(op)} {' '.join(slopes)} break; }}"


def _methods(macro: str, arity: int) -> str:
    """The named methods as an X-macro; the infix operators are slots of the type, in engine.c."""
    rows = [op for op in ops.BUILT_IN if op.arity == arity and not op.method.startswith("__")]
    entries = "".join(f" \\\n    X({op.method}, {_code(op)}, {json.dumps(op.doc)})" for op in rows)
    return f"#define {macro}(X){entries}"


if __name__ == "__main__":
    sys.stdout.write(header())
