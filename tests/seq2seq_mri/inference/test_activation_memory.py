# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import gc

import torch

from seq2seq_mri.inference.activation_memory import activation_memory

KILOBYTE = 256  # float32 values


def test_tensors_that_are_kept_add_up_and_views_and_temporaries_do_not():
    def run():
        kept = []
        for _ in range(10):
            torch.zeros(KILOBYTE)
            kept.append(torch.zeros(KILOBYTE))
            kept.append(kept[-1].view(2, -1)[1:])
        gc.collect()
        torch.zeros(KILOBYTE)

    assert activation_memory(run) == 11 * 1024


def test_what_was_there_before_does_not_count():
    weight = torch.zeros(KILOBYTE)
    assert activation_memory(lambda: weight.view(-1, 1).mul_(2)) == 0
    assert activation_memory(lambda: (weight + 1).sum()) == 1024 + 4


def test_under_autocast():
    """In bfloat16 the two inputs, cast, and the result take half as much as in float32."""
    left, right = torch.zeros(16, 16), torch.zeros(16, 16)

    def run():
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            left @ right

    assert activation_memory(run) == 3 * 512
