# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Zip archives with reproducible bytes, and safe extraction of them."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["extract_archive", "read_content", "write_archive"]

_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows
_UNIX = 3
_PERMISSIONS = 0o644


def read_content(content: bytes | Path) -> bytes:
    """Return contents that are given, or those of a file."""
    return content if isinstance(content, bytes) else content.read_bytes()


def write_archive(files: Mapping[str, bytes | Path], path: str | os.PathLike, top: str) -> None:
    """Write ``files`` into a zip archive whose bytes depend on their names and contents alone.

    Entries are sorted, with one time and one set of permissions. They are stored, not compressed: what a compressor
    makes of the same bytes differs between versions of zlib, and weights hardly become smaller.

    Args:
        files: contents, or files to read them from, by path within the archive, separated by ``/``.
        path: the archive, which is replaced.
        top: the folder that all are in.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{top}/{name}", _TIME)
            entry.create_system = _UNIX
            entry.external_attr = (stat.S_IFREG | _PERMISSIONS) << 16
            archive.writestr(entry, read_content(files[name]))


def extract_archive(archive: str | os.PathLike, folder: str | os.PathLike, top: str) -> Path:
    """Unzip ``archive``, all of which must be in the folder ``top``, below ``folder``; return ``folder/top``.

    Raises:
        ValueError: when it is no zip archive or is damaged, or an entry would be written elsewhere, is there twice, or
            is a link. Nothing is written then.
    """
    target = Path(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            _check_entries(entries, Path(archive), top)
            if damaged := opened.testzip():
                raise ValueError(f"{archive} is damaged: '{damaged}' does not have its checksum.")
            for entry in entries:
                path = target / entry.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as source, path.open("wb") as output:
                    shutil.copyfileobj(source, output)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive} cannot be read as a zip archive ({error}).") from error
    return target / top


def _check_entries(entries: list[zipfile.ZipInfo], archive: Path, top: str) -> None:
    seen = set()
    for entry in entries:
        name = entry.filename
        if "\\" in name or posixpath.normpath(name) != name or name.split("/")[0] != top:
            raise ValueError(f"{archive} has the entry '{name}', which is not a file in the folder {top}.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ValueError(f"{archive} has the entry '{name}', which is a link.")
        if name.lower() in seen:
            raise ValueError(f"{archive} has the entry '{name}' twice.")
        seen.add(name.lower())
    if not entries:
        raise ValueError(f"{archive} is empty.")
