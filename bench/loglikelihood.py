"""Log-likelihood throughput of the hf engine against lm-eval's HFLM: same model, requests and machine, one run.

    OMP_NUM_THREADS=1 python bench/loglikelihood.py
    OMP_NUM_THREADS=1 python bench/loglikelihood.py --kind plain --batch-sizes 32 64

Three kinds of requests of mixed length: single continuations of a context of their own (`plain`), four answer letters
after one question (`letters`, as MMLU), four answers of several words (`answers`, as ARC or HellaSwag). HFLM runs at
its default batch size (1) and at fixed ones; its best is the one to beat. The figures are compared too.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
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

from harness.engines.base import LogLikelihoodRequest
from harness.engines.hf.engine import HFEngine

KINDS = ("plain", "letters", "answers")


def make_requests(kind: str, tokenizer: Any, n: int, rng: random.Random) -> list[tuple[str, str]]:
    """Make about n (context, continuation) pairs."""
    if kind == "plain":
        contexts = mixed_prompts(tokenizer, n, 170, rng)
        return [(c, " " + text) for c, text in zip(contexts, mixed_prompts(tokenizer, n, 40, rng), strict=True)]
    contexts = [f"Question: {text}?\nAnswer:" for text in mixed_prompts(tokenizer, n // 4, 150, rng)]
    if kind == "letters":
        return [(context, f" {letter}") for context in contexts for letter in "ABCD"]
    answers = iter(mixed_prompts(tokenizer, 4 * len(contexts), 25, rng))
    return [(context, " " + next(answers)) for context in contexts for _ in range(4)]


def compare(model: Path, kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run all contestants on one model and kind of request."""
    engine = HFEngine.from_options({"model": str(model), "device": args.device})
    pairs = make_requests(kind, engine.tokenizer, args.n, random.Random(args.seed))
    requests = [LogLikelihoodRequest(str(i), *pair) for i, pair in enumerate(pairs)]
    figures: dict[str, list[float]] = {}

    def ours() -> None:
        scored = {x.request_id: x for x in engine.loglikelihood(requests)}
        assert not any(x.error for x in scored.values())
        figures["assay"] = [scored[r.request_id].logprob or 0.0 for r in requests]

    contestants = {"assay": ours}
    for batch_size in (None, *args.batch_sizes):
        rival = load_rival(model, args.device, batch_size)
        name = DEFAULT if batch_size is None else f"HFLM batch {batch_size}"

        def theirs(rival: Any = rival, name: str = name) -> None:
            scored = rival.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
            figures[name] = [logprob for logprob, _ in scored]

        contestants[name] = theirs
    table = ratios(interleave(contestants, args.repeats, DEFAULT), "assay")
    apart = {
        name: max(abs(a - b) for a, b in zip(logprobs, figures["assay"], strict=True))
        for name, logprobs in figures.items()
    }
    print_table(f"{model.name}, {kind}: {len(pairs)} requests", table, len(pairs), "requests")
    print(f"largest difference: {max(apart.values()):.1e}")
    best = min(row["times_ours"] for name, row in table.items() if name != "assay")
    print(f"against HFLM's best: {best:.2f} times as fast")
    return {
        "model": model.name,
        "kind": kind,
        "n_requests": len(pairs),
        "contestants": table,
        "largest_difference": max(apart.values()),
        "ratio_to_best": best,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, action="append", help="a checkpoint directory; may be repeated")
    parser.add_argument("--kind", choices=KINDS, action="append", help="may be repeated; default: all")
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    models = args.model or [MODELS / "neo3m-chat-hf", MODELS / "stories260K-hf"]
    runs = [compare(model, kind, args) for model in models for kind in args.kind or KINDS]
    print(f"\nwrote {write_result('loglikelihood', {'seed': args.seed, 'runs': runs})}")


if __name__ == "__main__":
    main()
