"""What a prompt costs: judge calls and money as stored in a run or estimated for one, and the time given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.records import Judgment
from harness.run.estimate import RunEstimate
from harness.run.stored_run import StoredRun


@dataclass(frozen=True)
class PromptCost:
    """The cost of one prompt of a benchmark for one run.

    Parameters
    ----------
    calls : float or None
        Judge calls.
    money : float or None
    seconds : float or None
        Wall time, if it was given; runs store none.
    currency : str
    words : str
        Where the figures come from.
    """

    calls: float | None = None
    money: float | None = None
    seconds: float | None = None
    currency: str = "USD"
    words: str = "unknown: no run and no --spec"

    def times(self, n: float) -> dict[str, float | None]:
        """Return what n prompts cost."""
        values = {"judge_calls": self.calls, "money": self.money, "seconds": self.seconds}
        return {name: None if value is None else value * n for name, value in values.items()}


def stored_cost(run: StoredRun, name: str, seconds: float | None) -> PromptCost:
    """Read the cost from a run's verdicts.

    Money is the mean cost of the verdicts that were paid for; those from a cache count as if paid for like the others.
    """
    prompts = run.prompts_of(name)
    verdicts = [j for j in run.directory.slim_judgments() if j.benchmark == name and j.prompt_id in prompts]
    calls = len(verdicts) / max(1, len(prompts))
    paid = [j.cost for j in verdicts if j.cost is not None and not j.cached]
    money = 0.0 if not verdicts else calls * sum(paid) / len(paid) if paid else None
    words = f"{len(verdicts)} verdicts on {len(prompts)} prompts of {run.path}"
    if money is None:
        words += "; it stores no prices"
    return PromptCost(calls, money, seconds, _currency(verdicts), words)


def estimated_cost(found: RunEstimate, name: str, seconds: float | None) -> PromptCost | None:
    """Take the cost from an estimate; None if it is not about the benchmark."""
    entry = next((b for b in found.benchmarks if b.benchmark == name), None)
    if entry is None or not entry.n_prompts:
        return None
    money = None
    if found.price is not None:
        money = found.price.cost_of_many(entry.prompt_tokens, entry.completion_tokens) / entry.n_prompts
    currency = "USD" if found.price is None else found.price.currency
    return PromptCost(entry.n_calls / entry.n_prompts, money, seconds, currency, "the estimate of the spec")


def _currency(verdicts: Iterable[Judgment]) -> str:
    return next((j.currency for j in verdicts if j.cost is not None), "USD")
