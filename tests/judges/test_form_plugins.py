"""A judge form of another package: chosen by what it declares, wherever forms are used."""

from __future__ import annotations

import asyncio

import pytest

from harness.endpoint.exchange import ChatReply
from harness.errors import PluginError, UsageError
from harness.protocols import JudgeContext, JudgeTask
from harness.records import Preference, Prompt, Rating, Response
from harness.run.plan import compares, load_benchmark, load_judge
from harness.spec import JudgeSpec, validated
from tests.harness.test_registry import BENCHMARK
from training.align.recipe import RankerRecipe
from training.demo.judge import GoldJudge

FORM = """
from harness.hashing import content_hash
from harness.messages import Message
from harness.protocols import ChatSettings, Reading
from harness.records import Preference, Rating, Unscored


class Mine:
    verdict, n_answers, reads, usual_reply_tokens = "preference", 2, "text", 1
    settings = ChatSettings(max_tokens=1)

    @classmethod
    def from_data(cls, data):
        return cls()

    def identity(self):
        return content_hash("mine", 1)

    def first_request(self, task, settings):
        answers = " | ".join(response.turns[0] for response in task.responses)
        return settings.request((Message("user", f"{task.prompt.turns[0]}: {answers}"),))

    async def judge(self, task, settings, ask):
        reply = await ask(self.first_request(task, settings))
        shown = {"1": 1.0, "2": 0.0}.get(reply.text)
        verdict = Unscored(reason="unparsed") if shown is None else Preference(p_first=shown)
        return Reading(verdict, reply.text, {})
"""
RATING = FORM.replace('"preference", 2', '"rating", 1').replace(
    "Preference(p_first=shown)", "Rating(value=shown, low=0.0, high=1.0)"
)


@pytest.fixture
def form(install_plugin):
    def install(source):
        benchmark = BENCHMARK.replace('"mine", "1", ()', '"mine", "1", ("mine",)')
        groups = {"assay.judge_forms": {"mine": "my_form:Mine"}, "assay.benchmarks": {"mine": "my_bench:Mine"}}
        install_plugin("my-form", {"my_form": source, "my_bench": benchmark}, groups)

    return install


def task(n_answers, form="mine"):
    prompt = Prompt(benchmark="mine", version="1", key="1", turns=("q",))
    roles = ("baseline", "candidate")[-n_answers:]
    answers = [
        Response(prompt_id=prompt.id, benchmark="mine", model="m", model_id="m", role=role, turns=(role,))
        for role in roles
    ]
    return prompt, JudgeTask(prompt, form, tuple(answers))


def judged_by_chat(judge, task, text):
    async def ask(request):
        assert request.max_tokens == 1
        return ChatReply(text=text)

    form = judge.form(task.form)
    return asyncio.run(form.judge(task, judge.settings(task.form), ask)).verdict


@pytest.mark.parametrize(("source", "own"), [(FORM, "mine"), (RATING, "pairwise")])
def test_head_to_head_uses_the_form_where_it_compares(form, source, own):
    form(source)
    benchmark = load_benchmark("head_to_head:mine")
    assert benchmark.judge_forms == (own,)
    prompt, asked = task(2)
    baseline, candidate = asked.responses
    tasks = benchmark.tasks(prompt, candidate, baseline)
    assert [(t.form, [r.role for r in t.responses]) for t in tasks] == [
        (own, ["baseline", "candidate"]),
        (own, ["candidate", "baseline"]),
    ]


@pytest.mark.parametrize(
    ("source", "n_answers", "verdict"),
    [(FORM, 2, Preference(p_first=0.0)), (RATING, 1, Rating(value=0.0, low=0.0, high=1.0))],
)
def test_a_language_model_answers_in_it(form, source, n_answers, verdict):
    form(source)
    judge = load_judge(JudgeContext(JudgeSpec(model="openai:j", base_url="http://localhost:1/v1"), None))
    assert judged_by_chat(judge, task(n_answers)[1], "2") == verdict
    assert len(judge.judge_id("mine")) == 20 and judge.usual_reply_tokens("mine") == 1


def test_a_limit_on_replies_leaves_forms_alone_that_read_log_probabilities(form):
    form(FORM.replace('"text"', '"logprobs"'))
    context = JudgeContext(JudgeSpec(model="openai:j", base_url="http://localhost:1/v1", max_tokens=64), None)
    assert load_judge(context).settings("mine").max_tokens == 1


def test_model_judges_say_what_they_can_answer(form, monkeypatch):
    form(RATING)
    judge = load_judge(JudgeContext(JudgeSpec(model="reward_model:nowhere"), None))
    with pytest.raises(UsageError, match="compares two answers, and the judge form 'mine' asks for a rating of 1"):
        judge.judge_id("mine")
    with pytest.raises(UsageError, match="unknown judge form 'haiku'"):
        judge.judge_id("haiku")


def test_align_ranks_with_forms_that_exist(form):
    form(FORM)
    ranker = {"judge": {"model": "openai:j"}, "form": "mine"}
    assert validated(RankerRecipe, ranker, "ranker").form == "mine"
    assert validated(RankerRecipe, ranker | {"form": "rubric:honest"}, "ranker").form == "rubric:honest"
    with pytest.raises(UsageError, match="unknown judge form 'haiku'"):
        validated(RankerRecipe, ranker | {"form": "haiku"}, "ranker")


def test_the_gold_judge_gives_the_verdict_that_a_form_declares(form):
    form(FORM)
    gold = GoldJudge(JudgeContext(JudgeSpec(model="gold:world"), None))
    assert compares("mine") and len(gold.judge_id("mine")) == 20


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ('verdict, n_answers, reads, usual_reply_tokens = "preference", 2, "text", 1', "reads = 1"),
            "lacks n_answers",
        ),
        (("def identity", "def hash"), "Mine lacks identity"),
        (("return cls()", "return cls(data)"), "raised TypeError"),
    ],
)
def test_what_a_form_lacks_is_said(form, change, said):
    form(FORM.replace(*change))
    judge = load_judge(JudgeContext(JudgeSpec(model="openai:j", base_url="http://localhost:1/v1"), None))
    with pytest.raises(PluginError) as raised:
        judge.form("mine")
    assert said in str(raised.value) and "docs/extending.md" in str(raised.value)
