# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq_mri.inference.generator_bundle import load_bundle, sibling_bundle
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.training.checkpoint import save_weights

SEQUENCES = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}
SIZES: dict[str, Any] = {"channels": [3, 4], "num_res_blocks": 1, "lstm_layers": 1}
SIZES |= {"code_channels": 4, "weight_code_channels": 2}


def make_network(seed: int = 0, **sizes: Any) -> Seq2SeqGenerator:
    torch.manual_seed(seed)
    return Seq2SeqGenerator(2, SEQUENCES, **(SIZES | sizes))


@pytest.fixture
def bundle(repository: Path, tmp_path: Path) -> Path:
    """Seq2seq_brats with a tiny generator of random weights; what a generator does not need cannot be evaluated."""
    folder = tmp_path / "bundles" / "seq2seq_tiny"
    content = json.loads((repository / "bundles" / "seq2seq_brats" / "configs" / "inference.json").read_text())
    content |= dict.fromkeys(("bundle_root", "device", "dataset"), "$torch.no_such_function()")
    content["network_def"] |= SIZES
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(content))
    save_weights(make_network(), folder / "models" / "model.pt")
    return folder


def test_the_generator_of_a_bundle(bundle, tmp_path):
    """As a description that can be pickled, without drawing random numbers."""
    network = make_network(seed=1, channels=[4, 5, 6]).eval()
    save_weights(network, tmp_path / "best.pt")
    torch.manual_seed(0)
    random = torch.rand(1)
    torch.manual_seed(0)
    options = {"slice_batch_size": 3, "network_def#channels": [4, 5, 6]}
    described = load_bundle(bundle, tmp_path / "best.pt", options=options)
    pickled = pickle.dumps(described)
    assert len(pickled) < 5000
    generator = pickle.loads(pickled)  # noqa: S301 -- made here, and what a spawned worker does
    assert generator == described
    assert (generator.sequences, generator.checkpoint) == (SEQUENCES, tmp_path / "best.pt")
    assert not generator.network.training
    assert not any(weight.requires_grad for weight in generator.network.parameters())
    assert torch.equal(torch.rand(1), random)
    assert generator.inferer.slice_batch_size == 3
    image = torch.rand(1, 4, 9, 8, 2)
    found = generator.inferer(image, generator.network, ["t1"], ["t2"])
    torch.testing.assert_close(found, SliceTranslationInferer()(image, network, ["t1"], ["t2"]))


def test_is_loaded_when_it_is_used_and_can_be_released(bundle, monkeypatch):
    built = []
    monkeypatch.setattr(
        "seq2seq_mri.inference.generator_bundle.load_weights", lambda network, *_: built.append(network)
    )
    generator = load_bundle(bundle)
    assert len(built) == 1  # to check it
    network, inferer = generator.network, generator.inferer
    assert (generator.network, generator.inferer) == (network, inferer)
    assert len(built) == 2
    for _ in range(2):
        generator.release()
    assert generator.network is not network
    assert generator.inferer is not inferer


def test_the_fingerprint(bundle, tmp_path):
    """It follows what a translation depends on, and not what only takes memory and time, or where files are."""
    first = load_bundle(bundle).fingerprint
    shutil.copytree(bundle, tmp_path / "copied")
    assert load_bundle(tmp_path / "copied").fingerprint == first
    assert load_bundle(bundle, options={"slice_batch_size": 7, "translation#progress": True}).fingerprint == first
    changes: list[dict[str, Any]] = [
        {"network_def#output_activation": "sigmoid"},  # a function without weights
        {"autocast_dtype": "bfloat16"},
        {"translation#output_range": [-1, 1]},
        {"normalize#percentile": 98.0},
    ]
    others = [load_bundle(bundle, options=changed).fingerprint for changed in changes]
    save_weights(make_network(seed=1), bundle / "models" / "model.pt", overwrite=True)
    others.append(load_bundle(bundle).fingerprint)
    assert len({first, *others}) == 6


def test_no_such_bundle_or_weights(bundle):
    message = (
        r"no generator bundle .*nowhere \(it has no configs.inference.json\); give the folder of one .*--generator_dir"
        r".*python -m monai.bundle download --name nowhere --bundle_dir "
    )
    with pytest.raises(FileNotFoundError, match=message):
        load_bundle(bundle / "nowhere")
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*model.pt"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("network_def#channels", [5, 4], "model.pt belongs to another network configuration"),
        ("slice_batchsize", 1, "inference.json has no 'slice_batchsize'; choose from .*slice_batch_size"),
        ("net#channels", 1, "inference.json has no 'net#channels'"),
    ],
)
def test_options_that_do_not_fit(bundle, option, value, message):
    with pytest.raises(ValueError, match=message):
        load_bundle(bundle, options={option: value})


def test_what_is_wrong_with_the_inferer_is_said_when_it_is_described(bundle):
    with pytest.raises(RuntimeError) as caught:
        load_bundle(bundle, options={"autocast_dtype": "float8"})
    assert "Unknown autocast_dtype 'float8'" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "inference.json is not JSON"),
        ("[]", "is not the configuration of a generator"),
        ('{"sequences": {"t1": 1}, "translation": {}}', "not the configuration of a generator: it has no network_def"),
    ],
)
def test_configurations_without_a_generator(bundle, content, message):
    (bundle / "configs" / "inference.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_bundle(bundle)


def test_a_configuration_without_a_checkpoint(bundle):
    path = bundle / "configs" / "inference.json"
    content = json.loads(path.read_text())
    del content["checkpoint"]
    path.write_text(json.dumps(content))
    assert load_bundle(bundle).checkpoint == bundle / "models" / "model.pt"


def test_the_bundle_beside_another(bundle, monkeypatch):
    monkeypatch.chdir(bundle)
    for root in (bundle, f"{bundle}{os.sep}", ".", os.path.join("configs", "..")):
        assert sibling_bundle(root, "other") == str(bundle.parent / "other")
