"""Losses against PyTorch in float64, values and gradients; bad targets."""

import math
import random

import numpy as np
import pytest
import torch
from torch.nn import functional

import chainrule
from chainrule import Tensor, Value, inputs_first, nn
from chainrule.errors import CompileError, InputError, NotANumberError
from chainrule.nn import MLP, binary_cross_entropy, cross_entropy, l2, log_softmax, max_margin, mse, nll, softmax

HUGE = [1000.0, -1000.0, 0.0, 999.5, -40.0, 36.7, 1e-9, -745.0]


def rows_of(rng, samples, classes):
    rows = [[rng.gauss(0, 3) for _ in range(classes)] for _ in range(samples)]
    rows[0] = (HUGE * classes)[:classes]
    rows[1] = [-1000.0] * classes
    rows[2] = [1000.0] * classes
    return rows


def assert_as_torch(loss, inputs, expected, leaves):
    """The loss, and the gradients of it by the inputs, agree with PyTorch's to 1e-12."""
    loss.backward()
    expected.backward()
    assert loss.data == pytest.approx(expected.item(), rel=1e-12, abs=1e-12)
    ours = np.array([x.grad for x in inputs])
    theirs = leaves.grad.numpy().ravel()
    assert np.allclose(ours, theirs, rtol=1e-12, atol=1e-15), np.abs(ours - theirs).max()
    assert np.abs(ours).max() > 0


def flat(rows):
    return [x for row in rows for x in row]


def both(numbers):
    return [Value(x) for x in numbers], torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("seed", range(5))
def test_mse(seed):
    rng = random.Random(seed)
    numbers = [rng.gauss(0, 2) for _ in range(17)]
    targets = [rng.gauss(0, 2) for _ in range(17)]
    ours, theirs = both(numbers)
    assert_as_torch(mse(ours, targets), ours, functional.mse_loss(theirs, torch.tensor(targets, dtype=torch.float64)), theirs)


def test_mse_of_rows_is_the_mean_over_all_numbers():
    rows = rows_of(random.Random(0), 6, 3)
    targets = np.random.default_rng(0).normal(size=(6, 3))
    ours = [[Value(x) for x in row] for row in rows]
    theirs = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    assert_as_torch(mse(ours, targets), flat(ours), functional.mse_loss(theirs, torch.tensor(targets)), theirs)


def test_mse_differentiates_by_targets_too():
    output, target = Value(3.0), Value(1.0)
    mse([output], [target]).backward()
    assert (output.grad, target.grad) == (4.0, -4.0)


@pytest.mark.parametrize("seed", range(5))
def test_max_margin(seed):
    rng = random.Random(seed)
    numbers = [*HUGE, *(rng.gauss(0, 2) for _ in range(12))]
    targets = [rng.choice([-1, 1]) for _ in numbers]
    ours, theirs = both(numbers)
    expected = functional.relu(1 - torch.tensor(targets) * theirs).mean()
    assert_as_torch(max_margin(ours, targets), ours, expected, theirs)


def test_max_margin_is_the_expression_of_the_demo():
    score = Value(0.5)
    loss = max_margin([score], [1])
    graph = inputs_first(loss)
    # -y as a constant times the score, plus 1, relu; 0 + it; times 1 / n
    assert [node.op.name for node in graph if node.op] == ["mul", "add", "relu", "add", "mul"]
    product = next(node for node in graph if node.op)
    assert [x.data for x in product.inputs if x is not score] == [-1.0]


@pytest.mark.parametrize("seed", range(5))
def test_binary_cross_entropy(seed):
    rng = random.Random(seed)
    numbers = [*HUGE, *HUGE, *(rng.gauss(0, 3) for _ in range(12))]
    targets = [0] * len(HUGE) + [1] * len(HUGE) + [rng.choice([0, 1]) for _ in range(12)]
    ours, theirs = both(numbers)
    expected = functional.binary_cross_entropy_with_logits(theirs, torch.tensor(targets, dtype=torch.float64))
    assert_as_torch(binary_cross_entropy(ours, targets), ours, expected, theirs)


def test_binary_cross_entropy_keeps_the_smallest_probabilities():
    logit = Value(40.0)
    loss = binary_cross_entropy([logit], [1])
    loss.backward()
    assert loss.data == pytest.approx(math.exp(-40.0), rel=1e-12, abs=0)  # softplus(z) - y * z would give 0
    assert logit.grad == pytest.approx(-math.exp(-40.0), rel=1e-12, abs=0)


@pytest.mark.parametrize("loss", [cross_entropy, nll])
@pytest.mark.parametrize("classes", [1, 2, 3, 10])
@pytest.mark.parametrize("seed", range(3))
def test_cross_entropy(loss, classes, seed):
    rng = random.Random(seed)
    rows = rows_of(rng, 8, classes)
    labels = [rng.randrange(classes) for _ in rows]
    ours = [[Value(x) for x in row] for row in rows]
    theirs = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    found, expected = loss(ours, labels), functional.cross_entropy(theirs, torch.tensor(labels))
    if classes == 1:
        assert found.data == expected.item() == 0.0
    else:
        assert_as_torch(found, flat(ours), expected, theirs)


def test_nll_takes_log_probabilities_too():
    rng = random.Random(0)
    rows = rows_of(rng, 8, 4)
    labels = [rng.randrange(4) for _ in rows]
    ours = [[Value(x) for x in row] for row in rows]
    theirs = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    expected = functional.nll_loss(functional.log_softmax(theirs, dim=1), torch.tensor(labels))
    assert_as_torch(nll([log_softmax(row) for row in ours], labels), flat(ours), expected, theirs)


@pytest.mark.parametrize(("ours", "theirs"), [(softmax, functional.softmax), (log_softmax, functional.log_softmax)])
def test_softmax_and_log_softmax(ours, theirs):
    rng = random.Random(0)
    for row in rows_of(rng, 8, 5):
        values, tensor = both(row)
        weights = [rng.gauss(0, 1) for _ in row]  # a random cotangent
        outputs, expected = ours(values), theirs(tensor, dim=0)
        assert [y.data for y in outputs] == pytest.approx(expected.tolist(), rel=1e-12, abs=1e-300)
        found = sum(w * y for w, y in zip(weights, outputs, strict=True))
        assert_as_torch(found, values, (torch.tensor(weights, dtype=torch.float64) * expected).sum(), tensor)


def test_softmax_sums_to_one():
    assert sum(p.data for p in softmax([Value(x) for x in HUGE])) == pytest.approx(1.0, abs=1e-15)


def test_l2():
    ours, theirs = both([3.0, -4.0, 0.5])
    assert_as_torch(l2(ours), ours, (theirs * theirs).sum(), theirs)
    with pytest.raises(InputError, match="l2: there are no parameters"):
        l2(iter([]))


def test_losses_of_plain_numbers_are_values():
    assert mse([1.0, 3], [np.float64(1), True]).data == 2.0
    assert max_margin([0.5], [-1.0]).data == 1.5
    assert binary_cross_entropy([0.0], [True]).data == pytest.approx(math.log(2))
    assert cross_entropy([[0.0, 0]], [np.int8(1)]).data == nll([np.zeros(2)], [0]).data == pytest.approx(math.log(2))
    assert softmax([1, 1.0])[0].data == 0.5


def test_targets_in_any_number_type():
    scores = [Value(0.5), Value(-0.25)]
    for ones in ([1, 1], np.array([1, 1], dtype=np.uint8), [1.0, np.float32(1)], [True, Value(1)], (x for x in [1, 1])):
        assert max_margin(scores, ones).data == 0.875


def scored(net, loss):
    return lambda X, y: loss([net(x) for x in X], y)


@pytest.mark.parametrize(("loss", "low"), [(mse, 0), (max_margin, -1), (binary_cross_entropy, 0)])
@pytest.mark.parametrize("kind", [float, int])
def test_targets_may_be_arguments_of_a_compiled_function(loss, low, kind):
    net, rng = MLP(2, [3, 1]), np.random.default_rng(0)
    step = chainrule.compile(scored(net, loss), net.parameters())
    for _ in range(2):  # the second time with other targets, and no new trace
        X, y = rng.normal(size=(9, 2)), rng.choice([low, 1], 9).astype(kind)
        value = step(X, y)
        found = [p.grad for p in net.parameters()]
        net.zero_grad()
        plain = loss([net(x) for x in X.tolist()], y.tolist())
        plain.backward()
        assert value == pytest.approx(plain.data, rel=1e-12)
        assert found == pytest.approx([p.grad for p in net.parameters()], rel=1e-12, abs=1e-15)


def test_labels_as_arguments_are_for_take():
    net = MLP(2, [3])
    step = chainrule.compile(scored(net, cross_entropy), net.parameters())
    with pytest.raises(CompileError, match=r"use chainrule\.take"):
        step(np.zeros((2, 2)), np.array([0, 2]))

    def loss(X, y):
        rows = [net(x) for x in X]
        return sum(-chainrule.take(log_softmax(row), label) for row, label in zip(rows, y, strict=True)) / len(rows)

    X, y = np.random.default_rng(0).normal(size=(4, 2)), np.array([0, 2, 1, 2])
    assert chainrule.compile(loss, net.parameters())(X, y) == pytest.approx(
        cross_entropy([net(x) for x in X.tolist()], y).data, rel=1e-12
    )


def test_targets_that_are_values_are_still_checked():
    with pytest.raises(InputError, match=r"targets are -1 or 1, but that of sample 0 is 0.5$"):
        max_margin([Value(1.0)], [Value(0.5)])


@pytest.mark.parametrize("loss", [mse, max_margin, binary_cross_entropy, cross_entropy, nll])
def test_lengths(loss):
    name = "cross_entropy" if loss is nll else loss.__name__
    one = [[Value(1.0)]] if loss in (cross_entropy, nll) else [Value(1.0)]
    with pytest.raises(InputError, match=f"^{name}: there are 1 outputs but 2 targets$"):
        loss(one, [1, 1])
    with pytest.raises(InputError, match=f"^{name}: there are no samples$"):
        loss([], [])
    with pytest.raises(InputError, match=f"^{name} takes lists with one entry per sample; its outputs are Value$"):
        loss(Value(1.0), [1])
    with pytest.raises(InputError, match=r"its targets are int$"):
        loss(one, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: max_margin([v, v], [1, 0]), "max_margin: targets are -1 or 1, but that of sample 1 is 0$"),
        (lambda v: max_margin([v], ["1"]), "that of sample 0 is '1'$"),
        (lambda v: max_margin([v], [math.nan]), "that of sample 0 is nan$"),
        (lambda v: max_margin([v], [None]), "that of sample 0 is None$"),
        (lambda v: max_margin([v], [[1, 1]]), r"that of sample 0 is \[1, 1\]$"),
        (lambda v: max_margin([v], np.ones((1, 2))), r"that of sample 0 is array"),
        (lambda v: binary_cross_entropy([v, v], [1, -1]), "binary_cross_entropy: targets are 0 or 1, .* sample 1 is -1$"),
        (lambda v: binary_cross_entropy([v], [0.5]), "sample 0 is 0.5$"),
        (lambda v: cross_entropy([[v, v]], [2]), "cross_entropy: label 2 of sample 0 is out of range; 2 classes are 0 to 1$"),
        (lambda v: cross_entropy([[v, v]], [-1]), "label -1 of sample 0 is out of range"),
        (lambda v: cross_entropy([[v, v]], [1.0]), "labels are whole numbers from 0, but that of sample 0 is 1.0$"),
        (lambda v: cross_entropy([[v, v]], [[0, 1]]), r"that of sample 0 is \[0, 1\]$"),
        (lambda v: cross_entropy([[v, v], [v]], [0, 0]), "sample 1 has 1 logits but sample 0 has 2$"),
        (lambda v: cross_entropy([v, v], [0, 0]), "a row of logits is a list with one score per class"),
        (lambda v: cross_entropy([[]], [0]), "a row of logits is a list"),
        (lambda v: softmax(v), "softmax: a row of logits is a list"),
        (lambda v: log_softmax([]), "log_softmax: a row of logits is a list"),
        (lambda v: mse([[v, v]], [[1.0]]), "mse: sample 0 has a row of 2 as output but a row of 1 as target$"),
        (lambda v: mse([v, [v]], [1.0, 1.0]), "mse: sample 1 has a row of 1 as output but one number as target$"),
        (lambda v: mse([[]], [[]]), "mse: the samples have no outputs$"),
    ],
)
def test_wrong_targets(call, message):
    with pytest.raises(InputError, match=message):
        call(Value(0.5))


@pytest.mark.parametrize("call", [lambda: mse(["a"], [1.0]), lambda: max_margin([None], [1]), lambda: softmax(["a", "b"])])
def test_outputs_that_are_no_numbers(call):
    with pytest.raises(NotANumberError, match="a Value holds one real number, not"):
        call()


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda x: nn.cross_entropy(x, [1]), "functional.cross_entropy"),
        (lambda x: nn.mse(x, [[1, 2]]), "functional.mse_loss"),
        (lambda x: nn.softmax(x), "functional.softmax"),
        (lambda x: nn.max_margin(x, [1]), "lists of Values"),
    ],
)
def test_a_tensor_is_sent_to_the_functions_of_tensors(call, instead):
    with pytest.raises(InputError, match=f"is for lists of Values; for a Tensor .*{instead}"):
        call(Tensor([[1.0, 2.0]]))
