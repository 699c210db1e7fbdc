"""How often a judge and people, or people among themselves, prefer the same answer.

The convention is FastChat's ``compute_agreement.py``: a vote belongs to a question, a turn and an unordered pair of
models; every human vote on a pair is compared with the judge's one verdict, and every two human votes with each
other. All kinds of tie are one kind. The interval resamples questions: votes on one question are not independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.errors import StatisticsError
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean

Winner = Literal["model_a", "model_b", "tie"]
_SWAPPED: dict[str, Winner] = {"model_a": "model_b", "model_b": "model_a", "tie": "tie"}
_PairKey = tuple[Hashable, int, str, str]


@dataclass(frozen=True, slots=True)
class PairVote:
    """One preference between two models' answers.

    Parameters
    ----------
    question : hashable
        The question, which is the cluster.
    turn : int
        The turn judged.
    model_a, model_b : str
        The two models in the order shown.
    winner : str
        "model_a", "model_b" or anything that contains "tie" ("tie (inconsistent)" is FastChat's name for a verdict
        that changed with the order).
    """

    question: Hashable
    turn: int
    model_a: str
    model_b: str
    winner: str

    @property
    def key(self) -> _PairKey:
        """Question, turn and the two models in alphabetical order."""
        first, second = sorted((self.model_a, self.model_b))
        return (self.question, self.turn, first, second)

    @property
    def choice(self) -> Winner:
        """The winner with the models in alphabetical order.

        Raises
        ------
        StatisticsError
            Not a winner this format knows, or a model against itself.
        """
        if self.model_a == self.model_b:
            raise StatisticsError(f"a vote between {self.model_a!r} and itself", "two models")
        winner: Winner
        if "tie" in self.winner:
            winner = "tie"
        elif self.winner in _SWAPPED:
            winner = "model_a" if self.winner == "model_a" else "model_b"
        else:
            raise StatisticsError(
                f"winner {self.winner!r}", "model_a, model_b or a tie", "leave out failed verdicts and count them"
            )
        return winner if self.model_a < self.model_b else _SWAPPED[winner]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many comparisons of two votes agree.

    Parameters
    ----------
    estimate : Estimate
        In percent.
    n_agree, n_compared : int
        The counts behind it.
    """

    estimate: Estimate
    n_agree: int
    n_compared: int


def agreement_between(
    judge_votes: Iterable[PairVote], human_votes: Iterable[PairVote], ties: bool = True, level: float = 0.95
) -> Agreement:
    """Agreement of a judge, who votes once on a pair, with every human vote on it.

    Parameters
    ----------
    judge_votes : iterable of PairVote
        At most one per question, turn and pair of models.
    human_votes : iterable of PairVote
        Any number.
    ties : bool
        False leaves out comparisons in which either side says tie. (FastChat's "setup S2"; True is "S1".)
    level : float
        Nominal coverage; clusters are questions.

    Returns
    -------
    Agreement

    Raises
    ------
    StatisticsError
        The judge votes twice on a pair, a winner is unknown, or nothing can be compared.

    References
    ----------
    Zheng et al. (2023), Judging LLM-as-a-judge with MT-Bench and Chatbot Arena, arXiv:2306.05685, section 4.2, table 5.
    """
    judged: dict[_PairKey, Winner] = {}
    for vote in judge_votes:
        if vote.key in judged:
            raise StatisticsError(
                f"the judge votes twice on {vote.key}", "one verdict per question, turn and pair of models"
            )
        judged[vote.key] = vote.choice
    compared = [
        (vote.question, judged[vote.key] == vote.choice)
        for vote in human_votes
        if vote.key in judged and (ties or "tie" not in (judged[vote.key], vote.choice))
    ]
    return _agreement(compared, level)


def agreement_among(human_votes: Iterable[PairVote], ties: bool = True, level: float = 0.95) -> Agreement:
    """Agreement of every two votes on the same question, turn and pair of models.

    Parameters
    ----------
    human_votes : iterable of PairVote
        Any number per pair.
    ties : bool
        False leaves out comparisons in which either side says tie.
    level : float
        Nominal coverage; clusters are questions.

    Returns
    -------
    Agreement

    Raises
    ------
    StatisticsError
        A winner is unknown, or no pair has two votes.

    References
    ----------
    Zheng et al. (2023), arXiv:2306.05685, section 4.2.
    """
    votes: dict[_PairKey, list[Winner]] = defaultdict(list)
    for vote in human_votes:
        votes[vote.key].append(vote.choice)
    compared = [
        (key[0], one == other)
        for key, choices in votes.items()
        for i, one in enumerate(choices)
        for other in choices[i + 1 :]
        if ties or "tie" not in (one, other)
    ]
    return _agreement(compared, level)


def _agreement(compared: Sequence[tuple[Hashable, bool]], level: float) -> Agreement:
    if not compared:
        raise StatisticsError(
            "no two votes to compare", "votes on the same question, turn and models", "check the names of the models"
        )
    agrees = [100.0 * same for _, same in compared]
    estimate = cluster_mean(agrees, [question for question, _ in compared], level, (0.0, 100.0))
    return Agreement(estimate, sum(same for _, same in compared), len(compared))
