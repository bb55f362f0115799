# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What every network must do. A test file subclasses :class:`NetworkContract` once per network."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

EVEN, ODD = (12, 16, 8), (13, 9, 10)


def spatial(size: tuple[int, ...], spatial_dims: int) -> tuple[int, ...]:
    return size[:spatial_dims]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("spatial_dims", [2, 3])
class NetworkContract:
    """Subclasses say how to build the network, what goes in and what shape comes out."""

    sizes: tuple[tuple[int, ...], ...] = (EVEN, ODD)

    def network(self, spatial_dims: int, timepoints: int) -> nn.Module:
        raise NotImplementedError

    def inputs(self, spatial_dims: int, timepoints: int, size: tuple[int, ...]) -> tuple[Any, ...]:
        """The arguments for a batch of two; every tensor's first dimension is the batch."""
        raise NotImplementedError

    def output_shape(self, spatial_dims: int, timepoints: int, size: tuple[int, ...]) -> tuple[int, ...]:
        raise NotImplementedError

    def built(self, spatial_dims: int, timepoints: int) -> nn.Module:
        torch.manual_seed(1)
        return self.network(spatial_dims, timepoints)

    def given(self, spatial_dims: int, timepoints: int, size: tuple[int, ...] | None = None) -> tuple[Any, ...]:
        torch.manual_seed(2)
        return self.inputs(spatial_dims, timepoints, spatial(size or self.sizes[-1], spatial_dims))

    @staticmethod
    def first(output: Any) -> torch.Tensor:
        return output[0] if isinstance(output, tuple) else output

    @pytest.mark.parametrize("timepoints", [1, 3])
    def test_forward(self, spatial_dims: int, timepoints: int) -> None:
        network = self.built(spatial_dims, timepoints)
        for size in self.sizes:
            output = self.first(network(*self.given(spatial_dims, timepoints, size)))
            assert output.shape == self.output_shape(spatial_dims, timepoints, spatial(size, spatial_dims))
            assert output.isfinite().all()

    @pytest.mark.parametrize("timepoints", [1, 3])
    def test_backward_reaches_every_parameter(self, spatial_dims: int, timepoints: int) -> None:
        network = self.built(spatial_dims, timepoints)
        output = self.first(network(*self.given(spatial_dims, timepoints, self.sizes[0])))
        (output * torch.randn_like(output)).sum().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            # A bias before a normalisation has no effect, but every kernel has.
            assert parameter.dim() < 3 or parameter.grad.abs().sum() > 0, name

    @pytest.mark.parametrize("timepoints", [1, 3])
    def test_script(self, spatial_dims: int, timepoints: int) -> None:
        network = self.built(spatial_dims, timepoints)
        given = self.given(spatial_dims, timepoints)
        scripted = torch.jit.script(network)
        torch.testing.assert_close(self.first(scripted(*given)), self.first(network(*given)))

    @pytest.mark.parametrize("timepoints", [1, 3])
    def test_export(self, spatial_dims: int, timepoints: int) -> None:
        network = self.built(spatial_dims, timepoints).eval()
        given = self.given(spatial_dims, timepoints)
        exported = torch.export.export(network, given).module()
        torch.testing.assert_close(self.first(exported(*given)), self.first(network(*given)))

    @pytest.mark.parametrize("timepoints", [1, 3])
    def test_batch_equals_one_by_one(self, spatial_dims: int, timepoints: int) -> None:
        network = self.built(spatial_dims, timepoints).double()
        given = [x.double() if isinstance(x, torch.Tensor) else x for x in self.given(spatial_dims, timepoints)]
        batch = self.first(network(*given))
        single = [
            self.first(network(*(x[index : index + 1] if isinstance(x, torch.Tensor) else x for x in given)))
            for index in range(2)
        ]
        torch.testing.assert_close(batch, torch.cat(single))

    def test_state_dict_round_trip(self, spatial_dims: int) -> None:
        network = self.built(spatial_dims, 1)
        given = self.given(spatial_dims, 1)
        state = copy.deepcopy(network.state_dict())
        torch.manual_seed(3)
        other = self.network(spatial_dims, 1)
        other.load_state_dict(state)
        assert torch.equal(self.first(other(*given)), self.first(network(*given)))
