# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Synthesising a sequence of a subject from the others."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.inferers import Inferer
from monailabel.interfaces.tasks.infer_v2 import InferType

from lib.bundle_task import BundleTask
from lib.studies import Studies, Subject, Synthesised
from seq2seq_mri.inference.fusion import fusion_by_name
from seq2seq_mri.io.save import SaveImageSequencesd
from seq2seq_mri.sequences import sequence_index

__all__ = ["SynthesisTask"]

_MEAN = "mean"
_DTYPES = (None, "", "float32")
_EXTENSIONS = (None, "", ".nii.gz")


class SynthesisTask(BundleTask):
    """Makes the sequence ``target`` with a generator bundle.

    A request may have, beside MONAI Label's ``image``, ``device`` and ``model_filename``:
    ``target``, the sequence to make (default: the one that is missing); ``fusion``, "mean" or the name of an adjacency
    table (.csv) in the bundle's ``models``; ``sequences``, sequence → id of its image (default: told by names); and
    ``save``, whether the result becomes a new image of the datastore. The result is float32 NIfTI on the grid of the
    first sequence; a client that asks for another type gets an error instead of an image whose values have wrapped.

    Args:
        bundle: the bundle's folder.
        trainings: see :class:`BundleTask`.
    """

    def __init__(self, bundle: Path, trainings: Path) -> None:
        super().__init__(bundle, InferType.OTHERS, trainings)
        self._config |= {"target": ["", *self.sequences], "fusion": list(self._fusions()), "save": False}

    def checked(self, request: Mapping[str, Any], subject: Subject | None, studies: Studies) -> dict[str, Any]:
        target, fusion = (_first(request.get(name)) for name in ("target", "fusion"))
        if target:
            sequence_index(self.sequences, str(target))
        if (fusion or _MEAN) not in self._fusions():
            raise FileNotFoundError(f"There is no fusion {fusion!r}; there are {', '.join(self._fusions())}.")
        save = request.get("save", False)
        if not isinstance(save, bool):
            raise ValueError(f"'save' is {save!r}; give true or false.")
        if request.get("result_dtype") not in _DTYPES:
            raise ValueError(
                f"result_dtype is {request['result_dtype']!r}: a synthesised image is float32, and another type would "
                "destroy its intensities; leave result_dtype out or give float32."
            )
        if request.get("result_extension") not in _EXTENSIONS:
            raise ValueError(f"result_extension is {request['result_extension']!r}; the result is .nii.gz.")
        if request.get("label_info"):
            raise ValueError("A synthesised image is no segmentation; it cannot be given as DICOM SEG.")
        if save and subject is None:
            raise ValueError("An uploaded file belongs to no subject of the datastore; leave 'save' out.")
        missing = [name for name in self.sequences if subject is not None and name not in subject.images]
        if save and subject is not None and (target or len(missing) == 1):
            studies.check_new(subject, str(target or missing[0]))
        checked = super().checked(request, subject, studies)
        return checked | {"target": target or None, "fusion": fusion or _MEAN}

    def inferer(self, data: dict[str, Any]) -> Inferer:
        inferer = super().inferer(data)
        available = inferer.translation.available_sequences(data["image"][None], self.sequences)
        missing = [name for name in self.sequences if name not in available]
        if data["target"] is None and len(missing) == 1:
            data["target"] = missing[0]
        # Otherwise the inferer says what is wrong.
        inferer.target = data["target"]
        inferer.fusion = fusion_by_name(self._fusions()[data["fusion"]])
        data["sources"] = [name for name in available if name != data["target"]]
        return inferer

    def result(self, data: dict[str, Any]) -> Synthesised:
        """Write the synthesised sequence to a temporary NIfTI file, as ``monai.bundle run`` saves it."""
        postprocessing = self.bundle_config.get_parsed_content("postprocessing")
        saver = copy.copy(next(part for part in postprocessing.transforms if isinstance(part, SaveImageSequencesd)))
        target, subject = data["target"], data["subject"]
        with tempfile.TemporaryDirectory() as folder:
            saver.keys, saver.suffixes = ("pred",), ("",)
            saver.output_dir, saver.subject_folder, saver.existing = Path(folder), False, "error"
            saver(data | {saver.names_key: [target]})
            (written,) = Path(folder).glob("*.nii.gz")
            descriptor, path = tempfile.mkstemp(prefix=f"{subject}_{target}_", suffix=".nii.gz")
            os.close(descriptor)
            os.replace(written, path)
        return Synthesised(
            target=target,
            volume=data["pred"],
            affine=data["image"].meta["original_affine"],
            path=Path(path),
            sources=tuple(data["sources"]),
            times=saver.times.get(target),
            b_values=saver.b_values.get(target),
        )

    def _fusions(self) -> dict[str, str]:
        return {_MEAN: _MEAN} | {path.name: str(path) for path in sorted((self.bundle / "models").glob("*.csv"))}


def _first(value: Any) -> Any:
    """Return the value, or the first of the choices that MONAI Label's clients send back."""
    return value[0] if isinstance(value, list) and value else value
