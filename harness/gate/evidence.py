"""The values of two runs on one metric, paired by prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.errors import StatisticsError
from harness.protocols import Items
from harness.records import Score
from harness.run.compare import heaviest, unit_values, widest_difference
from harness.stats.bootstrap import Floats


@dataclass(frozen=True)
class PairedUnits:
    """One value per prompt for candidate and baseline.

    Parameters
    ----------
    keys : tuple of str, length n
        The prompts (clusters), in the candidate's order.
    first, second : ndarray, shape (n,)
        Values of candidate and baseline in the metric's unit; their means are the metric.
    n_items : int
        Items (verdicts) both scored.
    n_all : int
        Items at least one run should have scored.
    unscored : dict of str to int
        Items unscored in at least one run, by reason.
    reach : float or None
        Largest difference on the metric's scale, in its unit; None if the scale is unbounded.
    ceiling, floor : float or None
        Ends of the metric's scale, in its unit.
    sequential : bool
        Whether the value of each prompt is independent of the others, so that prompts can be tested sequentially. The
        values of weighted metrics depend on the mean of all prompts.
    span : tuple of float or None
        Ends of the differences' scale; None for -`reach` to `reach`.
    heaviest : float
        Largest weight of a prompt over the mean weight; 1 if prompts weigh alike.
    """

    keys: tuple[str, ...]
    first: Floats
    second: Floats
    n_items: int
    n_all: int
    unscored: dict[str, int]
    reach: float | None
    floor: float | None
    ceiling: float | None
    sequential: bool
    span: tuple[float, float] | None = None
    heaviest: float = 1.0

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Ends of the metric's scale, in its unit; None if it is unbounded."""
        return None if self.floor is None or self.ceiling is None else (self.floor, self.ceiling)

    @property
    def value_reach(self) -> float | None:
        """Largest difference of two prompts' values: the scale's width, and more where prompts weigh unequally."""
        if self.reach is None:
            return None
        return widest_difference(self.reach, self.heaviest, float(self.first.mean() - self.second.mean()))

    @property
    def value_span(self) -> tuple[float, float] | None:
        """Ends of the scale of the prompts' differences, which weights stretch; None if it is unbounded."""
        if self.value_reach is None:
            return None
        if self.span is None:
            return -self.value_reach, self.value_reach
        mean = float(self.first.mean() - self.second.mean())
        low, high = (mean + self.heaviest * (end - mean) for end in self.span)
        return low, high

    @property
    def n_unscored(self) -> int:
        """Number of items unscored in at least one run."""
        return self.n_all - self.n_items


def paired_units(candidate: Items, baseline: Items) -> PairedUnits:
    """Match the items of two runs and reduce them to one value per prompt.

    Parameters
    ----------
    candidate, baseline : Items
        The same metric of two runs.

    Returns
    -------
    PairedUnits

    Raises
    ------
    StatisticsError
        No item was scored in both.
    """
    a, b = _keyed(candidate), _keyed(baseline)
    every = list(dict.fromkeys([*a, *b]))
    reasons = {key: _reason(a.get(key), b.get(key)) for key in every}
    missing = Counter(reason for reason in reasons.values() if reason)
    shared = [key for key in every if not reasons[key]]
    if not shared:
        raise StatisticsError("no item was scored in both runs", "the same prompts, scored")
    sides = replace(candidate, scores=[a[k] for k in shared]), replace(baseline, scores=[b[k] for k in shared])
    first, second = (unit_values(side) for side in sides)
    keys = tuple(first)
    floor, ceiling = _ends(candidate)
    return PairedUnits(
        keys,
        np.array([first[key] for key in keys]),
        np.array([second[key] for key in keys]),
        n_items=len(shared),
        n_all=len(every),
        unscored=dict(missing.most_common()),
        reach=_reach(candidate),
        floor=floor,
        ceiling=ceiling,
        sequential=all(_weigh_alike(side.scores) for side in sides),
        heaviest=max(heaviest(side) for side in sides),
    )


def limit_units(candidate: Items, number: float) -> PairedUnits:
    """Reduce the items of one run to one value per prompt, paired with a number.

    Parameters
    ----------
    candidate : Items
        A metric of the run.
    number : float
        The number it is held against, in the metric's unit.

    Returns
    -------
    PairedUnits

    Raises
    ------
    StatisticsError
        No item was scored.
    """
    values = unit_values(candidate)
    first = np.array(list(values.values()))
    floor, ceiling = _ends(candidate)
    ends = None if floor is None or ceiling is None else (floor - number, ceiling - number)
    unscored = Counter(_reason(s, s) for s in candidate.scores if s.value is None)
    n_all = len(candidate.scores)
    return PairedUnits(
        tuple(values),
        first,
        np.full(first.size, number),
        n_items=n_all - unscored.total(),
        n_all=n_all,
        unscored=dict(unscored.most_common()),
        reach=None if ends is None else max(-ends[0], ends[1]),
        floor=floor,
        ceiling=ceiling,
        sequential=_weigh_alike([s for s in candidate.scores if s.value is not None]),
        span=ends,
        heaviest=heaviest(candidate),
    )


def _keyed(items: Items) -> dict[tuple[str, str], Score]:
    return {(s.prompt_id, s.part): s for s in items.scores}


def _reach(items: Items) -> float | None:
    """Width of a metric's scale, in its unit."""
    floor, ceiling = _ends(items)
    return None if floor is None or ceiling is None else ceiling - floor


def _ends(items: Items) -> tuple[float | None, float | None]:
    """Ends of a metric's scale, in its unit."""
    return (None, None) if items.bounds is None else (items.scale * items.bounds[0], items.scale * items.bounds[1])


def _reason(first: Score | None, second: Score | None) -> str:
    """Return the code of the reason why an item has no score, the candidate's first; "" if both are scored."""
    for score in (first, second):
        if score is None:
            return "missing"
        if score.reason is not None:
            return score.reason.partition(":")[0]
    return ""


def _weigh_alike(scores: Sequence[Score]) -> bool:
    """Whether all items and clusters have equal weight, so that a cluster's value is independent of the others."""
    sizes = Counter(s.cluster for s in scores)
    return len({s.weight for s in scores}) == 1 and len(set(sizes.values())) == 1
