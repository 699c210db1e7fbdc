"""The demo's story is told from figures, whatever they are."""

from __future__ import annotations

import json

from harness.store.align_directory import AlignState, AlignVariant, Figure, StageRecord
from training.demo.table import COLUMNS, Agreement, DemoRow, demo_rows, pair_agreement, story


def row(name, parent=None, gate="", reasons=(), hacking="", **values):
    figures = {
        key: Figure(value=values[key], ci_low=values[key] - 1, ci_high=values[key] + 1, n=9)
        if key in values
        else Figure(reason=f"{key} was not measured")
        for key in COLUMNS
    }
    return DemoRow(name, parent, figures, gate, reasons, hacking)


def test_rises_falls_and_gaps_are_told_as_they_are():
    rows = [
        row("base", gold_win_rate=30.0, knowledge=99.0),
        row("sft", gold_win_rate=25.0, knowledge=99.0, reward=0.5),
        row("dpo-1", "sft", "fail", ("improve x y: lost",), "alarm", gold_win_rate=20.0, reward=1.25),
    ]
    told = story(rows, [Agreement(1, 10, 4, 2)])
    assert told[0].startswith("sft after base: gold win rate fell from 30 to 25; gold rating not compared (")
    assert told[1] == "Alignment tax of SFT: knowledge (multiple choice) stayed at 99."
    assert told[2].startswith("dpo-1 after sft: reward rose from 0.5 to 1.25; gold win rate fell from 25 to 20; ")
    assert told[2].endswith("(knowledge was not measured). The gate says fail.")
    assert "gold agrees with 50 %" in told[3]
    assert told[4:] == ["  gate: improve x y: lost", "  reward hacking: alarm"]


def test_other_figures_tell_another_story():
    rows = [row("sft", gold_win_rate=25.0, reward=0.5), row("dpo-1", "sft", "pass", gold_win_rate=40.0, reward=0.25)]
    told = " ".join(story(rows, []))
    assert "reward fell from 0.5 to 0.25" in told and "gold win rate rose from 25 to 40" in told
    assert "The gate says pass" in told and "base" not in told and "agrees" not in told


def test_a_checkpoint_without_a_gate_or_parent_is_not_spoken_of():
    assert story([row("sft", gold_win_rate=1.0), row("dpo-1", "elsewhere", "pass")], []) == []


def test_agreement_counts_pairs_whose_rewards_differ(tmp_path):
    folder = tmp_path / "stages" / "rank-1-key"
    folder.mkdir(parents=True)
    rewards = [
        ("a", 0, 2.0, 10.0),  # best and right: agrees
        ("a", 1, 1.0, 3.0),
        ("b", 0, 2.0, 1.0),  # best and worse: does not
        ("b", 1, 0.0, 9.0),
        ("c", 0, 1.0, 5.0),  # gold sees no difference
        ("c", 1, 0.0, 5.0),
        ("d", 0, 1.0, 5.0),  # the reward sees none: no pair
        ("d", 1, 1.0, 9.0),
        ("e", 0, None, 5.0),  # not measured
        ("e", 1, 1.0, 9.0),
    ]
    lines = [
        {k: v for k, v in zip(("prompt_key", "sample", "reward", "gold"), values, strict=True) if v is not None}
        for values in rewards
    ]
    (folder / "rewards.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    stage = StageRecord(name="rank-1", key="key", dir="stages/rank-1-key", status="done")
    state = AlignState(name="x", recipe={}, recipe_hash="", seed=0, stages=(stage,))
    (found,) = pair_agreement(state, tmp_path)
    assert (found.n_pairs, found.n_agree, found.n_tied, found.share) == (3, 1, 1, 50.0)
    assert Agreement(2, 0, 0).share is None


def test_rows_take_figures_from_runs_and_say_what_is_missing(tmp_path):
    run = tmp_path / "stages" / "evaluate-sft" / "run"
    run.mkdir(parents=True)
    rows = [
        {"benchmark": "demo_pairs", "metric": "win_rate", "value": 40.0, "ci_low": 30.0, "ci_high": 50.0, "n": 7},
        {"benchmark": "demo_mt", "metric": "score", "reason": "nothing was scored"},
    ]
    (run / "summary.json").write_text(json.dumps({"rows": rows}))
    variant = AlignVariant(
        name="sft",
        checkpoint="x",
        run="stages/evaluate-sft/run",
        measures={"reward": Figure(value=0.5)},
        gate={"decision": "fail", "rules": [{"kind": "keep", "benchmark": "b", "metric": "m", "reason": "lost"}]},
    )
    state = AlignState(name="x", recipe={}, recipe_hash="", seed=0, variants=(variant,))
    (found,) = demo_rows(state, tmp_path)
    assert found.figures["gold_win_rate"] == Figure(value=40.0, ci_low=30.0, ci_high=50.0, n=7)
    assert found.figures["gold_rating"].reason == "nothing was scored"
    assert found.figures["knowledge"].reason == "demo_facts.acc was not measured"
    assert found.figures["reward"].value == 0.5
    assert (found.gate, found.reasons) == ("fail", ("keep b m: lost",))
    assert json.loads(json.dumps(found.as_json()))["figures"]["kl"] == {
        "n": 0,
        "by": "",
        "reason": "kl_per_response was not measured",
    }
