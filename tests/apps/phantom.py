# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The subject on which all hosts must agree, as NIfTI and as DICOM.

Nothing about it is symmetric or axis-aligned: a flip, a swap of axes or of voxel sizes, and a lost rotation each move
a bright block.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset, validate_file_meta
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

__all__ = ["AVAILABLE", "SHAPE", "SUBJECT", "phantom_affine", "write_datalist", "write_dicom", "write_phantom"]

SUBJECT = "phantom"
AVAILABLE = ("t1", "t2", "flair")
SHAPE = (50, 60, 24)
# Corner and size of the blocks that stand out, and how bright each is in t1, t2, flair and t1gd.
_BLOCKS = (
    ((4, 6, 3), (9, 5, 4), (900, 300, 500, 700)),
    ((36, 8, 4), (6, 11, 3), (200, 950, 700, 1100)),
    ((8, 42, 14), (5, 9, 7), (650, 500, 1000, 150)),
    ((35, 40, 16), (10, 6, 5), (400, 800, 100, 900)),
)
_TISSUE = {"t1": 350, "t2": 450, "flair": 300, "t1gd": 380}


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
    Reading a series back gives the voxels and the affine of its NIfTI file. UIDs depend on ``subject`` only.

    Args:
        paths: name of the series → NIfTI file.
        folder: where to; a folder for each series is made.
        subject: PatientID and PatientName.
        descriptions: name → SeriesDescription, where it is not the name.
        modalities: name → Modality, where it is not MR.
    """
    folders = {}
    for number, (name, path) in enumerate(paths.items(), start=1):
        image = nibabel.load(path)
        voxels = np.asanyarray(image.dataobj)
        if not np.array_equal(voxels, np.rint(voxels)) or np.abs(voxels).max() > 32767:
            raise ValueError(f"{path} holds values that are no int16.")
        folders[name] = folder / name
        folders[name].mkdir(parents=True)
        common = _series(subject, name, number)
        common.SeriesDescription = (descriptions or {}).get(name, name)
        common.Modality = (modalities or {}).get(name, "MR")
        _write_slices(common, voxels.astype("<i2"), np.diag([-1, -1, 1, 1]) @ image.affine, folders[name])
    return folders


def _series(subject: str, name: str, number: int) -> Dataset:
    common = Dataset()
    common.SOPClassUID = MRImageStorage
    common.PatientName, common.PatientID, common.PatientBirthDate, common.PatientSex = (
        f"{subject}^Test",
        subject,
        "",
        "O",
    )
    common.StudyInstanceUID = generate_uid(entropy_srcs=[subject, "study"])
    common.SeriesInstanceUID = generate_uid(entropy_srcs=[subject, name])
    common.FrameOfReferenceUID = generate_uid(entropy_srcs=[subject, "frame"])
    common.StudyDate, common.StudyTime, common.StudyID = "20240228", "101500", "1"
    common.AccessionNumber = common.ReferringPhysicianName = common.PositionReferenceIndicator = ""
    common.StudyDescription = "phantom study"
    common.Manufacturer, common.SeriesNumber, common.PatientPosition = "tests", number, "HFS"
    common.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    common.ScanningSequence, common.SequenceVariant, common.ScanOptions = "SE", "NONE", ""
    common.MRAcquisitionType, common.EchoTime, common.RepetitionTime, common.EchoTrainLength = "2D", "20", "500", "1"
    return common


def _write_slices(common: Dataset, voxels: np.ndarray, affine: np.ndarray, folder: Path) -> None:
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    for place in range(voxels.shape[2]):
        meta = FileMetaDataset()
        meta.FileMetaInformationGroupLength = 0  # pydicom fills in what is there
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[common.SeriesInstanceUID, str(place)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset("", common, file_meta=meta, preamble=bytes(128), is_implicit_VR=False)
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.InstanceNumber = place + 1
        dataset.ImagePositionPatient = _text((affine @ [0, 0, place, 1])[:3])
        dataset.ImageOrientationPatient = _text([*affine[:3, 0] / sizes[0], *affine[:3, 1] / sizes[1]])
        dataset.PixelSpacing = _text([sizes[1], sizes[0]])
        dataset.SliceThickness = dataset.SpacingBetweenSlices = _text([sizes[2]])[0]
        dataset.Columns, dataset.Rows = voxels.shape[:2]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.PixelData = np.ascontiguousarray(voxels[:, :, place].T).tobytes()
        validate_file_meta(meta)
        dataset.save_as(folder / f"{place:04d}.dcm")


def _text(values: Sequence[float] | np.ndarray) -> list[str]:
    """Return numbers as DICOM writes them: at most 16 characters."""
    return [f"{value:.13f}"[:16] for value in values]
