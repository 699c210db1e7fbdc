"""What tests of every folder share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from harness import registry

InstallPlugin = Callable[..., None]


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstallPlugin]:
    """Install packages with entry points for the length of a test, as pip would leave them."""
    modules: list[str] = []

    def install(
        name: str, sources: Mapping[str, str], groups: Mapping[str, Mapping[str, str]], requires: str = ""
    ) -> None:
        folder = tmp_path / "site-packages" / name
        info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        for module, source in sources.items():
            (folder / f"{module}.py").write_text(source)
            modules.append(module)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
        (info / "METADATA").write_text("\n".join([*lines, *([f"Requires-Dist: {requires}"] if requires else []), ""]))
        (info / "entry_points.txt").write_text(
            "".join(
                f"[{group}]\n{''.join(f'{k} = {v}{chr(10)}' for k, v in points.items())}"
                for group, points in groups.items()
            )
        )
        monkeypatch.syspath_prepend(str(folder))
        registry.forget()

    yield install
    monkeypatch.undo()
    registry.forget()
    for module in modules:
        sys.modules.pop(module, None)
