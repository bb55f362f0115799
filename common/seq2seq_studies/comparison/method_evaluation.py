# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What a method is asked to synthesise of each test subject, and how well it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seq2seq_mri.evaluation.image_quality.image_quality import image_quality
from seq2seq_mri.evaluation.image_quality.lpips import LPIPSNetwork
from seq2seq_mri.io.grids import on_source_grid, source_margins
from seq2seq_mri.plots.slices import axial_view, informative_slice
from seq2seq_mri.sequences import channel_slices

__all__ = ["SETTINGS", "Evaluation", "evaluate_subjects", "lpips_network", "tasks"]

#: What is given: one sequence, from which all others are made, or all but the one that is made.
SETTINGS = {"one_source": "one source to one target", "one_missing": "all others to the missing one"}

DATA_RANGE = 1.0

Complete = Callable[[torch.Tensor, Sequence[str]], torch.Tensor]


@dataclass
class Evaluation:
    """What was measured.

    Attributes:
        rows: ``setting``, ``subject``, ``sources``, ``target`` and the measures of each synthesised image.
        views: of the first subject, ``"t1"`` → the measured and ``"synthesised_t1"`` → the image synthesised from the
            others; one axial slice each, as it is drawn.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    views: dict[str, np.ndarray] = field(default_factory=dict)


def tasks(setting: str, available: Sequence[str], measured: Sequence[str]) -> list[tuple[tuple[str, ...], list[str]]]:
    """Return sources, and the targets that are made from them, of a subject.

    Args:
        setting: ``"one_source"`` or ``"one_missing"``.
        available: sequences that may be given.
        measured: sequences that can be compared, the available ones among them.

    Example:
        >>> tasks("one_missing", ["t1", "t2"], ["t1", "t2", "flair"])
        [(('t2',), ['t1']), (('t1',), ['t2']), (('t1', 't2'), ['flair'])]
    """
    pairs: list[tuple[tuple[str, ...], list[str]]]
    if setting == "one_source":
        pairs = [((source,), [target for target in measured if target != source]) for source in available]
    else:
        pairs = [(tuple(name for name in available if name != target), [target]) for target in measured]
    return [(sources, targets) for sources, targets in pairs if sources and targets]


def evaluate_subjects(
    complete: Complete,
    subjects: Iterable[Mapping[str, Any]],
    sequences: Mapping[str, int],
    lpips: Any = None,
    progress: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Measure PSNR, SSIM and LPIPS of all that a method synthesises.

    Foreground is where any measured sequence is above 0, and the whole is the grid of the subject's file, as in the
    bundles' evaluations.

    Args:
        complete: called with a volume ``[ΣT, X, Y, Z]`` and the names of the sources; returns the completed volume.
        subjects: samples with ``image``, ``available``, ``measured`` and ``subject``.
        sequences: the sequence table.
        lpips: called with (prediction, truth, foreground), see :class:`SliceLPIPS`.
        progress: called after each subject.

    Raises:
        ValueError: when no subject has two measured sequences, or an image cannot be measured; it names the subject.
    """
    evaluation = Evaluation()
    channels = channel_slices(sequences)
    for sample in subjects:
        subject = str(sample["subject"])
        image = torch.as_tensor(sample["image"], dtype=torch.float32).cpu()
        if hasattr(image, "as_tensor"):
            image = image.as_tensor()
        margins = source_margins(sample["image"])
        available, measured = (_names(sequences, sample[key]) for key in ("available", "measured"))
        truth = {name: image[channels[name]] for name in measured}
        foreground = on_source_grid(torch.stack([volume.amax(0) for volume in truth.values()]).amax(0) > 0, margins)
        views: dict[str, np.ndarray] = {}
        index = informative_slice(torch.stack([volume[0] for volume in truth.values()]).mean(0))
        for setting in SETTINGS:
            for sources, targets in tasks(setting, available, measured):
                made = complete(image, sources)
                for target in targets:
                    volume = made[channels[target]].clamp(0.0, DATA_RANGE)
                    row: dict[str, Any] = {
                        "setting": setting,
                        "subject": subject,
                        "sources": "+".join(sources),
                        "target": target,
                    }
                    synthesised, real = (on_source_grid(one, margins) for one in (volume, truth[target]))
                    try:
                        row |= image_quality(synthesised, real, foreground, DATA_RANGE)
                        row["lpips"] = float("nan") if lpips is None else lpips(synthesised, real, foreground)
                    except ValueError as error:
                        raise ValueError(f"Subject {subject}, {target} from {row['sources']}: {error}") from error
                    evaluation.rows.append(row | {"data_range": DATA_RANGE})
                    if setting == "one_missing":
                        views[target] = axial_view(truth[target][0], index)
                        views[f"synthesised_{target}"] = axial_view(volume[0], index)
        if not evaluation.views:
            evaluation.views = views
        progress()
    if not evaluation.rows:
        raise ValueError("No test subject has two measured sequences; there is nothing to compare with.")
    return evaluation


def lpips_network(name: str) -> LPIPSNetwork:
    """Return the network of LPIPS; ``auto`` is SqueezeNet where its weights are on this machine, else none."""
    if name != "auto":
        return name  # type: ignore[return-value]
    weights = Path(torch.hub.get_dir(), "checkpoints", "squeezenet1_1-b8a52dc0.pth")
    return "squeeze" if weights.is_file() else "none"


def _names(sequences: Mapping[str, int], chosen: torch.Tensor) -> list[str]:
    return [name for name, there in zip(sequences, chosen.tolist(), strict=True) if there]
