# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Uploads to the Hugging Face Hub, with a stand-in for it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from folder_contents import folder_contents

from tools import hugging_face
from tools.hugging_face import push_to_hf_hub


class Hub:
    """What MONAI and we use of huggingface_hub."""

    class errors:
        class RepositoryNotFoundError(Exception):
            """There is none."""

    def __init__(self) -> None:
        self.tags: list[str] | None = None
        self.calls: list[tuple] = []
        self.uploaded: dict[str, bytes] = {}

    def HfApi(self, token=None):
        return self

    def list_repo_refs(self, repo_id):
        if self.tags is None:
            raise self.errors.RepositoryNotFoundError
        return SimpleNamespace(tags=[SimpleNamespace(name=name) for name in self.tags])

    def create_repo(self, repo_id, private, exist_ok):
        self.calls.append(("repo", repo_id, private))

    def upload_folder(self, repo_id, folder_path):
        self.uploaded = folder_contents(Path(folder_path))
        return f"https://hub.example/{repo_id}"

    def create_tag(self, repo_id, tag, exist_ok):
        self.calls.append(("tag", tag))


@pytest.fixture
def hub(monkeypatch) -> Hub:
    """The stand-in, where MONAI and we look for it."""
    hub = Hub()
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setattr("monai.bundle.scripts.huggingface_hub", hub)
    return hub


@pytest.fixture
def checked(monkeypatch, built) -> list:
    """Lets checks pass; the list has what was checked."""
    calls = []

    def build(repository, names, schema):
        calls.append((names, schema))
        return built(repository, names, schema)

    monkeypatch.setattr(hugging_face, "build_archives", build)
    return calls


@pytest.mark.parametrize(("tags", "latest"), [(None, False), (["0.0.9"], True)])
def test_what_is_uploaded(hub, checked, small_repository, tags, latest) -> None:
    hub.tags = tags
    address = push_to_hf_hub("seq2seq_brats", "owner/name", repository=small_repository, latest=latest, schema="a.json")
    assert address == "https://hub.example/owner/name"
    assert checked == [(("seq2seq_brats",), "a.json")]
    assert hub.calls == [("repo", "owner/name", True), ("tag", "0.1.0"), ("tag", "latest_version")][: 2 + latest]
    assert set(hub.uploaded) == {"LICENSE", "README.md", "docs/README.md", "models/model.pt"}
    assert b"license: apache-2.0" in hub.uploaded["README.md"]


def test_version_is_not_uploaded_twice(hub, checked, small_repository) -> None:
    hub.tags = ["0.1.0"]
    with pytest.raises(FileExistsError, match=r"owner/name has the version 0\.1\.0\. .* --overwrite"):
        push_to_hf_hub("seq2seq_brats", "owner/name", repository=small_repository)
    assert not checked
    assert not hub.calls
    push_to_hf_hub("seq2seq_brats", "owner/name", repository=small_repository, overwrite=True)
    assert hub.uploaded


def test_failing_checks_upload_nothing(hub, changed_repository) -> None:
    (changed_repository / "bundles" / "seq2seq_brats" / "docs" / "patient.nii.gz").touch()
    with pytest.raises(ValueError, match=r"patient\.nii\.gz is not a file that a bundle publishes"):
        push_to_hf_hub("seq2seq_brats", "owner/name", repository=changed_repository)
    assert not hub.calls


@pytest.mark.parametrize("repo", ["name", "a/b/c", "/name", "owner/"])
def test_address_of_another_form(repo) -> None:
    with pytest.raises(ValueError, match="give it as OWNER/NAME"):
        push_to_hf_hub("seq2seq_brats", repo)


def test_package_that_is_not_installed(small_repository, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="Uploads need huggingface_hub: python -m pip install huggingface_hub"):
        push_to_hf_hub("seq2seq_brats", "owner/name", repository=small_repository)
