# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Saving a training so that a killed one goes on exactly, and reading weights with errors that say what is wrong."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from torch.optim.lr_scheduler import CosineAnnealingLR

from seq2seq_mri.networks.checkpointing import checkpoint_activations
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.training.checkpoint_file import read_checkpoint, write_checkpoint
from seq2seq_mri.training.distributed import rank
from seq2seq_mri.training.handlers import TrainingHistory
from seq2seq_mri.transforms.intensity import NormalizeSequencesd

__all__ = [
    "TrainingCheckpoint",
    "initial_network",
    "load_weights",
    "read_checkpoint",
    "save_weights",
]

logger = logging.getLogger(__name__)

# MONAI's value of best_metric_epoch before the first validation.
_NOT_VALIDATED = -1
_WEIGHT_KEYS = ("ema_network", "network", "model", "state_dict")


def load_weights(
    network: torch.nn.Module, path: str | Path, normalize: NormalizeSequencesd | None = None
) -> torch.nn.Module:
    """Load weights strictly into ``network``, in place, and return it.

    Accepts a plain state dict in any floating type, and the files that :class:`TrainingCheckpoint` and
    ``convert_released`` write (the EMA weights are preferred).

    Args:
        network: the network.
        path: the file.
        normalize: what the network's images are normalised with. A file that says how those were that it was trained
            on is refused when that differs; one that does not say it is taken.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is no checkpoint, or belongs to another network configuration, sequence table or
            normalisation.
    """
    content = read_checkpoint(path)
    metadata = getattr(content, "_metadata", {}).get("", {})
    _check_sequences(network, content.get("sequences") or metadata.get("sequences"), path)
    _check_normalization(normalize, content.get("normalization") or metadata.get("normalization"), path)
    weights: Any = content
    for key in _WEIGHT_KEYS:
        if isinstance(content.get(key), Mapping) and all(torch.is_tensor(v) for v in content[key].values()):
            weights = content[key]
            break
    _check_weights(network, weights, path)
    network.load_state_dict(weights)
    return network


def initial_network(
    network: Seq2SeqGenerator,
    device: torch.device | str,
    weights: str | Path | None = None,
    gradient_checkpointing: bool = False,
) -> Seq2SeqGenerator:
    """Return ``network`` on ``device`` as a training begins with it: with the weights of a file, or its random ones.

    Args:
        network: the generator.
        device: where it is trained.
        weights: file of weights to begin with.
        gradient_checkpointing: whether activations are computed again for the gradient instead of being kept, see
            :func:`checkpoint_activations`.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_weights`.
    """
    if weights is not None:
        load_weights(network, weights)
    return (checkpoint_activations(network) if gradient_checkpointing else network).to(device)


def save_weights(
    network: torch.nn.Module,
    path: str | Path,
    dtype: str | None = None,
    overwrite: bool = False,
    normalize: NormalizeSequencesd | None = None,
) -> None:
    """Write ``network``'s state dict atomically, as plain tensors on the CPU.

    A generator's sequence table, and how its images were normalised, are written into the metadata that PyTorch keeps
    with a state dict: weights for other sequences or intensities often have the same shapes, and nothing else could
    tell.

    Args:
        network: the network.
        path: the file to write.
        dtype: ``"bfloat16"`` or ``"float16"`` to store floating tensors in half the size; ``None`` keeps theirs.
        overwrite: whether an existing file may be replaced.
        normalize: what the images were normalised with.
    """
    state = network.state_dict()
    stored: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, tensor in state.items():
        tensor = tensor.detach().cpu()
        stored[name] = tensor.to(getattr(torch, dtype)) if dtype and tensor.is_floating_point() else tensor.clone()
    sequences = getattr(network, "sequences", None)
    # An attribute and not a key: other programs load the file strictly, as weights and nothing else.
    metadata = {name: dict(value) for name, value in getattr(state, "_metadata", {}).items()}
    metadata[""] = metadata.get("", {}) | ({} if sequences is None else {"sequences": dict(sequences)})
    if normalize is not None:
        metadata[""]["normalization"] = normalize.settings
    stored._metadata = metadata  # type: ignore[attr-defined]
    write_checkpoint(stored, path, overwrite)


class TrainingCheckpoint:
    """Saves ``last.pt`` (everything that a resume needs) and ``best.pt`` (the best epoch's weights) atomically.

    Attach it after the learning-rate schedule and the validation, whose results it saves.

    Args:
        directory: where to write, made when absent.
        network: the trained network.
        optimizer: its optimizer.
        normalize: what the images are normalised with; both files say it, and a resume needs the same.
        lr_scheduler: its schedule. A resumed cosine annealing has the length that is configured, not the saved one.
        ema_network: the moving average of the network; ``best.pt`` then holds its weights.
        discriminators: the D_j, if trained.
        discriminator_optimizer: their optimizer.
        evaluator: the validation engine, whose key metric decides which epoch is best; without it, and before the first
            validation, the last is.
        history: the training history, which goes on where it was.
        interval: epochs between two saves of ``last.pt``.
    """

    def __init__(
        self,
        directory: str | Path,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        normalize: NormalizeSequencesd | None = None,
        lr_scheduler: Any = None,
        ema_network: torch.nn.Module | None = None,
        discriminators: torch.nn.Module | None = None,
        discriminator_optimizer: torch.optim.Optimizer | None = None,
        evaluator: Any = None,
        history: TrainingHistory | None = None,
        interval: int = 1,
    ) -> None:
        self.last = Path(directory) / "last.pt"
        self.best = Path(directory) / "best.pt"
        self.network = network
        self.normalize = normalize
        self.ema_network = ema_network
        self.evaluator = evaluator
        self.interval = interval
        parts = {
            "network": network,
            "optimizer": optimizer,
            "lr_scheduler": lr_scheduler,
            "ema_network": ema_network,
            "discriminators": discriminators,
            "discriminator_optimizer": discriminator_optimizer,
            "history": history,
        }
        self.parts = {name: part for name, part in parts.items() if part is not None}
        self.unused = parts.keys() - self.parts.keys()

    def attach(self, engine: Any) -> None:
        """Save at the end of epochs."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, engine: Any) -> None:
        """Write ``best.pt`` if this epoch is the best so far, then ``last.pt`` if it is due; process 0 only."""
        if rank() != 0:
            return
        state = engine.state
        validated = self.evaluator.state if self.evaluator is not None else None
        if validated is None or validated.best_metric_epoch in (_NOT_VALIDATED, state.epoch):
            save_weights(self.ema_network or self.network, self.best, overwrite=True, normalize=self.normalize)
        if state.epoch % self.interval != 0 and state.epoch != state.max_epochs:
            return
        content: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        content["sequences"] = dict(getattr(self.network, "sequences", {}))
        content["normalization"] = {} if self.normalize is None else self.normalize.settings
        content["epoch"] = state.epoch
        content["epoch_length"] = state.epoch_length
        content["torch_rng"] = torch.get_rng_state()  # the CPU's; EpochSeed seeds a GPU's at each epoch's start
        if validated is not None:
            content["best_metric"] = float(validated.best_metric)
            content["best_metric_epoch"] = int(validated.best_metric_epoch)
        write_checkpoint(content, self.last, overwrite=True)

    def prepare(self, trainer: Any, resume: bool = False) -> None:
        """Restore ``trainer`` and all parts from ``last.pt`` when ``resume`` is set and the file exists.

        Raises:
            FileExistsError: when the directory holds a training and ``resume`` is not set.
            ValueError: when the checkpoint belongs to another configuration.
        """
        if not self.last.exists():
            if resume:
                logger.info(f"No {self.last} to resume from; training starts at epoch 1.")
            return
        if not resume:
            raise FileExistsError(
                f"{self.last} exists: this output directory holds a training. Go on with it by --resume true, or give "
                "another --output_dir."
            )
        content = read_checkpoint(self.last)
        for leftover in self.last.parent.glob(".*.partial.pt"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)
        _check_sequences(self.network, content.get("sequences"), self.last)
        _check_normalization(self.normalize, content.get("normalization"), self.last)
        missing = sorted(self.parts.keys() - content.keys())
        if missing:
            raise ValueError(f"{self.last} has no {', '.join(missing)}: it was saved by another configuration.")
        unused = sorted(self.unused & content.keys())
        if unused:
            raise ValueError(
                f"{self.last} has {', '.join(unused)}, not used here: it was saved by another configuration."
            )
        if content["epoch_length"] != trainer.state.epoch_length:
            raise ValueError(
                f"{self.last} was trained with {content['epoch_length']} iterations per epoch, this configuration has "
                f"{trainer.state.epoch_length}; resume with the same datalist, batch size and number of processes."
            )
        for name, part in self.parts.items():
            if isinstance(part, torch.nn.Module):
                _check_weights(part, content[name], self.last)
            if isinstance(part, CosineAnnealingLR):
                _resume_cosine(part, content[name])
            else:
                part.load_state_dict(content[name])
        trainer.state.epoch = content["epoch"]
        trainer.state.iteration = content["epoch"] * content["epoch_length"]
        torch.set_rng_state(content["torch_rng"])
        if self.evaluator is not None and "best_metric" in content:
            self.evaluator.state.best_metric = content["best_metric"]
            self.evaluator.state.best_metric_epoch = content["best_metric_epoch"]
        logger.info(f"Resumed from {self.last} after epoch {content['epoch']}.")


def _resume_cosine(schedule: CosineAnnealingLR, stored: dict[str, Any]) -> None:
    """Go on with a schedule; if it has become longer or shorter, from where the new one is at the epoch that was saved.

    The optimizer's state must have been loaded before: its learning rate is what changes.
    """
    length = schedule.T_max
    schedule.load_state_dict(stored)
    if schedule.T_max == length:
        return
    logger.warning(
        f"The learning rate falls over {length} epochs instead of the {schedule.T_max} with which the training was "
        f"started; it goes on as the cosine over {length} has it after epoch {schedule.last_epoch}."
    )
    schedule.T_max = length
    # A step multiplies the rate by a ratio of two cosines, which cannot leave a rate that has come to its lowest.
    phase = (1 + math.cos(math.pi * schedule.last_epoch / length)) / 2
    rates = [schedule.eta_min + (base - schedule.eta_min) * phase for base in schedule.base_lrs]
    for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    schedule._last_lr = rates


def _check_sequences(network: torch.nn.Module, stored: Mapping[str, int] | None, path: str | Path) -> None:
    expected = getattr(network, "sequences", None)
    if stored and expected and list(stored.items()) != list(expected.items()):
        raise ValueError(
            f"{path} was trained on the sequences {dict(stored)}, this configuration has {dict(expected)}; "
            "use the configuration that it was trained with."
        )


def _check_normalization(
    normalize: NormalizeSequencesd | None, stored: Mapping[str, Any] | None, path: str | Path
) -> None:
    if normalize is None or not stored:
        return
    different = {name: value for name, value in stored.items() if normalize.settings.get(name) != value}
    if different:
        options = " ".join(f"--normalize#{name} {str(value).replace(' ', '')}" for name, value in different.items())
        raise ValueError(
            f"{path} was trained on images that were normalised otherwise than by {normalize}; give {options}, or "
            "train again."
        )


def _check_weights(network: torch.nn.Module, weights: Mapping[str, Any], path: str | Path) -> None:
    expected = network.state_dict()
    differences = [f"{name} is missing" for name in expected if name not in weights]
    differences += [f"{name} is not in this network" for name in weights if name not in expected]
    differences += [
        f"{name} has shape {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if torch.is_tensor(weights.get(name)) and weights[name].shape != tensor.shape
    ]
    if differences:
        shown = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if len(differences) > 4 else "")
        raise ValueError(
            f"{path} belongs to another network configuration ({shown}); use the network_def it was trained with."
        )
