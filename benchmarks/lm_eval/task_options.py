"""What can be chosen about a task; each field is lm-eval's argument of that name unless said otherwise."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["TaskOptions"]


class TaskOptions(BaseModel):
    """Options of one task.

    Parameters
    ----------
    num_fewshot : int or None
        Examples before the question; the task's own number where None.
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
        In place of the task's dataset: a directory with a copy of it, or a file of rows.
    include_path : str or None
        A directory with task definitions of one's own.
    code_workers : int
        Programs that run at once where the task runs code (not lm-eval's; does not change what is measured).
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
