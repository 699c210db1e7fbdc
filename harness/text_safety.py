"""Make untrusted text (model names, answers, verdicts, error messages) safe to display.

The output of a model may hold escape sequences that move a terminal's cursor or set its title, characters that reverse
the text direction, and invisible characters.
"""

from __future__ import annotations

import re

_SEQUENCE = re.compile(
    r"""
      \x1b\[ [0-?]* [\ -/]* [@-~]                  # CSI: colours, cursor
    | \x9b [0-?]* [\ -/]* [@-~]
    | (?:\x1b[\]PX^_] | [\x90\x98\x9d\x9e\x9f])      # OSC, DCS, SOS, PM, APC: titles, links, the clipboard
      [^\x07\x1b\x9c]{0,4096} (?: \x07 | \x1b\\ | \x9c )
    | \x1b [\ -/]* [0-~]                           # two-character sequences
    """,
    re.VERBOSE,
)
_HIDDEN = (
    "\u200b\u2060\ufeff"  # zero width: invisible, but they break searches
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction
    "\u2028\u2029\ufff9-\ufffb"  # Unicode line separators, annotations
    "\U000e0000-\U000e007f"  # "tags", which can hide text from readers
)
_CONTROL = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{_HIDDEN}]")


def strip_control(text: str) -> str:
    """Remove escape sequences and control, direction and invisible characters; keep tabs and line ends."""
    return _CONTROL.sub("", _SEQUENCE.sub("", text))


def one_line(text: str) -> str:
    """Apply `strip_control` and join all lines to one."""
    return strip_control(" ".join(text.splitlines()) if text else "").replace("\t", " ")


def visible(text: str) -> str:
    r"""Make hidden characters visible: control characters as Unicode pictures, others by code point.

    Examples
    --------
    >>> visible("a\x1b[31mb\u202ec")
    'a␛[31mb⟨U+202E⟩c'
    """
    return _CONTROL.sub(_shown, text.replace("\r\n", "\n"))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
