"""Chat messages and sampling parameters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters of one request.

    Parameters
    ----------
    temperature : float
        0 is greedy.
    top_p : float
        Nucleus probability in (0, 1]; 1 disables nucleus sampling.
    max_tokens : int
        Maximum number of new tokens.
    seed : int
        Random seed of the request (unused at temperature 0).
    stop : tuple of str
        Strings that end the generation; they are not part of the text.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int = 0
    stop: tuple[str, ...] = ()
