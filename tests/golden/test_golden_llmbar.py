"""LLMBar Natural: every stored evaluator's accuracies come out of its stored verdicts as upstream printed them."""

from __future__ import annotations

import argparse
import json

import pytest

from benchmarks.reward_bench.llmbar_importer import LLMBarImporter
from harness.data.store import DataStore
from harness.run.import_results import write_import
from tests.paths import DATA, MIRROR, needs_data

pytestmark = [pytest.mark.golden, needs_data]

FOLDER = DATA / "judge_meta/llmbar/Dataset/LLMBar/Natural/evaluators"
FIGURES = {
    "published_accuracy_as_shown": "correct_False",
    "published_accuracy_swapped": "correct_True",
    "published_accuracy": "correct_average",
    "published_accuracy_both_orders": "correct_both",
    "published_agreement_of_orders": "equal",
}


def evaluators():
    return sorted(FOLDER.glob("*/*/result.json"))


def read(path):
    return LLMBarImporter().read(argparse.Namespace(results=path, model=None))


def stored_figures(path):
    stored = json.loads(path.with_name("statistics.json").read_text())
    return {ours: float(stored[theirs].rpartition("= ")[2].rstrip("%")) for ours, theirs in FIGURES.items()}


def test_all_evaluators():
    assert len(evaluators()) == 65
    for path in evaluators():
        found = {figure.metric: figure.value for figure in read(path).figures}
        assert found == pytest.approx(stored_figures(path)), path.parent


def test_a_run_scores_what_was_read(tmp_path):
    """Where every verdict was read, our own figure is upstream's; where not, the unread are not scored."""
    data = DataStore(MIRROR, tmp_path / "cache", True)
    for name, unread in (("GPT-4/CoT", 0), ("LLaMA2/CoT", None)):
        path = FOLDER / name / "result.json"
        scores = write_import(read(path), tmp_path / name.replace("/", "-"), data)
        row = scores.row("reward_bench", "subset_llmbar-natural")
        assert scores.model == name
        if unread == 0:
            assert (row.value, row.n_unscored) == (pytest.approx(stored_figures(path)["published_accuracy"]), 0)
        n_none = sum(
            any(item["results"][-1][order]["winner"] is None for order in ("swap = False", "swap = True"))
            for item in json.loads(path.read_text())
        )
        assert row.n_unscored == n_none


def test_unread_verdicts_are_somewhere():
    """The rule above is exercised: some evaluators have verdicts that upstream could not read."""
    unread = {path.parent.parent.name for path in evaluators() if read(path).notes}
    assert unread and "GPT-4" not in unread
