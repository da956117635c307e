"""A trained net with all that is needed to use it: architecture, classes, standardisation; one safetensors file.

    model = Model.load("runs/moons-001/model.safetensors")
    model.predict([[0.5, 0.2]])

Imports data, nn, tensor, engine, errors, and objectives, tensorfile beside it.
"""

import dataclasses
import itertools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.data import Standardizer
from chainrule.engine import as_number, no_grad
from chainrule.errors import ChainruleError, InputError, ModelFileError, NotANumberError
from chainrule.nn import modelfile
from chainrule.nn.perceptron import ACTIVATIONS
from chainrule.train import tensorfile
from chainrule.train.objectives import OBJECTIVES

CHUNK = 4096


@dataclass(frozen=True)
class Model:
    """A net and what it stands for.

    net: over standardised features: an MLP of scalars, or a Sequential of tensors.
    sizes, activation, output_activation: its architecture; sizes[0] is the number of features.
    loss: what it was trained with. data: the name of what it was trained on.
    columns, target: the names of the features and of what is predicted. classes: their names; None for a regression.
    inputs, outputs: the standardisation of features, and of the target of a regression.
    fingerprint: of all the data of the run, held out or not; "" where it is not known.
    kind: what the net is made of, "scalar" or "tensor".
    """

    net: Any
    sizes: tuple[int, ...]
    activation: str
    output_activation: str
    loss: str
    data: str
    columns: tuple[str, ...]
    target: str
    classes: tuple[str, ...] | None
    inputs: Standardizer
    outputs: Standardizer
    fingerprint: str = ""
    kind: str = "scalar"

    def scores(self, X: Sequence[Sequence[float]]) -> list[list[float]]:
        """What the net says about each row of X (as in the data, not standardised): one list of outputs per row.

        Raises InputError for rows that are not `columns` long or hold what is no finite number.
        """
        rows = self._checked(X)
        with no_grad():
            if self.kind == "tensor":
                return score_tensors(self.net, as_array(self.inputs(rows), len(self.columns)))
            return [as_numbers(self.net(row)) for row in self.inputs(rows)]

    def _checked(self, X: Any) -> list[list[float]]:
        wanted = f"one number each for {', '.join(self.columns)}"
        if isinstance(X, str) or not isinstance(X, Iterable):
            raise InputError(f"X is a list of rows with {wanted}, not {type(X).__name__}")
        return [self._row(i, row, wanted) for i, row in enumerate(X)]

    def _row(self, i: int, row: Any, wanted: str) -> list[float]:
        if isinstance(row, str) or not isinstance(row, Iterable):
            raise InputError(f"row {i} is a list with {wanted}, not {row!r}")
        cells = list(row)
        if len(cells) != len(self.columns):
            raise InputError(f"row {i} has {len(cells)} number{'s' * (len(cells) != 1)}; the model wants {wanted}")
        try:
            numbers = [as_number(x) for x in cells]
        except NotANumberError as error:
            raise InputError(f"row {i}: {error}") from None
        bad = next((k for k, x in enumerate(numbers) if not math.isfinite(x)), None)
        if bad is not None:
            raise InputError(f"row {i}, column {self.columns[bad]!r}: {numbers[bad]} is not a finite number")
        return numbers

    def decide(self, scores: Sequence[Sequence[float]]) -> list[float]:
        """Class numbers, or the predicted numbers of a regression, of rows of scores."""
        if self.classes is None:
            return [row[0] for row in self.outputs.inverse(scores)]
        return [decision(row) for row in scores]

    def predict(self, X: Sequence[Sequence[float]]) -> list[Any]:
        """The class name, or the number, for each row of X; raises what `scores` raises."""
        decided = self.decide(self.scores(X))
        return decided if self.classes is None else [self.classes[int(k)] for k in decided]

    def probabilities(self, scores: Sequence[Sequence[float]]) -> list[list[float]] | None:
        """One probability per class for rows of scores; None when the loss gives scores no such meaning."""
        if self.loss not in OBJECTIVES or not OBJECTIVES[self.loss].logits:
            return None
        rows = [[-row[0] / 2, row[0] / 2] if len(row) == 1 else row for row in scores]  # sigmoid is a softmax of two
        with no_grad():
            return [as_numbers(nn.softmax(row)) for row in rows]

    def facts(self) -> dict[str, Any]:
        """All but the weights, for JSON; `kind` where it is not "scalar", as files were before there was a choice."""
        made_of = {} if self.kind == "scalar" else {"kind": self.kind}
        return made_of | {
            "sizes": list(self.sizes),
            "activation": self.activation,
            "output_activation": self.output_activation,
            "loss": self.loss,
            "data": self.data,
            "columns": list(self.columns),
            "target": self.target,
            "classes": None if self.classes is None else list(self.classes),
            "inputs": self.inputs.as_dict(),
            "outputs": self.outputs.as_dict(),
            "fingerprint": self.fingerprint,
        }

    def encode(self) -> bytes:
        """The content of model.safetensors."""
        return tensorfile.encode("model", {"model": self.facts()}, modelfile.fold(self.net.state_dict()))

    @classmethod
    def load(cls, path: str | Path) -> "Model":
        """The model of a file, or of a run folder.

        Raises ModelFileError for a file that is missing, truncated, foreign, or whose weights do not fit its architecture.
        """
        path, facts, tensors = tensorfile.read_model(Path(path))
        if facts.get("task") == "names":
            where = path.parent if path.name == tensorfile.MODEL else path
            raise ModelFileError(f"{where} is a run of names, which spells and does not predict; use: chainrule sample {where}")
        return cls.build(path, facts, tensors)

    @classmethod
    def build(cls, path: Path, facts: Any, tensors: tensorfile.Tensors) -> "Model":
        """The model of these facts and weights; ModelFileError, naming `path`, when they do not fit together."""
        try:
            facts = _complete(facts)
            facts["inputs"], facts["outputs"] = Standardizer(**facts["inputs"]), Standardizer(**facts["outputs"])
            for name in ("sizes", "columns"):
                facts[name] = tuple(facts[name])
            facts["classes"] = None if facts["classes"] is None else tuple(facts["classes"])
            sizes = facts["sizes"]
            if sum((n + 1) * m for n, m in itertools.pairwise(sizes)) != sum(x.size for x in tensors.values()):
                raise ModelFileError(
                    f"it holds {sum(x.size for x in tensors.values())} weights, which do not make a net of {sizes}"
                )
            net = make_net(sizes, facts["activation"], facts["output_activation"], kind=facts.get("kind", "scalar"))
            model = cls(net=net, **facts)
            if not len(model.columns) == len(model.inputs.mean) == sizes[0]:
                raise ModelFileError("columns and inputs differ in number")
        except ChainruleError as error:
            raise ModelFileError(f"{path}: the description of the model cannot be read: {error}") from None
        except (KeyError, TypeError, ValueError):
            raise ModelFileError(f"{path}: the description of the model cannot be read: a part of it is malformed") from None
        load_weights(path, model.net, tensors)
        return model


def _complete(facts: Any) -> dict[str, Any]:
    """A copy of a model's facts; ModelFileError naming what is missing or unknown."""
    known = {field.name: field.default is not dataclasses.MISSING for field in dataclasses.fields(Model) if field.name != "net"}
    if not isinstance(facts, dict):
        raise ModelFileError("it is missing")
    wrong = next((name for name, optional in known.items() if name not in facts and not optional), None)
    if wrong is not None:
        raise ModelFileError(f"it does not tell the model's {wrong}")
    wrong = next((name for name in facts if name not in known), None)
    if wrong is not None:
        raise ModelFileError(f"it tells {wrong!r}, which this chainrule does not know")
    return dict(facts)


def make_net(sizes: Sequence[int], activation: str, output_activation: str, seed: int = 0, *, kind: str = "scalar") -> Any:
    """The net of that architecture: of scalars with the weights that `random.seed(seed)` gives (`random` itself is put back
    after), of tensors with those that NumPy's generator of that seed gives."""
    if kind == "tensor":
        return make_tensor_net(sizes, activation, output_activation, seed)
    if kind != "scalar":
        raise ModelFileError(f"a net is made of scalars or of tensors, not of {kind!r}")
    state = random.getstate()
    random.seed(seed)
    try:
        return nn.MLP(sizes[0], list(sizes[1:]), activation=activation, output_activation=output_activation)
    finally:
        random.setstate(state)


_LAYERS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def make_tensor_net(
    sizes: Sequence[int], activation: str, output_activation: str, seed: int = 0, dtype: Any = "float32"
) -> nn.Sequential:
    """The same of tensors, with numbers of that type."""
    generator = np.random.default_rng(seed)
    layers: list[Any] = []
    for i, (n, m) in enumerate(itertools.pairwise(sizes), 2):
        layers.append(nn.Linear(n, m, dtype=dtype, generator=generator))
        name = output_activation if i == len(sizes) else activation
        if name not in ACTIVATIONS:
            raise ModelFileError(f"there is no activation {name!r}")
        layers += [_LAYERS[name]()] if name in _LAYERS else []
    return nn.Sequential(*layers)


def load_weights(path: Path, net: Any, tensors: tensorfile.Tensors) -> None:
    """Put weights into a net; ModelFileError when they belong to another architecture or are not finite."""
    try:
        state = modelfile.unfold(tensors)
        bad = next((name for name, x in state.items() if not np.isfinite(x).all()), None)
        if bad is None:
            net.load_state_dict(state)
            return
    except (ModelFileError, TypeError) as error:
        raise ModelFileError(f"{path} belongs to another architecture: {error}") from None
    raise ModelFileError(f"{path}: the parameter {bad} is {state[bad] if np.ndim(state[bad]) == 0 else 'not finite'}")


def as_array(rows: Any, width: int) -> Any:
    """Rows of numbers as a net of tensors takes them: float32, shape (rows, width)."""
    return np.array(rows, np.float32).reshape(-1, width)


def score_tensors(net: Any, x: Any) -> list[list[float]]:
    """The outputs of a net of tensors for rows of inputs, CHUNK rows at a time, so that memory stays small."""
    scores: list[list[float]] = []
    for begin in range(0, len(x), CHUNK):
        scores += net(x[begin : begin + CHUNK]).tolist()
    return scores


def as_numbers(output: Any) -> list[float]:
    """What a net returned, as a list of floats."""
    return [z.data for z in (output if isinstance(output, list) else [output])]


def decisions(scores: Any) -> Any:
    """The class of each row of an array of scores, as `decision` has it."""
    return scores[:, 0] > 0 if scores.shape[1] == 1 else scores.argmax(axis=1)


def decision(scores: Sequence[float]) -> int:
    """The class of a row of scores: the largest; of a single score, class 1 above zero and class 0 otherwise."""
    if len(scores) == 1:
        return int(scores[0] > 0)
    return max(range(len(scores)), key=scores.__getitem__)
