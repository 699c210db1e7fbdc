"""The steps of the demo: files, base model, `align`, the reward model's benchmark, the report.

::

    OUT/
      settings.json     seed and size; others are refused
      files/            demonstrations, preference pairs, prompts
      base/             the base model
      recipe.yaml       the recipe of `assay align`
      align/            its directory (`harness.store.align_directory`)
      reward_bench/     an ordinary run: the reward model on demo_rewards
      demo.json         the table, the description, the times
      report.html       the report, if it can be made
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.data.store import DataStore
from harness.errors import AssayError, RunConflictError, UsageError
from harness.settings import Settings
from harness.spec import RunSpec, differing_fields, validated
from harness.store.align_directory import AlignState, Figure
from harness.store.jsonl import read_json, write_atomically, write_json
from training.demo.files import write_files
from training.demo.pretrain import pretrain
from training.demo.recipe import recipe_of
from training.demo.settings import SIZES, DemoSettings
from training.demo.table import Agreement, DemoRow, demo_rows, figure_of, pair_agreement, story
from training.models import require_extra

Say = Callable[[str], None]


@dataclass
class DemoOutcome:
    """The result of the demo.

    Parameters
    ----------
    out : Path
        The directory.
    rows : list of DemoRow
        The table.
    reward_model : dict of str to Figure
        Accuracy of the reward model on demo_rewards, overall and by section.
    agreement : list of Agreement
        Agreement of gold with the reward model on each iteration's pairs.
    story : list of str
        What happened, in words.
    chosen, chosen_because, error_budget : str
        The best accepted checkpoint, the figure it was chosen by, and the error guarantee of the gates.
    seconds, cpu_seconds : dict of str to float
        Duration of each step in this process; near 0 if it was done already.
    peak_memory_mb : float
        Largest resident memory of this process and its children.
    report : str
        Path of the report, or why there is none.
    """

    out: Path
    rows: list[DemoRow] = field(default_factory=list)
    reward_model: dict[str, Figure] = field(default_factory=dict)
    agreement: list[Agreement] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    chosen: str = ""
    chosen_because: str = ""
    error_budget: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0
    report: str = ""

    def as_json(self) -> dict[str, Any]:
        """The result as demo.json has it."""
        return asdict(self) | {
            "out": str(self.out),
            "rows": [row.as_json() for row in self.rows],
            "reward_model": {k: figure.model_dump(exclude_none=True) for k, figure in self.reward_model.items()},
            "agreement": [{**asdict(found), "percent": found.share} for found in self.agreement],
            "chosen": self.chosen or None,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "cpu_seconds": {name: round(value, 1) for name, value in self.cpu_seconds.items()},
            "peak_memory_mb": round(self.peak_memory_mb, 1),
        }


def run_demo(out: Path, seed: int = 0, size: str = "full", say: Say | None = None) -> DemoOutcome:
    """Run the demo, or resume it.

    Parameters
    ----------
    out : Path
        Its directory.
    seed : int
        Seed of the world, the data and the weights.
    size : {"full", "tiny"}
        "tiny" runs the same steps in seconds with a model that is too small to learn anything.
    say : callable, optional
        Called with progress messages.

    Raises
    ------
    UsageError
        There is no such size, or the seed is negative.
    RunConflictError
        The directory has a demo with another seed or size.
    """
    import torch
    import transformers.utils.logging

    if size not in SIZES or seed < 0:
        raise UsageError(f"a demo of size {size!r} and seed {seed}", f"size {' or '.join(SIZES)}, seed 0 or above")
    require_extra()  # pretraining does not need the extra, and takes minutes
    say = say or (lambda _: None)
    torch.set_num_threads(1)  # a second thread does not help models this small, and slows them down on a busy machine
    quiet: Any = transformers.utils.logging
    quiet.disable_progress_bar()
    out = out.resolve()
    settings = DemoSettings.of_size(size, seed)
    _claim(out, settings, size)
    outcome = DemoOutcome(out)
    with _timed(outcome, "base model", say):
        files = write_files(settings, out / "files")
        n_steps = settings.pretraining.n_steps

        def watch(step: int, loss: float) -> None:
            if step % 100 == 0 or step == n_steps:
                say(f"  pretraining: step {step} of {n_steps}, loss {loss:.3f}")

        base = pretrain(settings, out / "base", watch)
    recipe = recipe_of(settings, files, str(base))
    write_atomically(out / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
    with _timed(outcome, "alignment", say):
        state = _aligned(out, say)
    with _timed(outcome, "reward model's benchmark", say):
        outcome.reward_model = _measured_reward_model(state, out, settings)
    outcome.rows = demo_rows(state, out / "align")
    outcome.agreement = pair_agreement(state, out / "align")
    outcome.story = story(outcome.rows, outcome.agreement)
    outcome.chosen, outcome.chosen_because = state.chosen or "", state.chosen_because
    outcome.error_budget = state.error_budget
    with _timed(outcome, "report", say):
        outcome.report = _report(out)
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    outcome.peak_memory_mb = max(peaks) / 1024.0
    write_json(out / "demo.json", outcome.as_json())
    return outcome


def _claim(out: Path, settings: DemoSettings, size: str) -> None:
    """Record seed and size, or refuse a directory with others."""
    path = out / "settings.json"
    asked = {"size": size, **json.loads(json.dumps(asdict(settings)))}
    if path.is_file():
        differences = differing_fields(read_json(path), asked)
        if differences:
            raise RunConflictError(
                f"{out} has another demo: " + "; ".join(differences),
                "the same seed and size",
                "choose another --out",
            )
        return
    if out.exists() and any(out.iterdir()):
        raise RunConflictError(f"{out} is not empty and has no demo", "a new directory", "choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, asked)


@contextmanager
def _timed(outcome: DemoOutcome, name: str, say: Say) -> Iterator[None]:
    say(f"{name} ...")
    wall, cpu = time.monotonic(), time.process_time()
    yield
    outcome.seconds[name] = time.monotonic() - wall
    outcome.cpu_seconds[name] = time.process_time() - cpu
    say(f"{name}: {outcome.seconds[name]:.0f} s")


def _aligned(out: Path, say: Say) -> AlignState:
    """Run `assay align` on the recipe."""
    from training.align.loop import AlignOptions, align
    from training.align.recipe import load_align_recipe

    return align(load_align_recipe(out / "recipe.yaml"), AlignOptions(out / "align", _data(), say=say)).state


def _data() -> DataStore:
    return DataStore.of_settings(Settings.from_env())


def _measured_reward_model(state: AlignState, out: Path, settings: DemoSettings) -> dict[str, Figure]:
    """Measure the trained reward model on demo_rewards."""
    from harness.run.runner import RunOptions, run

    stage = next(stage for stage in state.stages if stage.name == "reward")
    values = {
        "model": {"path": str(out / "align" / stage.dir / "model"), "engine": "reward_model", "name": "reward model"},
        "benchmarks": [f"demo_rewards@{settings.world.version}"],
        "seed": settings.seed,
    }
    scores = run(validated(RunSpec, values, "reward model"), RunOptions(out / "reward_bench", use_cache=False))
    return {row.metric: figure_of(row.model_dump(), row.metric) for row in scores.rows}


def _report(out: Path) -> str:
    """Make the report of the loop; its path, or why it cannot be made."""
    from reports.build import build_report
    from reports.inputs import open_inputs
    from reports.page import to_html

    path = out / "report.html"
    try:
        inputs = open_inputs([out / "align"], _data())
        write_atomically(path, to_html(build_report(inputs, title="assay demo")))
    except (AssayError, ImportError) as error:
        return f"not made: {' '.join(str(error).split())}"
    return str(path)
