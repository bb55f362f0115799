# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The training engine: one generator step and, when discriminators are given, one discriminator step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import convert_to_tensor

from seq2seq_mri.engines.distributed import average_gradients, broadcast_parameters
from seq2seq_mri.engines.translation_step import StepOutput, TranslationStep

__all__ = ["Seq2SeqTrainer", "autocast"]


def autocast(device: torch.device, dtype: str | None) -> Any:
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

    Each iteration's ``engine.state.output`` holds ``loss`` (the weighted sum), a float per term under its name, and
    ``translation`` (the :class:`~seq2seq_mri.engines.translation_step.StepOutput`, for image grids).

    Args:
        step: computes the generator's losses; holds the network, the loss and the discriminators.
        optimizer: of the generator.
        discriminator_optimizer: of all D_j; needed when the step has discriminators and an adversarial weight.
        gradient_clip: largest norm of the generator's gradient, or ``None``.
        autocast_dtype: ``"bfloat16"`` or ``None`` (float32).
        device, max_epochs, train_data_loader, key_train_metric, additional_metrics, train_handlers, inferer: as in
            :class:`monai.engines.SupervisedTrainer`; ``inferer`` is not used in training, MONAI's bundle properties
            name it.

    Raises:
        ValueError: when discriminators are to be trained without an optimizer, or a loss is not finite.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: Any,
        step: TranslationStep,
        optimizer: torch.optim.Optimizer,
        *,
        discriminator_optimizer: torch.optim.Optimizer | None = None,
        gradient_clip: float | None = None,
        autocast_dtype: str | None = None,
        inferer: Any = None,
        key_train_metric: dict | None = None,
        additional_metrics: dict | None = None,
        train_handlers: Sequence | None = None,
    ) -> None:
        adversarial = step.discriminators is not None and step.loss.lambda_adversarial > 0
        if adversarial and discriminator_optimizer is None:
            raise ValueError("The discriminators need an optimizer; give discriminator_optimizer.")
        self.step = step
        self.adversarial = adversarial
        self.discriminator_optimizer = discriminator_optimizer
        self.gradient_clip = gradient_clip
        self.autocast_dtype = autocast_dtype
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=step.generator,
            optimizer=optimizer,
            loss_function=step.loss,
            inferer=inferer,
            key_train_metric=key_train_metric,
            additional_metrics=additional_metrics,
            train_handlers=train_handlers,
            decollate=False,
        )

    def run(self) -> None:  # type: ignore[override]
        """Train from the current state to ``max_epochs``; a training that has got there is left as it is."""
        if self.state.epoch >= self.state.max_epochs:
            self.logger.info(f"Epoch {self.state.epoch} of {self.state.max_epochs} is done; raise max_epochs to go on.")
            return
        broadcast_parameters(self.network)
        if self.step.discriminators is not None:
            broadcast_parameters(self.step.discriminators)
        super().run()

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> dict:
        # A plain tensor: MetaTensor would carry every subject's metadata through all that follows.
        image = convert_to_tensor(batchdata["image"], dtype=torch.float32, device=self.state.device, track_meta=False)
        available = batchdata["available"]
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(image.device, self.autocast_dtype):
            output = self.step(image, available)
        if not torch.isfinite(output.loss):
            terms = ", ".join(f"{name} {value.item():.4g}" for name, value in output.terms.items())
            raise ValueError(
                f"The loss is not finite in iteration {self.state.iteration} ({terms}); lower the learning rate, "
                f"or check the images of {', '.join(dict.fromkeys(batchdata.get('subject', [])))}."
            )
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        output.loss.backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        self._update(self.network, self.optimizer)
        result = {"loss": output.loss.item(), **{name: value.item() for name, value in output.terms.items()}}
        if self.adversarial:
            result["discriminator"] = self._train_discriminators(output, image, available)
        engine.state.output = {**result, "translation": output, "image": image}
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _train_discriminators(self, output: StepOutput, image: torch.Tensor, available: torch.Tensor) -> float:
        """Update each D_j on the batch's real images of j and on the step's translations to j (Eq. 2)."""
        discriminators, optimizer = self.step.discriminators, self.discriminator_optimizer
        if discriminators is None or optimizer is None:
            raise ValueError("The discriminators need an optimizer; give discriminator_optimizer.")
        # The generator's own backward pass has left gradients in the discriminators.
        optimizer.zero_grad(set_to_none=True)
        losses = []
        with autocast(image.device, self.autocast_dtype):
            for index, name in enumerate(self.step.generator.sequences):
                rows = torch.nonzero(available[:, index].cpu())[:, 0]
                if len(rows) > 0:
                    real = self.step.view(image, rows, torch.full_like(rows, index))
                    losses.append(self.step.loss.discriminator(discriminators(real, name), real=True).mean())
                for group in output.translations:
                    chosen = (group.target == index).to(image.device)
                    if bool(chosen.any()):
                        fake = group.prediction[chosen].detach()
                        losses.append(self.step.loss.discriminator(discriminators(fake, name), real=False).mean())
            total = torch.stack(losses).sum()
        total.backward()
        self._update(discriminators, optimizer)
        return total.item()

    def _update(self, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        average_gradients(module.parameters())
        if self.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), self.gradient_clip)
        optimizer.step()
