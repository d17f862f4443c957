"""The published data sets of the paper by name: what their files are, where they come from, where they are kept.

Sizes and SHA-256 sums are those that TensorFlow Datasets records for the same files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ctfgan.core.errors import DataError, pick
from ctfgan.core.files import expanded, home_folder

MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
OMNIGLOT_URL = "https://github.com/brendenlake/omniglot/raw/master/python/"
HWDB_PAGE = "http://www.nlpr.ia.ac.cn/databases/handwriting/Download.html"


@dataclass(frozen=True)
class PublishedFile:
    """One file to download."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    url: str


@dataclass(frozen=True)
class PublishedSet:
    """A data set that others publish."""

    name: str
    title: str
    page: str
    """Where people read about it, and register where they must."""
    files: tuple[PublishedFile, ...] = ()
    """What ``ctfgan data fetch`` downloads or finds; empty if a person unpacks the files by hand."""
    evidence: tuple[str, ...] = ()
    """Patterns below the set's folder; it is complete if each matches something."""
    folder: str = "."
    """What to open, below the set's folder."""
    by_hand: str = ""
    """What goes where, if a person has to register or to accept terms."""

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.files)

    def home(self, root: Path) -> Path:
        """The set's folder below a data home."""
        return root / self.name

    def is_in(self, root: Path) -> bool:
        """Whether the set is complete below a data home."""
        return self.is_complete(self.home(root))

    def is_complete(self, folder: Path) -> bool:
        """Whether a folder holds all that belongs to the set."""
        return all(any(folder.glob(pattern)) for pattern in self.evidence)

    def needs(self, root: Path) -> str:
        """How to come by a set that is not there, as the end of a sentence."""
        if self.by_hand:
            return f"{self.by_hand.format(home=self.home(root), downloads=downloads(root))} (see {self.page})"
        return f"run 'ctfgan data fetch {self.name}'"


def _idx(name: str, size: int, sha256: str) -> PublishedFile:
    return PublishedFile(name, size, sha256, MNIST_URL + name)


def _hwdb(version: str, classes: str) -> PublishedSet:
    return PublishedSet(
        f"hwdb{version}",
        f"CASIA-HWDB{version}, handwritten Chinese characters, {classes}",
        HWDB_PAGE,
        evidence=("**/*.gnt",),
        by_hand=f"accept its terms for research, get the archives named HWDB{version}trn_gnt and HWDB{version}tst_gnt, "
        "and unpack their .gnt files below {home}",
    )


_SETS = (
    PublishedSet(
        "mnist",
        "MNIST, 70,000 handwritten digits of 10 classes, 28x28 grey",
        "http://yann.lecun.com/exdb/mnist/",
        (
            _idx(
                "train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            _idx(
                "train-labels-idx1-ubyte.gz",
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            _idx(
                "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            _idx(
                "t10k-labels-idx1-ubyte.gz",
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
        tuple(f"{part}-{what}-ubyte*" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")),
    ),
    PublishedSet(
        "cifar10",
        "CIFAR-10, 60,000 photographs of 10 classes, 32x32 colour",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (
            PublishedFile(
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                CIFAR_URL + "cifar-10-binary.tar.gz",
            ),
        ),
        tuple(
            f"cifar-10-batches-bin/{name}.bin"
            for name in (*(f"data_batch_{part}" for part in range(1, 6)), "test_batch")
        ),
        "cifar-10-batches-bin",
    ),
    PublishedSet(
        "cifar100",
        "CIFAR-100, 60,000 photographs of 100 classes, 32x32 colour",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (
            PublishedFile(
                "cifar-100-binary.tar.gz",
                168_513_733,
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                CIFAR_URL + "cifar-100-binary.tar.gz",
            ),
        ),
        ("cifar-100-binary/train.bin", "cifar-100-binary/test.bin"),
        "cifar-100-binary",
    ),
    PublishedSet(
        "stl10",
        "STL-10, 13,000 labelled photographs of 10 classes, 96x96 colour",
        "https://cs.stanford.edu/~acoates/stl10/",
        (
            PublishedFile(
                "stl10_binary.tar.gz",
                2_640_397_119,
                "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
                "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            ),
        ),
        tuple(f"stl10_binary/{part}_{what}.bin" for part in ("train", "test") for what in ("X", "y")),
        "stl10_binary",
    ),
    PublishedSet(
        "omniglot",
        "Omniglot, 32,460 handwritten characters of 1,623 classes, 105x105 black and white",
        "https://github.com/brendenlake/omniglot",
        (
            PublishedFile(
                "images_background.zip",
                9_464_212,
                "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
                OMNIGLOT_URL + "images_background.zip",
            ),
            PublishedFile(
                "images_evaluation.zip",
                6_462_886,
                "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
                OMNIGLOT_URL + "images_evaluation.zip",
            ),
        ),
        ("images_background/*/*/*.png", "images_evaluation/*/*/*.png"),
    ),
    _hwdb("1.0", "1,609,136 of 3,866 classes"),
    _hwdb("1.1", "1,121,749 of 3,755 classes"),
    PublishedSet(
        "imagenet",
        "ImageNet (ILSVRC 2012), 1,281,167 photographs of 1,000 classes",
        "https://image-net.org/download.php",
        evidence=("train/n*/*.JPEG", "val/n*/*.JPEG"),
        by_hand="register, and put the class folders (n01440764, ...) of the training images into {home}/train and "
        "those of the validation images into {home}/val",
    ),
)

CATALOGUE = {published.name: published for published in _SETS}


def data_home() -> Path:
    """Where published data sets are kept: ``$CTFGAN_DATA``, else the user's folder for data."""
    if "CTFGAN_DATA" in os.environ:
        return expanded(os.environ["CTFGAN_DATA"])
    return Path(os.environ.get("XDG_DATA_HOME") or home_folder("CTFGAN_DATA") / ".local" / "share") / "ctfgan"


def downloads(root: Path) -> Path:
    """Where archives are while they come in, and where a person may put them, below a data home."""
    return root / "downloads"


def is_published(location: str) -> bool:
    """Whether a location is the name of a published data set; a folder of that name is ``./name``."""
    return location in CATALOGUE


def published(name: str) -> PublishedSet:
    """The data set of a name.

    Raises:
        ConfigError: no such name, with the nearest one.
    """
    return pick(CATALOGUE, name, "data set")


def locate(name: str) -> Path:
    """The folder to open for a published data set.

    Raises:
        ConfigError: no such name.
        DataError: its files are not there; one sentence says which, and how to get them.
    """
    found, root = published(name), data_home()
    if found.is_in(root):
        return found.home(root) / found.folder
    listed = ", ".join(file.name for file in found.files) or ", ".join(found.evidence)
    raise DataError(f"{name} ({listed}) is not in {found.home(root)}; {found.needs(root)}")
