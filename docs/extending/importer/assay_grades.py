"""Reads a CSV file of MT-Bench grades: question_id, question, turn, answer, grade."""

import csv
from pathlib import Path

from harness.errors import FileFormatError
from harness.hashing import content_hash
from harness.protocols import Imported
from harness.records import Judgment, Prompt, Rating, Response

COLUMNS = {"question_id", "question", "turn", "answer", "grade"}


class Grades:
    """Reads a CSV file of MT-Bench grades."""

    def add_arguments(self, parser):
        parser.add_argument(
            "--csv", type=Path, required=True, metavar="F", help="a file with " + ", ".join(sorted(COLUMNS))
        )
        parser.add_argument("--model", required=True, metavar="NAME", help="the model that was graded")

    def read(self, arguments):
        with arguments.csv.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        if not rows or not set(rows[0]) >= COLUMNS:
            raise FileFormatError(arguments.csv, 1, "columns are missing", ", ".join(sorted(COLUMNS)))
        found = Imported("mt_bench", "mt_bench", "1", arguments.model, "people", sources=[arguments.csv])
        for key in dict.fromkeys(row["question_id"] for row in rows):
            turns = sorted((row for row in rows if row["question_id"] == key), key=lambda row: int(row["turn"]))
            prompt = Prompt(benchmark="mt_bench", version="1", key=key, turns=tuple(row["question"] for row in turns))
            answer = Response(
                prompt_id=prompt.id,
                benchmark="mt_bench",
                model=arguments.model,
                model_id=f"import:{arguments.model}",
                turns=tuple(row["answer"] for row in turns),
            )
            found.prompts.append(prompt)
            found.responses.append(answer)
            found.judgments += [self.judgment(row, prompt, answer) for row in turns]
        return found

    def judgment(self, row, prompt, answer):
        return Judgment(
            judge="people",
            judge_id=content_hash("grades", "people"),
            benchmark="mt_bench",
            prompt_id=prompt.id,
            response_ids=(answer.id,),
            order=("candidate",),
            turn=int(row["turn"]),
            verdict=Rating(value=float(row["grade"]), low=1.0, high=10.0),
        )
