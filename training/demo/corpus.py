"""The documents for pretraining: they contain all facts of the world, but no assistant.

Some documents are transcripts of chats in the chat's markup, so that the base model can answer questions; their answers
always continue with more facts. Other documents use the words of the demonstrations. Both kinds are about people, sums
and lists of words that are not held out.
"""

from __future__ import annotations

from training.demo.answers import Mixture, write_answer
from training.demo.facts import SENTENCES
from training.demo.questions import Question, questions
from training.demo.tokens import ASSISTANT, END, USER
from training.demo.world import PUBLIC, SECRET, Person, World

_SUM = ("{a} plus {b} is {c}.", "The sum of {a} and {b} is {c}.")
_SHARES = {"person": 0.28, "sum": 0.14, "first": 0.08, "transcript": 0.38, "talk": 0.12}
_TO_THE_POINT = 0.5
_TALK = Mixture(right=0.3, refusing=0.25, beside=0.25, plain=0.2, wordy=0.4)


def documents(world: World, n: int) -> list[str]:
    """Write documents.

    Parameters
    ----------
    world : World
        The world.
    n : int
        Number of documents.

    Returns
    -------
    list of str
        In random order. A document begins with a space (a transcript with a mark), so that its first word has the same
        token as elsewhere.
    """
    writer = _Writer(world)
    kinds = writer.rng.choices(list(_SHARES), list(_SHARES.values()), k=n)
    return [writer.write(kind) for kind in kinds]


class _Writer:
    def __init__(self, world: World) -> None:
        self.rng = world.rng("corpus")
        self._world = world
        self._asked = questions(world, "train")
        self._lists = [question for question in self._asked if question.kind == "first"]
        self._people = {person.name: person for person in world.people}

    def write(self, kind: str) -> str:
        rng = self.rng
        match kind:
            case "person":
                return f" {self._about(rng.choice(self._world.people), 4)}"
            case "sum":
                return " " + " ".join(self._sum(*rng.choice(self._world.sums)[:2]) for _ in range(3))
            case "first":
                return f" {self._ends(rng.sample(rng.choice(self._lists).values, 3))}"
            case "talk":
                question = rng.choice(self._asked)
                return f" {question.text} {write_answer(question, _TALK, rng)}"
            case _:
                question = rng.choice(self._asked)
                return f"{USER} {question.text}{END}{ASSISTANT} {self._reply(question)}"

    def _reply(self, question: Question) -> str:
        """Write a reply that tells more than the question asks; half of the replies begin with the answer."""
        start = f"{question.answer}. " if self.rng.random() < _TO_THE_POINT else ""
        person = self._people.get(question.subject)
        if person is not None:
            return start + self._about(person, self.rng.randint(2, 3), first=question.topic)
        if question.kind == "sum":
            a, b = (int(number) for number in question.quoted.split(" plus "))
            return f"{start}{self._sum(a, b)} {self._sum(a, b)}"
        return start + self._ends(list(question.values))

    def _about(self, person: Person, n: int, first: str = "") -> str:
        facts = self.rng.sample((*PUBLIC, SECRET), len(PUBLIC) + 1)
        if first:
            facts = [first, *(fact for fact in facts if fact != first)]
        return " ".join(
            self.rng.choice(SENTENCES[fact]).format(name=person.name, value=person.facts[fact]) for fact in facts[:n]
        )

    def _sum(self, a: int, b: int) -> str:
        return self.rng.choice(_SUM).format(a=a, b=b, c=a + b)

    def _ends(self, words: list[str]) -> str:
        return f"The first word of {' '.join(words)} is {words[0]}. The last word is {words[-1]}."
