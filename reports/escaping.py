"""Escape untrusted text for Markdown, LaTeX and CSV, so that it is shown literally.

HTML is escaped by the template engine, SVG by the libraries that write it.
"""

from __future__ import annotations

import re

from harness.text_safety import one_line

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # A row that begins with one of these would be read as an argument of the line break before it.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}


def latex(text: str) -> str:
    """Text for a LaTeX table."""
    return "".join(_LATEX.get(character, character) for character in one_line(text))


def markdown(text: str) -> str:
    """Text that GitHub shows literally: no markup, no HTML, no links, no mentions, no references, one line.

    A backslash escapes punctuation only. Mentions, addresses and issue numbers are written with entities, which
    GitHub decodes after it has looked for references.
    """
    plain = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = plain.replace("@", "&#64;").replace("://", "&#58;//")
    plain = re.sub(r"(?i)\bwww\.", lambda found: found[0][:-1] + "&#46;", plain)
    plain = re.sub(r"(?<!&)#(?=\d)", "&#35;", plain)
    plain = re.sub(r"(?i)\b(GH)-(?=\d)", r"\1&#45;", plain)
    return re.sub(r"(?<!&)#(?!\d)|[\\`*_{}\[\]|~!$]", lambda found: "\\" + found[0], plain)


def spreadsheet(text: str) -> str:
    """Text for a CSV cell, quoted with an apostrophe if a spreadsheet would read it as a formula."""
    return "'" + text if text[:1] in ("=", "+", "@", "\t", "\r") or re.match(r"-[^\d.]", text) else text
