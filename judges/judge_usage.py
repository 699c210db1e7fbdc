"""What one judgment took, over all its requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from harness.endpoint.exchange import ChatReply

Number = TypeVar("Number", int, float)


@dataclass
class JudgeUsage:
    """Tokens, money and replies of one judgment; counts are None once any part is not known."""

    n_prompt_tokens: int | None = 0
    n_completion_tokens: int | None = 0
    n_reasoning_tokens: int | None = None
    cost: float | None = 0.0
    n_requests: int = 0
    n_cached: int = 0
    request_hash: str = ""
    served_by: str = ""
    replies: list[tuple[str, ChatReply]] = field(default_factory=list)
    """Replies that were paid for, by the keys of their requests."""
    reasonings: list[str] = field(default_factory=list)
    batch_keys: list[str] = field(default_factory=list)
    """Requests that went into a batch."""

    def add(self, reply: ChatReply, cost: float | None) -> None:
        """Count one reply."""
        self.n_prompt_tokens = _sum(self.n_prompt_tokens, reply.n_prompt_tokens)
        self.n_completion_tokens = _sum(self.n_completion_tokens, reply.n_completion_tokens)
        if self.n_prompt_tokens is None or self.n_completion_tokens is None:
            self.n_prompt_tokens = self.n_completion_tokens = None
        if reply.n_reasoning_tokens is not None:
            self.n_reasoning_tokens = (self.n_reasoning_tokens or 0) + reply.n_reasoning_tokens
        if reply.reasoning:
            self.reasonings.append(reply.reasoning)
        self.cost = _sum(self.cost, cost)
        self.served_by = reply.model

    @property
    def all_cached(self) -> bool:
        """Whether every reply came from the cache."""
        return 0 < self.n_cached == self.n_requests

    def notes(self, model: str) -> dict[str, Any]:
        """Return what a judgment's `meta` says of it: the model that answered, the judge's reasoning and its tokens."""
        notes: dict[str, Any] = {}
        if self.served_by and self.served_by != model:
            notes["served_by"] = self.served_by
        if self.reasonings:
            notes["reasoning"] = "\n\n".join(self.reasonings)
        if self.n_reasoning_tokens:
            notes["n_reasoning_tokens"] = self.n_reasoning_tokens
        return notes


def _sum(total: Number | None, more: Number | None) -> Number | None:
    return None if total is None or more is None else total + more
