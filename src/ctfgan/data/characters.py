"""Sets of characters that are known by name."""

from __future__ import annotations

import string


def _rows(codec: str, rows: range) -> str:
    """The characters of some rows of 94 cells of a double-byte set; empty cells are passed over."""
    cells = (bytes([0xA0 + row, 0xA0 + cell]) for row in rows for cell in range(1, 95))
    return "".join(cell.decode(codec, "ignore") for cell in cells)


NAMED_SETS = {
    "alphanumeric": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "digits": string.digits,
    "gb2312-level-1": _rows("gb2312", range(16, 56)),  # the 3,755 most frequent Chinese characters
    "jis-level-1": _rows("euc_jp", range(16, 48)),  # of JIS X 0208: 2,965 kanji
    "jis-level-2": _rows("euc_jp", range(48, 85)),  # 3,390 more
    "hangul": _rows("euc_kr", range(16, 41)),  # the 2,350 syllables of KS X 1001
    "hangul-all": "".join(map(chr, range(0xAC00, 0xD7A4))),  # all 11,172
}


def named_characters(text: str) -> str:
    """The characters of a named set, or of several joined by ``+``, each once: ``jis-level-1+jis-level-2``."""
    return "".join(dict.fromkeys("".join(NAMED_SETS[name] for name in text.split("+"))))


def is_named(text: str) -> bool:
    """Whether a text is the name of a set, or several of them joined by ``+``."""
    return all(name in NAMED_SETS for name in text.split("+"))
