from __future__ import annotations

import string
import unicodedata
from collections import Counter
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from ctfgan.core.errors import DataError
from ctfgan.data.glyphs import NAMED_SETS, Face, GlyphSource, faces_of
from ctfgan.data.settings import GlyphSettings


def source(characters: str, per_class: int = 4, *, seed: int = 0, fonts: tuple[str, ...] = ()) -> GlyphSource:
    settings = GlyphSettings(characters=characters, images_per_class=per_class, font_folders=fonts)
    return GlyphSource(settings, resolution=16, seed=seed)


def pixels(glyphs: GlyphSource) -> np.ndarray:
    return np.stack([np.asarray(glyphs.read(index)) for index in range(len(glyphs.labels))])


def test_no_glyph_is_blank_or_leaves_the_image_full() -> None:
    images = pixels(source("alphanumeric", 24))
    ink = (images < 128).mean(axis=(1, 2))
    assert len(images) == 62 * 24
    assert ink.min() > 0.02  # the thinnest are a light r and i
    assert ink.max() < 0.6


def test_classes_are_the_characters_in_their_order() -> None:
    glyphs = source("zA1é", 5)
    assert glyphs.classes == ("z", "A", "1", "é")
    assert glyphs.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    assert glyphs.name(6) == "glyph 'A' number 1"
    assert glyphs.read(0).size == glyphs.header(0)[1]


def test_a_seed_decides_every_pixel() -> None:
    first = pixels(source("AB", 30, seed=3))
    assert np.array_equal(first, pixels(source("AB", 30, seed=3)))
    other = pixels(source("AB", 30, seed=4))
    assert all(not np.array_equal(one, two) for one, two in zip(first, other, strict=True))
    assert source("AB", seed=3).identity() != source("AB", seed=4).identity()


def test_no_two_renderings_of_a_character_are_equal() -> None:
    images = pixels(source("AB", 100))
    assert len(np.unique(images.reshape(200, -1), axis=0)) == 200


def test_an_image_can_be_read_without_those_before_it() -> None:
    assert np.array_equal(np.asarray(source("AB").read(5)), pixels(source("AB"))[5])


def test_named_sets_hold_what_they_say() -> None:
    assert sorted(NAMED_SETS["alphanumeric"]) == sorted(string.ascii_letters + string.digits)
    assert source("digits").classes == tuple("0123456789")


def test_gb2312_level_1_has_3755_distinct_chinese_characters() -> None:
    characters = NAMED_SETS["gb2312-level-1"]
    assert len(characters) == len(set(characters)) == 3_755
    assert all(0x4E00 <= ord(character) <= 0x9FFF for character in characters)
    assert (characters[0], characters[-1]) == ("啊", "座")  # level 1 is sorted by pinyin


@pytest.mark.parametrize(
    ("name", "count", "ends"),
    [("jis-level-1", 2_965, "亜腕"), ("jis-level-2", 3_390, "弌熙"), ("hangul", 2_350, "가힝"),
     ("hangul-all", 11_172, "가힣")],
)  # fmt: skip
def test_sets_of_kanji_and_hangul_hold_what_their_standards_say(name: str, count: int, ends: str) -> None:
    characters = NAMED_SETS[name]
    assert len(characters) == len(set(characters)) == count
    assert characters[0] + characters[-1] == ends
    assert all(unicodedata.name(character).startswith(("CJK UNIFIED", "HANGUL SYLLABLE")) for character in characters)


def test_sets_are_joined_by_a_plus_and_a_mistyped_one_is_named() -> None:
    assert source("digits+alphanumeric").classes == tuple(NAMED_SETS["alphanumeric"])
    assert source("+-").classes == ("+", "-")
    with pytest.raises(DataError, match=r"Unknown character set 'jis-level1'. Did you mean 'jis-level-1'?"):
        source("digits+jis-level1")


def test_where_faces_are_held_out_every_image_is_of_the_family_that_its_group_names() -> None:
    settings = GlyphSettings(characters="AB", held_out="faces", images_per_class=6)
    glyphs = GlyphSource(settings, resolution=16, seed=0)
    fonts = [glyphs.groups.names[number] for number in glyphs.groups.numbers]
    assert len(fonts) == len(glyphs.labels) == 12
    assert len(set(fonts)) > 3
    whole = GlyphSource(settings.model_copy(update={"images_per_class": None}), resolution=16, seed=0)
    families = Counter(whole.groups.names[number] for number in whole.groups.numbers)
    assert families["DejaVu Sans"] == 2 * 4  # regular, bold, and their obliques
    assert whole.identity() != glyphs.identity() != source("AB", 6).identity()
    assert source("AB").groups is None


def test_every_face_draws_the_letters_that_it_claims() -> None:
    """Each letter resembles the mean of the same letter in the other faces; TeX's symbol faces would not."""
    characters = NAMED_SETS["alphanumeric"]
    faces = faces_of(characters, ())[0]
    shapes = np.stack([[shape(character, face) for character in characters] for face in faces])
    for number, face in enumerate(faces):
        others = np.delete(shapes, number, axis=0).mean(axis=0)
        likeness = [np.corrcoef(*pair)[0, 1] for pair in zip(shapes[number], others, strict=True)]
        assert np.mean(likeness) > 0.45, face  # 0.59 and more; cmsy10 has 0.21


def shape(character: str, face: Face) -> np.ndarray:
    image = Image.new("L", (64, 64))
    font = ImageFont.truetype(str(face[0]), 36, index=face[1])
    ImageDraw.Draw(image).text((32, 32), character, fill=255, font=font, anchor="mm")
    return np.asarray(image.crop(image.getbbox()).resize((16, 16)), dtype=float).ravel()


def test_faces_that_draw_something_else_are_left_out() -> None:
    names = {path.stem for path, _ in faces_of("1", ())[0]}
    assert {"DejaVuSans", "STIXGeneral", "cmr10"} <= names
    assert not names & {"LastResortHE-Regular", "cmsy10", "cmex10"}
    assert not any(path.stem.startswith("cm") for path, _ in faces_of("<", ())[0])  # TeX has its "<" elsewhere


def test_characters_that_all_faces_share_use_the_same_faces() -> None:
    first, *others = faces_of("Ab1", ())
    assert all(faces == first for faces in others)


@pytest.mark.parametrize("characters", ["AAB", "ABA"])
def test_repeated_characters_are_refused(characters: str) -> None:
    with pytest.raises(DataError, match="'A' are given more than once"):
        source(characters)


@pytest.mark.parametrize("missing", ["一", "\ue123", " ", "\u200b"])
def test_characters_that_no_face_shows_are_named(missing: str) -> None:
    with pytest.raises(DataError, match=rf"1 characters have fewer than 2 faces \({missing}\); add a font folder"):
        source(f"AB{missing}")


def test_a_character_drawn_as_the_box_of_missing_glyphs_counts_as_missing(tmp_path: Path) -> None:
    font = TTFont(Path(matplotlib.get_data_path(), "fonts", "ttf", "cmss10.ttf"))
    box, copy = font.getGlyphOrder()[0], font.getBestCmap()[ord("A")]
    for table in ("glyf", "hmtx"):
        font[table][copy] = font[table][box]
    for table in font["cmap"].tables:
        if table.platformID == 3:
            table.cmap[ord("一")] = copy
    for number in range(2):
        font.save(tmp_path / f"{number}.ttf")
    with pytest.raises(DataError, match="1 characters have fewer than 2 faces"):
        source("AB一", fonts=(str(tmp_path),))


def test_many_missing_characters_are_cut_short() -> None:
    with pytest.raises(DataError, match=r"30 characters have fewer than 2 faces \(.{20}\.\.\.\)"):
        source(NAMED_SETS["gb2312-level-1"][:30])


def test_a_font_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"font folder {tmp_path}/none does not exist; give a folder with .ttf"):
        source("AB", fonts=(f"{tmp_path}/none",))


WHOLE = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf").read_bytes()


@pytest.mark.parametrize(
    "content", [b"", b"no font", bytes(2_000), WHOLE[:100], WHOLE[:5_000], WHOLE[: len(WHOLE) // 2]]
)
def test_a_font_file_that_cannot_be_read_is_left_out_and_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(content)
    (note,) = [note for note in source("AB", fonts=(str(tmp_path),)).notes if "left out" in note]
    assert note.startswith("left out of the outline faces: 1 files that cannot be read (broken.ttf: ")
    with pytest.raises(DataError, match=r"1 font files cannot be read, such as .*broken\.ttf"):
        source("AB一", fonts=(str(tmp_path),))


def test_another_font_folder_adds_faces(tmp_path: Path) -> None:
    font = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "copy.TTF").write_bytes(font.read_bytes())
    before, after = faces_of("A", ())[0], faces_of("A", (str(tmp_path),))[0]
    assert {path.name for path, _ in set(after) - set(before)} == {"copy.TTF"}
