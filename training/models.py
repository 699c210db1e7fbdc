"""Load a stage's starting model and tokenizer, and identify models by their contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.engines.weights_hash import weights_hash
from harness.errors import MissingDataError, ModelError
from harness.hashing import file_sha256
from training.recipe import LoraRecipe, TrainingRecipe

PAD_TOKEN = "<|pad|>"
"""The padding token that `add_pad_token` adds."""

_TEXT_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
_LOAD_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError)


def require_extra(*trackers: str) -> None:
    """Check that the packages of the extra "train" are installed, and the trackers of a recipe.

    Raises
    ------
    MissingDataError
        A package is not installed.
    """
    absent = [name for name in trackers if find_spec(name) is None]
    if absent:
        raise MissingDataError(
            f"report_to names {' and '.join(absent)}, not installed", remedy=f"pip install {' '.join(absent)}"
        )
    missing = [name for name in ("trl", "datasets", "peft", "accelerate") if find_spec(name) is None]
    if missing:
        raise MissingDataError(
            f"training needs {' and '.join(missing)}, not installed", remedy="pip install 'assay[train]'"
        )


def model_identity(model: str) -> dict[str, str]:
    """Identify a model by its contents, wherever it is.

    Returns
    -------
    dict
        "weights" (SHA-256 over the weight files) and "files" (over configuration, tokenizer, template); for a hub id
        its name and commit.

    Raises
    ------
    ModelError
        There is no such directory, or it has no weights.
    """
    directory = Path(model)
    if directory.is_dir():
        digest = hashlib.sha256()
        for name in _TEXT_FILES:
            if (directory / name).is_file():
                digest.update(f"{name} {file_sha256(directory / name)}\n".encode())
        return {"weights": weights_hash([directory]), "files": digest.hexdigest()}
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ModelError(f"there is no directory {model}", "a model's directory, or a hub id", "check the path")
    from transformers.utils.hub import cached_file

    with loading(f"{model} is neither a local directory nor a model of the hub"):
        config = cached_file(model, "config.json")
    return {"hub": f"{model}@{Path(str(config)).parent.name}"}


def load_tokenizer(recipe: TrainingRecipe) -> Any:
    """Load a model's tokenizer with the recipe's template, eos and padding token.

    Raises
    ------
    MissingDataError
        The template file does not exist.
    ModelError
        There is no tokenizer, or it does not have the recipe's eos token.
    """
    from transformers import AutoTokenizer

    with loading(f"{recipe.model} has no tokenizer that can be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(recipe.model)
    if (template := template_text(recipe)) is not None:
        tokenizer.chat_template = template
    elif isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = tokenizer.chat_template.get("default")
    if recipe.eos_token is not None:
        if recipe.eos_token not in tokenizer.get_vocab():
            raise ModelError(f"eos_token {recipe.eos_token!r} is not a token of {recipe.model}")
        tokenizer.eos_token = recipe.eos_token
    if recipe.add_pad_token:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    tokenizer.padding_side = "right"
    return tokenizer


def template_text(recipe: TrainingRecipe) -> str | None:
    """The chat template of a recipe; None for the tokenizer's own.

    Raises
    ------
    MissingDataError
        The file does not exist.
    """
    if recipe.chat_template is None or "{%" in recipe.chat_template:
        return recipe.chat_template
    try:
        return Path(recipe.chat_template).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MissingDataError(
            f"the chat template {recipe.chat_template} cannot be read: {error}", "a Jinja file, or the template itself"
        ) from error


def load_causal(path: str, seed: int, tokenizer: Any) -> Any:
    """Load a causal language model with float32 weights; `seed` draws a row that is added for the padding token.

    Raises
    ------
    ModelError
        It cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM, set_seed

    set_seed(seed)
    with loading(f"{path} cannot be loaded as a causal language model"):
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    _add_pad_row(model, tokenizer)
    return model


def load_scalar(path: str, seed: int, tokenizer: Any) -> Any:
    """Load a model with a head that gives one number; a checkpoint without such a head gets one drawn with `seed`.

    Raises
    ------
    ModelError
        It cannot be loaded.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, set_seed
    from trl.trainer.reward_trainer import suppress_seqcls_warning

    set_seed(seed)
    with loading(f"{path} cannot be loaded with a scalar head"), suppress_seqcls_warning():
        model: Any = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32, num_labels=1)
    _add_pad_row(model, tokenizer)
    return model


def _add_pad_row(model: Any, tokenizer: Any) -> None:
    """Add an embedding row for a new padding token, and set the padding token in the configuration."""
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer))
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    generation = getattr(model, "generation_config", None)
    if generation is not None:
        generation.pad_token_id = tokenizer.pad_token_id


def check_same_tokens(policy: str, reference: str) -> None:
    """Check that two models have the same token ids.

    Raises
    ------
    ModelError
        Their tokenizers differ.
    """
    if policy == reference:
        return
    from transformers import AutoTokenizer

    with loading("a tokenizer cannot be loaded"):
        first, second = (AutoTokenizer.from_pretrained(path).get_vocab() for path in (policy, reference))
    differ = {token for token in first.keys() & second.keys() if first[token] != second[token]}
    if differ or not second.keys() <= first.keys():
        raise ModelError(
            f"{policy} and the reference {reference} have different tokenizers",
            "a policy that was trained from the reference",
            "use the model that the policy was trained from as reference",
        )


def lora_config(lora: LoraRecipe | None, task: str, keep: Sequence[str] = ()) -> Any:
    """Make peft's configuration, None for full training; `task` is "CAUSAL_LM" or "SEQ_CLS".

    `keep` names modules that are trained in full.
    """
    if lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules),
        task_type=task,
        modules_to_save=list(keep) or None,
    )


def merge_adapter(base: Any, adapter: Path) -> Any:
    """Add a saved adapter's update to a base model's weights."""
    from peft import PeftModel

    return PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()


@contextmanager
def loading(found: str) -> Iterator[None]:
    """Whatever transformers raises says what was found, in one line."""
    try:
        yield
    except _LOAD_ERRORS as error:
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(f"{found}: {first}", "a model's directory, or a hub id", "check the path") from error
