"""five_points: a grade of 1 to 5, read from the last line of the judge's reply."""

import re

from harness.hashing import content_hash
from harness.messages import Message
from harness.protocols import ChatSettings, Reading
from harness.records import Rating, Unscored
from judges.parsing import read_text

QUESTION = """Grade the answer from 1 (useless) to 5 (could not be better). End with a line of its own: "Grade: N".

<question>
{question}
</question>
<answer>
{answer}
</answer>"""
GRADE = re.compile(r"Grade: ([1-5])")


def parse(text):
    """Read the last line and nothing else: a grade quoted from the answer is no verdict."""
    found = GRADE.fullmatch(text.strip().rpartition("\n")[2])
    return Rating(value=float(found[1]), low=1.0, high=5.0) if found else Unscored(reason="unparsed")


class FivePoints:
    verdict, n_answers, reads, usual_reply_tokens = "rating", 1, "text", 80
    settings = ChatSettings(temperature=0.0, max_tokens=512)

    @classmethod
    def from_data(cls, data):
        return cls()

    def identity(self):
        return content_hash("form", "five_points", QUESTION, GRADE.pattern)

    def first_request(self, task, settings):
        question, answer = (turns[task.turn - 1] for turns in (task.prompt.turns, task.responses[0].turns))
        return settings.request((Message("user", QUESTION.format(question=question, answer=answer)),))

    async def judge(self, task, settings, ask):
        reply = await ask(self.first_request(task, settings))
        return Reading(read_text(reply, parse), reply.text, {})
