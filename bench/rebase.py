"""Bridges between judges: coverage of models they have not seen, and refusal of a judge that ranks at random.

    OMP_NUM_THREADS=1 python bench/rebase.py --data ../shared/data

Left out: pairs of judges with published figures of the same models on the same prompts (AlpacaEval's annotators, which
publish standard errors; six judges of MT-Bench on six models). Each model is predicted from all others.

Resampled: the verdicts of two judges (gpt-4o-mini and Qwen2.5-14B) on the same answers of six models to MT-Bench. A
trial makes models that answer each question with the answer of a real model, chosen with weights of their own, and
draws the questions with replacement, so that the verdicts are real and the truth over all questions is known. The
bridge is made of all models but the last, whose figure it converts; a figure counts as covered if its interval holds
what the new judge gives that model over all questions. Scattered: the same, with a preference of the new judge for each
model added to all its verdicts, which is what judges of the published pairs have.

Random: the new judge's figures dealt out to other models, in the same trials.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from pathlib import Path

import numpy as np
from real_scores import DATA
from report import write_result

from harness.errors import StatisticsError
from harness.stats.errors_in_both import ErrorVariances, PairedFigures, fit_line
from harness.stats.judge_bridge import Bridge, errors_of_means

ALPACA = [
    ("data_AlpacaEval", "alpaca_eval_gpt4", "claude"),
    ("data_AlpacaEval", "claude", "alpaca_eval_gpt4"),
    ("data_AlpacaEval", "alpaca_eval_gpt4", "chatgpt_fn"),
    ("data_AlpacaEval", "claude", "chatgpt_fn"),
    ("data_AlpacaEval_2", "weighted_alpaca_eval_gpt4_turbo", "alpaca_eval_cot_gpt4_turbo_fn"),
    ("data_AlpacaEval_2", "weighted_alpaca_eval_gpt4_turbo", "alpaca_eval_gpt4_turbo_fn"),
    ("data_AlpacaEval_2", "alpaca_eval_cot_gpt4_turbo_fn", "alpaca_eval_gpt4_turbo_fn"),
]
BASELINES = {"text_davinci_003", "gpt4_turbo", "gpt4_1106_preview"}  # 50 % by definition
MODELS = (6, 10, 20)
SCATTER = (0.0, 0.3)  # points of MT-Bench's scale; the published pairs scatter by 0.2 to 0.4
JUDGED = "judge_meta/kook222_mtbench/data"
JUDGES = {"gpt-4o-mini": "gpt/judge_gpt4omini", "Qwen2.5-14B": "qwen/judge_14B"}
REFUSALS = 5  # every fifth trial also tests the bridge, which takes a fit for each model left out


def alpaca_pair(data: Path, folder: str, old: str, new: str) -> Bridge:
    tables = []
    for judge in (old, new):
        path = data / "alpaca_eval/leaderboards" / folder / f"{judge}_leaderboard.csv"
        with path.open(encoding="utf-8") as file:
            tables.append({row[""]: row for row in csv.DictReader(file)})
    names = [name for name in tables[0] if name in tables[1] and name not in BASELINES]
    x, y, sx, sy = (
        np.array([float(table[name][column]) for name in names])
        for column in ("win_rate", "standard_error")
        for table in tables
    )
    lengths = tuple(float(tables[1][name]["avg_length"]) for name in names)
    figures = PairedFigures(x, y, ErrorVariances(sx**2, sy**2, np.zeros(len(names))))
    return Bridge(figures, tuple(names), lengths, ("",) * len(names))


def mt_bench_pairs(data: Path) -> dict[str, Bridge]:
    """All ordered pairs of six judges; only the means are published, so all error is scatter."""
    with (data / JUDGED / "results/figure3_scores.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["language"], row["row_type"]) == ("en", "model")]
    columns = ("language", "row_type", "row_order", "row_id", "row_label", "judge_mean")
    judges = [name for name in rows[0] if name not in columns]
    found = {}
    for old in judges:
        for new in judges:
            if old != new:
                x, y = (np.array([float(row[judge]) for row in rows]) for judge in (old, new))
                figures = PairedFigures(x, y, ErrorVariances(*np.zeros((3, len(rows)))))
                found[f"{old} to {new}"] = Bridge(figures, tuple(r["row_id"] for r in rows), (None,) * 6, ("",) * 6)
    return found


def left_out(data: Path) -> dict[str, dict]:
    cells = {}
    for folder, old, new in ALPACA:
        bridge = alpaca_pair(data, folder, old, new)
        cells[f"{old} to {new}"] = cell = _cell(bridge)
        print(f"{old} to {new}: {cell}", flush=True)
    pairs = [_cell(bridge) for bridge in mt_bench_pairs(data).values()]
    cells["MT-Bench, 30 ordered pairs of six judges"] = {
        "n_models": sum(c["n_models"] for c in pairs),
        "n_inside": sum(c["n_inside"] for c in pairs),
        "n_pairs": len(pairs),
        "n_holding": sum(c["holds"] for c in pairs),
        "prediction_error": float(np.sqrt(np.mean([c["prediction_error"] ** 2 for c in pairs]))),
        "error_of_mean": float(np.sqrt(np.mean([c["error_of_mean"] ** 2 for c in pairs]))),
    }
    total = [sum(c[name] for c in cells.values()) for name in ("n_inside", "n_models")]
    cells["all"] = {"n_inside": total[0], "n_models": total[1], "coverage": total[0] / total[1]}
    print(cells["all"], flush=True)
    return cells


def _cell(bridge: Bridge) -> dict:
    length = bridge.length_dependence
    return {
        "n_models": len(bridge.names),
        "n_inside": bridge.n_inside,
        "slope": round(bridge.line.slope, 3),
        "scatter": round(bridge.line.scatter, 3),
        "kendall": round(bridge.rank_agreement.value, 3),
        "prediction_error": bridge.prediction_error,
        "error_of_mean": bridge.error_of_mean,
        "p_length": None if length is None else length.p_value,
        "holds": bridge.holds,
        "problems": list(bridge.problems),
    }


def verdicts(data: Path, old: str, new: str) -> tuple[np.ndarray, np.ndarray]:
    """Ratings of both judges, shape (6 models, 80 questions); a question's rating is the mean of its turns."""
    tables = []
    for judge in (old, new):
        folder = data / JUDGED / "en/judgments" / judge / "single_grade"
        table = []
        for path in sorted(folder.glob("*.jsonl")):
            rows = {}
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                turns = [row[t] for t in ("score_turn1", "score_turn2") if row[t] is not None and row[t] > 0]
                rows[row["question_id"]] = float(np.mean(turns)) if turns else math.nan
            table.append([rows.get(question, math.nan) for question in range(81, 161)])
        tables.append(np.array(table))
    whole = np.isfinite(tables[0]).all(axis=0) & np.isfinite(tables[1]).all(axis=0)
    return tables[0][:, whole], tables[1][:, whole]


def resampled(x: np.ndarray, y: np.ndarray, m: int, scatter: float, n_trials: int) -> dict:
    rng = np.random.default_rng(m)
    n_real, n = x.shape
    covered = holding = random_holding = 0
    widths = []
    for trial in range(n_trials):
        # Weights as uneven as the real models are: half of them answer mostly like one of the six.
        weights = rng.dirichlet(np.full(n_real, 0.3), m + 1)
        chosen = np.array([rng.choice(n_real, size=n, p=w) for w in weights])
        old, new = x[chosen, np.arange(n)], y[chosen, np.arange(n)] + scatter * rng.normal(size=(m + 1, 1))
        truth = float(new[-1].mean())
        drawn = rng.integers(0, n, n)
        a, b = old[:, drawn], new[:, drawn]
        own, shared = errors_of_means(a[:-1], b[:-1])
        figures = PairedFigures(a[:-1].mean(axis=1), b[:-1].mean(axis=1), own, shared)
        found = fit_line(figures).at(float(a[-1].mean()), ErrorVariances(float(a[-1].var(ddof=1) / n), 0.0, 0.0))
        covered += found.ci_low <= truth <= found.ci_high
        widths.append(found.ci_high - found.ci_low)
        dealt = rng.permutation(m)
        if trial % REFUSALS:
            continue
        own_dealt = ErrorVariances(own.x, np.asarray(own.y)[dealt], np.zeros(m))
        holding += _holds(figures)
        random_holding += _holds(PairedFigures(figures.x, figures.y[dealt], own_dealt))
    share = covered / n_trials
    return {
        "coverage": share,
        "mc_error": math.sqrt(share * (1 - share) / n_trials),
        "mean_width": float(np.mean(widths)),
        "share_holding": holding * REFUSALS / n_trials,
        "share_random_holding": random_holding * REFUSALS / n_trials,
        "n_trials": n_trials,
        "n_trials_of_tests": n_trials // REFUSALS,
    }


def _holds(figures: PairedFigures) -> bool:
    m = figures.x.size
    try:
        return Bridge(figures, ("",) * m, (None,) * m, ("",) * m).holds
    except StatisticsError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--trials", type=int, default=1000)
    arguments = parser.parse_args()
    began = time.perf_counter()
    cells = {"left out": left_out(arguments.data), "resampled": {}}
    for old, new in (("gpt-4o-mini", "Qwen2.5-14B"), ("Qwen2.5-14B", "gpt-4o-mini")):
        x, y = verdicts(arguments.data, JUDGES[old], JUDGES[new])
        for m in MODELS:
            for scatter in SCATTER:
                name = f"{old} to {new}, {m} models, scatter {scatter}"
                cells["resampled"][name] = cell = resampled(x, y, m, scatter, arguments.trials)
                print(f"{name}: {cell}", flush=True)
    found = cells["resampled"].values()
    result = {
        "level": 0.95,
        "coverage_left_out": cells["left out"]["all"]["coverage"],
        "coverage_resampled": [min(c["coverage"] for c in found), max(c["coverage"] for c in found)],
        "share_random_judges_accepted": max(c["share_random_holding"] for c in found),
        "seconds": round(time.perf_counter() - began, 1),
        "cells": cells,
    }
    print("stored in", write_result("rebase", result))


if __name__ == "__main__":
    main()
