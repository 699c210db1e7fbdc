"""raft: fine-tune on the better answer of each preference pair (Dong et al., arXiv 2304.06767)."""

from functools import partial

from training.checks import checked_rows
from training.data.records import Conversation
from training.inputs import pair_inputs
from training.loop import Prepared, Stage, run_stage
from training.models import load_causal
from training.recipe import TrainingRecipe
from training.sft import as_dataset, encode_conversations
from training.stage import StageEntry
from training.trainer_args import common_arguments


class RaftRecipe(TrainingRecipe):
    """The fields all stages share, with a default learning rate of its own."""

    learning_rate: float = 1e-5


def encode(encoder, pairs, recipe):
    """Encode the chosen side of each pair as a conversation."""
    chosen = [Conversation.of((*pair.prompt, *pair.chosen)) for pair in pairs]
    return encode_conversations(encoder, chosen, recipe)


def train(recipe, out, *, data=None, held_out=None):
    """Train in the directory `out`; `run_stage` resumes it, reads it when it is done, and writes stage.json."""
    inputs = pair_inputs(recipe, data, held_out)

    def prepare(directory, n_processes):
        from trl import SFTConfig, SFTTrainer

        rows = checked_rows(recipe, inputs, encode)
        base = partial(load_causal, recipe.model, recipe.seed, rows.tokenizer)
        trainer = SFTTrainer(
            model=base(),
            args=SFTConfig(**common_arguments(recipe, directory, n_processes, held_out=bool(rows.held_out))),
            train_dataset=as_dataset(rows.train),
            eval_dataset=as_dataset(rows.held_out),
            processing_class=rows.tokenizer,
        )
        return Prepared(trainer, rows.tokenizer, rows.reports, base)

    return run_stage(Stage("raft", recipe, inputs, prepare), out)


STAGE = StageEntry("raft", "fine-tune on the better answer of each preference pair", RaftRecipe, train)
