# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How time grows with slices, batch, sequences and timepoints: ``python benchmarks/scaling.py --help``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from figures import CurvePanel, curve_figure
from machine import checked_device, matrix_products
from naive_generator import naive_copy
from naive_inference import naive_translations
from networks import AUTOCAST, BRAIN, build_generator
from options import check_count, check_image_size, check_network_size, chosen
from report import ResultFiles, command_line
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from timing import describe_products, interleaved_seconds, ratios, summary

__all__ = ["scaling"]

#: What grows, in which steps.
AXES = {
    "slices": (1, 2, 4, 8, 16),
    "batch": (1, 2, 4, 8, 16),
    "sequences": (4, 8, 16),
    "timepoints": (1, 2, 4, 6, 12),
}
X_LABELS = {
    "slices": "slices of a volume, all 16 translations",
    "batch": "slices in a batch, one translation",
    "sequences": "sequences S, all S² translations of 2 slices",
    "timepoints": "timepoints T, one translation of one slice",
}


@torch.no_grad()
def scaling(
    size: str = "bundle",
    device: str = "cpu",
    variants: str | Sequence[str] = ("naive", "fp32", "bf16"),
    axes: str | Sequence[str] = tuple(AXES),
    image_size: int = 96,
    rounds: int = 5,
    output_dir: str | None = None,
    machine: str | None = None,
) -> None:
    """Time translations against the number of slices, the batch, the number of sequences S and of timepoints T.

    Slices and sequences: whole volumes through this project's inferer at its default settings, and through the naive
    loop over pairs and batches of eight slices. Batch and timepoints: one call of the network, this project's
    specialised to the target.

    Args:
        size: published (the released network), bundle (the reduced one of seq2seq_brats) or tiny (to try the program).
        device: cpu or cuda.
        variants: some of naive, fp32 and bf16, separated by commas. Ratios are to naive, where it is among them.
        axes: some of slices, batch, sequences and timepoints, separated by commas.
        image_size: width and height of a slice, a multiple of 4.
        rounds: how often each is timed.
        output_dir: where the results are written; benchmarks/results by default.
        machine: first part of the files' names; by default the name of the GPU or of the processor.
    """
    settings = dict(locals())
    where = checked_device(device)
    names = chosen(variants, list(AUTOCAST), "variants")
    wanted = chosen(axes, list(AXES), "axes")
    check_count(rounds=rounds)
    check_image_size(image_size=image_size)
    check_network_size(size=size)
    files = ResultFiles(output_dir, machine, f"scaling-{size}", where)

    products = matrix_products(where, quick=size == "tiny")
    product_seconds: dict[str, list[float]] = {dtype: [] for dtype in products}
    rows: list[dict[str, Any]] = []
    for axis in wanted:
        for number in AXES[axis]:
            runs: dict[str, Callable] = {name: _run(axis, number, name, size, image_size, where) for name in names}
            seconds = interleaved_seconds({**runs, **products}, rounds, where, title=f"{axis} {number}")
            for name in names:
                ratio = ratios(seconds["naive"], seconds[name]) if "naive" in seconds else None
                point = {"axis": axis, "number": number, "variant": name}
                rows.append({**point, **summary(seconds[name]), "ratio": ratio})
            for dtype in products:
                product_seconds[dtype] += seconds[dtype]
    panels = [
        CurvePanel(
            axis,
            X_LABELS[axis],
            {
                name: [(row["number"], row["seconds"]) for row in rows if (row["axis"], row["variant"]) == (axis, name)]
                for name in names
            },
        )
        for axis in wanted
    ]
    title = f"Time of translations of {image_size} x {image_size} slices ({size} size): {files.stem}"
    described = describe_products(products, product_seconds)
    files.write(settings, rows, curve_figure(title, panels), matrix_products=described)


def _run(
    axis: str, number: int, variant: str, size: str, image_size: int, device: torch.device
) -> Callable[[], torch.Tensor | dict]:
    """Return what is timed for one point of a curve."""
    sequences = dict(BRAIN)
    if axis == "sequences":
        sequences = {f"sequence{index}": 1 for index in range(number)}
    if axis == "timepoints":
        sequences = dict.fromkeys(BRAIN, number)
    generator = build_generator(size, sequences).to(device).requires_grad_(False)
    if axis in ("slices", "sequences"):
        image = torch.rand(len(sequences), image_size, image_size, number if axis == "slices" else 2)
        return _volume_run(variant, generator, image)
    frames, batch = (number, 1) if axis == "timepoints" else (1, number)
    images = torch.rand(batch, frames, generator.in_channels, image_size, image_size, device=device)
    code = torch.eye(len(sequences), device=device)[:1]
    if variant == "naive":
        naive = naive_copy(generator)
        return lambda: naive(images, code[0])
    dtype = torch.bfloat16 if AUTOCAST[variant] else torch.float32
    specialised = generator.specialise(list(sequences)[:1]).to(dtype)
    return lambda: specialised(images.to(dtype), code)


def _volume_run(variant: str, generator: Seq2SeqGenerator, image: torch.Tensor) -> Callable[[], torch.Tensor | dict]:
    if variant == "naive":
        naive = naive_copy(generator)
        pairs = [(source, target) for source in generator.sequences for target in generator.sequences]
        return lambda: naive_translations(naive, image, pairs)
    inferer = SliceTranslationInferer(autocast_dtype=AUTOCAST[variant])
    return lambda: inferer(image[None], generator)


if __name__ == "__main__":
    command_line(scaling)
