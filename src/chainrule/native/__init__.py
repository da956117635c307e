"""The door to the native engine: whether it is there, and why not.

`engine` is the compiled module, or None; `status()` says which engine runs and the reason. The C code is `engine.c`,
plus `_ops.h` that generate.py prints from the operation table when the package is built. A build without a C compiler
goes through and leaves a note in `_build.json`. `CHAINRULE_PURE=1` in the environment keeps the engine pure.
"""

import importlib
import os
from typing import Any

from chainrule.native.sources import source_hash


def status() -> dict[str, str]:
    """Which engine runs ("native" or "pure"), the reason, and the compiler ("" when pure).

    >>> sorted(status())
    ['compiler', 'engine', 'reason']
    """
    return {
        "engine": "pure" if engine is None else "native",
        "reason": _reason,
        "compiler": "" if engine is None else engine.COMPILER,
    }


def _load() -> tuple[Any, str]:
    if os.environ.get("CHAINRULE_PURE", "0") not in ("", "0"):
        return None, "CHAINRULE_PURE is set"
    try:
        engine = importlib.import_module("chainrule.native._engine")
    except ImportError as error:
        return None, _why_not_built() or f"the native engine cannot be loaded: {error}"
    if source_hash() not in ("", engine.SOURCE_HASH):
        import warnings

        reason = "the native engine was built from other sources; build it again: pip install -e ."
        warnings.warn(f"chainrule runs pure: {reason}", RuntimeWarning, stacklevel=2)
        return None, reason
    return engine, "built for this machine"


def _why_not_built() -> str:
    import json

    try:
        with open(os.path.join(os.path.dirname(__file__), "_build.json"), encoding="utf-8") as file:  # noqa: PTH118, PTH120, PTH123
            return str(json.load(file)["reason"])
    except (OSError, ValueError, KeyError):
        return ""


engine, _reason = _load()
