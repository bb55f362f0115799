# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One simulated patient: anatomy, tissue, signal and scanner put together on a voxel grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mri_phantom.artefacts import bias_field, blurred, rician_noise
from mri_phantom.brain_anatomy import BRAIN_CENTRE, BRAIN_RADII, brain_surface, draw_anatomy
from mri_phantom.glioma import draw_glioma
from mri_phantom.grid import fill_volume, grid_affine, grid_points
from mri_phantom.random_fields import RandomField
from mri_phantom.signal import brain_signals
from mri_phantom.tissue import TISSUES, draw_tissues
from mri_phantom.tumour_enhancement import enhancement_change
from mri_phantom.vessels import grow_cortical_vessels

__all__ = ["SEGMENTATION_LABELS", "SimulatedSubject", "draw_subject", "grid_affine"]

# the labels of BraTS 2023: necrosis and non-enhancing core, oedema, enhancing tumour
SEGMENTATION_LABELS = {"necrosis": 1, "tumour": 1, "oedema": 2, "fluid_oedema": 2, "enhancing_tumour": 3}

_LARGEST_SIGNAL = 4000.0


@dataclass
class SimulatedSubject:
    """What is written of one patient; every array is ``[X, Y, Z]``.

    Attributes:
        images: sequence's name → int16, in [1, 32767] in the brain, exactly 0 outside.
        segmentation: uint8, BraTS labels (1 necrosis and non-enhancing core, 2 oedema, 3 enhancing tumour).
        unique: sequence's name → uint8 mask of what only this sequence shows; empty without a glioma.
        signals: sequence's name → float32, the same without blur, sensitivity, the tissues' mottling and noise.
    """

    images: dict[str, np.ndarray]
    segmentation: np.ndarray
    unique: dict[str, np.ndarray]
    signals: dict[str, np.ndarray]


def draw_subject(
    generator: np.random.Generator,
    shape: Sequence[int] = (96, 112, 72),
    spacing: Sequence[float] = (2.0, 2.0, 2.0),
    glioma: bool = True,
    noise: float = 0.015,
    bias: float = 0.025,
    texture: float = 0.0,
    heterogeneous: bool = False,
) -> SimulatedSubject:
    """Draw one patient.

    Args:
        generator: source of randomness.
        shape: voxels along x (to the right), y (to the front) and z (upwards).
        spacing: size of a voxel along these, mm.
        glioma: whether the patient has a tumour.
        noise: standard deviation of the noise on the real and on the imaginary channel, as a fraction of white
            matter's signal in the sequence.
        bias: strength of the uneven sensitivity (standard deviation of its logarithm at the brain's border).
        texture: standard deviation of the contrast agent's concentration within a heterogeneous tumour, as a fraction
            of its mean.
        heterogeneous: whether the tumour enhances with this texture, or evenly. All images but T1Gd are the same in
            both cases, and so are T1Gd beyond the enhancing tumour and its mean within.
    """
    world = grid_points(shape, spacing)
    points, scale = _brain_coordinates(generator, world, shape, spacing)
    width = float(np.prod(spacing) ** (1 / 3)) / scale

    # streams of their own, so that a patient's anatomy is the same with and without a tumour, and whatever its texture
    lesion, scanner, uptake = generator.spawn(3)
    tumour = draw_glioma(lesion) if glioma else None
    inside = brain_surface(points) > 0
    points, world = points[:, inside], world[:, inside]
    anatomy = draw_anatomy(generator, points if tumour is None else tumour.displaced(points), width)
    grow_cortical_vessels(generator, points, anatomy, width)
    if tumour is not None:
        tumour.grow(lesion, points, anatomy, width)

    tissues = draw_tissues(generator)
    signals = brain_signals(tissues)
    enhancing = anatomy.fractions[list(TISSUES).index("enhancing_tumour")]
    mottling = np.exp(0.015 * RandomField(generator, wavelength=18.0, bandwidth=0.4)(points))
    clean, images = {}, {}
    for name, signal in signals.items():
        clean[name] = signal.astype(np.float32) @ anatomy.fractions
        bright = float(np.percentile(clean[name], 99))  # of T1Gd without its texture, which must not change the gain
        if name == "t1gd":
            clean[name] += enhancement_change(
                uptake, points, enhancing, tissues["enhancing_tumour"], texture, heterogeneous
            )
        uneven = (
            blurred(clean[name], inside.reshape(tuple(shape))) * mottling * bias_field(scanner, world / scale, bias)
        )
        measured = rician_noise(scanner, uneven, noise * float(signal[list(TISSUES).index("white_matter")]))
        gain = scanner.uniform(0.5, 1.0) * _LARGEST_SIGNAL / bright
        images[name] = np.clip(np.rint(measured * gain), 1, np.iinfo(np.int16).max).astype(np.int16)

    def volume(values: np.ndarray) -> np.ndarray:
        return fill_volume(values, inside.reshape(tuple(shape)))

    segmentation, unique = _lesion_masks(anatomy.fractions)
    return SimulatedSubject(
        images={name: volume(image) for name, image in images.items()},
        segmentation=volume(segmentation),
        unique={name: volume(mask) for name, mask in unique.items()},
        signals={name: volume(signal) for name, signal in clean.items()},
    )


def _brain_coordinates(
    generator: np.random.Generator, world: np.ndarray, shape: Sequence[int], spacing: Sequence[float]
) -> tuple[np.ndarray, float]:
    """Return where in the brain's own coordinates each voxel lies, and how many mm of the grid are one mm there.

    The brain has its natural size, or is shrunk to fit the grid; subjects differ in size, proportion, tilt of the
    head and by a smooth deformation.
    """
    extent = np.array(shape) * np.array(spacing) / 2
    scale = float(min(1.0, np.min(extent / np.array(BRAIN_RADII)) / 1.12) * generator.uniform(0.92, 1.0))
    proportion = np.exp(generator.normal(0, 0.015, 3)).astype(np.float32)
    angles = np.deg2rad(np.clip(generator.normal(0, 2.5, 3), -5, 5))
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    points = (rotation.astype(np.float32) @ world) / (scale * proportion[:, None])
    deformation = [RandomField(generator, wavelength=90.0, period=384.0) for _ in range(3)]
    points += np.array(BRAIN_CENTRE, dtype=np.float32)[:, None]
    shift = np.stack([2.0 * field(points) for field in deformation])
    return points + shift, scale


def _lesion_masks(fractions: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the segmentation and the masks of what is unique to a sequence, uint8 ``[N]`` each."""
    names = list(TISSUES)
    label_of = np.array([SEGMENTATION_LABELS.get(name, 0) for name in names], dtype=np.uint8)
    label = label_of[np.argmax(fractions, axis=0)]
    unique = {
        "t1gd": (fractions[names.index("enhancing_tumour")] > 0.5).astype(np.uint8),
        "flair": (fractions[names.index("fluid_oedema")] > 0.5).astype(np.uint8),
    }
    return label, unique
