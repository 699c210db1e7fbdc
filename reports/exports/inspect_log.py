"""A run as Inspect's ``.eval`` logs, one per benchmark, for `inspect view` and other readers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from harness.errors import MissingDataError
from harness.records import Judgment, Preference, Prompt, Rating, Response, Score, SummaryRow
from harness.run.score import RunScores
from harness.store.run_directory import RunDirectory
from reports.exports import Exporter

_REASONS = {"refused": "refusal", "unparsed": "invalid_response_format", "no_response": "no_response"}


def write_inspect_logs(directory: RunDirectory, scores: RunScores, out: Path) -> list[Path]:
    """Write ``BENCHMARK.eval`` for each benchmark of a run.

    Parameters
    ----------
    directory : RunDirectory
        The run.
    scores : RunScores
        Its figures.
    out : Path
        A directory.

    Returns
    -------
    list of Path
        The logs. A score without a value is kept as one with the reason in its metadata and no number.

    Raises
    ------
    MissingDataError
        inspect-ai is not installed.
    """
    try:
        from inspect_ai.log import write_eval_log
    except ImportError as error:
        raise MissingDataError(
            "the package inspect-ai is not installed", remedy="pip install 'assay[inspect]'"
        ) from error
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for entry in directory.header()["benchmarks"]:
        path = out / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', entry['name'])}.eval"
        write_eval_log(_log(directory, scores, entry), str(path), format="eval")
        written.append(path)
    return written


def _log(directory: RunDirectory, scores: RunScores, entry: dict[str, Any]) -> Any:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalResults, EvalSpec, EvalStats

    header = directory.header()
    name = str(entry["name"])
    samples = _all_samples(directory, name, scores.scores_of(name))
    spec = EvalSpec(
        created=_timestamp(header.get("started")),
        task=name,
        task_version=str(entry.get("version", "")),
        dataset=EvalDataset(name=name, samples=len(samples), sample_ids=[sample.id for sample in samples]),
        model=f"{header['model'].get('engine', 'unknown')}/{scores.model}",
        config=EvalConfig(),
        packages={k: v for k, v in (header.get("versions") or {}).items() if isinstance(v, str)},
        metadata={"run": header.get("spec_hash"), "judge": header.get("judge"), "valid": scores.valid},
        tags=["assay"],
    )
    rows = [row for row in scores.rows if row.benchmark == name]
    n_done = sum(sample.error is None for sample in samples)
    results = EvalResults(total_samples=len(samples), completed_samples=n_done, scores=[_result(row) for row in rows])
    stats = EvalStats(started_at=_timestamp(header.get("started")), completed_at=_timestamp(header.get("started")))
    return EvalLog(
        status="success" if directory.complete else "started",
        eval=spec,
        results=results,
        stats=stats,
        samples=samples,
        metadata={"problems": scores.problems, "remarks": scores.remarks},
    )


def _timestamp(started: Any) -> str:
    return str(started or "1970-01-01T00:00:00Z").replace("Z", "+00:00")


def _result(row: SummaryRow) -> Any:
    from inspect_ai.log import EvalMetric, EvalScore

    measured = {"value": row.value, "stderr": row.stderr, "ci_low": row.ci_low, "ci_high": row.ci_high}
    metrics = {key: EvalMetric(name=key, value=value) for key, value in measured.items() if value is not None}
    return EvalScore(
        name=row.metric,
        scorer=row.metric,
        scored_samples=row.n,
        unscored_samples=row.n_unscored,
        metrics=metrics,
        metadata={"method": row.method, "level": row.level, "unscored": row.unscored, "reason": row.reason},
    )


def _all_samples(directory: RunDirectory, name: str, scores: list[Score]) -> list[Any]:
    """One sample per answer of the candidate; several samples of a prompt are epochs."""
    responses, judgments = directory.responses_by_prompt(), directory.judgments_by_prompt()
    by_prompt: dict[str, list[Score]] = {}
    for score in scores:
        by_prompt.setdefault(score.prompt_id, []).append(score)
    samples = []
    for prompt in directory.each_prompt():
        if prompt.benchmark == name:
            own = by_prompt.get(prompt.id, [])
            answers: list[Response | None] = [r for r in responses.of(prompt.id) if r.role == "candidate"]
            samples += [_sample(prompt, answer, judgments.of(prompt.id), own) for answer in answers or [None]]
    return samples


def _sample(prompt: Prompt, answer: Response | None, judgments: list[Judgment], scores: list[Score]) -> Any:
    from inspect_ai.log import EvalError, EvalSample

    failed = "no answer is stored" if answer is None else answer.error if not answer.ok else ""
    messages = _messages(prompt, () if answer is None else answer.turns)
    about = [j for j in judgments if answer is None or answer.id in j.response_ids]
    return EvalSample(
        id=prompt.key,
        epoch=1 if answer is None else answer.sample + 1,
        input=messages[: 2 if prompt.system else 1],
        target=list(prompt.reference or ("",)),
        messages=messages,
        output=_output(answer, failed),
        scores=_scores(scores, about),
        metadata={"category": prompt.category, "cluster": prompt.cluster, "prompt_id": prompt.id, **prompt.meta},
        error=EvalError(message=failed, traceback="", traceback_ansi="") if failed else None,
    )


def _output(answer: Response | None, failed: str) -> Any:
    from inspect_ai.model import ModelOutput

    if answer is None:
        return ModelOutput.from_content(model="", content="", stop_reason="stop", error=failed)
    return ModelOutput.from_content(
        model=answer.model,
        content=answer.turns[-1] if answer.turns else "",
        stop_reason="max_tokens" if answer.finish == "length" else "stop",
        error=failed or None,
    )


def _messages(prompt: Prompt, answers: tuple[str, ...]) -> list[Any]:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    messages: list[Any] = [ChatMessageSystem(content=prompt.system)] if prompt.system else []
    for index, question in enumerate(prompt.turns):
        messages.append(ChatMessageUser(content=question))
        if index < len(answers):
            messages.append(ChatMessageAssistant(content=answers[index]))
    return messages


def _scores(scores: list[Score], judgments: list[Judgment]) -> dict[str, Any]:
    from inspect_ai.scorer import Score as InspectScore

    explanation = "\n\n".join(_verdict(j) for j in judgments) or None
    found: dict[str, Any] = {}
    for score in scores:
        key = f"{score.metric}/{score.part}" if score.part else score.metric
        code = (score.reason or "").partition(":")[0]
        found[key] = InspectScore(
            value=score.value if score.value is not None else float("nan"),
            explanation=explanation if score.metric not in ("length", "row") else None,
            reason=_REASONS.get(code),
            metadata={"weight": score.weight, "reason": score.reason, "unscored": score.value is None},
        )
    return found


def _verdict(judgment: Judgment) -> str:
    verdict = judgment.verdict
    if isinstance(verdict, Rating):
        said = f"{verdict.value:g} of {verdict.high:g}"
    elif isinstance(verdict, Preference):
        said = f"{verdict.label} {verdict.p_first:.3f} for the {judgment.order[0]}, shown first".strip()
    else:
        said = f"not scored: {verdict.reason} {verdict.detail}".strip()
    return f"[{judgment.judge}, turn {judgment.turn}, game {judgment.game}: {said}]\n{judgment.raw}".strip()


EXPORTER = Exporter(
    "inspect",
    "Inspect's .eval logs, one per benchmark, into the directory --out (needs inspect-ai)",
    lambda directories, scores, out: write_inspect_logs(directories[0], scores[0], out),
)
