"""The command line: every sentence and exit code, in this process where possible, in a pipe or terminal where it matters."""

import csv
import dataclasses
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import click
import pytest

import chainrule
from chainrule import cli, native
from chainrule.errors import DataError
from chainrule.train import Config, commands
from chainrule.train import run as runs
from chainrule.train.loop import Trainer

BUFFERED = {name: x for name, x in os.environ.items() if name != "PYTHONUNBUFFERED"}
COMMAND = [sys.executable, "-m", "chainrule"]
QUICK = ["--hidden", "4", "--steps", "12", "--samples", "20"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Runs a command in this process: exit code, standard output, standard error."""

    def run(*args):
        with pytest.raises(SystemExit) as caught:
            cli.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


@pytest.fixture
def fails(run):
    """Runs a command that must fail with one sentence and exit code 2, and gives the sentence."""

    def fails(*args):
        code, _, err = run(*args)
        assert code == 2, err
        assert re.fullmatch(r"chainrule: .*\n", err), err
        return err

    return fails


@pytest.fixture
def points(folder):
    path = folder / "points.csv"
    rows = "".join(f"{i % 7},{i % 5},{'near' if i % 7 + i % 5 < 5 else 'far'}\n" for i in range(35))
    path.write_text("x,y,label\n" + rows)
    return path


# ---- help and words -------------------------------------------------------------------------------------------------


def test_version(run):
    assert run("--version") == (0, f"chainrule {chainrule.__version__}\n", "")


@pytest.mark.parametrize(
    "args", [(), ("--help",), ("-h",), ("train", "--help"), ("predict", "-h"), ("sample", "-h"), ("info", "--help")]
)
def test_help(run, args):
    code, out, err = run(*args)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: chainrule")
    if args[:1] != ("info",):
        assert "Examples:" in out


def test_the_examples_of_the_help_are_valid():
    for command in ("train", "predict", "sample"):
        for line in commands.cli.commands[command].epilog.splitlines():
            words = re.split("[<>]", line)[0].split()  # the shell takes the rest
            if words[:1] == ["chainrule"]:
                commands.cli.commands[command].make_context(command, words[2:])


def test_every_option_has_help_and_is_a_setting():
    options = [p for p in commands.cli.commands["train"].params if isinstance(p, click.Option)]
    assert all(p.help for p in options)
    settings = {field.name for field in dataclasses.fields(Config)} - {"data", "output_activation"}
    settings |= {"file", "context", "embedding"}  # of names
    assert {p.name for p in options} == settings | {"out", "force", "resume", "checkpoint_every", "report", "quiet"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["trian", "moons"], "there is no command 'trian'; did you mean 'train'?"),
        (["zzz"], "there is no command 'zzz' (commands: info, predict, sample, show, train)"),
        (["train", "moons", "--stpes", "3"], "no such option '--stpes'; did you mean '--steps'?"),
        (["train", "moons", "--hlep"], "no such option '--hlep'; did you mean '--help'?"),
        (["train", "moons", "--test", "0.5"], "no such option '--test'; did you mean '--test-fraction'?"),
        (["train", "moons", "--rate", "0.5"], "no such option '--rate'; see chainrule train --help"),
        (["train", "moons", "--zzz"], "no such option '--zzz'; see chainrule train --help"),
        (["train", "moons", "--hidden", "99999999999999999999"], "parameters; 10,000,000 are the most"),
        (["train", "moons", "--hidden", "16,,16"], "'16,,16' is not a list of sizes"),
        (["train", "moons", "--lr", "1e400"], "chainrule: --lr must be a finite number above 0, not inf"),
        (["train", "moons", "--seed", "99999999999999"], "a seed is a whole number from 0 to 4294967295"),
        (["train", "moons", "--test-fraction", "nan"], "chainrule: --test-fraction must be 0 or more and below 1, not nan"),
        (["train", "moons", "--out", "points.csv"], "points.csv is a file; a run needs a folder"),
        (["train", "moons", "--optimizer", "adam", "--momentum", "0.5"], "chainrule: --momentum belongs to sgd"),
        (["train", ".", "--target", "x"], "is a folder, not a CSV file"),
        (["train", "points.csv", "--target", ""], "points.csv has no column ''"),
        (["train", "points.csv", "--target", "9"], "points.csv has no column '9'"),
        (["train", "points.csv", "--target", "label", "--columns", "x,x"], "the column 'x' is given twice"),
        (["train", "--resume", "points.csv"], "holds no checkpoint.safetensors"),
        (["predict", "points.csv", "points.csv"], "points.csv is no model of chainrule"),
        (["predict", "", "points.csv"], "is not a run: it holds no model.safetensors"),
        (["predict", "absent", "points.csv", "more"], "unexpected extra argument (more)"),
        (["info", "more"], "unexpected extra argument (more)"),
        (["--verson"], "no such option '--verson'; did you mean '--version'?"),
        (["train", "mons"], "there is no data set and no file 'mons'; did you mean 'moons'?"),
        (["train"], "say what to train on"),
        (["train", "moons", "--steps", "many"], "'many' is not a valid integer"),
        (["train", "moons", "--steps", "0"], "chainrule: --steps must be a whole number of at least 1, not 0"),
        (["train", "moons", "--lr", "-1"], "chainrule: --lr must be a finite number above 0, not -1.0"),
        (["train", "moons", "--lr", "0"], "lr must be a finite number above 0, not 0.0"),
        (["train", "moons", "--lr", "nan"], "lr must be a finite number"),
        (["train", "moons", "--hidden", "16,x"], "'16,x' is not a list of sizes"),
        (["train", "moons", "--hidden", "0"], "chainrule: --hidden must be a whole number of at least 1"),
        (["train", "moons", "--activation", "rely"], "did you mean 'relu'?"),
        (["train", "moons", "--optimizer", "adamm"], "did you mean 'adam"),
        (["train", "moons", "--optimizer", "adagrad"], "'adagrad' is none of sgd, adam, adamw; see chainrule train --help"),
        (["train", "moons", "--loss", "max_margn"], "did you mean 'max_margin'?"),
        (["train", "moons", "--loss", "cross_entropy"], "does not fit moons"),
        (["train", "moons", "--samples", "1"], "chainrule: --samples must be"),
        (["train", "moons", "--noise", "-0.1"], "chainrule: --noise is a standard deviation"),
        (["train", "moons", "--seed", "-1"], "chainrule: --seed must be"),
        (["train", "moons", "--batch-size", "101"], "chainrule: --batch-size must be from 1 to 100, the number"),
        (["train", "moons", "--test-fraction", "1"], "below 1"),
        (["train", "moons", "--checkpoint-every", "0"], "chainrule: --checkpoint-every must be at least 1 step"),
        (["train", "moons", "--target", "x"], "named data set: --target, --columns and --task are for CSV files"),
        (["train", "iris", "--noise", "1"], "takes no --noise"),
        (["train", "absent.csv", "--target", "x"], "there is no file"),
        (["train", "point.csv", "--target", "x"], "point.csv; did you mean 'points.csv'?"),
        (["train", "-", "--target", "x"], "so not standard input: save it first"),
        (["train", "points.csv", "--target", "label", "--columns", ""], "'' is not a list of columns such as x,y"),
        (["train", "points.csv", "--target", "label", "--columns", "x,"], "'x,' is not a list of columns such as x,y"),
        (["train", "moons", "--out", ""], "the run folder has an empty name"),
        (["train", "moons", "--out", "", "--force"], "the run folder has an empty name"),
        (["train", "moons", "--out", ".", "--force"], ". holds files but no run of chainrule, so it is not touched"),
        (["train", "moons", "--noise", "1e200"], "is too large; numbers up to 1e+100 can be learned from"),
        (["predict", "absent", "points.csv", "-o", "points.csv"], "points.csv is the file to predict"),
        (["predict", "absent", "points.csv", "-o", "points.csv", "--force"], "points.csv is the file to predict"),
        (["train", "points.csv"], "--target NAME"),
        (["train", "points.csv", "--target", "lable"], "did you mean 'label'?"),
        (["train", "points.csv", "--target", "label", "--columns", "x,z"], "has no column 'z'"),
        (["train", "points.csv", "--target", "label", "--task", "regresion"], "did you mean 'regression'?"),
        (["train", "points.csv", "--target", "label", "--task", "regression"], "line 2, column 'label': 'near' is not a number"),
        (["train", "points.csv", "--target", "label", "--samples", "3"], "chainrule: --samples and --noise are for the named"),
        (["train", "--resume", "absent"], "there is no run absent"),
        (["train", "moons", "--resume", "absent"], "give no SOURCE"),
        (["train", "--resume", "absent", "--lr", "1"], "--lr cannot change"),
        (["train", "--resume", "absent", "--no-compile"], "--compile cannot change in a resumed run"),
        (["predict", "absent"], "missing argument 'FILE'"),
        (["predict", "absent", "points.csv"], "cannot read absent"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else None,
)
def test_mistakes_are_one_sentence_and_leave_nothing(fails, points, folder, args, words):
    assert words in fails(*args)
    assert sorted(path.name for path in folder.iterdir()) == ["points.csv"]


def test_debugging_shows_the_traceback(run, monkeypatch):
    monkeypatch.setenv("CHAINRULE_DEBUG", "1")
    code, _, err = run("train", "mons")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("chainrule: there is no data set")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("first\nsecond  third"), 2, "chainrule: first second third\n"),
        (OSError(30, "Read-only file system", "runs"), 2, "chainrule: runs: Read-only file system\n"),
        (KeyboardInterrupt(), 130, "\nchainrule: interrupted\n"),  # on a line of its own, after the terminal's ^C
        (MemoryError(), 2, "chainrule: out of memory; smaller --samples, --batch-size or --hidden need less\n"),
        (UnicodeEncodeError("ascii", "ä", 0, 1, "no"), 2, "chainrule: the output cannot hold 'ä' in ascii; set PYTHONUTF8=1\n"),
    ],
)
def test_every_failure_is_a_sentence(run, monkeypatch, error, code, words):
    monkeypatch.setattr(commands, "configure", lambda *args, **options: (_ for _ in ()).throw(error))
    assert run("train", "moons") == (code, "", words)


def test_what_is_no_user_error_is_not_hidden(monkeypatch):
    monkeypatch.setattr(commands, "configure", lambda *args, **options: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["train", "moons"])


RIGHT_OF_35 = (
    r"(\d+) of 35 predictions agree with the column 'label' \(it was trained on these data; "
    r"for the rows held out: chainrule predict runs/points-001 runs/points-001/heldout\.csv\)\n"
)


# ---- train ----------------------------------------------------------------------------------------------------------


def test_train_and_predict_a_file(run, points, folder):
    code, out, err = run("train", "points.csv", "--target", "label", "--steps", "60", "--seed", "3")
    assert (code, err) == (0, "")
    assert "points.csv: 28 training samples, 7 held out, x, y; classes 'far', 'near'" in out
    assert re.search(r"^step 60/60  loss \S+  accuracy \S+ %  0 s left  \S+ steps/s$", out, re.MULTILINE)
    assert re.search(r"^training accuracy \S+ % \(\d+ of 28\), loss", out, re.MULTILINE)
    assert re.search(r"^held-out accuracy \S+ % \(\d of 7\)$", out, re.MULTILINE)
    assert "\x1b" not in out
    code, out, err = run("predict", "runs/points-001", "points.csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert code == 0
    assert len(rows) == 35
    assert {row["prediction"] for row in rows} == {"near", "far"}
    assert all((float(row["score"]) > 0) == (row["prediction"] == "near") for row in rows)
    right = int(re.fullmatch(RIGHT_OF_35, err)[1])
    truth = [line.split(",")[2] for line in points.read_text().splitlines()[1:]]
    assert right == sum(row["prediction"] == t for row, t in zip(rows, truth, strict=True))
    assert right > 28


def test_options_reach_the_run(run, folder):
    args = "--hidden none --activation tanh --loss bce --l2 0.5 --optimizer sgd --lr 0.25 --momentum 0.5 --weight-decay 0.125 "
    args += "--steps 3 --batch-size 7 --seed 9 --noise 0.3 --samples 40 --test-fraction 0.25 --standardize --out here --quiet"
    assert run("train", "circles", *args.split()) == (0, "", "")
    found = json.loads((folder / "here/config.json").read_text())
    expected = {
        "hidden": [], "activation": "tanh", "loss": "binary_cross_entropy", "l2": 0.5, "optimizer": "sgd", "lr": 0.25,
        "momentum": 0.5, "weight_decay": 0.125, "steps": 3, "batch_size": 7, "seed": 9, "noise": 0.3, "samples": 40,
        "test_fraction": 0.25, "standardize": True, "data": "circles",
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_an_existing_run_is_kept_without_force(run, fails, folder):
    assert run("train", "moons", *QUICK, "--out", "here", "--quiet")[0] == 0
    before = (folder / "here/metrics.csv").read_bytes()
    assert "here exists already; choose another folder, or --force" in fails(
        "train", "moons", *QUICK, "--out", "here", "--seed", "2"
    )
    assert (folder / "here/metrics.csv").read_bytes() == before
    assert run("train", "moons", *QUICK, "--out", "here", "--seed", "2", "--force", "--quiet")[0] == 0
    assert (folder / "here/metrics.csv").read_bytes() != before


def test_batches_are_told_from_the_whole(run):
    out = run("train", "moons", *QUICK, "--batch-size", "5")[1]
    assert re.search(r"^step  0/12  loss \S+  accuracy \S+ % on the batch$", out, re.MULTILINE)
    assert re.search(r"^step 12/12  loss \S+  accuracy \S+ % on all ", out, re.MULTILINE)
    assert "on the batch" not in run("train", "moons", *QUICK)[1]


COMPILED = r"^compiled in [\d.]+ m?s: [\d,]+ scalar operations are \d+ array operations; with the gradients they are \d+$"


def test_compiling_is_told(run, folder):
    _, by_rule, _ = run("train", "moons", *QUICK, "--steps", "2")
    assert re.search(r"^not compiled: making a program pays from about \d+ steps on; --compile makes one anyway$", by_rule, re.M)
    _, asked, _ = run("train", "moons", *QUICK, "--compile")
    assert len(re.findall(COMPILED, asked, re.M)) == 1
    assert asked.index("compiled in") < asked.index("step  0/12")
    assert "not compiled" not in asked
    _, refused, _ = run("train", "moons", *QUICK, "--no-compile")
    assert "compiled" not in refused
    assert run("train", "moons", *QUICK, "--compile", "--out", "here", "--quiet")[1] == ""
    _, long, _ = run("train", "moons", *QUICK, "--steps", "100")
    assert re.search(COMPILED, long, re.M)


def test_oddities_are_said_before_training(run, folder):
    (folder / "odd.csv").write_text("x,c,label\n" + "".join(f"{i},7,k{i}\n" for i in range(30)))
    code, out, err = run("train", "odd.csv", "--target", "label", "--steps", "2", "--hidden", "2")
    assert (code, err) == (0, "")
    notes = [line for line in out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 3
    assert notes[0] == "note: the column 'c' is the same in every training row: nothing can be learned from it"


def test_an_interrupted_replacement_says_where_the_old_run_is(run, monkeypatch):
    assert run("train", "moons", *QUICK, "--out", "here", "--quiet")[0] == 0
    monkeypatch.setattr(runs.Rows, "append", lambda self, line: os.kill(os.getpid(), signal.SIGINT))
    code, _, err = run("train", "moons", *QUICK, "--out", "here", "--force", "--quiet")
    assert code == 130
    assert "until it is complete, the run before is kept in here/replaced-run; step 1 of 12 is saved" in err


def test_divergence_is_a_sentence(fails, folder):
    said = fails("train", "moons", *QUICK, "--lr", "1e200", "--loss", "mse", "--out", "here")
    assert re.search(
        r"step 1: .*first at fault is .*the last weights that are finite, after 1 step, are in here; .*smaller --lr than 1e\+200",
        said,
    )
    assert (folder / "here/checkpoint.safetensors").exists()


def test_an_interrupted_run_says_how_to_go_on(run, monkeypatch, folder):
    advance = Trainer.advance

    def interrupted(self):
        if self.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(self)

    monkeypatch.setattr(Trainer, "advance", interrupted)
    code, _, err = run("train", "moons", *QUICK, "--out", "my run")
    assert code == 130
    assert err == "chainrule: interrupted; step 6 of 12 is saved, go on with: chainrule train --resume 'my run'\n"
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    code, out, _ = run("train", "--resume", "my run")
    assert code == 0
    assert "run folder my run, seed 1337" in out
    assert ", from step 6" in out
    assert run("train", "moons", *QUICK, "--out", "whole", "--quiet")[0] == 0
    assert (folder / "my run/metrics.csv").read_bytes() == (folder / "whole/metrics.csv").read_bytes()
    code, out, _ = run("train", "--resume", "whole", "--steps", "15")
    assert code == 0
    assert len((folder / "whole/metrics.csv").read_text().splitlines()) == 1 + 16


@pytest.fixture
def hearing_sighup():
    """Under nohup SIGHUP is ignored, and a run leaves that so; this is about when it is not."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hearing_sighup")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_exit_code_tells_the_signal(run, monkeypatch, folder, number, code):
    monkeypatch.setattr(runs.Rows, "append", lambda self, line: os.kill(os.getpid(), number))
    found, _, err = run("train", "moons", *QUICK, "--out", "here")
    assert (found, err) == (code, "chainrule: interrupted; step 1 of 12 is saved, go on with: chainrule train --resume here\n")


def test_resuming_a_finished_run_is_a_sentence(run, folder):
    assert run("train", "moons", *QUICK, "--out", "here", "--quiet")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in (folder / "here").iterdir()}
    said = "the run here has done its 12 steps; --steps N goes on to step N\n"
    assert run("train", "--resume", "here") == (0, said, "")
    assert run("train", "--resume", "here", "--steps", "12") == (0, said, "")
    assert run("train", "--resume", "here", "--quiet") == (0, "", "")
    assert {path: path.stat().st_mtime_ns for path in (folder / "here").iterdir()} == before


def test_quiet_tells_the_folder_that_nobody_named(run, folder):
    assert run("train", "moons", *QUICK, "--quiet") == (0, "runs/moons-001\n", "")
    assert run("train", "--resume", "runs/moons-001", "--steps", "13", "--quiet") == (0, "", "")


def test_a_run_that_ran_away_cannot_be_finished(run, fails):
    fails("train", "moons", *QUICK, "--lr", "1e200", "--loss", "mse", "--out", "here")
    said = fails("predict", "here", "points.csv")
    assert said == "chainrule: the run here ran away at step 1 and has no model; begin a new one with a smaller --lr\n"


def test_help_groups_the_options(run):
    out = run("train", "--help")[1]
    common, for_names, for_tables = re.split(r"^Options.*:$", out, flags=re.MULTILINE)[1:]
    for option in ("--lr", "--steps", "--seed", "--hidden", "--batch-size", "--out", "--resume", "--compile", "--help"):
        assert re.search(rf"^  .*{option}\b", common, re.MULTILINE), option
    assert re.findall(r"^  (--[a-z-]+)", for_names, re.MULTILINE) == ["--data", "--context", "--embedding"]
    found = re.findall(r"^  (--[a-z0-9-]+)", for_tables, re.MULTILINE)
    assert found[:3] == ["--target", "--columns", "--task"]
    every = {p.opts[0] for p in commands.cli.commands["train"].params if isinstance(p, click.Option)}
    in_common = set(re.findall(r"^  (--[a-z-]+)", common, re.MULTILINE))
    assert in_common | set(found) | {"--data", "--context", "--embedding"} == every
    # Whether an option is for names is what the settings of names say.
    for option in found:
        assert "does not belong to names" in str(run("train", "names", option, *VALUES.get(option, ["1"]))[2]), option


VALUES = {
    "--standardize": [], "--activation": ["relu"], "--loss": ["mse"], "--optimizer": ["adam"], "--net": ["tensor"],
    "--task": ["regression"],
}  # fmt: skip


def test_choices_are_those_of_the_code(run):
    shown = " ".join(run("train", "--help")[1].split())
    assert "relu, tanh, sigmoid or linear" in shown
    assert "sgd, adam or adamw" in shown
    assert "max_margin, binary_cross_entropy or mse for two classes, cross_entropy for more, mse for numbers" in shown
    assert "bce is short for binary_cross_entropy, hinge is short for max_margin" in shown
    assert run("train", "moons", *QUICK, "--loss", "hinge", "--out", "here", "--quiet")[0] == 0


def test_a_full_disk_is_a_sentence(fails, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs.Rows, "append", lambda self, line: full(None, None))
    assert "No space left on device" in fails("train", "moons", *QUICK)


# ---- predict --------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(run, points):
    assert run("train", "points.csv", "--target", "label", "--loss", "bce", "--steps", "40", "--out", "model", "--quiet")[0] == 0
    return "model"


def test_predictions_go_by_name(run, trained, folder):
    (folder / "a.csv").write_text("x,y\n0,1\n6,4\n")
    (folder / "b.csv").write_text("note;y;x\nhello;1;0\nworld;4;6\n")
    (folder / "c.csv").write_text("0,1\n6,4\n")
    answers = {run("predict", trained, name) for name in ("a.csv", "b.csv", "c.csv")}
    assert len(answers) == 1
    code, out, err = answers.pop()
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["prediction"] for row in rows] == ["near", "far"]
    assert all(float(row["probability_far"]) + float(row["probability_near"]) == pytest.approx(1) for row in rows)


def test_predictions_to_a_file(run, trained, folder):
    (folder / "a.csv").write_text("x,y\n0,1\n")
    expected = run("predict", trained, "a.csv")[1]
    assert run("predict", f"{trained}/model.safetensors", "a.csv", "-o", "out.csv") == (0, "", "")
    assert (folder / "out.csv").read_text() == expected


def test_predictions_replace_nothing_unasked(run, fails, trained, folder):
    (folder / "a.csv").write_text("x,y\n0,1\n")
    (folder / "out.csv").write_text("mine")
    (folder / "link.csv").symlink_to("a.csv")
    assert "out.csv exists already; choose another file, or --force" in fails("predict", trained, "a.csv", "-o", "out.csv")
    assert "link.csv is the file to predict" in fails("predict", trained, "a.csv", "-o", "link.csv", "--force")
    assert (folder / "out.csv").read_text() == "mine"
    assert (folder / "a.csv").read_text() == "x,y\n0,1\n"
    assert run("predict", trained, "a.csv", "-o", "out.csv", "--force") == (0, "", "")
    assert (folder / "out.csv").read_text() == run("predict", trained, "a.csv")[1]
    assert run("predict", trained, "a.csv", "-o", "/dev/null") == (0, "", "")


def test_standard_input_is_predicted(trained, points):
    with points.open() as file:
        done = command("predict", trained, "-", stdin=file)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 36
    assert "it was trained on these data" in done.stderr
    done = command("predict", trained, "-", input="x,y\n1,two\n")
    assert (done.returncode, done.stderr) == (2, "chainrule: standard input, line 2, column 'y': 'two' is not a number\n")


def test_the_held_out_rows_give_the_held_out_number(run, points):
    out = run("train", "points.csv", "--target", "label", "--steps", "9", "--out", "here")[1]
    right = re.search(r"^held-out accuracy .* \((\d) of 7\)$", out, re.MULTILINE)[1]
    err = run("predict", "here", "here/heldout.csv")[2]
    assert err == f"{right} of 7 predictions agree with the column 'label'\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x,why\n1,2\n", "has no column 'y' (columns: x, why)"),
        ("x,yy\n1,2\n", "has no column 'y'; did you mean 'yy'?"),
        ("x,y\n1,two\n", "a.csv, line 2, column 'y': 'two' is not a number"),
        ("1,2,3\n", "has no header and 3 columns; the model wants x, y"),
        ("", "the file is empty"),
    ],
)
def test_files_that_cannot_be_predicted(fails, trained, folder, text, words):
    (folder / "a.csv").write_text(text)
    assert words in fails("predict", trained, "a.csv")


def test_models_that_cannot_be_read(fails, trained, folder):
    path = folder / "model/model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    assert "is no model of chainrule, or it is truncated" in fails("predict", trained, "points.csv")
    path.write_text("nonsense")
    assert "is no model of chainrule" in fails("predict", trained, "points.csv")
    path.write_bytes((folder / "model/checkpoint.safetensors").read_bytes())
    assert "is a checkpoint of chainrule, not a model" in fails("predict", trained, "points.csv")


def test_a_regression(run, folder):
    (folder / "line.csv").write_text("x,price\n" + "".join(f"{i},{3.5 * i + 100}\n" for i in range(30)))
    code, out, _ = run("train", "line.csv", "--target", "price", "--hidden", "none", "--steps", "200", "--out", "line")
    assert code == 0
    assert "target price" in out
    assert re.search("^training rmse ", out, re.MULTILINE)
    code, out, err = run("predict", "line", "line.csv")
    assert [float(y) for y in out.split()[1:]] == pytest.approx([3.5 * i + 100 for i in range(30)], abs=3)
    assert err.startswith("rmse ")
    assert err.endswith(
        " on the 30 rows with a number in 'price' (it was trained on these data; "
        "for the rows held out: chainrule predict line line/heldout.csv)\n"
    )


# ---- info -----------------------------------------------------------------------------------------------------------


def test_info(run, monkeypatch):
    code, out, err = run("info")
    assert (code, err) == (0, "")
    facts = dict(re.split(r"\s+", line, maxsplit=1) for line in out.splitlines())
    assert facts["chainrule"] == chainrule.__version__
    assert facts["engine"].startswith(native.status()["engine"])
    assert facts["python"].startswith(sys.version.split()[0])
    for name in ("numpy", "compiler", "BLAS", "CPU", "system", "torch"):
        assert facts[name]
    monkeypatch.setattr(native, "status", lambda: {"engine": "pure", "reason": "no C compiler was found", "compiler": ""})
    out = run("info")[1]
    assert re.search(r"^engine +pure \(no C compiler was found\)$", out, re.MULTILINE)
    assert re.search(r"^compiler +none used$", out, re.MULTILINE)


def test_a_package_that_is_not_installed():
    assert commands._version("surely-no-such-package") == "not installed"


# ---- pipes, terminals, processes ------------------------------------------------------------------------------------


def command(*args, **options):
    return subprocess.run([*COMMAND, *args], capture_output=True, text=True, timeout=120, check=False, **options)


def test_python_m_chainrule():
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"chainrule {chainrule.__version__}\n")


@pytest.mark.parametrize("args", ["info", "train moons --steps 40 --hidden 4 --samples 20 --out here", "train --help"])
def test_a_reader_that_goes_away(args, folder):
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {' '.join(COMMAND)} {args} | true"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == (0 if "moons" in args else 1)
    assert (folder / "here/model.safetensors").exists() == ("moons" in args)


@pytest.mark.parametrize("args", [["info"], ["train", "lecture"], ["--help"]])
def test_standard_output_on_a_full_disk(args):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *args], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False, env=BUFFERED
        )
    assert (done.returncode, done.stderr) == (2, "chainrule: cannot write the output: No space left on device\n")


def test_a_pipe_gets_lines_as_they_come(folder):
    args = ["train", "moons", "--steps", "100000", "--out", "here"]
    process = subprocess.Popen([*COMMAND, *args], stdout=subprocess.PIPE, text=True, env=BUFFERED)
    watchdog = threading.Timer(30, process.kill)  # so that lines that never come fail the test instead of hanging it
    watchdog.start()
    lines = [process.stdout.readline() for _ in range(5)]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    watchdog.cancel()
    assert process.returncode == 128 + signal.SIGTERM
    assert re.search(COMPILED, lines[3], re.M)
    assert lines[4].startswith("step      0/100000  loss 0.8958  accuracy 50.0 %")
    assert (folder / "here/checkpoint.safetensors").exists()
    assert not (folder / "here/model.safetensors").exists()


INTERRUPTED_AT_ONCE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run with it ignored
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == MODULE:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
from chainrule.cli import main
main()
"""


@pytest.mark.parametrize("module", ["chainrule.train", "numpy", "click", "chainrule.train.commands"])
def test_ctrl_c_while_packages_are_imported(module):
    code = INTERRUPTED_AT_ONCE.replace("MODULE", repr(module))
    done = subprocess.run([sys.executable, "-c", code, "info"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nchainrule: interrupted\n")


def test_ctrl_c_while_python_exits():
    code = "import atexit, signal; signal.signal(signal.SIGINT, signal.default_int_handler); from chainrule.cli import main; "
    code += "atexit.register(signal.raise_signal, signal.SIGINT); main()"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"chainrule {chainrule.__version__}\n", "")


def test_a_main_that_is_called_leaves_signals_alone(run):
    before = signal.getsignal(signal.SIGINT)
    run("--version")
    assert signal.getsignal(signal.SIGINT) is before


def test_signs_that_the_terminal_has_not(folder):
    rows = "".join(f"{i % 7},{i % 5},{'grün' if i % 7 > 2 else 'rot'}\n" for i in range(35))
    (folder / "farben.csv").write_text("x,y,label\n" + rows, encoding="utf-8")
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = command("train", "farben.csv", "--target", "label", "--steps", "3", "--out", "here", env=ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"classes 'gr\xfcn', 'rot'" in done.stdout
    done = subprocess.run(
        [*COMMAND, "predict", "here", "farben.csv"], capture_output=True, env=ascii_only, timeout=60, check=False
    )
    assert done.returncode == 0
    assert {line.split(",")[0] for line in done.stdout.decode("utf-8").splitlines()[1:]} <= {"grün", "rot"}


def in_a_terminal(args, columns, **environment):
    """What a command writes to a terminal of that width."""
    process_id, terminal = pty.fork()
    if process_id == 0:
        os.environ.update({"TERM": "xterm-256color", "COLUMNS": str(columns), **environment})
        os.execv(COMMAND[0], [*COMMAND, *args])
    written, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline and select.select([terminal], [], [], 60)[0]:
        try:
            written += os.read(terminal, 65536)
        except OSError:  # Linux: the other side is closed
            break
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]), written.decode()


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("columns", [10, 40, 110])
def test_a_terminal_gets_a_live_line(columns):
    code, text = in_a_terminal(["train", "moons", *QUICK, "--compile", "--out", "here"], columns)
    assert code == 0
    assert "compiled in" in text or columns == 10  # there words are cut
    assert "\x1b[?25l" in text  # the cursor is hidden while the line redraws itself
    assert text.count("\x1b[?25h") >= 1  # and comes back
    assert "step 12/12" in text
    if columns != 40:  # there it depends on the digits of the loss
        assert ("━" in text) == (columns == 110)
    assert "Traceback" not in text


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_terminals_without_colour(environment):
    code, text = in_a_terminal(["train", "moons", *QUICK, "--out", "here"], 110, **environment)
    assert code == 0
    assert "step 12/12" in text
    assert not re.search(r"\x1b\[[0-9;]*m", text)
    if "TERM" in environment:
        assert "\x1b" not in text


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_the_pure_engine_trains_too(folder):
    done = command("train", "moons", *QUICK, "--out", "pure", env={**os.environ, "CHAINRULE_PURE": "1"})
    assert done.returncode == 0
    assert "pure engine" in done.stdout
    done = command("train", "--resume", "pure", "--steps", "13", env={**os.environ, "CHAINRULE_PURE": "1"})
    assert done.returncode == 0


def test_importing_chainrule_imports_none_of_this():
    code = (
        "import chainrule, sys; print([m for m in sys.modules if m.split('.')[0] in ('click', 'rich', 'matplotlib', 'sklearn')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
