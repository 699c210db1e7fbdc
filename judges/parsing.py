"""Reading a verdict out of a judge's text. Pure functions; whatever is not a clear verdict is `Unscored`.

Each parser looks where the official one looks, and refuses to choose where the official one would guess:

- a text with several verdicts that differ is *ambiguous*, except that verdicts inside quotation marks, code or
  block quotes give way to one outside (the judge is citing the prompt or the answer, not grading it);
- a grade outside the scale that was offered is *out of scale*, not clipped;
- a text with no verdict is *unparsed*, or *truncated* where the token limit cut it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.endpoint.client import ChatReply, TokenLogprob
from harness.records import Preference, Rating, Unscored, Verdict

PARSER_VERSION = "1"
"""Part of every judge id; raised when a parser reads anything differently."""

_RATING = re.compile(r"\[\[\s*(-?\d+(?:\.\d+)?)\s*\]\]")
# With single brackets a number may as well be a footnote: it counts only where the text calls it a rating.
_RATING_SINGLE = re.compile(r"rating\W{0,12}\[\s*(-?\d+(?:\.\d+)?)\s*\]", re.IGNORECASE)
_RATING_EXAMPLE = re.compile(r"for example:?\s*[\"“]?rating:?\s*\[\[5\]\][\"”]?", re.IGNORECASE)
_PAIRWISE = re.compile(r"\[\[\s*([A-Z])\s*\]\]")
_FIVE_WAY = re.compile(r"\[\[([AB<>=]+)\]\]")
_FIVE_WAY_SINGLE = re.compile(r"\[([AB<>=]+)\]")
_QUOTED = re.compile(
    r"```.*?```"  # a code block
    r"|`[^`\n]*`"
    r"|\"[^\"\n]*\"|“[^”\n]*”"
    r"|^[ \t]*>[^\n]*$",  # a block quote
    re.DOTALL | re.MULTILINE,
)

_P_FIRST = {"A>>B": 1.0, "A>B": 1.0, "A=B": 0.5, "B>A": 0.0, "B>>A": 0.0}
# Arena-Hard v2 also reads the mirror images; v0.1 gives them no weight, which is to say drops them.
_MIRRORED = {"B<<A": "A>>B", "B<A": "A>B", "B=A": "A=B", "A<B": "B>A", "A<<B": "B>>A"}


@dataclass(frozen=True, slots=True)
class _Found:
    value: str
    quoted: bool


def _find(pattern: re.Pattern[str], text: str) -> list[_Found]:
    quotes = [match.span() for match in _QUOTED.finditer(text)]
    return [
        _Found(match.group(1), any(start <= match.start() and match.end() <= end for start, end in quotes))
        for match in pattern.finditer(text)
    ]


def _settle(found: Iterable[_Found]) -> str | Unscored:
    """Choose the one verdict, or say why there is none."""
    found = list(found)
    if not found:
        return Unscored(reason="unparsed", detail="no verdict in the judge's text")
    values = list(dict.fromkeys(f.value for f in found))
    if len(values) > 1:
        values = list(dict.fromkeys(f.value for f in found if not f.quoted)) or values
    if len(values) > 1:
        return Unscored(reason="ambiguous", detail="several verdicts: " + ", ".join(values))
    return values[0]


def parse_rating(text: str, low: float = 1.0, high: float = 10.0) -> Verdict:
    """Read ``[[rating]]``, as MT-Bench's judge is asked to write it.

    FastChat takes the first ``[[x]]``, else the first ``[x]``, of whatever size. Here a text whose ratings differ is
    ambiguous, ``[x]`` needs the word "rating" before it, and the value must lie on the scale.

    Parameters
    ----------
    text : str
        The judge's text.
    low, high : float
        Ends of the scale.
    """
    text = _RATING_EXAMPLE.sub("", text)  # an echo of the instruction is no verdict
    settled = _settle(_find(_RATING, text) or _find(_RATING_SINGLE, text))
    if isinstance(settled, Unscored):
        return settled
    value = float(settled)
    if not low <= value <= high:
        return Unscored(reason="out_of_scale", detail=f"rating {settled} on a scale of {low:g} to {high:g}")
    return Rating(value=value, low=low, high=high)


def parse_pairwise(text: str) -> Verdict:
    """Read ``[[A]]``, ``[[B]]`` or ``[[C]]`` (a tie), as FastChat's pairwise judge is asked to write it.

    FastChat asks for "[[A]]" anywhere first, so a text with both is A; here it is ambiguous.
    """
    settled = _settle(_find(_PAIRWISE, text))
    if isinstance(settled, Unscored):
        return settled
    if settled not in ("A", "B", "C"):
        return Unscored(reason="out_of_scale", detail=f"verdict [[{settled}]], offered were A, B and C")
    return Preference(p_first={"A": 1.0, "B": 0.0, "C": 0.5}[settled], label=settled)


def parse_five_way(text: str, *, last: bool = False) -> Verdict:
    """Read Arena-Hard's five-way label.

    Parameters
    ----------
    text : str
        The judge's text (all attempts).
    last : bool
        False reads as v0.1 does: all labels in the text must agree. True reads as v2.0 does: the last label counts,
        case and single brackets are forgiven, and mirror images ("B<A") are understood.
    """
    if last:
        text = text.upper()
        found = _find(_FIVE_WAY, text) or _find(_FIVE_WAY_SINGLE, text)
        settled = found[-1].value if found else _settle(found)
    else:
        settled = _settle(_find(_FIVE_WAY, text))
    if isinstance(settled, Unscored):
        return settled
    label = _MIRRORED.get(settled, settled) if last else settled
    if label not in _P_FIRST:
        return Unscored(reason="out_of_scale", detail=f"verdict [[{settled}]], offered were {', '.join(_P_FIRST)}")
    return Preference(p_first=_P_FIRST[label], label=label)


def parse_preference_logprobs(
    logprobs: tuple[TokenLogprob, ...] | None, first: str = "m", second: str = "M"
) -> Verdict:
    """Read AlpacaEval 2's verdict: the probability of the first model's name against the second's.

    ``P(first) = p(m) / (p(m) + p(M))`` over the alternatives of the first token [1]_. A name missing from the
    alternatives has probability 0 as upstream; with both missing upstream records NaN, here it is not measured.

    Parameters
    ----------
    logprobs : tuple of TokenLogprob or None
        Log-probabilities of the judge's tokens, as the endpoint returned them.
    first, second : str
        Tokens that name the model shown first and second.

    References
    ----------
    .. [1] Dubois et al., "Length-Controlled AlpacaEval", arXiv 2404.04475, and alpaca_eval 0.6.6, logprob_parser.
    """
    if not logprobs:
        return Unscored(reason="no_logprobs", detail="the endpoint returned no token log-probabilities")
    alternatives = dict(logprobs[0].top)
    # Some servers list only the alternatives to the sampled token, or none at all.
    alternatives.setdefault(logprobs[0].token, logprobs[0].logprob)
    if first not in alternatives and second not in alternatives:
        seen = ", ".join(repr(token) for token in alternatives)
        return Unscored(reason="unparsed", detail=f"neither {first!r} nor {second!r} among the alternatives {seen}")
    return Preference(p_first=_share(alternatives.get(first), alternatives.get(second)))


def _share(first: float | None, second: float | None) -> float:
    """Share of exp(first) in exp(first) + exp(second), None being probability zero, without overflow."""
    from math import exp

    if first is None:
        return 0.0
    if second is None:
        return 1.0
    difference = second - first
    return 1.0 / (1.0 + exp(difference)) if difference < 700 else 0.0


def read_text(reply: ChatReply, parse: Callable[[str], Verdict], text: str | None = None) -> Verdict:
    """Parse a reply's text, putting the endpoint's own account first: refused, cut.

    Parameters
    ----------
    reply : ChatReply
        What the endpoint returned.
    parse : callable
        One of the parsers above.
    text : str, optional
        What to parse in place of the reply's own text (several attempts joined).
    """
    if reply.refusal or reply.finish == "content_filter":
        return Unscored(reason="refused", detail=reply.refusal or "stopped by a content filter")
    verdict = parse(reply.text if text is None else text)
    if isinstance(verdict, Unscored) and verdict.reason == "unparsed" and reply.finish == "length":
        return Unscored(reason="truncated", detail="the judge reached its token limit before a verdict")
    return verdict
