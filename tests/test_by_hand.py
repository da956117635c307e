"""The lessons of examples/by_hand: every gradient against the engine and PyTorch, training, and the lessons as programs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BY_HAND = Path(__file__).parent.parent / "examples" / "by_hand"
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "path", [str(BY_HAND), *sys.path])
    import matmul
    import network
    import step1_every_gradient as step1
    import step2_cross_entropy as step2
    import step3_batchnorm as step3
    import step4_training as step4

SEEDS = [(seed, (32, 13, 2)[seed % 3], (64, 17)[seed % 2]) for seed in range(6)]


@pytest.mark.parametrize(("seed", "n", "hidden"), SEEDS)
def test_every_gradient_is_the_engines(seed, n, hidden):
    p, X, Y = network.batch(n, seed, hidden)
    t, engine = network.forward(p, X, Y), network.on_tensors(p, X, Y)
    engine.loss.backward(retain_grad=True)
    mine = step1.every_gradient(t, X, Y)
    assert set(mine) == {*network.ATOMS, *network.PARAMETERS} - {"loss"}
    for name, g in mine.items():
        true = getattr(engine, name)
        np.testing.assert_array_equal(getattr(t, name), true.data)
        assert g.shape == true.shape, name
        np.testing.assert_allclose(g, true.grad, rtol=1e-9, atol=1e-14, err_msg=name)


@pytest.mark.parametrize(("seed", "n", "hidden"), SEEDS)
def test_the_closed_forms_are_the_long_ones(seed, n, hidden):
    p, X, Y = network.batch(n, seed, hidden)
    t = network.forward(p, X, Y)
    long = step1.every_gradient(t, X, Y)
    dlogits = step2.cross_entropy_gradient(t.logits, Y)
    np.testing.assert_allclose(dlogits, long["logits"], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(dlogits.sum(1), 0, atol=1e-15)
    short = step3.batchnorm_gradient(long["hpreact"], t.bnraw, t.bngain, t.bnvar_inv)
    np.testing.assert_allclose(short, long["hprebn"], rtol=1e-7, atol=1e-14)
    loss, gradients = step4.gradients_by_hand(p, X, Y)
    assert loss == t.loss
    for name in network.PARAMETERS:
        np.testing.assert_allclose(gradients[name], long[name], rtol=1e-7, atol=1e-14, err_msg=name)


def test_the_network_is_pytorchs():
    torch = pytest.importorskip("torch", reason="the peer of this comparison is PyTorch: pip install 'chainrule[dev]'")
    p, X, Y = network.batch(seed=3)
    q = {name: torch.tensor(array, requires_grad=True) for name, array in p.items()}
    z = q["C"][torch.tensor(X)].flatten(1) @ q["W1"] + q["b1"]
    normal = (z - z.mean(0)) / torch.sqrt(z.var(0) + network.EPS)  # torch's batch_norm would divide by n, not n - 1
    logits = torch.tanh(q["bngain"] * normal + q["bnbias"]) @ q["W2"] + q["b2"]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(Y))
    loss.backward()
    value, gradients = step4.gradients_by_hand(p, X, Y)
    assert value == pytest.approx(loss.item(), rel=1e-13)
    for name, g in gradients.items():
        np.testing.assert_allclose(g, q[name].grad.numpy(), rtol=1e-8, atol=1e-14, err_msg=name)


def test_training_by_hand_reaches_the_engines_loss():
    words = network.MADE_UP.split()
    by_hand, p = step4.train(step4.gradients_by_hand, words, steps=150)
    by_engine, q = step4.train(step4.gradients_by_engine, words, steps=150)
    assert by_hand == pytest.approx(by_engine, rel=1e-9)
    assert np.mean(by_hand[-20:]) < by_hand[0] - 0.5
    for name in network.PARAMETERS:
        np.testing.assert_allclose(p[name], q[name], rtol=1e-6, atol=1e-9)
    other, _ = step4.train(step4.gradients_by_hand, words, steps=5, seed=1)
    assert other[0] != by_hand[0]


def test_on_the_list_of_names_too():
    if not network.NAMES.exists():
        pytest.skip("the list of names is not beside this repository (shared/data/names.txt)")
    X, Y, letters = network.examples(network.words())
    assert (X.shape, Y.shape, len(letters)) == ((228146, 3), (228146,), 27)
    by_hand, _ = step4.train(step4.gradients_by_hand, network.words()[:3000], steps=300)
    by_engine, _ = step4.train(step4.gradients_by_engine, network.words()[:3000], steps=300)
    assert by_hand == pytest.approx(by_engine, rel=1e-9)
    assert np.mean(by_hand[-50:]) < 2.7 < 3.2 < by_hand[0]


@pytest.mark.parametrize("shape", [(2, 4, 3), (1, 3, 1), (3, 1, 2), (2, 2, 2)])
def test_scalars_and_tensors_agree_on_matmul(shape):
    rng = np.random.default_rng(shape[1])
    n, k, m = shape
    A, B, dD = rng.normal(size=(n, k)), rng.normal(size=(k, m)), rng.normal(size=(n, m))
    for scalars, tensors, product in zip(
        matmul.in_scalars(A, B, dD), matmul.in_tensors(A, B, dD), (dD @ B.T, A.T @ dD), strict=True
    ):
        np.testing.assert_allclose(scalars, tensors, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(scalars, product, rtol=1e-13, atol=1e-15)


def lesson(name):
    done = subprocess.run(
        [sys.executable, "-W", "error", BY_HAND / name],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def small_numbers(text):
    return [float(x) for x in re.findall(r"\d\.\d+e-\d+", text)]


def test_step_1_prints_26_right_gradients():
    printed = lesson("step1_every_gradient.py").splitlines()
    assert printed[-1] == "26 of 26 gradients right"
    assert sum(line.startswith("ok") for line in printed) == 26


def test_step_2_prints_push_and_pull():
    printed = lesson("step2_cross_entropy.py")
    assert re.match("logits: (exact|approximate)", printed)
    pull, push = re.search(r"pulled up with (\S+), all others are pushed down with (\S+)", printed).groups()
    assert float(pull) == pytest.approx(float(push), abs=1.01e-4)
    assert small_numbers(printed)[-1] < 1e-15


def test_step_3_prints_a_right_one_and_a_wrong_one():
    right, wrong = lesson("step3_batchnorm.py").splitlines()
    assert re.match("hprebn: (exact|approximate)", right)
    assert wrong.startswith("hprebn: wrong (missing path)")


def test_step_4_prints_equal_losses():
    printed = lesson("step4_training.py")
    losses = re.findall(r"(\d\.\d{4}) at first, (\d\.\d{4}) over", printed)
    assert losses[0] == losses[1]
    assert float(losses[0][1]) < float(losses[0][0]) - 0.3
    assert max(small_numbers(printed)) < 1e-9


def test_matmul_prints_rounding_only():
    found = small_numbers(lesson("matmul.py"))
    assert len(found) == 4
    assert max(found) < 1e-14


def test_every_lesson_is_run_here():
    source = Path(__file__).read_text(encoding="utf-8")
    programs = {path.name for path in BY_HAND.glob("*.py")} - {"network.py"}
    assert programs == set(re.findall(r'lesson\("([\w.]+)"\)', source))
