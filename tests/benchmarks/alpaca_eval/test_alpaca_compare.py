"""The comparison of length-controlled win rates needs upstream's data; no other metric's does."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.alpaca_eval.benchmark import AlpacaEval
from harness.errors import MissingDataError


class NoData:
    """A source without any file."""

    def path(self, name):
        raise MissingDataError(f"{name} is missing")


@pytest.mark.parametrize("metric", ["win_rate", "discrete_win_rate", "avg_length"])
def test_other_metrics_are_compared_without_upstreams_data(metric):
    assert AlpacaEval().compare_fitted(metric, ([], []), NoData(), np.random.default_rng(0), 0.95) is None


def test_the_length_controlled_win_rate_says_what_is_missing():
    with pytest.raises(MissingDataError, match="alpaca_eval/"):
        AlpacaEval().compare_fitted("length_controlled_win_rate", ([], []), NoData(), np.random.default_rng(0), 0.95)
