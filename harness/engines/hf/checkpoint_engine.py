"""Base of the engines that run a transformers checkpoint in this process: holds the model and frees it."""

from __future__ import annotations

import gc
from typing import Any, TypeVar

from harness.engines.base import Fingerprint
from harness.engines.chat_template import ChatTemplate
from harness.engines.hf.batches import free_memory
from harness.engines.hf.hf_options import HFOptions
from harness.engines.hf.model_loading import LoadedModel
from harness.engines.lifecycle import BaseEngine, checkpoint_fingerprint

OptionsType = TypeVar("OptionsType", bound=HFOptions)


class CheckpointEngine(BaseEngine[OptionsType]):
    """An engine with a model in this process.

    Parameters
    ----------
    options : HFOptions
        Which checkpoint, and how it is loaded.
    loaded : LoadedModel
        The model.
    template : ChatTemplate or None
        The chat template in use.
    """

    def __init__(self, options: OptionsType, loaded: LoadedModel, template: ChatTemplate | None) -> None:
        super().__init__(options)
        self._loaded: LoadedModel | None = loaded
        self._template = template

    @property
    def tokenizer(self) -> Any:
        """The tokenizer in use."""
        return self._model().tokenizer

    @property
    def context_length(self) -> int | None:
        """Positions the model has; None if it has no limit."""
        return self._model().context_length

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The chat template in use; None if the model has none."""
        return self._template

    def _model(self) -> LoadedModel:
        if self._loaded is None:
            raise self._closed_error()
        return self._loaded

    def _identified(self, **own: Any) -> Fingerprint:
        loaded = self._model()
        return checkpoint_fingerprint(self.name, self.options, loaded.dtype, loaded.directories, self._template, **own)

    def _release(self) -> None:
        if self._loaded is not None:
            device = self._loaded.device
            self._loaded = None
            gc.collect()
            free_memory(device)
