"""Ranking: by reward, by comparisons of all with all, by a judge in both orders; kept prompt by prompt."""

from __future__ import annotations

import asyncio
import math

import pytest

from harness import registry
from harness.errors import SpecError
from harness.protocols import RankerContext
from harness.records import Judgment, Preference, Rating, Unscored
from harness.spec import JudgeSpec
from harness.store.align_directory import Sample, read_rewards
from judges import rubric_form
from tests.support.scripted_scorers import RuledPreferences, RuledRewards
from training.align.ranking import EngineRanker, JudgeRanker, rank


def answers(prompt, *texts):
    asked = [{"role": "user", "content": prompt}]
    return [
        Sample(prompt_key=prompt, prompt=asked, sample=i, temperature=1.0, response=text, n_chars=len(text))
        for i, text in enumerate(texts)
    ]


ALL = [answers("p", "a", "bbb", "cc"), answers("q", "dddd", "e")]


def by_engine(engine):
    return EngineRanker("an engine", {}, lambda: engine)


def by_judge(judge, concurrency):
    return JudgeRanker(JudgeSpec(model="openai:j", concurrency=concurrency), "pairwise", lambda: judge)


def scored(ranker, by_prompt=ALL):
    return {(key, number): value for key, number, value, _ in ranker.scores(by_prompt)}


def test_by_reward():
    engine = RuledRewards(len)
    found = scored(by_engine(engine))
    assert found == {("p", 0): 1, ("p", 1): 3, ("p", 2): 2, ("q", 0): 4, ("q", 1): 1}
    assert engine.passes == [5]  # one call, so that the engine can batch


def logistic(x):
    return 1 / (1 + math.exp(-x))


def test_by_comparisons_of_all_with_all_by_hand():
    found = scored(by_engine(RuledPreferences(len)))
    # p: 1 against 3 and 2, 3 against 1 and 2, 2 against 1 and 3; an answer's score is its mean chance of winning
    assert found["p", 0] == pytest.approx((logistic(-2) + logistic(-1)) / 2)
    assert found["p", 1] == pytest.approx((logistic(2) + logistic(1)) / 2)
    assert found["p", 2] == pytest.approx((logistic(1) + logistic(-1)) / 2)
    assert found["q", 0] == pytest.approx(logistic(3))
    assert sum(found[key] for key in found if key[0] == "p") == pytest.approx(1.5)


def test_an_answer_that_lacks_a_comparison_has_no_score():
    class Partial(RuledPreferences):
        def preferences(self, requests):
            for found in super().preferences(requests):
                lost = found.request_id == "p:0:1"
                yield type(found)(found.request_id, None, error="cannot be read") if lost else found

    found = {(k, n): (v, e) for k, n, v, e in by_engine(Partial(len)).scores(ALL)}
    assert found["p", 0] == (None, "cannot be read") and found["p", 1] == (None, "cannot be read")
    assert found["p", 2][0] is not None and found["q", 0][0] is not None


def test_one_answer_alone_has_nothing_to_be_compared_with():
    found = list(by_engine(RuledPreferences(len)).scores([answers("p", "a"), *ALL[1:]]))
    assert ("p", 0, None, "there is no other answer to compare it with") in found
    assert len(found) == 3


class Judge:
    """Prefers the longer answer, and the first shown where they are alike."""

    def __init__(self, wrong=()):
        self.wrong, self.tasks, self.open, self.most = wrong, [], 0, 0

    def judge_id(self, form):
        return "j"

    async def prepare(self):
        self.prepared = True

    async def close(self):
        self.closed = True

    async def judge(self, task, *, fresh=False):
        self.tasks.append(task)
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        first, second = (len(r.turns[0]) for r in task.responses)
        p_first = 1.0 if first > second else 0.0 if first < second else 0.9
        lost = any(r.turns[0] in self.wrong for r in task.responses)
        return Judgment(
            judge="j",
            judge_id="j",
            benchmark=task.prompt.benchmark,
            prompt_id=task.prompt.id,
            response_ids=tuple(r.id for r in task.responses),
            order=tuple(r.role for r in task.responses),
            turn=1,
            verdict=Unscored(reason="unparsed") if lost else Preference(p_first=p_first),
        )


def test_by_a_judge_in_both_orders():
    judge = Judge()
    found = scored(by_judge(judge, 3), [answers("p", "aa", "bbb", "cc")])
    # alike texts: 0.9 for whichever is shown first, so that both orders together are even
    assert found == {("p", 0): pytest.approx(0.25), ("p", 1): 1.0, ("p", 2): pytest.approx(0.25)}
    assert len(judge.tasks) == 6 and judge.most <= 3 and judge.closed
    shown = [tuple(r.turns[0] for r in task.responses) for task in judge.tasks]
    assert {pair[::-1] for pair in shown} == set(shown)


class Grader(Judge):
    """Rates an answer by its length, on 1 to 5."""

    async def judge(self, task, *, fresh=False):
        (response,) = task.responses
        text = response.turns[0]
        rated = Rating(value=len(text), low=1, high=5)
        verdict = Unscored(reason="unparsed") if text in self.wrong else rated
        self.tasks.append(task)
        return Judgment(
            judge="j",
            judge_id="j",
            benchmark="align",
            prompt_id=task.prompt.id,
            response_ids=(response.id,),
            order=("candidate",),
            verdict=verdict,
        )


def test_by_grades_of_a_rubric():
    judge = Grader(("cc",))
    ranker = JudgeRanker(JudgeSpec(model="openai:j"), "rubric:honest", lambda: judge)
    found = {(k, n): (v, e) for k, n, v, e in ranker.scores(ALL)}
    assert found["p", 1] == (3.0, "") and found["p", 2] == (None, "unparsed")
    assert found["q", 0] == (4.0, "") and found["q", 1] == (1.0, "")
    assert len(judge.tasks) == 5 and judge.closed, "each answer is graded once"


def test_the_ranker_is_identified_by_what_its_form_asks(tmp_path):
    path = tmp_path / "rubric.yaml"
    context = RankerContext(data=None)

    def identity(question):
        path.write_text(f"name: r\ndimensions: [{{name: good, question: {question}}}]\n")
        rubric_form._class_of_name.cache_clear()
        return JudgeRanker.from_options({"judge": {"model": "openai:j"}, "form": f"rubric:{path}"}, context).identity

    assert identity("Good") == identity("Good")
    assert identity("Good") != identity("Better")
    assert "form_content" not in JudgeRanker.from_options({"judge": {"model": "openai:j"}}, context).identity


def test_a_verdict_that_cannot_be_read_is_no_tie():
    found = {(k, n): (v, e) for k, n, v, e in by_judge(Judge(("cc",)), 3).scores(ALL)}
    assert found["p", 2] == (None, "unparsed") and found["p", 0] == (None, "unparsed")
    assert found["q", 0] == (1.0, "")


@pytest.mark.parametrize("ranker", [by_engine(RuledPreferences(len)), by_judge(Judge(), 1)])
def test_a_prompt_is_scored_as_soon_as_its_comparisons_are_in(ranker):
    many = [answers(f"p{i}", "a", "bb", "ccc") for i in range(30)]
    scores = ranker.scores(many)
    first = [next(scores) for _ in range(3)]
    assert len({key for key, *_ in first}) == 1
    rest = list(scores)
    assert len(rest) == 87 and {k for k, *_ in first}.isdisjoint({k for k, *_ in rest})
    if isinstance(ranker, JudgeRanker):
        assert len(ranker.load().tasks) == 180


def test_a_stopped_ranking_goes_on_with_the_prompts_that_are_missing(tmp_path):
    class Dies(RuledRewards):
        def rewards(self, requests):
            for number, found in enumerate(super().rewards(requests)):
                if number == 3:
                    raise KeyboardInterrupt
                yield found

    flat = [sample for own in ALL for sample in own]
    with pytest.raises(KeyboardInterrupt):
        rank(flat, tmp_path, by_engine(Dies(len)))
    assert len(list(read_rewards(tmp_path))) == 3  # q's two and one of p's: the last asked is answered first
    engine, gold = RuledRewards(len), RuledRewards(lambda text: -len(text))
    rank(flat, tmp_path, by_engine(engine), by_engine(gold))
    assert engine.passes == [3] and engine.closed and gold.closed
    found = {(r.prompt_key, r.sample): (r.reward, r.gold) for r in read_rewards(tmp_path)}
    assert {key: value for key, (value, _) in found.items()} == scored(by_engine(RuledRewards(len)))
    assert found["p", 1] == (3, -3)
    rank(flat, tmp_path, EngineRanker("an engine", {}, lambda: pytest.fail("the ranker was loaded")))


def test_answers_that_failed_or_are_empty_are_not_ranked(tmp_path):
    failed = Sample(prompt_key="p", prompt=ALL[0][0].prompt, sample=3, temperature=1.0, finish="error", error="gone")
    empty = answers("p", "a", "b", "c", "d", " ")[4]
    rank([*ALL[0], failed, empty], tmp_path, by_engine(RuledRewards(len)))
    assert {r.sample for r in read_rewards(tmp_path)} == {0, 1, 2}


def test_an_engine_that_scores_nothing_is_refused():
    with pytest.raises(SpecError, match="scores no answers"):
        scored(by_engine(registry.load("engine", "scripted").from_options({"model": "scripted"})))
