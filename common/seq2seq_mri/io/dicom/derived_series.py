# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Writes a synthesised volume as a derived MR series of the DICOM study that it was made from."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import torch
from monai.utils import convert_to_numpy
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset, validate_file_meta
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

__all__ = ["write_derived_mr_series"]

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MAXIMUM = 2**16 - 1
# By how much the rows and columns of an image may differ from a right angle, as the cosine.
_PERPENDICULAR = 1e-3
# Images whose normals have a cosine below this are not parallel.
_PARALLEL = 0.999
# Positions along the normal that differ by less, in mm, are one position.
_SAME_POSITION = 0.05
_MARK = "synthetic"
# Longest value of the value representation LO, which SeriesDescription has.
_LONGEST = 64
# Viewers may round rescaled values to whole numbers (OHIF does): an image between 0 and 1 would be black there.
_SCALE = 1000.0
# Who the study is of, and which study it is; empty where the source has none, as the standard wants it.
_OF_THE_STUDY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_WHERE_PRESENT = (
    "IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved",
    "DeidentificationMethod", "StudyDescription", "BodyPartExamined", "PatientPosition", "Laterality",
    "SpecificCharacterSet",
)  # fmt: skip


def write_derived_mr_series(
    volume: np.ndarray | torch.Tensor,
    affine: np.ndarray | torch.Tensor,
    references: Sequence[str | os.PathLike],
    folder: str | os.PathLike,
    description: str,
    *,
    series_number: int | None = None,
    times: Sequence[float] | None = None,
    b_values: Sequence[float] | None = None,
) -> list[Path]:
    """Write a volume as one MR Image Storage file for each slice, all of them or none.

    The series belongs to the study and the frame of reference of its sources, names them as what it was derived from,
    and says in every file that it is synthetic and for research only (ImageType DERIVED, DerivationDescription,
    ContentQualification, ImageComments). What a scanner set, such as echo times or a contrast agent, is not copied: no
    scanner has measured these images. Pixels are unsigned 16-bit numbers; RescaleSlope and RescaleIntercept, the same
    for all files, bring them to 1000 times the values of ``volume``, within half of RescaleSlope, which is 1/65535 of
    their range; DerivationDescription says so.
    UIDs follow from the content: the same volume of the same sources gives the same files, anything else other UIDs.

    Args:
        volume: ``[X, Y, Z]`` or ``[T, X, Y, Z]``; X becomes the columns of the images, Y their rows, Z the slices.
        affine: ``[4, 4]`` from voxel indices to millimetres in RAS+ space.
        references: the DICOM files that the volume was made from, of one study. The frame of reference is that of the
            first.
        folder: a folder that is new or empty.
        description: becomes SeriesDescription, at most 64 characters with the word "synthetic" among them.
        series_number: number of the series; default: 1000 above that of the first reference.
        times: seconds from the first timepoint to each, for ``T`` > 1.
        b_values: of the ``T`` > 1 timepoints in s/mm².

    Returns:
        the files, timepoint by timepoint, each from the first slice along the images' normal to the last.

    Raises:
        FileNotFoundError: when a reference does not exist, or there is none.
        FileExistsError: when ``folder`` holds something.
        ValueError: when the volume or affine cannot be written as MR images, the description does not say that they are
            synthetic, or the references are no DICOM images or of several studies.
    """
    folder = Path(folder)
    if _MARK not in description.lower() or len(description) > _LONGEST or not description.isascii():
        raise ValueError(
            f"The description of a derived series must say '{_MARK}', in at most {_LONGEST} ASCII characters; it is "
            f"{description!r}."
        )
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; give a new folder for the derived series.")
    voxels, lps = _along_normal(_checked_voxels(volume) * _SCALE, _checked_affine(affine))
    timepoints, _, _, slices = voxels.shape
    for name, values in (("times", times), ("b_values", b_values)):
        if values is not None and len(values) != timepoints:
            raise ValueError(f"There are {len(values)} {name} for {timepoints} timepoints.")
    stored, slope, intercept = _quantise(voxels)
    sources = _read_sources(references)
    first = sources[0]
    digest = hashlib.sha256(stored.tobytes())
    digest.update(repr((stored.shape, slope, intercept, lps.tolist(), description, times, b_values)).encode())
    digest.update("\n".join([first.StudyInstanceUID, *(header.SOPInstanceUID for header in sources)]).encode())
    series = generate_uid(entropy_srcs=[digest.hexdigest()])

    common = _of_the_series(first)
    common.SeriesInstanceUID, common.SeriesDescription = series, description
    common.SeriesNumber = int(first.get("SeriesNumber") or 0) + 1000 if series_number is None else series_number
    common.DerivationDescription += f" Values are {_SCALE:g} times those of the network."
    common.RescaleSlope, common.RescaleIntercept, common.RescaleType = slope, intercept, "US"
    width = float(np.percentile(stored, 99.8)) * float(slope)
    # What viewers show first; a width below 1 is not allowed, and they choose their own window without one.
    if width >= 1:
        common.WindowCenter = format_number_as_ds(float(intercept) + width / 2)
        common.WindowWidth = format_number_as_ds(width)
    _set_grid(common, lps, stored.shape)

    files = {}
    for number, (time, place) in enumerate(np.ndindex(timepoints, slices), start=1):
        position = (lps @ [0, 0, place, 1])[:3]
        dataset = Dataset()
        dataset.update(common)
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(number)])
        dataset.InstanceNumber = number
        dataset.ImagePositionPatient = _numbers(position)
        dataset.SliceLocation = format_number_as_ds(float(position @ _normal(lps)))
        if timepoints > 1:
            dataset.TemporalPositionIdentifier, dataset.NumberOfTemporalPositions = time + 1, timepoints
        if times is not None:
            dataset.TriggerTime = format_number_as_ds(1000 * float(times[time]))
        if b_values is not None:
            dataset.DiffusionBValue = float(b_values[time])
        _refer(dataset, sources, position, _normal(lps))
        dataset.PixelData = np.ascontiguousarray(stored[time, :, :, place].T).astype("<u2").tobytes()
        files[f"{number:05d}.dcm"] = dataset
    return _write(files, folder)


def _checked_voxels(volume: np.ndarray | torch.Tensor) -> np.ndarray:
    voxels = np.asarray(convert_to_numpy(volume), dtype=np.float64)
    if voxels.ndim == 3:
        voxels = voxels[None]
    if voxels.ndim != 4 or not voxels.size:
        raise ValueError(f"The volume has shape {voxels.shape}; [X, Y, Z] or [T, X, Y, Z] is needed.")
    if not np.isfinite(voxels).all():
        raise ValueError("The volume holds NaN or infinite values; it is not written.")
    return voxels


def _checked_affine(affine: np.ndarray | torch.Tensor) -> np.ndarray:
    matrix = np.asarray(convert_to_numpy(affine), dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
        raise ValueError("The affine must be a finite, invertible 4 x 4 matrix.")
    column, row = (matrix[:3, axis] / np.linalg.norm(matrix[:3, axis]) for axis in (0, 1))
    if abs(column @ row) > _PERPENDICULAR:
        raise ValueError("The affine shears the images: their rows and columns are not perpendicular. Resample first.")
    return matrix


def _along_normal(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels and the LPS+ affine with slices in the order of the normal, as readers sort them."""
    lps = _RAS_TO_LPS @ affine
    if lps[:3, 2] @ _normal(lps) < 0:
        lps[:3, 3] += lps[:3, 2] * (voxels.shape[3] - 1)
        lps[:3, 2] *= -1
        voxels = voxels[..., ::-1]
    return voxels, lps


def _quantise(voxels: np.ndarray) -> tuple[np.ndarray, str, str]:
    """Return uint16 voxels, and slope and intercept as the texts that stand in the file, at most 16 characters each."""
    # Zero, the background, stays exactly zero where nothing is negative.
    intercept = format_number_as_ds(min(0.0, float(voxels.min())))
    # A little more, so that rounding the slope to its text cannot push the brightest voxel out of the range.
    slope = format_number_as_ds((float(voxels.max()) - float(intercept)) * (1 + 1e-9) / _MAXIMUM or 1.0)
    stored = np.rint((voxels - float(intercept)) / float(slope))
    return np.clip(stored, 0, _MAXIMUM).astype(np.uint16), slope, intercept


def _normal(lps: np.ndarray) -> np.ndarray:
    normal = np.cross(lps[:3, 0], lps[:3, 1])
    return normal / np.linalg.norm(normal)


def _set_grid(dataset: Dataset, lps: np.ndarray, shape: tuple[int, ...]) -> None:
    columns, rows = (lps[:3, axis] / np.linalg.norm(lps[:3, axis]) for axis in (0, 1))
    dataset.ImageOrientationPatient = _numbers(np.concatenate([columns, rows]))
    dataset.PixelSpacing = _numbers(np.linalg.norm(lps[:3, [1, 0]], axis=0))
    between = format_number_as_ds(float(lps[:3, 2] @ _normal(lps)))
    dataset.SliceThickness = dataset.SpacingBetweenSlices = between
    dataset.Columns, dataset.Rows = shape[1], shape[2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0


def _of_the_series(source: Dataset) -> Dataset:
    dataset = _dataset(**{keyword: source.get(keyword, "") for keyword in _OF_THE_STUDY})
    for keyword in _WHERE_PRESENT:
        if keyword in source:
            setattr(dataset, keyword, source[keyword].value)
    dataset.SOPClassUID = MRImageStorage
    dataset.StudyInstanceUID = source.StudyInstanceUID
    # Without one in the source nothing is known to lie in the same space, not even the source.
    dataset.FrameOfReferenceUID = source.get("FrameOfReferenceUID") or generate_uid(
        entropy_srcs=[source.StudyInstanceUID, "frame of reference"]
    )
    dataset.PositionReferenceIndicator = source.get("PositionReferenceIndicator", "")
    dataset.Modality = "MR"
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.Manufacturer, dataset.ManufacturerModelName = "seq2seq_mri", "synthesis of missing sequences"
    dataset.DerivationDescription = (
        "Synthetic image: computed from the source images by a neural network, not measured by a scanner. For research "
        "only, not for diagnosis."
    )
    dataset.ImageComments = "SYNTHETIC, RESEARCH ONLY"
    dataset.ContentQualification = "RESEARCH"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = source.get("LossyImageCompression") or "00"
    # "RM", research mode, is the standard's only honest value here; what has to be there and is unknown is empty.
    dataset.ScanningSequence, dataset.SequenceVariant = "RM", "NONE"
    for keyword in ("ScanOptions", "MRAcquisitionType", "EchoTime", "EchoTrainLength", "RepetitionTime"):
        setattr(dataset, keyword, None)
    return dataset


def _read_sources(paths: Sequence[str | os.PathLike]) -> list[Dataset]:
    """Return the headers of the images that the volume was made from."""
    if not paths:
        raise FileNotFoundError("A derived series needs the DICOM files that it was made from; there are none.")
    headers: list[Dataset] = []
    for path in paths:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"The source image {path} does not exist.") from error
        except (InvalidDicomError, EOFError) as error:
            raise ValueError(f"The source image {path} is no DICOM file, or is truncated.") from error
        for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            if not header.get(keyword):
                raise ValueError(f"The source image {path} has no {keyword}.")
        headers.append(header)
        if header.StudyInstanceUID != headers[0].StudyInstanceUID:
            raise ValueError(f"{paths[0]} and {path} are of different studies; a derived series belongs to one study.")
    return headers


def _refer(dataset: Dataset, sources: Sequence[Dataset], position: np.ndarray, normal: np.ndarray) -> None:
    """Name the sources of a slice in its dataset: of a parallel series the nearest images, of any other series all.

    Position (mm) and unit normal of the slice are in LPS+ space.
    """
    of_series: dict[str, list[Dataset]] = defaultdict(list)
    for header in sources:
        of_series[header.SeriesInstanceUID].append(header)
    # Of the standard's context group 7202.
    meaning = "Source image for image processing operation"
    purpose = _dataset(CodeValue="121322", CodingSchemeDesignator="DCM", CodeMeaning=meaning)
    images, series = [], []
    for uid, headers in of_series.items():
        nearest = [
            {"ReferencedSOPClassUID": header.SOPClassUID, "ReferencedSOPInstanceUID": header.SOPInstanceUID}
            for header in _nearest(headers, position, normal)
        ]
        images += [_dataset(**image, PurposeOfReferenceCodeSequence=[purpose]) for image in nearest]
        instances = [_dataset(**image) for image in nearest]
        series.append(_dataset(SeriesInstanceUID=uid, ReferencedInstanceSequence=instances))
    dataset.SourceImageSequence, dataset.ReferencedSeriesSequence = images, series


def _nearest(headers: list[Dataset], position: np.ndarray, normal: np.ndarray) -> list[Dataset]:
    """Return the images of a series that lie nearest to a plane, or all where that means nothing."""
    distances = []
    for header in headers:
        origin, orientation = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
        if not origin or not orientation:  # an enhanced file, or no image in space
            return headers
        axes = np.asarray(orientation, dtype=np.float64).reshape(2, 3)
        if abs(np.cross(axes[0], axes[1]) @ normal) < _PARALLEL:
            return headers
        distances.append(abs(float((np.asarray(origin, dtype=np.float64) - position) @ normal)))
    nearest = min(distances) + _SAME_POSITION
    return [header for header, distance in zip(headers, distances, strict=True) if distance <= nearest]


def _dataset(**values: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _numbers(values: np.ndarray) -> list[str]:
    return [format_number_as_ds(float(value)) for value in values]


def _write(files: dict[str, Dataset], folder: Path) -> list[Path]:
    """Write into a folder beside ``folder``, which takes its place when all is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.partial")
    temporary.mkdir()
    try:
        for name, dataset in files.items():
            meta = FileMetaDataset()
            meta.FileMetaInformationGroupLength = 0  # pydicom fills in what is there
            meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            validate_file_meta(meta)
            path = temporary / name
            FileDataset(str(path), dataset, preamble=bytes(128), file_meta=meta, is_implicit_VR=False).save_as(path)
        os.replace(temporary, folder)
    except OSError as error:
        raise OSError(error.errno, f"cannot write the series {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [folder / name for name in files]
