"""The loop: sample, rank, select, optimise, measure, gate; accept, retry, roll back or stop.

Paper            Dong et al., "RLHF Workflow: From Reward Modeling to Online RLHF", arXiv 2405.07863, algorithm 2
Deviations       - every checkpoint is measured and has to pass the gate (the paper picks the best of three)
                 - "the best policy by a validation set" is chosen among the accepted ones, including the SFT model
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from harness import registry
from harness.data.store import DataStore
from harness.errors import DataError
from harness.hashing import content_hash
from harness.protocols import Ranker, RankerContext
from harness.store.align_directory import AlignState, AlignVariant, read_rewards, read_samples
from harness.store.locking import DirectoryLock
from harness.store.provenance import code_revision, package_versions
from training.align.book import Book, identity_of
from training.align.chosen import ChosenFrom
from training.align.evaluating import Evaluator
from training.align.gating import Gate
from training.align.inputs import Inputs
from training.align.launching import pairs_file, train
from training.align.prompts import iteration_prompts
from training.align.ranking import EngineRanker, rank
from training.align.recipe import AlignRecipe
from training.align.sampling import Drawing, load_engine
from training.align.selection import Ranked, SelectionSpec, select_pairs
from training.data.loading import load_pairs
from training.data.records import PreferencePair, PromptItem
from training.recipe import TrainingRecipe


@dataclass(frozen=True)
class AlignOptions:
    """Options of a loop that do not change its result.

    Parameters
    ----------
    out : Path
        The align directory.
    data : DataStore
        Upstream files of the benchmarks.
    data_dir : Path or None
        Their mirror, if there is one.
    cache : Path or None
        The judgment cache shared by runs.
    say : callable
        Called with progress messages.
    """

    out: Path
    data: DataStore
    data_dir: Path | None = None
    cache: Path | None = None
    say: Callable[[str], None] = lambda text: None


def align(recipe: AlignRecipe, options: AlignOptions) -> Book:
    """Run the loop, or resume it.

    Parameters
    ----------
    recipe : AlignRecipe
        The recipe.
    options : AlignOptions
        Directory, data and progress messages.

    Returns
    -------
    Book
        The state it ended in, and how many stages it had to do.

    Raises
    ------
    DataError
        There are too few prompts, training prompts are among the measured ones, or an iteration's answers give no pair.
    ModelError
        A model cannot be loaded, or a trained reward model is constant.
    RunLockedError
        Another process has locked the directory.
    AssayError
        Errors of the stages; finished work is kept, and the same call resumes the loop.
    """
    with DirectoryLock(options.out, "at work in"):
        return _Loop(recipe, options).run()


def check(recipe: AlignRecipe, options: AlignOptions) -> list[str]:
    """Check recipe, data and prompts, as `align` does before it starts.

    Returns
    -------
    list of str
        A summary in lines.

    Raises
    ------
    DataError
        There are too few prompts, or training prompts are among the measured ones.
    ModelError
        A checkpoint of the recipe does not exist.
    """
    return _Loop(recipe, options).check()


@dataclass
class _Loop:
    recipe: AlignRecipe
    options: AlignOptions
    pairs: list[list[PreferencePair]] = field(default_factory=list)
    """The pairs of each iteration so far."""
    sampled: list[PromptItem] = field(default_factory=list)
    """The prompts of all iterations so far."""

    @cached_property
    def inputs(self) -> Inputs:
        return Inputs(self.recipe, self.options.data)

    @cached_property
    def book(self) -> Book:
        recipe = self.recipe.model_dump(mode="json")
        state = AlignState(
            name=self.recipe.name,
            recipe=recipe,
            recipe_hash=content_hash("align recipe", recipe),
            seed=self.recipe.seed,
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            versions={**package_versions(), "code": code_revision()},
        )
        return Book.open(self.options.out, state, self.options.say)

    def run(self) -> Book:
        """Run all iterations."""
        self.check()
        book = self.book
        sft = self._sft()
        evaluator = Evaluator(
            self.recipe,
            self.options.data,
            self.options.data_dir,
            book,
            self.inputs.validation,
            sft,
            self._ranker(sft),
            self._gold(),
        )
        base = None
        if self.recipe.base is not None:
            base = AlignVariant(name="base", checkpoint=self.recipe.base, note="the model SFT starts from")
            book.put(base)  # first in the table; it is measured after the SFT model, which it is compared with
        start = AlignVariant(
            name="sft", checkpoint=self.book.relative(sft), accepted=True, note="the reference; accepted as the start"
        )
        accepted = evaluator.measured(start, previous=None)
        if base is not None:
            evaluator.measured(base, previous=None)
        gate = Gate(evaluator)
        for iteration in range(1, self.recipe.iterations + 1):
            found = self._iteration(iteration, accepted, evaluator, gate)
            if found is None and self.recipe.on_fail == "stop":
                break
            accepted = found or accepted
        self._finish(evaluator, gate)
        return book

    def check(self) -> list[str]:
        """Check everything that can be checked beforehand."""
        ranker = self.recipe.ranker
        for model in (self.recipe.base, self.recipe.sft_model, ranker.model):
            if model is not None:
                identity_of(model)
        if ranker.name is not None:  # refuses wrong options
            _made(ranker.name, ranker.options, RankerContext(self.options.data, self.options.cache))
        self.inputs.refuse_contamination()
        sampling = self.recipe.sampling
        iteration_prompts(self.inputs.prompts, self.recipe.iterations, sampling.prompts_per_iteration, self.recipe.seed)
        first, second = sampling.temperatures
        n, m = len(self.inputs.prompts), sampling.prompts_per_iteration
        return [
            f"{n} prompts for {self.recipe.iterations} iterations of {m}",
            f"{sampling.responses} answers each, half at {first:g} and half at {second:g}",
            f"{len(self.inputs.validation)} validation prompts, none of them trained on",
        ]

    # ---- stages before the loop

    def _sft(self) -> Path:
        if self.recipe.sft is None:
            path = Path(str(self.recipe.sft_model))
            identity_of(str(path))
            return path
        return self._stage(self.recipe.sft.stage or "sft", self.recipe.sft, str(self.recipe.base))

    def _stage(self, name: str, given: TrainingRecipe, start: str) -> Path:
        """Train on a recipe's data; the checkpoint."""
        recipe = given.with_(model=start)
        data = {"data": _digests(recipe.data), "held_out": _digests(recipe.held_out)}
        inputs = {"recipe": recipe.identity(), "model": identity_of(start), **data}
        return self.book.stage(name, inputs, lambda out: self._trained(name, recipe, out)) / "model"

    def _trained(self, stage: str, recipe: Any, out: Path, data: Any = None) -> dict[str, Any]:
        train(stage, recipe, out, self.recipe.launch, data)
        return {}

    def _ranker(self, sft: Path) -> Ranker:
        """Train the ranker's model where the recipe says so, and make the ranker."""
        spec = self.recipe.ranker
        context = RankerContext(self.options.data, self.options.cache)
        if spec.name is not None:
            return _made(spec.name, spec.options, context)
        if spec.judge is not None:
            return _made("judge", {"judge": spec.judge.model_dump(), "form": spec.form}, context)
        engine, model = spec.engine, spec.model
        if spec.trained is not None:
            role = "reward" if spec.recipe is not None else "preference"
            engine, start = f"{role}_model", str(sft) if spec.trained.model == "sft" else spec.trained.model
            model = str(self._stage(spec.trained.stage or role, spec.trained, start))
        return _made("engine", {"engine": engine, "model": model, "engine_options": spec.engine_options}, context)

    def _gold(self) -> Ranker | None:
        gold = self.recipe.gold
        if gold is None:
            return None
        load = partial(load_engine, gold.engine, gold.model, gold.engine_options)
        return EngineRanker(gold.engine, gold.model_dump(mode="json"), load)

    # ---- an iteration

    def _iteration(
        self,
        iteration: int,
        accepted: AlignVariant,
        evaluator: Evaluator,
        gate: Gate,
    ) -> AlignVariant | None:
        """Make pairs of the accepted variant's answers, and train until an attempt is accepted; None if none is."""
        self._pairs_of(iteration, accepted, evaluator)
        for attempt, changes in enumerate(({}, *self.recipe.retries), start=1):
            name = f"{self.recipe.dpo.stage or 'dpo'}-{iteration}" + (f"-retry-{attempt - 1}" if attempt > 1 else "")
            checkpoint = self._optimise(name, evaluator.path(accepted), evaluator.sft, changes)
            candidate = AlignVariant(
                name=name,
                iteration=iteration,
                attempt=attempt,
                checkpoint=self.book.relative(checkpoint),
                parent=accepted.name,
                note="; ".join(f"{key} {value}" for key, value in changes.items()),
            )
            candidate = evaluator.measured(candidate, previous=accepted)
            candidate = gate.decided(candidate, accepted, self.sampled)
            self.book.put(candidate)
            self.options.say(f"{name}: {'accepted' if candidate.accepted else 'not accepted'}")
            if candidate.accepted:
                return candidate
        return None

    def _pairs_of(self, iteration: int, policy: AlignVariant, evaluator: Evaluator) -> None:
        recipe = self.recipe.sampling
        prompts = iteration_prompts(self.inputs.prompts, iteration, recipe.prompts_per_iteration, self.recipe.seed)
        self.sampled += prompts
        seed = int(content_hash("iteration", self.recipe.seed, iteration)[:8], 16)
        drawing = Drawing(recipe.responses, recipe.temperatures, recipe.max_tokens, seed)
        sampled = evaluator.drawn(f"sample-{iteration}", policy, prompts, drawing)
        spec = SelectionSpec(self.recipe.selection, self.recipe.min_margin, self.recipe.length_penalty, seed)
        inputs = {
            "samples": sampled.name,
            "selection": {"name": spec.name, "min_margin": spec.min_margin, "length_penalty": spec.length_penalty},
            **evaluator.ranked_by(),
        }

        def work(out: Path) -> dict[str, Any]:
            rank(read_samples(sampled), out, evaluator.ranker, evaluator.gold)
            found = select_pairs(_by_prompt(sampled, out), spec)
            if not found.pairs:
                reasons = ", ".join(f"{reason} {n}" for reason, n in found.dropped.most_common())
                raise DataError(
                    f"no pair could be made of iteration {iteration}'s answers to {found.n_prompts} prompts: {reasons}",
                    remedy="the rewards or the answers are all the same: check the ranker, or raise the temperatures",
                )
            pairs_file(out / "pairs.jsonl", found.pairs)
            return {"pairs": len(found.pairs), "prompts": found.n_prompts, "dropped": dict(found.dropped)}

        directory = self.book.stage(f"rank-{iteration}", inputs, work)
        self.pairs.append(list(load_pairs(directory / "pairs.jsonl", name="align")))

    def _optimise(self, name: str, policy: Path, sft: Path, changes: dict[str, Any]) -> Path:
        """Train from the last accepted checkpoint; the reference is the SFT model in every iteration."""
        newest = self.pairs[-1:] if self.recipe.pairs == "newest" else self.pairs
        data = [*self.inputs.extra_pairs, *(pair for own in newest for pair in own)]
        models = {"model": str(policy), "reference": str(sft)}
        models = {field: path for field, path in models.items() if field in type(self.recipe.dpo).model_fields}
        recipe = self.recipe.dpo.with_(**{**changes, **models})
        inputs = {
            "recipe": recipe.identity(),
            **{field: identity_of(path) for field, path in models.items()},
            "pairs": content_hash("pairs", [pair.as_row() for pair in data]),
        }
        stage = recipe.stage or "dpo"
        return self.book.stage(name, inputs, lambda out: self._trained(stage, recipe, out, data)) / "model"

    def _finish(self, evaluator: Evaluator, gate: Gate) -> None:
        """Choose the best accepted variant by the validation set."""
        accepted = [v for v in self.book.state.variants if v.accepted]
        values = {v.name: evaluator.value_of(v, self.recipe.choose_by) for v in accepted}
        measured = {name: value for name, value in values.items() if value is not None}
        by = f"{self.recipe.choose_by.benchmark} {self.recipe.choose_by.metric}"
        if not measured:
            self.book.write(
                chosen=accepted[-1].name,
                chosen_because=f"the last accepted: {by} was not measured",
                problems=(*self.book.state.problems, f"no accepted variant has {by}"),
                finished=True,
                error_budget=gate.describe(),
            )
            return
        sign = 1.0 if self.recipe.choose_by.better == "higher" else -1.0
        best = max(measured, key=lambda name: sign * measured[name])
        listed = ", ".join(f"{name} {value:.4g}" for name, value in measured.items())
        self.book.write(
            chosen=best,
            chosen_because=f"by {by}: {listed}",
            chosen_effect=ChosenFrom(evaluator, self.recipe.choose_by).effect(best, tuple(measured)),
            finished=True,
            error_budget=gate.describe(),
        )


def _made(name: str, options: Mapping[str, Any], context: RankerContext) -> Ranker:
    ranker: Ranker = registry.make("ranker", name, options, context)
    return ranker


def _by_prompt(samples: Path, rewards: Path) -> list[list[Ranked]]:
    found = {(r.prompt_key, r.sample): r.reward for r in read_rewards(rewards)}
    by_prompt: dict[str, list[Ranked]] = {}
    for sample in sorted(read_samples(samples), key=lambda s: (s.prompt_key, s.sample)):
        by_prompt.setdefault(sample.prompt_key, []).append(
            Ranked(sample, found.get((sample.prompt_key, sample.sample)))
        )
    return list(by_prompt.values())


def _digests(sources: Sequence[str]) -> list[str]:
    """Hashes of local files, and the names of other sources."""
    from harness.hashing import file_sha256

    found = []
    for source in sources:
        path = Path(source.partition("?")[0])
        found.append(f"{source} {file_sha256(path)}" if path.is_file() else source)
    return found
