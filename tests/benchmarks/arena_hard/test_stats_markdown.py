"""Markdown counts: by hand, quirks included."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.arena_hard.markdown_features import count_markdown


@pytest.mark.parametrize(
    ("answer", "headers", "lists", "bold"),
    [
        ("", 0, 0, 0),
        ("plain words, 3. not a list, # not a header", 0, 0, 0),
        ("# one\n## two\n###### six\n####### seven is too many", 3, 0, 0),
        ("#no space", 0, 0, 0),
        ("  # indented is no header", 0, 0, 0),
        ("1. one\n2. two\n  - nested\n* star\n+ plus", 0, 5, 0),
        ("1) not counted\n-nor this", 0, 0, 0),
        ("**a** and __b__ and **c d**", 0, 0, 3),
        ("**not\nover lines** *single*", 0, 0, 0),
        ("****", 0, 0, 0),
        ("- **both**", 0, 1, 1),
        ("```\n# comment\n- item\n**b**\n```\n# real", 1, 0, 0),
        ("```py\nx = 1\n```\n- one\n```sh\n- two\n```", 0, 1, 0),
        ("```\n# has a ` in it\n```", 1, 0, 0),  # a back-tick inside: no block
        ("```\n# never closed", 1, 0, 0),
        # the contents of a block go wherever else they stand
        ("```**x**```\n**x** **y**", 0, 0, 1),
        ("# only marks:\n#\n", 2, 0, 0),  # a line end is white space too
    ],
)
def test_counts(answer, headers, lists, bold):
    found = count_markdown(answer)
    assert (found.headers, found.lists, found.bold) == (headers, lists, bold)


def test_every_kind_is_counted():
    found = count_markdown("## a\n## b\n#### c\n1. x\n- y\n- z\n**s** __u__ __v__")
    assert (found.headers, found.lists, found.bold) == (3, 3, 3)


@given(st.text(alphabet="#-*_ 1.`\nab", max_size=80))
def test_any_text_is_counted(answer):
    found = count_markdown(answer)
    assert min(found.headers, found.lists, found.bold) >= 0
