# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""References of a derived DICOM image to the images that it was made from."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.sequence import Sequence as DicomSequence

__all__ = ["SourceImages"]

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
# Positions along the normal that differ by less, in mm, are one position.
_SAME_POSITION = 0.05
# Images whose normals have a cosine below this are not parallel.
_PARALLEL = 0.999
# "Source image for image processing operation", of the standard's context group 7202.
_PURPOSE = ("121322", "DCM", "Source image for image processing operation")


class SourceImages:
    """The headers of the DICOM images that a volume was made from.

    Args:
        paths: the files, at least one, all of one study.

    Attributes:
        first: header of the first.
        study: StudyInstanceUID of all of them.
        instances: their SOPInstanceUIDs, in order.

    Raises:
        FileNotFoundError: when one does not exist, or there is none.
        ValueError: when one is no DICOM image, or they are of several studies.
    """

    def __init__(self, paths: Sequence[str | os.PathLike]) -> None:
        if not paths:
            raise FileNotFoundError("A derived series needs the DICOM files that it was made from; there are none.")
        headers = [_read(Path(path)) for path in paths]
        self.first = headers[0]
        self.study = str(self.first.StudyInstanceUID)
        for path, header in zip(paths, headers, strict=True):
            if header.StudyInstanceUID != self.study:
                raise ValueError(
                    f"{paths[0]} and {path} are of different studies; a derived series belongs to one study."
                )
        self.instances = [str(header.SOPInstanceUID) for header in headers]
        self._series: dict[str, list[Dataset]] = defaultdict(list)
        for header in headers:
            self._series[str(header.SeriesInstanceUID)].append(header)

    def refer(self, dataset: Dataset, position: np.ndarray, normal: np.ndarray) -> None:
        """Name the sources of one slice in its dataset, in SourceImageSequence and ReferencedSeriesSequence.

        Of a series that is parallel to the slice these are its images nearest to it, of all timepoints; of any other
        series, all.

        Args:
            dataset: the slice's dataset.
            position: ``[3]`` its position in mm in LPS+ space.
            normal: ``[3]`` its unit normal.
        """
        images, series = [], []
        for uid, headers in self._series.items():
            referenced = [_reference(header) for header in _nearest(headers, position, normal)]
            series.append(Dataset())
            series[-1].SeriesInstanceUID = uid
            series[-1].ReferencedInstanceSequence = DicomSequence(referenced)
            for item in map(_copy, referenced):
                item.PurposeOfReferenceCodeSequence = DicomSequence([_code(*_PURPOSE)])
                images.append(item)
        dataset.SourceImageSequence = DicomSequence(images)
        dataset.ReferencedSeriesSequence = DicomSequence(series)


def _read(path: Path) -> Dataset:
    if not path.is_file():
        raise FileNotFoundError(f"The source image {path} does not exist.")
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, EOFError) as error:
        raise ValueError(f"The source image {path} is no DICOM file, or is truncated.") from error
    for keyword in _NEEDED:
        if not header.get(keyword):
            raise ValueError(f"The source image {path} has no {keyword}.")
    return header


def _nearest(headers: Sequence[Dataset], position: np.ndarray, normal: np.ndarray) -> list[Dataset]:
    """Return the images of a series that lie nearest to a plane, or all where that means nothing."""
    distances = []
    for header in headers:
        origin, orientation = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
        if not origin or not orientation:  # an enhanced file, or no image in space
            return list(headers)
        axes = np.asarray(orientation, dtype=np.float64).reshape(2, 3)
        if abs(np.cross(axes[0], axes[1]) @ normal) < _PARALLEL:
            return list(headers)
        distances.append(abs(float((np.asarray(origin, dtype=np.float64) - position) @ normal)))
    nearest = min(distances) + _SAME_POSITION
    return [header for header, distance in zip(headers, distances, strict=True) if distance <= nearest]


def _reference(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item


def _copy(item: Dataset) -> Dataset:
    copy = Dataset()
    copy.update(item)
    return copy


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
