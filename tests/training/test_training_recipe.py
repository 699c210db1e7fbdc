"""Recipes: what is refused and how it is said, what is shipped, and the accelerate configurations beside them."""

from __future__ import annotations

import pytest

from harness.errors import SpecError, UnknownNameError
from training import sft
from training.dpo import DPORecipe
from training.recipe import TrainingRecipe, load_recipe, shipped
from training.sft import SFTRecipe
from training.stage import find_stage
from training.trainer_args import micro_batch

PAPER = {  # arXiv 2405.07863: learning rate, batch, epochs, length
    "sft": (2e-5, 32, 1, 8192),
    "reward": (2e-6, 512, 1, None),
    "preference": (5e-6, 128, 1, 3072),
    "dpo": (5e-7, 128, 2, None),
}


def test_a_misspelt_field_is_named(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("stage: sft\nmodel: m\nlearning_rat: 1.0e-5\n")
    with pytest.raises(SpecError, match=r"unknown field 'learning_rat', did you mean 'learning_rate'\?"):
        load_recipe(sft.STAGE, path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"held_out": "x.jsonl", "held_out_share": 0.1}, "give one of them"),
        ({"batch_size": 6, "micro_batch_size": 4}, "not a multiple"),
        ({"save_total_limit": 1}, "greater than or equal to 2"),
        ({"lora": {"rank": 4}}, "unknown field 'lora.rank'"),
    ],
)
def test_fields_that_do_not_go_together(fields, message):
    with pytest.raises(SpecError, match=message):
        SFTRecipe(model="m").with_(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label_smoothing": 0.1}, "no effect on the loss 'sigmoid'; set loss: robust"),
        ({"loss": "exo_pair"}, "needs label_smoothing"),
        ({"loss": "bco_pair", "f_divergence": "forward_kl"}, "has no f_divergence"),
        ({"reference": ""}, "reference"),
    ],
)
def test_dpo_choices_that_trl_would_ignore_are_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        DPORecipe(model="m", reference="r").with_(**fields)


def test_dpo_has_no_default_reference():
    with pytest.raises(ValueError, match="reference"):
        DPORecipe(model="m")


def test_every_choice_of_a_stage_is_one_trl_has():
    from typing import get_args

    from trl import DPOConfig

    offered = get_args(DPORecipe.model_fields["loss"].annotation)
    text = next(f for f in DPOConfig.__dataclass_fields__.values() if f.name == "loss_type").metadata["help"]
    assert all(f"'{loss}'" in text for loss in offered)


@pytest.mark.parametrize("name", sorted(name for name in shipped("recipes") if not name.startswith("align")))
def test_shipped_recipes_are_valid(name):
    stage, _, size = name.partition("-")
    given = [] if size == "paper" and stage != "dpo" else ["model=m"]
    given += ["reference=r"] if stage == "dpo" else []
    recipe = load_recipe(find_stage(stage), name, [*given, "data=d.jsonl"])
    assert recipe.schedule == "cosine"
    if size == "paper":
        rate, batch, epochs, length = PAPER[stage]
        assert (recipe.learning_rate, recipe.batch_size, recipe.epochs, recipe.warmup_ratio) == (
            rate,
            batch,
            epochs,
            0.03,
        )
        assert length is None or recipe.max_length == length
        assert getattr(recipe, "beta", 0.1) == 0.1


def test_the_template_of_the_papers_sft_recipe_marks_the_end_token():
    from training.encode import has_generation_marks

    template = load_recipe(sft.STAGE, "sft-paper").chat_template
    assert has_generation_marks(template)
    inside = template.partition("{%- generation -%}")[2].partition("{%- endgeneration -%}")[0]
    assert "<|eot_id|>" in inside


def test_overrides():
    recipe = load_recipe(
        sft.STAGE, "sft-tiny", ["model=m", "learning_rate=3e-4", "lora.r=4", "data=[a.jsonl, b.jsonl]", "eval_steps=5"]
    )
    assert (recipe.learning_rate, recipe.lora.r, recipe.data, recipe.eval_steps) == (3e-4, 4, ("a.jsonl", "b.jsonl"), 5)
    with pytest.raises(SpecError, match="KEY=VALUE"):
        load_recipe(sft.STAGE, "sft-tiny", ["model"])
    with pytest.raises(SpecError, match="has no fields"):
        load_recipe(sft.STAGE, "sft-tiny", ["batch_size.x=1"])


def test_a_recipe_of_another_stage_is_refused():
    with pytest.raises(SpecError, match="is a recipe of the stage 'reward'"):
        load_recipe(sft.STAGE, "reward-tiny")
    with pytest.raises(UnknownNameError, match="did you mean sft-tiny"):
        load_recipe(sft.STAGE, "sft-tinny")


def test_the_batch_never_changes_with_the_number_of_devices():
    recipe = TrainingRecipe(model="m", learning_rate=1, batch_size=48)
    assert [micro_batch(recipe, n) for n in (1, 2, 3, 8, 48)] == [8, 8, 8, 6, 1]
    with pytest.raises(SpecError, match="batch_size 48 over 5 devices"):
        micro_batch(recipe, 5)
    with pytest.raises(SpecError, match="a divisor of 6"):
        micro_batch(recipe.with_(micro_batch_size=4), 8)


@pytest.mark.parametrize("name", sorted(shipped("configs")))
def test_shipped_configurations_are_ones_accelerate_reads(name):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(shipped("configs")[name]))
    kinds = {"multi_gpu": "MULTI_GPU", "multi_node": "MULTI_GPU", "fsdp": "FSDP", "cpu": "MULTI_CPU"}
    assert str(config.distributed_type).rpartition(".")[2] == kinds.get(name, "DEEPSPEED")
    if name.startswith("zero"):
        assert config.deepspeed_config["zero_stage"] == int(name[-1])
