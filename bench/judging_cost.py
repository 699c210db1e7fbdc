"""Measure whether the cheaper ways of judging keep what they promise, and what they save.

    OMP_NUM_THREADS=1 python bench/judging_cost.py --data ../shared/data [--trials 2000]

Simulation: answers with a skewed quality; a strong judge and two cheap ones share part of their errors. Coverage is
that of the printed 95 % interval, about the mean of the verdicts that way of judging would give on a prompt drawn at
random; for two judges about the strong judge's mean. The cascade's guarantee is the share of studies in which the cheap
judge, above its threshold, truly disagrees with people more often than alpha.

Real verdicts: GPT-4o mini as the strong judge and Qwen2.5-14B as the cheap one on MT-Bench (six models, gradings and
comparisons); people as the strong judge and GPT-4 as the cheap one on MT-Bench's votes; LLMBar's evaluators, cheap ones
asked in both orders and GPT-4 as the strong one, against the gold labels. "Strong calls at equal width" is the share of
strong verdicts that two judges need for the interval of the strong judge alone, given cheap verdicts on enough prompts:
1 - r^2; beside it stands what the intervals of real draws show.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from real_scores import DATA
from report import write_result

from harness.errors import StatisticsError
from harness.stats.escalation import escalation_threshold
from harness.stats.mean import cluster_mean
from harness.stats.prediction_powered import LabelledSample, prediction_powered_mean
from judges.study.reading import read_judges, read_votes
from judges.study.study_figures import Sides
from judges.study.verdicts import judge_pairs

Floats = NDArray[np.float64]
PRICE_RATIO = 20.0
"""What a strong verdict costs in cheap ones, for the savings."""


def skewed(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, Floats]:
    """The strong judge's and two cheap judges' preference on n prompts, with errors in common."""
    quality = rng.beta(0.4, 1.2, n)  # most prompts are lost, a few are won
    shared = rng.normal(0.0, 0.15, n)
    cheap = [np.clip(quality + 0.05 + shared + rng.normal(0.0, 0.2, n), 0.0, 1.0) for _ in range(2)]
    strong = np.clip(quality + 0.5 * shared + rng.normal(0.0, 0.05, n), 0.0, 1.0)
    return strong, cheap[0], cheap[1]


def panel(rng: np.random.Generator, n: int) -> Floats:
    """The mean of three members."""
    return np.mean(skewed(rng, n), axis=0)


def samples(rng: np.random.Generator, n: int, k: int = 5) -> Floats:
    """The share of k verdicts drawn with the cheap judge's probability."""
    return rng.binomial(k, skewed(rng, n)[1]) / k


def cascade(rng: np.random.Generator, n: int, threshold: float = 0.8) -> Floats:
    """The cheap verdict where it is sure, else the strong one."""
    strong, cheap, _ = skewed(rng, n)
    return np.where(np.maximum(cheap, 1.0 - cheap) >= threshold, cheap, strong)


def covered(draw: Callable[[np.random.Generator, int], Floats], n: int, trials: int, truth: float) -> float:
    rng = np.random.default_rng(n)
    hits = 0
    for _ in range(trials):
        found = cluster_mean(draw(rng, n), list(range(n)), bounds=(0.0, 1.0))
        hits += found.ci_low <= truth <= found.ci_high
    return hits / trials


def two_judges_covered(n: int, share: float, trials: int, truth: float) -> float:
    rng = np.random.default_rng(n)
    hits = 0
    for _ in range(trials):
        strong, cheap, _ = skewed(rng, n)
        chosen = rng.random(n) < share
        found = prediction_powered_mean(
            LabelledSample(strong[chosen], cheap[chosen], cheap[~chosen]), bounds=(0.0, 1.0)
        ).estimate
        hits += found.ci_low <= truth <= found.ci_high
    return hits / trials


def simulated_coverage(trials: int) -> list[dict[str, object]]:
    """Coverage of every way of judging by number of prompts."""
    many = np.random.default_rng(1)
    rows: list[dict[str, object]] = []
    for name, draw in (("panel of 3", panel), ("5 samples", samples), ("cascade", cascade)):
        truth = float(draw(many, 2_000_000).mean())
        rows += [{"judging": name, "n": n, "coverage": covered(draw, n, trials, truth)} for n in (80, 200, 805)]
    truth = float(skewed(many, 2_000_000)[0].mean())
    for share in (0.25, 0.5):
        rows += [
            {"judging": f"two judges, share {share}", "n": n, "coverage": two_judges_covered(n, share, trials, truth)}
            for n in (80, 200, 805)
        ]
    return rows


def simulated_guarantee(trials: int, delta: float = 0.1) -> list[dict[str, object]]:
    """How often the threshold fails to keep the cheap judge's disagreement with people below alpha."""
    rng = np.random.default_rng(2)

    def study(n: int) -> tuple[Floats, NDArray[np.bool_]]:
        strong, cheap, _ = skewed(rng, n)
        people = rng.random(n) < strong  # one person's choice on each pair
        return np.maximum(cheap, 1.0 - cheap), (cheap > 0.5) == people

    sure, agrees = study(1_000_000)
    rows = []
    for alpha in (0.1, 0.15, 0.2):
        for n in (50, 100, 300):
            found = [escalation_threshold(*study(n), alpha, delta) for _ in range(trials)]
            kept = [f for f in found if f.threshold is not None]
            failed = sum(1.0 - float(agrees[sure >= f.threshold].mean()) > alpha for f in kept)
            rows.append(
                {
                    "alpha": alpha,
                    "labels": n,
                    "failed": failed / trials,
                    "allowed": delta,
                    "found a threshold": len(kept) / trials,
                    "decided alone": float(np.mean([f.share_kept for f in kept])) if kept else 0.0,
                }
            )
    return rows


def grades(folder: Path, kind: str) -> dict[tuple[str, int, int], float]:
    """A judge's grades by model, question and turn."""
    found = {}
    for path in sorted((folder / kind).glob("*.jsonl")):
        for row in map(json.loads, path.read_text().splitlines()):
            for turn in (1, 2):
                if isinstance(row.get(f"score_turn{turn}"), int | float) and row[f"score_turn{turn}"] > 0:
                    found[row["model_id"], row["question_id"], turn] = float(row[f"score_turn{turn}"])
    return found


def winners(folder: Path) -> dict[tuple[str, str, int], float]:
    """A judge's preference for the first model of a pair by question."""
    found = {}
    for path in sorted((folder / "pairwise").glob("*.jsonl")):
        for row in map(json.loads, path.read_text().splitlines()):
            share = {row["model_a"]: 1.0, row["model_b"]: 0.0}.get(row["winner"], 0.5)
            found[row["model_a"], row["model_b"], row["question_id"]] = share
    return found


def real_two_judges(strong: dict, cheap: dict, unit: Callable, prompt: Callable, draws: int = 200) -> dict[str, object]:
    """Correlation, and widths with half of the strong verdicts, averaged over the units (models or pairs of models)."""
    rng = np.random.default_rng(3)
    units = sorted({unit(key) for key in strong.keys() & cheap.keys()})
    correlations, widths = [], []
    for name in units:
        keys = [key for key in strong.keys() & cheap.keys() if unit(key) == name]
        y, f = np.array([strong[k] for k in keys]), np.array([cheap[k] for k in keys])
        codes = np.unique([prompt(k) for k in keys], return_inverse=True)[1]
        sums = [np.bincount(codes, weights=v - v.mean()) for v in (y, f)]
        if min(np.std(s) for s in sums) == 0.0:
            continue
        correlations.append(float(np.corrcoef(*sums)[0, 1]))
        for _ in range(max(1, draws // len(units))):
            chosen = (rng.random(codes.max() + 1) < 0.5)[codes]
            try:
                found = prediction_powered_mean(
                    LabelledSample(y[chosen], f[chosen], f[~chosen], list(codes[chosen]), list(codes[~chosen]))
                )
            except StatisticsError:
                continue
            widths.append((found.estimate.stderr / found.labels_only.stderr) ** 2)
    r = float(np.mean(correlations))
    return {
        "units": len(correlations),
        "correlation": r,
        "strong calls at equal width, unlimited cheap ones": 1.0 - r**2,
        "variance with half of the strong calls, of the same half alone": float(np.mean(widths)),
    }


def people_and_gpt4(data: Path) -> tuple[dict, dict]:
    """Mean vote of experts and GPT-4's verdict on each pair of MT-Bench's study."""
    folder = data / "mt_bench" / "human_judgments"
    human = read_votes(folder / "human.jsonl", "expert*")
    (judge,) = read_judges([(None, folder / "gpt4_pair.jsonl")])
    sides = Sides.of(judge_pairs("gpt4", judge.presentations), human.votes, {})
    scored = sides.judge.scored()
    voted = {key: float(np.mean([v.p_first for v in votes])) for key, votes in sides.votes.items()}
    return voted, {key: pair.p_first for key, pair in scored.items()}


def llmbar(data: Path, evaluator: str) -> tuple[Floats, Floats]:
    """Confidence over both orders, and whether the evaluator's choice is the gold label, by pair."""
    path = data / "judge_meta/llmbar/Dataset/LLMBar/Natural/evaluators" / evaluator / "result.json"
    gold = [row["label"] for row in json.loads(path.read_text())]
    (judge,) = read_judges([(None, path)])
    shares: dict[str, list[float]] = {shown.key.prompt: [] for shown in judge.presentations}
    for shown in judge.presentations:
        if shown.p_first is not None:
            shares[shown.key.prompt].append(shown.p_first)
    p = np.array([np.mean(own) if own else 0.5 for own in shares.values()])
    assert p.size == len(gold), "a prompt occurs twice"
    return np.maximum(p, 1.0 - p), np.where(p == 0.5, False, (p > 0.5) == (np.array(gold) == 1))


def real_cascade(data: Path, cheap: str, strong: str = "GPT-4/Vanilla", alpha: float = 0.2) -> dict[str, object]:
    """A threshold from half of the gold labels, used on the other half; averaged over 200 halves."""
    (sure, right), (_, strong_right) = llmbar(data, cheap), llmbar(data, strong)
    rng = np.random.default_rng(4)
    kept, agreement, above = [], [], []
    for _ in range(200):
        half = rng.random(sure.size) < 0.5
        found = escalation_threshold(sure[half], right[half], alpha)
        alone = np.zeros(int((~half).sum()), bool) if found.threshold is None else sure[~half] >= found.threshold
        kept.append(alone.mean())
        agreement.append(np.where(alone, right[~half], strong_right[~half]).mean())
        if alone.any():
            above.append(right[~half][alone].mean())
    share = float(np.mean(kept))
    return {
        "cheap": cheap,
        "cheap alone": float(right.mean()),
        "strong alone": float(strong_right.mean()),
        "decided by the cheap one": share,
        "right above the threshold": float(np.mean(above)) if above else None,
        "cascade": float(np.mean(agreement)),
        "cost of the cascade, of the strong one alone": 1.0 / PRICE_RATIO + 1.0 - share,
    }


def real(data: Path) -> dict[str, object]:
    """The figures on real verdicts."""
    folder = data / "judge_meta/kook222_mtbench/data/en/judgments"
    strong, cheap = folder / "gpt" / "judge_gpt4omini", folder / "qwen" / "judge_14B"
    people, gpt4 = people_and_gpt4(data)
    two = {
        "MT-Bench gradings, GPT-4o mini and Qwen2.5-14B": real_two_judges(
            grades(strong, "single_grade"), grades(cheap, "single_grade"), lambda k: k[0], lambda k: k[1]
        ),
        "MT-Bench comparisons, GPT-4o mini and Qwen2.5-14B": real_two_judges(
            winners(strong), winners(cheap), lambda k: k[:2], lambda k: k[2]
        ),
        "MT-Bench votes, people and GPT-4": real_two_judges(people, gpt4, lambda k: "all", lambda k: k.prompt),
    }
    evaluators = ("ChatGPT/Vanilla", "ChatGPT/CoT", "PaLM2/Vanilla", "LLaMA2/Vanilla")
    return {"two judges": two, "cascade on LLMBar": [real_cascade(data, name) for name in evaluators]}


def main() -> None:
    """Print and store everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--trials", type=int, default=2000)
    arguments = parser.parse_args()
    found = {
        "coverage": simulated_coverage(arguments.trials),
        "guarantee": simulated_guarantee(arguments.trials // 2),
        "real": real(arguments.data),
    }
    print(json.dumps(found, indent=1))
    write_result("judging_cost", found)


if __name__ == "__main__":
    main()
