"""The answers of a finished run in place of a model, so that they can be judged again without being generated again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.engines.base import Fingerprint, Generation, GenerationRequest, LogLikelihood, LogLikelihoodRequest
from harness.engines.engine_options import EngineOptions
from harness.engines.lifecycle import BaseEngine
from harness.errors import MissingDataError
from harness.hashing import file_sha256
from harness.records import Response
from harness.store.run_directory import RunDirectory


class StoredAnswers(BaseEngine[EngineOptions]):
    """Replays a run's answers; an `harness.engines.base.Engine`.

    Parameters
    ----------
    options : EngineOptions
        `model` is the run's directory.

    Raises
    ------
    MissingDataError
        There is no run, or it holds no answers.
    """

    name = "stored"

    def __init__(self, options: EngineOptions) -> None:
        super().__init__(options)
        self.directory = RunDirectory(Path(options.model))
        self._model = self.directory.header()["model"]
        responses = self.directory.responses().values()
        self._answers: dict[tuple[str, int], Response] = {
            (r.prompt_id, r.sample): r for r in responses if r.role == "candidate"
        }
        if not self._answers:
            raise MissingDataError(f"{self.directory.path} holds no answers", "a run with responses.jsonl")

    def _identify(self) -> Fingerprint:
        """Identify the model that gave the answers, and the answers themselves."""
        model = self._model
        answers = file_sha256(self.directory.path / "responses.jsonl")
        return Fingerprint(
            name=str(model["name"]),
            source=str(model.get("source", self.directory.path)),
            engine=self.name,
            weights_hash=model.get("weights_hash"),
            chat_template_hash=model.get("chat_template_hash"),
            options={"answers": answers, "model_id": model.get("model_id")},
        )

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Give the stored answer to each request; a missing or failed one is an error that is not retryable."""
        for request in requests:
            prompt_id, _, sample = request.request_id.rpartition(":")
            answer = self._answers.get((prompt_id, int(sample) if sample.isdigit() else 0))
            turn = sum(message.role == "assistant" for message in request.messages)
            if answer is not None and answer.ok and turn < len(answer.turns):
                yield _generation(request, answer, turn)
            else:
                why = answer.error if answer is not None and answer.error else "the run holds no answer to this prompt"
                yield Generation(request.request_id, "", "error", error=why, retryable=False)

    def loglikelihood(self, requests: Sequence[LogLikelihoodRequest]) -> Iterator[LogLikelihood]:
        """Yield an error for every request: only answers are stored."""
        for request in requests:
            yield LogLikelihood(request.request_id, None, None, 0, error="stored answers have no log-likelihoods")


def _generation(request: GenerationRequest, answer: Response, turn: int) -> Generation:
    n_tokens = answer.n_tokens[turn] if turn < len(answer.n_tokens) else None
    finish = answer.finish if turn == len(answer.turns) - 1 else "stop"
    reasoning = answer.reasoning[turn] if answer.reasoning else ""
    n_reasoning = answer.n_reasoning_tokens[turn] if answer.n_reasoning_tokens else None
    return Generation(
        request.request_id,
        answer.turns[turn],
        finish,
        n_tokens=n_tokens,
        seed=answer.seed,
        reasoning=reasoning,
        n_reasoning_tokens=n_reasoning,
    )
