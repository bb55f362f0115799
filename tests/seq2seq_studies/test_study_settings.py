# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Options as the fields of a dataclass, and lists of whole numbers as a command line gives them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import pytest

from seq2seq_studies.study_settings import command_of, whole_numbers


@dataclass(frozen=True)
class Settings:
    """Add numbers."""

    first: int
    second: int = 2


def test_a_command_has_the_fields_and_the_help_of_its_settings() -> None:
    @command_of(Settings)
    def add(settings: Settings) -> str:
        return str(settings.first + settings.second)

    assert (add(1), add(1, second=5), add.__name__, add.__doc__) == ("3", "6", "add", "Add numbers.")
    assert list(inspect.signature(add).parameters) == ["first", "second"]


@pytest.mark.parametrize(
    ("value", "numbers"), [(0, (0,)), ("0,2", (0, 2)), ([1, 1, 0], (1, 0)), ((3,), (3,)), ("4", (4,))]
)
def test_whole_numbers(value, numbers) -> None:
    assert whole_numbers(value, "folds") == numbers


@pytest.mark.parametrize("value", [-1, "a", [], 1.0, True, "1,x"])
def test_refuses_what_is_no_whole_number(value) -> None:
    with pytest.raises(ValueError, match="folds is"):
        whole_numbers(value, "folds")
