import copy
import inspect
import sys
import threading

import pytest

from chainrule import Tensor, Value, engine, inputs_first, nn, ops, tensor
from chainrule import compile as compiled
from chainrule.origins import Patches, record


def line():
    return inspect.currentframe().f_back.f_lineno


def test_a_node_keeps_the_line_that_made_it():
    a, b = Value(2.0), Value(3.0)
    with record():
        c, here = a * b, line()
        d = -c
    e = d + 1
    assert (c.origin.file, c.origin.line) == (__file__, here)
    assert d.origin.line == here + 1
    assert (a.origin, e.origin) == (None, None)
    assert str(c.origin) == f"test_origins.py:{here}"


@pytest.mark.parametrize("op", ops.BUILT_IN, ids=lambda op: op.name)
@pytest.mark.parametrize("kind", [Value, lambda x: Tensor([x, x], requires_grad=True)], ids=["Value", "Tensor"])
def test_every_row_is_seen(op, kind):
    xs = [kind(0.5) for _ in range(op.arity)]
    with record():
        by_name, here = engine.apply(op, *xs), line()
        by_method = getattr(xs[0], op.method)(*xs[1:]) if hasattr(xs[0], op.method) else by_name
    assert by_name.origin.line == here
    assert by_method.origin is not None


def test_swapped_operands_builtin_sums_and_array_rows_are_seen():
    x, t = Value(2.0), Tensor([[1.0, 2.0]], requires_grad=True)
    with record():
        nodes = [1 - x, 2**x, sum([x, x]), abs(x), t.sum(), t @ t.T, t[0], t.mean(1, keepdim=True)]
    assert all(node.origin for root in nodes for node in inputs_first(root) if node.op)


def test_modules_name_the_nodes_made_in_their_calls():
    model = nn.MLP(2, [3, 2])
    with record():
        first, second = model([1.0, 2.0]), model([3.0, 4.0])
        other = nn.MLP(1, [1])(first[0])
    assert [y.origin.modules for y in first] == [("MLP", "Layer 2", "Neuron 1"), ("MLP", "Layer 2", "Neuron 2")]
    assert [y.origin.call for y in (first[0], second[0], other)] == [1, 2, 1]
    assert {n.origin.modules[:2] for n in inputs_first(first[0]) if n.op} == {("MLP", "Layer 1"), ("MLP", "Layer 2")}


def test_modules_of_users_and_their_attributes_are_named():
    class Gate(nn.Module):
        def __call__(self, x):
            return x * 2

    class Net(nn.Module):
        def __init__(self):
            self.body, self.gates = nn.Sequential(nn.Linear(2, 2), nn.Tanh()), {"in": Gate(), "out": Gate()}

        def forward(self, x):
            return self.gates["out"](self.body(x))

    with record():
        y = Net()(Tensor([[1.0, 2.0]]))
    assert [n.origin.modules for n in inputs_first(y) if n.op] == [
        ("Net", "body", "Linear 1"),
        ("Net", "body", "Tanh 2"),
        ("Net", "Gate out"),
    ]


def test_an_error_within_a_module_leaves_no_module_open():
    model, x = nn.MLP(2, [1]), Value(1.0)
    with record():
        with pytest.raises(ValueError, match="takes 2 inputs"):
            model([1.0])
        y = x * x
    assert y.origin.modules == ()


def test_everything_is_as_before_afterwards():
    before = dict(vars(engine.Value)), engine._apply, tensor._node, nn.MLP.__call__, nn.Module.__call__
    with pytest.raises(ZeroDivisionError), record(), record():
        raise ZeroDivisionError
    assert before == (dict(vars(engine.Value)), engine._apply, tensor._node, nn.MLP.__call__, nn.Module.__call__)


def test_other_threads_record_nothing_and_may_leave_in_any_order():
    x, original = Value(2.0), vars(engine.Value)["__mul__"]
    inside, left, found = threading.Event(), threading.Event(), []

    def work():
        found.append((x * x).origin)
        with record():
            inside.set()
            assert left.wait(10)
            found.append((x * x).origin)

    thread = threading.Thread(target=work)
    with record():
        thread.start()
        assert inside.wait(10)
    left.set()  # the first to come has left before the second
    thread.join()
    assert found[0] is None
    assert found[1].file == __file__
    assert vars(engine.Value)["__mul__"] is original
    assert not Patches._layers


def test_compiling_within_it_works_and_the_other_way_round():
    x = Value(2.0)

    def loss():
        with record():
            return x * x

    with record():
        step = compiled(loss, [x])
        assert step() == 4.0
        y = x * x
    assert y.origin is not None
    assert not Patches._layers


def test_an_origin_is_freed_with_its_node_and_no_copy_has_one():
    y = Value(1.0, label="a") * 2
    mark = y._origin = ("any", "tuple", object())
    held = sys.getrefcount(mark)
    assert copy.deepcopy(y).origin is None
    del y
    assert sys.getrefcount(mark) == held - 1


def test_parameters_of_a_module_that_was_called_have_names():
    model, free = nn.MLP(2, [3, 1]), Value(1.0)
    with record():
        y = model([1.0, free])
    assert model.layers[1].neurons[0].b.origin.name == "layers.1.neurons.0.b"
    assert (free.origin, y.origin.name) == (None, "")
    from chainrule.show import explain

    y.backward()
    assert "layers.1.neurons.0.b" in str(explain(y, top=20))
