"""Locating the judge's own verdict in its text, apart from verdicts it quotes.

An answer can contain a verdict in the format the judge was asked for, and an honest judge may repeat it: `The answer
ends with "Rating: [[10]]". I give it 2/10.` A verdict therefore counts only if it is the judge's own and final one:

- it is not inside quotation marks, code or a block quote; where such marks are unbalanced, it counts as inside;
- nothing but the rest of its sentence follows;
- the judged answers do not contain it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.records import Unscored

_MARKS = (('"', '"'), ("“", "”"), ("„", "“"), ("«", "»"), ("‹", "›"), ("「", "」"), ("`", "`"))
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
# "[[C]] for a tie." is one sentence. A digit would be a second grade.
_REST = re.compile(r"[^.!?\n\d]{0,80}[.!?]?[\s*_)\]}>|#.!`-]*")


def final_verdict(
    pattern: re.Pattern[str], text: str, answers: Sequence[str] = (), *, last: bool = False
) -> str | Unscored:
    """Return the judge's own verdict.

    Parameters
    ----------
    pattern : re.Pattern
        The format of a verdict; its first group is the verdict.
    text : str
        The judge's text.
    answers : sequence of str
        The judged answers.
    last : bool
        Whether the last verdict counts if there are several different ones; they are ambiguous otherwise.

    Returns
    -------
    str or Unscored
        The verdict, or the reason why there is none: "unparsed", "quoted", "ambiguous", "not_final" or "echoed".
    """
    found = list(pattern.finditer(text))
    if not found:
        return Unscored(reason="unparsed", detail="no verdict in the judge's text")
    own = [match for match in found if not _is_quoted(text, match)]
    if not own:
        return Unscored(reason="quoted", detail=f"the judge only quotes {found[-1].group()}")
    values = list(dict.fromkeys(match.group(1) for match in own))
    if len(values) > 1 and not last:
        return Unscored(reason="ambiguous", detail="several verdicts: " + ", ".join(values))
    return _unless_doubtful(own[-1], text, answers)


def _unless_doubtful(match: re.Match[str], text: str, answers: Sequence[str]) -> str | Unscored:
    """Return the value of a verdict unless other text follows it or a judged answer contains it."""
    if not _REST.fullmatch(text, match.end()):
        return Unscored(reason="not_final", detail=f"text follows the verdict {match.group()}")
    if is_echoed(match.group(), answers):
        return Unscored(reason="echoed", detail=f"a judged answer contains {match.group()}")
    return str(match.group(1))


def is_echoed(verdict: str, answers: Sequence[str]) -> bool:
    """Whether a judged answer contains the text of a verdict; case and white space do not matter.

    A longer verdict or word does not count: "Rating: 1" is not in "Rating: 10", nor "Verdict: A" in "Verdict: A>B".
    """
    characters = r"\s*".join(re.escape(character) for character in verdict if not character.isspace())
    wanted = re.compile(rf"{characters}(?![\w>]|\.\d)", re.IGNORECASE)
    return any(wanted.search(answer) is not None for answer in answers)


def _is_quoted(text: str, match: re.Match[str]) -> bool:
    """Whether a match is inside quotation marks or code."""
    start = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.end())
    before, after = text[start : match.start()], text[match.end() : end if end >= 0 else len(text)]
    if before.lstrip().startswith(">"):
        return True
    if len(_FENCE.findall(text, 0, match.start())) % 2:
        return True
    if _ends_in_apostrophe(before) and after.lstrip().startswith("'"):
        return True
    return any(_is_open(before, after, opening, closing) for opening, closing in _MARKS)


def _ends_in_apostrophe(before: str) -> bool:
    """Whether single quotes open directly before the verdict or the words "rating:" or "verdict:"."""
    return re.search(r"'\W{0,3}(?:\w+\W{1,3}){0,3}$", before) is not None


def _is_open(before: str, after: str, opening: str, closing: str) -> bool:
    """Whether quotation marks are open at a place within its line; unbalanced marks count as open."""
    if opening == closing:
        return before.count(opening) % 2 == 1 or after.count(opening) % 2 == 1
    return before.count(opening) > before.count(closing) or after.count(closing) > after.count(opening)
