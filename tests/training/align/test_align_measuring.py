"""Measures of a variant by hand: every one a value or a reason, none a guess."""

from __future__ import annotations

import math

import pytest

from harness.stats.diversity import distinct_n, self_bleu, words
from harness.store.align_directory import MEASURES, Sample, SampleReward
from training.align.divergence import LogRatio
from training.align.measuring import Answers, measure, prompt_means, shared_values

TEXTS = {("p", 0): "a b", ("p", 1): "a c d", ("q", 0): "e", ("q", 1): "e f"}


def answers(rewards, gold=None, ratios="not measured", cut=()):
    samples = {
        key: Sample(
            prompt_key=key[0],
            prompt=[{"role": "user", "content": key[0]}],
            sample=key[1],
            temperature=1.0,
            response=text,
            finish="length" if key in cut else "stop",
            n_tokens=len(text.split()) + 1,
            n_chars=len(text),
        )
        for key, text in TEXTS.items()
    }
    given = dict(zip(TEXTS, rewards, strict=True))
    truth = dict(zip(TEXTS, gold or [None] * 4, strict=True))
    scores = {k: SampleReward(prompt_key=k[0], sample=k[1], reward=given[k], gold=truth[k]) for k in TEXTS}
    return Answers(samples, scores, ratios)


def measured(own, sft=None, previous=None, gold=None):
    return measure(own, sft, previous, ranker="the ranker", vocabulary=1000, gold=gold)


def test_by_hand():
    own = answers([1.0, 3.0, 2.0, 6.0], cut=[("q", 1)])
    figures, cells = measured(own, answers([2.0, 2.0, 2.0, 2.0]), answers([0.0, 3.0, 9.0, 9.0]))
    assert figures["reward"].value == 3.0 and figures["reward"].n == 2 and figures["reward"].by == "the ranker"
    assert figures["reward_sd"].value == pytest.approx(math.sqrt((4 + 0 + 1 + 9) / 3))
    assert figures["win_rate_vs_sft"].value == pytest.approx(100 * (0 + 1 + 0.5 + 1) / 4)
    assert figures["win_rate_vs_previous"].value == pytest.approx(100 * (1 + 0.5 + 0 + 0) / 4)
    assert figures["length_chars"].value == pytest.approx((3 + 5 + 1 + 3) / 4)
    assert figures["length_tokens"].value == pytest.approx((3 + 4 + 2 + 3) / 4)
    assert figures["length_limited"].value == 25.0
    of_prompts = [[words("a b"), words("a c d")], [words("e"), words("e f")]]
    assert figures["distinct_1"].value == pytest.approx(sum(distinct_n(t) for t in of_prompts) / 2)
    assert figures["distinct_2"].value == 1.0
    assert figures["self_bleu"].value == pytest.approx(sum(self_bleu(t) for t in of_prompts) / 2)
    # two answers a prompt, the longer one the better: each prompt's correlation is 1
    assert figures["reward_length_pearson"].value == 1.0
    assert [(c.low, c.high, c.n_prompts, c.pearson) for c in cells] == [(2, 2, 1, 1.0), (4, 4, 1, 1.0)]


def test_every_measure_is_there_with_a_value_or_a_reason():
    for own in (answers([1.0, 3.0, 2.0, 6.0]), answers([None] * 4), Answers()):
        figures, _ = measured(own, gold="gold")
        assert set(figures) >= set(MEASURES)
        assert all((f.value is None) != (f.reason is None) for f in figures.values())
    assert figures["reward"].reason and figures["length_chars"].reason


def test_gold_decides_who_wins_where_it_is_known():
    own, other = answers([1.0] * 4, [1, 1, 0, 0]), answers([9.0] * 4, [0, 0, 0, 1])
    figures, _ = measured(own, other, other, gold="gold")
    assert figures["win_rate_vs_sft"].value == pytest.approx(100 * (1 + 1 + 0.5 + 0) / 4)
    assert figures["win_rate_vs_sft"].by == "gold" and figures["gold"].value == 0.5


def test_divergence_by_hand():
    ratios = {key: LogRatio(value, n) for key, value, n in zip(TEXTS, (1.0, 2.0, 3.0, 6.0), (2, 4, 2, 4), strict=True)}
    figures, _ = measured(answers([1.0] * 4, ratios=ratios))
    assert figures["kl_per_response"].value == 3.0
    assert figures["kl_per_token"].value == pytest.approx(12 / 12)
    # linearised over prompts: residuals 1 - 2, 2 - 4 and 3 - 2, 6 - 4 about a rate of 1 token for 1 nat, mean size 3
    per_prompt = [((1 - 2) + (2 - 4)) / 3, ((3 - 2) + (6 - 4)) / 3]
    expected = math.sqrt(2 / (2 - 1) * sum(x**2 for x in per_prompt)) / 4
    assert figures["kl_per_token"].stderr == pytest.approx(expected)
    half = {key: ratios[key] for key in [("p", 0), ("q", 1)]}
    figures, _ = measured(answers([1.0] * 4, ratios=half))
    assert figures["kl_per_response"].value == 3.5 and "2 of 4 answers" in figures["kl_per_response"].by
    figures, _ = measured(answers([1.0] * 4, ratios={("p", 0): ratios["p", 0]}))
    assert "1 of 4 answers have" in figures["kl_per_response"].reason
    figures, _ = measured(answers([1.0] * 4, ratios="the weights are behind an endpoint"))
    assert figures["kl_per_token"].reason == "the weights are behind an endpoint"


def test_one_answer_a_prompt_has_no_diversity():
    own = answers([1.0, 2.0, 3.0, 4.0])
    for key in [("p", 1), ("q", 1)]:
        del own.samples[key], own.rewards[key]
    figures, _ = measured(own)
    for name in ("distinct_1", "distinct_2", "expectation_adjusted_distinct", "self_bleu"):
        assert "two or more" in figures[name].reason
    assert figures["reward_length_pearson"].reason


def test_without_sentence_transformers_that_is_the_reason(monkeypatch):
    monkeypatch.setattr("training.align.measuring.find_spec", lambda name: None)
    figures, _ = measured(answers([1.0] * 4))
    assert figures["embedding_diversity"].reason == "sentence-transformers is not installed"


def test_embeddings_are_compared_within_prompts(monkeypatch):
    class Embedder:
        def encode(self, texts, show_progress_bar):
            return [[1.0, 0.0] if text in ("a b", "e", "e f") else [0.0, 1.0] for text in texts]

    monkeypatch.setattr("training.align.measuring.find_spec", lambda name: object())
    monkeypatch.setattr("training.align.measuring._embedder", Embedder)
    figures, _ = measured(answers([1.0] * 4))
    assert figures["embedding_diversity"].value == pytest.approx((1.0 + 0.0) / 2)


def test_means_by_prompt_of_the_prompts_both_have():
    first = {("p", 0): 1.0, ("p", 1): 3.0, ("q", 0): 5.0}
    second = {("p", 0): 0.0, ("r", 0): 7.0}
    assert prompt_means(first) == {"p": 2.0, "q": 5.0}
    assert shared_values(prompt_means(first), prompt_means(second)) == [[2.0], [0.0]]
