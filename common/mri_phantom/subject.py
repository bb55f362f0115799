# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One simulated patient, brain or breasts: anatomy, tissues, signal and scanner put together on a voxel grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation

from mri_phantom.brain_anatomy import BRAIN_CENTRE, BRAIN_RADII, brain_surface, draw_anatomy, grow_cortical_vessels
from mri_phantom.breast_anatomy import Breast, body_surface, draw_breasts, paint_body
from mri_phantom.breast_lesion import draw_lesions, lesion_labels, unique_masks
from mri_phantom.fractions import Fractions
from mri_phantom.glioma import Glioma, enhancement_change
from mri_phantom.grid import fill_volume, grid_points
from mri_phantom.label_map import LabelMap
from mri_phantom.random_fields import RandomField
from mri_phantom.scanner import Scan, acquire, bias_field, point_spread
from mri_phantom.signal import brain_signals, breast_signals
from mri_phantom.tissue import BREAST_LABELS, Tissue, draw_brain_tissues, draw_breast_tissues, parameters

__all__ = ["ACQUIRED", "SEGMENTATION_LABELS", "SimulatedSubject", "draw_brain", "draw_breast"]

#: The labels of BraTS 2023: necrosis and non-enhancing core, oedema, enhancing tumour.
SEGMENTATION_LABELS = {"necrosis": 1, "tumour": 1, "oedema": 2, "fluid_oedema": 2, "enhancing_tumour": 3}

#: The sequences that a scanner acquires of breasts; the wash-in and wash-out maps are computed from them.
ACQUIRED = ("t1", "fatsat_t1", "t2", "dce", "fatsat_dce", "dwi")

# Uptake varies within a breast's tissue: K_trans is the tissue's times one of these, as a smooth random function says.
_UPTAKE_FACTORS = np.exp(np.linspace(-0.7, 0.7, 29))
_UPTAKE_SPREAD = 0.22

# A field of view that is narrower shows one breast.
_WIDTH_OF_BOTH = 240.0


@dataclass
class SimulatedSubject:
    """What is known of one patient; every array ends in ``[X, Y, Z]``, those of frames begin with ``T``.

    Attributes:
        images: sequence's name → int16 (of a brain ``[X, Y, Z]``, of breasts ``[T, X, Y, Z]``), in [1, 32767] in the
            body, exactly 0 outside.
        truth: of a brain "seg", uint8, ``SEGMENTATION_LABELS``. Of breasts "tissue", uint8, ``BREAST_LABELS``;
            "ktrans", float32, 1/min; "adc", float32, 1e-3 mm²/s, where tissues share a voxel that of the initial decay
            of their signal in DWI; "lesion", uint8, 1 benign, 2 malignant.
        unique: sequence's name → uint8 mask of what only this sequence shows; empty without such a lesion.
        signals: sequence's name → float32, the images without blur, sensitivity, motion, the tissues' mottling and
            noise.
        tissues: name → parameters.
        withheld: sequences that are written, but that the datalist has under "withheld".
        label: what the datalist has under "label", if anything.
    """

    images: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]
    unique: dict[str, np.ndarray]
    signals: dict[str, np.ndarray]
    tissues: dict[str, Tissue]
    withheld: set[str] = field(default_factory=set)
    label: dict[str, int] = field(default_factory=dict)


def draw_brain(
    generator: np.random.Generator,
    scan: Scan,
    glioma: bool = True,
    texture: float = 0.0,
    heterogeneous: bool = False,
    label_map: LabelMap | None = None,
) -> SimulatedSubject:
    """Draw one patient, and T1, T1Gd, T2 and FLAIR of the brain.

    Args:
        scan: grid and quality of the images.
        glioma: whether the patient has a tumour.
        texture: standard deviation of the contrast agent's concentration within a heterogeneous tumour, as a fraction
            of its mean.
        heterogeneous: whether the tumour enhances with this texture, or evenly. All images but T1Gd are the same in
            both cases, and so are T1Gd beyond the enhancing tumour and its mean within.
        label_map: the anatomy; by default one is drawn.
    """
    world = grid_points(scan.shape, scan.spacing)
    points, scale = _brain_coordinates(generator, world, scan)
    width = float(np.prod(scan.spacing) ** (1 / 3)) / scale

    # streams of their own, so that a patient's anatomy is the same with and without a tumour, and whatever its texture
    lesion, scanner, uptake = generator.spawn(3)
    tumour = Glioma(lesion) if glioma else None
    inside = (brain_surface(points) if label_map is None else label_map.surface(points)) > 0
    points, world = points[:, inside], world[:, inside]
    inside = inside.reshape(tuple(scan.shape))
    displaced = points if tumour is None else tumour.displaced(points)
    anatomy = draw_anatomy(generator, displaced, width) if label_map is None else label_map.anatomy(displaced, width)
    fractions = anatomy.fractions
    fractions.points = points  # what grows now is not displaced
    grow_cortical_vessels(generator, fractions)
    if tumour is not None:
        tumour.grow(lesion, anatomy)

    tissues = draw_brain_tissues(generator)
    mottling = _mottling(generator, points)
    signals, images = {}, {}
    for name, of_tissues in brain_signals(tissues).items():
        signal = of_tissues.astype(np.float32) @ fractions.values
        bright = float(np.percentile(signal, 99))  # of T1Gd without its texture, which must not change the gain
        if name == "t1gd":
            enhancing, tissue = fractions["enhancing_tumour"], tissues["enhancing_tumour"]
            signal += enhancement_change(uptake, points, enhancing, tissue, texture, heterogeneous)
        sensitivity = mottling * bias_field(scanner, world / scale, scan.bias)
        noise = scan.noise * float(of_tissues[fractions.names.index("white_matter")])
        (images[name],) = acquire(scanner, signal[None], inside, sensitivity, noise, bright=bright)
        signals[name] = fill_volume(signal, inside)

    label_of = np.array([SEGMENTATION_LABELS.get(name, 0) for name in fractions.names], dtype=np.uint8)
    unique = {"t1gd": fractions["enhancing_tumour"] > 0.5, "flair": fractions["fluid_oedema"] > 0.5}
    return SimulatedSubject(
        images=images,
        truth={"seg": fill_volume(label_of[fractions.values.argmax(axis=0)], inside)},
        unique={name: fill_volume(mask.astype(np.uint8), inside) for name, mask in unique.items()},
        signals=signals,
        tissues=tissues,
    )


def _brain_coordinates(generator: np.random.Generator, world: np.ndarray, scan: Scan) -> tuple[np.ndarray, float]:
    """Return where in the brain's own coordinates each voxel lies, and how many mm of the grid are one mm there.

    The brain has its natural size, or is shrunk to fit the grid; subjects differ in size, proportion, tilt of the
    head and by a smooth deformation.
    """
    extent = np.array(scan.shape) * np.array(scan.spacing) / 2
    scale = float(min(1.0, np.min(extent / np.array(BRAIN_RADII)) / 1.12) * generator.uniform(0.92, 1.0))
    proportion = np.exp(generator.normal(0, 0.015, 3)).astype(np.float32)
    angles = np.clip(generator.normal(0, 2.5, 3), -5, 5)
    rotation = Rotation.from_euler("XYZ", angles, degrees=True).as_matrix().astype(np.float32)
    points = (rotation @ world) / (scale * proportion[:, None]) + np.array(BRAIN_CENTRE, dtype=np.float32)[:, None]
    return _deformed(generator, points), scale


def draw_breast(
    generator: np.random.Generator,
    scan: Scan,
    lesions: Sequence[str] = ("malignant",),
    sequences: Sequence[str] = ACQUIRED,
    coronal: bool = False,
) -> SimulatedSubject:
    """Draw one patient, and the images of one examination of the breasts.

    Args:
        scan: grid, times and quality of the images.
        lesions: the kind of each lesion, "benign" or "malignant".
        sequences: which of ``ACQUIRED`` to acquire; the others do not change these.
        coronal: whether the sequences without fat saturation are thick coronal slices.
    """
    # streams of their own, so that the anatomy is the same with any lesions, and a sequence with any others
    growth, *scanners = generator.spawn(1 + len(ACQUIRED))
    breasts = draw_breasts(generator)
    world = grid_points(scan.shape, scan.spacing)
    points, scale, shown = _body_coordinates(generator, world, scan, breasts)
    width = float(np.prod(scan.spacing) ** (1 / 3)) / scale

    inside = body_surface(points, breasts) > 0
    points, world = points[:, inside], world[:, inside]
    inside = inside.reshape(tuple(scan.shape))
    fractions = paint_body(generator, points, breasts, width)
    for lesion in draw_lesions(growth, lesions, shown, width):
        lesion.grow(growth, fractions)

    tissues = draw_breast_tissues(generator)
    arrival = float(scan.times[1]) - 15.0 + generator.uniform(-5.0, 5.0)
    dose = float(np.exp(np.clip(generator.normal(0, 0.1), -0.2, 0.2)))
    uptake = RandomField(generator, wavelength=18.0, bandwidth=0.4)(points)
    middle = len(_UPTAKE_FACTORS) // 2
    step = np.log(_UPTAKE_FACTORS[middle + 1])
    level = np.clip(np.rint(_UPTAKE_SPREAD / step * uptake) + middle, 0, 2 * middle).astype(int)
    # fat saturation is uneven, because the field is
    residual = 0.05 * np.exp(0.4 * RandomField(generator, wavelength=90.0, period=384.0)(points))

    signals, adc = _breast_signals(tissues, fractions, level, residual, scan, {"arrival": arrival, "dose": dose})
    sensitivity = bias_field(generator, world / scale, scan.bias) * np.exp(5 * scan.bias * points[1] / 100)
    sensitivity *= _mottling(generator, points)

    images = {}
    reference = fractions["fibroglandular"] > 0.9 * fractions["fibroglandular"].max()
    for name, scanner in zip(ACQUIRED, scanners, strict=True):
        if name in sequences:
            images[name] = acquire(
                scanner,
                signals[name],
                inside,
                sensitivity,
                scan.noise * float(np.median(signals[name][0, reference])),
                point_spread(name, scan.spacing, coronal and name in ("t1", "t2", "dce")),
                [scan.motion * name.endswith("dce") / step for step in scan.spacing],
            )

    ktrans = parameters(tissues.values())["ktrans"].astype(np.float32) @ fractions.values * _UPTAKE_FACTORS[level]
    labels = np.array(list(BREAST_LABELS.values()), dtype=np.uint8)[fractions.values.argmax(axis=0)]
    truth = {"tissue": labels, "ktrans": ktrans.astype(np.float32), "adc": adc, "lesion": lesion_labels(fractions)}
    return SimulatedSubject(
        images=images,
        truth={name: fill_volume(values, inside) for name, values in truth.items()},
        unique={name: fill_volume(mask, inside) for name, mask in unique_masks(fractions).items()},
        signals={name: fill_volume(signal, inside) for name, signal in signals.items()},
        tissues=tissues,
    )


def _body_coordinates(
    generator: np.random.Generator, world: np.ndarray, scan: Scan, breasts: tuple[Breast, Breast]
) -> tuple[np.ndarray, float, list[Breast]]:
    """Return where in the body's own coordinates each voxel lies, how many mm of the grid are one mm there, and which
    breasts are in the field of view.

    The breasts have their natural size, or are shrunk to fit the grid; the chest is cut where the grid ends.
    """
    extent = np.array(scan.shape) * np.array(scan.spacing)
    both = bool(extent[0] >= _WIDTH_OF_BOTH)
    chosen = breasts[int(generator.integers(2))]
    shown = list(breasts) if both else [chosen]
    front = max(breast.nipple[1] for breast in shown) + 20.0
    middle = 0.0 if both else chosen.centre[0]
    sides = max(abs(breast.centre[0]) + breast.radii[0] for breast in breasts) + 12.0 if both else chosen.radii[0] + 8.0
    height = max(breast.radii[2] for breast in shown) + 4.0
    scale = float(min(1.0, *(extent / (2 * sides, front + 45.0, 2 * height))))
    offset = np.array([middle, front - extent[1] / 2 / scale, 0.0], dtype=np.float32)
    return _deformed(generator, world / np.float32(scale) + offset[:, None]), scale, shown


def _breast_signals(
    tissues: Mapping[str, Tissue],
    fractions: Fractions,
    level: np.ndarray,
    residual: np.ndarray,
    scan: Scan,
    agent: Mapping[str, float],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the noise-free signals, name → float32 ``[T, N]``, and the ADC, float32 ``[N]``.

    Every tissue's signal is computed once for every uptake factor, and looked up where the tissue is. ``level``
    (``[N]``) says by which of these K_trans is multiplied, ``residual`` (``[N]``) which part of fat's signal fat
    saturation leaves, ``agent`` has the arrival and the dose of the contrast agent.
    """
    table = parameters(
        replace(tissue, ktrans=tissue.ktrans * float(factor))
        for tissue in tissues.values()
        for factor in _UPTAKE_FACTORS
    )
    # b = 0 in front of the others weighs the ADC of what shares a voxel
    suppressed, full = (
        breast_signals(table, scan.times, (0.0, *scan.b_values), fat_residual=part, **agent) for part in (0.0, 1.0)
    )
    signals = {name: np.zeros((len(suppressed[name]), len(level)), dtype=np.float32) for name in ACQUIRED}
    decay = np.zeros(len(level), dtype=np.float32)
    for index, (tissue, shares) in enumerate(zip(tissues.values(), fractions.values, strict=True)):
        where = np.flatnonzero(shares)
        share, entry = shares[where], index * len(_UPTAKE_FACTORS) + level[where]
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


def _deformed(generator: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """Return ``points`` (``[3, N]``, mm) moved by a smooth random deformation of 2 mm."""
    deformation = [RandomField(generator, wavelength=90.0, period=384.0) for _ in range(3)]
    return points + np.stack([2.0 * along(points) for along in deformation])


def _mottling(generator: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """Return how much brighter the tissue is at each point than tissues of its kind, ``[N]`` factors about 1."""
    return np.exp(0.015 * RandomField(generator, wavelength=18.0, bandwidth=0.4)(points))
