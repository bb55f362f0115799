# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command that simulates a brain cohort, in the layout of BraTS."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import NamedTuple

import numpy as np

from mri_phantom.cohort import (
    SECTIONS,
    Cohort,
    check_grid,
    check_missing,
    check_number,
    check_splits,
    draw_classes,
    draw_silenced,
)
from mri_phantom.label_map import LabelMap, find_label_maps
from mri_phantom.scanner import Scan
from mri_phantom.subject import SimulatedSubject, draw_brain
from seq2seq_mri.sequences import SEQUENCE_TABLES

__all__ = ["SimulateBrain"]

_FILE_ENDINGS = {"t1": "t1n", "t1gd": "t1c", "t2": "t2w", "flair": "t2f"}


class _Plan(NamedTuple):
    """What is special about one patient; a label is of a patient with glioma."""

    hidden: set[str]
    glioma: bool
    label: int | None


@dataclass
class SimulateBrain:
    """Write a cohort of simulated brain MRI (T1, T1Gd, T2, FLAIR) of patients with glioma, and its datalist.

    The cohort serves to try the programs without patients' data, and to check differentiation maps: what only T1Gd
    shows (enhancing tumour) and what only FLAIR shows (fluid-rich oedema at the ventricles) is known, voxel by voxel.
    The images come from tissue properties and signal equations; they are no substitute for real ones.

    Per subject, in OUTPUT_DIR/SUBJECT/: SUBJECT-t1n.nii.gz (T1), -t1c (T1Gd), -t2w (T2), -t2f (FLAIR), int16,
    background 0; -seg, the BraTS labels (1 necrosis and non-enhancing core, 2 oedema, 3 enhancing tumour);
    -unique-t1gd and -unique-flair, the masks. And OUTPUT_DIR/datalist.json, written last, with paths relative to
    OUTPUT_DIR. The axes point right, anterior and superior (RAS); the grid's centre is the origin.

    With texture, entries of patients with a glioma have {"label": {"mgmt": 0 or 1}}, for classifiers: half of each
    section has each. With 1 the tumour takes up contrast agent unevenly, in blobs of about 8 mm; with 0 evenly. Only
    T1Gd shows it: the masks, the other sequences, and T1Gd outside the enhancing tumour do not depend on the label, nor
    does the tumour's mean enhancement. The label is named after what is learnt of patients, methylation of the MGMT
    promoter. The rule is made up, and says nothing about real MGMT.

    Equal arguments give equal files, byte for byte, with the same versions of the libraries. The
    anatomy of a subject depends on the seed and on its number alone, not on the size of the cohort.

    Args:
        output_dir: folder to write to; made when absent.
        subjects: number of patients, divided as 8:2:2 unless splits are given.
        shape: voxels to the right, to the front and upwards, at least 32 each. The brain has its natural size, or is
            shrunk where the grid is too small for it.
        spacing: size of a voxel in mm, one number or three.
        seed: of all randomness.
        splits: numbers of patients for training, validation and testing (default: 8, 2, 2).
        missing: how many of the four sequences to silence in each training subject: a number, or the least and the
            most, at most 3. Silenced sequences are written, but the datalist has them under "withheld".
        missing_in_evaluation: the same for validation and testing.
        healthy: share of each section's patients, rounded down, that have no glioma.
        noise: standard deviation of the Gaussian noise on the real and on the imaginary channel, as a fraction of white
            matter's signal in the sequence (the magnitude has Rice's distribution).
        bias: strength of the coil's uneven sensitivity; 0 turns it off.
        texture: how visible the label "mgmt" is, from 0 to 5: standard deviation of the contrast agent's concentration
            within the enhancing tumour of patients with 1, as a fraction of its mean; by default there is no label, and
            all tumours enhance evenly. 0 makes a label that is pure chance. With 0.8 the relative standard deviation of
            T1Gd in the mask unique-t1gd separates the labels with an area under the ROC curve near 0.99 in voxels of
            2.8 mm, and tumours with either label are some 8 % darker in T1Gd than without, since its signal saturates.
            Above 1, parts of the mask unique-t1gd hardly enhance.
        label_maps: folder of label maps with FreeSurfer's numbers (NIfTI, of a whole head or a brain), from which the
            anatomy is taken instead of being drawn; every patient gets one of them, turned, deformed and with a glioma
            of its own. By default the anatomy is drawn.
        overwrite: whether files that exist may be replaced. Subjects of an earlier, larger cohort are not removed.
    """

    output_dir: str | os.PathLike
    _: KW_ONLY
    subjects: int | None = None
    shape: Sequence[int] = (96, 112, 72)
    spacing: float | Sequence[float] = 2.0
    seed: int = 0
    splits: Sequence[int] | None = None
    missing: int | Sequence[int] = (1, 3)
    missing_in_evaluation: int | Sequence[int] = 0
    healthy: float = 0.2
    noise: float = 0.015
    bias: float = 0.025
    texture: float | None = None
    label_maps: str | os.PathLike | None = None
    overwrite: bool = False

    def __call__(self) -> str:
        """Write the cohort, and return the path of its datalist.

        Raises:
            ValueError: when an option is out of range or the folder cannot be written.
            FileExistsError: when the folder has a datalist or one of the subjects, and overwrite is false.
        """
        most = len(_FILE_ENDINGS) - 1
        lacking = check_missing(self.missing, "missing", most)
        lacking_in_evaluation = check_missing(self.missing_in_evaluation, "missing_in_evaluation", most)
        check_number(self.healthy, "healthy", 0, 1)
        check_number(self.noise, "noise", 0, 0.5)
        check_number(self.bias, "bias", 0, 0.5)
        check_number(self.texture or 0.0, "texture", 0, 5)
        check_number(self.seed, "seed", 0, whole=True)
        maps = None if self.label_maps is None else find_label_maps(self.label_maps)
        scan = Scan(*check_grid(self.shape, self.spacing), self.noise, self.bias)

        def plan(generator: np.random.Generator, section: int, count: int) -> list[_Plan]:
            without_glioma = set(generator.permutation(count)[: int(self.healthy * count)].tolist())
            # a stream of its own, so that the labels change neither who is healthy nor what is silenced
            labels = iter(draw_classes(np.random.default_rng([self.seed, len(SECTIONS) + 1, section]), count))
            silenced = draw_silenced(generator, _FILE_ENDINGS, count, *(lacking_in_evaluation if section else lacking))
            return [
                _Plan(hidden, position not in without_glioma, None if position in without_glioma else next(labels))
                for position, hidden in enumerate(silenced)
            ]

        def draw(generator: np.random.Generator, patient: _Plan) -> SimulatedSubject:
            # a stream of its own, so that what is drawn besides does not depend on the number of maps
            label_map = None if maps is None else LabelMap(maps[int(generator.spawn(1)[0].integers(len(maps)))])
            drawn = draw_brain(generator, scan, patient.glioma, self.texture or 0.0, patient.label == 1, label_map)
            label = {} if patient.label is None or self.texture is None else {"mgmt": patient.label}
            return replace(drawn, withheld=patient.hidden, label=label)

        counts, sequences = check_splits(self.subjects, self.splits), SEQUENCE_TABLES["brats"]
        cohort = Cohort("brain", sequences, counts, self.seed, scan, "seg", plan, draw, _FILE_ENDINGS)
        return cohort.write(self.output_dir, self.overwrite)
