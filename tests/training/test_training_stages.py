"""Every stage against TRL's trainer used directly, and against itself with the batch divided otherwise."""

from __future__ import annotations

import json
import shutil

import pytest

from harness.engines.rewards.preference_format import preference_prompt
from harness.errors import RunConflictError, RunLockedError
from tests.support.tiny_training import MARKED, PLAIN, common, conversations, pairs, save_model
from training import dpo, preference, reward, sft
from training.metrics import read_metrics
from training.stage import StageDirectory

TOLERANCE = 1e-5
ACCUMULATION = 2e-5
"""Micro batches of 1, 2 and 8 add the same float32 numbers in another order."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("reference"), seed=7)


def losses(out):
    return [line["loss"] for line in read_metrics(out / "metrics.jsonl") if "loss" in line]


def direct(trainer_class, config_class, folder, model, rows, **more):
    """TRL as its documentation uses it: a path, raw conversations, a config."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    extra = more.pop("trainer", {})
    arguments = config_class(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        learning_rate=2e-3,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        max_steps=6,
        logging_steps=1,
        seed=0,
        data_seed=0,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        max_length=more.pop("max_length", 64),
        **more,
    )
    tokenizer = AutoTokenizer.from_pretrained(model)
    trainer = trainer_class(
        model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, **extra
    )
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def test_sft_follows_trl(model, tmp_path):
    from trl import SFTConfig, SFTTrainer

    records = conversations()
    sft.train(sft.SFTRecipe(**common(model)), tmp_path / "ours", data=records)
    theirs = direct(
        SFTTrainer, SFTConfig, tmp_path, model, [r.as_row() for r in records], packing=True, assistant_only_loss=True
    )
    assert losses(tmp_path / "ours") == pytest.approx(theirs, abs=TOLERANCE)


def test_reward_follows_trl(model, tmp_path):
    from trl import RewardConfig, RewardTrainer

    records = pairs()
    recipe = reward.RewardRecipe(**common(model, center_rewards_coefficient=0.01))
    reward.train(recipe, tmp_path / "ours", data=records)
    rows = [r.as_row() for r in records]
    theirs = direct(RewardTrainer, RewardConfig, tmp_path, model, rows, center_rewards_coefficient=0.01)
    assert losses(tmp_path / "ours") == pytest.approx(theirs, abs=TOLERANCE)


def test_preference_follows_trl(model, tmp_path):
    from trl import SFTConfig, SFTTrainer

    records = pairs()
    recipe = preference.PreferenceRecipe(**common(model, max_length=96))
    preference.train(recipe, tmp_path / "ours", data=records)
    questions, _ = preference.encode_questions(_encoder(model), records, recipe)
    rows = []
    for pair, question in zip(records, questions, strict=True):
        first, second = (pair.chosen, pair.rejected) if question.first_better else (pair.rejected, pair.chosen)
        text = preference_prompt(pair.prompt, first[0].content, second[0].content)
        # The template up to the answer, and the letter alone: TRL's plain prompt/completion form would add an eos,
        # so its tokenised form is used.
        prompt = _encoder(model).tokenizer(f"U:{text}<end>A:", add_special_tokens=False)["input_ids"]
        letter = _encoder(model).tokenizer("A" if question.first_better else "B", add_special_tokens=False)["input_ids"]
        rows.append({"input_ids": prompt + letter, "completion_mask": [0] * len(prompt) + [1]})
    theirs = direct(
        SFTTrainer, SFTConfig, tmp_path, model, rows, packing=True, completion_only_loss=True, max_length=96
    )
    assert losses(tmp_path / "ours") == pytest.approx(theirs, abs=TOLERANCE)


LOSSES = {
    "plain": ({}, {}),
    "rpo": ({"sft_weight": 0.2}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2]}),
    "robust": ({"loss": "robust", "label_smoothing": 0.1}, {"loss_type": ["robust"], "label_smoothing": 0.1}),
    "ld": ({"ld_alpha": 0.5}, {"ld_alpha": 0.5}),
    "js": ({"f_divergence": "js_divergence"}, {"f_divergence_type": "js_divergence"}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_dpo_follows_trl(name, model, other_model, tmp_path):
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    ours, theirs = LOSSES[name]
    records = pairs()
    recipe = dpo.DPORecipe(**common(model, reference=other_model, **ours))
    dpo.train(recipe, tmp_path / "ours", data=records)
    reference = AutoModelForCausalLM.from_pretrained(other_model)
    rows = [r.as_row() for r in records]
    expected = direct(DPOTrainer, DPOConfig, tmp_path, model, rows, trainer={"ref_model": reference}, **theirs)
    assert losses(tmp_path / "ours") == pytest.approx(expected, abs=TOLERANCE)


def test_precomputed_reference_is_the_explicit_one(model, other_model, tmp_path):
    recipe = dpo.DPORecipe(**common(model, reference=other_model))
    explicit = dpo.train(recipe, tmp_path / "explicit", data=pairs(), held_out=pairs(30)[24:])
    ahead = dpo.train(
        recipe.with_(precompute_reference=True), tmp_path / "ahead", data=pairs(), held_out=pairs(30)[24:]
    )
    assert losses(tmp_path / "ahead") == pytest.approx(losses(tmp_path / "explicit"), abs=TOLERANCE)
    assert not (tmp_path / "ahead" / "encoded").exists()
    for name in ("eval_loss", "eval_margin"):
        assert ahead.held_out["after"][name] == pytest.approx(explicit.held_out["after"][name], abs=TOLERANCE)


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_a_batch_in_parts_is_the_batch(stage, model, other_model, tmp_path):
    whole = common(model, micro_batch_size=8, max_steps=4)
    trajectories = []
    for micro in (8, 1):
        fields = whole | {"micro_batch_size": micro}
        out = tmp_path / str(micro)
        if stage == "sft":
            sft.train(sft.SFTRecipe(**fields, packing=False), out, data=conversations(32))
        elif stage == "reward":
            reward.train(reward.RewardRecipe(**fields), out, data=pairs(32))
        else:
            dpo.train(dpo.DPORecipe(**fields, reference=other_model), out, data=pairs(32))
        trajectories.append(losses(out))
    assert trajectories[0] == pytest.approx(trajectories[1], abs=ACCUMULATION)


def test_a_finished_stage_is_read_not_repeated(model, tmp_path):
    recipe = sft.SFTRecipe(**common(model, max_steps=2))
    first = sft.train(recipe, tmp_path / "out", data=conversations())
    stamp = (tmp_path / "out" / "model" / "model.safetensors").stat().st_mtime_ns
    again = sft.train(recipe.with_(logging_steps=5), tmp_path / "out", data=conversations())
    assert again.record == first.record
    assert (tmp_path / "out" / "model" / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(RunConflictError, match=r"recipe\.learning_rate: was 0\.002, now 0\.001"):
        sft.train(recipe.with_(learning_rate=1e-3), tmp_path / "out", data=conversations())
    with pytest.raises(RunConflictError, match=r"data\.n: was 24, now 20"):
        sft.train(recipe, tmp_path / "out", data=conversations(20))


def test_training_goes_on_from_the_last_whole_checkpoint(model, tmp_path, monkeypatch):
    recipe = dpo.DPORecipe(**common(model, reference=model))
    whole = dpo.train(recipe, tmp_path / "whole", data=pairs(), held_out=pairs(30)[24:])

    def stop(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt

    from training.metrics import MetricsFile

    with monkeypatch.context() as patched:
        patched.setattr(MetricsFile, "on_step_end", stop, raising=False)
        with pytest.raises(KeyboardInterrupt):
            dpo.train(recipe, tmp_path / "torn", data=pairs(), held_out=pairs(30)[24:])
    left = tmp_path / "torn" / "checkpoints"
    assert sorted(p.name for p in left.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    # A checkpoint that was being written when the process died is not gone on from.
    shutil.copytree(left / "checkpoint-4", left / "checkpoint-5")
    (left / "checkpoint-5" / "complete").unlink()
    (left / "checkpoint-5" / "model.safetensors").write_bytes(b"torn")
    resumed = dpo.train(recipe, tmp_path / "torn", data=pairs(), held_out=pairs(30)[24:])
    assert resumed.record["resumed_at_step"] == 4
    assert resumed.weights_sha256 == whole.weights_sha256
    assert losses(tmp_path / "torn") == losses(tmp_path / "whole")
    assert resumed.held_out == whole.held_out
    assert not left.exists()


def test_one_process_at_a_time(model, tmp_path):
    with StageDirectory(tmp_path / "out"), pytest.raises(RunLockedError):
        sft.train(sft.SFTRecipe(**common(model)), tmp_path / "out", data=conversations())


def test_what_a_stage_leaves(model, tmp_path):
    result = reward.train(
        reward.RewardRecipe(**common(model, max_steps=2, eval_steps=1)), tmp_path, data=pairs(), held_out=pairs(36)[20:]
    )
    record = json.loads((tmp_path / "stage.json").read_text())
    assert record["items"]["train"]["dropped"] == {"its prompt is held out": 4}
    assert record["items"]["train"]["n_used"] == 20
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if "eval_loss" in line] == [0, 1, 2, 2]
    trained = next(line for line in lines if "loss" in line)
    assert {"accuracy", "margin", "grad_norm", "learning_rate", "num_tokens", "epoch"} <= trained.keys()
    assert record["held_out"]["accuracy"]["n"] == 16
    assert record["held_out"]["accuracy"]["n_clusters"] == 8
    assert {"transformers", "trl", "torch"} <= record["versions"].keys()
    from transformers import AutoModelForSequenceClassification

    assert AutoModelForSequenceClassification.from_pretrained(result.model).config.num_labels == 1


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_lora_ends_with_a_plain_model(stage, model, tmp_path):
    fields = common(model, max_steps=2, learning_rate=0.05, lora={"r": 2, "alpha": 4})
    if stage == "sft":
        result = sft.train(sft.SFTRecipe(**fields), tmp_path, data=conversations())
    elif stage == "reward":
        result = reward.train(reward.RewardRecipe(**fields), tmp_path, data=pairs(), held_out=pairs(36)[24:])
    else:
        result = dpo.train(dpo.DPORecipe(**fields, reference=model), tmp_path, data=pairs())
    assert result.adapter is not None
    assert (result.adapter / "adapter_config.json").is_file()
    assert not (result.model / "adapter_config.json").exists()
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if stage == "reward" else AutoModelForCausalLM
    merged = kind.from_pretrained(result.model)
    start = AutoModelForCausalLM.from_pretrained(model)
    name = "model.layers.0.self_attn.q_proj.weight"
    moved = (merged.state_dict()[name] - start.state_dict()[name]).abs().max()
    assert 1e-4 < float(moved) < 1.0


def test_template_without_marks_trains_alike(model, tmp_path):
    plain = save_model(tmp_path / "plain", template=PLAIN)
    sft.train(sft.SFTRecipe(**common(model, max_steps=3)), tmp_path / "marked", data=conversations())
    sft.train(sft.SFTRecipe(**common(plain, max_steps=3)), tmp_path / "unmarked", data=conversations())
    assert losses(tmp_path / "unmarked") == losses(tmp_path / "marked")
    assert MARKED != PLAIN


def _encoder(model):
    from transformers import AutoTokenizer

    from training.encode import Encoder

    return Encoder(AutoTokenizer.from_pretrained(model))
