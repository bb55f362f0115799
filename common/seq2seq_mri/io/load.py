# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Loads the sequences of a subject, from whatever files hold them, into one image."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import MetaKeys, SpaceKeys

from seq2seq_mri.io.grids import match_grid
from seq2seq_mri.io.nifti import Volume, read_volume
from seq2seq_mri.io.timepoints import TimepointTable, weighted_frames
from seq2seq_mri.sequences import channel_slices, check_sequences, sequence_index

__all__ = ["LoadImageSequencesd", "folder_files", "subject_files"]

_ENDINGS = (".nii", ".nii.gz")

# What a datalist tells of a subject beside its sequences: a mask, the person, what a classifier learns.
_OTHER_KEYS = ("lesion", "patient", "label")

# "p1-unique-dce.nii.gz" is no image but the mask of what only that sequence shows.
_UNIQUE = re.compile(r"(^|[_-])unique[_-]")


def subject_files(
    data: Mapping[Any, Any], sequences: Mapping[str, int], subject: str, known_keys: Collection[Hashable] = ()
) -> dict[str, list[Path]]:
    """Return the files of each sequence that ``data`` has.

    ``data`` maps sequences to the path of a file or of the folder of a DICOM series, or to a list of paths, one per
    timepoint; ``None`` and ``""`` stand for a sequence that is absent. Another key that holds the path of a NIfTI file
    is an error, unless it is ``"lesion"``, ``"patient"``, ``"label"`` or one of ``known_keys``.

    Raises:
        ValueError: when a key that is no known sequence holds the path of a NIfTI file, or a path is not a string.
    """
    files = {}
    for key, value in data.items():
        if key in sequences:
            paths = list(value) if isinstance(value, (list, tuple)) else [value]
            if not paths or paths in ([None], [""]):
                continue
            if not all(isinstance(path, (str, os.PathLike)) and path for path in paths):
                raise ValueError(f"Subject '{subject}': sequence '{key}' is {value!r}; give a path or a list of paths.")
            files[key] = [Path(path) for path in paths]
        elif key not in (*_OTHER_KEYS, *known_keys) and _is_image_path(value):
            raise ValueError(
                f"Subject '{subject}': unknown sequence '{key}' ({value}); the sequence table has "
                f"{', '.join(sequences)}."
            )
    return files


def folder_files(folder: str | os.PathLike, sequences: Mapping[str, int], subject: str) -> dict[str, Path]:
    """Return the files of a folder whose names are a sequence's, or end with ``_``, ``-`` or ``.`` and a sequence's.

    Upper and lower case are alike, and the longest name that fits wins: ``p1_fat_t1.nii.gz`` is ``fat_t1``, not ``t1``.
    Masks of what only one sequence shows, ``p1_unique_t1.nii.gz``, are passed over.

    Raises:
        ValueError: when two files fit one sequence.
    """
    files: dict[str, Path] = {}
    for path in sorted(Path(folder).iterdir()):
        if not path.name.lower().endswith(_ENDINGS):
            continue
        stem = path.name.lower().removesuffix(".gz").removesuffix(".nii")
        fitting = [name for name in sequences if any(f"_{stem}".endswith(mark + name.lower()) for mark in "_-.")]
        if not fitting or _UNIQUE.search(stem):
            continue
        name = max(fitting, key=len)
        if name in files:
            raise ValueError(f"Subject '{subject}': both {files[name]} and {path} look like sequence '{name}'.")
        files[name] = path
    return files


def _is_image_path(value: object) -> bool:
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    return isinstance(first, (str, os.PathLike)) and os.fspath(first).lower().endswith(_ENDINGS)


class LoadImageSequencesd(MapTransform):
    """Read the sequences of a subject and stack them as the channels of one image.

    A subject is ``{"subject": "p1", "t1": "p1_t1.nii.gz", "dce": "p1_dce.nii.gz", ...}``: one path per sequence, or for
    a sequence of several timepoints one 4D file or a list of 3D files; absent sequences are absent keys. A path that is
    a folder is a DICOM series, or one of several series that make up the timepoints. Instead of these keys, the value
    of ``image_key`` may be a mapping from sequences to paths, a list of paths in the table's order (``None`` where
    absent), a folder whose files end with the sequences' names, or one 4D file of all channels (all zero where absent).
    ``"withheld"`` maps sequences that are silenced on purpose to their paths.

    It is the first transform, and every spatial transform after it acts on ``image_key`` only, so that sequences
    cannot come apart. Sequences that are the same physical grid in different orientations are reoriented to the first
    available one.

    Without ``times`` and ``b_values`` every series must have the timepoints of the table. With them, its frames are
    brought to the table's times or b-values as :meth:`TimepointTable.weights` says: DCE series of other times are
    interpolated in time, or refused, and diffusion-weighted frames are picked by their b-values.

    Although it reads images it is no subclass of MONAI's ``LoadImaged``, which hosts such as MONAI Label wrap in ways
    that a missing sequence does not survive; its name contains ``LoadImage``, by which MONAI Deploy knows what to leave
    out.

    Args:
        sequences: the sequence table.
        image_key: key of the image that is made.
        load_withheld: whether withheld sequences are read into the image. They never count as available.
        resample: whether a sequence on another grid is resampled linearly to the first, or refused.
        tolerance: greatest distance in millimetres by which the corners of two equal grids may differ.
        other_keys: further keys of the subject that hold image paths without being sequences; they are passed on, as
            ``"lesion"``, ``"patient"`` and ``"label"`` always are.
        times: sequence → seconds from its first frame to each of its timepoints, for sequences over time.
        b_values: sequence → b-values of its timepoints in s/mm², for diffusion-weighted sequences.
        resample_time: whether a series at other times than ``times`` is interpolated linearly in time, or refused.

    Example:
        >>> load = LoadImageSequencesd({"t1": 1, "t2": 1})
        >>> sample = load({"subject": "p1", "t2": "p1_t2.nii.gz"})  # doctest: +SKIP
        >>> sample["image"].shape, sample["available"]  # doctest: +SKIP
        (torch.Size([2, 240, 240, 155]), tensor([False,  True]))

    Raises:
        ValueError: when the table, ``times`` or ``b_values`` are not of their form.
    """

    def __init__(
        self,
        sequences: Mapping[str, int],
        image_key: str = "image",
        load_withheld: bool = False,
        resample: bool = False,
        tolerance: float = 0.01,
        other_keys: Sequence[str] = (),
        times: Mapping[str, Sequence[float]] | None = None,
        b_values: Mapping[str, Sequence[float]] | None = None,
        resample_time: bool = False,
    ) -> None:
        self.sequences = check_sequences(sequences)
        super().__init__(keys=list(self.sequences), allow_missing_keys=True)
        self.image_key = image_key
        self.load_withheld = load_withheld
        self.resample = resample
        self.tolerance = tolerance
        self.other_keys = tuple(other_keys)
        self.timepoints = TimepointTable(self.sequences, times, b_values, resample_time)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load one subject.

        Returns:
            The keys of ``data`` other than paths of sequences, and:
            ``image_key``: float32 ``MetaTensor`` ``[ΣT, X, Y, Z]``, all timepoints of all sequences in the table's
            order, intensities as in the files, zero where a sequence is missing, affine and file name of the first
            available sequence;
            ``"available"``: bool ``[S]``, sequences that may be used as input;
            ``"measured"``: bool ``[S]``, sequences that are in the image;
            ``"withheld"``: bool ``[S]``, sequences that are silenced on purpose, whether they are in the image or not;
            ``"subject"``: the subject's name.
        """
        subject = self._subject(data)
        available = self._read_available(data, subject)
        if not available:
            raise ValueError(
                f"Subject '{subject}' has no available sequence; give at least one of {', '.join(self.sequences)}, "
                "or leave the subject out."
            )
        withheld = self._withheld_files(data, subject, available)
        volumes = dict(available)
        if self.load_withheld:
            volumes |= {name: self._read_sequence(name, paths, subject) for name, paths in withheld.items()}
        reference = available[next(name for name in self.sequences if name in available)][0]
        channels = channel_slices(self.sequences)
        image = np.zeros((sum(self.sequences.values()), *reference.voxels.shape[1:]), dtype=np.float32)
        for name, parts in volumes.items():
            on_grid = [match_grid(part, reference, subject, self.tolerance, self.resample) for part in parts]
            np.concatenate(on_grid, out=image[channels[name]])

        dropped = {*self.sequences, "withheld", self.image_key}
        return {key: value for key, value in data.items() if key not in dropped} | {
            self.image_key: self._with_metadata(image, reference),
            "available": torch.tensor([name in available for name in self.sequences]),
            "measured": torch.tensor([name in volumes for name in self.sequences]),
            "withheld": torch.tensor([name in withheld for name in self.sequences]),
            "subject": subject,
        }

    def _subject(self, data: Mapping[Hashable, Any]) -> str:
        if data.get("subject"):
            return str(data["subject"])
        image = data.get(self.image_key)
        return Path(image).name.split(".nii")[0] if isinstance(image, (str, os.PathLike)) else "unnamed"

    def _read_available(self, data: Mapping[Hashable, Any], subject: str) -> dict[str, list[Volume]]:
        image = data.get(self.image_key)
        # Hosts add keys such as "image_path".
        known = [*self.other_keys, *(key for key in data if re.match(rf"{self.image_key}(_|$)", str(key)))]
        files: Mapping[Any, Any] = data
        if isinstance(image, Mapping):
            files, known = image, []
        elif isinstance(image, (list, tuple)):
            if len(image) != len(self.sequences):
                raise ValueError(
                    f"Subject '{subject}': '{self.image_key}' lists {len(image)} files; give one for each of "
                    f"{', '.join(self.sequences)}, null where it is absent."
                )
            files = dict(zip(self.sequences, image, strict=True))
        elif isinstance(image, (str, os.PathLike)) and Path(image).is_dir():
            files = folder_files(image, self.sequences, subject)
        elif isinstance(image, (str, os.PathLike)):
            return self._split(read_volume(image, subject, allow_constant=True), subject)
        found = subject_files(files, self.sequences, subject, known)
        return {name: self._read_sequence(name, paths, subject) for name, paths in found.items()}

    def _withheld_files(
        self, data: Mapping[Hashable, Any], subject: str, available: Mapping[str, Any]
    ) -> dict[str, list[Path]]:
        withheld = subject_files(data.get("withheld") or {}, self.sequences, subject)
        for group in ("withheld", "unique"):
            for name in data.get(group) or {}:
                try:
                    sequence_index(self.sequences, name)
                except ValueError as error:
                    raise ValueError(f"Subject '{subject}', '{group}': {error}") from error
        for name in withheld.keys() & available.keys():
            raise ValueError(f"Subject '{subject}': '{name}' is both available and withheld; keep one of the two.")
        return withheld

    def _read_sequence(self, name: str, paths: Sequence[Path], subject: str) -> list[Volume]:
        parts = [_read_series(path, subject) for path in paths]
        weights = self.timepoints.weights(name, parts, subject)
        if weights is None:
            return parts
        on_grid = [match_grid(part, parts[0], subject, self.tolerance, self.resample) for part in parts]
        frames = on_grid[0] if len(on_grid) == 1 else np.concatenate(on_grid)
        return [Volume(weighted_frames(weights, frames), parts[0].affine, parts[0].path)]

    def _split(self, stacked: Volume, subject: str) -> dict[str, list[Volume]]:
        channels = sum(self.sequences.values())
        if len(stacked.voxels) != channels:
            raise ValueError(
                f"Subject '{subject}': {stacked.path} has {len(stacked.voxels)} channels where the sequence table "
                f"({', '.join(f'{name}: {timepoints}' for name, timepoints in self.sequences.items())}) has {channels}."
            )
        return {
            name: [Volume(stacked.voxels[part], stacked.affine, stacked.path)]
            for name, part in channel_slices(self.sequences).items()
            if stacked.voxels[part].any()
        }

    @staticmethod
    def _with_metadata(image: np.ndarray, reference: Volume) -> MetaTensor:
        affine = torch.from_numpy(reference.affine.copy())
        metadata = {
            str(MetaKeys.ORIGINAL_AFFINE): affine.clone(),
            str(MetaKeys.SPATIAL_SHAPE): np.asarray(image.shape[1:]),
            str(MetaKeys.SPACE): SpaceKeys.RAS,
            str(MetaKeys.ORIGINAL_CHANNEL_DIM): 0,
            "filename_or_obj": str(reference.path),
        }
        return MetaTensor(torch.from_numpy(image), affine=affine, meta=metadata)


def _read_series(path: Path, subject: str) -> Volume:
    if path.is_dir():
        # pydicom is needed only by who has DICOM.
        from seq2seq_mri.io.dicom.read_dicom import read_dicom_series

        return read_dicom_series(path, subject)
    return read_volume(path, subject)
