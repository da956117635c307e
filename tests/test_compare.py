"""`compare`, by mutation: mistakes planted in the hand-written backward pass of the names network are all seen and most of
them named; what is right is never accused. Then each promise of the docstring on small cases.

Print the table of the planted mistakes with: pytest tests/test_compare.py -k planted -s
"""

import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import chainrule
from chainrule import ops, tensor
from chainrule.check import compare, pullbacks
from chainrule.check.hypotheses import CAUSES
from chainrule.check.recording import Recording
from chainrule.errors import GraphError, InputError, NotANumberError
from chainrule.nn import functional
from chainrule.tensor import Tensor

BY_HAND = Path(__file__).parent.parent / "examples" / "by_hand"
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "path", [str(BY_HAND), *sys.path])
    import network
    import step1_every_gradient as step1
    from step2_cross_entropy import cross_entropy_gradient
    from step3_batchnorm import batchnorm_gradient

SOURCE = textwrap.dedent(inspect.getsource(step1.every_gradient))

# A line of step 1, what stands there instead ("" for nothing), and the right cause. `square` needs square matrices.
PLANTED = [
    ("dlogprobs[rows, Y] = -1.0 / n", "dlogprobs[rows, Y] = 1.0 / n", "sign"),
    ("dlogprobs[rows, Y] = -1.0 / n", "dlogprobs[rows, Y] = -1.0", "times n"),
    ("dlogprobs[rows, Y] = -1.0 / n", "dlogprobs[rows, X[:, 2]] = -1.0 / n", "wrong place"),
    ("dprobs = dlogprobs / t.probs", "dprobs = 1.0 / t.probs", "upstream forgotten"),
    ("dprobs = dlogprobs / t.probs", "dprobs = dlogprobs * t.probs", "wrong factor"),
    ("(dprobs * t.counts).sum(1, keepdims=True)", "dprobs * t.counts", "missing sum"),
    ("(dprobs * t.counts).sum(1, keepdims=True)", "(dprobs * t.counts).sum(0, keepdims=True)", "wrong axis"),
    ("dcounts_sum = -(t.counts_sum**-2)", "dcounts_sum = (t.counts_sum**-2)", "sign"),
    ("dcounts += np.ones_like(t.counts) * dcounts_sum", "dcounts = np.ones_like(t.counts) * dcounts_sum", "= for +="),
    ("dcounts += np.ones_like(t.counts) * dcounts_sum", "", "missing path"),
    ("dnorm_logits = dcounts * t.counts", "dnorm_logits = dcounts * t.norm_logits", "x for y"),
    ("dlogit_maxes = -dnorm_logits", "dlogit_maxes = dnorm_logits", "sign"),
    ("-dnorm_logits.sum(1, keepdims=True)", "0 * dnorm_logits.sum(1, keepdims=True)", "missing path"),
    ("dlogits += (t.logits == t.logit_maxes) * dlogit_maxes", "", "missing path"),
    ("dlogits += (t.logits == t.logit_maxes) * dlogit_maxes", "dlogits += dlogit_maxes", "index forgotten"),
    ("dh = dlogits @ t.W2.T", "dh = dlogits @ t.W2", "transposed"),
    ("dh = dlogits @ t.W2.T", "dh = dlogits * t.W2.T", "elementwise for matmul"),
    ("dW2 = t.h.T @ dlogits", "dW2 = dlogits.T @ t.h", "transposed"),
    ("dW2 = t.h.T @ dlogits", "dW2 = t.h.T @ dlogits / n", "divided by n"),
    ("db2 = dlogits.sum(0)", "db2 = dlogits", "missing sum"),
    ("db2 = dlogits.sum(0)", "db2 = dlogits.sum()", "extra sum"),
    ("dhpreact = (1.0 - t.h**2) * dh", "dhpreact = (1.0 - t.hpreact**2) * dh", "x for y"),
    ("dhpreact = (1.0 - t.h**2) * dh", "dhpreact = 1.0 - t.h**2", "upstream forgotten"),
    ("dhpreact = (1.0 - t.h**2) * dh", "dhpreact = (1.0 - t.h) ** 2 * dh", "wrong power"),
    ("(t.bnraw * dhpreact).sum(0, keepdims=True)", "(t.bnraw * dhpreact).sum(0)", "axis lost"),
    ("dbnraw = t.bngain * dhpreact", "dbnraw = t.bnraw * dhpreact", "wrong factor"),
    ("(t.bnvar + EPS) ** -1.5", "(t.bnvar + EPS) ** -0.5", "wrong power"),
    ("(t.bnvar + EPS) ** -1.5", "t.bnvar**-1.5", "term forgotten"),
    ("dbnvar / (n - 1)", "dbnvar / n", "n for n-1"),
    ("dbnvar / (n - 1)", "dbnvar", "times n-1"),
    ("dbndiff += 2.0 * t.bndiff * dbndiff2", "dbndiff += t.bndiff * dbndiff2", "constant factor"),
    ("dbndiff += 2.0 * t.bndiff * dbndiff2", "dbndiff = 2.0 * t.bndiff * dbndiff2", "= for +="),
    ("dbnmeani = -dbndiff.sum(0, keepdims=True)", "dbnmeani = -dbndiff.sum(0)", "axis lost"),
    ("dhprebn += np.ones_like(t.hprebn) * dbnmeani / n", "", "missing path"),
    ("dhprebn += np.ones_like(t.hprebn) * dbnmeani / n", "dhprebn += dbnmeani", "times n"),
    ("dW1 = t.embcat.T @ dhprebn", "dW1 = t.embcat.T @ dhpreact", "wrong upstream"),
    ("db1 = dhprebn.sum(0)", "db1 = 0 * dhprebn.sum(0)", "missing path"),
    ("db1 = dhprebn.sum(0)", "db1 = -dhprebn.sum(0)", "sign"),
    ("demb = dembcat.reshape(t.emb.shape)", "demb = dembcat.reshape(n, -1, 3).transpose(0, 2, 1)", "wrong place"),
    ("np.add.at(dC, X, demb)", "dC[X] = demb", "= for +="),
]  # fmt: skip
SQUARE = {"dh = dlogits @ t.W2", "dh = dlogits * t.W2.T"}


def backward_of(source, t, X, Y):
    """The gradients of a backward pass in source, and its lines as functions of the gradients above them."""
    names = dict(vars(step1))
    exec(source, names)
    mine = names["every_gradient"](t, X, Y)
    return mine, {name: line_of(source, name, mine, t, X, Y) for name in mine}


def line_of(source, name, mine, t, X, Y):
    """All statements that make d<name>, as one function of the gradients they are made from."""
    body = ast.parse(source).body[0].body
    lines = [ast.unparse(node) for node in body if re.match(rf"(np\.add\.at\()?d{name}\b", ast.unparse(node))]
    code = compile("\n".join(lines), name, "exec")

    def line(**gradients):
        n = len(Y)
        found = {"d" + other: g for other, g in mine.items() if other != name}
        found |= {"np": np, "EPS": step1.EPS, "t": t, "X": X, "Y": Y, "n": n, "rows": np.arange(n), **gradients}
        exec(code, found)
        return found["d" + name]

    return line


def judged(source, seed=0, n=32, hidden=64, dtype=np.float64, lines=True):
    p, X, Y = network.batch(n, seed, hidden)
    p = {name: array.astype(dtype) for name, array in p.items()}
    mine, again = backward_of(source, network.forward(p, X, Y), X, Y)
    engine = vars(network.on_tensors(p, X, Y))
    return compare(mine, {name: engine[name] for name in mine}, root=engine["loss"], again=again if lines else None, rng=seed)


def planted(line, altered):
    assert SOURCE.count(line) == 1, line
    letters = len(network.examples(network.words()[:2000])[2])
    sizes = {"n": letters, "hidden": letters} if altered in SQUARE else {}
    return judged(SOURCE.replace(line, altered), **sizes)


def test_of_40_planted_mistakes_none_is_accepted_and_34_are_named():
    assert len(PLANTED) == 40
    assert {cause for *_, cause in PLANTED} <= set(CAUSES)
    named = 0
    for line, altered, right in PLANTED:
        report = planted(line, altered)
        assert not report, altered
        assert report.verdict != "proves nothing", altered
        at_fault = re.search(r"d(\w+?)(?:\[| \+?=|,)", next(x for x in SOURCE.splitlines() if line in x))[1]
        ok = report.cause == right and report.culprit.name == at_fault
        named += ok
        sys.stdout.write(f"{'+' if ok else '-'} {altered or 'no ' + line:60} {right:22} {report.culprit}\n")
    sys.stdout.write(f"{named} of {len(PLANTED)} named\n")
    assert named >= 39  # (1 - h)**2 for 1 - h**2 is in no bank


# Planted after the bank was made, except for the last hypothesis, "wrong factor" by the name of another array.
HELD_OUT = [
    ("dcounts = dprobs * t.counts_sum_inv", "dcounts = dprobs * t.counts", "wrong factor"),
    ("(dprobs * t.counts).sum(1, keepdims=True)", "(dprobs * t.counts).mean(1, keepdims=True)", "divided by n"),
    ("(dprobs * t.counts).sum(1, keepdims=True)", "(dprobs * t.probs).sum(1, keepdims=True)", "wrong factor"),
    ("dnorm_logits = dcounts * t.counts", "dnorm_logits = dcounts.copy()", "slope forgotten"),
    ("(t.bndiff * dbnraw).sum(0", "(t.bnraw * dbnraw).sum(0", "wrong factor"),
    ("dbnvar = -0.5", "dbnvar = 0.5", "sign"),
    ("dbnvar = -0.5", "dbnvar = -1.0", "constant factor"),
    ("dbndiff = t.bnvar_inv * dbnraw", "dbndiff = dbnraw.copy()", "slope forgotten"),
    ("dembcat = dhprebn @ t.W1.T", "dembcat = dhpreact @ t.W1.T", "wrong upstream"),
    ("db2 = dlogits.sum(0)", "db2 = dlogits.sum(0, keepdims=True)", "axis added"),
    ("db2 = dlogits.sum(0)", "db2 = dnorm_logits.sum(0)", "wrong upstream"),
    ("dbnbias = dhpreact.sum(0, keepdims=True)", "dbnbias = dhpreact.mean(0, keepdims=True)", "divided by n"),
    ("dbnbias = dhpreact.sum(0, keepdims=True)", "dbnbias = dh.sum(0, keepdims=True)", "wrong upstream"),
    ("(1.0 - t.h**2) * dh", "(1.0 - t.h) * dh", "wrong power"),
    ("(1.0 - t.h**2) * dh", "-(t.h**2) * dh", "missing path"),
    ("dcounts_sum = -(t.counts_sum**-2)", "dcounts_sum = -(t.counts_sum**-1)", "wrong power"),
    ("dbngain = (t.bnraw *", "dbngain = (t.bndiff *", "wrong factor"),
    ("dprobs = dlogprobs / t.probs", "dprobs = dlogprobs / t.logprobs", "x for y"),
    ("dbnmeani = -dbndiff.sum(0, keepdims=True)", "dbnmeani = -dbndiff.sum(1, keepdims=True)", "wrong axis"),
    ("dhprebn += np.ones_like(t.hprebn) * dbnmeani / n", "dhprebn += dbnmeani / (n - 1)", "n-1 for n"),
    ("dhprebn = dbndiff.copy()", "dhprebn = dbnraw.copy()", "wrong upstream"),
    ("dW2 = t.h.T @ dlogits", "dW2 = t.hpreact.T @ dlogits", "wrong factor"),
    ("np.add.at(dC, X, demb)", "np.add.at(dC, X, demb / n)", "divided by n"),
    ("np.add.at(dC, X, demb)", "np.add.at(dC, X[:, ::-1], demb)", "wrong place"),
    ("dlogits += (t.logits == t.logit_maxes)", "dlogits -= (t.logits == t.logit_maxes)", "sign"),
    ("dbndiff2 = np.ones_like(t.bndiff2) * dbnvar", "dbndiff2 = t.bndiff * dbnvar", "wrong factor"),
]


def test_of_26_more_none_is_accepted_and_24_are_named():
    found = [planted(line, altered) for line, altered, _ in HELD_OUT]
    assert not any(found)
    missed = [wrong[1] for wrong, report in zip(HELD_OUT, found, strict=True) if report.cause != wrong[2]]
    assert missed == ["db2 = dnorm_logits.sum(0)", "np.add.at(dC, X[:, ::-1], demb)"]


ZERO_BY_NATURE = {
    "dlogit_maxes = dnorm_logits",
    "0 * dnorm_logits.sum(1, keepdims=True)",
    "db1 = 0 * dhprebn.sum(0)",
    "db1 = -dhprebn.sum(0)",
    "",
}


def test_without_the_lines_what_zeros_cannot_prove_is_said():
    """Of the four that pass the lecture's cmp three are not accepted, and the skipped path of zeros is pointed out."""
    for line, altered, _ in PLANTED:
        if altered in SQUARE:
            continue
        report = judged(SOURCE.replace(line, altered), lines=False)
        assert not report
        if altered not in ZERO_BY_NATURE:
            assert report.verdict not in ("right", "proves nothing"), altered
        elif report.verdict == "proves nothing":
            assert {each.name for each in report.values() if not each} == {"logit_maxes", "b1"}
            assert "the path logits -> logit_maxes carries zero and is not proved" in report["logits"].evidence


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_no_correct_gradient_is_accused_on_20_seeds(dtype):
    for seed in range(20):
        report = judged(SOURCE, seed, n=(32, 13, 5)[seed % 3], hidden=(64, 21)[seed % 2], dtype=dtype)
        assert report, str(report)
        assert (report.cause, report.verdict, report.culprit) == ("", "right", None)
        assert len(report) == 26


def test_wrong_in_float32_is_wrong_there_too():
    for line, altered, _ in PLANTED:
        if altered not in SQUARE and altered != "t.bnvar**-1.5":  # 1e-5 of 1 is what float32 rounds away here
            assert not judged(SOURCE.replace(line, altered), dtype=np.float32), altered


@pytest.mark.parametrize("seed", range(20))
def test_the_closed_forms_are_right_and_their_mistakes_are_named(seed):
    p, X, Y = network.batch(seed=seed)
    t, engine = network.forward(p, X, Y), network.on_tensors(p, X, Y)
    n, dhpreact = len(Y), step1.every_gradient(t, X, Y)["hpreact"]
    dlogits = cross_entropy_gradient(t.logits, Y)
    assert compare(dlogits, engine.logits, root=engine.loss)
    dhprebn = batchnorm_gradient(dhpreact, t.bnraw, t.bngain, t.bnvar_inv)
    assert compare(dhprebn, engine.hprebn, root=engine.loss)
    wrong = {
        "times n": compare(dlogits * n, engine.logits, root=engine.loss),
        "missing path": compare(t.probs / n, engine.logits, root=engine.loss),
        "sign": compare(-dlogits, engine.logits, root=engine.loss),
        "n for n-1": compare(batchnorm_without_bessel(t, dhpreact), engine.hprebn, root=engine.loss),
    }
    assert {name: report.cause for name, report in wrong.items()} == {name: name for name in wrong}
    constant = compare(t.bngain * t.bnvar_inv * dhpreact, engine.hprebn, root=engine.loss)
    assert constant.cause == "missing path"
    assert "bnmeani" in constant.evidence


def batchnorm_without_bessel(t, dhpreact):
    n = len(dhpreact)
    along = t.bnraw * (dhpreact * t.bnraw).sum(0)
    return t.bngain * t.bnvar_inv / n * (n * dhpreact - dhpreact.sum(0) - along)


# ---- small cases -----------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(7)


def small(dtype=np.float64):
    """x (4, 3) @ w (3, 5) + b, tanh, weighted sum: tensors and true gradients."""
    draw = {"x": (4, 3), "w": (3, 5), "b": (1, 5)}
    leaves = {k: Tensor(RNG.normal(size=s).astype(dtype), requires_grad=True, label=k) for k, s in draw.items()}
    t = SimpleNamespace(**leaves)
    t.z = t.x @ t.w + t.b
    t.h = t.z.tanh()
    t.weight = RNG.normal(size=(4, 5)).astype(dtype)
    t.loss = (t.h * t.weight).sum()
    t.z.label, t.h.label, t.loss.label = "z", "h", "loss"
    t.loss.backward(retain_grad=True)
    return t


def test_shape_first_nothing_is_broadcast():
    t = small()
    report = compare(t.b.grad[0], t.b, root=t.loss)
    assert not report
    assert (report.verdict, report.cause) == ("wrong shape", "axis lost")
    assert "(5,)" in str(report)
    assert "(1, 5)" in str(report)
    assert compare(t.b.grad[None], t.b).cause == "axis added"
    assert compare(t.w.grad.T, t.w).cause == "transposed"
    assert compare(np.ones((2, 2)), t.w, root=t.loss).cause == "unknown"


def test_dtype_next():
    t = small(np.float32)
    report = compare(t.x.grad.astype(np.float64), t.x, root=t.loss)
    assert report.verdict == "wrong dtype"
    assert "float32" in report.evidence
    assert "float64" in report.evidence
    assert compare(np.ones((4, 3), np.int64), t.x).verdict == "wrong dtype"


def test_nan_is_never_right():
    t = small()
    bad = t.x.grad.copy()
    bad[2, 1] = np.nan
    for options in ({}, {"root": t.loss}):
        report = compare(bad, t.x, **options)
        assert (report.verdict, report.at, bool(report)) == ("not finite", (2, 1), False)


def test_exact_approximate_and_wrong():
    t = small()
    assert compare(t.x.grad, t.x, root=t.loss).verdict == "exact"
    near = compare(t.x.grad * (1 + 4e-16), t.x, root=t.loss)
    assert near.verdict == "approximate"
    assert 0 < near.difference < 1e-14
    far = t.x.grad.copy()
    far[3, 0] += 1e-9
    report = compare(far, t.x, root=t.loss)
    assert not report
    assert report.at == (3, 0)
    assert report.difference == pytest.approx(1e-9, rel=1e-4)


def test_a_tensor_without_root_is_judged_by_its_own_grad():
    t = small()
    assert compare(t.z.grad, t.z)
    assert compare(t.z.grad, t.z).name == "z"
    t.z.grad = None
    with pytest.raises(InputError, match="z has no gradient yet: pass root=loss"):
        compare(np.ones((4, 5)), t.z)


def test_what_was_made_from_a_wrong_gradient_follows():
    t = small()
    dz = -t.z.grad
    report = compare({"z": dz, "x": dz @ t.w.data.T, "w": t.x.data.T @ dz * 4}, {"z": t.z, "x": t.x, "w": t.w}, root=t.loss)
    assert {name: each.verdict for name, each in report.items()} == {"z": "wrong", "x": "follows", "w": "wrong"}
    assert report.culprit.name == "z"
    assert (report.cause, report["x"].evidence) == ("sign", "right for the z it was made from")
    assert report["w"].cause == "times n"  # its own mistake, although z is wrong as well
    single = compare(dz @ t.w.data.T, t.x, root=t.loss, upstream={"z": dz})
    assert single.verdict == "follows"


def test_rounding_or_mistake_is_told_by_running_the_line_again():
    t = small(np.float32)
    dz = t.z.grad
    rough = (t.x.data.T @ dz) + np.float32(3e-5) * RNG.normal(size=(3, 5)).astype(np.float32)
    assert not compare(rough, t.w, root=t.loss)
    report = compare(rough, t.w, root=t.loss, again=lambda dz: t.x.data.T @ dz)
    assert report.verdict == "rounding"
    assert report
    still = compare(rough, t.w, root=t.loss, again=lambda dz: (t.x.data.T @ dz) * 1.0001)
    assert still.verdict == "wrong"


def test_a_zero_by_nature_proves_nothing_until_it_is_tried_again():
    x = Tensor(RNG.normal(size=(6, 4)), requires_grad=True, label="x")
    b = Tensor(RNG.normal(size=4), requires_grad=True, label="b")
    z = x + b
    z.label = "z"
    centred = z - z.mean(0, keepdim=True)
    loss = (centred * Tensor(RNG.normal(size=(6, 4)))).sum()
    report = compare(np.zeros(4), b, root=loss)
    assert (report.verdict, bool(report)) == ("proves nothing", False)
    assert compare(np.zeros(4), b, root=loss, again=lambda dz: dz.sum(0)).verdict in ("exact", "approximate")
    assert compare(np.zeros(4), b, root=loss, again=lambda dz: 0 * dz.sum(0)).cause == "missing path"
    assert compare(np.zeros(4), b, root=loss, again=lambda g: -g.sum(0)).cause == "sign"  # in order, not by name
    assert compare(np.zeros(4), b, root=loss, again=lambda dz: dz).cause == "missing sum"
    assert compare(np.full(4, 0.1), b, root=loss).verdict == "wrong"
    assert compare(np.zeros(3), np.zeros(3)).verdict == "proves nothing"
    with pytest.raises(InputError, match="again takes the gradients it is made from, here dz; not one, two"):
        compare(np.zeros(4), b, root=loss, again=lambda one, two: one)


def test_causes_without_a_graph_from_numbers_and_keywords():
    x, g, m = RNG.normal(size=(4, 5)), RNG.normal(size=(4, 5)), RNG.normal(size=(5, 5))
    y = np.tanh(x)
    true = g * (1 - y * y)
    known = {"inputs": [x], "output": y, "upstream": g}
    assert compare(true, true, **known).verdict == "exact"
    assert compare(-true, true).cause == "sign"
    assert compare(true * 4, true).cause == "times n"
    assert compare(true / 3, true).cause == "divided by n-1"
    assert compare(true * 1.7, true).cause == "constant factor"
    assert compare(g * (1 - x * x), true, **known).cause == "x for y"
    assert compare(1 - y * y, true, **known).cause == "upstream forgotten"
    assert compare(g, true, **known).cause == "slope forgotten"
    assert compare(true.sum(0), true).cause == "extra sum"
    assert compare(np.broadcast_to(true.sum(0), true.shape).copy(), true).cause == "extra sum"
    square = m @ m.T
    assert compare(m * m, square, upstream=m, inputs=[m]).cause == "elementwise for matmul"
    assert compare((m @ m.T @ m).T, m @ m.T @ m).cause == "transposed"
    assert compare(y, true + y, paths=[true, y]).cause == "= for +="
    assert compare(true, true + y, paths=[true, y]).cause == "missing path"
    assert compare(RNG.normal(size=(4, 5)), true, **known).cause == "unknown"


def test_a_graph_of_fused_rows_is_judged_as_well():
    x = Tensor(RNG.normal(size=(6, 4)), requires_grad=True, label="x")
    loss = -(x.log_softmax(1)[np.arange(6), np.array([0, 1, 2, 3, 0, 1])]).mean()
    dx = np.exp(x.data) / np.exp(x.data).sum(1, keepdims=True)
    dx[np.arange(6), [0, 1, 2, 3, 0, 1]] -= 1
    assert compare(dx / 6, x, root=loss)
    assert compare(dx, x, root=loss).cause == "times n"


def test_misuse_is_one_sentence():
    t = small()
    with pytest.raises(InputError, match="root is the tensor of one element"):
        compare(t.x.grad, t.x, root=t.h)
    with pytest.raises(InputError, match="the second argument is the tensor"):
        compare(t.x.grad, t.x.grad, root=t.loss)
    with pytest.raises(InputError, match="other is not in the recorded graph of root"):
        compare(np.ones(2), Tensor([1.0, 2.0], requires_grad=True), name="other", root=t.loss)
    with pytest.raises(InputError, match="there is no true gradient for 'hh'; did you mean 'h'"):
        compare({"hh": t.h.grad}, {"h": t.h}, root=t.loss)
    with pytest.raises(InputError, match="again has 'y', which is no gradient of mine"):
        compare({"h": t.h.grad}, {"h": t.h}, root=t.loss, again={"y": lambda dh: dh})
    with pytest.raises(InputError, match="upstream has 'dz', which is no label in the graph"):
        compare(t.x.grad, t.x, root=t.loss, upstream={"dz": t.z.grad})


def test_a_table_shows_every_gradient_and_where_to_look():
    t = small()
    report = compare({"x": t.x.grad, "w": -t.w.grad}, {"x": t.x, "w": t.w}, root=t.loss)
    lines = str(report).splitlines()
    assert len(lines) == 3
    assert any(line.startswith("ok  x") for line in lines)
    assert any(line.startswith("--  w") and "sign" in line for line in lines)
    assert lines[-1] == "1 of 2 gradients right; look at w first"
    assert not report
    assert compare({"x": t.x.grad}, {"x": t.x.grad}).verdict == "right"


def test_the_judges_gradients_are_the_engines():
    """The comparer walks the graph itself; its gradients are those of backward, and its edges add up to them."""
    t = small()
    recording = Recording(t.loss)
    for x in (t.x, t.w, t.b, t.z, t.h):
        np.testing.assert_allclose(recording.grads[x], x.grad, rtol=1e-14)
        direct = [edge.total for edge in recording.edges(x) if edge.direct]
        np.testing.assert_allclose(sum(direct), x.grad, rtol=1e-14)
        assert (recording.sizes(x) >= abs(x.grad) * (1 - 1e-12)).all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_fused_rows_of_nn_are_known(reduction):
    functional = pytest.importorskip("chainrule.nn.functional")
    x = Tensor(RNG.normal(size=(7, 3)), requires_grad=True, label="x")
    w = Tensor(RNG.normal(size=(4, 3)), requires_grad=True, label="w")
    z = functional.linear(x, w)
    z.label = "z"
    labels = np.array([0, 1, 2, 3, 0, 1, 2])
    loss = functional.cross_entropy(z, Tensor(labels), reduction=reduction)
    dz = cross_entropy_gradient(z.data, labels) * (1 if reduction == "mean" else 7)
    report = compare({"z": dz, "x": dz @ w.data, "w": dz.T @ x.data}, {"z": z, "x": x, "w": w}, root=loss)
    assert report, str(report)
    assert compare(-dz, z, root=loss).cause == "sign"
    assert compare(dz.T @ x.data / 7, w, root=loss).cause == "divided by n"


def test_saturated_tanh_in_float32_is_rounding_not_a_mistake():
    x = Tensor((RNG.normal(size=200) * 4).astype(np.float32), requires_grad=True, label="x")
    y = x.tanh()
    loss = (y * y).sum()
    assert compare((1 - y.data**2) * 2 * y.data, x, root=loss)
    assert compare((1 - y.data) * (1 + y.data) * 2 * y.data, x, root=loss)
    assert compare((1 - x.data**2) * 2 * y.data, x, root=loss).cause == "x for y"


# ---- every row of both tables ----------------------------------------------------------------------------------------


def fitted_to(dx, like):
    """Summed over what broadcasting had repeated."""
    axes = tuple(i for i, n in enumerate(like.shape) if n == 1 and dx.shape[i] != 1)
    return dx.sum(axis=axes, keepdims=True) if axes else dx


def logistic(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


SLOPES = {
    "add": (lambda a, b: np.ones_like(a * b), lambda a, b: np.ones_like(a * b)),
    "sub": (lambda a, b: np.ones_like(a * b), lambda a, b: -np.ones_like(a * b)),
    "mul": (lambda a, b: b, lambda a, b: a),
    "div": (lambda a, b: 1 / b, lambda a, b: -a / b**2),
    "neg": (lambda x: -np.ones_like(x),),
    "pow": (lambda a, b: b * a ** (b - 1), lambda a, b: a**b * np.log(a)),
    "exp": (np.exp,),
    "log": (lambda x: 1 / x,),
    "log1p": (lambda x: 1 / (x + 1),),
    "sqrt": (lambda x: 0.5 * x**-0.5,),
    "sin": (np.cos,),
    "cos": (lambda x: -np.sin(x),),
    "tanh": (lambda x: 1 - np.tanh(x) ** 2,),
    "sigmoid": (lambda x: np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))) ** 2,),
    "relu": (lambda x: (x > 0) * x.dtype.type(1),),
    "softplus": (logistic,),
    "abs": (np.sign,),
    "maximum": (lambda a, b: (a > b) * a.dtype.type(1), lambda a, b: (b > a) * a.dtype.type(1)),
    "minimum": (lambda a, b: (a < b) * a.dtype.type(1), lambda a, b: (b < a) * a.dtype.type(1)),
}
POSITIVE = {"log": (0,), "sqrt": (0,), "log1p": (0,), "pow": (0,), "div": (1,)}


def elementwise(name):
    def case(draw, rng):
        op = ops.TABLE[name]
        xs = [draw(4, 5), draw(1, 5)][: op.arity]
        xs = [np.abs(x) + x.dtype.type(1e-3) if i in POSITIVE.get(name, ()) else x for i, x in enumerate(xs)]
        if name in ("exp", "softplus", "sigmoid"):
            xs = [np.clip(x, -80, 80) for x in xs]
        if name == "pow":
            xs[1] = np.clip(xs[1], -5, 5)
        leaves = [Tensor(x, requires_grad=True) for x in xs]

        def hand(g):
            return [fitted_to(g * slope(*xs), x) for slope, x in zip(SLOPES[name], xs, strict=True)]

        return leaves, tensor.apply(op, *leaves), hand

    return case


def where_case(draw, rng):
    c, a, b = rng.random((4, 5)) > 0.5, draw(4, 5), draw(1, 5)
    leaves = [Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)]
    return leaves, chainrule.where(c, *leaves), lambda g: [g * c, fitted_to(g * ~c, b)]


def one(name, size, hand, **options):
    """A row of one input with fixed options; hand takes g and the array."""

    def case(draw, rng):
        x = draw(*size)
        leaf = Tensor(x, requires_grad=True)
        return [leaf], tensor._apply_array(name, (leaf,), **options), lambda g: [hand(g, x)]

    return case


def softmax_by_hand(g, x):
    p = softmax(x, 1)
    return p * (g - (g * p).sum(1, keepdims=True))


def log_softmax_by_hand(g, x):
    return g - softmax(x, 1) * g.sum(1, keepdims=True)


def matmul_case(draw, rng):
    a, b = draw(4, 6), draw(6, 3)
    leaves = [Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)]
    return leaves, leaves[0] @ leaves[1], lambda g: [g @ b.T, a.T @ g]


def joined(name, hand):
    def case(draw, rng):
        leaves = [Tensor(draw(3, 4), requires_grad=True), Tensor(draw(3, 4), requires_grad=True)]
        return leaves, tensor._apply_array(name, tuple(leaves), axis=0), hand

    return case


def linear_case(draw, rng):
    x, w, b = draw(7, 6), draw(5, 6), draw(5)
    leaves = [Tensor(each, requires_grad=True) for each in (x, w, b)]
    return leaves, functional.linear(*leaves), lambda g: [g @ w, g.T @ x, g.sum(0)]


def embedding_case(draw, rng):
    w, index = draw(6, 3), rng.integers(0, 6, (4, 2))
    leaf = Tensor(w, requires_grad=True)

    def hand(g):
        dw = np.zeros_like(w)
        np.add.at(dw, index, g)
        return [dw]

    return [leaf], functional.embedding(index, leaf), hand


def cross_entropy_case(draw, rng):
    x, labels = draw(6, 4), rng.integers(0, 4, 6)
    leaf, reduction = Tensor(x, requires_grad=True), ("mean", "sum", "none")[rng.integers(3)]

    def hand(g):
        dx = softmax(x, 1)
        dx[np.arange(6), labels] -= 1
        return [(dx / 6 if reduction == "mean" else dx) * np.reshape(g, (-1, 1))]

    return [leaf], functional.cross_entropy(leaf, labels, reduction), hand


def batch_norm_case(draw, rng):
    shape, axes = [((9, 3), (0,)), ((4, 3, 5), (0, 2))][rng.integers(2)]
    unbiased = bool(rng.integers(2))
    x, w, b = draw(*shape), draw(3), draw(3)
    leaves = [Tensor(each, requires_grad=True) for each in (x, w, b)]
    wide = (-1,) + (1,) * (len(shape) - 2)
    n, m = x.size // 3, x.size // 3 - unbiased

    def hand(g):
        mean = x.mean(axes, keepdims=True)
        s = (((x - mean) ** 2).sum(axes, keepdims=True) / m + x.dtype.type(1e-5)) ** -0.5
        raw = (x - mean) * s
        dw, db = (g * raw).sum(axes), g.sum(axes)
        dx = w.reshape(wide) * s * (g - db.reshape(wide) / n - raw * dw.reshape(wide) / m)
        return [dx, dw, db]

    return leaves, functional.batch_norm(leaves[0], None, None, *leaves[1:], training=True, unbiased=unbiased), hand


def deviations(g, x):
    return g * 2 / (len(x) - 1) * (x - x.mean(0, keepdims=True))


def placed(g, x, index):
    dx = np.zeros_like(x)
    np.add.at(dx, index, g)
    return dx


ROWS = {name: elementwise(name) for name in SLOPES} | {
    "where": where_case,
    "sum": one("sum", (4, 5), lambda g, x: g[:, None] + 0 * x, axis=(1,), keepdims=False),
    "mean": one("mean", (4, 5), lambda g, x: (g + 0 * x) / 4, axis=(0,), keepdims=True),
    "var": one("var", (8, 5), deviations, axis=(0,), keepdims=True, correction=1),
    "amax": one("amax", (4, 5), lambda g, x: (x == x.max(0)) * g, axis=(0,), keepdims=False),
    "amin": one("amin", (4, 5), lambda g, x: (x == x.min(0)) * g, axis=(0,), keepdims=True),
    "logsumexp": one("logsumexp", (4, 5), lambda g, x: g[:, None] * softmax(x, 1), axis=(1,), keepdims=False),
    "softmax": one("softmax", (4, 5), softmax_by_hand, axis=1),
    "log_softmax": one("log_softmax", (4, 5), log_softmax_by_hand, axis=1),
    "matmul": matmul_case,
    "reshape": one("reshape", (4, 5), lambda g, x: g.reshape(4, 5), shape=(2, 10)),
    "transpose": one("transpose", (4, 5), lambda g, x: g.T, axes=(1, 0)),
    "broadcast_to": one("broadcast_to", (1, 5), lambda g, x: g.sum(0, keepdims=True), shape=(4, 5)),
    "getitem": one("getitem", (4, 5), lambda g, x: placed(g, x, np.array([0, 1, 1])), index=(np.array([0, 1, 1]),)),
    "scatter": one("scatter", (3, 5), lambda g, x: g[[0, 1, 1]], index=(np.array([0, 1, 1]),), shape=(4, 5)),
    "concatenate": joined("concatenate", lambda g: [g[:3], g[3:]]),
    "stack": joined("stack", lambda g: [g[0], g[1]]),
    "astype": one("astype", (4, 5), lambda g, x: g.astype(x.dtype), dtype=np.dtype("float32")),
    "linear": linear_case,
    "embedding": embedding_case,
    "cross_entropy": cross_entropy_case,
    "batch_norm": batch_norm_case,
}  # fmt: skip


def test_every_row_has_a_gradient_by_hand():
    assert set(ROWS) == {op.name for op in ops.BUILT_IN} | set(ops.ARRAY_TABLE)


def reports_of_row(case, dtype, seed, spread=None, altered=lambda dx: dx):
    """The comparisons of the hand gradients of one row: inputs of a drawn scale and offset, a drawn upstream gradient."""
    rng = np.random.default_rng(seed)
    scale, offset = spread or (rng.choice([1e-3, 1.0, 30.0]), rng.choice([0.0, 1.0, 100.0]))

    def draw(*shape):
        return (rng.normal(size=shape) * scale + offset).astype(dtype)

    leaves, y, hand = case(draw, rng)
    g = (rng.normal(size=y.shape) * 10 ** rng.uniform(-3, 3)).astype(y.dtype)
    g = g * (rng.random(y.shape) < rng.choice([0.3, 1.0]))  # where g is 0, what is left is sums over the others
    loss = (y * g).sum()
    return [
        compare(altered(np.asarray(dx, x.dtype).reshape(x.shape)), x, root=loss) for dx, x in zip(hand(g), leaves, strict=True)
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ROWS)
def test_no_row_is_accused_in_100_draws(name, dtype):
    for seed in range(100):
        for report in reports_of_row(ROWS[name], dtype, seed):
            assert report or report.verdict == "proves nothing", f"seed {seed}: {report}"


@pytest.mark.parametrize("name", ROWS)
def test_a_billionth_is_no_rounding_on_any_row(name):
    """The sizes of summands are not so large that anything passes."""
    if name == "astype":  # to float32, so a billionth is nothing
        return
    for seed in range(10):
        for report in reports_of_row(ROWS[name], np.float64, seed, (1.0, 0.0), lambda dx: dx * (1 + 1e-9)):
            assert not report, f"seed {seed}: {report}"


@pytest.mark.parametrize("name", pullbacks._CANCELLING)
def test_every_clause_about_cancelling_is_needed(name, monkeypatch):
    monkeypatch.delitem(pullbacks._CANCELLING, name)
    found = [r for seed in range(300) for r in reports_of_row(ROWS[name], (np.float32, np.float64)[seed % 2], seed)]
    accused = [report for report in found if not report and report.verdict != "proves nothing"]
    assert accused, name


def test_the_standard_deviation_far_from_zero_is_not_accused():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x = Tensor((rng.normal(size=(16, 4)) + 100).astype(np.float32), requires_grad=True, label="x")
        g = rng.normal(size=4).astype(np.float32)
        loss = (x.std(0) * g).sum()
        d = x.data - x.data.mean(0)
        dx = (g * d / (15 * x.data.std(0, ddof=1))).astype(np.float32)
        assert compare(dx, x, root=loss), seed


def test_a_mean_that_is_one_rounding_off_is_not_accused():
    x = Tensor((100 + np.array([[-2.0], [-1.0], [0.0], [1.0], [2.0]])).astype(np.float32), requires_grad=True, label="x")
    w, b = Tensor(np.ones(1, np.float32), requires_grad=True, label="w"), Tensor(np.zeros(1, np.float32))
    g = np.float32([[-1], [-1], [0], [1], [1]])  # no gradient of its own where x is its mean
    a = functional.batch_norm(x, None, None, w, b, training=True, eps=0.0)
    var = (x.var(0) * np.float32(3)).sum()
    for mean in (np.nextafter(np.float32(100), np.float32(up)) for up in (0, 200)):
        d = x.data - mean
        s = np.float32(2.5**-0.5)
        dw = (g * d).sum(0) * s
        assert compare(dw, w, root=(a * g).sum())
        assert compare(s * (g - g.mean(0) - d * s * dw / 4), x, root=(a * g).sum())
        assert compare(np.float32(3 * 2 / 4) * d, x, root=var)


def test_rounding_is_that_of_the_coarsest_floats_on_the_way():
    x = Tensor(RNG.normal(size=20), requires_grad=True, label="x")
    y = tensor._apply_array("astype", (x,), dtype=np.dtype("float32"))
    loss = (y * y).tanh().sum()
    h = np.tanh(y.data**2)
    dx = ((1 - h * h) * 2 * y.data).astype(np.float64)
    assert compare(dx, x, root=loss)
    assert not compare(dx * (1 + 1e-4), x, root=loss)


@pytest.mark.parametrize("seed", range(60))
def test_no_network_with_batchnorm_is_accused(seed):
    """linear, batch norm, tanh or relu, linear, cross-entropy, with a drawn size, dtype, scale and offset."""
    rng = np.random.default_rng(seed)
    dtype = (np.float32, np.float64)[seed % 2]
    n, width, classes = int(rng.integers(2, 40)), int(rng.integers(1, 30)), int(rng.integers(2, 9))
    scale = rng.choice([1e-2, 1.0, 10.0])

    def leaf(label, *shape):
        return Tensor((rng.normal(size=shape) * scale).astype(dtype), requires_grad=True, label=label)

    x = Tensor((rng.normal(size=(n, 5)) * scale + rng.choice([0, 10])).astype(dtype))
    W1, b1, gain, bias = leaf("W1", width, 5), leaf("b1", width), leaf("gain", width), leaf("bias", width)
    W2, b2, labels = leaf("W2", classes, width), leaf("b2", classes), rng.integers(0, classes, n)
    z = functional.linear(x, W1, b1)
    a = functional.batch_norm(z, None, None, gain, bias, training=True)
    h = a.tanh() if rng.random() < 0.5 else a.relu()
    logits = functional.linear(h, W2, b2)
    loss = functional.cross_entropy(logits, labels)
    p = softmax(logits.data, 1)
    p[np.arange(n), labels] -= 1
    dlogits = p / n
    dh = dlogits @ W2.data
    da = (1 - h.data**2) * dh if h.op.name == "tanh" else (a.data > 0) * dh
    d = z.data - z.data.mean(0)
    s = ((d**2).sum(0) / (n - 1) + dtype(1e-5)) ** -0.5
    raw = d * s
    dgain, dbias = (da * raw).sum(0), da.sum(0)
    dz = gain.data * s / n * (n * da - dbias - n / (n - 1) * raw * dgain)
    mine = {"logits": dlogits, "h": dh, "a": da, "z": dz, "W2": dlogits.T @ h.data, "b2": dlogits.sum(0)}
    mine |= {"gain": dgain, "bias": dbias, "W1": dz.T @ x.data, "b1": dz.sum(0)}
    nodes = {"logits": logits, "h": h, "a": a, "z": z, "W2": W2, "b2": b2, "gain": gain, "bias": bias, "W1": W1, "b1": b1}
    report = compare(mine, nodes, root=loss)
    assert all(each or each.verdict == "proves nothing" for each in report.values()), str(report)
    assert report["logits"]
    assert report["W2"]
    assert not report["b1"]  # zero by nature


# ---- masks of -inf ---------------------------------------------------------------------------------------------------

MASKED = {
    "where": lambda x, m: chainrule.where(m, -np.inf, x),
    "where not": lambda x, m: chainrule.where(~m, x, -np.inf),
    "added": lambda x, m: x + np.where(m, -np.inf, 0).astype(x.dtype),
}


def behind_mask(masked, seed, dtype):
    """What follows a mask in networks: (loss, gradient by hand, mistakes) of one x."""
    rng = np.random.default_rng(seed)
    x = Tensor((rng.normal(size=(5, 7)) * rng.choice([0.1, 1.0, 5.0])).astype(dtype), requires_grad=True, label="x")
    m = rng.random((5, 7)) < 0.4
    m[:, seed % 7] = False
    rows, labels = np.arange(5), np.array([rng.choice(np.flatnonzero(~row)) for row in m])
    g, z = rng.normal(size=(5, 7)).astype(dtype), masked(x, m)
    p, ones = softmax(z.data, 1), np.eye(7, dtype=dtype)[labels]
    e = (z - z.amax(1, keepdim=True)).exp()
    dx = p * (g - (p * g).sum(1, keepdims=True))
    q = softmax(x.data, 1)
    softmaxes = {"term forgotten": p * g, "unknown": q * (g - (q * g).sum(1, keepdims=True))}  # the last without the mask
    entropies = {"term forgotten": p / 5, "times n": p - ones, "unknown": (q - ones) / 5}
    return x, [
        ((z.softmax(1) * g).sum(), dx, softmaxes),
        ((e / e.sum(1, keepdim=True) * g).sum(), dx, {}),
        (functional.cross_entropy(z, labels), (p - ones) / 5, entropies),
        (-z.log_softmax(1)[rows, labels].mean(), (p - ones) / 5, {"times n": p - ones}),
        ((z.logsumexp(1) * g[:, 0]).sum(), p * g[:, :1], {}),
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MASKED)
def test_what_is_right_behind_a_mask_is_accepted_and_what_is_wrong_is_not(name, dtype):
    for seed in range(10):
        x, losses = behind_mask(MASKED[name], seed, dtype)
        for loss, dx, mistakes in losses:
            report = compare(dx, x, root=loss)
            assert report, f"seed {seed}: {report}"
            for cause, wrong in ({"sign": -dx} | mistakes).items():
                report = compare(wrong, x, root=loss)
                assert report.verdict == "wrong", f"seed {seed}, {cause}: {report}"
                assert report.cause == cause or cause == "unknown", f"seed {seed}, {cause}: {report}"
            bit = dx * dtype(1 + (1e-2 if dtype == np.float32 else 1e-9))
            assert not compare(bit, x, root=loss), f"seed {seed}"


def test_a_line_behind_a_mask_is_tried_on_drawn_numbers():
    x, m = Tensor(RNG.normal(size=(4, 6)), requires_grad=True, label="x"), np.triu(np.ones((4, 6), bool), 3)
    z = chainrule.where(m, -np.inf, x)
    p, g = z.log_softmax(1), RNG.normal(size=(4, 6))
    z.label, p.label = "z", "p"
    loss = (chainrule.where(m, 0.0, p) * g).sum()
    dp = np.where(m, 0.0, g)
    dz = dp - np.exp(p.data) * dp.sum(1, keepdims=True)
    assert compare(dz, z, root=loss, again=lambda dp: dp - np.exp(p.data) * dp.sum(1, keepdims=True))
    assert compare(dz, x, root=loss, again=lambda dz: np.where(m, 0.0, dz))
    unmasked = compare(dz, x, root=loss, again=lambda dz: dz)  # dz is zero there, so only drawn numbers tell
    assert (unmasked.verdict, unmasked.cause) == ("wrong", "slope forgotten")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(10))
def test_causal_attention_is_not_accused_and_its_mistakes_are_seen(seed, dtype):
    rng = np.random.default_rng(seed)

    def leaf(label, *shape):
        return Tensor(rng.normal(size=shape).astype(dtype), requires_grad=True, label=label)

    x, (Wq, Wk, Wv) = leaf("x", 2, 6, 5), (leaf(label, 5, 4) for label in ("Wq", "Wk", "Wv"))
    causal, s = np.tril(np.ones((6, 6), bool)), dtype(4**-0.5)
    q, k, v = x @ Wq, x @ Wk, x @ Wv  # (B, T, hs)
    scores = q @ k.transpose(1, 2) * s
    weights = MASKED[list(MASKED)[seed % 3]](scores, ~causal).softmax(-1)
    y, dy = weights @ v, rng.normal(size=(2, 6, 4)).astype(dtype)
    w = weights.data
    dweights, dv = dy @ np.swapaxes(v.data, 1, 2), np.swapaxes(w, 1, 2) @ dy
    dscores = w * (dweights - (w * dweights).sum(-1, keepdims=True))
    dq, dk = dscores @ k.data * s, np.swapaxes(dscores, 1, 2) @ q.data * s
    dx = dq @ Wq.data.T + dk @ Wk.data.T + dv @ Wv.data.T
    mine = {"y": dy, "weights": dweights, "v": dv, "scores": dscores, "q": dq, "k": dk, "x": dx}
    mine |= {"W" + n: np.einsum("btc,bth->ch", x.data, d) for n, d in (("q", dq), ("k", dk), ("v", dv))}
    nodes = {"y": y, "weights": weights, "v": v, "scores": scores, "q": q, "k": k, "x": x, "Wq": Wq, "Wk": Wk, "Wv": Wv}
    loss = (y * dy).sum()
    report = compare(mine, nodes, root=loss)
    assert report, str(report)
    wrongs = {
        "scores": (w * dweights, ["term forgotten"]),
        "q": (dq / s, ["times n", "slope forgotten"]),  # 2, which is an axis's length too
        "x": (dx - dk @ Wk.data.T, ["missing path"]),
    }
    for name, (wrong, causes) in wrongs.items():
        report = compare(mine | {name: wrong}, nodes, root=loss)
        assert report.culprit.name == name, str(report)
        assert report.cause in causes, str(report)


# ---- what cannot be told ---------------------------------------------------------------------------------------------


def test_a_truth_that_is_not_finite_is_said_first():
    for mine in ([1.0, 2.0], [np.inf, 2.0], [np.nan, np.nan]):
        for true in ([np.inf, 2.0], [np.nan, 2.0]):
            report = compare(mine, true, name="x")
            assert (report.verdict, report.at, bool(report)) == ("no truth", (0,), False)
            assert "the true gradient is" in str(report)
    x = Tensor([0.0, 4.0], requires_grad=True, label="x")
    report = compare(np.array([5.0, 0.25]), x, root=x.sqrt().sum())
    assert report.verdict == "no truth"
    assert report.evidence == "the true gradient is inf at [0]; it starts with x -> sqrt in loss: nothing can be compared with it"
    assert compare(np.ones(3), x, root=x.sqrt().sum()).verdict == "wrong shape"
    huge = Tensor([0.1, 1.0], requires_grad=True, label="huge")
    slope = np.array([1.5e308, 1.0])
    report = compare(np.zeros(2), huge, root=(huge * slope - huge * slope).sum())
    assert (report.verdict, report.at) == ("no truth", (0,))
    assert "the summands of the true gradient overflow at [0]" in report.evidence


def test_without_root_rounding_and_mistake_are_not_told_apart():
    wide, other = np.array([1e6, 1.0, 1e-9]), np.array([1e6, 1.0, -1e-9])
    report = compare(other, wide)
    assert (report.verdict, report.cause, bool(report)) == ("cannot tell", "", False)
    assert "relative error 2.0e+00 at [2]" in report.evidence
    assert report.evidence.endswith("cannot tell rounding from a mistake; pass root=")
    noise = 1e-17 * RNG.normal(size=(2, 64))
    assert compare(noise[0], noise[1]).verdict == "cannot tell"
    assert compare(np.zeros(64), noise[1]).verdict == "cannot tell"
    assert compare(noise[0], np.zeros(64)).verdict == "cannot tell"
    assert compare(-noise[0], noise[0]).cause == "sign"  # no noise looks like this
    assert compare(np.full(64, 0.1), np.zeros(64)).verdict == "wrong"
    near = compare(wide * (1 + 4e-16), wide)
    assert near.verdict == "approximate"
    assert "largest relative error 4.7e-16" in near.evidence
    cancelled = compare(wide[2:] + 1e-14, wide[2:] + 0.0, paths=[np.array([1.0]), np.array([-1.0 + 1e-9])])
    assert cancelled  # two paths of size 1 that cancel: so much is rounding


def test_the_bias_before_batchnorm_without_root():
    x = Tensor(RNG.normal(size=(8, 3)))
    w, b = Tensor(RNG.normal(size=(4, 3)), requires_grad=True, label="w"), Tensor(np.zeros(4), requires_grad=True, label="b")
    z = functional.linear(x, w, b)
    a = functional.batch_norm(z, None, None, training=True)
    loss = (a * RNG.normal(size=(8, 4))).sum()
    loss.backward(retain_grad=True)
    report = compare(z.grad[::-1].sum(0), b)
    assert report.verdict in ("cannot tell", "exact")
    assert compare(z.grad.T @ x.data, w)


def test_a_formula_that_rounds_more_is_not_called_wrong():
    x = Tensor(np.linspace(-36, 2, 39), requires_grad=True, label="x")
    loss = x.sigmoid().sum()
    p = 0.5 + 0.5 * np.tanh(x.data / 2)  # of 1e-16 nothing is left
    report = compare(p * (1 - p), x, root=loss)
    assert (report.verdict, report.cause, bool(report)) == ("cannot tell", "", False)
    assert "elements, small ones, differ by more than their own" in report.evidence
    assert compare(p * (1 - p), x, root=loss, again=lambda g: p * (1 + p) * g).verdict == "wrong"
    assert compare(p * (1 - p) + 1e-9, x, root=loss).verdict == "wrong"


def test_empty_gradients_prove_nothing():
    assert compare(np.zeros(0), np.zeros(0)).verdict == "proves nothing"
    x = Tensor(np.zeros((0, 3)), requires_grad=True, label="x")
    report = compare(np.zeros((0, 3)), x, root=(x * x).sum())
    assert (report.verdict, bool(report)) == ("proves nothing", False)
    assert compare(np.zeros((0, 2)), x, root=(x * x).sum()).verdict == "wrong shape"


def test_another_dtype_is_said_and_the_numbers_are_judged_too():
    t = small(np.float32)
    right = t.x.grad.astype(np.float64)
    for options in ({}, {"root": t.loss}):
        report = compare(right, t.x, **options)
        assert (report.verdict, report.cause, bool(report)) == ("wrong dtype", "wrong dtype", False)
        assert report.evidence.startswith("the tensor is float32, its gradient came as float64; the numbers are right, ")
        wrong = compare(-right, t.x, **options)
        assert (wrong.verdict, wrong.cause) == ("wrong dtype", "sign")
        assert "the numbers are wrong: mine is minus the true gradient" in wrong.evidence
    third = np.ones(3) / 3
    assert "numbers are right, approximate" in compare(third, third.astype(np.float32)).evidence  # rounded on one side
    assert "numbers are right, approximate" in compare(third.astype(np.float32), third).evidence
    table = compare({"h": t.h.grad.astype(float), "x": -right}, {"h": t.h, "x": t.x}, root=t.loss)
    assert (table.culprit.name, table.cause) == ("x", "sign")  # wrong numbers come first


# ---- rounding or bug, at the edge ------------------------------------------------------------------------------------


def test_a_line_three_times_better_in_float64_is_still_wrong():
    """What rounding did goes away by orders of magnitude; what is left here is a mistake."""
    t = small(np.float32)
    dz, right = t.z.grad, t.x.data.T @ t.z.grad
    error = np.float32(3e-4) * np.sign(RNG.normal(size=(3, 5))).astype(np.float32)
    for part, verdict in ((1 / 3, "wrong"), (1 / 7, "wrong"), (1e-4, "rounding")):
        report = compare(right + error, t.w, root=t.loss, again=lambda dz, part=part: t.x.data.T @ dz + part * error)
        assert report.verdict == verdict, part
    assert compare(right + error, t.w, root=t.loss, upstream={"z": dz}).verdict == "wrong"


def test_a_mistake_where_the_truth_is_zero_is_named_in_spite_of_rounding():
    """All dead: nothing was added up, so rounding allows nothing; only mine itself says how exact a prediction can be."""
    x = Tensor(RNG.normal(size=(50, 40)), requires_grad=True, label="x")
    w, g = RNG.normal(size=(40, 30)), RNG.normal(size=(50, 30))
    loss = (((x @ w) - 1e3).relu() * g).sum()
    mine = np.einsum("ij,kj->ik", g, w)  # the slope of relu is missing; added up in another order than by @
    report = compare(mine, x, root=loss)
    assert (report.verdict, report.cause) == ("wrong", "slope forgotten")
    assert (mine != g @ w.T).any()


# ---- messages and mistakes that were missing -------------------------------------------------------------------------


def test_a_gradient_that_mine_lacks_is_an_error():
    t = small()
    with pytest.raises(InputError, match="mine has no gradient for 'b'"):
        compare({"w": t.w.grad}, {"w": t.w, "b": t.b}, root=t.loss)
    with pytest.raises(InputError, match="mine has no gradient for 'b'"):
        compare({"w": t.w.grad}, {"w": t.w.grad, "b": t.b.grad})
    with pytest.raises(InputError, match="the true ones must be a mapping too, not ndarray"):
        compare({"w": t.w.grad}, t.w.grad)
    with pytest.raises(NotANumberError, match="real numbers"):
        compare(np.array(["a"]), np.array([1.0]))


def test_factors_near_one_and_small_counts():
    t = small()
    report = compare(t.w.grad * (1 + 1e-12), t.w, root=t.loss)
    assert not report
    assert "mine is 1 + 1.0e-12 times the true gradient" in report.evidence
    true = np.array([1.0, 2.0, 4.0])
    report = compare(true * 1.5, true)
    assert (report.cause, report.evidence) == (
        "constant factor",
        "mine is 1.5 times the true gradient, as n-1 in place of n, with n = 3, would make it",
    )
    assert compare(true * 3, true).cause == "times n"
    assert compare(np.ones(8) * 7 / 8, np.ones(8)).cause == "n for n-1"


def test_paths_that_read_alike_are_counted():
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True, label="x")
    report = compare(x.data, x, root=(x * x + x * x).sum())
    assert report.cause == "= for +="
    assert report.evidence == (
        "only x -> mul in add in loss, written last, is left; x -> mul in add in loss (3 times) is overwritten, or was left out"
    )
    assert report.alternatives[0] == "missing path: all but x -> mul in add in loss (3 times) is there"


def test_the_mistakes_of_the_fused_rows_are_named():
    x = Tensor(RNG.normal(size=(8, 5)), requires_grad=True, label="x")
    labels = RNG.integers(0, 5, 8)
    p, ones = softmax(x.data, 1), np.eye(5)[labels]
    losses = {
        "cross_entropy": functional.cross_entropy(x, labels),
        "log_softmax": -x.log_softmax(1)[np.arange(8), labels].mean(),
    }
    for loss in losses.values():
        assert compare((p - ones) / 8, x, root=loss)
        report = compare(p / 8, x, root=loss)
        assert report.cause == "term forgotten", report
        assert compare(p - ones, x, root=loss).cause == "times n"
    ce = losses["cross_entropy"]
    assert compare(-ones / 8, x, root=ce).cause == "term forgotten"
    assert compare((p + ones) / 8, x, root=ce).cause == "sign"
    assert compare((p - 1) / 8, x, root=ce).cause == "index forgotten"
    assert compare((softmax(x.data, 0) - ones) / 8, x, root=ce).cause == "wrong axis"
    g = RNG.normal(size=(8, 5))
    assert compare(p * g, x, root=(x.softmax(1) * g).sum()).cause == "term forgotten"
    var = (x.var(0) * g[0]).sum()
    assert compare(g[0] * 2 / 7 * x.data, x, root=var).cause == "term forgotten"
    assert compare(g[0] * 2 / 8 * (x.data - x.data.mean(0)), x, root=var).cause == "n for n-1"


def test_the_mistakes_of_batch_norm_are_named():
    x, w, b = (Tensor(RNG.normal(size=s), requires_grad=True) for s in ((9, 4), 4, 4))
    g = RNG.normal(size=(9, 4))
    loss = (functional.batch_norm(x, None, None, w, b, training=True, eps=0.0) * g).sum()
    d = x.data - x.data.mean(0)
    s = 1 / x.data.std(0, ddof=1)
    raw, ws = d * s, w.data * s
    along = raw * (g * raw).sum(0)
    assert compare(ws * (g - g.mean(0) - along / 8), x, root=loss)
    assert compare(ws * (g - g.mean(0) - along / 9), x, root=loss).cause == "n for n-1"
    for wrong in (ws * g, ws * (g - g.mean(0)), ws * (g - along / 8)):
        assert compare(wrong, x, root=loss).cause == "missing path"
    assert compare(s * (g - g.mean(0) - along / 8), x, root=loss).cause == "slope forgotten"
    assert compare((g * raw).sum(0), w, root=loss)
    assert compare((g * d).sum(0), w, root=loss).cause == "wrong factor"


def test_more_slips_of_the_pen_are_named():
    t = small()
    dh = t.h.grad
    assert compare(t.h.data**2 * dh, t.z, root=t.loss).cause == "term forgotten"
    assert compare(t.z.grad[:1], t.b, root=t.loss).cause == "missing sum"
    x, w, b = (Tensor(RNG.normal(size=s), requires_grad=True) for s in ((6, 3), (4, 3), 4))
    g = RNG.normal(size=(6, 4))
    loss = (functional.linear(x, w, b) * g).sum()
    assert compare(g.sum(0), b, root=loss)
    assert compare(g[0].copy(), b, root=loss).cause == "missing sum"
    z = x.data + b.data[:3]
    v = Tensor(np.zeros(3), requires_grad=True)
    assert compare(g[0, :3].copy(), v, root=((v + z) * g[:, :3]).sum()).cause == "missing sum"
    p = Tensor(RNG.uniform(0.1, 1, (4, 5)), requires_grad=True, label="p")
    q = RNG.normal(size=(4, 5))
    assert compare(q * np.log(p.data), p, root=(p.log() * q).sum()).cause == "wrong factor"


def test_a_scatter_that_leaves_out_some_of_the_index_is_named():
    C, X = Tensor(RNG.normal(size=(9, 2)), requires_grad=True, label="C"), RNG.integers(0, 9, (12, 3))
    g = RNG.normal(size=(12, 3, 2))

    def added(index, part):
        dC = np.zeros((9, 2))
        np.add.at(dC, index, part)
        return dC

    for emb in (C[X], functional.embedding(X, C)):
        loss = (emb * g).sum()
        assert compare(added(X, g), C, root=loss)
        assert compare(added(X[:, 0], g[:, 0]), C, root=loss).evidence.endswith("only [:, 0] of the index is added, of 3")
        report = compare(added(X[:-1], g[:-1]), C, root=loss)
        assert report.cause == "missing path"
        assert report.evidence.endswith("all of the index but [11] is added")


def test_a_graph_that_is_out_of_date_judges_nobody():
    x = Tensor([1.0, 2.0], requires_grad=True, label="x")
    loss = (x * x).sum()
    assert compare(2 * x.data, x, root=loss)
    x.data = x.data * 0.8
    with pytest.raises(GraphError, match=r"the data of x .* was assigned after"):
        compare(np.array([2.0, 4.0]), x, root=loss)


# ---- without a graph, at every scale, and labels that are not one's own ----------------------------------------------


def test_a_sum_that_is_missing_is_seen_by_the_numbers_alone():
    dy = RNG.normal(size=(16, 8))
    for b in (dy.sum(0), dy.sum(0, keepdims=True)):
        report = compare(dy, b, name="b")
        assert (report.verdict, report.cause) == ("wrong shape", "missing sum")
        assert report.evidence.endswith("; summed over axis 0, which broadcasting had repeated, it is right")
        assert compare(dy * 1.001, b).cause == "unknown"
        assert compare(dy.astype(np.float32), b.astype(np.float32)).cause == "missing sum"
    assert compare(dy, dy.sum(1)).evidence.endswith("; summed over axis 1, it is right")
    assert "summed over axes 0 and 1, which broadcasting had repeated, it" in compare(dy[None], dy.sum(0)).evidence
    assert compare(dy[None], dy).cause == "axis added"
    maps = RNG.normal(size=(4, 3, 5, 5))  # (N, C, H, W), for a bias per channel
    assert compare(maps, maps.sum((0, 2, 3))).cause == "missing sum"


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-150, 1.0, 1e150, 1e200, 1e300])
def test_a_mistake_is_named_the_same_at_every_scale(scale):
    true = np.random.default_rng(0).normal(size=(4, 5)) * scale
    for c, cause in ((-1, "sign"), (4, "times n"), (1.7, "constant factor")):
        assert compare(c * true, true).cause == cause
    x = Tensor(np.linspace(-1, 1, 20).reshape(4, 5), requires_grad=True, label="x")
    g = np.random.default_rng(1).normal(size=(4, 5)) * scale
    for y, slope in ((x.tanh(), 1 - np.tanh(x.data) ** 2), (x, 1), (x * x + x, 2 * x.data + 1)):
        assert compare(g * slope, x, root=(y * g).sum())
        for c, cause in ((-1, "sign"), (4, "times n"), (1.7, "constant factor")):
            assert compare(c * g * slope, x, root=(y * g).sum()).cause == cause


def test_minus_is_a_sign_in_float32_too():
    """Where few elements are large, their rounding is that of the factor."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = Tensor((rng.normal(size=(3, 4)) * 10).astype(np.float32), requires_grad=True, label="x")
        g = rng.normal(size=(3, 1)).astype(np.float32)
        report = compare(-softmax(x.data, 1) * g, x, root=(x.logsumexp(1, keepdim=True) * g).sum())
        assert report.cause == "sign", f"seed {seed}: {report}"


def test_an_infinity_explains_nothing():
    report = compare(np.ones(5), np.full((4, 5), 1e308))  # of which the sum over any axis overflows
    assert (report.verdict, report.cause) == ("wrong shape", "unknown")


def test_two_tensors_of_one_label_are_not_told_apart():
    x, w, v = Tensor(RNG.normal(size=(4, 3))), *(Tensor(RNG.normal(size=3), requires_grad=True) for _ in range(2))
    w.label = "w"
    one = w * x
    two = w + one
    one.label = two.label = "h"
    loss = (one * two * v).sum()
    dtwo = one.data * v.data
    done = two.data * v.data + dtwo
    dw = (done * x.data + dtwo).sum(0)
    assert compare(dw, w, root=loss)
    with pytest.raises(InputError, match="upstream has 'h', which names 2 tensors of the graph; give each its own label"):
        compare(dw, w, root=loss, upstream={"h": done})
    for again in (lambda dh: (dh * x.data + dh).sum(0), lambda **d: (d["dh"] * x.data + d["dh"]).sum(0)):
        with pytest.raises(InputError, match="again takes the gradient of 'h', which names several tensors"):
            compare(dw, w, root=loss, again=again)
    assert compare(dw, w, root=loss, again=lambda done, dtwo: (done * x.data + dtwo).sum(0))  # in order there is no doubt
