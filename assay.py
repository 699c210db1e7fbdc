"""Evaluate and gate aligned language models: whether a checkpoint is better, by how much, and may be promoted.

Public names are loaded on first use, so importing the module is cheap::

    import assay

    spec = assay.RunSpec(model="./checkpoint", benchmarks=["mt_bench"], judge="openai:gpt-4.1")
    scores = assay.run(spec, out="runs/checkpoint")
    print(scores.valid, scores.row("mt_bench", "score").value)

``python -m assay`` runs the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api import compare, resume, run, score
    from harness.errors import AssayError
    from harness.spec import BenchmarkSpec, JudgeSpec, ModelSpec, RunSpec, load_spec

__all__ = [
    "AssayError",
    "BenchmarkSpec",
    "JudgeSpec",
    "ModelSpec",
    "RunSpec",
    "compare",
    "load_spec",
    "resume",
    "run",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    from harness import api, errors, spec

    return next(getattr(module, name) for module in (api, errors, spec) if hasattr(module, name))


def __dir__() -> list[str]:
    return sorted(__all__)


if __name__ == "__main__":
    import sys

    from harness.cli import main

    sys.exit(main())
