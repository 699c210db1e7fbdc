"""Parsing a verdict in the official formats. Pure functions; whatever is not a clear verdict is `Unscored`.

Each parser looks where the official one looks, and refuses to choose where the official one would guess:

- only the judge's own final verdict counts (`judges.final_verdict`); several different ones are *ambiguous*;
- a grade outside the offered scale is *out of scale*, not clipped;
- a text without a verdict is *unparsed*; a reply cut by the token limit is *truncated*, whatever it contains.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from harness.endpoint.client import ChatReply, TokenLogprob
from harness.records import Preference, Rating, Unscored, Verdict
from judges.final_verdict import final_verdict

PARSER_VERSION = "1"
"""Part of every judge id; raised when a parser reads a verdict as another one.

Refusing a verdict that was read before does not raise it: verdicts of both are comparable.
"""

_RATING = re.compile(r"\[\[\s*(-?[0-9]+(?:\.[0-9]+)?)\s*\]\]")
# With single brackets a number may as well be a footnote: it counts only where the text calls it a rating.
_RATING_SINGLE = re.compile(r"rating\W{0,12}\[\s*(-?[0-9]+(?:\.[0-9]+)?)\s*\]", re.IGNORECASE)
_RATING_EXAMPLE = re.compile(r"for example:?\s*[\"“]?rating:?\s*\[\[5\]\][\"”]?", re.IGNORECASE)
_PAIRWISE = re.compile(r"\[\[\s*([A-Z])\s*\]\]")
_FIVE_WAY = re.compile(r"\[\[([AB<>=]+)\]\]")
_FIVE_WAY_SINGLE = re.compile(r"\[([AB<>=]+)\]")
FIVE_WAY = {"A>>B": 1.0, "A>B": 1.0, "A=B": 0.5, "B>A": 0.0, "B>>A": 0.0}
# Arena-Hard v2 also reads the mirror images; v0.1 gives them no weight, which is to say drops them.
_MIRRORED = {"B<<A": "A>>B", "B<A": "A>B", "B=A": "A=B", "A<B": "B>A", "A<<B": "B>>A"}


def parse_rating(text: str, answers: Sequence[str] = (), low: float = 1.0, high: float = 10.0) -> Verdict:
    """Read ``[[rating]]``, as MT-Bench's judge is asked to write it.

    FastChat takes the first ``[[x]]``, else the first ``[x]``, of whatever size. Here a text whose ratings differ is
    ambiguous, ``[x]`` needs the word "rating" before it, and the value must lie on the scale.

    Parameters
    ----------
    text : str
        The judge's text.
    answers : sequence of str
        The judged answers.
    low, high : float
        Ends of the scale.
    """
    text = _RATING_EXAMPLE.sub("", text)  # an echo of the instruction is no verdict
    settled = _first_format((_RATING, _RATING_SINGLE), text, answers)
    if isinstance(settled, Unscored):
        return settled
    return rating_of(settled, low, high)


def rating_of(text: str, low: float, high: float) -> Verdict:
    """Return the rating a text states, if it is a number on the scale."""
    try:
        value = float(text)
    except ValueError:
        return Unscored(reason="unparsed", detail=f"{text!r} is not a number")
    if not low <= value <= high:
        return Unscored(reason="out_of_scale", detail=f"rating {text} on a scale of {low:g} to {high:g}")
    return Rating(value=value, low=low, high=high)


def parse_pairwise(text: str, answers: Sequence[str] = ()) -> Verdict:
    """Read ``[[A]]``, ``[[B]]`` or ``[[C]]`` (a tie), as FastChat's pairwise judge is asked to write it.

    FastChat asks for "[[A]]" anywhere first, so a text with both is A; here it is ambiguous.
    """
    settled = final_verdict(_PAIRWISE, text, answers)
    if isinstance(settled, Unscored):
        return settled
    if settled not in ("A", "B", "C"):
        return Unscored(reason="out_of_scale", detail=f"verdict [[{settled}]], offered were A, B and C")
    return Preference(p_first={"A": 1.0, "B": 0.0, "C": 0.5}[settled], label=settled)


def parse_five_way(text: str, answers: Sequence[str] = (), *, last: bool = False) -> Verdict:
    """Read Arena-Hard's five-way label.

    Parameters
    ----------
    text : str
        The judge's text (all attempts).
    answers : sequence of str
        The judged answers.
    last : bool
        False reads as v0.1 does: all labels in the text must agree. True reads as v2.0 does: the last label counts,
        case and single brackets are forgiven, and mirror images ("B<A") are understood.
    """
    if last:
        settled = _first_format((_FIVE_WAY, _FIVE_WAY_SINGLE), text.upper(), answers, last=True)
    else:
        settled = final_verdict(_FIVE_WAY, text, answers)
    if isinstance(settled, Unscored):
        return settled
    label = _MIRRORED.get(settled, settled) if last else settled
    if label not in FIVE_WAY:
        return Unscored(reason="out_of_scale", detail=f"verdict [[{settled}]], offered were {', '.join(FIVE_WAY)}")
    return Preference(p_first=FIVE_WAY[label], label=label)


def _first_format(
    patterns: Sequence[re.Pattern[str]], text: str, answers: Sequence[str], *, last: bool = False
) -> str | Unscored:
    """Return the verdict in the first of several formats the text contains."""
    pattern = next((p for p in patterns if p.search(text)), patterns[0])
    return final_verdict(pattern, text, answers, last=last)


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


def unusable(reply: ChatReply) -> Unscored | None:
    """Return the reason why a reply cannot hold a verdict: refused, or cut by the token limit."""
    if reply.refusal or reply.finish == "content_filter":
        return Unscored(reason="refused", detail=reply.refusal or "stopped by a content filter")
    if reply.finish == "length":
        return Unscored(reason="truncated", detail="the judge reached its token limit")
    return None


def read_text(reply: ChatReply, parse: Callable[[str], Verdict], text: str | None = None) -> Verdict:
    """Parse a reply's text; a refused or cut reply has no verdict.

    Parameters
    ----------
    reply : ChatReply
        The endpoint's reply.
    parse : callable
        One of the parsers above.
    text : str, optional
        The text to parse instead of the reply's own (several attempts joined).
    """
    return unusable(reply) or parse(reply.text if text is None else text)
