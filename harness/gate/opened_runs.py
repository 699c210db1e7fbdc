"""The runs a decision is about, opened and checked benchmark by benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UsageError, nearest
from harness.gate.contamination import contaminated_prompts
from harness.gate.look_plan import LookPlan
from harness.gate.people import PeoplesVotes
from harness.gate.policy import Policy
from harness.gate.rule import PairTest
from harness.gate.sequential import SequentialTest
from harness.gate.validity import benchmark_problems
from harness.protocols import DataSource, FittedComparison
from harness.run.stored_run import StoredRun

Fits = dict[tuple[str, str, frozenset[str]], FittedComparison | None]
"""Comparisons of fitted metrics, by benchmark, metric and the candidate's prompts."""


@dataclass(frozen=True)
class Comparison:
    """The runs to compare.

    Parameters
    ----------
    candidate : Path
        Run directory.
    baseline : Path or None
        Run directory; None if every rule is a limit.
    data : DataSource
        Upstream files some fitted metrics need.
    head_to_head : Path or None
        A run in which the candidate's answers were judged against the baseline's.
    training : sequence of str
        Texts the candidate was trained on; test prompts that occur in them make a rule invalid.
    seed : int
        Random seed of the prompt order, for policies that are tested more than once; that of a run that stopped early
        is used instead.
    votes : PeoplesVotes or None
        People's votes, for rules with ``labels: human``.
    """

    candidate: Path
    baseline: Path | None
    data: DataSource
    head_to_head: Path | None = None
    training: Sequence[str] = ()
    seed: int = 0
    votes: PeoplesVotes | None = None


@dataclass
class OpenedRuns:
    """The opened runs, with the problems of their benchmarks.

    Parameters
    ----------
    policy : Policy
    candidate : StoredRun
    against : StoredRun or None
        The baseline.
    direct : StoredRun or None
        The head-to-head run.
    comparison : Comparison
    test : callable or None
        Test of a rule on paired values; None for the fixed-sample test.
    fits : dict
        Comparisons of fitted metrics made so far.
    """

    policy: Policy
    candidate: StoredRun
    against: StoredRun | None
    direct: StoredRun | None
    comparison: Comparison
    test: PairTest | None
    fits: Fits = field(default_factory=dict)
    _checked: dict[tuple[str, bool], list[str]] = field(default_factory=dict)

    @classmethod
    def open(cls, policy: Policy, comparison: Comparison, test: PairTest | None) -> OpenedRuns:
        """Open the runs.

        Raises
        ------
        UsageError
            A directory holds no run, or the policy needs a baseline and none is given.
        """
        if comparison.baseline is None and policy.needs_baseline:
            named = next(rule.title(kind) for kind, rule in policy.each_rule() if kind != "limit")
            raise UsageError(
                f"no baseline, and the policy compares with one ({named})",
                "two runs, or a policy of limits alone",
                "give the baseline's run with --baseline DIR",
            )
        candidate = _opened(comparison.candidate)
        against = None if comparison.baseline is None else _opened(comparison.baseline)
        direct = None if comparison.head_to_head is None else _opened(comparison.head_to_head)
        return cls(policy, candidate, against, direct, comparison, test or _test_of(policy, candidate, comparison.seed))

    @property
    def baseline(self) -> StoredRun:
        """The baseline, for rules that compare with it (`open` makes sure there is one)."""
        assert self.against is not None, "the policy has rules that need a baseline"
        return self.against

    def holds(self, benchmark: str) -> bool:
        """Whether either run holds a benchmark."""
        runs = (self.candidate, self.against)
        return any(run is not None and run.entry(benchmark) is not None for run in runs)

    @property
    def in_looks(self) -> bool:
        """Whether the rules are tested at planned looks: those that a candidate stopped at, or the policy's."""
        planned = self.policy.method == "group_sequential" and self.candidate.stopped_seed is None
        return self.test is None and (planned or LookPlan.recorded(self.candidate) is not None)

    def stopped_early(self) -> list[str]:
        """Return a problem if a run that stopped early is not tested with the sequential test that stopped it."""
        seed = None if self.in_looks else self.candidate.stopped_seed
        if seed is None or getattr(self.test, "seed", None) == seed:
            return []
        return [f"the candidate run stopped early, which only the sequential test with seed {seed} takes into account"]

    def problems(self, name: str, *, alone: bool = False) -> list[str]:
        """Return what makes a benchmark unusable; with `alone`, of the candidate's run by itself."""
        if (name, alone) not in self._checked:
            found = self._held(name) if alone else benchmark_problems(name, self.candidate, self.baseline)
            self._checked[name, alone] = found or self._contaminated(name)
        return self._checked[name, alone]

    def plain_name(self, benchmark: str) -> str:
        """Return a benchmark's name in the candidate's run."""
        return str((self.candidate.entry(benchmark) or {})["name"])

    def n_all(self, name: str) -> int | None:
        """Return the number of all prompts of a benchmark, if known."""
        found = (self.candidate.entry(name) or {}).get("n_all_prompts")
        return int(found) if found else None

    def unknown_metric(self, name: str, metric: str) -> str:
        """Return a problem, with the nearest names, unless both runs hold a metric."""
        held = [set(run.metrics(name)) for run in (self.candidate, self.baseline)]
        shared = held[0] & held[1]
        who = "only one run holds" if metric in held[0] | held[1] else "neither run holds"
        return "" if metric in shared else f"{who} {name} {metric}; {_hint(metric, shared, 'both hold')}"

    def unknown_in_candidate(self, name: str, metric: str) -> str:
        """Return a problem, with the nearest names, unless the candidate's run holds a metric."""
        held = set(self.candidate.metrics(name))
        return "" if metric in held else f"the run does not hold {name} {metric}; {_hint(metric, held, 'it holds')}"

    def _held(self, name: str) -> list[str]:
        if self.candidate.entry(name) is not None:
            return []
        held = sorted({str(e["name"]) for e in self.candidate.header.get("benchmarks", ())})
        return [f"the candidate run does not hold {name} (it holds: {', '.join(held)})"]

    def _contaminated(self, name: str) -> list[str]:
        if not self.comparison.training:
            return []
        found = contaminated_prompts(self.candidate.prompts_of(name).values(), self.comparison.training)
        listed = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        return [f"{len(found)} training prompts are among the test prompts: {listed}"] if found else []


def _test_of(policy: Policy, candidate: StoredRun, seed: int) -> PairTest | None:
    """Return the test of a policy's method, in the order of a candidate that stopped early."""
    if policy.method != "betting" or LookPlan.recorded(candidate) is not None:
        return None
    return SequentialTest(seed if candidate.stopped_seed is None else candidate.stopped_seed)


def _opened(path: Path) -> StoredRun:
    if not (path / "run.json").is_file():
        raise UsageError(
            f"{path} holds no run (no run.json)", "a directory made by `assay run` or `assay import`", "check the path"
        )
    return StoredRun.open(path)


def _hint(metric: str, held: set[str], who: str) -> str:
    close = nearest(metric, held)
    return f"did you mean {close}?" if close else f"{who}: " + ", ".join(sorted(held))
