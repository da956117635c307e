"""Networks: micrograd's names, numbers and graphs; finding, saving and loading parameters; bad input."""

import collections
import copy
import errno
import importlib
import io
import json
import math
import os
import pathlib
import pickle
import random
import resource
import signal
import struct
import sys

import numpy as np
import pytest

from chainrule import Value, inputs_first
from chainrule.errors import InputError, MissingDependencyError, ModelFileError, NotANumberError
from chainrule.nn import MLP, Layer, Module, Neuron, l2, max_margin
from chainrule.nn.modelfile import fold, unfold

safetensors_numpy = importlib.import_module("safetensors.numpy")


@pytest.fixture(scope="module")
def micrograd():
    if os.environ.get("CI") != "true":  # there, a missing peer is a failure
        pytest.importorskip("micrograd")
    return importlib.import_module("micrograd.nn"), importlib.import_module("micrograd.engine")


def two_moons(samples, seed=0):
    """Points on two interleaved half circles with noise, and labels of -1 and 1."""
    rng = random.Random(seed)
    points, labels = [], []
    for i in range(samples):
        t, upper = math.pi * rng.random(), i % 2 == 0
        x, y = (math.cos(t), math.sin(t)) if upper else (1 - math.cos(t), 0.5 - math.sin(t))
        points.append([x + rng.gauss(0, 0.1), y + rng.gauss(0, 0.1)])
        labels.append(-1 if upper else 1)
    return points, labels


def moons_loss(model, value, points, labels):
    """The loss of micrograd's demo, in calls that both libraries have."""
    scores = [model(list(map(value, row))) for row in points]
    losses = [(1 + -y * score).relu() for y, score in zip(labels, scores, strict=True)]
    data_loss = sum(losses) * (1.0 / len(losses))
    return data_loss + 1e-4 * sum(p * p for p in model.parameters())


def loss_curve(nn, value, sizes, steps, samples):
    random.seed(1337)
    model = nn.MLP(2, sizes)
    points, labels = two_moons(samples)
    curve = []
    for k in range(steps):
        loss = moons_loss(model, value, points, labels)
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= (1.0 - 0.9 * k / 100) * p.grad
        curve.append(loss.data)
    return curve


# ---- as micrograd ---------------------------------------------------------------------------------------------------


def test_same_weights_as_micrograd(micrograd):
    random.seed(1337)
    theirs = [p.data for p in micrograd[0].MLP(2, [16, 16, 1]).parameters()]
    random.seed(1337)
    ours = [p.data for p in MLP(2, [16, 16, 1]).parameters()]
    assert len(ours) == 337
    assert ours == theirs


def test_same_loss_curve_as_micrograd(micrograd):
    import chainrule.nn

    ours = loss_curve(chainrule.nn, Value, [8, 8, 1], steps=40, samples=16)
    theirs = loss_curve(micrograd[0], micrograd[1].Value, [8, 8, 1], steps=40, samples=16)
    assert ours[0] == theirs[0]  # the same additions in the same order
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert ours[-1] < ours[0] / 2


@pytest.mark.parametrize("sizes", [[1], [3], [4, 2], [4, 4, 1]])
def test_same_reprs_and_outputs_as_micrograd(micrograd, sizes):
    random.seed(5)
    theirs = micrograd[0].MLP(3, sizes)
    random.seed(5)
    ours = MLP(3, sizes)
    assert repr(ours) == repr(theirs)
    a, b = ours([2.0, 3, -1.0]), theirs([2.0, 3, -1.0])
    assert isinstance(a, list) == isinstance(b, list)
    assert [x.data for x in (a if isinstance(a, list) else [a])] == [x.data for x in (b if isinstance(b, list) else [b])]


PROGRAM = """
random.seed(42)
n = Neuron(2, nonlin=False)
layer = Layer(2, 3, nonlin=True)
model = MLP(3, [4, 4, 1])
print(n, layer, model, len(model.parameters()), model.layers[1].neurons[2].nonlin, isinstance(model, Module))
xs = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
ys = [1.0, -1.0, -1.0, 1.0]
for k in range(20):
    out = [model(x) for x in xs]
    loss = sum((o - y) ** 2 for y, o in zip(ys, out))
    model.zero_grad()
    loss.backward()
    for p in model.parameters():
        p.data += -0.01 * p.grad
    print(k, f"{loss.data:.10f}", f"{model.layers[0].neurons[0].w[0].grad:.10f}", f"{model.layers[0].neurons[0].b.data:.10f}")
print([f"{o.data:.10f}" for o in layer(n.w)], f"{n([Value(1.5), 2]).data:.10f}")


class Twice(Module):
    def __init__(self):
        self.inner = MLP(2, [2, 1])

    def __call__(self, x):
        return self.inner(x) * 2

    def parameters(self):
        return self.inner.parameters()


twice = Twice()
twice([1.0, -2.0]).backward()
print(len(twice.parameters()), [f"{p.grad:.10f}" for p in twice.parameters()])
twice.zero_grad()
print(sum(p.grad for p in twice.parameters()))
print(Module().parameters())
"""


def test_program_for_micrograd_runs_with_only_imports_changed(micrograd):
    def printed(package):
        lines = []
        names = {"random": random, "print": lambda *args: lines.append(" ".join(map(str, args)))}
        exec(f"from {package}.engine import Value\nfrom {package}.nn import Neuron, Layer, MLP, Module\n", names)
        exec(PROGRAM, names)
        return lines

    ours, theirs = printed("chainrule"), printed("micrograd")
    ours[-2] = ours[-2].replace("0.0", "0")  # the sum of gradients: a float is a float
    assert len(ours) == 25
    assert ours == theirs


def test_moons_step_has_the_nodes_of_micrograd():
    random.seed(1337)
    model = MLP(2, [16, 16, 1])
    points, labels = two_moons(100)
    assert len(inputs_first(moons_loss(model, Value, points, labels))) == 65_818
    scores = [model(list(map(Value, row))) for row in points]
    with_our_losses = max_margin(scores, labels) + 1e-4 * l2(model.parameters())
    assert len(inputs_first(with_our_losses)) == 65_818


def test_neuron_adds_in_micrograds_order():
    neuron = Neuron(2, nonlin=False)
    x = [Value(1.0), Value(2.0)]
    last = neuron(x)
    first = last.inputs[0]
    assert first.inputs[0] is neuron.b
    assert first.inputs[1].inputs == (neuron.w[0], x[0])
    assert last.inputs[1].inputs[0] is neuron.w[1]


# ---- neurons --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "expected", "shown"),
    [
        ("relu", 0.7, "ReLUNeuron(2)"),
        ("tanh", math.tanh(0.7), "TanhNeuron(2)"),
        ("sigmoid", 1 / (1 + math.exp(-0.7)), "SigmoidNeuron(2)"),
        ("linear", 0.7, "LinearNeuron(2)"),
    ],
)
def test_activations(activation, expected, shown):
    neuron = Neuron(2, activation=activation)
    neuron.w[0].data, neuron.w[1].data, neuron.b.data = 0.5, -0.25, 0.2
    assert neuron([2.0, 2.0]).data == pytest.approx(expected, abs=1e-15)
    assert neuron([-2.0, 0.0]).data == pytest.approx(
        {"relu": 0.0, "tanh": math.tanh(-0.8), "sigmoid": 1 / (1 + math.exp(0.8)), "linear": -0.8}[activation], abs=1e-15
    )
    assert repr(neuron) == shown
    assert neuron.nonlin == (activation != "linear")


def test_nonlin_can_be_switched_off_later():
    neuron = Neuron(1, activation="tanh")
    neuron.w[0].data = 2.0
    neuron.nonlin = False
    assert neuron([3.0]).data == 6.0
    assert repr(neuron) == "LinearNeuron(1)"


def test_lecture_net_has_41_parameters_and_tanh_everywhere():
    model = MLP(3, [4, 4, 1], activation="tanh", output_activation="tanh")
    assert len(model.parameters()) == 41
    assert {n.activation for layer in model.layers for n in layer.neurons if n.nonlin} == {"tanh"}
    assert repr(model).count("TanhNeuron") == 9
    assert "Linear" not in repr(model)
    assert abs(model([9.0, 9.0, 9.0]).data) <= 1


def test_output_activation_is_of_the_last_layer_only():
    model = MLP(2, [3, 2], activation="sigmoid", output_activation="relu")
    assert repr(model) == (
        "MLP of [Layer of [SigmoidNeuron(2), SigmoidNeuron(2), SigmoidNeuron(2)], Layer of [ReLUNeuron(3), ReLUNeuron(3)]]"
    )


def test_inputs_of_every_kind():
    neuron = Neuron(2, nonlin=False)
    neuron.w[0].data, neuron.w[1].data = 2.0, 3.0
    row = np.array([1.0, 10.0])
    for x in ([1, 10], (1.0, 10.0), row, row.astype(np.float32), [Value(1), Value(10)], iter([1, 10])):
        assert neuron(x).data == 32.0
    layer = Layer(2, 3, nonlin=False)
    assert [y.data for y in layer(iter([1.0, 2.0]))] == [y.data for y in layer([1.0, 2.0])]


def test_one_number_is_a_list_of_one():
    neuron = Neuron(1, nonlin=False)
    neuron.w[0].data = 2.0
    assert neuron(Value(3.0)).data == neuron(3).data == neuron(np.float64(3)).data == 6.0
    random.seed(1)
    narrow = MLP(2, [1, 3])  # the one neuron of the first layer hands on a bare Value
    assert len(narrow([1.0, 2.0])) == 3


@pytest.mark.parametrize("x", [[1.0], [1.0, 2.0, 3.0], [], np.zeros((100, 2)), Value(1.0), 2.0])
def test_wrong_number_of_inputs(x):
    count = len(x) if hasattr(x, "__len__") else 1
    for net in (Neuron(2), Layer(2, 3), MLP(2, [3, 1])):
        with pytest.raises(InputError, match=rf"^ReLUNeuron\(2\) takes 2 inputs, not {count}$"):
            net(x)
    with pytest.raises(InputError, match=r"^LinearNeuron\(1\) takes 1 input, not 2$"):
        Neuron(1, nonlin=False)([1.0, 2.0])


def test_inputs_that_are_no_list():
    with pytest.raises(InputError, match="list of numbers or Values, not object"):
        Neuron(2)(object())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Neuron(2, activation="rleu"), r"must be one of relu, tanh, sigmoid, linear, not 'rleu'; did you mean 'relu'\?"),
        (lambda: Neuron(2, activation="Tanh"), r"not 'Tanh'; did you mean 'tanh'\?"),
        (lambda: Neuron(2, activation=None), "activation must be one of .* not None$"),
        (lambda: Neuron(2, activation=["relu"]), r"activation must be one of .* not \['relu'\]"),
        (lambda: MLP(2, [3, 1], activation="sigmod"), "did you mean 'sigmoid'"),
        (lambda: MLP(2, [3, 1], output_activation="lineer"), "output_activation must be .* did you mean 'linear'"),
        (lambda: MLP(2, [1], activation="tahn"), "did you mean 'tanh'"),
        (lambda: Neuron(0), "nin must be a whole number of at least 1, not 0"),
        (lambda: Neuron(2.5), "nin must be a whole number of at least 1, not 2.5"),
        (lambda: Neuron("2"), "nin must be a whole number of at least 1, not '2'"),
        (lambda: Layer(2, -1), "nout must be a whole number of at least 1, not -1"),
        (lambda: MLP(2, []), "nouts is the list of the layers' sizes"),
        (lambda: MLP(2, 16), "nouts is the list of the layers' sizes"),
        (lambda: MLP(2, [16, 0]), "nout must be"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_sizes_may_be_tuples_and_numpy_integers():
    assert len(MLP(np.int64(2), (np.int64(4), 1)).parameters()) == 17


# ---- finding parameters ---------------------------------------------------------------------------------------------


def test_named_parameters_of_an_mlp():
    model = MLP(2, [4, 1])
    names = [name for name, _ in model.named_parameters()]
    assert names[:4] == ["layers.0.neurons.0.w.0", "layers.0.neurons.0.w.1", "layers.0.neurons.0.b", "layers.0.neurons.1.w.0"]
    assert dict(model.named_parameters())["layers.0.neurons.3.w.1"] is model.layers[0].neurons[3].w[1]
    assert [id(p) for _, p in model.named_parameters()] == [id(p) for p in model.parameters()]


class Everything(Module):
    def __init__(self):
        self.rate = 0.5
        self.name = "net"
        self.leaf = Value(1.0)
        self.pair = (Value(2.0), [Value(3.0), "text", None])
        self.table = {"wte": [[Value(4.0)], [Value(5.0)]], 7: Value(6.0)}
        self.child = Neuron(1)
        self.same = self.leaf
        self.parent = self
        self.cached = self.leaf * 2
        self.mean = Value(9.0, requires_grad=False)


def test_the_walk():
    net = Everything()
    assert [name for name, _ in net.named_parameters()] == [
        *("leaf", "pair.0", "pair.1.0", "table.wte.0.0", "table.wte.1.0", "table.7", "child.w.0", "child.b"),
    ]
    assert len(net.parameters()) == 8
    assert list(net.state_dict()) == [*(name for name, _ in net.named_parameters()), "mean"]


def test_parameters_follow_the_attributes():
    model = MLP(2, [3, 1])
    model.scale = Value(2.0)
    model.layers.append(Layer(1, 1))
    assert len(model.parameters()) == 13 + 1 + 2


def test_freezing_keeps_the_number_in_the_state():
    neuron = Neuron(2)
    neuron.b.requires_grad = False
    assert [name for name, _ in neuron.named_parameters()] == ["w.0", "w.1"]
    assert list(neuron.state_dict()) == ["w.0", "w.1", "b"]
    neuron([1.0, 1.0]).backward()
    assert not neuron.b.has_grad


@pytest.mark.parametrize("key", ["a.b", "*", "", (1, 2), 1.5])
def test_dict_keys_that_make_no_name(key):
    module = Module()
    module.table = {key: Value(1.0)}
    assert len(module.parameters()) == 1  # it still trains
    with pytest.raises(InputError, match="cannot be part of a parameter's name"):
        module.named_parameters()


def test_dict_keys_that_make_one_name_twice():
    module = Module()
    module.table = {0: Value(1.0), "0": Value(2.0)}
    with pytest.raises(InputError, match=r"two parameters have the name 'table\.0'"):
        module.state_dict()


def test_zero_grad_forgets():
    model = MLP(2, [3, 1], activation="tanh")
    model([1.0, 2.0]).backward()
    assert all(p.has_grad for p in model.parameters())
    model.zero_grad()
    assert not any(p.has_grad for p in model.parameters())
    assert {p.grad for p in model.parameters()} == {0.0}


def test_models_are_copied_and_pickled():
    model = MLP(2, [3, 1])
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.state_dict() == model.state_dict()
        twin.parameters()[0].data += 1.0
        assert twin.state_dict() != model.state_dict()


# ---- state dicts ----------------------------------------------------------------------------------------------------


def test_state_dict_is_a_copy_that_json_can_hold():
    model = MLP(2, [3, 1])
    state = json.loads(json.dumps(model.state_dict()))
    before = [p.data for p in model.parameters()]
    for p in model.parameters():
        p.data += 1.0
    assert model.load_state_dict(state) == ([], [])
    assert [p.data for p in model.parameters()] == before


@pytest.mark.parametrize("state", [[1], None, "w", 3.0, {"b"}])
def test_a_state_is_a_dict(state):
    with pytest.raises(InputError, match=r"a state is a dict of numbers by name, as state_dict\(\) gives it, not \w+"):
        Neuron(1).load_state_dict(state)


def test_load_state_dict_names_what_does_not_match():
    neuron = Neuron(2)
    state = {"w.0": 1.0, "w.2": 2.0, "b": [3.0, 4.0]}
    before = neuron.state_dict()
    with pytest.raises(ModelFileError) as caught:
        neuron.load_state_dict(state)
    assert str(caught.value) == ("the state does not fit this Neuron: missing w.1; unexpected w.2; b has shape (2,) and not ()")
    assert neuron.state_dict() == before
    with pytest.raises(ModelFileError, match="shape"):
        neuron.load_state_dict(state, strict=False)
    assert neuron.state_dict() == before
    assert neuron.load_state_dict({"w.0": 7, "w.2": 2.0}, strict=False) == (["w.1", "b"], ["w.2"])
    assert neuron.state_dict() == {**before, "w.0": 7.0}


def test_long_lists_of_keys_are_cut():
    with pytest.raises(ModelFileError, match=r"missing layers\.0\.neurons\.0\.w\.0, .* and 10 more$"):
        MLP(2, [3, 1]).load_state_dict({})


@pytest.mark.parametrize("entry", ["1.0", None, Value(1.0), 1j, {"a": 1}])
def test_load_state_dict_takes_numbers_only(entry):
    neuron = Neuron(1)
    before = neuron.state_dict()
    with pytest.raises(ModelFileError, match="the state's entry 'b' is not a number but"):
        neuron.load_state_dict({"w.0": 5.0, "b": entry})
    assert neuron.state_dict() == before


# ---- files ----------------------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    path = tmp_path / "model.safetensors"
    random.seed(1)
    model = MLP(2, [16, 16, 1])
    model.parameters()[0].data = 0.1 + 1e-17
    model.parameters()[1].data = 5e-324
    model.save(path)
    random.seed(2)
    twin = MLP(2, [16, 16, 1]).load(path)
    assert twin.state_dict() == model.state_dict()  # to the last bit
    assert [x.name for x in tmp_path.iterdir()] == ["model.safetensors"]
    assert twin.load(str(path)) is twin


def test_file_layout(tmp_path):
    path = tmp_path / "model.safetensors"
    model = MLP(2, [16, 16, 1])
    model.save(path)
    tensors = safetensors_numpy.load_file(path)  # as any other program reads it
    assert {name: (x.shape, str(x.dtype)) for name, x in tensors.items()} == {
        "layers.0.neurons.*.w.*": ((16, 2), "float64"),
        "layers.0.neurons.*.b": ((16,), "float64"),
        "layers.1.neurons.*.w.*": ((16, 16), "float64"),
        "layers.1.neurons.*.b": ((16,), "float64"),
        "layers.2.neurons.*.w.*": ((1, 16), "float64"),
        "layers.2.neurons.*.b": ((1,), "float64"),
    }
    assert tensors["layers.1.neurons.*.w.*"][3, 5] == model.layers[1].neurons[3].w[5].data
    assert path.stat().st_size < 337 * 8 + 1000


def test_buffers_and_odd_structures_are_saved(tmp_path):
    path = tmp_path / "everything"
    net, twin = Everything(), Everything()
    for p in (*net.parameters(), net.mean):
        p.data = random.random()
    net.save(path)
    assert twin.load(path).state_dict() == net.state_dict()


def test_fold_and_unfold_are_inverse():
    for module in (MLP(1, [1]), MLP(3, [3, 3, 3]), MLP(2, [5, 2]), Everything(), Module()):
        state = module.state_dict()
        tensors = fold(state)
        assert unfold(tensors) == state
        assert all(x.ndim <= 2 for x in tensors.values())
    assert fold({"a.0": np.ones(3), "a.1": np.zeros(3), "a.2": np.ones(3)})["a.*"].shape == (3, 3)
    ragged = {"a.0": 1.0, "a.2": 2.0}
    assert sorted(fold(ragged)) == ["a.0", "a.2"]


def test_file_of_another_architecture(tmp_path):
    path = tmp_path / "model.safetensors"
    MLP(2, [8, 1]).save(path)
    model = MLP(2, [16, 16, 1])
    before = model.state_dict()
    with pytest.raises(ModelFileError) as caught:
        model.load(path)
    assert str(caught.value) == (
        f"{path} does not fit this MLP: missing layers.2.neurons.*.w.*, layers.2.neurons.*.b; "
        "layers.0.neurons.*.w.* has shape (8, 2) and not (16, 2), layers.0.neurons.*.b has shape (8,) and not (16,), "
        "layers.1.neurons.*.w.* has shape (1, 8) and not (16, 16) and 1 more"
    )
    assert model.state_dict() == before
    with pytest.raises(ModelFileError, match=r"does not fit this Neuron: missing w\.\*, b; unexpected "):
        Neuron(2).load(path)


def bytes_of(tensors):
    return safetensors_numpy.save(tensors)


def bfloat16():
    header = json.dumps({"b": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x,y,label\n1,2,0\n",
        b"\x80\x04K\x01.",
        pickle.dumps({"w": [1.0] * 100}),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        bfloat16(),
        bytes_of({"w.*": np.zeros(2, dtype=np.complex64), "b": np.zeros(())}),
    ],
)
def test_foreign_files(tmp_path, content):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    neuron = Neuron(2)
    before = neuron.state_dict()
    with pytest.raises(ModelFileError, match=r"foreign is not a model file") as caught:
        neuron.load(path)
    assert "\n" not in str(caught.value)
    assert neuron.state_dict() == before


def test_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "model"
    neuron = Neuron(2)
    neuron.save(path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="model is not a model file, or it is truncated"):
            neuron.load(path)


def test_file_of_other_programs_in_float32_loads(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(bytes_of({"w.*": np.array([0.5, 0.25], dtype=np.float32), "b": np.array(1, dtype=np.int64)}))
    assert Neuron(2).load(path).state_dict() == {"w.0": 0.5, "w.1": 0.25, "b": 1.0}


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ModelFileError, match=r"^cannot read the model file .*none: no such file or directory$"):
        Neuron(2).load(tmp_path / "none")
    with pytest.raises(ModelFileError, match=r"^cannot read the model file .*: is a directory$"):
        Neuron(2).load(tmp_path)
    with pytest.raises(ModelFileError, match=r"^cannot write the model file .*: no such file or directory$"):
        Neuron(2).save(tmp_path / "none" / "model")
    with pytest.raises(ModelFileError, match=r"^cannot write the model file .*: is a directory$"):
        Neuron(2).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_keeps_the_old_file(tmp_path):
    path = tmp_path / "model"
    model = MLP(2, [16, 16, 1])
    model.save(path)
    before = path.read_bytes()
    model.parameters()[0].data += 1.0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the kernel itself refuses to write on
    try:
        with pytest.raises(ModelFileError, match=r"^cannot write the model file .*model: file too large$"):
            model.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert [x.name for x in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("wrong", ["a", None, [1.0, 2.0], 1j, object(), {}], ids=lambda x: type(x).__name__)
def test_inputs_that_are_no_numbers_are_one_sentence(activation, wrong):
    net = MLP(2, [2, 1], activation=activation)
    with pytest.raises(
        NotANumberError, match=rf"^input 1 of \w+Neuron\(2\): a Value holds one real number, .*{type(wrong).__name__}"
    ):
        net([1.0, wrong])
    with pytest.raises(NotANumberError, match=r"^input 0 of ReLUNeuron\(2\): a Value holds one real number, not str 'a'"):
        Neuron(2)("ab")


def test_a_fault_inside_the_engine_is_not_blamed_on_the_inputs(monkeypatch):
    neuron = Neuron(1)
    monkeypatch.setattr(neuron, "activation", "no_such_function")
    with pytest.raises(AttributeError, match="no_such_function"):
        neuron([1.0])


class Slotted(Module):
    __slots__ = ("__private", "unset", "w")

    def __init__(self):
        self.b = Value(3.0)
        self.w = [Value(1.0)]
        self.__private = Value(2.0)


class MoreSlotted(Slotted):
    __slots__ = "extra"

    def __init__(self):
        super().__init__()
        self.extra = Value(4.0)


def test_slots_are_walked():
    found = {name: p.data for name, p in MoreSlotted().named_parameters()}
    assert found == {"_Slotted__private": 2.0, "w.0": 1.0, "extra": 4.0, "b": 3.0}
    other = MoreSlotted()
    other.load_state_dict(dict.fromkeys(found, 5.0))
    assert other.extra.data == other.w[0].data == 5.0


class Keeps(Module):
    def __init__(self, x):
        self.w = Value(1.0)
        self.x = x(self.w)


@pytest.mark.parametrize(
    ("kept", "kind"),
    [
        (lambda w: {Value(2.0)}, "set"),
        (lambda w: frozenset([Neuron(1)]), "frozenset"),
        (lambda w: [{(w, Value(2.0))}], "set"),
        (lambda w: collections.deque([Value(2.0)]), "deque"),
        (lambda w: np.array([[w], [Value(2.0)]]), "array"),
    ],
)
def test_parameters_that_would_be_overlooked_are_an_error(kept, kind):
    model = Keeps(kept)
    for ask in (model.parameters, model.named_parameters, model.state_dict, model.zero_grad):
        with pytest.raises(InputError, match=f"^this Keeps keeps parameters in a {kind}; keep them in a list, tuple or dict$"):
            ask()


@pytest.mark.parametrize(
    "kept", [lambda w: {w}, lambda w: {"a", 1}, lambda w: {w * 2}, lambda w: np.ones(3), lambda w: {Slotted}]
)
def test_sets_without_parameters_of_their_own_are_fine(kept):
    assert [name for name, _ in Keeps(kept).named_parameters()] == ["w"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_disk_errors_are_one_sentence(tmp_path, monkeypatch, code):
    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ModelFileError, match=f"^cannot write the model file .*model: {os.strerror(code).lower()}$"):
        Neuron(2).save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model"
    neuron = Neuron(2)
    neuron.save(path)
    before = path.read_bytes()

    def interrupt(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(pathlib.Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Neuron(2).save(path)
    assert path.read_bytes() == before
    assert [x.name for x in tmp_path.iterdir()] == ["model"]


def test_saving_leaves_random_alone(tmp_path):
    neuron = Neuron(2)
    random.seed(3)
    state = random.getstate()
    neuron.save(tmp_path / "model")
    neuron.load(tmp_path / "model")
    assert random.getstate() == state


def test_without_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    line = r"a model needs safetensors; install it with: pip install 'chainrule\[train\]'$"
    with pytest.raises(MissingDependencyError, match="^saving " + line):
        Neuron(2).save(tmp_path / "model")
    with pytest.raises(MissingDependencyError, match="^loading " + line):
        Neuron(2).load(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_loading_runs_no_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pathlib.Path.touch, (tmp_path / "exploded",))

    stream = io.BytesIO()
    pickle.dump(Bomb(), stream)
    (tmp_path / "bomb").write_bytes(stream.getvalue())
    with pytest.raises(ModelFileError):
        Neuron(2).load(tmp_path / "bomb")
    assert not (tmp_path / "exploded").exists()
