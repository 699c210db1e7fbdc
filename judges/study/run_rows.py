"""The verdicts of a run directory as rows of a judge study."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.endpoint.ledger import find_price
from harness.records import Judgment, Preference, Prompt, Rating, Response, Unscored
from harness.store.run_directory import RunDirectory
from judges.study.verdict_rows import Grade, Row

__all__ = ["RunRows", "rows_of_run"]


@dataclass
class RunRows:
    """What a run holds.

    Parameters
    ----------
    rows : list of Row
        Preferences between the candidate and a baseline.
    grades : list of Grade
        Grades of single answers; with the run of another model they make preferences.
    problems : list of str
        Why the run is not whole.
    """

    rows: list[Row] = field(default_factory=list)
    grades: list[Grade] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def rows_of_run(path: Path) -> RunRows:
    """Read a run directory.

    Parameters
    ----------
    path : Path
        It holds ``run.json``.

    Returns
    -------
    RunRows
        Prompts by their names upstream, answers by the names of their models.

    Raises
    ------
    FileFormatError
        A file of the run is damaged.
    """
    directory = RunDirectory(path)
    header = directory.header()
    prompts = directory.prompts()
    responses = {r.id: r for r in directory.responses().values()}
    candidate = str(header["model"]["name"])
    found = RunRows()
    if not directory.complete:
        found.problems.append(f"{path} is not complete: `assay resume {path}` goes on with it")
    for judgment in directory.judgments().values():
        prompt = prompts.get(judgment.prompt_id)
        if prompt is None:
            continue  # a question that was taken out of the run again
        verdict = judgment.verdict
        if len(judgment.response_ids) == 2:
            found.rows.append(_row(judgment, prompt, responses, candidate))
        elif isinstance(verdict, Rating | Unscored):
            value = verdict.value if isinstance(verdict, Rating) else None
            found.grades.append(Grade(prompt.key, judgment.turn, candidate, judgment.judge, value, _price(judgment)))
    return found


def _row(judgment: Judgment, prompt: Prompt, responses: dict[str, Response], candidate: str) -> Row:
    sides: list[dict[str, Any]] = []
    for role, response_id in zip(judgment.order, judgment.response_ids, strict=True):
        response = responses.get(response_id)
        model = candidate if role == "candidate" else response.model if response is not None else "baseline"
        side: dict[str, Any] = {"model": model}
        if response is not None and len(response.turns) >= judgment.turn:
            side["text"] = response.turns[judgment.turn - 1]
        sides.append(side)
    verdict = judgment.verdict
    text = prompt.turns[judgment.turn - 1] if len(prompt.turns) >= judgment.turn else None
    return Row(
        prompt.key,
        sides[0]["model"],
        sides[1]["model"],
        judgment.judge,
        verdict.p_first if isinstance(verdict, Preference) else None,
        judgment.turn,
        verdict.reason if isinstance(verdict, Unscored) else "" if isinstance(verdict, Preference) else "out_of_scale",
        True,
        judgment.game,
        0,
        None,
        _price(judgment),
        sides[0],
        sides[1],
        {"prompt_text": text, "category": prompt.category},
    )


def _price(judgment: Judgment) -> float | None:
    """What the verdict costs when it is not in the cache, where it was free of charge."""
    if not judgment.cached:
        return judgment.cost
    price = find_price(judgment.judge)
    if price is None or judgment.n_prompt_tokens is None or judgment.n_completion_tokens is None:
        return None
    return price.cost(judgment.n_prompt_tokens, judgment.n_completion_tokens)
