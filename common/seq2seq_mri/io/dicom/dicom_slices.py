# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The single slices that the DICOM files of a folder hold: where each lies, when and how it was measured, its pixels.

A classic MR file has one slice, an enhanced one has many frames; both become the same :class:`DicomSlice`.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from seq2seq_mri.io.dicom.dicom_values import acquisition_moment, first_number, stored_b_value

__all__ = ["DicomSlice", "functional_groups", "read_header", "read_pixels", "read_slices"]

_SUFFIXES = (".dcm", ".dicom", ".ima")
# MR Image, Enhanced MR Image and Legacy Converted Enhanced MR Image Storage.
_MR_STORAGE = tuple(f"1.2.840.10008.5.1.4.1.1.4{end}" for end in ("", ".1", ".4"))
# Maps that scanners file beside the diffusion-weighted images they are computed from.
_MAPS = ("ADC", "EADC", "FA")
# No acquisition takes longer; a longer one has passed midnight with a date that did not change.
_LONGEST = timedelta(hours=12)


@dataclass(frozen=True, eq=False)
class DicomSlice:
    """One two-dimensional image.

    Attributes:
        path: the file.
        index: which frame of the file it is, from 0.
        origin: what slices of one acquisition share: study, modality, and which map it is, if any.
        image_type: the value of ImageType, for messages.
        shape: rows and columns.
        spacing: distance between rows, and between columns, in mm.
        orientation: ``[2, 3]`` unit vectors along a row and along a column, in LPS+ space.
        position: ``[3]`` centre of the first pixel, in mm in LPS+ space.
        thickness: distance to a neighbouring slice in mm according to the header; ``None`` where it is not given.
        slope: what stored pixels are multiplied by.
        intercept: what is added to them afterwards.
        temporal_position: number of the timepoint.
        trigger_time: seconds since the trigger, or since the series' first timepoint.
        acquired: when the measurement began.
        acquisition_number: number of the measurement within the series.
        series_number: number of the series within the study.
        temporal_resolution: seconds from one timepoint to the next.
        b_value: diffusion weighting in s/mm²; ``None`` where the file does not say.
        trace: whether it is the mean over all directions of diffusion weighting.
    """

    path: Path
    index: int
    origin: tuple[str, str, str]
    image_type: str
    shape: tuple[int, int]
    spacing: tuple[float, float]
    orientation: np.ndarray
    position: np.ndarray
    thickness: float | None
    slope: float
    intercept: float
    temporal_position: int | None
    trigger_time: float | None
    acquired: datetime | None
    acquisition_number: int | None
    series_number: int | None
    temporal_resolution: float | None
    b_value: float | None
    trace: bool


def read_slices(folder: Path, subject: str) -> list[DicomSlice]:
    """Read the headers of all DICOM images in a folder and everything below it, in the order of their paths.

    Other files (text, DICOMDIR, hidden files, DICOM objects without an image) are passed over.

    Args:
        folder: the folder.
        subject: the subject's name, for messages.

    Raises:
        FileNotFoundError: when the folder does not exist, is empty, or has no DICOM image.
        ValueError: when a file is corrupt or truncated, is there twice, or lacks what is needed to place its slices.
    """
    where = f"Subject '{subject}': {folder}"
    if not folder.is_dir():
        raise FileNotFoundError(f"{where} does not exist or is no folder; correct the datalist or its dataset_dir.")
    files = sorted(Path(root) / name for root, _, names in os.walk(folder) for name in names if name[0] != ".")
    if not files:
        raise FileNotFoundError(f"{where} is an empty folder; copy the DICOM files there, or leave the sequence out.")
    slices: list[DicomSlice] = []
    instances: dict[str, Path] = {}
    for path in files:
        name = path.relative_to(folder)
        try:
            header = read_header(path)
            if header is None:
                continue
            slices += _slices_of(header, path)
            instance = str(header.get("SOPInstanceUID", path))
        except OSError as error:
            raise ValueError(f"{where}: {name} cannot be read ({error.strerror or error}); copy it again.") from error
        except (ValueError, TypeError, AttributeError, struct.error) as error:
            raise ValueError(f"{where}: {name} {error}") from error
        if instances.setdefault(instance, path) != path:
            twice = instances[instance].relative_to(folder)
            raise ValueError(f"{where}: {twice} and {name} are the same image; remove one of the two.")
    if not slices:
        raise FileNotFoundError(f"{where} has {len(files)} files, but no DICOM image; correct the path.")
    return _past_midnight(slices)


def read_pixels(path: Path) -> np.ndarray:
    """Return the pixels of a file as they are stored, before its rescaling, as ``[frames, rows, columns]``.

    Raises:
        ValueError: when the file is corrupt or truncated, or compressed in a way that cannot be decoded; the message
            begins with what is wrong and leaves the file's name to the caller.
    """
    dataset = pydicom.dcmread(path)
    try:
        pixels = dataset.pixel_array
    except (RuntimeError, NotImplementedError) as error:  # pydicom has no decoder, or the one that it has failed
        syntax = dataset.file_meta.TransferSyntaxUID
        if not syntax.is_compressed or int(dataset.get("NumberOfFrames") or 1) > 1:
            raise ValueError(f"has pixels that cannot be decoded ({syntax.name}: {error}).") from error
        try:
            pixels = _decode_with_itk(path)
        except (RuntimeError, ZeroDivisionError) as itk_error:
            raise ValueError(
                f"is compressed as {syntax.name}, which cannot be decoded here, or is corrupt; decompress the files "
                "first, for example with gdcmconv --raw, or install pylibjpeg with its plugins."
            ) from itk_error
    except (AttributeError, ValueError, EOFError, KeyError, struct.error, IndexError) as error:
        raise ValueError(f"is corrupt or truncated ({error}); copy it again.") from error
    return pixels.reshape(-1, int(dataset.Rows), int(dataset.Columns))


def _decode_with_itk(path: Path) -> np.ndarray:
    """Decode what pydicom has no decoder for, such as JPEG Lossless: ITK brings the decoders of GDCM along."""
    import itk  # takes seconds to load and is rarely needed

    source = itk.GDCMImageIO.New()
    reader = itk.ImageFileReader[itk.Image[itk.D, 3]].New(FileName=str(path), ImageIO=source)
    reader.Update()
    pixels = itk.array_from_image(reader.GetOutput())
    # ITK rescales the pixels of some kinds of file and not of others.
    return (pixels - source.GetRescaleIntercept()) / source.GetRescaleSlope()


def read_header(path: Path) -> pydicom.Dataset | None:
    """Return a file's header, or ``None`` when it is no DICOM image.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is corrupt or truncated; the message leaves the file's name to the caller.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except InvalidDicomError as error:
        if path.suffix.lower() in _SUFFIXES:
            raise ValueError("is no DICOM file, or is truncated; copy it again or remove it.") from error
        return None
    except EOFError as error:
        raise ValueError("is truncated; copy it again.") from error
    if "Rows" in header and "Columns" in header:
        return header
    storage = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    if storage in _MR_STORAGE:
        raise ValueError("is truncated: its header ends before the image; copy it again.")
    return None


def _slices_of(header: pydicom.Dataset, path: Path) -> list[DicomSlice]:
    frames: list[list[pydicom.Dataset]] = [[header]]
    if "PerFrameFunctionalGroupsSequence" in header:
        shared = functional_groups(header.get("SharedFunctionalGroupsSequence") or [])
        frames = [[functional_groups([item]), shared, header] for item in header.PerFrameFunctionalGroupsSequence]
    if len(frames) != int(header.get("NumberOfFrames") or 1):
        raise ValueError(
            f"has {header.NumberOfFrames} frames and says of {len(frames)} where they lie; export it as Enhanced MR, "
            "or as one file for each slice."
        )
    return [_slice(datasets, header, path, index) for index, datasets in enumerate(frames)]


def functional_groups(items: Any) -> pydicom.Dataset:
    """Lay out functional groups of an enhanced file, the shared ones or those of a frame, as one flat dataset."""
    flat = pydicom.Dataset()
    for item in items:
        for group in item:
            if group.VR == "SQ" and not group.tag.is_private and group.value:
                flat.update(group.value[0])
    return flat


def _slice(datasets: list[pydicom.Dataset], header: pydicom.Dataset, path: Path, index: int) -> DicomSlice:
    def get(keyword: str) -> Any:
        found = (dataset[keyword].value for dataset in datasets if keyword in dataset)
        return next((value for value in found if value not in (None, "")), None)

    def needed(keyword: str, size: int) -> np.ndarray:
        value = get(keyword)
        if value is None or len(value) != size or not np.isfinite(np.asarray(value, dtype=float)).all():
            raise ValueError(f"has no usable {keyword}; export the scanner's own images, not screenshots of them.")
        return np.asarray(value, dtype=np.float64)

    def whole(keyword: str) -> int | None:
        value = first_number(get(keyword))
        return None if value is None else round(value)

    image_type = get("ImageType") or ()
    image_type = (image_type,) if isinstance(image_type, str) else tuple(image_type)
    if "MOSAIC" in image_type:
        raise ValueError(
            "is a mosaic, all slices in one picture; convert the series to NIfTI, with a .bval file if it is DWI."
        )
    if (get("SamplesPerPixel") or 1) != 1:
        raise ValueError("is a colour image; export grey-scale images.")
    orientation = needed("ImageOrientationPatient", 6).reshape(2, 3)
    if not np.allclose(orientation @ orientation.T, np.eye(2), atol=1e-2):
        raise ValueError("has an ImageOrientationPatient that is not two perpendicular unit vectors.")
    spacing = needed("PixelSpacing", 2)
    if min(spacing) <= 0:
        raise ValueError(f"has a PixelSpacing of {spacing[0]:g} x {spacing[1]:g} mm.")
    trigger_time = first_number(get("TriggerTime"))
    offset = first_number(get("TemporalPositionTimeOffset"))
    resolution = first_number(get("TemporalResolution"))
    temporal_position = whole("TemporalPositionIdentifier")
    slope, intercept = get("RescaleSlope"), get("RescaleIntercept")
    directionality = get("DiffusionDirectionality")
    return DicomSlice(
        path=path,
        index=index,
        origin=(
            str(get("StudyInstanceUID") or ""),
            str(get("Modality") or ""),
            next((name for name in _MAPS if name in image_type), ""),
        ),
        image_type="\\".join(image_type),
        shape=(int(header.Rows), int(header.Columns)),
        spacing=(float(spacing[0]), float(spacing[1])),
        orientation=orientation,
        position=needed("ImagePositionPatient", 3),
        thickness=first_number(get("SpacingBetweenSlices")) or first_number(get("SliceThickness")),
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        temporal_position=whole("TemporalPositionIndex") if temporal_position is None else temporal_position,
        trigger_time=offset if trigger_time is None else trigger_time / 1000,
        acquired=acquisition_moment(get),
        acquisition_number=whole("AcquisitionNumber"),
        series_number=whole("SeriesNumber"),
        temporal_resolution=None if resolution is None else resolution / 1000,
        b_value=0.0 if directionality == "NONE" else stored_b_value(get, header),
        trace=directionality == "ISOTROPIC" or "TRACEW" in image_type,
    )


def _past_midnight(slices: list[DicomSlice]) -> list[DicomSlice]:
    """Move what was measured after midnight to the next day, where the date is unknown or that of the beginning."""
    moments = [part.acquired for part in slices if part.acquired is not None]
    if not moments or max(moments) - min(moments) <= _LONGEST or max(moments).date() != min(moments).date():
        return slices
    morning = min(moments) + _LONGEST
    return [
        replace(part, acquired=part.acquired + timedelta(days=1))
        if part.acquired is not None and part.acquired < morning
        else part
        for part in slices
    ]
