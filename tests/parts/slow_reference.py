# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The generator written a second time, plainly, from the equations of the paper and the facts of the released code.

It uses nothing of the package but the names of a generator's state dict.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

State = dict[str, torch.Tensor]


def conv(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, stride: int = 1, zeros: int = 0
) -> torch.Tensor:
    function = F.conv2d if weight.dim() == 4 else F.conv3d
    return function(x, weight, bias, stride=stride, padding=zeros)


def mirror(x: torch.Tensor, width: int) -> torch.Tensor:
    for axis in range(2, x.dim()):
        before = x.narrow(axis, 1, width).flip(axis)
        after = x.narrow(axis, x.shape[axis] - 1 - width, width).flip(axis)
        x = torch.cat([before, x, after], dim=axis)
    return x


def normalise(x: torch.Tensor) -> torch.Tensor:
    axes = tuple(range(2, x.dim()))
    return (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True) + 1e-5).sqrt()


def leaky(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def double(x: torch.Tensor) -> torch.Tensor:
    """Linear interpolation at (i + 0.5) / 2 - 0.5, one axis after another."""
    for axis in range(2, x.dim()):
        size = x.shape[axis]
        position = ((torch.arange(2 * size, dtype=x.dtype) + 0.5) / 2 - 0.5).clamp(0, size - 1)
        lower = position.floor().long()
        upper = (lower + 1).clamp(max=size - 1)
        share = (position - lower).reshape([-1] + [1] * (x.dim() - 1 - axis))
        x = x.index_select(axis, lower) * (1 - share) + x.index_select(axis, upper) * share
    return x


def encoder(state: State, x: torch.Tensor, levels: int, blocks: int) -> torch.Tensor:
    x = leaky(normalise(conv(mirror(x, 3), state["encoder.stem.0.weight"])))
    for level in range(levels - 1):
        x = leaky(normalise(conv(mirror(x, 1), state[f"encoder.downsampling.{level}.0.weight"], stride=2)))
    for block in range(blocks):
        first, second = (f"encoder.residual_blocks.{block}.{part}.0" for part in ("first", "second"))
        y = leaky(normalise(conv(mirror(x, 1), state[f"{first}.weight"])))
        x = x + normalise(conv(mirror(y, 1), state[f"{second}.weight"]))
    return x


def conv_lstm(
    weights: list[tuple[torch.Tensor, torch.Tensor]],
    inputs: list[torch.Tensor],
    state: list[tuple[torch.Tensor, torch.Tensor]] | None = None,
) -> tuple[list[torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]:
    """Layer by layer; gate order i, f, o, g; every convolution in full."""
    final = []
    for layer, (weight, bias) in enumerate(weights):
        channels = weight.shape[0] // 4
        zeros = inputs[0].new_zeros(inputs[0].shape[0], channels, *inputs[0].shape[2:])
        hidden, cell = (zeros, zeros) if state is None else state[layer]
        outputs = []
        for x in inputs:
            i, f, o, g = conv(torch.cat([x, hidden], 1), weight, bias, zeros=weight.shape[-1] // 2).chunk(4, dim=1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            outputs.append(hidden)
        final.append((hidden, cell))
        inputs = outputs
    return inputs, final


def hyper_conv(state: State, name: str, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """One sample: kernel, and bias where no normalisation follows, as weighted sums over the bank."""

    def produce(kind: str) -> torch.Tensor:
        mixing = state[f"{name}.{kind}_code.weight"] @ code + state[f"{name}.{kind}_code.bias"]
        return sum(w * bank for w, bank in zip(mixing, state[f"{name}.{kind}_bank"], strict=True))

    kernel = produce("kernel")
    bias = produce("bias") if f"{name}.bias_bank" in state else None
    return conv(mirror(x, kernel.shape[-1] // 2), kernel, bias)


def decoder(state: State, x: torch.Tensor, target: torch.Tensor, levels: int, blocks: int, first: bool) -> torch.Tensor:
    """One sample ``(1, F, *reduced)`` for one target ``(S,)``, before the output activation."""
    weight, bias = state["decoder.code_embedding.linear.weight"], state["decoder.code_embedding.linear.bias"]
    code = leaky(weight[:, : len(target)] @ target + bias)
    for block in range(blocks):
        name = f"decoder.residual_blocks.{block}"
        y = leaky(normalise(hyper_conv(state, f"{name}.first.conv", x, code)))
        x = x + normalise(hyper_conv(state, f"{name}.second.conv", y, code))
    for level in range(levels - 1):
        if first or level > 0:
            x = double(x)
        x = leaky(normalise(hyper_conv(state, f"decoder.blocks.{level}.conv", x, code)))
    return hyper_conv(state, "decoder.output", x if first else double(x), code)


def generator(
    state: State,
    image: torch.Tensor,
    target: torch.Tensor,
    timepoints: int,
    *,
    levels: int,
    blocks: int,
    lstm_layers: int,
    first: bool,
) -> torch.Tensor:
    """``(B, T, C, *spatial)``, sizes divisible, to ``(B, timepoints, C, *spatial)`` before the output activation."""

    def weights(side: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
        names = [f"{side}_lstm.layers.{layer}.conv" for layer in range(lstm_layers)]
        return [(state[f"{name}.weight"], state[f"{name}.bias"]) for name in names]

    samples = []
    for sample, one_hot in zip(image, target, strict=True):
        encoded = [encoder(state, frame[None], levels, blocks) for frame in sample]
        outputs, _ = conv_lstm(weights("encoder"), encoded)
        mean = sum(outputs) / len(outputs)
        unrolled, _ = conv_lstm(weights("decoder"), [mean] * timepoints)
        samples.append(torch.cat([decoder(state, x, one_hot, levels, blocks, first) for x in unrolled]))
    return torch.stack(samples)
