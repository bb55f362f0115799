# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Damaged files: what is read is right, or one error names the file, and nothing is written or waited for."""

from __future__ import annotations

import gzip
import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from dicom_writer import write_classic
from hypothesis import example, given
from hypothesis import strategies as st

from seq2seq_mri.io.datalists.datalist import load_datalist
from seq2seq_mri.io.datalists.inspection import Checks, inspect_series
from seq2seq_mri.io.datalists.scan import scan_dataset
from seq2seq_mri.io.dicom.dicom_study import read_study
from seq2seq_mri.io.dicom.read_dicom import read_dicom_series
from seq2seq_mri.io.nifti import read_volume
from seq2seq_mri.training.checkpoint import read_checkpoint
from seq2seq_mri.transforms.intensity import NormalizeSequencesd
from tools.archive import extract_archive, write_archive

TABLE = {"t1": 1, "flair": 1}
#: Changes of a file's bytes: where, as a share of its length or within the first bytes, and what is put there.
CHANGES = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 1, exclude_max=True), st.integers(0, 400)),
        st.one_of(
            st.binary(min_size=1, max_size=4),
            st.sampled_from([b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff\x7f"]),
        ),
    ),
    max_size=4,
)
SHARES = st.one_of(st.just(1.0), st.floats(0, 1))


def changed(content: bytes, changes: list[tuple[float | int, bytes]], share: float) -> bytes:
    """Return the bytes with some replaced, and cut off at a share of their length."""
    result = bytearray(content)
    for place, new in changes:
        start = int(place * len(content)) if isinstance(place, float) else place
        result[start : start + len(new)] = new
    return bytes(result[: int(share * len(result))])


def outcome(read: Callable[[], Any], path: Path) -> Any:
    """Return what is read, or ``None`` where an error names the file or its folder."""
    try:
        return read()
    except (ValueError, FileNotFoundError) as error:
        message = str(error)
    assert str(path) in message
    return None


def nifti(shape: tuple[int, ...] = (6, 7, 5), dtype: str = "int16") -> bytes:
    voxels = np.random.default_rng(0).integers(1, 900, shape).astype(dtype)
    return nibabel.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])).to_bytes()


def header_with(**fields: Any) -> bytes:
    """Return a small file whose header says something else."""
    header = nibabel.Nifti1Header(nifti()[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + nifti()[348:]


def read_nifti(content: bytes, compressed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.nii.gz" if compressed else "image.nii")
        path.write_bytes(gzip.compress(content, 1) if compressed else content)
        volume = outcome(lambda: read_volume(path, "p1"), path)
        if volume is not None:
            assert volume.voxels.dtype == np.float32
            assert volume.voxels.ndim == 4
            assert np.isfinite(volume.voxels).all()
            assert np.isfinite(volume.affine).all()
            assert volume.voxels.nbytes <= 4 * 8 * len(content)
        for thorough in (False, True):  # as the command datalist does
            grid, problems, _ = inspect_series(path, "p1", 1, Checks(check_images=thorough))
            assert (grid is None) == bool(problems)
        assert [file.name for file in Path(folder).iterdir()] == [path.name]


@given(CHANGES, SHARES, st.booleans(), st.sampled_from([(6, 7, 5), (6, 7, 5, 3)]))
def test_nifti(changes, share, compressed, shape) -> None:
    read_nifti(changed(nifti(shape), changes, share), compressed)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        {"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]},
        {"dim": [3, -6, 7, 5, 1, 1, 1, 1]},
        {"dim": [7, 32767, 32767, 32767, 32767, 32767, 32767, 32767]},
        {"dim": [0, 6, 7, 5, 1, 1, 1, 1]},
        {"dim": [4, 32767, 32767, 32767, 32767, 1, 1, 1]},
        {"vox_offset": np.nan},
        {"vox_offset": np.inf},
        {"vox_offset": 1e30},
        {"vox_offset": -1},
        {"quatern_b": np.nan, "qform_code": 1, "sform_code": 0},
        {"quatern_b": 5.0, "qform_code": 1, "sform_code": 0},
        {"scl_slope": np.inf},
        {"scl_slope": 1e38},
        {"datatype": 4096},
        {"pixdim": [1, 0, 0, 0, 0, 0, 0, 0], "sform_code": 0},
    ],
)
def test_headers_that_claim_what_is_not_so(fields, compressed) -> None:
    read_nifti(header_with(**fields), compressed)


@pytest.mark.parametrize("value", [1e-40, 1e-38, 1e-20, 1e20, 1e38])
def test_intensities_of_any_size_are_scaled_or_refused(value) -> None:
    image = torch.full((2, 3, 3, 3), value) * torch.linspace(0.1, 1, 27).reshape(3, 3, 3)
    sample = {"image": image, "subject": "p1"}
    if value < 1e-30:
        with pytest.raises(ValueError, match="Subject 'p1': sequence 't1' has intensities below"):
            NormalizeSequencesd(TABLE)(sample)
    else:
        result = NormalizeSequencesd(TABLE)(sample)["image"]
        torch.testing.assert_close(result[0].max(), torch.tensor(2 / 3), rtol=0.01, atol=0)


@given(CHANGES, SHARES)
def test_checkpoints(changes, share) -> None:
    buffer = io.BytesIO()
    torch.save({"network": {"weight": torch.arange(600.0)}, "epoch": 3}, buffer)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "last.pt")
        path.write_bytes(changed(buffer.getvalue(), changes, share))
        content = outcome(lambda: read_checkpoint(path), path)
        if content is not None:
            assert content["epoch"] == 3
            assert torch.equal(content["network"]["weight"], torch.arange(600.0))


@pytest.fixture(scope="module")
def dicom_files(tmp_path_factory) -> list[bytes]:
    voxels = np.random.default_rng(0).integers(1, 900, (1, 6, 7, 4))
    folder = tmp_path_factory.mktemp("dicom")
    return [path.read_bytes() for path in write_classic(folder, voxels, np.diag([2.0, 2.0, 3.0, 1.0]))]


@given(changes=CHANGES, share=SHARES, which=st.integers(0, 3))
def test_dicom(dicom_files, changes, share, which) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(dicom_files):
            Path(folder, f"{number}.dcm").write_bytes(changed(content, changes, share) if number == which else content)
        volume = outcome(lambda: read_dicom_series(folder, "p1"), Path(folder))
        if volume is not None:
            assert np.isfinite(volume.voxels).all()
        outcome(lambda: read_study(folder), Path(folder))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["p1", "t1"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["subject", "t1", "t2", "withheld", "unique", "label", "patient", "lesion", ""]), inner
        ),
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["sequences", "training", "testing", "validation", "name"]), st.one_of(JSON, st.just(TABLE))
    )
)
@example({"sequences": TABLE, "training": [{"subject": "a" * 230, "t1": "x"}]})
@example({"sequences": TABLE, "training": [{"subject": "a\rb", "t1": "x"}]})
@example({"sequences": TABLE, "training": [{"subject": "synthesis.csv", "t1": "x"}]})
@example({"sequences": {"t.1": 1}, "training": [{"subject": "a", "t.1": "x"}]})
@example({"sequences": {"": 1}, "training": [{"subject": "a", "": "x"}]})
def test_datalists(content) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "datalist.json")
        path.write_text(json.dumps(content))
        try:
            entries = load_datalist(path, "training", check_files=False)
        except ValueError:
            pass  # a datalist as a user may not write it
        else:
            for entry in entries:
                Path(folder, entry["subject"]).mkdir()


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"sequences": {"t1": ' + "9" * 5000 + "}}", "\udcff", '{"a": NaN}', ""]
)
def test_datalists_that_are_hardly_json(tmp_path, text) -> None:
    path = tmp_path / "datalist.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"datalist\.json"):
        load_datalist(path, "training")


@given(CHANGES, SHARES)
def test_archives(changes, share) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "bundle.zip")
        write_archive({"a.txt": b"one" * 50, "configs/b.txt": b"two" * 50}, archive, "bundle")
        archive.write_bytes(changed(archive.read_bytes(), changes, share))
        target = Path(folder, "out")
        if outcome(lambda: extract_archive(archive, target, "bundle"), archive) is None:
            assert not target.exists()
        else:
            written = {file.relative_to(target / "bundle").as_posix(): file for file in target.rglob("*.txt")}
            assert {name: file.read_bytes() for name, file in written.items()} == {
                "a.txt": b"one" * 50, "configs/b.txt": b"two" * 50
            }  # fmt: skip


@pytest.mark.parametrize("name", ["p1_t1.nii.gz", "p1_flair.nii", "image", "image.dcm"])
def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path, name) -> None:
    (tmp_path / "p1").mkdir()
    os.mkfifo(tmp_path / "p1" / name)
    (tmp_path / "p1" / "p1_t2.nii.gz").write_bytes(gzip.compress(nifti()))
    scan_dataset(tmp_path, {**TABLE, "t2": 1})
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        read_dicom_series(tmp_path / "p1", "p1")
    with pytest.raises(FileNotFoundError, match="is no file"):
        read_volume(tmp_path / "p1" / name, "p1")
