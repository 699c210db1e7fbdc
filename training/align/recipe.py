"""The recipe of `assay align`: typed and frozen; an unknown field is refused with the nearest name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, SerializeAsAny, field_validator, model_validator

from harness import registry
from harness.errors import SpecError
from harness.gate.policy import Policy
from harness.spec import BenchmarkSpec, JudgeSpec, validated
from training.recipe import Frozen, Sources, TrainingRecipe, read_recipe
from training.stage import find_stage

SelectionName = Literal["best-worst", "best-random", "best-second", "margin"]
OnFail = Literal["stop", "roll_back"]

_TEMPERATURES = (1.0, 0.7)


def _section(stage: str, **defaults: str) -> BeforeValidator:
    """Read a section as the recipe of a training stage: of `stage`, or of the one the section names.

    `defaults` are fields that the loop sets; a section may leave them out.
    """

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        named = value.get("stage") or stage
        kind: type[TrainingRecipe] = find_stage(named).recipe
        given = {name: text for name, text in defaults.items() if name in kind.model_fields}
        given |= {**value, "stage": "" if named == stage else named}
        try:
            return validated(kind, given, named)
        except SpecError as error:  # pydantic puts the section's name in front
            raise ValueError(error.found.removeprefix(f"{named}: ")) from None

    return BeforeValidator(read)


SFTSection = Annotated[SerializeAsAny[TrainingRecipe], _section("sft", model="base")]
RewardSection = Annotated[SerializeAsAny[TrainingRecipe], _section("reward", model="sft")]
PreferenceSection = Annotated[SerializeAsAny[TrainingRecipe], _section("preference", model="sft")]
DPOSection = Annotated[SerializeAsAny[TrainingRecipe], _section("dpo", model="last accepted", reference="sft")]


class SamplingRecipe(Frozen):
    """How answers are sampled in an iteration.

    Parameters
    ----------
    prompts : tuple of str
        Sources of prompts; no prompt is used twice in the whole loop.
    prompts_per_iteration : int
        m of the paper.
    responses : int
        n of the paper: answers per prompt, an even number, one half at each temperature.
    temperatures : tuple of two floats
        1.0 and 0.7 in the paper; above 0, because greedy answers to a prompt are all the same.
    max_tokens : int
        Token limit of an answer. There is no top-p or top-k.
    engine : str
        The sampling engine ("hf", "vllm", ...).
    engine_options : dict
        Its options.
    workers : int
        Processes that share the prompts, each with its own model.
    """

    prompts: Sources = ()
    prompts_per_iteration: int = Field(default=20_000, ge=1)
    responses: int = Field(default=8, ge=2, multiple_of=2)
    temperatures: tuple[PositiveFloat, PositiveFloat] = _TEMPERATURES
    max_tokens: int = Field(default=2048, ge=1)
    engine: str = "hf"
    engine_options: dict[str, Any] = Field(default_factory=dict)
    workers: int = Field(default=1, ge=1)


class RankerRecipe(Frozen):
    """What ranks the answers: a model to train, a checkpoint, a judge, or a registered ranker.

    Exactly one of `recipe`, `preference`, `model`, `judge` and `name` is given.

    Parameters
    ----------
    recipe : recipe of the stage "reward"
        Train a Bradley-Terry model. It starts from its own `model`, from the SFT checkpoint where that is "sft".
    preference : recipe of the stage "preference"
        Train a pairwise preference model, likewise; it ranks by comparing each answer to a prompt with every other.
    engine : str
        The engine that loads `model`: "reward_model", "preference_model" or "implicit_reward".
    model : str or None
        A checkpoint.
    engine_options : dict
        Options of the engine.
    judge : JudgeSpec or None
        A judge: every two answers to a prompt are compared, or each is rated.
    form : str
        The judge form. One that compares two answers gives the mean preference as reward, one that rates (a rubric) the
        grade.
    name : str or None
        A ranker that a package registers under the entry point ``assay.rankers``.
    options : dict
        Its options.
    """

    recipe: RewardSection | None = None
    preference: PreferenceSection | None = None
    engine: str = "reward_model"
    model: str | None = None
    engine_options: dict[str, Any] = Field(default_factory=dict)
    judge: JudgeSpec | None = None
    form: str = "pairwise"
    name: str | None = Field(default=None, exclude_if=lambda name: name is None)
    options: dict[str, Any] = Field(default_factory=dict, exclude_if=lambda options: not options)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        ways = ("recipe", "preference", "model", "judge", "name")
        given = [way for way in ways if getattr(self, way) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(ways)} (given: {', '.join(given) or 'none'})")
        if self.options and self.name is None:
            raise ValueError("options are those of a registered ranker: give its name")
        if self.judge is not None:
            registry.judge_form(self.form)  # a form that does not exist is refused before anything is trained
        return self

    @property
    def trained(self) -> TrainingRecipe | None:
        """The recipe of the model to train; None where none is trained."""
        return self.recipe or self.preference


class GoldRecipe(Frozen):
    """An engine that knows the true score of answers, used for measurement and never for training.

    Parameters
    ----------
    engine : str
        A registered engine that gives rewards.
    model : str
        The model it loads.
    engine_options : dict
        Its options.
    """

    engine: str
    model: str = "gold"
    engine_options: dict[str, Any] = Field(default_factory=dict)


class ValidationRecipe(Frozen):
    """Held-out prompts on which each variant's reward, KL and answers are measured.

    Parameters
    ----------
    prompts : tuple of str
        Sources of prompts; training prompts among them are refused.
    limit : int or None
        Use the first so many prompts.
    responses : int
        Answers per prompt (2 or more for diversity).
    temperature : float
        Sampling temperature.
    """

    prompts: Sources = ()
    limit: int | None = Field(default=None, ge=1)
    responses: int = Field(default=2, ge=1)
    temperature: float = Field(default=1.0, gt=0)


class EvaluationRecipe(Frozen):
    """The benchmarks of every variant, as in a run spec.

    Parameters
    ----------
    benchmarks : tuple of BenchmarkSpec
        The benchmarks; none to measure on the validation prompts only.
    judge : JudgeSpec or None
        The judge.
    limit : int or None
        Prompts per benchmark, drawn at random by category; the same for every variant.
    canaries : int
        Prompts on which the judge is tested.
    max_unscored : float
        A run with a larger share of unscored prompts is not valid.
    """

    benchmarks: tuple[BenchmarkSpec, ...] = ()
    judge: JudgeSpec | None = None
    limit: int | None = Field(default=None, ge=1)
    canaries: int = Field(default=8, ge=0)
    max_unscored: float = Field(default=0.01, ge=0, le=1)

    @field_validator("benchmarks", mode="before")
    @classmethod
    def _names_are_enough(cls, value: Any) -> Any:
        values = [value] if isinstance(value, str) else value
        return [{"name": item} if isinstance(item, str) else item for item in values]


class GateRecipe(Frozen):
    """The gate a checkpoint must pass.

    Parameters
    ----------
    policy : str or dict
        A policy file, the name of a shipped one, or the policy itself. Its alpha is that of the whole loop.
    spending : str
        How alpha is spent over the iterations (`harness.stats.alpha_spending`).
    """

    policy: str | dict[str, Any]
    spending: Literal["fixed_sequence", "even", "fallback", "endless"] = "fallback"


class ChooseBy(Frozen):
    """The figure by which the best accepted checkpoint is chosen.

    Parameters
    ----------
    benchmark, metric : str
        A figure of the evaluation, or, with the benchmark "validation", a measure on the validation prompts.
    better : {"higher", "lower"}
    """

    benchmark: str = "validation"
    metric: str = "reward"
    better: Literal["higher", "lower"] = "higher"


class AlignRecipe(Frozen):
    """The whole loop.

    Parameters
    ----------
    name : str
        Name for tables.
    seed : int
        Seed of the loop's random choices; stages have their own.
    base : str or None
        The starting model of SFT, measured as the variant "base" if it has a chat template.
    sft : recipe of the stage "sft"
        SFT stage; or
    sft_model : str or None
        an existing SFT checkpoint. It is the reference of every iteration.
    ranker : RankerRecipe
        What ranks the answers.
    sampling : SamplingRecipe
        How answers are sampled.
    iterations : int
        T of the paper.
    selection : str
        The answers of a pair: "best-worst" (the paper), "best-random", "best-second", "margin".
    min_margin : float
        Pairs whose rewards differ by less are dropped and counted.
    length_penalty : float
        lambda of equation 9: the reward loses this amount per character before ranking.
    pairs : {"all", "newest"}
        Train on the pairs of all iterations so far (the paper) or of the newest.
    extra_pairs : tuple of str
        Offline preference pairs to train on in every iteration.
    dpo : recipe of the stage "dpo"
        The stage that learns from each iteration's pairs. The loop sets `model`, and `reference` where it has one.
    retries : tuple of dict
        Changes of its fields to try one after the other where the gate rejects a checkpoint.
    on_fail : {"stop", "roll_back"}
        If no attempt of an iteration is accepted, stop, or continue from the last accepted checkpoint.
    gold : GoldRecipe or None
        An engine that knows the true scores; for measurement only.
    validation : ValidationRecipe
    evaluation : EvaluationRecipe
    gate : GateRecipe or None
        The gate; without one, every checkpoint is accepted, and the directory says so.
    choose_by : ChooseBy
    max_overlap : float
        Share (0 to 1) of the training prompts that may overlap evaluation prompts.
    launch : tuple of str
        Launcher of training stages ("accelerate", "launch", "--config_file", ...); they run in this process if it is
        empty.
    """

    name: str = "align"
    seed: int = Field(default=0, ge=0)
    base: str | None = None
    sft: SFTSection | None = None
    sft_model: str | None = None
    ranker: RankerRecipe
    sampling: SamplingRecipe = SamplingRecipe()
    iterations: int = Field(default=3, ge=1)
    selection: SelectionName = "best-worst"
    min_margin: float = Field(default=0.0, ge=0)
    length_penalty: float = Field(default=0.0, ge=0)
    pairs: Literal["all", "newest"] = "all"
    extra_pairs: Sources = ()
    dpo: DPOSection
    retries: tuple[dict[str, Any], ...] = ()
    on_fail: OnFail = "stop"
    gold: GoldRecipe | None = None
    validation: ValidationRecipe = ValidationRecipe()
    evaluation: EvaluationRecipe = EvaluationRecipe()
    gate: GateRecipe | None = None
    choose_by: ChooseBy = ChooseBy()
    max_overlap: float = Field(default=0.0, ge=0, le=1)
    launch: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.sft is None) == (self.sft_model is None):
            raise ValueError("give sft (a stage) or sft_model (a checkpoint), one of them")
        if self.sft is not None and self.base is None:
            raise ValueError("sft needs base, its starting model")
        for changes in self.retries:
            self.dpo.with_(**changes)
        if self.gate is not None and not self.evaluation.benchmarks:
            raise ValueError("the gate needs benchmarks in evaluation, and there are none")
        if self.gate is not None:
            self.policy()
        return self

    def policy(self) -> Policy | None:
        """The gate's policy; None without a gate."""
        from harness.gate.policy import find_policy, make_policy

        if self.gate is None:
            return None
        if isinstance(self.gate.policy, str):
            return find_policy(self.gate.policy)
        return make_policy(self.gate.policy, "gate.policy", self.name)


def load_align_recipe(path: Path | str, overrides: Sequence[str] = ()) -> AlignRecipe:
    """Read a recipe: a YAML file, or the name of a shipped one.

    Parameters
    ----------
    path : Path or str
        The file or the name.
    overrides : sequence of str
        "key=value" or "key.inner=value", values being YAML.

    Raises
    ------
    MissingDataError, UnknownNameError
        There is no such file or recipe.
    SpecError
        It is not YAML, or a field is unknown or wrong.
    """
    values = read_recipe(path, overrides, prefix="align")
    values.pop("stage", None)
    return validated(AlignRecipe, values, str(path))
