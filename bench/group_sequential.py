"""Do planned looks keep the gate's promises? Size, power and prompts used, in loops and for length-controlled rates.

    OMP_NUM_THREADS=1 python bench/group_sequential.py --data ../shared/data

Everything is made from published AlpacaEval 2 verdicts. Nulls: on every prompt the verdicts of two real models are
exchanged at random, with the probability that puts the true mean difference on the rule's threshold; prompts are drawn
with replacement, so the truth is known. At each look the p-value is the gate's own, many samples at once;
`same_as_the_gate` compares it with the gate's functions.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from gate import lc_columns, rate, say
from real_scores import DATA, alpaca_models, alpaca_pairs
from report import write_result
from scipy import stats

from benchmarks.alpaca_eval.lc_bootstrap import LengthControlBootstrap, compare_length_controlled
from benchmarks.alpaca_eval.lc_data import LengthControlData, read_gamed
from harness.gate.evidence import PairedUnits
from harness.gate.look_plan import LookPlan, nominal
from harness.gate.policy import Policy, Rule, make_policy
from harness.gate.testing import fitted_test, paired_test
from harness.stats.confidence_sequence import Scale, betting_log_capital
from harness.stats.mean_test import above_p_values
from training.align.alpha import LoopGate

ALPHA = 0.05
REACH = 100.0
WAVE = 32
AT_ONCE = 500
N_WORST = 3
FRESH = 16_000  # trials of each of the worst pairs, drawn afresh
NEAR = 4.0  # a p-value is computed where Student's t gives less than this many times the level
DESIGNS: dict[str, dict[str, object]] = {
    "obrien_fleming": {"spending": "obrien_fleming"},
    "pocock": {"spending": "pocock"},
    "hwang_shih_decani": {"spending": "hwang_shih_decani", "gamma": -4.0},
}


def policy_of(design: str = "obrien_fleming", looks: int = 10, alpha: float = ALPHA) -> Policy:
    rule = {"improve": {"benchmark": "b", "metric": "m"}}
    fields = {"rules": [rule], "alpha": alpha, "method": "group_sequential", "looks": looks, **DESIGNS[design]}
    return make_policy(fields)


def planned(n: int, design: str = "obrien_fleming", looks: int = 10) -> LookPlan:
    return LookPlan.of(policy_of(design, looks), [str(i) for i in range(n)], n)


def levels_of(plan: LookPlan, alpha: float = ALPHA) -> np.ndarray:
    """Nominal level of each look, 0 for one that is too small to be taken; the gate's own steps."""
    taken: list[int] = []
    levels = []
    for index in range(len(plan.at)):
        level = nominal(plan.bounds([*taken, index], alpha).upper[-1])
        levels.append(level)
        if level:
            taken.append(index)
    return np.array(levels)


# ---- the real verdicts


@dataclass(frozen=True)
class Pair:
    """Two real models' win shares of the same prompts, in percent."""

    name: str
    first: np.ndarray
    second: np.ndarray

    @property
    def difference(self) -> float:
        """True mean of candidate minus baseline."""
        return float((self.first - self.second).mean())


def alpaca_table(data: Path) -> dict[str, np.ndarray]:
    """Win shares by model, on the prompts that all models were judged on."""
    shares = {}
    for model in alpaca_models(data):
        pairs = alpaca_pairs(data, model)
        shares[model] = dict(zip(pairs.clusters, (100.0 * pairs.score).tolist(), strict=True))
    keys = [key for key in next(iter(shares.values())) if all(key in own for own in shares.values())]
    return {model: np.array([own[key] for key in keys]) for model, own in shares.items()}


def all_pairs(data: Path) -> list[Pair]:
    table = alpaca_table(data)
    varied = [model for model, values in table.items() if values.std() > 0.0]
    return [Pair(f"{a} / {b}", table[a], table[b]) for a, b in itertools.permutations(varied, 2)]


Sides = tuple[np.ndarray, np.ndarray]
"""Candidate's and baseline's values, each of shape (samples, n)."""


def exchanged(pair: Pair, mean: float, shape: tuple[int, int], rng: np.random.Generator) -> Sides:
    """Draw prompts and exchange the two models on some of them, so that the true mean difference is given."""
    keep = (1.0 + mean / pair.difference) / 2.0
    rows = rng.integers(0, pair.first.size, shape)
    kept = rng.random(shape) < keep
    a, b = pair.first[rows], pair.second[rows]
    return np.where(kept, a, b), np.where(kept, b, a)


# ---- the tests, many samples at once


def p_values(sides: Sides, threshold: float, level: float) -> np.ndarray:
    """The gate's p-value against "at most the threshold"; 1 where Student's t is far above the level."""
    d = sides[0] - sides[1]
    n = d.shape[1]
    spread = d.std(axis=1, ddof=1) / math.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        rough = stats.t.sf((d.mean(axis=1) - threshold) / spread, n - 1)
    near = ~(rough > NEAR * level)
    found = np.ones(len(d))
    if near.any():
        found[near] = exact_p_values(tuple(side[near] for side in sides), threshold)
    return found


def exact_p_values(sides: Sides, threshold: float) -> np.ndarray:
    decisive = [1.0 - (4.0 * side / REACH * (1.0 - side / REACH)).mean(axis=1) for side in sides]
    return above_p_values(sides[0] - sides[1], threshold, -REACH, np.maximum(*decisive))


def look_p_values(sides: Sides, threshold: float, plan: LookPlan, most: np.ndarray) -> np.ndarray:
    """P-values at every look, shape (samples, looks), where they may be below the largest level of the look."""
    found = np.ones((len(sides[0]), len(plan.at)))
    for index, level in enumerate(most):
        if level:
            found[:, index] = p_values(tuple(side[:, : plan.at[index]] for side in sides), threshold, level)
    return found


def first_look(p: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Index of the first look whose p-value is at most its level; the number of looks if none."""
    hit = p <= levels
    return np.where(hit.any(axis=1), hit.argmax(axis=1), p.shape[1])


def betting_stop(d: np.ndarray, threshold: float, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each sample passes by betting, and the prompts used, whole waves."""
    crossings = []
    for values, limit in ((d, threshold), (-d, -threshold)):
        hit = betting_log_capital(values, limit, Scale(-REACH, REACH)) >= -math.log(ALPHA)
        crossings.append(np.where(hit.any(axis=1), hit.argmax(axis=1), d.shape[1]))
    stop = np.maximum(np.minimum(*crossings) + 1, least)
    return crossings[0] < crossings[1], np.minimum(np.ceil(stop / WAVE) * WAVE, d.shape[1])


def same_as_the_gate(sides: Sides, kind: str, margin: float, plan: LookPlan) -> None:
    """Refuse to go on where the p-values differ from the gate's own."""
    rule = Rule(benchmark="b", metric="m", margin=margin)
    threshold = margin if kind == "improve" else -margin
    for row, n in itertools.product(range(3), plan.at):
        first, second = (side[row, :n] for side in sides)
        keys = tuple(map(str, range(n)))
        units = PairedUnits(keys, first, second, n, n, {}, REACH, 0.0, REACH, True)
        tested = paired_test(kind, rule, policy_of(), units)
        fast = float(exact_p_values((first[None, :], second[None, :]), threshold)[0])
        if not math.isclose(tested.p_pass, fast, rel_tol=1e-6, abs_tol=1e-12):
            raise SystemExit(f"{kind} by {margin} at {n} prompts: {tested.p_pass} by the gate, {fast} here")


# ---- size


def size(data: Path, n_trials: int) -> list[dict[str, object]]:
    pairs = all_pairs(data)
    rows = []
    for n, (kind, margin) in itertools.product((805, 200), (("improve", 0.0), ("keep", 2.0))):
        threshold = margin if kind == "improve" else -margin
        usable = [p for p in pairs if abs(p.difference) > max(abs(threshold), 1e-9)]
        if not threshold:  # exchanged at even odds, the two orders are one case
            usable = [p for p in usable if p.difference > 0.0]
        plan = planned(n)
        run = partial(wrong_passes, threshold=threshold, n=n)
        same_as_the_gate(exchanged(usable[0], threshold, (3, n), np.random.default_rng(0)), kind, margin, plan)
        found = [run(pair, n_trials=n_trials, seed=index) for index, pair in enumerate(usable)]
        again = cache(lambda index, run=run, usable=usable: run(usable[index], n_trials=FRESH, seed=10_000 + index))
        row: dict[str, object] = {"rule": f"{kind} by {margin:g}", "n": n, "n_pairs": len(usable)}
        for method in ("fixed", *DESIGNS):
            rates = [float(result[method]["rate"]) for result in found]
            order = np.argsort(rates)[::-1][:N_WORST].tolist()
            fresh = [{"pair": usable[index].name, **again(index)[method]} for index in order]
            worst = max(fresh, key=lambda r: float(r["rate"]))
            row[method] = {"mean": float(np.mean(rates)), "worst": worst, "fresh": fresh}
            say(
                f"{row['rule']:12s} n={n:3d} {len(usable):3d} pairs, {method:17s} mean {row[method]['mean']:.4f}, "
                f"worst pair {worst['rate']:.4f} (+-{worst['mc_error']:.4f})"
            )
        rows.append(row)
    return rows


def wrong_passes(pair: Pair, threshold: float, n: int, n_trials: int, seed: int) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng([1, seed])
    plan, levels = planned(n), {design: levels_of(planned(n, design)) for design in DESIGNS}
    most = np.max([*levels.values()], axis=0)
    most[-1] = ALPHA  # the fixed test is the last look at the whole level
    hits: dict[str, list[np.ndarray]] = {method: [] for method in ("fixed", *DESIGNS)}
    for start in range(0, n_trials, AT_ONCE):
        sides = exchanged(pair, threshold, (min(AT_ONCE, n_trials - start), n), rng)
        p = look_p_values(sides, threshold, plan, most)
        hits["fixed"].append(p[:, -1] <= ALPHA)
        for design, own in levels.items():
            hits[design].append((p <= own).any(axis=1))
    return {method: rate(np.concatenate(found)) for method, found in hits.items()}


# ---- power and prompts used


def power(data: Path, n_trials: int, n_betting: int) -> list[dict[str, object]]:
    n, rows = 805, []
    pairs = [p for p in all_pairs(data) if p.difference > 0.0]
    plan, levels = planned(n), {design: levels_of(planned(n, design)) for design in DESIGNS}
    most = np.max([*levels.values()], axis=0)
    most[-1] = ALPHA
    for z in (0.0, 2.5, 3.0, 4.0, 8.0):
        found: dict[str, list[tuple[float, float]]] = {}
        usable = [p for p in pairs if p.difference > effect_of(p, z, n)]
        for index, pair in enumerate(usable[:: max(1, len(usable) // 12)]):
            rng = np.random.default_rng([3, index])
            sides = exchanged(pair, effect_of(pair, z, n), (n_trials, n), rng)
            p = look_p_values(sides, 0.0, plan, most), look_p_values(sides[::-1], 0.0, plan, most)
            found.setdefault("fixed", []).append((float(np.mean(p[0][:, -1] <= ALPHA)), 1.0))
            for design, own in levels.items():
                found.setdefault(design, []).append(looks_result(p, plan, own))
            passed, used = betting_stop((sides[0] - sides[1])[:n_betting], 0.0, 30)
            found.setdefault("betting", []).append((float(passed.mean()), float(used.mean()) / n))
        row: dict[str, object] = {"z": z, "n": n, "n_pairs": len(found["fixed"]), "n_trials_per_pair": n_trials}
        for method, results in found.items():
            row[method] = {
                "passes": float(np.mean([r[0] for r in results])),
                "calls": float(np.mean([r[1] for r in results])),
            }
        rows.append(row)
        say(f"z = {z:3g}: " + ", ".join(f"{m} {row[m]['passes']:.3f} with {row[m]['calls']:.0%}" for m in found))
    return rows


def effect_of(pair: Pair, z: float, n: int) -> float:
    """Mean difference at which the statistic of n prompts has mean z."""
    square = float(((pair.first - pair.second) ** 2).mean())
    return z * math.sqrt(square / (n + z * z))


def looks_result(p: tuple[np.ndarray, np.ndarray], plan: LookPlan, levels: np.ndarray) -> tuple[float, float]:
    """Share that passes, and share of the prompts used when a fail ends the run as well."""
    passes, fails = (first_look(side, levels) for side in p)
    stop = np.minimum(np.minimum(passes, fails), len(levels) - 1)
    return float(np.mean(passes < fails)), float(np.array(plan.at)[stop].mean()) / plan.n_all


# ---- a loop of five iterations


def loop(data: Path, n_trials: int) -> list[dict[str, object]]:
    """Five checkpoints tested one after another on the same 805 prompts at planned looks; any wrong pass."""
    table = np.array([v for v in alpaca_table(data).values() if v.std() > 0.0])
    rows = []
    for design, n_better in itertools.product(DESIGNS, (0, 2)):
        rng = np.random.default_rng(2)
        plan = planned(805, design)
        whole = levels_of(plan)
        p = np.stack([loop_p_values(table, t < n_better, (n_trials, plan, whole), rng) for t in range(5)], axis=1)
        for scheme, wrong in wrong_in_loops(p, plan, n_better).items():
            hits = rate(wrong)
            rows.append({"design": design, "truly_better_first": n_better, "scheme": scheme, **hits})
            told = f"loop, {design:17s} {n_better} better first, {scheme:14s}"
            say(f"{told} any wrong pass {hits['rate']:.4f} (+-{hits['mc_error']:.4f})")
    return rows


def loop_p_values(
    table: np.ndarray, better: bool, how: tuple[int, LookPlan, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """P-values at every look of one checkpoint in many loops; a null one is a relabelling of two models' verdicts."""
    n_trials, plan, levels = how
    found = []
    for start in range(0, n_trials, AT_ONCE):
        m = min(AT_ONCE, n_trials - start)
        columns = np.random.default_rng([7, start]).integers(0, table.shape[1], (m, 805))  # the loop's prompts
        a, b = rng.integers(0, len(table), m), rng.integers(1, len(table), m)
        one, other = table[a[:, None], columns], table[((a + b) % len(table))[:, None], columns]
        swap = rng.random(one.shape) < 0.5
        sides = np.where(swap, other, one), np.where(swap, one, other)
        if better:
            low = np.minimum(one, other)
            sides = 0.5 * (low + np.maximum(one, other)), low
        found.append(look_p_values(sides, 0.0, plan, levels))
    return np.concatenate(found)


def wrong_in_loops(p: np.ndarray, plan: LookPlan, n_better: int) -> dict[str, np.ndarray]:
    """Whether a checkpoint that is not better passes, uncorrected and under each spending scheme of the loop."""
    known: dict[float, np.ndarray] = {}

    def passes(trial: int, step: int, alpha: float) -> bool:
        if alpha <= 0.0:
            return False
        key = round(alpha, 12)
        if key not in known:
            known[key] = (p <= levels_of(plan, alpha)).any(axis=2)
        return bool(known[key][trial, step])

    found: dict[str, np.ndarray] = {}
    every = range(len(p))
    found["uncorrected"] = np.array([any(passes(i, t, ALPHA) for t in range(n_better, 5)) for i in every])
    for scheme in ("fixed_sequence", "even", "fallback", "endless"):
        wrong = np.zeros(len(p), dtype=bool)
        for trial in every:
            gate = LoopGate.plan(policy_of(), 5, scheme)
            for t in range(5):
                gate = gate.after("pass" if passes(trial, t, gate.level) else "undecided")
            wrong[trial] = any(step.decision == "pass" for step in gate.steps[n_better:])
        found[scheme] = wrong
    return found


# ---- length-controlled win rates


def length_controlled(data: Path, n_trials: int) -> list[dict[str, object]]:
    """Planned looks at a fit: wrong passes of relabelled verdicts, and power and prompts used on a real pair."""
    gamed, difficulty = read_gamed(next((data / "mirror").rglob("df_gamed.csv")))
    plan = planned(805, looks=5)
    levels = levels_of(plan)
    rows = []
    for first, second in (("claude-2.1", "gpt-3.5-turbo-1106"), ("FuseChat-Gemma-2-9B-Instruct", "claude-2.1")):
        tables = [lc_columns(data, model) for model in (first, second)]
        for null in (True, False):
            rng = np.random.default_rng(5)
            results = []
            for _ in range(n_trials):
                places = rng.integers(0, 805, 805)
                swap = rng.random(805) < (0.5 if null else 0.0)
                sides = [np.where(swap, x[:, places], y[:, places]) for x, y in (tables[::-1], tables)]
                results.append(lc_looks(sides, difficulty[places], gamed, (plan, levels, rng)))
            fixed, looks, used = (np.array(column) for column in zip(*results, strict=True))
            row = {"data": f"{first} / {second}", "truth": "no difference" if null else "as published", "n": 805}
            row |= {"fixed": rate(fixed), "group_sequential": rate(looks), "calls": float(used.mean()) / 805}
            rows.append(row)
            told = ", ".join(
                f"{m} {row[m]['rate']:.3f} (+-{row[m]['mc_error']:.3f})" for m in ("fixed", "group_sequential")
            )
            say(f"length-controlled, {row['data']}, {row['truth']}: {told}, calls {row['calls']:.2f}")
    return rows


def lc_looks(sides: list[np.ndarray], difficulty: np.ndarray, gamed: object, how: tuple) -> tuple[bool, bool, int]:
    """Whether the rule passes at the end alone, whether it passes at a look, and the prompts used."""
    plan, levels, rng = how
    rule, stopped = Rule(benchmark="b", metric="m"), None
    p_last = 1.0
    for n, level in zip(plan.at, levels, strict=True):
        if n < plan.n_all and (level < 1e-3 or stopped is not None):
            continue  # the first look of five crosses its bound in less than 1 of 10,000 nulls
        fits = [LengthControlData(s[0][:n], s[1][:n], s[2][:n], difficulty[:n]) for s in sides]
        difference = compare_length_controlled(*fits, gamed, rng, bootstrap=LengthControlBootstrap(n_boot=100))
        tested = fitted_test("improve", rule, policy_of(), (50.0, 50.0), difference)
        p_last = tested.p_pass
        if stopped is None and (tested.p_pass <= level or tested.p_fail <= level):
            stopped = (tested.p_pass <= level, n)
    passed, used = stopped or (False, plan.n_all)
    return p_last <= ALPHA, passed, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--power-trials", type=int, default=1000)
    parser.add_argument("--betting-trials", type=int, default=150)
    parser.add_argument("--loop-trials", type=int, default=6000)
    parser.add_argument("--lc-trials", type=int, default=40)
    parser.add_argument("--only", choices=["size", "power", "loop", "length_controlled"])
    arguments = parser.parse_args()
    parts = {
        "size": lambda: size(arguments.data, arguments.trials),
        "power": lambda: power(arguments.data, arguments.power_trials, arguments.betting_trials),
        "loop": lambda: loop(arguments.data, arguments.loop_trials),
        "length_controlled": lambda: length_controlled(arguments.data, arguments.lc_trials),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            started = time.perf_counter()
            found = part()
            result = {"alpha": ALPHA, "looks": 10, "seconds": time.perf_counter() - started, name: found}
            say(f"wrote {write_result(f'group_sequential_{name}', result)}")


if __name__ == "__main__":
    main()
