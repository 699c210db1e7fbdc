"""`assay import` on published files gives the published figures."""

from __future__ import annotations

import csv
import json

import pytest

from harness.cli import main
from harness.records import Rating
from harness.store.jsonl import read_json, read_jsonl
from judges.parsing import parse_rating
from tests.paths import DATA, MIRROR, needs_data

pytestmark = [pytest.mark.golden, needs_data]

ALPACA = DATA / "alpaca_eval"
JUDGE = "weighted_alpaca_eval_gpt4_turbo"
MT = DATA / "mt_bench/mt_bench"
KO = DATA / "arena_hard/ko-arena-hard"


@pytest.fixture
def figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ASSAY_DATA", str(MIRROR))

    def imported(*arguments):
        status = main(["import", *(str(a) for a in arguments), "--out", str(tmp_path / "run"), "--json"])
        found = json.loads(capsys.readouterr().out)
        assert status == 0
        found["figures"] = {row["metric"]: row for row in found["rows"]}
        return found

    return imported


@pytest.mark.parametrize(
    ("model", "score", "n", "n_unscored"), [("martian", 8.3125, 160, 0), ("unify", 8.757861635220126, 159, 1)]
)
def test_mt_bench(figures, model, score, n, n_unscored):
    """unify has one verdict that upstream stored as -1 and leaves out without a word."""
    found = figures(
        *("mt_bench", "--questions", MT / "question.jsonl", "--model", model),
        *("--judgments", MT / "model_judgment/RouteLLM_independent/gpt-4_single.jsonl"),
    )["figures"]
    assert found["score"]["value"] == pytest.approx(score, abs=1e-12)
    assert (found["score"]["n"], found["score"]["n_unscored"]) == (n, n_unscored)
    assert found["score"]["n_clusters"] == 80


def alpaca_models():
    found = sorted((ALPACA / "full_xz/results").glob(f"*/{JUDGE}/annotations.json.xz"))
    return [path.parts[-3] for path in found]


def published():
    with (ALPACA / f"leaderboards/data_AlpacaEval_2/{JUDGE}_leaderboard.csv").open() as stream:
        return {row.pop(""): row for row in csv.DictReader(stream)}


@pytest.mark.parametrize("model", alpaca_models())
def test_alpaca_eval(figures, model):
    """Raw win rates to 1e-8; two models have annotations of 802 and 804 items, and the published figure is theirs."""
    folder = ALPACA / "full_xz/results" / model
    arguments = ["alpaca_eval", "--annotations", folder / JUDGE / "annotations.json.xz"]
    found = figures(*arguments, "--outputs", folder / "model_outputs.json.xz")["figures"]
    row = published()[model]
    assert found["win_rate"]["value"] == pytest.approx(float(row["win_rate"]), abs=1e-8)
    assert found["win_rate"]["n"] == int(float(row["n_total"]))
    assert found["published_standard_error"]["value"] == pytest.approx(float(row["standard_error"]), abs=1e-8)
    assert found["discrete_win_rate"]["value"] == pytest.approx(float(row["discrete_win_rate"]), abs=1e-8)
    controlled = found["published_length_controlled_win_rate"]
    assert controlled["value"] == pytest.approx(float(row["length_controlled_winrate"]), abs=0.2)


def test_alpaca_eval_counts_the_items_without_an_annotation(figures):
    """The baseline's outputs name all 805 items; the three that were never annotated are missing, not forgotten."""
    folder = ALPACA / "full_xz/results/alpaca-7b_verbose"
    found = figures(
        *("alpaca_eval", "--annotations", folder / JUDGE / "annotations.json.xz"),
        *("--outputs", folder / "model_outputs.json.xz"),
        *("--baseline-outputs", ALPACA / "full_xz/results/gpt4_1106_preview/model_outputs.json.xz"),
    )
    row = found["figures"]["win_rate"]
    assert (row["n"], row["n_unscored"], row["unscored"]) == (802, 3, {"missing": 3})
    assert row["value"] == pytest.approx(2.9331016025062344, abs=1e-8)
    assert found["valid"], "three of 805 are within the limit of 1 %"


@pytest.mark.parametrize("model", ["o3-low", "qwen-turbo", "lfm-40b"])
def test_arena_hard(figures, model):
    data = KO / "data/ko-arena-hard-v0.1"
    found = figures(
        *("arena_hard", "--questions", data / "question.jsonl"),
        *("--judgments", data / f"model_judgment/ensemble/{model}.jsonl"),
    )["figures"]
    with next(KO.glob("leaderboard/*/no_control.csv")).open() as stream:
        rows = {row["model"]: row for row in csv.DictReader(stream)}
    assert round(found["win_rate"]["value"], 2) == float(rows[model]["score"])
    low, high = found["published_ci_low"]["value"], found["published_ci_high"]["value"]
    ours = found["win_rate"]["ci_high"] - found["win_rate"]["ci_low"]
    assert low < found["win_rate"]["value"] < high
    assert ours > 1.3 * (high - low), "the published interval is too narrow on this data"


def test_stored_verdicts_are_read_as_upstream_read_them():
    """Every stored GPT-4 judgment: the same rating, or refused for a reason that can be named."""
    n_same = n_refused = 0
    for path in sorted(MT.glob("model_judgment/*/gpt-4_single.jsonl")):
        for _, row in read_jsonl(path):
            verdict = parse_rating(row["judgment"])
            if isinstance(verdict, Rating) and verdict.value == row["score"]:
                n_same += 1
            elif row["score"] == -1:
                assert not isinstance(verdict, Rating)
            else:
                n_refused += 1
                assert not isinstance(verdict, Rating), (path, row["question_id"], row["judgment"][-200:])
    assert n_same > 1000
    assert n_refused <= n_same // 200


def test_the_mirrors_baseline_is_the_published_one():
    rows = read_json(next(MIRROR.glob("github/tatsu-lab/alpaca_eval/*/results/gpt4_1106_preview/model_outputs.json")))
    assert len({row["instruction"] for row in rows}) == 805
