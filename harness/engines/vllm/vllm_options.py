"""Options of the vLLM engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from harness.engines.engine_options import CheckpointOptions


class VLLMOptions(CheckpointOptions):
    """Options of the vLLM engine; those not listed are in `CheckpointOptions`.

    Parameters
    ----------
    tensor_parallel_size : int
        GPUs the model is spread over.
    gpu_memory_utilization : float or None
        Share of each GPU's memory vLLM may take, in (0, 1]; None is 0.9, and 0.4 of the main memory on a CPU.
    max_model_len : int or None
        Context in tokens; None takes the checkpoint's.
    max_num_seqs : int or None
        Requests decoded together; None leaves it to vLLM.
    enforce_eager : bool or None
        True neither compiles nor captures graphs: it starts faster and decodes slower. None is True on a CPU.
    enable_prefix_caching : bool
        Whether prompts that begin alike share the work.
    seed : int
        vLLM's own seed; every sampled request has one of its own besides.
    engine_args : mapping
        Further arguments of ``vllm.LLM``, by its names (``quantization``, ``kv_cache_dtype``, ...).
    """

    tensor_parallel_size: int = Field(default=1, ge=1)
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    max_model_len: Annotated[int, Field(ge=1)] | None = None
    max_num_seqs: Annotated[int, Field(ge=1)] | None = None
    enforce_eager: bool | None = None
    enable_prefix_caching: bool = True
    seed: int = Field(default=0, ge=0)
    engine_args: Mapping[str, Any] = Field(default_factory=dict)

    @field_validator("engine_args")
    @classmethod
    def _not_ours(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        ours = sorted(set(value) & {*cls.model_fields, "tokenizer"})
        if ours:
            raise ValueError(
                f"move {ours[0]} out of engine_args, which is for arguments of vllm.LLM that the engine has no option "
                "for (the tokenizer comes with the checkpoint)"
            )
        return value
