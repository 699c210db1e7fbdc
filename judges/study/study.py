"""The study of one or several judges against human votes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import StatisticsError, UsageError
from harness.stats.escalation import EscalationThreshold
from judges.study import battery, bias
from judges.study.confidence import Confidence, confidence
from judges.study.corrected import CorrectedRate, corrected_rates
from judges.study.escalating import escalation
from judges.study.labels import LabelList, worth_labelling
from judges.study.pair_rows import pair_rows, texts_of
from judges.study.price import Contest, contest
from judges.study.repeats import Repeats, repeats
from judges.study.study_figures import NotMeasured, Sides, StudySpec, attempt, plain_data
from judges.study.texts import Texts, name_by_text, with_texts
from judges.study.verdicts import judge_pairs
from judges.study.vote_records import JudgeFile, PairFacts, PairKey, VoteFile, merged

STUDY_VERSION = 1
_SUSPICIOUS = 20  # so many votes, all of them like the verdicts, are no accident


@dataclass(frozen=True)
class HumanReport:
    """The people.

    Parameters
    ----------
    source : str
        Where the votes come from.
    n_votes, n_pairs, n_voters : int
        How many.
    is_gold : bool
        Whether the votes are gold labels of a data set.
    cells : tuple of AgreementCell
        Agreement of every two votes: the ceiling for a judge.
    coefficients : tuple of Coefficients
        Beyond chance, with ties and without.
    """

    source: str
    n_votes: int
    n_pairs: int
    n_voters: int
    is_gold: bool
    cells: tuple[battery.AgreementCell, ...]
    coefficients: tuple[battery.Coefficients, ...]


@dataclass(frozen=True)
class JudgeReport:
    """All that is known of one judge. Every part is a figure or a reason.

    Parameters
    ----------
    name : str
        The judge.
    sources : tuple of str
        Files and run directories.
    orders : str
        How two orders make a verdict: "agree" or "mean".
    n_pairs, n_scored, n_voted : int
        Pairs judged; those with a verdict; those with a verdict and a vote.
    n_votes : int
        Votes on the latter.
    unscored : dict of str to int
        Pairs without a verdict, by reason.
    failed_presentations : dict of str to int
        Presentations without a verdict, by reason, of `n_presentations`.
    n_presentations : int
        Presentations in all.
    cells, coefficients, confusion, ranking, position, verbosity, self_preference, confidence, win_rates, repeats,
    escalation
        The parts, each documented where it is made.
    """

    name: str
    sources: tuple[str, ...]
    orders: str
    n_pairs: int
    n_scored: int
    n_voted: int
    n_votes: int
    unscored: dict[str, int]
    failed_presentations: dict[str, int]
    n_presentations: int
    cells: tuple[battery.AgreementCell, ...]
    coefficients: tuple[battery.Coefficients, ...]
    confusion: battery.Confusion
    ranking: battery.ModelRanking | NotMeasured
    position: bias.Position | NotMeasured
    verbosity: bias.Verbosity | NotMeasured
    self_preference: bias.SelfPreference | NotMeasured
    confidence: Confidence | NotMeasured
    win_rates: tuple[CorrectedRate, ...] | NotMeasured
    repeats: Repeats | NotMeasured
    escalation: EscalationThreshold | NotMeasured


@dataclass(frozen=True)
class JudgeStudy:
    """The whole study.

    Parameters
    ----------
    human : HumanReport
        The votes.
    judges : tuple of JudgeReport
        In the order given.
    contest : Contest or NotMeasured
        The judges and their ensembles against each other, with prices.
    labels : LabelList
        The pairs worth a vote.
    pairs : list of dict
        One row a pair, for browsing and plots (`judges.study.pair_rows`).
    texts : dict of str to str
        Prompts and answers by the names the rows give them.
    problems : tuple of str
        Why the figures should not be relied on; empty where they may.
    remarks : tuple of str
        What else to know of them.
    spec : StudySpec
        What was computed.
    """

    human: HumanReport
    judges: tuple[JudgeReport, ...]
    contest: Contest | NotMeasured
    labels: LabelList
    pairs: list[dict[str, Any]] = field(repr=False)
    texts: dict[str, str] = field(repr=False)
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    spec: StudySpec

    @property
    def valid(self) -> bool:
        """Whether the figures may be relied on."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """What `assay calibrate --json` prints and ``--out`` stores; every number finite."""
        judges = plain_data(self.judges)
        for judge in judges:
            judge["confidence"].pop("probabilities", None)  # they are in the rows of the pairs
        listed = self.labels.pairs[: self.spec.n_pairs_listed]
        return {
            "kind": "judge_study",
            "version": STUDY_VERSION,
            "valid": self.valid,
            "problems": list(self.problems),
            "remarks": list(self.remarks),
            "spec": plain_data(self.spec),
            "human": plain_data(self.human),
            "judges": judges,
            "contest": plain_data(self.contest),
            "labels": {
                "strength": self.labels.strength,
                "strength_is_estimated": self.labels.strength_is_estimated,
                "n_candidates": len(self.labels.pairs),
                "pairs": [{**plain_data(worth), "key": worth.key._asdict()} for worth in listed],
            },
            "pairs": self.pairs,
            "texts": self.texts,
        }


def judge_study(
    human: VoteFile,
    judges: Sequence[JudgeFile],
    spec: StudySpec | None = None,
    texts: Texts | None = None,
    max_unscored: float = 0.01,
) -> JudgeStudy:
    """Study judges against human votes.

    Parameters
    ----------
    human : VoteFile
        The votes.
    judges : sequence of JudgeFile
        At least one. (Where one side names answers by their texts alone, the other is renamed in place.)
    spec : StudySpec, optional
        What to compute.
    texts : Texts, optional
        Texts and categories of the pairs.
    max_unscored : float
        Share of a judge's pairs without a verdict above which the study is not valid.

    Returns
    -------
    JudgeStudy

    Raises
    ------
    StatisticsError
        A judge and the people have no pair in common, or no pair has a verdict.
    UsageError
        No judge, one side names answers by text and the other has no texts, or a judge's verdicts are read from the
        rows of the votes.
    """
    spec = spec or StudySpec()
    if not judges:
        raise UsageError("no judge", "at least one", "give --judgments")
    for judge in judges:
        _refuse_own_votes(human, judge)
    facts = _meet(human, judges, texts)
    sides = [Sides.of(judge_pairs(j.name, j.presentations, spec.orders), human.votes, facts) for j in judges]
    for side in sides:
        _check_common(side)
    votes = sides[0].votes
    reports = tuple(_report(judge, side, spec) for judge, side in zip(judges, sides, strict=True))
    compared = contest([side.judge for side in sides], votes, spec)
    labels = worth_labelling([(s.judge, r.confidence) for s, r in zip(sides, reports, strict=True)], votes)
    return JudgeStudy(
        _people(human, spec),
        reports,
        compared,
        labels,
        pair_rows(sides, [report.confidence for report in reports], labels),
        texts_of(sides[0]),
        tuple(_problems(judges, sides, max_unscored)),
        (*_gold(human), *_same_texts(human, judges), *_remarks(judges, sides), *_left_out(compared)),
        spec,
    )


def _refuse_own_votes(human: VoteFile, judge: JudgeFile) -> None:
    shared = human.rows & judge.rows
    if shared:
        raise UsageError(
            f"{len(shared)} of {len(judge.rows)} rows of {judge.name} ({', '.join(judge.sources)}) are read as votes "
            f"from {human.source} too: a judge agrees with its own verdicts",
            "verdicts and votes from different rows",
            "give votes of people or gold labels with --human, or choose people with --voters",
        )


def _gold(human: VoteFile) -> Iterator[str]:
    if human.is_gold and human.n_verdicts:
        yield (
            f"the votes are the {len(human.votes)} gold labels of {human.source}; the {human.n_verdicts} verdicts "
            "beside them are no votes and are not used"
        )
    elif human.is_gold:
        yield f"the votes are the {len(human.votes)} gold labels of {human.source}"


def _people(human: VoteFile, spec: StudySpec) -> HumanReport:
    return HumanReport(
        human.source,
        len(human.votes),
        len({vote.key for vote in human.votes}),
        len({vote.voter for vote in human.votes}),
        human.is_gold,
        battery.human_cells(human.votes, spec),
        tuple(battery.human_coefficients(human.votes, spec, ties) for ties in (True, False)),
    )


def _problems(judges: Sequence[JudgeFile], sides: Sequence[Sides], max_unscored: float) -> Iterator[str]:
    for judge, side in zip(judges, sides, strict=True):
        yield from judge.problems
        n_all, reasons = len(side.judge.pairs), side.judge.reasons()
        if reasons.total() > max_unscored * n_all:
            said = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
            yield (
                f"{judge.name} has no verdict on {reasons.total()} of {n_all} pairs ({said}); "
                f"at most {max_unscored:.0%} may be missing"
            )


def _remarks(judges: Sequence[JudgeFile], sides: Sequence[Sides]) -> Iterator[str]:
    for judge, side in zip(judges, sides, strict=True):
        if len(judge.sources) > 1 and any(p.repeat > 1 for p in judge.presentations):
            yield f"{judge.name} is read from {len(judge.sources)} places; what they all judge is a repetition"
        n_unjudged = sum(key not in side.judge.pairs for key in side.votes)
        if n_unjudged:
            yield f"{judge.name} did not judge {n_unjudged} of {len(side.votes)} pairs with votes"
        n_same = _n_all_the_same(side)
        if n_same >= _SUSPICIOUS:
            yield f"{judge.name} agrees with all {n_same} votes: check that they are not made of its own verdicts"


def _n_all_the_same(sides: Sides) -> int:
    """The number of votes a judge agrees with, if it agrees with all of them."""
    met = [(sides.judge.choice(key), vote.choice) for key, given in sides.votes.items() for vote in given]
    judged = [verdict == vote for verdict, vote in met if verdict is not None]
    return len(judged) if all(judged) else 0


def _left_out(compared: Contest | NotMeasured) -> Iterator[str]:
    if isinstance(compared, Contest) and any(compared.n_left_out.values()):
        left = ", ".join(f"{name} {n}" for name, n in compared.n_left_out.items() if n)
        yield (
            f"the judges have verdicts on different pairs; they are compared on the {compared.n_pairs} they share "
            f"(left out: {left})"
        )


def _report(judge: JudgeFile, sides: Sides, spec: StudySpec) -> JudgeReport:
    verdicts = sides.judge
    scored = verdicts.scored()
    common = [key for key in sides.votes if key in scored]
    failed = Counter(p.reason for p in judge.presentations if p.p_first is None)
    return JudgeReport(
        judge.name,
        tuple(judge.sources),
        verdicts.rule,
        len(verdicts.pairs),
        len(scored),
        len(common),
        sum(len(sides.votes[key]) for key in common),
        dict(verdicts.reasons()),
        dict(failed),
        len(judge.presentations),
        battery.judge_cells(sides, spec),
        tuple(battery.judge_coefficients(sides, spec, ties) for ties in (True, False)),
        battery.confusion(sides),
        battery.ranking(sides, spec),
        bias.position(sides, spec),
        bias.verbosity(sides, spec),
        bias.self_preference(sides, spec),
        attempt(lambda: confidence(sides, spec)),
        corrected_rates(sides, spec),
        repeats(verdicts, spec),
        attempt(lambda: escalation(sides, spec)),
    )


def _meet(human: VoteFile, judges: Sequence[JudgeFile], texts: Texts | None) -> Mapping[PairKey, PairFacts]:
    """Bring the names of both sides together and collect what is known of the pairs."""
    if texts is not None:
        human.facts = with_texts({vote.key for vote in human.votes}, human.facts, texts)
        for judge in judges:
            judge.facts = with_texts({p.key for p in judge.presentations}, judge.facts, texts)
    if human.by_text or any(judge.by_text for judge in judges):
        _name_all_by_text(human, judges)
    facts: Mapping[PairKey, PairFacts] = human.facts
    for judge in judges:
        facts = merged(facts, judge.facts)
    return facts


def _name_all_by_text(human: VoteFile, judges: Sequence[JudgeFile]) -> None:
    for judge in judges:
        if not judge.by_text:
            name_by_text(judge, merged(judge.facts, human.facts), judge.name)
    if not human.by_text:
        name_by_text(human, human.facts, human.source)


def _same_texts(human: VoteFile, judges: Sequence[JudgeFile]) -> list[str]:
    counts = [("votes", human.n_same_text), *((f"verdicts of {judge.name}", judge.n_same_text) for judge in judges)]
    return [f"{n} {what} left out: both answers are the same text, which names neither" for what, n in counts if n]


def _check_common(sides: Sides) -> None:
    judge = sides.judge
    scored = judge.scored()
    if not scored:
        reasons = ", ".join(f"{reason} {n}" for reason, n in judge.reasons().most_common())
        raise StatisticsError(
            f"{judge.name} has no verdict on any of its {len(judge.pairs)} pairs ({reasons})",
            "at least one verdict",
            "check the judge's replies and the parser",
        )
    if any(key in scored for key in sides.votes):
        return
    theirs, ours = next(iter(scored)), next(iter(sides.votes))
    raise StatisticsError(
        f"no pair has both a verdict of {judge.name} and a human vote; the judge's are like {_words(theirs)}, "
        f"the votes' like {_words(ours)}",
        "the same prompts, turns and models on both sides",
        "check how both files name prompts and models",
    )


def _words(key: PairKey) -> str:
    return f"prompt {key.prompt!r} turn {key.turn}: {key.first!r} against {key.second!r}"
