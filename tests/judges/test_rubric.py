"""Rubric judges: by hand, in both ways of asking, and wrong rubrics."""

from __future__ import annotations

import asyncio

import pytest

from harness import registry
from harness.endpoint.exchange import ChatReply
from harness.errors import SpecError, UnknownNameError
from judges.rubric import load_rubric, shipped_rubrics
from tests.judges.test_file_forms import task

RUBRIC = """
name: mail
scale: [1, 5]
ask: {ask}
dimensions:
  - {{name: polite, question: "Is it polite?", negated: "Is it rude?", weight: 1}}
  - {{name: short, question: "Is it short?", scale: [0, 10], weight: 3}}
"""


def rubric(tmp_path, ask="each", text=RUBRIC):
    path = tmp_path / f"{ask}.yaml"
    path.write_text(text.format(ask=ask))
    return f"rubric:{path}"


def judged(reference, reply, asked_of=None):
    form = registry.make_judge_form(reference, None)
    requests = []

    async def ask(request):
        requests.append(request)
        return ChatReply(text=reply(request.messages[-1].content))

    return asyncio.run(form.judge(asked_of or task("Hello."), form.settings, ask)), requests


def by_dimension(text):
    return "Fine.\nRatings: polite=4" if "polite=N" in text else "Ratings: short=5"


def test_by_hand_each_dimension_alone(tmp_path):
    found, requests = judged(rubric(tmp_path), by_dimension)
    assert len(requests) == 2
    assert found.meta["rubric"] == {"polite": 4.0, "short": 5.0}
    # shares of the scales: (4 - 1) / 4 = 0.75 and 5 / 10 = 0.5; weights 1 and 3: 0.5625, on 1 to 5: 3.25
    assert found.verdict.value == pytest.approx(3.25, abs=1e-12)
    assert (found.verdict.low, found.verdict.high) == (1.0, 5.0)


def test_by_hand_all_dimensions_in_one_request(tmp_path):
    found, requests = judged(rubric(tmp_path, "together"), lambda text: "Ratings: polite=4, short=5")
    assert len(requests) == 1
    assert found.verdict.value == pytest.approx(3.25, abs=1e-12)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda text: "Ratings: polite=4" if "polite=N" in text else "no idea", "unparsed"),
        (lambda text: "Ratings: polite=4" if "polite=N" in text else "Ratings: short=11", "out_of_scale"),
        (lambda text: "Ratings: polite=4" if "polite=N" in text else "Ratings: short=7", "echoed"),
    ],
)
def test_a_dimension_without_a_grade_leaves_no_verdict(tmp_path, reply, reason):
    found, _ = judged(rubric(tmp_path), reply, task("Ratings: short=7"))
    assert found.verdict.reason == reason
    assert found.meta["rubric"] == {"polite": 4.0}


def test_the_judges_own_answer_comes_first(tmp_path):
    text = RUBRIC.replace("ask: {ask}", "ask: {ask}\nown_answer: true")
    found, requests = judged(
        rubric(tmp_path, text=text), lambda text: by_dimension(text) if "=N" in text else "MY OWN", task("a", turn=2)
    )
    assert [m.content for m in requests[0].messages] == ["What is 1 + 1?", "a", "And 2 + 2?"]
    assert all("MY OWN" in r.messages[0].content for r in requests[1:])
    assert found.raw.startswith("MY OWN")
    assert found.verdict.value == pytest.approx(3.25, abs=1e-12)


def test_a_dimension_may_need_a_reference(tmp_path):
    text = RUBRIC.replace("weight: 3", "weight: 3, needs_reference: true")
    found, requests = judged(rubric(tmp_path, text=text), by_dimension)
    assert (found.verdict.reason, requests) == ("missing", [])
    assert "short" in found.verdict.detail
    found, _ = judged(rubric(tmp_path, text=text), by_dimension, task("a", reference=("r", "s")))
    assert found.verdict.kind == "rating"


def test_the_shipped_rubrics():
    assert shipped_rubrics() == ["code", "grounded", "helpful-harmless", "honest"]
    for name in shipped_rubrics():
        rubric = load_rubric(name)
        assert rubric.name == name
        assert all(dimension.negated for dimension in rubric.dimensions)
        best = {dimension.name: rubric.scale_of(dimension)[1] for dimension in rubric.dimensions}
        assert rubric.combined(best) == rubric.scale[1]
        assert registry.judge_form(f"rubric:{name}").verdict == "rating"


def test_the_identity_is_what_is_asked(tmp_path):
    def identity(text, ask="each"):
        return registry.make_judge_form(rubric(tmp_path, ask, text), None).identity()

    registry_clear(tmp_path)
    first = identity(RUBRIC)
    registry_clear(tmp_path)
    assert identity(RUBRIC.replace("Is it rude?", "Is it curt?")) == first
    registry_clear(tmp_path)
    assert identity(RUBRIC.replace("Is it short?", "Is it brief?")) != first


def registry_clear(tmp_path):
    """Forms are read once a process."""
    from judges import rubric_form

    rubric_form._class_of_name.cache_clear()
    (tmp_path / "each.yaml").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dimensions:", "dimensions: []\nother:", "dimensions"),
        ("weight: 3", "weight: 0", "greater than 0"),
        ("name: short", "name: polite", "named twice: polite"),
        ("scale: [0, 10]", "scale: [10, 0]", "the first end must be the lower one"),
        ("scale: [1, 5]", "scale: [5, 1]", "the first end must be the lower one"),
        ('question: "Is it short', 'questoin: "Is it short', "did you mean 'question'?"),
        ("name: short", "name: Too Long", "dimensions.1.name"),
        ("ask: {ask}", "ask: never", "ask"),
    ],
)
def test_wrong_rubrics(tmp_path, old, new, message):
    with pytest.raises(SpecError) as caught:
        registry.judge_form(rubric(tmp_path, text=RUBRIC.replace(old, new)))
    assert message in str(caught.value)


def test_unknown_rubrics():
    for reference in ("rubric:", "rubric", "rubric:harmless"):
        with pytest.raises(UnknownNameError, match="helpful-harmless"):
            registry.judge_form(reference)
