"""Promotions after a decision: MLflow's registry in a local store, and a branch on a stand-in of the hub."""

from __future__ import annotations

import json
import sys

import pytest

from harness.cli import main
from harness.errors import EndpointError, UsageError
from harness.gate.decision import Decision
from harness.integrations.hub_branch import HubBranch
from harness.integrations.mlflow_alias import MLflowAlias
from harness.integrations.promotion import promote_all, promotions
from tests.support.gate_runs import write_run
from tests.support.hub_server import LARGE, hub_server

FACTS = {"decision": "pass", "policy": "p", "candidate": "new", "baseline": "old"}
POLICY = "alpha: 0.05\nmin_n: 20\nrules:\n  - improve: {benchmark: alpaca_eval, metric: win_rate, margin: 0}\n"


@pytest.fixture
def hub(monkeypatch):
    with hub_server() as found:
        # The library reads HF_ENDPOINT when it is imported, which is long ago.
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", found.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", found.url + URL)
        monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", found.url + URL, raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield found


URL = "/{repo_id}/resolve/{revision}/{filename}"


def test_a_new_branch_is_created_at_the_commit_that_was_gated(hub):
    commit = hub.commit("main", {"config.json": b"{}"})
    said = HubBranch.parse("o/m@production").promote(FACTS)
    assert hub.branches == {"main": commit, "production": commit}
    assert said == f"branch production was created at commit {commit[:12]} of o/m"


def test_an_existing_branch_gets_the_files_in_one_commit(hub):
    weights = LARGE + b"new weights"
    hub.commit("production", {"config.json": b"old", "model": LARGE + b"old", "gone.txt": b"x", "same": b"s"})
    hub.commit("main", {"config.json": b"new", "model": weights, "same": b"s", "sub/more": b"m"})
    commit = hub.branches["main"]
    hub.commit("main", {"config.json": b"later"})  # what comes after the revision is not promoted
    before = hub.branches["production"]
    said = HubBranch.parse(f"o/m:{commit}@production").promote(FACTS)
    assert hub.files("production") == hub.commits[commit]
    assert "has the files of" in said
    header = hub.messages[hub.branches["production"]]
    assert header["parentCommit"] == before
    assert "the gate's decision is pass" in header["summary"]
    assert "candidate: new" in header["description"]
    assert "model" not in hub.downloads  # large files are copied on the server
    count = len(hub.commits)
    assert "already has the files" in HubBranch.parse(f"o/m:{commit}@production").promote(FACTS)
    assert len(hub.commits) == count


@pytest.mark.parametrize("what", ["rights", "revision", "race"])
def test_what_the_hub_refuses_is_said_and_nothing_moves(hub, what, monkeypatch):
    hub.commit("production", {"a": b"1"})
    hub.commit("main", {"a": b"2"})
    heads = dict(hub.branches)
    hub.may_write = what != "rights"
    target = HubBranch("o/m", "production", "gone" if what == "revision" else "main")
    if what == "race":
        original = hub.answer

        def answer(method, path, body):
            if "/commit/" in path:
                heads["production"] = hub.commit("production", {"a": b"3"})
            return original(method, path, body)

        monkeypatch.setattr(hub, "answer", answer)
    with pytest.raises(EndpointError, match="check HF_TOKEN"):
        target.promote(FACTS)
    assert hub.branches == heads


@pytest.fixture(params=["file", "sqlite"])
def registry(request, tmp_path, monkeypatch):
    """A registry with two versions of a model; the first is the champion."""
    mlflow = pytest.importorskip("mlflow")
    if request.param == "sqlite":
        pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file://{tmp_path}/store" if request.param == "file" else f"sqlite:///{tmp_path}/registry.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = mlflow.MlflowClient()
    client.create_registered_model("chat")
    for version in ("1", "2"):
        client.create_model_version("chat", f"file://{tmp_path}/model-{version}")
    client.set_registered_model_alias("chat", "champion", "1")
    return client


def champion(client):
    return str(client.get_model_version_by_alias("chat", "champion").version)


def test_the_alias_moves_and_the_version_is_tagged(registry):
    said = MLflowAlias.parse("chat/2@champion").promote(FACTS)
    assert champion(registry) == "2"
    assert said == "alias champion of chat is version 2; it was version 1"
    tags = registry.get_model_version("chat", "2").tags
    assert (tags["assay.decision"], tags["assay.candidate"]) == ("pass", "new")


def test_a_missing_version_leaves_the_alias(registry):
    with pytest.raises(EndpointError, match=r"version 3 of the registered model chat"):
        MLflowAlias.parse("chat/3@champion").promote(FACTS)
    assert champion(registry) == "1"


@pytest.mark.parametrize("verdict", ["fail", "undecided", "invalid"])
def test_only_pass_promotes(hub, verdict):
    commit = hub.commit("main", {"a": b"1"})
    (found,) = promote_all(promotions(["hub:o/m@production"]), Decision(verdict, "", ()))
    assert (found.done, found.message) == (False, f"not promoted: the decision is {verdict}")
    assert hub.branches == {"main": commit}


@pytest.fixture
def gate(tmp_path, capsys):
    shares = [(i % 5) / 4 for i in range(60)]
    write_run(tmp_path / "old", "old", alpaca_eval=shares)
    write_run(tmp_path / "better", "better", alpaca_eval=[min(1.0, s + 0.3) for s in shares])
    write_run(tmp_path / "worse", "worse", alpaca_eval=[max(0.0, s - 0.3) for s in shares])
    (tmp_path / "gate.yaml").write_text(POLICY)

    def run(candidate, *targets, as_json=True):
        on_pass = [part for target in targets for part in ("--on-pass", target)]
        sides = ["--candidate", str(tmp_path / candidate), "--baseline", str(tmp_path / "old")]
        shown = ["--json"] if as_json else []
        status = main(["gate", *sides, "--policy", str(tmp_path / "gate.yaml"), *on_pass, *shown])
        out, err = capsys.readouterr()
        return status, json.loads(out) if as_json and out else out, err

    return run


def test_the_command_promotes_on_pass_and_says_so(gate, hub):
    commit = hub.commit("main", {"a": b"1"})
    status, found, _ = gate("worse", "hub:o/m@production")
    assert (status, found["decision"]) == (1, "fail")
    assert found["promotions"][0]["done"] is False
    assert "production" not in hub.branches
    status, found, _ = gate("better", "hub:o/m@production")
    assert status == 0
    assert found["promotions"] == [
        {
            "target": "hub:o/m@production",
            "done": True,
            "message": f"branch production was created at commit {commit[:12]} of o/m",
        }
    ]
    _, out, _ = gate("better", "hub:o/m@production", as_json=False)
    assert "already has the files" in " ".join(out.split())
    assert "promotions" not in gate("better")[1]


def test_a_promotion_that_fails_is_status_4_and_does_not_stop_the_others(gate, hub):
    hub.commit("main", {"a": b"1"})
    status, found, _ = gate("better", "hub:o/m:gone@production", "hub:o/m@staging")
    assert (status, found["decision"]) == (4, "pass")
    assert [one["done"] for one in found["promotions"]] == [False, True]
    assert "staging" in hub.branches


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("s3:bucket", "mlflow:MODEL/VERSION@ALIAS or hub:"),
        ("mlflow:chat@champion", "mlflow:chat-model/12@champion"),
        ("mlflow:chat/latest@champion", "mlflow:chat-model/12@champion"),
        ("hub:model@production", "hub:me/chat-model@production"),
        ("hub:o/m@main", "a branch other than the revision"),
    ],
)
def test_a_wrong_target_is_refused_before_anything_is_compared(gate, monkeypatch, target, words):
    monkeypatch.setattr("harness.gate.decide.decide", lambda *_: pytest.fail("compared"))
    monkeypatch.setitem(sys.modules, "mlflow", object())
    status, _, err = gate("better", target)
    assert status == 2
    assert words in err
    with pytest.raises(UsageError):
        promotions([target])


def test_a_missing_package_is_named_before_anything_is_compared(gate, monkeypatch):
    monkeypatch.setattr("harness.gate.decide.decide", lambda *_: pytest.fail("compared"))
    monkeypatch.setitem(sys.modules, "mlflow", None)
    status, _, err = gate("better", "mlflow:chat/2@champion")
    assert status == 2  # 1 would mean that the checkpoint failed
    assert "assay[mlflow]" in err
