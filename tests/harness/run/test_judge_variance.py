"""Variance of a run's figures: the judge's repeats it stored, other answers, and other judging sessions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.cli import main
from harness.errors import UsageError
from harness.records import Judgment, Rating, Response
from harness.run.judge_variance import NO_REPEATS, NO_SAMPLES, NO_SESSIONS, judge_variance
from harness.run.score import score_run
from harness.stats.variance_components import session_variance, variance_components
from harness.store.run_directory import RunDirectory, RunWriter
from tests.support.gate_runs import NoData, mt_prompt

N = 40


def write(path, ratings, *, text="answer {}", judge="judge", model_id="m"):
    """A run of MT-Bench with these sampled ratings, shape (prompts, samples), the same for both turns."""
    with RunWriter(path) as writer:
        entries = [{"name": "mt_bench", "version": "1", "asked_as": "mt_bench"}]
        header = {
            "kind": "run",
            "model": {"name": "m", "model_id": model_id},
            "judge": None,
            "benchmarks": entries,
            "data": {},
        }
        writer.write_header({**header, "max_unscored": 0.01})
        for i, own in enumerate(np.asarray(ratings).tolist()):
            prompt = mt_prompt(i)
            answer = Response.to(prompt, "m", model_id, turns=(text.format(i),) * 2)
            writer.append(prompt)
            writer.append(answer)
            for turn in (1, 2):
                meta = (
                    {"sampled": [Rating(value=v, low=1, high=10).model_dump(mode="json") for v in own]}
                    if len(own) > 1
                    else {}
                )
                verdict = Rating(value=float(np.mean(own)), low=1, high=10)
                about = {"benchmark": "mt_bench", "prompt_id": prompt.id, "response_ids": (answer.id,)}
                about |= {"judge": judge, "judge_id": judge, "order": ("candidate",), "turn": turn}
                writer.append(Judgment(**about, verdict=verdict, meta=meta))
        scores = score_run(writer, NoData(), complete=True)
        writer.write_scores(scores.scores)
        writer.write_summary(scores.as_json())
        writer.write_manifest()
    return RunDirectory(path)


def ratings(seed, n_samples, shift=0.0):
    rng = np.random.default_rng(seed)
    prompt = np.random.default_rng(0).normal(5.5, 1.2, (N, 1))
    return np.clip(prompt + shift + rng.normal(0, 1.0, (N, n_samples)), 1, 10)


def test_repeats_in_the_run_are_the_judges(tmp_path):
    values = ratings(1, 4)
    (score, _) = judge_variance(write(tmp_path / "run", values))
    expected = variance_components(values[:, None, :].tolist(), np.random.default_rng(0))
    assert score.metric == "score"
    assert score.components.judge.variance == pytest.approx(expected.judge.variance)
    assert score.components.prompt.variance == pytest.approx(expected.prompt.variance)
    entry = score.as_json()
    assert entry["components"]["answer"]["reason"] == NO_SAMPLES
    assert entry["session_reason"] == NO_SESSIONS
    assert entry["n_verdicts"] == 4 * N


def test_nothing_stored_is_said(tmp_path):
    (score, controlled) = judge_variance(write(tmp_path / "run", ratings(1, 1)))
    assert score.as_json()["components"]["judge"] == {
        "variance": None, "share": None, "share_ci_low": None, "share_ci_high": None, "reason": NO_REPEATS,
    }  # fmt: skip
    assert controlled.reason == "a fit, not a mean over prompts"


def test_other_answers_are_samples(tmp_path):
    first, second = ratings(1, 3), ratings(2, 3)
    runs = write(tmp_path / "a", first), write(tmp_path / "b", second, text="another {}")
    (score, _) = judge_variance(runs[0], runs[1:])
    nested = np.stack([first, second], axis=1).tolist()
    expected = variance_components(nested, np.random.default_rng(0))
    assert [c.variance for c in score.components.components] == pytest.approx([c.variance for c in expected.components])
    assert score.session is None


def test_the_same_answers_judged_again_are_sessions(tmp_path):
    first, second = ratings(1, 2), ratings(3, 2, shift=0.8)
    runs = write(tmp_path / "a", first), write(tmp_path / "b", second)
    (score, _) = judge_variance(runs[0], runs[1:])
    expected = session_variance(np.stack([first.mean(axis=1), second.mean(axis=1)], axis=1))
    assert score.session.variance == pytest.approx(expected.variance)
    assert score.session.variance > 0
    assert score.estimate.value == pytest.approx(first.mean())
    assert score.estimate.stderr == pytest.approx(expected.stderr)
    assert score.estimate.ci_high - score.estimate.ci_low > 4 * first.mean(axis=1).std(ddof=1) / N**0.5


@pytest.mark.parametrize(
    ("fields", "message"), [({"judge": "j2"}, "another judge"), ({"model_id": "o"}, "another model")]
)
def test_repeats_by_another_judge_or_model_are_refused(tmp_path, fields, message):
    runs = write(tmp_path / "a", ratings(1, 1)), write(tmp_path / "b", ratings(2, 1), **fields)
    with pytest.raises(UsageError, match=message):
        judge_variance(runs[0], runs[1:])


def test_the_command(tmp_path, capsys):
    for name, seed in (("a", 1), ("b", 3)):
        write(tmp_path / name, ratings(seed, 3, shift=0.5 * (seed == 3)))
    arguments = ["score", str(tmp_path / "a")]
    assert main([*arguments, "--variance"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Shares of the variance of a verdict" in said
    assert "already cover the randomness of single verdicts" in said
    assert "sessions included" not in said
    main([*arguments, "--include-judge-variance"])
    assert "no other run judged the same answers again" in " ".join(capsys.readouterr().out.split())
    main([*arguments, "--include-judge-variance", "--repeats", str(tmp_path / "b"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["variance"][0]["with_session"]["ci_low"] < found["rows"][0]["ci_low"]
    assert "variance" not in json.loads((tmp_path / "a" / "summary.json").read_text())
    main([*arguments, "--json"])
    assert "variance" not in json.loads(capsys.readouterr().out)
    assert main([*arguments, "--repeats", str(tmp_path / "b")]) == 2
