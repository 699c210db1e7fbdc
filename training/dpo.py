"""Direct preference optimisation on given pairs (offline), against a fixed reference.

    recipe = load_recipe(STAGE, "dpo.yaml")
    result = train(recipe, Path("runs/dpo"), data=pairs, held_out=more_pairs)
    result = train(recipe.with_(model="runs/dpo-1/model", reference="runs/sft/model"), Path("runs/dpo-2"), data=pairs)

With log ratios h = log pi(y|x) - log pi_ref(y|x), the loss of a pair is -log sigmoid(beta (h_chosen - h_rejected)).
The recipe has TRL's variants: other losses, an f-divergence instead of the reverse KL, LD-DPO's weight on the part of
an answer beyond the length of the shorter one, and an additional fine-tuning loss on the chosen answer (RPO).

Paper            Dong et al., "RLHF Workflow", arXiv 2405.07863, sections 3.2 and 3.3: two epochs, 5e-7, cosine, warm-up
                 0.03, batch 128, beta 0.1, and the reference is the SFT model in every iteration
Trainer          TRL's DPOTrainer, on pairs encoded here: a long prompt loses its beginning before an answer its end
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from training.checks import ItemReport, checked_rows
from training.data.records import PreferencePair
from training.encode import Encoder
from training.inputs import Data, pair_inputs
from training.loop import Prepared, Stage, run_stage
from training.models import check_same_tokens, load_causal, lora_config, model_identity
from training.recipe import TrainingRecipe
from training.sft import as_dataset
from training.stage import StageEntry, StageResult
from training.trainer_args import common_arguments

_SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
_DIFFERENCES = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop")


class DPORecipe(TrainingRecipe):
    """The fields of `dpo` besides those of all stages.

    Parameters
    ----------
    reference : str
        Directory or hub id of the reference model. It has no default, because the paper uses the SFT model in every
        iteration and the released script the previous iterate, with different results.
    precompute_reference : bool
        Compute the reference's log-probabilities before training, so that its weights need no memory during it.
    beta : float
        Strength of the pull towards the reference.
    loss : str
        One of TRL's losses.
    label_smoothing : float
        Assumed share of flipped labels; only the losses "robust", "exo_pair" and "aot" use it.
    sft_weight : float
        Weight of the negative log-likelihood per token of the chosen answer, added to the loss (RPO); 0 for none.
    f_divergence : str
        Regulariser instead of the reverse KL.
    alpha_divergence : float
        Its coefficient if `f_divergence` is "alpha_divergence".
    ld_alpha : float or None
        LD-DPO: weight (0 to 1) of an answer's tokens beyond the length of the shorter answer; None for plain DPO.
    """

    reference: str = Field(min_length=1)
    precompute_reference: bool = False
    learning_rate: float = Field(default=5e-7, gt=0)
    batch_size: int = Field(default=128, ge=1)
    epochs: float = Field(default=2.0, gt=0)
    beta: float = Field(default=0.1, gt=0)
    loss: Literal[
        "sigmoid",
        "hinge",
        "ipo",
        "exo_pair",
        "nca_pair",
        "robust",
        "bco_pair",
        "sppo_hard",
        "aot",
        "aot_unpaired",
        "apo_zero",
        "apo_down",
        "discopop",
        "sigmoid_norm",
    ] = "sigmoid"
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    sft_weight: float = Field(default=0.0, ge=0)
    f_divergence: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] = "reverse_kl"
    alpha_divergence: float = 0.5
    ld_alpha: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _one_of_these(self) -> Self:
        if self.label_smoothing and self.loss not in _SMOOTHED:
            raise ValueError(
                f"label_smoothing has no effect on the loss {self.loss!r}; set loss: robust (DPO with flipped labels)"
            )
        if self.loss == "exo_pair" and not self.label_smoothing:
            raise ValueError("the loss 'exo_pair' needs label_smoothing above 0 (its paper: 0.001)")
        if self.f_divergence != "reverse_kl" and self.loss not in _DIFFERENCES:
            raise ValueError(f"the loss {self.loss!r} has no f_divergence; these do: {', '.join(_DIFFERENCES)}")
        return self

    def identity(self) -> dict[str, Any]:
        """As in :class:`TrainingRecipe`; the reference is identified by its contents."""
        return {k: v for k, v in super().identity().items() if k not in ("reference", "precompute_reference")}


def train(
    recipe: DPORecipe, out: Path, *, data: Data[PreferencePair] = None, held_out: Data[PreferencePair] = None
) -> StageResult:
    """Train a policy on preference pairs.

    Parameters
    ----------
    recipe : DPORecipe
        The recipe; `model` is the starting policy.
    out : Path
        The stage's directory: a finished stage in it is read, an unfinished one resumed.
    data, held_out : sequence of PreferencePair, files or hub ids, optional
        Instead of the recipe's.

    Returns
    -------
    StageResult
        `model` is a plain transformers directory; ``held_out["after"]`` has "eval_loss", "eval_accuracy" and
        "eval_margin" of the implicit reward.

    Raises
    ------
    AssayError
        As :func:`training.loop.run_stage`.
    """
    inputs = pair_inputs(recipe, data, held_out)

    def prepare(directory: Path, n_processes: int) -> Prepared:
        from trl.trainer.dpo_config import DPOConfig

        check_same_tokens(recipe.model, recipe.reference)
        rows = checked_rows(recipe, inputs, encode_pairs)
        arguments = DPOConfig(
            **common_arguments(recipe, directory, n_processes, held_out=bool(rows.held_out)), **loss_arguments(recipe)
        )
        base = partial(load_causal, recipe.model, recipe.seed, rows.tokenizer)
        model = base()
        # Under LoRA the policy without its adapter is the reference, and no second copy is needed.
        shared = recipe.reference == recipe.model and (recipe.lora or recipe.precompute_reference)
        reference = None if shared else load_causal(recipe.reference, recipe.seed, rows.tokenizer)

        def dataset(encoded: Sequence[dict[str, Any]], name: str) -> Any:
            if not (encoded and recipe.precompute_reference):
                return as_dataset(encoded)
            return stored(encoded, directory / "encoded" / name)

        trainer = encoded_trainer()(
            model=model,
            ref_model=reference,
            args=arguments,
            train_dataset=dataset(rows.train, "train"),
            eval_dataset=dataset(rows.held_out, "held_out"),
            processing_class=rows.tokenizer,
            peft_config=lora_config(recipe.lora, "CAUSAL_LM"),
        )
        if recipe.precompute_reference:
            trainer.ref_model = None  # its log-probabilities are in the data
        return Prepared(trainer, rows.tokenizer, rows.reports, base)

    identity = {"reference": model_identity(recipe.reference)}
    return run_stage(Stage("dpo", recipe, inputs, prepare, identity), out)


def stored(rows: Sequence[dict[str, Any]], folder: Path) -> Any:
    """Save rows as a data set on the disk, beside which TRL stores the reference's log-probabilities.

    All processes of a job, and a resumed job, find them there.
    """
    from accelerate import PartialState
    from datasets import load_from_disk

    process = PartialState()
    if process.is_main_process and not folder.is_dir():
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        as_dataset(rows).save_to_disk(str(partial))
        partial.replace(folder)
    process.wait_for_everyone()
    return load_from_disk(str(folder))


def loss_arguments(recipe: DPORecipe) -> dict[str, Any]:
    """The loss in TRL's arguments."""
    return {
        "beta": recipe.beta,
        "loss_type": [recipe.loss, "sft"] if recipe.sft_weight else [recipe.loss],
        "loss_weights": [1.0, recipe.sft_weight] if recipe.sft_weight else None,
        "label_smoothing": recipe.label_smoothing,
        "f_divergence_type": recipe.f_divergence,
        "f_alpha_divergence_coef": recipe.alpha_divergence,
        "ld_alpha": recipe.ld_alpha,
        "precompute_ref_log_probs": recipe.precompute_reference,
        "precompute_ref_batch_size": recipe.eval_batch_size if recipe.precompute_reference else None,
    }


def encoded_trainer() -> type[Any]:
    """A DPOTrainer that takes encoded pairs, as TRL's SFT and reward trainers do."""
    from trl.trainer.dpo_trainer import DPOTrainer

    class EncodedDPOTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    return EncodedDPOTrainer


def encode_pairs(
    encoder: Encoder, pairs: Sequence[PreferencePair], recipe: TrainingRecipe
) -> tuple[list[dict[str, Any]], ItemReport]:
    """Encode pairs as a prompt and two answers, of at most `max_length` tokens together.

    If the longer answer leaves no room for the prompt, the prompt loses its beginning, down to half of `max_length`;
    then the answers lose their ends.

    Returns
    -------
    rows : list of dict
        "prompt_ids", "chosen_ids", "rejected_ids".
    report : ItemReport
        What was truncated; a pair whose sides are equal then is dropped.
    """
    report, rows = ItemReport(n_given=len(pairs)), []
    encoded = encoder.pairs([p.prompt for p in pairs], [(p.chosen, p.rejected) for p in pairs])
    for tokens in encoded:
        longest = max(len(tokens.chosen_ids), len(tokens.rejected_ids))
        n_prompt = min(len(tokens.prompt_ids), max(recipe.max_length - longest, recipe.max_length // 2))
        prompt = tokens.prompt_ids[len(tokens.prompt_ids) - n_prompt :]
        room = recipe.max_length - n_prompt
        chosen, rejected = tokens.chosen_ids[:room], tokens.rejected_ids[:room]
        report.truncated += n_prompt < len(tokens.prompt_ids) or longest > room
        if chosen == rejected:
            report.dropped["both sides equal within max_length"] += 1
            continue
        report.n_tokens += 2 * len(prompt) + len(chosen) + len(rejected)
        rows.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    return rows, report


STAGE = StageEntry("dpo", "optimise a policy on preference pairs against a fixed reference", DPORecipe, train)
