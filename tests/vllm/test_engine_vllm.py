"""The real vLLM against transformers on the same weights."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.engines.base import Engine, Generation, GenerationRequest, LogLikelihoodRequest
from harness.engines.vllm.engine import VLLMEngine
from harness.engines.weights_hash import weights_hash
from harness.errors import NoChatTemplateError
from harness.messages import Message, Sampling

from .conftest import CONTEXT, Reference

pytestmark = pytest.mark.vllm

PROMPTS = ["The judge", "A number", "Which of the two is better? The", "3, 14, 159", "naïve café: x = ["]


def text_requests(n_tokens: int, **sampling: Any) -> list[GenerationRequest]:
    settings = Sampling(max_tokens=n_tokens, **sampling)
    return [GenerationRequest(f"r{i}", text=text, sampling=settings) for i, text in enumerate(PROMPTS)]


def by_id(generations: Any) -> dict[str, Generation]:
    return {generation.request_id: generation for generation in generations}


def unfinished(engine: VLLMEngine) -> int:
    return int(engine._model.llm.llm_engine.get_num_unfinished_requests())


def test_speaks_the_protocol(engine: VLLMEngine) -> None:
    assert isinstance(engine, Engine)
    assert engine.name == "vllm"
    assert engine.context_length == CONTEXT


def test_greedy_text_is_that_of_transformers(engine: VLLMEngine, reference: Reference) -> None:
    got = by_id(engine.generate(text_requests(24)))
    assert len(got) == len(PROMPTS)
    for i, text in enumerate(PROMPTS):
        prompt_ids = reference.tokenizer(text)["input_ids"]
        wanted = reference.greedy(prompt_ids, 24)
        generation = got[f"r{i}"]
        assert generation.text == reference.tokenizer.decode(wanted, skip_special_tokens=True)
        assert (generation.n_prompt_tokens, generation.n_tokens) == (len(prompt_ids), len(wanted))
        assert (generation.finish, generation.seed, generation.error) == ("length", None, "")
    assert len({generation.text for generation in got.values()}) == len(PROMPTS)  # the model is not a constant


def test_conversation_goes_through_the_chat_template(engine: VLLMEngine, reference: Reference) -> None:
    conversation = (Message("system", "Be brief."), Message("user", "Which is better?"), Message("assistant", "A"))
    request = GenerationRequest("c", (*conversation, Message("user", "Why?")), Sampling(max_tokens=10))
    (got,) = engine.generate([request])
    rendered = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhich is better?<|im_end|>\n"
        "<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    )
    prompt_ids = reference.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert got.n_prompt_tokens == len(prompt_ids)
    assert got.text == reference.tokenizer.decode(reference.greedy(prompt_ids, 10), skip_special_tokens=True)


def test_generations_come_out_as_they_finish(engine: VLLMEngine) -> None:
    lengths = {"long": 90, "short": 2, "middle": 30}
    requests = [GenerationRequest(k, text="The judge", sampling=Sampling(max_tokens=n)) for k, n in lengths.items()]
    stream = engine.generate(requests)
    first = next(stream)
    assert first.request_id == "short"
    assert unfinished(engine) == 2
    assert [generation.request_id for generation in stream] == ["middle", "long"]


def test_more_requests_than_fit_at_once(engine: VLLMEngine, reference: Reference) -> None:
    requests = [
        GenerationRequest(f"{i}", text=f"number {i}", sampling=Sampling(max_tokens=1 + i % 5)) for i in range(70)
    ]
    got = by_id(engine.generate(requests))
    assert sorted(got, key=int) == [f"{i}" for i in range(70)]
    for i in (0, 33, 69):
        wanted = reference.greedy(reference.tokenizer(f"number {i}")["input_ids"], 1 + i % 5)
        assert got[f"{i}"].text == reference.tokenizer.decode(wanted, skip_special_tokens=True)


def test_stopping_early_takes_the_rest_back(engine: VLLMEngine) -> None:
    stream = engine.generate([*text_requests(40), GenerationRequest("x", text="A", sampling=Sampling(max_tokens=1))])
    assert next(stream).request_id == "x"
    assert unfinished(engine) == len(PROMPTS)
    stream.close()
    assert unfinished(engine) == 0
    assert len(list(engine.generate(text_requests(3)))) == len(PROMPTS)


def test_two_streams_keep_their_own(engine: VLLMEngine) -> None:
    alone = {i: g.text for i, g in by_id(engine.generate(text_requests(12))).items()}
    one, two = engine.generate(text_requests(12)), engine.generate(text_requests(12))
    mixed: list[list[Generation]] = [[], []]
    for _ in PROMPTS:
        mixed[0].append(next(one))
        mixed[1].append(next(two))
    for side in mixed:
        assert {i: g.text for i, g in by_id(side).items()} == alone


def test_works_in_a_thread_of_its_own(engine: VLLMEngine) -> None:
    wanted = by_id(engine.generate(text_requests(8)))
    got: list[Generation] = []
    thread = threading.Thread(target=lambda: got.extend(engine.generate(text_requests(8))))
    thread.start()
    thread.join()
    assert by_id(got) == wanted


def test_stop_string_ends_the_text_before_it(engine: VLLMEngine) -> None:
    (whole,) = engine.generate([GenerationRequest("a", text="The judge", sampling=Sampling(max_tokens=40))])
    stop = whole.text[15:18]  # wherever token boundaries fall
    (cut,) = engine.generate(
        [GenerationRequest("b", text="The judge", sampling=Sampling(max_tokens=40, stop=("never there", stop)))]
    )
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish == "stop"
    assert cut.n_tokens is not None
    assert whole.n_tokens is not None
    assert 0 < cut.n_tokens < whole.n_tokens


def test_context_cuts_a_generation(engine: VLLMEngine, reference: Reference) -> None:
    text = "The judge " * 20
    n_prompt = len(reference.tokenizer(text)["input_ids"])
    (got,) = engine.generate([GenerationRequest("a", text=text, sampling=Sampling(max_tokens=500))])
    assert (got.finish, got.n_tokens) == ("length", CONTEXT - n_prompt)


def test_too_long_prompt_is_an_error_of_its_own_request(engine: VLLMEngine, reference: Reference) -> None:
    long_text = "x" * 3000
    n_tokens = len(reference.tokenizer(long_text)["input_ids"])
    requests = [GenerationRequest("long", text=long_text), *text_requests(2)]
    got = by_id(engine.generate(requests))
    error = got.pop("long")
    assert (error.finish, error.text, error.retryable) == ("error", "", False)
    assert f"{n_tokens} tokens" in error.error
    assert f"context {CONTEXT}" in error.error
    assert error.n_prompt_tokens == n_tokens
    assert all(generation.finish == "length" for generation in got.values())


@pytest.mark.parametrize("n_missing", [0, 1])
def test_prompt_as_long_as_the_context(engine: VLLMEngine, reference: Reference, n_missing: int) -> None:
    prompt = reference.tokenizer.decode([70 + i % 90 for i in range(CONTEXT - n_missing)])
    n_tokens = len(reference.tokenizer(prompt)["input_ids"])
    while n_tokens > CONTEXT - n_missing:  # byte pairs that merge differently together
        prompt = prompt[:-1]
        n_tokens = len(reference.tokenizer(prompt)["input_ids"])
    prompt += "~" * (CONTEXT - n_missing - n_tokens)
    assert len(reference.tokenizer(prompt)["input_ids"]) == CONTEXT - n_missing
    (got,) = engine.generate([GenerationRequest("a", text=prompt, sampling=Sampling(max_tokens=5))])
    assert (got.finish, got.n_tokens) == (("error", None) if n_missing == 0 else ("length", 1))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (GenerationRequest("a", text="x", sampling=Sampling(max_tokens=0)), "max_tokens"),
        (GenerationRequest("a", text="x", sampling=Sampling(temperature=1.0, top_p=0.0)), "top_p"),
        (GenerationRequest("a", text="lone surrogate \ud800"), "tokenizer refuses"),
    ],
)
def test_impossible_request_is_refused_not_raised(engine: VLLMEngine, request_: GenerationRequest, said: str) -> None:
    (got,) = engine.generate([request_])
    assert (got.finish, got.retryable) == ("error", False)
    assert said in got.error


def test_empty_prompt_is_the_end_of_text_token(engine: VLLMEngine, reference: Reference) -> None:
    (got,) = engine.generate([GenerationRequest("a", text="", sampling=Sampling(max_tokens=5))])
    assert got.n_prompt_tokens == 1
    assert got.text == reference.tokenizer.decode(reference.greedy([reference.tokenizer.eos_token_id], 5))


def test_no_chat_template(engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_loaded", replace(engine._model, chat_template=None))
    with pytest.raises(NoChatTemplateError, match="--chat-template"):
        engine.generate([GenerationRequest("a", (Message("user", "Hi"),))])
    assert len(list(engine.generate(text_requests(1)))) == len(PROMPTS)


def test_seed_decides_sampled_text_whatever_it_is_batched_with(engine: VLLMEngine) -> None:
    def ask(seed: int) -> GenerationRequest:
        return GenerationRequest(f"s{seed}", text="The", sampling=Sampling(temperature=1.0, max_tokens=20, seed=seed))

    together = by_id(engine.generate([ask(seed) for seed in range(12)]))
    assert len({generation.text for generation in together.values()}) == 12
    assert [together[f"s{seed}"].seed for seed in range(12)] == list(range(12))
    for seed in (3, 11):
        assert list(engine.generate([ask(seed)])) == [together[f"s{seed}"]]


def test_sampled_tokens_follow_the_models_distribution(engine: VLLMEngine, reference: Reference) -> None:
    prompt_ids = reference.tokenizer("The judge")["input_ids"]
    n, temperature, top_p = 400, 0.7, 0.8
    probabilities = np.asarray((reference.logprobs(prompt_ids)[-1] / temperature).softmax(-1), dtype=float)
    order = np.argsort(-probabilities)
    kept = order[: int(np.searchsorted(np.cumsum(probabilities[order]), top_p)) + 1]
    nucleus: dict[str, float] = {}
    for i in kept:  # pieces of a character all decode to the same mark
        piece = reference.tokenizer.decode([int(i)])
        nucleus[piece] = nucleus.get(piece, 0.0) + probabilities[i] / probabilities[kept].sum()
    requests = [
        GenerationRequest(
            str(seed),
            text="The judge",
            sampling=Sampling(temperature=temperature, top_p=top_p, max_tokens=1, seed=seed),
        )
        for seed in range(n)
    ]
    drawn = [generation.text for generation in engine.generate(requests)]
    assert set(drawn) <= set(nucleus)
    counts = np.array([drawn.count(text) for text in nucleus])
    expected = n * np.array(list(nucleus.values()))
    frequent = expected >= 5
    observed = [*counts[frequent], counts[~frequent].sum()]
    wanted = [*expected[frequent], expected[~frequent].sum()]
    assert frequent.sum() >= 5
    assert stats.chisquare(observed, wanted).pvalue > 1e-4


def test_any_seed_will_do(engine: VLLMEngine) -> None:
    seeds = (-1, 0, 2**63 - 1, 2**64 + 5)
    requests = [
        GenerationRequest(f"{s}", text="The", sampling=Sampling(temperature=1.0, max_tokens=12, seed=s)) for s in seeds
    ]
    first, second = by_id(engine.generate(requests)), by_id(engine.generate(requests))
    assert first == second
    assert [first[f"{s}"].seed for s in seeds] == list(seeds)


def test_loglikelihood_is_that_of_transformers(engine: VLLMEngine, reference: Reference) -> None:
    rng = np.random.default_rng(0)
    requests, wanted = [], {}
    for i, (n_context, n_continuation) in enumerate([(1, 1), (5, 1), (5, 2), (30, 20), (CONTEXT - 4, 4), (60, 1)]):
        ids = [int(t) for t in rng.integers(0, 256, n_context + n_continuation)]
        if i == 2:  # a continuation every token of which is the most probable one
            ids[n_context:] = reference.greedy(ids[:n_context], n_continuation)
        table = reference.logprobs(ids)[n_context - 1 : -1]
        chosen = ids[n_context:]
        wanted[str(i)] = (
            sum(float(table[place, token]) for place, token in enumerate(chosen)),
            table.argmax(-1).tolist() == chosen,
            n_continuation,
        )
        requests.append(
            LogLikelihoodRequest(
                str(i), "", "", context_ids=tuple(ids[:n_context]), continuation_ids=tuple(ids[n_context:])
            )
        )
    got = {result.request_id: result for result in engine.loglikelihood(requests)}
    assert [greedy for _, greedy, _ in wanted.values()].count(True) >= 1
    for key, (logprob, is_greedy, n_tokens) in wanted.items():
        assert got[key].error == ""
        assert got[key].logprob == pytest.approx(logprob, abs=1e-4)
        assert (got[key].is_greedy, got[key].n_tokens) == (is_greedy, n_tokens)


def test_loglikelihood_of_text_sums_to_one_over_the_vocabulary(engine: VLLMEngine, reference: Reference) -> None:
    context = tuple(reference.tokenizer("The judge reads")["input_ids"])
    requests = [
        LogLikelihoodRequest(str(i), "", "", context_ids=context, continuation_ids=(i,))
        for i in range(engine._model.llm.model_config.get_vocab_size())
    ]
    results = list(engine.loglikelihood(requests))
    assert sum(result.is_greedy is True for result in results) == 1
    assert sum(np.exp(result.logprob or -np.inf) for result in results) == pytest.approx(1, abs=1e-4)


def test_loglikelihood_of_text_uses_the_shared_boundary(engine: VLLMEngine, reference: Reference) -> None:
    context, continuation = "The judge reads ", "the question"
    whole = reference.tokenizer("The judge reads the question")["input_ids"]
    n_context = len(reference.tokenizer("The judge reads")["input_ids"])
    table = reference.logprobs(whole)
    wanted = sum(float(table[place - 1, whole[place]]) for place in range(n_context, len(whole)))
    (got,) = engine.loglikelihood([LogLikelihoodRequest("a", context, continuation)])
    assert got.logprob == pytest.approx(wanted, abs=1e-4)
    assert got.n_tokens == len(whole) - n_context


def test_loglikelihood_that_cannot_be_had_is_a_reason(engine: VLLMEngine) -> None:
    ids = tuple(range(100, 100 + CONTEXT))
    too_long = LogLikelihoodRequest("long", "", "", context_ids=ids, continuation_ids=(5,))
    nothing = LogLikelihoodRequest("empty", "The judge", "")
    fine = LogLikelihoodRequest("fine", "The", " judge")
    unknown = LogLikelihoodRequest("unknown", "", "", context_ids=(1,), continuation_ids=(10**6,))
    got = {result.request_id: result for result in engine.loglikelihood([too_long, nothing, unknown, fine])}
    assert "token 1000000" in got["unknown"].error
    assert f"{CONTEXT + 1} tokens" in got["long"].error
    assert got["long"].logprob is None
    assert "no tokens" in got["empty"].error
    assert got["fine"].logprob is not None


def test_fingerprint(engine: VLLMEngine, checkpoint: Path) -> None:
    fingerprint = engine.fingerprint
    assert fingerprint.name == "tiny"
    assert fingerprint.engine == "vllm"
    assert fingerprint.source == str(checkpoint)
    assert fingerprint.weights_hash == weights_hash([checkpoint])
    assert fingerprint.chat_template_hash is not None
    assert fingerprint.options["dtype"] == "float32"
    assert engine.fingerprint.model_id == fingerprint.model_id
