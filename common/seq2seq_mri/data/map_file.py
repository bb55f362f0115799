# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A large array on disk that is computed part by part, and knows what it was computed from."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq_mri.files import atomic_path, check_writable_directory

__all__ = ["MapFile"]


class MapFile:
    """An array in ``FOLDER/maps.npy``, described in ``maps.json``; both appear only when the array is complete.

    Until then rows are appended to ``unfinished.npy``, so that an interrupted computation can go on after the last
    whole row.

    Args:
        folder: where the files are; made when absent.
        shape: of the array; the first axis counts its rows.
        dtype: name of the type of its values.
        origin: what the array is computed from, to be written as JSON.
        overwrite: whether an array of another origin, shape or type is removed, or refused.

    Raises:
        ValueError: when the folder has such an array and ``overwrite`` is false, or it cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        shape: tuple[int, ...],
        dtype: str,
        origin: Mapping[str, Any],
        overwrite: bool = False,
    ) -> None:
        self.folder = check_writable_directory(folder)
        self.shape = shape
        self.dtype = np.dtype(dtype)
        # As it is read back: JSON has lists but no tuples.
        self.description = json.loads(json.dumps({**origin, "shape": shape, "dtype": dtype}))
        for name in ("maps", "unfinished"):
            self._remove_other(name, overwrite)

    @property
    def is_finished(self) -> bool:
        """Whether the array is complete."""
        return self._path("maps", "npy").exists()

    def read(self) -> np.ndarray:
        """Return the complete array as a read-only memory map.

        Raises:
            ValueError: when the file is damaged.
        """
        path = self._path("maps", "npy")
        try:
            array = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{path} cannot be read: {error}. Remove it to have it made again.") from error
        if array.shape != self.shape or array.dtype != self.dtype:
            raise ValueError(f"{path} is not the array that maps.json describes; remove it to have it made again.")
        return array

    def rows_written(self) -> int:
        """Return how many rows an earlier run has left, after making the unfinished file ready for the next ones.

        Raises:
            ValueError: when the disc has no room for the rest.
        """
        path = self._path("unfinished", "npy")
        header, size = self._header(), 0
        if path.exists():
            with path.open("rb") as file:
                size = path.stat().st_size if file.read(len(header)) == header else 0
        rows = max(0, size - len(header)) // self._row_size()
        needed = self._size() - size
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise ValueError(
                f"{self.folder} has {free / 2**20:.0f} MiB of free space, but {needed / 2**20:.0f} MiB are needed; "
                "make room, or choose another folder."
            )
        if rows == 0:
            self._write_description("unfinished")
            path.write_bytes(header)
        else:
            # The last row may have been cut off in the middle.
            os.truncate(path, len(header) + rows * self._row_size())
        return rows

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows, ``[n, *shape[1:]]``, converted to the type of the array.

        Raises:
            OSError: when they cannot be written; the message names the file.
        """
        path = self._path("unfinished", "npy")
        try:
            with path.open("ab") as file:
                file.write(np.ascontiguousarray(rows, dtype=self.dtype).tobytes())
        except OSError as error:
            raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error

    def finish(self) -> None:
        """Give the array its final name.

        Raises:
            ValueError: when there are more or fewer rows than the array has.
        """
        path = self._path("unfinished", "npy")
        if path.stat().st_size != self._size():
            raise ValueError(f"{path} has not the size of {self.shape[0]} rows; does another process write to it?")
        # The description first: without one, an array is refused, but one without an array is harmless.
        self._write_description("maps")
        os.replace(path, self._path("maps", "npy"))
        self._path("unfinished", "json").unlink(missing_ok=True)

    def _path(self, name: str, ending: str) -> Path:
        return self.folder / f"{name}.{ending}"

    def _row_size(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def _size(self) -> int:
        return len(self._header()) + self.shape[0] * self._row_size()

    def _header(self) -> bytes:
        buffer = io.BytesIO()
        entries = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(buffer, entries)
        return buffer.getvalue()

    def _write_description(self, name: str) -> None:
        with atomic_path(self._path(name, "json"), overwrite=True) as temporary:
            temporary.write_text(json.dumps(self.description, indent=4) + "\n", encoding="utf-8")

    def _remove_other(self, name: str, overwrite: bool) -> None:
        array, description = self._path(name, "npy"), self._path(name, "json")
        if not array.exists():
            return
        differing = self._differing_entries(description)
        if not differing:
            return
        if not overwrite:
            raise ValueError(
                f"{array} was made from something else (different: {', '.join(differing)}); choose another folder, or "
                "allow overwriting."
            )
        array.unlink()
        description.unlink(missing_ok=True)

    def _differing_entries(self, path: Path) -> list[str]:
        """Return the entries of a description in which it differs from this one; all if it cannot be read."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict):
            return list(self.description)
        return [key for key in {**found, **self.description} if found.get(key) != self.description.get(key)]
