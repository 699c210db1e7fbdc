"""A candidate that was chosen from several: the level of its test, and how often a worthless one passes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.cli import main
from harness.errors import UsageError
from harness.gate.decide import decide
from harness.gate.opened_runs import Comparison
from harness.gate.policy import make_policy
from harness.gate.selection import Selection
from harness.stats.selected import selection_level
from tests.support.gate_runs import NoData, write_run

N = 120
RULE = {"improve": {"benchmark": "alpaca_eval", "metric": "win_rate"}}
POLICY = make_policy({"rules": [RULE]})


def shares(seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return np.clip(rng.beta(1.0, 1.0, N) * 0.8 + shift, 0.0, 1.0).tolist()


@pytest.fixture
def runs(tmp_path):
    """A baseline and four candidates."""
    values = {"old": shares(0)} | {f"new-{i}": shares(i, 0.03 * i) for i in (1, 2, 3, 4)}
    return {name: write_run(tmp_path / name, name, alpaca_eval=own) for name, own in values.items()}, values


def test_a_number_is_bonferroni(runs):
    paths, _ = runs
    selection = Selection.from_number(4, POLICY)
    plain = decide(POLICY, Comparison(paths["new-4"], paths["old"], NoData()))
    corrected = selection.applied(decide(selection.policy(POLICY), Comparison(paths["new-4"], paths["old"], NoData())))
    assert selection.level == 0.05 / 4
    assert corrected.alpha == 0.05
    (rule,) = corrected.rules
    assert rule.tested.p_pass == plain.rules[0].tested.p_pass
    assert rule.p_adjusted == pytest.approx(min(1.0, 4 * rule.tested.p_pass))
    assert (rule.decision == "pass") == (rule.p_adjusted <= 0.05)
    assert rule.tested.difference.level == pytest.approx(1 - 2 * 0.05 / 4)
    assert "chosen from 4 candidates" in corrected.notes[-1]


def test_runs_give_the_level_of_their_correlated_differences(runs):
    paths, values = runs
    candidates = [paths[f"new-{i}"] for i in (1, 2, 3)]
    selection = Selection.among(candidates, POLICY, (paths["new-4"], paths["old"]))
    table = 100 * np.array([np.array(values[f"new-{i}"]) - np.array(values["old"]) for i in (1, 2, 3, 4)]).T
    assert selection.n_candidates == 4
    assert selection.method == "max-t"
    assert selection.level == pytest.approx(selection_level(table, 0.05), rel=0.02)  # columns in another order
    assert 0.05 / 4 < selection.level < 0.05


def test_a_limit_is_about_the_candidates_alone(runs):
    paths, values = runs
    policy = make_policy({"rules": [{"limit": {"benchmark": "alpaca_eval", "metric": "win_rate", "at_least": 30}}]})
    candidates = [paths[f"new-{i}"] for i in (1, 2, 3)]
    selection = Selection.among(candidates, policy, (paths["new-4"], None))
    table = 100 * np.array([values[f"new-{i}"] for i in (1, 2, 3, 4)]).T
    assert selection.level == pytest.approx(selection_level(table, 0.05), rel=0.02)


def test_the_chosen_one_counts_once_and_the_baseline_not(runs):
    paths, _ = runs
    selection = Selection.among([paths["new-4"], paths["old"]], POLICY, (paths["new-4"], paths["old"]))
    assert selection.n_candidates == 1
    assert selection.level == 0.05


@pytest.mark.parametrize(
    ("rule", "because"),
    [
        ({"benchmark": "alpaca_eval", "metric": "length_controlled_win_rate"}, "is no mean over prompts"),
        ({"benchmark": "alpaca_eval", "metric": "head_to_head"}, "of one candidate"),
        ({"benchmark": "alpaca_eval", "metric": "avg_length", "margin": "20%"}, "a share of the baseline's value"),
        ({"benchmark": "mt_bench", "metric": "score"}, "is no mean over prompts in every run"),
    ],
)
def test_where_the_runs_do_not_tell_it_is_bonferroni(runs, rule, because):
    paths, _ = runs
    policy = make_policy({"rules": [RULE, {"improve": rule}]})
    selection = Selection.among([paths["new-1"]], policy, (paths["new-4"], paths["old"]))
    assert (selection.method, selection.level) == ("Bonferroni", 0.025)
    assert because in selection.because


def test_wrong_input(runs, tmp_path, capsys):
    paths, _ = runs
    with pytest.raises(UsageError, match="no run"):
        Selection.among([tmp_path / "none"], POLICY, (paths["new-4"], paths["old"]))
    with pytest.raises(UsageError, match="--selected-from 0"):
        Selection.from_number(0, POLICY)
    sides = ["--candidate", str(paths["new-4"]), "--baseline", str(paths["old"]), "--policy", "chat-progress"]
    assert main(["gate", *sides, "--selected-from", "3", "--among", str(paths["new-1"])]) == 2
    assert "one of them" in capsys.readouterr().err


def test_the_command_says_what_it_corrected(runs, tmp_path, capsys):
    paths, _ = runs
    (tmp_path / "policy.yaml").write_text(json.dumps({"rules": [RULE]}))
    sides = ["--candidate", str(paths["new-4"]), "--baseline", str(paths["old"])]
    sides += ["--policy", str(tmp_path / "policy.yaml")]
    main(["gate", *sides, "--json", "--among", str(paths["new-1"]), str(paths["new-2"])])
    found = json.loads(capsys.readouterr().out)
    assert found["alpha"] == 0.05
    assert found["selection"]["n_candidates"] == 3
    assert found["selection"]["method"] == "max-t"
    main(["gate", *sides, "--selected-from", "7"])
    assert "chosen from 7 candidates" in " ".join(capsys.readouterr().out.split())
    main(["gate", *sides, "--json"])
    assert json.loads(capsys.readouterr().out)["selection"] is None
