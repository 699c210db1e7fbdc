"""The protocols of engines that score answers: reward models and preference models.

They are loaded once for a checkpoint, and are used as judges, for RewardBench, and to rank samples between training
iterations. A score does not depend on the other requests in its batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from harness.engines.base import LoadedEngine
from harness.messages import Message


@dataclass(frozen=True, slots=True)
class RewardRequest:
    """A conversation whose last message, the assistant's, is to be scored."""

    request_id: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Reward:
    """The reward of a conversation.

    Parameters
    ----------
    request_id : str
        As in the request.
    value : float or None
        The reward, in the model's own unit: differences are log-odds under Bradley-Terry. None on error.
    n_tokens : int
        Tokens the model read.
    truncated : bool
        Whether the start of the conversation was cut to fit the model; the answer's end is always kept.
    error : str
        Why there is no value.
    """

    request_id: str
    value: float | None
    n_tokens: int = 0
    truncated: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class PreferenceRequest:
    """Two answers to the same conversation; `messages` ends with the user's turn."""

    request_id: str
    messages: tuple[Message, ...]
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class PreferenceProbability:
    """The probability that the first answer is better.

    Parameters
    ----------
    request_id : str
        As in the request.
    p_first : float or None
        Mean over both orders of p_A / (p_A + p_B); None on error.
    p_as_shown, p_swapped : float or None
        The probability of `first` when it is shown first, and when it is shown second.
    n_tokens : int
        Tokens the model read, both orders together.
    truncated : bool
        Whether a start had to be cut to fit the model.
    error : str
        Why there is no value.
    """

    request_id: str
    p_first: float | None
    p_as_shown: float | None = None
    p_swapped: float | None = None
    n_tokens: int = 0
    truncated: bool = False
    error: str = ""


@runtime_checkable
class RewardEngine(LoadedEngine, Protocol):
    """An engine that rates every answer on its own: a Bradley-Terry model, an implicit reward."""

    def rewards(self, requests: Sequence[RewardRequest]) -> Iterator[Reward]:
        """Yield one reward per request, in the order they complete."""
        ...


@runtime_checkable
class PreferenceEngine(LoadedEngine, Protocol):
    """An engine that compares two answers and cannot rate one."""

    def preferences(self, requests: Sequence[PreferenceRequest]) -> Iterator[PreferenceProbability]:
        """Yield one probability per request, in the order they complete."""
        ...


def sigmoid(x: float) -> float:
    """Turn a difference of rewards, or of log-probabilities, into a probability, without overflow."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0.0 else math.exp(x) / (1.0 + math.exp(x))
