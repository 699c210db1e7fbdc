"""A whole alignment of a microscopic Llama: what refers to what, what is redone, what the gate does, wrong input."""

from __future__ import annotations

import gc
import json
import math
from collections import Counter

import pytest
import yaml

from harness.cli import main
from harness.errors import DataError, ModelError, RunLockedError
from harness.gate.looks import LookLedger
from harness.store.align_directory import MEASURES, read_align, read_rewards, read_samples
from harness.store.jsonl import read_json
from harness.store.locking import DirectoryLock
from tests.support.tiny_align import carry_out, import_everything, make_recipe, user, write_rows
from training.metrics import read_metrics
from training.models import model_identity

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

BENCHMARK = "demo_arena"


def policy(kind, margin):
    rule = {"benchmark": BENCHMARK, "metric": "win_rate", "margin": margin}
    return {"policy": {"alpha": 0.05, "min_n": 10, "rules": [{kind: rule}]}}


LETS_ALL_ON = policy("keep", 99.0)
LETS_NONE_ON = policy("improve", 60.0)


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    folder = tmp_path_factory.mktemp("align")
    recipe = make_recipe(folder / "input", iterations=3, gate=LETS_ALL_ON)
    recipe["evaluation"] = {"benchmarks": BENCHMARK, "judge": {"model": "gold:world"}, "limit": 12, "canaries": 0}
    return folder, recipe


@pytest.fixture(scope="module")
def done(values):
    folder, recipe = values
    import_everything()
    yield folder / "out", carry_out(recipe, folder / "out")
    gc.unfreeze()


def stage(out, name):
    found = [s for s in read_align(out).stages if s.name == name]
    assert len(found) == 1, f"{name} among {[s.name for s in read_align(out).stages]}"
    return out / found[0].dir


def test_the_loop_ends_with_a_table_that_lacks_nothing(done):
    out, result = done
    state = read_align(out)
    assert state == result.state and state.finished
    assert [v.name for v in state.variants] == ["base", "sft", "dpo-1", "dpo-2", "dpo-3"]
    assert [v.parent for v in state.variants] == [None, None, "sft", "dpo-1", "dpo-2"]
    for variant in state.variants:
        assert set(variant.measures) >= set(MEASURES) - {"gold"}
        assert all((f.value is None) != (f.reason is None) for f in variant.measures.values())
        assert (out / variant.run / "manifest.json").is_file()
    by_name = {variant.name: variant for variant in state.variants}
    first = by_name["dpo-1"]
    assert first.accepted and first.gate["decision"] == "pass"
    assert by_name["sft"].measures["kl_per_response"].value == 0.0


def test_the_output_is_the_best_accepted_by_the_validation_set(done):
    out, _ = done
    state = read_align(out)
    rewards = {v.name: v.measures["reward"].value for v in state.variants if v.accepted}
    assert state.chosen == max(rewards, key=rewards.get)
    assert all(name in state.chosen_because for name in rewards)


def test_the_chosen_effect_is_corrected_for_the_choice(done):
    out, _ = done
    state = read_align(out)
    found = state.chosen_effect
    rewards = {v.name: v.measures["reward"].value for v in state.variants}
    assert found.metric == "validation reward"
    assert found.baseline == "sft"
    if state.chosen == "sft":
        assert "the SFT model itself was chosen" in found.raw.reason
        return
    assert found.n_candidates == sum(bool(v.accepted) for v in state.variants)
    assert found.raw.value == pytest.approx(rewards[state.chosen] - rewards["sft"], abs=1e-6)
    assert found.corrected.ci_low <= found.raw.ci_low
    assert "decided on other prompts" in found.note


def test_the_reference_is_the_sft_model_in_every_iteration(done):
    out, _ = done
    sft = model_identity(str(stage(out, "sft") / "model"))
    start = sft
    for iteration in (1, 2, 3):
        own = stage(out, f"dpo-{iteration}")
        identity = read_json(own / "stage.json")["identity"]
        assert identity["reference"] == sft
        assert identity["model"] == start
        start = model_identity(str(own / "model"))
        # with policy and reference the same the loss begins at log 2; it does in the first iteration and not after it
        loss = read_metrics(own / "metrics.jsonl")[0]["loss"]
        assert (abs(loss - math.log(2)) < 1e-4) == (iteration == 1)


def test_pairs_of_all_iterations_are_learnt_from(done):
    out, _ = done
    n_pairs = [len((stage(out, f"rank-{t}") / "pairs.jsonl").read_text().splitlines()) for t in (1, 2, 3)]
    given = [read_json(stage(out, f"dpo-{t}") / "stage.json")["items"]["train"]["n_given"] for t in (1, 2, 3)]
    assert given == [sum(n_pairs[:t]) for t in (1, 2, 3)]


def test_answers_are_half_and_half_and_prompts_are_drawn_once(done):
    out, _ = done
    sampled = []
    for iteration in (1, 2, 3):
        samples = list(read_samples(stage(out, f"sample-{iteration}")))
        assert Counter(s.temperature for s in samples) == {1.0: 16, 0.7: 16}
        assert set(Counter((s.prompt_key, s.temperature) for s in samples).values()) == {2}
        sampled += {s.prompt_key for s in samples}
    assert len(sampled) == len(set(sampled)) == 24
    validated = {s.prompt_key for s in read_samples(stage(out, "validate-sft"))}
    assert validated.isdisjoint(sampled)


def test_every_look_at_the_evaluation_is_counted(done):
    out, _ = done
    assert [look.who for look in LookLedger(out).looks()] == ["align dpo-1", "align dpo-2", "align dpo-3"]
    assert "looked at 3 times" in read_align(out).error_budget


def test_a_rerun_does_no_work(values, done):
    _, recipe = values
    out, _ = done
    before = {path: path.stat().st_mtime_ns for path in (out / "stages").rglob("*") if path.is_file()}
    again = carry_out(recipe, out)
    assert again.n_worked == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "stages").rglob("*") if path.is_file()} == before
    assert again.state.variants == done[1].state.variants and read_align(out).finished


def test_a_change_redoes_what_depends_on_it(values, done):
    _, recipe = values
    out, result = done
    before = {s.name: s.dir for s in result.state.stages}
    changed = carry_out({**recipe, "dpo": {**recipe["dpo"], "beta": 0.3}, "iterations": 1}, out)
    after = {s.name: s.dir for s in changed.state.stages}
    same = {name for name in after if before[name] == after[name]}
    assert {"sft", "reward", "sample-1", "rank-1", "validate-sft", "score-sft", "evaluate-sft"} <= same
    assert {"dpo-1", "validate-dpo-1", "evaluate-dpo-1", "gate-dpo-1"}.isdisjoint(same)
    assert carry_out(recipe, out).n_worked == 0


@pytest.mark.parametrize(
    ("changes", "names", "parents"),
    [
        ({"on_fail": "stop"}, ["dpo-1"], ["sft"]),
        ({"on_fail": "roll_back", "iterations": 2}, ["dpo-1", "dpo-2"], ["sft", "sft"]),
        ({"on_fail": "stop", "retries": [{"beta": 0.3}]}, ["dpo-1", "dpo-1-retry-1"], ["sft", "sft"]),
    ],
)
def test_what_the_gate_does_not_let_on(values, done, changes, names, parents):
    _, recipe = values
    state = carry_out({**recipe, "gate": LETS_NONE_ON, **changes}, done[0]).state
    tried = [v for v in state.variants if v.iteration]
    assert [v.name for v in tried] == names and [v.parent for v in tried] == parents
    assert not any(v.accepted for v in tried) and state.chosen == "sft"
    assert all(v.gate["decision"] in ("fail", "undecided") for v in tried)
    if "retries" in changes:
        assert read_json(stage(done[0], "dpo-1-retry-1") / "stage.json")["recipe"]["beta"] == 0.3
    spent = [v.gate["alpha"] for v in tried]
    assert sum(spent) <= 0.05 + 1e-12


def test_from_the_command_line(values, done, capsys):
    folder, recipe = values
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert main(["align", str(path), "--out", str(done[0])]) == 0
    printed = capsys.readouterr().out
    for said in ("dpo-3", "PASS", "chosen:", "at most 0.05", str(done[0])):
        assert said in printed
    assert main(["align", str(path), "--out", str(done[0]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chosen"] == read_align(done[0]).chosen
    path.write_text(yaml.safe_dump({**recipe, "gate": LETS_NONE_ON}))
    assert main(["align", str(path), "--out", str(done[0])]) == 3
    assert "chosen: sft" in capsys.readouterr().out
    path.write_text(yaml.safe_dump({**recipe, "smapling": {}}))
    assert main(["align", str(path), "--out", str(folder / "none")]) == 2
    assert "did you mean 'sampling'" in capsys.readouterr().err
    assert main(["align", "algin-tiny", "--out", str(folder / "none")]) == 2
    assert "align-tiny" in capsys.readouterr().err
    assert not (folder / "none").exists()


def test_a_missing_checkpoint_is_said_before_anything_is_spent(values):
    folder, recipe = values
    for changes in ({"base": str(folder / "gone")}, {"ranker": {"model": str(folder / "gone")}}):
        with pytest.raises(ModelError, match="gone"):
            carry_out({**recipe, **changes}, folder / "missing")
        assert not list((folder / "missing").glob("stages/*/*"))


def test_a_constant_reward_ranks_nothing_and_says_so(values, done):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder, recipe = values
    trained, constant = stage(done[0], "reward") / "model", folder / "constant"
    model = AutoModelForSequenceClassification.from_pretrained(trained)
    with torch.no_grad():
        model.score.weight.zero_()
    model.save_pretrained(constant)
    AutoTokenizer.from_pretrained(trained).save_pretrained(constant)
    with pytest.raises(DataError, match=r"no pair could be made .* 8 prompts: .*equal rewards"):
        carry_out({**recipe, "ranker": {"model": str(constant)}}, done[0])
    assert carry_out(recipe, done[0]).n_worked == 0  # nothing that was made is lost


def test_a_preference_model_is_trained_and_ranks_by_comparing_all_with_all(values, done):
    _, recipe = values
    ranker = {"preference": {**recipe["ranker"]["recipe"], "packing": False, "max_length": 90}}
    state = carry_out({**recipe, "ranker": ranker, "iterations": 1}, done[0]).state
    assert {"preference", "dpo-1"} <= {s.name for s in state.stages}
    rewards = {}
    for found in read_rewards(stage(done[0], "rank-1")):
        rewards.setdefault(found.prompt_key, []).append(found.reward)
    # of each comparison one answer has p and the other 1 - p: a prompt's mean is one half
    whole = [own for own in rewards.values() if len(own) > 1 and None not in own]
    assert whole and all(sum(own) / len(own) == pytest.approx(0.5, abs=1e-6) for own in whole)


@pytest.mark.parametrize("where", ["sampling", "sft", "ranker"])
def test_validation_prompts_are_never_trained_on(values, where):
    folder, recipe = values
    rows = {
        "sampling": {"prompt": user("v3?")},
        "sft": {"messages": [*user("v3?"), {"role": "assistant", "content": "yes"}]},
        "ranker": {"prompt": user(" v3?"), "chosen": "good", "rejected": "bad"},
    }
    name = {"sampling": "prompts", "sft": "sft", "ranker": "pairs"}[where]
    there = [json.loads(line) for line in (folder / "input" / f"{name}.jsonl").read_text().splitlines()]
    path = write_rows(folder / f"shared-{name}.jsonl", [*there, rows[where]])
    changed = json.loads(json.dumps(recipe))
    if where == "sampling":
        changed["sampling"]["prompts"] = path
    elif where == "sft":
        changed["sft"]["data"] = path
    else:
        changed["ranker"]["recipe"]["data"] = path
    with pytest.raises(DataError, match=r"among the validation prompts.*v3"):
        carry_out(changed, folder / "shared")
    assert not list((folder / "shared").glob("stages/*"))


def test_benchmark_prompts_are_never_trained_on(values, done):
    folder, recipe = values
    asked = json.loads((done[0] / read_align(done[0]).variants[1].run / "prompts.jsonl").read_text().splitlines()[0])
    there = [json.loads(line) for line in (folder / "input" / "prompts.jsonl").read_text().splitlines()]
    path = write_rows(folder / "benchmark-prompts.jsonl", [*there, {"prompt": user(asked["turns"][0])}])
    with pytest.raises(DataError, match=BENCHMARK):
        carry_out({**recipe, "sampling": {**recipe["sampling"], "prompts": path}}, folder / "shared")


def test_too_few_prompts_are_counted_before_anything_is_spent(values):
    folder, recipe = values
    with pytest.raises(DataError, match="needs 32"):
        carry_out({**recipe, "iterations": 4}, folder / "few")
    assert not list((folder / "few").glob("stages/*"))


def test_two_processes_do_not_work_in_one_directory(values, done):
    _, recipe = values
    with DirectoryLock(done[0], "at work in"), pytest.raises(RunLockedError):
        carry_out(recipe, done[0])
