"""Draws docs/images/intervals.svg: AlpacaEval 2's published intervals beside ours, for published annotations.

    python docs/images/intervals.py RUN_DIR... --out docs/images/intervals.svg

RUN_DIR are runs made by `assay import alpaca_eval`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reports.charts import IntervalChart, Mark
from reports.drawing import WIDE, draw

Z = 1.959964
OURS, PUBLISHED = "assay: the whole fit repeated on resampled prompts, 95 %", "published: ± 1.96 lc_standard_error"


def figures(run: Path) -> tuple[str, dict[str, dict[str, float]]]:
    """Read a run's name and rows."""
    summary = json.loads((run / "summary.json").read_text())
    return run.name, {row["metric"]: row for row in summary["rows"]}


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    found = sorted((figures(run) for run in arguments.runs), key=lambda f: -f[1]["length_controlled_win_rate"]["value"])
    marks = []
    for name, rows in found:
        ours = rows["length_controlled_win_rate"]
        theirs = rows["published_length_controlled_win_rate"]["value"]
        half = Z * rows["published_lc_standard_error"]["value"]
        label = f"{name}  {ours['value']:.1f} [{ours['ci_low']:.1f}, {ours['ci_high']:.1f}]"
        marks.append(Mark(label, ours["value"], ours["ci_low"], ours["ci_high"], OURS))
        marks.append(Mark(label, theirs, theirs - half, theirs + half, PUBLISHED))
    title = "AlpacaEval 2: length-controlled win rate against gpt4_1106_preview"
    arguments.out.write_text(draw(IntervalChart(title, "%", marks, x_range=(0.0, 100.0)), WIDE, {}, alone=True))


if __name__ == "__main__":
    main()
