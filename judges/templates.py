"""Official judge prompts: data, fetched and checksummed with the benchmark, never retyped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.data.constants import read_constant
from harness.errors import DataError, FileFormatError
from harness.hashing import content_hash
from harness.messages import Message
from harness.packages import package_file
from harness.protocols import DataSource
from harness.spec import read_yaml
from harness.store.jsonl import read_jsonl

_PLACEHOLDER = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A system message and a user message with ``{placeholders}``."""

    name: str
    system: str
    user: str

    @property
    def hash(self) -> str:
        """Content hash of both texts."""
        return content_hash("template", self.system, self.user)

    def messages(self, values: Mapping[str, str]) -> tuple[Message, ...]:
        """Fill the placeholders in one pass, so that braces in an answer stay what they are.

        Raises
        ------
        DataError
            The template asks for a value that is not given.
        """

        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in values:
                raise DataError(
                    f"judge prompt {self.name!r} asks for {{{name}}}", "one of " + ", ".join(sorted(values))
                )
            return values[name]

        user = Message("user", _PLACEHOLDER.sub(value, self.user))
        return (Message("system", self.system), user) if self.system else (user,)


def fastchat_templates(data: DataSource) -> dict[str, Template]:
    """Read MT-Bench's judge prompts by name ("single-v1", "pair-v2", ...)."""
    return _fastchat_templates(data.path("mt_bench/judge_prompts"))


@cache
def _fastchat_templates(path: Path) -> dict[str, Template]:
    found = {}
    for number, row in read_jsonl(path):
        try:
            found[row["name"]] = Template(row["name"], row["system_prompt"], row["prompt_template"])
        except KeyError as error:
            raise FileFormatError(path, number, f"no field {error}", "name, system_prompt, prompt_template") from None
    return found


@cache
def alpaca_eval_template() -> Template:
    """Read AlpacaEval 2's judge prompt from the installed alpaca-eval package.

    Upstream's file is ChatML; it becomes messages the way upstream turns it into them: roles from the markers,
    contents stripped.
    """
    folder = ("evaluators_configs", "alpaca_eval_clf_gpt4_turbo")
    text = package_file("alpaca_eval", *folder, "alpaca_eval_clf.txt").read_text(encoding="utf-8")
    parts = {
        match.group(1): match.group(2).strip()
        for match in re.finditer(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", text, re.DOTALL)
    }
    if set(parts) != {"system", "user"}:
        raise DataError(
            "the judge prompt of the installed alpaca-eval is not what was expected",
            "one system and one user message",
            "install alpaca-eval 0.6.6",
        )
    return Template("alpaca_eval_clf", parts["system"], parts["user"])


@dataclass(frozen=True, slots=True)
class ArenaSettings:
    """Arena-Hard's judge: prompts by category, and how often and how long it may answer."""

    templates: Mapping[str, Template]
    temperature: float
    max_tokens: int
    attempts: int


def arena_hard_v01(data: DataSource) -> ArenaSettings:
    """Read Arena-Hard v0.1's judge settings."""
    path = data.path("arena_hard_v0.1/judge_config")
    config = read_yaml(path)
    templates = _field(config, path, "prompt_template", list)
    template = Template("arena-hard-v0.1", _field(config, path, "system_prompt", str), templates[0])
    return ArenaSettings(
        templates={"": template},
        temperature=float(config["temperature"]),
        max_tokens=int(config["max_tokens"]),
        attempts=int(config["number_of_judgment_attempts"]),
    )


def arena_hard_v2(data: DataSource) -> ArenaSettings:
    """Read Arena-Hard v2.0's judge settings.

    The prompt of the hard prompts is v0.1's (upstream keeps one constant for both), so it is read from v0.1's
    configuration; only the creative-writing prompt needs upstream's Python file.
    """
    path = data.path("arena_hard_v2.0/settings")
    config = read_yaml(path)
    user = _field(config, path, "prompt_template", str)
    system = _field(read_yaml(data.path("arena_hard_v0.1/judge_config")), path, "system_prompt", str)
    return ArenaSettings(
        templates=_LazyArenaTemplates(data, user, system),
        temperature=float(config["temperature"]),
        max_tokens=int(config["max_tokens"]),
        attempts=1,
    )


class _LazyArenaTemplates(Mapping[str, Template]):
    """Reads upstream's Python file only where a creative-writing prompt is judged."""

    def __init__(self, data: DataSource, user: str, hard_prompt: str) -> None:
        self._data = data
        self._user = user
        self._hard_prompt = hard_prompt

    def __getitem__(self, category: str) -> Template:
        if category != "creative_writing":
            return Template("arena-hard-v2.0", self._hard_prompt, self._user)
        settings = read_constant(self._data.path("arena_hard_v2.0/judge_utils"), "JUDGE_SETTINGS")
        return Template("arena-hard-v2.0-creative-writing", settings[category]["system_prompt"], self._user)

    def __iter__(self) -> Any:
        return iter(("hard_prompt", "creative_writing"))

    def __len__(self) -> int:
        return 2


def _field(config: Mapping[str, Any], path: Path, name: str, kind: type) -> Any:
    value = config.get(name)
    if not isinstance(value, kind):
        raise FileFormatError(path, None, f"field {name!r} is {type(value).__name__}", kind.__name__)
    return value
