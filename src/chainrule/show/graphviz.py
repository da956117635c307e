"""Graphviz's program `dot`: finding it, and turning DOT text into the bytes of a picture.

Graphviz draws PDF, and serves where the packages for SVG and PNG are not installed. It is looked for on PATH at each use, so
that installing it needs no restart. Imports errors.
"""

import functools
import shutil
import subprocess

from chainrule.errors import GraphError, InputError, MissingDependencyError

FORMATS = ("svg", "png", "pdf")
TIMEOUT = 60.0  # seconds; drawings of the size that `draw_dot` allows take a few


def find() -> str | None:
    """The path of `dot`, or None where Graphviz is not installed."""
    return shutil.which("dot")


def checked_format(format: str) -> str:
    """`format` in lower case; InputError when it is none of FORMATS."""
    lowered = str(format).lower()
    if lowered not in FORMATS:
        raise InputError(f"unknown picture format {format!r}; choose one of {', '.join(FORMATS)}")
    return lowered


def draw(source: str, format: str) -> bytes:
    """The picture of a DOT text.

    Raises MissingDependencyError, with the command that helps, where Graphviz is not installed; GraphError, with what
    Graphviz said, when it fails or needs more than TIMEOUT seconds.
    """
    program = find()
    if program is None:
        raise MissingDependencyError(
            f"drawing {format} needs Graphviz; install it with: apt-get install graphviz (macOS: brew install graphviz). "
            "DOT text (draw_dot(root).source) and chainrule.show.text(root) need nothing"
        )
    command = [program, f"-T{format}", *(["-Gdpi=144"] if format == "png" else [])]
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise GraphError(f"Graphviz did not finish in {TIMEOUT:g} s; draw a smaller part of the graph") from None
    except OSError as error:
        raise GraphError(f"Graphviz could not be started ({program}): {error.strerror}") from error
    if done.returncode != 0 or not done.stdout:
        said = " ".join(done.stderr.decode(errors="replace").split())[:500] or f"exit code {done.returncode}"
        raise GraphError(f"Graphviz could not draw this graph as {format}: {said}")
    return done.stdout


def element(source: str) -> str:
    """The picture of a DOT text as an <svg> element, without the XML prologue that cannot stand inside a page.

    Raises as `draw`. The last picture is kept: a notebook asks for the same one twice, as HTML and as SVG.
    """
    return _element(find(), source)


@functools.lru_cache(maxsize=1)
def _element(program: str | None, source: str) -> str:
    text = draw(source, "svg").decode()
    return text[text.index("<svg") :]
