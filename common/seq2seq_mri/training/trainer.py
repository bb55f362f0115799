# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The training engine: updates the generator and, if there are any, the discriminators on each batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import convert_to_tensor

from seq2seq_mri.networks.discriminator import SequenceDiscriminators
from seq2seq_mri.training.distributed import average_gradients, broadcast_parameters
from seq2seq_mri.training.translation_step import StepOutput, TranslationStep

__all__ = ["MOST_SKIPPED", "Seq2SeqTrainer", "autocast"]

MOST_SKIPPED = 5
"""How many steps in a row may have a gradient that is not finite."""


def autocast(device: torch.device, dtype: str | None) -> AbstractContextManager:
    """Return the autocast context for ``dtype`` (``"bfloat16"``), or one that does nothing for ``None``.

    Raises:
        ValueError: for another type. float16 needs loss scaling and is not offered.
    """
    if dtype is None:
        return nullcontext()
    if dtype != "bfloat16":
        raise ValueError(f"Autocast to '{dtype}' is not supported; choose bfloat16, or null for float32.")
    return torch.autocast(device.type, dtype=torch.bfloat16)


class Seq2SeqTrainer(SupervisedTrainer):
    """Trains a generator on subjects with any subset of the sequences (section 3.2, Eq. 1 to 3).

    ``engine.state.output`` of an iteration holds ``loss`` (the weighted sum), each term under its name,
    ``gradient_norm`` (before clipping) and ``skipped`` (1 if the weights, or those of the discriminators, were left as
    they were because a gradient was not finite, else 0), as tensors on the device, so that nothing waits for it; and
    for image grids ``translation`` (the :class:`StepOutput`) and ``image``.

    Args:
        step: computes the generator's losses; holds the network, the loss and the discriminators.
        optimizer: of the generator.
        discriminator_optimizer: of all D_j; needed when the step has discriminators and an adversarial weight.
        gradient_clip: largest norm of a gradient, to which longer ones are scaled; or ``None``.
        autocast_dtype: ``"bfloat16"`` or ``None`` (float32).
        arguments: ``device``, ``max_epochs``, ``train_data_loader`` and others of
            :class:`monai.engines.SupervisedTrainer`; ``inferer`` is not used, MONAI's bundle properties name it.

    Attributes:
        skipped: how many steps of this run were skipped, a tensor on the device. ``MOST_SKIPPED`` in a row are an
            error; on a GPU this is looked at every tenth iteration and at an epoch's end.

    Raises:
        ValueError: when discriminators are to be trained without an optimizer, or the gradient was not finite in
            ``MOST_SKIPPED`` steps in a row.
    """

    def __init__(
        self,
        step: TranslationStep,
        optimizer: torch.optim.Optimizer,
        *,
        discriminator_optimizer: torch.optim.Optimizer | None = None,
        gradient_clip: float | None = 1.0,
        autocast_dtype: str | None = None,
        **arguments: Any,
    ) -> None:
        if step.loss.lambda_adversarial > 0 and discriminator_optimizer is None:
            raise ValueError("The discriminators need an optimizer; give discriminator_optimizer.")
        self.step = step
        self.discriminator_optimizer = discriminator_optimizer
        self.gradient_clip = gradient_clip
        self.autocast_dtype = autocast_dtype
        super().__init__(
            network=step.generator, optimizer=optimizer, loss_function=step.loss, decollate=False, **arguments
        )
        self.skipped = torch.zeros((), device=self.state.device)
        self._skipped_in_a_row = torch.zeros_like(self.skipped)
        self._longest_skipped = torch.zeros_like(self.skipped)

    def run(self) -> None:  # type: ignore[override]
        """Train from the current state to ``max_epochs``; a training that has got there is left as it is."""
        if self.state.epoch >= self.state.max_epochs:
            self.logger.info(f"Epoch {self.state.epoch} of {self.state.max_epochs} is done; raise max_epochs to go on.")
            return
        broadcast_parameters(self.network)
        if self.step.discriminators is not None:
            broadcast_parameters(self.step.discriminators)
        super().run()

    def _iteration(self, engine: Engine, batchdata: dict[str, Any]) -> dict[str, Any]:
        state: Any = engine.state
        state.output = {}  # the last step's images need not be kept beside this one's
        # A plain tensor: MetaTensor would carry every subject's metadata through all that follows.
        image = convert_to_tensor(batchdata["image"], track_meta=False)
        available = self.step.signal(image, batchdata["available"])
        image = image.to(state.device, non_blocking=True).float()
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(image.device, self.autocast_dtype):
            output = self.step(image, available)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        if output.translations:
            output.loss.backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        norm, finite = self._update(self.network, self.optimizer)
        result = {"loss": output.loss.detach(), **output.terms, "gradient_norm": norm}
        discriminators, optimizer = self.step.discriminators, self.discriminator_optimizer
        if discriminators is not None and optimizer is not None and self.step.loss.lambda_adversarial > 0:
            result["discriminator"] = self._discriminator_loss(discriminators, output, image, available)
            _, others_finite = self._update(discriminators, optimizer)
            finite = finite * others_finite
        result["skipped"] = 1 - finite
        self._count_skipped(finite, batchdata)
        state.output = {**result, "translation": output, "image": image}
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return state.output

    def _discriminator_loss(
        self, discriminators: SequenceDiscriminators, output: StepOutput, image: torch.Tensor, available: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of the D_j (Eq. 2), after computing its gradient.

        Each learns from the batch's real images of j and from the step's translations of others to j. One that sees no
        real image beside a translation, or the reverse, has nothing to tell apart and is left alone.
        """
        # The generator's own backward pass has left gradients in the discriminators.
        discriminators.zero_grad(set_to_none=True)
        total = torch.zeros((), device=image.device)
        with autocast(image.device, self.autocast_dtype):
            for index, name in enumerate(self.step.generator.sequences):
                rows = torch.nonzero(available[:, index])[:, 0]
                fakes = self.step.translated(output, index)
                if len(rows) == 0 or len(fakes) == 0:
                    continue
                real = self.step.view(image, rows, torch.full_like(rows, index))
                for images, is_real in ((real, True), (fakes.detach(), False)):
                    total = total + self.step.loss.discriminator(discriminators(images, name), real=is_real).mean()
        if total.requires_grad:
            total.backward()
        return total.detach()

    def _update(self, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[torch.Tensor, torch.Tensor]:
        """Step if the gradient is finite; return its norm, and 1 if it is finite, else 0, without waiting for it."""
        average_gradients(module.parameters())
        clip = math.inf if self.gradient_clip is None else self.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), clip).to(self.state.device)
        finite = torch.isfinite(norm).float()
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            # As torch.amp.GradScaler does: fused optimizers look at this on the device.
            optimizer.found_inf = 1 - finite  # type: ignore[attr-defined]
            optimizer.step()
            del optimizer.found_inf  # type: ignore[attr-defined]
        elif bool(finite):
            optimizer.step()
        return norm, finite

    def _count_skipped(self, finite: torch.Tensor, batchdata: Mapping[str, Any]) -> None:
        self.skipped += 1 - finite
        self._skipped_in_a_row = (self._skipped_in_a_row + 1) * (1 - finite)
        self._longest_skipped = torch.maximum(self._longest_skipped, self._skipped_in_a_row)
        # A GPU is waited for only now and then.
        is_last = self.state.iteration % self.state.epoch_length == 0
        if self.state.device.type != "cpu" and self.state.iteration % 10 != 0 and not is_last:
            return
        if self._longest_skipped >= MOST_SKIPPED:
            raise ValueError(
                f"The gradient was not finite in {int(self._longest_skipped)} steps in a row, up to iteration "
                f"{self.state.iteration} with images of "
                f"{', '.join(dict.fromkeys(batchdata.get('subject', [])))}. The weights are as they were before. Check "
                "these images, and initial weights if there are any; otherwise lower the learning rate."
            )
