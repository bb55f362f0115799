# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Zip archives with reproducible bytes, and safe extraction of them."""

from __future__ import annotations

import os
import posixpath
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["extract_archive", "read_content", "write_archive"]

_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows
_UNIX = 3
_PERMISSIONS = 0o644
_LOCAL_HEADER = 30  # bytes before an entry's name and content


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
    """Unzip what ``write_archive`` wrote, all of it in the folder ``top``, below ``folder``; return ``folder/top``.

    Raises:
        ValueError: when it is no such archive or is damaged, or an entry would be written elsewhere, is there twice, or
            is a link. Nothing is written then.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = sorted(opened.infolist(), key=lambda entry: entry.header_offset)
            if not _is_gapless(entries, opened.start_dir):
                raise ValueError("entries are missing from its directory")
            contents = {entry.filename: opened.read(entry) for entry in entries}  # compares each with its checksum
    except FileNotFoundError:
        raise
    except Exception as error:  # of a damaged archive zipfile raises nearly anything
        raise ValueError(f"{archive} cannot be read as a zip archive ({error}); download it again.") from error
    _check_entries(entries, Path(archive), top)
    for name, content in contents.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Path(folder, top)


def _is_gapless(entries: list[zipfile.ZipInfo], end: int) -> bool:
    """Return whether entries as ``write_archive`` writes them follow each other from the beginning to the directory."""
    position = 0
    for entry in entries:
        if entry.header_offset != position:
            return False
        position += _LOCAL_HEADER + len(entry.filename.encode()) + entry.compress_size
    return position == end


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
