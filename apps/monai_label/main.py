# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""MONAI Label app: missing MRI sequences synthesised, and patients classified, by the bundles of this repository.

``monailabel start_server --app apps/monai_label --studies FOLDER_OR_DICOMWEB_URL``; see docs/monai_label.md.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from lib.bundle_task import BundleTask
from lib.classification import ClassificationTask
from lib.client_errors import as_responses
from lib.dicomweb_studies import DicomWebStudies
from lib.local_studies import LocalStudies
from lib.studies import Studies
from lib.synthesis import SynthesisTask
from lib.training import TrainingTask
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

logger = logging.getLogger(__name__)

_TASKS: dict[str, type[SynthesisTask] | type[ClassificationTask]] = {
    "seq2seq_brats": SynthesisTask,
    "seq2seq_breast": SynthesisTask,
    "differentiation_classifier": ClassificationTask,
}


class MyApp(MONAILabelApp):
    """Serves the bundles that have weights.

    Args:
        app_dir: this folder.
        studies: a folder of NIfTI files, or the URL of a DICOMweb server.
        conf: ``models``, names of bundles with commas between (default: all that have weights); ``bundles``, the folder
            that they are in (default: the repository's); ``output``, the folder for trainings (default: ``model``
            here).
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        folder = Path(app_dir).resolve()
        self.bundles = Path(conf.get("bundles", folder.parents[1] / "bundles")).expanduser().resolve()
        self.output = Path(conf.get("output", folder / "model")).expanduser().resolve()
        super().__init__(
            app_dir,
            studies,
            conf,
            name="seq2seq_mri",
            description="Synthesis of missing MRI sequences and classification of patients, for research only",
        )

    def init_datastore(self) -> Datastore:
        # MONAI Label's own default is CT.
        if settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER == {"Modality": "CT"}:
            settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER = {"Modality": "MR"}
        return super().init_datastore()

    def init_infers(self) -> dict[str, BundleTask]:
        tasks = {}
        for name in self._names():
            bundle = self.bundles / name
            if (bundle / "models" / "model.pt").is_file():
                tasks[name] = _TASKS[name](bundle, self.output / name)
            elif "models" in self.conf:
                raise ValueError(f"{bundle} has no models/model.pt; give the folder of the bundles by --conf bundles.")
            else:
                logger.warning(f"{bundle} has no models/model.pt; it is not served.")
        return tasks

    def init_trainers(self) -> dict[str, TrainingTask]:
        return {
            name: TrainingTask(task.bundle, task.sequences, self.output / name, self._studies(self.datastore()))
            for name, task in self._infers.items()
            if isinstance(task, SynthesisTask)
        }

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Answer a request for inference; see the tasks for its parameters.

        Raises:
            HTTPException: with a 4xx status and a message when something is wrong with the request.
        """
        with as_responses():
            task = self._infers.get(request.get("model"))
            if task is None:
                raise FileNotFoundError(
                    f"There is no model {request.get('model')!r}; there are {', '.join(self._infers)}."
                )
            studies = self._studies(datastore or self.datastore())
            subject = task.subject(request, studies)
            data = task.run(task.checked(request, subject, studies))
            if isinstance(task, ClassificationTask):
                return _answer(None, task.result(data))
            result = task.result(data)
            try:
                saved = studies.save(subject, result) if request.get("save") and subject is not None else None
            except BaseException:
                result.path.unlink()
                raise
            return _answer(result.path, {"target": result.target, "sources": list(result.sources), "saved": saved})

    def train(self, request: dict[str, Any]) -> dict[str, Any]:
        """Train a bundle; see :class:`TrainingTask` for the parameters."""
        with as_responses():
            return super().train(request)

    def batch_infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Refuse: MONAI Label would run a subject once for each of its images, and save results as segmentations."""
        raise HTTPException(400, "These models run on a subject, not on single images; send one request for each.")

    def bundle_path(self, model: str | None) -> str | None:
        """Say at once that there is nothing to train; MONAI Label asks for this before it starts a process."""
        if model is not None and model not in self._trainers and model not in self._infers:
            raise HTTPException(404, f"There is no model {model!r}; trainable are {', '.join(self._trainers)}.")
        return None

    def _download_dcmqi_tools(self) -> None:
        """Do nothing: only segmentations need them, and MONAI Label would load them from the internet."""

    def _names(self) -> list[str]:
        names = [name.strip() for name in self.conf["models"].split(",")] if "models" in self.conf else list(_TASKS)
        for name in names:
            if name not in _TASKS:
                raise ValueError(f"Unknown bundle '{name}' in --conf models; known are {', '.join(_TASKS)}.")
        return names

    @staticmethod
    def _studies(datastore: Datastore) -> Studies:
        return DicomWebStudies(datastore) if isinstance(datastore, DICOMWebDatastore) else LocalStudies(datastore)


def _answer(path: Path | None, parameters: dict[str, Any]) -> dict[str, Any]:
    file = None if path is None else str(path)
    return {"label": file, "tag": DefaultLabelTag.ORIGINAL, "file": file, "params": parameters}
