"""The decoders against `model.generate`, one prompt at a time, on random models of each kind of cache."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.engines.hf.batches import BatchLimits
from harness.engines.hf.decode_job import DecodeJob
from harness.engines.hf.decoding import ContinuousDecoder, prefill_parts
from harness.engines.hf.model_loading import LoadedModel, describe_model
from harness.engines.hf.static_decoding import StaticDecoder
from harness.engines.hf.stopping import TokenText
from harness.errors import ModelError
from harness.messages import Sampling
from tests.support.random_models import EOS, PAD, VOCABULARY, build, byte_tokenizer

MERGING = ("llama", "mistral", "qwen2", "gemma2", "gemma3", "gpt2", "gpt_neo")
STATIC = ("bloom", "mamba")
STOPS = frozenset({EOS, *range(0, 256, 16)})  # a random model rarely says <eos>; some bytes let rows end early


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="module")
def llama(tokenizer) -> LoadedModel:
    return describe_model(build("llama"), tokenizer)


@pytest.fixture
def faults():
    """Asked for by tests that make the model fail."""


@pytest.fixture(autouse=True)
def no_silent_retries(request, caplog):
    """A decoder that recovers from faults would hide its own."""
    yield
    if "faults" not in request.fixturenames:
        assert [r for r in caplog.records if r.name.startswith("harness")] == []


def make_jobs(loaded: LoadedModel, n: int, *, sampling: Sampling | None = None, seed: int = 0) -> list[DecodeJob]:
    """Prompts of 1 to 40 tokens and limits of 1 to 40 new tokens."""
    rng = np.random.default_rng(seed)
    text = TokenText(loaded.tokenizer)
    jobs = []
    for index in range(n):
        prompt = rng.integers(0, 256, size=int(rng.integers(1, 41))).tolist()
        own = Sampling(max_tokens=int(rng.integers(1, 41))) if sampling is None else sampling
        jobs.append(DecodeJob(str(index), prompt, own, own.max_tokens, STOPS, text))
    return jobs


def tokens(jobs: Iterable[DecodeJob]) -> dict[str, list[int]]:
    return {job.request_id: job.token_ids for job in jobs}


def reference(model, job: DecodeJob) -> list[int]:
    """Greedy tokens of transformers' own generate, cut after the first stop token."""
    ids = torch.tensor([job.prompt_ids])
    with torch.inference_mode():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=job.limit,
            do_sample=False,
            eos_token_id=sorted(STOPS),
            pad_token_id=PAD,
        )
    return out[0, len(job.prompt_ids) :].tolist()


@pytest.mark.parametrize("architecture", MERGING)
def test_equals_generate_while_rows_come_and_go(architecture, tokenizer):
    loaded = describe_model(build(architecture), tokenizer)
    assert loaded.merges_rows
    jobs = make_jobs(loaded, 14)
    done = list(ContinuousDecoder(loaded, BatchLimits(10_000, 4)).run(jobs))
    assert len(done) == len(jobs)
    assert {job.finish for job in done} <= {"stop", "length"}
    for job in done:
        assert job.token_ids == reference(loaded.model, job)


@pytest.mark.parametrize("architecture", STATIC)
def test_static_equals_generate(architecture, tokenizer):
    loaded = describe_model(build(architecture), tokenizer)
    assert not loaded.merges_rows
    jobs = make_jobs(loaded, 6)
    jobs += [DecodeJob(f"twin {j.request_id}", j.prompt_ids, j.sampling, 5, STOPS, TokenText(tokenizer)) for j in jobs]
    done = list(StaticDecoder(loaded, BatchLimits(10_000, 4)).run(jobs))
    assert len(done) == len(jobs)
    for job in done:
        assert job.token_ids == reference(loaded.model, job)


def test_static_decoding_ignores_the_checkpoints_own_sampling_settings(tokenizer):
    loaded = describe_model(build("bloom"), tokenizer)
    plain = tokens(StaticDecoder(loaded, BatchLimits(10_000, 4)).run(make_jobs(loaded, 3)))
    loaded.model.generation_config.update(repetition_penalty=5.0, do_sample=True, temperature=2.0)
    assert tokens(StaticDecoder(loaded, BatchLimits(10_000, 4)).run(make_jobs(loaded, 3))) == plain
    assert loaded.model.generation_config.repetition_penalty == 5.0


@pytest.mark.parametrize("sampling", [None, Sampling(1.0, 1.0, 30, seed=3), Sampling(0.7, 0.8, 30, seed=4)])
@pytest.mark.parametrize("max_rows", [1, 3, 64])
def test_tokens_do_not_depend_on_the_batch(llama, sampling, max_rows):
    alone = [
        next(ContinuousDecoder(llama, BatchLimits(9, 1)).run([j])) for j in make_jobs(llama, 12, sampling=sampling)
    ]
    together = make_jobs(llama, 12, sampling=sampling)
    order = np.random.default_rng(max_rows).permutation(12)
    done = ContinuousDecoder(llama, BatchLimits(10_000, max_rows)).run([together[i] for i in order])
    assert tokens(done) == tokens(alone)


def test_sampling_is_the_same_in_both_decoders(llama):
    sampling = Sampling(0.9, 0.9, 20, seed=8)
    continuous = tokens(ContinuousDecoder(llama, BatchLimits(10_000, 5)).run(make_jobs(llama, 8, sampling=sampling)))
    assert (
        tokens(StaticDecoder(llama, BatchLimits(10_000, 5)).run(make_jobs(llama, 8, sampling=sampling))) == continuous
    )


def test_samples_of_one_prompt_differ_by_seed_and_share_their_prefill(llama, monkeypatch):
    text = TokenText(llama.tokenizer)
    prompt = list(b"the same prompt")
    jobs = [DecodeJob(str(s), prompt, Sampling(1.0, 1.0, 12, seed=s), 12, frozenset(), text) for s in range(6)]
    shapes = record_shapes(llama, monkeypatch)
    done = tokens(ContinuousDecoder(llama, BatchLimits(10_000, 6)).run(jobs))
    assert shapes[0] == (1, len(prompt))
    assert len({tuple(ids) for ids in done.values()}) == 6
    again = DecodeJob("3", prompt, Sampling(1.0, 1.0, 12, seed=3), 12, frozenset(), text)
    assert tokens(ContinuousDecoder(llama, BatchLimits(10_000, 1)).run([again]))["3"] == done["3"]


def test_the_budget_and_the_context_bound_every_forward_pass(llama, monkeypatch):
    shapes = record_shapes(llama, monkeypatch)
    widths = []
    original = ContinuousDecoder._step

    def step(self):
        original(self)
        widths.append((self._cache.n_rows, self._cache.width))

    monkeypatch.setattr(ContinuousDecoder, "_step", step)
    jobs = make_jobs(llama, 30)
    longest = max(job.reserved for job in jobs)
    list(ContinuousDecoder(llama, BatchLimits(4 * longest, 64)).run(jobs))
    assert max(rows * width for rows, width in widths) <= 4 * longest
    assert max(rows for rows, _ in shapes) >= 4
    assert llama.context_length is not None and max(width for _, width in widths) <= llama.context_length


def test_prefill_parts_keep_all_jobs_and_bound_padding(llama):
    jobs = make_jobs(llama, 40)
    for allowed in (0, 16, 1000):
        parts = prefill_parts(jobs, allowed, 10_000)
        assert sorted(j.request_id for part in parts for j in part) == sorted(j.request_id for j in jobs)
        for part in parts:
            lengths = [len(job.prompt_ids) for job in part]
            assert sum(max(lengths) - length for length in lengths) <= allowed
    assert len(prefill_parts(jobs, 1000, 10_000)) == 1
    for part in prefill_parts(jobs, 1000, 60):
        assert len(part) == 1 or len(part) * max(len(job.prompt_ids) for job in part) <= 60


def record_shapes(loaded: LoadedModel, monkeypatch) -> list[tuple[int, int]]:
    shapes: list[tuple[int, int]] = []
    forward = loaded.model.forward

    def recording(*args, **kwargs):
        shapes.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    monkeypatch.setattr(loaded.model, "forward", recording)
    return shapes


class Faulty:
    """Makes a model's forward pass fail where `condition(kwargs)` holds."""

    def __init__(self, loaded: LoadedModel, monkeypatch, condition, error: Exception) -> None:
        self.n_raised = 0
        forward = loaded.model.forward

        def failing(*args, **kwargs):
            if condition(kwargs):
                self.n_raised += 1
                raise error
            return forward(*args, **kwargs)

        monkeypatch.setattr(loaded.model, "forward", failing)


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize("decoder", [ContinuousDecoder, StaticDecoder])
def test_out_of_memory_halves_the_batch_and_changes_nothing(llama, monkeypatch, decoder):
    sampling = Sampling(1.0, 1.0, 15, seed=1)
    want = tokens(ContinuousDecoder(llama, BatchLimits(10_000, 64)).run(make_jobs(llama, 20, sampling=sampling)))
    fault = Faulty(
        llama, monkeypatch, lambda k: k["input_ids"].shape[0] > 4, torch.OutOfMemoryError("CUDA out of memory")
    )
    limits = BatchLimits(10_000, 64)
    jobs = make_jobs(llama, 20, sampling=sampling)
    if decoder is StaticDecoder:
        jobs += [
            DecodeJob(f"{j.request_id}+", j.prompt_ids, j.sampling, 15, STOPS, j._text) for j in jobs for _ in range(6)
        ]
    got = tokens(decoder(llama, limits).run(jobs))
    assert {key: ids for key, ids in got.items() if not key.endswith("+")} == want
    assert fault.n_raised >= 1
    assert limits.max_rows <= 32


@pytest.mark.usefixtures("faults")
def test_out_of_memory_in_the_middle_keeps_what_was_decoded(llama, monkeypatch):
    sampling = Sampling(1.0, 1.0, 25, seed=1)
    want = tokens(ContinuousDecoder(llama, BatchLimits(10_000, 8)).run(make_jobs(llama, 8, sampling=sampling)))
    calls = {"n": 0}

    def tenth(kwargs):
        calls["n"] += 1
        return calls["n"] == 10

    Faulty(llama, monkeypatch, tenth, torch.OutOfMemoryError("CUDA out of memory"))
    got = tokens(ContinuousDecoder(llama, BatchLimits(10_000, 8)).run(make_jobs(llama, 8, sampling=sampling)))
    assert got == want


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize("decoder", [ContinuousDecoder, StaticDecoder])
def test_a_prompt_that_fits_no_memory_is_one_error(llama, monkeypatch, decoder):
    jobs = make_jobs(llama, 6)
    longest = max(jobs, key=lambda job: len(job.prompt_ids))
    Faulty(
        llama,
        monkeypatch,
        lambda k: k["input_ids"].shape[1] >= len(longest.prompt_ids),
        torch.OutOfMemoryError("CUDA out of memory"),
    )
    done = {job.request_id: job for job in decoder(llama, BatchLimits(10_000, 8)).run(jobs)}
    assert [i for i, job in done.items() if job.finish == "error"] == [longest.request_id]
    assert "out of memory" in done[longest.request_id].generation().error


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize("decoder", [ContinuousDecoder, StaticDecoder])
def test_one_poisoned_request_does_not_sink_others(llama, monkeypatch, decoder):
    jobs = make_jobs(llama, 10)
    want = {job.request_id: reference(llama.model, job) for job in jobs}
    jobs[4].prompt_ids[0] = PAD  # stands for whatever the model chokes on

    def poisonous(kwargs):
        return kwargs["input_ids"].shape[1] > 1 and bool((kwargs["input_ids"] == PAD).any())

    Faulty(llama, monkeypatch, poisonous, RuntimeError("poison"))
    done = {job.request_id: job for job in decoder(llama, BatchLimits(10_000, 16)).run(jobs)}
    assert len(done) == 10
    assert done["4"].generation().error == "RuntimeError: poison"
    assert {i: job.token_ids for i, job in done.items() if i != "4"} == {i: ids for i, ids in want.items() if i != "4"}


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("hiccup")])
@pytest.mark.parametrize("failing_call", range(2, 12))
def test_a_fault_between_passes_loses_and_repeats_nothing(llama, monkeypatch, error, failing_call):
    """Prompts go through the model in several passes here; the fault strikes in each of the first ones."""
    in_parts = replace(llama, pass_tokens=60)
    one_token = Sampling(1.0, max_tokens=1, seed=2)  # some are done with their very first token
    jobs = make_jobs(llama, 8) + [
        DecodeJob(f"{j.request_id} short", j.prompt_ids, one_token, 1, STOPS, TokenText(llama.tokenizer))
        for j in make_jobs(llama, 8)
    ]
    want = tokens(ContinuousDecoder(llama, BatchLimits(10_000, 64)).run(copies(jobs)))
    calls = {"n": 0}

    def nth(kwargs):
        calls["n"] += 1
        return calls["n"] == failing_call

    Faulty(llama, monkeypatch, nth, error)
    done = list(ContinuousDecoder(in_parts, BatchLimits(10_000, 9)).run(copies(jobs)))
    assert sorted(job.request_id for job in done) == sorted(want)
    failed = [job.request_id for job in done if job.finish == "error"]
    assert len(failed) <= (0 if isinstance(error, torch.OutOfMemoryError) else 1)  # a part of one job has no second try
    assert {job.request_id: job.token_ids for job in done if job.finish != "error"} == {
        i: ids for i, ids in want.items() if i not in failed
    }


def copies(jobs: list[DecodeJob]) -> list[DecodeJob]:
    return [DecodeJob(j.request_id, j.prompt_ids, j.sampling, j.limit, STOPS, j._text) for j in jobs]


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize("decoder", [ContinuousDecoder, StaticDecoder])
def test_a_dead_device_is_the_engines_fault(llama, monkeypatch, decoder):
    Faulty(llama, monkeypatch, lambda k: True, torch.AcceleratorError("CUDA error: device-side assert triggered"))
    with pytest.raises(ModelError, match="device-side assert"):
        list(decoder(llama, BatchLimits(10_000, 4)).run(make_jobs(llama, 3)))


@pytest.mark.parametrize("decoder", [ContinuousDecoder, StaticDecoder])
def test_logits_that_are_not_numbers_are_an_error_of_their_row(llama, monkeypatch, decoder):
    jobs = make_jobs(llama, 5)
    want = {job.request_id: reference(llama.model, job) for job in jobs}
    forward = llama.model.forward
    poisoned = min(jobs, key=lambda job: len(job.prompt_ids))
    last = poisoned.prompt_ids[-1]

    def overflowing(*args, **kwargs):
        output = forward(*args, **kwargs)
        if kwargs["input_ids"].shape[1] > 1 or len(poisoned.prompt_ids) == 1:
            output.logits[kwargs["input_ids"][:, -1] == last] = torch.nan
        return output

    assert sum(job.prompt_ids[-1] == last for job in jobs) == 1
    monkeypatch.setattr(llama.model, "forward", overflowing)
    done = {job.request_id: job for job in decoder(llama, BatchLimits(10_000, 8)).run(jobs)}
    assert "not numbers (overflow in float32?)" in done.pop(poisoned.request_id).error
    assert {i: job.token_ids for i, job in done.items()} == {i: want[i] for i in done}


def test_an_abandoned_iterator_frees_the_batch(llama):
    decoder = ContinuousDecoder(llama, BatchLimits(10_000, 4))
    running = decoder.run(make_jobs(llama, 8))
    next(running)
    running.close()
    assert decoder._cache.n_rows == 0 and decoder._rows == []
    assert len(list(decoder.run(make_jobs(llama, 8)))) == 8


def test_nothing_global_changes(llama):
    before = (torch.get_rng_state(), torch.is_inference_mode_enabled(), np.random.get_state()[1].tolist())  # noqa: NPY002
    for _ in ContinuousDecoder(llama, BatchLimits(10_000, 4)).run(
        make_jobs(llama, 6, sampling=Sampling(1.0, max_tokens=9))
    ):
        assert not torch.is_inference_mode_enabled()
    after = (torch.get_rng_state(), torch.is_inference_mode_enabled(), np.random.get_state()[1].tolist())  # noqa: NPY002
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]


def test_embeddings_cover_the_tokenizer(llama):
    assert llama.n_embeddings == VOCABULARY == len(llama.tokenizer)
