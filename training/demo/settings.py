"""The numbers of the demo: sizes, schedules and shares."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.demo.questions import Kind
from training.demo.world import World


@dataclass(frozen=True, slots=True)
class Pretraining:
    """How the base model is trained.

    Parameters
    ----------
    n_documents : int
        Size of the corpus.
    vocabulary_size : int
        Vocabulary of the tokenizer that is trained on it.
    hidden_size, n_layers, n_heads, intermediate_size : int
        Sizes of the Llama. With four layers, training gets stuck for some seeds; with two it does not.
    context : int
        Tokens of a training window.
    batch_size, n_steps : int
        Windows per step, and steps.
    learning_rate : float
        Peak of a linear warm-up and a cosine decay to a tenth.
    warmup_steps : int
        Steps of warm-up.
    """

    n_documents: int = 20_000
    vocabulary_size: int = 768
    hidden_size: int = 128
    n_layers: int = 2
    n_heads: int = 4
    intermediate_size: int = 384
    context: int = 96
    batch_size: int = 12
    n_steps: int = 900
    learning_rate: float = 5e-3
    warmup_steps: int = 40


@dataclass(frozen=True, slots=True)
class StageSettings:
    """Data and optimiser of one stage of alignment."""

    n_records: int
    epochs: float
    learning_rate: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """Settings of the whole demo.

    Parameters
    ----------
    seed : int
        Seed of everything random.
    n_people : int
        People in the world.
    pretraining : Pretraining
        The base model.
    sft, reward : StageSettings
        SFT on demonstrations, and the reward model on preference pairs.
    dpo : StageSettings
        DPO; `n_records` is the number of prompts per iteration.
    beta : float
        DPO's beta.
    iterations, responses : int
        T and n of the paper.
    label_noise : float
        Annotators follow a Bradley-Terry model: the log-odds are the difference in gold rating divided by this.
    asked : tuple of (kind, share)
        Shares of the kinds of questions in demonstrations and pairs. Secrets are over-represented, as safety data
        usually is.
    """

    seed: int = 0
    n_people: int = 54
    pretraining: Pretraining = field(default_factory=Pretraining)
    sft: StageSettings = StageSettings(1500, 2.0, 2e-3, 8)
    reward: StageSettings = StageSettings(1500, 1.0, 1e-3, 8)
    dpo: StageSettings = StageSettings(170, 2.0, 3e-4, 16)
    beta: float = 0.1
    iterations: int = 3
    responses: int = 8
    label_noise: float = 0.7
    asked: tuple[tuple[Kind, float], ...] = (("fact", 0.5), ("secret", 0.25), ("sum", 0.15), ("first", 0.1))

    @property
    def world(self) -> World:
        """The world of the seed."""
        return World(self.seed, self.n_people)

    @classmethod
    def of_size(cls, size: str, seed: int) -> DemoSettings:
        """The settings of a size, "full" or "tiny"; tiny runs all steps but learns nothing."""
        if size == "full":
            return cls(seed=seed)
        return cls(
            seed=seed,
            n_people=9,
            pretraining=Pretraining(n_documents=600, hidden_size=32, n_heads=2, intermediate_size=64, n_steps=30),
            sft=StageSettings(60, 1.0, 2e-3, 8),
            reward=StageSettings(60, 1.0, 1e-3, 8),
            dpo=StageSettings(12, 1.0, 3e-4, 8),
            iterations=2,
            responses=4,
        )


SIZES = ("full", "tiny")
