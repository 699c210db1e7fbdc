"""The parts of a judge study: cases by hand, independent implementations, planted biases that must be found."""

from __future__ import annotations

import json

import krippendorff
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

from harness.errors import StatisticsError, UsageError
from judges.study.battery import human_coefficients, judge_coefficients
from judges.study.bias import verbosity
from judges.study.reading import read_judges, read_votes
from judges.study.study import judge_study
from judges.study.study_figures import NotMeasured, Sides, StudySpec
from judges.study.verdicts import judge_pairs
from judges.study.vote_records import JudgeFile, PairFacts, PairKey, Presentation, Vote, VoteFile
from tests.paths import DATA, needs_data

FAST = StudySpec(n_boot=200)
VOTES = DATA / "mt_bench" / "human_judgments"


def key(prompt, turn=1, first="x", second="y"):
    return PairKey(str(prompt), turn, first, second)


def votes_of(rows, facts=None):
    """Rows of (pair, voter, p_first)."""
    return VoteFile([Vote(k, who, p) for k, who, p in rows], dict(facts or {}), source="votes")


def judge_of(name, rows, facts=None):
    """Rows of (pair, p or reason, [shown first, game, repeat, cost])."""
    found = []
    for k, p, *rest in rows:
        shown, game, repeat, cost = [*rest, *(None, 1, 1, None)[len(rest) :]]
        value, reason = (None, p) if isinstance(p, str) else (p, "")
        found.append(Presentation(k, value, reason, shown, game, repeat, None, cost))
    return JudgeFile(name, found, dict(facts or {}), sources=[name])


def world(rng, n=300, right=0.8, both=True, name="judge", cost=0.01, truth=None):
    """Prompts with one voted pair each, a judge right with a probability whatever the order."""
    truth = (rng.uniform(size=n) < 0.5).astype(float) if truth is None else truth
    verdict = np.where(rng.uniform(size=n) < right, truth, 1 - truth)
    rows = []
    for i, p in enumerate(verdict):
        rows.append((key(i), float(p), True, 1, 1, cost))
        if both:
            rows.append((key(i), float(p), False, 2, 1, cost))
    return truth, judge_of(name, rows)


# ---- chance-corrected agreement on real votes, against independent implementations


@pytest.fixture(scope="module")
def sides():
    human = read_votes(VOTES / "human.jsonl", "expert*")
    (judge,) = read_judges([(None, VOTES / "gpt4_pair.jsonl")])
    return Sides.of(judge_pairs("gpt4", judge.presentations), human.votes, {}), human.votes


def comparisons(sides, ties):
    """Verdict and vote as the raw files have them, brought into one order by other code than the study's."""
    rows = [json.loads(line) for line in (VOTES / "gpt4_pair.jsonl").read_text().splitlines()]
    verdicts = {(r["question_id"], r["turn"], frozenset((r["model_a"], r["model_b"]))): side(r) for r in rows}
    people = [json.loads(line) for line in (VOTES / "human.jsonl").read_text().splitlines()]
    pairs = []
    for r in people:
        if r["judge"].startswith("expert"):
            name = (r["question_id"], r["turn"], frozenset((r["model_a"], r["model_b"])))
            if ties or "tie" not in (side(r), verdicts[name]):
                pairs.append((name, verdicts[name], side(r)))
    return pd.DataFrame(pairs, columns=["pair", "judge", "human"])


def side(row):
    if "tie" in row["winner"]:
        return "tie"
    return "low" if row[row["winner"]] == min(row["model_a"], row["model_b"]) else "high"


@needs_data
@pytest.mark.parametrize("ties", [True, False])
def test_coefficients_on_real_votes(sides, ties):
    ours = judge_coefficients(sides[0], FAST, ties)
    frame = comparisons(sides, ties)
    assert ours.cohen.value == pytest.approx(cohen_kappa_score(frame.judge, frame.human), abs=1e-9)
    table, _ = aggregate_raters(frame[["judge", "human"]].to_numpy())
    assert ours.fleiss.value == pytest.approx(statsmodels_fleiss(table), abs=1e-9)
    by_pair = frame.groupby("pair", sort=False)
    rows = [[group.judge.iloc[0], *group.human] for _, group in by_pair]
    assert ours.alpha.value == pytest.approx(alpha(rows), abs=1e-9)
    assert ours.ac1.value == pytest.approx(ac1(rows), abs=1e-9)
    # irrCAC 0.4.4, CAC(table).gwet() with 14 digits (it asks for an older pandas than ours, so it is no dependency)
    assert ours.ac1.value == pytest.approx(0.50636943479063 if ties else 0.69824936315064, abs=1e-9)
    if ties:
        assert "no unit is left out" in ours.alpha_tie_missing.reason
    else:
        judged = {name: verdict for name, verdict, _ in comparisons(sides, True).itertuples(index=False)}
        units = people_alone(False).groupby("pair", sort=False)
        rows = [[*([judged[name]] if judged[name] != "tie" else []), *group.human] for name, group in units]
        assert ours.alpha_tie_missing.value == pytest.approx(alpha(rows), abs=1e-9)
        assert ours.alpha_tie_missing.value != pytest.approx(ours.alpha.value, abs=1e-3)
    people = human_coefficients(sides[1], FAST, ties)
    rows = [list(group.human) for _, group in people_alone(ties).groupby("pair", sort=False) if len(group) > 1]
    assert people.alpha.value == pytest.approx(alpha(rows), abs=1e-9)
    assert people.ac1.value == pytest.approx(ac1(rows), abs=1e-9)
    assert people.ac1.value == pytest.approx(0.50296169724189 if ties else 0.63092187988626, abs=1e-9)
    assert isinstance(people.cohen, NotMeasured)


def people_alone(ties):
    rows = [json.loads(line) for line in (VOTES / "human.jsonl").read_text().splitlines()]
    named = [
        ((r["question_id"], r["turn"], frozenset((r["model_a"], r["model_b"]))), side(r))
        for r in rows
        if r["judge"].startswith("expert")
    ]
    return pd.DataFrame([n for n in named if ties or n[1] != "tie"], columns=["pair", "human"])


def alpha(rows):
    """The krippendorff package: raters in rows, numbers for categories."""
    codes = {"low": 0.0, "high": 1.0, "tie": 2.0}
    most = max(map(len, rows))
    data = np.full((most, len(rows)), np.nan)
    for i, row in enumerate(rows):
        data[: len(row), i] = [codes[entry] for entry in row]
    return krippendorff.alpha(reliability_data=data, level_of_measurement="nominal")


def ac1(rows):
    """Gwet (2008), written out item by item."""
    categories = sorted({entry for row in rows for entry in row})
    shares = {c: sum(row.count(c) / len(row) for row in rows) / len(rows) for c in categories}
    chance = sum(p * (1 - p) for p in shares.values()) / (len(categories) - 1)
    many = [row for row in rows if len(row) > 1]
    agreement = 0.0
    for row in many:
        agreement += sum(row.count(c) * (row.count(c) - 1) for c in categories) / (len(row) * (len(row) - 1))
    return (agreement / len(many) - chance) / (1 - chance)


# ---- biases


def test_position_bias_by_hand():
    # x over y: pair 0 both orders say x; 1 and 2 always the one shown first; 3 the one shown second; 4 tie, then y
    verdicts = [(1, 1), (1, 0), (1, 0), (0, 1), (0.5, 0)]
    rows = [
        (key(i), p, shown, 1 + (not shown))
        for i, pair in enumerate(verdicts)
        for p, shown in zip(pair, (True, False), strict=True)
    ]
    human = votes_of([(key(i), "ann", 1.0) for i in range(5)])
    found = judge_study(human, [judge_of("j", rows)], FAST).judges[0].position
    assert (found.n_both_orders, found.n_favours_first, found.n_favours_second) == (5, 3, 1)
    assert found.consistent.value == 20.0
    # shown first wins: 1+0, 1+1, 1+1, 0+0, .5+1 of 10
    assert found.shown_first_rate.value == pytest.approx(65.0)
    # people: the answer shown first wins 5 of 10 (always x, shown first in one order of each pair)
    assert found.beyond_people.value == pytest.approx(15.0)
    assert [(g.n_agree, g.n_compared) for g in found.games] == [(3, 5), (2, 5)]
    assert (found.n_both_right, found.n_votes) == (1, 5)


def test_one_order_alone_shows_the_bias_beyond_people():
    # shown first: x, x, y, y; the judge always takes the one shown first, people always x
    rows = [(key(i), float(i < 2), i < 2) for i in range(4)]
    human = votes_of([(key(i), "ann", 1.0) for i in range(4)])
    found = judge_study(human, [judge_of("j", rows)], FAST).judges[0].position
    assert found.beyond_people.value == 50.0 and found.n_both_orders == 0
    assert "both orders" in found.consistent.reason and found.n_votes == 0


@pytest.mark.parametrize("p", np.linspace(0.55, 0.99, 23).round(3))
def test_a_judge_that_only_sees_the_position_says_tie(p):
    rows = [(key(0), float(p), True, 1), (key(0), 1.0 - float(p), False, 2)]
    (pair,) = judge_pairs("j", judge_of("j", rows).presentations).pairs.values()
    assert (pair.choice, pair.p_first, pair.inconsistent) == ("tie", 0.5, True)


def test_a_missing_verdict_of_one_order_is_no_verdict_of_the_pair():
    rows = [(key(0), 1.0, True, 1), (key(0), "unparsed", False, 2), (key(1), 1.0, True, 1), (key(1), 1.0, False, 2)]
    human = votes_of([(key(0), "ann", 1.0), (key(1), "ann", 1.0)])
    study = judge_study(human, [judge_of("j", rows)], FAST)
    (judge,) = study.judges
    assert (judge.n_pairs, judge.n_scored, judge.unscored) == (2, 1, {"unparsed": 1})
    assert judge.confusion.counts["first"] == {"first": 1, "second": 0, "tie": 0, "no verdict": 1}
    assert not study.valid and "no verdict on 1 of 2 pairs" in study.problems[0]
    assert judge.position.games[1].percent_of_all == 50.0


def test_verbosity_bias_is_found_and_its_interval_covers():
    # a judge that takes the longer answer in 3 of 10 cases whatever its worth, and is right in 9 of 10 of the others
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        n = 200
        truth = rng.uniform(size=n) < 0.5
        longer = rng.uniform(size=n) < 0.5
        verdict = np.where(rng.uniform(size=n) < 0.3, longer, np.where(rng.uniform(size=n) < 0.9, truth, ~truth))
        facts = {key(i): PairFacts("x", "y", 200 if long else 50, 100) for i, long in enumerate(longer)}
        human = votes_of([(key(i), "ann", float(t)) for i, t in enumerate(truth)], facts)
        judge = judge_of("j", [(key(i), float(v)) for i, v in enumerate(verdict)])
        found = verbosity(Sides.of(judge_pairs("j", judge.presentations), human.votes, facts), FAST)
        covered += found.bias.ci_low <= 30.0 <= found.bias.ci_high
        assert found.n_longer + found.n_shorter == n
    assert covered / 60 > 0.95 - 3 * (0.05 * 0.95 / 60) ** 0.5


def test_verbosity_by_hand_and_unknown_lengths():
    facts = {key(i): PairFacts("x", "y", 10, 5) for i in range(4)} | {key(5): PairFacts("x", "y", 5, 5)}
    human = votes_of([(key(i), "ann", p) for i, p in enumerate((1.0, 1.0, 0.0, 0.0, 1.0, 1.0))], facts)
    judge = judge_of("j", [(key(i), p) for i, p in enumerate((1.0, 1.0, 1.0, 0.0, 1.0, 1.0))])
    found = judge_study(human, [judge], FAST).judges[0].verbosity
    assert (found.n_longer, found.n_shorter, found.n_no_length) == (2, 2, 1)
    assert (found.agreement_longer.value, found.agreement_shorter.value) == (100.0, 50.0)
    assert (found.judge_longer.value, found.human_longer.value) == (75.0, 50.0)
    judge.facts, human.facts = {}, {}
    assert "give --answers" in judge_study(human, [judge], FAST).judges[0].verbosity.reason


def test_self_preference_by_hand():
    models = {"own": "f", "a": "other", "b": "other", "j": "f"}
    k = [key(i, 1, "a", "own") for i in range(4)] + [key(9, 1, "a", "b")]
    human = votes_of(
        [(k[0], "ann", 1.0), (k[1], "ann", 1.0), (k[2], "ann", 0.0), (k[3], "ann", 0.5), (k[4], "ann", 1.0)]
    )
    judge = judge_of("j", [(k[0], 0.0), (k[1], 1.0), (k[2], 0.0), (k[3], 0.0), (k[4], 1.0)])
    spec = StudySpec(n_boot=200, families=models)
    found = judge_study(human, [judge], spec).judges[0].self_preference
    assert (found.family, found.own_models, found.n_pairs) == ("f", ("own",), 4)
    assert (found.judge_rate.value, found.human_rate.value, found.bias.value) == (75.0, 37.5, 37.5)
    assert (found.agreement_own.value, found.agreement_other.value) == (100.0, 50.0)


# ---- confidence


def test_a_hard_judge_gets_the_confidence_it_deserves():
    truth, judge = world(np.random.default_rng(1), 600, 0.8)
    human = votes_of([(key(i), "ann", t) for i, t in enumerate(truth)])
    found = judge_study(human, [judge], FAST).judges[0].confidence
    hits = np.mean([p.p_first == truth[int(p.key.prompt)] for p in judge.presentations])
    assert found.raw.ece.value == pytest.approx(1 - hits)
    assert found.best != "as it is" and found.n_levels == 1
    sure = np.maximum(*np.array([(p, 1 - p) for p in found.probabilities.values()]).T)
    assert sure.mean() == pytest.approx(hits, abs=0.01)


def test_an_honest_judge_is_left_as_it_is_or_close():
    rng = np.random.default_rng(2)
    p = rng.uniform(size=2000)
    human = votes_of([(key(i), "ann", float(rng.uniform() < q)) for i, q in enumerate(p)])
    found = (
        judge_study(human, [judge_of("j", [(key(i), float(q)) for i, q in enumerate(p)])], FAST).judges[0].confidence
    )
    assert found.raw.p_calibrated > 0.001
    assert found.slope == pytest.approx(1.0, abs=0.15)


# ---- price


def test_contest_finds_the_best_and_the_front():
    rng = np.random.default_rng(3)
    truth, dear = world(rng, 400, 0.95, name="dear", cost=0.05)
    judges = [dear, *(world(rng, 400, 0.75, name=n, cost=0.001, truth=truth)[1] for n in ("a", "b", "c"))]
    _, bad = world(rng, 400, 0.5, name="bad", cost=0.9, truth=truth)
    human = votes_of([(key(i), "ann", t) for i, t in enumerate(truth)])
    found = judge_study(human, [*judges, bad], FAST).contest
    by_name = {c.name: c for c in found.contenders}
    assert found.contenders[0].accuracy.value == max(c.accuracy.value for c in found.contenders)
    assert by_name["dear"].price == pytest.approx(0.1)
    assert not by_name["bad"].pareto
    group = next(c for c in found.contenders if c.kind == "majority" and set(c.members) == {"a", "b", "c"})
    # three independent judges right in 3 of 4: 0.75^3 + 3 * 0.75^2 * 0.25 = 0.84
    assert group.accuracy.value == pytest.approx(84.4, abs=6.0)
    assert group.price == pytest.approx(0.006) and group.pareto
    assert found.chosen_accuracy.value <= found.contenders[0].accuracy.value + 1e-9
    assert isinstance(found.contenders[0].behind_best, NotMeasured)


def test_judges_with_different_pairs():
    human = votes_of([(key(i), "ann", 1.0) for i in range(6)])
    one = judge_of("one", [(key(i), 1.0) for i in range(4)])
    two = judge_of("two", [(key(i), float(i % 2)) for i in range(2, 6)])
    study = judge_study(human, [one, two], FAST)
    assert study.contest.n_pairs == 2 and study.contest.n_left_out == {"one": 2, "two": 2}
    assert any("compared on the 2 they share" in remark for remark in study.remarks)
    other = judge_of("other", [(key(5), 1.0)])
    assert "no voted pair in common" in judge_study(human, [one, other], FAST).contest.reason


# ---- corrected win rates, repetitions, labels


def test_win_rates_are_corrected_towards_the_truth():
    # the judge favours model x: it says 70 %, people 50 %
    rng = np.random.default_rng(4)
    n = 900
    truth = (rng.uniform(size=n) < 0.5).astype(float)
    verdict = np.where(rng.uniform(size=n) < 0.4, 1.0, truth)
    human = votes_of([(key(i), "ann", truth[i]) for i in rng.permutation(n)[:150]])
    judge = judge_of("j", [(key(i), v) for i, v in enumerate(verdict)])
    x, y = judge_study(human, [judge], FAST).judges[0].win_rates
    assert x.rate.judge_only.value == pytest.approx(70, abs=4)
    assert x.rate.judge_bias.ci_low > 10
    assert x.rate.estimate.ci_low <= 50 <= x.rate.estimate.ci_high
    assert x.rate.estimate.value == pytest.approx(100 - y.rate.estimate.value)
    assert x.rate.effective_labels > 150
    assert x.labels.wanted.half_width == 2.5
    curve = [need.labels_only for need in x.labels.curve]
    assert curve == sorted(curve, reverse=True)


def test_repetitions():
    rng = np.random.default_rng(5)
    table = rng.uniform(size=(3, 30)).round(1)
    rows = [(key(i), float(table[r, i]), None, 1, r + 1) for r in range(3) for i in range(30)]
    human = votes_of([(key(i), "ann", 1.0) for i in range(30)])
    found = judge_study(human, [judge_of("j", rows)], FAST).judges[0].repeats
    statistic, _ = stats.friedmanchisquare(*table.T)
    assert found.concordance.w.value == pytest.approx(statistic / (3 * 29), abs=1e-9)
    assert (found.n_repeats, found.n_pairs) == (3, 30)
    assert found.unanimous.value == pytest.approx(
        100 * np.mean([len({np.sign(p - 0.5) for p in column}) == 1 for column in table.T])
    )


def test_the_pairs_most_worth_a_vote():
    # 0: sure and confirmed twice; 1: orders differ, no vote; 2: sure, no vote; 3: orders differ, voted twice
    rows = [(key(i), 1.0, shown, g) for i in (0, 2, 4, 5, 6, 7) for g, shown in ((1, True), (2, False))]
    rows += [(key(i), float(shown), shown, g) for i in (1, 3) for g, shown in ((1, True), (2, False))]
    said = [(key(i), who, 1.0) for i in (0, 3, 4, 5, 6) for who in ("ann", "bob")] + [(key(7), "ann", 0.0)]
    study = judge_study(votes_of(said), [judge_of("j", rows)], FAST)
    order = [worth.key.prompt for worth in study.labels.pairs]
    assert order[0] == "1" and order.index("3") > order.index("1")
    reasons = {worth.key.prompt: worth.reason for worth in study.labels.pairs}
    assert "no human vote yet" in reasons["1"] and "order changed" in reasons["1"]
    assert "sure of the opposite" in reasons["7"]
    values = [worth.value for worth in study.labels.pairs]
    assert values == sorted(values, reverse=True)


# ---- wrong input


def test_no_votes_in_common():
    with pytest.raises(StatisticsError, match="no pair has both") as caught:
        judge_study(votes_of([(key("a"), "ann", 1.0)]), [judge_of("j", [(key("b"), 1.0)])], FAST)
    assert "'a'" in str(caught.value) and "'b'" in str(caught.value)
    with pytest.raises(StatisticsError, match="no verdict on any of its 1 pairs"):
        judge_study(votes_of([(key("a"), "ann", 1.0)]), [judge_of("j", [(key("a"), "refused")])], FAST)
    with pytest.raises(UsageError, match="no judge"):
        judge_study(votes_of([(key("a"), "ann", 1.0)]), [], FAST)


@pytest.mark.parametrize("n", [1, 2, 12])
def test_one_class_only_is_reasons_and_never_nan(n):
    human = votes_of([(key(i), "ann", 1.0) for i in range(n)])
    study = judge_study(human, [judge_of("j", [(key(i), 1.0) for i in range(n)])], FAST)
    (judge,) = study.judges
    assert all("one class only" in c.cohen.reason for c in judge.coefficients)
    assert judge.cells[0].agreement.estimate.value == 100.0
    text = json.dumps(study.as_json(), allow_nan=False)
    assert "NaN" not in text
    assert judge.repeats.reason == "every pair was judged once"


def test_json_is_whole():
    truth, judge = world(np.random.default_rng(6), 60)
    study = judge_study(votes_of([(key(i), "ann", t) for i, t in enumerate(truth)]), [judge], FAST)
    found = study.as_json()
    assert found["kind"] == "judge_study" and len(found["pairs"]) == 60
    assert "probabilities" not in found["judges"][0]["confidence"]
    row = found["pairs"][0]
    assert row["judges"]["judge"]["calibrated"] is not None and row["votes"] == [{"voter": "ann", "p_first": truth[0]}]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
