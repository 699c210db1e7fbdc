"""The measures of a variant on the validation prompts, which the report's over-optimisation panels show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

from harness.errors import StatisticsError
from harness.run.answer_diversity import EMBEDDING_MODEL, measures
from harness.run.answer_diversity import embedder as _embedder
from harness.stats.diversity import cosine_diversity, words
from harness.stats.estimate import Estimate
from harness.stats.length_correlation import correlation_bands, correlations_within_prompts
from harness.stats.mean import cluster_mean
from harness.store.align_directory import Figure, RewardLengthCell, Sample, SampleReward
from training.align.divergence import LogRatio


@dataclass
class Answers:
    """A variant's answers to the validation prompts, with their rewards and log ratios.

    Parameters
    ----------
    samples : dict of (prompt key, number) to Sample
    rewards : dict of (prompt key, number) to SampleReward
    log_ratios : dict of (prompt key, number) to LogRatio, or str
        log pi(y|x) - log pi_sft(y|x) of each answer, or the reason why it was not measured.
    """

    samples: dict[tuple[str, int], Sample] = field(default_factory=dict)
    rewards: dict[tuple[str, int], SampleReward] = field(default_factory=dict)
    log_ratios: Mapping[tuple[str, int], LogRatio] | str = "not measured"

    def values(self, which: str) -> dict[tuple[str, int], float]:
        """The existing rewards ("reward") or gold scores ("gold")."""
        found = {key: getattr(reward, which) for key, reward in self.rewards.items()}
        return {key: value for key, value in found.items() if value is not None}


def measure(
    own: Answers, sft: Answers | None, previous: Answers | None, *, ranker: str, vocabulary: int, gold: str | None
) -> tuple[dict[str, Figure], tuple[RewardLengthCell, ...]]:
    """Compute a variant's measures (`harness.store.align_directory.MEASURES`).

    Parameters
    ----------
    own : Answers
        The variant's.
    sft, previous : Answers or None
        Those of the SFT model and of the variant it was trained from, to the same prompts; None for the SFT model
        itself and for a variant without a parent.
    ranker, gold : str
        Names of the ranker and of gold.
    vocabulary : int
        Vocabulary size of the expectation-adjusted measure, the same for all variants.

    Returns
    -------
    measures : dict of str to Figure
    cells : tuple of RewardLengthCell
    """
    answered = {key: s for key, s in own.samples.items() if s.finish != "error"}
    rewards = own.values("reward")
    by, which = (gold, "gold") if gold is not None else (ranker, "reward")
    pearson, cells = _reward_length(answered, rewards)
    figures = {
        "reward": _mean(rewards, ranker, missing="no answer has a reward"),
        "reward_sd": _spread(rewards, ranker),
        **_lengths(answered),
        "win_rate_vs_sft": _win_rate(own, sft, which, by),
        "win_rate_vs_previous": _win_rate(own, previous, which, by),
        **_kl(own, answered),
        **_diversity(answered, vocabulary),
        "reward_length_pearson": pearson,
    }
    if gold is not None:
        figures["gold"] = _mean(own.values("gold"), gold, missing="no answer has a gold score")
    return figures, cells


def _lengths(answered: Mapping[tuple[str, int], Sample]) -> dict[str, Figure]:
    tokens = {key: float(s.n_tokens) for key, s in answered.items() if s.n_tokens is not None}
    limited = {key: 100.0 * (s.finish == "length") for key, s in answered.items()}
    return {
        "length_chars": _mean({key: float(s.n_chars) for key, s in answered.items()}),
        "length_tokens": _mean(tokens),
        "length_limited": _mean(limited, bounds=(0.0, 100.0)),
    }


def prompt_means(values: Mapping[tuple[str, int], float]) -> dict[str, float]:
    """Mean value of each prompt's answers."""
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for (prompt, _), value in values.items():
        by_prompt[prompt].append(value)
    return {prompt: float(np.mean(own)) for prompt, own in by_prompt.items()}


def shared_values(*by_prompt: Mapping[str, float]) -> list[list[float]]:
    """The values of the prompts that are in all mappings, in one order."""
    shared = sorted(set.intersection(*(set(own) for own in by_prompt)))
    return [[own[prompt] for prompt in shared] for own in by_prompt]


def _guarded(compute: Callable[[], Estimate], by: str = "") -> Figure:
    try:
        found = compute()
    except StatisticsError as error:
        return Figure(reason=" ".join(str(error).split()), by=by)
    limits = {"stderr": found.stderr, "ci_low": found.ci_low, "ci_high": found.ci_high}
    return Figure(value=found.value, **limits, n=found.n_clusters, by=by)


def _mean(
    values: Mapping[tuple[str, int], float],
    by: str = "",
    *,
    bounds: tuple[float, float] | None = None,
    missing: str = "no answer to measure",
) -> Figure:
    """Mean over all answers, clustered by prompt."""
    if not values:
        return Figure(reason=missing, by=by)
    clusters = [prompt for prompt, _ in values]
    return _guarded(lambda: cluster_mean(list(values.values()), clusters, bounds=bounds), by)


def _spread(values: Mapping[tuple[str, int], float], by: str) -> Figure:
    if len(values) < 2:
        return Figure(reason="fewer than two answers have a reward", by=by)
    return Figure(value=float(np.std(list(values.values()), ddof=1)), n=len({prompt for prompt, _ in values}), by=by)


def _win_rate(own: Answers, other: Answers | None, which: str, by: str) -> Figure:
    """Share of answers that beat the other variant's answer of the same number to the same prompt, ties one half."""
    if other is None:
        return Figure(reason="there is nothing to compare it with")
    mine, theirs = own.values(which), other.values(which)
    shared = sorted(mine.keys() & theirs.keys())
    won = {key: 100.0 if mine[key] > theirs[key] else 0.0 if mine[key] < theirs[key] else 50.0 for key in shared}
    return _mean(won, by, bounds=(0.0, 100.0), missing="no prompt has a score of both variants")


def _kl(own: Answers, answered: Mapping[tuple[str, int], Sample]) -> dict[str, Figure]:
    """KL(variant || SFT): the mean log ratio of the variant's own answers, and the same over their tokens."""
    names = ("kl_per_response", "kl_per_token")
    if isinstance(own.log_ratios, str):
        return dict.fromkeys(names, Figure(reason=own.log_ratios))
    ratios = {key: ratio for key, ratio in own.log_ratios.items() if key in answered}
    if 2 * len(ratios) < len(answered):
        few = f"only {len(ratios)} of {len(answered)} answers have a text of as many tokens as were sampled"
        return dict.fromkeys(names, Figure(reason=few))
    by = "" if len(ratios) == len(answered) else f"{len(ratios)} of {len(answered)} answers, as they were sampled"
    whole = _mean({key: ratio.value for key, ratio in ratios.items()}, by, missing="there are no answers")
    return {"kl_per_response": whole, "kl_per_token": _per_token(ratios, by)}


def _per_token(ratios: Mapping[tuple[str, int], LogRatio], by: str) -> Figure:
    counted = {key: ratio for key, ratio in ratios.items() if ratio.n_tokens}
    if not counted:
        return Figure(reason="no answer's tokens were counted")
    values = {key: ratio.value for key, ratio in counted.items()}
    sizes = {key: float(ratio.n_tokens) for key, ratio in counted.items()}
    return _guarded(lambda: _ratio(values, sizes), by)


def _ratio(values: Mapping[tuple[str, int], float], sizes: Mapping[tuple[str, int], float]) -> Estimate:
    """Ratio of totals, its spread linearised over prompts (Cochran 1977, section 6.4)."""
    total, size = sum(values.values()), sum(sizes.values())
    rate = total / size
    scaled = {key: rate + (values[key] - rate * sizes[key]) * len(values) / size for key in values}
    return cluster_mean(list(scaled.values()), [prompt for prompt, _ in scaled])


def _diversity(answered: Mapping[tuple[str, int], Sample], vocabulary: int) -> dict[str, Figure]:
    """Diversity among the answers to a prompt, averaged over prompts."""
    by_prompt: dict[str, list[str]] = defaultdict(list)
    for (prompt, _), sample in answered.items():
        by_prompt[prompt].append(sample.response)
    several = {prompt: [words(text) for text in texts] for prompt, texts in by_prompt.items() if len(texts) > 1}
    figures = {name: _over_prompts(several, compute) for name, compute in measures(vocabulary).items()}
    figures["embedding_diversity"] = _embedded({p: texts for p, texts in by_prompt.items() if len(texts) > 1})
    return figures


def _over_prompts(several: Mapping[str, Any], compute: Callable[[Any], float]) -> Figure:
    if not several:
        return Figure(reason="one answer per prompt: diversity needs two or more")
    values = {}
    for prompt, texts in several.items():
        try:
            values[prompt, 0] = compute(texts)
        except StatisticsError:
            continue  # the answers are too short; n counts the prompts measured
    return _mean(values, missing="no prompt has answers long enough")


def _embedded(texts: Mapping[str, Sequence[str]]) -> Figure:
    if find_spec("sentence_transformers") is None:
        return Figure(reason="sentence-transformers is not installed")
    if not texts:
        return Figure(reason="one answer per prompt: diversity needs two or more")
    try:
        model = _embedder()
    except Exception as error:  # noqa: BLE001 - an error of the hub or the model leaves the other figures valid
        return Figure(reason=f"{EMBEDDING_MODEL} cannot be loaded: {' '.join(str(error).split())[:200]}")
    flat = [text for own in texts.values() for text in own]
    vectors = iter(model.encode(flat, show_progress_bar=False))
    embedded = {prompt: np.stack([next(vectors) for _ in own]) for prompt, own in texts.items()}
    return _over_prompts(embedded, cosine_diversity)


def _reward_length(
    answered: Mapping[tuple[str, int], Sample], rewards: Mapping[tuple[str, int], float]
) -> tuple[Figure, tuple[RewardLengthCell, ...]]:
    keys = sorted(answered.keys() & rewards.keys())
    values, lengths = [rewards[key] for key in keys], [float(answered[key].n_chars) for key in keys]
    prompts = [key[0] for key in keys]
    figure = _guarded(lambda: correlations_within_prompts(values, lengths, prompts, fewest=2).mean)
    if not keys:
        return figure, ()
    bands = correlation_bands(values, lengths, prompts)
    return figure, tuple(RewardLengthCell(**asdict(band)) for band in bands)
