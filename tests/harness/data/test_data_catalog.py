import re

import pytest

from harness.data.catalog import CATALOG, find, select
from harness.data.checksum import read_sums
from harness.errors import UnknownNameError
from tests.paths import MIRROR, needs_data


@needs_data
def test_every_file_of_the_mirror_is_in_the_catalogue_with_its_checksum():
    by_path = {file.mirror_path: file for file in CATALOG.values()}
    sums = read_sums(MIRROR / "SHA256SUMS")
    assert len(sums) == 17
    for path, sha256 in sums.items():
        file = by_path[path]
        # What the mirror has of the hub is a reconstruction, so its checksum is not upstream's.
        assert file.sha256 == (None if file.host == "huggingface" else sha256)
        if file.size is not None:
            assert (MIRROR / path).stat().st_size == file.size


def test_every_file_is_fully_described():
    for name, file in CATALOG.items():
        assert name == file.name
        assert re.fullmatch(r"[a-z0-9_.]+/[a-z0-9_]+", name)
        assert file.licence in ("Apache-2.0", "MIT", "CC-BY-NC-4.0", "ODC-By-1.0")
        assert file.what
        if file.host == "github":
            assert re.fullmatch("[0-9a-f]{40}", file.commit)
            assert re.fullmatch("[0-9a-f]{64}", file.sha256 or "") or re.fullmatch("[0-9a-f]{40}", file.git_blob)


def test_no_two_names_share_a_file():
    assert len({file.url for file in CATALOG.values()}) == len(CATALOG)
    assert len({file.mirror_path for file in CATALOG.values()}) == len(CATALOG)


def test_urls_and_mirror_paths():
    questions = find("mt_bench/questions")
    rest = "lm-sys/FastChat/0e6d3e4beaab66f4d3f93db72541a4abab8af28d/fastchat/llm_judge/data/mt_bench/question.jsonl"
    assert questions.url == f"https://raw.githubusercontent.com/{rest}"
    assert questions.mirror_path == f"github/{rest}"
    gamed = find("alpaca_eval/gamed")
    assert gamed.url == "https://huggingface.co/datasets/tatsu-lab/alpaca_eval/resolve/main/df_gamed.csv"
    assert gamed.mirror_path == "huggingface/datasets/tatsu-lab/alpaca_eval/df_gamed.csv"


def test_an_unknown_file_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="did you mean mt_bench/questions"):
        find("mt_bench/question")


def test_selecting_files_and_benchmarks():
    def names(*asked):
        return [file.name for file in select(asked)]

    assert names() == list(CATALOG)
    assert names("gsm8k/test", "mt_bench/questions") == ["mt_bench/questions", "gsm8k/test"]
    assert names("mt_bench", "mt_bench/questions") == [
        "mt_bench/questions",
        "mt_bench/references",
        "mt_bench/judge_prompts",
    ]
    assert names("arena_hard@v2.0") == names("arena_hard_v2.0") == [n for n in CATALOG if n.startswith("arena_hard_v2")]
    assert names("arena_hard") == [n for n in CATALOG if n.startswith("arena_hard_v")]
    with pytest.raises(UnknownNameError, match="did you mean mt_bench"):
        select(["mtbench"])
