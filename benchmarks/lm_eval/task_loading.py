"""From a task's name to its documents: lm-eval's definitions, on the datasets that `GivenData` provides."""

from __future__ import annotations

import contextlib
import io
import logging
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.lm_eval.code_eval import CODE_EVAL, replaced_code_eval
from benchmarks.lm_eval.datasets import GivenData, Served
from benchmarks.lm_eval.task_options import TaskOptions
from benchmarks.lm_eval.task_records import version_of
from harness.errors import AssayError, FileFormatError, UnknownNameError, UsageError, nearest
from harness.protocols import DataSource

_FOLDERS = {
    "gsm8k": "gsm8k",
    "mmlu": "mmlu/default",
    "humaneval": "humaneval",
    "mbpp": "mbpp",
    "truthfulqa_mc1": "truthfulqa",
    "truthfulqa_mc2": "truthfulqa",
    "arc_challenge": "arc",
    "arc_easy": "arc",
}
"""Folders of lm-eval's tasks; without them it indexes thousands of files, which takes seconds."""
_N_NAMES_SHOWN = 8


GroupFigure = tuple[str, str, bool]
"""lm-eval's name of a group, the metric averaged, and whether each task counts the same instead of each document."""


@dataclass(frozen=True)
class LoadedTask:
    """A task, or a group of tasks.

    Parameters
    ----------
    name : str
        lm-eval's name.
    tasks : dict of str to Task
        The task, or the group's tasks, by name.
    groups_of : dict of str to list of GroupFigure
        The group figures each task's documents go into, the whole group's first.
    is_group : bool
        Whether `name` is a group.
    version : str
        What makes its prompts comparable.
    served : list of Served
        The datasets it was given.
    """

    name: str
    tasks: dict[str, Any]
    groups_of: dict[str, list[GroupFigure]]
    is_group: bool
    version: str
    served: list[Served] = field(default_factory=list)

    @property
    def runs_code(self) -> bool:
        """Whether the task runs code that the model wrote."""
        return any(getattr(task, "UNSAFE_CODE", False) for task in self.tasks.values())

    def limit_tokens(self, max_tokens: int) -> None:
        """Override the task's limit on new tokens."""
        for task in self.tasks.values():
            if task.OUTPUT_TYPE == "generate_until":
                task.set_config(key="generation_kwargs", value={"max_gen_toks": max_tokens}, update=True)

    @property
    def is_sandboxed(self) -> bool:
        """Whether all of that code runs through `CODE_EVAL`."""
        return all(_uses_code_eval(t) for t in self.tasks.values() if getattr(t, "UNSAFE_CODE", False))


def load_task(name: str, options: TaskOptions, data: DataSource) -> LoadedTask:
    """Build a task and read its documents.

    Parameters
    ----------
    name : str
        lm-eval's name of a task or a group.
    options : TaskOptions
        Changes to the task's own settings.
    data : DataSource
        Where datasets come from.

    Raises
    ------
    UnknownNameError
        lm-eval has no such task; the nearest names are given.
    MissingDataError, FileFormatError
        Its data are unavailable, or lack a field.
    UsageError
        It needs a package that is not installed, is a tag of several tasks, or shows more than text.
    """
    with _quiet():
        manager = _manager(name, options)
        if name in manager.all_tags:
            entry = manager.task_index[name]
            raise UsageError(
                f"{name} is a tag of several tasks without a common figure", ", ".join(sorted(entry.tags)), "name one"
            )
        given = GivenData(data, options.data, options.num_fewshot)
        with _explained(name, given), given.in_place(), replaced_code_eval(), _seeded():
            loaded = manager.load([name])
            for task in loaded["tasks"].values():
                _configure(task, options)
            _try_first_documents(loaded["tasks"])
    tasks = dict(loaded["tasks"])
    if any(getattr(task, "MULTIMODAL", False) for task in tasks.values()):
        raise UsageError(f"{name} shows images or plays sounds", "tasks of text alone", "run it with lm-eval")
    groups = loaded.get("groups") or {}
    root = groups.get(name)
    version = root.version if root is not None else next(iter(tasks.values())).VERSION
    shots = max(int(task.get_config("num_fewshot") or 0) for task in tasks.values())
    described = version_of(
        version,
        shots,
        chat_template=options.apply_chat_template,
        fewshot_as_multiturn=options.fewshot_as_multiturn,
        system_instruction=options.system_instruction,
    )
    return LoadedTask(name, tasks, _groups_of(name, tasks, groups), root is not None, described, given.served)


def _manager(name: str, options: TaskOptions) -> Any:
    """Build lm-eval's index, of one folder if that is enough, and look the name up."""
    import lm_eval.tasks

    if name in _FOLDERS and options.include_path is None:
        folder = Path(lm_eval.tasks.__file__).parent / _FOLDERS[name]
        manager = lm_eval.tasks.TaskManager(include_path=str(folder), include_defaults=False)
        if name in manager.all_tasks:
            return manager
    manager = lm_eval.tasks.TaskManager(include_path=options.include_path)
    if name not in manager.all_tasks:
        raise _unknown(name, manager.all_tasks)
    return manager


def _unknown(name: str, known: list[str]) -> UsageError:
    import difflib

    close = difflib.get_close_matches(name, known, n=_N_NAMES_SHOWN, cutoff=0.6)
    close = list(dict.fromkeys([*close, *[k for k in known if k.startswith(name)]]))[:_N_NAMES_SHOWN]
    error = UnknownNameError("lm-eval task", name, close or known[:_N_NAMES_SHOWN])
    error.allowed = f"one of lm-eval's {len(known)} names, as listed by `lm-eval ls tasks`"
    if close:
        error.allowed += "; nearest: " + ", ".join(close)
    error.remedy = f"did you mean {nearest(name, close) or close[0]}?" if close else ""
    return error


def _configure(task: Any, options: TaskOptions) -> None:
    """Apply the settings that ``simple_evaluate`` applies."""
    shots = task.get_config("num_fewshot")
    if options.num_fewshot is not None and shots != 0:
        task.set_config(key="num_fewshot", value=options.num_fewshot)
    elif options.num_fewshot:
        raise UsageError(
            f"{task.task_name} is defined with 0 examples, and lm-eval takes no other number",
            "num_fewshot 0",
            "leave num_fewshot out",
        )
    elif shots is None:
        task.set_config(key="num_fewshot", value=0)
    if task.OUTPUT_TYPE == "generate_until" and options.gen_kwargs:
        task.set_config(key="generation_kwargs", value=dict(options.gen_kwargs), update=True)
    task.set_fewshot_seed(seed=options.fewshot_seed)


def _try_first_documents(tasks: dict[str, Any]) -> None:
    """Render a document of each task, so that a field missing from the data is found before a model is asked."""
    for task in tasks.values():
        document = next(iter(task.eval_docs))
        task.doc_to_text(document)
        task.doc_to_target(document)
        if getattr(task.config, "doc_to_choice", None) is not None:
            task.doc_to_choice(document)


def _groups_of(name: str, tasks: Iterable[str], groups: dict[str, Any]) -> dict[str, list[GroupFigure]]:
    """List the group figures each task goes into: those of the whole group, then of the groups directly below it."""
    figures: dict[str, list[GroupFigure]] = {task: [] for task in tasks}
    if name in groups:
        for group in (groups[name], *groups[name].get_all_groups(recursive=False)):
            for member in group.get_all_tasks():
                figures[member.task_name] += [
                    (group.name, config.metric, not config.weight_by_size)
                    for config in group.aggregate_metric_list or ()
                ]
    return figures


def _uses_code_eval(task: Any) -> bool:
    functions = [*getattr(task, "_metric_fn_list", {}).values(), task.get_config("process_results")]
    inner = [getattr(f, "__self__", f) for f in functions if callable(f)]
    return any(value is CODE_EVAL for f in inner for value in getattr(f, "__globals__", {}).values())


@contextlib.contextmanager
def _explained(name: str, given: GivenData) -> Iterator[None]:
    """Turn what a task raises on unsuitable data or missing packages into one clear error."""
    import jinja2

    try:
        yield
    except AssayError:
        raise
    except (ImportError, jinja2.UndefinedError, KeyError, IndexError, AttributeError, TypeError, ValueError) as error:
        package = missing_package(error)
        if package is not None:
            raise UsageError(
                f"the task {name} needs a package that is not installed: {package}",
                remedy=f"pip install {package}, or `pip install 'lm-eval[...]'` with the extra the task's page names",
            ) from error
        last = given.served[-1] if given.served else None
        if last is None:
            raise UsageError(f"lm-eval cannot build the task {name}: {type(error).__name__}: {error}") from error
        raise FileFormatError(
            last.source,
            None,
            f"the task {name} does not find what it needs: {type(error).__name__}: {error}",
            f"the fields and splits of {last.path}" + (f" ({last.name})" if last.name else ""),
            f"there are the splits {', '.join(last.splits)} with the fields {', '.join(last.fields)}",
        ) from error


def missing_package(error: BaseException | None) -> str | None:
    """Return the package whose absence caused an error; None if that was not the cause."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name.partition(".")[0]
        if isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError):
            return str(error).strip().splitlines()[0][:200]
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Seed `random` as ``simple_evaluate`` does, for tasks that shuffle their documents; restore it afterwards."""
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the logs and progress bars of lm-eval and datasets off the terminal."""
    import lm_eval  # noqa: F401 - its import sets its loggers' levels
    from datasets.utils import logging as datasets_logging

    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets", "lm_eval.api.task")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    bars = datasets_logging.is_progress_bar_enabled()
    datasets_logging.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        if bars:
            datasets_logging.enable_progress_bar()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
