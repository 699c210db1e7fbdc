"""Ratings with the length of the answers held equal (MT-Bench and its like).

A rating is compared at a reference length: the length the compared models give that question, or one model's. Where
several models are at hand the effect of length is estimated within questions and within models, so that neither hard
questions nor wordy good models pass for an effect of length; argued in
docs/design/022-length-control-of-pairs-and-ratings.md.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, cluster_codes, cluster_resamples, finite_array
from harness.stats.estimate import Estimate
from harness.stats.length_control import LengthControlled, LengthControlSpec, relative_length
from harness.stats.mean import score_interval

_ROUNDING = 1e-12
"""Spread, relative to the scale, that is floating-point noise."""


@dataclass(frozen=True, slots=True)
class ModelRatings:
    """One model's ratings.

    Parameters
    ----------
    rating : sequence of float, length n
        On the scale `bounds`; failed verdicts (-1) left out by the caller.
    length, reference_length : sequence of float, length n
        Length of the rated answer, and the length to hold it to, in one unit; not negative.
    clusters : sequence of hashable, length n
        The question; its turns share it.
    bounds : tuple of two floats
        The ends of the scale.
    """

    rating: Sequence[float] | Floats
    length: Sequence[float] | Floats
    reference_length: Sequence[float] | Floats
    clusters: Sequence[Hashable] | NDArray[np.generic]
    bounds: tuple[float, float] = (1.0, 10.0)


@dataclass(frozen=True, slots=True)
class RatingPanel:
    """Several models' ratings of the same items.

    Parameters
    ----------
    rating, length : sequence of float, length n
        As in `ModelRatings`.
    model : sequence of str, length n
        Whose answer it is.
    item : sequence of hashable, length n
        What was answered (question and turn); one rating per model and item.
    clusters : sequence of hashable, length n
        The question; all ratings of an item are in one cluster.
    bounds : tuple of two floats
        The ends of the scale.
    """

    rating: Sequence[float] | Floats
    length: Sequence[float] | Floats
    model: Sequence[str]
    item: Sequence[Hashable]
    clusters: Sequence[Hashable] | NDArray[np.generic]
    bounds: tuple[float, float] = (1.0, 10.0)


def length_controlled_ratings(
    ratings: ModelRatings, rng: np.random.Generator, spec: LengthControlSpec | None = None
) -> LengthControlled:
    """Mean rating of one model at the reference length, the effect of length taken from its own questions.

    rating = a + b x, x the `relative_length`; the figure is a. Prompts are resampled and the fit repeated. Which
    questions invite a long answer may also make them easy or hard; with other models' ratings at hand
    `length_controlled_panel` removes that.

    Parameters
    ----------
    ratings : ModelRatings
        The ratings.
    rng : numpy.random.Generator
        For the bootstrap.
    spec : LengthControlSpec, optional
        Level, resamples and the penalty on the slope, whose unit is rating points per unit of relative length.

    Returns
    -------
    LengthControlled

    Raises
    ------
    StatisticsError
        Ratings off the scale, negative lengths, lengths that differ, fewer than three questions, or relative lengths
        that do not vary though they are not those of the reference.
    """
    spec = spec or LengthControlSpec()
    rating = _checked_ratings(ratings.rating, ratings.bounds)
    feature = relative_length(ratings.length, ratings.reference_length)
    if feature.size != rating.size:
        raise StatisticsError(f"{rating.size} ratings and {feature.size} lengths", "as many of each")
    codes, n_clusters = cluster_codes(ratings.clusters, rating.size)
    _enough_questions(n_clusters)

    columns = [np.ones_like(rating), feature, rating, feature**2, feature * rating]
    sums = np.stack([np.bincount(codes, weights=column, minlength=n_clusters) for column in columns], axis=1)
    penalty = _slope_penalty(float(rating.var(ddof=1)), spec)
    slope, figure = _simple_fit(sums.sum(axis=0)[None, :], penalty, spec.slope_prior[0])
    _refuse_constant(feature, penalty, spec)
    totals = np.concatenate([c @ sums for c in cluster_resamples(n_clusters, 5, rng, spec.n_boot)])
    slopes, figures = _simple_fit(totals, penalty, spec.slope_prior[0])
    method = "linear in tanh log length ratio, at the reference length"
    fitted = _Fitted(float(figure[0]), figures, float(slope[0]), slopes, n_clusters, method)
    return _result(fitted, rating, feature, ratings.bounds, spec)


def length_controlled_panel(
    panel: RatingPanel, rng: np.random.Generator, spec: LengthControlSpec | None = None
) -> dict[str, LengthControlled]:
    """Mean rating of each model at the length the compared models give each item (their geometric mean).

    rating = (model) + (item) + b x with one b for all; items are swept out by subtracting item means, models by
    indicator columns. A model's figure is its mean of rating - b x over the items it answered.

    Parameters
    ----------
    panel : RatingPanel
        At least two models with items in common.
    rng : numpy.random.Generator
        For the bootstrap: questions are resampled for all models at once.
    spec : LengthControlSpec, optional
        Level, resamples and the penalty on the slope (rating points per unit of relative length).

    Returns
    -------
    dict of str to LengthControlled
        In order of first appearance.

    Raises
    ------
    StatisticsError
        A model rated twice on an item, one model only, an item in two clusters, no item that two models share, and
        what `length_controlled_ratings` refuses.

    References
    ----------
    Frisch and Waugh (1933), Econometrica 1:387-401 (sweeping out the items); Cameron and Miller (2015), A
    practitioner's guide to cluster-robust inference, J. Human Resources 50:317-372, section VI (resampling clusters).
    """
    spec = spec or LengthControlSpec()
    rating = _checked_ratings(panel.rating, panel.bounds)
    models, items, codes, n_clusters = _checked_panel(panel, rating.size)
    names = list(dict.fromkeys(panel.model))
    length = finite_array(panel.length, "lengths")
    n_per_item = np.bincount(items)
    if length.size != rating.size or length.min() < 0.0:
        raise StatisticsError(f"{length.size} lengths, the least {length.min():g}", "one per rating, 0 or more")
    reference = np.expm1(np.bincount(items, weights=np.log1p(length)) / n_per_item)[items]
    feature = relative_length(length, reference)

    indicators = (models[:, None] == np.arange(1, len(names))).astype(np.float64)
    design = np.column_stack([indicators, feature])
    design = design - _item_means(design, items, n_per_item)
    response = rating - _item_means(rating[:, None], items, n_per_item)[:, 0]
    k = design.shape[1]
    gram, moment = np.zeros((n_clusters, k * k)), np.zeros((n_clusters, k))
    np.add.at(gram, codes, (design[:, :, None] * design[:, None, :]).reshape(-1, k * k))
    np.add.at(moment, codes, design * response[:, None])
    penalty = _slope_penalty(float(response.var(ddof=1)), spec)
    _refuse_constant(_swept(design), penalty, spec)
    cells, shape = codes * len(names) + models, (n_clusters, len(names))
    per_cluster = [
        np.bincount(cells, weights=column, minlength=n_clusters * len(names)).reshape(shape).astype(np.float64)
        for column in (np.ones_like(rating), rating, feature)
    ]

    def fit(counts: Floats) -> tuple[Floats, Floats]:
        matrix = (counts @ gram).reshape(-1, k, k)
        right = counts @ moment
        # a resample without a model leaves its indicator empty; the jitter keeps the solve defined and moves nothing
        matrix[:, np.arange(k), np.arange(k)] += 1e-10 * n_clusters
        matrix[:, -1, -1] += penalty
        right[:, -1] += penalty * spec.slope_prior[0]
        slopes: Floats = np.linalg.solve(matrix, right[:, :, None])[:, -1, 0].astype(np.float64)
        n, rated, longer = (counts @ sums for sums in per_cluster)
        with np.errstate(invalid="ignore", divide="ignore"):  # NaN where a resample holds no rating of a model
            return slopes, (rated - slopes[:, None] * longer) / n

    slope, figure = fit(np.ones((1, n_clusters)))
    batches = [fit(counts) for counts in cluster_resamples(n_clusters, k * k, rng, spec.n_boot)]
    slopes, figures = np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])
    method = "linear in tanh log length ratio with model and item effects, at the compared models' length"
    results = {}
    for m, name in enumerate(names):
        own = models == m
        n_own = int(np.unique(codes[own]).size)
        fitted = _Fitted(float(figure[0, m]), figures[:, m], float(slope[0]), slopes, n_own, method)
        results[name] = _result(fitted, rating[own], feature[own], panel.bounds, spec)
    return results


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A model's figure and slope on the data and on each resample."""

    figure: float
    figures: Floats
    slope: float
    slopes: Floats
    n_clusters: int
    method: str


def _checked_ratings(values: Sequence[float] | Floats, bounds: tuple[float, float]) -> Floats:
    rating = finite_array(values, "ratings")
    if rating.min() < bounds[0] or rating.max() > bounds[1]:
        raise StatisticsError(
            f"ratings from {rating.min():g} to {rating.max():g}",
            f"ratings from {bounds[0]:g} to {bounds[1]:g}",
            "leave out failed verdicts (-1) and count them as not scored",
        )
    return rating


def _checked_panel(panel: RatingPanel, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
    models, n_models = cluster_codes(panel.model, n)
    items, n_items = cluster_codes(panel.item, n)
    codes, n_clusters = cluster_codes(panel.clusters, n)
    _enough_questions(n_clusters)
    if n_models < 2:
        raise StatisticsError("one model", "at least two to compare", "use length_controlled_ratings")
    if np.unique(items * n_models + models).size != n:
        raise StatisticsError("a model is rated more than once on an item", "one rating per model and item")
    if np.unique(items * n_clusters + codes).size != n_items:
        raise StatisticsError("an item lies in more than one cluster", "all ratings of an item in one cluster")
    if np.bincount(items).max() < 2:
        raise StatisticsError("no item was answered by two models", "models rated on the same items")
    return models, items, codes, n_clusters


def _enough_questions(n_clusters: int) -> None:
    if n_clusters < 3:
        raise StatisticsError(f"{n_clusters} questions", "at least 3 to fit an effect of length", "use the raw mean")


def _slope_penalty(variance: float, spec: LengthControlSpec) -> float:
    """Precision of the slope's prior relative to the residuals', the ridge of a linear fit."""
    return variance / spec.slope_prior[1] ** 2


def _refuse_constant(feature: Floats, penalty: float, spec: LengthControlSpec) -> None:
    known = feature.size * float(feature.var())
    if spec.slope_prior == LengthControlSpec().slope_prior and float(np.abs(feature).max()) > 1e-9 and penalty > known:
        raise StatisticsError(
            "the lengths hardly vary relative to the reference lengths",
            "relative lengths that vary from question to question",
            "use the raw mean",
        )


def _simple_fit(totals: Floats, penalty: float, prior_mean: float) -> tuple[Floats, Floats]:
    """Slope and value at x = 0 from sums of 1, x, y, x^2, xy, each row one fit."""
    n, x, y, xx, xy = totals.T
    slope = (xy - x * y / n + penalty * prior_mean) / np.maximum(xx - x**2 / n + penalty, 1e-300)
    return slope, (y - slope * x) / n


def _item_means(columns: Floats, items: NDArray[np.int64], n_per_item: NDArray[np.int64]) -> Floats:
    sums = np.stack([np.bincount(items, weights=column) for column in columns.T], axis=1)
    means: Floats = (sums / n_per_item[:, None])[items]
    return means


def _swept(design: Floats) -> Floats:
    """The last column with the others regressed out."""
    others, last = design[:, :-1], design[:, -1]
    swept: Floats = last - others @ np.linalg.lstsq(others, last, rcond=None)[0]
    return swept


def _score_limits(
    value: float, figures: Floats, n_clusters: int, bounds: tuple[float, float], level: float
) -> tuple[float, float]:
    """Wilson's interval at the spread of the refits, as `harness.stats.mean.cluster_mean` makes it for a plain mean.

    It leans away from the near end of the scale, as skewed ratings need; the refits' percentiles lean the other way.
    A figure at the very end of the scale keeps the plain t interval, cut there.
    """
    width = bounds[1] - bounds[0]
    quantile = float(stats.t.ppf(0.5 + level / 2.0, n_clusters - 1))
    stderr = float(figures.std(ddof=1)) * (n_clusters / (n_clusters - 1)) ** 0.5
    share = (value - bounds[0]) / width
    if stderr <= _ROUNDING * width:
        return value, value
    if not 0.0 < share < 1.0:
        return max(bounds[0], value - quantile * stderr), min(bounds[1], value + quantile * stderr)
    low, high = score_interval(share, share * (1.0 - share) / (stderr / width) ** 2, quantile)
    return bounds[0] + width * low, bounds[0] + width * high


def _result(
    fitted: _Fitted, rating: Floats, feature: Floats, bounds: tuple[float, float], spec: LengthControlSpec
) -> LengthControlled:
    defined = fitted.figures[np.isfinite(fitted.figures)]
    if defined.size < 0.95 * fitted.figures.size or fitted.n_clusters < 2:
        raise StatisticsError("a model was rated on too few questions to resample", "ratings of most questions")
    value = min(max(fitted.figure, bounds[0]), bounds[1])
    low, high = _score_limits(value, defined, fitted.n_clusters, bounds, spec.level)
    notes = []
    if value != fitted.figure:
        notes.append(f"the fit passes the end of the scale ({fitted.figure:.3g})")
    stderr = float(defined.std(ddof=1))
    if float(np.ptp(rating)) == 0.0:
        notes.append("every rating is the same; the interval shows no spread of its own")
    share_longer = float(np.mean(feature > 0.0))
    if min(share_longer, 1.0 - share_longer) < 0.05 and bool(np.any(feature != 0.0)):
        notes.append(f"extrapolated: the answer is longer than the reference on {100 * share_longer:.1f} % of rows")
    method = f"{fitted.method}; refitted on {spec.n_boot} resamples of questions"
    note, n, n_clusters = "; ".join(notes), rating.size, fitted.n_clusters
    estimate = Estimate(value, stderr, low, high, spec.level, method, n, n_clusters, note)
    slope_stderr = float(fitted.slopes.std(ddof=1))
    return LengthControlled(estimate, float(rating.mean()), value, fitted.slope, slope_stderr, share_longer)
