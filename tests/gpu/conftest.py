# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Marks every test here as one of the GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
