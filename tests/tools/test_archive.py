# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Zip archives: equal bytes, and names that lead elsewhere."""

from __future__ import annotations

import os
import stat
import zipfile

import pytest
from folder_contents import folder_contents

from tools.archive import extract_archive, write_archive


def test_bytes_depend_on_names_and_contents_alone(tmp_path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"\x00" * 1000)
    write_archive({"b/c.txt": b"text", "B/a": b"3", "a": file}, tmp_path / "first.zip", "top")
    file.chmod(0o600)
    os.utime(file, (1, 1))
    write_archive({"a": file, "b/c.txt": b"text", "B/a": b"3"}, tmp_path / "second.zip", "top")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "first.zip") as archive:
        assert archive.namelist() == ["top/B/a", "top/a", "top/b/c.txt"]
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.external_attr >> 16 == stat.S_IFREG | 0o644
    folder = extract_archive(tmp_path / "first.zip", tmp_path / "out", "top")
    assert folder == tmp_path / "out" / "top"
    assert folder_contents(folder) == {"B/a": b"3", "a": file.read_bytes(), "b/c.txt": b"text"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *((name, "not a file in the folder top") for name in ("../a", "top/../../a", "/etc/a", "other/a", "a")),
        *((name, "not a file in the folder top") for name in ("top\\..\\..\\a", "top/./a", "top//a", "top/../top/a")),
        ("top/FIRST", "'top/FIRST' twice"),
        ("top/link", "'top/link', which is a link"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name, message) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("top/first", b"1")
        entry = zipfile.ZipInfo("top")
        entry.filename = name
        entry.create_system = 3
        entry.external_attr = ((stat.S_IFLNK if name == "top/link" else stat.S_IFREG) | 0o644) << 16
        archive.writestr(entry, b"/etc/passwd")
    with pytest.raises(ValueError, match=message):
        extract_archive(tmp_path / "a.zip", tmp_path / "out", "top")
    assert not (tmp_path / "out").exists()


def test_damage_is_found(tmp_path) -> None:
    path = tmp_path / "a.zip"
    write_archive({"a": b"contents"}, path, "top")
    path.write_bytes(path.read_bytes().replace(b"contents", b"cOntents"))
    with pytest.raises(ValueError, match=r"a\.zip cannot be read as a zip archive .*CRC-32 for file 'top/a'"):
        extract_archive(path, tmp_path / "out", "top")
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="cannot be read as a zip archive"):
        extract_archive(path, tmp_path / "out", "top")
    write_archive({}, path, "top")
    with pytest.raises(ValueError, match="is empty"):
        extract_archive(path, tmp_path / "out", "top")
