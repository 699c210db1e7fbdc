"""The records: prompt, response, judgment, score, summary row. Frozen, validated, identified by content.

::

    Prompt -> Response -> Judgment -> Score -> SummaryRow

A missing measurement is recorded as a reason, never as a number: a missing verdict is `Unscored`, a score has either a
value or a reason, and NaN is rejected everywhere.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from harness.hashing import content_hash

Role = Literal["candidate", "baseline"]

UnscoredReason = Literal[
    "unparsed",  # the judge's text holds no verdict
    "ambiguous",  # it holds several different verdicts
    "out_of_scale",  # a verdict outside the grades offered
    "refused",  # the judge declined, or a content filter stopped it
    "truncated",  # cut by the token limit
    "quoted",  # the judge only quotes a verdict
    "not_final",  # other text follows the verdict
    "echoed",  # a judged answer contains the verdict, so it may be an echo
    "no_logprobs",  # the endpoint returned no log-probabilities for the requested tokens
    "timeout",
    "request_failed",  # the endpoint failed for this request
    "context_length",  # the judge's context is too short for this request
    "no_response",  # there is no answer to judge
    "no_baseline",  # there is no baseline answer to judge against
    "not_chosen",  # the strong judge of two was not to be asked about this prompt
    "lone_game",  # the file holds one of two orders, which alone would bring the judge's preference for a place in
    "missing",  # no verdict in the files, or not judged yet
]


def _well_formed(value: Any) -> Any:
    """Replace lone surrogates, which JSON allows and UTF-8 does not, with U+FFFD."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


Text = Annotated[str, BeforeValidator(_well_formed)]
"""Text from a model or a file: any string, lone surrogates replaced."""


class Record(BaseModel):
    """A frozen record whose `id` is the hash of its content."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    identity: ClassVar[tuple[str, ...]] = ()
    """Fields the id is computed from."""

    identity_if_set: ClassVar[tuple[str, ...]] = ()
    """Further fields the id is computed from unless they are None, so that ids made before they existed stay."""

    id: str = ""

    @model_validator(mode="after")
    def _identify(self) -> Self:
        if not self.id:
            fields = self.model_dump(mode="json", include={*self.identity, *self.identity_if_set})
            fields = {k: v for k, v in fields.items() if v is not None or k in self.identity}
            object.__setattr__(self, "id", content_hash(type(self).__name__, fields))
        return self

    def to_line(self) -> str:
        """Return the record as one line of JSON without the newline."""
        return self.model_dump_json(exclude_none=True)


class Prompt(Record):
    """One item of a benchmark.

    Parameters
    ----------
    benchmark, version : str
        The benchmark, and the version of its questions.
    key : str
        Upstream's identifier (question id, uid, row number).
    turns : tuple of str
        The user's messages, in order.
    system : str or None
        System message.
    reference : tuple of str or None
        Reference answers, one per turn. They are for the judge, so they are not part of the id.
    category : str or None
        Upstream's category.
    cluster : str
        Unit of resampling; by default the key.
    meta : dict
        Further upstream fields.
    """

    identity = ("benchmark", "version", "key", "turns", "system")

    benchmark: str
    version: str
    key: str
    turns: tuple[Text, ...] = Field(min_length=1)
    system: Text | None = None
    reference: tuple[Text, ...] | None = None
    category: str | None = None
    cluster: str = ""
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _default_cluster(self) -> Self:
        if not self.cluster:
            object.__setattr__(self, "cluster", self.key)
        return self


class Response(Record):
    """A model's answers to all turns of a prompt.

    Parameters
    ----------
    prompt_id : str
        The prompt.
    benchmark : str
        Its benchmark.
    model : str
        Short name of the model.
    model_id : str
        Hash of the model (weights, template, engine options) and the sampling parameters.
    role : {"candidate", "baseline"}
        The model under test, or the model it is compared with.
    sample : int
        0-based sample number, for several samples per prompt.
    turns : tuple of str
        The answers, one per turn; fewer than the prompt's turns only on error.
    finish : {"stop", "length", "error"}
        "length" if any turn was truncated; "error" if a turn failed.
    n_tokens : tuple of int or None
        Tokens generated for each turn.
    seed : int or None
        Seed of the first turn; None for greedy decoding or if unknown.
    error : str
        Why there is no complete answer.
    retryable : bool
        False if a retry would give the same error.
    reasoning : tuple of str or None
        The reasoning before each turn's answer, "" where there is none; None if no turn has any. It is never judged, is
        no part of an answer's length, and its tokens are counted in `n_tokens`.
    n_reasoning_tokens : tuple of int or None
        Tokens of each turn's reasoning, None where they are not counted; None if no turn has any.
    """

    identity = ("prompt_id", "model_id", "role", "sample", "turns", "finish", "error")
    identity_if_set = ("reasoning",)

    prompt_id: str
    benchmark: str
    model: str
    model_id: str
    role: Role = "candidate"
    sample: int = 0
    turns: tuple[Text, ...] = ()
    finish: Literal["stop", "length", "error"] = "stop"
    n_tokens: tuple[int | None, ...] = ()
    seed: int | None = None
    error: Text = ""
    retryable: bool = True
    reasoning: tuple[Text, ...] | None = None
    n_reasoning_tokens: tuple[int | None, ...] | None = None
    meta: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def to(cls, prompt: Prompt, model: str, model_id: str, **fields: Any) -> Self:
        """Make a model's answers to a prompt; `fields` are the others of the record."""
        return cls(prompt_id=prompt.id, benchmark=prompt.benchmark, model=model, model_id=model_id, **fields)

    @property
    def ok(self) -> bool:
        """Whether there is an answer to judge."""
        return self.finish != "error"

    @property
    def only_reasoned(self) -> bool:
        """Whether a turn has reasoning and no answer."""
        reasoned = zip(self.turns, self.reasoning or (), strict=False)
        return any(reasoning and not answer for answer, reasoning in reasoned)

    def n_answer_tokens(self, turn: int) -> int | None:
        """Return the tokens of a turn (counted from 0) without its reasoning; None if they are not known."""
        n_tokens = self.n_tokens[turn] if turn < len(self.n_tokens) else None
        reasoned = self.reasoning is not None and bool(self.reasoning[turn])
        if n_tokens is None or not reasoned:
            return n_tokens
        n_reasoning = self.n_reasoning_tokens[turn] if self.n_reasoning_tokens is not None else None
        return None if n_reasoning is None else max(0, n_tokens - n_reasoning)


class Rating(BaseModel):
    """A grade on a scale from `low` to `high`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["rating"] = "rating"
    value: float
    low: float
    high: float

    @model_validator(mode="after")
    def _on_scale(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"rating {self.value} is outside its scale {self.low} to {self.high}")
        return self


class Preference(BaseModel):
    """The probability that the response shown first is better; 0.5 is a tie.

    `label` is the judge's grade, if any ("A>>B"), since grades may be weighted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["preference"] = "preference"
    p_first: float = Field(ge=0.0, le=1.0)
    label: str = ""


class Unscored(BaseModel):
    """Why there is no verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["unscored"] = "unscored"
    reason: UnscoredReason
    detail: Text = ""


Verdict = Annotated[Rating | Preference | Unscored, Field(discriminator="kind")]


class Judgment(Record):
    """A verdict and its provenance.

    Parameters
    ----------
    judge : str
        Short name of the judge model.
    judge_id : str
        Hash of model, prompt template, parser version and sampling.
    benchmark, prompt_id : str
        What was judged.
    response_ids : tuple of str
        The responses in the order shown.
    order : tuple of {"candidate", "baseline"}
        The roles in the order shown.
    turn : int
        1-based turn that was judged; the judge of turn 2 also sees turn 1.
    game : int
        1-based number of the presentation (1, and 2 for the swapped order).
    verdict : Rating, Preference or Unscored
        The verdict.
    raw : str
        The judge's complete reply.
    n_prompt_tokens, n_completion_tokens : int or None
        Tokens used, including retries by the form; None if the endpoint does not report them.
    cost : float or None
        Cost in `currency`; None if the price is unknown.
    request_hash : str
        Hash of the messages sent.
    cached : bool
        Whether it came from the judgment cache, at no cost.
    meta : dict
        What the verdict was read from if not from `raw` (token log-probabilities).
    """

    identity = ("judge_id", "prompt_id", "response_ids", "turn", "verdict", "raw")

    judge: str
    judge_id: str
    benchmark: str
    prompt_id: str
    response_ids: tuple[str, ...]
    order: tuple[Role, ...]
    turn: int = 1
    game: int = 1
    verdict: Verdict
    raw: Text = ""
    n_prompt_tokens: int | None = None
    n_completion_tokens: int | None = None
    cost: float | None = None
    currency: str = "USD"
    request_hash: str = ""
    cached: bool = False
    meta: dict[str, Any] = Field(default_factory=dict)

    @property
    def candidate_share(self) -> float | None:
        """Probability that the candidate's answer is better, in either order; None if there is no preference."""
        if not isinstance(self.verdict, Preference) or not self.order:
            return None
        return self.verdict.p_first if self.order[0] == "candidate" else 1.0 - self.verdict.p_first


@dataclass(frozen=True, slots=True)
class Score:
    """One number about one prompt, or the reason why it is missing.

    Unlike the other records it is not a pydantic model: a run has several scores per judgment, and all are in memory
    when figures are computed.

    Parameters
    ----------
    benchmark, prompt_id : str
        The prompt it belongs to.
    metric : str
        "rating", "preference", "verdict", "length", ...
    cluster : str
        Unit of resampling.
    part : str
        Distinguishes several scores of the same metric ("turn_1", "game_2", "baseline"); "" if there is only one.
    value : float or None
        The number.
    reason : str or None
        Why there is no number; exactly one of `value` and `reason` is set.
    weight : float
        Weight upstream gives it (3 for a decisive Arena-Hard verdict).
    category : str or None
        The prompt's category.

    Raises
    ------
    ValueError
        Both or neither of value and reason are given, or the value is not finite.
    """

    benchmark: str
    prompt_id: str
    metric: str
    cluster: str
    part: str = ""
    value: float | None = None
    reason: str | None = None
    weight: float = 1.0
    category: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a score must have either a value or a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"the score {self.metric} is {self.value}: a missing value needs a reason instead")

    def to_line(self) -> str:
        """Return the score as one line of JSON without the newline."""
        fields = {name: getattr(self, name) for name in _SCORE_FIELDS}
        return json.dumps({k: v for k, v in fields.items() if v is not None}, ensure_ascii=False)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Score:
        """Return the score that `to_line` wrote.

        Raises
        ------
        ValueError
            A field is unknown, missing or wrong.
        """
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(str(error)) from error


_SCORE_FIELDS = tuple(Score.__dataclass_fields__)


class SummaryRow(BaseModel):
    """One figure of the table.

    Parameters
    ----------
    benchmark, metric : str
        Its name.
    value : float or None
        The figure; None with a `reason`.
    stderr, ci_low, ci_high : float or None
        Standard error and confidence limits in the same unit; None if the method gives none.
    level : float
        Nominal coverage of the interval.
    method : str
        How the value and interval were computed.
    n : int
        Number of observations used.
    n_clusters : int
        Number of distinct prompts among them.
    n_unscored : int
        Number of missing observations.
    unscored : dict of str to int
        Missing observations by reason.
    reason : str or None
        Why there is no figure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    benchmark: str
    metric: str
    value: float | None = None
    stderr: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    level: float = 0.95
    method: str = ""
    n: int = 0
    n_clusters: int = 0
    n_unscored: int = 0
    unscored: dict[str, int] = Field(default_factory=dict)
    reason: str | None = None

    @model_validator(mode="after")
    def _value_or_reason(self) -> Self:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a figure must have either a value or a reason")
        return self
