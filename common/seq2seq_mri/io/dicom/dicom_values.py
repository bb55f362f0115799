# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the values of a DICOM header mean: numbers in whatever form they were written, moments, b-values."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pydicom
from pydicom.tag import Tag
from pydicom.valuerep import DA, DT, TM

__all__ = ["acquisition_moment", "first_number", "stored_b_value"]

# Where vendors keep the b-value in classic files: group, creator of the private block, element.
_PRIVATE_B_VALUES = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x2001, "Philips Imaging DD 001", 0x03),
)


def first_number(value: Any) -> float | None:
    """Return the first number of a header's value; private values may be bytes that pydicom has not interpreted."""
    if isinstance(value, bytes):
        if len(value) == 4 and not value.strip(b"0123456789 \\\0"):
            value = value.decode("ascii")
        elif len(value) == 4:
            return float(struct.unpack("<f", value)[0])
        else:
            value = value.decode("latin-1")
    if isinstance(value, str):
        value = value.replace("\0", "").split("\\")[0].strip()
    elif value is not None and not isinstance(value, (int, float)):
        value = next(iter(value), None) if hasattr(value, "__iter__") else value
    if value in (None, ""):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def acquisition_moment(get: Callable[[str], Any]) -> datetime | None:
    """Return when an image's measurement began, on 1 January 1900 where the day is unknown.

    Args:
        get: gives the value of a keyword, ``None`` where the header has none.
    """
    for keyword in ("FrameAcquisitionDateTime", "AcquisitionDateTime"):
        if get(keyword):
            moment = DT(str(get(keyword)))
            return None if moment is None else datetime.combine(moment.date(), moment.time())
    if not get("AcquisitionTime"):
        return None
    day = DA(str(get("AcquisitionDate") or "")) or date(1900, 1, 1)
    clock = TM(str(get("AcquisitionTime")).replace(":", ""))
    return None if clock is None else datetime.combine(day, clock)


def stored_b_value(get: Callable[[str], Any], header: pydicom.Dataset) -> float | None:
    """Return the b-value in s/mm², from the standard's attribute or else from Siemens', GE's or Philips' own.

    Args:
        get: gives the value of a keyword, ``None`` where the header has none.
        header: the file's dataset, for the private elements.
    """
    value = first_number(get("DiffusionBValue"))
    for group, creator, element in _PRIVATE_B_VALUES:
        if value is None:
            value = first_number(_private(header, group, creator, element))
            if value is not None and group == 0x0043:
                # GE adds a thousand million to the b-value of some images.
                value %= 1e9
    return None if value is None or value < 0 else value


def _private(header: pydicom.Dataset, group: int, creator: str, element: int) -> Any:
    try:
        return header.private_block(group, creator)[element].value
    except KeyError:
        # Anonymisers may keep an element and remove its creator; another creator's element means something else.
        plain = Tag(group, 0x1000 + element)
        return header[plain].value if plain in header and Tag(group, 0x0010) not in header else None
