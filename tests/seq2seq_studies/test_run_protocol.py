# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Results of two protocols never stand in one folder."""

from __future__ import annotations

import json

import pytest

from seq2seq_studies.run_protocol import claim_directory


def test_the_same_protocol_goes_on_and_another_is_refused(tmp_path) -> None:
    path = tmp_path / "protocol.json"
    claim_directory(path, {"steps": 3, "sizes": (1, 2)}, resume=False)
    claim_directory(path, {"steps": 3, "sizes": [1, 2]}, resume=True)
    with pytest.raises(ValueError, match=r"steps was 3 and is 4"):
        claim_directory(path, {"steps": 4, "sizes": [1, 2]}, resume=True)
    with pytest.raises(FileExistsError, match="holds results already"):
        claim_directory(path, {"steps": 3, "sizes": [1, 2]}, resume=False)
    assert json.loads(path.read_text()) == {"protocol": {"steps": 3, "sizes": [1, 2]}}


def test_parts_are_claimed_one_by_one_and_growing_entries_are_kept(tmp_path) -> None:
    path = tmp_path / "protocol.json"
    claim_directory(path, {"inputs": {"a": 1}}, resume=False, growing=("inputs",))
    claim_directory(path, {"inputs": {"b": 2}}, resume=True, growing=("inputs",))
    claim_directory(path, {"epochs": 5}, resume=False, part="training")
    assert json.loads(path.read_text()) == {"protocol": {"inputs": {"a": 1, "b": 2}}, "training": {"epochs": 5}}
    with pytest.raises(ValueError, match="inputs was"):
        claim_directory(path, {"inputs": {"a": 7}}, resume=True, growing=("inputs",))


def test_what_is_not_json_is_said(tmp_path) -> None:
    path = tmp_path / "protocol.json"
    with pytest.raises(ValueError, match="numbers, texts, lists or mappings"):
        claim_directory(path, {"network": object()}, resume=False)
    path.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        claim_directory(path, {"steps": 1}, resume=True)
