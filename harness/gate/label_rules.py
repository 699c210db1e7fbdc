"""Rules with labels on some prompts and a judge's predictions on all: two judges, or people's votes (PPI++)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.errors import StatisticsError
from harness.gate.decision import RuleDecision
from harness.gate.evidence import PairedUnits
from harness.gate.opened_runs import OpenedRuns
from harness.gate.people import PeoplesVotes
from harness.gate.policy import HEAD_TO_HEAD, Kind, Rule
from harness.gate.rule import too_little, verdict_of
from harness.gate.testing import Claim, Planned, claims_of, tested_rule
from harness.gate.words import rule_reason
from harness.protocols import Benchmark
from harness.records import Prompt, Score
from harness.run.several_judges import powered_difference
from harness.stats.predicted_difference import PairedLabels, PredictedDifference, predicted_difference

BothScores = tuple[Sequence[Score], Sequence[Score]]

_NEEDS_VOTES = "the rule has labels: human, and no votes were given; name a file with `assay gate --human FILE`"


def decide_by_two_judges(
    kind: Kind, rule: Rule, runs: OpenedRuns, found: tuple[Benchmark, BothScores, PairedUnits]
) -> RuleDecision | None:
    """Decide a rule on runs judged by two judges: the strong one's verdicts on some prompts, the cheap one's on all.

    Parameters
    ----------
    kind, rule, runs
        The rule.
    found : (Benchmark, scores, PairedUnits)
        The benchmark, both runs' scores by the strong judge, and the values they give.

    Returns
    -------
    RuleDecision or None
        None where the strong judge's verdicts decide alone: another judge, a relative margin, weighted verdicts, or too
        few prompts by the strong judge.
    """
    benchmark, strong, units = found
    if rule.margin.relative or not (runs.candidate.has_two_judges and runs.baseline.has_two_judges):
        return None
    cheap = runs.candidate.cheap_scores(benchmark.name), runs.baseline.cheap_scores(benchmark.name)
    difference = powered_difference(benchmark, rule.metric, strong, cheap, 1.0 - 2.0 * runs.policy.alpha)
    if difference is None:
        return None
    counts = _counts(units)
    problem = too_little(rule, runs.policy, counts, units.n_all)
    if problem:
        return RuleDecision(kind, rule, "invalid", problem, **counts)
    return _decided(kind, rule, runs, (difference, counts, "the strong judge"))


def decide_by_people(
    kind: Kind, rule: Rule, runs: OpenedRuns, units: PairedUnits, prompts: Sequence[Prompt]
) -> RuleDecision:
    """Decide a rule with ``labels: human``: people's votes on some prompts, the judge's verdicts on all.

    Parameters
    ----------
    kind, rule, runs
        The rule.
    units : PairedUnits
        The judge's values by prompt.
    prompts : sequence of Prompt
        The prompts they are about.

    Raises
    ------
    StatisticsError
        No votes were given, none is about these models, or too few are.
    """
    votes = _usable_votes(rule, runs, units)
    labelled = {p.cluster: label for p in prompts if (label := _label(rule, runs, votes, p)) is not None}
    place = {key: index for index, key in enumerate(units.keys)}
    voted = [key for key in labelled if key in place]
    if not voted:
        raise StatisticsError(
            f"no votes on {_pairs(rule, runs)} in {votes.source}",
            "votes that name the models as the runs do: " + ", ".join(votes.models()[:8]),
            "check the names, or --voters",
        )
    guesses = units.first - units.second
    at = np.array([place[key] for key in voted])
    others = np.setdiff1d(np.arange(len(units.keys)), at)
    if not others.size:
        raise StatisticsError("votes on every prompt", "prompts without votes", "leave `labels` out of the rule")
    values = np.array([labelled[key] for key in voted]).T
    sample = PairedLabels(values[0], values[1], guesses[at], guesses[others])
    difference = predicted_difference(sample, 1.0 - 2.0 * runs.policy.alpha)
    counts = _counts(units) | {"n": len(voted)}
    problem = too_little(rule, runs.policy, counts, units.n_all)
    if problem:
        reason = f"{problem} with people's votes"
        return RuleDecision(kind, rule, "invalid", reason, **counts)
    return _decided(kind, rule, runs, (difference, counts, "people"))


def _usable_votes(rule: Rule, runs: OpenedRuns, units: PairedUnits) -> PeoplesVotes:
    if runs.comparison.votes is None:
        raise StatisticsError(_NEEDS_VOTES)
    if not units.sequential:
        raise StatisticsError(f"{rule.metric} weighs verdicts", "a plain mean", "leave `labels` out of the rule")
    if runs.candidate.stopped_seed is not None:
        raise StatisticsError("the candidate run stopped early, and a rule with labels needs all prompts")
    return runs.comparison.votes


def _label(rule: Rule, runs: OpenedRuns, votes: PeoplesVotes, prompt: Prompt) -> tuple[float, float] | None:
    """What people say of both runs' answers to a prompt, in percent; None without votes on both."""
    candidate, baseline = runs.candidate.model, runs.baseline.model
    if rule.metric == HEAD_TO_HEAD:
        share = votes.for_first(prompt.key, candidate, baseline)
        return None if share is None else (100.0 * share, 50.0)
    reference = _reference(rule, runs)
    shares = [votes.for_first(prompt.key, name, reference) for name in (candidate, baseline)]
    return None if shares[0] is None or shares[1] is None else (100.0 * shares[0], 100.0 * shares[1])


def _reference(rule: Rule, runs: OpenedRuns) -> str:
    """Name of the model both runs were judged against."""
    name = runs.plain_name(rule.benchmark)
    models = {response.model for response in runs.candidate.answers(name, "baseline").values()}
    if len(models) != 1:
        raise StatisticsError(
            f"{rule.benchmark} {rule.metric} compares with {len(models)} models",
            "a metric of preferences over one other model, or head_to_head",
            "leave `labels` out of the rule",
        )
    return next(iter(models))


def _pairs(rule: Rule, runs: OpenedRuns) -> str:
    candidate, baseline = runs.candidate.model, runs.baseline.model
    if rule.metric == HEAD_TO_HEAD:
        return f"{candidate} against {baseline}"
    return f"{candidate} and {baseline}, each against {_reference(rule, runs)}"


def _counts(units: PairedUnits) -> dict[str, Any]:
    return {
        "n": len(units.keys),
        "n_items": units.n_items,
        "n_unscored": units.n_unscored,
        "unscored": units.unscored,
    }


def _decided(
    kind: Kind, rule: Rule, runs: OpenedRuns, found: tuple[PredictedDifference, dict[str, Any], str]
) -> RuleDecision:
    difference, counts, whose = found
    claims = claims_of(kind, rule, difference.second)
    p_values = [_p_values(claim, difference) for claim in claims]
    n = difference.powered.n_labelled
    stderr = difference.estimate.stderr or 0.0
    tested = tested_rule(
        (difference.first, difference.second),
        difference.estimate,
        claims,
        (max(p for p, _ in p_values), min(p for _, p in p_values)),
        Planned(difference.estimate.value, stderr * math.sqrt(n), n),
        runs.policy,
    )
    verdict = verdict_of(tested, runs.policy.alpha)
    n_all = n + difference.powered.n_unlabelled
    reason = f"{rule_reason(kind, rule, tested, verdict, None)} [labels by {whose} on {n} of {n_all} prompts]"
    labels = _labels(difference, whose)
    return RuleDecision(kind, rule, verdict, reason, "", tested, tested.p_pass, labels=labels, **counts)


def _p_values(claim: Claim, difference: PredictedDifference) -> tuple[float, float]:
    """P-values against "the claim does not hold", and "it holds"."""
    above, below = difference.p_values(claim.sign * claim.threshold)
    return (above, below) if claim.sign > 0.0 else (below, above)


def _labels(difference: PredictedDifference, whose: str) -> dict[str, Any]:
    """Return what the labels and the predictions say by themselves, for ``--json``."""
    powered = difference.powered
    return {
        "by": whose,
        "n_labelled": powered.n_labelled,
        "n_predicted": powered.n_labelled + powered.n_unlabelled,
        "power": powered.power,
        "effective_labels": powered.effective_labels,
        "labels_only": {"effect": powered.labels_only.value, "stderr": powered.labels_only.stderr},
        "judge_only": {"effect": powered.judge_only.value, "stderr": powered.judge_only.stderr},
    }
