"""One judge, four kinds of real servers: what each gives is read alike, and what it does not give is said before a run.

The judge is a small model that always reasons first, names another verdict in its reasoning, and then gives one. It is
served by vLLM (as the judge ``vllm:DIR``), by ``transformers serve``, by llama-cpp-python's server, and run by the hf
engine.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.import_utils import is_serve_available

from harness.data.store import DataStore
from harness.endpoint.client import ChatClient, ChatReply, ChatRequest, EndpointOptions
from harness.engines.vllm.served import ServedOptions, VLLMServer
from harness.errors import EndpointError
from harness.messages import Message
from harness.protocols import JudgeContext, JudgeTask
from harness.records import Prompt, Rating, Response
from harness.run.plan import load_judge
from harness.spec import JudgeSpec
from tests.paths import MIRROR, needs_data, needs_models
from tests.support.thinking_judge import ANSWER, REASONING, build
from tests.support.vllm_server import ENVIRONMENT, free_port, vllm_python

pytestmark = [needs_data, needs_models, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
SERVERS_PYTHON = Path(os.environ.get("ASSAY_SERVERS_VENV", ROOT / ".venv-servers")) / "bin" / "python"
CANDIDATE = Response(prompt_id="p", benchmark="b", model="m", model_id="i", turns=("Because.",))
BASELINE = Response(prompt_id="p", benchmark="b", model="o", model_id="o", role="baseline", turns=("No idea.",))
PROMPT = Prompt(benchmark="b", version="1", key="1", turns=("Why?",))
RATING = JudgeTask(PROMPT, "rating", (CANDIDATE,))
PREFERENCE = JudgeTask(PROMPT, "alpaca_eval", (BASELINE, CANDIDATE))

VLLM_OPTIONS = {"python": str(vllm_python()), "dtype": "float32", "args": {"enforce-eager": True}}
WHY_NOT = {
    "vllm": "" if vllm_python().is_file() else f"no vLLM at {vllm_python()}: run scripts/setup_vllm.sh",
    "transformers": "" if is_serve_available() else "pip install 'transformers[serving]'",
    "llama_cpp": "" if SERVERS_PYTHON.is_file() else f"no server at {SERVERS_PYTHON}: run scripts/setup_servers.sh",
    "hf": "",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("thinking") / "judge"
    assert build(path) < 0.05, "the judge was not learned"
    return path


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[str]:
    """Run a server until the end of the block; yields its address."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream, env=env) as process:
        try:
            deadline = time.monotonic() + 180
            while not answers(f"http://127.0.0.1:{port}/v1/models"):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.3)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True  # transformers serve answers 500 where it has no cache
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


@pytest.fixture(scope="module", params=["vllm", "transformers", "llama_cpp", "hf"])
def spec(request, checkpoint, tmp_path_factory) -> Iterator[dict[str, Any]]:
    """The fields of a judge on each kind of server."""
    kind, log, port = request.param, tmp_path_factory.mktemp("log") / "server.log", free_port()
    if WHY_NOT[kind]:
        pytest.skip(WHY_NOT[kind])
    if kind == "hf":
        yield {"model": f"hf:{checkpoint}"}
    elif kind == "vllm":
        with vllm_environment(), VLLMServer(str(checkpoint), ServedOptions(**VLLM_OPTIONS)) as server:
            server.start()
            yield {"model": "openai:judge", "base_url": server.base_url}
    elif kind == "transformers":
        serve = [str(Path(sys.executable).with_name("transformers")), "serve", str(checkpoint)]
        with running([*serve, "--host", "127.0.0.1", "--port", str(port)], port, log) as url:
            yield {"model": f"openai:{checkpoint}", "base_url": url}
    else:
        gguf = log.with_name("judge.gguf")
        writer = ROOT / "tests" / "support" / "write_gguf.py"
        subprocess.run([SERVERS_PYTHON, writer, checkpoint, gguf], check=True, capture_output=True)
        serve = [str(SERVERS_PYTHON), "-m", "llama_cpp.server", "--model", str(gguf), "--n_ctx", "4096"]
        with running([*serve, "--host", "127.0.0.1", "--port", str(port)], port, log) as url:
            yield {"model": "openai:judge", "base_url": url}


@contextmanager
def vllm_environment() -> Iterator[None]:
    """What a vLLM on a small CPU needs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


def judged(spec: dict[str, Any], tmp_path: Path, *tasks: JudgeTask, **fields: Any) -> list[Any]:
    """Prepare a judge for the tasks and ask it."""
    context = JudgeContext(
        JudgeSpec(**{**spec, "max_tokens": 120, "concurrency": 2, **fields}),
        DataStore(MIRROR, tmp_path, True),
        forms=tuple(dict.fromkeys(task.form for task in tasks)),
    )
    judge = load_judge(context)

    async def main() -> list[Any]:
        try:
            await judge.prepare()
            return [await judge.judge(task) for task in tasks]
        finally:
            await judge.close()

    return asyncio.run(main())


def test_the_verdict_is_read_after_the_reasoning(spec, tmp_path):
    first, again = judged(spec, tmp_path, RATING, RATING)
    assert first.verdict == Rating(value=7, low=1, high=10)
    assert first.raw.strip() == ANSWER
    assert first.meta["reasoning"] == REASONING
    assert first.id == again.id
    assert first.n_prompt_tokens and 20 < first.n_completion_tokens <= 120


def test_reasoning_that_is_cut_gives_no_verdict(spec, tmp_path):
    (judgment,) = judged(spec, tmp_path, RATING, max_tokens=12)
    assert judgment.verdict.reason == "truncated"
    assert judgment.meta["reasoning"] and REASONING.startswith(judgment.meta["reasoning"][:10])


@pytest.mark.skipif(bool(WHY_NOT["vllm"]), reason=WHY_NOT["vllm"])
def test_a_judge_served_beside_the_run(checkpoint, tmp_path):
    spec = {"model": f"vllm:{checkpoint}", "options": VLLM_OPTIONS}
    with vllm_environment():
        (judgment,) = judged(spec, tmp_path, RATING)
    assert judgment.verdict == Rating(value=7, low=1, high=10)
    assert judgment.meta["reasoning"] == REASONING and judgment.cost == 0.0


def test_sampling_parameters_are_taken(spec, tmp_path):
    fields = {"temperature": 0.01, "top_p": 0.9, "seed": 7}
    (judgment,) = judged(spec, tmp_path, RATING, **fields)
    assert judgment.verdict.kind == "rating"


def test_logprobs_are_read_or_their_lack_is_said_before_the_run(spec, tmp_path):
    try:
        (judgment,) = judged(spec, tmp_path, PREFERENCE)
    except EndpointError as error:
        assert "--judge-samples" in error.remedy
        assert spec["model"] != "openai:judge", "vLLM and llama.cpp have log-probabilities"
    else:
        assert judgment.verdict.reason == "unparsed", "its first token is that of the reasoning"
        assert judgment.meta["top_logprobs"]
    (sampled,) = judged(spec, tmp_path, PREFERENCE, samples=2)
    assert sampled.verdict.reason == "unparsed" and sampled.raw.split("\n")[0].strip() == ANSWER
    assert sampled.meta["reasoning"].count(REASONING) == 2


def test_other_servers_of_the_same_name_are_told(spec, tmp_path):
    """A server that lists its models and refuses others says so; one that answers under any name is used."""
    if "base_url" not in spec:
        pytest.skip("it has no server")

    async def ask() -> ChatReply:
        client = ChatClient(EndpointOptions(model="some/other-model", base_url=spec["base_url"], timeout_s=60))
        try:
            await client.check()
            return await client.complete(ChatRequest((Message("user", "Hello"),), max_tokens=60))
        finally:
            await client.aclose()

    try:
        reply = asyncio.run(ask())
    except EndpointError as error:
        assert "some/other-model" in str(error) and "does not answer" not in str(error)
    else:
        assert (reply.text.strip(), reply.reasoning) == (ANSWER, REASONING)
