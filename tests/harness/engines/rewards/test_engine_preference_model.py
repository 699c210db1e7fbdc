"""Preference models and implicit rewards: against the models run by hand, whatever the batch."""

from __future__ import annotations

import math

import pytest
import torch

from harness.engines.hf.engine import HFEngine
from harness.engines.rewards.implicit_reward import ImplicitRewardEngine
from harness.engines.rewards.preference_format import LABELS, preference_messages, preference_prompt
from harness.engines.rewards.preference_model import PreferenceModelEngine
from harness.engines.rewards.scorers import PreferenceEngine, PreferenceRequest, RewardEngine, RewardRequest
from harness.errors import ModelError, NoChatTemplateError, SpecError
from harness.messages import Message
from tests.support.random_models import BOS, build, byte_tokenizer
from tests.support.reward_models import TEMPLATE, saved

ASKED = (Message("user", "why?"),)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    model = build("llama")
    model.config.max_position_embeddings = 512
    return saved(model, tmp_path_factory.mktemp("models") / "policy")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return saved(build("llama", seed=7), tmp_path_factory.mktemp("models") / "reference")


def encode(text: str) -> list[int]:
    return byte_tokenizer()(text, add_special_tokens=False)["input_ids"]


def logprobs(directory, ids: list[int]) -> torch.Tensor:
    """Log-probability of each next token, [tokens, vocabulary]."""
    from transformers import AutoModelForCausalLM

    with torch.inference_mode():
        return torch.log_softmax(AutoModelForCausalLM.from_pretrained(directory)(torch.tensor([ids])).logits[0], -1)


def test_the_layout_of_a_conversation_of_several_turns():
    turns = (Message("user", "u1"), Message("assistant", "a1"), Message("user", "u2"))
    assert preference_prompt(turns, "x", "y") == (
        "[CONTEXT] \n\n<turn> user\n u1\n<turn> assistant\n a1\n<turn> user\n u2\n [RESPONSE A] x [RESPONSE B] y \n"
    )


def test_probability_is_pa_over_pa_plus_pb_in_both_orders(policy):
    with PreferenceModelEngine.from_options({"model": str(policy)}) as engine:
        assert isinstance(engine, PreferenceEngine)
        (found,) = engine.preferences([PreferenceRequest("pair", ASKED, "yes", "no")])
    shown = []
    for first, second in (("yes", "no"), ("no", "yes")):
        text = f"<bos>[user]{preference_messages(ASKED, first, second)[0].content}<end>[assistant]"
        last = logprobs(policy, encode(text))[-1]
        pa, pb = (math.exp(last[encode(label)[0]]) for label in LABELS)
        shown.append(pa / (pa + pb))
    assert found.p_as_shown == pytest.approx(shown[0], abs=1e-4)
    assert found.p_swapped == pytest.approx(1.0 - shown[1], abs=1e-4)
    assert found.p_first == pytest.approx((shown[0] + 1.0 - shown[1]) / 2.0, abs=1e-4)


def test_swapping_the_answers_swaps_the_probability(policy):
    pairs = [("yes", "no"), ("a long answer", "short"), ("", "something")]
    with PreferenceModelEngine.from_options({"model": str(policy)}) as engine:
        asked = [PreferenceRequest(f"{i}", ASKED, *pair) for i, pair in enumerate(pairs)]
        asked += [PreferenceRequest(f"{i}r", ASKED, *pair[::-1]) for i, pair in enumerate(pairs)]
        asked.append(PreferenceRequest("same", ASKED, "one", "one"))
        found = {p.request_id: p.p_first for p in engine.preferences(asked)}
    for i in range(len(pairs)):
        assert found[f"{i}"] + found[f"{i}r"] == pytest.approx(1.0, abs=1e-6)
    assert found["same"] == pytest.approx(0.5, abs=1e-9)


def test_no_probability_depends_on_the_batch(policy):
    asked = [PreferenceRequest(str(i), ASKED, "yes" * (i % 5 + 1), "no" * (i % 7 + 1)) for i in range(20)]
    found = []
    for size in (1, 16):
        with PreferenceModelEngine.from_options({"model": str(policy), "max_batch_size": size}) as engine:
            found.append({p.request_id: p.p_first for p in engine.preferences(asked)})
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert [p > 0.5 for _, p in sorted(found[0].items())] == [p > 0.5 for _, p in sorted(found[1].items())]


def test_a_pair_too_long_loses_its_start(policy):
    with PreferenceModelEngine.from_options({"model": str(policy), "max_length": 60}) as engine:
        (found,) = engine.preferences([PreferenceRequest("0", (Message("user", "x" * 300),), "yes", "no")])
        asked = engine._ask((Message("user", "x" * 300),), "yes", "no")
    assert found.truncated and found.n_tokens == 120
    assert asked.context_ids[0] == BOS
    assert list(asked.context_ids[-19:]) == encode("E B] no \n<end>[assistant]")[-19:]


def test_published_models_are_read_without_bos(policy):
    with PreferenceModelEngine.from_options({"model": str(policy), "without_bos": True}) as engine:
        assert BOS not in engine._ask(ASKED, "yes", "no").context_ids


def test_the_label_is_the_token_the_template_makes_of_it(tmp_path):
    """Where a space stands before the answer, the label is another token than the bare letter's first."""
    directory = saved(
        build("llama"), tmp_path / "pm", "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"
    )
    with PreferenceModelEngine.from_options({"model": str(directory)}) as engine:
        asked = engine._ask(ASKED, "yes", "no")
    assert list(asked.context_ids[-11:]) == encode("assistant: ")
    assert asked.labels == (encode("A")[0], encode("B")[0])


def test_a_template_that_hides_the_answer_cannot_be_used(tmp_path):
    directory = saved(build("llama"), tmp_path / "pm", "{{ messages[0]['content'] }}")
    with pytest.raises(ModelError, match="writes an answer A as it writes an answer B"):
        PreferenceModelEngine.from_options({"model": str(directory)})
    with pytest.raises(NoChatTemplateError):
        PreferenceModelEngine.from_options({"model": str(saved(build("llama"), tmp_path / "bare", None))})


def test_implicit_reward_is_the_log_ratio_of_the_answers_tokens(policy, reference):
    options = {"model": str(policy), "reference": str(reference)}
    prompt, whole = encode("<bos>[user]why?<end>[assistant]"), encode("<bos>[user]why?<end>[assistant]yes<end>")
    sums = []
    for directory in (policy, reference):
        table = logprobs(directory, whole)
        sums.append(sum(float(table[i - 1, whole[i]]) for i in range(len(prompt), len(whole))))
    with ImplicitRewardEngine.from_options(options) as engine:
        assert isinstance(engine, RewardEngine)
        (found,) = engine.rewards([RewardRequest("0", (*ASKED, Message("assistant", "yes")))])
        assert engine.fingerprint.options["reference_weights_hash"]
    assert found.value == pytest.approx(sums[0] - sums[1], abs=1e-3)
    for kind, expected in (("sum", sums[0]), ("average", sums[0] / (len(whole) - len(prompt)))):
        with ImplicitRewardEngine.from_options({"model": str(policy), "reference_free": kind}) as engine:
            (free,) = engine.rewards([RewardRequest("0", (*ASKED, Message("assistant", "yes")))])
        assert free.value == pytest.approx(expected, abs=1e-3)


def test_implicit_rewards_do_not_depend_on_the_batch(policy, reference):
    answers = ["same", *("word " * (i % 6 + 1) + str(i) for i in range(12)), "same"]
    asked = [RewardRequest(str(i), (*ASKED, Message("assistant", a))) for i, a in enumerate(answers)]
    found = []
    for size in (1, 16):
        options = {"model": str(policy), "reference": str(reference), "max_batch_size": size}
        with ImplicitRewardEngine.from_options(options) as engine:
            found.append({r.request_id: r.value for r in engine.rewards(asked)})
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    assert found[1]["0"] == found[1][str(len(answers) - 1)]


def test_a_policy_against_itself_gains_nothing(policy):
    with HFEngine.from_options({"model": str(policy)}) as loaded:
        from harness.engines.rewards.scorer_options import ImplicitRewardOptions

        with ImplicitRewardEngine(
            ImplicitRewardOptions(**loaded.options.model_dump(), reference=str(policy)), loaded
        ) as engine:
            found = list(engine.rewards([RewardRequest("0", (*ASKED, Message("assistant", "yes")))]))
        assert found[0].value == pytest.approx(0.0, abs=1e-5)
        assert loaded.context_length == 512  # whoever loaded the policy still has it


def test_an_answer_is_never_cut(policy):
    asked = [
        RewardRequest("fits", (Message("user", "x" * 100), Message("assistant", "yes"))),
        RewardRequest("long", (*ASKED, Message("assistant", "y" * 100))),
        RewardRequest("none", ASKED),
    ]
    with ImplicitRewardEngine.from_options({"model": str(policy), "max_length": 60}) as engine:
        found = {r.request_id: r for r in engine.rewards(asked)}
    assert found["fits"].truncated and found["fits"].value is not None
    assert "an answer is not cut" in found["long"].error
    assert "not with an answer" in found["none"].error


def test_a_reference_with_other_tokens_is_refused(policy, tmp_path):
    other = saved(build("llama", seed=7), tmp_path / "other")
    tokenizer = byte_tokenizer(TEMPLATE)
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(other)
    with pytest.raises(ModelError, match="has other tokens than the policy"):
        ImplicitRewardEngine.from_options({"model": str(policy), "reference": str(other)})


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (ImplicitRewardEngine, {"reference": "x", "reference_free": "sum"}, "both reference and reference_free"),
        (ImplicitRewardEngine, {"reference_free": "max"}, "reference_free: Input should be 'sum' or 'average'"),
        (ImplicitRewardEngine, {"refrence": "x"}, "did you mean 'reference'"),
        (PreferenceModelEngine, {"without_bos": "yes"}, "without_bos: Input should be a valid boolean"),
        (PreferenceModelEngine, {"max_length": -1}, "max_length: Input should be greater than or equal to 1"),
    ],
)
def test_wrong_options(kind, options, words):
    with pytest.raises(SpecError, match=words):
        kind.from_options({"model": "nowhere", **options})
