"""What the native parts are made from, as hashes: so that a build from other sources is noticed. Imports nothing of ours."""

import importlib.util
import os

HERE = os.path.dirname(__file__)  # noqa: PTH120 - pathlib would double the time of `import chainrule`
FILES = ("../ops.py", "../symbols.py", "generate.py", "engine.c")
EXECUTOR_FILES = ("../ops.py", "../symbols.py", "kernels.py", "executor.c", "both.h", "kernels.h", "vectormath.h")


def source_hash() -> str:
    """A hash of the table, its printer and the engine's C code; "" where the package is installed without its C source."""
    return _hash(FILES)


def executor_hash() -> str:
    """The same for the executor of compiled programs."""
    return _hash(EXECUTOR_FILES)


def _hash(names: tuple[str, ...]) -> str:
    content = b""
    try:
        for name in names:
            with open(os.path.join(HERE, name), "rb") as file:  # noqa: PTH118, PTH123
                content += file.read()
    except OSError:
        return ""
    return importlib.util.source_hash(content).hex()
