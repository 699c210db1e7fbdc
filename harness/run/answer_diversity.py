"""Diversity of a run's answers if it has several per prompt: one value per prompt, averaged over prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from harness.errors import StatisticsError
from harness.protocols import Items
from harness.records import Prompt, Response, Score, SummaryRow
from harness.run.figures import mean_row, prompt_score, reason_row, select
from harness.stats.diversity import cosine_diversity, distinct_n, expectation_adjusted_distinct, self_bleu, words

DIVERSITY = "diversity"
VOCABULARY = 30_000
"""Vocabulary size of the expectation-adjusted measure; that of a typical tokenizer."""
EMBEDDING_MODEL = "all-MiniLM-L6-v2"
_EMBEDDED = "embedding_diversity"
Measure = Callable[[Sequence[Sequence[str]]], float]


def measures(vocabulary: int = VOCABULARY) -> Mapping[str, Measure]:
    """Return the diversity measures of tokenized texts by name.

    Parameters
    ----------
    vocabulary : int
        Vocabulary size of the expectation-adjusted measure.
    """
    return {
        "distinct_1": lambda texts: distinct_n(texts, 1),
        "distinct_2": lambda texts: distinct_n(texts, 2),
        "expectation_adjusted_distinct": lambda texts: expectation_adjusted_distinct(texts, vocabulary),
        "self_bleu": self_bleu,
    }


def diversity_scores(prompt: Prompt, answers: Sequence[Response]) -> list[Score]:
    """Measure how much the answers to a prompt differ.

    Parameters
    ----------
    prompt : Prompt
        The prompt.
    answers : sequence of Response
        Its answers; failed ones are skipped, and the turns of an answer are joined to one text.

    Returns
    -------
    list of Score
        One score per measure, with a reason if the answers are too few or too short; empty for a single answer.
    """
    if len(answers) < 2:
        return []
    texts = ["\n".join(answer.turns) for answer in answers if answer.ok]
    if len(texts) < 2:
        reason = f"no_response: {len(texts)} of {len(answers)} answers"
        return [prompt_score(prompt, DIVERSITY, name, reason=reason) for name in measures()]
    split = [words(text) for text in texts]
    scores = [_score(prompt, name, compute, split) for name, compute in measures().items()]
    if find_spec("sentence_transformers") is not None:
        scores.append(_score(prompt, _EMBEDDED, lambda given: cosine_diversity(embeddings(given)), tuple(texts)))
    return scores


def diversity_rows(benchmark: str, scores: Sequence[Score]) -> list[SummaryRow]:
    """Average each measure over prompts; no rows if there was one answer per prompt."""
    own = select(scores, DIVERSITY)
    if not own:
        return []
    parts = dict.fromkeys(score.part for score in own)
    rows = [mean_row(benchmark, part, Items(select(own, DIVERSITY, part))) for part in parts]
    if _EMBEDDED not in parts:
        rows.append(reason_row(benchmark, _EMBEDDED, "sentence-transformers is not installed"))
    return rows


def embeddings(texts: tuple[str, ...]) -> Any:
    """Embed texts with sentence-transformers.

    Raises
    ------
    StatisticsError
        The model cannot be loaded.
    """
    try:
        return embedder().encode(list(texts), show_progress_bar=False)
    except (OSError, ValueError, ImportError) as error:
        why = " ".join(str(error).split())[:200]
        raise StatisticsError(f"{EMBEDDING_MODEL} cannot be loaded: {why}") from error


@cache
def embedder() -> Any:
    """Load the embedding model; errors of the hub or the model are passed on."""
    from importlib import import_module

    return import_module("sentence_transformers").SentenceTransformer(EMBEDDING_MODEL)


def _score(prompt: Prompt, name: str, compute: Callable[[Any], float], texts: Any) -> Score:
    try:
        return prompt_score(prompt, DIVERSITY, name, value=compute(texts))
    except StatisticsError as error:
        return prompt_score(prompt, DIVERSITY, name, reason=f"too_short: {' '.join(str(error).split())}")
