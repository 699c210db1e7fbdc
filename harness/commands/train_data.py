"""`assay train data`: what training data holds, before it is trained on.

Loads sources, counts what was left out, prints the statistics of the paper's Table 5, looks for benchmark prompts,
and writes the data out in one layout, split by prompt if asked.
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

__all__ = ["add_arguments", "run"]

DESCRIPTION = """\
Load training data and print how many items and prompts it holds, how long they are in tokens, and what was left
out and why. Kinds (pairs, sft, prompts) are told by the columns unless --kind says. With --check-against training
prompts are compared with benchmark prompts, and refused above --max-overlap.
"""

EPILOG = """\
examples:
  assay train data pairs.jsonl sft.jsonl --tokenizer ./checkpoint
  assay train data harmless-base/train.jsonl.gz --adapter hh_rlhf --on-bad drop --json
  assay train data 'HuggingFaceH4/ultrafeedback_binarized?split=train_prefs' --tokenizer ./checkpoint
  assay train data prompts.jsonl --check-against mt_bench,alpaca_eval
  assay train data --mix mix2 --only helpsteer,shp --source helpsteer=./HelpSteer --tokenizer ./checkpoint
  assay train data pairs.jsonl --hold-out 0.05 --write prepared/

a PATH is a .jsonl, .json or .parquet file (.gz, .xz), a directory, a saved data set or a hub id;
PATH?split=...&subset=...&data_dir=...&revision=...&adapter=... chooses a part of it and its layout
exit status: 0 done, 1 the data cannot be used (a fault, or too much overlap), 2 wrong usage
"""


@dataclass(frozen=True, slots=True)
class _Part:
    """One row of the table."""

    name: str
    kind: str
    items: Loaded[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments, description and examples to its parser."""
    from training.data.adapters import CONVERSATION_ADAPTERS, PAIR_ADAPTERS

    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter

    parser.add_argument("paths", nargs="*", metavar="PATH", help="file, directory or hub id")
    parser.add_argument("--mix", metavar="NAME", help="a mix in place of paths: mix1, mix2 or a YAML file")
    parser.add_argument("--source", action="append", default=[], metavar="NAME=PATH", help="a mix's source from here")
    parser.add_argument("--only", metavar="A,B", help="these sources of the mix alone")
    parser.add_argument("--kind", choices=("pairs", "sft", "prompts"), help="what it holds (told by the columns)")
    parser.add_argument(
        "--adapter",
        metavar="NAME",
        help="layout of the rows: " + ", ".join(sorted({*PAIR_ADAPTERS, *CONVERSATION_ADAPTERS})),
    )
    parser.add_argument("--on-bad", choices=("error", "drop"), default="error", help="faulty items: stop, or count")
    parser.add_argument("--min-margin", type=float, default=0.0, metavar="X", help="least difference of scores (0)")
    parser.add_argument("--max-pairs-per-prompt", type=int, metavar="N", help="so many pairs of a prompt at most")
    parser.add_argument("--tokenizer", metavar="DIR", help="count tokens with this tokenizer (directory or hub id)")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--table", action="store_true", help="print a table (what is done anyway)")
    shown.add_argument("--json", action="store_true", help="print JSON on stdout, everything else on stderr")
    parser.add_argument("--check-against", metavar="A,B", help="benchmarks whose prompts must not be trained on")
    parser.add_argument("--n-gram", type=int, default=13, metavar="N", help="words in a row that are an overlap (13)")
    parser.add_argument("--max-overlap", type=float, default=0.0, metavar="X", help="share of prompts let through (0)")
    parser.add_argument("--remove-overlap", action="store_true", help="take overlapping prompts out, and say how many")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    parser.add_argument("--hold-out", type=float, metavar="X", help="with --write: share of prompts held out")
    parser.add_argument("--seed", type=int, default=0, help="of the held-out split and of a mix's order (0)")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write train.jsonl (and held_out.jsonl) here")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command.

    Raises
    ------
    AssayError
        The data cannot be used, or the command line is wrong.
    """
    from training.data.contamination import refuse_overlap

    _check(arguments)
    parts, mix = _load(arguments)
    found = _overlap(arguments, parts)
    answer = _figures(arguments, parts, mix)
    if found is not None:
        answer["overlap"] = {kind: contamination.as_json() for kind, contamination in found.items()}
    written: dict[str, int] = {}
    refused: AssayError | None = None
    try:
        if not arguments.remove_overlap:
            for contamination in (found or {}).values():
                refuse_overlap(contamination, arguments.max_overlap)
        written = _write(arguments, parts, mix, found or {})
    except AssayError as error:  # said after the figures are printed
        refused = error
    if written:
        answer["written"] = written
    _print(arguments, answer, parts, mix, found or {})
    if refused is not None:
        raise refused
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if bool(arguments.paths) == bool(arguments.mix):
        raise UsageError("paths and --mix" if arguments.mix else "no data", "PATH..., or --mix NAME")
    if (arguments.source or arguments.only) and not arguments.mix:
        raise UsageError("--source and --only choose sources of a mix", "--mix NAME with them")
    if arguments.mix and (arguments.adapter or arguments.min_margin or arguments.max_pairs_per_prompt):
        raise UsageError(
            "--adapter, --min-margin and --max-pairs-per-prompt say how paths are read",
            "in a mix, each source's own",
            "write them into a YAML file of your own and give it to --mix",
        )
    if arguments.mix and arguments.kind not in (None, "pairs"):
        raise UsageError(f"--kind {arguments.kind} of a mix", "pairs, which is what a mix holds")
    if arguments.hold_out is not None and arguments.write is None:
        raise UsageError("--hold-out says how --write splits", "--write DIR with it")
    if arguments.remove_overlap and not (arguments.check_against and arguments.write):
        raise UsageError("--remove-overlap says what --write leaves out", "--check-against A,B and --write DIR with it")
    if arguments.seed < 0:
        raise UsageError(f"--seed {arguments.seed}", "0 or more")
    if arguments.hold_out is not None and not 0 < arguments.hold_out < 1:
        raise UsageError(f"--hold-out {arguments.hold_out:g}", "between 0 and 1, both excluded")
    if not 0 <= arguments.max_overlap <= 1:
        raise UsageError(f"--max-overlap {arguments.max_overlap:g}", "a share, 0 to 1")


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


def _overlap(arguments: argparse.Namespace, parts: Sequence[_Part]) -> dict[str, Contamination] | None:
    """Measure overlap over all parts of a kind together."""
    if not arguments.check_against:
        return None
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
        answer["mix"] = {
            "name": mix.name,
            "about": mix.recipe.about,
            "published": {
                name: source.published.model_dump()
                for name, source in mix.recipe.sources.items()
                if name in mix.parts and source.published is not None
            },
        }
    return answer


def _write(
    arguments: argparse.Namespace, parts: Sequence[_Part], mix: Mix | None, found: Mapping[str, Contamination]
) -> dict[str, int]:
    """Write the items out; returns how many each file holds."""
    if arguments.write is None:
        return {}
    from harness.hashing import canonical_json
    from harness.store.jsonl import write_atomically
    from training.data.contamination import without_overlap
    from training.data.splitting import assert_disjoint, hold_out

    kinds = _by_kind(parts)
    if len(kinds) > 1:
        raise UsageError(f"--write of {' and '.join(kinds)} into one file", "one kind", "write each kind on its own")
    kind, items = next(iter(kinds.items()))
    if mix is not None:
        items = list(mix.pairs)
    if arguments.remove_overlap:
        items, n_removed = without_overlap(items, found[kind])
        sys.stderr.write(f"left out {n_removed} items whose prompts overlap\n")
        if not items:
            raise DataError("nothing is left to write", "items whose prompts are not a benchmark's")
    files = {"train.jsonl": items}
    if arguments.hold_out is not None:
        split = hold_out(items, arguments.hold_out, seed=arguments.seed)
        assert_disjoint(split.train, split.held_out)
        files = {"train.jsonl": list(split.train), "held_out.jsonl": list(split.held_out)}
    there = [str(arguments.write / name) for name in files if (arguments.write / name).exists()]
    if there:
        raise UsageError(f"{', '.join(there)} is there already", "a directory without it", "choose another --write")
    try:
        arguments.write.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--write {arguments.write}: {error.strerror}", "a directory that can be written") from error
    for name, kept in files.items():
        write_atomically(arguments.write / name, (canonical_json(_row(item)) + "\n" for item in kept))
    return {str(arguments.write / name): len(kept) for name, kept in files.items()}


def _print(
    arguments: argparse.Namespace,
    answer: dict[str, Any],
    parts: Sequence[_Part],
    mix: Mix | None,
    found: Mapping[str, Contamination],
) -> None:
    from harness.commands.output import plain, print_json, print_table
    from training.data.statistics import statistics_table

    rows = answer.pop("rows")
    say = _stderr if arguments.json else _stdout
    if arguments.json:
        print_json(answer)
    else:
        columns, cells = statistics_table(rows)
        print_table(columns, cells + _published(mix), note=_note(arguments))
    for part in parts:
        for reason, count in part.items.dropped.items():
            say(f"{plain(part.name)}: dropped {count}, {reason} (first: {plain(part.items.first[reason])})")
    for kind, contamination in found.items():
        say(f"{kind}: {len(contamination.keys)} of {contamination.n_prompts} prompts overlap; " + _found(contamination))
    for name, count in answer.get("written", {}).items():
        say(f"wrote {count} items to {name}")


def _published(mix: Mix | None) -> list[list[str]]:
    """The paper's rows under one's own; the paper gives means alone, in tokens of Llama 3."""
    if mix is None:
        return []
    rows = []
    for name in mix.parts:
        row = mix.recipe.sources[name].published
        if row is not None:
            lengths = (row.prompt_length, row.chosen_length, row.rejected_length)
            rows.append([name, "paper", str(row.pairs), str(row.prompts), *map(str, lengths), "-", "-"])
    return rows


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


def _stdout(line: str) -> None:
    sys.stdout.write(line + "\n")


def _stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
