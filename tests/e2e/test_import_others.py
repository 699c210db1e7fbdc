"""`assay import reward_bench` and `lm_eval`."""

from __future__ import annotations

import json

import pytest

from benchmarks.reward_bench.sections import SECTIONS_V1
from tests.paths import DATA, needs_data

pytestmark = [pytest.mark.e2e, needs_data]


@pytest.fixture
def imported(assay, tmp_path):
    def run(*arguments, out="run"):
        status, stdout, stderr = assay("import", *arguments, "--out", tmp_path / out, "--json")
        found = json.loads(stdout) if stdout else {"rows": []}
        return status, {row["metric"]: row for row in found["rows"]}, stderr

    return run


def test_published_accuracies_by_subset(imported):
    """The published entry's sections follow from its subsets; its listed score does not (GPM-Gemma-2B)."""
    status, rows, _ = imported("reward_bench", "--scores", DATA / "rewardbench/per_subset/GPM-Gemma-2B.json")
    assert status == 0
    assert rows["score"]["value"] == pytest.approx(77.4, abs=0.05)
    assert rows["subset_llmbar-natural"]["value"] == pytest.approx(71.0)
    assert rows["score"]["ci_low"] is None
    assert "no comparisons" in rows["score"]["method"]


def comparisons(n=4, wrong=1):
    """Every subset with `n` comparisons of which the first `wrong` go wrong, as reward-bench stores them."""
    subsets = [subset for section in SECTIONS_V1.values() for subset in section]
    columns = {"subset": [], "id": [], "scores_chosen": [], "scores_rejected": []}
    for subset in subsets:
        for i in range(n):
            columns["subset"].append(subset)
            columns["id"].append(f"{subset}-{i}")
            columns["scores_chosen"].append(0.0 if i < wrong else 2.5)
            columns["scores_rejected"].append(1.0)
    return {**columns, "model": "org/rm", "model_type": "Seq. Classifier"}


def test_comparisons_one_by_one(imported, tmp_path):
    path = tmp_path / "rm.json"
    path.write_text(json.dumps(comparisons()))
    status, rows, _ = imported("reward_bench", "--scores", path)
    assert status == 0
    for metric in ("score", "chat", "chat_hard", "safety", "reasoning", "subset_donotanswer"):
        assert rows[metric]["value"] == pytest.approx(75.0)
        assert rows[metric]["ci_low"] < 75.0 < rows[metric]["ci_high"]


def test_two_reward_models_are_compared_pair_by_pair(imported, assay, tmp_path):
    for name, wrong in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.json").write_text(json.dumps(comparisons(8, wrong) | {"model": name}))
        imported("reward_bench", "--scores", tmp_path / f"{name}.json", out=name)
    _, out, _ = assay("compare", tmp_path / "a", tmp_path / "b", "--json")
    found = {m["metric"]: m for m in json.loads(out)["metrics"]}
    assert found["subset_donotanswer"]["difference"] == pytest.approx(12.5)


def test_ties_and_nulls(imported, tmp_path):
    columns = comparisons(4, 0)
    columns["scores_chosen"][0] = columns["scores_rejected"][0]
    columns["scores_chosen"][1] = None
    columns["scores_chosen"][2] = [2.5]
    (tmp_path / "rm.json").write_text(json.dumps(columns))
    _, rows, _ = imported("reward_bench", "--scores", tmp_path / "rm.json")
    row = rows["subset_alpacaeval-easy"]
    assert row["value"] == pytest.approx(100 * 2.5 / 3)
    assert row["unscored"] == {"unparsed": 1}


def test_a_section_without_a_subset_has_no_figure(imported, tmp_path):
    columns = comparisons()
    keep = [i for i, subset in enumerate(columns["subset"]) if subset != "math-prm"]
    for name in ("subset", "id", "scores_chosen", "scores_rejected"):
        columns[name] = [columns[name][i] for i in keep]
    (tmp_path / "rm.json").write_text(json.dumps(columns))
    _, rows, _ = imported("reward_bench", "--scores", tmp_path / "rm.json")
    assert rows["reasoning"]["value"] is None
    assert "math-prm" in rows["reasoning"]["reason"]
    assert rows["chat"]["value"] == pytest.approx(75.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"subset": None}, "no list 'subset'"),
        ({"id": ["x"]}, "1 values in 'id'"),
        ({"scores_chosen": None}, "no list 'scores_chosen'"),
        ({"subset": ["chatty"] * 92}, "unknown subset 'chatty'"),
        ({"id": ["same"] * 92}, "is there twice"),
        ({"scores_rejected": ["high"] * 92}, "score 'high'"),
    ],
)
def test_wrong_scores(imported, tmp_path, change, words):
    (tmp_path / "rm.json").write_text(json.dumps({**comparisons(), **change}))
    status, _, err = imported("reward_bench", "--scores", tmp_path / "rm.json")
    assert status == 1
    assert words in err


@pytest.mark.parametrize("content", ["[]", "{}", '{"alpacaeval-easy": 75}', '{"alpacaeval-easy": "good"}'])
def test_other_files(imported, tmp_path, content):
    (tmp_path / "rm.json").write_text(content)
    status, _, err = imported("reward_bench", "--scores", tmp_path / "rm.json")
    assert status == 1
    assert "rm.json" in err


def lm_eval_output(folder, *, samples=True):
    folder.mkdir(parents=True, exist_ok=True)
    results = {
        "alias": "gsm8k",
        "exact_match,strict-match": 0.5,
        "exact_match_stderr,strict-match": 0.2886751345948129,
        "exact_match,flexible-extract": 0.75,
        "exact_match_stderr,flexible-extract": 0.25,
        "perplexity,none": 12.5,
    }
    value = {"results": {"gsm8k": results}, "model_name": "org/m", "n-samples": {"gsm8k": {"effective": 4}}}
    (folder / "results_2026-01-01.json").write_text(json.dumps(value))
    if samples:
        rows = [
            {"doc_id": i, "doc_hash": f"h{i}", "doc": {"question": f"q{i}"}, "filter": f, "exact_match": float(right)}
            for f, rights in (("strict-match", [1, 1, 0, 0]), ("flexible-extract", [1, 1, 1, 0]))
            for i, right in enumerate(rights)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "samples_gsm8k_2026-01-01.jsonl").write_text(text)
    return folder


def test_lm_eval_with_samples(imported, tmp_path):
    status, rows, _ = imported("lm_eval", "--results", lm_eval_output(tmp_path / "out" / "org__m"))
    assert status == 0
    assert rows["exact_match"]["value"] == pytest.approx(50.0)
    assert rows["exact_match"]["stderr"] == pytest.approx(28.86751345948129)
    assert (rows["exact_match"]["n"], rows["exact_match"]["ci_low"] is None) == (4, False)
    assert rows["exact_match,flexible-extract"]["value"] == pytest.approx(75.0)
    assert rows["perplexity"]["value"] == 12.5, "no mean over documents: as reported"


def test_lm_eval_without_samples(imported, tmp_path):
    status, rows, _ = imported("lm_eval", "--results", lm_eval_output(tmp_path / "out", samples=False))
    assert status == 0
    assert rows["exact_match"]["value"] == pytest.approx(50.0)
    assert rows["exact_match"]["stderr"] == pytest.approx(28.86751345948129)
    assert rows["exact_match"]["ci_low"] is None


def test_lm_eval_where_there_is_nothing(imported, tmp_path):
    status, _, err = imported("lm_eval", "--results", tmp_path)
    assert status == 1
    assert "no results_*.json" in err
    status, _, err = imported("lm_eval", "--results", lm_eval_output(tmp_path / "out"), "--task", "gsm8")
    assert status == 2
    assert "did you mean gsm8k?" in err
