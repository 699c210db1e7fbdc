"""Checks of a run's judge that need no questions of their own: the same rating throughout, and judging itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from harness.protocols import Benchmark
from harness.records import Judgment, Rating, Score

ENOUGH_PROMPTS = 10
"""Rated prompts from which equal ratings throughout tell something about the judge."""


def constant_rating(
    benchmark: Benchmark, scores: Sequence[Score], canaries: Iterable[Judgment]
) -> tuple[list[str], list[str]]:
    """Find ratings that are the same for every answer.

    A judge that gave a null response another rating can tell answers apart; then it is a remark, otherwise a problem.

    Parameters
    ----------
    benchmark : Benchmark
        The benchmark; its scores with the role "rating" are checked.
    scores : sequence of Score
        Its scores.
    canaries : iterable of Judgment
        Its judge's verdicts on canary questions.

    Returns
    -------
    (list of str, list of str)
        Problems and remarks.
    """
    nulls = _null_ratings(benchmark.name, canaries)
    problems, remarks = [], []
    for name in benchmark.score_kinds:
        found = [s for s in scores if s.metric == name and s.value is not None]
        value = _only_value(found) if benchmark.score_kinds[name].role == "rating" else None
        if value is None:
            continue
        text = f"judge of {benchmark.name}: all {len(found)} answers got the same {name}, {value:g}"
        if nulls - {value}:
            remarks.append(f"{text}; null responses got {', '.join(f'{v:g}' for v in sorted(nulls))}")
        else:
            problems.append(f"{text}{', and null responses got it too' if nulls else ''}: it does not tell them apart")
    return problems, remarks


def _only_value(scores: Sequence[Score]) -> float | None:
    """The value of all scores if it is the same, of enough prompts."""
    values = {s.value for s in scores}
    return values.pop() if len(values) == 1 and len({s.prompt_id for s in scores}) >= ENOUGH_PROMPTS else None


def _null_ratings(benchmark: str, canaries: Iterable[Judgment]) -> set[float]:
    return {
        j.verdict.value
        for j in canaries
        if j.benchmark == benchmark and j.meta.get("canary") == "null_rating" and isinstance(j.verdict, Rating)
    }


def judges_itself(header: Mapping[str, Any]) -> str:
    """Return a remark if the model under test is the judge or a member of a panel of judges; "" otherwise.

    Parameters
    ----------
    header : mapping
        Content of run.json.
    """
    judge = str((header.get("judge") or {}).get("model") or "")
    source = str(header["model"].get("source") or "")
    members = {name.rstrip("/") for member in judge.split(",") for name in _suffixes(member.strip())}
    if source and members & {source.rstrip("/"), PurePath(source).name, source.rpartition(" ")[2]}:
        return (
            f"the judge ({judge}) is the model under test: judges tend to prefer their own answers, so do not compare "
            "these figures with those of other models"
        )
    return ""


def _suffixes(judge: str) -> set[str]:
    """The model's name of KIND:MODEL, and of a kind in a kind; names may contain colons themselves."""
    parts = judge.split(":")
    return {":".join(parts[i:]) for i in range(1, len(parts))}
