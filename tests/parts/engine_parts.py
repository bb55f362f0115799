# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Small engines on small data, for the tests of this folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from monai.data import DataLoader, MetaTensor
from monai.utils import set_determinism

from seq2seq_mri.inference.evaluator import SynthesisEvaluator, TranslationEvaluator
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.sequences import channel_slices

SEQUENCES = {"t1": 1, "dce": 3, "t2": 1}
TINY_NETWORK = {
    "channels": [4, 6, 8],
    "num_res_blocks": 1,
    "lstm_layers": 1,
    "code_channels": 4,
    "weight_code_channels": 2,
}
TINY_OVERRIDES = {f"network_def#{name}": value for name, value in TINY_NETWORK.items()} | {"slice_size": [24, 24]}


def tiny_generator(
    sequences: Mapping[str, int] | None = None, spatial_dims: int = 2, seed: int = 0, **options: Any
) -> Seq2SeqGenerator:
    """Return a random generator of a few thousand parameters; ``options`` are more arguments of it."""
    torch.manual_seed(seed)
    sequences = sequences or SEQUENCES
    size = TINY_NETWORK | {"code_channels": max(TINY_NETWORK["code_channels"], len(sequences))}
    return Seq2SeqGenerator(spatial_dims, sequences, in_channels=3 if spatial_dims == 2 else 1, **size, **options)


def make_sample(
    subject: str,
    available: Sequence[str],
    withheld: Sequence[str] = (),
    sequences: Mapping[str, int] | None = None,
    shape: Sequence[int] = (12, 13, 11),
    unique: Sequence[str] = (),
    seed: int = 0,
    lesion: tuple[slice, ...] | None = None,
) -> dict[str, Any]:
    """Return a loaded subject with random images, zero in a margin, and random masks for ``unique`` sequences.

    ``lesion`` is the box of voxels that the lesion's mask marks.
    """
    sequences = sequences or SEQUENCES
    rng = np.random.default_rng([seed, *subject.encode()])
    image = np.zeros((sum(sequences.values()), *shape), dtype=np.float32)
    for name, channels in channel_slices(sequences).items():
        if name in [*available, *withheld]:
            image[channels, 1:-1, 1:-1] = rng.uniform(0.1, 1, image[channels, 1:-1, 1:-1].shape)
    affine = torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0], dtype=torch.float64))
    sample = {
        "subject": subject,
        "image": MetaTensor(torch.from_numpy(image), affine=affine),
        "available": torch.tensor([name in available for name in sequences]),
        "measured": torch.tensor([name in [*available, *withheld] for name in sequences]),
    }
    if unique:
        masks = np.stack([(rng.random(shape) < 0.2) * (name in unique) for name in sequences])
        sample["unique_masks"] = MetaTensor(torch.from_numpy(masks.astype(np.float32)), affine=affine)
    if lesion is not None:
        mask = torch.zeros((1, *shape))
        mask[(0, *lesion)] = 1
        sample["lesion"] = MetaTensor(mask, affine=affine)
    return sample


def loader(samples: Sequence[Mapping[str, Any]]) -> DataLoader:
    """Return a loader of one sample per batch."""
    return DataLoader(list(samples), batch_size=1, num_workers=0)


def engine_settings(samples: Sequence[Mapping[str, Any]], sequences: Mapping[str, int] = SEQUENCES) -> dict[str, Any]:
    """Return what every engine needs, with a tiny generator."""
    return {
        "device": "cpu",
        "val_data_loader": loader(samples),
        "network": tiny_generator(sequences).eval(),
        "inferer": SliceTranslationInferer(),
    }


def translation_evaluator(samples: Sequence[Mapping[str, Any]], **arguments: Any) -> TranslationEvaluator:
    """Return an evaluator of a tiny generator."""
    sequences = arguments.pop("sequences", SEQUENCES)
    return TranslationEvaluator(sequences, **(engine_settings(samples, sequences) | arguments))


def synthesis_evaluator(samples: Sequence[Mapping[str, Any]], **arguments: Any) -> SynthesisEvaluator:
    """Return a synthesis by the mean over sources."""
    return SynthesisEvaluator(SEQUENCES, **(engine_settings(samples) | arguments))


def bundle_workflow(run_id: str, config_files: Sequence[Path], overrides: Mapping[str, Any]) -> ConfigWorkflow:
    """Return the initialized workflow of a bundle."""
    workflow = ConfigWorkflow(
        [str(path) for path in config_files],
        workflow_type={"training": "train", "evaluating": "eval", "inference": "infer"}[run_id],
        run_id=run_id,
        # MONAI's logging.conf binds the root logger to the standard output of the moment.
        logging_file=False,
        **overrides,
    )
    workflow.initialize()
    return workflow


def run_bundle_here(run_id: str, config_files: Sequence[Path], overrides: Mapping[str, Any]) -> None:
    """Run a bundle in this process, which saves the start of another, computing the same bits as a command does."""
    threads, search_path = torch.get_num_threads(), list(sys.path)
    torch.set_num_threads(1)
    try:
        workflow = bundle_workflow(run_id, config_files, overrides)
        workflow.run()
        workflow.finalize()
    finally:
        sys.path[:] = search_path
        set_determinism(seed=None)
        torch.set_num_threads(threads)


def bundle_command(
    run_id: str, config_files: Sequence[Path], overrides: Mapping[str, Any], processes: int = 1
) -> list[str]:
    """Return the command that a user types, under ``torchrun`` for several processes."""
    launcher = [sys.executable, "-m"]
    if processes > 1:
        launcher += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    files = "[" + ",".join(f"'{path}'" for path in config_files) + "]"
    arguments = [
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in overrides.items()
    ]
    return [*launcher, "monai.bundle", "run", run_id, f"--config_file={files}", *arguments]


def command_environment() -> dict[str, str]:
    """Return an environment in which equal commands compute equal bits: one thread, no GPU."""
    return os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
