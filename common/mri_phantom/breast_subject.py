# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One simulated examination of the breasts: anatomy, lesions, signal and scanner put together on a voxel grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mri_phantom.artefacts import bias_field
from mri_phantom.breast_anatomy import Breast, body_surface, draw_breasts, paint_body
from mri_phantom.breast_fractions import COMPARTMENTS, TISSUE_LABELS, with_compartments
from mri_phantom.breast_lesion import draw_lesions, lesion_labels, unique_masks
from mri_phantom.breast_scanner import acquire, point_spread
from mri_phantom.breast_signal import breast_signals
from mri_phantom.breast_tissue import BreastTissue, BreastTissueArrays, draw_breast_tissues
from mri_phantom.grid import fill_volume, grid_points
from mri_phantom.random_fields import RandomField

__all__ = ["ACQUIRED", "SimulatedBreast", "draw_breast_subject"]

#: The sequences that a scanner acquires; the wash-in and wash-out maps are computed from them.
ACQUIRED = ("t1", "fatsat_t1", "t2", "dce", "fatsat_dce", "dwi")

# Uptake varies within a tissue: K_trans is the tissue's times one of these factors, as a smooth random function says.
_UPTAKE_FACTORS = np.exp(np.linspace(-0.7, 0.7, 29))
_UPTAKE_SPREAD = 0.22

# A field of view that is narrower shows one breast.
_WIDTH_OF_BOTH = 240.0


@dataclass
class SimulatedBreast:
    """What is written of one examination; every array ends in ``[X, Y, Z]``.

    Attributes:
        images: sequence's name → int16 ``[T, X, Y, Z]``, in [1, 32767] in the body, exactly 0 outside.
        tissue: uint8, the values of ``TISSUE_LABELS``; 0 outside.
        ktrans: float32, 1/min.
        adc: float32, 1e-3 mm²/s; where tissues share a voxel, that of the initial decay of their signal in DWI.
        lesion: uint8, the values of ``LESION_LABELS``; 0 where there is none.
        unique: "dce", "dwi" → uint8 mask of what only this sequence shows; empty without such a lesion.
        tissues: compartment's name → its parameters.
        signals: sequence's name → float32 ``[T, X, Y, Z]``, the images without blur, sensitivity, motion and noise.
    """

    images: dict[str, np.ndarray]
    tissue: np.ndarray
    ktrans: np.ndarray
    adc: np.ndarray
    lesion: np.ndarray
    unique: dict[str, np.ndarray]
    tissues: dict[str, BreastTissue]
    signals: dict[str, np.ndarray]


def draw_breast_subject(
    generator: np.random.Generator,
    shape: Sequence[int] = (128, 80, 64),
    spacing: Sequence[float] = (2.5, 2.5, 2.5),
    lesions: Sequence[str] = ("malignant",),
    sequences: Sequence[str] = ACQUIRED,
    coronal: bool = False,
    times: Sequence[float] = (0, 90, 180, 270, 360, 450),
    b_values: Sequence[float] = (0, 150, 800, 1500),
    noise: float = 0.015,
    bias: float = 0.06,
    motion: float = 0.3,
) -> SimulatedBreast:
    """Draw one patient and the images of one examination.

    Args:
        generator: source of randomness.
        shape: voxels along x (to the right), y (to the front) and z (upwards).
        spacing: size of a voxel along these, mm.
        lesions: the kind of each lesion, "benign" or "malignant".
        sequences: which of ``ACQUIRED`` to acquire; the others do not change these.
        coronal: whether the sequences without fat saturation are thick coronal slices.
        times: start of each frame of DCE, s; the contrast agent arrives 45 s before the middle of the second.
        b_values: of the frames of DWI, s/mm².
        noise: standard deviation of the noise on the real and on the imaginary channel, as a fraction of
            fibroglandular tissue's signal in the sequence's first frame.
        bias: strength of the coil's uneven sensitivity.
        motion: standard deviation of the shift of each frame of DCE along each axis, mm.
    """
    # streams of their own, so that the anatomy is the same with any lesions, and a sequence with any others
    growth, *scanners = generator.spawn(1 + len(ACQUIRED))
    breasts = draw_breasts(generator)
    world = grid_points(shape, spacing)
    points, scale, shown = _body_coordinates(generator, world, shape, spacing, breasts)
    width = float(np.prod(spacing) ** (1 / 3)) / scale

    inside = body_surface(points, breasts) > 0
    points, world = points[:, inside], world[:, inside]
    inside = inside.reshape(tuple(shape))
    fractions = paint_body(generator, points, breasts, width)
    for lesion in draw_lesions(growth, lesions, shown, width):
        lesion.grow(growth, fractions, points, width)

    tissues = with_compartments(draw_breast_tissues(generator))
    arrival = float(times[1]) - 15.0 + generator.uniform(-5.0, 5.0)
    dose = float(np.exp(np.clip(generator.normal(0, 0.1), -0.2, 0.2)))
    uptake = RandomField(generator, wavelength=18.0, bandwidth=0.4)(points)
    middle = len(_UPTAKE_FACTORS) // 2
    step = np.log(_UPTAKE_FACTORS[middle + 1])
    level = np.clip(np.rint(_UPTAKE_SPREAD / step * uptake) + middle, 0, 2 * middle).astype(int)
    # fat saturation is uneven, because the field is
    unevenness = RandomField(generator, wavelength=90.0, period=384.0)(points)
    residual = 0.05 * np.exp(0.4 * unevenness)

    signals, adc = _signals(tissues, fractions, level, residual, times, b_values, arrival, dose)
    sensitivity = bias_field(generator, world / scale, bias) * np.exp(5 * bias * points[1] / 100)
    sensitivity *= np.exp(0.015 * RandomField(generator, wavelength=18.0, bandwidth=0.4)(points))

    images = {}
    gland = fractions[COMPARTMENTS.index("fibroglandular")]
    reference = gland > 0.9 * gland.max()
    for name, scanner in zip(ACQUIRED, scanners, strict=True):
        if name not in sequences:
            continue
        thick = coronal and name in ("t1", "t2", "dce")
        images[name] = acquire(
            scanner,
            signals[name],
            inside,
            sensitivity,
            point_spread(name, spacing, thick),
            noise * float(np.median(signals[name][0, reference])),
            [motion / step for step in spacing] if name in ("dce", "fatsat_dce") else (0.0, 0.0, 0.0),
        )

    ktrans = np.array([tissue.ktrans for tissue in tissues.values()], dtype=np.float32) @ fractions
    labels = np.array(list(TISSUE_LABELS.values()), dtype=np.uint8)[fractions.argmax(axis=0)]
    return SimulatedBreast(
        images=images,
        tissue=fill_volume(labels, inside),
        ktrans=fill_volume((ktrans * _UPTAKE_FACTORS[level]).astype(np.float32), inside),
        adc=fill_volume(adc, inside),
        lesion=fill_volume(lesion_labels(fractions), inside),
        unique={name: fill_volume(mask, inside) for name, mask in unique_masks(fractions).items()},
        tissues=tissues,
        signals={name: fill_volume(signal, inside) for name, signal in signals.items()},
    )


def _body_coordinates(
    generator: np.random.Generator,
    world: np.ndarray,
    shape: Sequence[int],
    spacing: Sequence[float],
    breasts: tuple[Breast, Breast],
) -> tuple[np.ndarray, float, list[Breast]]:
    """Return where in the body's own coordinates each voxel lies, how many mm of the grid are one mm there, and which
    breasts are in the field of view.

    The breasts have their natural size, or are shrunk to fit the grid; the chest is cut where the grid ends.
    """
    extent = np.array(shape) * np.array(spacing)
    both = bool(extent[0] >= _WIDTH_OF_BOTH)
    chosen = breasts[int(generator.integers(2))]
    shown = list(breasts) if both else [chosen]
    front = max(breast.nipple[1] for breast in shown) + 20.0
    middle = 0.0 if both else chosen.centre[0]
    sides = max(abs(breast.centre[0]) + breast.radii[0] for breast in breasts) + 12.0 if both else chosen.radii[0] + 8.0
    height = max(breast.radii[2] for breast in shown) + 4.0
    scale = float(min(1.0, *(extent / (2 * sides, front + 45.0, 2 * height))))
    offset = np.array([middle, front - extent[1] / 2 / scale, 0.0], dtype=np.float32)
    points = world / np.float32(scale) + offset[:, None]
    deformation = [RandomField(generator, wavelength=90.0, period=384.0) for _ in range(3)]
    return points + np.stack([2.0 * field(points) for field in deformation]), scale, shown


def _signals(
    tissues: dict[str, BreastTissue],
    fractions: np.ndarray,
    level: np.ndarray,
    residual: np.ndarray,
    times: Sequence[float],
    b_values: Sequence[float],
    arrival: float,
    dose: float,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the noise-free signals, name → float32 ``[T, N]``, and the ADC, float32 ``[N]``.

    Every compartment's signal is computed once for every uptake factor, and looked up where the compartment is.

    Args:
        tissues: compartment's name → parameters.
        fractions: ``[compartments, N]``.
        level: ``[N]``, which of the uptake factors K_trans is multiplied by.
        residual: ``[N]``, the part of fat's signal that fat saturation leaves.
        times: start of each frame of DCE, s.
        b_values: s/mm².
        arrival: of the contrast agent, s.
        dose: relative to the standard.
    """
    levels = len(_UPTAKE_FACTORS)
    table = {
        f"{name} {number}": replace(tissue, ktrans=tissue.ktrans * float(factor))
        for name, tissue in tissues.items()
        for number, factor in enumerate(_UPTAKE_FACTORS)
    }
    arrays = BreastTissueArrays.from_tissues(table)
    # b = 0 in front of the others weighs the ADC of what shares a voxel
    suppressed, full = (
        breast_signals(arrays, times, (0.0, *b_values), arrival=arrival, dose=dose, fat_residual=part)
        for part in (0.0, 1.0)
    )
    signals = {name: np.zeros((len(suppressed[name]), len(level)), dtype=np.float32) for name in ACQUIRED}
    decay = np.zeros(len(level), dtype=np.float32)
    for index, tissue in enumerate(tissues.values()):
        where = np.flatnonzero(fractions[index])
        share, entry = fractions[index, where], index * levels + level[where]
        for name, signal in signals.items():
            part = suppressed[name][:, entry]
            if tissue.fat:
                part = part + residual[where] * (full[name] - suppressed[name])[:, entry]
            part = part * share
            signal[:, where] += part
            if name == "dwi":
                decay[where] += part[0] * np.float32(tissue.adc)
    adc = decay / np.maximum(signals["dwi"][0], 1e-6)
    signals["dwi"] = signals["dwi"][1:]
    return signals, adc
