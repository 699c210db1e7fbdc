"""`assay rebase` on runs of the same answers by two judges."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.run.bridge_file import read_bridge
from tests.support.gate_runs import write_run

pytestmark = pytest.mark.e2e

MODELS = ("llama-a", "llama-b", "qwen-a", "qwen-b", "gemma", "phi", "mistral")
QUALITY = dict(zip(MODELS, np.linspace(3.0, 8.5, len(MODELS)), strict=True))


def ratings(model, judge, n=40, seed=0):
    """Ratings of one answer to each of n prompts; the new judge is stricter, and both see the same answers."""
    rng = np.random.default_rng([seed, MODELS.index(model)])
    worth = QUALITY[model] + rng.normal(0, 1.0, n)
    noise = np.random.default_rng([seed, MODELS.index(model), len(judge)]).normal(0, 0.3, n)
    scale = worth if judge == "old" else 1.0 + 0.7 * worth
    return np.clip(scale + noise, 1, 10).round(2).tolist()


def runs(folder, judge, models=MODELS, values=ratings, **more):
    return [write_run(folder / judge / m, m, judge=judge, mt_bench=values(m, judge), **more) for m in models]


@pytest.fixture
def both(tmp_path):
    return runs(tmp_path, "old"), runs(tmp_path, "new", MODELS[1:])


def test_a_bridge_converts_the_run_that_only_the_old_judge_judged(assay, both, tmp_path):
    old, new = both
    out = tmp_path / "bridges" / "bridge.json"
    status, text, err = assay("rebase", "--old", *old, "--new", *new, "--json", "--out", out)
    assert status == 0, err
    found = json.loads(text)
    (record,) = found["bridges"]
    assert (record["benchmark"], record["metric"]) == ("mt_bench", "score")
    assert record["found"]["holds"]
    assert record["found"]["n_models"] == 6
    assert record["found"]["slope"] == pytest.approx(0.7, abs=0.08)
    assert [m["family"] for m in record["models"]] == ["llama", "qwen", "qwen", "gemma", "phi", "mistral"]
    (converted,) = found["converted"]
    assert converted["model"] == "llama-a"
    truth = float(np.mean(ratings("llama-a", "new")))
    assert converted["ci_low"] < truth < converted["ci_high"]
    assert converted["note"] == "beyond the figures of the bridge's models"
    stored = read_bridge(out)
    bridge = stored.fitted["mt_bench", "score"]
    again = bridge.convert(converted["old"], 0.1)
    assert again.value == pytest.approx(converted["new"])
    assert {m["model"]: m["old"] for m in record["models"]}["phi"] == pytest.approx(np.mean(ratings("phi", "old")))


def test_the_table_shows_the_tests(assay, both):
    old, new = both
    status, text, _ = assay("rebase", "--old", *old, "--new", *new)
    assert status == 0
    shown = ("from old (old) to new (new)", "Kendall's tau 1.00", "6 of 6 inside", "by family", "the bridge holds")
    for words in shown:
        assert words in text
    assert "llama-a" in text.split("converted")[1]


def test_only_prompts_with_the_same_answer_count(assay, tmp_path):
    """Some answers were generated again for the new judge: their prompts are left out of both figures."""
    old = runs(tmp_path, "old")
    new = runs(tmp_path, "new", length=20)
    changed = new[0] / "responses.jsonl"
    lines = changed.read_text().splitlines()
    for i in range(10):
        value = json.loads(lines[i])
        value["turns"] = ["another answer", "and another"]
        lines[i] = json.dumps(value)
    changed.write_text("\n".join(lines) + "\n")
    status, text, err = assay("rebase", "--old", *old, "--new", *new, "--json")
    assert status == 0, err
    models = {m["model"]: m["old"] for m in json.loads(text)["bridges"][0]["models"]}
    assert models["phi"] == pytest.approx(np.mean(ratings("phi", "old")[10:]))


def test_a_judge_that_ranks_at_random_is_refused(assay, tmp_path):
    dealt = dict(zip(MODELS, ("phi", "llama-a", "mistral", "qwen-b", "llama-b", "gemma", "qwen-a"), strict=True))
    old = runs(tmp_path, "old")
    new = runs(tmp_path, "new", MODELS[1:], lambda m, judge: ratings(dealt[m], judge))
    status, text, _ = assay("rebase", "--old", *old, "--new", *new)
    assert status == 1
    assert "REFUSED: the judges do not rank the 6 models alike" in text
    assert "the bridge between the judges does not hold" in text


def board(assay, *arguments):
    status, out, err = assay("leaderboard", *arguments, "--format", "json")
    assert status == 0, err
    return json.loads(out)


class TestLeaderboard:
    """Figures by different judges stand and are ranked apart, unless a bridge converts them."""

    @pytest.fixture
    def bridge(self, assay, both, tmp_path):
        old, new = both
        assert assay("rebase", "--old", *old, "--new", *new, "--out", tmp_path / "bridge.json")[0] == 0
        return tmp_path / "bridge.json"

    def test_judges_are_ranked_apart(self, assay, both):
        old, new = both
        found = board(assay, *old[:2], *new[3:])
        judges = [row["judges"]["mt_bench"] for row in found["rows"]]
        assert judges == ["old", "old", "new", "new", "new"]
        assert [row["figures"][0]["rank"] for row in found["rows"]] == [1, 2, 1, 2, 3]
        assert all(row["figures"][0]["converted_from"] is None for row in found["rows"])
        for form in ("table", "md", "csv", "latex", "html"):
            assert "judge" in assay("leaderboard", *old[:2], *new[3:], "--format", form)[1]
        assert "ranked among themselves" in " ".join(assay("leaderboard", *old[:2], *new[3:])[1].split())

    def test_a_table_of_one_judge_has_no_column_for_it(self, assay, both):
        assert "judge" not in assay("leaderboard", *both[0], "--format", "csv")[1]

    def test_a_bridge_puts_all_on_one_scale(self, assay, both, bridge):
        old, new = both
        found = board(assay, old[0], *new, "--bridge", bridge)
        rows = {row["model"]: row for row in found["rows"]}
        assert [row["figures"][0]["rank"] for row in found["rows"]] == [1, 2, 3, 4, 5, 6, 7]
        converted = rows["llama-a"]["figures"][0]
        assert rows["llama-a"]["judges"] == {"mt_bench": "new"}
        assert converted["converted_from"] == "old"
        assert converted["ci_low"] < np.mean(ratings("llama-a", "new")) < converted["ci_high"]
        assert "converted by a bridge between judges" in converted["method"]
        assert rows["phi"]["figures"][0]["converted_from"] is None
        text = assay("leaderboard", old[0], *new, "--bridge", bridge, "--format", "csv")[1]
        assert "new, converted from old" in text

    def test_a_bridge_of_other_judges_is_refused(self, assay, tmp_path, bridge):
        other = runs(tmp_path, "third", MODELS[:2])
        status, _, err = assay("leaderboard", *other, "--bridge", bridge)
        assert status == 2
        assert "the bridge is from old to new, and the table holds mt_bench by third" in err

    def test_a_figure_without_a_bridge_has_a_reason(self, assay, both, bridge):
        old, _ = both
        path = json.loads(bridge.read_text())
        path["bridges"][0]["metric"] = "another"
        bridge.write_text(json.dumps(path))
        (row,) = board(assay, old[0], "--bridge", bridge)["rows"]
        assert row["figures"][0]["value"] is None
        assert row["figures"][0]["reason"] == "by old; the bridge to new has no mt_bench score"

    def test_a_bridge_that_does_not_hold_is_refused(self, assay, both, bridge):
        content = json.loads(bridge.read_text())
        for i, model in enumerate(content["bridges"][0]["models"]):
            model["new"] = [5.0, 3.0, 6.0, 2.0, 4.0, 7.0][i]
        bridge.write_text(json.dumps(content))
        status, _, err = assay("leaderboard", both[0][0], "--bridge", bridge)
        assert status == 2
        assert "does not hold: the judges do not rank the 6 models alike" in err

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{}", "not a bridge between judges"),
            ("[1]", "not a bridge between judges"),
            ("{", "not valid JSON"),
            ('{"kind": "bridge between judges", "version": 1}', "field 'old' is missing"),
        ],
    )
    def test_another_file_is_refused(self, assay, both, tmp_path, text, words):
        path = tmp_path / "file.json"
        path.write_text(text)
        status, _, err = assay("leaderboard", both[0][0], "--bridge", path)
        assert status in (1, 2)
        assert words in err

    def test_a_missing_file(self, assay, both, tmp_path):
        status, _, err = assay("leaderboard", both[0][0], "--bridge", tmp_path / "none.json")
        assert status == 1
        assert "no such file" in err

    def test_published_rows_carry_their_judge(self, assay, tmp_path):
        run = write_run(tmp_path / "mine", "mine", judge="my judge", alpaca_eval=[0.2, 0.4, 0.6])
        found = board(assay, run, "--published")
        published = [row for row in found["rows"] if row["published"]]
        assert len(published) > 200
        assert {row["judges"]["alpaca_eval"] for row in published} == {"weighted_alpaca_eval_gpt4_turbo"}
        assert found["rows"][-1]["model"] == "mine"  # on a scale of its own, not among them and not above them

    def test_published_rows_are_converted(self, assay, tmp_path):
        def shares(model, judge):
            return [value / 10 for value in ratings(model, judge)]

        name = "weighted_alpaca_eval_gpt4_turbo"
        old = [write_run(tmp_path / "o" / m, m, judge=name, alpaca_eval=shares(m, "old")) for m in MODELS]
        new = [write_run(tmp_path / "n" / m, m, judge="new", alpaca_eval=shares(m, "new")) for m in MODELS]
        metric = ("--metric", "alpaca_eval:win_rate")
        path = tmp_path / "bridge.json"
        assert assay("rebase", "--old", *old, "--new", *new, *metric, "--out", path)[0] == 0
        found = board(assay, *new, "--published", *metric, "--bridge", path)
        figures = {row["model"]: row["figures"][0] for row in found["rows"] if row["published"]}
        assert all(figure["converted_from"] == name for figure in figures.values())
        ranks = [row["figures"][0]["rank"] for row in found["rows"]]
        assert None not in ranks
        gpt4 = figures["gpt4_1106_preview"]  # 50 by its definition, with a standard error of 0
        assert gpt4["value"] == pytest.approx(10 + 0.7 * 50, abs=2)


class TestWrongInput:
    def refused(self, assay, *arguments):
        status, out, err = assay("rebase", *arguments)
        assert status == 2
        assert out == ""
        assert "Traceback" not in err
        return err

    def test_no_shared_answers(self, assay, tmp_path):
        old, new = runs(tmp_path, "old"), runs(tmp_path, "new", length=90)
        err = self.refused(assay, "--old", *old, "--new", *new)
        assert "no old run holds an answer of" in err

    def test_one_model(self, assay, tmp_path):
        old, new = runs(tmp_path, "old"), runs(tmp_path, "new", MODELS[:1])
        err = self.refused(assay, "--old", *old, "--new", *new)
        assert "the answers of 1 model were judged by both judges" in err
        assert "at least 5 models" in err

    def test_other_benchmarks(self, assay, tmp_path):
        old = runs(tmp_path, "old")
        new = [write_run(tmp_path / "a", "a", judge="new", alpaca_eval=[0.5, 0.7])]
        err = self.refused(assay, "--old", *old, "--new", *new)
        assert "the old runs were judged on mt_bench, the new ones on alpaca_eval" in err

    def test_other_baselines(self, assay, tmp_path):
        def shares(model, judge):
            return [value / 10 for value in ratings(model, judge)]

        old = [write_run(tmp_path / "o" / m, m, judge="old", alpaca_eval=shares(m, "old")) for m in MODELS]
        new = [write_run(tmp_path / "n" / m, m, judge="new", alpaca_eval=shares(m, "new")) for m in MODELS]
        assert assay("rebase", "--old", *old, "--new", *new, "--metric", "alpaca_eval:win_rate")[0] == 0
        path = new[2] / "responses.jsonl"
        path.write_text(path.read_text().replace('"reference 7"', '"another reference"'))
        err = self.refused(assay, "--old", *old, "--new", *new, "--metric", "alpaca_eval:win_rate")
        assert "judged against different baselines (the baseline's answer differs on 1 of 40 prompts)" in err

    def test_the_same_judge_on_both_sides(self, assay, tmp_path):
        old = runs(tmp_path, "old")
        err = self.refused(assay, "--old", *old[:3], "--new", *old[3:])
        assert "judged by the same judge (old)" in err

    def test_two_judges_on_one_side(self, assay, both):
        old, new = both
        err = self.refused(assay, "--old", *old, new[0], "--new", *new)
        assert "the old runs were judged by different judges" in err

    def test_two_new_runs_of_the_same_answers(self, assay, both, tmp_path):
        old, new = both
        twice = write_run(tmp_path / "again", "phi", judge="new", mt_bench=ratings("phi", "new"))
        err = self.refused(assay, "--old", *old, "--new", *new, twice)
        assert "both hold the answers of" in err

    def test_an_unknown_metric(self, assay, both):
        old, new = both
        err = self.refused(assay, "--old", *old, "--new", *new, "--metric", "mt_bench:scores")
        assert "mt_bench has no scores in both" in err

    def test_a_family_without_a_model(self, assay, both):
        old, new = both
        assert "MODEL=FAMILY" in self.refused(assay, "--old", *old, "--new", *new, "--family", "llama")
