"""The store over a mirror: verified on every read, and no network."""

import errno
import hashlib
import shutil
import socket

import pytest

from harness.data.catalog import CATALOG, find
from harness.data.checksum import git_blob_id, read_sums
from harness.data.store import DataStore
from harness.errors import ChecksumError, DataError, FileFormatError, MissingDataError, UnknownNameError
from tests.paths import MIRROR, needs_data
from tests.support.upstream import github_file, hub_file, write_mirror

PINNED = github_file("made_up/questions", b"what?\n")
BLOB = github_file("made_up/answers", git_blob="b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0")  # git hash-object: "hello"
HUB = hub_file("made_up/weights")
CONTENTS = {PINNED: b"what?\n", BLOB: b"hello", HUB: b"a,b\n1,2\n"}
MADE_UP = {file.name: file for file in CONTENTS}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def mirror(tmp_path):
    return write_mirror(tmp_path / "mirror", CONTENTS)


@pytest.fixture
def store(mirror, tmp_path):
    return DataStore(mirror, tmp_path / "cache", False, MADE_UP)


def test_files_come_from_the_mirror_and_are_recorded(store, mirror, tmp_path):
    for name, file in MADE_UP.items():
        assert store.path(name) == mirror / file.mirror_path
    assert store.used() == {f.name: hashlib.sha256(c).hexdigest() for f, c in CONTENTS.items()}
    assert list(store.used()) == sorted(MADE_UP)
    assert not (tmp_path / "cache").exists()


def test_only_what_was_handed_out_is_recorded(store):
    store.verify()
    assert store.used() == {}


@needs_data
def test_every_catalogue_file_of_the_real_mirror_verifies(tmp_path):
    store = DataStore(MIRROR, tmp_path, False)
    sums = read_sums(MIRROR / "SHA256SUMS")
    present = [file.name for file in CATALOG.values() if (MIRROR / file.mirror_path).exists()]
    assert len(present) == len(sums) == 17
    for name in present:
        store.path(name)
    assert store.used() == {name: sums[find(name).mirror_path] for name in sorted(present)}
    states = {check.name: check.state for check in store.verify()}
    assert {name for name, state in states.items() if state == "ok"} == set(present)
    assert {states[name] for name in CATALOG if name not in present} <= {"missing"}


@needs_data
@pytest.mark.parametrize("name", ["mt_bench/judge_prompts", "alpaca_eval/instruction_difficulty"])
def test_one_changed_byte_in_a_real_file_is_refused(tmp_path, name):
    path = tmp_path / "mirror" / find(name).mirror_path
    path.parent.mkdir(parents=True)
    (tmp_path / "mirror" / "github").mkdir(exist_ok=True)
    content = bytearray((MIRROR / find(name).mirror_path).read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    shutil.copyfile(MIRROR / "SHA256SUMS", tmp_path / "mirror" / "SHA256SUMS")
    store = DataStore(tmp_path / "mirror", tmp_path / "cache", False)
    with pytest.raises(ChecksumError, match=name):
        store.path(name)
    assert store.used() == {}


def test_a_tampered_file_names_both_checksums_the_path_and_the_remedy(store, mirror):
    path = mirror / PINNED.mirror_path
    path.write_bytes(b"What?\n")
    with pytest.raises(ChecksumError) as caught:
        store.path(PINNED.name)
    message = str(caught.value)
    assert hashlib.sha256(b"What?\n").hexdigest() in message
    assert PINNED.sha256 in message
    assert str(path) in message
    assert PINNED.url in message


def test_a_file_pinned_by_its_git_blob_is_checked_by_it(store, mirror):
    assert git_blob_id(store.path(BLOB.name)) == BLOB.git_blob
    (mirror / BLOB.mirror_path).write_bytes(b"hullo")
    with pytest.raises(ChecksumError, match=f"git blob {BLOB.git_blob}"):
        store.path(BLOB.name)


def test_a_file_is_checked_each_time_it_is_handed_out(store, mirror):
    store.path(PINNED.name)
    (mirror / PINNED.mirror_path).write_bytes(b"Which?\n")
    with pytest.raises(ChecksumError):
        store.path(PINNED.name)


def test_an_unpinned_file_may_not_change_while_it_is_in_use(store, mirror):
    store.path(HUB.name)
    (mirror / HUB.mirror_path).write_bytes(b"a,b\n1,3\n")
    with pytest.raises(ChecksumError, match="changed while it was in use"):
        store.path(HUB.name)
    assert store.used() == {HUB.name: hashlib.sha256(b"a,b\n1,2\n").hexdigest()}


def test_the_mirrors_own_list_pins_what_the_catalogue_does_not(mirror, tmp_path):
    sums = mirror / "SHA256SUMS"
    sums.write_text(f"{hashlib.sha256(CONTENTS[HUB]).hexdigest()}  ./{HUB.mirror_path}\n")
    store = DataStore(mirror, tmp_path, False, MADE_UP)
    store.path(HUB.name)
    assert [check.state for check in store.verify([HUB.name])] == ["ok"]
    (mirror / HUB.mirror_path).write_bytes(b"a,b\n1,3\n")
    with pytest.raises(ChecksumError, match=r"correct .*SHA256SUMS"):
        DataStore(mirror, tmp_path, False, MADE_UP).path(HUB.name)


def test_the_mirrors_own_list_does_not_overrule_the_catalogue(mirror, tmp_path):
    (mirror / PINNED.mirror_path).write_bytes(b"forged")
    (mirror / "SHA256SUMS").write_text(f"{hashlib.sha256(b'forged').hexdigest()}  {PINNED.mirror_path}\n")
    with pytest.raises(ChecksumError):
        DataStore(mirror, tmp_path, False, MADE_UP).path(PINNED.name)


def test_a_malformed_list_is_named_with_its_line(mirror, tmp_path):
    (mirror / "SHA256SUMS").write_text(f"{'0' * 64}  a\nnonsense\n")
    with pytest.raises(FileFormatError, match="SHA256SUMS, line 2"):
        DataStore(mirror, tmp_path, False)


@pytest.mark.parametrize("file", [PINNED, HUB], ids=["github", "hub"])
def test_a_file_the_mirror_lacks_is_named_with_path_and_url(store, mirror, file):
    path = mirror / file.mirror_path
    path.unlink()
    with pytest.raises(MissingDataError) as caught:
        store.path(file.name)
    assert str(path) in str(caught.value)
    assert file.url in str(caught.value)
    assert [check.state for check in store.pull([file.name])] == ["missing"]


def test_a_directory_or_a_dangling_link_in_place_of_a_file_is_missing(store, mirror):
    path = mirror / PINNED.mirror_path
    path.unlink()
    path.mkdir()
    with pytest.raises(MissingDataError):
        store.path(PINNED.name)
    path.rmdir()
    path.symlink_to(mirror / "nowhere")
    with pytest.raises(MissingDataError):
        store.path(PINNED.name)


def test_a_file_that_cannot_be_read_is_bad(store, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("harness.data.checksum.file_sha256", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        store.path(PINNED.name)
    assert [check.state for check in store.verify([PINNED.name])] == ["bad"]


def test_an_unknown_name(store):
    with pytest.raises(UnknownNameError, match="did you mean made_up/questions"):
        store.path("made_up/question")


def test_a_directory_that_is_no_mirror_is_refused_at_once(tmp_path):
    with pytest.raises(MissingDataError, match="does not exist"):
        DataStore(tmp_path / "none", tmp_path, False)
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingDataError, match="is a file"):
        DataStore(tmp_path / "file", tmp_path, False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError, match="neither github/ nor huggingface/"):
        DataStore(tmp_path / "empty", tmp_path, False)
    (tmp_path / "empty" / "mirror" / "huggingface").mkdir(parents=True)
    with pytest.raises(MissingDataError, match=r"did you mean .*empty/mirror"):
        DataStore(tmp_path / "empty", tmp_path, False)


def test_verify_says_how_it_stands_with_every_file(store, mirror):
    (mirror / PINNED.mirror_path).write_bytes(b"forged")
    (mirror / BLOB.mirror_path).unlink()
    checks = {check.name: check for check in store.verify()}
    assert {name: check.state for name, check in checks.items()} == {
        PINNED.name: "bad",
        BLOB.name: "missing",
        HUB.name: "unpinned",
    }
    assert PINNED.sha256 in checks[PINNED.name].message
    assert [check.usable for check in checks.values()] == [False, False, True]
    assert checks[PINNED.name].sha256 is None
    assert checks[HUB.name].sha256 == hashlib.sha256(CONTENTS[HUB]).hexdigest()


def test_an_exported_mirror_serves_the_same_files(store, tmp_path):
    target = tmp_path / "copy"
    assert all(check.usable for check in store.export([], target))
    copy = DataStore(target, tmp_path / "cache", True, MADE_UP)
    assert [check.state for check in copy.verify()] == ["ok", "ok", "ok"]
    assert {name: copy.path(name).read_bytes() for name in MADE_UP} == {f.name: c for f, c in CONTENTS.items()}
    assert not list(target.rglob("tmp*"))


def test_exporting_adds_to_a_mirror_and_leaves_bad_files_out(store, mirror, tmp_path):
    target = tmp_path / "copy"
    store.export([PINNED.name], target)
    (mirror / BLOB.mirror_path).write_bytes(b"hullo")
    states = [check.state for check in store.export([BLOB.name, HUB.name], target)]
    assert states == ["bad", "unpinned"]
    assert set(read_sums(target / "SHA256SUMS")) == {PINNED.mirror_path, HUB.mirror_path}
    assert not (target / BLOB.mirror_path).exists()


def test_exporting_to_a_full_disk_leaves_no_half_file(store, tmp_path, monkeypatch):
    def full(source, target):
        target.write(b"wh")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(DataError, match="No space left"):
        store.export([PINNED.name], tmp_path / "copy")
    assert [path for path in (tmp_path / "copy").rglob("*") if path.is_file()] == []


def test_exporting_to_where_nothing_can_be_written(store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        store.export([PINNED.name], tmp_path / "file")
