"""The reasoning in a generation of token ids, for engines that load a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.engines.base import Generation, GenerationRequest
from harness.engines.hf.stopping import cut_at_stop
from harness.reasoning import DEFAULT_TAGS, Parted, ReasoningTags, opened_by, part_reasoning

_PROMPT_END_TOKENS = 16  # an opening tag and the white space behind it


class ReasoningReader:
    """Separates the reasoning of a checkpoint's generations.

    Tags that the tokenizer declares as special tokens are missing from the decoded text, so the tokens are then decoded
    again with them.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        Decodes.
    tags : tuple of (str, str) or None
        The tags; None takes the default ones.
    """

    def __init__(self, tokenizer: Any, tags: ReasoningTags | None) -> None:
        self._tokenizer = tokenizer
        self._tags = DEFAULT_TAGS if tags is None else tags
        special = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special and t.content]
        self._special = re.compile("|".join(re.escape(content) for content in special)) if special else None
        self._hidden = any(content in tag for pair in self._tags for tag in pair for content in special)

    def parted(
        self, generation: Generation, request: GenerationRequest, token_ids: Sequence[int], prompt_ids: Sequence[int]
    ) -> Generation:
        """Move the reasoning out of a generation's text.

        Parameters
        ----------
        generation : Generation
            As decoded without special tokens and cut at stop strings.
        request : GenerationRequest
            What was asked; only a conversation's reply is separated.
        token_ids, prompt_ids : sequence of int
            The generation's tokens and the prompt's.
        """
        if not (self._tags and request.text is None and request.part_reasoning) or generation.finish == "error":
            return generation
        opened = opened_by(self._decode(prompt_ids[-_PROMPT_END_TOKENS:]), self._tags)
        found = part_reasoning(generation.text, self._tags, opened)
        if self._hidden and not found.has_reasoning:
            found = self._shown(part_reasoning(self._decode(token_ids), self._tags, opened), request.sampling.stop)
        if not found.has_reasoning:
            return generation
        return replace(
            generation,
            text=found.answer,
            finish="length" if found.cut else generation.finish,
            reasoning=found.reasoning,
            n_reasoning_tokens=len(token_ids) if found.cut else self._n_reasoning(token_ids, opened),
        )

    def _decode(self, token_ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=False))

    def _shown(self, parted: Parted, stop: Sequence[str]) -> Parted:
        """Remove special tokens and what follows a stop string from what was decoded with special tokens."""
        if self._special is None:
            return parted
        answer, reasoning = (self._special.sub("", part) for part in (parted.answer, parted.reasoning))
        cut = cut_at_stop(answer, stop)
        return Parted((answer if cut is None else cut).lstrip(), reasoning.strip(), parted.cut)

    def _n_reasoning(self, token_ids: Sequence[int], opened: str) -> int:
        """Find the number of tokens up to the end of the reasoning, by bisection."""
        low, high = 0, len(token_ids)
        while low < high:
            middle = (low + high) // 2
            parted = part_reasoning(self._decode(token_ids[:middle]), self._tags, opened)
            if parted.has_reasoning and not parted.cut:
                high = middle
            else:
                low = middle + 1
        return low
