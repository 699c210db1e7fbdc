"""A bridge between two judges: from the figures of models whose answers both judged, with the tests it must pass.

A figure by the old judge is converted to the new judge's scale by a line with errors in both figures
(`harness.stats.errors_in_both`). The line is a bridge only if the judges rank the models alike, if it rises, if it
predicts a model left out better than the mean of the others does, and if what it leaves over does not depend on the
length of the answers or on who made the model: a judge that prefers long answers, or models of its own family, has
another order of models, not another scale.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats
from harness.stats.errors_in_both import ErrorVariances, Line, PairedFigures, fit_line
from harness.stats.estimate import Estimate
from harness.stats.ranking import kendall

_RANK_ALPHA = 0.05
_RESIDUAL_ALPHA = 0.01
_N_PERMUTATIONS = 4999
_SEED = 20261124


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the line through all other models says of a model.

    Parameters
    ----------
    predicted : Estimate
        Of its new figure as measured.
    residual : float
        Measured less predicted.
    inside : bool
        Whether the interval holds the measured figure.
    """

    predicted: Estimate
    residual: float
    inside: bool


@dataclass(frozen=True, slots=True)
class Dependence:
    """Whether the residuals depend on something.

    Parameters
    ----------
    statistic : float
        Pearson's correlation with the logarithm of the length, or the share of the residual sum of squares between
        families.
    p_value : float
        By permutation of the residuals.
    n : int
        Models used.
    """

    statistic: float
    p_value: float
    n: int


@dataclass(frozen=True)
class Bridge:
    """A bridge and its tests.

    Parameters
    ----------
    figures : PairedFigures
        The figures of the models.
    names : tuple of str, length m
        The models.
    lengths : tuple of float or None, length m
        Mean length of their answers.
    families : tuple of str, length m
        Their families; "" if unknown.
    level : float
        Nominal coverage of every interval.

    Raises
    ------
    StatisticsError
        Names, lengths or families of another number.
    """

    figures: PairedFigures
    names: tuple[str, ...]
    lengths: tuple[float | None, ...]
    families: tuple[str, ...]
    level: float = 0.95

    def __post_init__(self) -> None:
        if {len(self.names), len(self.lengths), len(self.families)} != {self.figures.x.size}:
            raise StatisticsError(f"{len(self.names)} names of {self.figures.x.size} models", "one of each")

    @cached_property
    def line(self) -> Line:
        """The line through all models."""
        return fit_line(self.figures)

    @cached_property
    def slope(self) -> Estimate:
        """The slope with its interval."""
        return self.line.slope_interval(self.level)

    @cached_property
    def rank_agreement(self) -> Estimate:
        """Kendall's tau-b between the two rankings of the models, with its interval."""
        return kendall(self.figures.x, self.figures.y, self.level)

    @cached_property
    def rank_p_value(self) -> float:
        """The chance of such an agreement, or a better one, from a judge that ranks at random."""
        found = stats.kendalltau(self.figures.x, self.figures.y, alternative="greater")
        return float(found.pvalue)

    @cached_property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Each model predicted from all others."""
        return tuple(self._predicted(i) for i in range(self.figures.x.size))

    def _predicted(self, i: int) -> LeftOut:
        x, y, errors = self.figures.x[i], float(self.figures.y[i]), self.figures.errors
        own = ErrorVariances(*(float(np.asarray(part)[i]) for part in errors))
        shared = self.figures.shared  # the line of the others carries it already
        own = ErrorVariances(own.x - shared.x, own.y - shared.y, own.xy - shared.xy)
        line = fit_line(self.figures.without(i))
        found = line.at(float(x), own, self.level, as_measured=True)
        return LeftOut(found, y - found.value, _contains(found, y))

    @property
    def n_inside(self) -> int:
        """Models whose figure lies in the interval predicted from all others."""
        return sum(found.inside for found in self.left_out)

    @cached_property
    def residuals(self) -> Floats:
        """Measured less predicted, each model left out in turn; shape (m,)."""
        return np.array([found.residual for found in self.left_out])

    @property
    def prediction_error(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt(np.mean(np.square(self.residuals))))

    @property
    def error_of_mean(self) -> float:
        """The same with each model predicted by the mean of the others."""
        y = self.figures.y
        return float(np.sqrt(np.mean(np.square((y - y.mean()) * y.size / (y.size - 1)))))

    @cached_property
    def length_dependence(self) -> Dependence | None:
        """Correlation of the residuals with the length of the answers; None with fewer than five known lengths."""
        known = [(r, math.log(n)) for r, n in zip(self.residuals, self.lengths, strict=True) if n is not None and n > 0]
        if len(known) < 5:
            return None
        residuals, lengths = np.array(known).T
        if np.ptp(lengths) < 1e-9 or np.ptp(residuals) == 0:
            return None
        length = (lengths - lengths.mean()) / (lengths.std() * residuals.std() * residuals.size)

        def correlation(r: Floats, axis: int) -> Floats:
            return np.asarray((r * length).sum(axis=axis))

        found = _permuted(correlation, residuals, "two-sided")
        return Dependence(float(found.statistic), float(found.pvalue), len(known))

    @cached_property
    def family_dependence(self) -> Dependence | None:
        """Share of the residuals' variance between families; None unless two families have two models or more."""
        repeated = [family for family, size in sorted(Counter(self.families).items()) if family and size > 1]
        kept = np.isin(self.families, repeated)
        residuals, labels = self.residuals[kept], np.array(self.families)[kept]
        if len(repeated) < 2 or np.ptp(residuals) == 0:
            return None
        members = [labels == family for family in repeated]
        total = float(np.sum(np.square(residuals - residuals.mean())))
        if total == 0:
            return None

        # Rows of weights that give the mean of each family less that of all, times the root of its size.
        means = np.array([np.sqrt(own.sum() / total) * (own / own.sum() - 1.0 / own.size) for own in members])

        def between(r: Floats, axis: int) -> Floats:
            return np.asarray(np.square(np.moveaxis(r, axis, -1) @ means.T).sum(axis=-1))

        found = _permuted(between, residuals, "greater")
        return Dependence(float(found.statistic), float(found.pvalue), residuals.size)

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """Why it does not hold; empty if it does."""
        return tuple(self._refusals())

    def _refusals(self) -> list[str]:
        found, slope = [], self.slope
        if self.rank_p_value > _RANK_ALPHA / 2 or self.rank_agreement.value <= 0:
            found.append(
                f"the judges do not rank the {self.figures.x.size} models alike: Kendall's tau "
                f"{self.rank_agreement.value:.2f}, p = {self.rank_p_value:.2g} for a judge that ranks at random"
            )
        if slope.ci_low is not None and slope.ci_low <= 0:
            found.append(f"the slope {slope.value:.2f} ({slope.ci_low:.2f} to {slope.ci_high:.2f}) is not above 0")
        if self.prediction_error >= self.error_of_mean:
            found.append(
                f"a model left out is predicted with an error of {self.prediction_error:.2f}, no better than by the "
                f"mean of the others ({self.error_of_mean:.2f})"
            )
        for what, depends in (
            ("the length of the answers", self.length_dependence),
            ("family", self.family_dependence),
        ):
            if depends is not None and depends.p_value < _RESIDUAL_ALPHA:
                found.append(
                    f"what the line leaves over depends on {what} (p = {depends.p_value:.2g}, {depends.n} models)"
                )
        return found

    @property
    def holds(self) -> bool:
        """Whether figures may be converted."""
        return not self.problems

    def convert(self, old: float, stderr: float | None) -> Estimate:
        """Convert a figure of the old judge to the new judge's scale.

        Parameters
        ----------
        old : float
            The figure of a model that is not one of the bridge's.
        stderr : float or None
            Its standard error; without one the result has no interval.

        Returns
        -------
        Estimate
            The interval holds the error of the old figure, that of the line, and the scatter of the models about it.

        Raises
        ------
        StatisticsError
            The bridge does not hold.
        """
        if self.problems:
            raise StatisticsError(
                "the bridge between the judges does not hold: " + "; ".join(self.problems),
                "a bridge that holds",
                "judge the old answers with the new judge, or compare within one judge only",
            )
        found = self.line.at(old, ErrorVariances((stderr or 0.0) ** 2, 0.0, 0.0), self.level)
        beyond = not self.figures.x.min() <= old <= self.figures.x.max()
        note = "beyond the figures of the bridge's models" if beyond else ""
        if stderr is None:
            note = "; ".join(filter(None, (note, "no interval: the old figure has no standard error")))
            return Estimate(found.value, None, None, None, self.level, found.method, 1, 1, note)
        n = self.figures.x.size
        return Estimate(found.value, found.stderr, found.ci_low, found.ci_high, self.level, found.method, n, n, note)


def _permuted(
    statistic: Callable[[Floats, int], Floats], residuals: Floats, alternative: Literal["two-sided", "greater"]
) -> Any:
    """Test a statistic against all orders of the residuals, or against a random part of them."""
    return stats.permutation_test(
        (residuals,),
        statistic,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=_N_PERMUTATIONS,
        alternative=alternative,
        rng=np.random.default_rng(_SEED),
    )


def family_of(model: str) -> str:
    """Guess a model's family from its name: the first word of the last part of a path, in lower case.

    Returns
    -------
    str
        "llama" for "meta-llama/Llama-3.1-8B-Instruct"; "" if the name starts with no letter.
    """
    word = ""
    for character in model.rstrip("/").rpartition("/")[2].lower():
        if not character.isalpha():
            break
        word += character
    return word


def errors_of_means(old: Floats, new: Floats) -> tuple[ErrorVariances, ErrorVariances]:
    """Compute the error variances of both figures of each model from their values on the same prompts.

    Parameters
    ----------
    old, new : ndarray, shape (m, n)
        Values of m models on n prompts, whose means are the figures.

    Returns
    -------
    (own, shared) : ErrorVariances
        Of each model; and the average covariance between two different models, which comes from the prompts they share.
    """
    m, n = old.shape
    covariance = np.cov(np.vstack([old, new])) / n
    xx, yy, xy = covariance[:m, :m], covariance[m:, m:], covariance[:m, m:]
    apart = ~np.eye(m, dtype=bool)

    def common(part: Floats) -> float:
        return float(part[apart].mean())

    shared = ErrorVariances(max(common(xx), 0.0), max(common(yy), 0.0), common(xy))
    if shared.xy**2 > shared.x * shared.y:  # an average of covariances need not be one
        shared = shared._replace(xy=math.copysign(math.sqrt(shared.x * shared.y), shared.xy))
    return ErrorVariances(xx.diagonal(), yy.diagonal(), xy.diagonal()), shared


def _contains(found: Estimate, value: float) -> bool:
    return found.ci_low is not None and found.ci_high is not None and found.ci_low <= value <= found.ci_high
