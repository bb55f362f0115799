# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Finding a bundle's folder from any working directory."""

from __future__ import annotations

import json
import sys

import pytest

from seq2seq_mri.bundle import explain_errors, find_bundle_root


@pytest.fixture
def make_bundle(tmp_path):
    def make(where: str, content: str = json.dumps({"name": "mine"})) -> str:
        folder = tmp_path / where
        (folder / "configs").mkdir(parents=True)
        (folder / "configs" / "metadata.json").write_text(content)
        return str(folder)

    return make


@pytest.mark.parametrize("content", ["{not JSON", "[]", '"mine"', "{}", ""])
def test_in_or_below_the_working_directory(make_bundle, tmp_path, monkeypatch, content) -> None:
    """Metadata of something else are passed over."""
    make_bundle("foreign", content)
    folder = make_bundle("foreign/bundles/mine")
    for directory in (tmp_path / "foreign", folder):
        monkeypatch.chdir(directory)
        assert find_bundle_root("mine") == folder
    with pytest.raises(FileNotFoundError, match="The bundle nothing was not found; give its folder by --bundle_root"):
        find_bundle_root("nothing")


def test_on_the_search_path(make_bundle, tmp_path, monkeypatch) -> None:
    """``monai.bundle run`` puts the bundle that it runs there."""
    folder = make_bundle("elsewhere/mine")
    other = make_bundle("elsewhere/other", json.dumps({"name": "other"}))
    make_bundle("checkout/bundles/mine")  # another copy, which is not run
    monkeypatch.chdir(tmp_path / "checkout")
    monkeypatch.setattr(sys, "path", [other, "", folder, *sys.path])
    assert find_bundle_root("mine") == folder


def test_the_error_that_matters_is_printed_last(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    explain_errors()
    wrapped = RuntimeError("Failed to instantiate component 'monai.handlers.StatsHandler'")
    wrapped.__cause__ = RuntimeError("Failed to evaluate ConfigExpression")
    wrapped.__cause__.__cause__ = ValueError("Subject 'p1': image.nii.gz does not exist")
    sys.excepthook(RuntimeError, wrapped, None)
    assert capsys.readouterr().err.splitlines()[-1] == "Error: Subject 'p1': image.nii.gz does not exist"
    # One that is not wrapped is printed once.
    sys.excepthook(ValueError, ValueError("a mistake"), None)
    assert capsys.readouterr().err.splitlines() == ["ValueError: a mistake"]
