"""The published schemas against what the commands print."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError

from harness import cli
from harness.commands.schema import COMMANDS
from tests.support.gate_runs import write_run

RULE = "rules: [{improve: {benchmark: alpaca_eval, metric: win_rate, margin: 0}}]\n"
KEEP = "{keep: {benchmark: mt_bench, metric: score, margin: 1}}"
ANY = f"rules: [{{any: [{{improve: {{benchmark: alpaca_eval, metric: win_rate, margin: 0}}}}, {KEEP}]}}]\n"


def shares(seed, shift=0.0, n=120):
    return np.clip(np.random.default_rng(seed).uniform(0, 0.8, n) + shift, 0, 1).tolist()


@pytest.fixture
def call(capsys):
    def printed(*arguments):
        cli.main([str(argument) for argument in arguments])
        return json.loads(capsys.readouterr().out)

    return printed


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    values = {"old": shares(1), "good": shares(2, 0.25), "near": shares(3, 0.02)}
    values["holes"] = ["unparsed", *shares(4)[1:]]
    for name, verdicts in values.items():
        write_run(tmp_path / name, name, alpaca_eval=verdicts, mt_bench=[5.0, 6.5] * 40)
    return tmp_path


def closed(schema):
    """The schema without room for keys it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(part) for key, part in schema.items()}
    return found | {"additionalProperties": False} if found.get("additionalProperties") is True else found


def agrees(schema, output):
    """Whatever the command printed is valid, and every key of it is in the schema."""
    Draft202012Validator(schema).validate(output)
    Draft202012Validator(closed(schema)).validate(output)


@pytest.fixture
def gate(call, runs):
    def decided(policy, name, *more, baseline="old"):
        path = runs / "policy.yaml"
        path.write_text(policy)
        sides = ["--candidate", runs / name, *(["--baseline", runs / baseline] if baseline else [])]
        return call("gate", *sides, "--policy", path, "--json", *more)

    return decided


@pytest.mark.parametrize("name", COMMANDS)
def test_a_schema_is_one_and_has_its_version(call, name):
    schema = call("schema", name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:assay:schema:{name}:{schema['version']}"


@pytest.mark.parametrize(
    ("name", "policy", "more", "decision"),
    [
        ("good", RULE, (), "pass"),
        ("near", RULE, (), "undecided"),
        ("old", RULE, (), "invalid"),
        ("good", RULE, ("--sequential", "--seed", 1), "pass"),
        ("good", "method: group_sequential\nlooks: 3\n" + RULE, (), "pass"),
        ("good", "method: group_sequential\nlooks: 3\nfutility: {}\n" + RULE, (), "pass"),
        ("good", RULE, ("--selected-from", 3, "--explain"), "pass"),
        ("good", ANY, (), "pass"),
    ],
)
def test_gate(gate, call, name, policy, more, decision):
    found = gate(policy, name, *more)
    assert found["decision"] == decision, found["message"]
    agrees(call("schema", "gate"), found)


def test_gate_of_limits_without_a_baseline(gate, call):
    policy = "rules: [{limit: {benchmark: alpaca_eval, metric: win_rate, at_least: 30}}]\n"
    found = gate(policy, "good", baseline=None)
    assert found["rules"][0]["at_least"] == 30
    agrees(call("schema", "gate"), found)


@pytest.mark.parametrize("more", [(), ("--variance",)])
def test_score(call, runs, more):
    agrees(call("schema", "score"), call("score", runs / "holes", "--json", *more))


def test_compare(call, runs):
    agrees(call("schema", "compare"), call("compare", runs / "good", runs / "holes", "--json"))


@pytest.mark.parametrize("form", ["plain", "pairwise", "against"])
def test_leaderboard(call, runs, form):
    reference = runs / "arena.csv"
    reference.write_text("model,score\ngood,1200\nold,1100\nnear,1150\n")
    more = {"plain": (), "pairwise": ("--pairwise",), "against": ("--against", reference)}[form]
    names = [runs / name for name in ("old", "good", "near")]
    agrees(call("schema", "leaderboard"), call("leaderboard", *names, "--format", "json", *more))


def test_a_missing_key_and_another_type_are_found(gate, call, runs):
    outputs = {
        "gate": gate(RULE, "good"),
        "score": call("score", runs / "good", "--json"),
        "compare": call("compare", runs / "good", runs / "old", "--json"),
        "leaderboard": call("leaderboard", runs / "good", runs / "old", "--format", "json"),
    }
    for name, output in outputs.items():
        validator = Draft202012Validator(call("schema", name))
        validator.validate(output | {"a_later_key": 1})
        inner = next(key for key in ("rules", "rows", "metrics") if key in output)
        for place in (lambda o: o, lambda o, inner=inner: o[inner][0]):
            for key in place(output):
                without, other = copy.deepcopy(output), copy.deepcopy(output)
                del place(without)[key]
                place(other)[key] = [["of no type"]]
                for damaged in (without, other):
                    with pytest.raises(ValidationError):
                        validator.validate(damaged)
