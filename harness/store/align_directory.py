"""The record of an `align` directory: its stages, variants, their measures and the gate's decisions.

::

    OUT/
      align.json                    this module's `AlignState`, rewritten after every step
      stages/NAME-KEY/              one for each stage, named by the hash of its inputs:
        stage.json                  written last: it marks the stage as done
        metrics.jsonl               of a training stage (`training.metrics` lists the keys)
        model/                      of a training stage: the checkpoint
        samples.jsonl               of a sampling stage: `Sample` records (samples-K.jsonl of several workers)
        rewards.jsonl               of a ranking stage: `SampleReward` records, by (prompt_key, sample)
        pairs.jsonl                 of a ranking stage: the pairs chosen, with their rewards
        run/                        of an evaluation stage: an ordinary run directory

Paths in `AlignState` are relative to OUT. A figure has a value or a reason, never both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.errors import MissingDataError
from harness.store.jsonl import as_record, read_json, read_jsonl

RecordType = TypeVar("RecordType", bound=BaseModel)

MEASURES: dict[str, str] = {
    "reward": "mean reward of the validation answers, in the ranker's unit",
    "reward_sd": "standard deviation of those rewards over all answers",
    "gold": "mean true score, where it is known",
    "win_rate_vs_previous": "share of validation prompts won against the variant it was trained from, in percent",
    "win_rate_vs_sft": "the same against the SFT model",
    "kl_per_response": "KL divergence from the SFT model, in nats a response, estimated on the variant's own answers",
    "kl_per_token": "the same in nats a token",
    "length_chars": "mean characters of an answer",
    "length_tokens": "mean tokens of an answer",
    "length_limited": "share of answers cut by the token limit, in percent",
    "distinct_1": "distinct words over all words, within the answers to a prompt",
    "distinct_2": "distinct word pairs over all word pairs, within the answers to a prompt",
    "expectation_adjusted_distinct": "distinct words over the number expected of random text of that length",
    "self_bleu": "BLEU of each answer against the other answers to its prompt",
    "embedding_diversity": "mean cosine distance between the answers to a prompt",
    "reward_length_pearson": "correlation of reward and characters among the answers to a prompt, mean over prompts",
}
"""Names of a variant's measures, and what they are."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Figure(_Frozen):
    """A number with its uncertainty, or the reason why it is missing.

    Parameters
    ----------
    value, stderr, ci_low, ci_high : float or None
        The figure, its standard error and its 95 % interval, clustered by prompt.
    n : int
        Number of prompts it is computed from.
    by : str
        The judge or model it comes from, if any.
    reason : str or None
        Why there is no value.
    """

    value: float | None = None
    stderr: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int = 0
    by: str = ""
    reason: str | None = None

    @model_validator(mode="after")
    def _value_or_reason(self) -> Self:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a figure has a value or a reason, never both and never neither")
        return self


class RewardLengthCell(_Frozen):
    """Prompts of similar mean reward, and the correlation of reward and length among their answers.

    Parameters
    ----------
    low, high : float
        Range of the prompts' mean rewards.
    n_prompts : int
        Prompts in it.
    pearson : float or None
        Mean over them of the correlation of reward and characters; None if no prompt has variation in both.
    """

    low: float
    high: float
    n_prompts: int
    pearson: float | None = None


class Sample(_Frozen):
    """One answer to one prompt.

    Parameters
    ----------
    prompt_key : str
        Content hash of the prompt.
    prompt : list of dict
        Its messages, role and content.
    sample : int
        From 0; with n answers a prompt the first half is drawn at the first temperature.
    temperature : float
        The sampling temperature.
    response : str
        The answer, stripped of white space; "" on error.
    drawn : str or None
        The text before it was stripped, if that changed it.
    finish : {"stop", "length", "error"}
        "length" where the token limit cut it.
    n_tokens, n_chars : int or None
        Its length.
    seed : int or None
        Of its own random stream.
    error : str
        Why the answer is missing.
    """

    prompt_key: str
    prompt: list[dict[str, str]]
    sample: int
    temperature: float
    response: str = ""
    drawn: str | None = None
    finish: Literal["stop", "length", "error"] = "stop"
    n_tokens: int | None = None
    n_chars: int = 0
    seed: int | None = None
    error: str = ""


class SampleReward(_Frozen):
    """The ranker's reward for one answer; `gold` is the true score where known."""

    prompt_key: str
    sample: int
    reward: float | None = None
    gold: float | None = None
    error: str = ""


class StageRecord(_Frozen):
    """One stage of the directory.

    Parameters
    ----------
    name : str
        "sft", "reward", "sample-1", "rank-1", "dpo-1", "validate-dpo-1", "evaluate-dpo-1", ...
    key : str
        Hash of its inputs.
    dir : str
        Where.
    status : {"running", "done"}
        Whether it is finished.
    seconds : float or None
        Duration, summed over all attempts that were not killed.
    figures : dict
        Counts and figures of its own (pairs dropped, held-out accuracy).
    """

    name: str
    key: str
    dir: str
    status: Literal["running", "done"]
    seconds: float | None = None
    figures: dict[str, Any] = Field(default_factory=dict)


class AlignVariant(_Frozen):
    """One checkpoint of the alignment.

    Parameters
    ----------
    name : str
        "base", "sft", "dpo-1", "dpo-2-retry-1", ...
    iteration, attempt : int
        0 for those before the loop; attempts count from 1.
    checkpoint : str
        Its model directory, or the id or path it was given by.
    parent : str or None
        The variant it was trained from.
    accepted : bool or None
        The gate's decision; None if it was not asked.
    run : str or None
        Directory of its evaluation run.
    samples, rewards : str or None
        Directories of the sampling and ranking stages of its validation answers.
    measures : dict of str to Figure
        See `MEASURES`.
    reward_length : tuple of RewardLengthCell
        The data of the reward-length heat map.
    gate : dict or None
        The decision, as `assay gate --json` prints it.
    hacking : dict or None
        The reward-hacking alarm's evidence (`training.align.reward_hacking`).
    note : str
        A remark.
    """

    name: str
    iteration: int = 0
    attempt: int = 1
    checkpoint: str
    parent: str | None = None
    accepted: bool | None = None
    run: str | None = None
    samples: str | None = None
    rewards: str | None = None
    measures: dict[str, Figure] = Field(default_factory=dict)
    reward_length: tuple[RewardLengthCell, ...] = ()
    gate: dict[str, Any] | None = None
    hacking: dict[str, Any] | None = None
    note: str = ""


class ChosenEffect(_Frozen):
    """The chosen variant's effect, as if it had been the only one and corrected for the choice.

    Parameters
    ----------
    metric, baseline : str
        The figure it was chosen by, and the variant it is compared with.
    n_candidates : int
        Variants the correction is for.
    raw, corrected : Figure
        The difference from the baseline.
    method : str
        How it was corrected.
    note : str
        Whether the gate decided on the same prompts.
    """

    metric: str
    baseline: str
    n_candidates: int = 0
    raw: Figure
    corrected: Figure
    method: str = ""
    note: str = ""


class AlignState(_Frozen):
    """align.json.

    Parameters
    ----------
    name : str
        Of the recipe.
    recipe : dict
        As it was given.
    recipe_hash : str
        Its hash.
    seed : int
        Of every random choice.
    stages : tuple of StageRecord
        In the order they were done.
    variants : tuple of AlignVariant
        In the order they were made.
    chosen : str or None
        The best accepted variant by the validation set; None while the loop runs.
    chosen_because : str
        By what.
    chosen_effect : ChosenEffect or None
        Its effect, raw and corrected for the choice; None while the loop runs or where nothing was measured.
    error_budget : str
        What the gates as a whole guarantee.
    problems : tuple of str
        What is wrong.
    finished : bool
        Whether the loop is over.
    started : str
        UTC time.
    seconds : float
        What it took so far.
    versions : dict
        Of the packages.
    """

    kind: Literal["align"] = "align"
    name: str
    recipe: dict[str, Any]
    recipe_hash: str
    seed: int
    stages: tuple[StageRecord, ...] = ()
    variants: tuple[AlignVariant, ...] = ()
    chosen: str | None = None
    chosen_because: str = ""
    chosen_effect: ChosenEffect | None = None
    error_budget: str = ""
    problems: tuple[str, ...] = ()
    finished: bool = False
    started: str = ""
    seconds: float = 0.0
    versions: dict[str, Any] = Field(default_factory=dict)


def read_align(path: Path) -> AlignState:
    """Read a directory's align.json.

    Raises
    ------
    MissingDataError
        The directory holds none.
    FileFormatError
        It is damaged.
    """
    file = path / "align.json"
    if not file.is_file():
        raise MissingDataError(
            f"{path} holds no alignment (no align.json)", remedy="give a directory that `assay align` made"
        )
    return as_record(AlignState, file, None, read_json(file), "what `assay align` writes")


def read_samples(path: Path) -> Iterator[Sample]:
    """Read a sampling stage's answers, the latest of each, those of all workers; files may end with a torn line."""
    samples = (sample for file in sorted(path.glob("samples*.jsonl")) for sample in _records(file, Sample))
    yield from {(s.prompt_key, s.sample): s for s in samples}.values()


def read_rewards(path: Path) -> Iterator[SampleReward]:
    """Read a ranking stage's rewards, the latest of each."""
    if (path / "rewards.jsonl").is_file():
        rewards = _records(path / "rewards.jsonl", SampleReward)
        yield from {(r.prompt_key, r.sample): r for r in rewards}.values()


def _records(file: Path, kind: type[RecordType]) -> Iterator[RecordType]:
    for number, value in read_jsonl(file, allow_torn_tail=True):
        yield as_record(kind, file, number, value)
