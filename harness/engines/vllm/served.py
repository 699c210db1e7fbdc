"""A vLLM server beside the run: started on a free port of this machine, stopped with the run.

::

    server = VLLMServer(options, "judge")
    server.start()                  # returns once it answers
    server.base_url                 # http://127.0.0.1:PORT/v1
    server.stop()
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from pydantic import Field

from harness.closing import Closing
from harness.engines.engine_options import TemplateFile, Text
from harness.engines.vllm import guard
from harness.engines.vllm.vllm_loading import checkpoint_directory
from harness.engines.weights_hash import weights_hash
from harness.errors import ModelError
from harness.hashing import file_sha256
from harness.spec import Options

_LOG_BYTES = 4000
_POLL_S = 0.5
_STOP_TIMEOUT_S = 30.0
# Where and how fast it runs; what it answers does not depend on these.
_OPERATIONAL = frozenset({"gpu", "python", "start_timeout_s", "tensor_parallel_size", "gpu_memory_utilization"}) | {
    "max_num_seqs"
}


class ServedOptions(Options):
    """Options of a served model (``--judge-option``).

    Parameters
    ----------
    gpu : str, int or None
        The GPUs it may use, as in CUDA_VISIBLE_DEVICES ("1", "2,3"); None leaves all of them to it.
    python : str or None
        The interpreter that has vLLM; None takes the one that runs assay.
    start_timeout_s : float
        Longest time until it answers, loading included.
    dtype, chat_template, revision, max_model_len, max_num_seqs, tensor_parallel_size, gpu_memory_utilization
        As of the vllm engine (`harness.engines.vllm.vllm_options`).
    reasoning_parser : str or None
        vLLM's parser of the model's reasoning; without it assay separates the reasoning.
    args : mapping
        Further arguments of ``vllm serve``, by their names without dashes (``quantization``, ``enforce-eager``: true).
    """

    gpu: str | int | None = None
    python: Text | None = None
    start_timeout_s: float = Field(default=900.0, gt=0)
    dtype: str = "auto"
    chat_template: TemplateFile | None = None
    revision: str | None = None
    max_model_len: int | None = Field(default=None, ge=1)
    max_num_seqs: int | None = Field(default=None, ge=1)
    tensor_parallel_size: int | None = Field(default=None, ge=1)
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    reasoning_parser: str | None = None
    args: Mapping[str, Any] = Field(default_factory=dict)


class VLLMServer(Closing):
    """A server of one model.

    Parameters
    ----------
    model : str
        A directory, or a hub id.
    options : ServedOptions
        How it is served.
    """

    served_name = "judge"

    def __init__(self, model: str, options: ServedOptions) -> None:
        self.model = model
        self.options = options
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._port = 0

    @property
    def base_url(self) -> str:
        """The address of the OpenAI-compatible endpoint."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def directory(self) -> Path:
        """Where the weights are; a model of the hub is downloaded first.

        Raises
        ------
        ModelError
            There is no such directory and no such model on the hub.
        """
        if self._directory is None:
            self._directory = checkpoint_directory(self.model, "model", self.options.revision)
        return self._directory

    def identity(self) -> dict[str, Any]:
        """Return what its answers depend on: the weights, the template and the options that change them."""
        options = self.options.model_dump(mode="json", exclude=set(_OPERATIONAL), exclude_defaults=True)
        if self.options.chat_template is not None:
            options["chat_template"] = file_sha256(self.options.chat_template)
        return {"weights_hash": weights_hash([self.directory]), "options": options}

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises
        ------
        ModelError
            It ended, or did not answer in time; the message has the end of its log.
        """
        self._port = _free_port()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        try:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(guard.__file__)), *self._command()],
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment()},
                start_new_session=True,
            )
            self._wait()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the server and every process it started."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()  # the guard's signal to stop
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _command(self) -> list[str]:
        options = self.options
        flags: dict[str, Any] = {
            "model": str(self.directory),
            "served-model-name": self.served_name,
            "host": "127.0.0.1",
            "port": self._port,
            "dtype": options.dtype,
            "chat-template": options.chat_template,
            "max-model-len": options.max_model_len,
            "max-num-seqs": options.max_num_seqs,
            "tensor-parallel-size": options.tensor_parallel_size,
            "gpu-memory-utilization": options.gpu_memory_utilization,
            "reasoning-parser": options.reasoning_parser,
            "uvicorn-log-level": "warning",
            **options.args,
        }
        command = [options.python or sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        for name, value in flags.items():
            if value is True:
                command.append(f"--{name}")
            elif value is not None and value is not False:
                command += [f"--{name}", str(value)]
        return command

    def _environment(self) -> dict[str, str]:
        gpu = {} if self.options.gpu is None else {"CUDA_VISIBLE_DEVICES": str(self.options.gpu)}
        return {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **gpu}

    def _wait(self) -> None:
        deadline = time.monotonic() + self.options.start_timeout_s
        while time.monotonic() < deadline:
            process = self._process
            if process is None:  # closed by another thread: the run was stopped while it was loading
                raise ModelError(f"the server of {self.model} was stopped before it answered")
            if (status := process.poll()) is not None:
                raise self._failed(f"the server of {self.model} ended with status {status} before it answered")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5):
                    return
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(_POLL_S)
        raise self._failed(f"the server of {self.model} did not answer within {self.options.start_timeout_s:g} s")

    def _end_of_log(self) -> str:
        if self._log is None:
            return ""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LOG_BYTES))
        return self._log.read().decode(errors="replace").strip()

    def _failed(self, what: str) -> ModelError:
        log = self._end_of_log()
        missing = "No module named" in log and "vllm" in log
        return ModelError(
            f"{what}; the end of its log:\n{log or '(empty)'}",
            "a model that `vllm serve` can serve on this machine",
            "install vLLM (pip install 'assay[vllm]'), or name an interpreter that has it (--judge-option python=PATH)"
            if missing
            else "correct the options (--judge-option), or serve the model yourself and use openai:NAME with "
            "--judge-base-url",
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
