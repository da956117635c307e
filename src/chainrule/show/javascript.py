"""The page's own JavaScript, run without a browser: V8 from the package mini-racer.

>>> evaluate(("draw.js",), "Math.round(chainruleDraw.textWidth('data 2.0000'))")
79

Each call has a context of its own, which takes a hundredth of a second: nothing of V8 stays behind, so a process that has
drawn a picture can fork and end as one that has not, and threads need no lock. The scripts are those of web/, which know
no document and no network. Imports errors; mini-racer at use.
"""

import functools
import importlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

from chainrule.errors import GraphError, MissingDependencyError

TIMEOUT = 60.0  # seconds; a thousand nodes take a fraction of one


def evaluate(scripts: Sequence[str], expression: str) -> Any:
    """The value of a JavaScript expression, a number or a text, after some scripts of web/.

    expression: put together from JSON, never from a user's text as it is.

    Raises MissingDependencyError where mini-racer is not installed; GraphError, with what V8 said, when it fails or needs more
    than TIMEOUT seconds.
    """
    racer = _package()

    def run() -> Any:
        with racer.MiniRacer() as context:
            for script in scripts:
                context.eval(f"{web(script)}\n0")
            try:
                return context.eval(expression, timeout_sec=TIMEOUT)
            except Exception:
                context.eval("0")  # so that what was stopped has ended before its context does
                raise

    # In a thread, as mini-racer would tie itself to the event loop of this one, which a notebook has.
    with ThreadPoolExecutor(1, "chainrule-picture") as pool:
        try:
            return pool.submit(run).result()
        except Exception as error:
            raise _explained(error) from error


@functools.cache
def web(name: str) -> str:
    """The text of a file of web/."""
    return resources.files("chainrule.show").joinpath("web", name).read_text(encoding="utf-8")


def _package() -> Any:
    try:
        return importlib.import_module("py_mini_racer")
    except ImportError:
        raise MissingDependencyError(
            "drawing needs mini-racer; install it with: pip install 'chainrule[show]' (Graphviz serves as well, where it is "
            "installed). DOT text (draw_dot(root).source) and chainrule.show.text(root) need nothing"
        ) from None


def _explained(error: Exception) -> Exception:
    kind = type(error).__name__
    if kind == "JSTimeoutException":
        return GraphError(f"the picture was not finished in {TIMEOUT:g} s; draw a smaller part of the graph")
    if kind in ("LibNotFoundError", "OSError"):  # a machine for which the package has no V8
        return MissingDependencyError(f"mini-racer is installed and does not run here: {_short(error)}")
    return GraphError(f"the picture could not be drawn: {_short(error)}")


def _short(error: Exception) -> str:
    # V8 quotes the line that failed, which may be a whole script.
    return " ".join(str(error).split("\n")[0].split())[:300] or type(error).__name__
