"""How much the answers to one prompt differ: distinct n-grams, self-BLEU, embedding distance."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.errors import StatisticsError

_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """Split text into words and punctuation marks, lower case."""
    return _WORD.findall(text.lower())


def distinct_n(texts: Sequence[Sequence[str]], n: int = 1) -> float:
    """Distinct n-grams over all n-grams of a set of texts.

    Parameters
    ----------
    texts : sequence of sequences of str
        Texts as words.
    n : int
        Words in a row.

    Returns
    -------
    float
        In (0, 1]; it falls with length for any text, which :func:`expectation_adjusted_distinct` corrects.

    Raises
    ------
    StatisticsError
        No text has n words.

    References
    ----------
    Li et al. (2016), A Diversity-Promoting Objective Function for Neural Conversation Models, NAACL.
    """
    grams = [gram for text in texts for gram in _grams(text, n)]
    if not grams:
        raise StatisticsError(f"no text has {n} words", f"texts of {n} words or more")
    return len(set(grams)) / len(grams)


def expectation_adjusted_distinct(texts: Sequence[Sequence[str]], vocabulary: int) -> float:
    """Distinct words over the number expected if every word were drawn evenly from the vocabulary.

    Parameters
    ----------
    texts : sequence of sequences of str
        Texts as words.
    vocabulary : int
        V, the words there are to choose from; the same for all that is compared.

    Returns
    -------
    float
        N / (V (1 - ((V - 1) / V)^C)) with N distinct among C words [1]_: unlike distinct-1 it does not fall with
        length.

    Raises
    ------
    StatisticsError
        There are no words, or more distinct ones than the vocabulary has.

    References
    ----------
    .. [1] Liu et al. (2022), Rethinking and Refining the Distinct Metric, ACL, equation 2.
    """
    counted = Counter(word for text in texts for word in text)
    n_words = counted.total()
    if not n_words:
        raise StatisticsError("no words", "texts with words")
    if len(counted) > vocabulary:
        raise StatisticsError(f"{len(counted)} distinct words of a vocabulary of {vocabulary}", "a larger vocabulary")
    expected = float(-vocabulary * math.expm1(n_words * math.log1p(-1.0 / vocabulary))) if vocabulary > 1 else 1.0
    return len(counted) / expected


def self_bleu(texts: Sequence[Sequence[str]], max_n: int = 4) -> float:
    """Mean BLEU of each text against all others [1]_; 1 where all are the same, near 0 where nothing is shared.

    Parameters
    ----------
    texts : sequence of sequences of str
        Two texts or more, as words.
    max_n : int
        Longest n-gram; all orders weigh the same.

    Returns
    -------
    float
        In [0, 1]. BLEU is smoothed by adding one to matches and totals of orders above 1 (Lin and Och 2004), without
        which one short answer makes it 0.

    Raises
    ------
    StatisticsError
        Fewer than two texts with words.

    References
    ----------
    .. [1] Zhu et al. (2018), Texygen, SIGIR. BLEU: Papineni et al. (2002), ACL. Smoothing: Lin and Och (2004), ORANGE.
    """
    there = [text for text in texts if text]
    if len(there) < 2:
        raise StatisticsError(f"{len(there)} texts with words", "two or more")
    counts = [[Counter(_grams(text, n)) for n in range(1, max_n + 1)] for text in there]
    return math.fsum(_bleu(index, there, counts, max_n) for index in range(len(there))) / len(there)


def cosine_diversity(vectors: npt.ArrayLike) -> float:
    """Mean cosine distance over all pairs of embeddings.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
        One embedding a text.

    Returns
    -------
    float
        In [0, 2]; 0 where all point the same way.

    Raises
    ------
    StatisticsError
        Fewer than two vectors, or one that is zero or not finite.
    """
    found = np.asarray(vectors, dtype=float)
    if found.ndim != 2 or len(found) < 2:
        raise StatisticsError("fewer than two embeddings", "two or more")
    norms = np.linalg.norm(found, axis=1)
    if not np.all(np.isfinite(found)) or not np.all(norms > 0):
        raise StatisticsError("an embedding is zero or not finite", "embeddings with a direction")
    unit = found / norms[:, None]
    n = len(unit)
    total = float(np.square(unit.sum(axis=0)).sum())
    return 1.0 - (total - n) / (n * (n - 1))


def _grams(text: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


def _bleu(
    index: int, texts: Sequence[Sequence[str]], counts: list[list[Counter[tuple[str, ...]]]], max_n: int
) -> float:
    """BLEU of one text against all the others."""
    others = [i for i in range(len(texts)) if i != index]
    length = len(texts[index])
    logs = []
    for order in range(max_n):
        most: Counter[tuple[str, ...]] = Counter()
        for other in others:
            most |= counts[other][order]
        matches = (counts[index][order] & most).total()
        total = counts[index][order].total()
        if order == 0 and matches == 0:
            return 0.0
        smoothing = 1 if order > 0 else 0
        logs.append(math.log((matches + smoothing) / (total + smoothing)))
    reference = min((len(texts[other]) for other in others), key=lambda other: (abs(other - length), other))
    brevity = 0.0 if length >= reference else 1.0 - reference / length
    return math.exp(brevity + math.fsum(logs) / max_n)
