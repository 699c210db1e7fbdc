"""Starting vLLM on a checkpoint, with a clear message for each fault."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.engines.adapter_dirs import adapter_config, resolve_adapter
from harness.engines.chat_template import ChatTemplate, load_chat_template
from harness.engines.hf.stopping import declared_stop_ids
from harness.engines.vllm.vllm_options import VLLMOptions
from harness.errors import ModelError, SpecError, UsageError, line_of, nearest

_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # ranks for which vLLM has kernels
# What vLLM, transformers, torch and safetensors raise on a checkpoint or a setting that does not work.
_LOAD_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, AssertionError)


@dataclass(frozen=True, slots=True)
class LoadedVLLM:
    """A started vLLM and the properties that the engine needs.

    Parameters
    ----------
    options : VLLMOptions
        As given, but an adapter given as the model is resolved into base model and adapter.
    llm : vllm.LLM
        Ready to take requests.
    tokenizer : transformers tokenizer
        The adapter's if it has one.
    chat_template : ChatTemplate or None
        None if neither the options nor the tokenizer have one.
    context_length : int
        Tokens a prompt and its continuation may have together.
    n_embeddings : int
        Rows of the embedding matrix; larger ids cannot be looked up.
    max_num_seqs : int
        Requests it decodes together.
    stop_ids : frozenset of int
        Tokens that end a generation.
    dtype : str
        Name of the floating type it computes in.
    lora : vllm.lora.request.LoRARequest or None
        Sent with every request if there is an adapter.
    directories : tuple of Path
        Where the weights (and the adapter's) are.
    """

    options: VLLMOptions
    llm: Any
    tokenizer: Any
    chat_template: ChatTemplate | None
    context_length: int
    n_embeddings: int
    max_num_seqs: int
    stop_ids: frozenset[int]
    dtype: str
    lora: Any
    directories: tuple[Path, ...]


def load_vllm(options: VLLMOptions) -> LoadedVLLM:
    """Start vLLM.

    Parameters
    ----------
    options : VLLMOptions
        Which model, and how.

    Returns
    -------
    LoadedVLLM
        Ready to run.

    Raises
    ------
    UsageError
        vLLM is not installed.
    SpecError
        `engine_args` has an argument vLLM does not know.
    ModelError
        The checkpoint or the adapter cannot be used, or does not fit into memory.
    """
    _import_vllm()
    options = resolve_adapter(options)
    directories = tuple(
        checkpoint_directory(name, what, options.revision)
        for name, what in ((options.model, "model"), (options.adapter, "adapter"))
        if name is not None
    )
    arguments = _arguments(options, directories)
    from vllm import LLM
    from vllm.exceptions import VLLMError

    try:
        with _stdout_to_stderr():
            llm = LLM(**arguments)
    except (*_LOAD_ERRORS, VLLMError) as error:
        raise ModelError(
            f"vLLM cannot run {options.display_name}: {line_of(error, -1)}",
            "a causal language model in transformers format of an architecture vLLM has",
            "see its own message above; where memory is short lower max_model_len, or raise tensor_parallel_size",
        ) from error
    try:
        return _describe(llm, options, directories)
    except BaseException:
        stop_vllm(llm)
        raise


def stop_vllm(llm: Any) -> None:
    """Stop vLLM and its processes and free the memory."""
    from vllm.distributed import cleanup_dist_env_and_memory

    llm.llm_engine.engine_core.shutdown()
    cleanup_dist_env_and_memory()


def _describe(llm: Any, options: VLLMOptions, directories: tuple[Path, ...]) -> LoadedVLLM:
    config = llm.llm_engine.vllm_config
    tokenizer = llm.get_tokenizer()
    template = load_chat_template(tokenizer, options.chat_template)
    model = SimpleNamespace(
        config=llm.model_config.hf_config,
        generation_config=SimpleNamespace(**llm.model_config.try_get_generation_config()),
    )
    return LoadedVLLM(
        options=options,
        llm=llm,
        tokenizer=tokenizer,
        chat_template=template,
        context_length=int(llm.model_config.max_model_len),
        n_embeddings=int(llm.model_config.get_vocab_size()),
        max_num_seqs=int(config.scheduler_config.max_num_seqs),
        stop_ids=declared_stop_ids(model, tokenizer, template.end_of_turn_ids() if template else ()),
        dtype=str(llm.model_config.dtype).removeprefix("torch."),
        lora=_lora_request(options),
        directories=directories,
    )


def _import_vllm() -> None:
    # vLLM reads these on import: its log would be mixed with the figures on stdout, and it would report usage.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        import vllm  # noqa: F401
    except ImportError as error:
        if error.name == "vllm":
            raise UsageError(
                "the vllm engine needs vLLM, which is not installed",
                "vllm in this Python environment",
                "pip install 'assay[vllm]', or choose --engine hf",
            ) from error
        raise ModelError(
            f"vLLM is installed but cannot be imported: {line_of(error, -1)}",
            "a vLLM whose requirements are met",
            "install it into an environment of its own, or choose --engine hf",
        ) from error


def _arguments(options: VLLMOptions, directories: tuple[Path, ...]) -> dict[str, Any]:
    from vllm.platforms import current_platform

    _check_engine_args(options.engine_args)
    on_cpu = bool(current_platform.is_cpu())
    arguments: dict[str, Any] = {
        "model": options.model,
        "dtype": "float32" if options.dtype == "auto" and on_cpu else options.dtype,
        "tensor_parallel_size": options.tensor_parallel_size,
        "gpu_memory_utilization": options.gpu_memory_utilization or (0.4 if on_cpu else 0.9),
        "max_model_len": options.max_model_len,
        "enforce_eager": on_cpu if options.enforce_eager is None else options.enforce_eager,
        "enable_prefix_caching": options.enable_prefix_caching,
        "revision": options.revision,
        "tokenizer_revision": options.revision,
        "trust_remote_code": options.trust_remote_code,
        "seed": options.seed,
    }
    if options.max_num_seqs is not None:
        arguments["max_num_seqs"] = options.max_num_seqs
    if options.adapter is not None:
        arguments |= _adapter_arguments(directories[-1])
    return arguments | dict(options.engine_args)


def _check_engine_args(engine_args: Mapping[str, Any]) -> None:
    from vllm.engine.arg_utils import EngineArgs

    known = {field.name for field in fields(EngineArgs)}
    for key in engine_args:
        if key not in known:
            close = nearest(key, known)
            hint = f"did you mean {close}?" if close else "see the arguments of vllm.LLM"
            raise SpecError(f"unknown argument {key!r} in engine_args", "an argument of vllm.LLM", hint)


def _adapter_arguments(directory: Path) -> dict[str, Any]:
    arguments: dict[str, Any] = {"enable_lora": True, "max_loras": 1, "max_lora_rank": _lora_rank(directory)}
    if (directory / "tokenizer_config.json").is_file():
        # Training may have added tokens or a chat template.
        arguments |= {"tokenizer": str(directory), "tokenizer_revision": None}
    return arguments


def _lora_rank(directory: Path) -> int:
    """Find the smallest rank vLLM offers that holds the adapter's largest."""
    config = adapter_config(directory)
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    largest = max((rank for rank in ranks if isinstance(rank, int)), default=0)
    for rank in _LORA_RANKS:
        if 0 < largest <= rank:
            return rank
    raise ModelError(
        f"the adapter {directory} has rank {largest}",
        f"a LoRA rank from 1 to {_LORA_RANKS[-1]}, which is what vLLM has kernels for",
        "merge the adapter into the weights, or use --engine hf",
    )


def _lora_request(options: VLLMOptions) -> Any:
    if options.adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest("adapter", 1, str(Path(options.adapter).expanduser()))


def checkpoint_directory(name: str, what: str, revision: str | None) -> Path:
    """Find the directory of a checkpoint; a hub id is fetched into the hub's cache."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists() or name.startswith((".", "~", os.sep)) or name.count("/") > 1:
        raise ModelError(f"there is no {what} directory {path}", "an existing directory, or a hub id", "check the path")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the {what} {name} is neither a directory nor available from the hub: {line_of(error, -1)}",
            "an existing directory, or a hub id",
            "check the name and the network",
        ) from error


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Redirect stdout to stderr, since vLLM's libraries print while they start (gloo does, from C++)."""
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
