"""Parquet shards of encoded images."""

from __future__ import annotations

import io
import json
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ctfgan.data.sources.registry import open_source
from fuzz.changes import TEXTS, changed_bytes, changed_json, number
from fuzz.judging import Reader, check
from fuzz.places import look_at, put


def seeds() -> list[bytes]:
    """Numbers, texts and named classes as labels."""
    cells = [{"bytes": _png(grey), "path": f"{grey}.png"} for grey in range(4)]
    names = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}}}
    return [
        _written({"image": cells, "label": [0, 1, 1, 0]}, {}),
        _written({"image": cells, "label": [0, 1, 1, 0]}, names),
        _written({"image": [cell["bytes"] for cell in cells], "label": ["x", "y", None, "x"]}, {}),
        _written({"image": cells}, {}),
    ]


def change(content: bytes, rng: Random) -> bytes:
    """Bytes changed, mostly of the footer; or another table."""
    kind = rng.random()
    if kind < 0.6:
        return content[:-700] + changed_bytes(content[-700:], rng)
    if kind < 0.8:
        return changed_bytes(content, rng)
    odd = (None, number(rng) % 2**62, rng.choice(TEXTS[:5]), 0.5, True, b"x", [1], {"a": 1})
    value = rng.choice(odd)
    cells = (
        _png(1),
        b"",
        b"x",
        None,
        {"bytes": None, "path": "/dev/zero"},
        {"bytes": None, "path": "a\0b"},
        {"bytes": b"", "path": ""},
    )
    cell = rng.choice(cells)
    names = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}
    try:
        return _written({"image": [cell] * 3, "label": [value] * 3}, changed_json(names, rng))
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        return changed_bytes(content, rng)


def one_input(content: bytes) -> None:
    """Compare with the whole table, read at once."""
    source = open_source(str(put("x.parquet", content)))
    rows = pq.ParquetFile(io.BytesIO(content)).metadata.num_rows
    check(len(source.labels) <= rows, "another number of rows")
    look_at(source)


def _written(columns: dict[str, list[object]], metadata: object) -> bytes:
    table = pa.table(columns)
    if metadata != {}:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=3)
    return file.getvalue()


def _png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (5, 5), grey).save(file, "PNG")
    return file.getvalue()


READER = Reader("parquet", seeds, change, one_input, seconds=2.0)
