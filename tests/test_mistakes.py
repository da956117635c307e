"""The programs of examples/mistakes: every printed number, wrong and cured, is computed again without chainrule's engine.

A check computes the numbers that its program must print, in order, with PyTorch, with NumPy or on paper, and asserts that the
mistake does the damage that the program speaks of and that the cure undoes it. docs/mistakes.md quotes what the programs print.
"""

import functools
import importlib
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from printed import mismatches

from chainrule.nn import Linear

ROOT = Path(__file__).parent.parent
MISTAKES = ROOT / "examples" / "mistakes"
PROGRAMS = sorted(path.name for path in MISTAKES.glob("*.py"))
ENGINES = {"pure": {"CHAINRULE_PURE": "1"}, "default": {}}
NUMBER = re.compile(r"(?<![\w.^])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w^])")


def module(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(MISTAKES), *sys.path])
        return importlib.import_module(name)


@functools.cache
def run(program, engine="default"):
    """What a program prints for a reader; warnings are errors."""
    inherited = {name: text for name, text in os.environ.items() if name != "CHAINRULE_PURE"}
    done = subprocess.run(
        [sys.executable, "-W", "error", MISTAKES / program],
        env=inherited | ENGINES[engine] | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def tolerance(text):
    """Half a unit of the last printed digit."""
    mantissa, _, exponent = text.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 0.500001 * 10.0 ** (int(exponent or 0) - decimals)


# ---- the numbers, without chainrule's engine -------------------------------------------------------------------------


def torch_layers(*layers):
    """The weights that the program starts from, as torch parameters: weight, bias, weight, bias, ..."""
    torch = pytest.importorskip("torch", reason="the peer of this comparison is PyTorch: pip install 'chainrule[dev]'")
    found = [torch.tensor(p.data, requires_grad=True) for layer in layers for p in (layer.weight, layer.bias) if p is not None]
    return torch, found


def descend(torch, parameters, loss_of, steps, lr, **hyper):
    """Gradient descent in torch: the losses, and the gradients' norms as SGD used them."""
    optimizer = torch.optim.SGD(parameters, lr=lr, **hyper)
    losses, norms = [], []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        used = [optimizer.state[p].get("momentum_buffer") if hyper else p.grad for p in parameters]
        norms.append(math.sqrt(sum(float((g**2).sum()) for g in used)))
    return losses, norms


def clipped_loss():
    program = module("clipped_loss")
    X, Y = program.X, program.Y

    def fit(clip_the_loss):
        w = b = 0.0
        norms = []
        for _ in range(400):
            error = w * X + b - Y
            slope = 2 * error / len(X)
            if clip_the_loss:
                slope = slope * (abs(error) < 1)
            g = np.array([slope @ X, slope.sum()])
            norms.append(np.hypot(*g))
            if not clip_the_loss:
                g *= min(1.0, 1.0 / (norms[-1] + 1e-6))
            w, b = w - 0.1 * g[0], b - 0.1 * g[1]
        return norms[0], w, b, ((w * X + b - Y) ** 2).mean()

    best = np.polyfit(X, Y, 1, full=True)[1][0] / len(X)
    silent = (abs(Y) > 1).mean()  # the first prediction is 0
    (*wrong, damage), (*right, cured) = fit(True), fit(False)  # norm, w, b, and the squared error
    assert silent > 0.9
    assert damage > 1000 * best
    assert cured < 1.5 * best
    assert right[1:] == pytest.approx([30, -10], abs=0.6)
    assert wrong[0] < 0.001 * right[0]
    assert right[0] > 20  # far above the limit of 1: it is the gradient's, not what is left of it
    return [30, 10, 100 * silent, *wrong, damage, 0, *right, cured]


def dead_relu():
    program = module("dead_relu")

    def fit(lr):
        rng = np.random.default_rng(1)
        layers = [Linear(*sizes, dtype="float64", generator=rng) for sizes in ((2, 100), (100, 1))]
        torch, (w1, b1, w2, b2) = torch_layers(*layers)
        X, Y = torch.tensor(program.X), torch.tensor(program.Y)
        dead = []

        def loss_of():
            h = torch.relu(X @ w1.T + b1)
            dead.append(float((h <= 0).all(0).double().mean()))
            return ((h @ w2.T + b2 - Y) ** 2).mean()

        losses, _ = descend(torch, [w1, b1, w2, b2], loss_of, 301, lr)
        silent = float((w1.grad == 0).all(1).double().mean())
        return dead[0], dead[-1], silent, losses[-1]

    wrong, right = fit(0.3), fit(0.1)
    assert wrong[0] == right[0] < 0.05
    assert wrong[1] == wrong[2] > 0.5
    assert right[1] == right[2] < 0.05
    assert right[3] < 0.3 * wrong[3]
    return [
        number
        for lr, (first, last, silent, loss) in ((0.3, wrong), (0.1, right))
        for number in (lr, 100 * first, 100 * last, 300, 100 * silent, loss)
    ]


def saturated_tanh():
    program = module("saturated_tanh")
    edge, draws = math.atanh(0.97), np.random.default_rng(9).normal(size=100_000)
    numbers, found = [], {}
    # What a normal number of this standard deviation becomes: the theory that the cure comes from.
    for cure, sigma in (("none", math.sqrt(30)), ("Kaiming", 5 / 3), ("BatchNorm", 1.0)):
        below, above = program.layers(cure)
        torch, (w, v, c) = torch_layers(below[0], above)
        X, Y = torch.tensor(program.X), torch.tensor(program.Y)
        gain, bias = (torch.full((100,), x, dtype=torch.float64, requires_grad=True) for x in (1.0, 0.0))

        def hidden(w=w, cure=cure, X=X, gain=gain, bias=bias, torch=torch):
            z = X @ w.T
            return torch.tanh((z - z.mean(0)) / (z.var(0) + 1e-5) ** 0.5 * gain + bias if cure == "BatchNorm" else z)

        h = hidden().detach().numpy()
        saturated, slope = (abs(h) > 0.97).mean(), (1 - h**2).mean()
        assert saturated == pytest.approx(2 * NormalDist(0, sigma).cdf(-edge), abs=0.015)
        assert slope == pytest.approx((1 - np.tanh(sigma * draws) ** 2).mean(), abs=0.015)
        learned = [w, v, c, gain, bias] if cure == "BatchNorm" else [w, v, c]
        losses, _ = descend(torch, learned, lambda hidden=hidden, v=v, c=c, Y=Y: ((hidden() @ v.T + c - Y) ** 2).mean(), 300, 0.1)
        found[cure] = saturated, slope, losses[-1]
        numbers += [100 * saturated, 0.97, slope, losses[-1]]
    assert found["none"][0] > 3 * found["Kaiming"][0] > 3 * found["BatchNorm"][0]
    assert found["none"][1] < found["Kaiming"][1] / 2
    assert found["none"][2] > 1.3 * max(found["Kaiming"][2], found["BatchNorm"][2])
    return numbers


def depth():
    program = module("depth")
    torch = pytest.importorskip("torch", reason="the peer of this comparison is PyTorch: pip install 'chainrule[dev]'")
    rng = np.random.default_rng(1)
    h = torch.tensor(rng.normal(size=(64, 100)))
    layers = []
    for w in program.weights(1.0):
        h = torch.relu(h @ torch.tensor(w.data).T)
        h.requires_grad_()
        h.retain_grad()
        layers.append(h)
    g = rng.normal(size=(64, 100))
    h.backward(torch.tensor(g / np.linalg.norm(g)))
    level = [(float((x.detach() ** 2).mean() ** 0.5), float(x.grad.norm())) for x in layers]
    assert all(0.5 < x < 2 for pair in level for x in pair)  # the cure keeps both level over 20 layers
    numbers = []
    for factor in (0.5, 2.0, 1.0):
        numbers.append(factor)
        for layer in (1, 5, 10, 15, 20):  # ReLU of c times x is c times ReLU of x, so the factors come out
            activation, gradient = level[layer - 1]
            numbers += [layer, activation * factor**layer, gradient * factor ** (20 - layer)]
    return numbers


def forgotten_zero_grad():
    program = module("forgotten_zero_grad")

    def fit(**hyper):
        torch, (w1, b1, w2, b2) = torch_layers(program.network()[0], program.network()[2])
        X, Y = torch.tensor(program.X), torch.tensor(program.Y)
        loss_of = lambda: ((torch.tanh(X @ w1.T + b1) @ w2.T + b2 - Y) ** 2).mean()  # noqa: E731
        losses, norms = descend(torch, [w1, b1, w2, b2], loss_of, 300, 0.1, **hyper)
        return losses[0], min(losses[-100:]), max(losses[-100:]), sum(norms) / 300

    wrong, right = fit(momentum=1.0), fit()  # what is forgotten is momentum that nothing damps
    assert wrong[2] > 5 * wrong[1] > 10 * right[2]
    assert wrong[3] > 10 * right[3]
    return [n for first, low, high, norm in (wrong, right) for n in (first, 100, low, high, norm)]


def softmax_axis():
    program = module("softmax_axis")
    torch = pytest.importorskip("torch", reason="the peer of this comparison is PyTorch: pip install 'chainrule[dev]'")
    X, Y, rows = torch.tensor(program.X), torch.tensor(program.Y), torch.arange(100)
    numbers, accuracies = [math.log(3), math.log(100)], []
    for dim in (0, 1):
        z = torch.zeros(100, 3, requires_grad=True)
        (-torch.log_softmax(z, dim)[0, Y[0]]).backward()
        touched = int((z.grad[1:] != 0).any(1).sum())
        w, b = (torch.zeros(shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 2), (3,)))
        loss_of = lambda w=w, b=b, dim=dim: -torch.log_softmax(X @ w.T + b, dim)[rows, Y].mean()  # noqa: E731
        losses, _ = descend(torch, [w, b], loss_of, 300, 1.0)
        accuracies.append(float(((X @ w.T + b).argmax(1) == Y).double().mean()))
        assert losses[0] == pytest.approx(math.log((100, 3)[dim]))
        assert losses[-1] < 0.95 * losses[0]  # the wrong one falls as well: that is why it stays
        numbers += [dim, losses[0], touched, 100 * accuracies[-1]]
    assert (numbers[4], numbers[8]) == (99, 0)
    assert accuracies[0] < 0.7 < 0.9 < accuracies[1]  # 0.7 is what "always class 0" reaches
    return numbers


def broadcast_difference():
    program = module("broadcast_difference")
    x, y = program.X[:, 0], program.Y
    slope, constant = np.polyfit(x, y, 1)
    left = ((slope * x + constant - y) ** 2).mean()
    # The mean over all pairs of (w x_i + b - y_j)^2 is w^2 var(x) + (w mean(x) + b - mean(y))^2 + var(y): lowest at w = 0.
    assert left < 0.01 * y.var()
    wrong, right = [50, 50, 0, y.var()], [50, 1, slope, left]
    return [3, y.var(), 1, *wrong, 1, 1, *right, 50, 1, 50]


CHECKS = {
    "broadcast_difference.py": broadcast_difference,
    "clipped_loss.py": clipped_loss,
    "dead_relu.py": dead_relu,
    "depth.py": depth,
    "forgotten_zero_grad.py": forgotten_zero_grad,
    "saturated_tanh.py": saturated_tanh,
    "softmax_axis.py": softmax_axis,
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_printed_number(program, engine):
    expected = CHECKS[program]()
    assert mismatches(NUMBER.findall(run(program, engine)), expected, tolerance) == []


def test_every_program_has_a_check_and_every_check_a_program():
    assert sorted(CHECKS) == PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_short_and_says_what_how_and_the_cure(program):
    source = (MISTAKES / program).read_text(encoding="utf-8")
    text = module(program.removesuffix(".py")).__doc__
    assert text.startswith("Mistake: ")
    assert all(f"\n{part}" in text for part in ("What goes wrong: ", "How one notices: ", "The cure: ")), text
    assert f"Run me: python examples/mistakes/{program}" in text
    assert len(source.splitlines()) < 60


def test_the_refusal_of_mse_loss_names_both_shapes():
    assert run("broadcast_difference.py").splitlines()[-1] == (
        "mse_loss: mse_loss takes two tensors of one shape, not (50, 1) and (50,)"
    )


def test_the_check_itself_notices_wrong_missing_and_extra_numbers():
    assert mismatches(["0.70", "5.0e-04", "66", "-10"], [0.7049, 5.04e-4, 66.4, -10.4], tolerance) == []
    assert len(mismatches(["0.70", "5.0e-04", "66"], [0.706, 5.06e-4, 67], tolerance)) == 3
    assert len(mismatches(["0.7"], [0.7, 1.0], tolerance)) == len(mismatches(["0.7", "1"], [0.7], tolerance)) == 1


# ---- the page --------------------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "mistakes.md").read_text(encoding="utf-8")


def section(program):
    """The part of the page that has the link to a program in its heading's paragraph."""
    found = [part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:] if f"examples/mistakes/{program})" in part]
    assert len(found) == 1, f"{program} is on the page {len(found)} times"
    return found[0]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_page_quotes_what_the_program_prints(program):
    (quoted,) = re.findall(r"```text\n(.*?)```", section(program), re.DOTALL)
    assert quoted == run(program)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_reference_card_has_a_row_with_the_programs_numbers(program):
    heading = section(program).splitlines()[0]
    anchor = heading.lower().replace(" ", "-")
    (row,) = [line for line in PAGE.splitlines() if line.startswith("|") and f"(#{anchor})" in line]
    _, _, _, number, cure, _, _ = (cell.strip() for cell in row.split("|"))
    quoted = NUMBER.findall(number)
    assert len(quoted) >= 2, "a number before and after the cure"
    printed = NUMBER.findall(run(program))
    assert set(quoted) <= set(printed), set(quoted) - set(printed)
    assert cure
