"""The file of a bridge between two judges, which `assay rebase --out` writes and `assay leaderboard --bridge` reads.

It holds the figures the bridge rests on, so that it is fitted again where it is used; what was found is beside them for
readers.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from harness.errors import FileFormatError
from harness.run.judged_by import JudgedBy
from harness.spec import validated
from harness.stats.errors_in_both import ErrorVariances, PairedFigures
from harness.stats.judge_bridge import Bridge, Dependence
from harness.store.jsonl import read_json

KIND = "bridge between judges"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ignored_types=(cached_property,))


class JudgeName(_Record):
    """A judge."""

    name: str


class BridgeModel(_Record):
    """A model of a bridge: both figures, the variances of their errors, and what the others say of it."""

    model: str
    family: str
    length: float | None
    old: float
    new: float
    old_variance: float = Field(ge=0)
    new_variance: float = Field(ge=0)
    covariance: float
    predicted: float
    ci_low: float | None
    ci_high: float | None
    inside: bool


class BridgeRecord(_Record):
    """The bridge of one metric.

    Parameters
    ----------
    benchmark, metric : str
        The metric.
    old_ids, new_ids : list of str
        Ids of the judges' verdicts (model, template, parser, sampling).
    models : list of BridgeModel
        The models both judged.
    shared : tuple of float
        Variances of the errors all models share, old and new, and their covariance.
    found : dict
        The line, the tests, and why it does not hold if it does not.
    """

    benchmark: str
    metric: str
    old_ids: list[str]
    new_ids: list[str]
    models: list[BridgeModel]
    shared: tuple[float, float, float]
    found: dict[str, Any]


class BridgeFile(_Record):
    """The bridges between two judges."""

    kind: Literal["bridge between judges"] = "bridge between judges"
    version: Literal[1] = 1
    old: JudgeName
    new: JudgeName
    level: float = Field(gt=0, lt=1)
    bridges: list[BridgeRecord]

    @cached_property
    def fitted(self) -> dict[tuple[str, str], Bridge]:
        """The bridges by benchmark and metric."""
        return {(record.benchmark, record.metric): _bridge(record, self.level) for record in self.bridges}

    def old_judge(self, benchmark: str) -> JudgedBy:
        """Return the judge whose figures are converted."""
        return JudgedBy(self.old.name, _ids(r.old_ids for r in self.bridges if r.benchmark == benchmark))

    def new_judge(self, benchmark: str) -> JudgedBy:
        """Return the judge to whose scale they are converted."""
        return JudgedBy(self.new.name, _ids(r.new_ids for r in self.bridges if r.benchmark == benchmark))


def read_bridge(path: Path) -> BridgeFile:
    """Read a bridge.

    Raises
    ------
    MissingDataError, FileFormatError
        There is no such file, or it is not a bridge.
    SpecError
        A field of it is wrong.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise FileFormatError(
            path, None, "not a bridge between judges", "a file that `assay rebase --out FILE` wrote", "make one"
        )
    return validated(BridgeFile, content, str(path))


def bridge_record(
    benchmark: str, metric: str, bridge: Bridge, old_ids: Iterable[str], new_ids: Iterable[str]
) -> BridgeRecord:
    """Return a bridge as it is written."""
    figures = bridge.figures
    rows = zip(
        bridge.names,
        bridge.families,
        bridge.lengths,
        figures.x.tolist(),
        figures.y.tolist(),
        *(np.broadcast_to(part, figures.x.shape).tolist() for part in figures.errors),
        bridge.left_out,
        strict=True,
    )
    return BridgeRecord(
        benchmark=benchmark,
        metric=metric,
        old_ids=sorted(old_ids),
        new_ids=sorted(new_ids),
        models=[
            BridgeModel(
                model=name,
                family=family,
                length=length,
                old=x,
                new=y,
                old_variance=var_x,
                new_variance=var_y,
                covariance=cov,
                predicted=left.predicted.value,
                ci_low=left.predicted.ci_low,
                ci_high=left.predicted.ci_high,
                inside=left.inside,
            )
            for name, family, length, x, y, var_x, var_y, cov, left in rows
        ],
        shared=(float(figures.shared.x), float(figures.shared.y), float(figures.shared.xy)),
        found=_found(bridge),
    )


def _found(bridge: Bridge) -> dict[str, Any]:
    slope, rank = bridge.slope, bridge.rank_agreement
    return {
        "holds": bridge.holds,
        "problems": list(bridge.problems),
        "n_models": len(bridge.names),
        "intercept": bridge.line.intercept,
        "slope": slope.value,
        "slope_ci_low": slope.ci_low,
        "slope_ci_high": slope.ci_high,
        "scatter": bridge.line.scatter,
        "kendall": rank.value,
        "kendall_ci_low": rank.ci_low,
        "kendall_ci_high": rank.ci_high,
        "kendall_p_value": bridge.rank_p_value,
        "n_inside": bridge.n_inside,
        "prediction_error": bridge.prediction_error,
        "error_of_mean": bridge.error_of_mean,
        "length": _dependence(bridge.length_dependence),
        "family": _dependence(bridge.family_dependence),
    }


def _dependence(found: Dependence | None) -> dict[str, Any] | None:
    return None if found is None else {"statistic": found.statistic, "p_value": found.p_value, "n": found.n}


def _bridge(record: BridgeRecord, level: float) -> Bridge:
    def column(name: str) -> Any:
        return np.array([getattr(model, name) for model in record.models], dtype=np.float64)

    errors = ErrorVariances(column("old_variance"), column("new_variance"), column("covariance"))
    figures = PairedFigures(column("old"), column("new"), errors, ErrorVariances(*record.shared))
    models = record.models
    return Bridge(
        figures,
        tuple(m.model for m in models),
        tuple(m.length for m in models),
        tuple(m.family for m in models),
        level,
    )


def _ids(lists: Iterable[list[str]]) -> frozenset[str]:
    return frozenset(judge_id for ids in lists for judge_id in ids)
