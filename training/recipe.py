"""The recipe fields of every training stage: typed and frozen; an unknown field is refused with the nearest name.

A stage's own module (`training.sft`, `reward`, `preference`, `dpo`) adds its fields to :class:`TrainingRecipe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from harness.errors import SpecError, UnknownNameError
from harness.spec import read_yaml, validated
from training.stage import StageEntry

RecipeType = TypeVar("RecipeType", bound="TrainingRecipe")

OPERATIONAL = (
    "micro_batch_size",
    "eval_batch_size",
    "gradient_checkpointing",
    "logging_steps",
    "save_steps",
    "save_total_limit",
    "eval_steps",
    "report_to",
    "use_cpu",
    "max_truncated_share",
)
"""Fields that do not change the trained model, up to rounding."""


class Frozen(BaseModel):
    """A part of a recipe: immutable, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


def _one_is_enough(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Several = BeforeValidator(_one_is_enough)
Sources = Annotated[tuple[str, ...], Several]
"""Files or hub ids; one needs no list."""


class LoraRecipe(Frozen):
    """Low-rank adapters instead of full training.

    Parameters
    ----------
    r : int
        Rank.
    alpha : int
        Scale; updates are multiplied by alpha / r.
    dropout : float
        Dropout on the adapters' input.
    target_modules : tuple of str or str
        Names of modules to adapt; "all-linear" for every linear layer except the output head.
    """

    r: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] | str = "all-linear"


class TrainingRecipe(Frozen):
    """The fields all stages share.

    Parameters
    ----------
    stage : str
        In a section of an align recipe, the registered stage to train in place of the section's own; "" otherwise.
    model : str
        Directory or hub id of the model that training starts from.
    data : tuple of str
        The training records, as `training.data` names sources: files, directories, hub ids, "FILE?adapter=NAME". Not
        needed if records are passed from Python.
    held_out : tuple of str
        Records for the held-out figures; training records with their prompts are left out.
    held_out_share : float
        Share (0 to 0.5) of the training prompts to hold out if `held_out` is empty.
    chat_template : str or None
        A Jinja chat template instead of the tokenizer's own: a file, or the template itself.
    eos_token : str or None
        The token that ends an answer, if it is not the tokenizer's eos token.
    add_pad_token : bool
        Add a padding token (and an embedding row for it).
    max_length : int
        Longest sequence, in tokens; the length of a block if sequences are packed.
    max_truncated_share : float
        Training is refused if a larger share of the items is longer than `max_length`.
    on_bad_item : str
        "error" stops before training at an invalid item (equal sides, no assistant turn); "drop" drops and counts it.
    learning_rate, schedule, warmup_ratio, weight_decay, max_grad_norm
        AdamW and its schedule; `warmup_ratio` is the share of all steps.
    epochs : float
        Passes over the data.
    max_steps : int or None
        Optimiser steps instead of `epochs`.
    batch_size : int
        Items (packed blocks for `sft` and `preference`) of an optimiser step, over all devices.
    micro_batch_size : int or None
        Items on a device at a time; accumulation makes up `batch_size`. By default the largest divisor up to 8.
    eval_batch_size : int
        Items on a device at a time for held-out figures.
    precision : str
        "auto" is bf16 on a GPU that supports it and float32 elsewhere; weights are kept in float32.
    gradient_checkpointing : bool
        Recompute activations: less memory, about a third more time.
    lora : LoraRecipe or None
        Adapters instead of full training.
    seed : int
        Seed of every random choice.
    logging_steps, eval_steps, save_steps : int or None
        Steps between lines of metrics.jsonl, between held-out figures, and between checkpoints. With None, there are
        held-out figures only before and after training, and no checkpoints.
    save_total_limit : int
        Number of checkpoints to keep.
    report_to : tuple of str
        Trackers besides metrics.jsonl: "trackio", "wandb", "tensorboard".
    use_cpu : bool
        Train on the CPU even if there is a GPU.
    """

    stage: str = Field(default="", exclude_if=lambda stage: not stage)
    model: str = Field(min_length=1)
    data: Sources = ()
    held_out: Sources = ()
    held_out_share: float = Field(default=0.0, ge=0, le=0.5)
    chat_template: str | None = None
    eos_token: str | None = None
    add_pad_token: bool = False
    max_length: int = Field(default=2048, ge=8)
    max_truncated_share: float = Field(default=0.1, ge=0, le=1)
    on_bad_item: Literal["error", "drop"] = "error"
    learning_rate: float = Field(gt=0)
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=32, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1)
    eval_batch_size: int = Field(default=8, ge=1)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    gradient_checkpointing: bool = False
    lora: LoraRecipe | None = None
    seed: int = Field(default=0, ge=0)
    logging_steps: int = Field(default=10, ge=1)
    eval_steps: int | None = Field(default=None, ge=1)
    save_steps: int | None = Field(default=200, ge=1)
    save_total_limit: int = Field(default=2, ge=2)
    report_to: Annotated[tuple[Literal["trackio", "wandb", "tensorboard"], ...], Several] = ()
    use_cpu: bool = False

    @model_validator(mode="after")
    def _held_out_once(self) -> Self:
        if self.held_out and self.held_out_share:
            raise ValueError("held_out and held_out_share: give one of them")
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch_size {self.micro_batch_size}"
            )
        return self

    def with_(self, **changes: Any) -> Self:
        """Copy the recipe with fields changed, and validate it.

        Raises
        ------
        SpecError
            A field is unknown or wrong.
        """
        return validated(type(self), {**self.model_dump(), **changes}, "recipe")

    def identity(self) -> dict[str, Any]:
        """The fields that decide the trained model; data and models are identified by their contents instead."""
        fields = self.model_dump(mode="json", exclude=set(OPERATIONAL))
        return {name: value for name, value in fields.items() if name not in ("stage", "model", "data", "held_out")}


def load_recipe(stage: StageEntry[RecipeType], path: Path | str, overrides: Sequence[str] = ()) -> RecipeType:
    """Read the recipe of a stage.

    Parameters
    ----------
    stage : StageEntry
        The stage, `training.sft.STAGE` and the like.
    path : Path or str
        A YAML file, or the name of a shipped recipe (`shipped`).
    overrides : sequence of str
        "key=value" or "key.inner=value", values being YAML.

    Raises
    ------
    MissingDataError
        There is no such file.
    SpecError
        It is not YAML, names another stage, or a field is unknown or wrong.
    UnknownNameError
        It is neither a file nor the name of a shipped recipe.
    """
    values = read_recipe(path, overrides)
    named = values.pop("stage", stage.name)
    if named != stage.name:
        raise SpecError(
            f"{path} is a recipe of the stage {named!r}", f"one of {stage.name!r}", f"run `assay train {named}`"
        )
    return validated(stage.recipe, values, str(path))


def read_recipe(path: Path | str, overrides: Sequence[str] = (), prefix: str = "") -> dict[str, Any]:
    """Read a YAML file, or the shipped recipe of that name, and apply overrides; errors as in :func:`load_recipe`.

    Parameters
    ----------
    prefix : str
        The names of shipped recipes that an error message lists start with this.
    """
    values = read_yaml(named_file("recipe", path, shipped("recipes"), "(`assay train recipes`)", prefix))
    for override in overrides:
        _override(values, override)
    return values


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not (separator and key):
        raise SpecError(f"--set {override!r}", "KEY=VALUE, for example learning_rate=2e-5")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if isinstance(value, str):
        value = _number(value)
    *outer, last = key.split(".")
    for name in outer:
        inner = values.get(name) or {}
        if not isinstance(inner, dict):
            raise SpecError(f"--set {override!r}: {name} has no fields", "KEY=VALUE of an existing field")
        values[name] = dict(inner)
        values = values[name]
    values[last] = value


def _number(text: str) -> float | str:
    """Read "2e-5", which is a text in YAML 1.1."""
    try:
        return float(text)
    except ValueError:
        return text


def shipped(folder: str) -> dict[str, Path]:
    """The files of a folder of the package by name: "recipes", "recipes/mixes", accelerate's "configs"."""
    return {path.stem: path for path in sorted(Path(str(files("training").joinpath(folder))).glob("*.yaml"))}


def named_file(kind: str, name: Path | str, known: Mapping[str, Path], where: str = "", prefix: str = "") -> Path:
    """A YAML file that is given by its path or by its name among the shipped ones.

    Raises
    ------
    UnknownNameError
        It is neither; the message lists the names that start with `prefix`, and says `where` more is said.
    """
    path = Path(name)
    if not path.is_file() and str(name) in known:
        return known[str(name)]
    if not path.exists() and path.suffix not in (".yaml", ".yml"):
        listed = [other for other in known if other.startswith(prefix)]
        raise UnknownNameError(kind, str(name), listed, f"give a YAML file or a shipped {kind} {where}".rstrip())
    return path
