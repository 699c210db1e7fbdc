"""Carry out a release as far as possible without publishing anything.

python scripts/release.py                # every check, then the packages in dist/, then what is left for a person
python scripts/release.py --build-only   # the packages, installed and imported outside the checkout
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("harness", "benchmarks", "judges", "training", "reports")
LEFT = """\
left for a person:
  1. read dist/ and CHANGELOG.md once more
  2. git tag -s v{version} && git push origin v{version}
  3. python -m twine upload dist/*
  4. open the next heading in CHANGELOG.md and raise the version in pyproject.toml
"""


class NotReadyError(Exception):
    """The checkout cannot be released."""


def version() -> str:
    """The version in pyproject.toml."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def check_tree() -> None:
    """Refuse uncommitted changes: the packages must be of a commit."""
    changed = run("git", "status", "--porcelain", capture=True)
    if changed:
        raise NotReadyError(f"the tree has uncommitted changes:\n{changed}\nCommit or stash them.")


def check_changelog(text: str, released: str) -> None:
    """Refuse a changelog whose first heading is not the version, or is still unreleased."""
    heading = next((line for line in text.splitlines() if line.startswith("## ")), "")
    if not re.fullmatch(rf"## {re.escape(released)} \(\d{{4}}-\d\d-\d\d\)", heading):
        found = heading or "no heading"
        raise NotReadyError(
            f"CHANGELOG.md begins with {found!r}; expected '## {released} (YYYY-MM-DD)': the version in pyproject.toml "
            "and the day of the release."
        )


def run(*command: str, capture: bool = False, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command; show it, and refuse to go further where it fails."""
    shown = " ".join((*command[: command.index("-c")], "-c", "...") if "-c" in command else command)
    print("$", shown, flush=True)  # noqa: T201
    stdout = subprocess.PIPE if capture else None
    done = subprocess.run(command, cwd=cwd or ROOT, env=env, text=True, stdout=stdout, check=False)
    if done.returncode:
        raise NotReadyError(f"`{shown}` failed with status {done.returncode}.")
    return (done.stdout or "").strip()


def build(dist: Path) -> list[Path]:
    """Build sdist and wheel from a copy of what git tracks, so that no local file gets in."""
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        for name in run("git", "ls-files", capture=True).splitlines():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        code = (
            "import sys; from setuptools import build_meta; out = sys.argv[1]; "  # setuptools replaces sys.argv
            "build_meta.build_sdist(out); build_meta.build_wheel(out)"
        )
        run(sys.executable, "-c", code, str(dist.resolve()), capture=True, cwd=source)
    return sorted(dist.iterdir())


def check_wheel(wheel: Path) -> None:
    """Install the wheel in a fresh environment, beside the packages of this one, and import every module from there."""
    held = zipfile.ZipFile(wheel).namelist()
    lacking = sorted(set(run("git", "ls-files", *PACKAGES, capture=True).splitlines()) - set(held))
    if lacking:
        raise NotReadyError(f"the wheel lacks {', '.join(lacking)}; see package-data in pyproject.toml")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "venv")
        venv.create(place, with_pip=True)
        python = str(place / "bin" / "python")
        bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel), env=bare)
        site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", capture=True)
        others = run(sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", capture=True)
        modules = sorted(
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for package in PACKAGES
            for path in (ROOT / package).rglob("*.py")
            if "inside" not in path.parts  # scripts of the sandbox, run outside the package
        )
        code = (
            "import importlib, sys\n"
            "for name in sys.argv[2:]:\n"
            "    module = importlib.import_module(name)\n"
            "    assert module.__file__.startswith(sys.argv[1]), f'{name} comes from {module.__file__}'\n"
        )
        environment = {**bare, "PYTHONPATH": os.pathsep.join([site, others]), "PYTHONSAFEPATH": "1"}
        run(python, "-c", code, site, *modules, cwd=Path(folder), env=environment, capture=True)
        run(python, "-m", "assay", "--version", cwd=Path(folder), env=environment)


def main(argv: list[str] | None = None) -> int:
    """Carry out the release."""
    parser = argparse.ArgumentParser(description="Carry out a release as far as possible without publishing.")
    parser.add_argument("--build-only", action="store_true", help="build and try the packages, and nothing else")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", metavar="DIR", help="where the packages go")
    arguments = parser.parse_args(argv)
    try:
        if not arguments.build_only:
            check_tree()
            check_changelog((ROOT / "CHANGELOG.md").read_text(), version())
            run("make", "lint")
            run("make", "test")
        built = build(arguments.dist)
        check_wheel(next(path for path in built if path.suffix == ".whl"))
    except NotReadyError as error:
        sys.stderr.write(f"not ready: {error}\n")
        return 1
    print("built and tried:", ", ".join(path.name for path in built))  # noqa: T201
    if not arguments.build_only:
        print(LEFT.format(version=version()))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
