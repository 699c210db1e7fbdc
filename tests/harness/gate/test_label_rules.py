"""Rules with labels on some prompts and predictions on all: two judges, and people's votes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from harness import cli
from harness.errors import SpecError
from harness.gate.decide import decide
from harness.gate.opened_runs import Comparison
from harness.gate.people import PeoplesVotes
from harness.gate.policy import make_policy
from harness.gate.sequential import SequentialTest
from harness.stats.prediction_powered import LabelledSample, prediction_powered_mean
from tests.support.gate_runs import NoData, write_head_to_head, write_run

N = 300
WIN_RATE = {"benchmark": "alpaca_eval", "metric": "win_rate"}
STRONG = np.arange(N) % 3 == 0  # the prompts the strong judge judges, or people vote on


def verdicts(seed, shift=0.0):
    """A strong judge's shares, and a cheap one's that follow them."""
    rng = np.random.default_rng(seed)
    strong = np.clip(rng.beta(1.0, 1.0, N) * 0.7 + shift, 0.0, 1.0)
    return strong, np.clip(0.15 + 0.8 * strong + rng.normal(0.0, 0.05, N), 0.0, 1.0)


def two_judges(path, name, seed, shift=0.0):
    strong, cheap = verdicts(seed, shift)
    shown = [float(s) if chosen else "not_chosen" for s, chosen in zip(strong, STRONG, strict=True)]
    return write_run(path / name, name, alpaca_eval=shown, cheap=cheap.tolist(), judge="two:a,b")


def gate(candidate, baseline, *rules, test=None, votes=None, head_to_head=None, **fields):
    policy = make_policy({"rules": list(rules), **fields})
    return decide(policy, Comparison(candidate, baseline, NoData(), head_to_head, votes=votes), test)


# ---- two judges


def test_two_judges_decide_on_all_prompts(tmp_path):
    new, old = two_judges(tmp_path, "new", 1, 0.06), two_judges(tmp_path, "old", 2)
    (rule,) = gate(new, old, {"improve": WIN_RATE}).rules
    (a, fa), (b, fb) = verdicts(1, 0.06), verdicts(2)
    labels, guesses = 100 * (a - b), 100 * (fa - fb)
    expected = prediction_powered_mean(LabelledSample(labels[STRONG], guesses[STRONG], guesses[~STRONG]), 0.9)
    found = rule.tested.difference
    assert (found.value, found.stderr) == pytest.approx((expected.estimate.value, expected.estimate.stderr))
    assert found.stderr < 0.75 * expected.labels_only.stderr
    assert rule.labels["labels_only"]["effect"] == pytest.approx(expected.labels_only.value)
    assert (rule.n, rule.labels["n_labelled"], rule.labels["n_predicted"]) == (100, 100, 300)
    assert rule.tested.value_candidate - rule.tested.value_baseline == pytest.approx(found.value)
    assert "labels by the strong judge on 100 of 300 prompts" in rule.reason
    t = found.value / found.stderr
    assert rule.tested.p_pass == pytest.approx(stats.t.sf(t, 98), rel=0.5)
    (mirrored,) = gate(old, new, {"improve": WIN_RATE | {"better": "lower"}}).rules
    assert mirrored.tested.p_pass == pytest.approx(rule.tested.p_pass)


def test_it_is_decided_sooner_than_by_the_strong_judge_alone(tmp_path):
    new, old = two_judges(tmp_path, "new", 1, 0.06), two_judges(tmp_path, "old", 2)
    powered = gate(new, old, {"improve": WIN_RATE}).rules[0]
    (a, _), (b, _) = verdicts(1, 0.06), verdicts(2)
    alone = stats.ttest_1samp(100 * (a - b)[STRONG], 0.0, alternative="greater")
    assert powered.tested.p_pass < alone.pvalue


def test_where_the_strong_judge_decides_alone(tmp_path):
    new, old = two_judges(tmp_path, "new", 1, 0.06), two_judges(tmp_path, "old", 2)
    relative = {"keep": WIN_RATE | {"margin": "20%"}}
    (rule,) = gate(new, old, relative).rules
    assert (rule.labels, rule.n) == (None, 100)
    (rule,) = gate(new, old, {"improve": WIN_RATE}, test=SequentialTest(1)).rules
    assert (rule.labels, rule.n) == (None, 100)
    assert "requires at least 120" in gate(new, old, {"improve": WIN_RATE}, min_n=120).message


def test_the_json_says_what_each_says_alone(tmp_path):
    new, old = two_judges(tmp_path, "new", 1, 0.06), two_judges(tmp_path, "old", 2)
    (rule,) = json.loads(json.dumps(gate(new, old, {"improve": WIN_RATE}).as_json(), allow_nan=False))["rules"]
    assert set(rule["labels"]) >= {"by", "n_labelled", "n_predicted", "power", "labels_only", "judge_only"}


# ---- people


def people(new="new", old="old", shift=0.2, n=N, against=None):
    """Votes on every third prompt; the share for the candidate is 0.5 + shift on average."""
    rng = np.random.default_rng(7)
    found = []
    for i in np.flatnonzero(STRONG[:n]):
        for model, p in ((new, 0.5 + shift), (old, 0.5)) if against else ((new, 0.5 + shift),):
            votes = rng.random(3) < p
            found += [(f"k{i}", model, against or old, float(v)) for v in votes]
    return PeoplesVotes.of(found)


@pytest.fixture
def runs(tmp_path):
    new = write_run(tmp_path / "new", "new", alpaca_eval=verdicts(1, 0.1)[0].tolist())
    old = write_run(tmp_path / "old", "old", alpaca_eval=verdicts(2)[0].tolist())
    rng = np.random.default_rng(3)
    shares = np.clip(rng.normal(0.6, 0.2, N), 0, 1)
    direct = write_head_to_head(tmp_path / "direct", [(float(s), float(s)) for s in shares])
    return new, old, direct, 100 * shares


def test_peoples_votes_head_to_head(runs):
    new, old, direct, shares = runs
    votes = people()
    rule = {"improve": {"benchmark": "alpaca_eval", "metric": "head_to_head", "labels": "human"}}
    (decided,) = gate(new, old, rule, votes=votes, head_to_head=direct).rules
    voted = np.flatnonzero(STRONG)
    labels = np.array([100 * votes.for_first(f"k{i}", "new", "old") - 50 for i in voted])
    expected = prediction_powered_mean(LabelledSample(labels, shares[voted] - 50, shares[~STRONG] - 50), 0.9)
    assert decided.tested.difference.value == pytest.approx(expected.estimate.value)
    assert decided.decision == "pass"
    assert decided.n == 100
    assert decided.labels["by"] == "people"
    assert "labels by people on 100 of 300 prompts" in decided.reason
    assert gate(new, old, rule, votes=people(shift=-0.3), head_to_head=direct).decision == "fail"


def test_peoples_votes_against_a_third_model(runs):
    new, old, *_ = runs
    rule = {"improve": WIN_RATE | {"labels": "human"}}
    found = gate(new, old, rule, votes=people(against="gpt4_1106_preview"))
    assert found.decision == "pass"
    assert found.rules[0].tested.value_baseline == pytest.approx(50.0, abs=8.0)
    assert "no votes on new and old, each against gpt4_1106_preview" in gate(new, old, rule, votes=people()).message


def test_what_needs_other_votes_or_metrics(runs):
    new, old, direct, _ = runs
    rule = {"improve": WIN_RATE | {"labels": "human"}}
    assert "name a file with `assay gate --human FILE`" in gate(new, old, rule).message
    length = {"keep": {"benchmark": "alpaca_eval", "metric": "avg_length", "margin": 9, "labels": "human"}}
    assert "is no mean of preferences" in gate(new, old, length, votes=people()).message
    direct_rule = {"improve": {"benchmark": "alpaca_eval", "metric": "head_to_head", "labels": "human"}}
    few = people(n=40)
    message = gate(new, old, direct_rule, votes=few, head_to_head=direct).message
    assert "14 labelled prompts expected: at least 30" in message
    strangers = people("x", "y")
    message = gate(new, old, direct_rule, votes=strangers, head_to_head=direct).message
    assert "no votes on new against old" in message
    assert "x, y" in message


def test_votes_are_averaged_over_people_and_turns():
    votes = PeoplesVotes.of([("1", "b", "a", 1.0), ("1", "a", "b", 1.0), ("1", "a", "b", 1.0), ("2", "a", "b", 0.5)])
    assert votes.for_first("1", "a", "b") == pytest.approx(2 / 3)
    assert votes.for_first("1", "b", "a") == pytest.approx(1 / 3)
    assert votes.for_first("3", "a", "b") is None
    assert votes.models() == ["a", "b"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"labels": "people"}, "'human'"),
        ({"labels": "human", "categories": "each"}, "labels over categories"),
        ({"labels": "human", "margin": "5%"}, "not a share"),
    ],
)
def test_policies_that_are_refused(fields, said):
    with pytest.raises(SpecError, match=said):
        make_policy({"rules": [{"keep": WIN_RATE | {"margin": 1} | fields}]})


def test_the_command(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    new, old, direct, _ = runs
    rng = np.random.default_rng(4)
    rows = [
        {"prompt": f"k{i}", "model_a": "old", "model_b": "new", "winner": "model_b", "voter": f"expert{i}"}
        for i in np.flatnonzero(STRONG)
        if rng.random() < 0.8
    ]
    rows += [{**rows[0], "voter": "author", "winner": "model_a", "prompt": f"k{i}"} for i in range(90)]
    rows += [{**rows[0], "prompt": "k6", "winner": "tie"}]
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    policy = tmp_path / "p.yaml"
    policy.write_text("rules: [{improve: {benchmark: alpaca_eval, metric: head_to_head, labels: human}}]\n")
    arguments = ["--candidate", str(new), "--baseline", str(old), "--policy", str(policy)]
    arguments += ["--head-to-head", str(direct), "--human", str(tmp_path / "votes.jsonl"), "--json"]
    assert cli.main(["gate", *arguments, "--voters", "expert*"]) == 0
    (rule,) = json.loads(capsys.readouterr().out)["rules"]
    assert rule["labels"]["n_labelled"] == len({row["prompt"] for row in rows if row["voter"].startswith("expert")})
