"""Where the lessons of this folder draw: a figure, and the file it goes to. It needs matplotlib; their numbers do not."""

import io
import sys
from pathlib import Path

from chainrule.files import write_atomically

PULL, PUSH, INK = "#2166ac", "#b2182b", "#333333"  # the ends of matplotlib's RdBu, and text


def wanted(lesson):
    """The file that the command line names, else one under runs/, where git does not look; a lesson asks before its work."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs") / f"{lesson}.png"
    if path.suffix.lower() != ".png":
        print(f"The picture is a PNG, so name a file that ends in .png, not {str(path)!r}", file=sys.stderr)
        sys.exit(2)
    return path


def new_figure(width, height):
    """A figure of so many inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        sys.exit("The picture needs matplotlib; install it with: pip install 'chainrule[train]'")
    return Figure(figsize=(width, height), layout="constrained")


def save(figure, path):
    """Write the figure as PNG, and say where."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130, metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())
    print(f"picture: {path}")
