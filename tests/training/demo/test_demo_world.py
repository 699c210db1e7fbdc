"""The made-up world: what follows from a seed, and that nothing held out is in what is learnt from."""

from __future__ import annotations

import json

import pytest

from harness.errors import UsageError
from training.demo.answers import DEMONSTRATIONS, REFUSAL, dressed, write_answer
from training.demo.corpus import documents
from training.demo.facts import documents as fact_documents
from training.demo.files import write_files
from training.demo.questions import Question, questions
from training.demo.settings import DemoSettings
from training.demo.world import SECRET, VALUES, World

WORLD = World(3, 18)


def test_a_world_follows_from_its_seed():
    assert World(3, 18).people == WORLD.people
    assert World(4, 18).people != WORLD.people
    assert World.of_version(WORLD.version) == WORLD
    assert World.of_version(None) == World(0)


@pytest.mark.parametrize("version", ["x", "3-", "-3", "3-x", "3-1000", "3-2"])
def test_a_version_that_names_no_world_is_refused(version):
    if version == "3-":
        assert World.of_version(version) == World(3)
        return
    with pytest.raises(UsageError):
        World.of_version(version)


def test_splits_share_no_question_no_person_and_no_sum():
    by_split = {split: questions(WORLD, split) for split in ("train", "held_out", "validation")}
    texts = [question.text for own in by_split.values() for question in own]
    assert len(texts) == len(set(texts))
    clusters = [{question.cluster for question in own} for own in by_split.values()]
    assert not (clusters[0] & clusters[1] or clusters[0] & clusters[2] or clusters[1] & clusters[2])
    assert {q.kind for q in by_split["held_out"]} == {"fact", "secret", "sum", "first"}


def test_answers_are_right():
    people = {person.name: person for person in WORLD.people}
    for question in questions(WORLD, "held_out"):
        if question.kind in ("fact", "secret"):
            assert people[question.subject].facts[question.topic] == question.answer
            assert question.values == VALUES[question.topic]
        elif question.kind == "sum":
            assert sum(int(number) for number in question.quoted.split(" plus ")) == int(question.answer)
        else:
            assert question.text.rstrip("?").endswith(question.subject)
            assert question.subject.split()[0] == question.answer


def test_a_question_survives_a_prompt():
    question = questions(WORLD, "train")[0]
    assert Question.from_meta(json.loads(json.dumps(question.as_meta()))) == question


def test_documents_know_everybody_and_quote_no_held_out_question():
    corpus = documents(WORLD, 3000)
    assert corpus == documents(WORLD, 3000)
    text = "\n".join(corpus)
    for person in WORLD.people:
        for fact, value in person.facts.items():
            assert any(person.name in document and value in document for document in corpus), (person.name, fact)
    for split in ("held_out", "validation"):
        assert not [q.text for q in questions(WORLD, split) if q.text in text]


def test_what_is_trained_on_asks_nothing_that_is_measured(tmp_path):
    settings = DemoSettings.of_size("tiny", 3)
    files = write_files(settings, tmp_path)
    measured = {q.text for split in ("held_out", "validation") for q in questions(settings.world, split)}
    trained = []
    for path in (files.demonstrations, files.pairs, files.prompts):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            trained += [m["content"] for m in row.get("messages", row.get("prompt")) if m["role"] == "user"]
    assert trained and not measured & set(trained)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_files(settings, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_pairs_are_two_answers_and_mostly_the_better_is_chosen(tmp_path):
    from training.demo.gold import assess

    settings = DemoSettings.of_size("tiny", 3)
    asked = {q.text: q for q in questions(settings.world, "train")}
    rows = [json.loads(line) for line in write_files(settings, tmp_path).pairs.read_text().splitlines()]
    ahead = []
    for row in rows:
        question = asked[row["prompt"][0]["content"]]
        chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
        assert chosen != rejected
        ahead.append(assess(question, chosen).rating - assess(question, rejected).rating)
    right, wrong = sum(d > 0 for d in ahead), sum(d < 0 for d in ahead)
    assert len(rows) == settings.reward.n_records
    assert right > 2 * wrong


def test_multiple_choice_holds_each_held_out_fact_twice():
    rows = [json.loads(line) for line in fact_documents(WORLD).splitlines()]
    held_out = [person for person in WORLD.people if person.split == "held_out"]
    assert len(rows) == len(held_out) * 5 * 2
    for row in rows:
        assert len(set(row["choices"])) == 4
        person = next(p for p in held_out if p.name in row["context"].replace(".", "").split())
        assert row["choices"][row["label"]] in person.facts.values()
        assert SECRET not in row["context"]


def test_answers_are_of_every_quality():
    rng = WORLD.rng("test")
    question = next(q for q in questions(WORLD, "train") if q.kind == "fact")
    written = {write_answer(question, DEMONSTRATIONS, rng) for _ in range(300)}
    assert {f"{question.answer}.", REFUSAL} <= written
    assert any(len(answer.split()) > 10 for answer in written)
    assert dressed("x.", "plain", rng) == "x."
