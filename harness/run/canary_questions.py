"""The canaries of a run: which questions are asked of its judge besides its own, and what the verdicts come to.

They stand in ``canaries.jsonl``, apart from the run's judgments, so that no figure is made of them. Eight prompts a
benchmark are enough to catch a judge that follows the form and not the answers, and few beside the run's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.hashing import content_hash
from harness.protocols import JudgeTask
from harness.records import Judgment, Prompt, Response
from harness.run.canaries import (
    NULL_RESPONSE,
    CanaryFinding,
    null_rating,
    null_response,
    order_contradictions,
    self_comparison,
)
from harness.run.plan import PlannedBenchmark

__all__ = ["CanaryQuestion", "canary_findings", "canary_questions"]

_NULL_MODEL = "null response"


@dataclass(frozen=True, slots=True)
class CanaryQuestion:
    """One question and the check it belongs to."""

    check: str
    task: JudgeTask


def canary_questions(
    planned: PlannedBenchmark, answer_to: Callable[[str], Response | None], n_prompts: int
) -> list[CanaryQuestion]:
    """Choose what to ask about a benchmark.

    Parameters
    ----------
    planned : PlannedBenchmark
        Its prompts and baseline answers.
    answer_to : callable
        From a prompt's id to the candidate's answer, None where there is none.
    n_prompts : int
        How many prompts each check takes.

    Returns
    -------
    list of CanaryQuestion
        The null response against the baseline (or rated), the baseline against itself, and, where the benchmark shows
        each pair in one order only, the candidate's pairs in the other order.
    """
    if not planned.benchmark.judge_forms:
        return []
    ordered = sorted(planned.prompts, key=lambda prompt: content_hash("canary", prompt.id))
    questions: list[CanaryQuestion] = []
    for index, prompt in enumerate(ordered[:n_prompts]):
        baseline = planned.baselines.get(prompt.id)
        questions += _of_task("null", index, planned, (prompt, _null(prompt), baseline))
        if baseline is not None and baseline.ok:
            twin = baseline.model_copy(update={"role": "candidate", "id": f"{baseline.id}:twin"})
            questions += _of_task("self_comparison", index, planned, (prompt, twin, baseline))
    answered = [(prompt, answer) for prompt in ordered if (answer := answer_to(prompt.id)) is not None and answer.ok]
    for prompt, answer in answered[:n_prompts]:
        questions += _other_orders(_tasks(planned, (prompt, answer, planned.baselines.get(prompt.id))))
    return questions


def _other_orders(tasks: list[JudgeTask]) -> list[CanaryQuestion]:
    """The pairs of an answer in the order the benchmark does not show."""
    shown = {(task.turn, tuple(r.id for r in task.responses)) for task in tasks}
    found = []
    for task in tasks:
        swapped = tuple(reversed(task.responses))
        if len(swapped) == 2 and (task.turn, tuple(r.id for r in swapped)) not in shown:
            other = JudgeTask(task.prompt, task.form, swapped, task.turn, game=2)
            found.append(CanaryQuestion("order_contradictions", other))
    return found


def _null(prompt: Prompt) -> Response:
    return Response(
        prompt_id=prompt.id,
        benchmark=prompt.benchmark,
        model=_NULL_MODEL,
        model_id="canary",
        turns=(NULL_RESPONSE,) * len(prompt.turns),
    )


def _tasks(planned: PlannedBenchmark, asked: tuple[Prompt, Response, Response | None]) -> list[JudgeTask]:
    return planned.benchmark.tasks(*asked)


def _of_task(
    check: str, index: int, planned: PlannedBenchmark, asked: tuple[Prompt, Response, Response | None]
) -> list[CanaryQuestion]:
    """One question a prompt, the orders of presentation in turn; verdicts on one prompt are no independent evidence."""
    tasks = [task for task in _tasks(planned, asked) if task.turn == 1]
    if not tasks:
        return []
    task = tasks[index % len(tasks)]
    if check == "null":
        check = "null_rating" if len(task.responses) == 1 else "null_response"
    return [CanaryQuestion(check, task)]


def canary_findings(
    benchmark: str,
    canaries: Iterable[Judgment],
    judgments: Iterable[Judgment],
    answer_ids: Mapping[str, str],
) -> list[CanaryFinding]:
    """Say what the canaries of a benchmark found.

    Parameters
    ----------
    benchmark : str
        Which benchmark.
    canaries : iterable of Judgment
        Verdicts on canary questions; ``meta["canary"]`` names the check.
    judgments : iterable of Judgment
        The run's own verdicts: a benchmark that judges both orders brings the pairs itself.
    answer_ids : mapping of str to str
        The ids of the candidate's answers by prompt: verdicts on replaced answers do not count.

    Returns
    -------
    list of CanaryFinding
        One a check that had something to go by.
    """
    by_check: dict[str, list[Judgment]] = defaultdict(list)
    for j in canaries:
        # Equal outputs are a tie by the form's own rule: nothing was asked.
        if j.benchmark == benchmark and not j.meta.get("equal_outputs"):
            by_check[j.meta["canary"]].append(j)
    own = (j for j in judgments if j.benchmark == benchmark)
    pairs = _pairs([*own, *by_check["order_contradictions"]], answer_ids)
    found = []
    if nulls := by_check["null_response"]:
        found.append(null_response(nulls))
    if rated := by_check["null_rating"]:
        found.append(null_rating(j.verdict for j in rated))
    if twins := by_check["self_comparison"]:
        found.append(self_comparison(j.verdict for j in twins))
    if pairs:
        found.append(order_contradictions(pairs))
    return [finding for finding in found if finding is not None]


def _pairs(judgments: Iterable[Judgment], answer_ids: Mapping[str, str]) -> list[tuple[Judgment, Judgment]]:
    """Put the two orders of the same comparison together."""
    orders: dict[Any, dict[tuple[str, ...], Judgment]] = defaultdict(dict)
    for j in judgments:
        if len(j.response_ids) == 2 and answer_ids.get(j.prompt_id) in j.response_ids:
            orders[j.judge_id, j.prompt_id, j.turn, frozenset(j.response_ids)][j.order] = j
    return [(shown[0], shown[1]) for found in orders.values() if len(shown := list(found.values())) == 2]
