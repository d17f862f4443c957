"""Bundles on the Hugging Face Hub: from a name to a folder on this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ctfgan.core.errors import BundleError, ConfigError, library
from ctfgan.core.text import excerpt
from ctfgan.data.settings import HUB

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def fetch_bundle(
    name: str,
    files: Sequence[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """The folder of a repository's files in the Hub's cache on this machine; what is missing there is downloaded.

    Args:
        name: ``owner/name``.
        files: which of its files; nothing else is fetched.
        revision: a branch, a tag or a commit; None for the newest.
        token: of a private repository; None takes what ``hf auth login`` stored.
        cache_dir: another cache than the Hub's own.
        local_files_only: never ask the network.
        force_download: even what is there already.

    Raises:
        ConfigError: no name of a repository, or the library huggingface_hub is not installed.
        BundleError: no such repository or revision, no right to it, or no connection.
    """
    if not REPOSITORY.fullmatch(name):
        raise ConfigError(f"{name!r} is no repository of the Hub; write owner/name")
    download = library("huggingface_hub", f"{HUB}{name}").snapshot_download
    at = f"{HUB}{name}" + (f"@{revision}" if revision else "")
    try:
        folder = download(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
            allow_patterns=list(files),
        )
    except Exception as error:  # the library passes on whatever the network, the disk and the Hub raise
        raise BundleError(
            f"{at} cannot be fetched ({excerpt(error)}); check the name, the connection and your token"
        ) from error
    return Path(folder)


def split_revision(location: str) -> tuple[str, str | None]:
    """``hf:owner/name@revision`` as name and revision; None without one."""
    name, _, revision = location.removeprefix(HUB).partition("@")
    return name, revision or None
