"""Read constants from a Python source file without running it.

Arena-Hard v2.0 keeps its judge prompts in a Python module. The file is parsed, not imported: a module that holds
anything but constants is refused as a whole, because the value read might then differ from the value at run time.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import FileFormatError, MissingDataError, nearest

MAX_BYTES = 1 << 20  # the expected files are a few kilobytes; parsing megabytes can exhaust memory


def read_constant(path: Path, name: str) -> Any:
    """Read a module-level constant of a Python source file without running the file.

    The module may hold docstrings and assignments ``NAME = VALUE``, a value being a literal (string, number, bytes,
    bool, None; tuple, list, set or dict of values) or the name of a constant assigned above it. As in Python, the
    last assignment to a name counts.

    Parameters
    ----------
    path : Path
        The source file, at most 1 MiB.
    name : str
        The constant.

    Returns
    -------
    any
        Its value.

    Raises
    ------
    MissingDataError
        There is no such file, or it cannot be read.
    FileFormatError
        It is not Python, holds something other than constants, or has no constant of that name.
    """
    constants: dict[str, Any] = {}
    for statement in _parse(path).body:
        target, value = _assignment(path, statement)
        if target:
            constants[target] = _evaluate(path, value, constants)
    if name not in constants:
        close = nearest(name, constants)
        raise FileFormatError(
            path,
            None,
            f"has no constant {name!r}",
            f"one of {', '.join(sorted(constants)) or 'none at all'}",
            f"did you mean {close}?" if close else "",
        )
    return constants[name]


def _parse(path: Path) -> ast.Module:
    try:
        with path.open("rb") as stream:
            source = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise MissingDataError(f"no such file: {path}", remedy="check the path") from None
    except OSError as error:
        raise MissingDataError(f"cannot read {path}: {error.strerror or error}") from error
    if len(source) > MAX_BYTES:
        raise FileFormatError(path, None, f"is larger than {MAX_BYTES} bytes", "a small file of constants")
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise FileFormatError(path, error.lineno, f"is not Python ({error.msg})", "Python source") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise FileFormatError(path, None, f"cannot be parsed as Python ({error})", "Python source") from error


def _assignment(path: Path, statement: ast.stmt) -> tuple[str, ast.expr]:
    """Split ``NAME = VALUE``; the name is "" for a docstring or another bare literal."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=target)], value=value):
            return target, value
        case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
            return target, value
        case ast.Expr(value=ast.Constant() as value):
            return "", value
    raise _refused(path, statement)


class _Names(ast.NodeTransformer):
    """Replaces the names of earlier constants by their values."""

    def __init__(self, path: Path, constants: Mapping[str, Any]) -> None:
        self._path = path
        self._constants = constants

    def visit_Name(self, node: ast.Name) -> ast.Constant:
        if node.id not in self._constants:
            raise FileFormatError(self._path, node.lineno, f"{node.id!r} is not a constant defined above", "a constant")
        return ast.copy_location(ast.Constant(self._constants[node.id]), node)


def _evaluate(path: Path, node: ast.expr, constants: Mapping[str, Any]) -> Any:
    literal = _Names(path, constants).visit(node)
    try:
        return ast.literal_eval(literal)
    except (ValueError, TypeError, RecursionError) as error:
        raise _refused(path, node) from error


def _refused(path: Path, node: ast.stmt | ast.expr) -> FileFormatError:
    return FileFormatError(
        path,
        node.lineno,
        f"holds something other than a constant: {ast.unparse(node)[:60]!r}",
        "only assignments of literals",
        "use a file that holds only constants",
    )
