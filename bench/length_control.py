"""What holding length equal changes: a known truth recovered, gameability, rank correlations.

    OMP_NUM_THREADS=1 python bench/length_control.py --data ../shared/data

Gameability is the spread of one model under different prompting for length (standard deviation over mean of its
figures): it should be small for a figure of quality. Rank correlations say how far the order of models moves.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from real_scores import DATA, KoArena, alpaca_models, alpaca_pairs, rated_answers
from report import write_result
from scipy.special import expit
from scipy.stats import spearmanr

from harness.stats.length_control import (
    LengthControlled,
    LengthControlSpec,
    PairScores,
    length_controlled_pairs,
    relative_length,
)
from harness.stats.length_control_ratings import (
    ModelRatings,
    RatingPanel,
    length_controlled_panel,
    length_controlled_ratings,
)

FAMILIES = {
    "claude-2.1": ["claude-2.1_concise", "claude-2.1"],
    "gpt-3.5-turbo-1106": ["gpt-3.5-turbo-1106", "gpt-3.5-turbo-1106_verbose"],
    "alpaca-7b": ["alpaca-7b", "alpaca-7b_verbose"],
}
SPEC = LengthControlSpec(n_boot=1000)


def spread(figures: list[float]) -> float:
    """Standard deviation over mean."""
    return float(np.std(figures) / np.mean(figures))


def known_truth(data: Path, seed: int = 0) -> dict[str, object]:
    """One quality, one taste for length, three ways of prompting; lengths of a real model, verdicts from the truth.

    The answers of the concise and the verbose variant are the normal one's at half and at twice the length.
    """
    rng = np.random.default_rng(seed)
    real = KoArena.load(data).pairs("gpt-4o-2024-11-20")
    own, base, clusters = np.asarray(real.length_model), np.asarray(real.length_baseline), np.asarray(real.clusters)
    prompts, index = np.unique(clusters, return_inverse=True)
    intercept, slope, n_repeats = -0.3, 3.0, 200
    truth = 100.0 * float(expit(intercept))
    pairs: dict[str, dict[str, float]] = {}
    for name, factor in (("concise", 0.5), ("normal", 1.0), ("verbose", 2.0)):
        length = own * factor * rng.lognormal(0.0, 0.2, prompts.size)[index]
        chance = expit(intercept + slope * relative_length(length, base))
        raw, figures, covered = [], [], 0
        for _ in range(n_repeats):
            # the judge's chance on a prompt varies around what length and quality give, the same in both games
            per_prompt = rng.beta(3.0 * chance, 3.0 * (1.0 - chance))
            first = np.unique(index, return_index=True)[1]
            score = (rng.random(index.size) < per_prompt[first][index]).astype(float)
            sample = PairScores(score, np.ones(score.size), length, base, clusters)
            found = length_controlled_pairs(sample, rng, replace(SPEC, n_boot=200))
            raw.append(found.raw)
            figures.append(found.estimate.value)
            covered += found.estimate.ci_low <= truth <= found.estimate.ci_high
        pairs[name] = {
            "raw": float(np.mean(raw)),
            "length_controlled": float(np.mean(figures)),
            "sd": float(np.std(figures)),
            "coverage": covered / n_repeats,
        }
    return {"truth": truth, "repeats": n_repeats, "pairs": pairs, "ratings": known_truth_of_ratings(data, rng)}


def known_truth_of_ratings(data: Path, rng: np.random.Generator) -> dict[str, object]:
    """Real ratings of one model, with an effect of length of known size put in at three levels of wordiness."""
    answers = rated_answers(data)
    mine = np.array(answers.model) == "Mistral-7B-Instruct-v0.3"
    rating = answers.rating[mine]
    rating = 3.0 + 0.4 * (rating - 1.0)  # squeezed, so that the effect does not run into the ends of the scale
    reference = answers.length[mine]
    questions = [q for q, own in zip(answers.question, mine, strict=True) if own]
    figures: dict[str, dict[str, float]] = {}
    for name, factor in (("concise", 0.5), ("normal", 1.0), ("verbose", 2.0)):
        raw, controlled = [], []
        for _ in range(200):
            length = reference * factor * rng.lognormal(0.0, 0.4, reference.size)
            shown = rating + 2.0 * relative_length(length, reference)
            found = length_controlled_ratings(
                ModelRatings(shown, length, reference, questions), rng, replace(SPEC, n_boot=100)
            )
            raw.append(found.raw)
            controlled.append(found.estimate.value)
        figures[name] = {
            "raw": float(np.mean(raw)),
            "length_controlled": float(np.mean(controlled)),
            "sd": float(np.std(controlled)),
        }
    return {"truth": float(rating.mean()), "slope": 2.0, "variants": figures}


def published_alpaca(data: Path) -> dict[str, float]:
    path = data / "alpaca_eval/leaderboards/data_AlpacaEval_2/weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {row[""]: float(row["length_controlled_winrate"]) for row in rows if row["length_controlled_winrate"]}


def family_of(model: str) -> str:
    return next((family for family, variants in FAMILIES.items() if model in variants), model)


def pooled_slope_prior(fits: list[LengthControlled]) -> tuple[float, float]:
    """Mean and spread of the effect of length over other models (DerSimonian and Laird 1986, unweighted)."""
    known = [(fit.slope, fit.slope_stderr) for fit in fits if fit.slope_stderr is not None]
    slopes = np.array([slope for slope, _ in known])
    noise = float(np.mean([stderr**2 for _, stderr in known]))
    variance = float(slopes.var(ddof=1))
    return float(slopes.mean()), max(variance - noise, 0.01 * variance) ** 0.5


def fitted(
    pairs: Callable[[str], PairScores], models: list[str], others: Callable[[str], list[str]]
) -> tuple[dict[str, LengthControlled], dict[str, LengthControlled]]:
    """Every model with its own effect of length, and with a prior for it pooled over other models."""
    own = {m: length_controlled_pairs(pairs(m), np.random.default_rng(0), SPEC) for m in models}
    pooled = {}
    for model in models:
        spec = replace(SPEC, slope_prior=pooled_slope_prior([own[m] for m in others(model)]))
        pooled[model] = length_controlled_pairs(pairs(model), np.random.default_rng(0), spec)
    return own, pooled


def alpaca(data: Path) -> dict[str, object]:
    published = published_alpaca(data)
    # the baseline against itself has no verdicts to speak of
    models = [model for model in alpaca_models(data) if model in published and model != "gpt4_1106_preview"]

    def others(model: str) -> list[str]:
        return [m for m in models if family_of(m) != family_of(model) and m != "gpt4_gamed"]

    own, pooled = fitted(lambda model: alpaca_pairs(data, model), models, others)
    figures = {
        "raw": {m: own[m].raw for m in models},
        "published_length_controlled": {m: published[m] for m in models},
        "ours_own_slope": {m: own[m].estimate.value for m in models},
        "ours_pooled_slope": {m: pooled[m].estimate.value for m in models},
    }
    print(
        f"\nAlpacaEval 2  {'raw':>22s} {'published LC':>13s} {'ours':>7s} {'95 %':>15s} {'pooled':>7s} {'95 %':>15s}"
        " slope ± se"
    )
    for model in models:
        one, two = own[model].estimate, pooled[model].estimate
        print(
            f"{model:30s} {own[model].raw:5.1f} {published[model]:13.1f} {one.value:7.1f} "
            f"{one.ci_low:7.1f}-{one.ci_high:<7.1f} {two.value:7.1f} {two.ci_low:7.1f}-{two.ci_high:<7.1f} "
            f"{own[model].slope:5.2f} {own[model].slope_stderr:5.2f}  {one.note}"
        )
    return {
        "figures": figures,
        "gameability": gameability(figures),
        "rank_correlation": rank_correlations(figures, "gpt4_gamed"),
    }


def gameability(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Standard deviation over mean of each family's variants, and the mean over families."""
    names = list(figures)
    found = {
        family: {name: spread([values[m] for m in variants]) for name, values in figures.items()}
        for family, variants in FAMILIES.items()
    }
    found["mean"] = {name: float(np.mean([row[name] for row in found.values()])) for name in names}
    print("\nGameability (sd / mean over variants)  " + "".join(f"{name:>28s}" for name in names))
    for family, row in found.items():
        print(f"{family:38s} " + "".join(f"{row[name]:28.3f}" for name in names))
    return found


def rank_correlations(figures: dict[str, dict[str, float]], left_out: str = "") -> dict[str, dict[str, float]]:
    names = list(figures)
    models = [m for m in figures[names[0]] if m != left_out]
    table = {
        a: {
            b: float(spearmanr([figures[a][m] for m in models], [figures[b][m] for m in models]).statistic)
            for b in names
        }
        for a in names
    }
    suffix = f", without {left_out}" if left_out else ""
    print(f"\nSpearman over {len(models)} models{suffix}")
    for a in names:
        print(f"{a:30s} " + " ".join(f"{table[a][b]:6.3f}" for b in names))
    return table


def published_ko_arena(folder: Path) -> dict[str, dict[str, float]]:
    """Published scores by kind of control and model."""
    columns = {}
    for kind in ("no_control", "length_control", "style_control"):
        with (folder / f"{kind}.csv").open() as file:
            columns[kind] = {row["model"]: float(row["score"]) for row in csv.DictReader(file)}
    return columns


def ko_arena(data: Path) -> dict[str, object]:
    arena = KoArena.load(data)
    columns = published_ko_arena(arena.folder / "leaderboard" / "arena_hard_leaderboard_20250423_ensemble")
    models = sorted(set(arena.models()).intersection(*columns.values()))
    own, pooled = fitted(arena.pairs, models, lambda model: [m for m in models if m != model])
    figures = {
        "mean_length": {m: float(np.mean(list(arena.lengths[m].values()))) for m in models},
        "raw": {m: own[m].raw for m in models},
        **{f"published_{kind}": {m: column[m] for m in models} for kind, column in columns.items()},
        "ours_own_slope": {m: own[m].estimate.value for m in models},
        "ours_pooled_slope": {m: pooled[m].estimate.value for m in models},
    }
    print(
        f"\nKo-Arena-Hard {'raw':>30s} {'published LC':>13s} {'ours':>7s} {'95 %':>15s} {'pooled':>7s}"
        " slope ± se  tokens"
    )
    for model in sorted(models, key=lambda m: -own[m].raw):
        one = own[model].estimate
        print(
            f"{model:38s} {own[model].raw:5.1f} {columns['length_control'][model]:13.1f} {one.value:7.1f} "
            f"{one.ci_low:7.1f}-{one.ci_high:<7.1f} {pooled[model].estimate.value:7.1f} "
            f"{own[model].slope:5.2f} {own[model].slope_stderr:5.2f} {figures['mean_length'][model]:7.0f}  {one.note}"
        )
    slopes = np.array([own[m].slope for m in models])
    gap = max(abs(figures["raw"][m] - figures["published_no_control"][m]) for m in models)
    print(f"slopes: mean {slopes.mean():.2f}, sd {slopes.std():.2f}; raw against published: worst difference {gap:.4f}")
    return {
        "figures": figures,
        "slope_mean": slopes.mean(),
        "slope_sd": slopes.std(),
        "rank_correlation": rank_correlations(figures),
    }


def mt_bench(data: Path) -> dict[str, object]:
    result = {}
    for judge in ("gpt/judge_gpt4omini", "qwen/judge_14B"):
        answers = rated_answers(data, judge)
        panel = RatingPanel(answers.rating, answers.length, answers.model, answers.item, answers.question)
        found = length_controlled_panel(panel, np.random.default_rng(0), SPEC)
        first = next(iter(found.values()))
        print(f"\nMT-Bench, {judge}: {first.slope:.2f} ± {first.slope_stderr:.2f} points per unit of relative length")
        for model, row in sorted(found.items(), key=lambda pair: -pair[1].raw):
            estimate = row.estimate
            print(
                f"{model:30s} raw {row.raw:5.2f}  at equal length {estimate.value:5.2f} "
                f"({estimate.ci_low:.2f}-{estimate.ci_high:.2f})  longer on {100 * row.share_longer:.0f} %"
            )
        figures = {
            "raw": {m: row.raw for m, row in found.items()},
            "length_controlled": {m: row.estimate.value for m, row in found.items()},
        }
        result[judge] = {"slope": first.slope, "slope_stderr": first.slope_stderr, "figures": figures}
        result[judge]["rank_correlation"] = rank_correlations(figures)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the published results")
    arguments = parser.parse_args()
    truth = known_truth(arguments.data)
    print(f"Known truth, pairs: {truth['truth']:.2f} %")
    for name, row in truth["pairs"].items():
        print(
            f"  {name:8s} raw {row['raw']:6.2f}  controlled {row['length_controlled']:6.2f} (sd {row['sd']:.2f})"
            f"  95 % interval covers {100 * row['coverage']:.1f} %"
        )
    ratings = truth["ratings"]
    print(f"Known truth, ratings: {ratings['truth']:.3f}")
    for name, row in ratings["variants"].items():
        print(f"  {name:8s} raw {row['raw']:6.3f}  controlled {row['length_controlled']:6.3f} (sd {row['sd']:.3f})")
    result = {
        "known_truth": truth,
        "alpaca_eval": alpaca(arguments.data),
        "ko_arena_hard": ko_arena(arguments.data),
        "mt_bench": mt_bench(arguments.data),
    }
    print(f"\nwritten to {write_result('length_control', result)}")


if __name__ == "__main__":
    main()
