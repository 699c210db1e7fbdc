"""Records: identity by content, a value or a reason, NaN nowhere."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.records import Judgment, Preference, Prompt, Rating, Response, Score, SummaryRow, Unscored

PROMPT = Prompt(benchmark="b", version="1", key="7", turns=("What is 2 + 2?",))


def response(**fields) -> Response:
    return Response(
        **{"prompt_id": PROMPT.id, "benchmark": "b", "model": "m", "model_id": "i", "turns": ("4",), **fields}
    )


def test_ids_are_made_of_content():
    same = Prompt(benchmark="b", version="1", key="7", turns=("What is 2 + 2?",), category="math")
    other = Prompt(benchmark="b", version="1", key="7", turns=("What is 2 + 3?",))
    assert PROMPT.id == same.id != other.id
    assert response().id != response(turns=("5",)).id
    assert response().id != response(role="baseline").id


def test_the_reference_answer_is_for_the_judge_and_no_part_of_the_prompts_id():
    assert Prompt(benchmark="b", version="1", key="7", turns=("What is 2 + 2?",), reference=("4",)).id == PROMPT.id


def test_cluster_is_the_key_unless_items_share_one():
    assert PROMPT.cluster == "7"
    assert Prompt(benchmark="b", version="1", key="7", turns=("x",), cluster="c").cluster == "c"


@pytest.mark.parametrize(
    "verdict",
    [Rating(value=7.5, low=1, high=10), Preference(p_first=0.25, label="B>A"), Unscored(reason="refused", detail="no")],
)
def test_a_judgment_survives_its_line(verdict):
    judgment = Judgment(
        judge="j",
        judge_id="i",
        benchmark="b",
        prompt_id=PROMPT.id,
        response_ids=("r",),
        order=("candidate",),
        verdict=verdict,
        raw='line one\nline "two"\u2028',
        cost=0.0,
    )
    line = judgment.to_line()
    assert "\n" not in line
    assert Judgment.model_validate_json(line) == judgment


@given(st.text(alphabet=st.characters(), max_size=40))
def test_any_text_survives(text):
    kept = Response.model_validate_json(response(turns=(text,)).to_line())
    assert kept == response(turns=(text,))


def test_lone_surrogates_are_replaced_not_fatal():
    assert response(turns=("a\ud800b",)).turns == ("a\ufffdb",)


@given(st.floats(0, 1))
def test_probabilities_survive_to_the_last_bit(p):
    assert Preference.model_validate_json(Preference(p_first=p).model_dump_json()).p_first == p


def test_a_rating_off_its_scale_is_refused():
    with pytest.raises(ValidationError, match="outside its scale"):
        Rating(value=11, low=1, high=10)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_a_number_is_refused_everywhere(value):
    with pytest.raises(ValidationError):
        Rating(value=value, low=1, high=10)
    with pytest.raises(ValidationError):
        Preference(p_first=value)
    with pytest.raises(ValueError, match="a missing value needs a reason"):
        Score(benchmark="b", prompt_id="p", metric="m", cluster="c", value=value)


@pytest.mark.parametrize("fields", [{}, {"value": 1.0, "reason": "refused"}])
def test_a_score_has_a_value_or_a_reason(fields):
    with pytest.raises(ValueError, match="a value or a reason"):
        Score(benchmark="b", prompt_id="p", metric="m", cluster="c", **fields)
    with pytest.raises(ValidationError, match="a value or a reason"):
        SummaryRow(benchmark="b", metric="m", **fields)


def test_unknown_reasons_and_fields_are_refused():
    with pytest.raises(ValidationError):
        Unscored(reason="dunno")
    with pytest.raises(ValidationError):
        response(colour="red")
