"""Lists of words to learn spelling from: read one, number its characters, split it, and cut it into contexts.

>>> words = ["anna", "bo"]
>>> vocabulary = Vocabulary.of(words)
>>> vocabulary.tokens
('.', 'a', 'b', 'n', 'o')
>>> X, y = context_windows(words, vocabulary, context=3)
>>> X[:3].tolist(), y[:3].tolist()
([[0, 0, 0], [0, 0, 1], [0, 1, 3]], [1, 3, 3])

What `read_words` reads: UTF-8 text, one word per line, with or without a byte order mark, any line ends, blank lines skipped.
Every character is part of the alphabet: letters of any script, accents, hyphens, spaces within a word, capitals apart from small
letters. So that one word is spelled one way, accents are composed (Unicode's NFC), every kind of space (the no-break space, say)
becomes the common one, spaces around a word are taken off, and so are byte order marks, which are left in the middle where files
were joined. A word that is there twice counts twice: how often a name is given is worth learning. A tab or another control
character is a fault, as it shows that the file is no list of words. Every fault is a DataError of one sentence that names the
file and the line.

Imports files, prepare and errors; Faker at use.
"""

import hashlib
import importlib
import operator
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.files import content_of, text_of
from chainrule.errors import DataError, InputError, MissingDependencyError

LONGEST_WORD = 100
"""The most characters that a word may have."""
LEAST_WORDS = 10
"""The fewest words that can be split into 80, 10 and 10 %."""
MOST_CHARACTERS = 5000
"""The most different characters that a list may have; each is one output of the net."""
ENGLISH = "English first names"
"""What the list that Faker carries is called."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Words:
    """A list of words to learn from, in its order.

    name: what messages call it; the file name for a file. words: in the order of the list.

    Raises DataError for fewer words than LEAST_WORDS, one that is empty or longer than LONGEST_WORD, or more different
    characters than MOST_CHARACTERS.

    >>> len(Words("letters", tuple("abcdefghij")))
    10
    """

    name: str
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))
        for i, word in enumerate(self.words):
            if not isinstance(word, str) or not word:
                raise DataError(f"{self.name}, word {i}: a word is text of at least one character, not {word!r}")
            fault = _fault(word)
            if fault:
                raise DataError(f"{self.name}, word {i}: {fault}")
        if len(self.words) < LEAST_WORDS:
            count = f"there {'is 1 word' if len(self.words) == 1 else f'are {len(self.words)} words'}"
            raise DataError(f"{self.name}: {count}; a split into 80, 10 and 10 % needs at least {LEAST_WORDS}")
        different = len(set().union(*self.words))
        if different > MOST_CHARACTERS:
            raise DataError(
                f"{self.name}: there are {different:,} different characters; {MOST_CHARACTERS:,} are the most, "
                "as each is an output of the net"
            )

    def __len__(self) -> int:
        return len(self.words)

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change when any word or their order changes."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Vocabulary:
    """Characters and their numbers; number 0 is the boundary before and after each word.

    characters: sorted, each once; the first has number 1. A "." among them has a number of its own: the boundary is no
    character, it is only shown as one.

    >>> vocabulary = Vocabulary(("a", "b"))
    >>> vocabulary.encode("abba"), vocabulary.decode([1, 2, 0])
    ([1, 2, 2, 1], 'ab')
    """

    characters: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "characters", tuple(self.characters))
        if not all(isinstance(c, str) and len(c) == 1 for c in self.characters):
            raise DataError("a vocabulary is made of single characters")
        if list(self.characters) != sorted(set(self.characters)):
            raise DataError("the characters of a vocabulary are sorted, each once")

    @classmethod
    def of(cls, words: Iterable[str]) -> "Vocabulary":
        """That of a list of words."""
        return cls(tuple(sorted(set().union(*words))))

    def __len__(self) -> int:
        return 1 + len(self.characters)

    @property
    def tokens(self) -> tuple[str, ...]:
        """What each number is shown as, the boundary as ".", in the lecture's manner; number 0 tells it from a full stop."""
        return (".", *self.characters)

    def encode(self, word: str) -> list[int]:
        """The numbers of a word's characters; InputError for a character that is not known."""
        numbers = {character: i for i, character in enumerate(self.characters, 1)}
        unknown = next((character for character in word if character not in numbers), None)
        if unknown is not None:
            raise InputError(f"the word {word!r} has the character {unknown!r}, which the vocabulary has not")
        return [numbers[character] for character in word]

    def decode(self, numbers: Iterable[int]) -> str:
        """The characters of these numbers; boundaries give nothing. InputError for what is no number of a token."""
        return "".join(self.characters[i - 1] for i in map(self._checked, numbers) if i)

    def _checked(self, number: Any) -> int:
        try:
            i = operator.index(number)
        except TypeError:
            i = -1
        if not 0 <= i < len(self):
            raise InputError(f"the numbers of this vocabulary go from 0 to {len(self) - 1}, so {number!r} stands for nothing")
        return i


def read_words(path: str | Path) -> Words:
    """The words of a text file; see the top of this file for what is read.

    Raises DataError for a file that cannot be used.
    """
    name = Path(path).name
    text = text_of(name, content_of(Path(path), "a list of words"))
    words = []
    # Not splitlines: that ends lines at signs that no editor counts.
    for line, written in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        word = _spelled(written)
        fault = _fault(word)
        if fault:
            raise DataError(f"{name}, line {line}: {fault}")
        if word:
            words.append(word)
    if not words:
        raise DataError(f"{name}: the file is {'blank' if text else 'empty'}: there is no word in it")
    return Words(name, tuple(words))


def _spelled(written: str) -> str:
    """A line as the word that it is, spelled the one way that it has."""
    word = unicodedata.normalize("NFC", written.replace("\ufeff", ""))
    return "".join(" " if unicodedata.category(c) == "Zs" else c for c in word).strip()


def _fault(word: str) -> str:
    """Why it is no word, or nothing."""
    if len(word) > LONGEST_WORD:
        return f"the word {word[:20] + '...'!r} has {len(word):,} characters; {LONGEST_WORD} are the most, one word per line"
    control = next((c for c in word if unicodedata.category(c) in ("Cc", "Zl", "Zp")), None)
    if control == "\t":
        return "there is a tab in it; a list has one word per line and no columns"
    return "" if control is None else f"there is the control character {control!r} in it"


def english_names() -> Words:
    """The English first names that the package Faker carries, in small letters, sorted; nothing is downloaded.

    Raises MissingDependencyError without Faker.
    """
    try:
        provider = importlib.import_module("faker.providers.person.en").Provider
    except ImportError:
        raise MissingDependencyError(
            "the English first names come with Faker; install it with: pip install 'chainrule[all]', "
            "or bring your own list: --data names.txt"
        ) from None
    return Words(ENGLISH, tuple(sorted({name.lower() for name in provider.first_names})))


def split_words(words: Sequence[str], seed: int = 42) -> tuple[list[str], list[str], list[str]]:
    """The words shuffled by `random.Random(seed)` and cut at 80 and 90 %: for training, validation and test.

    This is the lecture's split: with seed 42 its list of names gives its 182,625, 22,655 and 22,866 rows.

    >>> [len(part) for part in split_words("abcdefghij")]
    [8, 1, 1]
    """
    order = _order(len(words), seed)
    shuffled = [words[i] for i in order]
    first, second = int(0.8 * len(words)), int(0.9 * len(words))
    return shuffled[:first], shuffled[first:second], shuffled[second:]


def unsplit_words(parts: Iterable[Sequence[str]], seed: int = 42) -> list[str]:
    """The list that `split_words` split, in its order.

    >>> "".join(unsplit_words(split_words("abcdefghij")))
    'abcdefghij'
    """
    shuffled = [word for part in parts for word in part]
    words = [""] * len(shuffled)
    for i, word in zip(_order(len(shuffled), seed), shuffled, strict=True):
        words[i] = word
    return words


def _order(count: int, seed: int) -> list[int]:
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order


def context_windows(words: Iterable[str], vocabulary: Vocabulary, context: int = 3) -> tuple[Array, Array]:
    """Each character of each word, and the boundary after it, with the `context` tokens before.

    Returns X of shape (rows, context) and y of shape (rows,), int64; a word of n characters gives n + 1 rows. Raises
    InputError for a context below 1, and for a character that the vocabulary has not.
    """
    if isinstance(context, bool) or not isinstance(context, int) or context < 1:
        raise InputError(f"the context must be a whole number of at least 1, not {context!r}")
    numbers = {character: i for i, character in enumerate(vocabulary.characters, 1)}
    row: list[int] = []  # all words in a row, each with boundaries around it
    places: list[int] = []  # of what is to be told
    for word in words:
        row += [0] * context
        begin = len(row)
        try:
            row += [numbers[character] for character in word]
        except KeyError:
            vocabulary.encode(word)  # raises, with the word
        row.append(0)
        places += range(begin, len(row))
    tokens, at = np.array(row, np.int64), np.array(places, np.int64)
    return tokens[at[:, None] + np.arange(-context, 0)], tokens[at]
