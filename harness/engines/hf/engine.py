"""The transformers engine: runs a checkpoint in this process, on a CPU or GPUs."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from harness.engines.base import (
    Fingerprint,
    Generation,
    GenerationRequest,
    LogLikelihood,
    LogLikelihoodRequest,
)
from harness.engines.chat_template import ChatTemplate, ChatTemplateError, load_chat_template, no_chat_template
from harness.engines.hf.boundary import BoundaryError, TokenPair, encode_requests, encode_text, prefix_token_id
from harness.engines.hf.decode_job import DecodeJob
from harness.engines.hf.decoding import BatchLimits, ContinuousDecoder, free_memory
from harness.engines.hf.hf_options import HFOptions
from harness.engines.hf.likelihood import LikelihoodJob, LikelihoodScorer
from harness.engines.hf.model_loading import LoadedModel, load_model
from harness.engines.hf.stopping import TokenText, declared_stop_ids
from harness.engines.weights_hash import weights_hash
from harness.errors import ModelError

__all__ = ["HFEngine", "HFOptions"]

_MIN_BATCH_TOKENS = 4_096
_CPU_BATCH_TOKENS = 65_536
_CPU_CACHE_BYTES = 2 * 2**30
_CACHE_SHARE = 0.5  # of the GPU memory that is free once the weights are loaded; the rest is for activations
# What a tokenizer raises on text it cannot take (lone surrogates, not a string).
_ENCODING_ERRORS = (ValueError, TypeError, UnicodeError, OverflowError)


class HFEngine:
    """Generates and scores with a transformers model; an `harness.engines.base.Engine`.

    The model is loaded on construction and freed by :meth:`close` or on leaving a ``with`` block.

    Parameters
    ----------
    options : HFOptions
        Which checkpoint and how.
    loaded : LoadedModel, optional
        A model that is loaded already, in place of `options.model`'s files.

    Raises
    ------
    ModelError
        The checkpoint cannot be loaded (see `harness.engines.hf.model_loading.load_model`).
    MissingDataError
        The chat template file cannot be read.
    """

    def __init__(self, options: HFOptions, loaded: LoadedModel | None = None) -> None:
        self.options = options
        self._loaded: LoadedModel | None = loaded if loaded is not None else load_model(options)
        tokenizer = self._loaded.tokenizer
        self._template: ChatTemplate | None = load_chat_template(tokenizer, options.chat_template)
        self._text = TokenText(tokenizer)
        end_of_turn = self._template.end_of_turn_ids() if self._template else set()
        self._stop_ids = declared_stop_ids(self._loaded.model, tokenizer, end_of_turn)
        self._fingerprint: Fingerprint | None = None

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> Self:
        """Build the engine from plain values, the fields of :class:`HFOptions`.

        Raises
        ------
        SpecError
            An option is unknown or wrong.
        ModelError
            The checkpoint cannot be loaded.
        """
        return cls(HFOptions.from_mapping(values))

    @property
    def name(self) -> str:
        """Name of the kind of engine."""
        return "hf"

    @property
    def tokenizer(self) -> Any:
        """The tokenizer in use."""
        return self._model().tokenizer

    @property
    def context_length(self) -> int | None:
        """Positions the model has; None where it has no limit."""
        return self._model().context_length

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The chat template in use; None where the model has none."""
        return self._template

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end a generation."""
        return self._stop_ids

    @property
    def fingerprint(self) -> Fingerprint:
        """What identifies the model; the weights are hashed on first use."""
        if self._fingerprint is None:
            loaded = self._model()
            self._fingerprint = Fingerprint(
                name=self.options.display_name,
                source=self.options.model,
                engine=self.name,
                weights_hash=weights_hash(loaded.directories) if loaded.directories else None,
                chat_template_hash=self._template.sha256 if self._template else None,
                options={
                    "adapter": self.options.adapter,
                    "dtype": loaded.dtype,
                    "revision": self.options.revision,
                    "stop_ids": sorted(self._stop_ids),
                },
            )
        return self._fingerprint

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Generate for all requests, yielding each as it is done.

        Parameters
        ----------
        requests : sequence of GenerationRequest
            All at once, so that they can be ordered and batched.

        Returns
        -------
        iterator of Generation
            One per request, in the order they finish. A request the model cannot take (a prompt longer than the
            context, a conversation its chat template refuses) is an error of its own, not retryable.

        Raises
        ------
        NoChatTemplateError
            A request is a conversation and the model has no chat template; raised before anything is generated.
        ModelError
            The engine is closed, or the device failed.
        """
        loaded = self._model()
        if self._template is None and any(request.text is None for request in requests):
            raise no_chat_template(self.options.display_name)
        return self._generate(loaded, requests)

    def loglikelihood(self, requests: Sequence[LogLikelihoodRequest]) -> Iterator[LogLikelihood]:
        """Score continuations, yielding each as it is done.

        Parameters
        ----------
        requests : sequence of LogLikelihoodRequest
            All at once.

        Returns
        -------
        iterator of LogLikelihood
            One per request, in the order they finish. What does not fit into the context is an error, never cut.

        Raises
        ------
        ModelError
            The engine is closed, or the device failed.
        """
        return self._loglikelihood(self._model(), requests)

    def close(self) -> None:
        """Free the model."""
        if self._loaded is None:
            return
        device = self._loaded.device
        self._loaded = None
        gc.collect()
        free_memory(device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _model(self) -> LoadedModel:
        if self._loaded is None:
            raise ModelError(f"the engine of {self.options.display_name} is closed", remedy="build a new one")
        return self._loaded

    def _generate(self, loaded: LoadedModel, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        jobs = []
        for request in requests:
            job = self._decode_job(loaded, request)
            if isinstance(job, Generation):
                yield job
            else:
                jobs.append(job)
        limits = self._limits(loaded)
        if loaded.merges_rows:
            decoder: Any = ContinuousDecoder(loaded, limits)
        else:
            from harness.engines.hf.static_decoding import StaticDecoder

            decoder = StaticDecoder(loaded, limits)
        for done in decoder.run(jobs):
            yield done.generation()

    def _decode_job(self, loaded: LoadedModel, request: GenerationRequest) -> DecodeJob | Generation:
        """Tokenise a request, or say why it cannot be generated for."""

        def refused(reason: str, n_tokens: int | None = None) -> Generation:
            seed = request.sampling.seed if request.sampling.temperature > 0 else None
            return Generation(
                request.request_id, "", "error", n_prompt_tokens=n_tokens, seed=seed, error=reason, retryable=False
            )

        if request.sampling.max_tokens < 1:
            return refused(f"max_tokens is {request.sampling.max_tokens}; at least 1 is needed")
        try:
            prompt_ids = self._encode(loaded, request)
        except ChatTemplateError as error:
            return refused(str(error))
        except _ENCODING_ERRORS as error:
            return refused(f"the tokenizer refuses the prompt: {type(error).__name__}: {error}")
        if not prompt_ids:
            return refused(
                "the prompt is empty and the tokenizer has neither a bos nor an eos token to stand for it", 0
            )
        unknown = _unknown_id(prompt_ids, loaded)
        if unknown:
            return refused(unknown, len(prompt_ids))
        limit = request.sampling.max_tokens
        if loaded.context_length is not None:
            room = loaded.context_length - len(prompt_ids)
            if room < 1:
                return refused(
                    f"the prompt has {len(prompt_ids)} tokens and the model's context {loaded.context_length}, "
                    "which leaves no room for a reply; nothing was cut",
                    len(prompt_ids),
                )
            limit = min(limit, room)
        return DecodeJob(request.request_id, prompt_ids, request.sampling, limit, self._stop_ids, self._text)

    def _encode(self, loaded: LoadedModel, request: GenerationRequest) -> list[int]:
        if request.prompt_ids is not None:
            return list(request.prompt_ids)
        if request.text is None and self._template is not None:
            return self._template.encode(request.messages)
        ids = encode_text(loaded.tokenizer, request.text or "")
        prefix = prefix_token_id(loaded.tokenizer)
        return ids if ids or prefix is None else [prefix]

    def _loglikelihood(self, loaded: LoadedModel, requests: Sequence[LogLikelihoodRequest]) -> Iterator[LogLikelihood]:
        jobs = []
        for request, pair in zip(requests, _token_pairs(loaded.tokenizer, requests), strict=True):
            if not isinstance(pair, TokenPair):
                yield LogLikelihood(request.request_id, None, None, 0, pair)
                continue
            # The last token of the continuation is predicted, not read.
            n_inputs = len(pair.context_ids) + len(pair.continuation_ids) - 1
            reason = _unknown_id([*pair.context_ids, *pair.continuation_ids], loaded)
            if not reason and loaded.context_length is not None and n_inputs > loaded.context_length:
                reason = (
                    f"context and continuation have {n_inputs + 1} tokens and the model's context is "
                    f"{loaded.context_length}; nothing was cut"
                )
            if reason:
                yield LogLikelihood(request.request_id, None, None, len(pair.continuation_ids), reason)
            else:
                jobs.append(LikelihoodJob(request.request_id, pair))
        for job in LikelihoodScorer(loaded, self._limits(loaded)).run(jobs):
            yield LogLikelihood(job.request_id, job.logprob, job.is_greedy, len(job.pair.continuation_ids), job.error)

    def _limits(self, loaded: LoadedModel) -> BatchLimits:
        max_tokens = self.options.max_batch_tokens
        if max_tokens is None:
            max_tokens = _fitting_tokens(loaded)
        return BatchLimits(max_tokens, self.options.max_batch_size)


def _fitting_tokens(loaded: LoadedModel) -> int:
    """Compute how many tokens' keys and values fit into the memory that is free."""
    import torch

    per_token = max(1, loaded.cache_bytes_per_token)
    if loaded.device.type != "cuda":
        return max(_MIN_BATCH_TOKENS, min(_CPU_BATCH_TOKENS, _CPU_CACHE_BYTES // per_token))
    free, _ = torch.cuda.mem_get_info(loaded.device)
    return max(_MIN_BATCH_TOKENS, int(free * _CACHE_SHARE) // per_token)


def _token_pairs(tokenizer: Any, requests: Sequence[LogLikelihoodRequest]) -> list[TokenPair | str]:
    """Tokenise requests; where that is impossible, the reason."""
    try:
        return [str(x) if isinstance(x, BoundaryError) else x for x in encode_requests(tokenizer, requests)]
    except _ENCODING_ERRORS as error:
        if len(requests) == 1:
            return [f"the tokenizer refuses the text: {type(error).__name__}: {error}"]
        # One text spoils the lot: find it.
        return [pair for request in requests for pair in _token_pairs(tokenizer, [request])]


def _unknown_id(token_ids: Sequence[int], loaded: LoadedModel) -> str:
    """Say which token the model has no embedding for; "" where there is none.

    On a GPU such a lookup would take down the whole process's context, not one request.
    """
    highest = max(token_ids)
    if highest < loaded.n_embeddings:
        return ""
    return f"the tokenizer makes token {highest}, but the model has embeddings for {loaded.n_embeddings} tokens only"
