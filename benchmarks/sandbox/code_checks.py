"""Answers to HumanEval and MBPP as programs with a test.

HumanEval: Chen et al. (2021), arXiv 2107.03374; openai/human-eval at 6d43fb9 (MIT). A sample is the prompt followed
by the completion; it is correct if the problem's ``check`` accepts the function named ``entry_point`` within 3
seconds.

MBPP: Austin et al. (2021), arXiv 2108.07732; google-research/mbpp (CC BY 4.0). A sample is the answer alone; it is
correct if each of the problem's assertions holds.

Deviation from upstream: the test runs in a process of its own, so that a program cannot tamper with it;
`docs/design/030-sandbox.md` lists where that could change a verdict. Prompts are lm-eval's (`benchmarks.lm_eval`).
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.sandbox import Limits, Program
from harness.errors import FileFormatError

HUMAN_EVAL_LIMITS = Limits(cpu_s=3)
"""Upstream's 3 seconds (``evaluate_functional_correctness --timeout``), counted in processor time."""

MBPP_LIMITS = Limits(cpu_s=10)
"""Our limit: a published solution (task 123) takes 2.5 s on a fast machine, and must not fail on a slow one."""


_HUMAN_EVAL, _MBPP = "HumanEval.jsonl.gz", "mbpp.jsonl"


@dataclass(frozen=True, slots=True)
class CodeProblem:
    """A problem: what is the same for every answer to it.

    Parameters
    ----------
    name : str
        ``HumanEval/0``, ``MBPP/11``.
    prefix : str
        Code before the answer in the program.
    test : str
        Code that decides.
    names : tuple of str
        Names the test takes from the program.
    given : str
        Other code the test relies on, run with the test and not in the program: helper functions of a HumanEval
        prompt, imports of an MBPP solution.
    solution : str
        The published solution, which follows `prefix`.
    """

    name: str
    prefix: str
    test: str
    names: tuple[str, ...]
    given: str
    solution: str

    def program(self, answer: str) -> Program:
        """Build the program for an answer.

        Parameters
        ----------
        answer : str
            Code: the continuation of the prompt (HumanEval) or the whole program (MBPP). A completion that repeats the
            prompt works too, since the later definition counts.
        """
        return Program(f"{self.prefix}{answer}\n", self.test, self.names, self.given)


def human_eval_problem(row: Mapping[str, Any]) -> CodeProblem:
    """Read a line of HumanEval.

    Parameters
    ----------
    row : mapping
        ``task_id``, ``prompt``, ``entry_point``, ``canonical_solution``, ``test``.

    Raises
    ------
    FileFormatError
        A field is missing or not a string.
    """
    fields = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
    task, prompt, entry, solution, test = (_text(row, field, _HUMAN_EVAL) for field in fields)
    return CodeProblem(task, prompt, f"{test}\ncheck({entry})\n", (entry,), prompt, solution)


def mbpp_problem(row: Mapping[str, Any]) -> CodeProblem:
    """Read a problem of MBPP, of the full file or of the sanitized one.

    Parameters
    ----------
    row : mapping
        ``task_id``, ``code``, ``test_list``, and ``test_setup_code`` (full) or ``test_imports`` (sanitized).

    Raises
    ------
    FileFormatError
        A field is missing, of another type, or not valid Python.
    """
    code = _text(row, "code", _MBPP)
    number = row.get("task_id")
    if not isinstance(number, int):
        raise FileFormatError(_MBPP, None, f"task_id is {number!r}", "a whole number")
    setup = row.get("test_setup_code", "")
    tests = [*_texts(row, "test_list"), ""]
    before = [*_texts(row, "test_imports", []), *([setup] if setup else [])]
    test = "\n".join([*before, *tests])
    try:
        names, given = _used_of_solution(code, test)
    except (SyntaxError, ValueError) as error:
        raise FileFormatError(
            _MBPP, None, f"code or tests of problem {number} are not valid Python ({error})"
        ) from error
    return CodeProblem(f"MBPP/{number}", "", test, names, given, code)


def _text(row: Mapping[str, Any], field: str, path: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise FileFormatError(path, None, f"{field} is {value!r}", "a string")
    return value


def _texts(row: Mapping[str, Any], field: str, otherwise: Any = None) -> Sequence[str]:
    value = row.get(field, otherwise)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise FileFormatError(_MBPP, None, f"{field} is {value!r}", "a list of strings")
    return value


def _used_of_solution(code: str, test: str) -> tuple[tuple[str, ...], str]:
    """Find what the test uses of the published solution: the names it defines, and its imports.

    Some of the names are also built-ins (``sum``, ``max``). One test (596) relies on the solution's ``import sys``.
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
