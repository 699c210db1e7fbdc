"""Which judge gave the verdicts of a run: its name, and the ids that hash model, template, parser and sampling."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import UsageError
from harness.store.run_directory import RunDirectory

_NONE: frozenset[str] = frozenset()


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
    against : frozenset of str
        The models whose answers it compared with; empty where it compares none or they are not known.
    """

    name: str
    ids: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()
    against: frozenset[str] = frozenset()

    def is_same(self, other: JudgedBy) -> bool:
        """Whether two figures are on one scale: by one judge, against one baseline."""
        return self.is_same_judge(other) and self.has_same_baseline(other)

    def has_same_baseline(self, other: JudgedBy) -> bool:
        """Whether both compared with the same models, as far as they are known; some prompts may have some of them."""
        return self.against <= other.against or other.against <= self.against

    def is_same_judge(self, other: JudgedBy) -> bool:
        """Whether two figures were made by one judge; where one has no ids, by the name."""
        if self.ids and other.ids:
            return self.ids == other.ids
        return bool({self.name, *self.also} & {other.name, *other.also})

    @property
    def words(self) -> str:
        """The judge, and the baseline if it is known."""
        return f"{self.name} against {', '.join(sorted(self.against))}" if self.against else self.name


def judged_by(directory: RunDirectory) -> dict[str, JudgedBy]:
    """Return the judge of each judged benchmark of a run."""
    names: dict[str, set[str]] = defaultdict(set)
    ids: dict[str, set[str]] = defaultdict(set)
    compares = False
    for judgment in directory.slim_judgments():
        names[judgment.benchmark].add(judgment.judge)
        ids[judgment.benchmark].add(judgment.judge_id)
        compares = compares or "baseline" in judgment.order
    against = baselines_of(directory) if compares else {}
    return {b: JudgedBy(", ".join(sorted(names[b])), frozenset(ids[b]), against=against.get(b, _NONE)) for b in ids}


def baselines_of(directory: RunDirectory) -> dict[str, frozenset[str]]:
    """Return the models compared with, by benchmark: those of the answers, or as the files of an import name them."""
    found: dict[str, set[str]] = defaultdict(set)
    for entry in directory.header().get("benchmarks", ()):
        found[entry["name"]].update(entry.get("baselines", ()))
    for response in directory.responses().values():
        if response.role == "baseline":
            found[response.benchmark].add(response.model)
    return {benchmark: frozenset(models) for benchmark, models in found.items() if models}


def judge_ids(directory: RunDirectory) -> dict[str, set[str]]:
    """Return the ids of the judges (model, template, parser) that gave a run's verdicts, by benchmark."""
    found: dict[str, set[str]] = defaultdict(set)
    for judgment in directory.slim_judgments():
        found[judgment.benchmark].add(judgment.judge_id)
    return found


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
        listed = "; ".join(f"{run}: {judge.words}" for run, judge in judges.items())
        raise UsageError(
            f"{benchmark}: the {side} runs were judged by different judges, templates or parsers, or against different "
            f"baselines ({listed})",
            f"one judge and one baseline for all {side} runs",
            "give the runs of one judge, and make a bridge for each of the others",
        )
    return first
