"""The command line: the one module that may reach every package, and does so only when a command is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

__all__ = ["main"]

_COMMANDS = {
    "run": "generate, judge and score; goes on where the run directory holds the same run unfinished",
    "resume": "go on with a run from its own run.json",
    "import": "turn files other tools wrote into a run directory",
    "score": "recompute every figure from stored answers and verdicts",
    "compare": "paired differences of two runs, for every metric both hold",
    "gate": "may this checkpoint go on? exit status 0 pass, 1 fail, 3 undecided, 4 invalid",
    "calibrate": "a judge against human votes: agreement, biases, confidence, price, corrected win rates",
    "leaderboard": "one row a model, one column a metric",
    "report": "the report, one self-contained file",
    "align": "SFT, reward model, iterative DPO with a gate between iterations; resumes",
    "export": "a run as Parquet, Inspect log, lm-eval results or model card",
    "estimate": "calls, tokens and money before any is spent",
    "train": "one training stage: sft, reward, preference, dpo; recipes; data",
    "demo": "a whole alignment of a small model that is trained from scratch",
    "data": "the upstream files: list, pull, verify",
}

_EPILOG = """\
example:
  assay run --model ./checkpoint --engine hf --benchmark mt_bench,alpaca_eval \\
            --judge openai:gpt-4.1 --out runs/checkpoint

exit status: 0 done, 1 stopped by an error, 2 wrong usage, 130 interrupted; `assay COMMAND --help` says more
"""


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """Make the parser; only the chosen command's own arguments are loaded."""
    parser = argparse.ArgumentParser(
        prog="assay",
        description="Is this checkpoint really better, by how much, on what evidence, and may it go on?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in _COMMANDS.items():
        if name == chosen:
            _module(name).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=text, add_help=False)
    return parser


def _module(command: str) -> Any:
    return import_module(f"harness.commands.{'import_' if command == 'import' else command}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; the process's own where not given.

    Returns
    -------
    int
        Exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((a for a in arguments if not a.startswith("-")), None)
    if chosen is not None and chosen not in _COMMANDS:
        return _unknown(chosen)
    parsed = _parser(chosen).parse_args(arguments)
    if parsed.version:
        from importlib.metadata import version

        sys.stdout.write(f"assay {version('assay')}\n")
        return 0
    if chosen is None:
        _parser(None).print_help(sys.stderr)
        return 2
    return _carry_out(chosen, parsed)


def _carry_out(command: str, parsed: argparse.Namespace) -> int:
    from harness.errors import AssayError
    from harness.text_safety import strip_control

    try:
        return int(_module(command).run(parsed))
    except AssayError as error:
        sys.stderr.write(strip_control(f"assay {command}: {error}") + "\n")
        return error.exit_status
    except KeyboardInterrupt:
        sys.stderr.write(f"assay {command}: interrupted; everything obtained so far is on disk\n")
        return 130
    except BrokenPipeError:
        # The reader of a pipe went away (`| head`); pointing stdout at nothing keeps the exit quiet.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _unknown(name: str) -> int:
    from harness.errors import UnknownNameError

    sys.stderr.write(f"assay: {UnknownNameError('command', name, _COMMANDS, '`assay --help` lists them')}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
