"""The high-quality side: which images it is made of, and which ones reported figures compare with."""

from __future__ import annotations

from collections.abc import Collection

from ctfgan.core.errors import DataError, suggestion
from ctfgan.core.files import expanded
from ctfgan.core.progress import Progress, silent
from ctfgan.data.characters import NAMED_SETS, is_named, named_characters
from ctfgan.data.glyphs import GlyphSource
from ctfgan.data.settings import PUBLISHED, DataSettings
from ctfgan.data.sources.base import ImageSource, of_classes, with_classes
from ctfgan.data.sources.columns import Columns
from ctfgan.data.sources.registry import open_source


def high_quality_sources(settings: DataSettings, progress: Progress = silent) -> tuple[ImageSource, ImageSource | None]:
    """The high-quality images and, if they are not to be cut from these, the images of the reference.

    Both are opened, and their classes compared, before anything is decoded.

    Args:
        settings: the recipe's data settings.
        progress: shows a first look at fonts.

    Returns:
        Labelled sources; the reference has the class numbering of the high-quality images.

    Raises:
        DataError: nothing usable, no published parts, unknown classes.
    """
    location, other = settings.high_quality, settings.reference
    columns = Columns(settings.image_column, settings.label_column, settings.class_level)
    published = other == PUBLISHED
    if location is None:
        if published:
            raise DataError("the embedded glyphs have no published test part; leave data.reference out")
        source: ImageSource = GlyphSource(settings.glyphs, settings.resolution, settings.seed, progress)
    else:
        source = _labelled(open_source(location, "train" if published else "all", columns), "high-quality")
    source = _only(source, settings.only, strictly=True)
    if other is None:
        return source, None
    if location and expanded(other).resolve() == expanded(location).resolve():
        raise DataError(f"data.reference names the high-quality images {location} themselves; use other images")
    opened = open_source(location, "test", columns) if published and location else open_source(other, "all", columns)
    reference = _only(_labelled(opened, "reference"), settings.only, strictly=False)
    return source, with_classes(reference, source.classes, f"the training set {source.location}")


def _labelled(source: ImageSource, what: str) -> ImageSource:
    if not source.classes:
        why = f" ({'; '.join(source.notes[:2])})" if source.notes else ""
        raise DataError(
            f"{source.location} holds images without labels{why}; {what} images need one subfolder per class"
        )
    return source


def _only(source: ImageSource, only: str | tuple[str, ...] | None, *, strictly: bool) -> ImageSource:
    """The images of the classes that ``data.only`` names; ``strictly`` if the source must have all that are listed."""
    if only is None:
        return source
    if isinstance(only, str):
        if not is_named(only):
            raise DataError(
                f"data.only is {only!r}, which is no named set of characters. {suggestion(only, list(NAMED_SETS))} "
                "Class names are written as a list"
            )
        wanted: Collection[str] = frozenset(named_characters(only))
    else:
        wanted = frozenset(only)
        known = frozenset(source.classes)
        missing = [name for name in only if name not in known]
        if missing and strictly:
            raise DataError(
                f"data.only names the class {missing[0]!r}, which {source.location} lacks. "
                f"{suggestion(missing[0], list(source.classes))}"
            )
    chosen = of_classes(source, wanted)
    if len(chosen.labels) == 0:
        raise DataError(f"{source.location} has no images of the classes that data.only names; leave data.only out")
    return chosen
