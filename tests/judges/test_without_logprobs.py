"""AlpacaEval's probability from judges without log-probabilities: from samples, or stated in JSON."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from harness.endpoint.client import ChatFailure, ChatReply
from harness.errors import CostLimitReached, EndpointError, SpecError
from harness.protocols import JudgeTask
from harness.records import Preference
from harness.stats.mean import cluster_mean
from judges.forms import AlpacaEvalForm
from judges.without_logprobs import SampledForm, StructuredForm
from tests.judges.test_forms import answer, prompt
from tests.judges.test_judge_parameters import judge_of, prepared
from tests.paths import needs_data
from tests.support.judge_server import Answer, JudgeServer

pytestmark = needs_data

TASK = JudgeTask(prompt(), "alpaca_eval", (answer("a", role="baseline"), answer("b")))


def judged(form, *found, finish="stop"):
    """The reading of replies, in order; an exception is raised in place of its reply."""
    asked = []

    async def ask(request):
        asked.append(request)
        said = found[len(asked) - 1]
        if isinstance(said, BaseException):
            raise said
        return said if isinstance(said, ChatReply) else ChatReply(said, finish)

    return asyncio.run(form.judge(TASK, form.settings, ask)), asked


@pytest.fixture
def official(data):
    return AlpacaEvalForm.from_data(data)


def test_the_share_of_the_samples_by_hand(official):
    reading, asked = judged(SampledForm(official, 5), "m", "M", '"m"', "m.", "M\n")
    assert reading.verdict == Preference(p_first=0.6)
    assert reading.meta == {"samples": 5, "samples_read": 5, "share_variance": pytest.approx(0.6 * 0.4 / 4)}
    assert [request.sample for request in asked] == [0, 1, 2, 3, 4]
    assert {(request.temperature, request.top_logprobs) for request in asked} == {(1.0, 0)}
    assert asked[0].messages == official.first_request(TASK, official.settings).messages


def test_samples_that_cannot_be_read_do_not_count(official):
    reading, _ = judged(SampledForm(official, 4), "m", "M", "both", "m")
    assert reading.verdict.p_first == pytest.approx(2 / 3)
    reading, _ = judged(SampledForm(official, 4), "m", "M", "both", "The better model is m, not M")
    assert reading.verdict.reason == "unparsed" and "2 of 4" in reading.verdict.detail
    reading, _ = judged(SampledForm(official, 2), "", "", finish="length")
    assert reading.verdict.reason == "truncated"
    refused = ChatReply("", refusal="No.")
    assert judged(SampledForm(official, 2), refused, refused)[0].verdict.reason == "refused"


def test_a_failed_sample_leaves_the_others_and_what_stops_the_run_stops_it(official):
    failure = ChatFailure("timeout", "late")
    assert judged(SampledForm(official, 3), "m", failure, "m")[0].verdict.p_first == 1.0
    with pytest.raises(ChatFailure):
        judged(SampledForm(official, 2), failure, failure)
    with pytest.raises(CostLimitReached):
        judged(SampledForm(official, 2), "m", CostLimitReached("the limit"))


def test_equal_outputs_are_a_tie_without_asking(official):
    task = JudgeTask(prompt(), "alpaca_eval", (answer("a", role="baseline"), answer("a")))
    for form in (SampledForm(official, 3), StructuredForm(official)):
        assert asyncio.run(form.judge(task, form.settings, None)).verdict.p_first == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"probability": 0.25}', 0.25),
        ('{"probability": 1}', 1.0),
        ('{"probability": 1.5}', "out_of_scale"),
        ('{"probability": true}', "unparsed"),
        ('{"probability": "0.5"}', "unparsed"),
        ('{"p": 0.5}', "unparsed"),
        ("[0.5]", "unparsed"),
        ("0.5", "unparsed"),
        ("m", "unparsed"),
    ],
)
def test_a_stated_probability(official, text, expected):
    verdict = judged(StructuredForm(official), text)[0].verdict
    assert (verdict.p_first if isinstance(expected, float) else verdict.reason) == expected


def test_a_stated_probability_is_asked_for_with_a_schema(official):
    _, (request,) = judged(StructuredForm(official), '{"probability": 0.25}')
    assert request.schema is not None and request.schema["required"] == ["probability"]
    assert '"probability"' in request.messages[-1].content
    assert judged(StructuredForm(official), '{"prob', finish="length")[0].verdict.reason == "truncated"


def test_a_judge_without_logprobs_is_found_out_before_the_run(data):
    with JudgeServer(probe=lambda call: "OK") as server:
        with pytest.raises(EndpointError) as error:
            prepared(judge_of(data, server, forms=("alpaca_eval",)))
        assert "--judge-samples" in error.value.remedy and "--judge-probability structured" in error.value.remedy
        assert not server.calls and len(server.probes) == 1


@pytest.mark.parametrize(
    ("choice", "reply"), [({"samples": 4}, "m"), ({"probability": "structured"}, '{"probability": 0.75}')]
)
def test_the_users_choice_is_another_judge_and_is_named(data, choice, reply):
    with JudgeServer(lambda call: Answer(reply), probe=lambda call: "OK") as server:
        official = judge_of(data, server, forms=("alpaca_eval",))
        judge = judge_of(data, server, forms=("alpaca_eval", "rating"), **choice)
        judgment = prepared(judge, TASK)
    assert judgment.verdict.kind == "preference"
    assert judge.judge_id("alpaca_eval") != official.judge_id("alpaca_eval")
    same = judge.judge_id("rating") == official.judge_id("rating")
    assert same == ("samples" not in choice), "samples are of every form; a stated probability only where one is read"
    words, *_ = judge.describe()["deviations"]
    assert words.startswith("alpaca_eval: ")
    assert len(server.calls) == choice.get("samples", 1)
    assert judge.n_requests("alpaca_eval") == choice.get("samples", 1)


def test_a_choice_that_no_form_needs_is_refused(data):
    with JudgeServer() as server, pytest.raises(SpecError, match="no form of this run"):
        prepared(judge_of(data, server, forms=("rating",), probability="structured"))


@pytest.mark.parametrize("n_samples", [2, 4, 16])
def test_the_interval_of_the_mean_has_the_variance_of_the_samples_in_it(n_samples):
    """Coverage with probabilities as skewed as GPT-4's on AlpacaEval; adding the variance again would be too much.

    The observed shares vary by the prompts' probabilities and by the sampling; their empirical variance is the sum.
    """
    rng = np.random.default_rng(n_samples)
    n_prompts, n_runs, mean = 200, 3000, 0.3 / (0.3 + 0.5)
    p = rng.beta(0.3, 0.5, (n_runs, n_prompts))
    shares = rng.binomial(n_samples, p) / n_samples
    covered, widened = 0, 0
    for row in shares:
        estimate = cluster_mean(row, np.arange(n_prompts))
        own = np.mean(row * (1 - row)) / (n_samples - 1) / n_prompts  # the stored variances
        covered += estimate.ci_low <= mean <= estimate.ci_high
        widened += abs(estimate.value - mean) <= 1.96 * np.sqrt(estimate.stderr**2 + own)
    assert 0.94 <= covered / n_runs <= 0.96
    assert widened / n_runs >= covered / n_runs
    # The stored variances are unbiased: they add up to what the sampling adds to the variance of the mean.
    added = shares.mean(axis=1).var() - p.mean(axis=1).var()
    stated = np.mean(shares * (1 - shares)) / (n_samples - 1) / n_prompts
    assert stated == pytest.approx(added, rel=0.25)


def test_a_schema_that_the_server_refuses(data):
    from tests.support.judge_server import refuse

    with JudgeServer(probe=refuse("response_format")) as server, pytest.raises(EndpointError, match="no JSON schema"):
        prepared(judge_of(data, server, forms=("alpaca_eval",), probability="structured"))
    assert json.dumps(server.probes[0].body["response_format"])
