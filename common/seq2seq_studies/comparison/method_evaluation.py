# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""PSNR, SSIM and LPIPS of all images that a method synthesises of the test subjects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_tensor

from seq2seq_mri.evaluation.image_quality.image_quality import image_quality
from seq2seq_mri.evaluation.image_quality.lpips import LPIPSNetwork, SliceLPIPS
from seq2seq_mri.io.grids import on_source_grid, source_margins
from seq2seq_mri.plots.slices import axial_view, informative_slice
from seq2seq_mri.sequences import channel_slices, marked_sequences
from seq2seq_studies.comparison.completion import Complete

__all__ = ["SETTINGS", "evaluate_subjects", "lpips_network"]

#: What is given: one sequence, from which all others are made, or all but the one that is made.
SETTINGS = {"one_source": "one source to one target", "one_missing": "all others to the missing one"}

DATA_RANGE = 1.0


def _tasks(available: Sequence[str], measured: Sequence[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield setting, sources, and the targets that are made from them, of a subject."""
    for source in available:
        yield "one_source", [source], [name for name in measured if name != source]
    for target in measured:
        yield "one_missing", [name for name in available if name != target], [target]


def evaluate_subjects(
    complete: Complete, subjects: Iterable[Mapping[str, Any]], sequences: Mapping[str, int], lpips: SliceLPIPS
) -> tuple[list[dict[str, str | float]], dict[str, np.ndarray]]:
    """Measure PSNR, SSIM and LPIPS of all that a method synthesises.

    Foreground is where any measured sequence is above 0, and the whole is the grid of the subject's file, as in the
    bundles' evaluations.

    Args:
        complete: synthesises what is missing of a volume.
        subjects: samples with ``image`` ``[ΣT, X, Y, Z]``, ``available``, ``measured`` and ``subject``.
        sequences: the sequence table.
        lpips: the distance; of the network ``none`` it is NaN.

    Returns:
        ``setting``, ``subject``, ``sources``, ``target`` and the measures of each synthesised image; and of the first
        subject, ``"t1"`` → the measured and ``"synthesised_t1"`` → the image synthesised from the others; one axial
        slice each, as it is drawn.

    Raises:
        ValueError: when no subject has two measured sequences, or an image cannot be measured.
    """
    rows: list[dict[str, str | float]] = []
    first_views: dict[str, np.ndarray] = {}
    channels = channel_slices(sequences)
    for sample in subjects:
        subject = str(sample["subject"])
        image = convert_to_tensor(sample["image"], dtype=torch.float32, track_meta=False).cpu()
        margins = source_margins(sample["image"])
        available, measured = (marked_sequences(sequences, sample[key]) for key in ("available", "measured"))
        truth = {name: image[channels[name]] for name in measured}
        foreground = on_source_grid(torch.stack([volume.amax(0) for volume in truth.values()]).amax(0) > 0, margins)
        views: dict[str, np.ndarray] = {}
        index = informative_slice(torch.stack([volume[0] for volume in truth.values()]).mean(0))
        for setting, sources, targets in _tasks(available, measured):
            if not sources or not targets:
                continue
            made = complete(image, sources)
            for target in targets:
                volume = made[channels[target]].clamp(0.0, DATA_RANGE)
                row = {"setting": setting, "subject": subject, "sources": "+".join(sources), "target": target}
                synthesised, real = (on_source_grid(one, margins) for one in (volume, truth[target]))
                try:
                    measures = image_quality(synthesised, real, foreground, DATA_RANGE)
                    distance = lpips(synthesised, real, foreground)
                except ValueError as error:
                    raise ValueError(f"Subject {subject}, {target} from {row['sources']}: {error}") from error
                rows.append(row | measures | {"lpips": distance, "data_range": DATA_RANGE})
                if setting == "one_missing":
                    views[target] = axial_view(truth[target][0], index)
                    views[f"synthesised_{target}"] = axial_view(volume[0], index)
        first_views = first_views or views
    if not rows:
        raise ValueError("No test subject has two measured sequences; there is nothing to compare with.")
    return rows, first_views


def lpips_network(name: str) -> LPIPSNetwork:
    """Return the network of LPIPS; ``auto`` is SqueezeNet where its weights are on this machine, else none."""
    if name != "auto":
        return name  # type: ignore[return-value]
    weights = Path(torch.hub.get_dir(), "checkpoints", "squeezenet1_1-b8a52dc0.pth")
    return "squeeze" if weights.is_file() else "none"
