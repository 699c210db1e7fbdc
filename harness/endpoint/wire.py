"""The wire format of chat completions: how requests are written and replies are read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from harness.endpoint.client_options import EndpointOptions, TokenLimitField
from harness.endpoint.exchange import ChatReply, ChatRequest, TokenLogprob
from harness.messages import Message


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


def parse_chat(value: Mapping[str, Any]) -> ChatReply:
    """Read a chat completion.

    Raises
    ------
    BadReply
        It has no choices, or a choice without content that is neither cut, filtered nor refused.
    """
    choice = first_choice(value)
    if choice is None:
        raise BadReply("the reply has no choices")
    message = choice.get("message")
    if not isinstance(message, dict):
        raise BadReply("the reply's choice has no message")
    text = _text(message.get("content"))
    finish = choice.get("finish_reason") or "stop"
    refusal = message.get("refusal") or ""
    if text is None and not refusal and finish not in ("length", "content_filter"):
        raise BadReply(f"the reply has no content (finish_reason {finish!r})", final=True)
    return _reply(value, text or "", finish, str(refusal), _logprobs(choice.get("logprobs")))


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
    return _reply(value, choice["text"], choice.get("finish_reason") or "stop")


def first_choice(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the first choice of a reply; None if it has none."""
    choices = value.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else None


def _reply(
    value: Mapping[str, Any],
    text: str,
    finish: object,
    refusal: str = "",
    logprobs: tuple[TokenLogprob, ...] | None = None,
) -> ChatReply:
    n_prompt, n_completion = _usage(value.get("usage"))
    return ChatReply(
        text=text,
        finish=str(finish),
        refusal=refusal,
        logprobs=logprobs,
        n_prompt_tokens=n_prompt,
        n_completion_tokens=n_completion,
        model=str(value.get("model") or ""),
    )


def _text(content: Any) -> str | None:
    if isinstance(content, list):  # some servers send a list of typed parts
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None


def _usage(usage: Any) -> tuple[int | None, int | None]:
    if not isinstance(usage, dict):
        return None, None
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    prompt, completion = (n if isinstance(n, int) and not isinstance(n, bool) and n >= 0 else None for n in counts)
    return prompt, completion


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
