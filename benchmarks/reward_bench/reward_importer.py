"""reward-bench's files: scores of each item (``eval-set-scores``) and accuracies by subset (``eval-set``).

Which version a file is of is read off it: version 2's items have lists of scores and `num_correct`, its accuracies
are named after six domains.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.reward_bench.items import SUBSETS_V2
from benchmarks.reward_bench.reward_bench_1 import RewardBench, cluster_of
from benchmarks.reward_bench.reward_importer_2 import read_version_2
from benchmarks.reward_bench.sections import SECTIONS_V1, overall_score, section_scores
from harness.errors import FileFormatError
from harness.hashing import content_hash
from harness.protocols import Imported
from harness.records import Judgment, Preference, Prompt, SummaryRow, Unscored, Verdict
from harness.run.import_results import absent_response_id
from harness.store.jsonl import read_json

__all__ = ["RewardBenchImporter"]

_SUBSETS = [subset for section in SECTIONS_V1.values() for subset in section]


class RewardBenchImporter:
    """Reads what reward-bench wrote for one model.

    Per-comparison scores give intervals and paired comparisons. Per-subset accuracies give the figures alone: which
    comparisons were right is not in the file.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the file's options."""
        parser.add_argument(
            "--scores", type=Path, required=True, metavar="F", help="eval-set-scores/M.json or eval-set/M.json"
        )
        parser.add_argument("--model", metavar="NAME", help="name for tables; the file's own where missing")

    def read(self, arguments: argparse.Namespace) -> Imported:
        """Read the file."""
        path: Path = arguments.scores
        value = read_json(path)
        if not isinstance(value, dict):
            raise FileFormatError(path, None, f"a JSON {type(value).__name__}", "the object reward-bench wrote")
        model = str(arguments.model or value.get("model") or path.stem)
        if _version(value) == "2":
            return read_version_2(path, value, model)
        benchmark = RewardBench()
        imported = Imported("reward_bench", benchmark.name, benchmark.version, model, model, sources=[path])
        if "subset" in value:
            _read_comparisons(path, value, imported)
        elif any(name in value for name in _SUBSETS):
            _read_accuracies(path, value, imported)
        else:
            raise FileFormatError(
                path,
                None,
                f"neither a list of subsets nor accuracies by subset (fields: {', '.join(sorted(value)[:10])})",
                "subset, id, scores_chosen, scores_rejected or results; or one accuracy a subset",
            )
        return imported


def _version(value: Mapping[str, Any]) -> str:
    if "subset" in value:
        return "2" if "num_correct" in value else "1"
    return "2" if any(name in value for name in SUBSETS_V2) else "1"


def _column(path: Path, value: Mapping[str, Any], name: str, n: int | None) -> list[Any]:
    column = value.get(name)
    if not isinstance(column, list):
        raise FileFormatError(
            path, None, f"no list {name!r}", "subset, id, and scores_chosen with scores_rejected, or results"
        )
    if n is not None and len(column) != n:
        raise FileFormatError(path, None, f"{len(column)} values in {name!r}, {n} in 'subset'", "as many in each")
    return column


def _read_comparisons(path: Path, value: Mapping[str, Any], imported: Imported) -> None:
    subsets = _column(path, value, "subset", None)
    n = len(subsets)
    ids = _column(path, value, "id", n)
    by_score = "scores_chosen" in value and "scores_rejected" in value
    chosen = _column(path, value, "scores_chosen" if by_score else "results", n)
    rejected = _column(path, value, "scores_rejected", n) if by_score else [0.5] * n
    seen: set[str] = set()
    for place, (subset, identifier) in enumerate(zip(subsets, ids, strict=True)):
        key = f"{subset}/{identifier}"
        if subset not in _SUBSETS:
            raise FileFormatError(
                path, None, f"item {place}: unknown subset {subset!r}", "one of " + ", ".join(_SUBSETS)
            )
        if key in seen:
            raise FileFormatError(path, None, f"item {place}: {key} is there twice", "each comparison once")
        seen.add(key)
        prompt = Prompt(
            benchmark=imported.benchmark,
            version=imported.version,
            key=key,
            turns=(key,),
            category=subset,
            cluster=cluster_of(subset, key),
        )
        imported.prompts.append(prompt)
        imported.judgments.append(
            Judgment(
                judge=imported.model,
                judge_id=content_hash("import", "reward_bench"),
                benchmark=imported.benchmark,
                prompt_id=prompt.id,
                response_ids=(absent_response_id("chosen", prompt.id), absent_response_id("rejected", prompt.id)),
                order=("candidate", "baseline"),
                verdict=_verdict(path, place, chosen[place], rejected[place]),
            )
        )


def _verdict(path: Path, place: int, chosen: Any, rejected: Any) -> Verdict:
    """Compare two scores; lists of one number are what some pipelines store."""
    pair = [score[0] if isinstance(score, list) and len(score) == 1 else score for score in (chosen, rejected)]
    if any(score is None for score in pair):
        return Unscored(reason="unparsed", detail="stored as null")
    if not all(isinstance(score, int | float) for score in pair):
        raise FileFormatError(path, None, f"item {place}: scores {pair!r:.60}", "two numbers, or null")
    return Preference(p_first=1.0 if pair[0] > pair[1] else 0.0 if pair[0] < pair[1] else 0.5)


def _read_accuracies(path: Path, value: Mapping[str, Any], imported: Imported) -> None:
    subsets: dict[str, float | None] = {}
    for name in _SUBSETS:
        accuracy = value.get(name)
        if accuracy is None:
            subsets[name] = None
        elif isinstance(accuracy, int | float) and 0.0 <= accuracy <= 1.0:
            subsets[name] = float(accuracy)
        else:
            raise FileFormatError(path, None, f"{name} is {accuracy!r:.40}", "an accuracy from 0 to 1, or null")
    sections = section_scores(subsets)
    complete = all(score is not None for score in sections.values())
    figures = {"score": overall_score(sections) if complete else None, **sections}
    figures |= {f"subset_{name}": accuracy for name, accuracy in subsets.items()}
    for metric, figure in figures.items():
        imported.figures.append(
            SummaryRow(
                benchmark=imported.benchmark,
                metric=metric,
                value=None if figure is None else 100.0 * figure,
                method="from published accuracies of subsets; the file has no comparisons to make an interval from",
                reason="a subset is missing from the file" if figure is None else None,
            )
        )
