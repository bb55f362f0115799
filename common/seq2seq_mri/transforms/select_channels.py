# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The channels of a classifier's input, chosen by name from a subject's images and imaging-differentiation maps."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import torch
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_tensor

from seq2seq_mri.sequences import channel_slices, check_sequences, sequence_index

__all__ = ["MAP_SUFFIX", "SelectChannelsd", "count_channels", "input_sequences", "map_sequences"]

#: What is appended to a sequence's name for its imaging-differentiation map M_d.
MAP_SUFFIX = "_md"


def count_channels(names: Sequence[str], sequences: Mapping[str, int]) -> int:
    """Return how many channels ``names`` are, all timepoints of a sequence counted: a classifier's ``in_channels``.

    Raises:
        ValueError: as :class:`SelectChannelsd`.
    """
    table = check_sequences(sequences)
    return sum(table[sequence] for sequence, _ in _parse(names, table))


def input_sequences(names: Sequence[str], sequences: Mapping[str, int]) -> list[str]:
    """Return the sequences of which ``names`` are images or maps, in the table's order: a subject must have them.

    Raises:
        ValueError: as :class:`SelectChannelsd`.
    """
    table = check_sequences(sequences)
    chosen = {sequence for sequence, _ in _parse(names, table)}
    return [sequence for sequence in table if sequence in chosen]


def map_sequences(names: Sequence[str], sequences: Mapping[str, int]) -> list[str]:
    """Return the sequences whose imaging-differentiation map is among ``names``, in the table's order.

    Raises:
        ValueError: as :class:`SelectChannelsd`.
    """
    table = check_sequences(sequences)
    chosen = {sequence for sequence, is_map in _parse(names, table) if is_map}
    return [sequence for sequence in table if sequence in chosen]


class SelectChannelsd(MapTransform):
    """Make a classifier's input from chosen sequences and imaging-differentiation maps (M_d, Eq. 5 of the paper).

    ``"t1gd"`` is the image of the sequence t1gd, ``"t1gd_md"`` its M_d; of a sequence with several timepoints, such as
    ``"dce"`` or ``"dce_md"``, all are taken.

    Args:
        names: what to take, in the order of the channels.
        sequences: the sequence table.
        image_key: key of the image ``[ΣT, *spatial]``, the sequences in the table's order.
        differentiation_key: key of M_d, of the image's shape; only needed when a map is chosen.
        output_key: key of the result; by default the image is replaced.
        missing: what to do when a subject does not have a sequence: ``"error"``, or ``"zeros"`` to set its channels to
            zero, image and map alike.

    Raises:
        ValueError: when there is no name, one is given twice or is unknown, or ``missing`` is neither of the two.
    """

    def __init__(
        self,
        names: Sequence[str],
        sequences: Mapping[str, int],
        image_key: str = "image",
        differentiation_key: str = "differentiation",
        output_key: str = "image",
        missing: Literal["error", "zeros"] = "error",
    ) -> None:
        if missing not in ("error", "zeros"):
            raise ValueError(f"missing is {missing!r}; choose 'error' or 'zeros'.")
        super().__init__(keys=image_key)
        self.sequences = check_sequences(sequences)
        self.chosen = _parse(names, self.sequences)
        self.image_key = image_key
        self.differentiation_key = differentiation_key
        self.output_key = output_key
        self.missing = missing

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Select the channels of one subject.

        Returns:
            ``data`` with ``output_key``: float32 ``[channels, *spatial]``, of the image's type and with its metadata;
            values as they were. A sequence counts as missing when ``"available"`` (bool ``[S]``) says so; a subject
            without that key has all.

        Raises:
            ValueError: when a chosen sequence is missing, the subject has no M_d and one is chosen, or a shape is not
                that of the sequence table.
        """
        subject = data.get("subject", "unnamed")
        image = convert_to_tensor(data[self.image_key], dtype=torch.float32, track_meta=False)
        total = sum(self.sequences.values())
        if len(image) != total:
            raise ValueError(
                f"Subject '{subject}': '{self.image_key}' has {len(image)} channels, the sequence table "
                f"({', '.join(self.sequences)}) {total}."
            )
        available = data.get("available", [True] * len(self.sequences))
        channels = channel_slices(self.sequences)
        maps = self._maps(data, subject, image)
        parts = []
        for sequence, is_map in self.chosen:
            part = (maps if is_map else image)[channels[sequence]]
            if not bool(available[sequence_index(self.sequences, sequence)]):
                if self.missing == "error":
                    raise ValueError(
                        f"Subject '{subject}' does not have the sequence '{sequence}', which the classifier takes; "
                        "leave the subject out, choose other channels, or set missing to 'zeros'."
                    )
                part = torch.zeros_like(part)
            parts.append(part)
        return {**data, self.output_key: convert_to_dst_type(torch.cat(parts), data[self.image_key])[0]}

    def _maps(self, data: Mapping[Hashable, Any], subject: Any, image: torch.Tensor) -> torch.Tensor:
        if not any(is_map for _, is_map in self.chosen):
            return image
        if self.differentiation_key not in data:
            raise ValueError(
                f"Subject '{subject}' has no '{self.differentiation_key}', but the classifier takes M_d; compute the "
                "maps with the trained generator first, or choose channels without "
                f"'{MAP_SUFFIX}'."
            )
        maps = convert_to_tensor(data[self.differentiation_key], dtype=torch.float32, track_meta=False)
        if maps.shape != image.shape:
            raise ValueError(
                f"Subject '{subject}': '{self.differentiation_key}' has shape {tuple(maps.shape)}, the image "
                f"{tuple(image.shape)}; both must be the same [sum of timepoints, *spatial]."
            )
        return maps.to(image.device)


def _parse(names: Sequence[str], sequences: Mapping[str, int]) -> list[tuple[str, bool]]:
    """Return for each name its sequence, and whether it is the map that is meant."""
    if isinstance(names, str):
        names = [names]
    if not names:
        raise ValueError("The classifier has no input; choose at least one channel, for example 't1gd'.")
    chosen = []
    for name in names:
        # A table may have a sequence with the suffix in its own name.
        is_map = name not in sequences and name.endswith(MAP_SUFFIX)
        sequence = name.removesuffix(MAP_SUFFIX) if is_map else name
        if sequence not in sequences:
            raise ValueError(
                f"Unknown channel '{name}'; choose from {', '.join(sequences)}, with '{MAP_SUFFIX}' appended for the "
                "imaging-differentiation map."
            )
        if (sequence, is_map) in chosen:
            raise ValueError(f"Channel '{name}' is given twice.")
        chosen.append((sequence, is_map))
    return chosen
