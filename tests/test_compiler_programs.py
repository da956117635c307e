"""Random programs in scalar code: what is compiled equals what is interpreted, in value and in every gradient.

hypothesis draws the text of a loss function: loops over samples, nested and empty sums, ragged and triangular lists, windows,
strides, reversed and shuffled order, shared parts, every row of the table on its domain. It is run by the plain engine and
compiled, with the numbers of the trace, with new arguments, and with new parameters, and all must agree to 1e-12, relative
to the sum of what was added up.
"""

import os
import random
import subprocess
import sys
from operator import neg as negated
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import chainrule
from chainrule import Value, engine, ops
from chainrule.compiler.executors import EXECUTORS
from chainrule.errors import CompileError

PROGRAMS = 250
TOLERANCE = 1e-12
MARGIN = 1e-7  # kinks and comparisons nearer than this may fall to either side
drawing = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}

# Whole programs from a seed: choice by choice, Hypothesis would draw the same few words again and again.
SEEDS = st.integers(0, 2**64 - 1)
BOUND = 3.0  # no number in a drawn program is larger
ROWS = [op for op in ops.BUILT_IN if op.name not in ("add", "sub", "neg")]
OPERATORS = {"mul": "({} * {})", "div": "({} / {})", "pow": "({} ** {})", "abs": "abs({})"}
SIZES = [1, 2, 3, 4, 6]


def register_bump():
    """An operation of a user's own, which drawn programs call too."""
    slopes = [lambda m, y, x, b: -2.0 * x * y, lambda m, y, x, b: m.exp(-x * x)]
    engine.register("bump", lambda m, x, y: m.exp(-x * x) * y, slopes, [(-2, 2), (-2, 2)])


@pytest.fixture(scope="module", autouse=True)
def bump():
    register_bump()
    yield
    del ops.TABLE["bump"]


# ---- drawing the text of a program ----------------------------------------------------------------------------------


class Writer:
    """Writes a loss function, one statement after the other.

    lists: the flat lists of Values there are so far, with their lengths. loops: the loop variables around an expression, with
    the largest value that each takes.
    """

    def __init__(self, rng):
        self.rng = rng
        self.n, self.m = rng.choice(SIZES), rng.choice(SIZES)
        self.lists = {"w": rng.choice(SIZES), "c": 2, "x": self.n}
        self.lines = []
        self.nested = {"W": (self.n, self.m), "X": (self.n, self.m)}
        self.tables = {"w": self.lists["w"], "W": self.n}

    def program(self):
        for k in range(self.rng.randint(1, 5)):
            self.statement(f"v{k}")
        outputs = [name for name in self.lists if name.startswith("v")]
        losses = [f"sum(e * e * {self.number()} for e in {name}) / len({name})" for name in outputs]
        losses += [f"{self.rng.choice(['', '-'])}{name}[0]" for name in self.rng.sample(outputs, min(2, len(outputs)))]
        if self.rng.random() < 0.3:
            losses.append(f"sum(p * p * {self.number()} for row in W for p in row)")
        extras = self.rng.sample([*outputs, "v0[0]", "[v0[0], w[0]]", "[[e, e] for e in v0]", "x"], self.rng.randint(0, 2))
        body = "\n".join(f"    {line}" for line in self.lines)
        returned = ", ".join([" + ".join(["w[0] * 0.1", *losses]), *extras])
        return f"def loss(x, X, t, k, flags):\n{body}\n    return {returned}\n"

    # -- statements

    def statement(self, name):
        getattr(self, self.rng.choice(["each", "each", "summed", "summed", "accumulated", "recurrent", "chosen", "product"]))(
            name
        )

    def scaled(self, expression, bound):
        return expression if bound <= BOUND else f"({expression}) * {round(BOUND / bound, 5)!r}"

    def each(self, name):
        n = self.rng.choice(SIZES)
        text = self.scaled(*self.expression({"i": n}, 2))
        if self.rng.random() < 0.2:  # made from the last to the first
            self.lines += [f"{name} = []", f"for i in range({n}):", f"    {name}.insert(0, {text})"]
        else:
            self.lines.append(f"{name} = [{text} for i in range({n})]")
        self.lists[name] = n

    def summed(self, name):
        n, m = self.rng.choice(SIZES), self.rng.choice([0, *SIZES])
        inner = self.rng.choice([f"{m}", f"{m}", "i", "i + 1", f"i, {n}", f"0, {max(m, 1)}, 2", f"{m} - 1, -1, -1"])
        reach = max(n, m, 1) + 1
        text, bound = self.expression({"i": n, "j": reach}, 2)
        extra, more = self.expression({"i": n}, 1)
        total = f"{extra} {self.rng.choice('+-')} sum({text} for j in range({inner}))"
        self.lines.append(f"{name} = [{self.scaled(total, bound * reach + more)} for i in range({n})]")
        self.lists[name] = n

    def product(self, name):
        """Matrix products and their like, the sum in any place."""
        n, m = self.n, self.m
        a = self.rng.choice(["W[i][j]", "X[i][j]", "W[j % len(W)][i % len(W[0])]", f"w[(i + j) % {self.lists['w']}]"])
        b = self.rng.choice(["W[i][j]", "X[i][j]", "x[i]", "1.5", f"w[j % {self.lists['w']}]", f"c[(i * {m} + j) % 2]"])
        sign = self.rng.choice(["", "-"])
        if self.rng.random() < 0.5:
            text, count, terms = f"sum({sign}{a} * {b} for j in range({m}))", n, m
            self.lines.append(f"{name} = [{self.scaled(text, 9 * terms)} for i in range({n})]")
        else:
            text, count, terms = f"sum({sign}{a} * {b} for i in range({n}))", m, n
            self.lines.append(f"{name} = [{self.scaled(text, 9 * terms)} for j in range({m})]")
        self.lists[name] = count

    def accumulated(self, name):
        n, m = self.rng.choice(SIZES), self.rng.choice(SIZES)
        text, bound = self.expression({"i": n, "j": max(n, m)}, 2)
        inner = self.rng.choice([f"{m}", "i", "i + 1"])
        step = self.rng.choice(["acc + e", "acc - e", "e - acc", "-acc + e", "acc * 0.5 - e"])
        self.lines += [
            f"{name}, acc = [], 0.0",
            f"for i in range({n}):",
            f"    for j in range({inner}):",
            f"        e = {self.scaled(text, bound * n * max(n, m))}",
            f"        acc = {step}",
            f"    {name}.append(acc + w[0])",
        ]
        if self.rng.random() < 0.5:
            self.lines.append(f"    acc = {self.rng.choice(['0', 'acc', 'acc * 0.5'])}")
        self.lines.append(f"{name} = [e * 0.5 for e in {name}]")
        self.lists[name] = n

    def recurrent(self, name):
        n = self.rng.choice([1, 2, 5, 9])
        text, bound = self.expression({"i": n}, 1)
        self.lines += [
            f"h, {name} = c[0], []",
            f"for i in range({n}):",
            f"    h = tanh(h * {self.element({'i': n})} + {self.scaled(text, bound)})",
            f"    {name}.append(h)",
        ]
        self.lists[name] = n

    def chosen(self, name):
        """By an index that is an argument: of Values, of rows, of all that there is."""
        n = self.rng.choice(SIZES)
        table = self.rng.choice(["w", "w", "rows", "own", "values"])
        if table == "w":
            self.lines.append(f"{name} = [take(w, t[i % len(t)]) * {self.element({'i': n})} * 0.33 for i in range({n})]")
        elif table == "rows":
            self.lines.append(f"{name} = [sum(take(W, k[i % len(k)])) * {round(1 / self.m, 3)} for i in range({n})]")
        elif table == "own":
            self.lines.append(f"{name} = [take([e * x[i % len(x)] * 0.5 for e in w], t[i % len(t)]) for i in range({n})]")
        else:
            self.lines.append(f"{name} = [take([*w, *w], t[i % len(t)]) + 0.5 for i in range({n})]")
        self.lists[name] = n

    # -- expressions, each with a bound of its absolute value

    def expression(self, loops, depth):
        kind = self.rng.choice(["sum", "sum", "row", "row", "row", "leaf", "read", "number", "square"] if depth else ["leaf"])
        if kind == "leaf":
            return self.element(loops), BOUND
        a, bound = self.expression(loops, depth - 1)
        if kind == "sum":
            b, more = self.expression(loops, depth - 1)
            return self.rng.choice([f"({a} + {b})", f"({a} - {b})", f"(-{a} + {b})", f"-({a} - {b})"]), bound + more
        if kind == "number":
            number = self.number()
            size = max(abs(float(number)), 0.1)
            return self.rng.choice(
                [(f"({a} * {number})", bound * size), (f"({number} - {a})", bound + size), (f"({a} / 2)", bound / 2)]
            )
        if kind == "square":
            power = self.rng.choice([2, 2, 3, 0, 1])
            return f"({a}) ** {power}", bound**power
        if kind == "read":
            return self.reading(a, loops), BOUND
        return self.row(self.rng.choice(ROWS), a, bound, loops, depth)

    def row(self, op, a, bound, loops, depth):
        """A row of the table, each input moved into its domain."""
        inputs = [self.within(op.domain[0], a, bound, loops)]
        for interval in op.domain[1:]:
            inputs.append(self.within(interval, *self.expression(loops, depth - 1), loops))
        if op.name == "pow" and self.rng.random() < 0.5:
            inputs[self.rng.choice([0, 1])] = self.rng.choice(["2", "1.5", "0.5"])
        if op.name in ("maximum", "minimum"):
            inputs = [f"apart({inputs[0]}, {inputs[1]})[0]", inputs[1]]
        text = OPERATORS.get(op.name, f"{op.name}({', '.join(['{}'] * op.arity)})").format(*inputs)
        if op.name in ("relu", "abs"):
            text = text.replace(inputs[0], f"apart({inputs[0]}, 0)[0]", 1)
        if self.rng.random() < 0.1:
            text, inputs = f"bump({text} * 0.1, {inputs[0]})", []
        largest = {"exp": 21.0, "div": 30.0, "mul": 9.0, "pow": 126.0, "bump": 126.0}.get(op.name, 5.0)
        return text, largest

    def within(self, interval, a, bound, loops):
        if isinstance(interval, frozenset):
            return self.rng.choice(["flags[0]", f"over({a} + 0.0, {self.element(loops)})"])
        low, high = interval
        middle, half = (low + high) / 2, (high - low) / 2 * 0.9
        if abs(middle) < 1e-9 and bound <= half:
            return a
        return f"({round(middle, 3)} + {a} * {round(half / bound, 5)})"

    def reading(self, a, loops):
        a, b = f"({a} + 0.0)", self.element(loops)
        return self.rng.choice([
            f"(number({a}) * 0.5 / {BOUND} * {b})",
            f"(over({a}, {b} * 0.5) * {b})",
            f"({b} * (number({a}) - max(number(e * 2) for e in {self.rng.choice(list(self.lists))})) * 0.2)",
            f"({b} * min(number({a}), number(w[0]), 0.3) * 0.2)",
            f"(still({a}, {b} * 1.5) * 0.2)",
        ])  # fmt: skip

    def number(self):
        return self.rng.choice(["2", "0.5", "1.0", "-1", "0.75", "-1.25", "3", "0"])

    def element(self, loops):
        if self.rng.random() < 0.25:
            name = self.rng.choice(list(self.nested))
            rows, columns = self.nested[name]
            return f"{name}[{self.place(rows, loops)}][{self.place(columns, loops)}]"
        name = self.rng.choice(list(self.lists))
        return f"{name}[{self.place(self.lists[name], loops)}]"

    def place(self, length, loops):
        """An index below `length`, from the variables of the loops around: straight, reversed, strided, shuffled, a window."""
        names = list(loops)
        found = ["0", str(length - 1), "-1"]
        for name in names:
            if loops[name] <= length:
                found += [name, name, name, f"{length} - 1 - {name}", f"-1 - {name}", f"SHUFFLED[{name}] % {length}"]
            if 2 * loops[name] <= length:
                found += [f"2 * {name}", f"2 * {name} + 1"]
            found.append(f"({self.rng.randint(1, 3)} * {name} + {self.rng.randint(0, 4)}) % {length}")
        if len(names) == 2:
            i, j = names
            if loops[i] + loops[j] - 1 <= length:
                found += [f"{i} + {j}"] * 3
            if loops[i] * loops[j] <= length:
                found += [f"{i} * {loops[j]} + {j}", f"{j} * {loops[i]} + {i}"] * 2
            found.append(f"({i} * {self.rng.randint(1, 3)} + {j}) % {length}")
        return self.rng.choice(found)


# ---- running it, plain and compiled ---------------------------------------------------------------------------------


class Case:
    """A drawn program with its parameters, and arguments to call it with."""

    def __init__(self, rng):
        writer = Writer(rng)
        self.text = writer.program()
        self.rng = random.Random(rng.randint(0, 10**6))
        self.sizes = writer.lists["w"], writer.n, writer.m
        self.w = [self.value() for _ in range(writer.lists["w"])]
        self.W = [[self.value() for _ in range(writer.m)] for _ in range(writer.n)]
        self.c = [self.value(), self.value()]
        self.params = [*self.w, *(p for row in self.W for p in row)]
        self.margin = np.inf
        names = {**vars(chainrule), "bump": lambda *xs: engine.apply(ops.TABLE["bump"], *xs), "take": chainrule.take}
        names |= {"w": self.w, "W": self.W, "c": self.c, "SHUFFLED": [3, 0, 4, 1, 5, 2]}
        names |= {"apart": self.apart, "over": self.over, "number": number, "still": still}
        exec(compile(self.text, "<drawn>", "exec"), names)
        self.loss = names["loss"]

    def value(self):
        return Value(round(self.rng.uniform(-2, 2), 3))

    def apart(self, a, b):
        """Both, having noted how far they are from each other: at a kink, rounding decides."""
        if self.plain:
            self.margin = min(self.margin, abs(number(a) - number(b)))
        return a, b

    def over(self, a, b):
        self.apart(a, b)
        return a > b

    def arguments(self):
        """(x, X, t, k, flags): floats of shapes (n,) and (n, m), indices of w and of the rows of W, and bools."""
        size, n, m = self.sizes
        rng = np.random.default_rng(self.rng.randint(0, 10**6))
        x, X = rng.uniform(-2, 2, n), rng.uniform(-2, 2, (n, m))
        return x, X, rng.integers(0, size, 3), rng.integers(0, n, 2), rng.integers(0, 2, 2).astype(bool)

    def move(self):
        for p in [*self.params, *self.c]:
            p.data = round(self.rng.uniform(-2, 2), 3)

    def interpreted(self, arguments):
        """[loss, extras], gradients, and the sizes of what was added up in each, by the plain engine."""
        self.plain = True
        lists = [nested(x.tolist(), x.dtype.kind) for x in arguments]
        for p in self.params:
            p.zero_grad()
        returned = self.loss(*lists)
        returned = list(returned) if isinstance(returned, tuple) else [returned]
        returned[0].backward()
        forward, backward = sizes(returned[0])
        self.plain = False
        return [floats(x) for x in returned], [p.grad for p in self.params], forward, [backward.get(p, 0.0) for p in self.params]


def nested(x, kind):
    if isinstance(x, list):
        return [nested(each, kind) for each in x]
    return x if kind in "iu" else Value(x, requires_grad=False)


def number(x):
    return x.data if isinstance(x, engine.Node) else x


def still(a, b):
    with engine.no_grad():
        c = a * 0.5 + b * 0.25
    return c * b


def floats(x):
    return np.array([floats(each) for each in x]) if isinstance(x, (list, tuple)) else float(number(x))


def sizes(root):
    """The sum of the absolute values of what was added up, to the loss and to each gradient: what rounding is relative to."""
    order = engine.inputs_first(root)
    forward, backward = {}, {root: 1.0}
    slopes = {node: [0.0 if s is None else abs(s) for s in engine._slopes(node)] for node in order}
    for node in order:
        below = sum(s * forward[x] for s, x in zip(slopes[node], node.inputs, strict=False))
        forward[node] = max(abs(node.data), below) + 1e-3
    for node in reversed(order):
        for s, x in zip(slopes[node], node.inputs, strict=False):
            backward[x] = backward.get(x, 0.0) + backward.get(node, 0.0) * s
    return forward[root], backward


def agree(case, step, arguments):
    values, gradients, forward, backward = case.interpreted(arguments)
    assume(case.margin > MARGIN and forward < 1e6 and max(backward) < 1e8)
    found = step(*arguments)
    found = list(found) if isinstance(found, tuple) else [found]
    assert isinstance(found[0], float)
    assert abs(found[0] - values[0]) <= TOLERANCE * forward, (case.text, found[0], values[0])
    for x, y in zip(found[1:], values[1:], strict=True):
        assert np.shape(x) == np.shape(y), case.text
        assert np.allclose(x, y, rtol=1e-10, atol=1e-10), (case.text, x, y)
    for i, p in enumerate(case.params):
        assert abs(p.grad - gradients[i]) <= TOLERANCE * max(backward[i], 1e-3), (case.text, i, p.grad, gradients[i])


def follow(case, executor, arguments=None):
    """Compiled equals interpreted with the numbers of the trace, with new arguments, and with new parameters."""
    step = chainrule.compile(case.loss, case.params, executor=executor)
    first, second = arguments or (case.arguments(), case.arguments())
    agree(case, step, first)
    agree(case, step, second)
    case.move()
    agree(case, step, first)
    assert len(step._plans) == 1


@pytest.mark.parametrize("executor", EXECUTORS)
def test_compiled_programs_equal_interpreted_ones(executor):
    seen = []

    @settings(max_examples=PROGRAMS, **drawing)
    @given(SEEDS)
    def compare(seed):
        case = Case(random.Random(seed))
        follow(case, executor)
        seen.append(case.text)

    compare()
    assert len(seen) >= PROGRAMS * 0.6
    for word in ("sum(", "take(", "still(", "max(", "over(", "SHUFFLED", "insert", "bump", *(op.name + "(" for op in ROWS[6:])):
        assert any(word in text for text in seen), f"no drawn program has {word}"


@pytest.mark.skipif(os.environ.get("CHAINRULE_PURE", "0") != "0", reason="this run is the other engine already")
def test_the_pure_engine_compiles_to_the_same():
    """The programs above once more, few of them, in a process whose Values are those of Python."""
    code = """
import random
import test_compiler_programs as programs
from chainrule import native
assert native.engine is None
programs.register_bump()
print(sum(programs.follows(random.Random(seed)) for seed in range(60)))
"""
    env = {**os.environ, "CHAINRULE_PURE": "1", "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 40


def follows(rng):
    """Whether a program has been compared: not when a kink is too near."""
    case = Case(rng)
    arguments = [case.arguments() for _ in range(2)]
    if any(case.interpreted(x) and case.margin <= MARGIN for x in arguments):
        return False
    follow(case, "numpy", arguments)
    return True


# ---- programs with a name -------------------------------------------------------------------------------------------


def same(loss, params, *calls, changing=(), rel=1e-12):
    """The step of a loss, after it has agreed with the plain engine at each of these argument lists, and new parameters."""
    step = chainrule.compile(loss, params)
    for arguments in (*calls, *calls[:1]):
        for p in params:
            p.zero_grad()
        expected = loss(*[nested(np.asarray(x).tolist(), np.asarray(x).dtype.kind) for x in arguments])
        expected.backward()
        gradients = [p.grad for p in params]
        assert step(*arguments) == pytest.approx(expected.data, rel=rel, abs=1e-13)
        assert [p.grad for p in params] == pytest.approx(gradients, rel=rel, abs=1e-12)
        for p in (*params, *changing):
            p.data = p.data * 0.9 + 0.05
    return step


def values(n, start=0.1):
    return [Value(start + 0.13 * i * (-1) ** i) for i in range(n)]


def test_arguments_of_every_shape_and_kind():
    w = values(3)

    def loss(a, x, X, n, on):
        total = w[0] * a + sum(w[1] * v for v in x)
        total = total + sum(w[2] * v * u for row, u in zip(X, x, strict=True) for v in row)
        return total * n + chainrule.where(on[0], w[0], w[1]) * sum(chainrule.where(b, 1.0, 2.0) for b in on)

    rng = np.random.default_rng(0)
    calls = [
        (rng.normal(), rng.normal(size=4), rng.normal(size=(4, 3)), rng.integers(5), rng.integers(0, 2, 3).astype(bool))
        for _ in range(3)
    ]
    step = same(loss, w, *calls)
    step(1, [1, 2], [[1], [2]], 2, [True])  # lists and other shapes
    assert len(step._plans) == 2
    step(np.float32(1.0), np.ones(4, np.float32), np.asfortranarray(np.ones((4, 3))), np.uint8(2), np.ones(3, bool))
    assert len(step._plans) == 3  # of which one for an unsigned integer


def test_captured_values_are_read_anew():
    w, c = values(2), values(2, 0.7)
    same(lambda x: sum((w[0] * a + c[0]).tanh() * c[1] for a in x) + w[1] * c[0], w, (np.arange(3.0),), (np.ones(3),), changing=c)


def test_a_parameter_that_is_not_used_has_gradient_zero():
    w = values(3)
    same(lambda: w[0] * w[2], w, ())
    assert w[1].grad == 0.0


def test_the_loss_may_be_a_parameter_or_an_argument():
    w = values(2)
    same(lambda: w[0] + 0, w, ())
    assert chainrule.compile(lambda: w[1], w)() == w[1].data
    assert [p.grad for p in w] == [0.0, 1.0]
    with pytest.raises(CompileError, match="does not depend on any of the parameters"):
        chainrule.compile(lambda x: x[1], w)([3.0, 4.0])


def test_a_constant_may_come_a_hundred_times():
    w = values(4)
    same(lambda: sum(0.5 * p + 0.5 for p in w) * 0.5 - 0.5 + sum(p**2 for p in w) + sum(p**3 for p in w) + 2 ** w[0], w, ())


def test_one_of_everything():
    w = Value(0.3)
    same(lambda X: sum(sum(w * x for x in row).tanh() for row in X) / len(X), [w], ([[0.5]],), ([[1.5]],))


def test_no_rounds_of_a_loop():
    w = values(2)
    same(lambda X: w[0] * w[1] + sum(w[0] * x for row in X for x in row), w, (np.zeros((0, 3)),), (np.zeros((4, 0)),))
    same(lambda x: w[0] + sum(sum(w[1] * x[j] for j in range(i)) for i in range(len(x))), w, (np.ones(1),), (np.ones(4),))


def test_signs_and_negations():
    a, b, c = w = values(3, 0.4)
    same(lambda: -(a - (b - (c - a))) - -(a + b) - (-(a - c)) + -negated(-b) - 2 * -(c - b - a), w, ())
    same(lambda: 1 - (a - 2) - (3 - b) * -(c - 4) + (5 - a) / (b + 6) - 7 ** -(a - c), w, ())


def test_shared_parts_are_counted_for_all_their_uses():
    w = values(3)

    def loss():
        s = sum(p * p for p in w)
        t = s.tanh()
        return s * t + t * t + (s + t) * (s - t) + sum((s * p).sin() for p in w) + s + s

    same(loss, w, ())


def test_products_of_sums_and_sums_of_products():
    w, x = values(4), [0.5, -1.0, 2.0, 0.25]

    def loss():
        rows = [sum(p * (a + i) for p, a in zip(w, x, strict=True)) for i in range(3)]
        return sum(a * b for a in rows for b in rows) - rows[0] * rows[1] * rows[2] + (sum(w) - 1) * (sum(w) + 1) ** 2

    same(loss, w, ())


def test_powers():
    w = values(3, 1.2)
    exponents = [2, 3, -1, 0.5, 0, 1, -2.5, 2.0]
    same(lambda: sum((p + 2) ** e for p in w for e in exponents) + sum((p + 2) ** q for p in w for q in w) + 1.5 ** w[1], w, ())


def test_a_square_after_many_other_classes():
    """The exponent is known as a constant, wherever in the program it comes first."""
    w = values(1, 0.4)
    same(
        lambda: w[0].sin().cos().exp().tanh().sigmoid().softplus().log1p().sqrt().relu() ** 2 + w[0].sin() ** 3 * w[0].cos() ** 3,
        w,
        (),
    )


def test_long_sums():
    w = values(3)
    x = np.random.default_rng(0).normal(size=5000)
    same(lambda x: sum(w[i % 3] * a for i, a in enumerate(x)) / len(x), w, (x,), (x[::-1].copy(),))


def test_a_chain_of_a_hundred_thousand_additions():
    w = values(2)

    def loss():
        y = w[0] * 1.0
        for i in range(100_000):
            y = y + w[i % 2]
        return y

    step = same(loss, w, (), rel=1e-10)  # the plain engine rounds a hundred thousand times
    assert len(step.program.operations) < 20


def test_a_deep_chain_of_unlike_operations():
    w = values(2, 0.5)

    def loss():
        y = w[0]
        for _ in range(700):
            y = (y * w[1] + 0.3).tanh() + 0.1
        return y

    same(loss, w, ())


def test_a_softmax_that_is_shifted_by_its_largest_reading():
    w = [values(4, 0.1 * k) for k in range(3)]

    def loss(X, t):
        total = 0
        for row, label in zip(X, t, strict=True):
            z = [sum(p * x for p, x in zip(ws, row, strict=True)) for ws in w]
            top = max(v.data for v in z)
            e = [(v - top).exp() for v in z]
            total = total - (chainrule.take(e, label) / sum(e)).log()
        return total / len(X)

    rng = np.random.default_rng(1)
    calls = [(rng.normal(size=(5, 4)) * 30, rng.integers(0, 3, 5)) for _ in range(3)]
    same(loss, [p for ws in w for p in ws], *calls, rel=1e-10)


def test_take_from_tables_of_all_kinds():
    w, rows = values(5), [values(3, 0.1 * k) for k in range(4)]
    take = chainrule.take

    def loss(i, j, x):
        a = sum(take(w, k) * v for k, v in zip(i, x, strict=True))
        b = sum(sum(take(rows, k)) ** 2 for k in j)
        c = sum(take(take(rows, k), m) for k, m in zip(j, i, strict=True)) if len(rows[0]) > 4 else 0.0
        d = sum(take([v * w[0] for v in w], k).tanh() for k in i)
        e = sum(take([2.0, 3.0, w[1], x[0], w[1] * w[2]], k) for k in i)
        return a + b + c + d + e

    rng = np.random.default_rng(2)
    calls = [(rng.integers(0, 5, 3), rng.integers(0, 4, 3), rng.normal(size=3)) for _ in range(4)]
    same(loss, [*w, *(p for row in rows for p in row)], *calls)


def test_the_same_place_taken_twice_adds_up():
    w = values(3)
    step = chainrule.compile(lambda i: sum(chainrule.take(w, k) for k in i), w)
    step(np.array([1, 1, 1, 2]))
    assert [p.grad for p in w] == [0.0, 3.0, 1.0]


def test_no_grad_and_readings_carry_no_gradient():
    w = values(2, 0.4)

    def loss(x):
        with engine.no_grad():
            mean = sum(w[0] * a for a in x) / len(x)
        return sum((w[1] * a - mean) ** 2 for a in x) + w[0].data * w[1] * 3 + (w[0] > 0.2) * w[1]

    same(loss, w, (np.arange(4.0),), (np.ones(4),))


def test_gradients_of_gradients():
    w = values(2, 0.5)

    def loss(x):
        slopes = [chainrule.grad(lambda v, a=a: (v * a).sin() * w[1])(w[0]) for a in x]
        return sum(s * s for s in slopes)

    same(loss, w, (np.arange(3.0),), (np.ones(3) * 0.3,))


def test_float32_is_close_and_not_equal():
    w = values(3)
    loss = lambda x: sum((w[i % 3] * a).tanh() for i, a in enumerate(x))  # noqa: E731
    x = np.linspace(-1, 1, 30)
    exact, rough = (chainrule.compile(loss, w, dtype=t)(x) for t in ("float64", "float32"))
    assert rough == pytest.approx(exact, rel=1e-5, abs=1e-5)
    assert rough != exact
