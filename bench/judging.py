"""Judge throughput against a local endpoint that answers after 200 ms, in another process.

    python bench/judging.py [--calls 6400] [--concurrency 64] [--latency 0.2]

The ideal is concurrency / latency: every slot busy all the time. Measured is the whole path of a verdict: request hash
and cache look-up, reservation of its price, HTTP request, parsing, cache write and a line in an append-only file that
is flushed to the disk once a second. The clock runs from the first call to the last line on disk. A rival that does
nothing but send the same bytes over bare sockets shows how much of the loss is the server's and the machine's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from report import write_result

from harness.commands.output import settle_garbage
from harness.endpoint.client import ChatClient, ChatReply, ChatRequest, EndpointOptions
from harness.endpoint.judgment_cache import JudgmentCache, cache_key
from harness.endpoint.ledger import Ledger, Price, most_prompt_tokens
from harness.messages import Message
from harness.records import Judgment, Rating
from harness.store.jsonl import JsonlAppender

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "Judge the answer and end with [[rating]]. " + "It is a long answer, of a few hundred words. " * 60


@contextmanager
def endpoint(latency_s: float) -> Iterator[str]:
    """Serve in a process of its own."""
    command = [sys.executable, "-m", "tests.support.judge_server", "--latency", str(latency_s)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def question(number: int) -> ChatRequest:
    return ChatRequest((Message("system", "You are a judge."), Message("user", f"{PROMPT}\n{number}")), max_tokens=512)


def verdict(number: int, key: str, reply: ChatReply, cost: float | None) -> Judgment:
    return Judgment(
        judge="scripted",
        judge_id="bench",
        benchmark="bench",
        prompt_id=f"{number}",
        response_ids=(key,),
        order=("candidate",),
        verdict=Rating(value=float(reply.text.rpartition("[[")[2].rstrip("]")), low=1, high=10),
        raw=reply.text,
        n_prompt_tokens=reply.n_prompt_tokens,
        n_completion_tokens=reply.n_completion_tokens,
        cost=cost,
        request_hash=key,
    )


async def judge_all(url: str, n_calls: int, concurrency: int, directory: Path) -> dict[str, float]:
    """Take every verdict through the whole path."""
    client = ChatClient(EndpointOptions(model="scripted", base_url=url, concurrency=concurrency))
    await client.check()
    ledger = Ledger(limit=1e6, price=Price(10, 30))
    numbers = iter(range(n_calls))
    cache = JudgmentCache(directory / "judgments.sqlite")
    with JsonlAppender(directory / "judgments.jsonl") as lines:

        async def worker() -> None:
            for number in numbers:
                request = question(number)
                key = cache_key("scripted", url, request)
                assert cache.get(key) is None
                reservation = await ledger.acquire(most_prompt_tokens(request.messages), request.max_tokens)
                reply = await client.complete(request)
                cost = ledger.settle(reservation, reply)
                cache.put(key, reply)
                lines.append(verdict(number, key, reply, cost).to_line())

        began, busy = time.perf_counter(), time.process_time()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        lines.sync()
        cache.close()
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - busy
    await client.aclose()
    assert ledger.n_calls == n_calls and not cache.fault
    return {"seconds": seconds, "cpu_ms_per_call": 1000 * cpu_seconds / n_calls}


async def bare_sockets(url: str, n_calls: int, concurrency: int) -> dict[str, float]:
    """Send the same requests with nothing around them."""
    address = urlsplit(url)
    numbers = iter(range(n_calls))

    async def worker() -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for number in numbers:
            messages = [{"role": m.role, "content": m.content} for m in question(number).messages]
            body = json.dumps({"model": "scripted", "messages": messages, "max_tokens": 512}).encode()
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            head = await reader.readuntil(b"\r\n\r\n")
            json.loads(await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])))
        writer.close()

    began, busy = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - busy
    return {"seconds": seconds, "cpu_ms_per_call": 1000 * cpu_seconds / n_calls}


def main() -> None:
    parser = argparse.ArgumentParser(description="judge throughput against a local endpoint")
    parser.add_argument("--calls", type=int, default=6400)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds the endpoint takes")
    parser.add_argument("--at-least", type=float, help="exit with status 1 below this share of the ideal")
    arguments = parser.parse_args()
    ideal = arguments.concurrency / arguments.latency
    rows = {}
    settle_garbage()  # as the command line does before a run
    with endpoint(arguments.latency) as url, tempfile.TemporaryDirectory() as directory:
        rows["bare sockets"] = asyncio.run(bare_sockets(url, arguments.calls, arguments.concurrency))
        rows["judge path"] = asyncio.run(judge_all(url, arguments.calls, arguments.concurrency, Path(directory)))
    print(f"ideal: {arguments.concurrency} / {arguments.latency:g} s = {ideal:.0f} calls/s, {arguments.calls} calls")
    print(f"{'':14} {'calls/s':>8} {'of ideal':>9} {'CPU ms/call':>12}")
    for name, row in rows.items():
        row["calls_per_second"] = arguments.calls / row["seconds"]
        row["of_ideal"] = row["calls_per_second"] / ideal
        print(f"{name:14} {row['calls_per_second']:8.1f} {row['of_ideal']:9.1%} {row['cpu_ms_per_call']:12.2f}")
    load = os.getloadavg()[0]
    result = {"ideal_calls_per_second": ideal, "rows": rows, "load_average_1_min": load}
    write_result("judging", result, packages=("openai", "aiohttp", "pydantic"))
    if arguments.at_least is not None and rows["judge path"]["of_ideal"] < arguments.at_least:
        sys.exit(1)


if __name__ == "__main__":
    main()
