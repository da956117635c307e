"""`check_gradients`: the gradients of a function against centred differences, with the likely step in the error.

>>> from chainrule import Value
>>> try:
...     check_gradients(lambda x: x * Value(x.data), 3.0)
... except AssertionError as error:
...     print(error)  # doctest: +ELLIPSIS
the derivative by x at x=3.0 is wrong: backward gives 3, centred differences give 6 (h=...): relative error 5.0e-01 ...
likely step: the constant 3.0 in mul(x=3.0, 3.0) = 9.0 moves with x but has forgotten how...

How it judges (CS231n notes, "Gradient checks"): float64, centred differences with a step chosen per element, random
weights on the outputs, relative error |a - n| / max(|a|, |n|) above what rounding explains; kinks prove nothing and are
counted apart. Imports engine and errors.
"""

import functools
import math
import operator
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chainrule import engine
from chainrule.check.blame import Run, likely_step
from chainrule.check.choices import difference, steps_of
from chainrule.check.slopes import Slope, error_of, relative_error, slope_of, verdict
from chainrule.check.subject import Recorded, Subject
from chainrule.engine import Value
from chainrule.errors import GradientError, InputError

TOLERANCE = 1e-6  # the notes: above 1e-2 is wrong, 1e-7 and below is good; float64 with a chosen step reaches 1e-9


@dataclass(frozen=True)
class GradientReport:
    """What a check found, when it found nothing wrong.

    checked: how many derivatives were compared and are right.
    inconclusive: how many could not be judged, such as at a kink.
    worst: the largest relative error among those checked.
    worst_at: the name and value of the element with it.
    reasons: for each derivative that could not be judged, its name and why.
    """

    checked: int
    inconclusive: int
    worst: float
    worst_at: str
    reasons: tuple[str, ...] = ()

    def __repr__(self) -> str:
        total = self.checked + self.inconclusive
        found = f"{self.checked} of {total} derivatives right"
        if self.checked:
            found += f", worst relative error {self.worst:.1e} at {self.worst_at}"
        if self.reasons:
            more = f" and {len(self.reasons) - 3} more" if len(self.reasons) > 3 else ""
            found += f"; {self.inconclusive} inconclusive: {'; '.join(self.reasons[:3])}{more}"
        return f"GradientReport({found})"


@dataclass(frozen=True)
class _Finding:
    element: int
    exact: float
    slope: Slope | None
    verdict: str
    error: float


def check_gradients(
    f: Callable[..., Any], *inputs: Any, rng: int | random.Random = 0, points: int = 1, tolerance: float = TOLERANCE
) -> GradientReport:
    """Compare the gradients of `f` by every number of `inputs` with centred differences.

    f: takes one Value per input and returns a Value or a nested list of Values. It must give the same for the same inputs.
    inputs: numbers, Values, or nested lists (or NumPy arrays) of them; f gets lists of Values for lists.
    rng: a seed, or a random.Random, for the weights of the outputs and for further points.
    points: how many points to check at: the given one, and others drawn near it.
    tolerance: the relative error that is still right.

    Returns a GradientReport. Raises GradientError for a wrong gradient, naming the input, the element, both numbers and
    the likely step; NotANumberError when f returns anything but Values; NonFiniteError when it gives NaN or infinity;
    InputError when it is not repeatable, works on arrays only, or an argument is out of range.

    >>> report = check_gradients(lambda w, x: sum(a * b for a, b in zip(w, x)).tanh(), [0.1, -0.2], [0.3, 0.4])
    >>> report.checked, report.worst < 1e-8
    (4, True)
    >>> check_gradients(lambda x: x.relu(), 0.0)
    GradientReport(0 of 1 derivatives right; 1 inconclusive: x=0.0: a kink: relu changes sides)
    """
    if isinstance(points, bool) or not isinstance(points, int) or points < 1:
        raise InputError(f"points must be a whole number from 1 up, not {points!r}")
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance must be between 0 and 1, not {tolerance!r}")
    generator = rng if isinstance(rng, random.Random) else random.Random(rng)
    subject = Subject(f, inputs)
    checked, reasons = [], []
    for point in _points(subject, generator, points):
        for finding in _Check(subject, point, generator, tolerance).findings():
            where = f"{subject.names[finding.element]}={point[finding.element]!r}"
            if finding.verdict == "right":
                checked.append((finding.error, where))
            else:
                reasons.append(f"{where}: {finding.verdict}")
    worst, worst_at = max(checked, default=(0.0, ""))
    return GradientReport(len(checked), len(reasons), worst, worst_at, tuple(reasons))


def _points(subject: Subject, rng: random.Random, count: int) -> Iterator[list[float]]:
    """The given point, then others near it where the function is defined."""
    yield subject.point
    for _ in range(count - 1):
        for _ in range(20):
            point = [x + 0.1 * max(1.0, abs(x)) * rng.gauss() for x in subject.point]
            try:
                subject.record(point)
            except (ArithmeticError, ValueError):
                continue
            yield point
            break
        else:
            raise InputError("the function is not defined at other points near the given one; check it there only (points=1)")


class _Check:
    """One point: the outputs of the function there, weighted with random numbers, give the one number that is checked."""

    def __init__(self, subject: Subject, point: Sequence[float], rng: random.Random, tolerance: float) -> None:
        self.subject, self.point, self.tolerance = subject, list(point), tolerance
        self.recorded = subject.record(point)
        _expect_repeatable(self.recorded, subject.record(point))
        # Not 1, which would not show an operation that drops the gradient it is handed, and of both signs.
        self.weights = [rng.choice((-1.0, 1.0)) * rng.uniform(0.5, 1.5) for _ in self.recorded.outputs]

    def findings(self) -> list[_Finding]:
        """One finding per element; raises GradientError when one is wrong."""
        found = self._compared(range(len(self.point)), self.weights)
        wrong = [finding for finding in found if finding.verdict == "wrong"]
        if wrong:
            raise GradientError(self._accusation(max(wrong, key=lambda finding: finding.error), len(wrong)))
        return found

    def _compared(self, elements: Sequence[int], weights: Sequence[float]) -> list[_Finding]:
        root = _weighted(self.recorded, weights)
        inputs = self.recorded.inputs
        exact = engine.gradients(root, inputs) if root.requires_grad else dict.fromkeys(inputs, 0.0)
        return [self._judged(i, weights, exact[inputs[i]], root.data) for i in elements]

    def _judged(self, element: int, weights: Sequence[float], exact: float, here: float) -> _Finding:
        f = functools.partial(self._number, element, weights)
        slope = slope_of(f, self.point[element], here)
        found = verdict(exact, slope, self.tolerance)
        # A gradient of NaN is no side of a kink: it stays wrong.
        while (
            slope is not None
            and found != "right"
            and math.isfinite(exact)
            and (change := self._change(element, weights, slope.h))
        ):
            # Something switches between x - h and x + h. A smaller step may fit on one side.
            smaller = slope_of(f, self.point[element], here, below=slope.h)
            slope, found = smaller, verdict(exact, smaller, self.tolerance)
            if smaller is None or smaller.kink:
                found = f"a kink: {change}"
                break
        return _Finding(element, exact, slope, found, error_of(exact, slope, self.tolerance) if slope else math.nan)

    def _moved(self, element: int, x: float) -> list[float]:
        return [*self.point[:element], x, *self.point[element + 1 :]]

    def _number(self, element: int, weights: Sequence[float], x: float) -> float:
        """The weighted sum of the outputs with one input moved to x."""
        return sum(w * y for w, y in zip(weights, self.subject.numbers(self._moved(element, x)), strict=True) if w)

    def _change(self, element: int, weights: Sequence[float], h: float) -> str:
        """What the function does otherwise at x + h than at x - h; empty when it takes the same path."""
        runs = [self.subject.record(self._moved(element, self.point[element] + d)) for d in (-h, h)]
        low, high = (steps_of(_weighted(run, weights), run.inputs) for run in runs)
        return difference(low, high)

    def _accusation(self, finding: _Finding, count: int) -> str:
        weights, output, unit = self._isolated(finding)
        (finding,) = self._compared([finding.element], weights)
        assert finding.slope is not None  # else nothing would have been called wrong
        exact, numeric, h = finding.exact / unit, finding.slope.value / unit, finding.slope.h
        also = f"; {count} of {len(self.point)} derivatives are wrong" if len(self.point) > 1 else ""
        moved = self._moved(finding.element, self.point[finding.element] + h)
        step = likely_step(
            _run(self.recorded, self.point, weights),
            _run(self.subject.record(moved), moved, weights),
            finding.element,
            self.tolerance,
        )
        name = self.subject.names[finding.element]
        return (
            f"the derivative{output} by {name} at {name}={self.point[finding.element]!r} is wrong: backward gives "
            f"{exact:.9g}, centred differences give {numeric:.9g} (h={h:.1e}): relative error "
            f"{relative_error(exact, numeric):.1e} (above 1e-2 is wrong, 1e-7 is good){also}\nlikely step: {step}"
        )

    def _isolated(self, finding: _Finding) -> tuple[list[float], str, float]:
        """Weights that leave one output which is wrong on its own; its name, and its weight, to divide by."""
        for i, weight in enumerate(self.weights):
            alone = [weight if j == i else 0.0 for j in range(len(self.weights))]
            (single,) = self._compared([finding.element], alone)
            if single.verdict == "wrong":
                return alone, f" of output {self.recorded.indices[i]}" if len(self.weights) > 1 else "", weight
        return self.weights, " of the weighted sum of the outputs", 1.0


def _run(recorded: Recorded, point: Sequence[float], weights: Sequence[float]) -> Run:
    outputs = [y for w, y in zip(weights, recorded.outputs, strict=True) if w]
    return Run(recorded.inputs, point, outputs, _weighted(recorded, weights))


def _weighted(recorded: Recorded, weights: Sequence[float]) -> Value:
    """The sum of the outputs times their weights, as a node; without those of weight 0."""
    outputs: list[Any] = recorded.outputs
    root: Value = functools.reduce(operator.add, [w * y for w, y in zip(weights, outputs, strict=True) if w])
    return root


def _expect_repeatable(first: Recorded, second: Recorded) -> None:
    before, after = ([y.data for y in run.outputs] for run in (first, second))
    if before != after:
        pairs = [(a, b) for a, b in zip(before, after, strict=False) if a != b]
        shown = f"{pairs[0][0]!r} and then {pairs[0][1]!r}" if pairs else f"{len(before)} and then {len(after)} outputs"
        raise InputError(
            f"the function is not repeatable: for the same inputs it gave {shown}; draw random numbers before the check, "
            "or seed them inside the function"
        )
