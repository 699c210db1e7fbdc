"""Which judge gave the verdicts of a run: its name, and the ids that hash model, template, parser and sampling."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import UsageError
from harness.store.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class JudgedBy:
    """The judge of a benchmark's verdicts.

    Parameters
    ----------
    name : str
        Its name, as the verdicts give it.
    ids : frozenset of str
        Its ids; empty for published figures, whose verdicts are not at hand.
    also : frozenset of str
        Other names it has.
    """

    name: str
    ids: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()

    def is_same(self, other: JudgedBy) -> bool:
        """Whether two figures were made by one judge; where one has no ids, by the name."""
        if self.ids and other.ids:
            return self.ids == other.ids
        return bool({self.name, *self.also} & {other.name, *other.also})


def judged_by(directory: RunDirectory) -> dict[str, JudgedBy]:
    """Return the judge of each judged benchmark of a run."""
    names: dict[str, set[str]] = defaultdict(set)
    ids: dict[str, set[str]] = defaultdict(set)
    for judgment in directory.slim_judgments():
        names[judgment.benchmark].add(judgment.judge)
        ids[judgment.benchmark].add(judgment.judge_id)
    return {b: JudgedBy(", ".join(sorted(names[b])), frozenset(ids[b])) for b in ids}


def one_judge(benchmark: str, side: str, judges: Mapping[str, JudgedBy]) -> JudgedBy:
    """Return the judge that all runs of a side have in common.

    Parameters
    ----------
    benchmark, side : str
        For the message.
    judges : mapping of str to JudgedBy
        By run.

    Raises
    ------
    UsageError
        They were judged by different judges.
    """
    first = next(iter(judges.values()))
    if not all(judge.is_same(first) for judge in judges.values()):
        listed = "; ".join(f"{run}: {judge.name}" for run, judge in judges.items())
        raise UsageError(
            f"{benchmark}: the {side} runs were judged by different judges, templates or parsers ({listed})",
            f"one judge for all {side} runs",
            "give the runs of one judge, and make a bridge for each of the others",
        )
    return first
