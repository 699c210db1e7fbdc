"""What the vLLM engine can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from harness.errors import SpecError, nearest

__all__ = ["VLLMOptions"]

DTypeName = Literal["auto", "float32", "bfloat16", "float16"]
_DTYPE_ALIASES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_WHOLE_NUMBERS = {"tensor_parallel_size": 1, "max_model_len": 1, "max_num_seqs": 1, "seed": 0}
_SWITCHES = ("enforce_eager", "enable_prefix_caching", "trust_remote_code")
_NULLABLE = (
    "gpu_memory_utilization",
    "max_model_len",
    "max_num_seqs",
    "enforce_eager",
    "adapter",
    "chat_template",
    "revision",
    "name",
)


@dataclass(frozen=True, slots=True)
class VLLMOptions:
    """Options of the vLLM engine.

    Parameters
    ----------
    model : str
        A checkpoint directory, a LoRA adapter directory (its base model is then read from `adapter_config.json`), or
        a hub id.
    adapter : str or None
        A LoRA adapter directory to put on `model`.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        "auto" is vLLM's choice from the checkpoint on an accelerator and float32 on a CPU.
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
    chat_template : Path or None
        A Jinja file in place of the tokenizer's own chat template.
    revision : str or None
        Branch, tag or commit of a hub model.
    trust_remote_code : bool
        Whether code that comes with the checkpoint may run.
    seed : int
        vLLM's own seed; every sampled request has one of its own besides.
    engine_args : mapping
        Further arguments of ``vllm.LLM``, by its names (``quantization``, ``kv_cache_dtype``, ...).
    name : str or None
        Name for tables; None makes one from the model's.

    Raises
    ------
    SpecError
        A value is out of range.
    """

    model: str
    adapter: str | None = None
    dtype: DTypeName = "auto"
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    enforce_eager: bool | None = None
    enable_prefix_caching: bool = True
    chat_template: Path | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    seed: int = 0
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise _no_model()
        if self.dtype not in get_args(DTypeName):
            raise SpecError(f"dtype is {self.dtype!r}", "one of " + ", ".join(get_args(DTypeName)), "set dtype")
        for key, least in _WHOLE_NUMBERS.items():
            value = getattr(self, key)
            if value is not None and value < least:
                raise SpecError(f"{key} is {value}", f"a whole number from {least} on", f"set {key}")
        if self.gpu_memory_utilization is not None and not 0 < self.gpu_memory_utilization <= 1:
            raise SpecError(
                f"gpu_memory_utilization is {self.gpu_memory_utilization}",
                "a share above 0 and up to 1",
                "set gpu_memory_utilization",
            )
        ours = sorted(set(self.engine_args) & ({f.name for f in fields(self)} | {"tokenizer"}))
        if ours:
            raise SpecError(
                f"engine_args sets {ours[0]}",
                "arguments of vllm.LLM that the engine has no option for (the tokenizer comes with the checkpoint)",
                f"move {ours[0]} out of engine_args",
            )

    @property
    def display_name(self) -> str:
        """The name for tables: `name`, else the last part of the model's path, with the adapter's."""
        if self.name:
            return self.name
        parts = [self.model] if self.adapter is None else [self.model, self.adapter]
        return "+".join(Path(part).name or part for part in parts)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> VLLMOptions:
        """Build the options from plain values, as a run spec or the command line has them.

        Parameters
        ----------
        values : mapping
            Field names and values; short names of dtypes ("bf16") are understood.

        Raises
        ------
        SpecError
            A field is unknown, missing, of the wrong type or out of range.
        """
        known = {f.name for f in fields(cls)}
        for key in values:
            if key not in known:
                close = nearest(str(key), known)
                hint = f"did you mean {close}?" if close else "arguments of vllm.LLM itself go under engine_args"
                raise SpecError(
                    f"unknown option {key!r} of the vllm engine", "one of " + ", ".join(sorted(known)), hint
                )
        if "model" not in values:
            raise _no_model()
        return cls(**{key: _checked(key, value) for key, value in values.items()})


def _no_model() -> SpecError:
    return SpecError("the vllm engine was given no model", "a checkpoint directory or hub id", "set model")


def _checked(key: str, value: Any) -> Any:
    """Check the type of one plain value and convert paths and short dtype names."""
    if value is None and key in _NULLABLE:
        return None
    if key in _WHOLE_NUMBERS:
        valid, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif key in _SWITCHES:
        valid, wanted = isinstance(value, bool), "true or false"
    elif key == "gpu_memory_utilization":
        valid, wanted = isinstance(value, int | float) and not isinstance(value, bool), "a number"
    elif key == "engine_args":
        valid, wanted = isinstance(value, Mapping) and all(isinstance(k, str) for k in value), "a mapping"
    else:
        valid, wanted = isinstance(value, str | Path), "text"
    if not valid:
        raise SpecError(f"option {key} of the vllm engine is {value!r}", wanted, f"correct {key}")
    if key == "dtype":
        return _DTYPE_ALIASES.get(str(value), value)
    if key == "chat_template":
        return Path(value).expanduser()
    return str(value) if isinstance(value, Path) else value
