# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How long the analysis of a whole subject takes, from NIfTI to NIfTI: ``python benchmarks/subject.py --help``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from figures import Bar, BarPanel, bar_figure
from machine import checked_device, matrix_products, seconds_of, synchronize
from naive_generator import naive_copy
from naive_inference import naive_translations
from networks import BRAIN, build_generator
from options import check_count, check_image_size, check_network_size, chosen
from report import ResultFiles, command_line
from seq2seq_mri.evaluation.differentiation.differentiation import differentiation_map
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.save import save_volume
from seq2seq_mri.sequences import channel_slices
from seq2seq_mri.transforms.intensity import NormalizeSequencesd
from seq2seq_studies.comparison.resources import PeakMemory, count_gmacs, in_fresh_process
from simulated_subject import write_subject
from timing import describe_products, fraction_of_peak, ratios, summary

__all__ = ["analyse", "subject"]

VARIANTS = {"naive": "float32", "fp32": "float32", "bf16": "bfloat16"}
STAGES = ("reading", "network", "maps", "writing")


@dataclass
class Task:
    """What a process is to do.

    Attributes:
        variant: ``naive``, ``fp32`` or ``bf16``.
        size: of the network.
        device: ``cpu`` or ``cuda``.
        files: the subject's dictionary.
        folder: where the results are written.
        include_self: whether M_d averages over the self-reconstruction too.
        slice_batch_size: of this project's inferer; its own default where None.
        writing_threads: files that this project's variants write at the same time, as its SaveImageSequencesd does.
    """

    variant: str
    size: str
    device: str
    files: dict[Hashable, Any]
    folder: str
    include_self: bool
    slice_batch_size: int | None
    writing_threads: int


def subject(
    size: str = "published",
    device: str = "cpu",
    variants: str | Sequence[str] = ("naive", "fp32", "bf16"),
    slices: int = 155,
    include_self: bool = False,
    slice_batch_size: int | None = None,
    writing_threads: int = 4,
    image_size: int = 192,
    rounds: int = 1,
    output_dir: str | None = None,
    machine: str | None = None,
) -> None:
    """Time the analysis of a subject with four sequences: all twelve translations and four maps M_d, sixteen volumes.

    Each run reads four files, translates every sequence into every other, computes M_d of each and writes everything,
    on a CPU in a process of its own whose start and whose network are made before the clock runs. Runs are interleaved.
    The naive variant uses the same transforms for reading and writing and loops over pairs and batches of eight slices.

    A full run on two CPU cores takes about an hour at the published size; for medians take few slices and many
    rounds, for example --slices 8 --rounds 5.

    Args:
        size: published (the released network), bundle (the reduced one of seq2seq_brats) or tiny (to try the program).
        device: cpu or cuda.
        variants: some of naive, fp32 and bf16, separated by commas. Ratios are to naive, where it is among them.
        slices: number of slices; none is empty.
        include_self: M_d as in the paper's Eq. 5, with the reconstruction of a sequence from itself: sixteen
            translations instead of twelve.
        slice_batch_size: slices that this project's inferer translates at once; by default its own choice.
        writing_threads: files that this project writes at the same time; the naive variant writes one by one.
        image_size: width and height of a slice, a multiple of 4.
        rounds: how often each variant runs.
        output_dir: where the results are written; benchmarks/results by default.
        machine: first part of the files' names; by default the name of the GPU or of the processor.
    """
    settings = dict(locals())
    where = checked_device(device)
    names = chosen(variants, list(VARIANTS), "variants")
    check_count(rounds=rounds, slices=slices, writing_threads=writing_threads)
    check_image_size(image_size=image_size)
    check_network_size(size=size)
    gmacs = {name: slices * value for name, value in _gmacs_per_slice(size, image_size, include_self).items()}
    files = ResultFiles(output_dir, machine, f"subject-{size}-{slices}-slices", where)

    products = matrix_products(where, quick=size == "tiny")
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        inputs = write_subject(folder, image_size, slices)
        with tqdm(total=rounds * len(names), desc="Subject", unit="run") as bar:
            for _ in range(rounds):
                for name in names:
                    out, threads = str(folder / name), 1 if name == "naive" else writing_threads
                    task = Task(name, size, device, inputs, out, include_self, slice_batch_size, threads)
                    product = products[VARIANTS[name]]
                    # A run takes long: what the machine can do is looked at on both sides of it.
                    before = seconds_of(product, where)
                    # On a GPU memory is counted by torch, which starts anew in this process too.
                    result = analyse(task) if where.type == "cuda" else in_fresh_process(analyse, task)
                    result["matrix_product"] = (before + seconds_of(product, where)) / 2
                    results[name].append(result)
                    bar.update()
        psnr = {name: _psnr(folder / "naive", folder / name) for name in names if "naive" in names and name != "naive"}

    rows: list[dict[str, Any]] = []
    for name, runs in results.items():
        seconds = {stage: summary([run[stage] for run in runs])["seconds"] for stage in STAGES}
        totals = {key: [sum(run[stage] for stage in STAGES) for run in results[key]] for key in {name, names[0]}}
        rows.append(
            {
                "variant": name,
                **summary(totals[name]),
                **seconds,
                "ratio": ratios(totals["naive"], totals[name]) if "naive" in totals else None,
                "gmacs": gmacs["naive" if name == "naive" else "ours"],
                "peak_gib": _gib(runs, "peak"),
                "peak_over_weights_gib": _gib(runs, "over"),
                "psnr_to_naive": psnr.get(name),
            }
        )
        rows[-1]["network_fraction_of_peak"] = fraction_of_peak(
            rows[-1]["gmacs"],
            [run["network"] for run in runs],
            products[VARIANTS[name]].gmacs,
            [run["matrix_product"] for run in runs],
        )
    title = f"Whole subject, {slices} slices of {image_size} x {image_size} ({size} size): {files.stem}"
    used = {dtype: product for dtype, product in products.items() if dtype in {VARIANTS[name] for name in names}}
    seconds_of_products = {
        dtype: [run["matrix_product"] for name in names if VARIANTS[name] == dtype for run in results[name]]
        for dtype in used
    }
    described = describe_products(used, seconds_of_products)
    files.write(settings, rows, _figure(title, rows), matrix_products=described, runs=results)


def analyse(task: Task) -> dict[str, Any]:
    """Analyse the subject once; returns the seconds of each stage and bytes: peak, and peak over the start."""
    device = torch.device(task.device)
    generator = build_generator(task.size).requires_grad_(False).to(device)
    network: Any = naive_copy(generator) if task.variant == "naive" else generator
    del generator
    _translate(task, network, torch.rand(4, 32, 32, 1))  # libraries initialise themselves at their first use
    clock = [time.perf_counter()]
    with PeakMemory(device) as memory:
        clock[0] = time.perf_counter()
        sample = NormalizeSequencesd(BRAIN)(LoadImageSequencesd(BRAIN)(task.files))
        image = sample["image"].as_tensor()
        clock.append(time.perf_counter())
        translations = _translate(task, network, image)
        synchronize(device)
        clock.append(time.perf_counter())
        volumes = _maps(translations, image, task.include_self)
        volumes |= {f"{a}_to_{b}": volume for (a, b), volume in translations.items() if a != b}
        clock.append(time.perf_counter())
        _write(task, volumes)
        clock.append(time.perf_counter())
    seconds = {stage: end - start for stage, start, end in zip(STAGES, clock[:-1], clock[1:], strict=True)}
    return {**seconds, "peak": memory.peak, "over": memory.over}


def _pairs(include_self: bool) -> list[tuple[str, str]]:
    return [(source, target) for source in BRAIN for target in BRAIN if include_self or source != target]


def _translate(task: Task, network: Any, image: torch.Tensor) -> dict[tuple[str, str], torch.Tensor]:
    if task.variant == "naive":
        return naive_translations(network, image, _pairs(task.include_self))
    options: dict[str, Any] = {
        "autocast_dtype": None if task.variant == "fp32" else VARIANTS[task.variant],
        "include_self": task.include_self,
    }
    if task.slice_batch_size is not None:
        options["slice_batch_size"] = task.slice_batch_size
    predictions = SliceTranslationInferer(**options)(image[None], network, sources=list(BRAIN), targets=list(BRAIN))
    channels = channel_slices(BRAIN)
    return {
        (source, target): predictions[list(BRAIN).index(source), channels[target]]
        for source, target in _pairs(task.include_self)
    }


def _maps(
    translations: dict[tuple[str, str], torch.Tensor], image: torch.Tensor, include_self: bool
) -> dict[str, torch.Tensor]:
    maps = {}
    for target, channels in channel_slices(BRAIN).items():
        predictions = [translations[pair] for pair in _pairs(include_self) if pair[1] == target]
        maps[f"{target}_differentiation"] = differentiation_map(predictions, image[channels])
    return maps


def _write(task: Task, volumes: dict[str, torch.Tensor]) -> None:
    with ThreadPoolExecutor(task.writing_threads) as pool:
        files = [
            pool.submit(save_volume, Path(task.folder) / f"{name}.nii.gz", volume, task.files["t1"], "overwrite")
            for name, volume in volumes.items()
        ]
    for file in files:
        file.result()


@torch.no_grad()
def _gmacs_per_slice(size: str, image_size: int, include_self: bool) -> dict[str, float]:
    """Return the multiply-adds of a slice: with every translation from scratch, and with shared parts."""
    generator = build_generator(size)
    naive = naive_copy(generator)
    image = torch.rand(1, 1, generator.in_channels, image_size, image_size)
    code = torch.eye(len(BRAIN))[:1]
    specialised = generator.specialise(list(BRAIN)[:1])
    shared = count_gmacs(lambda: specialised.unroll(specialised.encode(image), 1))
    decoded = count_gmacs(lambda: specialised(image, code)) - shared
    pairs = len(_pairs(include_self))
    return {
        "naive": pairs * count_gmacs(lambda: naive(image, code[0])),
        "ours": len(BRAIN) * shared + pairs * decoded,
    }


def _psnr(expected: Path, found: Path) -> float | None:
    """Return the PSNR in dB (peak 1) over all written volumes together; None where they are equal."""
    errors = []
    for path in sorted(expected.glob("*.nii.gz")):
        left, right = (_voxels(folder / path.name) for folder in (expected, found))
        errors.append(float(np.square(left.astype(np.float64) - right).mean()))
    error = float(np.mean(errors))
    return None if error == 0 else -10 * float(np.log10(error))


def _voxels(path: Path) -> np.ndarray:
    return nibabel.Nifti1Image.from_filename(path).get_fdata(dtype=np.float32)


def _gib(runs: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [run[key] for run in runs if run[key] is not None]
    return max(values) / 2**30 if values else None


def _figure(title: str, rows: Sequence[dict[str, Any]]) -> Figure:
    def ratio(row: dict[str, Any]) -> str:
        return "" if row["ratio"] is None else f"{row['ratio']:.2f}x"

    times = [Bar(row["variant"], {stage: row[stage] for stage in STAGES}, ratio(row)) for row in rows]
    panels = [BarPanel("From file to file, medians, and ratio to the naive loop", "seconds", times)]
    memory = [
        Bar(row["variant"], {"": row["peak_over_weights_gib"]}, f"{row['peak_over_weights_gib']:.3g} GiB")
        for row in rows
        if row["peak_over_weights_gib"] is not None
    ]
    if memory:
        panels.append(BarPanel("Peak memory over what was held before reading", "GiB", memory))
    return bar_figure(title, panels)


if __name__ == "__main__":
    command_line(subject)
