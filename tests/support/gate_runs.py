"""Small finished runs with verdicts of one's choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.gate.order import random_order
from harness.hashing import content_hash
from harness.records import Judgment, Preference, Prompt, Rating, Response, Unscored
from harness.run.score import score_run
from harness.store.run_directory import RunWriter


class NoData:
    """A data source with nothing in it."""

    def path(self, name):
        from harness.errors import MissingDataError

        raise MissingDataError(f"{name} is not here")


def alpaca_prompt(index: int, category: str | None = None) -> Prompt:
    turns = (f"instruction number {index}",)
    return Prompt(benchmark="alpaca_eval", version="2", key=f"k{index}", turns=turns, category=category)


def mt_prompt(index: int, category: str | None = None) -> Prompt:
    turns = (f"ask {index}", f"again {index}")
    return Prompt(benchmark="mt_bench", version="1", key=str(index), turns=turns, category=category)


def _text(model, index, length, spread=3):
    varying = int(content_hash(model, index)[:4], 16) % spread  # lengths differ from prompt to prompt
    return f"{model} {index} ".ljust(length + varying, "x")


def _answer(prompt, model, role, text):
    return Response(
        prompt_id=prompt.id,
        benchmark=prompt.benchmark,
        model=model,
        model_id=f"id:{model}",
        role=role,
        turns=(text,) * len(prompt.turns),
    )


def write_run(path: Path, model: str, *, judge: str = "judge", complete: bool = True, max_tokens=None, **benchmarks):
    """Write a run.

    `alpaca_eval`: a share for the candidate per prompt, or a reason; `mt_bench`: a rating per prompt (both turns).
    `length`: characters of each answer.
    """
    length = benchmarks.pop("length", 20)
    spread = benchmarks.pop("spread", 3)
    stopped = benchmarks.pop("stopped", None)  # (seed, prompts asked): a run that stopped early
    plan = benchmarks.pop("plan", None)  # of the looks at which it stopped; else it was stopped by betting
    baseline_name = benchmarks.pop("baseline_name", "gpt4_1106_preview")
    categories = benchmarks.pop("categories", (None,))  # of the prompts, in turn
    cheap = benchmarks.pop("cheap", None)  # the cheap judge's verdicts; the strong one's may then be "not_chosen"
    entries, prompts, responses, judgments = [], [], [], []
    for name, verdicts in benchmarks.items():
        entries.append({"name": name, "version": "2" if name == "alpaca_eval" else "1", "asked_as": name})
        entries[-1] |= {"n_prompts": len(verdicts), "n_all_prompts": max(805, len(verdicts)), "left_out": []}
        asked = None if stopped is None else random_order([f"k{i}" for i in range(len(verdicts))], stopped[0])
        for index, verdict in enumerate(verdicts):
            category = categories[index % len(categories)]
            prompt = (alpaca_prompt if name == "alpaca_eval" else mt_prompt)(index, category)
            if asked is not None and prompt.key not in asked[: stopped[1]]:
                continue
            answer = _answer(prompt, model, "candidate", _text(model, index, length, spread))
            prompts.append(prompt)
            responses.append(answer)
            sides, order = (answer,), ("candidate",)
            if name == "alpaca_eval":
                other = _answer(prompt, baseline_name, "baseline", f"reference {index}")
                responses.append(other)
                sides, order = (other, answer), ("baseline", "candidate")
            for turn in range(1, len(prompt.turns) + 1):
                judgments.append(
                    Judgment(
                        judge=judge,
                        judge_id=content_hash("judge", judge, name),
                        benchmark=name,
                        prompt_id=prompt.id,
                        response_ids=tuple(s.id for s in sides),
                        order=order,
                        turn=turn,
                        verdict=_verdict(name, verdict),
                        meta={} if cheap is None else {"cheap": _verdict(name, cheap[index]).model_dump(mode="json")},
                    )
                )
    early_stop = None if stopped is None else plan.as_json() if plan is not None else {"seed": stopped[0]}
    _write(path, model, judge, entries, (prompts, responses, judgments), complete, max_tokens, early_stop)
    return path


def _verdict(name, verdict):
    if isinstance(verdict, str):
        return Unscored(reason=verdict)
    if name == "alpaca_eval":
        return Preference(p_first=1.0 - verdict)
    return Rating(value=verdict, low=1.0, high=10.0)


def write_head_to_head(
    path: Path, shares: Sequence[tuple[float | str, float | str]], names=("new", "old"), length=20, categories=(None,)
):
    """Write a run that judged `names[0]`'s answers against `names[1]`'s; a share for each order of presentation."""
    prompts, responses, judgments = [], [], []
    for index, pair in enumerate(shares):
        prompt = alpaca_prompt(index, categories[index % len(categories)])
        sides = {
            role: _answer(prompt, model, role, _text(model, index, length))
            for role, model in zip(("candidate", "baseline"), names, strict=True)
        }
        prompts.append(prompt)
        responses += sides.values()
        for game, (order, share) in enumerate(
            zip((("candidate", "baseline"), ("baseline", "candidate")), pair, strict=True)
        ):
            if isinstance(share, str):
                verdict = Unscored(reason=share)
            else:
                verdict = Preference(p_first=share if order[0] == "candidate" else 1.0 - share)
            judgments.append(
                Judgment(
                    judge="judge",
                    judge_id="j",
                    benchmark="alpaca_eval",
                    prompt_id=prompt.id,
                    response_ids=tuple(sides[role].id for role in order),
                    order=order,
                    game=game + 1,
                    verdict=verdict,
                )
            )
    entry = {"name": "alpaca_eval", "version": "2", "asked_as": "alpaca_eval"}
    entry |= {"n_prompts": len(prompts), "n_all_prompts": 805, "left_out": []}
    _write(path, names[0], "judge", [entry], (prompts, responses, judgments), True, None, None)
    return path


def _write(path, model, judge, entries, records, complete, max_tokens, early_stop):
    spec = {"benchmarks": [{"name": e["name"], "limit": None, "max_tokens": max_tokens} for e in entries]}
    with RunWriter(path) as writer:
        writer.write_header(
            {
                "kind": "run",
                "model": {"name": model},
                "judge": {"model": judge if judge.startswith("two:") else f"openai:{judge}"},
                "benchmarks": entries,
                "spec": spec,
                "max_unscored": 0.01,
            }
            | ({} if early_stop is None else {"early_stop": early_stop})
        )
        for group in records:
            for record in group:
                writer.append(record)
        writer.sync()
        if not complete:
            return
        scores = score_run(writer, NoData(), complete=True)
        writer.write_scores(scores.scores)
        writer.write_summary(scores.as_json())
        writer.write_manifest()
