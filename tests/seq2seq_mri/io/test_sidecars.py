# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Times and b-values of 4D files: read, saved, and refused where they are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.read_nifti import read_volume
from seq2seq_mri.io.save import SaveImageSequencesd, save_volume
from seq2seq_mri.io.sidecars import sidecar_path

SERIES = np.random.default_rng(0).uniform(1, 9, (3, 5, 4, 3)).astype(np.float32)


def write_series(path: Path, zoom: float = 90.0, unit: str = "sec", frames: int = 3) -> Path:
    image = nibabel.Nifti1Image(np.moveaxis(SERIES[:frames], 0, -1), np.eye(4))
    image.header["pixdim"][4] = zoom
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(
    ("zoom", "unit", "step"),
    [
        (90.0, "sec", 90.0),
        (1500.0, "msec", 1.5),
        (2e6, "usec", 2.0),
        (90.0, "unknown", None),
        (90.0, "hz", None),
        (0.0, "sec", None),
    ],
)
def test_times_of_the_header(tmp_path, zoom, unit, step) -> None:
    volume = read_volume(write_series(tmp_path / "dce.nii.gz", zoom, unit), "p1")
    assert volume.times == (None if step is None else pytest.approx([0, step, 2 * step]))
    assert volume.b_values is None
    assert volume.start is None


def test_real_series_says_its_times(shared_data) -> None:
    folder = shared_data / "data" / "breast_dce"
    times = json.loads((folder / "acquisition.json").read_text())["times_s"]
    assert read_volume(folder / "dce.nii.gz", "b").times == pytest.approx(times)


def test_3d_files_and_vectors_have_no_times(tmp_path) -> None:
    path = write_series(tmp_path / "t1.nii", frames=1)
    (tmp_path / "t1.json").write_text("no JSON")
    (tmp_path / "t1.bval").write_text("0 1 2")
    volume = read_volume(path, "p1")
    assert (volume.times, volume.b_values) == (None, None)
    vector = nibabel.Nifti1Image(np.moveaxis(SERIES, 0, -1)[:, :, :, None], np.eye(4))
    vector.header["pixdim"][4] = 90
    vector.header.set_xyzt_units("mm", "sec")
    nibabel.save(vector, tmp_path / "vector.nii")
    assert read_volume(tmp_path / "vector.nii", "p1").times is None


@pytest.mark.parametrize("name", ["dce.nii.gz", "dce.nii", "p.1_dce.nii.gz"])
def test_sidecars_win_over_the_header(tmp_path, name) -> None:
    path = write_series(tmp_path / name)
    stem = name.split(".nii")[0]
    (tmp_path / f"{stem}.json").write_text('{"EchoTime": 0.002, "FrameTimesStart": [12, 20.5, 112]}')
    (tmp_path / f"{stem}.bval").write_text("0\t150 \n8e2\n")
    volume = read_volume(path, "p1")
    assert volume.times == (0.0, 8.5, 100.0)
    assert volume.b_values == (0.0, 150.0, 800.0)


def test_sidecar_without_times_leaves_them_to_the_header(tmp_path) -> None:
    path = write_series(tmp_path / "dce.nii")
    (tmp_path / "dce.json").write_text('{"EchoTime": 0.002}')
    assert read_volume(path, "p1").times == (0.0, 90.0, 180.0)


BAD_SIDECARS = {
    "no JSON": ("json", "{", "not readable JSON"),
    "list": ("json", "[0, 1, 2]", "not a JSON object"),
    "too few times": ("json", '{"FrameTimesStart": [0, 90]}', "2 values for 3 frames"),
    "one time": ("json", '{"FrameTimesStart": 0}', "1 values for 3 frames"),
    "text in times": ("json", '{"FrameTimesStart": [0, "90", 180]}', "not numbers"),
    "NaN in times": ("json", '{"FrameTimesStart": [0, NaN, 180]}', "NaN or infinite"),
    "unsorted": ("json", '{"FrameTimesStart": [0, 180, 90]}', "not increasing"),
    "text in b-values": ("bval", "0 150 high", "cannot be read as numbers"),
    "too many b-values": ("bval", "0 150 800 1500", "4 values for 3 frames"),
    "no b-values": ("bval", "", "0 values for 3 frames"),
    "NaN in b-values": ("bval", "0 nan 800", "NaN or infinite"),
    "negative b-values": ("bval", "0 -150 800", "negative"),
}


@pytest.mark.parametrize("kind", BAD_SIDECARS)
def test_bad_sidecars(tmp_path, kind) -> None:
    ending, content, message = BAD_SIDECARS[kind]
    path = write_series(tmp_path / "dce.nii.gz")
    sidecar = tmp_path / f"dce.{ending}"
    sidecar.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_volume(path, "p1")
    for part in ("'p1'", str(path), str(sidecar)):
        assert part in str(caught.value)


@pytest.mark.parametrize("zoom", [np.nan, np.inf])
def test_time_between_frames_that_is_no_number(tmp_path, zoom) -> None:
    path = write_series(tmp_path / "dce.nii", zoom)
    with pytest.raises(ValueError, match=r"'p1'.*dce\.nii has (nan|inf) as time between its frames"):
        read_volume(path, "p1")


@pytest.mark.parametrize("times", [None, (0.0, 90.0, 180.0), (0.0, 0.1, 0.2), (0.0, 30.0, 100.5)])
@pytest.mark.parametrize("b_values", [None, (0.0, 150.0, 1500.5)])
@pytest.mark.parametrize("like_file", [False, True])
def test_what_is_saved_is_read(tmp_path, oblique_affine, times, b_values, like_file) -> None:
    like = oblique_affine
    if like_file:
        # Its 7 seconds between frames say nothing of the volume that is saved.
        source = nibabel.Nifti1Image(np.zeros((5, 4, 3, 2), dtype=np.float32), oblique_affine)
        source.header["pixdim"][4] = 7
        source.header.set_xyzt_units("mm", "sec")
        like = tmp_path / "source.nii"
        nibabel.save(source, like)
    path = tmp_path / "out" / "saved.nii.gz"
    assert save_volume(path, SERIES, like, times=times, b_values=b_values)
    volume = read_volume(path, "p1")
    np.testing.assert_array_equal(volume.voxels, SERIES)
    np.testing.assert_allclose(volume.affine, oblique_affine, atol=1e-5)
    assert volume.times == (None if times is None else pytest.approx(times))
    assert volume.b_values == b_values
    header = nibabel.load(path).header
    assert header.get_xyzt_units()[0] == "mm"
    even = times is not None and times[2] == 2 * times[1]
    assert header.get_xyzt_units()[1] == ("sec" if even else "unknown")
    if even:
        assert header.get_zooms()[3] == pytest.approx(times[1])
    written = (
        {"saved.nii.gz"} | ({"saved.bval"} if b_values else set()) | ({"saved.json"} if times and not even else set())
    )
    assert {file.name for file in path.parent.iterdir()} == written


def test_times_that_do_not_start_at_zero(tmp_path) -> None:
    save_volume(tmp_path / "a.nii", SERIES, np.eye(4), times=[10, 20, 30])
    assert json.loads((tmp_path / "a.json").read_text()) == {"FrameTimesStart": [10, 20, 30]}
    assert read_volume(tmp_path / "a.nii", "p1").times == (0.0, 10.0, 20.0)


def test_a_3d_volume_has_no_sidecars(tmp_path) -> None:
    for volume in (SERIES[:1], SERIES[0]):
        save_volume(tmp_path / "a.nii", volume, np.eye(4), "overwrite", times=[0], b_values=[0])
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"times": [0, 90]}, "times has 2 values for 3 frames"),
        ({"times": [0, 90, 90]}, "times is not increasing"),
        ({"b_values": [0, 150, np.nan]}, "b_values has values that are NaN"),
        ({"b_values": [0, 150]}, "b_values has 2 values for 3 frames"),
    ],
)
def test_saving_refuses(tmp_path, values, message) -> None:
    with pytest.raises(ValueError, match=f"saved.nii.*{message}"):
        save_volume(tmp_path / "saved.nii", SERIES, np.eye(4), **values)
    assert not list(tmp_path.iterdir())


class TestExisting:
    UNEVEN = (0.0, 30.0, 100.0)

    def test_overwrite_leaves_nothing_of_the_old(self, tmp_path) -> None:
        path = tmp_path / "a.nii"
        save_volume(path, SERIES, np.eye(4), times=self.UNEVEN, b_values=[0, 1, 2])
        save_volume(path, SERIES, np.eye(4), "overwrite", times=[0, 20, 40])
        volume = read_volume(path, "p1")
        assert (volume.times, volume.b_values) == ((0.0, 20.0, 40.0), None)
        assert [file.name for file in tmp_path.iterdir()] == ["a.nii"]

    @pytest.mark.parametrize("ending", [".json", ".bval"])
    def test_sidecar_of_something_else(self, tmp_path, ending) -> None:
        path = tmp_path / "a.nii"
        sidecar = sidecar_path(path, ending)
        sidecar.write_text("0 7 9" if ending == ".bval" else '{"FrameTimesStart": [0, 7, 9]}')
        with pytest.raises(FileExistsError, match=rf"a\{ending} exists and would be taken for a part of .*a\.nii"):
            save_volume(path, SERIES, np.eye(4))
        assert not path.exists()
        # "skip" completes what an interrupted run has begun.
        assert save_volume(path, SERIES, np.eye(4), "skip", times=self.UNEVEN)
        assert read_volume(path, "p1").times == self.UNEVEN
        assert not save_volume(path, SERIES, np.eye(4), "skip", times=[0, 1, 2])
        assert read_volume(path, "p1").times == self.UNEVEN

    def test_sidecar_that_cannot_be_written_leaves_no_image(self, tmp_path) -> None:
        (tmp_path / "a.json").mkdir()
        with pytest.raises(OSError, match=r"a\.json"):
            save_volume(tmp_path / "a.nii", SERIES, np.eye(4), "overwrite", times=self.UNEVEN)
        assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


class TestSaveSequences:
    TABLE = {"t1": 1, "dce": 3, "dwi": 3}  # noqa: RUF012
    TIMES = {"dce": [0, 90, 180]}  # noqa: RUF012
    B_VALUES = {"dwi": [0, 800, 1500]}  # noqa: RUF012

    def test_each_sequence_has_its_own(self, write_volume, tmp_path) -> None:
        sample = LoadImageSequencesd(self.TABLE)({"subject": "p1", "t1": write_volume("t1.nii.gz", SERIES[0])})
        sample["pred"] = np.concatenate([SERIES[:1], SERIES, SERIES])
        save = SaveImageSequencesd("pred", self.TABLE, tmp_path / "out", times=self.TIMES, b_values=self.B_VALUES)
        save(sample)
        read = {name: read_volume(tmp_path / "out" / "p1" / f"p1_{name}.nii.gz", "p1") for name in self.TABLE}
        assert {name: volume.times for name, volume in read.items()} == {"t1": None, "dce": (0, 90, 180), "dwi": None}
        assert {name: volume.b_values for name, volume in read.items()} == {
            "t1": None,
            "dce": None,
            "dwi": (0, 800, 1500),
        }
        assert len(list((tmp_path / "out" / "p1").iterdir())) == 4
