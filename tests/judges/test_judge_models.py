"""Reward models, preference models and DPO policies as judges: verdicts worked by hand, asked together."""

from __future__ import annotations

import asyncio
import math

import pytest

from harness import registry
from harness.errors import ModelError, SpecError, UsageError
from harness.protocols import Judge, JudgeContext, JudgeTask
from harness.records import Preference, Prompt, Response, Unscored
from harness.run.plan import load_judge
from harness.spec import JudgeSpec
from judges.preference_model import PreferenceModelJudge, _shown
from judges.reward_model import RewardModelJudge
from tests.support.random_models import build
from tests.support.reward_models import saved, saved_classifier
from tests.support.scripted_scorers import RuledPreferences, RuledRewards


def task(first="one", second="three", form="pairwise", turns=1, number=0) -> JudgeTask:
    prompt = Prompt(benchmark="b", version="1", key=str(number), turns=tuple(f"q{i}" for i in range(turns)))
    responses = [
        Response(prompt_id=prompt.id, benchmark="b", model="m", model_id="m", turns=("start",) * (turns - 1) + (text,))
        for text in (first, second)
    ]
    return JudgeTask(prompt, form, tuple(responses), turn=turns)


def judge_of(kind: str, model="ruled", **options) -> Judge:
    return load_judge(JudgeContext(JudgeSpec(model=f"{kind}:{model}", options=options), data=None))


@pytest.fixture
def ruled(monkeypatch):
    """Put an engine that follows a rule in a kind's place."""

    def put(kind, engine):
        class Factory:
            given: dict = {}  # noqa: RUF012 - a test's own

            @classmethod
            def from_options(cls, values):
                cls.given = dict(values)
                return engine

        load = registry.load
        monkeypatch.setattr(
            registry, "load", lambda what, name: Factory if (what, name) == ("engine", kind) else load(what, name)
        )
        return Factory

    return put


def judged(judge, *tasks):
    async def all_of_them():
        await judge.prepare()
        try:
            return await asyncio.gather(*(judge.judge(t) for t in tasks))
        finally:
            await judge.close()

    return asyncio.run(all_of_them())


def test_a_reward_model_prefers_by_bradley_and_terry(ruled):
    engine = RuledRewards(lambda text: float(len(text)))
    ruled("reward_model", engine)
    judge = judge_of("reward_model")
    assert isinstance(judge, RewardModelJudge)
    (found,) = judged(judge, task("one", "three"))
    assert found.verdict == Preference(p_first=1.0 / (1.0 + math.exp(2.0)))
    assert found.meta == {"rewards": [3.0, 5.0]}
    assert (found.judge, found.cost, found.n_completion_tokens) == ("ruled", 0.0, 0)
    assert engine.closed


def test_tasks_that_wait_are_judged_together(ruled):
    engine = RuledRewards(lambda text: float(len(text)))
    ruled("reward_model", engine)
    tasks = [task("x" * i, "y" * (29 - i), number=i) for i in range(30)]
    found = judged(judge_of("reward_model"), *tasks)
    assert engine.passes == [60]
    for i, judgment in enumerate(found):
        assert judgment.prompt_id == tasks[i].prompt.id
        assert judgment.verdict.p_first == pytest.approx(1.0 / (1.0 + math.exp(29 - 2 * i)))


def test_both_orders_agree(ruled):
    engine = RuledPreferences(lambda text: float(len(text)))
    engine.bias = 5.0
    ruled("preference_model", engine)
    first, second = judged(judge_of("preference_model"), task("one", "three"), task("three", "one"))
    assert first.verdict.p_first + second.verdict.p_first == pytest.approx(1.0)
    assert first.meta["p_as_shown"] > 0.5 > first.meta["p_swapped"]


def test_extreme_rewards_do_not_overflow(ruled):
    ruled("reward_model", RuledRewards(float))
    high, low = judged(judge_of("reward_model"), task("1e5", "-1e5"), task("-1e5", "1e5"))
    assert (high.verdict.p_first, low.verdict.p_first) == (1.0, 0.0)


def test_what_cannot_be_read_is_not_scored_and_spoils_no_other(ruled):
    ruled("reward_model", RuledRewards(lambda text: None if text == "bad" else 1.0))
    bad, good = judged(judge_of("reward_model"), task("bad", "x"), task("y", "x"))
    assert bad.verdict == Unscored(reason="request_failed", detail="cannot be read")
    assert good.verdict.p_first == 0.5


@pytest.mark.parametrize("kind", ["reward_model", "preference_model", "implicit_reward"])
def test_a_grade_is_not_theirs_to_give(ruled, kind):
    ruled(kind, RuledRewards(float))
    with pytest.raises(UsageError, match="the judge form 'rating' asks for a rating of 1"):
        judge_of(kind).judge_id("rating")


def test_identity_hangs_on_model_form_and_beta(ruled):
    ruled("implicit_reward", RuledRewards(float))
    ids = {judge_of("implicit_reward").judge_id(form) for form in ("pairwise", "alpaca_eval", "five_way")}
    ids.add(judge_of("implicit_reward", beta=0.1).judge_id("pairwise"))
    assert len(ids) == 4
    assert judge_of("implicit_reward").judge_id("pairwise") in ids


def test_beta_says_how_sure_an_implicit_reward_is(ruled):
    factory = ruled("implicit_reward", RuledRewards(float))
    (found,) = judged(judge_of("implicit_reward", beta=0.1, reference="sft"), task("10", "0"))
    assert found.verdict.p_first == pytest.approx(1.0 / (1.0 + math.exp(-1.0)))
    assert factory.given == {"model": "ruled", "reference": "sft"}
    with pytest.raises(SpecError, match="beta"):
        judge_of("implicit_reward", beta=0)


def test_the_second_turn_is_read_with_the_first():
    judge = PreferenceModelJudge(JudgeContext(JudgeSpec(model="preference_model:x"), data=None))
    assert judge.kind == "preference_model"
    same = task("one", "two", turns=2)
    context, answers = _shown(same)
    assert [m.content for m in context] == ["q0", "start", "q1"] and answers == ("one", "two")
    differing = JudgeTask(
        same.prompt,
        "pairwise",
        tuple(r.model_copy(update={"turns": (f"begin{i}", r.turns[1])}) for i, r in enumerate(same.responses)),
        turn=2,
    )
    context, answers = _shown(differing)
    assert [m.content for m in context] == ["q0"]
    assert answers[0] == "begin0\n\n<turn> user\n q1\n<turn> assistant\n one\n"


def test_real_models_judge(tmp_path):
    reward = saved_classifier(tmp_path / "rm")
    policy = saved(build("llama"), tmp_path / "policy")
    kinds = {"reward_model": (reward, {}), "implicit_reward": (policy, {"reference": str(policy)})}
    for kind, (model, options) in kinds.items():
        judge = judge_of(kind, str(model), **options)
        described = judge.describe()
        assert described["model"] == f"{kind}:{model}" and described["weights_hash"]
        found, swapped, same = judged(judge, task("one", "three"), task("three", "one"), task("one", "one"))
        assert found.verdict.p_first + swapped.verdict.p_first == pytest.approx(1.0)
        assert same.verdict.p_first == 0.5


def test_a_model_that_cannot_judge_stops_the_run_before_it_begins(tmp_path):
    with pytest.raises(ModelError, match="is a language model"):
        judge_of("reward_model", str(saved(build("llama"), tmp_path / "lm"))).judge_id("pairwise")
