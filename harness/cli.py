"""The command line. It may import every package, but imports a command's modules only when that command is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from harness.commands import describe

_COMMANDS = {
    "run": "generate, judge and score; resumes an unfinished run in the run directory",
    "resume": "resume a run from its run.json",
    "import": "convert files of other tools to a run directory",
    "score": "recompute every figure from stored answers and verdicts",
    "compare": "paired differences between two runs, for every metric they share",
    "gate": "decide whether a checkpoint is promoted; exit status 0 pass, 1 fail, 3 undecided, 4 invalid",
    "plan": "prompts, calls, money and time that a policy's decision takes",
    "comment": "a gate's decision as Markdown, or as one sticky comment on a pull request",
    "calibrate": "compare a judge with human votes: agreement, biases, confidence, price, corrected win rates",
    "judge": "try a judge form on stored answers; measure whether a judge follows a rubric",
    "leaderboard": "one row per model, one column per metric",
    "rebase": "a bridge between two judges, from answers both judged",
    "report": "write the report, one self-contained file",
    "align": "SFT, reward model, iterative DPO with a gate between iterations; resumable",
    "export": "convert a run to Parquet, an Inspect log, lm-eval results or a model card",
    "schema": "print the JSON Schema of a command's --json output",
    "estimate": "estimate calls, tokens and cost before a run",
    "train": "one training stage: sft, reward, preference, dpo; recipes; data",
    "demo": "run a complete alignment on a small model trained from scratch",
    "data": "list, pull and verify the upstream files",
}

_EPILOG = """\
example:
  assay run --model ./checkpoint --engine hf --benchmark mt_bench,alpaca_eval \\
            --judge openai:gpt-6-luna --out runs/checkpoint

exit status: 0 success, 1 error, 2 wrong usage, 130 interrupted
`assay COMMAND --help` describes a command
"""


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """Return the parser; only the chosen command's arguments are loaded."""
    parser = argparse.ArgumentParser(
        prog="assay",
        description="Is a checkpoint better, by how much, on what evidence, and may it be promoted?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in _COMMANDS.items():
        command = subparsers.add_parser(name, help=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == chosen:
            describe(command, _module(name).__doc__)
            _module(name).add_arguments(command)
    return parser


def _module(command: str) -> Any:
    return import_module(f"harness.commands.{'import_' if command == 'import' else command}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

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
        # The reader closed the pipe (`| head`); with stdout redirected, the flush at exit raises no second error.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _unknown(name: str) -> int:
    from harness.errors import UnknownNameError

    sys.stderr.write(f"assay: {UnknownNameError('command', name, _COMMANDS, '`assay --help` lists them')}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
