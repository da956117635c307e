"""The training loop on tables, one step at a time: `Trainer` for nets of scalars, `TensorTrainer` for nets of tensors.

A step is: take a batch, score it, compute the loss, go backward, update. What a step does depends on the settings, the
data, the step's number and the state (weights and optimiser) alone. So a run that was interrupted, and goes on from a
saved state, gives the numbers of one that was not.

Imports data, nn, optim, check, engine, native, errors, and config, model, objectives beside it.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule import data, native, nn, optim
from chainrule.check.nodes import described, first_non_finite
from chainrule.data import Dataset, Standardizer
from chainrule.engine import Value
from chainrule.errors import DomainError, InputError, ModelFileError, NonFiniteError
from chainrule.train.config import Config
from chainrule.train.model import Model, as_array, as_numbers, decision, make_net
from chainrule.train.objectives import OBJECTIVES, Objective

FINAL_LR = 0.1  # the share of the learning rate that is left at the end, as in micrograd's 1.0 - 0.9 * k / steps
MOST_PARAMETERS = 10_000_000  # a gigabyte of scalars, and minutes per step
EVALUATIONS = 10  # how often in a run the held-out part is judged


class Record(NamedTuple):
    """What the net showed after `step` updates: step 0 is the net as drawn, the last record the net that was learned.

    measure: the accuracy on the batch, from 0 to 1, or for a regression the root mean squared error in the target's unit.
    test_measure: the same on the held-out part; NaN where it was not judged at this step.
    """

    step: int
    loss: float
    measure: float
    lr: float
    test_measure: float = math.nan


class Trainer:
    """The state of a run: a net, an optimiser, the number of steps done and what they showed.

    config: the settings, complete, and points: the data, as `configure` gives both.

    >>> from chainrule.train.config import configure
    >>> trainer = Trainer(*configure("lecture"))
    >>> first, second = trainer.advance(), trainer.advance()
    >>> second.loss < first.loss
    True
    """

    record_type = Record

    def __init__(self, config: Config, points: Dataset) -> None:
        self.config = config
        self.objective = OBJECTIVES[config.loss or ""]
        self.fingerprint = points.fingerprint
        self.train, self.test = data.split(points, config.test_fraction, config.seed)
        self.model = _fresh_model(config, self.train, points.fingerprint)
        self.parameters = self.model.net.named_parameters()
        for name, p in self.parameters:
            p.label = name  # so that an error can tell which one
        self.optimizer = _optimizer(config, [p for _, p in self.parameters])
        self.schedule = optim.LinearLR(self.optimizer, start_factor=1.0, end_factor=FINAL_LR, total_iters=config.steps)
        self.samples, self.targets = self._prepared()
        self.history: list[Record] = []

    def _prepared(self) -> tuple[Any, Any]:
        """The training samples and their targets as the net and the loss take them."""
        return _constants(self.model, self.train), _coded(self.model, self.train, self.objective)

    @property
    def net(self) -> Any:
        """The net that is trained."""
        return self.model.net

    @property
    def engine(self) -> str:
        """What computes: "native" or "pure". The last digits of a run may depend on it."""
        return native.status()["engine"]

    @property
    def train_size(self) -> int:
        """How many samples there are to learn from."""
        return len(self.train)

    @property
    def test_size(self) -> int:
        """How many samples are held out."""
        return 0 if self.test is None else len(self.test)

    @property
    def step(self) -> int:
        """How many steps are done."""
        return len(self.history)

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.schedule.rate(step)

    @property
    def measure_name(self) -> str:
        """What `Record.measure` is called: "accuracy" or "rmse"."""
        return "rmse" if self.model.classes is None else "accuracy"

    def advance(self) -> Record:
        """Do one step: note what the net shows, then update it.

        Raises NonFiniteError, or DomainError, naming the step and the first node at fault; the weights are then those
        before the step.
        """
        try:
            record = self._advance()
        except (DomainError, NonFiniteError) as error:
            raise type(error)(f"step {self.step}: {error}") from error
        self.history.append(record)
        return record

    def _advance(self) -> Record:
        config, step = self.config, self.step
        indices = data.batch(step, config.batch_size or len(self.train), len(self.train), config.seed)
        outputs = self._outputs(indices)
        loss = self._loss(outputs, indices)
        number = self._number(loss)
        for _, p in self.parameters:
            p.zero_grad()
        loss.backward()
        lr = self.schedule.rate(step)
        measure = self._measure(self._as_scores(outputs), self.train, indices)
        record = Record(step, number, measure, lr, self._judged(step))
        self.optimizer.lr = lr
        self.optimizer.step()  # a gradient or an update that is not finite raises before anything has changed
        return record

    def _outputs(self, indices: Sequence[int]) -> Any:
        """What the net returns for these training samples."""
        return [self.model.net(self.samples[i]) for i in indices]

    def _as_scores(self, outputs: Any) -> list[list[float]]:
        return [as_numbers(output) for output in outputs]

    def _loss(self, outputs: Any, indices: Sequence[int]) -> Any:
        rows = [[z] if self.objective.rows and not isinstance(z, list) else z for z in outputs]
        loss = self.objective.function(rows, [self.targets[i] for i in indices])
        return loss + self.config.l2 * nn.l2([p for _, p in self.parameters]) if self.config.l2 else loss

    def _number(self, loss: Any) -> float:
        """The loss as a number; NonFiniteError when it is none that can be learned from."""
        if not math.isfinite(loss.data):
            raise NonFiniteError(f"the loss is {loss.data}; first at fault is {_culprit(loss)}")
        number: float = loss.data
        return number

    def _judged(self, step: int) -> float:
        every = max(1, self.config.steps // EVALUATIONS)
        return self.evaluate(self.test) if self.test is not None and step % every == 0 else math.nan

    def evaluate(self, part: Dataset) -> float:
        """The measure of the net as it is on a whole part of the data."""
        return self._measure(self.model.scores(part.X), part, range(len(part)))

    def _measure(self, scores: Sequence[Sequence[float]], part: Dataset, indices: Sequence[int]) -> float:
        if self.model.classes is not None:
            return sum(decision(row) == part.y[i] for row, i in zip(scores, indices, strict=True)) / len(indices)
        decided = self.model.decide(scores)
        return math.hypot(*(y - part.y[i] for y, i in zip(decided, indices, strict=True))) / math.sqrt(len(indices))

    def final_record(self) -> Record:
        """What the net shows after the last update, on the whole training part; `lr` is NaN, as no update follows.

        Raises NonFiniteError or DomainError, naming the step, like `advance`.
        """
        try:
            return self._final_record()
        except (DomainError, NonFiniteError) as error:
            raise type(error)(f"step {self.step}: {error}") from error

    def _final_record(self) -> Record:
        everyone = range(len(self.train))
        outputs = self._outputs(everyone)
        loss = self._number(self._loss(outputs, everyone))
        measure = self._measure(self._as_scores(outputs), self.train, everyone)
        return Record(self.step, loss, measure, math.nan, math.nan if self.test is None else self.evaluate(self.test))

    def unfinished(self) -> list[Record]:
        """No record waits for more steps: each step has its own."""
        return []

    def progress(self) -> dict[str, Any]:
        """Where it stands, for JSON, besides weights and history."""
        return {"step": self.step}

    def restore_progress(self, facts: dict[str, Any], history: list[Record]) -> None:
        """Go on from where `progress` was told; ModelFileError when the parts do not fit."""
        if [record.step for record in history] != list(range(facts["step"])):
            raise ModelFileError("its history has gaps")
        self.history = history


class TensorTrainer(Trainer):
    """The same for a net of tensors: a batch is one array, and all numbers are float32.

    >>> from chainrule.train.config import configure
    >>> trainer = TensorTrainer(*configure("lecture", net="tensor"))
    >>> first, second = trainer.advance(), trainer.advance()
    >>> second.loss < first.loss
    True
    """

    engine = "numpy"

    def _prepared(self) -> tuple[Any, Any]:
        whole = self.train.classes is not None and self.objective.rows
        targets = np.array(_coded(self.model, self.train, self.objective), np.int64 if whole else np.float32)
        return as_array(self.model.inputs(self.train.X), len(self.train.columns)), targets

    def _outputs(self, indices: Sequence[int]) -> Any:
        outputs = self.model.net(self.samples[np.asarray(indices)])
        return outputs if self.objective.rows else outputs.reshape(-1)

    def _as_scores(self, outputs: Any) -> list[list[float]]:
        scores: list[list[float]] = outputs.reshape(outputs.shape[0], -1).tolist()
        return scores

    def _loss(self, outputs: Any, indices: Sequence[int]) -> Any:
        if self.objective.tensors is None:
            raise InputError(f"the loss {self.config.loss} is for nets of scalars alone")
        loss = self.objective.tensors(outputs, self.targets[np.asarray(indices)])
        return loss + self.config.l2 * sum((p * p).sum() for _, p in self.parameters) if self.config.l2 else loss

    def _number(self, loss: Any) -> float:
        number = float(loss.item())
        if not math.isfinite(number):
            raise NonFiniteError(f"the loss is {number}")
        return number


def make_trainer(config: Config, points: Dataset) -> Trainer:
    """The trainer for the kind of net that was chosen."""
    return (TensorTrainer if config.net == "tensor" else Trainer)(config, points)


def _fresh_model(config: Config, train: Dataset, fingerprint: str) -> Model:
    sizes = (len(train.columns), *config.hidden, len(train.classes) if train.task == "multiclass" else 1)  # type: ignore[arg-type]
    count = sum((n + 1) * m for n, m in itertools.pairwise(sizes))
    if count > MOST_PARAMETERS:
        raise InputError(
            f"a net of sizes {', '.join(map(str, sizes))} has {count:,} parameters; {MOST_PARAMETERS:,} are the most"
        )
    fit = Standardizer.fit if config.standardize else lambda X, columns: Standardizer.identity(columns)
    unit = Standardizer.identity([train.target])
    return Model(
        net=make_net(sizes, config.activation, config.output_activation, config.seed, kind=config.net),
        sizes=sizes,
        activation=config.activation,
        output_activation=config.output_activation,
        loss=config.loss or "",
        data=train.name,
        columns=train.columns,
        target=train.target,
        classes=train.classes,
        inputs=fit(train.X, train.columns),
        outputs=unit if train.classes else fit([[y] for y in train.y], [train.target]),
        fingerprint=fingerprint,
        kind=config.net,
    )


def _constants(model: Model, part: Dataset) -> list[list[Any]]:
    """The standardised features as nodes, made once; no gradient is wanted for them."""
    return [
        [Value(x, label=f"{column}[{i}]", requires_grad=False) for column, x in zip(part.columns, row, strict=True)]
        for i, row in enumerate(model.inputs(part.X))
    ]


def _coded(model: Model, part: Dataset, objective: Objective) -> list[float]:
    if part.classes is None:
        return [row[0] for row in model.outputs([[y] for y in part.y])]
    return [objective.code(k) for k in part.y]


def _culprit(loss: Any) -> str:
    """The first node, inputs first, whose number is not finite, in words."""
    node = first_non_finite(loss)
    kind = "" if node.op is not None else "the parameter " if node.requires_grad else "the number "
    return kind + described(node)


def _optimizer(config: Config, parameters: list[Any]) -> Any:
    if config.optimizer == "sgd":
        return optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    kind = optim.Adam if config.optimizer == "adam" else optim.AdamW
    return kind(parameters, lr=config.lr, weight_decay=config.weight_decay)
