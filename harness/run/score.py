"""Computation of a run's figures from its directory, without engine or judge."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from harness.errors import AssayError, StoreError, UsageError
from harness.protocols import Benchmark, CheckedBenchmark, DataSource
from harness.records import Judgment, Prompt, Response, Score, SummaryRow
from harness.run.answer_diversity import DIVERSITY, diversity_rows, diversity_scores
from harness.run.canary_questions import canary_findings
from harness.run.failures import failures
from harness.run.figures import deciding, declared, reason_row
from harness.run.judge_checks import (
    constant_rating,
    judges_itself,
    names_of_model,
    self_preference_remark,
    self_preferences,
)
from harness.run.plan import load_benchmark
from harness.run.prompt_count import PromptCount, prompt_count
from harness.run.retiring_judge import retirement_notice
from harness.run.several_judges import SPREAD, has_two_judges, of_cheap_judge, of_strong_judge, powered, sharpened
from harness.stats.prediction_powered import PredictionPowered
from harness.store.jsonl import read_json
from harness.store.provenance import code_revision, package_versions
from harness.store.run_directory import RunDirectory, RunWriter

_DEFAULT_MAX_UNSCORED = 0.01


@dataclass(frozen=True)
class RunScores:
    """The figures of a run.

    Parameters
    ----------
    run : str
        Its directory.
    model : str
        Name of the model.
    rows : list of SummaryRow
        The figures.
    scores : list of Score
        The scores they were computed from.
    problems : list of str
        Why the run is not valid; empty if it is valid.
    remarks : list of str
        Other notes (a limit, parts left out).
    made_by : dict
        Version and code revision that computed the figures.
    asked_as : dict of str to str
        Maps a benchmark's name in the table to the name that loads it ("gsm8k" to "lm_eval:gsm8k").
    options : dict of str to dict
        Each benchmark's options, by its name in the table.
    canaries : list of dict
        Results of the judge's canaries (`harness.run.canaries`), each with its benchmark.
    counts : dict of str to PromptCount
        Of the benchmarks of which the run holds only some prompts, how many.
    failures : list of dict
        The kinds of errors, with the first message, the count and what to do (`harness.run.failures.Failure`).
    """

    run: str
    model: str
    rows: list[SummaryRow]
    scores: list[Score]
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    made_by: dict[str, Any] = field(default_factory=dict)
    asked_as: dict[str, str] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    canaries: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, PromptCount] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        """Whether the figures may be compared with those of other runs."""
        return not self.problems

    @property
    def nothing_scored(self) -> bool:
        """Whether no answer has a score; lengths and other measurements do not count."""
        measured = [s for name in self.options for s in deciding(self.benchmark(name), self.scores_of(name))]
        found = measured or self.rows  # an import may have figures without scores
        return all(item.value is None for item in found)

    def row(self, benchmark: str, metric: str) -> SummaryRow:
        """Return a figure; raises KeyError if it does not exist."""
        for row in self.rows:
            if row.benchmark == benchmark and row.metric == metric:
                return row
        raise KeyError(f"{benchmark} {metric}")

    @property
    def benchmarks(self) -> list[str]:
        """The benchmarks with figures, in order."""
        return list(dict.fromkeys(row.benchmark for row in self.rows))

    def benchmark(self, name: str) -> Benchmark:
        """Return a benchmark of the table, with the options of the run.

        Raises
        ------
        UnknownNameError, PluginError
            The benchmark is not installed.
        """
        return load_benchmark(self.asked_as.get(name, name), self.options.get(name))

    def scores_of(self, benchmark: str) -> list[Score]:
        """Return the scores of a benchmark."""
        return [s for s in self.scores if s.benchmark == benchmark]

    def as_json(self) -> dict[str, Any]:
        """Return the output of `assay score --json`, which is also the content of summary.json."""
        return {
            "run": self.run,
            "model": self.model,
            "valid": self.valid,
            "problems": self.problems,
            "remarks": self.remarks,
            "rows": [row.model_dump(mode="json") for row in self.rows],
            "prompts": {name: count.as_json() for name, count in self.counts.items()},
            "canaries": self.canaries,
            "failures": self.failures,
            "made_by": self.made_by,
        }


def score_run(
    directory: RunDirectory, data: DataSource, *, complete: bool | None = None, only: str | None = None
) -> RunScores:
    """Compute every figure of a run from its stored answers and verdicts.

    Parameters
    ----------
    directory : RunDirectory
        The run.
    data : DataSource
        Upstream files some figures need (instruction difficulties); without them the row has a reason.
    complete : bool, optional
        Whether the run is finished; by default its manifest decides.
    only : str, optional
        Score only this benchmark.

    Returns
    -------
    RunScores

    Raises
    ------
    MissingDataError, FileFormatError
        The directory holds no run, or one of its files is damaged.
    """
    header = directory.header()
    scored = RunScores(
        str(directory.path),
        header["model"]["name"],
        [],
        [],
        made_by=_made_by(),
        asked_as=_asked_as(header),
        options=_options(header),
    )
    if not (directory.complete if complete is None else complete):
        scored.problems.append("the run is not complete")
    answer_ids: dict[str, str] = {}
    asked = list(directory.canaries().values())
    for entry in header["benchmarks"]:
        if only in (None, entry["name"], entry.get("asked_as")):
            _score_benchmark(scored, directory, (header, entry), (answer_ids, data, asked))
    scored.remarks.extend(str(note) for note in header.get("notes") or ())
    scored.remarks.extend(_on_the_judge(header))
    names = [entry["name"] for entry in header["benchmarks"] if only in (None, entry["name"])]
    scored.canaries.extend(_canaries(directory, names, asked, answer_ids))
    for finding in scored.canaries:
        text = f"judge canary {finding['name']} on {finding['benchmark']}: {finding['message']}"
        (scored.problems if finding["tripped"] else scored.remarks).append(text)
    return scored


def _score_benchmark(
    scored: RunScores,
    directory: RunDirectory,
    about: tuple[dict[str, Any], dict[str, Any]],
    given: tuple[dict[str, str], DataSource, list[Judgment]],
) -> None:
    """Add a benchmark's scores, rows, problems and remarks to the run's; an import may have rows without scores.

    `about` is the run's header and the entry of the benchmark in it; `given` is the answers' ids by prompt, which are
    added to, the data source, and the verdicts on canary questions.
    """
    header, entry = about
    answer_ids, data, asked = given
    benchmark = load_benchmark(entry.get("asked_as") or entry["name"], entry.get("options"))
    noted = _Noted(answer_ids, names_of_model(header))
    found = _scores_of(directory, benchmark, (entry["name"], scored.model), noted)
    imported = [SummaryRow.model_validate(f) for f in header.get("figures", ()) if f["benchmark"] == entry["name"]]
    scored.scores.extend(found)
    if found or not header.get("figures"):
        scored.rows.extend(sharpened(benchmark, _rows_of(benchmark, entry, found, data), found, noted.cheap))
    scored.rows.extend(imported)
    if found or not imported:
        limit = header.get("max_unscored", _DEFAULT_MAX_UNSCORED)
        measured = deciding(benchmark, found)
        scored.problems.extend(_unscored_problems(entry["name"], measured, limit))
        scored.failures.extend(failure.as_json() for failure in failures(measured, scored.run))
        problems, remarks = constant_rating(benchmark, found, asked)
        scored.problems.extend(problems)
        scored.remarks.extend(remarks)
    if isinstance(benchmark, CheckedBenchmark):
        scored.problems.extend(benchmark.problems(found))
    _note_count(scored, entry["name"], prompt_count(header, entry, benchmark))
    scored.remarks.extend(_remarks_on(entry, noted))


def _note_count(scored: RunScores, name: str, count: PromptCount) -> None:
    """Say that the run holds only some of a benchmark's prompts."""
    if count.is_part:
        scored.counts[name] = count
        scored.remarks.append(f"{name}: only {count.words} ({count.which})")


def cheap_judge_scores(directory: RunDirectory, benchmark: str) -> list[Score]:
    """Return the cheap judge's scores of a run with two judges; empty for other runs."""
    header = directory.header()
    found: list[Score] = []
    for entry in header["benchmarks"]:
        if benchmark in (entry["name"], entry.get("asked_as")):
            loaded, noted = load_benchmark(entry.get("asked_as") or entry["name"], entry.get("options")), _Noted({})
            _scores_of(directory, loaded, (entry["name"], header["model"]["name"]), noted)
            found += noted.cheap
    return found


def two_judge_figures(directory: RunDirectory) -> dict[tuple[str, str], PredictionPowered]:
    """Return the estimates of a run's judged means from its two judges, by benchmark and metric.

    Raises
    ------
    UsageError
        The run was not judged by two judges, or too little to estimate anything.
    """
    header = directory.header()
    found: dict[tuple[str, str], PredictionPowered] = {}
    for entry in header["benchmarks"]:
        benchmark, noted = load_benchmark(entry.get("asked_as") or entry["name"], entry.get("options")), _Noted({})
        strong = _scores_of(directory, benchmark, (entry["name"], header["model"]["name"]), noted)
        for metric in benchmark.headlines:
            estimate = powered(benchmark, metric, strong, noted.cheap)
            if estimate is not None:
                found[entry["name"], metric] = estimate
    if not found:
        raise UsageError(
            f"{directory.path} has no judged mean by two judges",
            "a run with --judge two:CHEAP,STRONG and at least two prompts by the strong one",
        )
    return found


def stored_or_scored(directory: RunDirectory, data: DataSource) -> RunScores:
    """Return a finished run's stored figures if the current code computed them; otherwise compute them.

    Bootstraps of fits take seconds per run, which adds up in a table of many runs.
    """
    now = _made_by()
    if directory.complete and not now["code"].get("local_changes") and not directory.verify():
        summary = read_json(directory.path / "summary.json")
        if summary.get("made_by") == now:
            header = directory.header()
            return RunScores(
                run=str(directory.path),
                model=summary["model"],
                rows=[SummaryRow.model_validate(row) for row in summary["rows"]],
                scores=directory.scores(),
                problems=summary["problems"],
                remarks=summary["remarks"],
                made_by=now,
                asked_as=_asked_as(header),
                options=_options(header),
                canaries=summary.get("canaries", []),
                failures=summary.get("failures", []),
                counts={name: PromptCount(**count) for name, count in summary.get("prompts", {}).items()},
            )
    return score_run(directory, data)


def _canaries(
    directory: RunDirectory, names: list[str], asked: list[Judgment], answer_ids: dict[str, str]
) -> list[dict[str, Any]]:
    """Return the results of the run's canaries by benchmark; empty if it has none."""
    if not asked:
        return []
    judgments = list(directory.slim_judgments())
    return [
        {"benchmark": name, **finding.as_json()}
        for name in names
        for finding in canary_findings(name, asked, judgments, answer_ids)
    ]


def _options(header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry.get("options") or {} for entry in header["benchmarks"]}


def _asked_as(header: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("asked_as") or entry["name"] for entry in header["benchmarks"]}


def _made_by() -> dict[str, Any]:
    return {"assay": package_versions().get("assay"), "code": code_revision()}


@dataclass
class _Noted:
    """What scoring notes on the way.

    Parameters
    ----------
    answer_ids : dict of str to str
        The ids of the judged answers by prompt, over all benchmarks.
    model_names : frozenset of str
        Names by which a member of a panel would be the model under test.
    only_reasoned : list of str
        Prompts whose answers hold only reasoning.
    cheap : list of Score
        The cheap judge's scores of a run with two judges.
    spreads : list of float
        The standard deviation of a panel's members on each verdict, as a share of the scale.
    self_preferences : list of (float, str)
        How much more the model under test likes its answers than the other members of a panel do, by prompt.
    """

    answer_ids: dict[str, str]
    model_names: frozenset[str] = frozenset()
    only_reasoned: list[str] = field(default_factory=list)
    cheap: list[Score] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    self_preferences: list[tuple[float, str]] = field(default_factory=list)


def _scores_of(directory: RunDirectory, benchmark: Benchmark, names: tuple[str, str], noted: _Noted) -> list[Score]:
    """Score a benchmark prompt by prompt; only the scores and the ids of the judged answers stay in memory.

    `names` are those of the benchmark and the model in the run.
    """
    benchmark_name, model = names
    responses, judgments = directory.responses_by_prompt(), directory.judgments_by_prompt()
    scores: list[Score] = []
    for prompt in directory.each_prompt():
        if prompt.benchmark != benchmark_name:
            continue
        answers = responses.of(prompt.id)
        first = {response.role: response for response in answers if response.sample == 0}
        candidate = first.get("candidate")
        if candidate is None:
            candidate = Response.to(prompt, model, "", finish="error")
        else:
            noted.answer_ids[prompt.id] = candidate.id
            noted.only_reasoned += [prompt.id] * candidate.only_reasoned
        judged = [j for j in judgments.of(prompt.id) if _is_about(j, candidate)]
        scores += _judged_scores(benchmark, prompt, (candidate, first.get("baseline")), judged, noted)
        scores += diversity_scores(prompt, [r for r in answers if r.role == "candidate"])
    return scores


def _judged_scores(
    benchmark: Benchmark,
    prompt: Prompt,
    answers: tuple[Response, Response | None],
    judged: list[Judgment],
    noted: _Noted,
) -> list[Score]:
    """Score a prompt; with two judges the strong one decides, and where it was not asked there are no judged scores."""
    noted.self_preferences += self_preferences(judged, noted.model_names)
    noted.spreads += [j.meta[SPREAD] for j in judged if SPREAD in j.meta]
    asked = of_strong_judge(judged)
    scores = declared(benchmark, benchmark.score(prompt, *answers, asked))
    if not has_two_judges(judged):
        return scores
    noted.cheap += benchmark.score(prompt, *answers, of_cheap_judge(judged))
    return scores if asked else [s for s in scores if not benchmark.score_kinds[s.metric].judged]


def _is_about(judgment: Judgment, candidate: Response) -> bool:
    """Whether a judgment is about the current answer; a failed answer may have been replaced since."""
    return not candidate.ok or candidate.id in judgment.response_ids


def _rows_of(benchmark: Benchmark, entry: dict[str, Any], scores: list[Score], data: DataSource) -> list[SummaryRow]:
    try:
        rows = benchmark.summarize([s for s in scores if s.metric != DIVERSITY], data)
    except AssayError as error:
        rows = [reason_row(benchmark.name, "all", " ".join(str(error).split()), scores)]
    rows += diversity_rows(benchmark.name, scores)
    for part in entry.get("left_out", ()):
        rows.append(reason_row(benchmark.name, part["part"], f"{part['n_prompts']} prompts not run: {part['reason']}"))
    return rows


def _unscored_problems(benchmark: str, measured: list[Score], limit: float) -> list[str]:
    n_unscored = sum(s.value is None for s in measured)
    if not measured:
        return [f"{benchmark}: nothing to score"]
    share = n_unscored / len(measured)
    if share <= limit:
        return []
    counts: dict[str, int] = defaultdict(int)
    for score in measured:
        if score.reason is not None:
            counts[score.reason.partition(":")[0]] += 1
    listed = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items(), key=lambda item: -item[1]))
    return [f"{benchmark}: {n_unscored} of {len(measured)} not scored ({share:.1%}, limit {limit:.1%}): {listed}"]


def _on_the_judge(header: dict[str, Any]) -> list[str]:
    """Return what there is to say of a run's judge itself."""
    retiring = retirement_notice(header.get("judge"), _started(header)) if header.get("kind") == "run" else None
    deviations = [f"the judge: {words}" for words in (header.get("judge") or {}).get("deviations", ())]
    return [*deviations, *(text for text in (judges_itself(header), retiring) if text)]


def _started(header: dict[str, Any]) -> date:
    """Return the day a run started."""
    try:
        return date.fromisoformat(str(header.get("started"))[:10])
    except ValueError:
        return date.min  # not recorded


def _remarks_on(entry: dict[str, Any], noted: _Noted) -> list[str]:
    remarks = [f"{entry['name']}: {p['part']} left out ({p['reason']})" for p in entry.get("left_out", ())]
    if noted.only_reasoned:
        remarks.append(
            f"{entry['name']}: {len(noted.only_reasoned)} answers are empty: the model reasoned and gave none, or was "
            "cut before it (--max-tokens)"
        )
    remarks += filter(None, [self_preference_remark(entry["name"], noted.self_preferences)])
    if noted.spreads:
        mean = sum(noted.spreads) / len(noted.spreads)
        remarks.append(
            f"{entry['name']}: members or samples of the judge differ by {mean:.0%} of the scale (standard deviation, "
            f"mean over {len(noted.spreads)} verdicts)"
        )
    return remarks


def rescore(path: Path, data: DataSource, only: str | None = None) -> RunScores:
    """Recompute a run's figures and store them, unless another process writes to the run or `only` is given.

    Raises
    ------
    MissingDataError, FileFormatError
        As in :func:`score_run`.
    """
    directory = RunDirectory(path)
    directory.header()
    if only is not None:
        return score_run(directory, data, only=only)
    try:
        writer = RunWriter(path)
    except StoreError:
        return score_run(directory, data)
    with writer:
        scores = score_run(writer, data)
        writer.write_scores(scores.scores)
        writer.write_summary(scores.as_json())
        if writer.complete:
            writer.write_manifest()
    return scores
