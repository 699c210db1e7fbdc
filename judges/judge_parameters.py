"""The parameters of a judge: what its kind knows, what its server refuses, and what may be left out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.endpoint.client import ChatClient
from harness.endpoint.exchange import ChatReply, ChatRequest
from harness.endpoint.probe import probe
from harness.errors import EndpointError, SpecError, nearest
from harness.spec import JudgeSpec

_LOG = logging.getLogger(__name__)


@dataclass
class Tried:
    """The parameters that a server refuses, each with its words, and the replies that were paid for to learn it."""

    refused: dict[str, str] = field(default_factory=dict)
    replies: list[ChatReply] = field(default_factory=list)


async def try_requests(client: ChatClient, requests: Sequence[ChatRequest], ignored: frozenset[str]) -> Tried:
    """Find out which parameters a model refuses; without requests only whether it answers.

    Parameters
    ----------
    client : ChatClient
        The endpoint.
    requests : sequence of ChatRequest
        Small requests, one for each combination of parameters.
    ignored : frozenset of str
        Parameters that the endpoint is known to ignore.

    Raises
    ------
    EndpointError, AuthenticationError
        It does not answer.
    """
    tried = Tried()
    if not requests:
        await client.check()
        return tried
    hint = await client.listing_hint()
    for request in requests:
        found = await probe(client, request, ignored)
        if found.fault is not None:
            raise client.unusable(found.fault, hint)
        tried.replies += found.replies
        tried.refused |= found.refused
        if request.top_logprobs > 0 and all(reply.logprobs is None for reply in found.replies):
            tried.refused.setdefault("logprobs", "the reply has none")
    return tried


def left_out(refused: Mapping[str, str], where: str, *, allowed: bool) -> dict[str, str]:
    """Return the refused parameters that are left out.

    Parameters
    ----------
    refused : mapping of str to str
        The parameters, each with the server's words.
    where : str
        The model and its address, for messages.
    allowed : bool
        Whether the user allows to leave parameters out.

    Raises
    ------
    EndpointError
        A parameter may not be left out, or the verdict cannot be read without it.
    """
    if "logprobs" in refused:
        raise EndpointError(
            f"{where} returns no log-probabilities ({refused['logprobs']}), from which the verdict is read",
            "a model that returns log-probabilities, or one of two other ways to a probability",
            "ask k times and take the share (--judge-samples 8), or ask for the number with a JSON schema "
            "(--judge-probability structured); both are named as deviations in the run",
        )
    if "response_format" in refused:
        raise EndpointError(
            f"{where} takes no JSON schema: {refused['response_format']}",
            "a model with structured output, and a schema it takes",
            "ask in words: a judge form with a `pattern` in place of its `schema`, or --judge-samples 8 in place of "
            "--judge-probability",
        )
    if refused and not allowed:
        listed = "; ".join(f"{name} ({words})" for name, words in refused.items())
        raise EndpointError(
            f"{where} refuses parameters that the official judge is asked with: {listed}",
            "a model that takes them, or the permission to leave them out",
            "--judge-drop-unsupported leaves them out, which changes the judge's id and is said in the run; or give "
            "values the model takes (for example --judge-temperature 1)",
        )
    for name, words in refused.items():
        _LOG.warning("%s is asked without %s: %s", where, name, words)
    return dict(refused)


def refuse_unknown(spec: JudgeSpec, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse an option that a judge does not have.

    Parameters
    ----------
    spec : JudgeSpec
        For the message.
    given, known : iterable of str
        The names of the options given, and of those the judge has.

    Raises
    ------
    SpecError
        Names the nearest option or field, and how a field of the request is sent that assay does not know.
    """
    options, fields = list(known), [name for name in JudgeSpec.model_fields if name not in ("model", "options")]
    for name in given:
        if name in options:
            continue
        close = nearest(name, [*options, *fields])
        flag = f"--judge-option {close}=..." if close in options else f"--judge-{close.replace('_', '-')}"
        hint = f"did you mean {close} ({flag})? " if close else ""
        raise SpecError(
            f"the judge {spec.model} has no option {name!r}",
            "one of " + ", ".join(sorted(options)) if options else "fields of the judge; this kind has no options",
            f"{hint}To send it to the server as it is: --judge-extra-body {name}=VALUE",
        )
