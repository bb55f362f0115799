# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One simulated brain: tissues, geometry, and that the masks are what they claim on noise-free signals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from mri_phantom.brain_anatomy import brain_surface, draw_anatomy
from mri_phantom.scanner import Scan, blurred
from mri_phantom.subject import SEGMENTATION_LABELS, SimulatedSubject, draw_brain

SHAPE = (60, 70, 46)
SPACING = (3.2, 3.2, 3.2)
SCAN = Scan(SHAPE, SPACING)


@pytest.fixture(scope="module", params=[0, 1])
def patient(request: pytest.FixtureRequest) -> SimulatedSubject:
    return draw_brain(np.random.default_rng(request.param), SCAN)


def test_images_are_integers_with_background_exactly_zero(patient: SimulatedSubject) -> None:
    assert list(patient.images) == ["t1", "t1gd", "t2", "flair"]
    brain = patient.images["t1"] > 0
    for image in patient.images.values():
        assert image.shape == SHAPE
        assert image.dtype == np.int16
        assert image.min() == 0
        np.testing.assert_array_equal(image > 0, brain)
    assert 0.9 < brain.sum() * np.prod(SPACING) / 1e6 < 1.7, "litres"
    pieces, _ = ndimage.label(brain)
    assert np.bincount(pieces.ravel())[1:].max() > 0.999 * brain.sum()


def test_masks_lie_in_the_segmentation(patient: SimulatedSubject) -> None:
    assert set(np.unique(patient.truth["seg"])) == {0, 1, 2, 3}
    assert patient.unique["t1gd"].sum() > 30
    assert (patient.truth["seg"][patient.unique["t1gd"] > 0] == SEGMENTATION_LABELS["enhancing_tumour"]).all()
    assert (patient.truth["seg"][patient.unique["flair"] > 0] == SEGMENTATION_LABELS["fluid_oedema"]).all()


def test_enhancement_is_seen_in_t1gd_alone(patient: SimulatedSubject) -> None:
    enhancing = patient.unique["t1gd"] > 0
    # tumour beside it, without partial volumes, that does not enhance
    other = (patient.truth["seg"] == 1) & ndimage.binary_dilation(enhancing, iterations=2)
    signals = patient.signals
    solid = other & (signals["flair"] > 0.6 * np.median(signals["flair"][enhancing]))
    assert solid.sum() > 10
    for sequence in ("t1", "t2", "flair"):
        assert np.median(signals[sequence][solid]) == pytest.approx(
            np.median(signals[sequence][enhancing]), rel=0.25
        ), sequence
    assert np.median(signals["t1gd"][enhancing]) > 1.5 * np.median(signals["t1gd"][solid])
    assert (signals["t1gd"][enhancing] / signals["t1"][enhancing]).min() > 1.3


def test_a_healthy_subject_is_the_patient_without_the_tumour() -> None:
    healthy = draw_brain(np.random.default_rng(0), SCAN, glioma=False)
    patient = draw_brain(np.random.default_rng(0), SCAN)
    assert not healthy.truth["seg"].any()
    assert not any(mask.any() for mask in healthy.unique.values())
    np.testing.assert_array_equal(healthy.images["t1"] > 0, patient.images["t1"] > 0)
    same = np.isclose(healthy.signals["t1"], patient.signals["t1"], rtol=0.02)
    assert same.mean() > 0.8
    assert same[ndimage.distance_transform_edt(patient.truth["seg"] == 0) > 20].mean() > 0.99


def test_noise_and_bias_are_the_only_difference_from_the_blurred_signal() -> None:
    for noise, least, most in ((0.0, 0.0, 0.03), (0.2, 0.08, 1.0)):
        subject = draw_brain(np.random.default_rng(0), Scan(SHAPE, SPACING, noise=noise, bias=0.0))
        brain = subject.images["t2"] > 0
        ratio = subject.images["t2"][brain] / blurred(subject.signals["t2"][brain], brain)
        assert least < np.std(np.log(ratio)) < most, "without noise, mottling alone"


def test_tissues_fill_every_voxel() -> None:
    points = np.random.default_rng(0).uniform(-90, 90, (3, 20000)).astype(np.float32)
    points = points[:, brain_surface(points) > 0]
    anatomy = draw_anatomy(np.random.default_rng(1), points, width=2.0)
    np.testing.assert_allclose(anatomy.fractions.values.sum(0), 1, atol=1e-4)
    assert anatomy.fractions.values.min() > -1e-6
    share = dict(zip(anatomy.fractions.names, anatomy.fractions.values.mean(1), strict=True))
    assert 0.25 < share["grey_matter"] < 0.6
    assert 0.25 < share["white_matter"] < 0.55
    assert 0.03 < share["csf"] < 0.25
    for name in ("caudate", "putamen", "pallidum", "thalamus", "brainstem", "vein", "choroid_plexus"):
        assert 0 < share[name] < 0.06
    assert all(share[name] == 0 for name in ("tumour", "enhancing_tumour", "necrosis", "oedema", "fluid_oedema"))


def test_structures_lie_where_anatomy_has_them() -> None:
    expected = {"thalamus": (11, -17, 7), "putamen": (26, 0, 3), "caudate": (14, 12, 8), "brainstem": (0, -24, -30)}
    points = np.array(list(expected.values()), dtype=np.float32).T
    fractions = draw_anatomy(np.random.default_rng(0), points, width=2.0).fractions
    assert [fractions.names[index] for index in fractions.values.argmax(0)] == list(expected)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((32, 32, 32), (2.0, 2.0, 2.0)), ((33, 47, 40), (5.0, 5.0, 5.0)), ((64, 80, 32), (3.0, 3.0, 5.0))],
)
def test_the_brain_fits_any_grid(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    subject = draw_brain(np.random.default_rng(3), Scan(shape, spacing))
    brain = subject.images["flair"] > 0
    assert brain.mean() > 0.05
    for axis in range(3):
        assert not np.take(brain, [0, -1], axis).any()
    assert subject.unique["t1gd"].any()
