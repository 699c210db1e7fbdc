"""A run that generates and judges only until the gate is decided."""

from __future__ import annotations

import pytest

from harness.data.store import DataStore
from harness.errors import RunConflictError
from harness.gate.decide import decide
from harness.gate.early_stop import EarlyStop
from harness.gate.look_plan import LookPlan
from harness.gate.opened_runs import Comparison
from harness.gate.policy import make_policy
from harness.gate.sequential import SequentialTest
from harness.gate.stop_choice import StopRequest, resumed_stop
from harness.hashing import content_hash
from harness.records import Judgment, Rating
from harness.run import runner
from harness.run.runner import RunOptions, run
from harness.run.stored_run import StoredRun
from harness.spec import RunSpec, validated
from tests.paths import MIRROR, needs_data

pytestmark = needs_data


class RatingJudge:
    """Rates "good" answers 5 to 9 and others 2 to 6, by the prompt."""

    name = "scripted"

    def __init__(self):
        self.calls = 0

    def judge_id(self, form):
        return content_hash("judge", form)

    def describe(self):
        return {"model": "scripted"}

    async def prepare(self):
        pass

    async def close(self):
        pass

    async def judge(self, task, *, fresh=False):
        self.calls += 1
        base = 5 if "good" in task.responses[0].turns[0] else 2
        luck = int(content_hash(task.prompt.key, task.turn, base)[:4], 16) % 5
        return Judgment(
            judge="scripted",
            judge_id=self.judge_id(task.form),
            benchmark=task.prompt.benchmark,
            prompt_id=task.prompt.id,
            response_ids=tuple(r.id for r in task.responses),
            order=("candidate",),
            turn=task.turn,
            game=task.game,
            verdict=Rating(value=base + luck, low=1, high=10),
        )


@pytest.fixture
def measure(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))

    def go(name, reply, early_stop=None):
        judge = RatingJudge()
        monkeypatch.setattr(runner, "load_judge", lambda context: judge)
        values = {"path": name, "engine": "scripted", "options": {"replies": {"*": reply}}}
        spec = validated(
            RunSpec, {"model": values, "benchmarks": ["mt_bench"], "judge": "openai:x", "canaries": 0}, "test"
        )
        options = RunOptions(tmp_path / name, data_dir=MIRROR, progress=False, early_stop=early_stop)
        run(spec, options)
        return tmp_path / name, judge.calls

    return go


def test_a_clear_winner_is_decided_before_all_is_judged(measure, tmp_path):
    policy = make_policy({"rules": [{"improve": {"benchmark": "mt_bench", "metric": "score"}}], "min_n": 10})
    old, all_calls = measure("old", "a poor answer")
    stop = EarlyStop(policy, StoredRun.open(old), "mt_bench", seed=7, wave=8)
    new, calls = measure("new", "a good answer", stop)
    assert all_calls == 160
    assert calls <= 48
    data = DataStore(MIRROR, tmp_path / "cache", True)
    decision = decide(policy, Comparison(new, old, data), SequentialTest(seed=7))
    assert decision.decision == "pass"
    assert decide(policy, Comparison(new, old, data)).decision == "invalid"
    assert StoredRun.open(new).stopped_seed == 7


def test_a_candidate_that_is_no_better_is_judged_to_the_end(measure, tmp_path):
    policy = make_policy({"rules": [{"improve": {"benchmark": "mt_bench", "metric": "score"}}], "min_n": 10})
    old, _ = measure("old", "a poor answer")
    stop = EarlyStop(policy, StoredRun.open(old), "mt_bench", seed=7, wave=8)
    new, calls = measure("new", "another poor answer", stop)
    assert calls == 160
    decision = decide(policy, Comparison(new, old, DataStore(MIRROR, tmp_path / "cache", True)), SequentialTest(seed=7))
    assert decision.decision == "undecided"


def looks(old, tmp_path, **fields):
    policy = make_policy({"rules": [{"improve": {"benchmark": "mt_bench", "metric": "score"}}], "min_n": 10, **fields})
    data = DataStore(MIRROR, tmp_path / "cache", True)
    request = StopRequest(policy, StoredRun.open(old), "mt_bench", data, seed=7)
    return policy, data, request


def test_planned_looks_stop_a_run_and_the_gate_decides_at_them(measure, tmp_path, capsys):
    old, _ = measure("old", "a poor answer")
    policy, data, request = looks(old, tmp_path, method="group_sequential", looks=4)
    stop = request.in_looks()
    new, calls = measure("new", "a good answer", stop)
    assert calls == 40
    assert "look 1 of 4, 20 of 80 prompts: improve score pass" in capsys.readouterr().err
    assert LookPlan.recorded(StoredRun.open(new)) == stop.plan
    # a policy that says nothing of looks is tested at the run's
    for decided_by in (policy, policy.model_copy(update={"method": "fixed", "looks": 10})):
        decision = decide(decided_by, Comparison(new, old, data))
        assert decision.decision == "pass"
        assert decision.rules[0].sequential["n_used"] == 20
        assert decision.rules[0].sequential["n_all"] == 80


def test_a_run_goes_on_under_the_looks_it_was_begun_with(measure, tmp_path):
    old, _ = measure("old", "a poor answer")
    _, _, request = looks(old, tmp_path, method="group_sequential", looks=4)
    new, _ = measure("new", "a good answer", request.in_looks())
    begun = resumed_stop(request, StoredRun.open(new))
    assert begun.plan == request.in_looks().plan
    _, calls = measure("new", "a good answer", begun)
    assert calls == 0
    _, _, other = looks(old, tmp_path, method="group_sequential", looks=8)
    with pytest.raises(RunConflictError, match="another plan of early stopping"):
        measure("new", "a good answer", other.in_looks())
    with pytest.raises(RunConflictError, match="method"):
        measure("new", "a good answer", other.by_betting())


def test_the_command_runs_and_stops(measure, tmp_path, monkeypatch, capsys):
    import json

    import yaml

    from harness import cli

    old, _ = measure("old", "a poor answer")
    judge = RatingJudge()
    monkeypatch.setattr(runner, "load_judge", lambda context: judge)
    model = {"path": "new", "engine": "scripted", "options": {"replies": {"*": "a good answer"}}}
    (tmp_path / "spec.yaml").write_text(
        yaml.safe_dump({"model": model, "benchmarks": ["mt_bench"], "judge": "openai:x", "canaries": 0})
    )
    (tmp_path / "gate.yaml").write_text("min_n: 10\nrules: [{improve: {benchmark: mt_bench, metric: score}}]\n")
    status = cli.main(
        [
            *("gate", "--run", str(tmp_path / "spec.yaml"), "--early-stop", "--seed", "7", "--wave", "8"),
            *("--candidate", str(tmp_path / "new"), "--baseline", str(old), "--policy", str(tmp_path / "gate.yaml")),
            *("--data-dir", str(MIRROR), "--json"),
        ]
    )
    said = capsys.readouterr()
    decision = json.loads(said.out)
    assert (status, decision["decision"]) == (0, "pass")
    assert judge.calls <= 48
    assert "early stop by group_sequential: looks at 16, 24, " in said.err
    assert "it is expected to use" in said.err
    assert decision["rules"][0]["sequential"]["method"] == "group_sequential"
