# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Saved volumes: values, geometry, existing files, failures while writing."""

from __future__ import annotations

import errno
import resource
import threading
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from seq2seq_mri.io import save as save_module
from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.save import SaveImageSequencesd, save_volume, sequence_file

GEOMETRY = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "srow_x", "srow_y", "srow_z")
RANDOM = np.random.default_rng(0).uniform(0, 1, (9, 8, 7)).astype(np.float32)


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (1, 0), (0, 4), (0, 0)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_geometry_is_that_of_the_source(tmp_path, oblique_affine, codes, kind) -> None:
    source = kind(np.zeros((9, 8, 7), dtype=np.int16), oblique_affine)
    source.set_qform(oblique_affine, code=codes[0])
    source.set_sform(oblique_affine, code=codes[1])
    source.header.set_xyzt_units("mm", "sec")
    source.header["cal_max"] = 4000
    source.header.set_slope_inter(2, 1)
    nibabel.save(source, tmp_path / "source.nii.gz")
    source = nibabel.load(tmp_path / "source.nii.gz")

    assert save_volume(tmp_path / "out" / "saved.nii.gz", torch.from_numpy(RANDOM), tmp_path / "source.nii.gz")
    saved = nibabel.load(tmp_path / "out" / "saved.nii.gz")
    np.testing.assert_array_equal(saved.get_fdata(dtype=np.float32), RANDOM)
    # NIfTI-2 stores its affine in double precision, which what is saved, a NIfTI-1, cannot.
    np.testing.assert_allclose(saved.affine, source.affine, atol=0 if kind is nibabel.Nifti1Image else 1e-5)
    assert nibabel.aff2axcodes(saved.affine) == nibabel.aff2axcodes(source.affine)
    for field in GEOMETRY:
        np.testing.assert_array_equal(saved.header[field], source.header[field].astype(saved.header[field].dtype))
    np.testing.assert_allclose(saved.header.get_zooms(), source.header.get_zooms())
    assert saved.header.get_xyzt_units() == ("mm", "sec")
    assert saved.get_data_dtype() == np.float32
    # The display range of the source says nothing of synthesised intensities.
    assert float(saved.header["cal_max"]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["saved.nii.gz"]


def test_affine_in_place_of_a_file(tmp_path, oblique_affine) -> None:
    save_volume(tmp_path / "saved.nii.gz", MetaTensor(torch.from_numpy(RANDOM)), torch.from_numpy(oblique_affine))
    saved = nibabel.load(tmp_path / "saved.nii.gz")
    np.testing.assert_allclose(saved.affine, oblique_affine, atol=1e-5)
    np.testing.assert_allclose(saved.get_qform(), oblique_affine, atol=1e-4)
    assert (int(saved.header["qform_code"]), int(saved.header["sform_code"])) == (1, 1)


def test_existing_files(tmp_path) -> None:
    path = tmp_path / "saved.nii.gz"
    save_volume(path, RANDOM, np.eye(4))
    with pytest.raises(FileExistsError, match=r"saved\.nii\.gz exists"):
        save_volume(path, RANDOM + 1, np.eye(4))
    assert not save_volume(path, RANDOM + 1, np.eye(4), existing="skip")
    np.testing.assert_array_equal(nibabel.load(path).get_fdata(dtype=np.float32), RANDOM)
    assert save_volume(path, RANDOM + 1, np.eye(4), existing="overwrite")
    np.testing.assert_array_equal(nibabel.load(path).get_fdata(dtype=np.float32), RANDOM + 1)


def test_disc_full_leaves_nothing(tmp_path, monkeypatch) -> None:
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nibabel, "save", full)
    with pytest.raises(OSError, match=r"cannot write .*saved\.nii\.gz: No space left on device"):
        save_volume(tmp_path / "saved.nii.gz", np.stack([RANDOM] * 3), np.eye(4), times=(0, 30, 100))
    assert not list(tmp_path.iterdir())


def test_write_that_stops_half_way_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "saved.nii"
    save_volume(path, RANDOM, np.eye(4))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*saved\.nii"):
            save_volume(path, RANDOM + 1, np.eye(4), existing="overwrite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in tmp_path.iterdir()] == ["saved.nii"]
    np.testing.assert_array_equal(nibabel.load(path).get_fdata(dtype=np.float32), RANDOM)


def test_refuses(tmp_path, write_volume) -> None:
    source = write_volume("source.nii.gz", shape=(9, 8, 6))
    for name, volume, like, existing, message in (
        ("a.nii.gz", RANDOM, source, "error", r"\(9, 8, 7\) is not that of .*source\.nii\.gz, \(9, 8, 6\)"),
        ("a.nii.gz", RANDOM * np.nan, np.eye(4), "error", "NaN"),
        ("a.nii.gz", RANDOM[0], np.eye(4), "error", r"shape \(8, 7\)"),
        ("a.mha", RANDOM, np.eye(4), "error", "must end with"),
        ("a.nii.gz", RANDOM, np.eye(4), "ask", "existing is 'ask'"),
    ):
        with pytest.raises(ValueError, match=message):
            save_volume(tmp_path / name, volume, like, existing)
        assert not (tmp_path / name).exists()


class TestSaveSequences:
    TABLE = {"t1": 1, "dce": 2, "t2": 1}  # noqa: RUF012

    def sample(self, write_volume) -> dict:
        return LoadImageSequencesd(self.TABLE)({"subject": "p1", "t1": write_volume("t1.nii.gz")})

    def test_names(self, write_volume, tmp_path) -> None:
        sample = self.sample(write_volume) | {"targets": ["t2", "dce"]}
        sample["pred"] = torch.stack([torch.from_numpy(RANDOM) + i for i in range(3)])
        sample["spread"] = sample["pred"] / 8
        save = SaveImageSequencesd(["pred", "spread"], self.TABLE, tmp_path / "out", suffixes=["", "_uncertainty"])
        assert save(sample) == sample
        folder = tmp_path / "out" / "p1"
        written = {path.name: nibabel.load(path).get_fdata(dtype=np.float32) for path in folder.iterdir()}
        assert set(written) == {
            "p1_t2.nii.gz", "p1_t2_uncertainty.nii.gz", "p1_dce.nii.gz", "p1_dce_uncertainty.nii.gz"
        }  # fmt: skip
        np.testing.assert_array_equal(written["p1_t2.nii.gz"], RANDOM)
        np.testing.assert_array_equal(written["p1_dce.nii.gz"][..., 1], RANDOM + 2)
        np.testing.assert_array_equal(written["p1_dce_uncertainty.nii.gz"][..., 0], (RANDOM + 1) / 8)
        with pytest.raises(FileExistsError, match="p1_t2"):
            save(sample)

    def test_without_folders_of_subjects(self, write_volume, tmp_path) -> None:
        sample = self.sample(write_volume) | {"targets": ["t1"], "pred": torch.zeros(1, 9, 8, 7)}
        SaveImageSequencesd("pred", self.TABLE, tmp_path / "out", suffixes="_md", subject_folder=False)(sample)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["p1_t1_md.nii.gz"]

    def many(self, write_volume) -> dict:
        rng = np.random.default_rng(1)
        volumes = {key: torch.from_numpy(rng.random((4, 9, 8, 7), dtype=np.float32)) for key in ("pred", "spread")}
        return self.sample(write_volume) | volumes

    def test_threads_give_the_same_bytes(self, write_volume, tmp_path) -> None:
        sample = self.many(write_volume)
        contents = []
        for threads in (1, 4, 20):
            folder = tmp_path / str(threads)
            SaveImageSequencesd(["pred", "spread"], self.TABLE, folder, suffixes=["", "_s"], threads=threads)(sample)
            contents.append({path.name: path.read_bytes() for path in (folder / "p1").iterdir()})
        assert contents[0].keys() == {sequence_file("p1", name, suffix) for name in self.TABLE for suffix in ("", "_s")}
        assert contents[0] == contents[1] == contents[2]

    def test_files_are_written_at_the_same_time(self, write_volume, tmp_path, monkeypatch) -> None:
        together = threading.Barrier(3, timeout=20)
        original = save_module.save_volume

        def wait_for_the_others(*arguments) -> bool:
            together.wait()
            return original(*arguments)

        monkeypatch.setattr(save_module, "save_volume", wait_for_the_others)
        SaveImageSequencesd("pred", self.TABLE, tmp_path, threads=3)(self.many(write_volume))
        assert len(list((tmp_path / "p1").iterdir())) == 3

    @pytest.mark.parametrize("threads", [1, 4])
    def test_a_file_that_fails_does_not_stop_the_others(self, write_volume, tmp_path, monkeypatch, threads) -> None:
        original = nibabel.save

        def fail(image, path: Path) -> None:
            original(image, path)
            for name in ("p1_dce", "p1_t2"):
                if name in path.name:
                    raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(nibabel, "save", fail)
        with pytest.raises(OSError, match=r"cannot write .*p1_dce\.nii\.gz: No space left on device"):
            SaveImageSequencesd("pred", self.TABLE, tmp_path, threads=threads)(self.many(write_volume))
        assert [path.name for path in (tmp_path / "p1").iterdir()] == ["p1_t1.nii.gz"]

    def test_refuses(self, write_volume, tmp_path) -> None:
        for options, message in (
            ({"keys": "pred"}, "'p1': 'pred' has 1 channels, but t1, dce, t2 have 4 timepoints"),
            ({"keys": ["spread", "spread"]}, r"p1_t1\.nii\.gz would hold two volumes; give each of spread, spread its"),
            ({"keys": "spread", "existing": "ask"}, "existing is 'ask'"),
        ):
            with pytest.raises(ValueError, match=message):
                SaveImageSequencesd(sequences=self.TABLE, output_dir=tmp_path, **options)(
                    self.many(write_volume) | {"pred": torch.zeros(1, 9, 8, 7)}
                )
        assert not (tmp_path / "p1").exists()
