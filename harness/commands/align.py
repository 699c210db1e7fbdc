"""`assay align`: SFT, reward model, iterative DPO with a gate between iterations."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_EPILOG = """\
examples:
  assay align RECIPE.yaml --out runs/align
  assay align align-tiny --set base=./model --set sft.data=conversations.jsonl --set ranker.recipe.data=pairs.jsonl \\
              --set sampling.prompts=prompts.jsonl --set validation.prompts=validation.jsonl --out runs/align
  assay align RECIPE.yaml --check          # check the recipe, the data and the overlap of prompts, and stop
  assay train recipes --show align-paper   # the recipe of "RLHF Workflow"

The same command resumes an interrupted loop. A changed recipe redoes what depends on the change.
exit status: 0 done (at least one checkpoint was accepted, or there is no gate), 3 the gate accepted none, 1 stopped by
an error, 2 wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Align a model by a recipe. The checkpoint of every iteration is measured and must pass the gate."
    )
    parser.epilog = _EPILOG
    parser.add_argument("recipe", metavar="RECIPE.yaml", help="a recipe, or the name of a shipped one")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the align directory")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="a field of the recipe"
    )
    parser.add_argument("--check", action="store_true", help="check recipe and data, and stop")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    parser.add_argument("--json", action="store_true", help="print the contents of align.json on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    import sys
    import time

    from harness.commands.output import data_store, plain, print_json
    from harness.errors import UsageError
    from harness.settings import Settings
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
        print_state(state, arguments.out)
    return _exit_status(state)


def _exit_status(state: Any) -> int:
    """3 if the gate was asked and accepted no variant."""
    tried = [variant for variant in state.variants if variant.gate is not None]
    return 3 if tried and not any(variant.accepted for variant in tried) else 0


_COLUMNS = (
    ("reward", "reward"),
    ("gold", "gold"),
    ("win_rate_vs_sft", "win % v. SFT"),
    ("win_rate_vs_previous", "v. previous"),
    ("kl_per_response", "KL / answer"),
    ("length_chars", "characters"),
    ("length_limited", "cut %"),
    ("distinct_2", "distinct-2"),
    ("reward_length_pearson", "reward~length"),
)


def print_state(state: Any, out: Path) -> None:
    """Print the variants, the gate's reasons, and which variant was chosen."""
    import sys

    from harness.commands.output import plain, print_table

    print_table(*_table(state), f"{state.name} ({out})")
    lines = [line for variant in state.variants for line in _remarks(variant)]
    lines += [f"! {problem}" for problem in state.problems]
    lines += [state.error_budget, f"chosen: {state.chosen} ({state.chosen_because})", f"directory: {out}"]
    sys.stdout.write("\n".join(plain(line) for line in lines if line) + "\n")


def _table(state: Any) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the measures that any variant has."""
    measured = {key for variant in state.variants for key in variant.measures}
    shown = {key: title for key, title in _COLUMNS if key in measured}
    rows = [[v.name, _accepted(v), *(_cell(v.measures.get(key)) for key in shown)] for v in state.variants]
    return ["variant", "gate", *shown.values()], rows


def _remarks(variant: Any) -> Iterator[str]:
    """The gate's decision, an alarm and the note of a variant."""
    if variant.gate is not None:
        yield f"{variant.name}: {variant.gate.get('message', variant.gate['decision'])}"
    if variant.hacking is not None and variant.hacking["verdict"] == "alarm":
        yield f"  reward hacking: {variant.hacking['message']}"
    if variant.note:
        yield f"{variant.name}: {variant.note}"


def _accepted(variant: Any) -> str:
    if variant.gate is not None:
        return str(variant.gate["decision"])
    return "-" if variant.accepted is None else "start" if variant.iteration == 0 else "accepted"


def _cell(figure: Any) -> str:
    if figure is None or figure.value is None:
        return "-"
    digits = 2 if abs(figure.value) < 100 else 0
    error = "" if figure.stderr is None else f" ±{1.96 * figure.stderr:.{digits}f}"
    return f"{figure.value:.{digits}f}{error}"
