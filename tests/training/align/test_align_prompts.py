"""Which prompts are sampled, by which worker: none twice, none lost, none that is measured on."""

from __future__ import annotations

import random

import pytest

from harness.errors import DataError
from harness.messages import Message
from training.align.prompts import iteration_prompts, refuse_shared_prompts, shard
from training.data.records import PromptItem


def items(n, first=0):
    return [PromptItem.of([Message("user", f"question {i}")]) for i in range(first, first + n)]


@pytest.mark.parametrize("n", [*range(1, 12), 20, 97])
@pytest.mark.parametrize("n_workers", [*range(1, 9), 16, 100])
def test_no_prompt_is_lost_or_asked_twice_for_any_number_of_workers(n, n_workers):
    prompts = items(n)
    shares = [shard(prompts, worker, n_workers) for worker in range(n_workers)]
    assert sorted(p.key for share in shares for p in share) == sorted(p.key for p in prompts)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_iterations_draw_without_replacement_until_all_are_used():
    prompts = items(30)
    drawn = [iteration_prompts(prompts, t, 10, seed=3) for t in (1, 2, 3)]
    assert sorted(p.key for own in drawn for p in own) == sorted(p.key for p in prompts)
    assert [p.key for p in drawn[0]] != sorted(p.key for p in drawn[0])


def test_the_order_of_files_and_repeated_prompts_do_not_matter_but_the_seed_does():
    prompts = items(40)
    shuffled = random.Random(1).sample([*prompts, *prompts[:7]], 47)
    keys = {seed: [p.key for p in iteration_prompts(prompts, 2, 12, seed)] for seed in (0, 1)}
    assert [p.key for p in iteration_prompts(shuffled, 2, 12, 0)] == keys[0]
    assert keys[0] != keys[1]


def test_every_prompt_has_the_same_chance():
    prompts = items(20)
    counts = dict.fromkeys((p.key for p in prompts), 0)
    for seed in range(600):
        for prompt in iteration_prompts(prompts, 1, 5, seed):
            counts[prompt.key] += 1
    # 600 draws with chance 1/4: mean 150, standard deviation 10.6; twenty of them within five deviations
    assert all(abs(count - 150) < 53 for count in counts.values())


def test_too_few_prompts_are_counted_before_anything_is_spent():
    with pytest.raises(DataError, match=r"25 distinct prompts.*needs 30"):
        iteration_prompts([*items(25), *items(5)], 3, 10, seed=0)


def test_a_prompt_that_is_measured_on_is_refused_whatever_its_spaces():
    measured = items(3)
    spaced = PromptItem.of([Message("user", "  question 2\n")])
    with pytest.raises(DataError, match=r"1 training prompts are among the validation prompts.*question 2"):
        refuse_shared_prompts([*items(5, first=3), spaced], measured, "validation")
    refuse_shared_prompts(items(5, first=3), measured, "validation")
