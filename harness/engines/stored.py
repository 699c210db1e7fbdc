"""The answers of a finished run in place of a model: judged again, against something else, and not made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.engines.base import Fingerprint, Generation, GenerationRequest, LogLikelihood, LogLikelihoodRequest
from harness.errors import MissingDataError, SpecError
from harness.hashing import file_sha256
from harness.records import Response
from harness.store.run_directory import RunDirectory

__all__ = ["StoredAnswers"]


@dataclass
class StoredAnswers:
    """Replays a run's answers; an `harness.engines.base.Engine`.

    Parameters
    ----------
    directory : RunDirectory
        The run.
    label : str
        Name for tables.
    """

    directory: RunDirectory
    label: str
    name: str = "stored"
    _answers: dict[tuple[str, int], Response] = field(init=False, default_factory=dict)
    _header: dict[str, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._header = self.directory.header()
        self._answers = {
            (r.prompt_id, r.sample): r for r in self.directory.responses().values() if r.role == "candidate"
        }
        if not self._answers:
            raise MissingDataError(f"{self.directory.path} holds no answers", "a run with responses.jsonl")

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Open the run directory that `model` names.

        Raises
        ------
        SpecError
            There are other options.
        MissingDataError
            There is no run, or it holds no answers.
        """
        unknown = sorted(set(options) - {"model", "name"})
        if unknown:
            raise SpecError(f"the engine stored has no option {', '.join(unknown)}", "a run directory as the model")
        directory = RunDirectory(Path(options["model"]))
        return cls(directory, str(directory.header()["model"]["name"]))

    @property
    def fingerprint(self) -> Fingerprint:
        """The model that made the answers, and the answers themselves."""
        model = self._header["model"]
        answers = file_sha256(self.directory.path / "responses.jsonl")
        return Fingerprint(
            name=self.label,
            source=str(model.get("source", self.directory.path)),
            engine=self.name,
            weights_hash=model.get("weights_hash"),
            chat_template_hash=model.get("chat_template_hash"),
            options={"answers": answers, "model_id": model.get("model_id")},
        )

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Give the stored answer to each request; one that is not there, or failed, is an error for good."""
        for request in requests:
            prompt_id, _, sample = request.request_id.rpartition(":")
            answer = self._answers.get((prompt_id, int(sample) if sample.isdigit() else 0))
            turn = sum(message.role == "assistant" for message in request.messages)
            if answer is None or not answer.ok or turn >= len(answer.turns):
                why = answer.error if answer is not None and answer.error else "the run holds no answer to this prompt"
                yield Generation(request.request_id, "", "error", error=why, retryable=False)
                continue
            n_tokens = answer.n_tokens[turn] if turn < len(answer.n_tokens) else None
            finish = answer.finish if turn == len(answer.turns) - 1 else "stop"
            yield Generation(request.request_id, answer.turns[turn], finish, n_tokens=n_tokens, seed=answer.seed)

    def loglikelihood(self, requests: Sequence[LogLikelihoodRequest]) -> Iterator[LogLikelihood]:
        """There are none: only answers are stored."""
        for request in requests:
            yield LogLikelihood(request.request_id, None, None, 0, error="stored answers have no log-likelihoods")

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
