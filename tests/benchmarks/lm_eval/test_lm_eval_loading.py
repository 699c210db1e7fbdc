"""Tasks and their data: what is asked for wrongly is said clearly, local files stand in for the hub's datasets."""

from __future__ import annotations

import json

import pytest

from benchmarks.lm_eval.academic import SHOTS, SUITE, gsm8k
from benchmarks.lm_eval.code_eval import CODE_EVAL, NotMeasuredError
from benchmarks.lm_eval.local_rows import find_rows
from benchmarks.lm_eval.task import LMEvalTask
from benchmarks.lm_eval.task_loading import missing_package
from benchmarks.sandbox import NotAvailable
from harness.data.store import DataStore
from harness.engines.scripted import ScriptedEngine, ScriptedOptions
from harness.errors import FileFormatError, MissingDataError, UnknownNameError, UsageError
from harness.protocols import MeasureContext
from harness.run.plan import expand_suites, load_benchmark
from harness.spec import BenchmarkSpec
from tests.paths import MIRROR, needs_data


def mirror(folder):
    (folder / "mirror/github").mkdir(parents=True)
    return DataStore(folder / "mirror", folder / "cache", True)


def task(name, **options):
    return LMEvalTask(name).with_options(options)


OWN_TASK = """
task: {name}
dataset_path: json
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.5}}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of task definitions of one's own, found without lm-eval's whole index."""
    import lm_eval.tasks

    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own.yaml").write_text(OWN_TASK.format(name="own_task"))
    real = lm_eval.tasks.TaskManager
    monkeypatch.setattr(
        lm_eval.tasks,
        "TaskManager",
        lambda include_path=None, **_: real(include_path=include_path, include_defaults=False),
    )
    return folder


ROWS = [{"question": f"q{i}", "choices": ["a", "b"], "answer": i % 2} for i in range(6)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_task_and_data_of_one_s_own(own, tmp_path):
    data = write(tmp_path / "rows.jsonl", ROWS)
    found = task("own_task", include_path=str(own), data=data)
    prompts, left_out = found.prompts(mirror(tmp_path))
    assert [p.turns for p in prompts] == [(f"q{i}",) for i in range(6)]
    assert left_out == []
    assert found.version == "lm_eval 1.5, 0-shot"
    assert prompts[0].meta["n_scored"] == 2


def test_examples_out_of_the_test_are_not_scored(own, tmp_path):
    data = write(tmp_path / "rows.jsonl", ROWS)
    found = task("own_task", include_path=str(own), data=data, num_fewshot=2)
    prompts, left_out = found.prompts(mirror(tmp_path))
    assert len(prompts) == 4
    assert [(part.part, part.n_prompts) for part in left_out] == [("examples", 2)]


def test_a_field_that_is_not_there_is_named(own, tmp_path):
    data = write(tmp_path / "rows.jsonl", [{"query": "q", "choices": ["a", "b"], "answer": 0}])
    with pytest.raises(FileFormatError, match="'question' is undefined") as caught:
        task("own_task", include_path=str(own), data=data).prompts(mirror(tmp_path))
    assert "query, choices, answer" in str(caught.value)
    assert str(tmp_path / "rows.jsonl") in str(caught.value)


def test_a_package_that_is_not_there_is_named(own, tmp_path):
    (own / "utils.py").write_text("import a_package_nobody_has.deep\n\ndef text(doc):\n    return ''\n")
    definition = OWN_TASK.format(name="needy").replace('"{{question}}"', "!function utils.text")
    (own / "needy.yaml").write_text(definition)
    with pytest.raises(UsageError, match="needs a package that is not installed: a_package_nobody_has"):
        task("needy", include_path=str(own), data=write(tmp_path / "r.jsonl", ROWS)).prompts(mirror(tmp_path))


def test_missing_packages_are_found_behind_other_errors():
    try:
        try:
            import another_package_nobody_has  # noqa: F401
        except ImportError as error:
            raise ValueError("install the extra") from error
    except ValueError as error:
        assert missing_package(error) == "another_package_nobody_has"
    assert missing_package(ValueError("no")) is None


def test_unknown_tasks_get_the_nearest_names(own, tmp_path):
    with pytest.raises(UnknownNameError) as caught:
        task("own_tasks", include_path=str(own)).prompts(mirror(tmp_path))
    assert "did you mean own_task?" in str(caught.value)


def test_a_dataset_that_is_not_in_the_mirror(own, tmp_path):
    (own / "hub.yaml").write_text(
        OWN_TASK.format(name="hub_task").replace("dataset_path: json", "dataset_path: org/name")
    )
    with pytest.raises(MissingDataError, match="org/name is not in the data directory") as caught:
        task("hub_task", include_path=str(own)).prompts(mirror(tmp_path))
    assert "hf download --repo-type dataset org/name" in str(caught.value)


def test_a_copy_of_the_hub_s_dataset_in_the_mirror(own, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    (own / "hub.yaml").write_text(
        OWN_TASK.format(name="hub_task").replace("dataset_path: json", "dataset_path: org/name")
    )
    store = mirror(tmp_path)
    copy = store.data_dir / "huggingface/datasets/org/name"
    copy.mkdir(parents=True)
    write(copy / "test.jsonl", ROWS)
    prompts, _ = task("hub_task", include_path=str(own)).prompts(store)
    assert len(prompts) == 6


@needs_data
def test_the_suite_has_the_papers_shots_and_every_document(tmp_path):
    expanded = expand_suites([BenchmarkSpec(name="academic", limit=3)])
    assert [s.name for s in expanded] == [f"lm_eval:{name}" for name in SHOTS] == [s.name for s in SUITE]
    assert all(s.limit == 3 for s in expanded)
    assert {s.name: s.options["num_fewshot"] for s in SUITE}["lm_eval:arc_challenge"] == 25
    data = DataStore(MIRROR, tmp_path, True)
    n = {"gsm8k": 1311, "humaneval": 164, "truthfulqa_mc1": 817, "arc_challenge": 1147, "mbpp": 500}
    for name, expected in n.items():
        benchmark = load_benchmark(f"lm_eval:{name}", {"num_fewshot": SHOTS[name]})
        prompts, _ = benchmark.prompts(data)
        assert len(prompts) == expected
        assert len({p.id for p in prompts}) == expected
    used = data.used()
    assert used["gsm8k/test"].startswith("3730d312")
    assert used["academic/arc/ARC-Challenge_test_llmadapters.json"].startswith("4a89ce36")


@needs_data
def test_suites_by_their_own_names():
    assert load_benchmark("gsm8k") == gsm8k()
    assert load_benchmark("gsm8k").options.num_fewshot == 8
    changed = load_benchmark("gsm8k", {"num_fewshot": 5, "apply_chat_template": True})
    assert (changed.options.num_fewshot, changed.options.apply_chat_template) == (5, True)
    with pytest.raises(UsageError, match="one version"):
        load_benchmark("gsm8k@v2")


@needs_data
def test_the_first_documents_of_mmlu_are_from_all_subjects(tmp_path):
    benchmark = load_benchmark("mmlu")
    prompts, left_out = benchmark.prompts(DataStore(MIRROR, tmp_path, True))
    assert (len(prompts), left_out) == (14042, [])
    assert len({p.meta["task"] for p in prompts[:57]}) == 57
    assert {tuple(g) for p in prompts for g in p.meta["groups"]} == {
        (group, "acc", False)
        for group in ("mmlu", "mmlu_stem", "mmlu_other", "mmlu_social_sciences", "mmlu_humanities")
    }


ARC = "Please choose the correct answer to the question: {}\n\nAnswer1: a Answer2: b\n\nAnswer format: answer1/answer2"


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("gsm8k/test.jsonl", '{"question": "q", "answers": "a"}\n', "no field 'answer'"),
        ("truthfulqa/mc_task.json", '[{"question": "q", "mc1_targets": {"a": 2}}]', "mc1_targets of question 0"),
        (
            "mbpp/mbpp.jsonl",
            '{"task_id": 11, "text": "t", "code": "c", "test_setup_code": "", "test_list": []}\n',
            "0 assertions",
        ),
        ("mbpp/mbpp.jsonl", '{"task_id": "11"}\n', "task_id as a whole number"),
        ("humaneval/HumanEval.jsonl.gz", "text", "cannot be decompressed"),
        ("mmlu/mmlu_llamafactory.zip", "no zip", "cannot be read"),
        (
            "arc/ARC-Challenge_test_llmadapters.json",
            json.dumps([{"instruction": "What?", "answer": "answer1"}]),
            "lists no answers",
        ),
        (
            "arc/ARC-Challenge_test_llmadapters.json",
            json.dumps([{"instruction": ARC.format("Q"), "answer": "answer1"}]),
            "the same answer in both files",
        ),
    ],
)
def test_local_files_of_another_form(tmp_path, file, content, words):
    store = mirror(tmp_path)
    path = store.data_dir / "academic" / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    (store.data_dir / "academic/arc").mkdir(exist_ok=True)
    keys = store.data_dir / "academic/arc/aristo_data-challenge_question-answers.jsonl"
    keys.write_text('{"id": "x", "answerKey": "B"}\n')
    dataset = {
        "gsm8k": "openai/gsm8k",
        "truthfulqa": "truthfulqa/truthful_qa",
        "mbpp": "google-research-datasets/mbpp",
        "humaneval": "openai/openai_humaneval",
        "mmlu": "cais/mmlu",
        "arc": "allenai/ai2_arc",
    }[file.partition("/")[0]]
    with pytest.raises(FileFormatError) as caught:
        find_rows(dataset, "anatomy" if dataset == "cais/mmlu" else None, store, 0)
    assert words in str(caught.value)
    assert path.name in str(caught.value)


def test_files_beside_the_mirror_and_none_at_all(tmp_path):
    store = mirror(tmp_path)
    beside = tmp_path / "academic/gsm8k/test.jsonl"
    with pytest.raises(MissingDataError, match=r"academic/mbpp/mbpp\.jsonl is neither in"):
        find_rows("google-research-datasets/mbpp", "full", store, 0)
    beside.parent.mkdir(parents=True)
    write(beside, [{"question": f"q{i}", "answer": "#### 1"} for i in range(5)])
    rows = find_rows("openai/gsm8k", "main", store, 2)
    assert (len(rows.splits["test"]), rows.held_out) == (3, {"train": 2})
    write(beside.with_name("train.jsonl"), [{"question": "t", "answer": "#### 1"}])
    rows = find_rows("openai/gsm8k", "main", store, 2)
    assert (len(rows.splits["test"]), rows.held_out) == (5, {})
    assert find_rows("some/other", None, store, 0) is None


@needs_data
def test_without_a_sandbox_the_code_suites_are_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.lm_eval.measure.available", lambda: NotAvailable("bwrap: not here"))
    benchmark = load_benchmark("humaneval")
    data = DataStore(MIRROR, tmp_path, True)
    prompts = benchmark.prompts(data)[0][:3]
    engine = ScriptedEngine(ScriptedOptions(replies={"*": "    return 1"}))
    responses = list(benchmark.measure(prompts, MeasureContext(engine, "m", 0, tmp_path, data)))
    assert engine.requests == [], "nothing is generated for nothing"
    by_id = {r.prompt_id: r for r in responses}
    (row,) = benchmark.summarize([s for p in prompts for s in benchmark.score(p, by_id[p.id], None, [])], data)
    assert row.value is None
    assert "no sandbox for model-written code (bwrap: not here)" in row.reason
    assert "--allow-unsandboxed-code" in row.reason


def test_a_task_that_runs_code_by_itself_is_refused(own, tmp_path):
    (own / "code.yaml").write_text(OWN_TASK.format(name="code_task") + "unsafe_code: true\n")
    benchmark = task("code_task", include_path=str(own), data=write(tmp_path / "r.jsonl", ROWS))
    data = mirror(tmp_path)
    prompts, _ = benchmark.prompts(data)
    engine = ScriptedEngine(ScriptedOptions(logprobs=lambda r: -1.0))
    with pytest.raises(UsageError, match="in lm-eval's own process"):
        list(benchmark.measure(prompts, MeasureContext(engine, "m", 0, tmp_path, data)))


def test_code_eval_outside_a_document_is_harmless():
    assert CODE_EVAL.compute(references=["assert f()"], predictions=[["import os"]], k=[1]) == ({"pass@1": 0.0}, {})


def test_an_engine_that_gives_scores_only_is_refused(own, tmp_path):
    benchmark = task("own_task", include_path=str(own), data=write(tmp_path / "r.jsonl", ROWS))
    data = mirror(tmp_path)
    prompts, _ = benchmark.prompts(data)
    with pytest.raises(UsageError, match="an engine that writes and scores text"):
        list(benchmark.measure(prompts, MeasureContext(object(), "m", 0, tmp_path, data)))


def test_without_a_sandbox_programs_run_only_where_that_is_allowed(monkeypatch):
    monkeypatch.setattr("benchmarks.sandbox.available", lambda: NotAvailable("bwrap: not here"))
    document = {"task_id": 11, "code": "def f():\n    return 1", "test_list": ["assert f() == 1"] * 3}

    def score(body="return 1"):
        program = f"def f():\n    {body}"
        return CODE_EVAL.compute(references=["assert f() == 1"], predictions=[[program]], k=[1])[0]

    programs = CODE_EVAL.programs_of(document, score) | CODE_EVAL.programs_of(document, lambda: score("return 2"))
    try:
        CODE_EVAL.run(programs, 1, allow_unsandboxed=False)
        with CODE_EVAL.scoring(document), pytest.raises(NotMeasuredError, match="no sandbox"):
            score()
        CODE_EVAL.run(programs, 1, allow_unsandboxed=True)
        with CODE_EVAL.scoring(document):
            assert (score(), score("return 2")) == ({"pass@1": 1.0}, {"pass@1": 0.0})
    finally:
        CODE_EVAL.forget()
