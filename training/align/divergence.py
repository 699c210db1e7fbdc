"""How far a policy has gone from the SFT model: the log-probability of its own answers under both.

KL(policy || SFT) is the mean over the policy's answers y of log policy(y|x) - log SFT(y|x): unbiased where answers were
drawn at temperature 1. What is scored is what was drawn: the answer's tokens and, unless the token limit cut it, the
token that ended it; not what the chat template writes after that. Engines give text, and a text can be written in other
tokens than it was drawn in: an answer whose text has another number of tokens is left out and counted.
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

__all__ = ["LogRatio", "Models", "draw_log_ratios", "read_log_ratios"]

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
        Checkpoints; the reference's tokenizer and chat template make the tokens, which both score.
    options : mapping
        Options of the hf engine for both.
    """

    policy: str
    reference: str
    options: Mapping[str, Any]


def draw_log_ratios(samples: Sequence[Sample], models: Models, out: Path) -> None:
    """Score answers under both models, one model in memory at a time; what is stored already is not scored again.

    Parameters
    ----------
    samples : sequence of Sample
        Answers of the policy; those that failed are passed over.
    models : Models
        Who scores.
    out : Path
        The stage's directory.

    Raises
    ------
    ModelError
        A checkpoint cannot be loaded, or the two mean different things by a token.
    """
    out.mkdir(parents=True, exist_ok=True)
    answered = [sample for sample in samples if sample.finish != "error"]
    tokenizer: _Tokens | None = None
    for role, model in (("reference", models.reference), ("policy", models.policy)):
        there = {key for key, _ in _rows(out / _FILES[role])}
        waiting = {f"{s.prompt_key}:{s.sample}": s for s in answered if (s.prompt_key, s.sample) not in there}
        if not waiting:
            continue
        tokenizer = tokenizer or _Tokens.of(models)
        with JsonlAppender(out / _FILES[role]) as file, closing(_load(model, models.options)) as engine:
            tokenizer.check(engine)
            requests = []
            for name, sample in waiting.items():
                try:
                    requests.append(tokenizer.request(name, sample, engine.context_length))
                except (ChatTemplateError, *ENCODING_ERRORS) as error:
                    file.append(_line(sample, None, 0, str(error) or type(error).__name__))
            for found in engine.loglikelihood(requests):
                file.append(_line(waiting[found.request_id], found.logprob, found.n_tokens, found.error))


def read_log_ratios(out: Path) -> dict[Key, LogRatio]:
    """Read what both models have scored."""
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


def _load(model: str, options: Mapping[str, Any]) -> HFEngine:
    return HFEngine.from_options({"model": model, **options})


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
        """Refuse a model that means something else by a token."""
        mine, other = self.tokenizer.get_vocab(), engine.tokenizer.get_vocab()
        differing = sorted(token for token in mine.keys() & other.keys() if mine[token] != other[token])
        if differing:
            raise ModelError(
                f"{engine.fingerprint.source} and the SFT model number their tokens differently "
                f"({len(differing)} differ, for example {differing[0]!r})",
                "a policy that was trained from the SFT model",
            )

    def request(self, name: str, sample: Sample, limit: int | None) -> LogLikelihoodRequest:
        """Part an answered conversation into what was given and what was drawn."""
        messages = messages_of(sample)
        prompt_text = self.template.render(messages[:-1])
        text = sample.response if sample.drawn is None else sample.drawn
        prompt, said = self.template.tokenise(prompt_text), self.template.tokenise(prompt_text + text)
        if said[: len(prompt)] != prompt:
            raise ChatTemplateError("the prompt's tokens are others once it is answered")
        answer = said[len(prompt) :]
        if sample.finish == "stop":
            answer = [*answer, self._end(messages)]
        if not answer:
            raise ChatTemplateError("the answer has no tokens")
        if sample.n_tokens is not None and sample.n_tokens != len(answer):
            raise ChatTemplateError(f"{sample.n_tokens} tokens were drawn and the answer's text has {len(answer)}")
        if limit is not None:
            # The last token of the answer is predicted, not read.
            if limit < len(answer):
                raise ChatTemplateError(f"the answer has {len(answer)} tokens and {limit} can be read")
            prompt, _ = cut_start(prompt, limit - (len(answer) - 1), self.tokenizer.bos_token_id)
        return LogLikelihoodRequest(name, "", "", tuple(prompt), tuple(answer))

    def _end(self, messages: Sequence[Message]) -> int:
        """The token that ends an answer in the chat template."""
        for token in reversed(self.template.tokenise(self.template.render_answered(messages))):
            if token in self.ends:
                return token
        raise ChatTemplateError("the chat template ends an answer by no end-of-turn token")
