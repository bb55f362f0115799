# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from seq2seq_mri.files import atomic_path, check_writable_directory, lock_directory, unlock_directory


@pytest.mark.parametrize(
    ("name", "ending"),
    [("image.nii.gz", ".nii.gz"), ("sub-1.5_t1.nii.gz", ".nii.gz"), ("version1.2.png", ".png"), ("noending", "")],
)
def test_writes_and_makes_folders(tmp_path, name, ending) -> None:
    path = tmp_path / "a" / "b" / name
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(f".partial{ending}")
        assert not path.exists()
        temporary.write_text("content")
    assert path.read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


def test_refuses_to_overwrite_unasked(tmp_path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("before")
    with pytest.raises(FileExistsError, match=r"table\.csv exists; remove it"), atomic_path(path):
        pytest.fail("the block must not be entered")
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("after")
    assert path.read_text() == "after"


@pytest.mark.parametrize("moment", ["in the block", "when renaming"])
def test_full_disc_names_the_file_and_leaves_what_was_there(tmp_path, monkeypatch, moment) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "image.nii.gz"
    if moment == "when renaming":
        monkeypatch.setattr(os, "replace", full)
    path.write_text("before")
    with pytest.raises(OSError, match=f"cannot write {path}: No space left on device") as caught:  # noqa: PT012, SIM117
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_text("half")
            if moment == "in the block":
                full()
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "before"


def test_folder_below_a_file_cannot_be_made(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "table.csv"
    with pytest.raises(OSError, match=f"cannot write {path}: "), atomic_path(path):
        pytest.fail("the block must not be entered")
    for folder in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(ValueError, match=f"The output directory {folder} cannot be written: "):
            check_writable_directory(folder)


def test_writable_directory_is_made_and_stays_empty(tmp_path) -> None:
    for _ in range(2):
        assert check_writable_directory(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert not list((tmp_path / "a" / "b").iterdir())


def test_permissions_follow_the_umask_which_threads_do_not_change(tmp_path) -> None:
    def write(number: int) -> None:
        with atomic_path(tmp_path / str(number) / "table.csv") as temporary:
            temporary.write_text("content")

    before = os.umask(0o027)
    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(write, range(500)))
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*/table.csv")} == {0o640}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o750}


def test_a_folder_is_locked_until_the_job_ends_however_it_ends(tmp_path, another_job) -> None:
    job = another_job(tmp_path / "output")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Another job is writing into .*output; wait until it has ended, or give"):
            lock_directory(tmp_path / "output")
    job.kill()
    job.wait()
    lock_directory(tmp_path / "output")
    lock_directory(tmp_path / "output")  # one's own lock is in nobody's way
    assert list((tmp_path / "output").iterdir()) == []
    unlock_directory(tmp_path / "output")
    unlock_directory(tmp_path / "output")
    another_job(tmp_path / "output")


def test_folders_without_locks_are_used_all_the_same(tmp_path, monkeypatch) -> None:
    def unknown(*args: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr("fcntl.flock", unknown)
    lock_directory(tmp_path)
    unlock_directory(tmp_path)
