"""Encoded images."""

from __future__ import annotations

import io
import struct
import zlib
from random import Random

import numpy as np
from PIL import Image, ImageCms

from ctfgan.core.errors import DataError
from ctfgan.data.images import MAX_PIXELS, square
from ctfgan.data.sources.encoded import read_image
from fuzz.changes import changed_bytes, number
from fuzz.judging import Reader, check


def seeds() -> list[bytes]:
    """Small images of every form that is read, some with metadata and several frames, some of forms that are not.

    Wide levels and colour profiles are among them.
    """
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
    grey, alpha = colour.convert("L"), colour.convert("RGBA")
    deep = Image.fromarray(rng.integers(0, 65_536, (9, 11), dtype=np.uint16))
    ranges = [np.asarray(grey, dtype=np.float32) / 255, np.asarray(grey, dtype=np.float32) / 128 - 1]
    whole = Image.fromarray(np.asarray(grey, dtype=np.int32) * 16)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    curve = srgb.index(b"para", 200) + 12  # the exponent of its curves, here another one than sRGB's
    other = srgb[:curve] + (1 << 16).to_bytes(4, "big") + srgb[curve + 4 :]
    other = other.replace("sRGB".encode("utf-16-be"), "line".encode("utf-16-be"))
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [colour.transpose(Image.Transpose.ROTATE_180)]}
    forms: list[tuple[Image.Image, str, dict[str, object]]] = [
        (colour, "PNG", {"exif": exif}),
        (grey, "PNG", {}),
        (deep, "PNG", {}),
        (alpha, "PNG", {}),
        (colour, "PNG", frames),
        (colour.quantize(8), "PNG", {"transparency": 1}),
        (colour, "JPEG", {"exif": exif}),
        (grey, "JPEG", {}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour, "JPEG", {"progressive": True}),
        (colour, "GIF", frames),
        (colour, "WEBP", {}),
        (alpha, "WEBP", {"lossless": True}),
        (colour, "WEBP", frames),
        (colour, "BMP", {}),
        (colour.quantize(8), "BMP", {}),
        (colour, "TIFF", {}),
        (deep, "TIFF", {"compression": "tiff_lzw"}),
        (colour, "TIFF", {"compression": "tiff_adobe_deflate"}),
        (grey.convert("F"), "TIFF", {}),
        *((Image.fromarray(levels), "TIFF", {}) for levels in ranges),
        (whole, "TIFF", {}),
        (deep, "TIFF", {"tiffinfo": {262: 0}}),
        (colour, "PNG", {"icc_profile": srgb}),
        (colour, "PNG", {"icc_profile": other}),
        (colour, "JPEG", {"icc_profile": other}),
        (alpha, "WEBP", {"icc_profile": other}),
        (colour, "TIFF", {"icc_profile": other}),
        (colour, "TIFF", frames),
        (colour, "PPM", {}),
        (grey.convert("1"), "PPM", {}),
        (colour, "TGA", {"compression": "tga_rle"}),
        (grey, "TGA", {}),
        (colour, "JPEG2000", {}),
        (colour, "AVIF", {}),
        (colour, "ICO", {}),
        (colour, "PCX", {}),
        (colour, "EPS", {}),
    ]
    files = []
    for image, form, options in forms:
        file = io.BytesIO()
        image.save(file, form, **options)
        files.append(file.getvalue())
    return files


def change(content: bytes, rng: Random) -> bytes:
    """A field of a PNG chunk with its checksum made right again, or bytes changed, mostly near the beginning."""
    if content.startswith(b"\x89PNG") and rng.random() < 0.7:
        return _other_chunk(content, rng)
    if rng.random() < 0.5:
        return changed_bytes(content[:64], rng) + content[64:]
    return changed_bytes(content, rng)


def one_input(content: bytes) -> None:
    """Size and mode must be what the file's own header says, as far as it is easily read."""
    try:
        image = read_image(content)
    except DataError as error:  # a reason, not yet a sentence
        raise DataError(f"x.png cannot be read: {error}; leave it out") from error
    check(min(image.size) >= 4 and image.width * image.height <= MAX_PIXELS, "a size outside the limits")
    check(np.asarray(image).shape[:2] == image.size[::-1], "an array of another size")
    if content.startswith(b"\x89PNG"):
        check(image.size == struct.unpack(">II", content[16:24]), "another size than the header's")
    if content[:2] == b"BM":
        check(image.size == tuple(abs(side) for side in _bmp(content)), "another size than the header's")
    check(
        content[:2] not in (b"%!", b"\0\0")
        or content[4:8] in (b"ftyp", b"jP  ")
        or content[2:3] in b"\x01\x02\x03\x09\x0a\x0b",
        "a form that is not meant",
    )
    for channels in (1, 3):
        try:
            small = square(image, 8, channels, "crop")
        except DataError as error:
            check(image.mode == "F" or image.mode.startswith("I"), "bytes whose levels are not plain")
            raise DataError(f"x.png cannot be used: {error}") from error
        check(small.shape == (8, 8, channels) and small.dtype == np.uint8, "a wrong array")


def _bmp(content: bytes) -> tuple[int, ...]:
    old = int.from_bytes(content[14:18], "little") == 12
    return struct.unpack("<HH" if old else "<ii", content[18 : 22 if old else 26])


def _other_chunk(content: bytes, rng: Random) -> bytes:
    chunks, at = [], 8
    while at + 12 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        chunks.append([content[at + 4 : at + 8], content[at + 8 : at + 8 + size]])
        at += 12 + size
    if not chunks:
        return changed_bytes(content, rng)
    chunk = rng.choice(chunks)
    match rng.randrange(8):
        case 0:
            chunks.append(rng.choice(chunks))
        case 1:
            text = zlib.compress(bytes(rng.choice((100, 2_000_000))))
            chunks.insert(
                1,
                rng.choice(([b"zTXt", b"a\0\0" + text], [b"iTXt", b"a\0\1\0\0\0" + text], [b"iCCP", b"a\0\0" + text])),
            )
        case 2:
            chunk[0] = rng.choice(
                (b"IDAT", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"gAMA", b"CgBI", b"IEND")
            )
        case 3 | 4:
            head = bytearray(chunks[0][1].ljust(13, b"\0"))
            at = rng.choice((0, 4))
            head[at : at + 4] = (number(rng) % 2**32).to_bytes(4, "big")
            chunks[0][1] = bytes(head)
        case _:
            chunk[1] = changed_bytes(chunk[1], rng)
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return content[:8] + b"".join(framed)


# WebP's decoder keeps two canvases of four bytes a pixel, Pillow two more: 16 bytes for each pixel that is allowed.
READER = Reader("image", seeds, change, one_input, seconds=5.0, memory=16 * MAX_PIXELS)
