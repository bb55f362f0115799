# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The losses that each compared method is trained with, and what is hidden from it.

Weights and schedules are those of the publications; the modules of the networks and losses name them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from seq2seq_mri.losses.generator_loss import Seq2SeqLoss, least_squares
from seq2seq_mri.training.translation_step import TranslationStep
from seq2seq_mri.transforms.slice_stack import network_input
from seq2seq_studies.comparison.implicit_conditioning import (
    hide_by_curriculum,
    hide_sequences,
    implicit_conditioning_loss,
    selective_adversarial_loss,
)
from seq2seq_studies.comparison.methods import SIZES, build_network
from seq2seq_studies.networks.many_to_many import ConditionalDiscriminator, ManyToMany, MeanTranslation
from seq2seq_studies.networks.mm_gan import MMGAN
from seq2seq_studies.networks.pix2pix import Pix2Pix

__all__ = ["MMGANRecipe", "Pix2PixRecipe", "Recipe", "ResViTRecipe", "Seq2SeqRecipe", "build_recipe"]

# MM-GAN's released code trains 60 epochs, the first three stages for 10 each.
_STAGES_PER_TRAINING = 6


class Recipe(ABC):
    """A method with its losses; a training step asks for the network's, then for the discriminator's.

    Subclasses take the network, the arguments of its discriminators, and the seed of what is hidden.

    Attributes:
        network: what is trained, and evaluated.
        discriminator: what is trained against it, or ``None``.
        betas: of Adam, for both.
    """

    network: ManyToMany
    discriminator: nn.Module | None = None
    betas: tuple[float, float] = (0.5, 0.999)

    @abstractmethod
    def generator_loss(self, image: torch.Tensor, measured: torch.Tensor, step: int) -> torch.Tensor:
        """Return the network's loss; without a graph when the batch can teach it nothing.

        Args:
            image: patches ``(B, ΣT, H, W, slices)``, 0 where a sequence is missing.
            measured: bool ``(B, S)``, which sequences each has.
            step: the training step, counted from 0.
        """

    def discriminator_loss(self) -> torch.Tensor | None:
        """Return the discriminator's loss for the images of the last :meth:`generator_loss`, or ``None``."""
        return None

    @property
    def modules(self) -> dict[str, nn.Module]:
        """``network``, and ``discriminator`` where there is one."""
        both = {"network": self.network, "discriminator": self.discriminator}
        return {name: module for name, module in both.items() if module is not None}

    def optimizers(self, learning_rate: float) -> dict[str, torch.optim.Optimizer]:
        """Return Adam for each of the modules."""
        return {
            name: torch.optim.Adam(module.parameters(), lr=learning_rate, betas=self.betas)
            for name, module in self.modules.items()
        }

    def to(self, device: torch.device) -> Recipe:
        """Move network and discriminator to a device, in place."""
        for module in self.modules.values():
            module.to(device)
        return self


class Pix2PixRecipe(Recipe):
    """100 · L1 + least squares, each network by itself; a step trains those of one source of each sample."""

    def __init__(self, network: Pix2Pix, discriminator: Mapping[str, int]) -> None:
        self.network: Pix2Pix = network
        widths = [count * network.in_channels for count in network.timepoints]
        self.discriminator: nn.ModuleList = nn.ModuleList(
            ConditionalDiscriminator(network.spatial_dims, widths[source], widths[target], **discriminator)
            for source, target in network.pairs
        )
        self._made: list[tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def generator_loss(self, image: torch.Tensor, measured: torch.Tensor, step: int) -> torch.Tensor:
        """Return the sum of the losses of the networks whose source was drawn and whose target is measured."""
        network, stacks = self.network, network_input(image, slice(None), self.network.spatial_dims)
        most = len(network.timepoints) - 1
        available = hide_sequences(measured, most, most)
        images = stacks.split(network.timepoints, dim=1)
        total, self._made = image.new_zeros(()), []
        for (source, target), generator, discriminator in zip(
            network.pairs, network.networks, self.discriminator, strict=True
        ):
            rows = torch.nonzero(available[:, source] & measured[:, target])[:, 0]
            if len(rows) == 0:
                continue
            given, truth = images[source][rows], images[target][rows]
            made = generator(given.flatten(1, 2)).view(truth.shape)
            difference = F.l1_loss(made, truth)
            total = total + 100 * difference + least_squares(discriminator(given, made), real=True).mean()
            self._made.append((discriminator, given, truth, made.detach()))
        return total

    def discriminator_loss(self) -> torch.Tensor | None:
        """Return the sum over the networks that were trained; halved, as in the publication."""
        losses = [
            least_squares(discriminator(given, truth), real=True).mean()
            + least_squares(discriminator(given, made), real=False).mean()
            for discriminator, given, truth, made in self._made
        ]
        return torch.stack(losses).sum() / 2 if losses else None


class _Completing(Recipe):
    """What MM-GAN and ResViT have in common: sequences are hidden, and the completed image is judged."""

    def __init__(
        self, network: ManyToMany, discriminator: ConditionalDiscriminator, steps_per_stage: int, seed: int
    ) -> None:
        self.network = network
        self.discriminator: ConditionalDiscriminator = discriminator
        self.steps_per_stage = steps_per_stage
        self.seed = seed
        self._judged: tuple[torch.Tensor, ...] | None = None

    def _complete(
        self, image: torch.Tensor, measured: torch.Tensor, step: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the true image, what is available, the network's own output, and the completed image.

        What was never measured is 0 in the true and in the completed image: no discriminator can tell them apart by it.
        """
        truth = network_input(image, slice(None), self.network.spatial_dims)
        available = hide_by_curriculum(measured, step, self.steps_per_stage, self.seed)
        predicted = self.network.predict(truth, available)
        completed = torch.where(self.network.of_timepoints(truth, available), truth, predicted)
        return truth, available, predicted, completed.masked_fill(~self.network.of_timepoints(truth, measured), 0.0)


class MMGANRecipe(_Completing):
    """0.9 · L1 of what was hidden + 0.1 · least squares, a score for each sequence; more is hidden in later stages."""

    def __init__(self, network: MMGAN, discriminator: Mapping[str, int], steps: int, seed: int) -> None:
        width, count = network.image_channels, len(network.timepoints)
        judge = ConditionalDiscriminator(network.spatial_dims, width, width, count, **discriminator)
        super().__init__(network, judge, max(1, steps // _STAGES_PER_TRAINING), seed)

    def generator_loss(self, image: torch.Tensor, measured: torch.Tensor, step: int) -> torch.Tensor:
        """Return the loss of what was hidden."""
        truth, available, predicted, completed = self._complete(image, measured, step)
        self._judged = truth, completed.detach(), available, measured
        timepoints = self.network.timepoints
        difference = implicit_conditioning_loss(predicted, truth, available, measured, timepoints).mean()
        adversarial = selective_adversarial_loss(self.discriminator(truth, completed), measured, measured).mean()
        return 0.9 * difference + 0.1 * adversarial

    def discriminator_loss(self) -> torch.Tensor | None:
        """Return the mean of the losses of measured and completed images."""
        if self._judged is None:
            return None
        truth, completed, available, measured = self._judged
        real = selective_adversarial_loss(self.discriminator(truth, truth), measured, measured)
        made = selective_adversarial_loss(self.discriminator(truth, completed), available, measured)
        return (real + made).mean() / 2


class ResViTRecipe(_Completing):
    """100 · L1 of what was hidden + 100 · L1 of what was given + least squares; anything is hidden from the start.

    The released code, in which there is no unified form, has the weights 100 and 1.
    """

    def __init__(self, network: ManyToMany, discriminator: Mapping[str, int], seed: int) -> None:
        width = network.image_channels
        super().__init__(
            network, ConditionalDiscriminator(network.spatial_dims, width, width, **discriminator), 0, seed
        )

    def generator_loss(self, image: torch.Tensor, measured: torch.Tensor, step: int) -> torch.Tensor:
        """Return the loss of the network's own output, and of the completed image of samples that miss something."""
        truth, available, predicted, completed = self._complete(image, measured, step)
        timepoints = self.network.timepoints
        loss = 100 * implicit_conditioning_loss(predicted, truth, available, measured, timepoints, 1.0).mean()
        rows = torch.nonzero((measured & ~available).any(1))[:, 0]
        if len(rows) == 0:
            self._judged = None
            return loss
        given = truth.masked_fill(~self.network.of_timepoints(truth, available), 0.0)[rows]
        self._judged = given, truth[rows], completed[rows].detach()
        return loss + least_squares(self.discriminator(given, completed[rows]), real=True).mean()

    def discriminator_loss(self) -> torch.Tensor | None:
        """Return the mean of the losses of measured and completed images."""
        if self._judged is None:
            return None
        given, truth, completed = self._judged
        real = least_squares(self.discriminator(given, truth), real=True)
        made = least_squares(self.discriminator(given, completed), real=False)
        return (real + made).mean() / 2


class Seq2SeqRecipe(Recipe):
    """10 · L1 of a random pair of each sample, as the bundles train; no discriminator."""

    betas = (0.9, 0.999)

    def __init__(self, network: MeanTranslation) -> None:
        self.network = network
        loss = Seq2SeqLoss(lambda_reconstruction=10.0, lambda_perceptual=0.0, lambda_cycle=0.0)
        self.step = TranslationStep(network.generator, loss, pairs="random")  # type: ignore[arg-type]

    def generator_loss(self, image: torch.Tensor, measured: torch.Tensor, step: int) -> torch.Tensor:
        """Return the loss of a source as itself and as one other measured sequence."""
        return self.step(image, self.step.signal(image, measured)).loss


def build_recipe(
    method: str,
    size: str,
    sequences: Mapping[str, int],
    in_channels: int,
    image_size: Sequence[int],
    steps: int,
    seed: int = 0,
) -> Recipe:
    """Return a method with random weights, which depend on ``seed`` alone.

    Args:
        method, size, sequences, in_channels, image_size: see :func:`build_network`.
        steps: length of the training.
        seed: of the weights, and of what is hidden in training.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Any = build_network(method, size, sequences, in_channels, image_size)
        discriminator = SIZES[size]["discriminator"]
        if method == "pix2pix":
            return Pix2PixRecipe(network, discriminator)
        if method == "mm_gan":
            return MMGANRecipe(network, discriminator, steps, seed)
        if method == "resvit":
            return ResViTRecipe(network, discriminator, seed)
        return Seq2SeqRecipe(network)
