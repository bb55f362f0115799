# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Writes files so that a reader never sees half of one, and nothing is overwritten silently."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_path", "check_writable_directory", "lock_directory", "unlock_directory"]

# The folders that this process has locked, each with what keeps the lock.
_locked: dict[Path, int] = {}


@contextmanager
def atomic_path(path: str | os.PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to, and move it onto ``path`` when the block ends well.

    The temporary name keeps the ending of ``path`` (``.nii.gz``, ``.csv``), by which writers choose their format.
    Missing folders are made. When the block raises, the temporary file is removed and ``path`` is untouched.

    Args:
        path: the file to write.
        overwrite: whether an existing ``path`` may be replaced.

    Raises:
        FileExistsError: when ``path`` exists and ``overwrite`` is false.
        OSError: when the folder cannot be made or written, or the disc is full; the message names ``path``.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; remove it, choose another output directory, or allow overwriting.")
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Opened by hand, so that the system applies the umask, which tempfile does not and which a thread cannot read
        # without setting it for all of them.
        unique = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial{suffix}")
        os.close(os.open(unique, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary = unique
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"cannot write {path}: {reason}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_writable_directory(path: str | os.PathLike) -> Path:
    """Make ``path`` if it is absent, and check that files can be written there.

    Raises:
        ValueError: when it is not a directory, or cannot be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(f"The output directory {path} cannot be written: {reason}. Choose another one.") from error
    return path


def lock_directory(path: str | os.PathLike) -> None:
    """Keep other processes that ask for it out of a folder, until ``unlock_directory`` or the end of this process.

    The lock is the system's, on the folder itself: it leaves no file, and none of it is left of a process that was
    killed. Where a file system knows no locks, nothing is kept out. A second lock by the same process changes nothing.

    Raises:
        ValueError: when another process has locked it.
    """
    folder = check_writable_directory(path).resolve()
    if folder in _locked:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            os.close(descriptor)
            raise ValueError(
                f"Another job is writing into {folder}; wait until it has ended, or give another --output_dir."
            ) from error
    _locked[folder] = descriptor


def unlock_directory(path: str | os.PathLike) -> None:
    """Let others into a folder again; one that is not locked stays as it is."""
    descriptor = _locked.pop(Path(path).resolve(), None)
    if descriptor is not None:
        os.close(descriptor)
