"""What is recorded of a run, and the pictures of it: numbers held against those computed by hand, and the safety of the page."""

import base64
import hashlib
import html.parser
import json
import math
import os
import random
import re
import signal
import sys

import numpy as np
import pytest
from benchmarks.watch import Worker

from chainrule.cli import main
from chainrule.errors import InputError, MissingDependencyError, ModelFileError, NonFiniteError
from chainrule.nn import modelfile
from chainrule.train import checkpoint as checkpoints
from chainrule.train import configure, progress, recording, report, resume, train
from chainrule.train import page as pages
from chainrule.train import probe as probes
from chainrule.train import run as runs
from chainrule.train import watch as watches
from chainrule.train.kinds import kind_of
from chainrule.train.page import page
from chainrule.train.recording import FILE, Recording
from chainrule.train.report import Run

TEXT = (
    "abelo arima benuri calda corin delivo dorema elino ferula galvor hanelo ibera jorini kalmo lirena malvi "
    "nerodo olira pelumo quirin roveda salino turelo uvani velora wendolo xaren yolimo zarefi"
)
WORDS = TEXT.split()
SMALL = {"hidden": (4,), "steps": 12, "samples": 20}


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(WORDS) + "\n")
    return path


@pytest.fixture
def no_pictures(monkeypatch):
    """For tests that look at other things than report.html."""
    monkeypatch.setattr("chainrule.train.table.TableReport.last_files", lambda *args: iter([]))
    monkeypatch.setattr("chainrule.train.names.report.NamesReport.last_files", lambda *args: iter([]))


@pytest.fixture
def no_page(no_pictures, monkeypatch):
    monkeypatch.setattr(runs, "page", lambda run: "not drawn in this test")


def watched(source, **chosen):
    """A trainer, and the watch over it."""
    config, points = configure(source, **chosen)
    kind = kind_of(config)
    trainer = kind.trainer(config, points)
    return trainer, watches.Watch(trainer, kind.probe(trainer))


def finished(trainer, watch):
    while trainer.step < trainer.config.steps:
        watch.advance()
    return watch.recording()


def folded(trainer, what):
    """The data or gradients of all parameters, as the state dict folds them."""
    pairs = {name: np.array(getattr(p, what), np.float64) for name, p in trainer.net.named_parameters()}
    return [np.asarray(x, np.float64) for x in modelfile.fold(pairs).values()]


# ---- what is noted of a step ----------------------------------------------------------------------------------------

KINDS = [
    ("moons", {**SMALL, "compile": False}),
    ("moons", {**SMALL, "compile": True}),
    ("moons", {**SMALL, "hidden": (3, 5), "optimizer": "adam", "batch_size": 7, "compile": False}),
    ("blobs", {**SMALL, "net": "tensor", "compile": False}),
    ("blobs", {**SMALL, "net": "tensor", "compile": True}),
    ("lecture", {"steps": 6}),
]


@pytest.mark.parametrize(("source", "chosen"), KINDS, ids=str)
def test_gradients_and_ratios_are_those_computed_by_hand(source, chosen):
    trainer, watch = watched(source, **chosen)
    config, points = configure(source, **chosen)
    twin = kind_of(config).trainer(config, points)
    by_hand = {}
    while twin.step < config.steps:
        step, before = twin.step, folded(twin, "data")
        twin.advance()
        by_hand[step] = (before, folded(twin, "grad"), folded(twin, "data"))
    found = finished(trainer, watch)
    assert [note.step for note in found.notes] == watches.noted_steps(config.steps, watches.how_many(config.steps, watch.probe))
    assert len(found.notes) >= 6
    for note in found.notes:
        assert note.lr == twin.rate(note.step)
        before, gradients, after = by_hand[note.step]
        for i, (x, g, y) in enumerate(zip(before, gradients, after, strict=True)):
            expected = [g.mean(), g.std(ddof=1) if g.size > 1 else math.nan, abs(g).max()]
            assert note.gradient[i] == pytest.approx(expected, rel=1e-9, abs=1e-15, nan_ok=True)
            ratio = (y - x).std() / x.std() if x.std() > 0 else math.nan
            assert note.ratio[i] == pytest.approx(ratio, rel=1e-6, nan_ok=True)


def test_parameters_have_the_names_and_shapes_of_layers(names):
    _, watch = watched("moons", **{**SMALL, "hidden": (4, 3)})
    assert watch.facts["parameters"] == [
        ["layer 1 weight", [4, 2]], ["layer 1 bias", [4]], ["layer 2 weight", [3, 4]], ["layer 2 bias", [3]],
        ["layer 3 weight", [1, 3]], ["layer 3 bias", [1]],
    ]  # fmt: skip
    assert watch.facts["layers"] == [["layer 1", "relu"], ["layer 2", "relu"], ["layer 3", "linear"]]
    _, watch = watched("names", file=str(names), hidden=5, steps=4)
    assert [name for name, _ in watch.facts["parameters"]] == [
        "embedding weight", "layer 1 weight", "layer 1 bias", "norm weight", "norm bias", "layer 2 weight", "layer 2 bias"
    ]  # fmt: skip
    assert watch.facts["layers"] == [["layer 1", "tanh"], ["layer 2", "linear"]]


def test_the_order_of_scalars_is_that_of_the_folded_state():
    trainer, watch = watched("moons", **{**SMALL, "hidden": (4, 3)})
    flat = watch.probe.flat(watch._data())
    assert flat.tolist() == np.concatenate([x.ravel() for x in folded(trainer, "data")]).tolist()


# ---- what is seen in a net ------------------------------------------------------------------------------------------


def layers_by_hand(trainer, rows):
    """What each layer of a net of scalars says about each row."""
    found = []
    for layer in trainer.net.layers:
        rows = [layer(row) for row in rows]
        rows = [row if isinstance(row, list) else [row] for row in rows]
        found.append(np.array([[z.data for z in row] for row in rows]))
    return found


def expect_counts(found, x, low, high):
    """A number at the edge of a bin may be on either side of it."""
    expected = np.histogram(x, probes.BINS, (low, high))[0]
    assert found.sum() == x.size
    assert abs(found - expected).sum() <= 2


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "linear"])
def test_activations_are_those_of_the_net(activation):
    trainer, watch = watched("moons", **SMALL, activation=activation, l2=0.0)
    watch.advance()
    for p in trainer.net.layers[0].neurons[0].parameters():  # so that some are far out
        p.data = 5.0
    expected = layers_by_hand(trainer, trainer.samples)
    view = watch.recording().views[-1]
    hidden = expected[0]
    extreme = {"tanh": abs(hidden) > 0.97, "sigmoid": abs(2 * hidden - 1) > 0.97}.get(activation)
    dead = (hidden <= 0).all(axis=0) if activation == "relu" else math.nan if extreme is None else extreme.all(axis=0)
    assert view.shares[0] == pytest.approx([math.nan if extreme is None else extreme.mean(), np.mean(dead)], nan_ok=True)
    assert np.isnan(view.shares[1]).all()
    for i, x in enumerate(expected):
        low, high = view.bounds[i]
        known = {"tanh": (-1, 1), "sigmoid": (0, 1)}.get(activation if i == 0 else "linear", (x.min(), x.max()))
        assert (low, high) == pytest.approx(known, rel=1e-12)
        expect_counts(view.counts[i], x, low, high)


def test_a_unit_that_never_fires_is_dead():
    trainer, watch = watched("moons", **SMALL)
    assert watch.recording().views[-1].shares[0, 1] == 0.0
    trainer.net.layers[0].neurons[1].b.data = -100.0
    assert watch.recording().views[-1].shares[0, 1] == 0.25


def test_saturation_by_hand():
    trainer, watch = watched("lecture", steps=3)
    for neuron in trainer.net.layers[1].neurons[:3]:
        neuron.b.data = 50.0
    last = watch.recording().views[-1]
    assert last.shares[1, 1] == 0.75
    by_hand = layers_by_hand(trainer, trainer.samples)
    assert last.shares[:, 0].tolist() == [float((abs(x) > 0.97).mean()) for x in by_hand]


def test_a_view_is_of_the_net_after_that_many_steps():
    trainer, watch = watched("lecture", steps=12)
    seen = {}
    for step in range(13):
        seen[step] = layers_by_hand(trainer, trainer.samples)
        if step < 12:
            watch.advance()
    found = watch.recording()
    assert [view.step for view in found.views] == [*(note.step for note in found.notes), 12]
    for view in found.views:
        for i, x in enumerate(seen[view.step]):
            expect_counts(view.counts[i], x, -1, 1)


@pytest.mark.parametrize(
    ("source", "chosen"), [("moons", SMALL), ("blobs", SMALL), ("moons", {**SMALL, "net": "tensor"})], ids=str
)
def test_field_and_confusion_are_those_of_the_model(source, chosen):
    trainer, watch = watched(source, **chosen, test_fraction=0.3)
    found = finished(trainer, watch)
    x1, x2 = found.arrays["axes"]
    scores = trainer.model.scores([[a, b] for b in x2 for a in x1])
    field = found.views[-1].field
    np.testing.assert_allclose(field.reshape(len(field), -1).T, scores, rtol=1e-5, atol=1e-5)
    predicted = [int(k) for k in trainer.model.decide(trainer.model.scores(trainer.test.X))]
    expected = np.zeros_like(found.arrays["confusion"])
    for truth, taken in zip(trainer.test.y, predicted, strict=True):
        expected[int(truth), taken] += 1
    assert found.arrays["confusion"].tolist() == expected.tolist()
    assert found.facts["judged"] == ["held-out", len(trainer.test), len(trainer.test)]
    assert found.arrays["training"][:, :2].tolist() == trainer.train.X
    assert found.arrays["held_out"][:, 2].tolist() == trainer.test.y


def test_a_regression_has_its_field_in_its_unit(tmp_path):
    path = tmp_path / "plane.csv"
    path.write_text("a,b,z\n" + "".join(f"{i % 6},{i // 6},{1e6 + 1000 * i * i}\n" for i in range(36)))
    trainer, watch = watched(str(path), target="z", hidden=(4,), steps=40)
    found = finished(trainer, watch)
    x1, x2 = found.arrays["axes"]
    expected = trainer.model.decide(trainer.model.scores([[x1[0], x2[0]], [x1[-1], x2[-1]]]))
    assert found.views[-1].field[0, [0, -1], [0, -1]] == pytest.approx(expected, rel=1e-6)
    assert found.arrays["confusion"].size == 0


def test_words_are_those_of_a_net_with_statistics_of_the_samples(names):
    trainer, watch = watched("names", file=str(names), hidden=12, embedding=4, batch_size=8, steps=30)
    found = finished(trainer, watch)
    assert [step for step, _ in found.words] == [*sorted(watch.spelling), 30]
    trainer.model.calibrate(watch.probe.samples)
    expected = trainer.model.spell(1.0, np.random.default_rng(trainer.config.seed), 6, 15)
    assert found.words[-1][1] == expected
    assert found.words[0][1] != expected
    trainer.net.eval()
    hidden = watch.probe.samples
    for module in [*trainer.net][:5]:
        hidden = module(hidden)
    assert found.views[-1].shares[0, 0] == pytest.approx((abs(hidden.data) > 0.97).mean())


def test_numbers_that_are_not_finite_can_be_seen():
    trainer, watch = watched("moons", **SMALL, activation="tanh")
    trainer.net.layers[1].neurons[0].b.data = math.nan
    found = watch.recording()
    assert found.views[-1].counts[0].sum() > 0
    assert found.views[-1].counts[1].sum() == 0
    assert "<svg" in page(Run(found, report.columns_of("step,loss,accuracy,lr\n")))


# ---- which steps, and what it costs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 3, 9, 10, 11, 100, 200_000])
def test_the_first_and_the_last_step_are_noted(steps):
    for count in (10, 11, 40):
        found = watches.noted_steps(steps, count)
        assert found == sorted(set(found))
        assert (found[0], found[-1]) == (0, steps - 1)
        assert min(steps, count) - count // 3 <= len(found) <= min(steps, count)


def test_a_net_that_is_large_is_seen_less_and_less_often(names):
    _, small = watched("names", file=str(names), hidden=12, steps=20_000, compile=False)
    _, large = watched("names", file=str(names), hidden=4000, embedding=40, steps=500, compile=False)
    assert len(small.due) > len(large.due)
    assert len(large.due) <= watches.LEAST
    _, wide = watched("moons", net="tensor", hidden=(1500, 1500), steps=10)
    assert wide.probe.rows < small.probe.rows + 20 * 20 + 1
    assert len(wide.due) == 10


def test_what_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(watches, "MOST_KEPT", 3 * 17 * 2)
    trainer, watch = watched("moons", **SMALL)
    most = 0
    while trainer.step < 12:
        watch.advance()
        most = max(most, len(watch._pending))
    assert most == 2
    monkeypatch.undo()
    assert watch.recording().encode() == finished(*watched("moons", **SMALL)).encode()


def test_the_benchmark_measures():
    worker = Worker("moons")
    chosen = {"steps": 3, "samples": 10, "compile": False}
    plain, watching = (worker.train(chosen, report=wanted) for wanted in (False, True))
    assert 10 * plain["recording"] < watching["recording"] < watching["wall"]


# ---- the run --------------------------------------------------------------------------------------------------------


def same_run(kind, path):
    chosen = {
        "scalar": ("moons", {**SMALL, "compile": False}),
        "compiled": ("moons", {**SMALL, "compile": True}),
        "tensor": ("moons", {**SMALL, "net": "tensor", "batch_size": 7}),
        "names": ("names", {"file": str(path), "hidden": 8, "batch_size": 4, "steps": 30}),
        "compiled names": ("names", {"file": str(path), "hidden": 8, "batch_size": 4, "steps": 30, "compile": True}),
    }
    source, settings = chosen[kind]
    return configure(source, **settings)


@pytest.mark.parametrize("kind", ["scalar", "compiled", "tensor", "names", "compiled names"])
def test_the_result_is_the_same_without_recording_bit_by_bit(kind, names, tmp_path, no_page):
    random.seed(5)
    np.random.seed(5)
    state = random.getstate(), np.random.get_state()[1].tolist()
    train(*same_run(kind, names), tmp_path / "with")
    train(*same_run(kind, names), tmp_path / "without", report=False)
    found, plain = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("with", "without"))
    assert set(found) - set(plain) == {FILE, "report.html"}
    assert {name: found[name] for name in plain} == plain
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state


@pytest.mark.parametrize("kind", ["scalar", "compiled", "tensor", "names"])
@pytest.mark.parametrize("when", [1, 6, 11])
def test_a_resumed_run_has_the_recording_of_one_that_was_not_interrupted(kind, when, names, tmp_path, no_page, monkeypatch):
    train(*same_run(kind, names), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(
            progress.Silent, "show", lambda self, record: record.step == when - 1 and os.kill(os.getpid(), signal.SIGINT)
        )
        assert train(*same_run(kind, names), tmp_path / "parts").step == when
    assert recording.read(tmp_path / "parts").facts["step"] == when
    resume(tmp_path / "parts")
    assert (tmp_path / "parts" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()


def test_what_is_beyond_the_checkpoint_is_cut(tmp_path, no_page, monkeypatch):
    """Killed between its two files, a run has a recording that is ahead of the checkpoint."""
    train(*configure("moons", **SMALL), tmp_path / "whole")
    save = runs._Run._save

    def killed(self, **how):
        if self.trainer.step > 4:
            self._save_recording()
            raise KeyboardInterrupt
        save(self, **how)

    with monkeypatch.context() as patch:
        patch.setattr(runs._Run, "_save", killed)
        patch.setattr(runs, "_replacing", runs.contextlib.nullcontext)
        with pytest.raises(KeyboardInterrupt):
            train(*configure("moons", **SMALL), tmp_path / "parts", checkpoint_every=4)
    assert recording.read(tmp_path / "parts").facts["step"] == 8
    assert checkpoints.Checkpoint(tmp_path / "parts/checkpoint.safetensors").facts["step"] == 4
    resume(tmp_path / "parts")
    assert (tmp_path / "parts" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()


def test_a_longer_run_keeps_what_was_recorded(tmp_path, no_page):
    train(*configure("moons", **SMALL), tmp_path / "run")
    before = recording.read(tmp_path / "run")
    resume(tmp_path / "run", steps=30)
    after = recording.read(tmp_path / "run")
    kept = [note.step for note in before.notes]
    assert [note.step for note in after.notes][: len(kept)] == kept
    assert (after.notes[-1].step, after.views[-1].step, after.facts["steps"]) == (29, 30, 30)


def test_ctrl_c_keeps_the_recording_and_draws_it(tmp_path, no_pictures, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(progress.Silent, "show", lambda self, record: record.step == 4 and os.kill(os.getpid(), signal.SIGINT))
        outcome = train(*configure("moons", **SMALL), tmp_path / "run")
    assert (outcome.interrupted, outcome.step) == ("SIGINT", 5)
    drawn = (tmp_path / "run/report.html").read_text()
    assert "Stopped after 5 of 12 steps. At last: loss " in drawn
    assert [view.step for view in recording.read(tmp_path / "run").views] == [0, 1, 2, 3, 4, 5]
    resume(tmp_path / "run")
    assert "Complete: 12 steps. On all training samples: loss " in (tmp_path / "run/report.html").read_text()


def test_a_run_that_ran_away_is_drawn_up_to_there(tmp_path):
    config, points = configure("moons", **{**SMALL, "lr": 1e100, "loss": "mse", "l2": 0.0})
    with pytest.raises(NonFiniteError):
        train(config, points, tmp_path / "run")
    drawn = (tmp_path / "run/report.html").read_text()
    assert "Stopped after 1 of 12 steps" in drawn
    assert "Update to weight" in drawn


@pytest.mark.parametrize("net", ["scalar", "tensor"])
@pytest.mark.parametrize("lr", [1e6, 1e10, 1e30, 1e308])
def test_a_run_that_ran_far_away_says_so_and_is_drawn(tmp_path, lr, net):
    with pytest.raises(NonFiniteError, match=r"^step \d+: the .*; a run keeps its learning rate, so begin") as caught:
        train(*configure("moons", steps=30, lr=lr, net=net), tmp_path / "run")
    assert "not written" not in str(caught.value)
    drawn = (tmp_path / "run/report.html").read_text()
    assert not Parsed(drawn).open
    assert drawn == page(report.read(tmp_path / "run"))
    curves = report.read(tmp_path / "run").curves
    largest = max([*curves["loss"], *curves["lr"], 0.0])
    assert ("What is beyond 1e30 is drawn there." in drawn) >= (largest > 1e30)


def test_numbers_up_to_infinity_are_drawn(folders):
    run = report.read(folders / "moons")
    far = [0.5, 1e29, 1e170, 1e308, math.inf, -math.inf, math.nan]
    curves = {"step": list(map(float, range(7))), "loss": [abs(y) for y in far], "accuracy": [0.5] * 7, "lr": far}
    notes = [note._replace(gradient=note.gradient * 1e300, ratio=note.ratio * math.inf) for note in run.recording.notes]
    views = [view._replace(bounds=np.array([[-1e308, 1e308], [0.0, math.inf]])) for view in run.recording.views]
    wild = Run(Recording(run.recording.facts, run.recording.arrays, notes, views), curves)
    assert not Parsed(page(wild)).open
    drawn = lines(report.loss_figure(wild))["training"].get_ydata()
    assert drawn == pytest.approx([0.5, 1e29, 1e30, 1e30, 1e30, 1e30, math.nan], nan_ok=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_up_to_the_largest_number_are_counted(dtype):
    most = np.finfo(dtype).max
    counts, bounds = probes.counted(watches._bounded(np.array([[-most, 0.0, most]], dtype)), "linear")
    assert (counts.sum(), bounds) == (3, (-1e30, 1e30))


def broken(*args):
    raise OverflowError("too\nlarge.")


def test_a_report_that_fails_is_a_note(tmp_path, monkeypatch, no_pictures):
    with monkeypatch.context() as patch:
        patch.setattr(progress.Silent, "show", lambda self, record: record.step == 4 and os.kill(os.getpid(), signal.SIGINT))
        train(*configure("moons", **SMALL), tmp_path / "run")
    assert (tmp_path / "run/report.html").exists()
    with monkeypatch.context() as patch:
        patch.setattr(runs, "page", broken)
        outcome = resume(tmp_path / "run")
        assert "report.html was not written: OverflowError: too large" in outcome.notes
        assert outcome.final is not None
        assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) == 14
        assert not (tmp_path / "run/report.html").exists()  # not that of 5 steps
        with pytest.raises(NonFiniteError, match=r"^step 1: .*run; report.html was not written: OverflowError: too large; a run"):
            train(*configure("moons", **SMALL, lr=1e100, loss="mse", l2=0.0), tmp_path / "away" / "run")
    resume(tmp_path / "run")
    assert "Complete: 12 steps" in (tmp_path / "run/report.html").read_text()


def test_a_recording_that_fails_is_a_note(tmp_path, monkeypatch, no_pictures):
    monkeypatch.setattr(watches, "_view", broken)
    outcome = train(*configure("moons", **SMALL), tmp_path / "run", checkpoint_every=3)
    (note,) = (note for note in outcome.notes if "written" in note)
    assert note == "recording.safetensors, and so report.html, was not written: OverflowError: too large"
    assert outcome.final is not None
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) == 14


def test_a_picture_that_fails_costs_no_table(tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.train.pictures.loss_curve", lambda *args, **kwargs: broken())
    outcome = train(*configure("moons", **SMALL), tmp_path / "run")
    assert "loss.png was not written: OverflowError: too large" in outcome.notes
    found = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"metrics.csv", "model.safetensors", "report.html"} <= found
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) == 14


@pytest.mark.parametrize("again", [None, True, False])
def test_a_run_without_a_report_stays_so_unless_it_is_asked_for(tmp_path, no_page, monkeypatch, again):
    with monkeypatch.context() as patch:
        patch.setattr(progress.Silent, "show", lambda self, record: record.step == 4 and os.kill(os.getpid(), signal.SIGINT))
        train(*configure("moons", **SMALL), tmp_path / "run", report=False)
    assert not (tmp_path / "run/report.html").exists()
    assert not (tmp_path / "run" / FILE).exists()
    resume(tmp_path / "run", report=again)
    assert (tmp_path / "run/report.html").exists() == bool(again)
    if again:
        assert recording.read(tmp_path / "run").notes[0].step >= 5


def test_a_lost_report_is_drawn_again(tmp_path, no_pictures, monkeypatch):
    train(*configure("moons", **SMALL), tmp_path / "run")
    monkeypatch.setattr(runs.Report, "last_names", lambda self: [], raising=False)
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    (tmp_path / "run/report.html").unlink()
    monkeypatch.setattr("chainrule.train.table.TableReport.last_names", lambda self: [])
    assert not resume(tmp_path / "run").was_complete
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before
    assert resume(tmp_path / "run").was_complete


@pytest.mark.parametrize("damage", ["truncated", "empty", "another run", "a model", "malformed"])
def test_a_recording_that_does_not_fit_is_begun_anew(tmp_path, no_page, monkeypatch, damage):
    with monkeypatch.context() as patch:
        patch.setattr(progress.Silent, "show", lambda self, record: record.step == 4 and os.kill(os.getpid(), signal.SIGINT))
        train(*configure("moons", **SMALL), tmp_path / "run")
    path = tmp_path / "run" / FILE
    found = recording.read(path)
    content = {
        "truncated": path.read_bytes()[:200],
        "empty": b"",
        "another run": Recording(
            {**found.facts, "run": {**found.facts["run"], "seed": 0}}, found.arrays, found.notes, found.views
        ).encode(),
        "a model": (tmp_path / "run/checkpoint.safetensors").read_bytes(),
        "malformed": Recording({**found.facts, "layers": []}, found.arrays, found.notes, found.views).encode(),
    }[damage]
    path.write_bytes(content)
    outcome = resume(tmp_path / "run")
    assert outcome.final is not None
    (note,) = (note for note in outcome.notes if "report.html" in note)
    assert note.endswith("; so report.html begins at step 5")
    assert recording.read(path).notes[0].step >= 5


def test_the_command_switches_it_off(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*args):
        with pytest.raises(SystemExit) as caught:
            main(list(args))
        return caught.value.code, capsys.readouterr()

    options = ("train", "lecture", "--steps", "3", "--quiet", "--out")
    assert run(*options, "plain", "--no-report")[0] == 0
    assert not (tmp_path / "plain" / FILE).exists()
    assert run(*options, "drawn")[0] == 0
    assert (tmp_path / "drawn" / FILE).exists()
    assert (tmp_path / "drawn/report.html").exists()
    assert run("train", "--resume", "plain", "--steps", "5", "--report")[0] == 0
    assert (tmp_path / "plain/report.html").exists()
    assert "report.html" in run("train", "--help")[1].out


# ---- the pictures ---------------------------------------------------------------------------------------------------

FIGURES = {
    "moons": {"loss", "learning_rate", "gradient", "update", "activation", "saturation", "boundary", "confusion"},
    "plane": {"loss", "learning_rate", "gradient", "update", "activation", "saturation", "boundary"},
    "iris": {"loss", "learning_rate", "gradient", "update", "activation", "saturation", "confusion"},
    "names": {"loss", "learning_rate", "gradient", "update", "activation", "saturation", "words"},
    "line": {"loss", "learning_rate", "gradient", "update", "activation", "boundary", "confusion"},
}
EVERY = sorted(set().union(*FIGURES.values()))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run of each kind."""
    root = tmp_path_factory.mktemp("runs")
    (root / "names.txt").write_text("\n".join(WORDS) + "\n")
    (root / "plane.csv").write_text("a,b,z\n" + "".join(f"{i % 6},{i // 6},{i * i}\n" for i in range(36)))
    settings = {
        "moons": ("moons", {**SMALL, "test_fraction": 0.2}),
        "plane": (str(root / "plane.csv"), {"target": "z", "hidden": (4,), "steps": 12}),
        "iris": ("iris", {"hidden": (4,), "steps": 12, "activation": "sigmoid"}),
        "names": ("names", {"file": str(root / "names.txt"), "hidden": 12, "batch_size": 8, "steps": 60}),
        "line": ("blobs", {"hidden": (), "steps": 12, "samples": 30}),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chainrule.train.table.TableReport.last_files", lambda *args: iter([]))
        patch.setattr("chainrule.train.names.report.NamesReport.last_files", lambda *args: iter([]))
        for name, (source, chosen) in settings.items():
            train(*configure(source, **chosen), root / name)
    return root


def test_public_names_are_sorted_and_documented():
    assert sorted(report.__all__) == report.__all__
    assert {f"{name}_figure" for name in EVERY} | {"Run", "read"} == set(report.__all__)
    for name in report.__all__:
        assert getattr(report, name).__doc__


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("run", sorted(FIGURES))
def test_every_picture_is_a_figure_or_a_sentence(folders, run, name, tmp_path):
    from matplotlib.figure import Figure

    draw = getattr(report, f"{name}_figure")
    if name not in FIGURES[run]:
        with pytest.raises(InputError, match=r"^[a-z].*[a-z0-9]$"):
            draw(folders / run)
        return
    figure = draw(str(folders / run))
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png")
    assert len(np.unique(__import__("matplotlib.image").image.imread(tmp_path / "figure.png").reshape(-1, 4), axis=0)) > 20
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def lines(figure, axes=0):
    return {line.get_label(): line for line in figure.axes[axes].get_lines() if not line.get_label().startswith("_")}


def test_the_lines_are_the_recorded_numbers(folders):
    run = report.read(folders / "moons")
    notes = run.recording.notes
    drawn = lines(report.update_figure(run))
    assert "layer 2 bias" not in drawn  # a single number
    assert drawn["layer 1 weight"].get_xdata().tolist() == [note.step for note in notes]
    assert drawn["layer 1 weight"].get_ydata() == pytest.approx([math.log10(note.ratio[0]) for note in notes])
    assert (drawn["layer 1 weight"].get_linestyle(), drawn["layer 1 bias"].get_linestyle()) == ("-", "--")
    level = report.update_figure(run).axes[0].get_lines()[0]
    assert set(level.get_ydata()) == {-3.0}
    drawn = lines(report.gradient_figure(run))
    assert drawn["layer 2 weight"].get_ydata() == pytest.approx([math.log10(note.gradient[2, 1]) for note in notes])
    saturated = lines(report.saturation_figure(folders / "names"))["layer 1, saturated"]
    views = report.read(folders / "names").recording.views
    assert saturated.get_ydata() == pytest.approx([100 * view.shares[0, 0] for view in views])


def test_the_curves_are_those_of_metrics_csv(folders):
    run = report.read(folders / "moons")
    loss, accuracy = lines(report.loss_figure(run)), lines(report.loss_figure(run), 1)
    assert loss["training"].get_ydata().tolist() == run.curves["loss"]
    assert accuracy["training"].get_ydata() == pytest.approx([100 * y for y in run.curves["accuracy"]])
    assert len(accuracy["held out"].get_ydata()) == sum(map(math.isfinite, run.curves["test_accuracy"]))
    rate = report.learning_rate_figure(run).axes[0].get_lines()[0]
    assert rate.get_ydata().tolist() == run.curves["lr"][:-1]
    batches = lines(report.loss_figure(folders / "names"))
    assert {"training, in batches", "running mean", "all of it, at the end", "validation", "a fair guess"} == set(batches)


def test_a_long_curve_is_drawn_as_means():
    steps, means = report._thinned(list(range(1000)), [float(k) for k in range(1000)])
    assert len(steps) == 250
    assert steps == means
    assert (means[0], means[-1]) == (1.5, 997.5)


def test_a_gradient_far_below_the_others_is_told_in_words(folders):
    drawn = lines(report.gradient_figure(folders / "names"))
    (label,) = (label for label in drawn if label.startswith("layer 1 bias"))  # before BatchNorm it can do nothing
    assert re.fullmatch(r"layer 1 bias: below -\d+", label)
    assert not len(drawn[label].get_xdata())


def test_a_boundary_of_an_early_step(folders):
    run = report.read(folders / "moons")
    images = [report.boundary_figure(run, step).axes[0].get_images()[0].get_array() for step in (0, 3, None)]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])
    before = max(view.step for view in run.recording.views if view.step <= 3)
    again = report.boundary_figure(run, step=before).axes[0].get_images()[0].get_array()
    assert np.array_equal(images[1], again)
    with pytest.raises(InputError, match=r"^step is -1, and the first that was recorded is 0$"):
        report.boundary_figure(run, step=-1)


def test_colours_are_of_the_winner():
    margins = report._margins(np.array([[[1.0, 2.0]], [[3.0, 1.0]], [[0.0, 0.0]]]))
    assert {k: m.tolist() for k, m in margins.items()} == {0: [[-2.0, 1.0]], 1: [[2.0, -1.0]]}
    assert report._finer(np.array([[0.0, 1.0], [2.0, 3.0]]))[0, [0, -1]].tolist() == [0.0, 1.0]


def test_large_nets_and_many_classes_are_drawn(tmp_path, no_pictures):
    path = tmp_path / "many.csv"
    path.write_text("a,b,k\n" + "".join(f"{i % 9},{i // 9},class number {i % 45:02}\n" for i in range(180)))
    train(*configure(str(path), target="k", hidden=(3,) * 14, steps=3, net="tensor"), tmp_path / "run")
    run = report.read(tmp_path / "run")
    assert len(lines(report.update_figure(run))) <= report.MOST_LINES
    assert all(name.endswith("weight") for name in lines(report.update_figure(run)))
    assert len(report.activation_figure(run).axes) == report.MOST_LINES
    assert len(report.confusion_figure(run).axes[0].get_yticks()) == report.MOST_NAMES
    assert len(page(run)) < 2_000_000


def test_what_cannot_be_read_is_a_sentence(folders, tmp_path):
    with pytest.raises(ModelFileError, match=r"^there is no .*: a run records itself .* unless with --no-report$"):
        report.loss_figure(tmp_path)
    (tmp_path / FILE).write_bytes((folders / "moons" / FILE).read_bytes())
    with pytest.raises(ModelFileError, match=r"^cannot read .*metrics.csv: No such file"):
        report.loss_figure(tmp_path)
    for content in ("", "step,loss\n", "step,loss,lr\n1,2\n", "step,loss,lr\n1,2,x\n"):
        (tmp_path / "metrics.csv").write_text(content)
        with pytest.raises(ModelFileError, match=r"metrics.csv is not the table that a run writes$"):
            report.read(tmp_path)
    (tmp_path / FILE).write_bytes(b"x" * 100)
    with pytest.raises(ModelFileError, match="is no recording of chainrule, or it is truncated"):
        report.read(tmp_path)


def test_without_matplotlib_it_is_said(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'chainrule\[train\]'"):
        report.loss_figure(folders / "moons")


# ---- report.html ----------------------------------------------------------------------------------------------------


class Parsed(html.parser.HTMLParser):
    """The elements of a page, its visible text, and its scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text, self.scripts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "br", "input", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open and self.open[-1] == "script" else self.text).append(data)


@pytest.mark.parametrize("run", sorted(FIGURES))
def test_the_page_holds_every_picture(folders, run):
    content = (folders / run / "report.html").read_text()
    found = Parsed(content)
    assert not found.open
    titles = [title for title in re.findall(r"<h2>(.*?)</h2>", content) if not title.startswith(("Numbers", "Layers"))]
    assert len(titles) == len(FIGURES[run])
    assert content.count("<figcaption>") == len(titles)
    assert sum(tag == "svg" for tag, _ in found.elements) == len(titles) - ("words" in FIGURES[run])
    assert len(content) < 2_000_000
    assert any(tag == "input" for tag, _ in found.elements) == ("boundary" in FIGURES[run])
    assert page(report.read(folders / run)) == content  # the same again, from the folder


def test_the_page_needs_no_network_and_allows_its_own_script_alone(folders):
    content = (folders / "moons/report.html").read_text()
    found = Parsed(content)
    (policy,) = (x["content"] for tag, x in found.elements if tag == "meta" and x.get("http-equiv") == "Content-Security-Policy")
    (script,) = found.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
    links = [x[name] for _, x in found.elements for name in ("href", "xlink:href", "src") if name in x]
    assert links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not [x for _, x in found.elements if any(name.startswith("on") for name in x)]
    assert set(re.findall(r"https?://[^\s\"'<>]+", content)) <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}


def test_what_is_drawn_on_top_is_the_last_step(folders):
    found = Parsed((folders / "moons/report.html").read_text())
    frames = [int(x["data-frame"]) for tag, x in found.elements if tag == "image" and "data-frame" in x]
    assert frames == list(range(len(report.read(folders / "moons").recording.views)))
    (slider,) = (x for tag, x in found.elements if tag == "input")
    assert slider["data-steps"].split() == [str(view.step) for view in report.read(folders / "moons").recording.views]
    assert slider["value"] == slider["max"] == str(len(frames) - 1)


def test_the_numbers_are_in_the_text(folders):
    run = report.read(folders / "moons")
    text = "".join(Parsed((folders / "moons/report.html").read_text()).text)
    note, view = run.recording.notes[-1], run.recording.views[-1]
    assert f"{note.gradient[0, 1]:.3g}" in text
    assert f"{math.log10(note.ratio[0]):.3g}" in text
    assert f"{100 * view.shares[0, 1]:.1f} %" in text
    assert f"loss {run.curves['loss'][-1]:.4g}" in text


NASTY = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "a\nb\x00\x07c\u202e",
    "😀 & $\\frac$ {} ${title} %s",
    "--><!--</svg><style>*{display:none}",
    "x" * 10_000,
)


def test_hostile_text_is_text(tmp_path, no_pictures):
    quoted = ['"' + name.replace('"', '""').replace("\x00", "") + '"' for name in NASTY]
    rows = [f"{i % 7},{i // 7},{quoted[i % len(quoted)]}" for i in range(42)]
    path = tmp_path / os.fsdecode(b"a<b>&\"' \xff\x01.csv")
    path.write_text(",".join([quoted[0], quoted[1], "t"]) + "\n" + "\n".join(rows) + "\n", encoding="utf-8")
    train(*configure(str(path), target="t", hidden=(3,), steps=3), tmp_path / "run")
    content = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    usual = Parsed(content)
    assert not usual.open
    assert len(usual.scripts) == 1
    assert {tag for tag, _ in usual.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "ul", "li", "div", "figure", "figcaption"),
        *("svg", "defs", "g", "path", "use", "image", "text", "tspan", "clippath", "rect"),
        *("label", "input", "output", "section", "table", "thead", "tbody", "tr", "th", "td", "script"),
    }
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", content)
    assert "a<b>&\"' ��.csv" in "".join(usual.text)


def test_hostile_words_are_text(folders):
    run = report.read(folders / "names")
    words = [(0, list(NASTY)), (5, ["<b>", "\u202eabc"])]
    changed = Run(
        Recording(run.recording.facts, run.recording.arrays, run.recording.notes, run.recording.views, words), run.curves
    )
    found = Parsed(page(changed))
    assert not found.open
    assert len(found.scripts) == 1
    assert NASTY[0] in "".join(found.text)
    assert "�abc" in "".join(found.text)
    report.words_figure(changed).savefig(os.devnull, format="png")


def test_a_recording_is_no_code(folders):
    """Whoever sends a recording chooses what the page says, but no more."""
    run = report.read(folders / "moons")
    facts = json.loads(json.dumps(run.recording.facts))
    facts |= {
        "data": NASTY[0], "about": list(NASTY), "classes": list(NASTY[:2]), "columns": list(NASTY[3:5]),
        "parameters": [[NASTY[1] + " weight", shape] for _, shape in facts["parameters"]],
        "layers": [[NASTY[0], NASTY[1]] for _ in facts["layers"]],
    }  # fmt: skip
    found = Parsed(page(Run(Recording(facts, run.recording.arrays, run.recording.notes, run.recording.views), run.curves)))
    assert not found.open
    assert len(found.scripts) == 1
    assert not [tag for tag, _ in found.elements if tag in ("img", "b")]


def test_every_caption_is_one_sentence():
    sections = [section for section in vars(pages).values() if isinstance(section, pages.Section)]
    assert len(sections) == 10
    for section in sections:
        assert re.fullmatch(r"[A-Z][^.]*(\d\.\d[^.]*)*\.", section.caption), section.title
