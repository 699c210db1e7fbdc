"""Checks of a reward model before it scores anything: its head and its pad token.

A reward model that pads with its end-of-sequence token, or has no pad token, may be read at another token than in
training, or at the same token for every answer (RLHFlow/RLHF-Reward-Modeling issue 49: all rewards equal).
"""

from __future__ import annotations

from typing import Any

from harness.engines.rewards.scorer_options import RewardModelOptions
from harness.errors import ModelError

_GENERATORS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


def check_classifier_config(config: Any, name: str, has_adapter: bool) -> None:
    """Refuse, before its weights are read, a checkpoint that cannot be a Bradley-Terry reward model.

    Parameters
    ----------
    config : transformers config
        Of the checkpoint.
    name : str
        The model, for messages.
    has_adapter : bool
        Whether an adapter brings the head: its base may be a plain language model.

    Raises
    ------
    ModelError
        It is a language model, or its head has another number of outputs than one.
    """
    architectures = list(getattr(config, "architectures", None) or ())
    classifier = any("SequenceClassification" in a or "Reward" in a for a in architectures)
    if not classifier and any(a.endswith(_GENERATORS) for a in architectures):
        if has_adapter:
            return
        raise ModelError(
            f"{name} is a language model ({architectures[0]}), not a reward model",
            "a sequence classifier with one output, as `assay train reward` or TRL's RewardTrainer writes",
            "use --engine implicit_reward for a DPO policy, --engine preference_model for an A/B model, or "
            "--engine hf to ask it as a judge",
        )
    if config.num_labels != 1:
        labels = ", ".join(str(label) for label in list(config.id2label.values())[:4])
        raise ModelError(
            f"{name} has {config.num_labels} labels ({labels}); a reward model gives one number",
            "num_labels = 1 in config.json and a head with one output",
            "give a Bradley-Terry reward model, or train one; a classifier of several labels has no reward",
        )


def pad_token_id(config: Any, tokenizer: Any) -> int | None:
    """Find the pad token: the model's, which its own pooling uses, else the tokenizer's."""
    declared = getattr(config.get_text_config(decoder=True), "pad_token_id", None)
    found = declared if declared is not None else tokenizer.pad_token_id
    return None if found is None else int(found)


def check_padding(config: Any, tokenizer: Any, options: RewardModelOptions) -> None:
    """Refuse a model whose rewards would be read at a token that depends on how it was padded in training.

    Raises
    ------
    ModelError
        The pad token is missing or the end-of-sequence token, and the options do not say where to read.
    """
    if options.pooling != "auto":
        return
    pad = pad_token_id(config, tokenizer)
    name = options.display_name
    allowed = "a pad token of its own, which no text contains"
    remedy = (
        "train with a pad token of its own (config.pad_token_id and the tokenizer's), or say where the model was "
        "trained to give its reward: pooling=last_token, or pooling=last_non_pad as transformers' classifiers do"
    )
    if pad is None:
        raise ModelError(f"{name} has no pad token, so it is not known where its reward is to be read", allowed, remedy)
    declared = getattr(config.get_text_config(decoder=True), "eos_token_id", None)
    ends = {tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])} - {None}
    if pad in ends:
        raise ModelError(
            f"{name} pads with its end-of-sequence token ({tokenizer.convert_ids_to_tokens(pad)!r}, id {pad}): the end "
            "of an answer looks like padding, and rewards may collapse to one value",
            allowed,
            remedy,
        )
