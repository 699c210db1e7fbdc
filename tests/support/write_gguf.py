"""Writes a small Llama or Mistral checkpoint as GGUF, for llama.cpp. Runs where the `gguf` package is.

python write_gguf.py CHECKPOINT_DIR OUT.gguf
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}


def tensors(path):
    """Read float32 tensors from a safetensors file."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", entry
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        yield name, np.frombuffer(raw[start:end], dtype=np.float32).reshape(entry["shape"])


def interleaved(weight, n_heads):
    """Order the rows of a head as llama.cpp's rotary embedding has them."""
    rows = weight.reshape(n_heads, 2, weight.shape[0] // n_heads // 2, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def named(name):
    """Translate the name of a tensor."""
    if name in NAMES:
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{LAYER[rest]}"


def write_vocabulary(writer, directory, size):
    """Write a byte-level BPE vocabulary."""
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    ids = dict(tokenizer["model"]["vocab"])
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    ids.update(special)
    tokens = {number: token for token, number in ids.items()}
    kinds = []
    for number in range(size):
        token = tokens.setdefault(number, f"<unused{number}>")
        kinds.append(gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([tokens[number] for number in range(size)])
    writer.add_token_types(kinds)
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    return ids


def main():
    """Convert."""
    directory, out = Path(sys.argv[1]), Path(sys.argv[2])
    config = json.loads((directory / "config.json").read_text())
    named_tokens = json.loads((directory / "tokenizer_config.json").read_text())
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    ids = write_vocabulary(writer, directory, config["vocab_size"])
    eos = named_tokens["eos_token"]
    writer.add_eos_token_id(ids[eos if isinstance(eos, str) else eos["content"]])
    writer.add_add_bos_token(False)
    template = directory / "chat_template.jinja"
    writer.add_chat_template(template.read_text() if template.exists() else named_tokens["chat_template"])
    for name, weight in tensors(directory / "model.safetensors"):
        if name.endswith("q_proj.weight"):
            weight = interleaved(weight, config["num_attention_heads"])
        elif name.endswith("k_proj.weight"):
            weight = interleaved(weight, config["num_key_value_heads"])
        writer.add_tensor(named(name), np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
