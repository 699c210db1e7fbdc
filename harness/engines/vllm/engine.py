"""The vLLM engine: paged attention, continuous batching, tensor parallelism, shared prefixes (Kwon et al. 2023).

Generations are yielded as they finish. Prompts and stop tokens come from the modules that the transformers engine uses,
so that both give the model the same token ids and end an answer at the same token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from harness.engines.base import Fingerprint, Finish, Generation, GenerationRequest, LogLikelihood, LogLikelihoodRequest
from harness.engines.chat_template import ChatTemplate, no_chat_template
from harness.engines.hf.stopping import cut_at_stop
from harness.engines.lifecycle import BaseEngine, checkpoint_fingerprint
from harness.engines.prompt_tokens import (
    encode_pairs,
    encode_prompt,
    misfit,
    refused_generation,
    refused_loglikelihood,
    seed_used,
)
from harness.engines.reasoning_text import ReasoningReader
from harness.engines.vllm.pool import Job, RequestPool
from harness.engines.vllm.vllm_loading import LoadedVLLM, load_vllm, stop_vllm
from harness.engines.vllm.vllm_options import VLLMOptions

_FINISHES: dict[str | None, Finish] = {"stop": "stop", "length": "length"}


class VLLMEngine(BaseEngine[VLLMOptions]):
    """Runs a checkpoint with an offline vLLM.

    Parameters
    ----------
    options : VLLMOptions
        Which model, and how.

    Raises
    ------
    UsageError
        vLLM is not installed.
    ModelError
        The checkpoint cannot be used.
    """

    name = "vllm"
    options_type = VLLMOptions

    def __init__(self, options: VLLMOptions) -> None:
        super().__init__(options)
        self._loaded: LoadedVLLM | None = load_vllm(options)
        self._reasoning = ReasoningReader(self._loaded.tokenizer, options.reasoning_tags)
        self._pool = RequestPool(self._loaded.llm.llm_engine, self._loaded.max_num_seqs, self._loaded.lora)

    @property
    def context_length(self) -> int:
        """Tokens a prompt and its answer may have together."""
        return self._model.context_length

    @property
    def tokenizer(self) -> Any:
        """The tokenizer in use."""
        return self._model.tokenizer

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The chat template in use; None where the model has none."""
        return self._model.chat_template

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end a generation."""
        return self._model.stop_ids

    def _identify(self) -> Fingerprint:
        loaded = self._model
        return checkpoint_fingerprint(
            self.name,
            loaded.options,
            loaded.dtype,
            loaded.directories,
            loaded.chat_template,
            stop_ids=sorted(loaded.stop_ids),
            context_length=loaded.context_length,
            engine_args={key: str(value) for key, value in sorted(loaded.options.engine_args.items())},
        )

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Generate for all requests, yielding each as soon as it is finished.

        If the iterator is closed early, unfinished requests are aborted.

        Parameters
        ----------
        requests : sequence of GenerationRequest
            Conversations and raw prompts, in any mixture.

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
            The engine is closed, or vLLM fails.
        """
        if self._model.chat_template is None and any(request.text is None for request in requests):
            raise no_chat_template(self.options.display_name)
        return self._pool.run(requests, self._generation_job, self._generation, refused_generation)

    def loglikelihood(self, requests: Sequence[LogLikelihoodRequest]) -> Iterator[LogLikelihood]:
        """Score continuations, yielding each as soon as it is known.

        The last token of a continuation is scored as the prediction after the prompt, so that a continuation of one
        token (an answer letter) needs no log-probabilities of the prompt and can use its cached prefix.

        Parameters
        ----------
        requests : sequence of LogLikelihoodRequest
            Contexts and continuations; each pair may be as long as the context.

        Returns
        -------
        iterator of LogLikelihood
            One per request, in the order they finish. What does not fit into the context is an error, never cut.

        Raises
        ------
        ModelError
            The engine is closed, or vLLM fails.
        """
        jobs = _LogLikelihoodJobs(self._model)
        return self._pool.run(requests, jobs.job, jobs.result, refused_loglikelihood)

    def _release(self) -> None:
        if self._loaded is not None:
            llm = self._loaded.llm
            self._loaded = None
            self._pool.close()
            stop_vllm(llm)

    @property
    def _model(self) -> LoadedVLLM:
        if self._loaded is None:
            raise self._closed_error()
        return self._loaded

    def _generation_job(self, request: GenerationRequest) -> Job | Generation:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind

        loaded, sampling = self._model, request.sampling
        token_ids = encode_prompt(
            request, loaded.tokenizer, loaded.chat_template, loaded.n_embeddings, loaded.context_length
        )
        if isinstance(token_ids, Generation):
            return token_ids
        try:
            params = SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                # torch accepts 64 bits, and vLLM reads -1 as no seed
                seed=None if sampling.temperature == 0 else sampling.seed % 2**63,
                stop=[text for text in sampling.stop if text],
                stop_token_ids=sorted(loaded.stop_ids),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
        except (VLLMClientError, ValueError) as error:
            return refused_generation(request, str(error), len(token_ids))
        return Job(token_ids, params)

    def _generation(self, request: GenerationRequest, output: Any) -> Generation:
        completion = output.outputs[0]
        counts = len(output.prompt_token_ids), len(completion.token_ids), seed_used(request)
        finish = _FINISHES.get(completion.finish_reason)
        if finish is None:
            error = f"vLLM ended the request with {completion.finish_reason!r}"
            return Generation(request.request_id, "", "error", *counts, error=error)
        generation = Generation(request.request_id, self._text(completion, request.sampling.stop), finish, *counts)
        return self._reasoning.parted(generation, request, completion.token_ids, output.prompt_token_ids)

    def _text(self, completion: Any, stop: tuple[str, ...]) -> str:
        """Decode all tokens at once, as the other engines do; vLLM assembles its text incrementally."""
        token_ids = list(completion.token_ids)
        ended_by_string = isinstance(completion.stop_reason, str)
        if completion.finish_reason == "stop" and not ended_by_string and token_ids:
            token_ids.pop()  # the stop token, which need not be a special one
        text = str(self._model.tokenizer.decode(token_ids, skip_special_tokens=True))
        if not ended_by_string:
            return text
        cut = cut_at_stop(text, stop)
        return str(completion.text) if cut is None else cut


class _LogLikelihoodJobs:
    """Jobs and results of one call, which share the token boundaries found for the jobs."""

    def __init__(self, loaded: LoadedVLLM) -> None:
        self._loaded = loaded
        self._parts: dict[str, tuple[int, tuple[int, ...]]] = {}

    def job(self, request: LogLikelihoodRequest) -> Job | LogLikelihood:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        (pair,) = encode_pairs(self._loaded.tokenizer, [request])
        if isinstance(pair, str):
            return refused_loglikelihood(request, pair)
        reason = misfit(pair, self._loaded.n_embeddings, self._loaded.context_length, n_unread=0)
        if reason:
            return refused_loglikelihood(request, reason, len(pair.continuation_ids))
        token_ids = [*pair.context_ids, *pair.continuation_ids]
        self._parts[request.request_id] = (len(pair.context_ids), pair.continuation_ids)
        params = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprob_token_ids=[token_ids[-1]],
            prompt_logprobs=1 if len(pair.continuation_ids) > 1 else None,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        return Job(token_ids[:-1], params)

    def result(self, request: LogLikelihoodRequest, output: Any) -> LogLikelihood:
        n_context, continuation_ids = self._parts.pop(request.request_id)
        completion = output.outputs[0]
        if completion.finish_reason not in _FINISHES:
            reason = f"vLLM ended the request with {completion.finish_reason!r}"
            return refused_loglikelihood(request, reason, len(continuation_ids))
        last = continuation_ids[-1]
        logprobs = [float(completion.logprobs[0][last].logprob)]
        is_greedy = completion.token_ids[0] == last
        for place, token_id in enumerate(continuation_ids[:-1], n_context):
            candidates = output.prompt_logprobs[place]
            logprobs.append(float(candidates[token_id].logprob))
            is_greedy = is_greedy and logprobs[-1] >= max(entry.logprob for entry in candidates.values())
        total = math.fsum(logprobs)
        if math.isnan(total):
            return refused_loglikelihood(request, "the model's logits are not numbers", len(continuation_ids))
        return LogLikelihood(request.request_id, total, is_greedy, len(continuation_ids))
