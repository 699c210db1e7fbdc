"""Loading checkpoints with transformers, with a clear message for each fault."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from harness.engines.adapter_dirs import resolve_adapter
from harness.engines.hf.hf_options import HFOptions
from harness.engines.weights_hash import weight_files
from harness.errors import ModelError, line_of

_LENGTH_FIELDS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length")
_PASS_TOKENS = 32_768
_CPU_PASS_BYTES = 2 * 2**20
_LEAST_CPU_PASS_TOKENS, _MOST_CPU_PASS_TOKENS = 256, 4096
_UNSET_LENGTH = 10**9  # tokenizers say "no limit" with a number far beyond any context
# What transformers, safetensors, torch and peft raise on a checkpoint that is missing, damaged or of an unknown kind.
_LOAD_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    EOFError,
    SafetensorError,
)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal language model with its tokenizer and the properties that decoders need.

    Parameters
    ----------
    model : transformers model
        In evaluation mode, adapter applied.
    tokenizer : transformers tokenizer
        The adapter's if it has one.
    device : torch.device
        Where input ids go.
    dtype : str
        Name of the floating type the weights are in.
    context_length : int or None
        Positions the model has; None if it has no limit.
    n_embeddings : int
        Rows of the embedding matrix; larger ids cannot be looked up.
    forward_parameters : frozenset of str
        Names the model's `forward` takes.
    merges_rows : bool
        Whether rows can leave and enter a batch: every cache layer is plain attention.
    cache_bytes_per_token : int
        Size of the key-value cache of one token, bytes.
    pass_tokens : int
        Tokens that one forward pass over prompts should be given at most.
    directories : tuple of Path
        Where the weights (and the adapter's) are.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    dtype: str
    context_length: int | None
    n_embeddings: int
    forward_parameters: frozenset[str]
    merges_rows: bool
    cache_bytes_per_token: int
    pass_tokens: int
    directories: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class CheckpointKind:
    """The kind of model that a checkpoint is loaded as.

    Parameters
    ----------
    auto_class : str
        The class of transformers that loads it.
    what : str
        What it should be, for messages.
    arguments : mapping
        Further arguments of `from_pretrained`.
    brought_by_adapter : callable
        Returns the missing tensors that an adapter directory has, so that the checkpoint need not have them.
    """

    auto_class: str
    what: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    brought_by_adapter: Callable[[Path, list[str]], list[str]] = lambda directory, missing: []


CAUSAL = CheckpointKind("AutoModelForCausalLM", "a causal language model")


def load_model(options: HFOptions, kind: CheckpointKind = CAUSAL) -> LoadedModel:
    """Load a checkpoint, its adapter and its tokenizer.

    Parameters
    ----------
    options : HFOptions
        What to load, and how.
    kind : CheckpointKind
        The kind of model.

    Returns
    -------
    LoadedModel
        Ready to run.

    Raises
    ------
    ModelError
        There is no such directory, it holds no model, its weights are unreadable or incomplete, it is not of the kind
        wanted, or the adapter does not fit.
    """
    options = resolve_adapter(options)
    _check_directory(options.model, "model")
    if options.adapter is not None:
        _check_adapter(options.adapter)
    with _quiet_progress():
        tokenizer = _load_tokenizer(options)
        model = _load_weights(options, kind)
        if options.adapter is not None:
            model = _apply_adapter(model, tokenizer, options.adapter)
    model.eval()
    return describe_model(model, tokenizer, _directories(options, model))


def describe_model(model: Any, tokenizer: Any, directories: tuple[Path, ...] = ()) -> LoadedModel:
    """Determine the properties that decoders need by inspecting the model and running it on one token.

    Parameters
    ----------
    model, tokenizer : transformers model and tokenizer
        The model in evaluation mode.
    directories : tuple of Path
        Where its weights are.

    Raises
    ------
    ModelError
        The model is an encoder-decoder, or cannot process a token.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(
            f"{type(model).__name__} is an encoder-decoder", "a decoder-only language model", "use another checkpoint"
        )
    embeddings = model.get_input_embeddings().weight
    parameters = frozenset(inspect.signature(model.forward).parameters)
    merges_rows, cache_bytes = _probe_cache(model, embeddings.device, parameters)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        device=embeddings.device,
        dtype=str(model.dtype).removeprefix("torch."),
        context_length=_context_length(model.config, tokenizer),
        n_embeddings=int(embeddings.shape[0]),
        forward_parameters=parameters,
        merges_rows=merges_rows,
        cache_bytes_per_token=cache_bytes,
        pass_tokens=_pass_tokens(model.config, embeddings.device),
        directories=directories,
    )


def _check_directory(name: str, what: str) -> None:
    path = Path(name).expanduser()
    if path.is_dir():
        found = sorted(p.name for p in path.iterdir())
        if "config.json" not in found:
            listing = ", ".join(found[:8]) or "nothing"
            raise ModelError(
                f"the {what} directory {path} has no config.json (it holds {listing})",
                "a checkpoint in transformers format: config.json, tokenizer files, *.safetensors",
                "check the path",
            )
        if not weight_files(path):
            raise ModelError(
                f"the {what} directory {path} has no weights", "*.safetensors or pytorch_model*.bin", "check the path"
            )
    elif path.exists():
        raise ModelError(f"the {what} {path} is a file", "a directory or a hub id", "give the directory that holds it")
    elif _looks_like_path(name):
        raise ModelError(f"there is no {what} directory {path}", "an existing directory, or a hub id", "check the path")


def _check_adapter(name: str) -> None:
    path = Path(name).expanduser()
    if not path.is_dir():
        if _looks_like_path(name):
            raise ModelError(f"there is no adapter directory {path}", "an existing directory", "check the path")
        return
    if not (path / "adapter_config.json").is_file():
        raise ModelError(
            f"{path} has no adapter_config.json", "a LoRA adapter as peft saves it", "check the adapter's path"
        )


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "~", os.sep)) or name.count("/") > 1 or name.endswith("/")


def _load_tokenizer(options: HFOptions) -> Any:
    from transformers import AutoTokenizer

    source = options.model
    if options.adapter is not None and (Path(options.adapter).expanduser() / "tokenizer_config.json").is_file():
        source = str(Path(options.adapter).expanduser())  # training may have added tokens or a chat template
    try:
        return AutoTokenizer.from_pretrained(
            source, revision=options.revision, trust_remote_code=options.trust_remote_code
        )
    except _LOAD_ERRORS as error:
        raise ModelError(
            f"the tokenizer of {source} cannot be loaded: {line_of(error)}",
            "tokenizer files beside the weights (tokenizer.json, tokenizer_config.json)",
            "check the directory, or the hub id and the network",
        ) from error


def _load_weights(options: HFOptions, kind: CheckpointKind) -> Any:
    import transformers

    auto_class: Any = getattr(transformers, kind.auto_class)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model, report = auto_class.from_pretrained(
            options.model,
            dtype=_dtype(options, device),
            device_map=options.device_map,
            revision=options.revision,
            trust_remote_code=options.trust_remote_code,
            output_loading_info=True,
            **kind.arguments,
        )
        if options.device_map is None:
            model.to(device)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{options.model} does not fit into the memory of {device}: {line_of(error)}",
            remedy="use a smaller dtype, device_map=auto, or another device",
        ) from error
    except _LOAD_ERRORS as error:
        raise ModelError(
            f"{options.model} cannot be loaded: {line_of(error)}",
            f"{kind.what} in transformers format with readable weights",
            "check the directory, or the hub id and the network",
        ) from error
    _check_complete(options, kind, sorted(report.get("missing_keys", ())))
    return model


def _dtype(options: HFOptions, device: str) -> Any:
    """Choose the floating type: "auto" is float32 on a CPU, elsewhere the checkpoint's own."""
    if options.dtype != "auto":
        return getattr(torch, options.dtype)
    on_cpu = options.device_map is None and torch.device(device).type == "cpu"
    return torch.float32 if on_cpu else "auto"


def _check_complete(options: HFOptions, kind: CheckpointKind, missing: list[str]) -> None:
    """Refuse a checkpoint that lacks tensors, which transformers would fill with random numbers."""
    if missing and options.adapter is not None:
        brought = kind.brought_by_adapter(Path(options.adapter).expanduser(), missing)
        missing = [name for name in missing if name not in brought]
    if missing:
        raise ModelError(
            f"the weights of {options.model} lack {len(missing)} of the model's tensors, for example {missing[0]}",
            "a weight for every tensor",
            "check that the checkpoint was saved whole and matches its config.json",
        )


def _apply_adapter(model: Any, tokenizer: Any, adapter: str) -> Any:
    """Add LoRA layers to the model. They are not merged, which would round them to the weights' precision."""
    from peft import PeftModel

    try:
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(len(tokenizer))
        wrapped = PeftModel.from_pretrained(model, str(Path(adapter).expanduser()))
    except _LOAD_ERRORS as error:
        raise ModelError(
            f"the adapter {adapter} cannot be put on this model: {line_of(error)}",
            "a LoRA adapter trained on this base model",
            "check the adapter and its base model",
        ) from error
    if wrapped.active_peft_config.is_prompt_learning:
        raise ModelError(
            f"the adapter {adapter} is of type {wrapped.active_peft_config.peft_type}",
            "a LoRA-type adapter",
            "merge it into the weights first",
        )
    return wrapped.get_base_model()


def _directories(options: HFOptions, model: Any) -> tuple[Path, ...]:
    """Find the directories whose files were loaded, the hub cache's snapshot for a hub id."""
    names = [options.model] if options.adapter is None else [options.model, options.adapter]
    return tuple(_directory(name, options.revision, model) for name in names)


def _directory(name: str, revision: str | None, model: Any) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    from transformers.utils.hub import cached_file

    config_name = "config.json" if name == model.config._name_or_path else "adapter_config.json"
    return Path(str(cached_file(name, config_name, revision=revision, local_files_only=True))).parent


def _context_length(config: Any, tokenizer: Any) -> int | None:
    text_config = config.get_text_config(decoder=True)
    for source in (text_config, config):
        for name in _LENGTH_FIELDS:
            value = getattr(source, name, None)
            if isinstance(value, int) and value > 0:
                return value
    limit = getattr(tokenizer, "model_max_length", None)
    return int(limit) if limit is not None and 0 < limit < _UNSET_LENGTH else None


def _pass_tokens(config: Any, device: torch.device) -> int:
    """Compute how many tokens to run through the model at once.

    On a GPU the limit bounds memory. On a CPU a pass is several times as fast per token if its activations (the widest
    are about four times the hidden size, float32) fit into the processor's cache.
    """
    if device.type != "cpu":
        return _PASS_TOKENS
    hidden_size = getattr(config.get_text_config(decoder=True), "hidden_size", None) or 1024
    fitting = _CPU_PASS_BYTES // (4 * 4 * hidden_size)
    return int(min(_MOST_CPU_PASS_TOKENS, max(_LEAST_CPU_PASS_TOKENS, fitting)))


@torch.inference_mode()
def _probe_cache(model: Any, device: torch.device, parameters: frozenset[str]) -> tuple[bool, int]:
    """Run one token and inspect the cache that the model creates.

    Returns
    -------
    (bool, int)
        Whether every layer is ordinary attention, full or sliding-window, so that rows can be moved; and the bytes
        of one token.
    """
    from transformers.cache_utils import DynamicCache

    keeping = {"use_cache": True} if "use_cache" in parameters else {}  # an encoder has no cache
    try:
        output = model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=device), **keeping)
    except _LOAD_ERRORS as error:
        raise ModelError(
            f"{type(model).__name__} fails on a single token: {line_of(error)}",
            remedy="check the checkpoint and the installed transformers and torch",
        ) from error
    cache: Any = getattr(output, "past_key_values", None)
    if type(cache) is not DynamicCache:
        return False, 0
    layers: list[Any] = cache.layers
    held = [t for layer in layers for t in (layer.keys, layer.values) if isinstance(t, torch.Tensor)]
    n_bytes = sum(t.numel() * t.element_size() for t in held)
    takes_positions = {"attention_mask", "position_ids", "past_key_values"} <= parameters
    return takes_positions and _is_plain_attention(model, cache), n_bytes


def _is_plain_attention(model: Any, cache: Any) -> bool:
    """Whether every layer is full or sliding-window attention.

    A chunked layer's cache is of the sliding class too, but its mask restarts at fixed columns.
    """
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    config = model.config.get_text_config(decoder=True)
    types = set(getattr(config, "layer_types", None) or ())
    if getattr(config, "attention_chunk_size", None) is not None:
        types.add("chunked_attention")
    kinds = {type(layer) for layer in cache.layers}
    return kinds <= {DynamicLayer, DynamicSlidingWindowLayer} and types <= {"full_attention", "sliding_attention"}


@contextlib.contextmanager
def _quiet_progress() -> Iterator[None]:
    """Disable transformers' progress bars unless stderr is a terminal."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    if sys.stderr.isatty() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
