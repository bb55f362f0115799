# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The options of ``segment_subsets``, checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from seq2seq_mri.io.datalists.datalist import names_in_list
from seq2seq_studies.study_settings import check_positive, whole_numbers

__all__ = ["SegmentationSettings"]

_FOLDS = 5  # nnU-Net's cross-validation


@dataclass(frozen=True)
class SegmentationSettings:
    """Find out whether nnU-Net segments tumours from fewer sequences, or from synthesised ones, as well as from all.

    For each combination of sequences an nnU-Net is trained on the same subjects and segments the same test subjects:
    ET, TC and WT of BraTS (enhancing tumour, tumour core, whole tumour). DSC and ASSD of each combination are compared
    with those of the first by a one-sided paired t-test (is it worse?) and by a test of non-inferiority (is what it
    loses less than a margin?). Source: Han et al., Medical Image Analysis 2024, on segmentation with fewer sequences.

    A combination is the names of its sequences with + between them, such as t1gd+flair. In t1+t1gd:synthesised, T1Gd
    is the image that a generator made.

    It needs nnU-Net: pip install "seq2seq-mri[segmentation]". The same command goes on with a stopped job; finished
    trainings are not repeated, and combinations, folds and seeds may be added.

    OUTPUT_DIR receives scores.csv (every subject, region and training), comparison.csv and comparison.md (the table),
    comparison.png, and a folder for each combination with its predictions and all folders of nnU-Net. In predictions
    oedema is 1, necrosis and non-enhancing core 2, enhancing tumour 3.

    Where a mask is empty: both, DSC 1 and ASSD 0; only one, DSC 0 and ASSD the image's diagonal, as BraTS has it.

    Args:
        datalist: JSON file of the subjects; python -m seq2seq_mri datalist makes one. Their labels are the mask under
            "lesion".
        output_dir: folder for the results; made when absent.
        combinations: several of them, with commas; the first is the reference. By default, for the sequences of BraTS,
            all four, t1gd+flair, t2+flair, t1+t2+flair, and with synthesised_dir all four with T1Gd synthesised.
        dataset_dir: folder that paths of the datalist start from; by default that of the datalist.
        training: sections of the datalist to train on; at least five subjects.
        testing: sections to test on.
        synthesised_dir: output folder of a bundle's inference with the synthesised sequences of all these subjects. The
            inference makes them with --targets t1gd --section "['training','testing']"; it makes none from itself. If
            the generator was trained on the subjects to train on, it does better on those than on the subjects to test
            on.
        segmentation: path of the labels with {subject}, such as "{subject}/{subject}-seg.nii.gz", from dataset_dir; for
            subjects that have no "lesion" in the datalist.
        labels: numbering of the labels, "1,2,3" (BraTS from 2023) or "1,2,4" (until 2021), where the last is the
            enhancing tumour; auto tells it from the files, or says why it cannot.
        withheld: whether sequences that are silenced on purpose count as measured.
        incomplete: error or leave_out, of all combinations, a subject that lacks a sequence of any of them or its
            labels.
        resample: whether images on another grid than the labels are resampled to it, or refused.
        epochs: length of a training; nnU-Net's own is 1000. On a CPU try 5 to 20 first.
        steps: optimisation steps of an epoch; nnU-Net's own is 250.
        folds: which of nnU-Net's five folds to train, such as 0 or 0,1,2,3,4. Each is tested by itself, and a subject's
            result is the mean.
        seeds: of trainings, such as 0, or 0,1,2 to repeat each fold.
        configuration: of nnU-Net, 3d_fullres or 2d.
        features: channels of the network's first stage, by default as nnU-Net plans (32); later stages shrink alike.
        patch: greatest edge of a patch in voxels, by default as nnU-Net plans.
        batch_size: patches of a step, by default as nnU-Net plans.
        mirroring: whether a prediction is the mean over all mirrored images, as in nnU-Net; false is 8 times faster.
        workers: processes that preprocess and augment; by default 4 on a GPU and 0, none of their own, on a CPU.
        device: cuda or cpu; by default a GPU if there is one. On a CPU OMP_NUM_THREADS is the number of threads.
        margin_dsc: greatest loss of DSC that does not matter, for the test of non-inferiority.
        margin_assd: the same of ASSD, in mm.
        confidence: of the upper limits of losses; 1 - confidence is the level of the test.
        export_only: whether to stop when nnU-Net's raw data sets are written; needs no nnU-Net.
        page: Markdown file to write the results to as a page, with its CSV and figure beside it.
        data: what the page says about the data, for example the command that simulated it.
    """

    datalist: str | os.PathLike
    output_dir: str | os.PathLike
    combinations: str | Sequence[str] | None = None
    dataset_dir: str | os.PathLike | None = None
    training: str | Sequence[str] = "training"
    testing: str | Sequence[str] = "testing"
    synthesised_dir: str | os.PathLike | None = None
    segmentation: str | None = None
    labels: str | Sequence[int] = "auto"
    withheld: bool = False
    incomplete: str = "error"
    resample: bool = False
    epochs: int = 1000
    steps: int = 250
    folds: int | Sequence[int] = 0
    seeds: int | Sequence[int] = 0
    configuration: str = "3d_fullres"
    features: int | None = None
    patch: int | None = None
    batch_size: int | None = None
    mirroring: bool = True
    workers: int | None = None
    device: str | None = None
    margin_dsc: float = 0.05
    margin_assd: float = 1.0
    confidence: float = 0.95
    export_only: bool = False
    page: str | os.PathLike | None = None
    data: str | None = None

    def __post_init__(self) -> None:
        if self.device not in (None, "cuda", "cpu"):
            raise ValueError(
                f"device is {self.device!r}; give cuda or cpu. Choose one of several GPUs by CUDA_VISIBLE_DEVICES."
            )
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device is cuda, but PyTorch finds no GPU; give cpu.")
        check_positive(self, ("epochs", "steps"), optional=("features", "patch", "batch_size"), whole=True)
        check_positive(self, ("margin_dsc", "margin_assd"))
        whole_numbers(self.seeds, "seeds")
        wrong = [fold for fold in whole_numbers(self.folds, "folds") if fold >= _FOLDS]
        if wrong:
            raise ValueError(f"fold {wrong[0]} does not exist; nnU-Net's folds are 0 to {_FOLDS - 1}.")
        if not isinstance(self.processes, int) or self.processes < 0:
            raise ValueError(f"workers is {self.workers!r}; give a whole number from 0.")
        if self.configuration not in ("2d", "3d_fullres"):
            raise ValueError(f"configuration is {self.configuration!r}; give 3d_fullres or 2d.")
        if not isinstance(self.confidence, (int, float)) or not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence!r}; give a number from 0.5 to less than 1.")
        if self.incomplete not in ("error", "leave_out"):
            raise ValueError(f"incomplete is {self.incomplete!r}; give error or leave_out.")
        if self.segmentation is not None and "{subject}" not in self.segmentation:
            raise ValueError(
                f"segmentation is {self.segmentation!r}; give a path with {{subject}} in place of the name."
            )

    @property
    def used_device(self) -> str:
        """``cuda`` or ``cpu``."""
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def processes(self) -> int:
        """How many processes preprocess images and augment patches; 0 for none beside the training."""
        return (4 if self.used_device == "cuda" else 0) if self.workers is None else self.workers

    @property
    def numbering(self) -> str:
        """The labels as a text; on a command line ``1,2,3`` arrives as three numbers."""
        return ",".join(names_in_list(self.labels))  # type: ignore[arg-type]

    @property
    def margins(self) -> dict[str, float]:
        """Measure → the greatest mean loss that does not matter."""
        return {"dsc": self.margin_dsc, "assd": self.margin_assd}

    def protocol(self) -> dict[str, object]:
        """Return what the result of one training depends on, beside fold and seed."""
        names = ("epochs", "steps", "configuration", "features", "patch", "batch_size", "mirroring")
        return {**{name: getattr(self, name) for name in names}, "workers": self.processes}
