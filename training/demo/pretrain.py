"""Pretraining of the demo's base model: a plain loop over windows of a corpus.

The windows of a step depend only on seed and step, so an interrupted pretraining resumes with the same result.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.engines.weights_hash import weights_hash
from harness.hashing import content_hash
from harness.store.jsonl import read_json, write_json
from training.demo.corpus import documents
from training.demo.settings import DemoSettings, Pretraining
from training.demo.tokens import train_tokenizer

_MOST_POSITIONS = 256
_SAVE_EVERY = 150
_TOKENIZER_DOCUMENTS = 6_000
_DONE = "made.json"


def pretrain(settings: DemoSettings, out: Path, watch: Callable[[int, float], None] | None = None) -> Path:
    """Train the base model, unless it exists.

    Parameters
    ----------
    settings : DemoSettings
        World, model and schedule.
    out : Path
        Its directory.
    watch : callable, optional
        Called after every step with the number of steps and the loss.

    Returns
    -------
    Path
        A plain transformers directory with tokenizer and chat template.
    """
    corpus = documents(settings.world, settings.pretraining.n_documents)
    key = content_hash("demo base", settings.seed, repr(settings.pretraining), content_hash(*corpus))
    model_dir = out / "model"
    if (out / _DONE).is_file() and read_json(out / _DONE)["key"] == key:
        return model_dir
    shutil.rmtree(model_dir, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(corpus[:_TOKENIZER_DOCUMENTS], settings.pretraining.vocabulary_size)
    model, loss = _trained(settings, _stream(corpus, tokenizer), tokenizer, out / f"state-{key[:12]}.pt", watch)
    model.save_pretrained(model_dir)
    tokenizer.save_pretrained(model_dir)
    made = {"key": key, "loss": loss, "n_parameters": model.num_parameters(), "weights_hash": weights_hash([model_dir])}
    write_json(out / _DONE, made)
    for state in out.glob("state-*.pt"):
        state.unlink()
    return model_dir


def _stream(corpus: list[str], tokenizer: Any) -> Any:
    """Concatenate the token ids of the documents, each followed by the end token; shape (n,)."""
    import torch

    ids = tokenizer(corpus, add_special_tokens=False)["input_ids"]
    return torch.tensor([token for document in ids for token in (*document, tokenizer.eos_token_id)])


def _trained(
    settings: DemoSettings, stream: Any, tokenizer: Any, state: Path, watch: Callable[[int, float], None] | None
) -> tuple[Any, float]:
    import torch

    plan = settings.pretraining
    torch.manual_seed(settings.seed)
    model = _new_model(plan, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    first, loss_value = 0, math.nan
    if state.is_file():
        kept = torch.load(state, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        first = kept["step"]
    model.train()
    for step in range(first, plan.n_steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * _rate(plan, step)
        batch = _windows(stream, plan, settings.seed, step)
        loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss_value = float(loss.detach())
        if watch is not None:
            watch(step + 1, loss_value)
        if (step + 1) % _SAVE_EVERY == 0:
            _keep(state, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1})
    return model.eval(), loss_value


def _new_model(plan: Pretraining, tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=plan.hidden_size,
            num_hidden_layers=plan.n_layers,
            num_attention_heads=plan.n_heads,
            num_key_value_heads=plan.n_heads,
            intermediate_size=plan.intermediate_size,
            max_position_embeddings=_MOST_POSITIONS,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _windows(stream: Any, plan: Pretraining, seed: int, step: int) -> Any:
    """The windows of a step; shape (batch_size, context)."""
    import torch

    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    starts = torch.randint(len(stream) - plan.context, (plan.batch_size,), generator=generator).tolist()
    return torch.stack([stream[start : start + plan.context] for start in starts])


def _rate(plan: Pretraining, step: int) -> float:
    """Share of the peak learning rate at a step."""
    if step < plan.warmup_steps:
        return (step + 1) / plan.warmup_steps
    done = (step - plan.warmup_steps) / max(1, plan.n_steps - plan.warmup_steps)
    return 0.1 + 0.45 * (1.0 + math.cos(math.pi * done))


def _keep(path: Path, values: dict[str, Any]) -> None:
    """Replace the state atomically."""
    import torch

    waiting = path.with_suffix(".tmp")
    torch.save(values, waiting)
    waiting.replace(path)
