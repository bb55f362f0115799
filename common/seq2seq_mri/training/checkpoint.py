# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Saves and loads weights and checkpoints of trainings, and resumes a training from the last saved epoch."""

from __future__ import annotations

import logging
import math
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from ignite.engine import Engine, Events
from torch.optim.lr_scheduler import CosineAnnealingLR

from seq2seq_mri.files import atomic_path, unlock_directory
from seq2seq_mri.networks.checkpointing import checkpoint_activations
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.training.distributed import claim_output, rank
from seq2seq_mri.transforms.intensity import NormalizeSequencesd

__all__ = [
    "Part",
    "TrainingCheckpoint",
    "initial_network",
    "load_weights",
    "read_checkpoint",
    "restore_parts",
    "save_weights",
    "write_checkpoint",
]

logger = logging.getLogger(__name__)

_WEIGHT_KEYS = ("ema_network", "network", "model", "state_dict")
# What a checkpoint says beside the states of its parts.
_FACTS = ("sequences", "normalization", "epoch", "epoch_length", "torch_rng", "best_metric", "best_metric_epoch")

_Network = TypeVar("_Network", bound=torch.nn.Module)


class Part(Protocol):
    """A network, an optimizer, a schedule, a history: what has a state to save and to load."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state: dict[str, Any], /) -> object:
        """Take up a state."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return what a file holds that ``torch.save`` wrote: tensors and plain containers, on the CPU.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a checkpoint, is truncated, or has changed since it was written.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}; train first, or give the path of one.")
    try:
        if zipfile.is_zipfile(path):  # as torch writes them; it does not look at the checksums when it reads them
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"the checksum of {damaged} is not what was written")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler raise nearly anything
        raise ValueError(
            f"{path} cannot be read as a checkpoint; it is damaged, truncated or of another kind. Copy it again, or "
            "train again."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a checkpoint.")
    return content


def write_checkpoint(content: dict[str, Any], path: str | Path, overwrite: bool = False) -> None:
    """Write tensors and plain containers atomically, so that :func:`read_checkpoint` reads them."""
    # Into an open file: given a path, torch.save writes the temporary file's name into the archive.
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch's archive writer says only that it is at an unexpected position when the disc is full.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_weights(network: _Network, path: str | Path, normalize: NormalizeSequencesd | None = None) -> _Network:
    """Load weights strictly into ``network``, in place, and return it.

    Accepts a plain state dict in any floating type, and the files that :class:`TrainingCheckpoint` and
    ``convert_released`` write (the EMA weights are preferred).

    A file that says how the images were normalised that it was trained on is refused when ``normalize`` differs; one
    that does not say it is taken.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is no checkpoint, or belongs to another network configuration, sequence table or
            normalisation.
    """
    content = read_checkpoint(path)
    _check_facts(network, normalize, getattr(content, "_metadata", {}).get("", {}) | content, path)
    weights = next((content[key] for key in _WEIGHT_KEYS if isinstance(content.get(key), Mapping)), content)
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

    With ``gradient_checkpointing``, activations are computed again for the gradient instead of being kept, see
    :func:`checkpoint_activations`.
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

    ``dtype`` may be ``"bfloat16"`` or ``"float16"``, to store floating tensors in half the size; ``None`` keeps theirs.
    """
    state = network.state_dict()
    stored: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, tensor in state.items():
        tensor = tensor.detach().cpu()
        stored[name] = tensor.to(getattr(torch, dtype)) if dtype and tensor.is_floating_point() else tensor.clone()
    # An attribute and not a key: other programs load the file strictly, as weights and nothing else.
    metadata = {name: dict(value) for name, value in getattr(state, "_metadata", {}).items()}
    facts = {name: value for name, value in _facts(network, normalize).items() if value}
    metadata[""] = metadata.get("", {}) | facts
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
        evaluator: the validation engine, whose key metric decides which epoch is best; without it, and before the first
            validation, the last is.
        interval: epochs between two saves of ``last.pt``.
        parts: what else has a state, or ``None``, by its key in ``last.pt``: ``lr_scheduler`` (a resumed cosine
            annealing has the length that is configured, not the saved one), ``ema_network`` (the moving average, whose
            weights ``best.pt`` then holds), ``discriminators``, ``discriminator_optimizer``, ``history``.
    """

    def __init__(
        self,
        directory: str | Path,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        normalize: NormalizeSequencesd | None = None,
        evaluator: Engine | None = None,
        interval: int = 1,
        **parts: Part | None,
    ) -> None:
        self.last = Path(directory) / "last.pt"
        self.best = Path(directory) / "best.pt"
        self.network = network
        self.normalize = normalize
        self.evaluator = evaluator
        self.interval = interval
        given = {"network": network, "optimizer": optimizer, **parts}
        self.parts: dict[str, Part] = {name: part for name, part in given.items() if part is not None}

    def attach(self, engine: Engine) -> None:
        """Save at the end of epochs."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, unlock_directory, self.last.parent)

    def save(self, engine: Engine) -> None:
        """Write ``best.pt`` if this epoch is the best so far, then ``last.pt`` if it is due; process 0 only."""
        if rank() != 0:
            return
        state = engine.state
        validated: Any = self.evaluator.state if self.evaluator is not None else None
        # Before the first validation, MONAI's best_metric_epoch is -1.
        if validated is None or validated.best_metric_epoch in (-1, state.epoch):
            network: Any = self.parts.get("ema_network", self.network)
            save_weights(network, self.best, overwrite=True, normalize=self.normalize)
        if state.epoch % self.interval != 0 and state.epoch != state.max_epochs:
            return
        content: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        content |= _facts(self.network, self.normalize)
        content |= {"epoch": state.epoch, "epoch_length": state.epoch_length}
        content["torch_rng"] = torch.get_rng_state()  # the CPU's; EpochSeed seeds a GPU's at each epoch's start
        if validated is not None:
            content["best_metric"] = float(validated.best_metric)
            content["best_metric_epoch"] = int(validated.best_metric_epoch)
        write_checkpoint(content, self.last, overwrite=True)

    def prepare(self, trainer: Engine, resume: bool = False) -> None:
        """Restore ``trainer`` and all parts from ``last.pt`` when ``resume`` is set and the file exists.

        Raises:
            FileExistsError: when the directory holds a training and ``resume`` is not set.
            ValueError: when the checkpoint belongs to another configuration, or another training is writing there.
        """
        claim_output(self.last.parent)
        try:
            self._restore(trainer, resume)
        except Exception:
            unlock_directory(self.last.parent)  # nothing will be written
            raise

    def _restore(self, trainer: Engine, resume: bool) -> None:
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
        _check_facts(self.network, self.normalize, content, self.last)
        restore_parts(self.parts, {key: value for key, value in content.items() if key not in _FACTS}, self.last)
        if content["epoch_length"] != trainer.state.epoch_length:
            raise ValueError(
                f"{self.last} was trained with {content['epoch_length']} iterations per epoch, this configuration has "
                f"{trainer.state.epoch_length}; resume with the same datalist, batch size and number of processes."
            )
        trainer.state.epoch = content["epoch"]
        trainer.state.iteration = content["epoch"] * content["epoch_length"]
        torch.set_rng_state(content["torch_rng"])
        if self.evaluator is not None and "best_metric" in content:
            validated: Any = self.evaluator.state
            validated.best_metric, validated.best_metric_epoch = content["best_metric"], content["best_metric_epoch"]
        logger.info(f"Resumed from {self.last} after epoch {content['epoch']}.")


def restore_parts(parts: Mapping[str, Part], states: Mapping[str, Any], path: Path) -> None:
    """Load the states of a checkpoint's parts, after checking that they are those of this configuration.

    Args:
        parts: by name; an optimizer comes before its schedule.
        states: of each part, as it was saved.
        path: of the file that holds them, for the message.

    Raises:
        ValueError: when the file lacks a part, has another one, or belongs to another network.
    """
    other = "it was saved by another configuration."
    if missing := sorted(parts.keys() - states.keys()):
        raise ValueError(f"{path} has no {', '.join(missing)}: {other}")
    if unused := sorted(states.keys() - parts.keys()):
        raise ValueError(f"{path} has {', '.join(unused)}, not used here: {other}")
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module):
            _check_weights(part, states[name], path)
        if isinstance(part, torch.optim.Optimizer):
            _check_optimizer(part, states[name], path)
        if isinstance(part, CosineAnnealingLR):
            _resume_cosine(part, states[name])
        else:
            part.load_state_dict(states[name])


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


def _facts(network: torch.nn.Module, normalize: NormalizeSequencesd | None) -> dict[str, dict[str, Any]]:
    """Return what weights were trained for, which their shapes do not tell; empty where it is not known."""
    sequences = getattr(network, "sequences", {})
    return {"sequences": dict(sequences), "normalization": {} if normalize is None else normalize.settings}


def _check_facts(
    network: torch.nn.Module, normalize: NormalizeSequencesd | None, stored: Mapping[str, Any], path: str | Path
) -> None:
    trained, here = stored.get("sequences"), _facts(network, normalize)
    if trained and here["sequences"] and list(trained.items()) != list(here["sequences"].items()):
        raise ValueError(
            f"{path} was trained on the sequences {dict(trained)}, this configuration has {here['sequences']}; "
            "use the configuration that it was trained with."
        )
    settings, known = here["normalization"], stored.get("normalization") or {}
    different = {name: value for name, value in known.items() if settings and settings.get(name) != value}
    if different:
        options = " ".join(f"--normalize#{name} {str(value).replace(' ', '')}" for name, value in different.items())
        raise ValueError(
            f"{path} was trained on images that were normalised otherwise than by {normalize}; give {options}, or "
            "train again."
        )


def _check_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], path: str | Path) -> None:
    """Check that an optimizer's state fits its parameters; torch's kernels take it on trust."""
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    stored = [index for group in state.get("param_groups", []) for index in group.get("params", [])]
    if stored != list(range(len(shapes))):
        raise ValueError(f"{path} has an optimizer of {len(stored)} parameters, this network has {len(shapes)}.")
    known = dict(enumerate(shapes))
    for index, values in state.get("state", {}).items():
        for name, value in values.items():
            # A single number, such as a count of steps, belongs to the parameter as a whole.
            if not torch.is_tensor(value) or value.ndim == 0:
                continue
            if value.shape != known.get(index) or not bool(value.isfinite().all()):
                raise ValueError(
                    f"{path} has an optimizer whose {name} of parameter {index} has the shape {tuple(value.shape)} "
                    f"instead of {known.get(index)}, or is not finite; the file is damaged. Train again."
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
    if broken := [name for name in expected if not bool(torch.as_tensor(weights[name]).isfinite().all())]:
        raise ValueError(
            f"{path} has weights that are NaN or infinite ({', '.join(broken[:4])}{' …' * (len(broken) > 4)}); take "
            "another checkpoint, or train again."
        )
