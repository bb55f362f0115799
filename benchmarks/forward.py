# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How long one translation of one slice takes, part by part: ``python benchmarks/forward.py --help``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn

from figures import Bar, BarPanel, bar_figure
from machine import checked_device, matrix_products, seconds_of
from networks import VARIANTS, build_generator, inference_network, variant_dtype
from options import check_count, check_image_size, check_network_size, chosen
from report import ResultFiles, command_line
from seq2seq_studies.comparison.resources import count_gmacs
from timing import describe_products, fraction_of_peak, interleaved_seconds, ratios, summary

__all__ = ["forward"]

TARGET = "t1gd"


@torch.no_grad()
def forward(
    size: str = "published",
    device: str = "cpu",
    variants: str | Sequence[str] | None = None,
    compile: bool = False,
    batch_size: int = 1,
    image_size: int = 192,
    rounds: int = 7,
    output_dir: str | None = None,
    machine: str | None = None,
) -> None:
    """Time one translation of a slice, and its parts encode, unroll and decode, in all variants.

    All variants have the same random weights and are run in turn, matrix products among them. Written are the median,
    least and most seconds, the multiply-adds, the fraction that is reached of the rate of a matrix product in the same
    type and round, and how close the result is to the naive network's.

    Args:
        size: published (the released network), bundle (the reduced one of seq2seq_brats) or tiny (to try the program).
        device: cpu or cuda.
        variants: some of naive, naive bf16, generator, specialised, winograd, bf16, separated by commas; naive
            always runs. By default all, winograd on a CPU only.
        compile: also run the specialised networks through torch.compile; the seconds of the first call are written too.
        batch_size: slices that are translated at once.
        image_size: width and height of the slice, a multiple of 4.
        rounds: how often each is timed.
        output_dir: where the results are written; benchmarks/results by default.
        machine: first part of the files' names; by default the name of the GPU or of the processor.
    """
    settings = {"size": size, "batch_size": batch_size, "image_size": image_size, "rounds": rounds, "compile": compile}
    where = checked_device(device)
    known = [name for name in VARIANTS if name != "winograd" or where.type == "cpu"]
    names = known if variants is None else list(dict.fromkeys(["naive", *chosen(variants, known, "variants")]))
    check_count(rounds=rounds, batch_size=batch_size)
    check_image_size(image_size=image_size)
    check_network_size(size=size)
    generator = build_generator(size).to(where)
    files = ResultFiles(output_dir, machine, f"forward-{size}", where)

    image = torch.rand(batch_size, 1, generator.in_channels, image_size, image_size, device=where)
    code = torch.eye(len(generator.sequences), device=where)[[list(generator.sequences).index(TARGET)]]
    networks = {name: inference_network(name, generator, [TARGET]) for name in names}
    runs: dict[tuple[str, str], Callable] = {
        (name, part): run
        for name, network in networks.items()
        for part, run in _parts(network, image.to(variant_dtype(name)), code).items()
    }
    gmacs = _count(networks, runs)
    warm_up: dict[str, float] = {}
    for name in ("specialised", "bf16") if compile else ():
        if name in networks:
            runs[f"compiled {name}", "forward"], warm_up[f"compiled {name}"] = _compiled(
                networks[name], image.to(variant_dtype(name)), code
            )
            gmacs[f"compiled {name}", "forward"] = gmacs[name, "forward"]
    exact = runs["naive", "forward"]().float()
    psnr = {name: _psnr(exact, run().float()) for (name, part), run in runs.items() if part == "forward"}

    products = matrix_products(where, quick=size == "tiny")
    runs |= {("matrix product", name): product for name, product in products.items()}
    seconds = interleaved_seconds(runs, rounds, where, title="Forward")
    rows: list[dict[str, Any]] = []
    for (name, part), taken in seconds.items():
        if name == "matrix product":
            continue
        dtype = VARIANTS[name.removeprefix("compiled ")]
        rows.append(
            {
                "variant": name,
                "part": part,
                **summary(taken),
                "ratio": ratios(seconds["naive", part], taken) if part == "forward" else None,
                "gmacs": gmacs[name, part],
                "dtype": dtype,
                "fraction_of_peak": fraction_of_peak(
                    gmacs[name, part], taken, products[dtype].gmacs, seconds["matrix product", dtype]
                ),
                "psnr_to_naive": psnr[name] if part == "forward" else None,
                "compilation_seconds": warm_up.get(name),
            }
        )
    described = describe_products(products, {name: seconds["matrix product", name] for name in products})
    title = f"One translation of {batch_size} x {image_size} x {image_size} ({size} size)"
    everything = {f"{name}: {part}": taken for (name, part), taken in seconds.items()}
    files.write(settings, rows, _figure(f"{title}: {files.stem}", rows), matrix_products=described, seconds=everything)


def _parts(network: Any, image: torch.Tensor, code: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    """Return the whole translation and, where the network has them, its parts, each with its input made before."""
    if not hasattr(network, "decode"):
        return {"forward": lambda: network(image, code[0].to(image.dtype))}
    features = network.encode(image)
    unrolled = network.unroll(features, 1)
    return {
        "forward": lambda: network(image, code),
        "encode": lambda: network.encode(image),
        "unroll": lambda: network.unroll(features, 1),
        "decode": lambda: network.decode(unrolled, code, list(image.shape[3:])),
    }


def _count(networks: dict[str, nn.Module], runs: dict[tuple[str, str], Callable]) -> dict[tuple[str, str], float]:
    """Count the multiply-adds; for Winograd's those of the direct convolutions, which it stands for."""
    counted = {key: count_gmacs(run) for key, run in runs.items() if key[0] != "winograd"}
    like = next((name for name in ("specialised", "bf16", "generator") if name in networks), None)
    if "winograd" in networks:
        if like is None:
            raise ValueError("Winograd's convolutions are measured by direct ones; add specialised to the variants.")
        counted |= {key: counted[like, key[1]] for key in runs if key[0] == "winograd"}
    return counted


def _compiled(network: nn.Module, image: torch.Tensor, code: torch.Tensor) -> tuple[Callable, float]:
    compiled = torch.compile(network)

    def run() -> torch.Tensor:
        return compiled(image, code)

    return run, seconds_of(run, image.device)


def _psnr(truth: torch.Tensor, other: torch.Tensor) -> float | None:
    """Return the peak signal-to-noise ratio in dB, the peak being the truth's range; None for equal images."""
    error = (truth.double() - other.double()).square().mean()
    peak = truth.max().double() - truth.min().double()
    return None if error == 0 else float(10 * torch.log10(peak.square() / error))


def _figure(title: str, rows: list[dict[str, Any]]) -> Figure:
    whole = [row for row in rows if row["part"] == "forward"]
    parts = [row for row in rows if row["part"] != "forward"]
    panels = [
        BarPanel(
            "Whole translation, median and ratio to the naive network",
            "seconds",
            [Bar(row["variant"], {"": row["seconds"]}, f"{row['ratio']:.2f}x") for row in whole],
        )
    ]
    if parts:
        bars = [
            Bar(f"{row['variant']}: {row['part']}", {"": row["fraction_of_peak"]}, f"{row['seconds'] * 1e3:.3g} ms")
            for row in parts
        ]
        panels.append(BarPanel("Arithmetic reached", "fraction of the matrix-product peak in the same type", bars, 1.0))
    return bar_figure(title, panels)


if __name__ == "__main__":
    command_line(forward)
