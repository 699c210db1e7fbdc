"""Decisions on small runs: every outcome, every reason for refusing to decide."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from harness.errors import UsageError
from harness.gate.decide import decide
from harness.gate.evidence import PairedUnits, paired_units
from harness.gate.head_to_head import head_to_head_units
from harness.gate.opened_runs import Comparison
from harness.gate.policy import Rule, make_policy
from harness.gate.rule import Asked, decide_units
from harness.gate.sequential import SequentialTest
from harness.protocols import Items
from harness.records import Score
from harness.run.stored_run import StoredRun
from harness.stats.mean_test import Ends, decisiveness, mean_p_values
from harness.stats.non_inferiority import corrected_interval, corrected_p_values
from tests.support.gate_runs import NoData, alpaca_prompt, write_head_to_head, write_run

N = 200
WIN_RATE = {"benchmark": "alpaca_eval", "metric": "win_rate"}


def gate(candidate, baseline, *rules, head_to_head=None, training=(), **fields):
    policy = make_policy({"rules": list(rules), **fields})
    return decide(policy, Comparison(candidate, baseline, NoData(), head_to_head, training))


def shares(seed, shift=0.0, n=N):
    rng = np.random.default_rng(seed)
    return np.clip(rng.beta(1.0, 1.0, n) * 0.8 + shift, 0.0, 1.0).tolist()


@pytest.fixture
def old(tmp_path):
    return write_run(tmp_path / "old", "old", alpaca_eval=shares(1))


def run(tmp_path, name="new", **fields):
    return write_run(tmp_path / name, name, **fields)


def test_a_clear_gain_passes_by_the_test_of_a_bounded_mean(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2, 0.2))
    decision = gate(new, old, {"improve": WIN_RATE | {"margin": 3}})
    (rule,) = decision.rules
    a, b = 100 * np.array(shares(2, 0.2)), 100 * np.array(shares(1))
    decisive = max(decisiveness(side, (0.0, 100.0)) for side in (a, b))
    expected, _ = mean_p_values(a - b, 3.0, Ends(-100.0, 100.0, decisive))
    interval = stats.ttest_1samp(a - b, 0.0).confidence_interval(0.9)
    assert decision.decision == rule.decision == "pass"
    assert decision.exit_status == 0
    assert rule.tested.p_pass == expected
    assert rule.tested.difference.value == pytest.approx((a - b).mean())
    # on many prompts that differ without skewness the interval is close to Student's
    limits = rule.tested.difference.ci_low, rule.tested.difference.ci_high
    assert limits == pytest.approx(interval, abs=0.05 * (interval.high - interval.low))
    assert rule.p_adjusted == rule.tested.p_pass
    assert "improved by more than 3" in rule.reason


def test_the_json_has_the_contracts_keys_and_no_nan(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2, 0.2))
    found = gate(new, old, {"improve": WIN_RATE}).as_json()
    text = json.dumps(found, allow_nan=False)
    (rule,) = json.loads(text)["rules"]
    wanted = [
        "benchmark",
        "metric",
        "kind",
        "margin",
        "effect",
        "ci_low",
        "ci_high",
        "p_value",
        "p_adjusted",
        "decision",
        "reason",
        "n_needed",
    ]
    assert set(wanted) <= set(rule)
    assert found["decision"] == "pass"


def test_a_loss_beyond_the_margin_fails_and_within_it_passes(tmp_path, old):
    worse = run(tmp_path, alpaca_eval=[max(0.0, s - 0.08) for s in shares(1)])
    assert gate(worse, old, {"keep": WIN_RATE | {"margin": 2}}).exit_status == 1
    assert gate(worse, old, {"keep": WIN_RATE | {"margin": 12}}).decision == "pass"
    (rule,) = gate(worse, old, {"keep": WIN_RATE | {"margin": 2}}).rules
    assert "lost more than 2" in rule.reason


def test_noise_is_undecided_with_the_prompts_that_would_tell(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(5, 0.03))
    decision = gate(new, old, {"improve": WIN_RATE})
    (rule,) = decision.rules
    t = rule.tested
    assert decision.exit_status == 3
    sd, effect = t.sd, t.difference.value
    # the normal approximation of the number of pairs, (z_{.95} + z_{.8})^2 sd^2 / effect^2
    approximate = ((stats.norm.ppf(0.95) + stats.norm.ppf(0.8)) * sd / effect) ** 2
    assert t.n_further + N == pytest.approx(approximate, rel=0.05, abs=3)
    assert t.detectable == pytest.approx((stats.norm.ppf(0.95) + stats.norm.ppf(0.8)) * sd / math.sqrt(N), rel=0.02)
    assert rule.as_json()["n_needed"] == t.n_further
    assert "further prompts would decide" in decision.message


def test_an_undecided_loss_says_how_many_prompts_would_show_the_failure(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(5, -0.03))
    (rule,) = gate(new, old, {"improve": WIN_RATE}).rules
    if rule.decision == "undecided":
        assert rule.tested.leans == "fail"
    assert rule.decision in ("undecided", "fail")


@pytest.mark.parametrize(("choice", "status"), [("undecided", 3), ("fail", 1), ("pass", 0)])
def test_on_undecided(tmp_path, old, choice, status):
    new = run(tmp_path, alpaca_eval=shares(5, 0.03))
    decision = gate(new, old, {"improve": WIN_RATE}, on_undecided=choice)
    assert decision.exit_status == status
    assert decision.rules[0].decision == "undecided"
    assert gate(new, old, {"improve": WIN_RATE | {"on_undecided": choice}}).exit_status == status
    if choice == "pass":
        assert "alpha does not bound" in decision.notes[0]


def test_all_rules_must_pass_and_the_worst_one_decides(tmp_path):
    old = write_run(tmp_path / "old", "old", alpaca_eval=shares(1), mt_bench=[5.0, 6.0] * 40)
    new = write_run(tmp_path / "new", "new", alpaca_eval=shares(2, 0.2), mt_bench=[4.0, 5.5] * 40)
    better = {"improve": WIN_RATE}
    ratings = {"keep": {"benchmark": "mt_bench", "metric": "score", "margin": 0.2}}
    decision = gate(new, old, better, ratings)
    assert [r.decision for r in decision.rules] == ["pass", "fail"]
    assert decision.decision == "fail"
    assert "mt_bench score" in decision.message
    assert "alpaca_eval" not in decision.message
    assert gate(new, old, better).decision == "pass"


def test_any_of_is_corrected_by_holm(tmp_path):
    old = write_run(tmp_path / "old", "old", alpaca_eval=shares(1), mt_bench=[5.0, 6.0] * 40)
    new = write_run(tmp_path / "new", "new", alpaca_eval=shares(2, 0.2), mt_bench=[5.5, 5.6] * 40)
    group = {"any": [{"improve": WIN_RATE}, {"improve": {"benchmark": "mt_bench", "metric": "score"}}]}
    decision = gate(new, old, group)
    first, second = decision.rules
    assert decision.decision == decision.groups["any-1"] == "pass"
    assert first.p_adjusted == pytest.approx(2 * first.tested.p_pass)
    assert second.p_adjusted == pytest.approx(max(second.tested.p_pass, first.p_adjusted))
    assert first.group == "any-1"


def test_what_passes_alone_need_not_pass_in_a_group(tmp_path, old):
    for seed in range(40):
        new = write_run(tmp_path / f"new{seed}", "new", alpaca_eval=shares(seed + 10, 0.045))
        alone = gate(new, old, {"improve": WIN_RATE})
        if 0.026 < alone.rules[0].tested.p_pass < 0.049:
            break
    else:
        raise AssertionError("no seed gives a p-value between alpha / 2 and alpha")
    length = {"benchmark": "alpaca_eval", "metric": "avg_length", "better": "lower", "margin": 9}
    grouped = gate(new, old, {"any": [{"improve": WIN_RATE}, {"improve": length}]})
    assert alone.decision == "pass"
    assert grouped.rules[0].decision == "undecided"
    assert "Holm" in grouped.rules[0].reason


def test_length_within_a_share_of_the_baselines(tmp_path, old):
    rule = {"keep": {"benchmark": "alpaca_eval", "metric": "avg_length", "margin": "20%", "better": "neither"}}
    same = run(tmp_path, "newer", alpaca_eval=shares(2), length=21)
    longer = run(tmp_path, "longer", alpaca_eval=shares(2), length=30)
    shorter = write_run(tmp_path / "s", "s", alpaca_eval=shares(2), length=10)
    assert gate(same, old, rule).decision == "pass"
    assert gate(longer, old, rule).decision == "fail"
    assert gate(shorter, old, rule).decision == "fail"


def test_fewer_is_better_where_the_policy_says_so(tmp_path, old):
    rule = {"improve": {"benchmark": "alpaca_eval", "metric": "win_rate", "better": "lower", "margin": 2}}
    lower = run(tmp_path, alpaca_eval=[s * 0.7 for s in shares(1)])
    assert gate(lower, old, rule).decision == "pass"
    assert gate(old, lower, rule).decision == "fail"


# ---- what cannot be decided


def reason(decision):
    assert decision.decision == "invalid"
    assert decision.exit_status == 4
    return decision.message


def test_the_same_run_twice(old):
    assert "same run" in reason(gate(old, old, {"improve": WIN_RATE}))


def test_a_copy_of_the_run(tmp_path, old):
    copy = write_run(tmp_path / "copy", "old", alpaca_eval=shares(1))
    assert "same answers" in reason(gate(copy, old, {"improve": WIN_RATE}))


def test_different_benchmarks(tmp_path, old):
    other = run(tmp_path, mt_bench=[5.0, 6.0] * 40)
    assert "does not hold alpaca_eval" in reason(gate(other, old, {"improve": WIN_RATE}))


def test_different_prompts(tmp_path, old):
    fewer = run(tmp_path, alpaca_eval=shares(2, n=100))
    assert "different prompts: 0 only in the candidate run, 100 only" in reason(gate(fewer, old, {"improve": WIN_RATE}))


def test_different_judges(tmp_path, old):
    new = run(tmp_path, judge="other", alpaca_eval=shares(2))
    said = reason(gate(new, old, {"improve": WIN_RATE}))
    assert "openai:other for the candidate, openai:judge for the baseline" in said
    # lengths are no verdicts
    kept = {"keep": {"benchmark": "alpaca_eval", "metric": "avg_length", "margin": 30}}
    assert gate(new, old, kept).decision == "pass"


def test_different_sampling(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2), max_tokens=64)
    assert "max_tokens is 64" in reason(gate(new, old, {"improve": WIN_RATE}))


def test_different_baselines(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2), baseline_name="another")
    assert "different baselines" in reason(gate(new, old, {"improve": WIN_RATE}))


def test_too_many_unscored(tmp_path, old):
    verdicts = shares(2, 0.2)
    verdicts[:3] = ["unparsed", "unparsed", "timeout"]
    new = run(tmp_path, alpaca_eval=verdicts)
    said = reason(gate(new, old, {"improve": WIN_RATE}))
    assert "3 of 200 items are not scored in both runs (unparsed 2, timeout 1)" in said
    allowed = gate(new, old, {"improve": WIN_RATE}, max_unscored=0.02)
    assert allowed.decision == "pass"
    assert allowed.rules[0].n == 197


def test_an_unfinished_run(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2), complete=False)
    assert "not complete" in reason(gate(new, old, {"improve": WIN_RATE}))


def test_a_run_whose_files_were_changed(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2))
    with (new / "scores.jsonl").open("a") as file:
        file.write("\n")
    assert "scores.jsonl has changed since it was written" in reason(gate(new, old, {"improve": WIN_RATE}))


def test_a_metric_neither_holds(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2))
    said = reason(gate(new, old, {"improve": {"benchmark": "alpaca_eval", "metric": "winrate"}}))
    assert "neither run holds alpaca_eval winrate; did you mean win_rate?" in said


def test_three_prompts(tmp_path):
    old = write_run(tmp_path / "old", "old", alpaca_eval=[0.1, 0.2, 0.3])
    new = write_run(tmp_path / "new", "new", alpaca_eval=[0.8, 0.9, 0.7])
    assert "3 prompts, but the policy requires at least 30" in reason(gate(new, old, {"improve": WIN_RATE}))


@pytest.mark.parametrize(
    ("values", "rule", "decision"),
    [
        ((0.5, 0.5), {"improve": WIN_RATE}, "undecided"),  # nowhere different: no evidence of a gain
        ((0.5, 0.5), {"keep": WIN_RATE | {"margin": 5}}, "pass"),  # ((100 - 5) / 100)^200 = 3.5e-5
        ((0.5, 0.5), {"keep": WIN_RATE | {"margin": 1}}, "undecided" if 0.99**200 > 0.05 else "pass"),
        ((0.75, 0.5), {"improve": WIN_RATE}, "pass"),
        ((0.5, 0.75), {"improve": WIN_RATE}, "fail"),
        ((1.0, 0.0), {"improve": WIN_RATE}, "pass"),
        ((1.0, 1.0), {"keep": WIN_RATE | {"margin": 5}}, "pass"),
        ((0.0, 0.0), {"improve": WIN_RATE}, "undecided"),
    ],
)
def test_no_variance_gives_no_nan(tmp_path, values, rule, decision):
    new = write_run(tmp_path / "new", "new", alpaca_eval=[values[0]] * N)
    old = write_run(tmp_path / "old", "old", alpaca_eval=[values[1]] * N)
    found = gate(new, old, rule)
    json.dumps(found.as_json(), allow_nan=False)
    assert found.decision == decision


def test_no_variance_p_by_hand(tmp_path):
    new = write_run(tmp_path / "new", "new", alpaca_eval=[0.5] * N)
    old = write_run(tmp_path / "old", "old", alpaca_eval=[0.25] * N)
    (rule,) = gate(new, old, {"improve": WIN_RATE | {"margin": 5}}).rules
    # differences live in [-100, 100]; all are 25: ((5 + 100) / (25 + 100))^200
    assert rule.tested.p_pass == pytest.approx(0.84**200)


def test_no_variance_on_an_open_scale_is_invalid(tmp_path):
    old = write_run(tmp_path / "old", "o", alpaca_eval=shares(1, n=100), length=40, spread=1)
    new = write_run(tmp_path / "new", "n", alpaca_eval=shares(2, n=100), length=45, spread=1)
    rule = {"keep": {"benchmark": "alpaca_eval", "metric": "avg_length", "margin": 2}}
    assert "same amount" in reason(gate(new, old, rule))


def test_a_margin_wider_than_the_scale_is_a_usage_error(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2))
    with pytest.raises(UsageError, match="can never pass"):
        gate(new, old, {"improve": WIN_RATE | {"margin": 100}})


def test_a_baseline_at_the_ceiling_leaves_no_room(tmp_path):
    old = write_run(tmp_path / "old", "old", alpaca_eval=[0.98] * N)
    new = run(tmp_path, alpaca_eval=[0.99] * N)
    said = reason(gate(new, old, {"improve": WIN_RATE | {"margin": 3}}))
    assert "can never pass: the baseline is at 98.00 of 100, so the largest possible gain is 2.00" in said


def test_no_run_there(tmp_path, old):
    with pytest.raises(UsageError, match="holds no run"):
        gate(tmp_path / "nothing", old, {"improve": WIN_RATE})


def test_training_prompts_among_the_test_prompts(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2, 0.2))
    texts = ["something else", alpaca_prompt(7).turns[0].upper() + "!"]
    said = reason(gate(new, old, {"improve": WIN_RATE}, training=texts))
    assert "1 training prompts are among the test prompts: k7" in said
    assert gate(new, old, {"improve": WIN_RATE}, training=texts[:1]).decision == "pass"


def test_rules_that_are_not_required_are_left_out_but_something_must_be_left(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2, 0.2))
    optional = {"keep": {"benchmark": "gsm8k", "metric": "exact_match", "margin": 1, "required": False}}
    decision = gate(new, old, {"improve": WIN_RATE}, optional)
    assert decision.decision == "pass"
    assert decision.left_out == ("keep gsm8k exact_match",)
    assert "no rule of the policy applies" in reason(gate(new, old, optional))
    assert gate(new, old, {"improve": WIN_RATE}, {"any": [optional]}).decision == "invalid"


def test_a_metric_that_is_a_fit_without_a_hook_says_what_can_be_gated(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2, 0.2))
    rule = {"improve": {"benchmark": "alpaca_eval", "metric": "length_controlled_win_rate"}}
    assert gate(new, old, rule).decision == "invalid"


# ---- head to head


def test_head_to_head(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2))
    rng = np.random.default_rng(0)
    pairs = [(float(p), float(q)) for p, q in np.clip(0.6 + 0.3 * rng.standard_normal((N, 2)), 0, 1)]
    direct = write_head_to_head(tmp_path / "direct", pairs)
    rule = {"improve": {"benchmark": "alpaca_eval", "metric": "head_to_head"}}
    decision = gate(new, old, rule, head_to_head=direct)
    (found,) = decision.rules
    values = 100 * np.mean(pairs, axis=1)
    assert decision.decision == "pass"
    assert found.tested.value_baseline == 50.0
    ends = Ends(-50.0, 50.0, decisiveness(values, (0.0, 100.0)))
    assert found.tested.p_pass == mean_p_values(values - 50.0, 0.0, ends)[0]


def test_head_to_head_on_judgments_alone(tmp_path):
    direct = StoredRun.open(write_head_to_head(tmp_path / "direct", [(0.8, 0.6), (0.7, 0.5)] * 50))
    policy = make_policy({"rules": [{"improve": WIN_RATE}]})
    judgments = list(direct.directory.slim_judgments())
    rule = Rule(benchmark="alpaca_eval", metric="head_to_head")
    units = head_to_head_units(judgments, direct.prompts)
    found = decide_units("improve", rule, policy, units)
    assert found.decision == "pass"
    assert found.tested.difference.value == pytest.approx(15.0)
    early = decide_units("improve", rule, policy, units, Asked(SequentialTest(1)))
    assert early.decision == "pass"
    assert early.sequential["n_used"] <= 50
    wider = decide_units("improve", Rule(benchmark="b", metric="m", margin=20), policy, units)
    assert wider.decision == "fail"


def test_head_to_head_refuses_other_answers_and_half_judged_prompts(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2))
    rule = {"improve": {"benchmark": "alpaca_eval", "metric": "head_to_head"}}
    assert "no head-to-head run" in reason(gate(new, old, rule))
    strange = write_head_to_head(tmp_path / "strange", [(0.5, 0.5)] * N, names=("new", "third"))
    assert "other answers than the baseline run's" in reason(gate(new, old, rule, head_to_head=strange))
    half = write_head_to_head(tmp_path / "half", [(0.9, "timeout")] * 10 + [(0.9, 0.4)] * (N - 10))
    assert "timeout 10" in reason(gate(new, old, rule, head_to_head=half))


def test_a_judge_who_follows_the_position_is_no_evidence(tmp_path, old):
    new = run(tmp_path, alpaca_eval=shares(2))
    direct = write_head_to_head(tmp_path / "direct", [(1.0, 0.0)] * N)
    rule = {"improve": {"benchmark": "alpaca_eval", "metric": "head_to_head"}}
    assert gate(new, old, rule, head_to_head=direct).decision == "undecided"


def test_binary_outcomes_use_the_corrected_score_test():
    a = np.array([100.0] * 120 + [0.0] * 80)
    b = np.array([100.0] * 100 + [0.0] * 20 + [100.0] * 10 + [0.0] * 70)
    units = PairedUnits(tuple(map(str, range(200))), a, b, 200, 200, {}, 100.0, 0.0, 100.0, True)
    policy = make_policy({"rules": [{"improve": WIN_RATE}]})
    found = decide_units("improve", Rule(benchmark="b", metric="m"), policy, units)
    low, high = corrected_interval(20, 10, 200, 0.9)
    assert found.tested.p_pass == pytest.approx(corrected_p_values(20, 10, 200, 0.0)[0])
    assert (found.tested.difference.ci_low, found.tested.difference.ci_high) == pytest.approx((100 * low, 100 * high))
    assert found.decision == "pass"
    kept = decide_units("keep", Rule(benchmark="b", metric="m", margin=3), policy, units)
    assert kept.tested.p_pass == pytest.approx(corrected_p_values(20, 10, 200, -0.03)[0])


def test_clusters_of_unequal_size_on_a_scale_with_ends():
    """Values around the mean of all pass the ends of the scale; that is no fault of the scores."""
    rng = np.random.default_rng(3)
    sizes = [1, 1, 1, 9] * 20

    def items(p):
        return Items(
            [
                Score("b", f"{cluster}.{i}", "outcome", str(cluster), value=float(rng.random() < p))
                for cluster, size in enumerate(sizes)
                for i in range(size)
            ],
            scale=100.0,
            bounds=(0.0, 1.0),
        )

    units = paired_units(items(0.95), items(0.15))
    assert float(np.abs(units.first - units.second).max()) > 100.0
    policy = make_policy({"rules": [{"improve": {"benchmark": "b", "metric": "m"}}]})
    decided = decide_units("improve", Rule(benchmark="b", metric="m"), policy, units)
    assert decided.decision == "pass", decided.reason
    assert 60 < decided.tested.difference.value < 100
