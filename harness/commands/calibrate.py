"""Compare judges with human votes.

Agreement beyond chance and the human ceiling, what biases the judge, how well its confidence is calibrated,
which judge or ensemble is best at which price, win rates corrected by the votes, and the pairs most worth a
further vote.

For example:
  assay calibrate --judgments gpt4_pair.jsonl --human human.jsonl --voters 'expert*' --out study.json
  assay calibrate --judgments small=runs/a --judgments large=runs/b --human votes.jsonl --price large=0.004

Votes and verdicts may be FastChat's, alpaca_eval's, LLMBar's or one JSON object a line:
  {"prompt": "81", "turn": 1, "model_a": "x", "model_b": "y", "winner": "model_a", "voter": "ann"}
  {"prompt": "81", "turn": 1, "model_a": "y", "model_b": "x", "game": 2, "p_a": 0.3, "judge": "j", "cost": 0.002}
docs/calibrate.md says what each format needs and what the figures mean.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError

if TYPE_CHECKING:
    from judges.study.study_figures import StudySpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add(
        "--judgments",
        action="append",
        required=True,
        metavar="[NAME=]PATH",
        help="a judge's verdicts: a file, a folder of files or a run directory; again for each further judge, or with "
        "the same NAME for another repetition",
    )
    add("--human", type=Path, required=True, metavar="FILE", help="human votes")
    add("--voters", metavar="PATTERN", help="only votes of people whose name matches, for example 'expert*'")
    add(
        "--answers",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="FastChat answer files: lengths, texts",
    )
    add("--questions", type=Path, action="append", default=[], metavar="PATH", help="FastChat question files")
    add("--family", action="append", default=[], metavar="NAME=FAMILY", help="family of a judge or model")
    add("--price", action="append", default=[], metavar="JUDGE=PRICE", help="price of a verdict on a pair, all orders")
    add(
        "--orders",
        choices=["auto", "agree", "mean"],
        default="auto",
        help="how two orders make a verdict: a tie unless they agree, or their mean probability (auto: mean for judges "
        "that give probabilities)",
    )
    add("--half-width", type=float, default=2.5, metavar="POINTS", help="wanted half width of a win rate (2.5)")
    add(
        "--escalate",
        default="0.15,0.1",
        metavar="ALPHA[,DELTA]",
        help="guarantee of a cascade's threshold: disagreement of at most ALPHA with probability 1 - DELTA (0.15,0.1)",
    )
    add("--bins", type=int, default=10, help="bins of the reliability diagram (10)")
    add("--scheme", choices=["equal_width", "equal_mass"], default="equal_width", help="how the bins are cut")
    add("--level", type=float, default=0.95, help="coverage of the intervals (0.95)")
    add("--resamples", type=int, default=2000, help="resamples of every bootstrap (2000)")
    add("--seed", type=int, default=0, help="where the bootstraps start (0)")
    add("--top", type=int, default=10, metavar="N", help="pairs to list as most worth a vote (10)")
    add("--max-unscored", type=float, default=1.0, metavar="PERCENT", help="share of pairs that may lack a verdict (1)")
    add("--out", type=Path, metavar="FILE", help="store the study as JSON, for `assay report`")
    add("--json", action="store_true", help="print the study as JSON on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    from harness.commands.output import print_json
    from judges.study.reading import read_judges, read_votes
    from judges.study.study import judge_study
    from judges.study.texts import read_texts
    from reports.sections.study import study_section
    from reports.terminal import print_blocks

    _check(arguments)
    spec = _spec(arguments)
    human = read_votes(arguments.human, arguments.voters)
    judges = read_judges([_source(text) for text in arguments.judgments])
    unknown = sorted(spec.prices.keys() - {judge.name for judge in judges})
    if unknown:
        named = ", ".join(judge.name for judge in judges)
        raise UsageError(f"--price for {unknown[0]!r}, which is no judge here", named, "name a judge of --judgments")
    texts = read_texts(arguments.answers, arguments.questions) if arguments.answers or arguments.questions else None
    study = judge_study(human, judges, spec, texts, arguments.max_unscored / 100.0).as_json()
    if arguments.out is not None:
        _store(arguments.out, study)
    if arguments.json:
        print_json(study)
    else:
        print_blocks(study_section(study).blocks)
    return 0


def _spec(arguments: argparse.Namespace) -> StudySpec:
    from judges.study.study_figures import StudySpec

    return StudySpec(
        arguments.level,
        arguments.resamples,
        arguments.seed,
        arguments.bins,
        arguments.scheme,
        arguments.half_width,
        arguments.top,
        arguments.orders,
        dict(_pair("--family", text) for text in arguments.family),
        {name: _price(name, price) for name, price in (_pair("--price", text) for text in arguments.price)},
        _guarantee(arguments.escalate),
    )


def _guarantee(text: str) -> tuple[float, float]:
    """Parse ALPHA[,DELTA].

    Raises
    ------
    UsageError
        It is not one or two numbers between 0 and 1.
    """
    alpha, _, delta = text.partition(",")
    try:
        found = float(alpha), float(delta or "0.1")
    except ValueError:
        found = (0.0, 0.0)
    if not all(0.0 < value < 1.0 for value in found):
        raise UsageError(f"--escalate {text}", "ALPHA or ALPHA,DELTA, each between 0 and 1", "for example 0.15,0.1")
    return found


def _check(arguments: argparse.Namespace) -> None:
    from harness.commands.output import refuse

    a = arguments
    refuse(
        (not 0.0 < a.level < 1.0, f"--level {a.level}", "a number between 0 and 1, for example 0.95"),
        (a.resamples < 100, f"--resamples {a.resamples}", "at least 100"),
        (not 1 <= a.bins <= 1000, f"--bins {a.bins}", "1 to 1000"),
        (not 0.0 < a.half_width < 100.0, f"--half-width {a.half_width}", "points between 0 and 100"),
        (a.top < 0 or a.seed < 0, "a negative --top or --seed", "0 or more"),
        (not 0.0 <= a.max_unscored <= 100.0, f"--max-unscored {a.max_unscored}", "percent, 0 to 100"),
    )


def _source(text: str) -> tuple[str | None, Path]:
    """NAME=PATH, or a path alone (one that exists may hold an equals sign)."""
    if "=" in text and not Path(text).exists():
        name, path = text.split("=", 1)
        if not name or not path:
            raise UsageError(f"--judgments {text}", "NAME=PATH or PATH")
        return name, Path(path)
    return None, Path(text)


def _pair(option: str, text: str) -> tuple[str, str]:
    name, found, value = text.rpartition("=")
    if not found or not name or not value:
        raise UsageError(f"{option} {text}", "NAME=VALUE")
    return name, value


def _price(name: str, text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = -1.0
    if not 0.0 <= price < float("inf"):
        raise UsageError(f"--price {name}={text}", "a price, 0 or more")
    return price


def _store(path: Path, study: dict[str, Any]) -> None:
    from harness.store.jsonl import write_atomically

    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write --out {path}", "a file in a folder that exists")
    write_atomically(path, json.dumps(study, ensure_ascii=False, allow_nan=False) + "\n")
