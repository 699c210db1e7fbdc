"""Do the intervals cover and do the tests keep their level? Simulated on the spreads of published verdicts.

    OMP_NUM_THREADS=1 python bench/paired.py --data ../shared/data

Real prompts with their real scores are taken as the population, and samples of them are drawn with replacement; the
truth is then known exactly. Under the null hypothesis the two runs are exchanged prompt by prompt at random.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from real_scores import DATA, KoArena, alpaca_pairs, mt_bench_gpt4, rated_answers
from report import write_result

from harness.stats.bootstrap import BootstrapSpec, cluster_bootstrap
from harness.stats.estimate import Estimate
from harness.stats.length_control import LengthControlSpec, PairScores, length_controlled_pairs
from harness.stats.length_control_ratings import (
    ModelRatings,
    RatingPanel,
    length_controlled_panel,
    length_controlled_ratings,
)
from harness.stats.mean import cluster_mean
from harness.stats.paired import PairedSpec, paired_difference
from harness.stats.power import PowerSpec, minimum_detectable_effect

Draw = Callable[[np.random.Generator], Estimate]


def coverage(draw: Draw, truth: float, n_trials: int, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    below = above = 0
    width = 0.0
    for _ in range(n_trials):
        estimate = draw(rng)
        below += truth < estimate.ci_low
        above += truth > estimate.ci_high
        width += estimate.ci_high - estimate.ci_low
    share = 1.0 - (below + above) / n_trials
    return {
        "coverage": share,
        "mc_error": math.sqrt(share * (1.0 - share) / n_trials),
        "truth_below": below / n_trials,
        "truth_above": above / n_trials,
        "mean_width": width / n_trials,
        "truth": truth,
        "n_trials": n_trials,
    }


def rate(reject: Callable[[np.random.Generator], bool], n_trials: int, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    share = sum(reject(rng) for _ in range(n_trials)) / n_trials
    return {"rate": share, "mc_error": math.sqrt(share * (1.0 - share) / n_trials), "n_trials": n_trials}


def pick(rng: np.random.Generator, n_population: int, n: int) -> np.ndarray:
    return rng.integers(0, n_population, n)


def question_table(ratings: dict[tuple[int, int], float]) -> np.ndarray:
    """(questions, turns) of those rated on both."""
    questions = sorted({question for question, _ in ratings})
    return np.array([[ratings[q, 1], ratings[q, 2]] for q in questions if (q, 1) in ratings and (q, 2) in ratings])


def means(data: Path) -> Iterator[tuple[str, Draw, float]]:
    preferences = {m: 100.0 * np.asarray(alpaca_pairs(data, m).score) for m in ("claude-2.1", "alpaca-7b", "NullModel")}
    for model, scores in preferences.items():
        for n in (100, 805):

            def draw(rng: np.random.Generator, s: np.ndarray = scores, n: int = n) -> Estimate:
                return cluster_mean(s[pick(rng, s.size, n)], np.arange(n), bounds=(0.0, 100.0))

            yield f"mean, weighted preference, {model}, n={n}", draw, float(scores.mean())
    for chance, n in ((0.6, 164), (0.75, 1319), (0.95, 164), (0.5, 20)):

        def draw_binary(rng: np.random.Generator, p: float = chance, n: int = n) -> Estimate:
            return cluster_mean((rng.random(n) < p).astype(float), np.arange(n), bounds=(0.0, 1.0))

        yield f"mean, binary, p={chance}, n={n}", draw_binary, chance
    for model in ("martian", "unify"):
        table = question_table(mt_bench_gpt4(data, model))
        for n in (20, 80):

            def draw_ratings(rng: np.random.Generator, t: np.ndarray = table, n: int = n) -> Estimate:
                return cluster_mean(t[pick(rng, len(t), n)].ravel(), np.repeat(np.arange(n), 2), bounds=(1.0, 10.0))

            yield f"mean, MT-Bench ratings, {model}, {n} questions", draw_ratings, float(table.mean())


def paired_populations(data: Path) -> Iterator[tuple[str, np.ndarray, int, PairedSpec]]:
    """Name, (prompts, observations, 2) scores, sample size, spec."""
    one, other = alpaca_pairs(data, "claude-2.1"), alpaca_pairs(data, "gpt-3.5-turbo-1106")
    weighted = 100.0 * np.stack([np.asarray(one.score), np.asarray(other.score)], axis=1)[:, None, :]
    percent = PairedSpec(scale=100.0, bounds=(0.0, 100.0))
    yield "weighted preference, n=805", weighted, 805, percent
    yield "weighted preference, n=100", weighted, 100, percent
    binary = np.where(weighted > 50.0, 100.0, 0.0)
    yield "binary wins, n=805", binary, 805, percent
    yield "binary wins, n=100", binary, 100, percent
    ratings = [mt_bench_gpt4(data, model) for model in ("unify", "martian")]
    keys = sorted(set(ratings[0]) & set(ratings[1]))
    questions = sorted({q for q, _ in keys if (q, 1) in keys and (q, 2) in keys})
    table = np.array([[[r[q, turn] for r in ratings] for turn in (1, 2)] for q in questions])
    yield "MT-Bench ratings, 80 questions", table, 80, PairedSpec(scale=9.0, bounds=(1.0, 10.0))
    yield "MT-Bench ratings, 20 questions", table, 20, PairedSpec(scale=9.0, bounds=(1.0, 10.0))


def paired(data: Path) -> Iterator[tuple[str, Draw, float]]:
    for name, population, n, spec in paired_populations(data):

        def draw(rng: np.random.Generator, p: np.ndarray = population, n: int = n, spec: PairedSpec = spec) -> Estimate:
            return compare(p[pick(rng, len(p), n)], spec).difference

        yield f"paired, {name}", draw, float((population[..., 0] - population[..., 1]).mean())


def compare(sample: np.ndarray, spec: PairedSpec):  # noqa: ANN201 - PairedComparison
    prompts = np.repeat(np.arange(len(sample)), sample.shape[1])
    return paired_difference(sample[..., 0].ravel(), sample[..., 1].ravel(), prompts, spec)


def exchanged(sample: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    swap = rng.random(len(sample)) < 0.5
    return np.where(swap[:, None, None], sample[..., ::-1], sample)


def errors(data: Path) -> Iterator[tuple[str, Callable[[np.random.Generator], bool], float]]:
    """Tests under the null, and the power at the minimum detectable effect."""
    for name, population, n, spec in paired_populations(data):

        def reject(rng: np.random.Generator, p: np.ndarray = population, n: int = n, s: PairedSpec = spec) -> bool:
            return compare(exchanged(p[pick(rng, len(p), n)], rng), s).p_value <= 0.05

        yield f"two-sided test under the null, {name}", reject, 0.05

        def reject_one_sided(
            rng: np.random.Generator, p: np.ndarray = population, n: int = n, s: PairedSpec = spec
        ) -> bool:
            return compare(exchanged(p[pick(rng, len(p), n)], rng), s).p_values(0.0)[0] <= 0.05

        yield f"one-sided test under the null, {name}", reject_one_sided, 0.05
        differences = (population[..., 0] - population[..., 1]).mean(axis=1)
        for label, design in (
            ("superiority by a margin", PowerSpec(sides=1, threshold=0.1 * float(differences.std()))),
            ("non-inferiority", PowerSpec(sides=1, threshold=-0.1 * float(differences.std()))),
        ):
            # shifting keeps the spread; a shifted binary score is no score, so power is of the cluster t test there
            effect = minimum_detectable_effect(float(differences.std()), n, design)
            shifted = population - np.array([0.0, effect - float(differences.mean())])

            def detects(
                rng: np.random.Generator,
                p: np.ndarray = shifted,
                n: int = n,
                t: float = design.threshold,
                w: float = (spec.scale or 0.0) + abs(effect - float(differences.mean())),
            ) -> bool:
                sample = p[pick(rng, len(p), n)]
                return compare(sample, PairedSpec(scale=w)).p_values(t)[0] <= 0.05

            yield f"power of {label} at the minimum detectable effect, {name}", detects, 0.8


def taken(pairs: PairScores, prompts: np.ndarray, rows_of: dict[object, np.ndarray]) -> PairScores:
    labels = list(rows_of)
    rows = [rows_of[labels[i]] for i in prompts]
    index = np.concatenate(rows)
    clusters = np.repeat(np.arange(len(prompts)), [len(r) for r in rows])
    return PairScores(
        np.asarray(pairs.score)[index],
        np.asarray(pairs.weight)[index],
        np.asarray(pairs.length_model)[index],
        np.asarray(pairs.length_baseline)[index],
        clusters,
    )


def rows_by_prompt(clusters: list[object]) -> dict[object, np.ndarray]:
    rows: dict[object, list[int]] = {}
    for i, label in enumerate(clusters):
        rows.setdefault(label, []).append(i)
    return {label: np.array(index) for label, index in rows.items()}


def controlled(data: Path) -> Iterator[tuple[str, Draw, float]]:
    # the intervals use the spread of the refits alone, so few of them do
    spec = LengthControlSpec(n_boot=200)
    arena = KoArena.load(data)
    populations = [(f"pairs, Ko-Arena-Hard, {m}", arena.pairs(m), 500) for m in ("o1-high", "o3-low", "qwen-turbo")]
    populations += [
        ("pairs, AlpacaEval, claude-2.1", alpaca_pairs(data, "claude-2.1"), 805),
        ("pairs, AlpacaEval, FuseChat-Gemma-2-9B-Instruct", alpaca_pairs(data, "FuseChat-Gemma-2-9B-Instruct"), 100),
    ]
    for name, pairs, n in populations:
        truth = length_controlled_pairs(pairs, np.random.default_rng(0), LengthControlSpec(n_boot=100)).estimate.value
        rows = rows_by_prompt(list(pairs.clusters))

        def draw(
            rng: np.random.Generator, p: PairScores = pairs, r: dict[object, np.ndarray] = rows, n: int = n
        ) -> Estimate:
            return length_controlled_pairs(taken(p, pick(rng, len(r), n), r), rng, spec).estimate

        yield f"length-controlled {name}, {n} prompts", draw, truth
    answers = rated_answers(data)
    by_question = rows_by_prompt(list(answers.question))
    panel = RatingPanel(answers.rating, answers.length, answers.model, answers.item, answers.question)
    whole = length_controlled_panel(panel, np.random.default_rng(0), LengthControlSpec(n_boot=100))
    for model in ("gemma-2-9b-it", "EXAONE-3.5-7.8B-Instruct", "EEVE-Korean-Instruct-10.8B"):

        def draw_panel(rng: np.random.Generator, model: str = model) -> Estimate:
            questions = pick(rng, len(by_question), 80)
            rows = [by_question[list(by_question)[i]] for i in questions]
            index = np.concatenate(rows)
            draws = np.repeat(np.arange(80), [len(r) for r in rows])
            sample = RatingPanel(
                answers.rating[index],
                answers.length[index],
                [answers.model[i] for i in index],
                [(int(d), answers.item[i][1]) for d, i in zip(draws, index, strict=True)],
                draws.tolist(),
            )
            return length_controlled_panel(sample, rng, spec)[model].estimate

        yield f"length-controlled ratings, panel of six, {model}, 80 questions", draw_panel, whole[model].estimate.value
    models = np.array(answers.model)
    own, reference = models == "Mistral-7B-Instruct-v0.3", models == "gemma-2-9b-it"
    reference_of = {answers.item[i]: answers.length[i] for i in np.flatnonzero(reference)}
    index_own = np.flatnonzero(own)
    ratings, own_length = answers.rating[own], answers.length[own]
    against = np.array([reference_of[answers.item[i]] for i in index_own])
    questions_own = [answers.question[i] for i in index_own]
    lone = ModelRatings(ratings, own_length, against, questions_own)
    truth = length_controlled_ratings(lone, np.random.default_rng(0), LengthControlSpec(n_boot=100)).estimate.value
    own_rows = rows_by_prompt(list(questions_own))

    def draw_lone(rng: np.random.Generator) -> Estimate:
        rows = [own_rows[list(own_rows)[i]] for i in pick(rng, len(own_rows), 80)]
        index = np.concatenate(rows)
        clusters = np.repeat(np.arange(80), [len(r) for r in rows])
        sample = ModelRatings(ratings[index], own_length[index], against[index], clusters)
        return length_controlled_ratings(sample, rng, spec).estimate

    yield "length-controlled ratings, one model against another's lengths, 80 questions", draw_lone, truth


def bootstraps(data: Path) -> Iterator[tuple[str, Draw, float]]:
    """The generic bootstrap on a ratio of means."""
    scores = np.asarray(alpaca_pairs(data, "FuseChat-Gemma-2-9B-Instruct").score)

    def ratio(weights: np.ndarray, s: np.ndarray) -> np.ndarray:
        first = weights @ s
        return (weights @ s**2) / first

    truth = float((scores**2).mean() / scores.mean())

    def draw(rng: np.random.Generator) -> Estimate:
        sample = scores[pick(rng, scores.size, 100)]
        found = cluster_bootstrap(lambda w: ratio(w, sample), np.arange(100), rng, BootstrapSpec(n_boot=500))
        return Estimate(found.value, found.stderr, found.ci_low, found.ci_high, 0.95, "bootstrap", 100, 100)

    yield "generic bootstrap of a ratio, n=100", draw, truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the published results")
    parser.add_argument("--trials", type=int, default=2000, help="simulations per line")
    parser.add_argument("--only", default="", help="run lines whose name contains this")
    arguments = parser.parse_args()
    result: dict[str, dict[str, dict[str, float]]] = {"coverage_of_95_percent_intervals": {}, "tests": {}}
    print(f"{'interval (95 %)':88s} {'covers':>7s} {'±MC':>6s} {'below':>6s} {'above':>6s} {'seconds':>8s}")
    for part in (means, bootstraps, paired, controlled):
        for name, draw, truth in part(arguments.data):
            if arguments.only not in name:
                continue
            start = time.perf_counter()
            line = coverage(draw, truth, arguments.trials, seed=len(name))
            result["coverage_of_95_percent_intervals"][name] = line
            print(
                f"{name:88s} {100 * line['coverage']:7.2f} {100 * line['mc_error']:6.2f}"
                f" {100 * line['truth_below']:6.2f} {100 * line['truth_above']:6.2f}"
                f" {time.perf_counter() - start:8.1f}",
                flush=True,
            )
    print(f"\n{'test (alpha 0.05)':104s} {'rate':>6s} {'wanted':>6s} {'±MC':>5s}")
    for name, reject, wanted in errors(arguments.data):
        if arguments.only not in name:
            continue
        line = rate(reject, arguments.trials, seed=len(name))
        result["tests"][name] = line | {"wanted": wanted}
        print(f"{name:104s} {100 * line['rate']:6.2f} {100 * wanted:6.1f} {100 * line['mc_error']:5.2f}", flush=True)
    if not arguments.only:
        print(f"\nwritten to {write_result('paired', result)}")


if __name__ == "__main__":
    main()
