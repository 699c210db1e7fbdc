"""Named mixes of preference sources; the package has the paper's two as `mix1` and `mix2`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from harness.errors import UnknownNameError, UsageError
from harness.progress import NoProgress, Progress
from harness.spec import read_yaml, validated
from training.data.loaded import Loaded, OnBad
from training.data.loading import load_pairs
from training.data.records import PreferencePair
from training.data.splitting import shuffled
from training.recipe import Frozen, Sources, named_file, shipped


class Published(Frozen):
    """A row of the paper's Table 5, for comparison; lengths are means in Llama-3 tokens."""

    pairs: int
    prompts: int
    prompt_length: float
    chosen_length: float
    rejected_length: float

    @property
    def lengths(self) -> tuple[float, float, float]:
        """Mean lengths of prompt, chosen and rejected side."""
        return self.prompt_length, self.chosen_length, self.rejected_length


class MixSource(Frozen):
    """One source of a mix.

    Parameters
    ----------
    paths : tuple of str
        Files, directories or hub ids, as `load_pairs` takes them.
    adapter : str or None
        The layout where the columns do not tell it.
    min_margin : float
        Least difference between scores.
    max_pairs_per_prompt : int or None
        Most pairs of a prompt.
    note : str
        A remark for the reader.
    published : Published or None
        The paper's figures.
    """

    paths: Sources = Field(min_length=1)
    adapter: str | None = None
    min_margin: float = Field(default=0.0, ge=0)
    max_pairs_per_prompt: int | None = Field(default=None, ge=1)
    note: str = ""
    published: Published | None = None


class MixRecipe(Frozen):
    """A mix: a description, and its sources by name."""

    about: str = ""
    sources: dict[str, MixSource] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Mix:
    """A loaded mix.

    Parameters
    ----------
    name : str
        Its name.
    recipe : MixRecipe
        Its recipe.
    parts : mapping of str to Loaded
        Each source's pairs, in its own order, with its counts.
    pairs : tuple of PreferencePair
        All of them, shuffled.
    """

    name: str
    recipe: MixRecipe
    parts: Mapping[str, Loaded[PreferencePair]]
    pairs: tuple[PreferencePair, ...]

    @property
    def published(self) -> dict[str, Published]:
        """The paper's figures of the sources loaded, where it gives any."""
        rows = {name: self.recipe.sources[name].published for name in self.parts}
        return {name: row for name, row in rows.items() if row is not None}


def load_mix(
    name: str | Path,
    sources: Mapping[str, str | Path | Iterable[str | Path]] | None = None,
    *,
    only: Iterable[str] | None = None,
    seed: int = 0,
    on_bad: OnBad = "error",
    progress: Progress | None = None,
) -> Mix:
    """Load a mix.

    Parameters
    ----------
    name : str or Path
        "mix1", "mix2", or a YAML file.
    sources : mapping, optional
        Source to paths read in place of its own, with the same layout and filters.
    only : iterable of str, optional
        Load only these sources.
    seed : int
        Seed of the shuffle.
    on_bad : {"error", "drop"}
        As in :func:`training.data.load_pairs`.
    progress : Progress, optional
        Advanced by each source.

    Raises
    ------
    UnknownNameError
        There is no such mix, or no such source in it.
    AssayError
        As :func:`training.data.load_pairs`.
    """
    recipe = read_mix(name)
    given = dict(sources or {})
    wanted = list(recipe.sources) if only is None else list(only)
    _check_sources(str(name), recipe, given, wanted)
    bars = progress or NoProgress()
    bars.start("reading", len(wanted))
    parts: dict[str, Loaded[PreferencePair]] = {}
    for source in wanted:
        spec = recipe.sources[source]
        parts[source] = load_pairs(
            given.get(source, spec.paths),
            adapter=spec.adapter,
            on_bad=on_bad,
            name=source,
            min_margin=spec.min_margin,
            max_pairs_per_prompt=spec.max_pairs_per_prompt,
        )
        bars.advance("reading", source)
    pairs = shuffled([pair for part in parts.values() for pair in part], seed)
    return Mix(str(name), recipe, parts, tuple(pairs))


def _check_sources(name: str, recipe: MixRecipe, given: Iterable[str], wanted: Iterable[str]) -> None:
    """Refuse sources the mix does not have, and paths of sources that are not loaded."""
    for source in (*given, *wanted):
        if source not in recipe.sources:
            raise UnknownNameError(f"source of {name}", source, recipe.sources)
    if not wanted:
        raise UsageError(f"no source of {name} is selected", "at least one of " + ", ".join(recipe.sources))
    idle = sorted(set(given) - set(wanted))
    if idle:
        raise UsageError(f"paths for {', '.join(idle)}, which is not loaded", "sources named in only")


def read_mix(name: str | Path) -> MixRecipe:
    """Read the recipe of a mix.

    Raises
    ------
    UnknownNameError
        It is neither a file nor a shipped mix.
    SpecError
        A field is unknown or wrong.
    """
    return validated(MixRecipe, read_yaml(named_file("mix", name, shipped("recipes/mixes"))), str(name))
