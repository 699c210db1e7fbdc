"""Sampling by several processes: all prompts, the same answers, and no process that outlives the one it works for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import ModelError
from harness.messages import Message
from harness.store.align_directory import read_samples
from training.align.sampling import Drawing, draw, load_engine
from training.align.workers import draw_in_processes
from training.data.records import PromptItem

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DRAWING = Drawing(2, (1.0, 0.7), 16, 1)
PROMPTS = [PromptItem.of([Message("user", f"question {i}")]) for i in range(7)]
SCRIPT = """
import sys
from pathlib import Path
from tests.e2e.test_align_workers import DRAWING, PROMPTS
from training.align.workers import draw_in_processes

if __name__ == "__main__":
    draw_in_processes(PROMPTS, DRAWING, Path(sys.argv[1]), ("scripted", sys.argv[2], {"delay_s": 0.5}), 2)
"""


def replies(folder, rows):
    path = folder / "replies.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def found(out):
    return {(s.prompt_key, s.sample): s for s in read_samples(out)}


def test_several_draw_what_one_draws(tmp_path):
    model = replies(tmp_path, [{"prompt": f"question {i}", "reply": f"answer {i}"} for i in range(7)])
    draw_in_processes(PROMPTS, DRAWING, tmp_path / "several", ("scripted", model, {}), 2)
    draw(PROMPTS, DRAWING, tmp_path / "one", lambda: load_engine("scripted", model, {}))
    assert found(tmp_path / "several") == found(tmp_path / "one") and len(found(tmp_path / "one")) == 14
    assert len(list((tmp_path / "several").glob("samples-*.jsonl"))) == 2


def test_one_that_fails_is_named_and_what_was_drawn_is_kept(tmp_path, capfd):
    model = replies(tmp_path, [{"prompt": "*", "reply": "answer"}])
    with pytest.raises(ModelError, match=r"2 of 2 sampling processes failed \(number 0, 1\)"):
        draw_in_processes(PROMPTS, DRAWING, tmp_path / "out", ("scripted", model, {"fail_after": 2}), 2)
    assert "sampling process 1" in capfd.readouterr().err
    assert len(found(tmp_path / "out")) == 4
    draw_in_processes(PROMPTS, DRAWING, tmp_path / "out", ("scripted", model, {}), 2)
    assert len(found(tmp_path / "out")) == 14


def test_they_end_when_their_parent_is_killed(tmp_path):
    model, script, out = (
        replies(tmp_path, [{"prompt": "*", "reply": "answer"}]),
        tmp_path / "parent.py",
        tmp_path / "out",
    )
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    parent = subprocess.Popen([sys.executable, str(script), str(out), model], env=environment)
    try:
        until = time.monotonic() + 60
        while len(found(out)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    time.sleep(0.3)
    there = len(found(out))
    assert 2 <= there < 14
    time.sleep(1.5)  # three answers' time
    assert len(found(out)) == there
