# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Releases of bundles with tiny networks: built, served, downloaded by MONAI, and run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import download

from mri_phantom.brain import simulate_brain
from mri_phantom.breast import simulate_breast
from tools import build, trial
from tools.archive import extract_archive
from tools.isolation import isolated_environment
from tools.release import release

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
        patch.setattr(build, "try_inference", lambda *arguments: None)
        release(
            repository=project,
            output_dir=project.parent / "dist",
            source=SOURCE,
            schema=project / "schema.json",
            model_zoo=True,
        )
    return project.parent / "dist"


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated patients, a folder for each kind."""
    folder = tmp_path_factory.mktemp("patients")
    simulate_brain(folder / "brain", shape=(32, 36, 32), spacing=6.0, splits=(0, 0, 1), missing_in_evaluation=0)
    simulate_breast(folder / "breast", shape=(40, 34, 32), spacing=7.0, splits=(0, 0, 1))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_archives_hold_the_bundles(released, small_repository) -> None:
    assert sorted(path.name for path in released.iterdir()) == sorted(
        f"{name}_v0.1.0{ending}.zip" for name in NAMES for ending in ("", "_model_zoo")
    )
    for name in NAMES:
        with zipfile.ZipFile(released / f"{name}_v0.1.0.zip") as archive:
            names = archive.namelist()
            assert (
                archive.read(f"{name}/models/model.pt")
                == (small_repository / "bundles" / name / "models" / "model.pt").read_bytes()
            )
        assert {f"{name}/{part}" for part in ("LICENSE", "models/model.ts", "seq2seq_mri/__init__.py")} <= set(names)
        # Nothing is too large for the model zoo here, so that both are the same.
        zoo = released / f"{name}_v0.1.0_model_zoo.zip"
        assert zoo.read_bytes() == (released / f"{name}_v0.1.0.zip").read_bytes()


@pytest.mark.slow
def test_torchscript_has_its_configuration_and_no_path_of_this_machine(released, tmp_path) -> None:
    for name in NAMES:
        bundle = extract_archive(released / f"{name}_v0.1.0.zip", tmp_path, name)
        embedded = {"metadata.json": "", "inference.json": ""}
        torch.jit.load(str(bundle / "models" / "model.ts"), _extra_files=embedded)
        assert json.loads(embedded["metadata.json"])["name"] == name
        assert json.loads(embedded["inference.json"]) == json.loads((bundle / "configs/inference.json").read_text())
    package = str(Path(release.__code__.co_filename).parents[2]).encode()
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
def test_downloaded_archives_run_elsewhere(released, cohort, serve, tmp_path) -> None:
    address = serve(released)
    bundles, isolation, elsewhere = tmp_path / "bundles", tmp_path / "isolation", tmp_path / "elsewhere"
    elsewhere.mkdir()
    commands = []
    for name in sorted(NAMES, reverse=True):  # the classifier after the generator that it needs
        environment = isolated_environment(bundles / name, isolation / name, importable=False)
        changed = {key: value for key, value in environment.items() if os.environ.get(key) != value}
        downloading = ["download", "--name", name, "--url", f"{address}/{name}_v0.1.0.zip"]
        running = ["run", "inference", "--config_file", f"{bundles}/{name}/configs/inference.json"]
        running += ["--dataset_dir", str(cohort / ("breast" if "breast" in name else "brain")), "--device", "cpu"]
        running += ["--output_dir", str(tmp_path / "output" / name), "--figures", "False"]
        running += [] if "classifier" in name else ["--targets", "['t2']"]
        for arguments in ([*downloading, "--bundle_dir", str(bundles)], running):
            commands.append({"arguments": arguments, "cwd": str(elsewhere), "environment": changed})
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("run_commands.py")), str(tmp_path / "commands.json")],
        # seq2seq_mri comes from nowhere, until a command says from where.
        env=isolated_environment(tmp_path / "nowhere", tmp_path / "isolation"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in NAMES:
        origins = set((isolation / name / "record").read_text().splitlines())
        assert origins == {str(bundles / name / "seq2seq_mri" / "__init__.py")}
        assert contents(bundles / name) == contents(
            extract_archive(released / f"{name}_v0.1.0.zip", tmp_path / "expected", name)
        )
    probabilities = pd.read_csv(tmp_path / "output" / "differentiation_classifier" / "predictions.csv")["probability"]
    assert probabilities.between(0, 1).all()
    for name in ("seq2seq_brats", "seq2seq_breast"):
        (image,) = (tmp_path / "output" / name).rglob("*_t2.nii.gz")
        values = np.asanyarray(nib.load(image).dataobj)
        assert values.any()
        assert np.isfinite(values).all()
    assert not list(elsewhere.iterdir())


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


def truncated(project: Path) -> None:
    path = project / "bundles" / "seq2seq_brats" / "models" / "model.pt"
    path.write_bytes(path.read_bytes()[:500])


def other_version(project: Path) -> None:
    path = project / "bundles" / "seq2seq_brats" / "configs" / "metadata.json"
    path.write_text(path.read_text().replace('"version": "0.1.0"', '"version": "0.2.0"'))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda project: (project / "bundles/seq2seq_brats/LICENSE").unlink(), FileNotFoundError, "LICENSE"),
        (lambda project: (project / "bundles/seq2seq_brats/docs/a.nii").touch(), ValueError, r"a\.nii is not a file"),
        (
            lambda project: (project / "bundles/seq2seq_brats/models/model.pt").unlink(),
            FileNotFoundError,
            r"seq2seq_brats/models/model\.pt does not exist: a release needs trained weights",
        ),
        (not_finite, ValueError, r"model\.pt has values in .* not finite"),
        (truncated, ValueError, r"model\.pt cannot be read as a checkpoint"),
        (other_version, ValueError, r"version 0\.2\.0, of which its changelog says nothing"),
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


@pytest.mark.slow
def test_weights_of_another_network_write_nothing(changed_repository, tmp_path) -> None:
    path = changed_repository / "bundles" / "seq2seq_brats" / "models" / "model.pt"
    weights = torch.load(path, weights_only=True)
    weights.pop(next(iter(weights)))
    torch.save(weights, path)
    places = {"repository": changed_repository, "output_dir": tmp_path / "dist"}
    with pytest.raises(ValueError, match=r"The examination failed .*(.|\n)*belongs to another network configuration"):
        release("seq2seq_brats", source=SOURCE, schema=changed_repository / "schema.json", **places)
    assert not (tmp_path / "dist").exists()
    assert not (changed_repository / "models").exists()


def test_classifier_needs_the_generator_beside_it(changed_repository, tmp_path) -> None:
    schema = changed_repository / "schema.json"
    shutil.rmtree(changed_repository / "bundles" / "seq2seq_brats")
    # Its documentation is not what is missed first.
    with pytest.raises(FileNotFoundError, match="differentiation_classifier needs the bundle seq2seq_brats beside it"):
        release("differentiation_classifier", repository=changed_repository, output_dir=tmp_path, schema=schema)


@pytest.mark.parametrize("name", ["seq2seq_brats_v0.1.0.zip", "seq2seq_brats_v0.1.0_model_zoo.zip"])
def test_existing_archive_is_kept(small_repository, tmp_path, monkeypatch, name) -> None:
    monkeypatch.setattr(trial, "simulate_for", None)
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=rf"{re.escape(name)} exists; .*--overwrite"):
        release("seq2seq_brats", repository=small_repository, output_dir=tmp_path, model_zoo=True)
    assert contents(tmp_path) == {name: b"mine"}


def test_environment_that_does_not_exist(small_repository, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"environment is '/nowhere/python'; give 'this', 'clean', or the path"):
        release(
            "seq2seq_brats",
            repository=small_repository,
            output_dir=tmp_path / "dist",
            schema=small_repository / "schema.json",
            environment="/nowhere/python",
        )
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("source", ["", "owner/project", "ftp://example.org", "https://a b", "https://a?b"])
def test_address_of_another_kind(small_repository, tmp_path, source) -> None:
    with pytest.raises(ValueError, match="give the address of a folder"):
        release(repository=small_repository, output_dir=tmp_path / "dist", source=source)
    assert not (tmp_path / "dist").exists()
