"""Generation throughput of the hf engine against lm-eval's HFLM: same model, prompts, limits and machine, one run.

    OMP_NUM_THREADS=1 python bench/generation.py
    OMP_NUM_THREADS=1 python bench/generation.py --workload stories --batch-sizes 64 128 --repeats 1

Greedy decoding of prompts of mixed length; HFLM runs at its default batch size (1) and at fixed ones, and its best is
the one to beat. Replies are compared text by text: a ratio between different outputs would mean nothing. How much is
gained depends on how much replies differ in length, so there are three workloads: a chat model (short replies, now and
then one that runs on), stories (long ones of unlike length), and a model without an end token, whose replies all have
the same length, where batching cannot gain anything by letting rows go.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from typing import Any

from engine_rival import (
    DEFAULT,
    MODELS,
    instances,
    interleave,
    load_rival,
    mixed_prompts,
    print_table,
    ratios,
    write_result,
)

from harness.engines.base import GenerationRequest
from harness.engines.hf.engine import HFEngine
from harness.messages import Message, Sampling


@dataclass(frozen=True)
class Workload:
    """A model and what is asked of it."""

    model: str
    n: int
    max_tokens: int
    longest_prompt: int
    chat: bool = False


WORKLOADS = {
    "chat": Workload("neo3m-chat-hf", 384, 128, 112, chat=True),
    "stories": Workload("stories260K-hf", 192, 320, 160),
    "no-end": Workload("vanilla1m-byte-hf", 96, 96, 150),
}


def compare(workload: Workload, args: argparse.Namespace) -> dict[str, Any]:
    """Run all contestants on one workload."""
    model = MODELS / workload.model
    engine = HFEngine.from_options({"model": str(model), "device": args.device})
    prompts = mixed_prompts(engine.tokenizer, workload.n, workload.longest_prompt, random.Random(args.seed))
    if workload.chat:
        assert engine.chat_template is not None
        prompts = [engine.chat_template.render([Message("user", prompt)]) for prompt in prompts]
    sampling = Sampling(max_tokens=workload.max_tokens)
    requests = [GenerationRequest(str(i), sampling=sampling, text=prompt) for i, prompt in enumerate(prompts)]
    limits = {"until": [], "max_gen_toks": workload.max_tokens, "do_sample": False}
    replies: dict[str, list[str]] = {}
    lengths: list[int] = []

    def ours() -> None:
        generations = {g.request_id: g for g in engine.generate(requests)}
        replies["assay"] = [generations[r.request_id].text for r in requests]
        lengths[:] = sorted(g.n_tokens or 0 for g in generations.values())

    contestants = {"assay": ours}
    for batch_size in (None, *args.batch_sizes):
        rival = load_rival(model, args.device, batch_size)
        name = DEFAULT if batch_size is None else f"HFLM batch {batch_size}"

        def theirs(rival: Any = rival, name: str = name) -> None:
            batch = instances("generate_until", [(prompt, limits) for prompt in prompts])
            replies[name] = rival.generate_until(batch, disable_tqdm=True)

        contestants[name] = theirs
    table = ratios(interleave(contestants, args.repeats, DEFAULT), "assay")
    same = {
        name: sum(a == b for a, b in zip(texts, replies["assay"], strict=True)) / len(prompts)
        for name, texts in replies.items()
    }
    print_table(f"{model.name}: {len(prompts)} prompts, {sum(lengths)} new tokens", table, sum(lengths), "tokens")
    print("identical replies: " + ", ".join(f"{name} {share:.1%}" for name, share in same.items()))
    best = min(row["times_ours"] for name, row in table.items() if name != "assay")
    print(f"against HFLM's best: {best:.2f} times as fast")
    prompt_lengths = sorted(len(engine.tokenizer(p)["input_ids"]) for p in prompts)
    return {
        "model": model.name,
        "n_prompts": len(prompts),
        "max_tokens": workload.max_tokens,
        "prompt_tokens": spread(prompt_lengths),
        "reply_tokens": spread(lengths),
        "contestants": table,
        "identical_replies": same,
        "ratio_to_best": best,
    }


def spread(ordered: list[int]) -> dict[str, float]:
    return {"min": ordered[0], "median": ordered[len(ordered) // 2], "max": ordered[-1], "sum": sum(ordered)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", choices=sorted(WORKLOADS), action="append", help="may be repeated; default: all")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32, 64, 128])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chosen = args.workload or list(WORKLOADS)
    result = {"seed": args.seed, "workloads": {name: compare(WORKLOADS[name], args) for name in chosen}}
    print(f"\nwrote {write_result('generation', result)}")


if __name__ == "__main__":
    main()
