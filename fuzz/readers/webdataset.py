"""WebDataset shards."""

from __future__ import annotations

import io
import tarfile
from random import Random

from PIL import Image

from ctfgan.data.sources.registry import open_source
from ctfgan.data.sources.webdataset import ShardSource
from fuzz.changes import changed_bytes, changed_json, dumped, number
from fuzz.judging import Reader, check
from fuzz.places import look_at, put

FIELDS = ((0, 100), (100, 8), (124, 12), (124, 12), (124, 12), (136, 12), (156, 1), (156, 1), (257, 8), (345, 155))


def seeds() -> list[bytes]:
    """Shards in every dialect, with numbers, names and JSON as labels."""
    found = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        for labels in ((".cls", b"1", b"0"), (".json", b'{"label": "b"}', b'{"label": "a"}'), (".txt", b"x", b"y")):
            file = io.BytesIO()
            with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
                for number_, label in enumerate(labels[1:]):
                    name = f"{'x' * 120 if number_ and kind != tarfile.USTAR_FORMAT else 'x'}/{number_}"
                    for end, content in ((".png", _png(number_)), (labels[0], label)):
                        member = tarfile.TarInfo(name + end)
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
            found.append(file.getvalue()[: -8 * 512])
    return found


def change(content: bytes, rng: Random) -> bytes:
    """A field of a header, its checksum made right again; a label; or bytes changed."""
    headers = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    if not headers or rng.random() < 0.2:
        return changed_bytes(content, rng)
    block = bytearray(content)
    at = rng.choice(headers)
    start, size = rng.choice(FIELDS)
    if rng.random() < 0.2:
        labels = (
            b"",
            b"-1",
            b"1" * 400,
            b"[" * 400,
            dumped(changed_json({"label": 1}, rng), rng)[:500],
            b"\xff",
            b"1e5",
            b"x\ny",
        )
        block[at + 512 : at + 1024] = rng.choice(labels).ljust(512, rng.choice((b"\0", b" ")))
    elif start == 156:
        block[at + 156] = rng.choice(b"0\x001234567xgLKSAV")
    elif size == 12:
        value = number(rng)
        octal = b"%011o\0" % (abs(value) % 8**11)
        block[at + start : at + start + 12] = rng.choice(
            (
                octal,
                b"\xff" + (value % 2**88).to_bytes(11, "big"),
                b"\x80" + (value % 2**88).to_bytes(11, "big"),
                b" " * 12,
            )
        )
    else:
        odd = (
            b"x/0.png",
            b"x/0.cls",
            b"../x.png",
            b"/x.png",
            b".png",
            b"a\nb.png",
            b"\xff.png",
            b"x/\xe2\x80\xae.png",
            b"",
        )
        block[at + start : at + start + size] = rng.choice((*odd, rng.randbytes(4)))[:size].ljust(size, b"\0")
    if rng.random() < 0.1 and b"path=" in block:
        block = bytearray(
            bytes(block).replace(b"path=", rng.choice((b"size=", b"GNU.sparse.size=", b"GNU.sparse.map="))[:5])
        )
    block[at + 148 : at + 156] = b" " * 8
    block[at + 148 : at + 156] = b"%06o\0 " % sum(block[at : at + 512])
    return bytes(block)


def one_input(content: bytes) -> None:
    """Every image lies in the file, behind a header with a right checksum."""
    source = open_source(str(put("x.tar", content)))
    if isinstance(source, ShardSource):
        for index in range(min(20, len(source.labels))):
            offset, size = source._images[index].offset, source._images[index].size
            check(size >= 0 and offset >= 512 and offset + size <= len(content), "an image outside the file")
            check(source.content(index) == content[offset : offset + size], "other bytes")
            header = content[offset - 512 : offset]
            check(_number(header[148:156]) in _sums(header), "a header that is none")
    look_at(source)


def _sums(header: bytes) -> tuple[int, int]:
    """The checksum of a header, of unsigned bytes and, as the tar of old Suns has it, of signed ones.

    Both are read by tarfile (``calc_chksums``) and by GNU tar; they differ where a name is not ASCII.
    """
    summed = header[:148] + b" " * 8 + header[156:]
    return sum(summed), sum(byte - 256 * (byte > 127) for byte in summed)


def _number(field: bytes) -> int:
    """Octal text, or, behind a byte that no text begins with, binary as GNU tar has it."""
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) if field[0] == 0xFF else 0)
    return int(field.partition(b"\0")[0].decode().strip() or "0", 8)


def _png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (5, 5), grey).save(file, "PNG")
    return file.getvalue()


READER = Reader("webdataset", seeds, change, one_input)
