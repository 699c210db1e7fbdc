"""Local judges: a server beside the run that ends with it, however it ends, and a model in this process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.engines.vllm.served import ServedOptions, VLLMServer
from harness.errors import EndpointError, ModelError, SpecError
from harness.protocols import JudgeContext, JudgeTask
from harness.records import Prompt, Response
from harness.run.plan import load_judge
from harness.spec import JudgeSpec
from tests.judges.test_judge_parameters import prepared
from tests.paths import MODELS, needs_data, needs_models
from tests.support.tiny_judge import build

pytestmark = [needs_data, needs_models]

SERVER = """#!/bin/sh
# Stands for an interpreter that has vLLM: serves the scripted judge on the port it is given, from a child process.
while [ $# -gt 0 ]; do [ "$1" = --port ] && port="$2"; shift; done
echo loading the model
{python} -m tests.support.judge_server --port "$port" --model judge &
echo $! >> {pids}
wait
"""
CANDIDATE = Response(prompt_id="p", benchmark="b", model="m", model_id="i", turns=("Because.",))
TASK = JudgeTask(Prompt(benchmark="b", version="1", key="1", turns=("Why?",)), "rating", (CANDIDATE,))


@pytest.fixture
def fake(tmp_path) -> tuple[Path, Path]:
    """An interpreter that serves, and the file with the ids of its servers."""
    path, pids = tmp_path / "python", tmp_path / "pids"
    path.write_text(SERVER.format(python=sys.executable, pids=pids))
    path.chmod(0o755)
    return path, pids


def judge_of(data, model: Path, forms: tuple[str, ...] = ("rating",), kind: str = "vllm", **options: object):
    spec = JudgeSpec(model=f"{kind}:{model}", options=options)
    return load_judge(JudgeContext(spec, data, forms=forms))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]


def wait_until_gone(pids: list[int], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "the server outlives the run"
        time.sleep(0.05)


def test_a_served_judge_answers_and_ends_with_the_run(data, fake):
    python, pids = fake
    judge = judge_of(data, MODELS / "stories260K-hf", python=str(python))
    judgment = prepared(judge, TASK)
    assert judgment.verdict.kind == "rating" and judgment.cost == 0.0
    assert judgment.judge == "stories260K-hf"
    wait_until_gone([int(pid) for pid in pids.read_text().split()])


def test_its_identity_is_the_weights_and_not_the_port(data, fake):
    python, _ = fake
    first = judge_of(data, MODELS / "stories260K-hf", python=str(python))
    described = first.describe()
    assert "base_url" not in described and len(described["weights_hash"]) == 64
    again = judge_of(data, MODELS / "stories260K-hf", gpu="1", max_num_seqs=4)
    assert first.judge_id("rating") == again.judge_id("rating")
    assert first.judge_id("rating") != judge_of(data, MODELS / "neo3m-chat-hf").judge_id("rating")
    assert first.judge_id("rating") != judge_of(data, MODELS / "stories260K-hf", dtype="float32").judge_id("rating")


def test_a_server_that_does_not_start_shows_its_log(data, tmp_path):
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho out of memory on the device\nexit 3\n")
    failing.chmod(0o755)
    with pytest.raises(ModelError, match="ended with status 3") as error:
        prepared(judge_of(data, MODELS / "stories260K-hf", python=str(failing)))
    assert "out of memory on the device" in str(error.value)


def test_a_server_that_does_not_answer_is_stopped(data, tmp_path):
    silent, pids = tmp_path / "python", tmp_path / "pids"
    silent.write_text(f"#!/bin/sh\necho $$ >> {pids}\necho still loading\nexec sleep 600\n")
    silent.chmod(0o755)
    with pytest.raises(ModelError, match=r"did not answer within 1\.5 s") as error:
        prepared(judge_of(data, MODELS / "stories260K-hf", python=str(silent), start_timeout_s=1.5))
    assert "still loading" in str(error.value)
    wait_until_gone([int(pids.read_text())])


def test_a_server_that_is_stopped_while_it_loads_ends_at_once(tmp_path):
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    server = VLLMServer(str(MODELS / "stories260K-hf"), ServedOptions(python=str(slow)))
    with ThreadPoolExecutor() as pool:
        starting = pool.submit(server.start)
        while server._process is None:
            time.sleep(0.01)
        server.close()
        with pytest.raises(ModelError, match=r"stopped before it answered|ended with status"):
            starting.result(timeout=30)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_when_the_run_is_killed(fake, sign):
    python, pids = fake
    code = (
        "import asyncio, sys\n"
        "from harness.engines.vllm.served import ServedOptions, VLLMServer\n"
        f"server = VLLMServer({str(MODELS / 'stories260K-hf')!r}, ServedOptions(python={str(python)!r}))\n"
        "server.start()\n"
        "print('up', flush=True)\n"
        "asyncio.run(asyncio.sleep(600))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None and run.stdout.readline() == "up\n"
        run.send_signal(sign)
        run.wait(30)
    wait_until_gone([int(pid) for pid in pids.read_text().split()])


def test_wrong_options(data):
    with pytest.raises(SpecError, match="did you mean 'gpu'"):
        judge_of(data, MODELS / "stories260K-hf", gpus=1)
    spec = JudgeSpec(model="vllm:x", base_url="http://localhost:8000/v1")
    with pytest.raises(SpecError, match="openai:NAME with --judge-base-url"):
        load_judge(JudgeContext(spec, data))
    with pytest.raises(ModelError, match="nowhere"):
        judge_of(data, Path("/nowhere/at/all")).judge_id("rating")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("judge") / "tiny"
    build(path, n_steps=0, seed=0)
    return path


def test_a_judge_in_this_process(data, checkpoint):
    judge = judge_of(data, checkpoint, kind="hf")
    spec = judge._spec.model_copy(update={"max_tokens": 12})
    judge = load_judge(JudgeContext(spec, data, forms=("rating",)))

    async def main():
        await judge.prepare()
        try:
            return await asyncio.gather(*(judge.judge(TASK) for _ in range(3))), judge.describe()
        finally:
            await judge.close()

    judgments, described = asyncio.run(main())
    assert len({judgment.id for judgment in judgments}) == 1, "greedy"
    assert judgments[0].verdict.kind == "unscored", "it is not trained"
    assert judgments[0].verdict.reason in ("truncated", "unparsed")
    assert judgments[0].n_completion_tokens <= 12 and judgments[0].cost == 0.0
    assert len(described["weights_hash"]) == 64


def test_a_judge_in_this_process_has_no_logprobs_but_samples(data, checkpoint):
    with pytest.raises(EndpointError, match="--judge-samples"):
        prepared(judge_of(data, checkpoint, forms=("alpaca_eval",), kind="hf"))
    spec = JudgeSpec(model=f"hf:{checkpoint}", samples=4, max_tokens=4)
    task = JudgeTask(TASK.prompt, "alpaca_eval", (CANDIDATE.model_copy(update={"turns": ("Else.",)}), CANDIDATE))
    first, again = (prepared(load_judge(JudgeContext(spec, data, forms=("alpaca_eval",))), task) for _ in range(2))
    assert first.raw == again.raw, "the samples have their own seeds, the same in every run"
    assert len(set(first.raw.split("\n"))) > 1
