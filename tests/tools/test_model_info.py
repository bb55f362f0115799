# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The list of versions, and what MONAI makes of it."""

from __future__ import annotations

import hashlib
import json

import pytest
from monai.bundle import get_bundle_info, get_bundle_versions

from tools.model_info import read_model_info, update_model_info, write_model_info

SOURCE = "https://example.org/owner/project/releases/download/v0.10.0/"


@pytest.fixture
def archive(tmp_path):
    """A file to be listed."""
    path = tmp_path / "a.zip"
    path.write_bytes(b"archive")
    return path


def test_entry(archive, tmp_path) -> None:
    path = tmp_path / "models" / "model_info.json"
    info = update_model_info(read_model_info(path), {"a_b_v0.10.0": archive}, SOURCE, path, False)
    write_model_info(info, path)
    entry = {"checksum": hashlib.sha1(b"archive").hexdigest(), "source": SOURCE + "a_b_v0.10.0.zip"}
    assert json.loads(path.read_text()) == {"a_b_v0.10.0": entry}
    assert read_model_info(path) == info


def test_other_versions_of_the_bundle_are_replaced(archive, tmp_path, monkeypatch) -> None:
    path = tmp_path / "model_info.json"
    other = {"checksum": "0", "source": "https://example.org/b.zip"}
    # As text, 0.9.0 is later than 0.10.0; a_b_v is not another version of a.
    before = {"a_v0.9.0": other, "a_b_v0.9.0": other}
    info = update_model_info(before, {"a_v0.10.0": archive}, SOURCE, path, False)
    assert list(info) == ["a_b_v0.9.0", "a_v0.10.0"]

    class Response:
        text = json.dumps(info)

        def raise_for_status(self) -> None:
            """Is good."""

    monkeypatch.setattr("monai.bundle.scripts.requests.get", lambda url: Response())
    assert get_bundle_versions("a", "owner/project", "v0.10.0")["latest_version"] == "0.10.0"
    assert get_bundle_info("a", repo="owner/project", tag="v0.10.0")["browser_download_url"] == SOURCE + "a_v0.10.0.zip"


def test_published_version_does_not_change_silently(archive, tmp_path) -> None:
    path = tmp_path / "model_info.json"
    archives = {"a_v0.1.0": archive}
    info = update_model_info({}, archives, SOURCE, path, False)
    assert update_model_info(info, archives, SOURCE, path, False) == info
    archive.write_bytes(b"other")
    with pytest.raises(FileExistsError, match=r"model_info\.json lists a_v0\.1\.0 with another checksum"):
        update_model_info(info, archives, SOURCE, path, False)
    assert update_model_info(info, archives, SOURCE, path, True) != info


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[]", "not a list of releases"), ('{"a": 1}', "not")]
)
def test_file_of_another_kind(tmp_path, text, message) -> None:
    (tmp_path / "model_info.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_model_info(tmp_path / "model_info.json")
