"""What the judges of several have in common: their members, and one judgment of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from harness.endpoint.ledger import Budget, Price
from harness.errors import SpecError, UsageError
from harness.hashing import content_hash
from harness.messages import Message
from harness.protocols import Judge, JudgeContext, JudgeTask
from harness.records import Judgment, Verdict
from harness.run.estimate import Estimable
from harness.run.plan import load_judge
from harness.spec import JudgeSpec, Options, validated


class MemberOptions(Options):
    """Options of every judge of several.

    Parameters
    ----------
    members : tuple of mapping
        Fields of `JudgeSpec` that differ between members, in their order: ``[{base_url: ...}, {}]``. Other fields are
        those of the judge.
    """

    members: tuple[dict[str, Any], ...] = Field(default=(), strict=False)


class CombinedJudge:
    """Asks several judges; a `harness.protocols.Judge`.

    Parameters
    ----------
    context : JudgeContext
        ``KIND:A,B,...``, where A and B are judges as on the command line.

    Raises
    ------
    SpecError
        The number of members or an option is wrong.
    """

    kind: ClassVar[str]
    n_members: ClassVar[tuple[int, int | None]] = (2, None)
    """Fewest and most members."""
    options_class: ClassVar[type[MemberOptions]] = MemberOptions

    def __init__(self, context: JudgeContext) -> None:
        self._spec = context.spec
        self.options = validated(self.options_class, context.spec.options, f"the judge {context.spec.model}")
        specs = self._member_specs()
        # One purse: the members' costs count together against the limit.
        shared = replace(context, budget=context.budget or Budget(context.max_cost, context.spent))
        self.members: list[Judge] = [load_judge(replace(shared, spec=spec)) for spec in specs]
        self._forms = context.forms

    def _member_specs(self) -> list[JudgeSpec]:
        names = [name.strip() for name in self._spec.model_name.split(",") if name.strip()]
        self._check_number(len(names))
        given = self.options.members
        if given and len(given) != len(names):
            raise SpecError(f"options for {len(given)} members of a {self.kind} of {len(names)}", f"{len(names)}")
        shared = self._spec.model_dump(exclude={"model", "options"}, exclude_defaults=True)
        return [
            validated(JudgeSpec, {**shared, **own, "model": name}, f"member {name} of the {self.kind}")
            for name, own in zip(names, given or ({},) * len(names), strict=True)
        ]

    def _check_number(self, n: int) -> None:
        fewest, most = self.n_members
        if n < fewest or (most is not None and n > most):
            wanted = f"{fewest}" if most == fewest else f"at least {fewest}"
            raise SpecError(
                f"the judge {self._spec.model} has {n} member{'s' * (n != 1)}",
                f"{wanted} judges separated by commas: {self.kind}:openai:A,openai:B",
            )

    @property
    def name(self) -> str:
        """Name for tables."""
        return f"{self.kind} of {', '.join(member.name for member in self.members)}"

    def judge_id(self, form: str) -> str:
        """Hash of the members' ids, in order, and the options that enter verdicts."""
        ids = [member.judge_id(form) for member in self.members]
        return content_hash("judge", self.kind, ids, self.options.model_dump(mode="json", exclude={"members"}))

    def describe(self) -> dict[str, Any]:
        """Return the members' entries and the options, for run.json."""
        options = self.options.model_dump(mode="json", exclude={"members"})
        return {"model": self._spec.model, **options, "members": [member.describe() for member in self.members]}

    async def prepare(self) -> None:
        """Prepare the members.

        Raises
        ------
        UsageError
            Two members are the same judge.
        """
        for form in self._forms:
            ids = [member.judge_id(form) for member in self.members]
            twice = [member.name for member, own in zip(self.members, ids, strict=True) if ids.count(own) > 1]
            if twice:
                raise UsageError(
                    f"two members of the {self.kind} are the same judge: {twice[0]}",
                    "judges that differ in model, sampling or options",
                    f"name each judge once in {self._spec.model}",
                )
        for member in self.members:
            await member.prepare()

    async def close(self) -> None:
        """Close the members."""
        await asyncio.gather(*(member.close() for member in self.members))

    @property
    def price(self) -> Price | None:
        """Price of a question to all members; None if one is unknown."""
        return summed_price([member.price if isinstance(member, Estimable) else None for member in self.members])

    def first_messages(self, task: JudgeTask) -> tuple[tuple[Message, ...], int]:
        """Return the messages the first member starts with and the limit of its reply, for estimates."""
        first = self.members[0]
        return first.first_messages(task) if isinstance(first, Estimable) else ((), 0)

    def usual_reply_tokens(self, form: str) -> int:
        """Return the usual length of the first member's replies."""
        first = self.members[0]
        return first.usual_reply_tokens(form) if isinstance(first, Estimable) else 0

    def n_requests(self, form: str) -> int:
        """Return the first member's number of requests."""
        first = self.members[0]
        return first.n_requests(form) if isinstance(first, Estimable) else 0

    def combined(
        self, task: JudgeTask, parts: Sequence[Judgment], verdict: Verdict, meta: Mapping[str, Any]
    ) -> Judgment:
        """Make one judgment of the members' that were asked."""
        told = [{"judge": j.judge, "verdict": j.verdict.model_dump(mode="json"), **_kept(j)} for j in parts]
        return task.judgment(
            self.name,
            self.judge_id(task.form),
            verdict,
            raw="\n\n".join(f"[{j.judge}]\n{j.raw}" for j in parts),
            n_prompt_tokens=_total([j.n_prompt_tokens for j in parts]),
            n_completion_tokens=_total([j.n_completion_tokens for j in parts]),
            cost=_total([j.cost for j in parts]),
            request_hash=parts[0].request_hash,
            cached=all(j.cached for j in parts),
            meta={"members": told, **meta},
        )


def _kept(judgment: Judgment) -> dict[str, Any]:
    return {"meta": judgment.meta} if judgment.meta else {}


def _total(values: Sequence[Any]) -> Any:
    return None if any(value is None for value in values) else sum(values)


def summed_price(prices: Sequence[Price | None], weights: Sequence[float] = ()) -> Price | None:
    """Return the price of a question to several judges; None if one is unknown.

    Parameters
    ----------
    prices : sequence of Price or None
        The judges' prices.
    weights : sequence of float
        Share of the questions each is asked; 1 for all by default.
    """
    known = [price for price in prices if price is not None]
    if len(known) < len(prices) or len({price.currency for price in known}) > 1:
        return None
    shares = weights or [1.0] * len(known)
    return replace(
        known[0],
        input_per_million=sum(s * p.input_per_million for s, p in zip(shares, known, strict=True)),
        output_per_million=sum(s * p.output_per_million for s, p in zip(shares, known, strict=True)),
    )
