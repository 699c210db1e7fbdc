"""The base class of engines: reading options, the fingerprint, closing.

A plug-in engine derives from `BaseEngine`, sets `name`, and writes `_identify` and what it offers (`generate` and
`loglikelihood`, or `rewards`, or `preferences`)::

    class ParrotEngine(BaseEngine[EngineOptions]):
        name = "parrot"

        def _identify(self) -> Fingerprint:
            return Fingerprint(self.options.display_name, self.options.model, self.name)

        def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
            for request in requests:
                yield Generation(request.request_id, request.messages[-1].content, "stop")
        ...

An engine with options of its own derives a class from `EngineOptions`, or from `CheckpointOptions` where it loads a
checkpoint, and names it as `options_type`. One that holds a model or connections frees them in `_release`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from harness.closing import Closing
from harness.engines.base import Fingerprint
from harness.engines.chat_template import ChatTemplate
from harness.engines.engine_options import CheckpointOptions, EngineOptions
from harness.engines.weights_hash import weights_hash
from harness.errors import ModelError
from harness.spec import validated

OptionsType = TypeVar("OptionsType", bound=EngineOptions)


class BaseEngine(Closing, Generic[OptionsType]):
    """An engine that is created from options, has a fingerprint, and is closed once.

    Parameters
    ----------
    options : EngineOptions
        What to load, and how.
    """

    name: str
    """Registered name of the kind of engine."""

    options_type: ClassVar[type[EngineOptions]] = EngineOptions
    """The model its options are read by."""

    def __init__(self, options: OptionsType) -> None:
        self.options = options
        self._closed = False
        self._fingerprint: Fingerprint | None = None

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> Self:
        """Load the engine from plain values: the fields of `options_type`.

        Raises
        ------
        SpecError
            An option is unknown, missing, of the wrong type or out of range.
        AssayError
            The model cannot be used.
        """
        options: Any = validated(cls.options_type, values, f"options of the {cls.name} engine")
        return cls(options)

    @property
    def fingerprint(self) -> Fingerprint:
        """What identifies the model; determined on first use."""
        if self._fingerprint is None:
            self._check_open()
            self._fingerprint = self._identify()
        return self._fingerprint

    def close(self) -> None:
        """Free the model; closing twice is harmless."""
        if not self._closed:
            self._closed = True
            self._release()

    @abstractmethod
    def _identify(self) -> Fingerprint:
        """Build the fingerprint; the engine is open."""

    def _release(self) -> None:
        """Free what was loaded. Called once, also if `_closing_on_error` closes the engine."""

    def _check_open(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> ModelError:
        return ModelError(f"the {self.name} engine of {self.options.display_name} is closed", remedy="load a new one")

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        """Close the engine if a step of its construction fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise


def checkpoint_fingerprint(
    engine: str,
    options: CheckpointOptions,
    dtype: str,
    directories: Sequence[Path],
    template: ChatTemplate | None,
    **own: Any,
) -> Fingerprint:
    """Identify a loaded checkpoint.

    Parameters
    ----------
    engine : str
        Name of the kind of engine.
    options : CheckpointOptions
        Which checkpoint.
    dtype : str
        Name of the floating type in use.
    directories : sequence of Path
        Where the weights are; none if they were not loaded from files.
    template : ChatTemplate or None
        The chat template in use.
    **own
        Everything else that changes the output.
    """
    tags = options.reasoning_tags
    reasoning = {} if tags is None else {"reasoning_tags": [list(pair) for pair in tags]}
    return Fingerprint(
        name=options.display_name,
        source=options.model,
        engine=engine,
        weights_hash=weights_hash(directories) if directories else None,
        chat_template_hash=template.sha256 if template else None,
        options={"adapter": options.adapter, "dtype": dtype, "revision": options.revision, **own, **reasoning},
    )
