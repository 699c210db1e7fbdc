"""What differs between two runs is named once, and gate, compare, leaderboard and report say the same of it."""

from __future__ import annotations

import json

import pytest

from harness.gate.validity import benchmark_problems, judge_problem
from harness.run.comparability import Sides, differences, differing_runs
from harness.run.compare import compare_runs
from harness.run.judged_by import JudgedBy
from harness.run.stored_run import StoredRun
from tests.support.gate_runs import NoData, write_run

SHARES = [0.2, 0.9, 0.4, 0.6] * 10
SIDES = Sides("A", "B")


@pytest.fixture
def made(tmp_path):
    """A run of 40 prompts of AlpacaEval; what is given changes it."""

    def made(name: str, shares=SHARES, **changes) -> StoredRun:
        return StoredRun.open(write_run(tmp_path / name, name, alpaca_eval=shares, **changes))

    return made


def change(run: StoredRun, **entry) -> StoredRun:
    """Change the header's entry of the benchmark."""
    header = json.loads((run.directory.path / "run.json").read_text())
    header["benchmarks"][0] |= entry
    (run.directory.path / "run.json").write_text(json.dumps(header))
    return StoredRun.open(run.directory.path)


def aspects(first: StoredRun, second: StoredRun) -> list[str]:
    return [difference.aspect for difference in differences("alpaca_eval", first, second, SIDES)]


def reasons(first: StoredRun, second: StoredRun) -> dict[str, str | None]:
    compared = compare_runs(first.directory.path, second.directory.path, NoData())
    assert all((m.difference is None) == (m.reason is not None) for m in compared.metrics)
    return {m.metric: m.reason for m in compared.metrics}


def test_runs_that_differ_in_the_model_alone(made):
    assert differences("alpaca_eval", made("a"), made("b"), SIDES) == []
    assert differing_runs({"a": made("c"), "b": made("d")}) == []


class TestWhatForbidsAFigure:
    """`compare` gives a reason and no figure, the gate is invalid, in the same words."""

    def refused(self, first, second, words):
        found = reasons(first, second)
        assert words in (found["win_rate"] or ""), found
        assert found["avg_length"] is None, "lengths do not rest on a judge or a baseline"
        problems = [
            *benchmark_problems("alpaca_eval", first, second),
            judge_problem("alpaca_eval", first, second) or "",
        ]
        assert any("different" in problem for problem in problems)

    def test_another_baseline(self, made):
        first, second = made("a"), made("b", baseline_name="text_davinci_003")
        words = "judged against different baselines: gpt4_1106_preview and text_davinci_003"
        assert aspects(first, second) == ["baseline"]
        self.refused(first, second, words)
        assert words in benchmark_problems("alpaca_eval", first, second)

    def test_another_judge(self, made):
        first, second = made("a"), made("b", judge="another")
        assert aspects(first, second) == ["judge"]
        self.refused(first, second, "judged by different judges: openai:judge for A, openai:another for B")
        assert "openai:judge for the candidate" in (judge_problem("alpaca_eval", first, second) or "")

    def test_other_answers_of_the_baseline(self, made):
        first, second = made("a"), made("b")
        path = second.directory.path / "responses.jsonl"
        path.write_text(path.read_text().replace('"reference 3"', '"another text"'))
        assert aspects(first, second) == ["baseline"]
        found = reasons(first, StoredRun.open(second.directory.path))
        assert "different answers of gpt4_1106_preview for 1 prompts" in (found["win_rate"] or "")

    def test_another_version(self, made):
        first, second = made("a"), change(made("b"), version="1")
        assert aspects(first, second) == ["version"]
        assert set(reasons(first, second).values()) == {"different versions of alpaca_eval: 2 and 1"}
        assert benchmark_problems("alpaca_eval", first, second) == ["different versions of alpaca_eval: 2 and 1"]


class TestWhatIsSaid:
    """The figures stand, with what differs beside them; the gate refuses the pair."""

    def test_fewer_prompts(self, made):
        first, second = made("a", SHARES[:12]), made("b")
        words = "different prompts: 0 only in A, 28 only in B, 12 in both (a limit was set: 12 of 805, 40 of 805)"
        compared = compare_runs(first.directory.path, second.directory.path, NoData())
        assert {m.metric for m in compared.metrics if m.difference is not None} >= {"win_rate", "avg_length"}
        assert compared.said == [
            "alpaca_eval: A has 12 of 805 prompts",
            "alpaca_eval: B has 40 of 805 prompts",
            f"alpaca_eval: {words}",
        ]
        assert compared.as_json()["a"]["prompts"]["alpaca_eval"]["n"] == 12
        assert compared.as_json()["differences"] == [{"benchmark": "alpaca_eval", "aspect": "prompts", "words": words}]
        assert any("28 only in the baseline run" in p for p in benchmark_problems("alpaca_eval", first, second))
        assert differing_runs({"small": first, "large": second}) == [
            "alpaca_eval: figures of small (12) are from some of the 40 prompts of large"
        ]

    def test_other_sampling(self, made):
        first, second = made("a"), made("b", max_tokens=64)
        words = "different sampling: max_tokens is the benchmark's own for A, 64 for B"
        assert [d.words for d in differences("alpaca_eval", first, second, SIDES)] == [words]
        assert reasons(first, second)["win_rate"] is None
        assert any("max_tokens" in problem for problem in benchmark_problems("alpaca_eval", first, second))
        assert differing_runs({"b": second, "a": first}) == [
            "alpaca_eval: a and b differ: different sampling: max_tokens is the benchmark's own for a, 64 for b"
        ]

    def test_other_seeds_of_a_limit(self, made, tmp_path):
        found = []
        for seed, run in enumerate((made("a", SHARES[:20]), made("b", SHARES))):
            path = run.directory.path / "run.json"
            header = json.loads(path.read_text()) | {"seed": seed}
            header["benchmarks"][0]["chosen"] = "random"
            path.write_text(json.dumps(header))
            found.append(StoredRun.open(run.directory.path))
        (difference,) = differences("alpaca_eval", *found, SIDES)
        assert difference.words.endswith("(a limit was set: 20 of 805, 40 of 805, drawn with the seeds 0 and 1)")


def test_a_scale_is_a_judge_and_a_baseline():
    def scale(*against: str, name: str = "j", ids: str = "") -> JudgedBy:
        return JudgedBy(name, frozenset(ids.split()), against=frozenset(against))

    assert scale("x").is_same(scale("x", "y")), "some prompts, some of the baselines"
    assert scale("x").is_same(scale()), "not known"
    assert not scale("x").is_same(scale("y"))
    assert scale("x").is_same_judge(scale("y"))
    assert not scale("x", ids="1").is_same(scale("x", ids="2"))
