"""How much of a figure's variance is the prompts', the answers', and the judge's.

The verdicts are nested: a prompt has answers (samples), an answer has judgments (repeats). The components are those
of the random-effects model y = mean + prompt + answer + judgment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats
from harness.stats.estimate import Estimate
from harness.stats.mean import checked_level

Nested = Sequence[Sequence[Sequence[float]]]
"""Values by prompt, answer and judgment."""

_N_BOOT = 1000


@dataclass(frozen=True, slots=True)
class Component:
    """One component of the variance of a single verdict.

    Parameters
    ----------
    name : {"prompt", "answer", "judge"}
    variance : float or None
        In the squared unit of the values; negative estimates are set to zero. None if it was not measured.
    share : Estimate or None
        Share of the sum of the measured components, 0 to 1, with an interval over prompts.
    reason : str
        Why it was not measured; it is then part of the component above it.
    """

    name: str
    variance: float | None
    share: Estimate | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class VarianceComponents:
    """The components, and what they were measured from.

    Parameters
    ----------
    prompt, answer, judge : Component
    n_prompts, n_answers, n_values : int
        Prompts, answers and verdicts.
    """

    prompt: Component
    answer: Component
    judge: Component
    n_prompts: int
    n_answers: int
    n_values: int

    @property
    def components(self) -> tuple[Component, Component, Component]:
        """From the prompts down."""
        return self.prompt, self.answer, self.judge


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums over one prompt, of which all mean squares are made.

    Parameters
    ----------
    values, squares : float
        Of its verdicts.
    n_answers, n_values : int
    of_answers : float
        Sum over its answers of (sum of verdicts)^2 / number of verdicts.
    answer_sizes : float
        Sum over its answers of the squared number of verdicts.
    """

    values: float
    squares: float
    n_answers: int
    n_values: int
    of_answers: float
    answer_sizes: float

    @classmethod
    def of(cls, answers: Sequence[Floats]) -> _Sums:
        flat, sizes = np.concatenate(answers), np.array([own.size for own in answers])
        totals = np.array([own.sum() for own in answers])
        squares = float((totals**2 / sizes).sum())
        return cls(float(flat.sum()), float((flat**2).sum()), sizes.size, flat.size, squares, float((sizes**2).sum()))


def variance_components(values: Nested, rng: np.random.Generator, level: float = 0.95) -> VarianceComponents:
    r"""Estimate the components by equating mean squares with their expectations.

    With N verdicts in all, n_i on prompt i and n_ij on its answer j, a prompts and b answers in all:

    - MS(judge) = sum (y_ijk - mean_ij)^2 / (N - b), expectation s_j^2;
    - MS(answer) = sum n_ij (mean_ij - mean_i)^2 / (b - a), expectation s_j^2 + k1 s_a^2;
    - MS(prompt) = sum n_i (mean_i - mean)^2 / (a - 1), expectation s_j^2 + k2 s_a^2 + k3 s_p^2;

    k1 = (N - sum_i q_i) / (b - a), k2 = (sum_i q_i - sum_ij n_ij^2 / N) / (a - 1), k3 = (N - sum_i n_i^2 / N) / (a -
    1), and q_i = sum_j n_ij^2 / n_i. In balanced designs these are the REML estimates wherever none is negative.

    Parameters
    ----------
    values : sequence of sequence of sequence of float
        By prompt, answer and judgment; the numbers may differ. Prompts without a value are left out.
    rng : numpy.random.Generator
        Of the resampling of prompts, for the intervals of the shares.
    level : float
        Nominal coverage.

    Returns
    -------
    VarianceComponents
        A level that no prompt has twice has a reason; its variance is part of the level above.

    Raises
    ------
    StatisticsError
        Fewer than two prompts, or a value that is not finite.

    References
    ----------
    Searle, Casella and McCulloch (1992), Variance Components, section 5.3 and appendix F.1 (Henderson's method 1 for
    the nested classification). Davison and Hinkley (1997), section 3.8 (resampling the highest level of a hierarchy).
    """
    checked_level(level)
    table, several = _table(values)
    variances = _components(table[None], several)[0]
    shares, limits = _shares(table, several, rng, level)
    n_prompts, n_answers, n_values = len(table), int(table[:, 2].sum()), int(table[:, 3].sum())

    def component(place: int, name: str, reason: str) -> Component:
        if reason:
            return Component(name, None, None, reason)
        method = "share of the variance of a verdict; ANOVA, percentile interval over resampled prompts"
        low, high = limits[:, place]
        share = Estimate(shares[place], None, float(low), float(high), level, method, n_values, n_prompts)
        return Component(name, float(variances[place]), share)

    return VarianceComponents(
        component(0, "prompt", ""),
        component(1, "answer", "" if several[0] else "one answer per prompt"),
        component(2, "judge", "" if several[1] else "one verdict per answer"),
        n_prompts,
        n_answers,
        n_values,
    )


def _table(values: Nested) -> tuple[Floats, tuple[bool, bool]]:
    """Sums of each prompt (`_Sums`), and whether any prompt has several answers, any answer several verdicts."""
    kept = [answers for own in values if (answers := _with_verdicts(own))]
    if len(kept) < 2:
        raise StatisticsError(f"{len(kept)} prompt(s) with a verdict", "at least two")
    centre = float(np.mean([np.mean(np.concatenate(answers)) for answers in kept]))
    if not np.isfinite(centre):
        raise StatisticsError("a verdict that is NaN or infinite", "finite numbers", "leave out what was not scored")
    sums = [_Sums.of([own - centre for own in answers]) for answers in kept]  # sums of squares around it stay exact
    rows = [(s.values, s.squares, s.n_answers, s.n_values, s.of_answers, s.answer_sizes) for s in sums]
    table = np.array(rows, dtype=np.float64)
    return table, (bool((table[:, 2] > 1).any()), bool((table[:, 3] > table[:, 2]).any()))


def _with_verdicts(answers: Sequence[Sequence[float]]) -> list[Floats]:
    return [np.asarray(own, dtype=np.float64) for own in answers if len(own)]


def _components(tables: Floats, several: tuple[bool, bool]) -> Floats:
    """Components of datasets of sums, shape (datasets, prompts, 6) to (datasets, 3); negative ones are zero."""
    value, square, n_answers, n_values, of_answers, sizes = np.moveaxis(tables, 2, 0)
    a, b, n = np.full(len(tables), float(tables.shape[1])), n_answers.sum(axis=1), n_values.sum(axis=1)
    of_prompts = (value**2 / n_values).sum(axis=1)
    q, squared_sizes = (sizes / n_values).sum(axis=1), sizes.sum(axis=1)
    judge = np.zeros(len(tables))
    answer = np.zeros(len(tables))
    if several[1]:
        judge = _ratio(square.sum(axis=1) - of_answers.sum(axis=1), n - b)
    if several[0]:
        mean_square = _ratio(of_answers.sum(axis=1) - of_prompts, b - a)
        answer = _ratio(mean_square - judge, _ratio(n - q, b - a))
    mean_square = (of_prompts - value.sum(axis=1) ** 2 / n) / (a - 1.0)
    k2, k3 = (q - squared_sizes / n) / (a - 1.0), (n - (n_values**2).sum(axis=1) / n) / (a - 1.0)
    prompt = (mean_square - judge - k2 * np.maximum(answer, 0.0)) / k3
    return np.asarray(np.maximum(np.stack([prompt, answer, judge], axis=1), 0.0))


def _ratio(above: Floats, below: Floats) -> Floats:
    """A ratio; 0 where a resample leaves nothing to divide by."""
    return np.asarray(np.where(below > 0.0, above / np.where(below > 0.0, below, 1.0), 0.0))


def _shares(
    table: Floats, several: tuple[bool, bool], rng: np.random.Generator, level: float
) -> tuple[list[float], NDArray[np.float64]]:
    """Shares of the components, and their percentile limits over resampled prompts, shape (2, 3)."""
    drawn = table[rng.integers(0, len(table), (_N_BOOT, len(table)))]
    tail = (1.0 - level) / 2.0
    limits = np.quantile(_normed(_components(drawn, several)), [tail, 1.0 - tail], axis=0)
    return _normed(_components(table[None], several))[0].tolist(), limits


def _normed(components: Floats) -> Floats:
    total = components.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0.0, components / np.where(total > 0.0, total, 1.0), 0.0))


@dataclass(frozen=True, slots=True)
class SessionVariance:
    """How much a whole judging session shifts a figure.

    Parameters
    ----------
    variance : float
        Of the shift common to all verdicts of a session; at least 0.
    df : float
        Degrees of freedom of the standard error of a mean that includes it.
    stderr : float
        Standard error of the first session's mean: prompts, and the session.
    n_sessions, n_prompts : int
    """

    variance: float
    df: float
    stderr: float
    n_sessions: int
    n_prompts: int


def session_variance(values: Floats | Sequence[Sequence[float]]) -> SessionVariance:
    """Estimate the shift of judging sessions from the same answers judged in several.

    Parameters
    ----------
    values : array_like, shape (n, S)
        One row per prompt, one column per session, the same answers in all.

    Returns
    -------
    SessionVariance
        The two-way layout without replication: s^2 = (MS(session) - MS(rest)) / n. The squared standard error of one
        session's mean is the sum of the prompts' part, with n - 1 degrees of freedom, and s^2, made of mean squares
        with S - 1 and (n - 1)(S - 1); Satterthwaite's degrees of freedom are those of the sum.

    Raises
    ------
    StatisticsError
        Fewer than two prompts or sessions, or values that are not finite.

    References
    ----------
    Searle, Casella and McCulloch (1992), section 4.5. Satterthwaite (1946), Biometrics 2:110-114.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise StatisticsError(
            f"values of shape {table.shape}", "finite values of two or more prompts in two or more sessions"
        )
    n, n_sessions = table.shape
    sessions, grand = table.mean(axis=0), table.mean()
    rest = table - table.mean(axis=1, keepdims=True) - sessions + grand
    between = n * float(((sessions - grand) ** 2).sum()) / (n_sessions - 1)
    within = float((rest**2).sum()) / ((n - 1) * (n_sessions - 1))
    variance = max(0.0, (between - within) / n)
    prompts = float(table[:, 0].var(ddof=1)) / n
    parts = [(prompts, n - 1.0)]
    if variance > 0.0:
        parts += [(between / n, n_sessions - 1.0), (-within / n, (n - 1.0) * (n_sessions - 1.0))]
    total = sum(part for part, _ in parts)
    spread = sum(part**2 / df for part, df in parts)
    df = total**2 / spread if spread > 0.0 else n - 1.0
    return SessionVariance(variance, df, total**0.5, n_sessions, n)


def with_session(estimate: Estimate, session: SessionVariance) -> Estimate:
    """Return a mean with an interval that also covers the shift of its judging session.

    Parameters
    ----------
    estimate : Estimate
        The mean of one session.
    session : SessionVariance
        From the same answers judged in several sessions.

    Returns
    -------
    Estimate
        The mean -+ t standard errors; never narrower than the given interval.
    """
    half = float(stats.t.ppf(0.5 + estimate.level / 2.0, session.df)) * session.stderr
    low, high = estimate.value - half, estimate.value + half
    if estimate.ci_low is not None and estimate.ci_high is not None:
        low, high = min(low, estimate.ci_low), max(high, estimate.ci_high)
    method = f"{estimate.method}; with the shift of a judging session, {session.df:.1f} degrees of freedom"
    n = estimate.n
    return Estimate(
        estimate.value, session.stderr, low, high, estimate.level, method, n, estimate.n_clusters, estimate.note
    )
