# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How much memory inference and training take: ``python benchmarks/memory.py --help``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from figures import Bar, BarPanel, bar_figure
from machine import checked_device
from naive_generator import naive_copy
from naive_inference import naive_translations
from networks import AUTOCAST, BRAIN, build_generator
from options import check_count, check_image_size, check_network_size, chosen
from report import ResultFiles, command_line
from seq2seq_mri.inference.fusion import MeanFusion
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.checkpointing import checkpoint_activations
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_studies.comparison.resources import PeakMemory, in_fresh_process
from training import NaiveStep, OurStep, random_vgg19

__all__ = ["Measurement", "measure_memory", "memory"]

GIBIBYTE = 2**30
PARTS = ("inference", "training", "training3d")
TARGET = "t1gd"


@dataclass(frozen=True)
class Measurement:
    """What a process is to measure.

    Attributes:
        task: ``"one missing"`` (three sources to the fourth sequence, fused), ``"all pairs"`` (sixteen translations) or
            ``"training"``.
        variant: ``naive``, ``fp32`` or ``bf16``.
        size: of the network.
        spatial_dims: 2 or 3.
        shape: of a volume, or of a patch in training.
        checkpointing: whether the generator recomputes activations in the backward pass.
        perceptual: whether the training's loss has the perceptual term.
        device: ``cpu`` or ``cuda``.
    """

    task: str
    variant: str
    size: str
    spatial_dims: int
    shape: tuple[int, int, int]
    checkpointing: bool
    perceptual: bool
    device: str


def memory(
    size: str = "published",
    device: str = "cpu",
    parts: str | Sequence[str] = PARTS,
    variants: str | Sequence[str] = ("naive", "fp32", "bf16"),
    slices: int = 16,
    image_size: int = 192,
    size_3d: str = "bundle",
    patch_size_3d: int = 64,
    perceptual: bool = False,
    output_dir: str | None = None,
    machine: str | None = None,
) -> None:
    """Measure the peak memory of whole-volume inference at the default settings, and of a training step.

    Every measurement has a process of its own. Inference: one missing sequence from three (fused; what inference.json
    does), and all sixteen translations of a subject, held as volumes. Training: two steps with Adam, 2D and 3D, with
    and without gradient checkpointing; gradients and Adam's two moments are three times the weights.

    Args:
        size: published (the released network), bundle (the reduced one of seq2seq_brats) or tiny (to try the program).
        device: cpu or cuda.
        parts: some of inference, training and training3d, separated by commas.
        variants: some of naive, fp32 and bf16, separated by commas.
        slices: number of slices of the volume; what inference needs for its results grows with it.
        image_size: width and height of a slice, a multiple of 4.
        size_3d: size of the network for 3D training.
        patch_size_3d: width, height and depth of the patch for it, a multiple of 4.
        perceptual: whether the training's loss has the perceptual term.
        output_dir: where the results are written; benchmarks/results by default.
        machine: first part of the files' names; by default the name of the GPU or of the processor.
    """
    settings = dict(locals())
    where = checked_device(device)
    wanted, names = chosen(parts, PARTS, "parts"), chosen(variants, list(AUTOCAST), "variants")
    check_count(slices=slices)
    check_image_size(image_size=image_size, patch_size_3d=patch_size_3d)
    check_network_size(size=size, size_3d=size_3d)
    files = ResultFiles(output_dir, machine, f"memory-{size}-{slices}-slices", where)

    plane, patch = (image_size, image_size), (patch_size_3d,) * 3
    planned: list[Measurement] = []
    for name in names:
        if "inference" in wanted:
            for task in ("one missing", "all pairs"):
                planned.append(Measurement(task, name, size, 2, (*plane, slices), False, False, device))
        for checkpointing in (False, True) if name != "naive" else (False,):
            if "training" in wanted:
                planned.append(Measurement("training", name, size, 2, (*plane, 3), checkpointing, perceptual, device))
            if "training3d" in wanted:
                planned.append(Measurement("training", name, size_3d, 3, patch, checkpointing, perceptual, device))
    rows = []
    for measurement in tqdm(planned, desc="Memory", unit="process"):
        bytes_of = in_fresh_process(measure_memory, measurement)
        facts = {key: value for key, value in asdict(measurement).items() if key not in ("device", "perceptual")}
        facts["shape"] = " x ".join(str(length) for length in measurement.shape)
        rows.append(facts | {f"{key}_gib": None if n is None else n / GIBIBYTE for key, n in bytes_of.items()})
    rows.sort(key=lambda row: (row["task"], row["spatial_dims"]))
    files.write(settings, rows, _figure(f"Peak memory, {size} size: {files.stem}", rows))


def measure_memory(measurement: Measurement) -> dict[str, int | None]:
    """Measure in this process; returns bytes: the weights, and the peak over what was held with them."""
    device = torch.device(measurement.device)
    if measurement.task == "training":
        step = training_step(measurement, device)
        weights = sum(parameter.nbytes for parameter in step.network.parameters())
        with PeakMemory(device) as peak:
            step()
            step()
        return {"weights": weights, "peak_over_weights": peak.over}
    generator = _generator(measurement, device)
    weights = sum(parameter.nbytes for parameter in generator.parameters())
    return {"weights": weights, "peak_over_weights": _inference(measurement, generator, device)}


def training_step(measurement: Measurement, device: torch.device) -> NaiveStep | OurStep:
    """Return the step of a variant, not yet run."""
    generator = _generator(measurement, device).train()
    if measurement.checkpointing:
        generator = checkpoint_activations(generator)
    images = torch.rand(1, len(BRAIN), *measurement.shape, device=device)
    kind: type[NaiveStep] | type[OurStep] = NaiveStep if measurement.variant == "naive" else OurStep
    with tempfile.TemporaryDirectory() as scratch:
        weights = random_vgg19(Path(scratch)) if measurement.perceptual else None
        return kind(generator, images, weights, False, AUTOCAST[measurement.variant])


def _generator(measurement: Measurement, device: torch.device) -> Seq2SeqGenerator:
    return build_generator(measurement.size, spatial_dims=measurement.spatial_dims).to(device)


def _inference(measurement: Measurement, generator: Seq2SeqGenerator, device: torch.device) -> int | None:
    image = torch.rand(len(BRAIN), *measurement.shape)
    one_missing = measurement.task == "one missing"
    sources = [name for name in BRAIN if name != TARGET or not one_missing]
    targets = [TARGET] if one_missing else list(BRAIN)
    network: Any = naive_copy(generator) if measurement.variant == "naive" else generator
    del generator
    with PeakMemory(device) as peak:
        if measurement.variant == "naive":
            pairs = [(source, target) for source in sources for target in targets]
            volumes = naive_translations(network, image, pairs)
            if one_missing:
                torch.stack(list(volumes.values())).mean(0)
        else:
            inferer = SliceTranslationInferer(autocast_dtype=AUTOCAST[measurement.variant])
            inferer(image[None], network, sources, targets, reduce=MeanFusion() if one_missing else None)
    return peak.over


def _figure(title: str, rows: Sequence[dict[str, Any]]) -> Figure:
    panels = []
    for task, dims in dict.fromkeys((row["task"], row["spatial_dims"]) for row in rows):
        bars = [
            Bar(
                f"{row['variant']}{', checkpointing' if row['checkpointing'] else ''}",
                {"": row["peak_over_weights_gib"]},
                f"{row['peak_over_weights_gib']:.3g}",
            )
            for row in rows
            if (row["task"], row["spatial_dims"]) == (task, dims) and row["peak_over_weights_gib"] is not None
        ]
        if bars:
            shape = next(row["shape"] for row in rows if (row["task"], row["spatial_dims"]) == (task, dims))
            panels.append(BarPanel(f"{task}, {dims}D, {shape}", "peak over weights (GiB)", bars))
    return bar_figure(title, panels)


if __name__ == "__main__":
    command_line(memory)
