"""A set of samples on disk: begun, half done, complete.

While it is made, ``.unfinished.jsonl`` says what is made (first line) and which pieces are complete. In the end
``manifest.json`` takes its place:

    kind, format_version      "ctfgan set of samples", 1
    model                     recipe's name and the SHA-256 of each file of the bundle
    format, seed              as --format and --seed said
    image                     encoding, side in pixels, channels
    low_quality               number and SHA-256 of own low-quality images; null if the bundle's were used
    balanced_with             source and target of --balance-with; null without
    classes                   name, label in the model, images, and for class folders the folder; in parquet files and
                              .cls entries the label is the place in this list
    pieces                    path, first number (class folders), images, bytes and sha256 of each shard or part of a
                              class folder; the hash is of its files one after the other, in order of their names
    images, bytes, made_with  sums; date and versions

The set is the same, byte for byte, however often its making was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ctfgan.bundle.bundle import environment
from ctfgan.core.errors import ConfigError
from ctfgan.core.files import flush_all, is_remains, is_taken, lock, write_file
from ctfgan.core.progress import Progress
from ctfgan.core.text import plural
from ctfgan.data.sources.sample_set import (
    SET_KIND,
    SET_MANIFEST,
    SET_VERSION,
    UNFINISHED,
    NumberedRecord,
    SetHead,
    require,
    set_manifest,
)
from ctfgan.sampling.layouts import Layout


def check_set_folder(out: Path) -> None:
    """Refuse a place where a set can neither begin nor go on, before any work.

    Raises:
        ConfigError: something else is at ``out``, or its parent folder is missing.
    """
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"folder {out.absolute().parent} does not exist; make it first, or choose another --out")
    if is_taken(out) and set_manifest(out) is None and not (out / UNFINISHED).is_file():
        raise ConfigError(
            f"{out} exists already; choose another --out, or move it away: it is no set of samples to go on with"
        )


class SetFolder:
    """A set on disk, and how far it is.

    Args:
        path: its folder.
        layout: how it lies there.
        told: what decides its images, as plain values; a set that was begun with others is refused.
    """

    def __init__(self, path: Path, layout: Layout, told: Mapping[str, Any]) -> None:
        self._path = path
        self._layout = layout
        self._told = {"format_version": SET_VERSION, **json.loads(json.dumps(told))}
        self._pieces = layout.pieces()
        self._done: dict[int, tuple[int, str]] = {}
        self._record: IO[str] | None = None

    def begin(self, progress: Progress) -> list[int]:
        """Which pieces are to be made; those that are there and intact are not.

        Raises:
            ConfigError: something else is there, the set was begun with other arguments, or another process makes it.
        """
        check_set_folder(self._path)
        manifest = set_manifest(self._path)
        if manifest is not None:
            self._compare(manifest)
            recorded = {number: (piece["bytes"], piece["sha256"]) for number, piece in enumerate(manifest["pieces"])}
            self._done = self._intact(recorded, progress)
            if len(self._done) == len(self._pieces):
                (self._path / UNFINISHED).unlink(missing_ok=True)  # killed just before it was taken away
                return []
        self._path.mkdir(exist_ok=True)
        self._record = (self._path / UNFINISHED).open("a+", encoding="utf-8")
        try:
            lock(self._record)
        except OSError as error:
            if isinstance(error, BlockingIOError):
                raise ConfigError(f"another process is making {self._path}; wait for it, or stop it") from error
            # A file system without locks: two at once would only do everything twice.
        lines = self._lines()
        if manifest is None and lines:
            self._compare(lines[0])
            recorded = {line["piece"]: (line["bytes"], line["sha256"]) for line in lines[1:]}
            self._done = self._intact(recorded, progress)
        self._record.truncate(0)
        self._write(self._told)
        for number in self._done:
            self._note(number)
        (self._path / SET_MANIFEST).unlink(missing_ok=True)
        for file in self._path.rglob(".*"):
            if is_remains(file):
                file.unlink()
        return [number for number in range(len(self._pieces)) if number not in self._done]

    def complete(self, number: int) -> None:
        """Note that a piece has been written."""
        found = self._layout.digest(self._path, self._pieces[number])
        assert found is not None, "it has just been written"
        self._done[number] = found
        self._note(number)

    def finish(self) -> None:
        """Put the manifest in the place of the record, unless it is there."""
        if self._record is None:
            return
        is_folders = self._layout.name == "folders"
        pieces = []
        for number, piece in enumerate(self._pieces):
            size, digest = self._done[number]
            first = {"first": piece.first} if is_folders else {}
            pieces.append({"path": piece.path, **first, "images": piece.count, "bytes": size, "sha256": digest})
        content = {
            "kind": SET_KIND,
            **self._told,
            "images": self.images,
            "bytes": self.bytes,
            "made_with": environment(),
            "pieces": pieces,
        }
        flush_all()
        write_file(self._path / SET_MANIFEST, json.dumps(content, ensure_ascii=False, indent=1).encode())
        self._record.close()
        (self._path / UNFINISHED).unlink()

    def close(self) -> None:
        """Let another process go on."""
        if self._record is not None:
            self._record.close()

    @property
    def images(self) -> int:
        """In complete pieces."""
        return sum(self._pieces[number].count for number in self._done)

    @property
    def bytes(self) -> int:
        """In complete pieces."""
        return sum(size for size, _ in self._done.values())

    def _intact(self, recorded: Mapping[int, tuple[int, str]], progress: Progress) -> dict[int, tuple[int, str]]:
        numbers = [number for number in recorded if number < len(self._pieces)]
        found = {}
        for place in progress(range(len(numbers)), len(numbers), f"checking what {self._path} holds"):
            number = numbers[place]
            if self._layout.digest(self._path, self._pieces[number]) == recorded[number]:
                found[number] = recorded[number]
        return found

    def _compare(self, begun: Mapping[str, Any]) -> None:
        difference = _difference(begun, self._told)
        if difference is not None:
            raise ConfigError(
                f"{self._path} was begun {difference}; repeat the command that it was begun with, or choose another "
                "--out"
            )

    def _lines(self) -> list[dict[str, Any]]:
        """The record's lines; one without its end was being written when the process was killed."""
        assert self._record is not None, "opened"
        self._record.seek(0)
        place = self._path / UNFINISHED
        try:
            lines = [json.loads(line) for line in self._record if line.endswith("\n")]
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{place} is damaged ({error}); delete the folder, or choose another --out") from error
        for number, line in enumerate(lines):
            if number or line.get("format_version") == SET_VERSION:
                require(NumberedRecord if number else SetHead, line, place)
        return lines

    def _note(self, number: int) -> None:
        size, digest = self._done[number]
        self._write({"piece": number, "bytes": size, "sha256": digest})

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self._record is not None, "opened"
        self._record.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._record.flush()


def _difference(begun: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """How a set that was begun differs from the one that is asked for, in words; None if it does not."""
    if begun.get("format_version") != now["format_version"]:
        return "by another version of ctfgan"
    if begun["model"]["sha256"] != now["model"]["sha256"]:
        return f"with another model (recipe {begun['model']['recipe']})"
    for name in ("format", "seed"):
        if begun[name] != now[name]:
            return f"with --{name} {begun[name]}, not {now[name]}"
    if begun["low_quality"] != now["low_quality"]:
        return f"with {_lq_words(begun['low_quality'])}, not {_lq_words(now['low_quality'])}"
    before, after = begun["classes"], now["classes"]
    if [entry["name"] for entry in before] != [entry["name"] for entry in after]:
        return f"for {_of(before)}, not {_of(after)}" if len(before) != len(after) else "for other classes"
    for old, new in zip(before, after, strict=True):
        if old["images"] != new["images"]:
            return f"with {old['images']:,} images of class {old['name']!r}, not {new['images']:,}"
    return None


def _of(classes: list[dict[str, Any]]) -> str:
    return plural(len(classes), "class", "classes")


def _lq_words(low_quality: Mapping[str, Any] | None) -> str:
    if low_quality is None:
        return "the bundle's low-quality images"
    return f"{low_quality['images']:,} own low-quality images (SHA-256 {low_quality['sha256'][:8]})"
