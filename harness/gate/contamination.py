"""Training prompts among the test prompts: what was learned is not evidence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.errors import UsageError
from harness.records import Prompt

_WORD = re.compile(r"\w+")


def contaminated_prompts(prompts: Iterable[Prompt], training: Iterable[str], n_gram: int = 13) -> list[str]:
    """Find test prompts that training texts hold.

    Parameters
    ----------
    prompts : iterable of Prompt
        Test prompts.
    training : iterable of str
        Texts trained on.
    n_gram : int
        So many words in a row, in both, mean contamination; a shorter prompt must be there whole. Case, punctuation
        and spacing do not count. 13 words is what Brown et al. used.

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
    """The n-grams of test prompts, to look up training texts in.

    Parameters
    ----------
    n_gram : int
        So many words in a row, in both, are an overlap; a shorter test prompt must be there whole.

    Raises
    ------
    UsageError
        `n_gram` is below 1.
    """

    def __init__(self, n_gram: int = 13) -> None:
        if n_gram < 1:
            raise UsageError(f"n-grams of {n_gram} words", "1 word or more; 13 is usual")
        self.n_gram = n_gram
        self._wanted: dict[tuple[str, ...], set[str]] = {}
        self._has_long = False

    def add(self, key: str, text: str) -> None:
        """Add a test prompt, or one turn of it, under its key."""
        words = _words(text)
        for gram in _grams(words, min(self.n_gram, len(words))):
            self._wanted.setdefault(gram, set()).add(key)
            self._has_long = self._has_long or len(gram) == self.n_gram

    def find(self, text: str) -> dict[str, str]:
        """Name the test prompts a training text overlaps, each with the first words the two share."""
        words = _words(text)
        # a short prompt is a match only as a whole text; within a long one it would be chance
        found = dict.fromkeys(sorted(self._wanted.get(tuple(words), ())), " ".join(words))
        if self._has_long:
            for gram in _grams(words, self.n_gram):
                for key in sorted(self._wanted.get(gram, ())):
                    found.setdefault(key, " ".join(gram))
        return found


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    if n < 1:
        return
    for start in range(len(words) - n + 1):
        yield tuple(words[start : start + n])
