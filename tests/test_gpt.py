"""The scalar GPT: it computes what PyTorch computes, learns the same plain and compiled, and samples what its seed says."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule.optim import Adam

EXAMPLES = Path(__file__).parent.parent / "examples"
LIST = EXAMPLES.parent.parent / "shared" / "data" / "names.txt"
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    import gpt

WORDS = ["ada", "bo", "cleo", "abe", "dea", "ed", "bea", "coco"]
LETTERS = [".", "a", "b", "c", "d", "e", "l", "o"]


def tokens(word):
    return [0, *map(LETTERS.index, word), 0]


def learned(plain, names=None, letters=8):
    """The losses of a step on each name, the model after them, and the step."""
    model = gpt.GPT(letters, random.Random(3))
    step = gpt.learner(model, Adam(model.parameters(), lr=0.01, betas=(0.9, 0.99)), plain)
    return [step(name[:-1], range(len(name) - 1), name[1:]) for name in names or map(tokens, WORDS)], model, step


def fill(matrix, number):
    for row in matrix:
        for p in row:
            p.data = number


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "gpt.py", *map(str, arguments)],
        env={name: text for name, text in os.environ.items() if name != "CHAINRULE_PURE"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_it_is_the_gpt_that_was_asked_for():
    model = gpt.GPT(27, random.Random(0))
    assert (gpt.CHANNELS, gpt.CHANNELS // gpt.SIZE, gpt.CONTEXT) == (16, 4, 16)
    assert len(model.parameters()) == len(set(map(id, model.parameters()))) == 4192
    assert len((EXAMPLES / "gpt.py").read_text(encoding="utf-8").splitlines()) < 150


@pytest.mark.parametrize("word", ["ed", "a" * 15])
def test_loss_and_gradients_are_pytorchs(word):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    model = gpt.GPT(len(LETTERS), random.Random(1))
    rng = random.Random(2)
    for p in model.parameters():
        p.data = rng.gauss(0.0, 0.5)  # large enough for attention to choose
    loss = model.loss(tokens(word)[:-1], range(len(word) + 1), tokens(word)[1:])
    loss.backward()
    names = list(vars(model))
    w = {
        name: torch.tensor([[p.data for p in row] for row in getattr(model, name)], dtype=torch.float64, requires_grad=True)
        for name in names
    }

    def norm(x):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    i = torch.tensor(tokens(word))
    x = w["letter"][i[:-1]] + w["place"][: len(i) - 1]
    q, k, v = ((norm(x) @ w[name].T).unflatten(-1, (4, 4)).transpose(0, 1) for name in ("query", "key", "value"))
    heard = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).flatten(1)
    x = x + heard @ w["mix"].T
    x = x + F.relu(norm(x) @ w["wide"].T) @ w["narrow"].T
    theirs = F.cross_entropy(norm(x) @ w["score"].T, i[1:])
    theirs.backward()
    assert loss.data == pytest.approx(theirs.item(), rel=1e-12)
    for name in names:
        mine = np.array([[p.grad for p in row] for row in getattr(model, name)])
        np.testing.assert_allclose(mine, w[name].grad.numpy(), rtol=1e-8, atol=1e-12, err_msg=name)


def test_no_place_sees_what_comes_later():
    model = gpt.GPT(len(LETTERS), random.Random(4))
    names = [0, 1, 2, 3], [0, 1, 2, 5]
    scores, changed = (np.array([[s.data for s in row] for row in model(name, range(4))]) for name in names)
    np.testing.assert_array_equal(scores[:3], changed[:3])
    assert (scores[3] != changed[3]).all()


def test_compiled_learns_what_plain_learns():
    plain, compiled = learned(plain=True), learned(plain=False)
    np.testing.assert_allclose(compiled[0], plain[0], rtol=1e-9, atol=0)
    ours, theirs = ([p.data for p in model.parameters()] for _, model, _ in (compiled, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-12)
    assert len(set(plain[0])) == len(WORDS)
    never = len(LETTERS) * gpt.CHANNELS + 5 * gpt.CHANNELS  # the sixth place, which none of these names reaches
    start = [p.data for p in gpt.GPT(len(LETTERS), random.Random(3)).parameters()]
    assert ours[never : never + gpt.CHANNELS] == start[never : never + gpt.CHANNELS]


def test_it_learns():
    losses, _, _ = learned(plain=False, names=[tokens("abe"), tokens("bea")] * 40)
    assert sum(losses[:2]) / 2 > 1.9
    assert sum(losses[-2:]) / 2 < 0.6


def test_the_loops_become_few_operations_as_many_for_each_length():
    counts = []
    _, _, step = learned(plain=False, names=[tokens("bo")])
    for word in ("bo", "coco"):
        step(tokens(word)[:-1], range(len(word) + 1), tokens(word)[1:])
        counts.append(step.counts)
    (short, _, forward, whole), (long, _, forward_too, whole_too) = counts
    assert long > short > 5000
    assert (forward, whole) == (forward_too, whole_too)
    assert forward <= 60
    assert whole <= 200


def test_names_of_the_real_list_plain_and_compiled():
    if not LIST.exists():
        pytest.skip("the list of names is not there")
    words = LIST.read_text(encoding="utf-8").split()
    letters = [".", *sorted(set("".join(words)))]
    longest = max(words, key=len)
    names = [[0, *map(letters.index, word), 0] for word in [words[0], longest]]
    assert max(map(len, names)) - 1 == gpt.CONTEXT
    plain, compiled = (learned(way, names, len(letters))[0] for way in (True, False))
    np.testing.assert_allclose(compiled, plain, rtol=1e-9, atol=0)


def test_samples_are_those_of_the_seed_and_come_to_an_end():
    model = learned(plain=True)[1]
    names, again, others = ([gpt.sample(model, LETTERS, rng) for _ in range(4)] for rng in map(random.Random, (5, 5, 6)))
    assert names == again != others
    assert all(len(name) <= gpt.CONTEXT and set(name) <= set(LETTERS[1:]) for name in names)
    loud = gpt.GPT(2, random.Random(0))  # of a dot and an "a", of which the dot never comes
    for matrix, number in ((loud.letter, 1.0), (loud.place, 1.0), (loud.mix, 0.0), (loud.narrow, 0.0)):
        fill(matrix, number)
    fill(loud.score[:1], 0.0)
    fill(loud.score[1:], 10.0)
    assert gpt.sample(loud, [".", "a"], random.Random(0)) == "a" * gpt.CONTEXT


def test_the_command_says_the_same_plain_and_compiled(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    compiled, plain = (run(path, "--steps", 12, "--seed", 7, "--samples", 3, *way) for way in ((), ("--plain",)))
    for done in (compiled, plain):
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    ours, theirs = (re.sub(r"[\d.]+ ms a step", "ms", done.stdout).splitlines() for done in (compiled, plain))
    assert ours[0] == "8 names, 7 letters, 3584 parameters"
    assert sum(line.startswith("step ") for line in ours) == 12
    last = next(i for i, line in enumerate(ours) if line.startswith("the last step:"))
    assert ours[:last] == theirs[:last]
    assert ours[last + 1 :] == theirs[last + 1 :]
    assert len(ours[last + 1 :]) == 3
    assert "array operations" in ours[last]


def test_without_a_file_it_has_names_of_its_own():
    done = run("--steps", 1, "--samples", 1)
    assert (done.returncode, done.stderr) == (0, "")
    words = gpt.NAMES.split()
    assert done.stdout.startswith(f"{len(words)} names, {len(set(''.join(words)))} letters, ")
    assert len(set(words)) == len(words) > 50


@pytest.mark.parametrize("arguments", [("--steps", "0"), ("--steps", "many")])
def test_what_it_cannot_do_it_says_in_a_sentence(arguments, tmp_path):
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_an_empty_list_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    done = run(tmp_path / "empty.txt")
    assert done.returncode == 2
    assert "a name and a step at least" in done.stderr


def test_sampling_leaves_the_parameters_alone():
    model = gpt.GPT(len(LETTERS), random.Random(8))
    before = [p.data for p in model.parameters()]
    gpt.sample(model, LETTERS, random.Random(1))
    assert [p.data for p in model.parameters()] == before
    assert not any(p.has_grad for p in model.parameters())
