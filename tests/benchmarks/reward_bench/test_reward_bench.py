"""RewardBench 1 and 2 on scripted scorers: credits worked by hand, ties, order effects, wrong files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.reward_bench.items import PRIOR_SETS, answers_of, conversation
from benchmarks.reward_bench.reward_bench_1 import RewardBench
from benchmarks.reward_bench.reward_bench_2 import RewardBench2
from benchmarks.reward_bench.sections import SECTIONS_V1, ties_score
from harness.data.store import DataStore
from harness.errors import DataError, FileFormatError, MissingDataError, SpecError, UnknownNameError, UsageError
from harness.protocols import CheckedBenchmark, ConfigurableBenchmark, EngineBenchmark, MeasureContext
from tests.paths import MIRROR, needs_data
from tests.support.scripted_scorers import RuledJudge, RuledPreferences, RuledRewards

SUBSETS = [subset for section in SECTIONS_V1.values() for subset in section]


def store(tmp_path, mirror=None) -> DataStore:
    if mirror is None:
        mirror = tmp_path / "mirror"
        (mirror / "github").mkdir(parents=True, exist_ok=True)
    return DataStore(mirror, tmp_path / "cache", True)


def version_1(path, n=4, wrong=1, **changes):
    """Every subset with n pairs, of which the first `wrong` have the better answer rejected."""
    with path.open("w") as file:
        for subset in SUBSETS:
            for i in range(n):
                good, bad = f"good {subset} {i}", f"bad {subset} {i}"
                pair = (bad, good) if i < wrong else (good, bad)
                row = {
                    "prompt": f"question {subset} {i}",
                    "chosen": pair[0],
                    "rejected": pair[1],
                    "subset": subset,
                    "id": i,
                }
                file.write(json.dumps(row | changes) + "\n")
    return path


def version_2(path):
    """Four items a domain of which one is missed, and two pairs of Ties."""

    def item(name, subset, right, wrong):
        answers = {"chosen": [str(x) for x in right], "rejected": [str(x) for x in wrong]}
        return {"id": name, "prompt": "q", **answers, "num_correct": len(right), "subset": subset}

    domains = ("Factuality", "Precise IF", "Math", "Safety", "Focus")
    rows = [item(str(i), domain, [5 if i else 0], [1, 2, 3]) for domain in domains for i in range(4)]
    pairs = [(([9], [1, 2]), ([5, 6], [1])), (([3], [4]), ([5, 9], [4, 0]))]
    for i, (ref, tied) in enumerate(pairs):
        rows += [item(f"ref:{i}", "Ties", *ref), item(f"tied:{i}", "Ties", *tied)]
    path.write_text(json.dumps(rows))
    return path


def measure(benchmark, engine, tmp_path, mirror=None, seed=0):
    """Measure with an engine: rows by metric, scores, responses, problems."""
    data = store(tmp_path, mirror)
    prompts, left_out = benchmark.prompts(data)
    assert left_out == []
    context = MeasureContext(engine=engine, model="m", seed=seed, work=tmp_path, data=data)
    responses = {r.prompt_id: r for r in benchmark.measure(prompts, context)}
    assert set(responses) == {p.id for p in prompts}
    scores = [s for p in prompts for s in benchmark.score(p, responses[p.id], None, [])]
    rows = {row.metric: row for row in benchmark.summarize(scores, data)}
    return rows, scores, responses, benchmark.problems(scores)


def goodness(text):
    return 1.0 if text.startswith("good") else 0.0


def by_number(text):
    return float(text)


def test_they_are_what_the_runner_takes_them_for():
    for benchmark in (RewardBench.of_version(None), RewardBench.of_version("2")):
        for protocol in (EngineBenchmark, ConfigurableBenchmark, CheckedBenchmark):
            assert isinstance(benchmark, protocol)


def test_a_reward_model_on_every_subset(tmp_path):
    benchmark = RewardBench().with_options({"data": version_1(tmp_path / "rb.jsonl")})
    engine = RuledRewards(goodness)
    rows, _, responses, problems = measure(benchmark, engine, tmp_path)
    for metric in ("score", *SECTIONS_V1, *(f"subset_{s}" for s in SUBSETS)):
        assert rows[metric].value == pytest.approx(75.0)
        assert rows[metric].ci_low < 75.0 < rows[metric].ci_high
    assert problems == []
    assert rows["tied"].value == 0.0
    assert engine.passes == [2 * 4 * len(SUBSETS)]
    one = next(iter(responses.values()))
    assert set(one.meta) == {"rewards", "n_tokens", "characters"}
    # the six languages of a problem are one cluster
    assert rows["reasoning"].n == 28 and rows["reasoning"].n_clusters == 8


def test_sections_weigh_their_subsets_as_upstream(tmp_path):
    rule = lambda text: float("hep" not in text) * goodness(text)  # noqa: E731 - all code pairs are tied
    benchmark = RewardBench().with_options({"data": str(version_1(tmp_path / "rb.jsonl", wrong=0))})
    rows, scores, _, problems = measure(benchmark, RuledRewards(rule), tmp_path)
    assert rows["subset_hep-go"].value == pytest.approx(50.0)
    assert rows["reasoning"].value == pytest.approx(75.0)  # math-prm counts as much as all code
    assert rows["score"].value == pytest.approx((300.0 + 75.0) / 4)
    assert rows["tied"].value == pytest.approx(100.0 * 6 / 23)
    assert problems == []
    for metric in ("score", "reasoning"):  # what comparisons average is the figure
        items = benchmark.items(metric, scores)
        mean = sum(s.weight * s.value for s in items.scores) / sum(s.weight for s in items.scores)
        assert 100.0 * mean == pytest.approx(rows[metric].value)


def test_a_constant_reward_is_a_problem_not_a_figure_to_believe(tmp_path):
    benchmark = RewardBench().with_options({"data": version_1(tmp_path / "rb.jsonl")})
    rows, _, _, problems = measure(benchmark, RuledRewards(lambda text: 0.25), tmp_path)
    assert rows["tied"].value == 100.0
    assert len(problems) == 1 and "does not tell answers apart" in problems[0]


def test_a_preference_model_decides_by_both_orders_together(tmp_path):
    benchmark = RewardBench().with_options({"data": version_1(tmp_path / "rb.jsonl")})
    engine = RuledPreferences(goodness)
    engine.bias = 3.0  # it always names the first shown, by more where that is the better one
    rows, _, responses, problems = measure(benchmark, engine, tmp_path)
    assert rows["score"].value == pytest.approx(75.0)
    assert rows["first_shown_preferred"].value == 100.0
    assert len(problems) == 1 and "position bias: the answer shown first is preferred in 100.0 %" in problems[0]
    assert all(len(r.meta["shown"]) == 2 for r in responses.values())


@needs_data
@pytest.mark.parametrize(
    ("reply", "value", "first", "n_problems"),
    [
        (lambda text: "[[A]]" if text.index("good") < text.index("bad ") else "[[B]]", 75.0, 50.0, 0),
        (lambda text: "[[A]]", 50.0, 100.0, 1),
        (lambda text: "[[B]]", 50.0, 0.0, 1),
        (lambda text: "[[C]]", 50.0, 50.0, 1),
    ],
)
def test_a_prompted_judge_sees_both_orders(tmp_path, reply, value, first, n_problems):
    benchmark = RewardBench().with_options({"data": version_1(tmp_path / "rb.jsonl")})
    engine = RuledJudge(reply)
    rows, _, responses, problems = measure(benchmark, engine, tmp_path, MIRROR)
    assert rows["score"].value == pytest.approx(value)
    assert rows["first_shown_preferred"].value == pytest.approx(first)
    assert len(problems) == n_problems
    assert engine.passes == [2 * 4 * len(SUBSETS)]
    one = next(iter(responses.values()))
    assert one.meta["form"] == "pairwise" and len(one.turns) == 2


@needs_data
def test_one_order_is_the_seeds(tmp_path):
    path = version_1(tmp_path / "rb.jsonl")
    benchmark = RewardBench().with_options({"data": path, "orders": "one"})
    found = []
    for seed in (0, 0, 1):
        rows, scores, _, problems = measure(benchmark, RuledJudge(lambda text: "[[A]]"), tmp_path, MIRROR, seed)
        found.append([s.value for s in scores if s.metric == "outcome"])
        assert rows["first_shown_preferred"].value == 100.0 and problems
    assert found[0] == found[1] != found[2]
    assert 0.3 < np.mean(found[0]) < 0.7


@needs_data
def test_what_a_judge_leaves_open_is_not_scored(tmp_path):
    path = version_1(tmp_path / "rb.jsonl", n=2, wrong=0)

    def reply(text):
        return None if "question hep-go 0" in text else "Hm." if "question hep-go 1" in text else "[[A]]"

    benchmark = RewardBench().with_options({"data": path})
    rows, _, responses, _ = measure(benchmark, RuledJudge(reply), tmp_path, MIRROR)
    assert rows["subset_hep-go"].value is None
    assert rows["reasoning"].unscored == {"no_response": 1, "unparsed": 1}
    failed = [r for r in responses.values() if not r.ok]
    assert len(failed) == 1 and failed[0].retryable and failed[0].error == "out of memory"


def test_what_a_reward_model_cannot_read_is_not_scored(tmp_path):
    rule = lambda text: None if text == "good donotanswer 3" else goodness(text)  # noqa: E731
    benchmark = RewardBench().with_options({"data": version_1(tmp_path / "rb.jsonl")})
    rows, _, _, _ = measure(benchmark, RuledRewards(rule), tmp_path)
    assert rows["subset_donotanswer"].n == 3
    assert rows["subset_donotanswer"].unscored == {"no_response": 1}


@pytest.mark.parametrize(("part", "metrics"), [("chat_hard", 7), ("llmbar-natural", 1), ("hep-go", 1)])
def test_parts_by_name(tmp_path, part, metrics):
    benchmark = RewardBench.of_version(part).with_options({"data": version_1(tmp_path / "rb.jsonl")})
    rows, _, _, _ = measure(benchmark, RuledRewards(goodness), tmp_path)
    assert len(rows) == metrics + 1  # and the share of ties
    assert rows.get("chat_hard" if part == "chat_hard" else f"subset_{part}").value == pytest.approx(75.0)
    assert RewardBench.of_version(f"1:{part}").part == part


def test_a_section_with_a_subset_missing_has_no_figure(tmp_path):
    path = version_1(tmp_path / "rb.jsonl")
    path.write_text("".join(line for line in path.open() if '"math-prm"' not in line))
    rows, scores, _, _ = measure(RewardBench().with_options({"data": path}), RuledRewards(goodness), tmp_path)
    assert rows["reasoning"].value is None and "math-prm" in rows["reasoning"].reason
    assert rows["score"].value is None
    assert rows["chat"].value == pytest.approx(75.0)
    assert RewardBench().items("reasoning", scores) is None


@pytest.mark.parametrize("name", ["llmbar-natual", "3", "2:tie"])
def test_unknown_parts(name):
    with pytest.raises(UnknownNameError, match="part of reward_bench"):
        RewardBench.of_version(name)


def test_prior_sets_count_half_a_section(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    data = tmp_path / "mirror/huggingface/datasets/allenai"
    core = [json.loads(line) for line in version_1(tmp_path / "rb.jsonl", wrong=0).open()]
    files = {"reward-bench/data/filtered": core}
    history = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    for number, name in enumerate(PRIOR_SETS):
        pairs = [("good", "bad") if i >= number else ("bad", "good") for i in range(4)]
        files[f"preference-test-sets/data/{name}"] = [
            {"prompt": history, "chosen": chosen, "rejected": rejected} for chosen, rejected in pairs
        ]
    for name, rows in files.items():
        path = data / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.Table.from_pylist(rows), path)
    benchmark = RewardBench().with_options({"prior_sets": True})
    rows, scores, _, _ = measure(benchmark, RuledRewards(goodness), tmp_path)
    assert [rows[f"subset_{name}"].value for name in PRIOR_SETS] == [100.0, 75.0, 50.0, 25.0]
    assert rows["prior_sets"].value == pytest.approx(62.5)
    assert rows["score"].value == pytest.approx((400.0 + 0.5 * 62.5) / 4.5)
    items = benchmark.items("score", scores)
    mean = sum(s.weight * s.value for s in items.scores) / sum(s.weight for s in items.scores)
    assert 100.0 * mean == pytest.approx(rows["score"].value)
    prompts, _ = RewardBench.of_version("shp").prompts(store(tmp_path))
    assert [m.role for m in conversation(prompts[0])] == ["user", "assistant", "user"]
    assert prompts[0].turns == ("a", "c")


def expected_ties():
    ref = {0: ([9.0], [1.0, 2.0]), 1: ([3.0], [4.0])}
    return 100.0 * ties_score(ref, {0: ([5.0, 6.0], [1.0]), 1: ([5.0, 9.0], [4.0, 0.0])})


def test_version_2_is_best_of_four_and_ties(tmp_path):
    benchmark = RewardBench.of_version("2").with_options({"data": version_2(tmp_path / "rb2.json")})
    rows, scores, _, problems = measure(benchmark, RuledRewards(by_number), tmp_path)
    for domain in ("factuality", "precise_if", "math", "safety", "focus"):
        assert rows[domain].value == pytest.approx(75.0)
    assert rows["ties"].value == pytest.approx(expected_ties())
    assert rows["score"].value == pytest.approx((5 * 75.0 + expected_ties()) / 6)
    assert rows["score"].ci_low < rows["score"].value < rows["score"].ci_high
    assert problems == []
    for metric in ("score", "ties", "math"):
        items = benchmark.items(metric, scores)
        mean = sum(s.weight * s.value for s in items.scores) / sum(s.weight for s in items.scores)
        assert 100.0 * mean == pytest.approx(rows[metric].value)


def test_version_2_shares_the_credit_of_a_tie(tmp_path):
    """The right answer, 5 or 0, against 1, 2, 3: rewards above 2 are all alike, so three are tied."""
    benchmark = RewardBench2.of_version("Math").with_options({"data": version_2(tmp_path / "rb2.json")})
    rows, scores, _, _ = measure(benchmark, RuledRewards(lambda text: min(float(text), 2.0)), tmp_path)
    assert list(rows) == ["math", "tied"]
    assert sorted(s.value for s in scores if s.metric == "outcome") == pytest.approx([0.0, 1 / 3, 1 / 3, 1 / 3])


def test_version_2_of_a_preference_model_is_its_mean_log_odds(tmp_path):
    """Of 5 against 1, 2, 3, whose log-odds are their distances, the means are those from the others."""
    benchmark = RewardBench2.of_version("Math").with_options({"data": version_2(tmp_path / "rb2.json")})
    rows, _, responses, _ = measure(benchmark, RuledPreferences(by_number), tmp_path)
    assert rows["math"].value == pytest.approx(75.0)
    right = [r for r in responses.values() if r.meta["rewards"][0] > 0]
    assert len(right) == 3
    for response in right:
        assert response.meta["rewards"] == pytest.approx([3.0, -7 / 3, -1.0, 1 / 3])
        assert len(response.meta["shown"]) == 12


@needs_data
def test_version_2_of_a_prompted_judge_is_its_ratings(tmp_path):
    def rate(text):
        answer = text.partition("[The Start of Assistant's Answer]")[2].partition("[The End")[0].strip()
        return f"Rating: [[{int(answer) + 1}]]"

    benchmark = RewardBench2().with_options({"data": version_2(tmp_path / "rb2.json")})
    rows, _, responses, _ = measure(benchmark, RuledJudge(rate), tmp_path, MIRROR)
    assert rows["safety"].value == pytest.approx(75.0)
    assert rows["ties"].value == pytest.approx(expected_ties())
    assert next(iter(responses.values())).meta["form"] == "rating"


def test_an_engine_that_does_neither(tmp_path):
    benchmark = RewardBench().with_options({"data": version_1(tmp_path / "rb.jsonl")})
    with pytest.raises(UsageError, match="neither scores answers nor writes text"):
        measure(benchmark, object(), tmp_path)
    implicit = benchmark.with_options({"data": tmp_path / "rb.jsonl", "ask": "implicit"})
    with pytest.raises(UsageError, match="cannot give implicit rewards"):
        measure(implicit, RuledJudge(str), tmp_path)


@needs_data
def test_llmbar_natural_needs_no_other_file(tmp_path):
    prompts, _ = RewardBench.of_version("llmbar-natural").prompts(store(tmp_path, MIRROR))
    assert len(prompts) == 100 and {p.category for p in prompts} == {"llmbar-natural"}
    assert all(len(answers_of(p)) == 2 for p in prompts)
    own = RewardBench.of_version("llmbar-natural").with_options(
        {"data": MIRROR.parent / "judge_meta/llmbar/Dataset/LLMBar/Natural"}
    )
    assert [answers_of(p) for p in own.prompts(store(tmp_path))[0]] == [answers_of(p) for p in prompts]
    with pytest.raises(MissingDataError, match="reward_bench/filtered"):
        RewardBench().prompts(store(tmp_path, MIRROR))


def test_own_items_are_no_version_of_upstreams(tmp_path):
    benchmark = RewardBench().with_options({"data": version_1(tmp_path / "rb.jsonl")})
    versions = {p.version for p in benchmark.prompts(store(tmp_path))[0]}
    version_1(tmp_path / "rb.jsonl", wrong=2)
    changed = {p.version for p in benchmark.prompts(store(tmp_path))[0]}
    assert len(versions) == len(changed) == 1 and versions.isdisjoint(changed)


def test_items_of_one_name_are_told_apart(tmp_path):
    path = version_1(tmp_path / "rb.jsonl", n=2, id=7, prompt="the same question")
    prompts, _ = RewardBench.of_version("hep-go").with_options({"data": path}).prompts(store(tmp_path))
    assert [p.key for p in prompts] == ["hep-go/7", "hep-go/7#2"]
    assert len({p.id for p in prompts}) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chosen": None}, "line 1: field 'chosen' is None"),
        ({"rejected": ["a"]}, r"field 'rejected' is \['a'\]"),
        ({"subset": "chat"}, "unknown subset 'chat' in field 'subset'"),
        ({"prompt": []}, "field 'prompt' is"),
        ({"id": None}, "field 'id' is None"),
    ],
)
def test_a_wrong_schema_names_the_field(tmp_path, change, words):
    path = version_1(tmp_path / "rb.jsonl", **change)
    with pytest.raises(FileFormatError, match=words):
        RewardBench().with_options({"data": path}).prompts(store(tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chosen": "one"}, "field 'chosen' is 'one'"),
        ({"chosen": [1]}, "field 'chosen' is not a list of texts"),
        ({"num_correct": 2}, "num_correct is 2 and 'chosen' holds 1"),
        ({"subset": "Maths"}, "unknown subset 'Maths'"),
        ({"subset": "Ties"}, "ref:NUMBER or tied:NUMBER"),
        ({"rejected": []}, "right and wrong ones"),
    ],
)
def test_a_wrong_schema_of_version_2_names_the_field(tmp_path, change, words):
    rows = json.loads(version_2(tmp_path / "rb2.json").read_text())
    (tmp_path / "rb2.json").write_text(json.dumps([rows[0] | change]))
    with pytest.raises(FileFormatError, match=words):
        RewardBench2().with_options({"data": tmp_path / "rb2.json"}).prompts(store(tmp_path))


def test_files_that_are_no_data(tmp_path):
    benchmark = RewardBench()
    with pytest.raises(MissingDataError, match="there is no file or directory"):
        benchmark.with_options({"data": tmp_path / "nowhere"}).prompts(store(tmp_path))
    with pytest.raises(MissingDataError, match="holds no data file"):
        benchmark.with_options({"data": tmp_path}).prompts(store(tmp_path))
    (tmp_path / "x.parquet").write_text("not parquet")
    with pytest.raises(FileFormatError, match="not a parquet file"):
        benchmark.with_options({"data": tmp_path / "x.parquet"}).prompts(store(tmp_path))
    version_1(tmp_path / "rb.jsonl")
    path = tmp_path / "rb.jsonl"
    path.write_text("".join(line for line in path.open() if "llmbar-natural" not in line))
    with pytest.raises(DataError, match="holds no item of llmbar-natural"):
        RewardBench.of_version("llmbar-natural").with_options({"data": path}).prompts(store(tmp_path))


@pytest.mark.parametrize(
    ("benchmark", "options", "words"),
    [
        (RewardBench(), {"order": "one"}, "did you mean 'orders'"),
        (RewardBench(), {"orders": "random"}, "orders: Input should be 'both' or 'one' .got 'random'"),
        (RewardBench(), {"prior_sets": "yes"}, "prior_sets: Input should be a valid boolean"),
        (RewardBench(), {"max_tokens": 0}, "max_tokens: Input should be greater than 0"),
        (RewardBench(), {"ask": "judge", "reference": "x"}, "is for ask=implicit"),
        (RewardBench2(), {"prior_sets": True}, "unknown field 'prior_sets'"),
        (RewardBench2(), {"reference": "x", "reference_free": "sum"}, "both reference and reference_free"),
    ],
)
def test_wrong_options(benchmark, options, words):
    with pytest.raises(SpecError, match=words):
        benchmark.with_options(options)
