"""Loading: each thing that can be wrong with a checkpoint is one clear message; what is loaded is what is hashed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from harness.engines.base import GenerationRequest
from harness.engines.hf.engine import HFEngine
from harness.engines.hf.hf_options import HFOptions
from harness.engines.weights_hash import weight_files, weights_hash
from harness.errors import MissingDataError, ModelError, SpecError
from harness.messages import Sampling
from tests.paths import MODELS, needs_models
from tests.support.random_models import build, byte_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("model") / "tiny"
    build("llama").save_pretrained(directory)
    byte_tokenizer("{{ messages[0]['content'] }}").save_pretrained(directory)
    return directory


@pytest.fixture
def copy(checkpoint, tmp_path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def load(model: Path | str, **options) -> HFEngine:
    return HFEngine.from_options({"model": str(model), **options})


def texts(engine: HFEngine) -> list[str]:
    requests = [GenerationRequest(t, text=t, sampling=Sampling(max_tokens=8)) for t in ("one", "another", "x")]
    return [g.text for g in sorted(engine.generate(requests), key=lambda g: g.request_id)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "m", "dtpye": "bf16"}, "did you mean 'dtype'"),
        ({"model": "m", "xyzzy": 1}, "known fields: adapter, chat_template"),
        ({}, "field 'model' is missing"),
        ({"model": ""}, "model: String should have at least 1 character"),
        ({"model": None}, "model: Input should be a valid string"),
        ({"model": "m", "dtype": "int8"}, "dtype: Input should be 'auto', 'float32'"),
        ({"model": "m", "device": "cpu", "device_map": "auto"}, "both device and device_map"),
        ({"model": "m", "max_batch_tokens": 0}, r"max_batch_tokens: .* greater than or equal to 1 \(got 0\)"),
        ({"model": "m", "max_batch_tokens": "many"}, "max_batch_tokens: Input should be a valid integer"),
        ({"model": "m", "max_batch_size": True}, "max_batch_size: Input should be a valid integer"),
        ({"model": "m", "trust_remote_code": "yes"}, "trust_remote_code: Input should be a valid boolean"),
        ({"model": "m", "adapter": 3}, "adapter: Input should be a valid string"),
    ],
)
def test_wrong_options_are_named(values, message):
    with pytest.raises(SpecError, match=message):
        HFEngine.from_options(values)


def test_plain_values_become_options():
    options = HFOptions(model="a/b", dtype="bf16", adapter=Path("x/lora"), chat_template="t.jinja")
    assert (options.dtype, options.chat_template, options.display_name) == ("bfloat16", Path("t.jinja"), "b+lora")
    assert HFOptions(model="a/b", name="mine").display_name == "mine"


@needs_models
def test_a_tokenizer_is_not_a_model():
    with pytest.raises(ModelError, match=r"gpt2-tokenizer has no config\.json \(it holds merges\.txt, vocab\.json\)"):
        load(MODELS / "gpt2-tokenizer")


@pytest.mark.parametrize("name", ["./nowhere", "~/no/such/model", "/no/such/model", "a/b/c"])
def test_a_missing_directory_is_said_without_asking_the_hub(name):
    with pytest.raises(ModelError, match="there is no model directory"):
        load(name)


def test_a_file_or_an_empty_directory_is_no_model(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="is a file"):
        load(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="it holds nothing"):
        load(tmp_path / "empty")


def test_missing_weights(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights"):
        load(copy)


@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_unreadable_weights(copy, damage):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000] if damage == "cut" else b"not weights at all")
    with pytest.raises(ModelError, match="cannot be loaded: SafetensorError"):
        load(copy)


def test_incomplete_weights_are_not_filled_with_random_numbers(copy):
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    gone = "model.layers.1.mlp.up_proj.weight"
    save_file({name: t for name, t in tensors.items() if name != gone}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=f"lack 1 of the model's tensors, for example {gone}"):
        load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "no-such-thing", "architectures": ["X"]}, "cannot be loaded"),
        ({"hidden_size": 48, "num_attention_heads": 6}, "cannot be loaded"),
        (None, "cannot be loaded"),
    ],
)
def test_a_wrong_config(copy, change, message):
    path = copy / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}) if change else "{not json")
    with pytest.raises(ModelError, match=message):
        load(copy)


def test_a_missing_tokenizer(copy):
    for path in copy.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"the tokenizer of .* cannot be loaded"):
        load(copy)


def test_an_encoder_decoder_is_refused(tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"vocab_size": 260, "d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2}
    T5ForConditionalGeneration(T5Config(**sizes)).save_pretrained(tmp_path / "t5")
    byte_tokenizer().save_pretrained(tmp_path / "t5")
    with pytest.raises(ModelError, match=r"cannot be loaded|encoder-decoder"):
        load(tmp_path / "t5")


def test_a_missing_chat_template_file(checkpoint, tmp_path):
    with pytest.raises(MissingDataError, match=r"none\.jinja"):
        load(checkpoint, chat_template=str(tmp_path / "none.jinja"))


@pytest.mark.parametrize("dtype", ["float32", "bf16", "fp16"])
def test_dtypes(checkpoint, dtype):
    engine = load(checkpoint, dtype=dtype)
    assert engine.fingerprint.options["dtype"] == HFOptions(model="m", dtype=dtype).dtype
    assert next(engine._loaded.model.parameters()).dtype == getattr(torch, engine.fingerprint.options["dtype"])
    assert len(texts(engine)) == 3


@needs_models
def test_auto_is_float32_on_a_cpu_whatever_the_checkpoint_says():
    engine = load(MODELS / "neo3m-chat-hf", device="cpu")  # float16 on disk
    assert engine.fingerprint.options["dtype"] == "float32"
    assert engine.context_length == 256


def test_device_map_gives_the_same(checkpoint):
    assert texts(load(checkpoint, device_map="auto", dtype="float32")) == texts(load(checkpoint, dtype="float32"))


def test_the_global_random_state_is_left_alone(checkpoint):
    before = torch.get_rng_state()
    load(checkpoint)
    assert torch.equal(before, torch.get_rng_state())


def test_nothing_is_written_into_the_model_directory(checkpoint):
    before = sorted(p.name for p in checkpoint.iterdir())
    engine = load(checkpoint)
    assert texts(engine) and engine.fingerprint.weights_hash
    assert sorted(p.name for p in checkpoint.iterdir()) == before


# LoRA


@pytest.fixture(scope="module")
def adapter(checkpoint, tmp_path_factory) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(checkpoint)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    directory = tmp_path_factory.mktemp("lora") / "adapter"
    model.save_pretrained(directory)
    return directory


def test_an_adapter_changes_what_is_said_as_a_merge_would(checkpoint, adapter):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    engine = load(checkpoint, adapter=str(adapter))
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(checkpoint), adapter).merge_and_unload()
    ids = torch.tensor([engine.tokenizer("another")["input_ids"]])
    expected = merged.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
    assert texts(engine)[0] == engine.tokenizer.decode(expected, skip_special_tokens=True)
    assert texts(engine) != texts(load(checkpoint))


def test_an_adapter_directory_alone_finds_its_base(checkpoint, adapter):
    alone = load(adapter)
    both = load(checkpoint, adapter=str(adapter))
    assert texts(alone) == texts(both)
    assert alone.fingerprint.weights_hash == both.fingerprint.weights_hash
    assert alone.fingerprint.weights_hash != load(checkpoint).fingerprint.weights_hash


def test_adapters_that_cannot_be_used(checkpoint, adapter, tmp_path):
    with pytest.raises(ModelError, match="there is no adapter directory"):
        load(checkpoint, adapter="./nowhere")
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        load(checkpoint, adapter=str(tmp_path))
    with pytest.raises(ModelError, match="is itself an adapter"):
        load(adapter, adapter=str(adapter))
    broken = Path(shutil.copytree(adapter, tmp_path / "broken"))
    (broken / "adapter_model.safetensors").write_bytes(b"garbage")
    with pytest.raises(ModelError, match="cannot be put on this model"):
        load(checkpoint, adapter=str(broken))
    (broken / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="does not name its base model"):
        load(broken)


# The hash


def test_the_hash_follows_the_weights_and_nothing_else(copy):
    before = weights_hash([copy])
    (copy / "README.md").write_text("x")
    (copy / "training_args.bin").write_bytes(b"x")
    (copy / "pytorch_model.bin").write_bytes(b"older weights, not loaded")
    assert weights_hash([copy]) == before
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert weights_hash([copy]) != before


def test_the_hash_by_hand(tmp_path):
    import hashlib

    (tmp_path / "b.safetensors").write_bytes(b"2")
    (tmp_path / "a.safetensors").write_bytes(b"1")
    lines = "".join(f"0/{n}.safetensors {hashlib.sha256(c).hexdigest()}\n" for n, c in (("a", b"1"), ("b", b"2")))
    assert weights_hash([tmp_path]) == hashlib.sha256(lines.encode()).hexdigest()


def test_pickled_weights_count_where_there_are_no_others(tmp_path):
    for name in ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "optimizer.bin"):
        (tmp_path / name).write_bytes(b"x")
    assert [p.name[:19] for p in weight_files(tmp_path)] == ["pytorch_model-00001", "pytorch_model-00002"]
    (tmp_path / "sub").mkdir()
    with pytest.raises(ModelError, match="holds no weights"):
        weights_hash([tmp_path / "sub"])
