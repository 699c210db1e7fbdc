"""A Bradley-Terry reward model as judge: ``--judge reward_model:DIR``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.engines.rewards.scorers import RewardRequest, sigmoid
from harness.protocols import JudgeTask
from judges.model_judges import Compared, ModelJudge, conversation, preferred, unread


class RewardModelJudge(ModelJudge):
    """Prefers the answer of the higher reward, with the probability Bradley and Terry give it."""

    kind = "reward_model"

    def compare(self, engine: Any, tasks: Sequence[JudgeTask]) -> list[Compared]:
        """Score both answers of every task."""
        requests = [
            RewardRequest(f"{number}:{side}", conversation(task, response))
            for number, task in enumerate(tasks)
            for side, response in enumerate(task.responses)
        ]
        found = {reward.request_id: reward for reward in engine.rewards(requests)}
        return [self._verdict([found[f"{number}:{side}"] for side in (0, 1)]) for number in range(len(tasks))]

    def _verdict(self, rewards: Sequence[Any]) -> Compared:
        n_tokens = sum(reward.n_tokens for reward in rewards)
        for reward in rewards:
            if reward.value is None:
                return unread(reward.error, n_tokens)
        meta: dict[str, Any] = {"rewards": [reward.value for reward in rewards]}
        if any(reward.truncated for reward in rewards):
            meta["truncated"] = [reward.truncated for reward in rewards]
        return preferred(sigmoid(rewards[0].value - rewards[1].value), meta, n_tokens)
