"""A tiny checkpoint with its own tokenizer, run by the real vLLM and by transformers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("vllm") else ["test_*.py"]  # they belong to `make test-vllm`

CONTEXT = 128
TEXT = [
    "The judge reads the question and both answers, and says which of the two is better.",
    "A benchmark is a list of prompts, a way to score what comes back, and a number nobody should trust alone.",
    "Numbers such as 3, 14, 159 and 2653 appear here; so do code like `x = [1, 2]` and a naïve café.",
]


@dataclass(frozen=True)
class Reference:
    """The checkpoint as transformers runs it."""

    model: Any
    tokenizer: Any

    def greedy(self, prompt_ids: list[int], n_tokens: int) -> list[int]:
        """Continue a prompt with the most probable tokens."""
        import torch

        ids = torch.tensor([prompt_ids])
        with torch.inference_mode():
            output = self.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=n_tokens, do_sample=False
            )
        return list(output[0, len(prompt_ids) :].tolist())

    def logprobs(self, token_ids: list[int]) -> Any:
        """Log-probabilities of shape [tokens, vocabulary] of the token after each position."""
        import torch

        with torch.inference_mode():
            return self.model(torch.tensor([token_ids])).logits[0].log_softmax(-1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model whose greedy text wanders instead of repeating one token."""
    from tests.support.tiny_judge import write_model, write_tokenizer

    directory = tmp_path_factory.mktemp("checkpoint")
    size = write_tokenizer(directory, text=TEXT)
    write_model(directory, size, seed=0, window=None, context=CONTEXT, spread=0.1)
    return directory


@pytest.fixture(scope="session")
def reference(checkpoint: Path) -> Reference:
    """The same checkpoint in transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    return Reference(model, AutoTokenizer.from_pretrained(checkpoint))


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[Any]:
    """A started engine; one at a time, as vLLM's parallel state belongs to the process."""
    from harness.engines.vllm.engine import VLLMEngine

    with VLLMEngine.from_options({"model": str(checkpoint), "name": "tiny", "max_num_seqs": 8}) as started:
        yield started
