"""AlpacaEval 2's figures: raw, as published, and length-controlled with an interval that holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.alpaca_eval.lc import discrete_win_rate, length_controlled_win_rate, win_rate
from benchmarks.alpaca_eval.lc_bootstrap import (
    LengthControlBootstrap,
    bootstrap_length_controlled,
    compare_length_controlled,
)
from benchmarks.alpaca_eval.lc_data import GamedBaseline, LengthControlData, LengthControlSpec, read_gamed
from harness.errors import AssayError, StatisticsError
from harness.protocols import DataSource, FittedComparison
from harness.records import Score, SummaryRow
from harness.run.figures import guarded_row, reason_row, select
from harness.stats.estimate import Estimate

BASELINE = "gpt4_1106_preview"
LENGTH_CONTROLLED = "length_controlled_win_rate"
OTHER_BASELINE = "other_baseline"
_ANOTHER_BASELINE = (
    f"the instruction difficulties and gamed verdicts belong to comparisons with {BASELINE}, and these answers were "
    "compared with another model's"
)
_SEED = 20240404  # of the bootstrap; fixed, so that the same verdicts always give the same figures
_AS_PUBLISHED = LengthControlSpec(solver="liblinear", unscored="predict")
_WHAT = "alpaca_eval's logistic regression (tanh length difference, instruction difficulty, gamed baselines)"


@dataclass(frozen=True)
class Upstream:
    """What the regression needs besides the verdicts.

    Parameters
    ----------
    gamed : GamedBaseline
        The verdicts of models that gamed the metric.
    difficulty : ndarray, shape (805,)
        Instruction difficulties in upstream's order.
    place : dict of str to int
        An instruction's place in that order, by the item's key.
    """

    gamed: GamedBaseline
    difficulty: NDArray[np.float64]
    place: dict[str, int]

    @classmethod
    def read(cls, data: DataSource, keys: Sequence[str]) -> Upstream:
        """Read the files; `keys` are the items in upstream's order."""
        gamed, difficulty = read_gamed(data.path("alpaca_eval/gamed"))
        return cls(gamed, difficulty, {key: index for index, key in enumerate(keys)})


@dataclass(frozen=True)
class _Row:
    """One item: its verdict (NaN where not scored), both lengths, its place in the file."""

    key: str
    share: float
    length_model: float
    length_baseline: float
    row: float


def _rows(scores: Sequence[Score]) -> list[_Row]:
    """Join verdicts with lengths and places."""
    by = {(s.prompt_id, s.metric, s.part): s.value for s in scores}
    found = []
    for s in select(scores, "preference"):
        model, baseline = (by.get((s.prompt_id, "length", part)) for part in ("candidate", "baseline"))
        if model is None or baseline is None:
            if s.value is None:
                continue
            raise StatisticsError(
                "a verdict without the lengths of both answers", "the answers of both sides", "import them too"
            )
        share = float("nan") if s.value is None else s.value
        row = by.get((s.prompt_id, "row", ""))
        found.append(_Row(s.cluster, share, model, baseline, float("inf") if row is None else row))
    return sorted(found, key=lambda r: r.row)


def _data(rows: Sequence[_Row], difficulty: NDArray[np.float64]) -> LengthControlData:
    return LengthControlData(
        preference=np.array([r.share for r in rows]),
        length_model=np.array([r.length_model for r in rows]),
        length_baseline=np.array([r.length_baseline for r in rows]),
        difficulty=difficulty,
    )


def _joined(scores: Sequence[Score], upstream: Upstream) -> tuple[list[_Row], LengthControlData]:
    """The scored items with each instruction's own difficulty."""
    if select(scores, OTHER_BASELINE):
        raise StatisticsError(_ANOTHER_BASELINE, f"answers compared with {BASELINE}'s", "use win_rate")
    rows = [r for r in _rows(scores) if np.isfinite(r.share)]
    unknown = [r.key for r in rows if r.key not in upstream.place]
    if unknown:
        raise StatisticsError(
            f"{len(unknown)} of {len(rows)} instructions are none of AlpacaEval's", "AlpacaEval's 805 instructions"
        )
    rows.sort(key=lambda r: upstream.place[r.key])
    return rows, _data(rows, upstream.difficulty[[upstream.place[r.key] for r in rows]])


def _is_the_baseline(rows: Sequence[_Row]) -> bool:
    return bool(rows) and all(r.share == 0.5 and r.length_model == r.length_baseline for r in rows)


def length_controlled_rows(benchmark: str, scores: Sequence[Score], load: Callable[[], Upstream]) -> list[SummaryRow]:
    """Make the corrected row and the two published ones; where upstream's files are missing each says so."""
    preferences = select(scores, "preference")
    names = (LENGTH_CONTROLLED, "published_length_controlled_win_rate", "published_lc_standard_error")
    try:
        upstream = load()
    except AssayError as error:
        return [reason_row(benchmark, name, " ".join(str(error).split()), preferences) for name in names]
    published = cache(lambda: _published(scores, upstream))  # one fit for two rows
    return [
        guarded_row(benchmark, names[0], preferences, lambda _: _corrected(scores, upstream)),
        guarded_row(benchmark, names[1], preferences, lambda _: published()[0]),
        guarded_row(benchmark, names[2], preferences, lambda _: published()[1]),
    ]


def _corrected(scores: Sequence[Score], upstream: Upstream) -> Estimate:
    rows, data = _joined(scores, upstream)
    if _is_the_baseline(rows):
        return _point(50.0, len(rows), "the model is the baseline: 50 by construction")
    return bootstrap_length_controlled(data, upstream.gamed, np.random.default_rng(_SEED))


def _published(scores: Sequence[Score], upstream: Upstream) -> tuple[Estimate, Estimate]:
    """Upstream's figure and standard error: difficulty by row position, its solver's stopping point."""
    rows = _rows(scores)
    n = sum(np.isfinite(r.share) for r in rows)
    if _is_the_baseline(rows):
        by_construction = "the model is the baseline: 50 by construction"
        return _point(50.0, n, by_construction), _point(0.0, n, by_construction)
    if any(np.isinf(r.row) for r in rows):
        raise StatisticsError("items without a place in upstream's file", "annotations in upstream's order")
    if len(rows) > len(upstream.difficulty):
        raise StatisticsError(f"{len(rows)} annotations", f"at most {len(upstream.difficulty)}")
    data = _data(rows, upstream.difficulty[: len(rows)])
    found = length_controlled_win_rate(data, upstream.gamed, _AS_PUBLISHED)
    quirks = f"{_WHAT}; published definition: difficulty by row position"
    if select(scores, OTHER_BASELINE):
        quirks += f"; as alpaca_eval does, {_ANOTHER_BASELINE}"
    error = f"{quirks}; the spread of fitted preferences, which is not the figure's standard error"
    return _point(found.win_rate, n, quirks), _point(found.published_standard_error, n, error)


def _point(value: float, n: int, method: str) -> Estimate:
    return Estimate(value, None, None, None, 0.95, method, n, n)


def published_rows(benchmark: str, scores: Sequence[Score]) -> list[SummaryRow]:
    """Make the discrete win rate and upstream's standard error of the raw one."""
    preferences = select(scores, "preference")

    def standard_error(scored: list[Score]) -> Estimate:
        found = win_rate([s.value or 0.0 for s in scored])
        if found.stderr is None:
            raise StatisticsError("one prompt has no standard error", "at least two")
        return _point(found.stderr, found.n, "alpaca_eval: standard deviation of the preferences over sqrt(n)")

    return [
        guarded_row(
            benchmark,
            "discrete_win_rate",
            preferences,
            lambda scored: discrete_win_rate([s.value or 0 for s in scored]),
        ),
        guarded_row(benchmark, "published_standard_error", preferences, standard_error),
    ]


def compare_fitted(
    scores: tuple[Sequence[Score], Sequence[Score]], upstream: Upstream, rng: np.random.Generator, level: float
) -> FittedComparison:
    """Compare two models' length-controlled win rates, both refitted to the same resampled prompts.

    The p-value is two-sided, by the normal approximation.
    """
    rows = [{r.key: r for r in _joined(s, upstream)[0]} for s in scores]
    shared = sorted(set(rows[0]) & set(rows[1]), key=lambda key: upstream.place[key])
    if not shared:
        raise StatisticsError("the runs have no scored item in common", "the same prompts")
    difficulty = upstream.difficulty[[upstream.place[key] for key in shared]]
    first, second = (_data([found[key] for key in shared], difficulty) for found in rows)
    values = [length_controlled_win_rate(d, upstream.gamed).win_rate for d in (first, second)]
    difference = compare_length_controlled(
        first, second, upstream.gamed, rng, bootstrap=LengthControlBootstrap(level=level)
    )
    return FittedComparison(values[0], values[1], difference, _p_value(difference))


def _p_value(difference: Estimate) -> float | None:
    from scipy.stats import norm

    if difference.stderr is None:
        return None
    if difference.stderr == 0.0:
        return 1.0 if difference.value == 0.0 else 0.0
    return float(2.0 * norm.sf(abs(difference.value) / difference.stderr))
