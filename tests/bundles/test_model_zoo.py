# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What MONAI's bundle tools, the model zoo and MONAI Label ask of the generator bundles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, verify_net_in_out

from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.training.checkpoint import load_weights


@pytest.mark.parametrize(
    ("kind", "overlays"),
    [
        ("train", ()),
        ("train", ("unpaired.json",)),
        ("train", ("multi_gpu_train.json",)),
        ("train", ("demo.json",)),
        ("evaluate", ()),
        ("evaluate", ("demo.json",)),
        ("inference", ()),
        ("inference", ("multi_gpu_inference.json",)),
    ],
)
def test_no_property_is_missing(generator_runs, tmp_path, monkeypatch, kind, overlays) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = {"output_dir": str(tmp_path / "output"), "checkpoint": str(generator_runs.weights), "lpips": "none"}
    workflow = generator_runs.workflow(kind, overlays, **overrides)
    assert workflow.check_properties() == []
    workflow.finalize()


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_no_property_is_missing_of_the_published_size(generator_runs, tmp_path, kind) -> None:
    # All but the channels, which would take 155 million parameters.
    content = json.loads(Path(generator_runs.configs(["published.json"])[0]).read_text())
    small = {name: value for name, value in content.items() if not name.startswith("network_def")}
    small["lambda_perceptual"] = 0.0  # its network would have to be downloaded
    weights = str(generator_runs.weights)
    workflow = generator_runs.workflow(kind, output_dir=str(tmp_path), checkpoint=weights, lpips="none", **small)
    assert workflow.check_properties() == []
    workflow.finalize()


def test_mlflow_writes_to_a_database(runs) -> None:
    # MLflow has given up folders as a store.
    parser = ConfigParser()
    parser.read_config(runs.configs(["train.json", "mlflow.json"]))
    assert parser.get_parsed_content("tracking_uri").startswith("sqlite:///")


def test_mlflow_gets_the_losses(runs, tmp_path) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy", reason="MLflow's local store needs it")
    workflow = runs.train(tmp_path, ("mlflow.json",))
    assert workflow.check_properties() == []
    client = mlflow.MlflowClient(workflow.parser.get_parsed_content("tracking_uri"))
    experiment = client.get_experiment_by_name("seq2seq_brats")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["reconstruction"] > 0


def test_published_overlay_has_the_published_size(brats) -> None:
    parser = ConfigParser()
    parser.read_config([str(brats / "configs" / name) for name in ("train.json", "published.json")])
    with torch.device("meta"):
        network = parser.get_parsed_content("network_def")
    of_convolutions = (part for part in network.modules() if isinstance(part, (torch.nn.Conv2d, torch.nn.Linear)))
    of_all = (part.parameters(recurse=False) for part in of_convolutions)
    assert sum(value.numel() for value in network.parameters()) == pytest.approx(155.09e6, abs=5e3)
    assert sum(value.numel() for values in of_all for value in values) == pytest.approx(35.79e6, abs=5e3)


@pytest.mark.parametrize("config", ["train.json", "inference.json"])
@pytest.mark.parametrize("name", ["seq2seq_brats", "seq2seq_breast", "differentiation_classifier"])
def test_verify_net_in_out(repository, name, config) -> None:
    configs = repository / "bundles" / name / "configs"
    verify_net_in_out(
        "network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / config),
        device="cpu",
        p=1,
        n=1,
        any=1,
    )


@pytest.mark.parametrize("name", ["seq2seq_brats", "seq2seq_breast", "differentiation_classifier"])
def test_exported_torchscript_gives_the_same(repository, tmp_path, name) -> None:
    bundle = repository / "bundles" / name
    files = {name: str(bundle / "configs" / f"{name}.json") for name in ("metadata", "inference")}
    weights = bundle / "models" / "model.pt"
    parser = ConfigParser()
    parser.read_config(files["inference"])
    network = load_weights(parser.get_parsed_content("network_def"), weights).eval()
    ckpt_export(
        "network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(weights),
        meta_file=files["metadata"],
        config_file=files["inference"],
    )
    embedded = {"metadata.json": "", "inference.json": ""}
    exported = torch.jit.load(str(tmp_path / "model.ts"), _extra_files=embedded).eval()
    assert json.loads(embedded["metadata.json"])["name"] == name
    assert "network_def" in json.loads(embedded["inference.json"])
    calls: list[tuple[torch.Tensor, ...]] = [(torch.rand(2, 2, 33, 37, 35),)]
    if isinstance(network, Seq2SeqGenerator):
        image, target = torch.rand(2, 3, 37, 42), torch.eye(len(network.sequences))[[2, 1]]
        calls = [(image,), (image, target)]
    with torch.no_grad():
        for given in calls:
            torch.testing.assert_close(exported(*given), network(*given), rtol=1e-5, atol=1e-6)
