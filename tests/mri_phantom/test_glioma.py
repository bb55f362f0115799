# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The texture of enhancement: its strength, its length, that it leaves means alone, and how well it can be told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from mri_phantom.glioma import enhancement_change
from mri_phantom.scanner import Scan
from mri_phantom.signal import t1gd_signal
from mri_phantom.subject import SimulatedSubject, draw_brain
from mri_phantom.tissue import BRAIN_TISSUES

TUMOUR = BRAIN_TISSUES["enhancing_tumour"]
SCAN = Scan((56, 68, 50), (2.9, 2.9, 2.9))


def grid(side: float = 40.0, step: float = 1.0) -> np.ndarray:
    axis = np.arange(-side / 2, side / 2, step, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)


def concentration(change: np.ndarray, gadolinium: float) -> np.ndarray:
    """Look up which concentration gives the T1Gd of solid enhancing tumour plus ``change``."""
    table = np.linspace(0, 1.5, 4000)
    signal = t1gd_signal(TUMOUR.proton_density, TUMOUR.t1, TUMOUR.t2, table)
    assert (np.diff(signal) > 0).all()
    before = t1gd_signal(TUMOUR.proton_density, TUMOUR.t1, TUMOUR.t2, gadolinium)
    return np.interp(before + change, signal, table)


@pytest.mark.parametrize("deviation", [0.1, 0.35])
def test_concentration_varies_as_asked_about_its_mean(deviation: float) -> None:
    points = grid()
    tissue = replace(TUMOUR, gadolinium=0.3)
    uneven, even = (
        enhancement_change(np.random.default_rng(0), points, np.ones(points.shape[1]), tissue, deviation, kind)
        for kind in (True, False)
    )
    found = concentration(uneven, 0.3)
    assert found.mean() == pytest.approx(0.3, rel=1e-3)
    assert found.std() == pytest.approx(deviation * 0.3, rel=0.1)
    assert np.ptp(even) == 0, "one concentration slightly below the mean"
    assert 0.27 < concentration(even[:1], 0.3)[0] < 0.3


def test_texture_is_correlated_over_a_few_mm() -> None:
    points = grid()
    change = enhancement_change(np.random.default_rng(1), points, np.ones(points.shape[1]), TUMOUR, 0.35, True)
    volume = change.reshape(40, 40, 40)
    correlation = [np.corrcoef(volume[lag:].ravel(), volume[: 40 - lag].ravel())[0, 1] for lag in (1, 4, 8)]
    assert correlation[0] > 0.85
    assert 0.05 < correlation[1] < 0.6
    assert correlation[2] < 0.05


@pytest.mark.parametrize("gadolinium", [0.2, 1.2, 2.6])
def test_the_sum_does_not_tell_the_kinds_apart(gadolinium: float) -> None:
    points = grid(20.0)
    share = np.random.default_rng(2).random(points.shape[1]) * (points[0] > 0)
    tissue = replace(TUMOUR, gadolinium=gadolinium)
    uneven, even = (
        enhancement_change(np.random.default_rng(0), points, share, tissue, 0.8, kind) for kind in (True, False)
    )
    assert uneven.sum(dtype=float) == pytest.approx(even.sum(dtype=float), rel=1e-3)
    assert not uneven[share == 0].any()
    assert not even[share == 0].any()


@pytest.mark.parametrize(("deviation", "solid"), [(0.0, 100), (0.5, 0), (0.5, 1)])
def test_nothing_changes_without_texture_or_tumour(deviation: float, solid: int) -> None:
    points = grid(10.0)
    share = (np.arange(points.shape[1]) < solid).astype(np.float32)
    change = enhancement_change(np.random.default_rng(0), points, share, TUMOUR, deviation, True)
    assert change.shape == share.shape
    assert not change.any()


@pytest.fixture(scope="module")
def patients() -> list[tuple[SimulatedSubject, SimulatedSubject]]:
    """Patients whose tumours enhance evenly, and the same ones with texture."""

    def draw(seed: int, heterogeneous: bool) -> SimulatedSubject:
        return draw_brain(np.random.default_rng(seed), SCAN, texture=0.8, heterogeneous=heterogeneous)

    return [(draw(seed, False), draw(seed, True)) for seed in range(5)]


def test_the_label_shows_in_the_enhancing_tumour_alone_and_not_in_its_mean(patients: list) -> None:
    for even, uneven in patients:
        mask = even.unique["t1gd"] > 0
        first, second = even.images["t1gd"][mask], uneven.images["t1gd"][mask]
        assert second.mean() == pytest.approx(first.mean(), rel=0.03)
        assert second.std() > first.std()
        assert np.percentile(uneven.signals["t1gd"][mask] / uneven.signals["t1"][mask], 2) > 1.5
        # partial volumes of the mask's surface, then the point spread function, which ends after four deviations
        near = ndimage.binary_dilation(even.signals["t1gd"] != uneven.signals["t1gd"], np.ones((7, 7, 7)))
        np.testing.assert_array_equal(even.images["t1gd"][~near], uneven.images["t1gd"][~near])
        assert near[mask].all()
        assert near[even.images["t1"] > 0].mean() < 0.3


def test_the_spread_tells_the_labels_and_mean_and_size_do_not(patients: list) -> None:
    labels = [label for _ in patients for label in (0, 1)]
    measured = [subject.images["t1gd"][subject.unique["t1gd"] > 0] for pair in patients for subject in pair]
    white = [np.median(subject.images["t1gd"][subject.images["t1gd"] > 0]) for pair in patients for subject in pair]
    assert roc_auc_score(labels, [values.std() / values.mean() for values in measured]) > 0.9
    means = [values.mean() / other for values, other in zip(measured, white, strict=True)]
    assert 0.35 < roc_auc_score(labels, means) < 0.65
    assert roc_auc_score(labels, [len(values) for values in measured]) == 0.5
