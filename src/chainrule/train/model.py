"""A trained net with all that is needed to use it: architecture, classes, standardisation; one safetensors file.

    model = Model.load("runs/moons-001/model.safetensors")
    model.predict([[0.5, 0.2]])

Imports data, nn, engine, errors, and objectives, tensorfile beside it.
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainrule import nn
from chainrule.data import Standardizer
from chainrule.engine import no_grad
from chainrule.errors import ChainruleError, ModelFileError
from chainrule.nn import modelfile
from chainrule.train import tensorfile
from chainrule.train.objectives import OBJECTIVES


@dataclass(frozen=True)
class Model:
    """A net and what it stands for.

    net: an MLP over standardised features.
    sizes, activation, output_activation: its architecture; sizes[0] is the number of features.
    loss: what it was trained with. data: the name of what it was trained on.
    columns, target: the names of the features and of what is predicted. classes: their names; None for a regression.
    inputs, outputs: the standardisation of features, and of the target of a regression.
    """

    net: nn.MLP
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

    def scores(self, X: Sequence[Sequence[float]]) -> list[list[float]]:
        """What the net says about each row of X (as in the data, not standardised): one list of outputs per row."""
        with no_grad():
            return [as_numbers(self.net(row)) for row in self.inputs(X)]

    def decide(self, scores: Sequence[Sequence[float]]) -> list[float]:
        """Class numbers, or the predicted numbers of a regression, of rows of scores."""
        if self.classes is None:
            return [row[0] for row in self.outputs.inverse(scores)]
        return [decision(row) for row in scores]

    def predict(self, X: Sequence[Sequence[float]]) -> list[Any]:
        """The class name, or the number, for each row of X."""
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
        """All but the weights, for JSON."""
        return {
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
        }

    def encode(self) -> bytes:
        """The content of model.safetensors."""
        return tensorfile.encode("model", {"model": self.facts()}, modelfile.fold(self.net.state_dict()))

    @classmethod
    def load(cls, path: str | Path) -> "Model":
        """The model of a file, or of a run folder.

        Raises ModelFileError for a file that is missing, truncated, foreign, or whose weights do not fit its architecture.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "model.safetensors"
            if not path.exists() and path.with_name("checkpoint.safetensors").exists():
                raise ModelFileError(
                    f"the run {path.parent} is not finished; finish it with: chainrule train --resume {path.parent}"
                )
        facts, tensors = tensorfile.read(path, "model")
        return cls.build(path, facts.get("model"), tensors)

    @classmethod
    def build(cls, path: Path, facts: Any, tensors: tensorfile.Tensors) -> "Model":
        """The model of these facts and weights; ModelFileError, naming `path`, when they do not fit together."""
        try:
            facts = dict(facts)
            facts["inputs"], facts["outputs"] = Standardizer(**facts["inputs"]), Standardizer(**facts["outputs"])
            for name in ("sizes", "columns"):
                facts[name] = tuple(facts[name])
            facts["classes"] = None if facts["classes"] is None else tuple(facts["classes"])
            sizes = facts["sizes"]
            if sum((n + 1) * m for n, m in itertools.pairwise(sizes)) != sum(x.size for x in tensors.values()):
                raise ModelFileError(
                    f"it holds {sum(x.size for x in tensors.values())} weights, which do not make a net of {sizes}"
                )
            model = cls(net=make_net(sizes, facts["activation"], facts["output_activation"]), **facts)
            if not len(model.columns) == len(model.inputs.mean) == sizes[0]:
                raise ModelFileError("columns and inputs differ in number")
        except (ChainruleError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{path}: the description of the model cannot be read: {error}") from None
        load_weights(path, model.net, tensors)
        return model


def make_net(sizes: Sequence[int], activation: str, output_activation: str, seed: int = 0) -> nn.MLP:
    """The MLP of that architecture, with the weights that `random.seed(seed)` gives; `random` itself is put back after."""
    state = random.getstate()
    random.seed(seed)
    try:
        return nn.MLP(sizes[0], list(sizes[1:]), activation=activation, output_activation=output_activation)
    finally:
        random.setstate(state)


def load_weights(path: Path, net: nn.MLP, tensors: tensorfile.Tensors) -> None:
    """Put weights into a net; ModelFileError when they belong to another architecture or are not finite."""
    try:
        state = modelfile.unfold(tensors)
        bad = next((name for name, x in state.items() if not math.isfinite(x)), None)
        if bad is None:
            net.load_state_dict(state)
            return
    except (ModelFileError, TypeError) as error:
        raise ModelFileError(f"{path} belongs to another architecture: {error}") from None
    raise ModelFileError(f"{path}: the parameter {bad} is {state[bad]}")


def as_numbers(output: Any) -> list[float]:
    """What a net returned, as a list of floats."""
    return [z.data for z in (output if isinstance(output, list) else [output])]


def decision(scores: Sequence[float]) -> int:
    """The class of a row of scores: the largest; of a single score, class 1 above zero and class 0 otherwise."""
    if len(scores) == 1:
        return int(scores[0] > 0)
    return max(range(len(scores)), key=scores.__getitem__)
