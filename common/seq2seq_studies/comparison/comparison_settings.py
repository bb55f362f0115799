# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The options of ``compare_generators``, checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from seq2seq_mri.io.datalists.datalist import names_in_list
from seq2seq_mri.training.distributed import select_device
from seq2seq_studies.comparison.methods import BASELINES, LEARNING_RATES, METHODS
from seq2seq_studies.study_settings import check_positive, whole_numbers

__all__ = ["Budget", "ComparisonSettings"]


class Budget(NamedTuple):
    """How long each method is trained: a number of ``steps``, or of ``seconds``."""

    unit: str
    amount: float

    @property
    def name(self) -> str:
        """The budget as it stands in tables: ``1000 steps``."""
        return f"{self.amount:g} {self.unit}"


@dataclass(frozen=True)
class ComparisonSettings:
    """Train Pix2Pix, MM-GAN, ResViT and Seq2Seq-A, -B and -C on the same cohort with the same budget, and compare them.

    Every method gets the same subjects, patches, number of steps (or seconds) and learning rate, and is measured on the
    same test subjects: PSNR, SSIM and LPIPS of each sequence from one other, and from all others; parameters,
    multiply-adds, seconds and memory. Two baselines without training stand beside them: the source itself, and the mean
    of each tissue, told from the sources' intensities. Source: Han et al., Medical Image Analysis 2024, on comparison
    with other generators.

    The same command goes on with a stopped job; what is finished is not repeated, and methods, seeds and budgets may be
    added.

    OUTPUT_DIR receives comparison.md (the page), comparison.csv (every synthesised image), comparison_tests.csv (paired
    tests of every two methods), comparison_costs.csv, comparison.png and comparison_slices.png (the same slice from
    each method), and a folder for each training with its weights.

    Args:
        output_dir: folder for the results; made when absent.
        datalist: JSON file of the subjects; python -m seq2seq_mri datalist makes one. By default 16 simulated patients
            with a glioma are made in output_dir/cohort.
        dataset_dir: folder that paths of the datalist start from; by default that of the datalist.
        bundle_dir: folder of a bundle, whose preprocessing is taken. The datalist's sequences may be others.
        methods: some of pix2pix, mm_gan, resvit, seq2seq_a (AdaIN), seq2seq_b (dynamic filters), seq2seq_c (hyper),
            separated by commas.
        size: of all networks: published, reduced (about a quarter of the width, for a CPU), or tiny (to try the
            program).
        steps: length of each training in steps; none for no comparison of equal steps.
        seconds: length of each training in seconds, a second comparison: each method takes as many steps as fit, by the
            time of a step that was measured before.
        seeds: of trainings, such as 0, or 0,1,2.
        learning_rate: of all methods at the start; by default 0.0002 for published networks and 0.001 for reduced ones.
        training: sections of the datalist to train on.
        testing: sections to test on. Withheld sequences are compared with, but never given.
        leave_one_out: for few patients: each patient of the sections in training is tested on by methods that were
            trained on all others, and testing is not used.
        slice_size: width and height to which whole slices are padded or cut to train on.
        slices: adjacent slices that all networks are given, odd; the middle one is the result.
        patches: slices that are drawn from a subject for a step. Many steps of one patch teach more in the same time
            than few steps of many.
        batch_size: subjects of a step.
        slice_batch_size: slices that are completed together in evaluation.
        resample: whether images of a subject on different grids are resampled, or refused.
        lpips: network of LPIPS, alex, vgg, squeeze or none; auto takes squeeze where its weights are in TORCH_HOME.
        device: cuda or cpu; by default a GPU if there is one. On a CPU OMP_NUM_THREADS is the number of threads.
        page: Markdown file to write the page to as well, with its CSV files and figures beside it.
        page_slices: whether that page has the figure of the same slice from each method; false for patients whose
            images must not be published.
        data: what the page says about the data.
        note: a paragraph of the page below its verdict, for example why a method does not beat a baseline.
    """

    output_dir: str | os.PathLike
    datalist: str | os.PathLike | None = None
    dataset_dir: str | os.PathLike | None = None
    bundle_dir: str | os.PathLike = "bundles/seq2seq_brats"
    methods: str | Sequence[str] = tuple(METHODS)
    size: str = "reduced"
    steps: int | None = 3000
    seconds: float | None = None
    seeds: int | Sequence[int] = 0
    learning_rate: float | None = None
    training: str | Sequence[str] = "training"
    testing: str | Sequence[str] = "testing"
    leave_one_out: bool = False
    slice_size: Sequence[int] = (56, 72)
    slices: int = 3
    patches: int = 1
    batch_size: int = 1
    slice_batch_size: int = 4
    resample: bool = False
    lpips: str = "auto"
    device: str | None = None
    page: str | os.PathLike | None = None
    page_slices: bool = True
    data: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        names = names_in_list(self.methods)
        unknown = [name for name in names if name not in METHODS]
        if unknown or not names:
            also = " The baselines are always there." if set(unknown) & set(BASELINES) else ""
            raise ValueError(f"methods is {self.methods!r}; give some of {', '.join(METHODS)}.{also}")
        if self.size not in LEARNING_RATES:
            raise ValueError(f"size is {self.size!r}; give one of {', '.join(LEARNING_RATES)}.")
        check_positive(self, ("slices", "patches", "batch_size", "slice_batch_size"), optional=("steps",), whole=True)
        check_positive(self, (), optional=("seconds", "learning_rate"))
        whole_numbers(self.seeds, "seeds")
        if self.slices % 2 == 0:
            raise ValueError(f"slices is {self.slices}; a slice with its neighbours needs an odd number.")
        sizes = self.slice_size if isinstance(self.slice_size, (list, tuple)) else ()
        if len(sizes) != 2 or not all(isinstance(value, int) and value >= 16 for value in sizes):
            raise ValueError(f"slice_size is {self.slice_size!r}; give width and height, at least 16, such as 56,72.")
        if not self.budgets:
            raise ValueError("Neither steps nor seconds are given; there is no budget to train for.")
        if self.used_device.split(":")[0] not in ("cpu", "cuda"):
            raise ValueError(f"device is {self.device!r}; give cpu or cuda.")

    @property
    def chosen_methods(self) -> list[str]:
        """Keys of ``METHODS``, in its order."""
        return [name for name in METHODS if name in names_in_list(self.methods)]

    @property
    def budgets(self) -> list[Budget]:
        """How long is trained."""
        return [Budget(unit, getattr(self, unit)) for unit in ("steps", "seconds") if getattr(self, unit) is not None]

    @property
    def rate(self) -> float:
        """The learning rate at the start."""
        return LEARNING_RATES[self.size] if self.learning_rate is None else float(self.learning_rate)

    @property
    def used_device(self) -> str:
        """``cpu``, ``cuda`` or one of several GPUs, as ``cuda:1``."""
        return self.device or str(select_device())
