"""Open Assistant trees of ranked answers: conversations along the best answers, and pairs of answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from harness.data.file_rows import Row
from harness.messages import Message
from training.data.loaded import Sieve
from training.data.records import BadItem, Conversation, PreferencePair
from training.data.schemas import message_list, text

Node = Mapping[str, Any]


def oasst_best(rows: Iterator[Row], label: str, sieve: Sieve) -> Iterator[Conversation]:
    """Read one conversation from each tree: at every node the reply of the lowest rank, or the first without ranks.

    Replies off that path and an unanswered last question are filtered and counted.
    """
    for row, root in _trees(rows, sieve):
        node, path = root, [root]
        while replies := _replies(node):
            node = min(replies, key=_rank)
            sieve.leave_out("reply off the best path", sum(map(_size, replies)) - _size(node))
            path.append(node)
        while path and path[-1].get("role") != "assistant":
            path.pop()
            sieve.leave_out("question without an answer")
        try:
            yield Conversation.of([_message(item) for item in path], label)
        except BadItem as fault:
            sieve.noise(row, fault)


def oasst_pairs(rows: Iterator[Row], label: str, sieve: Sieve) -> Iterator[PreferencePair]:
    """Read every two ranked answers to a question as a pair; answers without a rank are filtered."""
    for row, root in _trees(rows, sieve):
        stack: list[tuple[Node, tuple[Message, ...]]] = [(root, ())]
        while stack:
            node, before = stack.pop()
            try:
                path = (*before, _message(node))
            except BadItem as fault:
                sieve.noise(row, fault)
                continue
            replies = _replies(node)
            stack += [(reply, path) for reply in reversed(replies)]
            if node.get("role") == "prompter":
                yield from _ranked(row, path, replies, label, sieve)


def _ranked(
    row: Row, path: tuple[Message, ...], replies: list[Node], label: str, sieve: Sieve
) -> Iterator[PreferencePair]:
    ranked = [reply for reply in replies if reply.get("rank") is not None]
    if len(replies) > 1:
        sieve.leave_out("answer without a rank", len(replies) - len(ranked))
    for one, other in combinations(sorted(ranked, key=_rank), 2):
        if one["rank"] == other["rank"]:
            sieve.leave_out("equal ranks")
            continue
        try:
            yield PreferencePair.of(path, text(one, "text"), text(other, "text"), label)
        except BadItem as fault:
            sieve.noise(row, fault)


def _trees(rows: Iterator[Row], sieve: Sieve) -> Iterator[tuple[Row, Node]]:
    """Yield the roots of tree rows, of nested message rows, and of flat rows joined by `parent_id`."""
    flat: dict[str, tuple[Row, dict[str, Any]]] = {}
    for row in rows:
        root = row.values.get("prompt", row.values)
        if not isinstance(root, Mapping) or "text" not in root or "role" not in root:
            known = ", ".join(map(str, row.values))
            fault = BadItem("missing column", f"no message of a tree (columns: {known})", "prompt, or text and role")
            sieve.bad(row, fault)
        elif "replies" in root:
            yield row, root
        else:
            flat[str(root.get("message_id"))] = row, {**root, "replies": []}
    yield from _joined(flat, sieve)


def _joined(flat: Mapping[str, tuple[Row, dict[str, Any]]], sieve: Sieve) -> Iterator[tuple[Row, Node]]:
    """Append each message to the replies of its parent, and yield the messages without a parent."""
    roots = []
    for row, node in flat.values():
        parent = node.get("parent_id")
        if parent is None:
            roots.append((row, node))
        elif str(parent) in flat:
            flat[str(parent)][1]["replies"].append(node)
        else:
            sieve.bad(row, BadItem("no parent", f"no message {parent}", "the parents of all messages"))
    yield from roots


def _message(node: Node) -> Message:
    return message_list({"role": node.get("role"), "content": text(node, "text")}, "message")[0]


def _replies(node: Node) -> list[Node]:
    return [reply for reply in node.get("replies") or [] if not reply.get("deleted")]


def _rank(node: Node) -> float:
    rank = node.get("rank")
    return float("inf") if rank is None else float(rank)


def _size(node: Node) -> int:
    return 1 + sum(_size(reply) for reply in _replies(node))
