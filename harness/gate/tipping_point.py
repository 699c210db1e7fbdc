"""What turns a rule's decision into another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TippingPoint:
    """The smallest errors of a judge that hide another decision.

    Parameters
    ----------
    decision : str
        The other decision.
    bias : float or None
        The smallest constant error of the difference (candidate minus baseline, in the metric's unit) that hides it:
        positive if the judge favours the candidate. None if no bias leads there.
    n_verdicts : int or None
        The fewest prompts on which candidate and baseline would have to exchange their results; None if no number
        suffices, or with a `reason`.
    reason : str
        Why verdicts were not counted.
    """

    decision: str
    bias: float | None
    n_verdicts: int | None
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the fields for ``--json``."""
        return {
            "decision": self.decision,
            "bias": self.bias,
            "n_verdicts": self.n_verdicts,
            "reason": self.reason or None,
        }

    def words(self, n: int) -> str:
        """Say it, for a rule on n prompts."""
        parts = []
        if self.bias is not None:
            whom = "candidate" if self.bias > 0.0 else "baseline"
            parts.append(f"a judge that favours the {whom} by {abs(self.bias):.3g} on every prompt")
        if self.n_verdicts is not None:
            parts.append(f"results exchanged on {self.n_verdicts} of {n} prompts")
        return f"{self.decision}: " + (", or ".join(parts) or "out of reach")
