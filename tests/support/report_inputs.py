"""What reports are made of, small and made up: a directory of `assay align`, and runs full of hostile text."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.lm_eval.task_records import VALUES
from harness.gate.decide import decide
from harness.gate.opened_runs import Comparison
from harness.gate.policy import make_policy
from harness.hashing import content_hash
from harness.records import Judgment, Preference, Prompt, Response
from harness.run.score import score_run
from harness.store.align_directory import AlignState, AlignVariant, Figure, Sample, SampleReward, StageRecord
from harness.store.run_directory import RunWriter
from tests.support.gate_runs import NoData, write_run
from training.align.reward_hacking import reward_hacking

INJECTIONS = (
    "<script>window.pwned=1</script>",
    '<img src=x onerror="window.pwned=1">',
    "</script><script>window.pwned=1</script>",
    "<!--<script>",
    "]]><svg onload=window.pwned=1>",
    '"><svg/onload=window.pwned=1>',
    "' onmouseover='window.pwned=1",
    "javascript:window.pwned=1",
    "</textarea></title></style><iframe srcdoc='<script>parent.pwned=1</script>'>",
    "{{ 7*7 }}{% for x in range(9) %}",
    "${window.pwned=1}`",
    "&lt;b&gt;&#x3c;script&#x3e;window.pwned=1&#x3c;/script&#x3e;",
    "line\u2028separator\u2029paragraph",
    "right\u202eleft\u2066isolated",
    "\x1b[31mred\x1b]0;title\x07\x9b2J\x00null",
    "hidden \U000e0041\U000e0042 tags\u200b",
    "| a | pipe | **bold** [link](http://example.invalid/) @someone #1",
    r"\input{/etc/passwd} $x^2$ % comment",
    '=HYPERLINK("http://example.invalid")',
    '<a href="http://example.invalid/" ping="http://example.invalid/">click</a>',
    "<style>body{display:none}</style><base href=http://example.invalid/><meta http-equiv=refresh content=0>",
    "<form action=http://example.invalid><button autofocus onfocus=window.pwned=1>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.pwned=1>",
)
"""Text that takes effect where it is not escaped: in HTML, scripts, attributes, Markdown, LaTeX, CSV, terminals."""


def write_hostile_run(path: Path, number: int = 0) -> Path:
    """A run in which everything another program wrote is hostile: names, categories, prompts, answers, verdicts."""
    with RunWriter(path) as writer:
        writer.write_header(
            {
                "kind": "run",
                "model": {
                    "name": f"{INJECTIONS[number]} {INJECTIONS[13]}",
                    "source": INJECTIONS[2],
                    "engine": INJECTIONS[4],
                },
                "judge": {"model": INJECTIONS[1], "ids": {INJECTIONS[5]: INJECTIONS[0]}},
                "benchmarks": [
                    {
                        "name": "alpaca_eval",
                        "version": "2",
                        "asked_as": "alpaca_eval",
                        "n_prompts": len(INJECTIONS),
                        "n_all_prompts": 805,
                        "left_out": [{"part": INJECTIONS[3], "n_prompts": 1, "reason": INJECTIONS[0]}],
                    }
                ],
                "notes": list(INJECTIONS),
                "versions": {INJECTIONS[0]: INJECTIONS[1]},
                "max_unscored": 0.01,
            }
        )
        for index, text in enumerate(INJECTIONS):
            prompt = Prompt(
                benchmark="alpaca_eval",
                version="2",
                key=f"{index} {text}",
                turns=(text,),
                system=text,
                reference=(text,),
                category=INJECTIONS[index % 3],
            )
            answers = [
                Response(
                    prompt_id=prompt.id, benchmark="alpaca_eval", model=text, model_id=role, role=role,
                    turns=(f"{text} {role} {number} {'x' * index}",),
                )
                for role in ("candidate", "baseline")
            ]  # fmt: skip
            verdict = Judgment(
                judge=text,
                judge_id="j",
                benchmark="alpaca_eval",
                prompt_id=prompt.id,
                response_ids=tuple(a.id for a in answers),
                order=("candidate", "baseline"),
                verdict=Preference(p_first=(index % 5 + number) / 6.0, label=text),
                raw=f"{text}\nThe verdict: [[A]]{text}",
            )
            for record in (prompt, *answers, verdict):
                writer.append(record)
        writer.sync()
        scores = score_run(writer, NoData(), complete=True)
        writer.write_scores(scores.scores)
        writer.write_summary(scores.as_json())
        writer.write_manifest()
    return path


def write_suite_run(path: Path, model: str, right: list[float]) -> Path:
    """A run of an academic suite: one answer a document, right (1) or wrong (0)."""
    with RunWriter(path) as writer:
        entry = {"name": "gsm8k", "version": "3", "asked_as": "lm_eval:gsm8k", "n_prompts": len(right)}
        entry |= {"n_all_prompts": 1319, "left_out": []}
        writer.write_header(
            {"kind": "run", "model": {"name": model}, "judge": None, "benchmarks": [entry], "max_unscored": 0.01}
        )
        for index, value in enumerate(right):
            prompt = Prompt(benchmark="gsm8k", version="3", key=str(index), turns=(f"sum number {index}",))
            writer.append(prompt)
            writer.append(
                Response(
                    prompt_id=prompt.id, benchmark="gsm8k", model=model, model_id=model, turns=(f"#### {index}",),
                    meta={VALUES: {"exact_match": value}},
                )
            )  # fmt: skip
        writer.sync()
        scores = score_run(writer, NoData(), complete=True)
        writer.write_scores(scores.scores)
        writer.write_summary(scores.as_json())
        writer.write_manifest()
    return path


def write_align(path: Path, n: int = 40, finished: bool = True) -> Path:
    """A directory of `assay align`: SFT, a reward model and two iterations, the second over-optimised."""
    rng = np.random.default_rng(7)
    variants = []
    stages = [_training(path, "sft", rng, 60), _training(path, "reward", rng, 40, accuracy=True)]
    rewards: dict[str, np.ndarray] = {}
    shares: dict[str, np.ndarray] = {}
    for step, name in enumerate(("sft", "dpo-1", "dpo-2")):
        if step:
            stages.append(_training(path, name, rng, 50, accuracy=True))
        run = path / f"stages/evaluate-{name}/run"
        shares[name] = np.clip(rng.normal([0.25, 0.5, 0.45][step], 0.2, n), 0.0, 1.0)
        ratings = np.clip(rng.normal([5.0, 6.5, 6.2][step], 1.5, n), 1.0, 10.0).round()
        length = [120, 180, 320][step]
        write_run(run, name, alpaca_eval=shares[name].tolist(), mt_bench=ratings.tolist(), length=length, spread=97)
        rewards[name] = _samples(path, name, rng, n, step, length)
        figures = {
            "reward": _figure(rewards[name]),
            "kl_per_response": Figure(value=[0.0, 6.0, 19.0][step], stderr=0.4, ci_low=[0.0, 5.2, 18.1][step],
                                      ci_high=[0.0, 6.8, 19.9][step], n=n),
            "length_tokens": Figure(value=length / 4, n=n),
            "win_rate_vs_sft": Figure(reason="it is the SFT model") if not step else _figure(100 * shares[name]),
        }  # fmt: skip
        parent = [None, "sft", "dpo-1"][step]
        variants.append(
            AlignVariant(
                name=name, iteration=step, checkpoint=f"stages/{name}/model", parent=parent,
                accepted=[None, True, False][step], run=str(run.relative_to(path)),
                samples=f"stages/sample-{name}", rewards=f"stages/rank-{name}", measures=figures,
                gate=_gate(path, name, parent) if parent else None,
                hacking=_hacking(rewards, shares, name, parent) if parent else None,
            )
        )  # fmt: skip
    for name, share in (("base", 0.7), ("dpo-3", 0.5)):
        suite = path / f"stages/evaluate-{name}/run"
        write_suite_run(suite, name, (rng.random(n) < share).astype(float).tolist())
        variants.append(AlignVariant(name=name, checkpoint="x", run=str(suite.relative_to(path))))
    for name, folder in (("sample-1", "sample-sft"), ("rank-1", "rank-sft")):
        stages.append(StageRecord(name=name, key=content_hash(name)[:8], dir=f"stages/{folder}", status="done"))
    state = AlignState(
        name="demo", recipe={}, recipe_hash="h", seed=0, stages=tuple(stages), variants=tuple(variants),
        chosen="dpo-1" if finished else None, chosen_because="highest win rate of the accepted variants",
        error_budget="each gate errs with probability 0.05 at most", finished=finished,
    )  # fmt: skip
    (path / "align.json").write_text(state.model_dump_json())
    return path


def _figure(values: np.ndarray) -> Figure:
    mean, stderr = float(values.mean()), float(values.std() / len(values) ** 0.5)
    return Figure(value=mean, stderr=stderr, ci_low=mean - 2 * stderr, ci_high=mean + 2 * stderr, n=len(values))


def _training(path: Path, name: str, rng: np.random.Generator, n_steps: int, accuracy: bool = False) -> StageRecord:
    folder = path / f"stages/{name}"
    folder.mkdir(parents=True)
    lines = []
    for step in range(1, n_steps + 1):
        line = {
            "step": step,
            "loss": 2.0 * np.exp(-step / 20) + 0.4 + rng.normal(0, 0.03),
            "learning_rate": 1e-4 / step,
        }
        if accuracy:
            line["accuracy"] = min(0.5 + step / 120 + rng.normal(0, 0.02), 1.0)
        if step % 20 == 0:
            line["eval_loss"] = line["loss"] + 0.1
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return StageRecord(name=name, key=content_hash(name)[:8], dir=f"stages/{name}", status="done", seconds=12.5)


def _samples(path: Path, name: str, rng: np.random.Generator, n: int, step: int, length: int) -> np.ndarray:
    answers, rewards = path / f"stages/sample-{name}", path / f"stages/rank-{name}"
    answers.mkdir(parents=True)
    rewards.mkdir(parents=True)
    samples, rewarded, means = [], [], []
    for prompt in range(n):
        own = []
        for sample in range(8):
            size = int(rng.integers(length // 2, length * 2))
            reward = float(rng.normal(step * 0.8, 1.0) + step * 0.4 * (size / length - 1.0))
            own.append(reward)
            key = content_hash("prompt", prompt)
            samples.append(
                Sample(
                    prompt_key=key, prompt=[{"role": "user", "content": f"prompt {prompt}"}], sample=sample,
                    temperature=0.7 if sample < 4 else 1.0, response=f"{name} {sample} ".ljust(size, "y"), n_chars=size,
                )
            )  # fmt: skip
            rewarded.append(SampleReward(prompt_key=key, sample=sample, reward=reward))
        means.append(np.mean(own))
    (answers / "samples.jsonl").write_text("".join(s.model_dump_json() + "\n" for s in samples))
    (rewards / "rewards.jsonl").write_text("".join(r.model_dump_json() + "\n" for r in rewarded))
    return np.array(means)


def _gate(path: Path, name: str, parent: str) -> dict:
    policy = make_policy(
        {
            "min_n": 10,
            "rules": [
                {"improve": {"benchmark": "alpaca_eval", "metric": "win_rate", "margin": 0}},
                {"keep": {"benchmark": "mt_bench", "metric": "score", "margin": 0.5}},
            ],
        }
    )
    runs = [path / f"stages/evaluate-{variant}/run" for variant in (name, parent)]
    return decide(policy, Comparison(*runs, NoData())).as_json()


def _hacking(rewards: dict, shares: dict, name: str, parent: str) -> dict:
    return asdict(reward_hacking((rewards[parent], rewards[name]), (100 * shares[parent], 100 * shares[name])))
