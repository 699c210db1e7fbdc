"""LoRA adapter directories: their configuration, and the base model of an adapter given as the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from harness.engines.engine_options import CheckpointOptions
from harness.errors import ModelError

Options = TypeVar("Options", bound=CheckpointOptions)


def adapter_config(directory: Path) -> dict[str, Any]:
    """Read `adapter_config.json`.

    Raises
    ------
    ModelError
        It cannot be read, or holds no object.
    """
    path = directory / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read: {error}", "a LoRA adapter as peft saves it", "check the adapter's path"
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no JSON object", "a LoRA adapter as peft saves it", "check the adapter's path")
    return config


def resolve_adapter(options: Options) -> Options:
    """Read the base model's name from an adapter directory given as the model.

    Parameters
    ----------
    options : CheckpointOptions
        An engine's options.

    Returns
    -------
    the same type
        With the base as `model` and the directory as `adapter`; a checkpoint directory with its `~` expanded.

    Raises
    ------
    ModelError
        The adapter does not name its base model, or another adapter is given for it.
    """
    directory = Path(options.model).expanduser()
    path = directory / "adapter_config.json"
    if not path.is_file() or (directory / "config.json").is_file():
        return options.model_copy(update={"model": str(directory)}) if directory.is_dir() else options
    if options.adapter is not None:
        raise ModelError(
            f"{directory} is itself an adapter",
            "a full checkpoint as the model when an adapter is given",
            f"give its base model with adapter={options.adapter}",
        )
    base = adapter_config(directory).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"{path} does not name its base model",
            "a field base_model_name_or_path",
            f"give the base model as the model and {directory} as the adapter",
        )
    return options.model_copy(update={"model": base, "adapter": str(directory)})
