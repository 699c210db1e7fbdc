"""The reward model engine: rewards are the classifier's own, whatever the batch; what is doubtful is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from harness.engines.rewards.reward_model import RewardModelEngine
from harness.engines.rewards.scorers import RewardEngine, RewardRequest
from harness.errors import ModelError, NoChatTemplateError, SpecError
from harness.messages import Message
from tests.support.random_models import BOS, END_OF_TURN, EOS, PAD, build, byte_tokenizer
from tests.support.reward_models import TEMPLATE, classifier, saved, saved_classifier


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return saved_classifier(tmp_path_factory.mktemp("rm") / "tiny")


def engine(directory, **options) -> RewardModelEngine:
    return RewardModelEngine.from_options({"model": str(directory), **options})


def asked(*answers: str, question: str = "why?") -> list[RewardRequest]:
    return [
        RewardRequest(str(i), (Message("user", question), Message("assistant", answer)))
        for i, answer in enumerate(answers)
    ]


def values(found) -> list[float]:
    return [r.value for r in sorted(found, key=lambda r: int(r.request_id))]


def mixed(n: int = 40) -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("abcdef "), size=int(rng.integers(0, 60)))) for _ in range(n)]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "gemma2", "gpt2", "gpt_neo"])
def test_rewards_are_the_classifiers_own_on_one_unpadded_row(architecture, tmp_path):
    directory = saved_classifier(tmp_path / "rm", architecture)
    tokenizer = byte_tokenizer(TEMPLATE)
    model = classifier(architecture)
    answers = mixed(6)
    with engine(directory) as loaded:
        assert isinstance(loaded, RewardEngine)
        found = values(loaded.rewards(asked(*answers)))
    for answer, value in zip(answers, found, strict=True):
        ids = tokenizer(f"<bos>[user]why?<end>[assistant]{answer}<end>", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            assert value == pytest.approx(float(model(input_ids=torch.tensor([ids])).logits), abs=2e-4)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_no_decision_depends_on_batch_size_or_padding_side(architecture, tmp_path):
    directory = saved_classifier(tmp_path / "rm", architecture)
    answers = mixed()
    found = {}
    for size in (1, 16):
        for side in ("left", "right"):
            with engine(directory, max_batch_size=size, padding_side=side) as loaded:
                found[size, side] = np.array(values(loaded.rewards(asked(*answers))))
    alone = found[1, "right"]
    assert np.ptp(alone) > 0.1
    for together in found.values():
        assert np.abs(together - alone).max() < 1e-4
        assert ((together[:, None] > together) == (alone[:, None] > alone)).all()


def test_equal_answers_have_equal_rewards(checkpoint):
    answers = ["same", *mixed(20), "same"]
    with engine(checkpoint) as loaded:
        found = values(loaded.rewards(asked(*answers)))
    assert found[0] == found[-1]


def test_the_end_of_an_answer_is_kept_and_so_is_the_bos_token(checkpoint):
    long = "x" * 500 + " the end"
    with engine(checkpoint, max_length=20) as short, engine(checkpoint) as whole:
        (cut,) = short.rewards(asked(long))
        (fits,) = whole.rewards(asked(long))
        (job,) = [short._job(short._model(), r) for r in asked(long)]
    assert cut.truncated and cut.n_tokens == 20
    assert fits.truncated and fits.n_tokens == 96  # the model's context
    expected = byte_tokenizer(TEMPLATE)("x" * 10 + " the end<end>", add_special_tokens=False)["input_ids"]
    assert job.token_ids == [BOS, *expected]


def test_the_template_alone_writes_special_tokens(checkpoint):
    with engine(checkpoint) as loaded:
        job = loaded._job(loaded._model(), asked("yes")[0])
    assert job.token_ids.count(BOS) == 1
    assert job.token_ids[-1] == END_OF_TURN


def test_the_reward_does_not_need_the_pad_token_to_be_absent_from_the_text(tmp_path):
    """The model's own pooling takes the last token that is no pad; a text that ends with it is scored elsewhere."""
    model = classifier()
    ends_with_pad = "{% for m in messages %}{{ m['content'] }}{% endfor %}<pad>"
    directory = saved(model, tmp_path / "rm", ends_with_pad)
    tokenizer = byte_tokenizer(ends_with_pad)
    ids = tokenizer("why?yes<pad>", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        hidden = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        last, before = (float(model.score(hidden[place])) for place in (-1, -2))
    with engine(directory) as at_end, engine(directory, pooling="last_non_pad") as earlier:
        assert values(at_end.rewards(asked("yes"))) == pytest.approx([last], abs=1e-4)
        assert values(earlier.rewards(asked("yes"))) == pytest.approx([before], abs=1e-4)
    assert abs(last - before) > 1e-3


def test_an_encoder_with_a_head_of_its_own_is_run_whole(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=260, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=96, num_labels=1, pad_token_id=PAD, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        directory = saved(BertForSequenceClassification(config).eval(), tmp_path / "bert")
    answers = mixed(12)
    with engine(directory, max_batch_size=1) as alone, engine(directory) as together:
        assert alone._scorer._head is None
        first, second = (values(e.rewards(asked(*answers))) for e in (alone, together))
    assert first == pytest.approx(second, abs=1e-4)


def test_bfloat16_is_close_to_float32(checkpoint):
    answers = mixed(10)
    with engine(checkpoint) as exact, engine(checkpoint, dtype="bf16") as rough:
        a, b = (np.array(values(e.rewards(asked(*answers)))) for e in (exact, rough))
        assert rough.fingerprint.options["dtype"] == "bfloat16"
        assert next(rough._scorer._head.parameters()).dtype == torch.float32
    assert np.abs(a - b).max() < 0.1 * np.ptp(a) + 0.1


def test_one_bad_conversation_spoils_no_other(checkpoint):
    requests = [
        *asked("good"),
        RewardRequest("1", ()),
        RewardRequest("2", (Message("user", "no answer"),)),
        RewardRequest("3", (Message("user", "q"), Message("assistant", "\ud800"))),
    ]
    with engine(checkpoint) as loaded:
        found = {r.request_id: r for r in loaded.rewards(requests)}
    assert found["0"].value is not None
    assert found["1"].error == "the conversation is empty"
    assert "not with an answer" in found["2"].error
    assert found["3"].value is None and found["3"].error


def test_two_labels_are_no_reward(tmp_path):
    with pytest.raises(ModelError, match="has 2 labels"):
        engine(saved_classifier(tmp_path / "two", num_labels=2))


def test_a_language_model_is_no_reward_model(tmp_path):
    with pytest.raises(ModelError, match="is a language model") as caught:
        engine(saved(build("llama"), tmp_path / "lm"))
    assert "--engine implicit_reward" in str(caught.value)


def test_a_head_that_was_not_saved_is_missed(tmp_path):
    directory = saved(build("llama"), tmp_path / "headless")
    config = json.loads((directory / "config.json").read_text())
    config |= {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"lack 1 of the model's tensors, for example score\.weight"):
        engine(directory)


@pytest.mark.parametrize(("pad", "words"), [(EOS, "pads with its end-of-sequence token"), (None, "has no pad token")])
def test_a_doubtful_pad_token_is_caught_before_any_score(tmp_path, pad, words):
    directory = saved_classifier(tmp_path / "rm", pad=pad)
    tokenizer = byte_tokenizer(TEMPLATE)
    tokenizer.pad_token = "<eos>" if pad == EOS else None
    tokenizer.save_pretrained(directory)
    with pytest.raises(ModelError, match=words) as caught:
        engine(directory)
    assert "pooling=last_token" in str(caught.value)
    with engine(directory, pooling="last_token") as loaded:
        assert np.ptp(values(loaded.rewards(asked(*mixed(5))))) > 0.01


def test_no_chat_template_is_caught(tmp_path):
    directory = saved(classifier(), tmp_path / "rm", None)
    with pytest.raises(NoChatTemplateError):
        engine(directory)
    file = tmp_path / "template.jinja"
    file.write_text(TEMPLATE)
    with engine(directory, chat_template=str(file)) as loaded:
        assert values(loaded.rewards(asked("yes")))[0] is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"poling": "auto"}, "did you mean 'pooling'"),
        ({"pooling": "mean"}, "pooling: Input should be 'auto', 'last_token'"),
        ({"padding_side": "top"}, "padding_side: Input should be 'right' or 'left'"),
        ({"max_length": 0}, "max_length: Input should be greater than or equal to 1"),
        ({"dtype": "int8"}, "dtype: Input should be 'auto', 'float32'"),
    ],
)
def test_wrong_options(checkpoint, options, words):
    with pytest.raises(SpecError, match=words):
        engine(checkpoint, **options)


def test_a_lora_adapter_brings_its_head(tmp_path):
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification

    base = saved(build("llama"), tmp_path / "base")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        config = LoraConfig(task_type=TaskType.SEQ_CLS, r=2, target_modules=["q_proj"], init_lora_weights=False)
        trained = get_peft_model(model, config).eval()
    trained.save_pretrained(tmp_path / "adapter")
    byte_tokenizer(TEMPLATE).save_pretrained(tmp_path / "adapter")
    ids = byte_tokenizer()("<bos>[user]why?<end>[assistant]yes<end>", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        expected = float(trained(input_ids=torch.tensor([ids])).logits)
    with engine(tmp_path / "adapter") as loaded:
        assert values(loaded.rewards(asked("yes"))) == pytest.approx([expected], abs=1e-4)


def test_an_adapter_without_a_head_is_no_reward_model(tmp_path):
    from peft import LoraConfig, TaskType, get_peft_model

    base = saved(build("llama"), tmp_path / "base")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=2, target_modules=["q_proj"])
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"score\.weight"):
        engine(tmp_path / "adapter")


def test_what_identifies_the_model(checkpoint, tmp_path):
    with engine(checkpoint) as first, engine(checkpoint, max_length=9) as other, engine(checkpoint) as again:
        assert first.fingerprint.model_id == again.fingerprint.model_id != other.fingerprint.model_id
        assert first.fingerprint.engine == "reward_model"
    with pytest.raises(ModelError, match="is closed"):
        list(first.rewards(asked("late")))
