"""Supervised fine-tuning on conversations: packed blocks, loss on the assistant's tokens.

    recipe = load_recipe(STAGE, "sft.yaml")
    result = train(recipe, Path("runs/sft"))                          # data from the recipe
    result = train(recipe, Path("runs/sft"), data=conversations)      # or records of training.data
    result.model, result.held_out["after"]["eval_loss"]

Paper            Dong et al., "RLHF Workflow", arXiv 2405.07863, section 3.1: one epoch, 2e-5, cosine, warm-up 0.03,
                 batch 32, blocks of 8192 tokens
Trainer          TRL's SFTTrainer; packing is its best-fit-decreasing, so no conversation is split and none sees
                 another's tokens

`training.encode` finds the assistant's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from training.checks import ItemReport, Rows, check_packing, checked_rows
from training.data.records import Conversation
from training.encode import IGNORED, Encoder
from training.inputs import Data, conversation_inputs
from training.loop import Prepared, Stage, run_stage
from training.models import load_causal, lora_config
from training.recipe import TrainingRecipe
from training.stage import StageEntry, StageResult
from training.trainer_args import common_arguments


class SFTRecipe(TrainingRecipe):
    """The fields of `sft` besides those of all stages.

    Parameters
    ----------
    packing : bool
        Put several conversations into one block of `max_length` tokens; `batch_size` then counts blocks.
    """

    learning_rate: float = Field(default=2e-5, gt=0)
    packing: bool = True


def train(
    recipe: SFTRecipe, out: Path, *, data: Data[Conversation] = None, held_out: Data[Conversation] = None
) -> StageResult:
    """Fine-tune a model on conversations.

    Parameters
    ----------
    recipe : SFTRecipe
        The recipe.
    out : Path
        The stage's directory: a finished stage in it is read, an unfinished one resumed.
    data, held_out : sequence of Conversation, files or hub ids, optional
        Instead of the recipe's.

    Returns
    -------
    StageResult
        `model` is a plain transformers directory.

    Raises
    ------
    AssayError
        As :func:`training.loop.run_stage`.
    """
    inputs = conversation_inputs(recipe, data, held_out)

    def prepare(directory: Path, n_processes: int) -> Prepared:
        return prepared(recipe, checked_rows(recipe, inputs, encode_conversations), directory, n_processes)

    return run_stage(Stage("sft", recipe, inputs, prepare), out)


def prepared(recipe: SFTRecipe, rows: Rows, directory: Path, n_processes: int) -> Prepared:
    """Make TRL's SFT trainer for encoded rows, packed where the recipe says so."""
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    arguments = SFTConfig(
        **common_arguments(recipe, directory, n_processes, held_out=bool(rows.held_out)), packing=recipe.packing
    )
    base = partial(load_causal, recipe.model, recipe.seed, rows.tokenizer)
    model = base()
    if recipe.packing:  # TRL concatenates the packed blocks of a batch
        most = max(arguments.per_device_train_batch_size, arguments.per_device_eval_batch_size)
        check_packing(model, recipe.max_length * int(most))
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=as_dataset(rows.train),
        eval_dataset=as_dataset(rows.held_out),
        processing_class=rows.tokenizer,
        peft_config=lora_config(recipe.lora, "CAUSAL_LM"),
    )
    return Prepared(trainer, rows.tokenizer, rows.reports, base)


def encode_conversations(
    encoder: Encoder, conversations: Sequence[Conversation], recipe: TrainingRecipe
) -> tuple[list[dict[str, list[int]]], ItemReport]:
    """Encode conversations; those longer than `max_length` lose their end.

    Returns
    -------
    rows : list of dict
        "input_ids" and "labels".
    report : ItemReport
        What was truncated; a conversation without a token of an answer left is dropped.
    """
    report, rows = ItemReport(n_given=len(conversations)), []
    for encoded in encoder.conversations([c.messages for c in conversations]):
        ids, labels = encoded.input_ids[: recipe.max_length], encoded.labels[: recipe.max_length]
        report.truncated += len(encoded.input_ids) > recipe.max_length
        # The first label of a block is not predicted, hence labels[1:].
        if all(label == IGNORED for label in labels[1:]):
            report.dropped["nothing of an answer within max_length"] += 1
            continue
        report.n_tokens += len(ids)
        rows.append({"input_ids": ids, "labels": labels})
    return rows, report


def as_dataset(rows: Sequence[dict[str, Any]]) -> Any:
    """The rows as TRL's trainers take them; None if there are none."""
    from datasets import Dataset

    return Dataset.from_list(list(rows)) if rows else None


STAGE = StageEntry("sft", "fine-tune on conversations", SFTRecipe, train)
