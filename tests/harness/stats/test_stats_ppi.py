"""Prediction-powered inference: by hand, against ppi-python and statsmodels, coverage, how many labels are needed."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from bench.published_ppi import published_interval
from harness.errors import StatisticsError
from harness.stats.mean import cluster_mean
from harness.stats.prediction_powered import LabelledSample, labels_needed, prediction_powered_mean


def test_by_hand():
    # labels 1 1 0 0, verdicts 1 1 0 1; unlabelled verdicts 1 0 1 0 1 0 1 0: means 0.5, 0.75, 0.5
    # a = +-1/8; b over labelled = (1/4 1/4 -3/4 1/4) / 4; a.b = (1 + 1 + 3 - 1) / 128 = 1/32
    # b.b = (3 / 64 + 9 / 64) ... = 12 / 256 + 8 * (1/16)^2 = 3/64 + 1/32 = 5/64, so lambda = 2/5
    found = prediction_powered_mean(LabelledSample([1, 1, 0, 0], [1, 1, 0, 1], [1, 0] * 4))
    assert found.power == pytest.approx(0.4)
    assert found.estimate.value == pytest.approx(0.5 - 0.4 * (0.75 - 0.5))
    assert found.labels_only.value == 0.5
    assert found.judge_only.value == pytest.approx(7 / 12)
    assert found.judge_bias.value == pytest.approx(0.25)
    # sum (a - lambda b)^2 = 1/16 - (1/32)^2 / (5/64) = 1/20: 0.8 of the variance; r2 = 0.2 * (1 + 4/8)
    assert found.explained == pytest.approx(0.3)
    assert found.effective_labels == pytest.approx(5.0)
    # labels alone: s / sqrt(n) = sqrt(1/3) / 2 on 3 degrees of freedom; one is lost, which inflates by 3/2
    assert found.estimate.stderr == pytest.approx(math.sqrt(1 / 12 * 0.8 * 1.5))


# noise, seed, point estimate, limits, limits with lambda 1: what ppi_mean_pointestimate and ppi_mean_ci of ppi-python
# 0.2.3 give with alpha=0.1 on the draws below. (Its wheel installs a top-level package `tests`, the name of ours, so it
# is not a dependency.)
PPI_PYTHON = [
    (
        0.2,
        0,
        0.020770075426330015,
        -0.06737798824301296,
        0.10891813909567298,
        -0.09507926426634818,
        0.07810006951145133,
    ),
    (
        0.2,
        1,
        -0.02938251452390245,
        -0.11555006709864576,
        0.05678503805084087,
        -0.10644053616800705,
        0.06505667263654935,
    ),
    (
        0.2,
        2,
        -0.037120427632874674,
        -0.11854676079736781,
        0.04430590553161846,
        -0.14547173606650332,
        0.026413417012893278,
    ),
    (1.0, 0, 0.07329104380504087, -0.07934537569347547, 0.2259274633035572, -0.15869177695658299, 0.2883218809161062),
    (1.0, 1, -0.03636994273524373, -0.19839181866477912, 0.12565193319429163, -0.26063094748358523, 0.2612208021499292),
    (1.0, 2, 0.0462849166196829, -0.1195298325914673, 0.2120996658308331, -0.24131867378117683, 0.23011856575720147),
    (30.0, 0, 0.0772958766928524, -0.11327842074131358, 0.2678701741270184, -3.5446847104474273, 8.988901892804684),
    (30.0, 1, -0.048865749021636415, -0.23218632438614262, 0.13445482634286982, -6.770479148111587, 8.292616287448244),
    (30.0, 2, 0.07947125164530884, -0.13227571365063717, 0.2912182169412549, -4.768270728595185, 8.666930770395467),
]


@pytest.mark.parametrize(("noise", "seed", "value", "low", "high", "low_one", "high_one"), PPI_PYTHON)
def test_published_intervals_equal_ppi_python(noise, seed, value, low, high, low_one, high_one):
    rng = np.random.default_rng(seed)
    y, other = rng.normal(size=60), rng.normal(size=500)
    f = y + noise * rng.normal(size=60)
    other = other + noise * rng.normal(size=500)
    found = published_interval(LabelledSample(y, f, other), 0.9)
    assert found.value == pytest.approx(value, abs=1e-9)
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), abs=1e-9)
    fixed = published_interval(LabelledSample(y, f, other), 0.9, power=1.0)
    assert (fixed.ci_low, fixed.ci_high) == pytest.approx((low_one, high_one), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_clustered_estimate_equals_the_control_variate_of_statsmodels(seed):
    # lambda is the slope of the regression of each prompt's part in the label mean on its part in the difference of
    # the verdict means, through the origin
    rng = np.random.default_rng(seed)
    sample = draw(rng, 0.6)
    frame = pd.DataFrame({"y": sample.labels, "f": sample.predictions, "prompt": sample.clusters})
    rest = pd.DataFrame({"f": sample.unlabelled, "prompt": sample.unlabelled_clusters})
    prompts = sorted({*frame.prompt, *rest.prompt})
    part_y = ((frame.y - frame.y.mean()) / len(frame)).groupby(frame.prompt).sum().reindex(prompts, fill_value=0.0)
    part_f = ((frame.f - frame.f.mean()) / len(frame)).groupby(frame.prompt).sum().reindex(prompts, fill_value=0.0)
    part_f -= ((rest.f - rest.f.mean()) / len(rest)).groupby(rest.prompt).sum().reindex(prompts, fill_value=0.0)
    fit = sm.OLS(part_y.to_numpy(), part_f.to_numpy()).fit()
    found = prediction_powered_mean(sample)
    assert found.power == pytest.approx(fit.params[0], abs=1e-9)
    assert found.estimate.value == pytest.approx(
        frame.y.mean() - fit.params[0] * (frame.f.mean() - rest.f.mean()), abs=1e-9
    )
    # and the variance shrinks by the regression's uncentred R2
    assert found.effective_labels == pytest.approx(len(frame) / (1.0 - fit.rsquared), abs=1e-6)


def test_power_is_the_minimum_of_the_variance():
    rng = np.random.default_rng(1)
    prompts, more = rng.integers(0, 30, 90).tolist(), rng.integers(0, 30, 300).tolist()
    y, other = rng.uniform(size=90), rng.uniform(size=300)
    sample = LabelledSample(y, 0.7 * y + 0.3 * rng.uniform(size=90), other, prompts, more)
    tuned = prediction_powered_mean(sample)
    inflation = tuned.estimate.stderr / prediction_powered_mean(sample, power=tuned.power).estimate.stderr
    assert 1.0 < inflation < 1.03  # the degree of freedom that tuning costs
    for power in (0.0, tuned.power - 0.05, tuned.power + 0.05, 1.0):
        other_stderr = prediction_powered_mean(sample, power=power).estimate.stderr
        assert other_stderr > prediction_powered_mean(sample, power=tuned.power).estimate.stderr


def test_power_zero_is_the_mean_of_the_labels():
    rng = np.random.default_rng(2)
    prompts = rng.integers(0, 20, 60).tolist()
    y = rng.uniform(size=60)
    found = prediction_powered_mean(LabelledSample(y, y * 0 + 1, [1.0] * 50, prompts, prompts[:50]))
    alone = cluster_mean(y, prompts)
    assert found.power == 0.0 and "does not help" in found.estimate.note
    assert found.estimate.value == pytest.approx(alone.value)
    assert found.estimate.stderr == pytest.approx(alone.stderr)
    assert (found.estimate.ci_low, found.estimate.ci_high) == pytest.approx((alone.ci_low, alone.ci_high))


def draw(rng, quality, n_prompts=60, n_labelled=80):
    """Pairs of prompts with a luck of their own, a judge right with probability `quality` beyond chance."""
    ease = np.repeat(rng.beta(2, 1.5, n_prompts), 5)
    truth = (rng.uniform(size=ease.size) < ease).astype(float)
    verdict = np.where(rng.uniform(size=ease.size) < quality, truth, rng.uniform(size=ease.size) < 0.7).astype(float)
    prompts = np.repeat(np.arange(n_prompts), 5)
    order = rng.permutation(ease.size)
    some, rest = order[:n_labelled], order[n_labelled:]
    return LabelledSample(truth[some], verdict[some], verdict[rest], prompts[some].tolist(), prompts[rest].tolist())


@pytest.mark.parametrize("quality", [0.0, 0.5, 0.9])
def test_coverage_over_prompts(quality):
    rng = np.random.default_rng(7)
    truth, n = 2 / 3.5, 600
    covered, ratios = 0, []
    for _ in range(n):
        found = prediction_powered_mean(draw(rng, quality))
        covered += found.estimate.ci_low <= truth <= found.estimate.ci_high
        ratios.append(
            (found.estimate.ci_high - found.estimate.ci_low) / (found.labels_only.ci_high - found.labels_only.ci_low)
        )
    assert covered / n >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / n)
    assert max(ratios) < 1.05  # a judge can cost at most the degree of freedom
    if quality == 0.9:
        assert np.mean(ratios) < 0.75


def test_treating_prompts_as_independent_pairs_would_not_cover():
    # prompts that differ much, labels on whole prompts: the published interval is far too narrow
    rng = np.random.default_rng(8)
    naive = clustered = 0
    for _ in range(300):
        ease = np.repeat(rng.beta(0.3, 0.3, 40), 10)
        truth = (rng.uniform(size=400) < ease).astype(float)
        verdict = np.where(rng.uniform(size=400) < 0.3, truth, 1.0)
        prompts = np.repeat(np.arange(40), 10).tolist()
        sample = LabelledSample(truth[:150], verdict[:150], verdict[150:], prompts[:150], prompts[150:])
        theirs, ours = published_interval(sample), prediction_powered_mean(sample).estimate
        naive += theirs.ci_low <= 0.5 <= theirs.ci_high
        clustered += ours.ci_low <= 0.5 <= ours.ci_high
    assert naive / 300 < 0.75
    assert clustered / 300 > 0.9


def test_labels_needed_by_the_formula_and_by_drawing_them():
    rng = np.random.default_rng(9)
    found = prediction_powered_mean(draw(rng, 0.8, n_prompts=400, n_labelled=200))
    need = labels_needed(found, 0.045)
    assert need.with_judge < need.labels_only
    widths = {True: [], False: []}
    for _ in range(40):
        again = prediction_powered_mean(draw(rng, 0.8, n_prompts=400, n_labelled=need.with_judge))
        widths[True].append((again.estimate.ci_high - again.estimate.ci_low) / 2)
        alone = prediction_powered_mean(draw(rng, 0.8, n_prompts=400, n_labelled=need.labels_only)).labels_only
        widths[False].append((alone.ci_high - alone.ci_low) / 2)
    assert np.mean(widths[True]) == pytest.approx(0.045, rel=0.1)
    assert np.mean(widths[False]) == pytest.approx(0.045, rel=0.1)


def test_labels_needed_by_hand():
    found = prediction_powered_mean(LabelledSample([1, 1, 0, 0], [1, 1, 0, 1], [1, 0] * 4))
    quantile = stats.norm.ppf(0.975)
    # s2 = 1/3, r2 = 0.3, 12 judged pairs
    half = 0.4
    wanted = (half / quantile) ** 2
    need = labels_needed(found, half)
    assert need.labels_only == math.ceil(1 / 3 / wanted)
    assert need.with_judge == math.ceil(1 / 3 * 0.7 / (wanted - 1 / 3 * 0.3 / 12))
    never = labels_needed(found, 0.1)
    assert never.with_judge is None and "12 judged pairs" in never.reason


def test_bounds_and_json():
    found = prediction_powered_mean(LabelledSample([1, 1, 1, 0], [1, 1, 1, 0], [1.0] * 9), bounds=(0.0, 1.0))
    assert 0.0 <= found.estimate.ci_low <= found.estimate.ci_high <= 1.0
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (LabelledSample([], [], [1]), "no labels"),
        (LabelledSample([1, 0], [1, 0], []), "no unlabelled"),
        (LabelledSample([1, 0], [1], [1]), "2 labels for 1"),
        (LabelledSample([1, 0], [1, 0], [1], ["q", "q"], ["p"]), "fewer than two prompts"),
        (LabelledSample([1, 0], [1, 0], [1], ["q", "p"]), "clusters for both"),
        (LabelledSample([1, 1], [1, 0], [1]), "every label is the same"),
        (LabelledSample([1, float("nan")], [1, 0], [1]), "NaN"),
    ],
)
def test_wrong_input(sample, words):
    with pytest.raises(StatisticsError, match=words):
        prediction_powered_mean(sample)


def test_wrong_half_width():
    found = prediction_powered_mean(LabelledSample([1, 1, 0, 0], [1, 1, 0, 1], [1, 0] * 4))
    with pytest.raises(StatisticsError, match="half width"):
        labels_needed(found, 0.0)
