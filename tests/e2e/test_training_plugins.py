"""A training stage and a ranker of another package: the examples of docs/extending in `assay train` and `align`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml

from harness import registry
from harness.errors import AssayError, SpecError, UnknownNameError
from harness.store.align_directory import read_rewards
from tests.support.tiny_align import carry_out, make_recipe
from tests.support.tiny_training import common, pairs, save_model
from training.align.recipe import AlignRecipe, load_align_recipe
from training.metrics import MetricsFile, read_metrics
from training.stage import find_stage

EXAMPLES = Path(__file__).parents[2] / "docs" / "extending"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put modules on the path and register entry points as an installed package would."""

    def install(folder, groups):
        metadata = tmp_path / "site" / "assay_test_plugin-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: assay-test-plugin\nVersion: 1.0\n")
        lines = [
            f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups.items()
        ]
        (metadata / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(str(metadata.parent))
        monkeypatch.syspath_prepend(str(folder))
        registry.forget()

    yield install
    monkeypatch.undo()
    registry.forget()


@pytest.fixture
def example(install):
    """Install an example by the entry points of its own pyproject.toml."""

    def example(name):
        project = tomllib.loads((EXAMPLES / name / "pyproject.toml").read_text())["project"]
        install(EXAMPLES / name, project["entry-points"])

    return example


@pytest.mark.parametrize("name", ["stage", "ranker"])
def test_the_examples_are_short(name):
    assert sum(len(path.read_text().splitlines()) for path in (EXAMPLES / name).iterdir() if path.is_file()) <= 60


def test_a_stage_of_another_package_trains_resumes_and_is_read(example, assay, tmp_path, monkeypatch):
    example("stage")
    data, recipe, out = tmp_path / "pairs.jsonl", tmp_path / "raft.yaml", tmp_path / "out"
    data.write_text("".join(json.dumps(pair.as_row()) + "\n" for pair in pairs()))
    fields = common(save_model(tmp_path / "model"), stage="raft", data=str(data), held_out_share=0.25)
    recipe.write_text(yaml.safe_dump(fields))
    on_log = MetricsFile.on_log

    def interrupted(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt
        on_log(self, args, state, control, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsFile, "on_log", interrupted)
        assert assay("train", "raft", recipe, "--out", out)[0] == 130
    status, printed, _ = assay("train", "raft", recipe, "--out", out, "--json")
    record = json.loads(printed)
    assert status == 0 and record["stage"] == "raft" and record["resumed_at_step"] == 4
    assert [line["step"] for line in read_metrics(out / "metrics.jsonl") if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert record["held_out"]["after"]["eval_loss"] < record["held_out"]["before"]["eval_loss"]
    status, printed, _ = assay("train", "raft", recipe, "--out", out)
    assert status == 0 and printed.startswith("raft: 6 steps on 18 of 18 records")
    status, _, error = assay("train", "dpo", recipe, "--out", tmp_path / "other")
    assert status == 2 and "recipe of the stage 'raft'" in error and "assay train raft" in error


def test_help_lists_the_stage(example, assay):
    example("stage")
    assert "raft" in assay("train", "--help")[1]
    assert "Fine-tune on the better answer of each preference pair" in " ".join(
        assay("train", "raft", "--help")[1].split()
    )


@pytest.mark.slow
def test_align_trains_the_stage_on_each_iterations_pairs(example, tmp_path):
    example("stage")
    recipe = make_recipe(tmp_path / "input", iterations=1)
    recipe["dpo"] = {**recipe["dpo"], "stage": "raft"}
    assert recipe["dpo"]["stage"] in AlignRecipe.model_validate(recipe).model_dump(mode="json")["dpo"]["stage"]
    state = carry_out(recipe, tmp_path / "out").state
    assert [v.name for v in state.variants] == ["base", "sft", "raft-1"]
    stage = next(s for s in state.stages if s.name == "raft-1")
    assert json.loads((tmp_path / "out" / stage.dir / "stage.json").read_text())["stage"] == "raft"
    assert carry_out(recipe, tmp_path / "out").n_worked == 0


@pytest.mark.slow
def test_align_ranks_by_the_ranker_of_another_package(example, tmp_path):
    example("ranker")
    recipe = make_recipe(tmp_path / "input", iterations=1)
    recipe["ranker"] = {"name": "keywords", "options": {"words": ["no"]}}
    recipe["dpo"] |= {"max_steps": 1, "epochs": 1}
    try:
        carry_out(recipe, tmp_path / "out")
    except AssayError as error:  # a random model may never say the word, and then there is nothing to learn
        assert "equal rewards" in str(error)
    rewards = [r for path in (tmp_path / "out" / "stages").glob("score-sft-*") for r in read_rewards(path)]
    assert rewards and all(r.reward is not None and r.reward >= 0 for r in rewards)


def test_wrong_options_of_a_ranker_are_refused_before_anything_is_spent(example, tmp_path):
    example("ranker")
    recipe = make_recipe(tmp_path / "input", ranker={"name": "keywords", "options": {"word": "no"}})
    with pytest.raises(SpecError, match="words, a list"):
        carry_out(recipe, tmp_path / "out")
    assert not list((tmp_path / "out").glob("stages/*"))


def test_names_that_nothing_registers(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean reward"):
        find_stage("rewrd")
    with pytest.raises(UnknownNameError, match="judge"):
        registry.make("ranker", "jugde", {}, None)
    path = tmp_path / "recipe.yaml"
    values = {"sft_model": "m", "ranker": {"model": "m"}, "dpo": {"stage": "dop"}}
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(UnknownNameError, match="dpo"):
        load_align_recipe(path)
    path.write_text(yaml.safe_dump({**values, "dpo": {"betta": 0.1}}))
    with pytest.raises(SpecError, match=r"dpo: unknown field 'betta', did you mean 'beta'\?"):
        load_align_recipe(path)


BROKEN = """
from training.stage import StageEntry
from training.sft import STAGE
OTHER = STAGE
TEXT = "sft"
def number(options, context):
    return 1
"""


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"assay.stages": {"mine": "broken:OTHER"}}, r"'mine': calls itself 'sft'"),
        (
            {"assay.stages": {"mine": "broken:TEXT"}},
            r"str lacks name, recipe, summary, train[\s\S]*docs/extending.md",
        ),
        ({"assay.stages": {"mine": "nowhere:STAGE"}}, r"cannot be imported"),
        (
            {"assay.rankers": {"mine": "broken:number"}},
            r"'mine': int lacks identity, name, scores[\s\S]*docs/extending.md",
        ),
    ],
)
def test_a_broken_plug_in_is_named_and_breaks_nothing_else(install, assay, tmp_path, points, message):
    (tmp_path / "broken.py").write_text(BROKEN)
    install(tmp_path, points)
    with pytest.raises(AssayError, match=message):
        registry.make("ranker", "mine", {}, None) if "assay.rankers" in points else find_stage("mine")
    assert assay("train", "sft", "--help")[0] == 0
