"""The commands, one module each, imported only when called."""

from __future__ import annotations

import argparse


def describe(parser: argparse.ArgumentParser, docstring: str | None) -> None:
    """Make a module's docstring the help of its command: what it does, then its examples."""
    parser.description, mark, examples = (docstring or "").partition("For example:")
    parser.epilog = mark + examples
