"""metrics.jsonl: the figures of a stage, one JSON object per logged step.

=================  ==================================================================================================
key                meaning
=================  ==================================================================================================
``step``           optimiser steps done; 0 is before training
``epoch``          passes over the data
``loss``           mean training loss since the line before
``grad_norm``      gradient norm before clipping
``learning_rate``  at this step
``accuracy``       share of pairs whose chosen answer has the higher reward (``reward``; ``dpo``: the implicit reward)
``margin``         mean reward of chosen minus rejected, in the model's own unit (``dpo``: times beta)
``token_accuracy``  share of tokens under the loss that the model ranks first (``sft``, ``preference``, ``dpo``)
``entropy``        mean entropy of those tokens' distributions, nats
``num_tokens``     tokens read since the start
``eval_*``         the same on held-out records, with ``eval_loss``
=================  ==================================================================================================

Further figures of TRL (``rewards/chosen``, ``logps/chosen``, ``min_reward``, ...) keep TRL's names.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from harness.store.jsonl import JsonlAppender, read_jsonl, write_atomically

_NAMES = {
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "mean_token_accuracy": "token_accuracy",
}
_DROPPED = ("runtime", "samples_per_second", "steps_per_second", "total_flos", "train_loss", "model_preparation_time")


def figures(logs: dict[str, Any]) -> dict[str, float | None]:
    """Rename the figures a trainer logs; one that is not finite becomes null."""
    found: dict[str, float | None] = {}
    for key, value in logs.items():
        prefix = "eval_" if key.startswith("eval_") else ""
        name = key.removeprefix("eval_").removeprefix("train_") if key != "train_loss" else key
        if name in _DROPPED or not isinstance(value, int | float):
            continue
        found[prefix + _NAMES.get(name, name)] = value if math.isfinite(value) else None
    return found


class MetricsFile(TrainerCallback):
    """Writes the figures a trainer logs to metrics.jsonl.

    Parameters
    ----------
    path : Path
        The file.
    resumed_at : int
        Step of the checkpoint to resume from; later lines are removed, because their steps are repeated.
    """

    def __init__(self, path: Path, resumed_at: int | None) -> None:
        self.path = path
        if resumed_at is None:
            path.unlink(missing_ok=True)
        elif path.exists():
            kept = [line for line in read_metrics(path) if line["step"] <= resumed_at]
            write_atomically(path, (json.dumps(line) + "\n" for line in kept))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Write a line."""
        if not state.is_world_process_zero or not logs:
            return
        found = figures(logs)
        epoch = found.pop("epoch", None)
        if found:
            line = {"step": state.global_step, "epoch": epoch, **found}
            with JsonlAppender(self.path) as appender:
                appender.append(json.dumps(line))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl, also while it is being written.

    Raises
    ------
    MissingDataError, FileFormatError
        There is no such file, or it is damaged.
    """
    return [line for _, line in read_jsonl(path, allow_torn_tail=True)]
