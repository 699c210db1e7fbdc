"""Style of answers as Arena-Hard's style control sees it: counts, and normalised differences from the baseline.

- v0.1 (commit b4b78bf, ``utils_math.py``): each difference over the sum plus one.
- v2 (commit 196f6b8, ``show_result.py``): tokens as difference over sum; Markdown as density, that is count over tokens
  plus one, and of the densities the difference over the sum plus one.

Tokens are counted by the caller (upstream: tiktoken, cl100k in v0.1, o200k in v2), Markdown by
:func:`benchmarks.arena_hard.markdown_features.count_markdown`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats

Version = Literal["v0.1", "v2"]

FEATURES = ("tokens", "headers", "lists", "bold")
"""Columns of style counts, in this order."""


@dataclass(frozen=True, slots=True)
class StyleCounts:
    """Style of the answers, columns as in `FEATURES`.

    Parameters
    ----------
    models : ndarray, shape (M, P, 4)
        Of each model's answer to each prompt, in the order of the verdict table. Anything where there is no verdict.
    baseline : ndarray, shape (P, 4)
        Of the baseline's answers.
    """

    models: Floats
    baseline: Floats


def style_differences(style: StyleCounts, version: Version) -> Floats:
    """Normalise the style differences, model less baseline.

    Parameters
    ----------
    style : StyleCounts
        Counts.
    version : {"v0.1", "v2"}
        Upstream's normalisation (see the module).

    Returns
    -------
    ndarray, shape (M, P, 4)
        Each between -1 and 1. Two empty answers do not differ in length.
    """
    model, base = style.models, style.baseline[None]
    if version == "v0.1":
        return np.asarray((model - base) / (model + base + 1.0), dtype=np.float64)
    tokens = model[..., :1] + base[..., :1]
    length = (model[..., :1] - base[..., :1]) / np.where(tokens > 0, tokens, 1.0)
    density, base_density = model[..., 1:] / (model[..., :1] + 1.0), base[..., 1:] / (base[..., :1] + 1.0)
    markdown = (density - base_density) / (density + base_density + 1.0)
    return np.concatenate([length, markdown], axis=-1)


def refuse_missing_style(models: Sequence[str], weight: Floats, style: StyleCounts) -> None:
    """Raise if an answer that was judged has no style counts.

    Parameters
    ----------
    models : sequence of str, length M
        Names for the message.
    weight : ndarray, shape (M, P)
        Weight of the verdicts; 0 where there is none.
    style : StyleCounts
        Counts.

    Raises
    ------
    StatisticsError
        NaN, infinite or negative counts, with the models they are missing for.
    """
    absent = ~np.isfinite(style.models).all(axis=2) | ~np.isfinite(style.baseline).all(axis=1)
    lacking = absent & (weight > 0)
    if lacking.any():
        names = [f"{m} ({int(n)})" for m, n in zip(models, lacking.sum(axis=1), strict=True) if n]
        raise StatisticsError(
            f"no style counts for judged answers of {', '.join(names)}",
            "tokens, headers, lists and bold of both answers of every verdict",
            "give the answer files, or leave those models out",
        )
    with np.errstate(invalid="ignore"):  # NaN is allowed where nothing was judged
        if ((style.models < 0).any(axis=2) & (weight > 0)).any() or (style.baseline < 0).any():
            raise StatisticsError("a negative style count", "counts of 0 or more")
