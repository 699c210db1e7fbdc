"""The canaries of a run: the extra questions to its judge, and the evaluation of the verdicts.

Their verdicts are stored in ``canaries.jsonl``, separate from the run's judgments, so they enter no figure. Eight
prompts per benchmark suffice to detect a judge that ignores the answers, at a small cost relative to the run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.hashing import content_hash
from harness.protocols import JudgeTask
from harness.records import Judgment, Prompt, Response, Verdict
from harness.run.canaries import (
    NULL_RESPONSE,
    CanaryFinding,
    null_rating,
    null_response,
    order_contradictions,
    planted_response,
    self_comparison,
)
from harness.run.plan import PlannedBenchmark
from harness.run.several_judges import of_cheap_judge, of_strong_judge

_NULL_MODEL = "null response"


@dataclass(frozen=True, slots=True)
class CanaryQuestion:
    """One question and the check it belongs to."""

    check: str
    task: JudgeTask


def canary_questions(
    planned: PlannedBenchmark, answer_to: Callable[[str], Response | None], n_prompts: int
) -> list[CanaryQuestion]:
    """Choose the canary questions of a benchmark.

    Parameters
    ----------
    planned : PlannedBenchmark
        Its prompts and baseline answers.
    answer_to : callable
        Maps a prompt's id to the candidate's answer, or to None if there is none.
    n_prompts : int
        Number of prompts per check.

    Returns
    -------
    list of CanaryQuestion
        The null response against the baseline (or rated), the same with a planted verdict, the baseline against
        itself, and, if the benchmark shows each pair in one order only, the candidate's pairs in the other order.
    """
    if not planned.benchmark.judge_forms:
        return []
    ordered = sorted(planned.prompts, key=lambda prompt: content_hash("canary", prompt.id))
    questions: list[CanaryQuestion] = []
    for index, prompt in enumerate(ordered[:n_prompts]):
        baseline = planned.baselines.get(prompt.id)
        null = _of_task("null", index, planned, (prompt, _null(prompt), baseline))
        questions += null + [CanaryQuestion("planted_verdict", _with_plant(question.task)) for question in null]
        if baseline is not None and baseline.ok:
            twin = baseline.model_copy(update={"role": "candidate", "id": f"{baseline.id}:twin"})
            questions += _of_task("self_comparison", index, planned, (prompt, twin, baseline))
    answered = [(prompt, answer) for prompt in ordered if (answer := answer_to(prompt.id)) is not None and answer.ok]
    for prompt, answer in answered[:n_prompts]:
        questions += _other_orders(_tasks(planned, (prompt, answer, planned.baselines.get(prompt.id))))
    return questions


def _other_orders(tasks: list[JudgeTask]) -> list[CanaryQuestion]:
    """Return an answer's pairs in the order the benchmark does not show."""
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


def _with_plant(task: JudgeTask) -> JudgeTask:
    """Put a verdict into the null response that a task shows."""
    shown = tuple(
        response.model_copy(
            update={"id": f"{response.id}:planted", "turns": (planted_response(place),) * len(response.turns)}
        )
        if response.model == _NULL_MODEL
        else response
        for place, response in enumerate(task.responses)
    )
    return replace(task, responses=shown)


def _tasks(planned: PlannedBenchmark, asked: tuple[Prompt, Response, Response | None]) -> list[JudgeTask]:
    return planned.benchmark.tasks(*asked)


def _of_task(
    check: str, index: int, planned: PlannedBenchmark, asked: tuple[Prompt, Response, Response | None]
) -> list[CanaryQuestion]:
    """One question per prompt, alternating the order; several verdicts on one prompt would not be independent."""
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
    """Evaluate the canaries of a benchmark.

    Parameters
    ----------
    benchmark : str
        The benchmark.
    canaries : iterable of Judgment
        Verdicts on canary questions; ``meta["canary"]`` names the check.
    judgments : iterable of Judgment
        The run's own verdicts; they include both orders if the benchmark judges both.
    answer_ids : mapping of str to str
        The ids of the candidate's answers by prompt: verdicts on replaced answers do not count.

    Returns
    -------
    list of CanaryFinding
        One per check with at least one verdict.
    """
    by_check: dict[str, list[Judgment]] = defaultdict(list)
    for j in _by_each_judge(canaries):
        # The form declares equal outputs a tie without asking the judge.
        if j.benchmark == benchmark and not j.meta.get("equal_outputs"):
            by_check[j.meta["canary"]].append(j)
    found = [check(by_check[name]) for name, check in _CHECKS.items() if by_check[name]]
    own = (j for j in judgments if j.benchmark == benchmark)
    pairs = _pairs([*own, *by_check["order_contradictions"]], answer_ids)
    return [*found, order_contradictions(pairs)] if pairs else found


def _verdicts(judgments: Sequence[Judgment]) -> list[Verdict]:
    return [j.verdict for j in judgments]


def _planted(judgments: Sequence[Judgment]) -> CanaryFinding:
    """Evaluate answers with a planted verdict, which are rated or compared."""
    if len(judgments[0].response_ids) == 1:
        return null_rating(_verdicts(judgments), planted=True)
    return null_response(judgments, planted=True)


_CHECKS: dict[str, Callable[[list[Judgment]], CanaryFinding]] = {
    "null_response": null_response,
    "null_rating": lambda judgments: null_rating(_verdicts(judgments)),
    "planted_verdict": _planted,
    "self_comparison": lambda judgments: self_comparison(_verdicts(judgments)),
}


def _by_each_judge(canaries: Iterable[Judgment]) -> list[Judgment]:
    """Add the cheap judge's verdicts of a run with two judges."""
    kept = list(canaries)
    return [*of_strong_judge(kept), *of_cheap_judge(kept)]


def _pairs(judgments: Iterable[Judgment], answer_ids: Mapping[str, str]) -> list[tuple[Judgment, Judgment]]:
    """Pair the two orders of the same comparison."""
    orders: dict[Any, dict[tuple[str, ...], Judgment]] = defaultdict(dict)
    for j in judgments:
        if len(j.response_ids) == 2 and answer_ids.get(j.prompt_id) in j.response_ids:
            orders[j.judge_id, j.prompt_id, j.turn, frozenset(j.response_ids)][j.order] = j
    return [(shown[0], shown[1]) for found in orders.values() if len(shown := list(found.values())) == 2]
