# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The channels of a classifier's input, chosen by name from a subject's images and imaging-differentiation maps."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import torch
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_tensor

from seq2seq_mri.sequences import channel_slices, check_sequences

__all__ = ["MAP_SUFFIX", "SelectChannelsd", "count_channels", "input_sequences", "map_sequences"]

#: What is appended to a sequence's name for its imaging-differentiation map M_d.
MAP_SUFFIX = "_md"


def count_channels(names: Sequence[str], sequences: Mapping[str, int]) -> int:
    """Return how many channels ``names`` are, all timepoints of a sequence counted: a classifier's ``in_channels``.

    Raises:
        ValueError: as :class:`SelectChannelsd` for its names.
    """
    return sum(sequences[sequence] for sequence, _ in _parse(names, sequences))


def input_sequences(names: Sequence[str], sequences: Mapping[str, int]) -> list[str]:
    """Return the sequences of which ``names`` are images or maps, in the table's order: a subject must have them.

    Raises:
        ValueError: as :class:`SelectChannelsd`.
    """
    chosen = {sequence for sequence, _ in _parse(names, sequences)}
    return [sequence for sequence in sequences if sequence in chosen]


def map_sequences(names: Sequence[str], sequences: Mapping[str, int]) -> list[str]:
    """Return the sequences whose imaging-differentiation map is among ``names``, in the table's order.

    Raises:
        ValueError: as :class:`SelectChannelsd`.
    """
    chosen = _parse(names, sequences)
    return [sequence for sequence in sequences if (sequence, True) in chosen]


class SelectChannelsd(MapTransform):
    """Make a classifier's ``"image"`` from chosen sequences and imaging-differentiation maps (M_d, Eq. 5 of the paper).

    ``"t1gd"`` is the image of the sequence t1gd, ``"t1gd_md"`` its M_d; of a sequence with several timepoints, such as
    ``"dce"`` or ``"dce_md"``, all are taken.

    Args:
        names: what to take, in the order of the channels.
        sequences: the sequence table.
        missing: what to do when a subject does not have a sequence: ``"error"``, or ``"zeros"`` to set its channels to
            zero, image and map alike.

    Raises:
        ValueError: when there is no name, one is given twice or is unknown, or ``missing`` is neither of the two.
    """

    def __init__(
        self, names: Sequence[str], sequences: Mapping[str, int], missing: Literal["error", "zeros"] = "error"
    ) -> None:
        if missing not in ("error", "zeros"):
            raise ValueError(f"missing is {missing!r}; choose 'error' or 'zeros'.")
        super().__init__(keys="image")
        self.sequences = check_sequences(sequences)
        self.chosen = _parse(names, self.sequences)
        self.missing = missing

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Select the channels of one subject.

        Args:
            data: with ``"image"`` ``[ΣT, *spatial]``, the sequences in the table's order; ``"differentiation"``, of the
                same shape, if a map is chosen; and ``"available"``, bool ``[S]``, without which it has all sequences.

        Returns:
            ``data`` with ``"image"``: float32 ``[channels, *spatial]``, of the given type and with its metadata;
            values as they were.
        """
        subject = data.get("subject", "unnamed")
        arrays = [convert_to_tensor(data["image"], dtype=torch.float32, track_meta=False)]
        if any(is_map for _, is_map in self.chosen):
            if "differentiation" not in data:
                raise ValueError(
                    f"Subject '{subject}' has no 'differentiation', but the classifier takes M_d; compute the maps "
                    f"with the trained generator first, or choose channels without '{MAP_SUFFIX}'."
                )
            maps = convert_to_tensor(data["differentiation"], dtype=torch.float32, track_meta=False)
            arrays.append(maps.to(arrays[0].device))
        available = dict(zip(self.sequences, data.get("available", [True] * len(self.sequences)), strict=True))
        channels = channel_slices(self.sequences)
        parts = []
        for sequence, is_map in self.chosen:
            part = arrays[is_map][channels[sequence]]
            if not bool(available[sequence]):
                if self.missing == "error":
                    raise ValueError(
                        f"Subject '{subject}' does not have the sequence '{sequence}', which the classifier takes; "
                        "leave the subject out, choose other channels, or set missing to 'zeros'."
                    )
                part = torch.zeros_like(part)
            parts.append(part)
        return {**data, "image": convert_to_dst_type(torch.cat(parts), data["image"])[0]}


def _parse(names: str | Sequence[str], sequences: Mapping[str, int]) -> list[tuple[str, bool]]:
    """Return for each name its sequence, and whether it is the map that is meant."""
    names = [names] if isinstance(names, str) else names
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
