# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Subjects on a DICOMweb server: a study is a subject, and its MR series are told by their descriptions."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from monailabel.datastore.dicom import DICOMWebDatastore
from pydicom import dcmread
from pydicom.dataset import Dataset

from lib.studies import Studies, Subject, Synthesised, check_unambiguous, is_synthetic
from seq2seq_mri.io.datalists.layouts import layout_recogniser
from seq2seq_mri.io.dicom.derived_series import write_derived_mr_series

__all__ = ["DicomWebStudies"]

_UID = re.compile(r"[0-9.]{1,64}")
_FIELDS = ["PatientID", "SeriesDescription", "Modality", "StudyInstanceUID"]


class DicomWebStudies(Studies):
    """Series whose description is the name of a sequence, such as ``T1``, ``t1ce`` or ``FLAIR``, and nothing else.

    Descriptions in clinical use vary too much for more ("post T1" is T1Gd, whatever it ends with), so a request that is
    about other series names them. A series is kept in the datastore's cache as long as the server has the same images.

    Args:
        datastore: MONAI Label's datastore of a DICOMweb server.
    """

    def __init__(self, datastore: DICOMWebDatastore) -> None:
        self.datastore = datastore
        self.client = datastore._client
        self.cache = Path(datastore._datastore_path) / "seq2seq_mri"

    def subject_of(self, image: str, sequences: Mapping[str, int]) -> Subject:
        study = self._series(image).StudyInstanceUID
        of_study = self._search(study_instance_uid=study)
        subject = self._grouped(of_study, sequences).get(study)
        if subject is None:
            told = ", ".join(f"'{series.get('SeriesDescription', '')}'" for series in of_study)
            raise ValueError(
                f"No MR series of the study is called like a sequence ({', '.join(sequences)}); there are {told}. Say "
                "which series is which by the parameter 'sequences'."
            )
        check_unambiguous(subject)
        return subject

    def name_of(self, image: str, sequences: Mapping[str, int]) -> str:
        return _file_name(self._series(image))

    def told_by_names(self, sequences: Mapping[str, int]) -> list[Subject]:
        return list(self._grouped(self._search(search_filters={"Modality": "MR"}), sequences).values())

    def path(self, image: str) -> Path:
        study = self._series(image).StudyInstanceUID
        there = {str(one.SOPInstanceUID) for one in map(Dataset.from_json, self._instances(study, image))}
        folder = self.cache / image
        if folder.is_dir():
            if {path.stem for path in folder.iterdir()} == there:
                return folder
            shutil.rmtree(folder)
        self.cache.mkdir(parents=True, exist_ok=True)
        partial = self.cache / f".{image}.{secrets.token_hex(8)}.partial"
        partial.mkdir()
        try:
            for instance in self.client.retrieve_series(study, image):
                instance.save_as(partial / f"{instance.SOPInstanceUID}.dcm", write_like_original=False)
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder

    def check_new(self, subject: Subject, target: str) -> None:
        """Do nothing: a series has a UID of its content, so that none is overwritten by another."""

    def save(self, subject: Subject, result: Synthesised) -> str:
        # The series on whose grid the volume lies comes first, the one that gives the frame of reference.
        sources = [path for name in result.sources for uid in subject.images[name] for path in _files(self.path(uid))]
        with tempfile.TemporaryDirectory() as folder:
            paths = write_derived_mr_series(
                result.volume,
                result.affine,
                sources,
                Path(folder) / "series",
                f"synthetic {result.target}, research only",
                times=result.times,
                b_values=result.b_values,
            )
            instances = [dcmread(path) for path in paths]
        answer = self.client.store_instances(instances)
        refused = answer.get("FailedSOPSequence") or []
        if refused:
            raise ValueError(
                f"The DICOMweb server has refused {len(refused)} of {len(instances)} images of the series."
            )
        # The datastore remembers for two hours which series there are.
        getattr(DICOMWebDatastore.list_images, "cache", {}).clear()
        return str(instances[0].SeriesInstanceUID)

    def _series(self, uid: str) -> Dataset:
        found = self._search(search_filters={"SeriesInstanceUID": uid}) if _UID.fullmatch(uid) else []
        found = [series for series in found if series.SeriesInstanceUID == uid]
        if not found:
            raise FileNotFoundError(f"There is no series '{uid}' on the DICOMweb server; an image's id is its UID.")
        if found[0].get("Modality") != "MR":
            raise ValueError(
                f"Series {uid} ({found[0].get('SeriesDescription')}) is {found[0].get('Modality')}, not MR."
            )
        return found[0]

    def _search(self, **query) -> list[Dataset]:
        return [Dataset.from_json(series) for series in self.client.search_for_series(fields=_FIELDS, **query)]

    def _instances(self, study: str, series: str) -> list[dict]:
        return self.client.search_for_instances(study, series)

    @staticmethod
    def _grouped(found: Iterable[Dataset], sequences: Mapping[str, int]) -> dict[str, Subject]:
        """Return the subjects by the UID of their study."""
        recognise = layout_recogniser("auto", {}, sequences)
        subjects: dict[str, Subject] = {}
        for series in found:
            description = str(series.get("SeriesDescription") or "").strip()
            # In a folder, only a whole name is recognised as a sequence of the folder, not one that ends like it.
            recognised = recognise(PurePath("study", f"{description.replace('/', '|')}.nii.gz"), False)
            if series.get("Modality") != "MR" or recognised is None or recognised.subject != "study":
                continue
            if recognised.kind != "files" or is_synthetic(description):
                continue
            subject = subjects.setdefault(
                series.StudyInstanceUID, Subject(_file_name(series), patient=str(series.get("PatientID") or "") or None)
            )
            subject.images.setdefault(recognised.sequence, []).append(str(series.SeriesInstanceUID))
        return subjects


def _file_name(series: Dataset) -> str:
    """Return a name of the patient and the study that may be a file's."""
    patient = re.sub(r"[^A-Za-z0-9.-]+", "-", str(series.get("PatientID") or "")).strip("-.") or "study"
    return f"{patient}_{str(series.StudyInstanceUID)[-8:]}"


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())
