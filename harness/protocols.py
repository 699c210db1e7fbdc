"""The protocols of plug-ins. `harness.registry` checks them; docs/extending.md has an example of each kind.

============== =========================== ================================================================
kind           entry point                 protocol
============== =========================== ================================================================
benchmark      ``assay.benchmarks``        :class:`Benchmark`; optionally :class:`ConfigurableBenchmark`,
                                           :class:`EngineBenchmark`, :class:`PanelBenchmark`,
                                           :class:`FittedBenchmark`, :class:`CheckedBenchmark`,
                                           :class:`PinnedBenchmark`, :class:`AnnotatedBenchmark`,
                                           :class:`CountedBenchmark`
suite          ``assay.suites``            a sequence of `harness.spec.BenchmarkSpec`
judge          ``assay.judges``            :class:`Judge`, made from a :class:`JudgeContext`
judge form     ``assay.judge_forms``       :class:`JudgeForm`, the class itself; optionally
                                           :class:`JudgeFormFamily`
engine         ``assay.engines``           `harness.engines.base.Engine`, or a `RewardEngine` or
                                           `PreferenceEngine` of `harness.engines.rewards.scorers`
importer       ``assay.importers``         :class:`Importer`; optionally :class:`VoteImporter`
report section ``assay.report_sections``   :class:`ReportSection`
exporter       ``assay.exporters``         :class:`Exporter`
training stage ``assay.stages``            :class:`TrainingStage`
ranker         ``assay.rankers``           :class:`Ranker`, made from options and a :class:`RankerContext`
============== =========================== ================================================================
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from harness.data.file_rows import Row
from harness.data.votes import Statement
from harness.endpoint.exchange import ChatReply, ChatRequest
from harness.endpoint.ledger import Budget
from harness.messages import Message, Sampling
from harness.records import Judgment, Prompt, Response, Score, SummaryRow, Verdict
from harness.spec import JudgeSpec

if TYPE_CHECKING:
    import numpy as np

    from harness.stats.estimate import Estimate
    from harness.store.align_directory import Sample


class DataSource(Protocol):
    """Provides upstream files (`harness.data.store.DataStore`)."""

    def path(self, name: str) -> Path:
        """Return the path of a verified local copy of a registered file."""
        ...

    def local(self, relative: str) -> Path | None:
        """Return the path of an unregistered file in or beside the mirror; None if it does not exist."""
        ...

    def used(self) -> dict[str, str]:
        """Return the name and sha256 of every file provided so far."""
        ...


@dataclass(frozen=True, slots=True)
class JudgeTask:
    """One question to a judge.

    Parameters
    ----------
    prompt : Prompt
        The prompt the models answered.
    form : str
        Registered judge form ("rating", "five_way", ...).
    responses : tuple of Response
        The answers to judge, in the order shown.
    turn : int
        1-based turn to judge.
    game : int
        1-based number of the presentation (2 for the swapped order).
    """

    prompt: Prompt
    form: str
    responses: tuple[Response, ...]
    turn: int = 1
    game: int = 1

    def judgment(self, judge: str, judge_id: str, verdict: Verdict, **fields: Any) -> Judgment:
        """Return the record of a verdict on this question; `fields` are its text, tokens, cost and the like."""
        return Judgment(
            judge=judge,
            judge_id=judge_id,
            benchmark=self.prompt.benchmark,
            prompt_id=self.prompt.id,
            response_ids=tuple(response.id for response in self.responses),
            order=tuple(response.role for response in self.responses),
            turn=self.turn,
            game=self.game,
            verdict=verdict,
            **fields,
        )


@dataclass(frozen=True, slots=True)
class JudgeContext:
    """The arguments of a judge's factory.

    Parameters
    ----------
    spec : JudgeSpec
        The judge model and its request options.
    data : DataSource
        Source of the official prompts.
    cache_path : Path or None
        The judgment cache shared by runs; None disables it.
    max_cost : float or None
        Limit on the run's judging cost, including `spent`.
    spent : float
        Judging cost of the run so far.
    forms : tuple of str
        The judge forms of the run, whose parameters `Judge.prepare` tries.
    work : Path or None
        A directory inside the run for what a judge must not lose (submitted batches); deleted with a complete run.
    budget : Budget or None
        The money of several judges of one run, in place of `max_cost` and `spent`.
    """

    spec: JudgeSpec
    data: DataSource
    cache_path: Path | None = None
    max_cost: float | None = None
    spent: float = 0.0
    forms: tuple[str, ...] = ()
    work: Path | None = None
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class Items:
    """The scores a metric averages: its value is their weighted mean times `scale`.

    Parameters
    ----------
    scores : sequence of Score
        All expected scores, including unscored ones.
    scale : float
        Factor from the scores' unit to the metric's (100 for percent).
    bounds : tuple of float or None
        Ends of the scores' scale; None if it is unbounded.
    """

    scores: Sequence[Score]
    scale: float = 1.0
    bounds: tuple[float, float] | None = None


ScoreRole = Literal["rating", "preference", "outcome", "length", "measurement"]


@dataclass(frozen=True, slots=True)
class ScoreKind:
    """The meaning of a score name. A benchmark declares one per name it returns (`Benchmark.score_kinds`).

    Parameters
    ----------
    role : str
        "rating": a judge's grade of one answer.
        "preference": a judge's share (0 to 1) for the candidate against another answer.
        "outcome": right or wrong, or a suite's own figure, determined without a judge's opinion of quality.
        "length": the length of an answer (part "baseline": of the other side's answer).
        "measurement": any other value.
    unit : str
        Unit of the value, for tables and axes ("points", "characters", "tokens").
    scale : tuple of float or None
        Ends of the scale; None if it is unbounded.
    """

    role: ScoreRole
    unit: str = ""
    scale: tuple[float, float] | None = None

    @property
    def judged(self) -> bool:
        """Whether it is a judge's opinion, so that two runs are comparable only with the same judge."""
        return self.role in ("rating", "preference")

    @property
    def decides(self) -> bool:
        """Whether it measures the quality of an answer; too many missing ones make a run invalid."""
        return self.judged or self.role == "outcome"


@dataclass(frozen=True, slots=True)
class NotAvailable:
    """A part of a benchmark that cannot be run with the available data, and why."""

    part: str
    n_prompts: int
    reason: str


class Benchmark(Protocol):
    """A set of prompts, the judging of answers to them, and the metrics.

    Implementations are small frozen dataclasses, one per file, registered under the entry point
    ``assay.benchmarks`` as a factory that takes the requested version (None for the default).
    """

    @property
    def name(self) -> str:
        """Name in tables and on the command line."""
        ...

    @property
    def version(self) -> str:
        """Version of the questions."""
        ...

    @property
    def judge_forms(self) -> tuple[str, ...]:
        """The judge forms its tasks use; empty if nothing is judged."""
        ...

    @property
    def headlines(self) -> tuple[str, ...]:
        """The metrics that represent it in tables, most important first; metrics without a value are skipped."""
        ...

    @property
    def score_kinds(self) -> Mapping[str, ScoreKind]:
        """The kinds of its scores by name (`Score.metric`); at least one must have `ScoreKind.decides`."""
        ...

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """Return all prompts in upstream's order, and the parts that are unavailable."""
        ...

    def sampling(self, prompt: Prompt) -> Sampling:
        """Return the sampling parameters of the official harness for a prompt."""
        ...

    def baselines(self, prompts: Sequence[Prompt], data: DataSource) -> list[Response]:
        """Return the answers the candidate is compared with; empty for absolute ratings."""
        ...

    def tasks(self, prompt: Prompt, candidate: Response, baseline: Response | None) -> list[JudgeTask]:
        """Return the questions to the judge about an answer."""
        ...

    def score(
        self, prompt: Prompt, candidate: Response, baseline: Response | None, judgments: Sequence[Judgment]
    ) -> list[Score]:
        """Convert the verdicts on an answer to scores; a missing verdict becomes a score with a reason."""
        ...

    def items(self, metric: str, scores: Sequence[Score]) -> Items | None:
        """Return the scores a metric averages, for prompt-by-prompt comparison; None if it is not a mean."""
        ...

    def summarize(self, scores: Sequence[Score], data: DataSource) -> list[SummaryRow]:
        """Compute the figures of the table from the scores."""
        ...


@runtime_checkable
class ConfigurableBenchmark(Protocol):
    """A benchmark that takes options (`BenchmarkSpec.options`), such as the number of shots or a reference model."""

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """Return the benchmark with these options.

        Raises
        ------
        SpecError
            An option is unknown, or its value is wrong.
        """
        ...


@dataclass(frozen=True, slots=True)
class MeasureContext:
    """The arguments of an `EngineBenchmark`.

    Parameters
    ----------
    engine : Any
        The loaded engine: an `Engine`, or a `RewardEngine` or `PreferenceEngine` (`harness.engines.rewards.scorers`). A
        benchmark that cannot use the given kind raises `UsageError` before it measures anything.
    model : str
        Name of the model for records.
    seed : int
        The run's seed.
    work : Path
        A directory inside the run, reserved for the benchmark's partial results, from which a resumed run continues.
    data : DataSource
        Upstream files.
    allow_unsandboxed_code : bool
        Whether code written by the model may run without a sandbox if no sandbox is available.
    max_tokens : int or None
        Maximum number of new tokens, overriding the benchmark's (``--max-tokens``).
    """

    engine: Any
    model: str
    seed: int
    work: Path
    data: DataSource
    allow_unsandboxed_code: bool = False
    max_tokens: int | None = None


@runtime_checkable
class EngineBenchmark(Protocol):
    """A benchmark that queries the engine directly: log-likelihoods, raw completions, rewards.

    It is also a `Benchmark`, without judging: its `judge_forms` are empty and `tasks` returns none. Measured values are
    stored in `Response.meta`, and `score` converts them to scores.
    """

    def measure(self, prompts: Sequence[Prompt], context: MeasureContext) -> Iterator[Response]:
        """Yield a response for each prompt as it is measured; a failed one has ``finish="error"``."""
        ...


@runtime_checkable
class CountedBenchmark(Protocol):
    """A benchmark whose number of prompts is known without its files, so that an import of some of them is noticed."""

    @property
    def n_all_prompts(self) -> int:
        """Number of prompts of this version."""
        ...


@runtime_checkable
class ControlledBenchmark(Protocol):
    """A benchmark with metrics that control for the length or style of the answers."""

    @property
    def controlled(self) -> Mapping[str, str]:
        """Each controlled metric, and the raw metric it corrects."""
        ...


@runtime_checkable
class PanelBenchmark(Protocol):
    """A benchmark with figures that need several models (MT-Bench's length-controlled score)."""

    def panel(self, scores: Mapping[str, Sequence[Score]]) -> Mapping[str, SummaryRow]:
        """Compute each model's figure from the scores of all models.

        Parameters
        ----------
        scores : mapping of str to sequence of Score
            Each model's scores of this benchmark.

        Returns
        -------
        mapping of str to SummaryRow
            One row per model, which replaces the row of the same metric from `summarize`; a row without a figure has
            a reason.
        """
        ...


@dataclass(frozen=True, slots=True)
class FittedComparison:
    """Comparison of two runs on a fitted metric, both refitted to the same resampled prompts.

    Parameters
    ----------
    first, second : float
        The metric of each run over the shared prompts.
    difference : Estimate
        First minus second.
    p_value : float or None
        Two-sided; None if the method has none.
    """

    first: float
    second: float
    difference: Estimate
    p_value: float | None = None


@runtime_checkable
class FittedBenchmark(Protocol):
    """A benchmark with metrics that are fits, not means of items (a length-controlled win rate)."""

    def compare_fitted(
        self,
        metric: str,
        scores: tuple[Sequence[Score], Sequence[Score]],
        data: DataSource,
        rng: np.random.Generator,
        level: float,
    ) -> FittedComparison | None:
        """Compare two runs on a fitted metric.

        Parameters
        ----------
        metric : str
            The metric.
        scores : (sequence of Score, sequence of Score)
            Both runs' scores of this benchmark.
        data : DataSource
            Upstream files the fit needs.
        rng : numpy.random.Generator
            Random generator of the resampling.
        level : float
            Nominal coverage of the difference's interval.

        Returns
        -------
        FittedComparison or None
            None for a metric that is not a fit.

        Raises
        ------
        StatisticsError, DataError
            The fit fails, or a file it needs is unavailable.
        """
        ...


@runtime_checkable
class PinnedBenchmark(Protocol):
    """A benchmark made from the user's files, whose runs must not depend on where the files lie."""

    def pinned(self, prompts: Sequence[Prompt], baselines: Sequence[Response]) -> Mapping[str, Any]:
        """Return its options with everything that only the files tell.

        Parameters
        ----------
        prompts, baselines : sequences of Prompt and Response
            What the files gave.

        Returns
        -------
        mapping of str to JSON value
            The options for run.json. ``content`` is the hash of what the files hold; with it, the places in ``files``
            are not part of the run's identity.
        """
        ...


@runtime_checkable
class AnnotatedBenchmark(Protocol):
    """A benchmark that runs the user's code on answers: once, when the answer arrives, never when a run is scored."""

    def annotate(self, prompt: Prompt, response: Response) -> Mapping[str, Any] | None:
        """Return what is added to `Response.meta`; None if nothing is missing."""
        ...


@runtime_checkable
class CheckedBenchmark(Protocol):
    """A benchmark that can detect from its scores that a run is not valid (all rewards are equal)."""

    def problems(self, scores: Sequence[Score]) -> list[str]:
        """Return the reasons why its figures are not valid; empty if there are none."""
        ...


@dataclass
class Imported:
    """One model's run, as read from files.

    Parameters
    ----------
    asked_as : str
        The name that loads the benchmark, with `@version` if it has several.
    benchmark : str
        Its name in tables.
    version : str
        Version of its questions.
    model : str
        The judged model.
    judge : str
        The judge's name in the files.
    prompts, responses, judgments : list
        The records.
    sources : list of Path
        The files, for run.json.
    notes : list of str
        Notes for readers of the figures.
    figures : list of SummaryRow
        Figures that the files give without the underlying items.
    n_all_prompts : int or None
        Number of prompts of the benchmark, if the files tell and the benchmark does not (`CountedBenchmark`).
    baselines : tuple of str
        The models compared with, as the files name them.
    """

    asked_as: str
    benchmark: str
    version: str
    model: str
    judge: str
    prompts: list[Prompt] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: list[SummaryRow] = field(default_factory=list)
    n_all_prompts: int | None = None
    baselines: tuple[str, ...] = ()


class Importer(Protocol):
    """Reads the files another tool writes for one model: `assay import NAME`.

    Registered under the entry point ``assay.importers`` as a class, or another factory, without arguments.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the importer's options to the command line."""
        ...

    def read(self, arguments: argparse.Namespace) -> Imported:
        """Read the files.

        Raises
        ------
        FileFormatError
            A line or field does not match the format.
        UsageError
            The files hold several models or judges and none was chosen.
        """
        ...


@runtime_checkable
class VoteImporter(Protocol):
    """An importer for a tool whose files also hold votes or verdicts, one per row; `assay calibrate` uses it."""

    @property
    def fields(self) -> Sequence[str]:
        """The fields that identify its rows, in words, for the message about a file of unknown format."""
        ...

    def statements(self, row: Row) -> Sequence[Statement] | None:
        """Return the statements in a row of a file.

        Returns
        -------
        sequence of Statement or None
            Preferences, grades or texts (`harness.data.votes`); None for a row of another format.

        Raises
        ------
        FileFormatError
            The row has this format, but a field is missing or wrong (`Row.error`).
        """
        ...


class Judge(Protocol):
    """Gives verdicts: a language model behind an endpoint, a reward model, recorded votes."""

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    def judge_id(self, form: str) -> str:
        """Return the hash of everything that determines its verdicts in a form: model, template, parser, sampling."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return the judge's entry in run.json."""
        ...

    async def prepare(self) -> None:
        """Raise an error if the judge cannot be reached or loaded; called before anything is generated."""
        ...

    async def judge(self, task: JudgeTask, *, fresh: bool = False) -> Judgment:
        """Return a verdict.

        A verdict that cannot be obtained is `Unscored`; an error that stops the run is an `AssayError`. With `fresh`
        the judge is asked again even if an earlier answer is cached.
        """
        ...

    async def close(self) -> None:
        """Free the resources `prepare` acquired."""
        ...


Ask = Callable[[ChatRequest], Awaitable[ChatReply]]
"""Sends one request to the judge; raises `harness.endpoint.exchange.ChatFailure` if there is no reply."""


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """The judge's sampling parameters in the official harness.

    Parameters
    ----------
    temperature : float or None
        Sampling temperature; None sends none.
    max_tokens : int
        Maximum number of tokens in the reply.
    top_logprobs : int
        Number of alternatives per token to return with log-probabilities; 0 for none.
    top_p : float
        Nucleus mass; 1 sends none.
    seed : int or None
        Seed; None sends none.
    reasoning_effort : str or None
        How long the judge may reason; None sends none.
    schema : mapping or None
        JSON schema of the reply (structured output); None for free text.
    """

    temperature: float | None = 0.0
    max_tokens: int = 2048
    top_logprobs: int = 0
    top_p: float = 1.0
    seed: int | None = None
    reasoning_effort: str | None = None
    schema: Mapping[str, Any] | None = None

    def request(self, messages: tuple[Message, ...]) -> ChatRequest:
        """Return a request with these messages."""
        return ChatRequest(
            messages,
            self.max_tokens,
            self.temperature,
            self.top_p,
            self.seed,
            top_logprobs=self.top_logprobs,
            reasoning_effort=self.reasoning_effort,
            schema=self.schema,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """A parsed verdict, the text it was parsed from, and metadata."""

    verdict: Verdict
    raw: str
    meta: dict[str, Any]


class JudgeForm(Protocol):
    """A way to ask a language model for a verdict: the prompt, the sampling, and the parser.

    The class itself is registered under the entry point ``assay.judge_forms``: benchmarks and judges read what it
    declares before an instance exists. A form knows nothing of endpoints, caches or prices; it receives a function that
    sends requests.
    """

    verdict: ClassVar[Literal["rating", "preference", "five_way"]]
    """"rating": a grade of one answer (`harness.records.Rating`).
    "preference": which of two answers is better (`harness.records.Preference`).
    "five_way": a preference with one of the labels A>>B, A>B, A=B, B>A, B>>A.
    """
    n_answers: ClassVar[int]
    """Number of answers it shows: 1 or 2."""
    reads: ClassVar[Literal["text", "logprobs"]]
    """Whether the verdict is in the reply's text or in the log-probabilities of its first token.

    The judge's option max_tokens has no effect on a form that reads log-probabilities.
    """
    usual_reply_tokens: ClassVar[int]
    """Typical length of a reply, for estimates."""

    @classmethod
    def from_data(cls, data: DataSource) -> Self:
        """Return the form, with its prompts read from upstream's files."""
        ...

    @property
    def settings(self) -> ChatSettings:
        """The judge's sampling parameters in the official harness."""
        ...

    def identity(self) -> str:
        """Return the hash of the prompts and the parser; verdicts of different identities are never mixed."""
        ...

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest | None:
        """Return the first request of a task (priced by `assay estimate`); None if no request is needed."""
        ...

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask for a verdict and parse it; an unreadable one is `harness.records.Unscored`."""
        ...


@runtime_checkable
class JudgeFormFamily(Protocol):
    """A registered form that stands for many, named ``NAME:ARGUMENT``: judge forms from files, rubrics.

    The registered class has the members of :class:`JudgeForm` too; those of the class `of` returns are used.
    """

    @classmethod
    def of(cls, argument: str) -> type[Self]:
        """Return the form of an argument; "" if none is given.

        Raises
        ------
        AssayError
            There is no such form.
        """
        ...


@runtime_checkable
class GradedForm(Protocol):
    """A judge form, as a class, that declares the scale of its ratings."""

    scale: ClassVar[tuple[float, float]]
    """Ends of the scale."""
    dimensions: ClassVar[Mapping[str, tuple[float, float]]]
    """The dimensions of a rubric with their scales; empty for a single grade. ``Judgment.meta["rubric"]`` holds the
    grades by dimension."""


class TrainingStage(Protocol):
    """A training stage, registered under the entry point ``assay.stages``: `assay train NAME RECIPE --out DIR`."""

    @property
    def name(self) -> str:
        """Name on the command line."""
        ...

    @property
    def summary(self) -> str:
        """A short description for ``--help``."""
        ...

    @property
    def recipe(self) -> type[Any]:
        """The recipe class (`training.recipe.TrainingRecipe`)."""
        ...

    @property
    def train(self) -> Callable[..., Any]:
        """The training function; ``train(recipe, out)`` returns a `training.stage.StageResult`."""
        ...


class ReportSection(Protocol):
    """A part of the report, registered under the entry point ``assay.report_sections``."""

    @property
    def place(self) -> int:
        """Position in the report, in ascending order (the verdict has 0, provenance 100)."""
        ...

    @property
    def build(self) -> Callable[[Any], Sequence[Any]]:
        """The function that builds the sections.

        It is called with a `reports.build.ReportContext` and returns `reports.blocks.Section` objects; none if the
        section does not apply.
        """
        ...


class Exporter(Protocol):
    """An export format of runs: ``assay export DIR --format NAME --out PATH``."""

    @property
    def name(self) -> str:
        """Name for ``--format``."""
        ...

    @property
    def summary(self) -> str:
        """A short description of the output and the meaning of ``--out``, for ``--help``."""
        ...

    @property
    def several(self) -> bool:
        """Whether it accepts several runs at once."""
        ...

    @property
    def write(self) -> Callable[[Sequence[Any], Sequence[Any], Path], list[Path]]:
        """The function that writes runs and returns the files written.

        It is called as ``write(directories, scores, out)`` with the runs' `harness.store.run_directory.RunDirectory`
        and `harness.run.score.RunScores`. It raises an `AssayError` for runs that cannot be exported; the caller
        converts an `OSError` to one.
        """
        ...


@dataclass(frozen=True, slots=True)
class RankerContext:
    """The arguments of a ranker's factory other than its options.

    Parameters
    ----------
    data : DataSource
        Upstream files.
    cache_path : Path or None
        The judgment cache shared by runs; None disables it.
    """

    data: DataSource
    cache_path: Path | None = None


class Ranker(Protocol):
    """Assigns rewards to sampled answers, from which `assay align` makes preference pairs.

    Registered under the entry point ``assay.rankers`` as a factory that takes the recipe's options and a
    :class:`RankerContext`. The factory validates the options (`SpecError`) and loads nothing; `scores` loads what it
    needs and frees it at the end.
    """

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything its rewards depend on, as JSON values; answers are ranked again if it changes."""
        ...

    def scores(self, answers: Sequence[Sequence[Sample]]) -> Iterator[tuple[str, int, float | None, str]]:
        """Score answers; rewards are comparable between answers to the same prompt.

        Parameters
        ----------
        answers : sequence of sequences of Sample
            The answers to each prompt.

        Yields
        ------
        (str, int, float or None, str)
            Prompt key, answer number, reward, and the reason if it has none.
        """
        ...
