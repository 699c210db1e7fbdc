"""Figures without a judge: by hand, and against the packages that define them."""

from __future__ import annotations

import random
import string

import pytest

from benchmarks.own_prompts.answer_metrics import PythonMetric, best, checked_metric
from harness.errors import SpecError


@pytest.mark.parametrize(
    ("metric", "answer", "reference", "value"),
    [
        ("exact_match", " The  Answer. ", "the answer", 1.0),
        ("exact_match", '"Ｐaris"', "paris", 1.0),  # full-width letter
        ("exact_match", "**42**", "42", 1.0),
        ("exact_match", "42 km", "42", 0.0),
        ("exact_match", "STRASSE", "Straße", 1.0),
        ("contains", "It is  PARIS, of course", "paris", 1.0),
        ("contains", "It is Rome", "paris", 0.0),
        ("regex", "order A-17 shipped", r"A-\d+", 1.0),
        ("regex", "order A17", r"A-\d+", 0.0),
        ("f1", "the cat sat on the mat", "a cat sat", 2 * 2 / (4 + 2)),  # cat sat on mat | cat sat
        ("f1", "", "", 1.0),
        ("f1", "the", "cat", 0.0),
        ("rouge_l", "the cat was sat", "the cat sat", 2 * (3 / 4) * 1 / (3 / 4 + 1)),
        ("rouge_l", "dog", "the cat sat", 0.0),
    ],
)
def test_by_hand(metric, answer, reference, value):
    assert best(metric, answer, (reference,)) == pytest.approx(value)


def test_the_best_reference_counts():
    assert best("f1", "cat sat", ("dog", "cat sat", "cat")) == 1.0


def texts(rng):
    words = ["a", "the", "cat", "sat", "On", "mat.", "it's", "dog", "42", "é"]
    return " ".join(rng.choices(words, k=rng.randrange(0, 12)))


def squad_f1(prediction, gold):
    """The SQuAD 2.0 evaluation script's, written out."""
    import collections
    import re

    def tokens(text):
        text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split()).split()

    gold_toks, pred_toks = tokens(gold), tokens(prediction)
    num_same = sum((collections.Counter(gold_toks) & collections.Counter(pred_toks)).values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision, recall = 1.0 * num_same / len(pred_toks), 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def test_f1_is_that_of_squads_script():
    rng = random.Random(1)
    for _ in range(500):
        answer, reference = texts(rng), texts(rng)
        assert best("f1", answer, (reference,)) == pytest.approx(squad_f1(answer, reference))


def longest_common(first, second):
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def test_rouge_l_is_that_of_the_package_and_of_its_definition():
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    rng = random.Random(2)
    for _ in range(300):
        answer, references = texts(rng), (texts(rng), texts(rng))
        found = best("rouge_l", answer, references)
        assert found == pytest.approx(scorer.score_multi(references, answer)["rougeL"].fmeasure)
    first, second = ["the", "cat", "sat", "on", "the", "mat"], ["on", "the", "mat", "sat", "the", "cat"]
    common = longest_common(first, second)
    assert best("rouge_l", " ".join(first), (" ".join(second),)) == pytest.approx(
        2 * common / (len(first) + len(second))
    )


def test_unknown_metrics():
    with pytest.raises(SpecError, match=r"did you mean 'exact_match'"):
        checked_metric("exactmatch")
    for name in ("python:", "python:a", "python:a:", "python:a:b:c"):
        with pytest.raises(SpecError, match="python:MODULE:FUNCTION"):
            checked_metric(name)


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="own_figures"):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
        __import__("importlib").invalidate_caches()
        return f"python:{name}:good"

    return write


def test_a_python_metric_sees_prompt_answer_and_reference(module):
    metric = PythonMetric.load(
        module(
            "def good(prompt, answer, reference):\n    return [prompt, answer, reference] == X\nX = ['p', 'a', None]\n"
        )
    )
    assert metric.measure("p", "a", None)["value"] == 1.0
    assert metric.measure("p", "a", ("r",))["value"] == 0.0
    metric = PythonMetric.load(module("def good(p, a, r):\n    return len(r)\n", "own_lengths"))
    assert [metric.measure("", "", r)["value"] for r in (("abc",), ("a", "b"))] == [3.0, 2.0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("return 'good'", "it returned 'good', not a finite number"),
        ("return None", "it returned None"),
        ("return float('nan')", "it returned nan"),
        ("return 1/0", "ZeroDivisionError"),
    ],
)
def test_what_the_users_code_does_wrong_is_the_items_reason(module, body, words):
    metric = PythonMetric.load(module(f"def good(p, a, r):\n    {body}\n", f"own_{abs(hash(body))}"))
    found = metric.measure("p", "a", None)
    assert words in found["error"]
    assert "value" not in found


@pytest.mark.parametrize("text", ["import nothing_of_this_name", "def bad(): pass", "good = 3", "def good(:"])
def test_what_cannot_be_imported(module, text):
    with pytest.raises(SpecError, match="metric python:"):
        PythonMetric.load(module(text, f"own_{abs(hash(text))}"))


def test_another_source_is_another_code(module, tmp_path):
    first = PythonMetric.load(module("def good(p, a, r):\n    return 1\n", "own_a"))
    second = PythonMetric.load(module("def good(p, a, r):\n    return 2\n", "own_b"))
    assert first.code != second.code
