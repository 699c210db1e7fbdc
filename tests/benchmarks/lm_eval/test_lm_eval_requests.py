"""Requests to an engine: cut as lm-eval's HFLM cuts, kept as they come, asked once, whatever the batch."""

from __future__ import annotations

import json
import random

import pytest

from benchmarks.lm_eval.requests import Answer, Asker, GenerationAsk, ScoringAsk, refuse_unknown_settings
from harness.engines.hf.engine import HFEngine
from harness.engines.scripted import ScriptedEngine, ScriptedOptions
from harness.errors import EndpointError, UsageError
from tests.paths import MODELS, needs_models

WORDS = ("once", "upon", "a", "time", "there", "was", "little", "dog", "who", "saw", "the", "big", "tree", "and", "ran")


@pytest.fixture(scope="module")
def stories():
    engine = HFEngine.from_options({"model": str(MODELS / "stories260K-hf"), "device": "cpu"})
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def rival():
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(MODELS / "stories260K-hf"), device="cpu", dtype="float32", batch_size=4)


def text(n_words, seed):
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(n_words))


def instances(kind, arguments):
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type=kind, doc={}, arguments=a, idx=0, metadata=("t", i, 1)) for i, a in enumerate(arguments)
    ]


PAIRS = [
    ("Once upon a time", " there was"),
    ("Once upon a time ", "there was"),
    ("", "Once upon"),
    (text(700, 1), " and the dog ran"),
    (text(700, 2), text(30, 3)),
    ("Question: who?\nAnswer:", " Tom"),
    ("Question: who?\nAnswer:", " Tim"),
]


@needs_models
def test_continuations_are_scored_and_cut_as_hflm_does(stories, rival):
    theirs = rival.loglikelihood(instances("loglikelihood", PAIRS), disable_tqdm=True)
    ours = dict(Asker(stories).answers([ScoringAsk(*pair) for pair in PAIRS]))
    for place, (logprob, is_greedy) in enumerate(theirs):
        assert ours[place].logprob == pytest.approx(logprob, abs=1e-3)
        assert ours[place].is_greedy == is_greedy
    assert [bool(ours[i].n_cut) for i in range(len(PAIRS))] == [False, False, False, True, True, False, False]


@needs_models
def test_generations_and_whole_texts_are_hflms(stories, rival):
    from benchmarks.lm_eval.adapter import EngineLM

    lm = EngineLM(stories)
    prompts = ["Once upon a time", text(700, 4), "The dog", "Hi"]
    settings = [{"until": ["."], "max_gen_toks": 40}, {"until": ["\n\n"], "max_gen_toks": 24}] * 2
    asked = list(zip(prompts, settings, strict=True))
    assert lm.generate_until(instances("generate_until", asked)) == rival.generate_until(
        instances("generate_until", asked), disable_tqdm=True
    )
    texts = [("Once upon a time there was a dog.",), (text(900, 5),)]
    whole = rival.loglikelihood_rolling(instances("loglikelihood_rolling", texts), disable_tqdm=True)
    assert lm.loglikelihood_rolling(instances("loglikelihood_rolling", texts)) == pytest.approx(whole, abs=5e-3)


@needs_models
def test_a_limit_that_fills_the_context_is_lowered_and_recorded(stories):
    ((_, answer),) = Asker(stories).answers([GenerationAsk(text(700, 6), max_tokens=1024)])
    assert (answer.max_tokens, answer.error) == (256, "")
    assert answer.n_cut > 0
    assert answer.n_tokens <= 256
    ((_, whole),) = Asker(stories).answers([GenerationAsk("Once", max_tokens=8)])
    assert (whole.max_tokens, whole.n_cut) == (None, 0)


@needs_models
def test_a_continuation_longer_than_the_context_is_an_error_of_its_own(stories):
    found = dict(Asker(stories).answers([ScoringAsk("a", text(700, 7)), ScoringAsk("a", " b")]))
    assert "the model's context is 512" in found[0].error
    assert not found[0].retryable
    assert found[1].logprob < 0


@needs_models
@pytest.mark.parametrize("options", [{"max_batch_size": 1}, {"max_batch_tokens": 700}, {"max_batch_size": 16}])
def test_decisions_do_not_depend_on_the_batch(stories, options):
    """lm-eval 879, 1645, 3055: scores moved with the batch size."""
    asks = [ScoringAsk(*pair) for pair in PAIRS]
    asks += [GenerationAsk(text(5 + 9 * i, i), max_tokens=12) for i in range(6)]
    with HFEngine.from_options({"model": str(MODELS / "stories260K-hf"), "device": "cpu", **options}) as other:
        found, expected = dict(Asker(other).answers(asks)), dict(Asker(stories).answers(asks))
    for place in range(len(asks)):
        assert found[place].text == expected[place].text
        assert found[place].is_greedy == expected[place].is_greedy
        if found[place].logprob is not None:
            assert found[place].logprob == pytest.approx(expected[place].logprob, abs=1e-4)


def scripted(**options):
    return ScriptedEngine(ScriptedOptions(replies=lambda r: f"reply to {r.text}", logprobs=lambda r: -1.0, **options))


def test_what_was_answered_before_a_fault_is_not_asked_again(tmp_path):
    path = tmp_path / "answers.jsonl"
    asks = [GenerationAsk(f"prompt {i}") for i in range(10)] + [ScoringAsk("c", f" {i}") for i in range(5)]
    first = Asker(scripted(fail_after=8), path)
    with pytest.raises(EndpointError):
        list(first.answers(asks))
    first.close()
    with path.open("a") as stream:
        stream.write('{"key": "torn')  # a kill in the middle of a line
    engine = scripted()
    second = Asker(engine, path)
    found = dict(second.answers(asks))
    second.close()
    assert len(found) == 15
    assert not any(answer.error for answer in found.values())
    assert found[3].text == "reply to prompt 3"
    assert len(engine.requests) == 7, "of ten prompts, three and all continuations had been answered"
    assert len({json.loads(line)["key"] for line in path.read_text().splitlines()}) == 15


def test_equal_requests_are_asked_once_and_errors_are_not_kept(tmp_path):
    engine = scripted(errors={"bad": "no"})
    asker = Asker(engine, tmp_path / "a")
    found = dict(asker.answers([GenerationAsk("x"), GenerationAsk("bad"), GenerationAsk("x")]))
    assert [r.text for r in engine.requests] == ["x", "bad"]
    assert found[0] == found[2] == Answer(text="reply to x", n_tokens=3)
    assert found[1].error == "no"
    list(asker.answers([GenerationAsk("x"), GenerationAsk("bad")]))
    assert [r.text for r in engine.requests] == ["x", "bad", "bad"]
    asker.close()


def test_samples_of_one_prompt_have_random_streams_of_their_own():
    engine = scripted()
    asks = [GenerationAsk("x", temperature=0.8, sample=i) for i in range(3)]
    list(Asker(engine, seed=1).answers(asks))
    list(Asker(engine, seed=2).answers(asks))
    seeds = [r.sampling.seed for r in engine.requests]
    assert len(set(seeds)) == 6


def test_stop_strings_hold_for_an_engine_that_does_not_know_them():
    class Deaf(ScriptedEngine):
        def _reply(self, request):
            from dataclasses import replace

            return super()._reply(replace(request, sampling=replace(request.sampling, stop=())))

    engine = Deaf(ScriptedOptions(replies=lambda r: "one STOP two END three"))
    ((_, answer),) = Asker(engine).answers([GenerationAsk("x", stop=("END", "STOP"))])
    assert answer.text == "one "


def test_settings_engines_do_not_have_are_refused():
    refuse_unknown_settings({"num_beams": 1, "repetition_penalty": 1.0, "top_k": None})
    with pytest.raises(UsageError, match="num_beams"):
        refuse_unknown_settings({"num_beams": 4})


@needs_models
def test_chat_template_and_system_message(stories):
    from benchmarks.lm_eval.adapter import EngineLM

    lm = EngineLM(stories)
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "So"},
    ]
    theirs = stories.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert lm.apply_chat_template(turns) == theirs
    assert lm.tokenizer_name == stories.fingerprint.chat_template_hash
    assert lm.chat_template(True) == stories.chat_template.source
    assert lm.chat_template(False) is None


def test_conversations_go_to_an_engine_without_a_tokenizer_as_messages():
    from benchmarks.lm_eval.adapter import EngineLM
    from harness.errors import ModelError

    engine = ScriptedEngine(ScriptedOptions(replies=lambda r: r.messages[-1].content.upper()))
    lm = EngineLM(engine)
    prompt = lm.apply_chat_template([{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}])
    assert lm.generate_until(instances("generate_until", [(prompt, {"until": []})])) == ["HI"]
    assert [m.role for m in engine.requests[0].messages] == ["system", "user"]
    with pytest.raises(ModelError, match="cannot be scored"):
        lm.loglikelihood(instances("loglikelihood", [(prompt, " a")]))
    with pytest.raises(ModelError, match="no tokenizer"):
        lm.loglikelihood_rolling(instances("loglikelihood_rolling", [("a",)]))
