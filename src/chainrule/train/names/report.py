"""What a run on names says and leaves: `NamesReport`. Imports data, errors, and config, lists, model, trainer beside it, and
pictures, remarks, table beside the package."""

import math
from collections.abc import Iterator
from typing import Any

from chainrule import __version__
from chainrule.errors import RunError
from chainrule.train import pictures
from chainrule.train.names.lists import encode_words, file_of
from chainrule.train.names.trainer import NamesRecord, NamesTrainer
from chainrule.train.remarks import worse_than_a_guess
from chainrule.train.table import row_of

SHOWN = 8  # words that are spelled when a run ends
MOST_LISTED = 40  # characters of an alphabet


class NamesReport:
    """The words and files of a run on names; trainer: what is trained."""

    def __init__(self, trainer: NamesTrainer) -> None:
        self.trainer = trainer

    @property
    def guess(self) -> float:
        """The loss of a fair guess."""
        return math.log(len(self.trainer.model.vocabulary))

    def header(self) -> str:
        """The names of the columns."""
        return ",".join(NamesRecord._fields)

    def row(self, record: NamesRecord) -> str:
        """The numbers of a record; an empty cell for NaN."""
        return row_of(record)

    def progress(self, record: NamesRecord, finished: bool) -> list[str]:
        """The loss, smoothed, and that of the validation part where it was last judged."""
        of = " on all" if finished else ""
        known = not math.isnan(record.validation_loss)
        return [f"loss {record.loss:.3f}{of}", *([f"validation {record.validation_loss:.3f}"] if known else [])]

    def description(self) -> list[str]:
        """The list, the network, and what a guess would cost."""
        trainer, model, config = self.trainer, self.trainer.model, self.trainer.config
        rows = ", ".join(f"{len(y):,} {part}" for part, (_, y) in trainer.rows.items())
        letters = "".join(model.vocabulary.characters)
        shown = letters if len(letters) <= MOST_LISTED else letters[:MOST_LISTED] + "..."
        count = sum(p.size for p in model.net.parameters())
        words = [word for part in trainer.parts.values() for word in part]
        commas = sum("," in word or ";" in word for word in words)
        return [
            f"{model.data}: {len(words):,} words of {len(letters)} different characters ({shown}); rows: {rows}",
            *(["note: most lines have a comma in them; each line is taken as one word"] if 2 * commas > len(words) else []),
            f"MLP of {config.context} characters, embedding {config.embedding}, hidden {config.hidden} with BatchNorm, {count:,} "
            f"parameters, sgd, batch {config.batch_size}, lr {config.lr:g}, from step {math.ceil(config.steps / 2):,} on "
            f"{trainer.rate(config.steps):g}",
            f"a guess among {len(model.vocabulary)} tokens, the characters and the end of a word, has loss {self.guess:.4f}",
        ]

    def result(self, final: NamesRecord) -> list[str]:
        """The losses of all parts, and a few words that the net makes up."""
        trainer = self.trainer
        said = [", ".join(f"{part} loss {loss:.4f}" for part, loss in trainer.model.losses.items())]
        # Weights are drawn so that the loss is about that of a guess.
        said += [f"note: {remark}" for remark in worse_than_a_guess(final.loss, self.guess, self.guess, trainer.config)]
        if final.validation_loss > self.guess > final.loss:
            said.append(
                f"note: on words that it has not seen it does worse than a guess (loss {self.guess:.4f}): it knows its "
                f"{len(trainer.parts['training'])} training words by heart; a longer list helps, or fewer --steps"
            )
        known = frozenset(word for part in trainer.parts.values() for word in part)
        try:
            words = trainer.model.sample(SHOWN, seed=trainer.config.seed, new=known)
        except RunError:  # a tiny list, learned by heart
            return said
        return [*said, f"it makes up: {', '.join(words)}"]

    def settings(self) -> dict[str, Any]:
        """Every choice of the run."""
        used = self.trainer.config.as_dict()
        about = {"chainrule": __version__, "engine": self.trainer.engine}
        return about | {name: x for name, x in used.items() if x is not None} | {"compile": self.trainer.config.compile}

    def first_files(self) -> Iterator[tuple[str, bytes]]:
        """The words of the three parts."""
        for part, words in self.trainer.parts.items():
            yield file_of(part), encode_words(words)

    def last_names(self) -> list[str]:
        """All of the files of `last_files`."""
        return ["model.safetensors", "loss.png", "embedding.png"]

    def last_files(self, records: list[NamesRecord], final: NamesRecord) -> Iterator[tuple[str, bytes] | str]:
        """The model and its pictures."""
        trainer, model = self.trainer, self.trainer.model
        yield "model.safetensors", model.encode()
        yield "loss.png", pictures.spelling_curve(records, model.data, window=trainer.config.window, guess=self.guess)
        characters = model.vocabulary.characters
        yield "embedding.png", pictures.embedding(model.net[0].weight.data, characters, model.data)
        yield from pictures.embedding_remarks(characters)
