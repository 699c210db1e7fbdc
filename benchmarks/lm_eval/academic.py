"""The six academic suites of Dong et al. (2024), "RLHF Workflow", arXiv 2405.07863, table 3, with the paper's shots.

GSM8K (Cobbe et al. 2021, arXiv 2110.14168), MMLU (Hendrycks et al. 2021, arXiv 2009.03300), HumanEval (Chen et al.
2021, arXiv 2107.03374), TruthfulQA (Lin et al. 2022, arXiv 2109.07958), ARC-Challenge (Clark et al. 2018, arXiv
1803.05457), MBPP (Austin et al. 2021, arXiv 2108.07732); task definitions of lm-eval 0.4.13 (MIT). The paper does not
say which of TruthfulQA's two scores it lists, so both are here.
"""

from __future__ import annotations

from functools import partial

from benchmarks.lm_eval.task import LMEvalTask
from benchmarks.lm_eval.task_options import TaskOptions
from harness.errors import UsageError
from harness.spec import BenchmarkSpec

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
"""The benchmarks that the name ``academic`` stands for."""


def _named(task: str, version: str | None = None) -> LMEvalTask:
    """Make a suite by its own name, with the paper's shots unless the options change them."""
    if version:
        raise UsageError(f"{task} has one version, that of the installed lm-eval", task, f"leave @{version} out")
    return LMEvalTask(task, TaskOptions(num_fewshot=SHOTS[task]))


gsm8k = partial(_named, "gsm8k")
"""Grade-school maths, 8 examples."""
mmlu = partial(_named, "mmlu")
"""57 subjects of multiple choice, 5 examples."""
humaneval = partial(_named, "humaneval")
"""164 Python functions to complete."""
truthfulqa_mc1 = partial(_named, "truthfulqa_mc1")
"""The one true answer among several."""
truthfulqa_mc2 = partial(_named, "truthfulqa_mc2")
"""The probability of all true answers."""
arc_challenge = partial(_named, "arc_challenge")
"""Science questions of multiple choice, 25 examples."""
mbpp = partial(_named, "mbpp")
"""500 short Python programs."""
