# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The MONAI Label app in a running server gives what ``monai.bundle run`` gives, and says what is wrong with a request.

MONAI Label lives in an environment of its own, made as docs/monai_label.md says; ``SEQ2SEQ_MRI_LABEL_PYTHON`` names
its interpreter.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import requests
from phantom import AVAILABLE, SUBJECT, assert_equal, run_bundle, write_datalist, write_dicom, write_phantom
from servers import ask, free_port, running, start_orthanc, wait_until

from seq2seq_mri.io.dicom.read_dicom import read_dicom_series

pytestmark = pytest.mark.slow

TARGET = "t1gd"
# What the app multiplies the values of a DICOM series by, so that viewers show them.
SCALE = 1000
ORTHANC = shutil.which("Orthanc")
CHROMIUM = shutil.which("chromium")
needs_orthanc = pytest.mark.skipif(
    ORTHANC is None, reason="Orthanc is not installed (apt-get install orthanc-dicomweb)"
)


@dataclass(frozen=True)
class Label:
    """A running server, the folder of its studies, and those where it may leave something behind."""

    url: str
    studies: Path
    temporary: Path
    trainings: Path

    def infer(self, model: str, image: str, output: str = "image", **params: object) -> requests.Response:
        query = urlencode({"image": image, "output": output})
        return ask(f"{self.url}/infer/{model}?{query}", method="POST", data={"params": json.dumps(params)})

    def contents(self) -> list[str]:
        """Return what is in the studies, when nothing is left in the folder for temporary files.

        MONAI Label removes what it has sent after the answer has gone out.
        """
        wait_until(lambda: not list(self.temporary.rglob("*.nii.gz")), "the server still has temporary files")
        return sorted(str(path) for path in self.studies.rglob("*.nii.gz"))


@pytest.fixture(scope="module")
def label_python() -> str:
    python = os.environ.get("SEQ2SEQ_MRI_LABEL_PYTHON")
    if not python:
        pytest.skip("SEQ2SEQ_MRI_LABEL_PYTHON does not name the interpreter of MONAI Label's environment")
    return python


@pytest.fixture(scope="module")
def bundles(repository, tmp_path_factory) -> Path:
    """A copy of the bundles, with weights in one that are another's."""
    folder = tmp_path_factory.mktemp("bundles")
    for name in ("seq2seq_brats", "differentiation_classifier"):
        for part in ("configs", "models"):
            shutil.copytree(repository / "bundles" / name / part, folder / name / part)
    shutil.copy(
        folder / "differentiation_classifier" / "models" / "model.pt", folder / "seq2seq_brats" / "models" / "wrong.pt"
    )
    return folder


@pytest.fixture(scope="module")
def start(repository, label_python, bundles, tmp_path_factory):
    """Start the app on some studies."""

    def serve(studies: Path | str) -> Iterator[Label]:
        folder = tmp_path_factory.mktemp("label")
        # MONAI Label writes into the folder of the app.
        shutil.copytree(repository / "apps" / "monai_label", folder / "app", ignore=shutil.ignore_patterns("model"))
        (folder / "temporary").mkdir()
        port = free_port()
        command = [label_python, "-m", "monailabel.main", "start_server", "--app", str(folder / "app")]
        command += ["--studies", str(studies), "--conf", "bundles", str(bundles), "--conf", "output"]
        command += [str(folder / "trainings"), "--host", "127.0.0.1", "--port", str(port)]
        environment = {
            "TMPDIR": str(folder / "temporary"),
            "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(folder / "cache"),
            "CUDA_VISIBLE_DEVICES": "",
        }
        url = f"http://127.0.0.1:{port}"
        with running(command, f"{url}/info/", folder / "label.log", environment=environment):
            local = studies if isinstance(studies, Path) else folder / "cache"
            yield Label(url, local, folder / "temporary", folder / "trainings")

    return serve


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """The folder of the phantom; its parent is a dataset_dir."""
    return write_phantom(tmp_path_factory.mktemp("phantom"))


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> Path:
    """The folder of a subject that has T1Gd too, as the classifier needs."""
    return write_phantom(tmp_path_factory.mktemp("complete"), "complete", (*AVAILABLE, TARGET))


@pytest.fixture(scope="module")
def reference(bundles, phantom, tmp_path_factory) -> nibabel.Nifti1Image:
    """What ``monai.bundle run`` makes of the phantom."""
    output = run_bundle(
        bundles / "seq2seq_brats", phantom.parent, tmp_path_factory.mktemp("reference") / "out", targets=f"['{TARGET}']"
    )
    return nibabel.load(output / SUBJECT / f"{SUBJECT}_{TARGET}.nii.gz")


@pytest.fixture(scope="module")
def local(start, phantom, complete, tmp_path_factory) -> Iterator[Label]:
    """A server of a folder with both subjects, and of one with two images that look like its T1."""
    studies = tmp_path_factory.mktemp("studies")
    for path in (*phantom.glob("*.nii.gz"), *complete.glob("*.nii.gz")):
        shutil.copy(path, studies)
    for name in ("double_t1", "double-t1n"):
        shutil.copy(phantom / f"{SUBJECT}_t1.nii.gz", studies / f"{name}.nii.gz")
    shutil.copy(phantom / f"{SUBJECT}_t1.nii.gz", studies / "scan7.nii.gz")
    yield from start(studies)


@pytest.fixture(scope="module")
def orthanc(phantom, tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("orthanc")
    with start_orthanc(folder) as url:
        t1 = phantom / f"{SUBJECT}_t1.nii.gz"
        written = [
            write_dicom({name: phantom / f"{SUBJECT}_{name}.nii.gz" for name in AVAILABLE}, folder / "phantom"),
            write_dicom({"a": t1, "b": t1}, folder / "double", subject="double", descriptions={"a": "t1", "b": "T1w"}),
            write_dicom({"ct": t1}, folder / "ct", subject="ct", modalities={"ct": "CT"}),
            write_dicom({"odd": t1}, folder / "odd", subject="odd", descriptions={"odd": "post t1"}),
        ]
        for path in (path for series in written for place in series.values() for path in place.iterdir()):
            assert ask(f"{url}/instances", method="POST", data=path.read_bytes()).status_code == 200
        yield url


@pytest.fixture(scope="module")
def dicomweb(start, orthanc) -> Iterator[Label]:
    yield from start(f"{orthanc}/dicom-web")


def series_of(orthanc: str, patient: str) -> dict[str, str]:
    """Return a patient's series: description → UID."""
    found = ask(f"{orthanc}/dicom-web/series?includefield=PatientID&PatientID={patient}").json()
    return {series["0008103E"]["Value"][0]: series["0020000E"]["Value"][0] for series in found}


def volume_of(answer: requests.Response, path: Path) -> nibabel.Nifti1Image:
    assert answer.status_code == 200, answer.content
    path.write_bytes(answer.content)
    return nibabel.load(path)


class TestLocal:
    def test_equals_bundle_run(self, local, reference, tmp_path) -> None:
        before = local.contents()
        image = volume_of(local.infer("seq2seq_brats", f"{SUBJECT}_t2"), tmp_path / "t1gd.nii.gz")
        assert_equal(image, reference)
        for field in ("sform_code", "qform_code"):
            assert image.header[field] == reference.header[field]
        assert local.contents() == before

    def test_named_sequences_and_a_new_image(self, local, reference, tmp_path) -> None:
        named = {name: f"{SUBJECT}_{name}" for name in AVAILABLE}
        request = {"target": TARGET, "fusion": "mean", "sequences": named, "save": True, "result_dtype": "float32"}
        saved = f"{SUBJECT}_{TARGET}_synthetic"
        try:
            answer = local.infer("seq2seq_brats", f"{SUBJECT}_t1", "json", **request)
            assert answer.status_code == 200, answer.content
            assert answer.json() == {"target": TARGET, "sources": list(AVAILABLE), "saved": saved}
            assert_equal(
                volume_of(ask(f"{local.url}/datastore/image?image={saved}"), tmp_path / "saved.nii.gz"), reference
            )
            assert ask(f"{local.url}/datastore/image/info?image={saved}").json()["synthetic"] is True
            again = local.infer("seq2seq_brats", f"{SUBJECT}_t1", "json", **request)
            assert again.status_code == 409
            assert saved in again.json()["detail"]
            # It is no source of the next request.
            assert local.infer("seq2seq_brats", saved).status_code == 400
        finally:
            ask(f"{local.url}/datastore/image?id={saved}", method="DELETE")

    def test_probability_is_that_of_bundle_run(self, local, bundles, complete, tmp_path) -> None:
        bundle = bundles / "differentiation_classifier"
        table = pd.read_csv(run_bundle(bundle, complete.parent, tmp_path / "classified") / "predictions.csv")
        answer = local.infer("differentiation_classifier", "complete_t1", "json")
        assert answer.status_code == 200, answer.content
        (prediction,) = answer.json()["prediction"]
        assert prediction["score"] == pytest.approx(table["probability"][0], rel=1e-5)
        assert 0 < prediction["score"] < 1

    @pytest.mark.parametrize(
        ("model", "image", "params", "status", "message"),
        [
            ("seq2seq_brats", "nobody_t1", {}, 404, "no image 'nobody_t1'"),
            ("seq2seq_brats", f"{SUBJECT}_t1", {"sequences": {"t1": "nobody"}, "target": "t2"}, 404, "'nobody'"),
            ("seq2seq_brats", "/etc/hostname", {}, 404, "no image '/etc/hostname'"),
            ("nothing", f"{SUBJECT}_t1", {}, 404, "no model 'nothing'"),
            ("seq2seq_brats", f"{SUBJECT}_t1", {"target": "t7"}, 400, "Unknown sequence 't7'"),
            ("seq2seq_brats", f"{SUBJECT}_t1", {"fusion": "$1 + 1"}, 404, "no fusion"),
            ("seq2seq_brats", f"{SUBJECT}_t1", {"device": "$1 + 1"}, 400, "Unknown device"),
            ("seq2seq_brats", f"{SUBJECT}_t1", {"result_dtype": "uint8"}, 400, "result_dtype is 'uint8'"),
            ("seq2seq_brats", f"{SUBJECT}_t1", {"result_extension": ".nrrd"}, 400, "result_extension"),
            ("seq2seq_brats", f"{SUBJECT}_t1", {"model_filename": "wrong.pt"}, 400, "another network configuration"),
            ("seq2seq_brats", f"{SUBJECT}_t1", {"model_filename": "../../x.pt"}, 404, "no weights"),
            ("seq2seq_brats", f"{SUBJECT}_t1", {"save": "yes"}, 400, "'save' is 'yes'"),
            ("seq2seq_brats", f"{SUBJECT}_t1", {"sequences": ["a"]}, 400, "give a mapping"),
            ("seq2seq_brats", f"{SUBJECT}_t1", {"sequences": {"pd": "scan7"}}, 400, "Unknown sequence 'pd'"),
            ("seq2seq_brats", "scan7", {"sequences": {"t1": ["scan7", "double_t1"]}}, 400, "2 candidates"),
            ("seq2seq_brats", "scan7", {"sequences": {"t1": "scan7", "t2": "scan7"}}, 400, "for both|stands for both"),
            ("seq2seq_brats", "scan7", {}, 400, "does not tell a sequence"),
            ("seq2seq_brats", "double_t1", {}, 400, "Both 'double-t1n' and 'double_t1' look like t1"),
            ("seq2seq_brats", "scan7", {"sequences": {"t1": "scan7"}, "target": "t1"}, 400, "no sequence from which"),
            ("seq2seq_brats", "scan7", {"sequences": {"t1": "scan7"}}, 400, "name the one to synthesise"),
            ("seq2seq_brats", "complete_t1", {"save": True}, 400, "No sequence is missing"),
            ("differentiation_classifier", f"{SUBJECT}_t1", {}, 400, "does not have the sequence 't1gd'"),
        ],
    )
    def test_errors_reach_the_client(self, local, model, image, params, status, message) -> None:
        before = local.contents()
        answer = local.infer(model, image, **params)
        assert answer.status_code == status, answer.content
        assert any(part in answer.json()["detail"] for part in message.split("|")), answer.json()["detail"]
        assert local.contents() == before

    def test_uploaded_file_of_all_channels(self, local, phantom, reference, tmp_path) -> None:
        images = {name: nibabel.load(phantom / f"{SUBJECT}_{name}.nii.gz") for name in AVAILABLE}
        channels = [
            images[name].get_fdata() if name in images else np.zeros(reference.shape)
            for name in ("t1", "t1gd", "t2", "flair")
        ]
        stacked = nibabel.Nifti1Image(np.stack(channels, -1).astype(np.int16), reference.affine)
        nibabel.save(stacked, tmp_path / "all.nii.gz")
        file = ("all.nii.gz", (tmp_path / "all.nii.gz").read_bytes(), "application/gzip")
        answer = ask(f"{local.url}/infer/seq2seq_brats?output=image", method="POST", files={"file": file})
        assert_equal(volume_of(answer, tmp_path / "t1gd.nii.gz"), reference)

    def test_batch_inference_is_refused(self, local) -> None:
        answer = ask(f"{local.url}/batch/infer/seq2seq_brats?run_sync=true", method="POST", json={})
        assert answer.status_code == 400
        assert "one request for each" in answer.json()["detail"]

    def test_training_leaves_the_shipped_weights_alone(self, local, bundles) -> None:
        shipped = bundles / "seq2seq_brats" / "models" / "model.pt"
        checksum = hashlib.sha256(shipped.read_bytes()).hexdigest()
        files = sorted(bundles.rglob("*"))
        url = f"{local.url}/train/seq2seq_brats?run_sync=true"
        answer = ask(url, method="POST", json={"max_epochs": 1, "name": "first"})
        assert answer.status_code == 200, answer.content
        assert answer.json()["model_filename"] == "first/best.pt"
        best = local.trainings / "seq2seq_brats" / "first" / "checkpoints" / "best.pt"
        assert best.stat().st_size > 1e6
        assert hashlib.sha256(shipped.read_bytes()).hexdigest() == checksum
        assert [path for path in sorted(bundles.rglob("*")) if "__pycache__" not in path.parts] == files
        weights = ask(f"{local.url}/info/").json()["models"]["seq2seq_brats"]["config"]["model_filename"]
        assert weights == ["model.pt", "wrong.pt", "first/best.pt"]
        again = ask(url, method="POST", json={"max_epochs": 1, "name": "first"})
        assert again.status_code == 409
        assert "resume it" in again.json()["detail"]
        for body, status, message in (
            ({"name": "../x"}, 400, "name of a training"),
            ({"max_epochs": "$1"}, 400, "max_epochs"),
            ({"resume": True, "name": "other"}, 404, "no training 'other'"),
        ):
            refused = ask(url, method="POST", json=body)
            assert (refused.status_code, message in refused.json()["detail"]) == (status, True), refused.content
        assert ask(f"{local.url}/train/nothing", method="POST", json={}).status_code == 404


@needs_orthanc
class TestDicomWeb:
    def test_equals_bundle_run_and_appears_in_orthanc(self, dicomweb, orthanc, reference, tmp_path) -> None:
        series = series_of(orthanc, SUBJECT)
        answer = dicomweb.infer("seq2seq_brats", series["t2"], save=True)
        # The axes of DICOM are numbers of 16 characters.
        assert_equal(volume_of(answer, tmp_path / "t1gd.nii.gz"), reference, affine_tolerance=1e-5)
        found = series_of(orthanc, SUBJECT)
        assert found.keys() - series.keys() == {f"synthetic {TARGET}, research only"}
        uid = found[f"synthetic {TARGET}, research only"]
        (identifier,) = ask(f"{orthanc}/tools/lookup", method="POST", data=uid.encode()).json()
        folder = tmp_path / "series"
        folder.mkdir()
        for number, instance in enumerate(ask(f"{orthanc}/series/{identifier['ID']}").json()["Instances"]):
            (folder / f"{number}.dcm").write_bytes(ask(f"{orthanc}/instances/{instance}/file").content)
        volume = read_dicom_series(folder, SUBJECT)
        expected = reference.get_fdata()
        np.testing.assert_allclose(volume.affine, reference.affine, atol=1e-5)
        # Half of a quantum, and rounding.
        tolerance = (0.501 / 65535 + 1e-5) * expected.max()
        np.testing.assert_allclose(volume.voxels[0] / SCALE, expected, rtol=0, atol=tolerance)
        header = pydicom.dcmread(folder / "0.dcm")
        assert header.PatientID == SUBJECT
        assert header.ImageType[0] == "DERIVED"
        # It is no source of the next request, and the same request makes the same series.
        again = dicomweb.infer("seq2seq_brats", series["t2"], "json", save=True)
        assert again.json() == {"target": TARGET, "sources": list(AVAILABLE), "saved": uid}
        assert series_of(orthanc, SUBJECT) == found

    @pytest.mark.parametrize(
        ("patient", "description", "params", "status", "message"),
        [
            ("ct", "ct", {}, 400, "is CT, not MR"),
            ("double", "t1", {}, 400, "look like t1"),
            ("odd", "post t1", {}, 400, "called like a sequence"),
            (SUBJECT, "t1", {"sequences": {"t1": "1.2.3.4"}, "target": "t2"}, 404, "no series '1.2.3.4'"),
            (SUBJECT, "t1", {"sequences": {"t1": "../x"}, "target": "t2"}, 404, "no series '../x'"),
            (SUBJECT, "t1", {"result_dtype": "uint8"}, 400, "result_dtype is 'uint8'"),
        ],
    )
    def test_errors_reach_the_client(self, dicomweb, orthanc, patient, description, params, status, message) -> None:
        instances = ask(f"{orthanc}/instances").json()
        answer = dicomweb.infer("seq2seq_brats", series_of(orthanc, patient)[description], save=True, **params)
        assert answer.status_code == status, answer.content
        assert message in answer.json()["detail"]
        assert ask(f"{orthanc}/instances").json() == instances
        assert not list(dicomweb.temporary.rglob("*.nii.gz"))

    @pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
    def test_viewer_lists_the_study(self, dicomweb, tmp_path) -> None:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=60000", "--dump-dom", f"{dicomweb.url}/ohif/"]
        page = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
        assert f"{SUBJECT}, Test" in page


@pytest.mark.real_data
def test_real_patient(start, bundles, shared_data, tmp_path) -> None:
    """T1Gd of a patient from T1, T2 and FLAIR: the bundle, a local datastore, and, where it is there, Orthanc."""
    folder, name = shared_data / "data" / "brain" / "BraTS-MET-00110-000", "patient"
    files = {}
    (tmp_path / "studies").mkdir()
    for sequence, ending in (("t1", "t1n"), ("t2", "t2w"), ("flair", "t2f")):
        files[sequence] = tmp_path / "studies" / f"{name}_{sequence}.nii.gz"
        shutil.copy(folder / f"{folder.name}-{ending}.nii.gz", files[sequence])
    (tmp_path / "data").mkdir()
    write_datalist(tmp_path / "data", {name: files})
    output = run_bundle(bundles / "seq2seq_brats", tmp_path / "data", tmp_path / "out", targets=f"['{TARGET}']")
    expected = nibabel.load(output / name / f"{name}_{TARGET}.nii.gz")
    for label in start(tmp_path / "studies"):
        assert_equal(volume_of(label.infer("seq2seq_brats", f"{name}_t1"), tmp_path / "local.nii.gz"), expected)
    if ORTHANC is None:
        return
    with start_orthanc(tmp_path) as url:
        for series in write_dicom(files, tmp_path / "dicom", subject=name).values():
            for path in series.iterdir():
                assert ask(f"{url}/instances", method="POST", data=path.read_bytes()).status_code == 200
        for label in start(f"{url}/dicom-web"):
            answer = label.infer("seq2seq_brats", series_of(url, name)["flair"])
            assert_equal(volume_of(answer, tmp_path / "dicom.nii.gz"), expected, affine_tolerance=1e-5)
