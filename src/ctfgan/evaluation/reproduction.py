"""A table of the paper as a campaign: which runs it has at a profile, on whose data."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ctfgan.core.errors import ConfigError, DataError, suggestion
from ctfgan.data.published import locate
from ctfgan.data.settings import PUBLISHED
from ctfgan.data.sources.registry import absolute, open_source
from ctfgan.evaluation.campaign import CampaignRun
from ctfgan.evaluation.table_profiles import TableProfile, reduce_recipe
from ctfgan.evaluation.table_rows import PaperTable, TableRow, TableSection
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.recipe import Recipe, parse_recipe


@dataclass(frozen=True)
class TableRun(CampaignRun):
    """One run of one row."""

    section: TableSection
    row: TableRow
    seed: int


@dataclass(frozen=True)
class TablePlan:
    """What a table will run."""

    table: PaperTable
    profile: TableProfile
    runs: tuple[TableRun, ...]
    """All of the table."""
    sections: tuple[str, ...]
    """Names of those to run."""
    missing: dict[str, str]
    """Names of data sets that are not here, and how to come by them."""
    stand_ins: dict[str, str]
    """Sentences on data that stand in a published data set's place, by its name."""

    def runnable(self) -> list[TableRun]:
        """Those that are asked for and whose data are here."""
        return [run for run in self.runs if self.why_not(run) is None]

    def stands_in(self, section: TableSection) -> bool:
        """Whether a section runs on other data than the published ones."""
        return named_recipe(section.rows[0].recipe).data.high_quality in self.stand_ins

    def why_not(self, run: TableRun) -> str | None:
        """Why a run is not to be made now; None if it is."""
        data = run.recipe.data
        reasons = [self.missing[name] for name in (data.high_quality, data.low_quality) if name in self.missing]
        if reasons:
            return "; ".join(reasons)
        return None if run.section.name in self.sections else f"section {run.section.name} was not asked for"


def plan_table(
    table: PaperTable,
    profile: TableProfile,
    data: Mapping[str, str],
    *,
    seeds: int | None = None,
    sections: Sequence[str] = (),
    device: str | None = None,
) -> TablePlan:
    """The runs of a table.

    Args:
        table: what to reproduce.
        profile: at which size.
        data: locations by the name of the published data set that they hold or stand in for.
        seeds: runs of each row, seeds 0 ... n - 1; None takes the profile's number.
        sections: names of the sections to run; all if empty.
        device: for all runs; None leaves it to each.

    Raises:
        ConfigError: an unknown section or data set, or a location where nothing is.
        DataError: no section has its data here.
    """
    known = [section.name for section in table.sections]
    for name in sections:
        if name not in known:
            raise ConfigError(f"Unknown section {name!r} of {table.name}. {suggestion(name, known)}")
    rows = [(section, row) for section in table.sections for row in section.rows]
    recipes = {row.recipe: named_recipe(row.recipe) for _, row in rows}
    used = _data_sets(recipes.values())
    tested = {recipe.data.high_quality for recipe in recipes.values() if recipe.data.reference == PUBLISHED}
    places, stand_ins = _places(used, tested, data)
    runs = []
    for section, row in rows:
        for seed in range(profile.seeds if seeds is None else seeds):
            recipe = _on_users_data(reduce_recipe(recipes[row.recipe], profile.cut), places, stand_ins)
            content = recipe.model_dump() | {"seed": seed} | ({"device": device} if device else {})
            name = f"{section.name}/{row.recipe.removeprefix(f'{table.name}-{section.name}-')}-seed{seed}"
            runs.append(TableRun(name, parse_recipe(content, row.recipe), section, row, seed))
    missing = _missing(used, tested, places)
    plan = TablePlan(table, profile, tuple(runs), tuple(sections or known), missing, stand_ins)
    if not plan.runnable():
        raise DataError(f"{table.name} has no data here: {'; '.join(missing.values())}")
    return plan


def _data_sets(recipes: Iterable[Recipe]) -> list[str]:
    """Names of the published data sets that recipes use."""
    named = {name for recipe in recipes for name in (recipe.data.high_quality, recipe.data.low_quality) if name}
    return sorted(named)


def _places(
    used: Sequence[str], tested: Container[str | None], data: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Where the user's data are, and what must be said of those that stand in for a set with published test images."""
    places, stand_ins = {}, {}
    for name, location in data.items():
        if name not in used:
            raise ConfigError(
                f"--data {name}={location}: this table uses no data set {name!r}. {suggestion(name, list(used))}"
            )
        places[name] = absolute(location)
        open_source(places[name])
        if name not in tested:
            continue
        try:
            open_source(places[name], "test")
        except DataError:
            stand_ins[name] = (
                f"{location} stands for {name}: it has no published test images, so the reference is cut from its "
                "images, and all its classes are used"
            )
    return places, stand_ins


def _missing(used: Sequence[str], tested: Container[str | None], places: Mapping[str, str]) -> dict[str, str]:
    """The data sets that are not here, or not with the parts that their rows need, and how to come by them."""
    missing = {}
    for name in used:
        if name not in places:
            try:
                locate(name)
                if name in tested:
                    open_source(name, "test")
            except DataError as error:
                missing[name] = f"{error}, or point at it with --data {name}=PATH"
    return missing


def _on_users_data(recipe: Recipe, places: Mapping[str, str], stand_ins: Mapping[str, str]) -> Recipe:
    """The recipe on the user's data."""
    data = recipe.data
    changes: dict[str, object] = {}
    for side in ("high_quality", "low_quality"):
        name = getattr(data, side)
        if name in places:
            changes[side] = places[name]
    if data.high_quality in stand_ins:
        changes |= {"reference": None, "only": None}
    return recipe.model_copy(update={"data": data.model_copy(update=changes)})
