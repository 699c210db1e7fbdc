"""The pairs of a judge study as samples: both answers, every vote and every verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reports.samples import SampleTables


def add_study(tables: SampleTables, study: Mapping[str, Any]) -> None:
    """Put a study's pairs among the samples.

    Parameters
    ----------
    tables : SampleTables
        What they are added to.
    study : mapping
        What `assay calibrate --out` wrote.
    """
    texts = dict(study.get("texts") or {})
    judges = ", ".join(str(j["name"]) for j in study["judges"])
    model = tables.model(judges)
    pairs = list(study.get("pairs") or ())
    tables.n_all += len(pairs)
    every = max(-(-len(pairs) // max(tables.limits.n_rows, 1)), 1)
    for pair in pairs[::every] if tables.limits.n_rows else ():
        _add(tables, model, pair, texts)


def _add(tables: SampleTables, model: int, pair: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """Add a pair: its question, both answers, then every vote and every verdict."""
    turn = int(pair["turn"])
    prompt = _question(tables, pair, texts)
    names = {side: str(pair.get(f"model_{side}") or pair[side]) for side in ("first", "second")}
    answers = []
    for side, name in names.items():
        text = _text(texts, pair.get(f"text_{side}"))
        turns = [] if text is None else [text]
        answers.append(tables.answer(("study", pair["prompt"], turn, name), name, turns, name))
    start = len(tables.judgments)
    for vote in pair.get("votes") or ():
        p = vote["p_first"]
        choice = "tie" if p == 0.5 else "first" if p > 0.5 else "second"
        tables.judgment(f"voter {vote['voter']}", _said(choice, names))
    verdicts: Mapping[str, Mapping[str, Any]] = pair.get("judges") or {}
    for judge, verdict in verdicts.items():
        tables.judgment(str(judge), _said_by_judge(verdict, names))
    value = next((v["p_first"] for v in verdicts.values() if v.get("p_first") is not None), None)
    lengths = pair.get("length_first"), pair.get("length_second")
    agreement, flags = _agreement(pair.get("winner"), verdicts.values())
    tables.row(model, prompt, [answers[0]], [answers[1]], start, agreement, value, flags, lengths, False)


def _question(tables: SampleTables, pair: Mapping[str, Any], texts: Mapping[str, str]) -> int:
    key = ("study", pair["prompt"], int(pair["turn"]), pair["first"], pair["second"])
    text = _text(texts, pair.get("prompt_text")) or f"{pair['prompt']} (the text is not in the study)"
    return tables.prompt(key, "judge study", pair.get("category") or "", f"{pair['prompt']}, turn {key[2]}", [text])


def _agreement(winner: str | None, verdicts: Iterable[Mapping[str, Any]]) -> tuple[str, int]:
    """Whether the judges agree with the votes, and the browser's flags: 1 the order mattered, 2 a judge differs."""
    given = list(verdicts)
    differs = winner is not None and any(v.get("choice") not in (None, winner) for v in given)
    words = "no vote" if winner is None else "judge differs" if differs else "judge agrees"
    return words, int(any(v.get("inconsistent") for v in given)) | 2 * int(differs)


def _text(texts: Mapping[str, str], name: str | None) -> str | None:
    """Look a text up by its name; a name that is not in the study stands for itself."""
    return None if name is None else texts.get(name, name)


def _said(choice: str, names: Mapping[str, str]) -> str:
    return "tie" if choice == "tie" else f"prefers {names[choice]}"


def _said_by_judge(verdict: Mapping[str, Any], names: Mapping[str, str]) -> str:
    choice, calibrated = verdict.get("choice"), verdict.get("calibrated")
    said = _said(choice, names) if choice else f"no verdict: {verdict.get('reason')}"
    return said if calibrated is None else f"{said} (calibrated probability of the first: {calibrated:.2f})"
