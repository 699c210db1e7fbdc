"""Measure a variant: its answers to the validation prompts, and an ordinary run of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from harness.data.store import DataStore
from harness.errors import ModelError, NoChatTemplateError
from harness.hashing import content_hash
from harness.protocols import Ranker
from harness.run.plan import limit_took_the_first
from harness.run.runner import RunOptions, run
from harness.spec import RunSpec, validated
from harness.store.align_directory import AlignVariant, Figure, Sample, read_rewards, read_samples
from harness.store.jsonl import read_json
from training.align.book import Book, identity_of
from training.align.divergence import LogRatio, Models, draw_log_ratios, read_log_ratios
from training.align.measuring import Answers, measure
from training.align.ranking import rank
from training.align.recipe import AlignRecipe, ChooseBy
from training.align.sampling import Drawing, draw, load_engine
from training.align.workers import draw_in_processes
from training.data.records import PromptItem

_OPERATIONAL = ("device", "device_map", "max_batch_tokens", "max_batch_size")
_TEMPLATE = "chat_template.jinja"


@dataclass
class Evaluator:
    """Measures variants.

    Parameters
    ----------
    recipe : AlignRecipe
    data : DataStore
        Upstream files of the benchmarks.
    data_dir : Path or None
        Their mirror.
    book : Book
        Does and records stages.
    validation : list of PromptItem
        The validation prompts.
    sft : Path
        The SFT checkpoint, the reference of the KL divergence.
    ranker : Ranker
        Gives the rewards.
    gold : Ranker or None
        Gives the true scores, if they are known.
    """

    recipe: AlignRecipe
    data: DataStore
    data_dir: Path | None
    book: Book
    validation: Sequence[PromptItem]
    sft: Path
    ranker: Ranker
    gold: Ranker | None = None
    _answers: dict[str, Answers] = field(default_factory=dict)

    def path(self, variant: AlignVariant) -> Path:
        """The path of a variant's checkpoint."""
        own = self.book.out / variant.checkpoint
        return own if own.is_dir() else Path(variant.checkpoint)

    def engine_options(self, variant: AlignVariant) -> dict[str, Any]:
        """The sampling engine's options; the base model uses the SFT model's chat template."""
        options = dict(self.recipe.sampling.engine_options)
        template = self.sft / _TEMPLATE
        if variant.name == "base" and "chat_template" not in options and template.is_file():
            options["chat_template"] = str(template)
        return options

    def drawn(self, name: str, variant: AlignVariant, prompts: Sequence[PromptItem], drawing: Drawing) -> Path:
        """Sample answers of a variant as a stage; its directory."""
        sampling, model = self.recipe.sampling, str(self.path(variant))
        engine, options = sampling.engine, self.engine_options(variant)
        inputs = {
            "model": identity_of(model),
            "engine": engine,
            "options": {key: value for key, value in options.items() if key not in (*_OPERATIONAL, "chat_template")},
            "prompts": content_hash("prompts", [prompt.key for prompt in prompts]),
            "drawing": [drawing.responses, list(drawing.temperatures), drawing.max_tokens, drawing.seed],
        }

        def work(out: Path) -> dict[str, Any]:
            if sampling.workers == 1:
                draw(prompts, drawing, out, lambda: load_engine(engine, model, options))
            else:
                draw_in_processes(prompts, drawing, out, (engine, model, options), sampling.workers)
            found = list(read_samples(out))
            failed = sum(sample.finish == "error" for sample in found)
            missing = len(prompts) * drawing.responses - len(found)
            if missing:
                raise ModelError(f"{missing} of {len(prompts) * drawing.responses} answers were not sampled")
            return {"answers": len(found), "failed": failed, "prompts": len(prompts)}

        return self.book.stage(name, inputs, work)

    def measured(self, variant: AlignVariant, previous: AlignVariant | None) -> AlignVariant:
        """Measure a variant and record it.

        Parameters
        ----------
        variant : AlignVariant
            The variant.
        previous : AlignVariant or None
            The measured variant it was trained from.
        """
        try:
            answers, samples, rewards = self._validated(variant)
            run_directory = self._evaluated(variant)
        except NoChatTemplateError as error:
            if variant.name != "base":
                raise
            reason = "not measured: " + " ".join(str(error).split())
            found = variant.model_copy(update={"note": f"{variant.note}; {reason}".strip("; ")})
            self.book.put(found)
            return found
        self._answers[variant.name] = answers
        sft = self._answers.get("sft") if variant.name != "sft" else None
        before = self._answers.get(previous.name) if previous is not None else None
        figures, cells = measure(
            answers,
            sft,
            before,
            ranker=self.ranker.name,
            vocabulary=self._vocabulary(),
            gold=None if self.gold is None else self.gold.name,
        )
        found = variant.model_copy(
            update={
                "run": None if run_directory is None else self.book.relative(run_directory),
                "samples": self.book.relative(samples),
                "rewards": self.book.relative(rewards),
                "measures": figures,
                "reward_length": cells,
                "note": "; ".join(text for text in (variant.note, _failures(answers)) if text),
            }
        )
        self.book.put(found)
        return found

    def answers(self, variant: AlignVariant) -> Answers:
        """A measured variant's validation answers."""
        return self._answers[variant.name]

    def value_of(self, variant: AlignVariant, by: ChooseBy) -> float | None:
        """A figure of a measured variant; None if it was not measured."""
        if by.benchmark == "validation":
            return variant.measures.get(by.metric, Figure(reason="unknown")).value
        directory = self.book.path(variant.run)
        if directory is None:
            return None
        for row in read_json(directory / "summary.json")["rows"]:
            if (row["benchmark"], row["metric"]) == (by.benchmark, by.metric):
                return cast("float | None", row["value"])
        return None

    # ---- validation answers

    def _validated(self, variant: AlignVariant) -> tuple[Answers, Path, Path]:
        spec = self.recipe.validation
        seed = int(content_hash("validation", self.recipe.seed)[:8], 16)
        drawing = Drawing(spec.responses, (spec.temperature,), self.recipe.sampling.max_tokens, seed)
        samples = self.drawn(f"validate-{variant.name}", variant, self.validation, drawing)
        rewards = self.rewards(f"score-{variant.name}", samples.name, lambda: list(read_samples(samples)))
        answers = Answers(
            {(s.prompt_key, s.sample): s for s in read_samples(samples)},
            {(r.prompt_key, r.sample): r for r in read_rewards(rewards)},
        )
        answers.log_ratios = self._log_ratios(variant, samples)
        return answers, samples, rewards

    def ranked_by(self) -> dict[str, Any]:
        """What identifies the ranker and gold."""
        return {"ranker": self.ranker.identity, "gold": None if self.gold is None else self.gold.identity}

    def rewards(self, name: str, samples: str, answers: Callable[[], Sequence[Sample]]) -> Path:
        """Rank answers as a stage; `samples` identifies them."""
        inputs = {"samples": samples, **self.ranked_by()}

        def work(out: Path) -> dict[str, Any]:
            rank(answers(), out, self.ranker, self.gold)
            found = list(read_rewards(out))
            return {"answers": len(found), "without a reward": sum(r.reward is None for r in found)}

        return self.book.stage(name, inputs, work)

    def _log_ratios(self, variant: AlignVariant, samples: Path) -> dict[tuple[str, int], LogRatio] | str:
        """Compute log pi - log pi_sft of each answer; it is 0 for the SFT model."""
        if variant.name == "sft":
            return {
                (s.prompt_key, s.sample): LogRatio(0.0, s.n_tokens or 0)
                for s in read_samples(samples)
                if s.finish != "error"
            }
        if self.recipe.sampling.engine not in _WITH_WEIGHTS:
            return f"the KL divergence needs the weights, which the engine {self.recipe.sampling.engine} does not have"
        options = {key: v for key, v in self.recipe.sampling.engine_options.items() if key in _KL_OPTIONS}
        inputs = {
            "samples": samples.name,
            "model": identity_of(str(self.path(variant))),
            "reference": identity_of(str(self.sft)),
        }

        def work(out: Path) -> dict[str, Any]:
            models = Models(str(self.path(variant)), str(self.sft), options)
            answers = list(read_samples(samples))
            draw_log_ratios(answers, models, out)
            return {"answers": len(answers), "scored by both": len(read_log_ratios(out))}

        return read_log_ratios(self.book.stage(f"kl-{variant.name}", inputs, work))

    def _vocabulary(self) -> int:
        """Size of the SFT model's vocabulary, used for all variants."""
        config = read_json(self.sft / "config.json") if (self.sft / "config.json").is_file() else {}
        return max(int(config.get("vocab_size") or 0), 30_000)

    # ---- benchmarks

    def _evaluated(self, variant: AlignVariant) -> Path | None:
        """Run the benchmarks; the run's directory."""
        if not self.recipe.evaluation.benchmarks:
            return None
        return self.run(f"evaluate-{variant.name}", self.evaluation(variant), self.path(variant))

    def evaluation(self, variant: AlignVariant) -> RunSpec:
        """Return the spec of a variant's run; where 0.1.0 evaluated others, on the prompts that theirs have."""
        recipe = self.recipe.evaluation
        values = {
            "model": {
                "path": str(self.path(variant)),
                "engine": self.recipe.sampling.engine,
                "name": variant.name,
                "options": self.engine_options(variant),
            },
            "benchmarks": [item.model_dump() for item in recipe.benchmarks],
            "judge": None if recipe.judge is None else recipe.judge.model_dump(),
            "limit": recipe.limit,
            "seed": self.recipe.seed,
            "canaries": recipe.canaries,
            "max_unscored": recipe.max_unscored,
        }
        spec = validated(RunSpec, values, "evaluation")
        headers = map(read_json, (self.book.out / "stages").glob("evaluate-*/run/run.json"))
        return spec.with_first_for_limit() if any(map(limit_took_the_first, headers)) else spec

    def run(self, name: str, spec: RunSpec, checkpoint: Path) -> Path:
        """Do an ordinary run as a stage; the run's directory."""
        identity = spec.identity()
        identity["model"] |= {"path": identity_of(str(checkpoint)) if checkpoint.is_dir() else str(checkpoint)}
        identity["model"]["options"].pop("chat_template", None)

        def work(out: Path) -> dict[str, Any]:
            scores = run(spec, RunOptions(out / "run", self.data_dir))
            return {"valid": scores.valid, "problems": scores.problems}

        return self.book.stage(name, {"spec": identity, "canaries": spec.canaries}, work) / "run"


_WITH_WEIGHTS = ("hf", "vllm")
_KL_OPTIONS = ("dtype", "device", "device_map", "trust_remote_code")


def _failures(answers: Answers) -> str:
    """How many validation answers or rewards are missing, and why; "" if none is."""
    failed = [sample for sample in answers.samples.values() if sample.finish == "error"]
    unranked = [reward for reward in answers.rewards.values() if reward.reward is None]
    said = []
    if failed:
        said.append(f"{len(failed)} of {len(answers.samples)} validation answers failed ({failed[0].error})")
    if unranked:
        said.append(f"{len(unranked)} have no reward ({unranked[0].error})")
    return "; ".join(said)
