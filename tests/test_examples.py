"""Every lesson in examples/ runs, on both engines, and every number it prints is checked.

A lesson's check computes the numbers that the lesson must print, in order, without chainrule: from the issue that asked
for the lessons, with centred differences on plain floats, or with PyTorch. A number printed without a check, or a lesson
without a check, fails.
"""

import math
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from printed import mismatches

EXAMPLES = Path(__file__).parent.parent / "examples"
PROGRAMS = {"gpt.py"}  # it learns from any list of names, for as long as asked: test_gpt.py checks what it computes
LESSONS = sorted({path.name for path in EXAMPLES.glob("*.py")} - PROGRAMS)
ENGINES = {"pure": {"CHAINRULE_PURE": "1"}, "default": {}}
NUMBER = re.compile(r"(?<![\w.^])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w^])")


def run(lesson, engine="default", **environment):
    """Run a lesson as a reader would; warnings are errors."""
    inherited = {name: text for name, text in os.environ.items() if name != "CHAINRULE_PURE"}
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / lesson],
        env=inherited | ENGINES[engine] | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def tolerance(printed):
    """Half a unit of the last printed decimal; a number printed with less than four decimals must be exact."""
    decimals = len(printed.partition(".")[2])
    return 0.5000001 * 10**-decimals if decimals >= 4 else 1e-9


def slopes(f, *xs, h=1e-6):
    """Centred differences of f, one per input."""
    return [(f(*xs[:i], x + h, *xs[i + 1 :]) - f(*xs[:i], x - h, *xs[i + 1 :])) / (2 * h) for i, x in enumerate(xs)]


def exactly(numbers):
    """Differences that are whole or half numbers but for their rounding, rounded."""
    assert all(abs(x - round(2 * x) / 2) < 1e-7 for x in numbers), numbers
    return [round(2 * x) / 2 for x in numbers]


def slope():
    def f(x):
        return 3 * x * x - 4 * x + 5

    pushes = [number for h in (0.1, 0.001, 0.00001) for number in (h, (f(3 + h) - f(3)) / h)]
    return [20.0, *pushes, *exactly(slopes(f, 3.0) + slopes(f, -3.0)), abs(slopes(f, 2 / 3)[0])]


def three_inputs():
    by_abc = slopes(lambda a, b, c: a * b + c, 2.0, -3.0, 10.0)
    return [4.0, *by_abc, *exactly(by_abc)]


def expression():
    def g(a, b):
        c = 2 * (a + b) + 1
        c = 2 * c + 1 - a
        d = 3 * (a * b + b**3) + max(b + a, 0)
        d = 4 * d + max(b - a, 0)
        return (c - d) ** 2 / 2 + 10 / (c - d) ** 2

    assert slopes(g, -4.0, 2.0) == pytest.approx([138.8338, 645.5773], abs=1e-4)
    assert g(-4.0, 2.0) == pytest.approx(24.7041, abs=1e-4)
    operations, constants, inputs = 24, 8, 2
    return [24.7041, 138.8338, 645.5773, operations + constants + inputs]


def backprop_by_hand():
    def loss(a, b, c, f):
        return (a * b + c) * f

    a, b, c, f = exactly(slopes(loss, 2.0, -3.0, 10.0, -2.0))
    assert [a, b, c, f] == [6, -4, -2, 4]
    d = -2.0  # d(d * f) / dd = f
    uphill = loss(2 + 0.01 * a, -3 + 0.01 * b, 10 + 0.01 * c, -2 + 0.01 * f)
    return [-8.0, *2 * [a, b, c, f, d], uphill]


def neuron_output(x1, x2, w1, w2, b):
    return math.tanh(x1 * w1 + x2 * w2 + b)


NEURON = (2.0, 0.0, -3.0, 1.0, 6.8813735870195432)


def neuron_slopes():
    """The output, and the slopes by w1, x1, w2, x2 and n."""
    x1, x2, w1, w2, n = slopes(neuron_output, *NEURON)
    assert [w1, x1, w2, x2] == pytest.approx([1.0, -1.5, 0.0, 0.5], abs=1e-8)
    return neuron_output(*NEURON), [1.0, -1.5, 0.0, 0.5], n


def neuron():
    o, by_inputs, by_n = neuron_slopes()
    return [2.0 * -3.0 + 6.8813735870195432, o, by_n, *by_inputs]


def neuron_taken_apart():
    o, by_inputs, _ = neuron_slopes()
    # Five inputs and two products, two sums, one tanh; or, for it: 2 * n, exp, e - 1, e + 1, / and three constants.
    return [o, 10, *by_inputs, o, 9 + 5 + 3, *by_inputs]


def why_add_up():
    doubled = exactly(slopes(lambda a: a + a, 3.0))
    by_ab = slopes(lambda a, b: (a * b) * (a + b), -2.0, 3.0)
    last_road = [-6.0 * 1.0, -6.0 * 1.0]  # through e = a + b only: d times one
    return [1.0, *doubled, *last_road, *exactly(by_ab), *by_ab]


def why_order():
    right = exactly(slopes(lambda a: (a + a) + (a + a), 1.0))
    # In a hurry b passes on 1, then 2, each time to both of its inputs.
    return [2.0 * 1 + 2.0 * 2, 0.0, *right, 1.0, 2.0, 4.0, *right]


def neuron_in_pytorch():
    torch = pytest.importorskip("torch")
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in NEURON]
    x1, x2, w1, w2, b = leaves
    o = torch.tanh(x1 * w1 + x2 * w2 + b)
    o.backward()
    return 2 * [o.item(), *(leaf.grad.item() for leaf in leaves)]


def train_with_torch(seed, lr, steps, zeroing=True):
    """The four-example net in PyTorch on arrays, float64, with its weights drawn in micrograd's order."""
    torch = pytest.importorskip("torch")
    rng = random.Random(seed)
    layers = []
    for fan_in, fan_out in ((3, 4), (4, 4), (4, 1)):
        w = [[rng.uniform(-1, 1) for _ in range(fan_in)] for _ in range(fan_out)]
        layers += [torch.tensor(w, dtype=torch.float64), torch.zeros(fan_out, dtype=torch.float64)]
    for p in layers:
        p.requires_grad = True
    X = torch.tensor([[2, 3, -1], [3, -1, 0.5], [0.5, 1, 1], [1, 1, -1]], dtype=torch.float64)
    y = torch.tensor([1, -1, -1, 1], dtype=torch.float64)
    optimiser = torch.optim.SGD(layers, lr=lr)

    def net():
        h = X
        for w, b in zip(layers[::2], layers[1::2], strict=True):
            h = torch.tanh(h @ w.T + b)
        return h[:, 0]

    losses = []
    for _ in range(steps):
        loss = ((net() - y) ** 2).mean()
        if zeroing:
            optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses, net().tolist(), sum(p.numel() for p in layers)


def train_a_net():
    losses, predictions, count = train_with_torch(1337, 0.05, 101)
    assert count == 41
    curve = [number for step in range(0, 101, 20) for number in (step, losses[step])]
    targets = [1.0, -1.0, -1.0, 1.0]
    assert max(abs(p - t) for p, t in zip(predictions, targets, strict=True)) < 0.1, "the lesson should end well"
    return [count, *curve, *(number for pair in zip(targets, predictions, strict=True) for number in pair)]


def forgotten_zero_grad():
    numbers = []
    for zeroing in (True, False):
        w, used = 0.0, 0.0
        for _ in range(5):
            true = slopes(lambda w: (w - 3) ** 2, w)[0]
            used = true if zeroing else used + true
            numbers += [w, true, used]
            w -= 0.1 * used
    for seed in (1, 42):
        right, wrong = (train_with_torch(seed, 0.1, 100, zeroing)[0] for zeroing in (True, False))
        numbers += [seed, *(n for step in (0, 1, 2, 5, 10, 20, 50, 99) for n in (step, right[step], wrong[step]))]
    return numbers


CHECKS = {
    "01_slope.py": slope,
    "02_three_inputs.py": three_inputs,
    "03_expression.py": expression,
    "04_backprop_by_hand.py": backprop_by_hand,
    "05_neuron.py": neuron,
    "06_neuron_taken_apart.py": neuron_taken_apart,
    "07_why_add_up.py": why_add_up,
    "08_why_order.py": why_order,
    "09_neuron_in_pytorch.py": neuron_in_pytorch,
    "10_train_a_net.py": train_a_net,
    "11_forgotten_zero_grad.py": forgotten_zero_grad,
}


def test_every_lesson_has_a_check_and_every_check_a_lesson():
    assert sorted(CHECKS) == LESSONS


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("lesson", LESSONS)
def test_every_printed_number(lesson, engine):
    expected = CHECKS[lesson]()
    done = run(lesson, engine)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert mismatches(NUMBER.findall(done.stdout), expected, tolerance) == []


@pytest.mark.parametrize("lesson", [*LESSONS, *PROGRAMS])
def test_a_lesson_says_how_to_run_it(lesson):
    assert f"python examples/{lesson}" in (EXAMPLES / lesson).read_text()


def test_without_pytorch_the_lesson_says_how_to_get_it(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module named torch')\n")
    done = run("09_neuron_in_pytorch.py", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install torch" in done.stderr


def test_the_check_itself_notices_wrong_missing_and_extra_numbers():
    assert mismatches(["0.7071", "-3.0", "41"], [0.70710678, -3.0, 41], tolerance) == []
    assert len(mismatches(["0.7072", "-3.1", "42"], [0.70710678, -3.0, 41], tolerance)) == 3
    assert len(mismatches(["0.7071"], [0.70710678, 1.0], tolerance)) == 1
    assert len(mismatches(["0.7071", "1.0"], [0.70710678], tolerance)) == 1
    assert NUMBER.findall("x1 -1.5000, w2 0.0; step 20: 1e-05. h = 0.1") == ["-1.5000", "0.0", "20", "1e-05", "0.1"]
