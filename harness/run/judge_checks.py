"""Checks of a run's judge that need no questions of their own: the same rating throughout, and judging itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from statistics import fmean
from typing import Any

from harness.protocols import Benchmark
from harness.records import Judgment, Rating, Score
from harness.stats.mean import cluster_mean

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
    members = {name.rstrip("/") for member in judge.split(",") for name in _suffixes(member.strip())}
    if members & names_of_model(header):
        return (
            f"the judge ({judge}) is the model under test: judges tend to prefer their own answers, so do not compare "
            "these figures with those of other models; --judge panel:A,B with another judge measures by how much"
        )
    return ""


def names_of_model(header: Mapping[str, Any]) -> frozenset[str]:
    """Return the names by which a judge could be the model under test."""
    source = str(header["model"].get("source") or "")
    return frozenset({source.rstrip("/"), PurePath(source).name, source.rpartition(" ")[2]} if source else ())


def self_preferences(judgments: Iterable[Judgment], names: frozenset[str]) -> list[tuple[float, str]]:
    """Compare a panel's member that is the model under test with the other members.

    Parameters
    ----------
    judgments : iterable of Judgment
        Verdicts of a panel.
    names : frozenset of str
        The names of the model under test.

    Returns
    -------
    list of (float, str)
        Its verdict on its own answer less the mean of the others', as a share of the scale, and the prompt.
    """
    found = []
    for judgment in judgments:
        shares: dict[bool, list[float]] = {True: [], False: []}
        for member in judgment.meta.get("members", ()):
            share = _share(member["verdict"], candidate_first=judgment.order[0] == "candidate")
            if share is not None:
                shares[member["judge"] in names].append(share)
        if shares[True] and shares[False]:
            found.append((fmean(shares[True]) - fmean(shares[False]), judgment.prompt_id))
    return found


def self_preference_remark(benchmark: str, found: Sequence[tuple[float, str]]) -> str:
    """Return what :func:`self_preferences` found, with its 95 % interval over prompts; "" if it found nothing."""
    if len({prompt for _, prompt in found}) < 2:
        return ""
    mean = cluster_mean([100.0 * difference for difference, _ in found], [prompt for _, prompt in found])
    limits = "no interval" if mean.ci_low is None else f"95 % interval {mean.ci_low:+.1f} to {mean.ci_high:+.1f}"
    return (
        f"{benchmark}: self-preference of the member that is the model under test: {mean.value:+.1f} points of 100 "
        f"against the other members, {limits}"
    )


def _share(verdict: Mapping[str, Any], *, candidate_first: bool) -> float | None:
    """Where a stored verdict lies between the worst (0) and the best (1) for the candidate; None if it is missing."""
    if verdict["kind"] == "rating":
        return float((verdict["value"] - verdict["low"]) / (verdict["high"] - verdict["low"]))
    if verdict["kind"] == "preference":
        return float(verdict["p_first"] if candidate_first else 1.0 - verdict["p_first"])
    return None


def _suffixes(judge: str) -> set[str]:
    """The model's name of KIND:MODEL, and of a kind in a kind; names may contain colons themselves."""
    parts = judge.split(":")
    return {":".join(parts[i:]) for i in range(1, len(parts))}
