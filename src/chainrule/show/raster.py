"""An SVG as a PNG, with resvg: no browser, no system library, and a font that is there.

Text needs a font file, which neither the SVG nor resvg brings. DejaVu Sans, for which pictures are laid out, comes with
matplotlib; else the fonts of the system are tried. Imports errors; resvg-py at use.
"""

import functools
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

from chainrule.errors import GraphError, MissingDependencyError

LONGEST = 32_000  # pixels of a side
LARGEST = 120_000_000  # pixels; more take gigabytes, and most programs do not open them
# What a sans-serif font is called where it is not DejaVu Sans or Verdana.
FAMILIES = (
    "Arial",
    "Liberation Sans",
    "Noto Sans",
    "Helvetica",
    "Segoe UI",
    "Open Sans",
    "Roboto",
    "Ubuntu",
    "Cantarell",
    "FreeSans",
)


def png(svg: str, scale: float = 2.0) -> bytes:
    """The picture of an SVG whose first tag says its width and height, at `scale` pixels for each of its units.

    A large picture is drawn smaller, down to one pixel for two units. Raises MissingDependencyError where resvg-py or a font
    is not installed; GraphError for a picture that would be too large even so.
    """
    resvg = _package()
    width, height = _size(svg)
    fits = min(scale, LONGEST / width, LONGEST / height, (LARGEST / (width * height)) ** 0.5)
    if fits < min(scale, 0.5):
        raise GraphError(
            f"this picture of {width:,.0f} x {height:,.0f} units is too large for a PNG: draw an SVG, or a part of the graph"
        )
    try:
        return bytes(resvg.svg_to_bytes(svg_string=svg, width=max(1, round(width * fits)), **_font()))
    except ValueError as error:
        raise GraphError(f"resvg could not draw this picture: {error}") from error


def _size(svg: str) -> tuple[float, float]:
    found = re.match(r'<svg [^>]*?width="([\d.]+)" height="([\d.]+)"', svg)
    if found is None:
        raise GraphError("this is not an SVG with a width and a height")
    return float(found[1]), float(found[2])


def _package() -> Any:
    try:
        return importlib.import_module("resvg_py")
    except ImportError:
        raise MissingDependencyError(
            "drawing png needs resvg-py; install it with: pip install 'chainrule[show]' (Graphviz serves as well, where it is "
            "installed)"
        ) from None


@functools.cache
def _font() -> dict[str, Any]:
    """The options of resvg with which text is seen."""
    spec = importlib.util.find_spec("matplotlib")  # found, not imported
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    files = [str(path) for folder in folders if (path := Path(folder, "mpl-data/fonts/ttf/DejaVuSans.ttf")).is_file()]
    tries: list[dict[str, Any]] = [{"font_files": files}] if files else []
    tries += [{"sans_serif_family": family} for family in FAMILIES]
    for options in tries:
        if _is_seen(options):
            return options
    raise MissingDependencyError(
        "no font was found to write a PNG with; install one, with: apt-get install fonts-dejavu-core, or: "
        "pip install 'chainrule[train]', which brings matplotlib's. An SVG needs none"
    )


def _is_seen(options: dict[str, Any]) -> bool:
    probe = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><text y="15" font-family="{}">{}</text></svg>'
    written, blank = (
        bytes(_package().svg_to_bytes(svg_string=probe.format("DejaVu Sans, Verdana, sans-serif", text), **options))
        for text in ("d", "")
    )
    return written != blank
