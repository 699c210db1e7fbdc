"""Figures of answers without a judge: the answer compared with references, or a function of the user's.

=============== =====================================================================================================
exact_match     1 if the answer equals a reference; both with Unicode NFKC, case folding, single spaces, and without
                quotes, asterisks and a full stop around them
contains        1 if a reference occurs in the answer; both with NFKC, case folding and single spaces
regex           1 if the reference, a regular expression, matches somewhere in the answer
f1              SQuAD's: the harmonic mean of precision and recall of the words, lower case without punctuation and
                articles
rouge_l         F-measure of the longest common subsequence of words (the package rouge_score, without stemming); its
                words are made of a-z and 0-9 only
python:MOD:FUN  ``FUN(prompt, answer, reference)`` of the module MOD: a number or a boolean
=============== =====================================================================================================

With several references the best counts, as in SQuAD and rouge_score.
"""

from __future__ import annotations

import inspect
import math
import numbers
import pkgutil
import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import SpecError, nearest
from harness.hashing import content_hash

PYTHON = "python:"
_AROUND = " \t\"'“”‘’*`."
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def exact_match(answer: str, reference: str) -> float:
    """Whether the normalised texts are equal."""
    return float(_plain(answer).strip(_AROUND) == _plain(reference).strip(_AROUND))


def contains(answer: str, reference: str) -> float:
    """Whether the answer holds the reference, both normalised."""
    return float(_plain(reference) in _plain(answer))


def regex(answer: str, reference: str) -> float:
    """Whether a regular expression matches somewhere in the answer."""
    return float(re.search(reference, answer) is not None)


def f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the words [1]_.

    References
    ----------
    .. [1] Rajpurkar, Jia and Liang (2018), Know What You Don't Know: Unanswerable Questions for SQuAD,
       arXiv:1806.03822; its evaluation script, version 2.0.
    """
    found, wanted = _squad_words(answer), _squad_words(reference)
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2.0 * common / (len(found) + len(wanted))


def rouge_l(answer: str, reference: str) -> float:
    """F-measure of the longest common subsequence (Lin 2004, ROUGE)."""
    return float(_rouge().score(reference, answer)["rougeL"].fmeasure)


METRICS: dict[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "contains": contains,
    "regex": regex,
    "f1": f1,
    "rouge_l": rouge_l,
}


def best(metric: str, answer: str, references: Sequence[str]) -> float:
    """Return the figure of an answer against the reference that suits it best."""
    return max(METRICS[metric](answer, reference) for reference in references)


def checked_metric(name: str) -> str:
    """Return the name of a metric.

    Raises
    ------
    SpecError
        There is no such metric.
    """
    if name in METRICS:
        return name
    parts = name.split(":")
    if name.startswith(PYTHON) and len(parts) == 3 and all(parts):
        return name
    close = nearest(name, METRICS)
    raise SpecError(
        f"metric {name!r}",
        ", ".join([*METRICS, "python:MODULE:FUNCTION"]),
        f"did you mean {close!r}?" if close else "",
    )


def checked_pattern(pattern: str) -> str:
    """Return why a pattern is no regular expression; "" if it is one."""
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class PythonMetric:
    """A function of the user's.

    Parameters
    ----------
    reference : str
        ``python:MODULE:FUNCTION``.
    function : callable
        The function.
    code : str
        Hash of its source; values of another source are computed again.
    """

    reference: str
    function: Callable[..., Any]
    code: str

    @classmethod
    def load(cls, reference: str) -> PythonMetric:
        """Import the function; the current directory is searched too.

        Raises
        ------
        SpecError
            It cannot be imported, or is not a function.
        """
        target = reference.removeprefix(PYTHON)
        here = str(Path.cwd())
        sys.path.insert(0, here)
        try:
            function = pkgutil.resolve_name(target)
        except Exception as error:
            raise SpecError(
                f"metric {reference}: {type(error).__name__}: {' '.join(str(error).split())}",
                "a module that can be imported from here, and a function in it",
                "run from the directory that holds the module, or set PYTHONPATH",
            ) from error
        finally:
            sys.path.remove(here)
        if not callable(function):
            raise SpecError(f"metric {reference} is a {type(function).__name__}", "a function")
        return cls(reference, function, content_hash("metric", reference, _source(function)))

    def measure(self, prompt: str, answer: str, reference: tuple[str, ...] | None) -> dict[str, Any]:
        """Call the function.

        Parameters
        ----------
        prompt, answer : str
            The last user turn and the answer to it.
        reference : tuple of str or None
            The row's references: passed on as text if there is one, as a list if there are several.

        Returns
        -------
        dict
            "name" and "code" of the metric, and either "value" or "error".
        """
        given = None if not reference else reference[0] if len(reference) == 1 else list(reference)
        stamp = {"name": self.reference, "code": self.code}
        try:
            value = self.function(prompt, answer, given)
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            return stamp | {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        if not isinstance(value, numbers.Real | bool) or not math.isfinite(value):
            return stamp | {"error": f"it returned {value!r:.80}, not a finite number or a boolean"}
        return stamp | {"value": float(value)}


def _source(function: Callable[..., Any]) -> str:
    """Return the source of a function's module, or what tells the function otherwise."""
    try:
        return inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError):
        return repr(getattr(function, "__module__", ""))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _squad_words(text: str) -> list[str]:
    without = "".join(c for c in text.lower() if c not in string.punctuation)
    return _ARTICLES.sub(" ", without).split()


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)
