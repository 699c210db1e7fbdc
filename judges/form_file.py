"""The file of a judge form: YAML between two lines of dashes, then the prompt as a Jinja template.

::

    ---
    verdict: rating
    scale: [1, 5]
    ---
    Grade the answer to this question ...
    {{ question }}
    {{ answer }}
    End with a last line "Rating: N".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import jsonschema
import yaml
from pydantic import Field, model_validator

from harness.errors import MissingDataError, SpecError, nearest
from harness.hashing import content_hash
from harness.spec import Options, validated
from judges.parsing import FIVE_WAY
from judges.prompt_text import PromptText, answer_fields, fields

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_PATTERNS = {
    "rating": f"Rating: {_NUMBER}",
    "preference": "Verdict: ({labels})",
    "five_way": "Verdict: (A>>B|A>B|A=B|B>A|B>>A)",
}
_ORDINARY_LINES = ("", "The answer is 42.", "I do not know.", "A", "1. First, open the file.", "def f(x): return x")
"""Lines any answer may contain; a pattern that matches one of them does not mark a verdict."""


class FormHead(Options):
    """The declarations of a form file.

    Parameters
    ----------
    verdict : {"rating", "preference", "five_way"}
        The kind of verdict.
    scale : (float, float) or None
        Ends of the scale of a rating; by default 1 to 10.
    values : mapping of str to float or None
        The labels of a preference, and the probability that the answer shown first is better that each stands for; by
        default A is 1, B is 0 and tie is 0.5.
    pattern : str or None
        Regular expression that the last line of the reply must match as a whole; its first group is the verdict. By
        default "Rating: N" or "Verdict: LABEL".
    schema : mapping or None
        JSON schema of the reply (structured output), instead of a pattern.
    field : str
        The property of the schema that holds the verdict.
    system : str
        System message.
    temperature : float
        Sampling temperature.
    max_tokens : int
        Maximum number of tokens in the reply.
    usual_reply_tokens : int
        Typical length of a reply, for estimates.
    """

    verdict: Literal["rating", "preference", "five_way"]
    scale: tuple[float, float] | None = Field(default=None, strict=False)
    values: dict[str, float] | None = Field(default=None, strict=False)
    pattern: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    field: str = "verdict"
    system: str = ""
    temperature: float = Field(default=0.0, ge=0, strict=False)
    max_tokens: int = Field(default=1024, ge=1)
    usual_reply_tokens: int = Field(default=200, ge=1)

    @model_validator(mode="after")
    def _scale_of_a_rating(self) -> Self:
        if self.scale is not None and self.verdict != "rating":
            raise ValueError(f"scale: a {self.verdict} has no scale, only a rating has")
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ValueError(f"scale: {self.scale[0]:g} is not below {self.scale[1]:g}")
        return self

    @model_validator(mode="after")
    def _one_way_to_read(self) -> Self:
        if self.values is not None and self.verdict != "preference":
            raise ValueError(f"values: a {self.verdict} has no labels of its own, only a preference has")
        if self.values is not None and not {0.0, 1.0} <= set(self.values.values()) <= {0.0, 0.5, 1.0}:
            raise ValueError(
                "values: each label is 1 (the first is better), 0 (the second is) or 0.5, with 1 and 0 used"
            )
        if self.pattern is not None and self.schema_ is not None:
            raise ValueError("pattern and schema are two ways to read the verdict; give one")
        return self


class FormFile:
    """A judge form as read from its file.

    Parameters
    ----------
    head : FormHead
        Its declarations.
    source : str
        The prompt.
    where : str
        The file, for messages.

    Raises
    ------
    SpecError
        The prompt does not show the answers, or the pattern or schema cannot mark a verdict.
    """

    def __init__(self, head: FormHead, source: str, where: str) -> None:
        self.head = head
        self.where = where
        self.n_answers = 1 if head.verdict == "rating" else 2
        scale = ("low", "high") if head.verdict == "rating" else ()
        self.prompt = PromptText(source, where, fields(self.n_answers, scale), answer_fields(self.n_answers))
        self.low, self.high = head.scale or (1.0, 10.0)
        self.labels = _labels(head)
        self.pattern = None if head.schema_ is not None else _pattern(head, self.labels, where)
        if head.schema_ is not None:
            _check_schema(head, where)

    def identity(self) -> str:
        """Return the hash of everything that determines a verdict; the file's name is not part of it."""
        head = self.head.model_dump(mode="json", exclude={"usual_reply_tokens", "temperature", "max_tokens"})
        return content_hash("form file", head, [self.low, self.high], self.prompt.source, _VERSION)

    def with_scale(self, low: float, high: float) -> FormFile:
        """Return the form with another scale."""
        changed = {**self.head.model_dump(by_alias=True, exclude_none=True), "scale": (low, high)}
        return FormFile(validated(FormHead, changed, self.where), self.prompt.source, self.where)


_VERSION = "1"


def _labels(head: FormHead) -> Mapping[str, float]:
    """Return the probability that the first answer is better, by label."""
    if head.verdict == "five_way":
        return FIVE_WAY
    return head.values or {"A": 1.0, "B": 0.0, "tie": 0.5}


def _pattern(head: FormHead, labels: Mapping[str, float], where: str) -> re.Pattern[str]:
    """Compile the verdict line's pattern.

    Raises
    ------
    SpecError
        It is not a regular expression, has no group, or matches ordinary lines of an answer.
    """
    text = head.pattern or _PATTERNS[head.verdict].replace("{labels}", "|".join(map(re.escape, labels)))
    try:
        pattern = re.compile(text, re.ASCII)
    except re.error as error:
        raise SpecError(f"{where}: pattern {text!r} is not a regular expression: {error}") from None
    if pattern.groups < 1:
        raise SpecError(f"{where}: pattern {text!r} has no group", "a group around the verdict, as in 'Grade: (\\d+)'")
    for line in _ORDINARY_LINES:
        if pattern.fullmatch(line):
            raise SpecError(
                f"{where}: pattern {text!r} matches {line!r}, so a line of the answer could pass as the verdict",
                "a pattern with words that mark the verdict, as in 'Grade: (\\d+)'",
            )
    return pattern


def _check_schema(head: FormHead, where: str) -> None:
    schema = head.schema_ or {}
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise SpecError(f"{where}: schema: {error.message}", "a JSON schema") from None
    properties = schema.get("properties") or {}
    if head.field not in properties:
        close = nearest(head.field, properties)
        raise SpecError(
            f"{where}: the schema has no property {head.field!r}",
            "field: one of " + (", ".join(properties) or "its properties (it has none)"),
            f"did you mean {close!r}?" if close else "name the property that holds the verdict with `field:`",
        )


def read_form_file(path: Path) -> FormFile:
    """Read a form from a file.

    Raises
    ------
    MissingDataError
        The file cannot be read.
    SpecError
        Its head or its prompt is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MissingDataError(f"{path} is not UTF-8: {error}", remedy="save the file as UTF-8") from None
    except OSError as error:
        raise MissingDataError(
            f"cannot read the judge form {path}: {error.strerror}", remedy="check the path"
        ) from None
    return parse_form(text, str(path))


def parse_form(text: str, where: str) -> FormFile:
    """Parse the text of a form file; errors as in :func:`read_form_file`."""
    parts = re.split(r"^---[ \t]*\r?\n", text, maxsplit=2, flags=re.MULTILINE)
    if len(parts) != 3 or parts[0].strip():
        raise SpecError(
            f"{where} does not begin with a head between two lines of dashes",
            "---\\nverdict: rating\\n---\\nPROMPT",
            "see docs/judge-forms.md",
        )
    try:
        head = yaml.safe_load(parts[1])
    except yaml.YAMLError as error:
        raise SpecError(f"{where}: the head is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(head, dict):
        raise SpecError(f"{where}: the head is {type(head).__name__}", "a mapping with at least `verdict`")
    return FormFile(validated(FormHead, head, where), parts[2], where)


@cache
def shipped_forms() -> tuple[str, ...]:
    """Return the names of the forms that come with the package."""
    return tuple(sorted(f.name.removesuffix(".txt") for f in _folder().iterdir() if f.name.endswith(".txt")))


def shipped_form(name: str) -> FormFile:
    """Read one of the forms that come with the package."""
    return parse_form((_folder() / f"{name}.txt").read_text(encoding="utf-8"), f"the form own:{name}")


def _folder() -> Any:
    return resources.files("judges") / "prompts"
