# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What must hold for a bundle that runs."""

from __future__ import annotations

import json
import zipfile

import pytest
import torch

from tools.examine import check_exported, check_network, check_properties, export_torchscript
from tools.trial import simulate_for


def test_exported_network_is_the_network(bundle, tmp_path) -> None:
    network = check_network(bundle)
    export_torchscript(bundle, tmp_path / "model.ts")
    check_exported(network, tmp_path / "model.ts")
    with zipfile.ZipFile(tmp_path / "model.ts") as archive:
        names = archive.namelist()
    # Where PyTorch keeps the paths of sources.
    assert not [name for name in names if "debug" in name]
    next(network.parameters()).data.add_(1.0)
    with pytest.raises(ValueError, match=r"model\.ts differs from the network by"):
        check_exported(network, tmp_path / "model.ts")
    next(network.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        check_exported(network, tmp_path / "model.ts")


def test_weights_of_another_network_are_refused(bundle) -> None:
    torch.save({"a": torch.ones(1)}, bundle / "models" / "model.pt")
    with pytest.raises(ValueError, match="belongs to another network configuration"):
        check_network(bundle)


def test_shapes_must_be_those_of_the_metadata(bundle) -> None:
    path = bundle / "configs" / "metadata.json"
    path.write_text(path.read_text().replace('"num_channels": 3', '"num_channels": 4'))
    with pytest.raises(Exception, match="channels"):
        check_network(bundle)


def test_missing_properties_are_named(bundle, tmp_path) -> None:
    cohort = simulate_for(bundle, tmp_path / "cohort")
    check_properties(bundle, "inference", cohort, tmp_path / "output")
    content = json.loads((bundle / "configs" / "inference.json").read_text())
    del content["inferer"]
    (bundle / "configs" / "inference.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"inference\.json of seq2seq_brats lack properties .*'inferer'"):
        check_properties(bundle, "inference", cohort, tmp_path / "output")
