"""Win rates with the length of the answers held equal (pairs of answers, Arena-Hard and its like).

A definition of our own, argued in docs/design/022-length-control-of-pairs-and-ratings.md: how the verdicts depend on
the relative length of the two answers is fitted on the model's own prompts, and the win rate is what the fit says
where the lengths are equal. `harness.stats.length_control_ratings` does the same for ratings.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from harness.errors import StatisticsError
from harness.stats.bootstrap import BootstrapSpec, Floats, cluster_codes, cluster_resamples, finite_array
from harness.stats.bounded_interval import widened_by_raw
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean

_CONVERGED = 1e-7
"""Largest Newton step, on the logit scale, of a fit that is done; the step after it would be the square of that."""
_MOST_STEPS = 200


@dataclass(frozen=True, slots=True)
class LengthControlSpec(BootstrapSpec):
    """How to hold length equal.

    Parameters
    ----------
    level : float
        Nominal coverage.
    n_boot : int
        Resamples of prompts, the fit repeated on each.
    ridge_sd : float
        Standard deviation of the normal penalty around 0 on the intercept (logit scale; for ratings, not used). It
        keeps the fit finite where length or nothing separates wins from losses, and is too weak to matter elsewhere.
    slope_prior : tuple of (float, float)
        Mean and standard deviation of the normal penalty on the effect of length. The default (0, 5) only guards
        against separation.
    """

    ridge_sd: float = 5.0
    slope_prior: tuple[float, float] = (0.0, 5.0)

    def __post_init__(self) -> None:
        BootstrapSpec.__post_init__(self)  # slots rule out super()
        numbers = (self.ridge_sd, *self.slope_prior)
        if not np.all(np.isfinite(numbers)) or self.ridge_sd <= 0.0 or self.slope_prior[1] <= 0.0:
            raise StatisticsError(
                f"ridge_sd {self.ridge_sd}, slope_prior {self.slope_prior}", "finite, standard deviations positive"
            )


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """A figure at equal length, beside the raw one.

    Parameters
    ----------
    estimate : Estimate
        The figure at equal length (percent for pairs, the rating's unit for ratings).
    raw : float
        The same figure without length control.
    intercept, slope : float
        Coefficients: for pairs the logit of the win rate at equal length, for ratings the rating at the reference
        length; and the change of that per unit of `relative_length`.
    slope_stderr : float or None
        Bootstrap standard error of the slope; None where there is no interval.
    share_longer : float
        Share of observations on which the model's answer is the longer one. Near 0 or 1 the figure is extrapolated.
    """

    estimate: Estimate
    raw: float
    intercept: float
    slope: float
    slope_stderr: float | None
    share_longer: float


@dataclass(frozen=True, slots=True)
class PairScores:
    """Verdicts of a model against its baseline, one row a verdict (both games are two rows).

    Parameters
    ----------
    score : sequence of float, length n
        The model's share of the win, in [0, 1]: 1 win, 0.5 tie, 0 loss, or a judge's probability.
    weight : sequence of float, length n
        Weight of the verdict (Arena-Hard counts a decisive one three times); not negative.
    length_model, length_baseline : sequence of float, length n
        Length of the two answers in any one unit (tokens, characters); not negative.
    clusters : sequence of hashable, length n
        The prompt.
    """

    score: Sequence[float] | Floats
    weight: Sequence[float] | Floats
    length_model: Sequence[float] | Floats
    length_baseline: Sequence[float] | Floats
    clusters: Sequence[Hashable] | NDArray[np.generic]


def relative_length(length: Sequence[float] | Floats, reference: Sequence[float] | Floats) -> Floats:
    """How much longer an answer is than its reference, on a scale from -1 to 1.

    tanh(log((length + 1) / (reference + 1))): 0 at equal length, 0.6 at twice, -0.6 at half the length, levelling off
    beyond. It needs no scale estimated from the data, so that coefficients of different models compare.

    Parameters
    ----------
    length, reference : sequence of float, length n
        In one unit; not negative.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    StatisticsError
        Negative or not finite, or the numbers of them differ.
    """
    own, other = finite_array(length, "lengths"), finite_array(reference, "reference lengths")
    if own.size != other.size:
        raise StatisticsError(f"{own.size} lengths against {other.size} reference lengths", "as many of each")
    if own.min() < 0.0 or other.min() < 0.0:
        raise StatisticsError(f"a length of {min(own.min(), other.min()):g}", "lengths of 0 or more")
    squared = ((own + 1.0) / (other + 1.0)) ** 2
    return (squared - 1.0) / (squared + 1.0)


def fit_length_logit(
    feature: Floats, successes: Floats, trials: Floats, spec: LengthControlSpec, start: Floats | None = None
) -> Floats:
    """Penalised logistic fits of successes on one feature, many at a time, by damped Newton steps.

    Maximises sum_i (k_i eta_i - m_i log(1 + e^eta_i)) - a^2 / (2 r^2) - (b - b0)^2 / (2 s^2) with
    eta_i = a + b x_i; r is `spec.ridge_sd` and (b0, s) is `spec.slope_prior`. The penalty makes it strictly concave.

    Parameters
    ----------
    feature : ndarray, shape (n,)
        x.
    successes, trials : ndarray, shape (B, n)
        k and m of each fit; real numbers with 0 <= k <= m.
    spec : LengthControlSpec
        The penalty.
    start : ndarray, shape (2,), optional
        Where to start.

    Returns
    -------
    ndarray, shape (B, 2)
        a and b.

    Raises
    ------
    StatisticsError
        A fit did not converge.

    References
    ----------
    McCullagh and Nelder (1989), Generalized Linear Models, section 4.4; fractional responses: Papke and Wooldridge
    (1996), J. Applied Econometrics 11:619-632. A normal penalty against separation: Gelman et al. (2008), A weakly
    informative default prior distribution for logistic and other regression models, Annals of Applied Statistics 2.
    The damping: Bach (2010), Self-concordant analysis for logistic regression, Electronic J. Statistics 4:384-414,
    proposition 1 (its upper bound, minimised along the Newton direction).
    """
    prior_mean, prior_sd = spec.slope_prior
    penalty = np.array([spec.ridge_sd**-2, prior_sd**-2])
    centre = np.array([0.0, prior_mean])
    coefficients = np.tile(centre if start is None else start, (trials.shape[0], 1))
    active = np.arange(trials.shape[0])
    square, ends = feature**2, np.array([feature.min(), feature.max()])
    for _ in range(_MOST_STEPS):
        now = coefficients[active]
        chance = expit(now[:, :1] + now[:, 1:] * feature)
        residual = successes[active] - trials[active] * chance
        information = trials[active] * chance * (1.0 - chance)
        gradient = np.stack([residual.sum(axis=1), residual @ feature], axis=1) - penalty * (now - centre)
        h00 = information.sum(axis=1) + penalty[0]
        h01, h11 = information @ feature, information @ square + penalty[1]
        determinant = h00 * h11 - h01**2
        step = np.stack(
            [h11 * gradient[:, 0] - h01 * gradient[:, 1], h00 * gradient[:, 1] - h01 * gradient[:, 0]], axis=1
        )
        step /= determinant[:, None]
        # the most that a linear predictor moves; damping by log(1 + r) / r makes every step an ascent
        reach = np.abs(step[:, :1] + step[:, 1:] * ends).max(axis=1)
        damping = np.divide(np.log1p(reach), reach, out=np.ones_like(reach), where=reach > 0.0)
        coefficients[active] = now + damping[:, None] * step
        active = active[np.abs(step).max(axis=1) > _CONVERGED]
        if active.size == 0:
            return coefficients
    raise StatisticsError(
        f"{active.size} of {trials.shape[0]} length fits did not converge in {_MOST_STEPS} steps",
        "a fit that converges",
        "check the lengths and the weights for values of very different size",
    )


def length_controlled_pairs(
    pairs: PairScores, rng: np.random.Generator, spec: LengthControlSpec | None = None
) -> LengthControlled:
    """Win rate against the baseline, in percent, at equal length of the two answers.

    logit P(win) = a + b x with x the `relative_length`; verdict weights enter the likelihood as they enter the raw
    win rate, both games are kept, and the figure is 100 expit(a). Prompts are resampled and the fit repeated; the
    interval is a plus and minus t times the spread of the refits, carried over to percent, which covers better at win
    rates near 0 and 100 than the refits' percentiles (`bench/paired.py`), and no closer to the figure than the raw win
    rate's limits are to it (:func:`harness.stats.bounded_interval.widened_by_raw`).

    Parameters
    ----------
    pairs : PairScores
        The verdicts.
    rng : numpy.random.Generator
        For the bootstrap.
    spec : LengthControlSpec, optional
        Level, resamples, penalty.

    Returns
    -------
    LengthControlled
        `raw` is the weighted mean of the scores in percent. Notes say where the figure is extrapolated, where the
        penalty decides, and where all verdicts are the same (then it is the raw figure: length cannot matter).

    Raises
    ------
    StatisticsError
        Scores outside [0, 1], negative weights or lengths, no weight at all, lengths that differ, or relative lengths
        so constant that the effect of length cannot be told from the win rate.

    References
    ----------
    Dubois, Galambosi, Liang and Hashimoto (2024), Length-controlled AlpacaEval, arXiv:2404.04475, section 3: the idea;
    Li et al. (2024), From crowdsourced data to high-quality benchmarks, arXiv:2406.11939: the verdict weights.
    """
    spec = spec or LengthControlSpec()
    score, weight, feature, codes, n_clusters = _checked_pairs(pairs)
    total = float(weight.sum())
    raw = 100.0 * float(weight @ score) / total
    share_longer = float(np.mean(feature > 0.0))
    n = score.size
    used = score[weight > 0.0]
    if n_clusters == 1 or float(np.ptp(used)) == 0.0:
        return _without_fit(score * 100.0, codes, raw, share_longer, spec.level)
    cell, cell_feature, trials, successes = _by_prompt_and_length(codes, feature, weight, score * weight)
    fit = fit_length_logit(cell_feature, successes[None, :], trials[None, :], spec)[0]
    note = _identification_note(feature, weight, fit, spec, share_longer)
    replicates = np.concatenate(
        [
            fit_length_logit(cell_feature, counts[:, cell] * successes, counts[:, cell] * trials, spec, fit)
            for counts in cluster_resamples(n_clusters, cell.size, rng, spec.n_boot)
        ]
    )
    stderr = float(replicates[:, 0].std(ddof=1)) * (n_clusters / (n_clusters - 1)) ** 0.5
    half = float(stats.t.ppf(0.5 + spec.level / 2.0, n_clusters - 1)) * stderr
    value, *limits = (float(expit(fit[0] + shift)) for shift in (0.0, -half, half))
    low, high = widened_by_raw(value, (limits[0], limits[1]), *_totals(codes, score, weight), spec.level)
    spread = float((100.0 * expit(replicates[:, 0])).std(ddof=1))
    method = f"logistic in tanh log length ratio, at equal length; logit t, {spec.n_boot} refits on resampled prompts"
    estimate = Estimate(100.0 * value, spread, 100.0 * low, 100.0 * high, spec.level, method, n, n_clusters, note)
    return LengthControlled(
        estimate, raw, float(fit[0]), float(fit[1]), float(replicates[:, 1].std(ddof=1)), share_longer
    )


@dataclass(frozen=True, slots=True)
class ControlledDifference:
    """Two models' win rates against one baseline at equal length, and their difference (percent)."""

    first: float
    second: float
    difference: Estimate
    p_value: float | None


def length_controlled_difference(
    first: PairScores, second: PairScores, rng: np.random.Generator, spec: LengthControlSpec | None = None
) -> ControlledDifference:
    """Difference of two win rates at equal length, each of :func:`length_controlled_pairs`.

    Both are refitted to the same resampled prompts, so that what a prompt does to both cancels.

    Parameters
    ----------
    first, second : PairScores
        The verdicts on the same prompts, in the same order of prompts.
    rng : numpy.random.Generator
        For the bootstrap.
    spec : LengthControlSpec, optional
        Level, resamples, penalty.

    Returns
    -------
    ControlledDifference
        First minus second, with the interval of Student's t on the bootstrap's standard error. No interval with fewer
        than two prompts.

    Raises
    ------
    StatisticsError
        As :func:`length_controlled_pairs`, or the prompts differ.
    """
    spec = spec or LengthControlSpec()
    if list(dict.fromkeys(first.clusters)) != list(dict.fromkeys(second.clusters)):
        raise StatisticsError("two runs with different prompts", "the same prompts in the same order")
    sides = _fitted(first, spec), _fitted(second, spec)
    values = [100.0 * float(expit(fit[0])) for _, fit in sides]
    difference, n, n_clusters = values[0] - values[1], len(first.score), len(set(first.clusters))
    method = f"logistic in tanh log length ratio, at equal length; t, {spec.n_boot} paired refits on resampled prompts"
    if n_clusters < 2:
        single = Estimate(difference, None, None, None, spec.level, method, n, 1, "one prompt: no interval")
        return ControlledDifference(values[0], values[1], single, None)
    width = max(cell.size for (cell, _, _, _), _ in sides)
    draws = cluster_resamples(n_clusters, width, rng, spec.n_boot)
    replicates = np.concatenate([_refits(counts, sides[0], spec) - _refits(counts, sides[1], spec) for counts in draws])
    stderr = float(replicates.std(ddof=1)) * (n_clusters / (n_clusters - 1)) ** 0.5
    half = float(stats.t.ppf(0.5 + spec.level / 2.0, n_clusters - 1)) * stderr
    p_value = None if stderr == 0.0 else 2.0 * float(stats.t.sf(abs(difference) / stderr, n_clusters - 1))
    estimate = Estimate(difference, stderr, difference - half, difference + half, spec.level, method, n, n_clusters)
    return ControlledDifference(values[0], values[1], estimate, p_value)


_Cells = tuple[NDArray[np.int64], Floats, Floats, Floats]
"""Prompt, relative length, trials and wins of the games that share them (`_by_prompt_and_length`)."""


def _fitted(pairs: PairScores, spec: LengthControlSpec) -> tuple[_Cells, Floats]:
    """The games by prompt and length, and the coefficients; raises where they rest on the penalty alone."""
    score, weight, feature, codes, _ = _checked_pairs(pairs)
    cells = _by_prompt_and_length(codes, feature, weight, score * weight)
    fit = fit_length_logit(cells[1], cells[3][None, :], cells[2][None, :], spec)[0]
    _identification_note(feature, weight, fit, spec, float(np.mean(feature > 0.0)))
    return cells, fit


def _refits(counts: Floats, side: tuple[_Cells, Floats], spec: LengthControlSpec) -> Floats:
    """Win rates at equal length (percent) of resamples, shape (b,)."""
    (codes, feature, trials, won), start = side
    refitted = fit_length_logit(feature, counts[:, codes] * won, counts[:, codes] * trials, spec, start)
    found: Floats = 100.0 * expit(refitted[:, 0])
    return found


def _checked_pairs(pairs: PairScores) -> tuple[Floats, Floats, Floats, NDArray[np.int64], int]:
    score, weight = finite_array(pairs.score, "scores"), finite_array(pairs.weight, "weights")
    feature = relative_length(pairs.length_model, pairs.length_baseline)
    if not score.size == weight.size == feature.size:
        raise StatisticsError(
            f"{score.size} scores, {weight.size} weights and {feature.size} lengths", "as many of each"
        )
    if score.min() < 0.0 or score.max() > 1.0:
        raise StatisticsError(
            f"scores from {score.min():g} to {score.max():g}",
            "shares of a win from 0 to 1",
            "leave out failed verdicts",
        )
    if weight.min() < 0.0 or weight.sum() <= 0.0:
        raise StatisticsError(f"weights that add up to {weight.sum():g}", "weights of 0 or more, not all 0")
    codes, n_clusters = cluster_codes(pairs.clusters, score.size)
    return score, weight, feature, codes, n_clusters


def _by_prompt_and_length(
    codes: NDArray[np.int64], feature: Floats, weight: Floats, won: Floats
) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
    """Add up the games of a prompt that share their lengths: the likelihood is the same and the fit twice as fast."""
    key = np.stack([codes.astype(np.float64), feature], axis=1)
    cells, index = np.unique(key, axis=0, return_inverse=True)
    index = index.ravel()
    trials = np.bincount(index, weights=weight, minlength=len(cells)).astype(np.float64)
    successes = np.bincount(index, weights=won, minlength=len(cells)).astype(np.float64)
    return cells[:, 0].astype(np.int64), cells[:, 1].astype(np.float64), trials, successes


def _totals(codes: NDArray[np.int64], score: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Weight won and played on each prompt that has any."""
    won, played = (np.bincount(codes, weights=column).astype(np.float64) for column in (score * weight, weight))
    return won[played > 0.0], played[played > 0.0]


def _without_fit(
    percent: Floats, codes: NDArray[np.int64], raw: float, share_longer: float, level: float
) -> LengthControlled:
    same = float(np.ptp(percent)) == 0.0
    note = "every verdict is the same, so length cannot matter: this is the raw figure" if same else "one prompt: raw"
    mean = cluster_mean(percent, codes, level, (0.0, 100.0))
    method = "raw win rate; " + mean.method
    stderr, low, high = mean.stderr, mean.ci_low, mean.ci_high
    if mean.n_clusters == 1:
        stderr = low = high = None
    estimate = Estimate(raw, stderr, low, high, level, method, mean.n, mean.n_clusters, note)
    share = min(max(raw / 100.0, 1e-9), 1.0 - 1e-9)
    return LengthControlled(estimate, raw, float(np.log(share / (1.0 - share))), 0.0, None, share_longer)


def _identification_note(
    feature: Floats, weight: Floats, fit: Floats, spec: LengthControlSpec, share_longer: float
) -> str:
    """Say how far the figure rests on the penalty or on extrapolation; refuse where it rests on nothing else."""
    chance = expit(fit[0] + fit[1] * feature)
    information = weight * chance * (1.0 - chance)
    centre = float(information @ feature) / float(information.sum())
    known = float(information @ (feature - centre) ** 2)
    penalty = spec.slope_prior[1] ** -2
    share = penalty / (penalty + known)
    default = LengthControlSpec().slope_prior
    if share > 0.5 and spec.slope_prior == default and float(np.abs(feature).max()) > 1e-9:
        raise StatisticsError(
            "the lengths hardly vary from prompt to prompt relative to the baseline's",
            "relative lengths that vary, or a slope_prior from other models under the same judge",
            "use the raw win rate",
        )
    notes = []
    if share > 0.1 and spec.slope_prior == default:
        notes.append(f"{100 * share:.0f} % of what is known of the effect of length is the penalty")
    if min(share_longer, 1.0 - share_longer) < 0.05 and bool(np.any(feature != 0.0)):
        notes.append(f"extrapolated: the model's answer is the longer one on {100 * share_longer:.1f} % of rows")
    return "; ".join(notes)
