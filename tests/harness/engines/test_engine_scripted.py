"""The scripted engine keeps to its script and to the protocol."""

from __future__ import annotations

import json
import time

import pytest

from harness.engines.base import Engine, GenerationRequest, LogLikelihoodRequest
from harness.engines.scripted import ScriptedEngine, ScriptedOptions
from harness.errors import EndpointError, FileFormatError, MissingDataError, ModelError, SpecError
from harness.messages import Message, Sampling


def ask(prompt: str, request_id: str = "r", **sampling) -> GenerationRequest:
    return GenerationRequest(request_id, (Message("system", "be kind"), Message("user", prompt)), Sampling(**sampling))


def test_is_an_engine():
    assert isinstance(ScriptedEngine(ScriptedOptions()), Engine)


def test_replies_by_id_then_prompt_then_star():
    engine = ScriptedEngine(ScriptedOptions(replies={"a": "by id", "hello": "by prompt", "*": "else"}))
    requests = [ask("hello", "a"), ask("hello", "b"), ask("bye", "c"), GenerationRequest("d", text="hello")]
    assert [g.text for g in engine.generate(requests)] == ["by id", "by prompt", "else", "by prompt"]
    assert engine.requests == requests


def test_replies_from_a_function():
    engine = ScriptedEngine(ScriptedOptions(replies=lambda r: r.messages[-1].content.upper()))
    (generation,) = engine.generate([ask("hello you", temperature=1.0, seed=5)])
    assert (generation.text, generation.finish, generation.seed) == ("HELLO YOU", "stop", 5)
    assert (generation.n_prompt_tokens, generation.n_tokens) == (4, 2)


def test_limits_and_stop_strings():
    engine = ScriptedEngine(ScriptedOptions(replies={"*": "one two  three four"}))
    (cut,) = engine.generate([ask("x", max_tokens=2)])
    assert (cut.text, cut.finish, cut.n_tokens) == ("one two", "length", 2)
    (stopped,) = engine.generate([ask("x", stop=("three",))])
    assert (stopped.text, stopped.finish) == ("one two  ", "stop")


def test_errors_are_of_one_request_and_no_reply_is_an_error():
    engine = ScriptedEngine(ScriptedOptions(replies={"good": "yes"}, errors={"bad": "timed out"}))
    good, bad, unknown = engine.generate([ask("good", "1"), ask("bad", "2"), ask("what", "3")])
    assert (good.finish, bad.finish, unknown.finish) == ("stop", "error", "error")
    assert (bad.text, bad.error) == ("", "timed out")
    assert "no reply is written for 'what'" in unknown.error


def test_a_crash_after_so_many_replies_keeps_what_came_before():
    engine = ScriptedEngine(ScriptedOptions(replies={"*": "ok"}, fail_after=2))
    got = []
    with pytest.raises(EndpointError, match="after 2 replies"):
        got.extend(engine.generate([ask("x", "1")]))
        got.extend(engine.generate([ask("x", "2"), ask("x", "3")]))
    assert [g.request_id for g in got] == ["1", "2"]


def test_delay():
    engine = ScriptedEngine(ScriptedOptions(replies={"*": "ok"}, delay_s=0.02))
    begun = time.perf_counter()
    list(engine.generate([ask("x", str(i)) for i in range(3)]))
    assert time.perf_counter() - begun >= 0.06


def test_loglikelihoods():
    engine = ScriptedEngine(ScriptedOptions(logprobs={" yes": -0.5}, errors={" boom": "no"}))
    requests = [LogLikelihoodRequest(str(i), "q", c) for i, c in enumerate((" yes", " no", " boom"))]
    yes, no, boom = engine.loglikelihood(requests)
    assert (yes.logprob, yes.n_tokens, yes.error) == (-0.5, 1, "")
    assert no.logprob is None and "no log-probability is written" in no.error
    assert (boom.logprob, boom.error) == (None, "no")
    by_function = ScriptedEngine(ScriptedOptions(logprobs=lambda r: -float(len(r.continuation))))
    assert [x.logprob for x in by_function.loglikelihood(requests)] == [-4.0, -3.0, -5.0]


def test_a_file_of_replies(tmp_path):
    path = tmp_path / "replies.jsonl"
    rows = [{"prompt": "hi", "reply": "hello"}, {"prompt": "bad", "error": "broken"}, {"prompt": "*", "reply": "hm"}]
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    engine = ScriptedEngine.from_options({"model": str(path)})
    assert [g.text or g.error for g in engine.generate([ask("hi"), ask("bad"), ask("?")])] == ["hello", "broken", "hm"]
    assert engine.fingerprint.name == "replies"


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"prompt": "x"}', '{"prompt": 1, "reply": "x"}', '{"prompt": "x", "reply": "a", "error": "b"}']
)
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "replies.jsonl"
    path.write_text('{"prompt": "a", "reply": "b"}\n' + line)
    with pytest.raises(FileFormatError, match=r"replies\.jsonl, line 2"):
        ScriptedEngine.from_options({"model": str(path)})


def test_a_missing_file(tmp_path):
    with pytest.raises(MissingDataError, match=r"none\.jsonl"):
        ScriptedEngine.from_options({"model": str(tmp_path / "none.jsonl")})


def test_unknown_and_impossible_options():
    with pytest.raises(SpecError, match="did you mean 'replies'"):
        ScriptedEngine.from_options({"replys": {}})
    with pytest.raises(SpecError, match="delay_s: Input should be greater"):
        ScriptedEngine.from_options({"delay_s": -1})
    with pytest.raises(SpecError, match="fail_after: Input should be greater"):
        ScriptedEngine.from_options({"fail_after": -1})


def test_another_script_is_another_model():
    one = ScriptedEngine(ScriptedOptions(replies={"*": "a"})).fingerprint
    assert one == ScriptedEngine(ScriptedOptions(replies={"*": "a"})).fingerprint
    assert one.model_id != ScriptedEngine(ScriptedOptions(replies={"*": "b"})).fingerprint.model_id


def test_closed():
    with ScriptedEngine(ScriptedOptions(replies={"*": "a"})) as engine:
        running = engine.generate([ask("x", "1"), ask("x", "2")])
        next(running)
    with pytest.raises(ModelError, match="closed"):
        next(running)
    with pytest.raises(ModelError, match="closed"):
        engine.generate([ask("x")])
    with pytest.raises(ModelError, match="closed"):
        engine.loglikelihood([])
