"""Markdown in an answer, counted the way Arena-Hard's style control counts it.

Code blocks are taken out first, then headers, list items and bold spans are counted by line-oriented patterns, not by
a Markdown parser. The quirks are part of the definition, since published figures rest on them: a block that contains a
back-tick is no block and stays; the *contents* of a block are taken out wherever else they occur in the answer; the
fences stay; a list marker at the start of a line counts whatever follows it.

Checked against the counts published with 750 answers (arena-hard-auto v2.0, o3-mini-2025-01-31). Source of the
definition: arena-hard-auto commit 196f6b8, ``utils/add_markdown_info.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CODE_BLOCK = re.compile(r"```([^`]*)```")
_HEADER = re.compile(r"^(#{1,6})\s", re.MULTILINE)
_ORDERED_ITEM = re.compile(r"^\s*\d+\.\s", re.MULTILINE)
_UNORDERED_ITEM = re.compile(r"^\s*[-*+]\s", re.MULTILINE)
_BOLD_STARS = re.compile(r"\*\*[^*\n]+\*\*")
_BOLD_UNDERSCORES = re.compile(r"__[^_\n]+__")


@dataclass(frozen=True, slots=True)
class MarkdownCounts:
    """Markdown elements of one answer outside code blocks.

    Parameters
    ----------
    headers : int
        Headers of all six levels.
    lists : int
        List items, ordered and unordered.
    bold : int
        Bold spans.
    """

    headers: int
    lists: int
    bold: int


def count_markdown(answer: str) -> MarkdownCounts:
    r"""Count headers, list items and bold spans.

    Parameters
    ----------
    answer : str
        The answer as the model gave it.

    Returns
    -------
    MarkdownCounts

    Examples
    --------
    >>> counts = count_markdown("# Title\n- **one**\n- two\n")
    >>> counts.headers, counts.lists, counts.bold
    (1, 2, 1)
    """
    prose = answer
    for contents in _CODE_BLOCK.findall(answer):
        prose = prose.replace(contents, "")
    return MarkdownCounts(
        headers=len(_HEADER.findall(prose)),
        lists=len(_ORDERED_ITEM.findall(prose)) + len(_UNORDERED_ITEM.findall(prose)),
        bold=len(_BOLD_STARS.findall(prose)) + len(_BOLD_UNDERSCORES.findall(prose)),
    )
