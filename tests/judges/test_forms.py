"""Judge forms: the official prompts byte for byte, asked as upstream asks, read where upstream reads."""

from __future__ import annotations

import asyncio
import json

import pytest

from harness.endpoint.client import ChatFailure, ChatReply, ChatRequest, TokenLogprob
from harness.errors import MissingDataError
from harness.packages import package_file
from harness.protocols import JudgeContext, JudgeTask
from harness.records import Preference, Prompt, Rating, Response
from harness.run.plan import load_judge
from harness.spec import JudgeSpec
from judges.forms import AlpacaEvalForm, FiveWayForm, FiveWayV2Form, PairwiseForm, RatingForm
from judges.templates import ArenaSettings, Template
from tests.paths import MIRROR, needs_data

pytestmark = needs_data

FASTCHAT = "github/lm-sys/FastChat/*/fastchat/llm_judge/data/judge_prompts.jsonl"
BRACES = "An answer with {braces}, {question} and a \\ backslash."


@pytest.fixture
def official():
    rows = [json.loads(line) for line in next(MIRROR.glob(FASTCHAT)).read_text().splitlines()]
    return {row["name"]: row for row in rows}


def prompt(reference=None, turns=("First {question}?", "Second?"), category="writing"):
    return Prompt(benchmark="b", version="1", key="1", turns=turns, reference=reference, category=category)


def answer(*turns, role="candidate"):
    return Response(prompt_id="p", benchmark="b", model=role, model_id="i", role=role, turns=turns)


def say(text, **fields):
    """A judge that answers each request with the next text, and keeps what it was asked."""
    asked: list[ChatRequest] = []
    texts = [text] if isinstance(text, str) else list(text)

    async def ask(request: ChatRequest) -> ChatReply:
        asked.append(request)
        values = {"finish": "stop", "refusal": "", "logprobs": None, "n_prompt_tokens": 1, "n_completion_tokens": 1}
        return ChatReply(**{"text": texts[len(asked) - 1], **values, "model": "j", **fields})

    return ask, asked


@pytest.mark.parametrize(
    ("turn", "reference", "name"),
    [
        (1, None, "single-v1"),
        (2, None, "single-v1-multi-turn"),
        (1, ("ref one", "ref two"), "single-math-v1"),
        (2, ("ref one", "ref two"), "single-math-v1-multi-turn"),
    ],
)
def test_the_rating_prompt_is_the_official_one(data, official, turn, reference, name):
    form = RatingForm.from_data(data)
    task = JudgeTask(prompt(reference), "rating", (answer(BRACES, "Second answer."),), turn=turn)
    request = form.first_request(task, form.settings)
    values = {"question": "First {question}?", "question_1": "First {question}?", "question_2": "Second?"}
    values |= {"answer": BRACES, "answer_1": BRACES, "answer_2": "Second answer."}
    values |= {"ref_answer_1": "ref one", "ref_answer_2": "ref two"}
    assert [m.role for m in request.messages] == ["system", "user"]
    assert request.messages[0].content == official[name]["system_prompt"]
    assert request.messages[1].content == official[name]["prompt_template"].format(**values)
    assert (request.temperature, request.max_tokens, request.top_logprobs) == (0.0, 2048, 0)


@pytest.mark.parametrize(
    ("turn", "reference", "name"),
    [
        (1, None, "pair-v2"),
        (2, None, "pair-v2-multi-turn"),
        (1, ("ref one", "ref two"), "pair-math-v1"),
        (2, ("ref one", "ref two"), "pair-math-v1-multi-turn"),
    ],
)
def test_the_pairwise_prompt_shows_the_answers_in_the_order_of_the_task(data, official, turn, reference, name):
    form = PairwiseForm.from_data(data)
    sides = (answer("base 1", "base 2", role="baseline"), answer("cand 1", "cand 2"))
    for first, second in (sides, sides[::-1]):
        task = JudgeTask(prompt(reference), "pairwise", (first, second), turn=turn)
        values = {"question": "First {question}?", "question_1": "First {question}?", "question_2": "Second?"}
        values |= {"answer_a": first.turns[0], "answer_b": second.turns[0]}
        values |= {f"answer_{s}_{i + 1}": r.turns[i] for s, r in (("a", first), ("b", second)) for i in (0, 1)}
        values |= {"ref_answer_1": "ref one", "ref_answer_2": "ref two"}
        request = form.first_request(task, form.settings)
        assert request.messages[1].content == official[name]["prompt_template"].format(**values)
        reading = asyncio.run(form.judge(task, form.settings, say("I prefer [[B]]")[0]))
        assert reading.verdict == Preference(p_first=0.0, label="B")


def test_the_alpaca_eval_prompt_is_the_packages(data):
    form = AlpacaEvalForm.from_data(data)
    task = JudgeTask(prompt(turns=("Do {this}.",)), "alpaca_eval", (answer(BRACES, role="baseline"), answer("other")))
    request = form.first_request(task, form.settings)
    text = package_file(
        "alpaca_eval", "evaluators_configs", "alpaca_eval_clf_gpt4_turbo", "alpaca_eval_clf.txt"
    ).read_text()
    system, user = (part.split("\n", 1)[1].split("<|im_end|>")[0].strip() for part in text.split("<|im_start|>")[1:])
    expected = user.replace("{instruction}", "Do {this}.").replace("{output_1}", BRACES).replace("{output_2}", "other")
    assert [m.content for m in request.messages] == [system, expected]
    assert (request.temperature, request.max_tokens, request.top_logprobs) == (1.0, 1, 5)


def test_equal_outputs_are_a_tie_without_asking(data):
    form = AlpacaEvalForm.from_data(data)
    task = JudgeTask(prompt(), "alpaca_eval", (answer("same", role="baseline"), answer("same")))
    ask, asked = say("m")
    assert asyncio.run(form.judge(task, form.settings, ask)).verdict.p_first == 0.5
    assert asked == []


def test_the_alpaca_eval_verdict_is_the_first_tokens(data):
    form = AlpacaEvalForm.from_data(data)
    task = JudgeTask(prompt(), "alpaca_eval", (answer("a", role="baseline"), answer("b")))
    ask, _ = say("M", logprobs=(TokenLogprob("M", -0.1, (("M", -0.1), ("m", -2.4))),))
    reading = asyncio.run(form.judge(task, form.settings, ask))
    assert reading.verdict.p_first == pytest.approx(1 / (1 + 2.718281828459045**2.3))
    assert reading.meta["top_logprobs"] == [["M", -0.1], ["m", -2.4]]


def test_arena_hard_asks_again_once_where_there_is_no_label(data):
    form = FiveWayForm.from_data(data)
    task = JudgeTask(prompt(turns=("q",)), "five_way", (answer("base", role="baseline"), answer("cand")))
    ask, asked = say(["Let me think.", "So: [[B>>A]]"])
    reading = asyncio.run(form.judge(task, form.settings, ask))
    assert reading.verdict == Preference(p_first=0.0, label="B>>A")
    assert [m.role for m in asked[1].messages] == ["system", "user", "assistant", "user"]
    assert reading.raw == "Let me think.\nSo: [[B>>A]]"
    assert (asked[0].temperature, asked[0].max_tokens) == (0.0, 2048)
    ask, asked = say(["Hm.", "Hm."])
    assert asyncio.run(form.judge(task, form.settings, ask)).verdict.reason == "unparsed"
    assert len(asked) == 2
    ask, asked = say("[[A>B]] or [[B>A]]")
    assert asyncio.run(form.judge(task, form.settings, ask)).verdict.reason == "ambiguous"
    assert len(asked) == 1, "labels that differ are not asked for again, as upstream"


def test_arena_hard_v2_reads_the_last_label_of_one_attempt(data):
    form = FiveWayV2Form.from_data(data)
    task = JudgeTask(
        prompt(turns=("q",), category="hard_prompt"), "five_way_v2", (answer("base", role="baseline"), answer("cand"))
    )
    ask, asked = say("At first [[A>B]]; on reflection [[B>A]]")
    assert asyncio.run(form.judge(task, form.settings, ask)).verdict.label == "B>A"
    assert asked[0].max_tokens == 16000
    assert "<|The Start of Assistant A's Answer|>\nbase\n" in asked[0].messages[1].content


def judge_of(data, **fields):
    return load_judge(JudgeContext(JudgeSpec(model="openai:j", base_url="http://localhost:1/v1", **fields), data))


def test_a_judges_id_hangs_on_model_prompt_and_sampling_and_not_on_the_endpoint(data):
    first = judge_of(data).judge_id("rating")
    assert first == judge_of(data, concurrency=3, timeout_s=9).judge_id("rating")
    assert first != judge_of(data, temperature=0.5).judge_id("rating")
    assert first != judge_of(data, max_tokens=64).judge_id("rating")
    assert first != judge_of(data).judge_id("five_way")
    assert judge_of(data).judge_id("alpaca_eval") == judge_of(data, max_tokens=64).judge_id("alpaca_eval")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("timeout", "timeout"), ("context_length", "context_length"), ("server_error", "request_failed")],
)
def test_what_fails_for_one_request_is_a_reason(data, monkeypatch, kind, reason):
    judge = judge_of(data)
    task = JudgeTask(prompt(), "rating", (answer("a", "b"),))

    class Client:
        async def complete(self, request):
            raise ChatFailure(kind, "what the endpoint said")

    monkeypatch.setattr(judge, "_backend", Client())
    judgment = asyncio.run(judge.judge(task))
    assert judgment.verdict.reason == reason
    assert "what the endpoint said" in judgment.verdict.detail
    assert judge.ledger.reserved == 0


def test_a_request_longer_than_the_judge_reads_is_not_sent(data, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    judge = load_judge(JudgeContext(JudgeSpec(model="openai:gpt-4"), data, max_cost=100.0))
    monkeypatch.setattr(judge, "_backend", object())  # nothing is asked of it
    judgment = asyncio.run(judge.judge(JudgeTask(prompt(), "rating", (answer("word " * 20_000, "b"),))))
    assert judgment.verdict.reason == "context_length"
    assert "the model reads 8,192; the request was not sent" in judgment.verdict.detail
    assert (judge.ledger.spent, judge.ledger.reserved) == (0, 0)


def test_a_judgment_names_everything_it_rests_on(data, monkeypatch):
    judge = judge_of(data, price=(10, 30))
    response = answer("a", "b")
    task = JudgeTask(prompt(), "rating", (response,), turn=2)

    class Client:
        async def complete(self, request):
            return ChatReply("Rating: [[7]]", "stop", "", None, 1000, 100, "j-0613")

    monkeypatch.setattr(judge, "_backend", Client())
    made = asyncio.run(judge.judge(task))
    assert made.verdict == Rating(value=7, low=1, high=10)
    assert (made.response_ids, made.order, made.turn) == ((response.id,), ("candidate",), 2)
    assert (made.n_prompt_tokens, made.n_completion_tokens) == (1000, 100)
    assert made.cost == pytest.approx(0.013)
    assert made.meta["served_by"] == "j-0613"
    assert made.judge_id == judge.judge_id("rating")
    assert made.request_hash


@pytest.mark.parametrize(
    ("form", "as_official", "changed"),
    [
        ("rating", "362a6a4c4e3860e1e1f1", "b1130ad8a0ec31739897"),
        ("pairwise", "852531778265a68957a8", "e61810738ebccfe9bec1"),
        ("alpaca_eval", "585b8efb714b5c56304e", "74eacfd43ef28ab508d3"),
        ("five_way", "8b62436e80591900a986", "1bf82afbcb75f813ea5d"),
        ("five_way_v2", "b16301420c92b526a0a1", "e02f9398d5b805d70d9b"),
    ],
)
def test_the_ids_of_the_shipped_forms_stay(data, form, as_official, changed):
    """Stored verdicts are found again by these: a change here throws every cached judgment away."""
    judge = load_judge(JudgeContext(JudgeSpec(model="openai:gpt-4"), data))
    assert judge.judge_id(form) == as_official
    judge = load_judge(JudgeContext(JudgeSpec(model="openai:gpt-4", max_tokens=99, temperature=0.5), data))
    assert judge.judge_id(form) == changed


def test_the_five_way_identity_covers_the_creative_writing_prompt(data):
    def identity(creative):
        known = {"hard_prompt": Template("hard", "Judge.", "{question_1}")}
        if creative:
            known["creative_writing"] = Template("creative", creative, "{question_1}")
        templates = Unavailable(known)
        return FiveWayV2Form(ArenaSettings(templates, 0.0, 100, 1)).identity()

    assert len({identity(text) for text in ("", "Judge the style.", "Judge the plot.")}) == 3
    # where upstream's file is missing, as in the mirror, the id is the one of earlier runs
    assert FiveWayV2Form.from_data(data).identity() == FiveWayForm.identity(FiveWayV2Form.from_data(data))


class Unavailable(dict):
    """Templates of which a missing one is a missing upstream file."""

    def __missing__(self, category):
        raise MissingDataError(f"no prompt for {category}")
