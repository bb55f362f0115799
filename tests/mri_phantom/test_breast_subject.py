# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One simulated breast examination: geometry, and that the truth is what it claims on noise-free signals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from mri_phantom.scanner import Scan
from mri_phantom.subject import ACQUIRED, SimulatedSubject, draw_breast
from mri_phantom.tissue import BREAST_LABELS

SHAPE = (44, 40, 36)
SPACING = (3.6, 3.6, 3.6)


def draw(seed: int, **options) -> SimulatedSubject:
    examination = {name: options.pop(name) for name in ("lesions", "sequences", "coronal") if name in options}
    scan = Scan(**{"shape": SHAPE, "spacing": SPACING, "bias": 0.06} | options)
    return draw_breast(np.random.default_rng(seed), scan, **examination)


@pytest.fixture(scope="module", params=[0, 1])
def patient(request: pytest.FixtureRequest) -> SimulatedSubject:
    return draw(request.param, lesions=("malignant", "benign"))


def region(subject: SimulatedSubject, *names: str) -> np.ndarray:
    return np.isin(subject.truth["tissue"], [BREAST_LABELS[name] for name in names])


def test_images_are_integers_with_background_exactly_zero(patient: SimulatedSubject) -> None:
    assert tuple(patient.images) == ACQUIRED
    body = patient.truth["tissue"] > 0
    for name, image in patient.images.items():
        assert image.dtype == np.int16
        assert image.shape == ({"dce": 6, "fatsat_dce": 6, "dwi": 4}.get(name, 1), *SHAPE)
        np.testing.assert_array_equal(image > 0, np.broadcast_to(body, image.shape))
    for truth in (*patient.truth.values(), *patient.unique.values()):
        assert truth.shape == SHAPE
        assert not truth[~body].any()


def test_the_breast_hangs_forward_in_air(patient: SimulatedSubject) -> None:
    body = patient.truth["tissue"] > 0
    assert not body[:, -1].any(), "air in front of the nipple"
    assert body[:, 0].mean() > 0.9, "the chest fills the back"
    pieces, _ = ndimage.label(body)
    assert np.bincount(pieces.ravel())[1:].max() > 0.99 * body.sum()
    # from front to back: skin, then fat or gland, then muscle
    front = [np.argwhere(region(patient, name))[:, 1].mean() for name in ("fibroglandular", "muscle", "lung")]
    assert front == sorted(front, reverse=True)


def test_non_mass_enhancement_is_seen_after_the_injection_alone(patient: SimulatedSubject) -> None:
    unique = patient.unique["dce"] > 0
    assert unique.sum() > 10
    assert (patient.truth["lesion"][unique] > 0).all()
    hidden, gland = region(patient, "non_mass"), region(patient, "fibroglandular")
    for name in ("t1", "fatsat_t1", "t2", "dwi"):
        first, second = (np.median(patient.signals[name][:, mask], axis=1) for mask in (hidden, gland))
        np.testing.assert_allclose(first, second, rtol=0.08, err_msg=name)
    before, early = patient.signals["fatsat_dce"][:2]
    assert np.median(before[hidden]) == pytest.approx(np.median(before[gland]), rel=0.05)
    assert np.median(early[hidden]) > 1.4 * np.median(early[gland])


def test_restricted_diffusion_is_seen_in_dwi_alone(patient: SimulatedSubject) -> None:
    unique = patient.unique["dwi"] > 0
    assert unique.sum() > 3
    assert (patient.truth["lesion"][unique] == 2).all()
    other = region(patient, "malignant")
    for name in ("t1", "fatsat_t1", "t2", "dce", "fatsat_dce"):
        first, second = (np.median(patient.signals[name][:, mask], axis=1) for mask in (unique, other))
        np.testing.assert_allclose(first, second, rtol=0.12, err_msg=name)
    assert np.median(patient.truth["adc"][unique]) < 0.85 * np.median(patient.truth["adc"][other])
    assert np.median(patient.signals["dwi"][-1][unique]) > 1.3 * np.median(patient.signals["dwi"][-1][other])


def test_half_of_the_benign_lesions_are_seen_after_the_injection_alone() -> None:
    unique = 0
    for seed in range(8):
        subject = draw(seed, shape=(32, 32, 32), spacing=(5.0, 5.0, 5.0), lesions=("benign",), sequences=())
        assert set(np.unique(subject.truth["lesion"])) == {0, 1}
        unique += subject.unique["dce"].any()
        assert region(subject, "benign_isointense" if subject.unique["dce"].any() else "benign").any()
    assert 2 <= unique <= 6


def test_adc_and_uptake_are_those_of_the_tissues_and_signals() -> None:
    subject = draw(0)
    assert tuple(subject.tissues) == tuple(BREAST_LABELS)
    blood, fat = region(subject, "heart_blood", "vessel"), region(subject, "adipose")
    assert subject.truth["adc"][blood].max() == pytest.approx(subject.tissues["vessel"].adc, rel=1e-3)
    assert np.median(subject.truth["ktrans"][fat]) == pytest.approx(subject.tissues["adipose"].ktrans, rel=0.3)
    series = subject.signals["dwi"]
    body = subject.truth["tissue"] > 0
    # where tissues mix, the decay bends: the truth is its beginning
    slope = -np.log(series[1][body] / series[0][body]) / 150 * 1000
    assert np.percentile(np.abs(slope - subject.truth["adc"][body]), 95) < 0.1
    whole = -np.log(series[3][body] / series[0][body]) / 1500 * 1000
    assert (whole <= subject.truth["adc"][body] + 1e-3).all()


def test_a_healthy_subject_is_the_patient_without_lesions() -> None:
    healthy, patient = draw(0, lesions=()), draw(0)
    assert not healthy.truth["lesion"].any()
    assert not any(mask.any() for mask in healthy.unique.values())
    far = ndimage.distance_transform_edt(patient.truth["lesion"] == 0) > 15
    assert far.any()
    np.testing.assert_array_equal(healthy.truth["tissue"][far], patient.truth["tissue"][far])
    np.testing.assert_allclose(healthy.signals["dce"][:, far], patient.signals["dce"][:, far], rtol=1e-5)


def test_a_sequence_does_not_depend_on_the_others() -> None:
    alone, all_of_them = draw(1, sequences=("dwi",)), draw(1)
    assert list(alone.images) == ["dwi"]
    np.testing.assert_array_equal(alone.images["dwi"], all_of_them.images["dwi"])


def test_coronal_slices_blur_from_front_to_back() -> None:
    options = {"noise": 0.0, "motion": 0.0, "spacing": (2.5, 2.5, 2.5), "shape": (56, 50, 50)}
    thin, thick = (draw(0, coronal=coronal, **options).images for coronal in (False, True))
    body = thin["t1"][0] > 0

    def roughness(image: np.ndarray, axis: int) -> float:
        inner = ndimage.binary_erosion(body, iterations=3)
        return float(np.abs(np.diff(image[0].astype(float), 2, axis=axis, append=0, prepend=0))[inner].mean())

    assert roughness(thick["t1"], 1) < 0.7 * roughness(thin["t1"], 1)
    assert roughness(thick["t1"], 2) > 0.7 * roughness(thin["t1"], 2)
    np.testing.assert_array_equal(thick["fatsat_t1"], thin["fatsat_t1"])


def test_motion_shifts_later_frames_alone() -> None:
    options = {"noise": 0.0, "bias": 0.0, "lesions": ()}
    still, moved = (draw(0, motion=motion, **options).images["dce"].astype(float) for motion in (0.0, 3.0))
    body = still[0] > 0
    gain = np.median(moved[0][body] / still[0][body])
    np.testing.assert_allclose(moved[0], gain * still[0], atol=2)
    change = np.abs(moved[1:] - gain * still[1:])[:, body].mean(axis=1)
    assert (change > 20).all()


def test_noise_is_the_fraction_of_the_gland_that_was_asked() -> None:
    options = {"bias": 0.0, "lesions": (), "sequences": ("t2",)}
    clean, noisy = (draw(0, noise=noise, **options).images["t2"][0] for noise in (0.0, 0.1))
    # with fat in the voxel there is more signal, and the noise has less of a share in it
    gland = ndimage.binary_erosion(region(draw(0, **options), "fibroglandular"), iterations=2)
    assert gland.sum() > 20
    ratio = noisy[gland] / clean[gland]
    ratio /= np.median(ratio)
    assert ratio.std() == pytest.approx(0.1, rel=0.3)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((32, 32, 32), (2.0, 2.0, 2.0)), ((33, 47, 40), (5.0, 4.0, 4.0)), ((64, 40, 32), (5.0, 5.0, 5.0))],
)
def test_it_fits_any_grid(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    subject = draw(0, shape=shape, spacing=spacing, sequences=("fatsat_dce",))
    body = subject.truth["tissue"] > 0
    assert 0.15 < body.mean() < 0.95
    assert not body[:, -1].any()
    assert (subject.truth["lesion"] == 2).sum() > 10
    assert all(mask.any() for mask in subject.unique.values())
    if shape[0] == 64:
        edges = np.diff(body[:, 28, 16].astype(int))
        assert (edges == 1).sum() == 2, "two breasts, and air between them"
    for name in ("fibroglandular", "adipose", "skin", "muscle", "malignant"):
        assert region(subject, name).any(), name
