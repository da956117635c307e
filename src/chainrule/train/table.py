"""What a run on a table says and leaves: `TableReport`. Imports data, native, errors, and loop, pictures, progress, remarks."""

import csv
import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule import __version__, data
from chainrule.train import pictures
from chainrule.train.loop import Record, Trainer
from chainrule.train.progress import measure_in_words
from chainrule.train.remarks import remarks, worse_than_a_guess


class TableReport:
    """The words and files of a run on a table; trainer: what is trained."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.words = RecordInWords(trainer.measure_name, self.batches)

    @property
    def batches(self) -> bool:
        """Whether a step sees a part of the training samples only."""
        return (self.trainer.config.batch_size or math.inf) < len(self.trainer.train)

    # ---- metrics.csv

    def header(self) -> str:
        """The names of the columns; that of the held-out part where there is one."""
        name = self.trainer.measure_name
        return f"step,loss,{name},lr" + (f",test_{name}" if self.trainer.test is not None else "")

    def row(self, record: Record) -> str:
        """The numbers of a record; an empty cell for NaN."""
        return row_of(record if self.trainer.test is not None else record[:-1])

    # ---- words

    def progress(self, record: Record, finished: bool) -> list[str]:
        """Loss and measure."""
        return self.words(record, finished)

    def description(self) -> list[str]:
        """The data, what is odd about them, the net and its training."""
        config, model, trainer = self.trainer.config, self.trainer.model, self.trainer
        held_out = f", {len(trainer.test)} held out" if trainer.test else ""
        what = f"classes {_listed(model.classes, quoted=True)}" if model.classes else f"target {model.target}"
        sizes = ", ".join(map(str, model.sizes[1:]))
        made_of = " of tensors" if model.kind == "tensor" else ""
        count = sum(p.size if model.kind == "tensor" else 1 for _, p in trainer.parameters)
        return [
            f"{model.data}: {len(trainer.train)} training samples{held_out}, {_listed(model.columns)}; {what}",
            *(f"note: {remark}" for remark in remarks(trainer)),
            f"MLP({model.sizes[0]}, [{sizes}]){made_of}, {count:,} parameters, {config.loss} loss, {config.optimizer}, "
            f"lr {config.lr:g}",
        ]

    def result(self, final: Record) -> list[str]:
        """The measures of both parts, and what is odd about them."""
        trainer = self.trainer
        said = [self._measured("training", final.measure, len(trainer.train)) + f", loss {final.loss:.4g}"]
        if trainer.test is not None and not math.isnan(final.test_measure):
            said.append(self._measured("held-out", final.test_measure, len(trainer.test)))
        # A penalty is a part of the loss, but not of that of a guess; where it has blown up, nothing else is left of the loss.
        penalty = trainer.config.l2 * sum(float(np.sum(np.square(p.data))) for _, p in trainer.parameters)
        drawn = trainer.history[0].loss
        loss = final.loss if penalty > 10 * max(trainer.guess, drawn) else final.loss - penalty
        worse = worse_than_a_guess(loss, trainer.guess, drawn, trainer.config)
        return [*said, *(f"note: {remark}" for remark in worse)]

    def _measured(self, part: str, measure: float, size: int) -> str:
        name = self.trainer.measure_name
        count = f"{round(measure * size)} of {size}" if name == "accuracy" else f"all {size} samples"
        return f"{part} {measure_in_words(name, measure)} ({count})"

    # ---- files

    def settings(self) -> dict[str, Any]:
        """Every choice of the run as it turned out, those made by the data included; what does not apply is left out."""
        trainer, config, part = self.trainer, self.trainer.config, self.trainer.train
        found = {
            "target": part.target,
            "columns": list(part.columns),
            "task": "regression" if part.classes is None else "classification",
            "samples": len(part) + (len(trainer.test) if trainer.test else 0),
            "noise": data.default_noise(config.data),
            "batch_size": len(part),
        }
        used = {name: found.get(name) if x is None else x for name, x in config.as_dict().items()}
        about = {"chainrule": __version__, "engine": trainer.engine}
        return about | {name: x for name, x in used.items() if x is not None} | {"compile": config.compile}

    def first_files(self) -> Iterator[tuple[str, bytes]]:
        """heldout.csv: the samples that are not trained on."""
        if self.trainer.test is not None:
            yield "heldout.csv", _as_csv(self.trainer.test).encode()

    def last_names(self) -> list[str]:
        """Those of the files of `last_files` that these data and this net have."""
        boundary = ["decision_boundary.png"] if len(self.trainer.train.columns) == 2 else []
        graph = ["graph.dot"] if self.trainer.model.kind == "scalar" else []
        return ["model.safetensors", "loss.png", *boundary, *graph]

    def last_files(self, records: list[Record], final: Record) -> Iterator[tuple[str, bytes] | str]:
        """The model and its pictures."""
        trainer, columns = self.trainer, len(self.trainer.train.columns)
        yield "model.safetensors", trainer.model.encode()
        title = f"{trainer.config.loss} loss of {len(trainer.train)} training samples"
        name = trainer.model.data
        yield "loss.png", pictures.loss_curve(records, trainer.measure_name, name, title, batches=self.batches)
        if columns == 2:
            picture = pictures.decision_boundary(trainer.model, trainer.train, trainer.test, final.measure)
            yield "decision_boundary.png", picture
        else:
            yield f"no decision_boundary.png: it shows two features, and these data have {columns}"
        if trainer.model.kind == "tensor":
            yield "no graph.dot: it shows a neuron of scalars, and this net is one of tensors"
            return
        dot = pictures.neuron_graph(trainer.model, trainer.train)
        yield "graph.dot", dot.source.encode()
        svg = pictures.svg(dot)
        yield ("graph.svg", svg) if isinstance(svg, bytes) else f"no graph.svg: {svg}"


class RecordInWords:
    """The loss and the measure of a record in words. measure_name: "accuracy" or "rmse". batches: whether a step sees a part.

    >>> RecordInWords("accuracy", True)(Record(3, 0.5, 0.75, 0.1), False)
    ['loss 0.5', 'accuracy 75.0 % on the batch']
    """

    def __init__(self, measure_name: str, batches: bool) -> None:
        self.measure_name, self.batches = measure_name, batches

    def __call__(self, record: Record, finished: bool) -> list[str]:
        """finished: whether it is of the finished net, on all samples."""
        part = " on all" if finished else " on the batch"
        return [
            f"loss {record.loss:.4g}",
            measure_in_words(self.measure_name, record.measure) + (part if self.batches else ""),
        ]


def row_of(numbers: tuple[float, ...]) -> str:
    """A line of a CSV file that gives every number to its last digit, and nothing for NaN."""
    return ",".join("" if isinstance(x, float) and math.isnan(x) else repr(x) for x in numbers)


def _listed(names: tuple[str, ...], quoted: bool = False) -> str:
    short = [name if len(name) <= 30 else name[:14] + "..." + name[-13:] for name in names]
    shown = [repr(name) for name in short] if quoted else short
    return ", ".join(shown) if len(shown) <= 6 else f"{', '.join(shown[:5])}, ... {len(shown) - 5} more"


def _as_csv(part: data.Dataset) -> str:
    """A part of the data as a file that `predict` and `read_csv` read."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*part.columns, part.target])
    for row, y in zip(part.X, part.y, strict=True):
        writer.writerow([*row, y if part.classes is None else part.classes[int(y)]])
    return buffer.getvalue()
