"""The prompts of an iteration: drawn without replacement over the whole loop, and never validation prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from harness.errors import DataError
from training.data.records import PromptItem


def iteration_prompts(prompts: Sequence[PromptItem], iteration: int, m: int, seed: int) -> list[PromptItem]:
    """Draw an iteration's prompts.

    Parameters
    ----------
    prompts : sequence of PromptItem
        All prompts; repeated ones count once.
    iteration : int
        From 1.
    m : int
        Prompts per iteration.
    seed : int
        Seed of the order of all prompts, which is the same for all iterations.

    Returns
    -------
    list of PromptItem
        The iteration's m prompts in that order; no prompt is in two iterations.

    Raises
    ------
    DataError
        There are too few prompts.
    """
    distinct = list({prompt.key: prompt for prompt in prompts}.values())
    needed = iteration * m
    if len(distinct) < needed:
        raise DataError(
            f"{len(distinct)} distinct prompts; iteration {iteration} of {m} prompts each needs {needed}, because "
            "prompts are drawn without replacement over the whole loop",
            remedy="give more prompts, or lower sampling.prompts_per_iteration or iterations",
        )
    ordered = sorted(distinct, key=lambda prompt: prompt.key)  # the order of the files must not matter
    order = np.random.default_rng([seed, 20240513]).permutation(len(ordered))
    return [ordered[i] for i in order[(iteration - 1) * m : iteration * m]]


def shard(items: Sequence[PromptItem], worker: int, n_workers: int) -> list[PromptItem]:
    """A worker's share: every n-th item."""
    return list(items[worker::n_workers])


def refuse_shared_prompts(training: Iterable[PromptItem], measured: Iterable[PromptItem], what: str) -> None:
    """Refuse training prompts that are among the prompts of a measurement.

    Raises
    ------
    DataError
        Some are; the message shows the first.
    """
    known = {prompt.key for prompt in measured}
    shared = [prompt for prompt in training if prompt.key in known]
    if shared:
        first = " ".join(shared[0].messages[-1].content.split())[:80]
        raise DataError(
            f"{len(shared)} training prompts are among the {what} prompts, for example {first!r}",
            "prompts that are not trained on",
            "remove them from sampling.prompts",
        )
