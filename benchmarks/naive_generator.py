# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The released architecture as one would write it in plain PyTorch: what the benchmarks compare with.

Every layer is a module of ``torch.nn``, everything is batched and nothing is slower than it has to be to stay plain.
What it does not do is what this project is about: it computes all four gates from the concatenated input and state at
every step of the ConvLSTMs, zero or not; a HyperConv makes its kernel anew in each call; and each translation is one
encoding and one decoding. Its parameters have the names of those of
:class:`~seq2seq_mri.networks.generator.Seq2SeqGenerator`, so the state dict of one loads into the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from seq2seq_mri.networks.generator import Seq2SeqGenerator

__all__ = ["NaiveGenerator", "naive_copy"]

CONVOLUTIONS: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
INSTANCE_NORMS: dict[int, type[nn.Module]] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
UPSAMPLING_MODES = {2: "bilinear", 3: "trilinear"}
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "none": nn.Identity}


def conv_norm(dims: int, inputs: int, outputs: int, size: int, stride: int = 1, activation: bool = True) -> nn.Module:
    layers = [
        CONVOLUTIONS[dims](inputs, outputs, size, stride=stride, padding=size // 2, padding_mode="reflect"),
        INSTANCE_NORMS[dims](outputs),
    ]
    return nn.Sequential(*layers, nn.LeakyReLU(0.2, inplace=True)) if activation else nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.first = conv_norm(dims, channels, channels, 3)
        self.second = conv_norm(dims, channels, channels, 3, activation=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


class Encoder(nn.Module):
    def __init__(self, dims: int, in_channels: int, channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.stem = conv_norm(dims, in_channels, channels[0], 7)
        pairs = pairwise(channels)
        self.downsampling = nn.Sequential(*(conv_norm(dims, a, b, 3, stride=2) for a, b in pairs))
        self.residual_blocks = nn.Sequential(*(ResidualBlock(dims, channels[-1]) for _ in range(blocks)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.residual_blocks(self.downsampling(self.stem(x)))


class ConvLSTMCell(nn.Module):
    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.conv = CONVOLUTIONS[dims](2 * channels, 4 * channels, 3, padding=1)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        i, f, o, g = self.conv(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class ConvLSTM(nn.Module):
    def __init__(self, dims: int, channels: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvLSTMCell(dims, channels) for _ in range(num_layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, T, F, *spatial)`` to the last layer's hidden states of the same shape."""
        for layer in self.layers:
            h = torch.zeros_like(x[:, 0])
            c = torch.zeros_like(h)
            outputs = []
            for step in range(x.shape[1]):
                h, c = layer(x[:, step], h, c)
                outputs.append(h)
            x = torch.stack(outputs, dim=1)
        return x


class HyperConv(nn.Module):
    def __init__(self, dims: int, inputs: int, outputs: int, size: int, code_channels: int, bank: int) -> None:
        super().__init__()
        self.kernel_bank = nn.Parameter(torch.empty(bank, outputs, inputs, *[size] * dims))
        self.bias_bank = nn.Parameter(torch.empty(bank, outputs))
        self.kernel_code = nn.Linear(code_channels, bank)
        self.bias_code = nn.Linear(code_channels, bank)
        self.convolve = F.conv2d if dims == 2 else F.conv3d
        self.padding = [size // 2] * (2 * dims)

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """One code ``(code_channels,)`` for the whole batch, as in the released code."""
        # As products of matrices, which autocast knows; it does not know tensordot.
        kernel = (self.kernel_code(code)[None] @ self.kernel_bank.flatten(1)).view(self.kernel_bank.shape[1:])
        bias = (self.bias_code(code)[None] @ self.bias_bank)[0]
        return self.convolve(F.pad(x, self.padding, mode="reflect"), kernel, bias)


class HyperBlock(nn.Module):
    def __init__(self, dims: int, inputs: int, outputs: int, codes: tuple[int, int], activation: bool = True) -> None:
        super().__init__()
        self.conv = HyperConv(dims, inputs, outputs, 3, *codes)
        self.norm = INSTANCE_NORMS[dims](outputs)
        self.activation = nn.LeakyReLU(0.2, inplace=True) if activation else nn.Identity()

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        return self.activation(self.norm(self.conv(x, code)))


class HyperResidualBlock(nn.Module):
    def __init__(self, dims: int, channels: int, codes: tuple[int, int]) -> None:
        super().__init__()
        self.first = HyperBlock(dims, channels, channels, codes)
        self.second = HyperBlock(dims, channels, channels, codes, activation=False)

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x, code), code)


class CodeEmbedding(nn.Module):
    def __init__(self, code_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(code_channels, code_channels)

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.linear(F.pad(code, [0, self.linear.in_features - len(code)])), 0.2)


class Decoder(nn.Module):
    def __init__(
        self,
        dims: int,
        out_channels: int,
        channels: Sequence[int],
        blocks: int,
        codes: tuple[int, int],
        upsample_first: bool,
        activation: str,
    ) -> None:
        super().__init__()
        self.upsample_first = upsample_first
        self.upsample = nn.Upsample(scale_factor=2, mode=UPSAMPLING_MODES[dims], align_corners=False)
        self.code_embedding = CodeEmbedding(codes[0])
        self.residual_blocks = nn.ModuleList(HyperResidualBlock(dims, channels[0], codes) for _ in range(blocks))
        pairs = pairwise(channels)
        self.blocks = nn.ModuleList(HyperBlock(dims, a, b, codes) for a, b in pairs)
        self.output = HyperConv(dims, channels[-1], out_channels, 7, *codes)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        code = self.code_embedding(target)
        for block in self.residual_blocks:
            x = block(x, code)
        for level, block in enumerate(self.blocks):
            if self.upsample_first or level > 0:
                x = self.upsample(x)
            x = block(x, code)
        return self.activation(self.output(x if self.upsample_first else self.upsample(x), code))


class NaiveGenerator(nn.Module):
    """The published network, translation by translation.

    Args:
        spatial_dims: 2 or 3.
        sequences: the sequence table.
        in_channels, channels, num_res_blocks, lstm_layers, code_channels, weight_code_channels, upsample,
            output_activation: as of :class:`~seq2seq_mri.networks.generator.Seq2SeqGenerator`.
    """

    def __init__(
        self,
        spatial_dims: int,
        sequences: Mapping[str, int],
        in_channels: int = 3,
        channels: Sequence[int] = (64, 128, 256),
        num_res_blocks: int = 6,
        lstm_layers: int = 3,
        code_channels: int = 64,
        weight_code_channels: int = 16,
        upsample: str = "last",
        output_activation: str = "tanh",
    ) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.sequences = dict(sequences)
        self.in_channels = in_channels
        self.encoder = Encoder(spatial_dims, in_channels, channels, num_res_blocks)
        self.encoder_lstm = ConvLSTM(spatial_dims, channels[-1], lstm_layers)
        self.decoder_lstm = ConvLSTM(spatial_dims, channels[-1], lstm_layers)
        self.decoder = Decoder(
            spatial_dims,
            in_channels,
            list(channels)[::-1],
            num_res_blocks,
            (code_channels, weight_code_channels),
            upsample == "first",
            output_activation,
        )

    def forward(self, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Translate a batch into one target.

        Args:
            image: ``(B, T, in_channels, *spatial)``, spatial sizes that the downsampling divides.
            target: one-hot code ``(S,)``.

        Returns:
            ``(B, T of the target, in_channels, *spatial)``.
        """
        timepoints = list(self.sequences.values())[int(target.argmax())]
        batch_and_time = image.shape[:2]
        features = self.encoder(image.flatten(0, 1)).unflatten(0, batch_and_time)
        features = self.encoder_lstm(features).mean(dim=1)
        features = self.decoder_lstm(features.unsqueeze(1).repeat_interleave(timepoints, dim=1))
        return self.decoder(features.flatten(0, 1), target).unflatten(0, (batch_and_time[0], timepoints))


def naive_copy(generator: Seq2SeqGenerator) -> NaiveGenerator:
    """Return the plain network of the same architecture, with copies of the weights, of their type and on their device.

    Args:
        generator: with the conditioning ``"hyper"``.
    """
    state = generator.state_dict()

    def entries(of: str) -> int:
        """Return how many numbered modules a list of modules has."""
        return len({name.removeprefix(f"{of}.").split(".")[0] for name in state if name.startswith(f"{of}.")})

    stages = ["encoder.stem.0", *(f"encoder.downsampling.{k}.0" for k in range(entries("encoder.downsampling")))]
    with torch.device(next(generator.parameters()).device):
        naive = NaiveGenerator(
            generator.spatial_dims,
            generator.sequences,
            generator.in_channels,
            [len(state[f"{stage}.weight"]) for stage in stages],
            num_res_blocks=entries("encoder.residual_blocks"),
            lstm_layers=entries("encoder_lstm.layers"),
            code_channels=len(state["decoder.code_embedding.linear.bias"]),
            weight_code_channels=len(state["decoder.output.bias_bank"]),
            upsample="first" if generator.decoder.upsample_first else "last",
            output_activation=str(generator.decoder.output_activation),
        )
    naive.to(state["decoder.output.bias_bank"].dtype)
    # The biases before a normalisation, which the generator leaves out.
    biases = {name: torch.zeros_like(value) for name, value in naive.state_dict().items() if "bias" in name}
    naive.load_state_dict(biases | state)
    return naive.train(generator.training)
