"""`assay leaderboard --pairwise` and `--against`: on made-up annotations, and on published Ko-Arena-Hard verdicts."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from tests.paths import DATA, needs_data

pytestmark = [pytest.mark.e2e, needs_data]

KO = DATA / "arena_hard/ko-arena-hard"
BOARDS = KO / "leaderboard/arena_hard_leaderboard_20250423_ensemble"
SHOWN = ("o3-low", "qwen-max", "gpt-4.1-2025-04-14", "deepseek-v3", "jamba-1.6-mini", "llama-3.1-8b-instruct")


@pytest.fixture
def imported(assay, tmp_path):
    """Import made-up annotations of one model against another; `shares` are the model's."""

    def make(model: str, baseline: str, shares, judge: str = "judge", said: str = "two"):
        name = f"{model}-{baseline}-{judge}-{said}"
        rows = [
            {"instruction": f"question {i}", "output_1": "one", "output_2": said, "generator_1": baseline}
            | {"generator_2": model, "annotator": judge, "preference": 1 + float(share)}
            for i, share in enumerate(shares)
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
        status, _, err = assay(
            "import", "alpaca_eval", "--annotations", tmp_path / f"{name}.json", "--out", tmp_path / name
        )
        assert status == 0, err
        return tmp_path / name

    return make


def shares(seed: int, rate: float, n: int = 60):
    return (np.random.default_rng(seed).random(n) < rate).astype(float)


class TestPairwise:
    def test_candidates_and_baselines_are_rated_together(self, assay, imported):
        """c beats b, b beats a, and c never met a: the chain joins them."""
        runs = [imported("b", "a", shares(1, 0.8)), imported("c", "b", shares(2, 0.75))]
        status, out, err = assay("leaderboard", *runs, "--pairwise", "--format", "json")
        assert status == 0, err
        (table,) = json.loads(out)["benchmarks"]
        models = {found["model"]: found for found in table["models"]}
        assert [found["model"] for found in table["models"]] == ["c", "b", "a"]
        assert (table["n"], table["n_prompts"], table["n_unscored"]) == (120, 60, 0)
        assert [models[name]["n"] for name in "abc"] == [60, 120, 60]
        odds = shares(1, 0.8).mean() / (1 - shares(1, 0.8).mean())
        assert models["b"]["rating"] - models["a"]["rating"] == pytest.approx(400 * np.log10(odds))
        assert np.mean([found["rating"] for found in table["models"]]) == pytest.approx(1000)
        for found in table["models"]:
            assert found["ci_low"] < found["rating"] < found["ci_high"]
            assert found["rank_low_simultaneous"] <= found["rank_low_marginal"] <= found["rank"]
            assert found["rank"] <= found["rank_high_marginal"] <= found["rank_high_simultaneous"]

    def test_the_order_within_a_pair_does_not_matter(self, assay, imported):
        there = imported("b", "a", shares(1, 0.8))
        back = imported("a", "b", 1 - shares(1, 0.8))
        boards = [json.loads(assay("leaderboard", run, "--pairwise", "--format", "json")[1]) for run in (there, back)]
        assert boards[0]["benchmarks"] == boards[1]["benchmarks"]

    @pytest.mark.parametrize("name", ["md", "csv", "latex", "html", "table"])
    def test_every_format_labels_both_ranges(self, assay, imported, name):
        run = imported("b", "a", shares(1, 0.8))
        status, out, _ = assay("leaderboard", run, "--pairwise", "--format", name)
        assert status == 0
        assert "marginal ranks" in out
        assert "simultaneous ranks" in out
        if name == "csv":
            rows = list(csv.DictReader(io.StringIO(out)))
            assert [row["model"] for row in rows] == ["b", "a"]

    def test_a_model_that_won_everything_has_a_finite_rating_and_a_note(self, assay, imported):
        runs = [imported("b", "a", shares(1, 0.6)), imported("star", "a", np.ones(60))]
        status, out, _ = assay("leaderboard", *runs, "--pairwise", "--format", "json")
        (table,) = json.loads(out)["benchmarks"]
        assert status == 0
        assert table["models"][0]["model"] == "star"
        assert "star won every comparison" in table["notes"][0]
        assert "ridge" in table["notes"][0]

    def test_models_that_never_met_are_refused_by_name(self, assay, imported):
        runs = [imported("b", "a", shares(1, 0.6)), imported("d", "c", shares(2, 0.6))]
        status, _, err = assay("leaderboard", *runs, "--pairwise")
        assert status == 1
        assert "a, b | c, d" in err

    def test_different_judges_are_refused(self, assay, imported):
        runs = [imported("b", "a", shares(1, 0.6)), imported("c", "a", shares(2, 0.6), judge="another")]
        status, _, err = assay("leaderboard", *runs, "--pairwise")
        assert status == 2
        assert "one judge for all rows" in err

    def test_a_run_given_twice_is_refused(self, assay, imported):
        run = imported("b", "a", shares(1, 0.6))
        status, _, err = assay("leaderboard", run, run, "--pairwise")
        assert status == 2
        assert "given twice" in err

    def test_two_models_of_one_name_are_refused(self, assay, imported):
        runs = [imported("b", "a", shares(1, 0.6)), imported("b", "a", shares(2, 0.9), said="three")]
        status, _, err = assay("leaderboard", *runs, "--pairwise")
        assert status == 2
        assert f"two models are named 'b': one in {runs[0]}, another in {runs[1]}" in err
        assert "--model-name" in err

    def test_one_model_against_two_baselines_stays_one(self, assay, imported):
        runs = [imported("b", "a", shares(1, 0.6)), imported("b", "c", shares(2, 0.4))]
        status, out, err = assay("leaderboard", *runs, "--pairwise", "--format", "json")
        assert status == 0, err
        assert sorted(found["model"] for found in json.loads(out)["benchmarks"][0]["models"]) == ["a", "b", "c"]

    def test_runs_without_pairs_are_refused(self, assay, tmp_path):
        folder = DATA / "mt_bench/mt_bench"
        judgments = folder / "model_judgment/RouteLLM_independent/gpt-4_single.jsonl"
        arguments = ["--questions", folder / "question.jsonl", "--judgments", judgments, "--model", "unify"]
        assert assay("import", "mt_bench", *arguments, "--out", tmp_path / "unify")[0] == 0
        status, _, err = assay("leaderboard", tmp_path / "unify", "--pairwise")
        assert status == 2
        assert "no judged pair" in err

    def test_other_tables_are_not_mixed_in(self, assay, tmp_path):
        status, _, err = assay("leaderboard", tmp_path, "--pairwise", "--published", "--metric", "a:b")
        assert status == 2
        assert "--pairwise with --metric and --published" in err


@pytest.fixture(scope="module")
def ko_runs(tmp_path_factory):
    from harness.cli import main

    folder = tmp_path_factory.mktemp("ko")
    data = KO / "data/ko-arena-hard-v0.1"
    for model in SHOWN:
        judgments = data / f"model_judgment/ensemble/{model}.jsonl"
        arguments = ["--questions", data / "question.jsonl", "--judgments", judgments, "--out", folder / model]
        assert main(["import", "arena_hard", *map(str, arguments)]) == 0
    return [folder / model for model in SHOWN]


@pytest.mark.golden
def test_ratings_are_the_published_elo(assay, ko_runs):
    """With one baseline the joint fit is the published one: differences to the baseline to 3e-5 of the rating."""
    status, out, _ = assay("leaderboard", *ko_runs, "--pairwise", "--format", "json")
    assert status == 0
    ratings = {found["model"]: found["rating"] for found in json.loads(out)["benchmarks"][0]["models"]}
    base = ratings.pop("baseline of arena_hard")
    with (BOARDS / "no_control.csv").open(encoding="utf-8") as file:
        published = {row["model"]: float(row["elo_score"]) for row in csv.DictReader(file)}
    assert set(ratings) == set(SHOWN)
    for model, rating in ratings.items():
        assert 1000 + rating - base == pytest.approx(published[model], rel=3e-5)


class TestAgainst:
    def test_the_published_board_of_the_same_verdicts_agrees(self, assay, ko_runs):
        status, out, _ = assay("leaderboard", *ko_runs, "--against", BOARDS / "no_control.csv", "--format", "json")
        board = json.loads(out)
        assert status == 0
        (column,) = board["columns"]
        assert (column["benchmark"], column["metric"], len(column["models"])) == ("arena_hard", "win_rate", 6)
        assert board["not_in_runs"] > 60
        found = {figure["figure"]: figure for figure in column["figures"]}
        assert [found[name]["value"] for name in ("spearman", "kendall")] == pytest.approx([1, 1])
        assert found["spearman"]["ci_low"] is None
        assert "perfect" in found["spearman"]["note"]
        assert found["separability"]["n"] == found["pair_rank_brier"]["n"] == 15
        # Of the published intervals only those of qwen-max and gpt-4.1 overlap: 14 of 15 pairs.
        assert found["separability_of_reference"]["value"] == pytest.approx(100 * 14 / 15)
        assert found["separability"]["value"] <= found["separability_of_reference"]["value"]
        assert found["agreement"]["value"] >= 90
        assert found["pair_rank_brier"]["value"] < 0.02

    def test_a_ranking_of_ones_own_as_json_without_intervals(self, assay, ko_runs, tmp_path):
        """The reverse order with one model missing: every figure at its worst."""
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({model: place for place, model in enumerate(SHOWN[:5])}))
        status, out, _ = assay("leaderboard", *ko_runs, "--against", path, "--format", "json")
        board = json.loads(out)
        assert status == 0
        assert board["not_in_reference"] == ["llama-3.1-8b-instruct"]
        found = {figure["figure"]: figure for figure in board["columns"][0]["figures"]}
        assert found["spearman"]["value"] == pytest.approx(-1)
        assert found["separability_of_reference"]["value"] is None
        assert "no intervals" in found["separability_of_reference"]["note"]
        assert found["agreement"]["value"] < 10
        assert found["signed_agreement"]["value"] < -80
        assert found["pair_rank_brier"]["value"] > 0.8

    @pytest.mark.parametrize("name", ["md", "csv", "latex", "html", "table"])
    def test_every_format(self, assay, ko_runs, name):
        status, out, _ = assay("leaderboard", *ko_runs, "--against", BOARDS / "no_control.csv", "--format", name)
        assert status == 0
        assert "kendall" in out

    def test_published_rows_are_compared_too(self, assay, imported, tmp_path):
        """AlpacaEval 2's published rows against two scores of one's own."""
        run = imported("mine", "gpt4_1106_preview", shares(1, 0.3), judge="weighted_alpaca_eval_gpt4_turbo")
        path = tmp_path / "scores.csv"
        path.write_text("model,score\nmine,3\ngpt4_1106_preview,9\nalpaca-7b,1\n")
        arguments = ["--published", "--metric", "alpaca_eval:win_rate", "--against", path, "--format", "json"]
        status, out, err = assay("leaderboard", run, *arguments)
        assert status == 0, err
        (column,) = json.loads(out)["columns"]
        assert sorted(column["models"]) == ["alpaca-7b", "gpt4_1106_preview", "mine"]
        other = imported("mine", "gpt4_1106_preview", shares(1, 0.3), judge="another")
        status, _, err = assay("leaderboard", other, *arguments)
        assert status == 2
        assert "figures by different judges with --against" in err

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("model,score\na,x\n", "'x' is not a number"),
            ("model,score\na,nan\n", "'nan' is not a number"),
            ("who,score\na,1\n", "no field 'model'"),
            ("model,points\na,1\n", "no field 'score'"),
            ("model,score\na,1\na,2\n", "'a' is there twice"),
            ("model,score,ci_low,ci_high\na,1,3,2\n", "lower limit first"),
            ("model,score\nnobody,1\n", "at least two models with the same name"),
            ("", "at least two models with the same name"),
            ("[1, 2]", "int instead of a record"),
            ('{"a": true}', "True is not a number"),
            ("[{", "not valid JSON"),
        ],
    )
    def test_files_that_are_no_ranking(self, assay, ko_runs, tmp_path, text, message):
        path = tmp_path / "ranking"
        path.write_text(text)
        status, _, err = assay("leaderboard", *ko_runs, "--against", path)
        assert status == 1
        assert message in err

    def test_a_file_that_is_not_there(self, assay, ko_runs, tmp_path):
        status, _, err = assay("leaderboard", *ko_runs, "--against", tmp_path / "none.csv")
        assert status == 1
        assert "none.csv" in err

    def test_lmarena_says_what_to_give(self, assay, ko_runs):
        status, _, err = assay("leaderboard", *ko_runs, "--against", "lmarena")
        assert status == 1
        assert "--against FILE" in err
        assert "model, score" in err
