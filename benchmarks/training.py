# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How long a training step takes, and which part of it: ``python benchmarks/training.py --help``."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from figures import Bar, BarPanel, bar_figure
from machine import checked_device, matrix_products
from naive_generator import NaiveGenerator, naive_copy
from networks import AUTOCAST, BRAIN, build_generator
from options import check_count, check_image_size, check_network_size, chosen
from report import ResultFiles, command_line
from seq2seq_mri.losses.generator_loss import Seq2SeqLoss
from seq2seq_mri.losses.perceptual import BLOCKS, SequencePerceptualLoss
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.training.trainer import autocast
from seq2seq_mri.training.translation_step import TranslationStep
from seq2seq_mri.transforms.slice_stack import network_input
from seq2seq_studies.comparison.resources import count_gmacs
from timing import describe_products, fraction_of_peak, interleaved_seconds, ratios, summary
from training_cost import step_costs

__all__ = ["NaiveStep", "OurStep", "random_vgg19", "training"]

LAMBDA_RECONSTRUCTION, LAMBDA_PERCEPTUAL, LAMBDA_CYCLE = 10.0, 0.01, 10.0
LEARNING_RATE = 2e-4
SLICES = 3


def training(
    size: str = "published",
    device: str = "cpu",
    variants: str | Sequence[str] = ("naive", "fp32", "bf16"),
    cycle: bool = False,
    perceptual: bool = True,
    batch_size: int = 1,
    image_size: int = 192,
    rounds: int = 5,
    output_dir: str | None = None,
    machine: str | None = None,
) -> None:
    """Time one training step: a source is reconstructed as itself and as one other sequence, loss, gradients and Adam.

    The loss is L1 with weight 10 and the perceptual term with weight 0.01 (VGG19 with random weights, frozen; the
    target's features without a graph, in all variants). The naive step calls the naive network once for each of the two
    translations and uses torch's Adam as it is by default; this project's is its TranslationStep and the fused Adam.
    Weights start equal; steps are interleaved. Of this project's steps a table of costs by term is written too.

    Args:
        size: published (the released network), bundle (the reduced one of seq2seq_brats) or tiny (to try the program).
        device: cpu or cuda.
        variants: some of naive, fp32 and bf16, separated by commas. Ratios are to naive, where it is among them.
        cycle: also the cycle term, with weight 10: a third sequence and back, in every variant.
        perceptual: whether the loss has the perceptual term.
        batch_size: number of patients in a step.
        image_size: width and height of the slice, a multiple of 4.
        rounds: how often each is timed.
        output_dir: where the results are written; benchmarks/results by default.
        machine: first part of the files' names; by default the name of the GPU or of the processor.
    """
    settings = dict(locals())
    where = checked_device(device)
    names = chosen(variants, list(AUTOCAST), "variants")
    check_count(rounds=rounds, batch_size=batch_size)
    check_image_size(image_size=image_size)
    check_network_size(size=size)
    files = ResultFiles(output_dir, machine, f"training-{size}{'-cycle' if cycle else ''}", where)
    with tempfile.TemporaryDirectory() as scratch:
        weights = random_vgg19(Path(scratch)) if perceptual else None
        steps: dict[str, Callable[[], None]] = {}
        for name in names:
            generator = build_generator(size).to(where).train()
            images = torch.rand(batch_size, len(BRAIN), image_size, image_size, SLICES, device=where)
            kind: type[NaiveStep] | type[OurStep] = NaiveStep if name == "naive" else OurStep
            steps[name] = kind(generator, images, weights, cycle, AUTOCAST[name])
            del generator
    gmacs = {name: count_gmacs(step) for name, step in steps.items()}
    products = matrix_products(where, quick=size == "tiny")
    seconds = interleaved_seconds({**steps, **products}, rounds, where, title="Training step")
    rows = [
        {
            "variant": name,
            **summary(seconds[name]),
            "steps_per_second": 1 / statistics.median(seconds[name]),
            "ratio": ratios(seconds["naive"], seconds[name]) if "naive" in seconds else None,
            "gmacs": gmacs[name],
            "fraction_of_peak": fraction_of_peak(gmacs[name], seconds[name], products[dtype].gmacs, seconds[dtype]),
        }
        for name, dtype in ((name, AUTOCAST[name] or "float32") for name in names)
    ]
    costs = {
        name: step_costs(step, rounds, where, title=name) for name, step in steps.items() if isinstance(step, OurStep)
    }
    for name, terms in costs.items():
        print(f"Seconds of the terms of a step, {name}:")
        print("".join(f"  {term:20} {value:9.4g}\n" for term, value in terms.items()))
    described = describe_products(products, {dtype: seconds[dtype] for dtype in products})
    files.write(
        settings,
        rows,
        _figure(f"Training step, {size} size: {files.stem}", rows, costs),
        costs=costs,
        matrix_products=described,
        seconds=seconds,
    )


class NaiveStep:
    """A step as one would write it around the naive network: every translation from scratch."""

    def __init__(
        self,
        generator: Seq2SeqGenerator,
        images: torch.Tensor,
        weights: Path | None,
        cycle: bool,
        autocast_dtype: str | None = None,
    ) -> None:
        self.network: NaiveGenerator = naive_copy(generator)
        self.images = images
        self.cycle = cycle
        self.codes = torch.eye(len(BRAIN), device=images.device)
        self.perceptual = None if weights is None else SequencePerceptualLoss(weights=weights).to(images.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        self.compute_loss(*torch.randperm(len(BRAIN))[:3].tolist()).backward()
        self.optimizer.step()

    def compute_loss(self, source: int, target: int, between: int) -> torch.Tensor:
        """Return the loss of a source's translations into itself and a target, and there and back again."""
        image = self._view(source)
        loss = image.new_zeros(())
        for goal in (source, target):
            prediction, truth = self.network(image, self.codes[goal]), self._view(goal)
            loss = loss + LAMBDA_RECONSTRUCTION * F.l1_loss(prediction, truth) / 2
            if self.perceptual is not None:
                loss = loss + LAMBDA_PERCEPTUAL * self.perceptual(prediction, truth).mean() / 2
        if self.cycle:
            there = self.network(image, self.codes[between])
            loss = loss + LAMBDA_CYCLE * F.l1_loss(self.network(there, self.codes[source]), image)
        return loss

    def _view(self, sequence: int) -> torch.Tensor:
        return network_input(self.images, slice(sequence, sequence + 1), self.network.spatial_dims)


class OurStep:
    """The step of this project's trainer, without its engine."""

    def __init__(
        self,
        generator: Seq2SeqGenerator,
        images: torch.Tensor,
        weights: Path | None,
        cycle: bool,
        autocast_dtype: str | None = None,
    ) -> None:
        self.network = generator
        self.images = images
        self.available = torch.ones(len(images), len(BRAIN), dtype=torch.bool)
        self.autocast_dtype = autocast_dtype
        self.loss = Seq2SeqLoss(
            LAMBDA_RECONSTRUCTION,
            LAMBDA_PERCEPTUAL if weights is not None else 0.0,
            LAMBDA_CYCLE if cycle else 0.0,
            perceptual_weights=weights,
        ).to(images.device)
        self.step = TranslationStep(self.network, self.loss)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE, fused=True)

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.backward(self.compute_loss())
        self.optimizer.step()

    def compute_loss(self) -> torch.Tensor:
        """Return the loss of a random pair of each patient."""
        with autocast(self.images.device, self.autocast_dtype):
            return self.step(self.images, self.available).loss

    def backward(self, loss: torch.Tensor) -> None:
        """Compute the gradients; a method of its own so that it can be timed."""
        loss.backward()


def random_vgg19(folder: Path) -> Path:
    """Write random weights for the perceptual network: its time does not depend on them. Returns the file."""
    state: dict[str, torch.Tensor] = {}
    inputs, index = 3, 0
    for block in BLOCKS:
        for outputs in block:
            state[f"features.{index}.weight"] = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
            state[f"features.{index}.bias"] = torch.zeros(outputs)
            inputs, index = outputs, index + 2  # a ReLU follows
        index += 1  # a pooling follows
    path = folder / "vgg19.pt"
    torch.save(state, path)
    return path


def _figure(title: str, rows: Sequence[dict[str, Any]], costs: dict[str, dict[str, float]]) -> Figure:
    def note(row: dict[str, Any]) -> str:
        rate = f"{row['steps_per_second']:.2g}/s"
        return rate if row["ratio"] is None else f"{row['ratio']:.2f}x  {rate}"

    bars = [Bar(row["variant"], {"": row["seconds"]}, note(row)) for row in rows]
    panels = [BarPanel("One step, medians, ratio to the naive step, steps per second", "seconds", bars)]
    if costs:
        terms = [Bar(name, terms) for name, terms in costs.items()]
        panels.append(BarPanel("Where the time goes", "seconds", terms))
    return bar_figure(title, panels)


if __name__ == "__main__":
    command_line(training)
