"""What failed in a run: each kind of error with its first message, its count and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from harness.records import Score

_RESUME = "`assay resume {run}` tries these again"
_REPLY = "read what the judge said (`assay report {run}`); " + _RESUME
_REMEDIES = {
    "unparsed": _REPLY + "; a judge that never ends with a verdict is the wrong one, or needs another --judge-prompt",
    "ambiguous": _REPLY,
    "quoted": _REPLY,
    "not_final": _REPLY,
    "echoed": "the verdict stands in the judged answer too: read that answer (`assay report {run}`)",
    "out_of_scale": _REPLY,
    "refused": "the judge declined: read what it said (`assay report {run}`), or choose another judge",
    "truncated": "raise --judge-max-tokens in a new run; for the candidate's answers, --max-tokens",
    "no_logprobs": "choose a judge that returns log-probabilities, or a benchmark that reads the judge's text",
    "timeout": "raise --judge-timeout or lower --judge-concurrency; " + _RESUME,
    "request_failed": "mend what the endpoint complains about; " + _RESUME,
    "context_length": "choose a judge with a longer context, or lower --max-tokens",
    "no_response": "the model under test gave no answer: mend what it complains about; " + _RESUME,
    "no_baseline": "give a baseline that answers every prompt",
    "lone_game": "judge the missing order, or import with --lone-games score",
    "missing": "`assay resume {run}` continues the run",
    "metric_failed": "mend the function; `assay resume {run}` measures these answers again and generates nothing",
}
_NUMBER = re.compile(r"\d+")
_KIND_LENGTH = 120


@dataclass(frozen=True)
class Failure:
    """Items of a benchmark that have no score for the same reason.

    Parameters
    ----------
    benchmark : str
        The benchmark.
    reason : str
        Code of the reason ("no_response", "unparsed", ...).
    n : int
        Number of items.
    error : str
        The first message.
    prompt_id : str
        The prompt of the first.
    remedy : str
        What to do.
    """

    benchmark: str
    reason: str
    n: int
    error: str
    prompt_id: str
    remedy: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields for summary.json."""
        return asdict(self)


def failures(scores: Iterable[Score], run: str) -> list[Failure]:
    """Group the scores without a value by reason and message.

    Messages that differ only in numbers (positions, request ids) are one kind.

    Parameters
    ----------
    scores : iterable of Score
        The scores that measure the quality of answers.
    run : str
        The run directory, for the remedies.

    Returns
    -------
    list of Failure
        Most frequent first.
    """
    found: dict[tuple[str, str, str], list[Score]] = {}
    for score in scores:
        if score.reason is not None:
            code, _, error = score.reason.partition(":")
            kind = _NUMBER.sub("#", error)[:_KIND_LENGTH]
            found.setdefault((score.benchmark, code, kind), []).append(score)
    listed = [
        Failure(
            benchmark,
            code,
            len(items),
            (items[0].reason or "").partition(":")[2].strip(),
            items[0].prompt_id,
            _REMEDIES.get(code, _RESUME).replace("{run}", run),
        )
        for (benchmark, code, _), items in found.items()
    ]
    return sorted(listed, key=lambda failure: -failure.n)
