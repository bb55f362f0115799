# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Releases of bundles with tiny networks: built and tried, served, and downloaded by MONAI."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from folder_contents import folder_contents
from monai.bundle import download

from tools import release as release_module
from tools.archive import extract_archive
from tools.release import release
from tools.trial import run_with

TAG = "v0.1.0"
SOURCE = f"https://github.com/owner/project/releases/download/{TAG}"
NAMES = ["differentiation_classifier", "seq2seq_brats", "seq2seq_breast"]


@pytest.fixture(scope="session")
def released(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the archives of all bundles, beside which is the checkout that they were built of."""
    project = Path(shutil.copytree(small_repository, tmp_path_factory.mktemp("released") / "project"))
    output = project.parent / "dist"
    release(repository=project, output_dir=output, source=SOURCE, schema=project / "schema.json", model_zoo=True)
    return output


@pytest.mark.slow
def test_archives_hold_the_bundles(released, small_repository, tmp_path) -> None:
    assert sorted(path.name for path in released.iterdir()) == sorted(
        f"{name}_v0.1.0{ending}.zip" for name in NAMES for ending in ("", "_model_zoo")
    )
    for name in NAMES:
        archive = released / f"{name}_v0.1.0.zip"
        bundle = extract_archive(archive, tmp_path, name)
        original = small_repository / "bundles" / name
        assert (bundle / "models/model.pt").read_bytes() == (original / "models/model.pt").read_bytes()
        parts = folder_contents(bundle).keys()
        assert {"LICENSE", "models/model.ts", "seq2seq_mri/__init__.py", "requirements.txt"} <= parts
        # Nothing is too large for the model zoo here, so that both are the same.
        assert (released / f"{name}_v0.1.0_model_zoo.zip").read_bytes() == archive.read_bytes()
        embedded = {"metadata.json": "", "inference.json": ""}
        torch.jit.load(str(bundle / "models" / "model.ts"), _extra_files=embedded)
        assert json.loads(embedded["metadata.json"])["name"] == name
        assert json.loads(embedded["inference.json"]) == json.loads((bundle / "configs/inference.json").read_text())
    # No path of this machine is in them.
    package = str(Path(release_module.__file__).parents[1]).encode()
    for path, content in folder_contents(tmp_path).items():
        for machine in (package, str(released.parent).encode(), str(Path.home()).encode() + b"/"):
            assert machine not in content, path
    # The other command of docs/releases.md.
    bundle = tmp_path / "seq2seq_brats"
    simulation = ["brain", str(tmp_path / "cohort"), "--splits", "0,0,1", "--shape", "32,32,32"]
    run_with(bundle, "mri_phantom", simulation, (bundle,))
    assert (tmp_path / "cohort" / "datalist.json").is_file()


@pytest.mark.slow
def test_exporting_again_gives_identical_bytes(released, tmp_path, monkeypatch) -> None:
    # In another place and process, to which a hash seed is given. All else is copied; see the tests of archives.
    bundle = extract_archive(released / "seq2seq_brats_v0.1.0.zip", tmp_path / "elsewhere", "seq2seq_brats")
    (tmp_path / "export.py").write_text(
        "import sys, pathlib, tools.examine as e; e.export_torchscript(pathlib.Path(sys.argv[1]), sys.argv[2])"
    )
    monkeypatch.setenv("PYTHONHASHSEED", "123")
    search_path = (bundle, tmp_path, Path(release_module.__file__).parents[1])
    run_with(bundle, "export", [str(bundle), str(tmp_path / "model.ts")], search_path)
    assert (tmp_path / "model.ts").read_bytes() == (bundle / "models" / "model.ts").read_bytes()


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
        expected = extract_archive(released / archive.name, tmp_path / "expected", name)
        assert folder_contents(tmp_path / "bundles" / name) == folder_contents(expected)
    # A file that one has by another way is taken by its address.
    url = f"{address}/github.com/owner/project/releases/download/{TAG}/{archive.name}"
    download(name=name, url=url, bundle_dir=tmp_path / "by_address", progress=False)
    assert folder_contents(tmp_path / "by_address" / name) == folder_contents(expected)


def test_files_are_reported_and_the_list_of_versions_is_left_alone(
    built, small_repository, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(release_module, "build_archives", built)
    printed = release("seq2seq_brats", repository=small_repository, output_dir=tmp_path / "dist")
    (archive,) = (tmp_path / "dist").iterdir()
    assert printed == f"{archive}  0.0 MB  {hashlib.sha1(archive.read_bytes()).hexdigest()}"
    assert not (small_repository / "models").exists()


def not_finite(project: Path) -> None:
    path = project / "bundles" / "seq2seq_brats" / "models" / "model.pt"
    weights = torch.load(path, weights_only=True)
    next(iter(weights.values())).view(-1)[0] = float("nan")
    torch.save(weights, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (not_finite, r"model\.pt has values in .* not finite"),
        (lambda project: (project / "schema.json").write_text('{"required": ["x"]}'), "not fit the schema"),
    ],
)
def test_failing_checks_write_nothing(changed_repository, tmp_path, change, message) -> None:
    change(changed_repository)
    before = folder_contents(changed_repository)
    # The first is in order, and is not written either.
    names = ("seq2seq_breast", "seq2seq_brats")
    options = {"output_dir": tmp_path / "dist", "source": SOURCE, "schema": changed_repository / "schema.json"}
    with pytest.raises(ValueError, match=message):
        release(*names, repository=changed_repository, **options)
    assert folder_contents(changed_repository) == before
    assert not (tmp_path / "dist").exists()


def test_classifier_needs_the_generator_beside_it(changed_repository, tmp_path) -> None:
    shutil.rmtree(changed_repository / "bundles" / "seq2seq_brats")
    # Its documentation is not what is missed first.
    with pytest.raises(FileNotFoundError, match="differentiation_classifier needs the bundle seq2seq_brats beside it"):
        release("differentiation_classifier", repository=changed_repository, output_dir=tmp_path)


@pytest.mark.parametrize("name", ["seq2seq_brats_v0.1.0.zip", "seq2seq_brats_v0.1.0_model_zoo.zip"])
def test_existing_archive_is_kept(small_repository, tmp_path, name) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=rf"{re.escape(name)} exists; .*--overwrite"):
        release("seq2seq_brats", repository=small_repository, output_dir=tmp_path, model_zoo=True)
    assert folder_contents(tmp_path) == {name: b"mine"}


@pytest.mark.parametrize("source", ["", "owner/project", "ftp://example.org", "https://a b", "https://a?b"])
def test_address_of_another_kind(tmp_path, source) -> None:
    with pytest.raises(ValueError, match="give the address of a folder"):
        release(output_dir=tmp_path / "dist", source=source)
    assert not (tmp_path / "dist").exists()
