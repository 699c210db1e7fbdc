"""Make a bridge between two judges from the answers of models that both judged.

It converts the figures of old runs that only the old judge judged. Exit status 1 if no bridge holds.

For example:
  assay rebase --old runs/old/* --new runs/new/* --out bridge.json
  assay leaderboard runs/* --bridge bridge.json   # old figures on the new judge's scale
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.run.bridge_file import BridgeRecord
    from harness.run.rebase import Converted, Rebased


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("--old", nargs="+", type=Path, required=True, metavar="DIR", help="runs judged by the old judge")
    add("--new", nargs="+", type=Path, required=True, metavar="DIR", help="runs of the same answers by the new judge")
    add(
        "--metric",
        action="append",
        metavar="BENCHMARK:METRIC",
        help="a metric (repeatable), replacing the headline metrics",
    )
    add(
        "--family",
        action="append",
        default=[],
        metavar="MODEL=FAMILY",
        help="a model's family (repeatable); by default the first word of its name",
    )
    add("--out", type=Path, metavar="FILE", help="write the bridge, for assay leaderboard --bridge")
    add("--json", action="store_true", help="print the bridge as JSON on stdout")
    add("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import data_store, print_json
    from harness.run.rebase import read_judged, rebase

    data = data_store(arguments.data_dir)
    old, new = ([read_judged(path, data) for path in side] for side in (arguments.old, arguments.new))
    found = rebase(old, new, arguments.metric, _families(arguments.family))
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(found.file.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if arguments.json:
        print_json(_as_json(found))
    else:
        _print(found)
    return 0 if any(record.found["holds"] for record in found.file.bridges) else 1


def _families(given: Sequence[str]) -> dict[str, str]:
    from harness.errors import UsageError

    found = {}
    for text in given:
        model, separator, family = text.rpartition("=")
        if not (separator and model and family):
            raise UsageError(f"--family {text!r} has no model or no family", "MODEL=FAMILY")
        found[model] = family
    return found


def _as_json(found: Rebased) -> dict[str, Any]:
    converted = [
        {
            "model": c.model,
            "benchmark": c.benchmark,
            "metric": c.metric,
            "old": c.old,
            "new": c.new.value if c.new else None,
            "ci_low": c.new.ci_low if c.new else None,
            "ci_high": c.new.ci_high if c.new else None,
            "note": c.new.note if c.new else "",
            "reason": c.reason,
        }
        for c in found.converted
    ]
    return found.file.model_dump(mode="json") | {"converted": converted, "skipped": found.skipped}


def _print(found: Rebased) -> None:
    from harness.commands.output import print_table

    file = found.file
    for record in file.bridges:
        header = ["model", "family", "old", "new", "from the others", f"{file.level:.0%} interval", "inside"]
        rows = [
            [
                m.model,
                m.family,
                f"{m.old:.2f}",
                f"{m.new:.2f}",
                f"{m.predicted:.2f}",
                "" if m.ci_low is None or m.ci_high is None else f"{m.ci_low:.2f} to {m.ci_high:.2f}",
                "yes" if m.inside else "no",
            ]
            for m in sorted(record.models, key=lambda m: -m.new)
        ]
        title = f"{record.benchmark} {record.metric}: from {file.old.name} (old) to {file.new.name} (new)"
        print_table(header, rows, title, "\n".join(_words(record)))
        own = [c for c in found.converted if (c.benchmark, c.metric) == (record.benchmark, record.metric)]
        if own:
            _print_converted(own, file.level)
    _print_notes(found.skipped)


def _print_notes(notes: Sequence[str]) -> None:
    """Print metrics without a bridge."""
    import sys

    from harness.commands.output import plain

    for note in notes:
        sys.stdout.write(f"no bridge for {plain(note)}\n")


def _print_converted(converted: Sequence[Converted], level: float) -> None:
    from harness.commands.output import print_table

    rows = [
        [
            c.model,
            f"{c.old:.2f}",
            f"{c.new.value:.2f}" if c.new else "-",
            f"{c.new.ci_low:.2f} to {c.new.ci_high:.2f}"
            if c.new and c.new.ci_low is not None and c.new.ci_high is not None
            else c.reason or "",
            c.new.note if c.new else "",
        ]
        for c in converted
    ]
    print_table(["converted", "old", "new", f"{level:.0%} interval", "note"], rows)


def _words(record: BridgeRecord) -> list[str]:
    """The line, the tests, and the verdict."""
    f = record.found
    rank = "" if f["kendall_ci_low"] is None else f" ({f['kendall_ci_low']:.2f} to {f['kendall_ci_high']:.2f})"
    slope = f"{f['slope']:.3f} old; slope {f['slope_ci_low']:.2f} to {f['slope_ci_high']:.2f}"
    errors = f"error {f['prediction_error']:.2f} (by the mean of the others {f['error_of_mean']:.2f})"
    lines = [
        f"new = {f['intercept']:.2f} + {slope}; models scatter about the line by {f['scatter']:.2f}",
        f"rank agreement: Kendall's tau {f['kendall']:.2f}{rank}, p = {f['kendall_p_value']:.2g}",
        f"left out in turn: {f['n_inside']} of {f['n_models']} inside, {errors}",
        "residuals by length of the answers: " + _dependence("correlation", f["length"]),
        "residuals by family: " + _dependence("share of their variance", f["family"]),
    ]
    if f["holds"]:
        return [*lines, "the bridge holds"]
    return [*lines, *(f"REFUSED: {problem}" for problem in f["problems"])]


def _dependence(name: str, found: dict[str, Any] | None) -> str:
    if found is None:
        return "not tested (too few models)"
    return f"{name} {found['statistic']:.2f}, p = {found['p_value']:.2g} ({found['n']} models)"
