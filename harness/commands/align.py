r"""Align a model by a recipe: the checkpoint of every iteration is measured and must pass the gate.

For example:
  assay align RECIPE.yaml --out runs/align
  assay align align-tiny --set base=./model --set sft.data=conversations.jsonl --set ranker.recipe.data=pairs.jsonl \
              --set sampling.prompts=prompts.jsonl --set validation.prompts=validation.jsonl --out runs/align
  assay align RECIPE.yaml --check          # check the recipe, the data and the overlap of prompts, and stop
  assay train recipes --show align-paper   # the recipe of "RLHF Workflow"

The same command resumes an interrupted loop. A changed recipe redoes what depends on the change.
exit status: 0 done (at least one checkpoint was accepted, or there is no gate), 3 the gate accepted none, 1 stopped by
an error, 2 wrong usage
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.store.align_directory import AlignState
    from reports.blocks import Block


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("recipe", metavar="RECIPE.yaml", help="a recipe, or the name of a shipped one")
    add("--out", type=Path, metavar="DIR", help="the align directory")
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="a field of the recipe")
    add("--check", action="store_true", help="check recipe and data, and stop")
    add("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    add("--json", action="store_true", help="print the contents of align.json on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import sys
    import time

    from harness.commands.output import data_store, plain, print_json
    from harness.errors import UsageError
    from harness.settings import Settings
    from reports.terminal import print_blocks
    from training.align import loop
    from training.align.recipe import load_align_recipe

    recipe = load_align_recipe(arguments.recipe, arguments.overrides)
    data_dir = arguments.data_dir or Settings.from_env().data_dir
    if arguments.out is None and not arguments.check:
        raise UsageError("--out is missing", "a directory")

    def say(text: str) -> None:
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {plain(text)}\n")

    options = loop.AlignOptions(arguments.out or Path(), data_store(arguments.data_dir), data_dir, say=say)
    if arguments.check:
        sys.stdout.write("".join(f"{plain(line)}\n" for line in loop.check(recipe, options)))
        return 0
    state = loop.align(recipe, options).state
    if arguments.json:
        print_json(state.model_dump(mode="json"))
    else:
        print_blocks(_blocks(state, arguments.out))
    return _exit_status(state)


def _exit_status(state: AlignState) -> int:
    """3 if the gate was asked and accepted no variant."""
    tried = [variant for variant in state.variants if variant.gate is not None]
    return 3 if tried and not any(variant.accepted for variant in tried) else 0


def _blocks(state: AlignState, out: Path) -> list[Block]:
    """What was chosen and why, every gate's decision, and the measures of the variants."""
    from reports.blocks import Note
    from reports.inputs import AlignInput
    from reports.sections.training import chosen_table, measure_table, training_verdicts, variant_table

    verdicts = training_verdicts(AlignInput(out, state, {}, []))
    last = [Note(f"chosen: {state.chosen} ({state.chosen_because})"), Note(f"directory: {out}")]
    tables = [variant_table(state.variants), measure_table(state.variants), *chosen_table(state)]
    return [*verdicts, *tables, *last]
