# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The tumour labels of BraTS in both numberings, and the three regions made of them: ET, TC and WT.

BraTS numbers necrosis with non-enhancing core 1 and oedema 2. Enhancing tumour is 4 until 2021 and 3 from 2023 on. The
regions are ET, the enhancing tumour; TC, the tumour core: ET and necrosis; WT, the whole tumour: TC and oedema.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["CONVENTIONS", "REGIONS", "detect_convention", "label_values", "regions_of", "to_nested_labels"]

#: Name of a numbering → its values for necrosis with non-enhancing core, oedema and enhancing tumour.
CONVENTIONS = {"1,2,3": (1, 2, 3), "1,2,4": (1, 2, 4)}

#: Region → the least nested label that belongs to it, see :func:`to_nested_labels`.
REGIONS = {"ET": 3, "TC": 2, "WT": 1}


def label_values(segmentation: np.ndarray, where: str) -> set[int]:
    """Return the labels other than 0 of a segmentation of any shape; ``where`` names subject and file in errors.

    Raises:
        ValueError: when a voxel is negative or no whole number, as after resampling.
    """
    values = np.unique(segmentation)
    wrong = values[(values != np.round(values)) | (values < 0)]
    if len(wrong):
        raise ValueError(
            f"{where} has the value {wrong[0]:g}; labels are whole numbers. Was the segmentation resampled by "
            "interpolation? Resample it with the nearest neighbour."
        )
    return {int(value) for value in values} - {0}


def detect_convention(values: Mapping[str, set[int]]) -> str:
    """Tell the numbering from the labels of each subject; returns a key of ``CONVENTIONS``.

    Raises:
        ValueError: when a label is of neither numbering; when both 3 and 4 occur, as in mixed releases and in the
            post-treatment task of BraTS 2024, where 4 is the resection cavity; or when neither does.
    """
    for subject, labels in values.items():
        other = labels - {1, 2, 3, 4}
        if other:
            raise ValueError(
                f"Subject '{subject}' has the label {min(other)}; the labels of BraTS are 1, 2, 4 (until 2021) or "
                "1, 2, 3 (from 2023). Renumber the segmentations."
            )
    holders = {value: next((subject for subject, labels in values.items() if value in labels), "") for value in (3, 4)}
    if holders[3] and holders[4]:
        raise ValueError(
            f"The numbering of the labels is ambiguous: subject '{holders[3]}' has 3, subject '{holders[4]}' has 4. "
            "Either two releases of BraTS are mixed, or 4 is a resection cavity (BraTS 2024, post-treatment). Renumber "
            "them to one numbering."
        )
    if not holders[3] and not holders[4]:
        raise ValueError(
            "No subject has the label 3 or 4, enhancing tumour, so the numbering cannot be told; name it: labels "
            + " or ".join(f'"{name}"' for name in CONVENTIONS)
            + "."
        )
    return "1,2,3" if holders[3] else "1,2,4"


def to_nested_labels(segmentation: np.ndarray, convention: str, where: str) -> np.ndarray:
    """Renumber a segmentation so that regions are nested: 1 oedema, 2 necrosis, 3 enhancing tumour.

    Then WT is everything from 1, TC from 2, ET is 3. It is the numbering in which nnU-Net gives its predictions of
    regions, too.

    Args:
        segmentation: voxels of any shape, in the numbering ``convention``, a key of ``CONVENTIONS``.
        where: names subject and file in errors.

    Returns:
        uint8 array of the same shape.

    Raises:
        ValueError: when the numbering is unknown, or lacks the label of a voxel.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"labels is {convention!r}; give {' or '.join(CONVENTIONS)}, or auto.")
    necrosis, oedema, enhancing = CONVENTIONS[convention]
    unknown = label_values(segmentation, where) - {necrosis, oedema, enhancing}
    if unknown:
        raise ValueError(f"{where} has the label {min(unknown)}, which the numbering {convention} has not.")
    nested = np.zeros(segmentation.shape, dtype=np.uint8)
    for new, old in ((1, oedema), (2, necrosis), (3, enhancing)):
        nested[segmentation == old] = new
    return nested


def regions_of(nested: np.ndarray) -> dict[str, np.ndarray]:
    """Return the masks of ET, TC and WT, bool of the same shape, of nested labels."""
    return {name: nested >= least for name, least in REGIONS.items()}
