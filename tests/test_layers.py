"""Layers, how they start, their modes, their files, their summary; and optimisers on tensors: against PyTorch."""

import copy
import math
import os

import numpy as np
import pytest

from chainrule import optim
from chainrule.errors import InputError, ModelFileError, NonFiniteError
from chainrule.nn import (
    MLP,
    BatchNorm1d,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    Linear,
    Module,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
    calibrate,
    functional,
    init,
    manual_seed,
    summary,
)
from chainrule.tensor import Tensor

if os.environ.get("CI") == "true":
    import torch
else:
    torch = pytest.importorskip("torch", reason="the peer of this comparison is PyTorch: pip install 'chainrule[dev]'")

RNG = np.random.default_rng(3)


def names_net(dtype="float64", unbiased=False, generator=0, bias=True):
    rng = np.random.default_rng(generator)
    more = {"dtype": dtype, "generator": rng}
    return Sequential(
        Embedding(27, 10, **more),
        Flatten(),
        Linear(30, 200, bias=bias, **more),
        BatchNorm1d(200, unbiased=unbiased, dtype=dtype),
        Tanh(),
        Linear(200, 27, **more),
    )


def torch_net(state, dtype=None, bias=True):
    """The same net in PyTorch, with our numbers: names and shapes are the same, so its strict loading takes them."""
    net = torch.nn.Sequential(
        torch.nn.Embedding(27, 10),
        torch.nn.Flatten(),
        torch.nn.Linear(30, 200, bias=bias),
        torch.nn.BatchNorm1d(200),
        torch.nn.Tanh(),
        torch.nn.Linear(200, 27),
    ).to(dtype or torch.float64)
    net.load_state_dict({name: torch.tensor(x) for name, x in state.items()})
    return net


def batch(n=32):
    return RNG.integers(0, 27, (n, 3)), RNG.integers(0, 27, n)


def test_the_names_net_is_pytorchs_number_by_number():
    mine = names_net()
    theirs = torch_net(mine.state_dict())
    for mode in (True, False):
        x, y = batch()
        mine.train(mode)
        theirs.train(mode)
        loss = functional.cross_entropy(mine(x), y)
        torch_loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        mine.zero_grad()
        theirs.zero_grad()
        loss.backward()
        torch_loss.backward()
        assert loss.item() == pytest.approx(torch_loss.item(), rel=1e-12)
        for (name, p), (torch_name, q) in zip(mine.named_parameters(), theirs.named_parameters(), strict=True):
            assert name == torch_name
            np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-10, atol=1e-12)
    for name, x in theirs.state_dict().items():
        np.testing.assert_allclose(mine.state_dict()[name], x.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("mine", "theirs", "shape"),
    [
        (Linear(4, 3, dtype="float64"), torch.nn.Linear(4, 3), (2, 5, 4)),
        (LayerNorm((3, 4), dtype="float64"), torch.nn.LayerNorm((3, 4)), (2, 3, 4)),
        (LayerNorm(4, elementwise_affine=False), torch.nn.LayerNorm(4, elementwise_affine=False), (2, 4)),
        (BatchNorm1d(3, unbiased=False, dtype="float64"), torch.nn.BatchNorm1d(3), (4, 3, 5)),
        (BatchNorm1d(3, momentum=None, unbiased=False), torch.nn.BatchNorm1d(3, momentum=None), (4, 3)),
        (BatchNorm1d(3, affine=False, unbiased=False), torch.nn.BatchNorm1d(3, affine=False), (4, 3)),
        (ReLU(), torch.nn.ReLU(), (3, 2)),
        (Tanh(), torch.nn.Tanh(), (3, 2)),
        (Sigmoid(), torch.nn.Sigmoid(), (3, 2)),
        (Flatten(), torch.nn.Flatten(), (2, 3, 4)),
        (Flatten(0), torch.nn.Flatten(0), (2, 3, 4)),
    ],
    ids=lambda x: repr(x)[:30] if isinstance(x, Module) else "",
)  # fmt: skip
def test_layers_are_pytorchs(mine, theirs, shape):
    theirs = theirs.double()
    assert sorted(mine.state_dict()) == sorted(theirs.state_dict())
    theirs.load_state_dict({name: torch.tensor(x) for name, x in mine.state_dict().items()})
    for mode in (True, True, False):
        x = RNG.normal(size=shape)
        y, t = mine.train(mode)(x), theirs.train(mode)(torch.tensor(x))
        tight = 1e-10 if all(p.dtype != np.float32 for p in mine.state_dict().values() if isinstance(p, np.ndarray)) else 1e-5
        np.testing.assert_allclose(y.data, t.detach().numpy(), rtol=tight, atol=tight / 100)


# ---- modes and BatchNorm ---------------------------------------------------------------------------------------------


def test_modes_reach_every_layer():
    class Net(Module):
        def __init__(self):
            self.parts = {"a": [Dropout(0.5, generator=0)], "b": Sequential(Dropout(0.5, generator=1), BatchNorm1d(4))}
            self.head = self.parts["b"]  # in two places, still one

        def forward(self, x):
            return self.parts["b"](self.parts["a"][0](x))

    net = Net()
    assert len(net.modules()) == 5
    x = np.ones((3, 4))
    assert (net(x).data != net(x).data).any()
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    np.testing.assert_array_equal(net(x).data, net(x).data)
    net.train()
    assert all(module.training for module in net.modules())
    with pytest.raises(InputError, match="defines neither forward nor __call__"):
        Module()(1)
    assert MLP(2, [3, 1]).eval()([1.0, 2.0]).data is not None


def test_calibration_takes_the_statistics_of_the_whole_set():
    net = Sequential(Linear(3, 4, dtype="float64", generator=0), BatchNorm1d(4, dtype="float64"), Dropout(0.5),
                     Linear(4, 5, dtype="float64", generator=1), BatchNorm1d(5, dtype="float64"))  # fmt: skip
    x = RNG.normal(size=(50, 3))
    net[1].train(False)
    calibrate(net, x)
    h = net[0](x).data
    np.testing.assert_allclose(net[1].running_mean.data, h.mean(0), rtol=1e-12)
    np.testing.assert_allclose(net[1].running_var.data, h.var(0, ddof=1), rtol=1e-12)
    net.eval()
    y = net(x).data  # the second layer was calibrated on what it sees in evaluation
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(0, ddof=1), 1, rtol=1e-3)
    assert (net[1].momentum, net[1].num_batches_tracked.item()) == (0.1, 0)
    net.train()
    net[1].eval()
    calibrate(net, x)
    assert [layer.training for layer in net] == [True, False, True, True, True]
    with pytest.raises(InputError, match="no BatchNorm1d"):
        calibrate(Linear(1, 1), x)


def test_a_batch_of_one_is_one_clear_sentence():
    net = names_net()
    with pytest.raises(InputError, match=r"more than one value per channel .* shape \(1, 200\); take a larger batch, or eval"):
        net(np.zeros((1, 3), int))
    assert net.eval()(np.zeros((1, 3), int)).shape == (1, 27)
    with pytest.raises(InputError):  # nothing has been lost: the mode comes back
        calibrate(net.train(), np.zeros((1, 3), int))
    assert net[3].training
    assert net[3].momentum == 0.1


# ---- how they start --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "selu", "leaky_relu"])
def test_gains(name):
    assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.3))


@pytest.mark.parametrize("name", ["kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_"])
@pytest.mark.parametrize("shape", [(300, 200), (100, 40, 5)])
def test_starts_have_pytorchs_spread(name, shape):
    choices = [{"mode": "fan_out", "nonlinearity": "tanh"}, {"a": 0.2}, {}] if "kaiming" in name else [{"gain": 2.5}, {}]
    for options in choices:
        mine, theirs = Tensor(np.ones(shape)), torch.ones(shape, dtype=torch.float64)
        assert getattr(init, name)(mine, **options, generator=0) is mine
        getattr(torch.nn.init, name)(theirs, **options)
        assert mine.data.std() == pytest.approx(theirs.numpy().std(), rel=0.03)
        assert abs(mine.data.mean()) < 0.05 * mine.data.std()
        if "uniform" in name:
            assert np.abs(mine.data).max() == pytest.approx(theirs.abs().max().item(), rel=0.01)


def test_plain_starts():
    w = Tensor(np.ones((100, 100)), dtype="float32", requires_grad=True)
    assert init.normal_(w, 3.0, 0.5, generator=0).data.mean() == pytest.approx(3.0, abs=0.02)
    assert w.data.std() == pytest.approx(0.5, rel=0.02)
    assert w.dtype == np.float32
    assert w.requires_grad
    init.uniform_(w, -1.0, 2.0, generator=0)
    assert -1.0 <= w.data.min() < -0.99 < 1.99 < w.data.max() <= 2.0
    assert (init.zeros_(w).data == 0).all()
    assert (init.ones_(w).data == 1).all()
    assert (init.constant_(w, 0.25).data == 0.25).all()


def test_layers_start_as_pytorchs():
    w, b = Linear(50, 400, generator=0).weight.data, Linear(50, 400, generator=0).bias.data
    bound = 1 / math.sqrt(50)
    for x in (w, b):
        assert 0.98 * bound < np.abs(x).max() <= bound
        assert x.dtype == np.float32
    e = Embedding(300, 50, generator=0).weight.data
    assert e.std() == pytest.approx(1.0, rel=0.02)


def test_seeds():
    manual_seed(5)
    a = Linear(3, 2).weight.data
    b = Linear(3, 2).weight.data
    manual_seed(5)
    np.testing.assert_array_equal(Linear(3, 2).weight.data, a)
    assert (a != b).any()
    state = init.default_generator().bit_generator.state
    c = Linear(3, 2).weight.data
    init.default_generator().bit_generator.state = state
    np.testing.assert_array_equal(Linear(3, 2).weight.data, c)
    np.testing.assert_array_equal(Linear(3, 2, generator=1).weight.data, Linear(3, 2, generator=1).weight.data)


# ---- files and copies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_save_and_load_bring_back_every_number_and_buffer(tmp_path, dtype):
    pytest.importorskip("safetensors")
    net = names_net(dtype)
    net(batch()[0])
    net.save(tmp_path / "net.safetensors")
    other = names_net(dtype, generator=1).load(tmp_path / "net.safetensors")
    state, loaded = net.state_dict(), other.state_dict()
    assert list(state) == list(loaded)
    assert "3.running_mean" in state
    for name, x in state.items():
        assert x.dtype == loaded[name].dtype
        np.testing.assert_array_equal(x, loaded[name])
    assert loaded["3.num_batches_tracked"] == 1
    x = batch()[0]
    np.testing.assert_array_equal(net.eval()(x).data, other.eval()(x).data)
    with pytest.raises(ModelFileError, match=r"5.weight has shape \(26, 200\) and not \(27, 200\)"):
        net.load_state_dict({**state, "5.weight": np.zeros((26, 200))})


def test_alike_layers_survive_folding(tmp_path):
    pytest.importorskip("safetensors")
    net = Sequential(BatchNorm1d(3), BatchNorm1d(3), Linear(3, 3), Linear(3, 3))
    net(RNG.normal(size=(4, 3)))
    net.save(tmp_path / "net.safetensors")
    other = Sequential(BatchNorm1d(3), BatchNorm1d(3), Linear(3, 3), Linear(3, 3)).load(tmp_path / "net.safetensors")
    for name, x in net.state_dict().items():
        np.testing.assert_array_equal(x, other.state_dict()[name])


def test_a_copy_is_independent():
    net = names_net()
    twin = copy.deepcopy(net)
    x, y = batch()
    functional.cross_entropy(twin(x), y).backward()
    assert net[0].weight.grad is None
    assert net[3].num_batches_tracked.item() == 0
    assert twin[3].num_batches_tracked.item() == 1
    np.testing.assert_array_equal(twin.eval()(x).data == net.eval()(x).data, False)  # other statistics


def test_a_frozen_parameter_is_not_trained_but_saved():
    layer = Linear(2, 2)
    layer.bias.requires_grad = False
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert list(layer.state_dict()) == ["weight", "bias"]


# ---- the summary -----------------------------------------------------------------------------------------------------


def test_summary():
    net = names_net().train()
    report = summary(net, (32, 3))
    assert report.parameters == 12297
    assert report.buffers == 401
    assert [row[2] for row in report.rows] == [(32, 3, 10), (32, 30), (32, 200), (32, 200), (32, 200), (32, 27)]
    assert [row[3] for row in report.rows] == [270, 0, 6200, 400, 0, 5427]
    assert "5  Linear(200, 27)" in str(report)
    assert str(report).endswith("12,297 parameters and 401 in buffers")
    assert net[3].training
    assert net[3].num_batches_tracked.item() == 0
    assert "forward" not in vars(net[0])
    nested = Sequential(Sequential(Linear(2, 3), ReLU()), Linear(3, 1))
    assert [row[0] for row in summary(nested, (1, 2)).rows] == ["0.0", "0.1", "1"]
    with pytest.raises(InputError, match=r"^layer 0, Sequential: layer 0, Linear\(2, 3\): linear takes"):
        summary(nested, (1, 3))
    assert "forward" not in vars(nested[0][0])


def test_a_summary_counts_what_is_shared_once_and_what_lies_beside_layers():
    shared = Linear(3, 3)

    class Scaled(Module):
        def __init__(self):
            self.scale, self.inner = Tensor(np.ones(3), requires_grad=True), shared

        def forward(self, x):
            return self.inner(x) * self.scale

    model = Sequential(shared, Scaled(), shared)
    report = summary(model, np.ones((2, 3), np.float32))
    assert [(name, count) for name, _, _, count in report.rows] == [("0", 12), ("0", 0), ("1", 3), ("0", 0)]
    assert sum(count for *_, count in report.rows) == report.parameters == 15
    assert "Scaled" in str(report)


@pytest.mark.parametrize("inputs", [3, "32", (2, -1), (2, 1.5), None])
def test_a_summary_wants_a_shape_or_a_batch(inputs):
    with pytest.raises(InputError, match="the shape of a batch"):
        summary(Sequential(Linear(2, 3)), inputs)


def test_a_summary_records_nothing():
    seen = []

    class Watching(Module):
        def forward(self, x):
            seen.append((x.requires_grad, self.training))
            return x

    summary(Sequential(Linear(2, 3), Watching()), (4, 2))
    assert seen == [(False, False)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Linear(0, 3), "in_features must be a whole number of at least 1, not 0"),
        (lambda: Linear(2, 1.5), "out_features must be"),
        (lambda: Embedding(-1, 2), "num_embeddings"),
        (lambda: BatchNorm1d("a"), "num_features"),
        (lambda: LayerNorm((2, 0)), "each of normalized_shape"),
        (lambda: Dropout(-0.1), "probability"),
        (lambda: Sequential([Linear(1, 1)]), "each as an argument of its own; argument 0"),
        (lambda: Flatten(2)(np.ones((2, 3))), r"axis 2 on does not fit a tensor of shape \(2, 3\)"),
        (lambda: Linear(1, 1, generator=-1), "a seed of at least 0"),
        (lambda: init.kaiming_normal_(Tensor([1.0])), r"not for shape \(1,\)"),
        (lambda: init.calculate_gain("tahn"), "did you mean 'tanh'"),
        (lambda: init.kaiming_normal_(Tensor([[1.0]]), mode="fan"), "'fan_in' or 'fan_out'"),
        (lambda: Linear(2, 1)(np.ones((3, 4))), r"linear takes .* not \(3, 4\), \(1, 2\), \(1,\)"),
    ],
)
def test_errors_are_one_sentence(wrong, words):
    with pytest.raises(InputError, match=words):
        wrong()


# ---- optimisers on tensors -------------------------------------------------------------------------------------------

OPTIMISERS = {
    "SGD": {"lr": 0.1},
    "SGD momentum": {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    "SGD nesterov": {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    "Adam": {"lr": 0.01},
    "Adam amsgrad": {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1},
    "AdamW": {"lr": 0.01, "weight_decay": 0.1},
}


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_twenty_steps_of_each_optimiser_as_in_pytorch(name, dtype):
    kind, options = name.split()[0], OPTIMISERS[name]
    # No bias below BatchNorm: its gradient is rounding alone, which Adam would blow up to steps of lr.
    mine = names_net(dtype, bias=False)
    theirs = torch_net(mine.state_dict(), getattr(torch, dtype), bias=False)
    unused, torch_unused = Tensor(np.ones(3), requires_grad=True), torch.ones(3, requires_grad=True)
    ours = getattr(optim, kind)([*mine.parameters(), unused], **options)
    peer = getattr(torch.optim, kind)([*theirs.parameters(), torch_unused], **options)
    losses = []
    for _ in range(20):
        x, y = batch()
        loss = functional.cross_entropy(mine(x), y)
        torch_loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        ours.zero_grad()
        peer.zero_grad()
        loss.backward()
        torch_loss.backward()
        ours.step()
        peer.step()
        losses.append((loss.item(), torch_loss.item()))
    tight = 1e-9 if dtype == "float64" else 2e-3
    np.testing.assert_allclose(*zip(*losses, strict=True), rtol=tight)
    for (label, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        assert p.dtype == dtype
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=tight, atol=tight, err_msg=label)
    assert unused.grad is None
    assert unused.tolist() == [1.0, 1.0, 1.0]  # never reached: neither stepped nor decayed


def test_an_optimiser_refuses_what_is_not_finite():
    w = Tensor([1.0, 2.0], requires_grad=True, label="w")
    w.grad = np.array([1.0, np.nan])
    with pytest.raises(NonFiniteError, match=r"gradient of parameter 0 \(w\) holds NaN"):
        optim.SGD([w], lr=0.1).step()
    assert w.tolist() == [1.0, 2.0]


def test_a_layer_that_is_exchanged_is_used():
    model = Sequential(Linear(2, 3, generator=0), Tanh(), Linear(3, 1, generator=1))
    x, new = np.ones((4, 2)), Linear(2, 3, generator=2)
    setattr(model, "0", new)
    assert model[0] is new
    assert model.parameters()[0] is new.weight
    assert model(x).tolist() == model[2](model[1](new(x))).tolist()
    for name, layer in (("3", Tanh()), ("00", Tanh()), ("\u0661", Tanh()), ("1", 3)):
        with pytest.raises(InputError, match=r"takes a layer in place of one that it has \(0, 1, 2\)"):
            setattr(model, name, layer)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_what_does_not_fit_is_named_in_one_order(tmp_path):
    Sequential(*(Linear(2, 2) for _ in range(4))).save(tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match=r"unexpected 0\.bias, 0\.weight, 1\.bias and 5 more$"):
        Sequential(Tanh()).load(tmp_path / "model.safetensors")
