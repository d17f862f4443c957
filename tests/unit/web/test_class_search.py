from __future__ import annotations

import random
import time

import pytest

from ctfgan.web.class_search import ClassSearch

NAMES = ["cat", "Cat", "concat", "tomcat", "catalogue", "CATTLE", "dog", "a\nb", "caf\u00e9", "cafe\u0301s", "c"]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("Cat", ["Cat", "cat", "catalogue", "CATTLE", "concat", "tomcat"]),
        ("cat", ["cat", "Cat", "catalogue", "CATTLE", "concat", "tomcat"]),
        ("CATT", ["CATTLE"]),
        ("og", ["catalogue", "dog"]),
        ("cafe\u0301", ["caf\u00e9", "cafe\u0301s"]),
        ("a\nb", ["a\nb"]),
        ("\n", NAMES),
        ("", NAMES),
        ("zebra", []),
        ("cat\ndog", []),
    ],
)
def test_the_typed_name_comes_first_then_beginnings_then_parts(part: str, found: list[str]) -> None:
    assert ClassSearch(NAMES).find(part, 100) == (found, False)


def test_pages_together_are_the_whole_search_and_agree_with_a_plain_one() -> None:
    letters = random.Random(0)
    names = list(dict.fromkeys("".join(letters.choices("abAB", k=letters.randint(1, 6))) for _ in range(800)))
    search = ClassSearch(names)
    for part in ("a", "ab", "BAB", "bbbb", "aaaaaa", "c"):
        sought = part.lower()

        def rank(label: int, part: str = part, sought: str = sought) -> tuple[int, int]:
            name = names[label].lower()
            return (0 if names[label] == part else 1 if name == sought else 2 if name.startswith(sought) else 3), label

        expected = [names[label] for label in sorted(range(len(names)), key=rank) if sought in names[label].lower()]
        pages, more = [], True
        while more:
            page, more = search.find(part, 7, len(pages))
            pages += page
        assert pages == expected


def test_a_name_that_differs_in_case_alone_is_found_once_and_behind_the_typed_one() -> None:
    names = ["AA", "aa", "Aa", "aab", "baa", "aaaa", "aA"]
    assert ClassSearch(names).find("Aa", 100) == (["Aa", "AA", "aa", "aA", "aab", "aaaa", "baa"], False)


def test_very_many_names_are_searched_while_one_types() -> None:
    """Which takes seconds if every name is looked at, one after the other, and milliseconds otherwise."""
    search = ClassSearch([f"class {number:06d}" for number in range(300_000)])
    began = time.process_time()
    for part, count in 10 * [("", 20), ("class", 20), ("299999", 1), ("nothing like it", 0)]:
        assert len(search.find(part, 20)[0]) == count
    assert time.process_time() - began < 1
