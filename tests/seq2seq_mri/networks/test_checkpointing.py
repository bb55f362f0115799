# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import copy

import pytest
import torch

from seq2seq_mri.networks.checkpointing import checkpoint_activations
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.networks.winograd import use_winograd


def kept_bytes(generator: Seq2SeqGenerator, image: torch.Tensor, target: torch.Tensor) -> int:
    """Bytes that the graph of a forward pass keeps, without the parameters."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in generator.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = generator(image, target)
    del output
    return sum(kept.values())


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("timepoints", [1, 3])
def test_same_result_with_less_memory(spatial_dims: int, timepoints: int) -> None:
    torch.manual_seed(0)
    table = {"a": timepoints, "b": timepoints}
    plain = Seq2SeqGenerator(spatial_dims, table, 1, (4, 6, 8), num_res_blocks=3, lstm_layers=2, code_channels=4)
    checkpointed = checkpoint_activations(copy.deepcopy(plain))
    assert list(checkpointed.state_dict()) == list(plain.state_dict())
    checkpointed.load_state_dict(plain.state_dict())

    image, target = torch.randn(2, timepoints, 1, *(17, 14, 9)[:spatial_dims]), torch.eye(2)
    weights = torch.randn(2, timepoints, 1, *(17, 14, 9)[:spatial_dims])
    gradients = []
    for generator in (plain, checkpointed):
        output = generator(image, target)
        gradients.append(torch.autograd.grad((output * weights).sum(), list(generator.parameters())))
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert kept_bytes(checkpointed, image, target) < 0.5 * kept_bytes(plain, image, target)


def test_copies_and_specialises() -> None:
    torch.manual_seed(0)
    plain = Seq2SeqGenerator(2, {"a": 1, "b": 2}, 1, (4, 6), num_res_blocks=1, lstm_layers=1, code_channels=4)
    checkpointed = checkpoint_activations(copy.deepcopy(plain))
    image = torch.randn(1, 2, 1, 9, 8)
    expected = plain.specialise(["b"])(image)
    specialised = copy.deepcopy(checkpointed).specialise(["b"])
    assert torch.equal(specialised(image), expected)
    assert torch.equal(use_winograd(specialised)(image), expected)
    assert list(checkpointed.specialise(["b"]).state_dict()) == list(plain.specialise(["b"]).state_dict())
