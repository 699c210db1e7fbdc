"""The sample browser's data: each prompt, answer and verdict stored once, and one row per model and prompt.

Texts that many rows share (prompts, a baseline's answers) are stored once. All of it is text: invisible characters
are made visible here, and the page inserts text as text content only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.protocols import ScoreKind
from harness.records import Judgment, Prompt, Rating, Response, Score, Unscored
from harness.text_safety import visible
from reports.inputs import RunInput


@dataclass(frozen=True)
class SampleLimits:
    """Limits of what goes into the page.

    Parameters
    ----------
    n_rows : int
        Rows; beyond that, prompts are sampled at even intervals.
    n_characters : int
        Characters of one text.
    """

    n_rows: int = 20_000
    n_characters: int = 20_000


@dataclass
class _Table:
    """Gives each distinct value an index."""

    places: dict[Any, int] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)

    def place(self, key: Any, value: Any) -> int:
        if key not in self.places:
            self.places[key] = len(self.values)
            self.values.append(value)
        return self.places[key]


def embedded_json(value: Any) -> str:
    """Write JSON that may stand inside a script element: no text in it can end the element or the line."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def verdict_words(judgment: Judgment) -> str:
    """A verdict in words, for the candidate."""
    verdict = judgment.verdict
    if isinstance(verdict, Unscored):
        return f"not scored: {verdict.reason}" + (f" ({verdict.detail})" if verdict.detail else "")
    if isinstance(verdict, Rating):
        return f"rated {verdict.value:g} on {verdict.low:g} to {verdict.high:g}"
    label = f" [{verdict.label}]" if verdict.label else ""
    share = judgment.candidate_share
    return f"P(candidate better) = {share:.3g}{label}" if share is not None else label


def verdict_class(scores: Sequence[Score], kinds: Mapping[str, ScoreKind]) -> tuple[str, float | None]:
    """The verdict filter a row belongs to, and its value.

    Parameters
    ----------
    scores : sequence of Score
        Scores of one prompt.
    kinds : mapping of str to ScoreKind
        What they are, as their benchmark declares it.

    Returns
    -------
    name : str
        win, tie, loss; high, middle, low for ratings; right, wrong, partly; "not scored" where any part has no score.
    value : float or None
        The mean of the parts; None where one is missing.
    """
    measured = [s for s in scores if s.metric in kinds and kinds[s.metric].decides]
    values = [s.value for s in measured if s.value is not None]
    if not measured or len(values) < len(measured):
        return "not scored", None
    weight = sum(s.weight for s in measured)
    value = sum(v * s.weight for v, s in zip(values, measured, strict=True)) / weight if weight > 0 else values[0]
    return _class_of(value, kinds[measured[0].metric]), value


def _class_of(value: float, kind: ScoreKind) -> str:
    if kind.role == "preference":
        return "win" if value > 0.5 else "loss" if value < 0.5 else "tie"
    if kind.role == "rating":
        low, high = kind.scale or (1.0, 10.0)
        third = (high - low) / 3.0
        return "high" if value >= high - third else "middle" if value >= low + third else "low"
    return {0.0: "wrong", 1.0: "right"}.get(value, "partly" if 0.0 < value < 1.0 else "measured")


class SampleTables:
    """The tables behind the sample browser; invisible characters are made visible as texts are added.

    Parameters
    ----------
    limits : SampleLimits
        How much to take.
    """

    def __init__(self, limits: SampleLimits) -> None:
        self.limits = limits
        self.n_all = 0
        self.models: list[str] = []
        self.benchmarks, self.categories, self.verdicts = _Table(), _Table(), _Table()
        self.prompts, self.answers, self.judges = _Table(), _Table(), _Table()
        self.judgments: list[list[Any]] = []
        self.rows: list[list[Any]] = []

    def model(self, name: str) -> int:
        """Name whose answers follow; the same name is the same model."""
        name = visible(name)
        if name not in self.models:
            self.models.append(name)
        return self.models.index(name)

    def prompt(self, key: Any, benchmark: str, category: str, name: str, turns: Sequence[str]) -> int:
        """Add a prompt once."""
        benchmark, category = visible(benchmark), visible(category)
        entry = {
            "b": self.benchmarks.place(benchmark, benchmark),
            "c": self.categories.place(category, category),
            "k": self.text(name),
            "t": [self.text(turn) for turn in turns],
        }
        return self.prompts.place(key, entry)

    def answer(self, key: Any, model: str, turns: Sequence[str], name: str = "", **more: str) -> int:
        """Add an answer once; `name` heads it in place of the row's model."""
        entry: dict[str, Any] = {"m": visible(model), "t": [self.text(turn) for turn in turns]}
        if name:
            entry["n"] = visible(name)
        entry |= {key: self.text(value) for key, value in more.items() if value}
        return self.answers.place(key, entry)

    def judgment(self, judge: str, words: str, raw: str = "", order: str = "", turn: int = 1, game: int = 1) -> None:
        """Add a verdict; those between the beginning and the end of a row's are the row's."""
        judge = visible(judge)
        self.judgments.append([self.judges.place(judge, judge), order, turn, game, visible(words), self.text(raw)])

    def row(
        self,
        model: int,
        prompt: int,
        own: Sequence[int],
        other: Sequence[int],
        first_judgment: int,
        verdict: str,
        value: float | None,
        disagreement: int,
        lengths: tuple[int | None, int | None],
        cut: bool,
    ) -> None:
        """Add a row. `disagreement`: 1 where the orders differ, 2 where judge and people do, 3 for both."""
        judgments = [first_judgment, len(self.judgments)]
        rounded = None if value is None else round(value, 4)
        told = (self.verdicts.place(verdict, verdict), rounded, disagreement, *lengths, int(cut))
        self.rows.append([model, prompt, list(own), list(other), judgments, *told])

    def text(self, text: str) -> str:
        """Truncate long text with a note, and make invisible characters visible."""
        most = self.limits.n_characters
        if len(text) > most:
            text = text[:most] + f"\n[... {len(text) - most:,} more characters, not in this page]"
        return visible(text)

    def as_json(self) -> dict[str, Any]:
        """The data of the browser; references are indices into these lists."""
        names = ("benchmarks", "categories", "verdicts", "prompts", "answers", "judges")
        tables = {name: getattr(self, name).values for name in names}
        return {"n_all": self.n_all, "models": self.models, **tables, "judgments": self.judgments, "rows": self.rows}


def add_runs(tables: SampleTables, runs: Sequence[RunInput]) -> None:
    """Add runs to the samples, one row per prompt; beyond the limit, prompts are sampled at even intervals.

    Parameters
    ----------
    tables : SampleTables
        The tables to add to.
    runs : sequence of RunInput
        The runs.
    """
    n_all = sum(len(run.stored.prompts) for run in runs)
    tables.n_all += n_all
    every = max(-(-n_all // max(tables.limits.n_rows, 1)), 1)
    for run in runs:
        number = tables.model(run.name)
        if tables.limits.n_rows:
            _add_run(tables, number, run, every)


def _add_run(tables: SampleTables, number: int, run: RunInput, every: int) -> None:
    answers: dict[tuple[str, str], list[Response]] = {}
    for r in run.stored.responses:
        answers.setdefault((r.prompt_id, r.role), []).append(r)
    judgments: dict[str, list[Judgment]] = {}
    for j in run.stored.directory.judgments().values():
        judgments.setdefault(j.prompt_id, []).append(j)
    scores: dict[str, list[Score]] = {}
    for s in run.scores.scores:
        scores.setdefault(s.prompt_id, []).append(s)
    for place, prompt in enumerate(run.stored.prompts.values()):
        if place % every == 0:
            sides = answers.get((prompt.id, "candidate"), []), answers.get((prompt.id, "baseline"), [])
            name, value = verdict_class(scores.get(prompt.id, []), run.kinds(prompt.benchmark))
            _add_prompt(tables, number, prompt, sides, (judgments.get(prompt.id, []), name, value))


def _add_prompt(
    tables: SampleTables,
    number: int,
    prompt: Prompt,
    sides: tuple[list[Response], list[Response]],
    found: tuple[list[Judgment], str, float | None],
) -> None:
    judged, name, value = found
    place = tables.prompt(prompt.id, prompt.benchmark, prompt.category or "", prompt.key, prompt.turns)
    entry = tables.prompts.values[place]
    if prompt.system:
        entry["s"] = tables.text(prompt.system)
    if prompt.reference:
        entry["r"] = [tables.text(turn) for turn in prompt.reference]
    own, other = (_answers(tables, side) for side in sides)
    start = len(tables.judgments)
    for j in sorted(judged, key=lambda j: (j.turn, j.game)):
        order = "".join(role[0] for role in j.order)
        tables.judgment(j.judge, verdict_words(j), j.raw, order, j.turn, j.game)
    lengths = _length(sides[0]), _length(sides[1])
    cut = bool(sides[0]) and sides[0][0].finish == "length"
    tables.row(number, place, own, other, start, name, value, int(_orders_disagree(judged)), lengths, cut)


def _answers(tables: SampleTables, side: Sequence[Response]) -> list[int]:
    ordered = sorted(side, key=lambda r: r.sample)
    return [tables.answer(r.id, r.model, r.turns, f="" if r.finish == "stop" else r.finish, e=r.error) for r in ordered]


def _length(answers: Sequence[Response]) -> int | None:
    return sum(len(turn) for turn in answers[0].turns) if answers and answers[0].turns else None


def _orders_disagree(judgments: Sequence[Judgment]) -> bool:
    """Whether the judge named another winner when the two answers were swapped."""
    by_turn: dict[tuple[str, int], set[int]] = {}
    games: dict[tuple[str, int], int] = {}
    for j in judgments:
        share = j.candidate_share
        if share is not None:
            key = (j.judge_id, j.turn)
            by_turn.setdefault(key, set()).add((share > 0.5) - (share < 0.5))
            games[key] = games.get(key, 0) + 1
    return any(len(signs) > 1 and games[key] > 1 for key, signs in by_turn.items())
