"""The benchmarks measure what they say and report it in the promised form. Nothing here looks at how long anything takes."""

import importlib.metadata
import importlib.util
import json
import math
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from benchmarks import compile as compile_rows
from benchmarks import compiled, engine, networks, report, training, worker
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.contenders import MeasurementError, summary, times_as_long
from benchmarks.report import Row

from chainrule import Value, inputs_first

ROOT = Path(__file__).parent.parent
ROWS = {  # the lines of the speed table: target and goal
    "moons_native": (100, "at least"),
    "moons_pure": (10, "at least"),
    "bytes_per_node": (100, "at most"),
    "long_chain": (1, "at most"),
    "import": (50, "at most"),
}


def benchmarks(*arguments):
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def quick():
    """One quick run of everything, and the JSON of its last line."""
    done = benchmarks("engine", "--quick")
    return done, json.loads(done.stdout.splitlines()[-1])


def row(found, name):
    """That row, if it could be measured here; without a compiler the native ones cannot."""
    found = next(row for row in found["rows"] if row["name"] == name)
    if found["figure"] is None:
        pytest.skip(found["problem"])
    return found


def test_every_line_of_the_table_is_a_row_with_its_target(quick):
    _, found = quick
    assert {row["name"]: (row["target"], row["goal"]) for row in found["rows"]} == ROWS


def test_a_row_has_a_figure_or_one_sentence_that_says_what_helps(quick):
    done, found = quick
    for each in found["rows"]:
        if each["figure"] is None:
            assert not each["met"]
            assert each["problem"]
            assert each["name"] in ("moons_native", "bytes_per_node", "long_chain"), each["problem"]
            assert "native" in each["problem"]
        else:
            reached = each["figure"] >= each["target"] if each["goal"] == "at least" else each["figure"] <= each["target"]
            assert each["met"] == (reached and each["holds"])
    assert done.returncode == (0 if all(each["figure"] is not None for each in found["rows"]) else 1)


def test_the_table_comes_before_the_json(quick):
    done, _ = quick
    table = "\n".join(done.stdout.splitlines()[:-1])
    for words in ("moons step", "import", "at least 100", "measured", "target"):
        assert words in table


def test_the_environment_is_reported(quick):
    _, found = quick
    about = found["environment"]
    assert about["python"] == ".".join(map(str, sys.version_info[:3]))
    assert about["cpu"]
    assert about["engine"]["engine"] in ("pure", "native")
    assert about["micrograd"] == importlib.metadata.version("micrograd")
    assert found["quick"] is True


@pytest.mark.parametrize("name", ["pure", "native"])
def test_the_moons_ratio_is_that_of_the_reported_medians(quick, name):
    measured = row(quick[1], f"moons_{name}")
    times = measured["details"]["milliseconds"]
    assert measured["figure"] == times["micrograd"]["median"] / times[name]["median"] > 0
    assert all(each["min"] <= each["median"] <= each["max"] and each["runs"] >= 1 for each in times.values())


@pytest.mark.parametrize("name", ["pure", "native"])
def test_both_libraries_run_the_same_program(quick, name):
    details = row(quick[1], f"moons_{name}")["details"]
    assert details["nodes"] == {"micrograd": 65_818, name: 65_818}
    assert details["first_losses"][name] == pytest.approx(details["first_losses"]["micrograd"], rel=1e-9)
    assert details["first_losses"]["micrograd"][0] == pytest.approx(0.8958441028683222)


def test_the_import_time_is_the_difference_of_the_reported_medians(quick):
    measured = row(quick[1], "import")
    times = measured["details"]["milliseconds"]
    assert measured["figure"] == times["numpy_and_chainrule"]["median"] - times["numpy"]["median"]


def test_the_chain_reports_its_growth_per_node(quick):
    measured = row(quick[1], "long_chain")
    details = measured["details"]
    alone, together = details["nanoseconds_per_node_alone"], details["nanoseconds_per_node"]
    sizes = sorted(together, key=int)
    assert {size: times["median"] / int(size) * 1e9 for size, times in details["seconds"].items()} == pytest.approx(alone)
    largest = int(sizes[-1])
    assert {size: times["median"] / largest * 1e9 for size, times in details["seconds_together"].items()} == pytest.approx(
        together
    )
    assert details["growth"] == together[sizes[-1]] / together[sizes[0]] > 0
    assert measured["figure"] == details["seconds"][sizes[-1]]["median"] > 0
    assert measured["holds"] == (details["growth"] <= details["growth_limit"])


def test_bytes_per_node_are_those_of_the_worst_case(quick):
    measured = row(quick[1], "bytes_per_node")
    each = measured["details"]["bytes"]
    assert measured["figure"] == max(each[name]["median"] for name in ("native", "native_after_backward", "native_where"))
    assert each["native_where"]["median"] > each["native"]["median"]  # three inputs need more than two
    assert measured["details"]["sizeof"] > 16
    assert each["micrograd"]["median"] > each["native"]["median"] > 0


def test_without_a_name_it_lists_what_there_is():
    done = benchmarks()
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(BENCHMARKS)


@pytest.mark.parametrize(
    ("argument", "words"), [("engin", "'engine'"), ("xyz", "there is: engine"), ("--quik", "'--quick'"), ("--quick=3", "quick")]
)
def test_a_wrong_argument_gets_one_sentence_and_exit_code_2(argument, words):
    done = benchmarks(argument) if argument.startswith("--") else benchmarks(argument, "--quick")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_a_row_is_met_only_when_measured_and_reached():
    def met(goal, figure, **more):
        return Row(name="x", what="x", unit="s", goal=goal, target=10, figure=figure, **more).met

    assert met("at least", 10.0)
    assert not met("at least", 9.9)
    assert met("at most", 10.0)
    assert not met("at most", 10.1)
    assert not met("at most", 1.0, holds=False)
    assert not met("at most", None)


def test_a_missing_peer_is_said_with_the_command_that_helps(monkeypatch):
    def not_found(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", not_found)
    assert "pip install micrograd" in worker.introduce("micrograd")["missing"]
    assert report.surroundings()["micrograd"] is None


def test_rows_of_a_missing_peer_have_no_figure_and_the_exit_code_says_so(monkeypatch, capsys):
    def gone(name):
        raise MeasurementError(f"{name} is gone; install it")

    monkeypatch.setattr(engine, "Contender", gone)
    rows = [*engine.moons(True), engine.bytes_per_node(True), engine.long_chain(True)]
    assert [(each.figure, each.met) for each in rows] == [(None, False)] * 4
    assert [each.problem for each in rows] == [f"{name} is gone; install it" for name in ("native", "pure", "native", "native")]
    monkeypatch.setattr(engine, "measure", lambda quick: rows)
    assert main(["engine"]) == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [each["figure"] for each in last["rows"]] == [None] * 4


def test_turns_are_compared_pair_by_pair():
    assert times_as_long([4.0, 400.0, 6.0], [2.0, 100.0, 2.0]) == 3.0  # of 2, 4 and 3
    assert times_as_long([4.0, 400.0, 600.0], [2.0, 100.0, 300.0]) == 2.0  # of 2, 4 and 2; the medians are 400 and 100
    with pytest.raises(ValueError, match="longer"):
        times_as_long([1.0], [1.0, 2.0])


def test_different_losses_are_no_comparison():
    there = {"micrograd": (None, 65_818, [0.5, 0.4]), "pure": (None, 65_818, [0.5, 0.4001])}
    seconds = {"micrograd": [0.5, 3.0, 2.0], "pure": [0.1, 0.4, 0.2]}
    with pytest.raises(MeasurementError, match="different things"):
        engine._compared("pure", there, seconds)
    same = {"micrograd": (None, 65_818, [0.5, 0.4]), "pure": (None, 70_000, [0.5, 0.4])}
    compared = engine._compared("pure", same, seconds)
    assert compared["figure"] == 7.5  # the median of 5, 7.5 and 10; the ratio of the medians is 10
    assert "65,818 nodes expected" in compared["note"]
    assert "70000" in compared["note"]


def test_the_chain_has_the_promised_size_and_its_slopes_are_checked():
    root, _, _ = worker.build_chain(Value, 1000)
    assert len(inputs_first(root)) == 1000 + 2
    assert worker.chain(Value, 1000, chains=3)["right"]
    by_w, by_x = worker.expected_slopes(1000)

    class Off(Value):
        """A leaf whose gradient reads 0.1 % too large."""

        @property
        def grad(self):
            return 1.001 * super().grad

    assert not worker.chain(Off, 1000)["right"]
    assert by_w != by_x


def test_medians_and_extremes():
    assert summary([0.003, 0.001, 0.010], 1e3) == {"median": 3.0, "min": 1.0, "max": 10.0, "runs": 3}


def test_a_turn_of_each_contender_in_every_round():
    turns = []

    class Fake:
        def __init__(self, name):
            self.name = name

        def ask(self, do, count):
            turns.append((self.name, count))
            return {"seconds": 2.0 * count}

    there = {name: (Fake(name), 0, []) for name in engine.STEPS}
    seconds = engine._interleave(there, rounds=2, quick=False)
    assert turns == [*engine.STEPS.items(), *engine.STEPS.items()]
    assert seconds == {name: [2.0, 2.0] for name in engine.STEPS}


def test_the_timed_program_differs_in_the_name_of_the_import_alone():
    lines = worker.MOONS.read_text().splitlines()
    named = [line for line in lines if "micrograd" in line and "import" in line and line.startswith("from")]
    assert named == ["from micrograd.engine import Value", "from micrograd.nn import MLP"]
    assert worker._package("micrograd") == "micrograd"
    assert worker._package("native") == worker._package("pure") == "chainrule"


def test_the_table_is_readable_without_rich(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    rows = [
        Row(name="a", what="the moons step", unit="times", goal="at least", target=10, figure=12.5, note="as ever"),
        Row(name="b", what="the chain", unit="s", goal="at most", target=1, problem="not built; build it"),
    ]
    report.show("engine", rows, quick=False)
    out = capsys.readouterr().out
    for words in ("the moons step", "12.5 times", "at least 10", "yes", "not built; build it"):
        assert words in out
    assert json.loads(out.splitlines()[-1])["rows"][0]["met"] is True


def test_workers_end_with_the_measurement():
    with ExitStack() as running:
        contender = running.enter_context(engine.Contender("pure"))
        assert contender.ask("chain", nodes=100, chains=2)["right"]
    assert contender._process.poll() == 0


# ---- names and tensor ------------------------------------------------------------------------------------------------

TENSOR_ROWS = {
    "names": {
        "names_torch": (1.7, "at least"),
        "names_autograd": (4, "at least"),
        "lecture_torch": (1.7, "at least"),
        "modules_torch": (1.7, "at least"),
        "hand_torch": (2, "at least"),
        "tensors_torch": (1, "at least"),
    },
    "tensor": {"mlp_torch": (1, "at least"), "overhead": (1.2, "at most"), "memory": (1, "at most")},
}


@pytest.mark.parametrize("name", TENSOR_ROWS)
def test_the_rows_of_the_tensor_benchmarks(name):
    done = benchmarks(name, "--quick")
    found = json.loads(done.stdout.splitlines()[-1])
    assert {row["name"]: (row["target"], row["goal"]) for row in found["rows"]} == TENSOR_ROWS[name]
    for each in found["rows"]:
        if each["figure"] is None:  # a peer is not there
            assert "pip install" in each["problem"]
        elif "microseconds" in each["details"] and "first_steps" in each["details"]:
            ours, theirs = (each["details"]["microseconds"][who] for who in ("chainrule", each["name"].split("_")[1]))
            assert 0 < theirs["min"] / ours["max"] <= each["figure"] <= theirs["max"] / ours["min"]
    assert done.returncode == (0 if all(each["figure"] is not None for each in found["rows"]) else 1)


def changes(contender, program):
    """The loss of the first step, and by how much each parameter changed: the gradients, but for the learning rate."""
    made = networks.PROGRAMS[contender]()[program]()
    before = [training.array_of(p).copy() for p in made.parameters]
    loss = made.step(*made.batches[0]).item()
    return loss, [training.array_of(p) - b for p, b in zip(made.parameters, before, strict=True)]


def same_changes(mine, yours):
    assert mine[0] == pytest.approx(yours[0], rel=1e-5)
    largest = max(abs(change).max() for change in yours[1])
    assert largest > 0
    for a, b in zip(mine[1], yours[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize(
    ("mine", "yours"),
    [("names", "names"), ("lecture", "lecture"), ("modules", "modules"), ("mlp", "mlp"), ("hand", "hand"), ("tensors", "hand")],
)
def test_pytorch_computes_the_same_gradients(mine, yours):
    pytest.importorskip("torch", reason="the peer of this comparison is PyTorch: pip install 'chainrule[dev]'")
    same_changes(changes("chainrule", mine), changes("torch", yours))


def test_hips_autograd_computes_the_same_gradients():
    pytest.importorskip("autograd", reason="the peer of this comparison is HIPS autograd: pip install 'chainrule[dev]'")
    same_changes(changes("chainrule", "names"), changes("autograd", "names"))


def test_all_spellings_are_the_same_network():
    same_changes(changes("chainrule", "names"), changes("chainrule", "modules"))
    same_changes(changes("chainrule", "hand"), changes("chainrule", "tensors"))
    # BatchNorm divides by n - 1 in the lecture, and the lecture's has no eps.
    loss, by_hand = changes("chainrule", "hand")
    eager_loss, eager = changes("chainrule", "lecture")
    assert loss == pytest.approx(eager_loss, rel=1e-4)
    same_changes((eager_loss, eager), (eager_loss, by_hand))


def test_other_losses_or_gradients_are_no_comparison():
    first = {"losses": [3.0, 2.9], "moved": [1.0, 0.0]}
    training.expect_the_same(first, {"losses": [3.0001, 2.9], "moved": [1.0, 1e-5]})
    for other in ({"losses": [3.0, 2.8]}, {"moved": [1.0, 0.1]}, {"moved": [1.0]}, {"losses": [3.0, float("nan")]}):
        with pytest.raises(MeasurementError, match="different things"):
            training.expect_the_same({**first, **other}, first)


def test_a_program_starts_afresh_and_goes_on():
    worker = training.Worker("chainrule")
    first = worker.first_steps("hand")
    assert worker.steps("hand", 3) > 0
    assert worker.first_steps("hand") == first
    assert worker.steps("names", 2) > 0


def test_without_a_peer_a_row_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert training._introduce("torch") == {"missing": "torch is not installed; install it with: pip install torch==2.13.0"}
    assert "pip install autograd" in training._introduce("autograd")["missing"]
    there = {"chainrule": None, "torch": MeasurementError("torch is gone; install it")}
    row = training.compared(there, "x", ours="names", theirs=("torch", "names"), target=1, steps=1, rounds=1)
    assert (row.figure, row.problem) == (None, "torch is gone; install it")
    capsys.readouterr()


# ---- the compiler ----------------------------------------------------------------------------------------------------

COMPILE_ROWS = {
    "moons_micrograd": (50_000, "at least"),
    "moons_torch": (12, "at least"),
    "moons_jax": (2, "at least"),
    "compile_moons": (1.5, "at most"),
    "compile_large": (25, "at most"),
    "names_torch": (5, "at least"),
    "names_jax": (1.3, "at least"),
    "names_lifted": (80, "at most"),
    "names_scalars": (2, "at most"),
    "training": (5, "at least"),
    "mlp": (1.05, "at most"),
    "gpt": (20, "at least"),
    "options": (1, "at least"),
    "call": (3, "at most"),
}


@pytest.fixture(scope="module")
def quickly_compiled():
    """One quick run of the benchmark of the compiler."""
    done = benchmarks("compile", "--quick")
    return done, json.loads(done.stdout.splitlines()[-1])


def test_the_rows_of_the_compiler(quickly_compiled):
    done, found = quickly_compiled
    assert {row["name"]: (row["target"], row["goal"]) for row in found["rows"]} == COMPILE_ROWS
    for each in found["rows"]:
        if each["figure"] is None:  # a peer is not there
            assert "pip install" in each["problem"]
        else:
            assert each["figure"] > 0
    assert done.returncode == (0 if all(each["figure"] is not None for each in found["rows"]) else 1)


@pytest.mark.parametrize("name", ["moons_micrograd", "moons_torch", "moons_jax", "names_torch", "names_jax", "gpt", "mlp"])
def test_the_ratio_is_that_of_our_median_and_the_fastest_of_theirs(quickly_compiled, name):
    measured = row(quickly_compiled[1], name)
    *theirs, ours = [times["median"] for times in measured["details"]["microseconds"].values()]
    assert len(theirs) == {"moons_jax": 2, "names_jax": 2, "mlp": 2}.get(name, 1)
    assert measured["figure"] == pytest.approx(ours / min(theirs) if measured["goal"] == "at most" else min(theirs) / ours)


def test_the_loops_that_are_compiled_are_those_of_the_demo(quickly_compiled):
    assert row(quickly_compiled[1], "compile_moons")["details"]["nodes"] == 65_818
    first = row(quickly_compiled[1], "moons_micrograd")["details"]["first_steps"]
    assert first["chainrule moons"]["losses"][0] == pytest.approx(0.8958441028683222)
    assert first["chainrule moons"]["losses"] == pytest.approx(first["micrograd moons"]["losses"], rel=1e-9)
    large = row(quickly_compiled[1], "compile_large")
    assert large["holds"] == (large["details"]["growth"] <= large["details"]["growth_limit"])
    assert large["details"]["nodes"] > 130_000


def test_a_run_of_training_is_extrapolated_and_says_so(quickly_compiled):
    measured = row(quickly_compiled[1], "training")
    details = measured["details"]
    extras = details["extras"]
    besides = extras["first"] + 20 * extras["judged"] + extras["final"]
    ours, theirs = (details["microseconds"][who]["median"] * 0.2 for who in ("chainrule", "torch"))
    assert details["seconds"] == pytest.approx({"chainrule": ours + besides, "torch": theirs})
    assert measured["figure"] == pytest.approx(theirs / (ours + besides))
    assert "EXTRAPOLATED" in measured["what"]


def test_of_several_measurements_of_options_the_worst_counts(quickly_compiled):
    measured = row(quickly_compiled[1], "options")
    each = [found["figure"] for found in measured["details"].values()]
    assert len(each) == 4
    assert measured["figure"] == min(each)


def stepped(contender, program):
    """The first losses, and every parameter after them."""
    made = compiled.PROGRAMS[contender]()[program]()
    losses = [float(np.mean(made.step(*batch))) for batch in (made.first or made.batches)[:3]]
    return losses, [np.array(p) for p in made.parameters()]


@pytest.mark.parametrize(
    ("mine", "contender", "yours", "rtol"),
    [
        ("moons", "micrograd", "moons", 1e-12),
        ("moons", "torch", "moons", 1e-12),
        ("moons", "jax", "moons", 1e-12),
        ("moons", "jax", "moons_kept", 1e-12),
        ("names", "torch", "names", 1e-4),
        ("names", "jax", "names", 1e-4),
        ("names", "jax", "names_kept", 1e-4),
        ("names_scalars_4", "chainrule", "names_plain_4", 1e-4),
        ("training", "torch", "training", 1e-4),
        ("mlp", "torch", "mlp", 1e-3),
        ("mlp", "numpy", "mlp", 1e-3),
        ("gpt", "chainrule", "gpt_plain", 1e-9),
        ("options", "jax", "options", 1e-9),
        ("options_one_market", "jax", "options_one_market", 1e-9),
    ],
)
def test_contenders_compute_the_same(monkeypatch, mine, contender, yours, rtol):
    pytest.importorskip(contender, reason=f"the peer of this comparison is {contender}")
    if mine.startswith("options"):
        few = compiled.options(1000)
        monkeypatch.setattr(compiled, "options", lambda count=1000: few)
    losses, parameters = stepped("chainrule", mine)
    their_losses, theirs = stepped(contender, yours)
    assert losses == pytest.approx(their_losses, rel=rtol)
    largest = max(np.abs(each).max() for each in theirs)  # some are 0 but for rounding: the bias in front of BatchNorm
    for ours, other in zip(parameters, theirs, strict=True):
        np.testing.assert_allclose(ours, other, rtol=rtol, atol=rtol * largest)


def test_prices_and_slopes_are_those_of_black_and_scholes():
    S, K, r, sigma, T = arguments = compiled.options(1000)
    below = np.vectorize(lambda x: (1 + math.erf(x / 2**0.5)) / 2)
    d = (np.log(S / K) + (r + sigma**2 / 2) * T) / (sigma * T**0.5)
    price = S * below(d) - K * np.exp(-r * T) * below(d - sigma * T**0.5)
    made = compiled.options_compiled(arguments)
    np.testing.assert_allclose(made.step(), price, atol=1e-4)
    delta, by_strike, rho, vega, _ = made.parameters()
    bell = np.exp(-d * d / 2) / (2 * math.pi) ** 0.5
    np.testing.assert_allclose(delta, below(d), atol=1e-4)
    np.testing.assert_allclose(by_strike, -np.exp(-r * T) * below(d - sigma * T**0.5), atol=1e-4)
    np.testing.assert_allclose(rho, K * T * np.exp(-r * T) * below(d - sigma * T**0.5), atol=1e-2)
    np.testing.assert_allclose(vega, S * bell * T**0.5, atol=1e-2)


class Scripted:
    """A contender that answers from a script, and notes what it is asked."""

    version = "1"

    def __init__(self, log, name, losses, seconds):
        self.log, self.name, self.losses, self.seconds = log, name, losses, seconds

    def ask(self, do, program, count=0):
        self.log.append((self.name, do, count))
        return {"losses": self.losses, "moved": [1.0]} if do == "first_steps" else self.seconds * count


def test_sides_are_asked_in_turn_in_turns_of_equal_length():
    log = []
    there = {"chainrule": Scripted(log, "chainrule", [2.0], 0.001), "torch": Scripted(log, "torch", [2.0], 0.05)}
    ours, theirs = compile_rows.Side("chainrule", "x"), compile_rows.Side("torch", "x")
    times = compile_rows.Times(there, [ours, theirs], 2, 1e-9)
    assert log[-4:] == [("chainrule", "steps", 100), ("torch", "steps", 2)] * 2
    assert times.compared([theirs])["figure"] == pytest.approx(50)
    assert times.compared([theirs], at_most=True)["figure"] == pytest.approx(1 / 50)


def test_of_contenders_that_differ_there_is_no_figure():
    there = {"chainrule": Scripted([], "chainrule", [2.0], 1), "torch": Scripted([], "torch", [2.0001], 1)}
    ours, theirs = compile_rows.Side("chainrule", "x"), compile_rows.Side("torch", "x")
    times = compile_rows.Times(there, [ours, theirs], 1, 1e-9)
    found = compile_rows.against(times, "torch", [theirs], "x", "x", 1)
    assert found.figure is None
    assert "different things" in found.problem
    assert compile_rows.Times(there, [ours, theirs], 1, 1e-3).compared([theirs])["figure"] == 1
    assert compile_rows.Times(there, [ours, theirs], 1, 1e-9, unlike=[theirs]).compared([theirs])["figure"] == 1


def test_without_jax_its_rows_say_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert compiled.introduce("jax") == {"missing": "jax is not installed; install it with: pip install jax"}
    gone = MeasurementError("jax is gone; install it")
    there = {name: Scripted([], name, [2.0], 1) for name in ("chainrule", "micrograd", "torch")} | {"jax": gone}
    rows = {row.name: row for row in compile_rows.moons(there, quick=True)}
    assert [rows[f"moons_{peer}"].figure for peer in ("micrograd", "torch", "jax")] == [1, 1, None]
    assert rows["moons_jax"].problem == "jax is gone; install it"
    assert compile_rows.options(there, there, 1).problem == "jax is gone; install it"


def test_a_program_that_fails_costs_its_own_row_alone():
    with compile_rows.Contender("numpy", "benchmarks.compiled", "pinned") as contender:
        with pytest.raises(MeasurementError, match="numpy fails: KeyError: 'none'"):
            contender.ask("first_steps", program="none")
        assert len(contender.ask("first_steps", program="mlp")["losses"]) == 3


def test_more_time_per_node_in_a_large_graph_is_not_linear():
    few, many = ([{"seconds": cpu, "cpu": cpu, "nodes": nodes}] for cpu, nodes in ((1.0, 1000), (12.0, 10_000)))
    assert compile_rows._linear(few, many)["holds"]
    many[0]["cpu"] = 16.0
    assert not compile_rows._linear(few, many)["holds"]


def test_more_samples_are_the_same_loss_of_more_nodes():
    counts = [len(inputs_first(compiled.moons_names(n)["loss"]())) for n in (100, 200)]
    assert counts[0] == 65_818
    assert counts[1] - counts[0] == pytest.approx(65_818, rel=0.02)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not bind processes to processors")
def test_a_pinned_contender_has_one_processor():
    with compile_rows.Contender("numpy", "benchmarks.compiled", "pinned") as pinned:
        assert len(os.sched_getaffinity(pinned._process.pid)) == 1
    with compile_rows.Contender("numpy", "benchmarks.compiled", "all") as free:
        assert os.sched_getaffinity(free._process.pid) == os.sched_getaffinity(0)
