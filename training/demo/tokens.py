"""The tokenizer of the demo: byte-level BPE trained on the corpus, and a chat template."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

USER, ASSISTANT, END, PAD = "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"

TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>"
    "{% generation %}{{ message['content'] | trim }}<|end|>{% endgeneration %}"
    "{% else %}<|user|>{{ message['content'] | trim }}<|end|>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""A turn is a mark, the text, and the end token; the assistant's turns are marked for the loss.

The tokenizer adds a space after a mark, so that the first word of an answer has the same token as in the middle of a
document."""


def train_tokenizer(texts: Iterable[str], vocabulary_size: int = 768) -> Any:
    """Train a tokenizer.

    Parameters
    ----------
    texts : iterable of str
        The corpus.
    vocabulary_size : int
        Number of tokens, including the four special ones and 256 bytes.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
        With the chat template; ``<|end|>`` ends turns and documents.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END, PAD, USER, ASSISTANT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapper: Any = PreTrainedTokenizerFast
    return wrapper(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[USER, ASSISTANT],
        chat_template=TEMPLATE,
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )
