# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The options that benchmarks have in common, checked before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["SIZES", "check_count", "check_image_size", "check_network_size", "chosen"]

#: ``published``: the released network; ``bundle``: the reduced one of seq2seq_brats; ``tiny``: to try the programs.
SIZES = ("published", "bundle", "tiny")


def chosen(names: str | Sequence[str], known: Sequence[str], option: str) -> list[str]:
    """Return the names that an option gives, separated by commas, in the order of ``known``.

    Raises:
        ValueError: when there is none, or one is unknown.
    """
    listed = [names] if isinstance(names, str) else [str(name) for name in names]
    listed = [part.strip() for name in listed for part in name.split(",")]
    unknown = [name for name in listed if name not in known]
    if unknown or not listed:
        raise ValueError(f"{option} is {names!r}; give one or more of {', '.join(known)}.")
    return [name for name in known if name in listed]


def check_count(**options: Any) -> None:
    """Refuse an option, given by its name, that is no positive whole number.

    Raises:
        ValueError: when one is not.
    """
    for option, value in options.items():
        if not _is_whole(value) or value < 1:
            raise ValueError(f"{option} is {value!r}; give a positive whole number.")


def check_image_size(**options: Any) -> None:
    """Refuse a width, given by the option's name, that not every network can take.

    Raises:
        ValueError: when one is no multiple of 4, by which the published encoder divides it, or too small.
    """
    for option, value in options.items():
        if not _is_whole(value) or value < 16 or value % 4:
            raise ValueError(f"{option} is {value!r}; give a multiple of 4 from 16.")


def check_network_size(**options: Any) -> None:
    """Refuse a size of the network, given by the option's name, that is not in ``SIZES``.

    Raises:
        ValueError: when one is not.
    """
    for option, value in options.items():
        if value not in SIZES:
            raise ValueError(f"{option} is {value!r}; give one of {', '.join(SIZES)}.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
