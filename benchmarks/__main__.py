"""The command line: `python -m benchmarks [NAME] [--quick]`, from the root of the repository.

Exit code 0 when everything could be measured (targets met or not), 1 when something could not, 2 for a wrong argument.
"""

import argparse
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from typing import NoReturn

from benchmarks import report

BENCHMARKS = ("engine", "tensor", "names", "compile", "watch", "show")
"""The modules of this package that measure something."""


class _OneSentence(argparse.ArgumentParser):
    """A parser whose errors are one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_complaint(message))


def _complaint(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there is: {', '.join(known)}"


def _about(name: str) -> str:
    return (importlib.import_module(f"benchmarks.{name}").__doc__ or "").partition("\n")[0]


def main(arguments: list[str]) -> int:
    """Measure the benchmark that the arguments name, or list what there is; returns the exit code."""
    parser = _OneSentence("python -m benchmarks", description="Measure chainrule against its peers, side by side in one run.")
    parser.add_argument("name", nargs="?", help=f"what to measure: {', '.join(BENCHMARKS)}; without it, list them")
    parser.add_argument("--quick", action="store_true", help="one short run of each, to see that it works; not for figures")
    chosen, unknown = parser.parse_known_args(arguments)
    if unknown:
        return _complaint(f"unknown argument {unknown[0]!r}; {_did_you_mean(unknown[0], ['--quick', '--help'])}")
    if chosen.name is None:
        print("\n".join(f"{name:10} {_about(name)}" for name in BENCHMARKS))
        return 0
    if chosen.name not in BENCHMARKS:
        return _complaint(f"there is no benchmark {chosen.name!r}; {_did_you_mean(chosen.name, BENCHMARKS)}")
    if importlib.util.find_spec("chainrule") is None:
        print("chainrule is not installed here; install it with: pip install -e '.[dev]'", file=sys.stderr)
        return 1
    rows = importlib.import_module(f"benchmarks.{chosen.name}").measure(chosen.quick)
    report.show(chosen.name, rows, chosen.quick)
    return 0 if all(row.figure is not None for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
