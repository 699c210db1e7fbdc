"""Ask an engine about the documents of a task, and let lm-eval's own code score the answers.

The inner loop is ``lm_eval.evaluator.evaluate``'s (0.4.13), document by document instead of all at the end: prompts in
upstream's order (the examples of a prompt are drawn from one random stream), filters, ``process_results``.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lm_eval.api.metrics import mean
from lm_eval.utils import handle_non_serializable, hash_string

from benchmarks.lm_eval.adapter import EngineLM
from benchmarks.lm_eval.code_eval import CODE_EVAL, NotMeasuredError
from benchmarks.lm_eval.task_loading import LoadedTask, missing_package
from benchmarks.lm_eval.task_options import TaskOptions
from benchmarks.lm_eval.task_records import VALUES, document_key, document_text, metric_name
from benchmarks.sandbox import NotAvailable, available
from harness.engines.base import Engine
from harness.errors import UsageError
from harness.hashing import content_hash
from harness.protocols import MeasureContext
from harness.records import Prompt, Response

from benchmarks.lm_eval.requests import Answer, Ask  # isort: skip

_PAIRED = ("word_perplexity", "byte_perplexity", "bits_per_byte")
"""Metrics whose values are a log-likelihood and the size it is divided by."""
_SUMMED = ("perplexity",)


@dataclass
class _Document:
    """A document being measured: its requests, and the answers so far."""

    prompt: Prompt
    task: Any
    doc: Any
    instances: list[Any]
    parts: list[list[int]] = field(default_factory=list)
    """For each instance the positions of its requests; several for repeats and windows."""
    answers: dict[int, Answer] = field(default_factory=dict)
    n_open: int = 0


def prompts_of(loaded: LoadedTask, benchmark: str) -> list[Prompt]:
    """Make a prompt of each document; a group's tasks alternate, so that the first N prompts cover all of them."""
    rounds: list[tuple[int, int, Prompt]] = []
    for order, (name, task) in enumerate(loaded.tasks.items()):
        for doc_id, doc in enumerate(task.eval_docs):
            rounds.append((doc_id, order, _prompt(loaded, benchmark, name, task, doc_id, doc)))
    return [prompt for _, _, prompt in sorted(rounds, key=lambda entry: entry[:2])]


def _prompt(loaded: LoadedTask, benchmark: str, name: str, task: Any, doc_id: int, doc: Any) -> Prompt:
    as_json = json.loads(json.dumps(doc, default=handle_non_serializable))
    text = document_text(as_json) if isinstance(as_json, dict) else str(as_json)
    doc_hash = hash_string(json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False))
    meta: dict[str, Any] = {"task": name, "doc_id": doc_id, **_size_of(task, doc)}
    if loaded.groups_of[name]:
        meta["groups"] = [list(figure) for figure in loaded.groups_of[name]]
    return Prompt(
        benchmark=benchmark,
        version=loaded.version,
        key=document_key(name, benchmark, doc_id, doc_hash),
        turns=(text,),
        reference=(_text_of(task.doc_to_target(doc)),),
        category=name if loaded.is_group else None,
        cluster=str(doc_id) if name == benchmark else f"{name}:{doc_id}",
        meta=meta,
    )


def _size_of(task: Any, doc: Any) -> dict[str, int]:
    """Say what a document costs: the number of log-likelihoods, or of tokens at most."""
    if task.OUTPUT_TYPE == "multiple_choice":
        return {"n_scored": len(task.doc_to_choice(doc))}
    if task.OUTPUT_TYPE == "generate_until":
        settings = task.get_config("generation_kwargs") or {}
        repeats = int(task.get_config("repeats") or 1)
        return {"n_generated": repeats, "max_tokens": repeats * int(settings.get("max_gen_toks", 256))}
    return {"n_scored": 1}


def measure_task(
    loaded: LoadedTask, options: TaskOptions, prompts: Sequence[Prompt], context: MeasureContext
) -> Iterator[Response]:
    """Measure documents, yielding each as its answers are complete.

    Raises
    ------
    UsageError
        The engine cannot generate or score text, or the task runs code in a way that cannot be confined.
    ModelError
        The engine failed; answers so far are kept in `context.work`.
    """
    engine = context.engine
    if not isinstance(engine, Engine):
        raise UsageError(
            f"{loaded.name} needs an engine that writes and scores text", "hf, vllm, openai", "leave it out"
        )
    refusal = _code_refusal(loaded, context)
    lm = EngineLM(engine, context.work / "answers.jsonl", context.seed)
    recorder = _Recorder(loaded, options, context.model, _model_id(engine, loaded, options))
    try:
        if refusal:
            yield from (recorder.failed(prompt, refusal) for prompt in prompts)
            return
        documents, asks = _documents(loaded, options, prompts, lm)
        if loaded.runs_code:
            yield from _measure_code(recorder, documents, asks, lm, context.allow_unsandboxed_code)
        else:
            for document in _completed(documents, asks, lm):
                yield recorder.response(document)
    finally:
        lm.close()


def _model_id(engine: Engine, loaded: LoadedTask, options: TaskOptions) -> str:
    settings = {
        name: dict(task.get_config("generation_kwargs") or {}) if task.OUTPUT_TYPE == "generate_until" else {}
        for name, task in loaded.tasks.items()
    }
    measured = options.model_dump(mode="json", exclude={"code_workers", "data", "include_path"})
    return content_hash("model and task", engine.fingerprint.model_id, loaded.version, measured, settings)


def _code_refusal(loaded: LoadedTask, context: MeasureContext) -> str:
    """Say why the task's code cannot be run; "" if it can or there is none.

    Raises
    ------
    UsageError
        The task runs code by itself, in this process.
    """
    if not loaded.runs_code:
        return ""
    if not loaded.is_sandboxed and not context.allow_unsandboxed_code:
        raise UsageError(
            f"{loaded.name} runs what the model wrote in lm-eval's own process",
            "tasks that check code with code_eval, which assay runs in a sandbox (humaneval, mbpp and their kin)",
            "leave it out, or give --allow-unsandboxed-code",
        )
    found = available()
    if isinstance(found, NotAvailable) and not context.allow_unsandboxed_code:
        return (
            f"no sandbox for model-written code ({found.reason}); install bubblewrap, or give --allow-unsandboxed-code"
        )
    return ""


def _documents(
    loaded: LoadedTask, options: TaskOptions, prompts: Sequence[Prompt], lm: EngineLM
) -> tuple[list[_Document], list[Ask]]:
    """Render the documents' prompts and list their requests."""
    wanted: dict[str, dict[int, Prompt]] = {name: {} for name in loaded.tasks}
    for prompt in prompts:
        wanted[prompt.meta["task"]][int(prompt.meta["doc_id"])] = prompt
    documents: list[_Document] = []
    asks: list[Ask] = []
    for name, task in loaded.tasks.items():
        task.set_fewshot_seed(seed=options.fewshot_seed)
        for prompt, instances in _rendered(task, name, options, wanted[name], lm):
            document = _Document(prompt, task, instances[0].doc, instances)
            for instance in instances:
                found = _asks_of(instance, lm)
                document.parts.append(list(range(len(asks), len(asks) + len(found))))
                asks += found
            document.n_open = sum(len(part) for part in document.parts)
            documents.append(document)
    return documents, asks


def _rendered(
    task: Any, name: str, options: TaskOptions, wanted: Mapping[int, Prompt], lm: EngineLM
) -> Iterator[tuple[Prompt, list[Any]]]:
    """Render documents in order up to the last one wanted: all examples are drawn from one random stream."""
    if not wanted:
        return
    template = lm.apply_chat_template if options.apply_chat_template else None
    for doc_id, doc in task.doc_iterator(limit=max(wanted) + 1):
        text = task.fewshot_context(
            doc,
            num_fewshot=task.get_config("num_fewshot") or 0,
            system_instruction=options.system_instruction,
            apply_chat_template=options.apply_chat_template,
            fewshot_as_multiturn=options.fewshot_as_multiturn,
            chat_template=template,
            gen_prefix=task.doc_to_prefix(doc),
        )
        if doc_id not in wanted:
            continue
        instances = task.construct_requests(
            doc=doc,
            ctx=text,
            metadata=(name, doc_id, task.config.repeats),
            apply_chat_template=options.apply_chat_template,
            chat_template=template,
        )
        yield wanted[doc_id], instances if isinstance(instances, list) else [instances]


def _asks_of(instance: Any, lm: EngineLM) -> list[Ask]:
    if instance.request_type == "loglikelihood_rolling":
        return list(lm.windows_of(instance))
    return [lm.ask_of(instance, sample) for sample in range(instance.repeats or 1)]


def _completed(documents: Sequence[_Document], asks: Sequence[Ask], lm: EngineLM) -> Iterator[_Document]:
    """Send all requests at once and yield each document when its last answer arrives."""
    owner = {place: document for document in documents for part in document.parts for place in part}
    for place, answer in lm.asker.answers(asks):
        document = owner[place]
        document.answers[place] = answer
        document.n_open -= 1
        if document.n_open == 0:
            yield document


def _measure_code(
    recorder: _Recorder, documents: Sequence[_Document], asks: Sequence[Ask], lm: EngineLM, allow_unsandboxed: bool
) -> Iterator[Response]:
    """Generate everything, run all programs side by side, then record."""
    done = list(_completed(documents, asks, lm))
    programs: dict[str, Any] = {}
    for document in done:
        if not recorder.fault_of(document):
            programs |= CODE_EVAL.programs_of(document.doc, lambda document=document: recorder.values_of(document))
    CODE_EVAL.run(programs, recorder.options.code_workers, allow_unsandboxed)
    for document in done:
        with CODE_EVAL.scoring(document.doc):
            response = recorder.response(document)
        yield response
    CODE_EVAL.forget()


@dataclass(frozen=True)
class _Recorder:
    """Turns complete documents into responses."""

    loaded: LoadedTask
    options: TaskOptions
    model: str
    model_id: str

    def failed(self, prompt: Prompt, error: str, retryable: bool = True) -> Response:
        """Record that a document could not be measured."""
        return Response.to(prompt, self.model, self.model_id, finish="error", error=error, retryable=retryable)

    def fault_of(self, document: _Document) -> Answer | None:
        """Find the first answer that failed."""
        return next((a for _, a in sorted(document.answers.items()) if a.error), None)

    def response(self, document: _Document) -> Response:
        """Record what was measured of a document, or why nothing was."""
        fault = self.fault_of(document)
        if fault is not None:
            return self.failed(document.prompt, fault.error, fault.retryable)
        try:
            values, filtered = self.values_of(document)
        except NotMeasuredError as error:
            return self.failed(document.prompt, str(error))
        answers = [document.answers[place] for part in document.parts for place in part]
        meta: dict[str, Any] = {**values, "filtered": filtered, **_choices_of(document)}
        meta |= _cut_of(answers)
        shown, n_tokens = _shown(document, answers)
        return Response.to(
            document.prompt,
            self.model,
            self.model_id,
            turns=(shown,),
            finish="length" if any(a.finish == "length" for a in answers) else "stop",
            n_tokens=(n_tokens,),
            meta=meta,
        )

    def values_of(self, document: _Document) -> tuple[dict[str, Any], dict[str, Any]]:
        """Let the task filter and score the answers, as ``evaluate`` does."""
        task = document.task
        for instance, places in zip(document.instances, document.parts, strict=True):
            instance.resps = _responses(instance, [document.answers[place] for place in places])
        for one in task._filters:
            one.apply(document.instances)
        filters = list(document.instances[0].filtered_resps)
        kept: dict[str, dict[str, Any]] = {VALUES: {}, "log_likelihoods": {}, "not_kept": {}}
        filtered: dict[str, Any] = {}
        for name in filters:
            given = [instance.filtered_resps[name] for instance in document.instances]
            found = self._results(task, document.doc, given)
            for metric, value in found.items():
                self._keep(kept, task, metric, metric_name(metric, name, filters), value)
            filtered[name] = _plain(given if len(given) > 1 else given[0])
        return {key: value for key, value in kept.items() if value}, filtered

    def _results(self, task: Any, doc: Any, given: list[Any]) -> dict[str, Any]:
        try:
            return dict(task.process_results(doc, given))
        except ImportError as error:
            package = missing_package(error)
            raise UsageError(f"{self.loaded.name} needs a package that is not installed: {package}") from error

    def _keep(self, kept: dict[str, dict[str, Any]], task: Any, metric: str, name: str, value: Any) -> None:
        """Store a value by how lm-eval aggregates it."""
        if metric in _PAIRED and isinstance(value, tuple):
            kept["log_likelihoods"][name] = [float(value[0]), float(value[1])]
        elif metric in _SUMMED:
            kept["log_likelihoods"][name] = [float(value), 1.0]
        elif task.aggregation().get(metric, mean) is mean and _is_number(value):
            kept[VALUES][name] = float(value)
        else:
            function = task.aggregation().get(metric)
            kept["not_kept"][name] = getattr(function, "__name__", str(function))


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | np.number) and math.isfinite(float(value))


def _responses(instance: Any, answers: Sequence[Answer]) -> list[Any]:
    """Convert an instance's answers to what lm-eval's models return."""
    if instance.request_type == "generate_until":
        return [answer.text or "" for answer in answers]
    if instance.request_type == "loglikelihood_rolling":
        return [sum(answer.logprob or 0.0 for answer in answers)]
    return [(answer.logprob, bool(answer.is_greedy)) for answer in answers]


def _choices_of(document: _Document) -> dict[str, Any]:
    """Keep the log-likelihoods of the choices, from which calibration is computed."""
    task = document.task
    if task.OUTPUT_TYPE != "multiple_choice":
        return {}
    choices = task.doc_to_choice(document.doc)
    logprobs = [document.answers[part[0]].logprob for part in document.parts[: len(choices)]]
    kept: dict[str, Any] = {"logprobs": logprobs}
    gold = _right_choice(task, document.doc, choices)
    if gold is not None:
        kept["gold"] = gold
        if "acc_norm" in getattr(task, "_metric_fn_list", {}):
            kept["n_characters"] = [len(choice) for choice in choices]
    return {"choices": kept}


def _right_choice(task: Any, doc: Any, choices: Sequence[str]) -> int | None:
    """Return the position of the one right choice; None if the task scores its choices in another way."""
    if getattr(task, "multiple_input", 0) or task.get_config("process_results") is not None:
        return None
    gold = task.doc_to_target(doc)
    if isinstance(gold, str) and gold in choices:
        return choices.index(gold)
    return gold if isinstance(gold, int) and 0 <= gold < len(choices) else None


def _cut_of(answers: Sequence[Answer]) -> dict[str, int]:
    """Record how many tokens were cut from the prompt, and a limit on new tokens that had to be lowered."""
    n_cut = max(answer.n_cut for answer in answers)
    lowered = [answer.max_tokens for answer in answers if answer.max_tokens is not None]
    return ({"n_cut": n_cut} if n_cut else {}) | ({"max_tokens": min(lowered)} if lowered else {})


def _shown(document: _Document, answers: Sequence[Answer]) -> tuple[str, int | None]:
    """Return the answer to show: the text, or the choice with the highest log-likelihood."""
    if document.instances[0].request_type == "generate_until":
        return answers[0].text or "", answers[0].n_tokens
    if document.task.OUTPUT_TYPE != "multiple_choice":
        return "", None
    choices = document.task.doc_to_choice(document.doc)
    best = max(range(len(choices)), key=lambda i: document.answers[document.parts[i][0]].logprob or -math.inf)
    return str(choices[best]), None


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Convert whatever a task's filter returns to JSON."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    with contextlib.suppress(TypeError, ValueError):
        json.dumps(value)
        return value
    return str(value)
