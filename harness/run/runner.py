"""The run: generate, judge, score. Every answer and verdict is written to disk before it is used.

Generation runs in its own thread and judging in the event loop, so judging overlaps with generation. Only the event
loop writes. A stopped run (SIGKILL, Ctrl-C, an unavailable endpoint, a full disk, the cost limit) is resumed from disk:
stored answers are not generated again and stored verdicts are not requested again; failed answers and unscored verdicts
are retried.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

from harness import registry
from harness.data.store import DataStore
from harness.engines.base import Engine
from harness.errors import AssayError, RunConflictError, UsageError
from harness.progress import Progress, make_progress, say
from harness.protocols import AnnotatedBenchmark, EngineBenchmark, Judge, JudgeContext, JudgeTask, MeasureContext
from harness.records import Judgment, Prompt, Response, Unscored
from harness.run.anchors import ANCHOR, anchor_questions, refuse_bad_anchors
from harness.run.canary_questions import CanaryQuestion, canary_questions
from harness.run.generate import GenerationThread, Job
from harness.run.plan import Plan, PlannedBenchmark, limit_took_the_first, load_judge, make_plan, run_header
from harness.run.retiring_judge import retirement_notice
from harness.run.score import RunScores, score_run
from harness.run.several_judges import is_settled
from harness.settings import Settings
from harness.spec import RunSpec, differing_fields, validated
from harness.store.run_directory import RunDirectory, RunWriter, response_key, task_key

_GRACE_S = 30.0  # how long a stopping run waits for verdicts that are already paid for
_BATCH_GRACE_S = 1.0  # a batch goes on at the server, and the next process fetches it
_WORK = "work"  # partial results of benchmarks that query the engine; deleted once they are responses
_JOIN_S = 5.0  # how long a stopping run waits for the generation in progress


class Interrupted(AssayError):  # noqa: N818 - requested by the user: not an error
    """The run was stopped by a signal; it can be resumed."""

    exit_status = 130


class Waves(Protocol):
    """Splits the prompts into waves and decides when to stop (`harness.gate.early_stop`)."""

    def record(self) -> dict[str, Any]:
        """Return what run.json keeps: the random seed of the prompt order, the method, planned looks."""
        ...

    def waves(self, prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
        """Yield the prompts wave by wave."""
        ...

    def decided(self, directory: RunDirectory, asked: Sequence[Prompt]) -> bool:
        """Whether the stored answers and verdicts on the prompts of all waves so far suffice for a decision."""
        ...


@dataclass(frozen=True)
class RunOptions:
    """Options of one execution of a run; none of them changes what is measured.

    Parameters
    ----------
    out : Path
        The run directory.
    data_dir : Path or None
        A mirror of the upstream files; by default that of the settings.
    use_cache : bool
        Whether to read and extend the judgment cache shared by runs.
    max_cost : float or None
        Limit on the cost of judging.
    progress : bool or None
        Whether to draw progress bars; None draws them if stderr is a terminal.
    early_stop : Waves or None
        Generate and judge wave by wave, and stop once the result is decided.
    allow_unsandboxed_code : bool
        Run code written by the model even if no sandbox is available.
    """

    out: Path
    data_dir: Path | None = None
    use_cache: bool = True
    max_cost: float | None = None
    progress: bool | None = None
    early_stop: Waves | None = None
    allow_unsandboxed_code: bool = False


def run(spec: RunSpec, options: RunOptions) -> RunScores:
    """Run a spec; an unfinished run of the same spec in the directory is resumed.

    Parameters
    ----------
    spec : RunSpec
        What to measure.
    options : RunOptions
        The run directory and other options.

    Returns
    -------
    RunScores
        The figures, which are also written to summary.json.

    Raises
    ------
    RunConflictError
        The directory holds a run of another spec, or the model, data or prompts have changed since.
    EndpointError, CostLimitReached, StorageFullError, Interrupted
        The run stopped; its answers and verdicts are on disk and `resume` continues it.
    """
    settings = Settings.from_env()
    data = DataStore.of_settings(settings, options.data_dir)
    plan = make_plan(_as_begun(spec, options.out), data)
    refuse_bad_anchors(plan)
    with RunWriter(options.out) as writer:
        _refuse_other_run(writer, plan)
        was_complete = writer.complete
        judge = _make_judge(plan, data, options, settings, writer)
        session = _Session(plan, writer, judge, data, options, make_progress(options.progress))
        asyncio.run(session.carry_out())
        scores = score_run(writer, data, complete=True)
        writer.record_data(data.used())
        if not was_complete:
            writer.write_header(writer.header() | {"finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        writer.write_scores(scores.scores)
        writer.write_summary(scores.as_json())
        writer.write_manifest()
        shutil.rmtree(writer.path / _WORK, ignore_errors=True)
    return scores


def resume(options: RunOptions) -> RunScores:
    """Resume a run from its run.json; failed answers and unscored verdicts are retried.

    Raises
    ------
    MissingDataError
        The directory holds no run.
    RunConflictError
        The run was imported and cannot be resumed.
    """
    header = RunDirectory(options.out).header()
    if header.get("kind") != "run":
        raise RunConflictError(
            f"{options.out} was imported from files, so it cannot be resumed",
            "a run made by `assay run`",
            "`assay score` computes its figures",
        )
    return run(_stored_spec(header, options.out), options)


def _stored_spec(header: Mapping[str, Any], out: Path) -> RunSpec:
    """Return the spec in a run.json; in 0.1.0 the options of an endpoint's judge were fields of its requests."""
    stored = dict(header["spec"])
    judge = stored.get("judge")
    if judge and judge["model"].startswith("openai:") and judge.get("options"):
        sent = {**judge["options"], **judge.get("extra_body", {})}
        stored["judge"] = {**judge, "options": {}, "extra_body": sent}
    spec = validated(RunSpec, stored, str(out / "run.json"))
    return spec.with_first_for_limit() if limit_took_the_first(header) else spec


def _as_begun(spec: RunSpec, out: Path) -> RunSpec:
    """Return a spec as the run in the directory reads it: one that 0.1.0 began keeps the prompts it has."""
    directory = RunDirectory(out)
    began = directory.exists and limit_took_the_first(directory.header())
    return spec.with_first_for_limit() if began else spec


def _refuse_other_run(writer: RunWriter, plan: Plan) -> None:
    if not writer.exists:
        return
    header = writer.header()
    if header.get("kind") != "run":
        raise RunConflictError(f"{writer.path} holds an imported run", remedy="choose another --out")
    stored = _stored_spec(header, writer.path)
    differences = differing_fields(stored.identity(), plan.spec.identity())
    if differences:
        if all(".options.content: " in difference for difference in differences):
            _refuse_other_prompts(writer, plan)
            differences = [f"the baseline answers or the judge prompt, {difference}" for difference in differences]
        raise RunConflictError(
            f"{writer.path} holds a run of another spec: " + "; ".join(differences),
            "the same spec",
            "choose another --out, or continue the existing run with `assay resume`",
        )


def _make_judge(
    plan: Plan, data: DataStore, options: RunOptions, settings: Settings, writer: RunWriter
) -> Judge | None:
    spec = plan.spec
    if spec.judge is None:
        return None
    spent = sum(j.cost or 0.0 for j in (*writer.slim_judgments(), *writer.canaries().values()))
    cache_path = settings.cache_dir / "judgments.sqlite" if options.use_cache else None
    return load_judge(
        JudgeContext(
            spec.judge,
            data,
            cache_path,
            options.max_cost,
            spent,
            tuple(plan.judge_forms),
            writer.path / _WORK / "judge",
        )
    )


@dataclass
class _Session:
    """The work of one process on a run."""

    plan: Plan
    writer: RunWriter
    judge: Judge | None
    data: DataStore
    options: RunOptions
    progress: Progress
    responses: dict[tuple[str, str, int, str], Response] = field(default_factory=dict)
    verdicts: dict[str, bool] = field(default_factory=dict)
    """Whether each judged task was scored, by task key."""
    jobs: list[Job] = field(default_factory=list)
    to_measure: dict[str, PlannedBenchmark] = field(default_factory=dict)
    """Prompts measured on the engine, by id, with their benchmark."""
    judge_ids: dict[str, str] = field(default_factory=dict)
    by_id: dict[str, Prompt] = field(default_factory=dict)
    """The prompts by id."""
    generating: bool = False
    """Whether the engine is still generating after a stop; it must not be freed then."""

    def load_state(self) -> None:
        """Read what earlier processes stored."""
        if self.judge is not None:
            self.judge_ids = {form: self.judge.judge_id(form) for form in self.plan.judge_forms}
        self.by_id = self.plan.by_id
        self.responses = self.writer.responses()
        for judgment in self.writer.slim_judgments():
            key = task_key(judgment.judge_id, judgment.prompt_id, judgment.response_ids, judgment.turn)
            self.verdicts[key] = is_settled(judgment.verdict)
        partials = self.writer.first_turns()
        for planned in self.plan.benchmarks.values():
            for prompt in planned.prompts:
                if not planned.asks_engine:
                    self.jobs += [
                        job for n in range(self.plan.spec.samples) if (job := self._job(prompt, planned, n, partials))
                    ]
                elif self._needs_answer(prompt, 0):
                    self.to_measure[prompt.id] = planned

    def _needs_answer(self, prompt: Prompt, sample: int) -> bool:
        """Whether there is no answer yet, or a failed one that may be retried."""
        kept = self.responses.get((prompt.id, "candidate", sample, ""))
        return kept is None or (not kept.ok and kept.retryable)

    def _job(
        self, prompt: Prompt, planned: PlannedBenchmark, sample: int, partials: Mapping[tuple[str, int], Response]
    ) -> Job | None:
        if not self._needs_answer(prompt, sample):
            return None
        spec = self.plan.spec
        begun = partials.get((prompt.id, sample))
        return Job(prompt, planned, spec.seed, spec.model.display_name, sample, begun)

    async def carry_out(self) -> None:
        """Generate and judge everything that is missing."""
        try:
            if self.judge is not None:
                said = self._say_if_retiring(self.judge, "")  # before a retired model is asked, which fails
                await self.judge.prepare()
                self._say_if_retiring(self.judge, said)
            self.load_state()  # a judge's ids are known once it has found out which parameters the model takes
            engine = self._load_engine() if self.jobs or self.to_measure or not self.writer.exists else None
            try:
                self._write_inputs(engine)
                await self._annotate_stored()
                with self.progress:
                    asked: list[Prompt] = []
                    for wave in self._waves():
                        asked += wave
                        self._write_prompts(wave)
                        await _Pipeline(self, engine, wave).run()
                        if self.options.early_stop is not None and self.options.early_stop.decided(self.writer, asked):
                            break
                    await self._ask_canaries()
            finally:
                if engine is not None and not self.generating:
                    engine.close()
        finally:
            if self.judge is not None:
                await self.judge.close()

    def _say_if_retiring(self, judge: Judge, said: str) -> str:
        """Say that the judge is retired or will be soon, if not said before; summary.json has it as a remark."""
        notice = retirement_notice(judge.describe(), datetime.now(UTC).date()) or ""
        if notice not in ("", said):
            say(f"note: {notice}")
        return notice

    async def _ask_canaries(self) -> None:
        """Test the judge on questions with known answers; they are stored separately from the run's own."""
        judge = self.judge
        if judge is None:
            return
        waiting = self._canaries_to_ask()
        if not waiting:
            return
        self.progress.start("testing the judge", len(waiting))
        free = asyncio.Semaphore(self.plan.spec.judge.in_flight if self.plan.spec.judge else 1)

        async def ask(question: CanaryQuestion, fresh: bool) -> None:
            async with free:
                judgment = await judge.judge(question.task, fresh=fresh)
            meta = {**judgment.meta, "canary": question.check}
            self.writer.append_canary(judgment.model_copy(update={"meta": meta}))
            self.progress.advance("testing the judge")

        await asyncio.gather(*(ask(*item) for item in waiting))

    def _canaries_to_ask(self) -> list[tuple[CanaryQuestion, bool]]:
        """Canary questions and anchors without a verdict, and whether to ask past the cache."""
        kept = {key: _is_settled(j) for key, j in self.writer.canaries().items()}
        spec, waiting = self.plan.spec, []
        for planned in self.plan.benchmarks.values():
            questions = canary_questions(planned, self._answer_to, spec.canaries)
            for question in (*questions, *anchor_questions(spec, planned)):
                task = question.task
                response_ids = [response.id for response in task.responses]
                scored = kept.get(task_key(self.judge_ids[task.form], task.prompt.id, response_ids, task.turn))
                if not scored:
                    # A cached verdict on an anchor would say nothing of the judge today.
                    waiting.append((question, scored is False or question.check == ANCHOR))
        return waiting

    def _answer_to(self, prompt_id: str) -> Response | None:
        return self.responses.get((prompt_id, "candidate", 0, ""))

    async def annotated(self, response: Response) -> Response:
        """Return an answer with what the benchmark's own code says about it (`AnnotatedBenchmark`)."""
        planned = self.plan.benchmarks[response.benchmark]
        if not isinstance(planned.benchmark, AnnotatedBenchmark):
            return response
        added = await asyncio.to_thread(planned.benchmark.annotate, self.by_id[response.prompt_id], response)
        return response.model_copy(update={"meta": {**response.meta, **added}}) if added else response

    async def _annotate_stored(self) -> None:
        """Complete stored answers: those measured by another version of the benchmark's own code."""
        for key, response in list(self.responses.items()):
            if response.role == "candidate" and response.prompt_id in self.by_id:
                completed = await self.annotated(response)
                if completed is not response:
                    self.writer.append(completed)
                    self.responses[key] = completed

    def _waves(self) -> Iterator[list[Prompt]]:
        if self.options.early_stop is None:
            yield self.plan.prompts
        else:
            yield from self.options.early_stop.waves(self.plan.prompts)

    def _load_engine(self) -> Engine:
        model = self.plan.spec.model
        options = {"model": model.path, "name": model.display_name, **model.options}
        engine = registry.make("engine", model.engine, options)
        if self.jobs and not isinstance(engine, Engine):
            engine.close()
            names = dict.fromkeys(job.prompt.benchmark for job in self.jobs)
            raise UsageError(
                f"the engine {model.engine} scores answers and cannot write them, as {', '.join(names)} requires",
                "an engine that generates text",
                "evaluate a reward model with reward_bench",
            )
        return cast(Engine, engine)

    def measurement(self, name: str, engine: Engine, prompts: Sequence[Prompt]) -> Iterable[Response]:
        """Return the responses of a benchmark that queries the engine directly."""
        work = self.writer.path / _WORK / name
        work.mkdir(parents=True, exist_ok=True)
        context = MeasureContext(
            engine=engine,
            model=self.plan.spec.model.display_name,
            seed=self.plan.spec.seed,
            work=work,
            data=self.data,
            allow_unsandboxed_code=self.options.allow_unsandboxed_code,
            max_tokens=self.plan.benchmarks[name].spec.max_tokens,
        )
        return cast(EngineBenchmark, self.plan.benchmarks[name].benchmark).measure(prompts, context)

    def _write_inputs(self, engine: Engine | None) -> None:
        """Write run.json, or check that an existing one matches."""
        if not self.writer.exists:
            if engine is None:
                raise RuntimeError("a new run needs its engine's fingerprint")
            header = run_header(self.plan, engine.fingerprint, self.judge, self.data, self.plan.judge_forms)
            if self.options.early_stop is not None:
                header["early_stop"] = self.options.early_stop.record()
            self.writer.write_header(header)
        else:
            self._refuse_changes(engine)
        self.writer.reopen()

    def _write_prompts(self, prompts: Sequence[Prompt]) -> None:
        """Write the prompts and baselines that are not stored yet."""
        there = self.writer.prompts()
        for prompt in prompts:
            if prompt.id not in there:
                self.writer.append(prompt)
            baseline = self.plan.benchmarks[prompt.benchmark].baselines.get(prompt.id)
            if baseline is not None and response_key(baseline) not in self.responses:
                self.writer.append(baseline)

    def _refuse_changes(self, engine: Engine | None) -> None:
        """Refuse to mix answers of two models, or verdicts of two judge prompts, in one run."""
        header = self.writer.header()
        _refuse_other_prompts(self.writer, self.plan)
        if self.options.early_stop is not None:
            _refuse_other_looks(self.writer, self.options.early_stop.record())
        now: dict[str, Any] = {"data": self.data.used()}
        then: dict[str, Any] = {"data": {k: v for k, v in header["data"].items() if k in now["data"]}}
        if engine is not None:
            now["model_id"], then["model_id"] = engine.fingerprint.model_id, header["model"]["model_id"]
        if self.judge is not None and header["judge"] is not None:
            now["judge"] = self.judge_ids
            then["judge"] = header["judge"]["ids"]
            if sorted(now["judge"].values()) == sorted(then["judge"].values()):
                del now["judge"], then["judge"]  # a form's file may have moved
        differences = differing_fields(then, now)
        if differences:
            raise RunConflictError(
                f"{self.writer.path}: the run's inputs have changed since it started: " + "; ".join(differences),
                "the same model weights, data files and judge prompts",
                "restore them, or choose another --out",
            )


def _is_settled(canary: Judgment) -> bool:
    """Whether a canary question need not be asked again; an echo of a planted verdict is its answer."""
    return is_settled(canary.verdict) or (isinstance(canary.verdict, Unscored) and canary.verdict.reason == "echoed")


def _refuse_other_prompts(writer: RunWriter, plan: Plan) -> None:
    """Refuse to pool answers to old and new prompts of a benchmark whose author kept its version."""
    stored: dict[str, dict[str, Prompt]] = defaultdict(dict)
    for prompt in writer.each_prompt():
        stored[prompt.benchmark][prompt.key] = prompt
    for entry in writer.header()["benchmarks"]:
        planned = plan.benchmarks[entry["name"]]
        changed = _first_change(stored[entry["name"]], planned.prompts)
        if changed is None and entry.get("prompts_hash", planned.prompts_hash) == planned.prompts_hash:
            continue
        first = "a prompt that is not stored yet" if changed is None else _named(stored[entry["name"]], changed)
        raise RunConflictError(
            f"{writer.path}: the prompts of {entry['name']} (version {entry['version']}) have changed since "
            f"the run started; the first that differs: {first}",
            "the prompts the run started with",
            "restore them, or choose another --out; a benchmark whose prompts change should raise its version",
        )


def _refuse_other_looks(writer: RunWriter, record: Mapping[str, Any]) -> None:
    """Refuse to go on with a run under another plan of when it may stop: what was looked at cannot be taken back."""
    stored = writer.header().get("early_stop")
    then = {} if stored is None else {"method": "betting", **stored}
    if then != record:
        what = "no early stop" if stored is None else "; ".join(differing_fields(then, dict(record)))
        raise RunConflictError(
            f"{writer.path}: the run was started with another plan of early stopping: {what}",
            "the seed, method and looks the run started with",
            "give the same options, or choose another directory",
        )


def _named(stored: Mapping[str, Prompt], key: str) -> str:
    """Name a prompt by its key and its first words as stored."""
    words = " ".join(stored[key].turns[0].split()) if key in stored else ""
    return f"{key!r} ({words[:60] + '...' if len(words) > 60 else words!r})" if words else repr(key)


def _first_change(stored: Mapping[str, Prompt], planned: Sequence[Prompt]) -> str | None:
    """Return the key of the first stored prompt that was changed or removed; None if there is none."""
    for prompt in planned:
        kept = stored.get(prompt.key)
        if kept is not None and (kept.id, kept.reference) != (prompt.id, prompt.reference):
            return prompt.key
    still_planned = {prompt.key for prompt in planned}
    return next((key for key in stored if key not in still_planned), None)


class _Pipeline:
    """Generates answers and judges them; everything is written by the event loop."""

    def __init__(self, session: _Session, engine: Engine | None, prompts: Sequence[Prompt]) -> None:
        self._session = session
        self._engine = engine
        self._answers: asyncio.Queue[tuple[Response | None, bool | BaseException | None]] = asyncio.Queue()
        self._tasks: asyncio.Queue[tuple[JudgeTask, bool] | None] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._fault: BaseException | None = None
        self._n_unscored = 0
        self._prompts = {prompt.id: prompt for prompt in prompts}
        self._jobs = [job for job in session.jobs if job.prompt.id in self._prompts]
        self._to_measure: dict[str, list[Prompt]] = {}
        for prompt_id, planned in session.to_measure.items():
            if prompt_id in self._prompts:
                self._to_measure.setdefault(planned.benchmark.name, []).append(self._prompts[prompt_id])

    async def run(self) -> None:
        """Generate and judge until everything is done or the run is stopped."""
        session = self._session
        generation = self._start_generation()
        waiting = [task for prompt_id in self._prompts for task in self._tasks_of(prompt_id)]
        expected = len(waiting) + sum(self._n_tasks(job) for job in self._jobs)
        if session.judge is not None and expected:
            session.progress.start("judging", expected)
        for task in waiting:
            self._tasks.put_nowait(task)
        n_workers = session.plan.spec.judge.in_flight if session.judge and session.plan.spec.judge else 1
        workers = [asyncio.create_task(self._judge_until_done()) for _ in range(min(n_workers, max(expected, 1)))]
        restore = self._watch_signals()
        try:
            await self._until_stopped(self._collect(generation, len(workers)), workers)
        finally:
            restore()
            if generation is not None:
                generation.ask_to_stop()
                await asyncio.to_thread(generation.join, _JOIN_S)
                session.generating = generation.is_alive()
        if self._fault is not None:
            raise self._fault

    def _start_generation(self) -> GenerationThread | None:
        session = self._session
        engine = self._engine
        if engine is None or not (self._jobs or self._to_measure):
            return None
        loop = asyncio.get_running_loop()

        def deliver(response: Response | None, state: bool | BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: the run was stopped
                loop.call_soon_threadsafe(self._answers.put_nowait, (response, state))

        n_measured = sum(len(prompts) for prompts in self._to_measure.values())
        session.progress.start("generating", len(self._jobs) + n_measured)
        measurements = [
            partial(session.measurement, name, engine, prompts) for name, prompts in self._to_measure.items()
        ]
        thread = GenerationThread(engine, self._jobs, measurements, deliver)
        thread.start()
        return thread

    async def _collect(self, generation: GenerationThread | None, n_workers: int) -> None:
        """Write answers as they arrive and queue their judging; then tell the workers to end."""
        while generation is not None:
            response, state = await self._answers.get()
            if response is None:
                if isinstance(state, BaseException):
                    raise state
                break
            if not state:
                self._session.writer.append_turn(response)
                continue
            response = await self._session.annotated(response)
            self._session.writer.append(response)
            self._session.responses[response_key(response)] = response
            self._session.progress.advance("generating")
            for task in self._tasks_of(response.prompt_id) if response.sample == 0 else ():
                self._tasks.put_nowait(task)
        for _ in range(n_workers):
            self._tasks.put_nowait(None)

    async def _judge_until_done(self) -> None:
        session = self._session
        while not self._stopping.is_set():
            item = await self._tasks.get()
            if item is None or session.judge is None:
                return
            task, fresh = item
            judgment = await session.judge.judge(task, fresh=fresh)
            session.writer.append(judgment)
            self._n_unscored += not is_settled(judgment.verdict)
            session.progress.advance("judging", f"{self._n_unscored} not scored" if self._n_unscored else "")

    async def _until_stopped(self, collecting: Awaitable[None], workers: Iterable[asyncio.Task[None]]) -> None:
        """Wait for everything; after the first error start no new work and wait for what is in flight."""
        collector = asyncio.ensure_future(collecting)
        stopping = asyncio.create_task(self._stopping.wait())
        running: set[asyncio.Future[Any]] = {collector, *workers}
        while running and self._fault is None and not self._stopping.is_set():
            done, _ = await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            running -= done
            self._note_faults(done - {stopping})
        stopping.cancel()
        if not running:
            return
        self._stopping.set()
        collector.cancel()
        self._release_idle_workers(len(running))
        judge = self._session.plan.spec.judge
        grace_s = _BATCH_GRACE_S if judge is not None and judge.batch is not None else _GRACE_S
        done, late = await asyncio.wait(running, timeout=grace_s)
        self._note_faults(done)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _release_idle_workers(self, n_workers: int) -> None:
        """Empty the queue and wake the workers that wait for it."""
        while not self._tasks.empty():
            self._tasks.get_nowait()
        for _ in range(n_workers):
            self._tasks.put_nowait(None)

    def _note_faults(self, done: Iterable[asyncio.Future[Any]]) -> None:
        for task in done:
            if not task.cancelled() and task.exception() is not None and self._fault is None:
                self._fault = task.exception()

    def _watch_signals(self) -> Any:
        """Make the first SIGINT or SIGTERM stop the run in order; a second one has its default effect."""
        loop = asyncio.get_running_loop()
        watched = (signal.SIGINT, signal.SIGTERM)

        def stop(received: signal.Signals) -> None:
            self._fault = self._fault or Interrupted(
                f"stopped by {received.name}; everything obtained so far is in {self._session.writer.path}",
                remedy=f"`assay resume {self._session.writer.path}` continues the run",
            )
            self._stopping.set()
            for number in watched:
                loop.remove_signal_handler(number)

        def restore() -> None:
            for number in watched:
                loop.remove_signal_handler(number)

        try:
            for number in watched:
                loop.add_signal_handler(number, stop, number)
        except (NotImplementedError, ValueError, RuntimeError):
            return lambda: None  # not the main thread: the caller handles signals
        return restore

    def _n_tasks(self, job: Job) -> int:
        if job.sample:
            return 0  # only the first answer is judged
        planned = job.planned
        baseline = planned.baselines.get(job.prompt.id)
        stand_in = Response(
            prompt_id=job.prompt.id, benchmark="", model="", model_id="", turns=("",) * len(job.prompt.turns)
        )
        return len(planned.benchmark.tasks(job.prompt, stand_in, baseline))

    def _tasks_of(self, prompt_id: str) -> list[tuple[JudgeTask, bool]]:
        """Return the judge's missing tasks on a prompt, and whether each was asked before without a verdict."""
        session = self._session
        if session.judge is None:
            return []
        candidate = session.responses.get((prompt_id, "candidate", 0, ""))
        if candidate is None or not candidate.ok:
            return []
        planned = session.plan.benchmarks[candidate.benchmark]
        prompt = self._prompts[prompt_id]
        left = []
        for task in planned.benchmark.tasks(prompt, candidate, planned.baselines.get(prompt_id)):
            response_ids = [response.id for response in task.responses]
            key = task_key(session.judge_ids[task.form], prompt_id, response_ids, task.turn)
            scored = session.verdicts.get(key)
            if not scored:
                left.append((task, scored is False))
        return left
