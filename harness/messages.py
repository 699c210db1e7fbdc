"""What is said to a model, and how its answer is decoded."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Message", "Sampling"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode.

    Parameters
    ----------
    temperature : float
        0 is greedy.
    top_p : float
        Nucleus mass in (0, 1]; 1 keeps everything.
    max_tokens : int
        Limit on new tokens.
    seed : int
        Seed of the request's own random stream (unused at temperature 0).
    stop : tuple of str
        Strings that end the generation; they are not part of its text.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int = 0
    stop: tuple[str, ...] = ()
