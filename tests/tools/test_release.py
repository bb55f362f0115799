# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Releases of bundles with tiny networks: built, served, downloaded by MONAI, and run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import download

from tools import release as release_module
from tools.archive import extract_archive
from tools.release import release
from tools.trial import run_with, simulate_for, try_inference

TAG = "v0.1.0"
SOURCE = f"https://github.com/owner/project/releases/download/{TAG}"
NAMES = ["differentiation_classifier", "seq2seq_brats", "seq2seq_breast"]


@pytest.fixture(scope="session")
def released(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the archives of all bundles, beside which is the checkout that they were built of.

    Their inference is tried by the test that downloads them.
    """
    project = Path(shutil.copytree(small_repository, tmp_path_factory.mktemp("released") / "project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release_module, "try_inference", lambda *arguments: None)
        release(
            repository=project,
            output_dir=project.parent / "dist",
            source=SOURCE,
            schema=project / "schema.json",
            model_zoo=True,
        )
    return project.parent / "dist"


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_archives_hold_the_bundles(released, small_repository, tmp_path) -> None:
    assert sorted(path.name for path in released.iterdir()) == sorted(
        f"{name}_v0.1.0{ending}.zip" for name in NAMES for ending in ("", "_model_zoo")
    )
    for name in NAMES:
        bundle = extract_archive(released / f"{name}_v0.1.0.zip", tmp_path, name)
        original = small_repository / "bundles" / name
        assert (bundle / "models/model.pt").read_bytes() == (original / "models/model.pt").read_bytes()
        assert {"LICENSE", "models/model.ts", "seq2seq_mri/__init__.py", "requirements.txt"} <= set(contents(bundle))
        # Nothing is too large for the model zoo here, so that both are the same.
        zoo = released / f"{name}_v0.1.0_model_zoo.zip"
        assert zoo.read_bytes() == (released / f"{name}_v0.1.0.zip").read_bytes()
        embedded = {"metadata.json": "", "inference.json": ""}
        torch.jit.load(str(bundle / "models" / "model.ts"), _extra_files=embedded)
        assert json.loads(embedded["metadata.json"])["name"] == name
        assert json.loads(embedded["inference.json"]) == json.loads((bundle / "configs/inference.json").read_text())
    # No path of this machine is in them.
    package = str(Path(release_module.__file__).parents[1]).encode()
    for path, content in contents(tmp_path).items():
        for machine in (package, str(released.parent).encode(), str(Path.home()).encode() + b"/"):
            assert machine not in content, path


@pytest.mark.slow
def test_built_twice_gives_identical_bytes(released, small_repository, tmp_path, monkeypatch) -> None:
    # In another place, at another time, with other permissions, and with the inference, which changes nothing.
    project = Path(shutil.copytree(small_repository, tmp_path / "elsewhere" / "checkout"))
    for path in project.rglob("*"):
        if path.is_file():
            path.chmod(0o640)
            os.utime(path, (1e9, 1e9))
    (project / "common" / "seq2seq_mri" / "__pycache__").mkdir()
    (project / "common" / "seq2seq_mri" / "__pycache__" / "a.pyc").write_bytes(b"")
    monkeypatch.setenv("PYTHONHASHSEED", "123")
    printed = release("seq2seq_brats", repository=project, output_dir=tmp_path / "dist", schema=project / "schema.json")
    (archive,) = (tmp_path / "dist").iterdir()
    assert archive.read_bytes() == (released / "seq2seq_brats_v0.1.0.zip").read_bytes()
    assert (
        printed
        == f"{archive}  {archive.stat().st_size / 1e6:.1f} MB  " + hashlib.sha1(archive.read_bytes()).hexdigest()
    )
    # Without an address, the list of versions is left alone.
    assert not (project / "models").exists()


@pytest.mark.slow
def test_downloaded_archives_run_elsewhere(released, serve, tmp_path) -> None:
    address = serve(released)
    for name in sorted(NAMES, reverse=True):  # the classifier after the generator that it needs
        download(name=name, url=f"{address}/{name}_v0.1.0.zip", bundle_dir=tmp_path / "bundles", progress=False)
        bundle = tmp_path / "bundles" / name
        try_inference(bundle, simulate_for(bundle, tmp_path / name))
        if name == "seq2seq_brats":  # the other command of docs/releases.md
            simulation = ["brain", str(tmp_path / "cohort"), "--splits", "0,0,1", "--shape", "32,32,32"]
            run_with(bundle, "mri_phantom", simulation, (bundle,))
            assert (tmp_path / "cohort" / "datalist.json").is_file()
        expected = extract_archive(released / f"{name}_v0.1.0.zip", tmp_path / "expected", name)
        assert contents(bundle) == contents(expected)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["0.1.0", None])
def test_github_release_is_downloaded(released, serve, tmp_path, monkeypatch, version) -> None:
    """MONAI's source "github", with its two hosts in folders of a local server."""
    hosts = tmp_path / "hosts"
    shutil.copytree(released, hosts / "github.com" / "owner" / "project" / "releases" / "download" / TAG)
    commit = hosts / "raw.githubusercontent.com" / "owner" / "project" / TAG
    shutil.copytree(released.parent / "project" / "models", commit / "models")
    address = serve(hosts)
    asked = []

    def redirected(function):
        def call(url, *arguments, **options):
            asked.append(url)
            return function(re.sub(r"^https:/", address, url), *arguments, **options)

        return call

    monkeypatch.setattr("monai.apps.utils.urlretrieve", redirected(sys.modules["monai.apps.utils"].urlretrieve))
    monkeypatch.setattr("monai.bundle.scripts.requests.get", redirected(sys.modules["requests"].get))
    for name in NAMES:
        asked.clear()
        options = {"source": "github", "repo": f"owner/project/{TAG}", "progress": False}
        download(name=name, version=version, bundle_dir=tmp_path / "bundles", **options)
        listed = [] if version else [f"https://raw.githubusercontent.com/owner/project/{TAG}/models/model_info.json"]
        assert asked == [*listed, f"{SOURCE}/{name}_v0.1.0.zip"]
        archive = tmp_path / "bundles" / f"{name}_v0.1.0.zip"
        entry = json.loads((commit / "models" / "model_info.json").read_text())[f"{name}_v0.1.0"]
        assert entry["checksum"] == hashlib.sha1(archive.read_bytes()).hexdigest()
        # The address in the list is the one that MONAI makes up.
        assert entry["source"] == asked[-1]
        assert (tmp_path / "bundles" / name / "configs" / "inference.json").is_file()


def not_finite(project: Path) -> None:
    path = project / "bundles" / "seq2seq_brats" / "models" / "model.pt"
    weights = torch.load(path, weights_only=True)
    next(iter(weights.values())).view(-1)[0] = float("nan")
    torch.save(weights, path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda project: (project / "bundles/seq2seq_brats/LICENSE").unlink(), FileNotFoundError, "LICENSE"),
        (not_finite, ValueError, r"model\.pt has values in .* not finite"),
        (lambda project: (project / "schema.json").write_text('{"required": ["x"]}'), ValueError, "not fit the schema"),
    ],
)
def test_failing_checks_write_nothing(changed_repository, tmp_path, change, error, message) -> None:
    change(changed_repository)
    before = contents(changed_repository)
    schema = changed_repository / "schema.json"
    with pytest.raises(error, match=message):
        # The first is in order, and is not written either.
        release(
            *("seq2seq_breast", "seq2seq_brats"),
            repository=changed_repository,
            output_dir=tmp_path / "dist",
            source=SOURCE,
            schema=schema,
        )
    assert contents(changed_repository) == before
    assert not (tmp_path / "dist").exists()


def test_classifier_needs_the_generator_beside_it(changed_repository, tmp_path) -> None:
    schema = changed_repository / "schema.json"
    shutil.rmtree(changed_repository / "bundles" / "seq2seq_brats")
    # Its documentation is not what is missed first.
    with pytest.raises(FileNotFoundError, match="differentiation_classifier needs the bundle seq2seq_brats beside it"):
        release("differentiation_classifier", repository=changed_repository, output_dir=tmp_path, schema=schema)


@pytest.mark.parametrize("name", ["seq2seq_brats_v0.1.0.zip", "seq2seq_brats_v0.1.0_model_zoo.zip"])
def test_existing_archive_is_kept(small_repository, tmp_path, name) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=rf"{re.escape(name)} exists; .*--overwrite"):
        release("seq2seq_brats", repository=small_repository, output_dir=tmp_path, model_zoo=True)
    assert contents(tmp_path) == {name: b"mine"}


@pytest.mark.parametrize("source", ["", "owner/project", "ftp://example.org", "https://a b", "https://a?b"])
def test_address_of_another_kind(small_repository, tmp_path, source) -> None:
    with pytest.raises(ValueError, match="give the address of a folder"):
        release(repository=small_repository, output_dir=tmp_path / "dist", source=source)
    assert not (tmp_path / "dist").exists()
