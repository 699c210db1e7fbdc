"""LLMBar's evaluator results (``evaluators/MODEL/PROMPTING/result.json``), as runs of RewardBench's llmbar-natural.

Paper        Zeng et al., "Evaluating Large Language Models at Evaluating Instruction Following", arXiv 2310.07641
Upstream     princeton-nlp/LLMBar, MIT
Deviations   a verdict that could not be read is not scored; upstream counts it wrong, and the figures named
             ``published_...`` do as upstream

The kappas of ``statistics.json`` are not read: they compare labels coded in different ways.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.reward_bench.items import read_llmbar
from benchmarks.reward_bench.reward_bench_1 import RewardBench
from harness.data.file_rows import Row, read_rows
from harness.data.votes import Side, StatedPreference, Statement, p_of_winner, text_name
from harness.hashing import content_hash
from harness.protocols import Imported
from harness.records import Prompt, Response, SummaryRow
from harness.run.figures import estimate_row
from harness.stats.mean import cluster_mean

_PRESENTATIONS = ("swap = False", "swap = True")
_PART = "llmbar-natural"


class LLMBarImporter:
    """Reads one evaluator's verdicts on the Natural items, both orders."""

    fields = ("label, results (LLMBar)",)

    def statements(self, row: Row) -> list[Statement] | None:
        """Read the gold label of an item and, in a result file, an evaluator's verdicts on it in both orders."""
        if not {"output_1", "output_2", "label"} <= row.values.keys():
            return None
        return [*_stated(row)]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the file's options."""
        parser.add_argument(
            "--results", type=Path, required=True, metavar="F", help="evaluators/MODEL/PROMPTING/result.json of Natural"
        )
        parser.add_argument("--model", metavar="NAME", help="name for tables; MODEL/PROMPTING where missing")

    def read(self, arguments: argparse.Namespace) -> Imported:
        """Read the file."""
        path: Path = arguments.results
        model = str(arguments.model or _evaluator(path))
        benchmark = RewardBench.of_version(_PART)
        imported = Imported(f"reward_bench:{_PART}", benchmark.name, benchmark.version, model, model, sources=[path])
        prompts = read_llmbar(path)
        rows = read_rows(path)
        winners = [_winners(row) for row in rows]
        labels = [int(row.values["label"]) for row in rows]
        for prompt, row, won, label in zip(prompts, rows, winners, labels, strict=True):
            imported.prompts.append(prompt)
            imported.responses.append(_response(prompt, model, won, label, _verdicts(row)))
        imported.figures += _published(imported.benchmark, prompts, winners, labels)
        n_unread = sum(None in won for won in winners)
        if n_unread:
            imported.notes.append(f"{n_unread} items have a verdict upstream could not read and counts as wrong")
        return imported


def _evaluator(path: Path) -> str:
    resolved = path.resolve()
    return f"{resolved.parent.parent.name}/{resolved.parent.name}" if resolved.name == "result.json" else path.stem


def _verdicts(row: Row) -> Mapping[str, Any]:
    """The evaluator's verdicts in both orders; what it wrote on the way (metrics, a reference) stands before them."""
    results = row.values.get("results")
    parts = [part for part in results if isinstance(part, Mapping)] if isinstance(results, list) else []
    for part in reversed(parts):
        if all(name in part for name in _PRESENTATIONS):
            return part
    raise row.error("no verdicts in 'results'", "an element with " + " and ".join(_PRESENTATIONS))


def _winner(verdict: Any) -> Any:
    return verdict.get("winner") if isinstance(verdict, Mapping) else verdict


def _winners(row: Row) -> tuple[int | None, ...]:
    """The output named better in each presentation: 1, 2, or None where upstream could not read it."""
    winners = [_winner(_verdicts(row)[name]) for name in _PRESENTATIONS]
    for winner in winners:
        if winner not in ("1", "2", None):
            raise row.error(f"winner is {winner!r}", "'1', '2' or null")
    return tuple(None if winner is None else int(winner) for winner in winners)


def _stated(row: Row) -> list[StatedPreference]:
    texts = [str(row.values[f"output_{i}"]) for i in (1, 2)]
    asked, label = str(row.values["input"]), row.values["label"]
    one, two = (Side(f"output_{i}", f"output_{i}", text) for i, text in enumerate(texts, 1))
    prompt = text_name("\n".join([asked, *texts]))
    found = StatedPreference(prompt, one, two, "", None, prompt_text=asked, given_by="judge")
    stated: list[StatedPreference] = []
    if "results" in row.values:
        # the winner is named by the answer's number in the file, whatever the order shown
        said = (str(_winner(_verdicts(row)[name])) for name in _PRESENTATIONS)
        stated += found.in_both_orders(*(p_of_winner(winner, ("output_1", "1"), ("output_2", "2")) for winner in said))
    if label in (1, 2):
        stated.append(replace(found, who="gold", p_a=1.0 if label == 1 else 0.0, given_by="gold"))
    elif label is not None or not stated:
        raise row.error(f"label is {label!r}", "1 or 2")
    return stated


def _response(
    prompt: Prompt, model: str, won: Sequence[int | None], label: int, verdicts: Mapping[str, Any]
) -> Response:
    """Write both verdicts as a run of our own would have stored them; the right answer is answer 0."""
    if None in won:
        meta: dict[str, Any] = {"reason": "unparsed: upstream could not read a verdict"}
    else:
        # Output 1 is shown first, then output 2; seen from the right answer that is 0, 1 or 1, 0.
        orders = [(0, 1), (1, 0)] if label == 1 else [(1, 0), (0, 1)]
        right = [winner == label for winner in won]
        meta = {
            "shown": [
                [first, second, 1.0 if (first == 0) == is_right else 0.0]
                for (first, second), is_right in zip(orders, right, strict=True)
            ]
        }
    model_id = content_hash("import", "llmbar", model)
    return Response.to(prompt, model, model_id, turns=tuple(_texts(verdicts)), meta=meta)


def _texts(verdicts: Mapping[str, Any]) -> list[str]:
    """What the evaluator wrote in each presentation; "" for a rating, whose verdict is computed."""
    texts = []
    for name in _PRESENTATIONS:
        completion = verdicts[name].get("completion") if isinstance(verdicts[name], Mapping) else None
        texts.append(str(completion[0]) if isinstance(completion, list) and completion else "")
    return texts


def _published(
    benchmark: str, prompts: Sequence[Prompt], winners: Sequence[Sequence[int | None]], labels: Sequence[int]
) -> list[SummaryRow]:
    """Compute the accuracies as upstream defines them, with our intervals."""
    right = [[float(winner == label) for winner in won] for won, label in zip(winners, labels, strict=True)]
    values = {
        "published_accuracy": [sum(pair) / 2.0 for pair in right],
        "published_accuracy_as_shown": [pair[0] for pair in right],
        "published_accuracy_swapped": [pair[1] for pair in right],
        "published_accuracy_both_orders": [pair[0] * pair[1] for pair in right],
        "published_agreement_of_orders": [float(won[0] == won[1]) for won in winners],
    }
    return [
        _figure(benchmark, metric, column, [prompt.cluster for prompt in prompts]) for metric, column in values.items()
    ]


def _figure(benchmark: str, metric: str, column: Sequence[float], clusters: Sequence[str]) -> SummaryRow:
    if len(column) < 2:
        return SummaryRow(benchmark=benchmark, metric=metric, reason=f"{len(column)} items", n=len(column))
    found = cluster_mean([100.0 * value for value in column], clusters, bounds=(0.0, 100.0))
    method = f"an unreadable verdict counts as wrong, as upstream; {found.method}"
    return estimate_row(benchmark, metric, replace(found, method=method, note=""), ())
