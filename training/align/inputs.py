"""What the loop learns from and what it is measured on, and that no prompt is both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.data.store import DataStore
from harness.errors import DataError
from training.align.prompts import refuse_shared_prompts
from training.align.recipe import AlignRecipe
from training.data import load_conversations, load_pairs, load_prompts
from training.data.contamination import benchmark_prompts, measure_overlap, refuse_overlap
from training.data.records import PreferencePair, PromptItem

__all__ = ["Inputs"]


@dataclass
class Inputs:
    """The prompts and pairs a recipe names, read once.

    Parameters
    ----------
    recipe : AlignRecipe
    data : DataStore
        Upstream files of the benchmarks.
    """

    recipe: AlignRecipe
    data: DataStore

    @cached_property
    def prompts(self) -> Sequence[PromptItem]:
        """All prompts that may be sampled."""
        if not self.recipe.sampling.prompts:
            raise DataError("sampling.prompts names no prompts", "files or hub ids of prompts")
        return [prompt for source in self.recipe.sampling.prompts for prompt in load_prompts(source)]

    @cached_property
    def validation(self) -> list[PromptItem]:
        """The held-out prompts."""
        found = [p for source in self.recipe.validation.prompts for p in load_prompts(source)]
        if not found:
            raise DataError("validation.prompts names no prompts", "prompts that are nowhere trained on")
        distinct = list({prompt.key: prompt for prompt in found}.values())
        return distinct[: self.recipe.validation.limit]

    @cached_property
    def extra_pairs(self) -> list[PreferencePair]:
        """Offline pairs that every iteration learns from too."""
        return [pair for source in self.recipe.extra_pairs for pair in self._load_extra(source)]

    def _load_extra(self, source: str) -> Sequence[PreferencePair]:
        return load_pairs(source, on_bad=self.recipe.dpo.on_bad_item)

    def refuse_contamination(self) -> None:
        """Refuse, before anything is spent, prompts that are measured on among those trained on."""
        trained: list[PromptItem] = list(self.prompts)
        trained += [PromptItem(pair.prompt, pair.key, pair.source) for pair in self.extra_pairs]
        if self.recipe.sft is not None:
            for source in self.recipe.sft.data:
                found = load_conversations(source, on_bad=self.recipe.sft.on_bad_item)
                trained += [PromptItem(c.prompt, c.prompt_key, c.source) for c in found]
        if (recipe := self.recipe.ranker.trained) is not None:
            for source in recipe.data:
                pairs = load_pairs(source, on_bad=recipe.on_bad_item)
                trained += [PromptItem(p.prompt, p.key, p.source) for p in pairs]
        refuse_shared_prompts(trained, self.validation, "validation")
        asked = benchmark_prompts(self.recipe.evaluation.benchmarks, self.data)
        measured = {name: turns for name, turns in asked.items() if turns}
        if measured:
            refuse_overlap(measure_overlap(trained, measured), self.recipe.max_overlap)
