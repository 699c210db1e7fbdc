"""The run spec: model, benchmarks, judge and settings. Typed and frozen; unknown fields are rejected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from harness.errors import MissingDataError, SpecError, nearest
from harness.hashing import content_hash
from harness.reasoning import ReasoningTags

# Where a model is served and how requests are sent. None of it changes what is measured.
_JUDGE_OPERATIONAL = (
    "batch",
    "drop_unsupported",
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

_NEWER_JUDGE_FIELDS = (
    "max_completion_tokens",
    "top_p",
    "seed",
    "reasoning_effort",
    "reasoning_tags",
    "extra_body",
    "drop_unsupported",
    "samples",
    "probability",
    "batch",
)
_BATCHED_AT_ONCE = 100_000

ModelType = TypeVar("ModelType", bound=BaseModel)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


def _one_of(spec: ModelType, first: str, second: str) -> ModelType:
    """Return the spec unless it sets two fields that exclude each other."""
    if getattr(spec, first) is not None and getattr(spec, second) is not None:
        raise ValueError(f"both {first} and {second} are set; leave one out")
    return spec


def _without_unset(spec: BaseModel, fields: dict[str, Any], newer: Sequence[str]) -> dict[str, Any]:
    """Leave out newer fields that are not set, so that specs hash as they did before the fields existed."""
    for name in newer:
        if getattr(spec, name) == type(spec).model_fields[name].get_default(call_default_factory=True):
            fields.pop(name, None)
    return fields


class Options(_Frozen):
    """Base class of the options of an engine, a judge or an endpoint.

    Types are strict: text is not converted to a number, nor a number to a boolean. The value of a field declared with
    ``repr=False`` appears in no message, because it may hold a secret by mistake.
    """

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class ModelSpec(_Frozen):
    """The model under test.

    Parameters
    ----------
    path : str
        Directory, hub id, or the model's name at an endpoint.
    engine : str
        Registered engine.
    name : str or None
        Name in tables; by default the last part of `path`.
    options : dict
        Options of the engine (dtype, chat_template, adapter, base_url, ...).
    """

    path: str = Field(min_length=1)
    engine: str = "hf"
    name: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def display_name(self) -> str:
        """Name in tables."""
        return self.name or Path(self.path.rstrip("/")).name or self.path


class BenchmarkSpec(_Frozen):
    """One benchmark of a run.

    Parameters
    ----------
    name : str
        Registered name, with `@version` if there are several ("arena_hard@v2.0").
    limit, first : int or None
        Use so many prompts: drawn at random by category from the run's seed, or the first; not both. The figures are
        marked as such.
    max_tokens : int or None
        Limit on answer tokens, overriding the benchmark's.
    temperature : float or None
        Sampling temperature, overriding the benchmark's.
    options : dict
        Options of the benchmark (``num_fewshot`` of lm-eval's tasks, ``reference`` of an implicit reward, ...).
    """

    name: str
    limit: int | None = Field(default=None, ge=1)
    first: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0)
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _own_prompts(cls, value: Any) -> Any:
        return own_prompts(value) if isinstance(value, dict) and "prompts" in value else value

    @model_validator(mode="after")
    def _limit_or_first(self) -> Self:
        return _one_of(self, "limit", "first")

    @model_serializer(mode="wrap")
    def _without_first(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_unset(self, handler(self), ("first",))


def own_prompts(item: Mapping[str, Any]) -> dict[str, Any]:
    """Convert ``{prompts: FILE, name: NAME, form: ..., baseline: FILE, ...}`` to the fields of a `BenchmarkSpec`.

    Its name becomes "prompts:NAME", by default with the file's name; ``prompts``, ``baseline``, ``judge_prompt`` and
    the file of a form ``rubric:FILE`` are put together under the option ``files``.
    """
    fields = {name: item[name] for name in _OWN_FIELDS if name in item}
    files = {name: str(item[name]) for name in _OWN_FILES if item.get(name) is not None}
    options = {k: v for k, v in item.items() if k not in ("name", "options", *_OWN_FIELDS, *files)}
    form, _, rubric = str(options.get("form", "")).partition(":")
    if form == "rubric" and Path(rubric).suffix:
        options |= {"form": form}
        files |= {"judge_prompt": rubric}
    options |= {"files": files, **item.get("options", {})}
    name = str(item.get("name") or _file_stem(files["prompts"])).removeprefix("prompts:")
    return {**fields, "name": f"prompts:{name}", "options": options}


def _file_stem(source: str) -> str:
    """Return a file's name without its endings and options, as a name of prompts."""
    return re.sub(r"[^\w-]+", "-", Path(source.partition("?")[0]).name.split(".")[0])


_OWN_FIELDS, _OWN_FILES = ("limit", "first", "max_tokens", "temperature"), ("prompts", "baseline", "judge_prompt")


class BatchSpec(_Frozen):
    """How requests are collected into batches (`JudgeSpec.batch`).

    Parameters
    ----------
    linger_s : float
        Seconds without a new request after which those that wait are submitted.
    poll_s : float
        Longest time between two looks at a batch.
    settle_s : float
        How long the server may take to list a batch; a submission whose outcome is not known (after a kill) and that is
        not listed by then counts as not made.
    max_requests : int
        Requests per batch.
    """

    linger_s: float = Field(default=10.0, gt=0)
    poll_s: float = Field(default=60.0, gt=0)
    settle_s: float = Field(default=60.0, ge=0)
    max_requests: int = Field(default=5000, ge=1, le=50_000)


class JudgeSpec(_Frozen):
    """The judge.

    Parameters
    ----------
    model : str
        ``KIND:MODEL``, for example ``openai:gpt-4-1106-preview``.
    base_url : str or None
        Base URL of the endpoint; by default that of the kind.
    api_key_env : str
        Environment variable that holds the key; by default that of the kind. The key itself is never stored.
    max_tokens : int or None
        Limit on the judge's tokens, overriding the official one.
    max_completion_tokens : int or None
        The same, sent under this name, as reasoning models require; excludes `max_tokens`.
    temperature : float or None
        Sampling temperature, overriding the official one.
    top_p : float or None
        Nucleus mass.
    seed : int or None
        Seed of the judge's sampling.
    reasoning_effort : str or None
        How long the judge may reason, in the server's words ("low", "medium", "high", ...).
    reasoning_tags : list of pairs of str, or None
        The tags around reasoning in the text of a reply; [] for none, None knows the usual ones.
    extra_body : dict
        Further fields of every request, sent as they are.
    drop_unsupported : bool
        Whether parameters that the server refuses are left out.
    samples : int or None
        Ask so often; the verdict is the mean, or the share where the official one is read from log-probabilities.
    probability : {"structured"} or None
        Where the official verdict is a probability read from log-probabilities: ask for the number, with a JSON schema.
    batch : BatchSpec or None
        Ask through the vendor's batch interface, at half the price; ``true`` takes the defaults.
    price : tuple of float or None
        Price per million prompt and completion tokens, overriding the price table.
    options : dict
        Options of the kind (of the engine of a local judge).
    concurrency, timeout_s, give_up_after_s, max_retries
        How requests are sent; none of these changes what is measured.
    """

    model: str
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0)
    reasoning_effort: str | None = Field(default=None, min_length=1)
    reasoning_tags: ReasoningTags | None = None
    extra_body: dict[str, Any] = Field(default_factory=dict)
    drop_unsupported: bool = False
    samples: int | None = Field(default=None, ge=2, le=1024)
    probability: Literal["structured"] | None = None
    batch: BatchSpec | None = None
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

    @field_validator("batch", mode="before")
    @classmethod
    def _yes_or_no(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return {} if value else None
        return value

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        return _one_of(_one_of(self, "max_tokens", "max_completion_tokens"), "samples", "probability")

    @model_serializer(mode="wrap")
    def _without_newer(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_unset(self, handler(self), _NEWER_JUDGE_FIELDS)

    @property
    def max_reply_tokens(self) -> int | None:
        """The limit on the judge's tokens, by either name; None for the official one."""
        return self.max_tokens or self.max_completion_tokens

    @property
    def sent_options(self) -> dict[str, Any]:
        """The fields of every request's body that are sent as they are.

        Runs of 0.1.0 stored them as `options`, and so do the hashes.
        """
        return {**self.options, **self.extra_body}

    @property
    def in_flight(self) -> int:
        """Questions to the judge that wait for their answer at once."""
        return self.concurrency if self.batch is None else _BATCHED_AT_ONCE

    @property
    def kind(self) -> str:
        """Registered name of the judge."""
        return self.model.partition(":")[0]

    @property
    def model_name(self) -> str:
        """Name of the model, without the kind."""
        return self.model.partition(":")[2]


class RunSpec(_Frozen):
    """The specification of a run (`assay run`).

    Parameters
    ----------
    model : ModelSpec
    benchmarks : tuple of BenchmarkSpec
    judge : JudgeSpec or None
        None if no benchmark needs one.
    limit, first : int or None
        The same for every benchmark without its own; not both.
    seed : int
        Seed of every random choice; the seed of each request is derived from it.
    max_unscored : float
        Share of items (0 to 1) that may be unscored before the run is marked not valid.
    samples : int
        Answers per prompt. The first is judged; the diversity of all is measured (`harness.run.answer_diversity`).
    canaries : int
        Prompts per benchmark on which the judge is tested (`harness.run.canary_questions`); 0 for none.
    anchors : int
        Prompts per benchmark whose answers in `anchor_run` the judge judges again (`harness.run.anchors`); 0 for none.
    anchor_run : str or None
        The run directory with those answers.
    """

    model: ModelSpec
    benchmarks: tuple[BenchmarkSpec, ...] = Field(min_length=1)
    judge: JudgeSpec | None = None
    limit: int | None = Field(default=None, ge=1)
    first: int | None = Field(default=None, ge=1)
    seed: int = 0
    max_unscored: float = Field(default=0.01, ge=0, le=1)
    samples: int = Field(default=1, ge=1, le=1024)
    canaries: int = Field(default=8, ge=0)
    anchors: int = Field(default=0, ge=0)
    anchor_run: str | None = None

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

    @model_serializer(mode="wrap")
    def _without_first(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_unset(self, handler(self), ("first",))

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _one_of(self, "limit", "first")
        names = [b.name for b in self.benchmarks]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"benchmark named twice: {', '.join(twice)}")
        return self

    def with_first_for_limit(self) -> Self:
        """Return the spec with ``first`` in place of every ``limit``, as 0.1.0 read it."""
        benchmarks = tuple(_first_for_limit(item) for item in self.benchmarks)
        return _first_for_limit(self.model_copy(update={"benchmarks": benchmarks}))

    @model_validator(mode="after")
    def _whole_anchors(self) -> Self:
        if (self.anchors > 0) != (self.anchor_run is not None):
            raise ValueError("anchors and anchor_run go together: a number of prompts, and the run with their answers")
        return self

    def identity(self) -> dict[str, Any]:
        """Return the fields that determine what is measured; runs with equal identity are the same run."""
        fields = self.model_dump(mode="json")
        for testing in ("canaries", "anchors", "anchor_run"):  # they test the judge and enter no figure
            fields.pop(testing)
        if fields["judge"] is not None:
            for operational in _JUDGE_OPERATIONAL:
                fields["judge"].pop(operational, None)
            fields["judge"]["options"] = {**fields["judge"]["options"], **fields["judge"].pop("extra_body", {})}
        fields["benchmarks"] = {item["name"]: _identified(item) for item in fields["benchmarks"]}
        _identify_limit(fields)
        if fields["samples"] == 1:
            fields.pop("samples")
        for operational in _ENGINE_OPERATIONAL:
            fields["model"]["options"].pop(operational, None)
        return fields

    @property
    def spec_hash(self) -> str:
        """Hash of :meth:`identity`."""
        return content_hash("spec", self.identity())


def _identified(item: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a benchmark that determine what is measured."""
    if "content" in item["options"]:  # the places of the user's files do not matter, their content does
        item["options"].pop("files", None)
    for optional in ("options", "temperature"):  # keep the hashes of runs made before these fields existed
        if not item[optional] and item[optional] != 0:
            item.pop(optional)
    _identify_limit(item)
    return item


def _first_for_limit(spec: ModelType) -> ModelType:
    limit = getattr(spec, "limit", None)
    return spec if limit is None else spec.model_copy(update={"limit": None, "first": limit})


def _identify_limit(fields: dict[str, Any]) -> None:
    """Tell a drawn limit from the first prompts, which ``limit`` meant in runs of 0.1.0 and which are identified so."""
    if fields["limit"] is not None:
        fields["limit"] = f"{fields['limit']} at random"
    first = fields.pop("first", None)
    fields["limit"] = fields["limit"] if first is None else first


def validated(kind: type[ModelType], values: Mapping[str, Any], where: str) -> ModelType:
    """Validate values, converting pydantic's errors to one that says what to do.

    Raises
    ------
    SpecError
        Names every wrong field, and for an unknown field the nearest known one.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise SpecError(f"{where}: " + "; ".join(_explain(kind, e) for e in error.errors())) from None


def _explain(kind: type[BaseModel], error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:  # an error of the whole model, such as mutually exclusive fields
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
    """Return the model class at a location such as ("benchmarks", 0)."""
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
        The file does not exist or cannot be read.
    SpecError
        The file is not YAML, or a field is wrong.
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


def differing_fields(first: Any, second: Any, labels: tuple[str, str] = ("was", "now"), prefix: str = "") -> list[str]:
    """Describe the fields in which two JSON values differ, as "judge.model: was 'a', now 'b'"."""
    if isinstance(first, dict) and isinstance(second, dict):
        keys: list[Any] = sorted({*first, *second})
        pairs = [(key, first.get(key), second.get(key)) for key in keys]
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = [(index, a, b) for index, (a, b) in enumerate(zip(first, second, strict=True))]
    elif first == second:
        return []
    else:
        return [f"{prefix.rstrip('.')}: {labels[0]} {first!r}, {labels[1]} {second!r}"]
    return [line for key, a, b in pairs for line in differing_fields(a, b, labels, f"{prefix}{key}.")]
