"""Sampling responses a second of `assay align` against a bare call of the same engine on the same requests, one run.

    OMP_NUM_THREADS=1 python bench/align.py
    OMP_NUM_THREADS=1 python bench/align.py --prompts 96 --repeats 5

What `align` adds to the engine is requests with a seed each, a record a response written as it completes, and the
reading of what is there already. Texts are compared one by one: a ratio between different samples would mean nothing.
Wall time is given, and the processor time of this process, which other work on the machine hardly touches: on a CPU the
ratio is taken from the latter. Peak memory is that of the process after all rounds.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from engine_rival import MODELS, interleave, mixed_prompts, print_table, ratios, write_result

from harness.engines.base import Generation, GenerationRequest
from harness.engines.hf.engine import HFEngine
from harness.messages import Message
from harness.store.align_directory import read_samples
from training.align.sampling import Drawing, draw, requests_for
from training.data.records import PromptItem

TARGET = 0.95


class Kept:
    """An engine that stays loaded when a stage closes it: loading is not what is compared."""

    def __init__(self, engine: HFEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Pass the requests on."""
        return self._engine.generate(requests)

    def close(self) -> None:
        """Stay."""


def compare(model: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Draw the same samples both ways."""
    engine = HFEngine.from_options({"model": str(model), "device": args.device})
    texts = mixed_prompts(engine.tokenizer, args.prompts, args.longest_prompt, random.Random(args.seed))
    prompts = list({(item := PromptItem.of([Message("user", text)])).key: item for text in texts}.values())
    drawing = Drawing(args.responses, (1.0, 0.7), args.max_tokens, args.seed)
    n = len(prompts) * args.responses
    bare: dict[str, str] = {}
    drawn: dict[str, str] = {}

    used: dict[str, list[float]] = {}

    def engine_alone() -> None:
        requests = [request for _, _, request in requests_for(prompts, drawing).values()]
        bare.update({g.request_id: g.text.strip() for g in engine.generate(requests)})

    def align() -> None:
        with tempfile.TemporaryDirectory() as folder:
            draw(prompts, drawing, Path(folder), lambda: Kept(engine))
            drawn.update({f"{s.prompt_key}:{s.sample}": s.response for s in read_samples(Path(folder))})

    contestants = {"assay align": align, "engine alone": engine_alone}
    timed = {name: partial(count_processor_time, work, used.setdefault(name, [])) for name, work in contestants.items()}
    seconds = interleave(timed, args.repeats, once="")
    assert bare == drawn and len(drawn) == n, "the two drew different samples"
    table = ratios(seconds, "assay align")
    print_table(f"{model.name}: {len(prompts)} prompts, {args.responses} responses each", table, n, "responses")
    wall = table["engine alone"]["times_ours"]
    mine, theirs = (statistics.median(used[name][1:]) for name in contestants)  # the first round is a warm-up
    ratio = theirs / mine if args.device == "cpu" else wall
    print(
        f"responses/s of align over those of the bare engine: {ratio:.3f} (target: at least {TARGET}); wall {wall:.3f}"
    )
    return {
        "model": model.name,
        "n_responses": n,
        "contestants": table,
        "processor_s": {name: times[1:] for name, times in used.items()},
        "ratio": ratio,
        "requests": time_requests(drawing),
    }


def count_processor_time(work: Callable[[], None], used: list[float]) -> None:
    """Do the work and note the processor time this process spent on it."""
    begun = time.process_time()
    work()
    used.append(time.process_time() - begun)


def time_requests(drawing: Drawing, n_prompts: int = 20_000) -> dict[str, float]:
    """Time what a stage of the paper's size spends on requests alone: 20,000 prompts of 8 responses."""
    prompts = [PromptItem.of([Message("user", f"question {i}")]) for i in range(n_prompts)]
    begun = time.perf_counter()
    n = len(requests_for(prompts, Drawing(8, drawing.temperatures, drawing.max_tokens, drawing.seed)))
    taken = time.perf_counter() - begun
    print(f"requests for {n:,} responses: {taken:.1f} s")
    return {"n_requests": n, "seconds": taken}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, action="append", help="a checkpoint directory; may be repeated")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--responses", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--longest-prompt", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    runs = [compare(model, args) for model in args.model or [MODELS / "neo3m-chat-hf"]]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {peak:.0f} MiB")
    print(f"\nwrote {write_result('align', {'seed': args.seed, 'target': TARGET, 'peak_mib': peak, 'runs': runs})}")


if __name__ == "__main__":
    main()
