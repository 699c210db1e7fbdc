"""Does the gate keep its promises? Wrong passes at each rule's boundary, a loop of iterations, power, and cost.

    OMP_NUM_THREADS=1 python bench/gate.py --data ../shared/data

Everything is made from published verdicts. Nulls: on every prompt the verdicts of two real models are exchanged at
random, with the probability that puts the true mean difference exactly on the rule's threshold; prompts are drawn with
replacement, so the truth is known exactly. The tests are the gate's own functions, fixed and sequential (looked at
after every prompt).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from real_scores import DATA, KoArena, RatedAnswers, alpaca_models, alpaca_pairs, rated_answers
from report import write_result
from scipy import stats

from benchmarks.alpaca_eval.lc_bootstrap import LengthControlBootstrap, compare_length_controlled
from benchmarks.alpaca_eval.lc_data import LengthControlData, LengthControlSpec, read_gamed
from benchmarks.alpaca_eval.lc_fit import LengthControlEstimator
from harness.gate.evidence import PairedUnits
from harness.gate.policy import Kind, Rule, make_policy
from harness.gate.sequential import sequential_decide
from harness.gate.testing import Claim, claims_of, fitted_test, paired_test
from harness.stats.confidence_sequence import Scale, betting_limits, betting_log_capital
from harness.stats.mean_test import above_p_values, decisiveness
from harness.stats.non_inferiority import corrected_p_values
from training.align.alpha import LoopGate

ALPHA = 0.05
POLICY = make_policy({"rules": [{"improve": {"benchmark": "b", "metric": "m"}}], "alpha": ALPHA})


@dataclass(frozen=True)
class Population:
    """Two real models' scores of the same prompts, in the metric's unit."""

    name: str
    first: np.ndarray
    second: np.ndarray
    reach: float

    @property
    def difference(self) -> np.ndarray:
        """Candidate minus baseline."""
        return self.first - self.second


# ---- the real files


def alpaca_shares(data: Path) -> dict[str, dict[int, float]]:
    """Win share in percent by model and instruction number, of every model with AlpacaEval 2 annotations."""
    found = {}
    for model in alpaca_models(data):
        pairs = alpaca_pairs(data, model)
        found[model] = dict(zip(pairs.clusters, (100.0 * pairs.score).tolist(), strict=True))
    return found


def gsm8k_outcomes(data: Path) -> dict[str, np.ndarray]:
    """Right or wrong (100 or 0) of four real models on 1,319 problems."""
    path = data / "academic/gsm8k/example_model_solutions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    models = [key for key, value in rows[0].items() if isinstance(value, dict)]
    return {m: np.array([100.0 * bool(row[m]["is_correct"]) for row in rows]) for m in models}


def mean_ratings(rated: RatedAnswers, model: str) -> dict[int, float]:
    by_question: dict[int, list[float]] = {}
    for rating, name, question in zip(rated.rating, rated.model, rated.question, strict=True):
        if name == model:
            by_question.setdefault(question, []).append(float(rating))
    return {q: float(np.mean(values)) for q, values in by_question.items() if len(values) == 2}


def joined(name: str, first: dict, second: dict, reach: float) -> Population:
    keys = [key for key in first if key in second]
    return Population(name, np.array([first[k] for k in keys]), np.array([second[k] for k in keys]), reach)


def populations(data: Path) -> list[Population]:
    alpaca = alpaca_shares(data)
    chosen = [("claude-2.1", "gpt-3.5-turbo-1106"), ("FuseChat-Gemma-2-9B-Instruct", "claude-2.1")]
    chosen += [("alpaca-7b", "gemma-7b-it")]
    found = [joined(f"logprob-weighted: {a} / {b}", alpaca[a], alpaca[b], 100.0) for a, b in chosen]
    outcomes = gsm8k_outcomes(data)
    names = sorted(outcomes)
    for a, b in ((names[0], names[1]), (names[0], names[-1])):
        found.append(Population(f"binary: GSM8K {a} / {b}", outcomes[a], outcomes[b], 100.0))
    rated = rated_answers(data)
    models = sorted(set(rated.model))
    for a, b in ((models[0], models[1]), (models[0], models[-1])):
        # from 0 to 9, so that every scale here starts at 0
        ratings = ({q: v - 1.0 for q, v in mean_ratings(rated, m).items()} for m in (a, b))
        found.append(joined(f"rating: MT-Bench {a} / {b}", *ratings, 9.0))
    return found


# ---- nulls from real verdicts


def relabelled(
    p: Population, threshold: float, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw prompts and exchange the models on each so that the true mean difference is the threshold."""
    keep = (1.0 + threshold / float(p.difference.mean())) / 2.0
    rows = rng.integers(0, p.first.size, shape)
    kept = rng.random(shape) < keep
    a, b = p.first[rows], p.second[rows]
    return np.where(kept, a, b), np.where(kept, b, a)


def units_of(a: np.ndarray, b: np.ndarray, reach: float) -> PairedUnits:
    keys = tuple(str(i) for i in range(a.size))
    return PairedUnits(keys, a, b, a.size, a.size, {}, reach, 0.0, reach, True)


def rate(hits: list[bool] | np.ndarray) -> dict[str, float]:
    share = float(np.mean(hits))
    n = len(hits)
    return {"rate": share, "mc_error": math.sqrt(max(share * (1.0 - share), 1.0 / n) / n), "n_trials": n}


def fixed_p_values(a: np.ndarray, b: np.ndarray, threshold: float, reach: float) -> np.ndarray:
    """The gate's one-sided p-values of many samples at once; `same_as_the_gate` checks that they are."""
    d = a - b
    if np.isin(a, (0.0, 100.0)).all() and np.isin(b, (0.0, 100.0)).all():
        counts = zip((d > 0).sum(axis=1).tolist(), (d < 0).sum(axis=1).tolist(), strict=True)
        return np.array([corrected_p_values(up, down, d.shape[1], threshold / 100.0)[0] for up, down in counts])
    decisive = np.maximum(row_decisiveness(a, (0.0, reach)), row_decisiveness(b, (0.0, reach)))
    return above_p_values(d, threshold, -reach, decisive)


def row_decisiveness(rows: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    return np.array([decisiveness(row, bounds) for row in rows])


def crossings(d: np.ndarray, claim: Claim, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """When each sample's capital for and against the claim first reaches 1/alpha; n where it never does."""
    found = []
    for values, threshold in ((d, claim.threshold), (-d, -claim.threshold)):
        hit = betting_log_capital(values, threshold, Scale(-reach, reach)) >= -math.log(ALPHA)
        found.append(np.where(hit.any(axis=1), hit.argmax(axis=1), d.shape[1]))
    return found[0], found[1]


def same_as_the_gate(kind: Kind, rule: Rule, samples: tuple[np.ndarray, np.ndarray], p: Population) -> None:
    """Refuse to go on where the fast versions differ from the gate's own functions."""
    (claim,) = claims_of(kind, rule, 0.0)
    a, b = (side[:10] for side in samples)
    fast = fixed_p_values(a, b, claim.threshold, p.reach)
    passes, fails = crossings(a - b, claim, p.reach)
    for i in range(10):
        tested = paired_test(kind, rule, POLICY, units_of(a[i], b[i], p.reach))
        stopped = sequential_decide(a[i] - b[i], [claim], p.reach, (ALPHA, ALPHA))
        first = "undecided" if passes[i] == fails[i] else "pass" if passes[i] < fails[i] else "fail"
        if not math.isclose(tested.p_pass, fast[i], rel_tol=1e-6, abs_tol=1e-12) or stopped.verdict != first:
            raise SystemExit(f"{p.name}: {tested.p_pass} against {fast[i]}, {stopped.verdict} against {first}")


def boundary(data: Path, n_trials: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(1)
    rows: list[dict[str, object]] = []
    for p in populations(data):
        small = p.reach < 50
        for kind, margin in (("improve", 0.0), ("improve", 0.1 if small else 1.0), ("keep", 0.2 if small else 1.0)):
            rule = Rule(benchmark="b", metric="m", margin=margin)
            (claim,) = claims_of(kind, rule, 0.0)
            if abs(claim.threshold) > abs(float(p.difference.mean())):
                continue  # relabelling cannot move the mean so far
            for n in (80,) if small else (164, 805):
                row = boundary_row(p, kind, rule, (n_trials, n), rng)
                rows.append(row)
                say(
                    f"{p.name[:52]:52s} {row['rule']:14s} n={n:4d}  fixed {row['fixed']['rate']:.4f}  "
                    f"sequential {row['sequential']['rate']:.4f}  (+-{row['fixed']['mc_error']:.4f})"
                )
    return rows


def boundary_row(
    p: Population, kind: Kind, rule: Rule, shape: tuple[int, int], rng: np.random.Generator
) -> dict[str, object]:
    (claim,) = claims_of(kind, rule, 0.0)
    n_trials, n = shape
    p_values, passes, fails = [], [], []
    for start in range(0, n_trials, 500):
        samples = relabelled(p, claim.threshold, (min(500, n_trials - start), n), rng)
        if start == 0:
            same_as_the_gate(kind, rule, samples, p)
        p_values.append(fixed_p_values(*samples, claim.threshold, p.reach))
        found = crossings(samples[0] - samples[1], claim, p.reach)
        passes.append(found[0] < found[1])
        fails.append(found[1] < found[0])
    fixed = np.concatenate(p_values)
    return {
        "data": p.name,
        "rule": f"{kind} by {rule.margin}",
        "n": n,
        "fixed": rate(fixed <= ALPHA),
        "sequential": rate(np.concatenate(passes)),
        "sequential_wrong_fail": rate(np.concatenate(fails)),
    }


def length_controlled(data: Path, n_trials: int) -> list[dict[str, object]]:
    """Wrong passes of the rule on the length-controlled win rate, a fit, when real verdicts are relabelled."""
    mirror = data / "mirror"
    gamed, difficulty = read_gamed(next(mirror.rglob("df_gamed.csv")))
    rule = Rule(benchmark="b", metric="m")
    rows = []
    for first, second in (("claude-2.1", "gpt-3.5-turbo-1106"), ("FuseChat-Gemma-2-9B-Instruct", "claude-2.1")):
        rng = np.random.default_rng(5)
        table = [lc_columns(data, model) for model in (first, second)]
        hits = []
        for _ in range(n_trials):
            places = rng.integers(0, 805, 805)
            swap = rng.random(805) < 0.5
            a, b = (t[:, places] for t in table)
            sides = [np.where(swap, b, a), np.where(swap, a, b)]
            fits = [LengthControlData(s[0], s[1], s[2], difficulty[places]) for s in sides]
            difference = compare_length_controlled(*fits, gamed, rng, bootstrap=LengthControlBootstrap(n_boot=100))
            hits.append(fitted_test("improve", rule, POLICY, (50.0, 50.0), difference).p_pass <= ALPHA)
        rows.append({"data": f"{first} / {second}", "rule": "improve LC by 0", "n": 805, "fixed": rate(hits)})
        say(f"length-controlled win rate, {first} / {second}: {rate(hits)}")
    return rows


def length_controlled_pairs(data: Path, n_trials: int) -> list[dict[str, object]]:
    """Bias of the length-controlled rate on few prompts, and wrong passes of every pair at its own boundary.

    Standard errors are the infinitesimal jackknife's, which agree with the bootstrap's and take one fit.
    """
    gamed, difficulty = read_gamed(next((data / "mirror").rglob("df_gamed.csv")))
    columns = {m: lc_columns(data, m) for m in alpaca_models(data) if m != "gpt4_1106_preview"}
    columns = {m: c for m, c in columns.items() if c.shape[1] == 805}

    def fitted(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = []
        for c in columns.values():
            sample = LengthControlData(c[0, places], c[1, places], c[2, places], difficulty[places])
            estimator = LengthControlEstimator(sample, gamed, LengthControlSpec())
            observed, fits = estimator.observe()
            found.append((100 * float(fits.win_rate[0]), 100 * estimator.influence(observed, fits)[0]))
        return np.array([value for value, _ in found]), np.array([part for _, part in found])

    truth, _ = fitted(np.arange(805))
    rows: list[dict[str, object]] = []
    for n in (80, 200, 400, 805):
        rng = np.random.default_rng(n)
        bias, hits = np.zeros(truth.size), np.zeros((truth.size, truth.size))
        for _ in range(n_trials):
            value, part = fitted(rng.integers(0, 805, n))
            bias += (value - truth) / n_trials
            difference = part[:, None] - part[None, :]
            stderr = difference.std(axis=2, ddof=1) / math.sqrt(n) + np.eye(truth.size)
            off = (value - truth)[:, None] - (value - truth)[None, :]
            hits += (stats.t.sf(off / stderr, n - 1) <= ALPHA) / n_trials
        others = ~np.eye(truth.size, dtype=bool)
        row = {"n": n, "mean": float(hits[others].mean()), "bias": dict(zip(columns, bias.tolist(), strict=True))}
        rows.append(row | {"n_trials": n_trials, "worst": float(hits[others].max())})
        say(f"LC n={n}: bias {bias.min():+.1f} to {bias.max():+.1f}, wrong passes mean {row['mean']:.3f}")
    return rows


def lc_columns(data: Path, model: str) -> np.ndarray:
    """Share, own length, baseline's length by instruction, shape (3, 805)."""
    pairs = alpaca_pairs(data, model)
    order = np.argsort(pairs.clusters)
    return np.array([pairs.score, pairs.length_model, pairs.length_baseline])[:, order]


# ---- few prompts and weak models: every pair at its own boundary


@dataclass(frozen=True)
class Verdicts:
    """Verdicts of two models by prompt: totals of weighted scores, and the weights, shape (n_prompts,) each."""

    name: str
    totals: tuple[np.ndarray, np.ndarray]
    weights: tuple[np.ndarray, np.ndarray]
    bounds: tuple[float, float]

    @property
    def reach(self) -> float:
        """Width of the scale."""
        return self.bounds[1] - self.bounds[0]

    def values(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Prompts' differences, the low end of their scale and the decisiveness, of samples `rows` (n_samples, n)."""
        sides, heaviest = [], np.ones(len(rows))
        for total, weight in zip(self.totals, self.weights, strict=True):
            t, m = total[rows], weight[rows]
            mass = m.sum(axis=1, keepdims=True)
            ratio = t.sum(axis=1, keepdims=True) / mass
            sides.append(ratio + rows.shape[1] * (t - ratio * m) / mass)
            heaviest = np.maximum(heaviest, rows.shape[1] * m.max(axis=1) / mass[:, 0])
        d = sides[0] - sides[1]
        decisive = np.maximum(*(row_decisiveness(side, self.bounds) for side in sides))
        return d, -(heaviest * self.reach + (heaviest - 1.0) * np.abs(d.mean(axis=1))), decisive

    @property
    def truth(self) -> float:
        """Difference over all prompts."""
        first, second = (float(t.sum() / m.sum()) for t, m in zip(self.totals, self.weights, strict=True))
        return first - second


def ordered_pairs(scores: dict[str, dict], bounds: tuple[float, float], name: str, most: int) -> list[Verdicts]:
    """Ordered pairs of models on the prompts both hold, at most so many, drawn at random."""
    names = list(itertools.permutations(scores, 2))
    chosen = np.random.default_rng(7).permutation(len(names))[:most]
    found = []
    for a, b in (names[i] for i in sorted(chosen)):
        keys = [key for key in scores[a] if key in scores[b]]
        sides = [np.array([scores[m][k] for k in keys], dtype=float).reshape(len(keys), -1) for m in (a, b)]
        weights = [side[:, 1] if side.shape[1] == 2 else np.ones(len(keys)) for side in sides]
        found.append(Verdicts(f"{name}: {a} / {b}", (sides[0][:, 0], sides[1][:, 0]), (weights[0], weights[1]), bounds))
    return found


def weak_model_pairs(data: Path) -> dict[str, tuple[list[Verdicts], tuple[int, ...]]]:
    """The families of pairs, and the numbers of prompts each is tried at."""
    alpaca = {m: shares for m, shares in alpaca_shares(data).items() if m != "gpt4_1106_preview"}
    rated = rated_answers(data)
    ratings = {m: mean_ratings(rated, m) for m in sorted(set(rated.model))}
    arena = {m: arena_totals(data, m) for m in KoArena.load(data).models()}
    every = (20, 30, 50, 80, 164, 200, 400, 805)
    return {
        "AlpacaEval 2, 15 weakest models": (ordered_pairs(alpaca, (0.0, 100.0), "alpaca_eval", 300), every),
        "MT-Bench ratings, six judges' models": (
            ordered_pairs(ratings, (1.0, 10.0), "mt_bench", 300),
            (20, 30, 50, 80),
        ),
        "Ko-Arena-Hard, weighted verdicts": (ordered_pairs(arena, (0.0, 100.0), "arena_hard", 200), (30, 80, 200, 500)),
    }


def arena_totals(data: Path, model: str) -> dict[str, tuple[float, float]]:
    """Weighted wins in percent, and weight, by prompt."""
    pairs = KoArena.load(data).pairs(model)
    found: dict[str, list[float]] = {}
    for prompt, score, weight in zip(pairs.clusters, pairs.score, pairs.weight, strict=True):
        entry = found.setdefault(str(prompt), [0.0, 0.0])
        entry[0] += 100.0 * float(score) * float(weight)
        entry[1] += float(weight)
    return {prompt: (total, weight) for prompt, (total, weight) in found.items()}


def few_prompts(data: Path, n_trials: int) -> list[dict[str, object]]:
    """Wrong passes where the threshold is the true difference, and power where it is 2.5 standard errors below.

    Student's t test on the same samples stands beside. The five worst pairs of a cell are drawn afresh.
    """
    rows: list[dict[str, object]] = []
    for family, (pairs, counts) in weak_model_pairs(data).items():
        for n in counts:
            rng = np.random.default_rng(n)
            sizes = np.array([passes(pair, n, 0.0, n_trials, rng) for pair in pairs])
            power = np.array([passes(pair, n, 2.5, max(n_trials // 5, 100), rng) for pair in pairs])
            worst = np.argsort(-sizes[:, 0])[:5]
            fresh = {pairs[i].name: float(passes(pairs[i], n, 0.0, 10 * n_trials, rng)[0]) for i in worst}
            row: dict[str, object] = {"data": family, "n": n, "pairs": len(pairs), "trials": n_trials}
            for column, test in enumerate(("gate", "student_t")):
                row[test] = {
                    "mean": float(sizes[:, column].mean()),
                    "worst": float(sizes[:, column].max()),
                    "power": float(power[:, column].mean()),
                }
            row["worst_five_drawn_afresh"] = fresh
            row["mc_error_of_fresh"] = math.sqrt(ALPHA * (1 - ALPHA) / (10 * n_trials))
            rows.append(row)
            gate, student = row["gate"], row["student_t"]
            columns = {"mean": gate["mean"], "worst afresh": max(fresh.values()), "power": gate["power"]}
            columns |= {f"t {name}": student[name] for name in ("mean", "worst", "power")}
            say(f"{family[:36]:36s} n={n:3d} " + "  ".join(f"{k} {100 * v:4.1f}" for k, v in columns.items()))
    return rows


def passes(pair: Verdicts, n: int, errors_below: float, n_trials: int, rng: np.random.Generator) -> np.ndarray:
    """Shares of samples that pass at alpha: by the gate's test, and by Student's t."""
    population, _, _ = pair.values(np.arange(pair.totals[0].size)[None, :])
    threshold = pair.truth - errors_below * float(population.std()) / math.sqrt(n)
    threshold = max(threshold, -0.99 * pair.reach)
    hits = np.zeros(2)
    for start in range(0, n_trials, 1000):
        shape = (min(1000, n_trials - start), n)
        d, low, decisive = pair.values(rng.integers(0, pair.totals[0].size, shape))
        with np.errstate(divide="ignore"):
            t = (d.mean(axis=1) - threshold) / (d.std(axis=1, ddof=1) / math.sqrt(n))
        hits[1] += np.count_nonzero(stats.t.sf(t, n - 1) <= ALPHA)
        likely = t > 0.5  # the others are far from passing by either test
        hits[0] += np.count_nonzero(above_p_values(d[likely], threshold, low[likely], decisive[likely]) <= ALPHA)
    return hits / n_trials


# ---- a loop of five iterations


def loop(data: Path, n_trials: int) -> list[dict[str, object]]:
    """Five checkpoints tested one after another on the same prompts; the chance that any wrong one passes."""
    alpaca = alpaca_shares(data)
    names = [
        "claude-2.1",
        "gpt-3.5-turbo-1106",
        "FuseChat-Gemma-2-9B-Instruct",
        "FuseChat-Llama-3.2-1B-Instruct",
        "gemma-7b-it",
    ]
    keys = [k for k in alpaca[names[0]] if all(k in alpaca[m] for m in names)]
    table = np.array([[alpaca[m][k] for k in keys] for m in names])
    rows: list[dict[str, object]] = []
    for n_better, method in itertools.product((0, 2), ("fixed", "sequential")):
        rng = np.random.default_rng(2)
        trials = [wrong_passes(loop_p_values(table, n_better, method, rng), n_better) for _ in range(n_trials)]
        for scheme in trials[0]:
            hits = rate([trial[scheme] for trial in trials])
            rows.append({"method": method, "truly_better_first": n_better, "scheme": scheme, **hits})
            say(f"loop, {method:10s} {n_better} better first, {scheme:15s} any wrong pass {hits['rate']:.4f}")
    return rows


def wrong_passes(p_values: list[float], n_better: int) -> dict[str, bool]:
    """Whether any checkpoint passes that is not better, uncorrected and under each spending scheme."""
    wrong = {"uncorrected": any(p <= ALPHA for p in p_values[n_better:])}
    for scheme in ("fixed_sequence", "even", "fallback"):
        gate = LoopGate.plan(POLICY, 5, scheme)
        for p in p_values:
            gate = gate.after("pass" if p <= gate.level else "undecided")
        wrong[scheme] = any(step.decision == "pass" for step in gate.steps[n_better:])
    return wrong


def loop_p_values(table: np.ndarray, n_better: int, method: str, rng: np.random.Generator) -> list[float]:
    """P-values of five checkpoints on the same 805 prompts; each null one is a random relabelling of real verdicts."""
    columns = rng.integers(0, table.shape[1], 805)
    drawn = table[:, columns]
    p_values = []
    for t in range(5):
        a, b = rng.choice(table.shape[0], 2, replace=False)
        d = drawn[a] - drawn[b]
        if t < n_better:
            d = np.abs(d) * 0.5
        else:
            d = np.where(rng.random(d.size) < 0.5, d, -d)
        if method == "fixed":
            p_values.append(float(fixed_p_values(d[None], np.zeros((1, d.size)), 0.0, 100.0)[0]))
        else:
            # to the end, so that every level can be applied to the anytime-valid p-value
            p_values.append(sequential_decide(d, [Claim(1.0, 0.0)], 100.0, (1e-12, 1e-12)).p_pass)
    return p_values


# ---- power and cost on real pairs


def published_lc(data: Path) -> dict[str, float]:
    path = data / "alpaca_eval/leaderboards/data_AlpacaEval_2/weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        name = (reader.fieldnames or [""])[0]
        return {
            row[name]: float(row["length_controlled_winrate"]) for row in reader if row["length_controlled_winrate"]
        }


def cost(data: Path, n_orders: int) -> dict[str, object]:
    alpaca, lc = alpaca_shares(data), published_lc(data)
    names = [m for m in alpaca if m in lc]
    rule = Rule(benchmark="b", metric="m")
    rng = np.random.default_rng(3)
    pairs: list[dict[str, object]] = []
    for a in names:
        for b in names:
            if lc[a] - lc[b] < 5.0:
                continue
            p = joined(f"{a} / {b}", alpaca[a], alpaca[b], 100.0)
            tested = paired_test("improve", rule, POLICY, units_of(p.first, p.second, 100.0))
            fixed = "pass" if tested.p_pass <= ALPHA else "fail" if tested.p_fail <= ALPHA else "undecided"
            used, same, verdicts = [], [], []
            for _ in range(n_orders):
                order = rng.permutation(p.first.size)
                stopped = sequential_decide(p.difference[order], [Claim(1.0, 0.0)], 100.0, (ALPHA, ALPHA), POLICY.min_n)
                used.append(stopped.n_used / p.first.size)
                same.append(stopped.verdict == fixed)
                verdicts.append(stopped.verdict)
            pairs.append(
                {
                    "candidate": a,
                    "baseline": b,
                    "lc_difference": lc[a] - lc[b],
                    "raw_difference": float(p.difference.mean()),
                    "z": float(p.difference.mean() / p.difference.std(ddof=1) * math.sqrt(p.first.size)),
                    "n": p.first.size,
                    "fixed": fixed,
                    "median_share_of_calls": float(np.median(used)),
                    "mean_share_of_calls": float(np.mean(used)),
                    "agreement": float(np.mean(same)),
                    "opposite": float(np.mean([{v, fixed} == {"pass", "fail"} for v in verdicts])),
                }
            )
    summary = {name: summarise([p for p in pairs if belongs(p)]) for name, belongs in STRATA.items()}
    return {"models": len(names), "pairs": pairs, "summary": summary}


STRATA: dict[str, Callable[[dict], bool]] = {
    "all pairs, LC at least 5 points apart": lambda p: True,
    "LC 5 to 10 points apart": lambda p: p["lc_difference"] < 10.0,
    "without NullModel": lambda p: "NullModel" not in (p["candidate"], p["baseline"]),
    "fixed gate passes": lambda p: p["fixed"] == "pass",
    "fixed gate passes with z below 5": lambda p: p["fixed"] == "pass" and p["z"] < 5.0,
    "fixed gate passes with z below 3": lambda p: p["fixed"] == "pass" and p["z"] < 3.0,
    "fixed gate fails": lambda p: p["fixed"] == "fail",
    "fixed gate undecided": lambda p: p["fixed"] == "undecided",
}


def summarise(pairs: list[dict]) -> dict[str, float]:
    if not pairs:
        return {"n_pairs": 0}
    shares = np.array([p["median_share_of_calls"] for p in pairs])
    return {
        "n_pairs": len(pairs),
        "median_share_of_calls": float(np.median(shares)),
        "quartile_low": float(np.quantile(shares, 0.25)),
        "quartile_high": float(np.quantile(shares, 0.75)),
        "pairs_at_most_a_third": float(np.mean(shares <= 1 / 3)),
        "agreement": float(np.mean([p["agreement"] for p in pairs])),
        "opposite": float(np.mean([p["opposite"] for p in pairs])),
    }


def empirical_bernstein(values: np.ndarray, alpha: float, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Empirical Bernstein confidence sequence, both sides at alpha (Waudby-Smith and Ramdas 2024, theorem 2)."""
    x = (values - scale.low) / (scale.high - scale.low)
    t = np.arange(1, x.size + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    mean_before, variance_before = np.append(0.5, mean[:-1]), np.append(0.25, variance[:-1])
    target = -math.log(alpha)
    bets = np.minimum(0.5, np.sqrt(2.0 * target / (variance_before * t * np.log1p(t))))
    spent = np.cumsum((x - mean_before) ** 2 * (-np.log1p(-bets) - bets))
    total = np.cumsum(bets)
    centre, half = np.cumsum(bets * x) / total, (target + spent) / total
    low = np.maximum.accumulate(np.clip(centre - half, 0.0, 1.0))
    high = np.minimum.accumulate(np.clip(centre + half, 0.0, 1.0))
    return scale.low + (scale.high - scale.low) * low, scale.low + (scale.high - scale.low) * high


def widths(data: Path) -> list[dict[str, object]]:
    """How wide the two confidence sequences are on a real pair, against the fixed interval."""
    p = populations(data)[0]
    d = p.difference[np.random.default_rng(4).permutation(p.first.size)]
    rows = []
    limits = np.array([betting_limits(d[:n], ALPHA, Scale(-100.0, 100.0)) for n in range(1, d.size + 1)])
    low, high = np.maximum.accumulate(limits[:, 0]), np.minimum.accumulate(limits[:, 1])
    bernstein = empirical_bernstein(d, ALPHA, Scale(-100.0, 100.0))
    for n in (50, 100, 200, 400, 805):
        fixed = stats.ttest_1samp(d[:n], 0.0).confidence_interval(1.0 - 2.0 * ALPHA)
        row = {"n": n, "fixed": float(fixed.high - fixed.low)}
        row |= {"betting": float(high[n - 1] - low[n - 1])}
        row |= {"empirical_bernstein": float(bernstein[1][n - 1] - bernstein[0][n - 1])}
        rows.append(row)
        say(f"width at n={n:3d}: " + "  ".join(f"{k} {v:.2f}" for k, v in row.items() if k != "n"))
    return rows


def say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--trials", type=int, default=8000)
    parser.add_argument("--few-trials", type=int, default=1000)
    parser.add_argument("--loop-trials", type=int, default=3000)
    parser.add_argument("--lc-trials", type=int, default=250)
    parser.add_argument("--orders", type=int, default=40)
    parser.add_argument(
        "--only",
        choices=["boundary", "few_prompts", "length_controlled", "length_controlled_pairs", "loop", "cost", "widths"],
    )
    arguments = parser.parse_args()
    parts = {
        "boundary": lambda: boundary(arguments.data, arguments.trials),
        "few_prompts": lambda: few_prompts(arguments.data, arguments.few_trials),
        "length_controlled": lambda: length_controlled(arguments.data, arguments.lc_trials),
        "length_controlled_pairs": lambda: length_controlled_pairs(arguments.data, arguments.lc_trials // 5),
        "loop": lambda: loop(arguments.data, arguments.loop_trials),
        "cost": lambda: cost(arguments.data, arguments.orders),
        "widths": lambda: widths(arguments.data),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            started = time.perf_counter()
            found = part()
            if name == "cost":
                for title, row in found["summary"].items():
                    say(f"{title}: " + ", ".join(f"{k} {v:.3g}" for k, v in row.items()))
            path = write_result(f"gate_{name}", {"alpha": ALPHA, "seconds": time.perf_counter() - started, name: found})
            say(f"wrote {path}")


if __name__ == "__main__":
    main()
