"""A pairwise preference model: a language model that reads two answers and says "A" or "B".

    recipe = load_recipe(STAGE, "preference.yaml")
    result = train(recipe, Path("runs/preference"), data=pairs, held_out=more_pairs)
    result.held_out["accuracy"]["value"]       # p_A / (p_A + p_B), averaged over both orders

Training and inference use the format of `harness.engines.rewards.preference_format`. The order of the answers is drawn
for every pair with the recipe's seed. The loss is that of the single token A or B.

Paper            Dong et al., "RLHF Workflow", arXiv 2405.07863, section 2.1: one epoch, 5e-6, cosine, warm-up 0.03,
                 batch 128, blocks of 3072 tokens
Trainer          TRL's SFTTrainer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from scipy.special import expit

from harness.engines.rewards.preference_format import LABELS, preference_messages
from harness.errors import ModelError
from harness.messages import Message
from training.checks import ItemReport, checked_rows
from training.data.records import PreferencePair
from training.encode import IGNORED, Encoder
from training.inputs import Data, pair_inputs
from training.loop import Finding, Prepared, Stage, run_stage
from training.recipe import TrainingRecipe
from training.scoring import accuracy, logits_of
from training.sft import SFTRecipe, prepared
from training.stage import StageEntry, StageResult

_CONSTANT = 1e-6
"""Spread of log odds (largest minus smallest) below which they count as constant."""


class PreferenceRecipe(SFTRecipe):
    """The fields of `preference` besides those of all stages.

    Parameters
    ----------
    packing : bool
        Put several pairs into one block of `max_length` tokens; `batch_size` then counts blocks.
    """

    learning_rate: float = Field(default=5e-6, gt=0)
    batch_size: int = Field(default=128, ge=1)
    max_length: int = Field(default=3072, ge=8)


@dataclass(frozen=True, slots=True)
class Question:
    """A pair as the model reads it.

    Parameters
    ----------
    ids : list of int, length n
        The prompt, up to the answer A or B.
    labels : tuple of int
        The tokens of A and of B.
    first_better : bool
        Whether the answer shown first is the chosen one.
    prompt : str
        The prompt's key.
    """

    ids: list[int]
    labels: tuple[int, int]
    first_better: bool
    prompt: str


def train(
    recipe: PreferenceRecipe, out: Path, *, data: Data[PreferencePair] = None, held_out: Data[PreferencePair] = None
) -> StageResult:
    """Train a preference model on preference pairs.

    Parameters
    ----------
    recipe : PreferenceRecipe
        The recipe.
    out : Path
        The stage's directory: a finished stage in it is read, an unfinished one resumed.
    data, held_out : sequence of PreferencePair, files or hub ids, optional
        Instead of the recipe's.

    Returns
    -------
    StageResult
        `model` is a causal language model with a chat template. ``held_out["accuracy"]`` has the held-out accuracy
        in percent, averaged over both orders, with its interval.

    Raises
    ------
    AssayError
        As :func:`training.loop.run_stage`.
    """
    inputs = pair_inputs(recipe, data, held_out)

    def prepare(directory: Path, n_processes: int) -> Prepared:
        rows = checked_rows(recipe, inputs, encode_questions, answers=False)
        train, held_out = ([training_row(question) for question in own] for own in (rows.train, rows.held_out))
        found = prepared(recipe, replace(rows, train=train, held_out=held_out), directory, n_processes)
        both = both_orders(rows.encoder, inputs.held_out, recipe)
        return replace(found, examine=lambda t: examine(t, both, recipe))

    return run_stage(Stage("preference", recipe, inputs, prepare), out)


def training_row(question: Question) -> dict[str, list[int]]:
    """Append the correct label to a question; only that token has a loss."""
    answer = question.labels[0 if question.first_better else 1]
    return {"input_ids": [*question.ids, answer], "labels": [IGNORED] * len(question.ids) + [answer]}


def encode_questions(
    encoder: Encoder, pairs: Sequence[PreferencePair], recipe: TrainingRecipe
) -> tuple[list[Question], ItemReport]:
    """Encode each pair in an order drawn with the recipe's seed; prompts that are too long lose their beginning.

    Pairs with several turns on a side are dropped and counted, because the format has one answer a side.
    """
    report, usable = ItemReport(n_given=len(pairs)), [p for p in pairs if p.is_single_turn]
    if len(usable) < len(pairs):
        report.dropped["several turns on a side"] += len(pairs) - len(usable)
    chosen_first = np.random.default_rng([recipe.seed, len(usable)]).random(len(usable)) < 0.5
    found = []
    for question, cut in ask(encoder, usable, [bool(x) for x in chosen_first], recipe.max_length):
        report.truncated += cut
        report.n_tokens += len(question.ids) + 1
        found.append(question)
    return found, report


def both_orders(encoder: Encoder, pairs: Sequence[PreferencePair], recipe: TrainingRecipe) -> list[Question]:
    """Encode each pair twice: chosen first, then chosen second."""
    usable = [p for p in pairs if p.is_single_turn for _ in range(2)]
    orders = [place % 2 == 0 for place in range(len(usable))]
    return [question for question, _ in ask(encoder, usable, orders, recipe.max_length)]


def ask(
    encoder: Encoder, pairs: Sequence[PreferencePair], chosen_first: Sequence[bool], max_length: int
) -> list[tuple[Question, bool]]:
    """Encode pairs in given orders; each question comes with whether it was truncated.

    Raises
    ------
    ModelError
        A and B do not differ in exactly one token.
    """
    prompts: list[Sequence[Message]] = []
    for pair, first in zip(pairs, chosen_first, strict=True):
        shown = (pair.chosen, pair.rejected) if first else (pair.rejected, pair.chosen)
        prompts.append(preference_messages(pair.prompt, shown[0][0].content, shown[1][0].content))
    sides = [(Message("assistant", LABELS[0]),), (Message("assistant", LABELS[1]),)]
    found = []
    encoded = encoder.pairs(prompts, [(sides[0], sides[1])] * len(prompts))
    for tokens, pair, first in zip(encoded, pairs, chosen_first, strict=True):
        a, b = tokens.chosen_ids, tokens.rejected_ids
        if not a or not b or a[0] == b[0] or a[1:] != b[1:]:
            decode = encoder.tokenizer.decode
            raise ModelError(
                f"A and B do not differ in one token: the template writes {decode(a)!r} and {decode(b)!r}",
                "an answer that is one token",
                "use another tokenizer or chat template",
            )
        room = max_length - 1
        question = Question(tokens.prompt_ids[-room:], (a[0], b[0]), first, pair.key)
        found.append((question, len(tokens.prompt_ids) > room))
    return found


def examine(trainer: Any, questions: Sequence[Question], recipe: TrainingRecipe) -> Finding:
    """Compute the accuracy of the probability averaged over both orders; each pair has two adjacent questions."""
    if not questions:
        return Finding()
    odds = log_odds(trainer, questions, recipe.eval_batch_size)
    first = [float(p) for p in expit(np.array(odds))]
    chosen = [(first[i] + 1.0 - first[i + 1]) / 2.0 for i in range(0, len(first), 2)]
    finding = Finding({"accuracy": accuracy([p - 0.5 for p in chosen], [q.prompt for q in questions[::2]])})
    finding.held_out["p_first_mean"] = float(np.mean(first))
    if max(odds) - min(odds) < _CONSTANT:
        finding.problems.append(
            f"the preference is the same for all {len(odds)} questions: the model has learnt nothing. Raise "
            "learning_rate or epochs"
        )
    return finding


def log_odds(trainer: Any, questions: Sequence[Question], batch: int) -> list[float]:
    """Compute log p_A - log p_B of each question."""
    found = []
    for question, logits in zip(questions, logits_of(trainer, [q.ids for q in questions], batch), strict=True):
        a, b = logits[len(question.ids) - 1, list(question.labels)]
        found.append(float(a - b))
    return found


STAGE = StageEntry(
    "preference", "train a pairwise preference model (A or B) on preference pairs", PreferenceRecipe, train
)
