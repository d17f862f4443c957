"""The paper's tables: which rows they have, what the paper and each method's own source say, how they are run.

What is published is quoted with where it stands; None is a cell that the paper leaves empty. The sources' protocols
differ from the paper's and from each other: only a column compares.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TableRow:
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
class TableSection:
    """The rows of a table on one data set."""

    name: str
    title: str
    rows: tuple[TableRow, ...]
    note: str = ""
    """What a reader should know about the published figures."""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper."""

    name: str
    title: str
    sections: tuple[TableSection, ...]


FEWER = "Ours (Fewer HQ)"
ENTIRE = "Ours (Entire HQ)"
OWN = "this paper is the source"
UNPUBLISHED = "none on these images"
NOT_THERE = "not in the paper"
SNGAN_SOURCE = "Miyato and Koyama 2018"

TABLE1 = PaperTable(
    "table1",
    "Table I: CIFAR-10 and STL-10",
    (
        TableSection(
            "cifar10",
            "CIFAR-10, 32x32; LQ are down-sampled images",
            (
                TableRow("AC-GAN", "table1-cifar10-ac-gan", "IS 8.25 ± 0.07", "IS 8.25 ± 0.07 (Odena et al. 2017)"),
                TableRow(
                    "PROG-GAN",
                    "table1-cifar10-prog-gan",
                    "IS 8.88 ± 0.05",
                    "IS 8.80 ± 0.05 best, 8.56 mean; unconditional (Karras et al. 2018)",
                ),
                TableRow(
                    "SN-GAN + Projection",
                    "table1-cifar10-projection",
                    "IS 9.01 ± 0.04",
                    f"IS 8.62, FID 17.5 on 5,000 samples and 10,000 test images ({SNGAN_SOURCE})",
                ),
                TableRow(FEWER, "table1-cifar10-fewer", "IS 9.05 ± 0.06", OWN),
                TableRow(ENTIRE, "table1-cifar10-entire", "IS 9.17 ± 0.04", OWN),
            ),
        ),
        TableSection(
            "stl10",
            "STL-10, 48x48, the 5,000 labelled images; LQ are down-sampled images",
            (
                TableRow("AC-GAN", "table1-stl10-ac-gan", None, UNPUBLISHED),
                TableRow("PROG-GAN", "table1-stl10-prog-gan", "IS 9.34 ± 0.06", UNPUBLISHED),
                TableRow("SN-GAN + Projection", "table1-stl10-projection", "IS 9.38 ± 0.08", UNPUBLISHED),
                TableRow(FEWER, "table1-stl10-fewer", "IS 9.44 ± 0.04", OWN),
                TableRow(ENTIRE, "table1-stl10-entire", "IS 9.63 ± 0.05", OWN),
            ),
            "No other source has figures on the 5,000 labelled images; SN-GAN's 9.10 is of the 100,000 unlabelled "
            "ones.",
        ),
    ),
)

TABLE2 = PaperTable(
    "table2",
    "Table II: thousands of handwritten classes",
    (
        TableSection(
            "hwdb",
            "CASIA-HWDB1.0, 48x48; LQ are MNIST's 70,000 digits",
            (
                TableRow("SN-GAN + Projection", "table2-hwdb-projection", "IS 10.2 ± 0.17", UNPUBLISHED),
                TableRow(FEWER, "table2-hwdb-fewer", "IS 11.3 ± 0.13", OWN),
                TableRow(ENTIRE, "table2-hwdb-entire", "IS 13.6 ± 0.15", OWN),
            ),
            "The paper calls its scores on characters Inception scores and does not name the classifier. It counts "
            "3,755 classes; the published HWDB1.0 has 3,740 of that list.",
        ),
        TableSection(
            "omniglot",
            "Omniglot, 48x48; LQ are MNIST's 70,000 digits (not in the paper)",
            (
                TableRow("SN-GAN + Projection", "table2-omniglot-projection", NOT_THERE, UNPUBLISHED),
                TableRow(FEWER, "table2-omniglot-fewer", NOT_THERE, NOT_THERE),
                TableRow(ENTIRE, "table2-omniglot-entire", NOT_THERE, NOT_THERE),
            ),
            "The paper does not use Omniglot; it stands here because it is small and free.",
        ),
    ),
)

TABLE3 = PaperTable(
    "table3",
    "Table III: ImageNet",
    (
        TableSection(
            "imagenet",
            "ImageNet, 128x128; LQ are CIFAR-100's 60,000 images",
            (
                TableRow(
                    "AC-GAN", "table3-imagenet-ac-gan", "IS 28.5 ± 0.20", f"IS 28.5, intra-FID 260 ({SNGAN_SOURCE})"
                ),
                TableRow(
                    "SN-GAN",
                    "table3-imagenet-concat",
                    "IS 21.1 ± 0.35",
                    f"IS 21.1, intra-FID 141.2, with the concat discriminator ({SNGAN_SOURCE})",
                ),
                TableRow(
                    "SN-GAN + Projection",
                    "table3-imagenet-projection",
                    "IS 36.8 ± 0.44",
                    f"IS 36.8, FID 27.62, intra-FID 92.4 after 850,000 steps ({SNGAN_SOURCE})",
                ),
                TableRow(FEWER, "table3-imagenet-fewer", "IS 39.4 ± 0.43", OWN),
                TableRow(ENTIRE, "table3-imagenet-entire", "IS 43.9 ± 0.46", OWN),
            ),
        ),
    ),
)

FIG1 = PaperTable(
    "fig1",
    "Fig. 1: fewer high-quality images hurt SN-GAN",
    (
        TableSection(
            "imagenet",
            "ImageNet, 128x128, SN-GAN",
            (
                TableRow(
                    "100 % HQ",
                    "fig1-imagenet-entire",
                    "IS 21.1, FID 90.4",
                    f"IS 21.1, intra-FID 141.2, with the concat discriminator ({SNGAN_SOURCE})",
                ),
                TableRow("60 % HQ", "fig1-imagenet-fewer", "IS 14.8, FID 141.2", OWN),
            ),
            "141.2 is also what SN-GAN's authors report as the intra-FID of all images.",
        ),
    ),
)

TABLES = {table.name: table for table in (TABLE1, TABLE2, TABLE3, FIG1)}
