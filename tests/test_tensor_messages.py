"""What a user reads when shapes, axes, indices or labels do not fit: one sentence with the operation, both shapes and the axis.

The elementwise rows, matrix products and indices are tried with drawn shapes, and the axis and the lengths that the sentence must
name are found here from the shapes alone.
"""

import operator
import re

import numpy as np
import pytest

import chainrule
from chainrule import ops
from chainrule.errors import ChainruleError, InputError
from chainrule.nn import BatchNorm1d, Embedding, LayerNorm, Linear, Sequential, Tanh
from chainrule.nn import functional as F
from chainrule.tensor import Tensor, apply, concatenate, matmul, one_hot, stack

BINARY = [op for op in ops.BUILT_IN if op.arity == 2]


def ones(*shape):
    return Tensor(np.ones(shape), requires_grad=True)


def message(wrong):
    """The one sentence that the call raises, with nothing of NumPy's behind it."""
    with pytest.raises(InputError) as caught:
        wrong()
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert isinstance(caught.value, ChainruleError)
    return text


def layer_norm_with(**parameters):
    layer = LayerNorm(3)
    vars(layer).update(parameters)
    return layer(ones(2, 3))


# ---- drawn shapes ----------------------------------------------------------------------------------------------------


def clashing_shapes(rng):
    """Two shapes that do not broadcast, of up to four axes, some of length 1 or 0, in any order and of unequal numbers."""
    while True:
        a, b = (tuple(int(n) for n in rng.choice([0, 1, 2, 3, 5], rng.integers(1, 5))) for _ in range(2))
        try:
            np.broadcast_shapes(a, b)
        except ValueError:
            return a, b


def last_clash(*shapes):
    """The last axis of the result that two lengths other than 1 claim, and these lengths."""
    ndim = max(map(len, shapes))
    wide = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    for axis in reversed(range(ndim)):
        lengths = sorted({shape[axis] for shape in wide} - {1})
        if len(lengths) > 1:
            return axis, lengths
    raise AssertionError(f"{shapes} broadcast")


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.name)
def test_elementwise_rows_name_both_shapes_and_the_axis(op):
    rng = np.random.default_rng(BINARY.index(op))
    for _ in range(20):
        a, b = clashing_shapes(rng)
        axis, (less, more) = last_clash(a, b)
        expected = f"{op.name}: shapes {a} and {b} do not broadcast: axis {axis} has lengths {less} and {more}"
        assert message(lambda a=a, b=b: getattr(ones(*a), op.method)(ones(*b))) == expected
        assert message(lambda a=a, b=b: apply(op, ones(*a), np.ones(b))) == expected


@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge", "eq", "ne"])
def test_comparisons_name_both_shapes_and_the_axis(name):
    rng = np.random.default_rng(0)
    compare = getattr(operator, name)
    for _ in range(20):
        a, b = clashing_shapes(rng)
        axis, (less, more) = last_clash(a, b)
        expected = f"{name}: shapes {a} and {b} do not broadcast: axis {axis} has lengths {less} and {more}"
        assert message(lambda a=a, b=b: compare(ones(*a), ones(*b))) == expected
        assert message(lambda a=a, b=b: compare(ones(*a), np.ones(b))) == expected


def test_operators_with_arrays_on_the_left():
    expected = r"add: shapes (2, 3) and (4,) do not broadcast: axis 1 has lengths 3 and 4"
    assert message(lambda: np.ones((2, 3)) + ones(4)) == expected
    assert message(lambda: ones(2, 3) + np.ones(4)) == expected


def test_where_names_all_three_shapes():
    where = ops.TABLE["where"]
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = clashing_shapes(rng)
        for shapes in ((a, b, b), (b, a, a), (a, a, b), ((1,), a, b)):
            axis, (less, more) = last_clash(*shapes)
            for function in (lambda *xs: apply(where, *xs), chainrule.where):
                found = message(lambda shapes=shapes, f=function: f(*[ones(*shape) for shape in shapes]))
                given = " and ".join(map(str, shapes))
                assert found.startswith(f"where: shapes {given} do not broadcast: axis {axis} has lengths")
                assert found.endswith(f"{less} and {more}")


def test_matmul_names_both_axes():
    rng = np.random.default_rng(0)
    for _ in range(40):
        lead = tuple(int(n) for n in rng.integers(1, 4, rng.integers(0, 2)))
        n, m = (int(x) for x in rng.choice(6, 2, replace=False))
        a = (n,) if rng.random() < 0.3 else (*lead, 2, n)
        b = (m,) if rng.random() < 0.3 else (*lead, m, 4)
        first, second = len(a) - 1, max(len(b) - 2, 0)
        assert message(lambda a=a, b=b: ones(*a) @ ones(*b)) == (
            f"matmul: shapes {a} and {b} do not fit: axis {first} of the first has length {n}, axis {second} of the second {m}"
        )


def test_a_matmul_of_batches_that_do_not_broadcast_names_their_axis():
    rng = np.random.default_rng(0)
    for _ in range(40):
        a, b = clashing_shapes(rng)
        axis, (less, more) = last_clash(a, b)
        assert message(lambda a=a, b=b: ones(*a, 3, 4) @ ones(*b, 4, 2)) == (
            f"matmul: shapes {(*a, 3, 4)} and {(*b, 4, 2)} do not broadcast: axis {axis} has lengths {less} and {more}"
        )


def test_an_index_out_of_range_is_named_with_its_axis():
    rng = np.random.default_rng(0)
    for _ in range(40):
        shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 4)))
        axis = int(rng.integers(len(shape)))
        n = shape[axis]
        wrong = int(rng.choice([n, n + 7, -n - 1]))
        before = (slice(None),) * axis
        for index in (wrong, np.array([0, wrong]), [wrong], Tensor([wrong])):
            found = message(lambda shape=shape, index=index, before=before: ones(*shape)[(*before, index)])
            assert found.startswith(f"getitem of shape {shape}: ")
            assert re.search(rf"index {wrong} is out of bounds for axis {axis} with size {n}$", found), found


AXES = {
    "sum": lambda x, axis: x.sum(axis),
    "mean": lambda x, axis: x.mean(axis),
    "var": lambda x, axis: x.var(axis),
    "amax": lambda x, axis: x.amax(axis),
    "amin": lambda x, axis: x.amin(axis),
    "std": lambda x, axis: x.std(axis),
    "max": lambda x, axis: x.max(axis),
    "min": lambda x, axis: x.min(axis),
    "argmax": lambda x, axis: x.argmax(axis),
    "argmin": lambda x, axis: x.argmin(axis=axis),
    "logsumexp": lambda x, axis: x.logsumexp(axis),
    "softmax": lambda x, axis: F.softmax(x, axis),
    "log_softmax": lambda x, axis: F.log_softmax(x, axis),
    "permute": lambda x, axis: x.permute(*range(x.ndim - 1), axis),
    "transpose": lambda x, axis: x.transpose(0, axis),
    "squeeze": lambda x, axis: x.squeeze(axis),
    "concatenate": lambda x, axis: concatenate([x, x], axis),
}


@pytest.mark.parametrize("name", AXES)
def test_an_axis_out_of_range_is_named_with_its_operation(name):
    for shape in ((3,), (2, 3), (2, 1, 3)):
        for axis in (len(shape), len(shape) + 4, -len(shape) - 1):
            found = message(lambda shape=shape, axis=axis: AXES[name](ones(*shape), axis))
            assert found == f"{name}: axis {axis} is out of range for a tensor of {len(shape)} axes"


def test_the_axis_of_numpys_max_and_min_is_named_too():
    assert message(lambda: ones(2, 3).max(axis=2)) == "max: axis 2 is out of range for a tensor of 2 axes"
    assert message(lambda: ones(2, 3).min(axis=-3)) == "min: axis -3 is out of range for a tensor of 2 axes"


EXTREME = ["amax", "amin", "max", "min", "argmax", "argmin"]


@pytest.mark.parametrize("name", EXTREME)
def test_an_axis_without_elements_is_named(name):
    for shape, axis in (((0, 3), 0), ((2, 0), 1), ((2, 0, 3), -2), ((0,), 0)):
        expected = f"{name} of shape {shape}: axis {axis % len(shape)} has no elements"
        assert message(lambda shape=shape, axis=axis: getattr(ones(*shape), name)(axis)) == expected
        assert message(lambda shape=shape: getattr(ones(*shape), name)()) == expected
    found = getattr(ones(0, 3), name)(1)  # along an axis that has elements there is an answer, for each of none
    assert (found.values if name in ("max", "min") else found).shape == (0,)


# ---- one by one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        # axes of a new tensor
        (lambda: stack([ones(2, 3), ones(2, 3)], 3), ["stack: axis 3 is out of range for a tensor of 3 axes"]),
        (lambda: ones(2, 3).unsqueeze(4), ["unsqueeze: axis 4 is out of range for a tensor of 3 axes"]),
        (lambda: ones(2, 3).sum((0, 0)), ["sum: an axis is named twice"]),
        (lambda: ones(2, 3).sum("a"), ["sum: an axis is a whole number, not str 'a'"]),
        (lambda: ones(2, 3).permute(0, 0), ["permute: (0, 0) is not an order of the 2 axes of shape (2, 3)"]),
        # joining and reshaping
        (
            lambda: concatenate([ones(2, 3), ones(4, 3), ones(2, 4)]),
            ["concatenate: shapes (2, 3) and (2, 4) do not fit: axis 1 has lengths 3 and 4"],
        ),
        (lambda: concatenate([ones(2, 3), ones(3)]), ["concatenate: shapes (2, 3) and (3,) do not fit: they have 2 and 1 axes"]),
        (lambda: concatenate([]), ["concatenate needs at least one tensor"]),
        (
            lambda: stack([ones(2, 3), ones(2, 3), ones(2, 4)], 1),
            ["stack: shapes (2, 3) and (2, 4) do not fit: axis 1 has lengths 3 and 4"],
        ),
        (lambda: ones(2, 3).reshape(4, 2), ["reshape: the 6 elements of shape (2, 3) do not fit into shape (4, 2)"]),
        (lambda: ones(2, 3).reshape(4, -1), ["reshape: the 6 elements of shape (2, 3) do not fit into shape (4, -1)"]),
        (lambda: ones(0, 3).reshape(0, -1), ["reshape: the 0 elements of shape (0, 3) do not fit into shape (0, -1)"]),
        (lambda: ones(2, 3).reshape(-1, -1), ["reshape: lengths are whole numbers from 0, and one", "may be -1, not (-1, -1)"]),
        (lambda: ones(2, 3).reshape(-2, 3), ["reshape: lengths are whole numbers from 0, and one", "may be -1, not (-2, 3)"]),
        (lambda: ones(2, 3).reshape(2.0, 3), ["reshape: a length is a whole number, not float 2.0"]),
        (lambda: ones(2, 3).view("a"), ["reshape: a length is a whole number, not str 'a'"]),
        (lambda: ones(2, 3).transpose(0), ["transpose takes two axes, or all 2, not 1"]),
        (lambda: ones(2, 3, 4).transpose(1, 0, 2, 3), ["transpose takes two axes, or all 3, not 4"]),
        (lambda: ones(2, 3, 4).t(), ["t takes a matrix, not shape (2, 3, 4); transpose takes two axes"]),
        (lambda: ones(2, 3, 4).flatten(2, 1), ["flatten: axis 2 comes after axis 1"]),
        (lambda: ones(2, 3).permute(0.5, 1), ["permute: an axis is a whole number, not float 0.5"]),
        (lambda: ones(2, 3).expand(2, 4), ["expand: shape (2, 3) does not expand to (2, 4): axis 1 has length 3, not 4"]),
        (lambda: ones(2, 3).expand(5, 2, 4), ["expand: shape (2, 3)", "to (5, 2, 4): axis 2 has length 3, not 4"]),
        (lambda: ones(2, 3).expand(70, 200, 3), ["expand: shape (2, 3)", "to (70, 200, 3): axis 1 has length 2, not 200"]),
        (lambda: ones(2, 3).expand(-1, 2, 3), ["expand: shape (2, 3) does not expand to (-1, 2, 3): axis 0"]),
        (lambda: ones(1, 3).expand(3), ["expand: shape (1, 3) does not expand to (3,), which has fewer axes"]),
        (lambda: ones(2, 3).expand(2.0, 3), ["expand: a length is a whole number, not float 2.0"]),
        # products
        (lambda: ones(2, 3) @ 2.0, ["matmul takes tensors with axes, not shapes (2, 3) and (); use * for a number"]),
        (
            lambda: matmul(ones(2, 3, 4), ones(5, 4, 2)),
            ["matmul: shapes (2, 3, 4) and (5, 4, 2) do not broadcast: axis 0 has lengths 2 and 5"],
        ),
        (lambda: Tensor([1, 2]) ** -1, ["pow of shape (2,) and (): Integers to negative integer powers are not allowed"]),
        # indices
        (lambda: ones(2, 3)[0, 0, 0], ["getitem of shape (2, 3): too many indices"]),
        (lambda: ones(2, 3)[[0, 1], [0, 1, 2]], ["getitem of shape (2, 3): shape mismatch", "(2,) (3,)"]),
        (lambda: ones(2, 3)[np.array([True, False, True])], ["getitem of shape (2, 3)", "axis 0", "2", "3"]),
        (lambda: ones(2, 3)[0.5], ["an index is made of integers, slices or booleans, not float64"]),
        (lambda: one_hot([0, 3], 3), ["one_hot: label 3 is out of range; 3 classes are 0 to 2"]),
        (lambda: one_hot([-1], 3), ["one_hot: label -1 is out of range"]),
        (lambda: one_hot([0], "a"), ["one_hot: num_classes is a whole number, not str 'a'"]),
        (lambda: one_hot([0], -2), ["one_hot: num_classes is a whole number from 0, not -2"]),
        (lambda: one_hot([0.5], 3), ["one_hot takes integer labels, not float64"]),
        (lambda: F.embedding([0, 9], ones(5, 2)), ["embedding: index 9 is out of range; 5 rows are 0 to 4"]),
        (lambda: Embedding(27, 10)([[0, -1, 3]]), ["embedding: index -1 is out of range; 27 rows are 0 to 26"]),
        (lambda: F.cross_entropy(ones(2, 3), [0, 3]), ["cross_entropy: label 3 is out of range; 3 classes are 0 to 2"]),
        (
            lambda: F.cross_entropy(ones(2, 3), [0]),
            ["cross_entropy: logits of shape (2, 3) need 2 labels", "shape (1,): axis 0 has lengths 2 and 1"],
        ),
        (lambda: F.cross_entropy(ones(2, 3), [[0], [1]]), ["cross_entropy: logits of shape (2, 3)", "shape (2, 1)"]),
        (lambda: F.cross_entropy(ones(3), [0]), ["cross_entropy takes logits of shape (N, C), not (3,)"]),
        (lambda: F.mse_loss(ones(2), ones(2, 1)), ["mse_loss takes two tensors of one shape, not (2,) and (2, 1)"]),
        (
            lambda: F.mse_loss(ones(2, 3), ones(2, 4)),
            ["mse_loss takes two tensors of one shape, not (2, 3) and (2, 4): axis 1 has lengths 3 and 4"],
        ),
        # layers
        (
            lambda: F.linear(ones(5, 2, 3), ones(4, 2)),
            ["linear takes x (..., in), weight (out, in)", "(5, 2, 3), (4, 2): axis 2 of x has length 3, axis 1 of weight 2"],
        ),
        (lambda: F.linear(ones(2, 3), ones(4, 3), ones(3)), ["(3,): axis 0 of bias has length 3, axis 0 of weight 4"]),
        (lambda: F.linear(ones(2, 3), ones(4, 3), ones(4, 1)), ["linear takes x (..., in)", "(2, 3), (4, 3), (4, 1)"]),
        (lambda: F.linear(ones(2, 3), ones(3)), ["linear takes x (..., in)", "(2, 3), (3,)"]),
        (lambda: Linear(3, 4)(ones(2, 5)), ["linear takes x (..., in), weight (out, in)", "(2, 5), (4, 3), (4,)"]),
        (lambda: Sequential(Linear(3, 4), Tanh(), Linear(5, 2))(ones(2, 3)), ["linear takes", "(2, 4), (2, 5), (2,)"]),
        (lambda: F.batch_norm(ones(1, 3), None, None, training=True), ["batch_norm: in training", "(1, 3)", "larger batch"]),
        (lambda: F.batch_norm(ones(3), None, None, training=True), ["batch_norm takes x of shape (N, C)", "not (3,)"]),
        (lambda: F.batch_norm(ones(2, 3), None, None, np.ones(2), training=True), ["batch_norm: weight", "(3,)", "(2, 3)"]),
        (
            lambda: BatchNorm1d(4)(ones(2, 3)),
            ["batch_norm: running_mean must have shape (3,), as axis 1 of x of shape (2, 3), not (4,)"],
        ),
        (lambda: LayerNorm(4)(ones(2, 3)), ["layer_norm over (4,) takes x", "(..., 4), not (2, 3): axis 1 has lengths 3 and 4"]),
        (
            lambda: LayerNorm((2, 3))(ones(3)),
            ["layer_norm over (2, 3) takes x of shape (..., 2, 3), not (3,): they have 1 and 2"],
        ),
        (
            lambda: layer_norm_with(weight=ones(2)),
            ["layer_norm: weight must have shape (3,), not (2,): axis 0 has lengths 3 and 2"],
        ),
        (lambda: layer_norm_with(bias=ones(2, 3)), ["layer_norm: bias must have shape (3,), not (2, 3): they have 1 and 2 axes"]),
        # dtypes
        (lambda: Tensor([True]) - Tensor([False]), ["sub of bool and bool: numpy boolean subtract", "cast with .to()"]),
        (lambda: -Tensor([True]), ["neg of bool: ", "cast with .to()"]),
        (lambda: ones(2) & ones(2), ["and takes bools or whole numbers, not float64 and float64"]),
        (lambda: ones(2).to("float16"), ["a tensor's dtype is float32, float64", "not 'float16'"]),
        (lambda: ones(2).to("cpu"), ["a tensor's dtype is", "not 'cpu'"]),
        (lambda: F.cross_entropy([[1, 2]], [0]), ["cross_entropy takes floating-point logits, not int64"]),
        (lambda: setattr(Tensor([1]), "requires_grad", True), ["only floating-point tensors can require a gradient, not int64"]),
        (lambda: setattr(ones(2) * 2, "requires_grad", False), ["the result of *, which requires a gradient; take .detach()"]),
        (lambda: np.sum(ones(2), out=np.zeros(())), ["sum: a tensor's result is a new tensor"]),
        (lambda: ones(2).var(correction=0.5), ["var: the correction is a whole number"]),
        # gradients and data
        (lambda: (ones(2, 3) * 2).backward(), ["backward from a tensor of shape (2, 3) needs a gradient of that shape"]),
        (lambda: (ones(2, 3) * 2).backward(np.ones(3)), ["the gradient has shape (3,), but the tensor (2, 3)"]),
        (lambda: setattr(ones(2, 3), "data", np.ones(2)), ["data of shape (2,) cannot replace data of shape (2, 3)"]),
        (lambda: setattr(ones(2, 3), "grad", np.ones(2)), ["gradient of shape (2,) does not fit a tensor of shape (2, 3)"]),
        (lambda: ones(2, 3).item(), ["item() takes a tensor of one element, not one of shape (2, 3)"]),
    ],
)
def test_the_sentence_names(wrong, named):
    found = message(wrong)
    assert [part for part in named if part not in found] == [], found


def test_a_refused_batch_of_one_changes_no_statistics():
    norm = BatchNorm1d(3)
    norm(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    before = {name: array.copy() for name, array in norm.state_dict().items()}
    message(lambda: norm(ones(1, 3)))
    after = norm.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert norm.eval()(ones(1, 3)).shape == (1, 3)


def test_the_finder_of_clashes_is_right():
    assert last_clash((2, 3), (4,)) == (1, [3, 4])
    assert last_clash((2, 3, 4), (5, 1, 4)) == (0, [2, 5])
    with pytest.raises(AssertionError, match="broadcast"):
        last_clash((2, 1), (3,))


def test_whole_numbers_that_do_not_fit_are_told_in_a_sentence():
    small = Tensor(np.array([1, 2], np.uint8))
    assert (~small).tolist() == [254, 253]
    assert (~Tensor([1, -2])).tolist() == [-2, 1]
    assert (~Tensor([True, False])).tolist() == [False, True]
    assert message(lambda: small + 300).startswith("add: ")
    assert message(lambda: small + 300).endswith("; cast with .to()")
    assert message(lambda: ~ones(2)) == "~ takes bools or whole numbers, not float64"


def test_constants_of_a_graph_are_refused_in_a_sentence():
    two = (ones(2, 3) * 2).inputs[1]
    assert message(lambda: F.linear(ones(2, 3), two)).startswith("linear takes x (..., in), weight (out, in)")
    assert message(lambda: F.batch_norm(two, None, None, training=True)).startswith("batch_norm takes x of shape (N, C)")
