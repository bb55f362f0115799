# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Lists the MR series of a DICOM study from the headers: how each was measured, how many slices, which files."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pydicom

from seq2seq_mri.io.dicom.dicom_slices import (
    UNREADABLE,
    first_number,
    first_value,
    image_levels,
    read_headers,
    stored_b_value,
)

__all__ = ["NUMBERS", "TEXTS", "StudySeries", "read_study"]

#: Texts of a series, by the attributes of DICOM that they come from; the first that a file has counts.
TEXTS: dict[str, tuple[str, ...]] = {
    "description": ("SeriesDescription", "ProtocolName"),
    "protocol": ("ProtocolName",),
    "sequence_name": ("SequenceName", "PulseSequenceName"),
    "scanning_sequence": ("ScanningSequence",),
    "sequence_variant": ("SequenceVariant",),
    "image_type": ("ImageType",),
}
#: Numbers that are read from every image of a series, likewise.
NUMBERS: dict[str, tuple[str, ...]] = {
    "echo_time": ("EchoTime", "EffectiveEchoTime"),
    "repetition_time": ("RepetitionTime",),
    "inversion_time": ("InversionTime", "InversionTimes"),
    "flip_angle": ("FlipAngle",),
    "echo_train_length": ("EchoTrainLength", "RFEchoTrainLength"),
}
_NO_AGENT = ("", "no", "none", "0")
# Directions and positions that differ by less are equal.
_DECIMALS = 2


@dataclass(frozen=True)
class StudySeries:
    """One series of a study.

    Attributes:
        uid: SeriesInstanceUID; ``number`` is SeriesNumber and ``study`` StudyInstanceUID.
        files: in the order of their paths.
        texts: the names in :data:`TEXTS` → value, parts joined by a backslash; empty where the files do not say.
        numbers: the names in :data:`NUMBERS` → all values among its images, in ms and degrees; ``"b_value"`` → the
            highest in s/mm²; ``"slices"`` → positions along the slice axis; ``"orientations"`` → directions of slices.
            Empty where the files do not say.
        contrast_agent: whether the files name one.
    """

    uid: str
    number: int | None
    study: str
    modality: str
    files: tuple[Path, ...]
    texts: Mapping[str, str]
    numbers: Mapping[str, tuple[float, ...]]
    contrast_agent: bool

    def __str__(self) -> str:
        number = "without number" if self.number is None else str(self.number)
        return f"series {number} '{self.texts['description']}' ({self.uid})"


def read_study(folder: str | os.PathLike) -> list[StudySeries]:
    """Return the MR series of the one study that lies in a folder and below it, in the order of their numbers.

    Series may be mixed in a folder; files that are no DICOM images are passed over.

    Raises:
        FileNotFoundError: when the folder does not exist or has no DICOM image.
        ValueError: when a file is corrupt or truncated, the images are of several studies, or none is MR.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} does not exist or is no folder; give the folder of a DICOM study.")
    headers: dict[str, list[tuple[Path, pydicom.Dataset]]] = defaultdict(list)
    for path, header in read_headers(root):
        headers[str(header.get("SeriesInstanceUID", ""))].append((path, header))
    if not headers:
        raise FileNotFoundError(f"{root} has no DICOM image; give the folder of a DICOM study.")
    try:
        series = [_series(uid, content) for uid, content in headers.items()]
    except UNREADABLE as error:
        raise ValueError(f"{root} has a DICOM header that cannot be read: {error}") from error
    studies = sorted({part.study for part in series})
    if len(studies) > 1:
        raise ValueError(f"{root} holds {len(studies)} studies ({', '.join(studies)}); give the folder of one.")
    found = sorted(
        (part for part in series if part.modality == "MR"),
        key=lambda part: (part.number is None, part.number or 0, part.uid),
    )
    if not found:
        kinds = Counter(part.modality or "unknown" for part in series)
        listed = ", ".join(f"{count} of modality {kind}" for kind, count in sorted(kinds.items()))
        raise ValueError(f"The study in {root} has no MR series, only {listed}.")
    return found


def _series(uid: str, content: Sequence[tuple[Path, pydicom.Dataset]]) -> StudySeries:
    first = content[0][1]
    levels = [(level, header) for _, header in content for level in image_levels(header)]
    numbers: dict[str, set[float]] = {name: set() for name in (*NUMBERS, "b_value")}
    directions, positions = set(), set()
    for level, header in levels:
        for name, keywords in NUMBERS.items():
            value = first_number(first_value(level, *keywords))
            # Where nothing is inverted, some scanners write an inversion time of 0.
            if value is not None and not (name == "inversion_time" and value == 0):
                numbers[name].add(value)
        b_value = stored_b_value(partial(first_value, level), header)
        if b_value is not None:
            numbers["b_value"].add(b_value)
        orientation, position = (
            first_value(level, "ImageOrientationPatient"),
            first_value(level, "ImagePositionPatient"),
        )
        if orientation is not None and position is not None:
            along_row, along_column = np.asarray(orientation, dtype=float).reshape(2, 3)
            normal = np.cross(along_row, along_column)
            directions.add(tuple(np.round(normal, _DECIMALS) + 0.0))
            positions.add(round(float(np.asarray(position, dtype=float) @ normal), _DECIMALS))
    described = {name: tuple(sorted(values)) for name, values in numbers.items()}
    described["b_value"] = described["b_value"][-1:]
    described |= {"slices": (float(len(positions)),), "orientations": (float(len(directions)),)}
    number = first_number(first.get("SeriesNumber"))
    return StudySeries(
        uid=uid,
        number=None if number is None else int(number),
        study=str(first.get("StudyInstanceUID", "")),
        modality=str(first.get("Modality", "")),
        files=tuple(path for path, _ in content),
        texts={name: _text(first_value(levels[0][0], *keywords)) for name, keywords in TEXTS.items()},
        numbers=described,
        contrast_agent=any(
            str(header.get("ContrastBolusAgent") or "").strip().lower() not in _NO_AGENT
            or header.get("ContrastBolusAgentSequence")
            for _, header in content
        ),
    )


def _text(value: str | Iterable | None) -> str:
    if value is None or isinstance(value, str):
        return (value or "").strip()
    return "\\".join(map(str, value))
