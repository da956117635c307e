"""The losses that a run can minimise, one row each: what it is for, and how classes are coded for it.

Imports nn, tensor and the compiler's `take`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chainrule import nn
from chainrule.compiler import take
from chainrule.nn import functional as F
from chainrule.tensor import Tensor


@dataclass(frozen=True)
class Objective:
    """A loss of `chainrule.nn` and what a run must know of it.

    function: of outputs and targets, lists of scalars.
    tensors: the same of a tensor of outputs, shape (N,) or with rows (N, C), and an array of N targets; None where there is
        none.
    tasks: what it is for: "binary", "multiclass", "regression".
    code: the target for class number k; a regression's targets are taken as they are.
    guess: the loss of a fair guess among so many classes, all scores 0.
    rows: whether it takes rows of scores, also where there is one.
    logits: whether the scores that it trains are logits, so that probabilities can be told.
    """

    function: Callable[[Any, Any], Any]
    tasks: tuple[str, ...]
    code: Callable[[float], float]
    guess: Callable[[int], float]
    rows: bool = False
    logits: bool = False
    tensors: Callable[[Tensor, Any], Tensor] | None = None


def _max_margin(scores: Tensor, targets: Any) -> Tensor:
    loss: Tensor = (1.0 - scores * targets).relu().mean()
    return loss


def _binary_cross_entropy(logits: Tensor, targets: Any) -> Tensor:
    loss: Tensor = (logits * (1 - 2 * targets)).softplus().mean()
    return loss


def _cross_entropy(rows: list[Any], labels: list[Any]) -> Any:
    """That of nn, which picks by Python's subscript: `take` does in a program, too, where labels are no numbers yet."""
    return sum(-take(nn.log_softmax(row), label) for row, label in zip(rows, labels, strict=True)) * (1.0 / len(rows))


OBJECTIVES = {
    "max_margin": Objective(nn.max_margin, ("binary",), lambda k: 2 * k - 1, lambda count: 1.0, tensors=_max_margin),
    "binary_cross_entropy": Objective(
        nn.binary_cross_entropy,
        ("binary",),
        lambda k: k,
        math.log,
        logits=True,
        tensors=_binary_cross_entropy,
    ),
    "cross_entropy": Objective(
        _cross_entropy,
        ("multiclass",),
        lambda k: k,
        math.log,
        rows=True,
        logits=True,
        tensors=F.cross_entropy,
    ),
    # Scores are decided by their sign, so for a squared error the two classes are -1 and 1.
    "mse": Objective(nn.mse, ("regression", "binary"), lambda k: 2 * k - 1, lambda count: 1.0, tensors=F.mse_loss),
}
"""By name; the first that is for a task is the default there."""

SHORT_NAMES = {"bce": "binary_cross_entropy", "hinge": "max_margin"}


def fitting(task: str) -> list[str]:
    """The names of the losses for a task, the default first.

    >>> fitting("binary")
    ['max_margin', 'binary_cross_entropy', 'mse']
    """
    return [name for name, objective in OBJECTIVES.items() if task in objective.tasks]
