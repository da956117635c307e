"""Numeric slopes of functions of one number, with what is known about their error: the measuring side of a check.

A slope is taken with centred differences at two steps, h and h/2. Together they give a better slope than either
(Richardson's extrapolation), tell how rough it is, and show kinks: the difference of the one-sided slopes halves with h
where the function is smooth, and stays where it has a kink. The rules for comparing follow the CS231n notes, "Gradient
checks". Imports nothing of ours.
"""

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

EPSILON = sys.float_info.epsilon
SURE = 1e-4  # a roughness below this part of the slope: no smaller step is tried
DROWNED = 1e-3  # rounding above this part of the slope hides a mistake of that size


@dataclass(frozen=True)
class Slope:
    """A numeric slope.

    value: the slope.
    h: the step it was taken with.
    roughness: how much it changed from h to h/2.
    rounding: what the rounding of floats alone can do to it.
    kink: whether the slopes on both sides disagree, however small the step.
    """

    value: float
    h: float
    roughness: float
    rounding: float
    kink: bool

    @property
    def sure(self) -> bool:
        """Whether no other step can give a much better answer."""
        return not self.kink and self.roughness <= SURE * abs(self.value) + self.rounding


def slope_of(f: Callable[[float], float], x: float, here: float, below: float = math.inf) -> Slope | None:
    """The slope of f at x, where f(x) is `here`; None when f is not defined on both sides of x.

    The step is chosen for this x: from about 1e-4 down, until the slope is sure; else the least rough one counts. With
    `below`, only steps smaller than that are taken.

    >>> slope = slope_of(lambda x: x**3, 2.0, 8.0)
    >>> round(slope.value, 9), slope.kink
    (12.0, False)
    >>> slope_of(abs, 0.0, 0.0).kink
    True
    """
    best = None
    for h, size in _steps(x):
        slope = _measured(f, x, here, h, size) if h < below else None
        if slope is not None and slope.sure:
            return slope
        if slope is not None and (best is None or _doubt(slope) < _doubt(best)):
            best = slope
    return best


def _steps(x: float) -> Iterator[tuple[float, float]]:
    """Steps to try, each with the size of the numbers that it suits."""
    sizes: list[tuple[float, tuple[int, ...]]] = [(max(1.0, abs(x)), (-13, -17, -20, -23, -26, -30))]
    sizes += [(abs(x), (-13, -17, -20))] if 0 < abs(x) < 1 else []  # log near 0 needs steps smaller than its x
    for size, exponents in sizes:
        for exponent in exponents:
            h = math.ldexp(1.0, math.frexp(size)[1] - 1 + exponent)  # a power of two: x + h and x - h are exact for most x
            if x - h / 2 < x < x + h / 2:
                yield h, size


def _doubt(slope: Slope) -> float:
    return slope.roughness + slope.rounding


def _measured(f: Callable[[float], float], x: float, here: float, h: float, size: float) -> Slope | None:
    try:
        low, low2, high2, high = f(x - h), f(x - h / 2), f(x + h / 2), f(x + h)
    except (ArithmeticError, ValueError):  # outside of the domain; a smaller step may stay within it
        return None
    wide, narrow = (high - low) / (2 * h), (high2 - low2) / h
    bend, bend2 = (high - 2 * here + low) / h, (high2 - 2 * here + low2) / (h / 2)  # right slope minus left slope
    if not (math.isfinite(wide) and math.isfinite(narrow) and math.isfinite(bend)):
        return None
    # Rounding of f itself; and rounding before f bends, which moves the place where a slope is 0 (least squares at its end).
    rounding = (10 * EPSILON * max(abs(low), abs(here), abs(high)) + 400 * EPSILON * size * abs(bend)) / h
    kink = abs(bend2) > 0.75 * abs(bend) and abs(bend2) > 20 * rounding
    return Slope((4 * narrow - wide) / 3, h, abs(wide - narrow), rounding, kink)


def error_of(exact: float, slope: Slope, tolerance: float) -> float:
    """The relative error |a - n| / max(|a|, |n|), where numbers too small to be told from rounding count as larger."""
    if not math.isfinite(exact):
        return math.inf
    size = max(abs(exact), abs(slope.value), slope.rounding / tolerance)
    return abs(exact - slope.value) / size if size else 0.0


def verdict(exact: float, slope: Slope | None, tolerance: float) -> str:
    """What a slope says of an exact derivative: "right", "wrong", or the reason why it cannot tell."""
    if slope is None:
        return "the function is not defined on both sides"
    if not math.isfinite(exact):
        return "wrong"
    if slope.kink:
        return "a kink: the slopes on both sides differ"
    if error_of(exact, slope, tolerance) <= tolerance:
        drowned = exact != 0 and slope.rounding > DROWNED * max(abs(exact), abs(slope.value))
        return "too small beside the rounding of the function" if drowned else "right"
    if abs(exact - slope.value) <= 10 * slope.roughness:
        return "the function is too rough or too curved here for a numeric slope"
    return "wrong"


def relative_error(a: float, b: float) -> float:
    """|a - b| / max(|a|, |b|), and 0 for two zeros.

    >>> relative_error(1.0, 1.25)
    0.2
    """
    return abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0
