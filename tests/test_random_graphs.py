"""Random expression graphs, drawn by hypothesis: values and gradients against PyTorch in float64, pure against native.

At least 2,000 graphs are compared. Wherever a draw leaves the domain of an operation (log of a negative number), the
engine must say so, and the drawn step is replaced by a sum.
"""

import math
import os
import random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chainrule.errors import DomainError
from chainrule.ops import BUILT_IN

if os.environ.get("CI") == "true":
    import torch
else:
    torch = pytest.importorskip("torch", reason="the peer of this comparison is PyTorch: pip install 'chainrule[dev]'")

GRAPHS = 2000
ROWS = {op.name: op for op in BUILT_IN}
TORCH = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "neg": lambda x: -x, "pow": lambda a, b: a**b, "abs": abs, "maximum": torch.maximum, "minimum": torch.minimum,
    "where": lambda c, a, b: torch.where(c != 0, a, b), "relu": torch.relu, "softplus": torch.nn.functional.softplus,
    **{name: getattr(torch, name) for name in ("exp", "log", "log1p", "sqrt", "sin", "cos", "tanh", "sigmoid")},
}  # fmt: skip
# PyTorch's softplus is linear above its threshold of 20, with an error of 2e-9; ours is exact.
TORCH["softplus"] = lambda x: torch.logaddexp(x, torch.zeros_like(x))

leaves = st.lists(st.floats(-3, 3, allow_nan=False).map(lambda x: round(x, 3)), min_size=1, max_size=4)
steps = st.lists(st.tuples(st.sampled_from(sorted(ROWS)), st.integers(0, 10**6)), min_size=1, max_size=12)
settings_for = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


def test_every_row_has_its_counterpart_in_torch():
    assert set(TORCH) == set(ROWS)


def plan(engine, data, moves):
    """The moves that stay inside the domains and of moderate size: (name, places of the inputs)."""
    values, kept = [engine.Value(x) for x in data], []
    for name, seed in moves:
        rng = random.Random(seed)
        for candidate in (name, "sub"):
            places = [rng.randrange(len(values)) for _ in range(ROWS[candidate].arity)]
            try:
                y = engine.apply(ROWS[candidate], *[values[p] for p in places])
                engine.gradients(y)
            except DomainError:
                continue
            if 1e-6 < abs(y.data) < 1e6:
                values.append(y)
                kept.append((candidate, places))
                break
    return kept


def evaluate(make, apply, data, kept):
    xs = [make(x) for x in data]
    values = list(xs)
    for name, places in kept:
        values.append(apply(name, [values[p] for p in places]))
    return xs, values[-1]


def close(a, b):
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-10, abs_tol=1e-10)


def test_values_and_gradients_agree_with_torch(engine):
    sizes = []

    @settings(max_examples=GRAPHS, **settings_for)
    @given(leaves, steps)
    def compare(data, moves):
        kept = plan(engine, data, moves)
        assume(kept)
        xs, y = evaluate(engine.Value, lambda name, inputs: engine.apply(ROWS[name], *inputs), data, kept)
        tensors, output = evaluate(tensor, lambda name, ts: TORCH[name](*ts), data, kept)
        output.backward()
        y.backward()
        assert close(y.data, output.item()), (kept, y.data, output.item())
        for x, t in zip(xs, tensors, strict=True):
            expected = 0.0 if t.grad is None else t.grad.item()
            assert close(x.grad, expected) or huge(engine, y), (kept, x.grad, expected)
        sizes.append(len(kept))

    compare()
    assert len(sizes) >= GRAPHS
    assert sum(size >= 4 for size in sizes) > GRAPHS / 3  # not only trivial ones


def tensor(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def huge(engine, y):
    """Whether gradients on the way grow so large that the last digits of two programs must differ."""
    return any(not abs(g) < 1e8 for g in engine.gradients(y).values())


@settings(max_examples=300, **settings_for)
@given(leaves, steps)
def test_pure_and_native_agree_to_the_last_digit(both, data, moves):
    results = []
    for engine in both:
        kept = plan(engine, data, moves)
        assume(kept)
        _, y = evaluate(engine.Value, lambda name, inputs, m=engine: m.apply(ROWS[name], *inputs), data, kept)
        found = engine.gradients(y)
        results.append(str([y.data, *found.values(), *(node.data for node in engine.inputs_first(y))]))
    assert results[0] == results[1]


def test_second_derivatives_agree_with_torch(engine):
    compared = []

    @settings(max_examples=200, **settings_for)
    @given(leaves, steps)
    def compare(data, moves):
        smooth = [(name, seed) for name, seed in moves if name not in ("pow", "abs", "maximum", "minimum", "where", "relu")]
        kept = plan(engine, data, smooth[:6])
        assume(kept)
        xs, y = evaluate(engine.Value, lambda name, inputs: engine.apply(ROWS[name], *inputs), data, kept)
        tensors, output = evaluate(tensor, lambda name, ts: TORCH[name](*ts), data, kept)
        first = engine.gradients(y, xs, create_graph=True)
        theirs = torch.autograd.grad(output, tensors, create_graph=True, allow_unused=True)
        total = sum((first[x] * first[x] for x in xs), engine.Value(0.0))
        expected = sum((t * t for t in theirs if t is not None), torch.zeros((), dtype=torch.float64))
        assume(abs(total.data) < 1e6)
        assert close(total.data, expected.item())
        if not expected.requires_grad:
            return
        second = engine.gradients(total, xs)
        for x, t in zip(xs, torch.autograd.grad(expected, tensors, allow_unused=True), strict=True):
            exact = 0.0 if t is None else t.item()
            assume(abs(exact) < 1e6)
            assert math.isclose(second[x], exact, rel_tol=1e-8, abs_tol=1e-8)
        compared.append(1)

    compare()
    assert len(compared) >= 100
