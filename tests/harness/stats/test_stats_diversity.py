"""Diversity of answers: by hand, against sacrebleu and brute force, and what random text of a vocabulary expects."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
import sacrebleu

from harness.errors import StatisticsError
from harness.stats.diversity import cosine_diversity, distinct_n, expectation_adjusted_distinct, self_bleu, words


def test_words_and_marks_without_case():
    assert words("The cat's, the CAT!") == ["the", "cat", "'", "s", ",", "the", "cat", "!"]
    assert words(" \n ") == []


def test_distinct_by_hand():
    texts = [words("a b a b"), words("a b c")]
    # words: a b a b a b c, three distinct of seven; pairs: ab ba ab, ab bc, three distinct of five
    assert distinct_n(texts, 1) == pytest.approx(3 / 7)
    assert distinct_n(texts, 2) == pytest.approx(3 / 5)
    assert distinct_n([["a", "b"], ["c"]], 2) == 1.0  # pairs do not reach from one text into the next


@pytest.mark.parametrize("n", [1, 2, 3])
def test_distinct_is_what_counting_gives(n):
    rng = np.random.default_rng(n)
    texts = [[str(w) for w in rng.integers(0, 5, size)] for size in rng.integers(0, 12, 30)]
    grams = [tuple(pair) for text in texts for pair in zip(*(text[i:] for i in range(n)), strict=False)]
    assert distinct_n(texts, n) == pytest.approx(len(set(grams)) / len(grams))


def test_expectation_adjusted_by_hand():
    # V = 2, C = 2: two words drawn evenly from two are 2 (1 - 1/4) = 1.5 distinct ones on average
    assert expectation_adjusted_distinct([["a", "b"]], 2) == pytest.approx(2 / 1.5)
    assert expectation_adjusted_distinct([["a"], ["a"]], 2) == pytest.approx(1 / 1.5)
    assert expectation_adjusted_distinct([["a", "a", "a"]], 1) == 1.0


def test_random_text_of_any_length_expects_one_where_plain_distinct_falls():
    rng, vocabulary = np.random.default_rng(3), 50
    means = []
    for length in (10, 100, 400):
        drawn = [[[str(w) for w in rng.integers(0, vocabulary, length)]] for _ in range(400)]
        values = [expectation_adjusted_distinct(texts, vocabulary) for texts in drawn]
        means.append(float(np.mean([distinct_n(texts) for texts in drawn])))
        assert np.mean(values) == pytest.approx(1.0, abs=4 * np.std(values) / math.sqrt(len(values)) + 1e-12)
    assert means[0] > 2 * means[1] > 4 * means[2]


def test_expectation_adjusted_of_a_huge_vocabulary_keeps_its_digits():
    # every word is new to a vocabulary much larger than the text: C (1 - (C - 1) / 2V) distinct ones are expected
    texts = [[str(i) for i in range(1000)]]
    assert expectation_adjusted_distinct(texts, 10**12) == pytest.approx(1 + 999 / (2 * 10**12), rel=1e-13)


def test_self_bleu_of_equal_and_of_unlike_texts():
    same = words("one two three four five six")
    assert self_bleu([same, same, same]) == pytest.approx(1.0)
    assert self_bleu([["a", "b"], ["c", "d"]]) == 0.0


def test_self_bleu_by_hand():
    # "a b c" against "a b d e": words 2 of 3, pairs (1 + 1) of (2 + 1), and it is shorter by one: exp(1 - 4/3).
    # "a b d e" against "a b c": words 2 of 4, pairs (1 + 1) of (3 + 1), longer: no penalty.
    first = math.sqrt(2 / 3 * 2 / 3) * math.exp(1 - 4 / 3)
    second = math.sqrt(2 / 4 * 2 / 4)
    assert self_bleu([["a", "b", "c"], ["a", "b", "d", "e"]], max_n=2) == pytest.approx((first + second) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_self_bleu_is_sacrebleus(seed):
    rng = np.random.default_rng(seed)
    texts = [[f"w{w}" for w in rng.integers(0, 6, size)] for size in rng.integers(4, 25, 7)]
    bleu = sacrebleu.BLEU(smooth_method="add-k", smooth_value=1, tokenize="none", effective_order=True)
    joined = [" ".join(text) for text in texts]
    expected = [bleu.sentence_score(own, joined[:i] + joined[i + 1 :]).score / 100 for i, own in enumerate(joined)]
    assert self_bleu(texts) == pytest.approx(np.mean(expected), abs=1e-9)


def test_more_varied_text_has_lower_self_bleu():
    rng = np.random.default_rng(0)
    found = [self_bleu([[str(w) for w in rng.integers(0, v, 20)] for _ in range(6)]) for v in (2, 8, 64)]
    assert found == sorted(found, reverse=True)


def test_cosine_diversity_by_hand_and_by_pairs():
    assert cosine_diversity([[1, 0], [0, 1]]) == pytest.approx(1.0)
    assert cosine_diversity([[1, 0], [5, 0]]) == pytest.approx(0.0)
    assert cosine_diversity([[1, 0], [-2, 0]]) == pytest.approx(2.0)
    vectors = np.random.default_rng(1).normal(size=(9, 5))
    apart = [1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(vectors, 2)]
    assert cosine_diversity(vectors) == pytest.approx(np.mean(apart))


def test_the_order_of_texts_does_not_matter():
    texts = [words(t) for t in ("a b c", "a c b d", "b b", "c a b d e f")]
    for measure in (distinct_n, self_bleu, lambda t: expectation_adjusted_distinct(t, 40)):
        assert measure(texts) == pytest.approx(measure(texts[::-1]))


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (lambda: distinct_n([["a"], []], 2), "no text has 2 words"),
        (lambda: expectation_adjusted_distinct([[]], 10), "no words"),
        (lambda: expectation_adjusted_distinct([["a", "b"]], 1), "vocabulary of 1"),
        (lambda: self_bleu([["a"], []]), "1 texts"),
        (lambda: cosine_diversity([[1.0, 2.0]]), "fewer than two"),
        (lambda: cosine_diversity([[1.0], [0.0]]), "zero or not finite"),
        (lambda: cosine_diversity([[1.0], [math.nan]]), "zero or not finite"),
    ],
)
def test_what_cannot_be_measured_is_said(measure, said):
    with pytest.raises(StatisticsError, match=said):
        measure()


def test_shorter_sets_of_the_same_words_are_as_diverse_after_adjustment():
    text = [str(i % 10) for i in range(200)]
    halves = [expectation_adjusted_distinct([part], 10) for part in (text[:100], text)]
    assert all(a >= b for a, b in pairwise(halves))
    assert halves[0] == pytest.approx(halves[1], abs=1e-3)
