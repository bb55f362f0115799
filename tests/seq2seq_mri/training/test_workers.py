# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import os

import pytest

from seq2seq_mri.training.workers import default_workers


@pytest.mark.parametrize(
    ("cores", "processes", "expected"),
    [(1, None, 1), (2, None, 2), (3, "2", 1), (64, None, 4), (64, "8", 4), (16, "8", 2), (4, "8", 1)],
)
def test_cores_are_shared_by_the_processes_of_a_machine(monkeypatch, cores, processes, expected) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert default_workers() == expected
