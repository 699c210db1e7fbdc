"""The demo's recipe for `assay align`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.spec import read_yaml
from training.demo.files import DemoFiles
from training.demo.settings import DemoSettings, StageSettings

BENCHMARKS = ("demo_mt", "demo_pairs", "demo_arena", "demo_facts")


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
    recipe = read_yaml(Path(__file__).with_name("align.yaml"))
    recipe |= {"name": f"demo-{settings.seed}", "seed": settings.seed, "base": base, "iterations": settings.iterations}
    recipe["sft"] |= {**_stage(settings, settings.sft), "data": str(files.demonstrations)}
    recipe["ranker"]["recipe"] |= {
        **_stage(settings, settings.reward),
        "data": str(files.pairs),
        "held_out": str(files.held_out_pairs),
    }
    recipe["sampling"] |= {
        "prompts": str(files.prompts),
        "prompts_per_iteration": settings.dpo.n_records,
        "responses": settings.responses,
    }
    recipe["dpo"] |= {**_stage(settings, settings.dpo), "beta": settings.beta}
    recipe["gold"]["model"] = settings.world.version
    recipe["validation"]["prompts"] = str(files.validation)
    recipe["evaluation"]["benchmarks"] = [{"name": f"{name}@{settings.world.version}"} for name in BENCHMARKS]
    return recipe


def _stage(settings: DemoSettings, stage: StageSettings) -> dict[str, Any]:
    sizes = {"epochs": stage.epochs, "learning_rate": stage.learning_rate, "batch_size": stage.batch_size}
    return {"seed": settings.seed, **sizes}
