"""The divergence of a policy from the SFT model: log-probabilities of the policy's answers under both.

KL(policy || SFT) is the mean over the policy's answers y of log policy(y|x) - log SFT(y|x), which is unbiased for
answers sampled at temperature 1. Only sampled tokens are scored: those of the answer and, unless the token limit ended
it, its end token, but not what the chat template writes after it. Engines return text, which can have other tokens than
the sampled ones; an answer whose text has another number of tokens is left out and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engines.answered import cut_start, required_template
from harness.engines.base import LogLikelihoodRequest
from harness.engines.chat_template import ChatTemplate, ChatTemplateError
from harness.engines.hf.engine import HFEngine
from harness.engines.hf.hf_options import HFOptions
from harness.engines.prompt_tokens import ENCODING_ERRORS
from harness.errors import ModelError
from harness.messages import Message
from harness.store.align_directory import Sample
from harness.store.jsonl import JsonlAppender, read_jsonl
from training.align.sampling import messages_of

_FILES = {"policy": "policy-logprobs.jsonl", "reference": "reference-logprobs.jsonl"}
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class LogRatio:
    """log policy(y|x) - log reference(y|x) of one answer, in nats, and the tokens that were scored."""

    value: float
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Models:
    """The two models.

    Parameters
    ----------
    policy, reference : str
        Checkpoints. Both score the tokens that the reference's tokenizer and chat template make.
    options : mapping
        Options of the hf engine for both.
    """

    policy: str
    reference: str
    options: Mapping[str, Any]


def draw_log_ratios(samples: Sequence[Sample], models: Models, out: Path) -> None:
    """Score answers under both models, with one model in memory at a time; stored scores are not computed again.

    Parameters
    ----------
    samples : sequence of Sample
        Answers of the policy; failed ones are skipped.
    models : Models
        The models.
    out : Path
        The stage's directory.

    Raises
    ------
    ModelError
        A checkpoint cannot be loaded, or the two have different token ids.
    """
    out.mkdir(parents=True, exist_ok=True)
    answered = [sample for sample in samples if sample.finish != "error"]
    tokens: _Tokens | None = None
    for role, model in (("reference", models.reference), ("policy", models.policy)):
        scored = {key for key, _ in _rows(out / _FILES[role])}
        waiting = [s for s in answered if (s.prompt_key, s.sample) not in scored]
        if waiting:
            tokens = tokens or _Tokens.of(models)
            loaded = HFEngine.from_options({"model": model, **models.options})
            with JsonlAppender(out / _FILES[role]) as file, closing(loaded) as engine:
                for line in _scored(waiting, tokens, engine):
                    file.append(line)


def _scored(samples: Sequence[Sample], tokens: _Tokens, engine: HFEngine) -> Iterator[str]:
    """Score answers under one model; a line each, with the reason if it has no score."""
    tokens.check(engine)
    asked = {f"{s.prompt_key}:{s.sample}": s for s in samples}
    requests = []
    for name, sample in asked.items():
        try:
            requests.append(tokens.request(name, sample, engine.context_length))
        except (ChatTemplateError, *ENCODING_ERRORS) as error:
            yield _line(sample, None, 0, str(error) or type(error).__name__)
    for found in engine.loglikelihood(requests):
        yield _line(asked[found.request_id], found.logprob, found.n_tokens, found.error)


def read_log_ratios(out: Path) -> dict[Key, LogRatio]:
    """Read the answers that both models have scored."""
    reference = {key: row for key, row in _rows(out / _FILES["reference"]) if row["logprob"] is not None}
    return {
        key: LogRatio(row["logprob"] - reference[key]["logprob"], row["n_tokens"])
        for key, row in _rows(out / _FILES["policy"])
        if row["logprob"] is not None and key in reference
    }


def _line(sample: Sample, logprob: float | None, n_tokens: int, error: str) -> str:
    row = {"prompt_key": sample.prompt_key, "sample": sample.sample, "logprob": logprob, "n_tokens": n_tokens}
    return json.dumps({**row, "error": error} if error else row)


def _rows(path: Path) -> Iterator[tuple[Key, dict[str, Any]]]:
    if path.is_file():
        for _, row in read_jsonl(path, allow_torn_tail=True):
            yield (str(row["prompt_key"]), int(row["sample"])), row


@dataclass(frozen=True)
class _Tokens:
    """The reference's tokens of conversations."""

    tokenizer: Any
    template: ChatTemplate
    ends: frozenset[int]

    @classmethod
    def of(cls, models: Models) -> _Tokens:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(models.reference)
        template = required_template(tokenizer, HFOptions(model=models.reference))
        return cls(tokenizer, template, frozenset({*template.end_of_turn_ids(), tokenizer.eos_token_id} - {None}))

    def check(self, engine: HFEngine) -> None:
        """Refuse a model with other token ids."""
        mine, other = self.tokenizer.get_vocab(), engine.tokenizer.get_vocab()
        differing = sorted(token for token in mine.keys() & other.keys() if mine[token] != other[token])
        if differing:
            raise ModelError(
                f"{engine.fingerprint.source} and the SFT model have different token ids "
                f"({len(differing)} differ, for example {differing[0]!r})",
                "a policy that was trained from the SFT model",
            )

    def request(self, name: str, sample: Sample, limit: int | None) -> LogLikelihoodRequest:
        """Split an answered conversation into prompt tokens and sampled tokens."""
        messages = messages_of(sample)
        prompt_text = self.template.render(messages[:-1])
        text = sample.response if sample.drawn is None else sample.drawn
        prompt, said = self.template.tokenise(prompt_text), self.template.tokenise(prompt_text + text)
        if said[: len(prompt)] != prompt:
            raise ChatTemplateError("the prompt's tokens differ once it is answered")
        answer = said[len(prompt) :]
        if sample.finish == "stop":
            answer = [*answer, self._end(messages)]
        if not answer:
            raise ChatTemplateError("the answer has no tokens")
        if sample.n_tokens is not None and sample.n_tokens != len(answer):
            raise ChatTemplateError(f"{sample.n_tokens} tokens were sampled and the answer's text has {len(answer)}")
        if limit is not None:
            # The model reads all tokens of the answer but the last.
            if limit < len(answer):
                raise ChatTemplateError(f"the answer has {len(answer)} tokens and {limit} can be read")
            prompt, _ = cut_start(prompt, limit - (len(answer) - 1), self.tokenizer.bos_token_id)
        return LogLikelihoodRequest(name, "", "", tuple(prompt), tuple(answer))

    def _end(self, messages: Sequence[Message]) -> int:
        """The token that ends an answer in the chat template."""
        for token in reversed(self.template.tokenise(self.template.render_answered(messages))):
            if token in self.ends:
                return token
        raise ChatTemplateError("the chat template ends an answer without an end-of-turn token")
