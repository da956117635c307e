"""Nodes that are stored with their axes in another order: the same numbers, fewer and shorter instructions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.compiler import lowered, native, turning
from chainrule.compiler.builder import Builder
from chainrule.compiler.program import Program
from chainrule.compiler.reference import Executable as Reference

pytestmark = pytest.mark.skipif(not native.available(), reason=f"no native executor: {native.reason()}")
T = (1, 0)


def features_first(x, w, gain, shift, b):
    """Batch norm and its neighbours as loops over features write them: products by samples, the rest by features."""
    m, n = b.math, x.shape[0]
    h = b.transpose(b.matmul(x, w), T)  # (features, samples)
    d = h - b.sum(h, (1,), True) * (1 / n)
    spread = b.sum(d * d, (1,), True) * (1 / n)
    y = m.tanh(b.transpose(gain * (d / m.sqrt(spread + 1e-5)) + shift, T))
    g = b.transpose(y * y - 0.5, T)
    return {
        "y": y,
        "gain": b.sum(g * d, (1,)),
        "w": b.matmul(b.transpose(x, T), b.transpose(g * d, T)),
        "x": b.matmul(b.transpose(g * d, T), b.transpose(w, T)),
    }


def samples_first(x, w, gain, shift, b):
    """The same, written by samples throughout."""
    m, n = b.math, x.shape[0]
    h = b.matmul(x, w)
    d = h - b.sum(h, (0,), True) * (1 / n)
    spread = b.sum(d * d, (0,), True) * (1 / n)
    y = m.tanh(b.transpose(gain, T) * (d / m.sqrt(spread + 1e-5)) + b.transpose(shift, T))
    g = y * y - 0.5
    return {"y": y, "gain": b.sum(g * d, (0,)), "w": b.matmul(b.transpose(x, T), g * d), "x": b.matmul(g * d, b.transpose(w, T))}


def program(made, dtype="float64"):
    b = Builder(dtype)
    return Program(
        made(b.input("x", (32, 30)), b.input("w", (30, 200)), b.input("gain", (200, 1)), b.input("shift", (200, 1)), b)
    )


def given_arrays(of):
    rng = np.random.default_rng(0)
    return {line.name: rng.normal(size=line.shape).astype(line.dtype) for line in of.inputs}


def agree(of, inputs, tolerance=1e-12):
    """Run a program on both executors; compare relative to the largest element of each output."""
    slow = Reference(of)
    for name, array in slow.inputs.items():
        array[...] = inputs[name]
    slow.execute()
    found = native.Executable(of).run(inputs)
    for name, want in slow.outputs.items():
        scale = max(np.abs(want).max(initial=0), 1e-3)
        np.testing.assert_allclose(found[name], want, rtol=0, atol=tolerance * scale, err_msg=name)


def out_of_order(of):
    """How many numbers the elementwise nodes of a program read out of order."""
    nodes = lowered.Lowering(of).nodes
    return sum(turning._cost(x)[0] for node in nodes if node.kind in ("row", "load") for x in node.inputs)


def instructions(of):
    return int(native.Emitter(low := lowered.Lowering(of), native.Schedule(low), native._executor.ROWS).emit({}).code[0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_features_first_is_run_as_samples_first(dtype, monkeypatch):
    one, two = program(features_first, dtype), program(samples_first, dtype)
    tolerance = 1e-11 if dtype == "float64" else 1e-4
    agree(one, given_arrays(one), tolerance)
    agree(two, given_arrays(two), tolerance)
    assert out_of_order(one) == out_of_order(two) == 0
    assert instructions(one) == instructions(two)
    monkeypatch.setattr(turning, "_turn", lambda *_: None)
    assert out_of_order(one) >= 2 * 32 * 200
    assert instructions(one) > instructions(two)


def test_what_is_given_and_returned_keeps_its_order():
    b = Builder()
    x, y = b.input("x", (30, 40)), b.input("y", (40, 30))
    out = b.math.tanh(x + b.transpose(y, T))
    of = Program({"out": out, "s": b.sum(out * b.transpose(y, T), (0,))})
    agree(of, given_arrays(of))


def test_most_decides():
    """Two operands lie the one way and one the other: only that one is read out of order, whichever way it is written."""
    b = Builder()
    x, y, z = (b.input(name, shape) for name, shape in (("x", (300, 20)), ("y", (20, 300)), ("z", (20, 300))))
    inner = x + b.transpose(y, T)
    of = Program({"s": b.sum(inner * b.transpose(z, T), (0, 1))})
    agree(of, given_arrays(of))
    assert out_of_order(of) == 300 * 20


class Drawn:
    """A program of arrays with three axes of different lengths, in any order, that read each other in any way."""

    def __init__(self, draw):
        self.draw, self.b = draw, Builder()
        self.lengths = draw(st.permutations([1, 2, 3, 5, 7]))[:3]
        self.lines = [self.leaf() for _ in range(2)]
        self.outputs = []

    def leaf(self):
        self.leaves = getattr(self, "leaves", 0) + 1
        return self.b.input(f"x{self.leaves}", self.draw(st.permutations(self.lengths)))

    def some(self):
        return self.draw(st.sampled_from(self.lines[-6:]))

    def like(self, shape):
        """Some line, transposed to a shape."""
        x = self.some()
        return self.b.transpose(x, [x.shape.index(n) for n in shape])

    def grow(self):
        b, x = self.b, self.some()
        kind = self.draw(
            st.sampled_from(["row", "row", "row", "row", "reduce", "matmul", "flat", "part", "gather", "scatter", "slice"])
        )
        axis = self.draw(st.integers(0, 2))
        if kind == "row":
            y = b.math.tanh(self.like(x.shape) * 0.5 + x) if self.draw(st.booleans()) else x * self.like(x.shape)
            self.lines.append(b.transpose(y, self.draw(st.permutations(range(3)))))
        elif kind == "reduce":
            s = b.sum(x, (axis,), True, self.draw(st.sampled_from(["sum", "amax"])))
            self.lines.append(self.like(x.shape) - s)
            self.outputs.append(b.sum(x, self.draw(st.sampled_from([(0, 1), (0, 2), (1, 2)]))))
        elif kind == "matmul":
            self.outputs.append(b.matmul(x, b.transpose(self.like(x.shape), (0, 2, 1))))
        elif kind == "flat":
            self.outputs.append(b.math.exp(b.reshape(x, (x.size,)) * 0.1))
        elif kind == "part":
            self.outputs.append(b.unview(x, 3, tuple(self.draw(st.permutations([1, 10, 100]))), 1000) + 1.0)
        elif kind == "gather":
            self.outputs.append(b.gather(x, b.constant(np.array([0, x.shape[0] - 1, 0]), "int64")))
        elif kind == "scatter":
            self.outputs.append(b.scatter(x, b.constant(np.arange(x.shape[0]) % 2, "int64"), 2))
        else:
            self.outputs.append(b.getitem(x, (slice(None), slice(0, 1))) * 2.0)


def test_drawn_programs(monkeypatch):
    turned, turn = [], turning._turn
    monkeypatch.setattr(turning, "_turn", lambda *args: (turned.append(len(args[0])), turn(*args)))

    @settings(max_examples=250, deadline=None)
    @given(data=st.data())
    def run(data):
        drawn = Drawn(data.draw)
        for _ in range(data.draw(st.integers(2, 14))):
            drawn.grow()
        drawn.outputs.append(drawn.b.sum(drawn.lines[-1], (0, 1, 2)))
        of = Program({f"y{i}": y for i, y in enumerate(drawn.outputs)})
        agree(of.expanded(drawn.b), given_arrays(of), 1e-11)

    run()
    assert len(turned) > 20  # the tester tested: patches were turned, of several nodes too
    assert max(turned) > 1
