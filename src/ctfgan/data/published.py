"""The published data sets of the paper by name: what their files are, where they come from, where they are kept.

Sizes and SHA-256 sums are those that TensorFlow Datasets records for the same files.
"""

from __future__ import annotations

import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from ctfgan.core.errors import DataError, pick
from ctfgan.core.files import expanded, hold_lock, home_folder, is_taken, new_folder, sha256
from ctfgan.core.progress import Progress, silent


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


_FILES = """
train-images-idx3-ubyte.gz    9912422 440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609
train-labels-idx1-ubyte.gz      28881 3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
t10k-images-idx3-ubyte.gz     1648877 8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6
t10k-labels-idx1-ubyte.gz        4542 f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6
cifar-10-binary.tar.gz      170052171 c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd
cifar-100-binary.tar.gz     168513733 58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec
stl10_binary.tar.gz        2640397119 f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866
images_background.zip         9464212 ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640
images_evaluation.zip         6462886 1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee
"""
"""Name, bytes and SHA-256 of each file."""


def _files(url: str, *names: str) -> tuple[PublishedFile, ...]:
    known = {name: (int(size), sha256) for name, size, sha256 in map(str.split, _FILES.strip().splitlines())}
    return tuple(PublishedFile(name, *known[name], url + name) for name in names)


def _hwdb(version: str, classes: str) -> PublishedSet:
    return PublishedSet(
        f"hwdb{version}",
        f"CASIA-HWDB{version}, handwritten Chinese characters, {classes}",
        "http://www.nlpr.ia.ac.cn/databases/handwriting/Download.html",
        evidence=("**/*.gnt",),
        by_hand=f"accept its terms for research, get the archives named HWDB{version}trn_gnt and HWDB{version}tst_gnt, "
        "and unpack their .gnt files below {home}",
    )


_IDX = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
_SETS = (
    PublishedSet(
        "mnist",
        "MNIST, 70,000 handwritten digits of 10 classes, 28x28 grey",
        "http://yann.lecun.com/exdb/mnist/",
        _files("https://storage.googleapis.com/cvdf-datasets/mnist/", *(f"{name}.gz" for name in _IDX)),
        tuple(f"{name}*" for name in _IDX),
    ),
    PublishedSet(
        "cifar10",
        "CIFAR-10, 60,000 photographs of 10 classes, 32x32 colour",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        _files("https://www.cs.toronto.edu/~kriz/", "cifar-10-binary.tar.gz"),
        tuple(f"cifar-10-batches-bin/{name}.bin" for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch")),
        "cifar-10-batches-bin",
    ),
    PublishedSet(
        "cifar100",
        "CIFAR-100, 60,000 photographs of 100 classes, 32x32 colour",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        _files("https://www.cs.toronto.edu/~kriz/", "cifar-100-binary.tar.gz"),
        ("cifar-100-binary/train.bin", "cifar-100-binary/test.bin"),
        "cifar-100-binary",
    ),
    PublishedSet(
        "stl10",
        "STL-10, 13,000 labelled photographs of 10 classes, 96x96 colour",
        "https://cs.stanford.edu/~acoates/stl10/",
        _files("http://ai.stanford.edu/~acoates/stl10/", "stl10_binary.tar.gz"),
        tuple(f"stl10_binary/{part}_{what}.bin" for part in ("train", "test") for what in ("X", "y")),
        "stl10_binary",
    ),
    PublishedSet(
        "omniglot",
        "Omniglot, 32,460 handwritten characters of 1,623 classes, 105x105 black and white",
        "https://github.com/brendenlake/omniglot",
        _files(
            "https://github.com/brendenlake/omniglot/raw/master/python/",
            "images_background.zip",
            "images_evaluation.zip",
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
    wanted, root = published(name), data_home()
    if wanted.is_in(root):
        return wanted.home(root) / wanted.folder
    files = ", ".join(file.name for file in wanted.files) or ", ".join(wanted.evidence)
    raise DataError(f"{name} ({files}) is not in {wanted.home(root)}; {wanted.needs(root)}")


TIMEOUT_SECONDS = 30.0
CHUNK = 1 << 20
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


def fetch(published: PublishedSet, root: Path, progress: Progress = silent) -> Path:
    """Put a data set below a data home and return the folder to open; nothing is done if it is there.

    An archive that lies in the downloads folder already is used in place of a download, and stays there. An
    interrupted download goes on where it stopped.

    Raises:
        DataError: it is given out only to who registers; another process fetches it; no connection; a transfer cut
            short; a wrong checksum; an archive that is damaged or reaches out of its folder. The set's folder is then
            as it was.
    """
    if published.is_in(root):
        return published.home(root) / published.folder
    if not published.files:
        raise DataError(f"{published.name} cannot be downloaded: {published.needs(root)}")
    home = published.home(root)
    if is_taken(home):
        raise DataError(f"{home} exists and does not hold all of {published.name}; move it away, then run this again")
    with _held(published, downloads(root)):
        if not published.is_in(root):  # which another process may have finished just now
            _fill(home, published, downloads(root), progress)
    return home / published.folder


@contextmanager
def _held(published: PublishedSet, folder: Path) -> Iterator[None]:
    """Keep other processes from downloading the same set, since both would write to the same partial files.

    What is made for that goes away, so that a set that cannot be reached leaves no trace.
    """
    made = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
    with ExitStack() as stack:
        stack.callback(_remove_empty, made)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold_lock(folder / f".{published.name}.lock"))
        except BlockingIOError as error:
            raise DataError(
                f"another process is fetching {published.name} into {folder}; wait for it, or stop it and run this "
                "again"
            ) from error
        except OSError as error:
            raise DataError(f"{folder} cannot be written ({error}); set CTFGAN_DATA to a folder of yours") from error
        yield  # without locks the checksum still tells of files that two processes have spoiled


def _remove_empty(folders: list[Path]) -> None:
    with suppress(OSError):  # the first that holds something
        for folder in folders:
            folder.rmdir()


def _fill(home: Path, published: PublishedSet, waiting: Path, progress: Progress) -> None:
    downloaded = [_obtain(published, file, waiting, progress) for file in published.files]
    with new_folder(home) as partial:
        number = len(published.files)
        for index in progress(range(number), number, f"unpacking {published.name} (archives)"):
            _unpack(waiting / published.files[index].name, partial)
        assert published.is_complete(partial), "the checksums are right and the files are not there"
    for file, new in zip(published.files, downloaded, strict=True):
        if new:
            (waiting / file.name).unlink()


def _obtain(published: PublishedSet, file: PublishedFile, folder: Path, progress: Progress) -> bool:
    """Have a verified file in the downloads folder; returns whether it was downloaded now."""
    final, partial = folder / file.name, folder / f"{file.name}.part"
    if final.is_file():
        if sha256(final) != file.sha256:
            raise DataError(f"{final} is damaged (its SHA-256 must be {file.sha256}); delete it and run this again")
        return False
    try:
        _download(file.url, partial, file.size, progress)
    except NETWORK_ERRORS as error:
        reason = error.reason if type(error) is urllib.error.URLError else error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DataError(
            f"{file.url} cannot be reached ({reason}); try again later, or get {file.name} elsewhere, put it into "
            f"{folder} and run this again"
        ) from error
    size = partial.stat().st_size
    if size < file.size:
        raise DataError(
            f"the transfer of {file.url} ended after {size:,} of {file.size:,} bytes; run this again, it goes on from "
            "there"
        )
    digest = sha256(partial)
    if digest != file.sha256:
        partial.unlink()
        raise DataError(
            f"what {file.url} sent has SHA-256 {digest} instead of {file.sha256} and was deleted; try again, or get "
            f"{file.name} elsewhere and put it into {folder}"
        )
    partial.replace(final)
    return True


def _download(url: str, partial: Path, size: int, progress: Progress) -> None:
    """Append to a partial file what is missing of it; where the server cannot go on it begins anew."""
    have = partial.stat().st_size if partial.is_file() else 0
    if have == size:  # complete, but the checksum was not looked at before the interruption
        return
    have = have if have < size else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        if getattr(response, "status", None) != http.client.PARTIAL_CONTENT:
            have = 0
        chunks = -(-(size - have) // CHUNK)
        host = urlsplit(url).hostname or "this machine"
        with partial.open("ab" if have else "wb") as file:
            for _ in progress(range(chunks), chunks, f"fetching {partial.stem} from {host} (MiB)"):
                try:
                    content = response.read(CHUNK)
                except (OSError, http.client.HTTPException):  # cut off: what has come is kept, the caller counts it
                    return
                file.write(content)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip into a folder; copy anything else into it."""
    try:
        if archive.suffix == ".zip":
            _unzip(archive, folder)
        elif ".tar" in archive.suffixes:
            with tarfile.open(archive) as content:
                content.extractall(folder, filter="data")
        else:
            shutil.copyfile(archive, folder / archive.name)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{archive} cannot be unpacked ({error}); delete it and run this again") from error


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        for name in content.namelist():
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts:
                raise DataError(f"{archive} would write {name!r} outside its folder; do not trust this archive")
        content.extractall(folder)
