"""The truth as an engine: rates any answer to a question of the made-up world. ``engine: gold, model: SEED-PEOPLE``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, get_args

from harness.engines.base import Fingerprint
from harness.engines.rewards.scorers import Reward, RewardRequest
from harness.errors import SpecError
from training.demo.gold import CRITERIA, assess
from training.demo.questions import questions
from training.demo.world import Split, World

__all__ = ["GoldEngine"]


class GoldEngine:
    """Gives the gold rating as reward; a `harness.engines.rewards.scorers.RewardEngine`.

    Parameters
    ----------
    world : World
        Whose questions are answered.
    name : str
        For tables.
    """

    def __init__(self, world: World, name: str = "gold") -> None:
        self._label = name
        self._world = world
        self._asked = {q.text: q for split in get_args(Split) for q in questions(world, split)}

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> Self:
        """Build the engine from plain values: `model`, which is the world's version, and `name`.

        Raises
        ------
        SpecError
            There is another option.
        UsageError
            There is no such world.
        """
        unknown = sorted(set(values) - {"model", "name"})
        if unknown:
            raise SpecError(f"the gold engine has no option {', '.join(unknown)}", "model, name")
        return cls(World.of_version(values.get("model")), "gold")

    @property
    def name(self) -> str:
        """Name of the kind of engine."""
        return "gold"

    @property
    def fingerprint(self) -> Fingerprint:
        """The world and the criteria."""
        return Fingerprint(self._label, self._world.version, "gold", options={"criteria": list(CRITERIA)})

    def rewards(self, requests: Sequence[RewardRequest]) -> Iterator[Reward]:
        """Yield a rating for each conversation's last answer; an error for a question of elsewhere."""
        for request in requests:
            *_, question, answer = ["", *(message.content for message in request.messages)]
            asked = self._asked.get(question.strip())
            if asked is None:
                error = f"no question of the made-up world: {question[:60]!r}"
                yield Reward(request.request_id, None, error=error)
            else:
                yield Reward(request.request_id, assess(asked, answer).rating)

    def close(self) -> None:
        """Nothing is held."""
