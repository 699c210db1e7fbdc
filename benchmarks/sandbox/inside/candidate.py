"""The process that runs the program, then answers the checker's calls into it.

Once the program has started, nothing in this process is trusted: the program can change every object in it. All it
gains is the choice of its answers.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable
from typing import Any

from . import wire


class _Objects:
    """Objects that the checker refers to by number."""

    def __init__(self) -> None:
        self.known: list[object] = []

    def refer(self, value: object) -> int:
        self.known.append(value)
        return len(self.known) - 1

    def deref(self, number: int) -> object:
        return self.known[number]


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda target, arguments, keywords: target(*arguments, **keywords),
    "attribute": getattr,
    "set": setattr,
    "iterate": iter,
    "next": next,
    "length": len,
    "item": lambda target, key: target[key],
    "truth": bool,
    "text": str,
    "representation": repr,
}


def run(source: str, requests: int, answers: int) -> None:
    """Execute a program, then serve requests until the checker closes.

    Parameters
    ----------
    source : str
        The program.
    requests, answers : int
        File descriptors to read from and write to.
    """
    objects = _Objects()
    namespace: dict[str, Any] = {}

    def answer(make: Callable[[], Any]) -> None:
        try:
            body = wire.encode(("value", make()), objects.refer)
        except BaseException as error:  # noqa: BLE001 - whatever the program raises is its answer
            body = _raised(error)
        _flush()
        wire.send(answers, body)

    answer(lambda: exec(compile(source, "<program>", "exec"), namespace))  # noqa: S102 - what all of this is for
    while (request := wire.receive(requests)) is not None:
        operation, *operands = wire.decode(request, objects.deref)
        if operation == "names":
            found = {name: namespace[name] for name in operands[0] if name in namespace}
            answer(lambda found=found: found)  # type: ignore[misc]
        else:
            answer(lambda operation=operation, operands=operands: _OPERATIONS[operation](*operands))  # type: ignore[misc]


def _raised(error: BaseException) -> bytes:
    kind = type(error)
    # By identity: the program may give a class of its own any name.
    kinds = tuple(each.__name__ for each in kind.__mro__ if vars(builtins).get(each.__name__) is each)
    try:
        text = str(error)[:2000]
        if kind is not StopIteration:
            sys.__excepthook__(kind, error, error.__traceback__)
    except BaseException:  # noqa: BLE001 - an exception may be of the program's making
        text = ""
    return wire.encode(("raise", kinds, kind.__name__, text), wire.no_objects)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001 - the program may have closed or replaced it
            os.write(2, b"")
