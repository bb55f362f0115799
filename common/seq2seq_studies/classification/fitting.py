# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The one door between a protocol and a classifier, which labels of tested subjects never pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seq2seq_studies.classification.cross_validation import Entry, InnerSplit

__all__ = ["FitPredict", "check_named_settings", "fit_seed", "predict_probabilities"]

FitPredict = Callable[..., ArrayLike]
"""``fit_predict(training_entries, validation_entries, test_entries, seed, **settings) -> probabilities``.

Trains a new classifier on ``training_entries``, may choose its epoch by ``validation_entries``, and returns the
probabilities of ``test_entries`` in their order: ``[n]``, that of label 1, or ``[n, classes]``. Entries are those of
the datalist with ``"subject"``, ``"patient"`` and, except for ``test_entries``, ``"label"``, a whole number. The first
four arguments are positional, ``settings`` those of the inputs and of the candidate. The same arguments must give the
same result; nothing may be remembered from one call to the next."""


def predict_probabilities(
    fit_predict: FitPredict,
    split: InnerSplit,
    tested: Sequence[Entry],
    seed: int,
    settings: Mapping[str, Any],
) -> np.ndarray:
    """Train a classifier on an inner split and return the probabilities of other entries, whose labels it cannot see.

    Args:
        fit_predict: the classifier, see :data:`FitPredict`.
        split: what it is trained and validated on.
        tested: entries to predict; their labels are taken away.
        seed: of the training.
        settings: keyword arguments.

    Returns:
        float64 ``[n]`` or ``[n, classes]``.

    Raises:
        ValueError: when the classifier returns anything else than a probability in [0, 1] for each entry (and class).
    """
    unlabelled = [{key: value for key, value in entry.items() if key != "label"} for entry in tested]
    # Copies, so that a classifier which changes an entry does not change it for the next one.
    training, validation = ([dict(entry) for entry in part] for part in (split.training, split.validation))
    result = np.asarray(fit_predict(training, validation, unlabelled, seed, **settings), dtype=float)
    if result.ndim not in (1, 2) or len(result) != len(tested):
        raise ValueError(
            f"The classifier returned probabilities of shape {result.shape} for {len(tested)} subjects; it must be "
            "[n] or [n, classes]."
        )
    valid = np.isfinite(result) & (result >= 0) & (result <= 1)
    if not valid.all():
        first = int(np.argwhere(~valid)[0, 0])
        raise ValueError(
            f"The classifier gave subject {tested[first]['subject']} the probability {result[first]}, which is not in "
            "[0, 1]; check its learning rate and its inputs."
        )
    return result


def fit_seed(seed: int, *places: int) -> int:
    """Return the seed of one training, the same for all inputs and candidates: their comparison is paired."""
    return int(np.random.SeedSequence([seed, *places]).generate_state(1)[0] & 0x7FFFFFFF)


def check_named_settings(what: str, named: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Check that there is a name, and that each stands for keyword arguments."""
    if not named or not all(isinstance(name, str) and isinstance(value, Mapping) for name, value in named.items()):
        raise ValueError(f"{what} is {named!r}; give a mapping from names to settings, such as {{'t1gd': {{}}}}.")
    return {name: dict(value) for name, value in named.items()}
