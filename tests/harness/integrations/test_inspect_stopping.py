"""The early stopping manager inside inspect-ai's own eval, with its mock model."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest

from harness.errors import MissingDataError
from harness.gate.policy import make_policy
from harness.gate.testing import Claim
from harness.integrations.inspect_stopping import GateStopping
from harness.integrations.watched_rule import Bounds, anytime_p_values
from harness.stats.confidence_sequence import Scale
from tests.support.gate_runs import write_run

inspect_ai = pytest.importorskip("inspect_ai")

N = 120
KEEP = {"keep": {"benchmark": "quiz", "metric": "match", "margin": 0.1}}


def policy(*rules, **more):
    return make_policy({"rules": list(rules), "min_n": 20, **more}, name="test")


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Evaluate a mock model that answers a set of questions wrongly; how many are asked is counted."""
    from inspect_ai import Task
    from inspect_ai import eval as inspect_eval
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.scorer import match

    monkeypatch.chdir(tmp_path)

    def run(wrong=(), stopping=None, name="quiz", n=N, fail_on=(), epochs=1, ids="q{}", **options):
        asked = []

        def answer(messages, *_):
            number = int(messages[-1].text)
            asked.append(number)
            if number in fail_on:
                raise ValueError("the endpoint failed")
            output = ModelOutput.from_content("mock", "no" if number in wrong else "yes")
            output.usage = ModelUsage(input_tokens=1, output_tokens=1)  # else a tokenizer is downloaded to count them
            return output

        samples = [Sample(id=ids.format(i), input=str(i), target="yes") for i in range(n)]
        task = Task(dataset=MemoryDataset(samples), scorer=match(), name=name, early_stopping=stopping)
        model = get_model("mockllm/model", custom_outputs=answer, memoize=False)
        given = {"sample_shuffle": 7, "log_dir": str(tmp_path / name), "display": "none", "epochs": epochs, **options}
        (log,) = inspect_eval(task, model, **given)
        return log, asked

    return run


def test_a_worse_candidate_is_stopped(evaluate):
    rng = random.Random(1)
    base, _ = evaluate(wrong=set(rng.sample(range(N), 24)))
    stopping = GateStopping(policy(KEEP), base.location)
    log, asked = evaluate(wrong=set(rng.sample(range(N), 84)), stopping=stopping, name="quiz")
    assert log.status == "success"
    summary = log.results.early_stopping
    assert summary.manager == "assay gate: test"
    assert summary.metadata["decision"] == "fail"
    assert 20 <= summary.metadata["stopped_after"] < N
    assert len(asked) < N
    assert len(asked) + len(summary.early_stops) == N
    assert (
        f"the gate's decision is fail after {summary.metadata['stopped_after']} of 120 samples"
        in summary.early_stops[0].reason
    )
    (rule,) = summary.metadata["rules"]
    assert rule["p_fail"] <= 0.05 < rule["p_pass"]
    assert summary.metadata["order"] == "shuffled by Inspect"


def test_an_equal_candidate_passes_early(evaluate):
    wrong = set(range(0, N, 4))
    base, _ = evaluate(wrong=wrong)
    log, asked = evaluate(wrong=wrong, stopping=GateStopping(policy(KEEP), base.location))
    assert log.results.early_stopping.metadata["decision"] == "pass"
    assert len(asked) < N


def test_the_baseline_may_be_a_run(evaluate, tmp_path):
    """Its prompts' keys are the sample ids, and its scores are shares as Inspect's are."""
    shares = [0.0 if i % 4 == 0 else 1.0 for i in range(N)]
    path = write_run(tmp_path / "run", "base", alpaca_eval=shares)
    rule = {"keep": {"benchmark": "alpaca_eval", "metric": "match", "margin": 0.1}}
    names = {"match": "win_rate"}

    def decision(wrong):
        stopping = GateStopping(policy(rule), path, baseline_metrics=names)
        log, _ = evaluate(wrong=wrong, name="alpaca_eval", stopping=stopping, ids="k{}")
        return log.results.early_stopping.metadata

    same, worse = decision(set(range(0, N, 4))), decision(set(range(0, N, 2)))
    assert (same["decision"], worse["decision"]) == ("pass", "fail")
    assert same["rules"][0]["effect"] == 0.0
    stopping = GateStopping(policy(rule), path)
    log, _ = evaluate(name="alpaca_eval", stopping=stopping, ids="k{}")
    assert "has no values of alpaca_eval match" in log.error.message
    assert "win_rate" in log.error.message


def test_a_limit_needs_no_baseline(evaluate):
    limit = {"limit": {"benchmark": "quiz", "metric": "match", "at_least": 0.5}}
    log, asked = evaluate(wrong=set(range(0, N, 20)), stopping=GateStopping(policy(limit)))
    assert log.results.early_stopping.metadata["decision"] == "pass"
    assert len(asked) < 100
    log, asked = evaluate(wrong=set(range(0, N, 2)), stopping=GateStopping(policy(limit)))
    assert log.results.early_stopping.metadata["decision"] == "undecided"  # half is right: the limit itself
    assert len(asked) == N


def test_failed_samples_count_as_the_worst_case(evaluate):
    limit = {"limit": {"benchmark": "quiz", "metric": "match", "at_least": 0.9}}
    found = []
    for fail_on in ((), range(0, N, 3)):
        stopping = GateStopping(policy(limit, min_n=50))
        log, _ = evaluate(stopping=stopping, fail_on=set(fail_on), fail_on_error=False)
        found.append(log.results.early_stopping.metadata["decision"])
    assert found == ["pass", "undecided"]


def test_epochs_are_averaged(evaluate):
    base, _ = evaluate(n=60, epochs=2)
    log, asked = evaluate(n=60, epochs=2, stopping=GateStopping(policy(KEEP), base.location), max_samples=1)
    metadata = log.results.early_stopping.metadata
    assert metadata["decision"] == "pass"
    assert metadata["stopped_after"] < N
    assert 60 < len(asked) < 120  # the first epoch is complete before a sample has both


@pytest.mark.parametrize(
    ("options", "arguments", "words"),
    [
        ({"sample_shuffle": None}, {}, "the samples are in the order of the data set"),
        ({"n": N + 1}, {}, "has no match of 1 of 121 samples, for example q120"),
        ({"name": "other"}, {}, "no rule of test is about the task other"),
        ({}, {"baseline_metrics": {"match": "exact"}}, "has no values of exact"),
        ({}, {"policy": policy({"keep": {**KEEP["keep"], "metric": "includes"}})}, "no scorer includes"),
        ({}, {"policy": policy({"keep": {**KEEP["keep"], "margin": "10%"}})}, "has a relative margin"),
        ({}, {"policy": policy({"any": [KEEP]})}, "has a group"),
    ],
)
def test_what_cannot_be_decided_is_refused_before_anything_is_asked(evaluate, options, arguments, words):
    base, _ = evaluate(name="base")
    given = {"policy": policy(KEEP), **arguments}
    log, asked = evaluate(stopping=GateStopping(baseline=base.location, **given), **options)
    assert (log.status, asked) == ("error", [])
    assert words in " ".join(log.error.message.split())


def test_an_unshuffled_data_set_may_be_said_to_be_random(evaluate):
    base, _ = evaluate()
    stopping = GateStopping(policy(KEEP), base.location, in_random_order=True)
    log, _ = evaluate(stopping=stopping, sample_shuffle=None)
    assert log.results.early_stopping.metadata["order"] == "the data set's own, said to be random"


def test_missing_baselines_and_packages_are_named(tmp_path, monkeypatch, evaluate):
    (tmp_path / "x.eval").write_text("no log")
    for path, words in ((tmp_path / "y.eval", "no such baseline"), (tmp_path / "x.eval", "cannot be read")):
        log, asked = evaluate(stopping=GateStopping(policy(KEEP), path))
        assert (log.status, asked) == ("error", [])
        assert words in log.error.message
    log, _ = evaluate(stopping=GateStopping(policy(KEEP)))
    assert "there is none" in log.error.message
    monkeypatch.setitem(sys.modules, "inspect_ai.util", None)
    with pytest.raises(MissingDataError, match=r"inspect-ai is not installed"):
        GateStopping(policy(KEEP), "base.eval")


def test_no_more_than_alpha_pass_wrongly_though_hard_samples_are_slow():
    """At the threshold, with lossy samples unknown at each look but the last: 1,000 sequences, 2 looks each."""
    rng = np.random.default_rng(5)
    claims, scale = [Claim(1.0, -0.1)], Scale(-1.0, 1.0)
    n_wrong = 0
    for _ in range(1000):
        differences = rng.choice([-1.0, 0.0, 1.0], p=[0.2, 0.7, 0.1], size=150)
        slow = (differences < 0) & (rng.random(150) < 0.9)
        bounds = [Bounds(np.where(slow, -1.0, differences), np.where(slow, 1.0, differences))]
        bounds.append(Bounds(differences, differences))
        n_wrong += any(anytime_p_values(found, claims, scale)[0] <= 0.05 for found in bounds)
    assert n_wrong / 1000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)
    assert n_wrong > 0


def test_unknown_values_only_delay():
    """By hand: the p-value of a sequence with unknown values is that with the least value, and never smaller."""
    rng = np.random.default_rng(2)
    values = rng.choice([0.0, 1.0], p=[0.2, 0.8], size=80)
    unknown = rng.random(80) < 0.2
    claims, scale = [Claim(1.0, 0.3)], Scale(-1.0, 1.0)
    known = anytime_p_values(Bounds(values, values), claims, scale)[0]
    low = np.where(unknown, -1.0, values)
    partly = anytime_p_values(Bounds(low, np.where(unknown, 1.0, values)), claims, scale)[0]
    assert partly == anytime_p_values(Bounds(low, low), claims, scale)[0]
    assert known < partly
