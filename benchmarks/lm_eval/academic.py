"""The six academic suites of Dong et al. (2024), "RLHF Workflow", arXiv 2405.07863, table 3, with the paper's shots.

GSM8K (Cobbe et al. 2021, arXiv 2110.14168), MMLU (Hendrycks et al. 2021, arXiv 2009.03300), HumanEval (Chen et al.
2021, arXiv 2107.03374), TruthfulQA (Lin et al. 2022, arXiv 2109.07958), ARC-Challenge (Clark et al. 2018, arXiv
1803.05457), MBPP (Austin et al. 2021, arXiv 2108.07732); task definitions of lm-eval 0.4.13 (MIT). The paper does not
say which of TruthfulQA's two scores it lists: both are here.
"""

from __future__ import annotations

from benchmarks.lm_eval.task import LMEvalTask
from benchmarks.lm_eval.task_options import TaskOptions
from harness.errors import UsageError
from harness.spec import BenchmarkSpec

__all__ = ["SHOTS", "SUITE", "arc_challenge", "gsm8k", "humaneval", "mbpp", "mmlu", "truthfulqa_mc1", "truthfulqa_mc2"]

SHOTS = {
    "gsm8k": 8,
    "mmlu": 5,
    "humaneval": 0,
    "truthfulqa_mc1": 0,
    "truthfulqa_mc2": 0,
    "arc_challenge": 25,
    "mbpp": 0,
}
"""lm-eval's names of the suites and the examples before each question."""

SUITE = tuple(BenchmarkSpec(name=f"lm_eval:{task}", options={"num_fewshot": shots}) for task, shots in SHOTS.items())
"""What the name ``academic`` stands for."""


def _named(task: str, version: str | None) -> LMEvalTask:
    """Make a suite by its own name, with the paper's shots unless the options say otherwise."""
    if version:
        raise UsageError(f"{task} comes in one version, that of the installed lm-eval", task, f"leave @{version} out")
    return LMEvalTask(task, TaskOptions(num_fewshot=SHOTS[task]))


def gsm8k(version: str | None = None) -> LMEvalTask:
    """Grade-school maths, 8 examples."""
    return _named("gsm8k", version)


def mmlu(version: str | None = None) -> LMEvalTask:
    """57 subjects of multiple choice, 5 examples."""
    return _named("mmlu", version)


def humaneval(version: str | None = None) -> LMEvalTask:
    """164 Python functions to complete."""
    return _named("humaneval", version)


def truthfulqa_mc1(version: str | None = None) -> LMEvalTask:
    """The one true answer among several."""
    return _named("truthfulqa_mc1", version)


def truthfulqa_mc2(version: str | None = None) -> LMEvalTask:
    """The probability of all true answers."""
    return _named("truthfulqa_mc2", version)


def arc_challenge(version: str | None = None) -> LMEvalTask:
    """Science questions of multiple choice, 25 examples."""
    return _named("arc_challenge", version)


def mbpp(version: str | None = None) -> LMEvalTask:
    """500 short Python programs."""
    return _named("mbpp", version)
