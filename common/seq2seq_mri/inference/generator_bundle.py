# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Loads a bundle's trained generator: its network, how it translates and prepares images, and a hash of all three."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose

from seq2seq_mri.sequences import check_sequences
from seq2seq_mri.training.checkpoint import load_weights

if TYPE_CHECKING:
    from seq2seq_mri.inference.translation_inferer import TranslationInferer
    from seq2seq_mri.networks.generator import SequenceTranslator

__all__ = ["TrainedGenerator", "generator_fingerprint", "load_bundle", "sibling_bundle"]

_CONFIG = Path("configs", "inference.json")

# Options of inferers on which a map does not depend, but for rounding; include_self is chosen with the maps.
_WITHOUT_EFFECT = {
    *("slice_batch_size", "sw_batch_size", "memory_limit_mb", "output_device", "progress"),
    "include_self",
}


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator, its inferer and its preprocessing, made when first used; see :func:`load_bundle`.

    Where all maps have been computed earlier, the network therefore takes neither time nor memory. It pickles as a
    description as long as it is not loaded, so that worker processes load their own.

    Attributes:
        sequences: the sequence table that the generator was trained on.
        checkpoint: the file of its weights.
        fingerprint: a hash of the weights and of everything in the configuration that its translations depend on.
        device: where the network computes.
    """

    sequences: dict[str, int]
    checkpoint: Path
    fingerprint: str
    device: torch.device
    _config: dict[str, Any] = field(repr=False)

    @cached_property
    def network(self) -> SequenceTranslator:
        """The network with its weights, on ``device``, in evaluation mode and without gradients."""
        return _network(self._config, self.checkpoint).to(self.device)

    @cached_property
    def inferer(self) -> TranslationInferer:
        """The inferer that translates, which keeps the network prepared for the targets of its last call."""
        return _parser(self._config).get_parsed_content("translation")

    @cached_property
    def preprocessing(self) -> Compose:
        """The transforms of the bundle's inference, from a datalist's entry to the image that the network takes."""
        return _parser(self._config).get_parsed_content("preprocessing")

    def release(self) -> None:
        """Let go of the network and what the inferer has made of it; both are loaded again when they are needed."""
        # Where cached properties are kept. What is frozen is the description.
        self.__dict__.pop("network", None)
        self.__dict__.pop("inferer", None)


def load_bundle(
    bundle_dir: str | os.PathLike,
    checkpoint: str | os.PathLike | None = None,
    device: torch.device | str = "cpu",
    options: Mapping[str, Any] | None = None,
) -> TrainedGenerator:
    """Take the generator of a bundle as its ``configs/inference.json`` describes it.

    Weights are read once to check them, and are then only kept when the network is used.

    Args:
        bundle_dir: folder of the bundle, such as ``bundles/seq2seq_brats``.
        checkpoint: file of weights; by default the bundle's own, ``models/model.pt``.
        device: where the network computes.
        options: other values for keys of the configuration, as on MONAI's command line: ``{"slice_batch_size": 4}``,
            ``{"network_def#channels": [64, 128, 256]}``.

    Returns:
        the generator, whose ``network`` and ``inferer`` are loaded at their first use.

    Raises:
        FileNotFoundError: when there is no such bundle or checkpoint.
        ValueError: when the configuration has no generator or no such key, or the weights belong to another network.

    Example:
        >>> generator = load_bundle("bundles/seq2seq_brats", device="cuda")  # doctest: +SKIP
    """
    folder = Path(bundle_dir).expanduser()
    path = folder / _CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no generator bundle {folder} (it has no {_CONFIG}); give the folder of one (--generator_dir of "
            f"a classifier), or download it: python -m monai.bundle download --name {folder.name} --bundle_dir "
            f"{folder.parent}."
        )
    config = _read_config(path)
    config |= {"bundle_root": str(folder), "device": str(device)}
    parser = ConfigParser(config)
    for key, value in (options or {}).items():
        if key.split("#")[0] not in config:
            raise ValueError(
                f"{path} has no '{key}'; choose from {', '.join(name for name in config if name != '_meta_')}."
            )
        parser[key] = value
    if checkpoint is None:
        checkpoint = parser.get_parsed_content("checkpoint") if "checkpoint" in config else folder / "models/model.pt"
    weights = Path(checkpoint).expanduser()
    _parser(config).get_parsed_content("translation")  # what is wrong with its options is said now
    return TrainedGenerator(
        sequences=check_sequences(parser.get_parsed_content("sequences")),
        checkpoint=weights,
        fingerprint=_fingerprint(parser, _network(config, weights)),
        device=torch.device(device),
        _config=config,
    )


def sibling_bundle(bundle_root: str | os.PathLike, name: str) -> str:
    """Return the folder of the bundle ``name`` beside the bundle in ``bundle_root``, whether it exists or not."""
    return os.path.join(os.path.dirname(os.path.abspath(bundle_root)), name)


@torch.no_grad()
def generator_fingerprint(generator: torch.nn.Module) -> str:
    """Return a hash of the names, shapes, types and values of a network's weights; the device makes no difference."""
    digest = hashlib.sha256()
    for name, weight in generator.state_dict().items():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}\n".encode())
        # As bytes: numpy has no bfloat16.
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}).") from error
    needed = ("sequences", "network_def", "translation", "preprocessing")
    missing = [key for key in needed if not isinstance(config, dict) or key not in config]
    if missing:
        raise ValueError(f"{path} is not the configuration of a generator: it has no {', '.join(missing)}.")
    return config


def _parser(config: Mapping[str, Any]) -> ConfigParser:
    # A parser writes into its configuration.
    return ConfigParser(copy.deepcopy(dict(config)))


def _network(config: Mapping[str, Any], checkpoint: Path) -> SequenceTranslator:
    # The random weights, which are replaced, must not be drawn from the random numbers of a training.
    parser = _parser(config)
    with torch.random.fork_rng(devices=[]):
        network: SequenceTranslator = parser.get_parsed_content("network_def")
    load_weights(network, checkpoint, parser.get_parsed_content("normalize") if "normalize" in config else None)
    return network.eval().requires_grad_(False)


def _fingerprint(parser: ConfigParser, network: SequenceTranslator) -> str:
    definitions = [
        parser.get_parsed_content(key, instantiate=False).get_config() for key in ("network_def", "translation")
    ]
    definitions[1] = {key: value for key, value in definitions[1].items() if key not in _WITHOUT_EFFECT}
    preprocessing = json.dumps(parser["preprocessing"])
    referred = {name: parser.get_parsed_content(name) for name in re.findall(r"@(\w+)", preprocessing)}
    content = [generator_fingerprint(network), *definitions, preprocessing, referred]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
