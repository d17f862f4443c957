"""What lies among people's images and is nobody's data: what systems and programs leave behind."""

from __future__ import annotations

_NAMES = frozenset(
    name.casefold()
    for name in (
        # of NAS and file servers
        "@eaDir", "@tmp", "#recycle", "#snapshot", "@Recycle", "@Recently-TrainState", "lost+found",
        # of macOS (all others begin with a dot)
        "__MACOSX", "Network Trash Folder", "Temporary Items", "Icon\r",
        # of Windows
        "$RECYCLE.BIN", "System Volume Information", "found.000", "Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db",
        "desktop.ini",
        # of programs
        "__pycache__",
    )
)  # fmt: skip
_WINDOWS_ORIGIN = ":zone.identifier"
"""How the name of a file ends in which Windows notes where a download comes from, once it is copied elsewhere."""
RESOURCE_FORK = "._"
"""How macOS calls what it knows of ``x.png`` on a foreign disk: ``._x.png`` is no image, whatever its suffix says."""


def is_stray(name: str) -> bool:
    """Whether a file or folder of this name is nobody's data: hidden, or of a known name in any case."""
    folded = name.casefold()
    return name.startswith(".") or folded in _NAMES or folded.endswith(_WINDOWS_ORIGIN)


def stray_part(path: str) -> str | None:
    """The outermost name of a path with ``/`` that makes it nobody's data; None if it is somebody's."""
    return next((name for name in path.split("/") if is_stray(name)), None)
