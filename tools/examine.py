# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Checks a bundle that runs, and exports its network as TorchScript: ``python -m tools.examine BUNDLE COHORT OUTPUT``.

It runs in a process of its own, with the package of an unzipped bundle.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_net_in_out

from seq2seq_mri.training.checkpoint import load_weights
from tools.archive import write_archive

__all__ = ["check_exported", "check_network", "check_properties", "examine", "export_torchscript"]

_WORKFLOWS = {
    "train": ("train", "training", ["train.json"]),
    "evaluate": ("eval", "evaluating", ["train.json", "evaluate.json"]),
    "inference": ("infer", "inference", ["inference.json"]),
}


def examine(bundle: Path, cohort: Path, output: Path) -> None:
    """Check a bundle and export its network.

    Args:
        bundle: folder of the bundle; those beside which it has to be are there too.
        cohort: folder with images and ``datalist.json``.
        output: folder to write ``model.ts`` to, and what workflows make when they begin.

    Raises:
        ValueError: when a check fails.
    """
    network = check_network(bundle)
    for kind in _WORKFLOWS:
        check_properties(bundle, kind, cohort, output / kind)
    export_torchscript(bundle, output / "model.ts")
    check_exported(network, output / "model.ts")


def check_network(bundle: Path) -> torch.nn.Module:
    """Check that the network gives the shapes that the metadata say, and that the weights are its own; return it."""
    configs = bundle / "configs"
    metadata, config = str(configs / "metadata.json"), str(configs / "inference.json")
    verify_net_in_out("network_def", meta_file=metadata, config_file=config, device="cpu", p=1, n=1, any=1)
    parser = ConfigParser()
    parser.read_config(config)
    parser.read_meta(metadata)
    return load_weights(parser.get_parsed_content("network_def"), bundle / "models" / "model.pt").eval()


def check_properties(bundle: Path, kind: str, cohort: Path, output: Path) -> None:
    """Check that a workflow has all properties that MONAI asks for.

    Raises:
        ValueError: when it lacks some.
    """
    workflow_type, run_id, names = _WORKFLOWS[kind]
    options = {
        "bundle_root": str(bundle),
        "dataset_dir": str(cohort),
        "output_dir": str(output),
        "prepared_dir": str(output.parent / "prepared"),  # maps, which are computed once
        "device": "cpu",
        "lpips": "none",  # whose network would be downloaded
    }
    if kind != "train":
        options["checkpoint"] = str(bundle / "models" / "model.pt")
    configs = [str(bundle / "configs" / name) for name in names]
    workflow = ConfigWorkflow(configs, workflow_type=workflow_type, run_id=run_id, logging_file=False, **options)
    workflow.initialize()
    try:
        missing = workflow.check_properties()
    except KeyError as error:  # what MONAI does about the first that is required
        missing = [str(error.args[0])]
    if missing:
        raise ValueError(f"{', '.join(names)} of {bundle.name} lack properties that MONAI asks for: {missing}.")
    workflow.finalize()


def export_torchscript(bundle: Path, path: str | os.PathLike) -> None:
    """Export ``network_def`` with ``models/model.pt`` by MONAI's ``ckpt_export`` to ``path``, in reproducible bytes.

    PyTorch adds the source of every operation for messages of errors, with the paths of the machine on which it was
    exported, and a number that depends on them: both are left out. Its code depends on what the process has scripted
    before, and on the order of sets: export in a process of its own, with PYTHONHASHSEED set. Then equal versions of
    Python, PyTorch and MONAI give equal bytes.
    """
    top = "model"
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder, f"{top}.ts")
        ckpt_export(
            "network_def",
            filepath=str(exported),
            ckpt_file=str(bundle / "models" / "model.pt"),
            meta_file=str(bundle / "configs" / "metadata.json"),
            config_file=str(bundle / "configs" / "inference.json"),
        )
        with zipfile.ZipFile(exported) as archive:
            contents: dict[str, bytes | Path] = {
                name.removeprefix(f"{top}/"): archive.read(name)
                for name in archive.namelist()
                if not name.endswith((".debug_pkl", ".data/serialization_id"))
            }
    write_archive(contents, path, top)


def check_exported(network: torch.nn.Module, path: Path) -> None:
    """Check that exported TorchScript gives what the network gives, and has its metadata and configuration.

    Raises:
        ValueError: when it gives something else, or lacks them.
    """
    embedded = {"metadata.json": "", "inference.json": ""}
    exported = torch.jit.load(str(path), map_location="cpu", _extra_files=embedded).eval()
    if not all(embedded.values()):
        raise ValueError(f"{path.name} lacks its metadata or its configuration.")
    port = json.loads(embedded["metadata.json"])["network_data_format"]["inputs"]["image"]
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, port["num_channels"], *port["spatial_shape"], generator=generator)
    with torch.no_grad():
        expected, given = network(image), exported(image)
    if not bool(torch.isfinite(expected).all()):
        raise ValueError(f"The network of {path.name} gives values that are not finite.")
    if not torch.allclose(expected, given, rtol=1e-4, atol=1e-5):
        raise ValueError(f"{path.name} differs from the network by {float((expected - given).abs().max())}.")


def main() -> None:
    """Run as a program."""
    torch.manual_seed(0)
    bundle, cohort, output = map(Path, sys.argv[1:4])
    output.mkdir(parents=True, exist_ok=True)
    try:
        examine(bundle, cohort, output)
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
