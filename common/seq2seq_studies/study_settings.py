# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A study's options as one frozen dataclass: the command that takes them, and checks of numbers and lists."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence

from seq2seq_mri.io.datalists.datalist import names_in_list

__all__ = ["check_positive", "command_of", "whole_numbers"]


def command_of(settings: type) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Turn a function of ``settings`` into one of their fields, with their docstring as its help."""

    def decorate(run: Callable[..., str]) -> Callable[..., str]:
        def command(*arguments: object, **options: object) -> str:
            return run(settings(*arguments, **options))

        command.__name__, command.__module__, command.__doc__ = run.__name__, run.__module__, settings.__doc__
        command.__signature__ = inspect.signature(settings)  # type: ignore[attr-defined]
        return command

    return decorate


def whole_numbers(value: int | str | Sequence[int], name: str) -> tuple[int, ...]:
    """Return one number or several, as ``0,1,2`` or a list, as a tuple without repetitions.

    Raises:
        ValueError: when there is none, or something else than a whole number from 0.
    """
    parts = names_in_list(value)  # type: ignore[arg-type]
    if not parts or not all(part.isdecimal() for part in parts):
        raise ValueError(f"{name} is {value!r}; give whole numbers from 0, such as 0,1,2.")
    return tuple(dict.fromkeys(map(int, parts)))


def check_positive(settings: object, names: Iterable[str], optional: Iterable[str] = (), whole: bool = False) -> None:
    """Check that fields are positive numbers, or ``whole`` ones; ``optional`` ones may be None.

    Raises:
        ValueError: when one is not; it names the first.
    """
    for name in (*names, *optional):
        value = getattr(settings, name)
        fits = isinstance(value, int if whole else (int, float)) and 0 < value < math.inf
        if not fits and not (value is None and name in optional):
            raise ValueError(f"{name} is {value!r}; give a positive {'whole ' if whole else ''}number.")
