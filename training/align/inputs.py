"""The loop's training data and validation prompts, and the check that no prompt is in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.data.store import DataStore
from harness.errors import DataError
from training.align.prompts import refuse_shared_prompts
from training.align.recipe import AlignRecipe
from training.data.contamination import benchmark_prompts, measure_overlap, refuse_overlap
from training.data.loading import load_conversations, load_pairs, load_prompts
from training.data.records import PreferencePair, PromptItem, prompt_item
from training.recipe import TrainingRecipe


@dataclass
class Inputs:
    """The prompts and pairs of a recipe, each read once.

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
        """All prompts to sample from."""
        if not self.recipe.sampling.prompts:
            raise DataError("sampling.prompts is empty", "files or hub ids of prompts")
        return [prompt for source in self.recipe.sampling.prompts for prompt in load_prompts(source)]

    @cached_property
    def validation(self) -> list[PromptItem]:
        """The validation prompts."""
        found = [p for source in self.recipe.validation.prompts for p in load_prompts(source)]
        if not found:
            raise DataError("validation.prompts is empty", "prompts that are not trained on")
        distinct = list({prompt.key: prompt for prompt in found}.values())
        return distinct[: self.recipe.validation.limit]

    @cached_property
    def extra_pairs(self) -> list[PreferencePair]:
        """Offline pairs that every iteration learns from as well."""
        return list(_pairs(self.recipe.extra_pairs, self.recipe.dpo))

    def refuse_contamination(self) -> None:
        """Refuse training prompts that are validation or benchmark prompts, before anything is spent.

        Raises
        ------
        DataError
            Some are.
        """
        pairs, sft, ranker = list(self.extra_pairs), self.recipe.sft, self.recipe.ranker.trained
        trained = list(self.prompts)
        if sft is not None:
            for source in sft.data:
                trained += map(prompt_item, load_conversations(source, on_bad=sft.on_bad_item))
        if ranker is not None:
            pairs += _pairs(ranker.data, ranker)
        trained += map(prompt_item, pairs)
        refuse_shared_prompts(trained, self.validation, "validation")
        measured = {
            name: turns
            for name, turns in benchmark_prompts(self.recipe.evaluation.benchmarks, self.data).items()
            if turns
        }
        if measured:
            refuse_overlap(measure_overlap(trained, measured), self.recipe.max_overlap)


def _pairs(sources: Sequence[str], recipe: TrainingRecipe) -> Iterator[PreferencePair]:
    for source in sources:
        yield from load_pairs(source, on_bad=recipe.on_bad_item)
