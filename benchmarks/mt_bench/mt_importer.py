"""FastChat's MT-Bench files: questions, answers, single-answer judgments."""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.mt_bench.benchmark import MTBench
from benchmarks.mt_bench.fastchat_votes import FIELDS, answer_turns, judge_name, score_of, statements
from harness.data.file_rows import Row, read_rows, refuse_unknown, unique_by
from harness.data.votes import Statement
from harness.errors import UsageError
from harness.protocols import Imported
from harness.records import Judgment, Prompt, Rating, Response, Role, Unscored, Verdict
from harness.run.import_results import (
    add_duplicates_option,
    choose_rows,
    rows_by,
    stored_judgment,
    stored_response,
)

_LOW, _HIGH = 1.0, 10.0


class MTBenchImporter:
    """Reads ``question.jsonl``, ``model_answer/MODEL.jsonl`` and ``model_judgment/JUDGE_single.jsonl``."""

    fields = FIELDS

    def statements(self, row: Row) -> list[Statement] | None:
        """What a row of FastChat's states; see `benchmarks.mt_bench.fastchat_votes`."""
        return statements(row)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the files' options."""
        parser.add_argument("--questions", type=Path, required=True, metavar="F", help="question.jsonl")
        parser.add_argument("--judgments", type=Path, required=True, metavar="F", help="JUDGE_single.jsonl")
        parser.add_argument("--answers", type=Path, metavar="F", help="MODEL.jsonl, for the length figures")
        parser.add_argument("--model", metavar="NAME", help="which model, where the judgments hold several")
        parser.add_argument("--judge", metavar="NAME", help="which judge, where the judgments hold several")
        add_duplicates_option(parser, "question and turn", mean=True)

    def read(self, arguments: argparse.Namespace) -> Imported:
        """Read the files; a stored score of -1 is a verdict that could not be read."""
        prompts = _prompts(read_rows(arguments.questions))
        rows = read_rows(arguments.judgments)
        model, rows = choose_rows(rows, "model", "--model", lambda row: row.text("model"), arguments.model)
        judge, rows = choose_rows(rows, "judge", "--judge", _judge_name, arguments.judge)
        refuse_unknown(arguments.judgments, "verdicts", (row.identifier("question_id") for row in rows), prompts)
        keys = [f"question {row.identifier('question_id')} turn {_turn(row)}" for row in rows]
        benchmark = MTBench()
        imported = Imported("mt_bench", benchmark.name, benchmark.version, model, judge, list(prompts.values()))
        grouped = rows_by(rows, "verdict on", keys, arguments.duplicates, imported)
        imported.sources = [arguments.questions, arguments.judgments]
        answers = {}
        if arguments.answers is not None:
            imported.sources.append(arguments.answers)
            answers = _answers(arguments.answers, model, prompts)
            imported.responses = list(answers.values())
        for repeated in grouped.values():
            prompt = prompts[repeated[0].identifier("question_id")]
            imported.judgments.append(_judgment(repeated, judge, prompt, ("candidate", model, answers.get(prompt.id))))
        return imported


def _prompts(rows: list[Row]) -> dict[str, Prompt]:
    keys = [row.identifier("question_id") for row in rows]
    benchmark = MTBench()
    return {
        key: Prompt(
            benchmark=benchmark.name,
            version=benchmark.version,
            key=key,
            turns=tuple(row.get("turns", list, "turns as a list of two texts")),
            category=row.text("category"),
        )
        for key, row in unique_by(rows, "question", keys).items()
    }


def _judge_name(row: Row) -> str:
    return judge_name(row.get("judge", (list, str), 'judge as ["MODEL", "PROMPT"]'))


def _turn(row: Row) -> int:
    turn = row.get("turn", int, "turn 1 or 2")
    if turn not in (1, 2):
        raise row.error(f"turn is {turn}", "1 or 2")
    return int(turn)


def _answers(path: Path, model: str, prompts: dict[str, Prompt]) -> dict[str, Response]:
    rows = read_rows(path)
    keys = [row.identifier("question_id") for row in rows]
    refuse_unknown(path, "answers", keys, prompts)
    found = {}
    for key, row in unique_by(rows, "answer to question", keys).items():
        turns = answer_turns(row)
        prompt = prompts[key]
        if len(turns) != len(prompt.turns):
            raise row.error(f"{len(turns)} turns answered", f"{len(prompt.turns)}, as the question has")
        found[prompt.id] = stored_response(prompt, model, turns)
    return found


def _judgment(rows: list[Row], judge: str, prompt: Prompt, shown: tuple[Role, str, Response | None]) -> Judgment:
    """The verdict of a row, or of several on one turn, whose mean is taken."""
    templates = [_template(row) for row in rows]
    raw = "\n\n".join(str(row.values.get("judgment", "")) for row in rows)
    verdicts = [_verdict(row) for row in rows]
    meta: dict[str, Any] = {"template": templates[0]}
    if len(rows) > 1:
        meta["repeated"] = [verdict.value if isinstance(verdict, Rating) else None for verdict in verdicts]
    return stored_judgment(prompt, judge, [shown], _mean(verdicts), turn=_turn(rows[0]), raw=raw, meta=meta)


def _template(row: Row) -> Any:
    named = row.values["judge"]
    template = named[1] if isinstance(named, list) and len(named) > 1 else ""
    if str(template).startswith("pair"):
        raise UsageError(f"{row.path}: pairwise judgments", "single-answer judgments", "give JUDGE_single.jsonl")
    return template


def _mean(verdicts: list[Verdict]) -> Verdict:
    """The mean of the verdicts that could be read, as FastChat's average leaves the others out."""
    ratings = [verdict.value for verdict in verdicts if isinstance(verdict, Rating)]
    return Rating(value=fmean(ratings), low=_LOW, high=_HIGH) if ratings else verdicts[0]


def _verdict(row: Row) -> Verdict:
    row.get("score", (int, float), "score as a number, -1 where the verdict could not be read")
    score = score_of(row)
    if score is None:
        return Unscored(reason="unparsed", detail=f"stored as {row.values['score']}")
    if not _LOW <= score <= _HIGH:
        return Unscored(reason="out_of_scale", detail=f"rating {row.values['score']} on a scale of 1 to 10")
    return Rating(value=score, low=_LOW, high=_HIGH)
