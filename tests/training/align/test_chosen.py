"""The chosen variant's effect: which correction applies, and where there is none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from harness.gate.policy import make_policy
from harness.messages import Message
from harness.stats.selected import selected_effect, simultaneous_interval
from harness.store.align_directory import AlignVariant, SampleReward
from tests.support.gate_runs import alpaca_prompt, write_run
from training.align.chosen import ChosenFrom
from training.align.measuring import Answers
from training.align.recipe import ChooseBy

N = 60
NAMES = ("sft", "dpo-1", "dpo-2", "dpo-3")
POLICY = make_policy({"rules": [{"improve": {"benchmark": "alpaca_eval", "metric": "win_rate"}}]})


def evaluator(tmp_path, *, policy=POLICY, validation_text="validation {}"):
    """What `ChosenFrom` reads of an evaluator: answers with rewards, runs, validation prompts and the gate's policy."""
    rng = np.random.default_rng(0)
    rewards = {name: rng.normal(0.1 * step, 1.0, N) for step, name in enumerate(NAMES)}
    shares = {name: np.clip(rng.normal(0.4 + 0.02 * i, 0.2, N), 0.0, 1.0) for i, name in enumerate(NAMES)}
    variants = [
        AlignVariant(
            name=name,
            checkpoint="x",
            accepted=name != "dpo-3",
            run=str(write_run(tmp_path / name, name, alpaca_eval=shares[name].tolist())),
        )
        for name in NAMES
    ]
    answers = {
        name: Answers(
            rewards={(f"p{i}", 0): SampleReward(prompt_key=f"p{i}", sample=0, reward=r) for i, r in enumerate(own)}
        )
        for name, own in rewards.items()
    }
    validation = [SimpleNamespace(messages=(Message("user", validation_text.format(i)),)) for i in range(N)]
    found = SimpleNamespace(
        book=SimpleNamespace(state=SimpleNamespace(variants=variants), path=lambda run: tmp_path / run),
        answers=lambda variant: answers[variant.name],
        validation=validation,
        recipe=SimpleNamespace(policy=lambda: policy),
    )
    return found, {"rewards": rewards, "shares": shares, "accepted": [v.name for v in variants if v.accepted]}


def table_of(values, names):
    return np.array([values[name] - values["sft"] for name in names]).T


def test_other_prompts_are_corrected_for_the_best_of_the_accepted(tmp_path):
    loop, known = evaluator(tmp_path)
    table = table_of(known["rewards"], NAMES[:3])
    expected = selected_effect(table)
    found = ChosenFrom(loop, ChooseBy()).effect(NAMES[expected.selected], known["accepted"])
    assert found.n_candidates == 3
    assert found.raw.value == pytest.approx(expected.raw.value)
    assert (found.corrected.value, found.corrected.ci_low) == pytest.approx(
        (expected.corrected.value, expected.corrected.ci_low)
    )
    assert "decided on other prompts" in found.note


def test_the_gates_own_prompts_have_the_interval_of_all_variants(tmp_path):
    loop, known = evaluator(tmp_path)
    found = ChosenFrom(loop, ChooseBy(benchmark="alpaca_eval", metric="win_rate")).effect("dpo-1", known["accepted"])
    table = 100.0 * table_of(known["shares"], NAMES)
    expected = simultaneous_interval(table, 1)
    assert found.n_candidates == 4
    assert found.corrected.ci_low == pytest.approx(expected.ci_low)
    assert found.corrected.ci_high == pytest.approx(expected.ci_high)
    assert "holds for all variants at once" in found.note


def test_validation_prompts_that_the_gate_uses_too(tmp_path):
    loop, known = evaluator(tmp_path, validation_text=alpaca_prompt(0).turns[0])
    found = ChosenFrom(loop, ChooseBy()).effect("dpo-1", known["accepted"])
    assert "holds for all variants at once" in found.note


def test_lower_is_better(tmp_path):
    loop, known = evaluator(tmp_path)
    by = ChooseBy(better="lower")
    table = -table_of(known["rewards"], NAMES[:3])
    expected = selected_effect(table)
    found = ChosenFrom(loop, by).effect(NAMES[expected.selected], known["accepted"])
    if expected.selected == 0:
        assert "SFT model itself" in found.raw.reason
    else:
        assert found.corrected.ci_high == pytest.approx(-expected.corrected.ci_low)


@pytest.mark.parametrize(
    ("by", "chosen", "reason"),
    [
        (ChooseBy(metric="length_chars"), "dpo-1", "no values by prompt"),
        (ChooseBy(benchmark="alpaca_eval", metric="length_controlled_win_rate"), "dpo-1", "a fit, not a mean"),
        (ChooseBy(), "sft", "the SFT model itself was chosen"),
    ],
)
def test_what_cannot_be_corrected_has_a_reason(tmp_path, by, chosen, reason):
    loop, known = evaluator(tmp_path)
    found = ChosenFrom(loop, by).effect(chosen, known["accepted"])
    assert found.raw.value is None
    assert reason in found.corrected.reason
