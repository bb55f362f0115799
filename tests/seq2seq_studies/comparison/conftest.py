# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A small simulated cohort, and the recipes of all methods in the smallest size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mri_phantom.brain import SimulateBrain
from seq2seq_studies.comparison.comparison_cohort import Cohort
from seq2seq_studies.comparison.comparison_settings import ComparisonSettings
from seq2seq_studies.comparison.recipes import Recipe, build_recipe

BRAIN = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}


@pytest.fixture(scope="session")
def datalist(tmp_path_factory) -> Path:
    """The datalist of three subjects to train on, of which sequences are silenced, and two to test on."""
    folder = tmp_path_factory.mktemp("cohort")
    shape = {"shape": (32, 40, 32), "spacing": 5.0}
    return Path(SimulateBrain(folder, splits=(3, 0, 2), missing=(1, 2), healthy=0.0, seed=7, **shape)())


@pytest.fixture(scope="session")
def cohort_of(datalist, repository, tmp_path_factory) -> Callable[..., Cohort]:
    """Makes the cohort as the bundle of the brain prepares it."""

    def make(datalist: Path = datalist, **options) -> Cohort:
        options = {"bundle_dir": repository / "bundles" / "seq2seq_brats", "slice_size": (32, 32), **options}
        folder = tmp_path_factory.mktemp("prepared")
        return Cohort(ComparisonSettings(folder, **options), datalist, folder)

    return make


@pytest.fixture
def tiny_recipe() -> Callable[..., Recipe]:
    """Makes the recipe of a method."""

    def make(method: str, seed: int = 0, steps: int = 6, sequences: dict | None = None) -> Recipe:
        return build_recipe(method, "tiny", sequences or BRAIN, 1, (32, 32), steps, seed)

    return make


@pytest.fixture
def random_batches() -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    """Batches of two patches whose second lacks a sequence, that depend on the step only."""

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = torch.rand(2, 4, 32, 32, 1, generator=torch.Generator().manual_seed(step))
        measured = torch.tensor([[True] * 4, [True, True, False, True]])
        return image * measured[:, :, None, None, None], measured

    return batch
