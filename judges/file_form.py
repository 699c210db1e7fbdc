"""Judge forms from text files: `own:rating`, `own:pairwise`, `own:five_way`, `own:FILE`, each with an optional scale.

The verdict is read from the last line of the reply, or from a field of its JSON, and from nowhere else.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import jsonschema

from harness.endpoint.exchange import ChatReply, ChatRequest
from harness.errors import DataError, UnknownNameError
from harness.hashing import content_hash
from harness.messages import Message
from harness.protocols import Ask, ChatSettings, DataSource, JudgeTask, Reading
from harness.records import Preference, Unscored, Verdict
from judges.final_verdict import is_echoed
from judges.form_file import FormFile, read_form_file, shipped_form, shipped_forms
from judges.forms import judged_texts
from judges.parsing import rating_of, read_text
from judges.prompt_text import task_values

_SCALE = re.compile(r"(.*)\[(-?[0-9.]+)\.\.(-?[0-9.]+)\]", re.DOTALL)
_EMPHASIS = "*_# \t"


class FileForm:
    """A judge form from a text file; each file has a class of its own, made by :meth:`of`."""

    file: ClassVar[FormFile]
    verdict: ClassVar[Literal["rating", "preference", "five_way"]] = "rating"
    n_answers: ClassVar[int] = 1
    reads: ClassVar[Literal["text", "logprobs"]] = "text"
    usual_reply_tokens: ClassVar[int] = 200

    @classmethod
    def of(cls, argument: str) -> type[Self]:
        """Return the form of a name or path, with an optional scale: "rating[1..5]".

        Raises
        ------
        UnknownNameError
            There is neither a shipped form nor a file of this name.
        MissingDataError, SpecError
            The file cannot be read, or is not a judge form.
        """
        return cast(type[Self], _form_class(argument))

    @classmethod
    def from_data(cls, data: DataSource) -> Self:
        """Return the form; it needs no upstream files."""
        del data
        return cls()

    @property
    def settings(self) -> ChatSettings:
        """The sampling parameters of the file."""
        head = self.file.head
        return ChatSettings(temperature=head.temperature, max_tokens=head.max_tokens, schema=head.schema_)

    def identity(self) -> str:
        """Hash of the file's content."""
        return content_hash("form", "own", self.file.identity())

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest:
        """Fill in the prompt.

        Raises
        ------
        DataError
            The template fails on this task.
        """
        values = {**task_values(task), "low": f"{self.file.low:g}", "high": f"{self.file.high:g}"}
        user = Message("user", self.file.prompt.render(values))
        system = self.file.head.system
        messages = (Message("system", system), user) if system else (user,)
        return settings.request(messages)

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask once and read the verdict."""
        try:
            request = self.first_request(task, settings)
        except DataError as error:
            return Reading(Unscored(reason="request_failed", detail=str(error)), "", {})
        reply = await ask(request)
        return Reading(self.read(reply, task), reply.text, {})

    def read(self, reply: ChatReply, task: JudgeTask) -> Verdict:
        """Read a reply's verdict."""
        if self.file.pattern is None:
            return read_text(reply, self._of_json)
        pattern = self.file.pattern
        return read_text(reply, lambda text: self._verdict(last_line(text, pattern, judged_texts(task))))

    def _of_json(self, text: str) -> Verdict:
        return self._verdict(json_field(text, self.file.head.schema_ or {}, self.file.head.field))

    def _verdict(self, value: str | Unscored) -> Verdict:
        if isinstance(value, Unscored):
            return value
        if self.file.head.verdict == "rating":
            return rating_of(value, self.file.low, self.file.high)
        if value not in self.file.labels:
            return Unscored(
                reason="out_of_scale", detail=f"verdict {value!r}, offered were {', '.join(self.file.labels)}"
            )
        return Preference(p_first=self.file.labels[value], label=value)


@cache
def _form_class(argument: str) -> type[FileForm]:
    name, scale = argument, None
    if match := _SCALE.fullmatch(argument):
        name, scale = match[1], (float(match[2]), float(match[3]))
    if name in shipped_forms():
        file = shipped_form(name)
    elif name and Path(name).suffix:
        file = read_form_file(Path(name))
    else:
        raise UnknownNameError(
            "judge form", f"own:{name}", [f"own:{n}" for n in shipped_forms()], "name it, or give a .txt file"
        )
    if scale is not None:
        file = file.with_scale(*scale)
    declared: dict[str, Any] = {"verdict": file.head.verdict, "n_answers": file.n_answers, "file": file}
    declared |= {"scale": (file.low, file.high), "dimensions": {}}
    return type("FileForm", (FileForm,), {**declared, "usual_reply_tokens": file.head.usual_reply_tokens})


def last_line(text: str, pattern: re.Pattern[str], answers: tuple[str, ...]) -> str | Unscored:
    """Return the first group of a pattern that the last line matches as a whole, emphasis aside.

    Parameters
    ----------
    text : str
        The judge's text.
    pattern : re.Pattern
        The format of the verdict line.
    answers : tuple of str
        The judged answers; a verdict line that one of them contains may be an echo and does not count.
    """
    lines = [line.strip(_EMPHASIS) for line in text.splitlines() if line.strip(_EMPHASIS)]
    found = pattern.fullmatch(lines[-1]) if lines else None
    if found is None:
        earlier = next((line for line in reversed(lines) if pattern.fullmatch(line)), None)
        if earlier is not None:
            return Unscored(reason="not_final", detail=f"text follows the verdict {earlier!r}")
        return Unscored(reason="unparsed", detail="the last line of the judge's text is not a verdict")
    if is_echoed(lines[-1], answers):
        return Unscored(reason="echoed", detail=f"a judged answer contains {lines[-1]!r}")
    return found.group(1)


def json_field(text: str, schema: dict[str, Any], field: str) -> str | Unscored:
    """Return a field of a reply that is JSON of a schema."""
    try:
        value = json.loads(text)
        jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
    except (ValueError, RecursionError):
        return Unscored(reason="unparsed", detail="the judge's text is not JSON")
    except jsonschema.ValidationError as error:
        return Unscored(reason="unparsed", detail=f"the judge's JSON does not follow the schema: {error.message}")
    if not isinstance(value, dict) or field not in value:
        return Unscored(reason="unparsed", detail=f"the judge's JSON has no field {field!r}")
    return str(value[field])
