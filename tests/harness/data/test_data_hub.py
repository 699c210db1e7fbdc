"""Hub files, through the real huggingface_hub, from a local server that stands for the hub."""

import hashlib
from pathlib import Path

import pytest

from harness.data import hub
from harness.data.store import DataStore
from harness.errors import ChecksumError, DataError, MissingDataError
from tests.support.upstream import hub_commit, hub_file, serving

CONTENT = b"index,difficulty\n0,1.5\n"
FILE = hub_file("made_up/difficulty")
ASKED = "/datasets/someone/something/resolve/main/difficulty.csv"


@pytest.fixture
def upstream(monkeypatch, tmp_path):
    from huggingface_hub import constants

    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with serving() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        server.files[ASKED] = CONTENT
        yield server


def make_store(tmp_path, *, offline=False):
    return DataStore(None, tmp_path / "cache", offline, {FILE.name: FILE})


def test_a_hub_file_is_fetched_into_the_hubs_cache_and_its_checksum_recorded(upstream, tmp_path):
    store = make_store(tmp_path)
    path = store.path(FILE.name)
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "hub")
    assert hub_commit(CONTENT) in path.parts
    assert store.used() == {FILE.name: hashlib.sha256(CONTENT).hexdigest()}
    assert [check.state for check in store.verify()] == ["unpinned"]


def test_the_hub_is_asked_once_a_run(upstream, tmp_path):
    store = make_store(tmp_path)
    store.path(FILE.name)
    n_requests = len(upstream.requests)
    store.path(FILE.name)
    assert len(upstream.requests) == n_requests


def test_offline_the_copy_in_the_cache_is_used(upstream, tmp_path):
    make_store(tmp_path).path(FILE.name)
    upstream.requests.clear()
    store = make_store(tmp_path, offline=True)
    assert store.path(FILE.name).read_bytes() == CONTENT
    assert store.used() == {FILE.name: hashlib.sha256(CONTENT).hexdigest()}
    assert upstream.requests == []


def test_offline_without_a_copy_is_an_error_that_says_so(upstream, tmp_path):
    store = make_store(tmp_path, offline=True)
    with pytest.raises(MissingDataError, match="HF_HUB_OFFLINE is set") as caught:
        store.path(FILE.name)
    assert "ASSAY_DATA" in str(caught.value)
    assert [check.state for check in store.verify()] == ["missing"]
    assert [check.state for check in store.pull()] == ["missing"]
    assert upstream.requests == []


def test_a_hub_that_cannot_be_reached(upstream, tmp_path, monkeypatch):
    from huggingface_hub import constants

    with serving() as gone:
        url = gone.url
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # huggingface_hub waits between its attempts
    with pytest.raises(MissingDataError, match="cannot be reached") as caught:
        make_store(tmp_path).path(FILE.name)
    assert "ASSAY_DATA" in str(caught.value)


def test_a_hub_that_cannot_be_reached_does_no_harm_where_there_is_a_copy(upstream, tmp_path, monkeypatch):
    from huggingface_hub import constants

    make_store(tmp_path).path(FILE.name)
    with serving() as gone:
        url = gone.url
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    assert make_store(tmp_path).path(FILE.name).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 401, 403])
def test_what_the_hub_does_not_give_out(upstream, tmp_path, status):
    upstream.statuses[ASKED] = status
    with pytest.raises(MissingDataError, match=r"difficulty\.csv"):
        make_store(tmp_path).path(FILE.name)


def test_a_hub_download_that_breaks_off_can_be_repeated(upstream, tmp_path, monkeypatch):
    upstream.cut_off.add(ASKED)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # huggingface_hub waits between its attempts
    with pytest.raises(MissingDataError, match="was interrupted"):
        make_store(tmp_path).path(FILE.name)
    assert [check.state for check in make_store(tmp_path).verify()] == ["missing"]
    upstream.cut_off.clear()
    assert make_store(tmp_path).path(FILE.name).read_bytes() == CONTENT


def test_a_changed_copy_in_the_hubs_cache_is_refused_until_it_is_pulled_again(upstream, tmp_path):
    path = make_store(tmp_path).path(FILE.name)
    Path(path).resolve().write_bytes(CONTENT[:-2])
    with pytest.raises(ChecksumError, match=f"assay data pull {FILE.name}"):
        make_store(tmp_path, offline=True).path(FILE.name)
    assert [check.state for check in make_store(tmp_path).pull()] == ["unpinned"]
    assert make_store(tmp_path).path(FILE.name).read_bytes() == CONTENT


def test_a_newer_file_on_the_hub_is_fetched_by_the_next_run(upstream, tmp_path):
    first = make_store(tmp_path)
    first.path(FILE.name)
    upstream.files[ASKED] = b"index,difficulty\n0,1.6\n"
    assert first.path(FILE.name).read_bytes() == CONTENT
    second = make_store(tmp_path)
    second.path(FILE.name)
    assert second.used() != first.used()


def test_the_pin_of_a_cached_file_is_the_name_of_its_content(tmp_path):
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for name, kind in [("a" * 64, "sha256"), ("b" * 40, "git_blob"), ("c" * 32, None), ("x" * 64, None)]:
        (blobs / name).write_bytes(b"")
        (tmp_path / f"link-{name}").symlink_to(blobs / name)
        pin = hub.cached_pin(tmp_path / f"link-{name}")
        assert (pin.kind if pin else None) == kind
    (tmp_path / ("d" * 64)).write_bytes(b"")
    assert hub.cached_pin(tmp_path / ("d" * 64)) is None


def test_a_hub_cache_that_cannot_be_written(upstream, tmp_path):
    (tmp_path / "hub").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        make_store(tmp_path).path(FILE.name)
