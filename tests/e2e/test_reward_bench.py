"""`assay run --benchmark reward_bench`: real LLMBar items, tiny real models of every kind, offline."""

from __future__ import annotations

import json

import pytest

from harness.cli import main
from tests.paths import DATA, MIRROR, MODELS, needs_data, needs_models
from tests.support.random_models import build
from tests.support.reward_models import TEMPLATE, saved, saved_classifier

pytestmark = [pytest.mark.e2e, needs_data]

PART = "reward_bench:llmbar-natural"


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory):
    """A real small backbone with a random head."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    directory = tmp_path_factory.mktemp("rm") / "stories-rm"
    source = MODELS / "stories260K-hf"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=1)
    model.config.pad_token_id = 0
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(source).save_pretrained(directory)
    return directory


@pytest.fixture
def run(assay, tmp_path):
    """Run, and read the responses by prompt."""

    def go(model, engine, *more, out="run", benchmark=PART):
        status, stdout, err = assay(
            *("run", "--model", model, "--engine", engine, "--benchmark", benchmark, "--out", tmp_path / out, "--json"),
            *more,
        )
        found = json.loads(stdout) if stdout else {"rows": []}
        return status, {row["metric"]: row for row in found["rows"]}, found, err

    return go


def responses(directory):
    return {r["prompt_id"]: r for r in map(json.loads, (directory / "responses.jsonl").open())}


@needs_models
def test_decisions_are_the_same_at_batch_1_and_16_left_and_right(run, reward_model, tmp_path):
    decisions, figures = [], []
    for size, side in ((1, "right"), (16, "left")):
        out = f"{side}{size}"
        options = [f"max_batch_size={size}", f"padding_side={side}"]
        given = [x for option in options for x in ("--engine-option", option)]
        status, rows, _, err = run(reward_model, "reward_model", *given, out=out)
        assert status == 0, err
        figures.append(rows["subset_llmbar-natural"])
        rewards = {p: r["meta"]["rewards"] for p, r in responses(tmp_path / out).items()}
        decisions.append({p: pair[0] > pair[1] for p, pair in rewards.items()})
    assert len(decisions[0]) == 100
    assert decisions[0] == decisions[1]
    assert figures[0] == figures[1]
    assert figures[0]["n"] == 100 and figures[0]["ci_low"] < figures[0]["value"] < figures[0]["ci_high"]


@needs_models
def test_score_compare_leaderboard_gate(run, assay, reward_model, tmp_path):
    run(reward_model, "reward_model", out="rm")
    evaluator = DATA / "judge_meta/llmbar/Dataset/LLMBar/Natural/evaluators/GPT-4/Vanilla/result.json"
    status, _, err = assay("import", "llmbar", "--results", evaluator, "--out", tmp_path / "gpt4")
    assert status == 0, err
    status, out, _ = assay("score", tmp_path / "rm", "--json")
    assert status == 0 and json.loads(out)["valid"]
    _, out, _ = assay("compare", tmp_path / "gpt4", tmp_path / "rm", "--json")
    (compared,) = json.loads(out)["metrics"]
    assert compared["metric"] == "subset_llmbar-natural"
    assert (compared["n_only_a"], compared["n_only_b"]) == (0, 0)
    assert compared["value_a"] == pytest.approx(95.5) and compared["ci_low"] > 0
    _, out, _ = assay("leaderboard", tmp_path / "gpt4", tmp_path / "rm", "--format", "csv")
    assert "GPT-4/Vanilla" in out and "stories-rm" in out
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules:\n  - improve: {benchmark: reward_bench, metric: subset_llmbar-natural, margin: 0}\n")
    given = ("--candidate", tmp_path / "rm", "--baseline", tmp_path / "gpt4", "--policy", policy)
    status, out, _ = assay("gate", *given, "--json")
    assert status == 1 and json.loads(out)["decision"] == "fail"


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Twelve pairs of one subset, short enough for models of 96 positions."""
    path = tmp_path_factory.mktemp("items") / "pairs.jsonl"
    with path.open("w") as file:
        for i in range(12):
            row = {
                "prompt": f"q{i}",
                "chosen": f"yes {i}",
                "rejected": f"no {'x' * i}",
                "subset": "llmbar-natural",
                "id": i,
            }
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    model = build("llama")
    model.config.max_position_embeddings = 512
    return saved(model, tmp_path_factory.mktemp("policy") / "policy")


def test_preference_model_implicit_reward_and_the_loaded_policy(run, policy, items, tmp_path):
    own = ("--benchmark-option", f"{PART}.data={items}")
    status, rows, _, err = run(policy, "preference_model", *own, out="pm")
    assert status == 0, err
    assert rows["subset_llmbar-natural"]["n"] == 12 and rows["first_shown_preferred"]["n"] == 24
    reference = saved(build("llama", seed=5), tmp_path / "reference")
    status, rows, _, err = run(
        policy, "implicit_reward", *own, "--engine-option", f"reference={reference}", out="implicit"
    )
    assert status == 0, err
    given = ("--benchmark-option", f"{PART}.ask=implicit", "--benchmark-option", f"{PART}.reference={reference}")
    status, again, _, err = run(policy, "hf", *own, *given, out="loaded")
    assert status == 0, err
    assert again["subset_llmbar-natural"]["value"] == rows["subset_llmbar-natural"]["value"]
    one, other = (
        [r["meta"]["rewards"] for r in responses(tmp_path / name).values()] for name in ("implicit", "loaded")
    )
    assert sorted(map(tuple, one)) == sorted(map(tuple, other))


def test_a_constant_reward_model_makes_the_run_invalid(run, items, tmp_path):
    from tests.support.reward_models import classifier

    model = classifier()
    model.score.weight.data.zero_()
    constant = saved(model, tmp_path / "constant", TEMPLATE)
    _, rows, found, _ = run(constant, "reward_model", "--benchmark-option", f"{PART}.data={items}")
    assert not found["valid"]
    assert "all 12 items are tied" in found["problems"][0]
    assert rows["tied"]["value"] == 100.0


def test_a_judge_that_always_says_a_makes_the_run_invalid(run, items, tmp_path):
    replies = tmp_path / "replies.jsonl"
    replies.write_text(json.dumps({"prompt": "*", "reply": "Both are fine. [[A]]"}) + "\n")
    _, rows, found, err = run(replies, "scripted", "--benchmark-option", f"{PART}.data={items}")
    assert rows["subset_llmbar-natural"]["value"] == 50.0, err
    assert not found["valid"]
    assert "the answer shown first is preferred in 100.0 %" in found["problems"][0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"num_labels": 2}, "has 2 labels"), ({"pad": 257}, "pads with its end-of-sequence token")],
)
def test_a_doubtful_reward_model_prints_no_score(run, items, tmp_path, settings, words):
    directory = saved_classifier(tmp_path / "rm", **settings)
    status, rows, _, err = run(directory, "reward_model", "--benchmark-option", f"{PART}.data={items}")
    assert status == 1 and rows == {}
    assert words in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("benchmark", "words"),
    [
        ("reward_bench", "reward_bench/filtered: the mirror has no"),
        ("reward_bench_2:ties", "reward_bench_2/test: the mirror has no"),
        ("reward_bench:llmbar-natual", "did you mean llmbar-natural?"),
        ("mt_bench", "mt_bench needs a judge, and none is given"),
        ("alpaca_eval", "alpaca_eval needs a judge, and none is given"),
    ],
)
def test_what_cannot_be_measured_says_so(run, reward_model, benchmark, words):
    status, _, _, err = run(reward_model, "reward_model", benchmark=benchmark)
    assert status in (1, 2)
    assert words in err and "Traceback" not in err


@needs_models
def test_a_reward_model_judges_answers(reward_model, tmp_path, capfd, monkeypatch):
    replies = tmp_path / "replies.jsonl"
    replies.write_text(json.dumps({"prompt": "*", "reply": "A scripted answer."}) + "\n")
    arguments = ["run", "--model", replies, "--engine", "scripted", "--benchmark", "alpaca_eval,arena_hard"]
    arguments += ["--judge", f"reward_model:{reward_model}", "--limit", 4, "--canaries", 0]
    arguments += ["--out", tmp_path / "run", "--json"]
    monkeypatch.setenv("ASSAY_DATA", str(MIRROR))
    assert main([str(a) for a in arguments]) == 0
    judgments = [json.loads(line) for line in (tmp_path / "run/judgments.jsonl").open()]
    assert len(judgments) == 4 + 8
    assert all(j["verdict"]["kind"] == "preference" and len(j["meta"]["rewards"]) == 2 for j in judgments)
    games = {(j["prompt_id"], j["game"]): j["verdict"]["p_first"] for j in judgments if j["benchmark"] == "arena_hard"}
    for prompt_id in {p for p, _ in games}:
        assert games[prompt_id, 1] + games[prompt_id, 2] == pytest.approx(1.0)


def scored_version_2(**changes):
    """Four items a domain, one wrong; two pairs of Ties, as reward-bench stores them."""
    columns = {"subset": [], "id": [], "num_correct": [], "scores": []}

    def add(subset, identifier, n_right, scores):
        for name, value in zip(columns, (subset, identifier, n_right, scores), strict=True):
            columns[name].append(value)

    for domain in ("Factuality", "Precise IF", "Math", "Safety", "Focus"):
        for i in range(4):
            add(domain, str(i), 1, [[2.0] if i else [0.0], [1.0], [0.5], [0.5]])
    for i in range(2):
        add("Ties", f"ref:{i}", 1, [5.0, 1.0])
        add("Ties", f"tied:{i}", 2, [5.0, 4.5, 1.0])
    return {**columns, "model": "org/rm", **changes}


def test_import_of_version_2(assay, tmp_path):
    path = tmp_path / "rm.json"
    path.write_text(json.dumps(scored_version_2()))
    status, out, err = assay("import", "reward_bench", "--scores", path, "--out", tmp_path / "a", "--json")
    assert status == 0, err
    rows = {row["metric"]: row["value"] for row in json.loads(out)["rows"]}
    ties = 100.0 * (0.6 + 0.4 + 0.01 * 0.99998771)  # every margin 3.5 or more, the gap 0.5: tanh(3.5 / 0.5 - 1)
    assert rows["math"] == pytest.approx(75.0)
    assert rows["ties"] == pytest.approx(ties, abs=1e-4)
    assert rows["score"] == pytest.approx((5 * 75.0 + ties) / 6, abs=1e-4)


def test_published_accuracies_of_version_2(assay, tmp_path):
    """The first row of the published leaderboard."""
    published = {"Factuality": 0.8463, "Precise IF": 0.6625, "Math": 0.776, "Safety": 0.9667, "Focus": 0.9838}
    path = tmp_path / "rm.json"
    path.write_text(json.dumps({**published, "Ties": 0.8124, "model": "org/rm"}))
    status, out, err = assay("import", "reward_bench", "--scores", path, "--out", tmp_path / "a", "--json")
    assert status == 0, err
    rows = {row["metric"]: row["value"] for row in json.loads(out)["rows"]}
    assert rows["score"] == pytest.approx(84.13, abs=0.01)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scores": None}, "no list 'scores'"),
        ({"num_correct": [1]}, "1 values in 'num_correct', 24 in 'subset'"),
        ({"subset": ["Maths"] * 24}, "unknown subset 'Maths'"),
        ({"num_correct": [4] * 24}, "num_correct is 4 of 4 scores"),
        ({"id": ["0"] * 24}, "is there twice"),
    ],
)
def test_wrong_files_of_version_2(assay, tmp_path, change, words):
    path = tmp_path / "rm.json"
    path.write_text(json.dumps(scored_version_2(**change)))
    status, _, err = assay("import", "reward_bench", "--scores", path, "--out", tmp_path / "a")
    assert status == 1 and words in err


def test_wrong_llmbar_results(assay, tmp_path):
    path = tmp_path / "result.json"
    item = {"input": "q", "output_1": "a", "output_2": "b", "label": 1, "results": [{"swap = False": {"winner": "1"}}]}
    for changed, words in (
        (item, "item 1: no verdicts in 'results'"),
        ({**item, "label": 3}, "label is 3"),
        ({**item, "results": [{"swap = False": {"winner": "a"}, "swap = True": {"winner": "1"}}]}, "winner is 'a'"),
    ):
        path.write_text(json.dumps([changed]))
        status, _, err = assay("import", "llmbar", "--results", path, "--out", tmp_path / "out")
        assert status == 1 and words in err


def test_imported_scores_that_are_all_alike_make_the_run_invalid(assay, tmp_path):
    path = tmp_path / "rm.json"
    columns = {"subset": ["hep-go"] * 9, "id": list(range(9)), "scores_chosen": [0.5] * 9, "scores_rejected": [0.5] * 9}
    path.write_text(json.dumps(columns))
    _, out, _ = assay("import", "reward_bench", "--scores", path, "--out", tmp_path / "a", "--json")
    assert "all 9 items are tied" in json.loads(out)["problems"][0]
