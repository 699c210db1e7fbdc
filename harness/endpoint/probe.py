"""What a model accepts, found out with one small request before anything is generated or paid for.

Reasoning models refuse a temperature, some servers refuse a seed, many give no log-probabilities. Each refusal names a
parameter; without it the request is tried again, so that a model that refuses nothing is asked once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from harness.endpoint.client import ChatClient
from harness.endpoint.exchange import ChatReply, ChatRequest
from harness.endpoint.faults import Fault
from harness.messages import Message

PROBE_TEXT = "Reply with the word OK."
_PROBE_TOKENS = 16
_LIMITS = ("max_tokens", "max_completion_tokens")

_LEFT_OUT: dict[str, Callable[[ChatRequest], ChatRequest]] = {
    "temperature": lambda request: replace(request, temperature=None),
    "top_p": lambda request: replace(request, top_p=1.0),
    "seed": lambda request: replace(request, seed=None),
    "reasoning_effort": lambda request: replace(request, reasoning_effort=None),
    "logprobs": lambda request: replace(request, top_logprobs=0),
    "response_format": lambda request: replace(request, schema=None),
}


@dataclass
class Probed:
    """What came of a probe.

    Parameters
    ----------
    refused : dict of str to str
        The parameters that were refused, each with the server's words.
    replies : list of ChatReply
        The reply, if there is one.
    fault : Fault or None
        Why there is none.
    """

    refused: dict[str, str] = field(default_factory=dict)
    replies: list[ChatReply] = field(default_factory=list)
    fault: Fault | None = None


def probe_request(request: ChatRequest) -> ChatRequest:
    """Return the small request that has every parameter of a large one."""
    return replace(request, messages=(Message("user", PROBE_TEXT),), max_tokens=_PROBE_TOKENS, stop=(), sample=0)


async def probe(client: ChatClient, request: ChatRequest, ignored: frozenset[str] = frozenset()) -> Probed:
    """Find out which parameters of a request a model refuses.

    Parameters
    ----------
    client : ChatClient
        The endpoint.
    request : ChatRequest
        A request with the parameters (`probe_request`).
    ignored : frozenset of str
        Parameters that the endpoint is known to ignore (`harness.endpoint.vendors`).

    Raises
    ------
    EndpointError, AuthenticationError
        No request can succeed (no such model, a refused key).
    """
    found = Probed()
    for name in sorted(ignored & sent_parameters(request)):
        found.refused[name] = "ignored, according to the documentation"
        request = _LEFT_OUT[name](request)
    for _ in range(len(_LEFT_OUT) + 1):
        answer = await client.try_once(request)
        if not isinstance(answer, Fault):
            found.replies.append(answer)
            return found
        if answer.parameter not in sent_parameters(request):
            # Some reasoning models call a small limit an error; the run's is not small.
            found.fault = None if answer.action == "fail" and answer.parameter in _LIMITS else answer
            return found
        found.refused[answer.parameter] = answer.detail
        request = _LEFT_OUT[answer.parameter](request)
    return found


def sent_parameters(request: ChatRequest) -> frozenset[str]:
    """Return the parameters of a request that a server may refuse and that can be left out."""
    present = {
        "temperature": request.temperature is not None,
        "top_p": request.top_p != 1.0,
        "seed": request.seed is not None,
        "reasoning_effort": request.reasoning_effort is not None,
        "logprobs": request.top_logprobs > 0,
        "response_format": request.schema is not None,
    }
    return frozenset(name for name, is_sent in present.items() if is_sent)
