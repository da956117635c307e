"""The run folder: made once, never overwritten unasked, written file by file so that none is ever half there.

Imports errors and files.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from chainrule.errors import RunError
from chainrule.files import write_atomically

FILES = (
    "checkpoint.safetensors",
    "config.json",
    "decision_boundary.png",
    "graph.dot",
    "graph.svg",
    "loss.png",
    "metrics.csv",
    "model.safetensors",
)
"""What a run writes, and what `--force` removes before a new one."""


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
    force: use `out` even when a run is there: its files (FILES) are removed, others stay.

    Raises RunError when it exists, or cannot be made.
    """
    if out is None:
        return _next_free(Path("runs"), re.sub(r"[^\w.-]+", "-", name) or "run")
    if out.is_file():
        raise RunError(f"{out} is a file; a run needs a folder")
    if out.is_dir() and not force and any(_entries(out)):
        raise RunError(f"{out} exists already; choose another folder, or --force to replace the run in it")
    with _as_run_error(out):
        out.mkdir(parents=True, exist_ok=True)
    with locked(out), _as_run_error(out):
        for file in FILES:
            (out / file).unlink(missing_ok=True)
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


def existing(path: Path) -> Path:
    """The folder of a run that is there; a file in it will do. RunError when there is none."""
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise RunError(f"there is no run {path}")
    if not (folder / "checkpoint.safetensors").is_file():
        raise RunError(f"{folder} is not the folder of a run: it holds no checkpoint.safetensors")
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
