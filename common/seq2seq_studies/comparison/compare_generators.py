# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command ``python -m seq2seq_studies compare_generators``: Table 1."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mri_phantom.brain import simulate_brain
from seq2seq_mri.evaluation.image_quality.lpips import SliceLPIPS
from seq2seq_mri.evaluation.page import command_line
from seq2seq_mri.files import check_writable_directory
from seq2seq_mri.io.datalists.datalist import names_in_list
from seq2seq_mri.run_manifest import claim_directory
from seq2seq_mri.training.distributed import select_device
from seq2seq_studies.comparison.comparison_cohort import Cohort
from seq2seq_studies.comparison.comparison_files import write_comparison
from seq2seq_studies.comparison.method_evaluation import lpips_network
from seq2seq_studies.comparison.method_run import TrainingSettings
from seq2seq_studies.comparison.methods import BASELINES, METHODS, SIZES
from seq2seq_studies.comparison.runs import Budget, ComparisonRuns

__all__ = ["SIMULATED", "compare_generators"]

#: The cohort of the command without a datalist.
SIMULATED: dict[str, Any] = {
    "splits": (10, 0, 6),
    "shape": (56, 72, 44),
    "spacing": 3.2,
    "missing": (1, 2),
    "healthy": 0.0,
    "seed": 7,
}


def compare_generators(
    output_dir: str | os.PathLike,
    datalist: str | os.PathLike | None = None,
    dataset_dir: str | os.PathLike | None = None,
    bundle_dir: str | os.PathLike = "bundles/seq2seq_brats",
    methods: str | Sequence[str] = tuple(METHODS),
    size: str = "reduced",
    steps: int | None = 3000,
    seconds: float | None = None,
    seeds: int | Sequence[int] = 0,
    learning_rate: float | None = None,
    training: str | Sequence[str] = "training",
    testing: str | Sequence[str] = "testing",
    leave_one_out: bool = False,
    slice_size: Sequence[int] = (56, 72),
    slices: int = 3,
    patches: int = 1,
    batch_size: int = 1,
    slice_batch_size: int = 4,
    resample: bool = False,
    lpips: str = "auto",
    device: str | None = None,
    page: str | os.PathLike | None = None,
    page_slices: bool = True,
    data: str | None = None,
    note: str | None = None,
) -> str:
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

    Returns:
        The tables of quality in Markdown, and whether the methods beat the baselines.

    Raises:
        ValueError: when an option is wrong, a loss is not finite, or output_dir holds results of another protocol.
        FileNotFoundError: when the bundle or files of the datalist do not exist.
    """
    options = dict(locals())
    chosen = _chosen_methods(methods)
    if size not in SIZES:
        raise ValueError(f"size is {size!r}; give one of {', '.join(SIZES)}.")
    rate = SIZES[size].learning_rate if learning_rate is None else learning_rate
    _check_numbers(
        steps=1 if steps is None else steps,
        **{"slices": slices, "patches": patches, "batch_size": batch_size, "slice_batch_size": slice_batch_size},
    )
    _check_positive(learning_rate=rate, seconds=1 if seconds is None else seconds)
    if slices % 2 == 0:
        raise ValueError(f"slices is {slices}; a slice with its neighbours needs an odd number.")
    patch = _check_slice_size(slice_size)
    budgets = [Budget("steps", steps)] if steps is not None else []
    budgets += [Budget("seconds", seconds)] if seconds is not None else []
    if not budgets:
        raise ValueError("Neither steps nor seconds are given; there is no budget to train for.")
    used = str(select_device()) if device is None else device
    if used.split(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"device is {device!r}; give cpu or cuda.")
    network = lpips_network(lpips)
    distance = None if network == "none" else SliceLPIPS(network, device=used)

    folder = check_writable_directory(output_dir)
    listed = _simulate(folder) if datalist is None else Path(datalist).expanduser()
    tested = None if leave_one_out else testing
    prepared = folder / "prepared"
    cohort = Cohort(bundle_dir, listed, dataset_dir, training, tested, patch, slices, patches, resample, prepared)
    protocol = {
        **{"size": size, "learning_rate": rate, "slice_size": patch, "slices": slices, "patches": patches},
        **{"batch_size": batch_size, "resample": resample, "lpips": network, "sequences": cohort.sequences},
        "training": [entry["subject"] for entry in cohort.training],
        "testing": "each patient in turn" if leave_one_out else [entry["subject"] for entry in cohort.testing],
    }
    claim_directory(folder / "protocol.json", protocol, resume=True)
    settings = TrainingSettings(
        size, cohort.sequences, slices, (patch[0], patch[1]), float(rate), slice_batch_size, used
    )
    cohorts = cohort.leave_one_out() if leave_one_out else [cohort]
    runs = ComparisonRuns(folder, cohorts, settings, chosen, budgets, _numbers(seeds), batch_size)
    runs.measure_costs()
    runs.run(distance)

    counts = f"{len(cohort.training)} subjects to train on, {len(cohort.testing)} to test on"
    if leave_one_out:
        counts = f"{len(cohort.training)} subjects, each patient tested on by methods trained on all others"
    simulated = f"simulated by this command ({', '.join(f'{key} {value}' for key, value in SIMULATED.items())})"
    about = data or f"{counts}, {simulated if datalist is None else 'of ' + listed.name}"
    command = command_line(compare_generators, options)
    if page is not None:
        path = Path(page).expanduser()
        write_comparison(path, runs, command, about, network, note or "", slices=page_slices)
    return write_comparison(folder / "comparison.md", runs, command, about, network, note or "")


def _chosen_methods(methods: str | Sequence[str]) -> list[str]:
    names = names_in_list(methods)
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        also = " The baselines are always there." if set(unknown) & set(BASELINES) else ""
        raise ValueError(f"methods is {methods!r}; give some of {', '.join(METHODS)}.{also}")
    return [name for name in METHODS if name in names]


def _numbers(seeds: int | str | Sequence[int]) -> list[int]:
    names = names_in_list(seeds)  # type: ignore[arg-type]
    if not names or not all(name.isdecimal() for name in names):
        raise ValueError(f"seeds is {seeds!r}; give whole numbers from 0, such as 0,1,2.")
    return list(dict.fromkeys(int(name) for name in names))


def _check_slice_size(slice_size: Sequence[int]) -> list[int]:
    sizes: list[Any] = list(slice_size) if isinstance(slice_size, (list, tuple)) else [slice_size]
    if len(sizes) != 2 or not all(isinstance(value, int) and value >= 16 for value in sizes):
        raise ValueError(f"slice_size is {slice_size!r}; give width and height, at least 16, such as 56,72.")
    return sizes


def _check_numbers(**values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; give a positive whole number.")


def _check_positive(**values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"{name} is {value!r}; give a positive number.")


def _simulate(folder: Path) -> Path:
    datalist = folder / "cohort" / "datalist.json"
    if not datalist.exists():
        simulate_brain(datalist.parent, **SIMULATED, overwrite=True)
    return datalist
