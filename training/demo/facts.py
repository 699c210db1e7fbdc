"""demo_facts: multiple choice on facts about held-out people, run by lm-eval: the knowledge of a checkpoint.

Paper            none: the demo's own
Upstream         none: the documents follow from the seed in the version ("demo_facts@3"); the task definition is
                 `training/demo/lm_eval_tasks`
Published number none

The contexts are phrased as in the documents ("The home of Ada is"), so that they measure knowledge rather than the
understanding of questions. A base model knows nearly all facts; what it loses in alignment is the tax.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.lm_eval.task import LMEvalTask
from benchmarks.lm_eval.task_options import TaskOptions
from harness.protocols import DataSource, NotAvailable
from harness.records import Prompt
from harness.settings import Settings
from harness.store.jsonl import write_atomically
from training.demo.world import PUBLIC, TEXTS, VALUES, World

if TYPE_CHECKING:
    from benchmarks.lm_eval.task_loading import LoadedTask

SENTENCES: Mapping[str, Sequence[str]] = TEXTS["sentences"]
"""Sentences of the documents about a fact; the value comes last."""
_N_CHOICES = 4
_READ: dict[Path, LoadedTask] = {}
"""Tasks by the file of their documents. lm-eval reads its whole index for a task folder, which takes seconds."""
_TASKS = Path(__file__).parent / "lm_eval_tasks"


@dataclass(frozen=True)
class DemoFacts(LMEvalTask):
    """The lm-eval task with the documents of a world, which are written to the cache."""

    world: World = field(default_factory=lambda: World(0))

    @classmethod
    def of_version(cls, task: str | None) -> DemoFacts:
        """Make the benchmark of a world ("SEED" or "SEED-PEOPLE")."""
        world = World.of_version(task)
        path = Settings.from_env().cache_dir / "demo" / f"facts-{world.version}.jsonl"
        return cls("demo_facts", TaskOptions(include_path=str(_TASKS), data=str(path)), world=world)

    def prompts(self, data: DataSource) -> tuple[list[Prompt], list[NotAvailable]]:
        """Write the documents and load the task, once per process."""
        from benchmarks.lm_eval.measure import prompts_of

        path = Path(self.options.data or "")
        if path not in _READ:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, documents(self.world))
            super().prompts(data)
            _READ[path] = self._loaded[0]
        self._loaded[:] = [_READ[path]]
        return prompts_of(_READ[path], self.name), []


def documents(world: World) -> str:
    """Write a world's documents as JSON lines: context, choices, index of the correct one."""
    rng = world.rng("multiple choice")
    lines = []
    for person in world.people:
        if person.split != "held_out":
            continue
        for fact in PUBLIC:
            answer = person.facts[fact]
            others = rng.sample([value for value in VALUES[fact] if value != answer], _N_CHOICES - 1)
            choices = rng.sample([answer, *others], _N_CHOICES)
            for sentence in SENTENCES[fact]:
                context = " " + sentence.format(name=person.name, value="").removesuffix(" .")
                lines.append(json.dumps({"context": context, "choices": choices, "label": choices.index(answer)}))
    return "\n".join(lines) + "\n"
