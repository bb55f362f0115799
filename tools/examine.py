# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What must hold for a bundle that runs: ``python -m tools.examine BUNDLE COHORT OUTPUT``.

It runs in a process of its own, with the package of an unzipped bundle, and ends by exporting its TorchScript.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out

from seq2seq_mri.training.checkpoint import load_weights
from tools.torchscript import export_torchscript

__all__ = ["check_exported", "check_network", "check_properties", "examine", "main"]

WORKFLOWS = {
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
    for kind in WORKFLOWS:
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
    network = load_weights(parser.get_parsed_content("network_def"), bundle / "models" / "model.pt")
    return network.eval()


def check_properties(bundle: Path, kind: str, cohort: Path, output: Path) -> None:
    """Check that a workflow has all properties that MONAI asks for.

    Raises:
        ValueError: when it lacks some.
    """
    workflow_type, run_id, names = WORKFLOWS[kind]
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


def check_exported(network: torch.nn.Module, path: Path) -> None:
    """Check that exported TorchScript gives what the network gives.

    Raises:
        ValueError: when it gives something else.
    """
    embedded = {"metadata.json": "", "inference.json": ""}
    exported = torch.jit.load(str(path), map_location="cpu", _extra_files=embedded).eval()
    if not all(embedded.values()):
        raise ValueError(f"{path.name} lacks its metadata or its configuration.")
    parser = ConfigParser()
    for name, content in embedded.items():
        Path(path.parent, name).write_bytes(content if isinstance(content, bytes) else content.encode())
    parser.read_meta(str(path.parent / "metadata.json"))
    channels = parser["_meta_#network_data_format#inputs#image#num_channels"]
    shape = parser["_meta_#network_data_format#inputs#image#spatial_shape"]
    image = torch.rand(1, channels, *shape, generator=torch.Generator().manual_seed(0))
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
