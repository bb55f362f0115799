# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The sequence table: which MRI sequences there are, and how many timepoints each has.

A table is an ordered mapping ``{"t1": 1, "dce": 6, ...}``. It is the only place where sequences are named: the
position of a name is its index in availability masks and in one-hot target codes, and the timepoints of all
sequences, laid end to end in the table's order, are the channels of a subject's ``image`` tensor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch

__all__ = [
    "SEQUENCE_TABLES",
    "channel_slices",
    "check_sequences",
    "marked_sequences",
    "sequence_codes",
    "sequence_index",
]

#: The tables of the bundles, by the names that commands accept for them.
SEQUENCE_TABLES: dict[str, dict[str, int]] = {
    "brats": {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1},
    "breast": {
        **{"t1": 1, "fatsat_t1": 1, "t2": 1, "dce": 6, "fatsat_dce": 6},
        **{"wash_in": 1, "wash_out": 1, "dwi": 4},
    },
}


# Files are named after sequences, and configurations separate names by dots and commas.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")


def check_sequences(sequences: Mapping[str, int]) -> dict[str, int]:
    """Return ``sequences`` as a plain dictionary after checking it.

    Args:
        sequences: ordered mapping from a sequence's name to its number of timepoints.

    Raises:
        ValueError: when the table is empty, a name could not be part of a file's name, or a number of timepoints is not
            a positive integer.
    """
    if not sequences:
        raise ValueError('The sequence table is empty; give at least one sequence, for example {"t1": 1}.')
    for name, timepoints in sequences.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"The sequence name {name!r} is not of 1 to 60 letters, digits, _ and -; choose another.")
        if isinstance(timepoints, bool) or not isinstance(timepoints, int) or timepoints < 1:
            raise ValueError(f"Sequence '{name}' has {timepoints!r} timepoints; give a positive whole number.")
    return dict(sequences)


def sequence_index(sequences: Mapping[str, int], name: str) -> int:
    """Return the position of ``name`` in the table.

    Raises:
        ValueError: when the table has no such sequence; the message lists those it has.
    """
    names = list(sequences)
    if name not in names:
        raise ValueError(f"Unknown sequence '{name}'; the sequence table has {', '.join(names)}.")
    return names.index(name)


def marked_sequences(sequences: Mapping[str, int], mask: torch.Tensor | Sequence[bool]) -> list[str]:
    """Return the names that a mask ``[S]`` over the table marks, such as a sample's ``"available"``.

    Raises:
        ValueError: when the mask and the table differ in length.

    Example:
        >>> marked_sequences({"t1": 1, "t2": 1, "flair": 1}, torch.tensor([True, False, True]))
        ['t1', 'flair']
    """
    return [name for name, marked in zip(sequences, torch.as_tensor(mask).tolist(), strict=True) if marked]


def channel_slices(sequences: Mapping[str, int]) -> dict[str, slice]:
    """Return, for each sequence, the channels that its timepoints take in an ``image`` tensor.

    Example:
        >>> channel_slices({"t1": 1, "dce": 6})
        {'t1': slice(0, 1, None), 'dce': slice(1, 7, None)}
    """
    slices = {}
    start = 0
    for name, timepoints in sequences.items():
        slices[name] = slice(start, start + timepoints)
        start += timepoints
    return slices


def sequence_codes(sequences: Mapping[str, int], names: Sequence[str]) -> torch.Tensor:
    """Return the one-hot target codes of ``names``, float32 of shape ``(len(names), len(sequences))``.

    Raises:
        ValueError: when a name is not in the table.
    """
    indices = torch.tensor([sequence_index(sequences, name) for name in names], dtype=torch.long)
    return torch.nn.functional.one_hot(indices, len(sequences)).to(torch.float32)
