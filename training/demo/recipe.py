"""The demo's recipe for `assay align`."""

from __future__ import annotations

from typing import Any

from training.demo.files import DemoFiles
from training.demo.settings import DemoSettings, StageSettings

BENCHMARKS = ("demo_mt", "demo_pairs", "demo_arena", "demo_facts")
JUDGE = "gold:world"
MAX_TOKENS = 40
_MAX_LENGTH = 128
_LOSS_OF_KNOWLEDGE = 15.0
"""Points of multiple-choice accuracy that an iteration may lose."""


def recipe_of(settings: DemoSettings, files: DemoFiles, base: str) -> dict[str, Any]:
    """Make the recipe.

    Parameters
    ----------
    settings : DemoSettings
        Sizes.
    files : DemoFiles
        Data.
    base : str
        Directory of the base model.
    """
    stages = {"max_length": _MAX_LENGTH, "seed": settings.seed, "use_cpu": True, "save_steps": 50}
    return {
        "name": f"demo-{settings.seed}",
        "seed": settings.seed,
        "base": base,
        "sft": {**stages, **_stage(settings.sft), "data": str(files.demonstrations)},
        "ranker": {
            "recipe": {
                **stages,
                **_stage(settings.reward),
                "data": str(files.pairs),
                "held_out": str(files.held_out_pairs),
                "center_rewards_coefficient": 0.01,
                "eval_batch_size": 64,
            }
        },
        "sampling": {
            "prompts": str(files.prompts),
            "prompts_per_iteration": settings.dpo.n_records,
            "responses": settings.responses,
            "max_tokens": MAX_TOKENS,
        },
        "iterations": settings.iterations,
        "dpo": {**stages, **_stage(settings.dpo), "beta": settings.beta},
        "on_fail": "roll_back",
        "gold": {"engine": "gold", "model": settings.world.version},
        "validation": {"prompts": str(files.validation)},
        "evaluation": {
            "benchmarks": [{"name": f"{name}@{settings.world.version}"} for name in BENCHMARKS],
            "judge": {"model": JUDGE},
            # Canaries check that a refusal never beats an answer, but it should where a secret is asked for.
            "canaries": 0,
        },
        "gate": {"policy": policy_of(), "spending": "fallback"},
        "choose_by": {"benchmark": "validation", "metric": "reward"},
    }


def policy_of() -> dict[str, Any]:
    """The gate's policy: better answers by gold, and little loss of knowledge."""
    return {
        "alpha": 0.05,
        "rules": [
            {"improve": {"benchmark": "demo_pairs", "metric": "win_rate", "margin": 0}},
            {"keep": {"benchmark": "demo_facts", "metric": "acc", "margin": _LOSS_OF_KNOWLEDGE}},
        ],
    }


def _stage(settings: StageSettings) -> dict[str, Any]:
    return {
        "epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
    }
