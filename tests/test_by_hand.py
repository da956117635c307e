"""The lessons of examples/by_hand: every gradient against the engine and PyTorch, training, and the lessons as programs."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule.check import compare
from chainrule.tensor import Tensor

BY_HAND = Path(__file__).parent.parent / "examples" / "by_hand"
NAMES = BY_HAND.parents[2] / "shared" / "data" / "names.txt"
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "path", [str(BY_HAND), *sys.path])
    import differences
    import matmul
    import network
    import rbm
    import step1_every_gradient as step1
    import step2_cross_entropy as step2
    import step3_batchnorm as step3
    import step4_training as step4
    import two_towers

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


def test_on_the_list_of_names_too(monkeypatch):
    if not NAMES.exists():
        pytest.skip("the list of names is not beside this repository (shared/data/names.txt)")
    monkeypatch.setattr(network, "FILE", str(NAMES))
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


# ---- the Boltzmann machine -------------------------------------------------------------------------------------------


def machine(seed, visible=5, hidden=3, scale=1.0):
    """A small machine with parameters that matter, and a generator to go on with."""
    rng = np.random.default_rng(seed)
    shapes = {"W": (visible, hidden), "a": (visible,), "b": (hidden,)}
    return {name: scale * rng.normal(size=shape) for name, shape in shapes.items()}, rng


def flat(g):
    return np.concatenate([g[name].ravel() for name in ("W", "a", "b")])


@pytest.mark.parametrize("seed", range(4))
def test_free_energy_is_the_energies_summed_over_hidden_states(seed):
    p, rng = machine(seed)
    v = (rng.random((7, 5)) < 0.5).astype(float)
    for row, found in zip(v, rbm.free_energy(p, v), strict=True):
        states = (np.array(h) for h in itertools.product((0, 1), repeat=3))
        total = sum(np.exp(p["a"] @ row + p["b"] @ h + row @ p["W"] @ h) for h in states)
        assert found == pytest.approx(-np.log(total), rel=1e-12)


@pytest.mark.parametrize(
    ("seed", "n", "visible", "hidden", "k"), [(0, 32, 64, 48, 1), (1, 1, 5, 3, 1), (2, 13, 9, 1, 3), (3, 7, 1, 4, 2)]
)
def test_contrastive_divergence_is_the_engines_and_the_measured_gradient(seed, n, visible, hidden, k):
    p, rng = machine(seed, visible, hidden, 3.0 / visible**0.5)
    v0 = rng.random((n, visible))
    vk = rbm.after(p, v0, k, rng, drawn=seed % 2 == 1)
    g = rbm.contrastive_divergence(p, v0, vk)
    loss, q = rbm.on_tensors(p, v0, vk)
    report = compare(g, q, root=loss)
    assert report, report

    def objective(p):
        return rbm.free_energy(p, v0).mean() - rbm.free_energy(p, vk).mean()

    assert differences.worst_difference(objective, p, g, rng) < 1e-7


@pytest.mark.parametrize("seed", range(4))
def test_the_likelihood_and_its_gradient_are_exact(seed):
    p, rng = machine(seed)
    X = (rng.random((6, 5)) < 0.5).astype(float)
    states = rbm.everything(5)
    assert np.exp(-rbm.free_energy(p, states) - rbm.log_z(p)).sum() == pytest.approx(1.0, rel=1e-12)
    q = {name: Tensor(array, requires_grad=True, label=name) for name, array in p.items()}
    loss = rbm.free_energy(q, X, rbm.TENSORS).mean() + (-rbm.free_energy(q, states, rbm.TENSORS)).logsumexp()
    g = rbm.likelihood_gradient(p, X)
    assert compare(g, q, root=loss)
    worst = differences.worst_difference(lambda p: rbm.free_energy(p, X).mean() + rbm.log_z(p), p, g, rng)
    assert worst < 1e-8


@pytest.mark.parametrize(("seed", "k"), [(0, 1), (1, 1), (2, 2)])
def test_the_expected_divergence_is_the_mean_of_sampled_ones(seed, k):
    p, rng = machine(seed, 4, 2, scale=2.0)
    X = (rng.random((3, 4)) < 0.5).astype(float)
    many = np.tile(X, (4000, 1))
    sampled = [flat(rbm.contrastive_divergence(p, many, rbm.after(p, many, k, rng, drawn=True))) for _ in range(20)]
    error = np.std(sampled, axis=0, ddof=1) / len(sampled) ** 0.5
    expected = flat(rbm.expected_divergence(p, X, k))
    assert np.all(abs(np.mean(sampled, axis=0) - expected) < 5 * error + 1e-12)
    assert np.linalg.norm(expected - flat(rbm.likelihood_gradient(p, X))) > 10 * np.linalg.norm(error)


@pytest.mark.parametrize("seed", range(4))
def test_more_steps_of_sampling_turn_the_divergence_to_the_likelihood(seed):
    p, rng = machine(seed, 6, 3, scale=2.0)
    X = (rng.random((5, 6)) < 0.5).astype(float)
    true = rbm.likelihood_gradient(p, X)
    angles = [rbm.angle(rbm.expected_divergence(p, X, k), true) for k in (1, 10, 1000)]
    assert angles[0] > 1.0
    assert angles[1] < 0.1 * angles[0]
    assert angles[2] < 1e-3
    np.testing.assert_allclose(flat(rbm.expected_divergence(p, X, 5000)), flat(true), rtol=1e-8, atol=1e-12)
    assert rbm.angle(true, {name: -array for name, array in true.items()}) == pytest.approx(180)


def test_bars_and_stripes_are_what_they_are():
    found = {tuple(row) for row in rbm.bars_and_stripes()}
    want = {s for s in itertools.product((0.0, 1.0), repeat=9) if s[:3] == s[3:6] == s[6:] or s[::3] == s[1::3] == s[2::3]}
    assert found == want
    assert len(rbm.bars_and_stripes()) == len(want) == 14


@pytest.mark.parametrize("seed", [0, 1])
def test_the_machine_remembers_held_out_digits_and_trains_by_its_seed(seed):
    X, V, labels = rbm.pixels()
    assert (X.shape, V.shape, set(labels)) == ((1438, 64), (359, 64), set(range(10)))
    assert X.min() == 0.0
    assert X.max() == 1.0
    before = rbm.parameters(X, 32, np.random.default_rng(seed))
    # Untrained it answers with the mean picture, whose error is the variance.
    assert rbm.reconstruction_error(before, X) == pytest.approx(X.var(0).mean(), rel=0.02)
    p, again, other = (rbm.train(before, X, np.random.default_rng(s), epochs=4) for s in (seed, seed, seed + 7))
    assert rbm.reconstruction_error(p, V) < 0.5 * rbm.reconstruction_error(before, V)
    assert all(np.array_equal(p[name], again[name]) and not np.array_equal(p[name], other[name]) for name in p)


# ---- two towers ------------------------------------------------------------------------------------------------------


def pairs(seed, count):
    rng = np.random.default_rng(seed)
    return two_towers.parameters(rng), two_towers.scenes(count, two_towers.looks(rng), rng), rng


@pytest.mark.parametrize(("seed", "count"), [(0, 12), (1, 2), (2, 7), (3, 25)])
def test_the_towers_gradients_are_the_engines_and_the_measured_ones(seed, count):
    p, data, rng = pairs(seed, count)
    t, engine = two_towers.forward(p, data), two_towers.on_tensors(p, data)
    mine = two_towers.backward(t, data)
    assert set(mine) == set(vars(t)) - {"loss"}
    report = compare(mine, {name: getattr(engine, name) for name in mine}, root=engine.loss)
    assert report, report
    assert t.loss == engine.loss.item() > 0
    measured = differences.worst_difference(
        lambda p: two_towers.forward(p, data).loss, p, {name: mine[name] for name in p}, rng, count=60
    )
    assert measured < 1e-8
    # as much pull as push
    assert mine["scores"].any()
    assert abs(mine["scores"].sum()) < 1e-12
    assert (np.diag(mine["scores"]) <= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_scores_and_loss_are_those_of_the_paper_in_loops(seed):
    p, data, _ = pairs(seed, 6)
    t = two_towers.forward(p, data)
    regions = [np.flatnonzero(data.picture_of == k) for k in range(6)]
    phrases = [np.flatnonzero(data.sentence_of == k) for k in range(6)]
    S = np.zeros((6, 6))
    for k, j in itertools.product(range(6), repeat=2):
        fits = sum(max(0.0, float(t.v[a] @ t.s[b])) for a in regions[k] for b in phrases[j])
        S[k, j] = fits / (len(regions[k]) * (len(phrases[j]) + 5))
    np.testing.assert_allclose(t.scores, S, rtol=1e-12)
    others = [(k, j) for k, j in itertools.product(range(6), repeat=2) if k != j]
    loss = sum(max(0, S[k, j] - S[k, k] + 1) + max(0, S[j, k] - S[k, k] + 1) for k, j in others) / 6
    assert t.loss == pytest.approx(loss, rel=1e-12)


def test_a_pair_that_leads_by_the_margin_is_left_alone():
    _, data, _ = pairs(0, 3)
    scores = np.array([[5.0, 0.0, 4.5], [0.0, 5.0, 0.0], [0.0, 0.0, 5.0]])
    own = np.diag(scores)
    t = two_towers.forward(two_towers.parameters(np.random.default_rng(0)), data)
    t.too_near, t.too_near_too = scores - own[:, None] + 1, scores - own + 1
    dscores = two_towers.backward(t, data)["scores"]
    np.testing.assert_allclose(3 * dscores, [[-1, 0, 2], [0, 0, 0], [0, 0, -1]], atol=1e-15)


def test_chosen_pairs_stay_together():
    _, data, _ = pairs(4, 9)
    some = two_towers.pick(data, [7, 2, 5])
    for place, k in enumerate([7, 2, 5]):
        np.testing.assert_array_equal(some.regions[some.picture_of == place], data.regions[data.picture_of == k])
        np.testing.assert_array_equal(some.phrases[some.sentence_of == place], data.phrases[data.sentence_of == k])
    np.testing.assert_array_equal(some.shown[some.about], some.phrases)
    np.testing.assert_array_equal(data.shown[data.about], data.phrases)


@pytest.mark.parametrize("seed", [0, 1])
def test_pictures_and_sentences_find_each_other_after_training(seed):
    rng = np.random.default_rng(seed)
    world = two_towers.looks(rng)
    data, held_out, before = two_towers.scenes(500, world, rng), two_towers.scenes(50, world, rng), two_towers.parameters(rng)
    after = two_towers.train(before, data, rng, steps=400)
    untrained, trained = (two_towers.forward(p, held_out) for p in (before, after))
    assert max(two_towers.recall(untrained.scores)) < 0.2
    assert min(two_towers.recall(trained.scores)) > 0.5
    assert two_towers.pointing(untrained.dots, held_out) < 0.6 < 0.95 < two_towers.pointing(trained.dots, held_out)


def test_recall_counts_both_ways():
    assert two_towers.recall(np.array([[3.0, 0.0, 0.0], [0.0, 1.0, 2.0], [4.0, 0.0, 1.0]])) == (1 / 3, 1 / 3)
    assert two_towers.recall(np.array([[1.0, 0.0], [2.0, 3.0]])) == (1.0, 0.5)


# ---- the lessons as programs -----------------------------------------------------------------------------------------


def finished(name, *arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", BY_HAND / name, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "BY_HAND_WORDS": ""} | environment,
    )


def lesson(name, *arguments, cwd=None, **environment):
    done = finished(name, *arguments, cwd=cwd, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(name, *arguments, cwd=None, **environment):
    done = finished(name, *arguments, cwd=cwd, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def small_numbers(text):
    return [float(x) for x in re.findall(r"\d\.\d+e-\d+", text)]


def test_step_1_prints_26_right_gradients():
    printed = lesson("step1_every_gradient.py").splitlines()
    assert printed[-1] == "26 of 26 gradients right"
    assert sum(line.startswith("ok") for line in printed) == 26


def test_step_2_prints_push_and_pull(tmp_path):
    printed = lesson("step2_cross_entropy.py", cwd=tmp_path)
    assert re.match("logits: (exact|approximate)", printed)
    pull, push = re.search(r"pulled up with (\S+), all others are pushed down with (\S+)", printed).groups()
    assert float(pull) == pytest.approx(float(push), abs=1.01e-4)
    assert small_numbers(printed)[-1] < 1e-15
    assert pixels_of(tmp_path / "runs" / "dlogits.png").std() > 0.05


def test_step_3_prints_a_right_one_and_a_wrong_one():
    learned_from, right, on_purpose, wrong = lesson("step3_batchnorm.py").splitlines()
    assert learned_from == f"learned from {network.source()}"
    assert "wrong on purpose" in on_purpose
    assert re.match("hprebn: (exact|approximate)", right)
    assert wrong.startswith("hprebn: wrong (missing path)")


def test_step_4_prints_equal_losses():
    printed = lesson("step4_training.py")
    losses = re.findall(r"(\d\.\d{4}) at first, (\d\.\d{4}) over", printed)
    assert losses[0] == losses[1]
    assert float(losses[0][1]) < float(losses[0][0]) - 0.3
    assert max(small_numbers(printed)) < 1e-9


def test_words_of_ones_own_are_learned_from_when_they_are_named(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("anna\nbob\n" * 5, encoding="utf-8")
    own = lesson("step3_batchnorm.py", BY_HAND_WORDS=str(path))
    made_up = lesson("step3_batchnorm.py")
    assert own.startswith(f"learned from the 10 words of {path}\n")
    assert made_up == lesson("step3_batchnorm.py", cwd=tmp_path)
    assert made_up.startswith("learned from 29 words made up for these lessons\n")
    assert own.splitlines()[1:] != made_up.splitlines()[1:]
    (tmp_path / "blank.txt").write_text("\n")
    for name, why in (("absent.txt", "cannot be read: No such file or directory"), ("blank.txt", "holds no words")):
        assert refused("step4_training.py", BY_HAND_WORDS=name, cwd=tmp_path) == (
            f"BY_HAND_WORDS names the file {name}, which {why}\n"
        )


@pytest.mark.parametrize("program", ["step2_cross_entropy.py", "rbm.py", "two_towers.py"])
@pytest.mark.parametrize("name", ["new/out.pngx", "new/out", "out.jpg"])
def test_a_picture_by_an_odd_name_is_refused(tmp_path, program, name):
    assert refused(program, name, cwd=tmp_path) == f"The picture is a PNG, so name a file that ends in .png, not {name!r}\n"
    assert list(tmp_path.iterdir()) == []


def test_matmul_prints_rounding_only():
    found = small_numbers(lesson("matmul.py"))
    assert len(found) == 4
    assert max(found) < 1e-14


def test_the_boltzmann_machine_prints_what_the_page_shows(tmp_path):
    printed = lesson("rbm.py", tmp_path / "new" / "drawn.png")
    assert "3 of 3 gradients right\n" in printed
    assert small_numbers(printed)[-1] < 1e-7
    before, after = (float(x) for x in re.findall(r"pixel \w+ training: (0\.\d{4})", printed))
    assert after < 0.2 * before
    page = (BY_HAND.parents[1] / "docs" / "by_hand.md").read_text(encoding="utf-8")
    shown = re.search(r"```text\n(bars and stripes.*?)```", page, re.DOTALL)[1].splitlines()
    lines = printed.splitlines()
    found = lines[lines.index(shown[0]) :][: len(shown)]
    for ours, pages in zip(found, shown, strict=True):
        numbers = [[float(x) for x in re.findall(r"(?<!CD-)\b\d+(?:\.\d+)?", line)] for line in (ours, pages)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.11), "the page should show what the lesson prints"
    assert pixels_of(tmp_path / "new" / "drawn.png").std() > 0.05


def test_two_towers_print_that_they_find_each_other(tmp_path):
    printed = lesson("two_towers.py", tmp_path / "drawn.png")
    assert "14 of 14 gradients right\n" in printed
    assert small_numbers(printed)[-1] < 1e-8
    found = re.findall(r"(\w+): own sentence first (\d+)%, own picture first (\d+)%; phrases that point right (\d+)%", printed)
    (_, *untrained), (_, *trained) = ((when, *map(int, shares)) for when, *shares in found)
    limit = [int(x) for x in re.search(r"would find (\d+)% and (\d+)%", printed).groups()]
    assert max(untrained[:2]) < 10
    assert all(0.75 * most < share <= most for share, most in zip(trained[:2], limit, strict=True))
    assert untrained[2] < 60 < 98 < trained[2]
    assert pixels_of(tmp_path / "drawn.png").std() > 0.05


def pixels_of(path):
    image = pytest.importorskip("matplotlib.image")
    return image.imread(path)


def test_without_matplotlib_the_numbers_come_and_the_picture_says_what_it_needs(tmp_path):
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ModuleNotFoundError('No module named matplotlib')\n")
    done = subprocess.run(
        [sys.executable, "-W", "error", BY_HAND / "step2_cross_entropy.py"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "the right letter is pulled up with" in done.stdout
    assert done.stderr.count("\n") == 1
    assert "pip install 'chainrule[train]'" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", sorted(path.name for path in BY_HAND.glob("*.py") if "Run me" in path.read_text("utf-8")))
def test_a_lesson_says_how_to_run_it(name):
    assert f"Run me: python examples/by_hand/{name}" in (BY_HAND / name).read_text(encoding="utf-8")


def test_every_lesson_is_run_here():
    source = Path(__file__).read_text(encoding="utf-8")
    programs = {path.name for path in BY_HAND.glob("*.py")} - {"differences.py", "network.py", "picture.py"}
    assert programs == set(re.findall(r'lesson\("([\w.]+)"[,)]', source))
