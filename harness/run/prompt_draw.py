"""Which prompts a run with ``limit`` or ``first`` uses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate, pairwise

from harness.hashing import content_hash
from harness.records import Prompt

_Cluster = list[Prompt]
_Stratum = list[_Cluster]


def drawn_prompts(prompts: Sequence[Prompt], n: int, seed: int) -> list[Prompt]:
    """Draw prompts at random, stratified by category; every prompt has the same chance.

    Whole clusters are drawn. Clusters whose prompts have the same categories form a stratum; its number of clusters is
    its proportional share, rounded down or up. Who is rounded up is decided by one random start that runs through the
    cumulated shares [1]_, so that the numbers add up and no category is favoured. A cluster's place within its stratum
    depends on the seed and its name alone, not on the other prompts or their order.

    Parameters
    ----------
    prompts : sequence of Prompt
        All prompts of a benchmark.
    n : int
        How many to draw. If clusters have several prompts, the number may miss `n` by less than one cluster of each
        size; clusters of one prompt make up for it where there are enough.
    seed : int
        The run's seed.

    Returns
    -------
    list of Prompt
        The drawn prompts in the order given. Of one seed, those for `n` are among those for a larger number if each
        stratum's share of the difference is at least one cluster.

    References
    ----------
    .. [1] Madow (1949), On the theory of systematic sampling, II.
    """
    if n >= len(prompts):
        return list(prompts)
    chosen = {cluster[0].cluster for cluster in _drawn(_strata(prompts, seed), n, len(prompts), seed)}
    return [prompt for prompt in prompts if prompt.cluster in chosen]


def _drawn(strata: Sequence[_Stratum], n: int, n_all: int, seed: int) -> list[_Cluster]:
    """Draw the larger clusters, and clusters of one prompt to make the number up to `n`."""
    single = [stratum for stratum in strata if len(stratum[0]) == 1]
    several = [stratum for stratum in strata if len(stratum[0]) > 1]
    if not single:
        largest = max(len(stratum[0]) for stratum in several)
        return _first_of(several, max(n, largest), n_all, seed)  # at least one cluster
    chosen = _first_of(several, n, n_all, seed)
    n_single = sum(map(len, single))
    if several and not _always_fits(several, n, n_all, n_single):
        return chosen + _first_of(single, n, n_all, seed)
    return chosen + _first_of(single, n - sum(map(len, chosen)), n_single, seed)


def _strata(prompts: Sequence[Prompt], seed: int) -> list[_Stratum]:
    """Return the clusters by the categories of their prompts, strata and clusters in random order."""
    clusters: dict[str, _Cluster] = defaultdict(list)
    for prompt in prompts:
        clusters[prompt.cluster].append(prompt)
    strata: dict[tuple[str, ...], _Stratum] = defaultdict(list)
    for name in sorted(clusters, key=lambda name: content_hash("draw", seed, name)):
        strata[tuple(sorted(prompt.category or "" for prompt in clusters[name]))].append(clusters[name])
    return [strata[key] for key in sorted(strata, key=lambda key: content_hash("stratum", seed, key))]


def _first_of(strata: Sequence[_Stratum], n: int, n_all: int, seed: int) -> list[_Cluster]:
    """Return the first clusters of every stratum, each with the chance n / n_all."""
    start = int(content_hash("start", seed, n_all)[:15], 16) % n_all
    ends = accumulate(map(len, strata), initial=0)
    counts = (last - first for first, last in pairwise((n * end + start) // n_all for end in ends))
    return [cluster for stratum, count in zip(strata, counts, strict=True) for cluster in stratum[:count]]


def _always_fits(several: Sequence[_Stratum], n: int, n_all: int, n_single: int) -> bool:
    """Whether clusters of one prompt can make the number up to `n`, whatever else is drawn."""
    shares = [(n * len(stratum), len(stratum[0])) for stratum in several]
    least = sum(share // n_all * size for share, size in shares)
    most = sum(-(-share // n_all) * size for share, size in shares)
    return most <= n <= least + n_single
