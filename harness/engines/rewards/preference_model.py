"""The preference model engine: a language model names the better of two answers with one token.

Paper      Dong et al., "RLHF Workflow", arXiv 2405.07863, section 2.1; Jiang et al. (2023), arXiv 2306.02561
Upstream   RLHFlow/RLHF-Reward-Modeling, folder pair-pm (Apache-2.0)
Formula    P(first is better) = p_A / (p_A + p_B), the mean over both orders in which the two can be shown

The tokens of A and B are found with the model's own chat template: the first position at which the conversations
answered with "A" and with "B" differ, as in training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.engines.answered import cut_start, required_template, tightest
from harness.engines.base import Fingerprint, LogLikelihoodRequest
from harness.engines.chat_template import ChatTemplate, ChatTemplateError
from harness.engines.hf.engine import HFEngine
from harness.engines.hf.model_loading import LoadedModel
from harness.engines.lifecycle import BaseEngine
from harness.engines.prompt_tokens import ENCODING_ERRORS
from harness.engines.rewards.preference_format import LABELS, preference_messages
from harness.engines.rewards.scorer_options import PreferenceModelOptions
from harness.engines.rewards.scorers import PreferenceProbability, PreferenceRequest, sigmoid
from harness.errors import ModelError
from harness.messages import Message


@dataclass(frozen=True, slots=True)
class _Asked:
    """One presentation, tokenised: what is read, and the two possible next tokens."""

    context_ids: tuple[int, ...]
    labels: tuple[int, int]
    truncated: bool


class PreferenceModelEngine(BaseEngine[PreferenceModelOptions]):
    """Compares two answers; a `harness.engines.rewards.scorers.PreferenceEngine`.

    Parameters
    ----------
    options : PreferenceModelOptions
        Which checkpoint and how.
    loaded : LoadedModel, optional
        A loaded model, in place of the checkpoint's files.

    Raises
    ------
    ModelError
        The checkpoint cannot be loaded, or its template shows no difference between the answers A and B.
    NoChatTemplateError
        It has no chat template.
    """

    name = "preference_model"
    options_type = PreferenceModelOptions

    def __init__(self, options: PreferenceModelOptions, loaded: LoadedModel | None = None) -> None:
        super().__init__(options)
        self._engine = HFEngine(options, loaded)
        with self._closing_on_error():
            self._template = required_template(self._engine.tokenizer, options)
            self._check_labels()

    @property
    def chat_template(self) -> ChatTemplate:
        """The chat template in use."""
        return self._template

    def _identify(self) -> Fingerprint:
        inner = self._engine.fingerprint
        own = {"max_length": self.options.max_length, "without_bos": self.options.without_bos}
        return replace(inner, engine=self.name, options={**inner.options, **own})

    def _release(self) -> None:
        self._engine.close()

    def preferences(self, requests: Sequence[PreferenceRequest]) -> Iterator[PreferenceProbability]:
        """Compare answers in both orders, yielding each comparison as it is done.

        Parameters
        ----------
        requests : sequence of PreferenceRequest
            All at once, so that they can be ordered and batched.

        Returns
        -------
        iterator of PreferenceProbability
            One per request, in the order they are done. A pair the model cannot take is an error of its own.

        Raises
        ------
        ModelError
            The engine is closed, or the device failed.
        """
        asked: dict[str, list[_Asked]] = {}
        by_id = {request.request_id: request for request in requests}
        questions: list[LogLikelihoodRequest] = []
        for request in by_id.values():
            try:
                orders = [(request.first, request.second), (request.second, request.first)]
                asked[request.request_id] = [self._ask(request.messages, *order) for order in orders]
            except (ChatTemplateError, *ENCODING_ERRORS) as error:
                yield PreferenceProbability(request.request_id, None, error=f"{type(error).__name__}: {error}")
                continue
            questions += _questions(request.request_id, asked[request.request_id])
        logprobs: dict[str, dict[str, float]] = {}
        failed: set[str] = set()
        for found in self._engine.loglikelihood(questions):
            request_id = found.request_id[2:]
            if request_id in failed:
                continue
            if found.logprob is None:
                failed.add(request_id)
                yield PreferenceProbability(request_id, None, error=found.error)
                continue
            mine = logprobs.setdefault(request_id, {})
            mine[found.request_id[:2]] = found.logprob
            if len(mine) == 2 * len(LABELS):
                yield _probability(request_id, mine, asked[request_id])

    def _ask(self, messages: Sequence[Message], first: str, second: str) -> _Asked:
        """Tokenise one presentation up to the token that answers it."""
        question = preference_messages(messages, first, second)
        answered = [self._template.encode_answered((*question, Message("assistant", label))) for label in LABELS]
        place = next((i for i, (a, b) in enumerate(zip(*answered, strict=False)) if a != b), None)
        if not place:
            raise ChatTemplateError("the chat template writes an answer A as it writes an answer B")
        ids = answered[0][:place]
        bos = self._engine.tokenizer.bos_token_id
        if self.options.without_bos and ids[0] == bos:
            ids = ids[1:]
        ids, truncated = cut_start(ids, tightest(self.options.max_length, self._engine.context_length), bos)
        return _Asked(tuple(ids), (answered[0][place], answered[1][place]), truncated)

    def _check_labels(self) -> None:
        try:
            self._ask((Message("user", "x"),), "y", "z")
        except ChatTemplateError as error:
            raise ModelError(
                f"{self.options.display_name} cannot name the better answer: {error}",
                "a chat template that takes a user's message and writes the assistant's answer to it",
                "give one with the engine option chat_template=FILE",
            ) from error


def _questions(request_id: str, asked: Sequence[_Asked]) -> list[LogLikelihoodRequest]:
    """Request each label for each order; a request id starts with the order's number and the label."""
    return [
        LogLikelihoodRequest(f"{order}{label}{request_id}", "", label, one.context_ids, (token,))
        for order, one in enumerate(asked)
        for label, token in zip(LABELS, one.labels, strict=True)
    ]


def _probability(request_id: str, logprobs: Mapping[str, float], asked: Sequence[_Asked]) -> PreferenceProbability:
    """Average over both orders; keys are the order's number and the label."""
    as_shown = sigmoid(logprobs["0A"] - logprobs["0B"])
    swapped = sigmoid(logprobs["1B"] - logprobs["1A"])
    return PreferenceProbability(
        request_id,
        p_first=(as_shown + swapped) / 2.0,
        p_as_shown=as_shown,
        p_swapped=swapped,
        n_tokens=sum(len(one.context_ids) for one in asked),
        truncated=any(one.truncated for one in asked),
    )
