"""A compiled step as a graph of Tensors: the same numbers, and gradients by the tensor engine."""

import random

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, Value, gradients, inputs_first, nn, optim
from chainrule.compiler.graphs import _view
from chainrule.compiler.lines import places
from chainrule.errors import CompileError
from chainrule.nn import functional as F


def gradients_of(step):
    root = step.graph()
    found = gradients(root)
    return root, {node.label: found[node] for node in inputs_first(root) if node.label and node.requires_grad and not node.op}


def test_scalar_loops_as_matrices():
    random.seed(3)
    model = nn.MLP(2, [4, 4, 1], activation="tanh")
    rng = np.random.default_rng(0)

    def loss(X, y):
        return nn.max_margin([model(x) for x in X], y) + 1e-3 * nn.l2(model.parameters())

    step = chainrule.compile(loss, model.parameters())
    for _ in range(2):  # the graph is that of the latest call
        value = step(rng.normal(size=(6, 2)), rng.choice([-1.0, 1.0], 6))
        root, found = gradients_of(step)
        assert root.item() == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(found["params"], [p.grad for p in model.parameters()], rtol=1e-11, atol=1e-14)
    origins = {str(node.origin) for node in inputs_first(root) if node.origin}
    assert any(origin.startswith("test_compiler_graphs.py:") for origin in origins)


def test_take_becomes_rows_of_a_table():
    table = [[Value(0.1 * i + j) for j in range(3)] for i in range(5)]
    params = [x for row in table for x in row]
    step = chainrule.compile(lambda rows: sum((x * x).tanh() for i in rows for x in chainrule.take(table, i)), params)
    value = step(np.array([4, 1, 1]))
    root, found = gradients_of(step)
    assert root.item() == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(found["params"], [p.grad for p in params], rtol=1e-11)


def test_tensor_code_with_an_optimizer():
    net = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 7))
    weights = net.parameters()
    rng = np.random.default_rng(1)
    X, y = rng.integers(0, 7, (8, 2)), rng.integers(0, 7, 8)

    def loss(X, y):
        h = net[2](net[1](net[0](X)))
        z = F.batch_norm(h, None, None, net[3].weight, net[3].bias, training=True)
        return F.cross_entropy(net[5](net[4](z)), y)

    step = chainrule.compile(loss, weights, optimizer=optim.SGD(weights, lr=0.1))
    step(X, y)
    root, found = gradients_of(step)  # of the parameters as the step has left them
    expected = loss(Tensor(X), Tensor(y))
    wanted = gradients(expected, weights)
    assert root.item() == pytest.approx(expected.item(), rel=1e-5)
    assert len(found) == len(weights)
    for i, w in enumerate(weights):
        np.testing.assert_allclose(found[f"p{i}"], wanted[w], rtol=1e-4, atol=1e-6)


def test_there_is_none_before_the_first_call():
    with pytest.raises(CompileError, match="call the compiled function once"):
        chainrule.compile(lambda: Value(1.0), [Value(2.0)]).graph()


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (3, 4), (4, 1)),
        (5, (), ()),
        (2, (4,), (2,)),
        (0, (4, 3), (1, 4)),
        (1, (2, 3), (4, 1)),
        (0, (3, 2, 2), (4, 0, 1)),
        (0, (2, 5), (0, 1)),
        (11, (12,), (-1,)),
        (0, (3,), (5,)),
        (3, (1, 1), (0, 0)),
        (0, (2, 1, 3), (1, 0, 2)),
    ],
)
def test_every_view_has_words(offset, shape, strides):
    x = Tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)
    y = _view(x, offset, shape, strides)
    at = places(offset, shape, strides)
    np.testing.assert_array_equal(y.data, np.arange(12.0)[at])
    weights = np.random.default_rng(0).normal(size=shape)
    (y * weights).sum().backward()
    expected = np.bincount(at.reshape(-1), weights.reshape(-1), 12).reshape(3, 4)
    np.testing.assert_allclose(x.grad, expected, atol=1e-15)
