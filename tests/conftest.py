# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What all tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
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


@pytest.fixture
def another_job() -> Iterator[Callable[[Path], subprocess.Popen]]:
    """Return what starts a process that keeps others out of a folder until it is killed."""
    jobs: list[subprocess.Popen] = []

    def start(folder: Path) -> subprocess.Popen:
        program = "import sys; from seq2seq_mri.files import *; lock_directory(sys.argv[1]); print(flush=True); input()"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "common")}
        jobs.append(subprocess.Popen([sys.executable, "-c", program, str(folder)], env=environment, **pipes))
        assert jobs[-1].stdout is not None
        assert jobs[-1].stdout.readline()
        return jobs[-1]

    yield start
    for job in jobs:
        job.kill()
        job.communicate()


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


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a program as if these words were typed; returns exit code, standard output and standard error."""
    # Help must not need one where there is no terminal.
    monkeypatch.setenv("PAGER", "no-such-pager")

    def run(program: Callable[[], object], *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", list(words))
        code: object = 0
        try:
            program()
        except SystemExit as exit:
            code = exit.code or 0
        captured = capsys.readouterr()
        # As the interpreter does with a message.
        return (code, captured.out, captured.err) if isinstance(code, int) else (1, captured.out, f"{code}\n")

    return run


@pytest.fixture
def oblique_affine() -> np.ndarray:
    """An anisotropic, oblique affine whose axes run to the left, posterior and superior."""
    angle = np.deg2rad(12.0)
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-0.9, -1.1, 3.0])
    affine[:3, 3] = [41.5, 60.25, -17.0]
    return affine


@pytest.fixture
def write_volume(tmp_path: Path) -> Callable[..., str]:
    """Write a NIfTI file of seeded positive noise in a zero frame, or of the given voxels, and return its path."""

    def write(name, voxels=None, affine=None, shape=(9, 8, 7), seed=0, dtype=np.float32):
        if voxels is None:
            voxels = np.zeros(shape, dtype=dtype)
            inner = voxels[1:-1, 2:-1, 1:-2]
            inner[...] = np.random.default_rng(seed).integers(1, 1000, inner.shape)
        affine = np.eye(4) if affine is None else affine
        path = tmp_path / name
        nibabel.save(nibabel.Nifti1Image(np.asarray(voxels).astype(dtype), affine), path)
        return str(path)

    return write


@pytest.fixture
def real_subject(shared_data: Path) -> Callable[[str], dict[str, str]]:
    """Give the subject dictionary of a real patient, by its name."""

    def subject(name: str) -> dict[str, str]:
        brats = {"t1": "-t1n", "t1gd": "-t1c", "t2": "-t2w", "flair": "-t2f"}
        open_ms = {"t1": "_T1", "t1gd": "_T1POST", "t2": "_T2", "flair": "_FLAIR"}
        folder = shared_data / "data" / "brain" / name
        endings = open_ms if name.startswith("patient") else brats
        return {"subject": name} | {key: str(folder / f"{name}{ending}.nii.gz") for key, ending in endings.items()}

    return subject


@pytest.fixture(scope="session")
def brain_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated cohort: four subjects to train on, one to validate, three to test."""
    from mri_phantom.brain import SimulateBrain

    folder = tmp_path_factory.mktemp("brain_cohort")
    SimulateBrain(folder, shape=(32, 32, 32), spacing=6.0, splits=(4, 1, 3), missing=(0, 2), seed=3)()
    return folder


@pytest.fixture(scope="session")
def brats_configs(repository: Path) -> Path:
    """The folder of the bundle's configs."""
    return repository / "bundles" / "seq2seq_brats" / "configs"


SHAPE = (10, 14, 6)
NAMES = ("t1", "t1gd", "t2", "flair")

Subject = tuple[dict[str, np.ndarray], dict[tuple[str, str], np.ndarray]]


@pytest.fixture
def subject() -> Subject:
    """Return (measured images, translations), all positive inside a box that leaves two voxels of air around."""
    generator = np.random.default_rng(0)

    def volume() -> np.ndarray:
        image = np.zeros(SHAPE, dtype=np.float32)
        image[2:-2, 2:-2, 1:-1] = generator.uniform(0.3, 1.0, (SHAPE[0] - 4, SHAPE[1] - 4, SHAPE[2] - 2))
        return image

    truth = {name: volume() for name in NAMES}
    return truth, {(source, target): volume() for source in NAMES for target in NAMES}


@pytest.fixture
def texts() -> Callable:
    """Return a function that gives all that is written in a figure."""

    def collect(figure) -> list[str]:
        from matplotlib.text import Text

        return [text.get_text() for text in figure.findobj(Text) if text.get_text()]

    return collect


@pytest.fixture(scope="session")
def vgg19_state() -> dict[str, torch.Tensor]:
    """Random weights of VGG19's convolutions under torchvision's names, written from the published configuration."""
    import torch

    generator = torch.Generator().manual_seed(0)
    widths = [64, 64, "pool", 128, 128, "pool", *[256] * 4, "pool", *[512] * 4, "pool", *[512] * 4, "pool"]
    state, channels, index = {}, 3, 0
    for width in widths:
        if width == "pool":
            index += 1
            continue
        weight = torch.randn(width, channels, 3, 3, generator=generator) * (2 / (9 * channels)) ** 0.5
        state[f"features.{index}.weight"] = weight
        state[f"features.{index}.bias"] = 0.1 * torch.randn(width, generator=generator)
        channels, index = width, index + 2
    state["classifier.0.bias"] = torch.zeros(4096)
    return state


@pytest.fixture(scope="session")
def vgg19_file(vgg19_state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that these are in."""
    import torch

    path = tmp_path_factory.mktemp("vgg19") / "vgg19.pth"
    torch.save(vgg19_state, path)
    return path
