# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What must hold for a bundle's files."""

from __future__ import annotations

import json

import pytest
import torch

from tools.checks import check_documentation, check_metadata, check_schema, check_weights


def change(bundle, **values) -> None:
    path = bundle / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "other"}, r"metadata\.json names the bundle 'other', but its folder is seq2seq_brats"),
        ({"version": "0.2.0"}, r"version 0\.2\.0, of which its changelog says nothing"),
        ({"version": "0.2"}, r"version '0\.2'; give three numbers"),
        ({"network_data_format": {"inputs": {"t1": {}}}}, "the first of the inputs .* must be 'image'"),
    ],
)
def test_metadata(bundle, values, message) -> None:
    check_metadata(bundle)
    change(bundle, **values)
    with pytest.raises(ValueError, match=message):
        check_metadata(bundle)


def test_names_and_configurations(bundle) -> None:
    (bundle / "configs" / "demo.json").write_text("{")
    with pytest.raises(ValueError, match=r"demo\.json is not JSON"):
        check_metadata(bundle)
    (bundle / "configs" / "demo.json").unlink()
    renamed = bundle.rename(bundle.with_name("brain_v2"))  # which MONAI would cut
    change(renamed, name="brain_v2")
    with pytest.raises(ValueError, match="no '_v'"):
        check_metadata(renamed)


def test_documentation_is_finished(bundle) -> None:
    path = bundle / "docs" / "README.md"
    path.write_text("# A bundle\n\nSet OUTPUT_DIR, or `OUTPUT_DIR`.\nSSIM\n")
    check_documentation(bundle)
    path.write_text("# A bundle\n\nRESULTS_TABLE\n\nText.\n")
    with pytest.raises(ValueError, match=r"README\.md has the line RESULTS_TABLE"):
        check_documentation(bundle)


def test_schema(bundle, changed_repository) -> None:
    schema = changed_repository / "schema.json"
    check_schema([bundle, bundle], schema)
    schema.write_text(json.dumps({"type": "object", "required": ["something"]}))
    with pytest.raises(ValueError, match=r"metadata\.json does not fit the schema: .*something"):
        check_schema([bundle], schema)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json does not exist"):
        check_schema([bundle], schema.with_name("nowhere.json"))
    change(bundle, schema="http://127.0.0.1:9/schema.json")
    with pytest.raises(ValueError, match=r"could not be downloaded .* give a copy by --schema"):
        check_schema([bundle], None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.tensor([1.0, float("nan")])}, "values in 'a' that are not finite"),
        ({"a": torch.tensor([float("inf")], dtype=torch.bfloat16)}, "not finite"),
        ({"a": torch.ones(2), "epoch": 3}, "'epoch', which is no tensor"),
    ],
)
def test_weights(tmp_path, content, message) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "model.pt")
    check_weights(tmp_path / "model.pt")
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=message):
        check_weights(tmp_path / "model.pt")
