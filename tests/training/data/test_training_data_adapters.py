"""Adapters of the paper's preference sets: rows of each layout, and what the filters remove."""

from __future__ import annotations

import json

import pytest

from harness.errors import FileFormatError
from training.data.loading import load_conversations, load_pairs, load_prompts


@pytest.fixture
def read(tmp_path):
    """Load rows through an adapter; gives (prompt, chosen, rejected) texts and what was left out."""

    def loaded(adapter, *rows, load=load_pairs, **options):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return load(path, adapter=adapter, **options)

    return loaded


def sides(pairs):
    return [(p.prompt[-1].content, p.chosen[-1].content, p.rejected[-1].content) for p in pairs]


def test_hh_rlhf(read):
    start = "\n\nHuman: one\n\nAssistant: two\n\nHuman: three\n\nAssistant: "
    loaded = read(
        "hh_rlhf",
        {"chosen": start + "good", "rejected": start + "bad"},
        {"chosen": start + "good", "rejected": start},  # an empty round
        {"chosen": start + "same", "rejected": start + "same"},
        {"chosen": start + "x\n\nAssistant: y", "rejected": start + "bad"},
        {"chosen": start + "good\n\nHuman: more\n\nAssistant: yet", "rejected": start + "bad"},
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"},
    )
    assert sides(loaded) == [("three", "good", "bad"), ("three", "yet", "bad")]
    assert [m.content for m in loaded[0].prompt] == ["one", "two", "three"]
    assert [m.role for m in loaded[1].chosen] == ["assistant", "user", "assistant"]
    assert loaded.filtered == {"empty turn": 1, "equal sides": 1, "roles out of order": 1, "no common prompt": 1}
    assert not loaded.dropped


def test_hh_rlhf_keeps_what_looks_like_a_turn_inside_a_line(read):
    loaded = read("hh_rlhf", {"chosen": "\n\nHuman: say Human: x\n\nAssistant: y: Assistant: z", "rejected":
                              "\n\nHuman: say Human: x\n\nAssistant: no"})  # fmt: skip
    assert sides(loaded) == [("say Human: x", "y: Assistant: z", "no")]


def test_a_file_that_holds_no_transcripts_is_a_fault(read):
    with pytest.raises(FileFormatError, match="line 1: the text begins 'hello'"):
        read("hh_rlhf", {"chosen": "hello", "rejected": "bye"})
    with pytest.raises(FileFormatError, match=r"no column rejected \(columns: chosen\)"):
        read("hh_rlhf", {"chosen": "\n\nHuman: x\n\nAssistant: y"})


def shp(post, a, b, better_is_a=True, text="c"):
    return {
        "post_id": post, "history": f"post {post}", "human_ref_A": f"{text} a{a}", "human_ref_B": f"{text} b{b}",
        "labels": int(better_is_a), "score_A": a, "score_B": b, "score_ratio": max(a, b) / min(a, b),
    }  # fmt: skip


def test_shp_ratio_is_above_two(read):
    loaded = read("shp", shp("x", 5, 2), shp("x", 4, 2), shp("x", 3, 2), shp("y", 2, 9, better_is_a=False))
    assert sides(loaded) == [("post x", "c a5", "c b2"), ("post y", "c b9", "c a2")]
    assert [pair.margin for pair in loaded] == [3, 7]
    assert loaded.filtered == {"score ratio of 2 or less": 2}


def test_shp_takes_five_pairs_of_a_post_whatever_their_order(read):
    rows = [shp("x", 10 + i, 2) for i in range(8)] + [shp("y", 9, 2)]
    loaded = read("shp", *rows)
    assert [pair.prompt[0].content for pair in loaded] == ["post x"] * 5 + ["post y"]
    assert loaded.filtered == {"more than 5 pairs of a prompt": 3}
    again = read("shp", *reversed(rows))
    assert sorted(sides(again)) == sorted(sides(loaded))


def test_shp_label_against_the_votes(read):
    loaded = read("shp", shp("x", 9, 2, better_is_a=False), shp("y", 9, 2))
    assert loaded.filtered == {"scores against the labels": 1}
    with pytest.raises(FileFormatError, match="labels is 2"):
        read("shp", shp("x", 9, 2) | {"labels": 2})


def test_helpsteer_pairs_all_answers_but_equal_ones(read):
    rows = [
        {"prompt": "p", "response": "r3", "helpfulness": 3},
        {"prompt": "q", "response": "alone", "helpfulness": 1},
        {"prompt": "p", "response": "r0", "helpfulness": 0},
        {"prompt": "p", "response": "r3 too", "helpfulness": 3},
        {"prompt": "p", "response": "r1", "helpfulness": 1},
    ]
    loaded = read("helpsteer", *rows)
    assert set(sides(loaded)) == {
        ("p", "r3", "r0"), ("p", "r3", "r1"), ("p", "r3 too", "r0"), ("p", "r3 too", "r1"), ("p", "r1", "r0"),
    }  # fmt: skip
    assert loaded.filtered == {"equal scores": 1, "prompt with one answer": 1}
    near = read("helpsteer", *rows, min_margin=2)
    assert [pair.margin for pair in near] == [3, 2, 3, 2]
    assert near.filtered["margin below 2"] == 1


def pku(better, safer, safe):
    return {
        "prompt": "p", "response_0": "zero", "response_1": "one", "better_response_id": better,
        "safer_response_id": safer, "is_response_0_safe": safe[0], "is_response_1_safe": safe[1],
    }  # fmt: skip


def test_pku_safe_rlhf_merges_labels_and_removes_contradictions(read):
    loaded = read(
        "pku_safe_rlhf",
        pku(0, 0, (True, True)),
        pku(1, 0, (True, False)),  # the safe one, though the other is the more helpful
        pku(1, 1, (False, False)),
        pku(0, 0, (False, True)),  # "safer" is the unsafe one
        pku(0, 1, (True, True)),  # better and safer differ, and safety does not decide
        pku(0, 1, (False, False)),
        pku(0, 0, (True, True)) | {"response_1": " zero"},
        pku(0, 0, (True, True)) | {"response_1": ""},
    )
    assert sides(loaded) == [("p", "zero", "one"), ("p", "zero", "one"), ("p", "one", "zero")]
    assert loaded.filtered == {"contradicting labels": 3, "equal sides": 1, "empty turn": 1}


def completion(name, score):
    return {"model": name, "response": f"by {name}", "fine-grained_score": score, "overall_score": 10.0}


def test_ultrafeedback_pairs_by_the_fine_grained_score(read):
    row = {"instruction": "do", "completions": [completion("a", 4.25), completion("b", 2), completion("c", "N/A"),
                                                completion("d", 4.25)]}  # fmt: skip
    loaded = read("ultrafeedback", row)
    assert sides(loaded) == [("do", "by a", "by b"), ("do", "by d", "by b")]
    assert [(pair.chosen_score, pair.rejected_score) for pair in loaded] == [(4.25, 2.0)] * 2
    assert loaded.filtered == {"answer without a score": 1, "equal scores": 1}
    assert len(load_prompts_of(read, row)) == 1


def load_prompts_of(read, row):
    return read("ultrafeedback", row, load=load_prompts)


def test_code_ultrafeedback_compares_ratings_as_numbers(read):
    row = {
        "instruction": "sort",
        "responses": [{"model": m, "response": f"by {m}"} for m in ("a", "b", "c", "d")],
        "annotations": [
            {"model": "c", "rating": "3"}, {"model": "b", "rating": "9"}, {"model": "a", "rating": "10"},
            {"model": "d", "rating": "N/A"},
        ],
    }  # fmt: skip
    loaded = read("code_ultrafeedback", row)
    assert sides(loaded) == [("sort", "by a", "by b"), ("sort", "by a", "by c"), ("sort", "by b", "by c")]
    assert loaded.filtered == {"answer without a score": 1}


def test_ultra_interact(read):
    turns = [{"from": "user", "value": "solve"}, {"from": "assistant", "value": "try"}, {"from": "user", "value": "no"}]
    row = {"task": "Math_CoT", "trajectory": turns, "chosen": "right", "rejected": "wrong", "id": "1", "parent_id": "0"}
    loaded = read("ultra_interact", row, row | {"rejected": ""}, row | {"trajectory": turns[:2]})
    assert sides(loaded) == [("no", "right", "wrong")]
    assert len(loaded[0].prompt) == 3
    assert loaded.filtered == {"empty turn": 1, "no question at the end": 1}


def test_argilla_math(read):
    row = {"instruction": "1+1", "chosen_response": "2", "chosen_rating": 9.0, "rejected_response": "3",
           "rejected_rating": 4.0}  # fmt: skip
    loaded = read("argilla_math", row, row | {"rejected_rating": 9.0}, row | {"rejected_rating": 9.5})
    assert sides(loaded) == [("1+1", "2", "3")]
    assert loaded[0].margin == 5
    assert loaded.filtered == {"equal scores": 1, "scores against the labels": 1}


def test_open_orca(read):
    row = {"system": "be kind", "input": "q", "chosen": "a", "rejected": "b", "rating": [4.0, 9.0], "status": "swapped"}
    intel = {"system": "", "question": "q2", "chosen": "c", "rejected": "d"}
    loaded = read(
        "open_orca", row, row | {"status": "tie"}, row | {"rating": [7.0, 7.0], "status": "unchanged"},
        row | {"rating": None, "status": None}, intel,
    )  # fmt: skip
    assert sides(loaded) == [("q", "a", "b"), ("q", "a", "b"), ("q2", "c", "d")]
    assert [message.role for message in loaded[0].prompt] == ["system", "user"]
    assert [message.role for message in loaded[2].prompt] == ["user"]
    assert [pair.margin for pair in loaded] == [5.0, None, None]
    assert loaded.filtered == {"equal scores": 2}


@pytest.mark.parametrize("names", [("chosen_rating", "rejected_rating"), ("rating_chosen", "rating_rejected")])
def test_capybara_removes_empty_rounds(read, names):
    def turns(*said):
        return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]

    row = {"source": "s", "chosen": turns("a", "b", "c", "good"), "rejected": turns("a", "b", "c", "bad"),
           names[0]: 5, names[1]: 2}  # fmt: skip
    loaded = read(
        "capybara", row, row | {"chosen": turns("a", "", "c", "good"), "rejected": turns("a", "", "c", "bad")},
        row | {names[1]: 5},
    )  # fmt: skip
    assert sides(loaded) == [("c", "good", "bad")]
    assert loaded[0].margin == 3
    assert loaded.filtered == {"empty turn": 1, "equal scores": 1}


def test_summarize(read):
    info = {"id": "t", "subreddit": "pets", "title": "Dog", "post": "It barks.", "article": None}
    row = {"info": info, "summaries": [{"text": " bad"}, {"text": " good"}], "choice": 1}
    news = {"info": {"article": "News."}, "summaries": [{"text": "x"}, {"text": "y"}], "choice": 0}
    loaded = read("summarize", row, news)
    assert sides(loaded) == [
        ("SUBREDDIT: r/pets\n\nTITLE: Dog\n\nPOST: It barks.\n\nTL;DR:", "good", "bad"),
        ("Article: News.\n\nTL;DR:", "x", "y"),
    ]


def node(role, text, *replies, rank=None, **more):
    return {"role": role, "text": text, "rank": rank, "replies": list(replies), **more}


TREE = node(
    "prompter", "q",
    node("assistant", "second", node("prompter", "unused"), rank=1),
    node("assistant", "first", node("prompter", "and?", node("assistant", "so", rank=None)), rank=0),
    node("assistant", "third", rank=2),
    node("assistant", "unranked"),
    node("assistant", "gone", rank=3, deleted=True),
)  # fmt: skip


def test_oasst_pairs(read):
    for row in ({"message_tree_id": "t", "prompt": TREE}, TREE):
        loaded = read("oasst", row)
        assert sides(loaded) == [("q", "first", "second"), ("q", "first", "third"), ("q", "second", "third")]
        assert loaded.filtered == {"answer without a rank": 1}


def test_trees_name_their_adapter(read):
    with pytest.raises(FileFormatError, match="adapter=oasst"):
        read(None, {"prompt": TREE}, load=load_prompts)


def test_oasst_conversations_follow_the_best_replies(read):
    loaded = read("oasst", {"prompt": TREE}, load=load_conversations)
    assert [m.content for m in loaded[0].messages] == ["q", "first", "and?", "so"]
    assert loaded.filtered == {"reply off the best path": 4}
    short = node("prompter", "q", node("assistant", "a", node("prompter", "nobody answers"), rank=0))
    loaded = read("oasst", short, load=load_conversations)
    assert [m.content for m in loaded[0].messages] == ["q", "a"]
    assert loaded.filtered == {"question without an answer": 1}


def test_oasst_flat_messages(read):
    def flat(key, parent, role, text, rank=None):
        return {"message_id": key, "parent_id": parent, "role": role, "text": text, "rank": rank}

    rows = [
        flat("3", "1", "assistant", "worse", 1),
        flat("1", None, "prompter", "q"),
        flat("2", "1", "assistant", "a", 0),
    ]
    assert sides(read("oasst", *rows)) == [("q", "a", "worse")]
    with pytest.raises(FileFormatError, match="line 1: no message 9"):
        read("oasst", flat("3", "9", "assistant", "lost"), *rows[1:])


@pytest.mark.parametrize(
    ("adapter", "row", "said"),
    [
        ("shp", {"history": "x"}, r"no column human_ref_A \(columns: history\)"),
        ("helpsteer", {"prompt": "x", "response": "y"}, "no column helpfulness"),
        ("pku_safe_rlhf", pku(0, 0, ("yes", True)), "is_response_0_safe is 'yes'"),
        ("ultrafeedback", {"instruction": "x", "completions": "y"}, "completions is of type str"),
        ("ultrafeedback", {"instruction": "x", "completions": [{"response": "y"}]}, "no column fine-grained_score"),
        ("code_ultrafeedback", {"instruction": "x", "responses": []}, "no column annotations"),
        ("ultra_interact", {"chosen": "x", "rejected": "y"}, "no column trajectory"),
        ("argilla_math", {"instruction": 1}, "instruction is of type int"),
        ("open_orca", {"chosen": "x"}, "no column question"),
        ("capybara", {"chosen": []}, "no column rejected"),
        ("summarize", {"info": {}, "summaries": [], "choice": 0}, "info or summaries"),
        ("oasst", {"text": "x"}, "no message of a tree"),
    ],
)
def test_rows_of_another_layout_are_faults_and_droppable(read, adapter, row, said):
    with pytest.raises(FileFormatError, match=f"line 1: .*{said}"):
        read(adapter, row)
    good = {"hh": 1}
    with pytest.raises(Exception, match="no items"):
        read(adapter, row, good, on_bad="drop")
