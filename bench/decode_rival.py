"""The decode loop of the hf engine against transformers' own continuous batching, at equal output, in one run.

    OMP_NUM_THREADS=1 python bench/decode_rival.py
    python bench/decode_rival.py --workload llama --repeats 5 --device cuda

The rival is transformers' `generate_batch`, through the manager it is a wrapper of
(`continuous_batching_context_manager`), because only the manager takes a token limit for each request. Its clock runs
from the first request to the last result: starting and stopping the manager is not counted, whereas ours counts
everything, the tokeniser included. It is run at several settings and its best is the one compared with; its defaults
reserve 90 % of the machine's memory and are not timed.

Both decode greedily in the same precision. Replies are compared text by text, and a share of equal replies below one
means that the ratio of that line compares different work. Two further figures say whether the rival could be used at
all: the share of *sampled* replies that stay the same when the same requests come in reverse order, for both.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from engine_rival import MODELS, mixed_prompts, write_result
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers.generation import ContinuousBatchingConfig

from harness.engines.base import GenerationRequest
from harness.engines.hf.engine import HFEngine
from harness.engines.hf.hf_options import HFOptions
from harness.engines.hf.model_loading import describe_model, load_model
from harness.messages import Message, Sampling

PAGE_TOKENS = 32
RIVALS = {
    "rival, as many rows as fit": {"max_batch_tokens": 1024},
    "rival, 32 rows": {"max_batch_tokens": 1024, "max_requests_per_batch": 32},
    "rival, 16 rows": {"max_batch_tokens": 512, "max_requests_per_batch": 16},
    "rival, 8 rows": {"max_batch_tokens": 512, "max_requests_per_batch": 8},
}


@dataclass(frozen=True)
class Workload:
    """A model and what is asked of it: limits on replies are spread evenly, on a log scale, between two bounds."""

    model: str
    n: int
    shortest_limit: int
    longest_limit: int
    longest_prompt: int
    chat: bool = False


WORKLOADS = {
    "chat": Workload("neo3m-chat-hf", 96, 16, 128, 112, chat=True),
    "stories": Workload("stories260K-hf", 128, 32, 320, 160),
    "llama": Workload("random Llama of 42M parameters", 64, 16, 128, 160),
}
ERRORS: list[str] = []
"""What the rival's failed requests said."""

Requests = Sequence[GenerationRequest]
Texts = list[str | None]  # None where the request failed
Decoder = Callable[[Requests], tuple[float, Texts]]


def random_llama() -> LlamaForCausalLM:
    """Build a Llama large enough that the forward pass, not the loop around it, takes the time."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=14_019,
        hidden_size=512,
        intermediate_size=1_376,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.1,  # wide enough that replies differ
    )
    return LlamaForCausalLM(config).eval()


def load(workload: Workload, device: str) -> tuple[HFEngine, Any]:
    """Load a model twice, so that neither side changes the other's: our engine, and the rival's model."""
    if workload.model.startswith("random"):
        tokenizer = AutoTokenizer.from_pretrained(MODELS / "neo3m-chat-hf")
        loaded = describe_model(random_llama().to(device), tokenizer)
        return HFEngine(HFOptions(model="random"), loaded), random_llama().to(device)
    options = HFOptions(model=str(MODELS / workload.model), device=device)
    return HFEngine(options), load_model(options).model


def make_requests(workload: Workload, engine: HFEngine, rng: random.Random) -> list[GenerationRequest]:
    """Make prompts of mixed length with limits of mixed length."""
    prompts = mixed_prompts(engine.tokenizer, workload.n, workload.longest_prompt, rng)
    if workload.chat and engine.chat_template is not None:
        prompts = [engine.chat_template.render([Message("user", prompt)]) for prompt in prompts]
    spread = workload.longest_limit / workload.shortest_limit
    limits = [round(workload.shortest_limit * spread ** rng.random()) for _ in prompts]
    return [
        GenerationRequest(str(i), text=prompt, sampling=Sampling(max_tokens=limit))
        for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True))
    ]


def our_decoder(engine: HFEngine) -> Decoder:
    """Time the hf engine from requests to texts."""

    def run(requests: Requests) -> tuple[float, Texts]:
        begun = time.perf_counter()
        found = {g.request_id: g.text for g in engine.generate(requests) if g.finish != "error"}
        return time.perf_counter() - begun, [found.get(r.request_id) for r in requests]

    return run


def their_decoder(model: Any, engine: HFEngine, settings: dict[str, int], temperature: float = 0.0) -> Decoder:
    """Time transformers' manager from token ids to texts."""
    tokenizer, stop_ids = engine.tokenizer, sorted(engine.stop_ids)
    generation = GenerationConfig(
        do_sample=temperature > 0,
        temperature=temperature or None,
        max_new_tokens=1,  # each request brings its own
        eos_token_id=stop_ids or -1,
        pad_token_id=0,
    )

    def run(requests: Requests) -> tuple[float, Texts]:
        prompts = {r.request_id: tokenizer(r.text)["input_ids"] for r in requests}
        n_tokens = sum(len(prompts[r.request_id]) + r.sampling.max_tokens for r in requests)
        config = ContinuousBatchingConfig(
            page_size=PAGE_TOKENS, num_blocks=n_tokens // PAGE_TOKENS + 2 * len(requests), seed=0, **settings
        )
        texts: dict[str, str | None] = {}
        with model.continuous_batching_context_manager(
            generation_config=generation, continuous_batching_config=config
        ) as manager:
            begun = time.perf_counter()
            for request in requests:
                manager.add_request(
                    prompts[request.request_id], request.request_id, max_new_tokens=request.sampling.max_tokens
                )
            while len(texts) < len(requests):
                output = manager.get_result(timeout=1)
                if output is None and not manager.is_running():
                    raise RuntimeError("the rival's generation thread ended early")
                if output is not None and output.is_finished():
                    ids = output.generated_tokens
                    ids = ids[:-1] if ids and ids[-1] in stop_ids else ids
                    text = tokenizer.decode(ids, skip_special_tokens=True)
                    texts[output.request_id] = text if output.error is None else None
                    if output.error is not None and output.error not in ERRORS:
                        ERRORS.append(output.error)
            seconds = time.perf_counter() - begun
        return seconds, [texts[r.request_id] for r in requests]

    return run


def equal_share(first: Texts, second: Texts) -> float:
    """Share of texts that are the same; a failed request equals nothing."""
    return sum(a is not None and a == b for a, b in zip(first, second, strict=True)) / len(first)


def reversed_share(run: Decoder, requests: Requests) -> float:
    """Share of replies that stay the same when the same requests come in reverse order."""
    _, forwards = run(requests)
    _, backwards = run(list(reversed(requests)))
    return equal_share(forwards, list(reversed(backwards)))


def compare(workload: Workload, args: argparse.Namespace) -> dict[str, Any]:
    """Time all contestants on one workload, in turn; the first round is not counted."""
    engine, model = load(workload, args.device)
    requests = make_requests(workload, engine, random.Random(args.seed))
    ours = our_decoder(engine)
    contestants = {"assay": ours} | {name: their_decoder(model, engine, s) for name, s in RIVALS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    replies: dict[str, Texts] = {}
    for turn in range(args.repeats + 1):
        for name, run in contestants.items():
            taken, replies[name] = run(requests)
            if turn:
                seconds[name].append(taken)
    rows = {
        name: {
            "median_s": statistics.median(times),
            "times_ours": statistics.median(a / b for a, b in zip(times, seconds["assay"], strict=True)),
            "lowest": min(a / b for a, b in zip(times, seconds["assay"], strict=True)),
            "highest": max(a / b for a, b in zip(times, seconds["assay"], strict=True)),
            "equal_replies": equal_share(replies[name], replies["assay"]),
            "failed": sum(text is None for text in replies[name]),
        }
        for name, times in seconds.items()
    }
    sampled = [replace(r, sampling=replace(r.sampling, temperature=1.0, seed=i)) for i, r in enumerate(requests)]
    invariance = {
        "assay": reversed_share(ours, sampled),
        "rival": reversed_share(their_decoder(model, engine, next(iter(RIVALS.values())), 1.0), sampled),
    }
    print_rows(f"{workload.model}: {len(requests)} prompts", rows, invariance)
    engine.close()
    errors = [line[:200] for line in ERRORS]
    ERRORS.clear()
    return {
        "model": workload.model,
        "n_prompts": len(requests),
        "contestants": rows,
        "sampled_unchanged": invariance,
        "rival_errors": errors,
    }


def print_rows(title: str, rows: dict[str, dict[str, float]], invariance: dict[str, float]) -> None:
    """Print a line per contestant, then the shares of sampled replies that do not depend on order."""
    print(f"\n{title}")
    print(f"{'':28}{'seconds':>9}{'x ours':>9}   {'(per round)':18}{'equal replies':>14}{'failed':>8}")
    for name, row in rows.items():
        spread = f"({row['lowest']:.2f} to {row['highest']:.2f})"
        print(
            f"{name:28}{row['median_s']:9.2f}{row['times_ours']:9.2f}   {spread:18}"
            f"{row['equal_replies']:14.1%}{row['failed']:8}"
        )
    if ERRORS:
        print(f"failed requests of the rival say: {ERRORS[0][:160]}")
    shares = ", ".join(f"{name} {share:.1%}" for name, share in invariance.items())
    print(f"sampled replies that stay the same in reverse order: {shares}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", choices=sorted(WORKLOADS), action="append", help="may be repeated; default: all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)  # what failed is in the table
    chosen = args.workload or list(WORKLOADS)
    result = {"seed": args.seed, "workloads": {name: compare(WORKLOADS[name], args) for name in chosen}}
    print(f"\nwrote {write_result('decode_rival', result)}")


if __name__ == "__main__":
    main()
