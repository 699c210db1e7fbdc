"""What the vLLM engine refuses before vLLM is even imported."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.engines.vllm.engine import VLLMEngine
from harness.engines.vllm.vllm_options import VLLMOptions
from harness.errors import ModelError, SpecError, UsageError
from harness.spec import validated


def test_defaults() -> None:
    options = VLLMOptions(model="models/tiny")
    assert options.enable_prefix_caching
    assert options.tensor_parallel_size == 1
    assert options.display_name == "tiny"


def test_plain_values_are_converted() -> None:
    values = {
        "model": Path("models/tiny"),
        "dtype": "bf16",
        "chat_template": "t.jinja",
        "adapter": "out/lora",
        "seed": 3,
    }
    options = validated(VLLMOptions, values, "options")
    assert options == VLLMOptions(
        model="models/tiny", adapter="out/lora", dtype="bfloat16", chat_template=Path("t.jinja"), seed=3
    )
    assert options.display_name == "tiny+lora"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tensor_parallel": 2}, "did you mean 'tensor_parallel_size'"),
        ({"quantization": "awq"}, "engine_args"),
        ({"dtype": "int8"}, "float32"),
        ({"tensor_parallel_size": 0}, "greater than or equal to 1"),
        ({"tensor_parallel_size": True}, "a valid integer"),
        ({"max_model_len": "long"}, "a valid integer"),
        ({"seed": None}, "a valid integer"),
        ({"gpu_memory_utilization": 1.5}, "less than or equal to 1"),
        ({"enforce_eager": "yes"}, "a valid boolean"),
        ({"engine_args": ["a"]}, "a valid dictionary"),
        ({"engine_args": {"tokenizer": "x"}}, "move tokenizer out"),
        ({"engine_args": {"dtype": "half"}}, "move dtype out"),
        ({"model": ""}, "model: String should have at least 1 character"),
    ],
)
def test_wrong_values_say_what_is_right(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        VLLMEngine.from_options({"model": "tiny", **values})


def test_model_is_needed() -> None:
    with pytest.raises(SpecError, match="field 'model' is missing"):
        VLLMEngine.from_options({})


def test_missing_vllm_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UsageError, match=r"pip install 'assay\[vllm\]'"):
        VLLMEngine.from_options({"model": "tiny"})


def test_vllm_that_cannot_be_imported_is_told_from_one_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vllm.py").write_text("import a_library_vllm_needs\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    with pytest.raises(ModelError, match="a_library_vllm_needs"):
        VLLMEngine.from_options({"model": "tiny"})
