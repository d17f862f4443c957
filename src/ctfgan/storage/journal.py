"""The journal of a run: what happened, one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctfgan.core.errors import RunError
from ctfgan.core.files import flush
from ctfgan.core.text import json_bytes

Listener = Callable[[Mapping[str, Any]], None]
"""Is told every line of a journal after it was written."""


class Journal:
    """``journal.jsonl``: one JSON object per line, appended as things happen."""

    def __init__(self, path: Path, listeners: Sequence[Listener] = ()) -> None:
        self._path = path
        self._listeners = listeners

    def write(self, event: str, **content: Any) -> None:
        """Append one line, whole or not at all, then tell it to the listeners.

        Raises:
            RunError: the disk is full or not writable.
        """
        line = {"event": event, **content}
        self._append(line)
        for listener in self._listeners:
            listener(line)

    def _append(self, line: Mapping[str, Any]) -> None:
        size = self.size()
        try:
            with self._path.open("ab") as file:
                file.write(json_bytes(line, indent=None) + b"\n")
        except OSError as error:
            self.truncate(size)  # the part of the line that found room
            raise RunError(f"{self._path} cannot be written ({error}); free some space, then resume the run") from error

    def keep(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Append lines that were there before; no listener hears them twice.

        Raises:
            RunError: the disk is full or not writable.
        """
        for line in lines:
            self._append(line)

    def size(self) -> int:
        """Bytes written so far."""
        return self._path.stat().st_size if self._path.exists() else 0

    def flush(self) -> None:
        """Wait until all lines are on the disk itself; a checkpoint relies on those before it."""
        if self._path.exists():
            flush(self._path)

    def truncate(self, size: int) -> None:
        """Forget what was written after a checkpoint that the run goes back to."""
        if self.size() > size:
            with self._path.open("r+b") as file:
                file.truncate(size)

    def read(self, event: str | None = None) -> list[dict[str, Any]]:
        """All lines, or those of one event.

        Raises:
            RunError: a line is damaged.
        """
        if not self._path.exists():
            return []
        try:
            # A line without its end was being written when the run was killed.
            complete = [line for line in self._path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
            lines = [json.loads(line) for line in complete]
            return [line for line in lines if event is None or line["event"] == event]
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self._path} is damaged ({error}); restore it, or delete the line") from error

    def readable(self) -> tuple[list[dict[str, Any]], int]:
        """The lines that can be read, and how many cannot: for those who tell what happened and go on with nothing."""
        if not self._path.exists():
            return [], 0
        complete = [line for line in self._path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        found = []
        for line in complete:
            try:
                content = json.loads(line)
            except ValueError:  # no JSON, or no UTF-8
                continue
            if isinstance(content, dict) and isinstance(content.get("event"), str):
                found.append(content)
        return found, len(complete) - len(found)
