# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest

from seq2seq_mri.data.map_file import MapFile

ORIGIN = {"generator": "abc", "size": (7, 2)}
SHAPE = (7, 3, 2)
VALUES = np.random.default_rng(0).random(SHAPE, dtype=np.float32)


def map_file(folder: Path, origin=ORIGIN, shape=SHAPE, dtype="float32", **options) -> MapFile:
    return MapFile(folder, shape, dtype, origin, **options)


def write(folder: Path, rows: int = 7, finish: bool = True, **options) -> MapFile:
    file = map_file(folder, **options)
    file.append(VALUES[file.rows_written() : rows])
    if finish:
        file.finish()
    return file


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_round_trip(tmp_path, dtype):
    file = map_file(tmp_path / "new" / "folder", dtype=dtype)
    assert not file.is_finished
    assert file.rows_written() == 0
    for start in (0, 3, 6):
        file.append(VALUES[start : start + 3])
        assert not file.is_finished
    file.finish()
    assert sorted(path.name for path in file.folder.iterdir()) == ["maps.json", "maps.npy"]
    again = map_file(file.folder, dtype=dtype)
    assert again.is_finished
    array = again.read()
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, VALUES.astype(dtype))
    np.testing.assert_array_equal(np.load(file.folder / "maps.npy"), array)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0
    assert json.loads((file.folder / "maps.json").read_text())["generator"] == "abc"


@pytest.mark.parametrize("cut", [0, 1, 17, 24, 25, 72])
def test_goes_on_after_the_last_whole_row(tmp_path, cut):
    write(tmp_path, rows=4, finish=False)
    unfinished = tmp_path / "unfinished.npy"
    with unfinished.open("r+b") as file:
        file.truncate(unfinished.stat().st_size - cut)
    file = map_file(tmp_path)
    assert file.rows_written() == 4 - -(-cut // 24)
    np.testing.assert_array_equal(write(tmp_path).read(), VALUES)


@pytest.mark.parametrize("content", [b"", b"\x93NUM", b"x" * 400])
def test_begins_again_when_the_header_is_damaged(tmp_path, content):
    write(tmp_path, rows=4, finish=False)
    (tmp_path / "unfinished.npy").write_bytes(content)
    assert map_file(tmp_path).rows_written() == 0
    np.testing.assert_array_equal(write(tmp_path).read(), VALUES)


@pytest.mark.parametrize("moved", [0, 1])
def test_an_interruption_at_the_very_end_loses_nothing(tmp_path, moved):
    """Before the description has its final name, or before the array has it."""
    file = write(tmp_path, finish=False)
    replace, calls = os.replace, iter(range(2))

    def interrupted(source, target) -> None:
        if next(calls) == moved:
            raise KeyboardInterrupt
        replace(source, target)

    with patch("os.replace", interrupted), pytest.raises(KeyboardInterrupt):
        file.finish()
    file = map_file(tmp_path)
    assert not file.is_finished
    assert file.rows_written() == 7
    file.finish()
    np.testing.assert_array_equal(file.read(), VALUES)


@pytest.mark.parametrize("finish", [True, False])
@pytest.mark.parametrize(
    ("changed", "different"),
    [
        ({"origin": {**ORIGIN, "generator": "abd"}}, "generator"),
        ({"origin": {"size": (7, 2)}}, "generator"),
        ({"origin": {**ORIGIN, "more": 1}}, "more"),
        ({"shape": (8, 3, 2)}, "shape"),
        ({"dtype": "float16"}, "dtype"),
    ],
)
def test_another_origin_is_refused_or_replaced(tmp_path, changed, different, finish):
    write(tmp_path, rows=7, finish=finish)
    with pytest.raises(ValueError, match=rf"made from something else \(different: {different}\)"):
        map_file(tmp_path, **changed)
    file = map_file(tmp_path, **changed, overwrite=True)
    assert not file.is_finished
    assert file.rows_written() == 0
    assert not (tmp_path / "maps.npy").exists()


@pytest.mark.parametrize("description", ["", "[]", "{", None])
def test_an_array_without_a_description_is_refused(tmp_path, description):
    write(tmp_path)
    (tmp_path / "maps.json").unlink()
    if description is not None:
        (tmp_path / "maps.json").write_text(description)
    with pytest.raises(ValueError, match="made from something else"):
        map_file(tmp_path)
    np.testing.assert_array_equal(write(tmp_path, overwrite=True).read(), VALUES)


def test_a_damaged_array_is_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "maps.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(ValueError, match=r"maps\.npy cannot be read: .*Remove it"):
        map_file(tmp_path).read()
    np.save(path, VALUES[:2])
    with pytest.raises(ValueError, match=r"maps\.npy is not the array that maps\.json describes"):
        map_file(tmp_path).read()


def test_two_writers_are_noticed(tmp_path):
    file = write(tmp_path, finish=False)
    file.append(VALUES[:1])
    with pytest.raises(ValueError, match="has not the size of 7 rows; does another process write to it"):
        file.finish()
    assert not file.is_finished


def test_the_room_on_the_disc_is_asked_for(tmp_path):
    with (
        patch("shutil.disk_usage", return_value=SimpleNamespace(free=100)),
        pytest.raises(ValueError, match="MiB of free space"),
    ):
        map_file(tmp_path).rows_written()


def test_a_full_disc_names_the_file(tmp_path):
    file = map_file(tmp_path)
    file.rows_written()
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        patch.object(Path, "open", side_effect=full),
        pytest.raises(OSError, match=r"cannot write .*unfinished\.npy: No space left"),
    ):
        file.append(VALUES)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        map_file(tmp_path / "file")
