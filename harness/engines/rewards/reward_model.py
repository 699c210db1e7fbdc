"""The reward model engine: a Bradley-Terry classifier gives every conversation a number.

Paper      Bradley and Terry (1952); Ouyang et al. (2022), arXiv 2203.02155; Dong et al. (2024), arXiv 2405.07863
Formula    P(first is better) = sigmoid(r(x, first) - r(x, second))

The conversation is written by the model's own chat template, and no special token is added to it: a second or a missing
begin-of-sequence token changes the rewards (by about one point of RewardBench, as upstream reports).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.engines.adapter_dirs import resolve_adapter
from harness.engines.answered import cut_start, not_an_answer, required_template, tightest
from harness.engines.base import Fingerprint
from harness.engines.chat_template import ChatTemplateError
from harness.engines.hf.batches import BatchLimits
from harness.engines.hf.checkpoint_engine import CheckpointEngine
from harness.engines.hf.hf_options import HFOptions
from harness.engines.hf.model_loading import CheckpointKind, LoadedModel, load_model
from harness.engines.prompt_tokens import ENCODING_ERRORS, unknown_token
from harness.engines.rewards.reward_scoring import RewardJob, RewardScorer
from harness.engines.rewards.scorer_checks import check_classifier_config, check_padding, pad_token_id
from harness.engines.rewards.scorer_options import RewardModelOptions
from harness.engines.rewards.scorers import Reward, RewardRequest
from harness.engines.weights_hash import weight_files

_BATCH_TOKENS = 2**20  # a pass is limited by `LoadedModel.pass_tokens`; this applies if the user gives no budget


class RewardModelEngine(CheckpointEngine[RewardModelOptions]):
    """Scores conversations with a sequence classifier of one output; a `harness.engines.rewards.scorers.RewardEngine`.

    Parameters
    ----------
    options : RewardModelOptions
        Which checkpoint and how.
    loaded : LoadedModel, optional
        A loaded model, in place of the checkpoint's files.

    Raises
    ------
    ModelError
        The checkpoint cannot be loaded, is no reward model, or its pad token makes its rewards unreliable.
    NoChatTemplateError
        It has no chat template.
    """

    name = "reward_model"
    options_type = RewardModelOptions

    def __init__(self, options: RewardModelOptions, loaded: LoadedModel | None = None) -> None:
        loaded = loaded if loaded is not None else load_reward_model(options)
        self._required_template = required_template(loaded.tokenizer, options)
        super().__init__(options, loaded, self._required_template)
        check_padding(loaded.model.config, loaded.tokenizer, options)
        limits = BatchLimits(options.max_batch_tokens or _BATCH_TOKENS, options.max_batch_size)
        self._scorer: RewardScorer | None = RewardScorer(loaded, limits, options.padding_side)

    def _identify(self) -> Fingerprint:
        return self._identified(max_length=self.options.max_length, pooling=self.options.pooling)

    def _release(self) -> None:
        self._scorer = None
        super()._release()

    def rewards(self, requests: Sequence[RewardRequest]) -> Iterator[Reward]:
        """Score conversations, yielding each as it is done.

        Parameters
        ----------
        requests : sequence of RewardRequest
            All at once, so that they can be ordered and batched.

        Returns
        -------
        iterator of Reward
            One per request, in the order they are done. A conversation the model cannot take is an error of its own.

        Raises
        ------
        ModelError
            The engine is closed, or the device failed.
        """
        loaded = self._model()
        # Equal texts are read once, so that their rewards are equal.
        equal: dict[tuple[int, ...], list[RewardJob]] = {}
        for request in requests:
            job = self._job(loaded, request)
            if isinstance(job, Reward):
                yield job
            else:
                equal.setdefault(tuple(job.token_ids), []).append(job)
        if self._scorer is None:
            return
        for done in self._scorer.run([jobs[0] for jobs in equal.values()]):
            for job in equal[tuple(done.token_ids)]:
                yield Reward(job.request_id, done.value, len(done.token_ids), job.truncated, done.error)

    def _job(self, loaded: LoadedModel, request: RewardRequest) -> RewardJob | Reward:
        """Tokenise a request, or say why it cannot be scored."""
        reason = not_an_answer(request.messages)
        if reason:
            return Reward(request.request_id, None, error=reason)
        try:
            ids = self._required_template.encode_answered(request.messages)
        except ChatTemplateError as error:
            return Reward(request.request_id, None, error=str(error))
        except ENCODING_ERRORS as error:
            return Reward(
                request.request_id, None, error=f"the tokenizer refuses the text: {type(error).__name__}: {error}"
            )
        if not ids:
            return Reward(request.request_id, None, error="the conversation has no tokens")
        unknown = unknown_token(ids, loaded.n_embeddings)
        if unknown:
            return Reward(request.request_id, None, len(ids), error=unknown)
        limit = tightest(self.options.max_length, loaded.context_length)
        ids, truncated = cut_start(ids, limit, loaded.tokenizer.bos_token_id)
        return RewardJob(request.request_id, ids, self._place(loaded, ids), truncated)

    def _place(self, loaded: LoadedModel, ids: Sequence[int]) -> int:
        """Find the token at which the reward is read."""
        last = len(ids) - 1
        if self.options.pooling != "last_non_pad":
            return last
        pad = pad_token_id(loaded.model.config, loaded.tokenizer)
        return next((place for place in range(last, -1, -1) if ids[place] != pad), last)


def load_reward_model(options: HFOptions) -> LoadedModel:
    """Load a sequence classifier of one output, a LoRA adapter on it, and its tokenizer.

    Raises
    ------
    ModelError
        As in `harness.engines.hf.model_loading.load_model`, or it is not a Bradley-Terry reward model.
    """
    options = resolve_adapter(options)
    arguments: dict[str, Any] = {}
    config = _config(options)
    if config is not None:
        check_classifier_config(config, options.display_name, options.adapter is not None)
        if options.adapter is not None and config.num_labels != 1:
            arguments["num_labels"] = 1  # the base is a language model; the adapter brings the head
    kind = CheckpointKind(
        "AutoModelForSequenceClassification", "a sequence classifier with one output", arguments, _in_adapter
    )
    return load_model(options, kind)


def _config(options: HFOptions) -> Any:
    """Read a checkpoint's configuration; None if that fails, since loading reports the fault."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            options.model, revision=options.revision, trust_remote_code=options.trust_remote_code
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _in_adapter(directory: Path, missing: list[str]) -> list[str]:
    """Return the missing tensors that an adapter directory has (peft saves a trained head whole)."""
    held: set[str] = set()
    for path in weight_files(directory):
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                held.update(file.keys())
        else:
            import torch

            held.update(torch.load(path, map_location="cpu", weights_only=True))
    return [name for name in missing if any(_stem(key).endswith(name) for key in held)]


def _stem(key: str) -> str:
    """Convert the name of an adapter's tensor to the model's."""
    return key.replace(".modules_to_save.default", "").replace(".modules_to_save", "").replace(".original_module", "")
