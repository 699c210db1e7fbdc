"""People's votes on answers, as rules with ``labels: human`` take them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PeoplesVotes:
    """Shares of people's votes by prompt and pair of models.

    Parameters
    ----------
    shares : mapping of (str, str, str) to float
        Key of a prompt, and two models in alphabetical order, to the mean vote for the first (0 to 1).
    source : str
        Where they come from, for messages.
    """

    shares: Mapping[tuple[str, str, str], float]
    source: str = "the votes"

    @classmethod
    def of(cls, votes: Iterable[tuple[str, str, str, float]], source: str = "the votes") -> PeoplesVotes:
        """Average the votes of all people on all turns: key of the prompt, two models, vote for the first of them."""
        found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for prompt, first, second, p_first in votes:
            is_ordered = first <= second
            key = (prompt, first, second) if is_ordered else (prompt, second, first)
            found[key].append(p_first if is_ordered else 1.0 - p_first)
        return cls({key: sum(values) / len(values) for key, values in found.items()}, source)

    def for_first(self, prompt: str, first: str, second: str) -> float | None:
        """Return the share of the votes on a prompt for the first model; None without votes."""
        if first <= second:
            return self.shares.get((prompt, first, second))
        share = self.shares.get((prompt, second, first))
        return None if share is None else 1.0 - share

    def models(self) -> list[str]:
        """Return the names of all models voted on."""
        return sorted({name for _, *names in self.shares for name in names})
