"""Whether limits, equivalence, rules over categories and rules with labels keep their promises on real verdicts.

    OMP_NUM_THREADS=1 python bench/rules.py --data ../shared/data [--trials 300]

Prompts are drawn with replacement from published verdicts, so that the truth is known, and every rule is put at its
boundary: the limit is the model's true figure, the margin the true difference, and so on. A false pass is a pass there.
Models are AlpacaEval 2's, the weakest included; its five sources are the categories. People's votes are the experts' of
MT-Bench's study with GPT-4's verdicts as predictions; two judges are GPT-4o mini and Qwen2.5-14B on its questions.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from judging_cost import grades, people_and_gpt4
from real_scores import DATA, alpaca_models, alpaca_pairs
from report import write_result

from harness.errors import StatisticsError
from harness.gate.evidence import PairedUnits, limit_units
from harness.gate.policy import Rule, make_policy
from harness.gate.sequential import sequential_decide
from harness.gate.testing import Claim, paired_test
from harness.protocols import Items
from harness.records import Score
from harness.stats.mean_test import Ends, decisiveness, mean_p_values
from harness.stats.predicted_difference import PairedLabels, predicted_difference
from harness.stats.worst_group import GroupSpec, worst_group, worst_group_difference

ALPHA = 0.05
POLICY = make_policy({"rules": [{"improve": {"benchmark": "b", "metric": "m"}}], "alpha": ALPHA})
SIZES = (30, 80, 164, 805)


def shares_and_sources(data: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Win shares in percent of every model on all 805 instructions, and the source of each instruction."""
    found = {}
    for model in alpaca_models(data):
        pairs = alpaca_pairs(data, model)
        values = np.full(805, np.nan)
        values[np.array(pairs.clusters)] = 100.0 * pairs.score
        found[model] = values
    path = next((data / "mirror").rglob("results/gpt4_1106_preview/model_outputs.json"))
    sources = np.array([row["dataset"] for row in json.loads(path.read_text())])
    kept = {model: values for model, values in found.items() if np.isfinite(values).all()}
    return dict(sorted(kept.items(), key=lambda item: float(item[1].mean()))), sources


def units_of(a: np.ndarray, b: np.ndarray) -> PairedUnits:
    keys = tuple(str(i) for i in range(a.size))
    return PairedUnits(keys, a, b, a.size, a.size, {}, 100.0, 0.0, 100.0, True)


def p_values(units: PairedUnits, threshold: float) -> tuple[float, float]:
    """The gate's p-values against "at most" and "at least" the threshold, without the interval, which takes longer."""
    span = units.span or (-100.0, 100.0)
    decisive = max(decisiveness(side, (0.0, 100.0)) for side in (units.first, units.second))
    return mean_p_values(units.first - units.second, threshold, Ends(*span, decisive))


def rates(cells: dict[str, list[list[bool]]], **about: object) -> list[dict[str, object]]:
    """Mean and worst cell of each test, with the error of one cell."""
    rows = []
    for test, found in cells.items():
        shares = [float(np.mean(hits)) for hits in found]
        row = {**about, "test": test, "cells": len(shares), "mean": float(np.mean(shares)), "worst": max(shares)}
        rows.append({**row, "mc_error_of_a_cell": math.sqrt(ALPHA * (1.0 - ALPHA) / len(found[0]))})
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    return rows


def limits(shares: dict[str, np.ndarray], trials: int) -> list[dict[str, object]]:
    """False passes of `at_most` and `at_least` where the figure is exactly the limit, fixed and after every prompt."""
    rng, rows = np.random.default_rng(1), []
    for n in SIZES:
        cells: dict[str, list[list[bool]]] = {"at_most, fixed": [], "at_least, fixed": [], "at_most, sequential": []}
        cells["at_least, sequential"] = []
        for values in list(shares.values())[::3]:
            number = float(values.mean())
            hits: dict[str, list[bool]] = {name: [] for name in cells}
            for _ in range(trials):
                drawn = rng.choice(values, n)
                scores = [Score("b", str(i), "m", str(i), value=v / 100.0) for i, v in enumerate(drawn.tolist())]
                units = limit_units(Items(scores, 100.0, (0.0, 1.0)), number)
                for name, better, sign in (("at_most", "lower", -1.0), ("at_least", "higher", 1.0)):
                    shown = p_values(units, 0.0)[0 if better == "higher" else 1]
                    hits[f"{name}, fixed"].append(shown <= ALPHA)
                    span = (-number, 100.0 - number)
                    stopped = sequential_decide(drawn - number, [Claim(sign, 0.0)], span, (ALPHA, ALPHA))
                    hits[f"{name}, sequential"].append(stopped.verdict == "pass")
            for name, found in hits.items():
                cells[name].append(found)
        rows += rates(cells, rule="limit", n=n)
    return rows


def same_as_the_gate(shares: dict[str, np.ndarray]) -> None:
    """Refuse to go on where `p_values` differs from the gate's own test."""
    weak, *_, strong = (values[:80] for values in shares.values())
    rule = Rule(benchmark="b", metric="m", margin=1.0)
    units = units_of(weak, strong)
    tested = paired_test("keep", rule, POLICY, units)
    if not np.allclose((tested.p_pass, tested.p_fail), p_values(units, -1.0), rtol=1e-6):
        raise SystemExit(f"{tested.p_pass}, {tested.p_fail} against {p_values(units, -1.0)}")


def pairs_of(shares: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Neighbours in the order of strength, the weakest first."""
    ordered = list(shares.values())
    return list(zip(ordered[1::2], ordered[::2], strict=False))


def equivalence(shares: dict[str, np.ndarray], trials: int) -> list[dict[str, object]]:
    """False passes where the change is exactly the margin."""
    rng, rows = np.random.default_rng(2), []
    for n in SIZES:
        found: list[list[bool]] = []
        for a, b in pairs_of(shares):
            margin = abs(float((a - b).mean()))
            hits = []
            for _ in range(trials):
                at = rng.integers(0, 805, n)
                units = units_of(a[at], b[at])
                hits.append(max(p_values(units, -margin)[0], p_values(units, margin)[1]) <= ALPHA)
            found.append(hits)
        rows += rates({"fixed": found}, rule="equivalent", n=n)
    return rows


def drawn_by_source(sources: np.ndarray, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: rng.choice(np.flatnonzero(sources == name), n) for name in np.unique(sources)}


def categories(shares: dict[str, np.ndarray], sources: np.ndarray, trials: int) -> list[dict[str, object]]:
    """Rules over categories at their boundary: the least favourable category, and the figures of the worst."""
    rng, rows = np.random.default_rng(3), []
    names = np.unique(sources)
    for n in (30, 80, 160):
        cells: dict[str, list[list[bool]]] = {"keep each": [], "improve worst": [], "naive worst": []}
        for pair in pairs_of(shares):
            # the candidate is the one that loses in a category
            a, b = min((pair, pair[::-1]), key=lambda s: min(float((s[0] - s[1])[sources == g].mean()) for g in names))
            means = [np.array([side[sources == g].mean() for g in names]) for side in (a, b)]
            margin, true = -float((means[0] - means[1]).min()), float(means[0].min() - means[1].min())
            hits: dict[str, list[bool]] = {name: [] for name in cells}
            for _ in range(trials):
                at = drawn_by_source(sources, n, rng)
                first, second = ({g: side[i] for g, i in at.items()} for side in (a, b))
                hits["keep each"].append(each_passes(first, second, margin))
                spec = GroupSpec(1.0 - 2.0 * ALPHA, bounds=(0.0, 100.0), n_splits=1)
                made = worst_group_difference(first, second, true, spec)
                hits["improve worst"].append(made.p_above is not None and made.p_above <= ALPHA)
                hits["naive worst"].append(naive_passes(first, second, true))
            for name, found in hits.items():
                cells[name].append(found)
        rows += rates(cells, rule="categories", n=n)
    return rows


def each_passes(first: dict[str, np.ndarray], second: dict[str, np.ndarray], margin: float) -> bool:
    return all(p_values(units_of(first[g], second[g]), -margin)[0] <= ALPHA for g in first)


def naive_passes(first: dict[str, np.ndarray], second: dict[str, np.ndarray], true: float) -> bool:
    """The test of the category in which the baseline looks worst, as if it had been named beforehand."""
    worst = min(second, key=lambda g: float(second[g].mean()))
    return p_values(units_of(first[worst], second[worst]), true)[0] <= ALPHA


def coverage(shares: dict[str, np.ndarray], sources: np.ndarray, trials: int) -> list[dict[str, object]]:
    """Coverage of the worst group's 95 % interval: the sources as they are, and groups that are all alike."""
    rng, rows = np.random.default_rng(4), []
    for alike in (False, True):
        for n in (30, 80, 160):
            own, naive = [], []
            for values in list(shares.values())[::3]:
                hits, naive_hits = [], []
                for _ in range(trials):
                    at = drawn_by_source(sources, n, rng)
                    groups = {g: rng.choice(values, n) if alike else values[i] for g, i in at.items()}
                    truth = float(values.mean()) if alike else min(float(values[sources == g].mean()) for g in at)
                    made = worst_group(groups, GroupSpec(bounds=(0.0, 100.0), n_splits=1)).estimate
                    hits.append(made.ci_low <= truth <= made.ci_high)
                    lowest = min(groups.values(), key=np.mean)
                    half = 1.96 * lowest.std(ddof=1) / math.sqrt(n)
                    naive_hits.append(abs(lowest.mean() - truth) <= half)
                own.append(float(np.mean(hits)))
                naive.append(float(np.mean(naive_hits)))
            row = {"rule": "worst_group", "groups": "all alike" if alike else "the five sources", "n": n}
            row |= {"coverage": float(np.mean(own)), "worst": min(own), "naive": float(np.mean(naive))}
            print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
            rows.append(row)
    return rows


def votes_by_pair(data: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean vote and GPT-4's verdict by question, of every pair of models with at least 40 questions."""
    people, gpt4 = people_and_gpt4(data)
    pairs: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for key in people.keys() & gpt4.keys():
        pairs.setdefault((key.first, key.second), {}).setdefault(key.prompt, []).append((people[key], gpt4[key]))
    means = [np.array([np.mean(values, axis=0) for values in questions.values()]).T for questions in pairs.values()]
    return [(100.0 * y, 100.0 * f) for y, f in means if y.size >= 40]


def gradings_by_pair(data: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Differences of two models' gradings by question, by the strong and the cheap judge, of every pair of models."""
    folder = data / "judge_meta/kook222_mtbench/data/en/judgments"
    both = [grades(folder / path, "single_grade") for path in ("gpt/judge_gpt4omini", "qwen/judge_14B")]
    shared = both[0].keys() & both[1].keys()
    models, questions = sorted({k[0] for k in shared}), sorted({k[1] for k in shared})
    found = []
    for i, a in enumerate(models):
        for b in models[:i]:
            rows = [differences(both, a, b, q) for q in questions]
            found.append(np.array([row for row in rows if row is not None]).T)
    return [(y, f) for y, f in found if y.size >= 40]


def differences(both: list[dict], a: str, b: str, question: int) -> tuple[float, float] | None:
    keys = [[(model, question, turn) for turn in (1, 2)] for model in (a, b)]
    if any(key not in judge for judge in both for side in keys for key in side):
        return None
    means = [[float(np.mean([judge[key] for key in side])) for side in keys] for judge in both]
    return means[0][0] - means[0][1], means[1][0] - means[1][1]


def labels(populations: list[tuple[np.ndarray, np.ndarray]], name: str, trials: int) -> list[dict[str, object]]:
    """False passes in both directions where the true difference is the margin, and what a label is worth."""
    rng, rows = np.random.default_rng(5), []
    for n, m in ((30, 120), (60, 240), (120, 680)):
        cells: dict[str, list[list[bool]]] = {"higher": [], "lower": []}
        worth = []
        for y, f in populations:
            hits: dict[str, list[bool]] = {"higher": [], "lower": []}
            for _ in range(trials):
                at = rng.integers(0, y.size, n + m)
                try:
                    sample = PairedLabels(y[at][:n], np.zeros(n), f[at][:n], f[at][n:])
                    made = predicted_difference(sample, 1.0 - 2.0 * ALPHA)
                except StatisticsError:
                    p_values = (1.0, 1.0)
                else:
                    p_values = made.p_values(float(y.mean()))
                    worth.append(made.powered.effective_labels / n)
                hits["higher"].append(p_values[0] <= ALPHA)
                hits["lower"].append(p_values[1] <= ALPHA)
            for side, found in hits.items():
                cells[side].append(found)
        rows += rates(cells, rule=f"labels: {name}", n=n, predicted=n + m, worth_of_a_label=float(np.mean(worth)))
    return rows


def main() -> None:
    """Print and store everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--trials", type=int, default=300)
    arguments = parser.parse_args()
    data, trials = arguments.data, arguments.trials
    shares, sources = shares_and_sources(data)
    parts: Iterable[Callable[[], list[dict[str, object]]]] = (
        lambda: categories(shares, sources, trials),
        lambda: equivalence(shares, trials),
        lambda: limits(shares, trials),
        lambda: coverage(shares, sources, max(trials // 5, 10)),
        lambda: labels(votes_by_pair(data), "experts and GPT-4", max(trials // 5, 10)),
        lambda: labels(gradings_by_pair(data), "GPT-4o mini and Qwen2.5-14B", max(trials // 5, 10)),
    )
    same_as_the_gate(shares)
    started, rows = time.perf_counter(), []
    for part in parts:
        rows += part()
        write_result(
            "rules", {"alpha": ALPHA, "trials": trials, "seconds": time.perf_counter() - started, "rows": rows}
        )


if __name__ == "__main__":
    main()
