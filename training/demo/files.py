"""The demo's data files: demonstrations, preference pairs, prompts.

Their contents depend only on the settings.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.store.jsonl import write_atomically
from training.demo.answers import COMPARED, DEMONSTRATIONS, write_answer
from training.demo.gold import assess
from training.demo.questions import Question, questions
from training.demo.settings import DemoSettings
from training.demo.world import Split, World

_TWO_TURNS = 0.2
_HELD_OUT_PAIRS = 0.2


class DemoFiles:
    """Paths of the files.

    Parameters
    ----------
    folder : Path
        Their directory.

    Attributes
    ----------
    demonstrations : Path
        Conversations for SFT.
    pairs : Path
        Preference pairs for the reward model.
    held_out_pairs : Path
        Pairs about validation questions, for the reward model's held-out accuracy.
    prompts : Path
        Prompts to sample answers to.
    validation : Path
        Prompts for validation, used neither in training nor in a benchmark.
    """

    def __init__(self, folder: Path) -> None:
        self.demonstrations = folder / "demonstrations.jsonl"
        self.pairs = folder / "pairs.jsonl"
        self.held_out_pairs = folder / "pairs_held_out.jsonl"
        self.prompts = folder / "prompts.jsonl"
        self.validation = folder / "validation.jsonl"


def write_files(settings: DemoSettings, folder: Path) -> DemoFiles:
    """Write all files.

    Parameters
    ----------
    settings : DemoSettings
        World and sizes.
    folder : Path
        Output directory.
    """
    world, files = settings.world, DemoFiles(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_lines(files.demonstrations, _demonstrations(settings))
    _write_lines(files.pairs, _pairs(settings, "train", settings.reward.n_records))
    n_held_out = round(_HELD_OUT_PAIRS * settings.reward.n_records)
    _write_lines(files.held_out_pairs, _pairs(settings, "validation", n_held_out))
    _write_lines(files.prompts, _prompts(world, "train"))
    _write_lines(files.validation, _prompts(world, "validation"))
    return files


def _demonstrations(settings: DemoSettings) -> Iterable[dict[str, Any]]:
    rng = settings.world.rng("demonstrations")
    choose = _Chooser(settings, "train", rng)
    for _ in range(settings.sft.n_records):
        messages: list[dict[str, str]] = []
        for _ in range(1 + (rng.random() < _TWO_TURNS)):
            question = choose()
            messages += [_user(question), _assistant(write_answer(question, DEMONSTRATIONS, rng))]
        yield {"messages": messages}


def _pairs(settings: DemoSettings, split: Split, n: int) -> Iterable[dict[str, Any]]:
    """Compare two answers to each question, as an annotator whose errors increase as the answers get closer."""
    rng = settings.world.rng(f"pairs {split}")
    choose = _Chooser(settings, split, rng)
    written = 0
    while written < n:
        question = choose()
        first, second = (write_answer(question, COMPARED, rng) for _ in range(2))
        if first == second:
            continue
        ahead = assess(question, first).rating - assess(question, second).rating
        if rng.random() >= 1.0 / (1.0 + math.exp(-ahead / settings.label_noise)):
            first, second = second, first
        written += 1
        yield {"prompt": [_user(question)], "chosen": [_assistant(first)], "rejected": [_assistant(second)]}


def _prompts(world: World, split: Split) -> Iterable[dict[str, Any]]:
    return ({"prompt": [_user(question)]} for question in questions(world, split))


class _Chooser:
    """Draws questions with the shares of kinds in the settings."""

    def __init__(self, settings: DemoSettings, split: Split, rng: random.Random) -> None:
        self._rng = rng
        self._by_kind: dict[str, list[Question]] = {}
        for question in questions(settings.world, split):
            self._by_kind.setdefault(question.kind, []).append(question)
        self._kinds = [kind for kind, _ in settings.asked]
        self._shares = [share for _, share in settings.asked]

    def __call__(self) -> Question:
        (kind,) = self._rng.choices(self._kinds, self._shares)
        return self._rng.choice(self._by_kind[kind])


def _user(question: Question) -> dict[str, str]:
    return {"role": "user", "content": question.text}


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]] | Sequence[Mapping[str, Any]]) -> None:
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
