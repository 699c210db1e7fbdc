"""From rewards to pairs: by hand for every selection, what is dropped and counted, equation 9."""

from __future__ import annotations

from collections import Counter

import pytest

from harness.messages import Message
from harness.store.align_directory import Sample
from training.align.selection import Ranked, SelectionSpec, select_pairs
from training.data.records import prompt_key

PROMPT = [{"role": "user", "content": "why?"}]
KEY = prompt_key([Message("user", "why?")])


def ranked(texts_and_rewards, key=KEY, prompt=PROMPT, **changes):
    return [
        Ranked(Sample(prompt_key=key, prompt=prompt, sample=i, temperature=1.0, response=text, **changes), reward)
        for i, (text, reward) in enumerate(texts_and_rewards)
    ]


def chosen(found):
    return [(p.chosen[-1].content, p.rejected[-1].content, p.margin) for p in found.pairs]


ANSWERS = ranked([("b", 2.0), ("d", 0.0), ("a", 3.0), ("c", 1.0)])


def test_best_and_worst():
    found = select_pairs([ANSWERS], SelectionSpec())
    assert chosen(found) == [("a", "d", 3.0)]
    assert found.pairs[0].key == KEY and found.n_prompts == 1 and not found.dropped


def test_best_and_second():
    assert chosen(select_pairs([ANSWERS], SelectionSpec("best-second"))) == [("a", "b", 1.0)]


def test_best_and_second_passes_over_the_same_text():
    answers = ranked([("a", 3.0), ("a", 2.5), ("b", 1.0)])
    assert chosen(select_pairs([answers], SelectionSpec("best-second"))) == [("a", "b", 2.0)]


def test_best_and_random_takes_each_other_answer_equally_often():
    counts = Counter(
        chosen(select_pairs([ANSWERS], SelectionSpec("best-random", seed=seed)))[0][1] for seed in range(900)
    )
    assert set(counts) == {"b", "c", "d"}
    assert all(abs(n - 300) < 4 * (900 * 2 / 9) ** 0.5 for n in counts.values())


def test_the_random_choice_does_not_depend_on_other_prompts():
    prompts = [
        ranked([(f"{w}{i}", float(j)) for j, w in enumerate("abcdef")], key=prompt_key([Message("user", str(i))]))
        for i in range(20)
    ]
    spec = SelectionSpec("best-random", seed=3)
    alone = [pair for own in prompts for pair in chosen(select_pairs([own], spec))]
    assert chosen(select_pairs(prompts, spec)) == alone
    assert len({rejected[0] for _, rejected, _ in alone}) > 1


def test_all_pairs_by_margin():
    found = select_pairs([ANSWERS], SelectionSpec("margin", min_margin=2.0))
    assert chosen(found) == [("a", "c", 2.0), ("a", "d", 3.0), ("b", "d", 2.0)]
    assert found.dropped == {"margin too small": 3}


def test_equation_9_by_hand():
    # 5 characters at 0.5 each: 4 - 2.5 = 1.5 against 2 - 0.5 = 1.5; one more takes the long answer to 1.0
    spec = SelectionSpec(length_penalty=0.5)
    assert select_pairs([ranked([("lengt", 4.0), ("s", 2.0)])], spec).dropped == {"equal rewards": 1}
    assert chosen(select_pairs([ranked([("length", 4.0), ("s", 2.0)])], spec)) == [("s", "length", 0.5)]
    assert chosen(select_pairs([ranked([("length", 4.0), ("s", 2.0)])], SelectionSpec())) == [("length", "s", 2.0)]


@pytest.mark.parametrize(
    ("answers", "dropped"),
    [
        (ranked([("same", 2.0), (" same", 1.0)]), {"the same answer on both sides": 1}),
        (ranked([("a", 1.0), ("b", 1.0)]), {"equal rewards": 1}),
        (ranked([("a", 1.0), ("b", None)]), {"answers without a reward": 1, "fewer than two answers with a reward": 1}),
        (ranked([("a", 1.0), ("  ", 2.0)]), {"empty answers": 1, "fewer than two answers with a reward": 1}),
        (
            ranked([("", None), ("", None)], finish="error", error="gone"),
            {"answers that failed": 2, "fewer than two answers with a reward": 1},
        ),
        ([], {"fewer than two answers with a reward": 1}),
    ],
)
def test_what_gives_no_pair_is_counted(answers, dropped):
    found = select_pairs([answers, ANSWERS], SelectionSpec())
    assert chosen(found) == [("a", "d", 3.0)]
    assert dict(found.dropped) == dropped
    assert found.n_prompts == 2


def test_a_constant_reward_ranks_nothing():
    prompts = [ranked([(f"{i}{w}", 0.25) for w in "abcd"]) for i in range(5)]
    found = select_pairs(prompts, SelectionSpec())
    assert found.pairs == [] and found.dropped == {"equal rewards": 5}


def test_a_conversation_of_several_turns_keeps_them():
    turns = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "two"},
    ]
    found = select_pairs([ranked([("2", 1.0), ("3", 0.0)], prompt=turns)], SelectionSpec())
    assert [(m.role, m.content) for m in found.pairs[0].prompt] == [(t["role"], t["content"]) for t in turns]
