"""reward-bench's files of version 2: the scores of every answer of every item, or one accuracy a domain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.reward_bench.items import SUBSETS_V2
from benchmarks.reward_bench.reward_bench_2 import RewardBench2
from benchmarks.reward_bench.sections import overall_score
from harness.errors import FileFormatError
from harness.hashing import content_hash
from harness.protocols import Imported
from harness.records import Prompt, Response, SummaryRow

__all__ = ["read_version_2"]

_FIELDS = "subset, id, num_correct and scores, as many in each"
_DOMAINS = {**SUBSETS_V2, **{name.lower(): metric for name, metric in SUBSETS_V2.items()}}


def read_version_2(path: Path, value: Mapping[str, Any], model: str) -> Imported:
    """Read a file of version 2.

    Raises
    ------
    FileFormatError
        A column is missing or of another length, or a value is not what it should be.
    """
    benchmark = RewardBench2()
    imported = Imported("reward_bench_2", benchmark.name, benchmark.version, model, model, sources=[path])
    if "subset" in value:
        _read_items(path, value, imported)
    else:
        _read_accuracies(path, value, imported)
    return imported


def _read_items(path: Path, value: Mapping[str, Any], imported: Imported) -> None:
    columns = {}
    for name in ("subset", "id", "num_correct", "scores"):
        column = value.get(name)
        if not isinstance(column, list):
            raise FileFormatError(path, None, f"no list {name!r}", _FIELDS)
        columns[name] = column
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise FileFormatError(path, None, f"columns of different length: {lengths}", _FIELDS)
    seen: set[str] = set()
    for place, (subset, identifier, n_right, scores) in enumerate(zip(*columns.values(), strict=True)):
        metric = _DOMAINS.get(str(subset), str(subset))
        if metric not in SUBSETS_V2.values():
            raise FileFormatError(
                path, None, f"item {place}: unknown subset {subset!r}", "one of " + ", ".join(SUBSETS_V2)
            )
        key = f"{metric}/{identifier}"
        if key in seen:
            raise FileFormatError(path, None, f"item {place}: {key} is there twice", "each item once")
        seen.add(key)
        rewards = [_number(path, place, score) for score in scores] if isinstance(scores, list) else []
        if isinstance(n_right, bool) or not isinstance(n_right, int) or not 0 < n_right < len(rewards):
            raise FileFormatError(
                path,
                None,
                f"item {place}: num_correct is {n_right!r} of {len(rewards)} scores",
                "right and wrong answers",
            )
        pair = str(identifier).partition(":")[2]
        prompt = Prompt(
            benchmark=imported.benchmark,
            version=imported.version,
            key=key,
            turns=(key,),
            category=metric,
            cluster=f"ties/{pair}" if metric == "ties" and pair else "",
            meta={"n_right": n_right},
        )
        imported.prompts.append(prompt)
        meta = {"reason": "unparsed: stored as null"} if None in rewards else {"rewards": rewards}
        imported.responses.append(
            Response(
                prompt_id=prompt.id,
                benchmark=imported.benchmark,
                model=imported.model,
                model_id=content_hash("import", "reward_bench_2", imported.model),
                meta=meta,
            )
        )


def _number(path: Path, place: int, score: Any) -> float | None:
    """Read a score; lists of one number are what some pipelines store."""
    found = score[0] if isinstance(score, list) and len(score) == 1 else score
    if found is not None and (isinstance(found, bool) or not isinstance(found, int | float)):
        raise FileFormatError(path, None, f"item {place}: score {found!r:.40}", "a number, or null")
    return None if found is None else float(found)


def _read_accuracies(path: Path, value: Mapping[str, Any], imported: Imported) -> None:
    domains: dict[str, float | None] = dict.fromkeys(SUBSETS_V2.values())
    for name, metric in SUBSETS_V2.items():
        accuracy = value.get(name, value.get(name.lower()))
        if accuracy is None:
            continue
        if isinstance(accuracy, bool) or not isinstance(accuracy, int | float) or not -0.01 <= accuracy <= 1.01:
            raise FileFormatError(path, None, f"{name} is {accuracy!r:.40}", "an accuracy from 0 to 1, or null")
        domains[metric] = float(accuracy)
    complete = all(accuracy is not None for accuracy in domains.values())
    figures = {"score": overall_score(domains, version=2) if complete else None, **domains}
    for metric, figure in figures.items():
        imported.figures.append(
            SummaryRow(
                benchmark=imported.benchmark,
                metric=metric,
                value=None if figure is None else 100.0 * figure,
                method="from published accuracies of domains; the file has no items to make an interval from",
                reason="a domain is missing from the file" if figure is None else None,
            )
        )
