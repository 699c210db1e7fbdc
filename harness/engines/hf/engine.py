"""The transformers engine: runs a checkpoint in this process, on a CPU or GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.engines.base import Fingerprint, Generation, GenerationRequest, LogLikelihood, LogLikelihoodRequest
from harness.engines.chat_template import load_chat_template, no_chat_template
from harness.engines.hf.batches import BatchLimits
from harness.engines.hf.checkpoint_engine import CheckpointEngine
from harness.engines.hf.decode_job import DecodeJob
from harness.engines.hf.decoding import ContinuousDecoder
from harness.engines.hf.hf_options import HFOptions
from harness.engines.hf.likelihood import LikelihoodJob, LikelihoodScorer
from harness.engines.hf.model_loading import LoadedModel, load_model
from harness.engines.hf.stopping import TokenText, declared_stop_ids
from harness.engines.prompt_tokens import encode_pairs, encode_prompt, misfit, refused_generation, refused_loglikelihood
from harness.engines.reasoning_text import ReasoningReader

_MIN_BATCH_TOKENS = 4_096
_CPU_BATCH_TOKENS = 65_536
_CPU_CACHE_BYTES = 2 * 2**30
_CACHE_SHARE = 0.5  # of the GPU memory that is free after loading; the rest is for activations


class HFEngine(CheckpointEngine[HFOptions]):
    """Generates and scores with a transformers model; an `harness.engines.base.Engine`.

    The model is loaded on construction and freed by :meth:`close` or on leaving a ``with`` block.

    Parameters
    ----------
    options : HFOptions
        Which checkpoint and how.
    loaded : LoadedModel, optional
        A loaded model, in place of `options.model`'s files.

    Raises
    ------
    ModelError
        The checkpoint cannot be loaded (see `harness.engines.hf.model_loading.load_model`).
    MissingDataError
        The chat template file cannot be read.
    """

    name = "hf"
    options_type = HFOptions

    def __init__(self, options: HFOptions, loaded: LoadedModel | None = None) -> None:
        loaded = loaded if loaded is not None else load_model(options)
        template = load_chat_template(loaded.tokenizer, options.chat_template)
        super().__init__(options, loaded, template)
        self._text = TokenText(loaded.tokenizer)
        self._reasoning = ReasoningReader(loaded.tokenizer, options.reasoning_tags)
        self._stop_ids = declared_stop_ids(
            loaded.model, loaded.tokenizer, template.end_of_turn_ids() if template else ()
        )

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end a generation."""
        return self._stop_ids

    def _identify(self) -> Fingerprint:
        return self._identified(stop_ids=sorted(self._stop_ids))

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

    def _generate(self, loaded: LoadedModel, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        jobs = []
        asked = {request.request_id: request for request in requests}
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
            request = asked[done.request_id]
            yield self._reasoning.parted(done.generation(), request, done.token_ids, done.prompt_ids)

    def _decode_job(self, loaded: LoadedModel, request: GenerationRequest) -> DecodeJob | Generation:
        """Tokenise a request, or say why no reply to it can be generated."""
        limit = request.sampling.max_tokens
        if limit < 1:
            return refused_generation(request, f"max_tokens is {limit}; at least 1 is needed")
        prompt_ids = encode_prompt(
            request, loaded.tokenizer, self._template, loaded.n_embeddings, loaded.context_length
        )
        if isinstance(prompt_ids, Generation):
            return prompt_ids
        if loaded.context_length is not None:
            limit = min(limit, loaded.context_length - len(prompt_ids))
        return DecodeJob(request.request_id, prompt_ids, request.sampling, limit, self._stop_ids, self._text)

    def _loglikelihood(self, loaded: LoadedModel, requests: Sequence[LogLikelihoodRequest]) -> Iterator[LogLikelihood]:
        jobs = []
        for request, pair in zip(requests, encode_pairs(loaded.tokenizer, requests), strict=True):
            if isinstance(pair, str):
                yield refused_loglikelihood(request, pair)
                continue
            reason = misfit(pair, loaded.n_embeddings, loaded.context_length, n_unread=1)
            if reason:
                yield refused_loglikelihood(request, reason, len(pair.continuation_ids))
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
    """Compute the number of tokens whose keys and values fit into free memory."""
    import torch

    per_token = max(1, loaded.cache_bytes_per_token)
    if loaded.device.type != "cuda":
        return max(_MIN_BATCH_TOKENS, min(_CPU_BATCH_TOKENS, _CPU_CACHE_BYTES // per_token))
    free, _ = torch.cuda.mem_get_info(loaded.device)
    return max(_MIN_BATCH_TOKENS, int(free * _CACHE_SHARE) // per_token)
