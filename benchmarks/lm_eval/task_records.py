"""How a document of lm-eval is stored as records, whether assay measured it or lm-eval's files were imported.

A document is a `Prompt`, its measurements a `Response` whose ``meta`` holds ``values``: metric to number. A metric has
lm-eval's name under the task's first filter, and the name "metric,filter" under others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.hashing import content_hash

VALUES = "values"
"""Key of `Response.meta` that holds a document's value of every metric."""

_QUESTION_FIELDS = ("question", "prompt", "query", "text", "problem", "goal", "input", "ctx", "sentence", "premise")


def metric_name(metric: str, filter_name: str, filters: Sequence[str]) -> str:
    """Name a metric under a filter: its bare name under the task's first filter, "metric,filter" under others."""
    return metric if not filters or filter_name == filters[0] else f"{metric},{filter_name}"


def document_text(document: Mapping[str, Any]) -> str:
    """Return a document's question, for display; JSON if no field holds it."""
    for field in _QUESTION_FIELDS:
        value = document.get(field)
        if isinstance(value, str) and value:
            return value
    return json.dumps(document, sort_keys=True, ensure_ascii=False, default=str)


def document_key(task: str, benchmark: str, doc_id: object, doc_hash: str | None) -> str:
    """Name a document by position and content; in a group of tasks, by its task too."""
    place = f"{doc_id}" if task == benchmark else f"{task}:{doc_id}"
    return f"{place}-{doc_hash[:16]}" if doc_hash else place


def version_of(
    task_version: object,
    num_fewshot: int | None,
    *,
    chat_template: bool = False,
    fewshot_as_multiturn: bool = True,
    system_instruction: str | None = None,
) -> str:
    """Describe what makes prompts of a task comparable: its version, shots and rendering."""
    parts = [f"lm_eval {task_version}", f"{num_fewshot or 0}-shot"]
    if chat_template:
        parts.append("chat template")
        if num_fewshot and not fewshot_as_multiturn:
            parts.append("examples in one turn")
    if system_instruction:
        parts.append(f"system {content_hash('system', system_instruction)[:8]}")
    return ", ".join(parts)
