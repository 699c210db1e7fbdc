"""Options common to all engines and to all checkpoints; `harness.spec.validated` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from harness.reasoning import ReasoningTags
from harness.spec import Options

_DTYPE_ALIASES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value)]
"""Text, or a path, which becomes text."""

TemplateFile = Annotated[
    Path, BeforeValidator(lambda value: Path(value).expanduser() if isinstance(value, str) else value)
]
"""A path, or text, which becomes a path with its `~` expanded."""

_short_name = BeforeValidator(lambda value: _DTYPE_ALIASES.get(value, value) if isinstance(value, str) else value)
DTypeName = Annotated[Literal["auto", "float32", "bfloat16", "float16"], _short_name]
"""A floating type by its name in torch, or by its short name ("bf16")."""


class EngineOptions(Options):
    """Options of every engine, and all options of an engine without its own.

    Parameters
    ----------
    model : str
        What the engine loads.
    name : str or None
        Name for tables; None makes one from the model's.
    """

    model: Text = Field(min_length=1)
    name: Text | None = None

    @property
    def display_name(self) -> str:
        """The name for tables."""
        return self.name or Path(self.model).name or self.model


class CheckpointOptions(EngineOptions):
    """Options of an engine that loads a checkpoint.

    Parameters
    ----------
    model : str
        A checkpoint directory, a LoRA adapter directory (its base model is then read from `adapter_config.json`), or
        a hub id.
    adapter : str or None
        A LoRA adapter directory to apply to `model`.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        "auto" is the checkpoint's own on an accelerator and float32 on a CPU.
    chat_template : Path or None
        A Jinja file in place of the tokenizer's own chat template.
    revision : str or None
        Branch, tag or commit of a hub model.
    trust_remote_code : bool
        Whether code that comes with the checkpoint may run.
    reasoning_tags : list of pairs of str, or None
        The tags around the model's reasoning, for example ``[["<think>", "</think>"]]``; [] leaves it in the answer,
        None knows the usual ones (`harness.reasoning`).
    """

    adapter: Text | None = None
    dtype: DTypeName = "auto"
    chat_template: TemplateFile | None = None
    revision: Text | None = None
    trust_remote_code: bool = False
    reasoning_tags: ReasoningTags | None = None

    @property
    def display_name(self) -> str:
        """The name for tables: `name`, else the last part of the model's path, with the adapter's."""
        parts = [self.model] if self.adapter is None else [self.model, self.adapter]
        return self.name or "+".join(Path(part).name or part for part in parts)
