"""Starting and stopping the real vLLM: checkpoints that cannot be used, stop tokens, adapters, a second engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.engines.base import GenerationRequest, LogLikelihoodRequest
from harness.engines.vllm.engine import VLLMEngine
from harness.engines.weights_hash import weights_hash
from harness.errors import MissingDataError, ModelError, SpecError
from harness.messages import Message, Sampling

from .conftest import Reference

pytestmark = pytest.mark.vllm

PROMPT = "Which of the two is better?"


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint to change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copied"))


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_stop_token_counts_but_is_not_text(
    copied: Path, reference: Reference, capfd: pytest.CaptureFixture[str]
) -> None:
    prompt_ids = reference.tokenizer(PROMPT)["input_ids"]
    greedy = reference.greedy(prompt_ids, 12)
    place = next(i for i, token in enumerate(greedy) if i >= 4 and token not in greedy[:i])
    edit(copied / "generation_config.json", lambda values: values.update(eos_token_id=[greedy[place]]))
    with VLLMEngine.from_options({"model": str(copied)}) as engine:
        (got,) = engine.generate([GenerationRequest("a", text=PROMPT, sampling=Sampling(max_tokens=40))])
        template_hash = engine.fingerprint.chat_template_hash
    assert (got.finish, got.n_tokens) == ("stop", place + 1)
    assert got.text == reference.tokenizer.decode(greedy[:place])
    assert template_hash is not None
    assert capfd.readouterr().out == ""  # figures alone go there


def test_closed_engine_says_so_and_another_can_start(
    checkpoint: Path, copied: Path, reference: Reference, tmp_path: Path
) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    engine = VLLMEngine.from_options({"model": str(checkpoint), "chat_template": str(template), "max_model_len": 64})
    with engine:
        assert engine.context_length == 64
        (got,) = engine.generate([GenerationRequest("a", (Message("user", PROMPT),), Sampling(max_tokens=6))])
        greedy = reference.greedy(reference.tokenizer(PROMPT)["input_ids"], 6)
        assert got.text == reference.tokenizer.decode(greedy)
        running = engine.generate(
            [GenerationRequest(f"{n}", text=PROMPT, sampling=Sampling(max_tokens=n)) for n in (2, 30)]
        )
        next(running)
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        next(running)
    with pytest.raises(ModelError, match="closed"):
        engine.generate([GenerationRequest("a", text=PROMPT)])
    with pytest.raises(ModelError, match="closed"):
        engine.loglikelihood([LogLikelihoodRequest("a", "x", "y")])
    with VLLMEngine.from_options({"model": str(checkpoint)}) as another:
        (again,) = another.generate([GenerationRequest("a", text=PROMPT, sampling=Sampling(max_tokens=6))])
        assert again.text == got.text


@pytest.mark.parametrize("as_model", [False, True])
def test_adapter_changes_the_answers_as_in_peft(
    checkpoint: Path, reference: Reference, tmp_path: Path, as_model: bool
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(checkpoint)
    tuned = get_peft_model(
        base, LoraConfig(r=5, lora_alpha=10, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    ).eval()
    adapter = tmp_path / "adapter"
    tuned.save_pretrained(adapter)
    edit(adapter / "adapter_config.json", lambda values: values.update(base_model_name_or_path=str(checkpoint)))
    options = {"model": str(adapter)} if as_model else {"model": str(checkpoint), "adapter": str(adapter)}
    with VLLMEngine.from_options(options) as engine:
        (got,) = engine.generate([GenerationRequest("a", text=PROMPT, sampling=Sampling(max_tokens=10))])
        fingerprint = engine.fingerprint
    prompt_ids = reference.tokenizer(PROMPT)["input_ids"]
    with torch.inference_mode():
        ids = torch.tensor([prompt_ids])
        wanted = tuned.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False)[
            0, len(prompt_ids) :
        ].tolist()
    assert got.text == reference.tokenizer.decode(wanted)
    assert wanted != reference.greedy(prompt_ids, 10)
    assert fingerprint.weights_hash == weights_hash([checkpoint, adapter])
    assert fingerprint.options["adapter"] == str(adapter)


def test_no_such_directory() -> None:
    with pytest.raises(ModelError, match="no model directory"):
        VLLMEngine.from_options({"model": "/nowhere/at/all"})


def test_directory_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot run empty"):
        VLLMEngine.from_options({"model": str(tmp_path), "name": "empty"})


def test_model_vllm_cannot_run(copied: Path) -> None:
    edit(copied / "config.json", lambda values: values.update(architectures=["NoSuchModel"], model_type="nosuch"))
    with pytest.raises(ModelError, match="vLLM cannot run copied"):
        VLLMEngine.from_options({"model": str(copied)})


def test_missing_chat_template_file_is_named_and_vllm_stopped(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"nothing\.jinja"):
        VLLMEngine.from_options({"model": str(checkpoint), "chat_template": str(tmp_path / "nothing.jinja")})


def test_argument_vllm_does_not_know(checkpoint: Path) -> None:
    with pytest.raises(SpecError, match="did you mean max_num_batched_tokens"):
        VLLMEngine.from_options({"model": str(checkpoint), "engine_args": {"max_num_batch_tokens": 100}})


def test_engine_args_reach_vllm(checkpoint: Path) -> None:
    options = {"model": str(checkpoint), "engine_args": {"max_num_batched_tokens": 64}, "max_num_seqs": 3}
    with VLLMEngine.from_options(options) as engine:
        scheduler = engine._model.llm.llm_engine.vllm_config.scheduler_config
        assert (scheduler.max_num_batched_tokens, scheduler.max_num_seqs) == (64, 3)
        assert engine.fingerprint.options["engine_args"] == {"max_num_batched_tokens": "64"}


def test_adapter_of_a_rank_without_kernels(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 1024}))
    with pytest.raises(ModelError, match="rank 1024"):
        VLLMEngine.from_options({"model": str(checkpoint), "adapter": str(tmp_path)})


@pytest.mark.slow
def test_two_workers_answer_as_one_does(
    checkpoint: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # or vLLM wants a memory node for each worker
    with VLLMEngine.from_options({"model": str(checkpoint), "tensor_parallel_size": 2}) as engine:
        (got,) = engine.generate([GenerationRequest("a", text=PROMPT, sampling=Sampling(max_tokens=10))])
        (scored,) = engine.loglikelihood([LogLikelihoodRequest("a", "The judge", " reads the question")])
    prompt_ids = reference.tokenizer(PROMPT)["input_ids"]
    assert got.text == reference.tokenizer.decode(reference.greedy(prompt_ids, 10))
    whole = reference.tokenizer("The judge reads the question")["input_ids"]
    n_context = len(whole) - scored.n_tokens
    table = reference.logprobs(whole)
    wanted = sum(float(table[place - 1, whole[place]]) for place in range(n_context, len(whole)))
    assert scored.logprob == pytest.approx(wanted, abs=1e-4)
