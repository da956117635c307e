"""A program written as text and read again computes the same, to the last bit."""

import json

import numpy as np
import pytest

import chainrule
from chainrule import Value
from chainrule.compiler.builder import Builder
from chainrule.compiler.program import Program
from chainrule.compiler.reference import Executable
from chainrule.compiler.stored import from_json, to_json
from chainrule.errors import CompileError, ModelFileError
from chainrule.nn import MLP, functional
from chainrule.tensor import Tensor


def step_of_scalars():
    model = MLP(2, [4, 1])
    table = [Value(0.1 * i) for i in range(5)]

    def loss(X, i):
        return sum((model(x) + chainrule.take(table, k)) ** 2 for x, k in zip(X, i, strict=True)) / len(X)

    step = chainrule.compile(loss, model.parameters() + table)
    step(np.array([[0.1, 0.2], [1.0, -1.0], [0.5, 2.0]]), np.array([0, 4, 0]))
    return step


def step_of_tensors():
    rng = np.random.default_rng(0)
    W = Tensor(rng.normal(size=(3, 4)), requires_grad=True)
    step = chainrule.compile(lambda X, y: functional.cross_entropy((X @ W).tanh(), y), [W])
    step(rng.normal(size=(5, 3)), np.array([0, 1, 2, 3, 0]))
    return step


@pytest.mark.parametrize("make", [step_of_scalars, step_of_tensors])
def test_a_stored_program_computes_the_same(make):
    program = make().program.expanded(Builder())
    again = from_json(to_json(program))
    assert {x.name for x in again.inputs} == {x.name for x in program.inputs}  # constants may have been folded on the way
    rng = np.random.default_rng(1)
    given = {x.name: rng.integers(0, 3, x.shape) if x.dtype.kind == "i" else rng.normal(size=x.shape) for x in program.inputs}
    one, two = Executable(program).run(given), Executable(again).run(given)
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(two[name], array)


def test_what_is_no_number_survives():
    builder = Builder()
    x = builder.input("x", (3,))
    program = Program({"y": x + builder.constant([np.nan, np.inf, 0.1])})
    found = Executable(from_json(to_json(program))).run({"x": np.zeros(3)})["y"]
    np.testing.assert_array_equal(found, [np.nan, np.inf, 0.1])


def test_rows_that_not_every_executor_knows_are_refused():
    with pytest.raises(CompileError, match="cross_entropy cannot be stored; expand the program first"):
        to_json(step_of_tensors().program)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "lines": [{}], "outputs": {}}'])
def test_other_texts_are_refused(text):
    with pytest.raises(ModelFileError):
        from_json(text)


def test_an_unknown_row_is_named():
    builder = Builder()
    fields = json.loads(to_json(Program({"y": builder.input("x", ()) * 2.0})))
    fields["lines"][-1]["op"] = "erf"
    with pytest.raises(ModelFileError, match="'erf'"):
        from_json(json.dumps(fields))
