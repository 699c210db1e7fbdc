"""Reading votes and verdicts: every format, run directories, and what is wrong with files."""

from __future__ import annotations

import gzip
import json

import pytest

from harness.endpoint.ledger import find_price
from harness.errors import FileFormatError, MissingDataError, UsageError
from judges.study.reading import read_judges, read_votes
from judges.study.study import judge_study
from judges.study.study_figures import StudySpec
from judges.study.texts import name_by_text, read_texts, with_texts
from judges.study.verdicts import judge_pairs
from judges.study.vote_records import PairKey
from tests.support.gate_runs import write_head_to_head, write_run


def write(path, rows, as_list=False):
    lines = json.dumps(rows) if as_list else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(lines)
    return path


def vote(prompt, winner, a="x", b="y", who="ann", **more):
    return {"question_id": prompt, "model_a": a, "model_b": b, "winner": winner, "judge": who, "turn": 1, **more}


def test_votes_do_not_depend_on_the_order_of_the_models(tmp_path):
    rows = [vote(1, "model_a"), vote(1, "model_b", "y", "x"), vote(2, "tie (bothbad)"), vote(3, "model_b")]
    found = read_votes(write(tmp_path / "votes.jsonl", rows))
    assert [v.p_first for v in found.votes] == [1.0, 1.0, 0.5, 0.0]
    assert found.votes[0].key == found.votes[1].key == PairKey("1", 1, "x", "y")


def test_votes_of_chosen_people(tmp_path):
    path = write(tmp_path / "votes.jsonl", [vote(1, "model_a"), vote(1, "model_b", who="expert_1")])
    assert [v.voter for v in read_votes(path, "expert*").votes] == ["expert_1"]
    with pytest.raises(UsageError, match="no voter matches"):
        read_votes(path, "nobody*")


def test_conversations_give_texts_and_lengths(tmp_path):
    talk = [{"role": r, "content": c} for r, c in zip(["user", "assistant"] * 2, ["q", "aa", "r", "bbb"], strict=True)]
    row = vote(1, "model_a", a="y", b="x", conversation_a=talk, conversation_b=[*talk[:3], {"content": "c"}]) | {
        "turn": 2
    }
    found = read_votes(write(tmp_path / "votes.jsonl", [row]))
    (facts,) = found.facts.values()
    assert (facts.prompt_text, facts.length_first, facts.length_second) == ("r", 1, 3)


def test_fastchat_pairs_in_both_orders(tmp_path):
    rows = [
        {"question_id": 1, "model_1": "x", "model_2": "y", "g1_winner": g1, "g2_winner": g2, "judge": ["j", "v2"]}
        | {"turn": turn}
        for turn, (g1, g2) in enumerate(
            [("model_1", "model_1"), ("model_1", "model_2"), ("tie", "model_2"), ("error", "model_1")], 1
        )
    ]
    (judge,) = read_judges([(None, write(tmp_path / "pair.jsonl", rows))])
    assert judge.name == "j"
    verdicts = judge_pairs("j", judge.presentations)
    pairs = [verdicts.pairs[PairKey("1", turn, "x", "y")] for turn in (1, 2, 3, 4)]
    assert [p.choice for p in pairs] == ["first", "tie", "tie", None]
    assert [p.p_first for p in pairs] == [1.0, 0.5, 0.25, None]
    assert [p.inconsistent for p in pairs] == [False, True, True, None]
    assert pairs[3].reason == "unparsed"
    assert [p.shown_first for p in pairs[0].presentations] == [True, False]


def test_combined_verdicts_say_whether_the_orders_differed(tmp_path):
    (judge,) = read_judges([(None, write(tmp_path / "j.jsonl", [vote(1, "tie (inconsistent)"), vote(2, "tie")]))])
    pairs = judge_pairs("j", judge.presentations).pairs
    assert [p.inconsistent for p in pairs.values()] == [True, False]


def test_our_lines_with_probabilities_costs_reasons_and_repetitions(tmp_path):
    rows = [
        {"prompt": "p", "model_a": "y", "model_b": "x", "game": 2, "p_a": 0.3, "judge": "j", "cost": 0.002, "repeat": r}
        for r in (1, 2)
    ]
    rows += [{"prompt": "p", "model_a": "x", "model_b": "y", "game": 1, "p_a": 0.9, "judge": "j", "cost": 0.001}]
    rows += [{"prompt": "q", "model_a": "x", "model_b": "y", "game": 1, "unscored": "refused", "judge": "j"}]
    (judge,) = read_judges([(None, write(tmp_path / "j.jsonl", rows))])
    verdicts = judge_pairs("j", judge.presentations)
    assert verdicts.rule == "mean"
    pair = verdicts.pairs[PairKey("p", 1, "x", "y")]
    # the second repetition has one order only and does not count
    assert pair.repeats == (pytest.approx(0.8),) and pair.choice == "first"
    assert pair.cost == pytest.approx((0.003 + 0.002) / 2)
    assert verdicts.pairs[PairKey("q", 1, "x", "y")].reason == "refused"
    agree = judge_pairs("j", judge.presentations, "agree").pairs[pair.key]
    assert agree.choice == "first" and not agree.inconsistent


def test_single_grades_become_pairs_and_a_failed_grade_none(tmp_path):
    rows = [
        {"question_id": 1, "turn": 1, "model": m, "score": s, "judge": ["gpt-4", "single"]}
        for m, s in (("x", 7), ("y", 8), ("z", 8), ("w", -1))
    ]
    (judge,) = read_judges([(None, write(tmp_path / "single.jsonl", rows))])
    pairs = judge_pairs("j", judge.presentations).pairs
    assert pairs[PairKey("1", 1, "x", "y")].choice == "second"
    assert pairs[PairKey("1", 1, "y", "z")].choice == "tie"
    assert pairs[PairKey("1", 1, "w", "x")].reason == "unparsed"


def test_alpaca_eval_names_answers_by_text(tmp_path):
    rows = [
        {"instruction": "do", "output_1": a, "output_2": b, "preference": p, "annotator_index": i}
        for i, (a, b, p) in enumerate([("long", "short", 1), ("short", "long", 2.0), ("long", "short", 0)])
    ]
    found = read_votes(write(tmp_path / "cross.json", rows, as_list=True))
    assert found.by_text and len(found.facts) == 1
    one, other, draw = found.votes
    assert one.p_first == other.p_first != 0.5 and draw.p_first == 0.5
    weighted = [
        rows[0] | {"preference": 1.25, "annotator": "gpt", "price_per_example": 0.01} | {"annotator_index": None}
    ]
    (judge,) = read_judges([(None, write(tmp_path / "annotations.json", weighted, as_list=True))])
    (verdict,) = judge_pairs("gpt", judge.presentations).pairs.values()
    assert max(verdict.p_first, 1 - verdict.p_first) == 0.75 and verdict.cost == 0.01
    assert judge.name == "gpt" and (verdict.p_first > 0.5) == (one.p_first > 0.5)


def test_the_same_text_twice_names_no_answer_and_is_counted(tmp_path):
    rows = [{"instruction": "do", "output_1": "a", "output_2": b, "preference": 1} for b in ("a", "b")]
    path = write(tmp_path / "cross.json", rows, as_list=True)
    found = read_votes(path)
    assert (len(found.votes), found.n_same_text) == (1, 1)
    judged = [row | {"annotator": "gpt"} for row in rows]
    (judge,) = read_judges([("j", write(tmp_path / "annotations.json", judged, as_list=True))])
    assert (len(judge.presentations), judge.n_same_text) == (1, 1)
    remarks = judge_study(found, [judge], StudySpec(n_boot=100)).remarks
    assert any("1 votes left out" in remark for remark in remarks)
    assert any("1 verdicts of j left out" in remark for remark in remarks)
    named = {"prompt": "p", "model_a": "x", "model_b": "y", "winner": "tie", "answer_a": "s", "answer_b": "s"}
    other = named | {"prompt": "q", "answer_b": "t"}
    (judge,) = read_judges([("j", write(tmp_path / "j.jsonl", [r | {"prompt_text": "do"} for r in (named, other)]))])
    name_by_text(judge, judge.facts, "j")
    assert (len(judge.presentations), judge.n_same_text) == (1, 1)


def test_a_run_meets_votes_that_name_answers_by_text(tmp_path):
    run = write_head_to_head(tmp_path / "run", [(0.9, 0.7), (0.2, 0.4)])
    (judge,) = read_judges([(None, run)])
    texts = {p.key: judge.facts[p.key] for p in judge.presentations}
    votes = []
    for key, facts in texts.items():
        new_first = facts.model_first == "new"
        new, old = (facts.text_first, facts.text_second) if new_first else (facts.text_second, facts.text_first)
        row = {"instruction": facts.prompt_text, "output_1": new, "output_2": old, "preference": 1}
        votes.append(row | {"annotator_index": 0, "key": key.prompt})
    human = read_votes(write(tmp_path / "cross.json", votes, as_list=True))
    name_by_text(judge, judge.facts, judge.name)
    pairs = judge_pairs("judge", judge.presentations).scored()
    # people always prefer "new"; the judge gives it 0.8 and 0.3
    credit = [pairs[v.key].p_first if v.p_first == 1.0 else 1 - pairs[v.key].p_first for v in human.votes]
    assert credit == pytest.approx([0.8, 0.3])
    assert {judge.facts[v.key].model_first for v in human.votes} <= {"new", "old"}


def test_names_cannot_meet_texts_without_texts(tmp_path):
    (judge,) = read_judges([(None, write(tmp_path / "j.jsonl", [vote(1, "model_a")]))])
    with pytest.raises(UsageError, match="holds no texts"):
        name_by_text(judge, judge.facts, "j")


def test_run_directories_pairs_grades_and_unfinished(tmp_path):
    pairwise = write_run(tmp_path / "a", "new", alpaca_eval=[0.9, "unparsed"], complete=False)
    (judge,) = read_judges([("mine", pairwise)])
    assert judge.name == "mine" and "is not complete" in judge.problems[0]
    assert [p.reason for p in judge.presentations] == ["", "unparsed"]
    assert judge.presentations[0].key == PairKey("k0", 1, "gpt4_1106_preview", "new")
    assert judge.presentations[0].p_first == pytest.approx(0.1)
    graded = [write_run(tmp_path / m, m, mt_bench=ratings) for m, ratings in (("x", [7, 5]), ("y", [6, 5]))]
    (judge,) = read_judges([("j", graded[0]), ("j", graded[1])])
    choices = {p.key: p.choice for p in judge.presentations}
    assert choices[PairKey("0", 1, "x", "y")] == "first" and choices[PairKey("1", 2, "x", "y")] == "tie"


def test_a_folder_of_files_and_names(tmp_path):
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "one.v1.jsonl", [vote(1, "model_a", who="")])
    write(tmp_path / "folder" / "two.jsonl", [vote(1, "y", who="")])  # a winner by its own name
    one, two = read_judges([(None, tmp_path / "folder")])
    assert (one.name, two.name) == ("one.v1", "two")
    assert [p.p_first for p in (*one.presentations, *two.presentations)] == [1.0, 0.0]
    (both,) = read_judges([("j", tmp_path / "folder")])
    assert [p.repeat for p in both.presentations] == [1, 2]


def test_texts_of_fastchats_files(tmp_path):
    answers = [
        {"question_id": 1, "model_id": m, "choices": [{"turns": ["a", "b" * n]}]} for m, n in (("x", 2), ("y", 5))
    ]
    texts = read_texts(
        [write(tmp_path / "answers.jsonl", answers)],
        [write(tmp_path / "questions.jsonl", [{"question_id": 1, "category": "c", "turns": ["q", "r"]}])],
    )
    (facts,) = with_texts([PairKey("1", 2, "x", "y")], {}, texts).values()
    assert (facts.length_first, facts.length_second, facts.prompt_text, facts.category) == (2, 5, "r", "c")
    with pytest.raises(FileFormatError, match="no format has the fields question_id"):
        read_texts([write(tmp_path / "bad.jsonl", [{"question_id": 1}])], [])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"a": 1}, "no format has the fields"),
        ({}, "no format has the fields nothing"),
        (vote(1, "model_a", "x", "x"), "against itself"),
        (vote(1, "wins"), "no vote"),
        (vote(1, None), "no vote"),
        ({"model_a": "x", "model_b": "y", "winner": "tie"}, "no prompt"),
        (vote(1, None) | {"p_a": 1.5}, "p_a is 1.5"),
        (vote(1, None) | {"p_a": "high"}, "p_a is 'high'"),
        (vote(1, None) | {"p_a": float("nan")}, "p_a is nan"),
        (vote(1, "tie") | {"turn": "first"}, "of the wrong kind"),
        (vote(1, "tie") | {"turn": float("inf")}, "of the wrong kind"),
        (vote(1, "tie") | {"length_a": "long"}, "of the wrong kind"),
        (vote(1, "tie") | {"conversation_a": [1, 2]}, "of the wrong kind"),
        (vote(1, "tie") | {"cost": float("inf")}, "cost is infinite"),
        (vote(1, "tie") | {"cost": -1}, "cost is -1"),
        ({"question_id": 1, "model": "x", "score": 3}, "grade of one answer"),
        ({"instruction": "i", "output_1": "a", "output_2": "b", "preference": 3}, "preference is 3"),
        ({"instruction": "i", "output_1": "a", "output_2": "b", "preference": float("nan")}, "no vote"),
        ({"input": "i", "output_1": "a", "output_2": "b", "label": 3}, "label is 3"),
    ],
)
def test_wrong_votes(tmp_path, row, words):
    path = tmp_path / "votes.jsonl"
    path.write_text(json.dumps(vote(0, "tie")) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(FileFormatError, match=words) as caught:
        read_votes(path)
    assert "line 2" in str(caught.value)


def test_wrong_files(tmp_path):
    for text, words in (("", "no votes"), ("[]", "no votes"), ("{", "not valid JSON"), ("[1]", "item 1 is a JSON int")):
        (tmp_path / "f.json").write_text(text)
        with pytest.raises(FileFormatError, match=words):
            read_votes(tmp_path / "f.json")
    with pytest.raises(MissingDataError, match="no such file"):
        read_votes(tmp_path / "absent.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError, match="neither a run"):
        read_judges([(None, tmp_path / "empty")])
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(MissingDataError, match="holds no judgments"):
        read_judges([("j", tmp_path / "empty.jsonl")])
    with pytest.raises(MissingDataError, match="holds no judgments"):
        read_judges([("j", write_run(tmp_path / "run", "m", alpaca_eval=[]))])


def test_a_verdict_out_of_the_cache_costs_what_it_would_cost_to_ask(tmp_path):
    run = write_head_to_head(tmp_path / "run", [(0.9, 0.7)])
    path = run / "judgments.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    paid = {"judge": "gpt-4.1", "n_prompt_tokens": 1000, "n_completion_tokens": 100}
    rows[0] |= paid | {"cached": True, "cost": 0.0}
    rows[1] |= paid | {"cost": 0.5}
    write(path, rows)
    (judge,) = read_judges([(None, run)])
    price = find_price("gpt-4.1")
    assert [p.cost for p in judge.presentations] == [pytest.approx(price.cost(1000, 100)), 0.5]
    rows[0] |= {"judge": "nobody knows its price"}
    write(path, rows)
    assert [p.cost for p in read_judges([("j", run)])[0].presentations] == [None, 0.5]


IMPORTER = """
from harness.data.votes import Side, StatedPreference


class Mine:
    fields = ("winner_is_left (mine)",)

    def add_arguments(self, parser): ...
    def read(self, arguments): ...

    def statements(self, row):
        if "winner_is_left" not in row.values:
            return None
        if not isinstance(row.values["winner_is_left"], bool):
            raise row.error("winner_is_left is no boolean", "true or false")
        p_a = float(row.values["winner_is_left"])
        return [StatedPreference(row.text("q"), Side.of_model("x"), Side.of_model("y"), row.values["who"], p_a)]
"""


def test_a_format_of_another_package_is_read_through_its_importer(tmp_path, install_plugin):
    rows = [{"winner_is_left": left, "q": "1", "who": "ann"} for left in (True, False)]
    path = write(tmp_path / "votes.jsonl", rows)
    with pytest.raises(FileFormatError, match="no format has the fields q, who, winner_is_left"):
        read_votes(path)
    install_plugin("my-importer", {"mine": IMPORTER}, {"assay.importers": {"mine": "mine:Mine"}})
    assert [v.p_first for v in read_votes(path).votes] == [1.0, 0.0]
    (judge,) = read_judges([(None, path)])
    assert judge.name == "ann" and [p.repeat for p in judge.presentations] == [1, 2]
    for row, words in ((rows[0] | {"winner_is_left": 1}, "no boolean"), ({"winner_is_left": True, "q": "1"}, "'who'")):
        with pytest.raises(FileFormatError, match=words):
            read_votes(write(tmp_path / "wrong.jsonl", [row]))
    with pytest.raises(FileFormatError) as raised:
        read_votes(write(tmp_path / "other.jsonl", [{"a": 1}]))
    assert "winner_is_left (mine)" in str(raised.value)


VALUES = [None, "", "x", 0, -1, 1.5, True, [], {}, float("nan"), float("inf"), [1], {"a": 1}, "\ud800", 10**400]
RECORDS = [
    vote(1, "tie", game=1, repeat=1, cost=0.1, length_a=3, answer_a="t", prompt_text="p", category="c"),
    {"question_id": 1, "model_1": "x", "model_2": "y", "g1_winner": "tie", "g2_winner": "tie", "judge": "j", "turn": 1},
    {"question_id": 1, "model_a": "x", "model_b": "y", "winner_ab": "A", "winner_ba": "B", "winner": "x"},
    {"question_id": 1, "model": "x", "score": 3, "turn": 1, "judge": ["a", "b"]},
    {"instruction": "i", "output_1": "a", "output_2": "b", "preference": 1, "annotator": "x", "price_per_example": 1},
    {"input": "i", "output_1": "a", "output_2": "b", "label": 1, "results": [{"swap = False": {"winner": "1"}}]},
]


@pytest.mark.parametrize("record", RECORDS)
def test_any_value_in_any_field_is_read_or_refused_in_words(tmp_path, record):
    path = tmp_path / "f.jsonl"
    for field in record:
        for value in VALUES:
            path.write_text(json.dumps(record | {field: value}) + "\n")
            for read in (read_votes, lambda p: read_judges([("j", p)])):
                try:
                    found = read(path)
                except (FileFormatError, MissingDataError):
                    continue
                json.dumps([repr(f) for f in found] if isinstance(found, list) else repr(found))


def llmbar(i, label=1, winners=("1", "1"), **more):
    verdicts = {f"swap = {swap}": {"winner": winner} for swap, winner in zip((False, True), winners, strict=True)}
    return {"input": f"q{i}", "output_1": f"a{i}", "output_2": f"b{i}", "label": label, "results": [verdicts], **more}


def test_gold_labels_beside_verdicts_are_the_votes(tmp_path):
    """An evaluator that is right on one item of three is not compared with itself."""
    path = write(tmp_path / "result.json", [llmbar(1), llmbar(2, label=2), llmbar(3, label=2)], as_list=True)
    votes = read_votes(path)
    assert (votes.is_gold, votes.n_verdicts, {v.voter for v in votes.votes}) == (True, 6, {"gold"})
    (judge,) = read_judges([("evaluator", path)])
    assert len(judge.presentations) == 6  # two orders of three items, and no gold label among them
    study = judge_study(votes, [judge], StudySpec(n_boot=100))
    cell = next(cell for cell in study.judges[0].cells if cell.ties)
    assert cell.agreement.estimate.value == pytest.approx(100 / 3)
    assert any("3 gold labels" in remark and "6 verdicts beside them" in remark for remark in study.remarks)
    assert study.human.is_gold


@pytest.mark.parametrize(
    ("rows", "message", "remedy"),
    [
        (
            [llmbar(1, label=None), llmbar(2, label=None)],
            "verdicts of an automatic judge, and no gold label",
            "--judgments",
        ),
        ([llmbar(1), llmbar(2, label=None)], "no gold label, but 1 other rows have one", "add the label"),
        ([llmbar(1), vote(1, "model_a")], "no gold label, but 1 other rows have one", "two files"),
        (
            [{"question_id": 1, "model_1": "x", "model_2": "y", "g1_winner": "model_1", "g2_winner": "model_1"}],
            "verdicts of an automatic judge",
            "--judgments",
        ),
    ],
)
def test_verdicts_are_never_read_as_votes(tmp_path, rows, message, remedy):
    with pytest.raises(FileFormatError, match=message) as caught:
        read_votes(write(tmp_path / "human.json", rows, as_list=True))
    assert remedy in str(caught.value)


def test_gold_labels_alone_may_be_a_judge(tmp_path):
    item = {name: value for name, value in llmbar(1).items() if name != "results"}
    (judge,) = read_judges([(None, write(tmp_path / "gold.jsonl", [item]))])
    assert (judge.name, len(judge.presentations)) == ("gold", 1)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_judge_is_not_compared_with_its_own_verdicts(tmp_path, suffix):
    rows = [vote(1, "model_a", who="j"), vote(2, "model_b", who="j"), vote(1, "model_a"), vote(2, "model_a")]
    human = write(tmp_path / "all.jsonl", rows)
    copied = tmp_path / f"copy{suffix}"
    copied.write_bytes(gzip.compress(human.read_bytes()) if suffix.endswith("gz") else human.read_bytes())
    judges = read_judges([(None, copied)])
    with pytest.raises(UsageError, match=r"2 of 2 rows of j .* are read as votes"):
        judge_study(read_votes(human), judges)
    people_only = judge_study(read_votes(human, "ann"), [judge for judge in judges if judge.name == "j"])
    assert next(cell for cell in people_only.judges[0].cells if cell.ties).agreement.estimate.value == 50.0


def test_a_judge_that_agrees_with_every_vote_is_remarked(tmp_path):
    def remarks(n, n_other):
        rows = [vote(i, "model_a" if i % 2 else "model_b") for i in range(n)]
        other = [vote(i, "model_b" if (i % 2 or i < n_other) else "model_a", "y", "x", who="j") for i in range(n)]
        judges = read_judges([(None, write(tmp_path / "j.jsonl", other))])
        return judge_study(read_votes(write(tmp_path / "votes.jsonl", rows)), judges, StudySpec(n_boot=100)).remarks

    assert any("agrees with all 24 votes" in remark for remark in remarks(24, 0))
    assert not any("agrees with all" in remark for remark in remarks(24, 1))
    assert not any("agrees with all" in remark for remark in remarks(10, 0))
