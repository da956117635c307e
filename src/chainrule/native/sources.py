"""What the native engine is made from, as one hash: so that a build from other sources is noticed. Imports nothing of ours."""

import importlib.util
import os

HERE = os.path.dirname(__file__)  # noqa: PTH120 - pathlib would double the time of `import chainrule`
FILES = ("../ops.py", "../symbols.py", "generate.py", "engine.c")


def source_hash() -> str:
    """A hash of the table, its printer and the C skeleton; "" where the package is installed without its C source."""
    content = b""
    try:
        for name in FILES:
            with open(os.path.join(HERE, name), "rb") as file:  # noqa: PTH118, PTH123
                content += file.read()
    except OSError:
        return ""
    return importlib.util.source_hash(content).hex()
