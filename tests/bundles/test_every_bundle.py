# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What holds for the files of each bundle, without running it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from monai.bundle import ConfigParser, verify_metadata

from tools.format_configs import format_config

BUNDLES = sorted(path for path in (Path(__file__).resolve().parents[2] / "bundles").iterdir() if path.is_dir())
CONFIGS = sorted(path for bundle in BUNDLES for path in (bundle / "configs").glob("*.json"))
WHOLE = ("train", "inference", "metadata", "alphabet_generator")
OVERLAYS = [path for path in CONFIGS if path.stem not in WHOLE]
#: The configurations that an overlay is laid over, when it is not train.json alone.
PARENTS = {
    "demo": ["train", "evaluate"],
    "multi_gpu_inference": ["inference"],
    "volumes_inference": ["inference"],
    "alphabet": ["alphabet_generator"],
    "alphabet_reduced": ["alphabet_generator", "alphabet"],
    "mgmt_demo": ["train", "mgmt"],
    "pcr_demo": ["train", "pcr"],
}
MODEL_ZOO_LIMIT = 25 * 2**20

each_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
each_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda path: f"{path.parents[1].name}-{path.stem}")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@each_bundle
def test_has_what_the_model_zoo_asks_for_and_no_python_or_large_or_linked_file(bundle: Path) -> None:
    assert "_v" not in bundle.name
    assert (bundle / "LICENSE").is_file()
    names = {path.name for path in (bundle / "configs").iterdir()}
    assert {"metadata.json", "train.json", "inference.json", "logging.conf"} <= names
    files = [path for path in bundle.rglob("*") if not path.is_dir()]
    assert not [path for path in files if path.suffix in (".py", ".pyc", ".ipynb")]
    assert not [path for path in files if path.is_symlink()]
    assert all(path.stat().st_size <= MODEL_ZOO_LIMIT for path in files)


@each_config
def test_config_has_the_form_of_all_without_lambda_or_path_of_a_machine(config: Path) -> None:
    text = config.read_text(encoding="utf-8")
    assert text == format_config(json.loads(text)), "python -m tools.format_configs"
    assert "lambda " not in text  # breaks workers that are spawned
    assert not re.search(r'"/(home|root|work|tmp|mnt|data)\b', text)
    # MONAI Label parses inference.json without its metadata.
    assert config.stem != "inference" or "_meta_" not in text
    assert all("." in target.lstrip("$") for target in re.findall(r'"_target_":\s*"([^"]+)"', text))


@each_bundle
def test_training_and_inference_share_the_network_and_the_sequences(bundle: Path) -> None:
    train, inference = (read(bundle / "configs" / f"{name}.json") for name in ("train", "inference"))
    assert train["network_def"] == inference["network_def"]
    for name in ("sequences", "spatial_dims", "slice_size", "normalize", "resample"):
        assert train.get(name) == inference.get(name), name


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_overlay_changes_what_its_parents_have_or_adds_what_is_read(overlay: Path) -> None:
    content = read(overlay)
    parent: dict[str, Any] = {}
    for name in PARENTS.get(overlay.stem, ["train"]):
        parent |= read(overlay.parent / f"{name}.json")
    text = json.dumps([parent, content])
    for key in content:
        node: Any = parent
        *groups, last = key.removeprefix("+").split("#")
        for part in groups:
            assert part in node, f"{key}: the parent has no {part}"
            node = node[part]
        # What people type, and MONAI's own.
        assert last in node or last in ("evaluating", "_mode_") or re.search(rf"@{key}\b", text), key


@each_bundle
def test_metadata_names_its_ports_and_the_version_of_the_package(bundle: Path, repository: Path) -> None:
    metadata = read(bundle / "configs" / "metadata.json")
    assert metadata["name"] == bundle.name
    assert metadata["version"] in metadata["changelog"]
    match = re.search(r"^version = (.+)$", (repository / "setup.cfg").read_text(), flags=re.MULTILINE)
    assert match
    assert metadata["version"] == match[1]
    data_format = metadata["network_data_format"]
    assert next(iter(data_format["inputs"])) == "image"
    assert next(iter(data_format["outputs"])) == "pred"
    assert "*" not in json.dumps(data_format)
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    assert data_format["inputs"]["image"]["num_channels"] == parser.get_parsed_content("network_def#in_channels")


@each_bundle
def test_metadata_fits_the_schema(bundle: Path, shared_data: Path, tmp_path: Path) -> None:
    metadata = bundle / "configs" / "metadata.json"
    schema = shared_data / "schema" / Path(read(metadata)["schema"]).name
    jsonschema.validate(read(metadata), read(schema))
    # A schema that is there already is not downloaded.
    local = tmp_path / schema.name
    local.write_bytes(schema.read_bytes())
    verify_metadata(meta_file=str(metadata), filepath=str(local))


@each_bundle
def test_shipped_weights_are_plain_and_small(bundle: Path) -> None:
    path = bundle / "models" / "model.pt"
    assert path.stat().st_size <= 24e6  # what the model zoo keeps in its repository ends at 25 MB
    weights = torch.load(path, weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    assert {value.dtype for value in weights.values()} <= {torch.bfloat16, torch.float16, torch.int64}
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    # Classifiers' do not name their intensities.
    intensities = parser.get_parsed_content("normalize").settings if "normalize" in parser else None
    assert weights._metadata[""].get("normalization") == intensities


@pytest.mark.parametrize("name", ["seq2seq_brats", "seq2seq_breast"])
def test_the_foreground_is_the_headline(repository: Path, name: str) -> None:
    """It ranks and chooses weights; the released code's protocol has its own convention, the whole volume."""
    parser = ConfigParser()
    configs = repository / "bundles" / name / "configs"
    parser.read_config([str(configs / "train.json"), str(configs / "evaluate.json")])
    assert parser["report"]["region"] == "@region"
    assert parser.get_parsed_content("region") == "foreground"
    assert parser["validate"]["evaluator"]["regions"] == ["foreground"]
    metrics = parser["validate"]["key_metric"] | parser["validate"]["additional_metrics"]
    assert {key: metric["name"] for key, metric in metrics.items()} == {
        "val_psnr": "psnr_foreground",
        "val_ssim": "ssim_foreground",
    }
    parser["protocol"] = "released_code"
    parser.parse()
    assert parser.get_parsed_content("region") == "whole"


@pytest.mark.parametrize("config", ["train", "inference"])
def test_classifiers_take_maps_without_the_self_reconstruction(repository: Path, config: str) -> None:
    path = repository / "bundles" / "differentiation_classifier" / "configs" / f"{config}.json"
    parser = ConfigParser(json.loads(path.read_text()))
    assert parser["include_self"] is False
    steps = [step for step in json.dumps(parser.config).split("}") if "AddDifferentiationMapsd" in step]
    assert steps
    assert all('"include_self": "@include_self"' in step for step in steps)
