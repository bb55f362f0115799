# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Wash-in and wash-out maps of dynamic contrast-enhanced (DCE) series.

Kuhl et al., "Dynamic breast MR imaging: are signal intensity time course data useful for differential diagnosis of
enhancing lesions?", Radiology 211:101-110, 1999, tell lesions apart by how fast the signal rises in the early phase,
and by whether it persists, stays or falls in the delayed phase. The two maps hold these for each voxel.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_numpy

from seq2seq_mri.sequences import channel_slices, check_sequences, sequence_index

__all__ = ["AddWashMapsd", "wash_maps"]

Array = TypeVar("Array", np.ndarray, torch.Tensor)

# A relative change is noise where the signal that divides it is no more than this part of the series' bright tissue.
_SIGNAL_FLOOR = 0.05
_SIGNAL_PERCENTILE = 99


def wash_maps(series: Array, early: int = 1, least_enhancement: float = 0.5) -> tuple[Array, Array]:
    """Return the wash-in and the wash-out map of a DCE series.

    With the signals ``S_0`` before the contrast agent, ``S_early`` in the early phase and ``S_last`` at the end,

        wash-in  = (S_early - S_0) / S_0,
        wash-out = (S_early - S_last) / S_early.

    Wash-in is the relative enhancement of the early phase (about 90 s after the first frame). Wash-out is what part of
    the early signal is lost by the end (about 450 s): positive for wash-out, around zero for a plateau, negative for
    persistent enhancement. Tissue that takes up no agent has none to lose, only noise: wash-out is zero where wash-in
    is below ``least_enhancement``. Programs that mark suspicious lesions do the same, with thresholds of 50 to 100 %
    (Williams et al., Radiology 244:94-103, 2007). Where ``S_0`` (for wash-out ``S_early``) is not above 5 % of the 99th
    percentile of the series' positive values there is no tissue to measure, and the map is zero.

    Args:
        series: ``[T, *spatial]``, ``T`` at least 3, the frames in the order of time; arbitrary but common units.
        early: the frame of the early phase, after the first and before the last.
        least_enhancement: wash-in from which on there is a wash-out.

    Returns:
        wash-in and wash-out, float32 ``[*spatial]`` each, dimensionless, not clipped; of the type and on the device of
        ``series``, and with its metadata when it is a ``MetaTensor``.
    """
    voxels = convert_to_numpy(series)
    baseline, peak, last = (np.asarray(voxels[frame], dtype=np.float32) for frame in (0, early, -1))
    positive = voxels[voxels > 0]
    floor = _SIGNAL_FLOOR * float(np.percentile(positive, _SIGNAL_PERCENTILE)) if positive.size else 0.0
    wash_in, wash_out = np.zeros_like(baseline), np.zeros_like(baseline)
    np.divide(peak - baseline, baseline, out=wash_in, where=baseline > floor)
    np.divide(peak - last, peak, out=wash_out, where=(peak > floor) & (wash_in >= least_enhancement))
    maps = [convert_to_dst_type(one, series, dtype=np.float32)[0] for one in (wash_in, wash_out)]
    return maps[0], maps[1]


class AddWashMapsd(MapTransform):
    """Compute wash-in and wash-out from a subject's DCE series where they are not given.

    It comes after ``LoadImageSequencesd`` and before the intensities are normalised, which would change the quotients;
    best before any interpolation. A map that the subject has of its own is left alone, and so is one that is withheld.
    A map that is computed from an available series is available. From a series that is withheld and loaded it is only
    measured: it can serve as the truth of an evaluation, and what is silenced does not leak into an input.

    A map without any voxel above zero (nothing enhances, or nothing is washed out) stays missing, because nothing of it
    is left in the range to which images are normalised.

    Args:
        sequences: the sequence table.
        source: the DCE sequence, or several, of which the first that the subject has is used; available ones first. An
            empty list computes nothing.
        wash_in, wash_out: the sequences that hold the maps. A table without such a sequence gets no map.
        early, least_enhancement: see :func:`wash_maps`.

    Raises:
        ValueError: when a sequence is not in the table, a source has fewer than 3 timepoints, a map more than one, or
            ``early`` is not between the first and the last timepoint.
    """

    def __init__(
        self,
        sequences: Mapping[str, int],
        source: str | Sequence[str],
        wash_in: str = "wash_in",
        wash_out: str = "wash_out",
        early: int = 1,
        least_enhancement: float = 0.5,
    ) -> None:
        super().__init__(keys="image")
        self.sequences = check_sequences(sequences)
        self.sources = [source] if isinstance(source, str) else list(source)
        self.maps = tuple(name if name in self.sequences else None for name in (wash_in, wash_out))
        self.early = early
        self.least_enhancement = least_enhancement
        for name in self.sources:
            sequence_index(self.sequences, name)
            timepoints = self.sequences[name]
            if timepoints < 3:
                raise ValueError(f"Sequence '{name}' has {timepoints} timepoints; wash maps need at least 3.")
            if not 0 < early < timepoints - 1:
                raise ValueError(
                    f"early is {early}; with {timepoints} timepoints the frame of the early phase is one of 1 to "
                    f"{timepoints - 2}, after the first and before the last."
                )
        for wash_map in self.maps:
            if wash_map is not None and self.sequences[wash_map] != 1:
                raise ValueError(f"Sequence '{wash_map}' has {self.sequences[wash_map]} timepoints; a wash map has 1.")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the maps to a subject's ``"image"`` ``[ΣT, *spatial]``, ``"available"`` and ``"measured"``."""
        available, measured, withheld = (
            dict(zip(self.sequences, data[key].tolist() if key in data else [False] * len(self.sequences), strict=True))
            for key in ("available", "measured", "withheld")
        )
        sources = [name for flags in (available, measured) for name in self.sources if flags[name]]
        missing = [name for name in self.maps if name and not (available[name] or measured[name] or withheld[name])]
        if not sources or not missing:
            return dict(data)
        channels = channel_slices(self.sequences)
        image = data["image"].clone()
        computed = wash_maps(image[channels[sources[0]]], self.early, self.least_enhancement)
        for name, wash_map in zip(self.maps, computed, strict=True):
            if name in missing and bool((wash_map > 0).any()):
                image[channels[name]] = wash_map
                available[name], measured[name] = available[sources[0]], True
        return {
            **data,
            "image": image,
            "available": torch.tensor(list(available.values())),
            "measured": torch.tensor(list(measured.values())),
        }
