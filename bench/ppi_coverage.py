"""Do corrected win rates cover, and what does a judge save? Resampled real votes.

    OMP_NUM_THREADS=1 python bench/ppi_coverage.py --data ../shared/data

The population is the pairs of the MT-Bench study that people voted on, each with its mean vote and GPT-4's verdict.
A trial draws as many questions as there are, with replacement, with all their pairs, and shows the votes of a few
pairs chosen at random. The truth is the mean vote of the whole population. The useless judge has GPT-4's verdicts dealt
out to other pairs, the biased one takes every fourth verdict for the longer-named model, the perfect one repeats
the vote.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
from published_ppi import published_interval
from real_scores import DATA
from report import write_result

from harness.stats.prediction_powered import LabelledSample, prediction_powered_mean
from judges.study.reading import read_judges, read_votes
from judges.study.study_figures import Sides
from judges.study.verdicts import judge_pairs

TARGETS = ("gpt-4", "vicuna-13b-v1.2", "all pairs")
LABELS = (30, 60, 120, 240)


def population(data: Path) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Vote, verdict (percent for the target) and question of every voted pair, by target."""
    folder = data / "mt_bench" / "human_judgments"
    human = read_votes(folder / "human.jsonl", "expert*")
    (judge,) = read_judges([(None, folder / "gpt4_pair.jsonl")])
    sides = Sides.of(judge_pairs("gpt4", judge.presentations), human.votes, {})
    scored = sides.judge.scored()
    rows: dict[str, list[tuple[float, float, str]]] = {target: [] for target in TARGETS}
    for key, votes in sides.votes.items():
        vote, verdict = 100 * float(np.mean([v.p_first for v in votes])), 100 * scored[key].p_first
        rows["all pairs"].append((vote, verdict, key.prompt))
        for target, flip in ((key.first, False), (key.second, True)):
            if target in rows:
                rows[target].append((100 - vote if flip else vote, 100 - verdict if flip else verdict, key.prompt))
    return {
        target: (
            np.array([r[0] for r in found]),
            np.array([r[1] for r in found]),
            np.unique([r[2] for r in found], return_inverse=True)[1],
        )
        for target, found in rows.items()
    }


def judges(vote: np.ndarray, verdict: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "gpt4": verdict,
        "useless": rng.permutation(verdict),
        "biased": np.where(rng.uniform(size=verdict.size) < 0.25, 100.0, verdict),
        "perfect": vote,
    }


def trials(vote: np.ndarray, verdict: np.ndarray, question: np.ndarray, n_labels: int, n: int, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    truth = float(vote.mean())
    members = [np.flatnonzero(question == q) for q in range(question.max() + 1)]
    covered = alone = published = 0
    ratios, widths, powers = [], [], []
    for _ in range(n):
        drawn = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[q] for q in drawn])
        # a question drawn twice is two questions
        label = np.concatenate([np.full(members[q].size, i) for i, q in enumerate(drawn)])
        order = rng.permutation(rows.size)
        some, rest = order[:n_labels], order[n_labels:]
        sample = LabelledSample(
            vote[rows[some]], verdict[rows[some]], verdict[rows[rest]], label[some].tolist(), label[rest].tolist()
        )
        found = prediction_powered_mean(sample, bounds=(0.0, 100.0))
        naive = published_interval(sample)
        covered += found.estimate.ci_low <= truth <= found.estimate.ci_high
        alone += found.labels_only.ci_low <= truth <= found.labels_only.ci_high
        published += naive.ci_low <= truth <= naive.ci_high
        widths.append(found.estimate.ci_high - found.estimate.ci_low)
        ratios.append(widths[-1] / (found.labels_only.ci_high - found.labels_only.ci_low))
        powers.append(found.power)
    share = covered / n
    return {
        "coverage": share,
        "mc_error": math.sqrt(share * (1 - share) / n),
        "coverage_labels_only": alone / n,
        "coverage_published_interval": published / n,
        "mean_width": float(np.mean(widths)),
        "mean_width_ratio": float(np.mean(ratios)),
        "largest_width_ratio": float(np.max(ratios)),
        "label_saving": float(1.0 - np.mean(ratios) ** 2),
        "mean_power": float(np.mean(powers)),
        "truth": truth,
        "n_trials": n,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--trials", type=int, default=2000)
    arguments = parser.parse_args()
    began = time.perf_counter()
    cells = {}
    for target, (vote, verdict, question) in population(arguments.data).items():
        for name, f in judges(vote, verdict, np.random.default_rng(0)).items():
            for n_labels in LABELS:
                cell = trials(vote, f, question, n_labels, arguments.trials, seed=n_labels)
                cells[f"{target}, {name}, {n_labels} labels"] = cell
                print(
                    f"{target:16} {name:8} {n_labels:4} labels: covers {100 * cell['coverage']:.1f} "
                    f"(labels only {100 * cell['coverage_labels_only']:.1f}, published "
                    f"{100 * cell['coverage_published_interval']:.1f}), width {cell['mean_width_ratio']:.3f} of labels "
                    f"only (at most {cell['largest_width_ratio']:.3f}), lambda {cell['mean_power']:.2f}"
                )
    useless = [cell for name, cell in cells.items() if ", useless," in name]
    result = {
        "level": 0.95,
        "lowest_coverage": min(cell["coverage"] for cell in cells.values()),
        "widest_with_useless_judge": max(cell["mean_width_ratio"] for cell in useless),
        "widest_trial_with_useless_judge": max(cell["largest_width_ratio"] for cell in useless),
        "seconds": round(time.perf_counter() - began, 1),
        "cells": cells,
    }
    print("stored in", write_result("ppi_coverage", result))


if __name__ == "__main__":
    main()
