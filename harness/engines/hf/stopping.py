"""The end of a generation: the tokens a model declares, and the stop strings of a request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_END_NAMES = ("eos_token", "eot_token", "eom_token", "end_of_turn_token")
# The decoder may drop a leading space, and a character may take four byte tokens, so a few more tokens are decoded.
_MARGIN_TOKENS = 4


def declared_stop_ids(model: Any, tokenizer: Any, end_of_turn_ids: Iterable[int] = ()) -> frozenset[int]:
    """Collect every end-of-sequence token a checkpoint declares.

    Parameters
    ----------
    model, tokenizer : transformers model and tokenizer
        Inspected: `generation_config.eos_token_id` and `config.eos_token_id`, each a number or a list, the tokenizer's
        eos token, and its named end-of-turn and end-of-message tokens where it has them.
    end_of_turn_ids : iterable of int
        The tokens with which the chat template ends an assistant's turn.

    Returns
    -------
    frozenset of int
        Empty if nothing is declared: generations then run to their limit.
    """
    text_config = model.config.get_text_config(decoder=True)
    sources = (getattr(model, "generation_config", None), model.config, text_config)
    declared = [getattr(source, "eos_token_id", None) for source in sources]
    found = {*end_of_turn_ids, tokenizer.eos_token_id}
    for ids in declared:
        found.update(ids if isinstance(ids, list | tuple) else [ids])
    for name, token in tokenizer.special_tokens_map.items():
        if name in _END_NAMES and isinstance(token, str):
            found.add(tokenizer.convert_tokens_to_ids(token))
    return frozenset(int(i) for i in found if i is not None and i >= 0)


class TokenText:
    """Turns token ids into text, and remembers which single tokens could complete a stop string.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        Decodes.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pieces: dict[int, str] = {}
        self._special = {t.content: int(i) for i, t in tokenizer.added_tokens_decoder.items() if t.special}

    def special_id(self, text: str) -> int | None:
        """Find the special token that reads exactly so; decoding leaves it out, so only its id can be met."""
        return self._special.get(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Decode with special tokens left out."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def piece(self, token_id: int) -> str:
        """Decode one token on its own."""
        if token_id not in self._pieces:
            self._pieces[token_id] = self.decode([token_id])
        return self._pieces[token_id]


class StopStrings:
    """Watches a growing generation for stop strings, wherever token boundaries fall.

    Only the tail that a stop string could reach into is decoded, and only when the newest token could complete one.

    Parameters
    ----------
    text : TokenText
        The decoder.
    stop : tuple of str
        The strings; empty ones are ignored.
    """

    def __init__(self, text: TokenText, stop: tuple[str, ...]) -> None:
        self._text = text
        self.stop = tuple(s for s in stop if s)
        self._last_characters = {s[-1] for s in self.stop}
        # Every token but a special one brings at least one byte.
        self._tail_tokens = (
            max((len(s.encode("utf-8", "surrogatepass")) for s in self.stop), default=0) + _MARGIN_TOKENS
        )

    def found(self, token_ids: Sequence[int]) -> bool:
        """Say whether the newest token completes a stop string."""
        if not self.stop or not self._may_complete(token_ids[-1]):
            return False
        tail = self._text.decode(token_ids[-self._tail_tokens :])
        return any(s in tail for s in self.stop) and cut_at_stop(self._text.decode(token_ids), self.stop) is not None

    def _may_complete(self, token_id: int) -> bool:
        piece = self._text.piece(token_id)
        # A space can vanish from a token decoded alone, and a replacement character is part of something longer.
        return " " in self._last_characters or "\ufffd" in piece or any(c in piece for c in self._last_characters)


def cut_at_stop(text: str, stop: Sequence[str]) -> str | None:
    """Cut a text before the earliest stop string.

    Returns
    -------
    str or None
        None where there is none.
    """
    places = [place for s in stop if s and (place := text.find(s)) >= 0]
    return text[: min(places)] if places else None
