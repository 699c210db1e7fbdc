"""What the repository says of itself: workflows run what exists, notes are listed, paths in the docs are there."""

from __future__ import annotations

import importlib.util
import re
import subprocess

import pytest
import yaml

from tests.house import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PAGES = sorted(
    {ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "tests" / "README.md", *(ROOT / "docs").rglob("*.md")}
)
FILE = re.compile(
    r"`((?:harness|benchmarks|judges|training|reports|tests|bench|scripts|docs)/[\w/.-]+\.(?:py|sh|yaml|md))`"
)


def targets():
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_what_exists(path):
    flow = yaml.safe_load(path.read_text())
    assert flow["permissions"] == {"contents": "read"}
    for job in flow["jobs"].values():
        assert job["timeout-minutes"]
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", step["uses"])
                continue
            words = step["run"].split()
            if words[0] == "make":
                assert {word for word in words[1:] if "=" not in word} <= targets()
            for word in words:
                if word.startswith(("scripts/", "tests/", "TESTS=")):
                    assert (ROOT / word.removeprefix("TESTS=")).exists(), word


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.name)
def test_issue_templates_are_forms(path):
    form = yaml.safe_load(path.read_text())
    if path.name == "config.yml":
        return
    assert {"name", "description", "body"} <= set(form)
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids))


def test_design_notes_are_listed():
    listed = set(re.findall(r"\((\d{3}-[\w-]+\.md)\)", (ROOT / "docs" / "design" / "README.md").read_text()))
    assert listed == {path.name for path in (ROOT / "docs" / "design").glob("0*.md")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_pages_name_exist(page):
    assert [name for name in FILE.findall(page.read_text()) if not (ROOT / name).exists()] == []


def test_make_targets_that_pages_name_exist():
    named = {target for page in PAGES for target in re.findall(r"`make ([\w-]+)", page.read_text())}
    assert named <= targets()


@pytest.fixture(scope="module")
def release():
    spec = importlib.util.spec_from_file_location("release", ROOT / "scripts" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "text", ["", "# Changelog\n\n## 0.1.9 (2026-01-01)\n", "## 0.2.0 (unreleased)\n", "## 0.2.0\n"]
)
def test_a_changelog_that_is_not_ready(release, text):
    with pytest.raises(release.NotReadyError, match=r"expected '## 0\.2\.0 \(YYYY-MM-DD\)'"):
        release.check_changelog(text, "0.2.0")


def test_a_changelog_that_is_ready(release):
    release.check_changelog("# Changelog\n\n## 0.2.0 (2026-12-01)\n\n- a line\n", "0.2.0")


def test_a_tree_with_changes_is_refused(release, tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "file").write_text("new")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    with pytest.raises(release.NotReadyError, match="uncommitted changes"):
        release.check_tree()


@pytest.mark.slow
def test_the_packages_are_whole(release, tmp_path):
    """Built, installed outside the checkout, every module imported from there."""
    assert release.main(["--build-only", "--dist", str(tmp_path / "dist")]) == 0
    assert {path.suffix for path in (tmp_path / "dist").iterdir()} == {".whl", ".gz"}
