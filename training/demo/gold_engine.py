"""An engine that gives the true rating of an answer about the made-up world. ``engine: gold, model: SEED-PEOPLE``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from harness.engines.base import Fingerprint
from harness.engines.engine_options import EngineOptions
from harness.engines.lifecycle import BaseEngine
from harness.engines.rewards.scorers import Reward, RewardRequest
from training.demo.gold import CRITERIA, assess
from training.demo.questions import questions
from training.demo.world import Split, World


class GoldEngine(BaseEngine[EngineOptions]):
    """Gives the gold rating as reward; a `harness.engines.rewards.scorers.RewardEngine`.

    Parameters
    ----------
    options : EngineOptions
        `model` is the version of the world whose questions are answered.

    Raises
    ------
    UsageError
        There is no such world.
    """

    name = "gold"

    def __init__(self, options: EngineOptions) -> None:
        super().__init__(options)
        self._world = World.of_version(options.model)
        self._asked = {q.text: q for split in get_args(Split) for q in questions(self._world, split)}

    def _identify(self) -> Fingerprint:
        return Fingerprint("gold", self._world.version, "gold", options={"criteria": list(CRITERIA)})

    def rewards(self, requests: Sequence[RewardRequest]) -> Iterator[Reward]:
        """Yield a rating for each conversation's last answer; an error for other questions."""
        for request in requests:
            *_, question, answer = ["", *(message.content for message in request.messages)]
            asked = self._asked.get(question.strip())
            if asked is None:
                error = f"not a question of the made-up world: {question[:60]!r}"
                yield Reward(request.request_id, None, error=error)
            else:
                yield Reward(request.request_id, assess(asked, answer).rating)
