"""How weights lie in a file: a state dict of many scalars as a few float64 tensors, in the safetensors format.

A list whose items are alike becomes an axis, written `*` in the tensor's name, as long as no tensor gets more than two
axes; so a layer of 16 neurons with 2 inputs is the matrix and the vector that PyTorch would keep for it:

>>> state = {"0.w.0": 1.0, "0.w.1": 2.0, "0.b": 3.0, "1.w.0": 4.0, "1.w.1": 5.0, "1.b": 6.0}
>>> {name: tensor.tolist() for name, tensor in fold(state).items()}
{'*.w.*': [[1.0, 2.0], [4.0, 5.0]], '*.b': [3.0, 6.0]}
>>> unfold(fold(state)) == state
True

`fold` depends on names and shapes alone, so equal architectures have equal tensors, and any reader of safetensors can
use the file. It is never pickle: reading one runs no code. Imports errors and files; safetensors when a file is read or
written.
"""

import os
import pathlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import MissingDependencyError, ModelFileError
from chainrule.files import write_atomically

Array = npt.NDArray[Any]


def fold(state: Mapping[str, Any]) -> dict[str, Array]:
    """The entries of a state dict as few tensors, float64.

    state: numbers or arrays by dotted name; no part of a name is empty or holds a star.
    """
    root: dict[str, Any] = {}
    for name, x in state.items():
        *path, last = name.split(".")
        branch = root
        for key in path:
            branch = branch.setdefault(key, {})
        branch[last] = np.asarray(x, dtype=np.float64)
    return _fold(root)


def _fold(tree: Any) -> dict[str, Array]:
    """The tensors below a branch, by the rest of their names."""
    if not isinstance(tree, dict):
        return {"": tree}
    parts = {key: _fold(child) for key, child in tree.items()}
    items = list(parts.values())
    if items and list(parts) == [str(i) for i in range(len(parts))] and _are_alike(items):
        return {_join("*", rest): np.stack([item[rest] for item in items]) for rest in items[0]}
    return {_join(key, rest): x for key, part in parts.items() for rest, x in part.items()}


def _are_alike(items: list[dict[str, Array]]) -> bool:
    shapes = [{rest: x.shape for rest, x in item.items()} for item in items]
    return all(s == shapes[0] for s in shapes) and all(len(shape) < 2 for shape in shapes[0].values())


def _join(key: str, rest: str) -> str:
    return f"{key}.{rest}" if rest else key


def unfold(tensors: Mapping[str, Array]) -> dict[str, Any]:
    """The state dict that was folded: each star of a name becomes the indices of one axis."""
    state: dict[str, Any] = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        stars = [i for i, part in enumerate(parts) if part == "*"]
        for index in np.ndindex(tensor.shape[: len(stars)]):
            for i, number in zip(stars, index, strict=True):
                parts[i] = str(number)
            entry = tensor[index]
            state[".".join(parts)] = entry if entry.shape else entry.item()
    return state


def write(path: str | os.PathLike[str], tensors: Mapping[str, Array]) -> None:
    """Write tensors to a safetensors file, whole or not at all.

    Raises ModelFileError with the reason when it cannot be written; what was there before is still there then.
    """
    content = _safetensors("saving").save(dict(tensors), metadata={"format": "chainrule"})
    try:
        write_atomically(path, content)
    except OSError as error:
        raise ModelFileError(f"cannot write the model file {path}: {_reason(error)}") from error


def read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The tensors of a safetensors file.

    Raises ModelFileError in one sentence when it is missing, truncated or no such file.
    """
    safetensors = _safetensors("loading")
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read the model file {path}: {_reason(error)}") from error
    try:
        tensors: dict[str, Array] = safetensors.load(content)
    except Exception as error:  # the parser's own exception, and KeyError for number formats that NumPy has not
        raise ModelFileError(f"{path} is not a model file, or it is truncated: {_sentence(error)}") from error
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in "fiub":
            raise ModelFileError(f"{path} is not a model file of real numbers: {name} holds {tensor.dtype}")
    return tensors


def _safetensors(doing: str) -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError:
        raise MissingDependencyError(
            f"{doing} a model needs safetensors; install it with: pip install 'chainrule[train]'"
        ) from None
    return safetensors.numpy


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]


def _sentence(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"its number format {error} is not supported"
    return str(error).removeprefix("Error while deserializing: ").split("\n")[0]
