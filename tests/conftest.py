# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported, and for processes that tests start: threads of two workers would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that the tests are in."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real MRI and reference values, or a skip that says how to name it."""
    folder = Path(os.environ.get("SEQ2SEQ_MRI_DATA", REPOSITORY.parent / "shared"))
    if not (folder / "data" / "brain").is_dir():
        pytest.skip(f"real MRI is not in {folder}; name its folder in SEQ2SEQ_MRI_DATA")
    return folder
