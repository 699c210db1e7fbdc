"""Trying a judge form on stored answers: what is asked, what comes back and how it is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from harness import registry
from harness.endpoint.exchange import ChatReply, ChatRequest
from harness.errors import UsageError
from harness.hashing import content_hash
from harness.protocols import DataSource, JudgeTask
from harness.records import Judgment, Prompt, Response
from harness.store.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Trial:
    """One question to a judge, and the verdict if it was asked."""

    task: JudgeTask
    requests: tuple[ChatRequest, ...]
    judgment: Judgment | None = None


def tasks_on(
    run: RunDirectory, form: str, n: int, benchmark: str | None = None, against: RunDirectory | None = None
) -> list[JudgeTask]:
    """Choose answers of a run to judge.

    Parameters
    ----------
    run : RunDirectory
        The run.
    form : str
        The judge form.
    n : int
        Number of prompts. They are chosen by a hash, not by their order, and the same for every form.
    benchmark : str or None
        Use only this benchmark's prompts.
    against : RunDirectory or None
        The run whose answers are shown second, for forms that compare; by default the run's own baseline.

    Raises
    ------
    UsageError
        The run has no answers to judge, or no second answers for a form that compares.
    """
    run.header()
    prompts = _prompts(run, benchmark)
    answers = _answers(run, "candidate", prompts)
    if not answers:
        raise UsageError(f"{run.path} holds no answers to judge", "a run with finished answers")
    usable: Collection[str] = answers
    others: dict[str, Response] = {}
    if registry.judge_form(form).n_answers == 2:
        others = _answers(against or run, "candidate" if against else "baseline", prompts)
        usable = others.keys() & answers.keys()
    if not usable:
        raise UsageError(
            f"{form} compares two answers, and there is only one to each prompt",
            "a run with a baseline, or a second run of the same prompts",
            "name the second run with --against DIR",
        )
    chosen = sorted(usable, key=lambda key: content_hash("trial", key))[:n]
    return [_task(prompts[key], form, answers[key], others.get(key)) for key in chosen]


def _prompts(run: RunDirectory, benchmark: str | None) -> dict[str, Prompt]:
    prompts = {p.id: p for p in run.each_prompt() if benchmark in (None, p.benchmark)}
    if not prompts:
        held = ", ".join(sorted({p.benchmark for p in run.each_prompt()}))
        raise UsageError(f"{run.path} holds no prompts of {benchmark}", f"one of {held}")
    return prompts


def _answers(run: RunDirectory, role: str, prompts: dict[str, Prompt]) -> dict[str, Response]:
    """Return complete first answers by prompt."""
    found = (r for r in run.responses().values() if r.role == role and r.sample == 0 and r.ok)
    return {r.prompt_id: r for r in found if r.prompt_id in prompts}


def _task(prompt: Prompt, form: str, answer: Response, other: Response | None) -> JudgeTask:
    shown = (answer,) if other is None else (answer, other.model_copy(update={"role": "baseline"}))
    return JudgeTask(prompt, form, shown, turn=len(prompt.turns))


async def requests_of(task: JudgeTask, data: DataSource) -> tuple[ChatRequest, ...]:
    """Return the requests a task makes, without sending any.

    Those that depend on an earlier reply are shown with an empty one; second attempts are left out.
    """
    form = registry.make_judge_form(task.form, data)
    requests: list[ChatRequest] = []

    async def record(request: ChatRequest) -> ChatReply:
        requests.append(request)
        return ChatReply(text="")

    await form.judge(task, form.settings, record)
    return tuple(r for i, r in enumerate(requests) if not _continues(r, requests[:i]))


def _continues(request: ChatRequest, earlier: Iterable[ChatRequest]) -> bool:
    """Whether a request carries on the conversation of an earlier one."""
    return any(request.messages[: len(e.messages)] == e.messages for e in earlier)


def describe(trial: Trial) -> list[str]:
    """Return the lines that show a trial in a terminal."""
    prompt = trial.task.prompt
    lines = [f"=== {prompt.benchmark} {prompt.key} ({', '.join(r.model for r in trial.task.responses)})"]
    for request in trial.requests:
        for message in request.messages:
            lines += [f"--- asked ({message.role})", message.content]
    if trial.judgment is not None:
        lines += ["--- reply", trial.judgment.raw, "--- read as", _verdict(trial.judgment)]
    return lines


def _verdict(judgment: Judgment) -> str:
    verdict = judgment.verdict
    if verdict.kind == "unscored":
        return f"not scored: {verdict.reason} ({verdict.detail})"
    if verdict.kind == "preference":
        return f"preference: {verdict.p_first:g} for the answer shown first" + f" ({verdict.label})" * bool(
            verdict.label
        )
    dimensions = ", ".join(f"{name} {value:g}" for name, value in judgment.meta.get("rubric", {}).items())
    return f"rating: {verdict.value:g} on {verdict.low:g} to {verdict.high:g}" + f" ({dimensions})" * bool(dimensions)


def as_json(trials: Sequence[Trial]) -> list[dict[str, object]]:
    """Return trials as JSON values."""
    return [
        {
            "benchmark": t.task.prompt.benchmark,
            "prompt": t.task.prompt.key,
            "models": [r.model for r in t.task.responses],
            "requests": [[{"role": m.role, "content": m.content} for m in r.messages] for r in t.requests],
            "reply": t.judgment.raw if t.judgment else None,
            "verdict": t.judgment.verdict.model_dump(exclude_none=True) if t.judgment else None,
            "rubric": t.judgment.meta.get("rubric") if t.judgment else None,
            "cost": t.judgment.cost if t.judgment else None,
        }
        for t in trials
    ]


def cost_line(trials: Sequence[Trial]) -> list[str]:
    """Return the line with what the trials cost; none if nothing was asked."""
    costs = [t.judgment.cost for t in trials if t.judgment is not None]
    if not costs:
        return []
    known = [cost for cost in costs if cost is not None]
    spent = f"{sum(known):.4f} USD" if len(known) == len(costs) else "unknown (no price)"
    return [f"=== cost of these {len(costs)}: {spent}"]
