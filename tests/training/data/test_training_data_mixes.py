"""Named mixes: what the paper puts in them, and sources from elsewhere."""

from __future__ import annotations

import json

import pytest

from harness.data.row_sources import SourceName
from harness.errors import SpecError, UnknownNameError, UsageError
from training.data.adapters import PAIR_ADAPTERS
from training.data.mixes import load_mix, read_mix
from training.recipe import shipped

TABLE_5 = {
    "hh_rlhf": 115396, "shp": 93301, "helpsteer": 37131, "pku_safe_rlhf": 26874, "ultrafeedback": 340025,
    "ultra_interact": 161927, "code_ultrafeedback": 50156, "argilla_math": 2418, "open_orca": 6926, "capybara": 14811,
}  # fmt: skip


def test_the_papers_mixes():
    assert set(shipped("recipes/mixes")) == {"mix1", "mix2"}
    assert set(read_mix("mix1").sources) == {"hh_rlhf", "shp", "ultrafeedback", "summarize"}
    mix2 = read_mix("mix2").sources
    assert {name: source.published.pairs for name, source in mix2.items()} == TABLE_5
    for source in (*read_mix("mix1").sources.values(), *mix2.values()):
        assert source.adapter in PAIR_ADAPTERS
        for path in source.paths:
            assert SourceName.parse(path).split == "train"


@pytest.fixture
def local(tmp_path):
    orca = tmp_path / "orca.jsonl"
    orca.write_text("".join(json.dumps(row) + "\n" for row in [
        {"input": f"q{i}", "chosen": "a", "rejected": "b", "status": "tie" if i == 3 else "swapped"} for i in range(9)
    ]))  # fmt: skip
    math = tmp_path / "math.jsonl"
    math.write_text(json.dumps({"instruction": "1+1", "chosen_response": "2", "chosen_rating": 9,
                                "rejected_response": "3", "rejected_rating": 4}) + "\n")  # fmt: skip
    return {"open_orca": str(orca), "argilla_math": [str(math)]}


def test_sources_from_elsewhere_keep_layout_and_filters(local):
    mix = load_mix("mix2", local, only=["open_orca", "argilla_math"])
    assert {name: len(part) for name, part in mix.parts.items()} == {"open_orca": 8, "argilla_math": 1}
    assert mix.parts["open_orca"].filtered == {"equal scores": 1}
    assert {pair.source for pair in mix.pairs} == {"open_orca", "argilla_math"}
    assert len(mix.pairs) == 9


def test_the_seed_decides_the_order(local):
    one, again, other = (load_mix("mix2", local, only=local, seed=seed).pairs for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert set(one) == set(other)


def test_a_mix_of_ones_own(tmp_path):
    row = {"instruction": "1+1", "chosen_response": "2", "rejected_response": "3"}
    rows = [row | {"chosen_rating": 5 + i, "rejected_rating": 4, "rejected_response": f"no {i}"} for i in range(4)]
    (tmp_path / "math.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "own.yaml"
    path.write_text(
        f"sources:\n  maths:\n    paths: {tmp_path}/math.jsonl\n    adapter: argilla_math\n"
        "    min_margin: 2\n    max_pairs_per_prompt: 2\n"
    )
    mix = load_mix(path)
    assert sorted(pair.margin for pair in mix.pairs) == [2, 3]
    assert mix.parts["maths"].filtered == {"margin below 2": 1, "more than 2 pairs of a prompt": 1}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"name": "mix3"}, UnknownNameError, "did you mean mix"),
        ({"name": "mix2", "sources": {"helpster": "x"}}, UnknownNameError, "did you mean helpsteer"),
        ({"name": "mix2", "only": ["nectar"]}, UnknownNameError, "unknown source of mix2 'nectar'"),
        ({"name": "mix2", "only": []}, UsageError, "no source of mix2"),
        ({"name": "mix2", "sources": {"shp": "x"}, "only": ["helpsteer"]}, UsageError, "paths for shp, which is not"),
    ],
)
def test_wrong_mixes(options, error, said):
    with pytest.raises(error) as caught:
        load_mix(**options)
    assert said in str(caught.value)


def test_a_misspelt_field(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("sources:\n  a:\n    paths: x.jsonl\n    min_margn: 2\n")
    with pytest.raises(SpecError, match="did you mean 'min_margin'"):
        load_mix(path)
    path.write_text("sources: {}\n")
    with pytest.raises(SpecError, match="sources"):
        load_mix(path)
