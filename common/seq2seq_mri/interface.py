# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The functions of a notebook: read a subject, synthesise a sequence, compute M_d, rank the sequences.

A bundle's ``configs/inference.json`` says how its images are prepared and translated, so the results are those of
``python -m monai.bundle run inference``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Events
from monai.data import DataLoader, MetaTensor
from monai.transforms import Invertd

from seq2seq_mri.evaluation.contribution.contribution import adjacency_matrix, contribution
from seq2seq_mri.evaluation.contribution.contribution_bootstrap import bootstrap_contribution
from seq2seq_mri.evaluation.contribution.contribution_table import CohortContribution, cohort_contribution
from seq2seq_mri.inference.differentiation_maps import translated_differentiation_maps
from seq2seq_mri.inference.evaluator import TranslationEvaluator
from seq2seq_mri.inference.fusion import Fusion, MeanFusion
from seq2seq_mri.inference.generator_bundle import TrainedGenerator
from seq2seq_mri.io.save import save_volume, source_grid
from seq2seq_mri.sequences import channel_slices, marked_sequences, sequence_index
from seq2seq_mri.training.handlers import SubjectProgressBar
from seq2seq_mri.training.subject_dataset import SubjectDataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Differentiation", "Ranking", "Synthesis", "differentiate", "rank", "read_subject", "synthesise"]

#: A subject as datalists describe it: ``{"subject": name, "t1": path, ...}``.
Subject = Mapping[str, Any]


@dataclass(frozen=True)
class Synthesis:
    """A synthesised sequence on the grid of the subject's own file.

    Attributes:
        target: the sequence that was made.
        sources: the sequences that it was made from.
        image: float32 ``[X, Y, Z]``, or ``[X, Y, Z, T]`` of a sequence with several timepoints, in the range of the
            bundle's normalised intensities, [0, 1].
        deviation: the inter-source standard deviation, of the same shape and unit; 0 where there is one source, which
            does not say that it is right.
        affine: float64 ``[4, 4]``, from voxels to RAS+ millimetres.
        grid: the file whose geometry saved images take; of a folder of DICOM files its affine.
    """

    target: str
    sources: list[str]
    image: np.ndarray
    deviation: np.ndarray
    affine: np.ndarray
    grid: str | torch.Tensor

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> tuple[Path, Path]:
        """Write ``path`` (``.nii`` or ``.nii.gz``), and the deviation beside it with ``_sd`` before the ending.

        Returns:
            the two files.

        Raises:
            FileExistsError: when one exists and ``overwrite`` is false.
        """
        path = Path(path)
        name, dot, ending = path.name.partition(".nii")
        beside = path.with_name(f"{name}_sd{dot}{ending}")
        _save({path: self.image, beside: self.deviation}, self.grid, overwrite)
        return path, beside


@dataclass(frozen=True)
class Differentiation:
    """The imaging-differentiation maps M_d of a subject (Eq. 5), on the grid of its own file.

    Attributes:
        maps: sequence → float32 ``[X, Y, Z]``, or ``[X, Y, Z, T]``: how far what the other sequences say is from what
            was measured, at least 0, in units of the normalised intensity.
        affine: float64 ``[4, 4]``, from voxels to RAS+ millimetres.
        grid: as of :class:`Synthesis`.
    """

    maps: dict[str, np.ndarray]
    affine: np.ndarray
    grid: str | torch.Tensor

    def __getitem__(self, sequence: str) -> np.ndarray:
        return self.maps[sequence]

    def save(self, folder: str | os.PathLike, overwrite: bool = False) -> list[Path]:
        """Write ``<folder>/<sequence>_differentiation.nii.gz`` for each sequence, and return the files.

        Raises:
            FileExistsError: when one exists and ``overwrite`` is false.
        """
        paths = [Path(folder) / f"{name}_differentiation.nii.gz" for name in self.maps]
        _save(dict(zip(paths, self.maps.values(), strict=True)), self.grid, overwrite)
        return paths


@dataclass(frozen=True)
class Ranking:
    """Totipotency C_t and imaging differentiation C_d of the sequences (Eq. 4).

    Attributes:
        table: a row for each sequence: the scores, their ranks, and with two subjects or more their intervals and how
            often each rank occurs in a bootstrap over subjects.
        adjacency: A of Eq. 4, sources in rows, targets in columns.
        measurements: image quality of every translation, a row for each subject, source and target.
        cohort: what the bootstrap says; None of a single subject.
    """

    table: pd.DataFrame
    adjacency: pd.DataFrame
    measurements: pd.DataFrame
    cohort: CohortContribution | None

    def plot(self) -> Figure:
        """Draw the scores; with two subjects or more with their intervals, and how often each rank occurs."""
        from seq2seq_mri.evaluation.contribution.contribution_figure import contribution_stability, ranking_bars

        return ranking_bars(self.table) if self.cohort is None else contribution_stability([self.cohort])


def read_subject(
    files: Mapping[str, str | os.PathLike | Sequence[str | os.PathLike]], name: str = "subject"
) -> Subject:
    """Return a subject, whose images are read when they are needed.

    Args:
        files: sequence → a NIfTI file, a folder of DICOM files, or a list of these, one for each timepoint. Sequences
            that the subject does not have are left out.
        name: of the subject, in messages.

    Raises:
        FileNotFoundError: when a file does not exist.

    Example:
        >>> read_subject({"t1": "nowhere/t1.nii.gz"}, name="p1")
        Traceback (most recent call last):
        ...
        FileNotFoundError: Subject 'p1': the t1 file nowhere/t1.nii.gz does not exist.
    """
    for sequence, given in files.items():
        for path in [given] if isinstance(given, (str, os.PathLike)) else given:
            if not Path(path).exists():
                raise FileNotFoundError(f"Subject '{name}': the {sequence} file {path} does not exist.")
    return {"subject": name, **files}


def synthesise(generator: TrainedGenerator, subject: Subject, target: str, fusion: Fusion | None = None) -> Synthesis:
    """Make a sequence from all others that the subject has.

    Args:
        generator: from :func:`load_bundle`.
        subject: from :func:`read_subject`, or an entry of a datalist.
        target: the sequence to make; if the subject has it, it is no source.
        fusion: combines the sources; None: their mean.

    Raises:
        ValueError: when the subject cannot be used, or has no other sequence than the target.
    """
    sequence_index(generator.sequences, target)
    sample = generator.preprocessing(subject)
    sources = [name for name in marked_sequences(generator.sequences, sample["available"]) if name != target]
    if not sources:
        raise ValueError(
            f"Subject '{sample['subject']}' has no sequence from which {target} could be synthesised; give one of "
            f"{', '.join(name for name in generator.sequences if name != target)}."
        )
    volumes = generator.inferer(
        sample["image"][None],
        generator.network,
        sources=sources,
        targets=[target],
        reduce=MeanFusion() if fusion is None else fusion,
    )
    (image, deviation), affine, grid = _on_own_grid(generator, sample, volumes)
    return Synthesis(target, sources, image, deviation, affine, grid)


def differentiate(
    generator: TrainedGenerator,
    subject: Subject,
    targets: Sequence[str] | None = None,
    include_self: bool = True,
) -> Differentiation:
    """Return the imaging-differentiation maps M_d of a subject (Eq. 5).

    Args:
        generator: from :func:`load_bundle`.
        subject: from :func:`read_subject`, or an entry of a datalist, with at least two sequences.
        targets: the sequences whose M_d is computed; by default all that the subject has.
        include_self: whether the mean of Eq. 5 takes the target's reconstruction from itself, as in the paper.

    Raises:
        ValueError: when the subject cannot be used, has one sequence only, or lacks a target.
    """
    sample = generator.preprocessing(subject)
    sources = marked_sequences(generator.sequences, sample["available"])
    targets = sources if targets is None else list(targets)
    lacking = [name for name in targets if name not in sources]
    if lacking or len(sources) < 2:
        raise ValueError(
            f"Subject '{sample['subject']}' has {', '.join(sources)}; M_d needs two sequences, and the target "
            f"{f'{lacking[0]} ' if lacking else ''}among them."
        )
    stacked = translated_differentiation_maps(
        sample["image"], generator.network, generator.inferer, sources, targets, include_self
    )
    channels = channel_slices(generator.sequences)
    maps, affine, grid = _on_own_grid(generator, sample, [stacked[channels[name]] for name in targets])
    return Differentiation(dict(zip(targets, maps, strict=True)), affine, grid)


def rank(
    generator: TrainedGenerator,
    subjects: Iterable[Subject],
    *,
    perceptual_metric: Callable[..., float] | None = None,
    samples: int = 2000,
    seed: int = 0,
    progress: bool = True,
) -> Ranking:
    """Rank the sequences by how well they synthesise the others (C_t), and how badly the others synthesise them (C_d).

    Every sequence of every subject is translated into every other one, and measured in the foreground.

    Args:
        generator: from :func:`load_bundle`.
        subjects: from :func:`read_subject`, or entries of a datalist. Those that lack sequences count where they can.
        perceptual_metric: the LPIPS of Eq. 4, :class:`SliceLPIPS`, whose weights are downloaded at the first use; None:
            A is the sum of the other two.
        samples: of the bootstrap over subjects.
        seed: of the bootstrap.
        progress: whether to show a progress bar over subjects.

    Raises:
        ValueError: when subjects cannot be used, all of which it lists, or no pair of sequences was measured.
    """
    rows: list[dict[str, Any]] = []
    dataset = SubjectDataset([dict(subject) for subject in subjects], generator.preprocessing, on_error="report")
    evaluator = TranslationEvaluator(
        generator.sequences,
        perceptual_metric=perceptual_metric,
        regions=["foreground"],
        device=generator.device,
        val_data_loader=DataLoader(dataset, batch_size=1),
        network=generator.network,
        inferer=generator.inferer,
        val_handlers=[SubjectProgressBar()] if progress else None,
    )
    evaluator.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: rows.extend(engine.state.output.get("rows", []))
    )
    evaluator.run()
    if not rows:
        raise ValueError("No subject has two sequences, so there is nothing to rank.")
    measurements = pd.DataFrame(rows)
    adjacency = adjacency_matrix(measurements, generator.sequences)
    if measurements["subject"].nunique() < 2:
        return Ranking(contribution(adjacency), adjacency, measurements, None)
    bootstrap = bootstrap_contribution(measurements, generator.sequences, samples=samples, seed=seed)
    cohort = cohort_contribution("cohort", bootstrap)
    return Ranking(cohort.table, adjacency, measurements, cohort)


def _on_own_grid(
    generator: TrainedGenerator, sample: Mapping[Hashable, Any], volumes: Sequence[torch.Tensor]
) -> tuple[list[np.ndarray], np.ndarray, str | torch.Tensor]:
    """Return volumes ``[T, X, Y, Z]`` on the grid of the subject's file, timepoints last, its affine, and the grid."""
    keys = [f"volume{index}" for index in range(len(volumes))]
    invert = Invertd(keys, generator.preprocessing, orig_keys="image", nearest_interp=False, to_tensor=True)
    inverted = invert({**sample, **{key: MetaTensor(volume) for key, volume in zip(keys, volumes, strict=True)}})
    arrays = [inverted[key].numpy() for key in keys]
    metadata = sample["image"].meta
    return (
        [array[0] if len(array) == 1 else np.moveaxis(array, 0, -1) for array in arrays],
        np.asarray(metadata["original_affine"], dtype=np.float64),
        source_grid(metadata),
    )


def _save(volumes: Mapping[Path, np.ndarray], grid: str | torch.Tensor, overwrite: bool) -> None:
    """Write volumes, timepoints last; none of them when one of the files exists and must not be replaced."""
    for path in volumes:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists; choose another name, or allow overwriting.")
    for path, volume in volumes.items():
        frames = volume[None] if volume.ndim == 3 else np.moveaxis(volume, -1, 0)
        save_volume(path, frames, like=grid, existing="overwrite" if overwrite else "error")
