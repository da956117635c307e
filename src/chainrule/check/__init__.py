"""Judgement of gradients: numbers against numbers, and the step that is to blame.

>>> from chainrule.check import check_gradients
>>> check_gradients(lambda x, y: (x * y).tanh() + y, 0.5, -1.5)  # doctest: +ELLIPSIS
GradientReport(2 of 2 derivatives right, worst relative error ...)

A wrong gradient raises a GradientError that names the input, the element, both numbers and the likely step. Left out on
purpose: derivatives of nodes that are not single numbers. Imports ops, engine and errors.
"""

from chainrule.check.compare import Comparison, Comparisons, compare
from chainrule.check.gradients import GradientReport, check_gradients

__all__ = ["Comparison", "Comparisons", "GradientReport", "check_gradients", "compare"]
