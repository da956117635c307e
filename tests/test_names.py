"""Learning to spell: lists of words, the network against PyTorch, training, resuming, sampling, and every bad input."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from chainrule import cli, data, nn
from chainrule.data import Vocabulary, Words, context_windows, read_words, split_words, unsplit_words
from chainrule.data import words as lists
from chainrule.errors import DataError, InputError, MissingDependencyError, ModelFileError, NonFiniteError, RunError
from chainrule.train import (
    Model,
    NamesConfig,
    NamesModel,
    NamesTrainer,
    compiling,
    configure,
    pictures,
    progress,
    resume,
    tensorfile,
    train,
)
from chainrule.train import checkpoint as checkpoints
from chainrule.train import folder as folders
from chainrule.train import run as runs
from chainrule.train.names import model as names_model
from chainrule.train.names.lists import words_of_run

LECTURE = Path(__file__).resolve().parents[2] / "shared" / "data" / "names.txt"
needs_the_lecture = pytest.mark.skipif(not LECTURE.exists(), reason="the lecture's list of names is not beside the repository")
TEXT = (
    "abelo arima benuri calda corin delivo dorema elino ferula galvor hanelo ibera jorini kalmo lirena malvi "
    "nerodo olira pelumo quirin roveda salino turelo uvani velora wendolo xaren yolimo zarefi"
)
LIST = TEXT.split()
PNG = b"\x89PNG\r\n\x1a\n"
SMALL = {"hidden": 12, "embedding": 4, "batch_size": 8, "steps": 60}


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(pictures, "spelling_curve", lambda *args, **kwargs: PNG)
    monkeypatch.setattr(pictures, "embedding", lambda *args: PNG)
    monkeypatch.setattr(runs, "page", lambda run: "not drawn in this test")


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(LIST) + "\n")
    return path


def small(path, **chosen):
    return configure("names", file=str(path), **{**SMALL, **chosen})


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- lists of words -------------------------------------------------------------------------------------------------


@needs_the_lecture
def test_the_split_is_that_of_the_lecture():
    words = read_words(LECTURE)
    vocabulary = Vocabulary.of(words.words)
    assert (len(words), len(vocabulary), vocabulary.tokens[:3]) == (32033, 27, (".", "a", "b"))
    parts = split_words(words.words, 42)
    assert [len(context_windows(part, vocabulary)[0]) for part in parts] == [182625, 22655, 22866]


def test_context_windows_are_those_of_a_loop():
    words = ["anna", "bo", "a"]
    vocabulary = Vocabulary.of(words)
    for context in (1, 3, 5):
        rows = []
        for word in words:
            window = [0] * context
            for token in [*vocabulary.encode(word), 0]:
                rows.append((*window, token))
                window = [*window[1:], token]
        X, y = context_windows(words, vocabulary, context)
        assert (X.dtype, y.dtype, X.shape) == (np.int64, np.int64, (len(rows), context))
        assert [(*row, token) for row, token in zip(X.tolist(), y.tolist(), strict=True)] == rows


def test_an_alphabet_of_any_kind():
    words = ["zoë", "Åse", "мария", "st. john", "o'neil", "mary-ann"]
    vocabulary = Vocabulary.of(words)
    assert list(vocabulary.characters) == sorted(set("".join(words)))
    assert all(vocabulary.decode(vocabulary.encode(word)) == word for word in words)
    assert 0 not in vocabulary.encode("st. john")  # a full stop is a character, the boundary is none
    with pytest.raises(InputError, match="the word 'anx' has the character 'x'"):
        vocabulary.encode("anx")
    with pytest.raises(InputError, match="the word 'anx' has the character 'x'"):
        context_windows(["anx"], vocabulary)
    for number in (len(vocabulary), 99, -1, 1.0, "a", None):
        with pytest.raises(InputError, match=rf"go from 0 to {len(vocabulary) - 1}, so {number!r} stands for nothing$"):
            vocabulary.decode([1, number])
    assert vocabulary.decode(np.array([len(vocabulary) - 1, 0], np.uint8)) == vocabulary.characters[-1]
    with pytest.raises(DataError, match="sorted, each once"):
        Vocabulary(("b", "a"))


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_is_tolerated_in_a_file(tmp_path, ends, mark):
    path = tmp_path / "n.txt"
    lines = ["  anna ", "", "bo", "   ", "mary\xa0ann", "\ufeffbo", "e\ufeff\u0301va", "\u3000ab\u2009c\u200dd ", *"abcdef"]
    path.write_bytes((mark + ends.join(lines)).encode())
    assert read_words(path).words == ("anna", "bo", "mary ann", "bo", "éva", "ab c\u200dd", *"abcdef")


TEN = b"".join(b"%c\n" % c for c in b"abcdefghij")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "n.txt: the file is empty: there is no word in it"),
        (b"\n \r\n\n", "n.txt: the file is blank: there is no word in it"),
        (b"one\n", "n.txt: there is 1 word; a split into 80, 10 and 10 % needs at least 10"),
        (b"one\ntwo\n", "n.txt: there are 2 words"),
        (TEN + b"x" * 100 + b"\n" + b"y" * 101 + b"\n", "n.txt, line 12: the word 'y{20}...' has 101 characters; 100"),
        (TEN + b"\r\nl\xe9a\r\n", "n.txt, line 12: the text is not UTF-8"),
        (TEN + b"ann\tbo\n", "n.txt, line 11: there is a tab in it; a list has one word per line"),
        (TEN + b"a\x00b\n", r"n.txt, line 11: there is the control character '\\x00' in it"),
        ("\n".join(map(chr, range(0x4E00, 0x4E00 + 5001))).encode(), "n.txt: there are 5,001 different characters; 5,000 are"),
    ],
)  # fmt: skip
def test_files_that_are_no_lists(tmp_path, content, words):
    (tmp_path / "n.txt").write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_words(tmp_path / "n.txt")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path, names):
    with pytest.raises(DataError, match=r"there is no file .*name.txt; did you mean 'names.txt'\?"):
        read_words(tmp_path / "name.txt")
    with pytest.raises(DataError, match="is a folder, not a list of words"):
        read_words(tmp_path)


@pytest.mark.parametrize("word", ["", None, "a" * 101])
def test_a_list_checks_itself(word):
    with pytest.raises(DataError, match="letters, word 10: "):
        Words("letters", (*"abcdefghij", word))


def test_splits_are_cut_below_and_not_rounded():
    # 21.6 and 24.3 of 27 words; rounded, the first would be 22
    assert [len(part) for part in split_words(LIST[:27])] == [21, 3, 3]


def test_splits_can_be_undone():
    parts = split_words(LIST, 7)
    assert [len(part) for part in parts] == [int(0.8 * 29), int(0.9 * 29) - int(0.8 * 29), 29 - int(0.9 * 29)]
    assert unsplit_words(parts, 7) == LIST
    assert sorted(word for part in parts for word in part) == sorted(LIST)
    assert split_words(LIST, 8) != parts


def test_draws_depend_on_the_step_alone():
    later = [data.drawn_batch(step, 5, 100, 1).tolist() for step in (9000, 2)]
    assert [data.drawn_batch(step, 5, 100, 1).tolist() for step in (2, 9000)] == later[::-1]
    assert len({tuple(data.drawn_batch(step, 50, 100, 1)) for step in range(600)}) == 600
    everything = np.concatenate([data.drawn_batch(step, 50, 100, 1) for step in range(600)])
    counts = np.bincount(everything, minlength=100)
    assert len(counts) == 100
    assert abs(counts - 300).max() < 6 * math.sqrt(300)  # all alike, and with replacement
    assert data.drawn_batch(0, 5, 100, 1).tolist() != data.drawn_batch(0, 5, 100, 2).tolist()


def test_the_names_of_faker(monkeypatch):
    pytest.importorskip("faker")
    words = data.english_names()
    assert len(words) > 5000
    assert {"emma", "john"} <= set(words.words)
    assert len(Vocabulary.of(words.words)) == 27
    monkeypatch.setitem(sys.modules, "faker.providers.person.en", None)
    with pytest.raises(
        MissingDependencyError, match=r"come with Faker; install it with: pip install 'chainrule\[all\]', or bring"
    ):
        configure("names")


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"context": 0}, "context must be a whole number of at least 1, not 0"),
        ({"embedding": 0}, "embedding must be"),
        ({"hidden": 0}, "hidden must be"),
        ({"hidden": (4, 4)}, "one hidden layer, so hidden is one size, not 2"),
        ({"batch_size": 1}, "batch_size must be at least 2: BatchNorm takes the variance over the batch"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 2, not 0"),
        ({"lr": 0.0}, "lr must be a finite number above 0, not 0.0"),
        ({"lr": -1}, "lr must be a finite number above 0, not -1"),
        ({"lr": math.inf}, "lr must be a finite number above 0, not inf"),
        ({"seed": -1}, "a seed is a whole number from 0 to 4294967295"),
        ({"target": "x"}, r"^target does not belong to names, which takes file \(a list of words\), .*, steps and seed$"),
        ({"optimizer": "adam"}, "^optimizer does not belong to names, [^;]*$"),
        ({"noise": 0.1}, "noise does not belong to names"),
        ({"activation": "relu"}, "activation does not belong to names"),
        ({"net": "tensor"}, "net does not belong to names"),
    ],
)
def test_settings_are_checked(names, chosen, words):
    with pytest.raises(InputError, match=words):
        small(names, **chosen)


def test_settings_of_names_are_not_for_tables():
    with pytest.raises(InputError, match=r"context is for runs on names \(chainrule train names\), not for moons"):
        configure("moons", context=3)
    with pytest.raises(InputError, match=r"^file \(a list of words\) is for runs on names"):
        configure("moons", file="names.txt")


def test_a_short_list_gets_fewer_steps(names):
    config, words = configure("names", file=str(names))
    rows = sum(len(word) + 1 for word in split_words(words.words)[0])
    assert config.steps == math.ceil(36 * rows / 32)
    assert (config.context, config.embedding, config.hidden, config.batch_size) == (3, 10, 200, 32)
    assert (config.lr, config.seed, config.window) == (0.1, 42, 1)
    assert small(names, steps=200_000)[0].window == 200


def test_no_list_gets_more_steps_than_the_lecture(tmp_path):
    (tmp_path / "long.txt").write_text("abcdefg\n" * 40_000)
    config, _ = configure("names", file=str(tmp_path / "long.txt"))  # 36 passes would be 288,000 steps
    assert (config.steps, config.window) == (200_000, 200)


def test_settings_survive_json(names):
    config, _ = small(names)
    assert NamesConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    with pytest.raises(ModelFileError, match="lr must be"):
        NamesConfig.from_dict({"data": "names", "lr": -1})


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"lr": 0.5},
        {"context": 2},
        {"embedding": 5},
        {"hidden": 13},
        {"batch_size": 9},
        {"steps": 4},  # the second half begins at step 2
    ],
    ids=str,
)
def test_every_setting_changes_the_numbers(names, change):
    def losses(**chosen):
        trainer = NamesTrainer(*small(names, **chosen))
        return [trainer.advance().loss for _ in range(4)]

    assert losses(**change) != losses()
    assert losses(**change) == losses(**change)


# ---- the network ----------------------------------------------------------------------------------------------------


def test_the_network_has_the_lecture_s_parameters_and_starts_as_a_fair_guess():
    net = names_model.make_net(27, 3, 10, 200, seed=42)
    assert sum(p.size for p in net.parameters()) == 12297
    assert {p.dtype for p in net.parameters()} == {np.dtype("float32")}
    assert net[2].weight.data.std() == pytest.approx(5 / 3 / math.sqrt(30), rel=0.05)
    generator = np.random.default_rng(0)
    X, y = generator.integers(0, 27, (5000, 3)), generator.integers(0, 27, 5000)
    assert nn.functional.cross_entropy(net(X), y).item() == pytest.approx(math.log(27), abs=0.02)


def peer(trainer):
    """The same network in PyTorch, float64, of the same weights, with Bessel's correction in both modes."""
    torch = pytest.importorskip("torch")
    weights = {
        name: torch.tensor(x, dtype=torch.float64, requires_grad=True)
        for name, x in ((name, p.data.astype(np.float64)) for name, p in trainer.net.named_parameters())
    }

    def loss(X, y):
        C, W1, b1, gain, bias, W2, b2 = weights.values()
        z = C[torch.tensor(X)].reshape(len(X), -1) @ W1.T + b1
        z = (z - z.mean(0)) / torch.sqrt(z.var(0, unbiased=True) + 1e-5) * gain + bias
        return torch.nn.functional.cross_entropy(torch.tanh(z) @ W2.T + b2, torch.tensor(y))

    return weights, loss


def test_training_is_pytorch_s(names):
    trainer = NamesTrainer(*small(names, window=1))
    weights, loss = peer(trainer)
    X, y = trainer.rows["training"]
    for step in range(40):
        rows = data.drawn_batch(step, 8, len(X), 42)
        expected = loss(X[rows], y[rows])
        for w in weights.values():
            w.grad = None
        expected.backward()
        for w in weights.values():
            w.data -= (0.1 if step < 30 else 0.01) * w.grad
        trainer.advance()
        assert trainer.history[-1].loss == pytest.approx(expected.item(), rel=2e-4)
    for name, p in trainer.net.named_parameters():
        assert p.data == pytest.approx(weights[name].detach().numpy(), rel=1e-2, abs=1e-4)
    # At the end the whole training part is one batch to BatchNorm, so its loss is that of PyTorch in training mode.
    with __import__("torch").no_grad():
        for (_, p), w in zip(trainer.net.named_parameters(), weights.values(), strict=True):
            w.copy_(__import__("torch").tensor(p.data))
        assert trainer.final_record().loss == pytest.approx(loss(X, y).item(), rel=1e-5)


def test_calibration_in_pieces_is_calibration(names, monkeypatch):
    monkeypatch.setattr(names_model, "CHUNK", 7)
    trainer = NamesTrainer(*small(names))
    for _ in range(5):
        trainer.advance()
    X, y = trainer.rows["training"]
    trainer.model.calibrate(X)
    found = [trainer.net[3].running_mean.data.copy(), trainer.net[3].running_var.data.copy()]
    in_pieces = trainer.model.loss(X, y)
    nn.calibrate(trainer.net, X)
    for mine, theirs in zip(found, (trainer.net[3].running_mean.data, trainer.net[3].running_var.data), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    trainer.net.eval()
    assert in_pieces == pytest.approx(nn.functional.cross_entropy(trainer.net(X), y).item(), rel=1e-5)


def test_the_learning_rate_falls_once_halfway(names):
    trainer = NamesTrainer(*small(names, steps=7))
    assert [trainer.rate(step) for step in range(7)] == [0.1] * 4 + [0.01] * 3


def test_it_learns(names):
    trainer = NamesTrainer(*small(names, steps=300, hidden=32, batch_size=32))
    assert trainer.model.loss(*trainer.rows["training"]) == pytest.approx(math.log(len(trainer.model.vocabulary)), abs=0.1)
    while trainer.step < 300:
        trainer.advance()
    final = trainer.final_record()
    assert final.loss < 1.9
    assert (final.step, math.isnan(final.lr)) == (300, True)
    assert trainer.model.losses == {"training": final.loss, "validation": final.validation_loss, "test": final.test_loss}
    X, y = trainer.rows["test"]
    shares = trainer.model.probabilities(X)
    assert final.test_loss == pytest.approx(-np.log(shares[np.arange(len(y)), y]).mean(), rel=1e-6)


def test_rows_are_means_over_windows(names):
    single = NamesTrainer(*small(names, window=1))
    wide = NamesTrainer(*small(names, window=7))
    for _ in range(60):
        single.advance()
        wide.advance()
    losses = [record.loss for record in single.history]
    assert [record.step for record in wide.history] == list(range(0, 56, 7))
    assert [record.loss for record in wide.history] == pytest.approx([sum(losses[i : i + 7]) / 7 for i in range(0, 56, 7)])
    (rest,) = wide.unfinished()
    assert (rest.step, rest.loss) == (56, pytest.approx(sum(losses[56:]) / 4))
    assert sum(not math.isnan(record.validation_loss) for record in single.history) == 20
    assert wide.history[0].validation_loss == single.history[0].validation_loss


def test_the_loss_on_display_is_smoothed_over_a_hundred_steps(names):
    trainer = NamesTrainer(*small(names, steps=260, window=1, hidden=4))
    shown = [trainer.advance().loss for _ in range(260)]
    expected = 0.0
    for step, record in enumerate(trainer.history, 1):
        expected += (record.loss - expected) / min(step, 100)
        assert shown[step - 1] == pytest.approx(expected, rel=1e-12)
    assert shown[99] == pytest.approx(sum(record.loss for record in trainer.history[:100]) / 100)


@pytest.mark.parametrize(("when", "judged_at"), [(5, 3), (30, 30), (32, 30)])
def test_the_validation_loss_on_display_survives_resuming(names, tmp_path, no_pictures, monkeypatch, when, judged_at):
    show = progress.Silent.show

    def stop(self, record):
        if record.step == when - 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(progress.Silent, "show", stop)
    train(*small(names), tmp_path / "run")
    seen = []
    monkeypatch.setattr(progress.Silent, "show", lambda self, record: seen.append(record))
    resume(tmp_path / "run")
    monkeypatch.setattr(progress.Silent, "show", show)
    rows = (tmp_path / "run/metrics.csv").read_text().splitlines()[1:]
    assert (seen[0].step, seen[0].validation_loss) == (when, float(rows[judged_at].split(",")[3]))


def test_a_compiled_run_has_the_curve_of_the_plain_one(names):
    one, two = (NamesTrainer(*small(names, compile=compiled)) for compiled in (False, True))
    for _ in range(60):
        assert two.advance() == pytest.approx(one.advance(), rel=1e-4, nan_ok=True)
        assert not two.compiled.refused
    plain, compiled = one.net.state_dict(), two.net.state_dict()  # running statistics included, before they are calibrated
    assert list(compiled) == list(plain)
    for name, x in plain.items():
        assert compiled[name].dtype == x.dtype
        assert compiled[name] == pytest.approx(x, rel=1e-3, abs=1e-5)
    assert two.final_record() == pytest.approx(one.final_record(), rel=1e-4, nan_ok=True)
    assert two.model.sample(10, seed=1) == one.model.sample(10, seed=1)


def test_long_runs_are_compiled_where_it_pays(names, monkeypatch):
    monkeypatch.setattr(compiling.executors, "EXECUTORS", ("native", "numpy"))
    assert [small(names, steps=n)[0].compile for n in (99, 100)] == [False, True]
    assert not small(names, steps=100, compile=False)[0].compile
    monkeypatch.setattr(compiling.executors, "EXECUTORS", ("numpy",))
    assert not small(names, steps=1000)[0].compile
    assert small(names, steps=1, compile=True)[0].compile


@pytest.mark.parametrize("compiled", [False, True])
def test_a_loss_that_runs_away_names_the_step(names, tmp_path, no_pictures, compiled):
    with pytest.raises(NonFiniteError, match=r"^step \d+: .*smaller --lr than 1e\+30\)$"):
        train(*small(names, lr=1e30, window=1, compile=compiled), tmp_path / "run")
    with pytest.raises(NonFiniteError, match=r"^step \d+: .*smaller --lr than 1e\+30\)$"):
        resume(tmp_path / "run")
    with pytest.raises(ModelFileError, match=r"run ran away at step \d+ and has no model; begin a new one with a smaller --lr$"):
        NamesModel.load(tmp_path / "run")


# ---- the run --------------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_files(names, tmp_path):
    outcome = train(*small(names), tmp_path / "run")
    found = files(tmp_path / "run")
    assert set(found) == {
        "checkpoint.safetensors", "config.json", "embedding.png", "loss.png", "metrics.csv", "model.safetensors",
        "recording.safetensors", "report.html", "words-test.txt", "words-training.txt", "words-validation.txt",
    }  # fmt: skip
    assert set(found) <= set(folders.FILES)
    parts = [found[f"words-{part}.txt"].decode().split() for part in ("training", "validation", "test")]
    assert tuple(parts) == split_words(LIST)
    lines = found["metrics.csv"].decode().splitlines()
    assert lines[0] == "step,loss,lr,validation_loss,test_loss"
    assert len(lines) == 1 + 60 + 1
    final = outcome.final
    assert lines[-1] == f"60,{final.loss!r},,{final.validation_loss!r},{final.test_loss!r}"
    settings = json.loads(found["config.json"])
    assert (settings["data"], settings["file"], settings["hidden"], settings["steps"]) == ("names", str(names), 12, 60)
    assert f"training loss {final.loss:.4f}" in outcome.result[0]
    assert outcome.train_size == sum(len(word) + 1 for word in parts[0])
    for picture in ("loss.png", "embedding.png"):
        shown = pixels(found[picture])
        assert shown.shape[0] > 400
        assert len(np.unique(shown.reshape(-1, shown.shape[2]), axis=0)) > 50


def pixels(picture):
    return __import__("matplotlib.image").image.imread(BytesIO(picture))


def test_the_embedding_shows_every_character_apart(monkeypatch):
    weight = np.random.default_rng(0).normal(size=(27, 4))
    weight[5:9] = weight[5]  # at one place
    shown = []
    monkeypatch.setattr(
        pictures,
        "_apart",
        lambda at, widths, height, apart=pictures._apart: keep(shown, apart(at, widths, height), widths, height),
    )
    pictures.embedding(weight, "abcdefghijklmnopqrstuvwxyz", "letters")
    ((at, widths, height),) = shown
    gap = abs(at[:, None] - at[None])
    covers = (gap[..., 0] < 0.9 * (widths[:, None] + widths) / 2) & (gap[..., 1] < 0.9 * height)
    assert covers.sum() == 27  # each its own


def keep(shown, at, widths, height):
    shown.append((at, widths, height))
    return at


def test_what_no_font_has_is_shown_by_code_and_told(monkeypatch):
    monkeypatch.setattr(pictures, "_fonts", lambda text: (("DejaVu Sans",), frozenset(set(text) & {"中", "文"})))
    labels = []
    monkeypatch.setattr(pictures, "_label", lambda axes, places, texts, families: labels.extend(texts))
    characters = (" ", "$", ".", "a", "\u0301", "\u200d", "中", "文")
    weight = np.random.default_rng(0).normal(size=(9, 4))
    assert pictures.embedding(weight, characters, "n").startswith(PNG)
    assert labels == ["␣", r"\$", ".", "a", "◌\u0301", "U+200D", "U+4E2D", "U+6587"]
    assert pictures.embedding_remarks(characters) == [
        "embedding.png shows 3 characters by code (U+200D, say), as no font here has a sign for them"
    ]
    assert pictures.embedding_remarks("abc") == []
    many = [chr(0x4E00 + i) for i in range(101)]
    labels.clear()
    pictures.embedding(np.random.default_rng(0).normal(size=(102, 4)), many, "n")
    assert labels == []
    assert pictures.embedding_remarks(many) == [
        "embedding.png shows the 101 characters as points: so many labels would cover each other"
    ]


def test_fonts_are_found_by_what_they_have():
    families, without = pictures._fonts("aé中\U000e0fff")
    assert (families[0], "a" in without, "é" in without) == ("DejaVu Sans", False, False)
    assert without <= {"中"}  # what is not printable has no sign anyway
    assert pictures._fonts("\ue123\uf8fe")[0][0] == "DejaVu Sans"


def test_a_list_with_signs_that_no_font_has_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_fonts", lambda text: (("DejaVu Sans",), frozenset(set(text) & set("中文"))))
    (tmp_path / "n.txt").write_text("\n".join(["中文", "文", "ab", "ba", "a"] * 3), encoding="utf-8")
    outcome = train(*small(tmp_path / "n.txt", steps=3), tmp_path / "run")
    assert outcome.notes == ["embedding.png shows 2 characters by code (U+4E2D, say), as no font here has a sign for them"]


@pytest.mark.parametrize("window", [1, 7])
@pytest.mark.parametrize(("when", "compiled"), [(5, False), (30, False), (59, False), (30, True)])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(names, tmp_path, no_pictures, monkeypatch, when, window, compiled):
    config, words = small(names, window=window, compile=compiled)
    train(config, words, tmp_path / "whole")
    advance = NamesTrainer.advance

    def interrupted(self):
        record = advance(self)
        if self.step == when:
            os.kill(os.getpid(), signal.SIGINT)
        return record

    monkeypatch.setattr(NamesTrainer, "advance", interrupted)
    outcome = train(config, words, tmp_path / "parts")
    assert (outcome.interrupted, outcome.step, outcome.final) == ("SIGINT", when, None)
    monkeypatch.setattr(NamesTrainer, "advance", advance)
    assert resume(tmp_path / "parts").final is not None
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_a_run_can_be_made_longer_and_made_again(names, tmp_path, no_pictures):
    train(*small(names, window=7), tmp_path / "run")
    before = files(tmp_path / "run")
    resume(tmp_path / "run")
    assert files(tmp_path / "run") == before
    outcome = resume(tmp_path / "run", steps=80)
    assert outcome.step == 80
    steps = [int(line.split(",")[0]) for line in (tmp_path / "run/metrics.csv").read_text().splitlines()[1:]]
    assert steps == [*range(0, 80, 7), 80]
    with pytest.raises(InputError, match="has done 80 steps already"):
        resume(tmp_path / "run", steps=70)


@pytest.mark.parametrize("lost", ["list", "folder"])
def test_the_words_are_kept_twice(names, tmp_path, no_pictures, lost):
    train(*small(names), tmp_path / "run")
    before = files(tmp_path / "run")
    if lost == "list":
        names.write_text("quite\nanother\nlist\n")
    else:
        (tmp_path / "run/words-test.txt").write_text("changed\n")
    resume(tmp_path / "run")
    assert files(tmp_path / "run") == before


def test_words_that_are_gone_or_changed_are_noticed(names, tmp_path, no_pictures):
    train(*small(names), tmp_path / "run")
    (tmp_path / "run/words-test.txt").unlink()
    names.write_text("\n".join(LIST[:-1]) + "\n")
    with pytest.raises(ModelFileError, match=r"the data of names\.txt are not those that the run began with"):
        resume(tmp_path / "run")
    names.unlink()
    with pytest.raises(DataError, match=r"does not hold the words of the run: words-test\.txt is missing, and there is no file"):
        resume(tmp_path / "run")


@pytest.mark.parametrize("damage", ["window", "step", "history", "weight", "config"])
def test_a_damaged_checkpoint_is_one_sentence(names, tmp_path, no_pictures, damage):
    train(*small(names), tmp_path / "run")
    path = tmp_path / "run/checkpoint.safetensors"
    facts, tensors = tensorfile.read(path, "checkpoint")
    facts = {k: x for k, x in facts.items() if k not in ("kind", "version")}
    if damage == "window":
        facts["window"] = [0]
    elif damage == "step":
        del facts["step"]
    elif damage == "history":
        tensors["history/step"] = tensors["history/step"] + 1
    elif damage == "weight":
        tensors["weights/5.bias"] = tensors["weights/5.bias"] * np.nan
    else:
        facts["config"]["colour"] = "red"
    path.write_bytes(tensorfile.encode("checkpoint", facts, tensors))
    with pytest.raises(ModelFileError) as caught:
        resume(tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_an_interrupted_replacement_keeps_both(names, tmp_path, no_pictures, monkeypatch):
    out = tmp_path / "run"
    train(*small(names), out)
    before = files(out)
    with monkeypatch.context() as patch:
        patch.setattr(progress.Silent, "show", lambda self, record: os.kill(os.getpid(), signal.SIGTERM))
        outcome = train(*configure("moons", steps=5, samples=10, hidden=(2,)), out, force=True)
    assert files(outcome.replaced) == before
    NamesModel.load(outcome.replaced)


# ---- sampling -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spelled(tmp_path_factory):
    """A finished run, and its model."""
    folder = tmp_path_factory.mktemp("spelled")
    (folder / "names.txt").write_text("\n".join(LIST))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "spelling_curve", lambda *args, **kwargs: PNG)
        patch.setattr(pictures, "embedding", lambda *args: PNG)
        train(*small(folder / "names.txt", steps=1500, hidden=48, batch_size=16), folder / "run")
        train(*configure("moons", steps=3, samples=10, hidden=(2,)), folder / "moons")
    return folder / "run"


def test_the_same_seed_gives_the_same_words(spelled):
    model = NamesModel.load(spelled)
    words = model.sample(100, seed=3)
    assert words == NamesModel.load(spelled / "model.safetensors").sample(100, seed=3)
    assert model.sample(7, seed=3) == words[:7]
    assert model.sample(100, seed=4) != words
    assert model.sample(100) != model.sample(100)
    assert all(words)
    assert set("".join(words)) <= set("".join(LIST))


def test_words_come_as_often_as_the_network_tells(spelled):
    model = NamesModel.load(spelled)
    for temperature in (1.0, 0.7):
        words = model.sample(4000, temperature=temperature, seed=1)
        z = model.logits([[0, 0, 0]])[0].astype(float) / temperature
        z[0] = -math.inf
        first = np.exp(z) / np.exp(z).sum()
        counts = Counter(word[0] for word in words)
        for token, share in zip(model.vocabulary.tokens[1:], first[1:], strict=True):
            assert abs(counts[token] - 4000 * share) < 5 * math.sqrt(4000 * share * (1 - share)) + 1, token
        likely = counts.most_common(1)[0][0]
        follow = model.probabilities([[0, 0, *model.vocabulary.encode(likely)]], temperature)[0]
        begun = [word for word in words if word[0] == likely]
        second = Counter(word[1:2] for word in begun)
        for token, share in zip(("", *model.vocabulary.characters), follow, strict=True):
            assert abs(second[token] - len(begun) * share) < 5 * math.sqrt(len(begun) * share * (1 - share)) + 1


def test_a_low_temperature_leaves_the_likeliest(spelled):
    model = NamesModel.load(spelled)
    context, word = [0, 0, 0], ""
    while len(word) < 100:
        z = model.logits([context])[0].copy()
        z[0] = z[0] if word else -math.inf
        token = int(z.argmax())
        if token == 0:
            break
        word += model.vocabulary.characters[token - 1]
        context = [*context[1:], token]
    for temperature in (1e-3, 1e-300):
        assert set(model.sample(20, temperature=temperature, seed=1)) == {word}
    assert len(set(model.sample(50, temperature=50.0, seed=1))) == 50


@pytest.mark.parametrize("temperature", [1.0, 0.7, 3.0])
def test_the_largest_random_number_draws_the_last_token_that_can_be(spelled, temperature):
    class Largest:
        def random(self, shape):
            return np.full(shape, 1 - 2.0**-53)

    model = NamesModel.load(spelled)
    row = model._spell(temperature, Largest())[0]
    context = np.zeros(3, int)
    for place, token in enumerate(row.tolist()[:20]):
        shares = model.probabilities(context[None], temperature, first=place == 0)[0]
        assert shares[token + 1 :].sum() < 1e-14
        assert token or place
        context = np.array([*context[1:], token])


def test_new_words_are_new(spelled):
    model = NamesModel.load(spelled)
    known = words_of_run(spelled, model)
    assert known == frozenset(LIST)
    plain = model.sample(300, seed=1, temperature=0.5)
    assert known & set(plain)
    assert len(set(plain)) < 300
    new = model.sample(100, seed=1, temperature=0.5, new=known)
    assert len(set(new)) == 100
    assert not known & set(new)
    with pytest.raises(RunError, match=r"as only \d+ of 20,000 words were new and different: the net repeats its list"):
        model.sample(5, temperature=1e-3, new=known)
    assert not {*new[:9]} & {*model.sample(9, seed=1, temperature=0.5, new=new[:9])}


@pytest.mark.parametrize(("bias", "length"), [(-1000.0, lists.LONGEST_WORD), (1000.0, 1)])
@pytest.mark.parametrize("temperature", [1.0, 1e-300])
def test_no_word_is_endless_or_empty(spelled, bias, length, temperature):
    model = NamesModel.load(spelled)
    model.net[5].bias.data = np.array([bias] + [0.0] * len(model.vocabulary.characters), np.float32)
    assert {len(word) for word in model.sample(70, temperature=temperature, seed=1)} == {length}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "the number of words must be a whole number of at least 1, not 0"),
        ({"count": 2.0}, "the number of words"),
        ({"temperature": 0}, "the temperature must be a finite number above 0, not 0"),
        ({"temperature": -1.0}, "above 0, not -1.0"),
        ({"temperature": math.nan}, "above 0, not nan"),
        ({"temperature": math.inf}, "above 0, not inf"),
        ({"seed": -1}, "a seed is a whole number of at least 0, not -1"),
        ({"new": True}, r"^new holds the words that are not to come, as words_of_run\(run, model\) gives them; it is not True$"),
        ({"new": "anna"}, "it is not 'anna'"),
    ],
)
def test_samples_that_cannot_be(spelled, options, words):
    with pytest.raises(InputError, match=words):
        NamesModel.load(spelled).sample(**options)


@pytest.mark.parametrize("damage", ["characters", "hidden", "context", "fingerprint", "nan"])
def test_a_model_that_does_not_hold_together(spelled, tmp_path, damage):
    path = tmp_path / "model.safetensors"
    facts, tensors = tensorfile.read(spelled / "model.safetensors", "model")
    if damage == "characters":
        facts["model"]["characters"] += "é"
    elif damage == "nan":
        tensors["5.bias"] = tensors["5.bias"] * np.nan
    elif damage == "fingerprint":
        del facts["model"]["fingerprint"]
    else:
        facts["model"][damage] = "3"
    path.write_bytes(tensorfile.encode("model", {"model": facts["model"]}, tensors))
    with pytest.raises((ModelFileError, InputError), match=r"model\.safetensors"):
        NamesModel.load(path)


# ---- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture
def run(capsysbinary, tmp_path, monkeypatch):
    """Runs a command in this process: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        with pytest.raises(SystemExit) as caught:
            cli.main([str(arg) for arg in args])
        out, err = capsysbinary.readouterr()
        return caught.value.code, out.decode(), err.decode()

    return run


OPTIONS = ["--hidden", "12", "--embedding", "4", "--batch-size", "8", "--steps", "60"]


def test_train_and_sample(run, names, no_pictures):
    code, out, err = run("train", "names", "--data", names, *OPTIONS, "--out", "here")
    assert (code, err) == (0, "")
    assert "names.txt: 29 words of 26 different characters" in out
    assert "a guess among 27 tokens, the characters and the end of a word, has loss 3.2958" in out
    assert "run folder here, seed 42, numpy engine" in out
    assert re.search(r"^step 60/60  loss \d\.\d{3} on all  validation \d", out, re.MULTILINE)
    assert re.search(r"^training loss \d\.\d{4}, validation loss \d\.\d{4}, test loss \d\.\d{4}$", out, re.MULTILINE)
    code, out, err = run("sample", "here", "-n", "5", "--seed", "1")
    assert (code, err, len(out.splitlines())) == (0, "", 5)
    assert run("sample", "here", "-n", "9", "--seed", "1")[1].startswith(out)
    assert run("sample", "here", "--seed", "1", "--temperature", "0.5")[1] != run("sample", "here", "--seed", "1")[1]
    assert len(run("sample", "here")[1].splitlines()) == 20
    assert not set(run("sample", "here", "--new", "-n", "50")[1].splitlines()) & set(LIST)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["train", "names", "--data", "absent.txt"], "absent.txt"),
        (["train", "names", "--data", "nams.txt"], "nams.txt; did you mean 'names.txt'?"),
        (["train", "names", "--data", "nofile.txt"], "nofile.txt\n"),
        (["train", "names", "--data", "."], "is a folder, not a list of words"),
        (["train", "names", "--data", ""], "the list of words has an empty name"),
        (["train", "names", "--data", "-"], "not standard input: save it first"),
        (["train", "names", "--data", "one.txt"], "one.txt: there is 1 word; a split into 80, 10 and 10 % needs at least 10"),
        (["train", "names", "--data", "empty.txt"], "empty.txt: the file is empty"),
        (["train", "names", "--data", "names.txt", "--batch-size", "1"], "chainrule: --batch-size must be at least 2: BatchNorm"),
        (["train", "names", "--data", "names.txt", "--steps", "0"], "chainrule: --steps must be a whole number of at least 1"),
        (["train", "names", "--data", "names.txt", "--context", "0"], "chainrule: --context must be a whole number"),
        (["train", "names", "--data", "names.txt", "--hidden", "none"], "so --hidden is one size, not 0"),
        (["train", "names", "--data", "names.txt", "--hidden", "99999999"], "parameters; 100,000,000 are the most"),
        (["train", "names", "--target", "x"], "--target does not belong to names, which takes --data (a list of words), --"),
        (["train", "names", "--optimizer", "adam"], "--batch-size, --lr, --steps and --seed\n"),
        (["train", "names", "--noise", "1"], "chainrule: --noise does not belong to names"),
        (["train", "names", "--no-standardize"], "chainrule: --no-standardize does not belong to names"),
        (["train", "moons", "--context", "2"], "chainrule: --context is for runs on names"),
        (["train", "moons", "--data", "names.txt"], "chainrule: --data (a list of words) is for runs on names"),
        (["train", "name"], "did you mean 'names'?"),
        (["train", "names.txt"], "for a list of words: chainrule train names --data names.txt"),
        (["sample", "absent"], "there is no run absent"),
        (["sample", "."], ". is not a run, but a folder of runs (moons, run); name one of them, such as moons"),
        (["sample", "runn"], "there is no run runn; did you mean 'run'?"),
        (["sample", "names.txt"], "names.txt is no model of chainrule"),
        (["sample", "moons"], "moons is a run on moons, which predicts and does not spell; use: chainrule predict moons FILE"),
        (["sample", "moons/model.safetensors"], "use: chainrule predict moons FILE"),
        (["sample", "run", "-n", "0"], "the number of words must be a whole number of at least 1, not 0"),
        (["sample", "run", "--temperature", "-1"], "the temperature must be a finite number above 0, not -1.0"),
        (["sample", "run", "--temperature", "0"], "the temperature must be a finite number above 0, not 0.0"),
        (["sample", "run", "--seed", "-3"], "a seed is a whole number"),
        (["predict", "run"], "run is a run of names, which spells and does not predict; use: chainrule sample run"),
        (["predict", "run", "names.txt"], "is a run of names"),
        (["sample", "alone.safetensors", "--new"], "does not hold the words of the run: words-training.txt, "),
        (["sample"], "missing argument 'RUN'"),
        (["train", "--resume", "run", "--context", "4"], "--context cannot change in a resumed run"),
        (["train", "--resume", "run", "--data", "names.txt"], "--data cannot change in a resumed run"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence_and_leave_nothing(run, spelled, names, tmp_path, args, words):
    shutil.copytree(spelled, tmp_path / "run")
    shutil.copytree(spelled.parent / "moons", tmp_path / "moons")
    shutil.copy(spelled / "model.safetensors", tmp_path / "alone.safetensors")
    (tmp_path / "one.txt").write_text("only\n")
    (tmp_path / "empty.txt").write_text("")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    code, out, err = run(*args)
    assert (code, out) == (2, ""), err
    assert re.fullmatch(r"chainrule: .*\n", err), err
    assert words in err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_new_words_that_are_too_few_are_printed_and_counted(run, spelled):
    model = NamesModel.load(spelled)
    few = ("sample", spelled, "--new", "-n", "90", "--seed", "1", "--temperature", "0.02")
    code, out, err = run(*few)
    found = out.splitlines()
    assert code == 2
    assert 0 < len(set(found)) == len(found) < 90
    assert not set(found) & set(LIST)
    assert found == model.sample(len(found), seed=1, temperature=0.02, new=set(LIST))
    assert err == (
        f"chainrule: {90 - len(found)} of 90 words are wanting, as only {len(found)} of 20,000 words were new and different: "
        "the net repeats its list; ask for fewer, or with a higher temperature\n"
    )


def test_words_that_were_changed_are_not_called_missing(run, spelled, tmp_path, monkeypatch):
    shutil.copytree(spelled, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    with (tmp_path / "run/words-test.txt").open("a") as file:
        file.write("zoro\n")
    files = "words-training.txt, words-validation.txt, words-test.txt"
    why = f"the words of the run in {tmp_path / 'run'} ({files}) were changed since: they are not those that the net learned from"
    for name in (".", "model.safetensors"):
        assert run("sample", name, "--new") == (2, "", f"chainrule: which words are new cannot be told: {why}\n")
    (tmp_path / "run/words-test.txt").unlink()
    why = f"{tmp_path / 'run'} does not hold the words of the run: words-test.txt is missing"
    assert run("sample", ".", "--new") == (2, "", f"chainrule: which words are new cannot be told: {why}\n")


def test_a_run_that_went_wrong_is_remarked(run, names, no_pictures):
    note = r"^note: the training loss is worse than that of a guess \(3\.296\): (.*)$"
    hints = {
        "1e6": "the steps were too large, so begin a new run with a smaller --lr than 1e+06",
        "1e-9": "more --steps may help, or another --lr than 1e-09",
    }
    for lr, hint in hints.items():
        code, out, err = run("train", "names", "--data", names, *OPTIONS, "--lr", lr, "--seed", "2")
        loss = float(re.search(r"^training loss (\S+),", out, re.MULTILINE)[1])
        assert (code, err) == (0, "")
        assert re.findall(note, out, re.MULTILINE) == [hint] * (loss > math.log(27)), out
        assert (loss > 4) == (lr == "1e6")
    assert "than that of a guess" not in run("train", "names", "--data", names, *OPTIONS)[1]


@pytest.mark.parametrize("compiled", [False, True])
def test_an_update_that_is_not_finite_names_the_parameter(names, compiled):
    trainer = NamesTrainer(*small(names, lr=1e300, compile=compiled))
    words = r"step 0: the updated value of parameter 0 \(0\.weight\) holds NaN or infinity"
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=words):  # as in a run
        trainer.advance()
    assert [p.label for p in trainer.net.parameters()] == [name for name, _ in trainer.net.named_parameters()]


def test_words_learned_by_heart_are_remarked(run, tmp_path, no_pictures, monkeypatch):
    (tmp_path / "few.txt").write_text("\n".join(LIST[:14]))
    options = ["--hidden", "64", "--steps", "400"]
    _, out, _ = run("train", "names", "--data", "few.txt", *options, "--out", "here")
    note = (
        r"note: on words that it has not seen it does worse than a guess \(loss (\S+)\): it knows its 11 training words by heart"
    )
    (guess,) = re.findall(note, out)
    training, validation = map(float, re.search(r"training loss (\S+), validation loss (\S+),", out).groups())
    assert training < 1 < float(guess) < validation
    _, out, _ = run("train", "names", "--data", "few.txt", "--steps", "10", "--out", "there")
    assert "by heart" not in out


def test_resuming_a_finished_run_is_a_sentence(run, names, no_pictures, tmp_path):
    assert run("train", "names", "--data", names, *OPTIONS, "--out", "here", "--quiet") == (0, "", "")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "here").iterdir()}
    assert run("train", "--resume", "here") == (0, "the run here has done its 60 steps; --steps N goes on to step N\n", "")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "here").iterdir()} == before
    (tmp_path / "here/embedding.png").unlink()
    assert run("train", "--resume", "here")[0] == 0
    assert (tmp_path / "here/embedding.png").exists()


def test_an_unfinished_run_is_not_sampled(run, names, monkeypatch, no_pictures, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(progress.Silent, "show", lambda self, record: record.step == 4 and os.kill(os.getpid(), signal.SIGINT))
        code, _, err = run("train", "names", "--data", names, *OPTIONS, "--out", "here", "--quiet")
    assert code == 130
    assert err == "chainrule: interrupted; step 5 of 60 is saved, go on with: chainrule train --resume here\n"
    assert [line.split(",")[0] for line in (tmp_path / "here/metrics.csv").read_text().splitlines()[1:]] == list("01234")
    code, _, err = run("sample", "here")
    assert (code, err) == (2, "chainrule: the run here is not finished; finish it with: chainrule train --resume here\n")
    code, out, _ = run("train", "--resume", "here")
    assert code == 0
    assert ", from step 5, lr 0.1" in out
    assert run("sample", "here", "-n", "1")[0] == 0


def test_words_of_any_script_come_out_as_utf_8(tmp_path, no_pictures):
    (tmp_path / "имена.txt").write_text("\n".join(["мария", "анна", "zoë", "ольга"] * 4), encoding="utf-8")
    train(*small(tmp_path / "имена.txt"), tmp_path / "run")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", "sample", str(tmp_path / "run"), "-n", "30"],
        capture_output=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert set(done.stdout.decode("utf-8")) <= set("марияннzoëольга\n")


def test_a_table_is_no_list_of_words(run, names, tmp_path, no_pictures):
    rows = "".join(f"{i},{i % 3},{'ab'[i % 2]}\n" for i in range(20))
    (tmp_path / "points.csv").write_text(rows)
    code, out, _ = run("train", "names", "--data", "points.csv", *OPTIONS, "--out", "here")
    assert code == 0
    assert "note: most lines have a comma in them; each line is taken as one word" in out


# ---- nets of tensors on tables --------------------------------------------------------------------------------------


def test_digits_are_learned_by_a_net_of_tensors(tmp_path, no_pictures, monkeypatch):
    monkeypatch.setattr(pictures, "loss_curve", lambda *args, **kwargs: PNG)
    config, points = configure("digits")
    assert config.net == "tensor"
    outcome = train(config, points, tmp_path / "run")
    assert outcome.final.test_measure >= 0.96
    assert outcome.notes == [
        "no decision_boundary.png: it shows two features, and these data have 64",
        "no graph.dot: it shows a neuron of scalars, and this net is one of tensors",
    ]
    model = Model.load(tmp_path / "run")
    held_out = data.read_csv(tmp_path / "run/heldout.csv", "digit")
    right = sum(held_out.classes[int(y)] == p for y, p in zip(held_out.y, model.predict(held_out.X), strict=True))
    assert right == round(outcome.final.test_measure * outcome.test_size)
    assert configure("digits", net="scalar")[0].hidden == (16,)


@pytest.mark.parametrize(
    ("source", "chosen"),
    [
        ("moons", {"loss": "max_margin", "samples": 20, "activation": "tanh", "l2": 0.01}),
        ("moons", {"loss": "bce", "samples": 20, "batch_size": 8, "optimizer": "adam", "lr": 0.02}),
        ("moons", {"loss": "mse", "samples": 20, "activation": "sigmoid", "momentum": 0.9, "lr": 0.1}),
        ("iris", {"optimizer": "adamw", "weight_decay": 0.1, "l2": 0.0}),
        ("plane", {"target": "z"}),
        ("lecture", {}),
    ],
    ids=str,
)
def test_a_net_of_tensors_is_the_net_of_scalars(tmp_path, source, chosen):
    if source == "plane":
        source = str(tmp_path / "plane.csv")
        (tmp_path / "plane.csv").write_text(
            "x,y,z\n" + "".join(f"{x},{y},{2 * x - y + 0.25}\n" for x in range(6) for y in range(6))
        )
    chosen = {"hidden": (4,), "steps": 20, **chosen}
    one, two = (_trainer(*configure(source, **chosen, net=net)) for net in ("scalar", "tensor"))
    # The same weights: those of a scalar layer are the rows of a tensor layer, and its biases.
    layers = [layer for layer in two.net if isinstance(layer, nn.Linear)]
    for layer, scalars in zip(layers, one.net.layers, strict=True):
        layer.weight.data = np.array([[w.data for w in neuron.w] for neuron in scalars.neurons])
        layer.bias.data = np.array([neuron.b.data for neuron in scalars.neurons])
    for _ in range(20):
        a, b = one.advance(), two.advance()
        assert (b.loss, b.measure) == (pytest.approx(a.loss, rel=2e-4, abs=1e-5), pytest.approx(a.measure, rel=2e-4))
        assert (b.step, b.lr) == (a.step, a.lr)
    assert two.final_record().loss == pytest.approx(one.final_record().loss, rel=2e-4, abs=1e-5)
    assert np.array(two.model.scores(two.train.X)) == pytest.approx(np.array(one.model.scores(one.train.X)), rel=1e-3, abs=1e-4)


def _trainer(config, points):
    from chainrule.train.kinds import kind_of

    return kind_of(config).trainer(config, points)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("chosen", [{"optimizer": "adam", "lr": 0.02}, {"momentum": 0.9, "lr": 0.1, "batch_size": 7}], ids=str)
def test_a_resumed_net_of_tensors_ends_as_one_that_was_not_interrupted(tmp_path, monkeypatch, chosen, compiled):
    monkeypatch.setattr(pictures, "loss_curve", lambda *args, **kwargs: PNG)
    config, points = configure(
        "moons",
        **{"net": "tensor", "samples": 20, "hidden": (4,), "steps": 12, "test_fraction": 0.2, "compile": compiled, **chosen},
    )
    train(config, points, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(progress.Silent, "show", lambda self, record: record.step == 4 and os.kill(os.getpid(), signal.SIGINT))
        assert train(config, points, tmp_path / "parts").step == 5
    saved = checkpoints.Checkpoint(tmp_path / "parts/checkpoint.safetensors")
    assert all(not isinstance(x, list) for column in saved.facts["optimizer"]["memory"].values() for x in column)
    resume(tmp_path / "parts")
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert (tmp_path / "whole/decision_boundary.png").read_bytes().startswith(PNG)


def test_runs_from_before_there_was_a_choice_are_read(tmp_path):
    config, _ = configure("moons")
    assert "net" not in config.as_dict()
    assert configure("moons", net="tensor")[0].as_dict()["net"] == "tensor"
    with pytest.raises(InputError, match="unknown net 'tenser'; did you mean 'tensor'"):
        configure("moons", net="tenser")
    model = _trainer(*configure("moons", steps=1)).model
    assert "kind" not in model.facts()
    with pytest.raises(ModelFileError, match="made of scalars or of tensors, not of 'clay'"):
        Model.build(tmp_path / "m", {**model.facts(), "kind": "clay"}, {"x": np.zeros(337)})


def test_a_loss_of_tensors_that_runs_away_is_a_sentence():
    trainer = _trainer(*configure("moons", net="tensor", loss="mse", lr=1e30, samples=20))
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=r"^step \d+: "):
        [trainer.advance() for _ in range(5)]
