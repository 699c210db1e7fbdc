"""How consistent a judge is when it is asked again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from harness.stats.chance_agreement import RatingTable, krippendorff_alpha
from harness.stats.estimate import Estimate
from harness.stats.kendall_w import Concordance, kendall_w
from harness.stats.mean import cluster_mean
from judges.study.study_figures import NotMeasured, StudySpec, attempt
from judges.study.verdicts import Verdicts
from judges.study.vote_records import choice_of


@dataclass(frozen=True, slots=True)
class Repeats:
    """Consistency over repetitions of the whole judging.

    Parameters
    ----------
    n_repeats, n_pairs : int
        Repetitions, and pairs that have a verdict in each.
    concordance : Concordance or NotMeasured
        Kendall's W of the repetitions' orderings of the pairs by P(first is better).
    unanimous : Estimate
        Percent of pairs with the same verdict in every repetition.
    alpha : Estimate or NotMeasured
        Krippendorff's alpha of the verdicts, repetitions as raters.
    """

    n_repeats: int
    n_pairs: int
    concordance: Concordance | NotMeasured
    unanimous: Estimate
    alpha: Estimate | NotMeasured


def repeats(judge: Verdicts, spec: StudySpec) -> Repeats | NotMeasured:
    """Measure consistency on the pairs judged as often as is commonest among those judged more than once."""
    again = {key: pair.repeats for key, pair in judge.pairs.items() if len(pair.repeats) > 1}
    if not again:
        return NotMeasured("every pair was judged once")
    n_repeats = Counter(len(given) for given in again.values()).most_common(1)[0][0]
    used = {key: given for key, given in again.items() if len(given) == n_repeats}
    prompts = [key.prompt for key in used]
    said = [[choice_of(p) for p in given] for given in used.values()]
    same = [100.0 * (len(set(row)) == 1) for row in said]
    table = np.array(list(used.values())).T
    ratings = RatingTable(said, prompts)
    return Repeats(
        n_repeats,
        len(used),
        attempt(lambda: kendall_w(table, spec.rng(), spec.bootstrap, prompts)),
        cluster_mean(same, prompts, spec.level, (0.0, 100.0)),
        attempt(lambda: krippendorff_alpha(ratings, spec.rng(), spec.bootstrap)),
    )
