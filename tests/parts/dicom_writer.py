# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Writes arrays as DICOM, as scanners do: one file for each slice, or one enhanced file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

__all__ = ["BEGINNING", "dataset_of", "write_classic", "write_enhanced"]

BEGINNING = datetime(2024, 2, 28, 23, 57, 30)

Change = Callable[[Dataset, int, int], Any]


def write_classic(
    folder: Path,
    voxels: np.ndarray,
    affine: np.ndarray,
    *,
    times: Sequence[float] | None = None,
    b_values: Sequence[float] | None = None,
    change: Change | None = None,
    folder_for_each_frame: bool = False,
    seed: int | None = 0,
) -> list[Path]:
    """Write one MR Image Storage file for each slice of each frame, under shuffled names, and return their paths.

    Args:
        folder: where to.
        voxels: ``[T, X, Y, Z]``, values of int16.
        affine: RAS+, its third axis perpendicular to the first two, as slices are.
        times: seconds from the first frame; written as dates and times of acquisition, a little before midnight on.
        b_values: written as DiffusionBValue.
        change: called with each dataset, frame and slice before it is written; what it returns, if anything, is
            written in its place, and ``False`` leaves the file out.
        folder_for_each_frame: whether each frame becomes a series in a folder of its own.
        seed: of the file names; ``None`` names them in order.
    """
    slices = [(frame, place) for frame in range(len(voxels)) for place in range(voxels.shape[3])]
    names = np.arange(len(slices)) if seed is None else np.random.default_rng(seed).permutation(len(slices))
    study, series = generate_uid(), [generate_uid() for _ in voxels]
    paths = []
    for (frame, place), name in zip(slices, names, strict=True):
        dataset = _dataset(MRImageStorage, study, series[frame if folder_for_each_frame else 0])
        dataset.SeriesNumber = 3 + frame if folder_for_each_frame else 3
        dataset.InstanceNumber = int(name) + 1
        dataset.ImagePositionPatient = _text(_position(affine, place))
        dataset.ImageOrientationPatient = _text(_orientation(affine))
        dataset.PixelSpacing = _text(_spacing(affine)[:2])
        dataset.SliceThickness = _text(_spacing(affine)[2:])[0]
        if times is not None:
            moment = BEGINNING + timedelta(seconds=float(times[frame]))
            dataset.AcquisitionDate = moment.strftime("%Y%m%d")
            dataset.AcquisitionTime = moment.strftime("%H%M%S.%f")
        if b_values is not None:
            dataset.DiffusionBValue = float(b_values[frame])
        _set_pixels(dataset, voxels[frame, :, :, place].T)
        if change is not None:
            changed = change(dataset, frame, place)
            if changed is False:
                continue
            dataset = changed or dataset
        path = folder / (f"series{frame}" if folder_for_each_frame else "") / f"IM{name:04d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path)
        paths.append(path)
    return paths


def write_enhanced(
    path: Path,
    voxels: np.ndarray,
    affine: np.ndarray,
    *,
    times: Sequence[float] | None = None,
    b_values: Sequence[float] | None = None,
    slope: float = 1.0,
) -> None:
    """Write one Enhanced MR Image Storage file of all slices of all frames, the last slice first."""
    dataset = _dataset(EnhancedMRImageStorage, generate_uid(), generate_uid())
    spacing, groups, pixels = _text(_spacing(affine)), [], []
    shared = dataset_of(
        PlaneOrientationSequence=[dataset_of(ImageOrientationPatient=_text(_orientation(affine)))],
        PixelMeasuresSequence=[dataset_of(PixelSpacing=spacing[:2], SliceThickness=spacing[2])],
    )
    rescaling = dataset_of(RescaleSlope=slope, RescaleIntercept=0, RescaleType="US")
    for place in reversed(range(voxels.shape[3])):
        for frame in range(len(voxels)):
            content = dataset_of(StackID="1", InStackPositionNumber=place + 1)
            if times is not None:
                moment = BEGINNING + timedelta(seconds=float(times[frame]))
                content.TemporalPositionIndex = frame + 1
                content.FrameAcquisitionDateTime = moment.strftime("%Y%m%d%H%M%S.%f")
            group = dataset_of(
                PlanePositionSequence=[dataset_of(ImagePositionPatient=_text(_position(affine, place)))],
                PixelValueTransformationSequence=[rescaling],
                FrameContentSequence=[content],
            )
            if b_values is not None:
                diffusion = dataset_of(DiffusionDirectionality="ISOTROPIC" if b_values[frame] else "NONE")
                if b_values[frame]:
                    diffusion.DiffusionBValue = float(b_values[frame])
                group.MRDiffusionSequence = [diffusion]
            groups.append(group)
            pixels.append(voxels[frame, :, :, place].T)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.NumberOfFrames = len(pixels)
    _set_pixels(dataset, np.stack(pixels))
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path)


def _dataset(storage: str, study: str, series: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = storage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.Modality = "MR"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    return dataset


def _set_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    dataset.PixelData = np.ascontiguousarray(pixels, dtype="<i2").tobytes()


def _position(affine: np.ndarray, place: int) -> np.ndarray:
    return (affine @ [0, 0, place, 1])[:3] * [-1, -1, 1]


def _spacing(affine: np.ndarray) -> np.ndarray:
    """Return the distance between rows, between columns, and between slices: Y, X, Z."""
    return np.linalg.norm(affine[:3, [1, 0, 2]], axis=0)


def _orientation(affine: np.ndarray) -> np.ndarray:
    lps = affine[:3] * np.array([[-1], [-1], [1]])
    return np.concatenate([lps[:, axis] / np.linalg.norm(lps[:, axis]) for axis in (0, 1)])


def _text(values: np.ndarray) -> list[str]:
    """Return numbers as DICOM writes them: at most 16 characters."""
    return [f"{value:.10f}"[:16] for value in values]


def dataset_of(**values: Any) -> Dataset:
    """Return a dataset with these attributes."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset
