"""Head-to-head: candidate and baseline judged against each other instead of both against a third model.

The candidate's share of the preference, averaged over both orders of presentation, is compared with one half. A tie
counts one half. A judge that follows only the position gives every prompt one half, and so no evidence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import StatisticsError
from harness.gate.evidence import PairedUnits
from harness.gate.policy import HEAD_TO_HEAD, Policy
from harness.records import Judgment, Prompt, Unscored
from harness.run.stored_run import StoredRun
from harness.spec import RunSpec, validated


@dataclass(frozen=True)
class HeadToHead:
    """Verdicts on candidate against baseline by prompt.

    Parameters
    ----------
    shares : dict of str to float
        The candidate's share (0 to 1) by prompt, the mean over both orders, for prompts with verdicts in both.
    unscored : dict of str to int
        Number of the other prompts by reason.
    n_contradicting : int
        Number of prompts whose two orders prefer different sides.
    """

    shares: dict[str, float]
    unscored: dict[str, int]
    n_contradicting: int


def head_to_head_shares(judgments: Iterable[Judgment]) -> HeadToHead:
    """Average the verdicts on each prompt over both orders.

    Parameters
    ----------
    judgments : iterable of Judgment
        Preferences between candidate and baseline; every turn of every prompt in both orders.

    Returns
    -------
    HeadToHead
        A prompt with a verdict in only one order is unscored ("one_order"): the judge's position bias would count as
        quality.
    """
    orders: dict[str, dict[tuple[int, str], Judgment]] = defaultdict(dict)
    for j in judgments:
        if set(j.order) == {"candidate", "baseline"}:
            orders[j.prompt_id][j.turn, j.order[0]] = j
    shares: dict[str, float] = {}
    reasons: Counter[str] = Counter()
    n_contradicting = 0
    for prompt_id, found in orders.items():
        values = _both_orders(found)
        if values is None:
            reasons[_reason(found.values())] += 1
            continue
        shares[prompt_id] = float(np.mean(list(values.values())))
        turns = {turn for turn, _ in values}
        n_contradicting += any(
            (values[turn, "candidate"] - 0.5) * (values[turn, "baseline"] - 0.5) < 0.0 for turn in turns
        )
    return HeadToHead(shares, dict(reasons.most_common()), n_contradicting)


def _both_orders(found: Mapping[tuple[int, str], Judgment]) -> dict[tuple[int, str], float] | None:
    """Return the candidate's share by turn and first role; None unless every turn has verdicts in both orders."""
    values = {(turn, first): found[turn, first].candidate_share for turn, first in found}
    measured = {key: value for key, value in values.items() if value is not None}
    turns = {turn for turn, _ in found}
    return measured if len(measured) == 2 * len(turns) else None


def _reason(judgments: Iterable[Judgment]) -> str:
    return next((j.verdict.reason for j in judgments if isinstance(j.verdict, Unscored)), "one_order")


def head_to_head_units(judgments: Iterable[Judgment], prompts: Mapping[str, Prompt]) -> PairedUnits:
    """Return the paired values of a head-to-head rule: the candidate's share in percent against 50.

    Parameters
    ----------
    judgments : iterable of Judgment
        As in :func:`head_to_head_shares`.
    prompts : mapping of str to Prompt
        All prompts that should have been judged, by id; those without verdicts count as missing.

    Raises
    ------
    StatisticsError
        No prompt has verdicts in both orders.
    """
    found = head_to_head_shares(judgments)
    if not found.shares:
        counts = ", ".join(f"{reason} {n}" for reason, n in found.unscored.items()) or "no verdicts"
        raise StatisticsError(f"no prompt has a verdict in both orders ({counts})", "each pair judged in both orders")
    unscored = dict(found.unscored)
    n_missing = len(prompts) - len(found.shares) - sum(unscored.values())
    if n_missing > 0:
        unscored["missing"] = n_missing
    by_cluster: dict[str, list[float]] = defaultdict(list)
    for prompt_id, share in found.shares.items():
        by_cluster[prompts[prompt_id].cluster if prompt_id in prompts else prompt_id].append(100.0 * share)
    keys = tuple(by_cluster)
    values = np.array([np.mean(by_cluster[key]) for key in keys])
    n_all = len(found.shares) + sum(unscored.values())
    return PairedUnits(
        keys, values, np.full(values.size, 50.0), len(found.shares), n_all, unscored, 50.0, 0.0, 100.0, True
    )


def head_to_head_names(policy: Policy, runs: Iterable[StoredRun]) -> tuple[list[str], list[str]]:
    """Return the benchmarks of the policy's head-to-head rules, and those of them that all runs hold."""
    required = list(dict.fromkeys(rule.benchmark for _, rule in policy.each_rule() if rule.metric == HEAD_TO_HEAD))
    opened = list(runs) if required else []  # opening a run reads all of it
    return required, [name for name in required if all(run.entry(name) is not None for run in opened)]


def head_to_head_spec(
    candidate: tuple[str, Path], baseline: Path, names: Iterable[str], fields: Mapping[str, Any]
) -> RunSpec:
    """Return the spec of the run that judges two runs' answers against each other.

    Parameters
    ----------
    candidate : (str, Path)
        Name of the candidate, and its run directory.
    baseline : Path
        Run directory of the baseline.
    names : iterable of str
        Benchmarks.
    fields : mapping
        The judge and other fields of the spec.

    Raises
    ------
    SpecError
        A field is wrong.
    """
    model, path = candidate
    values = {
        "model": {"path": str(path), "engine": "stored", "name": model},
        "benchmarks": [{"name": f"head_to_head:{name}", "options": {"baseline": str(baseline)}} for name in names],
    }
    return validated(RunSpec, {**values, **fields}, "head to head")


def head_to_head_problems(name: str, run: StoredRun, candidate: StoredRun, baseline: StoredRun) -> list[str]:
    """Return what makes a head-to-head run unusable: it is not complete, or judged other answers than the runs'."""
    if not run.directory.complete:
        return [f"the head-to-head run {run.path} is not complete"]
    if run.entry(name) is None:
        return [f"the head-to-head run {run.path} does not hold {name}"]
    problems = []
    for role, source in (("candidate", candidate), ("baseline", baseline)):
        judged, own = run.answers(name, role), source.answers(name, "candidate")
        n_other = sum(own[key].turns != judged[key].turns for key in judged if key in own)
        n_unknown = sum(key not in own for key in judged)
        if not judged:
            problems.append(f"the head-to-head run holds no answers of the {role}")
        elif n_other or n_unknown:
            problems.append(
                f"the head-to-head run judged other answers than the {role} run's: {n_other} differ, "
                f"{n_unknown} are to prompts it does not hold"
            )
    return problems
