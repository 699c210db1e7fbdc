"""What the engines that score answers can be told: the transformers engine's options, and their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from harness.engines.hf.hf_options import HFOptions
from harness.errors import SpecError, nearest

__all__ = ["ImplicitRewardOptions", "PreferenceModelOptions", "RewardModelOptions"]

Pooling = Literal["auto", "last_token", "last_non_pad"]
PaddingSide = Literal["right", "left"]
ReferenceFree = Literal["sum", "average"]


@dataclass(frozen=True, slots=True)
class RewardModelOptions:
    """Options of the reward model engine.

    Parameters
    ----------
    hf : HFOptions
        The checkpoint, and how it is loaded and batched.
    max_length : int or None
        Tokens of a conversation that are read, the last ones; None for all the model's context holds.
    pooling : {"auto", "last_token", "last_non_pad"}
        Where the reward is read: at the last token, or at the last one that is not the pad token (as transformers'
        classifiers do). "auto" is the last token, and an error where the two may differ.
    padding_side : {"right", "left"}
        Where rows of a batch are filled up; it changes no decision.
    """

    hf: HFOptions
    max_length: int | None = None
    pooling: Pooling = "auto"
    padding_side: PaddingSide = "right"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RewardModelOptions:
        """Build the options from plain values, as a run spec or the command line has them.

        Raises
        ------
        SpecError
            An option is unknown or wrong.
        """
        own, hf = _parted("reward_model", cls, values)
        _check_positive("reward_model", own, "max_length")
        _check_choice("reward_model", own, "pooling", get_args(Pooling))
        _check_choice("reward_model", own, "padding_side", get_args(PaddingSide))
        return cls(hf, **own)


@dataclass(frozen=True, slots=True)
class PreferenceModelOptions:
    """Options of the preference model engine.

    Parameters
    ----------
    hf : HFOptions
        The checkpoint, and how it is loaded and batched.
    max_length : int or None
        Tokens that are read, the last ones; None for all the model's context holds.
    without_bos : bool
        Whether the begin-of-sequence token the chat template writes is left out: RLHFlow's published preference
        models were trained without it.
    """

    hf: HFOptions
    max_length: int | None = None
    without_bos: bool = False

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> PreferenceModelOptions:
        """Build the options from plain values.

        Raises
        ------
        SpecError
            An option is unknown or wrong.
        """
        own, hf = _parted("preference_model", cls, values)
        _check_positive("preference_model", own, "max_length")
        _check_choice("preference_model", own, "without_bos", (False, True))
        return cls(hf, **own)


@dataclass(frozen=True, slots=True)
class ImplicitRewardOptions:
    """Options of the implicit reward engine.

    Parameters
    ----------
    hf : HFOptions
        The policy, and how it and the reference are loaded and batched.
    reference : str or None
        The reference model the policy was trained against: a directory, a LoRA directory, or a hub id.
    reference_free : {"sum", "average"}
        Without a reference: the log-probability of the answer, or its mean over the answer's tokens.
    max_length : int or None
        Tokens of a conversation that are read, the last ones; None for all the model's context holds.
    """

    hf: HFOptions
    reference: str | None = None
    reference_free: ReferenceFree = "sum"
    max_length: int | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> ImplicitRewardOptions:
        """Build the options from plain values.

        Raises
        ------
        SpecError
            An option is unknown or wrong, or both a reference and a reference-free figure are asked for.
        """
        own, hf = _parted("implicit_reward", cls, values)
        _check_positive("implicit_reward", own, "max_length")
        _check_choice("implicit_reward", own, "reference_free", get_args(ReferenceFree))
        if own.get("reference") is not None:
            own["reference"] = str(own["reference"])
            if own.get("reference_free") is not None:
                raise SpecError(
                    "both reference and reference_free are set", "one of them", "leave reference_free out, or reference"
                )
        return cls(hf, **own)

    @property
    def reference_hf(self) -> HFOptions | None:
        """How the reference is loaded: as the policy, from its own directory; None where there is none.

        The policy's chat template is used for both, since both score the very same tokens.
        """
        if self.reference is None:
            return None
        return replace(self.hf, model=self.reference, adapter=None, revision=None, name=None)


def _parted(engine: str, kind: Any, values: Mapping[str, Any]) -> tuple[dict[str, Any], HFOptions]:
    """Part an engine's own options from those of the transformers engine."""
    mine = {field.name for field in fields(kind)} - {"hf"}
    known = mine | {field.name for field in fields(HFOptions)}
    for key in values:
        if key not in known:
            close = nearest(str(key), known)
            raise SpecError(
                f"unknown option {key!r} of the {engine} engine",
                "one of " + ", ".join(sorted(known)),
                f"did you mean {close}?" if close else "remove it",
            )
    hf = HFOptions.from_mapping({key: value for key, value in values.items() if key not in mine})
    return {key: value for key, value in values.items() if key in mine}, hf


def _check_positive(engine: str, values: Mapping[str, Any], key: str) -> None:
    value = values.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise SpecError(f"option {key} of the {engine} engine is {value!r}", "a positive whole number", f"set {key}")


def _check_choice(engine: str, values: Mapping[str, Any], key: str, allowed: tuple[Any, ...]) -> None:
    if key in values and values[key] not in allowed:
        listed = ", ".join(str(choice).lower() for choice in allowed)
        raise SpecError(f"option {key} of the {engine} engine is {values[key]!r}", f"one of {listed}", f"set {key}")
