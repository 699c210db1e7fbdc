"""Train a stage by a recipe; an interrupted stage is resumed.

For example:
  assay train recipes
  assay train sft sft-paper --set data=conversations.jsonl --out runs/sft
  assay train reward reward-tiny --set model=runs/sft/model --set data=pairs.jsonl --out runs/reward
  assay train dpo RECIPE.yaml --set model=runs/sft/model --set reference=runs/sft/model --out runs/dpo
  accelerate launch --config_file "$(assay train recipes --config fsdp)" -m harness.cli train dpo RECIPE.yaml --out DIR

The same command resumes an interrupted stage from its last checkpoint. DIR/metrics.jsonl has the curves, DIR/model the
model, DIR/stage.json the result. docs/training.md lists the fields of recipes and explains training on several GPUs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    from harness import registry
    from harness.commands import train_data

    stages = registry.names("training stage")
    names = "|".join([*stages, "recipes", "data"])
    actions = parser.add_subparsers(dest="action", metavar=names, required=True, parser_class=_StageParser)
    for name in stages:
        _add_stage(actions, name, parser.epilog)
    recipes = actions.add_parser("recipes", help="list the recipes in the package", description="List recipes.")
    shown = recipes.add_mutually_exclusive_group()
    shown.add_argument("--show", metavar="NAME", help="print one recipe")
    shown.add_argument("--config", metavar="NAME", help="print the path of an accelerate configuration")
    recipes.add_argument("--json", action="store_true", help="print JSON on stdout")
    data = actions.add_parser("data", help="inspect training data: statistics, filters, mixes, overlap")
    train_data.add_arguments(data)


class _StageParser(argparse.ArgumentParser):
    """The arguments of a stage, which is imported only to describe it: importing all stages takes seconds."""

    def format_help(self) -> str:
        """Describe the stage by its own summary."""
        from harness import registry
        from harness.errors import AssayError
        from training.stage import find_stage

        stage = self.prog.rpartition(" ")[2]
        if stage not in registry.names("training stage"):
            return super().format_help()  # recipes, data
        try:
            summary = find_stage(stage).summary
        except AssayError as error:  # running it gives the whole error
            summary = f"unavailable: {error.found}"
        self.description = summary[0].upper() + summary[1:] + "."
        return super().format_help()


def _add_stage(actions: Any, name: str, epilog: str | None) -> None:
    parser = actions.add_parser(
        name,
        help=f"train a stage of this kind; `assay train {name} --help` describes it",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("recipe", metavar="RECIPE.yaml", help="a recipe, or the name of a shipped one")
    add("--out", type=Path, required=True, metavar="DIR", help="the stage's directory")
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="a field of the recipe")
    add("--json", action="store_true", help="print the result as JSON on stdout")


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
    from training.recipe import shipped

    recipes, configs = shipped("recipes"), shipped("configs")
    if arguments.show is not None:
        sys.stdout.write(_named("recipe", arguments.show, recipes).read_text(encoding="utf-8"))
    elif arguments.config is not None:
        sys.stdout.write(f"{_named('configuration', arguments.config, configs)}\n")
    elif arguments.json:
        named = {"recipes": recipes, "configs": configs}
        print_json({kind: {name: str(path) for name, path in paths.items()} for kind, paths in named.items()})
    else:
        rows = [[name, _first_comment(path), str(path)] for name, path in {**recipes, **configs}.items()]
        print_table(["name", "what", "path"], rows)
    return 0


def _named(kind: str, name: str, paths: Mapping[str, Path]) -> Path:
    from harness.errors import UnknownNameError

    if name not in paths:
        raise UnknownNameError(kind, name, paths)
    return paths[name]


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _print(result: Any, *, as_json: bool) -> None:
    import sys

    from harness.commands.output import plain, print_json, print_table

    record = result.record
    if as_json:
        print_json({"out": str(result.out), "model": str(result.model), **record})
        return
    items = record["items"]["train"]
    lines = [f"{record['stage']}: {record['steps']} steps on {items['n_used']} of {items['n_given']} records"]
    lines += [f"  ! {plain(problem)}" for problem in record["problems"]]
    lines += [f"  - left out, {reason}: {n}" for reason, n in items["dropped"].items()]
    if items["truncated"]:
        lines.append(f"  - truncated to max_length: {items['truncated']}")
    lines += [f"  model: {result.model}", f"  weights: {result.weights_sha256[:16]}"]
    sys.stdout.write("\n".join(lines) + "\n")
    held_out = record["held_out"]
    rows = [
        [name.removeprefix("eval_"), "", _number(held_out["before"].get(name)), _number(held_out["after"].get(name))]
        for name in ("eval_loss", "eval_accuracy", "eval_margin", "eval_token_accuracy")
        if name in held_out.get("after", {})
    ]
    if rows:
        print_table(["held out", "", "before", "after"], rows)
    sys.stdout.write(_accuracy(held_out.get("accuracy", {})))


def _accuracy(figure: Mapping[str, Any]) -> str:
    """A line about the held-out accuracy; "" without one."""
    if figure.get("value") is None:
        return ""
    low, high = figure["ci_low"], figure["ci_high"]
    interval = f" (95 % interval {low:.1f} to {high:.1f})" if low is not None else ""
    return (
        f"held-out accuracy {figure['value']:.1f} %{interval}, {figure['n']} pairs of {figure['n_clusters']} "
        f"prompts, {figure['n_tied']} tied; {figure['method']}\n"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
