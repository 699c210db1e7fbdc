"""The transformers engine on small real models: batch invariance, ends, errors, log-likelihoods against lm-eval's."""

from __future__ import annotations

import logging
import random
from dataclasses import replace

import pytest
import torch

from harness.engines.base import Engine, Generation, GenerationRequest, LogLikelihood, LogLikelihoodRequest
from harness.engines.hf.engine import HFEngine
from harness.engines.hf.hf_options import HFOptions
from harness.engines.hf.model_loading import describe_model
from harness.errors import ModelError, NoChatTemplateError
from harness.messages import Message, Sampling
from tests.paths import MODELS, needs_models
from tests.support.random_models import PAD, build, byte_tokenizer

pytestmark = needs_models
NAMES = ("neo3m-chat-hf", "stories260K-hf", "vanilla1m-byte-hf")
WORDS = (
    "a",
    "dog",
    "ran",
    "to",
    "the",
    "big tree",
    "and",
    "said",
    "hello",
    "my friend",
    "how are you",
    "today",
    "happy",
)


@pytest.fixture(scope="module")
def engines():
    return {name: HFEngine.from_options({"model": str(MODELS / name)}) for name in NAMES}


@pytest.fixture
def faults():
    """Asked for by tests that make the model fail."""


@pytest.fixture(autouse=True)
def no_silent_retries(request, caplog):
    """An engine that recovers from faults would hide its own."""
    yield
    if "faults" not in request.fixturenames:
        assert [r for r in caplog.records if r.name.startswith("harness")] == []


def with_batch(engine: HFEngine, size: int) -> HFEngine:
    return HFEngine(engine.options.model_copy(update={"max_batch_size": size}), loaded=engine._loaded)


def by_id(generations) -> dict[str, Generation]:
    return {g.request_id: g for g in generations}


def mixed_requests(n: int, *, chat: bool, temperature: float = 0.0) -> list[GenerationRequest]:
    """Prompts of 1 to 40 words, limits of 1 to 24 tokens."""
    rng = random.Random(0)
    requests = []
    for index in range(n):
        text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 40)))
        sampling = Sampling(temperature, 0.9 if index % 2 else 1.0, rng.randint(1, 24), seed=index)
        messages = (Message("user", text),) if chat else ()
        requests.append(GenerationRequest(str(index), messages, sampling, None if chat else text))
    return requests


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_results_do_not_depend_on_batch_size_or_order(engines, name, chat, temperature):
    requests = mixed_requests(34, chat=chat, temperature=temperature)
    alone = by_id(with_batch(engines[name], 1).generate(requests))
    assert set(alone) == {r.request_id for r in requests}
    assert {g.finish for g in alone.values()} <= {"stop", "length"}
    for size in (7, 32):
        shuffled = random.Random(size).sample(requests, len(requests))
        assert by_id(with_batch(engines[name], size).generate(shuffled)) == alone


@pytest.mark.parametrize("name", NAMES)
def test_greedy_equals_transformers_generate(engines, name):
    engine = engines[name]
    requests = mixed_requests(8, chat=True)
    done = by_id(engine.generate(requests))
    for request in requests:
        ids = torch.tensor([engine.chat_template.encode(request.messages)])
        end = sorted(engine.stop_ids) or None
        with torch.inference_mode():
            out = engine._loaded.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=request.sampling.max_tokens,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=0,
            )[0, ids.shape[1] :].tolist()
        generation = done[request.request_id]
        assert generation.text == engine.tokenizer.decode(out, skip_special_tokens=True)
        assert (generation.n_tokens, generation.n_prompt_tokens) == (len(out), ids.shape[1])
        assert generation.finish == ("stop" if out[-1] in engine.stop_ids else "length")


def test_generations_stream_out_as_they_finish(engines):
    requests = [
        GenerationRequest("long", text="Once upon a time", sampling=Sampling(max_tokens=60)),
        GenerationRequest("short", text="One day", sampling=Sampling(max_tokens=2)),
    ]
    steps = []
    engine = engines["vanilla1m-byte-hf"]
    model = engine._loaded.model
    hook = model.register_forward_hook(lambda *_: steps.append(1))
    try:
        running = engine.generate(requests)
        assert next(running).request_id == "short"
        assert len(steps) < 10
        assert next(running).request_id == "long"
        assert len(steps) >= 60
    finally:
        hook.remove()


def test_every_declared_end_stops(engines):
    assert engines["stories260K-hf"].stop_ids == {1, 2}
    assert engines["neo3m-chat-hf"].stop_ids == {14018}
    assert engines["vanilla1m-byte-hf"].stop_ids == frozenset()


def test_finish_and_counts(engines):
    request = GenerationRequest("r", (Message("user", "How are you?"),), Sampling(max_tokens=100))
    (stopped,) = engines["neo3m-chat-hf"].generate([request])
    assert stopped.finish == "stop" and stopped.n_tokens < 100 and stopped.text.strip()
    (cut,) = engines["neo3m-chat-hf"].generate([replace(request, sampling=Sampling(max_tokens=3))])
    assert (cut.finish, cut.n_tokens) == ("length", 3) and stopped.text.startswith(cut.text)
    (sampled,) = engines["neo3m-chat-hf"].generate([replace(request, sampling=Sampling(1.0, seed=9, max_tokens=3))])
    assert (sampled.seed, cut.seed) == (9, None)


def test_stop_strings_end_the_text(engines):
    request = GenerationRequest("r", text="Once upon a time", sampling=Sampling(max_tokens=60))
    (whole,) = engines["stories260K-hf"].generate([request])
    stop = whole.text[20:24]
    (stopped,) = engines["stories260K-hf"].generate([replace(request, sampling=Sampling(max_tokens=60, stop=(stop,)))])
    assert stopped.text == whole.text[: whole.text.index(stop)] and stopped.finish == "stop"
    assert stopped.n_tokens < whole.n_tokens


def test_a_prompt_over_the_context_is_not_measured_and_not_cut(engines):
    engine = engines["vanilla1m-byte-hf"]
    requests = [
        GenerationRequest(str(n), text="a" * n, sampling=Sampling(max_tokens=20))
        for n in (235, 236, 237, 255, 256, 400)
    ]
    done = by_id(engine.generate(requests))
    assert [done[str(n)].n_tokens for n in (235, 236, 237, 255)] == [20, 20, 19, 1]
    assert {done[str(n)].finish for n in (235, 236, 237, 255)} == {"length"}
    for n in (256, 400):
        assert (done[str(n)].finish, done[str(n)].text, done[str(n)].retryable) == ("error", "", False)
        assert f"{n} tokens" in done[str(n)].error and "context 256" in done[str(n)].error
        assert done[str(n)].n_prompt_tokens == n


def test_the_whole_context_can_be_used(engines):
    """GPT-Neo's causal buffer is as large as the context: a wider cache would be an error."""
    requests = [
        GenerationRequest(str(n), text=" hello" * n, sampling=Sampling(max_tokens=1000))
        for n in (1, 5, 60, 120, 180, 250)
    ]
    done = by_id(with_batch(engines["neo3m-chat-hf"], 4).generate(requests))
    assert "error" not in {g.finish for g in done.values()}
    assert all(g.n_prompt_tokens + g.n_tokens <= 256 for g in done.values())


def test_no_second_bos(engines):
    engine = engines["stories260K-hf"]
    assert engine.chat_template.encode((Message("user", "hi"),)).count(1) == 1
    chat, text, again = (
        GenerationRequest("c", (Message("user", "Once"),), Sampling(max_tokens=5)),
        GenerationRequest("t", text="Once\n", sampling=Sampling(max_tokens=5)),
        GenerationRequest("b", text="<s>Once\n", sampling=Sampling(max_tokens=5)),
    )
    done = by_id(engine.generate([chat, text, again]))
    assert done["c"].n_prompt_tokens == done["t"].n_prompt_tokens == done["b"].n_prompt_tokens
    assert done["c"].text == done["t"].text == done["b"].text


def test_bad_requests_do_not_sink_others(engines, tmp_path):
    path = tmp_path / "template.jinja"
    path.write_text(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{{ messages[0]['content'] }}"
    )
    base = engines["vanilla1m-byte-hf"]
    engine = HFEngine(base.options.model_copy(update={"chat_template": path}), loaded=base._loaded)
    requests = [
        GenerationRequest("system", (Message("system", "x"), Message("user", "y"))),
        GenerationRequest("empty", text=""),
        GenerationRequest("nothing wanted", text="a", sampling=Sampling(max_tokens=0)),
        GenerationRequest("surrogate", text="\ud800"),
        GenerationRequest("good", (Message("user", "hello"),), Sampling(max_tokens=4)),
    ]
    done = by_id(engine.generate(requests))
    assert len(done) == 5
    assert "System role not supported" in done["system"].error
    assert "neither a bos nor an eos" in done["empty"].error
    assert "max_tokens is 0" in done["nothing wanted"].error
    assert all(not done[i].retryable for i in ("system", "empty", "nothing wanted"))
    assert done["good"].finish == "length"
    assert (done["surrogate"].finish, done["surrogate"].retryable) == ("error", False)


def test_an_empty_text_is_bos(engines):
    (generation,) = engines["stories260K-hf"].generate(
        [GenerationRequest("r", text="", sampling=Sampling(max_tokens=5))]
    )
    assert generation.n_prompt_tokens == 1 and generation.text


def test_tokens_without_an_embedding_are_refused():
    engine = HFEngine(HFOptions(model="random"), loaded=describe_model(build("llama"), grown_tokenizer()))
    done = by_id(engine.generate([GenerationRequest("new", text="a<new>"), GenerationRequest("old", text="ab")]))
    assert "token 260" in done["new"].error and "260 tokens only" in done["new"].error and not done["new"].retryable
    assert done["old"].finish != "error"
    (score,) = engine.loglikelihood([LogLikelihoodRequest("r", "a", "<new>")])
    assert "token 260" in score.error


def grown_tokenizer():
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<new>"])
    return tokenizer


def test_no_chat_template_is_one_error_before_anything_runs_and_a_file_is_the_way_out(tmp_path):
    loaded = describe_model(build("llama"), byte_tokenizer())
    engine = HFEngine(HFOptions(model="random"), loaded=loaded)
    chat = GenerationRequest("r", (Message("user", "hi"),), Sampling(max_tokens=3))
    with pytest.raises(NoChatTemplateError, match="--chat-template FILE"):
        engine.generate([GenerationRequest("t", text="x"), chat])
    (text,) = engine.generate([GenerationRequest("t", text="x", sampling=Sampling(max_tokens=3))])
    assert text.finish != "error"
    (tmp_path / "t.jinja").write_text("{{ messages[0]['content'] }}")
    fixed = HFEngine(HFOptions(model="random", chat_template=tmp_path / "t.jinja"), loaded=loaded)
    (generation,) = fixed.generate([chat])
    assert generation.finish != "error" and generation.n_prompt_tokens == 2


def test_fingerprint(engines):
    engine = engines["neo3m-chat-hf"]
    print_ = engine.fingerprint
    assert isinstance(engine, Engine)
    assert (print_.name, print_.engine, print_.source) == ("neo3m-chat-hf", "hf", str(MODELS / "neo3m-chat-hf"))
    assert len(print_.weights_hash) == 64 and print_.chat_template_hash == engine.chat_template.sha256
    assert print_.options["dtype"] == "float32"
    assert print_.model_id != engines["stories260K-hf"].fingerprint.model_id


def test_a_closed_engine_says_so():
    with HFEngine(HFOptions(model="random"), loaded=describe_model(build("llama"), byte_tokenizer())) as engine:
        pass
    engine.close()
    for call in (lambda: engine.generate([]), lambda: engine.loglikelihood([]), lambda: engine.fingerprint):
        with pytest.raises(ModelError, match="closed"):
            call()


# Log-likelihoods


def pairs() -> list[tuple[str, str]]:
    """Plain pairs, multiple choice by letter and by text, trailing spaces."""
    rng = random.Random(1)
    found = []
    for _ in range(12):
        context = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 16)))
        found.append((context, " " + " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 9)))))
        found.append((context + " ", rng.choice(WORDS)))
    for _ in range(4):
        question = "Question: " + " ".join(rng.choice(WORDS) for _ in range(rng.randint(5, 40))) + "?\nAnswer:"
        found += [(question, f" {letter}") for letter in "ABCD"]
        found += [(question, " " + " ".join(rng.choice(WORDS) for _ in range(k))) for k in (1, 3, 6, 2)]
    return found


def score(engine: HFEngine, wanted: list[tuple[str, str]]) -> dict[str, LogLikelihood]:
    requests = [LogLikelihoodRequest(str(i), context, continuation) for i, (context, continuation) in enumerate(wanted)]
    return {x.request_id: x for x in engine.loglikelihood(requests)}


@pytest.mark.parametrize("name", NAMES)
def test_loglikelihood_agrees_with_lm_eval(engines, name):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    engine = engines[name]
    rival = HFLM(pretrained=engine._loaded.model, tokenizer=engine.tokenizer, batch_size=8, device="cpu")
    if name == "vanilla1m-byte-hf":
        rival.custom_prefix_token_id = 10  # it needs one to encode at all; the texts here do not begin with it
    wanted = pairs()
    if name != "vanilla1m-byte-hf":  # which has no token to stand for an empty context
        wanted += [("", "Once upon a time"), ("", " a")]
    theirs = rival.loglikelihood(
        [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(wanted)], disable_tqdm=True
    )
    ours = score(engine, wanted)
    assert len(ours) == len(wanted)
    for i, (logprob, is_greedy) in enumerate(theirs):
        assert ours[str(i)].error == ""
        assert ours[str(i)].logprob == pytest.approx(logprob, abs=1e-4)
        assert ours[str(i)].is_greedy == is_greedy


@pytest.mark.parametrize("name", NAMES)
def test_loglikelihood_does_not_depend_on_the_batch(engines, name):
    wanted = pairs()
    alone = {}
    for i, pair in enumerate(wanted):
        alone[str(i)] = score(with_batch(engines[name], 1), [pair])["0"]
    for size in (1, 7, 32):
        together = score(with_batch(engines[name], size), wanted)
        for key, one in alone.items():
            assert together[key].logprob == pytest.approx(one.logprob, abs=1e-4)
            assert (together[key].is_greedy, together[key].n_tokens) == (one.is_greedy, one.n_tokens)


@pytest.mark.parametrize(
    "architecture", ["llama", "mistral", "qwen2", "gemma2", "gemma3", "gpt2", "gpt_neo", "bloom", "mamba"]
)
def test_loglikelihood_by_hand_on_every_kind_of_model(architecture):
    """Against a full forward pass of each pair alone; Gemma 2 soft-caps what comes out of the projection."""
    loaded = describe_model(build(architecture), byte_tokenizer())
    engine = HFEngine(HFOptions(model="random"), loaded=loaded)
    context = "a context longer than sixteen bytes:"
    wanted = [
        (context, " A"),
        (context, " B"),
        (context, " and a long one"),
        (context, " other"),
        ("short", " tail"),
        ("x", "y"),
    ]
    ours = score(engine, wanted)
    for i, (given, continuation) in enumerate(wanted):
        ids = torch.tensor([loaded.tokenizer(given + continuation)["input_ids"]])
        n = len(loaded.tokenizer(given)["input_ids"])
        with torch.inference_mode():
            logprobs = loaded.model(ids).logits[0].log_softmax(-1)
        picked = logprobs[n - 1 : -1].gather(1, ids[0, n:, None]).sum().item()
        assert ours[str(i)].logprob == pytest.approx(picked, abs=2e-4)
        assert ours[str(i)].is_greedy == bool((logprobs[n - 1 : -1].argmax(-1) == ids[0, n:]).all())
        assert ours[str(i)].n_tokens == len(continuation)


def test_is_greedy_is_true_for_the_models_own_words(engines):
    engine = engines["stories260K-hf"]
    (generation,) = engine.generate([GenerationRequest("r", text="Once upon a", sampling=Sampling(max_tokens=6))])
    ids = tuple(engine.tokenizer("Once upon a")["input_ids"])
    whole = engine.tokenizer("Once upon a" + " " + generation.text.strip())["input_ids"]
    (ours,) = engine.loglikelihood([LogLikelihoodRequest("r", "", "", ids, tuple(whole[len(ids) :]))])
    assert ours.is_greedy is True


def test_what_does_not_fit_or_has_nothing_to_score_is_an_error(engines):
    engine = engines["vanilla1m-byte-hf"]
    done = score(engine, [("a" * 200, "b" * 57), ("a" * 200, "b" * 58), ("a", ""), ("", "a"), ("\ud800", "a")])
    assert done["0"].error == "" and done["0"].logprob is not None
    assert "258 tokens" in done["1"].error and done["1"].logprob is None and done["1"].n_tokens == 58
    assert "no tokens of its own" in done["2"].error
    assert "neither a bos nor an eos" in done["3"].error
    assert "the tokenizer refuses the text" in done["4"].error


def test_shared_contexts_run_once(engines):
    engine = engines["stories260K-hf"]
    context = "Once upon a time there was a little girl who lived in a big house and"
    seen = []
    hook = engine._loaded.model.model.register_forward_pre_hook(
        lambda _m, _a, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    try:
        score(engine, [(context, " saw a dog"), (context, " played with her friend"), (context, " ran")])
        score(engine, [(context, letter) for letter in ("A", "B", "C")])
    finally:
        hook.remove()
    n_context = len(engine.tokenizer(context)["input_ids"])
    assert seen[0] == (1, n_context) and seen[1][0] == 3 and seen[1][1] < n_context


@pytest.mark.usefixtures("faults")
def test_loglikelihood_survives_faults(monkeypatch):
    loaded = describe_model(build("llama"), byte_tokenizer())
    engine = HFEngine(HFOptions(model="random"), loaded=loaded)
    context = "a context longer than sixteen bytes:"
    wanted = [(f"{i} {context}", f" {'xyz' * k}") for i in range(4) for k in (1, 2)] + [
        (f"{i}", " ab") for i in range(6)
    ]
    want = score(engine, wanted)
    forward = loaded.model.forward

    def failing(*args, **kwargs):
        if kwargs["input_ids"].shape[0] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if (kwargs["input_ids"] == PAD).any():
            raise RuntimeError("poison")
        return forward(*args, **kwargs)

    monkeypatch.setattr(loaded.model, "forward", failing)
    got = score(engine, [*wanted, ("<pad>", "x")])
    assert got.pop(str(len(wanted))).error == "RuntimeError: poison"
    for key, one in want.items():
        assert got[key].logprob == pytest.approx(one.logprob, abs=1e-4)


@pytest.mark.usefixtures("faults")
def test_loglikelihood_that_is_not_a_number_is_an_error_and_a_dead_device_a_fault(monkeypatch):
    loaded = describe_model(build("llama"), byte_tokenizer())
    engine = HFEngine(HFOptions(model="random"), loaded=loaded)
    forward = loaded.model.forward

    def overflowing(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits[0, 0] = torch.nan
        return output

    monkeypatch.setattr(loaded.model, "forward", overflowing)
    done = score(engine, [("abc", "d"), ("ab", "d")])
    assert sorted(bool(x.error) for x in done.values()) == [False, True]
    assert {x.logprob is None for x in done.values() if x.error} == {True}

    def dead(*args, **kwargs):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(loaded.model, "forward", dead)
    with pytest.raises(ModelError, match="device-side assert"):
        score(engine, [("abc", "d")])


def test_scoring_leaves_no_hooks_behind(engines):
    engine = engines["stories260K-hf"]
    score(engine, pairs()[:4])
    assert not engine._loaded.model.get_output_embeddings()._forward_pre_hooks
