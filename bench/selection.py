"""After a selection: the best candidate's estimate, its gate, and the ranks of many models, on real verdicts.

    OMP_NUM_THREADS=1 python bench/selection.py --data ../shared/data

Prompts are drawn with replacement from AlpacaEval 2's, with the verdicts of real models, so that the truth is the
figure over all prompts. "Equal" candidates take each verdict from one of two real models at random, as the baseline
does: none is better than it. Hybrids, of which each prompt's verdict is that of one of two real models, make 56 models
of 16 for the ranks.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gate import POLICY, alpaca_shares, gsm8k_outcomes, rate, say, units_of
from real_scores import DATA
from report import RESULTS, write_result

from harness.gate.policy import Rule
from harness.gate.testing import paired_test
from harness.stats.ranking import rank_ranges, simultaneous_ranks
from harness.stats.selected import selected_effect, selection_level, simultaneous_interval

ALPHA = 0.05
SIZES = (50, 100, 200, 805)
CANDIDATES = (3, 5, 10)
PAIRS = (
    ("claude-2.1", "gpt-3.5-turbo-1106"),
    ("alpaca-7b", "gemma-7b-it"),
    ("alpaca-7b_verbose", "vicuna-7b"),
)
N_DRAWS = 2000


class Verdicts:
    """Win shares in percent: AlpacaEval 2's models on the prompts that all have; and right answers to GSM8K."""

    def __init__(self, data: Path) -> None:
        shares = alpaca_shares(data)
        keys = sorted(set.intersection(*map(set, shares.values())))
        self.models = sorted(shares)
        self.table = np.array([[shares[model][key] for key in keys] for model in self.models])
        self.gsm8k = list(gsm8k_outcomes(data).values())

    def of(self, model: str) -> np.ndarray:
        """A model's shares."""
        return self.table[self.models.index(model)]

    def pairs(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Name and scores of the pairs that equal candidates are made of."""
        for first, second in PAIRS:
            yield f"{first} / {second}", self.of(first), self.of(second)
        yield "binary: GSM8K", self.gsm8k[0], self.gsm8k[1]


def equal(pair: tuple[np.ndarray, np.ndarray], n: int, t: int, rng: np.random.Generator) -> np.ndarray:
    """Scores of T candidates and, last, the baseline, shape (T + 1, n), all truly the same."""
    rows = rng.integers(0, pair[0].size, n)
    return np.where(rng.random((t + 1, n)) < 0.5, pair[0][rows], pair[1][rows])


def real(table: np.ndarray, t: int, near: bool, rng: np.random.Generator) -> np.ndarray:
    """T real candidates and, last, a real baseline, shape (T + 1, all prompts); near ones have similar figures."""
    order = np.argsort(table.mean(axis=1))
    if near:
        start = int(rng.integers(0, len(table) - t))
        chosen = rng.permutation(order[start : start + t + 1])
    else:
        chosen = rng.permutation(len(table))[: t + 1]
    return table[chosen]


# ---- the estimate of the best


def effects(verdicts: Verdicts, n_trials: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    rng = np.random.default_rng(1)
    for kind in ("equal", "near", "far"):
        for t in CANDIDATES:
            for n in SIZES:
                row = {
                    "candidates": kind,
                    "n_candidates": t,
                    "n": n,
                    **effect_row(verdicts, (kind, t, n), n_trials, rng),
                }
                rows.append(row)
                found = "  ".join(
                    f"{name} {row[name]['coverage']['rate']:.3f} width {row[name]['width']:.1f}"
                    for name in ("raw", "corrected", "simultaneous", "split")
                )
                say(f"{kind:6s} T={t:2d} n={n:3d}  {found}")
    return rows


def effect_row(
    verdicts: Verdicts, case: tuple[str, int, int], n_trials: int, rng: np.random.Generator
) -> dict[str, object]:
    kind, t, n = case
    pairs = [(first, second) for _, first, second in verdicts.pairs()]
    found: dict[str, list[tuple[bool, float, float]]] = {}
    for trial in range(n_trials):
        if kind == "equal":
            scores, truth = equal(pairs[trial % len(pairs)], n, t, rng), np.zeros(t)
        else:
            population = real(verdicts.table, t, kind == "near", rng)
            truth = (population[:-1] - population[-1]).mean(axis=1)
            scores = population[:, rng.integers(0, population.shape[1], n)]
        differences = (scores[:-1] - scores[-1]).T
        for name, (estimate, selected) in estimates(differences).items():
            held = estimate.ci_low <= truth[selected] <= estimate.ci_high
            found.setdefault(name, []).append(
                (held, estimate.ci_high - estimate.ci_low, estimate.value - truth[selected])
            )
    return {name: summary(values) for name, values in found.items()}


def estimates(differences: np.ndarray) -> dict[str, tuple[object, int]]:
    found = selected_effect(differences)
    half = len(differences) // 2
    chosen = int(differences[:half].mean(axis=0).argmax())
    other = selected_effect(differences[half:, [chosen]]).raw
    return {
        "raw": (found.raw, found.selected),
        "corrected": (found.corrected, found.selected),
        "simultaneous": (simultaneous_interval(differences, found.selected), found.selected),
        "split": (other, chosen),
    }


def summary(values: list[tuple[bool, float, float]]) -> dict[str, object]:
    held, width, error = zip(*values, strict=True)
    return {
        "coverage": rate(list(held)),
        "width": float(np.mean(width)),
        "bias": float(np.mean(error)),
        "above_truth": float(np.mean(np.array(error) > 0)),
    }


# ---- the gate of the best


def gate(verdicts: Verdicts, n_trials: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    rng = np.random.default_rng(2)
    rule = Rule(benchmark="b", metric="m")
    for t in CANDIDATES:
        for n in SIZES:
            for name, first, second in verdicts.pairs():
                passed: dict[str, list[bool]] = {"uncorrected": [], "max-t": [], "Bonferroni": []}
                for _ in range(n_trials):
                    scores = equal((first, second), n, t, rng)
                    best = int(scores[:-1].mean(axis=1).argmax())
                    p = paired_test("improve", rule, POLICY, units_of(scores[best], scores[-1], 100.0)).p_pass
                    level = selection_level((scores[:-1] - scores[-1]).T, ALPHA)
                    for method, limit in (("uncorrected", ALPHA), ("max-t", level), ("Bonferroni", ALPHA / t)):
                        passed[method].append(p <= limit)
                row = {"data": name, "n_candidates": t, "n": n} | {m: rate(hits) for m, hits in passed.items()}
                rows.append(row)
                said = "  ".join(f"{m} {row[m]['rate']:.3f}" for m in passed)
                say(f"{name[:40]:40s} T={t:2d} n={n:3d}  {said}")
    return rows


def gate_means(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Mean and worst false passes over sizes and data, by number of candidates."""
    found = []
    for t in CANDIDATES:
        own = [row for row in rows if row["n_candidates"] == t]
        rates = {m: [row[m]["rate"] for row in own] for m in ("uncorrected", "max-t", "Bonferroni")}
        found.append(
            {"n_candidates": t} | {m: {"mean": float(np.mean(r)), "worst": float(max(r))} for m, r in rates.items()}
        )
    return found


# ---- the ranks of many


def hybrids(table: np.ndarray, n_models: int, rng: np.random.Generator) -> np.ndarray:
    rows = list(table)
    while len(rows) < n_models:
        first, second = rng.choice(len(table), 2, replace=False)
        rows.append(np.where(rng.random(table.shape[1]) < rng.random(), table[first], table[second]))
    return np.array(rows)


def ranks(verdicts: Verdicts, n_trials: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(3)
    rows: list[dict[str, object]] = []
    for n_models in (16, 56):
        table = hybrids(verdicts.table, n_models, rng)
        figures = table.mean(axis=1)
        truth = 1 + (figures > figures[:, None]).sum(axis=1)
        for n in (50, 200, 805):
            row = {"n_models": n_models, "n": n, **ranks_row(table, truth, (n, n_trials), rng)}
            rows.append(row)
            said = "  ".join(
                f"{kind} all {row[kind]['all_at_once']['rate']:.3f} each {row[kind]['each']:.3f} "
                f"ranks {row[kind]['mean_ranks']:.1f}"
                for kind in ("marginal", "simultaneous")
            )
            say(f"{n_models} models n={n:3d}  {said}  {row['seconds']:.2f} s")
    return rows


def ranks_row(
    table: np.ndarray, truth: np.ndarray, sizes: tuple[int, int], rng: np.random.Generator
) -> dict[str, object]:
    n, n_trials = sizes
    held: dict[str, list[np.ndarray]] = {"marginal": [], "simultaneous": []}
    spans: dict[str, list[float]] = {"marginal": [], "simultaneous": []}
    seconds = 0.0
    for _ in range(n_trials):
        scores = table[:, rng.integers(0, table.shape[1], n)]
        draws = rng.multinomial(n, np.full(n, 1.0 / n), size=N_DRAWS) @ scores.T / n
        started = time.perf_counter()
        found = {
            "marginal": rank_ranges(draws),
            "simultaneous": simultaneous_ranks(scores.mean(axis=1), draws, n),
        }
        seconds += time.perf_counter() - started
        for kind, ranges in found.items():
            held[kind].append(np.array([r.low <= at <= r.high for r, at in zip(ranges, truth, strict=True)]))
            spans[kind].append(float(np.mean([1 + r.high - r.low for r in ranges])))
    row: dict[str, object] = {
        kind: {
            "all_at_once": rate([bool(hits.all()) for hits in held[kind]]),
            "each": float(np.mean(held[kind])),
            "mean_ranks": float(np.mean(spans[kind])),
        }
        for kind in held
    }
    return row | {"seconds": seconds / n_trials}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--trials", type=int, default=300, help="per case of an estimate; others in proportion (300)")
    parser.add_argument("--only", choices=("gate", "effects", "ranks"), help="renew this part of the stored result")
    arguments = parser.parse_args()
    verdicts, n_trials = Verdicts(arguments.data), arguments.trials
    path = RESULTS / "selection.json"
    result = json.loads(path.read_text()) if arguments.only else {}
    result.pop("made_by", None)
    if arguments.only in (None, "gate"):
        rows = gate(verdicts, math.ceil(0.6 * n_trials))
        result |= {"gate_by_candidates": gate_means(rows), "gate": rows}
    if arguments.only in (None, "effects"):
        result["effects"] = effects(verdicts, n_trials)
    if arguments.only in (None, "ranks"):
        result["ranks"] = ranks(verdicts, math.ceil(0.4 * n_trials))
    write_result("selection", result)


if __name__ == "__main__":
    main()
