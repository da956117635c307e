"""The training loop, run folders, checkpoints and models. The slow parts (processes that are killed) use small nets."""

import contextlib
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import chainrule
from chainrule import native, nn
from chainrule.data import Dataset, read_csv
from chainrule.errors import DataError, DomainError, InputError, ModelFileError, NonFiniteError, RunError
from chainrule.show import picture as graph_picture
from chainrule.train import Config, Model, Trainer, compiling, configure, pictures, progress, resume, tensorfile, train
from chainrule.train import checkpoint as checkpoints
from chainrule.train import folder as folders
from chainrule.train import run as runs
from chainrule.train.compiling import PAYS_FROM
from chainrule.train.loop import Record, make_trainer
from chainrule.train.names import NamesRecord
from chainrule.train.objectives import OBJECTIVES, SHORT_NAMES, Objective, fitting
from chainrule.train.remarks import remarks, worse_than_a_guess
from chainrule.train.table import RecordInWords

PNG = b"\x89PNG\r\n\x1a\n"
QUICK = {"hidden": (4,), "steps": 12}


@pytest.fixture
def no_pictures(monkeypatch):
    """For tests that look at other things: drawing takes most of the time of a short run."""
    monkeypatch.setattr(pictures, "loss_curve", lambda *args, **kwargs: PNG)
    monkeypatch.setattr(pictures, "decision_boundary", lambda *args: PNG)
    monkeypatch.setattr(pictures, "svg", lambda dot: "not drawn in this test")
    monkeypatch.setattr(runs, "page", lambda run: "not drawn in this test")


def quick(**chosen):
    return configure("moons", **{**QUICK, "samples": 20, **chosen})


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- settings -------------------------------------------------------------------------------------------------------


def test_moons_by_default_is_the_micrograd_demo():
    from micrograd.nn import MLP

    config, points = configure("moons")
    assert (config.hidden, config.loss, config.l2, config.lr) == ((16, 16), "max_margin", 1e-4, 1.0)
    assert (config.seed, config.steps, len(points)) == (1337, 100, 100)
    random.seed(1337)
    peer = MLP(2, [16, 16, 1])
    trainer = Trainer(config, points)
    for _ in range(2):
        losses = [(1 + -(2 * y - 1) * peer(x)).relu() for x, y in zip(points.X, points.y, strict=True)]
        total = sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in peer.parameters())
        peer.zero_grad()
        total.backward()
        for p in peer.parameters():
            p.data -= (1.0 - 0.9 * trainer.step / 100) * p.grad
        assert trainer.advance().loss == pytest.approx(total.data, rel=1e-12)
    assert [p.data for _, p in trainer.parameters] == pytest.approx([p.data for p in peer.parameters()], rel=1e-9)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"lr": 0.0}, "lr must be a finite number above 0, not 0.0"),
        ({"lr": -1}, "lr must be a finite number above 0, not -1"),
        ({"lr": math.nan}, "finite"),
        ({"l2": -1.0}, "l2 must be"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"hidden": (4, 0)}, "hidden must be"),
        ({"activation": "relo"}, "did you mean 'relu'"),
        ({"optimizer": "adm"}, "did you mean 'adam'"),
        ({"loss": "max_margn"}, "did you mean 'max_margin'"),
        ({"loss": "cross_entropy"}, "does not fit moons, which is a binary task; use max_margin or binary_cross_entropy or mse"),
        ({"momentum": 1.0}, "below 1"),
        ({"momentum": 0.9, "optimizer": "adam"}, "belongs to sgd"),
        ({"batch_size": 21}, "from 1 to 20"),
        ({"batch_size": 0}, "at least 1"),
        ({"test_fraction": 1.0}, "below 1"),
        ({"target": "label"}, "are for CSV files"),
        ({"stepps": 3}, "unknown setting 'stepps'; did you mean 'steps'"),
    ],
)
def test_settings_are_checked(chosen, words):
    with pytest.raises(InputError, match=words):
        quick(**chosen)


def test_unknown_sources():
    with pytest.raises(InputError, match="did you mean 'circles'"):
        configure("circle")
    with pytest.raises(DataError, match="there is no file"):
        configure("absent.csv", target="y")
    with pytest.raises(InputError, match="not for a file"):
        configure("absent.csv", samples=3)


@pytest.mark.parametrize(
    ("chosen", "steps", "lr"),
    [
        ({}, 100, 1.0),
        ({"batch_size": 100}, 100, 1.0),
        ({"batch_size": 16}, 300, 0.5),
        ({"batch_size": 16, "steps": 100}, 100, 0.5),
        ({"batch_size": 16, "lr": 1.0}, 300, 1.0),
        ({"batch_size": 16, "optimizer": "adam"}, 300, 0.02),
    ],
)
def test_batches_get_more_and_smaller_steps(chosen, steps, lr):
    config, _ = configure("moons", **chosen)
    assert (config.steps, config.lr) == (steps, lr)


@pytest.mark.parametrize("batch_size", [10, 16, 25, 32, 50])
def test_moons_in_batches_end_with_every_point_right(batch_size):
    if native.status()["engine"] == "pure" and batch_size != 16:
        pytest.skip("one size is enough on the pure engine")
    trainer = Trainer(*configure("moons", batch_size=batch_size))
    while trainer.step < trainer.config.steps:
        trainer.advance()
    assert trainer.final_record().measure == 1.0


@pytest.mark.parametrize(
    ("chosen", "lr"),
    [
        ({}, 1.0),
        ({"optimizer": "sgd"}, 1.0),
        ({"optimizer": "adam"}, 0.02),
        ({"momentum": 0.9}, 0.1),
        ({"lr": 0.3, "momentum": 0.9}, 0.3),
    ],
)
def test_the_learning_rate_fits_the_optimiser(chosen, lr):
    assert quick(**chosen)[0].lr == pytest.approx(lr)


def test_settings_survive_json():
    config, _ = quick(momentum=0.5, batch_size=7, test_fraction=0.25)
    assert Config.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    for broken, words in (
        ({}, "do not say what it is trained on"),
        (None, "do not say what it is trained on"),
        ({"data": "moons", "color": 1}, "there is no setting 'color'"),
        ({"data": "moons", "lr": -1.0}, "lr must be"),
    ):
        with pytest.raises(ModelFileError, match=words):
            Config.from_dict(broken)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"noise": 0.2},
        {"lr": 0.5},
        {"l2": 0.1},
        {"momentum": 0.5, "lr": 1.0},
        {"weight_decay": 0.1},
        {"activation": "tanh"},
        {"optimizer": "adam"},
        {"optimizer": "adamw", "lr": 0.02},
        {"loss": "bce"},
        {"loss": "mse"},
        {"batch_size": 5},
        {"hidden": (5,)},
        {"hidden": ()},
        {"standardize": True},
        {"test_fraction": 0.5},
        {"steps": 13},
    ],
    ids=str,
)
def test_every_setting_changes_the_numbers(change):
    def losses(**chosen):
        trainer = Trainer(*quick(**chosen))
        return [trainer.advance().loss for _ in range(3)]

    assert losses(**change) != losses()
    assert losses(**change) == losses(**change)


# ---- one step -------------------------------------------------------------------------------------------------------


def test_global_random_is_put_back():
    random.seed(3)
    before = random.getstate()
    Trainer(*quick()).advance()
    assert random.getstate() == before


def test_every_task_learns(tmp_path):
    rows = "".join(f"{x},{y},{2 * x - y + 0.25}\n" for x in range(6) for y in range(6))
    (tmp_path / "plane.csv").write_text("x,y,z\n" + rows)
    for source, chosen, name in (("iris", {}, "accuracy"), (str(tmp_path / "plane.csv"), {"target": "z"}, "rmse")):
        trainer = Trainer(*configure(source, steps=60, **chosen))
        first = trainer.advance()
        while trainer.step < 60:
            trainer.advance()
        last = trainer.final_record()
        assert trainer.measure_name == name
        assert last.loss < 0.5 * first.loss
        assert last.measure > 0.9 if name == "accuracy" else last.measure < 2.0
        assert last.test_measure > 0.8 if name == "accuracy" else last.test_measure < 3.0


def test_standardisation_is_fitted_on_the_training_part_only(tmp_path):
    (tmp_path / "p.csv").write_text("x,label\n" + "".join(f"{i * i},{'ab'[i % 2]}\n" for i in range(40)))
    config, points = configure(str(tmp_path / "p.csv"), target="label", test_fraction=0.5)
    trainer = Trainer(config, points)
    values = [row[0] for row in trainer.train.X]
    assert trainer.model.inputs.mean[0] == pytest.approx(sum(values) / len(values))
    assert trainer.model.inputs.mean[0] != pytest.approx(sum(row[0] for row in points.X) / 40)


def test_a_regression_is_measured_in_its_own_unit():
    line = Dataset("line", [[float(i)] for i in range(8)], [1000.0 * i for i in range(8)], ("x",), "y")
    config = Config("line", hidden=(), test_fraction=0.0, loss="mse", lr=0.1, optimizer="sgd", steps=300, l2=0.0)
    trainer = Trainer(config, line)
    first = trainer.advance().measure
    assert first == pytest.approx(
        math.sqrt(sum((y - p) ** 2 for y, p in zip(line.y, _predicted_at_start(config, line), strict=True)) / 8)
    )
    while trainer.step < 300:
        trainer.advance()
    assert trainer.model.predict([[3.0]])[0] == pytest.approx(3000.0, rel=1e-3)


def _predicted_at_start(config, points):
    return Trainer(config, points).model.predict(points.X)


def test_the_measure_of_a_step_is_that_before_its_update():
    trainer = Trainer(*quick())
    before = trainer.evaluate(trainer.train)
    assert trainer.advance().measure == before


# ---- NaN and infinity -----------------------------------------------------------------------------------------------


def test_a_parameter_at_fault_is_named():
    trainer = Trainer(*quick(l2=0.0))
    weight = dict(trainer.parameters)["layers.0.neurons.1.w.0"]
    weight.data = math.nan
    with pytest.raises(NonFiniteError, match=r"step 0: the loss is nan; first at fault is the parameter layers\.0.*w\.0=nan$"):
        trainer.advance()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_loss_that_runs_away_names_step_and_node(compiled):
    trainer = Trainer(*quick(loss="mse", lr=1e200, l2=0.0, compile=compiled))
    trainer.advance()
    with pytest.raises(NonFiniteError, match=r"step 1: the loss is (inf|nan); first at fault is .* = ") as caught:
        trainer.advance()
    assert "\n" not in str(caught.value)
    assert all(math.isfinite(p.data) for _, p in trainer.parameters)


@pytest.mark.parametrize("compiled", [False, True])
def test_an_infinite_gradient_is_named(monkeypatch, compiled):
    def loss(scores, targets):  # 0, of a slope of 1e400
        return sum((z - z.data) * 1e200 * 1e200 for z in scores)

    monkeypatch.setitem(OBJECTIVES, "max_margin", Objective(loss, ("binary",), lambda k: k, lambda count: 1.0))
    trainer = Trainer(*quick(l2=0.0, compile=compiled))
    before = trainer.model.net.state_dict()
    with pytest.raises(
        NonFiniteError, match=r"^step 0: the gradient of parameter \d+ \(layers\..*\) is (-?inf|nan); no parameter was"
    ):
        trainer.advance()
    assert trainer.model.net.state_dict() == before
    assert trainer.step == 0


@pytest.mark.parametrize("compiled", [False, True])
def test_an_update_that_overflows_is_not_made(compiled):
    trainer = Trainer(*quick(lr=1e308, l2=1.0, compile=compiled))
    before = trainer.model.net.state_dict()
    with pytest.raises(
        NonFiniteError, match=r"^step 0: the updated value of parameter \d+ \(layers\..*\) is -?inf; no parameter"
    ):
        trainer.advance()
    assert trainer.model.net.state_dict() == before
    assert trainer.step == 0


def test_the_last_good_checkpoint_stays(tmp_path, no_pictures):
    out = tmp_path / "run"
    with pytest.raises(NonFiniteError, match=f"the last weights that are finite, after 1 step, are in {out}"):
        train(*quick(lr=1e100, loss="mse", l2=0.0), out, checkpoint_every=1)
    saved = checkpoints.Checkpoint(out / "checkpoint.safetensors")
    assert saved.facts["step"] == 1
    assert all(np.isfinite(tensor).all() for name, tensor in saved.tensors.items() if name.startswith("weights/"))
    assert not (out / "model.safetensors").exists()


def test_a_domain_error_in_the_loss_names_the_step(monkeypatch, tmp_path):
    def loss(scores, targets):
        return sum(z.log() for z in scores)

    monkeypatch.setitem(OBJECTIVES, "max_margin", Objective(loss, ("binary",), lambda k: k, lambda count: 1.0))
    with pytest.raises(
        DomainError, match=r"step 1: log\(.*x > 0 \(the last weights that are finite, after 1 step, .* smaller --lr than 1"
    ):
        train(*quick(), tmp_path / "run")
    assert checkpoints.Checkpoint(tmp_path / "run/checkpoint.safetensors").facts["step"] == 1


# ---- compiled steps -------------------------------------------------------------------------------------------------


def twins(source, **chosen):
    """A trainer on the plain engine, and one that compiles its steps."""
    return [make_trainer(*configure(source, **chosen, compile=compiled)) for compiled in (False, True)]


@pytest.fixture
def plane(tmp_path):
    rows = "".join(f"{x},{y},{2 * x - y + 0.25}\n" for x in range(6) for y in range(6))
    (tmp_path / "plane.csv").write_text("x,y,z\n" + rows)
    return str(tmp_path / "plane.csv")


@pytest.mark.parametrize(
    ("source", "chosen"),
    [
        ("moons", {"samples": 30, "hidden": (8, 8)}),
        ("moons", {"samples": 30, "hidden": (8,), "loss": "bce", "batch_size": 8, "l2": 0.0}),
        ("circles", {"samples": 30, "hidden": (8,), "loss": "mse", "activation": "sigmoid", "momentum": 0.5}),
        ("iris", {"hidden": (8,), "batch_size": 16}),
        ("digits", {"net": "scalar", "hidden": (4,), "batch_size": 8}),
        ("lecture", {}),
        ("plane", {"target": "z", "hidden": (), "batch_size": 10, "optimizer": "adamw"}),
    ],
    ids=str,
)
def test_a_compiled_run_has_the_curve_of_the_plain_engine(plane, source, chosen):
    one, two = twins(plane if source == "plane" else source, steps=30, **chosen)
    for _ in range(30):
        plain, compiled = one.advance(), two.advance()
        assert compiled == pytest.approx(plain, rel=1e-9, nan_ok=True)
        assert not two.compiled.refused
    assert two.final_record() == pytest.approx(one.final_record(), rel=1e-9, nan_ok=True)
    if one.model.classes is None:
        assert two.model.predict(two.train.X) == pytest.approx(one.model.predict(one.train.X), rel=1e-9)
    else:
        assert two.model.predict(two.train.X) == one.model.predict(one.train.X)


@pytest.mark.parametrize(
    ("source", "chosen"),
    [("digits", {"hidden": (8,)}), ("moons", {"net": "tensor", "samples": 30}), ("plane", {"net": "tensor", "target": "z"})],
    ids=str,
)
def test_a_compiled_net_of_tensors_has_the_curve_of_the_plain_one(plane, source, chosen):
    one, two = twins(plane if source == "plane" else source, steps=30, **chosen)
    for _ in range(30):
        plain, compiled = one.advance(), two.advance()
        assert compiled == pytest.approx(plain, rel=1e-4, nan_ok=True)
        assert not two.compiled.refused
    assert two.final_record() == pytest.approx(one.final_record(), rel=1e-4, nan_ok=True)
    assert {x.dtype for x in two.net.state_dict().values()} == {np.dtype(np.float32)}


def test_the_program_is_told_of_once():
    trainer = Trainer(*quick(compile=True))
    told = []
    display = progress.Silent(12, lambda record, finished: [])
    display.tell = told.append
    running = runs._Run(trainer, Path(), None, progress.Silent, None, None)
    trainer.advance()
    words = r"compiled in \d+ ms: [\d,]+ scalar operations are \d+ array operations; with the gradients they are \d+"
    assert re.fullmatch(words, trainer.compiled.news)
    news = trainer.compiled.news
    running._tell_news(display)
    trainer.advance()
    running._tell_news(display)
    assert told == [news]
    assert trainer.compiled.news == ""
    assert running.notes == []


def test_long_runs_are_compiled_unless_it_is_refused(monkeypatch):
    for engine, least in PAYS_FROM.items():
        monkeypatch.setattr(native, "status", lambda engine=engine: {"engine": engine})
        assert [quick(steps=n)[0].compile for n in (least - 1, least)] == [False, True]
    assert quick(steps=1, compile=True)[0].compile
    assert not quick(steps=1000, compile=False)[0].compile
    for names, compiled in (("numpy",), False), (("native", "numpy"), True):
        monkeypatch.setattr(compiling.executors, "EXECUTORS", names)
        assert configure("moons", net="tensor")[0].compile is compiled
    with pytest.raises(InputError, match="compile must be True or False, not 1"):
        quick(compile=1)


def test_a_net_that_cannot_be_compiled_is_trained_plain(monkeypatch, tmp_path, no_pictures, capsys):
    def loss(scores, targets):
        return sum((z if z > 0 else -z) for z in scores)

    monkeypatch.setitem(OBJECTIVES, "max_margin", replace(OBJECTIVES["max_margin"], function=loss))
    whole = train(*quick(compile=True), tmp_path / "run", show=progress.Plain)
    words = "not compiled, the plain engine takes the steps: test_train.py:"
    assert [note.startswith(words) for note in whole.notes].count(True) == 1
    assert [line.startswith(words) for line in capsys.readouterr().out.splitlines()].count(True) == 1
    train(*quick(compile=False), tmp_path / "plain")
    assert (tmp_path / "run/metrics.csv").read_bytes() == (tmp_path / "plain/metrics.csv").read_bytes()
    assert "executor" not in checkpoints.Checkpoint(tmp_path / "run/checkpoint.safetensors").facts


@pytest.mark.parametrize(
    "chosen", [{"momentum": 0.9, "l2": 10.0}, {"optimizer": "adam"}, {"net": "tensor", "optimizer": "adam"}], ids=str
)
@pytest.mark.parametrize("kept", [2, 100])
def test_a_step_that_fails_leaves_the_state_before_it(monkeypatch, chosen, kept):
    monkeypatch.setattr(compiling, "MOST_STEPS", kept)
    trainer, peer = (make_trainer(*quick(compile=True, lr=0.01, **chosen)) for _ in range(2))
    for _ in range(5):
        assert trainer.advance() == pytest.approx(peer.advance(), nan_ok=True)
    monkeypatch.setattr(trainer.schedule, "rate", lambda step: 1e308 if step == 5 else 0.01)
    monkeypatch.setattr(peer.schedule, "rate", lambda step: 0.01)
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=r"^step 5: the updated value of parameter \d+"):
        trainer.advance()
    assert trainer.step == 5
    for p, q in zip(trainer.optimizer.params, peer.optimizer.params, strict=True):
        assert np.array_equal(p.data, q.data)
    monkeypatch.setattr(trainer.schedule, "rate", lambda step: 0.01)
    for _ in range(3):
        assert trainer.advance()[:4] == peer.advance()[:4]


def test_a_run_from_before_programs_goes_on_plain(tmp_path, no_pictures):
    train(*quick(compile=False), tmp_path / "run")
    path = tmp_path / "run/config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("compile") is False
    assert "compile" not in checkpoints.Checkpoint(tmp_path / "run/checkpoint.safetensors").facts["config"]
    path.write_text(json.dumps(settings))
    assert resume(tmp_path / "run", steps=200).step == 200
    assert json.loads(path.read_text())["compile"] is False


def test_another_executor_on_resuming_is_told(tmp_path, no_pictures, monkeypatch):
    train(*quick(compile=True), tmp_path / "run")
    assert json.loads((tmp_path / "run/config.json").read_text())["compile"] is True
    assert not any("executor" in note for note in resume(tmp_path / "run").notes)
    other = "numpy" if compiling.executor() == "native" else "native"
    monkeypatch.setattr(compiling, "executor", lambda: other)
    assert any("executor; the last digits may differ" in note for note in resume(tmp_path / "run", steps=13).notes)


# ---- the run folder -------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_files(tmp_path):
    out = tmp_path / "run"
    outcome = train(*quick(test_fraction=0.2), out)
    assert outcome.step == outcome.steps == 12
    assert (outcome.train_size, outcome.test_size) == (16, 4)
    found = files(out)
    of_names = {file for file in folders.FILES if file.startswith(("words-", "embedding"))}
    expected = set(folders.FILES) - of_names
    assert set(found) == expected
    assert found["loss.png"].startswith(PNG)
    assert found["decision_boundary.png"].startswith(PNG)
    assert found["graph.dot"].startswith(b"digraph")
    assert b"w_x1" in found["graph.dot"]
    lines = found["metrics.csv"].decode().splitlines()
    assert lines[0] == "step,loss,accuracy,lr,test_accuracy"
    assert [line.split(",")[0] for line in lines[1:]] == [str(k) for k in range(13)]
    assert lines[-1].split(",")[1:] == [
        repr(outcome.final.loss),
        repr(outcome.final.measure),
        "",
        repr(outcome.final.test_measure),
    ]
    assert json.loads(found["config.json"])["loss"] == "max_margin"


def test_same_seed_same_bytes(tmp_path, no_pictures):
    for name in ("a", "b"):
        train(*quick(batch_size=7, optimizer="adam"), tmp_path / name, checkpoint_every=5)
    a, b = files(tmp_path / "a"), files(tmp_path / "b")
    assert a == b


def test_more_columns_have_no_boundary(tmp_path):
    outcome = train(*configure("lecture", steps=3), tmp_path / "run")
    assert not (tmp_path / "run/decision_boundary.png").exists()
    assert any("these data have 3" in note for note in outcome.notes)


def test_without_what_draws_graphs_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "py_mini_racer", None)
    monkeypatch.setenv("PATH", "")
    graph_picture._drawn.cache_clear()  # an earlier test may have drawn the same graph
    outcome = train(*configure("lecture", steps=3), tmp_path / "run")
    assert not (tmp_path / "run/graph.svg").exists()
    assert (tmp_path / "run/graph.dot").exists()
    assert any(note.startswith("no graph.svg: ") and "chainrule[show]" in note for note in outcome.notes)


def test_default_folders_are_fresh(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [folders.create(None, "moons") for _ in range(3)]
    assert [str(name) for name in names] == ["runs/moons-001", "runs/moons-002", "runs/moons-003"]
    assert str(folders.create(None, "a b/c")) == "runs/a-b-c-001"
    Path("runs/moons-041").mkdir()
    assert str(folders.create(None, "moons")) == "runs/moons-042"


def test_a_folder_is_never_overwritten_unasked(tmp_path, no_pictures):
    out = tmp_path / "run"
    train(*quick(), out)
    (out / "notes.txt").write_text("mine")
    before = files(out)
    with pytest.raises(RunError, match="exists already; choose another folder, or --force"):
        train(*quick(seed=2), out)
    assert files(out) == before
    train(*quick(seed=2), out, force=True)
    assert files(out)["metrics.csv"] != before["metrics.csv"]
    assert (out / "notes.txt").read_text() == "mine"


def test_force_keeps_the_old_run_until_the_new_one_is_complete(tmp_path, no_pictures, monkeypatch):
    out = tmp_path / "run"
    train(*quick(test_fraction=0.2), out)
    (out / "notes.txt").write_text("mine")
    before = files(out)
    with pytest.raises(NonFiniteError, match=f"the run that was in {out} before is kept; .*smaller --lr than 1e\\+200"):
        train(*quick(lr=1e200, loss="mse"), out, force=True)
    assert files(out) == before
    monkeypatch.setattr(folders, "write_atomically", lambda path, content: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(RunError, match="No space"):
        train(*quick(seed=2), out, force=True)
    monkeypatch.undo()
    assert files(out) == before


@pytest.mark.parametrize("again", ["resumed", "replaced", "failed"])
def test_an_interrupted_replacement_keeps_both(tmp_path, monkeypatch, again):
    monkeypatch.setattr(pictures, "svg", lambda dot: "not drawn in this test")
    out = tmp_path / "run"
    train(*quick(test_fraction=0.2), out)
    before = files(out)
    with monkeypatch.context() as patch:
        patch.setattr(progress.Silent, "show", lambda self, record: os.kill(os.getpid(), signal.SIGTERM))
        outcome = train(*quick(seed=2), out, force=True)
    assert outcome.replaced == out / folders.REPLACED
    assert files(outcome.replaced) == before
    Model.load(outcome.replaced)
    if again == "failed":
        with pytest.raises(NonFiniteError):
            train(*quick(lr=1e200, loss="mse"), out, force=True)
        assert files(out) == before
        return
    outcome = resume(out) if again == "resumed" else train(*quick(seed=3), out, force=True)
    assert outcome.replaced is None
    assert set(files(out)) == set(before) - {"heldout.csv"}
    assert json.loads((out / "config.json").read_text())["seed"] == (2 if again == "resumed" else 3)


def test_a_move_that_was_cut_short_loses_nothing(tmp_path, no_pictures, monkeypatch):
    out = tmp_path / "run"
    train(*quick(), out)
    before = files(out)
    replace, moved = Path.replace, []

    def killed(self, target):
        moved.append(self)
        if len(moved) == 3:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        patch.setattr(runs, "put_back", lambda folder: None)  # as after a kill -9
        with pytest.raises(KeyboardInterrupt):
            train(*quick(seed=2), out, force=True)
    assert (out / "checkpoint.safetensors").exists()
    with pytest.raises(NonFiniteError):
        train(*quick(lr=1e200, loss="mse"), out, force=True)
    assert files(out) == before


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("content", ['{"name": "my site"}', "[]", "not JSON"])
def test_a_folder_of_the_user_is_not_touched(tmp_path, force, content):
    for name in ("config.json", "metrics.csv", "model.safetensors", "checkpoint.safetensors"):
        (tmp_path / name).write_text(content)
    before = files(tmp_path)
    with pytest.raises(RunError, match="holds files but no run of chainrule, so it is not touched"):
        train(*quick(), tmp_path, force=force)
    assert files(tmp_path) == before


def test_what_is_in_the_way_is_not_touched(tmp_path, no_pictures):
    train(*quick(), tmp_path / "run")
    (tmp_path / "run" / folders.REPLACED).mkdir()
    (tmp_path / "run" / folders.REPLACED / "loss.png").write_text("mine")
    with pytest.raises(RunError, match="replaced-run is in the way"):
        train(*quick(), tmp_path / "run", force=True)
    assert (tmp_path / "run/model.safetensors").exists()
    assert (tmp_path / "run" / folders.REPLACED / "loss.png").read_text() == "mine"


def test_an_empty_name_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the run folder has an empty name"):
        train(*quick(), "", force=True)
    assert not list(tmp_path.iterdir())


def test_settings_are_written_as_they_turned_out(tmp_path, no_pictures):
    train(*quick(), tmp_path / "moons")
    found = json.loads((tmp_path / "moons/config.json").read_text())
    expected = {
        "samples": 20,
        "noise": 0.1,
        "batch_size": 20,
        "task": "classification",
        "target": "label",
        "columns": ["x1", "x2"],
    }
    assert {name: found[name] for name in expected} == expected
    assert (found["chainrule"], found["engine"]) == (chainrule.__version__, native.status()["engine"])
    assert None not in found.values()
    train(*configure("iris", steps=1), tmp_path / "iris")
    found = json.loads((tmp_path / "iris/config.json").read_text())
    assert (found["samples"], found["batch_size"], "noise" in found) == (150, 32, False)
    assert resume(tmp_path / "iris", steps=2).step == 2


def test_held_out_rows_can_be_judged_again(tmp_path, no_pictures):
    path = tmp_path / "p.csv"
    path.write_text("x,y,label\n" + "".join(f"{i % 7},{i / 3!r},{'one' if i % 3 else 'two'}\n" for i in range(40)))
    for target, name in (("label", "accuracy"), ("y", "rmse")):
        config, points = configure(str(path), target=target, columns=("x",), steps=5)
        outcome = train(config, points, tmp_path / target)
        held = read_csv(tmp_path / target / "heldout.csv", target, task=None if target == "label" else "regression")
        assert len(held) == outcome.test_size == 8
        trainer = Trainer(config, points)
        assert (held.X, held.y) == (trainer.test.X, trainer.test.y)
        model = Model.load(outcome.folder)
        found = model.predict(held.X)
        if name == "accuracy":
            measure = sum(a == held.classes[b] for a, b in zip(found, held.y, strict=True)) / 8
        else:
            measure = math.sqrt(sum((a - b) ** 2 for a, b in zip(found, held.y, strict=True)) / 8)
        assert measure == pytest.approx(outcome.final.test_measure, rel=1e-12)
        assert model.fingerprint == points.fingerprint


def test_an_empty_folder_will_do(tmp_path, no_pictures):
    assert train(*quick(), tmp_path).folder == tmp_path


def test_bad_settings_touch_no_folder(tmp_path):
    for chosen in ({"batch_size": 99}, {"loss": "cross_entropy"}):
        with pytest.raises(InputError):
            train(*quick(**chosen), tmp_path / "run")
    with pytest.raises(InputError, match="at least 1 step"):
        train(*quick(), tmp_path / "run", checkpoint_every=0)
    assert not (tmp_path / "run").exists()


def test_a_path_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    for force in (False, True):
        with pytest.raises(RunError, match="cannot write"):
            train(*quick(), tmp_path / "file" / "run", force=force)
        with pytest.raises(RunError, match="is a file; a run needs a folder"):
            train(*quick(), tmp_path / "file", force=force)
    assert (tmp_path / "file").read_text() == "x"


def test_a_full_disk_keeps_the_checkpoint(tmp_path, monkeypatch, no_pictures):
    written = 0

    def fsync(descriptor):
        nonlocal written
        written += 1
        if written > 12:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.os, "fsync", fsync)
    with pytest.raises(RunError, match=r"cannot write .*checkpoint.safetensors: No space left on device"):
        train(*quick(), tmp_path / "run", checkpoint_every=1)
    monkeypatch.undo()
    saved = checkpoints.Checkpoint(tmp_path / "run/checkpoint.safetensors")
    assert 0 < saved.facts["step"] < 12
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_one_process_per_folder(tmp_path):
    with folders.locked(tmp_path), pytest.raises(RunError, match="another process is training"), folders.locked(tmp_path):
        pass


# ---- checkpoints and resuming ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"batch_size": 7, "optimizer": "adam", "test_fraction": 0.2},
        {"momentum": 0.9, "batch_size": 3},
        {"optimizer": "adamw", "loss": "bce"},
        {"compile": True},
        {"compile": True, "batch_size": 7, "optimizer": "adam", "test_fraction": 0.2},
        {"compile": True, "momentum": 0.9, "batch_size": 3},
    ],
    ids=str,
)
def test_a_resumed_run_gives_the_numbers_of_one_that_was_not_interrupted(tmp_path, no_pictures, monkeypatch, chosen):
    config, points = quick(**chosen)
    train(config, points, tmp_path / "whole")
    advance = Trainer.advance

    def interrupted(self):
        record = advance(self)
        if self.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return record

    monkeypatch.setattr(Trainer, "advance", interrupted)
    outcome = train(config, points, tmp_path / "parts")
    assert (outcome.interrupted, outcome.step, outcome.final) == ("SIGINT", 5, None)
    monkeypatch.setattr(Trainer, "advance", advance)
    assert resume(tmp_path / "parts").final is not None
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


@pytest.fixture
def hearing_sighup():
    """Under nohup SIGHUP is ignored, and a run leaves that so; these tests are about when it is not."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hearing_sighup")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_save_and_handlers_are_put_back(tmp_path, no_pictures, monkeypatch, signum):
    before = signal.getsignal(signum)
    monkeypatch.setattr(progress.Silent, "show", lambda self, record: record.step == 2 and os.kill(os.getpid(), signum))
    outcome = train(*quick(), tmp_path / "run")
    assert outcome.interrupted == signum.name
    assert checkpoints.Checkpoint(tmp_path / "run/checkpoint.safetensors").facts["step"] == 3
    assert signal.getsignal(signum) == before


@pytest.mark.parametrize("force", [False, True])
def test_more_interrupts_do_not_cut_the_saving_short(tmp_path, no_pictures, monkeypatch, capfd, force):
    if force:
        train(*quick(), tmp_path / "run")

    seen = []

    def show(self, record):
        seen.append(record)
        if record.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    def write(path, content):
        if len(seen) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        folders.write(path, content)
        if len(seen) == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(progress.Silent, "show", show)
    monkeypatch.setattr(runs, "write", write)
    before = signal.getsignal(signal.SIGINT)
    outcome = train(*quick(), tmp_path / "run", checkpoint_every=4, force=force)
    assert (outcome.interrupted, outcome.step) == ("SIGINT", 7)
    assert checkpoints.Checkpoint(tmp_path / "run/checkpoint.safetensors").facts["step"] == 7
    assert signal.getsignal(signal.SIGINT) == before
    assert capfd.readouterr().err.count("stopping as soon as all that is done is saved") == 1  # of two signals too many
    assert outcome.replaced == (tmp_path / "run/replaced-run" if force else None)


def test_a_late_interrupt_undoes_nothing(tmp_path, no_pictures, monkeypatch):
    @contextlib.contextmanager
    def locked(folder):
        with folders.locked(folder):
            yield
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(runs, "locked", locked)
    assert train(*quick(), tmp_path / "run").final is not None
    assert resume(tmp_path / "run", steps=13).final is not None


def test_training_in_a_thread_needs_no_signals(tmp_path, no_pictures):
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(train(*quick(), tmp_path / "run")))
    thread.start()
    thread.join()
    assert outcomes[0].final is not None


KILLED = """
import sys
from chainrule.train import configure, train
train(*configure("moons", hidden=(8,), steps=4000, samples=40, optimizer="adam", batch_size=10), sys.argv[1], checkpoint_every=3)
"""


def start(out):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(out)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (out / "metrics.csv").exists() or len((out / "metrics.csv").read_text().splitlines()) < 12:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


def test_kill_nine_at_any_moment(tmp_path, no_pictures):
    steps = []
    for attempt in range(4):
        out = tmp_path / f"killed-{attempt}"
        process = start(out)
        time.sleep(0.013 * attempt)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        saved = checkpoints.Checkpoint(out / "checkpoint.safetensors")
        rows = (out / "metrics.csv").read_text().splitlines()
        # At most the steps since the last checkpoint are lost: three, and the one that was being written.
        assert saved.facts["step"] % 3 == 0
        assert saved.facts["step"] >= len(rows) - 1 - 4
        steps.append(saved.facts["step"])
    assert max(steps) > 0
    # Go on with the last of them, for a few steps, and compare with a run that nobody killed.
    end = steps[-1] + 7
    config, points = configure("moons", hidden=(8,), steps=4000, samples=40, optimizer="adam", batch_size=10)
    whole = Trainer(config, points)
    expected = [whole.advance() for _ in range(end)]
    trainer = saved.restore(saved.config, points)
    # Compared as text, since NaN (no held-out part) is not equal to itself.
    assert repr(trainer.history) == repr(expected[: steps[-1]])
    assert repr([trainer.advance() for _ in range(7)]) == repr(expected[steps[-1] :])


def test_rows_beyond_the_checkpoint_are_cut(tmp_path, no_pictures, monkeypatch):
    def crash(self, record):
        if record.step == 9:
            raise RuntimeError("pulled the plug")

    monkeypatch.setattr(progress.Silent, "show", crash)
    with pytest.raises(RuntimeError):
        train(*quick(), tmp_path / "run", checkpoint_every=4)
    monkeypatch.undo()
    metrics = tmp_path / "run/metrics.csv"
    assert len(metrics.read_text().splitlines()) == 1 + 10
    metrics.write_text(metrics.read_text() + "10,0.")  # a row that was being written
    seen = []
    monkeypatch.setattr(progress.Silent, "show", lambda self, record: seen.append(metrics.read_text().splitlines()[1:]))
    outcome = resume(tmp_path / "run")
    assert [row.split(",")[0] for row in seen[0]] == [str(k) for k in range(9)]  # 8 from the checkpoint, and a new one
    assert outcome.final is not None
    assert [row.split(",")[0] for row in metrics.read_text().splitlines()[1:]] == [str(k) for k in range(13)]


def test_resuming_what_is_complete_makes_its_files_again(tmp_path, no_pictures):
    train(*quick(), tmp_path / "run")
    before = files(tmp_path / "run")
    (tmp_path / "run/model.safetensors").unlink()
    (tmp_path / "run/config.json").unlink()
    (tmp_path / "run/metrics.csv").write_text("nonsense")
    resume(tmp_path / "run")
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize("show", [progress.Silent, progress.Plain, progress.for_terminal])
def test_resuming_what_is_complete_and_whole_touches_nothing(tmp_path, no_pictures, show):
    first = train(*quick(test_fraction=0.2), tmp_path / "run")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "run").iterdir()}
    told = []
    outcome = resume(tmp_path / "run", show=show, announce=lambda *args: told.append(args))
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "run").iterdir()} == before
    assert (outcome.was_complete, outcome.step, outcome.final, outcome.result, told) == (True, 12, first.final, first.result, [])
    assert not first.was_complete
    assert not resume(tmp_path / "run", steps=13, show=show).was_complete


@pytest.mark.parametrize("lost", ["model.safetensors", "loss.png", "graph.dot", "heldout.csv", "metrics.csv", "the last row"])
def test_a_run_that_was_killed_while_it_wrote_its_last_files(tmp_path, no_pictures, capsys, lost):
    train(*quick(test_fraction=0.2), tmp_path / "run")
    before = files(tmp_path / "run")
    if lost == "the last row":
        path = tmp_path / "run/metrics.csv"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    else:
        (tmp_path / "run" / lost).unlink()
    assert not resume(tmp_path / "run", show=progress.Plain).was_complete
    assert files(tmp_path / "run") == before
    assert re.fullmatch(r"step 12/12  loss \S+  accuracy \S+ %\n", capsys.readouterr().out)  # of a speed nothing is known


def test_a_run_that_ran_away_says_so_when_its_model_is_asked_for(tmp_path, no_pictures):
    for again in range(2):
        with pytest.raises(NonFiniteError):
            train(*quick(lr=1e100, loss="mse", l2=0.0), tmp_path / "run") if not again else resume(tmp_path / "run")
        with pytest.raises(
            ModelFileError, match=r"run ran away at step 1 and has no model; begin a new one with a smaller --lr$"
        ):
            Model.load(tmp_path / "run")


def test_a_folder_of_runs_is_no_run(tmp_path, no_pictures):
    with pytest.raises(ModelFileError, match=r"is not a run: it holds no model\.safetensors$"):
        Model.load(tmp_path)
    for name in "cab":
        train(*quick(steps=1), tmp_path / name)
    with pytest.raises(ModelFileError, match=r"is not a run, but a folder of runs \(a, b, c\); name one of them, such as .*/a$"):
        Model.load(tmp_path)


def test_reading_without_safetensors_is_no_saving(tmp_path, no_pictures, monkeypatch):
    train(*quick(), tmp_path / "run")
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(chainrule.errors.MissingDependencyError, match=r"^reading a model needs safetensors"):
        Model.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "folder"),
    [("$we_ird", "we_ird"), ("--help", "help"), (".hidden", "hidden"), ("a$", "a"), ("$", "run"), ("é b", "é-b")],
)
def test_no_folder_begins_like_an_option(tmp_path, monkeypatch, name, folder):
    monkeypatch.chdir(tmp_path)
    assert folders.create(None, name) == Path(f"runs/{folder}-001")


def test_a_run_can_be_made_longer(tmp_path, no_pictures):
    train(*quick(), tmp_path / "run")
    outcome = resume(tmp_path / "run", steps=20)
    assert outcome.step == 20
    assert json.loads((tmp_path / "run/config.json").read_text())["steps"] == 20
    with pytest.raises(InputError, match="has done 20 steps already"):
        resume(tmp_path / "run", steps=5)
    assert resume(tmp_path / "run").step == 20


def test_what_cannot_be_resumed(tmp_path, no_pictures):
    with pytest.raises(RunError, match="there is no run"):
        resume(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="holds no checkpoint"):
        resume(tmp_path / "empty")
    train(*quick(), tmp_path / "run")
    (tmp_path / "run/config.json").write_text("{")
    with pytest.raises(ModelFileError, match=r"config\.json cannot be read"):
        resume(tmp_path / "run")


def test_a_checkpoint_from_another_architecture(tmp_path, no_pictures):
    train(*quick(), tmp_path / "four")
    train(*quick(hidden=(5,)), tmp_path / "five")
    shutil.copy(tmp_path / "five/checkpoint.safetensors", tmp_path / "four")
    with pytest.raises(ModelFileError, match=r"belongs to another run: its hidden is \[5\], but in config.json it is \[4\]"):
        resume(tmp_path / "four")
    # The same with a file whose own parts disagree.
    path = tmp_path / "five/checkpoint.safetensors"
    facts, tensors = tensorfile.read(path, "checkpoint")
    facts["config"]["hidden"] = [4]
    path.write_bytes(tensorfile.encode("checkpoint", {k: x for k, x in facts.items() if k not in ("kind", "version")}, tensors))
    (tmp_path / "five/config.json").unlink()
    with pytest.raises(ModelFileError, match="belongs to another architecture"):
        resume(tmp_path / "five")


def test_data_that_changed_are_noticed(tmp_path, no_pictures):
    path = tmp_path / "p.csv"
    path.write_text("x,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(20)))
    train(*configure(str(path), target="label", steps=3), tmp_path / "run")
    path.write_text(path.read_text().replace("7,", "7.5,"))
    with pytest.raises(ModelFileError, match="not those that the run began with"):
        resume(tmp_path / "run")


@pytest.mark.parametrize("damage", ["optimizer", "history", "step", "weight"])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, no_pictures, damage):
    train(*quick(), tmp_path / "run")
    path = tmp_path / "run/checkpoint.safetensors"
    facts, tensors = tensorfile.read(path, "checkpoint")
    facts = {k: x for k, x in facts.items() if k not in ("kind", "version")}
    if damage == "optimizer":
        del facts["optimizer"]["memory"]
    elif damage == "history":
        del tensors["history/loss"]
    elif damage == "step":
        facts["step"] = 7
    else:
        name = next(name for name in tensors if name.startswith("weights/"))
        tensors[name] = tensors[name] * np.nan
    path.write_bytes(tensorfile.encode("checkpoint", facts, tensors))
    with pytest.raises(ModelFileError, match=r"checkpoint\.safetensors"):
        resume(tmp_path / "run")


# ---- models ---------------------------------------------------------------------------------------------------------


def test_a_model_file_is_enough(tmp_path, no_pictures):
    config, points = configure("iris", steps=5)
    outcome = train(config, points, tmp_path / "run")
    shutil.copy(outcome.folder / "model.safetensors", tmp_path / "alone.safetensors")
    shutil.rmtree(outcome.folder)
    trainer = Trainer(config, points)
    for _ in range(5):
        trainer.advance()
    model = Model.load(tmp_path / "alone.safetensors")
    assert model.scores(points.X[:9]) == trainer.model.scores(points.X[:9])
    assert model.inputs == trainer.model.inputs
    assert (model.classes, model.columns, model.target) == (points.classes, points.columns, "species")
    assert set(model.predict(points.X)) <= set(points.classes)
    # It is a file of weights for chainrule.nn too.
    net = nn.MLP(4, [16, 16, 3]).load(tmp_path / "alone.safetensors")
    assert net.state_dict() == model.net.state_dict()


def test_probabilities():
    iris = Trainer(*configure("iris", steps=1)).model
    for row, scores in zip(iris.probabilities([[1.0, 2.0, 3.0], [800.0, 0.0, -800.0]]), ([1, 2, 3], [800, 0, -800]), strict=True):
        assert sum(row) == pytest.approx(1)
        assert row.index(max(row)) == scores.index(max(scores))
    moons = Trainer(*quick(loss="bce")).model
    assert moons.probabilities([[0.0], [2.0]]) == [[0.5, 0.5], pytest.approx([1 / (1 + math.exp(2)), 1 / (1 + math.exp(-2))])]
    assert Trainer(*quick()).model.probabilities([[1.0]]) is None


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(Trainer(*quick()).model.encode())
    return path


@pytest.mark.parametrize("size", [0, 4, 8, 100, -1])
def test_a_truncated_model(model_file, size):
    model_file.write_bytes(model_file.read_bytes()[:size])
    with pytest.raises(ModelFileError, match=r"model\.safetensors is no model of chainrule, or it is truncated"):
        Model.load(model_file)


def test_foreign_models(model_file, tmp_path):
    with pytest.raises(ModelFileError, match=r"cannot read .*No such file"):
        Model.load(tmp_path / "absent.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"w": np.zeros(3)}, foreign)
    with pytest.raises(ModelFileError, match="is a safetensors file, but no model of `chainrule train`"):
        Model.load(foreign)
    foreign.write_text("PK\x03\x04 something else")
    with pytest.raises(ModelFileError, match="truncated"):
        Model.load(foreign)
    foreign.write_bytes(checkpoints.encode(Trainer(*quick())))
    with pytest.raises(ModelFileError, match="is a checkpoint of chainrule, not a model"):
        Model.load(foreign)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        ([[1.0]], "row 0 has 1 number; the model wants one number each for x1, x2"),
        ([[1.0, 2.0], [1.0, 2.0, 3.0]], "row 1 has 3 numbers"),
        ([1.0, 2.0], "row 0 is a list with one number each for x1, x2, not 1.0"),
        (3, "X is a list of rows with one number each for x1, x2, not int"),
        ("12", "X is a list of rows .*, not str"),
        ([["1", "2"]], "row 0: .*'1'"),
        (["12"], "row 0 is a list .*, not '12'"),
        ([[1.0, math.nan]], "row 0, column 'x2': nan is not a finite number"),
        ([[-math.inf, 1.0]], "row 0, column 'x1': -inf is not a finite number"),
    ],
)
def test_rows_that_cannot_be_predicted(X, words):
    with pytest.raises(InputError, match=words):
        Trainer(*quick()).model.predict(X)


def test_arrays_can_be_predicted():
    model = Trainer(*quick()).model
    assert model.predict(np.array([[1, 2], [3, 4]])) == model.predict([[1.0, 2.0], [3.0, 4.0]])
    assert model.predict([]) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda facts: facts.update(color=1),
        lambda facts: facts.pop("inputs"),
        lambda facts: facts.update(sizes=3),
        lambda facts: facts.update(sizes=[2, 5, 1]),
        lambda facts: facts.update(sizes=[3, 4, 1]),
        lambda facts: facts.pop("classes"),
        lambda facts: facts.update(activation="swish"),
        lambda facts: facts["inputs"].update(scale=[0.0, 1.0]),
        lambda facts: facts.update(columns=["x1"]),
    ],
)
def test_a_model_that_does_not_hold_together(model_file, damage):
    facts, tensors = tensorfile.read(model_file, "model")
    damage(facts["model"])
    model_file.write_bytes(tensorfile.encode("model", {"model": facts["model"]}, tensors))
    with pytest.raises(ModelFileError, match=r"model\.safetensors") as caught:
        Model.load(model_file)
    assert not re.search(r"__init__|argument|must be a mapping|object is not|KeyError", str(caught.value))


def test_a_model_of_another_format(model_file):
    metadata = {"chainrule": json.dumps({"kind": "model", "version": 99})}
    save_file(load_file(model_file), model_file, metadata)
    with pytest.raises(ModelFileError, match="format 99"):
        Model.load(model_file)


def test_an_unfinished_run_has_no_model(tmp_path, monkeypatch, no_pictures):
    monkeypatch.setattr(progress.Silent, "show", lambda self, record: os.kill(os.getpid(), signal.SIGTERM))
    outcome = train(*quick(), tmp_path / "run")
    assert outcome.interrupted
    with pytest.raises(ModelFileError, match="is not finished; finish it with: chainrule train --resume"):
        Model.load(tmp_path / "run")


# ---- remarks -------------------------------------------------------------------------------------------------------


def remarks_on(rows, tmp_path, **chosen):
    (tmp_path / "p.csv").write_text("x,c,label\n" + rows)
    return remarks(Trainer(*configure(str(tmp_path / "p.csv"), target="label", **chosen)))


def test_what_is_odd_is_said(tmp_path):
    plain = "".join(f"{i},{i % 3},{'ab'[i % 2]}\n" for i in range(20))
    assert remarks_on(plain, tmp_path) == []
    (constant,) = remarks_on(plain.replace(",1,", ",0,").replace(",2,", ",0,"), tmp_path)
    assert constant == "the column 'c' is the same in every training row: nothing can be learned from it"
    assert remarks_on(plain + "1,2,rare\n", tmp_path) == ["one class has a single row, which is not held out"]
    assert remarks_on("1,2,a\n2,3,b\n3,4,a\n", tmp_path, test_fraction=0.0) == [
        "one class has a single row, which is not held out"
    ]
    said = remarks_on("".join(f"{i},{i % 3},k{i}\n" for i in range(20)), tmp_path)
    assert said[0].startswith("each of the 20 classes has a single row")
    assert said[1] == "nothing is held out to judge the result by: there are too few rows"


@pytest.mark.parametrize(
    ("source", "chosen", "guess"),
    [
        ("moons", {}, 1.0),
        ("moons", {"loss": "mse"}, 1.0),
        ("moons", {"loss": "bce", "net": "tensor"}, math.log(2)),
        ("iris", {}, math.log(3)),
        ("iris", {"net": "tensor"}, math.log(3)),
    ],
)
def test_a_guess_has_the_loss_of_a_net_that_says_zero(source, chosen, guess):
    trainer = make_trainer(*configure(source, samples=20, hidden=(4,), l2=0.0, **chosen))
    for _, p in trainer.parameters:
        p.data = 0.0 * p.data
    assert trainer.final_record().loss == pytest.approx(guess, rel=1e-6)
    assert trainer.guess == pytest.approx(guess, rel=1e-12)


def test_a_guess_at_a_number_is_the_mean():
    points = Dataset("line", [[float(i)] for i in range(10)], [float(i % 4) for i in range(10)], ("x",), "y")
    for standardize, variance in ((True, 1.0), (False, np.var(points.y))):
        trainer = Trainer(Config("line", loss="mse", standardize=standardize, test_fraction=0.0), points)
        assert trainer.guess == pytest.approx(variance)


def test_a_run_that_went_wrong_is_remarked(no_pictures, tmp_path):
    away = "note: the training loss is worse than that of a guess (1): the steps were too large, so begin a new run with "
    gone = train(*quick(lr=1e3, steps=30, batch_size=5), tmp_path / "gone")
    assert gone.final.loss > 100
    assert gone.result[-1] == away + "a smaller --lr than 1000"
    assert resume(tmp_path / "gone").result == gone.result
    # The penalty is no part of the loss of a guess, so it does not count against the net.
    penalised = train(*quick(l2=0.1, steps=4, hidden=(16, 16)), tmp_path / "penalised")
    assert penalised.final.loss > 1
    assert not any("guess" in line for line in penalised.result)
    begun = train(*quick(lr=1e-6, steps=30, seed=1), tmp_path / "begun")
    assert begun.final.loss > 1
    assert begun.result[-1].endswith("guess (1): more --steps may help, or another --lr than 1e-06")
    assert [line for line in train(*quick(), tmp_path / "well").result if "note" in line] == []


@pytest.mark.parametrize(
    ("loss", "drawn", "steps", "words"),
    [
        (1.0, 2.0, 100, None),
        (1.01, 2.0, 100, "more --steps may help"),
        (2.2, 2.0, 100, "the steps were too large"),
        (2.2, 2.0, 10, "more --steps may help"),
        (1.2, 0.5, 100, "the steps were too large"),
    ],
)
def test_what_helps_a_run_that_went_wrong(loss, drawn, steps, words):
    found = worse_than_a_guess(loss, 1.0, drawn, Config("moons", steps=steps, lr=0.5))
    assert [x.partition(": ")[2].partition(",")[0].partition(" so")[0] for x in found] == ([] if words is None else [words])
    assert all("--lr than 0.5" in x for x in found)


@pytest.mark.parametrize("chosen", [{"net": "tensor"}, {"net": "tensor", "compile": True}, {"net": "scalar"}])
def test_an_update_that_is_not_finite_names_the_parameter(chosen):
    trainer = make_trainer(*quick(lr=1e308, momentum=0.5, weight_decay=1e10, hidden=(4,), **chosen))
    name = r"\S+" if chosen["net"] == "scalar" else r"0\.weight"
    words = rf"the updated value of parameter \d+ \({name}\) "
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=words):  # as in a run
        trainer.advance()


# ---- pictures and progress ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["moons", "blobs", "plane"])
def test_pictures_show_something(source):
    from matplotlib.image import imread

    if source == "plane":
        points = Dataset(
            "plane", [[float(i % 5), float(i // 5)] for i in range(25)], [float(i) for i in range(25)], ("a", "b"), "z"
        )
        trainer = Trainer(Config("plane", loss="mse", hidden=(4,)), points)
    else:
        trainer = Trainer(*configure(source, samples=20, hidden=(4,), test_fraction=0.2))
    history = [trainer.advance() for _ in range(3)]
    measure = history[-1].measure
    for picture in (
        pictures.decision_boundary(trainer.model, trainer.train, trainer.test, measure),
        pictures.loss_curve(history, trainer.measure_name, "points.csv", "loss", batches=True),
    ):
        pixels = imread(__import__("io").BytesIO(picture))
        assert pixels.shape[0] > 400
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_long_and_many_names_leave_room(recwarn):
    names = tuple(f"{'very long label ' * 8}{k}" for k in range(30))
    points = Dataset("p", [[float(i % 5), float(i // 5)] for i in range(30)], list(range(30)), ("a" * 200, "b"), "y", names)
    trainer = Trainer(Config("p", loss="cross_entropy", hidden=(4,), test_fraction=0.0), points)
    shown = []
    legend = pictures.importlib.import_module("matplotlib.axes").Axes.legend

    def noted(self, *args, **kwargs):
        shown.extend(self.get_legend_handles_labels()[1])
        return legend(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.axes.Axes.legend", noted)
        pictures.decision_boundary(trainer.model, points, None, 0.5)
    assert len(shown) == 11
    assert shown[0] == "very long la…ong label 0"
    assert shown[-1] == "... 20 more"
    assert pictures.literal("a" * 200) == "a" * 12 + "…" + "a" * 11
    assert not recwarn


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, instead of their files."""
    drawn = []
    monkeypatch.setattr(pictures, "_png", lambda figure: drawn.append(figure) or PNG)
    return drawn


def test_the_mean_of_a_noisy_curve_does_not_lag(figures):
    losses = [math.exp(-k / 50) for k in range(1500)]
    pictures.loss_curve([Record(k, x, 0.5, 0.1) for k, x in enumerate(losses)], "accuracy", "n", "t", batches=True)
    curve, mean = figures[0].axes[0].get_lines()
    assert curve.get_ydata().tolist() == losses
    found = mean.get_ydata()
    assert mean.get_label() == "mean of 75 steps"
    assert max(a / b for a, b in zip(found, losses, strict=True)) < 1.15
    assert (found[0], found[-1]) == (losses[0], losses[-1])
    assert found[700] == pytest.approx(sum(losses[663:738]) / 75)


def test_the_first_validation_point_is_joined(figures):
    judged = [3.3, math.nan, 2.5, math.nan, 2.4, 2.3]
    rows = [NamesRecord(k, 3.0, 0.1, x) for k, x in enumerate(judged)]
    pictures.spelling_curve(rows, "n", window=1, guess=3.3)
    lines = [line for line in figures[0].axes[0].get_lines() if line.get_color() == pictures.COLORS[0]]
    assert [(line.get_linestyle(), line.get_xdata().tolist()) for line in lines] == [("-", [2, 4, 5]), (":", [0, 2])]


def test_a_boundary_lies_where_the_classes_part():
    scores = [[z] for z in (-2.0, 3.0)]
    assert pictures._margins(list(zip(*scores, strict=True))) == [[2.0, -3.0], [-2.0, 3.0]]
    assert pictures._margins([[1.0], [4.0], [2.0]]) == [[-3.0], [2.0], [-2.0]]


def test_the_neuron_of_the_graph_is_a_copy():
    trainer = Trainer(*quick())
    trainer.advance()
    before = [(p.label, p.grad) for _, p in trainer.parameters]
    dot = pictures.neuron_graph(trainer.model, trainer.train)
    assert "w_x2" in dot.source
    assert "output" in dot.source
    assert [(p.label, p.grad) for _, p in trainer.parameters] == before


@pytest.mark.parametrize(
    ("missing", "words"), [("matplotlib.backends.backend_agg", "matplotlib"), ("safetensors.numpy", "safetensors")]
)
def test_a_missing_package_is_told_before_any_work(tmp_path, monkeypatch, missing, words):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"needs {words}; install it with: pip install 'chainrule\[train\]'"):
        train(*quick(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def records(count):
    return [Record(k, 0.5, 0.75, 0.1) for k in range(count)]


def test_plain_lines_are_few_and_regular(capsys):
    with progress.Plain(1000, RecordInWords("accuracy", False)) as display:
        for record in records(1000):
            display.update(record)
        display.finish(Record(1000, 0.25, 1.0, math.nan))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 21
    assert [int(line.split()[1].split("/")[0]) for line in lines] == list(range(0, 1001, 50))
    assert lines[0] == "step    0/1000  loss 0.5  accuracy 75.0 %"  # after one step nothing is known of the next
    assert lines[-1].startswith("step 1000/1000  loss 0.25  accuracy 100.0 %  0 s left")
    for word in ("step   50/1000", "loss 0.5", "accuracy 75.0 %", " left", "steps/s"):
        assert word in lines[1]


def test_the_first_step_does_not_count_for_the_time_left(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    display = progress.Silent(100, lambda record, finished: [])
    for step, seconds in enumerate([30.0] + [0.5] * 10):
        now += seconds
        display.update(records(step + 1)[-1])
    assert display.parts(records(11)[-1]) == ["step  10/100", "45 s left", "2.00 steps/s"]


@pytest.mark.parametrize("width", [10, 30, 60, 120])
def test_the_live_line_fits_the_terminal(width):
    from rich.console import Console

    console = Console(width=width, force_terminal=True, file=__import__("io").StringIO())
    display = progress.Live(100, RecordInWords("accuracy", False), console)
    with display:
        for record in records(100):
            display.update(record)
        display.finish(records(101)[-1])
        text = display.line().plain
    assert text.startswith("step")
    assert len(text) < width or width == 10
    assert ("steps/s" in text) == (width >= 120)
    assert ("accuracy" in text) == (width >= 60)
    assert ("━" in text or "#" in text) == (width >= 30)
    assert "·" not in text  # the bar is full


def test_the_line_of_a_stopped_run_waits_for_nothing():
    from rich.console import Console

    display = progress.Live(
        100, RecordInWords("accuracy", True), Console(width=120, force_terminal=True, file=__import__("io").StringIO())
    )
    with display:
        display.update(records(30)[-1])
        display.update(records(31)[-1])
        assert " left" in display.line().plain
        assert "accuracy 75.0 % on the batch" in display.line().plain
    assert display.line().plain == "step  30/100  loss 0.5  accuracy 75.0 % on the batch"


def test_nobody_reads_any_more(monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stdout", Closed())
    progress.say("hello")
    progress.say("again")  # to nobody


def test_every_task_has_a_loss_and_short_names_are_of_losses():
    assert [fitting(task)[0] for task in ("binary", "multiclass", "regression")] == ["max_margin", "cross_entropy", "mse"]
    assert set(SHORT_NAMES.values()) <= set(OBJECTIVES)
    own = {name for name, objective in OBJECTIVES.items() if objective.function is not getattr(nn, name)}
    assert own == {"cross_entropy"}  # with `take`, so that it can be compiled
    rows = [[chainrule.Value(x) for x in row] for row in ([1.0, -2.0, 900.0], [0.5, 0.25, 0.0])]
    assert OBJECTIVES["cross_entropy"].function(rows, [0, 1]).data == nn.cross_entropy(rows, [0, 1]).data


@pytest.mark.parametrize(("loss", "told"), [("max_margin", False), ("bce", True), ("mse", False)])
def test_probabilities_after_losses_of_logits_alone(loss, told):
    model = Trainer(*quick(loss=loss)).model
    found = model.probabilities([[0.0], [2.0], [-1000.0]])
    if not told:
        assert found is None
        return
    assert found[0] == [0.5, 0.5]
    assert found[1] == pytest.approx([1 / (1 + math.exp(2)), 1 / (1 + math.exp(-2))], rel=1e-15)
    assert found[2] == [1.0, 0.0]


def test_a_folder_writes_through_the_one_writer(tmp_path):
    with pytest.raises(RunError, match=r"cannot write .*absent/f: No such file or directory"):
        folders.write(tmp_path / "absent" / "f", b"x")
    folders.write(tmp_path / "f", b"x")
    assert files(tmp_path) == {"f": b"x"}


@pytest.mark.parametrize("seed", [1337, 0, 42])
def test_moons_end_with_every_point_right(seed):
    trainer = Trainer(*configure("moons", seed=seed))
    if native.status()["engine"] == "pure" and seed != 1337:
        pytest.skip("one seed is enough on the pure engine, which takes a quarter of a minute for each")
    while trainer.step < trainer.config.steps:
        trainer.advance()
    assert trainer.final_record().measure == 1.0
