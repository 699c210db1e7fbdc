"""The plan of a group-sequential test: at how many prompts it looks, and what each look may spend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from harness.errors import FileFormatError, StatisticsError, UsageError
from harness.gate.look_fields import LAST_LOOK, Futility
from harness.gate.looks import test_set_hash
from harness.gate.policy import Policy
from harness.run.stored_run import StoredRun
from harness.stats.error_spending import Spending
from harness.stats.group_sequential import Bounds, bounds_for, with_futility

LEAST_LEVEL = 1e-7
"""A look whose nominal level is smaller decides nothing: no test's p-value is that exact on so few prompts."""


@dataclass(frozen=True)
class LookPlan:
    """When a rule is looked at, fixed before the first look.

    Parameters
    ----------
    at : tuple of int
        Prompts at each look, rising; the last is the whole benchmark.
    spending : Spending
        How alpha is spent over the looks.
    seed : int
        Random seed of the prompt order.
    futility : Futility or None
        Non-binding futility bounds.
    prompts : str
        Hash of all prompts of the benchmark; "" if it was not recorded.
    """

    at: tuple[int, ...]
    spending: Spending
    seed: int = 0
    futility: Futility | None = None
    prompts: str = ""

    @classmethod
    def of(cls, policy: Policy, prompt_ids: Iterable[str], n_all: int, seed: int = 0) -> LookPlan:
        """Plan the looks of a policy at a benchmark.

        Parameters
        ----------
        policy : Policy
            Its looks and spending. Looks beyond the benchmark's size are left out, as are equally spaced ones below the
            least number of prompts.
        prompt_ids : iterable of str
            All prompts.
        n_all : int
            Number of independent units among them (clusters).
        seed : int
            Random seed of the prompt order.

        Raises
        ------
        UsageError
            A look that the policy names has fewer prompts than its `min_n`.
        """
        at = _prompts_at(policy, n_all)
        kept = [k for k, n in enumerate(at) if n >= policy.min_n and n < n_all]
        looks = (*(at[k] for k in kept), n_all)
        spending = policy.spending_function()
        if spending.kind == "shares":
            spending = Spending("shares", shares=(*(spending.shares[k] for k in kept), spending.shares[-1]))
        return cls(looks, spending, seed, policy.futility, test_set_hash(prompt_ids))

    @property
    def n_all(self) -> int:
        """Number of prompts at the last look."""
        return self.at[-1]

    @property
    def information(self) -> tuple[float, ...]:
        """Share of the prompts at each look."""
        return tuple(n / self.n_all for n in self.at)

    def bounds(self, looks: Sequence[int], alpha: float) -> Bounds:
        """Return the bounds of those looks that tested the rule, by index; a skipped look spends nothing."""
        spent = self.spending.spent(self.information, alpha)
        return bounds_for([self.information[k] for k in looks], [spent[k] for k in looks], alpha)

    def futility_bounds(self, alpha: float, power: float) -> tuple[float, ...]:
        """Return the statistic at each look below which passing is unlikely; empty without futility bounds."""
        if self.futility is None:
            return ()
        beta = 1.0 - (self.futility.power or power)
        every = self.bounds(range(len(self.at)), alpha)
        return with_futility(every, self.futility.spending_function(), beta)[0].lower

    def in_words(self) -> str:
        """Describe the looks."""
        listed = ", ".join(map(str, self.at[:-1]))
        listed = f"{listed} and {self.n_all}" if listed else f"all {self.n_all}"
        return f"looks at {listed} prompts, spending by {self.spending_words()}"

    def spending_words(self) -> str:
        """Return the name of the spending function."""
        names = {
            "obrien_fleming": "O'Brien and Fleming's function",
            "pocock": "Pocock's function",
            "hwang_shih_decani": f"Hwang, Shih and DeCani's function ({self.spending.gamma:g})",
            "shares": "the policy's shares",
        }
        return names[self.spending.kind]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as a run stores it."""
        found: dict[str, Any] = {"seed": self.seed, "method": "group_sequential", "looks": list(self.at)}
        found |= {"spending": self.spending.kind, "prompts": self.prompts}
        if self.spending.kind == "hwang_shih_decani":
            found["gamma"] = self.spending.gamma
        if self.spending.kind == "shares":
            found["shares"] = list(self.spending.shares)
        if self.futility is not None:
            found["futility"] = self.futility.model_dump(mode="json")
        return found

    @classmethod
    def recorded(cls, run: StoredRun) -> LookPlan | None:
        """Return the looks at which a run was to stop; None if it was not run in looks.

        Raises
        ------
        FileFormatError
            run.json holds no such plan where it should.
        """
        found = run.header.get("early_stop")
        if found is None or found.get("method") != "group_sequential":
            return None
        return cls.stored(found, run.directory.path / "run.json")

    @classmethod
    def stored(cls, values: Mapping[str, Any], path: Any) -> LookPlan:
        """Read the plan a run stores.

        Raises
        ------
        FileFormatError
            It is not one.
        """
        try:
            spending = Spending(
                values["spending"], float(values.get("gamma", -4.0)), tuple(map(float, values.get("shares", ())))
            )
            looks = tuple(int(n) for n in values["looks"])
            spending.spent([n / looks[-1] for n in looks], 0.05)
            futility = None if values.get("futility") is None else Futility.model_validate(values["futility"])
            return cls(looks, spending, int(values["seed"]), futility, str(values.get("prompts", "")))
        except (KeyError, IndexError, TypeError, ValueError, ArithmeticError, StatisticsError) as error:
            raise FileFormatError(path, None, f"early_stop: {error!r}", "looks as assay writes them") from None


def _prompts_at(policy: Policy, n_all: int) -> list[int]:
    """Return the number of prompts at each look the policy names, with the last."""
    if isinstance(policy.looks, int):
        return [round(n_all * (k + 1) / policy.looks) for k in range(policy.looks)]
    shares = policy.looks[-1] <= LAST_LOOK
    named = [round(n_all * look) if shares else int(look) for look in policy.looks]
    few = [n for n in named if n < min(policy.min_n, n_all)]
    if few:
        raise UsageError(
            f"a look at {few[0]} of {n_all} prompts",
            f"at least {policy.min_n} prompts at every look (min_n)",
            "look later, or lower min_n in the policy",
        )
    return named if shares and policy.looks[-1] == LAST_LOOK else [*named, n_all]


def nominal(bound: float) -> float:
    """Return the one-sided level of a bound of the statistic; 0 where it is too small for any test."""
    level = float(stats.norm.sf(bound))
    return level if level >= LEAST_LEVEL else 0.0
