"""support: eight questions to a help desk, each answer rated 1 to 10 by a judge."""

from harness.errors import UsageError
from harness.messages import Sampling
from harness.protocols import Items, JudgeTask, ScoreKind
from harness.records import Prompt, Rating
from harness.run.figures import mean_row, missing_reason, prompt_score, select, verdict_of, verdict_score

TOPICS = ("a lost parcel", "a late refund", "a wrong size", "a broken lamp")
TOPICS += ("a double charge", "a missing invoice", "a cancelled order", "a return")


class Support:
    name, version, judge_forms, headlines = "support", "1", ("rating",), ("helpfulness",)
    score_kinds = {
        "helpfulness": ScoreKind("rating", "points", (1.0, 10.0)),
        "length": ScoreKind("length", "characters"),
    }

    def __init__(self, version=None):
        if version not in (None, self.version):
            raise UsageError(f"support has no version {version!r}", "support")

    def prompts(self, data):
        asked = {f"q{n}": f"Write a short reply to a customer about {topic}." for n, topic in enumerate(TOPICS, 1)}
        return [Prompt(benchmark=self.name, version=self.version, key=key, turns=(asked[key],)) for key in asked], []

    def sampling(self, prompt):
        return Sampling(temperature=0.0, max_tokens=256)

    def baselines(self, prompts, data):
        return []

    def tasks(self, prompt, candidate, baseline):
        return [JudgeTask(prompt, "rating", (candidate,))]

    def score(self, prompt, candidate, baseline, judgments):
        missing = missing_reason(candidate, baseline, needs_baseline=False)
        scores = [verdict_score(prompt, "helpfulness", verdict_of(judgments, 1, 1), missing, expected=Rating)]
        return scores + [prompt_score(prompt, "length", value=float(len(turn))) for turn in candidate.turns]

    def items(self, metric, scores):
        return Items(select(scores, metric), bounds=(1.0, 10.0)) if metric == "helpfulness" else None

    def summarize(self, scores, data):
        return [mean_row(self.name, "helpfulness", self.items("helpfulness", scores))]
