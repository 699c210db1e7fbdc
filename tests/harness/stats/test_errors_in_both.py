"""A line with errors in both figures: by hand, against other implementations, and its coverage."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.errors_in_both import ErrorVariances, PairedFigures, fit_line


def figures(x, y, var_x, var_y, cov=0.0, shared=(0.0, 0.0, 0.0)):
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    errors = ErrorVariances(*(np.broadcast_to(np.asarray(part, dtype=float), x.shape) for part in (var_x, var_y, cov)))
    return PairedFigures(x, y, errors, ErrorVariances(*shared))


def test_deming_by_hand():
    """Equal error variances and no scatter: the slope is (d + sqrt(d^2 + 4 sxy^2)) / 2 sxy with d = syy - sxx."""
    x, y = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 3.0, 2.0, 5.0, 4.0]
    # sxx = syy = 10, sxy = 8: the slope is 1 and the line goes through (3, 3).
    line = fit_line(figures(x, y, 100.0, 100.0))
    assert line.scatter == 0.0
    assert line.slope == pytest.approx(1.0, abs=1e-4)
    assert line.intercept == pytest.approx(0.0, abs=1e-3)


def test_without_errors_it_is_the_regression_and_its_t_interval():
    rng = np.random.default_rng(3)
    x = rng.normal(50, 15, 9)
    y = 4 + 0.7 * x + rng.normal(0, 3, 9)
    line = fit_line(figures(x, y, 0.0, 0.0))
    expected = stats.linregress(x, y)
    assert line.slope == pytest.approx(expected.slope, rel=1e-4)
    assert line.intercept == pytest.approx(expected.intercept, rel=1e-3)
    found = line.at(60.0)
    residuals = y - expected.intercept - expected.slope * x
    sd = np.sqrt(np.sum(residuals**2) / 7 * (1 + 1 / 9 + (60 - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2)))
    reach = stats.t.ppf(0.975, 7) * sd
    centre = expected.intercept + expected.slope * 60
    assert (found.ci_low, found.ci_high) == pytest.approx((centre - reach, centre + reach), rel=0.01)
    slope = line.slope_interval()
    assert slope.ci_high - slope.value == pytest.approx(stats.t.ppf(0.975, 7) * expected.stderr, rel=0.02)


def test_the_slope_is_that_of_orthogonal_distance_regression():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        odr = pytest.importorskip("scipy.odr")
    rng = np.random.default_rng(1)
    true = rng.normal(50, 15, 25)
    sx, sy = rng.uniform(4, 8, 25), rng.uniform(4, 8, 25)
    x, y = true + 0.6 * sx * rng.normal(size=25), 3 + 0.7 * true + 0.6 * sy * rng.normal(size=25)
    line = fit_line(figures(x, y, sx**2, sy**2))  # less spread than the errors: tau is 0
    model = odr.Model(lambda beta, value: beta[0] + beta[1] * value)
    expected = odr.ODR(odr.RealData(x, y, sx=sx, sy=sy), model, beta0=[0, 1]).run()
    assert line.scatter == 0.0
    assert (line.intercept, line.slope) == pytest.approx(tuple(expected.beta), rel=1e-3)


def test_errors_that_all_models_share_move_the_line_and_do_not_turn_it():
    rng = np.random.default_rng(5)
    x = rng.normal(50, 15, 8)
    y = 4 + 0.7 * x + rng.normal(0, 3, 8)
    alone, together = fit_line(figures(x, y, 2.0, 2.0)), fit_line(figures(x, y, 6.0, 5.0, 1.0, (4.0, 3.0, 1.0)))
    assert together.slope == pytest.approx(alone.slope, rel=1e-6)
    assert together.at(50.0).stderr > alone.at(50.0).stderr
    assert together.at(50.0, as_measured=True).stderr == pytest.approx(alone.at(50.0).stderr, rel=1e-6)


def test_an_uncertain_old_figure_widens_the_interval():
    rng = np.random.default_rng(5)
    x = rng.normal(50, 15, 8)
    line = fit_line(figures(x, 4 + 0.7 * x + rng.normal(0, 1, 8), 0.1, 0.1))
    exact, rough = line.at(50.0), line.at(50.0, ErrorVariances(100.0, 0.0, 0.0))
    assert exact.value == rough.value
    assert rough.stderr == pytest.approx(np.hypot(exact.stderr, 10 * line.slope), rel=0.05)


@pytest.mark.parametrize(
    ("x", "y", "var", "message"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 0.0, "4 and 4 figures"),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4], 0.0, "5 and 4 figures"),
        ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], 0.0, "the old judge gives all models the same figure"),
        ([1, 2, 3, 4, 5], [2, 2, 2, 2, 2], 0.0, "the new judge gives all models the same figure"),
        ([1, 2, 3, 4, float("nan")], [1, 2, 3, 4, 5], 0.0, "old figures"),
        ([1, 2, 3, 4, 5], [1, 2, 3, 5, 4], -1.0, "a negative error variance"),
    ],
)
def test_wrong_figures(x, y, var, message):
    with pytest.raises(StatisticsError, match=message):
        figures(x, y, var, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("n_models", [6, 15])
def test_coverage_of_a_model_not_seen(n_models):
    """Scatter, errors in both that go together, part of them shared: 95 % intervals, at 400 trials."""
    rng = np.random.default_rng(n_models)
    covariance = np.array([[4.0, 2.0], [2.0, 4.0]])
    covered = 0
    for _ in range(400):
        true = rng.normal(50, 15, n_models + 1)
        new = 5 + 0.7 * true + rng.normal(0, 4, n_models + 1)
        noise = rng.multivariate_normal([0, 0], covariance / 2, n_models + 1)
        noise += rng.multivariate_normal([0, 0], covariance / 2)
        x, y = true + noise[:, 0], new + noise[:, 1]
        line = fit_line(figures(x[:-1], y[:-1], 4.0, 4.0, 2.0, (2.0, 2.0, 1.0)))
        found = line.at(x[-1], ErrorVariances(4.0, 0.0, 0.0))
        covered += found.ci_low <= new[-1] <= found.ci_high
    assert 0.925 <= covered / 400 <= 0.98
