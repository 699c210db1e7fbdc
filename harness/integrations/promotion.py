"""What is done once a gate passes: ``--on-pass mlflow:MODEL/VERSION@ALIAS`` or ``--on-pass hub:OWNER/NAME@BRANCH``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from harness.errors import AssayError, MissingDataError, UsageError
from harness.gate.decision import Decision
from harness.integrations.hub_branch import HubBranch
from harness.integrations.mlflow_alias import MLflowAlias


class Promotion(Protocol):
    """Moves a name to the candidate."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what follows ``KIND:``; a `UsageError` says what is wrong."""
        ...

    def check(self) -> None:
        """Raise an error if it cannot be carried out here (a package is missing); nothing is asked of a server."""
        ...

    def promote(self, facts: Mapping[str, str]) -> str:
        """Carry it out, and say in words what was done; `facts` describe the decision."""
        ...


_KINDS: dict[str, type[Promotion]] = {"mlflow": MLflowAlias, "hub": HubBranch}
_FORMS = "mlflow:MODEL/VERSION@ALIAS or hub:OWNER/NAME[:REVISION]@BRANCH"


@dataclass(frozen=True)
class Promoted:
    """The outcome of a promotion.

    Parameters
    ----------
    target : str
        As given on the command line.
    done : bool
        Whether it was carried out.
    message : str
        What was done, or why it was not.
    """

    target: str
    done: bool
    message: str


def promotions(targets: Sequence[str]) -> dict[str, Promotion]:
    """Read the targets of ``--on-pass``, before anything is measured.

    Raises
    ------
    UsageError
        A target has no known form, or the package for it is not installed.
    """
    found = {}
    for target in targets:
        kind, _, rest = target.partition(":")
        if kind not in _KINDS:
            raise UsageError(f"--on-pass {target}", _FORMS)
        found[target] = _KINDS[kind].parse(rest)
        try:
            found[target].check()
        except MissingDataError as error:
            raise UsageError(f"--on-pass {target}: {error.found}", error.allowed, error.remedy) from error
    return found


def promote_all(given: Mapping[str, Promotion], decision: Decision) -> list[Promoted]:
    """Carry out the promotions of a decision; none unless it is pass. One that fails does not stop the others."""
    if decision.decision != "pass":
        return [Promoted(target, False, f"not promoted: the decision is {decision.decision}") for target in given]
    facts = {
        "decision": decision.decision,
        "policy": decision.policy,
        "candidate": decision.candidate,
        "baseline": decision.baseline,
    }
    return [_carried_out(target, promotion, facts) for target, promotion in given.items()]


def _carried_out(target: str, promotion: Promotion, facts: Mapping[str, str]) -> Promoted:
    try:
        return Promoted(target, True, promotion.promote(facts))
    except AssayError as error:
        return Promoted(target, False, " ".join(str(error).split()))


def promotion_json(found: Sequence[Promoted]) -> list[dict[str, Any]]:
    """Return the key ``promotions`` of `assay gate --json`."""
    return [{"target": one.target, "done": one.done, "message": one.message} for one in found]
