"""`assay calibrate` on real files: the MT-Bench agreement table, LLMBar's stored accuracies."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from harness.cli import main
from harness.stats.prediction_powered import LabelledSample, prediction_powered_mean
from judges.study.reading import read_judges, read_votes
from tests.paths import DATA, needs_data

pytestmark = [pytest.mark.golden, needs_data]

VOTES = DATA / "mt_bench" / "human_judgments"
MT_BENCH = DATA / "mt_bench" / "mt_bench"
LLMBAR = DATA / "judge_meta" / "llmbar" / "Dataset" / "LLMBar" / "Natural"
EVALUATORS = sorted(path.parent for path in LLMBAR.glob("evaluators/*/*/result.json"))


def calibrate(capsys, *arguments):
    status = main(["calibrate", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert status == 0, err
    return out


@pytest.fixture(scope="module")
def mt_bench(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "study.json"
    status = main(
        [
            *("calibrate", "--human", str(VOTES / "human.jsonl"), "--voters", "expert*", "--out", str(path)),
            *("--judgments", str(VOTES / "gpt4_pair.jsonl"), "--answers", str(MT_BENCH / "model_answer")),
            *("--family", "gpt4_pair=openai", "--family", "gpt-4=openai", "--family", "gpt-3.5-turbo=openai"),
            *("--questions", str(MT_BENCH / "question.jsonl")),
        ]
    )
    assert status == 0
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))


@pytest.mark.parametrize(
    ("who", "turn", "ties", "percent", "compared", "agree"),
    [
        ("judge", 1, True, 66, 1343, 886),
        ("judge", 2, True, 66, 1325, 871),
        ("judge", 1, False, 85, 859, 727),
        ("judge", 2, False, 85, 864, 731),
        ("people", 1, True, 63, 721, None),
        ("people", 2, True, 67, 707, None),
        ("people", 1, False, 81, 479, None),
        ("people", 2, False, 82, 474, None),
    ],
)
def test_the_eight_cells_of_the_agreement_table(mt_bench, who, turn, ties, percent, compared, agree):
    cells = (mt_bench["judges"][0] if who == "judge" else mt_bench["human"])["cells"]
    (cell,) = [cell for cell in cells if (cell["turn"], cell["ties"]) == (turn, ties)]
    found = cell["agreement"]
    assert (round(found["estimate"]["value"]), found["n_compared"]) == (percent, compared)
    assert agree is None or found["n_agree"] == agree


def test_the_rest_of_the_study_on_real_votes(mt_bench):
    (judge,) = mt_bench["judges"]
    assert (mt_bench["kind"], mt_bench["valid"]) == ("judge_study", True)
    assert judge["n_pairs"] == 2400
    # 380 of 2400 verdicts changed with the order
    assert judge["position"]["consistent"]["value"] == pytest.approx(100 * 2020 / 2400)
    # one model's answers are not in the files, so some lengths are unknown
    assert judge["verbosity"]["n_no_length"] > 0
    assert judge["verbosity"]["bias"]["ci_low"] > 0
    assert judge["self_preference"]["own_models"] == ["gpt-3.5-turbo", "gpt-4"]
    assert judge["ranking"]["spearman"]["value"] == pytest.approx(1.0)
    # a hard judge is over-confident, and recalibration across prompts mends most of it
    confidence = judge["confidence"]
    assert confidence["raw"]["ece"]["value"] > 0.1
    assert confidence[confidence["best"]]["ece"]["value"] < 0.04
    for rate in judge["win_rates"]:
        assert rate["rate"]["n_labelled"] + rate["rate"]["n_unlabelled"] == 800
        assert rate["rate"]["effective_labels"] > rate["rate"]["n_labelled"]
    assert sum(sum(row.values()) for row in judge["confusion"]["counts"].values()) == 2668
    rows = mt_bench["pairs"]
    assert len(rows) == 2400 and sum(len(row["votes"]) for row in rows) == 2668
    assert all(row["prompt_text"] in mt_bench["texts"] for row in rows)


def stored(folder):
    statistics = json.loads((folder / "statistics.json").read_text())
    return {
        name: float(re.search(r"= ([\d.]+)%", value)[1])
        for name, value in statistics.items()
        if name.startswith("correct") and "=" in value
    } | {"correct_average": float(statistics["correct_average"].rstrip("%"))}


def test_all_evaluators_are_here():
    assert len(EVALUATORS) >= 50


def test_llmbar_accuracies_equal_the_stored_ones(capsys):
    judges = [f"--judgments={folder.parent.name}-{folder.name}={folder / 'result.json'}" for folder in EVALUATORS]
    # ensembles are looked for among six judges at most, which the note says
    out = calibrate(capsys, "--human", LLMBAR / "dataset.json", "--json", "--resamples", 100, *judges)
    study = json.loads(out)
    assert "6 judges at most" in study["contest"]["note"]
    assert len(study["judges"]) == len(EVALUATORS)
    for judge, folder in zip(study["judges"], EVALUATORS, strict=True):
        published = stored(folder)
        one, two = (game["percent_of_all"] for game in judge["position"]["games"])
        assert one == pytest.approx(published["correct_False"]), folder
        assert two == pytest.approx(published["correct_True"]), folder
        assert (one + two) / 2 == pytest.approx(published["correct_average"]), folder
        both = judge["position"]
        assert 100 * both["n_both_right"] / both["n_votes"] == pytest.approx(published["correct_both"]), folder


def test_a_result_file_as_the_human_side_gives_its_gold_labels(capsys):
    """The labels are those of the data set, whichever evaluator's verdicts stand beside them."""
    result = LLMBAR / "evaluators" / "ChatGPT" / "Swap" / "result.json"

    def agreement(human):
        arguments = ("--human", human, "--judgments", f"j={result}", "--json", "--resamples", 100)
        (judge,) = json.loads(calibrate(capsys, *arguments))["judges"]
        return judge["cells"]

    by_data_set = agreement(LLMBAR / "dataset.json")
    assert by_data_set[0]["agreement"]["estimate"]["value"] == pytest.approx(72.0)
    assert agreement(result) == by_data_set
    assert agreement(LLMBAR / "evaluators" / "GPT-4" / "CoT" / "result.json") == by_data_set


def test_fastchats_pairwise_file_meets_votes(capsys, tmp_path):
    judgments = MT_BENCH / "model_judgment" / "Stefanstud_FastChat" / "gpt-4_pair.jsonl"
    rows = [json.loads(line) for line in judgments.read_text().splitlines()]
    votes = [
        {"question_id": row["question_id"], "turn": row["turn"], "model_a": "phi-3-dpo", "model_b": "phi-3"}
        | {"winner": "model_a" if index % 2 else "model_b", "judge": "ann"}
        for index, row in enumerate(rows)
    ]
    human = tmp_path / "votes.jsonl"
    human.write_text("".join(json.dumps(vote) + "\n" for vote in votes))
    study = json.loads(calibrate(capsys, "--human", human, "--judgments", judgments, "--json", "--resamples", 200))
    (judge,) = study["judges"]
    assert judge["name"] == "gpt-4"
    # counted in the file: 46 of 73 with both verdicts agree (20 + 18 + 8), 16 chose the one shown first twice,
    # 2 the one shown second; two questions have an error
    assert judge["unscored"] == {"unparsed": 2}
    assert judge["position"]["n_both_orders"] == 73
    assert judge["position"]["consistent"]["value"] == pytest.approx(100 * 46 / 73)
    assert not study["valid"]


@pytest.mark.parametrize(
    ("folder", "inconsistent", "valid"), [("qwen/judge_14B", 541, 1200), ("gpt/judge_gpt4omini", 399, 1193)]
)
def test_published_inconsistency_of_judges_in_both_orders(capsys, tmp_path, folder, inconsistent, valid):
    # table 5 of kook222's study (English); one made-up vote stands in for people, who did not vote there
    pairwise = DATA / "judge_meta" / "kook222_mtbench" / "data" / "en" / "judgments" / folder / "pairwise"
    row = {"question_id": 81, "turn": 2, "model_a": "Llama-3.1-8B-Instruct", "model_b": "gemma-2-9b-it"}
    human = tmp_path / "votes.jsonl"
    human.write_text(json.dumps(row | {"winner": "model_b"}) + "\n")
    arguments = ["--human", human, "--judgments", pairwise, "--json", "--resamples", 100]
    (judge,) = json.loads(calibrate(capsys, *arguments))["judges"]
    position = judge["position"]
    assert (judge["n_pairs"], position["n_both_orders"]) == (1200, valid)
    assert position["consistent"]["value"] == pytest.approx(100 * (1 - inconsistent / valid))


@pytest.mark.parametrize("judge", ["gpt4", "useless"])
def test_corrected_win_rates_cover_on_resampled_real_votes(judge):
    # a small bench/ppi_coverage.py: vicuna's win rate by people, questions drawn anew, votes shown on 120 pairs
    people = {}
    for vote in read_votes(VOTES / "human.jsonl", "expert*").votes:
        people.setdefault(vote.key, []).append(vote.p_first)
    (verdicts,) = read_judges([(None, VOTES / "gpt4_pair.jsonl")])
    gpt4 = {p.key: p.p_first for p in verdicts.presentations}
    keys = [key for key in people if "vicuna-13b-v1.2" in (key.first, key.second)]
    flip = np.array([key.second == "vicuna-13b-v1.2" for key in keys])
    human = np.array([np.mean(people[key]) for key in keys])
    said = np.array([gpt4[key] for key in keys])
    human, said = np.where(flip, 1 - human, human), np.where(flip, 1 - said, said)
    _, question = np.unique([key.prompt for key in keys], return_inverse=True)
    members = [np.flatnonzero(question == q) for q in range(question.max() + 1)]
    rng = np.random.default_rng(0)
    if judge == "useless":
        said = rng.permutation(said)
    covered, ratios, n = 0, [], 400
    for _ in range(n):
        drawn = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[q] for q in drawn])
        label = np.concatenate([np.full(members[q].size, i) for i, q in enumerate(drawn)])
        order = rng.permutation(rows.size)
        some, rest = order[:120], order[120:]
        sample = LabelledSample(
            human[rows[some]], said[rows[some]], said[rows[rest]], label[some].tolist(), label[rest].tolist()
        )
        found = prediction_powered_mean(sample)
        covered += found.estimate.ci_low <= human.mean() <= found.estimate.ci_high
        alone = found.labels_only
        ratios.append((found.estimate.ci_high - found.estimate.ci_low) / (alone.ci_high - alone.ci_low))
    assert covered / n >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / n)
    assert np.mean(ratios) < (0.9 if judge == "gpt4" else 1.01)
    assert max(ratios) < 1.05
