"""The wire format of chat completions: how requests are written and replies are read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.endpoint.client_options import EndpointOptions, TokenLimitField
from harness.endpoint.exchange import ChatReply, ChatRequest, TokenLogprob
from harness.messages import Message
from harness.reasoning import DEFAULT_TAGS, ReasoningTags, part_reasoning

_SAYING = ("text", "thinking", "reasoning", "refusal")


class BadReply(Exception):  # noqa: N818 - becomes a ChatFailure
    """A reply that is not a chat completion.

    `final`: the model did answer, but without content, and would do so again.
    """

    def __init__(self, detail: str, *, final: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.final = final


def chat_body(options: EndpointOptions, request: ChatRequest, limit_field: TokenLimitField) -> dict[str, Any]:
    """Build the body of a chat completion request."""
    body: dict[str, Any] = {
        "model": options.model,
        "messages": [_message(message) for message in request.messages],
        limit_field: request.max_tokens,
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p != 1.0:
        body["top_p"] = request.top_p
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop)
    if request.top_logprobs > 0:
        body["logprobs"] = True
        body["top_logprobs"] = request.top_logprobs
    if request.schema is not None:
        verdict = {"name": "verdict", "strict": True, "schema": dict(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": verdict}
    if request.reasoning_effort is not None:
        body["reasoning_effort"] = request.reasoning_effort
    body.update(options.extra_body)
    return body


def _message(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Serialise a body; lone surrogates, which are not UTF-8, become U+FFFD."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


def parse_object(content: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    BadReply
        It is not a JSON object.
    """
    try:
        value = json.loads(content)
    except ValueError:
        start = content[:80].decode("utf-8", "replace").strip()
        raise BadReply(f"the reply is not JSON; it starts {start!r}") from None
    if not isinstance(value, dict):
        raise BadReply(f"the reply is a JSON {type(value).__name__}, not an object")
    return value


def parse_chat(value: Mapping[str, Any], tags: ReasoningTags = DEFAULT_TAGS) -> ChatReply:
    """Read a chat completion.

    The reasoning is taken from the message's own field (``reasoning`` as in vLLM and OpenRouter, ``reasoning_content``
    as in DeepSeek, SGLang, llama.cpp and older vLLM), from typed parts of the content, and from tags in the text.

    Parameters
    ----------
    value : mapping
        The reply.
    tags : tuple of (str, str)
        The tags around reasoning in the text.

    Raises
    ------
    BadReply
        It has no choices, or a choice with neither content nor reasoning that is neither cut, filtered nor refused.
    """
    choice = first_choice(value)
    if choice is None:
        raise BadReply("the reply has no choices")
    message = choice.get("message")
    if not isinstance(message, dict):
        raise BadReply("the reply's choice has no message")
    content = _message_content(message)
    finish = str(choice.get("finish_reason") or "stop")
    is_empty = content.text is None and not (content.refusal or content.reasoning)
    if is_empty and finish not in ("length", "content_filter"):
        raise BadReply(_no_content(message, finish), final=True)
    usage = value.get("usage")
    n_prompt, n_completion = _usage(usage)
    return parted_reply(
        content,
        tags,
        finish=finish,
        logprobs=_logprobs(choice.get("logprobs")),
        n_prompt_tokens=n_prompt,
        n_completion_tokens=n_completion,
        model=str(value.get("model") or ""),
        n_reasoning_tokens=_reasoning_tokens(usage),
    )


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a message: its text (None if it has none), reasoning and refusal."""

    text: str | None
    reasoning: str = ""
    refusal: str = ""


def read_content(content: Any) -> Content:
    """Read a message's content: a text, or a list of typed parts.

    Parts are those of OpenAI ("text", "refusal"), Anthropic ("text", "thinking"; a "redacted_thinking" shows nothing),
    Mistral ("thinking" with parts of its own) and Gemini (a text marked "thought"); parts of other types, as calls of
    tools, say nothing to a reader of text.
    """
    if not isinstance(content, list):
        return Content(content if isinstance(content, str) else None)
    kinds: dict[str, list[str]] = {"text": [], "reasoning": [], "refusal": []}
    for part in content:
        kind, text = _part(part)
        kinds[kind].append(text)
    return Content(*("".join(kinds[kind]) for kind in ("text", "reasoning", "refusal")))


def _message_content(message: Mapping[str, Any]) -> Content:
    """Read a message's content, and the fields that servers have for a refusal and for reasoning."""
    content = read_content(message.get("content"))
    # llama.cpp's format "deepseek-legacy" has the reasoning in both places; it is kept once.
    stated = read_content(message.get("reasoning") or message.get("reasoning_content")).text
    reasoning = "\n\n".join(text for text in (stated, content.reasoning) if text)
    return replace(content, reasoning=reasoning, refusal=str(message.get("refusal") or content.refusal))


def parted_reply(content: Content, tags: ReasoningTags, *, finish: str, **fields: Any) -> ChatReply:
    """Make a reply of a message's content, with the reasoning in its text separated.

    Parameters
    ----------
    content : Content
        The content.
    tags : tuple of (str, str)
        The tags around reasoning in the text.
    finish : str
        Why the reply ended.
    **fields
        Further fields of `ChatReply`.
    """
    parted = part_reasoning(content.text or "", tags)
    said = dict.fromkeys(text.strip() for text in (content.reasoning, parted.reasoning) if text.strip())
    return ChatReply(
        text=parted.answer,
        finish="length" if parted.cut else finish,
        refusal=content.refusal,
        reasoning="\n\n".join(said),
        **fields,
    )


def _part(part: Any) -> tuple[str, str]:
    """Return the kind of a part of a content and what it says."""
    if not isinstance(part, dict):
        return "text", part if isinstance(part, str) else ""
    text = next((part[name] for name in _SAYING if isinstance(part.get(name), str | list)), "")
    if part.get("type") in ("thinking", "reasoning") or part.get("thought") is True:
        return "reasoning", read_content(text).text or ""
    kind = "refusal" if part.get("type") == "refusal" else "text"
    return kind, text if isinstance(text, str) else ""


def _no_content(message: Mapping[str, Any], finish: object) -> str:
    calls = message.get("tool_calls")
    named = [
        str(call["function"].get("name"))
        for call in (calls if isinstance(calls, list) else ())
        if isinstance(call, dict) and isinstance(call.get("function"), dict)
    ]
    if named:
        return f"the model called a tool ({', '.join(named)}) in place of an answer (finish_reason {finish!r})"
    return f"the reply has no content (finish_reason {finish!r})"


def listed_models(content: bytes) -> list[dict[str, Any]]:
    """Return the entries in a list of models, each with its name as ``id``; none if it cannot be read."""
    try:
        listed = parse_object(content).get("data")
    except BadReply:
        return []
    models = listed if isinstance(listed, list) else []
    return [entry for entry in models if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def parse_completion(value: Mapping[str, Any]) -> ChatReply:
    """Read a legacy completion.

    Raises
    ------
    BadReply
        It has no text.
    """
    choice = first_choice(value)
    if choice is None or not isinstance(choice.get("text"), str):
        raise BadReply("the reply has no text")
    n_prompt, n_completion = _usage(value.get("usage"))
    return ChatReply(
        text=choice["text"],
        finish=str(choice.get("finish_reason") or "stop"),
        n_prompt_tokens=n_prompt,
        n_completion_tokens=n_completion,
        model=str(value.get("model") or ""),
    )


def first_choice(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the first choice of a reply; None if it has none."""
    choices = value.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else None


def _usage(usage: Any) -> tuple[int | None, int | None]:
    if not isinstance(usage, dict):
        return None, None
    return count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))


def _reasoning_tokens(usage: Any) -> int | None:
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    return count(details.get("reasoning_tokens")) if isinstance(details, dict) else None


def count(value: Any) -> int | None:
    """Return a number of tokens as a server reports it; None if it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _logprobs(value: Any) -> tuple[TokenLogprob, ...] | None:
    """Read the tokens' log-probabilities; None if any is missing, so that no figure rests on a part."""
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list) or not content:
        return None
    tokens = []
    for entry in content:
        own = _pair(entry)
        if own is None:
            return None
        listed = entry.get("top_logprobs")
        pairs = [_pair(alternative) for alternative in listed] if isinstance(listed, list) else []
        tokens.append(TokenLogprob(own[0], own[1], tuple(pair for pair in pairs if pair is not None)))
    return tuple(tokens)


def _pair(entry: Any) -> tuple[str, float] | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
        return None
    logprob = entry.get("logprob")
    if isinstance(logprob, bool) or not isinstance(logprob, int | float) or not math.isfinite(logprob):
        return None
    return entry["token"], float(logprob)
