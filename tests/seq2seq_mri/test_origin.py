# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Descriptions of transforms; files are tested with the subjects that are prepared of them."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, CropForegroundd, Orientationd, Spacingd

from seq2seq_mri.origin import as_json, describe
from seq2seq_mri.transforms.intensity import NormalizeSequencesd

TRAIN = Path(__file__).resolve().parents[2] / "bundles" / "seq2seq_breast" / "configs" / "train.json"


def test_plain_values() -> None:
    assert describe({"a": (1, 2.5, None), 3: [True, "text"]}) == {"a": [1, 2.5, None], "3": [True, "text"]}
    assert describe([np.float32(0.5), np.eye(2), torch.tensor([1, 2])]) == [0.5, [[1, 0], [0, 1]], [1, 2]]
    assert describe([torch.float16, Path("a/b"), torch.device("cpu")]) == ["torch.float16", "a/b", "cpu"]
    assert describe(describe) == "seq2seq_mri.origin.describe"


def test_a_fingerprint_stands_for_what_has_one() -> None:
    assert describe({"generator": SimpleNamespace(fingerprint="abc", network=object())}) == {"generator": "abc"}


@pytest.mark.parametrize(
    "changed",
    [
        Compose([Orientationd(keys="image", axcodes="LPS"), NormalizeSequencesd({"t1": 1})]),
        Compose([Orientationd(keys="image", axcodes="RAS"), NormalizeSequencesd({"t1": 1}, percentile=98)]),
        Compose([Orientationd(keys="image", axcodes="RAS"), NormalizeSequencesd({"t2": 1})]),
        Compose([Orientationd(keys="image", axcodes="RAS")]),
        Compose([NormalizeSequencesd({"t1": 1}), Orientationd(keys="image", axcodes="RAS")]),
        Compose([CropForegroundd(keys="image", source_key="image"), NormalizeSequencesd({"t1": 1})]),
    ],
)
def test_a_changed_setting_changes_the_description(changed) -> None:
    def original() -> Compose:
        return Compose([Orientationd(keys="image", axcodes="RAS"), NormalizeSequencesd({"t1": 1})])

    assert describe(original()) == describe(original())
    assert describe(original()) != describe(changed)


def test_spacing() -> None:
    one, other = (describe(Spacingd(keys="image", pixdim=(1.0, 1.0, size))) for size in (1.0, 2.0))
    assert one != other


DESCRIBE = """
import json
from monai.bundle import ConfigParser
from seq2seq_mri.origin import describe
parser = ConfigParser()
parser.read_config({path!r})
print(json.dumps(describe(parser.get_parsed_content("prepare")), sort_keys=True))
"""


def test_another_process_gives_the_same(tmp_path) -> None:
    """Of the bundle's own transforms; nothing in it is an address or an order of a set."""
    parser = ConfigParser()
    parser.read_config(TRAIN)
    here = as_json(describe(parser.get_parsed_content("prepare")))
    run = partial(subprocess.run, capture_output=True, text=True, check=True)
    there = run([sys.executable, "-c", DESCRIBE.format(path=str(TRAIN))]).stdout.splitlines()[-1]
    assert json.loads(there) == here
    assert " at 0x" not in there
    for setting in ("percentile", "pixdim", "axcodes", "resample_time", "roi_size"):
        assert f'"{setting}"' in there
