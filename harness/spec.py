"""The run spec: what is to be measured, with what, how. Typed, frozen, unknown fields refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from harness.errors import MissingDataError, SpecError, nearest
from harness.hashing import content_hash

__all__ = [
    "BenchmarkSpec",
    "JudgeSpec",
    "ModelSpec",
    "Options",
    "RunSpec",
    "differing_fields",
    "load_spec",
    "validated",
]

# How requests are made and where the same model is served from: none of it changes what is measured.
_JUDGE_OPERATIONAL = (
    "base_url",
    "api_key_env",
    "price",
    "concurrency",
    "timeout_s",
    "give_up_after_s",
    "max_retries",
)
_ENGINE_OPERATIONAL = (
    "base_url",
    "api_key_env",
    "max_batch_tokens",
    "max_batch_size",
    "padding_side",
    "device",
    "device_map",
    "concurrency",
    "timeout_s",
    "give_up_after_s",
    "max_retries",
)

ModelType = TypeVar("ModelType", bound=BaseModel)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Options(_Frozen):
    """Base of what an engine, a judge or an endpoint can be told.

    Types are strict: a number is not read from text, nor a switch from a number. A field declared with ``repr=False``
    may hold a secret by mistake, so its value is repeated in no message.
    """

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class ModelSpec(_Frozen):
    """The model under test.

    Parameters
    ----------
    path : str
        Directory, hub id, or the model name an endpoint knows.
    engine : str
        Registered engine.
    name : str or None
        Name for tables; the last part of `path` where missing.
    options : dict
        Options of the engine (dtype, chat_template, adapter, base_url, ...).
    """

    path: str = Field(min_length=1)
    engine: str = "hf"
    name: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def display_name(self) -> str:
        """The name tables show."""
        return self.name or Path(self.path.rstrip("/")).name or self.path


class BenchmarkSpec(_Frozen):
    """One benchmark of a run.

    Parameters
    ----------
    name : str
        Registered name, with `@version` where several are offered ("arena_hard@v2.0").
    limit : int or None
        Only the first so many prompts (a smoke test; the figures are then marked as such).
    max_tokens : int or None
        Limit on answer tokens in place of the benchmark's own.
    temperature : float or None
        In place of the benchmark's own.
    options : dict
        Options of the benchmark's own (``num_fewshot`` of lm-eval's tasks, ``reference`` of an implicit reward, ...).
    """

    name: str
    limit: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0)
    options: dict[str, Any] = Field(default_factory=dict)


class JudgeSpec(_Frozen):
    """Who judges.

    Parameters
    ----------
    model : str
        ``KIND:MODEL``, for example ``openai:gpt-4-1106-preview``.
    base_url : str or None
        Endpoint; the kind's own default where missing.
    api_key_env : str
        Environment variable that holds the key. The key itself is never stored.
    max_tokens : int or None
        Limit on the judge's tokens in place of the official one.
    temperature : float or None
        In place of the official one.
    price : tuple of float or None
        Money per million prompt and completion tokens, in place of the table's.
    options : dict
        Further options of the kind.
    concurrency, timeout_s, give_up_after_s, max_retries
        How requests are made; these do not change what is measured.
    """

    model: str
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0)
    price: tuple[float, float] | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    concurrency: int = Field(default=32, ge=1, le=4096)
    timeout_s: float = Field(default=120.0, gt=0)
    give_up_after_s: float = Field(default=60.0, gt=0)
    max_retries: int = Field(default=6, ge=0)

    @field_validator("model")
    @classmethod
    def _kind_and_model(cls, value: str) -> str:
        kind, separator, model = value.partition(":")
        if not (kind and separator and model):
            raise ValueError("a judge is KIND:MODEL, for example openai:gpt-4.1")
        return value

    @property
    def kind(self) -> str:
        """The registered judge."""
        return self.model.partition(":")[0]

    @property
    def model_name(self) -> str:
        """What the kind calls the model."""
        return self.model.partition(":")[2]


class RunSpec(_Frozen):
    """Everything `assay run` needs.

    Parameters
    ----------
    model : ModelSpec
    benchmarks : tuple of BenchmarkSpec
    judge : JudgeSpec or None
        None where no benchmark needs one.
    limit : int or None
        A limit for every benchmark that has none of its own.
    seed : int
        Seed of every random choice; each request's own seed is derived from it.
    max_unscored : float
        Share of items (0 to 1) that may go unscored before the run is marked not valid.
    samples : int
        Answers a prompt. The first is judged; the diversity of all is measured (`harness.run.answer_diversity`).
    canaries : int
        Prompts a benchmark on which the judge itself is tested (`harness.run.canary_questions`); 0 for none.
    """

    model: ModelSpec
    benchmarks: tuple[BenchmarkSpec, ...] = Field(min_length=1)
    judge: JudgeSpec | None = None
    limit: int | None = Field(default=None, ge=1)
    seed: int = 0
    max_unscored: float = Field(default=0.01, ge=0, le=1)
    samples: int = Field(default=1, ge=1, le=1024)
    canaries: int = Field(default=8, ge=0)

    @field_validator("benchmarks", mode="before")
    @classmethod
    def _names_are_enough(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, list | tuple):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    @field_validator("model", "judge", mode="before")
    @classmethod
    def _string_is_enough(cls, value: Any, info: Any) -> Any:
        if isinstance(value, str):
            return {"path": value} if info.field_name == "model" else {"model": value}
        return value

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [b.name for b in self.benchmarks]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"benchmark named twice: {', '.join(twice)}")
        return self

    def identity(self) -> dict[str, Any]:
        """The fields that decide what is measured; runs that differ only in others are the same run."""
        fields = self.model_dump(mode="json")
        fields.pop("canaries")  # they test the judge and are part of no figure
        if fields["judge"] is not None:
            for operational in _JUDGE_OPERATIONAL:
                fields["judge"].pop(operational)
        fields["benchmarks"] = {item["name"]: item for item in fields["benchmarks"]}
        for item in fields["benchmarks"].values():
            for optional in ("options", "temperature"):  # runs made before there were any are the same runs
                if not item[optional] and item[optional] != 0:
                    item.pop(optional)
        if fields["samples"] == 1:
            fields.pop("samples")
        for operational in _ENGINE_OPERATIONAL:
            fields["model"]["options"].pop(operational, None)
        return fields

    @property
    def spec_hash(self) -> str:
        """Hash of :meth:`identity`."""
        return content_hash("spec", self.identity())


def validated(kind: type[ModelType], values: Mapping[str, Any], where: str) -> ModelType:
    """Validate values, turning pydantic's errors into one that says what to do.

    Raises
    ------
    SpecError
        Names every wrong field, and for an unknown one the nearest known.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise SpecError(f"{where}: " + "; ".join(_explain(kind, e) for e in error.errors())) from None


def _explain(kind: type[BaseModel], error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:  # fields that exclude each other
        return message
    path = ".".join(str(part) for part in error["loc"])
    fields = _model_at(kind, error["loc"][:-1]).model_fields
    if error["type"] == "extra_forbidden":
        close = nearest(str(error["loc"][-1]), fields)
        hint = f"did you mean {close!r}?" if close else "known fields: " + ", ".join(sorted(fields))
        return f"unknown field {path!r}, {hint}"
    if error["type"] == "missing":
        return f"field {path!r} is missing"
    field = fields.get(str(error["loc"][-1]))
    hidden = isinstance(error["input"], dict | list) or (field is not None and not field.repr)
    return f"{path}: {message}" if hidden else f"{path}: {message} (got {error['input']!r})"


def _model_at(kind: type[BaseModel], location: tuple[Any, ...]) -> type[BaseModel]:
    """Follow a location such as ("benchmarks", 0) to the model found there."""
    for part in location:
        if isinstance(part, str) and part in kind.model_fields:
            kind = _model_inside(kind.model_fields[part].annotation) or kind
    return kind


def _model_inside(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_inside(inner)
        if found is not None:
            return found
    return None


def load_spec(path: Path) -> RunSpec:
    """Read a run spec from YAML.

    Raises
    ------
    MissingDataError
        There is no such file.
    SpecError
        It is not YAML, or a field is wrong.
    """
    return validated(RunSpec, read_yaml(path), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; errors as in :func:`load_spec`."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingDataError(f"no such file: {path}", remedy="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MissingDataError(f"cannot read {path}: {error}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise SpecError(f"{path} holds a {type(values).__name__}", "a mapping of fields to values")
    return values


def differing_fields(first: Any, second: Any, prefix: str = "") -> list[str]:
    """Name the fields in which two JSON values differ, as "judge.model: 'a' here, 'b' there"."""
    if isinstance(first, dict) and isinstance(second, dict):
        keys: list[Any] = sorted({*first, *second})
        pairs = [(key, first.get(key), second.get(key)) for key in keys]
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = [(index, a, b) for index, (a, b) in enumerate(zip(first, second, strict=True))]
    else:
        return [] if first == second else [f"{prefix.rstrip('.')}: {first!r} there, {second!r} asked for"]
    return [line for key, a, b in pairs for line in differing_fields(a, b, f"{prefix}{key}.")]
