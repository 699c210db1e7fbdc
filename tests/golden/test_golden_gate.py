"""The gate on published AlpacaEval 2 annotations: what it decides of real models, fixed and looked at as it goes."""

from __future__ import annotations

import lzma

import pytest

from harness.commands.output import data_store
from harness.gate.decide import decide
from harness.gate.opened_runs import Comparison
from harness.gate.policy import make_policy
from harness.gate.sequential import SequentialTest
from harness.run.import_results import write_import
from tests.paths import DATA, MIRROR, needs_data

pytestmark = [needs_data, pytest.mark.golden]

MODELS = ("claude-2.1", "gpt-3.5-turbo-1106", "FuseChat-Gemma-2-9B-Instruct")
WIN_RATE = {"benchmark": "alpaca_eval", "metric": "win_rate"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    import argparse

    from benchmarks.alpaca_eval.alpaca_importer import AlpacaEvalImporter

    folder, data = tmp_path_factory.mktemp("runs"), data_store(MIRROR)
    for model in MODELS:
        packed = DATA / f"alpaca_eval/full_xz/results/{model}/weighted_alpaca_eval_gpt4_turbo/annotations.json.xz"
        plain = folder / f"{model}.json"
        plain.write_bytes(lzma.decompress(packed.read_bytes()))
        arguments = argparse.Namespace(annotations=plain, outputs=None, baseline_outputs=None, model=None, judge=None)
        write_import(AlpacaEvalImporter().read(arguments), folder / model, data)
    return folder


def gate(runs, candidate, baseline, *rules, test=None, **fields):
    policy = make_policy({"rules": list(rules), **fields})
    return decide(policy, Comparison(runs / candidate, runs / baseline, data_store(MIRROR)), test)


def test_published_win_rates_and_their_paired_difference(runs):
    decision = gate(runs, "claude-2.1", "gpt-3.5-turbo-1106", {"improve": WIN_RATE})
    tested = decision.rules[0].tested
    # the leaderboard of alpaca_eval 0.6.6: 15.733506736409938 and 9.177964561962735
    assert tested.value_candidate == pytest.approx(15.733506736, abs=1e-6)
    assert tested.value_baseline == pytest.approx(9.177964562, abs=1e-6)
    assert tested.difference.n == 805
    assert decision.decision == "pass"


def test_the_length_controlled_rate_is_gated_too(runs):
    rule = {"improve": {"benchmark": "alpaca_eval", "metric": "length_controlled_win_rate"}}
    decision = gate(runs, "claude-2.1", "gpt-3.5-turbo-1106", rule)
    tested = decision.rules[0].tested
    # published: 25.251943886133027 and 19.30058903498905
    assert tested.value_candidate == pytest.approx(25.25, abs=0.02)
    assert tested.value_baseline == pytest.approx(19.30, abs=0.02)
    assert decision.decision == "pass"
    assert gate(runs, "gpt-3.5-turbo-1106", "claude-2.1", rule).decision == "fail"


def test_a_better_model_that_is_longer_is_stopped_by_the_length_rule(runs):
    length = {"benchmark": "alpaca_eval", "metric": "avg_length", "margin": "20%", "better": "neither"}
    decision = gate(runs, "FuseChat-Gemma-2-9B-Instruct", "claude-2.1", {"improve": WIN_RATE}, {"keep": length})
    assert [r.decision for r in decision.rules] == ["pass", "fail"]
    assert decision.exit_status == 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_sequential_gate_reaches_the_same_decision_with_fewer_calls(runs, seed):
    decision = gate(
        runs, "FuseChat-Gemma-2-9B-Instruct", "claude-2.1", {"improve": WIN_RATE}, test=SequentialTest(seed)
    )
    assert decision.decision == "pass"
    assert decision.rules[0].sequential["n_used"] <= 805 / 3
    reverse = gate(runs, "claude-2.1", "FuseChat-Gemma-2-9B-Instruct", {"improve": WIN_RATE}, test=SequentialTest(seed))
    assert reverse.decision == "fail"


def test_the_length_controlled_rate_is_looked_at(runs):
    rule = {"improve": {"benchmark": "alpaca_eval", "metric": "length_controlled_win_rate"}}
    looks = {"method": "group_sequential", "looks": [200, 400, 600]}
    (decided,) = gate(runs, "claude-2.1", "gpt-3.5-turbo-1106", rule, **looks).rules
    found = decided.sequential
    assert decided.decision == "pass"
    assert found["n_used"] < found["n_all"] == 805
    assert [look["n"] for look in found["looks"]] == [200, 400, 600][: len(found["looks"])]
    assert 0.0 < found["interval"][0] < found["median_unbiased"] < found["interval"][1]
