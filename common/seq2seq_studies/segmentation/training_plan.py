# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How nnU-Net is trained for a comparison: its budget, folds and seeds, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["TrainingPlan", "whole_numbers"]

_FOLDS = 5  # nnU-Net's cross-validation


@dataclass(frozen=True)
class TrainingPlan:
    """What every training has in common.

    Attributes:
        epochs: their number; nnU-Net's own is 1000.
        steps: of an epoch; nnU-Net's own is 250.
        folds: of nnU-Net's five: the fold's fifth of the training subjects validates, the others train.
        seeds: a training of each fold for each.
        configuration: of nnU-Net, ``3d_fullres`` or ``2d``.
        features: channels of the first stage; None as nnU-Net plans.
        patch: greatest edge of a patch in voxels; None as nnU-Net plans.
        batch_size: patches of a step; None as nnU-Net plans.
        mirroring: whether predictions are the mean over mirrored images.
        workers: processes that preprocess images and augment patches; 0 for none beside the training.
        device: ``cuda`` or ``cpu``.
    """

    epochs: int
    steps: int
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    configuration: str
    features: int | None
    patch: int | None
    batch_size: int | None
    mirroring: bool
    workers: int
    device: str

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "features", "patch", "batch_size"):
            value = getattr(self, name)
            if (value is None and name in ("epochs", "steps")) or not (value is None or _is_whole(value, 1)):
                raise ValueError(f"{name} is {value!r}; give a positive whole number.")
        if not _is_whole(self.workers, 0):
            raise ValueError(f"workers is {self.workers!r}; give a whole number from 0.")
        wrong = [fold for fold in self.folds if fold >= _FOLDS]
        if wrong:
            raise ValueError(f"fold {wrong[0]} does not exist; nnU-Net's folds are 0 to {_FOLDS - 1}.")
        if self.configuration not in ("2d", "3d_fullres"):
            raise ValueError(f"configuration is {self.configuration!r}; give 3d_fullres or 2d.")

    def protocol(self) -> dict[str, Any]:
        """Return what the result of one training depends on, beside fold and seed."""
        content = asdict(self)
        return {key: content[key] for key in content if key not in ("folds", "seeds", "device")}


def whole_numbers(value: int | str | Sequence[int], name: str) -> tuple[int, ...]:
    """Return one number or several, as ``0,1,2`` or a list, as a tuple without repetitions.

    Raises:
        ValueError: when they are no whole numbers from 0, or none.
    """
    parts = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [value]
    numbers: list[Any] = [int(part) if isinstance(part, str) and part.strip().isdecimal() else part for part in parts]
    if not numbers or not all(_is_whole(number, 0) for number in numbers):
        raise ValueError(f"{name} is {value!r}; give whole numbers from 0, such as 0,1,2.")
    return tuple(dict.fromkeys(numbers))


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
