"""What is refused before training: templates, end and padding tokens, packing, lengths; and what is said then."""

from __future__ import annotations

import pytest

from harness.errors import DataError, MissingDataError, ModelError, NoChatTemplateError, SpecError
from tests.support.random_models import build, byte_tokenizer
from tests.support.tiny_training import MARKED, PLAIN, common, conversations, pairs, save_model
from training import reward, sft
from training.checks import check_packing
from training.models import require_extra


def refused(error, match, stage, tmp_path, template=MARKED, tokens=None, **changes):
    """Train, expect the error, and that nothing was trained before it came."""
    model = save_model(tmp_path / "model", template, **(tokens or {}))
    module, recipe, records = {
        "sft": (sft, sft.SFTRecipe, conversations()),
        "reward": (reward, reward.RewardRecipe, pairs()),
    }[stage]
    with pytest.raises(error, match=match) as raised:
        module.train(recipe(**common(model, **changes)), tmp_path / "out", data=records)
    assert not (tmp_path / "out" / "metrics.jsonl").exists()
    return str(raised.value)


def test_no_template(tmp_path):
    said = refused(NoChatTemplateError, "has no chat template", "sft", tmp_path, template=None)
    assert "give a Jinja file as chat_template" in said


@pytest.mark.parametrize("template", [MARKED, PLAIN])
def test_a_template_without_an_end(template, tmp_path):
    refused(ModelError, "would never learn to stop", "sft", tmp_path, template=template.replace("<eos>", ""))


def test_an_end_that_is_not_eos_names_the_remedy(tmp_path):
    turn_end = PLAIN.replace("<eos>", "<end>")
    assert "set eos_token: '<end>'" in refused(ModelError, "'<end>', which is not", "sft", tmp_path, template=turn_end)
    sft.train(
        sft.SFTRecipe(**common(str(tmp_path / "model"), max_steps=1, eos_token="<end>")),
        tmp_path / "works",
        data=conversations(),
    )
    from transformers import AutoTokenizer

    assert AutoTokenizer.from_pretrained(tmp_path / "works" / "model").eos_token == "<end>"


def test_an_end_outside_the_marks(tmp_path):
    outside = MARKED.replace("<eos>{% endgeneration %}", "{% endgeneration %}<eos>")
    refused(ModelError, r"outside its \{% generation %\} marks", "sft", tmp_path, template=outside)


def test_an_unknown_eos(tmp_path):
    refused(ModelError, "not a token of", "sft", tmp_path, eos_token="<nothing>")


@pytest.mark.parametrize("tokens", [{"pad_token": None}, {"pad_token": "<eos>"}])
def test_a_scalar_head_needs_a_pad_of_its_own(tokens, tmp_path):
    said = refused(ModelError, "padding token", "reward", tmp_path, tokens=tokens)
    assert "add_pad_token: true" in said
    result = reward.train(
        reward.RewardRecipe(**common(str(tmp_path / "model"), max_steps=1, add_pad_token=True)),
        tmp_path / "works",
        data=pairs(),
    )
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(result.model)
    trained = AutoModelForSequenceClassification.from_pretrained(result.model)
    assert tokenizer.pad_token == "<|pad|>"
    assert trained.config.pad_token_id == tokenizer.pad_token_id == 260
    assert trained.get_input_embeddings().weight.shape[0] == 261


def test_sft_pads_with_eos_where_there_is_no_pad(tmp_path):
    model = save_model(tmp_path / "model", pad_token=None)
    sft.train(sft.SFTRecipe(**common(model, max_steps=1, packing=False)), tmp_path / "out", data=conversations())


def test_too_much_cut_off(tmp_path):
    said = refused(DataError, r"24 of 24 records \(100%\) are longer", "sft", tmp_path, max_length=10)
    assert "raise max_length" in said


def test_more_tokens_than_positions(tmp_path):
    refused(SpecError, "max_length 97", "sft", tmp_path, max_length=97)


def test_nothing_to_learn_from(tmp_path):
    model = save_model(tmp_path / "model")
    with pytest.raises(SpecError, match="no training data"):
        sft.train(sft.SFTRecipe(**common(model)), tmp_path / "out")
    with pytest.raises(ModelError, match="there is no directory"):
        sft.train(sft.SFTRecipe(**common(str(tmp_path / "nowhere"))), tmp_path / "out", data=conversations())


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "gemma3"])
def test_packing_where_texts_stay_apart(architecture):
    check_packing(build(architecture), 64)


def test_packing_where_they_do_not():
    with pytest.raises(ModelError, match="set packing: false"):
        check_packing(build("mamba"), 64)
    gpt_neo = build("gpt_neo")  # its mask ends behind 96 tokens, and the blocks of a batch lie end to end
    check_packing(gpt_neo, 96)
    with pytest.raises(ModelError, match="set packing: false"):
        check_packing(gpt_neo, 8 * 96)


def test_a_constant_reward_is_a_problem(tmp_path):
    """A head that stays at zero: every pair is tied, which is neither right nor half right."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = save_model(tmp_path / "model")
    constant = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    torch.nn.init.zeros_(constant.score.weight)
    constant.save_pretrained(tmp_path / "constant")
    byte_tokenizer(MARKED).save_pretrained(tmp_path / "constant")
    recipe = reward.RewardRecipe(**common(str(tmp_path / "constant"), max_steps=1, learning_rate=1e-12))
    result = reward.train(recipe, tmp_path / "out", data=pairs(), held_out=pairs(36)[24:])
    assert len(result.problems) == 1
    assert "the same for all 24 answers" in result.problems[0]
    assert result.held_out["accuracy"]["n_tied"] == 12
    assert result.held_out["accuracy"]["value"] == 0.0


def test_a_missing_extra(monkeypatch):
    import training.models

    monkeypatch.setattr(training.models, "find_spec", lambda name: None if name == "trl" else object())
    with pytest.raises(MissingDataError, match=r"(?s)training needs trl, not.*pip install 'assay\[train\]'"):
        require_extra()


def test_a_tracker_that_is_not_there(tmp_path, monkeypatch):
    import training.models

    monkeypatch.setattr(training.models, "find_spec", lambda name: None if name == "wandb" else object())
    refused(MissingDataError, "report_to names wandb, not installed", "sft", tmp_path, report_to="wandb")
