"""The functions of chainrule.nn.functional against PyTorch in float64: values, first and second derivatives, drawn shapes."""

import os

import numpy as np
import pytest

import chainrule
from chainrule.errors import InputError
from chainrule.nn import functional as F
from chainrule.nn import init
from chainrule.tensor import Tensor

if os.environ.get("CI") == "true":
    import torch
else:
    torch = pytest.importorskip("torch", reason="the peer of this comparison is PyTorch: pip install 'chainrule[dev]'")
TF = torch.nn.functional

RNG = np.random.default_rng(2)


def draw(*shape):
    return RNG.normal(size=shape)


def agree(mine, theirs, *arrays):
    """One function on our tensors and on torch's: the same value, gradients, and gradients of a function of gradients."""
    xs = [Tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = mine(*xs), theirs(*ts)
    assert y.shape == tuple(t.shape)
    np.testing.assert_allclose(y.data, t.detach().numpy(), rtol=1e-10, atol=1e-12)
    weight = RNG.normal(size=y.shape)
    wanted = torch.autograd.grad(t, ts, torch.tensor(weight), create_graph=True)
    y.backward(weight)
    for x, g in zip(xs, wanted, strict=True):
        assert (x.grad.shape, x.grad.dtype) == (x.shape, x.dtype)
        np.testing.assert_allclose(x.grad, g.detach().numpy(), rtol=1e-10, atol=1e-11)
    cotangents = [RNG.normal(size=x.shape) for x in xs]
    first = chainrule.gradients((y * Tensor(weight)).sum(), xs, create_graph=True)
    total = sum(((first[x] * Tensor(c)).tanh().sum() for x, c in zip(xs, cotangents, strict=True)), Tensor(0.0))
    torch_total = sum((g * torch.tensor(c)).tanh().sum() for g, c in zip(wanted, cotangents, strict=True))
    np.testing.assert_allclose(total.item(), torch_total.item(), rtol=1e-10, atol=1e-11)
    if not torch_total.requires_grad or not total.requires_grad:
        assert torch_total.requires_grad == total.requires_grad
        return
    second = chainrule.gradients(total, xs)
    for x, g in zip(xs, torch.autograd.grad(torch_total, ts, allow_unused=True), strict=True):
        np.testing.assert_allclose(second[x], 0.0 if g is None else g.numpy(), rtol=1e-9, atol=1e-10)


def shapes(least, most, ndim, count, seed):
    """Drawn shapes, with axes of length 1 among them."""
    rng = np.random.default_rng(seed)
    return [tuple(int(n) for n in rng.integers(least, most, ndim)) for _ in range(count)]


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("shape", [(), (3,), (1, 4), (2, 0), *shapes(1, 5, 3, 3, 0)])
def test_elementwise(name, shape):
    torch_name = getattr(torch, name)
    x = draw(*shape)
    np.testing.assert_allclose(getattr(F, name)(x).data, torch_name(torch.tensor(x)).numpy(), rtol=1e-12)
    if name != "relu":  # the second derivative of relu is nothing to compare
        agree(getattr(F, name), torch_name, np.asarray(x))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(4,), (1, 3), (3, 1), *shapes(1, 6, 3, 3, 1)])
def test_softmax(name, shape):
    for dim in range(-len(shape), len(shape)):
        agree(lambda x, dim=dim: getattr(F, name)(x, dim), lambda x, dim=dim: getattr(TF, name)(x, dim), draw(*shape))


@pytest.mark.parametrize("lead", [(), (1,), (5,), (2, 3), (2, 1, 3), (0,)])
@pytest.mark.parametrize(("nin", "nout"), [(1, 1), (4, 3), (3, 1), (1, 2)])
def test_linear(lead, nin, nout):
    x, w, b = draw(*lead, nin), draw(nout, nin), draw(nout)
    agree(F.linear, TF.linear, x, w, b)
    agree(F.linear, TF.linear, x, w)


@pytest.mark.parametrize("index_shape", [(), (1,), (7,), (2, 3), (3, 1, 2), (0,)])
@pytest.mark.parametrize("shape", [(5, 3), (1, 1), (4,), (3, 2, 2)])
def test_embedding(index_shape, shape):
    index = RNG.integers(0, shape[0], index_shape)
    agree(
        lambda w: F.embedding(index, w * w),
        lambda w: (w * w)[torch.tensor(index)] if w.ndim != 2 else TF.embedding(torch.tensor(index), w * w),
        draw(*shape),
    )


def test_repeated_rows_of_an_embedding_add_up_in_every_dtype():
    for dtype in ("float32", "float64"):
        w = Tensor(np.ones((3, 2)), dtype=dtype, requires_grad=True)
        F.embedding(Tensor([2, 2, 0]), w).sum().backward()
        assert w.grad.tolist() == [[1, 1], [0, 0], [2, 2]]
        assert w.grad.dtype == dtype
        w.zero_grad()
        w[np.array([-1, 2, -3])].sum().backward()  # negative indices of a tensor meet the same rows
        assert w.grad.tolist() == [[1, 1], [0, 0], [2, 2]]


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", ">i4", ">i8", "uint8", "uint16", "uint64"])
def test_indices_of_every_integer_dtype_and_layout(dtype):
    w, many = Tensor(np.arange(10.0).reshape(5, 2)), np.asarray([[4, 0, 3], [1, 2, 4]], dtype)
    for index in (many, many.T, many[:, ::-2], many[0, 0], many[:0]):
        for given in (index, Tensor(index)) if dtype in ("int32", "int64", "uint8") else (index,):
            assert F.embedding(given, w).tolist() == w.data[index.astype(int)].tolist()
            if index.ndim == 1:
                assert np.isfinite(F.cross_entropy(Tensor(np.zeros((len(index), 5))), given, "none").data).all()
    for wrong in (5, 100, *((-1, -128) if np.dtype(dtype).kind == "i" else (255,))):
        for index in (np.asarray([0, wrong, 5], dtype), np.asarray(wrong, dtype), np.asarray([[0], [wrong]], dtype)[::-1]):
            with pytest.raises(InputError, match=rf"^embedding: index {wrong} is out of range; 5 rows are 0 to 4$"):
                F.embedding(index, w)
        with pytest.raises(InputError, match=rf"^cross_entropy: label {wrong} is out of range; 5 classes are 0 to 4$"):
            F.cross_entropy(Tensor(np.zeros((2, 5))), np.asarray([0, wrong], dtype))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 1), (32, 27), *shapes(1, 9, 2, 4, 3)])
def test_cross_entropy(shape, reduction):
    labels = RNG.integers(0, shape[1], shape[0])
    agree(
        lambda x: F.cross_entropy(x * 3.0, labels, reduction),
        lambda x: TF.cross_entropy(x * 3.0, torch.tensor(labels), reduction=reduction),
        draw(*shape),
    )


def test_cross_entropy_of_logits_that_are_a_transposed_view():
    labels = RNG.integers(0, 5, 6)
    agree(
        lambda x: F.cross_entropy(x.T, labels),
        lambda x: TF.cross_entropy(x.T, torch.tensor(labels)),
        draw(5, 6),
    )


def test_cross_entropy_of_extreme_logits():
    x = Tensor([[1000.0, -1000.0], [-np.inf, 0.0]], requires_grad=True)
    loss = F.cross_entropy(x, [1, 1])
    loss.backward()
    assert loss.item() == 1000.0
    assert x.grad.tolist() == [[0.5, -0.5], [0.0, 0.0]]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mse_loss(reduction):
    agree(lambda a, b: F.mse_loss(a, b, reduction), lambda a, b: TF.mse_loss(a, b, reduction=reduction), draw(3, 2), draw(3, 2))


BATCHES = [(2, 1), (32, 5), (3, 4, 1), (1, 3, 4), (2, 3, 2, 2), *shapes(2, 7, 2, 3, 4), *shapes(2, 5, 3, 3, 5)]


@pytest.mark.parametrize("shape", BATCHES)
def test_batch_norm_as_in_torch(shape):
    channels = shape[1]
    mean, var = draw(channels), RNG.uniform(0.5, 2.0, channels)
    arrays = draw(*shape), draw(channels), draw(channels)
    for training in (True, False):
        mine, theirs = [Tensor(mean), Tensor(var)], [torch.tensor(mean), torch.tensor(var)]
        agree(
            lambda x, w, b: F.batch_norm(x, *mine, w, b, training=training, unbiased=False),  # noqa: B023
            lambda x, w, b: TF.batch_norm(x, *theirs, w, b, training=training),  # noqa: B023
            *arrays,
        )
        for buffer, true in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(buffer.data, true.numpy(), rtol=1e-12)
        assert training == bool(np.any(mine[0].data != mean))


@pytest.mark.parametrize("shape", BATCHES)
def test_batch_norm_with_bessels_correction_in_both_modes(shape):
    axes, wide = (0, *range(2, len(shape))), (1, -1) + (1,) * (len(shape) - 2)

    def theirs(x, w, b):
        mean, var = x.mean(axes, keepdim=True), x.var(axes, keepdim=True)  # unbiased
        return (x - mean) / torch.sqrt(var + 1e-5) * w.view(wide) + b.view(wide)

    arrays = draw(*shape), draw(shape[1]), draw(shape[1])
    agree(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), theirs, *arrays)
    mean, var = Tensor(np.zeros(shape[1])), Tensor(np.ones(shape[1]))
    F.batch_norm(arrays[0], mean, var, training=True, momentum=1.0)
    np.testing.assert_allclose(mean.data, arrays[0].mean(axes))
    np.testing.assert_allclose(var.data, arrays[0].var(axes, ddof=1))
    # With the batch's own statistics as buffers both modes give the same.
    trained, evaluated = (F.batch_norm(arrays[0], mean, var, training=t, momentum=0.0) for t in (True, False))
    np.testing.assert_allclose(trained.data, evaluated.data, rtol=1e-10, atol=1e-12)


def test_batch_norm_with_frozen_parts():
    x, w, b = Tensor(draw(5, 3)), Tensor(draw(3), requires_grad=True), Tensor(draw(3))
    F.batch_norm(x, None, None, w, b, training=True).sum().backward()
    assert w.grad.shape == (3,)
    assert x.grad is None
    assert b.grad is None


@pytest.mark.parametrize(("shape", "normalized"), [((4, 5), 5), ((2, 3, 4), (3, 4)), ((1, 2), (2,)), ((3, 1, 6), 6)])
def test_layer_norm(shape, normalized):
    last = (normalized,) if isinstance(normalized, int) else normalized
    arrays = draw(*shape), draw(*last), draw(*last)
    agree(lambda x, w, b: F.layer_norm(x, normalized, w, b), lambda x, w, b: TF.layer_norm(x, last, w, b), *arrays)
    agree(lambda x: F.layer_norm(x, normalized), lambda x: TF.layer_norm(x, last), arrays[0])


def test_one_hot():
    labels = np.array([[0, 2], [1, 1]])
    assert F.one_hot(labels, 3).tolist() == TF.one_hot(torch.tensor(labels), 3).tolist()


def test_dropout():
    x = Tensor(np.ones((100, 100)), requires_grad=True)
    y = F.dropout(x, 0.25, generator=1)
    y.sum().backward()
    assert set(np.unique(y.data)) == {0.0, 1 / 0.75}
    assert abs((y.data == 0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(x.grad, y.data)  # the same elements, the same factor
    np.testing.assert_array_equal(F.dropout(x, 0.25, generator=1).data, y.data)
    assert F.dropout(x, 0.25, training=False) is x
    assert not F.dropout(x, 1.0).data.any()
    init.manual_seed(3)
    first = F.dropout(x).data
    assert (F.dropout(x).data != first).any()
    init.manual_seed(3)
    np.testing.assert_array_equal(F.dropout(x).data, first)


def test_batch_norm_of_mixed_dtypes_is_the_same_in_both_modes():
    x, w = Tensor(draw(6, 3), dtype="float32", requires_grad=True), Tensor(draw(3), dtype="float32", requires_grad=True)
    b = Tensor(draw(3) * 1e-9 + 1, requires_grad=True)
    mean, var = Tensor(np.zeros(3)), Tensor(np.ones(3))
    F.batch_norm(x, mean, var, w, b, training=True, momentum=1.0)
    trained, evaluated = (F.batch_norm(x, mean, var, w, b, training=t, momentum=0.0) for t in (True, False))
    assert trained.dtype == evaluated.dtype == np.float64
    np.testing.assert_allclose(trained.data, evaluated.data, rtol=1e-12)
    trained.sum().backward()
    assert (x.grad.dtype, w.grad.dtype, b.grad.dtype) == ("float32", "float32", "float64")


def test_cross_entropy_of_no_rows_and_of_unsigned_labels():
    x = Tensor(np.zeros((0, 3)), requires_grad=True)
    nothing = torch.zeros((0, 3), dtype=torch.float64), torch.zeros(0, dtype=torch.long)
    for reduction in ("sum", "none"):
        loss, expected = F.cross_entropy(x, [], reduction), TF.cross_entropy(*nothing, reduction=reduction)
        assert loss.shape == tuple(expected.shape)
        assert loss.tolist() == expected.tolist()
        loss.sum().backward()
        assert x.grad.shape == (0, 3)
    logits = draw(4, 3)
    for dtype in ("uint8", "uint16", "uint32", "uint64", "int8", "int32"):
        for reduction in ("mean", "none"):
            found = F.cross_entropy(logits, np.array([0, 2, 1, 1], dtype), reduction)
            np.testing.assert_array_equal(found.data, F.cross_entropy(logits, [0, 2, 1, 1], reduction).data)


def test_float32_stays_float32():
    x = Tensor(draw(4, 3), dtype="float32", requires_grad=True)
    w, b = (Tensor(draw(*s), dtype="float32", requires_grad=True) for s in ((5, 3), (5,)))
    y = F.linear(x, w, b)
    z = F.layer_norm(F.batch_norm(y, None, None, b, b, training=True), 5)
    loss = F.cross_entropy(F.dropout(z, 0.1), [0, 1, 2, 3])
    assert [t.dtype for t in (y, z, loss, F.mse_loss(y, y))] == ["float32"] * 4
    gradients = chainrule.gradients(loss, [x, w, b], create_graph=True)
    assert all(g.dtype == np.float32 for g in gradients.values())
    loss.backward()
    assert x.grad.dtype == w.grad.dtype == np.float32


def test_gradients_of_mixed_dtypes_can_be_differentiated():
    x, y = Tensor([1.0, 2.0], dtype="float32", requires_grad=True), Tensor([3.0, 4.0], requires_grad=True)
    g = chainrule.gradients((x * x * y).sum(), [x], create_graph=True)[x]
    assert g.dtype == np.float32
    second = chainrule.gradients(g.sum(), [x, y])
    assert (second[x].tolist(), second[y].tolist()) == ([6.0, 8.0], [2.0, 4.0])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x: F.linear(x, np.ones((4, 2))), r"linear takes .*, not \(2, 3\), \(4, 2\)"),
        (lambda x: F.linear(x, np.ones((4, 3)), np.ones(3)), r"not \(2, 3\), \(4, 3\), \(3,\)"),
        (lambda x: F.linear(1.0, np.ones((4, 3))), r"not \(\), \(4, 3\)"),
        (lambda x: F.embedding([0, 2], x), "embedding: index 2 is out of range; 2 rows are 0 to 1"),
        (lambda x: F.embedding([0, -1], x), "embedding: index -1 is out of range"),
        (lambda x: F.embedding([0, 0], Tensor(3.0)), "embedding takes a weight with one row per index, not one number"),
        (lambda x: F.cross_entropy(Tensor(np.zeros((0, 0))), [], "sum"), r"logits of shape \(0, 0\) have no classes"),
        (lambda x: F.embedding([0.5], x), "index must be a whole number, not float64"),
        (lambda x: F.cross_entropy(x, [0, 3]), "label 3 is out of range; 3 classes are 0 to 2"),
        (lambda x: F.cross_entropy(x, [0, -1]), "label -1 is out of range"),
        (lambda x: F.cross_entropy(x, [0, 1, 2]), r"logits of shape \(2, 3\) need 2 labels, not labels of shape \(3,\)"),
        (lambda x: F.cross_entropy(x[0], [0]), r"logits of shape \(N, C\), not \(3,\)"),
        (lambda x: F.cross_entropy(x, [0, 1], "average"), "reduction must be 'mean', 'sum' or 'none', not 'average'"),
        (lambda x: F.cross_entropy(x[:0], []), "there are no samples"),
        (lambda x: F.mse_loss(x, x[:, :1]), r"one shape, not \(2, 3\) and \(2, 1\)"),
        (lambda x: F.batch_norm(x[:1], None, None, training=True), r"not a batch of shape \(1, 3\); take a larger batch"),
        (lambda x: F.batch_norm(x, None, None), "needs running_mean and running_var"),
        (lambda x: F.batch_norm(x[0], None, None, training=True), r"shape \(N, C\)"),
        (lambda x: F.batch_norm(x, None, None, np.ones(2), training=True), r"weight must have shape \(3,\)"),
        (lambda x: F.layer_norm(x, 2), r"x of shape \(..., 2\), not \(2, 3\)"),
        (lambda x: F.dropout(x, 1.5), "probability from 0 to 1, not 1.5"),
        (lambda x: F.dropout(x, generator="a"), "a seed of at least 0 or None, not 'a'"),
        (lambda x: F.softmax(x, 2), "axis 2 is out of range"),
    ],
)
def test_errors_are_one_sentence(wrong, words):
    with pytest.raises(InputError, match=words) as caught:
        wrong(Tensor(np.ones((2, 3)), requires_grad=True))
    assert "\n" not in str(caught.value)
