"""A tiny Llama on disk, and records to train it on, for tests of the training stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.messages import Message
from tests.support.random_models import build, byte_tokenizer
from training.data.records import Conversation, PreferencePair

MARKED = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}A:"
    "{% generation %}{{ m['content'] }}<eos>{% endgeneration %}"
    "{% else %}U:{{ m['content'] }}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}A:{% endif %}"
)
"""A template that marks what the assistant says."""
PLAIN = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
"""The same without the marks."""
_ANSWERS = ("yes", "no way", "well, maybe so", "I think not")


def save_model(
    path: Path, template: str | None = MARKED, architecture: str = "llama", seed: int = 0, **tokens: Any
) -> str:
    """Write a model directory; `tokens` sets tokens of the tokenizer, None takes one away."""
    tokenizer = byte_tokenizer(template)
    for name, token in tokens.items():
        setattr(tokenizer, name, token)
    build(architecture, seed).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def conversations(n: int = 24) -> list[Conversation]:
    """Conversations of one or two turns, of unlike length."""
    found = []
    for i in range(n):
        turns = [Message("user", f"q{i % 9}?"), Message("assistant", _ANSWERS[i % 4])]
        if i % 3 == 0:
            turns += [Message("user", "sure?"), Message("assistant", _ANSWERS[(i + 1) % 4])]
        found.append(Conversation.of(turns))
    return found


def pairs(n: int = 24) -> list[PreferencePair]:
    """Pairs in which "good" beats "bad", two of each prompt."""
    return [
        PreferencePair.of([Message("user", f"q{i // 2}?")], f"good {'x' * (i % 4)}", f"bad {'y' * (i % 5)}")
        for i in range(n)
    ]


def common(model: str, **changes: Any) -> dict[str, Any]:
    """Recipe fields for a run of a second."""
    return {
        "model": model,
        "max_length": 64,
        "batch_size": 8,
        "learning_rate": 2e-3,
        "max_steps": 6,
        "logging_steps": 1,
        "save_steps": 2,
        "use_cpu": True,
        "precision": "float32",
    } | changes
