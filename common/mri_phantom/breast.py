# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Writing a simulated breast cohort to disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mri_phantom.breast_protocol import (
    BREAST_SEQUENCES,
    Examination,
    complete_examinations,
    draw_examinations,
)
from mri_phantom.breast_response import response_probability
from mri_phantom.breast_subject import SimulatedBreast, draw_breast_subject
from mri_phantom.grid import grid_affine
from mri_phantom.phantom_cohort import (
    check_grid,
    check_missing,
    check_number,
    check_seed,
    check_splits,
    refuse_existing,
    write_image,
)
from seq2seq_mri.files import atomic_path, check_writable_directory
from seq2seq_mri.io.datalists.datalist import SECTIONS, write_datalist
from seq2seq_mri.transforms.wash_maps import wash_maps

__all__ = ["simulate_breast"]

_DYNAMIC = ("dce", "fatsat_dce")
# what a subject lacks beyond its protocol, so that at least two sequences stay
_MOST_MISSING = 3
# of the contrast agent's passage the second frame must see something; a frame takes 60 s
_SHORTEST_STEP = 60.0


def simulate_breast(
    output_dir: str | os.PathLike,
    subjects: int | None = None,
    shape: Sequence[int] = (128, 80, 64),
    spacing: float | Sequence[float] = 2.5,
    seed: int = 0,
    splits: Sequence[int] | None = None,
    mixed: float = 0.2,
    diffusion: float = 0.6,
    missing: int | Sequence[int] = (0, 1),
    complete_evaluation: bool = True,
    healthy: float = 0.1,
    malignant: float = 0.6,
    timepoints: int = 6,
    time_step: float = 90.0,
    b_values: Sequence[float] = (0, 150, 800, 1500),
    noise: float = 0.015,
    bias: float = 0.04,
    motion: float = 0.3,
    overwrite: bool = False,
) -> str:
    """Write a cohort of simulated breast MRI (T1, T2, DCE, DWI, with and without fat saturation), and its datalist.

    The cohort serves to try the programs without patients' data, for images in three and in four dimensions, and to
    check differentiation maps: what only DCE shows and what only DWI shows is known, voxel by voxel. The images come
    from tissue properties, pharmacokinetics and signal equations; they are no substitute for real ones.

    Per subject, in OUTPUT_DIR/SUBJECT/SUBJECT-NAME.nii.gz, those of these sequences that the subject has: t1,
    fatsat_t1, t2, dce and fatsat_dce (4D, with the time step in the header), dwi (4D, with the b-values in
    SUBJECT-dwi.bval): int16, background 0, tissue at least 1, in units of a gain that all frames of an image share;
    wash_in and wash_out (float32, no unit), computed from the noisy DCE or else FatSatDCE as wash_maps does. A sequence
    that a subject lacks is neither written nor listed. Training subjects have an older protocol (coronal, no fat
    saturation), a newer one (fat saturation, perhaps DWI), or a mixture of both. Per subject the truth, too: tissue
    (labels, see TISSUE_LABELS), ktrans (1/min, float32), adc (1e-3 mm²/s, float32), lesion (1 benign, 2 malignant),
    and masks of what only one sequence shows:

    - unique-dce and unique-fatsat_dce (of those that the subject has): lesions, or segments beside them, that take up
      contrast agent while proton density, T1, T2 and ADC are those of the fibroglandular tissue around them;
    - unique-dwi: parts of malignant lesions that differ from the rest in their ADC alone.

    There is OUTPUT_DIR/datalist.json, written last, with paths relative to OUTPUT_DIR. Entries of patients with a
    malignant lesion have {"label": {"pcr": 0 or 1}}: whether it will respond to therapy completely, drawn by a logistic
    model of its K_trans, its wash-out and its ADC (see response_probability). The axes point right, anterior and
    superior (RAS); the grid's centre is the origin. Equal arguments give equal files, byte for byte, with the same
    versions of the libraries; a subject's anatomy depends on the seed and on its number alone.

    Args:
        output_dir: folder to write to; made when absent.
        subjects: number of patients, divided as 8:2:2 unless splits are given.
        shape: voxels to the right, to the front and upwards, at least 32 each.
        spacing: size of a voxel in mm, one number or three. A grid at least 240 mm wide shows both breasts, another one
            of them, in natural size or shrunk where the grid is too small.
        seed: of all randomness.
        splits: numbers of patients for training, validation and testing (default: 8, 2, 2).
        mixed: share of training subjects, rounded up, that have sequences with and without fat saturation. With at
            least one that has DWI, every pair of sequences is found in some training subject.
        diffusion: share of the newer and of the mixed protocols, rounded up each, that have DWI.
        missing: how many sequences a subject of the older or newer protocol lacks besides: a number, or the least and
            the most, at most 3.
        complete_evaluation: whether validation and testing subjects have every sequence, so that every pair can be
            measured; otherwise they are like training subjects.
        healthy: share of each section's patients, rounded down, that have no lesion.
        malignant: share of the others, rounded, that have a malignant lesion; the rest have a benign one. A third of
            all have a second lesion, a benign one.
        timepoints: frames of DCE and FatSatDCE, at least 3, the first of them before the contrast agent.
        time_step: seconds from frame to frame, at least 60.
        b_values: of the frames of DWI, s/mm², rising from 0 or more.
        noise: standard deviation of the Gaussian noise on the real and on the imaginary channel, as a fraction of
            fibroglandular tissue's signal in the sequence's first frame (the magnitude has Rice's distribution).
        bias: strength of the coil's uneven sensitivity; 0 turns it off.
        motion: standard deviation of the shift of every later frame of DCE against the first, along each axis, mm.
        overwrite: whether files that exist may be replaced. Subjects of an earlier, larger cohort are not removed.

    Returns:
        path of the datalist.

    Raises:
        ValueError: when an argument is out of range or the folder cannot be written.
        FileExistsError: when the folder has a datalist or one of the subjects, and overwrite is false.
    """
    counts = check_splits(subjects, splits)
    shape, spacing = check_grid(shape, spacing)
    lacking = check_missing(missing, "missing", _MOST_MISSING)
    for name, value, highest in (
        ("mixed", mixed, 1.0),
        ("diffusion", diffusion, 1.0),
        ("healthy", healthy, 1.0),
        ("malignant", malignant, 1.0),
        ("noise", noise, 0.5),
        ("bias", bias, 0.5),
        ("motion", motion, 10.0),
    ):
        check_number(value, name, highest)
    check_seed(seed)
    times = _check_times(timepoints, time_step)
    b_values = _check_b_values(b_values)

    folder = check_writable_directory(output_dir)
    names = [f"SimBreast-{number:05d}" for number in range(sum(counts))]
    if not overwrite:
        refuse_existing(folder, names)

    sections: dict[str, list[dict]] = {section: [] for section in SECTIONS}
    number = 0
    with tqdm(total=len(names), desc="Simulating", unit="subject") as progress:
        for index, (section, count) in enumerate(zip(SECTIONS, counts, strict=True)):
            plan = np.random.default_rng([seed, index])
            if section != "training" and complete_evaluation:
                examinations = complete_examinations(count)
            else:
                examinations = draw_examinations(plan, count, mixed, diffusion, lacking)
            for examination, lesions in zip(examinations, _deal_lesions(plan, count, healthy, malignant), strict=True):
                generator = np.random.default_rng([seed, len(SECTIONS), number])
                subject = draw_breast_subject(
                    generator,
                    shape,
                    spacing,
                    lesions,
                    sequences=examination.acquired,
                    coronal=examination.coronal,
                    times=times,
                    b_values=b_values,
                    noise=noise,
                    bias=bias,
                    motion=motion,
                )
                volumes = _volumes(subject, examination)
                entry = _write_subject(folder, names[number], volumes, grid_affine(shape, spacing), times, overwrite)
                if "dwi" in volumes:
                    _write_b_values(folder / entry["dwi"].replace(".nii.gz", ".bval"), b_values, overwrite)
                if "malignant" in lesions:
                    entry["label"] = {
                        "pcr": int(generator.random() < response_probability(subject.tissues["malignant"]))
                    }
                sections[section].append(entry)
                number += 1
                progress.update()

    frames = dict.fromkeys(BREAST_SEQUENCES, 1) | dict.fromkeys(_DYNAMIC, timepoints) | {"dwi": len(b_values)}
    content = {"name": "simulated breast cohort", "sequences": frames, **sections}
    write_datalist(content, folder / "datalist.json", overwrite=overwrite)
    return str(folder / "datalist.json")


def _check_times(timepoints: int, time_step: float) -> tuple[float, ...]:
    if isinstance(timepoints, bool) or not isinstance(timepoints, int) or not 3 <= timepoints <= 100:
        raise ValueError(f"timepoints is {timepoints!r}; give a whole number from 3 to 100.")
    if isinstance(time_step, bool) or not isinstance(time_step, int | float) or not _SHORTEST_STEP <= time_step <= 600:
        raise ValueError(f"time_step is {time_step!r}; give a number of seconds from {_SHORTEST_STEP:g} to 600.")
    return tuple(float(time_step) * frame for frame in range(timepoints))


def _check_b_values(b_values: Sequence[float]) -> tuple[float, ...]:
    values = tuple(b_values) if isinstance(b_values, Sequence) else (b_values,)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if len(values) < 2 or not numbers or not values[0] >= 0 or not all(low < high for low, high in pairwise(values)):
        raise ValueError(f"b_values is {b_values!r}; give at least two numbers of s/mm², from 0, that rise.")
    return tuple(float(value) for value in values)


def _deal_lesions(
    generator: np.random.Generator, count: int, healthy: float, malignant: float
) -> list[tuple[str, ...]]:
    """Draw the kinds of the lesions of each of ``count`` subjects."""
    free = int(healthy * count)
    severe = round(malignant * (count - free))
    kinds: list[tuple[str, ...]] = [()] * free
    kinds += [("malignant",)] * severe + [("benign",)] * (count - free - severe)
    second = generator.random(count) < 1 / 3
    return [
        (*kinds[index], "benign") if kinds[index] and second[position] else kinds[index]
        for position, index in enumerate(generator.permutation(count))
    ]


def _volumes(subject: SimulatedBreast, examination: Examination) -> dict[str, np.ndarray]:
    """Return what is written of one subject, name → ``[X, Y, Z]`` or ``[T, X, Y, Z]``."""
    images = dict(subject.images)
    images["wash_in"], images["wash_out"] = wash_maps(images["dce"] if "dce" in images else images["fatsat_dce"])
    volumes = {name: image if image.ndim == 3 or len(image) > 1 else image[0] for name, image in images.items()}
    volumes = {name: volumes[name] for name in examination.sequences}
    volumes |= {"tissue": subject.tissue, "ktrans": subject.ktrans, "adc": subject.adc, "lesion": subject.lesion}
    # enhancement shows in every DCE alike
    volumes |= {f"unique-{name}": subject.unique["dce"] for name in _DYNAMIC if name in examination.sequences}
    if "dwi" in examination.sequences:
        volumes["unique-dwi"] = subject.unique["dwi"]
    return volumes


def _write_subject(
    folder: Path,
    name: str,
    volumes: dict[str, np.ndarray],
    affine: np.ndarray,
    times: Sequence[float],
    overwrite: bool,
) -> dict:
    """Write one subject's images and truth, and return its entry in the datalist."""
    paths = {ending: f"{name}/{name}-{ending}.nii.gz" for ending in volumes}
    for ending, volume in volumes.items():
        time_step = times[1] - times[0] if ending in _DYNAMIC else None
        write_image(folder / paths[ending], volume, affine, time_step=time_step, overwrite=overwrite)
    entry: dict = {"subject": name} | {seq: paths[seq] for seq in BREAST_SEQUENCES if seq in volumes}
    # a mask without a voxel measures nothing, so it is written but not listed
    if volumes["lesion"].any():
        entry["lesion"] = paths["lesion"]
    masks = {seq: f"unique-{seq}" for seq in BREAST_SEQUENCES}
    unique = {seq: paths[mask] for seq, mask in masks.items() if mask in volumes and volumes[mask].any()}
    if unique:
        entry["unique"] = unique
    return entry


def _write_b_values(path: Path, b_values: Sequence[float], overwrite: bool) -> None:
    """Write the b-values in one line, as FSL does."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(" ".join(f"{value:g}" for value in b_values) + "\n", encoding="utf-8")
