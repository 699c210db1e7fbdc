"""The boundary between a prompt and its continuation, in tokens, as every engine defines it.

The boundary is given in the text, and tokens need not respect it: a tokenizer may merge the last character of the
context with the first of the continuation. The definition here is that of published log-likelihood scores (Gao et al.,
"A framework for few-shot language model evaluation", EleutherAI/lm-evaluation-harness):

1. white space at the end of the context belongs to the continuation;
2. the context is tokenised on its own, context + continuation together, and the continuation is what the joint
   tokenisation has beyond as many tokens as the context has alone;
3. an empty context is the beginning-of-sequence token, or the end-of-sequence token where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.engines.base import LogLikelihoodRequest


@dataclass(frozen=True, slots=True)
class TokenPair:
    """Token ids to condition on and token ids to score, neither empty."""

    context_ids: tuple[int, ...]
    continuation_ids: tuple[int, ...]


def prefix_token_id(tokenizer: Any) -> int | None:
    """Find the token an empty context stands for: bos, else eos, else None."""
    bos: int | None = tokenizer.bos_token_id
    eos: int | None = tokenizer.eos_token_id
    return bos if bos is not None else eos


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Tokenise text with the tokenizer's special tokens, but without a second bos.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        Has `bos_token_id`, `eos_token_id`, `decode` and is callable.
    text : str
        The text; if it already begins with the bos token (a rendered chat template), nothing is added.

    Returns
    -------
    list of int
        Token ids; empty if the text is empty and the tokenizer adds nothing.
    """
    return _tokenise(tokenizer, [text], not text.startswith(_prefix_text(tokenizer)))[0]


def encode_requests(tokenizer: Any, requests: Sequence[LogLikelihoodRequest]) -> list[TokenPair | str]:
    """Tokenise requests by the rules at the top of this module, or return the ids they bring.

    Each text is tokenised once, all in one call.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        As in :func:`encode_text`.
    requests : sequence of LogLikelihoodRequest
        In any order; multiple choice repeats its contexts.

    Returns
    -------
    list of TokenPair or str
        In the order of the requests; the reason where one of the two parts has no token.
    """
    splits = [_split(r) for r in requests if r.context_ids is None or r.continuation_ids is None]
    joint = {text for kept, rest in splits if kept for text in (kept, kept + rest)}
    ids = _tokenise_each(tokenizer, joint, _prefix_text(tokenizer))
    bare = list({rest for kept, rest in splits if not kept})
    alone = dict(zip(bare, _tokenise(tokenizer, bare, False), strict=True))
    return [_encode(tokenizer, request, ids, alone) for request in requests]


def _tokenise_each(tokenizer: Any, texts: Iterable[str], prefix: str) -> dict[str, list[int]]:
    """Tokenise texts with special tokens, except those that begin with the bos token's text already."""
    ids: dict[str, list[int]] = {}
    groups: dict[bool, list[str]] = {True: [], False: []}
    for text in texts:
        groups[text.startswith(prefix)].append(text)
    for has_prefix, group in groups.items():
        ids |= zip(group, _tokenise(tokenizer, group, not has_prefix), strict=True)
    return ids


def _encode(
    tokenizer: Any, request: LogLikelihoodRequest, ids: Mapping[str, list[int]], alone: Mapping[str, list[int]]
) -> TokenPair | str:
    """Assemble one request from tokenised texts: `ids` with special tokens, `alone` without."""
    if request.context_ids is not None and request.continuation_ids is not None:
        return _pair(request.context_ids, request.continuation_ids, request.continuation)
    kept, rest = _split(request)
    if kept:
        return _pair(ids[kept], ids[kept + rest][len(ids[kept]) :], request.continuation)
    prefix = prefix_token_id(tokenizer)
    if prefix is None:
        return "the context is empty and the tokenizer has neither a bos nor an eos token to stand for it"
    if alone[rest][:1] == [prefix]:
        return _pair(alone[rest][:1], alone[rest][1:], request.continuation)
    return _pair([prefix], alone[rest], request.continuation)


def _split(request: LogLikelihoodRequest) -> tuple[str, str]:
    """Move white space at the end of the context to the continuation."""
    kept = request.context.rstrip()
    return kept, request.context[len(kept) :] + request.continuation


def _prefix_text(tokenizer: Any) -> str:
    """Decode the token that stands for an empty context; without one, return text that no prompt begins with."""
    prefix = prefix_token_id(tokenizer)
    return (str(tokenizer.decode([prefix])) if prefix is not None else "") or "\0"


def _tokenise(tokenizer: Any, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
    if not texts:
        return []
    # verbose=False: a prompt over the context is our own, clearer, error.
    encoded = tokenizer(list(texts), add_special_tokens=add_special_tokens, verbose=False)
    return [list(ids) for ids in encoded["input_ids"]]


def _pair(context_ids: Sequence[int], continuation_ids: Sequence[int], continuation: str) -> TokenPair | str:
    if not context_ids:
        return "the context has no tokens"
    if not continuation_ids:
        return f"the continuation {continuation[:40]!r} has no tokens of its own"
    return TokenPair(tuple(context_ids), tuple(continuation_ids))
