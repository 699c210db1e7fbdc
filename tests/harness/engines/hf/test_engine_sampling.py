"""Token choice: by hand, against scipy, and unmoved by neighbours and rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from harness.engines.hf.token_sampling import choose_tokens
from harness.messages import Sampling

LOGITS = torch.tensor([0.5, 0.2, 0.2, 0.1]).log()
N = 20_000


def draws(logits: torch.Tensor, n: int = N, **sampling: float) -> list[int]:
    """Draw n times, each with a seed of its own."""
    samplings = [Sampling(**{"temperature": 1.0, **sampling}, seed=seed) for seed in range(n)]
    return choose_tokens(logits.repeat(n, 1), samplings, [0] * n).token_ids


def check_frequencies(chosen: list[int], expected: np.ndarray) -> None:
    counts = np.bincount(chosen, minlength=len(expected))
    assert counts[expected == 0].sum() == 0
    kept = expected > 0
    if kept.sum() > 1:
        assert stats.chisquare(counts[kept], expected[kept] * len(chosen)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({}, [0.5, 0.2, 0.2, 0.1]),
        # T = 0.5 squares the odds: 25, 4, 4, 1 of 34.
        ({"temperature": 0.5}, [25 / 34, 4 / 34, 4 / 34, 1 / 34]),
        ({"temperature": 1e-6}, [1, 0, 0, 0]),
        # 0.45 is reached by the first token; 0.6 needs one of the tied 0.2 and so keeps both.
        ({"top_p": 0.45}, [1, 0, 0, 0]),
        ({"top_p": 0.6}, [5 / 9, 2 / 9, 2 / 9, 0]),
        ({"top_p": 0.95}, [0.5, 0.2, 0.2, 0.1]),
        ({"top_p": 1e-9}, [1, 0, 0, 0]),
    ],
)
def test_frequencies_by_hand(sampling, expected):
    check_frequencies(draws(LOGITS, **sampling), np.array(expected))


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_frequencies_over_several_blocks_agree_with_scipy(top_p):
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(size=300) * 3)  # three blocks of tokens
    p = np.exp(logits.numpy() / 0.8)
    p /= p.sum()
    order = np.argsort(-p)
    kept = order[: int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1] if top_p < 1 else order
    expected = np.zeros(300)
    expected[kept] = p[kept] / p[kept].sum()
    chosen = draws(logits, temperature=0.8, top_p=top_p)
    assert set(chosen) <= set(kept.tolist())
    # Rare tokens together, so that every expected count is large enough for the test.
    common = np.flatnonzero(expected > 5e-4)
    grouped = [*expected[common], 1 - expected[common].sum()]
    position = {token: i for i, token in enumerate(common.tolist())}
    check_frequencies([position.get(token, len(common)) for token in chosen], np.array(grouped))


def test_greedy_takes_the_first_of_equals():
    assert choose_tokens(torch.tensor([[1.0, 3.0, 3.0]]), [Sampling()], [0]).token_ids == [1]


def test_a_row_is_chosen_as_if_it_were_alone():
    rng = np.random.default_rng(3)
    logits = torch.tensor(rng.normal(size=(30, 200)) * 2)
    kinds = (Sampling(), Sampling(1.0, seed=1), Sampling(1.0, 0.5, seed=2), Sampling(0.5, seed=3))
    samplings = [kinds[row % 4] for row in range(30)]
    steps = list(range(30))
    together = choose_tokens(logits, samplings, steps).token_ids
    alone = [choose_tokens(logits[[r]], [samplings[r]], [steps[r]]).token_ids[0] for r in range(30)]
    assert together == alone
    assert len(set(together)) > 5


def test_rounding_moves_no_sample():
    """Logits of a large vocabulary, moved by what batches of different shape round differently."""
    rng = np.random.default_rng(1)
    base = torch.tensor(rng.normal(size=(500, 5000)) * 2, dtype=torch.float32)
    noisy = base + torch.tensor(rng.normal(size=base.shape) * 1e-6, dtype=torch.float32)
    for top_p in (1.0, 0.9):
        samplings = [Sampling(1.0, top_p, seed=seed) for seed in range(500)]
        steps = [7] * 500
        # About one in a million may change; in 500 draws one has a probability of 5e-4, two of 1e-7.
        moved = np.not_equal(
            choose_tokens(base, samplings, steps).token_ids, choose_tokens(noisy, samplings, steps).token_ids
        ).sum()
        assert moved <= 1


def test_not_a_number_is_told():
    logits = torch.stack([LOGITS, torch.full((4,), torch.nan), torch.tensor([0.0, torch.inf, 0.0, 0.0])])
    for sampling in (Sampling(), Sampling(1.0, 0.9)):
        assert choose_tokens(logits, [sampling] * 3, [0] * 3).valid == [True, False, False]


def test_a_banned_token_is_never_chosen():
    banned = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0])
    check_frequencies(draws(banned, n=2000), np.array([0, 0.5, 0, 0.5]))


def test_noise_is_a_function_of_seed_and_step():
    logits = torch.zeros(1, 1000)

    def chosen(seed: int, step: int) -> int:
        return choose_tokens(logits, [Sampling(1.0, seed=seed)], [step]).token_ids[0]

    assert chosen(7, 3) == chosen(7, 3)
    assert chosen(-1, 0) == chosen(2**64 - 1, 0)
    assert len({chosen(7, step) for step in range(50)}) > 40
    assert len({chosen(seed, 0) for seed in range(50)}) > 40


def test_steps_and_neighbouring_seeds_are_independent():
    logits = torch.zeros(1500, 64)
    first, second = (
        choose_tokens(logits, [Sampling(1.0, seed=seed) for seed in range(1500)], [step] * 1500).token_ids
        for step in (0, 1)
    )
    for pair in ((first, second), (first[:-1], first[1:]), (first[:-1], second[1:])):
        assert stats.spearmanr(*pair).pvalue > 1e-3
