"""Coverage of the intervals that `score` prints, model by model, and what their notes are worth.

    OMP_NUM_THREADS=1 python bench/coverage.py --data ../shared/data [--parts means lengths arena alpaca]

The prompts of each real model are the population and n of them are drawn with replacement, so the truth is known
exactly. Intervals of means are not computed: an interval holds the truth where its confidence distribution at the
truth lies between the tails, which a saddlepoint formula answers for many samples at once. Samples near a tail's edge
get the exact figure, and a sample of all is checked against `cluster_mean` and `weighted_mean` themselves.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from alpaca_lc import SPEC, gamed_rows, load, take
from real_scores import DATA, KoArena, alpaca_models, alpaca_pairs, single_ratings
from report import RESULTS, write_result
from scipy import stats

from benchmarks.alpaca_eval.lc import length_controlled_win_rate
from benchmarks.alpaca_eval.lc_bootstrap import LengthControlBootstrap, bootstrap_length_controlled
from benchmarks.alpaca_eval.lc_data import LengthControlData
from benchmarks.arena_hard.style import StyleControl, VerdictTable, style_controlled_win_rates
from benchmarks.arena_hard.style_features import StyleCounts
from harness.errors import AssayError
from harness.stats.bootstrap import cluster_codes
from harness.stats.bounded_interval import bounded_mean_limits, confidence_below
from harness.stats.estimate import Estimate
from harness.stats.length_control import LengthControlSpec, PairScores, length_controlled_pairs
from harness.stats.mean import cluster_mean, score_interval
from harness.stats.weighted_mean import weighted_mean

TAIL = 0.025
EDGE = 0.004  # how far from the tail the saddlepoint formula is trusted
SIZES = {
    "AlpacaEval": (30, 50, 100, 200, 400, 805),
    "Arena-Hard": (30, 50, 100, 200, 400),
    "MT-Bench": (20, 30, 50, 80),
}


@dataclass(frozen=True)
class Population:
    """Cluster totals and weights of one model's scores on the scale 0 to 1."""

    family: str
    model: str
    totals: np.ndarray
    weights: np.ndarray

    @property
    def truth(self) -> float:
        """Mean of all."""
        return float(self.totals.sum() / self.weights.sum())


@dataclass
class Misses:
    """Intervals below the truth, above it, and those with a note."""

    low: list[np.ndarray] = field(default_factory=list)
    high: list[np.ndarray] = field(default_factory=list)

    def add(self, low: np.ndarray, high: np.ndarray) -> None:
        """Take one model's samples."""
        self.low.append(low)
        self.high.append(high)


# ---- the real files


def populations(data: Path) -> Iterator[Population]:
    """Every model of every file, but those whose scores are all the same (a baseline against itself)."""
    for model in alpaca_models(data):
        share = np.asarray(alpaca_pairs(data, model).score)
        if np.ptp(share) > 0.0:
            decided = np.where(share == 0.5, 0.5, (share > 0.5).astype(float))
            yield Population("AlpacaEval 2 win rate", model, share, np.ones(share.size))
            yield Population("AlpacaEval 2 discrete win rate", model, decided, np.ones(share.size))
    for path in sorted((data / "alpaca_eval/full_xz/results").glob("*/alpaca_eval_gpt4/annotations.json.xz")):
        with lzma.open(path, "rt") as file:
            verdicts = [row["preference"] for row in json.load(file)]
        share = np.array([0.5 if v == 0 else v - 1.0 for v in verdicts if v is not None])
        yield Population("AlpacaEval 1 win rate", path.parts[-3], share, np.ones(share.size))
    arena = KoArena.load(data)
    for model in arena.judged_models():
        score, weight, question = (np.array(column) for column in zip(*arena.games(model), strict=True))
        codes, n = cluster_codes(list(question), question.size)
        totals = np.bincount(codes, weights=score * weight, minlength=n)
        yield Population("Arena-Hard win rate", model, totals, np.bincount(codes, weights=weight, minlength=n))
    for model, questions in single_ratings(data).items():
        totals = np.array([sum((r - 1.0) / 9.0 for r in ratings) for ratings in questions.values()])
        yield Population("MT-Bench rating", model, totals, np.array([float(len(r)) for r in questions.values()]))


def sizes_of(family: str, n_population: int) -> list[int]:
    sizes = next(sizes for name, sizes in SIZES.items() if family.startswith(name))
    return [n for n in sizes if n <= n_population + 5]


# ---- many samples at once


def tails_below(shift: np.ndarray) -> np.ndarray:
    """Lugannani and Rice (1980): probability that a row's sum of exponentials with these coefficients is at most 0."""
    low, high = shift.min(axis=1), shift.max(axis=1)
    found = np.where(high <= 0.0, 1.0, 0.0)
    mixed = (low < 0.0) & (high > 0.0)
    a = shift[mixed]
    left, right = 1.0 / a.min(axis=1), 1.0 / a.max(axis=1)
    reach, point = right - left, np.zeros(len(a))
    for _ in range(60):
        ratio = a / (1.0 - point[:, None] * a)
        slope, curvature = ratio.sum(axis=1), (ratio**2).sum(axis=1)
        right, left = np.where(slope > 0.0, point, right), np.where(slope < 0.0, point, left)
        step = point - slope / curvature
        moved = np.where((step <= left) | (step >= right), (left + right) / 2.0, step)
        done = np.abs(moved - point).max(initial=0.0) < 1e-9 * reach.min(initial=1.0)
        point = moved
        if done:
            break
    left_over = 1.0 - point[:, None] * a
    root = np.sign(point) * np.sqrt(np.maximum(2.0 * np.log(left_over).sum(axis=1), 0.0))
    other = point * np.sqrt(((a / left_over) ** 2).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        tail = stats.norm.cdf(root) + stats.norm.pdf(root) * (1.0 / root - 1.0 / other)
    found[mixed] = np.where(np.abs(root) < 1e-4, 0.5, tail)
    return found


def misses_of_ours(totals: np.ndarray, weights: np.ndarray, truth: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the truth lies below the interval of each row, and where above."""
    shift, atom = totals - truth * weights, weights.mean(axis=1, keepdims=True)
    at_ends = [tails_below(np.concatenate([shift, atom * (end - truth)], axis=1)) for end in (0.0, 1.0)]
    below = 0.5 * (at_ends[0] + at_ends[1])
    low_tail = np.where((totals < weights).any(axis=1), TAIL, TAIL / 2.0)
    high_tail = np.where((totals > 0.0).any(axis=1), TAIL, TAIL / 2.0)
    for row in np.flatnonzero(np.minimum(abs(below - low_tail), abs(below - 1.0 + high_tail)) < EDGE):
        below[row] = confidence_below(totals[row], weights[row], truth)
    return below < low_tail, below > 1.0 - high_tail


def former_limits(totals: np.ndarray, weights: np.ndarray, family: str) -> tuple[np.ndarray, np.ndarray]:
    """Limits that 0.1 printed: a score interval at the effective size; with weights, t on the logit scale."""
    n, mass = totals.shape[1], weights.sum(axis=1)
    mean = totals.sum(axis=1) / mass
    residual = totals - mean[:, None] * weights
    if family.startswith("Arena-Hard"):
        return _former_logit(mean, residual / mass[:, None])
    left = 1.0 - weights / mass[:, None]
    variance = (residual**2 / left).sum(axis=1) / mass**2
    cross = weights**2 / left
    df = mass**2 / ((weights**2).sum(axis=1) + (cross.sum(axis=1) ** 2 - (cross**2).sum(axis=1)) / mass**2)
    binary = bool(np.all((totals == 0.0) | (totals == weights)))
    spread = variance > 1e-24
    effective = np.where(binary | ~spread, float(n), mean * (1.0 - mean) / np.where(spread, variance, 1.0))
    quantile = stats.norm.ppf(1.0 - TAIL) * np.ones_like(mean) if binary else stats.t.ppf(1.0 - TAIL, df)
    pairs = [score_interval(*row) for row in zip(mean, effective, quantile, strict=True)]
    low, high = np.array(pairs).T
    return low, high


def _former_logit(mean: np.ndarray, influence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = influence.shape[1]
    second = (influence**2).mean(axis=1)
    kurtosis = (influence**4).mean(axis=1) / np.maximum(second**2, 1e-300)
    df = np.minimum(2.0 * n / np.maximum(kurtosis - 1.0, 1e-9), n - 1.0)
    inside = (mean > 0.0) & (mean < 1.0)
    share = np.where(inside, mean, 0.5)
    half = stats.t.ppf(1.0 - TAIL, df) * np.sqrt(second * n * n / (n - 1)) / (share * (1.0 - share))
    centre, reach = np.log(share / (1.0 - share)), 1.0 - TAIL ** (1.0 / n)
    low = np.where(inside, 1.0 / (1.0 + np.exp(half - centre)), np.where(mean <= 0.0, 0.0, 1.0 - reach))
    high = np.where(inside, 1.0 / (1.0 + np.exp(-half - centre)), np.where(mean <= 0.0, reach, 1.0))
    return low, high


def skewed(totals: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Where the former note "the mean rests on a few prompts; the interval may be too narrow" stood."""
    residual = totals - (totals.sum(axis=1) / weights.sum(axis=1))[:, None] * weights
    second, third = (residual**2).mean(axis=1), (residual**3).mean(axis=1)
    return np.abs(third) > 0.25 * totals.shape[1] ** 0.5 * np.maximum(second, 1e-300) ** 1.5


# ---- what is reported


def rates(misses: dict[str, Misses]) -> dict[str, dict[str, float]]:
    """Coverage over models of a family at one size: mean, worst and best model, misses on either side, percent."""
    found = {}
    for name, seen in misses.items():
        low, high = ([100.0 * float(part.mean()) for part in parts] for parts in (seen.low, seen.high))
        covered = [100.0 - a - b for a, b in zip(low, high, strict=True)]
        n = sum(part.size for part in seen.low)
        share = float(np.mean(covered)) / 100.0
        found[name] = {
            "mean": float(np.mean(covered)),
            "mc_error": 100.0 * math.sqrt(share * (1.0 - share) / n),
            "worst_model": min(covered),
            "best_model": max(covered),
            "truth_below": float(np.mean(low)),
            "truth_above": float(np.mean(high)),
        }
    return found


def noted(note: np.ndarray, miss: np.ndarray) -> dict[str, float]:
    """Rate of misses with a note and without it, percent, and how many samples have it."""
    share = {"with": miss[note], "without": miss[~note]}
    found = {f"misses_{name}": 100.0 * float(part.mean()) if part.size else math.nan for name, part in share.items()}
    return {"share_with_note": 100.0 * float(note.mean()), **found}


@dataclass
class MeansCell:
    """Samples of one family at one size."""

    misses: dict[str, Misses] = field(default_factory=lambda: {"ours": Misses(), "former": Misses()})
    notes: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    widths: list[tuple[float, float]] = field(default_factory=list)
    by_model: dict[str, float] = field(default_factory=dict)
    differing: int = 0

    def add(self, p: Population, rows: np.ndarray) -> None:
        """Take one model's samples; eight of them give widths, one is checked against the printed interval."""
        totals, weights = p.totals[rows], p.weights[rows]
        ours = misses_of_ours(totals, weights, p.truth)
        low, high = former_limits(totals, weights, p.family)
        former = (p.truth < low, p.truth > high)
        self.misses["ours"].add(*ours)
        self.misses["former"].add(*former)
        self.by_model[p.model] = round(100.0 * (1.0 - float((ours[0] | ours[1]).mean())), 2)
        self.notes.append((skewed(totals, weights), ours[0] | ours[1], former[0] | former[1]))
        for row in range(min(8, len(rows))):
            limits = bounded_mean_limits(totals[row], weights[row], 0.95)
            self.widths.append((limits[1] - limits[0], float(high[row] - low[row])))
        printed = _printed(p, rows[0])
        self.differing += (p.truth < printed[0], p.truth > printed[1]) != (bool(ours[0][0]), bool(ours[1][0]))

    def result(self) -> dict[str, object]:
        """Coverage, widths relative to the former ones, and the former note's worth."""
        flag, miss, miss_before = (np.concatenate(part) for part in zip(*self.notes, strict=True))
        ours, former = np.mean(self.widths, axis=0)
        return {
            "models": len(self.by_model),
            **rates(self.misses),
            "width_over_former": float(ours / former),
            "former_note_and_our_misses": noted(flag, miss),
            "former_note_and_former_misses": noted(flag, miss_before),
            "by_model": self.by_model,
        }


def means(data: Path, trials: int) -> dict[str, object]:
    """Means of bounded scores: what is printed now, what was printed before, widths and the former note."""
    rng = np.random.default_rng(7)
    cells: dict[str, MeansCell] = {}
    for p in populations(data):
        for n in sizes_of(p.family, p.totals.size):
            cell = cells.setdefault(f"{p.family}, n = {n}", MeansCell())
            cell.add(p, rng.integers(0, p.totals.size, (trials, n)))
        print(p.family, p.model, flush=True)
    found = {name: cell.result() for name, cell in cells.items()}
    checked = {
        "checked_against_printed": sum(len(cell.by_model) for cell in cells.values()),
        "differing": sum(cell.differing for cell in cells.values()),
    }
    return {"cells": found, "trials_a_model": trials, **checked}


def _printed(p: Population, rows: np.ndarray) -> tuple[float, float]:
    """Limits of one sample by the function that makes the printed row."""
    totals, weights = p.totals[rows], p.weights[rows]
    if p.family.startswith("Arena-Hard"):
        found = weighted_mean(totals / weights, weights, range(rows.size), bounds=(0.0, 1.0))
        return found.ci_low, found.ci_high
    # a cluster's scores: any that add up to its total
    scores = np.concatenate([np.full(int(w), t / w) for t, w in zip(totals, weights, strict=True)])
    found = cluster_mean(scores, np.repeat(np.arange(rows.size), weights.astype(int)), bounds=(0.0, 1.0))
    return found.ci_low, found.ci_high


def lengths(data: Path, trials: int) -> dict[str, object]:
    """Means without bounds (answer lengths): coverage of the t interval, and what its note is worth."""
    rng, cells = np.random.default_rng(8), {}
    columns = {model: np.asarray(alpaca_pairs(data, model).length_model) for model in alpaca_models(data)}
    for n in (10, 20, *SIZES["AlpacaEval"]):
        seen, notes = Misses(), []
        for length in columns.values():
            drawn = length[rng.integers(0, length.size, (trials, n))]
            mean, error = drawn.mean(axis=1), drawn.std(axis=1, ddof=1) / n**0.5
            reach = stats.t.ppf(1.0 - TAIL, n - 1) * error
            low, high = length.mean() < mean - reach, length.mean() > mean + reach
            seen.add(low, high)
            notes.append((skewed(drawn, np.ones_like(drawn)), low | high))
        flag, miss = (np.concatenate(part) for part in zip(*notes, strict=True))
        cells[f"n = {n}"] = {**rates({"ours": seen}), "note_and_misses": noted(flag, miss)}
        print("lengths", n, cells[f"n = {n}"], flush=True)
    return {"cells": cells, "models": len(columns), "trials_a_model": trials}


@dataclass
class Simulated:
    """One model's intervals, drawn and fitted one by one; samples without an interval are counted apart."""

    low: list[bool] = field(default_factory=list)
    high: list[bool] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def missed(self) -> np.ndarray:
        """Where the truth lies outside."""
        return np.array(self.low) | np.array(self.high)


def simulated(draw: Callable[[np.random.Generator], Estimate], truth: float, trials: int) -> Simulated:
    rng, run = np.random.default_rng(9), Simulated()
    for _ in range(trials):
        try:
            found = draw(rng)
        except AssayError:
            run.refused += 1
            continue
        if found.ci_low is None or found.ci_high is None:
            run.refused += 1
            continue
        run.low.append(truth < found.ci_low)
        run.high.append(truth > found.ci_high)
        run.widths.append(found.ci_high - found.ci_low)
        run.notes.append(found.note)
    return run


def misses_by_note(runs: list[Simulated]) -> dict[str, dict[str, float]]:
    """Rate of misses in percent under each note (its numbers left out) and without one."""
    found: dict[str, list[bool]] = {}
    for run in runs:
        for note, missed in zip(run.notes, run.missed.tolist(), strict=True):
            for part in note.split("; "):
                kind = "".join(c for c in part if not c.isdigit() and c != ".") or "(none)"
                found.setdefault(kind, []).append(missed)
    return {kind: {"misses": 100.0 * float(np.mean(v)), "samples": len(v)} for kind, v in found.items()}


def controlled_cell(runs: dict[str, Simulated]) -> dict[str, object]:
    used = {model: run for model, run in runs.items() if run.low}
    refused, n = sum(run.refused for run in runs.values()), sum(len(run.low) for run in used.values())
    found: dict[str, object] = {"share_without_interval": 100.0 * refused / (refused + n)}
    if not used:
        return found
    seen = Misses()
    for run in used.values():
        seen.add(np.array(run.low), np.array(run.high))
    return {
        **found,
        **rates({"ours": seen})["ours"],
        "mean_width": float(np.mean([width for run in used.values() for width in run.widths])),
        "misses_by_note": misses_by_note(list(used.values())),
        "by_model": {model: round(100.0 * (1.0 - float(run.missed.mean())), 2) for model, run in used.items()},
    }


@dataclass(frozen=True)
class ArenaPrompts:
    """One model's verdicts and style by prompt."""

    won: np.ndarray
    weight: np.ndarray
    games: list[list[tuple[float, float]]]
    own: np.ndarray
    baseline: np.ndarray

    def style_controlled(self, rows: np.ndarray, version: str) -> Estimate:
        """The style-controlled win rate of the drawn prompts."""
        table = VerdictTable(("model",), self.won[None, rows], self.weight[None, rows])
        style = StyleCounts(models=self.own[None, rows], baseline=self.baseline[rows])
        return style_controlled_win_rates(table, style, StyleControl(version=version)).win_rates["model"]

    def length_controlled(self, rows: np.ndarray, rng: np.random.Generator, n_boot: int) -> Estimate:
        """The length-controlled win rate of the drawn prompts."""
        drawn = [(s, w, row, place) for place, row in enumerate(rows) for s, w in self.games[row]]
        score, weight, at, place = (np.array(column) for column in zip(*drawn, strict=True))
        pairs = PairScores(score, weight, self.own[at, 0], self.baseline[at, 0], place.tolist())
        return length_controlled_pairs(pairs, rng, LengthControlSpec(n_boot=n_boot)).estimate


Figure = Callable[[ArenaPrompts, np.ndarray, np.random.Generator], Estimate]


def arena_prompts(arena: KoArena, styles: dict[str, dict[str, dict[str, object]]], model: str) -> ArenaPrompts:
    games: dict[str, list[tuple[float, float]]] = {}
    for score, weight, question in arena.games(model):
        if question in styles[model]:
            games.setdefault(question, []).append((score, weight))
    counts = [[_style_of(styles[side][question]) for question in games] for side in (model, arena.baseline)]
    own, baseline = np.array(counts)
    won = np.array([sum(s * w for s, w in rows) for rows in games.values()])
    return ArenaPrompts(
        won, np.array([sum(w for _, w in r) for r in games.values()]), list(games.values()), own, baseline
    )


def _style_of(style: dict[str, object]) -> list[float]:
    parts = (style[name] for name in ("token_len", "header_count", "list_count", "bold_count"))
    return [float(sum(part.values()) if isinstance(part, dict) else part) for part in parts]


def arena_controlled(data: Path, trials: int) -> dict[str, object]:
    """Arena-Hard with length or style controlled, each model alone as `score` fits it."""
    arena = KoArena.load(data)
    with gzip.open(arena.folder / "conv_metadata_72models.json.gz", "rt") as file:
        styles = json.load(file)
    prompts = {model: arena_prompts(arena, styles, model) for model in arena.models()}
    figures: dict[str, Figure] = {
        "style controlled, v2 features": lambda p, rows, rng: p.style_controlled(rows, "v2"),
        "style controlled, v0.1 features": lambda p, rows, rng: p.style_controlled(rows, "v0.1"),
        "length controlled": lambda p, rows, rng: p.length_controlled(rows, rng, 400),
    }
    cells = {}
    for name, figure in figures.items():
        for n in SIZES["Arena-Hard"] if name == "length controlled" else (20, *SIZES["Arena-Hard"]):
            runs = {}
            for model, p in prompts.items():
                truth = figure(p, np.arange(p.won.size), np.random.default_rng(0)).value

                def draw(
                    rng: np.random.Generator, p: ArenaPrompts = p, n: int = n, figure: Figure = figure
                ) -> Estimate:
                    return figure(p, rng.integers(0, p.won.size, n), rng)

                runs[model] = simulated(draw, truth, trials)
            cells[f"{name}, n = {n}"] = controlled_cell(runs)
            print(name, n, {k: v for k, v in cells[f"{name}, n = {n}"].items() if k != "by_model"}, flush=True)
    return {"cells": cells, "models": len(prompts), "trials_a_model": trials, "resamples": 400}


def alpaca_controlled(data: Path, trials: int) -> dict[str, object]:
    """AlpacaEval 2's length-controlled win rate; the truth is the figure of all prompts.

    The penalty is chosen anew in each resample up to 100 prompts, as printed, and held beyond, where it makes no
    difference (docs/design/020-alpaca-length-control.md) and a tenth of the time.
    """
    gamed, _ = gamed_rows(data)
    models = [m for m in alpaca_models(data) if m != "gpt4_1106_preview"]
    cells = {}
    for n in SIZES["AlpacaEval"]:
        spec, runs = LengthControlBootstrap(n_boot=150, reselect_C=n <= 100), {}
        for model in models:
            real = load(data, model)
            truth = length_controlled_win_rate(real, gamed).win_rate

            def draw(
                rng: np.random.Generator,
                real: LengthControlData = real,
                n: int = n,
                spec: LengthControlBootstrap = spec,
            ) -> Estimate:
                drawn = take(real, rng.integers(0, real.n, n))
                return bootstrap_length_controlled(drawn, gamed, rng, SPEC, spec)

            runs[model] = simulated(draw, truth, trials)
        cells[f"n = {n}"] = controlled_cell(runs)
        print("AlpacaEval LC", n, {k: v for k, v in cells[f"n = {n}"].items() if k != "by_model"}, flush=True)
    return {"cells": cells, "models": len(models), "trials_a_model": trials, "resamples": 150}


PARTS: dict[str, tuple[Callable[[Path, int], dict[str, object]], int]] = {
    "means": (means, 2000),
    "lengths": (lengths, 2000),
    "arena": (arena_controlled, 60),
    "alpaca": (alpaca_controlled, 10),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--trials", type=int, help="instead of each part's own number")
    options = parser.parse_args()
    stored = RESULTS / "coverage.json"
    result = json.loads(stored.read_text()) if stored.exists() else {}
    for part in options.parts:
        began = time.perf_counter()
        compute, trials = PARTS[part]
        result[part] = compute(options.data, options.trials or trials)
        result[part]["seconds"] = round(time.perf_counter() - began)
    result.pop("made_by", None)
    print(write_result("coverage", result))


if __name__ == "__main__":
    main()
