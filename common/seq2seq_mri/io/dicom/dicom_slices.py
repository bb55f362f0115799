# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The slices that the DICOM files of a folder hold: where each lies, when and how it was measured, its pixels.

A classic MR file has one slice, an enhanced one has many frames; each slice or frame becomes one :class:`DicomSlice`.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import Tag
from pydicom.valuerep import DA, DT, TM

__all__ = [
    "UNREADABLE", "DicomSlice", "first_number", "first_value", "image_levels", "read_headers", "read_pixels",
    "read_slices", "stored_b_value",
]  # fmt: skip

# What reading a header that is no header, or values that are not of their kind, ends in.
UNREADABLE = (
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, EOFError),
    *(NotImplementedError, RecursionError, struct.error, BytesLengthException, InvalidDicomError),
)

#: What an attribute may hold: a number may be text, bytes that pydicom has not interpreted, or the first of several.
HeaderValue = str | bytes | float | Iterable | None

_SUFFIXES = (".dcm", ".dicom", ".ima")
# MR Image, Enhanced MR Image and Legacy Converted Enhanced MR Image Storage.
_MR_STORAGE = tuple(f"1.2.840.10008.5.1.4.1.1.4{end}" for end in ("", ".1", ".4"))
# Maps that scanners file beside the diffusion-weighted images they are computed from.
_MAPS = ("ADC", "EADC", "FA")
# No acquisition takes longer; a longer one has passed midnight with a date that did not change.
_LONGEST = timedelta(hours=12)

# Where vendors keep the b-value in classic files: group, creator of the private block, element.
_PRIVATE_B_VALUES = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x2001, "Philips Imaging DD 001", 0x03),
)


@dataclass(frozen=True, eq=False)
class DicomSlice:
    """One two-dimensional image; ``None`` is what its file does not say.

    Attributes:
        index: which frame of the file it is, from 0.
        origin: what slices of one acquisition share: study, modality, and which map it is, if any.
        spacing: distance between rows, and between columns, in mm.
        orientation: ``[2, 3]`` unit vectors along a row and along a column, in LPS+ space.
        position: ``[3]`` centre of the first pixel, in mm in LPS+ space.
        thickness: distance to a neighbouring slice in mm according to the header.
        slope: what stored pixels are multiplied by, before ``intercept`` is added.
        temporal_position: number of the timepoint.
        trigger_time: seconds since the trigger, or since the series' first timepoint.
        acquired: when the measurement began.
        temporal_resolution: seconds from one timepoint to the next.
        b_value: diffusion weighting in s/mm².
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


def read_headers(folder: Path) -> Iterator[tuple[Path, pydicom.Dataset]]:
    """Give the headers of all DICOM images in a folder and everything below it, in the order of their paths.

    Other files (text, DICOMDIR, hidden files, DICOM objects without an image) are passed over.

    Raises:
        ValueError: when a file cannot be read, is no DICOM file, or is truncated; the message names it.
    """
    for path in sorted(Path(root) / name for root, _, names in os.walk(folder) for name in names if name[0] != "."):
        if not path.is_file():  # a pipe or a device would be waited for
            continue
        try:
            header = _read_header(path)
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror or error}); copy it again.") from error
        except UNREADABLE as error:
            raise ValueError(f"{path} {error}") from error
        if header is not None:
            yield path, header


def read_slices(folder: Path) -> list[DicomSlice]:
    """Return the slices of all DICOM images in a folder and everything below it, in the order of their paths.

    Raises:
        FileNotFoundError: when the folder does not exist, is empty, or has no DICOM image.
        ValueError: when a file is corrupt or truncated, is there twice, or lacks what is needed to place its slices.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist or is no folder; correct the datalist or its dataset_dir.")
    if not any(folder.iterdir()):
        raise FileNotFoundError(f"{folder} is an empty folder; copy the DICOM files there, or leave the sequence out.")
    slices: list[DicomSlice] = []
    instances: dict[str, Path] = {}
    for path, header in read_headers(folder):
        try:
            slices += _slices_of(header, path)
            twice = instances.setdefault(str(header.get("SOPInstanceUID", path)), path)
        except UNREADABLE as error:
            raise ValueError(f"{path} {error}") from error
        if twice != path:
            raise ValueError(f"{twice} and {path} are the same image; remove one of the two.")
    if not slices:
        raise FileNotFoundError(f"{folder} has no DICOM image; correct the path.")
    return _past_midnight(slices)


def read_pixels(path: Path) -> np.ndarray:
    """Return the pixels of a file as they are stored, before its rescaling, as ``[frames, rows, columns]``.

    Raises:
        ValueError: when the file is corrupt or truncated, or compressed in a way that cannot be decoded; the message
            begins with what is wrong and leaves the file's name to the caller.
    """
    try:
        dataset = pydicom.dcmread(path)
        rows, columns, frames = int(dataset.Rows), int(dataset.Columns), int(dataset.get("NumberOfFrames") or 1)
        syntax = dataset.file_meta.TransferSyntaxUID
    except UNREADABLE as error:
        raise ValueError(f"is corrupt or truncated ({error}); copy it again.") from error
    try:
        pixels = dataset.pixel_array
    except (RuntimeError, NotImplementedError) as error:  # pydicom has no decoder, or the one that it has failed
        if not syntax.is_compressed or frames > 1:
            raise ValueError(f"has pixels that cannot be decoded ({syntax.name}: {error}).") from error
        try:
            pixels = _decode_with_itk(path)
        except (RuntimeError, ZeroDivisionError) as itk_error:
            raise ValueError(
                f"is compressed as {syntax.name}, which cannot be decoded here, or is corrupt; decompress the files "
                "first, for example with gdcmconv --raw, or install pylibjpeg with its plugins."
            ) from itk_error
    except UNREADABLE as error:
        raise ValueError(f"is corrupt or truncated ({error}); copy it again.") from error
    return pixels.reshape(-1, rows, columns)


def _decode_with_itk(path: Path) -> np.ndarray:
    """Decode what pydicom has no decoder for, such as JPEG Lossless: ITK brings the decoders of GDCM along."""
    import itk  # takes seconds to load and is rarely needed

    source = itk.GDCMImageIO.New()
    reader = itk.ImageFileReader[itk.Image[itk.D, 3]].New(FileName=str(path), ImageIO=source)
    reader.Update()
    pixels = itk.array_from_image(reader.GetOutput())
    # ITK rescales the pixels of some kinds of file and not of others.
    return (pixels - source.GetRescaleIntercept()) / source.GetRescaleSlope()


def _read_header(path: Path) -> pydicom.Dataset | None:
    """Return a file's header, or ``None`` when it is no DICOM image; errors leave the file's name to the caller."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except InvalidDicomError as error:
        if path.suffix.lower() in _SUFFIXES:
            raise ValueError("is no DICOM file, or is truncated; copy it again or remove it.") from error
        return None
    except EOFError as error:
        raise ValueError("is truncated; copy it again.") from error
    if "Rows" in header and "Columns" in header:
        # Values are interpreted when they are asked for; what fails there is to name this file.
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality"):
            header.get(keyword)
        return header
    storage = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    if storage in _MR_STORAGE:
        raise ValueError("is truncated: its header ends before the image; copy it again.")
    return None


def _slices_of(header: pydicom.Dataset, path: Path) -> list[DicomSlice]:
    frames = image_levels(header)
    if len(frames) != int(header.get("NumberOfFrames") or 1):
        raise ValueError(
            f"has {header.NumberOfFrames} frames and says of {len(frames)} where they lie; export it as Enhanced MR, "
            "or as one file for each slice."
        )
    return [_slice(datasets, header, path, index) for index, datasets in enumerate(frames)]


def image_levels(header: pydicom.Dataset) -> list[list[pydicom.Dataset]]:
    """Return for each image of a file the datasets that describe it, the most special one first."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        return [[header]]
    shared = _functional_groups(header.get("SharedFunctionalGroupsSequence") or [])
    return [[_functional_groups([item]), shared, header] for item in header.PerFrameFunctionalGroupsSequence]


def first_value(datasets: Sequence[pydicom.Dataset], *keywords: str) -> Any:
    """Return the first value that is there, by keyword and then by dataset; else ``None``."""
    found = (dataset.get(keyword) for keyword in keywords for dataset in datasets)
    return next((value for value in found if value not in (None, "")), None)


def _functional_groups(items: Iterable[pydicom.Dataset]) -> pydicom.Dataset:
    """Lay out functional groups of an enhanced file, the shared ones or those of a frame, as one flat dataset."""
    flat = pydicom.Dataset()
    for item in items:
        for group in item:
            if group.VR == "SQ" and not group.tag.is_private and group.value:
                flat.update(group.value[0])
    return flat


def _slice(datasets: list[pydicom.Dataset], header: pydicom.Dataset, path: Path, index: int) -> DicomSlice:
    get = partial(first_value, datasets)

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
    trigger_time, resolution = first_number(get("TriggerTime")), first_number(get("TemporalResolution"))
    temporal_position = whole("TemporalPositionIdentifier")
    slope = get("RescaleSlope")
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
        intercept=float(get("RescaleIntercept") or 0),
        temporal_position=whole("TemporalPositionIndex") if temporal_position is None else temporal_position,
        trigger_time=(first_number(get("TemporalPositionTimeOffset")) if trigger_time is None else trigger_time / 1000),
        acquired=_acquisition_moment(get),
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
    return [
        replace(part, acquired=part.acquired + timedelta(days=1))
        if part.acquired is not None and part.acquired < min(moments) + _LONGEST
        else part
        for part in slices
    ]


def first_number(value: HeaderValue) -> float | None:
    """Return the first number of a header's value, ``None`` where there is none or it is not finite."""
    if isinstance(value, bytes):
        if len(value) == 4 and value.strip(b"0123456789 \\\0"):
            return float(struct.unpack("<f", value)[0])
        value = value.decode("latin-1")
    if isinstance(value, str):
        value = value.replace("\0", "").split("\\")[0].strip()
    elif isinstance(value, Iterable):
        value = next(iter(value), None)
    if value in (None, ""):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _acquisition_moment(get: Callable[[str], HeaderValue]) -> datetime | None:
    """Return when an image's measurement began, on 1 January 1900 where the day is unknown."""
    for keyword in ("FrameAcquisitionDateTime", "AcquisitionDateTime"):
        if get(keyword):
            moment = DT(str(get(keyword)))
            return moment and datetime.combine(moment.date(), moment.time())
    if not get("AcquisitionTime"):
        return None
    day = DA(str(get("AcquisitionDate") or "")) or date(1900, 1, 1)
    clock = TM(str(get("AcquisitionTime")).replace(":", ""))
    return None if clock is None else datetime.combine(day, clock)


def stored_b_value(get: Callable[[str], HeaderValue], header: pydicom.Dataset) -> float | None:
    """Return the b-value in s/mm², from the standard's attribute or else from Siemens', GE's or Philips' own."""
    value = first_number(get("DiffusionBValue"))
    for group, creator, element in _PRIVATE_B_VALUES:
        if value is None:
            value = first_number(_private(header, group, creator, element))
            if value is not None and group == 0x0043:
                # GE adds a thousand million to the b-value of some images.
                value %= 1e9
    return None if value is None or value < 0 else value


def _private(header: pydicom.Dataset, group: int, creator: str, element: int) -> HeaderValue:
    try:
        return header.private_block(group, creator)[element].value
    except KeyError:
        # Anonymisers may keep an element and remove its creator; another creator's element means something else.
        plain = Tag(group, 0x1000 + element)
        return header[plain].value if plain in header and Tag(group, 0x0010) not in header else None
