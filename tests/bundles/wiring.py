# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the tests of the bundles' wiring share: a bundle whose configurations may have been edited, and its training."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.utils import set_determinism

FILES = {"train": ["train.json"], "evaluate": ["train.json", "evaluate.json"], "inference": ["inference.json"]}

#: An edit of the content of a configuration file, in place.
Edit = Callable[[dict[str, Any]], None]


def put(path: str, value: Any) -> Edit:
    """Give what stands at ``path``, and must stand there, another value."""

    def edit(content: dict[str, Any]) -> None:
        *groups, last = path.split("#")
        node: Any = content
        for group in groups:
            node = node[group]
        key = int(last) if isinstance(node, list) else last
        assert isinstance(node, list) or key in node, f"the configuration has no {path}"
        node[key] = copy.deepcopy(value)

    return edit


def drop(section: str, target: str) -> Edit:
    """Take everything of class ``target`` out of the lists of a section."""

    def edit(content: dict[str, Any]) -> None:
        lists = [node for node in _nodes(content[section]) if isinstance(node, list)]
        found = [(node, item) for node in lists for item in node if _is_a(item, target)]
        assert found, f"{section} has no {target}"
        for node, item in found:
            node.remove(item)

    return edit


def put_in(section: str, target: str, name: str, value: Any) -> Edit:
    """Give an argument of everything of class ``target`` in a section another value."""

    def edit(content: dict[str, Any]) -> None:
        found = [node for node in _nodes(content[section]) if _is_a(node, target)]
        assert found, f"{section} has no {target}"
        for node in found:
            node[name] = value

    return edit


def swap(old: str, new: str) -> Edit:
    """Replace a part of the file's strings."""

    def edit(content: dict[str, Any]) -> None:
        text, (before, after) = json.dumps(content), (json.dumps(part)[1:-1] for part in (old, new))
        assert before in text, f"nothing says {old}"
        content.update(json.loads(text.replace(before, after)))

    return edit


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes(child)


def _is_a(node: Any, target: str) -> bool:
    return isinstance(node, dict) and str(node.get("_target_")).split(".")[-1] == target


@dataclass(frozen=True)
class Mutant:
    """A mistake in a configuration file.

    Attributes:
        file: its name, without ending.
        edit: what is wrong.
        fact: what must notice it.
    """

    file: str
    edit: Edit
    fact: Callable[[Wiring], None]


Mistakes = Mapping[Callable[..., None], Mapping[str, Edit | tuple[str, Edit]]]


def mutants(mistakes: Mistakes) -> dict[str, Mutant]:
    """Return by its name each mistake that a fact must notice; an edit without the name of a file is of train.json."""
    found = {}
    for fact, edits in mistakes.items():
        for name, edit in edits.items():
            file, change = edit if isinstance(edit, tuple) else ("train", edit)
            found[name] = Mutant(file, change, fact)
    return found


@dataclass
class Epoch:
    """What was seen in an epoch of a training.

    Attributes:
        learning_rate: at its end, before the schedule's step.
        samples: the bytes of its images.
        validated: whether there was a validation at its end.
    """

    learning_rate: float
    samples: list[bytes] = field(default_factory=list)
    validated: bool = False


@dataclass
class Trained:
    """A training from its beginning to its end, as ``training`` of the configuration has it.

    Attributes:
        epochs: one after the other.
        weights: the network's, flat, at the start and after each iteration.
        average: the same of the moving average, where there is one.
        output_dir: where it wrote.
        parser: the configuration that ran.
    """

    epochs: list[Epoch]
    weights: list[torch.Tensor]
    average: list[torch.Tensor]
    output_dir: Path
    parser: ConfigParser

    def checkpoint(self, name: str) -> dict[str, Any]:
        """Return the content of ``last.pt`` or ``best.pt``."""
        path = self.output_dir / "checkpoints" / name
        assert path.is_file()
        return torch.load(path, weights_only=True)


def flat(network: torch.nn.Module) -> torch.Tensor:
    """Return all parameters of a network in one vector, as they are now."""
    return torch.cat([value.detach().double().flatten() for value in network.parameters()])


class Wiring:
    """A bundle on a tiny cohort with a tiny network; its configurations are copies, which may have been edited.

    Args:
        bundle: folder of the shipped bundle.
        folder: where the copy and all output goes.
        options: of all runs, as on the command line.
        training: of trainings.
        mutant: a mistake to make in one of the files.
    """

    def __init__(
        self,
        bundle: Path,
        folder: Path,
        options: dict[str, Any],
        training: dict[str, Any],
        mutant: Mutant | None = None,
    ) -> None:
        self.name = bundle.name
        self.folder = folder
        self.bundle = folder / bundle.name
        self.options = {"bundle_root": str(self.bundle), "output_dir": str(folder / "output")} | options
        self.training = training
        shutil.copytree(bundle / "configs", self.bundle / "configs")
        if mutant is not None:
            path = self.bundle / "configs" / f"{mutant.file}.json"
            content = json.loads(path.read_text())
            mutant.edit(content)
            path.write_text(json.dumps(content))

    def parser(self, kind: str = "train", overlays: tuple[str, ...] = (), **overrides: Any) -> ConfigParser:
        """Return the configuration of ``kind`` in ``FILES``."""
        parser = ConfigParser()
        parser.read_config([str(self.bundle / "configs" / name) for name in (*FILES[kind], *overlays)])
        for key, value in (self.options | overrides).items():
            parser[key] = value
        return parser

    def datalist(self, section: str) -> list[dict[str, Any]]:
        """Return the entries of a section, with absolute paths."""
        folder = Path(self.options["dataset_dir"])
        entries = json.loads(Path(self.options.get("datalist", folder / "datalist.json")).read_text())[section]
        return [
            {key: str(folder / value) if str(value).endswith(".nii.gz") else value for key, value in entry.items()}
            for entry in entries
        ]

    @cached_property
    def trained(self) -> Trained:
        """The bundle's training, run once."""
        output_dir = self.folder / "trained"
        parser = self.parser(**self.training, output_dir=str(output_dir))
        steps = parser["training"]
        for first in ("training#0", "training#1"):  # which set the seeds
            parser.get_parsed_content(first)
        trainer = parser.get_parsed_content("train#trainer")
        evaluator = parser.get_parsed_content("validate#evaluator")
        average = parser.get_parsed_content("train#ema").ema_model if "ema" in parser["train"] else None
        found = Trained([], [flat(trainer.network)], [] if average is None else [flat(average)], output_dir, parser)

        def start(engine: Any) -> None:
            found.epochs.append(Epoch(engine.optimizer.param_groups[0]["lr"]))

        def see(engine: Any) -> None:
            found.epochs[-1].samples += [image.numpy().tobytes() for image in engine.state.batch["image"]]
            found.weights.append(flat(engine.network))
            if average is not None:
                found.average.append(flat(average))

        def validate(engine: Any) -> None:
            found.epochs[-1].validated = True

        trainer.add_event_handler(Events.EPOCH_STARTED, start)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, see)
        evaluator.add_event_handler(Events.COMPLETED, validate)
        for index in range(2, len(steps)):
            parser.get_parsed_content(f"training#{index}")
        parser.get_parsed_content("finalize")
        set_determinism(seed=None)
        return found


def positive(image: Any) -> list[np.ndarray]:
    """Return the sorted values above 0 of each channel, by which images on different grids are compared."""
    return [np.sort(channel[channel > 0].ravel()) for channel in np.asarray(image, dtype=np.float32)]


def side(image: Any) -> float:
    """Return how far to the right the bright tissue of an image ``[C, X, ...]`` lies from the middle of all tissue."""
    profile = np.asarray(image, dtype=np.float64).sum(axis=0)
    profile = profile.reshape(len(profile), -1)
    place = np.arange(len(profile))
    bright, tissue = profile.sum(axis=1), (profile > 0).sum(axis=1)
    return float(place @ bright / bright.sum() - place @ tissue / tissue.sum())


def keep_slices(dataset_dir: Path, first: int, end: int) -> None:
    """Crop all images of a cohort to the slices with lesions: time is for each slice, and a simulation has 32."""
    for path in dataset_dir.rglob("*.nii.gz"):
        nibabel.save(nibabel.load(path).slicer[:, :, first:end], path)


def darken_the_left(dataset_dir: Path, entries: list[dict[str, Any]]) -> None:
    """Make flips visible."""
    for entry in entries:
        for value in entry.values():
            if str(value).endswith(".nii.gz"):
                image = nibabel.load(dataset_dir / value)
                voxels = np.asarray(image.dataobj, dtype=np.float32)
                voxels[: len(voxels) // 2] *= 0.3
                nibabel.save(nibabel.Nifti1Image(voxels, image.affine, image.header), dataset_dir / value)
