r"""Answer the prompts of benchmarks with a model, judge the answers and print the figures.

An unfinished run of the same spec in the run directory is resumed; a different one is refused.

For example:
  assay run --model ./checkpoint --benchmark mt_bench --judge openai:gpt-6-luna --out runs/checkpoint
  assay run SPEC.yaml --out runs/checkpoint --max-cost 20
  assay run --model NAME --engine openai --engine-option base_url=http://localhost:8000/v1 \
            --benchmark alpaca_eval,arena_hard --judge openai:JUDGE --judge-base-url http://localhost:8001/v1 \
            --out runs/NAME --limit 10
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_spec_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run directory")
    add_run_options(parser)


def add_spec_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the model, benchmarks and judge, which `run` and `estimate` share."""
    parser.add_argument(
        "spec", nargs="?", type=Path, metavar="SPEC.yaml", help="a run spec; options override its fields"
    )
    add = parser.add_argument_group("model").add_argument
    add("--model", metavar="M", help="directory, hub id, or the model's name at an endpoint")
    add("--engine", metavar="ENGINE", help="hf (default), vllm, openai")
    add("--model-name", metavar="NAME", help="name in tables")
    add("--chat-template", metavar="FILE", help="Jinja chat template, replacing the tokenizer's")
    add("--dtype", help="float32, bfloat16, float16 or auto")
    add("--adapter", metavar="DIR", help="LoRA adapter")
    add("--engine-option", metavar="KEY=VALUE", action="append", default=[], help="any other option of the engine")
    add = parser.add_argument_group("prompts of your own (docs/prompts.md)").add_argument
    source = "JSONL, JSON, CSV, Parquet, or hub:OWNER/NAME?split=SPLIT"
    add("--prompts", metavar="[NAME=]FILE", action="append", default=[], help=source)
    add("--columns", metavar="FIELD=COLUMN,...", help="columns of the rows, for example prompt=question,id=nr")
    metrics = "exact_match, contains, regex, f1, rouge_l, python:MODULE:FUNCTION"
    add("--metric", metavar="M", help=f"measure answers without a judge: {metrics}")
    forms = "rating, pairwise, five_way, rubric, rubric:NAME, rubric:FILE"
    add("--judge-form", metavar="FORM", help=f"how answers are judged: {forms}")
    add("--judge-prompt", metavar="FILE", help="the judge's prompt")
    add("--scale", type=float, nargs=2, metavar=("LOW", "HIGH"), help="the scale of the ratings")
    add("--baseline", metavar="FILE|RUN_DIR", help="answers to compare with")
    add = parser.add_argument_group("what to measure").add_argument
    add("--benchmark", metavar="A,B", help="mt_bench, alpaca_eval, arena_hard, arena_hard@v2.0, ...")
    add(
        "--benchmark-option",
        metavar="NAME.KEY=VALUE",
        action="append",
        default=[],
        help="an option of one benchmark, for example lm_eval:gsm8k.num_fewshot=8",
    )
    add("--limit", type=int, metavar="N", help="draw N prompts of each benchmark at random, by category, from the seed")
    add("--first", type=int, metavar="N", help="use the first N prompts of each benchmark")
    add("--max-tokens", type=int, metavar="N", help="limit on answer tokens, overriding the official one")
    add("--temperature", type=float, metavar="T", help="sampling temperature, overriding the official one")
    add("--samples", type=int, metavar="N", help="answers per prompt; the first is judged (1)")
    add("--seed", type=int, help="seed of every random choice (default 0)")
    add("--max-unscored", type=float, metavar="SHARE", help="largest share of unscored items in a valid run (0.01)")
    add("--canaries", type=int, metavar="N", help="prompts per benchmark on which the judge is tested (8; 0: none)")
    add("--anchors", type=int, metavar="N", help="stored answers per benchmark that the judge judges again (0)")
    add(
        "--anchor-run",
        metavar="DIR",
        help="the run that holds them; two runs with the same anchors show the judge's drift",
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    add_judge_options(parser)


def add_judge_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the judge."""
    judge = parser.add_argument_group("judge")
    add = judge.add_argument
    add("--judge", metavar="KIND:MODEL", help="the judge, for example openai:gpt-6-luna")
    add("--judge-base-url", metavar="URL", help="an OpenAI-compatible endpoint (…/v1)")
    add("--judge-api-key-env", metavar="VAR", help="environment variable with the key (OPENAI_API_KEY)")
    add("--judge-max-tokens", type=int, metavar="N", help="limit on reply tokens, overriding the official one")
    add("--judge-max-completion-tokens", type=int, metavar="N", help="the same, under the name reasoning models want")
    add("--judge-temperature", type=float, metavar="T", help="temperature, overriding the official one")
    add("--judge-top-p", type=float, metavar="P", help="nucleus mass")
    add("--judge-seed", type=int, metavar="N", help="seed of the judge's sampling")
    add("--judge-reasoning-effort", metavar="EFFORT", help="low, medium, high, or another of the server's")
    yes: dict[str, Any] = {"action": "store_const", "const": True}
    add("--judge-drop-unsupported", **yes, help="leave out parameters that the server refuses")
    several: dict[str, Any] = {"metavar": "KEY=VALUE", "action": "append", "default": []}
    add("--judge-extra-body", **several, help="a further field of every request, sent as it is")
    add("--judge-samples", type=int, metavar="K", help="ask K times: the mean, or the share without log-probabilities")
    add("--judge-probability", metavar="structured", help="without log-probabilities: ask for the number, as JSON")
    add("--judge-batch", **yes, help="use the vendor's batch interface, at half the price")
    add("--judge-concurrency", type=int, metavar="N", help="concurrent requests (32)")
    add("--judge-timeout", type=float, metavar="S", help="seconds per request (120)")
    add("--judge-give-up-after", type=float, metavar="S", help="stop after S seconds without a successful request (60)")
    add("--judge-option", **several, help="an option of the kind of judge")
    add("--judge-price", metavar="IN,OUT", help="price per million prompt and completion tokens")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `run` and `resume` share."""
    add = parser.add_argument
    add("--max-cost", type=float, metavar="X", help="stop before judging costs more than X")
    add("--no-cache", action="store_true", help="do not use the judgment cache shared by runs")
    add(
        "--allow-unsandboxed-code",
        action="store_true",
        help="run code written by the model even if no sandbox is available (dangerous)",
    )
    add_output_options(parser)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that prints a run's figures."""
    parser.add_argument("--strict", action="store_true", help="exit with status 5 if the run is not valid")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on stdout")


def spec_from(arguments: argparse.Namespace) -> Any:
    """Return the run spec of a file and the command-line options.

    Raises
    ------
    SpecError
        A field is wrong or missing.
    """
    from harness.errors import SpecError
    from harness.spec import RunSpec, read_yaml, validated

    values: dict[str, Any] = read_yaml(arguments.spec) if arguments.spec else {}
    _expand(values)
    _put(values, "model", {"path": arguments.model, "engine": arguments.engine, "name": arguments.model_name})
    _put_options(values, arguments)
    _put(values, "judge", judge_values(arguments))
    if arguments.benchmark is not None:
        values["benchmarks"] = [{"name": name} for part in arguments.benchmark.split(",") if (name := part.strip())]
    _put_prompts(values, arguments)
    for item in _benchmarks(values):
        item |= _given(arguments, "max_tokens", "temperature")
    _put_benchmark_options(values, arguments.benchmark_option)
    _put_limit(values, _given(arguments, "limit", "first"))
    values |= _given(arguments, "samples", "seed", "max_unscored", "canaries", "anchors", "anchor_run")
    if "model" not in values or not values.get("benchmarks"):
        raise SpecError(
            "the model or the benchmarks are missing",
            "--model, and --prompts or --benchmark, or a SPEC.yaml with both",
            "see `assay run --help` for examples",
        )
    return validated(RunSpec, values, str(arguments.spec or "command line"))


def _put_limit(values: dict[str, Any], given: dict[str, Any]) -> None:
    """Replace the file's ``limit`` or ``first`` by either of the command line."""
    if given:
        values.pop("limit", None)
        values.pop("first", None)
        values |= given


def _put_prompts(values: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Add the prompts of ``--prompts``, and the options of all own prompts."""
    from harness.errors import SpecError
    from harness.spec import own_prompts

    if arguments.prompts:
        listed = values.setdefault("benchmarks", [])
        listed.extend(own_prompts(_named_source(source)) for source in arguments.prompts)
    given = _own_options(arguments)
    if not given:
        return
    listed = values.get("benchmarks")
    items = listed if isinstance(listed, list) else []
    if not any(map(_is_own, items)):
        flags = ", ".join("--judge-form" if name == "form" else f"--{name.replace('_', '-')}" for name in given)
        raise SpecError(f"{flags} without prompts of your own", remedy="give --prompts FILE, or a prompts:NAME set")
    values["benchmarks"] = [_with_own_options(item, given) if _is_own(item) else item for item in items]


def _own_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of own prompts that were given, as a spec names them."""
    given = _given(arguments, "metric", "scale", "judge_prompt", "baseline")
    if arguments.judge_form is not None:
        given["form"] = arguments.judge_form
    if arguments.columns is not None:
        given["columns"] = _pairs(arguments.columns.split(","), "--columns")
    return given


def _is_own(item: Any) -> bool:
    return isinstance(item, dict) and ("prompts" in item or str(item.get("name")).startswith("prompts:"))


def _with_own_options(item: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a benchmark of own prompts with the options of the command line."""
    from harness.spec import own_prompts

    item = own_prompts(item) if "prompts" in item else item
    options = dict(item.get("options") or {})
    added = own_prompts({"prompts": "", **given})["options"]
    files = {**(options.get("files") or {}), **{k: v for k, v in added.pop("files").items() if k != "prompts"}}
    return {**item, "options": {**options, **added, **({"files": files} if files else {})}}


def _named_source(source: str) -> dict[str, str]:
    """Split "NAME=FILE"; a file's name may hold an equals sign too."""
    name, equals, place = source.partition("=")
    if Path(source).exists() or not equals or not name.replace("-", "").replace("_", "").isalnum():
        return {"prompts": source}
    return {"prompts": place, "name": name}


def _expand(values: dict[str, Any]) -> None:
    """Expand the short forms of a spec: a model, judge or benchmark given only by name."""
    for field, key in (("model", "path"), ("judge", "model")):
        if isinstance(values.get(field), str):
            values[field] = {key: values[field]}
    if isinstance(values.get("benchmarks"), list):
        values["benchmarks"] = [{"name": b} if isinstance(b, str) else b for b in values["benchmarks"]]


def _benchmarks(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the spec's well-formed benchmarks; validation rejects the others later."""
    items = values.get("benchmarks")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return those of the named options that were given."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def judge_values(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the judge's fields from the options; None if not given."""
    return {
        "model": arguments.judge,
        "base_url": arguments.judge_base_url,
        "api_key_env": arguments.judge_api_key_env,
        "max_tokens": arguments.judge_max_tokens,
        "max_completion_tokens": arguments.judge_max_completion_tokens,
        "temperature": arguments.judge_temperature,
        "top_p": arguments.judge_top_p,
        "seed": arguments.judge_seed,
        "reasoning_effort": arguments.judge_reasoning_effort,
        "drop_unsupported": arguments.judge_drop_unsupported,
        "extra_body": _pairs(arguments.judge_extra_body, "--judge-extra-body") or None,
        "samples": arguments.judge_samples,
        "probability": arguments.judge_probability,
        "batch": arguments.judge_batch,
        "concurrency": arguments.judge_concurrency,
        "timeout_s": arguments.judge_timeout,
        "give_up_after_s": arguments.judge_give_up_after,
        "price": _price(arguments.judge_price),
        "options": _pairs(arguments.judge_option, "--judge-option") or None,
    }


def _pairs(given: list[str], flag: str) -> dict[str, Any]:
    """Parse KEY=VALUE pairs; values are YAML."""
    import yaml

    from harness.errors import SpecError

    options: dict[str, Any] = {}
    for pair in given:
        key, separator, value = pair.partition("=")
        if not (separator and key):
            raise SpecError(f"{flag} {pair!r} has no key or no value", "KEY=VALUE")
        options[key] = yaml.safe_load(value)
    return options


def _put(values: dict[str, Any], field: str, given: dict[str, Any]) -> None:
    given = {key: value for key, value in given.items() if value is not None}
    if given:
        values[field] = {**(values.get(field) or {}), **given}


def _put_options(values: dict[str, Any], arguments: argparse.Namespace) -> None:
    options = _given(arguments, "chat_template", "dtype", "adapter")
    options |= _pairs(arguments.engine_option, "--engine-option")
    if options:
        model = values.setdefault("model", {})
        model["options"] = {**(model.get("options") or {}), **options}


def _put_benchmark_options(values: dict[str, Any], pairs: list[str]) -> None:
    """Add "NAME.KEY=VALUE" to the benchmark NAME, which may contain dots ("arena_hard@v2.0")."""
    import yaml

    from harness.errors import SpecError

    items = _benchmarks(values)
    for pair in pairs:
        target, separator, value = pair.partition("=")
        name, dot, key = target.rpartition(".")
        if not (separator and dot and name and key):
            raise SpecError(f"--benchmark-option {pair!r}", "NAME.KEY=VALUE, where NAME is one of --benchmark")
        for item in _named(items, name):
            item["options"] = {**(item.get("options") or {}), key: yaml.safe_load(value)}


def _named(items: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the benchmarks with a full name, or else those with a plain name (before "@" or ":")."""
    from harness.errors import SpecError

    exactly = [item for item in items if item.get("name") == name]
    chosen = exactly or [item for item in items if _plain_name(str(item.get("name"))) == name]
    if not chosen:
        named = ", ".join(str(item.get("name")) for item in items) or "none"
        raise SpecError(f"--benchmark-option for {name!r}, which is not a benchmark of the run", f"one of: {named}")
    return chosen


def _plain_name(name: str) -> str:
    """Return NAME of "NAME@VERSION" or "NAME:PART"."""
    return name.partition("@")[0].partition(":")[0]


def _price(text: str | None) -> tuple[float, float] | None:
    from harness.errors import SpecError

    if text is None:
        return None
    try:
        prompt, completion = (float(part) for part in text.split(","))
    except ValueError:
        raise SpecError(
            f"--judge-price {text!r}", "two numbers IN,OUT: price per million prompt and completion tokens"
        ) from None
    return prompt, completion


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import print_run, settle_garbage
    from harness.run.runner import run as run_spec

    settle_garbage()
    scores = run_spec(spec_from(arguments), run_options(arguments))
    return print_run(scores, as_json=arguments.json, strict=arguments.strict)


def run_options(arguments: argparse.Namespace) -> Any:
    """Return the options of `run` and `resume`."""
    from harness.run.runner import RunOptions

    return RunOptions(
        out=arguments.out,
        data_dir=arguments.data_dir,
        use_cache=not arguments.no_cache,
        max_cost=arguments.max_cost,
        allow_unsandboxed_code=arguments.allow_unsandboxed_code,
    )
