"""Plug-ins: entry points by kind, and the check that a plug-in implements its protocol.

::

    [project.entry-points."assay.benchmarks"]
    my_bench = "my_package.my_bench:MyBench.of_version"

The project's own parts are registered the same way. `harness.protocols` defines the protocol of each kind, and
docs/extending.md has a minimal example of each.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Any, cast

from typing_extensions import get_protocol_members

from harness import protocols
from harness.engines.base import Engine
from harness.engines.rewards.scorers import PreferenceEngine, RewardEngine
from harness.errors import AssayError, PluginError, UnknownNameError, UsageError


@dataclass(frozen=True, slots=True)
class Door:
    """A kind of plug-in.

    Parameters
    ----------
    group : str
        The entry-point group.
    protocols : tuple of type
        The plug-in, or the object its factory returns, must have all members of one of these.
    factory : str or None
        How the plug-in is made from the object the entry point names: "" calls it, a name calls its class method of
        that name, None uses it directly.
    declares : bool
        Whether the entry point names a class that must have the members itself, because they are read before an
        instance is made.
    """

    group: str
    protocols: tuple[type, ...] = ()
    factory: str | None = None
    declares: bool = False


DOORS = {
    "benchmark": Door("assay.benchmarks", (protocols.Benchmark,), ""),
    "judge": Door("assay.judges", (protocols.Judge,), ""),
    "judge form": Door("assay.judge_forms", (protocols.JudgeForm,), "from_data", declares=True),
    "engine": Door("assay.engines", (Engine, RewardEngine, PreferenceEngine), "from_options"),
    "importer": Door("assay.importers", (protocols.Importer,), ""),
    "suite": Door("assay.suites"),
    "report section": Door("assay.report_sections", (protocols.ReportSection,)),
    "exporter": Door("assay.exporters", (protocols.Exporter,)),
    "training stage": Door("assay.stages", (protocols.TrainingStage,)),
    "ranker": Door("assay.rankers", (protocols.Ranker,), ""),
}


@cache
def _found(kind: str) -> dict[str, list[EntryPoint]]:
    """Entry points by name; a name that two packages register differently has two."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=DOORS[kind].group):
        others = found.setdefault(point.name, [])
        if all(other.value != point.value for other in others):
            others.append(point)
    return found


def _entry_point(kind: str, name: str) -> EntryPoint:
    """The unique entry point of a name."""
    found = _found(kind)
    if name not in found:
        raise UnknownNameError(kind, name, found, "install the package that provides it")
    first, *others = found[name]
    if others:
        offered = ", ".join(f"{_package(point)} registers it as {point.value}" for point in (first, *others))
        raise PluginError(
            kind,
            name,
            f"the name is taken twice: {offered}",
            remedy=f"uninstall one of them, or rename the entry point in {DOORS[kind].group}",
        )
    return first


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown package"


def forget() -> None:
    """Look up the entry points again on the next call, for packages installed while the process runs."""
    _found.cache_clear()


def names(kind: str) -> list[str]:
    """Return the registered names of a kind ("benchmark", "suite", "judge", "judge form", ...)."""
    return sorted(_found(kind))


def load(kind: str, name: str) -> Any:
    """Import the object a name is registered for.

    Raises
    ------
    UnknownNameError
        The name is not registered.
    PluginError
        The plug-in needs another version of assay, cannot be imported, or does not implement its protocol.
    """
    point = _entry_point(kind, name)
    _refuse_newer(kind, point)
    try:
        loaded = point.load()
    except ImportError as error:
        extra = f"`pip install 'assay[{name}]'`" if _package(point) == "assay" else f"what {_package(point)} requires"
        raise PluginError(
            kind,
            name,
            f"{point.value} cannot be imported: {error}",
            remedy=f"install {extra}, or choose another {kind}",
        ) from error
    except Exception as error:
        raise _raised(kind, name, f"importing {point.value}", error) from error
    door = DOORS[kind]
    return checked(kind, name, loaded) if door.factory is None or door.declares else loaded


def make(kind: str, name: str, *arguments: Any) -> Any:
    """Make a plug-in: load it, call its factory and check the result.

    Parameters
    ----------
    kind, name : str
        As in :func:`load`.
    *arguments
        Arguments of the factory (a version, a `JudgeContext`, options, a data source).

    Raises
    ------
    UnknownNameError, PluginError
        As in :func:`load`.
    AssayError
        The factory rejects its arguments.
    """
    factory = load(kind, name)
    method = DOORS[kind].factory
    if method:
        if not callable(getattr(factory, method, None)):
            raise PluginError(kind, name, f"{_entry_point(kind, name).value} has no class method {method}")
        factory = getattr(factory, method)
    try:
        made = factory(*arguments)
    except AssayError:
        raise
    except Exception as error:
        raise _raised(kind, name, f"calling {_entry_point(kind, name).value}", error) from error
    return checked(kind, name, made)


def judge_form(reference: str) -> type[protocols.JudgeForm]:
    """Return the class of a judge form by ``NAME`` or ``NAME:ARGUMENT``.

    Raises
    ------
    UnknownNameError
        There is no such form.
    UsageError
        The form takes no argument.
    PluginError
        As in :func:`load`.
    AssayError
        The form rejects its argument.
    """
    name, colon, argument = reference.partition(":")
    form = load("judge form", name)
    if isinstance(form, protocols.JudgeFormFamily):
        form = checked("judge form", reference, form.of(argument))
    elif colon:
        raise UsageError(f"the judge form {name} takes no argument (found {reference!r})", name)
    return cast(type[protocols.JudgeForm], form)


def make_judge_form(reference: str, data: protocols.DataSource) -> protocols.JudgeForm:
    """Make a judge form; errors as in :func:`judge_form`, and those of its upstream files."""
    form = judge_form(reference)
    try:
        return form.from_data(data)
    except AssayError:
        raise
    except Exception as error:
        raise _raised("judge form", reference, f"calling {form.__name__}.from_data", error) from error


def checked(kind: str, name: str, made: Any) -> Any:
    """Return `made` if it implements the protocol of its kind.

    Raises
    ------
    PluginError
        Members of the protocol are missing, or a benchmark declares no deciding score.
    """
    lacking = [(protocol, _missing(protocol, made)) for protocol in DOORS[kind].protocols]
    if lacking and all(missing for _, missing in lacking):
        protocol, missing = min(lacking, key=lambda item: len(item[1]))
        raise PluginError(
            kind,
            name,
            f"{(made if isinstance(made, type) else type(made)).__name__} lacks {', '.join(missing)}",
            f"all members of {protocol.__module__}.{protocol.__name__}",
        )
    if kind == "benchmark":
        _check_score_kinds(name, made)
    return made


def _missing(protocol: type, made: Any) -> list[str]:
    """Members of a protocol that an object lacks; properties are not evaluated."""
    absent = object()
    return sorted(m for m in get_protocol_members(protocol) if inspect.getattr_static(made, m, absent) is absent)


def _check_score_kinds(name: str, benchmark: protocols.Benchmark) -> None:
    kinds = benchmark.score_kinds
    wrong = [key for key, kind in kinds.items() if not isinstance(kind, protocols.ScoreKind)]
    if wrong:
        raise PluginError(
            "benchmark", name, f"score_kinds of {', '.join(wrong)}: not a ScoreKind", "ScoreKind(role, unit)"
        )
    if not any(kind.decides for kind in kinds.values()):
        raise PluginError(
            "benchmark",
            name,
            f"it declares no deciding score (score_kinds: {', '.join(kinds) or 'empty'})",
            'a ScoreKind with the role "rating", "preference" or "outcome"',
        )


def _raised(kind: str, name: str, doing: str, error: Exception) -> PluginError:
    return PluginError(kind, name, f"{doing} raised {type(error).__name__}: {' '.join(str(error).split())}")


def _refuse_newer(kind: str, point: EntryPoint) -> None:
    """Refuse a plug-in whose package requires another version of assay (``pip install --no-deps`` does not check)."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        installed = version("assay")
    except PackageNotFoundError:
        return
    for text in (point.dist.requires if point.dist is not None else None) or ():
        try:
            required = Requirement(text)
        except InvalidRequirement:
            continue
        if required.name == "assay" and not required.specifier.contains(installed, prereleases=True):
            raise PluginError(
                kind,
                point.name,
                f"{_package(point)} requires assay{required.specifier}, but {installed} is installed",
                remedy=f"upgrade assay, or install a version of {_package(point)} for assay {installed}",
            )
