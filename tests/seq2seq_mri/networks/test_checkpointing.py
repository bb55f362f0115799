# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import copy

import pytest
import torch
from small_generator import small

from seq2seq_mri.networks.checkpointing import checkpoint_activations
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.networks.winograd import use_winograd


def kept_bytes(generator: Seq2SeqGenerator, image: torch.Tensor, target: torch.Tensor) -> int:
    """Bytes that the graph of a forward pass keeps, without the parameters."""
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = generator(image, target)
    parameters = {parameter.untyped_storage().data_ptr() for parameter in generator.parameters()}
    del output
    return sum(size for place, size in kept.items() if place not in parameters)


@pytest.mark.parametrize(("spatial_dims", "timepoints"), [(2, 1), (3, 3)])
def test_same_result_with_less_memory(spatial_dims: int, timepoints: int) -> None:
    plain = small(spatial_dims, {"a": timepoints, "b": timepoints}, num_res_blocks=3)
    checkpointed = checkpoint_activations(copy.deepcopy(plain))
    assert list(checkpointed.state_dict()) == list(plain.state_dict())
    image, target = torch.randn(2, timepoints, 2, *(17, 14, 9)[:spatial_dims]), torch.eye(2)
    weights = torch.randn_like(image)
    gradients = [
        torch.autograd.grad((generator(image, target) * weights).sum(), list(generator.parameters()))
        for generator in (plain, checkpointed)
    ]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert kept_bytes(checkpointed, image, target) < 0.5 * kept_bytes(plain, image, target)


def test_copies_and_specialises() -> None:
    plain = small(sequences={"a": 1, "b": 2})
    expected = plain.specialise(["b"])
    image = torch.randn(1, 2, 2, 9, 8)
    specialised = copy.deepcopy(checkpoint_activations(plain)).specialise(["b"])
    assert torch.equal(specialised(image), expected(image))
    assert torch.equal(use_winograd(specialised)(image), expected(image))
    assert list(specialised.state_dict()) == list(expected.state_dict())
