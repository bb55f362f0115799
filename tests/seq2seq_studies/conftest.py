# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A cohort with numbers for images, and a logistic regression for a network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression


def logistic(training, validation, testing, seed, columns=slice(None), strength=1.0):
    """Stands in for a network, through the same interface."""

    def images(entries):
        return np.array([entry["features"] for entry in entries])[:, columns]

    model = LogisticRegression(C=strength).fit(images(training), [entry["label"] for entry in training])
    probabilities = model.predict_proba(images(testing))
    return probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities


@pytest.fixture
def classifier() -> Callable:
    return logistic


@pytest.fixture
def make_cohort() -> Callable:
    """Return a function that makes a datalist; ``effect`` is how far feature 0 of label 1 is shifted."""

    def make(patients=60, effect=0.0, features=5, seed=0, examinations=1, classes=2):
        generator = np.random.default_rng(seed)
        labels = generator.permutation(np.arange(patients) % classes)
        entries = []
        for patient in range(patients):
            for visit in range(examinations):
                values = generator.normal(size=features)
                values[0] += effect * labels[patient]
                name = f"p{patient:03d}_study{visit}"
                entries.append({"subject": name, "label": {"pcr": int(labels[patient])}, "features": values.tolist()})
        return entries

    return make
