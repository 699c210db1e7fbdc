"""Says that a run's judge is retired, or will be soon."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from harness.endpoint.model_facts import Retirement, announced_retirement


def retirement_notice(judge: Mapping[str, Any] | None, today: date) -> str | None:
    """Return what there is to say about the end of a judge.

    Parameters
    ----------
    judge : mapping or None
        Its entry in run.json (`harness.protocols.Judge.describe`): `retirement`, or `model` and `base_url`.
    today : date
        The day the run started.
    """
    if not judge or "model" not in judge:
        return None
    kind, _, name = str(judge["model"]).partition(":")
    stored = judge.get("retirement")
    if stored:
        known: Retirement | None = Retirement(date.fromisoformat(stored["day"]), stored["source"])
    elif not name or (kind != "openai" and not judge.get("base_url")):
        return None  # a model of one's own, or a name in imported files
    else:
        known = announced_retirement(name, judge.get("base_url"))
    return None if known is None else known.notice(name or kind, today)
