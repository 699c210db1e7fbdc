"""SIGKILL of `align` at twenty random moments: the same checkpoints, and one optimiser step lost a kill at most."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from harness.store.align_directory import read_align
from tests.support.tiny_align import hashes, make_recipe

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 20


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill")
    job = {
        "recipe": make_recipe(folder / "input"),
        "folder": str(folder),
        "kills": KILLS,
        "seed": 3,
        "longest_share": 0.3,
    }
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "tests.support.tiny_align", str(folder / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)
    errors = folder / "errors.txt"
    assert done.returncode == 0, done.stderr[-1000:] + errors.read_text()[-2000:]
    return folder, [json.loads(line) for line in done.stdout.splitlines()]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_kills_fall_into_the_work(killed):
    _, children = killed
    assert sum(child["killed"] for child in children) == KILLS
    assert len({child["during"].partition("-")[0] for child in children if child["during"]}) >= 3
    assert sum(bool(child["during"]) for child in children) > KILLS / 2


def test_every_checkpoint_is_the_one_of_the_run_nobody_stopped(killed):
    folder, children = killed
    whole = hashes(folder / "whole")
    assert {name.rpartition("-")[0] for name in whole} == {"sft", "reward", "dpo-1", "dpo-2"}
    for name in {child["out"] for child in children}:
        assert hashes(folder / name) == whole
        ours, theirs = read_align(folder / name), read_align(folder / "whole")
        assert ours.finished and ours.chosen == theirs.chosen
        assert [v.checkpoint for v in ours.variants] == [v.checkpoint for v in theirs.variants]


def test_answers_and_pairs_are_the_same_and_none_was_drawn_again_once_stored(killed):
    folder, children = killed
    for name in {child["out"] for child in children}:
        for path in sorted((folder / "whole" / "stages").glob("*/*.jsonl")):
            if path.name in ("samples.jsonl", "pairs.jsonl"):
                own = lines(folder / name / "stages" / path.parent.name / path.name)
                texts = [json.dumps({k: v for k, v in row.items() if "score" not in k}) for row in own]
                expected = [json.dumps({k: v for k, v in row.items() if "score" not in k}) for row in lines(path)]
                assert Counter(texts) == Counter(expected), path.parent.name


def test_a_kill_costs_one_optimiser_step_at_most(killed):
    folder, children = killed
    of_child = {child["pid"]: child["out"] for child in children}
    steps = defaultdict(list)
    for pid, stage, step in lines(folder / "steps.jsonl"):
        if pid in of_child:
            steps[of_child[pid], stage].append((pid, step))
    assert len(steps) >= 4
    for (_, stage), found in steps.items():
        for (before, done), (pid, step) in pairwise(found):
            # the next step, or after a kill the one whose checkpoint was not yet whole
            assert step == done + 1 or (pid != before and step == done)
        assert found[0][1] == 1
        assert found[-1][1] == json.loads((folder / "whole" / "stages" / stage / "stage.json").read_text())["steps"]


def test_nothing_half_written_is_left(killed):
    folder, children = killed
    for name in {child["out"] for child in children}:
        assert [path for path in (folder / name).rglob("*") if ".partial" in path.name] == []
