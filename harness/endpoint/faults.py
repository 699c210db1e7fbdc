"""Classification of failed attempts: retry, fail the request, or stop using the endpoint."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.endpoint.client_options import EndpointOptions
from harness.endpoint.exchange import FailureKind
from harness.errors import AuthenticationError, EndpointError

_CONTEXT_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
# The wordings of OpenAI, vLLM ("longer than the maximum model length"), SGLang, TGI, llama.cpp, Anthropic, Gemini.
_CONTEXT_WORDS = re.compile(
    r"context[ _](length|size|window)|max(imum)?[ _]model[ _]len|prompt is too long|"
    r"max_new_tokens`? must be <=|exceeds the maximum number of tokens",
    re.IGNORECASE,
)
_MODERATION_WORDS = re.compile(r"moderation|flagged|content[ _](policy|filter)", re.IGNORECASE)
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_PARAMETERS = frozenset(
    {"max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "logprobs", "top_logprobs"}
    | {"reasoning_effort", "response_format"}
)
_PARAMETER_WORDS = re.compile(rf"\b({'|'.join(sorted(_PARAMETERS, key=len, reverse=True))})\b")
_BEARER = re.compile(r"\b(sk-|Bearer )[\w*.-]{4,}")
_DETAIL_LENGTH = 300
# Names of exceptions, of aiohttp, httpx and Python, in the chain of causes.
_CUT_OFF = frozenset({"ServerDisconnectedError", "ClientPayloadError", "RemoteProtocolError", "ReadError"})
_NOT_CONNECTED = frozenset(
    {"ConnectionRefusedError", "gaierror", "SSLError", "ClientConnectorError", "ConnectError", "ConnectTimeout"}
)


Action = Literal["retry", "fail", "stop", "rename_limit"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an attempt failed.

    Parameters
    ----------
    action : {"retry", "fail", "stop", "rename_limit"}
        Retry; fail this request alone; stop using the endpoint (`error` says why); send the token limit under its
        other name.
    kind : FailureKind
        The kind of the `ChatFailure`.
    label : str
        Its label in counts ("429", "timeout", "connection refused").
    detail : str
        A description.
    endpoint_wide : bool
        Whether it concerns the endpoint as a whole (no connection, a rate limit), or may be caused by the request.
    retry_after_s : float or None
        The wait requested by the server.
    error : EndpointError or None
        What to raise on "stop".
    parameter : str
        The parameter of the request that the server refuses, by its name in requests ("logprobs" for both of its
        fields); "" if none is named.
    """

    action: Action
    kind: FailureKind
    label: str
    detail: str
    endpoint_wide: bool = False
    retry_after_s: float | None = None
    error: EndpointError | None = None
    parameter: str = ""


def redact(text: str, key: str | None) -> str:
    """Remove the key, and anything that looks like one, from a message, and shorten it."""
    if key:
        text = text.replace(key, "[key]")
    text = " ".join(_BEARER.sub("[key]", text).split())
    return text if len(text) <= _DETAIL_LENGTH else text[: _DETAIL_LENGTH - 1] + "…"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read the wait a server requests, in seconds; None if it requests none (RFC 9110, section 10.2.3)."""
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            delay = float(value) / divisor
        except ValueError:
            continue
        return delay if 0 <= delay < float("inf") else None
    parsed = email.utils.parsedate_tz(headers.get("retry-after") or "")
    if parsed is None:
        return None
    return max(0.0, email.utils.mktime_tz(parsed) - time.time())


def reply_fault(detail: str, *, final: bool, key: str | None = None) -> Fault:
    """Classify a reply with status 200 that is not a chat completion."""
    return Fault("fail" if final else "retry", "bad_reply", "bad reply", redact(detail, key))


def status_fault(
    options: EndpointOptions, key: str | None, status: int, headers: Mapping[str, str], content: bytes
) -> Fault:
    """Classify an HTTP error status.

    Parameters
    ----------
    options : EndpointOptions
        For the message.
    key : str or None
        The key in use, which is removed from the message.
    status : int
        The status.
    headers, content
        The response's.
    """
    body = _ErrorBody.read(content)
    detail = redact(f"HTTP {status}: {body.message}" if body.message else f"HTTP {status}", key)
    label = str(status)
    stop = _stopping_error(options, key, status, body, detail)
    if stop is not None:
        return Fault("stop", "rate_limited" if _is_quota(status, body) else "bad_request", label, detail, error=stop)
    if status == 429:
        return Fault("retry", "rate_limited", label, detail, endpoint_wide=True, retry_after_s=retry_after_s(headers))
    if status in (408, 409, 425) or status >= 500:
        return Fault("retry", "server_error", label, detail, retry_after_s=retry_after_s(headers))
    return _refusal(options, status, body, detail)


def _is_quota(status: int, body: _ErrorBody) -> bool:
    return status == 402 or body.code in _QUOTA_CODES


def _stopping_error(
    options: EndpointOptions, key: str | None, status: int, body: _ErrorBody, detail: str
) -> EndpointError | None:
    """Build the error for a status after which no other request can succeed; None for any other status."""
    if status == 401 or (status == 403 and not _MODERATION_WORDS.search(body.message)):
        return _key_error(options, key, detail)
    if _is_quota(status, body):
        return _quota_error(options, detail)
    if status in (404, 405) or 300 <= status < 400:
        return _path_error(options, detail)
    return None


def _refusal(options: EndpointOptions, status: int, body: _ErrorBody, detail: str) -> Fault:
    """Classify a refusal: for the length, for a parameter that every request has, or for this request alone."""
    label = str(status)
    if body.code in _CONTEXT_CODES or status == 413 or _CONTEXT_WORDS.search(body.message):
        return Fault("fail", "context_length", label, detail)
    parameter = _refused_parameter(body)
    if body.param in _PARAMETERS:
        renamed = body.param == "max_tokens" and "max_completion_tokens" in body.message
        error = _parameter_error(options, body, detail)
        action: Action = "rename_limit" if renamed else "stop"
        return Fault(action, "bad_request", label, detail, error=error, parameter=parameter)
    return Fault("fail", "bad_request", label, detail, parameter=parameter)


def _refused_parameter(body: _ErrorBody) -> str:
    """Return the parameter that an error is about: the one it states, else the first that its words name."""
    names = [body.param] if body.param in _PARAMETERS else _PARAMETER_WORDS.findall(body.message)
    return "logprobs" if names and names[0] == "top_logprobs" else names[0] if names else ""


def connection_fault(error: BaseException, *, timed_out: bool, key: str | None = None) -> Fault:
    """Classify an attempt that ended without a response.

    Parameters
    ----------
    error : exception
        The client's exception; the transport's is in its chain of causes.
    timed_out : bool
        Whether the client calls it a timeout.
    key : str or None
        As in :func:`status_fault`.
    """
    chain = list(_causes(error))
    names = {kind.__name__ for link in chain for kind in type(link).__mro__}
    words = redact(_in_words(chain), key)
    # aiohttp's "server disconnected" is reported as a connect timeout: look at the cause itself first.
    if names & _CUT_OFF:
        return Fault("retry", "connection", "cut off", f"the connection was cut off ({words})")
    if names & _NOT_CONNECTED:
        label = "connection refused" if "ConnectionRefusedError" in names else "no connection"
        return Fault("retry", "connection", label, f"cannot connect ({words})", endpoint_wide=True)
    if timed_out:
        return Fault("retry", "timeout", "timeout", "no complete reply within the time limit of one request")
    return Fault("retry", "connection", "cut off", f"the connection failed ({words})")


def _in_words(chain: list[BaseException]) -> str:
    """Describe a failure by the operating system's message, else by that of the first cause."""
    os_words = next((link.strerror for link in chain if isinstance(link, OSError) and link.strerror), None)
    return os_words or str(chain[-1]) or type(chain[-1]).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


@dataclass(frozen=True, slots=True)
class _ErrorBody:
    message: str
    code: str
    param: str

    @classmethod
    def read(cls, content: bytes) -> _ErrorBody:
        """Read the error object of OpenAI, vLLM, FastAPI or a proxy; plain text is its own message."""
        value, text = _json_or_text(content)
        error = value.get("error", value)
        if not isinstance(error, dict):
            return cls(str(error), "", "")
        if not error:
            return cls(text, "", "")
        message = error.get("message") or error.get("detail") or value.get("detail") or ""
        codes = [code for code in (error.get("code"), error.get("type")) if isinstance(code, str)]
        return cls(
            message=message if isinstance(message, str) else json.dumps(message),
            code=codes[0] if codes else "",
            param=str(error.get("param") or ""),
        )


def _json_or_text(content: bytes) -> tuple[dict[str, Any], str]:
    """Read a JSON object, or the first of a list; if there is none, return {} and the text."""
    text = content[:4000].decode("utf-8", "replace").strip()
    try:
        value: Any = json.loads(content)
    except ValueError:
        return {}, "" if text.startswith("<") else text
    while isinstance(value, list) and value:
        value = value[0]
    return (value, "") if isinstance(value, dict) else ({}, text)


def _key_error(options: EndpointOptions, key: str | None, detail: str) -> AuthenticationError:
    given = (
        f"the key in {options.api_key_env}" if key else f"a request without a key ({options.api_key_env} is not set)"
    )
    return AuthenticationError(
        f"{options.url} refuses {given}: {detail}",
        f"a key that may use the model {options.model}",
        f"put the right key into {options.api_key_env}, or name another variable (api_key_env); then resume the run",
    )


def _quota_error(options: EndpointOptions, detail: str) -> EndpointError:
    return EndpointError(
        f"{options.url} refuses further requests because the credit is used up: {detail}",
        "an account with credit left",
        "top it up, then resume with `assay resume`; everything obtained so far is kept",
    )


def _path_error(options: EndpointOptions, detail: str) -> EndpointError:
    return EndpointError(
        f"{options.url} has no such path, or no model {options.model}: {detail}",
        "an address whose /chat/completions exists (it usually ends in /v1) and a model it serves",
        "correct base_url or the model's name",
    )


def _parameter_error(options: EndpointOptions, body: _ErrorBody, detail: str) -> EndpointError:
    return EndpointError(
        f"{options.model} refuses the parameter {body.param!r} of every request: {detail}",
        "a model that accepts the parameters the benchmark prescribes",
        f"choose another model, or a value of {body.param} that it takes; a judge's parameter can be left out "
        "(--judge-drop-unsupported)",
    )
