"""Wrong files: one clear message with file, line and what was expected; no run directory is left behind."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.paths import needs_data

pytestmark = [pytest.mark.e2e, needs_data]

QUESTIONS = [
    {"question_id": 1, "category": "writing", "turns": ["a", "b"]},
    {"question_id": 2, "category": "math", "turns": ["c", "d"]},
]


def verdicts(score=7, **changes):
    row = {"model": "m", "judge": ["gpt-4", "single-v1"], "judgment": "Rating: [[7]]", "score": score}
    return [{**row, "question_id": q, "turn": turn, **changes} for q in (1, 2) for turn in (1, 2)]


def answers(**changes):
    return [{"question_id": q, "model_id": "m", "choices": [{"turns": ["x", "y"]}], **changes} for q in (1, 2)]


@pytest.fixture
def write(tmp_path):
    def write(name, rows):
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return write


@pytest.fixture
def mt_bench(assay, write, tmp_path):
    def run(questions=QUESTIONS, judgments=None, answer_rows=None, *more):
        files = ["--questions", write("question.jsonl", questions)]
        files += ["--judgments", write("judgments.jsonl", judgments if judgments is not None else verdicts())]
        if answer_rows is not None:
            files += ["--answers", write("answers.jsonl", answer_rows)]
        return assay("import", "mt_bench", *files, *more, "--out", tmp_path / "run", "--json")

    return run


def test_a_whole_import(mt_bench):
    status, out, _ = mt_bench(answer_rows=answers())
    rows = {row["metric"]: row for row in json.loads(out)["rows"]}
    assert status == 0
    assert rows["score"]["value"] == 7.0
    assert rows["score_math"]["n"] == 2
    assert rows["avg_length"]["value"] == 1.0


def test_minus_one_is_a_verdict_that_could_not_be_read(mt_bench):
    judgments = verdicts()
    judgments[0]["score"] = -1
    status, out, _ = mt_bench(judgments=judgments)
    found = json.loads(out)
    row = next(row for row in found["rows"] if row["metric"] == "score")
    assert status == 0
    assert (row["value"], row["n"], row["unscored"]) == (7.0, 3, {"unparsed": 1})
    assert not found["valid"]


def test_a_missing_verdict_is_counted(mt_bench):
    _, out, _ = mt_bench(judgments=verdicts()[:-1])
    row = next(row for row in json.loads(out)["rows"] if row["metric"] == "score")
    assert row["unscored"] == {"missing": 1}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"questions": [*QUESTIONS, '{"question_id": 3,']}, ["question.jsonl, line 3", "not valid JSON"]),
        ({"questions": [{"question_id": 1, "category": "math"}, QUESTIONS[1]]}, ["line 1", "no field 'turns'"]),
        ({"questions": [*QUESTIONS, QUESTIONS[0]]}, ["line 3", "question '1' is there twice (first on line 1)"]),
        ({"questions": []}, ["the file is empty"]),
        ({"judgments": verdicts(question_id=99)}, ["4 of 4 verdicts", "not in the question set", "'99'"]),
        ({"judgments": verdicts() + verdicts()[:1]}, ["line 5", "question 1 turn 1", "twice (first on line 1)"]),
        ({"judgments": verdicts(score="seven")}, ["line 1", "field 'score' is 'seven'"]),
        ({"judgments": verdicts(turn=3)}, ["turn is 3"]),
        ({"judgments": verdicts() + verdicts(model="n")}, ["2 models: m, n", "--model NAME"]),
        ({"judgments": verdicts()[:2] + verdicts(judge=["claude", "single-v1"])[2:]}, ["2 judges: claude, gpt-4"]),
        ({"judgments": verdicts(judge=["gpt-4", "pair-v2"])}, ["pairwise judgments"]),
        ({"answer_rows": answers(question_id=77)}, ["2 of 2 answers", "'77'"]),
        ({"answer_rows": answers(choices=[])}, ["answers.jsonl, line 1", "choices[0].turns"]),
        ({"answer_rows": answers(choices=[{"turns": ["x"]}])}, ["1 turns answered", "2, as the question has"]),
        ({"answer_rows": [*answers(), answers()[0]]}, ["line 3", "answer to question '1' is there twice"]),
    ],
)
def test_wrong_files(mt_bench, tmp_path, files, words):
    status, out, err = mt_bench(**files)
    assert status in (1, 2)
    assert out == ""
    for word in words:
        assert word in err, err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_close_is_suggested(mt_bench):
    status, _, err = mt_bench(QUESTIONS, verdicts(model="vicuna"), None, "--model", "vicunna")
    assert status == 2
    assert "did you mean vicuna?" in err


def test_a_verdict_off_the_scale_is_not_scored(mt_bench):
    _, out, _ = mt_bench(judgments=verdicts(score=11))
    row = next(row for row in json.loads(out)["rows"] if row["metric"] == "score")
    assert (row["value"], row["unscored"]) == (None, {"out_of_scale": 4})


def test_a_directory_that_holds_a_run_is_refused(mt_bench):
    assert mt_bench()[0] == 0
    status, _, err = mt_bench()
    assert status == 1
    assert "already holds a run" in err


def test_an_import_cannot_be_resumed_or_run_over(mt_bench, assay, run_arguments, tmp_path):
    mt_bench()
    status, _, err = assay("resume", tmp_path / "run")
    assert (status, "was imported" in err) == (1, True)
    status, _, err = assay(*run_arguments())
    assert (status, "holds an imported run" in err) == (1, True)


def alpaca(preference=1.5, **changes):
    row = {"instruction": "Say hello.", "output_1": "Hello!", "output_2": "Hi.", "generator_1": "base"}
    return {**row, "generator_2": "m", "annotator": "judge", "preference": preference, **changes}


def test_alpaca_preferences(assay, write, tmp_path):
    rows = [alpaca(1.25), alpaca(0, instruction="b"), alpaca(None, instruction="c"), alpaca(2.5, instruction="d")]
    path = write("annotations.jsonl", rows)
    status, out, _ = assay("import", "alpaca_eval", "--annotations", path, "--out", tmp_path / "run", "--json")
    row = next(row for row in json.loads(out)["rows"] if row["metric"] == "win_rate")
    assert status == 0
    assert row["value"] == pytest.approx(37.5)
    assert row["unscored"] == {"unparsed": 1, "out_of_scale": 1}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([alpaca("good")], "field 'preference' is 'good'"),
        ([alpaca(), alpaca()], "is there twice"),
        ([{k: v for k, v in alpaca().items() if k != "generator_2"}], "no field 'generator_2'"),
        ([alpaca(), alpaca(instruction="b", generator_1="other")], "2 baselines: base, other"),
        ([alpaca(), alpaca(instruction="b", annotator="other")], "2 annotators"),
    ],
)
def test_wrong_annotations(assay, write, tmp_path, rows, words):
    path = write("annotations.jsonl", rows)
    status, _, err = assay("import", "alpaca_eval", "--annotations", path, "--out", tmp_path / "run")
    assert status in (1, 2)
    assert words in err


def test_arena_games(assay, write, tmp_path):
    questions = [{"uid": str(i), "category": "arena-hard-v0.1", "prompt": f"q{i}"} for i in range(4)]
    games = [["A>B", "A>>B"], ["A=B", None], [{"score": None}, "B<A"], ["B>>A", "A=B"]]
    rows = [
        {
            "uid": str(i),
            "model": "m",
            "judge": "j",
            "games": [g if isinstance(g, dict) or g is None else {"score": g} for g in pair],
        }
        for i, pair in enumerate(games)
    ]
    files = ["--questions", write("q.jsonl", questions), "--judgments", write("j.jsonl", rows)]
    status, out, _ = assay("import", "arena_hard", *files, "--out", tmp_path / "run", "--json")
    row = next(row for row in json.loads(out)["rows"] if row["metric"] == "win_rate")
    assert status == 0
    # Games 1: 0, 1/2, -, 3 x 1; games 2: 3 x 1, -, -, 1/2 of weights 1, 1, 3 and 3, 1
    assert row["value"] == pytest.approx(100 * 7 / 9)
    assert row["unscored"] == {"request_failed": 1, "unparsed": 1, "out_of_scale": 1}


@pytest.fixture
def arena(assay, write, tmp_path):
    """Import four questions: won, won, one lost game alone, tied."""

    def run(*more, games=(("B>A", "A>B"), ("B>A", "A>B"), ("A>B",), ("A=B", "A=B")), extra=()):
        questions = [{"uid": str(i), "category": "arena-hard-v0.1", "prompt": f"q{i}"} for i in range(len(games))]
        rows = [
            {"uid": str(i), "model": "m", "judge": "j", "games": [{"score": label} for label in pair]}
            for i, pair in enumerate(games)
        ]
        files = ["--questions", write("q.jsonl", questions), "--judgments", write("j.jsonl", [*rows, *extra])]
        return assay("import", "arena_hard", *files, *more, "--out", tmp_path / "run", "--json")

    return run


def figure(out, metric):
    return next(row for row in json.loads(out)["rows"] if row["metric"] == metric)


def test_a_lone_game_is_refused_and_the_error_names_the_options(arena):
    status, out, err = arena()
    assert (status, out) == (1, "")
    for word in ("line 3", "1 games", "--lone-games unscored", "--lone-games score"):
        assert word in err
    status, _, err = arena("--lone-games", "score", games=[("A>B", "A>B", "A>B")])
    assert status == 1
    assert "3 games" in err
    assert "--lone-games" not in err


@pytest.mark.parametrize(
    ("repair", "value", "unscored"),
    [
        ("unscored", 100 * 5 / 6, {"lone_game": 1, "missing": 1}),  # six games of three questions
        ("score", 100 * 5 / 7, {"missing": 1}),  # the lost game weighs as one game
    ],
)
def test_a_lone_game_is_repaired_as_told_and_counted(arena, assay, tmp_path, repair, value, unscored):
    status, out, _ = arena("--lone-games", repair)
    row = figure(out, "win_rate")
    assert status == 0
    assert row["value"] == pytest.approx(value)
    assert row["unscored"] == unscored
    remark = f"1 of 4 questions have one game instead of two: .*--lone-games {repair}"
    assert any(re.search(remark, text) for text in json.loads(out)["remarks"])
    _, shown, _ = assay("score", tmp_path / "run")
    assert re.search(remark, " ".join(shown.split()))
    if repair == "unscored":
        assert any(failure["reason"] == "lone_game" for failure in json.loads(out)["failures"])


def test_a_file_with_no_lone_game_is_read_the_same_with_the_option(arena, tmp_path):
    games = [("B>A", "A>B"), ("A=B", "A>>B")]
    _, strict, _ = arena(games=games)
    shutil.rmtree(tmp_path / "run")
    _, repaired, _ = arena("--lone-games", "score", "--duplicates", "last", games=games)
    assert json.loads(strict)["rows"] == json.loads(repaired)["rows"]
    assert json.loads(repaired)["remarks"] == json.loads(strict)["remarks"]


@pytest.mark.parametrize(("repair", "value"), [("first", 75.0), ("last", 25.0)])
def test_duplicate_arena_judgments(arena, repair, value):
    games = [("B>A", "A>B"), ("A=B", "A=B")]
    again = [{"uid": "0", "model": "m", "judge": "j", "games": [{"score": "A>B"}, {"score": "B>A"}]}]
    status, _, err = arena(games=games, extra=again)
    assert status == 1
    assert "--duplicates" in err
    status, out, _ = arena("--duplicates", repair, games=games, extra=again)
    assert status == 0
    assert figure(out, "win_rate")["value"] == pytest.approx(value)
    assert any("2 rows repeat a judgment of question 1 of 2" in text for text in json.loads(out)["remarks"])


@pytest.mark.parametrize(("repair", "first_turn"), [("first", 4.0), ("last", 8.0), ("mean", 6.0)])
def test_duplicate_ratings(mt_bench, tmp_path, repair, first_turn):
    judgments = verdicts()
    judgments[0]["score"] = 4
    judgments += [judgments[0] | {"score": score} for score in (-1, 8)]
    status, _, err = mt_bench(judgments=judgments)
    assert status == 1
    assert "--duplicates" in err
    status, out, _ = mt_bench(QUESTIONS, judgments, None, "--duplicates", repair)
    assert status == 0
    assert figure(out, "score")["value"] == pytest.approx((first_turn + 3 * 7.0) / 4)
    remark = f"3 rows repeat a verdict on 1 of 4: .*--duplicates {repair}"
    assert any(re.search(remark, text) for text in json.loads(out)["remarks"])


def test_the_mean_of_ratings_none_of_which_could_be_read_is_unscored(mt_bench):
    judgments = verdicts(score=-1)
    status, out, _ = mt_bench(QUESTIONS, [*judgments, judgments[0]], None, "--duplicates", "mean")
    assert status == 0
    assert figure(out, "score")["unscored"] == {"unparsed": 4}
