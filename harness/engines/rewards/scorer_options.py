"""Options of the engines that score answers, in addition to those of the transformers engine."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.engines.engine_options import Text
from harness.engines.hf.hf_options import HFOptions

PaddingSide = Literal["right", "left"]


class ScorerOptions(HFOptions):
    """Options of every engine that scores answers; those not listed are in `HFOptions`.

    Parameters
    ----------
    max_length : int or None
        Number of tokens read, from the end; None for the model's context length.
    """

    max_length: Annotated[int, Field(ge=1)] | None = None


class RewardModelOptions(ScorerOptions):
    """Options of the reward model engine; those not listed are in `ScorerOptions`.

    Parameters
    ----------
    pooling : {"auto", "last_token", "last_non_pad"}
        Where the reward is read: at the last token, or at the last one that is not the pad token (as transformers'
        classifiers do). "auto" is the last token, and an error where the two may differ.
    padding_side : {"right", "left"}
        The side on which rows are padded; it changes no decision.
    """

    pooling: Literal["auto", "last_token", "last_non_pad"] = "auto"
    padding_side: PaddingSide = "right"


class PreferenceModelOptions(ScorerOptions):
    """Options of the preference model engine; those not listed are in `ScorerOptions`.

    Parameters
    ----------
    without_bos : bool
        Whether the begin-of-sequence token the chat template writes is left out: RLHFlow's published preference
        models were trained without it.
    """

    without_bos: bool = False


class ImplicitRewardOptions(ScorerOptions):
    """Options of the implicit reward engine, of which `model` is the policy; those not listed are in `ScorerOptions`.

    Parameters
    ----------
    reference : str or None
        The reference model the policy was trained against: a directory, a LoRA directory, or a hub id.
    reference_free : {"sum", "average"}
        Without a reference: the log-probability of the answer, or its mean over the answer's tokens.
    """

    reference: Text | None = None
    reference_free: Literal["sum", "average"] = "sum"

    @model_validator(mode="after")
    def _one_figure(self) -> Self:
        if self.reference is not None and "reference_free" in self.model_fields_set:
            raise ValueError("both reference and reference_free are set; leave one out")
        return self

    @property
    def reference_hf(self) -> HFOptions | None:
        """How the reference is loaded: as the policy, from its own directory; None if there is none.

        The policy's chat template is used for both, since both score the very same tokens.
        """
        if self.reference is None:
            return None
        shared = self.model_dump(include=set(HFOptions.model_fields) - {"adapter", "revision", "name"})
        return HFOptions(**shared | {"model": self.reference})
