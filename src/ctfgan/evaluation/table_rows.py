"""The paper's tables: which rows they have, what the paper and each method's own source say, how they are run.

What is published is quoted with where it stands; None is a cell that the paper leaves empty. The sources' protocols
differ from the paper's and from each other: only a column compares.
"""

from __future__ import annotations

from dataclasses import dataclass

from ctfgan.core.errors import pick


@dataclass(frozen=True)
class Row:
    """One method of a table."""

    label: str
    """As in the paper."""
    recipe: str
    """Name of the recipe that is this row."""
    paper: str | None
    """What the paper says; None if it has no figure there."""
    source: str
    """What the method's own source says."""


@dataclass(frozen=True)
class Section:
    """The rows of a table on one data set."""

    name: str
    title: str
    rows: tuple[Row, ...]
    note: str = ""
    """What a reader should know about the published figures."""


@dataclass(frozen=True)
class Table:
    """A table of the paper."""

    name: str
    title: str
    sections: tuple[Section, ...]


FEWER = "Ours (Fewer HQ)"
ENTIRE = "Ours (Entire HQ)"
OWN = "this paper is the source"
UNPUBLISHED = "none on these images"
NOT_THERE = "not in the paper"
SNGAN_SOURCE = "Miyato and Koyama 2018"

TABLE1 = Table(
    "table1",
    "Table I: CIFAR-10 and STL-10",
    (
        Section(
            "cifar10",
            "CIFAR-10, 32x32; LQ are down-sampled images",
            (
                Row("AC-GAN", "table1-cifar10-ac-gan", "IS 8.25 ± 0.07", "IS 8.25 ± 0.07 (Odena et al. 2017)"),
                Row(
                    "PROG-GAN",
                    "table1-cifar10-prog-gan",
                    "IS 8.88 ± 0.05",
                    "IS 8.80 ± 0.05 best, 8.56 mean; unconditional (Karras et al. 2018)",
                ),
                Row(
                    "SN-GAN + Projection",
                    "table1-cifar10-projection",
                    "IS 9.01 ± 0.04",
                    f"IS 8.62, FID 17.5 on 5,000 samples and 10,000 test images ({SNGAN_SOURCE})",
                ),
                Row(FEWER, "table1-cifar10-fewer", "IS 9.05 ± 0.06", OWN),
                Row(ENTIRE, "table1-cifar10-entire", "IS 9.17 ± 0.04", OWN),
            ),
        ),
        Section(
            "stl10",
            "STL-10, 48x48, the 5,000 labelled images; LQ are down-sampled images",
            (
                Row("AC-GAN", "table1-stl10-ac-gan", None, UNPUBLISHED),
                Row("PROG-GAN", "table1-stl10-prog-gan", "IS 9.34 ± 0.06", UNPUBLISHED),
                Row("SN-GAN + Projection", "table1-stl10-projection", "IS 9.38 ± 0.08", UNPUBLISHED),
                Row(FEWER, "table1-stl10-fewer", "IS 9.44 ± 0.04", OWN),
                Row(ENTIRE, "table1-stl10-entire", "IS 9.63 ± 0.05", OWN),
            ),
            "No other source has figures on the 5,000 labelled images; SN-GAN's 9.10 is of the 100,000 unlabelled "
            "ones.",
        ),
    ),
)

TABLE2 = Table(
    "table2",
    "Table II: thousands of handwritten classes",
    (
        Section(
            "hwdb",
            "CASIA-HWDB1.0, 48x48; LQ are MNIST's 70,000 digits",
            (
                Row("SN-GAN + Projection", "table2-hwdb-projection", "IS 10.2 ± 0.17", UNPUBLISHED),
                Row(FEWER, "table2-hwdb-fewer", "IS 11.3 ± 0.13", OWN),
                Row(ENTIRE, "table2-hwdb-entire", "IS 13.6 ± 0.15", OWN),
            ),
            "The paper calls its scores on characters Inception scores and does not name the classifier. It counts "
            "3,755 classes; the published HWDB1.0 has 3,740 of that list.",
        ),
        Section(
            "omniglot",
            "Omniglot, 48x48; LQ are MNIST's 70,000 digits (not in the paper)",
            (
                Row("SN-GAN + Projection", "table2-omniglot-projection", NOT_THERE, UNPUBLISHED),
                Row(FEWER, "table2-omniglot-fewer", NOT_THERE, NOT_THERE),
                Row(ENTIRE, "table2-omniglot-entire", NOT_THERE, NOT_THERE),
            ),
            "The paper does not use Omniglot; it stands here because it is small and free.",
        ),
    ),
)

TABLE3 = Table(
    "table3",
    "Table III: ImageNet",
    (
        Section(
            "imagenet",
            "ImageNet, 128x128; LQ are CIFAR-100's 60,000 images",
            (
                Row("AC-GAN", "table3-imagenet-ac-gan", "IS 28.5 ± 0.20", f"IS 28.5, intra-FID 260 ({SNGAN_SOURCE})"),
                Row(
                    "SN-GAN",
                    "table3-imagenet-concat",
                    "IS 21.1 ± 0.35",
                    f"IS 21.1, intra-FID 141.2, with the concat discriminator ({SNGAN_SOURCE})",
                ),
                Row(
                    "SN-GAN + Projection",
                    "table3-imagenet-projection",
                    "IS 36.8 ± 0.44",
                    f"IS 36.8, FID 27.62, intra-FID 92.4 after 850,000 steps ({SNGAN_SOURCE})",
                ),
                Row(FEWER, "table3-imagenet-fewer", "IS 39.4 ± 0.43", OWN),
                Row(ENTIRE, "table3-imagenet-entire", "IS 43.9 ± 0.46", OWN),
            ),
        ),
    ),
)

FIG1 = Table(
    "fig1",
    "Fig. 1: fewer high-quality images hurt SN-GAN",
    (
        Section(
            "imagenet",
            "ImageNet, 128x128, SN-GAN",
            (
                Row(
                    "100 % HQ",
                    "fig1-imagenet-entire",
                    "IS 21.1, FID 90.4",
                    f"IS 21.1, intra-FID 141.2, with the concat discriminator ({SNGAN_SOURCE})",
                ),
                Row("60 % HQ", "fig1-imagenet-fewer", "IS 14.8, FID 141.2", OWN),
            ),
            "141.2 is also what SN-GAN's authors report as the intra-FID of all images.",
        ),
    ),
)

TABLES = {table.name: table for table in (TABLE1, TABLE2, TABLE3, FIG1)}


def named_table(name: str) -> Table:
    """The table of that name.

    Raises:
        ConfigError: no such table, with the nearest match.
    """
    return pick(TABLES, name, "table")
