"""The network that spells, with all that is needed to let it spell: vocabulary, context, weights; one safetensors file.

    model = NamesModel.load("runs/names-001")
    model.sample(20, seed=1)

The network is the lecture's: the characters before, each as an embedding, side by side; a linear layer, BatchNorm, tanh; a
linear layer to one number per character; by default 12,297 parameters for 26 letters. Its weights start so that the
first loss is near log(number of characters), that of a fair guess: hidden sums keep their variance (gain 5/3 for tanh), and
the last layer starts small.

Imports data, nn, engine, errors, and tensorfile beside the package.
"""

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import data, nn
from chainrule.data.words import LONGEST_WORD
from chainrule.engine import no_grad
from chainrule.errors import ChainruleError, InputError, ModelFileError, RunError
from chainrule.nn import functional as F
from chainrule.nn import modelfile
from chainrule.train import tensorfile

Array = npt.NDArray[Any]

PARTS = ("training", "validation", "test")
"""The parts of the list, and of the losses: 80, 10 and 10 %."""
LAST_LAYER = 0.01  # standard deviation of the last weights at the start
MOST_PARAMETERS = 100_000_000
TOGETHER = 64  # words are spelled side by side; always as many, so that asking for more only adds to them
TRIES_PER_WORD, LEAST_TRIES = 200, 20_000


def make_net(size: int, context: int, embedding: int, hidden: int, seed: int = 0) -> nn.Sequential:
    """The network for a vocabulary of `size` tokens, float32, with weights drawn from the seed.

    >>> sum(p.size for p in make_net(27, 3, 10, 200).parameters())
    12297
    """
    count = size * embedding + (context * embedding + 3) * hidden + (hidden + 1) * size
    if count > MOST_PARAMETERS:
        raise InputError(f"a network of these sizes has {count:,} parameters; {MOST_PARAMETERS:,} are the most")
    generator = np.random.default_rng(seed)
    net = nn.Sequential(
        nn.Embedding(size, embedding, generator=generator),
        nn.Flatten(),
        nn.Linear(context * embedding, hidden, generator=generator),
        # The running statistics judge the validation part on the way; at the end they are calibrated.
        nn.BatchNorm1d(hidden, momentum=0.01),
        nn.Tanh(),
        nn.Linear(hidden, size, generator=generator),
    )
    nn.init.kaiming_normal_(net[2].weight, nonlinearity="tanh", generator=generator)
    nn.init.normal_(net[5].weight, 0.0, LAST_LAYER, generator=generator)
    for layer in (net[2], net[5]):
        nn.init.zeros_(layer.bias)
    return net


class TooFewWordsError(RunError):
    """A net made up fewer new words than were asked for; `words` are those."""

    def __init__(self, message: str, words: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.words = list(words)


@dataclass(frozen=True)
class NamesModel:
    """A network that tells the next character, and its alphabet.

    net: as `make_net` makes it. vocabulary: its tokens. context, embedding, hidden: its sizes.
    data: the name of the list it was trained on. fingerprint: of that list. seed: of its split.
    losses: the mean cross-entropy on the parts of the list, by PARTS; empty before the end of the training.
    """

    net: Any
    vocabulary: data.Vocabulary
    context: int
    embedding: int
    hidden: int
    data: str
    fingerprint: str
    seed: int
    losses: dict[str, float] = field(default_factory=dict)

    def sample(
        self, count: int = 20, *, temperature: float = 1.0, seed: int | None = None, new: Collection[str] | None = None
    ) -> list[str]:
        """Words that the network makes up, character by character, each until it tells a boundary.

        count: how many, at least 1.
        temperature: above 0; below 1 the likely becomes likelier, above 1 all becomes more alike. At 0 every word would be the
            same one, so it is refused.
        seed: the same words for the same seed, and with a larger count the same ones first; None draws anew.
        new: words that are not to come; then none comes twice either. `words_of_run` (lists.py) gives those of a run.

        A word of LONGEST_WORD characters ends there. Raises InputError for an argument out of range, TooFewWordsError, a
        RunError that has those that were found, when too few words are new after 200 tries for each.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"the number of words must be a whole number of at least 1, not {count!r}")
        words = self.words(temperature, seed)
        if isinstance(new, (str, bytes)) or not (new is None or isinstance(new, Collection)):
            raise InputError(
                f"new holds the words that are not to come, as words_of_run(run, model) gives them; it is not {new!r}"
            )
        if new is None:
            return list(itertools.islice(words, count))
        tries = max(TRIES_PER_WORD * count, LEAST_TRIES)
        found: dict[str, None] = {}
        for word in itertools.islice(words, tries):
            if word not in new:
                found[word] = None
                if len(found) == count:
                    return list(found)
        raise TooFewWordsError(
            f"{count - len(found)} of {count} words are wanting, as only {len(found)} of {tries:,} words were new and different: "
            "the net repeats its list; ask for fewer, or with a higher temperature",
            list(found),
        )

    def words(self, temperature: float = 1.0, seed: int | None = None) -> Iterator[str]:
        """Words without end; the arguments are those of `sample`."""
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 < temperature < math.inf:
            raise InputError(f"the temperature must be a finite number above 0, not {temperature!r}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
            raise InputError(f"a seed is a whole number of at least 0, not {seed!r}")
        return self._words(float(temperature), np.random.default_rng(seed))

    def _words(self, temperature: float, generator: np.random.Generator) -> Iterator[str]:
        while True:
            yield from self.spell(temperature, generator)

    def spell(
        self, temperature: float, generator: np.random.Generator, count: int = TOGETHER, most: int = LONGEST_WORD
    ) -> list[str]:
        """`count` words, spelled side by side, each of `most` characters at most."""
        spelled = self._spell(temperature, generator, count, most)
        return [self.vocabulary.decode(row[: _length(row)]) for row in spelled.tolist()]

    def _spell(
        self, temperature: float, generator: np.random.Generator, count: int = TOGETHER, most: int = LONGEST_WORD
    ) -> Array:
        """Words as rows of tokens, filled up with boundaries."""
        tokens = np.zeros((count, self.context + most), np.int64)
        going = np.arange(count)
        for place in range(self.context, tokens.shape[1]):
            before = tokens[going, place - self.context : place]
            limits = np.cumsum(self.probabilities(before, temperature, first=place == self.context), axis=1)
            # Below the end also where that is not quite 1: `random` is below 1 by more than the rounding of the product.
            drawn = generator.random((count, 1))[going] * limits[:, -1:]
            tokens[going, place] = (limits > drawn).argmax(axis=1)
            going = going[tokens[going, place] != 0]
            if not going.size:
                break
        return tokens[:, self.context :]

    def probabilities(self, contexts: Any, temperature: float = 1.0, *, first: bool = False) -> Array:
        """The probability of each token after each row of `context` tokens: shape (rows, tokens), float64.

        first: whether it is the first of a word, which is no boundary, as no word is empty.
        """
        z = self.logits(contexts).astype(np.float64)
        if first:
            z[:, 0] = -np.inf
        with np.errstate(over="ignore"):  # a temperature near 0 leaves the likeliest alone
            powers = np.exp((z - z.max(axis=1, keepdims=True)) / temperature)
        shares: Array = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def logits(self, contexts: Any) -> Array:
        """What the network tells after each row of `context` tokens, in evaluation mode: shape (rows, tokens)."""
        training = self.net.training
        if training:  # switching takes longer than a few rows
            self.net.eval()
        try:
            with no_grad():
                logits: Array = self.net(np.asarray(contexts)).data
                return logits
        finally:
            if training:
                self.net.train()

    def loss(self, X: Array, y: Array) -> float:
        """The mean cross-entropy, in evaluation mode, of context windows: X of shape (rows, context), y of (rows,)."""
        total = 0.0
        for begin in range(0, len(X), CHUNK):
            part = slice(begin, begin + CHUNK)
            total += F.cross_entropy(self.logits(X[part]).astype(np.float64), y[part], "sum").item()
        return total / len(X)

    def calibrate(self, X: Array, chunk: int = 0) -> None:
        """Set the statistics of BatchNorm to those of these rows, as `nn.calibrate` does, but CHUNK, or `chunk`, at a time."""
        layer = self.net[3]
        with no_grad():
            size = chunk or CHUNK
            chunks = [X[begin : begin + size] for begin in range(0, len(X), size)]
            # Two passes: one would have to subtract large numbers that are nearly the same.
            mean = sum(self._before_norm(chunk).sum(axis=0) for chunk in chunks) / len(X)
            squares = sum(((self._before_norm(chunk) - mean) ** 2).sum(axis=0) for chunk in chunks)
        layer.running_mean.data, layer.running_var.data = mean, squares / max(1, len(X) - layer.unbiased)

    def _before_norm(self, X: Array) -> Any:
        x: Any = X
        for i in range(3):
            x = self.net[i](x)
        return x.data.astype(np.float64)

    def facts(self) -> dict[str, Any]:
        """All but the weights, for JSON."""
        return {
            "task": "names",
            "context": self.context,
            "embedding": self.embedding,
            "hidden": self.hidden,
            "characters": "".join(self.vocabulary.characters),
            "data": self.data,
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "losses": self.losses,
        }

    def encode(self) -> bytes:
        """The content of model.safetensors."""
        return tensorfile.encode("model", {"model": self.facts()}, modelfile.fold(self.net.state_dict()))

    @classmethod
    def load(cls, path: str | Path) -> "NamesModel":
        """The model of a file, or of a run folder.

        Raises ModelFileError for a file that is missing, truncated, of a run of another kind, or does not hold together.
        """
        path, facts, tensors = tensorfile.read_model(Path(path))
        if facts.get("task") != "names":
            where = path.parent if path.name == tensorfile.MODEL else path
            on = f" on {facts['data']}" if isinstance(facts.get("data"), str) else " on a table"
            raise ModelFileError(f"{where} is a run{on}, which predicts and does not spell; use: chainrule predict {where} FILE")
        try:
            sizes = {name: facts[name] for name in ("context", "embedding", "hidden")}
            vocabulary = data.Vocabulary(tuple(facts["characters"]))
            losses = {name: float(facts["losses"][name]) for name in PARTS if name in facts["losses"]}
            net = make_net(len(vocabulary), **sizes)
            state = modelfile.unfold(tensors)
            if not all(np.isfinite(x).all() for x in state.values()):
                raise ModelFileError("a weight is not finite")
            net.load_state_dict(state)
            about = {name: facts[name] for name in ("data", "fingerprint", "seed")}
            return cls(net, vocabulary, **sizes, **about, losses=losses)
        except ChainruleError as error:
            raise ModelFileError(f"{path}: the model does not hold together: {error}") from None
        except (KeyError, TypeError, ValueError):
            raise ModelFileError(f"{path}: the description of the model cannot be read: a part of it is malformed") from None


CHUNK = 8192


def _length(row: list[int]) -> int:
    return row.index(0) if 0 in row else len(row)
