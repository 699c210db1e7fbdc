"""weekly: the benchmarks a team runs together; `--benchmark weekly`."""

from harness.spec import BenchmarkSpec

SUITE = (BenchmarkSpec(name="mt_bench", limit=20), BenchmarkSpec(name="gsm8k", limit=100))
