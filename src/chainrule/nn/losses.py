"""Losses on scalars: lists of outputs and targets in, one Value out, the mean over the samples.

| outputs of the net                         | targets                      | loss                   |
|--------------------------------------------|------------------------------|------------------------|
| a number, or a row of numbers, per sample  | numbers of the same layout   | `mse`                  |
| a score per sample                         | -1 or 1                      | `max_margin`           |
| a logit per sample                         | 0 or 1                       | `binary_cross_entropy` |
| a row of logits, one per class, per sample | the class's index from 0     | `cross_entropy`, `nll` |

>>> mse([Value(1.0), Value(3.0)], [1.0, 2.0]).data
0.5

All work on any logits that are numbers: exponentials are shifted so that they cannot overflow. Each raises InputError when
there are no samples, when there are not as many targets as outputs, and when a target is outside its coding; but not where
the target is an element of an argument of a function that is compiled (`chainrule.compile`), as it has no number yet. To add a
regulariser, add it: `loss + 1e-4 * l2(model.parameters())`. Left out on purpose: other reductions, weights of classes,
and targets that are distributions. Imports engine and errors.
"""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from chainrule.engine import Node, Value
from chainrule.errors import InputError


def mse(outputs: Iterable[Any], targets: Iterable[Any]) -> Any:
    """The mean squared error.

    outputs, targets: one number per sample each, or one row of numbers; then the mean is over all numbers.

    >>> mse([[Value(1.0), Value(2.0)]], [[0.0, 4.0]]).data
    2.5
    """
    pairs: list[tuple[Any, Any]] = []
    for i, (output, target) in enumerate(_samples("mse", outputs, targets)):
        row, wanted = _numbers(output), _numbers(target)
        if len(row) != len(wanted) or _is_row(output) != _is_row(target):
            raise InputError(f"mse: sample {i} has {_layout(output)} as output but {_layout(target)} as target")
        pairs += zip(row, wanted, strict=True)
    if not pairs:
        raise InputError("mse: the samples have no outputs")
    return _mean([(output - target) ** 2 for output, target in pairs])


def max_margin(scores: Iterable[Any], targets: Iterable[Any]) -> Any:
    """The hinge loss of a support vector machine, relu(1 - y * score): zero from a margin of 1 on the right side.

    scores: one per sample; its sign is the predicted class.
    targets: y, -1 or 1 (of 0 and 1 make `2 * y - 1`).

    >>> max_margin([Value(0.5), Value(2.0)], [1, -1]).data
    1.75
    """
    pairs = _samples("max_margin", scores, targets)
    signs = [_one_of("max_margin", i, y, (-1.0, 1.0)) for i, (_, y) in enumerate(pairs)]
    # Written as micrograd's demo writes it, so that the graph has the same nodes.
    return _mean([(1 + -y * _number(score)).relu() for y, (score, _) in zip(signs, pairs, strict=True)])


def binary_cross_entropy(logits: Iterable[Any], targets: Iterable[Any]) -> Any:
    """Minus the log of the probability sigmoid(logit) of class 1, or of its complement for class 0.

    logits: one per sample; no sigmoid has been applied.
    targets: 0 or 1.

    Computed as softplus(-logit) for class 1 and softplus(logit) for class 0, which is exact also where the probability
    rounds to 0 or 1. PyTorch's `binary_cross_entropy_with_logits`.

    >>> binary_cross_entropy([Value(1000.0), Value(0.0)], [0, 1]).data
    500.34657359027995
    """
    pairs = _samples("binary_cross_entropy", logits, targets)
    signs = [_one_of("binary_cross_entropy", i, y, (0.0, 1.0)) for i, (_, y) in enumerate(pairs)]
    zs = [_number(z) for z, _ in pairs]
    return _mean([_turned(z, y).softplus() for y, z in zip(signs, zs, strict=True)])


def _turned(z: Any, y: Any) -> Any:
    """-z for class 1 and z for class 0; without a branch where y has no number yet."""
    if isinstance(y, float):
        return -z if y == 1.0 else z
    return z * (1 - 2 * y)


def cross_entropy(logits: Iterable[Sequence[Any]], labels: Iterable[Any]) -> Any:
    """Minus the log of the probability softmax(row)[label], averaged over the rows.

    logits: one row per sample, with one score per class; no softmax has been applied.
    labels: the index of the right class of each, from 0. In a function that is compiled, where labels are an argument, write
        `-chainrule.take(log_softmax(row), label)` for each sample instead.

    >>> round(cross_entropy([[Value(0.0), Value(0.0), Value(1000.0)]], [0]).data, 4)
    1000.0
    """
    pairs = _samples("cross_entropy", logits, labels)
    rows = [_scores("cross_entropy", row) for row, _ in pairs]
    losses = []
    for i, (row, (_, label)) in enumerate(zip(rows, pairs, strict=True)):
        if len(row) != len(rows[0]):
            raise InputError(f"cross_entropy: sample {i} has {len(row)} logits but sample 0 has {len(rows[0])}")
        index = _class_index("cross_entropy", i, label, len(row))
        shifted, log_total = _shifted(row)
        losses.append(log_total - shifted[index])
    return _mean(losses)


def nll(logits: Iterable[Sequence[Any]], labels: Iterable[Any]) -> Any:
    """The negative log-likelihood of the labels: with one label per sample, the same number as `cross_entropy`.

    logits, labels: as for `cross_entropy`. Rows of log-probabilities, which PyTorch's `nll_loss` wants, serve too: they
    are logits, and normalising them again changes neither them nor the gradients of what they were made of.

    >>> rows = [[Value(1.0), Value(2.0)]]
    >>> round(nll(rows, [1]).data, 6) == round(nll([log_softmax(rows[0])], [1]).data, 6) == 0.313262
    True
    """
    return cross_entropy(logits, labels)


def softmax(logits: Sequence[Any]) -> list[Any]:
    """The probabilities exp(z[i]) / sum of exp(z[j]) of one row of logits.

    >>> [round(p.data, 4) for p in softmax([Value(1.0), Value(1.0), Value(-1000.0)])]
    [0.5, 0.5, 0.0]
    """
    row = _scores("softmax", logits)
    largest = _largest(row)
    powers = [(z - largest).exp() for z in row]
    total = sum(powers[1:], powers[0])
    return [power / total for power in powers]


def log_softmax(logits: Sequence[Any]) -> list[Any]:
    """The logarithms of `softmax`, exact also where a probability underflows to 0.

    >>> [round(p.data, 4) for p in log_softmax([Value(1.0), Value(1.0), Value(-1000.0)])]
    [-0.6931, -0.6931, -1001.6931]
    """
    shifted, log_total = _shifted(_scores("log_softmax", logits))
    return [z - log_total for z in shifted]


def l2(parameters: Iterable[Any]) -> Any:
    """The sum of the squares of the parameters, to be scaled and added to a loss.

    >>> l2([Value(3.0), Value(4.0)]).data
    25.0
    """
    ps = list(parameters)
    if not ps:
        raise InputError("l2: there are no parameters")
    return sum(map(operator.mul, ps, ps))


def _shifted(row: list[Any]) -> tuple[list[Any], Any]:
    """A row minus its largest number, and the log of the sum of the exponentials of that.

    The shift is a constant: a softmax does not change when one number is added to all of its logits, so no gradient
    belongs to it, and the sum lies between 1 and the number of classes.
    """
    largest = _largest(row)
    shifted = [z - largest for z in row]
    powers = [z.exp() for z in shifted]
    return shifted, sum(powers[1:], powers[0]).log()


def _largest(row: list[Any]) -> float:
    largest: float = max(z.data for z in row)
    return largest


def _mean(losses: list[Any]) -> Any:
    return sum(losses) * (1.0 / len(losses))  # as micrograd's demo writes it


def _samples(loss: str, outputs: Any, targets: Any) -> list[tuple[Any, Any]]:
    """Outputs and targets in pairs, as many as each other and not none."""
    columns = []
    _expect_no_tensor(loss, outputs)
    for what, column in (("outputs", outputs), ("targets", targets)):
        try:
            columns.append(list(column))
        except TypeError:
            raise InputError(f"{loss} takes lists with one entry per sample; its {what} are {type(column).__name__}") from None
    if len(columns[0]) != len(columns[1]):
        raise InputError(f"{loss}: there are {len(columns[0])} outputs but {len(columns[1])} targets")
    if not columns[0]:
        raise InputError(f"{loss}: there are no samples")
    return list(zip(*columns, strict=True))


_ON_TENSORS = {"mse": "mse_loss", "cross_entropy": "cross_entropy", "softmax": "softmax", "log_softmax": "log_softmax"}


def _expect_no_tensor(name: str, x: Any) -> None:
    if isinstance(x, Node) and not isinstance(x, Value):
        instead = f"take chainrule.nn.functional.{_ON_TENSORS[name]}" if name in _ON_TENSORS else "give it lists of Values"
        raise InputError(f"chainrule.nn.{name} is for lists of Values; for a {type(x).__name__} {instead}")


def _is_row(x: Any) -> bool:
    return hasattr(x, "__len__") and getattr(x, "ndim", 1) > 0 and not isinstance(x, (str, Node))


def _number(x: Any) -> Any:
    return x if isinstance(x, Node) else Value(x, requires_grad=False)


def _numbers(x: Any) -> list[Any]:
    """The numbers of one sample, whether it has a row of them or one."""
    return [_number(z) for z in x] if _is_row(x) else [_number(x)]


def _layout(x: Any) -> str:
    return f"a row of {len(x)}" if _is_row(x) else "one number"


def _scores(name: str, row: Any) -> list[Any]:
    _expect_no_tensor(name, row)
    if not _is_row(row) or len(row) == 0:
        raise InputError(f"{name}: a row of logits is a list with one score per class, not {row!r}")
    return _numbers(row)


def _one_of(loss: str, i: int, target: Any, coding: tuple[float, float]) -> Any:
    """The target as a float, since an unsigned integer of NumPy could not be negated; or as it is, where it has no number yet."""
    number = target.data if isinstance(target, Node) else target
    if isinstance(target, Node) and not isinstance(number, float):
        return target
    if isinstance(number, str) or _is_row(number) or number not in coding:
        raise InputError(f"{loss}: targets are {coding[0]:g} or {coding[1]:g}, but that of sample {i} is {number!r}")
    return float(number)


def _class_index(loss: str, i: int, label: Any, classes: int) -> int:
    try:
        index = operator.index(label)
    except TypeError:
        raise InputError(f"{loss}: labels are whole numbers from 0, but that of sample {i} is {label!r}") from None
    if not 0 <= index < classes:
        raise InputError(f"{loss}: label {index} of sample {i} is out of range; {classes} classes are 0 to {classes - 1}")
    return index
