"""Rewards of the variants' validation answers: their distribution, their correlation with length, the answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from harness.errors import AssayError
from harness.stats.length_correlation import PromptCorrelations, correlations_within_prompts
from harness.store.align_directory import AlignVariant, Sample, SampleReward, read_rewards, read_samples
from reports.blocks import Block, Cell, Figure, Note, Table, limits
from reports.charts import Heatmap, Panels, SampleFilter, XYChart, edges_of, histogram
from reports.inputs import AlignInput
from reports.samples import SampleTables

VALIDATION = "validation answers"
TRAINING = "answers sampled for training"
"""Names in the sample browser for answers that were rewarded but not judged."""
_LEAST_ANSWERS = 3  # to a prompt, for a correlation among them
_ROWS = 6
_COLUMNS = 8


@dataclass(frozen=True)
class _Rewarded:
    """Answers with their rewards: a variant's to the validation prompts, or those an iteration was trained on."""

    name: str
    found: list[tuple[Sample, SampleReward]]

    @property
    def known(self) -> list[tuple[Sample, float]]:
        """Those that have an answer and a reward."""
        return [(s, r.reward) for s, r in self.found if r.reward is not None and s.finish != "error"]


def _rewarded(align: AlignInput) -> Iterator[_Rewarded]:
    """Each variant's validation answers."""
    for variant in align.state.variants:
        if variant.samples is not None and variant.rewards is not None:
            yield from _read(variant.name, align.path / variant.samples, align.path / variant.rewards)


def _sampled(align: AlignInput) -> Iterator[_Rewarded]:
    """The answers each iteration was trained on: stages "sample-N" and "rank-N"."""
    folders = {stage.name: align.path / stage.dir for stage in align.state.stages}
    for name, folder in folders.items():
        rank = folders.get(name.replace("sample-", "rank-", 1))
        if name.startswith("sample-") and rank is not None:
            yield from _read(name, folder, rank)


def _read(name: str, samples: Path, rewards: Path) -> Iterator[_Rewarded]:
    if not (samples / "samples.jsonl").is_file() or not (rewards / "rewards.jsonl").is_file():
        return
    by_key = {(r.prompt_key, r.sample): r for r in read_rewards(rewards)}
    missing = SampleReward(prompt_key="", sample=0, error="not rewarded")
    yield _Rewarded(name, [(s, by_key.get((s.prompt_key, s.sample), missing)) for s in read_samples(samples)])


def reward_blocks(align: AlignInput, suffix: str) -> list[Block]:
    """Distributions of the rewards, and the reward-length heat map (the paper's Figure 3).

    Raises
    ------
    FileFormatError
        A file of samples or rewards is damaged.
    """
    found = [r for r in _rewarded(align) if r.known]
    several = [r for r in (*found, *_sampled(align)) if _answers_a_prompt(r) >= _LEAST_ANSWERS]
    blocks = [*_distributions(found, suffix), *_heat_maps(several, suffix)]
    stored = [v for v in align.state.variants if v.reward_length and v.name not in {r.name for r in several}]
    return [*blocks, _stored(stored, suffix)] if stored else blocks


def _distributions(found: list[_Rewarded], suffix: str) -> list[Block]:
    if not found:
        return []
    rewards = {r.name: np.array([reward for _, reward in r.known]) for r in found}
    edges = edges_of(np.concatenate([*rewards.values()]))
    panels = [
        XYChart(name, "reward", "share of answers (%)", [histogram(name, own, edges)]) for name, own in rewards.items()
    ]
    caption = "Rewards of each variant's answers to the same validation prompts, in the ranker's own unit."
    samples = SampleFilter(benchmark=VALIDATION)
    return [Figure(f"rewards{suffix}", caption, Panels("Reward distributions", panels), samples)]


def _answers_a_prompt(rewarded: _Rewarded) -> int:
    counts = Counter(sample.prompt_key for sample, _ in rewarded.known)
    return max(counts.values(), default=0)


def _heat_maps(found: list[_Rewarded], suffix: str) -> list[Block]:
    measured: dict[str, PromptCorrelations] = {}
    notes: list[Block] = []
    for r in found:
        rewards, lengths = [reward for _, reward in r.known], [s.n_chars for s, _ in r.known]
        try:
            measured[r.name] = correlations_within_prompts(rewards, lengths, [s.prompt_key for s, _ in r.known])
        except AssayError as error:
            notes.append(Note(f"{r.name}: no correlation of reward and length, {' '.join(str(error).split())}"))
    if not measured:
        return notes
    caption = (
        "Each prompt's Pearson correlation of reward and length among its answers, by the mean reward of those "
        "answers; cells count prompts. Weight to the right of 0 means that the reward favours length."
    )
    panels = [_heat_map(name, correlations) for name, correlations in measured.items()]
    behind = SampleFilter(benchmark=TRAINING if any(r.name.startswith("sample-") for r in found) else VALIDATION)
    figure = Figure(f"reward-length{suffix}", caption, Panels("Reward and length", panels), behind)
    columns = ["answers of", "mean correlation of reward and length#", "prompts#"]
    rows = [_row(name, correlations) for name, correlations in measured.items()]
    return [figure, Table("Does the reward favour length", columns, rows), *notes]


def _row(name: str, correlations: PromptCorrelations) -> list[Cell]:
    mean = correlations.mean
    left_out = f"{correlations.n_left_out:,} without spread" if correlations.n_left_out else ""
    value = Cell(f"{mean.value:+.2f}", limits(mean.ci_low, mean.ci_high, "+.2f"))
    return [Cell(name), value, Cell(f"{mean.n_clusters:,}", left_out)]


def _heat_map(name: str, correlations: PromptCorrelations) -> Heatmap:
    across = np.linspace(-1.0, 1.0, _COLUMNS + 1)
    low, high = float(correlations.mean_scores.min()), float(correlations.mean_scores.max())
    up = np.linspace(low, high if high > low else low + 1.0, _ROWS + 1)
    counts, _, _ = np.histogram2d(correlations.mean_scores, correlations.correlations, bins=(up, across))
    values: list[list[float | None]] = [[float(v) if v else None for v in row] for row in counts[::-1]]
    names = [f"{(a + b) / 2:.2f}" for a, b in pairwise(up.tolist())][::-1]
    columns = [f"{(a + b) / 2:+.1f}" for a, b in pairwise(across.tolist())]
    top = max(float(counts.max()), 1.0)
    return Heatmap(name, "correlation of reward and length", "mean reward", columns, names, values, limits=(0.0, top))


def _stored(variants: list[AlignVariant], suffix: str) -> Figure:
    """Correlations the loop stored, for variants with too few answers per prompt for a distribution."""
    n = max(len(v.reward_length) for v in variants)
    values: list[list[float | None]] = [
        [v.reward_length[i].pearson if i < len(v.reward_length) else None for i in range(n)] for v in variants
    ]
    columns = ["lowest", *(str(i + 1) for i in range(1, n - 1)), "highest"][:n]
    names = [v.name for v in variants]
    title = "Reward and length, by the prompts' mean reward"
    chart = Heatmap(title, "prompts by mean reward", "", columns, names, values, 0.0, (-1.0, 1.0), "+.2f")
    caption = (
        "Mean correlation of reward and length among the answers to a prompt; with two answers a prompt each "
        "correlation is +1 or -1, so the mean says how often the longer one has the higher reward."
    )
    return Figure(f"reward-length-cells{suffix}", caption, chart, SampleFilter(benchmark=VALIDATION))


def add_rewards(tables: SampleTables, align: AlignInput) -> None:
    """Add rewarded answers to the samples, one row per prompt and variant or stage."""
    named = [(VALIDATION, r) for r in _rewarded(align)] + [(TRAINING, r) for r in _sampled(align)]
    for benchmark, r in named:
        model = tables.model(r.name)
        by_prompt: dict[str, list[tuple[Sample, SampleReward]]] = defaultdict(list)
        for sample, reward in r.found:
            by_prompt[sample.prompt_key].append((sample, reward))
        tables.n_all += len(by_prompt)
        every = max(-(-len(by_prompt) // max(tables.limits.n_rows, 1)), 1)
        for place, (key, answers) in enumerate(by_prompt.items()):
            if tables.limits.n_rows and place % every == 0:
                _add_prompt(tables, model, (benchmark, key, r.name), answers)


def _add_prompt(
    tables: SampleTables, model: int, key: tuple[str, str, str], answers: list[tuple[Sample, SampleReward]]
) -> None:
    messages = [m.get("content", "") for m in answers[0][0].prompt]
    prompt = tables.prompt(key[:2], key[0], "", key[1], ["\n\n".join(messages)])
    answers = sorted(answers, key=lambda pair: pair[0].sample)
    start = len(tables.judgments)
    own = []
    for sample, reward in answers:
        finish = "" if sample.finish == "stop" else sample.finish
        turns = [] if sample.finish == "error" else [sample.response]
        own.append(tables.answer((*key, sample.sample), key[2], turns, f=finish, e=sample.error))
        words = f"sample {sample.sample + 1} at temperature {sample.temperature:g}: {_in_words(reward)}"
        tables.judgment("ranker", words)
    rewards = [r.reward for _, r in answers if r.reward is not None]
    mean = sum(rewards) / len(rewards) if rewards else None
    verdict = "rewarded" if len(rewards) == len(answers) else "not scored"
    first = answers[0][0]
    tables.row(model, prompt, own, [], start, verdict, mean, 0, (first.n_chars, None), first.finish == "length")


def _in_words(reward: SampleReward) -> str:
    gold = "" if reward.gold is None else f", gold {reward.gold:.4g}"
    said = f"no reward: {reward.error or 'not rewarded'}" if reward.reward is None else f"reward {reward.reward:.4g}"
    return said + gold
