# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Files that are too large for the model zoo's repository."""

from __future__ import annotations

import pytest
import yaml
from monai.bundle import download_large_files

from tools.large_files import model_zoo_form


@pytest.fixture
def files(tmp_path):
    """A bundle's files, one of 40 bytes."""
    (tmp_path / "model.pt").write_bytes(b"weights!" * 5)
    (tmp_path / "LICENSE").write_bytes(b"licence")
    return {"models/model.pt": tmp_path / "model.pt", "LICENSE": tmp_path / "LICENSE", "docs/README.md": b"text" * 20}


def test_small_files_stay(files) -> None:
    assert model_zoo_form(files, "a_v0.1.0", None) == (files, {})


def test_large_files_are_downloaded_again(files, tmp_path, serve) -> None:
    address = serve(tmp_path / "uploaded")
    kept, downloads = model_zoo_form(files, "a_v0.1.0", address, limit=30)
    assert set(kept) == {"LICENSE", "docs/README.md", "large_files.yml"}
    assert downloads == {"a_v0.1.0_model.pt": tmp_path / "model.pt"}
    (entry,) = yaml.safe_load(kept["large_files.yml"])["large_files"]
    assert entry["hash_type"] == "sha256"
    bundle = tmp_path / "a"
    (bundle / "models").mkdir(parents=True)
    (bundle / "large_files.yml").write_bytes(kept["large_files.yml"])
    (tmp_path / "uploaded").mkdir()
    for name, path in downloads.items():
        (tmp_path / "uploaded" / name).write_bytes(path.read_bytes())
    download_large_files(str(bundle))
    assert (bundle / "models" / "model.pt").read_bytes() == b"weights!" * 5


def test_address_is_needed(files) -> None:
    with pytest.raises(ValueError, match=r"models/model\.pt has 0\.0 MB, too much .* by --source"):
        model_zoo_form(files, "a_v0.1.0", None, limit=30)
