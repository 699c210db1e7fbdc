"""What the checker holds of the program: objects it can call and look at, but whose code runs elsewhere."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from typing import Any, TypeVar

from . import wire

_Kind = TypeVar("_Kind")

__all__ = ["Connection", "ProgramError", "ProgramGoneError", "Remote", "TestNotSupportedError"]


class ProgramError(Exception):
    """The program raised something that is no built-in exception."""


class ProgramGoneError(BaseException):
    """The program's process ended, or answered with what is no answer; no test may catch this."""


class TestNotSupportedError(BaseException):
    """The test hands the program something that cannot cross; its fault, not the program's."""

    __test__ = False


class Remote:
    """An object of the program's process.

    Equality is identity: what an object of the program's own making thinks itself equal to is no evidence.
    """

    __slots__ = ("_connection", "_number")
    _connection: Connection
    _number: int

    def __init__(self, connection: Connection, number: int) -> None:
        object.__setattr__(self, "_connection", connection)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: object, **keywords: object) -> Any:
        """Call the object in the program's process."""
        return self._connection.ask("call", self, arguments, keywords)

    def __getattr__(self, name: str) -> Any:
        return self._connection.ask("attribute", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._connection.ask("set", self, name, value)

    def __iter__(self) -> Iterator[Any]:
        iterator: Iterator[Any] = self._connection.ask("iterate", self)
        return iterator

    def __next__(self) -> Any:
        return self._connection.ask("next", self)

    def __getitem__(self, key: object) -> Any:
        return self._connection.ask("item", self, key)

    def __len__(self) -> int:
        return _of_type(int, self._connection.ask("length", self))

    def __bool__(self) -> bool:
        return _of_type(bool, self._connection.ask("truth", self))

    def __str__(self) -> str:
        return _of_type(str, self._connection.ask("text", self))

    def __repr__(self) -> str:
        return _of_type(str, self._connection.ask("representation", self))


def _of_type(kind: type[_Kind], value: object) -> _Kind:
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} wanted, not {type(value).__name__}")
    return value


class Connection:
    """The checker's end of the two pipes.

    Parameters
    ----------
    requests, answers : int
        File descriptors to write to and read from.
    """

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = requests
        self._answers = answers

    def let_go(self) -> None:
        """Tell the program's process, which has waited for it, to execute the program."""
        os.write(self._requests, b"+")

    def ask(self, operation: str, *operands: object) -> Any:
        """Have the program's process do something, and give its value or raise its exception.

        Raises
        ------
        ProgramGoneError
            No answer, or none that can be read.
        TestNotSupportedError
            An operand can neither cross nor is of the program's side.
        """
        try:
            wire.send(self._requests, wire.encode((operation, *operands), self._refer))
        except wire.CannotCross as error:
            raise TestNotSupportedError(f"the test gives the program a value that cannot be sent: {error}") from error
        except OSError as error:
            raise ProgramGoneError("the program ended before its test did") from error
        return self.answer()

    def answer(self) -> Any:
        """Read one answer."""
        try:
            body = wire.receive(self._answers)
            if body is None:
                raise ProgramGoneError("the program ended before its test did")
            kind, *content = wire.decode(body, self._deref)
            if kind == "value" and len(content) == 1:
                return content[0]
            names, name, text = content
        except (wire.WireError, ValueError, TypeError, RecursionError, MemoryError) as error:
            raise ProgramGoneError(f"the program's process sent no readable answer ({error})") from error
        raise _exception(names, name, text)

    def _refer(self, value: object) -> int:
        if type(value) is Remote:
            return value._number
        return wire.no_objects(value)

    def _deref(self, number: int) -> Remote:
        return Remote(self, number)


def _exception(names: object, name: object, text: object) -> BaseException:
    known = (
        [getattr(builtins, each, None) for each in names if isinstance(each, str)] if isinstance(names, tuple) else []
    )
    for kind in known:
        if isinstance(kind, type) and issubclass(kind, Exception):
            # Only an exception of exactly that name keeps it; one of the program's own shows what it is as well.
            message = str(text) if kind.__name__ == name else f"{name}: {text}"
            try:
                return kind(message)
            except TypeError:  # a few, as UnicodeDecodeError, want more than a message
                continue
    return ProgramError(f"{name}: {text}")
