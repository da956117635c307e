"""Programs written for micrograd: the same text, with only the name of the package changed, prints the same numbers.

The first two programs compute what micrograd's own test file computes (and compares with PyTorch); the others use the API
as the lecture, the demo notebook and the graph notebook do.
"""

import contextlib
import io
import os
import re

import pytest

if os.environ.get("CI") == "true":
    import micrograd
else:
    micrograd = pytest.importorskip("micrograd", reason="the peer is micrograd 0.1.0: pip install 'chainrule[dev]'")

SANITY = """
from micrograd.engine import Value
x = Value(-4.0)
z = 2 * x + 2 + x
q = z.relu() + z * x
h = (z * z).relu()
y = h + q + q * x
y.backward()
print(y.data, x.grad)
"""

MORE_OPERATIONS = """
from micrograd.engine import Value
a, b = Value(-4.0), Value(2.0)
c = a + b
d = a * b + b**3
c += c + 1
c += 1 + c + (-a)
d += d * 2 + (b + a).relu()
d += 3 * d + (b - a).relu()
e = c - d
f = e**2
g = f / 2.0
g += 10.0 / f
g.backward()
print(g.data, a.grad, b.grad)
"""

TRAINING = """
import random
from micrograd.engine import Value
from micrograd.nn import MLP, Layer, Module, Neuron
random.seed(1337)
n = MLP(3, [4, 4, 1])
print(n, len(n.parameters()), Neuron(2, nonlin=False), Layer(2, 3, nonlin=False), isinstance(n, Module))
xs = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
ys = [1.0, -1.0, -1.0, 1.0]
for k in range(20):
    ypred = [n(x) for x in xs]
    loss = sum((yout - ygt) ** 2 for ygt, yout in zip(ys, ypred))
    n.zero_grad()
    loss.backward()
    for p in n.parameters():
        p.data += -0.01 * p.grad
    print(k, loss.data)
print([p.data for p in n.parameters()])
"""

GRAPH = """
from micrograd.engine import Value
def trace(root):
    nodes, edges = set(), set()
    def build(v):
        if v not in nodes:
            nodes.add(v)
            for child in v._prev:
                edges.add((child, v))
                build(child)
    build(root)
    return nodes, edges
x = Value(1.0)
y = (x * 2 + 1).relu()
y.backward()
nodes, edges = trace(y)
print(sorted("{ data %.4f | grad %.4f } %s" % (n.data, n.grad, n._op) for n in nodes if n._prev or n is x))
print(sorted((a.data, b.data, b._op) for a, b in edges))
"""

NUMPY = """
import numpy as np
from micrograd.engine import Value
X, y = np.array([[0.5, -1.0], [2.0, 0.25]]), np.array([1, -1])
inputs = [list(map(Value, row)) for row in X]
w = [Value(0.3), Value(-0.7)]
scores = [w[0] * a + w[1] * b for a, b in inputs]
losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(y, scores)]
loss = sum(losses) * (1.0 / len(losses)) + 1e-4 * sum((p * p for p in w))
loss.backward()
print(float(loss.data), [float(p.grad) for p in w], [(yi > 0) == (scorei.data > 0) for yi, scorei in zip(y, scores)])
"""


def run(program):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "<program>", "exec"), {})
    return printed.getvalue()


NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@pytest.mark.parametrize(
    "program", [SANITY, MORE_OPERATIONS, TRAINING, GRAPH, NUMPY], ids=["sanity", "more", "training", "graph", "numpy"]
)
def test_only_the_import_changes(program):
    theirs, ours = run(program), run(program.replace("micrograd", "chainrule"))
    assert "chainrule" not in theirs
    assert NUMBER.sub("#", ours) == NUMBER.sub("#", theirs).replace("micrograd", "chainrule")
    numbers = [float(x) for x in NUMBER.findall(theirs)]
    assert [float(x) for x in NUMBER.findall(ours)] == pytest.approx(numbers, rel=1e-12, abs=1e-12)
    assert len(numbers) >= 2
