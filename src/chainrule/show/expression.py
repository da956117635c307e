"""An expression as a person writes it, made into a graph: read by a grammar of its own, never run as Python.

>>> y = parse("tanh(x1*w1 + x2*w2 + b)", x1=2.0, x2=0.0, w1=-3.0, w2=1.0, b=6.8813735870195432)
>>> y.data
0.7071067811865477

Results can have names, as in the lecture, and values can be in the text: "a = 2; b = -3; e = a*b; L = e + 10". There are
numbers, names, + - * / ** and parentheses, with the precedence they have in Python, and the functions of the table.

What does not fit is an InputError: one sentence, and a note that marks the place in the text. Left out on purpose:
comparisons, indices, attributes, and calls of anything but the table. Imports engine, ops, origins and errors.
"""

import functools
import itertools
import keyword
import linecache
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from chainrule import ops
from chainrule.engine import Node, Value, apply
from chainrule.errors import DomainError, InputError, NotANumberError, did_you_mean

DEEPEST = 100  # parentheses within each other; nobody reads more, and Python's own stack is finite
WIDEST = 72  # characters of an expression that an error shows


class Span(NamedTuple):
    """A piece of the text: from where to where."""

    start: int
    end: int


class Expression(NamedTuple):
    """What a text has become.

    root: the output. text: as it was read. nodes: the values and named results, by name.
    spans: the piece of the text that made a node.
    """

    root: Any
    text: str
    nodes: dict[str, Any]
    spans: dict[Any, Span]


def parse(expression: str, /, **values: Any) -> Value:
    """The graph of an expression, with its values and named results as labels.

    expression: arithmetic and functions of the table; `name = ...;` before it names a result.
    values: a number for each name, or a Value (a Tensor) to build on.

    Raises InputError for a text that cannot be read, a name without a value or a value without a use; DomainError where an
    operation leaves its domain; both with a note that marks the place. NotANumberError for a value that is no number.

    >>> parse("a * (b + 1)", a=2, b=3)
    Value(data=8.0)
    """
    root: Value = read(expression, values).root
    return root


def read(expression: str, values: Mapping[str, Any]) -> Expression:
    """The same, with what the pieces of the text have become."""
    if not isinstance(expression, str):
        raise NotANumberError(f"an expression is a string, not {type(expression).__name__}")
    statements = _Reader(expression, values).statements()
    _check_names(expression, statements, values)
    return _Builder(expression, values).build(statements)


def _fail(text: str, span: Span, sentence: str) -> NoReturn:
    line = text.count("\n", 0, span.start) + 1
    column = span.start - text.rfind("\n", 0, span.start)
    where = f"line {line}, column {column}" if "\n" in text.strip() else f"column {column}"
    error = InputError(f"{where}: {sentence}")
    error.add_note(marked(text, span))
    raise error


def marked(text: str, span: Span) -> str:
    """The line of the text that holds a piece, and carets under that piece; two lines, cut to WIDEST characters.

    >>> print(marked("tanh(x1*w1 + y)", Span(13, 14)))
      tanh(x1*w1 + y)
                   ^
    """
    begin = text.rfind("\n", 0, span.start) + 1
    line = text[begin:].partition("\n")[0]
    start, end = span.start - begin, min(span.end - begin, len(line))
    left = max(0, min(start - WIDEST // 2, len(line) - WIDEST)) if len(line) > WIDEST else 0
    shown = [c if c.isprintable() else " " for c in line[left : left + WIDEST]]
    cut = ["…" if left else "", "…" if left + WIDEST < len(line) else ""]
    before, under = shown[: start - left], shown[start - left : end - left]
    carets = "^" * max(1, _width(under))
    return f"  {cut[0]}{''.join(shown)}{cut[1]}\n  {' ' * (len(cut[0]) + _width(before))}{carets}"


def _width(chars: Sequence[str]) -> int:
    """How many columns of a terminal characters take."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in chars)


# ---- words of the text -----------------------------------------------------------------------------------------------


class _Token(NamedTuple):
    kind: str  # number, name, sign or end
    text: str
    span: Span


_TOKEN = re.compile(
    r"(?P<space>[^\S\n]+)|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d²³¹][^\W²³¹]*)"
    r"|(?P<sign>\*\*|//|==|!=|<=|>=|:=|->|\S|\n)"
)
_SPELLINGS = {"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "\n": ";"}


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        kind = str(found.lastgroup)
        if kind != "space":
            yield _Token(kind, _SPELLINGS.get(found[0], found[0]), Span(*found.span()))
    yield _Token("end", "", Span(len(text), len(text) + 1))


class _Part(NamedTuple):
    """One instruction: push a number or a named value, or apply a row to what was pushed last."""

    kind: str  # number, name or call
    what: Any
    span: Span
    operands: int = 0


class _Statement(NamedTuple):
    """`name = ...`, or an expression without a name; its instructions in the order in which they are computed."""

    name: str
    place: Span
    span: Span
    parts: list[_Part]


class _Reader:
    """Reads a text by its grammar, from left to right, each sign once."""

    def __init__(self, text: str, values: Collection[str] = ()) -> None:
        self.text = text
        self.values = values
        self.tokens = list(_tokens(text))
        self.at = 0
        self.depth = 0
        self.parts: list[_Part] = []

    def statements(self) -> list[_Statement]:
        """The statements in order, of which the last is the output."""
        found: list[_Statement] = []
        while self.next.kind != "end":
            if self.next.text == ";":
                self.at += 1
            else:
                found.append(self._statement())
        if not found:
            raise InputError("the expression is empty; write one such as tanh(x*w + b)")
        for nameless in (each for each in found[:-1] if not each.name):
            self.fail("the result of this goes nowhere; give it a name, as in e = a*b", nameless.span)
        return found

    @property
    def next(self) -> _Token:
        """The word to be read."""
        return self.tokens[self.at]

    def fail(self, sentence: str, span: Span | None = None) -> NoReturn:
        """Raise the error, marking the next word or a piece."""
        _fail(self.text, span or self.next.span, sentence)

    def _statement(self) -> _Statement:
        first, second = self.next, self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        name = first.text if first.kind == "name" and second.text == "=" else ""
        if name:
            self._expect_free(first)
            self.at += 2
        self.parts = []
        begin = self.next.span.start
        self._expression(0)
        if self.next.kind != "end" and self.next.text != ";":
            self._refuse_to_go_on()
        return _Statement(name, first.span, Span(begin, self.tokens[self.at - 1].span.end), self.parts)

    def _expect_free(self, name: _Token) -> None:
        if keyword.iskeyword(name.text):
            self.fail(f"{name.text!r} is a word of Python and cannot be a name")
        if name.text in functions():
            self.fail(f"{name.text} is a function of the table and cannot be a name")

    def _expression(self, tightness: int) -> None:
        """An operand and what follows it, as long as the operators hold at least as tightly."""
        begin = self.next.span.start
        self._operand()
        while self.next.text in _INFIX and self.next.kind == "sign":
            row, level, right = _INFIX[self.next.text]
            if level < tightness:
                return
            self.at += 1
            self._deeper(right)
            self._call(row, 2, begin)

    def _deeper(self, tightness: int) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"more than {DEEPEST} parentheses or powers within each other are too deep to read; name inner results")
        self._expression(tightness)
        self.depth -= 1

    def _call(self, row: ops.Op, count: int, begin: int) -> None:
        self.parts.append(_Part("call", row, Span(begin, self.tokens[self.at - 1].span.end), count))

    def _operand(self) -> None:
        minuses = []
        while self.next.text in ("-", "+"):
            minuses += [self.next.span.start] * (self.next.text == "-")
            self.at += 1
        if minuses:
            self._deeper(_POWER)  # as in Python, -x**2 is -(x**2)
            for begin in reversed(minuses):
                self._call(ops.TABLE["neg"], 1, begin)
            return
        word = self.next
        if word.kind == "number":
            self._number(word)
        elif word.kind == "name":
            self._name(word)
        elif word.text == "(":
            self.at += 1
            self._deeper(0)
            self._close(word)
        else:
            self._refuse_operand(word)

    def _number(self, word: _Token) -> None:
        if float(word.text) == float("inf"):
            self.fail(f"{word.text[:20]}{'…' * (len(word.text) > 20)} is too large for a float, whose largest is 1.8e308")
        self.at += 1
        self.parts.append(_Part("number", float(word.text), word.span))
        after = self.next
        if after.kind == "name" and after.span.start == word.span.end:
            self.fail(f"an operator is missing: write {word.text}*{after.text}", Span(word.span.start, after.span.end))

    def _name(self, word: _Token) -> None:
        if keyword.iskeyword(word.text):
            self._refuse_keyword(word)
        self.at += 1
        if self.next.text != "(":
            if word.text in functions():
                self.fail(f"{word.text} is a function: write {word.text}(...)", word.span)
            self.parts.append(_Part("name", word.text, word.span))
            return
        row = functions().get(word.text)
        if row is None:
            self._refuse_call(word)
        opening = self.next
        self.at += 1
        count = 0
        while self.next.text != ")":
            count += 1
            self._deeper(0)
            if self.next.text == ",":
                self.at += 1
            elif self.next.text != ")":
                break
        self._close(opening)
        if count != row.arity:
            takes = f"{row.arity} argument{'s' * (row.arity != 1)}"
            self.fail(f"{word.text} takes {takes}, not {count}", Span(word.span.start, self.tokens[self.at - 1].span.end))
        self._call(row, count, word.span.start)

    def _close(self, opening: _Token) -> None:
        if self.next.text == ")":
            self.at += 1
        elif self.next.kind == "end" or self.next.text == ";":
            self.fail("this parenthesis is not closed", opening.span)
        else:
            self._refuse_to_go_on()

    # ---- what is wrong

    def _refuse_call(self, word: _Token) -> NoReturn:
        computed = {token.text for token, after in zip(self.tokens, self.tokens[1:], strict=False) if after.text == "="}
        if word.text in computed or word.text in self.values:
            self.fail(f"{word.text} is no function; to multiply, write {word.text}*(...)", word.span)
        known = ", ".join(name for name, row in ops.TABLE.items() if row.arity != 2 or row.method == name)
        hint = did_you_mean(word.text, functions()) or f"; there are {known}"
        self.fail(f"there is no function {word.text!r}{hint}", word.span)

    def _refuse_keyword(self, word: _Token) -> NoReturn:
        hint = "; for a choice there is where(c, a, b)" if word.text in ("if", "else") else ""
        self.fail(f"{word.text!r} is a word of Python; an expression has numbers, names, operators and functions{hint}")

    def _refuse_operand(self, word: _Token) -> NoReturn:
        if word.kind == "end" or word.text == ";":
            self.fail("something is missing here: a number, a name or a parenthesis")
        if word.text == ")":
            opened = self.depth > 0
            self.fail("something is missing before this parenthesis" if opened else "this parenthesis closes nothing")
        self.fail(_FOREIGN.get(word.text) or f"a number, a name or a parenthesis is needed here, not {_quoted(word.text)}")

    def _refuse_to_go_on(self) -> NoReturn:
        word = self.next
        if word.text == ")":
            self.fail("this parenthesis closes nothing")
        if keyword.iskeyword(word.text):
            self._refuse_keyword(word)
        if word.text == "(" or word.kind in ("name", "number"):
            self.fail(f"an operator is missing before {word.text[:20]}, such as *")
        if word.text == ",":
            self.fail("a comma stands between the arguments of a function; a decimal point is a point")
        self.fail(
            _FOREIGN.get(word.text) or f"{_quoted(word.text)} is no part of an expression, which has + - * / ** and functions"
        )


def _quoted(sign: str) -> str:
    return repr(sign) if sign.isprintable() else f"the character U+{ord(sign):04X}"


_SUM, _PRODUCT, _POWER = 1, 2, 3
# Each with its row, how tightly it holds, and what its right operand must hold: more, but for ** which groups to the right.
_INFIX = {
    "+": (ops.TABLE["add"], _SUM, _PRODUCT),
    "-": (ops.TABLE["sub"], _SUM, _PRODUCT),
    "*": (ops.TABLE["mul"], _PRODUCT, _POWER),
    "/": (ops.TABLE["div"], _PRODUCT, _POWER),
    "**": (ops.TABLE["pow"], _POWER, _POWER),
}
_COMPARISON = "comparisons are not differentiated and no part of an expression; for a choice there is where(c, a, b)"
_FOREIGN = {
    **dict.fromkeys(("==", "!=", "<", ">", "<=", ">="), _COMPARISON),
    "^": "a power is written **, as in x**2",
    "=": "= names a result and stands after one name, as in e = a*b; d = e + c",
    ":=": "= names a result, as in e = a*b; d = e + c",
    "²": "a power is written **, as in x**2",
    "³": "a power is written **, as in x**3",
    ".": "there are no attributes in an expression",
    "[": "there are no indices or lists in an expression",
    "{": "there are no sets or dicts in an expression",
    '"': "there is no text in an expression",
    "'": "there is no text in an expression",
    "//": "there is no // here, which has no slope; a quotient is written /",
    "%": "there is no % here; the operators are + - * / **",
    "@": "there is no @ here, as there are only numbers; a product is written *",
}


@functools.lru_cache(maxsize=1)
def _named_rows(rows: tuple[ops.Op, ...]) -> dict[str, ops.Op]:
    symbols = {row.symbol: row for row in rows if row.symbol.isidentifier()}
    return {**{row.name: row for row in rows}, **{name: row for name, row in symbols.items() if name not in ops.TABLE}}


def functions() -> dict[str, ops.Op]:
    """The functions an expression may call: the rows of the table by name, and by symbol where that is a word (max, ReLU)."""
    return _named_rows(tuple(ops.TABLE.values()))


# ---- names and values ------------------------------------------------------------------------------------------------


def _check_names(text: str, statements: Sequence[_Statement], values: Mapping[str, Any]) -> None:
    """Every name has one value, from the text or from outside, before it is used; and every value is used."""
    defined: dict[str, Any] = dict(values)
    used: set[str] = set()
    missing: dict[str, Span] = {}
    for statement in statements:
        for part in statement.parts:
            if part.kind == "name":
                used.add(part.what)
                if part.what not in defined:
                    missing.setdefault(part.what, part.span)
        if statement.name in values:
            _fail(text, statement.place, f"{statement.name} is given a value and is computed here; one of the two is too many")
        if statement.name and statement.name in defined:
            _fail(text, statement.place, f"{statement.name} has been computed already; take another name")
        if statement.name:
            defined[statement.name] = statement
    if missing:
        _fail_missing(text, missing, defined)
    for statement in statements[:-1]:
        if statement.name not in used:
            _fail(text, statement.place, f"{statement.name} is computed and not used; the output is what stands last")
    if unused := [name for name in values if name not in used]:
        known = sorted(used | {s.name for s in statements if s.name})
        hint = did_you_mean(unused[0], [name for name in known if name not in values]) or _listed(known)
        raise InputError(f"{_and(unused)} {_is(unused)} given a value, but not in the expression{hint}")


def _fail_missing(text: str, missing: Mapping[str, Span], defined: Mapping[str, Any]) -> NoReturn:
    names, first = list(missing), next(iter(missing))
    later = isinstance(defined.get(first), _Statement)
    if later:
        _fail(text, missing[first], f"{first} is used before it is computed")
    names = [name for name in names if name not in defined]
    free = [name for name in defined if name not in missing]
    hint = did_you_mean(first, [*free, *functions()]) if len(first) > 1 else ""
    verb = "has no value" if len(names) == 1 else "have no values"
    _fail(text, missing[first], f"{_and(names)} {verb}; give {', '.join(f'{name}=...' for name in names[:3])}{hint}")


def _and(names: Sequence[str]) -> str:
    few = [*names[:5], "others"] if len(names) > 5 else list(names)
    return " and ".join([", ".join(few[:-1]), few[-1]] if few[1:] else few)


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _listed(names: Sequence[str]) -> str:
    return f", which has {_and(names)}" if names else ", which has no names"


# ---- the graph -------------------------------------------------------------------------------------------------------


class _Builder:
    """Computes the parts of statements, each after its operands, into nodes; what is made of numbers alone stays a number."""

    def __init__(self, text: str, values: Mapping[str, Any]) -> None:
        self.text = text
        self.nodes: dict[str, Any] = {name: _leaf(name, x) for name, x in values.items()}
        self.spans: dict[Any, Span] = {}
        self.file = _file_for(text)

    def build(self, statements: Sequence[_Statement]) -> Expression:
        """The graph of all statements; its output is the last one's."""
        node: Any = None
        for line, statement in enumerate(statements, 1):
            node = self._computed(statement.parts, line)
            if statement.name:
                node = self.nodes[statement.name] = self._named(statement.name, node, statement.span)
        root = node if isinstance(node, Node) else Value(node, requires_grad=False)
        return Expression(root, self.text, self.nodes, self.spans)

    def _computed(self, parts: Sequence[_Part], line: int) -> Any:
        stack: list[Any] = []
        for part in parts:
            if part.kind == "number":
                stack.append(part.what)
            elif part.kind == "name":
                stack.append(self.nodes[part.what])
            else:
                first = len(stack) - part.operands
                stack[first:] = [self._applied(part, stack[first:], line)]
        return stack[0]

    def _applied(self, part: _Part, operands: list[Any], line: int) -> Any:
        from chainrule.origins import Origin  # here, because it brings NumPy, which reading a text does not need

        try:
            node: Any = apply(part.what, *operands)
        except DomainError as error:
            error.add_note(marked(self.text, part.span))
            raise
        if node.op is None:
            return node.data if isinstance(node, Value) else node
        node._origin = Origin(self.file, line)
        self.spans[node] = part.span
        return node

    def _named(self, name: str, node: Any, span: Span) -> Any:
        """A result with its name; a number becomes a value to differentiate by, and another name for a value stays that."""
        if not isinstance(node, Node):
            return Value(node, label=name)
        if not node.label and node in self.spans:  # made here; a node that was given stays as it is
            node.label = name
            self.spans[node] = span
        return node


def _leaf(name: str, x: Any) -> Any:
    if isinstance(x, Node):
        return x
    try:
        return Value(x, label=name)
    except NotANumberError as error:
        raise NotANumberError(f"the value of {name}: {error}") from None


def _file_for(text: str) -> str:
    """A name under which Python finds the lines of the text, where it looks for those of source files."""
    file = f"<expression {next(_numbers) % 1000 + 1}>"  # so that not all texts that were ever read are kept
    lines = [f"{line}\n" for line in re.split("[;\n]", text) if line.strip()]
    linecache.cache[file] = (len(text), None, lines, file)
    return file


_numbers = itertools.count()
