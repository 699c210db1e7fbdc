"""alpaca_eval's files: model_outputs.json and annotations.json."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.alpaca_eval.benchmark import AlpacaEval, instruction_key
from harness.data.file_rows import Row, read_rows, refuse_unknown, unique_by
from harness.data.votes import Side, StatedPreference, Statement, text_name
from harness.protocols import Imported
from harness.records import Preference, Prompt, Response, Role, Unscored, Verdict
from harness.run.import_results import choose_one, choose_rows, stored_judgment, stored_response


class AlpacaEvalImporter:
    """Reads annotations, and the outputs they are about.

    An item of the outputs without an annotation is counted as missing; upstream's win rate is over the annotated
    ones, and so is ours, with the count beside it.
    """

    fields = ("output_1, output_2, preference (alpaca_eval)",)

    def statements(self, row: Row) -> list[Statement] | None:
        """Read an annotation of two answers, which are named by their texts."""
        if not {"instruction", "output_1", "output_2", "preference"} <= row.values.keys():
            return None
        return [_stated(row)]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the files' options."""
        parser.add_argument("--annotations", type=Path, required=True, metavar="F", help="annotations.json")
        parser.add_argument("--outputs", type=Path, metavar="F", help="the model's model_outputs.json")
        parser.add_argument("--baseline-outputs", type=Path, metavar="F", help="the baseline's model_outputs.json")
        parser.add_argument("--model", metavar="NAME", help="which model, where the annotations hold several")
        parser.add_argument("--judge", metavar="NAME", help="which annotator, where the annotations hold several")

    def read(self, arguments: argparse.Namespace) -> Imported:
        """Read the files."""
        rows = read_rows(arguments.annotations)
        model, rows = choose_rows(rows, "model", "--model", lambda row: row.text("generator_2"), arguments.model)
        judge, rows = choose_rows(rows, "annotator", "--judge", lambda row: row.text("annotator"), arguments.judge)
        baseline = choose_one("baseline", "--model", (row.text("generator_1") for row in rows), None)
        annotated = unique_by(rows, "annotation of", [instruction_key(row.text("instruction")) for row in rows])
        benchmark = AlpacaEval()
        imported = Imported("alpaca_eval", benchmark.name, benchmark.version, model, judge)
        imported.baselines = (baseline,)
        imported.sources = [arguments.annotations]
        outputs = _outputs(arguments.outputs, imported)
        baseline_outputs = _outputs(arguments.baseline_outputs, imported)
        for known in filter(None, (outputs, baseline_outputs)):
            refuse_unknown(arguments.annotations, "annotations", annotated, known)
        # A row's place in the annotations is what upstream looks the difficulty up by.
        places = {key: place for place, key in enumerate(annotated)}
        others = {key: row for key, row in {**baseline_outputs, **outputs}.items() if key not in annotated}
        for key, row in {**annotated, **others}.items():
            prompt, annotation = benchmark.prompt(row, places.get(key)), annotated.get(key)
            shown: list[tuple[Role, str, Response | None]] = [
                ("baseline", baseline, _response(prompt, "baseline", baseline, annotation, baseline_outputs.get(key))),
                ("candidate", model, _response(prompt, "candidate", model, annotation, outputs.get(key))),
            ]
            imported.prompts.append(prompt)
            imported.responses += [answer for _, _, answer in shown if answer is not None]
            if annotation is not None:
                logprobs = _top_logprobs(annotation.values.get("raw_completion"))
                meta = {"top_logprobs": logprobs} if logprobs else {}
                imported.judgments.append(stored_judgment(prompt, judge, shown, _verdict(annotation), meta=meta))
        return imported


def _outputs(path: Path | None, imported: Imported) -> dict[str, Row]:
    if path is None:
        return {}
    imported.sources.append(path)
    rows = read_rows(path)
    return unique_by(rows, "output for", [instruction_key(row.text("instruction")) for row in rows])


def _response(prompt: Prompt, role: Role, model: str, annotation: Row | None, output: Row | None) -> Response | None:
    """Take an answer from the annotation, which holds what was judged, else from the outputs."""
    field = "output_1" if role == "baseline" else "output_2"
    text = None if annotation is None else annotation.values.get(field)
    if text is None and output is not None:
        text = output.text("output")
    return stored_response(prompt, model, [text], role) if isinstance(text, str) else None


def _verdict(row: Row) -> Verdict:
    """Read the stored preference: 1 the baseline, 2 the model, between them a probability, 0 an old name for a draw."""
    row.get("preference", (int, float, type(None)), "preference as a number from 1 to 2, or null")
    stored = row.number("preference")
    if stored is None or stored == -1:
        return Unscored(reason="unparsed", detail=f"stored as {'null' if stored is None else -1}")
    value = stored or 1.5
    if not 1.0 <= value <= 2.0:
        return Unscored(reason="out_of_scale", detail=f"preference {value:g} on a scale of 1 to 2")
    return Preference(p_first=2.0 - value)


def _stated(row: Row) -> StatedPreference:
    verdict = _verdict(row)
    if isinstance(verdict, Unscored) and verdict.reason == "out_of_scale":
        raise row.error(f"preference is {row.values['preference']}", "1 to 2, or 0 for a draw")
    values = row.values
    prompt = str(values["instruction"]) + (f"\n\n{values['input']}" if values.get("input") else "")
    annotator = values.get("annotator_index")
    who = str(values.get("annotator") or "annotator") if annotator is None else f"annotator {annotator}"
    return StatedPreference(
        text_name(prompt),
        _side(row, 1),
        _side(row, 2),
        who,
        None,
        cost=row.number("price_per_example"),
        prompt_text=prompt,
        category=_text_or_none(values.get("dataset")),
    ).by_verdict(verdict)


def _side(row: Row, number: int) -> Side:
    text = str(row.values[f"output_{number}"])
    return Side(text_name(text), _text_or_none(row.values.get(f"generator_{number}")), text)


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(value)


def _top_logprobs(raw: Any) -> list[list[Any]]:
    """Dig the alternatives out of what upstream stored of the completion (an object, or its Python repr)."""
    if isinstance(raw, str):
        try:
            raw = ast.literal_eval(raw)
        except (ValueError, SyntaxError):
            return []
    try:
        alternatives = raw["logprobs"]["content"][0]["top_logprobs"]
        return [[a["token"], float(a["logprob"])] for a in alternatives if isinstance(a, Mapping)]
    except (KeyError, IndexError, TypeError, ValueError):
        return []
