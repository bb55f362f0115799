# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The lists of releases and of large files, and what MONAI makes of them."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import pytest
from monai.bundle import download_large_files, get_bundle_info, get_bundle_versions

from tools.downloads import model_zoo_form, read_model_info, update_model_info

SOURCE = "https://example.org/owner/project/releases/download/v0.10.0/"


@pytest.fixture
def archive(tmp_path):
    """A file to be listed."""
    path = tmp_path / "a.zip"
    path.write_bytes(b"archive")
    return path


def test_other_versions_of_the_bundle_are_replaced(archive, tmp_path, monkeypatch) -> None:
    path = tmp_path / "model_info.json"
    assert read_model_info(path) == {}
    other = {"checksum": "0", "source": "https://example.org/b.zip"}
    # As text, 0.9.0 is later than 0.10.0; a_b_v is not another version of a.
    path.write_text(json.dumps({"a_v0.9.0": other, "a_b_v0.9.0": other}))
    info = update_model_info(read_model_info(path), {"a_v0.10.0": archive}, SOURCE, path, False)
    entry = {"checksum": hashlib.sha1(b"archive").hexdigest(), "source": SOURCE + "a_v0.10.0.zip"}
    assert info == {"a_b_v0.9.0": other, "a_v0.10.0": entry}

    response = SimpleNamespace(text=json.dumps(info), raise_for_status=lambda: None)
    monkeypatch.setattr("monai.bundle.scripts.requests.get", lambda url: response)
    assert get_bundle_versions("a", "owner/project", "v0.10.0")["latest_version"] == "0.10.0"
    assert get_bundle_info("a", repo="owner/project", tag="v0.10.0")["browser_download_url"] == entry["source"]


def test_published_version_does_not_change_silently(archive, tmp_path) -> None:
    path = tmp_path / "model_info.json"
    archives = {"a_v0.1.0": archive}
    info = update_model_info({}, archives, SOURCE, path, False)
    assert update_model_info(info, archives, SOURCE, path, False) == info
    archive.write_bytes(b"other")
    with pytest.raises(FileExistsError, match=r"model_info\.json lists a_v0\.1\.0 with another checksum"):
        update_model_info(info, archives, SOURCE, path, False)
    assert update_model_info(info, archives, SOURCE, path, True) != info


def test_file_of_another_kind(tmp_path) -> None:
    path = tmp_path / "model_info.json"
    for text, message in (("{", "is not JSON"), ("[]", "not a list of releases"), ('{"a": 1}', "not a list")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_model_info(path)


def test_large_files_are_downloaded_again(tmp_path, serve) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights!" * 5)
    (tmp_path / "LICENSE").write_bytes(b"licence")
    files = {"models/model.pt": tmp_path / "model.pt", "LICENSE": tmp_path / "LICENSE", "docs/README.md": b"text" * 20}
    assert model_zoo_form(files, "a_v0.1.0", None) == (files, {})
    with pytest.raises(ValueError, match=r"models/model\.pt has 0\.0 MB, too much .* by --source"):
        model_zoo_form(files, "a_v0.1.0", None, limit=30)

    address = serve(tmp_path / "uploaded")
    kept, downloads = model_zoo_form(files, "a_v0.1.0", address, limit=30)
    assert set(kept) == {"LICENSE", "docs/README.md", "large_files.yml"}
    assert downloads == {"a_v0.1.0_model.pt": tmp_path / "model.pt"}
    bundle = tmp_path / "a"
    (bundle / "models").mkdir(parents=True)
    (bundle / "large_files.yml").write_bytes(kept["large_files.yml"])
    (tmp_path / "uploaded").mkdir()
    for name, path in downloads.items():
        (tmp_path / "uploaded" / name).write_bytes(path.read_bytes())
    download_large_files(str(bundle))
    assert (bundle / "models" / "model.pt").read_bytes() == b"weights!" * 5
