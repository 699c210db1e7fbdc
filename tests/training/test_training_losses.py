"""The losses against values worked by hand, through the very trainers a recipe makes."""

from __future__ import annotations

from math import exp, log
from types import SimpleNamespace

import pytest
import torch

from tests.support.tiny_training import common, pairs, save_model
from training import dpo, loop, reward


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


def trainer_of(module, recipe, tmp_path, monkeypatch):
    """The trainer a stage makes, caught before it runs."""
    caught = []

    def catch(stage, out):
        caught.append(stage.prepare(tmp_path, 1).trainer)

    with monkeypatch.context() as patched:
        patched.setattr(module, "run_stage", catch)
        module.train(recipe, tmp_path, data=pairs())
    assert loop.run_stage is module.run_stage
    return caught[0]


class Says:
    """A model that answers the same whatever it is asked."""

    training = True

    def __init__(self, **outputs):
        self.outputs = outputs

    def __call__(self, **inputs):
        return SimpleNamespace(**self.outputs)


@pytest.mark.parametrize(
    ("centring", "expected"),
    [
        # Rewards 2.0 against 0.5 and -1.0 against 1.0: margins 1.5 and -2.0.
        # (log(1 + e^-1.5) + log(1 + e^2)) / 2 = (0.2014133 + 2.1269280) / 2 = 1.1641707
        (0.0, 1.1641707),
        # + 0.1 * ((2 + .5)^2 + (-1 + 1)^2) / 2 = 0.1 * 3.125
        (0.1, 1.1641707 + 0.3125),
    ],
)
def test_bradley_terry(centring, expected, model, tmp_path, monkeypatch):
    recipe = reward.RewardRecipe(**common(model, center_rewards_coefficient=centring))
    trainer = trainer_of(reward, recipe, tmp_path, monkeypatch)
    trainer.model.train()
    says = Says(logits=torch.tensor([[2.0], [-1.0], [0.5], [1.0]]))
    inputs = {"attention_mask": torch.ones(4, 3, dtype=torch.long)}
    assert float(trainer.compute_loss(says, inputs)) == pytest.approx(expected, abs=1e-6)
    assert trainer._metrics["train"]["accuracy"] == [0.5]
    assert trainer._metrics["train"]["margin"] == pytest.approx([-0.25])


# One pair. Chosen tokens have log-probabilities -1, -1 (sum -2), rejected -1.5, -1.5, -2 (sum -5);
# the reference gives -3 and -4.5. Log ratios: 1.0 and -0.5; their difference is 1.5, beta times it 0.15 (beta 0.1).
CHOSEN, REJECTED = (-1.0, -1.0, 0.0), (-1.5, -1.5, -2.0)
PLAIN = log(1 + exp(-0.15))  # 0.6209... = -log sigmoid(0.15)
FLIPPED = log(1 + exp(0.15))
HAND = {
    "sigmoid": ({}, PLAIN),
    "log 2 where nothing differs": ({"reference_says": (-2.0, -5.0)}, log(2)),
    "beta": ({"beta": 1.0}, log(1 + exp(-1.5))),
    # RPO: + 0.2 times the mean over the chosen answer's two tokens, 1.0
    "rpo": ({"sft_weight": 0.2}, PLAIN + 0.2),
    # robust: ((1 - e) l - e l') / (1 - 2e), e = 0.1
    "robust": ({"loss": "robust", "label_smoothing": 0.1}, (0.9 * PLAIN - 0.1 * FLIPPED) / 0.8),
    # LD-DPO at 0: the rejected answer counts up to the chosen one's two tokens, -3; ratios 1.0 and 1.5
    "ld": ({"ld_alpha": 0.0}, log(1 + exp(0.05))),
    # forward KL: 1 - e^-h: 1 - e^-1 = 0.6321206, 1 - e^0.5 = -0.6487213
    "forward_kl": ({"f_divergence": "forward_kl"}, log(1 + exp(-0.1 * (0.6321206 + 0.6487213)))),
    # Jensen-Shannon: log 2 + log sigmoid(h); the log 2 cancel: -log(1 + e^-1) + log(1 + e^0.5) = 0.6608153
    "js": ({"f_divergence": "js_divergence"}, log(1 + exp(-0.1 * 0.6608153))),
}


@pytest.mark.parametrize("name", HAND)
def test_dpo(name, model, tmp_path, monkeypatch):
    fields, expected = HAND[name]
    reference = fields.get("reference_says", (-3.0, -4.5))
    recipe = dpo.DPORecipe(
        **common(model, reference=model, **{k: v for k, v in fields.items() if k != "reference_says"})
    )
    trainer = trainer_of(dpo, recipe, tmp_path, monkeypatch)
    trainer.precompute_ref_logps = True
    zeros = torch.zeros(2, 3)
    says = Says(log_probs=torch.tensor([CHOSEN, REJECTED]), entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
    mask = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 1]])
    inputs = {
        "input_ids": torch.ones(2, 4, dtype=torch.long),
        "attention_mask": torch.ones(2, 4, dtype=torch.long),
        "completion_mask": mask,
        "ref_chosen_logps": torch.tensor([reference[0]]),
        "ref_rejected_logps": torch.tensor([reference[1]]),
    }
    assert float(trainer.compute_loss(says, inputs)) == pytest.approx(expected, abs=1e-6)
