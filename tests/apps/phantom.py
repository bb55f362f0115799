# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The subject on which all hosts must agree, as NIfTI and as DICOM, and what a bundle's own command makes of it.

Nothing about it is symmetric or axis-aligned: a flip, a swap of axes or of voxel sizes, and a lost rotation each move
a bright block.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
from dicom_writer import write_classic
from pydicom.dataset import FileDataset, validate_file_meta
from pydicom.uid import generate_uid

SUBJECT = "phantom"
AVAILABLE = ("t1", "t2", "flair")
SHAPE = (50, 60, 24)
RELATIVE = 1e-5
# Corner and size of the blocks that stand out, and how bright each is in t1, t2, flair and t1gd.
_BLOCKS = (
    ((4, 6, 3), (9, 5, 4), (900, 300, 500, 700)),
    ((36, 8, 4), (6, 11, 3), (200, 950, 700, 1100)),
    ((8, 42, 14), (5, 9, 7), (650, 500, 1000, 150)),
    ((35, 40, 16), (10, 6, 5), (400, 800, 100, 900)),
)
_TISSUE = {"t1": 350, "t2": 450, "flair": 300, "t1gd": 380}
# What servers and viewers ask for besides.
_TAGS = {
    "PatientBirthDate": "",
    "PatientSex": "O",
    "StudyDate": "20240228",
    "StudyTime": "101500",
    "StudyID": "1",
    "StudyDescription": "phantom study",
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
    "PositionReferenceIndicator": "",
    "Manufacturer": "tests",
    "PatientPosition": "HFS",
    "ScanningSequence": "SE",
    "SequenceVariant": "NONE",
    "ScanOptions": "",
    "MRAcquisitionType": "2D",
    "EchoTime": "20",
    "RepetitionTime": "500",
    "EchoTrainLength": "1",
}


def phantom_affine() -> np.ndarray:
    """Return an affine of 0.9 x 1.1 x 2.3 mm voxels with axes to the left, posterior, superior, turned about two."""
    about_x, about_y = np.deg2rad(17.0), np.deg2rad(-12.0)
    turn_x = np.array([[1, 0, 0], [0, np.cos(about_x), -np.sin(about_x)], [0, np.sin(about_x), np.cos(about_x)]])
    turn_y = np.array([[np.cos(about_y), 0, np.sin(about_y)], [0, 1, 0], [-np.sin(about_y), 0, np.cos(about_y)]])
    affine = np.eye(4)
    affine[:3, :3] = turn_y @ turn_x @ np.diag([-0.9, -1.1, 2.3])
    affine[:3, 3] = [31.25, 48.5, -37.75]
    return affine


def write_phantom(folder: Path, name: str = SUBJECT, sequences: Sequence[str] = AVAILABLE) -> Path:
    """Write ``NAME_{t1,t2,flair}.nii.gz``, int16, into a new folder of the subject below ``folder``; return that.

    ``folder/datalist.json`` has the subject for testing, so ``folder`` is a ``dataset_dir``.

    Args:
        folder: where to.
        name: the subject's name.
        sequences: those that are there; t1gd too, if it is to be there.
    """
    subject = folder / name
    subject.mkdir(parents=True)
    generator = np.random.default_rng(0)
    centred = [(np.arange(size) - (size - 1) / 2) / (0.44 * size) for size in SHAPE]
    head = sum(axis**2 for axis in np.meshgrid(*centred, indexing="ij")) < 1.3
    files = {}
    for index, (sequence, tissue) in enumerate(_TISSUE.items()):
        voxels = generator.normal(tissue, 20, SHAPE)
        for corner, size, brightness in _BLOCKS:
            block = tuple(slice(start, start + extent) for start, extent in zip(corner, size, strict=True))
            voxels[block] += brightness[index]
        if sequence in sequences:
            files[sequence] = subject / f"{name}_{sequence}.nii.gz"
            voxels = np.where(head, np.clip(voxels, 1, None), 0).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(voxels, phantom_affine()), files[sequence])
    write_datalist(folder, {name: files})
    return subject


def write_datalist(folder: Path, subjects: Mapping[str, Mapping[str, Path]]) -> Path:
    """Write ``folder/datalist.json`` with subjects for testing, sequence → file."""
    entries = [{"subject": name} | {key: str(path) for key, path in files.items()} for name, files in subjects.items()]
    content = {"name": "apps", "sequences": {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}, "testing": entries}
    path = folder / "datalist.json"
    path.write_text(json.dumps(content))
    return path


def write_dicom(
    paths: Mapping[str, Path],
    folder: Path,
    *,
    subject: str = SUBJECT,
    descriptions: Mapping[str, str] | None = None,
    modalities: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Write NIfTI files of whole numbers as one study with a series for each, and return the series' folders.

    The affines' axes go to the left, posterior and superior, roughly, as slices of a scanner do, and are perpendicular.
    Reading a series back gives the voxels and the affine of its NIfTI file. The UIDs of study and series depend on
    ``subject`` only.

    Args:
        paths: name of the series → NIfTI file.
        folder: where to; a folder for each series is made.
        subject: PatientID and PatientName.
        descriptions: name → SeriesDescription, where it is not the name.
        modalities: name → Modality, where it is not MR.
    """
    for number, (name, path) in enumerate(paths.items(), start=1):
        image = nibabel.load(path)
        tags = _TAGS | {
            "StudyInstanceUID": generate_uid(entropy_srcs=[subject, "study"]),
            "SeriesInstanceUID": generate_uid(entropy_srcs=[subject, name]),
            "FrameOfReferenceUID": generate_uid(entropy_srcs=[subject, "frame"]),
            "SeriesDescription": (descriptions or {}).get(name, name),
            "SeriesNumber": number,
            "Modality": (modalities or {}).get(name, "MR"),
            "PatientName": f"{subject}^Test",
            "PatientID": subject,
            "SpacingBetweenSlices": f"{image.header.get_zooms()[2]:.6f}",
        }
        voxels = np.asanyarray(image.dataobj)[None]
        write_classic(folder / name, voxels, image.affine, change=partial(_complete, tags), seed=None)
    return {name: folder / name for name in paths}


def _complete(tags: Mapping[str, object], dataset: FileDataset, frame: int, place: int) -> None:
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.FileMetaInformationGroupLength = 0  # pydicom fills in what is there
    validate_file_meta(dataset.file_meta)


def run_bundle(bundle: Path, dataset_dir: Path, output: Path, **options: object) -> Path:
    """Run a bundle's inference as the README says, in this environment, and return its output folder."""
    command = [sys.executable, "-m", "monai.bundle", "run", "inference", "--bundle_root", str(bundle)]
    command += ["--config_file", str(bundle / "configs" / "inference.json"), "--dataset_dir", str(dataset_dir)]
    command += ["--output_dir", str(output), "--figures", "False"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=output.parent, timeout=1800, check=False)
    assert finished.returncode == 0, finished.stderr[-4000:]
    return output


def assert_equal(image: nibabel.Nifti1Image, expected: nibabel.Nifti1Image, affine_tolerance: float = 0.0) -> None:
    """Check that a float32 image is ``expected``, voxels and grid."""
    assert image.get_data_dtype() == np.float32
    assert image.shape == expected.shape
    np.testing.assert_allclose(image.affine, expected.affine, rtol=0, atol=affine_tolerance)
    largest = np.abs(expected.get_fdata()).max()
    assert largest > 0.1
    np.testing.assert_allclose(image.get_fdata(), expected.get_fdata(), rtol=0, atol=RELATIVE * largest)
