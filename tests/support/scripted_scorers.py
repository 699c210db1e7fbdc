"""Engines that score answers by a rule, for tests of what is made of the scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from harness.engines.base import (
    Fingerprint,
    Generation,
    GenerationRequest,
    LogLikelihood,
    LogLikelihoodRequest,
)
from harness.engines.rewards.scorers import PreferenceProbability, PreferenceRequest, Reward, RewardRequest

__all__ = ["RuledJudge", "RuledPreferences", "RuledRewards"]

Rule = Callable[[str], float | None]


@dataclass
class _Ruled:
    rule: Callable[..., object]
    name: str = "ruled"
    closed: bool = False
    passes: list[int] = field(default_factory=list)

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint("ruled", "memory", self.name)

    def close(self) -> None:
        self.closed = True


class RuledRewards(_Ruled):
    """Rewards an answer by its text; None is an error. The last asked is answered first."""

    def rewards(self, requests: Sequence[RewardRequest]) -> Iterator[Reward]:
        self.passes.append(len(requests))
        for request in reversed(requests):
            value = self.rule(request.messages[-1].content)
            n_tokens = sum(len(m.content) for m in request.messages)
            yield Reward(request.request_id, value, n_tokens, error="" if value is not None else "cannot be read")


class RuledPreferences(_Ruled):
    """Prefers by the log-odds a rule gives two texts, with a bias towards the first shown."""

    bias = 0.0

    def preferences(self, requests: Sequence[PreferenceRequest]) -> Iterator[PreferenceProbability]:
        self.passes.append(len(requests))
        for request in reversed(requests):
            odds = self.rule(request.first) - self.rule(request.second)
            shown = 1.0 / (1.0 + math.exp(-(odds + self.bias)))
            swapped = 1.0 / (1.0 + math.exp(-(odds - self.bias)))
            yield PreferenceProbability(request.request_id, (shown + swapped) / 2.0, shown, swapped, 10)


class RuledJudge(_Ruled):
    """Answers a prompt by a rule: a text, or None for an error."""

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        self.passes.append(len(requests))
        for request in reversed(requests):
            text = self.rule(request.messages[-1].content)
            if text is None:
                yield Generation(request.request_id, "", "error", error="out of memory")
            else:
                yield Generation(request.request_id, text, "stop", 10, 5)

    def loglikelihood(self, requests: Sequence[LogLikelihoodRequest]) -> Iterator[LogLikelihood]:
        raise NotImplementedError
