"""The run folder: made once, never overwritten unasked, written file by file so that none is ever half there.

A run that is to be replaced is set aside in REPLACED, a folder inside its own, until the new one is complete; see
`set_aside`, `put_back` and `discard`. Imports errors and files, and tensorfile beside it.
"""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from chainrule.errors import ChainruleError, InputError, RunError
from chainrule.files import write_atomically
from chainrule.train import tensorfile

FILES = (
    "checkpoint.safetensors",
    "config.json",
    "decision_boundary.png",
    "embedding.png",
    "graph.dot",
    "graph.svg",
    "heldout.csv",
    "loss.png",
    "metrics.csv",
    "model.safetensors",
    "recording.safetensors",
    "report.html",
    "words-test.txt",
    "words-training.txt",
    "words-validation.txt",
)
"""What a run writes, and what `--force` replaces."""

REPLACED = "replaced-run"
_PARTLY = ".replaced-run"  # on the way there or back
CHECKPOINT, MODEL = tensorfile.CHECKPOINT, tensorfile.MODEL


def write(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole or not at all; RunError naming the file."""
    with _as_run_error(path):
        write_atomically(path, content)


@contextlib.contextmanager
def _as_run_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def create(out: Path | None, name: str, *, force: bool = False) -> Path:
    """A folder for a new run.

    out: where (an empty folder will do); None for the next free number under runs/, such as runs/moons-001.
    force: take `out` also when a run is there; `set_aside` then makes room.

    Raises RunError when it exists, or cannot be made, InputError when `out` is empty.
    """
    if out is None:
        # No dash or dot at the front: a command would take the one for an option, a listing would hide the other.
        return _next_free(Path("runs"), re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run")
    if out.is_file():
        raise RunError(f"{out} is a file; a run needs a folder")
    if out.is_dir() and any(_entries(out)):
        if not any(map(holds_run, (out, out / REPLACED, out / _PARTLY))):
            raise RunError(f"{out} holds files but no run of chainrule, so it is not touched; choose another folder")
        if not force:
            raise RunError(f"{out} exists already; choose another folder, or --force to replace the run in it")
    with _as_run_error(out):
        out.mkdir(parents=True, exist_ok=True)
    return out


def _entries(folder: Path) -> list[Path]:
    with _as_run_error(folder):
        return list(folder.iterdir())


def _next_free(parent: Path, name: str) -> Path:
    with _as_run_error(parent):
        parent.mkdir(parents=True, exist_ok=True)
        numbers = [int(m[1]) for p in parent.iterdir() if (m := re.fullmatch(re.escape(name) + r"-(\d+)", p.name))]
        number = max(numbers, default=0)
        while True:
            number += 1
            with contextlib.suppress(FileExistsError):  # another run may take the number at this moment
                folder = parent / f"{name}-{number:03}"
                folder.mkdir()
                return folder


def as_path(out: str | os.PathLike[str] | None) -> Path | None:
    """The folder that is meant; InputError for an empty name, which would mean the current folder."""
    if out is not None and not str(out).strip():
        raise InputError("the run folder has an empty name; name a folder, or . for the current one")
    return None if out is None else Path(out)


def holds_run(folder: Path) -> bool:
    """Whether there is a checkpoint, a model or the settings of a run of ours, and not just files with their names."""
    for file, kind in ((CHECKPOINT, "checkpoint"), ("model.safetensors", "model")):
        if (folder / file).is_file():
            with contextlib.suppress(ChainruleError):
                tensorfile.read(folder / file, kind)
                return True
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and {"data", "loss", "optimizer", "lr", "steps", "seed"} <= settings.keys()


def expect_room(folder: Path) -> None:
    """Raise RunError when the place where `set_aside` puts a run is taken by something else."""
    old = folder / REPLACED
    if old.is_file() or (old.is_dir() and any(_entries(old)) and not holds_run(old)):
        raise RunError(f"{old} is in the way, as it is no run of chainrule; move it first")


def set_aside(folder: Path) -> Path | None:
    """Move the files of the run in `folder`, if any, to REPLACED in it, and return where they are.

    When a run was set aside before, by a new one that then was interrupted, that stays and the interrupted one goes.
    """
    old, partly = folder / REPLACED, folder / _PARTLY
    mine = [folder / file for file in FILES if (folder / file).exists()]
    with _as_run_error(folder):
        if (folder / "model.safetensors").exists():
            discard(folder)  # the new one was complete after all, and killed before it could do this
        if holds_run(old):
            _remove(folder)
        elif mine or partly.exists():
            partly.mkdir(exist_ok=True)
            # The checkpoint goes last: killed on the way, the folder is still a run that can be resumed.
            for path in sorted(mine, key=lambda path: path.name == CHECKPOINT):
                path.replace(partly / path.name)
            partly.replace(old)  # so whatever has this name is whole
        else:
            return None
    return old


def put_back(folder: Path) -> None:
    """Undo `set_aside`, also one that failed on the way: what a failed run left goes, and the one before comes back."""
    old, partly = folder / REPLACED, folder / _PARTLY
    with _as_run_error(folder):
        if holds_run(old):
            _remove(folder)
            old.replace(partly)
        for file in FILES:
            if (partly / file).exists():
                (partly / file).replace(folder / file)
    _remove_empty(partly)


def discard(folder: Path) -> None:
    """Remove the run that was set aside; files of others in REPLACED stay."""
    old = folder / REPLACED
    if holds_run(old):
        with _as_run_error(old):
            _remove(old)
        _remove_empty(old)


def _remove(folder: Path) -> None:
    for file in FILES:
        (folder / file).unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not there, or there are files of the user in it
        folder.rmdir()


def existing(path: Path) -> Path:
    """The folder of a run that is there; a file in it will do. RunError when there is none."""
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise RunError(f"there is no run {path}")
    if not (folder / CHECKPOINT).is_file():
        raise RunError(f"{folder} is not the folder of a run: it holds no {CHECKPOINT}")
    return folder


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within it this process alone writes the folder; RunError when another one does."""
    with _as_run_error(folder):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another process is training in {folder}; wait for it or stop it first") from None
        except OSError:
            pass  # a file system without locks: go on without
        yield
    finally:
        os.close(descriptor)


class Rows:
    """A CSV file that grows by one flushed line at a time.

    start: the lines that are there to begin with, written atomically. Raises RunError naming the file.
    """

    def __init__(self, path: Path, start: str) -> None:
        self.path = path
        write(path, start.encode())
        with _as_run_error(path):
            self._file = path.open("a", encoding="utf-8")

    def append(self, line: str) -> None:
        """Write one line."""
        with _as_run_error(self.path):
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file; what cannot be written any more was reported by `append`."""
        with contextlib.suppress(OSError):
            self._file.close()
