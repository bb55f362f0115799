# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""That nothing but the difference between the images of the alphabet task gives the label away.

A fixed set of subjects is drawn; the limits of what counts as chance are some four standard deviations wide.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare, ks_2samp
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seq2seq_mri.plots.slices import axial_view
from seq2seq_studies.alphabet.alphabet import AlphabetSubject, Place, draw_images, draw_subject
from seq2seq_studies.alphabet.glyphs import LETTERS, add_letter, letter_reach

SHAPE = (128, 128)


@pytest.fixture(scope="module")
def subjects() -> list[AlphabetSubject]:
    return [draw_subject("training", index) for index in range(4000)]


@pytest.fixture(scope="module")
def appearance(subjects) -> tuple[np.ndarray, np.ndarray]:
    """Return all about each subject's objects but the letters, left place first, and whether that one differs."""
    rows, left_differs = [], []
    for subject in subjects:
        left, right = sorted((subject.differing, subject.common), key=lambda place: place.centre[1])
        disc = (*subject.disc_centre, subject.disc_radius)
        rows.append([*features(left), *features(right), *disc])
        left_differs.append(left == subject.differing)
    return np.array(rows), np.array(left_differs)


def features(place: Place) -> tuple[float, ...]:
    return (*place.centre, place.height, place.angle)


def oracle(image: np.ndarray, place: Place) -> int:
    """Read the letter at a place of a picture ``[rows, columns]``: the one whose shape fits best."""
    rows, columns = np.indices(image.shape)
    near = np.hypot(rows - place.centre[0], columns - place.centre[1]) <= letter_reach() * place.height + 1
    errors = []
    for letter in range(len(LETTERS)):
        shape = np.zeros_like(image)
        add_letter(shape, letter, place.centre, place.height, place.angle)
        errors.append(np.abs(image[near] / image[near].max() - shape[near]).sum())
    return int(np.argmin(errors))


def test_pairs_of_letters_are_uniform(subjects):
    """So is each letter; and the label of x1 says nothing of x2's or the common letter, but that it is another."""
    for one, other in itertools.combinations(range(3), 2):
        table = np.zeros((26, 26))
        for subject in subjects:
            table[subject.letters[one], subject.letters[other]] += 1
        assert not table.diagonal().any()
        assert chisquare(table[~np.eye(26, dtype=bool)]).pvalue > 1e-3


def test_differing_and_common_places_are_distributed_alike(subjects):
    differing, common = (
        np.array([features(place) for place in places])
        for places in zip(*((subject.differing, subject.common) for subject in subjects), strict=True)
    )
    for values, others in zip(differing.T, common.T, strict=True):
        assert ks_2samp(values, others).pvalue > 1e-3
    for larger in (differing > common).mean(axis=0):
        assert larger == pytest.approx(0.5, abs=0.032)


@pytest.mark.parametrize(
    "classifier", [LogisticRegression(max_iter=1000), KNeighborsClassifier(15)], ids=["regression", "neighbours"]
)
def test_appearance_tells_neither_place_nor_label(appearance, subjects, classifier):
    values, left_differs = appearance
    labels = np.array([subject.letters[:2] for subject in subjects])
    half = len(values) // 2
    for target, chance in ((left_differs, 0.5), (labels[:, 0], 1 / 26), (labels[:, 1], 1 / 26)):
        model = make_pipeline(StandardScaler(), classifier).fit(values[:half], target[:half])
        accuracy = model.score(values[half:], target[half:])
        assert accuracy == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / half))


@pytest.mark.parametrize("sequence", [0, 1])
def test_changing_roles_leaves_an_image_as_it_is(sequence):
    """For each subject there is one, as likely, with the same image and its letters in each other's role.

    Letters are a uniform choice of three in order, and the places are exchangeable. So whatever is read from one
    image, its label is either of two letters with equal probability.
    """
    for index in range(20):
        subject = draw_subject("training", index)
        letters = list(subject.letters)
        letters[sequence], letters[2] = letters[2], letters[sequence]
        changed = replace(subject, letters=tuple(letters), differing=subject.common, common=subject.differing)
        one, other = (draw_images(drawn, SHAPE)[0] for drawn in (subject, changed))
        np.testing.assert_array_equal(one[sequence], other[sequence])
        assert not np.array_equal(one[1 - sequence], other[1 - sequence])


def test_who_reads_both_images_gets_all():
    """From the pixels: the letter of a place is read in both images, and that which differs is the label."""
    for index in range(12):
        subject = draw_subject("testing", index, shape=(64, 64))
        images, _ = draw_images(subject, (64, 64))
        views = [axial_view(image[..., None], 0) for image in images]
        read = [[oracle(view, place) for view in views] for place in (subject.common, subject.differing)]
        differing = [letters for letters in read if letters[0] != letters[1]]
        assert differing == [list(subject.letters[:2])]
