# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Every source into every target, each part of the generator run as few times as possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from seq2seq_mri.networks.translator import SequenceTranslator
from seq2seq_mri.sequences import sequence_codes

__all__ = ["translate"]


def translate(
    generator: SequenceTranslator,
    images: Mapping[str, torch.Tensor],
    targets: Sequence[str],
    include_self: bool = True,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Translate images of one or more source sequences into every target, one target after the other.

    Each source is encoded once, its encoding unrolled once for each number of timepoints that targets have, and all
    sources are decoded in one batch per target, so that the target's kernels are computed once. No gradients.

    Args:
        generator: the network, on the device of the images; it computes in the precision of its parameters.
        images: source name → ``(N, T_source, C, *spatial)``; N, C and spatial agree.
        targets: names of the sequences to make.
        include_self: whether a target that is among several sources is reconstructed from itself too; otherwise its
            place holds zeros.

    Yields:
        the target's name and its images ``(len(images), N, T_target, C, *spatial)``, float32, in the range of the
        generator's output activation. The first axis has the order of ``images``.

    Raises:
        ValueError: when there is no source, or a target is not in the generator's sequence table.

    Example:
        >>> generator = Seq2SeqGenerator(2, {"t1": 1, "t2": 1}, channels=(4, 8, 8), num_res_blocks=1)
        >>> images = {"t1": torch.rand(5, 1, 3, 16, 16)}
        >>> {name: tuple(image.shape) for name, image in translate(generator, images, ["t1", "t2"])}
        {'t1': (1, 5, 1, 3, 16, 16), 't2': (1, 5, 1, 3, 16, 16)}
    """
    if not images:
        raise ValueError("There is no source image to translate.")
    first = next(iter(images.values()))
    count, spatial_size = len(first), list(first.shape[3:])
    dtype = next(generator.parameters()).dtype
    codes = sequence_codes(generator.sequences, targets).to(first.device, dtype)
    unrolled: dict[int, torch.Tensor] = {}
    features: torch.Tensor | None = None
    for name, code in zip(targets, codes, strict=True):
        timepoints = generator.sequences[name]
        # The context is left before each yield: the consumer's own computations are not in it.
        with torch.no_grad():
            if features is None:
                features = torch.cat([generator.encode(image.to(dtype)) for image in images.values()])
            if timepoints not in unrolled:
                unrolled[timepoints] = generator.recur(features, timepoints)
            used = [k for k, source in enumerate(images) if include_self or source != name or len(images) == 1]
            recurred = unrolled[timepoints].unflatten(0, (len(images), count))
            recurred = recurred if len(used) == len(images) else recurred[used]
            rendered = generator.render(recurred.flatten(0, 1), code[None], spatial_size).unflatten(0, (-1, count))
            result = rendered.new_zeros(len(images), *rendered.shape[1:], dtype=torch.float32)
            result[used] = rendered.float()
        yield name, result
