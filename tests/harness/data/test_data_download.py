"""Fetching through pooch, from a local server that stands for GitHub."""

import errno
import hashlib
import multiprocessing
import stat
import threading

import pytest

from harness.data import catalog, download
from harness.data.store import DataStore
from harness.errors import AssayError, ChecksumError, DataError, MissingDataError, StorageFullError
from tests.support.upstream import github_file, serving

CONTENT = b'{"question": "what?"}\n' * 5000
FILE = github_file("made_up/questions", CONTENT)
BLOB = github_file("made_up/answers", git_blob="b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0")  # of b"hello"


@pytest.fixture
def upstream(monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with serving() as server:
        monkeypatch.setattr(catalog, "GITHUB_RAW", server.url)
        yield server


def make_store(cache, *files):
    return DataStore(None, cache, False, {file.name: file for file in files or (FILE,)})


def test_a_file_is_fetched_once_and_kept_as_in_a_mirror(upstream, tmp_path):
    asked = upstream.put(FILE, CONTENT)
    store = make_store(tmp_path)
    path = store.path(FILE.name)
    assert path == tmp_path / "data" / FILE.mirror_path
    assert path.read_bytes() == CONTENT
    store.path(FILE.name)
    make_store(tmp_path).path(FILE.name)
    assert upstream.requests == [f"GET {asked}"]
    assert store.used() == {FILE.name: FILE.sha256}
    # The cache is itself a mirror.
    assert DataStore(tmp_path / "data", tmp_path / "none", True, {FILE.name: FILE}).path(FILE.name) == path


def test_a_fetched_file_can_be_read_by_others(upstream, tmp_path):
    upstream.put(FILE, CONTENT)
    assert stat.S_IMODE(make_store(tmp_path).path(FILE.name).stat().st_mode) == 0o644


def assert_nothing_kept(tmp_path):
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_download_that_is_another_file_is_deleted_and_refused(upstream, tmp_path):
    upstream.put(FILE, b"<html>Please log in</html>")
    with pytest.raises(ChecksumError, match="does not have the pinned checksum") as caught:
        make_store(tmp_path).path(FILE.name)
    assert FILE.sha256 in str(caught.value)
    assert hashlib.sha256(b"<html>Please log in</html>").hexdigest() in str(caught.value)
    assert_nothing_kept(tmp_path)


def test_a_git_blob_is_checked_before_the_file_is_kept(upstream, tmp_path):
    upstream.put(BLOB, b"hullo")
    with pytest.raises(ChecksumError, match=BLOB.git_blob):
        make_store(tmp_path, BLOB).path(BLOB.name)
    assert_nothing_kept(tmp_path)
    upstream.put(BLOB, b"hello")
    assert make_store(tmp_path, BLOB).path(BLOB.name).read_bytes() == b"hello"


def test_a_download_that_breaks_off_leaves_nothing_and_can_be_repeated(upstream, tmp_path):
    upstream.cut_off.add(upstream.put(FILE, CONTENT))
    with pytest.raises(MissingDataError, match=r"was interrupted|cannot be reached"):
        make_store(tmp_path).path(FILE.name)
    assert_nothing_kept(tmp_path)
    upstream.cut_off.clear()
    assert make_store(tmp_path).path(FILE.name).read_bytes() == CONTENT


def test_an_interrupted_download_leaves_nothing(upstream, tmp_path, monkeypatch):
    upstream.put(FILE, CONTENT)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pooch.core.hash_matches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_store(tmp_path).path(FILE.name)
    assert_nothing_kept(tmp_path)


@pytest.mark.parametrize(
    ("status", "advice"), [(404, "no longer has it"), (429, "wait"), (403, "wait"), (500, "try again later")]
)
def test_an_http_error_is_put_into_words(upstream, tmp_path, status, advice):
    upstream.statuses[upstream.put(FILE, CONTENT)] = status
    with pytest.raises(MissingDataError, match=f"HTTP status {status}") as caught:
        make_store(tmp_path).path(FILE.name)
    assert advice in str(caught.value)
    assert "ASSAY_DATA" in str(caught.value)


def test_no_network_is_an_error_with_the_mirror_advice(tmp_path, monkeypatch):
    with serving() as server:
        url = server.url
    monkeypatch.setattr(catalog, "GITHUB_RAW", url)
    with pytest.raises(MissingDataError, match=r"cannot be reached.*refused") as caught:
        make_store(tmp_path).path(FILE.name)
    assert "ASSAY_DATA" in str(caught.value)
    assert FILE.url in str(caught.value)


def test_a_silent_host_is_asked_once(tmp_path, monkeypatch):
    asked = []

    def unreachable(file, destination, *, progress):
        asked.append(file.name)
        raise download.HostUnreachableError(f"{file.name}: no answer")

    monkeypatch.setattr(download, "download", unreachable)
    checks = make_store(tmp_path, FILE, BLOB).pull()
    assert asked == [FILE.name]
    assert [check.state for check in checks] == ["missing", "missing"]
    assert "not tried" in checks[1].message


def test_a_bad_copy_is_refused_until_it_is_pulled_again(upstream, tmp_path):
    upstream.put(FILE, CONTENT)
    path = make_store(tmp_path).path(FILE.name)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ChecksumError, match=f"assay data pull {FILE.name}"):
        make_store(tmp_path).path(FILE.name)
    assert [check.state for check in make_store(tmp_path).verify()] == ["bad"]
    assert len(upstream.requests) == 1  # neither fetched anything
    assert [check.state for check in make_store(tmp_path).pull()] == ["ok"]
    assert path.read_bytes() == CONTENT


def test_a_bad_copy_that_cannot_be_deleted(upstream, tmp_path, monkeypatch):
    upstream.put(FILE, CONTENT)
    path = make_store(tmp_path).path(FILE.name)
    path.write_bytes(b"forged")

    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    (check,) = make_store(tmp_path).pull()
    assert not check.usable
    assert "Permission denied" in check.message


def test_pull_goes_on_after_a_fault_and_fetches_only_what_is_missing(upstream, tmp_path):
    upstream.put(FILE, b"forged")
    upstream.put(BLOB, b"hello")
    gone = github_file("made_up/gone", b"gone")
    store = make_store(tmp_path, FILE, gone, BLOB)
    checks = store.pull()
    assert [check.state for check in checks] == ["bad", "missing", "ok"]
    assert "404" in checks[1].message
    upstream.put(FILE, CONTENT)
    upstream.requests.clear()
    assert [check.state for check in store.pull([FILE.name, BLOB.name])] == ["ok", "ok"]
    assert len(upstream.requests) == 1


def test_verify_does_not_fetch(upstream, tmp_path):
    upstream.put(FILE, CONTENT)
    (check,) = make_store(tmp_path).verify()
    assert check.state == "missing"
    assert "assay data pull made_up/questions" in check.message
    assert upstream.requests == []


def _pull(cache, url, barrier, results):
    catalog.GITHUB_RAW = url
    barrier.wait(30)
    try:
        results.put([check.state for check in make_store(cache, FILE, BLOB).pull()])
    except AssayError as error:  # the parent must not wait for ever
        results.put([str(error)])


def test_processes_that_pull_at_once_all_end_with_good_files(upstream, tmp_path):
    upstream.put(FILE, CONTENT)
    upstream.put(BLOB, b"hello")
    upstream.gate = threading.Event()
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    pullers = [context.Process(target=_pull, args=(tmp_path, upstream.url, barrier, results)) for _ in range(3)]
    for puller in pullers:
        puller.start()
    barrier.wait(30)
    threading.Timer(0.3, upstream.gate.set).start()  # all three are then in the middle of the same file
    assert [results.get(timeout=60) for _ in pullers] == [["ok", "ok"]] * 3
    for puller in pullers:
        puller.join()
    assert make_store(tmp_path).path(FILE.name).read_bytes() == CONTENT
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files) == ["answers.jsonl", "questions.jsonl"]


def test_a_cache_that_cannot_be_written(upstream, tmp_path):
    upstream.put(FILE, CONTENT)
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(DataError, match="ASSAY_CACHE"):
        make_store(tmp_path).path(FILE.name)


def test_a_full_disk(upstream, tmp_path, monkeypatch):
    upstream.put(FILE, CONTENT)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pooch.core.shutil.move", full)
    with pytest.raises(StorageFullError, match="no room"):
        make_store(tmp_path).path(FILE.name)
    assert_nothing_kept(tmp_path)


def test_nothing_is_drawn_where_stderr_is_no_terminal(upstream, tmp_path, capfd):
    upstream.put(FILE, CONTENT)
    make_store(tmp_path).path(FILE.name)
    assert capfd.readouterr() == ("", "")


def test_a_progress_bar_is_drawn_on_stderr_where_it_is_a_terminal(upstream, tmp_path, capfd):
    upstream.put(FILE, CONTENT)
    download.download(FILE, tmp_path / "file", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "110k" in err
