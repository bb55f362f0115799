# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The MONAI Deploy applications, run as a user runs them, against ``python -m monai.bundle run``.

``SEQ2SEQ_MRI_DEPLOY_PYTHON`` names the interpreter of an environment made by the commands of docs/monai_deploy.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from phantom import AVAILABLE, RELATIVE, SUBJECT, assert_equal, run_bundle, write_datalist, write_dicom, write_phantom

from seq2seq_mri.io.dicom.read_dicom import read_dicom_series

pytestmark = pytest.mark.slow


@dataclass
class Hosts:
    """Runs the applications of a checkout by an interpreter with MONAI Deploy."""

    python: str
    repository: Path

    def run(self, app: str, study: Path, output: Path, model: Path, *options: str) -> subprocess.CompletedProcess:
        """Run an application, with the stack that Holoscan asks for."""
        command = [self.python, str(self.repository / "apps" / "monai_deploy" / app)]
        command += ["-i", str(study), "-o", str(output), "-m", str(model), *options]
        return subprocess.run(
            ["bash", "-c", 'ulimit -s 32768; exec "$@"', "bash", *command],
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )

    def succeed(self, *arguments) -> None:
        """Run an application that has to end well."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        assert not list(Path(arguments[2]).rglob(".unfinished*"))

    def fail(self, *arguments) -> str:
        """Run an application that has to fail without writing anything, and return its last line."""
        output = Path(arguments[2])
        before = sorted(output.rglob("*")) if output.exists() else None
        done = self.run(*arguments)
        assert done.returncode == 1, done.stderr
        assert (sorted(output.rglob("*")) if output.exists() else None) == before
        assert "Traceback" not in done.stderr
        return done.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="session")
def hosts(repository: Path) -> Hosts:
    """MONAI Deploy, or a skip that says how to name its environment."""
    python = os.environ.get("SEQ2SEQ_MRI_DEPLOY_PYTHON")
    if not python:
        pytest.skip("SEQ2SEQ_MRI_DEPLOY_PYTHON names no interpreter with MONAI Deploy (docs/monai_deploy.md)")
    return Hosts(python, repository)


@pytest.fixture(scope="session")
def brats(repository: Path) -> Path:
    """The generator's bundle."""
    return repository / "bundles" / "seq2seq_brats"


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the phantom: ``data`` is a dataset, ``study`` a DICOM study."""
    folder = tmp_path_factory.mktemp("phantom")
    subject = write_phantom(folder / "data")
    write_dicom(
        {name: subject / f"{SUBJECT}_{name}.nii.gz" for name in AVAILABLE},
        folder / "study",
        descriptions={"t1": "AX T1 SE", "t2": "AX T2 TSE", "flair": "AX T2 FLAIR"},
    )
    return folder


@pytest.fixture(scope="session")
def reference(hosts: Hosts, phantom: Path, brats: Path) -> nibabel.Nifti1Image:
    """What ``monai.bundle run`` makes of the phantom."""
    output = run_bundle(brats, phantom / "data", phantom / "reference", targets="['t1gd']")
    return nibabel.load(output / SUBJECT / f"{SUBJECT}_t1gd.nii.gz")


def check_from_dicom(folder: Path, name: str, expected: nibabel.Nifti1Image, study: Path) -> None:
    """Check that an image is ``expected``, and that the DICOM series of it is marked and names its sources."""
    image = nibabel.load(folder / f"{name}.nii.gz")
    assert_equal(image, expected, affine_tolerance=1e-5)
    voxels, folder = np.asanyarray(image.dataobj), folder / f"{name}_dicom"
    series = read_dicom_series(folder, "derived")
    files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    step = float(files[0].RescaleSlope)
    assert step <= 1000 * voxels.max() / 65000
    assert np.abs(series.voxels[0] - 1000 * voxels).max() <= 0.51 * step
    np.testing.assert_allclose(series.affine, expected.affine, rtol=0, atol=1e-5)
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(study.rglob("*.dcm"))]
    instances = {source.SOPInstanceUID for source in sources}
    for file in files:
        assert file.ImageType[0] == "DERIVED"
        assert "synthetic" in file.SeriesDescription.lower()
        assert "research only" in file.SeriesDescription.lower()
        assert (file.StudyInstanceUID, file.FrameOfReferenceUID, file.PatientID) == (
            sources[0].StudyInstanceUID,
            sources[0].FrameOfReferenceUID,
            sources[0].PatientID,
        )
        assert file.SeriesInstanceUID not in {source.SeriesInstanceUID for source in sources}
        named = {item.ReferencedSOPInstanceUID for item in file.SourceImageSequence}
        assert named
        assert named <= instances


def test_phantom_as_nifti(hosts, phantom, brats, reference, tmp_path) -> None:
    hosts.succeed("app.py", phantom / "data" / SUBJECT, tmp_path / "output", brats)
    assert_equal(nibabel.load(tmp_path / "output" / SUBJECT / f"{SUBJECT}_t1gd.nii.gz"), reference)
    report = json.loads((tmp_path / "output" / SUBJECT / f"{SUBJECT}_synthesis.json").read_text())
    assert "research only" in report["notice"]
    assert [entry["sequence"] for entry in report["inputs"]] == list(AVAILABLE)
    assert report["synthesised"] == [{"sequence": "t1gd", "sources": list(AVAILABLE)}]
    written = sorted((tmp_path / "output" / SUBJECT).iterdir())
    assert len(written) == 2
    content = [path.read_bytes() for path in written]
    message = hosts.fail("app.py", phantom / "data" / SUBJECT, tmp_path / "output", brats)
    assert message.startswith("Error: ")
    assert "exists; give another output folder, or --overwrite" in message
    hosts.succeed("app.py", phantom / "data" / SUBJECT, tmp_path / "output", brats, "--overwrite")
    assert [path.read_bytes() for path in written] == content


def test_phantom_as_dicom(hosts, phantom, brats, reference, tmp_path) -> None:
    hosts.succeed("app.py", phantom / "study", tmp_path / "output", brats)
    check_from_dicom(tmp_path / "output" / SUBJECT, f"{SUBJECT}_t1gd", reference, phantom / "study")


def test_two_targets_and_a_study_in_one_folder(hosts, phantom, brats, tmp_path) -> None:
    mixed = tmp_path / "study"
    mixed.mkdir()
    for index, path in enumerate(sorted((phantom / "study").rglob("*.dcm"))):
        if path.parent.name != "flair":
            shutil.copy(path, mixed / f"IM{index:04d}")
    hosts.succeed("app.py", mixed, tmp_path / "output", brats)
    files = {name: phantom / "data" / SUBJECT / f"{SUBJECT}_{name}.nii.gz" for name in ("t1", "t2")}
    write_datalist(tmp_path, {SUBJECT: files})
    run_bundle(brats, tmp_path, tmp_path / "reference", targets="['t1gd','flair']")
    for name in (f"{SUBJECT}_t1gd", f"{SUBJECT}_flair"):
        expected = nibabel.load(tmp_path / "reference" / SUBJECT / f"{name}.nii.gz")
        check_from_dicom(tmp_path / "output" / SUBJECT, name, expected, phantom / "study")


@pytest.mark.real_data
def test_real_patient(hosts, shared_data, brats, tmp_path) -> None:
    patient = "BraTS-MET-00110-000"
    source = shared_data / "data" / "brain" / patient
    endings = {"t1": "t1n", "flair": "t2f"}  # two, to save time
    files = {name: next(source.glob(f"*{ending}.nii.gz")) for name, ending in endings.items()}
    (tmp_path / patient).mkdir()
    for path in files.values():
        (tmp_path / patient / path.name).symlink_to(path)
    write_datalist(tmp_path, {patient: files})
    output = run_bundle(brats, tmp_path, tmp_path / "reference", targets="['t1gd']")
    expected = nibabel.load(output / patient / f"{patient}_t1gd.nii.gz")
    hosts.succeed("app.py", tmp_path / patient, tmp_path / "output", brats, "--targets", "t1gd")
    assert_equal(nibabel.load(tmp_path / "output" / patient / f"{patient}_t1gd.nii.gz"), expected)
    write_dicom(files, tmp_path / "study", subject=patient)
    hosts.succeed("app.py", tmp_path / "study", tmp_path / "from_dicom", brats, "--targets", "t1gd")
    check_from_dicom(tmp_path / "from_dicom" / patient, f"{patient}_t1gd", expected, tmp_path / "study")


def test_classifier(hosts, phantom, repository, tmp_path) -> None:
    subject = tmp_path / "data" / SUBJECT
    shutil.copytree(phantom / "data" / SUBJECT, subject)
    first = nibabel.load(subject / f"{SUBJECT}_t1.nii.gz")
    brighter = (np.asanyarray(first.dataobj) * np.linspace(0.8, 1.4, first.shape[0])[:, None, None]).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(brighter, first.affine), subject / f"{SUBJECT}_t1gd.nii.gz")
    files = {name: subject / f"{SUBJECT}_{name}.nii.gz" for name in (*AVAILABLE, "t1gd")}
    write_datalist(tmp_path / "data", {SUBJECT: files})
    bundle = repository / "bundles" / "differentiation_classifier"
    output = run_bundle(bundle, tmp_path / "data", tmp_path / "reference")
    expected = float(pd.read_csv(output / "predictions.csv").probability[0])
    write_dicom(files, tmp_path / "study")
    for name, source in (("nifti", subject), ("dicom", tmp_path / "study")):
        hosts.succeed("classifier_app.py", source, tmp_path / name, bundle)
        (path,) = (path for path in (tmp_path / name).rglob("*") if path.is_file())
        report = json.loads(path.read_text())
        assert report["probability"] == pytest.approx(expected, rel=RELATIVE)
        assert report["classifier"]["version"] == "0.1.0"
        assert report["generator"]["bundle"] == "seq2seq_brats"
        assert "research only" in report["notice"]
        assert {entry["sequence"] for entry in report["inputs"]} == set(files)
    message = hosts.fail("classifier_app.py", phantom / "study", tmp_path / "missing", bundle)
    assert "does not have the sequence 't1gd'" in message
    message = hosts.fail("classifier_app.py", subject, tmp_path / "wrong", repository / "bundles" / "seq2seq_brats")
    assert "no bundle of a classifier" in message


def study(*names: str, **about: dict[str, str]) -> Callable[[Path, Path], tuple[Path, list[str]]]:
    """Return what writes a study of some of the phantom's images."""

    def write(phantom: Path, folder: Path) -> tuple[Path, list[str]]:
        files = {name: phantom / "data" / SUBJECT / f"{SUBJECT}_{name}.nii.gz" for name in names}
        write_dicom(files, folder / "study", **about)
        return folder / "study", []

    return write


def missing_slice(phantom: Path, folder: Path) -> tuple[Path, list[str]]:
    shutil.copytree(phantom / "study", folder / "study")
    (folder / "study" / "t2" / "IM0010.dcm").unlink()
    return folder / "study", []


def empty_folder(phantom: Path, folder: Path) -> tuple[Path, list[str]]:
    (folder / "study").mkdir()
    return folder / "study", []


def option(*options: str) -> Callable[[Path, Path], tuple[Path, list[str]]]:
    return lambda phantom, folder: (phantom / "study", list(options))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (study("t1", modalities={"t1": "CT"}), "no MR series, only 1 of modality CT"),
        (
            study("t1", descriptions={"t1": "scout"}),
            "No series of the study is recognised as one of t1, t1gd, t2, flair",
        ),
        (
            study("t1", "t2", descriptions={"t1": "AX T1", "t2": "SAG T1"}),
            r"2 series look like t1: series 1 'AX T1' .* Choose one by --sequences t1=",
        ),
        (missing_slice, r"Subject 'phantom': t2: .*a slice is missing"),
        (empty_folder, "has no DICOM image"),
        (option("--targets", "t3"), "Unknown sequence 't3'; the sequence table has t1, t1gd, t2, flair"),
        (option("--targets", "t1", "--sequences", "t2=none,flair=none"), "no sequence from which t1"),
        (option("--sequences", "t1gd=1.2.3"), "no MR series of the study has this UID or number"),
        (option("--rules", "absent.yaml"), "no file of rules absent.yaml"),
        (option("--fusion", "absent.csv"), "neither 'mean' nor an adjacency file"),
    ],
    ids=["CT", "scout", "two", "slice", "empty", "target", "source", "series", "rules", "fusion"],
)
def test_mistakes(hosts, phantom, brats, tmp_path, prepare, message) -> None:
    folder, options = prepare(phantom, tmp_path)
    line = hosts.fail("app.py", folder, tmp_path / "output", brats, *options)
    assert line.startswith("Error: ")
    assert re.search(message, line), line


def test_wrong_weights(hosts, phantom, brats, repository, tmp_path) -> None:
    bundle = tmp_path / "seq2seq_brats"
    shutil.copytree(brats, bundle)
    shutil.copy(
        repository / "bundles" / "differentiation_classifier" / "models" / "model.pt", bundle / "models" / "model.pt"
    )
    line = hosts.fail("app.py", phantom / "study", tmp_path / "output", bundle)
    assert "belongs to another network configuration" in line
    (bundle / "models" / "model.pt").write_bytes(b"nothing")
    assert "cannot be read as a checkpoint" in hosts.fail("app.py", phantom / "study", tmp_path / "output", bundle)
    (bundle / "models" / "model.pt").unlink()
    assert "There is no checkpoint" in hosts.fail("app.py", phantom / "study", tmp_path / "output", bundle)


def test_rules_of_the_user(hosts, phantom, brats, reference, tmp_path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules:\n"
        "  - {sequence: t1, description: ' SE$'}\n"
        "  - {sequence: t2, description: TSE}\n"
        "  - {sequence: none, because: not wanted, description: flair}\n"
    )
    hosts.succeed(
        "app.py", phantom / "study", tmp_path / "output", brats,
        "--rules", str(rules), "--sequences", "flair=3", "--targets", "t1gd",
    )  # fmt: skip
    check_from_dicom(tmp_path / "output" / SUBJECT, f"{SUBJECT}_t1gd", reference, phantom / "study")
