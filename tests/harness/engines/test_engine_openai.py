"""The engine for OpenAI-compatible endpoints against the scripted server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from harness.engines.base import Engine, Generation, GenerationRequest, LogLikelihood, LogLikelihoodRequest
from harness.engines.openai import OpenAIEngine
from harness.errors import AssayError, AuthenticationError, EndpointError, ModelError, SpecError
from harness.messages import Message, Sampling
from tests.support.judge_server import TOKEN, Answer, Call, Fault, JudgeServer, always, prompt_logprob, token_id


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1234567890")
    yield


def make(server: JudgeServer, **options: Any) -> OpenAIEngine:
    return OpenAIEngine.from_options({"model": "scripted", "base_url": server.base_url, **options})


def ask(name: str, sampling: Sampling | None = None, **fields: Any) -> GenerationRequest:
    messages = () if "text" in fields else (Message("user", name),)
    return GenerationRequest(name, messages, sampling or Sampling(max_tokens=20), **fields)


def generate(engine: OpenAIEngine, requests: Sequence[GenerationRequest]) -> dict[str, Generation]:
    done = list(engine.generate(requests))
    assert len(done) == len(requests)
    return {generation.request_id: generation for generation in done}


def test_it_is_an_engine() -> None:
    with JudgeServer() as server, make(server, name="candidate", extra_body={"top_k": 1}) as engine:
        assert isinstance(engine, Engine)
        fingerprint = engine.fingerprint
        assert (engine.name, fingerprint.name, fingerprint.engine) == ("openai", "candidate", "openai")
        assert fingerprint.source == f"{server.base_url} scripted"
        assert fingerprint.weights_hash is None and fingerprint.chat_template_hash is None
        assert fingerprint.options == {"extra_body": {"top_k": 1}}
        assert "secret" not in repr(fingerprint)


def test_every_request_gets_its_own_answer() -> None:
    with JudgeServer(lambda call: call.text.upper(), latency_s=0.02) as server, make(server, concurrency=8) as engine:
        done = generate(engine, [ask(f"q{i}") for i in range(50)])
        assert server.most_in_flight == 8
        again = generate(engine, [ask("once more")])
    assert {name: generation.text for name, generation in done.items()} == {f"q{i}": f"Q{i}" for i in range(50)}
    assert again["once more"] == Generation("once more", "ONCE MORE", "stop", 2, 2)
    assert set(server.answered().values()) == {1}


def test_answers_come_as_they_complete() -> None:
    def faults(call: Call) -> Fault | None:
        return Fault(kind="hang") if call.text == "slow" else None

    with JudgeServer(faults=faults) as server, make(server, concurrency=2) as engine:
        answers = engine.generate([ask("slow"), ask("a"), ask("b"), ask("c")])
        assert {next(answers).request_id for _ in range(3)} == {"a", "b", "c"}
        answers.close()
        while server.n_in_flight:  # the outstanding call is cancelled, and the server sees it
            time.sleep(0.01)
    assert [entry["outcome"] for entry in server.log].count("ok") == 3


def test_sampling_is_passed_on() -> None:
    with JudgeServer() as server, make(server) as engine:
        greedy = Sampling(temperature=0.0, max_tokens=5, seed=7)
        sampled = Sampling(temperature=0.7, top_p=0.9, max_tokens=6, seed=7, stop=("\n",))
        done = generate(engine, [ask("greedy", greedy), ask("sampled", sampled)])
    bodies = {call.text: {k: v for k, v in call.body.items() if k != "messages"} for call in server.calls}
    assert bodies["greedy"] == {"model": "scripted", "max_tokens": 5, "temperature": 0.0}
    assert bodies["sampled"] == {
        "model": "scripted",
        "max_tokens": 6,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["\n"],
    }
    assert (done["greedy"].seed, done["sampled"].seed) == (None, 7)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer("cut", finish="length"), Generation("q", "cut", "length", 1, 1)),
        (Answer("one STOP two", finish="length"), Generation("q", "one ", "stop", 1, 3)),
        (Answer("", refusal="I cannot."), Generation("q", "I cannot.", "stop", 1, 0)),
        (Answer("odd", finish="eos", usage=False), Generation("q", "odd", "stop")),
    ],
)
def test_how_answers_end(answer: Answer, expected: Generation) -> None:
    with JudgeServer(lambda call: answer) as server, make(server) as engine:
        assert generate(engine, [ask("q", Sampling(max_tokens=9, stop=("STOP",)))])["q"] == expected


def test_a_filtered_answer_is_an_error() -> None:
    with JudgeServer(lambda call: Answer("half", finish="content_filter")) as server, make(server) as engine:
        generation = generate(engine, [ask("q")])["q"]
    assert (generation.text, generation.finish) == ("", "error")
    assert "content filter" in generation.error


def test_a_failed_request_is_an_error_of_its_own() -> None:
    def faults(call: Call) -> Fault | None:
        match call.text:
            case "long":
                return Fault(status=400, code="context_length_exceeded", message="9000 tokens")
            case "bad":
                return Fault(status=400, message="bad role")
        return None

    with JudgeServer(faults=faults) as server, make(server) as engine:
        done = generate(engine, [ask("long"), ask("good"), ask("bad")])
    assert done["good"].finish == "stop"
    assert (done["long"].finish, done["long"].retryable) == ("error", False)
    assert "9000 tokens" in done["long"].error
    assert (done["bad"].finish, done["bad"].retryable) == ("error", True)


def test_what_was_answered_is_yielded_before_the_endpoint_is_given_up() -> None:
    def faults(call: Call) -> Fault | None:
        return Fault(status=503) if call.number > 10 else None

    with JudgeServer(faults=faults) as server, make(server, concurrency=4, give_up_after_s=0.5) as engine:
        answers = engine.generate([ask(f"q{i}") for i in range(40)])
        done = [next(answers) for _ in range(10)]
        with pytest.raises(EndpointError, match="503"):
            next(answers)
    assert all(generation.finish == "stop" for generation in done)


def test_a_key_refused_later_ends_the_iteration() -> None:
    def faults(call: Call) -> Fault | None:
        return Fault(status=401, message="revoked") if call.number > 2 else None

    with JudgeServer(faults=faults) as server, make(server, concurrency=1) as engine:
        answers = engine.generate([ask(f"q{i}") for i in range(5)])
        assert [next(answers).finish for _ in range(2)] == ["stop", "stop"]
        with pytest.raises(AuthenticationError, match="revoked"):
            next(answers)


def test_closing_while_a_consumer_waits_is_no_quiet_end() -> None:
    with JudgeServer(faults=always(Fault(kind="hang"))) as server:
        engine = make(server)
        caught: list[BaseException] = []

        def consume() -> None:
            try:
                list(engine.generate([ask("a")]))
            except AssayError as error:
                caught.append(error)

        consumer = threading.Thread(target=consume)
        consumer.start()
        while not server.calls:
            time.sleep(0.01)
        engine.close()
        engine.close()
        consumer.join(timeout=30)
    assert "closed" in str(caught[0])


def test_nothing_asked_nothing_sent() -> None:
    with JudgeServer() as server, make(server) as engine:
        assert list(engine.generate([])) == []
        assert not server.calls


def test_raw_text_goes_to_completions() -> None:
    with JudgeServer() as server, make(server) as engine:
        sampling = Sampling(temperature=0.5, top_p=0.8, max_tokens=3, seed=4, stop=("\n\n",))
        generation = generate(engine, [ask("r", sampling, text="Question: 1+1\nAnswer:")])["r"]
    assert generation == Generation("r", " end", "length", 3, 1, seed=4)
    call = server.calls[-1]
    assert call.path == "/v1/completions"
    assert call.body == {
        "model": "scripted",
        "prompt": "Question: 1+1\nAnswer:",
        "max_tokens": 3,
        "temperature": 0.5,
        "top_p": 0.8,
        "seed": 4,
        "stop": ["\n\n"],
    }


def test_raw_text_where_there_are_no_completions_is_one_error_and_chat_goes_on() -> None:
    def faults(call: Call) -> Fault | None:
        return Fault(status=404, message="Not Found") if call.path == "/v1/completions" else None

    with JudgeServer(faults=faults) as server, make(server) as engine:
        with pytest.raises(ModelError, match="does not continue raw text"):
            list(engine.generate([ask(f"r{i}", text="x") for i in range(20)]))
        assert len(server.calls) == 1
        with pytest.raises(ModelError, match="no prompt log-probabilities"):
            list(engine.loglikelihood([LogLikelihoodRequest("a", "x", " y")]))
        assert generate(engine, [ask("q")])["q"].finish == "stop"


def score(server: JudgeServer, *requests: LogLikelihoodRequest) -> dict[str, LogLikelihood]:
    with make(server) as engine:
        done = list(engine.loglikelihood(requests))
    assert len(done) == len(requests)
    return {result.request_id: result for result in done}


def test_loglikelihood_by_hand() -> None:
    """The scripted server's tokens are words with the white space before them, each of a fixed log-probability."""
    with JudgeServer() as server:
        done = score(
            server,
            LogLikelihoodRequest("plain", "The sky", " is blue"),
            LogLikelihoodRequest("space", "The sky ", "is blue"),
            LogLikelihoodRequest("long", "The sky", " is marvellous"),
        )
    expected = prompt_logprob(" is") + prompt_logprob(" blue")
    assert done["plain"] == LogLikelihood("plain", pytest.approx(expected), True, 2)
    assert done["space"].logprob == done["plain"].logprob
    assert done["long"].logprob == pytest.approx(prompt_logprob(" is") + prompt_logprob(" marvellous"))
    assert done["long"].is_greedy is False  # the scripted server finds a full stop more likely than a long word


def test_a_context_is_counted_once_for_all_its_continuations() -> None:
    with JudgeServer() as server:
        score(server, *(LogLikelihoodRequest(f"{i}", "Same context", f" choice{i}") for i in range(6)))
    assert [call.body["prompt"] for call in server.calls].count("Same context") == 1


def test_a_token_over_the_boundary_is_parted_as_by_every_engine() -> None:
    """ "un" + "do" is one token: the context's own tokens count, then what the joint text has beyond as many."""
    with JudgeServer() as server:
        done = score(
            server, LogLikelihoodRequest("a", "I am un", "happy"), LogLikelihoodRequest("b", "I am un", "do it")
        )
    assert "no tokens of its own" in done["a"].error and done["a"].logprob is None
    assert done["b"] == LogLikelihood("b", pytest.approx(prompt_logprob(" it")), True, 1)
    sent = [token_id(token) for token in ("I", " am", " un", " it")]
    assert [call.body["prompt"] for call in server.calls].count(sent) == 1


def test_without_token_ids_a_token_over_the_boundary_is_an_error_of_its_own() -> None:
    def faults(call: Call) -> Fault | None:
        return Fault(status=400, message="return_token_ids?") if "return_token_ids" in call.body else None

    with JudgeServer(faults=faults) as server:
        done = score(server, LogLikelihoodRequest("b", "I am un", "do it"), LogLikelihoodRequest("c", "I am", " un"))
    assert done["b"].logprob is None and "return_token_ids" in done["b"].error
    assert done["c"].logprob is not None


def test_loglikelihood_of_token_ids() -> None:
    with JudgeServer() as server:
        done = score(server, LogLikelihoodRequest("a", "x", "y", (1, 2, 3), (4, 5)))
    assert done["a"].logprob == pytest.approx(prompt_logprob("t4 ") + prompt_logprob("t5 "))
    assert server.calls[-1].body["prompt"] == [1, 2, 3, 4, 5]


def test_an_empty_context_needs_a_token_in_its_place() -> None:
    with JudgeServer() as server:
        done = score(server, LogLikelihoodRequest("a", "", "The sky"))
    assert done["a"].logprob is None and "context is empty" in done["a"].error


def test_a_prompt_that_is_too_long_is_an_error_of_its_own() -> None:
    def faults(call: Call) -> Fault | None:
        too_long = len(TOKEN.findall(str(call.body.get("prompt")))) > 5
        return Fault(status=400, message="longer than the maximum model length of 5") if too_long else None

    with JudgeServer(faults=faults) as server:
        done = score(server, LogLikelihoodRequest("a", "a b c d e", " f"), LogLikelihoodRequest("b", "a b", " c"))
    assert done["a"].logprob is None and "maximum model length" in done["a"].error
    assert done["b"].logprob is not None


def test_a_server_without_prompt_logprobs_is_named() -> None:
    with JudgeServer(prompt_logprobs=False) as server, pytest.raises(ModelError, match="no prompt log-probabilities"):
        score(server, LogLikelihoodRequest("a", "x", " y"))
    with (
        JudgeServer(faults=always(Fault(status=400, param="logprobs", message="not supported"))) as server,
        pytest.raises(ModelError, match="not supported"),
    ):
        score(server, LogLikelihoodRequest("a", "x", " y"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "field 'model' is missing"),
        ({"model": "m", "temprature": 1}, "unknown field 'temprature'"),
        ({"model": "m", "base_ur": "x"}, r"did you mean 'base_url'\?"),
        ({"model": "m", "concurrency": "many"}, "concurrency: Input should be a valid integer"),
        ({"model": "m", "concurrency": True}, "concurrency: Input should be a valid integer"),
        ({"model": "m", "concurrency": 0}, "concurrency: Input should be greater"),
        ({"model": "m", "extra_body": [1]}, "extra_body: Input should be a valid dictionary"),
        ({"model": "m", "base_url": "nowhere"}, "not a web address"),
        ({"model": "m", "token_limit_field": "tokens"}, "token_limit_field"),
        ({"model": "m", "dtype": "bf16"}, "unknown field 'dtype'"),
    ],
)
def test_wrong_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        OpenAIEngine.from_options(options)


def test_an_endpoint_without_the_model_is_refused_at_once() -> None:
    with JudgeServer(models=("org/other",)) as server, pytest.raises(EndpointError, match="has no model 'scripted'"):
        make(server)
    with pytest.raises(EndpointError, match="cannot connect"):
        OpenAIEngine.from_options({"model": "scripted", "base_url": server.base_url})
