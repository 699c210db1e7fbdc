"""A pairwise preference model as judge: ``--judge preference_model:DIR``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.engines.rewards.preference_format import preference_context
from harness.engines.rewards.scorers import PreferenceRequest
from harness.messages import Message
from harness.protocols import JudgeTask
from judges.model_judges import Compared, ModelJudge, conversation, preferred, unread


class PreferenceModelJudge(ModelJudge):
    """Gives a preference model's probability, averaged over both orders."""

    kind = "preference_model"

    def compare(self, engine: Any, tasks: Sequence[JudgeTask]) -> list[Compared]:
        """Compare the two answers of every task."""
        requests = []
        for number, task in enumerate(tasks):
            context, answers = _shown(task)
            requests.append(PreferenceRequest(str(number), context, *answers))
        found = {comparison.request_id: comparison for comparison in engine.preferences(requests)}
        return [self._verdict(found[str(number)]) for number in range(len(tasks))]

    def _verdict(self, comparison: Any) -> Compared:
        if comparison.p_first is None:
            return unread(comparison.error, comparison.n_tokens)
        meta = {"p_as_shown": comparison.p_as_shown, "p_swapped": comparison.p_swapped}
        if comparison.truncated:
            meta["truncated"] = True
        return preferred(comparison.p_first, meta, comparison.n_tokens)


def _shown(task: JudgeTask) -> tuple[tuple[Message, ...], tuple[str, str]]:
    """Part two conversations into what they share and what they do not.

    In a second turn the first answers differ too; then the question they share is the context, and the rest of each
    conversation stands in the answer's place, laid out as the context is.
    """
    first, second = (conversation(task, response) for response in task.responses)
    if first[:-1] == second[:-1]:
        return first[:-1], (first[-1].content, second[-1].content)
    n_shared = next(i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
    return first[:n_shared], (_rest(first[n_shared:]), _rest(second[n_shared:]))


def _rest(messages: Sequence[Message]) -> str:
    return messages[0].content + preference_context(messages[1:])
