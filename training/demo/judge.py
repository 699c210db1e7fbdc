"""The gold judge, which knows the made-up world, so that its verdicts are true. ``--judge gold:world``."""

from __future__ import annotations

from typing import Any

from harness.hashing import content_hash
from harness.protocols import JudgeContext, JudgeTask
from harness.records import Judgment, Preference, Rating, Verdict
from harness.registry import judge_form
from training.demo.gold import CRITERIA, HIGHEST, LOWEST, assess
from training.demo.prompts import question_of

_DECISIVE = 4.0
"""Difference in points that makes an answer significantly better in the five-way form."""
_VERSION = 1


class GoldJudge:
    """Compares and rates answers to questions of the made-up world; a `harness.protocols.Judge`.

    It supports the forms of the language-model judges.

    Parameters
    ----------
    context : JudgeContext
        The spec; no data and no endpoint are needed.
    """

    def __init__(self, context: JudgeContext) -> None:
        self._spec = context.spec

    @property
    def name(self) -> str:
        """Name for tables."""
        return "gold"

    def judge_id(self, form: str) -> str:
        """Hash of form and criteria.

        Raises
        ------
        UnknownNameError
            There is no such form.
        """
        judge_form(form)
        return content_hash("gold judge", form, CRITERIA, _DECISIVE, _VERSION)

    def describe(self) -> dict[str, Any]:
        """What run.json says of it."""
        return {"model": self._spec.model, "criteria": CRITERIA}

    async def prepare(self) -> None:
        """Nothing is loaded."""

    async def judge(self, task: JudgeTask, *, fresh: bool = False) -> Judgment:
        """Give a verdict.

        Raises
        ------
        DataError
            The prompt is not about the made-up world.
        """
        del fresh  # the verdict is computed anew each time
        verdict, raw = _verdict(task)
        return task.judgment(
            self.name,
            self.judge_id(task.form),
            verdict,
            raw=raw,
            cost=0.0,
        )

    async def close(self) -> None:
        """Nothing is held."""


def _verdict(task: JudgeTask) -> tuple[Verdict, str]:
    question = question_of(task.prompt, task.turn)
    found = [assess(question, response.turns[task.turn - 1]) for response in task.responses]
    raw = " | ".join(assessment.reason for assessment in found)
    asked_for = judge_form(task.form).verdict
    if asked_for == "rating":
        return Rating(value=found[0].rating, low=LOWEST, high=HIGHEST), raw
    ahead = found[0].rating - found[1].rating
    p_first = 1.0 if ahead > 0 else 0.0 if ahead < 0 else 0.5
    return Preference(p_first=p_first, label=_label(ahead) if asked_for == "five_way" else ""), raw


def _label(ahead: float) -> str:
    if ahead == 0.0:
        return "A=B"
    mark = ">>" if abs(ahead) >= _DECISIVE else ">"
    return f"A{mark}B" if ahead > 0.0 else f"B{mark}A"
