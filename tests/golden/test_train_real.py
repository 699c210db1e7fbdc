"""Real preference data and a real small model: held-out loss falls in every stage."""

from __future__ import annotations

import pytest

from tests.paths import DATA, MODELS, needs_data, needs_models
from training import dpo, preference, reward, sft
from training.data.loading import load_conversations, load_pairs

pytestmark = [pytest.mark.golden, needs_data, needs_models]

SOURCES = DATA / "sft_pref"
HARMLESS = f"{SOURCES / 'hh-rlhf' / 'harmless-base_test.jsonl.gz'}?adapter=hh_rlhf"
DEMO = str(SOURCES / "llama-factory" / "dpo_en_demo.json")
MODEL = str(MODELS / "neo3m-chat-hf")


def fields(**changes):
    return {
        "model": MODEL,
        "max_length": 96,
        "max_truncated_share": 1.0,
        "batch_size": 8,
        "max_steps": 8,
        "logging_steps": 1,
        "save_steps": None,
        "use_cpu": True,
        "warmup_ratio": 0.1,
    } | changes


def falls(result):
    assert result.held_out["after"]["eval_loss"] < result.held_out["before"]["eval_loss"]
    assert not result.problems


def test_sft_on_demonstrations(tmp_path):
    records = load_conversations(str(SOURCES / "llama-factory" / "alpaca_en_demo.json"), on_bad="drop")
    recipe = sft.SFTRecipe(**fields(learning_rate=5e-4, packing=False))
    result = sft.train(recipe, tmp_path, data=records[:64], held_out=records[64:88])
    falls(result)
    assert result.record["items"]["train"]["n_used"] == 64


def test_reward_on_harmless(tmp_path):
    records = load_pairs(HARMLESS, on_bad="drop")
    recipe = reward.RewardRecipe(**fields(learning_rate=5e-5, batch_size=16, add_pad_token=True))
    result = reward.train(recipe, tmp_path, data=records[:128], held_out=records[128:176])
    falls(result)
    accuracy = result.held_out["accuracy"]
    assert accuracy["n"] == accuracy["n_clusters"] == 48
    assert 0 < accuracy["ci_low"] < accuracy["value"] < accuracy["ci_high"] < 100


def test_dpo_on_demo_pairs(tmp_path):
    records = load_pairs(DEMO, on_bad="drop")
    recipe = dpo.DPORecipe(
        **fields(learning_rate=2e-5, max_length=64, batch_size=16, micro_batch_size=16, eval_batch_size=16),
        reference=MODEL,
        precompute_reference=True,
    )
    result = dpo.train(recipe, tmp_path, data=records[:128], held_out=records[128:176])
    falls(result)
    assert result.held_out["before"]["eval_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert result.held_out["after"]["eval_margin"] > 0


def test_preference_on_harmless(tmp_path):
    records = load_pairs(HARMLESS, on_bad="drop")
    recipe = preference.PreferenceRecipe(**fields(learning_rate=5e-4, packing=False))
    result = preference.train(recipe, tmp_path, data=records[:64], held_out=records[64:88])
    falls(result)  # it learns to say A or B; who is better takes more than eight steps
    assert result.held_out["accuracy"]["n"] == 24
