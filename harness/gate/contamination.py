"""Contamination: test prompts that occur in training texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.errors import UsageError
from harness.records import Prompt

_WORD = re.compile(r"\w+")


def contaminated_prompts(prompts: Iterable[Prompt], training: Iterable[str], n_gram: int = 13) -> list[str]:
    """Return the test prompts that occur in training texts.

    Parameters
    ----------
    prompts : iterable of Prompt
        Test prompts.
    training : iterable of str
        Training texts.
    n_gram : int
        Number of consecutive words that must match. A shorter prompt must equal a whole training text. Case,
        punctuation and spacing are ignored. Brown et al. used 13 words.

    Returns
    -------
    list of str
        Keys of the prompts found.

    References
    ----------
    Brown et al. (2020), Language Models are Few-Shot Learners, arXiv:2005.14165, appendix C.
    """
    index = OverlapIndex(n_gram)
    for prompt in prompts:
        for turn in prompt.turns:
            index.add(prompt.key, turn)
    found: set[str] = set()
    for text in training:
        found |= index.find(text).keys()
    return sorted(found)


class OverlapIndex:
    """Index of the n-grams of test prompts, for searching training texts.

    Parameters
    ----------
    n_gram : int
        Number of consecutive words that must match; a shorter test prompt must equal a whole training text.

    Raises
    ------
    UsageError
        `n_gram` is below 1.
    """

    def __init__(self, n_gram: int = 13) -> None:
        if n_gram < 1:
            raise UsageError(f"n-grams of {n_gram} words", "at least 1 word; 13 is common", "change the n-gram size")
        self.n_gram = n_gram
        self._keys_of: dict[tuple[str, ...], set[str]] = {}
        self._has_long = False

    def add(self, key: str, text: str) -> None:
        """Add a test prompt, or one turn of it, under its key."""
        words = _words(text)
        for gram in _grams(words, min(self.n_gram, len(words))):
            self._keys_of.setdefault(gram, set()).add(key)
            self._has_long = self._has_long or len(gram) == self.n_gram

    def find(self, text: str) -> dict[str, str]:
        """Return the keys of the test prompts a training text overlaps, each with the first shared words."""
        words = _words(text)
        # A short prompt matches only a whole text; within a longer text a match would be chance.
        found = dict.fromkeys(sorted(self._keys_of.get(tuple(words), ())), " ".join(words))
        if self._has_long:
            for gram in _grams(words, self.n_gram):
                for key in sorted(self._keys_of.get(gram, ())):
                    found.setdefault(key, " ".join(gram))
        return found


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    if n < 1:
        return
    for start in range(len(words) - n + 1):
        yield tuple(words[start : start + n])
