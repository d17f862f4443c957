"""What the two sides should not have in common, in the words of training and of ``ctfgan data check``; of names see
namesakes.py.
"""

from __future__ import annotations

from ctfgan.core.files import expanded
from ctfgan.core.text import plural
from ctfgan.data.packed import SourceSummary
from ctfgan.data.sources.tree import stray_part


def shared_pixels(count: int) -> str:
    """How many low-quality images are high-quality ones."""
    return f"{plural(count, 'low-quality image')} with exactly the pixels of a high-quality one"


def same_place(high: str, low: str) -> str:
    """A sentence if the location of one side is that of the other, or a folder in it; empty if they are apart."""
    if high == low:
        return (
            f"the low-quality images are the high-quality ones in {low} themselves, those that figures compare with "
            "among them; leave --lq out for degraded copies"
        )
    one, other = (expanded(location) for location in (high, low))
    if not one.is_dir() or not other.is_dir():
        return ""
    one, other = one.resolve(), other.resolve()
    if one == other:
        return same_place(high, high)
    for inner, outer, which in ((one, other, "low"), (other, one, "high")):
        if inner.is_relative_to(outer) and stray_part(inner.relative_to(outer).as_posix()) is None:
            return (
                f"{inner} lies in {outer}, so that its images count as {which}-quality ones, too; name two folders "
                "that lie side by side"
            )
    return ""


def swapped_sides(high: SourceSummary, low: SourceSummary) -> str:
    """A sentence if low-quality images are the larger ones; empty if they are not."""
    if low.sides[1] <= high.sides[1]:
        return ""
    return (
        f"the low-quality images ({low.sides[1]} pixels) are larger than the high-quality ones ({high.sides[1]}); swap "
        "--hq and --lq, or set data.low_quality_size if this is meant"
    )
