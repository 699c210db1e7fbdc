"""A judge small enough to build in half a minute that reasons before its verdict, which is always the same.

    python -m tests.support.thinking_judge OUT_DIR

Its reasoning names another verdict than the one it gives, so that a reader that takes the reasoning for the reply is
found out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.paths import MODELS
from tests.support.tiny_judge import END_OF_TURN, write_model, write_tokenizer

REASONING = "At first sight it might be a case for [[3]]."
ANSWER = "Rating: [[7]]"
_SHARES = (0.0, 0.1, 0.3, 0.9)
REPLY = f"<think>{REASONING}</think>\n\n{ANSWER}"


def build(directory: Path, *, n_steps: int = 90, seed: int = 0) -> float:
    """Build the judge in `directory`; return the last loss."""
    directory.mkdir(parents=True, exist_ok=True)
    size = write_tokenizer(directory, vocabulary=MODELS / "gpt2-tokenizer")
    write_model(directory, size, seed=seed, window=None)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    reply = tokenizer(REPLY + END_OF_TURN, add_special_tokens=False)["input_ids"]
    header = tokenizer("<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    rng = np.random.default_rng(seed)
    # Prompts of random tokens, and of the words of the reply: real prompts have an example of a verdict.
    words = tokenizer(f"{REPLY} Rating: [[5]] <think> </think>", add_special_tokens=False)["input_ids"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    loss = torch.tensor(0.0)
    for _ in range(n_steps):
        n = int(rng.integers(8, 700))
        prompts = [np.where(rng.random(n) < share, rng.choice(words, n), rng.integers(0, size, n)) for share in _SHARES]
        ids = torch.tensor([[*prompt, *header, *reply] for prompt in prompts])
        hidden = model.model(input_ids=ids).last_hidden_state[:, -len(reply) - 1 : -1]
        logits = model.lm_head(hidden)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, -len(reply) :].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(directory)
    return loss.item()


if __name__ == "__main__":
    sys.stderr.write(f"{build(Path(sys.argv[1])):.4f}\n")
