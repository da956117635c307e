"""A graph stepped through in the terminal: the forward pass, then the backward pass, each step in words.

>>> from chainrule import Value
>>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
>>> print("\\n".join(script(a * b)))
the inputs: a = 2, b = -3
<BLANKLINE>
forward, 1 step
  1  L = a × b = 2 × -3 = -6
<BLANKLINE>
backward, 2 steps
  2  dL/dL = 1
  3  dL/da = dL/dL × dL/da = 1 × -3 = -3
       dL/da = b = -3, as d (a × b)/da = b
     dL/db = dL/dL × dL/db = 1 × 2 = 2
       dL/db = a = 2, as d (a × b)/db = a

In a terminal `play` shows one step at a time and takes keys; elsewhere it prints what `script` gives. Left out on purpose:
a clock that steps by itself, which the page has. Imports engine, errors, colors, expression, screen, steps, tree and wording.
"""

import sys
import textwrap
from collections.abc import Iterator
from typing import Any, TextIO

from chainrule.engine import Node
from chainrule.show import colors, steps
from chainrule.show.colors import Paint
from chainrule.show.expression import Expression, Span
from chainrule.show.screen import Screen, usable, width
from chainrule.show.steps import Step, Steps
from chainrule.show.tree import Look, Tree
from chainrule.show.wording import gradient, number, printable

WHOLE = 300  # nodes; of a larger graph only what is around the present node is shown
FAR = 100  # steps back that are not undone one by one
KEYS = (
    "→ or space: next   ← or backspace: back   Home, End: first, last   g: go to   q: quit",
    "→ next  ← back  Home End  g go to  q quit",
    "→ ← g q",
)


class Run:
    """A graph at one step of its forward and backward pass.

    root: the output. expression: what it was read from.
    at: the step, from 0; step 0 has the inputs alone. last: the number of the last step.

    Raises as `steps.steps`. Nothing of the graph is changed: what a step knows is kept here.
    """

    def __init__(self, root: Node, expression: Expression | None = None) -> None:
        self.expression = expression
        self.taken: Steps = steps.steps(root)
        self.names = self.taken.names
        self.forward = [node for node in self.names if node.op is not None]
        self.made = {node: i for i, node in enumerate(self.forward, 1)}
        self.last = len(self.forward) + len(self.taken)
        self.at = 0
        self.root: Any = root
        self.grads: dict[Any, Any] = {}
        self.parts: dict[Any, int] = {}

    @property
    def node(self) -> Any:
        """Whose step it is; None at step 0."""
        if 0 < self.at <= len(self.forward):
            return self.forward[self.at - 1]
        return self.step.node if self.step else None

    @property
    def step(self) -> Step | None:
        """The step of the backward pass; None before it."""
        number = self.at - len(self.forward) - 1
        return self.taken[number] if number >= 0 else None

    def go(self, at: int) -> None:
        """To a step, forwards or back; past the ends, to the first or the last."""
        at = min(max(at, 0), self.last)
        if at <= len(self.forward) or self.at - at > FAR:
            self.at, self.grads, self.parts = min(at, len(self.forward)), {}, {}
        while self.at < at:
            self.at += 1
            self._take(self.at - len(self.forward) - 1)
        while self.at > at:
            self._take_back(self.at - len(self.forward) - 1)
            self.at -= 1

    def _take(self, number: int) -> None:
        """What a step of the backward pass adds to the gradients."""
        if number == 0:
            self.grads[self.root] = self.taken.grads[self.root]
        elif number > 0:
            node = self.taken.nodes[number]
            for i, _, amount in self.taken.amounts(node):
                x = node.inputs[i]
                self.grads[x] = self.grads[x] + amount if x in self.grads else amount
                self.parts[x] = self.parts.get(x, 0) + 1

    def _take_back(self, number: int) -> None:
        for c in reversed(self.taken[number].contributions):
            self.parts[c.input] -= 1
            self.grads[c.input] = c.before
            if not self.parts[c.input]:
                del self.grads[c.input]

    def find(self, name: str) -> int | None:
        """The step in which what is called so passes its gradient on, or gets all of its own if it is a leaf."""
        node = next((node for node, called in self.names.items() if called == name), None)
        if node is None or node not in self.taken.grads:
            return None
        passing = self.taken.numbers.get(node)
        if passing is None:
            users = (i for i, user in enumerate(self.taken.nodes) if i and any(x is node for x in user.inputs))
            passing = max(users, default=0)
        return len(self.forward) + 1 + passing

    # ---- what it says

    def has_passed(self, node: Any) -> bool:
        """Whether a node has passed its gradient on by now."""
        return self.taken.numbers.get(node, self.last) <= self.at - len(self.forward) - 1

    def name(self, node: Any) -> tuple[str, str]:
        """What a node is called in the words of the steps, and its operation."""
        called = self.names[node]
        return called, "" if node.op is None else printable(node.op.symbol)

    def facts(self, node: Any) -> tuple[Any, Any]:
        """What is known of a node by now."""
        data = node.data if node.op is None or self.made[node] <= self.at else "data ?"
        if not node.requires_grad:
            return data, gradient(node)
        if node in self.grads:
            grad, whole = self.grads[node], self.parts.get(node, 0) == self.taken.uses[node]
            return data, grad if whole else f"grad {number(grad)} so far"
        return data, "grad ?" if self.at > len(self.forward) else ""

    def title(self) -> str:
        """Where the run is: "step 3 of 12, forward"."""
        phase = "the inputs" if not self.at else "forward" if self.step is None else "backward"
        return f"step {self.at:,} of {self.last:,}, {phase}"

    def words(self) -> list[str]:
        """The step in words, line by line; what belongs to a line is indented below it."""
        if not self.at:
            return [self.inputs()]
        place = "" if self.expression else steps.place(self.node)  # the piece of an expression is marked in it
        made = [f"  made at {place}"] if place else []
        step = self.step
        if step is None:
            return [steps.value(self.node, self.names), *made]
        if not step.contributions:
            return list(step.lines)
        return [line for c in step.contributions for line in self._of(c)] + made

    def inputs(self) -> str:
        """The leaves and their numbers."""
        leaves = [node for node in self.names if node.op is None]
        named = [steps.value(node, self.names) for node in leaves if node.requires_grad or node.label]
        few = [*named[:12], f"and {len(named) - 12:,} more"] if len(named) > 12 else named
        return f"the inputs: {', '.join(few) or 'numbers alone'}"

    def _of(self, c: steps.Contribution) -> Iterator[str]:
        yield c.words
        if c.running:
            yield f"  used {c.uses} times, so the parts add up: {c.running}"
        reasons = [c.here, f"as {c.formula}" if c.formula and c.here else c.formula]
        if any(reasons):
            yield "  " + ", ".join(filter(None, reasons))


def script(root: Node, expression: Expression | None = None) -> Iterator[str]:
    """All steps of the forward and the backward pass as lines of text; raises as `steps.steps`."""
    run = Run(root, expression)
    yield run.inputs()
    digits = len(str(run.last))
    for phase, count in (("forward", len(run.forward)), ("backward", len(run.taken))):
        yield ""
        yield f"{phase}, {count:,} step{'s' * (count != 1)}"
        for _ in range(count):
            run.go(run.at + 1)
            for i, line in enumerate(run.words()):
                yield f"  {run.at if i == 0 else '':>{digits}}  {line}"


# ---- one step at a time ----------------------------------------------------------------------------------------------


def play(root: Node, *, expression: Expression | None = None, color: bool | None = None) -> None:
    """Step through a graph: with keys in a terminal that can redraw, else as the lines of `script` on standard output.

    root: the output. expression: what it was read from, to be shown with the piece that a step is about.
    color: whether to paint; None paints in a terminal, unless NO_COLOR says not to.

    Raises as `steps.steps`.
    """
    painted = colors.wanted(sys.stdout) if color is None else color
    if not usable():
        for line in script(root, expression):
            sys.stdout.write(speakable(line, sys.stdout) + "\n")
        return
    player = _Player(Run(root, expression), Paint(painted))
    with Screen() as screen:
        player.play(screen)


class _Player:
    """Shows a run on a screen and does what the keys say."""

    def __init__(self, run: Run, paint: Paint) -> None:
        self.run = run
        self.paint = paint
        self.message = ""
        self.asked: str | None = None  # what has been typed after "go to", while it is being typed

    def play(self, screen: Screen) -> None:
        """Until q."""
        while True:
            screen.draw([speakable(line, screen.out) for line in self.frame(*screen.size())])
            key = screen.key()
            if key in ("q", "Q", "end of input") and self.asked is None:
                return
            self.press(key)

    def press(self, key: str) -> None:
        """Do what a key says."""
        self.message = ""
        if self.asked is not None:
            self._type(key)
        elif key == "g":
            self.asked = ""
        elif key in _MOVES:
            self.run.go(self.run.at + _MOVES[key])
        elif key in ("home", "end"):
            self.run.go(0 if key == "home" else self.run.last)

    def _type(self, key: str) -> None:
        typed = self.asked or ""
        if key == "enter":
            self.asked = None
            self._go_to(typed.strip())
        elif key in ("escape", "end of input"):
            self.asked = None
        elif key == "backspace":
            self.asked = typed[:-1]
        else:
            self.asked = typed + {"space": " "}.get(key, key if len(key) == 1 and key.isprintable() else "")

    def _go_to(self, where: str) -> None:
        last = self.run.last
        step = int(where) if where.isdecimal() and len(where) < 10 else self.run.find(where)
        if where and step is None:
            self.message = f"nothing here is called {printable(where)} and gets a gradient; steps are 0 to {last:,}"
        elif step is not None and step > last:
            self.message = f"there is no step {step:,}; the last is {last:,}"
        elif step is not None:
            self.run.go(step)

    # ---- the picture

    def frame(self, columns: int, rows: int) -> list[str]:
        """The lines that fill a screen: where we are, the expression, the graph, the step in words, the keys."""
        top = [self._title(columns), *self._expression()]
        words = self._words(columns)
        room = rows - len(top) - len(words) - 4  # a blank line around each part
        tree = self._tree(room) if room >= 3 else []
        lines = [*top, "", *tree, *([""] if tree else []), *words]
        lines = lines[: max(rows - 1, 1)]
        return [*lines, *[""] * (rows - 1 - len(lines)), *([self._bottom(columns)] if rows > 1 else [])]

    def _title(self, columns: int) -> str:
        title = self.run.title()
        bar = min(30, columns - len(title) - 4)
        if bar < 5 or not self.run.last:
            return self.paint("name", title)
        full = round(bar * self.run.at / self.run.last)
        return f"{self.paint('name', title)}  {self.paint('grad', '━' * full)}{self.paint('faint', '─' * (bar - full))}"

    def _expression(self) -> list[str]:
        """The expression, with the piece that made the present node marked."""
        expression = self.run.expression
        if expression is None:
            return []
        text, span = expression.text, expression.spans.get(self.run.node, Span(0, 0))
        pieces = (text[: span.start], text[span.start : span.end], text[span.end :])
        before, piece, after = ("".join(c if c.isprintable() else " " for c in each) for each in pieces)
        return [before + self.paint("now", piece) + after]

    def _tree(self, room: int) -> list[str]:
        run = self.run
        whole = len(run.names) <= WHOLE
        look = Look(run.name, run.facts, self.paint, slopes=run.has_passed, now=frozenset([run.node]))
        root, most, depth = (run.root, WHOLE, WHOLE) if whole else (run.node or run.root, room, 2)
        lines = list(Tree(root, look, max_nodes=most, max_depth=depth).lines())
        present = next((i for i, line in enumerate(lines) if line.node is run.node), 0)
        first = max(0, min(present - room // 2, len(lines) - room))
        return [line.words for line in lines[first : first + room]]

    def _words(self, columns: int) -> list[str]:
        lines: list[str] = []
        for line in self.run.words():
            inner = line.startswith(" ")
            wrapped = textwrap.wrap(line, max(columns, 20), subsequent_indent="    ", break_long_words=False)
            lines += [self.paint("faint" if inner else "data", part) for part in wrapped]
        return lines

    def _bottom(self, columns: int) -> str:
        if self.asked is not None:
            return f"go to step or name: {self.asked}{self.paint('now', ' ')}"
        keys = next((keys for keys in KEYS if width(keys) <= columns), KEYS[-1])
        return self.message or self.paint("faint", keys)


_MOVES = {
    **dict.fromkeys(("right", "space", "down", "enter", "n"), 1),
    **dict.fromkeys(("left", "backspace", "up", "b"), -1),
    "page down": 10,
    "page up": -10,
}


def speakable(text: str, stream: TextIO) -> str:
    """The text as a stream can hold it: mathematical signs become ASCII where there is no other way."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return text.translate(_SPELLED)
    return text


_SPELLED = str.maketrans({
    "×": "*", "²": "**2", "≤": "<=", "≥": ">=", "≠": "!=", "…": "...", "→": "right", "←": "left", "━": "#", "─": "-",
    "├": "|", "└": "`", "│": "|",
})  # fmt: skip
