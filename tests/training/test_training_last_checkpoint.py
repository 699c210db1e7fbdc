"""Killed after the last checkpoint, and in the middle of deleting an old one: the same weights all the same."""

from __future__ import annotations

import pytest

from tests.support.tiny_training import common, pairs, save_model
from training import loop, reward
from training.checkpoints import latest


def test_no_step_is_taken_after_the_last(tmp_path, monkeypatch):
    # 16 pairs in batches of 8 are two steps an epoch: the third step is the last and ends no epoch
    model = save_model(tmp_path / "model")
    recipe = reward.RewardRecipe(**common(model, save_steps=1, max_steps=3, schedule="constant"))
    whole = reward.train(recipe, tmp_path / "whole", data=pairs(16))

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "_save", killed)
        reward.train(recipe, tmp_path / "killed", data=pairs(16))
    again = reward.train(recipe, tmp_path / "killed", data=pairs(16))
    assert again.record["resumed_at_step"] == again.record["steps"] == 3
    assert again.weights_sha256 == whole.weights_sha256


def test_an_old_checkpoint_of_which_a_part_is_left_goes(tmp_path):
    for step in (1, 2, 3):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (2, 1):  # 1 is being deleted: it has its mark still, and the newest time
        (tmp_path / f"checkpoint-{step}" / "complete").touch()
    assert latest(tmp_path, clean=False) == tmp_path / "checkpoint-2"
    assert len(list(tmp_path.iterdir())) == 3
    assert latest(tmp_path, clean=True) == tmp_path / "checkpoint-2"
    assert list(tmp_path.iterdir()) == [tmp_path / "checkpoint-2"]
