# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported, and for processes that tests start: threads of two workers would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    import torch

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


@pytest.fixture(scope="session")
def device() -> Iterator[torch.device]:
    """The GPU, whose float32 is exact while tests use it (no TF32), or a skip.

    ``SEQ2SEQ_MRI_GPU=cpu`` runs the tests of the GPU on the CPU, so that every line of them has run before a GPU is
    there.
    """
    import torch

    name = os.environ.get("SEQ2SEQ_MRI_GPU", "cuda")
    if name != "cpu" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device; SEQ2SEQ_MRI_GPU=cpu rehearses this test on the CPU")
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    # Compiling takes longer than most tests, which are of many shapes; one test has a network's functions compiled.
    with torch.compiler.set_stance("force_eager"):
        yield torch.device(name)
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed
