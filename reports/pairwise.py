"""Ratings from every pair of answers that was judged: Bradley-Terry over all models of the runs, baselines included."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError, UsageError
from harness.records import Response, Score
from harness.run.judged_by import judge_ids
from harness.run.score import RunScores
from harness.stats.bootstrap import expanded_tails
from harness.stats.bradley_terry import (
    BradleyTerryDraws,
    Comparisons,
    bootstrap_bradley_terry,
    compare,
    elo_ratings,
    fit_bradley_terry,
    refuse_unconnected,
)
from harness.stats.ranking import significant_ranks
from harness.store.run_directory import RunDirectory
from reports.leaderboard import refuse_mixed_judges
from reports.tables import Table

_N_DRAWS = 2000
_SEED = 20241204  # of the bootstrap; fixed, so that the same runs always rank the same
_RIDGE = 0.01
_LEVEL = 0.95


class _Pair(NamedTuple):
    """One judged pair of answers."""

    model: str
    opponent: str
    share: float
    weight: float
    prompt: str


@dataclass(frozen=True)
class RatedModel:
    """A model's rating.

    Parameters
    ----------
    model : str
        Its name.
    rating, ci_low, ci_high : float
        On the Elo scale, 1000 the mean of the models; 400 points are odds of ten to one.
    rank, rank_low_marginal, rank_high_marginal : int
        Its rank, and the range that holds it.
    rank_low_simultaneous, rank_high_simultaneous : int
        The range of all ranges that together hold the ranks of all models.
    n : int
        Pairs of answers it stands in.
    """

    model: str
    rating: float
    ci_low: float
    ci_high: float
    rank: int
    rank_low_marginal: int
    rank_high_marginal: int
    rank_low_simultaneous: int
    rank_high_simultaneous: int
    n: int


@dataclass(frozen=True)
class PairwiseTable:
    """The ratings of one benchmark, best first.

    Parameters
    ----------
    benchmark : str
        Its name.
    models : list of RatedModel
        The models.
    n, n_prompts, n_unscored : int
        Pairs of answers, the prompts they are on, and pairs without a verdict.
    method : str
        How ratings and ranges were made.
    notes : list of str
        What to beware of.
    """

    benchmark: str
    models: list[RatedModel]
    n: int
    n_prompts: int
    n_unscored: int
    method: str
    notes: list[str]


@dataclass(frozen=True)
class PairwiseBoard:
    """The ratings of every benchmark that pairs were judged on."""

    tables: list[PairwiseTable]
    problems: list[str] = field(default_factory=list)
    level: float = _LEVEL

    def table(self) -> Table:
        """One row a model and benchmark."""
        header = ["model", "benchmark", "rating", f"{self.level:.0%} interval", "rank"]
        header += [f"marginal ranks ({self.level:.0%})", f"simultaneous ranks ({self.level:.0%})", "pairs"]
        rows = [
            [
                found.model,
                table.benchmark,
                f"{found.rating:.0f}",
                f"{found.ci_low:.0f} to {found.ci_high:.0f}",
                str(found.rank),
                f"{found.rank_low_marginal}-{found.rank_high_marginal}",
                f"{found.rank_low_simultaneous}-{found.rank_high_simultaneous}",
                str(found.n),
            ]
            for table in self.tables
            for found in table.models
        ]
        notes = [
            f"{t.benchmark}: {t.n} pairs on {t.n_prompts} prompts, {t.n_unscored} not scored; {t.method}"
            for t in self.tables
        ]
        notes += [f"{t.benchmark}: {note}" for t in self.tables for note in t.notes]
        notes.append(
            "marginal: holds the rank of this model; simultaneous: all ranges together hold the ranks of all models"
        )
        return Table(header, rows, notes + self.problems)

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--format json``."""
        return {"level": self.level, "problems": self.problems, "benchmarks": [asdict(table) for table in self.tables]}


def build_pairwise(runs: Sequence[RunScores], directories: Sequence[RunDirectory]) -> PairwiseBoard:
    """Rate all models that the runs' judged pairs join: candidates and the models they were compared with.

    Parameters
    ----------
    runs : sequence of RunScores
        Their figures and scores.
    directories : sequence of RunDirectory
        Where they are stored, in the same order; the baselines' names and the judges are read from there.

    Returns
    -------
    PairwiseBoard

    Raises
    ------
    UsageError
        No run holds a judged pair, a run is given twice, or a benchmark was judged by different judges.
    StatisticsError
        There are models that no chain of comparisons joins, or fewer than two prompts.
    """
    _refuse_repeats(directories)
    found = _judged_pairs(runs, directories)
    judged = {name: pairs for name, pairs in found.items() if pairs.pairs}
    if not judged:
        raise UsageError(
            "the runs hold no judged pair of answers",
            "runs of a benchmark that compares answers with a baseline's, or head-to-head runs",
            "assay gate --head-to-head DIR --judge J compares two runs directly",
        )
    for name, pairs in judged.items():
        refuse_mixed_judges(name, pairs.judges)
    tables = [_rate(name, pairs) for name, pairs in judged.items()]
    problems = [f"{run.model} is not valid: {problem}" for run in runs for problem in run.problems]
    return PairwiseBoard(tables, problems)


def _judged_pairs(runs: Sequence[RunScores], directories: Sequence[RunDirectory]) -> dict[str, _Judged]:
    """The pairs of every benchmark that compares answers, by its name."""
    found: dict[str, _Judged] = {}
    for run, directory in zip(runs, directories, strict=True):
        compared = {name: names for name in run.benchmarks if (names := _preference_names(run, name))}
        if compared:
            responses, judges = [*directory.responses().values()], judge_ids(directory)
            opponents = {r.prompt_id: r.model for r in responses if r.role == "baseline"}
            for name, metrics in compared.items():
                scores = [score for score in run.scores_of(name) if score.metric in metrics]
                judged = found.setdefault(name, _Judged())
                judged.judges[run.run] = judges.get(name, set())
                judged.refuse_namesakes(run, [r for r in responses if r.benchmark == name])
                judged.add(run.model, scores, {**opponents, "": f"baseline of {name}"})
    return found


def _refuse_repeats(directories: Sequence[RunDirectory]) -> None:
    counts = Counter(directory.path.resolve() for directory in directories)
    repeated = [str(path) for path, count in counts.items() if count > 1]
    if repeated:
        raise UsageError(f"{', '.join(repeated)} is given twice", "each run once", "its pairs would count twice")


def _preference_names(run: RunScores, benchmark: str) -> set[str]:
    """Names of the scores that say which of two answers is better."""
    return {name for name, kind in run.benchmark(benchmark).score_kinds.items() if kind.role == "preference"}


@dataclass
class _Judged:
    """The judged pairs of a benchmark.

    Parameters
    ----------
    pairs : list of _Pair
        All verdicts on a pair of answers added up.
    n_unscored : int
        Verdicts that are missing.
    judges : dict of str to set of str
        The judges of each run.
    known : dict
        What a model's answer to a prompt is known by, with the run that has it.
    """

    pairs: list[_Pair] = field(default_factory=list)
    n_unscored: int = 0
    judges: dict[str, set[str]] = field(default_factory=dict)
    known: dict[tuple[str, str, bool], tuple[object, str]] = field(default_factory=dict)

    def refuse_namesakes(self, run: RunScores, responses: Iterable[Response]) -> None:
        """Refuse two models of one name: two model ids, or two answers where the answers were imported."""
        for r in responses:
            imported = ":" in r.model_id  # import:NAME and published:NAME say no more than the name
            if r.sample or not r.ok or (imported and r.role == "baseline"):
                continue
            what, model = r.turns if imported else r.model_id, run.model if r.role == "candidate" else r.model
            known, where = self.known.setdefault((model, r.prompt_id, imported), (what, run.run))
            if known != what:
                raise UsageError(
                    f"two models are named {model!r}: one in {where}, another in {run.run}",
                    "one name a model",
                    "run or import one of them under another name (--model-name)",
                )

    def add(self, model: str, scores: Sequence[Score], opponents: Mapping[str, str]) -> None:
        """Add a model's verdicts; `opponents` are by prompt id, under "" whoever has no name."""
        verdicts: dict[str, list[Score]] = defaultdict(list)
        for score in scores:
            if score.value is None:
                self.n_unscored += 1
            else:
                verdicts[score.prompt_id].append(score)
        for prompt_id, own in verdicts.items():
            opponent = opponents.get(prompt_id, opponents[""])
            if opponent != model:  # a model against itself says nothing about strength
                weight = sum(s.weight for s in own)
                share = sum(s.weight * (s.value or 0.0) for s in own) / weight
                self.pairs.append(_Pair(model, opponent, share, weight, own[0].cluster))


def _rate(benchmark: str, judged: _Judged) -> PairwiseTable:
    pairs = judged.pairs
    data = compare(*zip(*pairs, strict=True))
    refuse_unconnected(data)
    strength, draws, notes = _fit(data)
    ratings, replicates = elo_ratings(strength), elo_ratings(draws.log_strength)
    marginal, simultaneous = significant_ranks(ratings, replicates, data.n_clusters, _LEVEL)
    low, high = np.quantile(replicates, expanded_tails(_LEVEL, data.n_clusters), axis=0)
    counts = Counter(name for p in pairs for name in (p.model, p.opponent))
    ranks = [(m.rank, m.low, m.high, s.low, s.high) for m, s in zip(marginal, simultaneous, strict=True)]
    models = [
        RatedModel(name, float(ratings[i]), float(low[i]), float(high[i]), *ranks[i], counts[name])
        for i, name in enumerate(data.models)
    ]
    if draws.n_dropped:
        notes = [*notes, f"{draws.n_dropped} of {_N_DRAWS} resamples without a finite fit were left out"]
    method = (
        f"Bradley-Terry ratings (mean 1000, 400 points are odds of ten to one), {_N_DRAWS} bootstrap resamples of the "
        "prompts; ranks from step-down tests of all pairwise differences (Mogstad et al. 2024)"
    )
    models.sort(key=lambda found: (-found.rating, found.model))
    return PairwiseTable(benchmark, models, data.n, data.n_clusters, judged.n_unscored, method, notes)


def _fit(data: Comparisons) -> tuple[NDArray[np.float64], BradleyTerryDraws, list[str]]:
    """Fit without a penalty; where that has no finite maximum, with a weak ridge, and a note that says so."""
    try:
        strength = fit_bradley_terry(data)
        return strength, bootstrap_bradley_terry(data, np.random.default_rng(_SEED), _N_DRAWS), []
    except StatisticsError as error:
        if data.n_clusters < 2:
            raise
        note = f"{error.found}; a ridge of precision {_RIDGE} on the log strengths keeps the ratings finite"
    draws = bootstrap_bradley_terry(data, np.random.default_rng(_SEED), _N_DRAWS, _RIDGE)
    return fit_bradley_terry(data, _RIDGE), draws, [note]
