# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Zip archives: equal bytes, and names that lead elsewhere."""

from __future__ import annotations

import os
import stat
import zipfile

import pytest

from tools.archive import extract_archive, write_archive


def test_bytes_depend_on_names_and_contents_alone(tmp_path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"\x00" * 1000)
    write_archive({"b/c.txt": b"text", "a": file}, tmp_path / "first.zip", "top")
    file.chmod(0o600)
    os.utime(file, (1, 1))
    write_archive({"a": file, "b/c.txt": b"text"}, tmp_path / "second.zip", "top")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    write_archive({"a": file, "b/c.txt": b"tExt"}, tmp_path / "third.zip", "top")
    assert (tmp_path / "first.zip").read_bytes() != (tmp_path / "third.zip").read_bytes()


def test_entries_are_sorted_plain_files(tmp_path) -> None:
    write_archive({"b": b"2", "a": b"1", "B/a": b"3"}, tmp_path / "a.zip", "top")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["top/B/a", "top/a", "top/b"]
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.external_attr >> 16 == stat.S_IFREG | 0o644


def test_what_was_written_is_extracted(tmp_path) -> None:
    write_archive({"a": b"1", "b/c": b"2"}, tmp_path / "a.zip", "top")
    folder = extract_archive(tmp_path / "a.zip", tmp_path / "out", "top")
    assert folder == tmp_path / "out" / "top"
    assert (folder / "a").read_bytes() == b"1"
    assert (folder / "b" / "c").read_bytes() == b"2"


@pytest.mark.parametrize(
    "name", ["../a", "top/../../a", "/etc/a", "other/a", "a", "top\\..\\..\\a", "top/./a", "top//a", "top/../top/a"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("top/first", b"1")
        entry = zipfile.ZipInfo("top")
        entry.filename = name
        archive.writestr(entry, b"2")
    with pytest.raises(ValueError, match="not a file in the folder top"):
        extract_archive(tmp_path / "a.zip", tmp_path / "out", "top")
    assert not (tmp_path / "out").exists()


def test_links_and_duplicates_are_refused(tmp_path) -> None:
    link = zipfile.ZipInfo("top/link")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match=r"'top/link', which is a link"):
        extract_archive(tmp_path / "link.zip", tmp_path / "out", "top")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("top/a", "1")
        archive.writestr("top/A", "2")
    with pytest.raises(ValueError, match=r"'top/A' twice"):
        extract_archive(tmp_path / "twice.zip", tmp_path / "out", "top")


def test_damage_is_found(tmp_path) -> None:
    write_archive({"a": b"contents"}, tmp_path / "a.zip", "top")
    path = tmp_path / "a.zip"
    path.write_bytes(path.read_bytes().replace(b"contents", b"cOntents"))
    with pytest.raises(ValueError, match=r"a\.zip is damaged: 'top/a'"):
        extract_archive(path, tmp_path / "out", "top")
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="cannot be read as a zip archive"):
        extract_archive(path, tmp_path / "out", "top")
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(ValueError, match="is empty"):
        extract_archive(path, tmp_path / "out", "top")
