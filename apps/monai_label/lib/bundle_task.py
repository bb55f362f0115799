# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the app's inference tasks have in common: a bundle, its weights, and requests that are checked first."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.transforms import SaveImaged
from monailabel.config import settings
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.utils.others.generic import device_list

from lib.studies import Studies, Subject
from seq2seq_mri.io.save import SaveImageSequencesd
from seq2seq_mri.sequences import check_sequences
from seq2seq_mri.training.checkpoint import load_weights

__all__ = ["BundleTask"]

_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


class BundleTask(BundleInferTask):
    """A task that runs a bundle's ``configs/inference.json`` on a subject.

    Nothing of a request reaches the bundle's configuration unchecked: MONAI's parser would evaluate a text that begins
    with a dollar sign.

    Args:
        bundle: the bundle's folder, with ``models/model.pt``.
        kind: what the result is.
        trainings: the folder where this app's trainings of the bundle are, whose weights may be chosen too.
    """

    def __init__(self, bundle: Path, kind: InferType, trainings: Path) -> None:
        self.bundle = bundle
        self.trainings = trainings
        super().__init__(
            str(bundle),
            conf={},
            type=kind,
            post_filter=[SaveImaged, SaveImageSequencesd],
            extend_load_image=False,
            add_post_restore=False,
            load_strict=True,
            skip_writer=True,
        )
        self.sequences = check_sequences(self.bundle_config["sequences"])
        # Names by which clients would call the values of a segmentation.
        self.labels: list[str] = []
        self._loaded: tuple[tuple, torch.nn.Module] | None = None

    def config(self) -> dict[str, Any]:
        """Return the parameters that a request may have, a list being choices with the default first."""
        return self._config | {"model_filename": list(self.weights())}

    def weights(self) -> dict[str, Path]:
        """Return the files of weights that a request may choose, ``model.pt`` first."""
        shipped = sorted((self.bundle / "models").glob("*.pt"), key=lambda path: (path.name != "model.pt", path.name))
        trained = sorted(self.trainings.glob("*/checkpoints/best.pt"))
        return {path.name: path for path in shipped} | {f"{path.parent.parent.name}/best.pt": path for path in trained}

    def subject(self, request: Mapping[str, Any], studies: Studies) -> Subject | None:
        """Return the subject of a request; ``None`` when its image is a file with all sequences as channels.

        Raises:
            FileNotFoundError: when there is no such image.
            ValueError: when ``sequences`` is wrong, or is needed.
        """
        image = request.get("image")
        if not isinstance(image, str) or not image:
            raise ValueError("Give the id of an image.")
        if request.get("sequences") is not None:
            return studies.named_subject(image, request["sequences"], self.sequences)
        if _is_uploaded(image):
            return None
        return studies.subject_of(image, self.sequences)

    def checked(self, request: Mapping[str, Any], subject: Subject | None, studies: Studies) -> dict[str, Any]:
        """Return the request with which the bundle is run: what this task knows of it, checked, and nothing else.

        Raises:
            FileNotFoundError: when an image of the subject, or the weights, do not exist.
            ValueError: when a parameter has a value that it may not have.
        """
        device = request.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")
        device = device[0] if isinstance(device, list) and device else device
        if device not in device_list() and not (isinstance(device, str) and _DEVICE.fullmatch(device)):
            raise ValueError(f"Unknown device {device!r}; the server has {', '.join(device_list())}.")
        chosen, known = request.get("model_filename"), list(self.weights())
        chosen = chosen[0] if isinstance(chosen, list) and chosen else chosen or "model.pt"
        if chosen not in known:
            raise FileNotFoundError(f"There are no weights {chosen!r}; there are {', '.join(known)}.")
        if subject is None:
            image: Any = Path(request["image"])
            return {"image": image, "device": device, "model_filename": chosen}
        return {
            "image": studies.files(subject),
            "subject": subject.name,
            "device": device,
            "model_filename": chosen,
        }

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the data after the bundle's postprocessing, for a request of :meth:`checked`."""
        # Displayable parameters keep the bundle's values unless the task says otherwise.
        kept = dict(self.bundle_config.get("displayable_configs") or {})
        _, data = self(kept | request)
        return data

    def _get_network(self, device: str, data: Mapping[str, Any]) -> torch.nn.Module:
        path = self.weights()[data["model_filename"]]
        key = (device, path, path.stat().st_mtime_ns)
        if self._loaded is None or self._loaded[0] != key:
            network = load_weights(copy.deepcopy(self.network), path)
            self._loaded = key, network.to(torch.device(device)).eval()
        return self._loaded[1]


def _is_uploaded(image: str) -> bool:
    """Return whether an image is not an id but an uploaded file's path, which MONAI Label puts in place of the id.

    Any other path of the server is none of a client's business.
    """
    path = Path(image).resolve()
    sessions = settings.MONAI_LABEL_SESSION_PATH or Path.home() / ".cache" / "monailabel" / "sessions"
    folders = [Path(tempfile.gettempdir()).resolve(), Path(sessions).resolve()]
    return Path(image).is_absolute() and path.is_file() and any(folder in path.parents for folder in folders)
