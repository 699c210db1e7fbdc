"""Coverage of Arena-Hard's intervals, and the speed of 100 bootstrap rounds of a leaderboard.

    OMP_NUM_THREADS=1 python bench/arena_hard.py --coverage --data ../shared/data
    OMP_NUM_THREADS=1 python bench/arena_hard.py --speed --data ../shared/data

Coverage: the real Ko-Arena-Hard prompts of a model, with their real pairs of verdicts, are taken as the population
and samples drawn from them with replacement, so that the truth is known exactly; and a parametric model with a random
effect of the prompt, whose truth is found by integration. Speed: the rival is upstream's way, scikit-learn's logistic
regression fitted once a round to the resampled rows; a few of its rounds are timed and multiplied.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from real_scores import DATA
from report import write_result
from scipy import stats

from benchmarks.arena_hard.published_arena import PINNED_BASELINE, published_v01, published_v2
from benchmarks.arena_hard.style import StyleControl, VerdictTable, style_controlled_win_rates
from benchmarks.arena_hard.style_features import StyleCounts
from harness.stats.bradley_terry import bootstrap_bradley_terry, compare
from harness.stats.rate_interval import RateSample, rate_interval

BASELINE = "claude-3.7-sonnet"
OURS = "ours: cluster-robust, t on the logit scale"
PUBLISHED_V01 = "published v0.1 (nominal 95 %)"
PUBLISHED_V2 = "published v2 (nominal 90 %)"
_LOSS_TO_WIN = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
"""Verdicts on a model shown as B, from its clearest loss to its clearest win."""


@dataclass(frozen=True)
class Verdicts:
    """Rows (M, P, 3) won, tied and lost by model and prompt, a decisive verdict being three rows."""

    models: tuple[str, ...]
    prompts: tuple[str, ...]
    rows: np.ndarray

    def table(self, models: list[int], prompts: np.ndarray | None = None) -> VerdictTable:
        """The verdicts of some models on some prompts."""
        rows = self.rows[models] if prompts is None else self.rows[models][:, prompts]
        return VerdictTable(tuple(self.models[i] for i in models), rows @ [1.0, 0.5, 0.0], rows.sum(axis=2))


def load(data: Path) -> tuple[Verdicts, list[int], StyleCounts]:
    """Verdicts of all models, the models whose style is known, and that style."""
    folder = data / "arena_hard" / "ko-arena-hard"
    games: dict[str, dict[str, list[str]]] = {}
    for path in sorted((folder / "data" / "ko-arena-hard-v0.1" / "model_judgment" / "ensemble").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line and (row := json.loads(line))["model"] != BASELINE:
                games.setdefault(row["model"], {})[row["question_id"]] = [game["score"] for game in row["games"]]
    models, prompts = tuple(games), tuple(dict.fromkeys(p for own in games.values() for p in own))
    grade = {label: i for i, label in enumerate(_LOSS_TO_WIN)}
    grades = np.array(
        [[[grade[first], 4 - grade[second]] for first, second in map(games[m].get, prompts)] for m in models]
    )
    verdicts = Verdicts(models, prompts, grade_rows(grades))
    kept, style = load_style(folder, models, prompts)
    return verdicts, kept, style


def load_style(folder: Path, models: tuple[str, ...], prompts: tuple[str, ...]) -> tuple[list[int], StyleCounts]:
    with gzip.open(folder / "conv_metadata_72models.json.gz", "rt", encoding="utf-8") as file:
        metadata = json.load(file)
    kept = [i for i, model in enumerate(models) if model in metadata]
    style = np.array(
        [
            [
                [m["token_len"], *(sum(m[key].values()) for key in ("header_count", "list_count", "bold_count"))]
                for m in (metadata[model][prompt] for prompt in prompts)
            ]
            for model in [*(models[i] for i in kept), BASELINE]
        ],
        dtype=np.float64,
    )
    return kept, StyleCounts(style[:-1], style[-1])


def covers(interval: tuple[float | None, float | None], truth: float) -> bool:
    return interval[0] is not None and interval[0] <= truth <= interval[1]


def sample_once(rows: np.ndarray, truth: float, rng: np.random.Generator) -> dict[str, bool]:
    """Cover or not, of our interval and both published ones, on one sample of prompts (n, 3)."""
    weight = rows.sum(axis=1).astype(float)
    won = rows @ [1.0, 0.5, 0.0]
    rate = won.sum() / weight.sum()
    found = rate_interval(RateSample(rate, (won - rate * weight) / weight.sum(), 2 * len(rows)))
    total = rows.sum(axis=0)
    old = published_v01(("m",), total[None], PINNED_BASELINE, rng)["m"]
    new = published_v2(total, rng)
    return {
        OURS: covers((found.ci_low, found.ci_high), truth),
        PUBLISHED_V01: covers((old.ci_low, old.ci_high), truth),
        PUBLISHED_V2: covers((new.ci_low, new.ci_high), truth),
    }


def share_of(rows: np.ndarray) -> float:
    return 100.0 * float((rows @ [1.0, 0.5, 0.0]).sum() / rows.sum())


def resampled(rows: np.ndarray, models: tuple[str, ...], n_prompts: int, n_trials: int, seed: int) -> list[dict]:
    """Coverage for every model when its real prompts are the population."""
    report, rng = [], np.random.default_rng(seed)
    for model, population in zip(models, rows, strict=True):
        truth, hits = share_of(population), dict.fromkeys((OURS, PUBLISHED_V01, PUBLISHED_V2), 0)
        for _ in range(n_trials):
            sample = population[rng.integers(len(population), size=n_prompts)]
            for name, hit in sample_once(sample, truth, rng).items():
                hits[name] += hit
        report.append({"model": model, "truth": truth, **{name: hit / n_trials for name, hit in hits.items()}})
    return report


def grade_rows(grades: np.ndarray) -> np.ndarray:
    """Rows won, tied, lost of two grades a prompt, 0 (lost clearly) to 4 (won clearly)."""
    by_grade = np.array([[0, 0, 3], [0, 0, 1], [0, 1, 0], [1, 0, 0], [3, 0, 0]])
    return by_grade[grades].sum(axis=-2)


def parametric(n_prompts: int, n_trials: int, seed: int) -> list[dict]:
    """Coverage under an ordered-logit model of the verdict with a normal prompt effect.

    With these cuts and a prompt effect of standard deviation 2 the prompt-level standard error is 1.6 to 2.0 times the
    row-level one; in the real files it is 1.5 to 2.0 times.
    """
    cuts, spread = np.array([-1.6, -0.3, 0.3, 1.6]), 2.0
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(80)
    node_weights = node_weights / node_weights.sum()
    report, rng = [], np.random.default_rng(seed)
    for strength in (-5.0, -3.0, -1.5, 0.0, 1.0, 4.0):
        below = stats.logistic.cdf(cuts[:, None] - strength - spread * nodes)
        chances = np.diff(np.vstack([np.zeros_like(nodes), below, np.ones_like(nodes)]), axis=0) @ node_weights
        truth = 100 * float(chances @ [0, 0, 0.5, 1, 3] / (chances @ [3, 1, 1, 1, 3]))
        hits, ratio = dict.fromkeys((OURS, PUBLISHED_V01, PUBLISHED_V2), 0), []
        for _ in range(n_trials):
            effect = strength + spread * rng.standard_normal(n_prompts)
            rows = grade_rows(np.digitize(effect[:, None] + rng.logistic(size=(n_prompts, 2)), cuts))
            for name, hit in sample_once(rows, truth, rng).items():
                hits[name] += hit
            ratio.append(spread_ratio(rows))
        shares = {name: hit / n_trials for name, hit in hits.items()}
        report.append(
            {"model": f"strength {strength:+g}", "truth": truth, "se_ratio": float(np.nanmedian(ratio)), **shares}
        )
    return report


def spread_ratio(rows: np.ndarray) -> float:
    """Prompt-level over row-level standard error; NaN where there is no spread."""
    weight, won = rows.sum(axis=1), rows @ [1.0, 0.5, 0.0]
    rate = won.sum() / weight.sum()
    by_row = (rows.sum(axis=0) @ [1.0, 0.25, 0.0] / weight.sum() - rate**2) * weight.sum()
    return math.sqrt(float(((won - rate * weight) ** 2).sum()) / by_row) if by_row > 0 else math.nan


def alternatives(rows: np.ndarray, n_prompts: int, n_trials: int, seed: int) -> dict[str, float]:
    """Coverage of the intervals that were not chosen, on the same real prompts."""
    rng, hits = np.random.default_rng(seed), {}
    won, weight = rows @ [1.0, 0.5, 0.0], rows.sum(axis=1).astype(float)
    truth = won.sum() / weight.sum()
    for _ in range(n_trials):
        chosen = rng.integers(len(rows), size=n_prompts)
        s, w = won[chosen], weight[chosen]
        rate = s.sum() / w.sum()
        influence = (s - rate * w) / w.sum()
        stderr = math.sqrt(float(influence @ influence) * n_prompts / (n_prompts - 1))
        if stderr == 0.0:
            limits = dict.fromkeys(("t", "t on the logit scale, n - 1 df", "percentile", "BCa"), (rate, rate))
        else:
            quantile = stats.t.ppf(0.975, n_prompts - 1)
            logit, slope = math.log(rate / (1 - rate)), rate * (1 - rate)
            ends = stats.logistic.cdf([logit - quantile * stderr / slope, logit + quantile * stderr / slope])
            counts = rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=500).astype(float)
            draws = (counts @ s) / (counts @ w)
            limits = {
                "t": (rate - quantile * stderr, rate + quantile * stderr),
                "t on the logit scale, n - 1 df": tuple(ends),
                "percentile": tuple(np.quantile(draws, [0.025, 0.975])),
                "BCa": bca(draws, rate, influence),
            }
        for name, (low, high) in limits.items():
            hits[name] = hits.get(name, 0) + (low <= truth <= high)
    return {name: hit / n_trials for name, hit in hits.items()}


def bca(draws: np.ndarray, value: float, influence: np.ndarray) -> tuple[float, float]:
    """Efron (1987): percentiles moved for bias and for the skewness of the influence."""
    bias = stats.norm.ppf(np.clip(np.mean(draws < value) + 0.5 * np.mean(draws == value), 1e-3, 1 - 1e-3))
    skew = float((influence**3).sum() / (6 * (influence**2).sum() ** 1.5))
    z = bias + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(draws, stats.norm.cdf(bias + z / (1 - skew * z)))
    return float(low), float(high)


def style_coverage(
    verdicts: Verdicts, kept: list[int], style: StyleCounts, control: StyleControl, n_trials: int, seed: int
) -> dict:
    """Coverage of style-controlled win rates when the real prompts are the population, all models fitted jointly."""
    truth = style_controlled_win_rates(verdicts.table(kept), style, control).win_rates
    rng, hits = np.random.default_rng(seed), np.zeros(len(kept))
    n_prompts = len(verdicts.prompts)
    for _ in range(n_trials):
        chosen = rng.integers(n_prompts, size=n_prompts)
        sample = StyleCounts(style.models[:, chosen], style.baseline[chosen])
        found = style_controlled_win_rates(verdicts.table(kept, chosen), sample, control).win_rates
        hits += [covers((found[m].ci_low, found[m].ci_high), estimate.value) for m, estimate in truth.items()]
    shares = hits / n_trials
    return {"mean": float(shares.mean()), "lowest": float(shares.min()), "highest": float(shares.max())}


def run_coverage(data: Path, n_trials: int) -> dict:
    verdicts, kept, style = load(data)
    rows, models = verdicts.rows, verdicts.models
    result: dict = {"n_trials": n_trials, "mc_error_of_one_model_at_95": math.sqrt(0.95 * 0.05 / n_trials)}
    print(
        f"coverage in %, {n_trials} simulations each; Monte-Carlo error of one {100 * math.sqrt(0.0475 / n_trials):.2f}"
    )
    print(f"{'':46s}{'mean':>7s}{'lowest':>8s}{'highest':>8s}")

    def show(title: str, cases: list[dict]) -> None:
        result[title] = cases
        print(title)
        for name in (OURS, PUBLISHED_V01, PUBLISHED_V2):
            found = [100 * case[name] for case in cases]
            print(f"  {name:44s}{np.mean(found):7.1f}{min(found):8.1f}{max(found):8.1f}")

    for n_prompts in (500, 100):
        cases = resampled(rows, models, n_prompts, n_trials, seed=n_prompts)
        show(f"real prompts of 38 models, n = {n_prompts}", cases)
        show(f"  of them win rate 5 to 95 %, n = {n_prompts}", [c for c in cases if 5 <= c["truth"] <= 95])
        show(f"  of them win rate below 5 %, n = {n_prompts}", [c for c in cases if c["truth"] < 5])
    for n_prompts in (500, 100):
        show(
            f"ordered logit with prompt effect, 6 strengths, n = {n_prompts}",
            parametric(n_prompts, n_trials, n_prompts),
        )
    result["alternatives"] = {}
    shown = ["llama-3.1-8b-instruct", "olmo-2-0325-32b-instruct", "claude-3.5-sonnet-20240620", "qwq-32b"]
    print("intervals not chosen")
    for model in shown:
        for n_prompts in (500, 100):
            found = alternatives(rows[models.index(model)], n_prompts, n_trials, seed=1)
            result["alternatives"][f"{model}, n = {n_prompts}"] = found
            print(f"  {model}, n = {n_prompts}: " + ", ".join(f"{k} {100 * v:.1f}" for k, v in found.items()))
    result["style"] = {}
    for control in (StyleControl("v2"), StyleControl("v0.1", reference="mean"), StyleControl("v2", ("tokens",))):
        name = f"style control {control.version}, {'+'.join(control.features)}, {control.reference}, n = 500"
        result["style"][name] = found = style_coverage(verdicts, kept, style, control, n_trials, seed=3)
        print(f"{name:60s}" + "".join(f"{100 * found[k]:8.1f}" for k in ("mean", "lowest", "highest")))
    return result


def upstream_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Verdict rows as upstream has them: model, prompt, score."""
    cells = rows.reshape(-1, 3)
    index = np.repeat(np.arange(len(cells)), cells.sum(axis=1))
    score = np.concatenate([np.repeat([1.0, 0.5, 0.0], cell) for cell in cells])
    return index // rows.shape[1], index % rows.shape[1], score


def upstream_round(data: tuple[np.ndarray, np.ndarray, np.ndarray], rng: np.random.Generator) -> None:
    """One round of upstream v0.1: resample rows, build the design of doubled rows, fit."""
    from sklearn.linear_model import LogisticRegression

    model, _, score = data
    chosen = rng.integers(score.size, size=score.size)
    model, score = model[chosen], score[chosen]
    half = np.zeros((score.size, int(data[0].max()) + 2))
    half[np.arange(score.size), model] = -math.log(10)
    half[:, -1] = math.log(10)
    target = np.concatenate([score < 1, score == 0])
    LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-8).fit(np.vstack([half, half]), target)


def timed(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Best wall time of several runs, and peak memory in MiB traced in a run of its own."""
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return best, peak


def run_speed(data: Path, rival_rounds: int) -> dict:
    verdicts, _, _ = load(data)
    plain = upstream_rows(verdicts.rows)
    table = verdicts.table(list(range(len(verdicts.models))))
    cells = [(i, p) for i, p in np.argwhere(table.weight)]
    comparisons = compare(
        [table.models[i] for i, _ in cells],
        [BASELINE] * len(cells),
        [table.won[i, p] / table.weight[i, p] for i, p in cells],
        [table.weight[i, p] for i, p in cells],
        [p for _, p in cells],
    )
    rng = np.random.default_rng(0)
    base, base_memory = timed(lambda: upstream_round(plain, rng), rival_rounds)
    outcomes = verdicts.rows.sum(axis=1)
    ours = {
        "win rates, published interval (v0.1)": lambda: published_v01(table.models, outcomes, BASELINE, rng, 100),
        "joint Bradley-Terry, prompts resampled": lambda: bootstrap_bradley_terry(comparisons, rng, 100),
    }
    result: dict = {"models": len(table.models), "verdict_rows": int(plain[2].size), "rival_rounds_timed": rival_rounds}
    print(
        f"100 bootstrap rounds, {len(table.models)} models, {plain[2].size} verdict rows (doubled in the rival's fit)"
    )
    print(f"rival: best of {rival_rounds} timed rounds of scikit-learn's fit, times 100")
    print(f"{'':44s}{'rival s':>10s}{'ours s':>10s}{'ratio':>9s}{'rival MiB':>11s}{'ours MiB':>10s}")
    for name, work in ours.items():
        seconds, memory = timed(work, 5)
        ratio = 100 * base / seconds
        result[name] = {
            "rival_seconds_extrapolated": 100 * base,
            "ours_seconds": seconds,
            "ratio": ratio,
            "rival_peak_mib": base_memory,
            "ours_peak_mib": memory,
        }
        print(f"{name:44s}{100 * base:10.1f}{seconds:10.4f}{ratio:9.0f}{base_memory:11.1f}{memory:10.1f}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of published results")
    parser.add_argument("--coverage", action="store_true", help="simulate coverage (about 10 minutes)")
    parser.add_argument("--speed", action="store_true", help="time 100 rounds against upstream's way")
    parser.add_argument("--trials", type=int, default=2000, help="simulations of each case")
    parser.add_argument("--rival-rounds", type=int, default=3, help="rounds of the rival that are timed")
    arguments = parser.parse_args()
    if not (arguments.coverage or arguments.speed):
        parser.error("ask for --coverage, --speed or both")
    if arguments.coverage:
        write_result("arena_hard_coverage", run_coverage(arguments.data, arguments.trials))
    if arguments.speed:
        write_result("arena_hard_speed", run_speed(arguments.data, arguments.rival_rounds))


if __name__ == "__main__":
    main()
