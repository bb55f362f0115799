# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""NormalizeSequencesd against a few lines of NumPy."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from seq2seq_mri.io.datalists.scan import scan_dataset
from seq2seq_mri.transforms.intensity import NormalizeSequencesd

TABLE = {"t1": 1, "dce": 3, "t2": 1}


@pytest.fixture
def image() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(5, 7, 6, 5, generator=generator) * 100 + 280
    image[:, :2] = torch.randn(5, 2, 6, 5, generator=generator)  # a background with negative values
    image[1:4] *= torch.tensor([1.0, 4.0, 2.0]).reshape(3, 1, 1, 1)
    image[4] = 0
    return image


@pytest.mark.parametrize(
    ("options", "percentile", "clip_factor", "output_range"),
    [
        ({}, 99, 1.5, (0, 1)),
        ({"clip_factor": 2.0, "output_range": (-1.0, 1.0)}, 99, 2, (-1, 1)),
        ({"percentile": 100, "clip_factor": 1.0, "output_range": (0, 255)}, 100, 1, (0, 255)),
        ({"percentile": 50, "clip_factor": 0.5, "output_range": (-3, -1)}, 50, 0.5, (-3, -1)),
    ],
)
def test_against_numpy(image, options, percentile, clip_factor, output_range) -> None:
    given = MetaTensor(image.clone())
    result = NormalizeSequencesd(TABLE, **options)({"image": given})["image"]
    assert torch.equal(given.as_tensor(), image)
    lower, upper = output_range
    for part in (slice(0, 1), slice(1, 4)):
        values = image[part].double().numpy()
        bound = clip_factor * max(np.percentile(frame[frame > 0], percentile) for frame in values)
        expected = lower + (upper - lower) * np.clip(values, 0, bound) / bound
        np.testing.assert_allclose(result[part].numpy(), expected, rtol=1e-5, atol=1e-5 * (upper - lower))
    assert (result[image <= 0] == lower).all()
    assert isinstance(result, MetaTensor)
    assert result.dtype == torch.float32


def test_measured_sequence_without_positive_voxels(image) -> None:
    sample = {"image": image, "measured": torch.tensor([True, True, True]), "subject": "p1"}
    with pytest.raises(ValueError, match="Subject 'p1': sequence 't2' has no voxel above zero"):
        NormalizeSequencesd(TABLE)(sample)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percentile": 0}, "percentile is 0"),
        ({"percentile": 101}, "percentile is 101"),
        ({"clip_factor": 0}, "clip_factor is 0"),
        ({"output_range": (1, 0)}, "output_range is"),
        ({"output_range": (0, 1, 2)}, "output_range is"),
        ({"signed": ["pd"]}, "Unknown sequence 'pd'"),
    ],
)
def test_arguments_out_of_range(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        NormalizeSequencesd(TABLE, **options)


def z_scores(head: np.ndarray) -> np.ndarray:
    """Standardise the tissue and leave the background at 0, as nnU-Net and many others do."""
    tissue = head > 0
    return np.where(tissue, (head - head[tissue].mean()) / head[tissue].std(), 0)


@pytest.fixture
def head() -> np.ndarray:
    """Tissue of one sequence, 16-bit values in a background of zeros."""
    head = np.zeros((12, 14, 10))
    head[3:9, 3:11, 2:8] = np.random.default_rng(0).gamma(9.0, 100.0, (6, 8, 6)).round()
    return head


def normalize_one(head: np.ndarray, **options) -> torch.Tensor:
    sample = {"image": torch.from_numpy(np.asarray(head, dtype=np.float32))[None], "subject": "p1"}
    return NormalizeSequencesd({"t2": 1}, **options)(sample)["image"]


@pytest.mark.parametrize(
    "scale",
    [
        z_scores,
        lambda head: 2 * head / head.max() - 1,
        lambda head: head - 1024,
        lambda head: (30 * head).astype(np.uint16).view(np.int16),
    ],
    ids=["z-scores", "to [-1, 1]", "less 1024", "unsigned integers read as signed"],
)
def test_intensities_around_zero_are_refused(head, scale) -> None:
    scaled = scale(head)
    share = f"{np.count_nonzero(scaled < 0) / np.count_nonzero(scaled):.0%}"
    with pytest.raises(ValueError, match=f"'p1': sequence 't2' is negative in {share} of its.*Give intensities before"):
        normalize_one(scaled)


@pytest.mark.parametrize("background", [-1.0, -20.0])
def test_a_background_a_little_below_zero_is_background(head, background) -> None:
    assert torch.equal(normalize_one(np.where(head > 0, head, background)), normalize_one(head))


def test_negative_values_of_a_signed_sequence_are_background(head) -> None:
    result = normalize_one(z_scores(head), signed=["t2"])
    np.testing.assert_array_equal(result[0].numpy() > 0, z_scores(head) > 0)


def test_settings_make_the_same_transform(image) -> None:
    first = NormalizeSequencesd(TABLE, percentile=98, clip_factor=1.2, output_range=(-1, 1))
    second = NormalizeSequencesd(TABLE, **first.settings)
    assert torch.equal(first({"image": image})["image"], second({"image": image})["image"])
    assert repr(first) == repr(second) != repr(NormalizeSequencesd(TABLE))


def real_images(folder: Path) -> dict[str, np.ndarray]:
    (subject,) = scan_dataset(folder, {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}).subjects.values()
    return {name: np.asarray(nibabel.load(path).dataobj, dtype=np.float32) for name, (path,) in subject.files.items()}


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("patient", "enhancing", "at_a_percentile"), [("BRATS_001", 3, 0.158), ("BraTS2021_00495", 4, 0.0166)]
)
def test_an_enhancing_tumour_is_not_flattened(shared_data, patient, enhancing, at_a_percentile) -> None:
    """The shares that the class's docstring gives; the labels of Task01 and of BraTS differ."""
    folder = shared_data / "data" / "brain" / patient
    labels = np.asarray(nibabel.load(folder / f"{patient}_seg.nii.gz").dataobj)
    images = real_images(folder)
    for image in images.values():
        flat = (normalize_one(image)[0] > 1 - 1e-6).numpy()
        assert flat[labels == enhancing].mean() < 0.01
        assert flat[labels > 0].mean() < 0.0025
    t1gd = images["t1gd"]
    assert np.median(normalize_one(t1gd)[0].numpy()[t1gd > 0]) > 0.25
    flat = (normalize_one(t1gd, percentile=99.5, clip_factor=1)[0] > 1 - 1e-6).numpy()
    assert flat[labels == enhancing].mean() == pytest.approx(at_a_percentile, abs=0.001)


@pytest.mark.real_data
def test_a_real_patient_with_a_few_negative_voxels(shared_data) -> None:
    for image in real_images(shared_data / "data" / "brain" / "patient07").values():
        assert image.min() < 0
        assert normalize_one(image).min() == 0
        with pytest.raises(ValueError, match=r"negative in [3-6]\d% "):
            normalize_one(z_scores(image))
