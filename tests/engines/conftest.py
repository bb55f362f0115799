# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A tiny cohort, and ``engine_parts`` made importable: in importlib mode pytest adds no folder itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from seq2seq_mri.data.simulation.brain import simulate_brain

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def brain_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated cohort: four subjects to train on, one to validate, three to test."""
    folder = tmp_path_factory.mktemp("brain_cohort")
    simulate_brain(folder, shape=(32, 32, 32), spacing=6.0, splits=(4, 1, 3), missing=(0, 2), seed=3)
    return folder


@pytest.fixture(scope="session")
def brats_configs(repository: Path) -> Path:
    """The folder of the bundle's configs."""
    return repository / "bundles" / "seq2seq_brats" / "configs"
