"""Published verdicts as arrays, for the benchmarks of the statistics. Nothing of them is stored in the project."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.stats.length_control import PairScores

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

_FIVE_WAY = {"A>>B": (1.0, 3.0), "A>B": (1.0, 1.0), "A=B": (0.5, 1.0), "B>A": (0.0, 1.0), "B>>A": (0.0, 3.0)}


def alpaca_pairs(data: Path, model: str) -> PairScores:
    """AlpacaEval 2's logprob-weighted preferences for the model over the baseline, lengths in characters."""
    path = data / "alpaca_eval" / "annotations_slim" / f"{model}.jsonl.gz"
    with gzip.open(path, "rt") as file:
        rows = [row for line in file if (row := json.loads(line))["preference"] is not None]
    score = np.clip([row["preference"] - 1.0 for row in rows], 0.0, 1.0)
    own = np.array([row["len_2"] for row in rows], dtype=float)
    baseline = np.array([row["len_1"] for row in rows], dtype=float)
    return PairScores(score, np.ones(len(rows)), own, baseline, [row["q"] for row in rows])


def alpaca_models(data: Path) -> list[str]:
    folder = data / "alpaca_eval" / "annotations_slim"
    return sorted(path.name.removesuffix(".jsonl.gz") for path in folder.glob("*.jsonl.gz"))


@dataclass(frozen=True)
class KoArena:
    """Ko-Arena-Hard: verdicts against one baseline, and the length of every answer in tokens."""

    folder: Path
    lengths: dict[str, dict[str, int]]
    baseline: str = "claude-3.7-sonnet"

    @classmethod
    def load(cls, data: Path) -> KoArena:
        """Read the lengths; verdicts are read model by model."""
        folder = data / "arena_hard" / "ko-arena-hard"
        with gzip.open(folder / "conv_metadata_72models.json.gz", "rt") as file:
            metadata = json.load(file)
        lengths = {m: {q: style["token_len"] for q, style in answers.items()} for m, answers in metadata.items()}
        return cls(folder, lengths)

    def models(self) -> list[str]:
        """Models with both verdicts and lengths."""
        return [model for model in self.judged_models() if model in self.lengths]

    def judged_models(self) -> list[str]:
        """Models with verdicts."""
        paths = self.folder.glob("data/ko-arena-hard-v0.1/model_judgment/ensemble/*.jsonl")
        return sorted(path.stem for path in paths if path.stem != self.baseline)

    def games(self, model: str) -> Iterator[tuple[float, float, str]]:
        """Score, weight and question of every verdict, decisive ones weighing three."""
        path = self.folder / f"data/ko-arena-hard-v0.1/model_judgment/ensemble/{model}.jsonl"
        for line in path.read_text().splitlines():
            record = json.loads(line)
            # in the first game the baseline is A, in the second the model is
            for game, model_is_a in zip(record["games"], (False, True), strict=True):
                if game["score"] in _FIVE_WAY:
                    wins, weight = _FIVE_WAY[game["score"]]
                    yield wins if model_is_a else 1.0 - wins, weight, record["question_id"]

    def pairs(self, model: str) -> PairScores:
        """Both games of every prompt whose answer's length is known."""
        rows = [row for row in self.games(model) if row[2] in self.lengths[model]]
        own = [self.lengths[model][question] for *_, question in rows]
        base = [self.lengths[self.baseline][question] for *_, question in rows]
        return PairScores(
            np.array([row[0] for row in rows]),
            np.array([row[1] for row in rows]),
            np.array(own, dtype=float),
            np.array(base, dtype=float),
            [row[2] for row in rows],
        )


def single_ratings(data: Path) -> dict[str, dict[int, list[float]]]:
    """Ratings by question of every model of every single-answer judgment file (MT-Bench), failed verdicts left out."""
    found: dict[str, dict[int, list[float]]] = {}
    for path in sorted((data / "mt_bench/mt_bench/model_judgment").glob("*/gpt-4_single.jsonl")):
        for row in map(json.loads, path.read_text().splitlines()):
            if row["score"] != -1:
                questions = found.setdefault(f"gpt-4, {path.parent.name}, {row['model']}", {})
                questions.setdefault(row["question_id"], []).append(float(row["score"]))
    folder = data / "judge_meta/kook222_mtbench/data/en/judgments"
    for path in sorted(folder.glob("*/*/single_grade*/*.jsonl")):
        judge, kind = path.parent.parent.name.removeprefix("judge_"), path.parent.name
        for row in map(json.loads, path.read_text().splitlines()):
            for turn in (1, 2):
                score = row.get(f"score_turn{turn}")
                if score is not None and 1.0 <= float(score) <= 10.0:
                    questions = found.setdefault(f"{judge}, {kind}, {path.stem}", {})
                    questions.setdefault(row["question_id"], []).append(float(score))
    return found


def mt_bench_gpt4(data: Path, model: str) -> dict[tuple[int, int], float]:
    """GPT-4's published single ratings by (question, turn), failed verdicts left out."""
    path = data / "mt_bench/mt_bench/model_judgment/RouteLLM_independent/gpt-4_single.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        (row["question_id"], row["turn"]): float(row["score"])
        for row in rows
        if row["model"] == model and row["score"] != -1
    }


@dataclass(frozen=True)
class RatedAnswers:
    """Six models' MT-Bench answers (kook222): ratings and lengths of the same items, arrays of one row a rating."""

    rating: np.ndarray
    length: np.ndarray
    model: list[str]
    item: list[tuple[int, int]]
    question: list[int]


def rated_answers(data: Path, judge: str = "gpt/judge_gpt4omini") -> RatedAnswers:
    folder = data / "judge_meta/kook222_mtbench/data/en"
    rows = []
    for path in sorted((folder / "judgments" / judge / "single_grade").glob("*.jsonl")):
        answers = {}
        for line in (folder / "answers" / path.name).read_text().splitlines():
            record = json.loads(line)
            answers[record["question_id"]] = record["choices"][0]["turns"]
        for line in path.read_text().splitlines():
            record = json.loads(line)
            question = record["question_id"]
            for turn in (1, 2):
                score = record[f"score_turn{turn}"]
                if score is not None and 1.0 <= float(score) <= 10.0:
                    rows.append((float(score), len(answers[question][turn - 1]), path.stem, question, turn))
    return RatedAnswers(
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows], dtype=float),
        [row[2] for row in rows],
        [(row[3], row[4]) for row in rows],
        [row[3] for row in rows],
    )
