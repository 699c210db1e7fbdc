"""arena-hard-auto's files: questions, answers, two-game judgments, of v0.1's first release and of today's layout."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.arena_hard.benchmark import ArenaHard, answer_text
from harness.data.file_rows import Row, read_rows, refuse_unknown, unique_by
from harness.protocols import Imported
from harness.records import Preference, Prompt, Response, Role, Unscored, Verdict
from harness.run.import_results import (
    add_duplicates_option,
    choose_rows,
    rows_by,
    stored_judgment,
    stored_response,
)

_P_FIRST = {"A>>B": 1.0, "A>B": 1.0, "A=B": 0.5, "B>A": 0.0, "B>>A": 0.0}
_MIRRORED = {"B<<A": "A>>B", "B<A": "A>B", "B=A": "A=B", "A<B": "B>A", "A<<B": "B>>A"}
_NOT_NAMED = "baseline"
_Shown = tuple[Role, str, Response | None]


class ArenaHardImporter:
    """Reads judgments in which the baseline is A in the first game and the model is A in the second."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the files' options."""
        parser.add_argument("--questions", type=Path, required=True, metavar="F", help="question.jsonl")
        parser.add_argument(
            "--judgments", type=Path, required=True, metavar="F", help="model_judgment/JUDGE/MODEL.jsonl"
        )
        parser.add_argument("--answers", type=Path, metavar="F", help="model_answer/MODEL.jsonl")
        parser.add_argument("--baseline-answers", type=Path, metavar="F", help="model_answer/BASELINE.jsonl")
        parser.add_argument("--model", metavar="NAME", help="which model, where the judgments hold several")
        parser.add_argument("--judge", metavar="NAME", help="which judge, where the judgments hold several")
        add_duplicates_option(parser, "question")
        parser.add_argument(
            "--lone-games",
            choices=["error", "unscored", "score"],
            default="error",
            help="a question with one game: refuse the file, leave the question unscored, or score the game it "
            "has (error); what was repaired is counted in the remarks",
        )

    def read(self, arguments: argparse.Namespace) -> Imported:
        """Read the files."""
        benchmark, prompts = _prompts(read_rows(arguments.questions))
        rows = read_rows(arguments.judgments)
        model, rows = choose_rows(rows, "model", "--model", lambda row: row.text("model"), arguments.model)
        judge, rows = choose_rows(rows, "judge", "--judge", lambda row: row.text("judge"), arguments.judge)
        keys = [row.identifier("uid", "question_id") for row in rows]
        refuse_unknown(arguments.judgments, "judgments", keys, prompts)
        asked_as = "arena_hard" if benchmark.version == "v0.1" else f"arena_hard@{benchmark.version}"
        imported = Imported(asked_as, benchmark.name, benchmark.version, model, judge, list(prompts.values()))
        imported.sources = [arguments.questions, arguments.judgments]
        grouped = rows_by(rows, "judgment of question", keys, arguments.duplicates, imported)
        judged = {key: row for key, (row,) in grouped.items()}
        repair: str = arguments.lone_games
        candidates = _answers(arguments.answers, model, "candidate", prompts, imported)
        baselines = _answers(arguments.baseline_answers, None, "baseline", prompts, imported)
        imported.responses = [*baselines.values(), *candidates.values()]
        for key, row in judged.items():
            prompt = prompts[key]
            answer = baselines.get(prompt.id)
            baseline = answer.model if answer else str(row.values.get("baseline", _NOT_NAMED))
            shown: list[_Shown] = [
                ("baseline", baseline, answer),
                ("candidate", model, candidates.get(prompt.id)),
            ]
            verdicts = _verdicts(row, repair, last=benchmark.version != "v0.1")
            for number, (verdict, game, order) in enumerate(zip(*verdicts, (shown, shown[::-1]), strict=True), start=1):
                raw = _judgment_text(game)
                imported.judgments.append(stored_judgment(prompt, judge, order, verdict, game=number, raw=raw))
        _note_lone_games(imported, judged, repair)
        return imported


def _prompts(rows: list[Row]) -> tuple[ArenaHard, dict[str, Prompt]]:
    keys = [row.identifier("uid", "question_id") for row in rows]
    modern = any(row.values.get("category") in ("hard_prompt", "creative_writing") for row in rows)
    benchmark = ArenaHard.of_version("v2.0" if modern else "v0.1")
    return benchmark, {key: benchmark.prompt(row) for key, row in unique_by(rows, "question", keys).items()}


def _answers(
    path: Path | None, model: str | None, role: Role, prompts: dict[str, Prompt], imported: Imported
) -> dict[str, Response]:
    if path is None:
        return {}
    imported.sources.append(path)
    rows = read_rows(path)
    keys = [row.identifier("uid", "question_id") for row in rows]
    refuse_unknown(path, "answers", keys, prompts)
    found = {}
    for key, row in unique_by(rows, "answer to question", keys).items():
        name = model or str(row.values.get("model") or row.values.get("model_id") or _NOT_NAMED)
        prompt = prompts[key]
        found[prompt.id] = stored_response(prompt, name, [answer_text(row)], role, (_token_count(row.values),))
    return found


def _token_count(row: Mapping[str, Any]) -> int | None:
    """Read the token count upstream stores beside an answer."""
    metadata = row.get("metadata") or row.get("conv_metadata")
    if isinstance(metadata, Mapping) and isinstance(metadata.get("token_len"), int):
        return int(metadata["token_len"])
    try:
        return int(row["choices"][0]["turns"][0]["token_len"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _verdicts(row: Row, repair: str, *, last: bool) -> tuple[list[Verdict], list[Any]]:
    """The verdicts of both games, and the games; of a lone game as told by ``--lone-games``."""
    games = row.get("games", list, "two games, each with a score")
    if len(games) == 1 and repair != "error":
        alone = _verdict(row, games[0], last=last)
        missing = Unscored(reason="missing", detail="the file holds the first game alone")
        if repair == "unscored" and isinstance(alone, Preference):
            alone = Unscored(
                reason="lone_game", detail=f"its verdict {alone.label} is not scored (--lone-games unscored)"
            )
        return [alone, missing], [games[0], None]
    if len(games) != 2:
        lone = "choose what becomes of it: --lone-games unscored or --lone-games score" if len(games) == 1 else ""
        raise row.error(f"{len(games)} games", "two: the baseline first, then the model first", lone)
    return [_verdict(row, game, last=last) for game in games], games


def _note_lone_games(imported: Imported, judged: Mapping[str, Row], repair: str) -> None:
    n_lone = sum(len(row.values["games"]) == 1 for row in judged.values())
    if n_lone:
        how = {
            "unscored": "not scored",
            "score": "scored on that game, in which the baseline is shown first, with the weight of one game",
        }[repair]
        imported.notes.append(
            f"{n_lone} of {len(judged)} questions have one game instead of two: {how} (--lone-games {repair})"
        )


def _verdict(row: Row, game: Any, *, last: bool) -> Verdict:
    if game is None:
        return Unscored(reason="request_failed", detail="stored as null")
    if not isinstance(game, Mapping) or "score" not in game:
        raise row.error(f"a game is {game!r:.60}", "an object with a score, or null")
    stored = game["score"]
    if stored is None:
        return Unscored(reason="unparsed", detail="stored as null")
    # v0.1 gives labels outside its five no weight; v2.0 reads the mirror images.
    label = _MIRRORED.get(stored, stored) if last else stored
    if label not in _P_FIRST:
        return Unscored(reason="out_of_scale", detail=f"verdict {stored!r}, offered were {', '.join(_P_FIRST)}")
    return Preference(p_first=_P_FIRST[label], label=label)


def _judgment_text(game: Any) -> str:
    text = game.get("judgment", "") if isinstance(game, Mapping) else ""
    return str(text.get("answer", "")) if isinstance(text, Mapping) else str(text or "")
