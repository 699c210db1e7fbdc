"""One request while it is decoded."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.engines.base import Finish, Generation
from harness.engines.hf.stopping import StopStrings, TokenText, cut_at_stop
from harness.engines.hf.token_sampling import choose_tokens
from harness.messages import Sampling


class DecodeJob:
    """A tokenised request and the tokens it has so far.

    Parameters
    ----------
    request_id : str
        The caller's name for it.
    prompt_ids : list of int
        The prompt, not empty.
    sampling : Sampling
        How to decode; `max_tokens` may exceed the room in the context.
    limit : int
        New tokens it may have: `max_tokens` or the room left in the context, whichever is smaller; at least 1.
    stop_ids : frozenset of int
        Tokens that end it.
    text : TokenText
        The decoder of token ids.

    Attributes
    ----------
    token_ids : list of int
        New tokens, the end-of-sequence token included.
    finish : {"stop", "length", "error"} or None
        None while it is running.
    error : str
        Why it failed.
    taken : bool
        Whether the decoder has handed it on.
    """

    def __init__(
        self,
        request_id: str,
        prompt_ids: list[int],
        sampling: Sampling,
        limit: int,
        stop_ids: frozenset[int],
        text: TokenText,
    ) -> None:
        self.request_id = request_id
        self.prompt_ids = prompt_ids
        self.sampling = sampling
        self.limit = limit
        special = {text.special_id(s) for s in sampling.stop}
        self._stop_ids = stop_ids | {i for i in special if i is not None}
        self._text = text
        self._stops = StopStrings(text, sampling.stop)
        self.token_ids: list[int] = []
        self.finish: Finish | None = None
        self.error = ""
        self.taken = False

    @property
    def done(self) -> bool:
        """Whether it is finished."""
        return self.finish is not None

    @property
    def reserved(self) -> int:
        """Maximum number of tokens of prompt and reply."""
        return len(self.prompt_ids) + self.limit

    def input_ids(self) -> list[int]:
        """The tokens to continue from: the prompt and, after an interruption, the tokens so far."""
        return self.prompt_ids + self.token_ids

    def push(self, token_id: int) -> None:
        """Add a token and check whether it ends the reply."""
        self.token_ids.append(token_id)
        if token_id in self._stop_ids or self._stops.found(self.token_ids):
            self.finish = "stop"
        elif len(self.token_ids) >= self.limit:
            self.finish = "length"

    def restart(self) -> None:
        """Discard the tokens so far."""
        self.token_ids = []

    def fail(self, reason: str) -> None:
        """End it with an error."""
        self.finish = "error"
        self.error = reason

    def generation(self) -> Generation:
        """Record the result of a finished job."""
        seed = self.sampling.seed if self.sampling.temperature > 0 else None
        if self.finish is None:
            raise ValueError(f"request {self.request_id!r} is still running")
        if self.finish == "error":
            return Generation(
                self.request_id, "", "error", n_prompt_tokens=len(self.prompt_ids), seed=seed, error=self.error
            )
        finish = self.finish
        ends_on_stop_token = self.token_ids[-1] in self._stop_ids
        # A stop token that the tokenizer does not declare as special would remain in the text.
        text = self._text.decode(self.token_ids[:-1] if ends_on_stop_token else self.token_ids)
        cut = cut_at_stop(text, self.sampling.stop)
        if cut is not None:  # the decoder may have hidden a stop string until the end
            text, finish = cut, "stop"
        return Generation(
            self.request_id, text, finish, n_prompt_tokens=len(self.prompt_ids), n_tokens=len(self.token_ids), seed=seed
        )


def push_chosen(jobs: Sequence[DecodeJob], logits: torch.Tensor, dtype: str) -> list[int]:
    """Choose each job's next token, and give it to those that are not done; logits are [jobs, vocabulary]."""
    chosen = choose_tokens(logits, [job.sampling for job in jobs], [len(job.token_ids) for job in jobs])
    for job, token_id, valid in zip(jobs, chosen.token_ids, chosen.valid, strict=True):
        if job.done:
            continue
        if valid:
            job.push(token_id)
        else:
            job.fail(f"the model's logits are not numbers (overflow in {dtype}?)")
    return chosen.token_ids
