"""Does the reward follow the length? Correlations within prompts, and by how well the prompts are answered."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.errors import StatisticsError
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean


@dataclass(frozen=True, slots=True)
class RewardLengthBand:
    """Prompts of similar mean reward.

    Parameters
    ----------
    low, high : float
        Range of the prompts' mean rewards.
    n_prompts : int
        Prompts in it.
    pearson : float or None
        Mean of their correlations; None where none of them has a spread in both reward and length.
    """

    low: float
    high: float
    n_prompts: int
    pearson: float | None


def prompt_correlations(
    reward: npt.ArrayLike, length: npt.ArrayLike, prompts: Sequence[Hashable]
) -> dict[Hashable, tuple[float, float | None]]:
    """Pearson correlation of reward and length among the answers to each prompt.

    Parameters
    ----------
    reward, length : array_like, shape (n,)
        Of each answer.
    prompts : sequence, length n
        Whose answer it is.

    Returns
    -------
    dict
        Prompt to its mean reward and its correlation; None where all its rewards or all its lengths are equal.

    Raises
    ------
    StatisticsError
        Lengths that differ, no answers, or a value that is not finite.
    """
    rewards, lengths = np.asarray(reward, dtype=float), np.asarray(length, dtype=float)
    if rewards.shape != lengths.shape or rewards.ndim != 1 or len(prompts) != len(rewards) or not len(rewards):
        raise StatisticsError("rewards, lengths and prompts do not go together", "one of each for every answer")
    if not (np.all(np.isfinite(rewards)) and np.all(np.isfinite(lengths))):
        raise StatisticsError("a reward or length is not finite", "finite numbers")
    places: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        places.setdefault(prompt, []).append(index)
    return {p: (float(rewards[own].mean()), _pearson(rewards[own], lengths[own])) for p, own in places.items()}


def reward_length_pearson(
    reward: npt.ArrayLike, length: npt.ArrayLike, prompts: Sequence[Hashable], level: float = 0.95
) -> Estimate:
    """Mean over prompts of the correlation of reward and length (the paper's measure of a verbose reward model).

    Parameters
    ----------
    reward, length, prompts
        As in :func:`prompt_correlations`.
    level : float
        Nominal coverage.

    Returns
    -------
    Estimate
        Prompts without a correlation are left out and not counted in `n`.

    Raises
    ------
    StatisticsError
        No prompt has a correlation, or as in :func:`prompt_correlations`.

    References
    ----------
    Dong et al. (2024), RLHF Workflow, arXiv:2405.07863, Figure 3.
    """
    found = [r for _, r in prompt_correlations(reward, length, prompts).values() if r is not None]
    if not found:
        raise StatisticsError(
            "no prompt has answers that differ in both reward and length", "two answers or more a prompt"
        )
    return cluster_mean(found, range(len(found)), level, bounds=(-1.0, 1.0))


def reward_length_bands(
    reward: npt.ArrayLike, length: npt.ArrayLike, prompts: Sequence[Hashable], n_bands: int = 8
) -> list[RewardLengthBand]:
    """Group prompts by their mean reward, and average the correlations in each group.

    Parameters
    ----------
    reward, length, prompts
        As in :func:`prompt_correlations`.
    n_bands : int
        Groups of (nearly) equal numbers of prompts.

    Returns
    -------
    list of RewardLengthBand
        From the lowest mean reward up; fewer than `n_bands` where there are fewer prompts.

    References
    ----------
    Dong et al. (2024), arXiv:2405.07863, Figure 3.
    """
    found = sorted(prompt_correlations(reward, length, prompts).values(), key=lambda pair: pair[0])
    bands = []
    for part in np.array_split(np.arange(len(found)), min(n_bands, len(found))):
        own = [found[i] for i in part]
        with_spread = [r for _, r in own if r is not None]
        mean = float(np.mean(with_spread)) if with_spread else None
        bands.append(RewardLengthBand(own[0][0], own[-1][0], len(own), mean))
    return bands


def _pearson(rewards: npt.NDArray[np.float64], lengths: npt.NDArray[np.float64]) -> float | None:
    a, b = rewards - rewards.mean(), lengths - lengths.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    if len(a) < 2 or np.ptp(rewards) == 0.0 or np.ptp(lengths) == 0.0 or scale == 0.0:
        return None
    return float(np.clip((a @ b) / scale, -1.0, 1.0))
