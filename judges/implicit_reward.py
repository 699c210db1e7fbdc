"""A DPO policy and its reference as judge: ``--judge implicit_reward:DIR`` with the option ``reference``.

The reward is used as it is, in nats: the policy's beta, which decides how sure the verdict is and never which side it
takes, can be given as the option ``beta`` (1 where it is not).
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from harness.engines.rewards.scorers import sigmoid
from harness.hashing import content_hash
from harness.protocols import JudgeContext
from harness.spec import Options, validated
from judges.model_judges import Compared, preferred
from judges.reward_model import RewardModelJudge


class ImplicitRewardJudgeOptions(Options):
    """Options of the judge; all others are the engine's.

    Parameters
    ----------
    beta : float
        The policy's beta.
    """

    beta: float = Field(default=1.0, gt=0)


class ImplicitRewardJudge(RewardModelJudge):
    """Prefers the answer whose probability the policy raised most over its reference."""

    kind = "implicit_reward"

    def __init__(self, context: JudgeContext) -> None:
        options = dict(context.spec.options)
        own = {key: options.pop(key) for key in ImplicitRewardJudgeOptions.model_fields if key in options}
        self._beta = validated(ImplicitRewardJudgeOptions, own, f"options of the judge {context.spec.model}").beta
        super().__init__(context)
        self._spec = context.spec.model_copy(update={"options": options})

    def judge_id(self, form: str) -> str:
        """Hash of both models, beta and the form; errors as in `ModelJudge.judge_id`."""
        return content_hash(super().judge_id(form), self._beta)

    def describe(self) -> dict[str, Any]:
        """What run.json says of it."""
        return super().describe() | {"beta": self._beta}

    def _verdict(self, rewards: Any) -> Compared:
        compared = super()._verdict(rewards)
        if "rewards" not in compared.meta:
            return compared
        first, second = compared.meta["rewards"]
        return preferred(sigmoid(self._beta * (first - second)), compared.meta, compared.n_tokens)
