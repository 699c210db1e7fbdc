"""reward-bench's files: scores of each item (``eval-set-scores``) and accuracies by subset (``eval-set``).

The version is read off the file: version 2's items have lists of scores and `num_correct`, and its accuracies are named
after six domains.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.reward_bench.items import SUBSETS_V2
from benchmarks.reward_bench.reward_bench_1 import RewardBench, cluster_of
from benchmarks.reward_bench.reward_bench_2 import RewardBench2
from benchmarks.reward_bench.sections import SECTIONS_V1, overall_score, section_scores
from harness.errors import FileFormatError
from harness.hashing import content_hash
from harness.protocols import Imported
from harness.records import Judgment, Preference, Prompt, Response, SummaryRow, Unscored, Verdict
from harness.run.import_results import absent_response_id
from harness.store.jsonl import read_json

_SUBSETS_V1 = {subset: subset for section in SECTIONS_V1.values() for subset in section}
_WRITTEN_V2 = {**SUBSETS_V2, **{name.lower(): metric for name, metric in SUBSETS_V2.items()}}
_WRITTEN_V2 |= {metric: metric for metric in SUBSETS_V2.values()}
"""The names a file may give version 2's subsets, and the metrics'."""


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
        has_items = "subset" in value
        if has_items:
            is_version_2 = "num_correct" in value
            add = _add_items_2 if is_version_2 else _add_comparisons
        else:
            is_version_2 = any(name in value for name in SUBSETS_V2)
            add = _add_accuracies_2 if is_version_2 else _add_accuracies
        benchmark = RewardBench2() if is_version_2 else RewardBench()
        asked_as = "reward_bench_2" if is_version_2 else "reward_bench"
        imported = Imported(asked_as, benchmark.name, benchmark.version, model, model, sources=[path])
        add(path, value, imported)
        return imported


def _columns(path: Path, value: Mapping[str, Any], names: Sequence[str]) -> Iterator[list[Any]]:
    """Take columns of one length."""
    expected = f"{', '.join(names)}, as many in each"
    n: int | None = None
    for name in names:
        column = value.get(name)
        if not isinstance(column, list):
            raise FileFormatError(path, None, f"no list {name!r}", expected)
        n = len(column) if n is None else n
        if len(column) != n:
            raise FileFormatError(path, None, f"{len(column)} values in {name!r}, {n} in {names[0]!r}", expected)
        yield column


def _keys(path: Path, subsets: Sequence[Any], ids: Sequence[Any], known: Mapping[str, str]) -> list[tuple[str, str]]:
    """Name items by subset and id; a subset nobody knows and an item named twice are refused."""
    keys: dict[str, str] = {}
    for place, (subset, identifier) in enumerate(zip(subsets, ids, strict=True)):
        metric = known.get(str(subset))
        if metric is None:
            allowed = SUBSETS_V2 if known is _WRITTEN_V2 else known
            raise FileFormatError(
                path, None, f"item {place}: unknown subset {subset!r}", "one of " + ", ".join(allowed)
            )
        key = f"{metric}/{identifier}"
        if key in keys:
            raise FileFormatError(path, None, f"item {place}: {key} is there twice", "each item once")
        keys[key] = metric
    return list(keys.items())


def _prompt(imported: Imported, key: str, category: str, cluster: str, meta: Mapping[str, Any]) -> Prompt:
    return Prompt(
        benchmark=imported.benchmark,
        version=imported.version,
        key=key,
        turns=(key,),
        category=category,
        cluster=cluster,
        meta=dict(meta),
    )


def _number(path: Path, place: int, score: Any) -> float | None:
    """Read a score; lists of one number are what some pipelines store."""
    found = score[0] if isinstance(score, list) and len(score) == 1 else score
    if found is not None and not isinstance(found, int | float):
        raise FileFormatError(path, None, f"item {place}: score {found!r:.40}", "a number, or null")
    return None if found is None else float(found)


def _add_comparisons(path: Path, value: Mapping[str, Any], imported: Imported) -> None:
    """Add version 1's comparisons: two scores each, or the result alone."""
    by_score = "scores_chosen" in value and "scores_rejected" in value
    sides = ["scores_chosen", "scores_rejected"] if by_score else ["results"]
    subsets, ids, *scores = _columns(path, value, ["subset", "id", *sides])
    if not by_score:
        scores.append([0.5] * len(ids))
    for place, (key, subset) in enumerate(_keys(path, subsets, ids, _SUBSETS_V1)):
        prompt = _prompt(imported, key, subset, cluster_of(subset, key), {})
        chosen, rejected = (_number(path, place, column[place]) for column in scores)
        imported.prompts.append(prompt)
        imported.judgments.append(
            Judgment(
                judge=imported.model,
                judge_id=content_hash("import", "reward_bench"),
                benchmark=imported.benchmark,
                prompt_id=prompt.id,
                response_ids=(absent_response_id("chosen", prompt.id), absent_response_id("rejected", prompt.id)),
                order=("candidate", "baseline"),
                verdict=_verdict(chosen, rejected),
            )
        )


def _verdict(chosen: float | None, rejected: float | None) -> Verdict:
    if chosen is None or rejected is None:
        return Unscored(reason="unparsed", detail="stored as null")
    return Preference(p_first=1.0 if chosen > rejected else 0.0 if chosen < rejected else 0.5)


def _add_items_2(path: Path, value: Mapping[str, Any], imported: Imported) -> None:
    """Add version 2's items: the scores of all answers, right ones first."""
    subsets, ids, counts, scores = _columns(path, value, ["subset", "id", "num_correct", "scores"])
    model_id = content_hash("import", "reward_bench_2", imported.model)
    for place, (key, metric) in enumerate(_keys(path, subsets, ids, _WRITTEN_V2)):
        listed, n_right = scores[place], counts[place]
        rewards = [_number(path, place, score) for score in listed] if isinstance(listed, list) else []
        if isinstance(n_right, bool) or not isinstance(n_right, int) or not 0 < n_right < len(rewards):
            raise FileFormatError(
                path,
                None,
                f"item {place}: num_correct is {n_right!r} of {len(rewards)} scores",
                "right and wrong answers",
            )
        pair = str(ids[place]).partition(":")[2]
        cluster = f"ties/{pair}" if metric == "ties" and pair else ""
        prompt = _prompt(imported, key, metric, cluster, {"n_right": n_right})
        imported.prompts.append(prompt)
        meta = {"reason": "unparsed: stored as null"} if None in rewards else {"rewards": rewards}
        imported.responses.append(Response.to(prompt, imported.model, model_id, meta=meta))


def _add_accuracies(path: Path, value: Mapping[str, Any], imported: Imported) -> None:
    """Add version 1's accuracies by subset, and the sections made of them."""
    if not any(name in value for name in _SUBSETS_V1):
        raise FileFormatError(
            path,
            None,
            f"neither a list of subsets nor accuracies by subset (fields: {', '.join(sorted(value)[:10])})",
            "subset, id, scores_chosen, scores_rejected or results; or one accuracy a subset",
        )
    subsets = {name: _accuracy(path, value, name) for name in _SUBSETS_V1}
    sections = section_scores(subsets)
    overall = None if None in sections.values() else overall_score(sections)
    named = {f"subset_{name}": accuracy for name, accuracy in subsets.items()}
    _add_figures(imported, {"score": overall, **sections, **named})


def _add_accuracies_2(path: Path, value: Mapping[str, Any], imported: Imported) -> None:
    """Add version 2's accuracies by domain."""
    domains = {metric: _accuracy(path, value, name, name.lower()) for name, metric in SUBSETS_V2.items()}
    overall = None if None in domains.values() else overall_score(domains, version=2)
    _add_figures(imported, {"score": overall, **domains})


def _accuracy(path: Path, value: Mapping[str, Any], *names: str) -> float | None:
    """Read an accuracy under the first name that is there; published ones may be off by a rounding."""
    name = next((name for name in names if name in value), names[0])
    accuracy = value.get(name)
    if accuracy is None:
        return None
    if isinstance(accuracy, bool) or not isinstance(accuracy, int | float) or not -0.01 <= accuracy <= 1.01:
        raise FileFormatError(path, None, f"{name} is {accuracy!r:.40}", "an accuracy from 0 to 1, or null")
    return float(accuracy)


def _add_figures(imported: Imported, figures: Mapping[str, float | None]) -> None:
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
