# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Saves volumes as NIfTI files on the grid of the image that they were made from."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_numpy, ensure_tuple_rep

from seq2seq_mri.files import atomic_path
from seq2seq_mri.io.nifti import even_step, set_time_step, sidecar_texts
from seq2seq_mri.io.timepoints import check_b_values, check_times
from seq2seq_mri.sequences import channel_slices, check_sequences

__all__ = ["SaveImageSequencesd", "save_volume", "sequence_file", "source_grid"]

_EXISTING = ("error", "skip", "overwrite")
# Everything by which a NIfTI header places voxels in space and time.
_GEOMETRY_FIELDS = (
    "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def save_volume(
    path: str | os.PathLike,
    volume: np.ndarray | torch.Tensor,
    like: str | os.PathLike | np.ndarray | torch.Tensor,
    existing: str = "error",
    times: Sequence[float] | None = None,
    b_values: Sequence[float] | None = None,
    description: str = "",
) -> bool:
    """Save a volume as float32 NIfTI, whole or not at all.

    What is known of the timepoints of a 4D volume is saved as ``read_volume`` reads it: times that are evenly spaced
    from 0 in the header, others as ``FrameTimesStart`` in a ``.json`` file of the same name, b-values in a ``.bval``
    file. Such files of an earlier volume, which would be taken for this one's, count as part of what exists.

    Args:
        path: the ``.nii`` or ``.nii.gz`` file to write.
        volume: ``[X, Y, Z]`` or ``[T, X, Y, Z]``; saved as 4D when ``T`` > 1. Values are saved as they are.
        like: the NIfTI file on whose grid ``volume`` lies: its qform, sform, their codes, its units and its voxel sizes
            are copied. Or an affine ``[4, 4]`` in millimetres, RAS+, that becomes both (code 1, scanner).
        existing: ``"error"``, ``"skip"`` or ``"overwrite"`` a file that exists.
        times: seconds at which the ``T`` > 1 timepoints start.
        b_values: of the ``T`` > 1 timepoints, in s/mm².
        description: what the volume is, for the header's ``descrip``; at most 79 bytes.

    Returns:
        Whether the file was written; false only when ``existing`` is ``"skip"`` and the file was there.

    Raises:
        FileExistsError: when the file, or one that would be taken for a part of it, exists and ``existing`` is
            ``"error"``.
        OSError: when it cannot be written; the message names it.
        ValueError: when ``volume`` has another shape than ``like``, or holds NaN or infinite values, or ``like`` is no
            NIfTI file.
    """
    path = Path(path)
    _check_existing(existing)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path} must end with .nii or .nii.gz.")
    if existing == "skip" and path.exists():
        return False
    voxels = np.asarray(convert_to_numpy(volume), dtype=np.float32)
    if voxels.ndim == 4:
        voxels = voxels[0] if len(voxels) == 1 else np.moveaxis(voxels, 0, -1)
    elif voxels.ndim != 3:
        raise ValueError(f"{path}: the volume has shape {voxels.shape}; [X, Y, Z] or [T, X, Y, Z] is needed.")
    if not np.isfinite(voxels).all():
        raise ValueError(f"{path}: the volume holds NaN or infinite values, it is not saved.")
    image = _on_grid_of_file(voxels, like, path) if isinstance(like, (str, os.PathLike)) else _on_affine(voxels, like)
    image.header["descrip"] = description.encode()
    sidecars: dict[Path, str | None] = {}
    if voxels.ndim == 4:
        sidecars = sidecar_texts(path, voxels.shape[3], times, b_values)
        set_time_step(image.header, None if times is None else even_step(times))
    left_over = [sidecar for sidecar in sidecars if sidecar.exists() and not path.exists()]
    # With "skip", an image that is absent while they are there is one that an interrupted run has not completed.
    if left_over and existing == "error":
        raise FileExistsError(f"{left_over[0]} exists and would be taken for a part of {path}; remove it.")
    with atomic_path(path, overwrite=existing == "overwrite") as temporary:
        nibabel.save(image, temporary)
        # The image is moved into place after them, when all is complete.
        for sidecar, text in sidecars.items():
            if text is None:
                sidecar.unlink(missing_ok=True)
            else:
                with atomic_path(sidecar, overwrite=True) as temporary_sidecar:
                    temporary_sidecar.write_text(text, encoding="utf-8")
    return True


def sequence_file(subject: str, sequence: str, suffix: str = "") -> str:
    """Return the name of the file that holds a subject's ``sequence``, see :class:`SaveImageSequencesd`."""
    return f"{subject}_{sequence}{suffix}.nii.gz"


class SaveImageSequencesd(MapTransform):
    """Save sequences of a subject as ``<output_dir>/<subject>/<subject>_<sequence><suffix>.nii.gz``.

    The source file in the metadata of ``image`` gives the grid, or the affine that was loaded where it is a folder of
    DICOM files; the volumes must lie on it, so this comes after ``Invertd``. The files of a subject are written at the
    same time: nearly all of the work is compression, during which Python lets other threads run.

    Args:
        keys: keys of volumes ``[ΣT, X, Y, Z]``, the timepoints of some sequences laid end to end.
        sequences: the sequence table.
        output_dir: where the subjects' folders are made.
        names_key: key of the list of the sequences that the volumes hold, in their order; when a sample has no such
            key, the volumes hold all of the table.
        suffixes: what to append to the file name for each of ``keys``, for example ``["", "_sd"]``.
        subject_folder: whether each subject has a folder of its own, or all files are in ``output_dir``.
        existing: ``"error"``, ``"skip"`` or ``"overwrite"`` files that exist.
        allow_missing_keys: whether ``keys`` that a sample has not are passed over.
        threads: most files that are written at the same time.
        times: sequence → seconds from its first frame to each of its timepoints, saved with it.
        b_values: sequence → b-values of its timepoints in s/mm², saved with it.
        descriptions_key: key of a mapping from sequences to what their volumes are, saved in the header's ``descrip``.

    Raises:
        ValueError: when ``existing`` is none of the three, ``threads`` is less than 1, or ``times`` or ``b_values`` do
            not fit the sequence table.
    """

    def __init__(
        self,
        keys: KeysCollection,
        sequences: Mapping[str, int],
        output_dir: str | os.PathLike,
        names_key: str = "targets",
        suffixes: str | Sequence[str] = "",
        subject_folder: bool = True,
        existing: str = "error",
        allow_missing_keys: bool = False,
        threads: int = 4,
        times: Mapping[str, Sequence[float]] | None = None,
        b_values: Mapping[str, Sequence[float]] | None = None,
        descriptions_key: str | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.sequences = check_sequences(sequences)
        self.output_dir = Path(output_dir)
        self.names_key = names_key
        self.suffixes = ensure_tuple_rep(suffixes, len(self.keys))
        self.subject_folder = subject_folder
        self.existing = _check_existing(existing)
        self.threads = threads
        self.times = check_times(self.sequences, times)
        self.b_values = check_b_values(self.sequences, b_values)
        self.descriptions_key = descriptions_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Save the volumes of one subject; ``data`` is returned as it is.

        A file that cannot be written does not stop the others of the subject; the first error, in the order of
        ``keys`` and sequences, is raised when all have ended.
        """
        subject = str(data["subject"])
        names = list(data.get(self.names_key, self.sequences))
        held = {name: self.sequences[name] for name in names}
        folder = self.output_dir / subject if self.subject_folder else self.output_dir
        volumes: dict[Path, tuple[str, Any]] = {}
        for key, suffix in self.key_iterator(data, self.suffixes):
            volume = data[key]
            if len(volume) != sum(held.values()):
                raise ValueError(
                    f"Subject '{subject}': '{key}' has {len(volume)} channels, but {', '.join(names)} have "
                    f"{sum(held.values())} timepoints."
                )
            for name, part in channel_slices(held).items():
                path = folder / sequence_file(subject, name, suffix)
                if path in volumes:
                    raise ValueError(
                        f"{path} would hold two volumes; give each of {', '.join(map(str, self.keys))} its own suffix."
                    )
                volumes[path] = (name, volume[part])
        metadata = data["image"].meta
        like = source_grid(metadata)
        source = metadata["filename_or_obj"]
        if like is not source:  # an affine says nothing of the shape, for which a file is asked when it is written
            shape = tuple(int(size) for size in metadata["spatial_shape"])
            for path, (_, part) in volumes.items():
                if tuple(part.shape[1:]) != shape:
                    raise ValueError(f"{path}: shape {tuple(part.shape[1:])} is not that of {source}, {shape}.")
        descriptions = {} if self.descriptions_key is None else data[self.descriptions_key]

        def about(name: str) -> tuple[Sequence[float] | None, Sequence[float] | None, str]:
            return self.times.get(name), self.b_values.get(name), descriptions.get(name, "")

        with ThreadPoolExecutor(self.threads, thread_name_prefix="save") as pool:
            saved = [
                pool.submit(save_volume, path, part, like, self.existing, *about(name))
                for path, (name, part) in volumes.items()
            ]
        for future in saved:
            future.result()
        return dict(data)


def _check_existing(existing: str) -> str:
    if existing not in _EXISTING:
        raise ValueError(f"existing is {existing!r}; give one of {', '.join(_EXISTING)}.")
    return existing


def source_grid(metadata: Mapping[str, Any]) -> str | torch.Tensor:
    """Return on what an image's results are saved: its source file, or of a folder the affine of what was loaded."""
    source = metadata["filename_or_obj"]
    return metadata["original_affine"] if Path(source).is_dir() else source


def _on_grid_of_file(voxels: np.ndarray, like: str | os.PathLike, path: Path) -> nibabel.Nifti1Image:
    source = nibabel.load(like)
    if not isinstance(source, nibabel.nifti1.Nifti1Pair):
        raise ValueError(f"{path}: {like} is not a NIfTI file, so its geometry cannot be copied.")
    if source.shape[:3] != voxels.shape[:3]:
        raise ValueError(f"{path}: shape {voxels.shape[:3]} is not that of {like}, {source.shape[:3]}.")
    header = nibabel.Nifti1Header()
    for field in _GEOMETRY_FIELDS:
        header[field] = source.header[field]
    return nibabel.Nifti1Image(voxels, source.affine, header)


def _on_affine(voxels: np.ndarray, affine: np.ndarray | torch.Tensor) -> nibabel.Nifti1Image:
    affine = np.asarray(convert_to_numpy(affine), dtype=np.float64)
    image = nibabel.Nifti1Image(voxels, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    return image
