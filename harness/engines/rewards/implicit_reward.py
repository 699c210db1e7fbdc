"""The implicit reward engine: a policy trained with DPO is a reward model, together with its reference.

Paper      Rafailov et al., "Direct Preference Optimization", arXiv 2305.18290, equation 5
Formula    r(x, y) = beta * log(policy(y|x) / reference(y|x)) + a term of x alone

Neither beta > 0 nor the term of x changes the order of the answers to x, so both are omitted. Without a reference the
reward is the log-probability of the answer (its sum, or its mean over tokens). That is a different quantity: it prefers
what the policy finds likely, and the sum prefers short answers.

The tokens of an answer are those the chat template makes of it, the end of its turn included, as in training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.engines.answered import cut_start, not_an_answer, required_template, tightest
from harness.engines.base import Fingerprint, LogLikelihood, LogLikelihoodRequest
from harness.engines.chat_template import ChatTemplate, ChatTemplateError
from harness.engines.hf.engine import HFEngine
from harness.engines.lifecycle import BaseEngine
from harness.engines.prompt_tokens import ENCODING_ERRORS
from harness.engines.rewards.scorer_options import ImplicitRewardOptions
from harness.engines.rewards.scorers import Reward, RewardRequest
from harness.errors import ModelError
from harness.messages import Message


@dataclass(frozen=True, slots=True)
class _Tokens:
    """A tokenised conversation: the prompt, and the answer that is scored."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    truncated: bool


class ImplicitRewardEngine(BaseEngine[ImplicitRewardOptions]):
    """Scores conversations with a policy and its reference; a `harness.engines.rewards.scorers.RewardEngine`.

    Parameters
    ----------
    options : ImplicitRewardOptions
        Which policy and reference, and how.
    policy : HFEngine, optional
        A loaded policy, in place of the options'; the caller closes it.

    Raises
    ------
    ModelError
        A checkpoint cannot be loaded, or the two have different vocabularies.
    NoChatTemplateError
        The policy has no chat template.
    """

    name = "implicit_reward"
    options_type = ImplicitRewardOptions

    def __init__(self, options: ImplicitRewardOptions, policy: HFEngine | None = None) -> None:
        super().__init__(options)
        self._reference: HFEngine | None = None
        self._policy = policy if policy is not None else HFEngine(options)
        self._owns_policy = policy is None
        with self._closing_on_error():
            self._template = required_template(self._policy.tokenizer, options)
            if options.reference_hf is not None:
                self._reference = HFEngine(options.reference_hf)
                self._check_vocabularies(self._reference)

    @property
    def chat_template(self) -> ChatTemplate:
        """The chat template in use."""
        return self._template

    def _identify(self) -> Fingerprint:
        inner = self._policy.fingerprint
        own: dict[str, Any] = {"max_length": self.options.max_length}
        if self._reference is None:
            own["reference_free"] = self.options.reference_free
        else:
            reference = self._reference.fingerprint
            own |= {"reference": reference.source, "reference_weights_hash": reference.weights_hash}
        return replace(inner, engine=self.name, options={**inner.options, **own})

    def _release(self) -> None:
        if self._owns_policy:
            self._policy.close()
        if self._reference is not None:
            self._reference.close()

    def rewards(self, requests: Sequence[RewardRequest]) -> Iterator[Reward]:
        """Score conversations, yielding each once both models have read it.

        Parameters
        ----------
        requests : sequence of RewardRequest
            All at once, so that they can be ordered and batched.

        Returns
        -------
        iterator of Reward
            One per request. A conversation the models cannot take is an error of its own.

        Raises
        ------
        ModelError
            The engine is closed, or the device failed.
        """
        # Equal texts are read once, so that their rewards are equal.
        equal: dict[_Tokens, list[str]] = {}
        for request in requests:
            try:
                found = self._tokens(request)
            except (ChatTemplateError, *ENCODING_ERRORS) as error:
                yield Reward(request.request_id, None, error=str(error) or type(error).__name__)
                continue
            equal.setdefault(found, []).append(request.request_id)
        tokens = {names[0]: found for found, names in equal.items()}
        for reward in self._distinct(tokens):
            for name in equal[tokens[reward.request_id]]:
                yield replace(reward, request_id=name)

    def _distinct(self, tokens: Mapping[str, _Tokens]) -> Iterator[Reward]:
        questions = [LogLikelihoodRequest(name, "", "", one.prompt, one.answer) for name, one in tokens.items()]
        if self._reference is None:
            for policy in self._policy.loglikelihood(questions):
                yield self._reward(tokens[policy.request_id], policy, None)
            return
        read = {found.request_id: found for found in self._policy.loglikelihood(questions)}
        for reference in self._reference.loglikelihood(questions):
            yield self._reward(tokens[reference.request_id], read[reference.request_id], reference)

    def _reward(self, tokens: _Tokens, policy: LogLikelihood, reference: LogLikelihood | None) -> Reward:
        n_tokens = len(tokens.prompt) + len(tokens.answer)
        error = policy.error or (reference.error if reference is not None else "")
        value = policy.logprob
        if value is not None and reference is not None:
            value = None if reference.logprob is None else value - reference.logprob
        elif value is not None and self.options.reference_free == "average":
            value /= len(tokens.answer)
        return Reward(policy.request_id, value, n_tokens, tokens.truncated, error)

    def _tokens(self, request: RewardRequest) -> _Tokens:
        """Split a conversation into prompt and answer; the start of a prompt that is too long is cut."""
        reason = not_an_answer(request.messages)
        if reason:
            raise ChatTemplateError(reason)
        prompt, answer = self._split(request.messages)
        engines = [self._policy] if self._reference is None else [self._policy, self._reference]
        limit = tightest(self.options.max_length, *(engine.context_length for engine in engines))
        if limit is None:
            return _Tokens(tuple(prompt), tuple(answer), False)
        # The last token of the answer is predicted, not read.
        room = limit - (len(answer) - 1)
        if room < 1:
            raise ChatTemplateError(
                f"the answer has {len(answer)} tokens and {limit} can be read; an answer is not cut"
            )
        prompt, truncated = cut_start(prompt, room, self._policy.tokenizer.bos_token_id)
        return _Tokens(tuple(prompt), tuple(answer), truncated)

    def _split(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """Tokenise a conversation in two parts, neither empty: the prompt, and the answer with the end of its turn."""
        prompt_text = self._template.render(messages[:-1])
        whole_text = self._template.render_answered(messages)
        prompt, whole = self._template.tokenise(prompt_text), self._template.tokenise(whole_text)
        if whole[: len(prompt)] == prompt:
            answer = whole[len(prompt) :]
        elif whole_text.startswith(prompt_text):  # the tokenizer merges across the boundary
            answer = self._template.tokenise(whole_text[len(prompt_text) :])
        else:
            raise ChatTemplateError("the chat template writes the prompt differently once it is answered")
        if not answer or not prompt:
            raise ChatTemplateError(f"the {'prompt' if answer else 'answer'} has no tokens")
        return prompt, answer

    def _check_vocabularies(self, reference: HFEngine) -> None:
        """Check that token ids mean the same to both models, which score the same ids."""
        mine, other = self._policy.tokenizer.get_vocab(), reference.tokenizer.get_vocab()
        differing = [token for token, number in other.items() if mine.get(token) != number]
        if differing:
            raise ModelError(
                f"the reference {self.options.reference} has other tokens than the policy "
                f"({len(differing)} differ, for example {min(differing)!r})",
                "the model the policy was trained from",
                "give it with the engine option reference=DIR",
            )
