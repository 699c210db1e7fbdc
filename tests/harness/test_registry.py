"""The doors: what is registered is found and checked, and a faulty plug-in is told what is wrong with it."""

from __future__ import annotations

import pytest

from harness import registry
from harness.errors import AssayError, PluginError, UnknownNameError
from harness.run.plan import load_benchmark

GROUP = {"assay.benchmarks": {"mine": "mine:Mine"}}
BENCHMARK = """
from harness.protocols import ScoreKind


class Mine:
    name, version, judge_forms, headlines = "mine", "1", (), ("quality",)
    score_kinds = {"quality": ScoreKind("outcome")}

    def __init__(self, version=None):
        pass

    def prompts(self, data): ...
    def sampling(self, prompt): ...
    def baselines(self, prompts, data): ...
    def tasks(self, prompt, candidate, baseline): ...
    def score(self, prompt, candidate, baseline, judgments): ...
    def items(self, metric, scores): ...
    def summarize(self, scores, data): ...
"""


def test_all_of_our_own_come_in_by_the_doors():
    for kind in registry.DOORS:
        assert registry.names(kind), kind
        for name in registry.names(kind):
            registry.load(kind, name)


def test_a_plugin_is_found(install_plugin):
    install_plugin("my-bench", {"mine": BENCHMARK}, GROUP)
    assert load_benchmark("mine").name == "mine"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("    def items(self, metric, scores): ...\n", ""), "Mine lacks items"),
        (('ScoreKind("outcome")', 'ScoreKind("length")'), "it declares no deciding score (score_kinds: quality)"),
        (('ScoreKind("outcome")', '"outcome"'), "score_kinds of quality: not a ScoreKind"),
        (("        pass", "        raise KeyError(version)"), "calling mine:Mine raised KeyError: None"),
        (("class Mine:", "1 / 0\n\n\nclass Mine:"), "importing mine:Mine raised ZeroDivisionError: division by zero"),
        (("class Mine:", "import not_there\n\n\nclass Mine:"), "cannot be imported: No module named 'not_there'"),
        (("class Mine:", "class Other:"), "importing mine:Mine raised AttributeError"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_plugins_name(install_plugin, change, said):
    assert change[0] in BENCHMARK
    install_plugin("my-bench", {"mine": BENCHMARK.replace(*change)}, GROUP)
    with pytest.raises(PluginError) as raised:
        load_benchmark("mine")
    message = str(raised.value)
    assert message.startswith("the benchmark 'mine': ")
    assert said in message
    assert 'docs/extending.md, "A benchmark"' in message


def test_a_name_that_is_taken(install_plugin):
    install_plugin("my-bench", {"mine": BENCHMARK}, {"assay.benchmarks": {"mt_bench": "mine:Mine"}})
    with pytest.raises(PluginError, match="the name is taken twice") as raised:
        load_benchmark("mt_bench")
    assert "my-bench registers it as mine:Mine" in str(raised.value)
    assert "assay registers it as benchmarks.mt_bench" in str(raised.value)
    assert load_benchmark("alpaca_eval").name == "alpaca_eval"  # others are not affected


def test_a_plugin_for_a_newer_assay(install_plugin):
    install_plugin("my-bench", {"mine": BENCHMARK}, GROUP, requires="assay>=99")
    with pytest.raises(PluginError, match=r"my-bench requires assay>=99, but .*(?s:.)*upgrade assay"):
        load_benchmark("mine")


def test_what_the_factory_says_of_its_arguments_is_passed_on():
    with pytest.raises(AssayError, match="no version '7'"):
        load_benchmark("mt_bench@7")
    with pytest.raises(UnknownNameError, match="did you mean mt_bench"):
        load_benchmark("mt_bnech")


def test_benchmarks_of_the_demo_are_listed_last():
    with pytest.raises(UnknownNameError) as raised:
        registry.load("benchmark", "none of these at all")
    listed = [name.startswith("demo_") for name in raised.value.allowed.removeprefix("one of ").split(", ")]
    assert any(listed) and listed == sorted(listed)
