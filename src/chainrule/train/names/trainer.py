"""The training of the network that spells, one step at a time: `NamesTrainer`.

A step draws a batch of rows, with replacement; what it does depends on the settings, the words, the step's number and the
weights alone, so a run that was interrupted goes on to the same end. Imports data, nn, optim, errors, config and model
beside it, and compiling beside the package.
"""

import math
from typing import Any, NamedTuple

from chainrule import data, optim
from chainrule.data import Words
from chainrule.errors import ModelFileError, NonFiniteError
from chainrule.nn import functional as F
from chainrule.tensor import replace
from chainrule.train.compiling import CompiledStep
from chainrule.train.names.config import LR_FALLS, NamesConfig
from chainrule.train.names.model import PARTS, NamesModel, make_net

EVALUATIONS = 20  # how often in a run the validation part is judged
SMOOTH = 100  # steps that the loss on display is about the mean of


class NamesRecord(NamedTuple):
    """A row of metrics.csv: the mean loss of the batches of `window` steps that begin at `step`.

    validation_loss: that of the net as it is at `step`; NaN where it was not judged. The last record is of the finished net: the
    losses of all three parts, and no learning rate.
    """

    step: int
    loss: float
    lr: float
    validation_loss: float = math.nan
    test_loss: float = math.nan


class NamesTrainer:
    """The state of a run on names; config: as `configure` gives it, and words: the list.

    >>> words = Words("letters", tuple("abcdefghij"))
    >>> trainer = NamesTrainer(NamesConfig(hidden=8, steps=20), words)
    >>> abs(trainer.advance().loss - math.log(11)) < 0.05
    True
    """

    record_type = NamesRecord
    measure_name = "loss"
    engine = "numpy"

    def __init__(self, config: NamesConfig, words: Words) -> None:
        self.config = config
        self.fingerprint = words.fingerprint
        self.parts = dict(zip(PARTS, data.split_words(words.words, config.seed), strict=True))
        vocabulary = data.Vocabulary.of(words.words)
        net = make_net(len(vocabulary), config.context, config.embedding, config.hidden, config.seed)
        self.model = NamesModel(
            net, vocabulary, config.context, config.embedding, config.hidden, words.name, words.fingerprint, config.seed
        )
        self.rows = {part: data.context_windows(these, vocabulary, config.context) for part, these in self.parts.items()}
        self.net = net
        for name, p in net.named_parameters():
            p.label = name  # so that an error can tell which one
        self._buffers = (net[3].running_mean, net[3].running_var, net[3].num_batches_tracked)
        self.optimizer = optim.SGD(net.parameters(), lr=config.lr)
        self.compiled = CompiledStep(self._to_compile, net.parameters(), self.optimizer) if config.compile else None
        self.step = 0
        self.history: list[NamesRecord] = []
        # Of the row that is being gathered: its first step, the sum of its losses, and the validation loss.
        self._open: tuple[int, float, float] | None = None
        self._shown, self._validation = 0.0, math.nan  # what is on display: the smoothed loss, the last validation loss

    @property
    def train_size(self) -> int:
        """How many rows there are to learn from."""
        return len(self.rows["training"][0])

    @property
    def test_size(self) -> int:
        """How many rows are held out for the test."""
        return len(self.rows["test"][0])

    def rate(self, step: int) -> float:
        """The learning rate of a step: `lr` in the first half of all steps, then a tenth."""
        return self.config.lr if 2 * step < self.config.steps else self.config.lr / LR_FALLS

    def advance(self) -> NamesRecord:
        """Do one step; what it returns is for display, with a loss smoothed over steps. `history` grows at the end of a window.

        Raises NonFiniteError naming the step; the weights are then those before the step.
        """
        step = self.step
        if self._open is None:
            self._open = (step, 0.0, self._judged(step))
            if step and not math.isnan(self._open[2]):  # that of the net as drawn is no news for long
                self._validation = self._open[2]
        number = self._updated_by_program(step)
        return self._noted(self._updated(step) if number is None else number)

    def _updated(self, step: int) -> float:
        """The loss of a batch, and the update, by the tensors themselves."""
        before = [buffer.data.copy() for buffer in self._buffers]
        try:
            return self._update(step)
        except NonFiniteError as error:
            for buffer, x in zip(self._buffers, before, strict=True):  # the forward pass has moved them
                buffer.data = x
            raise NonFiniteError(f"step {step}: {error}") from error

    def _batch(self, step: int) -> tuple[Any, Any]:
        X, y = self.rows["training"]
        rows = data.drawn_batch(step, self.config.batch_size, len(X), self.config.seed)
        return X.take(rows, 0), y.take(rows)

    def _to_compile(self, X: Any, y: Any, running_mean: Any, running_var: Any) -> tuple[Any, Any, Any]:
        """The loss, and what becomes of the running statistics: a program can compute them, but not keep them."""
        embedding, flatten, linear, norm, tanh, last = self.net
        x = linear(flatten(embedding(X)))
        z = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps, unbiased=norm.unbiased)
        mean = x.mean(0)
        var = ((x - mean) * (x - mean)).sum(0) / (x.shape[0] - 1)
        kept, share = 1 - norm.momentum, norm.momentum
        loss = F.cross_entropy(last(tanh(z)), y)
        return loss, kept * running_mean + share * mean, kept * running_var + share * var

    def _updated_by_program(self, step: int) -> float | None:
        """The same as `_updated` by the program; None where the tensors are to do it."""
        if self.compiled is None or self.compiled.refused:
            return None
        mean, var, count = self._buffers
        found = self.compiled(self.rate(step), *self._batch(step), mean._data, var._data)
        if found is None:
            return None
        number, new_mean, new_var = found
        replace(mean, new_mean)  # which nobody else holds, so it need not be copied
        replace(var, new_var)
        replace(count, count._data + 1)
        return float(number)

    def _update(self, step: int) -> float:
        X, y = self._batch(step)
        loss = F.cross_entropy(self.net(X), y)
        number: float = loss.item()
        if not math.isfinite(number):
            raise NonFiniteError(f"the loss is {number}")
        self.optimizer.zero_grad()
        loss.backward()
        lr = self.rate(step)
        if self.optimizer.lr != lr:
            self.optimizer.lr = lr
        self.optimizer.step()  # raises before anything has changed
        return number

    def _noted(self, loss: float) -> NamesRecord:
        begin, total, validation = self._open or (self.step, 0.0, math.nan)
        self.step += 1
        self._open = (begin, total + loss, validation)
        if self.step - begin >= self.config.window:
            self.history += self.unfinished()
            self._open = None
        self._shown += (loss - self._shown) / min(self.step, SMOOTH)
        return NamesRecord(self.step - 1, self._shown, self.optimizer.lr, self._validation)

    def unfinished(self) -> list[NamesRecord]:
        """The record of a window that is not complete, if there is one."""
        if self._open is None or self._open[0] == self.step:
            return []
        begin, total, validation = self._open
        return [NamesRecord(begin, total / (self.step - begin), self.rate(begin), validation)]

    def _judged(self, step: int) -> float:
        rows = max(1, self.config.steps // self.config.window)
        every = max(1, rows // EVALUATIONS) * self.config.window
        return self.model.loss(*self.rows["validation"]) if step % every == 0 else math.nan

    def final_record(self) -> NamesRecord:
        """Calibrate BatchNorm on the whole training part, and give the losses of all parts."""
        self.model.calibrate(self.rows["training"][0])
        losses = {part: self.model.loss(X, y) for part, (X, y) in self.rows.items()}
        if not all(map(math.isfinite, losses.values())):
            raise NonFiniteError(f"step {self.step}: the loss of the finished net is {losses['training']}")
        self.model.losses.update(losses)
        return NamesRecord(self.step, losses["training"], math.nan, losses["validation"], losses["test"])

    def progress(self) -> dict[str, Any]:
        """Where it stands, for JSON, besides weights and history."""
        return {"step": self.step, "window": self._open and [repr(x) for x in self._open], "shown": self._shown}

    def restore_progress(self, facts: dict[str, Any], history: list[NamesRecord]) -> None:
        """Go on from where `progress` was told; ModelFileError when the parts do not fit."""
        self.step, self.history, self._shown = int(facts["step"]), history, float(facts["shown"])
        window = facts["window"]
        self._open = None if window is None else (int(window[0]), float(window[1]), float(window[2]))
        rows = [*history, *self.unfinished()]
        judged = [row.validation_loss for row in rows if row.step and not math.isnan(row.validation_loss)]
        self._validation = judged[-1] if judged else math.nan
        begin = self.step if self._open is None else self._open[0]
        # A run that was made longer keeps its window.
        if [record.step for record in history] != list(range(0, begin, self.config.window)):
            raise ModelFileError("its history has gaps")
