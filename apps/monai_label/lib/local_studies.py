# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Subjects in a folder of NIfTI files, told by the files' names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath

from monailabel.interfaces.datastore import Datastore

from lib.studies import Studies, Subject, Synthesised, check_unambiguous, is_synthetic, synthetic_name
from seq2seq_mri.io.datalists.layouts import layout_recogniser, patient_of

__all__ = ["LocalStudies"]

_LISTED = 5


class LocalStudies(Studies):
    """Images whose ids, the names of their files, end with a sequence, as ``patient07_T1POST`` and ``p1-t1c`` do.

    Args:
        datastore: MONAI Label's datastore of a folder.
    """

    def __init__(self, datastore: Datastore) -> None:
        self.datastore = datastore

    def subject_of(self, image: str, sequences: Mapping[str, int]) -> Subject:
        self.path(image)
        told = self._told_by_name(image, sequences)
        if told is None:
            raise ValueError(
                f"The name of image '{image}' does not tell a sequence ({', '.join(sequences)}); say which image is "
                "which by the parameter 'sequences'."
            )
        subject = next(one for one in self.told_by_names(sequences) if one.name == told[0])
        check_unambiguous(subject)
        return subject

    def name_of(self, image: str, sequences: Mapping[str, int]) -> str:
        self.path(image)
        told = self._told_by_name(image, sequences)
        return image if told is None else told[0]

    def told_by_names(self, sequences: Mapping[str, int]) -> list[Subject]:
        subjects: dict[str, Subject] = {}
        for image in sorted(self.datastore.list_images()):
            told = self._told_by_name(image, sequences)
            if told is not None:
                name, sequence = told
                subject = subjects.setdefault(name, Subject(name, patient=patient_of(name)))
                subject.images.setdefault(sequence, []).append(image)
        return list(subjects.values())

    def path(self, image: str) -> Path:
        known = self.datastore.list_images()
        if image not in known:
            shown = ", ".join(sorted(known)[:_LISTED]) + (", …" if len(known) > _LISTED else "")
            raise FileNotFoundError(f"There is no image '{image}'; the datastore has {len(known)}: {shown or 'none'}.")
        return Path(self.datastore.get_image_uri(image))

    def check_new(self, subject: Subject, target: str) -> None:
        name = synthetic_name(subject.name, target)
        if name in self.datastore.list_images():
            raise FileExistsError(f"The datastore has an image '{name}'; remove it to synthesise it again.")

    def save(self, subject: Subject, result: Synthesised) -> str:
        self.check_new(subject, result.target)
        information = {"synthetic": True, "research_only": True, "sources": list(result.sources)}
        return self.datastore.add_image(synthetic_name(subject.name, result.target), str(result.path), information)

    def _told_by_name(self, image: str, sequences: Mapping[str, int]) -> tuple[str, str] | None:
        """Return the subject and the sequence that an image's name tells."""
        recognised = layout_recogniser("auto", {}, sequences)(PurePath(f"{image}.nii.gz"), False)
        if recognised is None or recognised.kind != "files" or is_synthetic(image):
            return None
        return recognised.subject, recognised.sequence
