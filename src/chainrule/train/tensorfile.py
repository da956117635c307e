"""One file, one truth: numbers as tensors, everything else as JSON in the header of the same safetensors file.

Models, checkpoints and recordings are such files. They are written in one piece (folder.py), so two halves of a state can never
disagree; they are never pickle, so reading one runs no code. Imports errors; safetensors at use.
"""

import contextlib
import importlib
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import MissingDependencyError, ModelFileError

KEY = "chainrule"
MODEL, CHECKPOINT = "model.safetensors", "checkpoint.safetensors"
DIVERGED = "diverged"
"""The fact of a checkpoint that tells at which step the run ran away; a run that did not has none."""
VERSION = 1

Tensors = dict[str, npt.NDArray[Any]]


def encode(kind: str, facts: dict[str, Any], tensors: Tensors) -> bytes:
    """The content of a file.

    kind: "model", "checkpoint" or "recording". facts: anything JSON can hold; floats come back to the last digit.
    tensors: arrays by name, float64 but for a recording.
    """
    header = json.dumps({"kind": kind, "version": VERSION, **facts})  # ASCII: a file name may not be UTF-8
    # One key only: the format keeps no order among several, and equal runs shall have equal files.
    content: bytes = _safetensors("saving").save(tensors, metadata={KEY: header})
    return content


def read(path: Path, kind: str) -> tuple[dict[str, Any], Tensors]:
    """Facts and tensors of a file of that kind; ModelFileError in one sentence for any other file."""
    package = _safetensors("reading")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        tensors: Tensors = package.load(content)
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
    except Exception:  # the parser's own exception, KeyError for number formats NumPy has not, ...
        raise ModelFileError(
            f"{path} is no {kind} of chainrule, or it is truncated: it is not a whole safetensors file"
        ) from None
    return _facts(path, kind, metadata), tensors if kind == "recording" else _checked(path, tensors)


def read_model(path: Path) -> tuple[Path, dict[str, Any], Tensors]:
    """The file, what it tells of the model, and its weights: of a model file, or of the folder of a run.

    Raises ModelFileError for a file that is missing, truncated or foreign, and for a run that is not finished.
    """
    if path.is_dir():
        if not (path / MODEL).exists():
            raise ModelFileError(_why_no_model(path))
        path = path / MODEL
    facts, tensors = read(path, "model")
    if not isinstance(facts.get("model"), dict):
        raise ModelFileError(f"{path}: the description of the model cannot be read: it is missing")
    return path, facts["model"], tensors


def _why_no_model(folder: Path) -> str:
    """Why there is no model in a folder, and what to do."""
    if (folder / CHECKPOINT).exists():
        facts, _ = read(folder / CHECKPOINT, "checkpoint")
        if DIVERGED in facts:
            return f"the run {folder} ran away at step {facts[DIVERGED]} and has no model; begin a new one with a smaller --lr"
        return f"the run {folder} is not finished; finish it with: chainrule train --resume {shlex.quote(str(folder))}"
    with contextlib.suppress(OSError):
        runs = sorted(x.name for x in folder.iterdir() if (x / MODEL).exists() or (x / CHECKPOINT).exists())
        if runs:
            shown = ", ".join(runs[:5]) + (f" and {len(runs) - 5} more" if len(runs) > 5 else "")
            return f"{folder} is not a run, but a folder of runs ({shown}); name one of them, such as {folder / runs[0]}"
    return f"{folder} is not a run: it holds no {MODEL}"


def _facts(path: Path, kind: str, metadata: Any) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(metadata[KEY])
        found, version = facts["kind"], facts["version"]
    except (KeyError, TypeError, ValueError):
        raise ModelFileError(f"{path} is a safetensors file, but no {kind} of `chainrule train`") from None
    if version != VERSION:
        raise ModelFileError(f"{path} was written in format {version!r}, and this chainrule reads format {VERSION}")
    if found != kind:
        raise ModelFileError(f"{path} is a {found} of chainrule, not a {kind}")
    return facts


def _checked(path: Path, tensors: Tensors) -> Tensors:
    for name, tensor in tensors.items():
        if tensor.dtype != np.float64:
            raise ModelFileError(f"{path}: the tensor {name!r} is {tensor.dtype}, not float64")
    return tensors


def _safetensors(job: str) -> Any:
    try:
        return importlib.import_module("safetensors.numpy")
    except ImportError:
        raise MissingDependencyError(
            f"{job} a model needs safetensors; install it with: pip install 'chainrule[train]'"
        ) from None
