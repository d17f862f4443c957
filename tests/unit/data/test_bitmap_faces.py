from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from pcffont import PcfFontBuilder, PcfGlyph

from ctfgan.core.errors import DataError
from ctfgan.data.bitmap_fonts import BitmapSource, read_bitmaps
from ctfgan.data.describe import describe
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import DataSettings, GlyphSettings

SHAPES = {"一": ["....", "####", "...."], "丁": ["####", "..#.", ".##."], "七": [".#..", "####", ".###"]}
"""Glyphs of 4 x 3 pixels, one row above the baseline's descent of 1."""


def bdf(shapes: dict[str, list[str]], charset: str, codes: dict[str, int], size: int = 4) -> str:
    """The text of a BDF font with cells of ``size`` pixels whose glyphs stand one row above the bottom."""
    registry, encoding = charset.rsplit("-", 1)
    lines = ["STARTFONT 2.1", f"FONT -Test-Hand-Medium-R-Normal--{size}-40-75-75-C-40-{charset}", f"SIZE {size} 75 75",
             f"FONTBOUNDINGBOX {size} {size} 0 -1", "STARTPROPERTIES 7", 'FOUNDRY "Test"', 'FAMILY_NAME "Hand"',
             f"PIXEL_SIZE {size}", f'CHARSET_REGISTRY "{registry}"', f'CHARSET_ENCODING "{encoding}"',
             f"FONT_ASCENT {size - 1}", "FONT_DESCENT 1", "ENDPROPERTIES", f"CHARS {len(shapes)}"]  # fmt: skip
    for character, rows in shapes.items():
        bits = [f"{int(row.replace('#', '1').replace('.', '0') + '0000', 2):02X}" for row in rows]
        lines += [f"STARTCHAR {ord(character):04X}", f"ENCODING {codes[character]}", "SWIDTH 1000 0",
                  f"DWIDTH {size} 0", "BBX 4 3 0 0", "BITMAP", *bits, "ENDCHAR"]  # fmt: skip
    return "\n".join([*lines, "ENDFONT", ""])


def rows_of(drawing: np.ndarray) -> list[str]:
    return ["".join(".#"[bool(pixel)] for pixel in row) for row in drawing]


@pytest.mark.parametrize(
    ("charset", "codes"),
    [("ISO10646-1", {"一": 0x4E00, "丁": 0x4E01, "七": 0x4E03}),
     ("JISX0208.1983-0", {"一": 0x306C, "丁": 0x437A, "七": 0x3C37}),
     ("GB2312.1980-0", {"一": 0x523B, "丁": 0x3621, "七": 0x465F}),
     ("KSC5601.1987-0", {"一": 0x6C69, "丁": 0x6F4B, "七": 0x7652}),
     ("BIG5-0", {"一": 0xA440, "丁": 0xA442, "七": 0xA443})],
)  # fmt: skip
def test_characters_are_found_by_the_coding_of_the_font(charset: str, codes: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "hand.bdf").write_text(bdf(SHAPES, charset, codes))
    (tmp_path / "hand.bdf.gz").write_bytes(gzip.compress((tmp_path / "hand.bdf").read_bytes()))
    for name in ("hand.bdf", "hand.bdf.gz"):
        (face,) = read_bitmaps(tmp_path / name, "七一A亜")
        assert {character: rows_of(drawing) for character, drawing in face.drawings.items()} == {
            "七": [*SHAPES["七"], "...."],
            "一": [*SHAPES["一"], "...."],
        }
        assert face.family == "Test Hand 4"


def test_a_pcf_font_is_read_as_the_bdf_font_that_it_was_made_from(tmp_path: Path) -> None:
    codes = {character: ord(character) for character in SHAPES}
    (tmp_path / "hand.bdf").write_text(bdf(SHAPES, "ISO10646-1", codes))
    builder = PcfFontBuilder()
    builder.config.font_ascent, builder.config.font_descent = 3, 1
    builder.properties.update({"FOUNDRY": "Test", "FAMILY_NAME": "Hand", "PIXEL_SIZE": 4,
                               "CHARSET_REGISTRY": "ISO10646", "CHARSET_ENCODING": "1"})  # fmt: skip
    for character, rows in SHAPES.items():
        bits = [[int(pixel == "#") for pixel in row] for row in rows]
        builder.glyphs.append(PcfGlyph("", {ord(character)}, 1000, 4, (4, 3), (0, 0), 0, bits))
    builder.save(tmp_path / "hand.pcf")
    (tmp_path / "hand.pcf.gz").write_bytes(gzip.compress((tmp_path / "hand.pcf").read_bytes()))
    (expected,) = read_bitmaps(tmp_path / "hand.bdf", "".join(SHAPES))
    for name in ("hand.pcf", "hand.pcf.gz"):
        (face,) = read_bitmaps(tmp_path / name, "".join(SHAPES))
        assert face.family == expected.family
        assert face.drawings.keys() == expected.drawings.keys()
        assert all(np.array_equal(face.drawings[c], expected.drawings[c]) for c in SHAPES)


def test_bitmap_faces_are_read_dark_on_white_at_their_own_size_and_no_face_twice(tmp_path: Path) -> None:
    codes = {character: ord(character) for character in SHAPES}
    others = {character: rows[::-1] for character, rows in SHAPES.items()}
    (tmp_path / "a.bdf").write_text(bdf(SHAPES, "ISO10646-1", codes))
    (tmp_path / "b.bdf").write_text(bdf(SHAPES, "ISO10646-1", codes))
    (tmp_path / "c.bdf").write_text(bdf({"丁": others["丁"]}, "ISO10646-1", codes, size=6))
    (tmp_path / "d.bdf").write_text("no font")
    (tmp_path / "e.ttf").write_bytes(b"")
    source = BitmapSource(("七", "丁", "一"), (str(tmp_path),))
    assert source.labels.tolist() == [0, 1, 2, 1]
    assert [source.header(index)[1] for index in range(4)] == [(4, 4)] * 3 + [(6, 6)]
    assert np.array_equal(255 - np.asarray(source.read(2)) > 0, [[0] * 4, [1] * 4, [0] * 4, [0] * 4])
    assert source.groups.names == ("Test Hand 4", "Test Hand 6")
    assert source.groups.numbers.tolist() == [0, 0, 0, 1]
    assert source.name(3) == "glyph '丁' of Test Hand 6 (c.bdf)"
    assert source.notes[0] == "drawn by 2 bitmap faces of 4, 6 pixels"
    assert "Test Hand 4 (b.bdf) = Test Hand 4 (a.bdf)" in source.notes[1]
    assert "1 files that cannot be read (d.bdf: " in source.notes[1]
    assert source.notes[2] == "left out: 1 outline fonts; only fonts of pixels are low-quality"


def test_faces_that_training_sees_are_neither_in_the_reference_nor_among_the_held_out_bitmaps(tmp_path: Path) -> None:
    shapes = {"A": [".##.", "####", "#..#"], "B": ["###.", "####", "####"]}
    for size in (4, 5, 6):
        wider = {character: [*rows[: size - 4], *rows[size - 4 :][::-1]] for character, rows in shapes.items()}
        (tmp_path / f"{size}.bdf").write_text(bdf(wider, "ISO10646-1", {"A": 65, "B": 66}, size=size))
    glyphs = GlyphSettings(characters="AB", low_quality_font_folders=(str(tmp_path),))
    settings = DataSettings(resolution=16, glyphs=glyphs)
    dataset = prepare(settings, low_quality=True)
    packed, side = dataset.high_quality, dataset.low_quality
    reference, pool = set(packed.groups[dataset.reference.rows]), set(packed.groups[dataset.pool])
    assert 0 < len(dataset.reference) <= 0.1 * len(packed)
    assert reference.isdisjoint(pool)
    assert (np.bincount(dataset.reference.labels) > 0).all()
    assert len(side.bank) == 4
    assert len(side.held_out) == 2
    assert side.pairing == "matched"
    assert side.held_out_groups[0].startswith("Test Hand")
    said = "\n".join(describe(dataset, settings))
    assert "drawn by 3 bitmap faces of 4, 5, 6 pixels" in said
    names = ", ".join(packed.survey.groups[group] for group in sorted(reference))
    assert f"held out whole, so that training never sees them: {names}" in said


def test_a_face_is_not_left_out_for_one_that_shows_less(tmp_path: Path) -> None:
    codes = {character: ord(character) for character in SHAPES}
    (tmp_path / "a.bdf").write_text(bdf({"一": SHAPES["一"]}, "ISO10646-1", codes))
    (tmp_path / "b.bdf").write_text(bdf(SHAPES, "ISO10646-1", codes))
    source = BitmapSource(tuple(SHAPES), (str(tmp_path),))
    assert source.notes == ("drawn by 2 bitmap faces of 4 pixels",)
    assert len(source.labels) == 1 + 3


def test_a_folder_without_a_bitmap_font_of_the_characters_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hand.bdf").write_text(bdf(SHAPES, "ISO10646-1", {c: ord(c) for c in SHAPES}))
    with pytest.raises(DataError, match=r"no bitmap font in .* shows any of the 2 characters; give a folder with .pcf"):
        BitmapSource(("A", "B"), (str(tmp_path),))


def test_characters_that_no_bitmap_font_shows_are_named(tmp_path: Path) -> None:
    (tmp_path / "hand.bdf").write_text(bdf(SHAPES, "ISO10646-1", {c: ord(c) for c in SHAPES}))
    with pytest.raises(DataError, match=r"shows 2 of the 5 characters \(A, B\); add fonts that do with --lq-fonts DIR"):
        BitmapSource((*SHAPES, "A", "B"), (str(tmp_path),))


def test_a_reference_of_no_face_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctfgan.data.prepare.whole_groups", lambda *asked: np.empty(0, dtype=np.int64))
    settings = DataSettings(resolution=16, glyphs=GlyphSettings(characters="AB", held_out="faces"))
    with pytest.raises(DataError, match=r"leaves 0 different images .*add fonts of other families with --fonts"):
        prepare(settings, low_quality=False)


def test_low_quality_fonts_beside_other_images_are_refused() -> None:
    glyphs = GlyphSettings(low_quality_font_folders=("fonts",))
    with pytest.raises(ValueError, match="without high_quality images; leave one out"):
        DataSettings(high_quality="scans", glyphs=glyphs)
    with pytest.raises(ValueError, match="without low_quality images; leave one out"):
        DataSettings(low_quality="scans", glyphs=glyphs)
