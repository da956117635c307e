"""A program written as text and read again computes the same, to the last bit."""

import contextlib
import json
import random
import re

import numpy as np
import pytest

import chainrule
from chainrule import Value
from chainrule.compiler import lines, native
from chainrule.compiler.builder import Builder
from chainrule.compiler.program import Program
from chainrule.compiler.reference import Executable
from chainrule.compiler.stored import from_json, to_json
from chainrule.errors import ChainruleError, CompileError, InputError, ModelFileError
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


# ---- what a text may not ask for -------------------------------------------------------------------------------------


def stored(*lines, **outputs):
    return json.dumps({"version": 1, "lines": list(lines), "outputs": outputs or {"y": len(lines) - 1}})


def given_x(*shape, dtype="float64"):
    return {"shape": shape, "dtype": dtype, "name": "x"}


def row(op, inputs, shape, dtype="float64", /, **options):
    return {"shape": shape, "dtype": dtype, "op": op, "inputs": inputs, "options": options}


INDEX_OF = {"shape": [2], "dtype": "int64"}
INDEX = {**INDEX_OF, "name": "i"}
FAR = {"offset": 0, "shape": [1000, 1000], "strides": [4000, 4]}
WRONG = {
    "it reads elements 0 to 3999996 of an array of 3": [given_x(3), row("view", [0], [1000, 1000], **FAR)],
    "it reads elements -1 to 1": [given_x(3), row("view", [0], [3], offset=1, shape=[3], strides=[-1])],
    "it reads elements 5 to 5": [given_x(3), row("view", [0], [], offset=5, shape=[], strides=[])],
    "offset 0.5 is no whole number": [given_x(3), row("view", [0], [2], offset=0.5, shape=[2], strides=[1])],
    r"strides \[1\] are not those of 2 axes": [given_x(3), row("view", [0], [1, 2], offset=0, shape=[1, 2], strides=[1])],
    r"it makes an array of shape \(2,\), not \(3,\)": [given_x(3), row("view", [0], [3], offset=0, shape=[2], strides=[1])],
    "it reads elements 0 to 4 of an array of 3": [given_x(3), row("unview", [0], [3], offset=0, strides=[2], size=3)],
    r"\(3,\), not \(4,\)": [given_x(3), row("tanh", [0], [4])],
    "it takes 1 input, not 2": [given_x(3), row("tanh", [0, 0], [3])],
    "its input 1 is none of the 1 lines before it": [given_x(3), row("tanh", [1], [3])],
    "its input -1 is none": [given_x(3), row("tanh", [-1], [3])],
    "its input True is none": [given_x(3), row("tanh", [True], [3])],
    "the row 'erf' is not known": [given_x(3), row("erf", [0], [3])],
    "it takes no options, not slow": [given_x(3), row("tanh", [0], [3], slow=True)],
    "it takes the options axis, keepdims, not axis": [given_x(3), row("sum", [0], [], axis=[0])],
    r"axis \[1\] is no list of axes": [given_x(3), row("sum", [0], [3], axis=[1], keepdims=False)],
    r"axis \[0, 0\] is no list of axes": [given_x(3), row("sum", [0], [], axis=[0, 0], keepdims=False)],
    "has no elements to choose from": [given_x(0), row("amax", [0], [], axis=[0], keepdims=False)],
    "have no product": [given_x(3, 2), row("matmul", [0, 0], [3, 2])],
    "do not broadcast": [given_x(3), {**given_x(2), "name": "z"}, row("add", [0, 1], [3])],
    "cannot be joined": [given_x(3, 2), {**given_x(3, 3), "name": "z"}, row("concatenate", [0, 1], [6, 2], axis=0)],
    "axis 2 is no axis": [given_x(3), row("concatenate", [0, 0], [6], axis=2)],
    "an index is of whole numbers, not of float64": [given_x(3), row("gather", [0, 0], [3])],
    "a single number has no rows": [given_x(), INDEX, row("gather", [0, 1], [2])],
    "there are no rows to choose from": [given_x(0), INDEX, row("gather", [0, 1], [2])],
    "index 3 is out of range for 3 rows": [given_x(3), {**INDEX_OF, "data": [0, 3]}, row("gather", [0, 1], [2])],
    "rows of shape": [given_x(3), INDEX, row("scatter_rows", [0, 1], [5], size=5)],
    "it makes float64, not int64": [given_x(3), row("view", [0], [2], "int64", offset=0, shape=[2], strides=[1])],
    "it makes bool, not float64": [given_x(3), row("less", [0, 0], [3])],
    "it takes numbers, not bool": [given_x(3, dtype="bool"), row("add", [0, 0], [3])],
    "no arrays of 'object' in programs": [given_x(3, dtype="object")],
    "no arrays of 'complex128' in programs": [given_x(3, dtype="complex128")],
    r"\[-1\] is no shape": [given_x(-1)],
    r"\[1.5\] is no shape": [given_x(1.5)],
    "is too large": [given_x(2**30, 2**30)],
    "40 axes are more than 32": [given_x(*[1] * 40)],
    "its data are not 3 elements of float64": [{"shape": [3], "dtype": "float64", "data": ["1", "2", "3"]}],
    "its data are not 4 elements": [{"shape": [4], "dtype": "float64", "data": [1.0]}],
    "its data do not fit into int8": [{"shape": [1], "dtype": "int8", "data": [300]}],
    "a name of its own, not 'x'": [given_x(3), given_x(3)],
    "it is no line": [{**given_x(3), "op": "tanh"}],
}  # fmt: skip


@pytest.mark.parametrize("sentence", WRONG)
def test_a_line_that_does_not_hold_together_is_refused_in_one_sentence(sentence):
    with pytest.raises(ModelFileError, match=sentence) as caught:
        from_json(stored(*WRONG[sentence]))
    assert str(caught.value).startswith(f"line {len(WRONG[sentence])} of the program")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("output", [2, -1, "0", True, None])
def test_an_output_that_is_no_line_is_refused(output):
    with pytest.raises(ModelFileError, match="output 'y' of the program is line"):
        from_json(stored(given_x(3), row("tanh", [0], [3]), y=output))


def test_the_reference_executor_reads_no_elements_that_are_not_there():
    """A program that a hand has made wrongly, past every check of where it came from, and arrays that do not fit."""
    builder = Builder()
    x = builder.input("x", (3,))
    far = builder.make(lines.VIEW, (x,), (2,), x.dtype, {"offset": 10**9, "shape": (2,), "strides": (1,)})
    with pytest.raises(CompileError, match="a view reads elements 1000000000 to 1000000001 of an array of 3"):
        Executable(Program({"y": far})).run({"x": np.zeros(3)})
    program = Executable(Program({"y": builder.view(x, 1, (2,), (1,))}))
    with pytest.raises(InputError, match=r"input 'x' is float64 of shape \(3,\), not float64 of shape \(1,\)"):
        program.run({"x": np.zeros(1)})
    with pytest.raises(InputError, match="the input 'x' is missing"):
        program.run({})
    with pytest.raises(InputError, match="not float32"):
        program.bind("x", np.zeros(3, np.float32))


def mutated(rng, x):
    """A copy of a JSON value with one place in it changed."""
    if isinstance(x, (dict, list)) and x and rng.random() < 0.97:
        copy = dict(x) if isinstance(x, dict) else list(x)
        key = rng.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
        what = rng.random()
        if what < 0.9:
            copy[key] = mutated(rng, copy[key])
        elif what < 0.95:
            del copy[key]
        elif isinstance(copy, list):
            copy.insert(key, copy[rng.randrange(len(copy))])
        else:
            copy[rng.choice(["op", "name", "data", "axis", "size"])] = copy[key]
        return copy
    if isinstance(x, int) and not isinstance(x, bool) and rng.random() < 0.7:
        return x + rng.choice([-7, -2, -1, 1, 1, 2, 5, 100])
    return rng.choice(
        [None, True, -1, 0, 1, 2, 3, 7, 1.5, "x", "tanh", "view", "gather", "int64", "bool", [], [0], [2, 3], {}, 10**6, 2**63]
    )


@pytest.mark.parametrize("make", [step_of_scalars, step_of_tensors])
def test_a_changed_text_is_refused_or_runs(make):
    """Thousands of texts with a few places changed: no crash, and no error but of our own."""
    good, rng = json.loads(to_json(make().program.expanded(Builder()))), random.Random(7)
    ran, told = 0, set()
    for _ in range(1500):
        fields = good
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            fields = mutated(rng, fields)
        try:
            program = from_json(json.dumps(fields))
        except ModelFileError as error:
            told.add(re.sub(r"\d+", "N", str(error)))
            continue
        if sum(line.size for line in program.lines) > 10**6:
            continue
        given = {x.name: np.zeros(x.shape, x.dtype) for x in program.inputs}
        for kind in (Executable, *([native.Executable] if native.available() else [])):
            with contextlib.suppress(ChainruleError):
                kind(program).run(given)
        ran += 1
    assert ran > 50
    assert len(told) > 50
    assert not [sentence for sentence in told if "\n" in sentence]
