# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Trains a network for a number of steps; a training that was stopped goes on as if it had not been interrupted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from seq2seq_mri.training.checkpoint import Part, read_checkpoint, restore_parts, write_checkpoint
from seq2seq_studies.comparison.implicit_conditioning import seed_of_step
from seq2seq_studies.comparison.recipes import Recipe

__all__ = ["MethodTraining", "training_step"]

Batches = Callable[[int], tuple[torch.Tensor, torch.Tensor]]


def training_step(
    recipe: Recipe,
    optimizers: dict[str, torch.optim.Optimizer],
    image: torch.Tensor,
    measured: torch.Tensor,
    step: int,
) -> dict[str, float]:
    """Update the network, then the discriminator on what the network made before; returns both losses.

    Raises:
        ValueError: when a loss is not finite.
    """
    losses = {}
    optimizers["network"].zero_grad(set_to_none=True)
    loss = recipe.generator_loss(image, measured, step)
    losses["network"] = loss.item()
    if loss.requires_grad:  # not so when all subjects of a batch have one sequence only
        loss.backward()
        optimizers["network"].step()
    if recipe.discriminator is not None:
        # The network's own backward pass has left gradients in the discriminator.
        optimizers["discriminator"].zero_grad(set_to_none=True)
        judged = recipe.discriminator_loss()
        if judged is not None:
            losses["discriminator"] = judged.item()
            judged.backward()
            optimizers["discriminator"].step()
    for name, value in losses.items():
        if not math.isfinite(value):
            raise ValueError(f"The {name}'s loss is {value} in step {step + 1}; give a lower learning_rate.")
    return losses


class MethodTraining:
    """Trains with Adam, whose rate falls to 0 along a cosine; ``checkpoint`` holds all that a resume needs.

    Args:
        recipe: the method.
        batches: step → patches and which sequences they have.
        steps: length of the training.
        seed: of all randomness within the steps.
        learning_rate: at the start.
        checkpoint: file to save to, and to go on from when it exists.
        interval: steps between two saves.
    """

    def __init__(
        self,
        recipe: Recipe,
        batches: Batches,
        steps: int,
        seed: int,
        learning_rate: float,
        checkpoint: Path,
        interval: int = 100,
    ) -> None:
        self.recipe = recipe
        self.batches = batches
        self.steps = steps
        self.seed = seed
        self.learning_rate = learning_rate
        self.checkpoint = checkpoint
        self.interval = interval
        self.step = 0
        self.seconds = 0.0
        self.optimizers = recipe.optimizers(learning_rate)
        optimizers = {f"{name}_optimizer": optimizer for name, optimizer in self.optimizers.items()}
        self.parts: dict[str, Part] = {**recipe.modules, **optimizers}

    def run(self, progress: Callable[[int], object] = lambda step: None) -> None:
        """Train to the end, from the checkpoint on if there is one.

        Args:
            progress: called with the number of steps that are done, first with those that were done before.

        Raises:
            ValueError: when the checkpoint cannot be read or belongs to another training, or a loss is not finite.
        """
        self._restore()
        progress(self.step)
        device = next(self.recipe.network.parameters()).device
        self.recipe.network.train()
        while self.step < self.steps:
            started = time.perf_counter()
            self._prepare_step()
            image, measured = self.batches(self.step)
            training_step(self.recipe, self.optimizers, image.to(device), measured.to(device), self.step)
            self.step += 1
            self.seconds += time.perf_counter() - started
            if self.step % self.interval == 0 and self.step < self.steps:
                self._save()
            progress(self.step)

    def _prepare_step(self) -> None:
        # All that is random in a step (dropout, which pairs are drawn) depends on seed and step only.
        torch.manual_seed(seed_of_step(self.seed, self.step))
        rate = self.learning_rate * (1 + math.cos(math.pi * self.step / self.steps)) / 2
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _save(self) -> None:
        content = {name: part.state_dict() for name, part in self.parts.items()}
        facts = {"step": self.step, "steps": self.steps, "seed": self.seed, "seconds": self.seconds}
        write_checkpoint(content | facts, self.checkpoint, overwrite=True)

    def _restore(self) -> None:
        if not self.checkpoint.exists():
            return
        content = read_checkpoint(self.checkpoint)
        facts = {name: content.pop(name, None) for name in ("step", "steps", "seed", "seconds")}
        for name, value in (("steps", self.steps), ("seed", self.seed)):
            if facts[name] != value:
                raise ValueError(
                    f"{self.checkpoint} was trained with {name} {facts[name]}, not {value}; remove it, or give another "
                    "output_dir."
                )
        restore_parts(self.parts, content, self.checkpoint)
        self.step, self.seconds = facts["step"], facts["seconds"]
