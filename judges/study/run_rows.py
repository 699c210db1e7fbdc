"""The verdicts of a run directory, as a judge study reads them."""

from __future__ import annotations

from pathlib import Path

from harness.data.votes import Grade, Side, StatedPreference
from harness.endpoint.ledger import find_price
from harness.records import Judgment, Prompt, Rating, Response, Unscored
from harness.store.run_directory import RunDirectory

Verdict = StatedPreference | Grade


def statements_of_run(path: Path) -> tuple[list[Verdict], list[str]]:
    """Read a run directory.

    Parameters
    ----------
    path : Path
        It holds ``run.json``.

    Returns
    -------
    verdicts : list of StatedPreference or Grade
        Preferences between the candidate and a baseline; grades of single answers, which make preferences with the
        run of another model. Prompts by their names upstream, answers by the names of their models.
    problems : list of str
        Why the run is not whole.

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
    problems = [] if directory.complete else [f"{path} is not complete: `assay resume {path}` continues it"]
    found: list[Verdict] = []
    for judgment in directory.judgments().values():
        prompt = prompts.get(judgment.prompt_id)
        if prompt is None:
            continue  # a question that was taken out of the run again
        verdict = judgment.verdict
        if len(judgment.response_ids) == 2:
            found.append(_preference(judgment, prompt, responses, candidate))
        elif isinstance(verdict, Rating | Unscored):
            value = verdict.value if isinstance(verdict, Rating) else None
            found.append(Grade(prompt.key, candidate, judgment.judge, value, judgment.turn, _price(judgment)))
    return found, problems


def _preference(judgment: Judgment, prompt: Prompt, responses: dict[str, Response], candidate: str) -> StatedPreference:
    sides: list[Side] = []
    for role, response_id in zip(judgment.order, judgment.response_ids, strict=True):
        response = responses.get(response_id)
        model = candidate if role == "candidate" else response.model if response is not None else "baseline"
        is_answered = response is not None and len(response.turns) >= judgment.turn
        sides.append(Side(model, model, response.turns[judgment.turn - 1] if response and is_answered else None))
    return StatedPreference(
        prompt.key,
        sides[0],
        sides[1],
        judgment.judge,
        None,
        turn=judgment.turn,
        ordered=True,
        game=judgment.game,
        cost=_price(judgment),
        prompt_text=prompt.turns[judgment.turn - 1] if len(prompt.turns) >= judgment.turn else None,
        category=prompt.category,
    ).by_verdict(judgment.verdict)


def _price(judgment: Judgment) -> float | None:
    """What the verdict costs when it is not in the cache, where it was free of charge."""
    if not judgment.cached:
        return judgment.cost
    price = find_price(judgment.judge)
    if price is None or judgment.n_prompt_tokens is None or judgment.n_completion_tokens is None:
        return None
    return price.cost(judgment.n_prompt_tokens, judgment.n_completion_tokens)
