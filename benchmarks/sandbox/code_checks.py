"""How an answer to HumanEval or MBPP becomes a program and a verdict.

HumanEval: Chen et al. (2021), arXiv 2107.03374; openai/human-eval at 6d43fb9 (MIT). A sample is the prompt followed
by the completion; it is correct if the problem's ``check`` accepts the function named ``entry_point`` within 3
seconds.

MBPP: Austin et al. (2021), arXiv 2108.07732; google-research/mbpp (CC BY 4.0). A sample is the answer alone; it is
correct if each of the problem's assertions holds.

Deviation from upstream: the test runs in a process of its own, so that a program cannot tamper with it; where that
could change a verdict is listed in `docs/design/030-sandbox.md`. This module knows verdicts, not prompts: those are
lm-eval's (`benchmarks.lm_eval`).
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.sandbox import Limits, Outcome, Program
from harness.errors import FileFormatError

__all__ = [
    "HUMAN_EVAL_LIMITS",
    "MBPP_LIMITS",
    "CodeProblem",
    "code_of_answer",
    "human_eval_problem",
    "mbpp_problem",
    "verdict",
]

HUMAN_EVAL_LIMITS = Limits(cpu_s=3)
"""Upstream's 3 seconds (``evaluate_functional_correctness --timeout``), counted in processor time."""

MBPP_LIMITS = Limits(cpu_s=10)
"""Ours: one published solution (task 123) takes 2.5 s on a fast machine, and must not fail on a slow one."""


@dataclass(frozen=True, slots=True)
class CodeProblem:
    """What stays the same for every answer to a problem.

    Parameters
    ----------
    name : str
        ``HumanEval/0``, ``MBPP/11``.
    prefix : str
        What stands before the answer in the program.
    test : str
        What decides.
    names : tuple of str
        What the test takes from the program.
    given : str
        What else the test relies on, run beside it and not in the program: helper functions of a HumanEval prompt,
        imports of an MBPP solution.
    solution : str
        The published solution, to be put after `prefix`.
    """

    name: str
    prefix: str
    test: str
    names: tuple[str, ...]
    given: str
    solution: str

    def program(self, answer: str) -> Program:
        """Put an answer into the program that is run for it.

        Parameters
        ----------
        answer : str
            Code: what follows the prompt (HumanEval) or the whole of it (MBPP). A completion that repeats the
            prompt is one too, for the later definition counts.
        """
        return Program(f"{self.prefix}{answer}\n", self.test, self.names, self.given)


def human_eval_problem(
    row: Mapping[str, Any], path: str = "HumanEval.jsonl.gz", line: int | None = None
) -> CodeProblem:
    """Read a line of HumanEval.

    Parameters
    ----------
    row : mapping
        ``task_id``, ``prompt``, ``entry_point``, ``canonical_solution``, ``test``.
    path, line
        Where the row is from, for the error.

    Raises
    ------
    FileFormatError
        A field is missing or no string.
    """
    task, prompt, entry, solution, test = (
        _text(row, field, path, line) for field in ("task_id", "prompt", "entry_point", "canonical_solution", "test")
    )
    return CodeProblem(task, prompt, f"{test}\ncheck({entry})\n", (entry,), prompt, solution)


def mbpp_problem(row: Mapping[str, Any], path: str = "mbpp.jsonl", line: int | None = None) -> CodeProblem:
    """Read a problem of MBPP, of the full file or of the sanitized one.

    Parameters
    ----------
    row : mapping
        ``task_id``, ``code``, ``test_list``, and ``test_setup_code`` (full) or ``test_imports`` (sanitized).
    path, line
        Where the row is from, for the error.

    Raises
    ------
    FileFormatError
        A field is missing, of another type, or no Python.
    """
    code = _text(row, "code", path, line)
    number = row.get("task_id")
    if not isinstance(number, int):
        raise FileFormatError(path, line, f"task_id is {number!r}", "a whole number")
    setup = row.get("test_setup_code", "")
    tests = [*_texts(row, "test_list", path, line), ""]
    before = [*_texts(row, "test_imports", path, line, needed=False), *([setup] if setup else [])]
    test = "\n".join([*before, *tests])
    try:
        names, given = _used_of_solution(code, test)
    except (SyntaxError, ValueError) as error:
        raise FileFormatError(path, line, f"code or tests of problem {number} are no Python ({error})") from error
    return CodeProblem(f"MBPP/{number}", "", test, names, given, code)


def _text(row: Mapping[str, Any], field: str, path: str, line: int | None) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise FileFormatError(path, line, f"{field} is {value!r}", "a string")
    return value


def _texts(row: Mapping[str, Any], field: str, path: str, line: int | None, needed: bool = True) -> Sequence[str]:
    value = row.get(field, None if needed else [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise FileFormatError(path, line, f"{field} is {value!r}", "a list of strings")
    return value


def _used_of_solution(code: str, test: str) -> tuple[tuple[str, ...], str]:
    """What the test uses of the published solution: names that it defines, and imports.

    Some of the names are built-ins' (``sum``, ``max``). One test (596) relies on the solution's ``import sys``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escape sequences a later Python will refuse
        solution, checks = ast.parse(code), ast.parse(test)
    used = {node.id for node in ast.walk(checks) if isinstance(node, ast.Name)}
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    defined = {node.name for node in solution.body if isinstance(node, kinds)}
    imports = [
        ast.unparse(node)
        for node in solution.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and used & {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    ]
    return tuple(sorted(defined & used)), "\n".join(imports)


_PYTHON = frozenset({"", "py", "python", "python2", "python3"})


def code_of_answer(answer: str) -> str:
    """Take the code out of a chat model's answer.

    Parameters
    ----------
    answer : str
        Prose with fenced code, or code alone.

    Returns
    -------
    str
        The first fenced block that says it is Python or does not say what it is (to the end of the answer where the
        fence is never closed), else the whole answer.

    Notes
    -----
    Published figures of chat models rest on choices like this one; it is a version of the benchmark's, not a fact
    about the model.
    """
    text = answer.replace("\r\n", "\n")
    block: list[str] | None = None
    python = False
    for line in text.split("\n"):
        mark = line.strip()
        if not mark.startswith("```"):
            if block is not None:
                block.append(line)
        elif block is None:
            block, python = [], mark.strip("`").strip().lower() in _PYTHON
        elif python:
            return "\n".join(block)
        else:
            block = None
    return "\n".join(block) if block and python else text


def verdict(outcome: Outcome) -> bool | str:
    """Read an outcome as a score.

    Returns
    -------
    bool or str
        Whether the answer is correct, or why that has not been measured.
    """
    return outcome.passed if outcome.measured else outcome.reason
