"""The words of a run, kept in its folder: words-training.txt, words-validation.txt and words-test.txt, one word per line.

They tell what was held out, they tell which made-up words are new, and a run is resumed from them, so that nothing is lost
when the list that it began with is changed or gone. Imports data, errors, and model beside it.
"""

from pathlib import Path

from chainrule import data
from chainrule.data.words import ENGLISH
from chainrule.errors import DataError, RunError
from chainrule.train.names.config import NamesConfig
from chainrule.train.names.model import PARTS, NamesModel


def file_of(part: str) -> str:
    """The name of the file that holds a part."""
    return f"words-{part}.txt"


def encode_words(words: list[str]) -> bytes:
    """The content of such a file."""
    return "".join(word + "\n" for word in words).encode()


def words_in(folder: Path, name: str, seed: int, fingerprint: object) -> data.Words | None:
    """The whole list, in the order it had; None when it is not there or another one. name: what it is called."""
    try:
        parts = [(folder / file_of(part)).read_bytes().decode().split("\n")[:-1] for part in PARTS]
        words = data.Words(name, tuple(data.unsplit_words(parts, seed)))
    except (OSError, ValueError):  # DataError is one
        return None
    return words if words.fingerprint == fingerprint else None


def words_of_run(run: str | Path, model: NamesModel) -> frozenset[str]:
    """All words that a run learned from or was judged by.

    run: its folder, or the model file in it. Raises RunError when the files are not there, or not those of the model.
    """
    folder = Path(run) if Path(run).is_dir() else Path(run).parent
    words = words_in(folder, model.data, model.seed, model.fingerprint)
    if words is None:
        raise RunError(f"which words are new cannot be told: {_why_no_words(folder)}")
    return frozenset(words.words)


def _why_no_words(folder: Path) -> str:
    """What is wrong with the words that a folder should keep."""
    files, where = list(map(file_of, PARTS)), folder.resolve()  # "." would say nothing
    missing = [name for name in files if not (folder / name).exists()]
    if missing:
        return f"{where} does not hold the words of the run: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    for name in files:
        try:
            (folder / name).read_bytes()
        except OSError as error:
            return f"{where / name} cannot be read: {error.strerror or error}"
    return (
        f"the words of the run in {where} ({', '.join(files)}) were changed since: they are not those that the net learned from"
    )


def load_words(config: NamesConfig, folder: Path, fingerprint: object) -> data.Words:
    """The words to go on with: those that the folder keeps, or else the list that the run began with."""
    name = ENGLISH if config.file is None else Path(config.file).name
    kept = words_in(folder, name, config.seed, fingerprint)
    if kept is not None:
        return kept
    try:
        return config.load()
    except DataError as error:
        raise DataError(f"{_why_no_words(folder)}, and {error}") from None
