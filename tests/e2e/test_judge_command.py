"""`assay judge`: a form is tried on stored answers, and a rubric's principles are negated."""

from __future__ import annotations

import json

import pytest

from tests.paths import needs_data

pytestmark = [pytest.mark.e2e, needs_data]


@pytest.fixture
def run_dir(assay, run_arguments, tmp_path):
    assert assay(*run_arguments(limit=5, benchmark="mt_bench,alpaca_eval"), "--no-cache")[0] == 0
    return tmp_path / "run"


def test_a_dry_run_asks_nothing(assay, run_dir, judge):
    n_asked = len(judge.log)
    status, out, _ = assay("judge", "try", "own:pairwise", "--on", run_dir, "--n", 2, "--dry-run")
    assert status == 0
    assert len(judge.log) == n_asked
    assert out.count("--- asked") == 2
    assert "A scripted answer." in out
    assert "--- reply" not in out


def test_the_reply_and_its_reading_are_shown(assay, run_dir, judge):
    judge.reply = lambda call: "Good enough.\nRating: 7"
    status, out, _ = assay("judge", "try", "own:rating", "--on", run_dir, "--n", 1, "--benchmark", "mt_bench")
    assert status == 0
    assert "--- reply\nGood enough.\nRating: 7\n--- read as\nrating: 7 on 1 to 10" in out
    judge.reply = lambda call: 'It says "Rating: 7".'
    _, out, _ = assay("judge", "try", "own:rating", "--on", run_dir, "--n", 1, "--benchmark", "mt_bench")
    assert "not scored: unparsed" in out


def test_json(assay, run_dir):
    status, out, _ = assay("judge", "try", "rubric:honest", "--on", run_dir, "--n", 2, "--json")
    found = json.loads(out)["trials"]
    assert (status, len(found)) == (0, 2)
    for trial in found:
        assert len(trial["requests"]) == 3, "one for each dimension"
        assert trial["rubric"].keys() == {"truthful", "calibrated", "candid"}
        assert trial["verdict"]["kind"] == "rating"


def test_an_own_file_against_another_run(assay, run_dir, run_arguments, judge, tmp_path):
    form = tmp_path / "mine.txt"
    form.write_text("---\nverdict: preference\n---\n{{ question }} {{ answer_a }} {{ answer_b }}\nVerdict: A\n")
    assert assay(*run_arguments(limit=5, benchmark="mt_bench", out="other"), "--no-cache")[0] == 0
    judge.reply = lambda call: "Verdict: B"
    arguments = ("judge", "try", f"own:{form}", "--on", run_dir, "--benchmark", "mt_bench", "--n", 1)
    status, out, _ = assay(*arguments, "--against", tmp_path / "other")
    assert status == 0
    assert "preference: 0 for the answer shown first (B)" in out
    status, _, err = assay(*arguments)
    assert status == 2
    assert "--against" in err


@pytest.mark.parametrize(("obeys", "share"), [(True, 1.0), (False, 0.0)])
def test_steerability_of_a_judge_that_obeys_and_of_one_that_ignores(assay, run_dir, judge, obeys, share):
    def reply(call):
        name = call.text.rpartition("\nRatings: ")[2].partition("=")[0]
        opposite = any(word in call.text for word in ("false statements", "evasive", "hide what"))
        return f"Ratings: {name}={1 if opposite and obeys else 5}"

    judge.reply = reply
    status, out, _ = assay("judge", "steer", "rubric:honest", "--on", run_dir, "--n", 6, "--json")
    found = json.loads(out)["steerability"]
    assert status == 0
    assert [f["dimension"] for f in found] == ["truthful", "calibrated", "candid"]
    assert all((f["n"], f["share"]) == (6, share) for f in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("try", "own:starring"), "own:pairwise"),
        (("try", "own:rating", "--n", 0), "at least 1"),
        (("try", "own:rating", "--benchmark", "arena"), "one of alpaca_eval, mt_bench"),
        (("steer", "own:rating"), "no principles to negate"),
        (("steer", "rubric:honesty"), "did you mean honest?"),
        (("try", "rubric:honest#truth"), "did you mean truthful?"),
    ],
)
def test_wrong_input(assay, run_dir, arguments, message):
    status, _, err = assay("judge", *arguments[:2], "--on", run_dir, *arguments[2:])
    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_a_run_without_a_judge_needs_one(assay, run_dir, tmp_path):
    header = json.loads((run_dir / "run.json").read_text())
    header["spec"]["judge"] = None
    (run_dir / "run.json").write_text(json.dumps(header))
    status, _, err = assay("judge", "try", "own:rating", "--on", run_dir, "--n", 1)
    assert status == 2
    assert "--judge KIND:MODEL" in err
