"""What plug-ins must offer, kind by kind; `harness.registry` checks it and docs/extending.md has an example of each.

============== =========================== ================================================================
kind           entry point                 protocol
============== =========================== ================================================================
benchmark      ``assay.benchmarks``        :class:`Benchmark`; by choice :class:`ConfigurableBenchmark`,
                                           :class:`EngineBenchmark`, :class:`PanelBenchmark`,
                                           :class:`FittedBenchmark`, :class:`CheckedBenchmark`
suite          ``assay.suites``            a sequence of `harness.spec.BenchmarkSpec`
judge          ``assay.judges``            :class:`Judge`, made of a :class:`JudgeContext`
judge form     ``assay.judge_forms``       :class:`JudgeForm`, the class itself
engine         ``assay.engines``           `harness.engines.base.Engine`, or a `RewardEngine` or
                                           `PreferenceEngine` of `harness.engines.rewards.scorers`
importer       ``assay.importers``         :class:`Importer`; by choice :class:`VoteImporter`
report section ``assay.report_sections``   :class:`ReportSection`
exporter       ``assay.exporters``         :class:`Exporter`
training stage ``assay.stages``            :class:`TrainingStage`
ranker         ``assay.rankers``           :class:`Ranker`, made of options and a :class:`RankerContext`
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
from harness.messages import Message, Sampling
from harness.records import Judgment, Prompt, Response, Score, SummaryRow, Verdict
from harness.spec import JudgeSpec

if TYPE_CHECKING:
    import numpy as np

    from harness.stats.estimate import Estimate
    from harness.store.align_directory import Sample

__all__ = [
    "Ask",
    "Benchmark",
    "ChatSettings",
    "CheckedBenchmark",
    "ConfigurableBenchmark",
    "ControlledBenchmark",
    "DataSource",
    "EngineBenchmark",
    "Exporter",
    "FittedBenchmark",
    "FittedComparison",
    "Imported",
    "Importer",
    "Items",
    "Judge",
    "JudgeContext",
    "JudgeForm",
    "JudgeTask",
    "MeasureContext",
    "NotAvailable",
    "PanelBenchmark",
    "Ranker",
    "RankerContext",
    "Reading",
    "ReportSection",
    "ScoreKind",
    "ScoreRole",
    "TrainingStage",
    "VoteImporter",
]


class DataSource(Protocol):
    """Where upstream files come from (`harness.data.store.DataStore`)."""

    def path(self, name: str) -> Path:
        """Return a verified local copy of a registered file."""
        ...

    def local(self, relative: str) -> Path | None:
        """Return a file of the mirror, or beside it, that is not registered; None where there is none."""
        ...

    def used(self) -> dict[str, str]:
        """Name every file handed out so far with its sha256."""
        ...


@dataclass(frozen=True, slots=True)
class JudgeTask:
    """One question to a judge.

    Parameters
    ----------
    prompt : Prompt
        What was asked of the models.
    form : str
        How the judge is asked: a registered judge form ("rating", "five_way", ...).
    responses : tuple of Response
        What is judged, in the order it is shown.
    turn : int
        1-based turn that is judged.
    game : int
        1-based number of the presentation.
    """

    prompt: Prompt
    form: str
    responses: tuple[Response, ...]
    turn: int = 1
    game: int = 1


@dataclass(frozen=True, slots=True)
class JudgeContext:
    """What a judge is made from.

    Parameters
    ----------
    spec : JudgeSpec
        Who judges, and how requests are made.
    data : DataSource
        Where official prompts come from.
    cache_path : Path or None
        The judgment cache shared by runs; None for none.
    max_cost : float or None
        Money this run may spend on judging, what it spent before included.
    spent : float
        What it spent before.
    """

    spec: JudgeSpec
    data: DataSource
    cache_path: Path | None = None
    max_cost: float | None = None
    spent: float = 0.0


@dataclass(frozen=True, slots=True)
class Items:
    """What a metric is made of: its value is the weighted mean of the scores, times `scale`.

    Parameters
    ----------
    scores : sequence of Score
        All scores that should go in, unscored ones included.
    scale : float
        Factor from the scores' unit to the metric's (100 for percent).
    bounds : tuple of float or None
        Ends of the scores' scale; None where it is open.
    """

    scores: Sequence[Score]
    scale: float = 1.0
    bounds: tuple[float, float] | None = None


ScoreRole = Literal["rating", "preference", "outcome", "length", "measurement"]


@dataclass(frozen=True, slots=True)
class ScoreKind:
    """What the scores of one name mean: a benchmark declares one for each name it gives (`Benchmark.score_kinds`).

    Parameters
    ----------
    role : str
        "rating": a judge's grade of one answer.
        "preference": a judge's share (0 to 1) for the candidate against another answer.
        "outcome": right or wrong, or a suite's own figure, decided without a judge's opinion of quality.
        "length": how long an answer is (part "baseline": the other side's).
        "measurement": anything else worth keeping.
    unit : str
        Of the value, for tables and axes ("points", "characters", "tokens").
    scale : tuple of float or None
        Ends of the scale; None where it is open.
    """

    role: ScoreRole
    unit: str = ""
    scale: tuple[float, float] | None = None

    @property
    def judged(self) -> bool:
        """Whether a judge's opinion is behind it, so that two runs need the same judge."""
        return self.role in ("rating", "preference")

    @property
    def decides(self) -> bool:
        """Whether it says how good an answer is; what is missing of these makes a run invalid."""
        return self.judged or self.role == "outcome"


@dataclass(frozen=True, slots=True)
class NotAvailable:
    """A part of a benchmark that cannot be run from the data at hand, and why."""

    part: str
    n_prompts: int
    reason: str


class Benchmark(Protocol):
    """A set of prompts, how to judge the answers, and what the verdicts come to.

    Implementations are small frozen dataclasses, one a file, registered under the entry point
    ``assay.benchmarks`` as a factory that takes the version asked for (None for the default).
    """

    @property
    def name(self) -> str:
        """Name used in tables and on the command line."""
        ...

    @property
    def version(self) -> str:
        """Version of the questions."""
        ...

    @property
    def judge_forms(self) -> tuple[str, ...]:
        """The judge forms its tasks use; empty where nothing is judged."""
        ...

    @property
    def headlines(self) -> tuple[str, ...]:
        """The metrics that stand for it in tables, most telling first; those a run has no value of are passed over."""
        ...

    @property
    def score_kinds(self) -> Mapping[str, ScoreKind]:
        """What its scores are, by name (`Score.metric`); at least one of them decides."""
        ...

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """All prompts in upstream's order, and the parts that are unavailable."""
        ...

    def sampling(self, prompt: Prompt) -> Sampling:
        """How the official harness decodes the answer to a prompt."""
        ...

    def baselines(self, prompts: Sequence[Prompt], data: DataSource) -> list[Response]:
        """The answers the candidate is compared with; empty for absolute ratings."""
        ...

    def tasks(self, prompt: Prompt, candidate: Response, baseline: Response | None) -> list[JudgeTask]:
        """What to ask the judge about an answer."""
        ...

    def score(
        self, prompt: Prompt, candidate: Response, baseline: Response | None, judgments: Sequence[Judgment]
    ) -> list[Score]:
        """Turn the verdicts on an answer into scores; whatever is missing becomes a reason."""
        ...

    def items(self, metric: str, scores: Sequence[Score]) -> Items | None:
        """Say what a metric averages, so that runs can be compared prompt by prompt; None where it is no mean."""
        ...

    def summarize(self, scores: Sequence[Score], data: DataSource) -> list[SummaryRow]:
        """Turn scores into the figures of the table."""
        ...


@runtime_checkable
class ConfigurableBenchmark(Protocol):
    """A benchmark that takes options (`BenchmarkSpec.options`): numbers of shots, a reference model."""

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """Return the benchmark with these options.

        Raises
        ------
        SpecError
            An option is not known, or its value is wrong.
        """
        ...


@dataclass(frozen=True, slots=True)
class MeasureContext:
    """What a benchmark that asks the engine itself is given.

    Parameters
    ----------
    engine : Any
        The loaded engine: an `Engine`, or a `RewardEngine` or `PreferenceEngine` (`harness.engines.rewards.scorers`). A
        benchmark that cannot use the kind it is given raises `UsageError` before anything is measured.
    model : str
        Name of the model for records.
    seed : int
        The run's seed.
    work : Path
        A directory of the benchmark's own inside the run, for partial results that a resumed run continues from.
    data : DataSource
        Upstream files.
    allow_unsandboxed_code : bool
        Whether code the model wrote may run without a sandbox where none can be had.
    max_tokens : int or None
        Limit on new tokens in place of the benchmark's own (``--max-tokens``).
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
    """A benchmark that has no conversations but asks the engine itself: log-likelihoods, raw completions, rewards.

    It is a `Benchmark` besides (without judging: its `judge_forms` are empty and `tasks` gives none); what it
    measured stands in `Response.meta` and is turned into scores by `score`.
    """

    def measure(self, prompts: Sequence[Prompt], context: MeasureContext) -> Iterator[Response]:
        """Yield a response for each prompt as it is measured; one that cannot be has ``finish="error"``."""
        ...


@runtime_checkable
class ControlledBenchmark(Protocol):
    """A benchmark with metrics that hold the length or the style of the answers equal."""

    @property
    def controlled(self) -> Mapping[str, str]:
        """Each such metric, and the raw one it corrects."""
        ...


@runtime_checkable
class PanelBenchmark(Protocol):
    """A benchmark with figures that exist only between models (MT-Bench's length-controlled score)."""

    def panel(self, scores: Mapping[str, Sequence[Score]]) -> Mapping[str, SummaryRow]:
        """Compute the figure of each model from all models' scores.

        Parameters
        ----------
        scores : mapping of str to sequence of Score
            Each model's scores of this benchmark.

        Returns
        -------
        mapping of str to SummaryRow
            One row a model, in place of the row of the same metric that `summarize` gave; a reason where there is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class FittedComparison:
    """Two runs' values of a metric that is a fit, both refitted to the same resampled prompts.

    Parameters
    ----------
    first, second : float
        The values over the shared prompts.
    difference : Estimate
        First minus second.
    p_value : float or None
        Two-sided; None where there is none.
    """

    first: float
    second: float
    difference: Estimate
    p_value: float | None = None


@runtime_checkable
class FittedBenchmark(Protocol):
    """A benchmark with metrics that are no means of items but fits (a length-controlled win rate)."""

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
            Of the resampling.
        level : float
            Nominal coverage of the difference's interval.

        Returns
        -------
        FittedComparison or None
            None for a metric that is not a fit.

        Raises
        ------
        StatisticsError, DataError
            The fit cannot be made, or a file it needs is unavailable.
        """
        ...


@runtime_checkable
class CheckedBenchmark(Protocol):
    """A benchmark that can tell from its scores that a run measured something else (every reward the same)."""

    def problems(self, scores: Sequence[Score]) -> list[str]:
        """Say why none of its figures is to be believed; empty where nothing is wrong."""
        ...


@dataclass
class Imported:
    """What files hold of one model's run.

    Parameters
    ----------
    asked_as : str
        The benchmark, with `@version` where several are offered.
    benchmark : str
        Its name in tables.
    version : str
        Version of its questions.
    model : str
        The model that was judged.
    judge : str
        The judge, as the files name it.
    prompts, responses, judgments : list
        The records.
    sources : list of Path
        The files, for run.json.
    notes : list of str
        What a reader of the figures should know.
    figures : list of SummaryRow
        Figures the files give without the items behind them.
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


class Importer(Protocol):
    """A reader of the files another tool writes for one model: `assay import NAME`.

    Registered under the entry point ``assay.importers`` as a class, or another factory, that takes no arguments.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the files' options."""
        ...

    def read(self, arguments: argparse.Namespace) -> Imported:
        """Read the files.

        Raises
        ------
        FileFormatError
            A line or field is not what the format says.
        UsageError
            The files hold several models or judges and none was chosen.
        """
        ...


@runtime_checkable
class VoteImporter(Protocol):
    """An importer whose tool also writes votes or verdicts, row by row: `assay calibrate` reads them through it."""

    @property
    def fields(self) -> Sequence[str]:
        """The fields by which its rows are known, in words, for the message on a file of no known format."""
        ...

    def statements(self, row: Row) -> Sequence[Statement] | None:
        """Say what a row of a file states.

        Returns
        -------
        sequence of Statement or None
            Preferences, grades or texts (`harness.data.votes`); None for a row of another format.

        Raises
        ------
        FileFormatError
            The row is of this format, and a field is missing or wrong (`Row.error`).
        """
        ...


class Judge(Protocol):
    """Who gives verdicts: a language model behind an endpoint, a reward model, recorded votes."""

    @property
    def name(self) -> str:
        """Name for tables."""
        ...

    def judge_id(self, form: str) -> str:
        """Hash of everything that decides its verdicts in a form: model, template, parser, sampling."""
        ...

    def describe(self) -> dict[str, Any]:
        """What run.json says of it."""
        ...

    async def prepare(self) -> None:
        """Fail early, before anything is generated, where the judge cannot be reached or loaded."""
        ...

    async def judge(self, task: JudgeTask, *, fresh: bool = False) -> Judgment:
        """Give a verdict.

        A verdict that cannot be had is `Unscored`; an error that stops the run is an `AssayError`. With `fresh`
        the judge is asked again even where an earlier answer is cached.
        """
        ...

    async def close(self) -> None:
        """Free what `prepare` took."""
        ...


Ask = Callable[[ChatRequest], Awaitable[ChatReply]]
"""Sends one request to the judge; raises `harness.endpoint.exchange.ChatFailure` where there is no reply."""


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How the official harness samples the judge.

    Parameters
    ----------
    temperature : float
        Of the reply.
    max_tokens : int
        Limit on the reply.
    top_logprobs : int
        Alternatives wanted for each token, with their log-probabilities; 0 for none.
    """

    temperature: float = 0.0
    max_tokens: int = 2048
    top_logprobs: int = 0

    def request(self, messages: tuple[Message, ...]) -> ChatRequest:
        """Make a request of messages."""
        return ChatRequest(messages, self.max_tokens, self.temperature, top_logprobs=self.top_logprobs)


@dataclass(frozen=True, slots=True)
class Reading:
    """A verdict, the text it was read from, and what else it rests on."""

    verdict: Verdict
    raw: str
    meta: dict[str, Any]


class JudgeForm(Protocol):
    """One way to ask a language model for a verdict: the prompt, the sampling, and where the verdict is read.

    The class itself is registered, under the entry point ``assay.judge_forms``: benchmarks and judges choose forms by
    what they declare, before any is made. A form knows no endpoints, caches or prices: a function that asks is passed
    to it.
    """

    verdict: ClassVar[Literal["rating", "preference", "five_way"]]
    """"rating": a grade of one answer (`harness.records.Rating`).
    "preference": which of two answers is better (`harness.records.Preference`).
    "five_way": the same with one of the labels A>>B, A>B, A=B, B>A, B>>A.
    """
    n_answers: ClassVar[int]
    """How many answers it shows: 1 or 2."""
    reads: ClassVar[Literal["text", "logprobs"]]
    """Whether the verdict is in the reply's text or in the log-probabilities of its first token.

    The judge's option max_tokens does not change the limit on the reply of a form that reads log-probabilities.
    """
    usual_reply_tokens: ClassVar[int]
    """How long a reply usually is, for estimates."""

    @classmethod
    def from_data(cls, data: DataSource) -> Self:
        """Make the form, with its prompts read from upstream's files."""
        ...

    @property
    def settings(self) -> ChatSettings:
        """How the official harness samples the judge."""
        ...

    def identity(self) -> str:
        """Hash of the prompts and the parser: verdicts of another identity are not mixed with its own."""
        ...

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest | None:
        """The request a task starts with (what `assay estimate` prices); None where none is needed."""
        ...

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask and read the verdict; one that cannot be read is `harness.records.Unscored`."""
        ...


class TrainingStage(Protocol):
    """A way to train, registered under the entry point ``assay.stages``: `assay train NAME RECIPE --out DIR`."""

    @property
    def name(self) -> str:
        """Name on the command line."""
        ...

    @property
    def summary(self) -> str:
        """What it does, in half a sentence, for ``--help``."""
        ...

    @property
    def recipe(self) -> type[Any]:
        """The recipe class (`training.recipe.TrainingRecipe`)."""
        ...

    @property
    def train(self) -> Callable[..., Any]:
        """Train as ``train(recipe, out)`` says and return a `training.stage.StageResult`."""
        ...


class ReportSection(Protocol):
    """A part of the report, registered under the entry point ``assay.report_sections``."""

    @property
    def place(self) -> int:
        """Where it stands: sections are in ascending order (the verdict has 0, provenance 100)."""
        ...

    @property
    def build(self) -> Callable[[Any], Sequence[Any]]:
        """Make the sections.

        It is called with a `reports.build.ReportContext` and returns `reports.blocks.Section` objects, none where it
        has nothing to say.
        """
        ...


class Exporter(Protocol):
    """A format runs are written in: ``assay export DIR --format NAME --out PATH``."""

    @property
    def name(self) -> str:
        """What ``--format`` names."""
        ...

    @property
    def summary(self) -> str:
        """What it writes and what ``--out`` is, in half a sentence, for ``--help``."""
        ...

    @property
    def several(self) -> bool:
        """Whether it takes several runs at once."""
        ...

    @property
    def write(self) -> Callable[[Sequence[Any], Sequence[Any], Path], list[Path]]:
        """Write runs and return the files written.

        It is called as ``write(directories, scores, out)`` with the runs' `harness.store.run_directory.RunDirectory`
        and `harness.run.score.RunScores`. It raises an `AssayError` for what cannot be exported; an `OSError` is
        turned into one.
        """
        ...


@dataclass(frozen=True, slots=True)
class RankerContext:
    """What a ranker may need besides its options.

    Parameters
    ----------
    data : DataSource
        Upstream files.
    cache_path : Path or None
        The judgment cache shared by runs; None for none.
    """

    data: DataSource
    cache_path: Path | None = None


class Ranker(Protocol):
    """Gives sampled answers rewards, from which `assay align` makes pairs.

    Registered under the entry point ``assay.rankers`` as a factory of the recipe's options and a
    :class:`RankerContext`. The factory checks the options (`SpecError`) and loads nothing; `scores` loads what it
    needs and frees it at the end.
    """

    @property
    def name(self) -> str:
        """Name for tables."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything its rewards depend on, as JSON values; answers are ranked again when it changes."""
        ...

    def scores(self, answers: Sequence[Sequence[Sample]]) -> Iterator[tuple[str, int, float | None, str]]:
        """Score answers; rewards of answers to one prompt are comparable.

        Parameters
        ----------
        answers : sequence of sequences of Sample
            The answers to each prompt.

        Yields
        ------
        (str, int, float or None, str)
            Prompt key, number of the answer, its reward, and why it has none.
        """
        ...
