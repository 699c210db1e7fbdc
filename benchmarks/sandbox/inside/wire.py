"""Serialisation between two processes that do not trust each other.

Only plain data is sent by value: whatever bytes it is given, a reader builds nothing but built-in values. Any other
object is sent as a number that refers to it. `pickle` runs code by design, `marshal` is documented as unsafe against
malicious data, and `json` has no sets, tuples or integer keys.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

READY, RUN, END, ENDED = b"r", b"p", b"x", b"e"
"""Bytes on a sandbox's control socket: it has started; run a program; end the program; nothing is left of it."""

MAX_FRAME_BYTES = 64 << 20
"""Longest message; a longer one is refused unread."""

_CONSTANTS = {b"N": None, b"T": True, b"F": False, b"E": Ellipsis}
_TAG_OF_CONSTANT = {id(constant): tag for tag, constant in _CONSTANTS.items()}
_MAX_DEPTH = 200


class WireError(Exception):
    """Bytes that are not a message."""


class CannotCross(Exception):  # noqa: N818 - reads as what it says
    """A value that is neither plain data nor an object of the other process."""


def encode(value: object, refer: Callable[[object], int]) -> bytes:
    """Write a value.

    Parameters
    ----------
    value : object
        Plain data, nested. Instances of subclasses of the plain types are sent as the plain type.
    refer : callable
        Returns the number of an object that is not plain data, or raises `CannotCross`.

    Raises
    ------
    CannotCross
        Nested too deeply, or refused by `refer`.
    """
    out = bytearray()
    _write(out, value, refer, 0)
    return bytes(out)


def _write(out: bytearray, value: Any, refer: Callable[[object], int], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise CannotCross(f"nested more than {_MAX_DEPTH} deep")
    if id(value) in _TAG_OF_CONSTANT:
        out += _TAG_OF_CONSTANT[id(value)]
        return
    for kind, tag, to_bytes in _SCALARS:
        if isinstance(value, kind):
            _write_body(out, tag, to_bytes(value))
            return
    for kind, tag, _ in _CONTAINERS:
        if isinstance(value, kind):
            items = _parts(value, tag)
            out += tag + len(items).to_bytes(4, "big")
            for item in items:
                _write(out, item, refer, depth + 1)
            return
    if isinstance(value, type) and _PLAIN_TYPES.get(value.__name__) is value:
        _write_body(out, b"p", value.__name__.encode())
    else:
        out += b"h" + refer(value).to_bytes(4, "big")


def _write_body(out: bytearray, tag: bytes, body: bytes) -> None:
    out += tag + len(body).to_bytes(4, "big") + body


def _parts(value: Any, tag: bytes) -> list[Any]:
    if tag in b"my":
        return [part for pair in (value.items() if tag == b"m" else value) for part in pair]
    return list(value)


def _int_bytes(value: int) -> bytes:
    number = int(value)
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


_SCALARS: tuple[tuple[type, bytes, Callable[[Any], bytes]], ...] = (
    (int, b"i", _int_bytes),
    (float, b"d", lambda value: float.hex(value).encode()),
    (str, b"s", lambda value: str.encode(value, "utf-8", "surrogatepass")),
    (bytes, b"b", bytes),
    (bytearray, b"a", bytes),
    (complex, b"c", lambda value: f"{value.real.hex()} {value.imag.hex()}".encode()),
    (range, b"r", lambda value: f"{value.start} {value.stop} {value.step}".encode()),
)


_PLAIN_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (int, float, complex, bool, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, type(None))
}


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


_CONTAINERS: tuple[tuple[type, bytes, Callable[[list[Any]], Any]], ...] = (
    (list, b"l", list),
    (tuple, b"t", tuple),
    (dict, b"m", _pairs),
    (set, b"e", set),
    (frozenset, b"z", frozenset),
    (type({}.keys()), b"k", lambda items: dict.fromkeys(items).keys()),
    (type({}.values()), b"v", lambda items: dict(enumerate(items)).values()),
    (type({}.items()), b"y", lambda items: _pairs(items).items()),
)


def _complex(body: bytes) -> complex:
    real, imaginary = body.decode("ascii").split()
    return complex(float.fromhex(real), float.fromhex(imaginary))


_READ_SCALAR: dict[bytes, Callable[[bytes], Any]] = {
    b"i": lambda body: int.from_bytes(body, "big", signed=True),
    b"d": lambda body: float.fromhex(body.decode("ascii")),
    b"s": lambda body: body.decode("utf-8", "surrogatepass"),
    b"b": bytes,
    b"a": bytearray,
    b"c": _complex,
    b"r": lambda body: range(*map(int, body.decode("ascii").split())),
    b"p": lambda body: _PLAIN_TYPES[body.decode("ascii")],
}
_READ_CONTAINER = {tag: build for _, tag, build in _CONTAINERS}


def decode(data: bytes, deref: Callable[[int], object]) -> Any:
    """Read a value back.

    Parameters
    ----------
    data : bytes
        Output of `encode`, or anything else.
    deref : callable
        Returns the object that a number refers to.

    Raises
    ------
    WireError
        The bytes are not a message.
    """
    try:
        value, end = _read(data, 0, deref, 0)
    except (ValueError, TypeError, OverflowError, LookupError) as error:
        raise WireError(f"{type(error).__name__}: {error}") from error
    if end != len(data):
        raise WireError(f"{len(data) - end} bytes too many")
    return value


def _read(data: bytes, at: int, deref: Callable[[int], object], depth: int) -> tuple[Any, int]:
    if depth > _MAX_DEPTH + 1:
        raise WireError("nested too deeply")
    tag = data[at : at + 1]
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at + 1
    if len(data) < at + 5:
        raise WireError("cut off")
    count, at = int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
    if tag == b"h":
        return deref(count), at
    if tag in _READ_SCALAR:
        if len(data) < at + count:
            raise WireError("cut off")
        return _READ_SCALAR[tag](data[at : at + count]), at + count
    build = _READ_CONTAINER[tag]
    items = []
    for _ in range(count):
        item, at = _read(data, at, deref, depth + 1)
        items.append(item)
    return build(items), at


def send(fd: int, body: bytes) -> None:
    """Write one message, preceded by its length.

    Raises
    ------
    CannotCross
        Longer than `MAX_FRAME_BYTES`.
    """
    if len(body) > MAX_FRAME_BYTES:
        raise CannotCross(f"{len(body)} bytes, more than {MAX_FRAME_BYTES}")
    view = memoryview(len(body).to_bytes(4, "big") + body)
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int) -> bytes | None:
    """Read one message; None if the other side has closed.

    Raises
    ------
    WireError
        Cut off, or longer than `MAX_FRAME_BYTES`.
    """
    head = _exactly(fd, 4)
    if head is None:
        return None
    size = int.from_bytes(head, "big")
    if size > MAX_FRAME_BYTES:
        raise WireError(f"a message of {size} bytes")
    body = _exactly(fd, size)
    if body is None:
        raise WireError("cut off")
    return body


def _exactly(fd: int, size: int) -> bytes | None:
    parts: list[bytes] = []
    missing = size
    while missing:
        part = os.read(fd, min(missing, 1 << 20))
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def no_objects(value: object) -> int:
    """Refuse anything but plain data; for `encode` if both sides exchange only data."""
    raise CannotCross(f"{type(value).__name__} is not plain data")


def no_handles(number: int) -> object:
    """Refuse every object number; for `decode` if both sides exchange only data."""
    raise WireError(f"object {number} in a message of plain data")
