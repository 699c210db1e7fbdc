"""The gate between iterations: one alpha for the whole loop.

A loop of T iterations that tests every checkpoint at 5 % passes a worthless one with a chance of up to 1 - 0.95^T.
Here the levels are shared out, so that the chance of passing any checkpoint that should not pass is alpha in all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from harness.gate.decision import Decision
from harness.gate.policy import Policy
from harness.stats.alpha_spending import AlphaSpending

__all__ = ["LoopGate", "LoopStep"]


@dataclass(frozen=True)
class LoopStep:
    """One iteration.

    Parameters
    ----------
    iteration : int
        From 1.
    alpha : float
        What it was tested at.
    decision : str
        What came of it.
    """

    iteration: int
    alpha: float
    decision: str


@dataclass(frozen=True)
class LoopGate:
    """The state of a loop; immutable, so that a resumed loop is rebuilt from its steps.

    Parameters
    ----------
    policy : Policy
        What every checkpoint must show, against the last one that passed. Its alpha is that of the whole loop.
    spending : AlphaSpending
        How it is shared out.
    steps : tuple of LoopStep
        Iterations so far.
    """

    policy: Policy
    spending: AlphaSpending
    steps: tuple[LoopStep, ...] = field(default_factory=tuple)

    @classmethod
    def plan(cls, policy: Policy, n_iterations: int, scheme: Any = "fallback") -> LoopGate:
        """Plan a loop of T iterations under the policy's alpha."""
        return cls(policy, AlphaSpending(policy.alpha, n_iterations, scheme))

    @property
    def level(self) -> float:
        """Alpha of the next iteration; 0 where it cannot pass any more."""
        return self.spending.level([step.decision == "pass" for step in self.steps])

    def next_policy(self) -> Policy | None:
        """The policy of the next iteration, at its own alpha; None where nothing is left to spend."""
        level = self.level
        return self.policy.model_copy(update={"alpha": level}) if level > 0.0 else None

    def after(self, decision: Decision | str) -> LoopGate:
        """Note an iteration's decision.

        Only a pass moves the loop on; undecided and invalid leave it where it is, as a fail does.
        """
        outcome = decision if isinstance(decision, str) else decision.decision
        step = LoopStep(len(self.steps) + 1, self.level, outcome)
        return replace(self, steps=(*self.steps, step))

    def describe(self) -> str:
        """Say what the loop as a whole guarantees, and where it stands."""
        t = self.spending.n_iterations
        planned = "" if self.spending.scheme == "endless" else f" over {t} iterations"
        spent = ", ".join(f"{s.iteration}: {s.decision} at {s.alpha:.3g}" for s in self.steps) or "none yet"
        return (
            f"chance of passing any checkpoint that should not pass{planned}: at most {self.spending.alpha:g} "
            f"({self.spending.scheme}); iterations: {spent}"
        )
