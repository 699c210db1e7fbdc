"""What the transformers engine can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from harness.errors import SpecError, nearest

__all__ = ["DTypeName", "HFOptions"]

DTypeName = Literal["auto", "float32", "bfloat16", "float16"]
_DTYPE_ALIASES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True, slots=True)
class HFOptions:
    """Options of the transformers engine.

    Parameters
    ----------
    model : str
        A checkpoint directory, a LoRA adapter directory (its base model is then read from `adapter_config.json`), or
        a hub id.
    adapter : str or None
        A LoRA adapter directory to put on `model`.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        "auto" is the checkpoint's own on an accelerator and float32 on a CPU.
    device : str or None
        "cpu", "cuda", "cuda:1", ...; None takes the first GPU, or the CPU where there is none.
    device_map : str or None
        accelerate's placement over several devices ("auto", "balanced", ...); excludes `device`.
    chat_template : Path or None
        A Jinja file in place of the tokenizer's own chat template.
    max_batch_tokens : int or None
        Token budget of a batch: rows times the longest prompt plus reply they may reach. None fits it to the free
        GPU memory, and on a CPU to 2 GiB of keys and values, 65,536 tokens at most.
    max_batch_size : int
        Limit on rows, whatever the budget allows.
    revision : str or None
        Branch, tag or commit of a hub model.
    trust_remote_code : bool
        Whether code that comes with the checkpoint may run.
    name : str or None
        Name for tables; None makes one from the model's.

    Raises
    ------
    SpecError
        A value is out of range, or two exclude each other.
    """

    model: str
    adapter: str | None = None
    dtype: DTypeName = "auto"
    device: str | None = None
    device_map: str | None = None
    chat_template: Path | None = None
    max_batch_tokens: int | None = None
    max_batch_size: int = 256
    revision: str | None = None
    trust_remote_code: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise SpecError("the hf engine was given no model", "a checkpoint directory or hub id", "set model")
        if self.dtype not in get_args(DTypeName):
            raise SpecError(f"dtype is {self.dtype!r}", "one of " + ", ".join(get_args(DTypeName)), "set dtype")
        if self.device is not None and self.device_map is not None:
            raise SpecError("both device and device_map are set", "one of them", "leave one out")
        for field in ("max_batch_tokens", "max_batch_size"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise SpecError(f"{field} is {value}", "a positive whole number", f"set {field}")

    @property
    def display_name(self) -> str:
        """The name for tables: `name`, else the last part of the model's path, with the adapter's."""
        if self.name:
            return self.name
        parts = [self.model] if self.adapter is None else [self.model, self.adapter]
        return "+".join(Path(part).name or part for part in parts)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> HFOptions:
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
        known = {field.name for field in fields(cls)}
        for key in values:
            if key not in known:
                close = nearest(str(key), known)
                hint = f"did you mean {close}?" if close else "remove it"
                raise SpecError(f"unknown option {key!r} of the hf engine", "one of " + ", ".join(sorted(known)), hint)
        if "model" not in values:
            raise SpecError("the hf engine was given no model", "a checkpoint directory or hub id", "set model")
        return cls(**{key: _checked(key, value) for key, value in values.items()})


def _checked(key: str, value: Any) -> Any:
    """Check the type of one plain value and convert paths and short dtype names."""
    if key in ("max_batch_tokens", "max_batch_size"):
        valid = (isinstance(value, int) and not isinstance(value, bool)) or (
            value is None and key == "max_batch_tokens"
        )
        wanted = "a whole number"
    elif key == "trust_remote_code":
        valid, wanted = isinstance(value, bool), "true or false"
    else:
        required = key in ("model", "dtype")
        valid, wanted = isinstance(value, str | Path) or (value is None and not required), "text"
    if not valid:
        raise SpecError(f"option {key} of the hf engine is {value!r}", wanted, f"correct {key}")
    if key == "dtype":
        return _DTYPE_ALIASES.get(value, value)
    if key == "chat_template":
        return None if value is None else Path(value).expanduser()
    return str(value) if isinstance(value, Path) else value
