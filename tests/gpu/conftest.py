# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Makes the small networks of the networks' own tests importable; marks every test here as one of the GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parent / "networks")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
