"""The vLLM engine: paged attention, continuous batching, tensor parallelism, shared prefixes (Kwon et al. 2023).

Generations come out as they finish. Prompts and stop tokens are made by the modules the transformers engine uses too,
so that both put the same token ids to the model and end an answer at the same places.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from harness.engines.base import (
    Fingerprint,
    Finish,
    Generation,
    GenerationRequest,
    LogLikelihood,
    LogLikelihoodRequest,
)
from harness.engines.chat_template import ChatTemplate, ChatTemplateError, no_chat_template
from harness.engines.hf.boundary import BoundaryError, encode_request, encode_text, prefix_token_id
from harness.engines.hf.stopping import cut_at_stop
from harness.engines.vllm.pool import Job, RequestPool
from harness.engines.vllm.vllm_loading import LoadedVLLM, load_vllm, stop_vllm
from harness.engines.vllm.vllm_options import VLLMOptions
from harness.engines.weights_hash import weights_hash
from harness.errors import ModelError

__all__ = ["VLLMEngine", "VLLMOptions"]

_FINISHES: dict[str | None, Finish] = {"stop": "stop", "length": "length"}
# What a tokenizer raises on text it cannot take (lone surrogates, not a string).
_ENCODING_ERRORS = (ValueError, TypeError, UnicodeError, OverflowError)


class VLLMEngine:
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

    def __init__(self, options: VLLMOptions) -> None:
        self.options = options
        self._loaded: LoadedVLLM | None = load_vllm(options)
        self._pool = RequestPool(self._loaded.llm.llm_engine, self._loaded.max_num_seqs, self._loaded.lora)
        self._fingerprint: Fingerprint | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> VLLMEngine:
        """Start the engine from plain values.

        Parameters
        ----------
        options : mapping
            Fields of :class:`VLLMOptions`.

        Raises
        ------
        SpecError
            A field is unknown, missing or out of range.
        UsageError, ModelError
            As the constructor.
        """
        return cls(VLLMOptions.from_mapping(options))

    @property
    def name(self) -> str:
        """The kind of engine."""
        return "vllm"

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

    @property
    def fingerprint(self) -> Fingerprint:
        """What identifies the model; the weights are read once for it."""
        if self._fingerprint is None:
            loaded, options = self._model, self._model.options
            self._fingerprint = Fingerprint(
                name=options.display_name,
                source=options.model,
                engine=self.name,
                weights_hash=weights_hash(loaded.directories),
                chat_template_hash=loaded.chat_template.sha256 if loaded.chat_template else None,
                options={
                    "adapter": options.adapter,
                    "dtype": loaded.dtype,
                    "revision": options.revision,
                    "stop_ids": sorted(loaded.stop_ids),
                    "context_length": loaded.context_length,
                    "engine_args": {key: str(value) for key, value in sorted(options.engine_args.items())},
                },
            )
        return self._fingerprint

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Generate for all requests, yielding each as soon as it is finished.

        An iterator that is closed early takes back what vLLM has not finished.

        Parameters
        ----------
        requests : sequence of GenerationRequest
            Conversations and raw prompts, as mixed as they come.

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
        return self._pool.run(requests, self._generation_job, self._generation, _refused_generation)

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
        return self._pool.run(requests, jobs.job, jobs.result, _refused_loglikelihood)

    def close(self) -> None:
        """Stop vLLM and free the memory; a closed engine can be closed again."""
        if self._loaded is None:
            return
        llm = self._loaded.llm
        self._loaded = None
        self._pool.close()
        stop_vllm(llm)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _model(self) -> LoadedVLLM:
        if self._loaded is None:
            raise ModelError(f"the engine of {self.options.display_name} is closed", remedy="make another")
        return self._loaded

    def _generation_job(self, request: GenerationRequest) -> Job | Generation:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind

        loaded, sampling = self._model, request.sampling
        try:
            token_ids = self._prompt_ids(request)
        except ChatTemplateError as error:
            return _refused_generation(request, str(error))
        except _ENCODING_ERRORS as error:
            return _refused_generation(request, f"the tokenizer refuses the prompt: {type(error).__name__}: {error}")
        reason = "" if token_ids else "the prompt is empty and the tokenizer has neither a bos nor an eos token for it"
        reason = reason or _unknown_id(token_ids, loaded)
        if len(token_ids) >= loaded.context_length:
            reason = (
                f"the prompt has {len(token_ids)} tokens and the model's context {loaded.context_length}, "
                "which leaves no room for a reply; nothing was cut"
            )
        if reason:
            return _refused_generation(request, reason, len(token_ids))
        try:
            params = SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                # torch takes 64 bits, and -1 would mean no seed to vLLM
                seed=None if sampling.temperature == 0 else sampling.seed % 2**63,
                stop=[text for text in sampling.stop if text],
                stop_token_ids=sorted(loaded.stop_ids),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
        except (VLLMClientError, ValueError) as error:
            return _refused_generation(request, str(error), len(token_ids))
        return Job(token_ids, params)

    def _prompt_ids(self, request: GenerationRequest) -> list[int]:
        loaded = self._model
        if request.prompt_ids is not None:
            return list(request.prompt_ids)
        if request.text is None and loaded.chat_template is not None:
            return loaded.chat_template.encode(request.messages)
        token_ids = encode_text(loaded.tokenizer, request.text or "")
        prefix = prefix_token_id(loaded.tokenizer)
        return token_ids if token_ids or prefix is None else [prefix]

    def _generation(self, request: GenerationRequest, output: Any) -> Generation:
        completion = output.outputs[0]
        n_prompt_tokens, n_tokens = len(output.prompt_token_ids), len(completion.token_ids)
        finish = _FINISHES.get(completion.finish_reason)
        if finish is None:
            return Generation(
                request.request_id,
                "",
                "error",
                n_prompt_tokens,
                n_tokens,
                _seed(request),
                error=f"vLLM ended the request with {completion.finish_reason!r}",
            )
        return Generation(
            request.request_id,
            self._text(completion, request.sampling.stop),
            finish,
            n_prompt_tokens,
            n_tokens,
            _seed(request),
        )

    def _text(self, completion: Any, stop: tuple[str, ...]) -> str:
        """Decode the tokens in one go, as the other engines do; vLLM's own text is put together piece by piece."""
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

        try:
            pair = encode_request(self._loaded.tokenizer, request)
        except BoundaryError as error:
            return _refused_loglikelihood(request, str(error))
        except _ENCODING_ERRORS as error:
            return _refused_loglikelihood(request, f"the tokenizer refuses the text: {type(error).__name__}: {error}")
        token_ids = [*pair.context_ids, *pair.continuation_ids]
        reason = _unknown_id(token_ids, self._loaded)
        if not reason and len(token_ids) > self._loaded.context_length:
            reason = (
                f"context and continuation have {len(token_ids)} tokens and the model's context is "
                f"{self._loaded.context_length}; nothing was cut"
            )
        if reason:
            return _refused_loglikelihood(request, reason, len(pair.continuation_ids))
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
            return _refused_loglikelihood(request, reason, len(continuation_ids))
        last = continuation_ids[-1]
        logprobs = [float(completion.logprobs[0][last].logprob)]
        is_greedy = completion.token_ids[0] == last
        for place, token_id in enumerate(continuation_ids[:-1], n_context):
            candidates = output.prompt_logprobs[place]
            logprobs.append(float(candidates[token_id].logprob))
            is_greedy = is_greedy and logprobs[-1] >= max(entry.logprob for entry in candidates.values())
        total = math.fsum(logprobs)
        if math.isnan(total):
            return _refused_loglikelihood(request, "the model's logits are not numbers", len(continuation_ids))
        return LogLikelihood(request.request_id, total, is_greedy, len(continuation_ids))


def _seed(request: GenerationRequest) -> int | None:
    return None if request.sampling.temperature == 0 else request.sampling.seed


def _unknown_id(token_ids: Sequence[int], loaded: LoadedVLLM) -> str:
    """Say which token the model has no embedding for; "" where there is none."""
    highest = max(token_ids, default=0)
    if highest < loaded.n_embeddings:
        return ""
    return f"the tokenizer makes token {highest}, but the model has embeddings for {loaded.n_embeddings} tokens only"


def _refused_generation(request: GenerationRequest, reason: str, n_prompt_tokens: int | None = None) -> Generation:
    return Generation(
        request.request_id,
        "",
        "error",
        n_prompt_tokens,
        seed=_seed(request),
        error=reason,
        retryable=False,
    )


def _refused_loglikelihood(request: LogLikelihoodRequest, reason: str, n_tokens: int = 0) -> LogLikelihood:
    return LogLikelihood(request.request_id, None, None, n_tokens, error=reason)
