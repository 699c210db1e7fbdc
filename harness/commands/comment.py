"""Write a gate's decision as Markdown, or keep it as one comment on a pull request.

For example:
  assay gate --candidate runs/new --baseline runs/old --policy gate.yaml --json | assay comment -
  assay comment decision.json --repo OWNER/NAME --pull 12

With --repo and --pull the comment is created once and updated afterwards; a hidden line marks it. The token is
GITHUB_TOKEN. docs/gate-in-ci.md describes the GitHub Action.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("decision", metavar="FILE", help="what `assay gate --json` printed; - for stdin; empty if the gate did not run")
    add("--repo", metavar="OWNER/NAME", help="the repository of the pull request")
    add("--pull", type=int, metavar="N", help="the number of the pull request")
    add("--name", default="gate", help="name of the gate, where a pull request has several (gate)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.errors import UsageError
    from reports.gate_comment import gate_comment, marker

    if (arguments.repo is None) != (arguments.pull is None):
        raise UsageError("--repo without --pull, or --pull without --repo", "both, or none to print the text")
    if "--" in arguments.name or not arguments.name.isprintable():
        raise UsageError(f"--name {arguments.name!r}", "a name of one line without --")
    text = gate_comment(_decision(arguments.decision), arguments.name)
    if arguments.repo is None:
        sys.stdout.write(text)
        return 0
    from harness.integrations.github_comments import PullRequest
    from harness.settings import github_access

    address = PullRequest(arguments.repo, arguments.pull, *github_access()).stick(text, marker(arguments.name))
    sys.stderr.write(f"the comment is at {address}\n")
    return 0


def _decision(source: str) -> Any:
    """The decision in a file; None if the file is empty."""
    import json

    from harness.errors import FileFormatError, MissingDataError

    path = Path(source)
    if source != "-" and not path.is_file():
        raise MissingDataError(f"no such file: {path}", remedy="give what `assay gate --json` printed")
    text = sys.stdin.read() if source == "-" else path.read_text(encoding="utf-8", errors="replace")
    if not text.strip():
        return None
    try:
        decision = json.loads(text)
    except json.JSONDecodeError as error:
        raise FileFormatError(
            path, error.lineno, f"not JSON ({error.msg})", "what `assay gate --json` prints"
        ) from None
    if not isinstance(decision, dict) or not {"decision", "rules"} <= decision.keys():
        raise FileFormatError(path, None, "not a decision", "what `assay gate --json` prints")
    return decision
