"""The academic suites against lm-eval's own run on the same local data, and known outcomes of the code suites.

``academic_MODEL.json`` holds what lm-eval's HFLM says of 200 documents of each suite; make_academic_hflm.py makes it.
One suite is run through lm-eval here and now, at the model's full length.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import pytest

from benchmarks.lm_eval.academic import SHOTS
from benchmarks.lm_eval.task import LMEvalTask
from benchmarks.sandbox import NotAvailable, available
from harness.data.store import DataStore
from harness.engines.hf.engine import HFEngine
from harness.engines.hf.hf_options import HFOptions
from harness.engines.hf.model_loading import load_model
from harness.engines.scripted import ScriptedEngine, ScriptedOptions
from harness.protocols import MeasureContext
from tests.golden.make_academic_hflm import GEN_KWARGS, LENGTHS, LIMIT, digest, evaluate, result_path, summary
from tests.paths import DATA, MIRROR, MODELS, needs_data, needs_models

pytestmark = [pytest.mark.golden, needs_data, needs_models]
needs_sandbox = pytest.mark.skipif(isinstance(available(), NotAvailable), reason="no sandbox can be had")

HFLM = {model: json.loads(result_path(model).read_text()) for model in LENGTHS}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Each suite, its documents read once."""
    data = DataStore(MIRROR, tmp_path_factory.mktemp("cache"), True)
    found = {}

    def task(name, gen_kwargs=GEN_KWARGS):
        key = name, json.dumps(gen_kwargs)
        if key not in found:
            benchmark = LMEvalTask(name).with_options({"num_fewshot": SHOTS[name], "gen_kwargs": gen_kwargs})
            found[key] = benchmark, benchmark.prompts(data)[0], data
        return found[key]

    return task


@pytest.fixture(scope="module")
def engines():
    found = {}

    def engine(name, length):
        if (name, length) not in found:
            options = HFOptions(model=str(MODELS / name), device="cpu")
            loaded = load_model(options)
            found[name, length] = HFEngine(options, replace(loaded, context_length=length or loaded.context_length))
        return found[name, length]

    return engine


def measured(task, engine, prompts, path):
    path.mkdir(parents=True, exist_ok=True)
    benchmark, _, data = task
    responses = {r.prompt_id: r for r in benchmark.measure(prompts, MeasureContext(engine, "m", 0, path, data))}
    assert [r.error for r in responses.values()] == [""] * len(prompts)
    scores = [s for p in prompts for s in benchmark.score(p, responses[p.id], None, [])]
    rows = {row.metric: row for row in benchmark.summarize(scores, data)}
    return [responses[p.id] for p in prompts], rows


def own_name(key, keys):
    """Our name of lm-eval's "metric,filter": the metric alone for its first filter."""
    metric = key.partition(",")[0]
    return metric if key == next(k for k in keys if k.partition(",")[0] == metric) else key


@pytest.mark.slow
@pytest.mark.parametrize("task_name", SHOTS)
@pytest.mark.parametrize("model", LENGTHS)
def test_figures_are_lm_evals(model, task_name, tasks, engines, tmp_path):
    if task_name in ("humaneval", "mbpp") and isinstance(available(), NotAvailable):
        pytest.skip("no sandbox can be had")
    expected = HFLM[model][task_name]
    task = tasks(task_name)
    prompts = task[1][: expected["n"]]
    assert expected["n"] >= min(LIMIT, len(task[1]))
    responses, rows = measured(task, engines(model, LENGTHS[model]), prompts, tmp_path)
    for key, value in expected["figures"].items():
        row = rows[own_name(key, expected["figures"])]
        assert row.value / 100 == pytest.approx(value, abs=1e-6 if task_name == "truthfulqa_mc2" else 1e-12)
        assert (row.n, row.n_unscored) == (expected["n"], 0)
        assert "cut at their beginning" in row.method, "so short a context holds few prompts whole"
    for group, value in expected.get("groups", {}).items():
        assert rows[f"acc_{group}"].value / 100 == pytest.approx(value, abs=1e-12)
    by_task = sorted(zip(prompts, responses, strict=True), key=lambda x: (order(task[1], x[0]), x[0].meta["doc_id"]))
    if "texts" in expected:
        written = digest([r.turns[0] for _, r in by_task])
        # Near ties between tokens turn on the processor's kernels; where they do, lm-eval's run on this machine counts.
        assert written == expected["texts"] or written == texts_of_lm_eval(model, task_name)
    else:
        best = [r.meta["choices"]["logprobs"] for _, r in by_task]
        assert "".join("0123456789abcdefghijklmnop"[x.index(max(x))] for x in best) == expected["best_choices"]


def texts_of_lm_eval(model, task_name):
    """Digest of what lm-eval's HFLM writes here and now."""
    from lm_eval.models import huggingface

    rival = huggingface.HFLM(
        pretrained=str(MODELS / model), device="cpu", dtype="float32", batch_size=32, max_length=LENGTHS[model]
    )
    return summary(evaluate(rival, task_name, LIMIT, GEN_KWARGS), task_name)["texts"]


def order(prompts, prompt):
    """Where a prompt's task stands among the tasks of a group."""
    names = [p.meta["task"] for p in prompts[:57]]
    return names.index(prompt.meta["task"])


def test_one_suite_at_full_length_beside_lm_eval(tasks, engines, tmp_path):
    """Now and here, at another batch size than the stored figures, prompts whole."""
    from lm_eval.models import huggingface

    limit = 12
    task = tasks("truthfulqa_mc1")
    _, rows = measured(task, engines("stories260K-hf", None), task[1][:limit], tmp_path)
    rival = huggingface.HFLM(pretrained=str(MODELS / "stories260K-hf"), device="cpu", dtype="float32", batch_size=5)
    found = evaluate(rival, "truthfulqa_mc1", limit, GEN_KWARGS)
    assert rows["acc"].value / 100 == pytest.approx(found["results"]["truthfulqa_mc1"]["acc,none"], abs=1e-12)
    assert rows["acc"].n == limit


def generations():
    path = DATA / "academic/wizardcoder/humaneval.59.8.gen.zip"
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as lines:
        return [json.loads(line) for line in lines]


@needs_sandbox
@pytest.mark.slow
def test_wizard_coder_scores_59_76_as_a_suite(tasks, tmp_path):
    """The published generations as an engine's replies, whole: those that repeat the prompt hold stop strings."""
    task = tasks("humaneval", {"until": []})
    samples = {s["task_id"]: s for s in generations()}
    by_prompt = {p.turns[0]: samples[f"HumanEval/{p.meta['doc_id']}"] for p in task[1]}

    def reply(request):
        return by_prompt[request.text]["completion"]

    engine = ScriptedEngine(ScriptedOptions(model="wizard", replies=reply))
    benchmark, prompts, data = task
    responses = list(benchmark.measure(prompts, MeasureContext(engine, "wizard", 0, tmp_path, data)))
    right = {r.prompt_id: r.meta["values"]["pass@1"] for r in responses}
    differing = [p.key for p in prompts if bool(right[p.id]) != by_prompt[p.turns[0]]["passed"]]
    rows = benchmark.summarize(
        [s for p in prompts for s in benchmark.score(p, {r.prompt_id: r for r in responses}[p.id], None, [])], data
    )
    assert not differing
    assert round(rows[0].value, 2) == 59.76


@needs_sandbox
def test_published_solutions_of_mbpp_are_right_and_others_wrong(tasks, tmp_path):
    benchmark, prompts, data = tasks("mbpp", {})
    rows = [json.loads(line) for line in (DATA / "academic/mbpp/mbpp.jsonl").read_text().splitlines()]
    codes = {row["task_id"]: row["code"] for row in rows}
    chosen = prompts[:24]
    by_text = {p.turns[0]: (codes[11 + p.meta["doc_id"]], p.meta["doc_id"]) for p in chosen}

    def reply(request):
        code, number = next(found for text, found in by_text.items() if text in request.text)
        return code if number % 4 else "def nothing(): pass"

    engine = ScriptedEngine(ScriptedOptions(model="solutions", replies=reply))
    responses = {r.prompt_id: r for r in benchmark.measure(chosen, MeasureContext(engine, "m", 0, tmp_path, data))}
    assert [responses[p.id].meta["values"]["pass_at_1"] for p in chosen] == [float(i % 4 > 0) for i in range(24)]
