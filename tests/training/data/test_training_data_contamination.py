"""Benchmark prompts among training prompts: found, listed, refused, taken out."""

from __future__ import annotations

import pytest

from harness.data.store import DataStore
from harness.errors import DataError, UnknownNameError, UsageError
from harness.gate.contamination import OverlapIndex, contaminated_prompts
from harness.messages import Message
from harness.records import Prompt
from tests.paths import MIRROR, needs_data
from training.data.contamination import benchmark_prompts, measure_overlap, refuse_overlap, without_overlap
from training.data.records import Conversation, PreferencePair, PromptItem

LONG = "Write a short story about a lighthouse keeper who finds a message in a bottle one morning"  # 17 words
WORDS = LONG.lower().split()


def prompt(text, source="src"):
    return PromptItem.of((Message("user", text),), source)


def found(texts, benchmark, **options):
    return measure_overlap([prompt(text) for text in texts], {"bench": benchmark}, **options)


@pytest.mark.parametrize(
    ("text", "overlaps"),
    [
        (LONG, True),
        ("Please: " + LONG.upper() + "!!!", True),
        ("  ".join(WORDS[:13]), True),  # 13 words in a row
        ("x " + " ".join(WORDS[3:16]) + " y", True),
        (" ".join(WORDS[:12]), False),
        (" ".join(WORDS[:12]) + " x " + " ".join(WORDS[12:]), False),
        ("something else altogether", False),
    ],
)
def test_thirteen_words_in_a_row(text, overlaps):
    assert bool(found([text], [LONG]).overlaps) is overlaps


def test_a_short_benchmark_prompt_must_be_the_whole_turn():
    assert len(found(["Who are you?", "who are you", "Tell me: who are you?"], ["Who are you?"]).keys) == 2
    talk = PromptItem.of((Message("user", "hi"), Message("assistant", "who are you"), Message("user", "me")))
    assert not measure_overlap([talk], {"b": ["who are you"]}).overlaps  # an answer is no prompt
    later = PromptItem.of((Message("user", "hi"), Message("assistant", "x"), Message("user", "Who are you?")))
    assert measure_overlap([later], {"b": ["who are you"]}).keys == {later.key}


def test_other_n_grams():
    assert not found(["a b c d"], ["x a b c"]).overlaps
    assert [o.words for o in found(["a b c d"], ["x a b c"], n_gram=3).overlaps] == ["a b c"]
    with pytest.raises(UsageError, match="n-grams of 0 words"):
        found(["a"], ["b"], n_gram=0)


def test_what_is_listed():
    items = [
        PreferencePair.of((Message("user", LONG),), "a", "b", "pairs"),
        PreferencePair.of((Message("user", LONG),), "c", "d", "pairs"),
        PreferencePair.of((Message("user", "clean"),), "c", "d", "pairs"),
    ]
    result = measure_overlap(items, {"one": {"k7": [LONG]}, "two": {"k1": ["x"], "k2": ["first", LONG]}})
    assert (result.n_items, result.n_prompts, result.share) == (3, 2, 0.5)
    assert [(o.benchmark, o.benchmark_key, o.source, o.n_items) for o in result.overlaps] == [
        ("one", "k7", "pairs", 2),
        ("two", "k2", "pairs", 2),
    ]
    assert result.overlaps[0].text == LONG
    assert result.overlaps[0].words == " ".join(WORDS[:13])
    assert result.n_found == {"one": 1, "two": 1}
    assert result.as_json()["benchmarks"] == {
        "one": {"n_prompts": 1, "n_found": 1},
        "two": {"n_prompts": 2, "n_found": 1},
    }
    assert without_overlap(items, result) == ([items[2]], 2)


def test_conversations():
    talk = Conversation.of((Message("user", LONG), Message("assistant", "once"), Message("user", "go on"),
                            Message("assistant", "and so")))  # fmt: skip
    result = measure_overlap([talk], {"b": [LONG]})
    assert result.keys == {talk.prompt_key}
    assert without_overlap([talk], result) == ([], 1)


def test_the_limit():
    texts = [LONG, *(f"clean {i}" for i in range(9))]
    result = found(texts, {"k": [LONG], "other": ["nothing of the kind"]})
    refuse_overlap(result, 0.1)
    with pytest.raises(DataError) as caught:
        refuse_overlap(result, 0.09)
    said = ("1 of 10 training prompts (10.00 %)", "1 of bench's 2", "bench k in src: 'Write a short", "at most 9 %")
    for part in (*said, "--remove-overlap"):
        assert part in str(caught.value)
    refuse_overlap(found(["clean"], [LONG]))
    with pytest.raises(DataError, match="and 2 more"):
        refuse_overlap(found([f"{LONG} {i}" for i in range(7)], [LONG]))
    with pytest.raises(UsageError, match="a share, 0 to 1"):
        refuse_overlap(result, 3)


def test_nothing_to_compare():
    with pytest.raises(DataError, match="no training prompts"):
        measure_overlap([], {"b": ["x"]})
    with pytest.raises(DataError, match="bench has no prompts in words"):
        found(["x"], [])


@needs_data
def test_prompts_of_benchmarks(tmp_path):
    data = DataStore(MIRROR, tmp_path, True)
    prompts = benchmark_prompts(["mt_bench", "alpaca_eval"], data)
    assert {name: len(keys) for name, keys in prompts.items()} == {"mt_bench": 80, "alpaca_eval": 805}
    assert all(len(turns) == 2 for turns in prompts["mt_bench"].values())
    second = next(turns[1] for turns in prompts["mt_bench"].values() if len(turns[1].split()) > 15)
    result = measure_overlap([prompt(f"Next. {second}"), prompt("no such thing")], prompts)
    assert result.share == 0.5
    assert result.n_found["mt_bench"] == 1
    with pytest.raises(UnknownNameError):
        benchmark_prompts(["mt_bnch"], data)


def test_the_gate_finds_the_same():
    prompts = [
        Prompt(benchmark="bench", version="1", key=key, turns=turns)
        for key, turns in (("a", (LONG,)), ("b", ("hi", "Who are you?")))
    ]
    index = OverlapIndex()
    for one in prompts:
        for turn in one.turns:
            index.add(one.key, turn)
    for texts in ([LONG], ["who are you"], [f"x {LONG}", "hi"], ["clean"], []):
        assert contaminated_prompts(prompts, texts) == sorted({k for text in texts for k in index.find(text)})
    assert contaminated_prompts(prompts, [LONG, "HI"]) == ["a", "b"]
