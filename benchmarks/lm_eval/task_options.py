"""Options of a task; each is lm-eval's argument of that name unless stated otherwise."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class TaskOptions(BaseModel):
    """Options of one task.

    Parameters
    ----------
    num_fewshot : int or None
        Examples before the question; None for the task's own number.
    apply_chat_template : bool
        Render prompts through the model's chat template.
    fewshot_as_multiturn : bool
        With a chat template, show examples as turns of the conversation.
    system_instruction : str or None
        System message, or opening text without a chat template.
    gen_kwargs : dict
        Changes of the task's generation settings, for example ``{max_gen_toks: 128}``.
    fewshot_seed : int
        Seed with which examples are drawn (``fewshot_random_seed``).
    data : str or None
        Replaces the task's dataset: a directory with a copy of it, or a file of rows.
    include_path : str or None
        A directory with more task definitions.
    code_workers : int
        Programs run at once if the task runs code (not an lm-eval argument; does not affect results).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_fewshot: int | None = Field(default=None, ge=0)
    apply_chat_template: bool = False
    fewshot_as_multiturn: bool = True
    system_instruction: str | None = None
    gen_kwargs: dict[str, Any] = Field(default_factory=dict)
    fewshot_seed: int = 1234
    data: str | None = None
    include_path: str | None = None
    code_workers: int = Field(default=2, ge=1)
