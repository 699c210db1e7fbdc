"""Load training data and print what it holds, before it is trained on.

The items and prompts of every source, how long they are in tokens, and what was left out and why. The columns tell the
kind (pairs, sft, prompts) unless --kind does. With --check-against, training prompts are compared with benchmark
prompts, and data with more overlap than --max-overlap is refused. --write writes the data in one layout.

For example:
  assay train data pairs.jsonl sft.jsonl --tokenizer ./checkpoint
  assay train data harmless-base/train.jsonl.gz --adapter hh_rlhf --on-bad drop --json
  assay train data 'HuggingFaceH4/ultrafeedback_binarized?split=train_prefs' --tokenizer ./checkpoint
  assay train data prompts.jsonl --check-against mt_bench,alpaca_eval
  assay train data --mix mix2 --only helpsteer,shp --source helpsteer=./HelpSteer --tokenizer ./checkpoint
  assay train data pairs.jsonl --hold-out 0.05 --write prepared/

a PATH is a .jsonl, .json or .parquet file (.gz, .xz), a directory, a saved data set or a hub id;
PATH?split=...&subset=...&data_dir=...&revision=...&adapter=... chooses a part of it and its layout
exit status: 0 done, 1 the data cannot be used (invalid, or too much overlap), 2 wrong usage
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import AssayError, DataError, UsageError

if TYPE_CHECKING:
    from training.data.contamination import Contamination
    from training.data.loaded import Loaded
    from training.data.mixes import Mix


@dataclass(frozen=True, slots=True)
class _Part:
    """One row of the table."""

    name: str
    kind: str
    items: Loaded[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments, description and examples to its parser."""
    from harness.commands import describe
    from training.data.adapters import CONVERSATION_ADAPTERS, PAIR_ADAPTERS

    describe(parser, __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="file, directory or hub id")
    add("--mix", metavar="NAME", help="a mix in place of paths: mix1, mix2 or a YAML file")
    add("--source", action="append", default=[], metavar="NAME=PATH", help="read a source of the mix from PATH")
    add("--only", metavar="A,B", help="load only these sources of the mix")
    add("--kind", choices=("pairs", "sft", "prompts"), help="kind of the items (default: by the columns)")
    add(
        "--adapter",
        metavar="NAME",
        help="layout of the rows: " + ", ".join(sorted({*PAIR_ADAPTERS, *CONVERSATION_ADAPTERS})),
    )
    add("--on-bad", choices=("error", "drop"), default="error", help="stop at an invalid item, or drop and count it")
    add("--min-margin", type=float, default=0.0, metavar="X", help="least difference between scores (0)")
    add("--max-pairs-per-prompt", type=int, metavar="N", help="most pairs of one prompt")
    add("--tokenizer", metavar="DIR", help="count tokens with this tokenizer (directory or hub id)")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--table", action="store_true", help="print a table (the default)")
    shown.add_argument("--json", action="store_true", help="print JSON on stdout, everything else on stderr")
    add("--check-against", metavar="A,B", help="benchmarks or files of prompts that must not be trained on")
    add("--n-gram", type=int, default=13, metavar="N", help="consecutive words that count as overlap (13)")
    add("--max-overlap", type=float, default=0.0, metavar="X", help="share of the prompts that may overlap (0)")
    add("--remove-overlap", action="store_true", help="leave out items whose prompts overlap")
    add("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    add("--hold-out", type=float, metavar="X", help="with --write: share of prompts held out")
    add("--seed", type=int, default=0, help="seed of the held-out split and of a mix's order (0)")
    add("--write", type=Path, metavar="DIR", help="write train.jsonl (and held_out.jsonl) here")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command.

    Raises
    ------
    AssayError
        The data cannot be used, or the command line is wrong.
    """
    _check_sources(arguments)
    _check_limits(arguments)
    parts, mix = _load(arguments)
    found = _overlap(arguments, parts)
    answer = _figures(arguments, parts, mix)
    if arguments.check_against:
        answer["overlap"] = {kind: contamination.as_json() for kind, contamination in found.items()}
    refused: AssayError | None = None
    try:
        if written := _write(arguments, parts, mix, found):
            answer["written"] = written
    except AssayError as error:  # raised again once the figures are printed
        refused = error
    _print(arguments, answer, parts, mix, found)
    if refused is not None:
        raise refused
    return 0


def _check_sources(given: argparse.Namespace) -> None:
    from harness.commands.output import refuse

    """Check which data is selected."""
    own_layout = given.adapter or given.min_margin or given.max_pairs_per_prompt
    both = "paths and --mix" if given.mix else "no data"
    mix_only = "--source and --only choose sources of a mix"
    path_only = "--adapter, --min-margin and --max-pairs-per-prompt say how paths are read"
    kind = f"--kind {given.kind} of a mix"
    refuse(
        (bool(given.paths) == bool(given.mix), both, "PATH..., or --mix NAME"),
        ((given.source or given.only) and not given.mix, mix_only, "--mix NAME with them"),
        (given.mix and own_layout, path_only, "in a mix, the fields of its sources, in a YAML file for --mix"),
        (given.mix and given.kind not in (None, "pairs"), kind, "pairs, which is what a mix holds"),
    )


def _check_limits(given: argparse.Namespace) -> None:
    from harness.commands.output import refuse

    """Check what is to be left out, held out and written."""
    share, overlap = given.hold_out, given.max_overlap
    against = given.check_against and given.write
    cleaned = "--remove-overlap says what --write leaves out"
    refuse(
        (share is not None and given.write is None, "--hold-out says how --write splits", "--write DIR with it"),
        (given.remove_overlap and not against, cleaned, "--check-against A,B and --write DIR with it"),
        (given.seed < 0, f"--seed {given.seed}", "0 or more"),
        (share is not None and not 0 < share < 1, f"--hold-out {share}", "between 0 and 1, both excluded"),
        (not 0 <= overlap <= 1, f"--max-overlap {overlap:g}", "a share, 0 to 1"),
    )


def _load(arguments: argparse.Namespace) -> tuple[list[_Part], Mix | None]:
    from harness.progress import make_progress
    from training.data.loading import kind_of, load_conversations, load_pairs, load_prompts
    from training.data.mixes import load_mix

    with make_progress() as progress:
        if arguments.mix:
            given = dict(_source(item) for item in arguments.source)
            only = _names(arguments.only) or None
            mix = load_mix(
                arguments.mix, given, only=only, seed=arguments.seed, on_bad=arguments.on_bad, progress=progress
            )
            return [_Part(name, "pairs", items) for name, items in mix.parts.items()], mix
        progress.start("reading", len(arguments.paths))
        parts = []
        for path in arguments.paths:
            kind = arguments.kind or kind_of(path, arguments.adapter)
            common: dict[str, Any] = {"adapter": arguments.adapter, "on_bad": arguments.on_bad}
            if kind == "pairs":
                limits = {"min_margin": arguments.min_margin, "max_pairs_per_prompt": arguments.max_pairs_per_prompt}
                items: Loaded[Any] = load_pairs(path, **common, **limits)
            else:
                items = (load_conversations if kind == "sft" else load_prompts)(path, **common)
            parts.append(_Part(items[0].source, kind, items))
            progress.advance("reading", path)
    return parts, None


def _overlap(arguments: argparse.Namespace, parts: Sequence[_Part]) -> dict[str, Contamination]:
    """Measure overlap over all parts of a kind together; empty where no benchmark is named."""
    if not arguments.check_against:
        return {}
    from harness.commands.output import data_store
    from harness.progress import make_progress
    from training.data.contamination import benchmark_prompts, measure_overlap

    benchmarks = benchmark_prompts(_names(arguments.check_against), data_store(arguments.data_dir))
    with make_progress() as progress:
        return {
            kind: measure_overlap(items, benchmarks, arguments.n_gram, progress)
            for kind, items in _by_kind(parts).items()
        }


def _figures(arguments: argparse.Namespace, parts: Sequence[_Part], mix: Mix | None) -> dict[str, Any]:
    from harness.progress import make_progress
    from training.data.statistics import TokenCounter, data_statistics, load_tokenizer

    with make_progress() as progress:
        counter = TokenCounter(load_tokenizer(arguments.tokenizer), progress) if arguments.tokenizer else None
        rows = [data_statistics(part.items, counter, part.name) for part in parts]
        totals = [
            data_statistics(items, counter, "all")
            for kind, items in _by_kind(parts).items()
            if sum(part.kind == kind for part in parts) > 1
        ]
    answer: dict[str, Any] = {
        "tokenizer": arguments.tokenizer,
        "sources": [
            row.as_json() | {"n_rows": part.items.n_rows, "first_dropped": dict(part.items.first)}
            for row, part in zip(rows, parts, strict=True)
        ],
        "totals": [row.as_json() for row in totals],
        "rows": [*rows, *totals],
    }
    if mix is not None:
        published = {name: row.model_dump() for name, row in mix.published.items()}
        answer["mix"] = {"name": mix.name, "about": mix.recipe.about, "published": published}
    return answer


def _write(
    arguments: argparse.Namespace, parts: Sequence[_Part], mix: Mix | None, found: Mapping[str, Contamination]
) -> dict[str, int]:
    """Refuse data that overlaps, or leave that out, and write the items; returns how many each file holds."""
    from training.data.contamination import refuse_overlap
    from training.data.splitting import hold_out

    if not arguments.remove_overlap:
        for contamination in found.values():
            refuse_overlap(contamination, arguments.max_overlap)
    if arguments.write is None:
        return {}
    items = _to_write(arguments, parts, mix, found)
    if arguments.hold_out is None:
        return _write_files(arguments.write, {"train.jsonl": items})
    split = hold_out(items, arguments.hold_out, seed=arguments.seed)
    return _write_files(arguments.write, {"train.jsonl": split.train, "held_out.jsonl": split.held_out})


def _to_write(
    arguments: argparse.Namespace, parts: Sequence[_Part], mix: Mix | None, found: Mapping[str, Contamination]
) -> list[Any]:
    kinds = _by_kind(parts)
    if len(kinds) > 1:
        raise UsageError(f"--write of {' and '.join(kinds)} into one file", "one kind", "write each kind on its own")
    kind, items = next(iter(kinds.items()))
    if mix is not None:
        items = list(mix.pairs)
    if arguments.remove_overlap:
        from training.data.contamination import without_overlap

        items, n_removed = without_overlap(items, found[kind])
        sys.stderr.write(f"left out {n_removed} items whose prompts overlap\n")
        if not items:
            raise DataError("nothing is left to write", "items whose prompts are not a benchmark's")
    return items


def _write_files(folder: Path, files: Mapping[str, Sequence[Any]]) -> dict[str, int]:
    from harness.hashing import canonical_json
    from harness.store.jsonl import write_atomically

    existing = [str(folder / name) for name in files if (folder / name).exists()]
    if existing:
        raise UsageError(f"{', '.join(existing)} already exists", "a directory without it", "choose another --write")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--write {folder}: {error.strerror}", "a directory that can be written") from error
    for name, items in files.items():
        write_atomically(folder / name, (canonical_json(_row(item)) + "\n" for item in items))
    return {str(folder / name): len(items) for name, items in files.items()}


def _print(
    arguments: argparse.Namespace,
    answer: dict[str, Any],
    parts: Sequence[_Part],
    mix: Mix | None,
    found: Mapping[str, Contamination],
) -> None:
    from harness.commands.output import plain, print_json, print_table
    from training.data.statistics import statistics_table

    columns, cells = statistics_table(answer.pop("rows"))
    if arguments.json:
        print_json(answer)
    else:
        print_table(columns, cells + _published(mix), note=_note(arguments))
    lines = [
        f"{plain(part.name)}: dropped {count}, {reason} (first: {plain(part.items.first[reason])})"
        for part in parts
        for reason, count in part.items.dropped.items()
    ]
    lines += [
        f"{kind}: {len(overlap.keys)} of {overlap.n_prompts} prompts overlap; {_found(overlap)}"
        for kind, overlap in found.items()
    ]
    lines += [f"wrote {count} items to {name}" for name, count in answer.get("written", {}).items()]
    (sys.stderr if arguments.json else sys.stdout).write("".join(f"{line}\n" for line in lines))


def _published(mix: Mix | None) -> list[list[str]]:
    """The paper's rows of a mix's sources: means alone, in tokens of Llama 3."""
    return [
        [name, "paper", str(row.pairs), str(row.prompts), *map(str, row.lengths), "-", "-"]
        for name, row in (mix.published if mix is not None else {}).items()
    ]


def _note(arguments: argparse.Namespace) -> str:
    if not arguments.tokenizer:
        return "No token lengths: --tokenizer DIR counts them."
    return f"Lengths in tokens of {arguments.tokenizer}: mean (median, 95th percentile), over items, no chat template."


def _found(contamination: Contamination) -> str:
    return ", ".join(
        f"{name}: {contamination.n_found[name]} of {count} found"
        for name, count in contamination.n_benchmark_prompts.items()
    )


def _by_kind(parts: Sequence[_Part]) -> dict[str, list[Any]]:
    kinds: dict[str, list[Any]] = {}
    for part in parts:
        kinds.setdefault(part.kind, []).extend(part.items)
    return kinds


def _row(item: Any) -> dict[str, Any]:
    row: dict[str, Any] = item.as_row() | {"source": item.source}
    if getattr(item, "margin", None) is not None:
        row |= {"chosen_score": item.chosen_score, "rejected_score": item.rejected_score}
    return row


def _source(text: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise UsageError(f"--source {text}", "NAME=PATH")
    return name, path


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]
