"""Recording a run while it goes: `Watch`, which takes the steps of a trainer and notes some of them.

    watch = Watch(trainer, probe)
    while trainer.step < trainer.config.steps:
        watch.advance()
    watch.recording()

A noted step costs three copies of the parameters: before it, their gradients, and after it. What is computed of these (how
large gradients and updates are, what the net shows) is computed later, when the run is saved, by a probe that has a net of its
own: so the numbers of a run are the same, bit by bit, whether it is watched or not.

Which steps are noted is a function of the settings alone, so a run that was interrupted ends with the same recording. Half of
them lie evenly, half ever denser towards the beginning, where most happens; there are MOST of them, or as many as take SHARE of
the time of the training by estimate, but LEAST in any case, so that a short run has pictures, too. `python -m benchmarks watch`
measures what it comes to.

Imports recording, probe beside it.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.train.probe import BINS, Probe, counted, shares
from chainrule.train.recording import FARTHEST, Note, Recording, View

Array = npt.NDArray[Any]

LEAST, MOST = 10, 40  # noted steps
SHARE = 0.015  # of the time of the training
SPELLED = 8  # how often in a run the net spells words
MOST_KEPT = 1_000_000  # numbers that wait to be looked at


def noted_steps(steps: int, count: int) -> list[int]:
    """The steps to note, `count` of them or a few less, from the first to the last.

    >>> noted_steps(100, 10)
    [0, 1, 3, 6, 16, 25, 39, 50, 74, 99]
    """
    if steps <= count:
        return list(range(steps))
    half = (count + 1) // 2
    evenly = np.linspace(0, steps - 1, half)
    denser = np.geomspace(1, max(1, steps - 1), count - half + 1)
    return sorted({round(x) for x in (*evenly.tolist(), *denser.tolist()) if x < steps})


def how_many(steps: int, probe: Probe) -> int:
    """How many steps of a run are noted."""
    # Measured: what does not depend on the size, and what does: copies and statistics, and the look itself.
    each = 400.0 + int(probe.sizes.sum()) * (0.03 + 1e-4 * probe.rows) + (300.0 if probe.spells else 0.0)
    fitting = SHARE * (probe.cost.start + steps * probe.cost.step) / each
    return min(steps, max(LEAST, min(MOST, int(fitting))))


def identity(trainer: Any) -> dict[str, Any]:
    """What two recordings of one run have in common: the data and all settings but the number of steps."""
    settings = {name: x for name, x in trainer.config.as_dict().items() if name != "steps"}
    return {"fingerprint": trainer.fingerprint, **settings}


class Watch:
    """Takes the steps of a trainer and records some of them.

    trainer: what is trained. probe: to look into its net. before: what was recorded of the steps that are done.
    `facts` are those of its recording; "about" has no sentences until someone writes them.
    """

    def __init__(self, trainer: Any, probe: Probe, before: Recording | None = None) -> None:
        self.trainer, self.probe = trainer, probe
        self.parameters = trainer.optimizer.params
        self.of_scalars = probe.order is not None
        self.kept = Recording({}, {}) if before is None else before.before(trainer.step)
        self.facts = {"run": identity(trainer), "about": [], "steps": trainer.config.steps, **probe.facts()}
        self.due = noted_steps(trainer.config.steps, how_many(trainer.config.steps, probe))
        self.spelling = set(self.due[:: max(1, len(self.due) // SPELLED)])
        self.size = int(probe.sizes.sum())
        self._left = iter([step for step in self.due if step >= trainer.step])
        self._next = next(self._left, None)
        self._pending: list[tuple[int, float, list[Any], list[Any], list[Any]]] = []

    def advance(self) -> Any:
        """Do one step, as `trainer.advance`, and note it when it is one of those; a step that fails is not noted."""
        step = self.trainer.step
        if step != self._next:
            return self.trainer.advance()
        before = self._data()
        record = self.trainer.advance()
        self._pending.append((step, self.trainer.rate(step), before, self._gradients(), self._data()))
        self._next = next(self._left, None)
        if 3 * self.size * len(self._pending) > MOST_KEPT:
            self._digest()
        return record

    def stop(self) -> None:
        """Note no step any more; those that wait are dropped."""
        self._left, self._next, self._pending = iter([]), None, []

    def _data(self) -> list[Any]:
        if self.of_scalars:
            return [p.data for p in self.parameters]
        return [p.data.copy() for p in self.parameters]

    def _gradients(self) -> list[Any]:
        if self.of_scalars:
            return [p.grad for p in self.parameters]
        return [0.0 if p.grad is None else p.grad.copy() for p in self.parameters]

    def _digest(self) -> None:
        """Compute what there is to tell of the steps that were noted."""
        probe, flat = self.probe, self.probe.flat
        with np.errstate(all="ignore"):  # of a run that runs away the pictures are of interest, too
            for step, lr, before, gradients, after in self._pending:
                weights = flat(before)
                self.kept.notes.append(_note(step, lr, probe, weights, flat(gradients), flat(after)))
                probe.load(weights)
                self.kept.views.append(_view(step, probe))
                if step in self.spelling:
                    self._spell(self.kept, step)
        self._pending = []

    def _spell(self, into: Recording, step: int) -> None:
        words = self.probe.words()
        if words:
            into.words.append((step, words))

    def recording(self) -> Recording:
        """What was recorded up to now, with the net as it is now."""
        self._digest()
        kept, step = self.kept, self.trainer.step
        now = Recording({**self.facts, "step": step}, self.probe.arrays(), kept.notes, [*kept.views], [*kept.words])
        with np.errstate(all="ignore"):
            self.probe.load(self.probe.flat(self._data()))
            now.views.append(_view(step, self.probe))
            self._spell(now, step)
            now.arrays["confusion"] = self.probe.confusion()
        return now


def _note(step: int, lr: float, probe: Probe, weights: Array, gradients: Array, after: Array) -> Note:
    _, before = _moments(weights, probe)
    _, change = _moments(after - weights, probe)
    mean, squares = _moments(gradients, probe)
    deviation = np.sqrt(squares / np.where(probe.sizes > 1, probe.sizes - 1, np.nan))  # as PyTorch has it; one number has none
    largest = np.maximum.reduceat(np.abs(gradients), probe.begins)
    ratio = np.sqrt(change / np.where(before > 0, before, np.nan))
    return Note(step, lr, np.stack([mean, deviation, largest], axis=1), ratio)


def _moments(flat: Array, probe: Probe) -> tuple[Array, Array]:
    """Of each group the mean, and the sum of the squared distances from it: in a few passes over all, as groups are small."""
    mean = np.add.reduceat(flat, probe.begins) / probe.sizes
    return mean, np.add.reduceat((flat - np.repeat(mean, probe.sizes)) ** 2, probe.begins)


def _bounded(x: Array) -> Array:
    """Finite activations, up to FARTHEST: in bins up to 1e308 the widths overflow. What is not finite stays, and is not counted.

    >>> _bounded(np.array([[-2.0, 1e300]])).tolist()
    [[-2.0, 1e+30]]
    """
    return np.clip(x.astype(np.float64), -FARTHEST, FARTHEST) if FARTHEST < np.abs(x).max() < math.inf else x


def _view(step: int, probe: Probe) -> View:
    kinds = [activation for _, activation in probe.layers]
    found = list(zip(probe.activations(), kinds, strict=True))
    counts, bounds = zip(*(counted(_bounded(x), kind) for x, kind in found), strict=True)
    seen = np.array([shares(x, kind) for x, kind in found])
    return View(step, np.array(counts).reshape(-1, BINS), np.array(bounds), seen, probe.field())
