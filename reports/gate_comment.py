"""A gate's decision as the comment on a pull request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.blocks import Block, Statement
from reports.markdown import block_lines
from reports.sections.gate_blocks import gate_blocks

_MOST_CHARACTERS = 60_000  # GitHub takes 65,536
_CUT = "\n\nThe rest is left out: the comment would be too long."


def marker(name: str) -> str:
    """The hidden line by which a comment is found again; `name` tells several gates of a pull request apart."""
    return f"<!-- assay gate: {name} -->"


def gate_comment(decision: Mapping[str, Any] | None, name: str) -> str:
    """Write a decision as GitHub-flavoured Markdown that begins with its marker.

    Parameters
    ----------
    decision : mapping or None
        As `assay gate --json` prints it; None if the gate did not run.
    name : str
        Name of the gate.

    Returns
    -------
    str
        Every text of the decision is escaped.
    """
    if decision is None:
        blocks: list[Block] = [Statement("invalid", "The gate did not run", "The log of the job says why.")]
    else:
        blocks = gate_blocks(decision)
    text = "\n".join([marker(name), *block_lines(blocks)]).rstrip()
    if len(text) > _MOST_CHARACTERS:
        text = text[:_MOST_CHARACTERS].rpartition("\n")[0] + _CUT
    return text + "\n"
