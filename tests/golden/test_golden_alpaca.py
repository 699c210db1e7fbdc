"""AlpacaEval 2's leaderboard from the published annotations and weights."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
from functools import cache

import numpy as np
import pandas as pd
import pytest

from benchmarks.alpaca_eval.lc import (
    LengthControlCoefficients,
    discrete_win_rate,
    length_controlled_win_rate,
    win_rate,
)
from benchmarks.alpaca_eval.lc_data import LengthControlData, LengthControlSpec, read_gamed
from benchmarks.alpaca_eval.lc_fit import LengthControlEstimator
from benchmarks.alpaca_eval.logistic import logistic
from tests.paths import DATA, MIRROR, needs_data
from tests.support.l1_objective import l1_objective

pytestmark = [pytest.mark.golden, needs_data]

HERE = DATA / "alpaca_eval"
HUB = MIRROR / "huggingface/datasets/tatsu-lab/alpaca_eval"
JUDGE = "weighted_alpaca_eval_gpt4_turbo"
BASELINE = "gpt4_1106_preview"
PUBLISHED = LengthControlSpec(solver="liblinear", unscored="predict")


def models():
    """Every model with published GPT-4-turbo annotations, the baseline apart."""
    found = (HERE / "full_xz/results").glob(f"*/{JUDGE}/annotations.json.xz")
    return sorted({path.parts[-3] for path in found} - {BASELINE})


@cache
def leaderboard():
    with (HERE / f"leaderboards/data_AlpacaEval_2/{JUDGE}_leaderboard.csv").open() as file:
        return {row.pop(""): row for row in csv.DictReader(file)}


@cache
def weights():
    with (HERE / f"weights/{JUDGE}/length_controlled_v1/baseline_{BASELINE}.csv").open() as file:
        return {row.pop(""): LengthControlCoefficients(*map(float, row.values())) for row in csv.DictReader(file)}


@cache
def annotations(model, judge=JUDGE):
    with lzma.open(HERE / "full_xz/results" / model / judge / "annotations.json.xz", "rt") as file:
        return json.load(file)


@cache
def gamed():
    return read_gamed(HUB / "df_gamed.csv")


def share(model, judge=JUDGE):
    """The model's share; an old-style 0 is a draw."""
    preference = np.array([row["preference"] for row in annotations(model, judge)], dtype=float)
    return np.where(preference == 0, 1.5, preference) - 1


def by_position(model, judge=JUDGE):
    """The verdicts with the difficulty upstream gives them: that of the row with the same number."""
    rows = annotations(model, judge)
    lengths = [[len(row[name]) for row in rows] for name in ("output_2", "output_1")]
    return LengthControlData(share(model, judge), *lengths, gamed()[1][: len(rows)])


def by_instruction(model):
    """The verdicts with the difficulty of their own instruction."""
    number = {row["instruction"]: index for index, row in enumerate(annotations(BASELINE))}
    data = by_position(model)
    difficulty = gamed()[1][[number[row["instruction"]] for row in annotations(model)]]
    return LengthControlData(data.preference, data.length_model, data.length_baseline, difficulty)


@cache
def published_result(model):
    return length_controlled_win_rate(by_position(model), gamed()[0], PUBLISHED)


def test_there_are_models_to_check():
    assert len(models()) >= 15


@pytest.mark.parametrize("model", models())
def test_raw_win_rate(model):
    row = leaderboard()[model]
    found = win_rate(share(model))
    assert found.value == pytest.approx(float(row["win_rate"]), abs=1e-8)
    assert found.stderr == pytest.approx(float(row["standard_error"]), abs=1e-8)
    assert found.n == int(row["n_total"])
    assert discrete_win_rate(share(model)).value == pytest.approx(float(row["discrete_win_rate"]), abs=1e-8)


@pytest.mark.parametrize("model", models())
def test_slim_annotations_are_the_same(model):
    with gzip.open(HERE / "annotations_slim" / f"{model}.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    data = by_position(model)
    np.testing.assert_array_equal([row["len_1"] for row in rows], data.length_baseline)
    np.testing.assert_array_equal([row["len_2"] for row in rows], data.length_model)


def test_length_controlled_win_rate_on_the_leaderboard():
    """The gamed rows are a reconstruction good to a few 1e-4 points; two or three models' published runs differ."""
    errors = [
        abs(published_result(m).win_rate - float(leaderboard()[m]["length_controlled_winrate"])) for m in models()
    ]
    assert np.median(errors) < 0.001
    assert max(errors) < 0.2


def test_published_standard_error_where_the_leaderboard_has_one():
    listed = [m for m in models() if leaderboard()[m]["lc_standard_error"]]
    assert len(listed) >= 3
    for model in listed:
        expected = float(leaderboard()[model]["lc_standard_error"])
        assert published_result(model).published_standard_error == pytest.approx(expected, abs=1e-4)


def test_published_weights_where_the_run_is_the_same():
    close = [m for m in models() if m in weights() and m not in ("gpt4_gamed", "vicuna-13b-v1.5", "alpaca-7b_verbose")]
    for model in set(close) - {"NullModel"}:
        expected, found = weights()[model], published_result(model).coefficients
        for name in ("length", "difficulty", "model"):
            assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=2e-3)


def test_missing_rows_shift_the_difficulty_upstream():
    """alpaca-7b_verbose lacks three rows: by position the difficulties after the first gap are other instructions'."""
    shifted, joined = by_position("alpaca-7b_verbose"), by_instruction("alpaca-7b_verbose")
    assert shifted.n == 802
    assert np.mean(shifted.difficulty != joined.difficulty) > 0.5
    figures = [length_controlled_win_rate(data, gamed()[0]).win_rate for data in (shifted, joined)]
    assert abs(figures[0] - figures[1]) > 0.1
    for model in ("claude-2.1", "NullModel"):
        np.testing.assert_array_equal(by_position(model).difficulty, by_instruction(model).difficulty)


def annotation_files():
    """Every published annotation file, of both judges, as model and judge."""
    found = sorted((HERE / "full_xz/results").glob("*/*/annotations.json.xz"))
    return [path.parts[-3:-1] for path in found if path.parts[-3] != BASELINE]


# Both judges, rows without a verdict, rows that are missing, nearly constant verdicts.
SPREAD = [
    ("alpaca-7b", "alpaca_eval_gpt4"),
    ("alpaca-7b_verbose", JUDGE),
    ("claude-2", "alpaca_eval_gpt4"),
    ("claude-2.1_concise", JUDGE),
    ("LMCocktail-10.7B-v1", "alpaca_eval_gpt4"),
    ("NullModel", JUDGE),
]


def assert_equals_the_package(monkeypatch, model, judge):
    from alpaca_eval.metrics import glm_winrate

    monkeypatch.setattr(glm_winrate, "hf_hub_download", lambda filename, **_: str(HUB / filename))
    frame = pd.DataFrame(annotations(model, judge))
    upstream = glm_winrate.get_length_controlled_winrate(frame, save_weights_dir=None)
    found = length_controlled_win_rate(by_position(model, judge), gamed()[0], PUBLISHED)
    assert found.win_rate == pytest.approx(upstream["length_controlled_winrate"], abs=1e-9)
    assert found.published_standard_error == pytest.approx(upstream["lc_standard_error"], abs=1e-9)
    np.testing.assert_allclose(found.predictions, frame["glm_preference"], atol=1e-9)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("model", "judge"), SPREAD)
def test_equals_the_alpaca_eval_package(model, judge, monkeypatch):
    assert_equals_the_package(monkeypatch, model, judge)


@pytest.mark.very_slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("model", "judge"), [file for file in annotation_files() if file not in SPREAD])
def test_equals_the_alpaca_eval_package_on_every_other_file(model, judge, monkeypatch):
    assert_equals_the_package(monkeypatch, model, judge)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_equals_the_package_from_an_import_to_the_score(monkeypatch, tmp_path, capsys):
    from alpaca_eval.metrics import glm_winrate

    from harness.cli import main

    model = "claude-2.1_concise"
    path = HERE / "full_xz/results" / model / JUDGE / "annotations.json.xz"
    run = ["import", "alpaca_eval", "--annotations", str(path), "--out", str(tmp_path / "run")]
    assert main([*run, "--data-dir", str(MIRROR)]) == 0
    capsys.readouterr()
    assert main(["score", str(tmp_path / "run"), "--json", "--data-dir", str(MIRROR)]) == 0
    figures = {row["metric"]: row["value"] for row in json.loads(capsys.readouterr().out)["rows"]}
    monkeypatch.setattr(glm_winrate, "hf_hub_download", lambda filename, **_: str(HUB / filename))
    upstream = glm_winrate.get_length_controlled_winrate(pd.DataFrame(annotations(model)), save_weights_dir=None)
    assert figures["published_length_controlled_win_rate"] == pytest.approx(
        upstream["length_controlled_winrate"], abs=1e-9
    )
    assert figures["published_lc_standard_error"] == pytest.approx(upstream["lc_standard_error"], abs=1e-9)


@pytest.mark.parametrize("model", models())
def test_the_minimum_is_where_scikit_learn_goes_with_a_tighter_tolerance(model):
    from sklearn.linear_model import LogisticRegression

    data = by_position(model)
    found = length_controlled_win_rate(data, gamed()[0])
    estimator = LengthControlEstimator(data, gamed()[0], LengthControlSpec())
    sample, fits = estimator.observe()
    rows = estimator.training_rows(sample)
    design = np.concatenate([rows[0].features, rows[1].features[0]], axis=1).T
    label, weight = (np.concatenate([getattr(rows[0], k), getattr(rows[1], k)[0]]) for k in ("label", "weight"))
    objective = {}
    for tol in (1e-4, 1e-10):
        fit = LogisticRegression(
            l1_ratio=1.0, solver="liblinear", random_state=123, fit_intercept=False, C=found.C, tol=tol, max_iter=1000
        )
        classes = np.repeat([1, 0], len(label))
        fit.fit(np.concatenate([design] * 2), classes, np.concatenate([label * weight, (1 - label) * weight]))
        objective[tol] = l1_objective(rows, fit.coef_, found.C)[0]
    tight = LengthControlCoefficients(*fit.coef_[0])
    zero = LengthControlCoefficients(0.0, 0.0, 0.0)
    assert found.win_rate == pytest.approx(win_rate_from_weights(tight, zero, data.difficulty), abs=1e-5)
    ours = l1_objective(rows, fits.coefficients, found.C)[0]
    assert ours <= objective[1e-4]
    assert ours == pytest.approx(objective[1e-10], rel=1e-13)


# The leaderboard's figure is of another run than the weights file's row.
OTHER_RUN = {"NullModel": 0.14, "dbrx-instruct": 0.20}
# Upstream averages over the rows there are, by position: these models' files lack rows ...
ROWS_MISSING = {
    "gpt35_turbo_instruct",
    "llama-2-70b-chat-hf",
    "minotaur-13b",
    "platolm-7b",
    "text_davinci_001",
    "alpaca-7b_verbose",
    "alpaca-7b_concise",
    "phi-2",
}
# ... while these have every row, some without a verdict, and those are predicted all the same.
VERDICTS_MISSING = {"Snorkel-Mistral-PairRM-DPO", "Meta-Llama-3.1-8B-Instruct-Turbo", "Qwen1.5-1.8B-Chat"}


def win_rate_from_weights(model, baseline, difficulty):
    """Length-controlled win rate of one model over another from two rows of a weights file, in percent."""
    score = (model.model - baseline.model) + (model.difficulty - baseline.difficulty) * difficulty
    return 100 * logistic(score).mean()


def test_length_controlled_win_rate_from_published_weights():
    difficulty = pd.read_csv(HUB / "instruction_difficulty.csv", index_col=0).squeeze().to_numpy()
    baseline = weights()[BASELINE]
    compared = 0
    for model, row in leaderboard().items():
        if model not in weights() or not row["length_controlled_winrate"]:
            continue
        n_total = int(row["n_total"])
        assert (n_total < 805) == (model in ROWS_MISSING | VERDICTS_MISSING)
        rows = n_total if model in ROWS_MISSING else 805
        found = win_rate_from_weights(weights()[model], baseline, difficulty[:rows])
        expected = float(row["length_controlled_winrate"])
        if model in OTHER_RUN:
            assert 1e-6 < abs(found - expected) < OTHER_RUN[model]
        else:
            assert found == pytest.approx(expected, abs=1e-6)
        compared += 1
    assert compared == 199
