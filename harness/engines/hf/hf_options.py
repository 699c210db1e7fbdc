"""Options of the transformers engine."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from harness.engines.engine_options import CheckpointOptions, Text


class HFOptions(CheckpointOptions):
    """Options of the transformers engine; those not listed are in `CheckpointOptions`.

    Parameters
    ----------
    device : str or None
        "cpu", "cuda", "cuda:1", ...; None takes the first GPU, or the CPU if there is none.
    device_map : str or None
        accelerate's placement over several devices ("auto", "balanced", ...); excludes `device`.
    max_batch_tokens : int or None
        Token budget of a batch: rows times the longest prompt plus reply they may reach. None fits it to the free
        GPU memory, and on a CPU to 2 GiB of keys and values, 65,536 tokens at most.
    max_batch_size : int
        Maximum number of rows.
    """

    device: Text | None = None
    device_map: Text | None = None
    max_batch_tokens: Annotated[int, Field(ge=1)] | None = None
    max_batch_size: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _one_placement(self) -> Self:
        if self.device is not None and self.device_map is not None:
            raise ValueError("both device and device_map are set; leave one out")
        return self
