"""Choosing the next token so that the choice is the request's own.

Sampled text must not depend on the rows it shared a batch with. No generator is shared: the noise of a step is a
function of the request's seed and the step's number (Philox; Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3"). That is not enough: batches of different shape round differently, by about 3e-6 in a logit, and inverting a
cumulative distribution over a large vocabulary has so many cut points that about one draw in a thousand lands on
another token. Taking the arg max of logits plus Gumbel noise (Gumbel 1954; Maddison et al. 2014, "A* sampling") draws
from the same distribution and changes its mind only where the two best are within the rounding, a few draws in a
million.

To need less noise than one number for every token of the vocabulary, the choice is made twice: a block of tokens by the
blocks' total weights, then a token of that block; the product of the two is the token's own probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from harness.messages import Sampling

_BLOCK = 128


@dataclass(frozen=True, slots=True)
class NextTokens:
    """One token per row, and whether the row's logits were numbers at all."""

    token_ids: list[int]
    valid: list[bool]


def choose_tokens(logits: torch.Tensor, samplings: Sequence[Sampling], steps: Sequence[int]) -> NextTokens:
    """Choose the next token of every row.

    Parameters
    ----------
    logits : torch.Tensor [rows, vocabulary]
        Of the next position.
    samplings : sequence of Sampling
        How each row is decoded; temperature 0 takes the arg max, the lowest id among equals.
    steps : sequence of int
        Number of new tokens each row has so far; with the row's seed it fixes the noise.

    Returns
    -------
    NextTokens
        `valid` is False where a row's logits hold NaN or +inf, as fp16 overflow makes them.
    """
    top, token_ids = logits.max(dim=-1)
    sampled = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0]
    if sampled:
        token_ids = token_ids.clone()
        rows = torch.tensor(sampled, device=logits.device)
        token_ids[rows] = _sample(
            logits[rows].double(), [samplings[row] for row in sampled], [steps[row] for row in sampled]
        )
    # One transfer instead of two: on a GPU each costs a synchronisation.
    both = torch.stack([token_ids, torch.isfinite(top).long()]).tolist()
    return NextTokens(both[0], [bool(valid) for valid in both[1]])


def _sample(logits: torch.Tensor, samplings: Sequence[Sampling], steps: Sequence[int]) -> torch.Tensor:
    """Draw one token per row of [rows, vocabulary] float64 logits."""

    def column(values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=logits.device).unsqueeze(1)

    # The maximum is taken off first: a temperature near zero would overflow otherwise.
    scaled = (logits - logits.amax(dim=-1, keepdim=True)) / column([s.temperature for s in samplings])
    top_p = [s.top_p for s in samplings]
    if min(top_p) < 1:
        scaled = _nucleus(scaled, column(top_p))
    n_rows, n_tokens = scaled.shape
    n_blocks = -(-n_tokens // _BLOCK)
    padded = torch.nn.functional.pad(scaled, (0, n_blocks * _BLOCK - n_tokens), value=-torch.inf)
    blocks = padded.view(n_rows, n_blocks, _BLOCK)
    noise = np.stack([_gumbel(s.seed, step, n_blocks + _BLOCK) for s, step in zip(samplings, steps, strict=True)])
    gumbel = torch.from_numpy(noise).to(logits.device)
    block = (blocks.logsumexp(dim=-1) + gumbel[:, :n_blocks]).argmax(dim=-1)
    within = blocks[torch.arange(n_rows, device=logits.device), block] + gumbel[:, n_blocks:]
    # A row of NaN may point into the padding.
    return (block * _BLOCK + within.argmax(dim=-1)).clamp(max=n_tokens - 1)


def _nucleus(scaled: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Rule out all but the smallest set of most probable tokens whose mass reaches top_p (Holtzman et al. 2020).

    Tokens as probable as the least probable one kept are kept too, so that the set does not depend on a sort's order.
    """
    ordered = scaled.softmax(dim=-1).sort(dim=-1, descending=True)
    n_kept = (ordered.values.cumsum(dim=-1) < top_p).sum(dim=-1, keepdim=True).clamp(max=scaled.shape[1] - 1)
    threshold = scaled.gather(1, ordered.indices.gather(1, n_kept))
    return scaled.masked_fill((scaled < threshold) & (top_p < 1), -torch.inf)


def _gumbel(seed: int, step: int, n: int) -> np.ndarray:
    """Draw the standard Gumbel noise of one step; [n] float64."""
    generator = np.random.Generator(np.random.Philox(key=seed % 2**64, counter=[0, step, 0, 0]))
    # 0 comes up once in 2**53 numbers.
    uniform = np.maximum(generator.random(n), np.finfo(np.float64).tiny)
    return -np.log(-np.log(uniform))
