"""A recipe as the arguments of TRL's trainers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from harness.errors import SpecError
from training.recipe import TrainingRecipe

_SAME = {
    *("learning_rate", "weight_decay", "max_grad_norm", "gradient_checkpointing", "seed", "max_length"),
    *("logging_steps", "eval_steps", "save_total_limit"),
}
"""Fields that TRL calls the same."""
_LARGEST_GUESS = 8


def micro_batch(recipe: TrainingRecipe, n_devices: int) -> int:
    """Items on a device at a time, so that devices and accumulation give exactly `recipe.batch_size`.

    Raises
    ------
    SpecError
        The batch cannot be divided like this.
    """
    per_device, rest = divmod(recipe.batch_size, n_devices)
    if rest:
        raise SpecError(
            f"batch_size {recipe.batch_size} over {n_devices} devices",
            f"a multiple of {n_devices}",
            "change batch_size or the number of processes; the batch size is never changed silently",
        )
    if recipe.micro_batch_size is None:
        return next(n for n in range(min(_LARGEST_GUESS, per_device), 0, -1) if per_device % n == 0)
    if per_device % recipe.micro_batch_size:
        raise SpecError(
            f"micro_batch_size {recipe.micro_batch_size} with batch_size {recipe.batch_size} over {n_devices} devices",
            f"a divisor of {per_device}",
        )
    return recipe.micro_batch_size


def common_arguments(recipe: TrainingRecipe, out: Path, n_devices: int, *, held_out: bool) -> dict[str, Any]:
    """Keyword arguments that SFTConfig, RewardConfig and DPOConfig share.

    Parameters
    ----------
    recipe : TrainingRecipe
        The stage's recipe.
    out : Path
        The stage's directory.
    n_devices : int
        Number of processes that train together.
    held_out : bool
        Whether there are held-out records.
    """
    micro = micro_batch(recipe, n_devices)
    return {
        "output_dir": str(out / "checkpoints"),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": recipe.batch_size // (micro * n_devices),
        "per_device_eval_batch_size": recipe.eval_batch_size,
        **recipe.model_dump(include=_SAME),
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup_ratio,  # a number below 1 is a share of all steps
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        **_device_arguments(recipe),
        "data_seed": recipe.seed,
        "logging_first_step": True,
        "eval_strategy": "steps" if held_out and recipe.eval_steps else "no",
        "save_strategy": "steps" if recipe.save_steps else "no",
        "save_steps": recipe.save_steps or 500,
        "report_to": list(recipe.report_to) or "none",
        "disable_tqdm": not sys.stderr.isatty(),
        "log_level": "error",
    }


def _device_arguments(recipe: TrainingRecipe) -> dict[str, bool]:
    import torch

    gpu = torch.cuda.is_available() and not recipe.use_cpu
    auto_bf16 = recipe.precision == "auto" and gpu and torch.cuda.is_bf16_supported()
    return {
        "bf16": recipe.precision == "bfloat16" or auto_bf16,
        "fp16": recipe.precision == "float16",
        "use_cpu": not gpu,
        "dataloader_pin_memory": gpu,
    }
