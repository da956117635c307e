"""The training loop on tables, one step at a time: `Trainer` for nets of scalars, `TensorTrainer` for nets of tensors.

A step is: take a batch, score it, compute the loss, go backward, update. What a step does depends on the settings, the
data, the step's number and the state (weights and optimiser) alone. So a run that was interrupted, and goes on from a
saved state, gives the numbers of one that was not. Where the settings say so, steps are taken by a program that is made of
the same net and loss (compiling.py); the finished net, and held-out samples, are judged by the plain engine always.

Imports data, nn, optim, check, engine, native, errors, and compiling, config, model, objectives beside it.
"""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from chainrule import data, native, nn, optim
from chainrule.check.nodes import described, first_non_finite
from chainrule.data import Dataset, Standardizer
from chainrule.engine import Value
from chainrule.errors import DomainError, InputError, ModelFileError, NonFiniteError
from chainrule.train.compiling import CompiledStep
from chainrule.train.config import Config
from chainrule.train.model import Model, as_array, as_numbers, decisions, make_net
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
        self.truth = np.array(self.train.y)
        self.compiled = self._compiled() if config.compile else None
        self.history: list[Record] = []

    def _prepared(self) -> tuple[Any, Any]:
        """The training samples and their targets as the net and the loss take them."""
        return _constants(self.model, self.train), _coded(self.model, self.train, self.objective)

    def _compiled(self) -> CompiledStep:
        self.arrays = self._as_arrays()

        def loss(samples: Any, targets: Any) -> Any:
            outputs = self._outputs(samples)
            return self._loss(outputs, targets), outputs

        return CompiledStep(loss, [p for _, p in self.parameters], self.optimizer)

    def _as_arrays(self) -> tuple[Any, Any]:
        """The training samples and their targets as a program takes them."""
        return np.array(self.model.inputs(self.train.X)), np.array(self.targets, self._target_type(np.float64))

    def _target_type(self, real: Any) -> Any:
        """Whole numbers where targets are indices of rows of scores."""
        return np.int64 if self.train.classes is not None and self.objective.rows else real

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
    def guess(self) -> float:
        """The loss of a fair guess among the classes, or for a regression of the mean."""
        classes = self.model.classes
        return float(np.var(self.targets)) if classes is None else self.objective.guess(len(classes))

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
        lr, judged = self.schedule.rate(step), self._judged(step)
        rows = slice(None) if len(indices) == len(self.train) else np.array(indices)
        found = None if self.compiled is None else self.compiled(lr, *(x[rows] for x in self.arrays))
        number, scores = self._updated(indices, lr) if found is None else found
        return Record(step, number, self._measure(scores.reshape(len(indices), -1), self.truth[rows]), lr, judged)

    def _updated(self, indices: list[int], lr: float) -> tuple[float, Any]:
        """The loss and the scores of a batch, and the update, by the plain engine."""
        samples, targets = self._batch(indices)
        outputs = self._outputs(samples)
        loss = self._loss(outputs, targets)
        number, scores = self._number(loss), self._as_scores(outputs)
        for _, p in self.parameters:
            p.zero_grad()
        loss.backward()
        self.optimizer.lr = lr
        self.optimizer.step()  # a gradient or an update that is not finite raises before anything has changed
        return number, scores

    def _batch(self, indices: list[int]) -> tuple[Any, Any]:
        """These training samples and their targets."""
        return [self.samples[i] for i in indices], [self.targets[i] for i in indices]

    def _outputs(self, samples: Any) -> Any:
        """What the net returns for samples."""
        return [self.model.net(row) for row in samples]

    def _as_scores(self, outputs: Any) -> Any:
        return np.array([as_numbers(output) for output in outputs])

    def _loss(self, outputs: Any, targets: Any) -> Any:
        """The loss that is trained."""
        rows = [[z] if self.objective.rows and not isinstance(z, list) else z for z in outputs]
        loss = self.objective.function(rows, targets)
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
        return self._measure(np.array(self.model.scores(part.X)), np.array(part.y))

    def _measure(self, scores: Any, truth: Any) -> float:
        """Of rows of scores, given the targets as the data have them."""
        if self.model.classes is not None:
            return int(np.count_nonzero(decisions(scores) == truth)) / len(truth)
        return math.hypot(*(self.model.decide(scores.tolist()) - truth).tolist()) / math.sqrt(len(truth))

    def final_record(self) -> Record:
        """What the net shows after the last update, on the whole training part; `lr` is NaN, as no update follows.

        Raises NonFiniteError or DomainError, naming the step, like `advance`.
        """
        try:
            return self._final_record()
        except (DomainError, NonFiniteError) as error:
            raise type(error)(f"step {self.step}: {error}") from error

    def _final_record(self) -> Record:
        samples, targets = self._batch(list(range(len(self.train))))
        outputs = self._outputs(samples)
        loss = self._number(self._loss(outputs, targets))
        measure = self._measure(self._as_scores(outputs), self.truth)
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
        targets = np.array(_coded(self.model, self.train, self.objective), self._target_type(np.float32))
        return as_array(self.model.inputs(self.train.X), len(self.train.columns)), targets

    def _as_arrays(self) -> tuple[Any, Any]:
        return self.samples, self.targets

    def _batch(self, indices: list[int]) -> tuple[Any, Any]:
        return self.samples[indices], self.targets[indices]

    def _outputs(self, samples: Any) -> Any:
        outputs = self.model.net(samples)
        return outputs if self.objective.rows else outputs.reshape(-1)

    def _as_scores(self, outputs: Any) -> Any:
        return outputs.data.reshape(outputs.shape[0], -1)

    def _loss(self, outputs: Any, targets: Any) -> Any:
        if self.objective.tensors is None:
            raise InputError(f"the loss {self.config.loss} is for nets of scalars alone")
        loss = self.objective.tensors(outputs, targets)
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
