"""`assay train`: one training stage, the shipped recipes, and what can be done with training data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_parser", "run"]

_EPILOG = """\
examples:
  assay train recipes
  assay train sft sft-paper --set data=conversations.jsonl --out runs/sft
  assay train reward reward-tiny --set model=runs/sft/model --set data=pairs.jsonl --out runs/reward
  assay train dpo RECIPE.yaml --set model=runs/sft/model --set reference=runs/sft/model --out runs/dpo
  accelerate launch --config_file "$(assay train recipes --config fsdp)" -m harness.cli train dpo RECIPE.yaml --out DIR

Stopped or killed? The same command goes on from the last checkpoint. DIR/metrics.jsonl has the curves, DIR/model the
model, DIR/stage.json what came of it. docs/training.md has the fields of recipes and how to train on several machines.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command's arguments."""
    from harness import registry
    from harness.commands import train_data

    stages = registry.names("training stage")
    parser = subparsers.add_parser(
        "train",
        help=f"one training stage: {', '.join(stages)}; recipes; data",
        description="Train one stage as a recipe says, in a directory that can be gone on with.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="|".join([*stages, "recipes", "data"]), required=True)
    for name in stages:
        _add_stage(actions, name)
    recipes = actions.add_parser("recipes", help="list the recipes that come with assay", description="List recipes.")
    shown = recipes.add_mutually_exclusive_group()
    shown.add_argument("--show", metavar="NAME", help="print one recipe")
    shown.add_argument("--config", metavar="NAME", help="print the path of an accelerate configuration")
    recipes.add_argument("--json", action="store_true", help="print JSON on stdout")
    data = actions.add_parser("data", help="look at training data: statistics, filters, mixes, overlap")
    train_data.add_arguments(data)
    parser.set_defaults(run=run)


def _add_stage(actions: Any, name: str) -> None:
    from harness.errors import AssayError
    from training.stage import find_stage

    try:
        summary = find_stage(name).summary
    except AssayError as error:  # a broken plug-in must not take the other stages with it; running it says the rest
        summary = f"unavailable: {error.found}"
    parser = actions.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE.yaml", help="a recipe, or the name of a shipped one")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the stage's directory")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="a field of the recipe"
    )
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    if arguments.action == "data":
        from harness.commands import train_data

        return int(train_data.run(arguments))
    if arguments.action == "recipes":
        return _recipes(arguments)
    from training.loop import is_main_process
    from training.recipe import load_recipe
    from training.stage import find_stage

    stage = find_stage(arguments.action)
    recipe = load_recipe(stage, arguments.recipe, arguments.overrides)
    result = stage.train(recipe, arguments.out)
    if is_main_process():
        _print(result, as_json=arguments.json)
    return 0


def _recipes(arguments: argparse.Namespace) -> int:
    import sys

    from harness.commands.output import print_json, print_table
    from harness.errors import UnknownNameError
    from training.recipe import shipped_configs, shipped_recipes

    shipped, configs = shipped_recipes(), shipped_configs()
    for name, known, kind in ((arguments.show, shipped, "recipe"), (arguments.config, configs, "configuration")):
        if name is not None and name not in known:
            raise UnknownNameError(kind, name, known)
    if arguments.show is not None:
        sys.stdout.write(shipped[arguments.show].read_text(encoding="utf-8"))
    elif arguments.config is not None:
        sys.stdout.write(f"{configs[arguments.config]}\n")
    elif arguments.json:
        print_json(
            {"recipes": {n: str(p) for n, p in shipped.items()}, "configs": {n: str(p) for n, p in configs.items()}}
        )
    else:
        rows = [[name, _first_comment(path), str(path)] for name, path in {**shipped, **configs}.items()]
        print_table(["name", "what", "path"], rows)
    return 0


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _print(result: Any, *, as_json: bool) -> None:
    from harness.commands.output import plain, print_json, print_table

    record = result.record
    if as_json:
        print_json({"out": str(result.out), "model": str(result.model), **record})
        return
    import sys

    items = record["items"]["train"]
    lines = [f"{record['stage']}: {record['steps']} steps on {items['n_used']} of {items['n_given']} records"]
    lines += [f"  ! {plain(problem)}" for problem in record["problems"]]
    lines += [f"  - left out, {reason}: {n}" for reason, n in items["dropped"].items()]
    if items["truncated"]:
        lines.append(f"  - cut to fit max_length: {items['truncated']}")
    lines += [f"  model: {result.model}", f"  weights: {result.weights_sha256[:16]}"]
    sys.stdout.write("\n".join(lines) + "\n")
    held = record["held_out"]
    rows = [
        [name.removeprefix("eval_"), "", _number(held["before"].get(name)), _number(held["after"].get(name))]
        for name in ("eval_loss", "eval_accuracy", "eval_margin", "eval_token_accuracy")
        if name in held.get("after", {})
    ]
    if rows:
        print_table(["held out", "", "before", "after"], rows)
    accuracy = held.get("accuracy", {})
    if accuracy.get("value") is not None:
        low, high = accuracy["ci_low"], accuracy["ci_high"]
        interval = f" (95 % interval {low:.1f} to {high:.1f})" if low is not None else ""
        sys.stdout.write(
            f"held-out accuracy {accuracy['value']:.1f} %{interval}, {accuracy['n']} pairs of {accuracy['n_clusters']} "
            f"prompts, {accuracy['n_tied']} tied; {accuracy['method']}\n"
        )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
