"""The gate of the loop: the policy at the level that is left to spend, and the reward-hacking alarm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import AssayError, StatisticsError
from harness.gate.decide import decide
from harness.gate.head_to_head import head_to_head_names, head_to_head_spec
from harness.gate.looks import Look, LookLedger, now, test_set_hash
from harness.gate.opened_runs import Comparison
from harness.gate.policy import HEAD_TO_HEAD, Policy
from harness.hashing import content_hash
from harness.run.stored_run import StoredRun
from harness.store.align_directory import AlignVariant, Sample, read_rewards
from harness.store.jsonl import read_json, write_json
from harness.store.run_directory import RunDirectory
from training.align.alpha import LoopGate
from training.align.evaluating import Evaluator
from training.align.measuring import prompt_means, shared_values
from training.align.reward_hacking import reward_hacking
from training.data.records import PromptItem

Pair = tuple[list[float], list[float]]


@dataclass
class Gate:
    """Decides about candidates, one after another.

    Parameters
    ----------
    evaluator : Evaluator
        Measures the candidates.
    """

    evaluator: Evaluator

    def decided(
        self, candidate: AlignVariant, accepted: AlignVariant, trained_on: Sequence[PromptItem]
    ) -> AlignVariant:
        """Decide about a measured candidate, compared with the last accepted variant."""
        hacking = self._hacking(candidate, accepted)
        policy = self.evaluator.recipe.policy()
        if policy is None:
            note = f"{candidate.note}; no gate: accepted without a test".strip("; ")
            return candidate.model_copy(update={"accepted": True, "hacking": hacking, "note": note})
        level = self._loop(policy, candidate).next_policy()
        if level is None:
            note = f"{candidate.note}; not tested: no alpha is left to spend".strip("; ")
            return candidate.model_copy(update={"accepted": False, "hacking": hacking, "note": note})
        decision = self._decision(candidate, accepted, level, trained_on)
        passed = decision["decision"] == "pass"
        return candidate.model_copy(update={"accepted": passed, "gate": decision, "hacking": hacking})

    def describe(self) -> str:
        """The error guarantee of all gates together, in words."""
        policy = self.evaluator.recipe.policy()
        if policy is None:
            return "no gate: every checkpoint was accepted, and the error has no bound"
        said = self._loop(policy, None).describe()
        ledger = LookLedger(self.evaluator.book.out)
        sets = dict.fromkeys(look.test_set for look in ledger.looks())
        return "; ".join([said, *(ledger.describe(test_set) for test_set in sets)])

    def _loop(self, policy: Policy, candidate: AlignVariant | None) -> LoopGate:
        """The loop's state before a candidate, from the recorded decisions."""
        assert self.evaluator.recipe.gate is not None
        n_tests = self.evaluator.recipe.iterations * (1 + len(self.evaluator.recipe.retries))
        loop = LoopGate.plan(policy, n_tests, self.evaluator.recipe.gate.spending)
        for variant in self.evaluator.book.state.variants:
            if candidate is not None and variant.name == candidate.name:
                break
            if variant.gate is not None:
                loop = loop.after(str(variant.gate["decision"]))
        return loop

    def _decision(
        self, candidate: AlignVariant, accepted: AlignVariant, policy: Policy, trained_on: Sequence[PromptItem]
    ) -> dict[str, Any]:
        """The decision, as a stage that is read if the loop is run again."""
        evaluator = self.evaluator
        texts = [message.content for prompt in trained_on for message in prompt.messages if message.role == "user"]
        runs = [evaluator.book.path(variant.run) for variant in (candidate, accepted)]
        assert runs[0] is not None and runs[1] is not None, "a gate has an evaluation (AlignRecipe)"
        direct = self._judged_directly(candidate, accepted, policy)
        inputs = {
            "candidate": candidate.run,
            "baseline": accepted.run,
            "head_to_head": None if direct is None else str(direct.relative_to(evaluator.book.out)),
            "policy": policy.model_dump(mode="json"),
            "training": content_hash("texts", texts),
        }

        def work(out: Path) -> dict[str, Any]:
            comparison = Comparison(runs[0], runs[1], self.evaluator.data, direct, texts)  # type: ignore[arg-type]
            decision = decide(policy, comparison).as_json()
            self._count_look(candidate, str(decision["decision"]), policy)
            write_json(out / "decision.json", decision)
            return {"decision": decision["decision"], "alpha": policy.alpha}

        directory = evaluator.book.stage(f"gate-{candidate.name}", inputs, work)
        return dict(read_json(directory / "decision.json"))

    def _count_look(self, candidate: AlignVariant, decision: str, policy: Policy) -> None:
        """Record a look at the evaluation's prompts, once for each candidate."""
        evaluator = self.evaluator
        directory = evaluator.book.path(candidate.run)
        assert directory is not None
        asked = test_set_hash(RunDirectory(directory).prompts())
        ledger = LookLedger(evaluator.book.out)
        if all(look.candidate != candidate.run for look in ledger.looks(asked)):
            who = f"align {candidate.name}"
            ledger.record(Look(asked, now(), who, str(candidate.run), decision, policy.alpha, policy.identity))

    def _judged_directly(self, candidate: AlignVariant, accepted: AlignVariant, policy: Policy) -> Path | None:
        """Judge candidate against baseline if the policy asks for it; the run's directory."""
        evaluator, judge = self.evaluator, self.evaluator.recipe.evaluation.judge
        candidate_run, baseline_run = (evaluator.book.path(variant.run) for variant in (candidate, accepted))
        if judge is None or candidate_run is None or baseline_run is None:
            return None
        _, names = head_to_head_names(policy, map(StoredRun.open, (candidate_run, baseline_run)))
        if not names:
            return None
        fields = {
            "judge": judge.model_dump(),
            "seed": self.evaluator.recipe.seed,
            "canaries": self.evaluator.recipe.evaluation.canaries,
            "max_unscored": self.evaluator.recipe.evaluation.max_unscored,
        }
        spec = head_to_head_spec((candidate.name, candidate_run), baseline_run, names, fields)
        return evaluator.run(f"direct-{candidate.name}", spec, candidate_run)

    # ---- reward hacking

    def _hacking(self, candidate: AlignVariant, accepted: AlignVariant) -> dict[str, Any] | None:
        """Compare the gain in reward with the gain by gold, or else by the judge, on the same prompts."""
        try:
            rewards, truth, by = self._gains(candidate, accepted)
            if not rewards[0]:
                return {"verdict": "not measured", "message": "no prompt has both a reward and a verdict"}
            return {**asdict(reward_hacking(rewards, truth)), "by": by}
        except StatisticsError as error:
            return {"verdict": "not measured", "message": " ".join(str(error).split())}

    def _gains(self, candidate: AlignVariant, accepted: AlignVariant) -> tuple[Pair, Pair, str]:
        """Rewards and true scores of the prompts that have both, each before and after, and whose scores they are."""
        evaluator = self.evaluator
        if evaluator.gold is not None:
            answers = [evaluator.answers(variant) for variant in (accepted, candidate)]
            rewards = [prompt_means(own.values("reward")) for own in answers]
            truth = [prompt_means(own.values("gold")) for own in answers]
            by = evaluator.gold.name
        else:
            name, metric = self._judged_metric()
            truth = [self._judged(variant, name, metric) for variant in (accepted, candidate)]
            rewards = [self._rewards_on(variant, name) for variant in (accepted, candidate)]
            by = f"{name} {metric}"
        values = shared_values(*rewards, *truth)
        return (values[0], values[1]), (values[2], values[3]), by

    def _judged_metric(self) -> tuple[str, str]:
        """The first metric of an improve rule of the policy."""
        policy = self.evaluator.recipe.policy()
        for kind, rule in policy.each_rule() if policy is not None else ():
            if kind == "improve" and rule.metric != HEAD_TO_HEAD:
                return rule.benchmark, rule.metric
        raise StatisticsError("no rule of the policy requires a judged metric to improve", "an improve rule")

    def _judged(self, variant: AlignVariant, name: str, metric: str) -> dict[str, float]:
        """A variant's values of a metric, by prompt."""
        run, plain = self._evaluated(variant, name)
        scores = run.scores_of(plain)
        items = run.benchmark(plain).items(metric, scores) or run.benchmark(plain).items("win_rate", scores)
        if items is None:
            raise StatisticsError(f"{name} {metric} is not a mean over prompts")
        return prompt_means(
            {(s.prompt_id, n): items.scale * s.value for n, s in enumerate(items.scores) if s.value is not None}
        )

    def _evaluated(self, variant: AlignVariant, name: str) -> tuple[StoredRun, str]:
        """A variant's evaluation run, and the plain name of a benchmark in it."""
        directory = self.evaluator.book.path(variant.run)
        if directory is None:
            raise StatisticsError(f"{variant.name} has no evaluation run")
        run = StoredRun.open(directory)
        entry = run.entry(name)
        if entry is None:
            raise StatisticsError(f"the run of {variant.name} does not have {name}")
        return run, str(entry["name"])

    def _rewards_on(self, variant: AlignVariant, name: str) -> dict[str, float]:
        """The ranker's rewards of a variant's answers to a benchmark's prompts."""
        run, plain = self._evaluated(variant, name)

        def answers() -> list[Sample]:
            prompts = run.prompts_of(plain)
            return [
                Sample(
                    prompt_key=key,
                    prompt=[{"role": "user", "content": prompts[key].turns[0]}],
                    sample=0,
                    temperature=0.0,
                    response=answer.turns[0],
                    n_chars=len(answer.turns[0]),
                )
                for key, answer in run.answers(plain, "candidate").items()
                if answer.ok and answer.turns
            ]

        try:
            path = self.evaluator.rewards(f"score-{plain}-{variant.name}", str(variant.run), answers)
        except AssayError as error:
            raise StatisticsError(f"the answers to {name} have no rewards: {' '.join(str(error).split())}") from error
        return {r.prompt_key: r.reward for r in read_rewards(path) if r.reward is not None}
