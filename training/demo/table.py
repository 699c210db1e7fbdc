"""The demo's result: a table with a row for each checkpoint, and a description of what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.store.align_directory import AlignState, AlignVariant, Figure, read_rewards
from harness.store.jsonl import read_json

COLUMNS: Mapping[str, str] = {
    "gold_win_rate": "gold win rate",
    "gold_rating": "gold rating",
    "gold_arena": "gold arena",
    "knowledge": "knowledge",
    "reward": "reward",
    "kl": "KL",
    "characters": "characters",
}
"""Keys of a row's figures, and their headings."""

_BENCHMARKS = {
    "gold_win_rate": ("demo_pairs", "win_rate"),
    "gold_rating": ("demo_mt", "score"),
    "gold_arena": ("demo_arena", "win_rate"),
    "knowledge": ("demo_facts", "acc"),
}
_MEASURES = {"reward": "reward", "kl": "kl_per_response", "characters": "length_chars"}
_GOLD = ("gold_win_rate", "gold win rate")
_KNOWLEDGE = ("knowledge", "knowledge (multiple choice)")


@dataclass(frozen=True)
class DemoRow:
    """One checkpoint.

    Parameters
    ----------
    name : str
        "base", "sft", "dpo-1", ...
    parent : str or None
        The checkpoint it was trained from.
    figures : dict of str to Figure
        By the keys of `COLUMNS`.
    gate : str
        "pass", "fail", "undecided", "invalid", or "" if the gate was not asked.
    reasons : tuple of str
        The gate's reasons, in words.
    hacking : str
        The message of the reward-hacking alarm, "" if there is none.
    """

    name: str
    parent: str | None
    figures: dict[str, Figure]
    gate: str = ""
    reasons: tuple[str, ...] = ()
    hacking: str = ""

    def as_json(self) -> dict[str, Any]:
        """The row as JSON values."""
        figures = {key: figure.model_dump(exclude_none=True) for key, figure in self.figures.items()}
        return {**asdict(self), "figures": figures, "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Agreement:
    """The agreement of gold with the reward model on an iteration's pairs.

    Parameters
    ----------
    iteration : int
    n_pairs : int
        Prompts whose best and worst answers differ in reward.
    n_agree, n_tied : int
        Prompts where gold has the same order, and where it scores both answers equally.
    """

    iteration: int
    n_pairs: int
    n_agree: int
    n_tied: int = field(default=0)

    @property
    def share(self) -> float | None:
        """Agreement in percent, ties counting half; None without pairs."""
        return 100.0 * (self.n_agree + 0.5 * self.n_tied) / self.n_pairs if self.n_pairs else None


def demo_rows(state: AlignState, out: Path) -> list[DemoRow]:
    """Collect the table.

    Parameters
    ----------
    state : AlignState
        Of a finished loop.
    out : Path
        Its directory.
    """
    return [_row(variant, out) for variant in state.variants]


def _row(variant: AlignVariant, out: Path) -> DemoRow:
    found = {}
    if variant.run is not None:
        summary = read_json(out / variant.run / "summary.json")
        found = {(row["benchmark"], row["metric"]): row for row in summary["rows"]}
    figures = {key: figure_of(found.get(name), ".".join(name)) for key, name in _BENCHMARKS.items()}
    for key, measure in _MEASURES.items():
        figures[key] = variant.measures.get(measure) or Figure(reason=f"{measure} was not measured")
    decision = variant.gate or {}
    return DemoRow(
        variant.name,
        variant.parent,
        {key: figures[key] for key in COLUMNS},
        decision.get("decision", ""),
        tuple(
            f"{rule['kind']} {rule['benchmark']} {rule['metric']}: {rule['reason']}"
            for rule in decision.get("rules", ())
        ),
        (variant.hacking or {}).get("message", ""),
    )


def figure_of(row: Mapping[str, Any] | None, name: str) -> Figure:
    """The figure of a row of a summary, or why there is none."""
    if row is None:
        return Figure(reason=f"{name} was not measured")
    if row.get("value") is None:
        return Figure(reason=row.get("reason") or f"{name} has no value")
    kept = ("value", "stderr", "ci_low", "ci_high", "n")
    return Figure(**{key: row[key] for key in kept if row.get(key) is not None})


def pair_agreement(state: AlignState, out: Path) -> list[Agreement]:
    """Compare gold and the reward model on the best and worst answers, by reward, to every iteration's prompts.

    Parameters
    ----------
    state : AlignState
        Of a finished loop.
    out : Path
        Its directory.
    """
    stages = {stage.name: stage for stage in state.stages}
    found: list[Agreement] = []
    while (ranked := stages.get(f"rank-{len(found) + 1}")) is not None:
        ahead = _gold_ahead(out / ranked.dir)
        found.append(Agreement(len(found) + 1, len(ahead), sum(d > 0 for d in ahead), sum(d == 0 for d in ahead)))
    return found


def _gold_ahead(ranked: Path) -> list[float]:
    """Gold score of the answer with the highest reward minus that of the answer with the lowest, for each prompt."""
    by_prompt: dict[str, list[tuple[float, float]]] = {}
    for reward in read_rewards(ranked):
        if reward.reward is not None and reward.gold is not None:
            by_prompt.setdefault(reward.prompt_key, []).append((reward.reward, reward.gold))
    ends = [(max(own), min(own)) for own in by_prompt.values()]
    return [best[1] - worst[1] for best, worst in ends if best[0] > worst[0]]


def story(rows: Sequence[DemoRow], agreement: Sequence[Agreement]) -> list[str]:
    """Describe what happened, sentence by sentence, from the figures only."""
    lines = []
    by_name = {row.name: row for row in rows}
    base, sft = by_name.get("base"), by_name.get("sft")
    if base is not None and sft is not None:
        gained = (_moved(base, sft, key, words) for key, words in (_GOLD, ("gold_rating", "gold rating")))
        lines.append(f"sft after base: {'; '.join(gained)}.")
        lines.append(f"Alignment tax of SFT: {_moved(base, sft, *_KNOWLEDGE)}.")
    by_iteration = {found.iteration: found for found in agreement}
    for row in rows:
        parent = by_name.get(row.parent or "")
        if row.gate and parent is not None:
            lines += _told(row, parent, by_iteration.get(_iteration_of(row.name)))
    return lines


def _told(row: DemoRow, parent: DemoRow, agreement: Agreement | None) -> list[str]:
    """Describe an iteration."""
    moved = "; ".join(_moved(parent, row, key, words) for key, words in (("reward", "reward"), _GOLD, _KNOWLEDGE))
    lines = [f"{row.name} after {parent.name}: {moved}. The gate says {row.gate}."]
    if agreement is not None and agreement.share is not None:
        pairs = f"of {agreement.n_pairs} new pairs, best against worst by reward"
        lines.append(f"  {pairs}, gold agrees with {agreement.share:.0f} %")
    lines += [f"  gate: {reason}" for reason in row.reasons]
    return [*lines, f"  reward hacking: {row.hacking}"] if row.hacking else lines


def _iteration_of(name: str) -> int:
    number = name.split("-")[1] if "-" in name else ""
    return int(number) if number.isdecimal() else 0


def _moved(before: DemoRow, after: DemoRow, key: str, words: str) -> str:
    """Describe the change of a figure. Its significance is tested by the gate."""
    first, second = before.figures[key], after.figures[key]
    if first.value is None or second.value is None:
        return f"{words} not compared ({first.reason or second.reason})"
    if second.value == first.value:
        return f"{words} stayed at {first.value:.4g}"
    return f"{words} {'rose' if second.value > first.value else 'fell'} from {first.value:.4g} to {second.value:.4g}"
