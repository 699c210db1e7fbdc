"""Policies: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import pytest

from harness.errors import MissingDataError, SpecError, UnknownNameError
from harness.gate.policy import find_policy, load_policy, make_policy, shipped_policies


def policy(*rules, **fields):
    return make_policy({"rules": list(rules), **fields})


IMPROVE = {"improve": {"benchmark": "alpaca_eval", "metric": "win_rate", "margin": 0}}


def keep(**fields):
    return {"keep": {"benchmark": "gsm8k", "metric": "exact_match", "margin": 1.0, **fields}}


def limit(**fields):
    return {"limit": {"benchmark": "safety", "metric": "unsafe", **fields}}


def test_the_contracts_example():
    made = policy(
        {"improve": {"benchmark": "alpaca_eval", "metric": "length_controlled_win_rate", "margin": 0}},
        {"keep": {"benchmark": "gsm8k", "metric": "exact_match", "margin": 1.0}},
        alpha=0.05,
    )
    assert [(kind, rule.metric, rule.margin.value) for kind, rule in made.each_rule()] == [
        ("improve", "length_controlled_win_rate", 0.0),
        ("keep", "exact_match", 1.0),
    ]


@pytest.mark.parametrize(
    ("given", "value", "relative"),
    [(1, 1.0, False), ("2.5", 2.5, False), ("20%", 0.2, True), (" 5 % ", 0.05, True), (0, 0.0, False)],
)
def test_margins(given, value, relative):
    ((_, rule),) = policy(keep(margin=given)).each_rule()
    assert (rule.margin.value, rule.margin.relative) == (pytest.approx(value), relative)


@pytest.mark.parametrize("given", [-1, "-1%", "a lot", True, float("nan"), float("inf"), [1]])
def test_margins_that_are_none(given):
    with pytest.raises(SpecError, match="a margin is a number"):
        policy(keep(margin=given))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rules": [{"improve": {"benchmark": "a", "metric": "b", "margn": 1}}]}, "did you mean 'margin'"),
        ({"rule": [IMPROVE]}, "did you mean 'rules'"),
        ({"rules": [{"improv": {}}]}, "did you mean 'improve'"),
        ({"rules": []}, "at least one rule"),
        ({"rules": [{"any": []}]}, "at least one rule"),
        ({"rules": [{}]}, "one of improve, keep, equivalent, limit, any, all"),
        ({"rules": [IMPROVE | keep()]}, "not improve and keep"),
        ({"rules": [{"keep": {"benchmark": "a", "metric": "b"}}]}, "a margin is required"),
        ({"rules": [IMPROVE], "alpha": 0.6}, "alpha"),
        ({"rules": [IMPROVE], "alpha": 0}, "alpha"),
        ({"rules": [IMPROVE], "on_undecided": "maybe"}, "on_undecided"),
        ({"rules": [IMPROVE, IMPROVE]}, "occurs twice"),
        ({"rules": [{"any": [{"any": [IMPROVE]}]}]}, "an `any` group cannot contain groups"),
        ({"rules": [{"improve": {"benchmark": "a", "metric": "b", "better": "neither"}}]}, "never pass"),
        ({"rules": [limit()]}, "exactly one of at_most and at_least is expected, not none"),
        ({"rules": [limit(at_most=1, at_least=0)]}, "not at_most and at_least; write two limits for a range"),
        ({"rules": [limit(at_most=5), limit(at_most=7)]}, "occurs twice"),
        ({"rules": [limit(at_most=5), limit(at_least=7)]}, "at least 7 and at most 5 can never both pass"),
        ({"rules": [limit(at_most=5, margin=1)]}, "unknown field 'rules.0.limit.margin'"),
        ({"rules": [limit(at_most=float("nan"))]}, "finite number"),
        ({"rules": [{"limit": {"benchmark": "a", "metric": "head_to_head", "at_least": 50}}]}, "use improve or keep"),
        ({"rules": [{"equivalent": {"benchmark": "a", "metric": "b"}}]}, "'rules.0.equivalent.margin' is missing"),
        ({"rules": [{"equivalent": {"benchmark": "a", "metric": "b", "margin": 1, "better": "lower"}}]}, "better"),
        ({"rules": [keep(tier="important")]}, "'critical', 'supporting' or 'advisory'"),
        ({"rules": [keep(tier="supporting")]}, "no rule is critical"),
        ({"rules": [IMPROVE, keep(tier="advisory", on_undecided="fail")]}, "has no effect on a rule of tier advisory"),
        ({"rules": [IMPROVE, {"any": [keep(tier="advisory")]}]}, "write it beside `any`"),
        ({"rules": [limit(at_most=5, categories="worst")]}, "write categories: each"),
        ({"rules": [keep(categories="worst", better="neither")]}, "better must be higher or lower"),
        ({"rules": [keep(categories="each", margin="20%")]}, "a margin in the metric's unit, not a share"),
        ({"rules": [keep(categories="all")]}, "'each' or 'worst'"),
        ({"rules": [keep(categories="each"), keep(categories="each")]}, "in each category occurs twice"),
        ({"rules": [keep(categories="worst", metric="head_to_head")]}, "the baseline has half in each"),
        ({"rules": [IMPROVE | {"tier": "advisory"}]}, "a tier stands in the rule itself"),
    ],
)
def test_refusals(values, said):
    with pytest.raises(SpecError, match=said):
        make_policy(values)


def test_a_rule_that_can_never_pass_beside_another_is_refused():
    wider = {"improve": {"benchmark": "gsm8k", "metric": "exact_match", "margin": 2}}
    with pytest.raises(SpecError, match="never both pass"):
        policy(wider, keep(margin=1, better="neither"))
    policy(wider, keep(margin=3, better="neither"))


def test_equivalent_is_keep_on_both_sides():
    written = {"benchmark": "a", "metric": "b", "margin": "20%", "min_n": 40, "tier": "supporting"}
    made, other = policy(IMPROVE, {"equivalent": written}), policy(IMPROVE, {"keep": written | {"better": "neither"}})
    assert list(made.each_rule()) == list(other.each_rule())


def test_a_range_is_two_limits_and_needs_no_baseline():
    made = policy(limit(at_least=2), limit(at_most=5))
    assert [(kind, rule.words) for kind, rule in made.each_rule()] == [
        ("limit", "at least 2"),
        ("limit", "at most 5"),
    ]
    assert not made.needs_baseline
    assert policy(IMPROVE, limit(at_most=5)).needs_baseline


def test_what_came_later_is_no_part_of_older_policies_as_they_are_stored():
    (stored,) = policy(IMPROVE).model_dump(mode="json")["rules"]
    assert set(stored) == {"improve", "keep", "any", "all"}
    rule = {"benchmark", "metric", "margin", "better", "required", "min_n", "max_unscored", "on_undecided"}
    assert set(stored["improve"]) == rule
    advisory = policy(IMPROVE, keep(tier="advisory")).model_dump(mode="json")
    assert advisory["rules"][1]["keep"]["tier"] == "advisory"


def test_all_groups_are_taken_apart():
    made = policy({"all": [IMPROVE, {"all": [keep()]}]})
    assert [entry.rule is not None for entry in made.rules] == [True, True]


def test_shipped_policies_load_and_hold_what_they_promise():
    assert set(shipped_policies()) == {"chat-progress", "no-regression", "reward-model"}
    chat = find_policy("chat-progress")
    rules = {(kind, r.benchmark, r.metric): r for kind, r in chat.each_rule()}
    assert rules["keep", "gsm8k", "exact_match"].margin.value == 1.0
    assert rules["keep", "alpaca_eval", "avg_length"].margin.relative
    assert ("improve", "alpaca_eval", "length_controlled_win_rate") in rules
    assert all(kind == "keep" for kind, _ in find_policy("no-regression").each_rule())
    assert len(list(find_policy("reward-model").each_rule())) == 5


def test_a_policy_is_named_or_a_file(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean chat-progress"):
        find_policy("chat-progres")
    with pytest.raises(MissingDataError):
        load_policy(tmp_path / "none.yaml")
    path = tmp_path / "mine.yaml"
    path.write_text("rules: [improve: {benchmark: a, metric: b}]\n")
    assert find_policy(str(path)).name == "mine"
    path.write_text("- a\n")
    with pytest.raises(SpecError, match="mapping"):
        find_policy(str(path))
