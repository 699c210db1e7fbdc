"""Arena-Hard verdicts of several models against one baseline, added up by prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.arena_hard.five_way import win_rate
from benchmarks.arena_hard.style import VerdictTable

LENGTH = ("tokens",)
MARKDOWN = ("headers", "lists", "bold")

_A_SCORE = {"A>>B": (1.0, 3), "A>B": (1.0, 1), "A=B": (0.5, 1), "B>A": (0.0, 1), "B>>A": (0.0, 3)}


@dataclass(frozen=True)
class Battle:
    """A model against the baseline on a prompt: in the first game the baseline is A, in the second the model is."""

    model: str
    prompt: object
    games: tuple[str | None, str | None]


@dataclass(frozen=True)
class Tabulated(VerdictTable):
    """A verdict table with its prompts, and rows won, tied and lost (M, 3), a decisive verdict being three rows."""

    prompts: tuple[object, ...] = ()
    outcomes: np.ndarray = None


def tabulate(battles) -> Tabulated:
    models = tuple(dict.fromkeys(b.model for b in battles))
    prompts = tuple(dict.fromkeys(b.prompt for b in battles))
    row_of, column_of = {m: i for i, m in enumerate(models)}, {p: i for i, p in enumerate(prompts)}
    won, weight = np.zeros((2, len(models), len(prompts)))
    outcomes = np.zeros((len(models), 3), dtype=np.int64)
    for battle in battles:
        row, column = row_of[battle.model], column_of[battle.prompt]
        for label, model_is_a in zip(battle.games, (False, True), strict=True):
            if label is not None:
                score, rows = _A_SCORE[label]
                score = score if model_is_a else 1.0 - score
                won[row, column] += rows * score
                weight[row, column] += rows
                outcomes[row, round(2 * (1.0 - score))] += rows
    return Tabulated(models, won, weight, prompts, outcomes)


def win_rates(table):
    """Every model's win rate; n counts prompts."""
    found = {}
    for model, won, weight in zip(table.models, table.won, table.weight, strict=True):
        judged = np.flatnonzero(weight)
        found[model] = win_rate(won[judged] / weight[judged], weight[judged], judged.tolist())
    return found


def resampled_win_rates(table, rng, n_rounds):
    """Win rates (n_rounds, M) on resampled prompts, the same ones for all models."""
    n = len(table.prompts)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_rounds)
    return 100 * (counts @ table.won.T) / (counts @ table.weight.T)
