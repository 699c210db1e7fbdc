"""The structure: every module on a floor, no import hidden in a string, no crowded file name, no tangled function."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import house

MAY_IMPORT_BY_NAME = {
    "harness/registry.py",
    "harness/cli.py",
    "benchmarks/sandbox/inside/server.py",  # outside the package: modules of the standard library, before the program
}
AT_MOST_CODE_LINES = 45_000
AT_MOST_ABOVE_10 = 60
MOST_COMPLEX = 14


def test_every_module_is_on_a_floor():
    floors = [room for floor in house.floors() for room in floor]
    names = {house.module_name(path) for path in house.files()} - {"harness"}
    assert [name for name in sorted(names) if not any(f"{name}.".startswith(f"{room}.") for room in floors)] == []


def test_no_import_hides_in_a_string():
    assert [place for place in house.strings_that_import() if place[0] not in MAY_IMPORT_BY_NAME] == []


def test_no_file_name_serves_more_than_three_files():
    assert {name: paths for name, paths in house.shared_names().items() if len(paths) > 3} == {}


def test_functions_are_simple():
    found = dict(house.complexities())
    assert {place: complexity for place, complexity in found.items() if complexity > MOST_COMPLEX} == {}
    assert sum(complexity > 10 for complexity in found.values()) <= AT_MOST_ABOVE_10


def test_the_packages_stay_within_their_size():
    assert sum(house.code_lines(path) for path in house.files()) <= AT_MOST_CODE_LINES


@pytest.mark.slow
def test_an_import_upwards_breaks_the_contract(tmp_path):
    for name in (*house.PACKAGES, "pyproject.toml"):
        source = house.ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    module = tmp_path / "harness" / "gate" / "policy.py"
    module.write_text(
        module.read_text() + "\n\ndef upwards() -> object:\n    import reports.page\n\n    return reports.page\n"
    )
    done = subprocess.run(  # noqa: PLW1510 - it is meant to fail
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "harness.gate.policy -> reports.page" in done.stdout
