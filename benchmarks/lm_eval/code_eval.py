"""The metric ``code_eval`` of lm-eval's code tasks, run in the sandbox.

The hub's metric is code that is downloaded when a task is imported, and it runs model-written programs in lm-eval's own
process. This one replaces it wherever a task asks for it by name. A verdict is pass@k of Chen et al. (2021),
arXiv 2107.03374, of one document's programs. Deviation: a program's time limit is `benchmarks.sandbox.code_checks`'s.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.sandbox import Limits, Outcome, Program, run_many
from benchmarks.sandbox.code_checks import HUMAN_EVAL_LIMITS, MBPP_LIMITS, human_eval_problem, mbpp_problem
from harness.errors import AssayError, FileFormatError, StatisticsError
from harness.hashing import content_hash


class NotMeasuredError(AssayError):
    """A program was not measured; the message is the reason."""


class CodeEval:
    """Replaces ``evaluate.load("code_eval")``.

    A task's own scoring code runs twice for each document: first to collect the programs it asks about, then, when the
    programs of all documents have been run side by side, with the verdicts.
    """

    def __init__(self) -> None:
        self._document: Mapping[str, Any] | None = None
        self._collecting: dict[str, tuple[Program, Limits]] | None = None
        self._outcomes: dict[str, Outcome] = {}
        self._lock = threading.RLock()

    def compute(
        self,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1,),
        **ignored: Any,
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Return pass@k, as the hub's metric does; outside a document (a task tries it on import), 0."""
        if self._document is None:
            return {f"pass@{n}": 0.0 for n in k}, {}
        asked = [
            [_program(self._document, candidate, test) for candidate in candidates]
            for candidates, test in zip(predictions, references, strict=True)
        ]
        if self._collecting is None:
            return self._figures(asked, k), {}
        self._collecting |= {_key(program): (program, limits) for each in asked for program, limits in each}
        return {f"pass@{n}": 0.0 for n in k}, {}

    def _figures(self, asked: Sequence[Sequence[tuple[Program, Limits]]], k: Sequence[int]) -> dict[str, float]:
        """Compute pass@k from the programs' outcomes, for each k that every problem has samples for."""
        counts = [(len(each), sum(self._passed(program) for program, _ in each)) for each in asked]
        fewest = min((n for n, _ in counts), default=0)
        return {
            f"pass@{wanted}": sum(pass_at_k(n, right, wanted) for n, right in counts) / len(counts)
            for wanted in k
            if wanted <= fewest
        }

    def _passed(self, program: Program) -> bool:
        outcome = self._outcomes[_key(program)]
        if not outcome.measured:
            raise NotMeasuredError(outcome.reason)
        return outcome.passed

    @contextlib.contextmanager
    def scoring(self, document: Mapping[str, Any]) -> Iterator[None]:
        """Score a document with the stored verdicts."""
        with self._lock:
            self._document = document
            try:
                yield
            finally:
                self._document = None

    def programs_of(self, document: Mapping[str, Any], score: Any) -> dict[str, tuple[Program, Limits]]:
        """Collect the programs that `score` asks about for a document."""
        with self.scoring(document):
            found: dict[str, tuple[Program, Limits]] = {}
            self._collecting = found
            try:
                score()
            finally:
                self._collecting = None
        return found

    def run(self, programs: Mapping[str, tuple[Program, Limits]], workers: int, allow_unsandboxed: bool) -> None:
        """Run programs and store their outcomes."""
        for limits in dict.fromkeys(limits for _, limits in programs.values()):
            chosen = {key: program for key, (program, wanted) in programs.items() if wanted == limits}
            keys = list(chosen)
            for number, outcome in run_many(chosen.values(), workers, limits, allow_unsandboxed=allow_unsandboxed):
                self._outcomes[keys[number]] = outcome

    def forget(self) -> None:
        """Drop the outcomes."""
        self._outcomes.clear()


CODE_EVAL = CodeEval()
"""The only instance: lm-eval keeps imported metrics for the life of the process."""


def _key(program: Program) -> str:
    return content_hash("program", program.source, program.test, list(program.names), program.given)


def _program(document: Mapping[str, Any], candidate: str, test: str) -> tuple[Program, Limits]:
    """Pair a candidate with its test, and name what the test takes from it if the document's fields say so."""
    if {"entry_point", "prompt", "canonical_solution", "test", "task_id"} <= set(document):
        problem = human_eval_problem(document)
        return Program(f"{candidate}\n", f"{test}\n", problem.names, problem.given), HUMAN_EVAL_LIMITS
    if {"test_list", "code", "task_id"} <= set(document):
        with contextlib.suppress(FileFormatError):
            # Only names and imports are read here; lm-eval decides which assertions count.
            row = {"test_setup_code": "", **document, "test_list": test.split("\n")}
            problem = mbpp_problem(row)
            return Program(f"{candidate}\n", f"{test}\n", problem.names, problem.given), MBPP_LIMITS
    return Program(f"{candidate}\n", f"{test}\n"), MBPP_LIMITS


def pass_at_k(n_samples: int, n_correct: int, k: int) -> float:
    """Estimate pass@k of one problem without bias, from n >= k samples.

    1 - C(n - c, k) / C(n, k), the chance that k of the n samples drawn without replacement hold a right one. The
    plug-in 1 - (1 - c / n)^k is biased low.

    Parameters
    ----------
    n_samples : int
        Samples taken, n.
    n_correct : int
        Right ones among them, c.
    k : int
        Samples a user would draw.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    StatisticsError
        Counts that cannot be, or fewer samples than k.

    References
    ----------
    Chen et al. (2021), Evaluating large language models trained on code, arXiv 2107.03374, equation 1.

    Examples
    --------
    >>> round(pass_at_k(5, 2, 2), 12)
    0.7
    """
    if k < 1:
        raise StatisticsError(f"k is {k}", "a whole number from 1 on")
    if not 0 <= n_correct <= n_samples:
        raise StatisticsError(f"{n_correct} of {n_samples} samples are right", "from 0 to all of them")
    if n_samples < k:
        raise StatisticsError(
            f"pass@{k} from {n_samples} samples of a problem", f"at least {k} samples of each", "take more samples"
        )
    n_wrong = n_samples - n_correct
    if n_wrong < k:
        return 1.0
    # C(n - c, k) / C(n, k) as a product of c factors below 1: the binomials themselves overflow.
    return 1.0 - float(np.prod(1.0 - k / np.arange(n_wrong + 1, n_samples + 1, dtype=np.float64)))


@contextlib.contextmanager
def replaced_code_eval() -> Iterator[None]:
    """Return `CODE_EVAL` to whatever loads the metric ``code_eval`` in the meantime."""
    import evaluate  # type: ignore[import-untyped]

    original = evaluate.load

    def load(path: str, *arguments: Any, **options: Any) -> Any:
        return CODE_EVAL if path == "code_eval" else original(path, *arguments, **options)

    evaluate.load = load
    try:
        yield
    finally:
        evaluate.load = original
