"""The program's objects as the checker sees them: it can call and read them, but their code runs elsewhere."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from typing import Any, TypeVar

from . import wire

_Kind = TypeVar("_Kind")


class ProgramError(Exception):
    """The program raised an exception that is not built in."""


class ProgramGoneError(BaseException):
    """The program's process ended or sent an invalid answer; a test cannot catch this."""


class TestNotSupportedError(BaseException):
    """The test passes the program a value that cannot be sent; not the program's fault."""

    __test__ = False


class Remote:
    """An object of the program's process.

    Equality is identity: a program's own ``__eq__`` is not evidence.
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
        """Tell the waiting process to execute the program."""
        os.write(self._requests, b"+")

    def ask(self, operation: str, *operands: object) -> Any:
        """Request an operation from the program's process; return its value or raise its exception.

        Raises
        ------
        ProgramGoneError
            No answer, or an unreadable one.
        TestNotSupportedError
            An operand is neither plain data nor one of the program's objects.
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
            # An exception class of the program's own is raised as its nearest built-in base, its name in the message.
            message = str(text) if kind.__name__ == name else f"{name}: {text}"
            try:
                return kind(message)
            except TypeError:  # a few, such as UnicodeDecodeError, need more than a message
                continue
    return ProgramError(f"{name}: {text}")
