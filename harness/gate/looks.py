"""The locked final test set: every look is recorded, because each look adds to the chance of a wrong pass."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import FileFormatError
from harness.hashing import content_hash
from harness.store.jsonl import JsonlAppender, read_jsonl

_FILE = "looks.jsonl"


@dataclass(frozen=True)
class Look:
    """One look at a locked test set.

    Parameters
    ----------
    test_set : str
        Hash of its prompts.
    when : str
        UTC time.
    who : str
        Who looked: a person, a job, an iteration.
    candidate : str
        The candidate.
    decision : str
        The gate's decision.
    alpha : float
        One-sided level of the decision.
    policy : str
        Name and hash of the rules (`Policy.identity`); "" for looks recorded before they were.
    """

    test_set: str
    when: str
    who: str
    candidate: str
    decision: str
    alpha: float
    policy: str = ""


def test_set_hash(prompt_ids: Iterable[str]) -> str:
    """Return the hash of a test set's prompts, independent of their order."""
    return content_hash("test set", sorted(prompt_ids))


test_set_hash.__test__ = False  # type: ignore[attr-defined]  # pytest: not a test


class LookLedger:
    """The recorded looks, in an append-only file.

    Parameters
    ----------
    directory : Path
        Directory of the training loop, or of the runs that share the test set.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / _FILE

    def looks(self, test_set: str | None = None) -> list[Look]:
        """Return all looks, or those at one test set.

        Raises
        ------
        FileFormatError
            A line is not a look.
        """
        if not self.path.exists():
            return []
        found = []
        for number, value in read_jsonl(self.path, allow_torn_tail=True):
            try:
                found.append(Look(**value))
            except TypeError as error:
                raise FileFormatError(self.path, number, str(error), "a look as assay writes it") from None
        return [look for look in found if test_set in (None, look.test_set)]

    def record(self, look: Look) -> int:
        """Record a look.

        Returns
        -------
        int
            Number of looks at this test set, including this one.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with JsonlAppender(self.path) as appender:
            appender.append(json.dumps(asdict(look), ensure_ascii=False))
        return len(self.looks(look.test_set))

    def describe(self, test_set: str) -> str:
        """Describe how often a test set was looked at, and the chance of a wrong pass over all looks."""
        looks = self.looks(test_set)
        if not looks:
            return "no looks at the locked test set yet"
        spent = min(1.0, sum(look.alpha for look in looks))
        times = "once" if len(looks) == 1 else f"{len(looks)} times"
        text = f"the locked test set was looked at {times}"
        if len(looks) > 1:
            text += f"; over all looks the chance of a wrong pass is up to {spent:.2g}"
        policies = dict.fromkeys(look.policy for look in looks if look.policy)
        if len(policies) > 1:
            text += (
                f"; under {len(policies)} policies ({', '.join(policies)}), and rules chosen after a look are "
                "not covered by that figure: gate once more on other prompts"
            )
        return text


def now() -> str:
    """Return the current UTC time for a look."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
