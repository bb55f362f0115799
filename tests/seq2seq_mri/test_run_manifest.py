# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Descriptions of transforms, and manifests by which results of two runs never stand in one folder.

States of files are tested with the subjects that are prepared of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, CropForegroundd, Orientationd

from seq2seq_mri.run_manifest import claim_directory, describe
from seq2seq_mri.transforms.intensity import NormalizeSequencesd


def test_the_same_run_goes_on_and_another_is_refused(tmp_path) -> None:
    path = tmp_path / "protocol.json"
    claim_directory(path, {"steps": 3, "sizes": (1, 2)}, resume=False)
    claim_directory(path, {"steps": 3, "sizes": [1, 2]}, resume=True)
    with pytest.raises(ValueError, match=r"steps was 3 and is 4"):
        claim_directory(path, {"steps": 4, "sizes": [1, 2]}, resume=True)
    with pytest.raises(FileExistsError, match="holds results already"):
        claim_directory(path, {"steps": 3, "sizes": [1, 2]}, resume=False)
    with pytest.raises(ValueError, match="numbers, texts, lists or mappings"):
        claim_directory(path, {"network": object()}, resume=False)
    assert json.loads(path.read_text()) == {"protocol": {"steps": 3, "sizes": [1, 2]}}
    path.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        claim_directory(path, {"steps": 1}, resume=True)


def test_parts_are_claimed_one_by_one_and_growing_entries_are_kept(tmp_path) -> None:
    path = tmp_path / "protocol.json"
    claim_directory(path, {"inputs": {"a": 1}}, resume=False, growing=("inputs",))
    claim_directory(path, {"inputs": {"b": 2}}, resume=True, growing=("inputs",))
    claim_directory(path, {"epochs": 5}, resume=False, part="training")
    assert json.loads(path.read_text()) == {"protocol": {"inputs": {"a": 1, "b": 2}}, "training": {"epochs": 5}}
    with pytest.raises(ValueError, match="inputs was"):
        claim_directory(path, {"inputs": {"a": 7}}, resume=True, growing=("inputs",))


def test_plain_values() -> None:
    assert describe({"a": (1, 2.5, None), 3: [True, "text"]}) == {"a": [1, 2.5, None], "3": [True, "text"]}
    assert describe([np.float32(0.5), np.eye(2), torch.tensor([1, 2])]) == [0.5, [[1, 0], [0, 1]], [1, 2]]
    assert describe([torch.float16, Path("a/b"), torch.device("cpu")]) == ["torch.float16", "a/b", "cpu"]
    assert describe(describe) == "seq2seq_mri.run_manifest.describe"
    # A fingerprint stands for what has one.
    assert describe({"generator": SimpleNamespace(fingerprint="abc", network=object())}) == {"generator": "abc"}


def turned(axes: str = "RAS") -> Orientationd:
    return Orientationd(keys="image", axcodes=axes, labels=None)


@pytest.mark.parametrize(
    "changed",
    [
        [turned("LPS"), NormalizeSequencesd({"t1": 1})],
        [turned(), NormalizeSequencesd({"t1": 1}, percentile=98)],
        [turned(), NormalizeSequencesd({"t2": 1})],
        [turned()],
        [NormalizeSequencesd({"t1": 1}), turned()],
        [CropForegroundd(keys="image", source_key="image"), NormalizeSequencesd({"t1": 1})],
    ],
)
def test_a_changed_setting_changes_the_description(changed) -> None:
    original, same = (Compose([turned(), NormalizeSequencesd({"t1": 1})]) for _ in range(2))
    assert describe(original) == describe(same) != describe(Compose(changed))


def test_the_transforms_of_a_bundle(repository) -> None:
    """Nothing in their description is an address, which another process would not give again."""
    parser = ConfigParser()
    parser.read_config(str(repository / "bundles" / "seq2seq_breast" / "configs" / "train.json"))
    text = json.dumps(describe(parser.get_parsed_content("prepare")))
    assert " at 0x" not in text
    for setting in ("percentile", "pixdim", "axcodes", "resample_time", "roi_size"):
        assert f'"{setting}"' in text
