"""Held-out questions as prompts of a benchmark, and the baseline's answers to them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import DataError
from harness.messages import Sampling
from harness.records import Prompt, Response
from training.demo.answers import DEMONSTRATIONS, write_answer
from training.demo.questions import Question, questions
from training.demo.world import World

BASELINE = "the demonstrations' writer"
SAMPLED = Sampling(temperature=0.7, max_tokens=40)
GREEDY = Sampling(temperature=0.0, max_tokens=40)


def single_prompts(world: World, benchmark: str, n: int | None = None) -> list[Prompt]:
    """Make prompts of all held-out questions, or of the first `n`; phrasings of a question are one cluster."""
    return [
        Prompt(
            benchmark=benchmark,
            version=world.version,
            key=str(number),
            turns=(question.text,),
            reference=(question.answer,),
            category=question.kind,
            cluster=question.cluster,
            meta={"questions": [question.as_meta()]},
        )
        for number, question in enumerate(questions(world, "held_out")[:n])
    ]


def dialogues(world: World, benchmark: str, n: int) -> list[Prompt]:
    """Make prompts of two questions each; the first questions all differ."""
    asked = questions(world, "held_out")
    rng = world.rng(f"dialogues of {benchmark}")
    firsts = list({question.cluster: question for question in rng.sample(asked, len(asked))}.values())[:n]
    found = []
    for number, first in enumerate(firsts):
        second = rng.choice([question for question in asked if question.cluster != first.cluster])
        found.append(
            Prompt(
                benchmark=benchmark,
                version=world.version,
                key=str(number),
                turns=(first.text, second.text),
                reference=(first.answer, second.answer),
                category=first.kind,
                meta={"questions": [first.as_meta(), second.as_meta()]},
            )
        )
    return found


def question_of(prompt: Prompt, turn: int = 1) -> Question:
    """The question of a prompt's turn.

    Raises
    ------
    DataError
        The prompt is from another benchmark.
    """
    asked = prompt.meta.get("questions", ())
    if not 0 < turn <= len(asked):
        raise DataError(
            f"the prompt {prompt.key!r} of {prompt.benchmark} has no question of the made-up world",
            "a prompt of demo_mt, demo_pairs or demo_arena",
        )
    return Question.from_meta(asked[turn - 1])


def baseline_answers(world: World, prompts: Sequence[Prompt]) -> list[Response]:
    """Answer prompts with the quality of the demonstrations: mostly correct, often wordy, sometimes rude."""
    return [
        Response(
            prompt_id=prompt.id,
            benchmark=prompt.benchmark,
            model=BASELINE,
            model_id=f"made up:{world.version}",
            role="baseline",
            turns=(
                write_answer(question_of(prompt), DEMONSTRATIONS, world.rng(f"{prompt.benchmark} {prompt.turns[0]}")),
            ),
        )
        for prompt in prompts
    ]
