"""What of a recipe others get to read."""

from __future__ import annotations

from ctfgan.data.settings import PLACES
from ctfgan.data.sources.registry import name_of
from ctfgan.recipes.recipe import Recipe


def shareable(recipe: Recipe) -> Recipe:
    """The recipe with places of this machine cut down to what they are called; the run's own recipe has the whole.

    Nothing that a bundle is asked for depends on where its training images were.
    """
    data, start = recipe.data, recipe.start
    places = {name: getattr(data, name) for name in PLACES}
    named: dict[str, object] = {name: name_of(place) for name, place in places.items() if place is not None}
    named["glyphs"] = data.glyphs.model_copy(
        update={
            folders: tuple(name_of(folder) for folder in getattr(data.glyphs, folders))
            for folders in ("font_folders", "low_quality_font_folders")
        }
    )
    if start.path is not None:
        start = start.model_copy(update={"path": name_of(start.path)})
    return recipe.model_copy(update={"data": data.model_copy(update=named), "start": start})
