# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What bfloat16 and Winograd's convolutions change in synthesised images: ``python benchmarks/precision.py --help``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from skimage.metrics import peak_signal_noise_ratio
from tqdm import tqdm

from figures import Bar, BarPanel, bar_figure
from machine import checked_device
from networks import BRAIN, BUNDLE_CONFIG
from report import ResultFiles, command_line
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.io.datalists.datalist import load_datalist
from seq2seq_mri.sequences import marked_sequences
from seq2seq_mri.training.checkpoint import load_weights

__all__ = ["precision"]

VARIANTS: dict[str, dict[str, Any]] = {
    "winograd": {},
    "bf16": {"autocast_dtype": "bfloat16"},
}


def precision(
    dataset_dir: str,
    datalist: str | None = None,
    section: str = "testing",
    checkpoint: str | None = None,
    device: str = "cpu",
    output_dir: str | None = None,
    machine: str | None = None,
) -> None:
    """Compare images that trained weights of seq2seq_brats make of patients with those in float32, convolved directly.

    Every sequence that a patient has is translated into every other one, over the whole volume, preprocessed as
    inference.json says. PSNR has a peak of 1.

    Args:
        dataset_dir: folder of the patients.
        datalist: their datalist; dataset_dir/datalist.json by default.
        section: of the datalist.
        checkpoint: weights; those that come with the bundle by default.
        device: cpu or cuda.
        output_dir: where the results are written; benchmarks/results by default.
        machine: first part of the files' names; by default the name of the GPU or of the processor.
    """
    where = checked_device(device)
    files = ResultFiles(output_dir, machine, "precision", where)
    parser = ConfigParser()
    parser.read_config(str(BUNDLE_CONFIG))
    network = parser.get_parsed_content("network_def")
    load_weights(network, checkpoint or BUNDLE_CONFIG.parents[1] / "models" / "model.pt")
    network.eval().to(where)
    preprocess = parser.get_parsed_content("preprocessing")
    subjects = load_datalist(
        datalist=datalist or f"{dataset_dir}/datalist.json", section=section, dataset_dir=dataset_dir, sequences=BRAIN
    )
    rows: list[dict[str, Any]] = []
    for number, subject in enumerate(tqdm(subjects, desc="Precision", unit="subject")):
        sample = preprocess(dict(subject))
        image = sample["image"].as_tensor()
        names = marked_sequences(BRAIN, sample["available"])
        exact = _translate(network.specialise(names), image, names, {})  # with direct convolutions
        for variant, options in VARIANTS.items():
            found = _translate(network, image, names, options)
            rows.append({"subject": number + 1, "variant": variant, **_compare(exact, found, image, names)})
    bars = [Bar(f"{row['subject']} {row['variant']}", {"": row["psnr_least"]}) for row in rows]
    panel = BarPanel("PSNR to float32, the least of all pairs", "dB", bars, line=50.0)
    files.write({"section": section, "device": device}, rows, bar_figure(f"Precision: {files.stem}", [panel]))


def _translate(
    network: torch.nn.Module, image: torch.Tensor, names: list[str], options: Mapping[str, Any]
) -> dict[tuple[str, str], np.ndarray]:
    inferer = SliceTranslationInferer(include_self=False, **options)
    result = inferer(image[None], network, sources=names, targets=names).numpy()
    pairs = [(a, b) for a in range(len(names)) for b in range(len(names)) if a != b]
    return {(names[a], names[b]): result[a, b] for a, b in pairs}


def _compare(exact: Mapping, found: Mapping, image: torch.Tensor, names: list[str]) -> dict[str, float]:
    """Return what has changed: PSNR to the exact images, and the change of PSNR to the measured ones."""
    truth = {name: image[list(BRAIN).index(name)].numpy() for name in names}
    # Equal images have no PSNR; 150 dB is the rounding of float32.
    between = [min(150.0, _psnr(exact[pair], found[pair])) for pair in exact]
    changes = [_psnr(truth[pair[1]], found[pair]) - _psnr(truth[pair[1]], exact[pair]) for pair in exact]
    return {
        "pairs": len(between),
        "psnr_least": float(np.min(between)),
        "psnr_mean": float(np.mean(between)),
        "largest_change_of_psnr_to_truth": float(np.abs(changes).max()),
        "largest_difference": float(max(np.abs(exact[pair] - found[pair]).max() for pair in exact)),
    }


def _psnr(expected: np.ndarray, found: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(expected.astype(np.float64), found.astype(np.float64), data_range=1.0))


if __name__ == "__main__":
    command_line(precision)
