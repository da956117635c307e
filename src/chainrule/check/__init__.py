"""Judgement of gradients: numbers against numbers, and the step that is to blame.

>>> from chainrule.check import check_gradients
>>> check_gradients(lambda x, y: (x * y).tanh() + y, 0.5, -1.5)  # doctest: +ELLIPSIS
GradientReport(2 of 2 derivatives right, worst relative error ...)

A wrong gradient raises a GradientError that names the input, the element, both numbers and the likely step.

>>> import numpy as np
>>> verdict = compare(np.array([1.0, -2.0]), np.array([1.0, 2.0]), name="dh")
>>> bool(verdict)
False

`compare` holds a gradient written by hand against the true one and says why it is wrong; see docs/by_hand.md. Left out on
purpose: `check_gradients` of functions of tensors. Imports ops, engine, tensor and errors.
"""

from chainrule.check.compare import Comparison, Comparisons, compare
from chainrule.check.gradients import GradientReport, check_gradients

__all__ = ["Comparison", "Comparisons", "GradientReport", "check_gradients", "compare"]
