"""Data sets whose rows are two answers and a label that says which is better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps

from harness.data.file_rows import Row
from harness.hashing import content_hash
from harness.messages import Message
from training.data.loaded import Sieve
from training.data.records import BadItem, PreferencePair
from training.data.schemas import as_pair, message_list, number, require, text

SHP_RATIO = 2.0
SHP_PAIRS = 5

Values = Mapping[str, object]
PairAdapter = Callable[[Iterator[Row], str, Sieve], Iterator[PreferencePair]]


def by_row(read: Callable[[Values, str], PreferencePair]) -> PairAdapter:
    """Make an adapter of a function that reads one row."""

    @wraps(read)
    def adapter(rows: Iterator[Row], label: str, sieve: Sieve) -> Iterator[PreferencePair]:
        for row in rows:
            try:
                yield read(row.values, label)
            except BadItem as fault:
                sieve.noise(row, fault)

    return adapter


def shp(rows: Iterator[Row], label: str, sieve: Sieve) -> Iterator[PreferencePair]:
    """Read stanfordnlp/SHP: two comments (`human_ref_A`, `human_ref_B`) on a post (`history`) and their votes.

    Pairs with a ratio of votes above 2 are kept, at most 5 of a post. They are chosen by their hash, independently of a
    seed and of the order of the file.
    """
    posts: dict[str, list[tuple[str, PreferencePair]]] = {}
    for row in rows:
        try:
            pair = _shp_pair(row.values, label)
        except BadItem as fault:
            sieve.noise(row, fault)
            continue
        if pair is None:
            sieve.leave_out(f"score ratio of {SHP_RATIO:g} or less")
            continue
        order = content_hash(pair.chosen[0].content, pair.rejected[0].content)
        posts.setdefault(str(row.values.get("post_id") or pair.key), []).append((order, pair))
    for pairs in posts.values():
        chosen = {order for order, _ in sorted(pairs, key=lambda item: item[0])[:SHP_PAIRS]}
        kept = [pair for order, pair in pairs if order in chosen][:SHP_PAIRS]
        sieve.leave_out(f"more than {SHP_PAIRS} pairs of a prompt", len(pairs) - len(kept))
        yield from kept


def _shp_pair(values: Values, label: str) -> PreferencePair | None:
    first, second = text(values, "human_ref_A"), text(values, "human_ref_B")
    score_a, score_b = number(values, "score_A"), number(values, "score_B")
    a_is_better = _choice(values, "labels") == 1
    if not a_is_better:
        first, second, score_a, score_b = second, first, score_b, score_a
    prompt = (Message("user", text(values, "history")),)
    pair = PreferencePair.of(prompt, first, second, label, (score_a, score_b))
    if score_b <= 0:  # there is no ratio; the published set has no such row
        return pair if score_a > 0 else None
    return pair if score_a / score_b > SHP_RATIO else None


@by_row
def pku_safe_rlhf(values: Values, label: str) -> PreferencePair:
    """Read PKU-Alignment/PKU-SafeRLHF: two answers, which is better, which is safer, and whether each is safe.

    If one answer only is safe, it is preferred; otherwise better and safer must be the same answer. Contradicting
    labels (the safer answer is the unsafe one; better and safer differ where safety does not decide) are filtered.
    """
    answers = text(values, "response_0"), text(values, "response_1")
    better, safer = _choice(values, "better_response_id"), _choice(values, "safer_response_id")
    safe = _flag(values, "is_response_0_safe"), _flag(values, "is_response_1_safe")
    if safe[0] != safe[1]:
        if not safe[safer]:
            raise BadItem("contradicting labels", "the safer answer is the unsafe one")
        chosen = safer
    elif better != safer:
        raise BadItem("contradicting labels", "better and safer are different answers, both safe or both unsafe")
    else:
        chosen = better
    prompt = (Message("user", text(values, "prompt")),)
    return PreferencePair.of(prompt, answers[chosen], answers[1 - chosen], label)


@by_row
def ultra_interact(values: Values, label: str) -> PreferencePair:
    """Read openbmb/UltraInteract_pair: a `trajectory` up to a user turn, and a correct and an incorrect next action."""
    require(values, "trajectory")
    prompt = message_list(values["trajectory"], "trajectory")
    return PreferencePair.of(prompt, text(values, "chosen"), text(values, "rejected"), label)


@by_row
def argilla_math(values: Values, label: str) -> PreferencePair:
    """Read argilla/distilabel-math-preference-dpo: `instruction`, two answers, two ratings; equal ratings filtered."""
    prompt = (Message("user", text(values, "instruction")),)
    answers = text(values, "chosen_response"), text(values, "rejected_response")
    scores = number(values, "chosen_rating"), number(values, "rejected_rating")
    _refuse_equal(scores)
    return PreferencePair.of(prompt, *answers, label, scores)


@by_row
def open_orca(values: Values, label: str) -> PreferencePair:
    """Read argilla/distilabel-intel-orca-dpo-pairs (ties filtered) or Intel/orca_dpo_pairs (no scores).

    `rating` holds the scores of the two generations; chosen is the higher.
    """
    if values.get("status") == "tie":
        raise BadItem("equal scores", "the row is marked as a tie")
    asked = text(values, "input" if "input" in values else "question")
    system = values.get("system")
    before = (Message("system", system),) if isinstance(system, str) and system.strip() else ()
    scores: tuple[float | None, float | None] = (None, None)
    rating = values.get("rating")
    if isinstance(rating, list) and len(rating) == 2 and None not in rating:
        scores = max(rating), min(rating)
        _refuse_equal(scores)
    prompt = (*before, Message("user", asked))
    return PreferencePair.of(prompt, text(values, "chosen"), text(values, "rejected"), label, scores)


@by_row
def capybara(values: Values, label: str) -> PreferencePair:
    """Read argilla/Capybara-Preferences or distilabel-capybara-dpo: two whole conversations and their ratings.

    Conversations with an empty round are filtered, and so are equal ratings.
    """
    sides = {name: values[name] for name in values if name in ("chosen", "rejected") or "rating" in name}
    pair = as_pair(sides, label)
    _refuse_equal((pair.chosen_score, pair.rejected_score))
    return pair


@by_row
def summarize(values: Values, label: str) -> PreferencePair:
    """Read openai/summarize_from_feedback, comparisons: a post, two summaries and the index of the better one."""
    require(values, "info", "summaries")
    info, summaries = values["info"], values["summaries"]
    if not isinstance(info, Mapping) or not isinstance(summaries, list) or len(summaries) != 2:
        raise BadItem("wrong type", "info or summaries", "a mapping, and a list of two summaries")
    parts = []
    for column, name in (("subreddit", "SUBREDDIT: r/"), ("title", "TITLE: "), ("post", "POST: ")):
        if info.get(column):
            parts.append(f"{name}{text(info, column)}")
    if not info.get("post"):
        parts.append(f"Article: {text(info, 'article')}")
    chosen = _choice(values, "choice")
    texts = [text(summary, "text") for summary in summaries]
    prompt = (Message("user", "\n\n".join([*parts, "TL;DR:"])),)
    return PreferencePair.of(prompt, texts[chosen].strip(), texts[1 - chosen].strip(), label)


def _refuse_equal(scores: tuple[float | None, float | None]) -> None:
    if scores[0] is not None and scores[0] == scores[1]:
        raise BadItem("equal scores", f"both answers have the score {scores[0]:g}")


def _choice(values: Values, column: str) -> int:
    """Read the index of an answer: 0 or 1."""
    read = number(values, column)
    if read not in (0, 1):
        raise BadItem("wrong type", f"{column} is {read:g}", "0 or 1")
    return int(read)


def _flag(values: Values, column: str) -> bool:
    require(values, column)
    value = values[column]
    if not isinstance(value, bool):
        raise BadItem("wrong type", f"{column} is {value!r}", "true or false")
    return value
