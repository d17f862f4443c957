"""A few hundred inputs of every harness in ``fuzz/``; ``python -m fuzz all --runs 100000`` makes many more."""

from __future__ import annotations

import importlib
import warnings
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctfgan.core.errors import ConfigError, CtfganError
from fuzz.driver import READERS
from fuzz.judging import Reader, Unsound, judged

FEWER = {"bundle": 30, "parquet": 40, "folder": 40, "packed": 60, "npz": 40}
CASES = [pytest.param(name, marks=pytest.mark.slow if name == "bundle" else ()) for name in READERS]
"""Bundles need the nets and torchmetrics loaded."""


def loaded(name: str) -> Reader:
    reader: Reader = importlib.import_module(f"fuzz.readers.{name}").READER
    return reader


@pytest.mark.parametrize("name", CASES)
def test_broken_inputs_are_refused_in_one_sentence_and_whole_ones_read_right(name: str) -> None:
    reader = loaded(name)
    seeds = reader.seeds()

    @settings(
        max_examples=FEWER.get(name, 100), derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, 2**32))
    def explore(number: int) -> None:
        content = reader.inputs(Random(number), seeds)
        with warnings.catch_warnings(action="error"):
            verdict = judged(reader, content)
        assert not verdict.finding, (verdict, content[:2000])

    explore()


@pytest.mark.parametrize("name", [case for case in CASES if case.values[0] not in ("image", "folder")])
def test_every_seed_is_accepted(name: str) -> None:
    reader = loaded(name)
    for content in reader.seeds():
        assert judged(reader, content).accepted


@pytest.mark.parametrize("name", CASES)
def test_anything_can_be_changed(name: str) -> None:
    reader, rng = loaded(name), Random(0)
    seeds = reader.seeds()
    for size in (0, 1, 2, 5, 20, 600):
        cut = rng.choice(seeds)
        for content in (rng.randbytes(size), cut[: rng.randrange(len(cut))]):
            assert isinstance(reader.change(content, rng), bytes)


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "finding"),
    [
        (KeyError("x"), "KeyError"),
        (Unsound("too many"), "accepted: too many"),
        (ConfigError("it broke"), "no way out"),
        (ConfigError("a; " + "b" * 2000), "too long"),
        (ConfigError("a; b"), ""),
    ],
)
def test_the_judge_knows_a_finding_from_a_refusal(error: Exception, finding: str) -> None:
    verdict = judged(Reader("x", list, lambda content, rng: content, lambda content: _raise(error)), b"")
    assert finding in verdict.finding
    assert bool(finding) == bool(verdict.finding)


def test_a_refusal_that_only_the_end_of_memory_brought_is_a_finding() -> None:
    def one_input(content: bytes) -> None:
        try:
            raise MemoryError
        except MemoryError as error:
            raise CtfganError("no; do") from error

    assert "memory ran out" in judged(Reader("x", list, lambda content, rng: content, one_input), b"").finding
