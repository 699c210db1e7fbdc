"""Judge prompts as Jinja templates: the fields they can use, and the sandbox they are rendered in.

=============  ==========================================================================================
field          content
=============  ==========================================================================================
question       the user's message of the judged turn
answer         the answer of that turn (forms that show one answer)
answer_a/_b    the answers of that turn, in the order shown (forms that show two)
history        the earlier turns: a list with `question`, and `answer` or `answer_a` and `answer_b`
reference      the reference of that turn; "" if there is none
system         the system message; "" if there is none
category       the prompt's category; ""
fence          a tag name that occurs in none of the texts, to delimit them
low, high      ends of the scale (ratings)
=============  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from harness.errors import DataError, SpecError, nearest
from harness.hashing import content_hash
from harness.protocols import JudgeTask

_SHARED = ("question", "history", "reference", "system", "category", "fence")
_LONGEST = 4_000_000
"""Characters of a rendered prompt; a template that loops could fill the memory otherwise."""


def fields(n_answers: int, extra: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names a template may use."""
    return (*_SHARED, *answer_fields(n_answers), *extra)


def answer_fields(n_answers: int) -> tuple[str, ...]:
    """Return the names of the answers in a template."""
    return ("answer",) if n_answers == 1 else ("answer_a", "answer_b")


class PromptText:
    """A compiled template.

    Parameters
    ----------
    source : str
        The text.
    where : str
        Its file, for messages.
    allowed, required : collection of str
        Names it may use, and names it must use.

    Raises
    ------
    SpecError
        It is not a Jinja template, uses an unknown name, or lacks a required one.
    """

    def __init__(self, source: str, where: str, allowed: Collection[str], required: Collection[str]) -> None:
        self.source = source
        self.where = where
        environment = ImmutableSandboxedEnvironment(
            undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
        )
        try:
            names = meta.find_undeclared_variables(environment.parse(source))
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise SpecError(
                f"{where}, line {error.lineno} of the prompt: {error.message}", "a Jinja template"
            ) from None
        for name in sorted(names - set(allowed)):
            close = nearest(name, allowed)
            hint = f"did you mean {{{{ {close} }}}}?" if close else ""
            raise SpecError(f"{where}: the prompt uses {{{{ {name} }}}}", "one of " + ", ".join(allowed), hint)
        for name in required:
            if name not in names:
                raise SpecError(
                    f"{where}: the prompt does not use {{{{ {name} }}}}, so the judge would not see the answer",
                    ", ".join(f"{{{{ {n} }}}}" for n in required),
                )

    def render(self, values: Mapping[str, Any]) -> str:
        """Fill in the values.

        Raises
        ------
        DataError
            The template fails on these values.
        """
        length, parts = 0, []
        try:
            for part in self._template.generate(dict(values)):
                parts.append(part)
                length += len(part)
                if length > _LONGEST:
                    raise DataError(f"{self.where}: the prompt is longer than {_LONGEST:,} characters")
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise DataError(f"{self.where}: the prompt cannot be filled in: {error}") from error
        return "".join(parts)


def task_values(task: JudgeTask) -> dict[str, Any]:
    """Return the values of a task's fields."""
    prompt, last = task.prompt, task.turn - 1
    names = answer_fields(len(task.responses))
    turns = [
        {"question": prompt.turns[i]} | {name: r.turns[i] for name, r in zip(names, task.responses, strict=True)}
        for i in range(task.turn)
    ]
    reference = prompt.reference[last] if prompt.reference and last < len(prompt.reference) else ""
    # The fence is a hash of the texts it delimits, so that no text can contain its own closing tag.
    return {
        **turns[last],
        "history": turns[:last],
        "reference": reference,
        "system": prompt.system or "",
        "category": prompt.category or "",
        "fence": "text-" + content_hash("fence", turns, reference, prompt.system or "")[:8],
    }
