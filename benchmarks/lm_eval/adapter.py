"""Any of our engines as an lm-eval ``LM``: ``lm_eval.simple_evaluate(model=EngineLM(engine), ...)``.

Upstream  EleutherAI/lm-evaluation-harness 0.4.13 (MIT), ``lm_eval/api/model.py``; lengths and stop strings follow its
          ``HFLM``. Checked: equal figures on the same model and data (`tests/golden/test_academic_golden.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from benchmarks.lm_eval.requests import Answer, Ask, Asker, GenerationAsk, ScoringAsk, refuse_unknown_settings
from harness.engines.base import Engine
from harness.engines.hf.boundary import encode_text, prefix_token_id
from harness.errors import ModelError, NoChatTemplateError, UsageError
from harness.messages import Message

_CONVERSATION = "\0conversation\0"
"""Marks a prompt that is a conversation as JSON, for an engine whose server applies the chat template."""
_DEFAULT_LENGTH = 2048  # HFLM's, for models without a limit
_MAX_GEN_TOKS = 256  # HFLM's
_DECODING = ("until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k")


class EngineLM(LM):  # type: ignore[misc]
    """An engine behind lm-eval's interface.

    Parameters
    ----------
    engine : Engine
        A loaded engine.
    store : Path or None
        File that stores each answer as it arrives; None stores nothing.
    seed : int
        Seed of sampled generations.
    """

    def __init__(self, engine: Engine, store: Path | None = None, seed: int = 0) -> None:
        super().__init__()
        self.engine = engine
        self.asker = Asker(engine, store, seed)
        self.tokenizer = self.asker.tokenizer

    def close(self) -> None:
        """Close the store; the engine stays open."""
        self.asker.close()

    @property
    def tokenizer_name(self) -> str:
        """A name that differs between chat templates, for lm-eval's cache."""
        return str(self.engine.fingerprint.chat_template_hash or self.engine.fingerprint.name)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the template's text."""
        template = getattr(self.engine, "chat_template", None)
        return str(template.source) if template is not None and chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Render a conversation; an engine without a tokenizer leaves that to its server.

        Raises
        ------
        NoChatTemplateError
            The model has none.
        UsageError
            The template refuses the conversation.
        """
        if self.tokenizer is None:
            return _CONVERSATION + json.dumps(chat_history)
        template = getattr(self.engine, "chat_template", None)
        if template is None:
            raise NoChatTemplateError(
                f"{self.engine.fingerprint.name} has no chat template", remedy="leave apply_chat_template out"
            )
        import jinja2

        turns = chat_history
        for attempt in (1, 2):
            try:
                return str(
                    self.tokenizer.apply_chat_template(
                        turns,
                        chat_template=template.source,
                        tokenize=False,
                        add_generation_prompt=add_generation_prompt,
                        continue_final_message=not add_generation_prompt,
                    )
                )
            except jinja2.TemplateError as error:
                # As HFLM: some templates take no system message.
                turns = [turn for turn in chat_history if turn["role"] != "system"]
                if attempt == 2 or len(turns) == len(chat_history):
                    raise UsageError(f"the chat template refuses a prompt of the task: {error}") from error
        raise AssertionError("unreachable")

    def ask_of(self, instance: Any, sample: int = 0) -> Ask:
        """Turn one of lm-eval's requests into one to the engine.

        Raises
        ------
        UsageError
            The task needs something engines do not offer.
        """
        if instance.request_type == "loglikelihood":
            context, continuation = instance.args[:2]
            if context.startswith(_CONVERSATION):
                raise ModelError(
                    f"{self.engine.fingerprint.name} renders conversations on its server, where they cannot be scored",
                    "apply_chat_template: false, or an engine with a tokenizer (hf, vllm)",
                )
            return ScoringAsk(context, continuation)
        if instance.request_type != "generate_until":
            raise UsageError(f"requests of the kind {instance.request_type!r}", "loglikelihood, generate_until")
        if len(instance.args) > 2:
            raise UsageError("the task shows images or plays sounds", "tasks of text alone", "run it with lm-eval")
        context, settings = instance.args
        return self._generation_ask(context, dict(settings), sample)

    def _generation_ask(self, context: str, settings: dict[str, Any], sample: int) -> GenerationAsk:
        wanted: dict[str, Any] = dict(normalize_gen_kwargs(settings, _MAX_GEN_TOKS))
        refuse_unknown_settings({name: value for name, value in wanted.items() if name not in _DECODING})
        until = handle_stop_sequences(wanted.get("until"), eos=self._eos_text())
        prompt, messages = _prompt_or_messages(context)
        ask = GenerationAsk(prompt, messages, tuple(text for text in until if text), int(wanted["max_gen_toks"]))
        temperature = float(wanted.get("temperature") or 0.0)
        if temperature <= 0 or wanted.get("do_sample") is False:
            return ask
        refuse_unknown_settings({"top_k": wanted.get("top_k")})
        return replace(ask, temperature=temperature, top_p=float(wanted.get("top_p") or 1.0), sample=sample)

    def _eos_text(self) -> str | None:
        if self.tokenizer is None or self.tokenizer.eos_token_id is None:
            return None
        return str(self.tokenizer.decode([self.tokenizer.eos_token_id]))

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Score continuations; see ``LM.loglikelihood``.

        Raises
        ------
        ModelError
            One of them cannot be scored.
        """
        asks = [self.ask_of(request) for request in requests]
        return [(a.logprob or 0.0, bool(a.is_greedy)) for a in self._all(asks)]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[str]:
        """Continue prompts; see ``LM.generate_until``.

        Raises
        ------
        ModelError
            The engine cannot take one of them.
        """
        seen: dict[int, int] = {}
        asks = []
        for request in requests:
            sample = seen.get(id(request), 0)
            seen[id(request)] = sample + 1
            asks.append(self.ask_of(request, sample))
        return [a.text or "" for a in self._all(asks)]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[float]:
        """Score whole texts in windows of the model's length; see ``LM.loglikelihood_rolling``.

        Raises
        ------
        ModelError
            The engine has no tokenizer, or cannot score one of the texts.
        """
        windows = [self.windows_of(request) for request in requests]
        answers = iter(self._all([ask for asks in windows for ask in asks]))
        return [sum(next(answers).logprob or 0.0 for _ in asks) for asks in windows]

    def windows_of(self, request: Any) -> list[ScoringAsk]:
        """Split a text into disjoint windows, each scored after as much of what precedes it as fits.

        Raises
        ------
        ModelError
            The engine has no tokenizer to split with, or that has no token a text can begin after.
        """
        (text,) = request.args
        if self.tokenizer is None:
            raise ModelError(
                f"{self.engine.fingerprint.name} has no tokenizer here, which scoring of whole texts needs",
                "an engine with a tokenizer (hf, vllm)",
            )
        prefix = prefix_token_id(self.tokenizer)
        if prefix is None:
            raise ModelError("the tokenizer has neither a bos nor an eos token for a text to begin after")
        found = get_rolling_token_windows(
            token_list=encode_text(self.tokenizer, text),
            prefix_token=prefix,
            max_seq_len=self.asker.context_length or _DEFAULT_LENGTH,
            context_len=1,
        )
        pairs = [make_disjoint_window(window) for window in found]
        return [ScoringAsk("", "", tuple(context), tuple(continuation)) for context, continuation in pairs]

    def _all(self, asks: Sequence[Ask]) -> list[Answer]:
        answers: dict[int, Answer] = dict(self.asker.answers(asks))
        for place in range(len(asks)):
            if answers[place].error:
                raise ModelError(f"request {place + 1} of {len(asks)} has no answer: {answers[place].error}")
        return [answers[place] for place in range(len(asks))]


def _prompt_or_messages(context: str) -> tuple[str, tuple[Message, ...]]:
    """Read a context back: raw text, or the messages of a conversation."""
    if not context.startswith(_CONVERSATION):
        return context, ()
    turns = json.loads(context.removeprefix(_CONVERSATION))
    return "", tuple(Message(turn["role"], turn["content"]) for turn in turns)
