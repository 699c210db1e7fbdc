"""AlpacaEval 2's length-controlled win rate: does the interval cover, how fast is a refit, how gameable is the figure.

    OMP_NUM_THREADS=1 python bench/alpaca_lc.py --coverage --data ../shared/data
    OMP_NUM_THREADS=1 python bench/alpaca_lc.py --speed
    OMP_NUM_THREADS=1 python bench/alpaca_lc.py --gameability

Coverage: populations of prompts are made from real models (lengths, difficulties and the spread of the prompt effects
in the logit, smoothed), the true value is the estimator on the whole population, and samples are drawn from it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import multiprocessing
import resource
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from real_scores import DATA
from report import write_result
from scipy import stats

from benchmarks.alpaca_eval.lc import length_controlled_win_rate, win_rate
from benchmarks.alpaca_eval.lc_bootstrap import (
    LengthControlBootstrap,
    LengthControlDraws,
    length_controlled_draws,
    studentized_interval,
)
from benchmarks.alpaca_eval.lc_data import (
    GamedBaseline,
    LengthControlData,
    LengthControlSpec,
    read_gamed,
)
from benchmarks.alpaca_eval.lc_fit import LengthControlEstimator, gather
from benchmarks.alpaca_eval.logistic import logistic
from harness.stats.rate_interval import RateSample, rate_interval

HUB = Path("mirror/huggingface/datasets/tatsu-lab/alpaca_eval")
JUDGE = "weighted_alpaca_eval_gpt4_turbo"
COLUMNS = ("preference", "length_model", "length_baseline", "difficulty")
WEAK, MIDDLING, STRONG = "alpaca-7b", "claude-2.1", "NullModel"
SPEC = LengthControlSpec()


def load(data: Path, model: str) -> LengthControlData:
    """Read one model's verdicts, difficulty by instruction."""
    with gzip.open(data / "alpaca_eval/annotations_slim" / f"{model}.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    preference = np.array([row["preference"] for row in rows])
    difficulty = gamed_rows(data)[1][[row["q"] for row in rows]]
    lengths = [[row[name] for row in rows] for name in ("len_2", "len_1")]
    return LengthControlData(np.where(preference == 0, 0.5, preference - 1), *lengths, difficulty)


def gamed_rows(data: Path) -> tuple[GamedBaseline, np.ndarray]:
    return read_gamed(data / HUB / "df_gamed.csv")


def take(data: LengthControlData, drawn: np.ndarray) -> LengthControlData:
    return LengthControlData(*(getattr(data, name)[drawn] for name in COLUMNS))


def population(real: LengthControlData, gamed: GamedBaseline, rng: np.random.Generator, n: int) -> LengthControlData:
    """Make n prompts like the real ones: difficulty, lengths and prompt effect of one of them, each jittered.

    The prompt effect is what the fit leaves of the judge's logit: as wide and as bimodal as the real verdicts are.
    """
    fit = length_controlled_win_rate(real, gamed)
    b = fit.coefficients
    delta = real.length_difference
    share = np.clip(real.preference, 1e-7, 1 - 1e-7)
    score = b.length * np.tanh(delta / delta.std(ddof=1)) + b.difficulty * real.difficulty + b.model
    effect = np.log(share / (1 - share)) - score
    like = rng.integers(0, real.n, n)
    difficulty = real.difficulty[like] + 0.1 * real.difficulty.std() * rng.normal(size=n)
    length_model = np.maximum(1.0, real.length_model[like] * np.exp(0.1 * rng.normal(size=n))).round()
    new = real.length_baseline[like] - length_model
    drawn_effect = effect[like] + 0.1 * effect.std() * rng.normal(size=n)
    score = b.length * np.tanh(new / new.std()) + b.difficulty * difficulty + b.model + drawn_effect
    return LengthControlData(logistic(score), length_model, real.length_baseline[like], difficulty)


def truth(everyone: LengthControlData, gamed: GamedBaseline, n: int) -> tuple[float, float]:
    """Estimator on the whole population, weighing as much as a sample of n: win rate in percent, and C."""
    counts = np.full((1, everyone.n), n / everyone.n)
    fits = LengthControlEstimator(everyone, gamed, SPEC).fit(gather(everyone, counts))
    return 100 * float(fits.win_rate[0]), float(fits.C[0])


def intervals_of(draws: LengthControlDraws) -> dict[str, tuple[float, float]]:
    value, resampled, tails = draws.win_rate[0], draws.resampled[0], np.array([0.025, 0.975])
    found = {
        "percentile": tuple(np.quantile(resampled, tails)),
        "basic": tuple(2.0 * value - np.quantile(resampled, tails[::-1])),
        "bca": tuple(np.quantile(resampled, bca_tails(tails, value, resampled, draws.influence[0]))),
        "studentized": studentized_interval(draws, 0, 0.95),
    }
    analytic = rate_interval(RateSample(draws.win_rate[0] / 100, draws.influence[0] / 100 / draws.n, draws.n))
    found["jackknife t, logit"] = (analytic.ci_low or 0.0, analytic.ci_high or 0.0)
    return found


def bca_tails(tails: np.ndarray, value: float, resampled: np.ndarray, influence: np.ndarray) -> np.ndarray:
    """Move the tail probabilities for bias and acceleration (Efron 1987)."""
    below = (np.count_nonzero(resampled < value) + 0.5 * np.count_nonzero(resampled == value)) / resampled.size
    if not 0.0 < below < 1.0:
        return tails
    bias = stats.norm.ppf(below)
    acceleration = (influence**3).sum() / (6.0 * (influence**2).sum() ** 1.5)
    shifted = bias + stats.norm.ppf(tails)
    return stats.norm.cdf(bias + shifted / (1.0 - acceleration * shifted))


def cover(
    data: Path, model: str, n: int, trials: int, bootstrap: LengthControlBootstrap, seed: int = 7
) -> dict[str, object]:
    """Simulate one population; share of intervals that hold the truth, share that miss it on either side."""
    gamed, _ = gamed_rows(data)
    rng = np.random.default_rng(seed)
    everyone = population(load(data, model), gamed, rng, 50_000)
    true, C = truth(everyone, gamed, n)
    raw_true = 100 * everyone.preference.mean()
    hits: dict[str, list[tuple[bool, bool]]] = {}
    points, reported, bootstrapped, analytic = [], [], [], []
    started = time.process_time()
    for _ in range(trials):
        sample = take(everyone, rng.integers(0, everyone.n, n))
        draws = length_controlled_draws([sample], gamed, rng, SPEC, bootstrap)
        published = length_controlled_win_rate(sample, gamed, LengthControlSpec(C_grid=(C,)))
        half = 1.96 * published.published_standard_error
        found = intervals_of(draws) | {
            "published (lc_standard_error)": (published.win_rate - half, published.win_rate + half)
        }
        for name, (low, high) in found.items():
            hits.setdefault(name, []).append((low > true, high < true))
        raw = win_rate(sample.preference)
        hits.setdefault("raw win rate: ours", []).append((raw.ci_low > raw_true, raw.ci_high < raw_true))
        half = 1.96 * raw.stderr
        hits.setdefault("raw win rate: +-1.96 SE", []).append(
            (raw.value - half > raw_true, raw.value + half < raw_true)
        )
        points.append(draws.win_rate[0])
        bootstrapped.append(draws.resampled[0].std(ddof=1))
        analytic.append(draws.jackknife_stderr[0])
        reported.append(published.published_standard_error)
    result: dict[str, object] = {
        "population": model,
        "n": n,
        "trials": trials,
        "n_boot": bootstrap.n_boot,
        "reselect_C": bootstrap.reselect_C,
        "true_win_rate": true,
        "mean_estimate": float(np.mean(points)),
        "true_standard_error": float(np.std(points, ddof=1)),
        "mean_bootstrap_stderr": float(np.mean(bootstrapped)),
        "mean_jackknife_stderr": float(np.mean(analytic)),
        "mean_published_standard_error": float(np.mean(reported)),
        "cpu_s": time.process_time() - started,
        "coverage": {name: 1 - float(np.mean(np.any(misses, axis=1))) for name, misses in hits.items()},
        "misses_low_high": {name: np.mean(misses, axis=0).tolist() for name, misses in hits.items()},
    }
    print_coverage(result)
    return result


def print_coverage(result: dict) -> None:
    print(
        f"\n{result['population']}, n = {result['n']}, {result['trials']} trials, {result['n_boot']} resamples, "
        f"C {'reselected' if result['reselect_C'] else 'held'}: true {result['true_win_rate']:.2f}, mean estimate "
        f"{result['mean_estimate']:.2f}; SE true {result['true_standard_error']:.3f}, bootstrap "
        f"{result['mean_bootstrap_stderr']:.3f}, jackknife {result['mean_jackknife_stderr']:.3f}, published "
        f"{result['mean_published_standard_error']:.3f}; {result['cpu_s']:.0f} s"
    )
    for name, covered in result["coverage"].items():
        above, below = result["misses_low_high"][name]
        sides = f"all above {100 * above:5.2f} %, all below {100 * below:5.2f} %"
        print(f"  {name:32s} {100 * covered:6.2f} %   misses: {sides}")


def cover_difference(data: Path, trials: int, n_boot: int, seed: int = 8) -> dict[str, object]:
    """Coverage of the paired difference, drawing from the real prompts of two models."""
    gamed, _ = gamed_rows(data)
    models = [load(data, name) for name in ("claude-2.1", "claude-2.1_concise")]
    rng = np.random.default_rng(seed)
    spec = LengthControlBootstrap(n_boot, reselect_C=False)
    true = float(np.subtract(*(truth(model, gamed, model.n)[0] for model in models)))
    hits = []
    for _ in range(trials):
        drawn = rng.integers(0, models[0].n, models[0].n)
        draws = length_controlled_draws([take(model, drawn) for model in models], gamed, rng, SPEC, spec)
        low, high = np.quantile(draws.resampled[0] - draws.resampled[1], [0.025, 0.975])
        hits.append(low <= true <= high)
    covered = float(np.mean(hits))
    print(f"\npaired difference claude-2.1 less claude-2.1_concise ({true:.2f}): {100 * covered:.2f} % of {trials}")
    return {"true_difference": true, "trials": trials, "n_boot": n_boot, "coverage": covered}


def reselection(data: Path, n_boot: int = 1000, seed: int = 0) -> list[dict[str, object]]:
    """What choosing C anew in every resample does to the standard error and the interval, on the real models."""
    gamed, _ = gamed_rows(data)
    rows = []
    print(f"\n{'model':32s} {'LC':>7s} {'SE held':>8s} {'SE anew':>8s} {'published':>9s}  interval held / anew")
    for model in models_of(data):
        both = []
        for anew in (False, True):
            spec = LengthControlBootstrap(n_boot, reselect_C=anew)
            draws = length_controlled_draws([load(data, model)], gamed, np.random.default_rng(seed), SPEC, spec)
            both.append((float(draws.resampled.std(ddof=1)), studentized_interval(draws, 0, 0.95)))
        published = length_controlled_win_rate(load(data, model), gamed)
        (held, held_limits), (anew_se, anew_limits) = both
        limits = " / ".join(f"{low:.2f} to {high:.2f}" for low, high in (held_limits, anew_limits))
        print(
            f"{model:32s} {published.win_rate:7.2f} {held:8.3f} {anew_se:8.3f} "
            f"{published.published_standard_error:9.3f}  {limits}"
        )
        rows.append(
            {
                "model": model,
                "win_rate": published.win_rate,
                "stderr_C_held": held,
                "stderr_C_anew": anew_se,
                "published_standard_error": published.published_standard_error,
                "interval_C_held": held_limits,
                "interval_C_anew": anew_limits,
            }
        )
    ratios = [row["stderr_C_anew"] / row["stderr_C_held"] for row in rows]  # type: ignore[operator]
    too_small = [row["stderr_C_anew"] / row["published_standard_error"] for row in rows]  # type: ignore[operator]
    print(f"SE anew / SE held: median {np.median(ratios):.3f}, worst {max(ratios):.3f}")
    print(f"SE anew / published: median {np.median(too_small):.2f}, from {min(too_small):.2f} to {max(too_small):.2f}")
    return rows


def models_of(data: Path) -> list[str]:
    names = (path.name.removesuffix(".jsonl.gz") for path in (data / "alpaca_eval/annotations_slim").glob("*.gz"))
    return sorted(name for name in names if name != "gpt4_1106_preview")


def coverage(data: Path, trials: int, n_boot: int) -> None:
    held = LengthControlBootstrap(n_boot, reselect_C=False)
    anew = LengthControlBootstrap(n_boot, reselect_C=True)
    result: dict[str, object] = {"reselection": reselection(data)}
    result["held"] = [cover(data, model, 805, trials, held) for model in (MIDDLING, WEAK, STRONG)]
    result["small"] = [cover(data, MIDDLING, 200, max(trials // 2, 1), held)]
    result["difference"] = cover_difference(data, max(trials // 5, 1), n_boot)
    result["anew"] = [cover(data, MIDDLING, 805, max(trials // 10, 1), anew)]
    print("\nwritten to", write_result("alpaca_lc_coverage", result))


def resampled_frames(data: Path, model: str, n_refits: int) -> list:
    """Resampled annotations as upstream takes them."""
    import pandas as pd

    real = load(data, model)
    texts = {int(k): "x" * int(k) for k in {*real.length_model, *real.length_baseline}}
    frame = pd.DataFrame(
        {
            "preference": real.preference + 1,
            "output_1": [texts[int(k)] for k in real.length_baseline],
            "output_2": [texts[int(k)] for k in real.length_model],
            "generator_1": "baseline",
            "generator_2": model,
            "annotator": JUDGE,
        }
    )
    rng = np.random.default_rng(0)
    return [frame.iloc[rng.integers(0, real.n, real.n)].reset_index(drop=True) for _ in range(n_refits)]


def rival(data: Path, model: str, n_refits: int) -> dict[str, float]:
    """Loop alpaca_eval's own function over resamples; the whole of it, and its cross-validated fits alone."""
    warnings.simplefilter("ignore")
    from alpaca_eval.metrics import glm_winrate

    glm_winrate.hf_hub_download = lambda filename, **_: str(data / HUB / filename)
    fits_s = 0.0
    fit = glm_winrate.fit_LogisticRegressionCV

    def timed(*args: object, **kwargs: object) -> object:
        nonlocal fits_s
        started = time.perf_counter()
        fitted = fit(*args, **kwargs)
        fits_s += time.perf_counter() - started
        return fitted

    glm_winrate.fit_LogisticRegressionCV = timed
    frames = resampled_frames(data, model, n_refits + 1)
    glm_winrate.get_length_controlled_winrate(frames[0], save_weights_dir=None, is_warn_extreme_changes=False)
    fits_s, before = 0.0, peak_mib()
    started = time.perf_counter()
    for frame in frames[1:]:
        glm_winrate.get_length_controlled_winrate(frame, save_weights_dir=None, is_warn_extreme_changes=False)
    whole_s = time.perf_counter() - started
    return {"s_per_refit": whole_s / n_refits, "fits_s_per_refit": fits_s / n_refits, "added_mib": peak_mib() - before}


def ours(data: Path, model: str, n_boot: int, anew: bool) -> dict[str, float]:
    """Time the bootstrap with everything in it: resampling, fits, standard errors for the studentized interval."""
    real, (gamed, _) = load(data, model), gamed_rows(data)
    spec = LengthControlBootstrap(n_boot, reselect_C=anew)
    warm_up = LengthControlBootstrap(100, reselect_C=anew)
    before = peak_mib()
    length_controlled_draws([real], gamed, np.random.default_rng(1), SPEC, warm_up)
    started = time.perf_counter()
    length_controlled_draws([real], gamed, np.random.default_rng(0), SPEC, spec)
    return {"s": time.perf_counter() - started, "added_mib": peak_mib() - before, "peak_mib": peak_mib()}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(task: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Run in a process of its own, so that peak memory is the task's."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(task)


def speed(data: Path, n_boot: int, n_rival: int, rounds: int, model: str = "claude-2.1") -> None:
    """Take turns with the rival and report the median of the rounds."""
    measured: dict[str, list[dict[str, float]]] = {"rival": [], "anew": [], "held": []}
    for _ in range(rounds):
        measured["rival"].append(apart(partial(rival, data, model, n_rival)))
        measured["anew"].append(apart(partial(ours, data, model, n_boot, True)))
        measured["held"].append(apart(partial(ours, data, model, n_boot, False)))

    def median(who: str, what: str) -> float:
        return float(np.median([run[what] for run in measured[who]]))

    loop_s, fits_s = (median("rival", what) * n_boot for what in ("s_per_refit", "fits_s_per_refit"))
    anew_s, held_s = median("anew", "s"), median("held", "s")
    print(f"{n_boot} refits of {model}, median of {rounds} rounds")
    print(f"  alpaca_eval's function in a loop: {loop_s:8.2f} s (extrapolated from {n_rival} refits a round)")
    print(f"    of that its fits alone:         {fits_s:8.2f} s")
    ratios = f"{loop_s / anew_s:.0f} times (its fits alone: {fits_s / anew_s:.0f})"
    print(f"  ours, C chosen anew:              {anew_s:8.2f} s = {ratios}")
    print(f"  ours, C held:                     {held_s:8.2f} s = {loop_s / held_s:.0f} times")
    print(
        f"  memory added: ours {median('anew', 'added_mib'):.0f} MiB, the rival {median('rival', 'added_mib'):.0f} MiB"
    )
    result = {
        "model": model,
        "n_boot": n_boot,
        "rival_refits_timed_a_round": n_rival,
        "rounds": rounds,
        "rival_s_extrapolated": loop_s,
        "rival_fits_s_extrapolated": fits_s,
        "ours_C_anew_s": anew_s,
        "ours_C_held_s": held_s,
        "ratio_C_anew": loop_s / anew_s,
        "ratio_C_anew_to_fits_alone": fits_s / anew_s,
        "ratio_C_held": loop_s / held_s,
        "rounds_measured": measured,
    }
    print("written to", write_result("alpaca_lc_speed", result))


def variants_of(board: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Models with a concise or verbose variant on the leaderboard."""
    families = {}
    for name in board:
        variants = [name + suffix for suffix in ("_concise", "", "_verbose") if name + suffix in board]
        if len(variants) > 1:
            families[name] = variants
    return families


def recomputed_figures(data: Path, models: set[str]) -> dict[str, tuple[float, float]]:
    """Raw and length-controlled win rates of the models whose verdicts are at hand."""
    gamed, _ = gamed_rows(data)
    found = {}
    for model in {*models_of(data)} & models:
        verdicts = load(data, model)
        controlled = length_controlled_win_rate(verdicts, gamed).win_rate
        found[model] = (win_rate(verdicts.preference).value, controlled)
    return found


def gameability(data: Path) -> None:
    """Spread of one model's figures over prompts for concise, normal and verbose answers: raw and length-controlled."""
    with (data / f"alpaca_eval/leaderboards/data_AlpacaEval_2/{JUDGE}_leaderboard.csv").open() as file:
        board = {row.pop(""): row for row in csv.DictReader(file)}
    families = variants_of(board)
    recomputed = recomputed_figures(data, {variant for variants in families.values() for variant in variants})
    rows = []
    print(f"{'variant':36s} {'length':>7s} {'raw':>7s} {'LC':>7s}   recomputed raw, LC (difficulty by instruction)")
    for family, variants in families.items():
        published = [
            (float(board[v]["win_rate"]), float(board[v]["length_controlled_winrate"] or "nan")) for v in variants
        ]
        for variant, (raw, controlled) in zip(variants, published, strict=True):
            again = "".join(f"{value:8.2f}" for value in recomputed.get(variant, ()))
            print(f"{variant:36s} {board[variant]['avg_length']:>7s} {raw:7.2f} {controlled:7.2f}   {again}")
        if np.isfinite(published).all():
            spread = np.std(published, axis=0, ddof=1) / np.mean(published, axis=0)
            rows.append({"family": family, "raw": float(spread[0]), "length_controlled": float(spread[1])})
            print(f"  spread (SD / mean): raw {100 * spread[0]:.1f} %, length-controlled {100 * spread[1]:.1f} %")
    raw, controlled = (float(np.mean([row[name] for row in rows])) for name in ("raw", "length_controlled"))
    print(f"mean spread over {len(rows)} models: raw {100 * raw:.1f} %, length-controlled {100 * controlled:.1f} %")
    result = {"families": rows, "mean_spread_raw": raw, "mean_spread_length_controlled": controlled}
    print("written to", write_result("alpaca_lc_gameability", result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="published results and the mirror of upstream files")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--gameability", action="store_true")
    parser.add_argument("--trials", type=int, default=2000, help="samples drawn from each population")
    parser.add_argument("--n-boot", type=int, default=None, help="resamples (400 for coverage, 1000 for speed)")
    parser.add_argument("--rival-refits", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if not (given.coverage or given.speed or given.gameability):
        parser.error("say --coverage, --speed or --gameability")
    if given.speed:
        speed(given.data, given.n_boot or 1000, given.rival_refits, given.rounds)
    if given.gameability:
        gameability(given.data)
    if given.coverage:
        coverage(given.data, given.trials, given.n_boot or 400)


if __name__ == "__main__":
    main()
