# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command that converts checkpoints of the code released with the paper to our generator."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from seq2seq_mri.files import atomic_path
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.sequences import SEQUENCE_TABLES

__all__ = ["convert_released", "network_arguments", "translate_state_dict"]

_NUMBERS = ("ndims", "c_s", "c_w", "c_in", "nres_enc", "nres_dec")
_HYPER_CONV_NAMES = {
    "param": "kernel_bank",
    "b": "bias_bank",
    "fc.weight": "kernel_code.weight",
    "fc.bias": "kernel_code.bias",
    "fc_bias.weight": "bias_code.weight",
    "fc_bias.bias": "bias_code.bias",
}


def convert_released(
    checkpoint: str | os.PathLike,
    config: str | os.PathLike,
    output: str | os.PathLike,
    sequences: Mapping[str, int] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Convert a released checkpoint and its YAML config to a checkpoint of :class:`Seq2SeqGenerator`.

    The output holds ``"network"``, the arguments that build the generator, and ``"model"``, its state dict. The
    generator then gives what the released code gives (values in (-1, 1): their intensities are scaled to [-1, 1]).

    Args:
        checkpoint: their ``.pt`` or ``.pth`` file: a state dict, possibly nested under a key.
        config: their YAML file; the network's settings may be nested under a key.
        output: the file to write.
        sequences: the sequence table in the order of their one-hot codes; None for T1, T1Gd, T2, FLAIR.
        overwrite: whether an existing ``output`` may be replaced.

    Returns:
        A summary: ``output``, ``network`` (the arguments) and ``parameters`` (how many).

    Raises:
        FileNotFoundError: when ``checkpoint`` or ``config`` does not exist.
        FileExistsError: when ``output`` exists and ``overwrite`` is false.
        ValueError: when a file is of another kind, or config and checkpoint do not fit together.
    """
    for kind, file in (("checkpoint", checkpoint), ("config", config)):
        if not Path(file).is_file():
            raise FileNotFoundError(f"The {kind} {file} does not exist or is not a file.")
    settings, state = _read_config(Path(config)), _load_released(Path(checkpoint))
    arguments = network_arguments(settings, state, sequences or SEQUENCE_TABLES["brats"], Path(config))
    translated = translate_state_dict(state, arguments, Path(checkpoint))
    with atomic_path(output, overwrite) as path:
        torch.save({"network": arguments, "model": translated}, path)
    parameters = sum(value.numel() for value in translated.values())
    return {"output": str(output), "network": arguments, "parameters": parameters}


def _load_released(path: Path) -> dict[str, torch.Tensor]:
    """Read the state dict of a released checkpoint, also where it is nested or was saved from several GPUs."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f"The checkpoint {path} cannot be read as PyTorch weights ({_first_line(error)}); "
            "give the .pt or .pth file of the released code."
        ) from error
    prefix = "module."  # of data-parallel networks
    state = _find_mapping(content, "style_fc.0.weight") or _find_mapping(content, f"{prefix}style_fc.0.weight")
    if state is None:
        raise ValueError(
            f"The checkpoint {path} is not one of the released generator: it has no tensor 'style_fc.0.weight'."
        )
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"The checkpoint {path} holds something other than tensors among its weights.")
    return {key.removeprefix(prefix): value for key, value in state.items()}


def network_arguments(
    settings: Mapping[str, Any], state: Mapping[str, torch.Tensor], sequences: Mapping[str, int], path: Path
) -> dict[str, Any]:
    """Return the arguments of :class:`Seq2SeqGenerator` for the released network of ``settings``.

    Args:
        settings: their network settings (``c_s``, ``c_enc``, …).
        state: their state dict; it alone tells the number of ConvLSTM layers.
        sequences: the sequence table.
        path: the config file, for messages.

    Raises:
        ValueError: when the settings describe a network other than the published kind.
    """
    layout = ("c_enc", "k_enc", "s_enc", "norm", "c_lstm", "c_dec", "k_dec", "s_dec")
    if missing := [key for key in (*_NUMBERS, *layout) if key not in settings]:
        raise ValueError(f"The config {path} lacks {', '.join(missing)} beside its other network settings.")
    for key in _NUMBERS:
        if not isinstance(settings[key], int) or settings[key] < 1:
            raise ValueError(f"{key} in {path} is {settings[key]!r}; a positive whole number is needed.")
    channels = settings["c_enc"]
    if not isinstance(channels, list) or len(channels) < 2 or not all(isinstance(value, int) for value in channels):
        raise ValueError(f"c_enc in {path} is {channels!r}; a list of at least two channel numbers is needed.")
    levels = len(channels)
    expected = {
        "k_enc": [7] + [3] * (levels - 1),
        "s_enc": [1] + [2] * (levels - 1),
        "norm": "InstanceNorm",
        "c_lstm": channels[-1],
        "c_dec": [*channels[-2::-1], settings["c_in"]],
        "k_dec": [3] * (levels - 1) + [7],
        "s_dec": [1] * levels,
    }
    for key, value in expected.items():
        if settings[key] != value:
            raise ValueError(f"{key} in {path} is {settings[key]!r}; only networks with {value!r} can be converted.")
    if settings["nres_enc"] != settings["nres_dec"]:
        raise ValueError(f"nres_enc and nres_dec in {path} differ; only networks with equal numbers can be converted.")
    return {
        "spatial_dims": settings["ndims"],
        "sequences": dict(sequences),
        "in_channels": settings["c_in"],
        "channels": channels,
        "num_res_blocks": settings["nres_enc"],
        "lstm_layers": sum(bool(re.fullmatch(r"enc_convlstm\.cell_list\.\d+\.conv\.weight", key)) for key in state),
        "code_channels": settings["c_s"],
        "weight_code_channels": settings["c_w"],
        "upsample": "first",
        "conditioning": "hyper",
        "output_activation": "tanh",
    }


def translate_state_dict(
    state: Mapping[str, torch.Tensor], arguments: Mapping[str, Any], path: Path
) -> dict[str, torch.Tensor]:
    """Return the released ``state`` under our names and in our layouts, checked against the generator's own.

    Raises:
        ValueError: when weights are missing, left over, or of another shape than ``arguments`` ask for.
    """
    names = _name_table(len(arguments["channels"]), arguments["num_res_blocks"], arguments["lstm_layers"])
    problems = []
    if missing := [name for name in names if name not in state]:
        problems.append(f"missing {_some(missing)}")
    if unexpected := [name for name in state if name not in names]:
        problems.append(f"unexpected {_some(unexpected)}")
    if problems:
        raise ValueError(f"The checkpoint {path} and the config do not fit together: {'; '.join(problems)}.")
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in Seq2SeqGenerator(**arguments).state_dict().items()}
    translated = {}
    for theirs, ours in names.items():
        value = state[theirs]
        if ours not in shapes:
            continue  # a bias that the normalisation after it takes out
        if ours.endswith("_bank"):
            # They keep the bank's index last, we keep it first.
            value = value.movedim(-1, 0).contiguous()
        if value.shape != shapes[ours]:
            raise ValueError(
                f"The checkpoint {path} and the config do not fit together: '{theirs}' has shape "
                f"{list(state[theirs].shape)}, which as '{ours}' would have to be {list(shapes[ours])}."
            )
        translated[ours] = value
    return translated


def _name_table(levels: int, num_res_blocks: int, lstm_layers: int) -> dict[str, str]:
    """Map every name in their state dict to ours."""
    modules = {"style_fc.0": "decoder.code_embedding.linear", "encoder.conv.0.0": "encoder.stem.0"}
    for index in range(1, levels):
        modules[f"encoder.conv.{index}.0"] = f"encoder.downsampling.{index - 1}.0"
    for index in range(num_res_blocks):
        modules[f"encoder.res.{index}.conv_block.1"] = f"encoder.residual_blocks.{index}.first.0"
        modules[f"encoder.res.{index}.conv_block.5"] = f"encoder.residual_blocks.{index}.second.0"
    for index in range(lstm_layers):
        modules[f"enc_convlstm.cell_list.{index}.conv"] = f"encoder_lstm.layers.{index}.conv"
        modules[f"dec_convlstm.cell_list.{index}.conv"] = f"decoder_lstm.layers.{index}.conv"
    names = {f"{theirs}.{part}": f"{ours}.{part}" for theirs, ours in modules.items() for part in ("weight", "bias")}
    hyper_convs = {"decoder.conv_last": "decoder.output"}
    for index in range(num_res_blocks):
        hyper_convs[f"decoder.res.{index}.conv1"] = f"decoder.residual_blocks.{index}.first.conv"
        hyper_convs[f"decoder.res.{index}.conv2"] = f"decoder.residual_blocks.{index}.second.conv"
    for index in range(levels - 1):
        hyper_convs[f"decoder.convs.{index}"] = f"decoder.blocks.{index}.conv"
    for theirs, ours in hyper_convs.items():
        names |= {f"{theirs}.{part}": f"{ours}.{our_part}" for part, our_part in _HYPER_CONV_NAMES.items()}
    return names


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"The config {path} is not YAML ({_first_line(error)}).") from error
    settings = _find_mapping(content, "c_enc")
    if settings is None:
        raise ValueError(f"The config {path} has no settings of the released network: there is no key 'c_enc'.")
    return settings


def _find_mapping(content: object, key: str) -> dict[str, Any] | None:
    """Return the first mapping that has ``key``, looking into nested mappings."""
    if not isinstance(content, Mapping):
        return None
    if key in content:
        return dict(content)
    nested = (_find_mapping(value, key) for value in content.values())
    return next((item for item in nested if item is not None), None)


def _some(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
