"""Alpha spending over the iterations of a loop.

A loop of T iterations that tests every checkpoint at 5 % passes a worthless one with a probability of up to
1 - 0.95^T. Here the levels of all tests add up so that this probability is at most alpha.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from harness.gate.decision import Decision
from harness.gate.policy import Policy
from harness.stats.alpha_spending import AlphaSpending


@dataclass(frozen=True)
class LoopStep:
    """One iteration.

    Parameters
    ----------
    iteration : int
        From 1.
    alpha : float
        Level of its test.
    decision : str
        Its result.
    """

    iteration: int
    alpha: float
    decision: str


@dataclass(frozen=True)
class LoopGate:
    """The spending of a loop; a resumed loop rebuilds it from its steps.

    Parameters
    ----------
    policy : Policy
        The policy for every checkpoint, compared with the last one that passed. Its alpha is that of the whole loop.
    spending : AlphaSpending
        How alpha is spent.
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
        """Alpha of the next iteration; 0 if none is left."""
        return self.spending.level([step.decision == "pass" for step in self.steps])

    def next_policy(self) -> Policy | None:
        """The policy of the next iteration, with its alpha; None if none is left."""
        level = self.level
        return self.policy.model_copy(update={"alpha": level}) if level > 0.0 else None

    def after(self, decision: Decision | str) -> LoopGate:
        """Add an iteration's decision. Undecided and invalid count like a fail."""
        outcome = decision if isinstance(decision, str) else decision.decision
        step = LoopStep(len(self.steps) + 1, self.level, outcome)
        return replace(self, steps=(*self.steps, step))

    def describe(self) -> str:
        """Describe the error guarantee of the whole loop, and its iterations."""
        t = self.spending.n_iterations
        planned = "" if self.spending.scheme == "endless" else f" over {t} iterations"
        spent = ", ".join(f"{s.iteration}: {s.decision} at {s.alpha:.3g}" for s in self.steps) or "none yet"
        return (
            f"chance of passing any checkpoint that should not pass{planned}: at most {self.spending.alpha:g} "
            f"({self.spending.scheme}); iterations: {spent}"
        )
