"""Measures of the structure: floors, names, sizes, complexity. ``python tests/house.py`` prints them."""

from __future__ import annotations

import ast
import io
import tokenize
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("harness", "benchmarks", "judges", "training", "reports")
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def files() -> list[Path]:
    """Every Python file of the packages."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floors() -> list[list[str]]:
    """The layers of the import contract, top first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    return [layer.replace("|", ":").replace(" ", "").split(":") for layer in layers]


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank lines, comments or docstrings."""
    text = path.read_text()
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        # A string that stands alone is documentation, of a module, a class, a function or an attribute.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def shared_names() -> dict[str, list[Path]]:
    """File names and where they stand, ``__init__.py`` aside."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in files():
        if path.name != "__init__.py":
            found[path.name].append(path.relative_to(ROOT))
    return found


def strings_that_import() -> Iterator[tuple[str, int]]:
    """Calls of ``import_module`` and ``__import__``, but for those that name another package by a literal."""
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in ("import_module", "__import__") and not _names_another_package(node):
                    yield str(path.relative_to(ROOT)), node.lineno


def _names_another_package(call: ast.Call) -> bool:
    given = call.args[0] if call.args else None
    is_literal = isinstance(given, ast.Constant) and isinstance(given.value, str)
    return is_literal and given.value.partition(".")[0] not in PACKAGES


def complexities() -> Iterator[tuple[str, int]]:
    """Cyclomatic complexity (radon) of every function and method, by where it stands."""
    from radon.complexity import cc_visit
    from radon.visitors import Function

    for path in files():
        for block in cc_visit(path.read_text()):
            if isinstance(block, Function):
                yield f"{path.relative_to(ROOT)}:{block.lineno} {block.fullname}", block.complexity


def main() -> None:
    """Print the measures."""
    sizes: Counter[str] = Counter()
    for path in files():
        sizes[path.relative_to(ROOT).parts[0]] += code_lines(path)
    print("code lines", sum(sizes.values()), dict(sizes))  # noqa: T201
    found = [complexity for _, complexity in complexities()]
    print(f"complexity: {sum(c > 14 for c in found)} above 14, {sum(c > 10 for c in found)} above 10")  # noqa: T201
    crowded = {name: len(paths) for name, paths in shared_names().items() if len(paths) > 1}
    print("shared file names", crowded)  # noqa: T201


if __name__ == "__main__":
    main()
