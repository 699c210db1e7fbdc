import argparse
import json
import shutil

import pytest

from harness.commands import data, describe
from harness.data.catalog import CATALOG, find
from harness.errors import MissingDataError
from tests.paths import MIRROR, needs_data

pytestmark = needs_data


def assay_data(*arguments):
    parser = argparse.ArgumentParser()
    describe(parser, data.__doc__)
    data.add_arguments(parser)
    return data.run(parser.parse_args(arguments))


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_DATA", str(MIRROR))
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def small_mirror(tmp_path):
    for name in ("mt_bench/questions", "mt_bench/references", "mt_bench/judge_prompts"):
        target = tmp_path / "mirror" / find(name).mirror_path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(MIRROR / find(name).mirror_path, target)
    return tmp_path / "mirror"


def test_list_shows_every_file(capsys):
    assert assay_data("list") == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if "/" in line.split(" ")[0]}
    assert set(lines) == set(CATALOG)
    assert lines["mt_bench/questions"].split() == [
        "mt_bench/questions",
        "48.9",
        "kB",
        "Apache-2.0",
        "lm-sys/FastChat",
        "0e6d3e4",
        "sha256",
        "yes",
    ]
    assert lines["arena_hard_v2.0/baseline_gemini"].split()[-3:] == ["git", "blob", "no"]
    assert "by mirror" in lines["alpaca_eval/gamed"]


def test_list_says_that_hub_files_are_not_pinned(monkeypatch, capsys):
    monkeypatch.delenv("ASSAY_DATA")
    assert assay_data("list", "alpaca_eval") == 0
    out = capsys.readouterr().out
    assert "run.json records the sha256" in out
    assert next(line for line in out.splitlines() if line.startswith("alpaca_eval/gamed")).split()[-2] == "no"


def test_list_json(capsys):
    assert assay_data("list", "--json", "gsm8k/test") == 0
    captured = capsys.readouterr()
    (file,) = json.loads(captured.out)["files"]
    assert captured.err == ""
    assert file["name"] == "gsm8k/test"
    assert file["size"] == 749738
    assert file["licence"] == "MIT"
    assert file["pinned"] == "sha256"
    assert file["digest"] == find("gsm8k/test").sha256
    assert file["present"] is True
    assert file["path"] == str(MIRROR / find("gsm8k/test").mirror_path)


def test_verify_ends_well_where_all_is_well(small_mirror, capsys):
    assert assay_data("verify", "mt_bench", "--data-dir", str(small_mirror)) == 0
    captured = capsys.readouterr()
    assert captured.out.count(" ok ") == 3
    assert captured.err == ""


def test_verify_fails_and_names_every_bad_and_missing_file(small_mirror, capsys):
    (small_mirror / find("mt_bench/questions").mirror_path).write_bytes(b"forged")
    (small_mirror / find("mt_bench/references").mirror_path).unlink()
    assert assay_data("verify", "mt_bench", "--data-dir", str(small_mirror), "--json") == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["ok"] is False
    assert report["data_dir"] == str(small_mirror)
    assert {file["name"]: file["state"] for file in report["files"]} == {
        "mt_bench/questions": "bad",
        "mt_bench/references": "missing",
        "mt_bench/judge_prompts": "ok",
    }
    assert "2 of 3 files cannot be used: mt_bench/questions, mt_bench/references" in captured.err
    assert find("mt_bench/questions").sha256 in captured.err


def test_pull_to_makes_a_mirror(tmp_path, capsys):
    target = tmp_path / "made"
    assert assay_data("pull", "mt_bench", "alpaca_eval", "--to", str(target)) == 0
    assert assay_data("verify", "mt_bench", "alpaca_eval", "--data-dir", str(target)) == 0
    assert capsys.readouterr().err == ""


def test_pull_fails_where_a_file_cannot_be_had(capsys):
    assert assay_data("pull", "arena_hard@v2.0") == 1
    err = capsys.readouterr().err
    assert "arena_hard_v2.0/baseline_gemini" in err
    assert "arena_hard_v2.0/questions" not in err


def test_a_wrong_mirror_is_an_error(tmp_path):
    with pytest.raises(MissingDataError, match="does not exist"):
        assay_data("list", "--data-dir", str(tmp_path / "none"))


@pytest.mark.parametrize("arguments", [[], ["fetch"], ["list", "--to", "x"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        assay_data(*arguments)
    assert caught.value.code == 2


def test_help_has_an_example(capsys):
    for action in ("list", "pull", "verify"):
        with pytest.raises(SystemExit):
            assay_data(action, "--help")
        assert f"assay data {action}" in capsys.readouterr().out
