"""Prompts of one's own: measured with a small real model and a served judge, then compared, gated and reported."""

from __future__ import annotations

import json
import re
import shutil
import sys

import pytest

from harness.run.canaries import NULL_RESPONSE
from tests.paths import MODELS, needs_data, needs_models
from tests.support.judge_server import Answer

pytestmark = [pytest.mark.e2e, needs_models, needs_data]

TOPICS = ("a kettle", "the moon", "a lost dog", "bread", "an old friend")
ASKS = (
    "Write one line about {}.",
    "Why do people like {}?",
    "Name something {} is good for.",
    "Describe {} to a child.",
)
PROMPTS = [
    {
        "id": f"{i}-{j}",
        "prompt": ask.format(topic),
        "category": "why" if "Why" in ask else "other",
        "cluster": f"k{j}-{i}",
    }
    for i, ask in enumerate((*ASKS, *(f"In short: {ask}" for ask in ASKS)))
    for j, topic in enumerate(TOPICS)
]
POLICY = """\
alpha: 0.05
min_n: 20
rules:
  - keep: {benchmark: "prompts:support", metric: score, margin: 3}
  - keep: {benchmark: "prompts:support", metric: avg_length, margin: 60%, better: neither}
"""


def grade(call):
    """Rates an answer by its words alone: constant answers and planted verdicts get the lowest grade."""
    answer = call.text.rpartition("The reply to grade:")[2].partition("Explain in at most")[0]
    if NULL_RESPONSE in answer or "ating" in answer:
        return "It says nothing.\nRating: 1"
    return f"It says something.\nRating: {4 + len(set(answer.split())) % 5}"


def prefers_words(call):
    """Prefers the reply with more distinct words, in either order; a null response loses."""
    a = call.text.rpartition("\nReply A:")[2].partition("\nReply B:")[0]
    b = call.text.rpartition("\nReply B:")[2].partition("Explain in at most")[0]
    worth = [0 if NULL_RESPONSE in text or "erdict" in text else len(set(re.findall(r"\w+", text))) for text in (a, b)]
    if "A>>B" in call.text:
        label = "A=B" if worth[0] == worth[1] else "A>>B" if worth[0] > worth[1] else "B>>A"
    else:
        label = "tie" if worth[0] == worth[1] else "A" if worth[0] > worth[1] else "B"
    return f"So it is.\nVerdict: {label}"


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def mine(tmp_path):
    return write(tmp_path / "support.jsonl", PROMPTS)


@pytest.fixture
def measure(assay, judge, tmp_path):
    """Run the small chat model on prompts."""

    def run(out, *options, prompts=None, seed=0, judged=True):
        judging = ("--judge", "openai:scripted", "--judge-base-url", judge.base_url) if judged else ()
        model = ("--model", MODELS / "neo3m-chat-hf", "--model-name", f"tiny-{seed}", "--dtype", "float32")
        what = ("--prompts", prompts or tmp_path / "support.jsonl", "--max-tokens", 12, "--temperature", 1)
        return assay("run", *model, *what, "--seed", seed, *judging, *options, "--out", tmp_path / out)

    return run


@pytest.fixture
def scripted(assay, judge, tmp_path):
    """Run a scripted model, one reply for every prompt."""

    def run(out, *options, prompts, reply="A plain reply.", judged=False):
        replies = write(tmp_path / "replies.jsonl", [{"prompt": "*", "reply": reply}])
        judging = ("--judge", "openai:scripted", "--judge-base-url", judge.base_url) if judged else ()
        named = [
            x for source in ([prompts] if not isinstance(prompts, list) else prompts) for x in ("--prompts", source)
        ]
        return assay(
            *("run", "--model", replies, "--engine", "scripted", *named, *judging, *options, "--out", tmp_path / out)
        )

    return run


def figures(tmp_path, out):
    return {row["metric"]: row for row in json.loads((tmp_path / out / "summary.json").read_text())["rows"]}


@pytest.mark.slow
def test_rated_then_compared_gated_and_reported(assay, judge, measure, mine, tmp_path):
    judge.reply = grade
    for seed, out in ((0, "a"), (1, "b")):
        status, _, err = measure(out, seed=seed)
        assert status == 0, err
    found = figures(tmp_path, "a")
    assert {"score", "score_why", "score_other", "avg_length", "length_controlled_score"} == set(found)
    assert (found["score"]["n"], found["score"]["n_unscored"]) == (40, 0)
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["valid"], summary["problems"]
    assert {finding["name"] for finding in summary["canaries"]} == {"null_rating", "planted_verdict"}

    mine.rename(tmp_path / "gone.jsonl")  # what follows needs the run directories alone
    status, out, _ = assay("score", tmp_path / "a", "--json")
    assert (status, json.loads(out)["rows"]) == (0, summary["rows"])
    status, out, _ = assay("compare", tmp_path / "a", tmp_path / "b", "--json")
    metrics = {m["metric"]: m for m in json.loads(out)["metrics"]}
    assert status == 0
    assert metrics["score"]["n"] == 40
    assert metrics["score"]["difference"] == pytest.approx(
        figures(tmp_path, "a")["score"]["value"] - figures(tmp_path, "b")["score"]["value"]
    )
    (tmp_path / "policy.yaml").write_text(POLICY)
    gate = ("gate", "--candidate", tmp_path / "a", "--baseline", tmp_path / "b", "--policy", tmp_path / "policy.yaml")
    status, out, err = assay(*gate, "--json")
    decision = json.loads(out)
    assert (status, decision["decision"]) == (0, "pass"), (decision["message"], err)
    status, out, _ = assay("leaderboard", tmp_path / "a", tmp_path / "b", "--format", "csv")
    assert status == 0
    assert "prompts:support length_controlled_score" in out
    assert assay("report", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert "prompts:support" in page
    assert PROMPTS[0]["prompt"] in page
    for exported in ("parquet", "model_card", "lm_eval"):
        status, _, err = assay("export", tmp_path / "a", "--format", exported, "--out", tmp_path / exported)
        assert status == 0, (exported, err)

    # the file lies elsewhere now: the same run, nothing is generated or asked again
    n_asked = len(judge.log)
    answers = (tmp_path / "a" / "responses.jsonl").read_bytes()
    status, _, err = measure("a", "--model-name", "tiny-0", prompts=f"support={tmp_path / 'gone.jsonl'}")
    assert status == 0, err
    assert (len(judge.log), (tmp_path / "a" / "responses.jsonl").read_bytes()) == (n_asked, answers)


def test_an_edited_prompt_is_refused_by_name(scripted, judge, mine, tmp_path):
    judge.reply = grade
    status, _, err = scripted("run", prompts=mine, judged=True)
    assert status == 0, err
    before = (tmp_path / "run" / "prompts.jsonl").read_bytes()
    edited = [*PROMPTS[:7], PROMPTS[7] | {"prompt": "Something else?"}, *PROMPTS[8:]]
    write(mine, edited)
    status, _, err = scripted("run", prompts=mine, judged=True)
    assert status == 1
    assert f"the first that differs: {PROMPTS[7]['id']!r} ({PROMPTS[7]['prompt']!r})" in err
    assert (tmp_path / "run" / "prompts.jsonl").read_bytes() == before
    # rows without ids are named by their first words; another order or another file name is the same run
    rows = [{"prompt": p["prompt"]} for p in PROMPTS]
    assert scripted("plain", prompts=write(mine, rows), judged=True)[0] == 0
    moved = write(tmp_path / "elsewhere.jsonl", rows[::-1])
    assert scripted("plain", prompts=f"support={moved}", judged=True)[0] == 0
    status, _, err = scripted("plain", prompts=write(mine, [*rows[:-1], {"prompt": "New?"}]), judged=True)
    assert status == 1
    assert rows[-1]["prompt"] in err


@pytest.mark.parametrize("form", ["pairwise", "five_way"])
def test_compared_with_a_baseline_in_both_orders(assay, scripted, judge, mine, tmp_path, form):
    judge.reply = prefers_words
    rows = [{"id": p["id"], "answer": f"Only {'very ' * (i % 7)}short."} for i, p in enumerate(PROMPTS)]
    rows[0]["answer"] = "This one answer here has a good many more words than any other answer, so it wins."
    baseline = write(tmp_path / "answers.jsonl", rows)
    options = ("--judge-form", form, "--baseline", baseline)
    status, _, err = scripted("new", *options, prompts=mine, reply="This is a longer reply.", judged=True)
    assert status == 0, err
    found = figures(tmp_path, "new")
    # 39 of 40 prompts won in both orders; all labels weigh the same
    assert found["win_rate"]["value"] == pytest.approx(100 * 39 / 40)
    assert (found["win_rate"]["n"], found["win_rate"]["n_clusters"]) == (80, 40)
    assert found["length_controlled_win_rate"]["value"] is not None
    header = json.loads((tmp_path / "new" / "run.json").read_text())
    assert header["benchmarks"][0]["options"]["form"] == form
    # a run directory as the baseline: its answers are found by the prompts' text
    status, _, err = scripted(
        "against", "--judge-form", form, "--baseline", tmp_path / "new", prompts=mine, reply="Hm.", judged=True
    )
    assert status == 0, err
    assert figures(tmp_path, "against")["win_rate"]["value"] == 0
    shutil.rmtree(tmp_path / "new")
    baseline.unlink()
    assert assay("score", tmp_path / "against")[0] == 0


def test_two_orders_of_win_rates_at_equal_length_are_compared(assay, scripted, judge, mine, tmp_path):
    judge.reply = prefers_words
    rows = [{"id": p["id"], "answer": "word " * (2 + i % 9) + "and so on" * (i % 4)} for i, p in enumerate(PROMPTS)]
    options = ("--judge-form", "pairwise", "--baseline", write(tmp_path / "answers.jsonl", rows))
    for out, reply in (("one", "A few different words in this reply."), ("two", "Some.")):
        status, _, err = scripted(out, *options, prompts=mine, reply=reply, judged=True)
        assert status == 0, err
    status, out, _ = assay("compare", tmp_path / "one", tmp_path / "two", "--json")
    compared = {m["metric"]: m for m in json.loads(out)["metrics"]}
    assert status == 0
    assert compared["win_rate"]["difference"] > 0
    assert "length_controlled_win_rate" in compared


def test_a_rubric_and_a_judge_prompt_of_ones_own(scripted, judge, mine, tmp_path):
    def dimensions(call):
        asked = re.search(r"Ratings?: ([^\n]*)", call.text)
        names = re.findall(r"([a-z_]+)\s?=", asked[1])
        null = NULL_RESPONSE in call.text
        return "\nRatings: " + ", ".join(f"{name}={1 if null else 2 + k}" for k, name in enumerate(names))

    judge.reply = dimensions
    status, _, err = scripted("rubric", "--judge-form", "rubric:honest", prompts=mine, judged=True)
    assert status == 0, err
    assert any(name.startswith("rubric_") for name in figures(tmp_path, "rubric"))

    form = tmp_path / "form.txt"
    form.write_text(
        '---\nverdict: rating\nscale: [1, 5]\n---\n{{ question }}\n{{ answer }}\nEnd with a last line "Rating: N".\n'
    )
    judge.reply = lambda call: (
        "Rating: 1" if NULL_RESPONSE in call.text else f"Rating: {2 + int(call.hash[:4], 16) % 4}"
    )
    options = ("--judge-prompt", form, "--canaries", 0)
    status, _, err = scripted("own", *options, prompts=mine, judged=True)
    assert status == 0, err
    options_kept = json.loads((tmp_path / "own" / "run.json").read_text())["benchmarks"][0]["options"]
    assert options_kept["scale"] == [1.0, 5.0]
    n_asked = len(judge.log)
    form = form.rename(tmp_path / "moved.txt")
    assert scripted("own", "--judge-prompt", form, "--canaries", 0, prompts=mine, judged=True)[0] == 0
    assert len(judge.log) == n_asked
    form.write_text(form.read_text().replace("last line", "final line"))
    status, _, err = scripted("own", "--judge-prompt", form, "--canaries", 0, prompts=mine, judged=True)
    assert status == 1
    assert "the baseline answers or the judge prompt" in err
    status, _, err = scripted("x", "--judge-prompt", form, "--judge-form", "pairwise", prompts=mine, judged=True)
    assert status == 2
    assert "gives a rating, and the form is pairwise" in err


def test_measured_without_a_judge(assay, scripted, tmp_path, monkeypatch):
    rows = [
        {"prompt": "Capital of France?", "reference": ["Paris", "paris, France"], "category": "geo", "weight": 3},
        {"prompt": "2 + 2?", "reference": "4", "category": "sum"},
        {"prompt": "3 + 1?", "reference": "4", "category": "sum"},
        {"prompt": "Capital of Italy?", "reference": "Rome", "category": "geo"},
    ]
    path = write(tmp_path / "facts.jsonl", rows)
    for metric, value in (("exact_match", 100 * 3 / 6), ("contains", 50), ("f1", 50), ("rouge_l", 50), ("regex", 50)):
        status, _, err = scripted(metric, "--metric", metric, prompts=path, reply="Paris")
        assert status == 0, err
        found = figures(tmp_path, metric)
        assert found[metric]["value"] == pytest.approx(value)  # weights 3, 1, 1, 1
        assert found[f"{metric}_geo"]["value"] == pytest.approx(75)
        assert found[f"{metric}_sum"]["value"] == 0
    status, out, _ = assay("compare", tmp_path / "exact_match", tmp_path / "f1")
    assert status == 0
    assert "avg_length" in out

    monkeypatch.chdir(tmp_path)
    body = ("if 'Italy' in prompt:", "    raise ValueError('no idea')", "return len(answer)")
    code = "\n    ".join(["def long(prompt, answer, reference):", *body, ""])
    (tmp_path / "own_e2e_figures.py").write_text(code)
    status, _, err = scripted("python", "--metric", "python:own_e2e_figures:long", prompts=path, reply="Paris")
    assert status == 0, err
    found = figures(tmp_path, "python")["long"]
    assert (found["value"], found["n_unscored"], found["unscored"]) == (5.0, 1, {"metric_failed": 1})
    # scoring runs no code of the user's: the values are in the run
    (tmp_path / "own_e2e_figures.py").unlink()
    del sys.modules["own_e2e_figures"]
    status, out, _ = assay("score", tmp_path / "python", "--json")
    assert status == 0
    assert next(r for r in json.loads(out)["rows"] if r["metric"] == "long")["value"] == 5.0
    # mended code: the answers are measured again, none is generated again
    (tmp_path / "own_e2e_figures.py").write_text(code.replace("raise ValueError('no idea')", "return 7"))
    before = (tmp_path / "python" / "responses.jsonl").read_text().count("\n")
    status, _, err = scripted("python", "--metric", "python:own_e2e_figures:long", prompts=path, reply="Paris")
    assert status == 0, err
    found = figures(tmp_path, "python")["long"]
    assert (found["value"], found["n_unscored"]) == (pytest.approx((3 * 5 + 5 + 5 + 7) / 6), 0)
    assert (tmp_path / "python" / "responses.jsonl").read_text().count("\n") == before + 4


def test_several_files_sets_and_turns(scripted, judge, mine, tmp_path):
    judge.reply = grade
    turns = [
        {"messages": [{"role": "user", "content": f"First {i}?"}, {"role": "user", "content": "More?"}]}
        for i in range(3)
    ]
    other = write(tmp_path / "turns.jsonl", turns)
    status, _, err = scripted("both", "--benchmark", "prompts:safety", prompts=[mine, other], judged=True)
    assert status == 0, err
    rows = json.loads((tmp_path / "both" / "summary.json").read_text())["rows"]
    n = {row["benchmark"]: row["n"] for row in rows if row["metric"] == "score"}
    assert n == {"prompts:safety": 24, "prompts:support": 40, "prompts:turns": 6}
    assert {"score_turn_1", "score_turn_2"} <= {row["metric"] for row in rows if row["benchmark"] == "prompts:turns"}


def test_a_spec(assay, judge, mine, tmp_path, replies):
    judge.reply = prefers_words
    write(tmp_path / "answers.jsonl", [{"id": p["id"], "answer": "Well."} for p in PROMPTS])
    (tmp_path / "spec.yaml").write_text(
        f"model: {{path: {replies}, engine: scripted}}\n"
        f"judge: {{model: 'openai:scripted', base_url: '{judge.base_url}'}}\n"
        f"canaries: 0\n"
        f"benchmarks:\n"
        f"  - {{prompts: {mine}, name: own, form: pairwise, baseline: {tmp_path / 'answers.jsonl'}, limit: 10}}\n"
        f"  - {{prompts: {mine}, name: rated, scale: [1, 5], limit: 5}}\n"
    )
    judge.reply = lambda call: prefers_words(call) if "Reply B:" in call.text else "Rating: 3"
    status, out, err = assay("run", tmp_path / "spec.yaml", "--out", tmp_path / "spec", "--json")
    assert status == 0, err
    found = {(r["benchmark"], r["metric"]): r for r in json.loads(out)["rows"]}
    assert found["prompts:own", "win_rate"]["n"] == 20
    assert found["prompts:rated", "score"]["value"] == 3
    # the written file again, with an option: another run
    text = (tmp_path / "spec.yaml").read_text().replace("scale: [1, 5]", "scale: [1, 4]")
    (tmp_path / "spec.yaml").write_text(text)
    status, _, err = assay("run", tmp_path / "spec.yaml", "--out", tmp_path / "spec")
    assert status == 1
    assert "prompts:rated.options.scale" in err


ANSWERED = {"id": "0-0", "answer": "x"}


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([{"text": "a"}], ["--metric", "f1"], ["no column prompt or messages (columns: text)", "--columns"]),
        ([], ["--metric", "f1"], ["holds no prompts"]),
        ([{"prompt": "a", "id": 1}, {"prompt": "b", "id": 1}], ["--metric", "f1"], ["the id '1' is there twice"]),
        ([{"prompt": "a"}], ["--metric", "f1"], ["1 of 1 prompts have no reference", "--judge"]),
        ([{"prompt": "a", "reference": "("}], ["--metric", "regex"], ["reference '('"]),
        ([{"prompt": "a"}], [], ["needs a judge", "--metric exact_match"]),
        ([{"prompt": "a"}], ["--judge-form", "rating"], ["needs a judge"]),
        ([{"prompt": "a"}], ["--metric", "f1", "--judge-form", "rating"], ["without a judge, and a form needs one"]),
        ([{"prompt": "a"}], ["--metric", "f1", "--baseline", "x"], ["a baseline needs one"]),
        ([{"prompt": "a"}], ["--metric", "f2"], ["metric 'f2'", "exact_match, contains, regex, f1"]),
        ([{"prompt": "a"}], ["--metric", "python:no_such_module:f"], ["ModuleNotFoundError", "PYTHONPATH"]),
        ([{"prompt": "a"}], ["--columns", "pompt=x", "--metric", "f1"], ["unknown field 'pompt'", "'prompt'"]),
        ([{"prompt": "a"}], ["--columns", "prompt", "--metric", "f1"], ["--columns 'prompt' has no key or no value"]),
    ],
)
def test_wrong_input(scripted, tmp_path, rows, options, words):
    status, _, err = scripted("run", *options, prompts=write(tmp_path / "p.jsonl", rows))
    assert status in (1, 2)
    assert all(word in err for word in words), err
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "run.json").exists()


def test_wrong_baselines_and_judged_references(scripted, judge, tmp_path):
    two = {"id": "0-1", "messages": [{"role": "user", "content": "a?"}, {"role": "user", "content": "b?"}]}
    path = write(tmp_path / "p.jsonl", [{"id": "0-0", "prompt": "a?"}, two])
    baseline = tmp_path / "b.jsonl"
    for rows, said in (
        ([ANSWERED], "lacks answers to 1 of 2 prompts: '0-1'"),
        ([ANSWERED, {"id": "0-1", "answer": "x"}], "1 answers to the prompt '0-1', which has 2 turns"),
        ([ANSWERED, ANSWERED], "the id '0-0' is there twice"),
        ([{"id": "0-0", "text": "x"}], "no answer (columns: id, text)"),
        ([{"answer": "x"}], "neither id nor prompt"),
        ([{"id": "0-0", "answers": [1]}], "answers is [1]"),
    ):
        write(baseline, rows)
        status, _, err = scripted("run", "--judge-form", "pairwise", "--baseline", baseline, prompts=path, judged=True)
        assert status in (1, 2)
        assert said in err, err
    status, _, err = scripted("run", "--judge-form", "pairwise", prompts=path, judged=True)
    assert "there is no baseline" in err
    status, _, err = scripted("run", "--baseline", tmp_path / "none.jsonl", prompts=path, judged=True)
    assert "no such baseline" in err
    status, _, err = scripted("run", "--judge-form", "rating", "--baseline", baseline, prompts=path, judged=True)
    assert "the form rating does not compare answers" in err
    write(path, [{"prompt": "a?", "reference": ["b", "c"]}])
    status, _, err = scripted("run", prompts=path, judged=True)
    assert "do not have as many references as turns" in err
    write(path, [{"prompt": "a?", "reference": "b"}])
    status, _, err = scripted("run", "--metric", "f1", prompts=path, judged=True)
    assert "has nothing to judge: prompts:p is measured by a metric" in err
    assert judge.log == []


def test_hub_data_sets_and_directories_with_splits(scripted, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    (tmp_path / "data").mkdir()
    for split, n in (("train", 3), ("test", 2)):
        rows = [{"question": f"{split} {i}?", "gold": "A plain reply."} for i in range(n)]
        write(tmp_path / "data" / f"{split}.jsonl", rows)
    real, files = datasets.load_dataset, {s: str(tmp_path / f"data/{s}.jsonl") for s in ("train", "test")}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, split, **__: real("json", data_files=files, split=split))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    options = ("--columns", "prompt=question,reference=gold", "--metric", "exact_match")
    for out, source in (("hub", "hub:owner/facts?split=test"), ("folder", f"facts={tmp_path / 'data'}?split=test")):
        status, _, err = scripted(out, *options, prompts=source)
        assert status == 0, err
        assert json.loads((tmp_path / out / "run.json").read_text())["benchmarks"][0]["name"] == "prompts:facts"
        assert (figures(tmp_path, out)["exact_match"]["value"], figures(tmp_path, out)["exact_match"]["n"]) == (100, 2)
    status, _, err = scripted("none", *options, prompts=tmp_path / "data")
    assert "several splits: test, train" in err


def test_two_runs_judged_against_each_other(assay, scripted, judge, mine, tmp_path):
    judge.reply = grade
    for out, reply in (("old", "Well."), ("new", "Well, here are some different words.")):
        assert scripted(out, "--model-name", out, prompts=mine, reply=reply, judged=True)[0] == 0
    judge.reply = prefers_words
    rule = '{improve: {benchmark: "prompts:support", metric: head_to_head}}'
    (tmp_path / "policy.yaml").write_text(f"min_n: 20\nrules: [{rule}]\n")
    gate = (
        "gate",
        "--candidate",
        tmp_path / "new",
        "--baseline",
        tmp_path / "old",
        "--policy",
        tmp_path / "policy.yaml",
    )
    judging = ("--judge", "openai:scripted", "--judge-base-url", judge.base_url)
    mine.unlink()
    status, out, err = assay(*gate, *judging, "--head-to-head", tmp_path / "direct", "--json")
    assert status == 0, (out, err)
    assert json.loads(out)["decision"] == "pass"


def test_references_that_changed_are_not_compared(assay, scripted, tmp_path):
    for out, gold in (("old", "a"), ("new", "b")):
        rows = [{"prompt": f"Question {i}?", "reference": gold} for i in range(30)]
        path = write(tmp_path / "p.jsonl", rows)
        assert scripted(out, "--metric", "f1", "--model-name", out, prompts=path, reply=f"It is {gold}")[0] == 0
    rule = '{keep: {benchmark: "prompts:p", metric: f1, margin: 1}}'
    (tmp_path / "policy.yaml").write_text(f"rules: [{rule}]\n")
    gate = (
        "gate",
        "--candidate",
        tmp_path / "new",
        "--baseline",
        tmp_path / "old",
        "--policy",
        tmp_path / "policy.yaml",
    )
    status, out, _ = assay(*gate)
    assert status == 4
    assert "different references: those of 30 of 30 prompts" in out


def test_a_file_as_benchmark_and_options_without_prompts(assay, tmp_path, replies):
    path = write(tmp_path / "p.jsonl", [{"prompt": "a"}])
    model = ("run", "--model", replies, "--engine", "scripted", "--out", tmp_path / "run")
    status, _, err = assay(*model, "--benchmark", path)
    assert status == 2
    assert f"use --prompts {path}, or {{prompts: {path}}} in a spec" in err
    status, _, err = assay(*model, "--prompts", f"a={path}", "--prompts", f"a={path}", "--metric", "f1")
    assert "benchmark named twice: prompts:a" in err
    (tmp_path / "spec.yaml").write_text(f"benchmarks: [{{prompts: {path}, name: a b, metric: f1}}]")
    status, _, err = assay("run", tmp_path / "spec.yaml", *model[1:])
    assert "the prompts' name 'a b'" in err
    (tmp_path / "spec.yaml").write_text(f"benchmarks: [{{prompts: {path}, fom: rating}}]")
    status, _, err = assay("run", tmp_path / "spec.yaml", *model[1:])
    assert "unknown field 'fom', did you mean 'form'?" in err
    status, _, err = assay(*model, "--benchmark", "mt_bench", "--metric", "f1")
    assert "--metric without prompts of your own" in err
    status, _, err = assay(*model, "--benchmark", "prompts:suport", "--metric", "f1")
    assert "prompts:support" in err


def test_an_unreadable_verdict_is_not_scored_and_asked_again(scripted, judge, mine, tmp_path):
    judge.reply = lambda call: Answer("I would rather not say.")
    status, _, _ = scripted("run", "--canaries", 0, prompts=mine, judged=True)
    assert figures(tmp_path, "run")["score"]["n_unscored"] == 40
    judge.reply = grade
    status, _, err = scripted("run", "--canaries", 0, prompts=mine, judged=True)
    assert status == 0, err
    assert figures(tmp_path, "run")["score"]["n_unscored"] == 0


def test_training_data_is_checked_against_own_prompts(assay, mine, tmp_path):
    rows = [{"prompt": text, "completion": "x"} for text in (PROMPTS[0]["prompt"], "Nothing alike at all.")]
    data = write(tmp_path / "sft.jsonl", rows)
    check = ("train", "data", data, "--kind", "sft", "--check-against", f"prompts:safety,{mine}", "--max-overlap", 1)
    status, out, err = assay(*check, "--json")
    assert status == 0, err
    found = json.loads(out)["overlap"]["sft"]["benchmarks"]
    assert found["prompts:safety"] == {"n_prompts": 24, "n_found": 0}
    assert found["prompts:support"]["n_found"] == 1


def test_their_judge_is_compared_with_human_votes(assay, scripted, judge, mine, tmp_path):
    judge.reply = prefers_words
    rows = [{"id": p["id"], "answer": "word " * (1 + i % 9) + "and so on" * (i % 4)} for i, p in enumerate(PROMPTS)]
    options = ("--judge-form", "pairwise", "--baseline", write(tmp_path / "answers.jsonl", rows))
    reply = "Some different words here."
    status, _, err = scripted("run", "--model-name", "new", *options, prompts=mine, reply=reply, judged=True)
    assert status == 0, err
    votes = [
        {"question_id": p["id"], "turn": 1, "model_a": "new", "model_b": "answers", "judge": f"voter-{i % 3}"}
        | {"winner": ("model_a", "tie", "model_b", "model_b")[i % 4]}  # as many different words decide it
        for i, p in enumerate(PROMPTS)
    ]
    human = write(tmp_path / "human.jsonl", votes)
    status, out, err = assay("calibrate", "--judgments", tmp_path / "run", "--human", human, "--json")
    assert status == 0, err
    (study,) = json.loads(out)["judges"]
    assert (study["n_scored"], study["n_voted"], study["n_presentations"]) == (40, 40, 80)
    assert study["cells"][0]["agreement"]["n_agree"] == 40
