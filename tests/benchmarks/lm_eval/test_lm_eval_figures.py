"""From what was measured of documents to scores and figures; calibration by hand."""

from __future__ import annotations

import math

import pytest

from benchmarks.lm_eval.task import LMEvalTask
from benchmarks.lm_eval.task_figures import calibration_of
from harness.errors import SpecError, UsageError
from harness.records import Prompt, Response


def document(i, benchmark="t", task=None, groups=()):
    meta = {"task": task or benchmark, "doc_id": i, "groups": [list(g) for g in groups]}
    cluster = str(i) if task is None else f"{task}:{i}"
    return Prompt(
        benchmark=benchmark, version="v", key=cluster, turns=(f"q{i}",), cluster=cluster, category=task, meta=meta
    )


def answer(prompt, **meta):
    return Response(prompt_id=prompt.id, benchmark=prompt.benchmark, model="m", model_id="m", meta=meta)


def failed(prompt, error):
    return Response(
        prompt_id=prompt.id, benchmark=prompt.benchmark, model="m", model_id="m", finish="error", error=error
    )


def rows_of(pairs, benchmark="t"):
    task = LMEvalTask(benchmark)
    scores = [s for prompt, response in pairs for s in task.score(prompt, response, None, [])]
    return {row.metric: row for row in task.summarize(scores, None)}, scores


def test_accuracies_are_percent_and_other_means_are_not():
    pairs = [
        (p, answer(p, values={"acc": float(i < 3), "chars": 10.0 * i})) for i, p in enumerate(map(document, range(4)))
    ]
    rows, _ = rows_of(pairs)
    assert (rows["acc"].value, rows["acc"].n) == (75.0, 4)
    assert rows["acc"].stderr == pytest.approx(25.0)
    assert rows["chars"].value == pytest.approx(15.0)


def test_probabilities_that_rounding_carries_past_one_stay_percent():
    values = [1.0000000000000002, 0.5]
    rows, scores = rows_of(
        [(p, answer(p, values={"acc": v})) for p, v in zip(map(document, range(2)), values, strict=True)]
    )
    assert rows["acc"].value == pytest.approx(75.0)
    assert max(s.value for s in scores) == 1.0


def test_a_document_without_an_answer_counts_as_not_scored_in_every_metric():
    pairs = [(p, answer(p, values={"acc": 1.0, "acc,loose": 1.0})) for p in map(document, range(3))]
    lost = document(3)
    rows, scores = rows_of([*pairs, (lost, failed(lost, "the prompt is too long"))])
    for metric in ("acc", "acc,loose"):
        assert (rows[metric].value, rows[metric].n, rows[metric].n_unscored) == (100.0, 3, 1)
        assert rows[metric].unscored == {"no_response": 1}
    assert [s.reason for s in scores if s.value is None] == ["no_response: the prompt is too long"]


def test_nothing_measured_says_why_once():
    rows, _ = rows_of(
        [(p, failed(p, "no sandbox for code the model wrote (bwrap: no)")) for p in map(document, range(2))]
    )
    assert rows["all"].value is None
    assert rows["all"].reason == "nothing was measured: no sandbox for code the model wrote (bwrap: no)"
    assert rows["all"].n_unscored == 2


GROUPS = (("g", "acc", False), ("g_a", "acc", False))


def test_a_group_s_figure_is_the_mean_over_documents_and_its_parts_have_rows():
    pairs = [(p, answer(p, values={"acc": 1.0})) for p in (document(i, "g", "one", GROUPS) for i in range(3))]
    other = (("g", "acc", False), ("g_b", "acc", False))
    pairs += [(p, answer(p, values={"acc": 0.0})) for p in (document(i, "g", "two", other) for i in range(1))]
    rows, _ = rows_of(pairs, "g")
    assert {m: r.value for m, r in rows.items()} == {"acc": 75.0, "acc_g_a": 100.0, "acc_g_b": 0.0}
    assert rows["acc"].n_clusters == 4


def test_a_group_whose_tasks_count_the_same():
    def pairs(task, values):
        documents = [document(i, "g", task, (("g", "acc", True),)) for i in range(len(values))]
        return [(p, answer(p, values={"acc": v})) for p, v in zip(documents, values, strict=True)]

    rows, scores = rows_of([*pairs("one", [1, 1, 1, 0]), *pairs("two", [0, 1])], "g")
    assert rows["acc"].value == pytest.approx((75.0 + 50.0) / 2)
    # Standard errors of the two means: 25 and 50; of the mean of the means sqrt(25^2 + 50^2) / 2.
    assert rows["acc"].stderr == pytest.approx(math.hypot(25.0, 50.0) / 2)
    assert LMEvalTask("g").items("acc", scores) is None


def test_perplexities_are_put_together_from_loglikelihoods():
    """exp(-(-6 - 4) / (3 + 2)) = e^2; bits: 10 / (12 + 8) / ln 2."""
    given = [([-6.0, 3.0], [-6.0, 12.0], -6.0), ([-4.0, 2.0], [-4.0, 8.0], -4.0)]
    pairs = []
    for i, (words, size, single) in enumerate(given):
        p = document(i)
        kept = {"word_perplexity": words, "bits_per_byte": size, "perplexity": [single, 1.0]}
        pairs.append((p, answer(p, log_likelihoods=kept)))
    rows, _ = rows_of(pairs)
    assert rows["word_perplexity"].value == pytest.approx(math.exp(2.0))
    assert rows["bits_per_byte"].value == pytest.approx(0.5 / math.log(2))
    assert rows["perplexity"].value == pytest.approx(math.exp(5.0))
    assert rows["word_perplexity"].ci_low <= rows["word_perplexity"].value <= rows["word_perplexity"].ci_high


def test_a_figure_of_all_documents_at_once_is_a_reason():
    pairs = [(p, answer(p, values={"acc": 1.0}, not_kept={"f1": "f1_score"})) for p in map(document, range(2))]
    rows, _ = rows_of(pairs)
    assert rows["acc"].value == 100.0
    assert "f1_score" in rows["f1"].reason


def calibrated(logprobs, gold, n_characters=None, i=0):
    p = document(i)
    choices = {"logprobs": logprobs, "gold": gold} | ({"n_characters": n_characters} if n_characters else {})
    return p, answer(p, values={"acc": 1.0}, choices=choices)


def test_calibration_by_hand():
    """Probabilities 0.8 and 0.2: Brier 0.2^2 + 0.2^2 = 0.08 where right, 0.8^2 + 0.8^2 = 1.28 where wrong."""
    logprobs = [math.log(0.4), math.log(0.1)]  # normalised over the choices
    pairs = [calibrated(logprobs, gold, i=i) for i, gold in enumerate([0, 0, 0, 1])]
    rows, scores = rows_of(pairs)
    assert rows["brier"].value == pytest.approx((3 * 0.08 + 1.28) / 4)
    assert rows["ece"].value == pytest.approx(abs(0.75 - 0.8))
    diagram = calibration_of(scores)
    assert [(b.n, b.confidence, b.accuracy) for b in diagram.bins] == [(4, pytest.approx(0.8), 0.75)]


def test_length_normalised_calibration_by_hand():
    """Two logits apart over 4 and 2 characters: -4/4 against -2/2 are equal, so the probability is 1/2 each."""
    rows, scores = rows_of([calibrated([-4.0, -2.0], 0, [4, 2], i) for i in range(2)])
    assert rows["brier_norm"].value == pytest.approx(0.5)
    assert calibration_of(scores, "_norm").bins[0].confidence == pytest.approx(0.5)
    assert rows["brier"].value == pytest.approx(2 * (1 / (1 + math.exp(-2.0))) ** 2)


def test_questions_with_several_right_choices_have_no_calibration():
    p = document(0)
    rows, _ = rows_of([(p, answer(p, values={"acc": 0.7}, choices={"logprobs": [-1.0, -2.0]}))])
    assert set(rows) == {"acc"}


def test_what_was_cut_is_in_the_method():
    pairs = [(p, answer(p, values={"acc": 1.0}, n_cut=7, max_tokens=128)) for p in map(document, range(2))]
    rows, _ = rows_of(pairs)
    assert "2 prompts longer than the model's context" in rows["acc"].method
    assert "at most 128 new tokens" in rows["acc"].method


def test_options_are_checked():
    with pytest.raises(SpecError, match="did you mean 'num_fewshot'"):
        LMEvalTask("gsm8k").with_options({"num_fewshots": 3})
    with pytest.raises(SpecError, match="num_fewshot"):
        LMEvalTask("gsm8k").with_options({"num_fewshot": -1})
    with pytest.raises(UsageError, match="lm_eval needs a task"):
        LMEvalTask.of_version(None)
