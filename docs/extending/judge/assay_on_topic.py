"""on_topic: how many of the question's words the answer takes up; `--judge on_topic:4` counts words of 4 letters on."""

import re

from harness.errors import SpecError
from harness.hashing import content_hash
from harness.records import Judgment, Preference, Rating


class OnTopic:
    def __init__(self, context):
        letters = context.spec.model.partition(":")[2]
        if not letters.isdigit():
            raise SpecError(f"judge {context.spec.model!r}", "on_topic:LETTERS, the length of a word that counts")
        self.word = re.compile(rf"\w{{{letters},}}")
        self.name = f"on_topic:{letters}"

    def judge_id(self, form):
        return content_hash("on_topic", 1, self.word.pattern, form)

    def describe(self):
        return {"model": self.name}

    async def prepare(self):
        """Fail here, before anything is generated, where a judge needs something it lacks."""

    def share(self, question, answer):
        wanted = set(self.word.findall(question.lower()))
        return len(wanted & set(self.word.findall(answer.lower()))) / max(len(wanted), 1)

    async def judge(self, task, *, fresh=False):
        turn = task.turn - 1
        shares = [self.share(task.prompt.turns[turn], response.turns[turn]) for response in task.responses]
        if len(shares) == 1:
            verdict = Rating(value=1.0 + 9.0 * shares[0], low=1.0, high=10.0)
        else:
            verdict = Preference(p_first=0.5 + 0.5 * (shares[0] - shares[1]))
        return Judgment(
            judge=self.name,
            judge_id=self.judge_id(task.form),
            benchmark=task.prompt.benchmark,
            prompt_id=task.prompt.id,
            response_ids=tuple(response.id for response in task.responses),
            order=tuple(response.role for response in task.responses),
            turn=task.turn,
            game=task.game,
            verdict=verdict,
        )

    async def close(self):
        """Free what `prepare` took."""
