"""Select preference pairs from ranked answers, and count what is dropped by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from harness.store.align_directory import Sample
from training.align.recipe import SelectionName
from training.align.sampling import prompt_of
from training.data.records import BadItem, PreferencePair


@dataclass(frozen=True, slots=True)
class Ranked:
    """An answer with its reward; None if the ranker gave none."""

    sample: Sample
    reward: float | None


@dataclass(frozen=True, slots=True)
class SelectionSpec:
    """How pairs are selected.

    Parameters
    ----------
    name : str
        "best-worst", "best-random", "best-second", or "margin" (all pairs that differ by at least `min_margin`).
    min_margin : float
        Pairs whose (penalised) rewards differ by less are dropped.
    length_penalty : float
        lambda of r - lambda |a|, |a| in characters (RLHF Workflow, arXiv 2405.07863, equation 9).
    seed : int
        Seed of the random choice of "best-random".
    """

    name: SelectionName = "best-worst"
    min_margin: float = 0.0
    length_penalty: float = 0.0
    seed: int = 0


@dataclass
class Selection:
    """The selected pairs.

    Parameters
    ----------
    pairs : list of PreferencePair
        The pairs; their scores are the penalised rewards.
    n_prompts : int
        Number of prompts.
    dropped : counter
        Dropped prompts (for "margin": pairs) and unusable answers, by reason.
    """

    pairs: list[PreferencePair] = field(default_factory=list)
    n_prompts: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def select_pairs(by_prompt: Sequence[Sequence[Ranked]], spec: SelectionSpec) -> Selection:
    """Select the pairs of each prompt.

    Parameters
    ----------
    by_prompt : sequence of sequences of Ranked
        The answers to each prompt.
    spec : SelectionSpec
        How pairs are selected.

    Returns
    -------
    Selection
        Failed and empty answers, and answers without a reward, are left out and counted. Pairs with the same text or
        equal rewards are dropped and counted.
    """
    found = Selection(n_prompts=len(by_prompt))
    choose = _CHOICES[spec.name]
    for answers in by_prompt:
        scored = _scored(answers, spec.length_penalty, found.dropped)
        if len(scored) < 2:
            found.dropped["fewer than two answers with a reward"] += 1
            continue
        for better, worse in choose(scored, spec):
            reason = _useless(better, worse, spec.min_margin)
            if reason:
                found.dropped[reason] += 1
                continue
            texts = (better.sample.response, worse.sample.response)
            try:
                found.pairs.append(
                    PreferencePair.of(prompt_of(better.sample), *texts, "align", (better.reward, worse.reward))
                )
            except BadItem as error:
                found.dropped[error.reason] += 1
    return found


@dataclass(frozen=True, slots=True)
class _Scored(Ranked):
    """An answer with its penalised reward."""

    reward: float


Chosen = list[tuple[_Scored, _Scored]]


def _scored(answers: Sequence[Ranked], penalty: float, dropped: Counter[str]) -> list[_Scored]:
    """Sort the usable answers, best first; answers with equal rewards by their numbers."""
    scored = []
    for answer in answers:
        if answer.sample.finish == "error":
            dropped["answers that failed"] += 1
        elif not answer.sample.response.strip():
            dropped["empty answers"] += 1
        elif answer.reward is None:
            dropped["answers without a reward"] += 1
        else:
            scored.append(_Scored(answer.sample, answer.reward - penalty * len(answer.sample.response)))
    return sorted(scored, key=lambda s: (-s.reward, s.sample.sample))


def _useless(better: _Scored, worse: _Scored, min_margin: float) -> str:
    if better.sample.response.strip() == worse.sample.response.strip():
        return "the same answer on both sides"
    if better.reward <= worse.reward:
        return "equal rewards"
    if better.reward - worse.reward < min_margin:
        return "margin too small"
    return ""


def _best_random(scored: list[_Scored], spec: SelectionSpec) -> Chosen:
    # Each prompt has its own stream, so that other prompts do not change the choice.
    stream = np.random.default_rng([spec.seed, int(scored[0].sample.prompt_key[:12], 16)])
    return [(scored[0], scored[1 + int(stream.integers(len(scored) - 1))])]


def _best_second(scored: list[_Scored], spec: SelectionSpec) -> Chosen:
    best = scored[0]
    other = next((s for s in scored[1:] if s.sample.response.strip() != best.sample.response.strip()), scored[1])
    return [(best, other)]


_CHOICES: dict[SelectionName, Callable[[list[_Scored], SelectionSpec], Chosen]] = {
    "best-worst": lambda scored, spec: [(scored[0], scored[-1])],
    "best-random": _best_random,
    "best-second": _best_second,
    "margin": lambda scored, spec: list(combinations(scored, 2)),
}
