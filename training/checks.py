"""Checks before training starts: template, end and padding tokens, lengths, truncation.

Records are validated when they are made (`training.data.records`): equal sides, empty turns, roles out of order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import DataError, ModelError, NoChatTemplateError, SpecError
from harness.messages import Message
from training.encode import IGNORED, Encoder
from training.inputs import Inputs
from training.models import load_tokenizer
from training.recipe import TrainingRecipe

_PROBE = "qzqz"


@dataclass
class ItemReport:
    """What became of a stage's records.

    Parameters
    ----------
    n_given : int
        Records read, before anything was left out.
    dropped : counter
        Records left out, by reason.
    truncated : int
        Records truncated to `max_length`.
    n_tokens : int
        Tokens of all records used, after truncation.
    """

    n_given: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    truncated: int = 0
    n_tokens: int = 0

    @property
    def n_used(self) -> int:
        """Records used."""
        return self.n_given - sum(self.dropped.values())

    def left_out(self, reasons: Mapping[str, int]) -> None:
        """Add records left out before encoding."""
        self.dropped.update(reasons)
        self.n_given += sum(reasons.values())

    def as_json(self) -> dict[str, Any]:
        """The counts as stage.json has them."""
        return {
            "n_given": self.n_given,
            "n_used": self.n_used,
            "dropped": dict(sorted(self.dropped.items())),
            "truncated": self.truncated,
            "n_tokens": self.n_tokens,
        }


@dataclass(frozen=True)
class Rows:
    """The encoded records of a stage.

    Parameters
    ----------
    encoder : Encoder
        The encoder; it holds the tokenizer.
    train, held_out : list
        One row a record, as the stage's `encode` made them.
    reports : dict of str to ItemReport
        What became of the records, "train" and "held_out".
    """

    encoder: Encoder
    train: list[Any]
    held_out: list[Any]
    reports: dict[str, ItemReport]

    @property
    def tokenizer(self) -> Any:
        """The stage's tokenizer."""
        return self.encoder.tokenizer


def checked_rows(
    recipe: TrainingRecipe,
    inputs: Inputs[Any],
    encode: Callable[[Encoder, Sequence[Any], Any], tuple[list[Any], ItemReport]],
    *,
    own_pad: bool = False,
    answers: bool = True,
) -> Rows:
    """Load a stage's tokenizer, encode its records, and check both.

    Parameters
    ----------
    recipe : TrainingRecipe
        The stage's recipe.
    inputs : Inputs
        Its records.
    encode : callable
        ``encode(encoder, records, recipe)`` returns a row a record, and the report.
    own_pad : bool
        Whether the padding token must differ from the end of an answer.
    answers : bool
        Whether the model learns to write answers, so that the template must end them with a token that is learnt.

    Raises
    ------
    AssayError
        As :func:`check_length`, :func:`check_pad`, :func:`check_template`, :func:`check_end_of_answer` and
        :func:`refuse_truncation`.
    """
    check_length(recipe.model, recipe.max_length)
    tokenizer = load_tokenizer(recipe)
    check_pad(tokenizer, needs_own=own_pad)
    encoder = check_template(tokenizer, recipe)
    if answers:
        check_end_of_answer(encoder, recipe.model)
    train, report = encode(encoder, inputs.train, recipe)
    report.left_out(inputs.left_out)
    refuse_truncation(report, recipe)
    held_out, held_report = encode(encoder, inputs.held_out, recipe)
    return Rows(encoder, train, held_out, {"train": report, "held_out": held_report})


def check_template(tokenizer: Any, recipe: TrainingRecipe) -> Encoder:
    """Check that there is a chat template and make the encoder for it.

    Raises
    ------
    NoChatTemplateError
        There is none.
    """
    if not tokenizer.chat_template:
        raise NoChatTemplateError(
            f"the tokenizer of {recipe.model} has no chat template",
            "a template that writes every turn and ends the assistant's with the eos token",
            "give a Jinja file as chat_template",
        )
    return Encoder(tokenizer)


def check_end_of_answer(encoder: Encoder, model: str) -> None:
    """Check that the template ends an answer with a token that stops generation, and that the loss includes it.

    Raises
    ------
    ModelError
        The template writes no such token, or the loss excludes it.
    """
    tokenizer = encoder.tokenizer
    probe = [Message("user", _PROBE), Message("assistant", _PROBE)]
    encoded = encoder.conversations([probe])[0]
    stops = _stop_ids(tokenizer, model)
    # Only a token after the answer's last character ends the answer.
    tail = _tail(encoder, probe, encoded.input_ids)
    if not any(i in stops for i in encoded.input_ids[tail:]):
        wrote = tokenizer.decode(encoded.input_ids[tail:])
        special = [t for t in tokenizer.all_special_tokens if t and wrote.lstrip().startswith(t)]
        raise ModelError(
            f"the chat template ends an answer with {wrote!r}, which is not the token that stops generation "
            f"({tokenizer.eos_token!r}); the model would never learn to stop",
            "a template whose assistant turn ends with {{ eos_token }}",
            f"set eos_token: {special[0]!r}" if special else "add {{ eos_token }} to the template, inside the marks",
        )
    if not any(i in stops and encoded.labels[place] != IGNORED for place, i in enumerate(encoded.input_ids)):
        raise ModelError(
            "the chat template writes the end token outside its {% generation %} marks, so the loss excludes it and "
            "the model would not learn to stop",
            remedy="move {% endgeneration %} behind the end token",
        )


def _stop_ids(tokenizer: Any, model: str) -> set[int]:
    """The tokenizer's eos token and those of the checkpoint's generation configuration."""
    from transformers import GenerationConfig

    stops = {tokenizer.eos_token_id}
    try:
        declared = GenerationConfig.from_pretrained(model).eos_token_id
    except (OSError, ValueError, TypeError):
        declared = None
    stops.update(declared if isinstance(declared, list) else [declared])
    return {i for i in stops if i is not None}


def _tail(encoder: Encoder, probe: Sequence[Message], ids: Sequence[int]) -> int:
    """The position of the first token after the answer itself."""
    text = encoder.render(probe, prompt=False)
    end = text.rindex(_PROBE) + len(_PROBE)
    encoded = encoder.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    if list(encoded["input_ids"]) != list(ids):
        raise ModelError("the tokenizer encodes a rendered conversation in two ways", remedy="repair its template")
    return sum(stop <= end for _, stop in encoded["offset_mapping"])


def check_pad(tokenizer: Any, *, needs_own: bool) -> None:
    """Check the padding token.

    A loss over labels ignores padding by position, so eos can pad, and does where there is no padding token. A scalar
    head reads the last token that is not padding. If eos pads, it reads the token before the end, which is the same for
    every answer that ends in a full stop.

    Raises
    ------
    ModelError
        There is no suitable padding token.
    """
    advice = "set add_pad_token: true (adds one, and an embedding row for it), or pad_token in the tokenizer"
    if tokenizer.eos_token is None:
        raise ModelError("the tokenizer has no eos token", remedy="set eos_token to one of its tokens")
    if not needs_own:
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return
    if tokenizer.pad_token is None:
        raise ModelError("the tokenizer has no padding token, and a scalar head needs one", remedy=advice)
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ModelError(
            f"the padding token is the eos token ({tokenizer.eos_token!r}): a scalar head reads the last token that is "
            "not padding, and would not see where the answer ends",
            "a separate padding token",
            advice,
        )


def check_packing(model: Any, n_tokens: int) -> None:
    """Check that texts packed into one block are independent, and that the model can read a batch of blocks.

    The model reads two probe texts alone and packed, and its output for the second must not change. It changes in
    architectures without positions or with a state (Mamba). TRL concatenates the blocks of a batch, and some
    architectures (GPT-Neo) cannot read more tokens than they have positions.

    Parameters
    ----------
    model : transformers model
    n_tokens : int
        Tokens of the largest batch.

    Raises
    ------
    ModelError
        The output changes.
    """
    import torch

    text = model.config.get_text_config()
    ids = torch.arange(12, device=model.device).remainder(int(text.vocab_size)).unsqueeze(0)
    positions = torch.cat([torch.arange(5), torch.arange(7)]).unsqueeze(0).to(model.device)
    # A model with a mask of fixed size, (1, 1, N, N), cannot read more than N tokens.
    fixed = {b.shape[-1] for b in model.buffers() if b.dim() == 4 and b.shape[-1] == b.shape[-2]}
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            packed = model(input_ids=ids, position_ids=positions, use_cache=False).logits[:, 5:]
            alone = model(input_ids=ids[:, 5:], use_cache=False).logits
            if fixed and n_tokens > min(fixed):
                longer = torch.arange(min(fixed) + 1, device=model.device).remainder(5).unsqueeze(0)
                model(input_ids=longer, position_ids=longer, use_cache=False)
        apart = float((packed - alone).abs().max())
        leaks = apart > 1e-3 * max(1.0, float(alone.abs().max()))
    except (TypeError, RuntimeError, IndexError):
        leaks = True
    finally:
        model.train(training)
    if leaks:
        raise ModelError(
            f"{type(model).__name__} cannot separate texts that are packed into one sequence",
            "a model that separates them by their positions",
            "set packing: false",
        )


def check_length(model: str, max_length: int) -> None:
    """Check that the model has positions for `max_length` tokens.

    Raises
    ------
    SpecError
        It has fewer.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model).get_text_config()
    known = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if known is not None and max_length > known:
        raise SpecError(f"max_length {max_length}", f"at most the {known} positions of {Path(model).name}")


def refuse_truncation(report: ItemReport, recipe: TrainingRecipe) -> None:
    """Refuse to train when too many records would be truncated.

    Raises
    ------
    DataError
        More would be than the recipe allows.
    """
    share = report.truncated / max(1, report.n_given)
    if share > recipe.max_truncated_share:
        raise DataError(
            f"{report.truncated} of {report.n_given} records ({share:.0%}) are longer than max_length "
            f"{recipe.max_length} and would be truncated",
            f"at most {recipe.max_truncated_share:.0%} (max_truncated_share)",
            "raise max_length, remove the long records, or raise max_truncated_share",
        )
