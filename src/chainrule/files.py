"""Files that are there whole or not at all: `write_atomically`. Imports nothing of ours.

Models, checkpoints, pictures and tables are written with it, so that a reader, a Ctrl-C, a full disk or a loss of power
meets the old file or the new one, and never a part of it. Left out on purpose: locks, and the wording of what goes wrong.
"""

import contextlib
import os
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Put `content` at `path`, in place of what was there.

    path: the file; a link stays a link, and what exists and is no regular file, such as /dev/stdout, is written to directly.

    The content goes to a temporary file in the same folder first. That is gone again, and `path` is as it was, whenever
    this raises: OSError with the system's reason, or a KeyboardInterrupt on the way.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder, "new"), b"whole")
    ...     print(*(file.read_bytes() for file in Path(folder).iterdir()))
    b'whole'
    """
    given = Path(path)
    if given.exists() and not given.is_file() and not given.is_dir():
        given.write_bytes(content)
        return
    target = Path(os.path.realpath(given))
    # A short name of its own: it fits wherever the file's fits, and two writers do not meet in it.
    temporary = target.with_name(f".chainrule-{os.urandom(6).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync(target.parent)


def _sync(folder: Path) -> None:
    # The new name is on the disk only when its folder is; some file systems cannot sync a folder, and need not.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
