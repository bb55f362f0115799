# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command that simulates a breast cohort, whose protocols change over the years."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import pairwise

import numpy as np

from mri_phantom.breast_lesion import response_probability
from mri_phantom.cohort import Cohort, check_grid, check_missing, check_number, check_splits, draw_silenced
from mri_phantom.scanner import Scan
from mri_phantom.subject import SimulatedSubject, draw_breast
from seq2seq_mri.sequences import SEQUENCE_TABLES

__all__ = ["BREAST_SEQUENCES", "SimulateBreast", "draw_examinations"]

#: All sequences, in the order of the sequence table.
BREAST_SEQUENCES = tuple(SEQUENCE_TABLES["breast"])

_PROTOCOLS = {
    "older": ("t1", "t2", "dce", "wash_in", "wash_out"),
    "newer": ("fatsat_t1", "t2", "fatsat_dce", "wash_in", "wash_out"),
    "mixed": ("t1", "fatsat_t1", "t2", "dce", "fatsat_dce", "wash_in", "wash_out"),
}
_DYNAMIC = ("dce", "fatsat_dce")
# what a subject lacks beyond its protocol, so that at least two sequences stay
_MOST_MISSING = 3
# of the contrast agent's passage the second frame must see something; a frame takes 60 s
_SHORTEST_STEP = 60.0
# of the wash maps: the signal below which there is no tissue, and the enhancement above which there is a wash-out
_FLOOR = 0.05
_LEAST_ENHANCEMENT = 0.5


@dataclass(frozen=True)
class Examination:
    """What one examination consists of.

    Attributes:
        sequences: those that there are, in the order of ``BREAST_SEQUENCES``.
        acquired: those of the protocol, of which some may be lost; wash maps are computed from these.
        coronal: whether they were acquired as thick coronal slices.
    """

    sequences: tuple[str, ...]
    acquired: tuple[str, ...]
    coronal: bool = False


#: An examination, and the kinds of its patient's lesions.
_Plan = tuple[Examination, tuple[str, ...]]


@dataclass
class SimulateBreast:
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
    (labels, see BREAST_LABELS), ktrans (1/min, float32), adc (1e-3 mm²/s, float32), lesion (1 benign, 2 malignant),
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
    """

    output_dir: str | os.PathLike
    _: KW_ONLY
    subjects: int | None = None
    shape: Sequence[int] = (128, 80, 64)
    spacing: float | Sequence[float] = 2.5
    seed: int = 0
    splits: Sequence[int] | None = None
    mixed: float = 0.2
    diffusion: float = 0.6
    missing: int | Sequence[int] = (0, 1)
    complete_evaluation: bool = True
    healthy: float = 0.1
    malignant: float = 0.6
    timepoints: int = 6
    time_step: float = 90.0
    b_values: Sequence[float] = (0, 150, 800, 1500)
    noise: float = 0.015
    bias: float = 0.04
    motion: float = 0.3
    overwrite: bool = False

    def __call__(self) -> str:
        """Write the cohort, and return the path of its datalist.

        Raises:
            ValueError: when an option is out of range or the folder cannot be written.
            FileExistsError: when the folder has a datalist or one of the subjects, and overwrite is false.
        """
        lacking = check_missing(self.missing, "missing", _MOST_MISSING)
        for share in ("mixed", "diffusion", "healthy", "malignant"):
            check_number(getattr(self, share), share, 0, 1)
        check_number(self.noise, "noise", 0, 0.5)
        check_number(self.bias, "bias", 0, 0.5)
        check_number(self.motion, "motion", 0, 10)
        check_number(self.seed, "seed", 0, whole=True)
        check_number(self.timepoints, "timepoints", 3, 100, whole=True)
        check_number(self.time_step, "time_step", _SHORTEST_STEP, 600)
        times = tuple(float(self.time_step) * frame for frame in range(self.timepoints))
        b_values = _check_b_values(self.b_values)
        scan = Scan(*check_grid(self.shape, self.spacing), self.noise, self.bias, self.motion, times, b_values)

        def plan(generator: np.random.Generator, section: int, count: int) -> list[_Plan]:
            if section and self.complete_evaluation:
                examinations = [Examination(BREAST_SEQUENCES, BREAST_SEQUENCES)] * count
            else:
                examinations = draw_examinations(generator, count, self.mixed, self.diffusion, lacking)
            return list(zip(examinations, _deal_lesions(generator, count, self.healthy, self.malignant), strict=True))

        def draw(generator: np.random.Generator, patient: _Plan) -> SimulatedSubject:
            examination, lesions = patient
            drawn = draw_breast(generator, scan, lesions, examination.acquired, examination.coronal)
            images = {name: image if len(image) > 1 else image[0] for name, image in drawn.images.items()}
            images["wash_in"], images["wash_out"] = _wash_maps(images["dce" if "dce" in images else "fatsat_dce"])
            # enhancement shows in every DCE alike
            unique = dict.fromkeys(_DYNAMIC, drawn.unique["dce"]) | {"dwi": drawn.unique["dwi"]}
            label = {}
            if "malignant" in lesions:
                label["pcr"] = int(generator.random() < response_probability(drawn.tissues["malignant"]))
            return replace(
                drawn,
                images={name: images[name] for name in examination.sequences},
                unique={name: mask for name, mask in unique.items() if name in examination.sequences},
                label=label,
            )

        frames = dict.fromkeys(BREAST_SEQUENCES, 1) | dict.fromkeys(_DYNAMIC, self.timepoints) | {"dwi": len(b_values)}
        counts = check_splits(self.subjects, self.splits)
        cohort = Cohort("breast", frames, counts, self.seed, scan, "lesion", plan, draw)
        return cohort.write(self.output_dir, self.overwrite)


def draw_examinations(
    generator: np.random.Generator, count: int, mixed: float, diffusion: float, missing: Sequence[int]
) -> list[Examination]:
    """Deal the protocols to ``count`` examinations.

    - Older: T1, T2 and DCE without fat saturation, as thick coronal slices; wash maps.
    - Newer: FatSatT1, T2 and FatSatDCE, three-dimensional; wash maps; some have DWI.
    - Mixed, from the time of transition: all of these, three-dimensional; some have DWI, and lack nothing then.

    Args:
        generator: source of randomness.
        count: number of examinations.
        mixed: share of the mixed protocol, rounded up; the rest is half older and half newer.
        diffusion: share of the newer and of the mixed ones that have DWI, rounded up each.
        missing: the least and the most sequences that an older or a newer examination lacks beyond its protocol.
    """
    mixed_count = int(np.ceil(mixed * count))
    newer_count = (count - mixed_count) // 2
    kinds = ["mixed"] * mixed_count + ["newer"] * newer_count + ["older"] * (count - mixed_count - newer_count)
    examinations: dict[str, list[Examination]] = {}
    for kind, protocol in _PROTOCOLS.items():
        number = kinds.count(kind)
        lacking = [set()] * number if kind == "mixed" else draw_silenced(generator, protocol, number, *missing)
        with_diffusion = 0 if kind == "older" else int(np.ceil(diffusion * number))
        protocols = [{*protocol, "dwi"}] * with_diffusion + [{*protocol}] * (number - with_diffusion)
        examinations[kind] = [
            Examination(_ordered(acquired - missed), _ordered(acquired), kind == "older")
            for acquired, missed in zip(protocols, lacking, strict=True)
        ]
    return [examinations[kinds[index]].pop(0) for index in generator.permutation(count)]


def _ordered(names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in BREAST_SEQUENCES if name in names)


def _check_b_values(b_values: Sequence[float]) -> tuple[float, ...]:
    values = tuple(b_values) if isinstance(b_values, Sequence) else (b_values,)
    numbers = all(isinstance(value, int | float) for value in values)
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


def _wash_maps(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return wash-in (S_1 - S_0) / S_0 and wash-out (S_1 - S_last) / S_1 of a series ``[T, X, Y, Z]``, float32.

    Where there is no tissue both are 0, and wash-out is where nothing enhances.
    """
    baseline, early, last = (series[frame].astype(np.float32) for frame in (0, 1, -1))
    floor = _FLOOR * float(np.percentile(series[series > 0], 99))
    wash_in, wash_out = np.zeros_like(baseline), np.zeros_like(baseline)
    np.divide(early - baseline, baseline, out=wash_in, where=baseline > floor)
    np.divide(early - last, early, out=wash_out, where=(early > floor) & (wash_in >= _LEAST_ENHANCEMENT))
    return wash_in, wash_out
