"""A Bradley-Terry reward model: a scalar head that learns to score the chosen answer above the rejected one.

    recipe = load_recipe(STAGE, "reward.yaml")
    result = train(recipe, Path("runs/reward"), data=pairs, held_out=more_pairs)
    result.held_out["accuracy"]["value"], result.problems

The loss of a pair with rewards r is -log sigmoid(r_chosen - r_rejected), plus `center_rewards_coefficient` *
(r_chosen + r_rejected)^2, which fixes the level that differences leave open.

Paper            Dong et al., "RLHF Workflow", arXiv 2405.07863, section 2.1: one epoch, 2e-6, cosine, warm-up 0.03,
                 batch 512
Trainer          TRL's RewardTrainer

The reward is read at the end of the answer, so a conversation longer than `max_length` loses its beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from training.checks import ItemReport, checked_rows
from training.data.records import PreferencePair
from training.encode import Encoder
from training.inputs import Data, pair_inputs
from training.loop import Finding, Prepared, Stage, run_stage
from training.models import load_scalar, lora_config
from training.recipe import TrainingRecipe
from training.scoring import accuracy, logits_of
from training.sft import as_dataset
from training.stage import StageEntry, StageResult
from training.trainer_args import common_arguments

_CONSTANT = 1e-6
"""Spread of rewards (largest minus smallest) below which they count as constant."""


class RewardRecipe(TrainingRecipe):
    """The fields of `reward` besides those of all stages.

    Parameters
    ----------
    center_rewards_coefficient : float
        Weight of the term that centres rewards at zero; 0 for plain Bradley-Terry.
    """

    learning_rate: float = Field(default=2e-6, gt=0)
    batch_size: int = Field(default=512, ge=1)
    center_rewards_coefficient: float = Field(default=0.0, ge=0)


def train(
    recipe: RewardRecipe, out: Path, *, data: Data[PreferencePair] = None, held_out: Data[PreferencePair] = None
) -> StageResult:
    """Train a reward model on preference pairs.

    Parameters
    ----------
    recipe : RewardRecipe
        The recipe.
    out : Path
        The stage's directory: a finished stage in it is read, an unfinished one resumed.
    data, held_out : sequence of PreferencePair, files or hub ids, optional
        Instead of the recipe's.

    Returns
    -------
    StageResult
        `model` loads with AutoModelForSequenceClassification, one label. ``held_out["accuracy"]`` has the held-out
        accuracy in percent with its interval. `problems` says so if every held-out answer has the same reward.

    Raises
    ------
    AssayError
        As :func:`training.loop.run_stage`.
    """
    inputs = pair_inputs(recipe, data, held_out)

    def prepare(directory: Path, n_processes: int) -> Prepared:
        from trl.trainer.reward_config import RewardConfig
        from trl.trainer.reward_trainer import RewardTrainer

        rows = checked_rows(recipe, inputs, encode_pairs, own_pad=True)
        arguments = RewardConfig(
            **common_arguments(recipe, directory, n_processes, held_out=bool(rows.held_out)),
            center_rewards_coefficient=recipe.center_rewards_coefficient or None,
        )
        base = partial(load_scalar, recipe.model, recipe.seed, rows.tokenizer)
        trainer = RewardTrainer(
            model=base(),
            args=arguments,
            train_dataset=as_dataset(rows.train).remove_columns("prompt"),
            eval_dataset=as_dataset(rows.held_out).remove_columns("prompt") if rows.held_out else None,
            processing_class=rows.tokenizer,
            peft_config=lora_config(recipe.lora, "SEQ_CLS", keep=("score",)),
        )
        measured = rows.held_out or rows.train
        return Prepared(trainer, rows.tokenizer, rows.reports, base, lambda t: examine(t, measured, recipe))

    return run_stage(Stage("reward", recipe, inputs, prepare), out)


def encode_pairs(
    encoder: Encoder, pairs: Sequence[PreferencePair], recipe: TrainingRecipe
) -> tuple[list[dict[str, Any]], ItemReport]:
    """Encode pairs as two conversations each; those longer than `max_length` lose their beginning.

    Returns
    -------
    rows : list of dict
        "chosen_ids", "rejected_ids", and "prompt", the prompt's key.
    report : ItemReport
        What was truncated; a pair whose sides are equal then is dropped.
    """
    report, rows = ItemReport(n_given=len(pairs)), []
    encoded = encoder.pairs([p.prompt for p in pairs], [(p.chosen, p.rejected) for p in pairs])
    for pair, tokens in zip(pairs, encoded, strict=True):
        sides = [tokens.prompt_ids + tokens.chosen_ids, tokens.prompt_ids + tokens.rejected_ids]
        report.truncated += any(len(side) > recipe.max_length for side in sides)
        chosen, rejected = (side[-recipe.max_length :] for side in sides)
        if chosen == rejected:
            report.dropped["both sides equal within max_length"] += 1
            continue
        report.n_tokens += len(chosen) + len(rejected)
        rows.append({"chosen_ids": chosen, "rejected_ids": rejected, "prompt": pair.key})
    return rows, report


def examine(trainer: Any, rows: Sequence[dict[str, Any]], recipe: TrainingRecipe) -> Finding:
    """Score the held-out pairs, or the training pairs if none are held out."""
    sides = ([row[side] for row in rows] for side in ("chosen_ids", "rejected_ids"))
    chosen, rejected = ([float(x) for x in logits_of(trainer, side, recipe.eval_batch_size)] for side in sides)
    finding = Finding()
    spread = max(chosen + rejected) - min(chosen + rejected)
    if spread < _CONSTANT:
        finding.problems.append(
            f"the reward is the same for all {2 * len(rows)} answers (spread {spread:.1e}): every pair is tied. The "
            "model has learnt nothing: raise learning_rate or epochs, and check the padding and eos tokens"
        )
    margins = [a - b for a, b in zip(chosen, rejected, strict=True)]
    finding.held_out["accuracy"] = accuracy(margins, [row["prompt"] for row in rows])
    finding.held_out["reward_spread"] = spread
    return finding


STAGE = StageEntry("reward", "train a Bradley-Terry reward model on preference pairs", RewardRecipe, train)
